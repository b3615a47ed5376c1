// SPDX-License-Identifier: GPL-2.0-only
/* See server_help.h. */
#include "server_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char dir[64], path[96], why[256];
struct event_base *base;
struct nk_server *server;

struct seen seen;

static void note(char c)
{
	if (seen.n_order < sizeof(seen.order) - 1)
		seen.order[seen.n_order++] = c;
}

static bool on_line(struct nk_peer *p, const char *line, size_t len, int *fds, size_t n_fds, void *arg)
{
	seen.lines++;
	seen.last_len = len;
	seen.last_fds = n_fds;
	seen.heard = p;
	note(len ? line[0] : '-');
	if (len >= 4 && memcmp(line, "keep", 4) == 0) {
		seen.keep_fd = fds[0];
		fds[0] = -1;
	} else if (len >= 4 && memcmp(line, "hold", 4) == 0) {
		seen.held = nk_peer_hold(p);
	} else if (len >= 3 && memcmp(line, "big", 3) == 0) {
		size_t n = (size_t)atol(line + 3);
		char *text = malloc(n);

		memset(text, 'x', n);
		nk_peer_send(p, text, n);
		free(text);
	} else {
		nk_peer_send(p, line, len < 100 ? len : 100);
	}
	return true;
}

static void on_refused(struct nk_peer *p, enum nk_refusal reason, void *arg)
{
	seen.refused++;
	seen.last_refusal = reason;
	nk_peer_send(p, "refused", 7);
}

static void on_closed(struct nk_peer *p, const char *reason, void *arg)
{
	assert_false(seen.in_call);
	seen.closed++;
	seen.why_closed = reason;
}

static void on_idle(void *arg)
{
	seen.idles++;
	note('i');
}

const struct nk_server_handlers handlers = {
	.line = on_line, .refused = on_refused, .closed = on_closed, .idle = on_idle,
};

void start_server(struct nk_server_options o)
{
	o.path = path;
	if (o.listen_fd == 0)
		o.listen_fd = -1;
	if (o.max_clients == 0)
		o.max_clients = 100;
	if (nk_server_new(base, &o, &handlers, &server, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

int server_setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/nk-server-XXXXXX");
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/sock", dir);
	base = event_base_new();
	memset(&seen, 0, sizeof(seen));
	seen.keep_fd = -1;
	return 0;
}

int server_teardown(void **state)
{
	server = nk_server_free(server);
	event_base_free(base);
	unlink(path);
	return rmdir(dir);
}

/* ---- waiting for what the handlers see ---- */

static unsigned wanted;

static bool lines_seen(void *arg)
{
	return seen.lines >= wanted;
}

void wait_lines(unsigned n)
{
	wanted = n;
	wire_run(base, lines_seen, NULL);
}

static bool closed_seen(void *arg)
{
	return seen.closed >= wanted;
}

void wait_closed(unsigned n)
{
	wanted = n;
	wire_run(base, closed_seen, NULL);
}

static bool clients_there(void *arg)
{
	return nk_server_n_clients(server) == wanted;
}

void wait_clients(unsigned n)
{
	wanted = n;
	wire_run(base, clients_there, NULL);
}
