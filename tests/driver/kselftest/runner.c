// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the kernel's own BPF tests that were linked with it, each in a process
 * of its own, and counts their assertions.
 *
 * Usage: runner [NAME…]: all tests, or those whose name begins with a NAME.
 * Says for each test how many assertions passed and failed, then for all.
 */
#include <stdarg.h>
#include <sys/mman.h>

#include "test_progs.h"

int nk_before_test(void);

/* Written by the build: one NK_TEST(function) a line. */
#define NK_TEST(name) void name(void);
#include "tests.h"
#undef NK_TEST

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
#define NK_TEST(name) { #name, name },
#include "tests.h"
#undef NK_TEST
};

/* Shared with the process that runs the test. */
static struct {
	int passed;
	int failed;
	int skipped;
} *count;

void nk_assertion(bool held, const char *file, int line, const char *name,
		  const char *expected, long long actual, long long wanted)
{
	if (held) {
		count->passed++;
		return;
	}

	count->failed++;
	fprintf(stderr, "%s:%d: %s: not so: %s (%lld, %lld; errno %d, %s)\n",
		file, line, name, expected, actual, wanted, errno,
		strerror(errno));
}

int nk_system(const char *format, ...)
{
	char command[1024];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	if (length < 0 || length >= (int)sizeof(command))
		return -E2BIG;

	return system(command);
}

bool test__start_subtest(const char *name)
{
	fprintf(stderr, "  %s\n", name);
	return true;
}

void test__skip(void)
{
	count->skipped++;
}

void test__fail(void)
{
	count->failed++;
}

int write_sysctl(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written;

	if (!ASSERT_NEQ(fd, -1, path))
		return -1;
	written = write(fd, value, strlen(value));
	close(fd);
	return ASSERT_EQ(written, (ssize_t)strlen(value), path) ? 0 : -1;
}

struct netns_obj {
	char *name;
	struct nstoken *entered; /* NULL if the caller stayed where it was */
};

struct netns_obj *netns_new(const char *name, bool enter)
{
	struct netns_obj *netns = calloc(1, sizeof(*netns));

	if (!netns)
		return NULL;

	netns->name = strdup(name);
	if (netns->name && !make_netns(name)) {
		if (!enter)
			return netns;
		netns->entered = open_netns(name);
		if (netns->entered)
			return netns;
		remove_netns(name);
	}
	free(netns->name);
	free(netns);
	return NULL;
}

void netns_free(struct netns_obj *netns)
{
	if (!netns)
		return;

	close_netns(netns->entered);
	remove_netns(netns->name);
	free(netns->name);
	free(netns);
}

/* What a program of tests needs before each of them; chains.c has one. */
__attribute__((weak)) int nk_before_test(void)
{
	return 0;
}

/* The test may move between namespaces as it likes, and may crash. */
static bool run(void (*test)(void))
{
	pid_t child = fork();
	int status;

	if (child < 0) {
		perror("fork");
		return false;
	}
	if (!child) {
		if (nk_before_test()) {
			fprintf(stderr, "the test could not be prepared\n");
			_exit(1);
		}
		alarm(1500); /* then it hangs: on a busy host the debug kernel needs more than five minutes for the longest */
		test();
		_exit(0);
	}

	if (waitpid(child, &status, 0) < 0) {
		perror("waitpid");
		return false;
	}
	if (WIFSIGNALED(status))
		fprintf(stderr, "ended by signal %d\n", WTERMSIG(status));
	return status == 0;
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strncmp(name, *names, strlen(*names)))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	int passed = 0, failed = 0, ran = 0;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED) {
		perror("mmap");
		return 1;
	}

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (!wanted(tests[i].name, argv + 1))
			continue;
		memset(count, 0, sizeof(*count));
		if (!run(tests[i].run))
			count->failed++;
		/* A test that asserted nothing has shown nothing. */
		if (!count->passed)
			count->failed++;
		printf("%s %s: %d passed, %d failed\n",
		       count->failed ? "not ok" : "ok", tests[i].name,
		       count->passed, count->failed);
		passed += count->passed;
		failed += count->failed;
		ran++;
	}

	printf("%d tests, %d assertions passed, %d failed\n", ran, passed,
	       failed);
	return failed || !ran;
}
