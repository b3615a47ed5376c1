/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel's own BPF tests expect of their framework, as far as the
 * tests that concern netkit use it: the same names, with runner.c behind them.
 *
 * The tests are compiled unchanged from the kernel's source and include this
 * in the framework's place. Each ASSERT_ is an expression: whether it held. It
 * counts, and says what was expected where it didn't hold. Nothing else may
 * include this.
 */
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/libbpf.h>
#include <linux/filter.h>

#include "network_helpers.h"

#define offsetofend(type, member) \
	(offsetof(type, member) + sizeof(((type *)0)->member))
#define ptr_to_u64(pointer) ((__u64)(unsigned long)(pointer))

/* Count one assertion; when it did not hold, say so with the values. */
void nk_assertion(bool held, const char *file, int line, const char *name,
		  const char *expected, long long actual, long long wanted);

#define NK_ASSERT(held, name, expected, actual, wanted)                       \
	({                                                                    \
		bool nk_held = (held);                                        \
		int nk_errno = errno;                                         \
		nk_assertion(nk_held, __FILE__, __LINE__, name, expected,     \
			     actual, wanted);                                 \
		errno = nk_errno;                                             \
		nk_held;                                                      \
	})

#define NK_COMPARE(actual, op, wanted, name)                                  \
	({                                                                    \
		typeof(actual) nk_actual = (actual);                          \
		typeof(wanted) nk_wanted = (wanted);                          \
		NK_ASSERT(nk_actual op nk_wanted, name,                       \
			  #actual " " #op " " #wanted, (long long)nk_actual,  \
			  (long long)nk_wanted);                              \
	})

#define ASSERT_EQ(actual, wanted, name) NK_COMPARE(actual, ==, wanted, name)
#define ASSERT_NEQ(actual, wanted, name) NK_COMPARE(actual, !=, wanted, name)
#define ASSERT_LT(actual, wanted, name) NK_COMPARE(actual, <, wanted, name)
#define ASSERT_LE(actual, wanted, name) NK_COMPARE(actual, <=, wanted, name)
#define ASSERT_GT(actual, wanted, name) NK_COMPARE(actual, >, wanted, name)
#define ASSERT_GE(actual, wanted, name) NK_COMPARE(actual, >=, wanted, name)
#define ASSERT_TRUE(actual, name) NK_COMPARE(!!(actual), ==, true, name)
#define ASSERT_FALSE(actual, name) NK_COMPARE(!!(actual), ==, false, name)
#define ASSERT_OK(actual, name)                                               \
	({                                                                    \
		long long nk_result = (actual);                               \
		NK_ASSERT(nk_result == 0, name, #actual, nk_result, 0);       \
	})
#define ASSERT_ERR(actual, name)                                              \
	({                                                                    \
		long long nk_result = (actual);                               \
		NK_ASSERT(nk_result < 0, name, #actual " < 0", nk_result, -1);\
	})
#define ASSERT_OK_FD(fd, name) ASSERT_GE(fd, 0, name)
#define ASSERT_OK_PTR(pointer, name)                                          \
	({                                                                    \
		const void *nk_pointer = (pointer);                           \
		long nk_error = libbpf_get_error(nk_pointer);                 \
		NK_ASSERT(nk_pointer && !nk_error, name, #pointer, nk_error,  \
			  0);                                                 \
	})
#define ASSERT_ERR_PTR(pointer, name)                                         \
	({                                                                    \
		const void *nk_pointer = (pointer);                           \
		long nk_error = libbpf_get_error(nk_pointer);                 \
		NK_ASSERT(nk_error != 0, name, "an error from " #pointer,     \
			  nk_error, -1);                                      \
	})
#define NK_STRING(a, same, b, n, name)                                        \
	NK_ASSERT((strncmp(a, b, n) == 0) == (same), name,                    \
		  #a " against " #b, 0, 0)
#define ASSERT_STREQ(a, b, name) NK_STRING(a, true, b, SIZE_MAX, name)
#define ASSERT_STRNEQ(a, b, n, name) NK_STRING(a, true, b, n, name)

/* A command that has to succeed, or the test goes to the label. */
int nk_system(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define SYS(label, format, ...)                                               \
	do {                                                                  \
		if (!ASSERT_OK(nk_system(format, ##__VA_ARGS__), format))     \
			goto label;                                           \
	} while (0)
#define SYS_NOFAIL(format, ...) nk_system(format, ##__VA_ARGS__)

/* Whether a part of a test is to run: all of them are. */
bool test__start_subtest(const char *name);
void test__skip(void);
void test__fail(void);

/* The device in the place of the loopback one; in chains.c. */
int nk_chain_device(void);

int write_sysctl(const char *path, const char *value);

struct netns_obj;
struct netns_obj *netns_new(const char *name, bool enter);
void netns_free(struct netns_obj *netns);
