// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * One rtnetlink request socket and pipelined requests over it: many messages in one sendmsg, their acknowledgements read
 * afterwards, each with the kernel's errno and extended-ACK text. The executor uses it, in the host's namespace and inside
 * those of peers. Strict checking is on. libnl builds the messages; its codes do not leave this directory.
 */
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Room for any one message about a link: IFLA_PROP_LIST alone, a link's other names, may have 64 KiB. Only what is written is resident. */
#define NK_RTNL_MESSAGE_MAX (80 * 1024)

struct nl_msg;
struct nk_rtnl;  /* a socket */
struct nk_batch; /* messages that wait to be sent */

/* Open in the calling thread's namespace. 0 or -errno. Free with nk_rtnl_close (takes NULL, returns NULL). */
int nk_rtnl_open(struct nk_rtnl **ret);
struct nk_rtnl *nk_rtnl_close(struct nk_rtnl *s);

/* Which namespace the socket is in: device and inode of its nsfs file. */
void nk_rtnl_netns(const struct nk_rtnl *s, dev_t *ret_dev, ino_t *ret_ino);

/*
 * What became of a message: error 0 or a negative errno; extack is the kernel's text or NULL, borrowed for the call. index is
 * what was given to nk_batch_add. Called within the flush: it may add to other batches, not to this one, and says nothing over this
 * socket, whose answers are still being read.
 */
typedef void (*nk_ack_fn)(size_t index, int error, const char *extack, void *arg);
/* A message the kernel sent in answer (NLM_F_ECHO, a get or a dump). Borrowed for the call. */
typedef void (*nk_answer_fn)(size_t index, const struct nlmsghdr *h, void *arg);

/* Messages are copied; a batch is reused after a flush. Free with nk_batch_free. */
struct nk_batch *nk_batch_new(void);
struct nk_batch *nk_batch_free(struct nk_batch *b);
/* Append; NLM_F_REQUEST|NLM_F_ACK are set here. 0 or -ENOMEM. */
int nk_batch_add(struct nk_batch *b, struct nl_msg *msg, size_t index);
bool nk_batch_empty(const struct nk_batch *b);

/*
 * Send all that waits, a bounded window at a time (the receive buffer must hold the answers), and call ack once for each message, in
 * order. 0 when the conversation worked, whatever the acks said; -errno when the socket failed, then the rest was acked with
 * that error. The batch is empty afterwards. answer may be NULL.
 */
int nk_rtnl_flush(struct nk_rtnl *s, struct nk_batch *b, nk_ack_fn ack, nk_answer_fn answer, void *arg);

/*
 * Is there a link of this name in s's namespace? 1, 0 or -errno. By a request and not by if_nametoindex: that loads the kernel
 * module "netdev-<name>" for a name that is not there, which starts a process (dev_load).
 */
int nk_rtnl_link_exists(struct nk_rtnl *s, const char *name);

/* A dump: fn for each message. -EINTR when the kernel says it was interrupted (NLM_F_DUMP_INTR): start again. Else 0, -errno. */
int nk_rtnl_dump(struct nk_rtnl *s, struct nl_msg *msg, nk_answer_fn fn, void *arg);
