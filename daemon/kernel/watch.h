// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Notices at once when somebody else changes a netkit chain: a small tracing program of ours (bpf/watch.bpf.c: fentry on netkit's
 * link release, link detach, link update, program attach and detach) reports through a ring buffer. What our own process does is not
 * reported. Where the kernel can't do it, nk_watch_open says so and the manager reads the chains from time to time.
 */
#include <stdint.h>
#include <sys/types.h>

struct nk_watch;

struct nk_watch_event {
	uint32_t ifindex;  /* of the primary whose chain it is, 0 if only the link is known */
	uint32_t link_id;  /* 0: by descriptor, or a new link. Both 0: records were lost, any chain may have changed */
	pid_t pid;         /* thread group; a kworker's when the last reference went with a pin */
	uid_t uid;
	char comm[16];
	const char *what;  /* "link released", "link detached", "program attached", … */
};

typedef void (*nk_watch_fn)(const struct nk_watch_event *e, void *arg);

/* 0; -EOPNOTSUPP or another -errno with why. Call in the loop's thread. */
int nk_watch_open(nk_watch_fn fn, void *arg, struct nk_watch **ret, char *why, size_t size);
struct nk_watch *nk_watch_close(struct nk_watch *w);
int nk_watch_fd(const struct nk_watch *w);
/* Tell all that waits. */
void nk_watch_read(struct nk_watch *w);
