// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drift: what somebody else did to an object that was right, how it is told, and whether it is put back now, later or not at all.
 * Called by reconcile.c, reconcile_program.c and condition.c, which do the rest. Starts no work but appointments.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/reconcile_internal.h"

#define WHO_SIZE 160

static bool is_known(const struct nk_culprit *c)
{
	return c && c->pid;
}

/* " by bpftool (pid 812, uid 0, session-3.scope)"; empty: nobody knows who. */
static const char *by_whom(const struct nk_culprit *c, char *text, size_t size)
{
	text[0] = '\0';
	if (is_known(c) && size > 4)
		nk_culprit_text(c, true, stpcpy(text, " by "), size - 4);
	return text;
}

/* "bpftool (uid 0, session-3.scope)": he has many processes, one after the other. */
static const char *fighter(const struct nk_culprit *c, char *text, size_t size)
{
	return is_known(c) ? nk_culprit_text(c, false, text, size) : "somebody";
}

static const char *took_text(uint64_t us, char *text, size_t size)
{
	if (us < 1000)
		snprintf(text, size, "%.1f ms", (double)us / 1000);
	else
		snprintf(text, size, "%" PRIu64 " ms", (us + 500) / 1000);
	return text;
}

static const char *lasted_text(uint64_t us, char *text, size_t size)
{
	if (us < 10000000)
		snprintf(text, size, "%.1f s", (double)us / 1000000);
	else
		snprintf(text, size, "%" PRIu64 " s", us / 1000000);
	return text;
}

/* "attachment fw on web-1 was detached by bpftool (…), and 2 things more"; free() it. NULL without memory. */
static char *describe(const struct nk_object *o, const struct nk_op *ops, size_t n, const struct nk_obs_device *obs)
{
	char what[256], who[WHO_SIZE], further[64] = "", *text = NULL;
	size_t more;

	nk_drift_describe(ops, n, obs, o->culprit && o->culprit->what == NK_WATCH_DEVICE_SET, what, sizeof(what), &more);
	if (more)
		snprintf(further, sizeof(further), ", and %zu more thing%s changed", more, more == 1 ? "" : "s");
	return asprintf(&text, "%s%s%s", what, by_whom(o->culprit, who, sizeof(who)), further) < 0 ? NULL : text;
}

void nk_object_blame(struct nk_object *o, const struct nk_culprit *who)
{
	if (!o->culprit)
		o->culprit = malloc(sizeof(*o->culprit));
	if (o->culprit)
		*o->culprit = *who;
}

static void clear_culprit(struct nk_object *o)
{
	free(o->culprit);
	o->culprit = NULL;
}

static void clear_drift(struct nk_object *o)
{
	free(o->drift);
	o->drift = NULL;
}

void nk_object_forgive(struct nk_object *o)
{
	if (!o->drifting)
		clear_drift(o);
	o->contest = nk_contest_free(o->contest);
	o->contended = false;
	o->hold_until_us = 0;
	o->left = false;
	o->n_left = 0;
}

/* ---- somebody fights for it ---- */

/* What its condition says while somebody fights for it. */
static void set_contended(struct nk_reconcile *r, struct nk_object *o, const struct nk_contestant *e)
{
	char who[WHO_SIZE], lasted[32], text[512];

	snprintf(text, sizeof(text), "%s has changed it %u times within %s (the last time: %s); each time it is put back, which now waits "
		 "%u ms, until it is left alone", fighter(&e->who, who, sizeof(who)), e->count,
		 lasted_text(e->last_us - e->since_us, lasted, sizeof(lasted)), o->drift ? o->drift : "it was changed", e->pause_ms);
	nk_object_set(nk_object_table(r, o), o, NK_STATE_DEGRADED, "Contended", text, 0, NULL);
	o->contended = true;
}

