// SPDX-License-Identifier: GPL-2.0-only
/*
 * The types of network values: MAC and IP addresses, prefixes, destinations of routes, namespaces. Parsing and printing are the
 * model's; here stands what is taken from a client and how it is said on the socket.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract_shared.h"
#include "api/json.h"
#include "daemon/model/value.h"

#define VALUE_SHOWN 64 /* bytes of a wrong value that are repeated to the sender */
#define NETNS_NAME_MAX 255
#define NETNS_PATH_MAX 4095

static int wrong(const char *text, const char *what, struct nk_decode *d)
{
	return nk_decode_problem(d, "\"%.*s\" is not %s", (int)nk_utf8_clip(text, VALUE_SHOWN), text, what);
}

/* ---- mac: uint8_t[6] ---- */

static int mac_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);
	uint8_t mac[6];

	if (!text)
		return nk_decode_problem(d, "must be a MAC address like \"02:00:00:00:00:01\", not %s", nk_json_kind(json));
	if (strlen(text) != 17)
		return wrong(text, "a MAC address: six pairs of hexadecimal digits with colons are expected", d);
	for (size_t i = 0; i < 6; i++) {
		const char *p = text + 3 * i;

		if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1]) || (i < 5 && p[2] != ':'))
			return wrong(text, "a MAC address: six pairs of hexadecimal digits with colons are expected", d);
		mac[i] = (uint8_t)strtoul(p, NULL, 16);
	}
	memcpy(at, mac, sizeof(mac));
	return 0;
}

static json_t *mac_encode(const struct nk_field *f, const void *at)
{
	const uint8_t *m = at;

	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static json_t *mac_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$");
}

static void mac_describe(const struct nk_field *f, FILE *out)
{
	fputs("MAC address, `\"02:00:00:00:00:01\"`", out);
}

const struct nk_type nk_type_mac = {
	.decode = mac_decode,
	.encode = mac_encode,
	.schema = mac_schema,
	.describe = mac_describe,
};

/* ---- ip, address, prefix ---- */

static bool ip_is_zero(const struct nk_ip *ip)
{
	static const uint8_t zero[16];

	return memcmp(ip->b, zero, ip->len) == 0;
}

static bool ip_is_multicast(const struct nk_ip *ip)
{
	return ip->len == 4 ? ip->b[0] >= 224 : ip->b[0] == 0xff;
}

static int ip_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);
	struct nk_ip ip;

	if (!text)
		return nk_decode_problem(d, "must be an IPv4 or IPv6 address, not %s", nk_json_kind(json));
	if (nk_ip_parse(text, &ip) < 0)
		return wrong(text, "an IPv4 or IPv6 address (without a prefix length)", d);
	if (ip_is_zero(&ip) || ip_is_multicast(&ip))
		return wrong(text, "the address of one host: it is unspecified, broadcast or multicast", d);
	*(struct nk_ip *)at = ip;
	return 0;
}

static json_t *ip_encode(const struct nk_field *f, const void *at)
{
	char buf[NK_PREFIX_STRLEN];

	return json_string_nocheck(nk_ip_format(at, buf));
}

static json_t *ip_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "anyOf", "type", "string", "format", "ipv4", "type", "string", "format",
			 "ipv6");
}

static void ip_describe(const struct nk_field *f, FILE *out)
{
	fputs("IP address", out);
}

static bool ip_empty(const struct nk_field *f, const void *at)
{
	return ((const struct nk_ip *)at)->len == 0;
}

const struct nk_type nk_type_ip = {
	.decode = ip_decode,
	.encode = ip_encode,
	.schema = ip_schema,
	.describe = ip_describe,
	.empty = ip_empty,
};

/* Clear the bits behind the prefix; true if there were any. */
static bool mask_host_bits(struct nk_prefix *p)
{
	bool had = false;

	for (unsigned i = 0; i < p->ip.len; i++) {
		unsigned first = i * 8;
		uint8_t keep = p->plen >= first + 8 ? 0xff : p->plen <= first ? 0 : (uint8_t)(0xff << (first + 8 - p->plen));

		had = had || (p->ip.b[i] & (uint8_t)~keep);
		p->ip.b[i] &= keep;
	}
	return had;
}

/* A network: no bits behind the prefix. */
static int prefix_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);
	char buf[NK_PREFIX_STRLEN];
	struct nk_prefix p;

	if (!text)
		return nk_decode_problem(d, "must be a network like \"10.1.0.0/16\", not %s", nk_json_kind(json));
	if (nk_prefix_parse(text, &p) < 0)
		return wrong(text, "a network: an IPv4 or IPv6 address with a prefix length is expected, like \"10.1.0.0/16\"", d);
	if (mask_host_bits(&p))
		return nk_decode_problem(d, "\"%s\" has bits behind its prefix length; is \"%s\" meant?", text,
					 nk_prefix_format(&p, buf));
	*(struct nk_prefix *)at = p;
	return 0;
}

