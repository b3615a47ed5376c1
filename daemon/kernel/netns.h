// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Network namespaces: opening what a document names, telling whether it is one, recognising it again, entering it. Nothing here
 * keeps a namespace alive: descriptors are closed when the request is done. Opening and checking may happen in the loop
 * (an accepted request is checked at once); entering is the executor's, but for nk_netns_accept.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/error.h"
#include "daemon/model/value.h"

struct nk_rtnl;

#define NK_NSID_HOST (-1) /* the daemon's own namespace */
#define NK_NSID_NONE (-2) /* a namespace that has no id here, so that nothing is heard of it */

/* What tells one namespace from another on a running host. */
struct nk_netns_identity {
	dev_t dev;
	ino_t ino;
};

/*
 * Open for setns. HOST gives the descriptor of /proc/thread-self/ns/net. PID: refuses one whose start time or boot is not the noted
 * one (-ESRCH). ID: searches /run/netns and /proc/<pid>/ns/net for the inode and then compares the cookie, which
 * needs entering it: executor only. 0 with *ret_fd the caller's; -ENOENT/-ESRCH: not there (any more); -EINVAL: there, but not a
 * network namespace; -errno. err (may be NULL) gets a sentence.
 */
int nk_netns_open(const struct nk_netns *ns, int *ret_fd, struct nk_error *err);
/*
 * Make a reference durable when a request is accepted: PID gets its start time and boot id; FD (fds: the descriptors that
 * came along) becomes NAME when /run/netns has it, else ID, for whose cookie the thread, the loop's, enters it and leaves at once.
 * Checks that it is a network namespace. 0; -errno with err filled (not_found or invalid params at `pointer`).
 */
int nk_netns_accept(struct nk_netns *ns, const int *fds, size_t n_fds, const char *pointer, struct nk_error *err);

/* Is the number that was accepted for a process in an earlier boot that of another one by now? */
bool nk_netns_is_overtaken(const struct nk_netns *ns);

/* This boot's id, 36 characters and a NUL: numbers that the kernel gives out mean something within one. 0 or -errno. */
int nk_boot_id(char ret[37]);

int nk_netns_identify(int fd, struct nk_netns_identity *ret);
/* The nsid of a namespace as seen from s's namespace, assigned if it had none (RTM_NEWNSID, then RTM_GETNSID): it must be there before
 * a device crosses, or the peer's first events are lost. NK_NSID_HOST for s's own. 0 or -errno. */
int nk_netns_nsid(struct nk_rtnl *s, int fd, int32_t *ret);

/* Enter; and go back to where the thread was at its start. 0 or -errno. */
int nk_netns_enter(int fd);
int nk_netns_leave(void);

/*
 * All namespaces that can be reached now, from /run/netns and /proc, by nsid. For peers whose reference does not
 * open any more or that nobody's document names.
 */
struct nk_netns_index;
int nk_netns_index_new(struct nk_rtnl *s, struct nk_netns_index **ret);
struct nk_netns_index *nk_netns_index_free(struct nk_netns_index *x);
/* A new descriptor, or -ENOENT. ret_ref (may be NULL) gets the best reference for a document: NAME, else PID. */
int nk_netns_index_open(const struct nk_netns_index *x, int32_t nsid, int *ret_fd, struct nk_netns *ret_ref);
