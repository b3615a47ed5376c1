// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The listening socket: made under its path with the right owner and mode from its first visible instant, or taken over from
 * systemd. server.c calls it; nothing in here knows clients.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct nk_listener {
	int fd;         /* owned, -1: none */
	char *path;     /* owned; NULL for a socket that was handed to us */
	dev_t dev;      /* of the socket file, so that only our own is removed */
	ino_t ino;
};

/*
 * The group that this setting names. -EINVAL: there is none, which only the operator can change; -EAGAIN: it could not be looked up,
 * as when a directory service isn't there yet, and another start may find it. Both with `why`.
 */
int nk_group_find(const char *setting, const char *name, gid_t *ret, char *why, size_t size);
/*
 * A stale socket file (nobody listens) is replaced, one that is served is not: -EADDRINUSE. group NULL: leave the group.
 * 0 or -errno with `why` (size bytes) a sentence for the operator.
 */
int nk_listener_open(const char *path, const char *group, struct nk_listener *ret, char *why, size_t size);
/* Check and take over a descriptor; on failure it stays the caller's. */
int nk_listener_adopt(int fd, struct nk_listener *ret, char *why, size_t size);
/* Close; remove the file if it is still ours. */
void nk_listener_close(struct nk_listener *l);
