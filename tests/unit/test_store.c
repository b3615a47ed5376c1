// SPDX-License-Identifier: GPL-2.0-only
/*
 * The store on real files: what goes in comes out, what is not ours stays as it is, what a crash left is taken up, and older
 * files are migrated. What fails in the middle is in test_store_faults.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/store_schema.h"
#include "fault_vfs.h"
#include "store_help.h"

/* ---- what goes in comes out ---- */

static void test_round_trip(void **state)
{
	char *text;

	make_states();
	text = reopened_contents();
	assert_string_equal(text, text_second);
	free(text);
	assert_non_null(strstr(text_first, "\"cookie\": \"18446744073709551615\""));
	assert_non_null(strstr(text_first, "\"start\": 4711"));
	assert_non_null(strstr(text_first, "/etc/netkitd/state.d/b.json"));
	assert_non_null(strstr(text_second, "\"tombstones\": [\"a\", \"eth0\"]"));
	assert_non_null(strstr(text_second, "\"revision\": 7"));
	free_states();
}

static void test_empty(void **state)
{
	char *text = reopened_contents();
	int fd;

	assert_non_null(strstr(text, "\"revision\": 0"));
	free(text);
	/* A file of no bytes is a new one. */
	empty_directory();
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	text = reopened_contents();
	assert_non_null(strstr(text, "\"revision\": 0"));
	free(text);
	assert_int_equal(access(path, R_OK), 0);
	text = directory_contents();
	assert_null(strstr(text, "<state.db-"));
	assert_null(strstr(text, "<state.db."));
	free(text);
}

static void test_tombstones(void **state)
{
	const char *const names[] = { "a", "nobody" }, *const other[] = { "eth0" };
	struct nk_change again = { 0 };
	struct nk_store *s;
	char *text;

	make_states();
	s = open_store();
	assert_int_equal(nk_store_bury(s, other, 1), 0);
	put_device(document, "{\"name\":\"a\",\"peer\":{\"name\":\"a0\"}}", "", &again);
	assert_int_equal(write_all(s, &again, 8), 0);
	text = contents(s);
	assert_non_null(strstr(text, "\"tombstones\": []"));
	free(text);
	nk_change_clear(&again);
	assert_int_equal(nk_document_remove_device(document, "a", &again), 0);
	assert_int_equal(write_all(s, &again, 9), 0);
	assert_int_equal(nk_store_bury(s, names, 2), 0);
	text = contents(s);
	assert_non_null(strstr(text, "\"tombstones\": []"));
	free(text);
	nk_change_clear(&again);
	nk_store_close(s);
	free_states();
}

static void test_rollback(void **state)
{
	struct nk_store *s;
	char *text;

	make_states();
	rewrite_first();
	s = open_store();
	assert_int_equal(nk_store_write(s, &second), -EINVAL);
	assert_int_equal(nk_store_commit(s, 7), -EINVAL);
	assert_int_equal(nk_store_begin(s), 0);
	assert_int_equal(nk_store_begin(s), -EALREADY);
	assert_int_equal(nk_store_write(s, &second), 0);
	nk_store_rollback(s);
	nk_store_rollback(s);
	text = contents(s);
	assert_string_equal(text, text_first);
	free(text);
	/* Closed in the middle. */
	assert_int_equal(nk_store_begin(s), 0);
	assert_int_equal(nk_store_write(s, &second), 0);
	nk_store_close(s);
	text = reopened_contents();
	assert_string_equal(text, text_first);
	free(text);
	free_states();
}

static void test_many(void **state)
{
	struct nk_document *d = nk_document_new();
	struct nk_change c = { 0 };
	struct nk_store *s = open_store();
	uint64_t revision;
	struct stat st;
	char wal[128];

	for (int i = 0; i < 10000; i++) {
		char text[1024];

		snprintf(text, sizeof(text), "{\"name\":\"n%d\",\"peer\":{\"name\":\"eth0\",\"netns\":\"/%0*d\"}}", i, 500, i);
		put_device(d, text, "", &c);
	}
	assert_int_equal(write_all(s, &c, 1), 0);
	nk_change_clear(&c);
	nk_document_free(d);
	d = nk_document_new();
	assert_int_equal(nk_store_load(s, d, &revision, why, sizeof(why)), 0);
	assert_int_equal(nk_document_n_devices(d), 10000);
	/* The log does not stay as long as its longest transaction: the next one cuts it. */
	snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(stat(wal, &st), 0);
	assert_true(st.st_size > 4 << 20);
	assert_int_equal(nk_document_remove_device(d, "n1", &c), 0);
	assert_int_equal(write_all(s, &c, 2), 0);
	nk_change_clear(&c);
	assert_int_equal(stat(wal, &st), 0);
	assert_true(st.st_size <= 1 << 20);
	nk_document_free(d);
	nk_store_close(s);
}

