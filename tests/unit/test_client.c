// SPDX-License-Identifier: GPL-2.0-only
/*
 * The client library: against a server and rpc of the daemon in a process of its own, and against a peer that speaks nonsense.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/client.h"
#include "daemon/rpc.h"
#include "wire.h"

#define PATIENCE_MS 20000

static char dir[64], path[96];
static pid_t daemon_pid;

/* ---- the daemon's side ---- */

static struct nk_request *late;

static void on_status(struct nk_request *r, union nk_params *params, void *arg)
{
	nk_request_reply(r, json_pack("{s:s}", "version", "1"));
}

/* Answers the one before, so that each answer comes after its caller has given up. */
static void on_wait(struct nk_request *r, union nk_params *params, void *arg)
{
	if (late)
		nk_request_reply(late, json_pack("{s:s}", "late", "answer"));
	late = r;
}

static void on_get(struct nk_request *r, union nk_params *params, void *arg)
{
	struct nk_error err = { 0 };

	nk_error_at(&err, NK_E_NOT_FOUND, "/name", "there is no device %s", params->device_name.name);
	nk_request_fail(r, &err);
}

static void on_list(struct nk_request *r, union nk_params *params, void *arg)
{
	size_t n = 3u << 20;
	char *text = malloc(n);

	memset(text, 'x', n);
	nk_request_reply(r, json_pack("{s:s#}", "devices", text, n));
	free(text);
}

/* How many of the descriptors are pipes' ends, each of which gets its place written. */
static void on_program_list(struct nk_request *r, union nk_params *params, void *arg)
{
	int n = 0;

	while (nk_request_fd(r, (size_t)n) >= 0) {
		char c = (char)('0' + n);

		if (write(nk_request_fd(r, (size_t)n), &c, 1) != 1)
			break;
		n++;
	}
	nk_request_reply(r, json_pack("{s:i}", "n", n));
}

/* Three events before the answer and one after. */
static void on_subscribe(struct nk_request *r, union nk_params *params, void *arg)
{
	struct nk_peer *p = nk_peer_ref(nk_request_peer(r));

	for (int i = 1; i <= 4; i++) {
		json_t *event = json_pack("{s:i}", "seq", i);
		char *text = nk_rpc_notification("event", event);

		if (i == 4)
			nk_request_reply(r, json_object());
		nk_peer_notify(p, text, strlen(text));
		free(text);
		json_decref(event);
	}
	nk_peer_unref(p);
}

static void serve(void)
{
	const nk_method_fn handlers[NK_METHODS] = {
		[NK_M_DAEMON_STATUS] = on_status,        [NK_M_STATE_WAIT] = on_wait,
		[NK_M_DEVICE_GET] = on_get,              [NK_M_DEVICE_LIST] = on_list,
		[NK_M_PROGRAM_LIST] = on_program_list,   [NK_M_EVENT_SUBSCRIBE] = on_subscribe,
	};
	struct nk_server_options o = { .path = path, .listen_fd = -1, .max_clients = 1 };
	struct event_base *base = event_base_new();
	struct nk_rpc *rpc = nk_rpc_new(handlers, NULL, NULL, NULL, NULL);
	struct nk_server_handlers h = nk_rpc_server_handlers(rpc);
	struct nk_server *server;
	char why[256];

	if (nk_server_new(base, &o, &h, &server, why, sizeof(why)) < 0)
		_exit(1);
	event_base_dispatch(base);
	_exit(0);
}

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/nk-client-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/sock", dir);
	daemon_pid = fork();
	if (daemon_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve();
	}
	for (int i = 0; i < 2000 && access(path, F_OK) < 0; i++)
		usleep(10000);
	return 0;
}

static void stop_daemon(void)
{
	if (daemon_pid > 0) {
		kill(daemon_pid, SIGKILL);
		waitpid(daemon_pid, NULL, 0);
	}
	daemon_pid = 0;
}

