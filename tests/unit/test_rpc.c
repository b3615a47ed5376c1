// SPDX-License-Identifier: GPL-2.0-only
/*
 * JSON-RPC over a real server's sockets: what is not a call, ids, batches, notifications, rights, answers that come later, and
 * callers that do not wait for them. The handlers stand in for the manager's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rpc.h"
#include "wire.h"

static char dir[64], path[96], why[256];
static struct event_base *base;
static struct nk_server *server;
static struct nk_rpc *rpc;

#define LATER_MAX 4096
static struct {
	unsigned status, deleted, idles, closed;
	struct nk_request *later[LATER_MAX]; /* state.wait: answered when the test says so */
	size_t n_later;
	struct nk_request *at_idle[128]; /* device.delete: answered in idle, as a commit would */
	size_t n_at_idle;
	unsigned most_at_idle;
	int byte_of_fd;
	bool reading; /* what the kernel holds is being read */
} seen;

/* ---- handlers ---- */

static void on_status(struct nk_request *r, union nk_params *params, void *arg)
{
	seen.status++;
	nk_request_reply(r, json_pack("{s:i}", "n", (int)seen.status));
}

static void on_wait(struct nk_request *r, union nk_params *params, void *arg)
{
	assert_true(seen.n_later < LATER_MAX);
	seen.later[seen.n_later++] = r;
}

static void on_delete(struct nk_request *r, union nk_params *params, void *arg)
{
	seen.deleted++;
	seen.at_idle[seen.n_at_idle++] = r;
	if (seen.n_at_idle > seen.most_at_idle)
		seen.most_at_idle = (unsigned)seen.n_at_idle;
}

static void on_get(struct nk_request *r, union nk_params *params, void *arg)
{
	struct nk_error err = { 0 };

	nk_error_at(&err, NK_E_NOT_FOUND, "/name", "there is no device %s", params->device_name.name);
	nk_request_fail(r, &err);
}

/* A reply of 2 MiB. */
static void on_device_list(struct nk_request *r, union nk_params *params, void *arg)
{
	size_t n = 2u << 20;
	char *text = malloc(n);

	memset(text, 'x', n);
	nk_request_reply(r, json_pack("{s:s#}", "devices", text, n));
	free(text);
}

/* Reads a byte from the descriptor that came with the message. */
static void on_program_list(struct nk_request *r, union nk_params *params, void *arg)
{
	char c;

	assert_int_equal(nk_request_fd(r, 1), -1);
	seen.byte_of_fd = read(nk_request_fd(r, 0), &c, 1) == 1 ? c : -1;
	nk_request_reply(r, json_object());
}

static void on_idle(void *arg)
{
	seen.idles++;
	for (size_t i = 0; i < seen.n_at_idle; i++)
		nk_request_reply(seen.at_idle[i], json_pack("{s:i}", "revision", 1));
	seen.n_at_idle = 0;
}

static void on_closed(struct nk_peer *p, const char *reason, void *arg)
{
	seen.closed++;
}

static bool unseeing(void *arg)
{
	return seen.reading;
}

