// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reconciling programs: when one is loaded, exchanged for another version or taken away, what its devices are told of it, and that its
 * pin is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/reconcile_internal.h"

/* As the document says. */
static void program_ready(struct nk_reconcile *r, struct nk_object *o)
{
	nk_work_not_later(r->work, o);
	o->retries = 0;
	if (!nk_object_contended(r, o))
		nk_object_set(r->programs, o, NK_STATE_READY, NULL, NULL, 0, NULL);
	nk_object_undrifted(r, o);
}

/* What is loaded is what p says: it may lack its pin. */
static void evaluate_pin(struct nk_reconcile *r, struct nk_object *o, const struct nk_program *p, struct nk_plan *plan)
{
	struct nk_op pin = { .kind = NK_OP_LOAD, .phase = NK_PHASE_LOAD, .what = NK_LOAD_PIN, .prog = p };
	size_t before = plan->n;
	struct nk_culprit who;

	nk_program_unref(o->loaded_as);
	o->loaded_as = nk_program_ref(p);
	if (r->o.pinned(o->name, o->loaded_id, r->o.arg)) {
		program_ready(r, o);
		return;
	}
	if (nk_plan_add(plan, &pin) < 0) {
		nk_object_fail(r, o, "OutOfMemory", "no memory to put its pin back", ENOMEM, NULL);
		return;
	}
	if (!o->culprit && r->o.unpinned_by(o->name, &who, r->o.arg) == 0)
		nk_object_blame(o, &who);
	if (nk_reconcile_drifted(r, o, plan, before, NULL))
		return;
	nk_reconcile_enter_plan(r, o);
	if (o->state == NK_STATE_READY)
		nk_object_pending(r, o, "Repairing", NULL);
}

void nk_reconcile_evaluate_program(struct nk_reconcile *r, struct nk_object *o, struct nk_plan *plan)
{
	const struct nk_program *p = o->doomed ? NULL : nk_document_program(r->o.doc, o->name);

	o->tried = true;
	if (!p) {
		/* The pin goes; links that still use the program keep it alive until they are detached. */
		struct nk_program *gone = nk_program_new();

		if (gone) {
			strncpy(gone->name, o->name, sizeof(gone->name) - 1);
			if (nk_reconcile_add(plan, NK_OP_UNLOAD, NK_PHASE_LOAD, NULL, gone) == 0)
				nk_reconcile_enter_plan(r, o);
		}
		nk_program_unref(gone);
		return;
	}
	if (o->loaded_id && o->loaded_as && nk_program_loads_same(o->loaded_as, p) && !o->look_again) {
		evaluate_pin(r, o, p, plan);
		return;
	}
	o->asked_late = false;
	if (nk_reconcile_add(plan, NK_OP_LOAD, NK_PHASE_LOAD, NULL, p) == 0)
		nk_reconcile_enter_plan(r, o);
}

struct touch {
	struct nk_reconcile *r;
	uint64_t told_us;
};

static void one_touched(struct nk_object *o, void *arg)
{
	struct touch *t = arg;

	if (o->doomed || !o->loaded_id)
		return;
	if (!o->noticed_us)
		o->noticed_us = t->told_us;
	nk_work_now(t->r->work, o);
}

void nk_reconcile_pin_changed(struct nk_reconcile *r, const char *program, uint64_t told_us)
{
	struct nk_object *o = program ? nk_objects_find(r->programs, program) : NULL;
	struct touch t = { r, told_us };

	if (o)
		one_touched(o, &t);
	else if (!program)
		nk_objects_each(r->programs, one_touched, &t);
}

static bool uses(const struct nk_device *d, const char *program)
{
	for (uint32_t i = 0; i < d->n_attachments; i++) {
		if (strcmp(d->attachments[i].program, program) == 0)
			return true;
	}
	return false;
}

struct collect {
	const struct nk_plan *plan; /* loads programs */
	struct nk_job *job;         /* its devices are to be those that use them; room for all */
};

static int collect_user(const struct nk_device *d, const char *source, void *arg)
{
	struct collect *u = arg;

	(void)source;
	for (size_t i = 0; i < u->plan->n; i++) {
		if (u->plan->ops[i].kind == NK_OP_LOAD && uses(d, u->plan->ops[i].prog->name)) {
			u->job->devices[u->job->n_devices++] = nk_device_ref(d);
			break;
		}
	}
	return 0;
}

void nk_reconcile_collect_users(const struct nk_reconcile *r, const struct nk_plan *plan, struct nk_job *job)
{
	struct collect u = { plan, job };

	if (!plan->ops[0].prog)
		return; /* a plan of devices */
	job->devices = calloc(nk_document_n_devices(r->o.doc) + nk_document_n_interfaces(r->o.doc) + 1, sizeof(*job->devices));
	if (job->devices)
		nk_document_each_device(r->o.doc, collect_user, &u);
}

