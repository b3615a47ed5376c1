// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parts of netkitd-cli that decide something: what is clean, how wide it is, how a table lines up, which line a JSON pointer
 * means, how an error reads, what MEMBER=VALUE makes of a device. And that the man page names each member of the contract.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "tools/cli/cli.h"
#include "tools/cli/input.h"
#include "tools/cli/locate.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"
#include "tools/cli/show.h"

/* The library's parser of command lines reads these; main.c has the real ones. */
const struct cli_command cli_commands[] = {{0}};
const struct cli_option cli_global_options[] = {{0}};

static const struct cli cli = {.command = "apply"};

static void assert_clean(const char *raw, const char *expected)
{
	char *clean = out_clean(raw);

	assert_string_equal(clean, expected);
	free(clean);
}

static void test_clean(void **state)
{
	assert_clean("", "");
	assert_clean("web-1", "web-1");
	assert_clean("café 日本", "café 日本");
	/* What steers a terminal, what ends a line, what isn't UTF-8, a character cut short, the C1 form of an escape. */
	assert_clean("e\033[31mx", "e\\x1b[31mx");
	assert_clean("a\nb\tc", "a\\x0ab\\x09c");
	assert_clean("a\xff\xfe z", "a\\xff\\xfe z");
	assert_clean("a\xe6\x97", "a\\xe6\\x97");
	assert_clean("a\xc2\x9b" "31m", "a\\xc2\\x9b31m");
}

static void test_width(void **state)
{
	assert_int_equal(out_width(""), 0);
	assert_int_equal(out_width("web-1"), 5);
	assert_int_equal(out_width("café"), 4);
	assert_int_equal(out_width("cafe\xcc\x81"), 4); /* an accent of its own takes no cell */
	assert_int_equal(out_width("日本"), 4);
}

static void assert_table(const struct out_table *t, bool color, const char *expected)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	out_table_print(t, f, color);
	fclose(f);
	assert_string_equal(text, expected);
	free(text);
}

static void test_table(void **state)
{
	static const char *const headings[] = {"NAME", ">ID", "WHY", NULL};
	struct out_table *t = out_table_new(headings);

	assert_table(t, false, "NAME  ID  WHY\n");
	out_cell(t, OUT_PLAIN, "%s", "日本");
	out_cell(t, OUT_GOOD, "%d", 1234);
	out_cell(t, OUT_PLAIN, "%s", "");
	out_cell(t, OUT_PLAIN, "%s", "web-1");
	out_cell(t, OUT_PLAIN, "%d", 5);
	out_cell(t, OUT_PLAIN, "%s", "a\033b");
	assert_int_equal(out_table_rows(t), 2);
	assert_table(t, false, "NAME     ID  WHY\n"
			       "日本   1234  -\n"
			       "web-1     5  a\\x1bb\n");
	/* A colour takes no cells. */
	assert_table(t, true, "\033[1mNAME\033[0m     \033[1mID\033[0m  \033[1mWHY\033[0m\n"
			      "日本   \033[32m1234\033[0m  -\n"
			      "web-1     5  a\\x1bb\n");
	out_table_free(t);
}

static void test_table_without_headings(void **state)
{
	static const char *const headings[] = {"", "", NULL};
	struct out_table *t = out_table_new(headings);

	out_cell(t, OUT_PLAIN, "  a");
	out_cell(t, OUT_PLAIN, "b");
	assert_table(t, false, "  a  b\n");
	out_table_free(t);
}

static void test_duration(void **state)
{
	static const struct {
		uint64_t seconds;
		const char *text;
	} cases[] = {
		{0, "0 s"},          {59, "59 s"},        {60, "1 min"},          {62, "1 min 2 s"},
		{3600, "1 h"},       {3660, "1 h 1 min"}, {86399, "23 h 59 min"}, {90000, "1 d 1 h"},
	};
	char buf[OUT_DURATION_LEN];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(out_duration(cases[i].seconds, buf, sizeof(buf)), cases[i].text);
}

static void test_brief(void **state)
{
	json_t *json = json_loads("{\"to\": \"default\", \"metric\": 5, \"onlink\": true, \"list\": [\"a\", 1]}", 0, NULL);
	char *text = out_brief(json);

	assert_string_equal(text, "to default metric 5 onlink yes list a, 1");
	free(text);
	json_decref(json);
	text = out_brief(NULL);
	assert_string_equal(text, "");
	free(text);
}

