// SPDX-License-Identifier: GPL-2.0-only
/* The params of each method, and the daemon's settings: defaults, limits, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/contract.h"
#include "api/json.h"

static json_t *parse(const char *text)
{
	struct nk_error err = {};
	json_t *json = NULL;

	if (nk_json_parse(text, strlen(text), &json, &err) != 0)
		fail_msg("the test's own JSON: %s: %s", err.message, text);
	return json;
}

static void decode(enum nk_method m, const char *text, union nk_params *p)
{
	json_t *json = text ? parse(text) : NULL;
	struct nk_error err = {};

	if (nk_decode_params(m, json, p, &err) != 0) {
		json_t *e = nk_error_encode(&err);

		fail_msg("refused: %s", json_string_value(json_object_get(e, "message")));
	}
	json_decref(json);
}

static void refused(enum nk_method m, const char *text, const char *pointer, const char *words)
{
	json_t *json = text ? parse(text) : NULL, *first;
	struct nk_error err = {};
	union nk_params p;

	memset(&p, 0x5a, sizeof(p));
	assert_int_equal(nk_decode_params(m, json, &p, &err), -EINVAL);
	/* Untouched on failure. */
	for (size_t i = 0; i < sizeof(p); i++)
		assert_int_equal(((unsigned char *)&p)[i], 0x5a);
	assert_int_equal(err.code, NK_E_INVALID_PARAMS);
	first = json_array_get(err.problems, 0);
	assert_string_equal(json_string_value(json_object_get(first, "pointer")), pointer);
	if (!strstr(json_string_value(json_object_get(first, "message")), words))
		fail_msg("\"%s\" is not in \"%s\"", words, json_string_value(json_object_get(first, "message")));
	nk_error_clear(&err);
	json_decref(json);
}

static void every_method_is_found_by_name(void **state)
{
	for (int m = 0; m < NK_METHODS; m++) {
		assert_non_null(nk_methods[m].name);
		assert_int_equal(nk_method_find(nk_methods[m].name), m);
		assert_non_null(nk_methods[m].params);
		assert_non_null(nk_methods[m].result);
		assert_non_null(nk_methods[m].text);
		assert_true(nk_methods[m].params->size <= sizeof(union nk_params));
	}
	assert_int_equal(nk_method_find("state.Apply"), -ENOENT);
	assert_int_equal(nk_method_find(""), -ENOENT);
}

static void only_changes_need_the_right_to_change(void **state)
{
	for (int m = 0; m < NK_METHODS; m++)
		assert_int_equal(nk_methods[m].changes, m == NK_M_STATE_APPLY || m == NK_M_DEVICE_SET || m == NK_M_DEVICE_DELETE);
}

static void apply(void **state)
{
	union nk_params p;

	decode(NK_M_STATE_APPLY, "{\"document\": {}}", &p);
	assert_false(p.apply.replace);
	assert_false(p.apply.dry_run);
	assert_false(p.apply.has_expected_revision);
	assert_false(p.apply.has_wait);
	nk_params_clear(NK_M_STATE_APPLY, &p);

	decode(NK_M_STATE_APPLY, "{\"document\": {\"devices\": [{\"name\": \"a\"}], \"programs\": [{\"name\": \"p\", \"pin\": \"/x\"}]},"
	       " \"mode\": \"replace\", \"dry_run\": true, \"expected_revision\": 9223372036854775807, \"wait_ms\": 0}", &p);
	assert_true(p.apply.replace);
	assert_true(p.apply.dry_run);
	assert_true(p.apply.has_expected_revision);
	assert_true(p.apply.expected_revision == INT64_MAX);
	assert_true(p.apply.has_wait);
	assert_int_equal(p.apply.wait_ms, 0);
	assert_int_equal(p.apply.document.n_devices, 1);
	assert_string_equal(nk_device_name(p.apply.document.devices[0]), "a");
	assert_int_equal(p.apply.document.n_programs, 1);
	nk_params_clear(NK_M_STATE_APPLY, &p);
	assert_int_equal(p.apply.document.n_devices, 0);

	refused(NK_M_STATE_APPLY, NULL, "", "\"document\" is missing");
	refused(NK_M_STATE_APPLY, "{}", "", "\"document\" is missing");
	refused(NK_M_STATE_APPLY, "[{}]", "", "by name only");
	refused(NK_M_STATE_APPLY, "{\"document\": []}", "/document", "must be an object");
	refused(NK_M_STATE_APPLY, "{\"document\": {\"devices\": [{\"name\": \"a\"}, {}]}}", "/document/devices/1", "missing");
	refused(NK_M_STATE_APPLY, "{\"document\": {}, \"mode\": \"force\"}", "/mode", "\"merge\", \"replace\"");
	refused(NK_M_STATE_APPLY, "{\"document\": {}, \"dryrun\": true}", "/dryrun", "did you mean \"dry_run\"?");
	refused(NK_M_STATE_APPLY, "{\"document\": {}, \"expected_revision\": -1}", "/expected_revision", "must be from 0");
	refused(NK_M_STATE_APPLY, "{\"document\": {}, \"wait_ms\": 3600001}", "/wait_ms", "must be from 0 to 3600000");
}

