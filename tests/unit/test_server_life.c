// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server's clients come and go, are too many, and have rights or none; its socket's file is made, taken over and removed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server_help.h"

/* ---- coming and going ---- */

static void test_half_closed(void **state)
{
	struct wire w;

	start_server((struct nk_server_options){ 0 });
	wire_connect(&w, base, path);
	wire_say(&w, "x");
	wire_say(&w, "hold");
	shutdown(w.fd, SHUT_WR);
	assert_string_equal(wire_line(&w), "x");
	wire_turn(base);
	assert_int_equal(seen.closed, 0);
	nk_peer_send(seen.held, "late", 4);
	nk_peer_release(seen.held);
	assert_string_equal(wire_line(&w), "late");
	wire_expect_eof(&w);
	wire_close(&w);
	wait_closed(1);

	wire_connect(&w, base, path);
	wire_send(&w, "cut sho", 7);
	shutdown(w.fd, SHUT_WR);
	assert_string_equal(wire_line(&w), "refused");
	wire_expect_eof(&w);
	assert_int_equal(seen.last_refusal, NK_REFUSED_TRUNCATED);
	wire_close(&w);
}

static void test_gone_while_held(void **state)
{
	struct wire w;
	size_t before;

	start_server((struct nk_server_options){ 0 });
	before = wire_open_fds();
	wire_connect(&w, base, path);
	wire_say(&w, "hold");
	wait_lines(1);
	wire_close(&w);
	wait_closed(1);
	assert_true(nk_peer_gone(seen.held));
	assert_int_equal(wire_open_fds(), before);
	nk_peer_send(seen.held, "late", 4);
	nk_peer_release(seen.held);

	/* It ends its stream first, and goes altogether later. */
	wire_connect(&w, base, path);
	wire_say(&w, "hold");
	shutdown(w.fd, SHUT_WR);
	wait_lines(2);
	for (int i = 0; i < 5; i++)
		wire_turn(base);
	assert_int_equal(seen.closed, 1);
	wire_close(&w);
	wait_closed(2);
	nk_peer_release(seen.held);
}

static void test_too_many_clients(void **state)
{
	struct wire w[4];

	start_server((struct nk_server_options){ .max_clients = 3 });
	for (int i = 0; i < 3; i++)
		wire_connect(&w[i], base, path);
	wait_clients(3);
	wire_connect(&w[3], base, path);
	assert_string_equal(wire_line(&w[3]), "refused");
	wire_expect_eof(&w[3]);
	assert_int_equal(seen.last_refusal, NK_REFUSED_CLIENTS);
	wire_close(&w[3]);
	wire_say(&w[0], "x");
	assert_string_equal(wire_line(&w[0]), "x");
	wire_close(&w[0]);
	wait_clients(2);
	wire_connect(&w[0], base, path);
	wire_say(&w[0], "y");
	assert_string_equal(wire_line(&w[0]), "y");
	for (int i = 0; i < 3; i++)
		wire_close(&w[i]);
}

static void test_out_of_descriptors(void **state)
{
	struct rlimit old, low;
	struct wire w[2];
	unsigned turns = 0;

	start_server((struct nk_server_options){ 0 });
	wire_connect(&w[0], base, path);
	wait_clients(1);
	wire_connect(&w[1], base, path);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 3; /* none is to be had */
	setrlimit(RLIMIT_NOFILE, &low);
	wire_turn(base);
	/* It does not spin meanwhile. */
	while (turns < 10 && event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE) == 0) {
		wire_turn(base);
		turns++;
	}
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(turns, 10);
	assert_int_equal(nk_server_n_clients(server), 1);
	wire_close(&w[0]); /* the one that goes makes room */
	wire_say(&w[1], "x");
	assert_string_equal(wire_line(&w[1]), "x");
	wire_close(&w[1]);
}