/* An address of an end with its prefix length. */
static int address_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);
	struct nk_prefix p;

	if (!text)
		return nk_decode_problem(d, "must be an address like \"10.0.0.1/24\", not %s", nk_json_kind(json));
	if (nk_prefix_parse(text, &p) < 0)
		return wrong(text, "an address: IPv4 or IPv6 with a prefix length is expected, like \"10.0.0.1/24\"", d);
	*(struct nk_prefix *)at = p;
	return 0;
}

static json_t *prefix_encode(const struct nk_field *f, const void *at)
{
	char buf[NK_PREFIX_STRLEN];

	return json_string_nocheck(nk_prefix_format(at, buf));
}

static json_t *prefix_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$");
}

static void prefix_describe(const struct nk_field *f, FILE *out)
{
	fputs("network, `\"10.1.0.0/16\"`", out);
}

static void address_describe(const struct nk_field *f, FILE *out)
{
	fputs("address with prefix length, `\"10.0.0.1/24\"`; without one it is a host's (/32, /128)", out);
}

const struct nk_type nk_type_prefix = {
	.decode = prefix_decode,
	.encode = prefix_encode,
	.schema = prefix_schema,
	.describe = prefix_describe,
};

const struct nk_type nk_type_address = {
	.decode = address_decode,
	.encode = prefix_encode,
	.schema = prefix_schema,
	.describe = address_describe,
};

/* ---- destination: struct nk_route.to; "default" gets its family from via and src, when the whole route is read ---- */

static int destination_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);

	if (text && strcmp(text, "default") == 0) {
		*(struct nk_prefix *)at = (struct nk_prefix){};
		return 0;
	}
	return prefix_decode(f, json, at, d);
}

static json_t *destination_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:[{s:s},o]}", "anyOf", "const", "default", prefix_schema(f, out));
}

static void destination_describe(const struct nk_field *f, FILE *out)
{
	fputs("`\"default\"` or ", out);
	prefix_describe(f, out);
}

const struct nk_type nk_type_destination = {
	.decode = destination_decode,
	.encode = prefix_encode,
	.schema = destination_schema,
	.describe = destination_describe,
};

/* ---- netns: a text, or one of three objects ---- */

/* A 64-bit number that a client shall not count with: a decimal string. */
static int cookie_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);
	char *end = NULL;
	uint64_t v = 0;

	errno = 0;
	if (text && text[0] >= '0' && text[0] <= '9')
		v = strtoull(text, &end, 10);
	if (!end || *end || errno || v == 0)
		return nk_decode_problem(d, "must be a cookie as netkitd gave it out: a string of decimal digits");
	*(uint64_t *)at = v;
	return 0;
}

static json_t *cookie_encode(const struct nk_field *f, const void *at)
{
	return json_sprintf("%" PRIu64, *(const uint64_t *)at);
}

static json_t *cookie_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", "^[0-9]{1,20}$");
}

static void cookie_describe(const struct nk_field *f, FILE *out)
{
	fputs("string of decimal digits", out);
}

static const struct nk_type type_cookie = {
	.decode = cookie_decode,
	.encode = cookie_encode,
	.schema = cookie_schema,
	.describe = cookie_describe,
};

const char *nk_boot_id_problem(const char *text)
{
	if (strlen(text) != 36)
		return "36 characters are expected, as in /proc/sys/kernel/random/boot_id";
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !strchr("0123456789abcdef", text[i]))
			return "hexadecimal digits and dashes are expected, as in /proc/sys/kernel/random/boot_id";
	}
	return NULL;
}

#define BOOT_ID_ROW                                                                                                            \
	{                                                                                                                      \
		.name = "boot_id", .type = &nk_type_chars, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_netns, boot_id),            \
		.problem = nk_boot_id_problem, .what = "a boot id",                                                               \
		.pattern = NK_BOOT_ID_PATTERN,                                                      \
		.text = "The boot in which the number means something. netkitd adds it when it accepts the document; a "       \
			"reference from another boot is never followed."                                                       \
	}

static const struct nk_field pid_fields[] = {
	{.name = "pid", .type = &nk_type_uint, .flags = NK_REQUIRED, NK_AT(struct nk_netns, number), .min = 1, .max = 4194304,
	 .text = "A process in the namespace, by its number where netkitd runs."},
	{.name = "start", .type = &nk_type_uint, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_netns, start),
	 .text = "When the process started, in clock ticks since boot. netkitd adds it when it accepts the document, so that a "
		 "reused number is not taken for the same process."},
	BOOT_ID_ROW,
};

static const struct nk_field fd_fields[] = {
	{.name = "fd", .type = &nk_type_uint, .flags = NK_REQUIRED, NK_AT(struct nk_netns, number), .min = 0, .max = 252,
	 .text = "Which of the descriptors sent with the message (SCM_RIGHTS) is the namespace, from 0. Accepted, it becomes a "
		 "cookie."},
};

