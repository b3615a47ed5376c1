/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What our BPF programs and the daemon (or whoever reads the programs' maps) say to each other: the accounting map's key and
 * value, and the watcher's record. Included on both sides, so it uses the kernel's types only.
 */
#include <linux/types.h>

enum nk_acct_direction {
	NK_ACCT_FROM_POD, /* what the peer sends: pod_egress at netkit/peer */
	NK_ACCT_TO_POD,   /* what the peer gets: pod_ingress at netkit/primary */
};

/* Key of the map nk_acct, a per-CPU hash. */
struct nk_acct_key {
	__u32 ifindex;   /* of the primary */
	__u32 direction; /* enum nk_acct_direction */
};

/* Its value, one for each CPU. */
struct nk_acct_value {
	__u64 packets;
	__u64 bytes;
};

enum nk_watch_what {
	NK_WATCH_LINK_RELEASED, /* the last reference went: a pin was removed, or a process without a pin ended */
	NK_WATCH_LINK_DETACHED, /* by force, the link stays as an empty shell */
	NK_WATCH_LINK_UPDATED,  /* its program was exchanged */
	NK_WATCH_LINK_ATTACHED,
	NK_WATCH_PROG_ATTACHED, /* by descriptor, without a link */
	NK_WATCH_PROG_DETACHED,
};
#define NK_WATCH_WHATS 6

/* A record in the watcher's ring buffer: one change of a netkit chain that was not ours. */
struct nk_watch_record {
	__u32 what;    /* enum nk_watch_what */
	__u32 ifindex; /* of the primary; 0 where only the link is known */
	__u32 link_id; /* kernel id; 0 where there is none, or it is new */
	__u32 pid;     /* thread group of who did it */
	__u32 uid;
	char comm[16];
};
