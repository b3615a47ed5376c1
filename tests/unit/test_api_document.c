// SPDX-License-Identifier: GPL-2.0-only
/*
 * The document's tables: each member with good and bad values, the place of each problem, the canonical form that comes back.
 * A device in these tests is a template in which one member stands at a time.
 */
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

static json_t *parse(const char *text)
{
	struct nk_error err = {};
	json_t *json = NULL;

	if (nk_json_parse(text, strlen(text), &json, &err) != 0)
		fail_msg("the test's own JSON: %s: %s", err.message, text);
	return json;
}

static const char *pointer_of(const struct nk_error *err, size_t i)
{
	return json_string_value(json_object_get(json_array_get(err->problems, i), "pointer"));
}

static const char *text_of(const struct nk_error *err, size_t i)
{
	return json_string_value(json_object_get(json_array_get(err->problems, i), "message"));
}

static bool has_pointer(const struct nk_error *err, const char *pointer)
{
	for (size_t i = 0; i < json_array_size(err->problems); i++)
		if (strcmp(pointer_of(err, i), pointer) == 0)
			return true;
	return false;
}

/* The canonical form of a device, as text. */
static char *canonical_device(const char *text)
{
	json_t *json = parse(text), *out;
	struct nk_device *d = NULL;
	struct nk_error err = {};
	char *dump;

	if (nk_decode_device(json, "", &d, &err) != 0)
		fail_msg("refused at %s: %s: %s", pointer_of(&err, 0), text_of(&err, 0), text);
	out = nk_encode_device(d);
	dump = json_dumps(out, 0);
	json_decref(out);
	json_decref(json);
	nk_device_unref(d);
	return dump;
}

static void device_becomes(const char *text, const char *want)
{
	char *once = canonical_device(text), *twice = canonical_device(once);

	assert_string_equal(once, want);
	assert_string_equal(twice, want);
	free(once);
	free(twice);
}

/* The device is refused, with a problem at this place that says these words. */
static void device_refused(const char *text, const char *pointer, const char *words)
{
	struct nk_device *d = NULL;
	struct nk_error err = {};
	json_t *json = parse(text);
	bool said = false;

	if (nk_decode_device(json, "/p", &d, &err) != -EINVAL)
		fail_msg("not refused: %s", text);
	assert_null(d);
	assert_int_equal(err.code, NK_E_INVALID_PARAMS);
	for (size_t i = 0; i < json_array_size(err.problems); i++)
		said = said || (strncmp(pointer_of(&err, i), "/p", 2) == 0 && strcmp(pointer_of(&err, i) + 2, pointer) == 0 &&
				strstr(text_of(&err, i), words));
	if (!said)
		fail_msg("no problem at %s that says \"%s\", but at %s: %s", pointer, words, pointer_of(&err, 0), text_of(&err, 0));
	json_decref(json);
	nk_error_clear(&err);
}

#define PRIMARY_HEAD "{\"name\": \"a\", \"mode\": \"l2\", "
#define PRIMARY_TAIL ", \"peer\": {\"name\": \"b\", \"netns\": \"n\"}}"
#define PEER_HEAD "{\"name\": \"a\", \"mode\": \"l2\", \"peer\": {\"name\": \"b\", \"netns\": \"n\", "

/* A member of an end, at both ends: good as it stands, and read back as the same value. */
static void end_good(const char *member, const char *value)
{
	char text[512];
	char *dump, want[256];
	json_t *json, *again;

	snprintf(want, sizeof(want), "{\"%s\": %s}", member, value);
	again = parse(want);
	snprintf(text, sizeof(text), PRIMARY_HEAD "\"%s\": %s" PRIMARY_TAIL, member, value);
	dump = canonical_device(text);
	json = parse(dump);
	if (!json_equal(json_object_get(json, member), json_object_get(again, member)))
		fail_msg("%s %s became %s", member, value, dump);
	json_decref(json);
	free(dump);

	snprintf(text, sizeof(text), PEER_HEAD "\"%s\": %s}}", member, value);
	dump = canonical_device(text);
	json = parse(dump);
	if (!json_equal(json_object_get(json_object_get(json, "peer"), member), json_object_get(again, member)))
		fail_msg("peer %s %s became %s", member, value, dump);
	json_decref(json);
	json_decref(again);
	free(dump);
}

static void end_bad(const char *member, const char *value, const char *below, const char *words)
{
	char text[512], pointer[128];

	snprintf(text, sizeof(text), PRIMARY_HEAD "\"%s\": %s" PRIMARY_TAIL, member, value);
	snprintf(pointer, sizeof(pointer), "/%s%s", member, below);
	device_refused(text, pointer, words);
	snprintf(text, sizeof(text), PEER_HEAD "\"%s\": %s}}", member, value);
	snprintf(pointer, sizeof(pointer), "/peer/%s%s", member, below);
	device_refused(text, pointer, words);
}

static void each_word_of_an_end(void **state)
{
	end_good("policy", "\"pass\"");
	end_good("policy", "\"drop\"");
	end_bad("policy", "\"block\"", "", "\"pass\", \"drop\"");
	end_bad("policy", "true", "", "not a boolean");
	end_good("scrub", "\"none\"");
	end_good("scrub", "\"default\"");
	end_bad("scrub", "null", "", "not null");
	end_good("mac", "\"02:00:00:00:00:fe\"");
	end_bad("mac", "\"02:00:00:00:00\"", "", "six pairs");
	end_bad("mac", "\"02:00:00:00:00:0g\"", "", "six pairs");
	end_bad("mac", "\"02-00-00-00-00-01\"", "", "six pairs");
	end_bad("mac", "\"01:00:5e:00:00:01\"", "", "multicast");
	end_bad("mac", "\"00:00:00:00:00:00\"", "", "station");
	end_bad("mac", "2", "", "not an integer");
}

