// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one path by which desired and observed come together (reconcile.h). The manager calls it; it writes nothing itself, and
 * takes an object for right only when the diff is empty.
 */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/kernel/netns.h"
#include "daemon/reconcile_internal.h"

#define BATCH 256        /* devices a plan: long enough to pipeline, short enough to be overtaken */
#define RACES_MAX 50     /* plans in a row that somebody else was faster than */

static const struct timeval resync_pause = { .tv_sec = 1 };

/* Until now the failed one held everything up. */
static void on_resync_timer(int fd, short what, void *arg)
{
	struct nk_reconcile *r = arg;

	r->job_running = false;
	r->job_is_snapshot = false;
	r->resync_wanted = true;
	r->o.wanted(r->o.arg);
}

int nk_reconcile_new(const struct nk_reconcile_options *o, struct nk_reconcile **ret)
{
	struct nk_reconcile *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->o = *o;
	r->devices = nk_objects_new(false);
	r->programs = nk_objects_new(true);
	r->resync_timer = evtimer_new(o->base, on_resync_timer, r);
	r->reread_timer = evtimer_new(o->base, nk_reconcile_on_reread, r);
	if (!r->devices || !r->programs || !r->resync_timer || !r->reread_timer ||
	    nk_work_new(o->base, o->retry_min_ms, o->retry_max_ms, o->wanted, o->arg, &r->work) < 0) {
		nk_reconcile_free(r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

struct nk_reconcile *nk_reconcile_free(struct nk_reconcile *r)
{
	if (!r)
		return NULL;
	if (r->resync_timer)
		event_free(r->resync_timer);
	if (r->reread_timer)
		event_free(r->reread_timer);
	nk_work_free(r->work);
	free(r->buried);
	nk_objects_free(r->devices);
	nk_objects_free(r->programs);
	free(r);
	return NULL;
}

/* ---- what makes objects dirty ---- */

/* A fresh start for an object: its past failures say nothing about what it is now. */
static void forget_failures(struct nk_reconcile *r, struct nk_object *o)
{
	nk_work_not_later(r->work, o);
	o->retries = 0;
	o->futile = 0;
	o->races = 0;
	o->tried = false;
	o->told = false;
	o->wait_name = false;
	o->wait_anchor = false;
	o->wait_link = false;
	nk_object_forgive(o);
	nk_object_wait_netns(r, o, false);
}

/* Somebody wants it as it is defined: what was left as others made it is not drift any longer. */
static void look_afresh(struct nk_reconcile *r, struct nk_object *o)
{
	if (o->left) {
		o->ready_as = nk_device_unref(o->ready_as);
		o->look_again = o->is_program;
	}
	forget_failures(r, o);
}

void nk_reconcile_revised(struct nk_reconcile *r, uint64_t revision)
{
	if (revision > r->revision)
		r->revision = revision;
}

void nk_reconcile_device_changed(struct nk_reconcile *r, const char *name, uint64_t revision)
{
	const struct nk_device *d = nk_document_device(r->o.doc, name);
	struct nk_object *o = nk_objects_get(r->devices, name);
	const struct nk_obs_device *obs = nk_cache_get(r->o.cache, name);

	nk_reconcile_revised(r, revision);
	if (!o)
		return;
	look_afresh(r, o);
	o->revision = revision;
	o->doomed = !d;
	o->unpinned = false;
	o->netns_gone = false;
	if (d)
		nk_object_be_interface(r->devices, o, d->interface);
	if (o->state == NK_STATE_RELEASED)
		nk_object_set(r->devices, o, NK_STATE_PENDING, NULL, NULL, 0, NULL);
	/* Where the namespace is that the definition names, no event tells. */
	if (obs && !o->doomed && !obs->interface)
		nk_cache_chains_touched(r->o.cache, obs->end[NK_PRIMARY].ifindex);
	nk_work_now(r->work, o);
	/* A plan made before this change may be doing what nobody wants any more. */
	if (o->in_plan && r->job_running && !r->job_is_snapshot)
		nk_executor_cancel(r->o.executor);
}

void nk_reconcile_program_changed(struct nk_reconcile *r, const char *name, uint64_t revision)
{
	struct nk_object *o = nk_objects_get(r->programs, name);

	nk_reconcile_revised(r, revision);
	if (!o)
		return;
	look_afresh(r, o);
	o->revision = revision;
	o->doomed = !nk_document_program(r->o.doc, name);
	nk_work_now(r->work, o);
}

void nk_reconcile_observed(struct nk_reconcile *r, const char *owner)
{
	struct nk_object *o = nk_objects_find(r->devices, owner);

	if (!o)
		return;
	if (!o->noticed_us)
		o->noticed_us = nk_now_us();
	if (o->dirty || o->in_plan)
		return;
	if (o->retrying && !o->wait_delete && (o->retries || !o->contended)) {
		nk_work_sooner(r->work, o);
		return;
	}
	nk_work_not_later(r->work, o);
	nk_work_now(r->work, o);
}

void nk_reconcile_name_free(struct nk_reconcile *r, const char *name)
{
	struct nk_object *o = nk_objects_find(r->devices, name);

	if (o && o->wait_name) {
		o->wait_name = false;
		nk_work_not_later(r->work, o);
		nk_work_now(r->work, o);
	}
}

struct gone {
	struct nk_reconcile *r;
	int32_t nsid;
};

static void one_gone(const struct nk_obs_device *d, int32_t peer_nsid, void *arg)
{
	struct gone *g = arg;
	struct nk_object *o;

	if (peer_nsid != g->nsid)
		return;
	o = nk_objects_find(g->r->devices, d->owner);
	/* A definition under which it never was right may name another namespace, which lives. */
	if (o && o->ready_as && o->ready_as == nk_document_device(g->r->o.doc, d->owner))
		o->netns_gone = true;
}

void nk_reconcile_netns_gone(struct nk_reconcile *r, int32_t nsid)
{
	struct gone g = { r, nsid };

	nk_cache_each(r->o.cache, one_gone, &g);
}

uint64_t nk_reconcile_right_since_us(const struct nk_reconcile *r, const char *owner)
{
	const struct nk_object *o = nk_objects_find(r->devices, owner);

	return o && o->ready_as && !o->culprit && !o->in_plan ? o->right_since_us : 0;
}

void nk_reconcile_culprit(struct nk_reconcile *r, const char *owner, const struct nk_culprit *who)
{
	struct nk_object *o = nk_objects_find(r->devices, owner);

	if (o && o->ready_as)
		nk_object_blame(o, who);
}

static void one_appeared(struct nk_object *o, void *arg)
{
	struct nk_reconcile *r = arg;

	if (o->wait_netns) {
		nk_work_not_later(r->work, o);
		nk_work_now(r->work, o);
	}
}

void nk_reconcile_netns_appeared(struct nk_reconcile *r)
{
	r->netns_appeared = r->job_running;
	if (r->n_wait_netns)
		nk_objects_each(r->devices, one_appeared, r);
}

static void one_retry(struct nk_object *o, void *arg)
{
	struct nk_reconcile *r = arg;

	look_afresh(r, o);
	o->look_again = o->is_program;
	o->asked_late = o->is_program && o->in_plan;
	nk_work_now(r->work, o);
}

void nk_reconcile_retry_all(struct nk_reconcile *r)
{
	nk_objects_each(r->programs, one_retry, r);
	nk_objects_each(r->devices, one_retry, r);
}

/* ---- the run ---- */

static uint32_t env_prog_id(const char *program, void *arg)
{
	struct nk_reconcile *r = arg;
	struct nk_object *o = nk_objects_find(r->programs, program);

	return o ? o->loaded_id : 0;
}

uint32_t nk_reconcile_pinned_program(const char *path, void *arg)
{
	(void)arg;
	return nk_bpf_pinned_prog(path);
}

uint32_t nk_reconcile_assumed_program_id(const char *name, void *arg)
{
	struct nk_reconcile *r = arg;
	struct nk_object *o = nk_objects_find(r->programs, name);
	const struct nk_program *p = nk_document_program(r->o.doc, name);

	return o && o->loaded_id && p && o->loaded_as && nk_program_loads_same(o->loaded_as, p) ? o->loaded_id : UINT32_MAX;
}

static const char *missing_program(const struct nk_reconcile *r, const struct nk_device *d)
{
	for (uint32_t i = 0; i < d->n_attachments; i++) {
		if (!env_prog_id(d->attachments[i].program, (void *)r))
			return d->attachments[i].program;
	}
	return NULL;
}

int nk_reconcile_add(struct nk_plan *plan, enum nk_op_kind kind, enum nk_phase phase, const char *device, const struct nk_program *p)
{
	struct nk_op op = { .kind = (uint8_t)kind, .phase = (uint8_t)phase, .prog = p };

	if (device)
		memcpy(op.name, device, strnlen(device, sizeof(op.name) - 1));
	return nk_plan_add(plan, &op);
}

void nk_reconcile_enter_plan(struct nk_reconcile *r, struct nk_object *o)
{
	if (!o->in_plan)
		r->n_in_plan++;
	o->in_plan = true;
}

static void leave_plan(struct nk_reconcile *r, struct nk_object *o)
{
	if (o->in_plan)
		r->n_in_plan--;
	o->in_plan = false;
}

/* All of a run are told at once, since each telling is a write to disk. */
static void note_buried(struct nk_reconcile *r, const char *name)
{
	if (r->n_buried == r->buried_room) {
		size_t room = r->buried_room ? r->buried_room * 2 : 16;
		void *more = reallocarray(r->buried, room, sizeof(*r->buried));

		if (!more)
			return; /* its tombstone stays, and is buried after the next start */
		r->buried = more;
		r->buried_room = room;
	}
	memcpy(r->buried[r->n_buried], name, strnlen(name, NK_IFNAMSIZ - 1) + 1);
	r->buried[r->n_buried++][NK_IFNAMSIZ - 1] = '\0';
}

static void tell_buried(struct nk_reconcile *r)
{
	const char **names = r->n_buried ? calloc(r->n_buried, sizeof(*names)) : NULL;

	for (size_t i = 0; names && i < r->n_buried; i++)
		names[i] = r->buried[i];
	if (names)
		r->o.buried(names, r->n_buried, r->o.arg);
	free(names);
	free(r->buried);
	r->buried = NULL;
	r->n_buried = r->buried_room = 0;
}

/* A device of which neither document nor kernel knows, or an interface of which the document doesn't: remove what is pinned for it, then
 * forget it. */
static void bury(struct nk_reconcile *r, struct nk_object *o, struct nk_plan *plan)
{
	struct nk_event_fields f = { .device = o->name, .interface = o->is_interface, .revision = o->revision };

	if (!o->unpinned) {
		o->unpinned = true;
		if (nk_reconcile_add(plan, NK_OP_UNPIN, NK_PHASE_DELETE, o->name, NULL) == 0) {
			nk_reconcile_enter_plan(r, o);
			return;
		}
	}
	nk_event(r->o.events, NK_EVENT_DEVICE_DELETED, &f, "%s %s: %s", nk_device_noun(o->is_interface), o->name,
		 o->is_interface ? "let go" : "deleted");
	nk_cache_unwant_interface(r->o.cache, o->name);
	note_buried(r, o->name);
	nk_work_not_later(r->work, o);
	nk_object_wait_netns(r, o, false);
	nk_objects_remove(r->devices, o);
}

static bool netns_is_back(const struct nk_device *d)
{
	int fd;

	if (d->netns.kind != NK_NETNS_NAME && d->netns.kind != NK_NETNS_PATH)
		return false;
	if (nk_netns_open(&d->netns, &fd, NULL) < 0)
		return false;
	close(fd);
	return true;
}

/*
 * A device that was right is not there any more. Who deleted it left its namespace; if that died, and the event of its death was lost, only
 * its reference tells the owner that went from drift. The executor looks, once: to search for what was passed takes long. Returns whether
 * that is to be waited for.
 */
static bool seek_netns(struct nk_reconcile *r, struct nk_object *o, const struct nk_device *d, struct nk_plan *plan)
{
	if (o->ready_as != d || o->netns_sought || d->single || d->netns.kind == NK_NETNS_HOST ||
	    nk_reconcile_add(plan, NK_OP_INSPECT, NK_PHASE_INSPECT, o->name, NULL) < 0)
		return false;
	plan->ops[plan->n - 1].dev = nk_device_ref(d);
	nk_reconcile_enter_plan(r, o);
	o->netns_sought = true;
	return true;
}

/* An interface: is it the link that it was, and is there one? What was attached to one that had its name before goes with its pins. */
static void look_for_link(struct nk_reconcile *r, struct nk_object *o, const struct nk_obs_device *obs)
{
	uint32_t ifindex = obs && obs->interface ? obs->end[NK_PRIMARY].ifindex : 0;

	if (o->ifindex != ifindex)
		nk_object_begin_anew(o);
	o->ifindex = ifindex;
	if (!ifindex)
		return;
	if (o->wait_link)
		nk_object_pending(r, o, "Applying", NULL);
	o->wait_link = false;
	o->unpinned = false;
}

static void evaluate_device(struct nk_reconcile *r, struct nk_object *o, struct nk_plan *plan)
{
	const struct nk_device *d = o->doomed ? NULL : nk_document_device(r->o.doc, o->name);
	int wanted = d && d->interface ? nk_cache_want_interface(r->o.cache, o->name) : 0;
	const struct nk_obs_device *obs = nk_cache_get(r->o.cache, o->name);
	struct nk_diff_env env = { env_prog_id, nk_reconcile_pinned_program, r };
	const char *program;
	enum nk_verdict v;
	size_t before = plan->n;
	char text[400];
	bool pin;

	o->tried = true;
	o->fresh = false;
	if (!obs)
		o->wait_delete = false;
	if (!d && (!obs || obs->interface)) {
		bury(r, o, plan);
		return;
	}
	if (o->is_interface)
		look_for_link(r, o, obs);
	if (d && !obs && o->netns_gone) {
		if (!netns_is_back(d)) {
			if (!o->unpinned && nk_reconcile_add(plan, NK_OP_UNPIN, NK_PHASE_DELETE, o->name, NULL) == 0) {
				o->unpinned = true;
				nk_reconcile_enter_plan(r, o);
			}
			nk_object_release(r, o, "the network namespace of its peer is gone, and the device with it");
			return;
		}
		o->netns_gone = false;
	} else if (d && !obs && seek_netns(r, o, d, plan)) {
		return;
	}
	/* The peer's RTM_DELLINK comes first, and its primary's always follows (netkit deletes both): what is to be done is to create,
	 * not to delete what is going already. If it doesn't follow, the peer was moved; out of a namespace that died nobody moved it. */
	if (d && obs && !d->single && !obs->single && !obs->end[NK_PEER].ifindex && (!o->wait_delete || o->netns_gone)) {
		o->wait_delete = true;
		nk_work_later(r->work, o, r->o.retry_min_ms);
		return;
	}
	if (wanted < 0 || nk_diff(d, obs, &env, plan, &v) < 0) {
		nk_object_fail(r, o, "OutOfMemory", "no memory to compare desired and observed", ENOMEM, NULL);
		return;
	}
	if (plan->n > before)
		nk_reconcile_enter_plan(r, o);
	if (plan->n > before && v != NK_VERDICT_INSPECT && d && o->ready_as == d && !o->program_changed &&
	    nk_reconcile_drifted(r, o, plan, before, obs)) {
		if (plan->n == before)
			leave_plan(r, o);
		return;
	}

	if (plan->n > before && v != NK_VERDICT_INSPECT && ++o->futile > NK_FUTILE_MAX) {
		char what[160];

		nk_op_describe(&plan->ops[before], what, sizeof(what));
		snprintf(text, sizeof(text), "the kernel accepts but does not keep: %s", what);
		nk_plan_truncate(plan, before);
		leave_plan(r, o);
		o->futile = 0;
		nk_object_fail(r, o, "NoEffect", text, 0, NULL);
		return;
	}
	switch (v) {
	case NK_VERDICT_OK:
		if (d && nk_diff_unmet(d, obs, &env, text, sizeof(text), &pin))
			nk_object_anchorless(r, o, d, text, pin);
		else if (d)
			nk_object_ready(r, o, d);
		return;
	case NK_VERDICT_INSPECT:
		return;
	case NK_VERDICT_CONFLICT:
		o->wait_name = true;
		nk_object_degraded(r, o, "NameTaken",
				   o->is_interface ? "a device of netkitd has this name; delete it or choose another name"
						   : "a device of this name is there that is not ours; remove it or choose another name",
				   EEXIST, NULL);
		return;
	case NK_VERDICT_ABSENT:
		nk_object_absent(r, o);
		if (!o->unpinned && nk_reconcile_add(plan, NK_OP_UNPIN, NK_PHASE_DELETE, o->name, NULL) == 0) {
			o->unpinned = true;
			nk_reconcile_enter_plan(r, o);
		}
		return;
	case NK_VERDICT_BLOCKED:
		program = missing_program(r, d);
		if (!program) {
			nk_object_fail(r, o, "PeerUnseen", "the network namespace of its peer cannot be looked into", 0, NULL);
			return;
		}
		snprintf(text, sizeof(text), "program %s is not loaded (see netkitd-cli list programs)", program);
		nk_object_degraded(r, o, "ProgramNotLoaded", text, 0, NULL);
		return;
	case NK_VERDICT_CREATE:
	case NK_VERDICT_CHANGE:
	case NK_VERDICT_RECREATE:
	case NK_VERDICT_DELETE:
		break;
	}
	if (o->state == NK_STATE_READY)
		nk_object_pending(r, o, o->drifting ? "Repairing" : "Applying", NULL);
	else if (o->state == NK_STATE_RELEASED && !(d && d->netns.kind == NK_NETNS_ID)) /* which would be told of again */
		nk_object_pending(r, o, "Applying", NULL);
}

static void note_progress(struct nk_reconcile *r)
{
	if (nk_work_count(r->work) || r->job_running || r->resync_wanted)
		return;
	r->attempted = r->revision;
	if (nk_objects_count(r->devices, NK_STATE_PENDING) + nk_objects_count(r->devices, NK_STATE_DEGRADED) +
		    nk_objects_count(r->programs, NK_STATE_PENDING) + nk_objects_count(r->programs, NK_STATE_DEGRADED) == 0)
		r->converged = r->revision;
}

static void submit_snapshot(struct nk_reconcile *r);

static void submit(struct nk_reconcile *r, struct nk_job *job)
{
	r->job_running = true;
	if (nk_executor_submit(r->o.executor, job) < 0)
		abort(); /* no result would ever come; the next start finds everything again */
}

void nk_reconcile_run(struct nk_reconcile *r)
{
	struct nk_plan plan = { 0 };
	struct nk_object *o;
	struct nk_job job = { .kind = NK_JOB_PLAN };

	if (r->job_running)
		return;
	/* Where events are lost all the time each snapshot is followed by one plan, or nothing would ever be repaired. */
	if (r->resync_wanted && !r->snapshot_is_fresh) {
		submit_snapshot(r);
		return;
	}
	r->job_is_fresh = r->snapshot_is_fresh;
	r->snapshot_is_fresh = false;
	/* Programs first: what a device's chain needs is then loaded, or known not to be. */
	while ((o = nk_work_take(r->work, true)))
		nk_reconcile_evaluate_program(r, o, &plan);
	if (!plan.n) {
		/* Deletions share one request and its one RCU wait, however many they are. */
		for (size_t n = 0; n < BATCH && (o = nk_work_take(r->work, false));) {
			n += !o->doomed;
			evaluate_device(r, o, &plan);
		}
	}
	tell_buried(r);
	if (nk_work_count(r->work))
		r->o.wanted(r->o.arg); /* more than fits into one plan */
	if (plan.n) {
		nk_plan_order(&plan);
		nk_reconcile_collect_users(r, &plan, &job);
		job.as_of = nk_cache_touches(r->o.cache);
		job.plan = plan;
		job.delete_by_group = nk_cache_foreign_doomed(r->o.cache) == 0;
		submit(r, &job);
	} else {
		nk_plan_clear(&plan); /* what it had room for */
	}
	if (r->resync_wanted)
		r->o.wanted(r->o.arg);
	note_progress(r);
	r->o.settled(r->o.arg);
}

/* ---- results ---- */

struct nk_object *nk_reconcile_op_object(struct nk_reconcile *r, const struct nk_op *op)
{
	return op->name[0] ? nk_objects_find(r->devices, op->name) : nk_objects_find(r->programs, op->prog->name);
}

/* The device went away under us: not a refusal, look again. */
static bool is_race(int error)
{
	return error == ENODEV || error == ENOLINK || error == ESTALE || error == ENXIO;
}

static void device_failed(struct nk_reconcile *r, struct nk_object *o, const struct nk_op *op, const struct nk_failure *f)
{
	const struct nk_device *d = o->doomed ? NULL : nk_document_device(r->o.doc, o->name);
	const char *message = f->error.message ? f->error.message : strerror(f->error.error);

	/* As if its event had come. Of one that was passed a search that finds nothing is no proof. */
	if (op->kind == NK_OP_INSPECT && f->netns_missing && d == op->dev && d->netns.kind != NK_NETNS_ID) {
		o->netns_gone = true;
		nk_work_now(r->work, o);
		return;
	}
	r->kernel_errors++;
	if (op->kind == NK_OP_UNPIN)
		o->unpinned = false;
	/* It is about a definition that is no more: the present one is still to be looked at. */
	if (d != op->dev && op->dev) {
		nk_work_now(r->work, o);
		return;
	}
	if (f->netns_missing && d) {
		const char *source = nk_document_device_source(r->o.doc, o->name);
		bool named = d->netns.kind == NK_NETNS_NAME || d->netns.kind == NK_NETNS_PATH;

		if (nk_cache_get(r->o.cache, o->name)) {
			nk_object_fail(r, o, "NetnsUnreachable", message, f->error.error, NULL);
			return;
		}
		/* What came by the socket had its namespace then, also if that was before the last start. A file may name one that comes. */
		if (!named || o->ready_as || !source || !source[0]) {
			/* From now on it is enough to look whether it is back. One that was passed is searched for whenever all is read. */
			o->netns_gone = d->netns.kind != NK_NETNS_ID;
			nk_object_release(r, o, message);
			return;
		}
		nk_object_wait_netns(r, o, true);
		nk_object_pending(r, o, "NetnsMissing", message);
		return;
	}
	/* The chain changed between reading and writing: nothing was done, so nothing was in vain. */
	if (f->error.error == ESTALE && o->races++ < RACES_MAX) {
		o->futile = 0;
		nk_work_now(r->work, o);
		return;
	}
	if (is_race(f->error.error) && o->futile <= NK_FUTILE_MAX) {
		nk_work_now(r->work, o);
		return;
	}
	o->wait_name = f->name_taken;
	o->futile = 0; /* it had no effect, and that is told */
	nk_object_fail(r, o, f->name_taken ? "NameTaken" : "KernelRefused", message, f->error.error, f->error.extack);
}

void nk_reconcile_result(struct nk_reconcile *r, const struct nk_result *res)
{
	r->job_running = false;
	for (size_t i = 0; i < res->n_chains; i++)
		nk_cache_set_chain(r->o.cache, res->as_of, res->chains[i].ifindex, res->chains[i].hook, &res->chains[i].chain);
	for (size_t i = 0; i < res->n_places; i++)
		nk_cache_set_place(r->o.cache, res->places[i].device, res->places[i].nsid, res->places[i].ino);

	for (size_t i = 0; i < res->plan.n; i++) {
		struct nk_object *o = nk_reconcile_op_object(r, &res->plan.ops[i]);

		if (!o || !o->in_plan)
			continue;
		leave_plan(r, o);
		o->fresh = true;
		if (res->plan.ops[i].kind == NK_OP_UNPIN && i >= res->n_done)
			o->unpinned = false;
		if (i >= res->n_done)
			o->netns_sought = false;
		/* The executor removes the pins together with the device. */
		if (res->plan.ops[i].kind == NK_OP_DELETE && i < res->n_done && o->doomed)
			o->unpinned = true;
		if (!o->is_program || i >= res->n_done)
			nk_work_now(r->work, o);
	}
	for (size_t i = 0; i < res->n_failures; i++) {
		const struct nk_failure *f = &res->failures[i];
		const struct nk_op *op = &res->plan.ops[f->op];
		struct nk_object *o = nk_reconcile_op_object(r, op);

		if (!o)
			continue;
		nk_work_not_now(r->work, o);
		if (o->is_program)
			nk_reconcile_program_failed(r, o, res, f);
		else
			device_failed(r, o, op, f);
	}
	r->netns_appeared = false;
	nk_reconcile_programs_done(r, res);
	r->o.wanted(r->o.arg);
}

/* ---- resync ---- */

static int collect_device(const struct nk_device *d, const char *source, void *arg)
{
	struct nk_job *job = arg;

	(void)source;
	job->devices[job->n_devices++] = nk_device_ref(d);
	return 0;
}

static void submit_snapshot(struct nk_reconcile *r)
{
	struct nk_job job = { .kind = NK_JOB_SNAPSHOT, .as_of = nk_cache_touches(r->o.cache) };
	size_t n = nk_document_n_devices(r->o.doc) + nk_document_n_interfaces(r->o.doc);

	job.devices = calloc(n ? n : 1, sizeof(*job.devices));
	if (!job.devices) {
		evtimer_add(r->resync_timer, &resync_pause);
		return;
	}
	nk_document_each_device(r->o.doc, collect_device, &job);
	r->resync_wanted = false;
	r->job_is_snapshot = true;
	nk_cache_begin_snapshot(r->o.cache);
	submit(r, &job);
}

int nk_reconcile_resync(struct nk_reconcile *r, const char *why, const struct nk_culprit *who)
{
	struct nk_event_fields f = { .culprit = who };

	if (r->resync_wanted)
		return 0;
	r->resync_wanted = true;
	r->resyncs++;
	if (why)
		nk_event(r->o.events, NK_EVENT_RESYNC, &f, "reading all devices from the kernel: %s", why);
	/* What runs was made from what is not known any more; but see nk_reconcile_run. */
	if (r->job_running && !r->job_is_snapshot && !r->job_is_fresh)
		nk_executor_cancel(r->o.executor);
	r->o.wanted(r->o.arg);
	return 0;
}

bool nk_reconcile_resyncing(const struct nk_reconcile *r)
{
	return r->job_running && r->job_is_snapshot;
}

int nk_reconcile_sight(const struct nk_reconcile *r)
{
	if (r->resync_error)
		return r->resync_error;
	return r->seen && !nk_reconcile_resyncing(r) ? 0 : -EAGAIN;
}

static void one_dirty(struct nk_object *o, void *arg)
{
	nk_work_now(((struct nk_reconcile *)arg)->work, o);
}

void nk_reconcile_resynced(struct nk_reconcile *r, int error)
{
	struct nk_event_fields f = { .error = -error };

	if (error) {
		r->kernel_errors++;
		if (error != r->resync_error)
			nk_event(r->o.events, NK_EVENT_RESYNC, &f,
				 "reading all devices from the kernel failed and is tried again every second; until then nothing is changed: %s",
				 strerror(-error));
		r->resync_error = error;
		evtimer_add(r->resync_timer, &resync_pause);
		return;
	}
	if (r->resync_error)
		nk_event(r->o.events, NK_EVENT_RESYNC, &f, "all devices were read from the kernel");
	r->job_running = false;
	r->job_is_snapshot = false;
	r->resync_error = 0;
	r->seen = true;
	r->snapshot_is_fresh = true;
	nk_objects_each(r->devices, one_dirty, r);
	r->o.wanted(r->o.arg);
}