static int teardown(void **state)
{
	stop_daemon();
	unlink(path);
	return rmdir(dir);
}

/* ---- this side ---- */

static struct nk_client *connect_client(void)
{
	struct nk_client *c = NULL;

	assert_int_equal(nk_client_connect(path, &c), 0);
	return c;
}

static void assert_status(struct nk_client *c)
{
	struct nk_error err = { 0 };
	json_t *result = NULL;

	assert_int_equal(nk_client_call(c, "daemon.status", NULL, NULL, 0, PATIENCE_MS, &result, &err), 0);
	assert_string_equal(json_string_value(json_object_get(result, "version")), "1");
	json_decref(result);
}

static void test_call(void **state)
{
	struct nk_client *c = connect_client(), *none = NULL;
	json_t *params = json_pack("{s:s}", "name", "web-1"), *result = NULL;
	struct nk_error err = { 0 };
	char longest[300];

	assert_status(c);
	assert_int_equal(nk_client_call(c, "device.get", params, NULL, 0, PATIENCE_MS, &result, &err), -EREMOTEIO);
	assert_null(result);
	assert_int_equal(err.code, NK_E_NOT_FOUND);
	assert_non_null(strstr(err.message, "there is no device web-1"));
	assert_string_equal(json_string_value(json_object_get(json_array_get(err.problems, 0), "pointer")), "/name");
	nk_error_clear(&err);
	assert_int_equal(params->refcount, 1);
	json_decref(params);
	/* A long answer. */
	assert_int_equal(nk_client_call(c, "device.list", NULL, NULL, 0, PATIENCE_MS, &result, &err), 0);
	assert_int_equal(json_string_length(json_object_get(result, "devices")), 3 << 20);
	json_decref(result);
	assert_status(c);
	assert_true(fcntl(nk_client_fd(c), F_GETFD) & FD_CLOEXEC);
	nk_client_free(c);
	assert_null(nk_client_free(NULL));

	assert_int_equal(nk_client_connect("/nonexistent/sock", &none), -ENOENT);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(nk_client_connect(longest, &none), -ENAMETOOLONG);
	assert_null(none);
}

/* A message over the limit: the daemon closes in the middle of it, and what it said is heard all the same. */
static void test_oversized(void **state)
{
	size_t n = 17u << 20;
	char *text = malloc(n);
	struct nk_client *c = connect_client();
	struct nk_error err = { 0 };
	json_t *params, *result = NULL;

	memset(text, 'x', n);
	params = json_pack("{s:s#}", "name", text, n);
	assert_int_equal(nk_client_call(c, "device.get", params, NULL, 0, PATIENCE_MS, &result, &err), -EREMOTEIO);
	assert_int_equal(err.code, NK_E_LIMIT);
	nk_error_clear(&err);
	assert_int_equal(nk_client_call(c, "daemon.status", NULL, NULL, 0, PATIENCE_MS, &result, &err), -ECONNRESET);
	json_decref(params);
	nk_client_free(c);
	free(text);
	c = connect_client();
	assert_status(c);
	nk_client_free(c);
}

static void test_refused_client(void **state)
{
	struct nk_client *c = connect_client(), *second;
	struct nk_error err = { 0 };
	json_t *result = NULL;

	assert_status(c);
	second = connect_client();
	assert_int_equal(nk_client_call(second, "daemon.status", NULL, NULL, 0, PATIENCE_MS, &result, &err), -EREMOTEIO);
	assert_int_equal(err.code, NK_E_LIMIT);
	nk_error_clear(&err);
	nk_client_free(second);
	assert_status(c);
	nk_client_free(c);
}