/* ---- what is refused stays as it is ---- */

static void write_file(const char *suffix, off_t at, const void *bytes, size_t n)
{
	char name[128];
	int fd;

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, at), n);
	close(fd);
}

static void test_refused(void **state)
{
	unsigned char garbage[5000];
	struct stat st;

	make_states();
	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (unsigned char)(i * 37 + 11);

	empty_directory();
	write_file("", 0, "x", 1);
	assert_refused(-EBADMSG, "not an SQLite database");
	write_file("", 0, garbage, sizeof(garbage));
	assert_refused(-EBADMSG, "not an SQLite database");

	rewrite_first();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, 50), 0);
	assert_refused(-EBADMSG, "damaged");
	rewrite_first();
	assert_int_equal(truncate(path, st.st_size - 4096), 0);
	assert_refused(-EBADMSG, "damaged");
	rewrite_first();
	write_file("", 4096, garbage, 4096);
	assert_refused(-EBADMSG, "damaged");

	rewrite_first();
	write_file("", 60, "\0\0\0\x63", 4);
	assert_refused(-EPROTONOSUPPORT, "newer");
	rewrite_first();
	write_file("", 68, "\0\0\0\1", 4);
	assert_refused(-EMEDIUMTYPE, "another program");

	empty_directory();
	write_file("", 0, "", 0);
	write_file("-wal", 0, garbage, 64);
	assert_refused(-EBADMSG, "log");
	empty_directory();
	assert_int_equal(mkdir(path, 0700), 0);
	assert_refused(-EMEDIUMTYPE, "not a regular file");
	assert_int_equal(rmdir(path), 0);
	free_states();
}

/* A table is gone, though SQLite finds nothing wrong; then a row that does not decode. */
static void edit(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_refused_contents(void **state)
{
	static const char *const edits[] = {
		"UPDATE device SET json='{\"name\":\"a\",\"mtu\":\"big\"}' WHERE name='a'",
		"UPDATE device SET json='{\"name\":\"a\"' WHERE name='a'",
		"UPDATE device SET name='x' WHERE name='a'",
		"UPDATE program SET json='[]'",
		"DELETE FROM meta",
	};

	make_states();
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		struct nk_document *d = nk_document_new();
		uint64_t revision = 4242;
		struct nk_store *s;

		rewrite_first();
		edit(edits[i]);
		s = open_store();
		assert_int_equal(nk_store_load(s, d, &revision, why, sizeof(why)), -EBADMSG);
		assert_non_null(strstr(why, "damaged"));
		assert_int_equal(revision, 4242);
		nk_store_close(s);
		nk_document_free(d);
	}
	rewrite_first();
	edit("DROP TABLE tombstone");
	assert_refused(-EBADMSG, "tombstone");
	free_states();
}