static void each_number_of_an_end(void **state)
{
	static const struct {
		const char *member;
		long long min, max;
	} numbers[] = {
		{"mtu", 68, 65535},           {"txqueuelen", 0, 4294967295},      {"gso_max_size", 1, 524280},
		{"gro_max_size", 1, 524280}, {"gso_ipv4_max_size", 1, 524280}, {"gro_ipv4_max_size", 1, 524280},
	};
	char value[32];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		snprintf(value, sizeof(value), "%lld", numbers[i].min);
		end_good(numbers[i].member, value);
		snprintf(value, sizeof(value), "%lld", numbers[i].max);
		end_good(numbers[i].member, value);
		snprintf(value, sizeof(value), "%lld", numbers[i].min - 1);
		end_bad(numbers[i].member, value, "", "must be from");
		snprintf(value, sizeof(value), "%lld", numbers[i].max + 1);
		end_bad(numbers[i].member, value, "", "must be from");
		end_bad(numbers[i].member, "9223372036854775807", "", "must be from");
		end_bad(numbers[i].member, "-9223372036854775808", "", "must be from");
		end_bad(numbers[i].member, "1500.0", "", "fraction");
		end_bad(numbers[i].member, "\"1500\"", "", "not a string");
	}
}

static void each_address(void **state)
{
	end_good("addresses", "[\"10.0.0.1/24\"]");
	end_good("addresses", "[\"10.0.0.1/32\", \"fd00::1/64\"]");
	end_bad("addresses", "\"10.0.0.1\"", "", "must be a list");
	end_bad("addresses", "[\"10.0.0.1/33\"]", "/0", "is not an address");
	end_bad("addresses", "[\"10.0.0.1/24\", \"10.0.0\"]", "/1", "is not an address");
	end_bad("addresses", "[\"fd00::1/129\"]", "/0", "is not an address");
	end_bad("addresses", "[\"0.0.0.0/8\"]", "/0", "unspecified");
	end_bad("addresses", "[\"ff02::1/64\"]", "/0", "multicast");
	end_bad("addresses", "[7]", "/0", "not an integer");
	end_bad("addresses", "[\"10.0.0.1/24\", \"fd00::1/64\", \"10.0.0.1/24\"]", "/2", "");
}

#define ROUTED(routes) "{\"name\": \"a\", \"addresses\": [\"10.0.0.1/24\", \"fd00::1/64\"], \"routes\": [" routes "]}"

static void each_member_of_a_route(void **state)
{
	static const char head[] =
		"{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"addresses\": [\"10.0.0.1/24\", "
		"\"fd00::1/64\"], \"routes\": [%s]}";
	static const struct {
		const char *in, *out;
	} good[] = {
		{"{\"to\": \"10.1.0.0/16\"}", NULL},
		{"{\"to\": \"10.1.2.3\"}", "{\"to\": \"10.1.2.3/32\"}"},
		{"{\"to\": \"default\"}", NULL},
		{"{\"to\": \"0.0.0.0/0\"}", "{\"to\": \"default\"}"},
		{"{\"to\": \"::/0\"}", NULL},
		{"{\"to\": \"::/0\", \"via\": \"fd00::9\"}", "{\"to\": \"default\", \"via\": \"fd00::9\"}"},
		{"{\"to\": \"default\", \"via\": \"fd00::9\"}", NULL},
		{"{\"to\": \"default\", \"src\": \"fd00::1\"}", NULL},
		{"{\"to\": \"default\", \"via\": \"10.0.0.9\"}", NULL},
		{"{\"metric\": 7, \"src\": \"10.0.0.1\", \"to\": \"10.1.0.0/16\", \"via\": \"10.0.0.9\"}",
		 "{\"to\": \"10.1.0.0/16\", \"via\": \"10.0.0.9\", \"src\": \"10.0.0.1\", \"metric\": 7}"},
		{"{\"to\": \"10.1.0.0/16\", \"metric\": 4294967295}", NULL},
		{"{\"to\": \"10.1.0.0/16\", \"metric\": 0}", "{\"to\": \"10.1.0.0/16\"}"},
		{"{\"to\": \"default\", \"via\": \"192.0.2.1\", \"onlink\": true}", NULL},
		{"{\"to\": \"default\", \"via\": \"10.0.0.9\", \"onlink\": false}", "{\"to\": \"default\", \"via\": \"10.0.0.9\"}"},
	};
	char in[512], out[512];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(in, sizeof(in), head, good[i].in);
		snprintf(out, sizeof(out), head, good[i].out ? good[i].out : good[i].in);
		device_becomes(in, out);
	}
	device_refused(ROUTED("{}"), "/routes/0", "\"to\" is missing");
	device_refused(ROUTED("{\"to\": \"10.1.0.1/16\"}"), "/routes/0/to", "\"10.1.0.0/16\" meant");
	device_refused(ROUTED("{\"to\": \"fd00::1/64\"}"), "/routes/0/to", "\"fd00::/64\" meant");
	device_refused(ROUTED("{\"to\": \"all\"}"), "/routes/0/to", "is not a network");
	device_refused(ROUTED("{\"to\": 0}"), "/routes/0/to", "not an integer");
	device_refused(ROUTED("{\"to\": \"default\", \"via\": \"10.0.0.9/24\"}"), "/routes/0/via", "without a prefix length");
	device_refused(ROUTED("{\"to\": \"default\", \"via\": \"0.0.0.0\"}"), "/routes/0/via", "unspecified");
	device_refused(ROUTED("{\"to\": \"10.1.0.0/16\", \"via\": \"fd00::9\"}"), "/routes/0/via", "family");
	device_refused(ROUTED("{\"to\": \"default\", \"via\": \"fd00::9\", \"src\": \"10.0.0.1\"}"), "/routes/0/src", "family");
	device_refused(ROUTED("{\"to\": \"default\", \"metric\": -1}"), "/routes/0/metric", "must be from 0");
	device_refused(ROUTED("{\"to\": \"default\", \"metric\": 4294967296}"), "/routes/0/metric", "must be from 0");
	device_refused(ROUTED("{\"to\": \"default\", \"onlink\": 1}"), "/routes/0/onlink", "true or false");
	device_refused(ROUTED("{\"to\": \"default\", \"onlink\": true}"), "/routes/0/onlink", "gateway");
	device_refused(ROUTED("{\"to\": \"default\", \"dev\": \"a\"}"), "/routes/0/dev", "unknown member");
	/* The model's checks keep the sender's place, though lists are sorted afterwards. */
	device_refused(ROUTED("{\"to\": \"fd09::/64\"}, {\"to\": \"10.9.0.0/16\", \"via\": \"192.0.2.1\"}"), "/routes/1/via", "");
}