static const struct nk_field cookie_fields[] = {
	{.name = "cookie", .type = &type_cookie, .flags = NK_REQUIRED, NK_AT(struct nk_netns, number),
	 .text = "The namespace's cookie (SO_NETNS_COOKIE): what a passed descriptor becomes. Taken back as it was given out, so that "
		 "what `state.get` returns can be applied again; it means something until the next boot only."},
	{.name = "inode", .type = &nk_type_uint, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_netns, start),
	 .text = "The namespace's inode: where to look for it."},
	BOOT_ID_ROW,
};

static const struct nk_table table_pid = {
	.name = "netns_pid",
	.text = "The network namespace of a process.",
	.size = sizeof(struct nk_netns),
	NK_FIELDS(pid_fields),
};

static const struct nk_table table_fd = {
	.name = "netns_fd",
	.text = "A network namespace passed as a descriptor.",
	.size = sizeof(struct nk_netns),
	NK_FIELDS(fd_fields),
};

static const struct nk_table table_cookie = {
	.name = "netns_cookie",
	.text = "A network namespace that was passed as a descriptor before.",
	.size = sizeof(struct nk_netns),
	NK_FIELDS(cookie_fields),
};

static int netns_text(const char *text, struct nk_netns *ns, struct nk_decode *d)
{
	bool path = text[0] == '/';
	size_t len = strlen(text);

	if (len == 0)
		return nk_decode_problem(d, "is empty; leave \"netns\" out for the host's own namespace");
	if (!path && (strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0 || len > NETNS_NAME_MAX))
		return wrong(text, "the name of a namespace under /run/netns: at most 255 bytes without a slash, not \".\" or "
			     "\"..\"; or give an absolute path", d);
	if (path && len > NETNS_PATH_MAX)
		return nk_decode_problem(d, "is a path of %zu bytes; at most %d are allowed", len, NETNS_PATH_MAX);
	ns->path = strdup(text);
	if (!ns->path)
		return -ENOMEM;
	ns->kind = path ? NK_NETNS_PATH : NK_NETNS_NAME;
	return 0;
}

static int netns_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	static const struct {
		const struct nk_table *table;
		enum nk_netns_kind kind;
	} forms[] = {{&table_pid, NK_NETNS_PID}, {&table_fd, NK_NETNS_FD}, {&table_cookie, NK_NETNS_ID}};
	struct nk_netns *ns = at;

	if (json_is_string(json))
		return netns_text(json_string_value(json), ns, d);
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (json_object_get(json, forms[i].table->fields[0].name)) {
			ns->kind = forms[i].kind;
			return nk_table_decode(forms[i].table, json, ns, d);
		}
	return nk_decode_problem(d, "must be the name of a namespace under /run/netns, an absolute path, {\"pid\": N} or {\"fd\": K}; "
				 "this is %s", json_is_object(json) ? "an object with none of these members" : nk_json_kind(json));
}

static json_t *netns_encode(const struct nk_field *f, const void *at)
{
	const struct nk_netns *ns = at;

	switch (ns->kind) {
	case NK_NETNS_HOST:
		return json_null();
	case NK_NETNS_NAME:
	case NK_NETNS_PATH:
		return nk_json_text(ns->path);
	case NK_NETNS_PID:
		return nk_table_encode(&table_pid, ns);
	case NK_NETNS_FD:
		return nk_table_encode(&table_fd, ns);
	case NK_NETNS_ID:
		return nk_table_encode(&table_cookie, ns);
	}
	return json_null();
}

static json_t *netns_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:[{s:s,s:i,s:i,s:s},o,o,o]}", "anyOf", "type", "string", "minLength", 1, "maxLength", NETNS_PATH_MAX,
			 "pattern", "^(/.*|(?!\\.{1,2}$)[^/]{1,255})$", nk_table_schema(&table_pid, out),
			 nk_table_schema(&table_fd, out), nk_table_schema(&table_cookie, out));
}

static void netns_describe(const struct nk_field *f, FILE *out)
{
	fputs("name under /run/netns, absolute path, ", out);
	nk_table_describe(&table_pid, out);
	fputs(", ", out);
	nk_table_describe(&table_fd, out);
	fputs(" or ", out);
	nk_table_describe(&table_cookie, out);
}

static void netns_clear(const struct nk_field *f, void *at)
{
	nk_netns_clear(at);
}

static bool netns_empty(const struct nk_field *f, const void *at)
{
	return ((const struct nk_netns *)at)->kind == NK_NETNS_HOST;
}

static const struct nk_table *const netns_tables[] = {&table_pid, &table_fd, &table_cookie, NULL};

const struct nk_type nk_type_netns = {
	.decode = netns_decode,
	.encode = netns_encode,
	.schema = netns_schema,
	.describe = netns_describe,
	.clear = netns_clear,
	.empty = netns_empty,
	.tables = netns_tables,
};
