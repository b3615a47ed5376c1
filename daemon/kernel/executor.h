// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The second thread: does every kernel write and what else the kernel makes wait, and works inside namespaces (the loop enters one for
 * its cookie alone, see nk_netns_accept). It takes jobs and gives results by value, through two pipes of pointers, so that no lock is
 * needed. It decides nothing: a plan's operations run in their order, and the first failure of a device ends that device's further ones.
 */
#include "daemon/model/observed.h"
#include "daemon/model/plan.h"
#include "daemon/kernel/bpf.h"
#include "daemon/kernel/owners.h"

struct nk_executor;

struct nk_executor_options {
	uint32_t group;     /* IFLA_GROUP of our devices; those behind it collect deletions (message.h) */
	const char *bpffs;  /* where pins live */
	int kept_pins;      /* that directory as an earlier netkitd had it open (nk_bpf_open), 0: not known */
	bool only_read;     /* no plan comes: the pins are read and left as they are, a netkitd may be running */
	struct nk_object_dirs objects; /* where object files may come from: kept as long as the executor */
};

/* Start the thread. bpffs is opened here, so that its failure is told at start. -errno with err. */
int nk_executor_new(const struct nk_executor_options *o, struct nk_executor **ret, struct nk_error *err);
/* Finish the running job (cancelled at its next boundary), join, free. Takes NULL, returns NULL. */
struct nk_executor *nk_executor_free(struct nk_executor *x);
/* The directory that holds the pins; valid until the first job. */
int nk_executor_pins(const struct nk_executor *x);
/* Readable when a result waits. */
int nk_executor_fd(const struct nk_executor *x);

enum nk_job_kind { NK_JOB_PLAN, NK_JOB_SNAPSHOT, NK_JOB_OWNERS };

struct nk_job {
	enum nk_job_kind kind;
	uint64_t as_of;         /* nk_cache_touches when it was made; given back */
	struct nk_plan plan;    /* PLAN: taken over */
	bool delete_by_group;   /* PLAN: allowed, no foreign link sits in the group for deletions */
	/* References. SNAPSHOT: the desired devices, tells where to look for peers. PLAN that loads programs: the devices that use
	 * them, tells where to exchange them. Owned. */
	const struct nk_device **devices;
	size_t n_devices;
	struct nk_owners *owners; /* OWNERS: search for one turn. Owned */
};

/* Hand a job over; one at a time is running, further ones wait. Takes it in any case. 0 or -errno. */
int nk_executor_submit(struct nk_executor *x, struct nk_job *job);
/* Stop the running plan at its next boundary: between two windows of requests. Its result says how far it got. Plans that wait
 * behind it do nothing and come back; what is submitted later runs. */
void nk_executor_cancel(struct nk_executor *x);

/* An operation that failed. */
struct nk_failure {
	size_t op;               /* index in the plan */
	struct nk_error error;   /* message, errno, extended ACK */
	bool name_taken;         /* CREATE: a link of the primary's name was there */
	bool netns_missing;      /* the peer's namespace could not be opened; INSPECT: it is gone */
};

/* A chain that was read, or a namespace that was found. */
struct nk_chain_report {
	uint32_t ifindex;
	enum nk_hook hook;
	struct nk_obs_chain chain; /* owned */
};

struct nk_place_report {
	char device[NK_IFNAMSIZ];
	int32_t nsid;
	uint32_t ino; /* inode number of that namespace; 0: the host's */
};

struct nk_result {
	enum nk_job_kind kind;
	uint64_t as_of;
	bool last;               /* SNAPSHOT: comes in parts; the last one ends it */
	int error;               /* SNAPSHOT: negative errno when it failed as a whole */
	dev_t pins_dev;          /* SNAPSHOT, the last part: the directory that holds the pins by now */
	ino_t pins_ino;
	bool pins_moved;         /* SNAPSHOT, the last part: the directories are others than before */
	char *pins_why;          /* owned: why that is not the one at its path; NULL: it is */
	bool cancelled;
	struct nk_plan plan;     /* PLAN: given back, for its names */
	size_t n_done;           /* operations tried */
	struct nk_failure *failures; size_t n_failures;
	struct nk_chain_report *chains; size_t n_chains;
	struct nk_place_report *places; size_t n_places;
	struct nk_program_state *programs; size_t n_programs; /* loaded ones */
	struct nk_owners *owners; /* OWNERS: given back; if it is not done it is to be submitted again. Owned */
	/* Messages to feed, of a SNAPSHOT, and of links that a PLAN inspected, each preceded by its nsid: { int32_t nsid; int32_t pad; struct nlmsghdr …, aligned to 8 } */
	unsigned char *messages; size_t messages_len, messages_room;
};

/* The next result, or NULL when none waits. Free with nk_result_free. */
struct nk_result *nk_executor_next(struct nk_executor *x);
/* How many there were so far: it grows while work gets on. */
uint64_t nk_executor_results(const struct nk_executor *x);
struct nk_result *nk_result_free(struct nk_result *r);