static void wait_and_rebuild(void **state)
{
	union nk_params p;

	decode(NK_M_STATE_WAIT, NULL, &p);
	assert_true(p.wait.revision == 0);
	assert_int_equal(p.wait.timeout_ms, 10000);
	decode(NK_M_STATE_WAIT, "{\"revision\": 7, \"timeout_ms\": 0}", &p);
	assert_true(p.wait.revision == 7);
	assert_int_equal(p.wait.timeout_ms, 0);
	refused(NK_M_STATE_WAIT, "{\"timeout_ms\": 1.5}", "/timeout_ms", "fraction");
	decode(NK_M_STATE_REBUILD, NULL, &p);
	assert_false(p.rebuild.unclaimed);
	decode(NK_M_STATE_REBUILD, "{\"unclaimed\": true}", &p);
	assert_true(p.rebuild.unclaimed);
}

static void one_device(void **state)
{
	union nk_params p;

	decode(NK_M_DEVICE_SET, "{\"device\": {\"name\": \"a\"}, \"wait_ms\": 5, \"dry_run\": true}", &p);
	assert_string_equal(nk_device_name(p.device_set.device), "a");
	assert_true(p.device_set.dry_run && p.device_set.has_wait && !p.device_set.has_expected_revision);
	nk_params_clear(NK_M_DEVICE_SET, &p);
	assert_null(p.device_set.device);
	refused(NK_M_DEVICE_SET, "{}", "", "\"device\" is missing");
	refused(NK_M_DEVICE_SET, "{\"device\": {\"name\": \"a\", \"mtu\": 1}}", "/device/mtu", "must be from 68");
	/* Another member is wrong: the device that was already read is freed. */
	refused(NK_M_DEVICE_SET, "{\"device\": {\"name\": \"a\"}, \"wait_ms\": -1}", "/wait_ms", "must be from 0");

	decode(NK_M_DEVICE_DELETE, "{\"name\": \"a\", \"expected_revision\": 3}", &p);
	assert_string_equal(p.device_name.name, "a");
	assert_true(p.device_name.has_expected_revision && p.device_name.expected_revision == 3);
	refused(NK_M_DEVICE_DELETE, "{}", "", "\"name\" is missing");
	decode(NK_M_DEVICE_GET, "{\"name\": \"a\"}", &p);
	refused(NK_M_DEVICE_GET, "{\"name\": \"a\", \"dry_run\": true}", "/dry_run", "unknown member");
	refused(NK_M_DEVICE_GET, "{\"name\": \"a/b\"}", "/name", "interface name");

	decode(NK_M_ATTACHMENT_LIST, NULL, &p);
	assert_string_equal(p.list.device, "");
	decode(NK_M_ATTACHMENT_LIST, "{\"device\": \"a\"}", &p);
	assert_string_equal(p.list.device, "a");
}

static void methods_without_params(void **state)
{
	static const enum nk_method methods[] = {NK_M_DAEMON_STATUS, NK_M_DAEMON_CAPABILITIES, NK_M_STATE_GET, NK_M_PROGRAM_LIST};
	union nk_params p;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		decode(methods[i], NULL, &p);
		decode(methods[i], "{}", &p);
		refused(methods[i], "{\"since\": 1}", "/since", "none is allowed here");
		refused(methods[i], "7", "", "must be an object");
	}
	decode(NK_M_DEVICE_LIST, NULL, &p);
	assert_false(p.list.interfaces);
	decode(NK_M_DEVICE_LIST, "{\"interfaces\": true}", &p);
	assert_true(p.list.interfaces);
	refused(NK_M_DEVICE_LIST, "{\"device\": \"a\"}", "/device", "allowed are: interfaces");
}

static void subscribe(void **state)
{
	union nk_params p;

	decode(NK_M_EVENT_SUBSCRIBE, NULL, &p);
	assert_false(p.subscribe.has_since);
	decode(NK_M_EVENT_SUBSCRIBE, "{\"since\": 0}", &p);
	assert_true(p.subscribe.has_since);
	assert_int_equal(p.subscribe.since, 0);
	decode(NK_M_EVENT_SUBSCRIBE, "{\"since\": 4711}", &p);
	assert_int_equal(p.subscribe.since, 4711);
	refused(NK_M_EVENT_SUBSCRIBE, "{\"since\": -1}", "/since", "must be");
	refused(NK_M_EVENT_SUBSCRIBE, "{\"sinc\": 1}", "/sinc", "");
}

/* ---- settings ---- */

static char path[64];

static int with_file(void **state)
{
	strcpy(path, "/tmp/netkitd-settings-XXXXXX");
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int without_file(void **state)
{
	unlink(path);
	return 0;
}

static int load(const char *text, struct nk_settings *s, struct nk_error *err)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	return nk_settings_load(path, s, err);
}

