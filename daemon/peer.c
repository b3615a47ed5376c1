// SPDX-License-Identifier: GPL-2.0-only
/*
 * One client of the socket: its bytes in and out, its descriptors, its limits. server.c calls it in its rounds; replies come in
 * by nk_peer_send at any time. It may not call `closed` outside of nk_peer_close, and it closes nobody by itself: it marks.
 */
#include "daemon/peer.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/contract.h"

#define TURN_LINES 64
#define TURN_READS 16
#define IN_ROOM_MIN 4096
#define TRIM_ABOVE (256u << 10) /* bytes: freeing that much is worth a malloc_trim */
#define SEND_PIECES 16

/*
 * It is closed in the round's last step, but what it left unread is nobody's any more: were it still counted, others would be dropped
 * for it until then.
 */
static void die(struct nk_peer *p)
{
	size_t len = evbuffer_get_length(p->out);

	p->dead = true;
	p->s->out_total -= len;
	if (len > TRIM_ABOVE)
		p->s->trim = true;
	evbuffer_drain(p->out, len);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct nk_peer *p = arg;

	(void)fd;
	(void)what;
	p->readable = true;
	nk_server_ready(p);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct nk_peer *p = arg;

	(void)fd;
	if (!(what & EV_WRITE))
		nk_peer_drop(p, "it did not read what it had asked for"); /* no byte in all that time */
	nk_server_dirty(p);
}

struct nk_peer *nk_peer_new(struct nk_server *s, int fd)
{
	struct nk_peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->refs = 1;
	p->s = s;
	p->fd = fd;
	p->out = evbuffer_new();
	p->read_ev = event_new(s->base, fd, EV_READ | EV_PERSIST | EV_ET, on_readable, p);
	p->write_ev = event_new(s->base, fd, EV_WRITE | EV_PERSIST | EV_ET, on_writable, p);
	if (!p->out || !p->read_ev || !p->write_ev || event_add(p->read_ev, NULL) < 0) {
		if (p->read_ev)
			event_free(p->read_ev);
		if (p->write_ev)
			event_free(p->write_ev);
		if (p->out)
			evbuffer_free(p->out);
		free(p);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&s->peers, p, all);
	s->n_clients++;
	return p;
}

/* ---- in ---- */

static void in_free(struct nk_peer *p)
{
	p->s->in_total -= p->in_room;
	if (p->in_room > TRIM_ABOVE)
		p->s->trim = true;
	free(p->in);
	p->in = NULL;
	p->in_start = p->in_scanned = p->in_end = p->in_room = 0;
}

/* Append what was read. 0, -EFBIG when all clients together hold too much, -ENOMEM. */
static int in_append(struct nk_peer *p, const char *data, size_t len)
{
	size_t kept = p->in_end - p->in_start, room = p->in_room ? p->in_room : IN_ROOM_MIN;
	char *in;

	if (p->in_start) {
		memmove(p->in, p->in + p->in_start, kept);
		p->in_scanned -= p->in_start;
		p->in_start = 0;
		p->in_end = kept;
	}
	while (room < kept + len)
		room *= 2;
	if (room > p->in_room) {
		if (p->s->in_total - p->in_room + room > NK_BUFFERED_MAX && room > SCRATCH_SIZE)
			return -EFBIG;
		in = realloc(p->in, room);
		if (!in)
			return -ENOMEM;
		p->s->in_total += room - p->in_room;
		p->in = in;
		p->in_room = room;
	}
	memcpy(p->in + p->in_end, data, len);
	p->in_end += len;
	return 0;
}

/* Keep the descriptors that came with the chunk whose last byte is at `pos`. -EMFILE when they are too many. */
static int take_descriptors(struct nk_peer *p, struct msghdr *msg, uint64_t pos)
{
	int r = msg->msg_flags & MSG_CTRUNC ? -EMFILE : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (r == 0 && p->n_fds < 2 * NK_FDS_MAX) {
				p->fds[p->n_fds].fd = fd;
				p->fds[p->n_fds++].pos = pos;
			} else {
				close(fd);
				r = -EMFILE;
			}
		}
	}
	return r;
}

static void on_eof(struct nk_peer *p)
{
	struct pollfd pfd = { .fd = p->fd };

	p->readable = false;
	/* Asked for nothing, poll tells of POLLHUP and POLLERR: both directions have ended. Otherwise it has only finished asking. */
	if (poll(&pfd, 1, 0) == 1) {
		die(p);
	} else if (!p->eof) {
		p->eof = true;
		if (p->in_end > p->in_start)
			nk_peer_refuse(p, NK_REFUSED_TRUNCATED);
	}
	nk_server_dirty(p);
}