static const char document[] = "{\n"                                     /* 1 */
			       "  \"programs\": [],\n"                   /* 2 */
			       "  \"devices\": [\n"                      /* 3 */
			       "    {\"name\": \"a,]}\\\"\",\n"           /* 4 */
			       "     \"mtu\": 1500},\n"                   /* 5 */
			       "    {\"name\": \"b\",\n"                  /* 6 */
			       "     \"peer\": {\n"                       /* 7 */
			       "       \"addresses\": [\"x\",\n"          /* 8 */
			       "         \"y\"]}}\n"                      /* 9 */
			       "  ],\n"                                  /* 10 */
			       "  \"a/b~c\": 1\n"                         /* 11 */
			       "}\n";

static void test_locate(void **state)
{
	static const struct {
		const char *pointer;
		size_t line;
	} cases[] = {
		{"", 1},
		{"/devices", 3},
		{"/devices/0/mtu", 5},
		{"/devices/1", 6},
		{"/devices/1/peer/addresses/1", 9},
		{"/devices/1/peer/netns", 7}, /* not there: the object that lacks it */
		{"/devices/7/name", 3},       /* no such element: the list */
		{"/devices/0/name/x", 4},     /* nothing inside a string */
		{"/a~1b~0c", 11},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(cli_locate(document, sizeof(document) - 1, cases[i].pointer), cases[i].line);
	assert_int_equal(cli_locate("", 0, "/a"), 0);
}

/* Text that is cut anywhere, or has a byte changed: whatever line comes out, nothing is read behind the end. */
static void test_locate_survives_anything(void **state)
{
	for (size_t len = 0; len < sizeof(document) - 1; len++) {
		char *cut = malloc(len ? len : 1);

		memcpy(cut, document, len);
		cli_locate(cut, len, "/devices/1/peer/addresses/1");
		for (int c = 0; c < 128 && len; c++) {
			cut[len / 2] = (char)c;
			cli_locate(cut, len, "/devices/1/peer/addresses/1");
		}
		free(cut);
	}
}

static void assert_report(const struct nk_error *err, const struct cli_input *input, const char *expected)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	cli_report(&cli, f, err, input);
	fclose(f);
	assert_string_equal(text, expected);
	free(text);
}

static void test_report_places(void **state)
{
	const struct cli_input input = {
		.name = (char *)"web.json", .text = (char *)document, .len = sizeof(document) - 1, .prefix = "/document"};
	struct nk_error sent = {0}, err = {0};
	json_t *json;

	nk_error_at(&sent, NK_E_INVALID_PARAMS, "/document/devices/1/peer/netns", "no network namespace 'web-9' under /run/netns");
	sent.error = ENOENT;
	/* As it comes over the socket, where the message repeats the problem. */
	json = nk_error_encode(&sent);
	assert_int_equal(nk_error_decode(json, &err), 0);
	json_decref(json);
	assert_report(&err, &input,
		      "netkitd-cli: apply: web.json:7: /devices/1/peer/netns: no network namespace 'web-9' under /run/netns (ENOENT)\n");
	nk_error_clear(&err);

	/* Two problems: a line each, and no errno, as it is not known whose it is. A place that isn't in the file has no line. */
	nk_error_at(&sent, NK_E_INVALID_PARAMS, "/wait_ms", "too long");
	json = nk_error_encode(&sent);
	assert_int_equal(nk_error_decode(json, &err), 0);
	json_decref(json);
	assert_report(&err, &input,
		      "netkitd-cli: apply: web.json:7: /devices/1/peer/netns: no network namespace 'web-9' under /run/netns\n"
		      "netkitd-cli: apply: /wait_ms: too long\n");
	nk_error_clear(&err);
	nk_error_clear(&sent);
}

static void test_report_kernel(void **state)
{
	struct nk_error err = {0};

	nk_error_set(&err, NK_E_KERNEL, "cannot create web-1");
	err.error = EEXIST;
	err.extack = strdup("name\033[2J taken");
	assert_report(&err, NULL, "netkitd-cli: apply: cannot create web-1 (EEXIST)\n"
				  "  the kernel says: name\\x1b[2J taken\n");
	nk_error_clear(&err);
}

static void test_report_many(void **state)
{
	struct nk_error err = {0};
	char *text = NULL;
	size_t size, lines = 0;
	FILE *f = open_memstream(&text, &size);

	for (int i = 0; i < NK_ERROR_PROBLEMS_MAX + 6; i++)
		nk_error_at(&err, NK_E_INVALID_PARAMS, "/x", "bad");
	cli_report(&cli, f, &err, NULL);
	fclose(f);
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_true(strstr(text, "and 6 more problems\n"));
	/* A line for each problem kept, one for the rest; the sentence that was never set may stand before. */
	assert_in_range(lines, NK_ERROR_PROBLEMS_MAX + 1, NK_ERROR_PROBLEMS_MAX + 2);
	free(text);
	nk_error_clear(&err);
}

