// SPDX-License-Identifier: GPL-2.0-only
/*
 * The socket's server: who may connect, with which rights, and who is served when. The manager makes one. The bytes of a client
 * are peer.c's, the listening socket listen.c's. It may not know what a line says.
 */
#include "daemon/server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/peer.h"

#define ACCEPTS_A_WAKEUP 16
#define ACCEPT_RETRY_S 1

/* ---- rounds ---- */

static void run_round(struct nk_server *s)
{
	struct nk_peers now = TAILQ_HEAD_INITIALIZER(now);
	struct nk_peer *p;
	bool lines = false;

	/* Those that want a further turn enter the list anew and have it in the next wake-up. */
	TAILQ_CONCAT(&now, &s->ready, in_ready);
	while ((p = TAILQ_FIRST(&now))) {
		TAILQ_REMOVE(&now, p, in_ready);
		p->is_ready = false;
		lines |= nk_peer_serve(p);
	}
	if (lines)
		s->h.idle(s->h.arg);
	while ((p = TAILQ_FIRST(&s->dirty))) {
		TAILQ_REMOVE(&s->dirty, p, in_dirty);
		p->is_dirty = false;
		nk_peer_flush(p);
		if (nk_peer_done(p))
			nk_peer_close(p);
	}
	if (s->trim)
		malloc_trim(0);
	s->trim = false;
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval at_once = { 0 };
	struct nk_server *s = arg;

	(void)fd;
	(void)what;
	s->in_round = true;
	run_round(s);
	s->in_round = false;
	/* Through the timer, not by activating: so that the loop looks at everything else in between. */
	if (!TAILQ_EMPTY(&s->ready))
		event_add(s->round_ev, &at_once);
}

/* Behind all events of this wake-up that libevent has found already. */
static void want_round(struct nk_server *s)
{
	if (!s->in_round)
		event_active(s->round_ev, 0, 0);
}

void nk_server_ready(struct nk_peer *p)
{
	if (p->is_ready || p->s->stopped)
		return;
	p->is_ready = true;
	TAILQ_INSERT_TAIL(&p->s->ready, p, in_ready);
	want_round(p->s);
}

void nk_server_dirty(struct nk_peer *p)
{
	if (p->is_dirty)
		return;
	p->is_dirty = true;
	TAILQ_INSERT_TAIL(&p->s->dirty, p, in_dirty);
	want_round(p->s);
}

void nk_server_drop_largest(struct nk_server *s)
{
	struct nk_peer *p, *largest = NULL;
	size_t most = 0;

	TAILQ_FOREACH(p, &s->peers, all) {
		size_t len = p->dead ? 0 : evbuffer_get_length(p->out);

		if (len > most) {
			most = len;
			largest = p;
		}
	}
	if (largest)
		nk_peer_drop(largest, "of all clients it had left most unread, and together they had left too much");
}

/* ---- clients ---- */

static bool is_admin_group(const struct nk_server *s, gid_t gid)
{
	for (size_t i = 0; i < s->n_admin_gids; i++)
		if (s->admin_gids[i] == gid)
			return true;
	return false;
}