static int setup(void **state)
{
	nk_method_fn handlers[NK_METHODS] = {
		[NK_M_DAEMON_STATUS] = on_status,     [NK_M_STATE_WAIT] = on_wait,
		[NK_M_DEVICE_DELETE] = on_delete,     [NK_M_DEVICE_GET] = on_get,
		[NK_M_DEVICE_LIST] = on_device_list,  [NK_M_PROGRAM_LIST] = on_program_list,
	};
	struct nk_server_options o = { .path = path, .listen_fd = -1, .max_clients = 5 };
	struct nk_server_handlers h;

	snprintf(dir, sizeof(dir), "/tmp/nk-rpc-XXXXXX");
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/sock", dir);
	memset(&seen, 0, sizeof(seen));
	base = event_base_new();
	rpc = nk_rpc_new(handlers, on_idle, on_closed, unseeing, NULL);
	h = nk_rpc_server_handlers(rpc);
	if (nk_server_new(base, &o, &h, &server, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return 0;
}

static int teardown(void **state)
{
	server = nk_server_free(server);
	rpc = nk_rpc_free(rpc);
	event_base_free(base);
	return rmdir(dir);
}

/* ---- helpers ---- */

static void connect_wire(struct wire *w)
{
	wire_connect(w, base, path);
}

static json_t *parse_reply(const char *line)
{
	json_t *reply = json_loads(line, 0, NULL);

	if (!reply)
		fail_msg("not JSON: %.300s", line);
	return reply;
}

static void assert_reply(struct wire *w, const char *want)
{
	json_t *got = parse_reply(wire_line(w)), *expected = json_loads(want, 0, NULL);

	assert_non_null(expected);
	if (!json_equal(got, expected))
		fail_msg("got %.500s instead of %s", w->line, want);
	json_decref(got);
	json_decref(expected);
}

/* An error with this id (as JSON), this code, and these words in it. */
static void check_error(json_t *reply, const char *id, int code, const char *words)
{
	char *text = json_dumps(reply, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_t *want_id = json_loads(id, JSON_DECODE_ANY, NULL), *error = json_object_get(reply, "error");

	if (!error || json_integer_value(json_object_get(error, "code")) != code || !strstr(text, words) ||
	    !json_equal(json_object_get(reply, "id"), want_id) || json_object_size(reply) != 3)
		fail_msg("wanted an error %d for %s that says \"%s\", got %.500s", code, id, words, text);
	assert_string_equal(json_string_value(json_object_get(reply, "jsonrpc")), "2.0");
	json_decref(want_id);
	free(text);
}

static void assert_error(struct wire *w, const char *id, int code, const char *words)
{
	json_t *reply = parse_reply(wire_line(w));

	check_error(reply, id, code, words);
	json_decref(reply);
}

/* The connection is still good, and nothing else came before. */
static void assert_alive(struct wire *w)
{
	json_t *reply;

	wire_say(w, "{\"jsonrpc\":\"2.0\",\"id\":\"alive\",\"method\":\"daemon.status\"}");
	reply = parse_reply(wire_line(w));
	if (!json_object_get(reply, "result"))
		fail_msg("got %.500s", w->line);
	assert_string_equal(json_string_value(json_object_get(reply, "id")), "alive");
	json_decref(reply);
}

static size_t wanted;

static bool later_there(void *arg)
{
	return seen.n_later >= wanted;
}

static void wait_later(size_t n)
{
	wanted = n;
	wire_run(base, later_there, NULL);
}

static bool closed_there(void *arg)
{
	return seen.closed >= wanted;
}

static void wait_closed(size_t n)
{
	wanted = n;
	wire_run(base, closed_there, NULL);
}

/* ---- one call ---- */

#define CALL(id, rest) "{\"jsonrpc\":\"2.0\",\"id\":" id "," rest "}"
#define STATUS "\"method\":\"daemon.status\""
#define DELETE "\"method\":\"device.delete\",\"params\":{\"name\":\"a\"}"

static void test_ids(void **state)
{
	static const char *const ids[] = { "1", "-7", "\"x\"", "\"\"", "null", "1.5", "9223372036854775807", "\"\\u00fc \\\"\"" };
	struct wire w;

	connect_wire(&w);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		char call[128], want[128];

		snprintf(call, sizeof(call), "{\"jsonrpc\":\"2.0\",\"id\":%s," STATUS "}", ids[i]);
		snprintf(want, sizeof(want), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"n\":%zu}}", ids[i], i + 1);
		wire_say(&w, call);
		assert_reply(&w, want);
	}
	/* White space around it is the sender's affair. */
	wire_say(&w, " \t{\"jsonrpc\":\"2.0\" , \"id\":1, \"params\":{}, " STATUS " }\r");
	assert_reply(&w, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"n\":9}}");
	wire_close(&w);
}

static void test_bad_input(void **state)
{
	static const struct {
		const char *line, *id;
		int code;
		const char *words;
	} bad[] = {
		{ "", "null", NK_E_PARSE, "empty" },
		{ "{", "null", NK_E_PARSE, "cut short" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"meth", "null", NK_E_PARSE, "cut short" },
		{ "hello", "null", NK_E_PARSE, "column 5" },
		{ "GET / HTTP/1.1", "null", NK_E_PARSE, "column" },
		{ CALL("1", STATUS) CALL("2", STATUS), "null", NK_E_PARSE, "follows" },
		{ "{\"a\":\"\xff\"}", "null", NK_E_PARSE, "UTF-8" },
		{ "{\"a\":\"\xc3\"}", "null", NK_E_PARSE, "UTF-8" },
		{ "{\"id\":1,\"id\":2}", "null", NK_E_PARSE, "twice" },
		{ CALL("1", STATUS ",\"params\":{\"x\":1,\"x\":2}"), "null", NK_E_PARSE, "twice" },
		{ CALL("99999999999999999999", STATUS), "null", NK_E_PARSE, "too big" },
		{ "7", "null", NK_E_INVALID_REQUEST, "object" },
		{ "null", "null", NK_E_INVALID_REQUEST, "object" },
		{ "\"daemon.status\"", "null", NK_E_INVALID_REQUEST, "object" },
		{ "{}", "null", NK_E_INVALID_REQUEST, "/jsonrpc" },
		{ "{\"id\":4," STATUS "}", "4", NK_E_INVALID_REQUEST, "/jsonrpc" },
		{ "{\"jsonrpc\":\"1.0\",\"id\":4," STATUS "}", "4", NK_E_INVALID_REQUEST, "/jsonrpc" },
		{ "{\"jsonrpc\":2.0,\"id\":4," STATUS "}", "4", NK_E_INVALID_REQUEST, "/jsonrpc" },
		{ CALL("true", STATUS), "null", NK_E_INVALID_REQUEST, "/id" },
		{ CALL("[1]", STATUS), "null", NK_E_INVALID_REQUEST, "/id" },
		{ CALL("{}", STATUS), "null", NK_E_INVALID_REQUEST, "/id" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":4}", "4", NK_E_INVALID_REQUEST, "/method" },
		{ CALL("4", "\"method\":1"), "4", NK_E_INVALID_REQUEST, "/method" },
		{ CALL("4", STATUS ",\"params\":[]"), "4", NK_E_INVALID_REQUEST, "/params" },
		{ CALL("4", STATUS ",\"params\":null"), "4", NK_E_INVALID_REQUEST, "/params" },
		{ CALL("4", STATUS ",\"parms\":{}"), "4", NK_E_INVALID_REQUEST, "parms" },
		{ CALL("\"q\"", "\"method\":\"daemon.stats\""), "\"q\"", NK_E_METHOD_NOT_FOUND, "daemon.stats" },
		/* A name that is cut in the middle of a character. */
		{ CALL("4", "\"method\":\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg\u00fc\""), "4",
		  NK_E_METHOD_NOT_FOUND, "ffffffffffggg" },
		{ CALL("4", "\"method\":\"\""), "4", NK_E_METHOD_NOT_FOUND, "no method" },
		{ CALL("4", "\"method\":\"state.rebuild\""), "4", NK_E_UNSUPPORTED, "state.rebuild" },
		{ CALL("4", "\"method\":\"device.get\",\"params\":{\"name\":5}"), "4", NK_E_INVALID_PARAMS, "/name" },
		{ CALL("4", "\"method\":\"device.get\""), "4", NK_E_INVALID_PARAMS, "name" },
		{ CALL("4", "\"method\":\"device.get\",\"params\":{\"name\":\"a\",\"nmae\":1}"), "4", NK_E_INVALID_PARAMS, "nmae" },
		{ CALL("4", "\"method\":\"device.get\",\"params\":{\"name\":\"a/b\"}"), "4", NK_E_INVALID_PARAMS, "/name" },
		{ CALL("4", "\"method\":\"device.get\",\"params\":{\"name\":\"a\"}"), "4", NK_E_NOT_FOUND, "no device a" },
	};
	struct wire w, other;

	connect_wire(&w);
	connect_wire(&other);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		wire_say(&w, bad[i].line);
		assert_error(&w, bad[i].id, bad[i].code, bad[i].words);
		assert_alive(&w);
		assert_alive(&other);
	}
	/* A byte 0 in the line. */
	wire_send(&w, "{\"a\0\":1}\n", 9);
	assert_error(&w, "null", NK_E_PARSE, "byte");
	assert_alive(&w);
	wire_close(&w);
	wire_close(&other);
}

static void test_extents(void **state)
{
	size_t len = 8u << 20;
	char *text = malloc(len + 2);
	struct wire w;

	connect_wire(&w);
	memset(text, '[', len);
	text[len] = '\0';
	wire_say(&w, text);
	assert_error(&w, "null", NK_E_LIMIT, "values");
	text[100000] = '\0';
	wire_say(&w, text);
	assert_error(&w, "null", NK_E_LIMIT, "32 levels");
	for (size_t i = 0; i < len; i++)
		text[i] = "{},"[i % 3];
	text[0] = '[';
	wire_say(&w, text);
	assert_error(&w, "null", NK_E_LIMIT, "values");
	assert_alive(&w);
	/* In a string they count for nothing. */
	memset(text, '[', len);
	memcpy(text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\\"", 36);
	memcpy(text + len - 2, "\"}", 2);
	wire_say(&w, text);
	assert_error(&w, "1", NK_E_METHOD_NOT_FOUND, "[[[");
	assert_alive(&w);
	wire_close(&w);
	free(text);
}

static void test_oversized(void **state)
{
	char *text = malloc(NK_MESSAGE_MAX + 2);
	struct wire w, other;

	connect_wire(&w);
	connect_wire(&other);
	memset(text, ' ', NK_MESSAGE_MAX + 1);
	text[NK_MESSAGE_MAX + 1] = '\0';
	wire_say(&w, text);
	assert_error(&w, "null", NK_E_LIMIT, "16777216");
	wire_expect_eof(&w);
	assert_alive(&other);
	wire_close(&w);
	wire_close(&other);
	free(text);
}

static void test_refusals_are_told(void **state)
{
	struct wire w[6];
	int fds[40];

	for (int i = 0; i < 5; i++) {
		connect_wire(&w[i]);
		assert_alive(&w[i]);
	}
	connect_wire(&w[5]);
	assert_error(&w[5], "null", NK_E_LIMIT, "max_clients");
	wire_expect_eof(&w[5]);
	wire_close(&w[5]);
	for (int i = 0; i < 40; i++)
		fds[i] = 0;
	wire_say_fds(&w[4], CALL("1", STATUS), fds, 40);
	assert_error(&w[4], "null", NK_E_LIMIT, "descriptors");
	wire_expect_eof(&w[4]);
	wire_send(&w[3], "{\"jsonrpc\"", 10);
	shutdown(w[3].fd, SHUT_WR);
	assert_error(&w[3], "null", NK_E_PARSE, "newline");
	wire_expect_eof(&w[3]);
	for (int i = 0; i < 5; i++)
		wire_close(&w[i]);
}

static void test_notifications(void **state)
{
	struct wire w;

	connect_wire(&w);
	wire_say(&w, "{\"jsonrpc\":\"2.0\"," STATUS "}");
	wire_say(&w, "{\"jsonrpc\":\"2.0\",\"method\":\"no.such\"}");
	wire_say(&w, "{\"jsonrpc\":\"2.0\",\"method\":\"device.get\",\"params\":{\"x\":1}}");
	wire_say(&w, "{\"jsonrpc\":\"2.0\",\"method\":\"device.list\"}");
	wire_say(&w, CALL("1", STATUS));
	assert_reply(&w, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"n\":2}}");
	wire_close(&w);
}

/* ---- batches ---- */

static void test_batches(void **state)
{
	json_t *reply;
	struct wire w;

	connect_wire(&w);
	wire_say(&w, "[]");
	assert_error(&w, "null", NK_E_INVALID_REQUEST, "empty batch");
	wire_say(&w, "[1]");
	reply = parse_reply(wire_line(&w));
	assert_int_equal(json_array_size(reply), 1);
	check_error(json_array_get(reply, 0), "null", NK_E_INVALID_REQUEST, "object");
	json_decref(reply);

	wire_say(&w, "[" CALL("1", STATUS) ",{\"jsonrpc\":\"2.0\"," STATUS "}," CALL("2", "\"method\":\"no.such\"") ",[],"
		     CALL("3", "\"method\":\"device.delete\",\"params\":{\"name\":\"a\"}") "," CALL("4", STATUS) "]");
	reply = parse_reply(wire_line(&w));
	assert_int_equal(json_array_size(reply), 5);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(reply, 0), "id")), 1);
	check_error(json_array_get(reply, 1), "2", NK_E_METHOD_NOT_FOUND, "no.such");
	check_error(json_array_get(reply, 2), "null", NK_E_INVALID_REQUEST, "object");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(reply, 3), "id")), 3);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(reply, 4), "id")), 4);
	json_decref(reply);

	/* Only notifications: no answer at all. */
	wire_say(&w, "[{\"jsonrpc\":\"2.0\"," STATUS "},{\"jsonrpc\":\"2.0\"," STATUS "}]");
	assert_alive(&w);
	wire_close(&w);
}

