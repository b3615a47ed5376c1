// SPDX-License-Identifier: GPL-2.0-only
/*
 * Object files: which are read, from where, and their digest. Also the words of a program's key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/kernel/object_file.h"
#include "daemon/kernel/program_maps.h"

static void directories_by_their_words(void **state)
{
	char *dirs[] = { (char *)"/opt/bpf", (char *)"/usr/lib//", (char *)"/opt/bpf/deep" };
	const struct nk_object_dirs d = { dirs, 3 }, anywhere = { NULL, 0 }, root = { (char *[]){ (char *)"/" }, 1 };
	static const struct {
		const char *path;
		bool allowed;
	} cases[] = {
		{ "/opt/bpf/a.o", true },
		{ "/opt/bpf//b/a.o", true },
		{ "/opt/bpf/deep/a.o", true },
		{ "/usr/lib/..a.o", true },
		{ "/usr/lib/a../b", true },
		{ "/opt/bpfx/a.o", false },
		{ "/opt/bpf", false },
		{ "/opt/bp", false },
		{ "/a.o", false },
		{ "/opt/bpf/../a.o", false },
		{ "/opt/bpf/x/..", false },
		{ "/../opt/bpf/a.o", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(nk_object_is_allowed(&d, cases[i].path), cases[i].allowed);
	assert_true(nk_object_is_allowed(&anywhere, "/x/../y"));
	assert_true(nk_object_is_allowed(&root, "/x/y"));
}

/* A directory of files: a (abc), in/b (abc), links, a pipe. */
static char *place;

static char *at(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", place, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(at(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_place(void **state)
{
	char target[256];

	place = strdup("/tmp/netkitd-objects-XXXXXX");
	assert_non_null(mkdtemp(place));
	mkdir(at("in"), 0700);
	write_file("a", "abc");
	write_file("in/b", "abc");
	strcpy(target, at("a"));
	return symlink("b", at("in/beside")) || symlink("../a", at("in/out")) || symlink(target, at("in/absolute")) ||
	       symlink("..", at("in/up")) || symlink(place, at("in/all")) || mkfifo(at("in/pipe"), 0600);
}

static int remove_place(void **state)
{
	static const char *const names[] = { "in/beside", "in/out", "in/absolute", "in/up", "in/all", "in/pipe", "in/b", "a" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(at(names[i]));
	rmdir(at("in"));
	rmdir(place);
	free(place);
	return 0;
}

/* 0 and the content is abc, or -errno and these words. */
static void reads(const char *name, const char *dir, const char *sha256, int result, const char *words)
{
	char *dirs[] = { dir ? strdup(at(dir)) : NULL };
	const struct nk_object_dirs d = { dirs, dir != NULL };
	struct nk_program *p = nk_program_new();
	struct nk_error err = {};
	char *data = NULL;
	size_t size = 0;
	int r;

	p->path = strdup(at(name));
	strcpy(p->sha256, sha256);
	r = nk_object_read(p, &d, &data, &size, &err);
	if (r != result || (words && (!err.message || !strstr(err.message, words) || !strstr(err.message, p->path))))
		fail_msg("%s: %d, not %d: %s", name, r, result, err.message ? err.message : "no message");
	if (!result) {
		assert_int_equal(size, 3);
		assert_memory_equal(data, "abc", 3);
	}
	free(data);
	nk_error_clear(&err);
	nk_program_unref(p);
	free(dirs[0]);
}

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void files_and_directories(void **state)
{
	reads("a", NULL, "", 0, NULL);
	reads("in/out", NULL, "", 0, NULL);
	reads("in/b", NULL, ABC, 0, NULL);
	reads("in/b", "in", ABC, 0, NULL);
	reads("in/beside", "in", "", 0, NULL);
	reads("in/out", "", "", 0, NULL);
	reads("in/b", "in", "0", -EKEYREJECTED, ABC);
	reads("a", "in", "", -EACCES, "object_dirs");
	reads("in/up/in/b", "in", "", 0, NULL);
	reads("in/all/in/b", "in", "", 0, NULL);
	reads("in/out", "in", "", -EACCES, "leads out");
	reads("in/absolute", "in", "", -EACCES, "leads out");
	reads("in/up/a", "in", "", -EACCES, "leads out");
	reads("in/all/a", "in", "", -EACCES, "leads out");
	reads("in/none", "in", "", -ENOENT, "No such file");
	reads("none", NULL, "", -ENOENT, "No such file");
	reads("in", NULL, "", -EINVAL, "regular");
	reads("in/pipe", "in", "", -EINVAL, "regular");
}

static void keys_name_their_maps(void **state)
{
	char *key = strdup("f");

	assert_false(nk_key_has_map(NULL, 1));
	assert_false(nk_key_has_map(key, 1));
	assert_int_equal(nk_key_add_map(&key, "a", 12), 0);
	assert_int_equal(nk_key_add_map(&key, "b", 345), 0);
	assert_string_equal(key, "f a=12 b=345");
	assert_true(nk_key_has_map(key, 12));
	assert_true(nk_key_has_map(key, 345));
	assert_false(nk_key_has_map(key, 1));
	assert_false(nk_key_has_map(key, 34));
	assert_false(nk_key_has_map(key, 2));
	free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
cmocka_unit_test(directories_by_their_words),
		cmocka_unit_test_setup_teardown(files_and_directories, make_place, remove_place),
		cmocka_unit_test(keys_name_their_maps),
	};

	return cmocka_run_group_tests_name("object_file", tests, NULL, NULL);
}
