// SPDX-License-Identifier: GPL-2.0-only
/* See store_help.h. */
#include "store_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/contract.h"
#include "fault_vfs.h"

char dir[64], path[96], why[512];

/* ---- a directory for each test ---- */

int store_setup(void **state)
{
	/* In memory if possible: there are a thousand syncs in here, and a process that dies doesn't need a disk to be seen. */
	snprintf(dir, sizeof(dir), "%s/nk-store-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/state.db", dir);
	return 0;
}

void empty_directory(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

int store_teardown(void **state)
{
	nk_fault_disarm();
	empty_directory();
	return rmdir(dir);
}

char *directory_contents(void)
{
	struct dirent **names;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	int n = scandir(dir, &names, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char name[512];
		FILE *in;
		int c;

		snprintf(name, sizeof(name), "%s/%s", dir, names[i]->d_name);
		if (names[i]->d_name[0] != '.' && (in = fopen(name, "re"))) {
			fprintf(out, "<%s>", names[i]->d_name);
			while ((c = fgetc(in)) != EOF)
				fprintf(out, "%02x", (unsigned)c);
			fclose(in);
		}
		free(names[i]);
	}
	free(names);
	fclose(out);
	return text;
}

/* ---- documents ---- */

static struct nk_device *device(const char *text, bool interface)
{
	json_t *json = json_loads(text, 0, NULL);
	struct nk_error err = { 0 };
	struct nk_device *d = NULL;

	if ((interface ? nk_decode_interface : nk_decode_device)(json, "", &d, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	json_decref(json);
	return d;
}

static struct nk_program *program(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);
	struct nk_error err = { 0 };
	struct nk_program *p = NULL;

	if (nk_decode_program(json, "", &p, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	json_decref(json);
	return p;
}

void put_device(struct nk_document *doc, const char *text, const char *source, struct nk_change *c)
{
	struct nk_device *d = device(text, false);

	assert_int_equal(nk_document_put_device(doc, d, source, SIZE_MAX, c), 0);
	nk_device_unref(d);
}

void put_interface(struct nk_document *doc, const char *text, const char *source, struct nk_change *c)
{
	struct nk_device *d = device(text, true);

	assert_int_equal(nk_document_put_device(doc, d, source, SIZE_MAX, c), 0);
	nk_device_unref(d);
}

void put_program(struct nk_document *doc, const char *text, const char *source, struct nk_change *c)
{
	struct nk_program *p = program(text);

	assert_int_equal(nk_document_put_program(doc, p, source, SIZE_MAX, c), 0);
	nk_program_unref(p);
}

#define ACCT "{\"name\":\"acct\",\"object\":\"/usr/lib/netkitd/bpf/acct.bpf.o\",\"program\":\"pod_egress\"}"
#define FW "{\"name\":\"fw\",\"pin\":\"/sys/fs/bpf/fw\"}"
#define BOOT "\"boot_id\":\"0c1a0b7e-2f9d-4b3c-8a55-9b2f6c1d7e10\""

static void first_state(struct nk_document *doc, struct nk_change *c)
{
	put_program(doc, ACCT, "", c);
	put_device(doc, "{\"name\":\"a\",\"mtu\":1400,\"addresses\":[\"10.0.0.1/32\"],\"routes\":[{\"to\":\"10.0.0.2/32\"}],"
			"\"peer\":{\"name\":\"eth0\",\"netns\":\"web-1\",\"policy\":\"drop\",\"addresses\":[\"10.0.0.2/32\"]},"
			"\"attachments\":[{\"name\":\"acct\",\"hook\":\"netkit/peer\",\"program\":\"acct\"}]}", "", c);
	put_device(doc, "{\"name\":\"b\",\"mode\":\"l2\",\"peer\":{\"name\":\"b\",\"netns\":{\"pid\":77,\"start\":4711," BOOT "}}}",
		   "/etc/netkitd/state.d/b.json", c);
	put_device(doc, "{\"name\":\"d\",\"peer\":{\"name\":\"d0\",\"netns\":{\"cookie\":\"18446744073709551615\",\"inode\":4026532000,"
			BOOT "}}}", "", c);
	put_interface(doc, "{\"name\":\"eth0\",\"attachments\":[{\"name\":\"acct\",\"hook\":\"tcx/egress\",\"program\":\"acct\"}]}", "",
		      c);
}

static void second_state(struct nk_document *doc, struct nk_change *c)
{
	assert_int_equal(nk_document_remove_device(doc, "a", c), 0);
	put_device(doc, "{\"name\":\"b\",\"mode\":\"l2\",\"mtu\":1450,\"peer\":{\"name\":\"b\",\"netns\":\"web-2\"}}", "", c);
	put_device(doc, "{\"name\":\"c\",\"peer\":{\"name\":\"c0\"}}", "", c);
	put_program(doc, FW, "", c);
	assert_int_equal(nk_document_remove_device(doc, "eth0", c), 0);
	put_interface(doc, "{\"name\":\"eth1\",\"attachments\":[{\"name\":\"fw\",\"hook\":\"tcx/ingress\",\"program\":\"fw\"}]}", "", c);
	assert_int_equal(nk_document_remove_program(doc, "acct", c), 0);
}

static int add_name(const char *name, void *arg)
{
	json_array_append_new(arg, json_string(name));
	return 0;
}

static int add_device_source(const struct nk_device *d, const char *source, void *arg)
{
	return add_name(source, arg);
}

static int add_program_source(const struct nk_program *p, const char *source, void *arg)
{
	return add_name(source, arg);
}

char *contents(struct nk_store *s)
{
	struct nk_document *doc = nk_document_new();
	json_t *tombstones = json_array(), *sources = json_array(), *all;
	uint64_t revision = 0;
	char *text;

	if (nk_store_load(s, doc, &revision, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	assert_int_equal(nk_store_each_tombstone(s, add_name, tombstones), 0);
	nk_document_each_device(doc, add_device_source, sources);
	nk_document_each_program(doc, add_program_source, sources);
	all = json_pack("{s:I, s:o, s:o, s:o}", "revision", (json_int_t)revision, "tombstones", tombstones, "sources", sources,
			"document", nk_encode_document(doc));
	text = json_dumps(all, JSON_SORT_KEYS);
	json_decref(all);
	nk_document_free(doc);
	return text;
}

struct nk_store *open_store(void)
{
	struct nk_store *s = NULL;

	if (nk_store_open(path, &s, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return s;
}

int write_all(struct nk_store *s, const struct nk_change *c, uint64_t revision)
{
	int r = nk_store_begin(s);

	if (r == 0)
		r = nk_store_write(s, c);
	return r == 0 ? nk_store_commit(s, revision) : r;
}

char *reopened_contents(void)
{
	struct nk_store *s = open_store();
	char *text = contents(s);

	nk_store_close(s);
	return text;
}

struct nk_document *document;
struct nk_change second;
char *text_first, *text_second;

void make_states(void)
{
	struct nk_change first = { 0 };
	struct nk_store *s = open_store();

	document = nk_document_new();
	first_state(document, &first);
	assert_int_equal(write_all(s, &first, 6), 0);
	nk_change_clear(&first);
	text_first = contents(s);
	second_state(document, &second);
	assert_int_equal(write_all(s, &second, 7), 0);
	text_second = contents(s);
	nk_store_close(s);
	assert_string_not_equal(text_first, text_second);
}

void free_states(void)
{
	nk_change_clear(&second);
	nk_document_free(document);
	free(text_first);
	free(text_second);
}

void rewrite_first(void)
{
	struct nk_document *d = nk_document_new();
	struct nk_change first = { 0 };
	struct nk_store *s;

	empty_directory();
	s = open_store();
	first_state(d, &first);
	assert_int_equal(write_all(s, &first, 6), 0);
	nk_store_close(s);
	nk_change_clear(&first);
	nk_document_free(d);
}

bool assert_old_or_new(const char *text)
{
	if (strcmp(text, text_first) != 0)
		assert_string_equal(text, text_second);
	return strcmp(text, text_second) == 0;
}

/* ---- what is refused stays as it is ---- */

void assert_refused(int error, const char *word)
{
	char *before = directory_contents(), *after;
	struct nk_store *s = NULL;

	why[0] = '\0';
	assert_int_equal(nk_store_open(path, &s, why, sizeof(why)), error);
	assert_null(s);
	assert_non_null(strstr(why, path));
	assert_non_null(strstr(why, word));
	after = directory_contents();
	assert_string_equal(before, after);
	free(before);
	free(after);
}

/* ---- crashes ---- */

void crash_after_commit(const char *sql)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct nk_store *s = open_store();
		sqlite3 *db;

		if (!sql)
			_exit(write_all(s, &second, 7) == 0 ? 0 : 1);
		nk_store_close(s);
		if (sqlite3_open(path, &db) || sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL) ||
		    sqlite3_exec(db, sql, NULL, NULL, NULL))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}
