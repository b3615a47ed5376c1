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
	NK_WATCH_LINK_RELEASED, /* the last reference went: a process without a pin ended */
	NK_WATCH_LINK_DETACHED, /* by force, the link stays as an empty shell */
	NK_WATCH_LINK_UPDATED,  /* its program was exchanged */
	NK_WATCH_LINK_ATTACHED,
	NK_WATCH_PROG_ATTACHED, /* by descriptor, without a link */
	NK_WATCH_PROG_DETACHED,
	NK_WATCH_PIN_REMOVED,   /* the last reference was a pin */
	NK_WATCH_BPFFS_UNMOUNTED,
	NK_WATCH_DEVICE_SET,    /* RTM_NEWLINK and RTM_SETLINK, ioctls, sysfs */
	NK_WATCH_DEVICE_DELETED,
	NK_WATCH_ADDR_ADDED,
	NK_WATCH_ADDR_DELETED,
	NK_WATCH_ROUTE_ADDED,
	NK_WATCH_ROUTE_DELETED,
	NK_WATCH_WATCHER_REMOVED, /* one of the watcher's own links was closed */
};
#define NK_WATCH_WHATS 15

/* Who did something, or was about to. */
struct nk_culprit {
	__u64 time_ns;   /* monotonic clock */
	__u32 what;      /* enum nk_watch_what */
	__u32 pid;       /* thread group; 0: nobody knows who */
	__u32 uid;
	char comm[16];   /* what it calls itself, which may be nothing, and any bytes */
	char cgroup[64]; /* last part of its path in cgroup2; empty: the root */
	char unit[96];   /* the innermost part of that path that is a service or scope of systemd's; empty: none is */
};

/*
 * Who asked for a change of a network device, an address, a route or a pin last: the key of the map `suspects`. One request leaves
 * several keys, since each of its consequences names it in another way.
 */
enum nk_suspect_by {
	NK_SUSPECT_BY_IFINDEX,
	NK_SUSPECT_BY_PORT,    /* rtnetlink's port id, which events of addresses and routes carry */
	NK_SUSPECT_BY_NAME,
	NK_SUSPECT_CHANGED,    /* likewise by ifindex: the newest whose request was granted, whatever was refused to others or to him since */
	NK_SUSPECT_BY_LINK,    /* the address of a struct bpf_link whose pin was removed; 0: bpffs was unmounted */
};

struct nk_suspect_key {
	__u32 netns; /* inode number of the namespace; 0: for pins */
	__u32 by;    /* enum nk_suspect_by */
	union {
		__u64 number; /* ifindex, port id, address */
		char name[16];
	};
};

/* Whose pin somebody removed: the key of the map `unpinned`. */
struct nk_unpinned_key {
	__u64 directory; /* its inode number */
	char name[64];   /* there; the beginning of a longer one. Bytes behind it are zero */
};

/* A record in the watcher's ring buffer: a change that was not ours, and of which the kernel sends no event. */
struct nk_watch_record {
	__u32 ifindex; /* chains: of the primary or interface, 0 where only the link is known. DEVICE_SET: of the device in `netns` */
	__u32 link_id; /* kernel id; 0 where there is none, or it is new */
	__u32 netns;   /* DEVICE_SET: inode number of the namespace */
	char name[16]; /* DEVICE_SET: of the device, where there is no ifindex */
	struct nk_culprit who;
};