static void test_one_owner(void **state)
{
	struct nk_store *s = open_store(), *other = NULL;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(nk_store_open(path, &other, why, sizeof(why)) == -EBUSY && strstr(why, "running") ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	nk_store_close(s);
	nk_store_close(open_store());
}

static void test_log_recovered(void **state)
{
	char wal[128], *text;
	struct stat st;

	make_states();
	rewrite_first();
	crash_after_commit(NULL);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(stat(wal, &st), 0);
	assert_true(st.st_size > 0);
	text = reopened_contents();
	assert_string_equal(text, text_second);
	free(text);

	/* With a log beside it, a file that is refused stays as it is too, and so does the log. */
	rewrite_first();
	crash_after_commit("PRAGMA user_version=99");
	assert_refused(-EPROTONOSUPPORT, "newer");
	rewrite_first();
	crash_after_commit("PRAGMA application_id=5");
	assert_refused(-EBADMSG, "contradict");
	rewrite_first();
	crash_after_commit("CREATE TABLE more(x); DROP TABLE tombstone");
	assert_refused(-EBADMSG, "tombstone");

	/* The log of a database that somebody took away does not belong to the next one. */
	rewrite_first();
	crash_after_commit(NULL);
	assert_int_equal(unlink(path), 0);
	text = reopened_contents();
	assert_non_null(strstr(text, "\"revision\": 0"));
	free(text);
	free_states();
}

/* ---- migration ---- */

static const char *later_steps[16];

/* Two steps more than there are. */
static struct nk_store_schema later(const char *next_step, const char *last_step)
{
	int n = nk_store_schema.n;

	assert_true(n + 2 <= (int)(sizeof(later_steps) / sizeof(later_steps[0])));
	memcpy(later_steps, nk_store_schema.steps, (size_t)n * sizeof(later_steps[0]));
	later_steps[n] = next_step;
	later_steps[n + 1] = last_step;
	return (struct nk_store_schema){ .steps = later_steps, .n = n + 2 };
}

/* The file of the first version, with a device in it. */
static void make_oldest(void)
{
	sqlite3 *db;
	char *sql;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_true(asprintf(&sql,
			     "PRAGMA journal_mode=WAL; PRAGMA application_id=%d; PRAGMA user_version=1; %s"
			     "INSERT INTO device VALUES('a', '', '{\"name\":\"a\",\"peer\":{\"name\":\"a0\"}}');"
			     "UPDATE meta SET value=3 WHERE key='revision'",
			     NK_STORE_APPLICATION_ID, nk_store_schema.steps[0]) > 0);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	free(sql);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_the_oldest_version(void **state)
{
	struct nk_document *d = nk_document_new();
	uint64_t seq = 9, from = 9;
	struct nk_change c = { 0 };
	struct nk_store *s;
	char *text;

	make_oldest();
	text = reopened_contents();
	assert_non_null(strstr(text, "\"revision\": 3"));
	assert_non_null(strstr(text, "\"name\": \"a0\""));
	free(text);
	s = open_store();
	assert_int_equal(nk_store_history(s, &seq, &from), 0);
	assert_int_equal(seq, 0);
	assert_int_equal(from, 1);
	put_interface(d, "{\"name\":\"eth0\"}", "", &c);
	assert_int_equal(write_all(s, &c, 4), 0);
	nk_store_close(s);
	text = reopened_contents();
	assert_non_null(strstr(text, "\"interfaces\": [{\"name\": \"eth0\"}]"));
	free(text);
	nk_change_clear(&c);
	nk_document_free(d);
}

/* They have a table of their own, and leave tombstones as devices do. */
static void test_interfaces(void **state)
{
	struct nk_document *d = nk_document_new();
	struct nk_change c = { 0 };
	struct nk_store *s = open_store();
	char *text;

	put_program(d, "{\"name\":\"p\",\"pin\":\"/p\"}", "", &c);
	put_interface(d, "{\"name\":\"eth0\",\"attachments\":[{\"name\":\"lb\",\"hook\":\"tcx/egress\",\"program\":\"p\"}]}",
		      "/etc/netkitd/state.d/a.json", &c);
	put_device(d, "{\"name\":\"a\",\"peer\":{\"name\":\"a0\"}}", "", &c);
	assert_int_equal(write_all(s, &c, 1), 0);
	nk_change_clear(&c);
	text = contents(s);
	assert_non_null(strstr(text, "\"interfaces\": [{\"attachments\": [{\"hook\": \"tcx/egress\", \"name\": \"lb\", "
				     "\"program\": \"p\"}], \"name\": \"eth0\"}]"));
	assert_non_null(strstr(text, "\"sources\": [\"\", \"/etc/netkitd/state.d/a.json\", \"\"]"));
	assert_non_null(strstr(text, "\"tombstones\": []"));
	free(text);
	assert_int_equal(nk_document_remove_device(d, "eth0", &c), 0);
	assert_int_equal(write_all(s, &c, 2), 0);
	nk_change_clear(&c);
	text = contents(s);
	assert_null(strstr(text, "interfaces"));
	assert_non_null(strstr(text, "\"tombstones\": [\"eth0\"]"));
	assert_non_null(strstr(text, "\"name\": \"a0\""));
	free(text);
	/* Again, and its tombstone goes. */
	put_interface(d, "{\"name\":\"eth0\"}", "", &c);
	assert_int_equal(write_all(s, &c, 3), 0);
	nk_change_clear(&c);
	nk_store_close(s);
	text = reopened_contents();
	assert_non_null(strstr(text, "\"interfaces\": [{\"name\": \"eth0\"}]"));
	assert_non_null(strstr(text, "\"tombstones\": []"));
	free(text);
	nk_document_free(d);
}

#define NEXT_STEP "ALTER TABLE device ADD COLUMN note TEXT NOT NULL DEFAULT ''"
#define LAST_STEP "UPDATE device SET note='migrated'; CREATE INDEX device_note ON device(note)"

static void test_migration(void **state)
{
	struct nk_store_schema schema = later(NEXT_STEP, LAST_STEP), broken = later(NEXT_STEP, "UPDATE nothing SET x=1");
	char *text, newest[32];
	struct nk_store *s = NULL;

	snprintf(newest, sizeof(newest), "schema %d", schema.n);
	make_states();
	rewrite_first();
	schema = later(NEXT_STEP, LAST_STEP);
	assert_int_equal(nk_store_open_as(path, &schema, &s, why, sizeof(why)), 0);
	text = contents(s);
	assert_string_equal(text, text_first);
	free(text);
	assert_int_equal(write_all(s, &second, 7), 0);
	s = nk_store_close(s);
	assert_refused(-EPROTONOSUPPORT, newest);
	assert_int_equal(nk_store_open_as(path, &schema, &s, why, sizeof(why)), 0);
	text = contents(s);
	assert_string_equal(text, text_second);
	free(text);
	s = nk_store_close(s);

	/* A step that fails takes the ones before it back. */
	rewrite_first();
	broken = later(NEXT_STEP, "UPDATE nothing SET x=1");
	assert_int_equal(nk_store_open_as(path, &broken, &s, why, sizeof(why)), -EBADMSG);
	assert_null(s);
	text = reopened_contents();
	assert_string_equal(text, text_first);
	free(text);

	/* A new file goes through the same steps. */
	empty_directory();
	schema = later(NEXT_STEP, LAST_STEP);
	assert_int_equal(nk_store_open_as(path, &schema, &s, why, sizeof(why)), 0);
	nk_store_close(s);
	assert_refused(-EPROTONOSUPPORT, newest);
	free_states();
}

/* A file of the first schema, which knew no events. */
/* ---- events ---- */

static int append_event(uint64_t seq, const char *json, void *arg)
{
	char *text = arg;

	sprintf(text + strlen(text), "%d %s\n", (int)seq, json);
	return strcmp(json, "\"stop\"") == 0 ? -ECANCELED : 0;
}

static const char *events_after(struct nk_store *s, uint64_t since, int expected)
{
	static char text[512];

	text[0] = '\0';
	assert_int_equal(nk_store_each_event(s, since, append_event, text), expected);
	return text;
}

static void keep(struct nk_store *s, uint64_t first, size_t n, size_t max)
{
	struct nk_store_event events[8];
	char texts[8][16];

	for (size_t i = 0; i < n; i++) {
		sprintf(texts[i], "\"e%d\"", (int)(first + i));
		events[i] = (struct nk_store_event){ first + i, texts[i] };
	}
	assert_int_equal(nk_store_keep_events(s, events, n, max, 0), 0);
}

static void test_events(void **state)
{
	struct nk_store_event stop = { 9, (char *)"\"stop\"" };
	struct nk_store *s = open_store();
	uint64_t seq, from;

	assert_string_equal(events_after(s, 0, 0), "");
	keep(s, 1, 3, 5);
	assert_string_equal(events_after(s, 0, 0), "1 \"e1\"\n2 \"e2\"\n3 \"e3\"\n");
	assert_string_equal(events_after(s, 2, 0), "3 \"e3\"\n");
	assert_string_equal(events_after(s, UINT64_MAX, 0), "");
	assert_int_equal(nk_store_history(s, &seq, &from), 0);
	assert_int_equal(from, 1);
	/* Not all numbers are kept; the oldest go, and from which on it is whole is known. */
	keep(s, 6, 3, 5);
	assert_string_equal(events_after(s, 0, 0), "2 \"e2\"\n3 \"e3\"\n6 \"e6\"\n7 \"e7\"\n8 \"e8\"\n");
	assert_int_equal(nk_store_history(s, &seq, &from), 0);
	assert_int_equal(from, 2);
	assert_int_equal(nk_store_number_events(s, 77), 0);
	nk_store_close(s);

	s = open_store();
	assert_int_equal(nk_store_history(s, &seq, &from), 0);
	assert_int_equal(seq, 77);
	assert_int_equal(from, 2);
	assert_string_equal(events_after(s, 3, 0), "6 \"e6\"\n7 \"e7\"\n8 \"e8\"\n");
	assert_int_equal(nk_store_keep_events(s, &stop, 1, 9, 0), 0);
	keep(s, 10, 1, 9);
	assert_string_equal(events_after(s, 7, -ECANCELED), "8 \"e8\"\n9 \"stop\"\n");
	/* And it can be read again. */
	assert_string_equal(events_after(s, 9, 0), "10 \"e10\"\n");
	/* Not within a change of the document. */
	assert_int_equal(nk_store_begin(s), 0);
	assert_true(nk_store_keep_events(s, &stop, 1, 9, 0) < 0);
	nk_store_rollback(s);
	nk_store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_round_trip),
		STORE_TEST(test_empty),
		STORE_TEST(test_tombstones),
		STORE_TEST(test_rollback),
		STORE_TEST(test_many),
		STORE_TEST(test_refused),
		STORE_TEST(test_refused_contents),
		STORE_TEST(test_one_owner),
		STORE_TEST(test_log_recovered),
		STORE_TEST(test_interfaces),
		STORE_TEST(test_the_oldest_version),
		STORE_TEST(test_migration),
		STORE_TEST(test_events),
	};

	nk_fault_install();
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
