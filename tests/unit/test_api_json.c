// SPDX-License-Identifier: GPL-2.0-only
/* Reading JSON with the contract's limits, and errors on their way to the socket and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "api/contract.h"
#include "api/json.h"

/* Parse; expect failure with this code and these words in the message. */
static void refuse(const char *text, size_t len, enum nk_error_code code, const char *words)
{
	struct nk_error err = {};
	json_t *json = (json_t *)&err;

	assert_int_equal(nk_json_parse(text, len, &json, &err), -EINVAL);
	assert_ptr_equal(json, &err);
	assert_int_equal(err.code, code);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.message);
	nk_error_clear(&err);
}

static void accept(const char *text, size_t len)
{
	struct nk_error err = {};
	json_t *json = NULL;

	if (nk_json_parse(text, len, &json, &err) != 0)
		fail_msg("refused: %s", err.message);
	assert_non_null(json);
	json_decref(json);
}

static void bad_json_is_told_with_its_place(void **state)
{
	refuse("", 0, NK_E_PARSE, "empty");
	refuse("{\"a\": [1, 2", 11, NK_E_PARSE, "cut short");
	refuse("{\"a\": \"x", 8, NK_E_PARSE, "cut short");
	refuse("{\"a\": 1, \"a\": 2}", 16, NK_E_PARSE, "named twice");
	refuse("{\"a\":\n  tru}", 12, NK_E_PARSE, "line 2");
	refuse("{} {}", 5, NK_E_PARSE, "follows the end");
	refuse("[123456789012345678901234567890]", 32, NK_E_PARSE, "too big");
	refuse("[\"\\u0000\"]", 10, NK_E_PARSE, "not JSON");
	refuse("[1,]", 4, NK_E_PARSE, "not JSON");
	/* A text that is not closed by a NUL must not be read past its end. */
	refuse("[1, 2]", 5, NK_E_PARSE, "cut short");
}

static void only_utf8_is_taken(void **state)
{
	static const char *const bad[] = {
		"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3(", "\\\xff",
	};
	static const char *const good[] = {"é", "€", "😀", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf", "\\\\é", "\\\"é"};
	char text[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int n = snprintf(text, sizeof(text), "[\"%s\"]", bad[i]);

		refuse(text, (size_t)n, NK_E_PARSE, "UTF-8");
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int n = snprintf(text, sizeof(text), "[\"%s\"]", good[i]);

		accept(text, (size_t)n);
	}
	refuse("{\n\"ab\xff\"}", 8, NK_E_PARSE, "line 2, column 4 (byte 5)");
}

static void nesting_has_a_limit(void **state)
{
	char text[4 * NK_DEPTH_MAX];

	memset(text, '[', NK_DEPTH_MAX);
	memset(text + NK_DEPTH_MAX, ']', NK_DEPTH_MAX);
	accept(text, 2 * NK_DEPTH_MAX);

	memset(text, '[', NK_DEPTH_MAX + 1);
	memset(text + NK_DEPTH_MAX + 1, ']', NK_DEPTH_MAX + 1);
	refuse(text, 2 * NK_DEPTH_MAX + 2, NK_E_LIMIT, "nested deeper");

	/* Brackets in strings don't count, also behind an escaped quote. */
	memset(text, '[', sizeof(text));
	memcpy(text, "[\"\\\"", 4);
	memcpy(text + sizeof(text) - 2, "\"]", 2);
	accept(text, sizeof(text));
	/* Siblings don't add up. */
	accept("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]", 106);
}

static void a_million_brackets_don_t_crash(void **state)
{
	size_t n = 1000000;
	char *text = malloc(n);

	assert_non_null(text);
	memset(text, '{', n);
	refuse(text, n, NK_E_LIMIT, "nested deeper");
	free(text);
}