static void test_batch_limits(void **state)
{
	char *text = malloc(NK_BATCH_MAX * 64 + 200), *at = text;
	json_t *reply;
	struct wire w;

	connect_wire(&w);
	at += sprintf(at, "[");
	for (int i = 0; i < NK_BATCH_MAX; i++)
		at += sprintf(at, "{\"jsonrpc\":\"2.0\",\"id\":%d," STATUS "},", i);
	strcpy(at - 1, "]");
	wire_say(&w, text);
	reply = parse_reply(wire_line(&w));
	assert_int_equal(json_array_size(reply), NK_BATCH_MAX);
	for (int i = 0; i < NK_BATCH_MAX; i++)
		assert_int_equal(json_integer_value(json_object_get(json_array_get(reply, (size_t)i), "id")), i);
	json_decref(reply);
	at[-1] = ',';
	strcpy(at, CALL("1", STATUS) "]");
	wire_say(&w, text);
	assert_error(&w, "null", NK_E_LIMIT, "1025");

	/* Answers that grow too long: the rest is told to come again. */
	at = text + sprintf(text, "[");
	for (int i = 0; i < 20; i++)
		at += sprintf(at, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"device.list\"},", i);
	strcpy(at - 1, "]");
	wire_say(&w, text);
	reply = parse_reply(wire_line(&w));
	assert_int_equal(json_array_size(reply), 20);
	assert_non_null(json_object_get(json_array_get(reply, 7), "result"));
	check_error(json_array_get(reply, 19), "19", NK_E_LIMIT, "further");
	json_decref(reply);
	assert_alive(&w);
	wire_close(&w);
	free(text);
}

