// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Policy: for each device, interface and program of the document one object with its condition, and the one path by which desired and observed
 * come together. Whatever happens (an accepted change, a kernel event, a retry, a namespace that appears) only marks
 * objects dirty; nk_reconcile_run diffs the dirty ones, hands one plan at a time to the executor, and looks again when its result
 * and the events that came with it are in. An object is right when the diff is empty, not when a request succeeded.
 *
 * It reads the document and the cache, gives jobs to the executor and tells events. It knows no socket, no JSON-RPC and no disk:
 * the manager is told through handlers what to bury and who may be answered.
 */
#include "daemon/kernel/cache.h"
#include "api/contract.h"
#include "daemon/events.h"
#include "daemon/kernel/executor.h"
#include "daemon/kernel/watch.h"

struct event_base;
struct nk_reconcile;

struct nk_reconcile_options {
	struct event_base *base;           /* for the retry timer */
	const struct nk_document *doc;     /* the manager's */
	struct nk_cache *cache;
	struct nk_executor *executor;
	struct nk_events *events;
	uint32_t retry_min_ms, retry_max_ms;
	/* A run has ended: conditions may have changed. */
	void (*settled)(void *arg);
	/* Devices whose deletion is complete: their tombstones can go. */
	void (*buried)(const char *const *names, size_t n, void *arg);
	/* Who was granted a change of this device since then (monotonic), and lately? 0 or -ENOENT. */
	int (*changed_by)(const char *device, uint64_t since_us, struct nk_culprit *ret, void *arg);
	/* Does this program have its pin? True also while it can't be seen. */
	bool (*pinned)(const char *program, uint32_t id, void *arg);
	/* Who removed that? 0 or -ENOENT; each removal is told once. */
	int (*unpinned_by)(const char *program, struct nk_culprit *ret, void *arg);
	/* A run is wanted at the next turn of the loop. */
	void (*wanted)(void *arg);
	void *arg;
};

int nk_reconcile_new(const struct nk_reconcile_options *o, struct nk_reconcile **ret);
struct nk_reconcile *nk_reconcile_free(struct nk_reconcile *r);

/* The document is that of this revision, though nothing of it may be to be looked at. */
void nk_reconcile_revised(struct nk_reconcile *r, uint64_t revision);
/* An accepted, durable change of a device or interface (or the whole document at start: one call an object). */
void nk_reconcile_device_changed(struct nk_reconcile *r, const char *name, uint64_t revision);
void nk_reconcile_program_changed(struct nk_reconcile *r, const char *name, uint64_t revision);
/* From the cache's handlers. */
void nk_reconcile_observed(struct nk_reconcile *r, const char *owner);
void nk_reconcile_name_free(struct nk_reconcile *r, const char *name);
void nk_reconcile_netns_gone(struct nk_reconcile *r, int32_t nsid);
/* Since when this device is right, monotonic clock, if what happens to it now is drift of which nobody is known to be the culprit; else 0. */
uint64_t nk_reconcile_right_since_us(const struct nk_reconcile *r, const char *owner);
/* From the watcher: remembered as the culprit of the drift that is about to be seen. */
void nk_reconcile_culprit(struct nk_reconcile *r, const char *owner, const struct nk_culprit *who);
/* From the watcher: `who` has set this device, and no event may have told. It is inspected: at once, or if that was asked for lately
 * after a pause; then he is the culprit of what is found, unless another is known. */
void nk_reconcile_reread(struct nk_reconcile *r, const char *owner, const struct nk_culprit *who);
/* From the watcher, which lost reports: the same of all, by nobody. */
void nk_reconcile_reread_all(struct nk_reconcile *r);
/* The pin of a program (NULL: of any) came or went at told_us (monotonic), by whomever. */
void nk_reconcile_pin_changed(struct nk_reconcile *r, const char *program, uint64_t told_us);
/* Mounts changed, or a name came under /run/netns: devices that wait for a namespace may try again. */
void nk_reconcile_netns_appeared(struct nk_reconcile *r);
/* Try everything again now (reload). */
void nk_reconcile_retry_all(struct nk_reconcile *r);

/* Diff what is dirty, submit a plan. Nothing happens while a job runs. */
void nk_reconcile_run(struct nk_reconcile *r);
/* The executor's result of a plan; the caller has drained the kernel's events before. Does not run. */
void nk_reconcile_result(struct nk_reconcile *r, const struct nk_result *res);
/* Ask for a snapshot (start, overrun). Runs pause until its last part is in. who: the one by whose doing it is needed, or NULL. */
int nk_reconcile_resync(struct nk_reconcile *r, const char *why, const struct nk_culprit *who);
bool nk_reconcile_resyncing(const struct nk_reconcile *r);
/* 0: the cache shows what the kernel holds. -EAGAIN: it will, the kernel is being read. Another -errno: that failed, and is tried again. */
int nk_reconcile_sight(const struct nk_reconcile *r);
/* The last part of a snapshot has been fed: everything is dirty. error: it is not whole, and nothing may be concluded from it; there will be
 * another one. */
void nk_reconcile_resynced(struct nk_reconcile *r, int error);

/* ---- to look at ---- */

/* Is there an object of this name, and in what condition? Pointers are valid until the next call of a non-const function. */
int nk_reconcile_device_condition(const struct nk_reconcile *r, const char *name, struct nk_condition *ret);
int nk_reconcile_program_condition(const struct nk_reconcile *r, const char *name, struct nk_condition *ret);
/* Tried at least once since its last change, and no work on it under way. True for a name that is not there. */
bool nk_reconcile_device_settled(const struct nk_reconcile *r, const char *name);
bool nk_reconcile_program_settled(const struct nk_reconcile *r, const char *name);
uint64_t nk_reconcile_device_repairs(const struct nk_reconcile *r, const char *name);
/* Was it changed by somebody else, and left so? */
bool nk_reconcile_left(const struct nk_reconcile *r, bool is_program, const char *name);
/* Kernel id and tag of a loaded program, 0 and NULL otherwise. */
uint32_t nk_reconcile_program_id(const struct nk_reconcile *r, const char *name, const char **ret_tag);
/* For dry_run: id of a loaded program, or a stand-in that is equal to no id for one of the document that isn't loaded yet. */
uint32_t nk_reconcile_assumed_program_id(const char *name, void *r);
/* What is pinned at a path that an attachment names: for whoever compares. */
uint32_t nk_reconcile_pinned_program(const char *path, void *r);

/* All objects, in no order. */
void nk_reconcile_each(const struct nk_reconcile *r, void (*fn)(bool is_program, const char *name, void *arg), void *arg);

struct nk_reconcile_counts {
	size_t devices[4], interfaces[4]; /* by enum nk_state */
	size_t programs_degraded;
	size_t unsettled;  /* objects on which work waits or runs */
	uint64_t attempted, converged; /* revisions */
	uint64_t repairs, resyncs, kernel_errors;
	bool unread; /* all devices are being read, or about to be */
};
void nk_reconcile_count(const struct nk_reconcile *r, struct nk_reconcile_counts *ret);
/* Every device is desired or doomed? A marked device that nobody's document names is unclaimed: it has no object. */
bool nk_reconcile_knows(const struct nk_reconcile *r, const char *name);
/* Is the object of this name, which need not be there, an interface? */
bool nk_reconcile_is_interface(const struct nk_reconcile *r, const char *name);