#define NETNS(value) "{\"name\": \"a\", \"peer\": {\"name\": \"b\", \"netns\": " value "}}"
#define NETNS_OUT(value) \
	"{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"peer\": {\"name\": \"b\", \"netns\": " value \
	", \"policy\": \"pass\", \"scrub\": \"default\"}}"
#define BOOT "\"boot_id\": \"0f0f0f0f-1111-2222-3333-444444444444\""

static void each_form_of_a_netns(void **state)
{
	static const char place[] = "/peer/netns";

	device_becomes(NETNS("\"web-1\""), NETNS_OUT("\"web-1\""));
	device_becomes(NETNS("\"/proc/1/ns/net\""), NETNS_OUT("\"/proc/1/ns/net\""));
	device_becomes(NETNS("{\"pid\": 4194304}"), NETNS_OUT("{\"pid\": 4194304}"));
	device_becomes(NETNS("{\"pid\": 7, \"start\": 12345, " BOOT "}"), NETNS_OUT("{\"pid\": 7, \"start\": 12345, " BOOT "}"));
	device_becomes(NETNS("{\"fd\": 0}"), NETNS_OUT("{\"fd\": 0}"));
	device_becomes(NETNS("{\"cookie\": \"18446744073709551615\", \"inode\": 4026531840, " BOOT "}"),
		       NETNS_OUT("{\"cookie\": \"18446744073709551615\", \"inode\": 4026531840, " BOOT "}"));
	device_refused(NETNS("\"\""), place, "empty");
	device_refused(NETNS("\"a/b\""), place, "without a slash");
	device_refused(NETNS("\".\""), place, "not \".\"");
	device_refused(NETNS("\"..\""), place, "not \".\"");
	device_refused(NETNS("7"), place, "an integer");
	device_refused(NETNS("null"), place, "null");
	device_refused(NETNS("{}"), place, "none of these");
	device_refused(NETNS("{\"pid\": 0}"), "/peer/netns/pid", "must be from 1");
	device_refused(NETNS("{\"pid\": 4194305}"), "/peer/netns/pid", "must be from 1");
	device_refused(NETNS("{\"pid\": 1, \"fd\": 1}"), "/peer/netns/fd", "unknown member");
	device_refused(NETNS("{\"fd\": -1}"), "/peer/netns/fd", "must be from 0");
	device_refused(NETNS("{\"fd\": 253}"), "/peer/netns/fd", "must be from 0");
	device_refused(NETNS("{\"cookie\": 7}"), "/peer/netns/cookie", "decimal digits");
	device_refused(NETNS("{\"cookie\": \"0\"}"), "/peer/netns/cookie", "decimal digits");
	device_refused(NETNS("{\"cookie\": \"-1\"}"), "/peer/netns/cookie", "decimal digits");
	device_refused(NETNS("{\"cookie\": \"18446744073709551616\"}"), "/peer/netns/cookie", "decimal digits");
	device_refused(NETNS("{\"cookie\": \"7\", \"boot_id\": \"x\"}"), "/peer/netns/boot_id", "36 characters");
}

static void netns_is_read_into_its_kind(void **state)
{
	static const struct {
		const char *text;
		enum nk_netns_kind kind;
		uint64_t number;
		const char *path;
	} forms[] = {
		{"{\"name\": \"a\", \"peer\": {\"name\": \"b\"}}", NK_NETNS_HOST, 0, NULL},
		{NETNS("\"web\""), NK_NETNS_NAME, 0, "web"},
		{NETNS("\"/x\""), NK_NETNS_PATH, 0, "/x"},
		{NETNS("{\"pid\": 7}"), NK_NETNS_PID, 7, NULL},
		{NETNS("{\"fd\": 3}"), NK_NETNS_FD, 3, NULL},
		{NETNS("{\"cookie\": \"9\"}"), NK_NETNS_ID, 9, NULL},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		json_t *json = parse(forms[i].text);
		struct nk_device *d = NULL;
		struct nk_error err = {};

		assert_int_equal(nk_decode_device(json, "", &d, &err), 0);
		assert_int_equal(d->netns.kind, forms[i].kind);
		assert_true(d->netns.number == forms[i].number);
		assert_true(forms[i].path ? d->netns.path && strcmp(d->netns.path, forms[i].path) == 0 : !d->netns.path);
		nk_device_unref(d);
		json_decref(json);
	}
}

