// SPDX-License-Identifier: GPL-2.0-only
/*
 * The search for the owners of links: what it reads of /proc, and that it takes turns. Who is found is for the system tests to say, on
 * a kernel that has such links.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/kernel/mounts.h"
#include "daemon/kernel/owners.h"

static void mounts_by_their_lines(void **state)
{
	static const struct {
		const char *line, *root, *point, *type;
		unsigned maj, min;
	} cases[] = {
		{ "32 24 0:28 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:10 - bpf bpf rw,mode=700\n", "/", "/sys/fs/bpf", "bpf", 0, 28 },
		{ "32 24 0:28 /a /b rw - bpf bpf rw", "/a", "/b", "bpf", 0, 28 },
		{ "1 1 259:65536 / / rw master:1 propagate_from:2 unbindable - ext4 /dev/root rw\n", "/", "/", "ext4", 259, 65536 },
		{ "9 1 0:5 /x\\134y /a\\040b\\011c\\012d\\134040 rw - bpf - rw\n", "/x\\y", "/a b\tc\nd\\040", "bpf", 0, 5 },
		{ "9 1 0:5 / /odd\\9\\400\\04 rw - bpf bpf rw\n", "/", "/odd\\9\\400\\04", "bpf", 0, 5 },
		{ "9 1 0:5 / /x rw - fuse.a-b\n", "/", "/x", "fuse.a-b", 0, 5 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[256];
		struct nk_mount m;

		strcpy(line, cases[i].line);
		assert_true(nk_mount_parse(line, &m));
		assert_string_equal(m.root, cases[i].root);
		assert_string_equal(m.point, cases[i].point);
		assert_string_equal(m.type, cases[i].type);
		assert_true(m.dev == makedev(cases[i].maj, cases[i].min));
	}
}

static void lines_that_are_no_mounts(void **state)
{
	static const char *const lines[] = {
		"", "\n", "32 24 0:28 / /sys/fs/bpf", "32 24 0:28 / /sys/fs/bpf rw bpf bpf rw\n", "32 24 x / /sys/fs/bpf rw - bpf bpf rw\n",
		"32 24 0:28 / - bpf", "- - - - - - -",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char line[256];
		struct nk_mount m;

		strcpy(line, lines[i]);
		assert_false(nk_mount_parse(line, &m));
	}
}

static void links_by_their_fdinfo(void **state)
{
	assert_int_equal(nk_owners_read_fdinfo("pos:\t0\nflags:\t02000000\nmnt_id:\t16\nino:\t1\nlink_type:\ttcx\nlink_id:\t42\n"
					       "prog_tag:\ta04f5eef06a7f555\nprog_id:\t7\nifindex:\t3\n"), 42);
	assert_int_equal(nk_owners_read_fdinfo("link_id:\t4294967295"), UINT32_MAX);
	assert_int_equal(nk_owners_read_fdinfo(""), 0);
	assert_int_equal(nk_owners_read_fdinfo("pos:\t0\nprog_id:\t7\nattach_link_id:\t8\n"), 0);
	assert_int_equal(nk_owners_read_fdinfo("link_id:\tmany\n"), 0);
}

#define DESCRIPTORS 900

/* A process that has many descriptors, until it is killed. */
static pid_t start_holder(void)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		for (int i = 0; i < DESCRIPTORS; i++)
			open("/dev/null", O_RDONLY);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 0);
	close(ready[0]);
	return pid;
}

/* Another has 2,700 descriptors: whatever else runs here, that can't be looked at in one turn. */
static void it_takes_turns(void **state)
{
	const uint32_t asked[] = { UINT32_MAX, 5 };
	struct nk_owners *o;
	unsigned turns = 0;
	pid_t holders[3];
	int own = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t n = 1;

	for (size_t i = 0; i < 3; i++)
		holders[i] = start_holder();
	assert_int_equal(nk_owners_new(asked, 2, &o), 0);
	for (; !nk_owners_done(o); turns++)
		nk_owners_look(o, own);
	assert_true(turns >= 3);
	nk_owners_of(o, UINT32_MAX, &n);
	assert_int_equal(n, 0);
	assert_false(nk_owners_saw_processes(o, 6)); /* not asked for */
	nk_owners_free(o);
	/* One that is given up on its way. */
	assert_int_equal(nk_owners_new(asked, 2, &o), 0);
	nk_owners_look(o, own);
	assert_false(nk_owners_done(o));
	nk_owners_free(o);
	for (size_t i = 0; i < 3; i++) {
		kill(holders[i], SIGKILL);
		waitpid(holders[i], NULL, 0);
	}
	close(own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_by_their_lines),
		cmocka_unit_test(lines_that_are_no_mounts),
		cmocka_unit_test(links_by_their_fdinfo),
		cmocka_unit_test(it_takes_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
