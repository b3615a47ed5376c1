// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The event socket: rtnetlink's multicast groups (links, addresses, routes of IPv4 and IPv6, namespaces' ids) of this namespace
 * and of all that have an nsid here (NETLINK_LISTEN_ALL_NSID). Non-blocking; the loop waits on its descriptor.
 */
#include <linux/netlink.h>
#include <stdint.h>

struct nk_monitor;

int nk_monitor_open(struct nk_monitor **ret);
struct nk_monitor *nk_monitor_close(struct nk_monitor *m);
int nk_monitor_fd(const struct nk_monitor *m);

/*
 * Read until the socket is empty or `max` messages were told (0: as many as can have waited when it began). 0: empty; 1: more waits;
 * -ENOBUFS: messages were lost, what is known must be read anew (the socket stays usable; also for ENOMEM); -EMSGSIZE: the same, one
 * was cut off; -errno. pid is the requester's port id.
 */
typedef void (*nk_monitor_fn)(const struct nlmsghdr *h, int32_t nsid, void *arg);
int nk_monitor_read(struct nk_monitor *m, unsigned max, nk_monitor_fn fn, void *arg);
/* How many bytes of events may wait; the kernel reserves nothing. 0 or -errno. */
int nk_monitor_set_buffer(struct nk_monitor *m, int bytes);