static void each_member_of_a_device(void **state)
{
	device_becomes("{\"name\": \"a\"}", "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\"}");
	device_becomes("{\"tailroom\": 0, \"headroom\": 65535, \"mode\": \"l2\", \"name\": \"fifteen-bytes-x\"}",
		       "{\"name\": \"fifteen-bytes-x\", \"mode\": \"l2\", \"policy\": \"pass\", \"scrub\": \"default\", "
		       "\"headroom\": 65535, \"tailroom\": 0}");
	device_becomes("{\"name\": \"a\", \"on_drift\": \"report\"}", "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", "
		       "\"scrub\": \"default\", \"on_drift\": \"report\"}");
	device_becomes("{\"name\": \"a\", \"on_drift\": \"repair\"}",
		       "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\"}");
	device_refused("{\"name\": \"a\", \"on_drift\": \"leave\"}", "/on_drift", "\"repair\", \"report\"");
	device_refused("{\"name\": \"a\", \"on_drift\": \"report\", \"attachments\": [{\"name\": \"p\", \"hook\": \"netkit/primary\", "
		       "\"program\": \"q\", \"required\": true}]}", "/attachments/0/required", "on_drift");
	device_refused("{}", "", "\"name\" is missing");
	device_refused("[]", "", "must be an object");
	device_refused("{\"name\": \"\"}", "/name", "");
	device_refused("{\"name\": \".\"}", "/name", "");
	device_refused("{\"name\": \"..\"}", "/name", "");
	device_refused("{\"name\": \"a/b\"}", "/name", "");
	device_refused("{\"name\": \"a b\"}", "/name", "");
	device_refused("{\"name\": \"a:b\"}", "/name", "");
	device_refused("{\"name\": \"sixteen-bytes-xx\"}", "/name", "");
	device_refused("{\"name\": 1}", "/name", "not an integer");
	device_refused("{\"name\": \"a\", \"mode\": \"L3\"}", "/mode", "\"l3\", \"l2\"");
	device_refused("{\"name\": \"a\", \"headroom\": 65536}", "/headroom", "must be from 0 to 65535");
	device_refused("{\"name\": \"a\", \"tailroom\": -1}", "/tailroom", "must be from 0 to 65535");
	device_refused("{\"name\": \"a\", \"peer\": \"b\"}", "/peer", "must be an object");
	device_refused("{\"name\": \"a\", \"peer\": {}}", "/peer", "\"name\" is missing");
	device_refused("{\"name\": \"a\", \"peer\": {\"name\": \"b/c\"}}", "/peer/name", "");
	device_refused("{\"name\": \"a\", \"peer\": {\"name\": \"b\", \"mode\": \"l2\"}}", "/peer/mode", "unknown member");
	device_refused("{\"name\": \"a\", \"mac\": \"02:00:00:00:00:01\"}", "/mac", "");
}

#define ATTACHED(attachments) "{\"name\": \"a\", \"peer\": {\"name\": \"b\", \"netns\": \"n\"}, \"attachments\": [" attachments "]}"

static void each_member_of_an_attachment(void **state)
{
	device_becomes(ATTACHED("{\"program\": \"q\", \"hook\": \"netkit/peer\", \"name\": \"p\", \"required\": true},"
				"{\"name\": \"A1._-\", \"hook\": \"netkit/primary\", \"program\": \"q\", \"required\": false}"),
		       "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"peer\": {\"name\": \"b\", "
		       "\"netns\": \"n\", \"policy\": \"pass\", \"scrub\": \"default\"}, \"attachments\": [{\"name\": \"p\", \"hook\": "
		       "\"netkit/peer\", \"program\": \"q\", \"required\": true}, {\"name\": \"A1._-\", \"hook\": \"netkit/primary\", "
		       "\"program\": \"q\"}]}");
	device_refused(ATTACHED("{}"), "/attachments/0", "\"name\" is missing");
	device_refused(ATTACHED("{}"), "/attachments/0", "\"hook\" is missing");
	device_refused(ATTACHED("{}"), "/attachments/0", "\"program\" is missing");
	device_refused(ATTACHED("{\"name\": \"p\", \"hook\": \"tcx/ingress\", \"program\": \"q\"}"), "/attachments/0/hook",
		       "netkit/primary or netkit/peer");
	device_refused(ATTACHED("{\"name\": \"p\", \"hook\": \"tcx\", \"program\": \"q\"}"), "/attachments/0/hook",
		       "\"netkit/primary\", \"netkit/peer\", \"tcx/ingress\", \"tcx/egress\"");
	device_refused(ATTACHED("{\"name\": \"-p\", \"hook\": \"netkit/peer\", \"program\": \"q\"}"), "/attachments/0/name", "");
	device_refused(ATTACHED("{\"name\": \"p\", \"hook\": \"netkit/peer\", \"program\": \"../q\"}"), "/attachments/0/program", "");
	device_refused(ATTACHED("{\"name\": \"p\", \"hook\": \"netkit/peer\", \"program\": \"q\", \"behind\": [\"x\"]}"),
		       "/attachments/0/behind", "unknown member");
	device_refused(ATTACHED("{\"name\": \"p\", \"hook\": \"netkit/peer\", \"program\": \"q\"},"
				"{\"name\": \"p\", \"hook\": \"netkit/peer\", \"program\": \"r\"}"), "/attachments/1/name", "");
}

/* Attachments p, q and r of one hook, each with what is given; the second line of a test is where and how it is refused. */
#define PLACED(name, more) "{\"name\": \"" name "\", \"hook\": \"netkit/peer\", \"program\": \"" name "\"" more "}"
#define PQR(p, q, r) ATTACHED(PLACED("p", p) "," PLACED("q", q) "," PLACED("r", r))

