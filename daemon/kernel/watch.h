// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Notices at once when somebody else changes what the kernel sends no event of, netkit's and tcx's chains above all, and knows who asked for
 * the changes that do have events: small tracing programs of ours (bpf/watch.bpf.c, and watch_tcx.bpf.c for interfaces) report through
 * a ring buffer, and leave the names of those who ask in a map. What our own process does is not reported. Where the kernel can't do it,
 * nk_watch_open says so and the manager reads the chains from time to time. Nothing pins it: its links are descriptors of ours. Should
 * somebody make us close them, it tells that too.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/netkitd_bpf.h"

struct nk_watch;

struct nk_watch_event {
	uint32_t ifindex;  /* chains: of the primary, 0 if only the link is known. NK_WATCH_DEVICE_SET: of the device, 0 if it is named */
	uint32_t link_id;  /* 0: by descriptor, or a new link. Both 0, and no netns: records were lost, any chain may have changed */
	uint32_t netns;    /* NK_WATCH_DEVICE_SET: inode number of the device's namespace; else 0 */
	char name[16];     /* NK_WATCH_DEVICE_SET: of the device, if ifindex is 0 */
	struct nk_culprit who;
};

typedef void (*nk_watch_fn)(const struct nk_watch_event *e, void *arg);

/* netns: inode number of the daemon's network namespace, where tcx chains matter. 0; -EOPNOTSUPP or another -errno with why. Call in the
 * loop's thread. */
int nk_watch_open(uint32_t netns, nk_watch_fn fn, void *arg, struct nk_watch **ret, char *why, size_t size);
/* Tell of tcx chains as well, from now on, unless it does already. 0, or -errno with why; then it is good for nothing but to be closed. */
int nk_watch_interfaces(struct nk_watch *w, char *why, size_t size);
struct nk_watch *nk_watch_close(struct nk_watch *w);
/* The same after a report of NK_WATCH_WATCHER_REMOVED: what was closed behind our back isn't closed again. Not from the callback. */
struct nk_watch *nk_watch_abandon(struct nk_watch *w);
int nk_watch_fd(const struct nk_watch *w);
/* Tell what waits, but only so much of it that others get their turn: then the descriptor stays readable. */
void nk_watch_read(struct nk_watch *w);
/* So many peers more (or less) than before are in the namespace with this inode number. NK_WATCH_DEVICE_SET is told of these namespaces
 * and of the daemon's. */
void nk_watch_inhabited(struct nk_watch *w, uint32_t netns, int by);

/*
 * Who asked lately for a change of the link `ifindex`, or of the one with this name (NULL: none), in the namespace with this inode
 * number, or asked through this port (0: none), since since_us (monotonic)? 0 or -ENOENT. Of rtnetlink requests only those that
 * succeeded, or are still at work.
 */
int nk_watch_suspect(const struct nk_watch *w, uint64_t since_us, uint32_t netns, uint32_t ifindex, const char *name, uint32_t port,
		     struct nk_culprit *ret);
/* Who removed the pin of this name (as it stands there) from the directory with this inode number? 0 or -ENOENT, and that for good: each
 * removal is told once. */
int nk_watch_unpinner(const struct nk_watch *w, uint64_t directory, const char *pin, struct nk_culprit *ret);
/* Who unmounted a bpffs in the last seconds? 0 or -ENOENT. */
int nk_watch_unmounter(const struct nk_watch *w, struct nk_culprit *ret);
/* "bpftool (pid 812, uid 0, session-3.scope)"; without the pid for one who has many. The group is the unit, or else the last part of its
 * path. Who is not known (comm is empty) has no text. Returns buf. */
char *nk_culprit_text(const struct nk_culprit *c, bool with_pid, char *buf, size_t size);
