// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The socket: listening, clients, framing, descriptors, rights, backlog limits. It hands complete lines to rpc and takes
 * replies; it knows neither JSON nor methods. libevent lives here and in loop.h only.
 *
 * A client's line may be as long as NK_MESSAGE_MAX; reading stops while its replies are not read (high mark) and the client is
 * dropped when it does not take a byte for NK_SLOW_S seconds or when notifications exceed their own limit: never waited for.
 * Lines are handled in turn, a bounded number a client and wake-up, so that one cannot starve the others. When all clients
 * together leave more than NK_BUFFERED_MAX unread, the one that leaves most is dropped.
 *
 * Descriptors go to the line that holds the last byte of what the kernel delivered them with: a client sends a line that has
 * descriptors by a sendmsg of its own. A client may end its stream (shutdown) and still gets the answers it is owed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;
struct nk_server;
struct nk_peer; /* one connected client; counted, so that a late reply to one that has gone is harmless */

#define NK_SLOW_S 30
#define NK_FDS_MAX 16                  /* descriptors of one line */
#define NK_NOTIFY_MAX (1u << 20)       /* bytes of notifications that a client may leave unread */
#define NK_REPLY_HIGH (1u << 20)       /* bytes of unread replies from which on a client's lines wait */
#define NK_BUFFERED_MAX (64u << 20)    /* bytes of all clients together, counted for each direction */

/* Why the server takes nothing more from a client: it is answered once and closed. */
enum nk_refusal {
	NK_REFUSED_TOO_LONG,    /* a line above NK_MESSAGE_MAX */
	NK_REFUSED_MEMORY,      /* all clients' unfinished lines together are above NK_BUFFERED_MAX */
	NK_REFUSED_DESCRIPTORS, /* more than NK_FDS_MAX with one line, or we are out of them */
	NK_REFUSED_TRUNCATED,   /* it ended its stream within a line */
	NK_REFUSED_CLIENTS,     /* max_clients are connected */
};

struct nk_server_handlers {
	/*
	 * A whole line, without its newline; fds are the server's and closed after the call unless set to -1. False: not now, it comes again
	 * after nk_server_go_on, and nothing was taken; until then nothing more of this client comes.
	 */
	bool (*line)(struct nk_peer *p, const char *line, size_t len, int *fds, size_t n_fds, void *arg);
	/* Answer once; the server closes when the answer is out. */
	void (*refused)(struct nk_peer *p, enum nk_refusal why, void *arg);
	/* The peer is gone: forget what was kept for it. why: it was dropped for this, words about the client; NULL: it left, or there was no
	 * place for it. Never called from within nk_peer_send or nk_peer_notify. */
	void (*closed)(struct nk_peer *p, const char *why, void *arg);
	/* All clients that were ready had their turn: commit and answer. Called once a wake-up in which lines were handled. */
	void (*idle)(void *arg);
	void *arg;
};

struct nk_server_options {
	const char *path;  /* socket to make when listen_fd is -1 */
	int listen_fd;     /* from socket activation, or -1; the server's once nk_server_new has succeeded */
	const char *group; /* owner group of a socket that we make; NULL: leave */
	unsigned max_clients;
	char **admin_groups; size_t n_admin_groups;
	unsigned slow_ms;  /* milliseconds; 0: NK_SLOW_S */
};

/* 0 or -errno, with `why` (size bytes) a sentence for the operator. */
int nk_server_new(struct event_base *base, const struct nk_server_options *o, const struct nk_server_handlers *h,
		  struct nk_server **ret, char *why, size_t size);
/* Sends what can be sent at once, tells `closed` of each client, removes a socket that we made. Takes NULL, returns NULL. */
struct nk_server *nk_server_free(struct nk_server *s);
size_t nk_server_n_clients(const struct nk_server *s);
/* The lines that were not taken come again, in the next round. */
void nk_server_go_on(struct nk_server *s);
/* Stop taking new lines (shutdown): replies still go out. */
void nk_server_stop_reading(struct nk_server *s);

struct nk_peer *nk_peer_ref(struct nk_peer *p);
struct nk_peer *nk_peer_unref(struct nk_peer *p);
/*
 * A reference that also says that an answer is still owed: a client that has ended its own stream is kept until it got its
 * answers. nk_peer_held counts them.
 */
struct nk_peer *nk_peer_hold(struct nk_peer *p);
void nk_peer_release(struct nk_peer *p);
unsigned nk_peer_held(const struct nk_peer *p);
bool nk_peer_gone(const struct nk_peer *p);
/* uid 0 or a member (also supplementary, SO_PEERGROUPS) of an admin group. */
bool nk_peer_may_change(const struct nk_peer *p);
/* Who may, for an error's text: "uid 0 and members of group wheel". */
const char *nk_peer_who_may_change(const struct nk_peer *p);
pid_t nk_peer_pid(const struct nk_peer *p);
uid_t nk_peer_uid(const struct nk_peer *p);
/* Queue bytes (a newline is added). Nothing happens for a peer that has gone. */
void nk_peer_send(struct nk_peer *p, const char *text, size_t len);
/* The same for a notification: a peer whose backlog of them is over its limit is dropped. */
void nk_peer_notify(struct nk_peer *p, const char *text, size_t len);