/* ---- answers that come later ---- */

#define WAIT(id) CALL(id, "\"method\":\"state.wait\",\"params\":{\"revision\":1,\"timeout_ms\":1000}")

static void test_later(void **state)
{
	struct nk_error err = { 0 };
	json_t *reply;
	struct wire w;

	connect_wire(&w);
	wire_say(&w, WAIT("1"));
	wire_say(&w, WAIT("2"));
	assert_alive(&w);
	wait_later(2);
	nk_error_set(&err, NK_E_TIMEOUT, "not yet");
	nk_request_fail(seen.later[1], &err);
	assert_error(&w, "2", NK_E_TIMEOUT, "not yet");
	nk_request_reply(seen.later[0], json_object());
	assert_reply(&w, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");

	/* A batch is answered when its last call is, in the order of the calls. */
	wire_say(&w, "[" WAIT("5") "," CALL("6", STATUS) "," WAIT("7") "]");
	wait_later(4);
	nk_request_reply(seen.later[3], json_object());
	assert_alive(&w);
	nk_request_reply(seen.later[2], json_object());
	reply = parse_reply(wire_line(&w));
	for (int i = 0; i < 3; i++)
		assert_int_equal(json_integer_value(json_object_get(json_array_get(reply, (size_t)i), "id")), 5 + i);
	json_decref(reply);
	wire_close(&w);
}

static void test_gone_before_the_answer(void **state)
{
	struct nk_error err = { 0 };
	size_t before = wire_open_fds();
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct wire w, other;

	connect_wire(&other);
	assert_alive(&other);
	connect_wire(&w);
	wire_say_fds(&w, WAIT("1"), &fd, 1);
	wire_say(&w, "[" WAIT("2") "," WAIT("3") "]");
	wire_say(&w, WAIT("4"));
	wait_later(4);
	wire_close(&w);
	wait_closed(1);
	assert_true(nk_peer_gone(nk_request_peer(seen.later[0])));
	nk_request_reply(seen.later[0], json_object());
	nk_error_set(&err, NK_E_TIMEOUT, "not yet");
	nk_request_fail(seen.later[1], &err);
	nk_request_reply(seen.later[2], json_object());
	assert_alive(&other);
	/* And this one after the server itself has gone. */
	server = nk_server_free(server);
	nk_request_reply(seen.later[3], json_object());
	wire_close(&other);
	close(fd);
	assert_true(wire_open_fds() < before); /* the listening socket */
}

static void test_too_many_pending(void **state)
{
	struct wire w, other;

	connect_wire(&w);
	connect_wire(&other);
	for (int i = 0; i < NK_PENDING_MAX; i++)
		wire_say(&w, WAIT("1"));
	wait_later(NK_PENDING_MAX);
	wire_say(&w, WAIT("\"over\""));
	assert_error(&w, "\"over\"", NK_E_LIMIT, "wait for their answers");
	assert_alive(&other);
	for (int i = 0; i < NK_PENDING_MAX; i++)
		nk_request_reply(seen.later[i], json_object());
	for (int i = 0; i < NK_PENDING_MAX; i++)
		wire_line(&w);
	assert_alive(&w);
	wire_close(&w);
	wire_close(&other);
}

/* 10,000 changes in one write: answered in order, committed in groups, and another client served meanwhile. */
static void test_many_changes(void **state)
{
	enum { N = 10000 };
	char *text = malloc(N * 128), *at = text;
	size_t sent, total;
	struct wire w, other;

	assert_int_equal(geteuid(), 0); /* the lab runs this as root: only root may change here, and become others */
	connect_wire(&w);
	connect_wire(&other);
	for (int i = 0; i < N; i++)
		at += sprintf(at, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"device.delete\",\"params\":{\"name\":\"n%d\"}}\n", i, i);
	total = (size_t)(at - text);
	sent = wire_push(&w, text, total);
	assert_alive(&other);
	assert_true(seen.deleted < N / 2);
	wire_send(&w, text + sent, total - sent);
	for (int i = 0; i < N; i++) {
		char want[64];

		snprintf(want, sizeof(want), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{\"revision\":1}}", i);
		assert_string_equal(wire_line(&w), want);
	}
	assert_int_equal(seen.deleted, N);
	assert_true(seen.most_at_idle > 1);
	assert_true(seen.idles < N / 10);
	wire_close(&w);
	wire_close(&other);
	free(text);
}

/* ---- rights and descriptors ---- */

static void test_reader_is_denied(void **state)
{
	static const char calls[] = CALL("1", "\"method\":\"device.delete\",\"params\":{\"name\":\"a\"}") "\n"
				    CALL("2", "\"method\":\"state.apply\",\"params\":{\"nonsense\":1}") "\n"
				    "{\"jsonrpc\":\"2.0\",\"method\":\"device.delete\",\"params\":{\"name\":\"a\"}}\n"
				    CALL("3", STATUS) "\n";
	struct wire w = { .base = base };
	int pair[2], status;
	pid_t pid;

	assert_int_equal(geteuid(), 0); /* the lab runs this as root: only root may change here, and become others */
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		struct sockaddr_un addr = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		char buf[4096];
		ssize_t n;

		strcpy(addr.sun_path, path);
		close(pair[0]);
		if (setgroups(0, NULL) || setgid(65534) || setuid(65534) || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
		    send(fd, calls, sizeof(calls) - 1, 0) < 0)
			_exit(1);
		shutdown(fd, SHUT_WR);
		while ((n = read(fd, buf, sizeof(buf))) > 0)
			if (write(pair[1], buf, (size_t)n) != n)
				_exit(1);
		_exit(0);
	}
	close(pair[1]);
	w.fd = pair[0];
	assert_error(&w, "1", NK_E_DENIED, "uid 65534");
	assert_non_null(strstr(w.line, "uid 0"));
	assert_non_null(strstr(w.line, "admin_groups"));
	assert_error(&w, "2", NK_E_DENIED, "state.apply");
	assert_reply(&w, "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"n\":1}}");
	wire_expect_eof(&w);
	assert_int_equal(seen.deleted, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	wire_close(&w);
}

static void test_descriptors(void **state)
{
	size_t before;
	struct wire w;
	int fds[2];

	connect_wire(&w);
	assert_alive(&w);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	before = wire_open_fds();
	assert_int_equal(write(fds[1], "A", 1), 1);
	wire_say_fds(&w, CALL("1", "\"method\":\"program.list\""), fds, 1);
	assert_reply(&w, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
	assert_int_equal(seen.byte_of_fd, 'A');
	/* Nobody asked for these. */
	wire_say_fds(&w, CALL("2", STATUS), fds, 2);
	wire_line(&w);
	wire_say_fds(&w, "nonsense", fds, 2);
	wire_line(&w);
	wire_say_fds(&w, "[" CALL("3", STATUS) "," CALL("4", STATUS) "]", fds, 2);
	wire_line(&w);
	assert_int_equal(wire_open_fds(), before);
	/* A request that waits doesn't keep them; the calls of a batch share them. */
	seen.byte_of_fd = 0;
	assert_int_equal(write(fds[1], "B", 1), 1);
	wire_say_fds(&w, "[" WAIT("5") "," CALL("6", "\"method\":\"program.list\"") "]", fds, 1);
	wait_later(1);
	assert_int_equal(seen.byte_of_fd, 'B');
	assert_int_equal(wire_open_fds(), before);
	assert_int_equal(nk_request_fd(seen.later[0], 0), -1);
	nk_request_reply(seen.later[0], json_object());
	wire_line(&w);
	wire_close(&w);
	close(fds[0]);
	close(fds[1]);
}

/* While the kernel is being read, who asks what it holds waits, and his later calls do; others are served. */
static void test_unseeing(void **state)
{
	struct wire w, other, gone;
	int fds[2];

	connect_wire(&w);
	connect_wire(&other);
	connect_wire(&gone);
	assert_alive(&w);
	assert_alive(&gone);
	seen.reading = true;
	seen.status = 0;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "B", 1), 1);
	wire_say_fds(&w, CALL("1", "\"method\":\"program.list\""), fds, 1);
	wire_say(&w, CALL("2", STATUS));
	wire_say(&gone, "[" CALL("3", STATUS) "," CALL("4", DELETE) "]");
	assert_int_equal(shutdown(gone.fd, SHUT_WR), 0);
	wire_turn(base);
	wire_turn(base);
	assert_int_equal(seen.status + seen.deleted, 0);
	wire_say(&other, CALL("5", STATUS));
	assert_reply(&other, "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"n\":1}}");
	/* Still not. */
	nk_server_go_on(server);
	wire_turn(base);
	wire_turn(base);
	assert_int_equal(seen.status + seen.deleted, 1);

	seen.reading = false;
	nk_server_go_on(server);
	assert_reply(&w, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
	assert_int_equal(seen.byte_of_fd, 'B');
	assert_non_null(strstr(wire_line(&w), "\"id\":2"));
	assert_non_null(strstr(wire_line(&gone), "\"revision\":1"));
	assert_int_equal(seen.deleted, 1);
	wire_expect_eof(&gone);
	wire_close(&w);
	wire_close(&other);
	wire_close(&gone);
	close(fds[0]);
	close(fds[1]);
}

static void test_notification_text(void **state)
{
	json_t *params = json_pack("{s:i}", "seq", 3);
	char *text = nk_rpc_notification("event", params);

	assert_string_equal(text, "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"seq\":3}}");
	free(text);
	json_decref(params);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ids),
		TEST(test_bad_input),
		TEST(test_extents),
		TEST(test_oversized),
		TEST(test_refusals_are_told),
		TEST(test_notifications),
		TEST(test_batches),
		TEST(test_batch_limits),
		TEST(test_later),
		TEST(test_gone_before_the_answer),
		TEST(test_too_many_pending),
		TEST(test_many_changes),
		TEST(test_reader_is_denied),
		TEST(test_descriptors),
		TEST(test_unseeing),
		TEST(test_notification_text),
	};

	return cmocka_run_group_tests_name("rpc", tests, NULL, NULL);
}
