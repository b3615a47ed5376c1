// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * One plan while it runs: what plan_run.c (order, chains, deletion) and plan_send.c (rtnetlink, namespaces) share.
 */
#include "daemon/kernel/worker.h"
#include "daemon/model/map.h"

/* A device of the plan. Its operations lie in several phases; what one of them finds out serves the later ones. */
struct nk_run_device {
	struct nk_map_node node;
	const char *name;     /* in the plan */
	bool failed;          /* ends its further operations */
	bool checked;         /* ifindex was found to be this device's, or the device to be gone */
	uint32_t ifindex;     /* of the primary, 0: not there (yet) */
	uint32_t peer_ifindex; /* in its namespace, 0 likewise */
	int32_t peer_nsid;    /* where the kernel says that the peer is, seen from the host */
	bool raise;           /* created in this plan, and the peer, which the kernel leaves down, is to go up */
	int netns;            /* descriptor of the peer's namespace while it is kept open, else -1 */
	bool touched[NK_HOOKS]; /* chain changed and not yet read back */
	uint64_t revision[NK_HOOKS]; /* of the chain once touched, if nobody else changes it; 0: not known */
};

/* A creation or addition that the kernel says is there already. */
struct nk_run_existing {
	size_t op;
	char *extack; /* owned; NULL: the kernel said no more */
};

struct nk_run {
	struct nk_worker *w;
	struct nk_result *res;
	const struct nk_job *job;
	struct nk_run_device *devices; /* owned */
	size_t n_devices;
	struct nk_map by_name;
	uint32_t *device_of;  /* owned: by operation; NK_RUN_NO_DEVICE for those of programs */
	size_t n_netns;       /* namespaces that are kept open */
	struct nk_rtnl *socket; /* the one that answers come from: the host's, or a peer's during a visit */
	struct nk_run_existing *exist; /* owned, as long as the plan: those that are to be settled once all answers are in */
	size_t n_exist;
};

#define NK_RUN_NO_DEVICE UINT32_MAX

static inline const struct nk_op *nk_run_op(const struct nk_run *run, size_t i)
{
	return &run->res->plan.ops[i];
}

/* NULL for an operation of a program. */
static inline struct nk_run_device *nk_run_device(const struct nk_run *run, size_t i)
{
	return run->device_of[i] == NK_RUN_NO_DEVICE ? NULL : &run->devices[run->device_of[i]];
}

/* May operation i still run? */
static inline bool nk_run_wanted(const struct nk_run *run, size_t i)
{
	const struct nk_run_device *d = nk_run_device(run, i);

	return !d || !d->failed;
}

/* Operation i failed; takes the content of f. The first failure of a device is the one that is told. */
void nk_run_fail(struct nk_run *run, size_t i, struct nk_failure *f);
/* The same from an errno and the kernel's text (NULL: none): "cannot <operation>: <errno>". */
void nk_run_fail_errno(struct nk_run *run, size_t i, int error, const char *extack);

/*
 * Before the first operation on a device that was there before the plan: is the link with this ifindex still that device? For all
 * operations from begin to end at once. One that is gone gets ifindex 0, one that is not ours fails.
 */
void nk_run_check(struct nk_run *run, size_t begin, size_t end);
/* For the inspections from begin to end: read both ends' links as they are now, without entering a namespace, and report them. */
void nk_run_inspect_links(struct nk_run *run, size_t begin, size_t end);
/* Put operation i's message into the host's batch; peers in other namespaces are left for nk_run_visits. */
void nk_run_send(struct nk_run *run, size_t i);
/* Send the host's batch and take the answers in. */
void nk_run_flush(struct nk_run *run);
/* Go to the namespaces of the peers that operations from begin to end are about, and come back. */
void nk_run_visits(struct nk_run *run, size_t begin, size_t end);
/* CREATE: find the peer's namespace, give it an id here, and send. */
void nk_run_create(struct nk_run *run, size_t i);
/* Report where the namespace is that the definition names, if it can be opened. */
void nk_run_place(struct nk_run *run, size_t i);
/* INSPECT of a device that vanished: fails if that namespace is gone. */
void nk_run_seek_netns(struct nk_run *run, size_t i);
/* Close the namespaces that are kept open; `all`: also those within the number that may stay. */
void nk_run_close_netns(struct nk_run *run, bool all);