struct users {
	struct nk_reconcile *r;
	const struct nk_program_state *program;
};

static int one_user(const struct nk_device *d, const char *source, void *arg)
{
	struct users *u = arg;
	const struct nk_obs_device *obs = nk_cache_get(u->r->o.cache, nk_device_name(d));
	struct nk_object *o = nk_objects_find(u->r->devices, nk_device_name(d));

	(void)source;
	if (!uses(d, u->program->name))
		return 0;
	/* The executor exchanged programs in its chains. */
	if (obs && u->program->n_links)
		nk_cache_chains_touched(u->r->o.cache, obs->end[NK_PRIMARY].ifindex);
	if (o) {
		o->program_changed = true;
		nk_work_now(u->r->work, o);
	}
	return 0;
}

/* A program has an id, be it that of the version before. */
static void program_is(struct nk_reconcile *r, struct nk_object *o, const struct nk_program_state *s)
{
	struct nk_event_fields f = { .program = o->name, .revision = o->revision };
	struct users u = { r, s };
	uint32_t id = o->loaded_id;

	o->loaded_id = s->id;
	memcpy(o->loaded_tag, s->tag, sizeof(o->loaded_tag));
	if (id == s->id)
		return;
	if (s->n_links)
		nk_event(r->o.events, NK_EVENT_PROGRAM_LOADED, &f,
			 "program %s: id %u, tag %s, took the place of the version before in %u attachments", o->name, s->id, s->tag,
			 s->n_links);
	else
		nk_event(r->o.events, NK_EVENT_PROGRAM_LOADED, &f, "program %s: loaded, id %u, tag %s", o->name, s->id, s->tag);
	nk_document_each_device(r->o.doc, one_user, &u);
}

static void program_loaded(struct nk_reconcile *r, struct nk_object *o, const struct nk_program_state *s,
			   const struct nk_program *as)
{
	nk_program_unref(o->loaded_as);
	o->loaded_as = nk_program_ref(as);
	/* A reload that came meanwhile is about files that were read before it. */
	o->look_again = o->asked_late;
	program_ready(r, o);
	program_is(r, o, s);
}

void nk_reconcile_program_failed(struct nk_reconcile *r, struct nk_object *o, const struct nk_result *res, const struct nk_failure *f)
{
	const char *message = f->error.message ? f->error.message : strerror(f->error.error);
	const struct nk_program_state *before = NULL;
	const struct nk_op *op = &res->plan.ops[f->op];
	char *text = NULL;

	r->kernel_errors++;
	if (op->kind == NK_OP_UNLOAD) {
		nk_object_fail(r, o, "KernelRefused", message, f->error.error, NULL);
		return;
	}
	if (op->what == NK_LOAD_PIN) {
		nk_object_fail(r, o, "NotPinned", message, f->error.error, NULL);
		return;
	}
	for (size_t k = 0; k < res->n_programs; k++) {
		if (res->programs[k].before && strcmp(res->programs[k].name, o->name) == 0)
			before = &res->programs[k];
	}
	if (before) {
		if (asprintf(&text, "the version before, id %u, stays: %s", before->id, message) < 0)
			text = NULL;
		program_is(r, o, before);
	}
	/* It is about a definition, or a file, that may be no more: the present one is still to be looked at. */
	if (o->doomed || o->asked_late || nk_document_program(r->o.doc, o->name) != op->prog) {
		nk_work_now(r->work, o);
		free(text);
		return;
	}
	nk_object_fail(r, o, before ? "NotUpgraded" : "NotLoaded", text ? text : message, f->error.error, f->error.extack);
	free(text);
}

static bool has_failed(const struct nk_result *res, size_t op)
{
	for (size_t i = 0; i < res->n_failures; i++) {
		if (res->failures[i].op == op)
			return true;
	}
	return false;
}

void nk_reconcile_programs_done(struct nk_reconcile *r, const struct nk_result *res)
{
	for (size_t i = 0; i < res->n_done; i++) {
		const struct nk_op *op = &res->plan.ops[i];
		struct nk_object *o = nk_reconcile_op_object(r, op);

		if (!o || !o->is_program || has_failed(res, i))
			continue;
		if (op->kind == NK_OP_UNLOAD) {
			nk_work_not_later(r->work, o);
			nk_work_not_now(r->work, o);
			if (o->doomed) {
				nk_objects_remove(r->programs, o);
				continue;
			}
			/* It is wanted again since the plan was made. */
			o->loaded_as = nk_program_unref(o->loaded_as);
			o->loaded_id = 0;
			nk_work_now(r->work, o);
			continue;
		}
		if (op->what == NK_LOAD_PIN)
			program_ready(r, o);
		for (size_t k = 0; k < res->n_programs; k++) {
			if (!res->programs[k].before && strcmp(res->programs[k].name, o->name) == 0)
				program_loaded(r, o, &res->programs[k], op->prog);
		}
	}
}
