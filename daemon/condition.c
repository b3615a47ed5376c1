// SPDX-License-Identifier: GPL-2.0-only
/*
 * The conditions of objects: how they come about, when they are told as events, and how others look at them. Called by
 * reconcile.c, and through reconcile.h by the manager. Starts no work.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/reconcile_internal.h"

#define PATIENCE 3 /* tries after which who waits for a change is told that it doesn't work */

struct nk_event_fields nk_object_event(const struct nk_object *o)
{
	return (struct nk_event_fields){
		.device = o->is_program ? NULL : o->name,
		.program = o->is_program ? o->name : NULL,
		.interface = o->is_interface,
		.revision = o->revision,
	};
}

void nk_object_wait_netns(struct nk_reconcile *r, struct nk_object *o, bool wait)
{
	if (wait)
		o->futile = 0;
	/* The executor may have looked before it came. */
	if (wait && r->netns_appeared)
		nk_work_now(r->work, o);
	if (o->wait_netns == wait)
		return;
	o->wait_netns = wait;
	if (wait)
		r->n_wait_netns++;
	else
		r->n_wait_netns--;
}

void nk_object_pending(struct nk_reconcile *r, struct nk_object *o, const char *reason, const char *message)
{
	nk_object_set(nk_object_table(r, o), o, NK_STATE_PENDING, reason, message, 0, NULL);
}

void nk_object_degraded(struct nk_reconcile *r, struct nk_object *o, const char *reason, const char *message, int error,
			 const char *extack)
{
	struct nk_event_fields f = nk_object_event(o);
	bool changed = nk_object_set(nk_object_table(r, o), o, NK_STATE_DEGRADED, reason, message, error, extack);

	o->wait_anchor = false;
	if (o->told && !changed)
		return;
	o->told = true;
	f.error = error;
	f.extack = extack;
	nk_event(r->o.events, o->is_program ? NK_EVENT_PROGRAM_DEGRADED : NK_EVENT_DEVICE_DEGRADED, &f, "%s %s: %s", nk_object_noun(o),
		 o->name, message);
}

/* Degraded, and to be tried again after a while. */
void nk_object_fail(struct nk_reconcile *r, struct nk_object *o, const char *reason, const char *message, int error, const char *extack)
{
	nk_object_degraded(r, o, reason, message, error, extack);
	nk_work_back_off(r->work, o);
}

void nk_object_release(struct nk_reconcile *r, struct nk_object *o, const char *message)
{
	struct nk_event_fields f = { .device = o->name, .revision = o->revision };
	const struct nk_device *d = nk_document_device(r->o.doc, o->name);

	nk_work_not_later(r->work, o);
	nk_object_wait_netns(r, o, d && (d->netns.kind == NK_NETNS_NAME || d->netns.kind == NK_NETNS_PATH));
	if (nk_object_set(r->devices, o, NK_STATE_RELEASED, "NetnsGone", message, 0, NULL))
		nk_event(r->o.events, NK_EVENT_DEVICE_RELEASED, &f, "device %s: %s", o->name, message);
	o->ready_as = nk_device_unref(o->ready_as);
	o->drifting = false;
	nk_object_forgive(o);
}

void nk_object_begin_anew(struct nk_object *o)
{
	o->ready_as = nk_device_unref(o->ready_as);
	o->drifting = o->untold = false;
	o->broken = 0;
	o->noticed_us = 0;
	o->futile = 0;
	free(o->culprit);
	o->culprit = NULL;
	nk_object_forgive(o);
}

void nk_object_absent(struct nk_reconcile *r, struct nk_object *o)
{
	nk_work_not_later(r->work, o);
	nk_object_begin_anew(o);
	o->retries = 0;
	o->wait_link = true;
	nk_object_pending(r, o, "InterfaceMissing", "no link of somebody else has this name; one that gets it is taken care of");
}

/* As d says: what was drift is repaired, and what differs from now on is drift. changed: so is its condition. */
static void settle(struct nk_reconcile *r, struct nk_object *o, const struct nk_device *d, bool changed)
{
	nk_object_wait_netns(r, o, false);
	o->futile = 0;
	o->races = 0;
	o->wait_name = false;
	o->wait_delete = false;
	o->unpinned = false;
	o->netns_sought = false;
	/* Who breaks it again before it is seen to be right is to be known then. */
	if (changed || o->drifting)
		o->right_since_us = o->drifting && o->noticed_us ? o->noticed_us : nk_now_us();
	nk_object_undrifted(r, o);
	o->program_changed = false;
	if (o->ready_as != d) {
		nk_device_unref(o->ready_as);
		o->ready_as = nk_device_ref(d);
	}
}

