// SPDX-License-Identifier: GPL-2.0-only
/*
 * The event socket of monitor.h. The loop reads it when it is readable; what the messages mean is the cache's. It sends nothing.
 *
 * Much of what a busy host's rtnetlink says is none of our business: the local routes of each address, other tables, bridge ports. A socket filter drops that in the kernel, where it costs neither a wake-up nor a place in the buffer.
 */
#include "daemon/kernel/monitor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/netns.h"
#include "daemon/kernel/rtnl.h"

/* A bound, not a reservation: ten thousand devices that go at once are some 60 MB in the kernel's books. */
#define RCVBUF (64 * 1024 * 1024)
/* Messages that may wait at once: the kernel doubles RCVBUF, and counts at least this much for each (a struct sk_buff and its data). */
#define HOLDS (2 * RCVBUF / 512)

/* Messages of one recvmmsg. A netkit link mostly takes 2 KiB, which is what becomes resident of a slot. */
#define SLOTS 32
#define SLOT_BYTES NK_RTNL_MESSAGE_MAX

struct nk_monitor {
	int fd; /* owned */
	unsigned char buf[SLOTS][SLOT_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static const int groups[] = {
	RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NSID,
};

/* Where in a message, and how a classic BPF load sees a 16 bit number of it: that reads big-endian. */
#define AT(type, member) (NLMSG_HDRLEN + offsetof(type, member))
#define LOAD(size, offset) BPF_STMT(BPF_LD | (size) | BPF_ABS, (offset))
#define JUMP_IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define PASS BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)
#define DROP BPF_STMT(BPF_RET | BPF_K, 0)

static int attach_filter(int fd)
{
	/* Jumps count the instructions that are left out. */
	struct sock_filter code[] = {
		/* 0 */ LOAD(BPF_H, offsetof(struct nlmsghdr, nlmsg_type)),
		/* 1 */ JUMP_IF(htons(RTM_NEWLINK), 4, 0),
		/* 2 */ JUMP_IF(htons(RTM_DELLINK), 3, 0),
		/* 3 */ JUMP_IF(htons(RTM_NEWROUTE), 4, 0),
		/* 4 */ JUMP_IF(htons(RTM_DELROUTE), 3, 0),
		/* 5 */ PASS,
		/* 6: the link itself, not a bridge's view of it */
		LOAD(BPF_B, AT(struct ifinfomsg, ifi_family)),
		/* 7 */ JUMP_IF(AF_UNSPEC, 2, 3),
		/* 8: routes of the main table */
		LOAD(BPF_B, AT(struct rtmsg, rtm_table)),
		/* 9 */ JUMP_IF(RT_TABLE_MAIN, 0, 1),
		/* 10 */ PASS,
		/* 11 */ DROP,
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int nk_monitor_open(struct nk_monitor **ret)
{
	_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	struct nk_monitor *m;
	int r;

	if (fd < 0)
		return -errno;
	r = attach_filter(fd);
	/* Needs CAP_NET_BROADCAST, and so does each message from another namespace. */
	if (!r)
		r = set_option(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1);
	if (!r)
		r = set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF);
	if (!r && bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0)
		r = -errno;
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]) && !r; i++)
		r = set_option(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, groups[i]);
	if (r < 0)
		return r;
	m = malloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->fd = nk_take_fd(&fd);
	*ret = m;
	return 0;
}

struct nk_monitor *nk_monitor_close(struct nk_monitor *m)
{
	if (m) {
		close(m->fd);
		free(m);
	}
	return NULL;
}

int nk_monitor_fd(const struct nk_monitor *m)
{
	return m->fd;
}

/* The namespace of a datagram: what the kernel says beside it, which it does for all namespaces but the socket's own. */
static int32_t nsid_of(struct msghdr *m)
{
	int32_t nsid;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_NETLINK || c->cmsg_type != NETLINK_LISTEN_ALL_NSID)
			continue;
		memcpy(&nsid, CMSG_DATA(c), sizeof(nsid));
		return nsid;
	}
	return NK_NSID_HOST;
}

/* 0, or -EMSGSIZE: it was cut off, so nobody knows what it told. */
static int tell(struct nk_monitor *m, unsigned int slot, struct mmsghdr *msg, nk_monitor_fn fn, void *arg)
{
	const struct sockaddr_nl *from = msg->msg_hdr.msg_name;
	struct nlmsghdr *h = (struct nlmsghdr *)m->buf[slot];
	int32_t nsid = nsid_of(&msg->msg_hdr);
	int len = (int)msg->msg_len;

	/* Only the kernel is believed. */
	if (from->nl_pid)
		return 0;
	if (msg->msg_hdr.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	for (; nlmsg_ok(h, len); h = nlmsg_next(h, &len))
		fn(h, nsid, arg);
	return 0;
}

/* One recvmmsg of at most n datagrams. Their number, 0 when there is none, or -errno. fn NULL: thrown away. */
static int read_some(struct nk_monitor *m, unsigned int n, nk_monitor_fn fn, void *arg)
{
	struct mmsghdr msgs[SLOTS] = { 0 };
	struct sockaddr_nl from[SLOTS];
	struct iovec iov[SLOTS];
	union {
		char space[CMSG_SPACE(sizeof(int32_t))];
		struct cmsghdr align;
	} control[SLOTS];
	int got, r = 0;

	for (unsigned int i = 0; i < n; i++) {
		iov[i] = (struct iovec){ m->buf[i], SLOT_BYTES };
		msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &iov[i], .msg_iovlen = 1,
			.msg_control = &control[i], .msg_controllen = sizeof(control[i]),
		};
	}
	got = recvmmsg(m->fd, msgs, n, MSG_DONTWAIT, NULL);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (int i = 0; i < got && fn && !r; i++)
		r = tell(m, (unsigned int)i, &msgs[i], fn, arg);
	return r < 0 ? r : got;
}

/* After an overrun the kernel keeps the socket shut until it is empty. What still waits in it is of no use. */
static int drain(struct nk_monitor *m)
{
	int n;

	do
		n = read_some(m, SLOTS, NULL, NULL);
	while (n > 0 || n == -ENOBUFS || n == -ENOMEM);
	return n < 0 ? n : -ENOBUFS;
}

int nk_monitor_read(struct nk_monitor *m, unsigned max, nk_monitor_fn fn, void *arg)
{
	unsigned int told = 0;

	/* What comes meanwhile need not be read, and he who makes events all the time would keep us here. */
	if (!max)
		max = HOLDS;
	for (;;) {
		unsigned int n = max - told < SLOTS ? max - told : SLOTS;
		int got;

		if (!n)
			return 1;
		got = read_some(m, n, fn, arg);
		if (got == -ENOBUFS || got == -ENOMEM)
			return drain(m);
		if (got < 0)
			return got;
		/* Less than asked for: empty, which spares the call that would say so. The descriptor is polled by level. */
		if ((unsigned int)got < n)
			return 0;
		told += (unsigned int)got;
	}
}

int nk_monitor_set_buffer(struct nk_monitor *m, int bytes)
{
	return set_option(m->fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes);
}
