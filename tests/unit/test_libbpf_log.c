// SPDX-License-Identifier: GPL-2.0-only
/*
 * What libbpf says, kept for the error: whole, and of what is longer than a reply can be the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "daemon/kernel/libbpf_log.h"

#define LIMIT (1024 * 1024) /* bytes */

/* As libbpf does it: through the function that is set. */
__attribute__((format(printf, 2, 3))) static void say(enum libbpf_print_level level, const char *format, ...)
{
	libbpf_print_fn_t fn = libbpf_set_print(NULL);
	va_list args;

	libbpf_set_print(fn);
	va_start(args, format);
	fn(level, format, args);
	va_end(args);
}

static void everything_but_chatter_is_kept(void **state)
{
	char *log;

	nk_libbpf_log_begin();
	say(LIBBPF_WARN, "one %d\n", 1);
	say(LIBBPF_DEBUG, "chatter\n");
	say(LIBBPF_INFO, "two\n\n");
	log = nk_libbpf_log_end();
	assert_string_equal(log, "one 1\ntwo");
	free(log);
	say(LIBBPF_WARN, "nobody listens\n");
	assert_null(nk_libbpf_log_end());
}

/* lines of 16 bytes: "line 0000000001\n" */
static char *of_lines(unsigned n)
{
	nk_libbpf_log_begin();
	for (unsigned i = 0; i < n; i++)
		say(LIBBPF_WARN, "line %010u\n", i);
	return nk_libbpf_log_end();
}

static void a_long_log_keeps_its_end(void **state)
{
	const unsigned all = LIMIT / 16;
	char *log = of_lines(all);

	assert_int_equal(strlen(log), LIMIT - 1);
	assert_memory_equal(log, "line 0000000000\n", 16);
	free(log);

	for (unsigned more = 1; more < 3 * all; more += all) {
		unsigned left_out, first;
		char expected[64];

		log = of_lines(all + more);
		assert_true(strlen(log) <= LIMIT);
		assert_int_equal(sscanf(log, "[the first %u bytes of this log are left out]\nline %u\n", &left_out, &first), 2);
		assert_int_equal(left_out, 16 * first);
		snprintf(expected, sizeof(expected), "\nline %010u", all + more - 1);
		assert_string_equal(strrchr(log, '\n'), expected);
		assert_true(strlen(log) > LIMIT - 128);
		free(log);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_but_chatter_is_kept),
		cmocka_unit_test(a_long_log_keeps_its_end),
	};

	return cmocka_run_group_tests_name("libbpf_log", tests, NULL, NULL);
}