static void places_of_attachments(void **state)
{
	/* What is said of several stands sorted, names before ids before tags before pins. */
	device_becomes(PQR(", \"priority\": -5", ", \"before\": [{\"pin\": \"/sys/fs/bpf/x\"}, \"p\", {\"id\": 12}]",
			   ", \"last\": true, \"first\": false, \"after\": [{\"tag\": \"0123456789abcdef\"}, \"q\"]"),
		       "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"peer\": {\"name\": \"b\", "
		       "\"netns\": \"n\", \"policy\": \"pass\", \"scrub\": \"default\"}, \"attachments\": ["
		       "{\"name\": \"p\", \"hook\": \"netkit/peer\", \"program\": \"p\", \"priority\": -5}, "
		       "{\"name\": \"q\", \"hook\": \"netkit/peer\", \"program\": \"q\", "
		       "\"before\": [\"p\", {\"id\": 12}, {\"pin\": \"/sys/fs/bpf/x\"}]}, "
		       "{\"name\": \"r\", \"hook\": \"netkit/peer\", \"program\": \"r\", "
		       "\"after\": [\"q\", {\"tag\": \"0123456789abcdef\"}], \"last\": true}]}");
	device_refused(PQR(", \"before\": \"q\"", "", ""), "/attachments/0/before", "must be a list");
	device_refused(PQR(", \"before\": [1]", "", ""), "/attachments/0/before/0", "the name of an attachment, {\"id\": N}");
	device_refused(PQR(", \"before\": [{}]", "", ""), "/attachments/0/before/0", "none of these members");
	device_refused(PQR(", \"before\": [\"\"]", "", ""), "/attachments/0/before/0", "empty");
	device_refused(PQR(", \"after\": [{\"id\": 0}]", "", ""), "/attachments/0/after/0/id", "from 1 to");
	device_refused(PQR(", \"after\": [{\"id\": 1, \"tag\": \"0123456789abcdef\"}]", "", ""), "/attachments/0/after/0/tag", "unknown");
	device_refused(PQR(", \"after\": [{\"tag\": \"0123456789ABCDEF\"}]", "", ""), "/attachments/0/after/0/tag", "letters small");
	device_refused(PQR(", \"after\": [{\"tag\": \"0123\"}]", "", ""), "/attachments/0/after/0/tag", "16 hexadecimal digits");
	device_refused(PQR(", \"after\": [{\"pin\": \"x\"}]", "", ""), "/attachments/0/after/0/pin", "slash");
	device_refused(PQR(", \"priority\": 2147483648", "", ""), "/attachments/0/priority", "2147483647");
	device_refused(PQR(", \"before\": [\"p\"]", "", ""), "/attachments/0/before/0", "itself");
	device_refused(PQR("", "", ", \"after\": [\"p\", \"s\"]"), "/attachments/2/after/1", "no attachment s is at hook netkit/peer");
	device_refused(ATTACHED(PLACED("p", ", \"after\": [\"q\"]")
				",{\"name\": \"q\", \"hook\": \"netkit/primary\", \"program\": \"q\"}"),
		       "/attachments/0/after/0", "no attachment q is at hook netkit/peer");
	device_refused(PQR("", ", \"after\": [\"p\", \"p\"]", ""), "/attachments/1/after/1", "twice");
	device_refused(PQR("", ", \"first\": true, \"last\": true", ""), "/attachments/1/last", "first");
	device_refused(PQR(", \"first\": true, \"after\": [{\"id\": 7}]", "", ""), "/attachments/0/after/0", "programs of others");
	device_refused(PQR(", \"last\": true, \"before\": [{\"id\": 7}]", "", ""), "/attachments/0/before/0", "programs of others");
}

static void circles_are_told_by_their_members(void **state)
{
	device_refused(PQR(", \"before\": [\"q\"]", ", \"before\": [\"r\"]", ", \"before\": [\"p\"]"), "/attachments/0/before/0",
		       "p before q before r before p");
	device_refused(PQR("", ", \"after\": [\"r\"]", ", \"after\": [\"p\", \"q\"]"), "/attachments/2/after/1", "q before r before q");
	device_refused(PQR(", \"first\": true", ", \"before\": [\"p\"]", ""), "/attachments/0/first", "p before q before p");
	device_refused(PQR(", \"after\": [\"r\"]", "", ", \"last\": true"), "/attachments/2/last", "p before r before p");
	/* The same demand twice is none. */
	device_becomes(PQR(", \"before\": [\"q\"]", ", \"after\": [\"p\"]", ""),
		       "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"peer\": {\"name\": \"b\", "
		       "\"netns\": \"n\", \"policy\": \"pass\", \"scrub\": \"default\"}, \"attachments\": ["
		       "{\"name\": \"p\", \"hook\": \"netkit/peer\", \"program\": \"p\", \"before\": [\"q\"]}, "
		       "{\"name\": \"q\", \"hook\": \"netkit/peer\", \"program\": \"q\", \"after\": [\"p\"]}, "
		       "{\"name\": \"r\", \"hook\": \"netkit/peer\", \"program\": \"r\"}]}");
}

static void program_refused(const char *text, const char *pointer, const char *words)
{
	struct nk_program *p = NULL;
	struct nk_error err = {};
	json_t *json = parse(text);

	assert_int_equal(nk_decode_program(json, "", &p, &err), -EINVAL);
	assert_null(p);
	if (!has_pointer(&err, pointer) || !strstr(text_of(&err, 0), words))
		fail_msg("not \"%s\" at %s, but at %s: %s", words, pointer, pointer_of(&err, 0), text_of(&err, 0));
	json_decref(json);
	nk_error_clear(&err);
}