static void tell_contended(struct nk_reconcile *r, struct nk_object *o, const struct nk_contestant *e)
{
	struct nk_event_fields f = nk_object_event(o);
	char who[WHO_SIZE], lasted[32];

	f.count = e->count;
	f.culprit = o->culprit;
	nk_event(r->o.events, NK_EVENT_CONTENDED, &f,
		 "%s %s: %s has changed it %u times within %s; from now on repairs wait, and are counted instead of told",
		 nk_object_noun(o), o->name,
		 fighter(&e->who, who, sizeof(who)), e->count, lasted_text(e->last_us - e->since_us, lasted, sizeof(lasted)));
}

static void tell_peace(struct nk_reconcile *r, struct nk_object *o)
{
	struct nk_event_fields f = nk_object_event(o);
	const struct nk_contestant *e = nk_contest_last(o->contest);
	char who[WHO_SIZE], lasted[32];

	if (!e)
		return;
	f.count = e->count;
	f.culprit = is_known(&e->who) ? &e->who : NULL;
	nk_event(r->o.events, NK_EVENT_CONTENTION_ENDED, &f, "%s %s: %s has left it alone, after %u changes within %s; it is as desired",
		 nk_object_noun(o), o->name, fighter(&e->who, who, sizeof(who)), e->count, lasted_text(e->last_us - e->since_us, lasted, sizeof(lasted)));
}

bool nk_object_contended(struct nk_reconcile *r, struct nk_object *o)
{
	uint64_t now = nk_now_us(), calm;
	const struct nk_contestant *e = nk_contest_fighter(o->contest, now, &calm);

	if (e) {
		set_contended(r, o, e);
		nk_work_later(r->work, o, (uint32_t)((calm - now) / 1000 + 1));
		return true;
	}
	if (o->contended) {
		tell_peace(r, o);
		nk_object_forgive(o);
	}
	return false;
}

/* ---- it drifts ---- */

/* Tell it, once. */
static void leave(struct nk_reconcile *r, struct nk_object *o, const struct nk_op *ops, size_t n, const struct nk_obs_device *obs)
{
	struct nk_event_fields f = nk_object_event(o);
	char text[700], *drift;

	if (o->left && n <= o->n_left) {
		clear_culprit(o);
		return;
	}
	f.culprit = o->culprit;
	drift = describe(o, ops, n, obs);
	snprintf(text, sizeof(text), "%s; it is left so, since on_drift is \"report\": put it back, or apply the definition of %s again to "
		 "have it put back", drift ? drift : "it was changed", o->name);
	nk_event(r->o.events, NK_EVENT_DRIFT, &f, "%s", text);
	nk_object_set(nk_object_table(r, o), o, NK_STATE_DEGRADED, "Drifted", text, 0, NULL);
	nk_work_not_later(r->work, o);
	o->left = true;
	o->n_left = n;
	o->noticed_us = 0;
	clear_culprit(o);
	free(drift);
}

/* New drift, or a further part of it while repairs wait. */
static void begin(struct nk_reconcile *r, struct nk_object *o, uint32_t areas, const struct nk_op *ops, size_t n,
		  const struct nk_obs_device *obs)
{
	struct nk_event_fields f = nk_object_event(o);
	const struct nk_contestant *e = NULL;
	uint64_t now = nk_now_us();

	f.culprit = o->culprit;
	if (!o->contest)
		o->contest = nk_contest_new();
	if (o->contest)
		e = nk_contest_note(o->contest, o->culprit, areas & ~o->broken, now, r->o.retry_min_ms, r->o.retry_max_ms, (uint32_t)random());
	free(o->drift);
	o->drift = describe(o, ops, n, obs);
	/* What closing it and making it anew leave behind is no further drift. */
	o->broken |= areas & NK_DRIFT_DEVICE ? UINT32_MAX : areas;
	o->drifting = true;
	o->untold = e && e->pause_ms;
	o->hold_until_us = o->untold ? now + 1000ull * e->pause_ms : 0;
	if (!o->untold) {
		nk_event(r->o.events, NK_EVENT_DRIFT, &f, "%s; it is put back", o->drift ? o->drift : o->name);
		return;
	}
	if (!o->contended)
		tell_contended(r, o, e);
	set_contended(r, o, e);
}

