// SPDX-License-Identifier: GPL-2.0-only
/*
 * The client library; see client.h. One connection, one call at a time. While it sends it also reads, so that a daemon which
 * waits for us to read never meets us waiting for it to read. It may not print, and it keeps no state but what has arrived.
 */
#include "api/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (64u << 10)
#define FDS_MAX 16 /* the daemon's limit for one message */

/* A notification that came while a reply was waited for. */
struct event {
	struct event *next;
	json_t *params; /* reference */
};

struct nk_client {
	int fd;           /* owned */
	json_int_t id;    /* of the last call */
	char *in;         /* owned, in_room bytes: in[in_start..in_end) came and is not digested, in_scanned: no newline before it */
	size_t in_start, in_scanned, in_end, in_room;
	struct event *first, **last;
};

/* ---- time ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Milliseconds on the monotonic clock; -1: none. */
static int64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
}

/* Wait for any of `events`. Returns what came, or -ETIMEDOUT. */
static int wait_for(const struct nk_client *c, short events, int64_t deadline)
{
	struct pollfd pfd = { .fd = c->fd, .events = events };

	for (;;) {
		int64_t left = deadline < 0 ? -1 : deadline - now_ms();
		int r;

		if (deadline >= 0 && left < 0)
			left = 0;
		r = poll(&pfd, 1, left > 3600000 ? 3600000 : (int)left);
		if (r > 0)
			return pfd.revents;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (deadline >= 0 && now_ms() >= deadline)
			return -ETIMEDOUT;
	}
}

/* ---- lines ---- */

