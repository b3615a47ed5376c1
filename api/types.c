// SPDX-License-Identifier: GPL-2.0-only
/*
 * The types of plain values: booleans, numbers, words, texts, times. Each is one set of functions that reads, writes and
 * describes it; see struct nk_type. They know the row they work for and nothing of the object around it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/json.h"
#include "api/table.h"

#define VALUE_SHOWN 64 /* bytes of a wrong value that are repeated to the sender */

/* ---- boolean: bool ---- */

static int bool_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	if (!json_is_boolean(json))
		return nk_decode_problem(d, "must be true or false, not %s", nk_json_kind(json));
	*(bool *)at = json_is_true(json);
	return 0;
}

static json_t *bool_encode(const struct nk_field *f, const void *at)
{
	return json_boolean(*(const bool *)at);
}

static json_t *bool_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s}", "type", "boolean");
}

static void bool_describe(const struct nk_field *f, FILE *out)
{
	fputs("true or false", out);
}

const struct nk_type nk_type_bool = {
	.decode = bool_decode,
	.encode = bool_encode,
	.schema = bool_schema,
	.describe = bool_describe,
};

/* ---- integers of 1, 2, 4 and 8 bytes ---- */

void nk_number_put(const struct nk_field *f, void *at, int64_t value)
{
	switch (f->size) {
	case 1:
		*(uint8_t *)at = (uint8_t)value;
		break;
	case 2:
		*(uint16_t *)at = (uint16_t)value;
		break;
	case 4:
		*(uint32_t *)at = (uint32_t)value;
		break;
	case 8:
		*(uint64_t *)at = (uint64_t)value;
		break;
	}
}

static uint64_t number_get(const struct nk_field *f, const void *at)
{
	switch (f->size) {
	case 1:
		return *(const uint8_t *)at;
	case 2:
		return *(const uint16_t *)at;
	case 4:
		return *(const uint32_t *)at;
	default:
		return *(const uint64_t *)at;
	}
}

/* A row without a range of its own may be anything that JSON's signed 64 bits and the storage hold, from 0. */
static int64_t number_max(const struct nk_field *f)
{
	if (f->max)
		return f->max;
	return f->size >= 8 ? INT64_MAX : (int64_t)((UINT64_C(1) << (8 * f->size)) - 1);
}

static int number_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	int64_t max = number_max(f), v;

	if (!json_is_integer(json))
		return nk_decode_problem(d, "must be an integer from %" PRId64 " to %" PRId64 ", not %s", f->min, max,
					 nk_json_kind(json));
	v = json_integer_value(json);
	if (v < f->min || v > max)
		return nk_decode_problem(d, "must be from %" PRId64 " to %" PRId64 ", not %" PRId64, f->min, max, v);
	nk_number_put(f, at, v);
	return 0;
}

static json_t *uint_encode(const struct nk_field *f, const void *at)
{
	uint64_t v = number_get(f, at);

	/* JSON's integers are signed here: what doesn't fit is told as the most that does, never as a negative number. */
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

static json_t *int_encode(const struct nk_field *f, const void *at)
{
	uint64_t v = number_get(f, at);

	if (f->size == 4)
		return json_integer((int32_t)v);
	return json_integer((json_int_t)v);
}

static json_t *number_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	int64_t max = number_max(f);

	if (max == INT64_MAX)
		return json_pack("{s:s,s:I}", "type", "integer", "minimum", (json_int_t)f->min);
	return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)f->min, "maximum", (json_int_t)max);
}

static void number_describe(const struct nk_field *f, FILE *out)
{
	int64_t max = number_max(f);

	if (f->max)
		fprintf(out, "integer, %" PRId64 " to %" PRId64, f->min, max);
	else if (f->min)
		fprintf(out, "integer, from %" PRId64, f->min);
	else
		fputs("integer", out);
}

const struct nk_type nk_type_uint = {
	.decode = number_decode,
	.encode = uint_encode,
	.schema = number_schema,
	.describe = number_describe,
};

const struct nk_type nk_type_int = {
	.decode = number_decode,
	.encode = int_encode,
	.schema = number_schema,
	.describe = number_describe,
};

/* ---- enum: a word, stored as its number in .names ---- */

/* The words of an enum, as a list for a sentence. Returns buf. */
static char *names_text(const char *const *names, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; names[i] && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s\"%s\"", i ? ", " : "", names[i]);
	return buf;
}

static int enum_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);
	char allowed[256];

	for (int64_t i = 0; text && f->names[i]; i++)
		if (strcmp(f->names[i], text) == 0) {
			nk_number_put(f, at, i);
			return 0;
		}
	names_text(f->names, allowed, sizeof(allowed));
	if (!text)
		return nk_decode_problem(d, "must be one of %s, not %s", allowed, nk_json_kind(json));
	return nk_decode_problem(d, "must be one of %s, not \"%.*s\"", allowed, (int)nk_utf8_clip(text, VALUE_SHOWN), text);
}

static json_t *enum_encode(const struct nk_field *f, const void *at)
{
	uint64_t v = number_get(f, at);

	for (uint64_t i = 0; f->names[i]; i++)
		if (i == v)
			return json_string_nocheck(f->names[i]);
	/* Not one of ours: what the kernel says is told as its number. */
	return json_sprintf("%" PRIu64, v);
}

static json_t *enum_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	json_t *words = json_array();

	for (size_t i = 0; f->names[i]; i++)
		json_array_append_new(words, json_string(f->names[i]));
	return json_pack("{s:o}", "enum", words);
}

static void enum_describe(const struct nk_field *f, FILE *out)
{
	for (size_t i = 0; f->names[i]; i++)
		fprintf(out, "%s`\"%s\"`", i ? " or " : "", f->names[i]);
}