static void program_stays(const char *text)
{
	struct nk_program *p = NULL, *q = NULL;
	struct nk_error err = {};
	json_t *json = parse(text), *out;

	assert_int_equal(nk_decode_program(json, "", &p, &err), 0);
	out = nk_encode_program(p);
	assert_true(json_equal(json, out));
	assert_int_equal(nk_decode_program(out, "", &q, &err), 0);
	assert_true(nk_program_equal(p, q));
	nk_program_unref(p);
	nk_program_unref(q);
	json_decref(json);
	json_decref(out);
}

static void each_member_of_a_program(void **state)
{
	program_stays("{\"name\": \"p\", \"object\": \"/a.o\", \"program\": \"_f1\"}");
	program_stays("{\"name\": \"p\", \"pin\": \"/sys/fs/bpf/x\"}");
	program_refused("{\"name\": \"p\"}", "", "where is the program");
	program_refused("{\"name\": \"p\", \"object\": \"/a.o\"}", "", "\"program\" is missing");
	program_refused("{\"name\": \"p\", \"program\": \"f\"}", "", "where is the program");
	program_refused("{\"name\": \"p\", \"pin\": \"/x\", \"object\": \"/a.o\"}", "/pin", "either");
	program_refused("{\"name\": \"p\", \"object\": \"/a.o\", \"program\": \"f\", \"pin\": \"/x\"}", "/pin", "either");
	program_refused("{\"name\": \"p\", \"pin\": \"x\"}", "/pin", "slash");
	program_refused("{\"name\": \"p\", \"pin\": 1}", "/pin", "not an integer");
	program_refused("{\"name\": \"p\", \"object\": \"a.o\", \"program\": \"f\"}", "/object", "slash");
	program_refused("{\"name\": \"p\", \"object\": \"/a.o\", \"program\": \"1f\"}", "/program", "function");
	program_refused("{\"name\": \"p\", \"object\": \"/a.o\", \"program\": \"\"}", "/program", "empty");
	program_refused("{\"name\": \"a/b\", \"pin\": \"/x\"}", "/name", "");
	program_refused("{\"pin\": \"/x\"}", "", "\"name\" is missing");
}

#define OBJECT(more) "{\"name\": \"p\", \"object\": \"/a.o\", \"program\": \"f\", " more "}"
#define PASSED(id, tag, boot) \
	"{\"name\": \"p\", \"passed\": {\"id\": " id ", \"tag\": \"" tag "\", \"boot_id\": \"" boot "\"}}"
#define THIS_BOOT "01234567-89ab-cdef-0123-456789abcdef"
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void each_source_of_a_program(void **state)
{
	program_stays(OBJECT("\"sha256\": \"" DIGEST "\", \"maps\": {\"b\": \"/x\", \"_a1\": \"/y\"}, \"replace_maps\": true"));
	program_stays("{\"name\": \"p\", \"fd\": 0}");
	program_stays("{\"name\": \"p\", \"fd\": 252}");
	program_stays(PASSED("4294967295", "0123456789abcdef", THIS_BOOT));
	program_stays("{\"name\": \"p\", \"pin\": \"/x\", \"on_drift\": \"report\"}");

	program_refused(OBJECT("\"sha256\": \"" DIGEST "0\""), "/sha256", "");
	program_refused(OBJECT("\"sha256\": \"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\""), "/sha256",
			"lower case");
	program_refused(OBJECT("\"sha256\": \"\""), "/sha256", "64");
	program_refused(OBJECT("\"maps\": []"), "/maps", "not a list");
	program_refused(OBJECT("\"maps\": {\"a\": \"x\"}"), "/maps/a", "slash");
	program_refused(OBJECT("\"maps\": {\"a\": 1}"), "/maps/a", "an integer");
	program_refused(OBJECT("\"maps\": {\"a.b\": \"/x\"}"), "/maps/a.b", "name of a map");
	program_refused(OBJECT("\"maps\": {\"a/~\": \"/x\"}"), "/maps/a~1~0", "name of a map");
	program_refused(OBJECT("\"maps\": {\"" DIGEST "\": \"/x\"}"), "/maps/" DIGEST, "");
	program_refused(OBJECT("\"maps\": {\"a" DIGEST "\": \"/x\"}"), "/maps/a" DIGEST, "63 bytes");
	program_refused(OBJECT("\"replace_maps\": 1"), "/replace_maps", "true or false");
	program_refused(OBJECT("\"fd\": 0"), "/fd", "either");
	program_refused(OBJECT("\"on_drift\": \"leave\""), "/on_drift", "\"repair\", \"report\"");
	program_refused("{\"name\": \"p\", \"fd\": 253}", "/fd", "252");
	program_refused("{\"name\": \"p\", \"fd\": 0, \"pin\": \"/x\"}", "/fd", "either");
	program_refused("{\"name\": \"p\", \"fd\": 0, \"program\": \"f\"}", "/program", "object file");
	program_refused("{\"name\": \"p\", \"pin\": \"/x\", \"sha256\": \"" DIGEST "\"}", "/sha256", "object file");
	program_refused("{\"name\": \"p\", \"pin\": \"/x\", \"maps\": {}}", "/maps", "object file");
	program_refused("{\"name\": \"p\", \"passed\": {\"id\": 1}}", "/passed", "missing");
	program_refused(PASSED("0", "0123456789abcdef", THIS_BOOT), "/passed/id", "");
	program_refused(PASSED("1", "0123", THIS_BOOT), "/passed/tag", "16");
	program_refused(PASSED("1", "0123456789abcdef", "x"), "/passed/boot_id", "36");
}