/* Read once. Only called while no whole line is waiting, so that descriptors belong to one of two lines at most. */
static void fill(struct nk_peer *p)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(NK_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = p->s->scratch, .iov_len = SCRATCH_SIZE };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf),
	};
	ssize_t n = recvmsg(p->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int r;

	if (n < 0) {
		if (errno == EAGAIN) {
			p->readable = false;
		} else if (errno != EINTR) {
			die(p);
			nk_server_dirty(p);
		}
		return;
	}
	if (n == 0) {
		on_eof(p);
		return;
	}
	r = take_descriptors(p, &msg, p->in_pos + (p->in_end - p->in_start) + (size_t)n - 1);
	if (r < 0) {
		nk_peer_refuse(p, NK_REFUSED_DESCRIPTORS);
		return;
	}
	r = in_append(p, p->s->scratch, (size_t)n);
	if (r < 0)
		nk_peer_refuse(p, NK_REFUSED_MEMORY);
}

/* Length of the first line, or -EAGAIN if it is not whole yet, or -EMSGSIZE. */
static ssize_t find_line(struct nk_peer *p)
{
	const char *nl = NULL;
	size_t len;

	if (p->in_scanned < p->in_end)
		nl = memchr(p->in + p->in_scanned, '\n', p->in_end - p->in_scanned);
	len = nl ? (size_t)(nl - p->in) - p->in_start : p->in_end - p->in_start;
	if (len > NK_MESSAGE_MAX)
		return -EMSGSIZE;
	if (nl)
		return (ssize_t)len;
	p->in_scanned = p->in_end;
	return -EAGAIN;
}

static void handle_line(struct nk_peer *p, size_t len)
{
	struct nk_server *s = p->s;
	uint64_t end = p->in_pos + len;
	int fds[2 * NK_FDS_MAX];
	size_t n = 0, kept = 0;

	/* They came in the order of their places. */
	while (n < p->n_fds && p->fds[n].pos <= end) {
		fds[n] = p->fds[n].fd;
		n++;
	}
	if (n > NK_FDS_MAX)
		nk_peer_refuse(p, NK_REFUSED_DESCRIPTORS);
	else
		p->stalled = !s->h.line(p, p->in + p->in_start, len, fds, n, s->h.arg);
	if (p->stalled)
		return;
	for (size_t i = n; i < p->n_fds; i++)
		p->fds[kept++] = p->fds[i];
	p->n_fds = kept;
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	p->in_start += len + 1;
	p->in_scanned = p->in_start;
	p->in_pos += len + 1;
	if (p->in_start == p->in_end)
		in_free(p);
}

static bool may_take_lines(const struct nk_peer *p)
{
	return !p->stalled && !p->closing && !p->dead && !p->s->stopped && evbuffer_get_length(p->out) < NK_REPLY_HIGH;
}

bool nk_peer_serve(struct nk_peer *p)
{
	unsigned lines = 0, reads = 0;

	if (p->eof && p->readable)
		on_eof(p); /* one more edge: perhaps it has gone now */
	while (may_take_lines(p)) {
		ssize_t len = find_line(p);

		if (len == -EMSGSIZE) {
			nk_peer_refuse(p, NK_REFUSED_TOO_LONG);
		} else if (len >= 0) {
			if (lines == TURN_LINES) {
				nk_server_ready(p);
				break;
			}
			handle_line(p, (size_t)len);
			lines++;
		} else if (!p->readable || p->eof) {
			break;
		} else if (reads == TURN_READS) {
			nk_server_ready(p);
			break;
		} else {
			fill(p);
			reads++;
		}
	}
	p->paused = evbuffer_get_length(p->out) >= NK_REPLY_HIGH;
	return lines > 0;
}

/* What it did to be refused; NULL: nothing that anybody else should know. */
static const char *misdeed(enum nk_refusal why)
{
	switch (why) {
	case NK_REFUSED_TOO_LONG:
		return "it sent a message that is longer than is allowed";
	case NK_REFUSED_MEMORY:
		return "all clients' unfinished messages together were longer than is allowed";
	case NK_REFUSED_DESCRIPTORS:
		return "it sent more descriptors than is allowed";
	case NK_REFUSED_TRUNCATED:
	case NK_REFUSED_CLIENTS:
		return NULL;
	}
	return NULL;
}

void nk_peer_refuse(struct nk_peer *p, enum nk_refusal why)
{
	if (p->closing)
		return;
	p->s->h.refused(p, why, p->s->h.arg);
	p->closing = true;
	p->why_dropped = misdeed(why);
	nk_server_dirty(p);
}

void nk_peer_drop(struct nk_peer *p, const char *why)
{
	if (!p->dead && !p->why_dropped)
		p->why_dropped = why;
	die(p);
	nk_server_dirty(p);
}

/* ---- out ---- */