const struct nk_type nk_type_enum = {
	.decode = enum_decode,
	.encode = enum_encode,
	.schema = enum_schema,
	.describe = enum_describe,
};

/* ---- texts: in the struct (chars) and behind a pointer (string) ---- */

static int text_check(const struct nk_field *f, const json_t *json, size_t max, struct nk_decode *d)
{
	const char *text = json_string_value(json), *problem;
	const char *what = f->what ? f->what : "a string";

	if (!text)
		return nk_decode_problem(d, "must be %s, not %s", what, nk_json_kind(json));
	problem = f->problem ? f->problem(text) : NULL;
	if (!problem && max && json_string_length(json) > max)
		return nk_decode_problem(d, "must be %s of at most %zu bytes, but has %zu", what, max, json_string_length(json));
	if (problem)
		return nk_decode_problem(d, "\"%.*s\"%s is not %s: %s", (int)nk_utf8_clip(text, VALUE_SHOWN), text,
					 text[nk_utf8_clip(text, VALUE_SHOWN)] ? "…" : "", what, problem);
	return 0;
}

static int chars_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	int r = text_check(f, json, f->size - 1, d);

	if (r < 0)
		return r;
	memcpy(at, json_string_value(json), json_string_length(json) + 1);
	return 0;
}

static json_t *chars_encode(const struct nk_field *f, const void *at)
{
	return nk_json_text(at);
}

static json_t *text_schema(const struct nk_field *f, size_t max)
{
	json_t *json = json_pack("{s:s}", "type", "string");

	if (!json)
		return NULL;
	if (f->problem && json_object_set_new(json, "minLength", json_integer(1)) < 0)
		goto fail;
	if (max && json_object_set_new(json, "maxLength", json_integer((json_int_t)max)) < 0)
		goto fail;
	if (f->pattern && json_object_set_new(json, "pattern", json_string(f->pattern)) < 0)
		goto fail;
	return json;
fail:
	json_decref(json);
	return NULL;
}

static json_t *chars_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return text_schema(f, f->size - 1);
}

static void text_describe(const struct nk_field *f, FILE *out)
{
	fputs(f->what ? f->what : "string", out);
}

static bool chars_empty(const struct nk_field *f, const void *at)
{
	return *(const char *)at == '\0';
}

const struct nk_type nk_type_chars = {
	.decode = chars_decode,
	.encode = chars_encode,
	.schema = chars_schema,
	.describe = text_describe,
	.empty = chars_empty,
};

static int string_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	int r = text_check(f, json, (size_t)f->max, d);
	char *copy;

	if (r < 0)
		return r;
	copy = strdup(json_string_value(json));
	if (!copy)
		return -ENOMEM;
	free(*(char **)at);
	*(char **)at = copy;
	return 0;
}

static json_t *string_encode(const struct nk_field *f, const void *at)
{
	const char *text = *(const char *const *)at;

	return nk_json_text(text ? text : "");
}

static json_t *string_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return text_schema(f, (size_t)f->max);
}

static void string_clear(const struct nk_field *f, void *at)
{
	free(*(char **)at);
	*(char **)at = NULL;
}

static bool string_empty(const struct nk_field *f, const void *at)
{
	const char *text = *(const char *const *)at;

	return !text || !text[0];
}

const struct nk_type nk_type_string = {
	.decode = string_decode,
	.encode = string_encode,
	.schema = string_schema,
	.describe = text_describe,
	.clear = string_clear,
	.empty = string_empty,
};

/* ---- json: a value that is JSON already; it is borrowed ---- */

static json_t *json_encode(const struct nk_field *f, const void *at)
{
	json_t *json = *(json_t *const *)at;

	if (json)
		return json_incref(json);
	return f->item ? json_array() : json_object();
}

static json_t *json_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	if (f->item)
		return json_pack("{s:s,s:o}", "type", "array", "items", f->item->type->schema(f->item, out));
	if (f->table)
		return nk_table_schema(f->table, out);
	return json_pack("{s:s}", "type", "object");
}

static void json_describe(const struct nk_field *f, FILE *out)
{
	if (f->item) {
		fputs("list of ", out);
		f->item->type->describe(f->item, out);
	} else if (f->table) {
		nk_table_describe(f->table, out);
	} else {
		fputs("object", out);
	}
}

const struct nk_type nk_type_json = {
	.encode = json_encode,
	.schema = json_schema,
	.describe = json_describe,
};

/* ---- time: microseconds since the epoch, RFC 3339 in UTC ---- */

static json_t *time_encode(const struct nk_field *f, const void *at)
{
	uint64_t us = *(const uint64_t *)at;
	time_t s = (time_t)(us / 1000000);
	char text[40], whole[32];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%06uZ", whole, (unsigned)(us % 1000000));
	return json_string(text);
}

static json_t *time_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s,s:s}", "type", "string", "format", "date-time");
}

static void time_describe(const struct nk_field *f, FILE *out)
{
	fputs("time, RFC 3339 in UTC with microseconds", out);
}

const struct nk_type nk_type_time = {
	.encode = time_encode,
	.schema = time_schema,
	.describe = time_describe,
};

/* ---- errno: its name ---- */

static json_t *errno_encode(const struct nk_field *f, const void *at)
{
	const char *name = strerrorname_np(*(const int *)at);

	return name ? json_string(name) : json_sprintf("%d", *(const int *)at);
}

static json_t *errno_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s}", "type", "string");
}

static void errno_describe(const struct nk_field *f, FILE *out)
{
	fputs("name of an errno, `\"EPERM\"`", out);
}

const struct nk_type nk_type_errno = {
	.encode = errno_encode,
	.schema = errno_schema,
	.describe = errno_describe,
};