static void learn_rights(struct nk_peer *p)
{
	struct ucred cred = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	socklen_t len = sizeof(cred);
	gid_t *groups;

	if (getsockopt(p->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return; /* p->uid stays as it was set: nobody's */
	p->pid = cred.pid;
	p->uid = cred.uid;
	p->may_change = cred.uid == 0 || is_admin_group(p->s, cred.gid);
	if (p->may_change || p->s->n_admin_gids == 0)
		return;
	len = 0;
	if (getsockopt(p->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return; /* it has none */
	groups = malloc(len);
	if (!groups)
		return;
	if (getsockopt(p->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0)
		for (size_t i = 0; i < len / sizeof(*groups); i++)
			p->may_change |= is_admin_group(p->s, groups[i]);
	free(groups);
}

static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	const struct timeval later = { .tv_sec = ACCEPT_RETRY_S };
	struct nk_server *s = arg;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_WAKEUP; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct nk_peer *p;

		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno == EAGAIN)
				return;
			/* Out of descriptors or memory. The event would fire for ever: wait for one to close. */
			event_del(s->accept_ev);
			event_add(s->accept_retry_ev, &later);
			return;
		}
		p = nk_peer_new(s, fd);
		if (!p) {
			close(fd);
			continue;
		}
		p->uid = (uid_t)-1;
		learn_rights(p);
		if (s->n_clients > s->max_clients)
			nk_peer_refuse(p, NK_REFUSED_CLIENTS);
	}
}

static void on_accept_retry(evutil_socket_t fd, short what, void *arg)
{
	struct nk_server *s = arg;

	(void)fd;
	(void)what;
	if (!s->stopped)
		event_add(s->accept_ev, NULL);
}

void nk_server_accept_again(struct nk_server *s)
{
	if (s->accept_retry_ev && event_pending(s->accept_retry_ev, EV_TIMEOUT, NULL)) {
		event_del(s->accept_retry_ev);
		on_accept_retry(-1, 0, s);
	}
}

/* ---- life ---- */

/* Resolve the groups' names once: afterwards the loop must not wait for a directory service. */
static int learn_admin_groups(struct nk_server *s, const struct nk_server_options *o, char *why, size_t size)
{
	size_t len;
	FILE *f;

	s->admin_gids = calloc(o->n_admin_groups ? o->n_admin_groups : 1, sizeof(*s->admin_gids));
	f = open_memstream(&s->who_may_change, &len);
	if (!s->admin_gids || !f) {
		if (f)
			fclose(f);
		return -ENOMEM;
	}
	fprintf(f, "uid 0");
	for (size_t i = 0; i < o->n_admin_groups; i++) {
		int r = nk_group_find("admin_groups", o->admin_groups[i], &s->admin_gids[s->n_admin_gids], why, size);

		if (r < 0) {
			fclose(f);
			return r;
		}
		s->n_admin_gids++;
		fprintf(f, "%s%s", i == 0 ? " and members of group " : ", ", o->admin_groups[i]);
	}
	return fclose(f) ? -ENOMEM : 0;
}

static int make_events(struct nk_server *s)
{
	s->accept_ev = event_new(s->base, s->listener.fd, EV_READ | EV_PERSIST, on_accept, s);
	s->accept_retry_ev = evtimer_new(s->base, on_accept_retry, s);
	s->round_ev = evtimer_new(s->base, on_round, s);
	if (!s->accept_ev || !s->accept_retry_ev || !s->round_ev)
		return -ENOMEM;
	return event_add(s->accept_ev, NULL) < 0 ? -ENOMEM : 0;
}

int nk_server_new(struct event_base *base, const struct nk_server_options *o, const struct nk_server_handlers *h,
		  struct nk_server **ret, char *why, size_t size)
{
	unsigned slow_ms = o->slow_ms ? o->slow_ms : NK_SLOW_S * 1000;
	struct nk_server *s = calloc(1, sizeof(*s));
	int r;

	snprintf(why, size, "memory is out");
	if (!s)
		return -ENOMEM;
	s->base = base;
	s->h = *h;
	s->listener.fd = -1;
	s->max_clients = o->max_clients;
	s->slow = (struct timeval){ .tv_sec = slow_ms / 1000, .tv_usec = slow_ms % 1000 * 1000 };
	TAILQ_INIT(&s->peers);
	TAILQ_INIT(&s->ready);
	TAILQ_INIT(&s->dirty);
	s->scratch = malloc(SCRATCH_SIZE);
	r = s->scratch ? learn_admin_groups(s, o, why, size) : -ENOMEM;
	if (r == 0)
		r = o->listen_fd >= 0 ? nk_listener_adopt(o->listen_fd, &s->listener, why, size)
				      : nk_listener_open(o->path, o->group, &s->listener, why, size);
	if (r == 0)
		r = make_events(s);
	if (r < 0) {
		if (s->listener.fd == o->listen_fd)
			s->listener.fd = -1; /* stays the caller's */
		nk_server_free(s);
		return r;
	}
	snprintf(why, size, "%s", "");
	*ret = s;
	return 0;
}

struct nk_server *nk_server_free(struct nk_server *s)
{
	struct nk_peer *p;

	if (!s)
		return NULL;
	s->stopped = true;
	if (s->accept_retry_ev)
		event_free(s->accept_retry_ev);
	s->accept_retry_ev = NULL;
	while ((p = TAILQ_FIRST(&s->peers))) {
		nk_peer_flush(p);
		nk_peer_close(p);
	}
	if (s->accept_ev)
		event_free(s->accept_ev);
	if (s->round_ev)
		event_free(s->round_ev);
	nk_listener_close(&s->listener);
	free(s->admin_gids);
	free(s->who_may_change);
	free(s->scratch);
	free(s);
	return NULL;
}

void nk_server_go_on(struct nk_server *s)
{
	struct nk_peer *p;

	TAILQ_FOREACH(p, &s->peers, all) {
		if (!p->stalled)
			continue;
		p->stalled = false;
		nk_server_ready(p);
	}
}

size_t nk_server_n_clients(const struct nk_server *s)
{
	return s->n_clients;
}

void nk_server_stop_reading(struct nk_server *s)
{
	struct nk_peer *p;

	s->stopped = true;
	event_del(s->accept_ev);
	while ((p = TAILQ_FIRST(&s->ready))) {
		TAILQ_REMOVE(&s->ready, p, in_ready);
		p->is_ready = false;
	}
}