static ssize_t send_some(struct nk_peer *p)
{
	struct evbuffer_iovec pieces[SEND_PIECES];
	int n = evbuffer_peek(p->out, -1, NULL, pieces, SEND_PIECES);
	struct iovec iov[SEND_PIECES];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t sent;

	if (n > SEND_PIECES)
		n = SEND_PIECES;
	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ .iov_base = pieces[i].iov_base, .iov_len = pieces[i].iov_len };
	msg.msg_iovlen = (size_t)n;
	sent = sendmsg(p->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sent < 0 ? -errno : sent;
}

void nk_peer_flush(struct nk_peer *p)
{
	bool progress = false;

	while (!p->dead && evbuffer_get_length(p->out) > 0) {
		ssize_t n = send_some(p);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN) {
			/* Also starts the time anew: it took something. */
			if ((!p->waiting || progress) && event_add(p->write_ev, &p->s->slow) < 0)
				die(p);
			p->waiting = true;
			break;
		}
		if (n < 0) {
			die(p);
			break;
		}
		evbuffer_drain(p->out, (size_t)n);
		p->s->out_total -= (size_t)n;
		progress = true;
	}
	if (p->notes > evbuffer_get_length(p->out))
		p->notes = evbuffer_get_length(p->out);
	if (p->dead)
		return;
	if (p->paused && evbuffer_get_length(p->out) < NK_REPLY_HIGH) {
		p->paused = false;
		p->s->trim = true;
		nk_server_ready(p);
	}
	if (p->waiting && evbuffer_get_length(p->out) == 0) {
		event_del(p->write_ev);
		p->waiting = false;
	}
}

static void queue(struct nk_peer *p, const char *text, size_t len)
{
	if (evbuffer_add(p->out, text, len) < 0) {
		die(p);
	} else {
		p->s->out_total += len;
		if (evbuffer_add(p->out, "\n", 1) < 0)
			die(p);
		else
			p->s->out_total++;
	}
	if (p->s->out_total > NK_BUFFERED_MAX)
		nk_server_drop_largest(p->s);
	nk_server_dirty(p);
}

void nk_peer_send(struct nk_peer *p, const char *text, size_t len)
{
	if (p->s && !p->dead && !p->closing)
		queue(p, text, len);
}

void nk_peer_notify(struct nk_peer *p, const char *text, size_t len)
{
	if (!p->s || p->dead || p->closing)
		return;
	if (p->notes + len + 1 > NK_NOTIFY_MAX) {
		nk_peer_drop(p, "it did not read the events that it had subscribed to");
		return;
	}
	p->notes += len + 1;
	queue(p, text, len);
}

/* ---- life ---- */

bool nk_peer_done(const struct nk_peer *p)
{
	if (p->dead)
		return true;
	if (evbuffer_get_length(p->out) > 0)
		return false;
	return p->closing || (p->eof && p->held == 0 && !p->is_ready && !p->stalled);
}

void nk_peer_close(struct nk_peer *p)
{
	struct nk_server *s = p->s;

	TAILQ_REMOVE(&s->peers, p, all);
	if (p->is_ready)
		TAILQ_REMOVE(&s->ready, p, in_ready);
	if (p->is_dirty)
		TAILQ_REMOVE(&s->dirty, p, in_dirty);
	p->is_ready = p->is_dirty = false;
	s->n_clients--;
	event_free(p->read_ev);
	event_free(p->write_ev);
	in_free(p);
	if (evbuffer_get_length(p->out) > TRIM_ABOVE)
		s->trim = true;
	s->out_total -= evbuffer_get_length(p->out);
	evbuffer_free(p->out);
	for (size_t i = 0; i < p->n_fds; i++)
		close(p->fds[i].fd);
	close(p->fd);
	p->s = NULL;
	nk_server_accept_again(s);
	s->h.closed(p, p->why_dropped, s->h.arg);
	nk_peer_unref(p);
}

struct nk_peer *nk_peer_ref(struct nk_peer *p)
{
	p->refs++;
	return p;
}

struct nk_peer *nk_peer_unref(struct nk_peer *p)
{
	if (p && --p->refs == 0)
		free(p); /* the server holds one until it is closed, so that all else is gone already */
	return NULL;
}

struct nk_peer *nk_peer_hold(struct nk_peer *p)
{
	p->held++;
	return nk_peer_ref(p);
}

void nk_peer_release(struct nk_peer *p)
{
	p->held--;
	if (p->s && p->eof && p->held == 0)
		nk_server_dirty(p);
	nk_peer_unref(p);
}

unsigned nk_peer_held(const struct nk_peer *p)
{
	return p->held;
}

bool nk_peer_gone(const struct nk_peer *p)
{
	return !p->s || p->dead;
}

bool nk_peer_may_change(const struct nk_peer *p)
{
	return p->may_change;
}

const char *nk_peer_who_may_change(const struct nk_peer *p)
{
	return p->s ? p->s->who_may_change : "";
}

pid_t nk_peer_pid(const struct nk_peer *p)
{
	return p->pid;
}

uid_t nk_peer_uid(const struct nk_peer *p)
{
	return p->uid;
}