static void test_stop_reading(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct wire w, late;

	start_server((struct nk_server_options){ 0 });
	wire_connect(&w, base, path);
	wire_say(&w, "hold");
	wait_lines(1);
	nk_server_stop_reading(server);
	wire_say(&w, "x");
	strcpy(addr.sun_path, path);
	wire_connect(&late, base, path);
	wire_turn(base);
	assert_int_equal(seen.lines, 1);
	assert_int_equal(nk_server_n_clients(server), 1);
	nk_peer_send(seen.held, "late", 4);
	nk_peer_release(seen.held);
	assert_string_equal(wire_line(&w), "late");
	wire_close(&w);
	wire_close(&late);
}

/* What was answered last goes out when the server ends, and a reference outlives it. */
static void test_free_with_clients(void **state)
{
	struct wire w;

	start_server((struct nk_server_options){ 0 });
	wire_connect(&w, base, path);
	wire_say(&w, "hold");
	wait_lines(1);
	nk_peer_send(seen.held, "bye", 3);
	server = nk_server_free(server);
	assert_int_equal(seen.closed, 1);
	assert_true(nk_peer_gone(seen.held));
	nk_peer_release(seen.held);
	assert_string_equal(wire_line(&w), "bye");
	wire_expect_eof(&w);
	wire_close(&w);
	assert_int_equal(access(path, F_OK), -1);
}

/* ---- the socket's file ---- */

static int try_new(const char *p, const char *group, int listen_fd)
{
	struct nk_server_options o = { .path = p, .group = group, .listen_fd = listen_fd, .max_clients = 1 };
	struct nk_server *s = NULL;
	int r = nk_server_new(base, &o, &handlers, &s, why, sizeof(why));

	if (r < 0) {
		assert_null(s);
		assert_true(strlen(why) > 10);
	}
	nk_server_free(s);
	return r;
}

