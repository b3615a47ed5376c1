// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Where namespaces can be found on a running host: names under /run/netns, then processes; and messages about their numbers.
 * Shared by netns.c, netns_index.c and the cache, nobody else's.
 */
#include "daemon/kernel/netns.h"

struct nk_batch;
struct nlmsghdr;

#define NK_NETNS_DIR "/run/netns"

/* A namespace and one way to reach it. */
struct nk_netns_place {
	struct nk_netns_identity id;
	const char *name; /* under NK_NETNS_DIR, borrowed; NULL: by process */
	uint64_t pid;
};

/*
 * Call fn for each name, then for each process: one namespace is told as often as it is met. Stops and returns fn's value if it is not
 * 0; else 0 or -errno. Nothing is opened: a name may turn out not to be a network namespace.
 */
int nk_netns_scan(int (*fn)(const struct nk_netns_place *place, void *arg), void *arg);
/* A descriptor of the same namespace as was met; -ESTALE: another one is there now. */
int nk_netns_place_open(const struct nk_netns_place *place, int *ret_fd);

/* Open a path, or a process's namespace with its start time (clock ticks since boot). 0; -EINVAL: not a network namespace; -ESRCH:
 * no such process; -errno. */
int nk_netns_open_at(int dir, const char *path, int *ret_fd);
int nk_netns_open_pid(uint64_t pid, int *ret_fd, uint64_t *ret_start);

/* Ask for a namespace's nsid, without assigning one; and read the answer or an event (NK_NSID_NONE: it has none). 0 or -errno. */
int nk_netns_add_get_nsid(struct nk_batch *b, int fd, size_t index);
int nk_netns_read_nsid(const struct nlmsghdr *h, int32_t *ret);