void nk_object_ready(struct nk_reconcile *r, struct nk_object *o, const struct nk_device *d)
{
	struct nk_event_fields f = { .device = o->name, .interface = o->is_interface, .revision = o->revision };
	bool drifted = o->drifting || o->left, changed;

	nk_work_not_later(r->work, o);
	o->retries = 0;
	o->wait_anchor = false;
	if (nk_object_contended(r, o)) {
		settle(r, o, d, false);
		return;
	}
	changed = nk_object_set(r->devices, o, NK_STATE_READY, NULL, NULL, 0, NULL);
	settle(r, o, d, changed);
	if (changed && !drifted)
		nk_event(r->o.events, NK_EVENT_DEVICE_READY, &f, "%s %s: ready", nk_device_noun(o->is_interface), o->name);
}

void nk_object_anchorless(struct nk_reconcile *r, struct nk_object *o, const struct nk_device *d, const char *message, bool ask_again)
{
	bool told = o->wait_anchor && o->message && !strcmp(o->message, message);

	nk_work_not_later(r->work, o);
	settle(r, o, d, !told);
	if (!told) {
		o->retries = 0;
		nk_object_degraded(r, o, "AnchorMissing", message, 0, NULL);
	}
	o->wait_anchor = true;
	if (ask_again)
		nk_work_back_off(r->work, o);
}

/* ---- to look at ---- */

static int condition_of(const struct nk_objects *t, const char *name, struct nk_condition *ret)
{
	const struct nk_object *o = nk_objects_find(t, name);

	if (!o)
		return -ENOENT;
	nk_object_condition(o, nk_now_us() / 1000, ret);
	return 0;
}

int nk_reconcile_device_condition(const struct nk_reconcile *r, const char *name, struct nk_condition *ret)
{
	return condition_of(r->devices, name, ret);
}

int nk_reconcile_program_condition(const struct nk_reconcile *r, const char *name, struct nk_condition *ret)
{
	return condition_of(r->programs, name, ret);
}

static bool is_settled(const struct nk_object *o)
{
	if (!o)
		return true;
	if (o->dirty || o->in_plan || !o->tried)
		return false;
	switch (o->state) {
	case NK_STATE_READY:
	case NK_STATE_RELEASED:
		return true;
	case NK_STATE_PENDING:
		return o->wait_netns || o->wait_link;
	case NK_STATE_DEGRADED:
		return !o->retrying || o->wait_name || o->wait_anchor || o->contended || o->retries >= PATIENCE;
	}
	return true;
}

bool nk_reconcile_device_settled(const struct nk_reconcile *r, const char *name)
{
	return !r->resync_wanted && is_settled(nk_objects_find(r->devices, name));
}

bool nk_reconcile_program_settled(const struct nk_reconcile *r, const char *name)
{
	return is_settled(nk_objects_find(r->programs, name));
}

uint64_t nk_reconcile_device_repairs(const struct nk_reconcile *r, const char *name)
{
	const struct nk_object *o = nk_objects_find(r->devices, name);

	return o ? o->repairs : 0;
}

bool nk_reconcile_left(const struct nk_reconcile *r, bool is_program, const char *name)
{
	const struct nk_object *o = nk_objects_find(is_program ? r->programs : r->devices, name);

	return o && o->left;
}

uint32_t nk_reconcile_program_id(const struct nk_reconcile *r, const char *name, const char **ret_tag)
{
	const struct nk_object *o = nk_objects_find(r->programs, name);

	if (ret_tag)
		*ret_tag = o && o->loaded_id ? o->loaded_tag : NULL;
	return o ? o->loaded_id : 0;
}

bool nk_reconcile_knows(const struct nk_reconcile *r, const char *name)
{
	return nk_objects_find(r->devices, name) != NULL;
}

bool nk_reconcile_is_interface(const struct nk_reconcile *r, const char *name)
{
	const struct nk_object *o = nk_objects_find(r->devices, name);

	return o && o->is_interface;
}

struct each {
	void (*fn)(bool is_program, const char *name, void *arg);
	void *arg;
};

static void each_object(struct nk_object *o, void *arg)
{
	struct each *e = arg;

	e->fn(o->is_program, o->name, e->arg);
}

void nk_reconcile_each(const struct nk_reconcile *r, void (*fn)(bool is_program, const char *name, void *arg), void *arg)
{
	struct each e = { fn, arg };

	nk_objects_each(r->devices, each_object, &e);
	nk_objects_each(r->programs, each_object, &e);
}

void nk_reconcile_count(const struct nk_reconcile *r, struct nk_reconcile_counts *ret)
{
	*ret = (struct nk_reconcile_counts){
		.programs_degraded = nk_objects_count(r->programs, NK_STATE_DEGRADED),
		.unsettled = nk_work_count(r->work) + r->n_in_plan,
		.attempted = r->attempted,
		.converged = r->converged,
		.repairs = r->repairs,
		.resyncs = r->resyncs,
		.kernel_errors = r->kernel_errors,
		.unread = r->resync_wanted || nk_reconcile_resyncing(r),
	};
	for (int s = 0; s < 4; s++) {
		ret->interfaces[s] = nk_objects_count_interfaces(r->devices, (enum nk_state)s);
		ret->devices[s] = nk_objects_count(r->devices, (enum nk_state)s) - ret->interfaces[s];
	}
}