static void peer_has_the_device_s_mtu(void **state)
{
	json_t *json = parse("{\"name\": \"a\", \"mtu\": 9000, \"peer\": {\"name\": \"b\", \"netns\": \"n\"}}");
	struct nk_device *d = NULL;
	struct nk_error err = {};

	assert_int_equal(nk_decode_device(json, "", &d, &err), 0);
	assert_true(d->end[NK_PEER].set & NK_SET_MTU);
	assert_int_equal(d->end[NK_PEER].mtu, 9000);
	nk_device_unref(d);
	json_decref(json);
	/* What follows by itself is not written; what differs is. */
	device_becomes("{\"name\": \"a\", \"mtu\": 9000, \"peer\": {\"name\": \"b\", \"netns\": \"n\", \"mtu\": 9000}}",
		       "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"mtu\": 9000, \"peer\": "
		       "{\"name\": \"b\", \"netns\": \"n\", \"policy\": \"pass\", \"scrub\": \"default\"}}");
	device_becomes("{\"name\": \"a\", \"mtu\": 9000, \"peer\": {\"name\": \"b\", \"netns\": \"n\", \"mtu\": 1400}}",
		       "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"mtu\": 9000, \"peer\": "
		       "{\"name\": \"b\", \"netns\": \"n\", \"policy\": \"pass\", \"scrub\": \"default\", \"mtu\": 1400}}");
}

static void the_order_of_lists_does_not_matter(void **state)
{
	static const char want[] = "{\"name\": \"a\", \"mode\": \"l3\", \"policy\": \"pass\", \"scrub\": \"default\", \"addresses\": "
				   "[\"10.0.0.1/24\", \"10.0.0.2/24\"], \"routes\": [{\"to\": \"10.1.0.0/16\"}, {\"to\": \"10.2.0.0/16\"}]}";

	device_becomes("{\"name\": \"a\", \"addresses\": [\"10.0.0.2/24\", \"10.0.0.1/24\"],"
		       " \"routes\": [{\"to\": \"10.2.0.0/16\"}, {\"to\": \"10.1.0.0/16\"}]}", want);
	device_becomes(want, want);
}

static void names_that_are_nearly_right(void **state)
{
	device_refused("{\"name\": \"a\", \"polcy\": \"drop\"}", "/polcy", "did you mean \"policy\"?");
	device_refused("{\"name\": \"a\", \"adresses\": []}", "/adresses", "did you mean \"addresses\"?");
	device_refused("{\"name\": \"a\", \"colour\": 1}", "/colour", "allowed are: name, mode, policy");
	device_refused("{\"name\": \"a\", \"a/b~c\": 1}", "/a~1b~0c", "unknown member");
	device_refused("{\"name\": \"a\", \"\": 1}", "/", "unknown member");
}

static void a_huge_name_is_not_repeated(void **state)
{
	size_t n = 100000;
	char *key = malloc(n + 1);
	json_t *json = json_pack("{s:s}", "name", "a");
	struct nk_device *d = NULL;
	struct nk_error err = {};

	memset(key, 'k', n);
	key[n] = '\0';
	json_object_set_new(json, key, json_true());
	assert_int_equal(nk_decode_device(json, "/d", &d, &err), -EINVAL);
	assert_string_equal(pointer_of(&err, 0), "/d");
	assert_non_null(strstr(text_of(&err, 0), "100000 bytes"));
	assert_true(strlen(text_of(&err, 0)) < 300);
	nk_error_clear(&err);
	json_object_del(json, key);
	json_object_set_new(json, "mode", json_string(key));
	assert_int_equal(nk_decode_device(json, "/d", &d, &err), -EINVAL);
	assert_true(strlen(text_of(&err, 0)) < 300);
	nk_error_clear(&err);
	json_decref(json);
	free(key);
}

static void every_problem_is_told(void **state)
{
	json_t *json = parse("{\"programs\": [{\"name\": \"p\", \"pin\": \"/a\"}, {\"name\": \"p\", \"pin\": \"b\"}],"
			     " \"devices\": [{\"name\": \"a\", \"mtu\": 1}, {\"name\": \"x\", \"nope\": 1, \"peer\": {\"name\": \"/\"}},"
			     " {\"name\": \"a\", \"policy\": 1}, 5], \"interfaces\": [{\"name\": \"eth0\"}, {\"name\": \"x\"}, {\"name\": \"eth0\","
			     " \"mtu\": 1500}], \"others\": []}");
	static const char *const places[] = {
		"/document/programs/1/pin", "/document/programs/1/name", "/document/devices/0/mtu", "/document/devices/1/nope",
		"/document/devices/1/peer/name", "/document/devices/2/policy", "/document/devices/2/name", "/document/devices/3",
		"/document/interfaces/1/name", "/document/interfaces/2/name", "/document/interfaces/2/mtu", "/document/others",
	};
	struct nk_document_input in = {};
	struct nk_error err = {};

	assert_int_equal(nk_decode_document(json, "/document", &in, &err), -EINVAL);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (!has_pointer(&err, places[i]))
			fail_msg("nothing is told of %s", places[i]);
	assert_int_equal(err.n_problems, sizeof(places) / sizeof(places[0]));
	assert_int_equal(in.n_devices, 0);
	nk_error_clear(&err);
	json_decref(json);
}

