// SPDX-License-Identifier: GPL-2.0-only
/*
 * The request socket of rtnl.h: windows of requests out, acknowledgements and answers in. The executor calls it, in whatever
 * namespace it is; it builds no message and knows no device.
 *
 * rtnetlink works inside sendmsg, so when that returns the answers wait in the receive buffer. An answer that didn't fit is lost
 * without a word, and is told from one that is late by the answers behind it.
 */
#include "daemon/kernel/rtnl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/message.h"

/*
 * A window: what one sendmsg takes. Its answers must fit RCVBUF, which the kernel doubles and doesn't reserve: 2 KiB each for a created
 * link, the largest message for each link in the worst case, twice that in the kernel's books.
 */
#define WINDOW_BYTES (64 * 1024)
#define WINDOW_MESSAGES 128
#define RCVBUF (16 * 1024 * 1024)

/* Datagrams of one recvmmsg. Of acknowledgements they share a buffer, which a part of a dump has for itself; answers have one each. */
#define SLOTS 8

/* Nothing is late by design; this only keeps a broken conversation from hanging. Milliseconds. */
#define ANSWER_TIMEOUT 10000

struct nk_rtnl {
	int fd; /* owned */
	uint32_t seq; /* the last one used */
	dev_t dev;
	ino_t ino;
	unsigned char *answers; /* owned: SLOTS buffers. NULL: none were awaited yet, as in most sockets that live for a visit */
	unsigned char buf[NK_RTNL_MESSAGE_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
};

struct nk_batch {
	unsigned char *data; /* owned: messages, each aligned */
	size_t len, room;
	struct entry {
		size_t offset; /* of the message in data */
		size_t index;  /* the caller's */
	} *entries; /* owned */
	size_t n, entries_room;
};

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int nk_rtnl_open(struct nk_rtnl **ret)
{
	_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct nk_rtnl *s;
	struct stat st;
	int r;

	if (fd < 0 || stat("/proc/thread-self/ns/net", &st) < 0)
		return -errno;
	r = set_option(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
	if (!r)
		r = set_option(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
	if (!r)
		r = set_option(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
	if (r < 0)
		return r;
	/* Without CAP_NET_ADMIN (a test, an unprivileged look) the default bound has to do. */
	if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF) < 0)
		set_option(fd, SOL_SOCKET, SO_RCVBUF, RCVBUF);
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->fd = nk_take_fd(&fd);
	s->seq = 0;
	s->answers = NULL;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	*ret = s;
	return 0;
}

struct nk_rtnl *nk_rtnl_close(struct nk_rtnl *s)
{
	if (s) {
		close(s->fd);
		free(s->answers);
		free(s);
	}
	return NULL;
}

void nk_rtnl_netns(const struct nk_rtnl *s, dev_t *ret_dev, ino_t *ret_ino)
{
	*ret_dev = s->dev;
	*ret_ino = s->ino;
}

struct nk_batch *nk_batch_new(void)
{
	return calloc(1, sizeof(struct nk_batch));
}

struct nk_batch *nk_batch_free(struct nk_batch *b)
{
	if (b) {
		free(b->data);
		free(b->entries);
		free(b);
	}
	return NULL;
}

/* Make room for `need` elements of `size` bytes, doubling. 0 or -ENOMEM. */
static int reserve(void *list, size_t *room, size_t need, size_t size)
{
	size_t larger = *room ? *room : 64;
	void *p;

	if (need <= *room)
		return 0;
	while (larger < need)
		larger *= 2;
	memcpy(&p, list, sizeof(p));
	p = reallocarray(p, larger, size);
	if (!p)
		return -ENOMEM;
	memcpy(list, &p, sizeof(p));
	*room = larger;
	return 0;
}

int nk_batch_add(struct nk_batch *b, struct nl_msg *msg, size_t index)
{
	const struct nlmsghdr *from = nlmsg_hdr(msg);
	size_t size = NLMSG_ALIGN(from->nlmsg_len);
	struct nlmsghdr *h;

	if (reserve(&b->data, &b->room, b->len + size, 1) < 0 ||
	    reserve(&b->entries, &b->entries_room, b->n + 1, sizeof(*b->entries)) < 0)
		return -ENOMEM;
	h = (struct nlmsghdr *)(b->data + b->len);
	memset((char *)h + size - NLMSG_ALIGNTO, 0, NLMSG_ALIGNTO);
	memcpy(h, from, from->nlmsg_len);
	h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_pid = 0;
	b->entries[b->n++] = (struct entry){ .offset = b->len, .index = index };
	b->len += size;
	return 0;
}

bool nk_batch_empty(const struct nk_batch *b)
{
	return !b->n;
}

static int send_all(int fd, void *data, size_t len)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t n;

	do
		n = sendto(fd, data, len, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EMSGSIZE;
}

/* Wait for something to read. 0, -ETIMEDOUT or -errno. */
static int wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n;

	do
		n = poll(&p, 1, ANSWER_TIMEOUT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

/*
 * The text of an acknowledgement's attributes, which begin at `a`: the kernel's sentence, and which attribute of the request
 * (NULL: unknown) it means. Returns buf, or NULL when there is nothing to tell.
 */
static const char *read_extack(struct nlattr *a, int rem, const struct nlmsghdr *request, char *buf, size_t size)
{
	const char *text = NULL, *path = NULL;
	char path_buf[128];
	uint32_t missing = 0;
	int text_len = 0;

	for (; nla_ok(a, rem); a = nla_next(a, &rem)) {
		switch (nla_type(a)) {
		case NLMSGERR_ATTR_MSG:
			text = nla_data(a);
			text_len = (int)strnlen(text, (size_t)nla_len(a));
			break;
		case NLMSGERR_ATTR_OFFS:
			if (request && nla_len(a) >= (int)sizeof(uint32_t))
				path = nk_msg_attr_path(request, nla_get_u32(a), path_buf, sizeof(path_buf));
			break;
		case NLMSGERR_ATTR_MISS_TYPE:
			if (nla_len(a) >= (int)sizeof(uint32_t))
				missing = nla_get_u32(a);
			break;
		}
	}
	if (text && path)
		snprintf(buf, size, "%.*s (%s)", text_len, text, path);
	else if (text)
		snprintf(buf, size, "%.*s", text_len, text);
	else if (path)
		snprintf(buf, size, "The kernel doesn't take %s", path);
	else if (missing)
		snprintf(buf, size, "The kernel misses attribute %u", missing);
	else
		return NULL;
	return buf;
}

/* Read an NLMSG_ERROR. 0 with its errno in *ret_error, or -EBADMSG. */
static int read_ack(const struct nlmsghdr *h, const struct nlmsghdr *request, int *ret_error, const char **ret_text, char *buf,
		    size_t size)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);
	size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(*e));

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)))
		return -EBADMSG;
	*ret_error = e->error > 0 ? -e->error : e->error;
	*ret_text = NULL;
	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return 0;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		at += NLMSG_ALIGN(e->msg.nlmsg_len) - NLMSG_HDRLEN;
	if (at < h->nlmsg_len)
		*ret_text = read_extack((struct nlattr *)((char *)h + at), (int)(h->nlmsg_len - at), request, buf, size);
	return 0;
}