static void foreign_bytes_become_text(void **state)
{
	json_t *json = nk_json_text("a\xff\xc3(é");
	char text[32];

	assert_string_equal(json_string_value(json), "a\?\?(é");
	json_decref(json);
	json = nk_json_text("plain");
	assert_string_equal(json_string_value(json), "plain");
	json_decref(json);
	nk_text_clean(strcpy(text, "a\x1b[31mb\xffé\n\tc\x7f\xc2\x9b\x01"));
	assert_string_equal(text, "a\?[31mb\?é\n\tc\?\?\?");
	assert_int_equal(nk_utf8_clip("aé", 2), 1);
	assert_int_equal(nk_utf8_clip("aé", 3), 3);
	assert_int_equal(nk_utf8_clip("abc", 99), 3);
	assert_int_equal(nk_utf8_clip("😀", 3), 0);
}

static void first_cause_stays(void **state)
{
	struct nk_error err = {};

	assert_int_equal(nk_error_set(&err, NK_E_CONFLICT, "revision is %d", 4), -EINVAL);
	nk_error_set(&err, NK_E_INTERNAL, "later");
	assert_int_equal(err.code, NK_E_CONFLICT);
	assert_string_equal(err.message, "revision is 4");
	nk_error_clear(&err);
	assert_int_equal(err.code, NK_E_NONE);
	assert_null(err.message);
}

static void error_survives_the_socket(void **state)
{
	struct nk_error err = {.error = EADDRNOTAVAIL, .extack = strdup("bad \xff word")}, back = {};
	json_t *json;

	nk_error_at(&err, NK_E_INVALID_PARAMS, "/devices/0/mtu", "must be %d", 1);
	nk_error_at(&err, NK_E_KERNEL, "/devices/1", "second");
	json = nk_error_encode(&err);
	assert_int_equal(json_integer_value(json_object_get(json, "code")), NK_E_INVALID_PARAMS);
	assert_string_equal(json_string_value(json_object_get(json, "message")), "/devices/0/mtu: must be 1 (and 1 more)");
	assert_string_equal(json_string_value(json_object_get(json_object_get(json, "data"), "errno")), "EADDRNOTAVAIL");

	assert_int_equal(nk_error_decode(json, &back), 0);
	assert_int_equal(back.code, err.code);
	assert_int_equal(back.n_problems, 2);
	assert_int_equal(back.error, EADDRNOTAVAIL);
	assert_string_equal(back.extack, "bad ? word");
	assert_true(json_equal(back.problems, err.problems));
	json_decref(json);
	nk_error_clear(&err);
	nk_error_clear(&back);

	json = json_pack("{s:s}", "message", "no code");
	assert_int_equal(nk_error_decode(json, &back), -EINVAL);
	json_decref(json);
}

static void problems_are_bounded(void **state)
{
	struct nk_error err = {}, back = {};
	json_t *json;

	for (int i = 0; i < 1000; i++)
		nk_error_at(&err, NK_E_INVALID_PARAMS, "/x", "wrong");
	assert_int_equal(err.n_problems, 1000);
	assert_int_equal(json_array_size(err.problems), NK_ERROR_PROBLEMS_MAX);
	json = nk_error_encode(&err);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "data"), "more")), 1000 - NK_ERROR_PROBLEMS_MAX);
	assert_int_equal(nk_error_decode(json, &back), 0);
	assert_int_equal(back.n_problems, 1000);
	json_decref(json);
	nk_error_clear(&err);
	nk_error_clear(&back);
}

static void a_bare_error_has_no_data(void **state)
{
	struct nk_error err = {.code = NK_E_NOT_FOUND};
	json_t *json = nk_error_encode(&err);

	assert_null(json_object_get(json, "data"));
	assert_string_equal(json_string_value(json_object_get(json, "message")), "not found");
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_json_is_told_with_its_place),
		cmocka_unit_test(only_utf8_is_taken),
		cmocka_unit_test(nesting_has_a_limit),
		cmocka_unit_test(a_million_brackets_don_t_crash),
		cmocka_unit_test(foreign_bytes_become_text),
		cmocka_unit_test(first_cause_stays),
		cmocka_unit_test(error_survives_the_socket),
		cmocka_unit_test(problems_are_bounded),
		cmocka_unit_test(a_bare_error_has_no_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