static void each_member_of_an_interface(void **state)
{
	static const char text[] = "{\"interfaces\": [{\"on_drift\": \"report\", \"attachments\": [{\"hook\": \"tcx/egress\", \"program\": \"p\", \"name\": \"a\"},"
				   "{\"name\": \"b\", \"hook\": \"tcx/ingress\", \"program\": \"p\", \"first\": true}],"
				   "\"name\": \"eth0\"}]}";
	json_t *json = parse(text), *out;
	struct nk_document_input in = {};
	struct nk_error err = {};
	struct nk_device *d = NULL;
	char *dump;

	assert_int_equal(nk_decode_document(json, "", &in, &err), 0);
	assert_int_equal(in.n_devices, 0);
	assert_int_equal(in.n_interfaces, 1);
	assert_true(in.interfaces[0]->interface && in.interfaces[0]->single);
	out = nk_encode_device(in.interfaces[0]);
	dump = json_dumps(out, JSON_COMPACT);
	assert_string_equal(dump, "{\"name\":\"eth0\",\"on_drift\":\"report\",\"attachments\":[{\"name\":\"a\",\"hook\":\"tcx/egress\",\"program\":\"p\"},"
				  "{\"name\":\"b\",\"hook\":\"tcx/ingress\",\"program\":\"p\",\"first\":true}]}");
	free(dump);
	nk_document_input_clear(&in);
	json_decref(json);
	assert_int_equal(nk_decode_interface(out, "", &d, &err), 0);
	nk_device_unref(d);
	/* What it says is nothing that a device may say, and the other way round. */
	assert_int_equal(nk_decode_device(out, "", &d, &err), -EINVAL);
	assert_true(has_pointer(&err, "/attachments/0/hook"));
	nk_error_clear(&err);
	json_decref(out);

	json = parse("{\"name\": \"eth0\", \"mode\": \"l3\", \"attachments\": [{\"name\": \"a\", \"hook\": \"tcx/ingress\", \"program\": \"p\"}]}");
	assert_int_equal(nk_decode_interface(json, "/x", &d, &err), -EINVAL);
	assert_true(has_pointer(&err, "/x/mode"));
	nk_error_clear(&err);
	json_decref(json);
	json = parse("{\"name\": \"eth0\", \"attachments\": [{\"name\": \"a\", \"hook\": \"netkit/peer\", \"program\": \"p\"},"
		     "{\"name\": \"b\", \"hook\": \"tcx/ingress\", \"program\": \"p\", \"required\": true}]}");
	assert_int_equal(nk_decode_interface(json, "/x", &d, &err), -EINVAL);
	assert_true(has_pointer(&err, "/x/attachments/0/hook"));
	assert_true(has_pointer(&err, "/x/attachments/1/required"));
	assert_int_equal(err.n_problems, 2);
	nk_error_clear(&err);
	json_decref(json);
}

static void empty_documents(void **state)
{
	static const char *const texts[] = {"{}", "{\"devices\": []}", "{\"devices\": [], \"programs\": []}"};

	for (size_t i = 0; i < 3; i++) {
		json_t *json = parse(texts[i]);
		struct nk_document_input in = {};
		struct nk_error err = {};

		assert_int_equal(nk_decode_document(json, "", &in, &err), 0);
		assert_int_equal(in.n_devices + in.n_programs, 0);
		nk_document_input_clear(&in);
		json_decref(json);
	}
}

static void document_is_written_by_name(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct nk_change change = {};
	const char *names[] = {"c", "a", "b", "aa"};
	json_t *out;
	char *text;

	for (size_t i = 0; i < 4; i++) {
		struct nk_device *d = nk_device_new();

		strcpy(d->end[NK_PRIMARY].name, names[i]);
		d->single = true;
		d->interface = i == 3;
		assert_int_equal(nk_document_put_device(doc, d, "", SIZE_MAX, &change), 0);
		nk_device_unref(d);
	}
	nk_change_clear(&change);
	out = nk_encode_document(doc);
	text = json_dumps(out, JSON_COMPACT);
	assert_string_equal(text, "{\"programs\":[],\"devices\":["
				  "{\"name\":\"a\",\"mode\":\"l3\",\"policy\":\"pass\",\"scrub\":\"default\"},"
				  "{\"name\":\"b\",\"mode\":\"l3\",\"policy\":\"pass\",\"scrub\":\"default\"},"
				  "{\"name\":\"c\",\"mode\":\"l3\",\"policy\":\"pass\",\"scrub\":\"default\"}],"
				  "\"interfaces\":[{\"name\":\"aa\"}]}");
	free(text);
	json_decref(out);
	nk_document_free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_word_of_an_end),
		cmocka_unit_test(each_number_of_an_end),
		cmocka_unit_test(each_address),
		cmocka_unit_test(each_member_of_a_route),
		cmocka_unit_test(each_form_of_a_netns),
		cmocka_unit_test(netns_is_read_into_its_kind),
		cmocka_unit_test(each_member_of_a_device),
		cmocka_unit_test(each_member_of_an_attachment),
		cmocka_unit_test(places_of_attachments),
		cmocka_unit_test(circles_are_told_by_their_members),
		cmocka_unit_test(each_member_of_a_program),
		cmocka_unit_test(each_source_of_a_program),
		cmocka_unit_test(peer_has_the_device_s_mtu),
		cmocka_unit_test(the_order_of_lists_does_not_matter),
		cmocka_unit_test(names_that_are_nearly_right),
		cmocka_unit_test(a_huge_name_is_not_repeated),
		cmocka_unit_test(every_problem_is_told),
		cmocka_unit_test(each_member_of_an_interface),
		cmocka_unit_test(empty_documents),
		cmocka_unit_test(document_is_written_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
