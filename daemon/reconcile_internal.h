// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What reconcile.c, reconcile_program.c, reread.c, condition.c and drift.c share, and nobody else sees.
 */
#include "daemon/reconcile.h"
#include "daemon/work.h"

#define NK_FUTILE_MAX 5 /* plans in a row that worked and left a difference */

struct nk_reconcile {
	struct nk_reconcile_options o;
	struct nk_objects *devices, *programs;
	struct nk_work *work;
	size_t n_in_plan, n_wait_netns;
	struct event *resync_timer; /* runs after a snapshot that failed */
	struct event *reread_timer; /* runs after an inspection that was asked for by nk_reconcile_reread, until nobody asks any more */
	char (*buried)[NK_IFNAMSIZ]; /* names to tell at the end of the run: owned */
	size_t n_buried, buried_room;
	/* A snapshot that failed counts as running until the next one: what is known is neither old nor new. */
	bool job_running, job_is_snapshot, resync_wanted;
	bool seen;              /* a snapshot succeeded: what the cache holds can be relied on while none runs */
	bool snapshot_is_fresh; /* nothing was done on it yet */
	bool job_is_fresh;      /* the plan that runs is the first on its snapshot */
	int resync_error;       /* of the snapshot that failed last, negative errno; 0: none since one succeeded */
	bool netns_appeared; /* since the plan that runs was handed over */
	uint64_t revision, attempted, converged;
	uint64_t repairs, resyncs, kernel_errors;
};

/* The table that it stands in. */
static inline struct nk_objects *nk_object_table(struct nk_reconcile *r, const struct nk_object *o)
{
	return o->is_program ? r->programs : r->devices;
}

/* ---- reconcile.c ---- */

/* Add an operation that is about a whole device (by name) or a program. 0 or -ENOMEM. */
int nk_reconcile_add(struct nk_plan *plan, enum nk_op_kind kind, enum nk_phase phase, const char *device, const struct nk_program *p);
/* An operation of the plan that is being made is about it. */
void nk_reconcile_enter_plan(struct nk_reconcile *r, struct nk_object *o);
/* The object of an operation, or NULL. */
struct nk_object *nk_reconcile_op_object(struct nk_reconcile *r, const struct nk_op *op);

/* ---- reconcile_program.c ---- */

/* Compare a program with what is loaded and add what is to be done to the plan. */
void nk_reconcile_evaluate_program(struct nk_reconcile *r, struct nk_object *o, struct nk_plan *plan);
/* Who uses the programs that the plan loads, into job. Without memory nobody: their links are then exchanged device by device. */
void nk_reconcile_collect_users(const struct nk_reconcile *r, const struct nk_plan *plan, struct nk_job *job);
/* What a plan of programs has brought: for the one that failed, and for those that were done. */
void nk_reconcile_program_failed(struct nk_reconcile *r, struct nk_object *o, const struct nk_result *res, const struct nk_failure *f);
void nk_reconcile_programs_done(struct nk_reconcile *r, const struct nk_result *res);

/* ---- reread.c ---- */

/* The timer's callback; arg is r. */
void nk_reconcile_on_reread(int fd, short what, void *arg);

/* ---- condition.c ---- */

/* What every event about it says. */
struct nk_event_fields nk_object_event(const struct nk_object *o);
/* Whether it is tried again when a namespace appears. */
void nk_object_wait_netns(struct nk_reconcile *r, struct nk_object *o, bool wait);
void nk_object_pending(struct nk_reconcile *r, struct nk_object *o, const char *reason, const char *message);
/* error: positive errno or 0. Told once, not at every try. */
void nk_object_degraded(struct nk_reconcile *r, struct nk_object *o, const char *reason, const char *message, int error,
			const char *extack);
/* Degraded, and to be tried again after a while. */
void nk_object_fail(struct nk_reconcile *r, struct nk_object *o, const char *reason, const char *message, int error,
		    const char *extack);
/* No link has the name of this interface (any more): nothing is wrong with what was there, and nothing is to be repaired. */
void nk_object_absent(struct nk_reconcile *r, struct nk_object *o);
/* What it was right under says nothing any more: what differs from now on is no drift. */
void nk_object_begin_anew(struct nk_object *o);
/* Its owner is gone: nothing to do, and no fault. */
void nk_object_release(struct nk_reconcile *r, struct nk_object *o, const char *message);
/* Right under definition d; drift of it is told as repaired. */
void nk_object_ready(struct nk_reconcile *r, struct nk_object *o, const struct nk_device *d);
/* The same, but for what it says of programs of somebody else: message. Asks again after a while if so told; else an event will. */
void nk_object_anchorless(struct nk_reconcile *r, struct nk_object *o, const struct nk_device *d, const char *message, bool ask_again);

/* ---- drift.c ---- */

/* He is the culprit of drift that is about to be seen. Without memory nobody is. */
void nk_object_blame(struct nk_object *o, const struct nk_culprit *who);
/*
 * The operations of the plan from the n-th on are about an object that was right: tell who did it, and see whether it may be put back
 * now. If not the operations go, but for the one that closes a device, and true is returned. obs: the device, NULL: gone, or a program.
 */
bool nk_reconcile_drifted(struct nk_reconcile *r, struct nk_object *o, struct nk_plan *plan, size_t n, const struct nk_obs_device *obs);
/* It is as desired: tell the repair, and begin anew. */
void nk_object_undrifted(struct nk_reconcile *r, struct nk_object *o);
/* Whether somebody fights for an object that is as desired: then its condition says so, and it is looked at when that may be over. */
bool nk_object_contended(struct nk_reconcile *r, struct nk_object *o);
/* Forget who fought for it, and what was left. */
void nk_object_forgive(struct nk_object *o);