/* A window whose answers are awaited. */
struct window {
	struct nk_batch *batch;
	size_t next, end;   /* entries not acknowledged yet */
	uint32_t first_seq; /* of entry `first` */
	size_t first;
	nk_ack_fn ack;
	nk_answer_fn answer; /* may be NULL */
	void *arg;
};

static struct nlmsghdr *entry_msg(const struct nk_batch *b, size_t i)
{
	return (struct nlmsghdr *)(b->data + b->entries[i].offset);
}

/* Acknowledge everything before `end` with an error of our own. */
static void ack_missing(struct window *w, size_t end, int error, const char *text)
{
	for (; w->next < end; w->next++)
		w->ack(w->batch->entries[w->next].index, error, text, w->arg);
}

static void take_message(struct window *w, const struct nlmsghdr *h)
{
	size_t i = w->first + (h->nlmsg_seq - w->first_seq);
	const char *text;
	char buf[512];
	int error;

	if (h->nlmsg_seq - w->first_seq >= w->end - w->first || i < w->next)
		return; /* a late answer to a conversation that was given up */
	if (h->nlmsg_type != NLMSG_ERROR) {
		if (w->answer)
			w->answer(w->batch->entries[i].index, h, w->arg);
		return;
	}
	if (read_ack(h, entry_msg(w->batch, i), &error, &text, buf, sizeof(buf)) < 0)
		return;
	ack_missing(w, i, -ENOBUFS, "The kernel's acknowledgement was lost");
	w->ack(w->batch->entries[i].index, error, text, w->arg);
	w->next++;
}

/* Read what waits, a few datagrams at once. 0; -EAGAIN: nothing; -ENOBUFS: something was lost; -errno. */
static int take_datagrams(struct nk_rtnl *s, struct window *w)
{
	struct mmsghdr msgs[SLOTS] = { 0 };
	struct sockaddr_nl from[SLOTS];
	struct iovec iov[SLOTS];
	unsigned char *buf = w->answer ? s->answers : s->buf;
	size_t size = w->answer ? sizeof(s->buf) : sizeof(s->buf) / SLOTS;
	bool truncated = false;
	int n;

	for (size_t i = 0; i < SLOTS; i++) {
		iov[i] = (struct iovec){ buf + i * size, size };
		msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &iov[i], .msg_iovlen = 1,
		};
	}
	n = recvmmsg(s->fd, msgs, SLOTS, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		const struct nlmsghdr *h = iov[i].iov_base;
		int len = (int)msgs[i].msg_len;

		if (from[i].nl_pid) /* only the kernel is believed */
			continue;
		if (msgs[i].msg_hdr.msg_flags & MSG_TRUNC) {
			truncated = true;
			continue;
		}
		for (; nlmsg_ok(h, len); h = nlmsg_next((struct nlmsghdr *)h, &len))
			take_message(w, h);
	}
	return truncated ? -ENOBUFS : 0;
}