static void test_reason(void **state)
{
	json_t *json = json_loads("{\"state\": \"Degraded\", \"reason\": \"KernelRefused\", \"message\": \"cannot add a route\","
				  " \"errno\": \"ENETUNREACH\", \"extack\": \"Nexthop has invalid gateway\"}", 0, NULL);
	char *text = show_reason(json);

	assert_string_equal(text, "KernelRefused: cannot add a route (ENETUNREACH): Nexthop has invalid gateway");
	free(text);
	json_decref(json);
	text = show_reason(NULL);
	assert_string_equal(text, "");
	free(text);
}

/* What a word makes of {"name": "web-1", "mtu": 1400}: the device as JSON, or NULL if it is refused. */
static char *set(const char *word)
{
	json_t *schema = nk_schema_of("device"), *device = json_pack("{s:s, s:i}", "name", "web-1", "mtu", 1400);
	char *text = NULL;

	assert_non_null(schema);
	if (cli_input_set(&cli, device, schema, word) == CLI_OK)
		text = json_dumps(device, JSON_COMPACT);
	json_decref(device);
	json_decref(schema);
	return text;
}

static void test_set(void **state)
{
	static const struct {
		const char *word, *device;
	} cases[] = {
		{"mtu=1500", "{\"name\":\"web-1\",\"mtu\":1500}"},
		{"mtu=", "{\"name\":\"web-1\"}"},
		{"policy=drop", "{\"name\":\"web-1\",\"mtu\":1400,\"policy\":\"drop\"}"},
		{"addresses=10.0.0.1/32,fd00::1", "{\"name\":\"web-1\",\"mtu\":1400,\"addresses\":[\"10.0.0.1/32\",\"fd00::1\"]}"},
		{"peer.netns=web-1", "{\"name\":\"web-1\",\"mtu\":1400,\"peer\":{\"netns\":\"web-1\"}}"},
		{"peer.netns={\"pid\": 12}", "{\"name\":\"web-1\",\"mtu\":1400,\"peer\":{\"netns\":{\"pid\":12}}}"},
		{"peer.mtu=1300", "{\"name\":\"web-1\",\"mtu\":1400,\"peer\":{\"mtu\":1300}}"},
		{"routes=[{\"to\": \"default\"}]", "{\"name\":\"web-1\",\"mtu\":1400,\"routes\":[{\"to\":\"default\"}]}"},
		{"mtu=big", NULL},
		{"mtu=1500x", NULL},
		{"mtu", NULL},
		{"=1500", NULL},
		{"colour=red", NULL},
		{"peer.colour=red", NULL},
		{"mtu.big=1", NULL},
		{"routes=default", NULL},
		{"routes=[{]", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *device = set(cases[i].word);

		if (cases[i].device)
			assert_string_equal(device ? device : "(refused)", cases[i].device);
		else
			assert_null(device);
		free(device);
	}
}

/* Each property of a schema, however deep, must stand in bold in the page. */
static void assert_named(const char *page, const json_t *schema)
{
	const char *name;
	const json_t *value;
	size_t i;

	json_object_foreach(json_object_get(schema, "properties"), name, value) {
		char *bold = NULL;

		if (json_is_false(value)) /* a member that is ruled out in one case, told elsewhere */
			continue;
		assert_true(asprintf(&bold, "*%s*", name) > 0);
		if (!strstr(page, bold))
			fail_msg("netkitd.json(5) does not tell of \"%s\"", name);
		free(bold);
	}
	if (json_is_object(schema))
		json_object_foreach((json_t *)schema, name, value)
			assert_named(page, value);
	else
		json_array_foreach(schema, i, value)
			assert_named(page, value);
}

static void test_man_page(void **state)
{
	static char page[100000];
	json_t *schema;
	FILE *f = fopen(NK_SOURCE_ROOT "/tools/man/netkitd.json.5.scd", "r");

	assert_non_null(f);
	assert_true(fread(page, 1, sizeof(page) - 1, f) > 1000);
	fclose(f);
	schema = nk_schema_of("document");
	assert_non_null(schema);
	assert_named(page, schema);
	json_decref(schema);
	schema = nk_schema_of("settings");
	assert_non_null(schema);
	assert_named(page, schema);
	json_decref(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_without_headings),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_brief),
		cmocka_unit_test(test_locate),
		cmocka_unit_test(test_locate_survives_anything),
		cmocka_unit_test(test_report_places),
		cmocka_unit_test(test_report_kernel),
		cmocka_unit_test(test_report_many),
		cmocka_unit_test(test_reason),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_man_page),
	};

	out_init();
	return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