static void test_socket_file(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct group *group = getgrgid(getegid());
	char longest[300];
	struct stat st;
	int fd;

	start_server((struct nk_server_options){ .group = group->gr_name });
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(st.st_gid, getegid());
	assert_int_equal(try_new(path, NULL, -1), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
	server = nk_server_free(server);
	assert_int_equal(access(path, F_OK), -1);

	/* A stale one: bound, but its owner has gone. */
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(try_new(path, NULL, -1), 0);

	/* Something else of that name is not touched. */
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(try_new(path, NULL, -1), -ENOTSOCK);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(path);

	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(try_new(longest, NULL, -1), -EINVAL);
	assert_int_equal(try_new("relative", NULL, -1), -EINVAL);
	assert_int_equal(try_new(path, "no-such-group", -1), -EINVAL);
	assert_non_null(strstr(why, "no-such-group"));
	assert_int_equal(try_new("/nonexistent/sock", NULL, -1), -ENOENT);

	/* One that somebody else put in our place is not ours to remove. */
	start_server((struct nk_server_options){ 0 });
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	server = nk_server_free(server);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_socket_activation(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct wire w;

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(try_new(NULL, NULL, fd), -ENOTSOCK); /* does not listen */
	assert_int_equal(try_new(NULL, NULL, other), -ENOTSOCK);
	assert_true(fcntl(other, F_GETFD) >= 0);
	close(other);
	assert_int_equal(listen(fd, 5), 0);
	start_server((struct nk_server_options){ .listen_fd = fd });
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	wire_connect(&w, base, path);
	wire_say(&w, "x");
	assert_string_equal(wire_line(&w), "x");
	wire_close(&w);
	server = nk_server_free(server);
	assert_int_equal(access(path, F_OK), 0); /* systemd's */
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* ---- groups ---- */

static int lookup_error;

/* Instead of libc's: a directory service that may fail. */
struct group *getgrnam(const char *name)
{
	static char buf[4096];
	static struct group group;
	struct group *found = NULL;

	errno = lookup_error ? lookup_error : getgrnam_r(name, &group, buf, sizeof(buf), &found);
	return lookup_error ? NULL : found;
}

/* That a group can't be looked up now is not that there is none: another start may find it, and so must not be told as damage is. */
static void test_group_lookup_fails(void **state)
{
	static const int failures[] = { EIO, EMFILE, ENOMEM, EAGAIN, ECONNREFUSED, EINVAL, EBADMSG }, none[] = { 0, ENOENT, ESRCH };
	char *groups[] = { (char *)"wheel-of-ldap" };
	struct nk_server_options o = { .path = path, .listen_fd = -1, .admin_groups = groups, .n_admin_groups = 1, .max_clients = 1 };

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		lookup_error = failures[i];
		assert_int_equal(nk_server_new(base, &o, &handlers, &server, why, sizeof(why)), -EAGAIN);
		assert_non_null(strstr(why, "wheel-of-ldap"));
		assert_non_null(strstr(why, strerror(failures[i])));
		assert_int_equal(try_new(path, "wheel-of-ldap", -1), -EAGAIN);
		assert_non_null(strstr(why, strerror(failures[i])));
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		lookup_error = none[i];
		assert_int_equal(nk_server_new(base, &o, &handlers, &server, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, "no group wheel-of-ldap"));
		assert_int_equal(try_new(path, "wheel-of-ldap", -1), -EINVAL);
	}
	lookup_error = 0;
	assert_int_equal(try_new(path, "root", -1), 0);
}

/* ---- rights ---- */

/* Connect as another user and say "x"; what the server thought of it is in seen.heard. */
static void connect_as(uid_t uid, gid_t gid, gid_t also)
{
	unsigned before = seen.lines;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct sockaddr_un addr = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		char c;

		strcpy(addr.sun_path, path);
		if (setgroups(1, &also) || setgid(gid) || setuid(uid) || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
		    write(fd, "hold\n", 5) != 5)
			_exit(1);
		_exit(read(fd, &c, 1) == 1 ? 0 : 1);
	}
	wait_lines(before + 1);
	nk_peer_send(seen.held, "", 0);
	do
		wire_turn(base);
	while (waitpid(pid, &status, WNOHANG) == 0);
	assert_int_equal(status, 0);
}

static void test_rights(void **state)
{
	char *groups[] = { (char *)"daemon", (char *)"games" }, *unknown[] = { (char *)"no-such-group" };
	struct wire w;
	gid_t daemon_gid = getgrnam("daemon")->gr_gid, games = getgrnam("games")->gr_gid, nobody = 65534;
	struct nk_server_options bad = { .path = path, .listen_fd = -1, .admin_groups = unknown,
					 .n_admin_groups = 1, .max_clients = 1 };

	assert_int_equal(geteuid(), 0); /* the lab runs this as root: only root may change here, and become others */
	start_server((struct nk_server_options){ .admin_groups = groups, .n_admin_groups = 2 });
	assert_int_equal(chmod(path, 0666), 0);
	connect_as(0, 0, nobody);
	assert_true(nk_peer_may_change(seen.held));
	nk_peer_release(seen.held);
	wire_connect(&w, base, path);
	wire_say(&w, "x");
	wire_line(&w);
	assert_string_equal(nk_peer_who_may_change(seen.heard), "uid 0 and members of group daemon, games");
	wire_close(&w);
	connect_as(65534, nobody, nobody);
	assert_false(nk_peer_may_change(seen.held));
	assert_int_equal(nk_peer_uid(seen.held), 65534);
	nk_peer_release(seen.held);
	connect_as(65534, daemon_gid, nobody);
	assert_true(nk_peer_may_change(seen.held));
	nk_peer_release(seen.held);
	connect_as(65534, nobody, games);
	assert_true(nk_peer_may_change(seen.held));
	nk_peer_release(seen.held);
	server = nk_server_free(server);
	assert_int_equal(nk_server_new(base, &bad, &handlers, &server, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "no-such-group"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(test_half_closed),
		SERVER_TEST(test_gone_while_held),
		SERVER_TEST(test_too_many_clients),
		SERVER_TEST(test_out_of_descriptors),
		SERVER_TEST(test_stop_reading),
		SERVER_TEST(test_free_with_clients),
		SERVER_TEST(test_socket_file),
		SERVER_TEST(test_socket_activation),
		SERVER_TEST(test_group_lookup_fails),
		SERVER_TEST(test_rights),
	};

	return cmocka_run_group_tests_name("server_life", tests, NULL, NULL);
}