/* What was seen first was the beginning of more: a peer that moves goes down before. */
static void grow(struct nk_object *o, const struct nk_op *ops, size_t n, const struct nk_obs_device *obs)
{
	char *drift = describe(o, ops, n, obs);

	o->broken = UINT32_MAX;
	if (!drift)
		return;
	free(o->drift);
	o->drift = drift;
}

/* Keep what closes the device, if anything does. Returns whether. */
static bool only_close(struct nk_plan *plan, size_t n)
{
	for (size_t i = n; i < plan->n; i++) {
		struct nk_op op = plan->ops[i];

		if (op.kind != NK_OP_CLOSE)
			continue;
		plan->ops[i] = plan->ops[n];
		plan->ops[n] = op;
		nk_plan_truncate(plan, n + 1);
		return true;
	}
	nk_plan_truncate(plan, n);
	return false;
}

/* It was put back again and again and still differs. By one who goes on changing it? Then that is another time. */
static bool is_outrun(const struct nk_reconcile *r, struct nk_object *o)
{
	struct nk_culprit who;

	if (o->is_program || o->futile < NK_FUTILE_MAX || r->o.changed_by(o->name, o->noticed_us, &who, r->o.arg) < 0)
		return false;
	nk_object_blame(o, &who);
	o->broken = 0;
	o->futile = 0;
	return true;
}

bool nk_reconcile_drifted(struct nk_reconcile *r, struct nk_object *o, struct nk_plan *plan, size_t n, const struct nk_obs_device *obs)
{
	const struct nk_op *ops = plan->ops + n;
	uint32_t areas = nk_drift_areas(ops, plan->n - n);
	uint64_t now;

	if ((o->is_program ? o->loaded_as->on_drift : o->ready_as->on_drift) == NK_ON_DRIFT_REPORT) {
		leave(r, o, ops, plan->n - n, obs);
		nk_plan_truncate(plan, n);
		return true;
	}
	if (!o->drifting || (o->hold_until_us && areas & ~o->broken) || is_outrun(r, o))
		begin(r, o, areas, ops, plan->n - n, obs);
	else if (areas & NK_DRIFT_DEVICE & ~o->broken)
		grow(o, ops, plan->n - n, obs);
	now = nk_now_us();
	if (now >= o->hold_until_us) {
		o->hold_until_us = 0;
		return false;
	}
	if (only_close(plan, n))
		o->broken |= NK_DRIFT_PRIMARY;
	nk_work_later(r->work, o, (uint32_t)((o->hold_until_us - now) / 1000 + 1));
	return true;
}

/* ---- it is as desired again ---- */

void nk_object_undrifted(struct nk_reconcile *r, struct nk_object *o)
{
	struct nk_event_fields f = nk_object_event(o);
	char took[32];

	if (o->drifting) {
		f.culprit = o->culprit;
		f.took_us = o->noticed_us ? nk_now_us() - o->noticed_us : 0;
		o->repairs++;
		r->repairs++;
		if (!o->untold)
			nk_event(r->o.events, NK_EVENT_REPAIRED, &f, "%s, put back after %s", o->drift ? o->drift : o->name,
				 took_text(f.took_us, took, sizeof(took)));
	} else if (o->left) {
		nk_event(r->o.events, NK_EVENT_REPAIRED, &f, "%s %s is as desired again, by somebody else's doing",
			 nk_object_noun(o), o->name);
	}
	o->drifting = o->untold = o->left = false;
	o->broken = 0;
	o->n_left = 0;
	o->hold_until_us = 0;
	o->noticed_us = 0;
	/* Of a fight the condition goes on to say what it was about. */
	if (!o->contended)
		clear_drift(o);
	clear_culprit(o);
}
