// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What the server's tests share: a server with an event loop in the test's own thread, and handlers that answer with what they were
 * sent. A line "keep" keeps its first descriptor, "hold" is answered when the test says so, "big N" gets N bytes.
 */
#include <stdbool.h>
#include <stddef.h>

#include "daemon/peer.h"
#include "daemon/server.h"
#include "wire.h"

extern char dir[64], path[96], why[256];
extern struct event_base *base;
extern struct nk_server *server;
extern const struct nk_server_handlers handlers;

/* What the handlers saw. */
struct seen {
	unsigned lines, idles, closed, refused;
	enum nk_refusal last_refusal;
	const char *why_closed; /* of the last one */
	size_t last_len, last_fds;
	int keep_fd;           /* set by "keep" lines */
	struct nk_peer *held;  /* by "hold" lines: the answer comes later */
	struct nk_peer *heard; /* of the last line */
	char order[32768];     /* first byte of each line, 'i' for idle */
	size_t n_order;
	bool in_call;          /* within nk_peer_notify or nk_peer_send */
};
extern struct seen seen;

int server_setup(void **state);
int server_teardown(void **state);
#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, server_setup, server_teardown)

/* With a path, and defaults for what is zero. */
void start_server(struct nk_server_options o);
/* Let the loop run until as many were seen, or are connected. */
void wait_lines(unsigned n);
void wait_closed(unsigned n);
void wait_clients(unsigned n);
