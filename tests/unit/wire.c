// SPDX-License-Identifier: GPL-2.0-only
/* See wire.h. */
#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 20

void wire_connect(struct wire *w, struct event_base *base, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	*w = (struct wire){ .base = base };
	strcpy(addr.sun_path, path);
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(w->fd >= 0);
	assert_int_equal(connect(w->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

void wire_close(struct wire *w)
{
	close(w->fd);
	free(w->in);
	free(w->line);
	*w = (struct wire){ .fd = -1 };
}

void wire_turn(struct event_base *base)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

void wire_run(struct event_base *base, bool (*until)(void *arg), void *arg)
{
	struct timespec now, start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!until(arg)) {
		wire_turn(base);
		poll(NULL, 0, 1);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > PATIENCE_S)
			fail_msg("nothing has come within %d s", PATIENCE_S);
	}
}

struct sending {
	struct wire *w;
	const char *bytes;
	size_t left;
};

size_t wire_push(struct wire *w, const char *bytes, size_t len)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send(w->fd, bytes + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return len; /* the daemon has closed: what it says counts, not what it took */
		sent += (size_t)n;
	}
	return sent;
}

static bool push_more(void *arg)
{
	struct sending *s = arg;
	size_t n = wire_push(s->w, s->bytes, s->left);

	s->bytes += n;
	s->left -= n;
	return s->left == 0;
}

void wire_send(struct wire *w, const char *bytes, size_t len)
{
	struct sending s = { .w = w, .bytes = bytes, .left = len };

	wire_run(w->base, push_more, &s);
}

void wire_say(struct wire *w, const char *text)
{
	wire_send(w, text, strlen(text));
	wire_send(w, "\n", 1);
}

void wire_say_fds(struct wire *w, const char *text, const int *fds, size_t n)
{
	char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(16))) = { 0 };
	struct iovec iov[] = { { (char *)text, strlen(text) }, { (char *)"\n", 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = control,
			      .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	assert_int_equal(sendmsg(w->fd, &msg, MSG_NOSIGNAL), strlen(text) + 1);
}

static bool line_or_eof(void *arg)
{
	struct wire *w = arg;
	ssize_t n;

	if (w->in_len > 0 && memchr(w->in, '\n', w->in_len))
		return true;
	if (w->in_room - w->in_len < 65536) {
		w->in_room = w->in_room * 2 + 65536;
		w->in = realloc(w->in, w->in_room);
		assert_non_null(w->in);
	}
	n = recv(w->fd, w->in + w->in_len, w->in_room - w->in_len, MSG_DONTWAIT);
	if (n > 0)
		w->in_len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		w->eof = true;
	return w->eof || (n > 0 && memchr(w->in, '\n', w->in_len));
}

const char *wire_line_or_eof(struct wire *w)
{
	size_t len;

	wire_run(w->base, line_or_eof, w);
	free(w->line);
	w->line = NULL;
	if (w->in_len == 0 || !memchr(w->in, '\n', w->in_len))
		return NULL;
	len = (size_t)((char *)memchr(w->in, '\n', w->in_len) - w->in);
	w->line = strndup(w->in, len);
	w->in_len -= len + 1;
	memmove(w->in, w->in + len + 1, w->in_len);
	return w->line;
}

const char *wire_line(struct wire *w)
{
	const char *line = wire_line_or_eof(w);

	if (!line)
		fail_msg("the daemon closed where a line was expected");
	return line;
}

void wire_expect_eof(struct wire *w)
{
	const char *line = wire_line_or_eof(w);

	if (line)
		fail_msg("expected the end, got: %.200s", line);
}

size_t wire_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", ".." and the directory itself */
}