/* Read what is there. 0, also when there is nothing; -ECONNRESET at the end of the stream. */
static int read_some(struct nk_client *c)
{
	ssize_t n;

	if (c->in_start > 0) {
		memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
		c->in_end -= c->in_start;
		c->in_scanned -= c->in_start;
		c->in_start = 0;
	}
	if (c->in_room - c->in_end < READ_SIZE) {
		size_t room = c->in_room * 2 + READ_SIZE;
		char *in = realloc(c->in, room);

		if (!in)
			return -ENOMEM;
		c->in = in;
		c->in_room = room;
	}
	n = recv(c->fd, c->in + c->in_end, c->in_room - c->in_end, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	c->in_end += (size_t)n;
	return 0;
}

/* Take the first whole line as JSON. 1 with *ret, 0 if there is none yet, -EPROTO, -ENOMEM. */
static int take_line(struct nk_client *c, json_t **ret)
{
	const char *nl = NULL;
	json_error_t where;
	json_t *json;

	if (c->in_scanned < c->in_end)
		nl = memchr(c->in + c->in_scanned, '\n', c->in_end - c->in_scanned);
	if (!nl) {
		c->in_scanned = c->in_end;
		return 0;
	}
	json = json_loadb(c->in + c->in_start, (size_t)(nl - c->in) - c->in_start, JSON_REJECT_DUPLICATES, &where);
	c->in_start = c->in_scanned = (size_t)(nl - c->in) + 1;
	if (!json)
		return json_error_code(&where) == json_error_out_of_memory ? -ENOMEM : -EPROTO;
	if (!json_is_object(json)) {
		json_decref(json);
		return -EPROTO;
	}
	*ret = json;
	return 1;
}

static int keep_event(struct nk_client *c, json_t *params)
{
	struct event *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->params = json_incref(params);
	*c->last = e;
	c->last = &e->next;
	return 0;
}

static json_t *take_event(struct nk_client *c)
{
	struct event *e = c->first;
	json_t *params = e->params;

	c->first = e->next;
	if (!c->first)
		c->last = &c->first;
	free(e);
	return params;
}

/* ---- calls ---- */

/*
 * What one line means for the call with c->id (0: none is out). 1: it is the answer, in *ret_result or err; 0: something else,
 * which was kept or may be forgotten.
 */
static int digest(struct nk_client *c, json_t *line, json_t **ret_result, struct nk_error *err)
{
	json_t *id = json_object_get(line, "id"), *result = json_object_get(line, "result");
	json_t *error = json_object_get(line, "error");
	int r;

	if (!id && json_object_get(line, "method"))
		return keep_event(c, json_object_get(line, "params"));
	if (!id || !result == !error)
		return -EPROTO;
	if (json_is_integer(id) && json_integer_value(id) != c->id)
		return json_integer_value(id) < c->id ? 0 : -EPROTO; /* late, of a call that has timed out */
	if (result) {
		if (!json_is_integer(id))
			return -EPROTO;
		*ret_result = json_incref(result);
		return 1;
	}
	/* An error with id null: the daemon refused what it read, or the connection, and the reader should hear why. */
	if (!json_is_integer(id) && !json_is_null(id))
		return -EPROTO;
	r = nk_error_decode(error, err);
	return r == -EINVAL ? -EPROTO : r < 0 ? r : -EREMOTEIO;
}

/* Go through all whole lines. As digest. */
static int digest_all(struct nk_client *c, json_t **ret_result, struct nk_error *err)
{
	json_t *line;
	int r = 0;

	while (r == 0 && (r = take_line(c, &line)) == 1) {
		r = digest(c, line, ret_result, err);
		json_decref(line);
	}
	return r;
}

/* One sendmsg; the descriptors go with the first byte. Bytes sent or -errno. */
static ssize_t send_piece(struct nk_client *c, const char *text, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { .buf = { 0 } };
	struct iovec iov = { .iov_base = (char *)text, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

/* Send a line, reading in between. 0; 1 when the daemon stopped listening: what it said then is still to be read; -errno. */
static int send_line(struct nk_client *c, const char *text, size_t len, const int *fds, size_t n_fds, int64_t deadline)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send_piece(c, text + sent, len - sent, fds, sent == 0 ? n_fds : 0);
		int r;

		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (n == -EPIPE || n == -ECONNRESET)
			return 1;
		if (n != -EAGAIN && n != -EINTR)
			return (int)n;
		r = wait_for(c, POLLOUT | POLLIN, deadline);
		if (r >= 0 && r & POLLIN)
			r = read_some(c);
		if (r == -ECONNRESET)
			return 1;
		if (r < 0)
			return r;
	}
	return 0;
}

/* The call as a line of its own, with newline; free() it. */
static char *call_text(struct nk_client *c, const char *method, json_t *params)
{
	json_t *call = json_pack("{s:s, s:I, s:s, s:O*}", "jsonrpc", "2.0", "id", ++c->id, "method", method, "params", params);
	char *json = call ? json_dumps(call, JSON_COMPACT) : NULL, *text;
	size_t len = json ? strlen(json) : 0;

	json_decref(call);
	text = json ? realloc(json, len + 2) : NULL;
	if (!text) {
		free(json);
		return NULL;
	}
	memcpy(text + len, "\n", 2);
	return text;
}

int nk_client_call(struct nk_client *c, const char *method, json_t *params, const int *fds, size_t n_fds, int timeout_ms,
		   json_t **ret_result, struct nk_error *err)
{
	int64_t deadline = deadline_of(timeout_ms);
	char *text;
	int r;

	if (n_fds > FDS_MAX)
		return nk_error_set(err, NK_E_LIMIT, "%zu descriptors for one call: at most %d can be sent", n_fds, FDS_MAX);
	text = call_text(c, method, params);
	if (!text)
		return -ENOMEM;
	r = send_line(c, text, strlen(text), fds, n_fds, deadline);
	free(text);
	if (r < 0)
		return r;
	for (;;) {
		r = digest_all(c, ret_result, err);
		if (r != 0)
			return r == 1 ? 0 : r;
		r = wait_for(c, POLLIN, deadline);
		if (r >= 0)
			r = read_some(c);
		if (r < 0)
			return r;
	}
}

int nk_client_next_event(struct nk_client *c, int timeout_ms, json_t **ret_params)
{
	int64_t deadline = deadline_of(timeout_ms);
	struct nk_error err = { 0 };
	json_t *result = NULL;
	int r;

	while (!c->first) {
		r = digest_all(c, &result, &err);
		if (r == 0 && !c->first) {
			r = wait_for(c, POLLIN, deadline);
			if (r >= 0)
				r = read_some(c);
		}
		nk_error_clear(&err);
		json_decref(result);
		result = NULL;
		if (r < 0)
			return r;
	}
	*ret_params = take_event(c);
	return 0;
}

/* ---- life ---- */

int nk_client_connect(const char *path, struct nk_client **ret)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct nk_client *c;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->last = &c->first;
	/* Connecting blocks while the daemon's queue is full, which is what a caller wants; all else is MSG_DONTWAIT. */
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		r = -errno;
		nk_client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct nk_client *nk_client_free(struct nk_client *c)
{
	if (!c)
		return NULL;
	while (c->first)
		json_decref(take_event(c));
	if (c->fd >= 0)
		close(c->fd);
	free(c->in);
	free(c);
	return NULL;
}

int nk_client_fd(const struct nk_client *c)
{
	return c->fd;
}
