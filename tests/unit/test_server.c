// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the server takes and gives over real sockets: framing, turns, limits, descriptors, and clients that do not read. Coming
 * and going is in test_server_life.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/contract.h"
#include "server_help.h"

/* ---- lines ---- */

static void test_lines(void **state)
{
	static const char text[] = "one\n\ntwo two\n";
	struct wire w;

	start_server((struct nk_server_options){ 0 });
	wire_connect(&w, base, path);
	/* Byte by byte, and then all at once. */
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		wire_send(&w, text + i, 1);
		wire_turn(base);
	}
	wire_send(&w, text, sizeof(text) - 1);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(wire_line(&w), "one");
		assert_string_equal(wire_line(&w), "");
		assert_string_equal(wire_line(&w), "two two");
	}
	assert_int_equal(seen.lines, 6);
	assert_int_equal(server->in_total, 0);
	wire_close(&w);
	wait_closed(1);
	assert_null(seen.why_closed); /* it left */
}

static void test_long_lines(void **state)
{
	char *text = malloc(NK_MESSAGE_MAX + 2);
	struct wire w, other;

	start_server((struct nk_server_options){ 0 });
	memset(text, 'x', NK_MESSAGE_MAX + 2);
	wire_connect(&w, base, path);
	text[NK_MESSAGE_MAX] = '\n';
	wire_send(&w, text, NK_MESSAGE_MAX + 1);
	assert_int_equal(strlen(wire_line(&w)), 100);
	assert_int_equal(seen.last_len, NK_MESSAGE_MAX);
	assert_int_equal(server->in_total, 0);

	wire_connect(&other, base, path);
	text[NK_MESSAGE_MAX] = 'x';
	wire_send(&w, text, NK_MESSAGE_MAX + 1);
	assert_string_equal(wire_line(&w), "refused");
	wire_expect_eof(&w);
	assert_int_equal(seen.last_refusal, NK_REFUSED_TOO_LONG);
	assert_int_equal(seen.refused, 1);
	assert_int_equal(seen.lines, 1);
	wait_closed(1);
	assert_non_null(strstr(seen.why_closed, "longer than is allowed"));
	assert_int_equal(server->in_total, 0);
	wire_say(&other, "next");
	assert_string_equal(wire_line(&other), "next");
	wire_close(&w);
	wire_close(&other);
	free(text);
}

/* Unfinished lines of many clients cannot eat up the memory. */
static void test_unfinished_lines(void **state)
{
	size_t len = 15u << 20;
	char *text = malloc(len);
	struct wire w[5];

	start_server((struct nk_server_options){ 0 });
	memset(text, 'x', len);
	for (int i = 0; i < 5; i++) {
		wire_connect(&w[i], base, path);
		wire_send(&w[i], text, len);
		while (i < 4 && server->in_total < (16u << 20) * (unsigned)(i + 1))
			wire_turn(base);
	}
	assert_string_equal(wire_line(&w[4]), "refused");
	assert_int_equal(seen.last_refusal, NK_REFUSED_MEMORY);
	wire_send(&w[0], "\n", 1);
	wire_line(&w[0]);
	for (int i = 0; i < 5; i++)
		wire_close(&w[i]);
	wait_closed(5);
	assert_int_equal(server->in_total, 0);
	free(text);
}

/* ---- turns ---- */

static void test_many_lines_and_another_client(void **state)
{
	enum { N = 10000 };
	char *text = malloc(N * 8), *at = text;
	struct wire busy, other;
	size_t sent, run = 0;

	start_server((struct nk_server_options){ 0 });
	wire_connect(&busy, base, path);
	wire_connect(&other, base, path);
	wait_clients(2);
	for (int i = 0; i < N; i++)
		at += sprintf(at, "a%05d\n", i);
	sent = wire_push(&busy, text, (size_t)(at - text));
	assert_true(sent >= 1000 * 7); /* far more than one turn */
	wire_push(&other, "b\n", 2);
	wire_send(&busy, text + sent, (size_t)(at - text) - sent);
	for (int i = 0; i < N; i++) {
		char want[16];

		snprintf(want, sizeof(want), "a%05d", i);
		assert_string_equal(wire_line(&busy), want);
	}
	assert_string_equal(wire_line(&other), "b");
	assert_int_equal(seen.lines, N + 1);
	/* The other one was served in the first round. */
	assert_true((size_t)(strchr(seen.order, 'b') - seen.order) <= 65);
	/* And nobody waits for the commit longer than a turn. */
	for (size_t i = 0; i < seen.n_order; i++) {
		run = seen.order[i] == 'a' ? run + 1 : 0;
		assert_true(run <= 64);
	}
	wire_close(&busy);
	wire_close(&other);
	free(text);
}