static int collect(struct nk_rtnl *s, struct window *w)
{
	bool lost = false;
	int r;

	while (w->next < w->end) {
		r = take_datagrams(s, w);
		if (r == -ENOBUFS) {
			lost = true;
		} else if (r == -EAGAIN && lost) {
			ack_missing(w, w->end, -ENOBUFS, "The kernel's acknowledgement was lost");
		} else if (r == -EAGAIN) {
			r = wait_readable(s->fd);
			if (r < 0)
				return r;
		} else if (r < 0) {
			return r;
		}
	}
	return 0;
}

static int run_window(struct nk_rtnl *s, struct window *w)
{
	size_t begin = w->batch->entries[w->first].offset;
	size_t end = w->end < w->batch->n ? w->batch->entries[w->end].offset : w->batch->len;
	int r;

	w->first_seq = s->seq + 1;
	for (size_t i = w->first; i < w->end; i++)
		entry_msg(w->batch, i)->nlmsg_seq = ++s->seq;
	r = send_all(s->fd, w->batch->data + begin, end - begin);
	return r < 0 ? r : collect(s, w);
}

int nk_rtnl_flush(struct nk_rtnl *s, struct nk_batch *b, nk_ack_fn ack, nk_answer_fn answer, void *arg)
{
	struct window w = { .batch = b, .ack = ack, .answer = answer, .arg = arg };
	int r = 0;

	if (answer && !s->answers) {
		s->answers = malloc(SLOTS * sizeof(s->buf));
		r = s->answers ? 0 : -ENOMEM;
	}
	while (w.end < b->n && !r) {
		size_t begin = b->entries[w.end].offset;

		w.first = w.next = w.end;
		do
			w.end++;
		while (w.end < b->n && w.end - w.first < WINDOW_MESSAGES &&
		       entry_msg(b, w.end)->nlmsg_len + b->entries[w.end].offset - begin <= WINDOW_BYTES);
		r = run_window(s, &w);
	}
	if (r < 0)
		ack_missing(&w, b->n, r, "The conversation with the kernel failed");
	b->n = 0;
	b->len = 0;
	return r;
}

/* What a part of a dump said about its end. */
struct dump {
	uint32_t seq;
	bool done, interrupted;
	int error; /* of the dump as a whole, negative errno */
};

static void take_dump_message(struct dump *d, const struct nlmsghdr *h, nk_answer_fn fn, void *arg)
{
	if (h->nlmsg_seq != d->seq)
		return;
	if (h->nlmsg_flags & NLM_F_DUMP_INTR)
		d->interrupted = true;
	if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
		/* Both begin with an errno. */
		d->done = true;
		if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(int)))
			memcpy(&d->error, NLMSG_DATA(h), sizeof(int));
	} else if (h->nlmsg_type >= NLMSG_MIN_TYPE) {
		fn(0, h, arg);
	}
}

static int take_dump_part(struct nk_rtnl *s, struct dump *d, nk_answer_fn fn, void *arg)
{
	struct sockaddr_nl from;
	struct iovec iov = { s->buf, sizeof(s->buf) };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };
	const struct nlmsghdr *h = (const struct nlmsghdr *)s->buf;
	ssize_t n;
	int len;

	n = recvmsg(s->fd, &m, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return wait_readable(s->fd);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (from.nl_pid)
		return 0;
	if (m.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	for (len = (int)n; nlmsg_ok(h, len); h = nlmsg_next((struct nlmsghdr *)h, &len))
		take_dump_message(d, h, fn, arg);
	return 0;
}

int nk_rtnl_dump(struct nk_rtnl *s, struct nl_msg *msg, nk_answer_fn fn, void *arg)
{
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct dump d = { .seq = ++s->seq };
	int r;

	h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = d.seq;
	h->nlmsg_pid = 0;
	r = send_all(s->fd, h, h->nlmsg_len);
	while (!r && !d.done)
		r = take_dump_part(s, &d, fn, arg);
	if (r < 0)
		return r;
	/* A fresh namespace has no main table yet: it is empty. */
	if (d.error == -ENOENT && h->nlmsg_type == RTM_GETROUTE)
		d.error = 0;
	if (d.error)
		return d.error;
	return d.interrupted ? -EINTR : 0;
}

struct found {
	int error;
};

static void ack_found(size_t index, int error, const char *extack, void *arg)
{
	struct found *f = arg;

	f->error = error;
}

int nk_rtnl_link_exists(struct nk_rtnl *s, const char *name)
{
	struct nl_msg *msg = nk_msg_find_link(name);
	struct nk_batch *b = nk_batch_new();
	struct found f = { 0 };
	int r = msg && b ? nk_batch_add(b, msg, 0) : -ENOMEM;

	if (!r)
		r = nk_rtnl_flush(s, b, ack_found, NULL, &f);
	nk_batch_free(b);
	nlmsg_free(msg);
	if (!r)
		r = f.error;
	return r == -ENODEV ? 0 : r < 0 ? r : 1;
}