static void settings_have_defaults(void **state)
{
	struct nk_error err = {};
	struct nk_settings s;

	for (int absent = 0; absent < 2; absent++) {
		if (absent)
			assert_int_equal(nk_settings_load("/nonexistent/netkitd.json", &s, &err), -ENOENT);
		else
			assert_int_equal(load("{}", &s, &err), 0);
		assert_string_equal(s.socket_path, "/run/netkitd/netkitd.sock");
		assert_string_equal(s.socket_group, "netkitd");
		assert_string_equal(s.state_dir, "/var/lib/netkitd");
		assert_string_equal(s.bpffs, "/sys/fs/bpf/netkitd");
		assert_int_equal(s.n_admin_groups, 0);
		assert_int_equal(s.n_object_dirs, 0);
		assert_int_equal(s.group, 1852506112);
		assert_int_equal(s.max_clients, 256);
		assert_true(s.retry_min_ms < s.retry_max_ms);
		assert_true(s.poll_s > 0);
		nk_settings_clear(&s);
		assert_null(s.socket_path);
	}
	assert_int_equal(err.code, NK_E_NONE);
}

static void settings_are_read(void **state)
{
	struct nk_error err = {};
	struct nk_settings s;

	assert_int_equal(load("{\"socket_path\": \"/s\", \"admin_groups\": [\"wheel\", \"net admin\"]}", &s, &err), -EINVAL);
	assert_string_equal(json_string_value(json_object_get(json_array_get(err.problems, 0), "pointer")), "/admin_groups/1");
	nk_error_clear(&err);

	assert_int_equal(load("{\"socket_path\": \"/s\", \"socket_group\": \"g\", \"state_dir\": \"/d\", \"bpffs\": \"/b\", \"admin_groups\": "
			      "[\"wheel\", \"adm\"], \"group\": 1, \"max_clients\": 2, \"retry_min_ms\": 10, \"retry_max_ms\": 10, "
			      "\"poll_s\": 1, \"object_dirs\": [\"/o\"]}", &s, &err), 0);
	assert_string_equal(s.socket_path, "/s");
	assert_int_equal(s.n_admin_groups, 2);
	assert_string_equal(s.admin_groups[1], "adm");
	assert_int_equal(s.n_object_dirs, 1);
	assert_string_equal(s.object_dirs[0], "/o");
	assert_int_equal(s.group, 1);
	assert_int_equal(s.retry_max_ms, 10);
	nk_settings_clear(&s);
}

static void bad_settings_are_refused(void **state)
{
	static const struct {
		const char *text, *pointer;
	} bad[] = {
		{"[]", ""},
		{"{\"sockt_path\": \"/s\"}", "/sockt_path"},
		{"{\"socket_path\": \"s\"}", "/socket_path"},
		{"{\"socket_group\": \"\"}", "/socket_group"},
		{"{\"object_dirs\": [\"/a\", \"b\"]}", "/object_dirs/1"},
		{"{\"group\": 0}", "/group"},
		{"{\"group\": 2147483647}", "/group"},
		{"{\"max_clients\": 0}", "/max_clients"},
		{"{\"retry_min_ms\": 9}", "/retry_min_ms"},
		{"{\"retry_min_ms\": 500, \"retry_max_ms\": 100}", "/retry_min_ms"},
		{"{\"poll_s\": 0}", "/poll_s"},
		{"{\"admin_groups\": \"wheel\"}", "/admin_groups"},
	};
	struct nk_error err = {};
	struct nk_settings s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&s, 0x5a, sizeof(s));
		assert_int_equal(load(bad[i].text, &s, &err), -EINVAL);
		assert_int_equal(((unsigned char *)&s)[0], 0x5a);
		assert_string_equal(json_string_value(json_object_get(json_array_get(err.problems, 0), "pointer")), bad[i].pointer);
		nk_error_clear(&err);
	}
	assert_int_equal(load("{\"group\": 1", &s, &err), -EINVAL);
	assert_int_equal(err.code, NK_E_PARSE);
	nk_error_clear(&err);
	assert_int_equal(load("", &s, &err), -EINVAL);
	nk_error_clear(&err);
	assert_int_equal(nk_settings_load("/tmp", &s, &err), -EINVAL);
	assert_non_null(strstr(err.message, "regular file"));
	nk_error_clear(&err);
	assert_int_equal(truncate(path, 2 << 20), 0);
	assert_int_equal(nk_settings_load(path, &s, &err), -EINVAL);
	assert_int_equal(err.code, NK_E_LIMIT);
	nk_error_clear(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_method_is_found_by_name),
		cmocka_unit_test(only_changes_need_the_right_to_change),
		cmocka_unit_test(apply),
		cmocka_unit_test(wait_and_rebuild),
		cmocka_unit_test(one_device),
		cmocka_unit_test(methods_without_params),
		cmocka_unit_test(subscribe),
		cmocka_unit_test_setup_teardown(settings_have_defaults, with_file, without_file),
		cmocka_unit_test_setup_teardown(settings_are_read, with_file, without_file),
		cmocka_unit_test_setup_teardown(bad_settings_are_refused, with_file, without_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
