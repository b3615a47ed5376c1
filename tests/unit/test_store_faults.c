// SPDX-License-Identifier: GPL-2.0-only
/*
 * The store when things go wrong: whatever operation of the disk fails, and wherever the process dies, either the old or the new
 * state is there, entirely, and the store goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/store_schema.h"
#include "fault_vfs.h"
#include "store_help.h"

/* ---- the process dies ---- */

static void test_killed_at_each_step(void **state)
{
	bool seen_old = false, seen_new = false;
	int status = 1;

	make_states();
	for (unsigned n = 1; status != 0; n++) {
		char *text;
		pid_t pid;

		assert_true(n < 200);
		rewrite_first();
		pid = fork();
		if (pid == 0) {
			struct nk_store *s = open_store();

			nk_fault_arm(NK_FAULT_ALL, n, 0);
			if (write_all(s, &second, 7) < 0)
				_exit(1);
			nk_store_close(s);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
		text = reopened_contents();
		if (assert_old_or_new(text))
			seen_new = true;
		else
			seen_old = true;
		if (status == 0)
			assert_string_equal(text, text_second);
		free(text);
	}
	assert_true(seen_old && seen_new);
	free_states();
}

static void test_killed_while_created(void **state)
{
	int status = 1;

	for (unsigned n = 1; status != 0; n++) {
		char *text;
		pid_t pid;

		assert_true(n < 200);
		empty_directory();
		pid = fork();
		if (pid == 0) {
			nk_fault_arm(NK_FAULT_ALL, n, 0);
			nk_store_close(open_store());
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		text = reopened_contents();
		assert_non_null(strstr(text, "\"revision\": 0"));
		free(text);
	}
}

static void test_migration_killed_at_each_step(void **state)
{
	const char *steps[16];
	const struct nk_store_schema schema = { .steps = steps, .n = nk_store_schema.n + 2 };
	int status = 1;

	assert_true(schema.n <= (int)(sizeof(steps) / sizeof(steps[0])));
	memcpy(steps, nk_store_schema.steps, (size_t)nk_store_schema.n * sizeof(steps[0]));
	steps[schema.n - 2] = "ALTER TABLE device ADD COLUMN note TEXT NOT NULL DEFAULT ''";
	steps[schema.n - 1] = "UPDATE device SET note='migrated'; CREATE INDEX device_note ON device(note)";

	make_states();
	for (unsigned n = 1; status != 0; n++) {
		struct nk_store *s = NULL;
		char *text;
		pid_t pid;

		assert_true(n < 200);
		rewrite_first();
		pid = fork();
		if (pid == 0) {
			nk_fault_arm(NK_FAULT_ALL, n, 0);
			if (nk_store_open_as(path, &schema, &s, why, sizeof(why)) < 0)
				_exit(1);
			nk_store_close(s);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
		if (nk_store_open_as(path, &schema, &s, why, sizeof(why)) < 0)
			fail_msg("%s", why);
		text = contents(s);
		assert_string_equal(text, text_first);
		free(text);
		nk_store_close(s);
	}
	free_states();
}

/* ---- failures ---- */

static const struct {
	int op, code, error;
} faults[] = {
	{ NK_FAULT_OPEN, SQLITE_CANTOPEN, 0 },
	{ NK_FAULT_WRITE, SQLITE_IOERR_WRITE, -EIO },
	{ NK_FAULT_WRITE, SQLITE_FULL, -ENOSPC },
	{ NK_FAULT_SYNC, SQLITE_IOERR_FSYNC, -EIO },
	{ NK_FAULT_TRUNCATE, SQLITE_IOERR_TRUNCATE, 0 },
	{ NK_FAULT_LOCK, SQLITE_BUSY, -EBUSY },
	{ NK_FAULT_DELETE, SQLITE_IOERR_DELETE, 0 },
};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* The n-th operation of a transaction fails. Returns false when there is no n-th. */
static bool fail_write(size_t i, unsigned n)
{
	struct nk_store *s;
	bool struck;
	char *text;
	int r;

	rewrite_first();
	s = open_store();
	nk_fault_arm(faults[i].op, n, faults[i].code);
	r = write_all(s, &second, 7);
	struck = nk_fault_disarm();
	if (r < 0) {
		assert_true(struck);
		if (faults[i].error)
			assert_int_equal(r, faults[i].error);
		assert_true(strlen(nk_store_why(s)) > 0);
		/* The old state, and the store goes on. */
		text = contents(s);
		assert_string_equal(text, text_first);
		free(text);
		if (n % 2)
			assert_int_equal(write_all(s, &second, 7), 0);
	}
	nk_store_close(s);
	text = reopened_contents();
	if (r == 0 || n % 2)
		assert_string_equal(text, text_second);
	else
		assert_old_or_new(text);
	free(text);
	return struck;
}

static void test_write_fails_at_each_step(void **state)
{
	make_states();
	for (size_t i = 0; i < FAULTS; i++) {
		unsigned n = 1;

		while (fail_write(i, n))
			assert_true(++n < 200);
		if (faults[i].op & (NK_FAULT_WRITE | NK_FAULT_SYNC))
			assert_true(n > 1); /* it has failed at least once */
	}
	free_states();
}

/* The n-th operation of opening fails: there is a sentence, and the file is as good as before. */
static bool fail_open(size_t i, unsigned n, bool fresh)
{
	struct nk_store *s = NULL;
	bool struck;
	char *text;
	int r;

	if (fresh) {
		empty_directory();
	} else {
		rewrite_first();
		crash_after_commit(NULL);
	}
	nk_fault_arm(faults[i].op, n, faults[i].code);
	r = nk_store_open(path, &s, why, sizeof(why));
	nk_store_close(s);
	struck = nk_fault_disarm();
	if (r < 0)
		assert_non_null(strstr(why, path));
	text = reopened_contents();
	if (fresh)
		assert_non_null(strstr(text, "\"revision\": 0"));
	else
		assert_string_equal(text, text_second);
	free(text);
	return struck;
}

static void test_open_fails_at_each_step(void **state)
{
	make_states();
	for (size_t i = 0; i < FAULTS; i++)
		for (int fresh = 0; fresh < 2; fresh++)
			for (unsigned n = 1; fail_open(i, n, fresh); n++)
				assert_true(n < 200);
	free_states();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_killed_at_each_step),
		STORE_TEST(test_killed_while_created),
		STORE_TEST(test_migration_killed_at_each_step),
		STORE_TEST(test_write_fails_at_each_step),
		STORE_TEST(test_open_fails_at_each_step),
	};

	nk_fault_install();
	return cmocka_run_group_tests_name("store_faults", tests, NULL, NULL);
}
