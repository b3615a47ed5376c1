// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What server.c and peer.c share: server.c decides who is served when, peer.c moves the bytes of one client. Nobody else
 * includes this.
 *
 * The flow of a wake-up: libevent tells of each ready client, which only enters the list `ready`; after the last of them
 * comes the round: every ready client has one turn, then `idle` commits and answers, then all that was answered goes out.
 * Clients are closed in the round's last step only, so that no handler ever sees one vanish. Events are edge-triggered:
 * pausing a client costs no system call, and after a client ended its stream one more edge tells that it has gone altogether.
 */
#include <sys/queue.h>
#include <sys/time.h>

#include "daemon/listen.h"
#include "daemon/server.h"

#define SCRATCH_SIZE (64u << 10) /* bytes of one read */

struct event;
struct evbuffer;

TAILQ_HEAD(nk_peers, nk_peer);

struct nk_server {
	struct event_base *base; /* borrowed */
	struct nk_server_handlers h;
	struct nk_listener listener;
	struct event *accept_ev; /* owned, like all events */
	struct event *accept_retry_ev; /* when descriptors ran out */
	struct event *round_ev;
	struct nk_peers peers; /* all; each holds one reference */
	struct nk_peers ready; /* to be served in the next round */
	struct nk_peers dirty; /* to be flushed, and closed if they are done, in the next round */
	size_t n_clients;
	size_t in_total, out_total; /* bytes in the buffers of all clients */
	unsigned max_clients;
	gid_t *admin_gids; /* owned */
	size_t n_admin_gids;
	char *who_may_change; /* owned */
	struct timeval slow;
	bool stopped;     /* takes no new lines */
	bool in_round;
	bool trim;        /* something large was freed: give it back to the system */
	char *scratch;    /* owned, SCRATCH_SIZE bytes: what was just read */
};

struct nk_peer {
	unsigned refs, held;
	struct nk_server *s; /* NULL once it has gone */
	int fd;              /* owned */
	struct event *read_ev, *write_ev;
	TAILQ_ENTRY(nk_peer) all, in_ready, in_dirty;
	bool is_ready, is_dirty; /* in these lists */

	pid_t pid;
	uid_t uid;
	bool may_change;

	bool readable; /* the kernel may hold more of it: no EAGAIN since the last edge */
	bool eof;      /* it ended its stream; its answers are still wanted */
	bool closing;  /* close when all is sent, take no more lines */
	bool dead;     /* close at once; out is empty */
	const char *why_dropped; /* static; NULL: its own doing, or nobody's */
	bool paused;   /* its lines wait until it has read its replies */
	bool stalled;  /* its lines wait until nk_server_go_on */
	bool waiting;  /* write_ev is added: the kernel takes no more now */

	/* Bytes not yet handled are in[in_start..in_end); in[in_start..in_scanned) holds no newline. */
	char *in; /* owned, in_room bytes */
	size_t in_start, in_scanned, in_end, in_room;
	uint64_t in_pos; /* place of in[in_start] in the client's stream */
	/* Descriptors that came, each with the place of the last byte of its delivery. */
	struct {
		int fd;
		uint64_t pos;
	} fds[2 * NK_FDS_MAX];
	size_t n_fds;

	struct evbuffer *out; /* owned */
	size_t notes;         /* upper bound of the notification bytes in out */
};

/* peer.c */
struct nk_peer *nk_peer_new(struct nk_server *s, int fd);
/* One turn: up to a bounded number of lines and reads. Returns true if lines were handled. */
bool nk_peer_serve(struct nk_peer *p);
/* Send what the kernel takes. */
void nk_peer_flush(struct nk_peer *p);
/* Nothing more to do for it? */
bool nk_peer_done(const struct nk_peer *p);
/* Leave all lists, tell `closed`, drop the server's reference. */
void nk_peer_close(struct nk_peer *p);
void nk_peer_refuse(struct nk_peer *p, enum nk_refusal why);
/* Close it in the next round, whatever it has still to get. why: static, words about the client. */
void nk_peer_drop(struct nk_peer *p, const char *why);

/* server.c */
void nk_server_ready(struct nk_peer *p);
void nk_server_dirty(struct nk_peer *p);
void nk_server_accept_again(struct nk_server *s);
void nk_server_drop_largest(struct nk_server *s);
