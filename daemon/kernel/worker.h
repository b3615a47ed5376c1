// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What the executor's thread works with, and the two kinds of work that need it: plan_run.c and snapshot.c (owners.c needs none of it). Used by
 * executor.c and those two only; everything in here belongs to that thread, but for the two counters that stop it.
 */
#include <linux/netlink.h>
#include <stdatomic.h>

#include "daemon/kernel/executor.h"

struct nk_rtnl;
struct nk_batch;

struct nk_worker {
	struct nk_object_dirs objects; /* where object files may come from */
	uint32_t group;         /* IFLA_GROUP of our devices; those behind it collect deletions (message.h) */
	struct nk_bpf *bpf;     /* owned */
	struct nk_rtnl *host;   /* owned; in the daemon's namespace, wherever the thread is */
	struct nk_batch *batch; /* owned; empty between two uses */
	int results;            /* pipe for results, its end to write into */
	int credit;             /* semaphore: so many parts of a snapshot may be on their way */

	uint64_t serial;             /* of the running job: they are counted as they are submitted */
	_Atomic uint64_t cancelled;  /* plans up to this one are to stop; written by the loop */
	atomic_bool stopping;        /* everything is to stop; written by the loop */
};

/* Is the running job to stop? Asked between two windows, and never while a chain was changed but not read back. */
bool nk_worker_stopped(struct nk_worker *w);
/* A socket that failed may hold answers to what nobody waits for any more: get a new one. 0 or -errno. */
int nk_worker_renew_host(struct nk_worker *w);
/* Hand a result to the loop. Takes it. */
void nk_worker_send(struct nk_worker *w, struct nk_result *res);

/* Run res->plan, which was the job's, and fill the rest of res. */
void nk_plan_run(struct nk_worker *w, const struct nk_job *job, struct nk_result *res);
/* Read everything and send it in parts; `last` takes the closing one, with the error if there was one. */
void nk_snapshot_run(struct nk_worker *w, const struct nk_job *job, struct nk_result *last);

/* Results grow. Each takes what it is given (chain, err) in any case; 0 or -ENOMEM. */
int nk_result_add_chain(struct nk_result *res, uint32_t ifindex, enum nk_hook hook, struct nk_obs_chain *chain);
/* netns: a descriptor of that namespace, -1 for the host's. */
int nk_result_add_place(struct nk_result *res, const char *device, int32_t nsid, int netns);
/* A copy of the message, behind its namespace, as executor.h says. */
int nk_result_add_message(struct nk_result *res, int32_t nsid, const struct nlmsghdr *h);
int nk_result_add_program(struct nk_result *res, const struct nk_program_state *state);
int nk_result_add_failure(struct nk_result *res, struct nk_failure *f);