static void test_clients_ready_at_once_share_a_commit(void **state)
{
	struct wire w[10];

	start_server((struct nk_server_options){ 0 });
	for (int i = 0; i < 10; i++)
		wire_connect(&w[i], base, path);
	wait_clients(10);
	wire_turn(base);
	assert_int_equal(seen.idles, 0);
	for (int i = 0; i < 10; i++)
		wire_push(&w[i], "x\ny\n", 4);
	wire_turn(base);
	assert_int_equal(seen.lines, 20);
	assert_int_equal(seen.idles, 1);
	assert_int_equal(seen.order[20], 'i');
	for (int i = 0; i < 10; i++) {
		assert_string_equal(wire_line(&w[i]), "x");
		assert_string_equal(wire_line(&w[i]), "y");
		wire_close(&w[i]);
	}
}

static int count_timers(const struct event_base *b, const struct event *e, void *arg)
{
	if (event_pending(e, EV_TIMEOUT, NULL))
		++*(int *)arg;
	return 0;
}

static void test_no_timer_while_nothing_waits(void **state)
{
	struct wire w, silent;
	int timers = 0;

	start_server((struct nk_server_options){ 0 });
	wire_connect(&silent, base, path);
	wire_connect(&w, base, path);
	wire_say(&w, "x");
	wire_line(&w);
	wire_turn(base);
	event_base_foreach_event(base, count_timers, &timers);
	assert_int_equal(timers, 0);
	assert_int_equal(event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE), 0);
	wire_close(&w);
	wire_close(&silent);
}

/* ---- clients that do not read ---- */

static void test_never_reads(void **state)
{
	struct wire w, other;
	int answered = 0;

	start_server((struct nk_server_options){ .slow_ms = 400 });
	wire_connect(&w, base, path);
	wire_connect(&other, base, path);
	for (int i = 0; i < 1000; i++)
		wire_push(&w, "big65536\n", 9);
	/* Its lines wait when its replies do. */
	wait_lines(10);
	for (int i = 0; i < 20; i++) {
		wire_turn(base);
		assert_true(server->out_total <= NK_REPLY_HIGH + 65537);
	}
	assert_true(seen.lines < 40);
	while (seen.closed == 0) {
		wire_say(&other, "x");
		assert_string_equal(wire_line(&other), "x");
		assert_true(++answered < 100000);
	}
	assert_true(answered > 10);
	assert_non_null(strstr(seen.why_closed, "did not read what"));
	assert_int_equal(nk_server_n_clients(server), 1);
	assert_int_equal(server->out_total, 0);
	wire_close(&w);
	wire_close(&other);
}

