// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * A raw client of the socket for tests, in the same thread as the server: whoever waits for something here lets the server's
 * event loop run meanwhile. It knows bytes and lines, so that it can send what no proper client would.
 */
#include <stdbool.h>
#include <stddef.h>

struct event_base;

struct wire {
	struct event_base *base; /* borrowed */
	int fd;
	char *in; /* owned: bytes read and not yet taken */
	size_t in_len, in_room;
	bool eof;
	char *line; /* owned: what wire_line returned last */
};

/* All of these fail the test when they cannot do it within some seconds. */
void wire_connect(struct wire *w, struct event_base *base, const char *path);
void wire_close(struct wire *w);
/* Let the loop run while `until` returns false. */
void wire_run(struct event_base *base, bool (*until)(void *arg), void *arg);
/* Let the loop handle what is ready now. */
void wire_turn(struct event_base *base);
/* Send all, letting the loop run while the socket is full. */
void wire_send(struct wire *w, const char *bytes, size_t len);
/* The text and a newline. */
void wire_say(struct wire *w, const char *text);
/* One sendmsg with descriptors. */
void wire_say_fds(struct wire *w, const char *text, const int *fds, size_t n);
/* Send what the socket takes at once, without letting the loop run: bytes sent. */
size_t wire_push(struct wire *w, const char *bytes, size_t len);
/* The next line; lives until the next call. */
const char *wire_line(struct wire *w);
/* The same, or NULL if the daemon closed. */
const char *wire_line_or_eof(struct wire *w);
/* Nothing but the end of the stream may come. */
void wire_expect_eof(struct wire *w);
/* Descriptors that this process has open. */
size_t wire_open_fds(void);