static void test_timeout(void **state)
{
	json_t *params = json_pack("{s:i, s:i}", "revision", 1, "timeout_ms", 1), *result = NULL;
	struct nk_client *c = connect_client();
	struct nk_error err = { 0 };

	assert_int_equal(nk_client_call(c, "state.wait", params, NULL, 0, 50, &result, &err), -ETIMEDOUT);
	/* Its answer comes when the next one is asked: it is not taken for the next one's. */
	assert_int_equal(nk_client_call(c, "state.wait", params, NULL, 0, 50, &result, &err), -ETIMEDOUT);
	assert_null(result);
	assert_status(c);
	assert_int_equal(nk_client_next_event(c, 50, &result), -ETIMEDOUT);
	assert_int_equal(nk_client_next_event(c, 0, &result), -ETIMEDOUT);
	json_decref(params);
	nk_client_free(c);
}

static void test_events(void **state)
{
	struct nk_client *c = connect_client();
	struct nk_error err = { 0 };
	json_t *result = NULL;

	assert_int_equal(nk_client_call(c, "event.subscribe", NULL, NULL, 0, PATIENCE_MS, &result, &err), 0);
	json_decref(result);
	assert_status(c);
	for (int i = 1; i <= 4; i++) {
		json_t *event = NULL;

		assert_int_equal(nk_client_next_event(c, PATIENCE_MS, &event), 0);
		assert_int_equal(json_integer_value(json_object_get(event, "seq")), i);
		json_decref(event);
	}
	assert_int_equal(nk_client_call(c, "event.subscribe", NULL, NULL, 0, PATIENCE_MS, &result, &err), 0);
	json_decref(result);
	nk_client_free(c); /* with events that nobody took */
}

static void test_descriptors(void **state)
{
	int pipe_fds[2], fds[17];
	struct nk_client *c = connect_client();
	struct nk_error err = { 0 };
	json_t *result = NULL;
	char buf[3];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	for (int i = 0; i < 17; i++)
		fds[i] = pipe_fds[1];
	assert_int_equal(nk_client_call(c, "program.list", NULL, fds, 3, PATIENCE_MS, &result, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(result, "n")), 3);
	json_decref(result);
	assert_int_equal(read(pipe_fds[0], buf, 3), 3);
	assert_memory_equal(buf, "012", 3);
	assert_int_equal(nk_client_call(c, "program.list", NULL, fds, 17, PATIENCE_MS, &result, &err), -EINVAL);
	assert_int_equal(err.code, NK_E_LIMIT);
	nk_error_clear(&err);
	assert_status(c);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	nk_client_free(c);
}

static void test_daemon_gone(void **state)
{
	json_t *params = json_pack("{s:i, s:i}", "revision", 1, "timeout_ms", 1), *result = NULL;
	struct nk_client *c = connect_client();
	struct nk_error err = { 0 };

	assert_status(c);
	stop_daemon();
	assert_int_equal(nk_client_call(c, "state.wait", params, NULL, 0, PATIENCE_MS, &result, &err), -ECONNRESET);
	assert_int_equal(nk_client_next_event(c, PATIENCE_MS, &result), -ECONNRESET);
	json_decref(params);
	nk_client_free(c);
}

/* ---- a peer that is no daemon ---- */

static void test_nonsense(void **state)
{
	static const char *const lines[] = {
		"hello\n",
		"[]\n",
		"{}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"error\":{\"code\":1,\"message\":\"x\"}}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":7}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"x\"}}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"result\":{}}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}\n",
	};
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	stop_daemon();
	unlink(path);
	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 20), 0);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct nk_client *c = connect_client();
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		struct nk_error err = { 0 };
		json_t *result = NULL;

		assert_int_equal(write(peer, lines[i], strlen(lines[i])), strlen(lines[i]));
		if (nk_client_call(c, "daemon.status", NULL, NULL, 0, PATIENCE_MS, &result, &err) != -EPROTO)
			fail_msg("took %s", lines[i]);
		assert_null(result);
		nk_error_clear(&err);
		close(peer);
		nk_client_free(c);
	}
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_call),
		TEST(test_oversized),
		TEST(test_refused_client),
		TEST(test_timeout),
		TEST(test_events),
		TEST(test_descriptors),
		TEST(test_daemon_gone),
		TEST(test_nonsense),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