/* Who reads slowly, but reads, is kept, and gets everything. */
static void test_slow_reader_is_kept(void **state)
{
	struct wire w;
	size_t got = 0;
	char buf[65536];

	start_server((struct nk_server_options){ .slow_ms = 400 });
	wire_connect(&w, base, path);
	for (int i = 0; i < 40; i++)
		wire_push(&w, "big65535\n", 9);
	for (int i = 0; i < 1000 && got < 40 * 65536; i++) {
		ssize_t n;

		for (int j = 0; j < 20; j++) {
			wire_turn(base);
			usleep(1000);
		}
		for (int k = 0; k < 4 && (n = recv(w.fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0; k++)
			got += (size_t)n;
	}
	assert_int_equal(got, 40 * 65536);
	assert_int_equal(seen.closed, 0);
	wire_close(&w);
}

/*
 * Who reads a little now and then keeps the socket's buffer so full that the kernel never calls it writable. What goes out with
 * each notification is progress all the same.
 */
static void test_slow_reader_of_notifications_is_kept(void **state)
{
	struct nk_peer *p;
	struct wire w;
	char buf[40000];
	int rounds = 0;

	start_server((struct nk_server_options){ .slow_ms = 300 });
	wire_connect(&w, base, path);
	wire_say(&w, "big4000000");
	wait_lines(1);
	p = seen.heard;
	while (server->out_total > 0) {
		assert_true(recv(w.fd, buf, sizeof(buf), MSG_DONTWAIT) > 0);
		usleep(20000);
		wire_turn(base);
		assert_int_equal(seen.closed, 0);
		if (++rounds < 50) {
			nk_peer_notify(p, "n", 1);
			wire_turn(base);
		} else {
			recv(w.fd, buf, sizeof(buf), MSG_DONTWAIT);
			recv(w.fd, buf, sizeof(buf), MSG_DONTWAIT);
		}
	}
	assert_true(rounds > 50);
	wire_close(&w);
}

static void test_notification_backlog(void **state)
{
	char text[1000];
	struct wire w, reader;
	struct nk_peer *lazy, *busy;
	int sent = 0;

	start_server((struct nk_server_options){ 0 });
	memset(text, 'n', sizeof(text));
	wire_connect(&w, base, path);
	wire_say(&w, "x");
	wire_line(&w);
	lazy = nk_peer_ref(seen.heard);
	wire_connect(&reader, base, path);
	wire_say(&reader, "x");
	wire_line(&reader);
	busy = nk_peer_ref(seen.heard);
	while (!nk_peer_gone(lazy)) {
		seen.in_call = true;
		nk_peer_notify(lazy, text, sizeof(text));
		nk_peer_notify(busy, text, sizeof(text));
		seen.in_call = false;
		assert_int_equal(strlen(wire_line(&reader)), sizeof(text));
		assert_true(++sent < 10000);
	}
	assert_true(sent >= 1000);
	wait_closed(1);
	assert_non_null(strstr(seen.why_closed, "did not read the events"));
	assert_false(nk_peer_gone(busy));
	nk_peer_notify(lazy, text, sizeof(text)); /* nothing happens */
	nk_peer_send(lazy, text, sizeof(text));
	nk_peer_unref(lazy);
	nk_peer_unref(busy);
	wire_close(&w);
	wire_close(&reader);
}

/* All clients' unread replies together have a limit, and the worst one pays. */
static void test_unread_replies_of_all(void **state)
{
	struct wire w[5];

	start_server((struct nk_server_options){ 0 });
	for (int i = 0; i < 5; i++) {
		wire_connect(&w[i], base, path);
		wire_say(&w[i], i == 2 ? "big20000000" : "big15000000");
		wait_lines((unsigned)i + 1);
	}
	wait_closed(1);
	assert_non_null(strstr(seen.why_closed, "left most unread"));
	assert_int_equal(nk_server_n_clients(server), 4);
	assert_int_equal(strlen(wire_line(&w[1])), 15000000);
	assert_null(wire_line_or_eof(&w[2]));
	for (int i = 0; i < 5; i++)
		wire_close(&w[i]);
}

/* The worst one pays, and nobody else, though it is closed only later: one event goes to all within one call. */
static void test_one_hog_among_subscribers(void **state)
{
	struct nk_peer *p[4];
	struct wire w[4];
	char *text = malloc(NK_BUFFERED_MAX);

	start_server((struct nk_server_options){ 0 });
	memset(text, 'x', NK_BUFFERED_MAX);
	for (int i = 0; i < 4; i++) {
		wire_connect(&w[i], base, path);
		wire_say(&w[i], "x");
		wire_line(&w[i]);
		p[i] = seen.heard;
	}
	nk_peer_send(p[1], text, NK_BUFFERED_MAX - 1);
	assert_false(nk_peer_gone(p[1]));
	for (int i = 0; i < 4; i++)
		nk_peer_notify(p[i], "event", 5);
	for (int i = 0; i < 4; i++)
		assert_int_equal(nk_peer_gone(p[i]), i == 1);
	assert_int_equal(server->out_total, 3 * strlen("event\n"));
	wait_closed(1);
	assert_non_null(strstr(seen.why_closed, "left most unread"));
	for (int i = 0; i < 4; i++) {
		if (i != 1)
			assert_string_equal(wire_line(&w[i]), "event");
		wire_close(&w[i]);
	}
	wait_closed(4);
	assert_int_equal(server->out_total, 0);
	free(text);
}

/* ---- descriptors ---- */

static void test_descriptors(void **state)
{
	int fds[NK_FDS_MAX + 1], pipe_fds[2];
	size_t before, with_client;
	struct wire w;
	char c;

	start_server((struct nk_server_options){ 0 });
	before = wire_open_fds();
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	for (size_t i = 0; i < NK_FDS_MAX + 1; i++)
		fds[i] = pipe_fds[1];
	wire_connect(&w, base, path);
	wait_clients(1);
	with_client = wire_open_fds();

	/* To the line that they came with, though others came before it in the same read. */
	wire_push(&w, "a\nb\n", 4);
	wire_say_fds(&w, "c", fds, 3);
	wait_lines(3);
	assert_int_equal(seen.last_fds, 3);
	assert_int_equal(wire_open_fds(), with_client);
	wire_push(&w, "in ", 3);
	wire_turn(base);
	wire_say_fds(&w, "parts", fds, 1);
	wait_lines(4);
	wire_say_fds(&w, "keep", fds, 1);
	wait_lines(5);
	assert_int_equal(seen.last_fds, 1);
	assert_true(fcntl(seen.keep_fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(seen.keep_fd, "!", 1), 1);
	assert_int_equal(read(pipe_fds[0], &c, 1), 1);
	close(seen.keep_fd);
	assert_int_equal(wire_open_fds(), with_client);
	wire_say_fds(&w, "d", fds, NK_FDS_MAX);
	wait_lines(6);
	assert_int_equal(seen.last_fds, NK_FDS_MAX);

	for (int i = 0; i < 5; i++)
		wire_line(&w); /* "keep" is not answered */
	assert_int_equal(wire_open_fds(), with_client);
	wire_say_fds(&w, "one too many", fds, NK_FDS_MAX + 1);
	assert_string_equal(wire_line(&w), "refused");
	wire_expect_eof(&w);
	assert_int_equal(seen.last_refusal, NK_REFUSED_DESCRIPTORS);
	assert_int_equal(seen.lines, 6);
	wire_close(&w);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_int_equal(wire_open_fds(), before);
}

/* Descriptors of a line that never ends go with the client; too many for one line are refused however they come. */
static void test_descriptors_of_unfinished_line(void **state)
{
	int fds[NK_FDS_MAX];
	size_t before;
	struct wire w;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	start_server((struct nk_server_options){ 0 });
	before = wire_open_fds();
	for (size_t i = 0; i < NK_FDS_MAX; i++)
		fds[i] = fd;
	for (int round = 0; round < 2; round++) {
		struct iovec iov = { .iov_base = (char *)"part", .iov_len = 4 };
		char control[CMSG_SPACE(sizeof(fds))] __attribute__((aligned(16))) = { 0 };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				      .msg_controllen = sizeof(control) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		wire_connect(&w, base, path);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
		for (int i = 0; i <= round; i++) {
			assert_int_equal(sendmsg(w.fd, &msg, 0), 4);
			wait_clients(1);
			wire_turn(base);
		}
		if (round == 1) {
			wire_push(&w, "\n", 1);
			assert_string_equal(wire_line(&w), "refused");
		}
		wire_close(&w);
		wait_clients(0);
		assert_int_equal(wire_open_fds(), before);
	}
	assert_int_equal(seen.lines, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(test_lines),
		SERVER_TEST(test_long_lines),
		SERVER_TEST(test_unfinished_lines),
		SERVER_TEST(test_many_lines_and_another_client),
		SERVER_TEST(test_clients_ready_at_once_share_a_commit),
		SERVER_TEST(test_no_timer_while_nothing_waits),
		SERVER_TEST(test_never_reads),
		SERVER_TEST(test_slow_reader_is_kept),
		SERVER_TEST(test_slow_reader_of_notifications_is_kept),
		SERVER_TEST(test_notification_backlog),
		SERVER_TEST(test_unread_replies_of_all),
		SERVER_TEST(test_one_hog_among_subscribers),
		SERVER_TEST(test_descriptors),
		SERVER_TEST(test_descriptors_of_unfinished_line),
	};

	return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
