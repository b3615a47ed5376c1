// SPDX-License-Identifier: GPL-2.0-only
/*
 * The type of what an attachment stands before or after: the name of another, or an object that tells a program of somebody else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "api/contract_shared.h"
#include "api/json.h"

#define TAG_PATTERN "^[0-9a-f]{16}$"

/* ---- a tag: 16 hexadecimal digits ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int tag_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	const char *text = json_string_value(json);
	uint8_t *tag = at;

	if (!text || strlen(text) != 2 * f->size)
		return nk_decode_problem(d, "must be a program's tag as bpftool shows it: 16 hexadecimal digits");
	for (size_t i = 0; i < f->size; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return nk_decode_problem(d, "must be a program's tag as bpftool shows it: 16 hexadecimal digits, letters "
						    "small");
		tag[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static json_t *tag_encode(const struct nk_field *f, const void *at)
{
	const uint8_t *tag = at;
	char text[17];

	for (size_t i = 0; i < f->size; i++)
		snprintf(text + 2 * i, 3, "%02x", tag[i]);
	return json_string(text);
}

static json_t *tag_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", TAG_PATTERN);
}

static void tag_describe(const struct nk_field *f, FILE *out)
{
	fputs("16 hexadecimal digits", out);
}

static const struct nk_type type_tag = {
	.decode = tag_decode,
	.encode = tag_encode,
	.schema = tag_schema,
	.describe = tag_describe,
};

/* ---- the three objects ---- */

static const struct nk_field id_fields[] = {
	{.name = "id", .type = &nk_type_uint, .flags = NK_REQUIRED, NK_AT(struct nk_anchor, id), .min = 1, .max = UINT32_MAX,
	 .text = "The kernel's id of the program. It goes with the program, and is another one after the next load."},
};

static const struct nk_field tag_fields[] = {
	{.name = "tag", .type = &type_tag, .flags = NK_REQUIRED, NK_AT(struct nk_anchor, tag),
	 .text = "The kernel's digest of the program's instructions. Where several programs in the chain have it, all are meant."},
};

static const struct nk_field pin_fields[] = {
	{.name = "pin", .type = &nk_type_string, .flags = NK_REQUIRED, NK_AT(struct nk_anchor, text), .max = NK_PATH_BYTES,
	 .problem = nk_path_problem, .pattern = "^/", .what = "an absolute path",
	 .text = "Where the program, or the link that holds it, is pinned in a BPF file system."},
};

static const struct nk_table table_id = {
	.name = "anchor_id",
	.text = "A program of somebody else, by its kernel id.",
	.size = sizeof(struct nk_anchor),
	NK_FIELDS(id_fields),
};

static const struct nk_table table_tag = {
	.name = "anchor_tag",
	.text = "A program of somebody else, by its tag.",
	.size = sizeof(struct nk_anchor),
	NK_FIELDS(tag_fields),
};

static const struct nk_table table_pin = {
	.name = "anchor_pin",
	.text = "A program of somebody else, by its pin.",
	.size = sizeof(struct nk_anchor),
	NK_FIELDS(pin_fields),
};

/* ---- the anchor ---- */

static int anchor_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	static const struct {
		const struct nk_table *table;
		enum nk_anchor_kind kind;
	} forms[] = {{&table_id, NK_ANCHOR_ID}, {&table_tag, NK_ANCHOR_TAG}, {&table_pin, NK_ANCHOR_PIN}};
	struct nk_anchor *a = at;
	const char *name = json_string_value(json), *problem;

	if (name) {
		problem = nk_name_problem(name);
		if (problem)
			return nk_decode_problem(d, "\"%.*s\" is not the name of an attachment: %s", (int)nk_utf8_clip(name, NK_NAME_MAX),
						 name, problem);
		a->kind = NK_ANCHOR_NAME;
		a->text = strdup(name);
		return a->text ? 0 : -ENOMEM;
	}
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (json_object_get(json, forms[i].table->fields[0].name)) {
			a->kind = (uint8_t)forms[i].kind;
			return nk_table_decode(forms[i].table, json, a, d);
		}
	return nk_decode_problem(d, "must be the name of an attachment, {\"id\": N}, {\"tag\": \"…\"} or {\"pin\": \"/…\"}; this is %s",
				 json_is_object(json) ? "an object with none of these members" : nk_json_kind(json));
}

static json_t *anchor_encode(const struct nk_field *f, const void *at)
{
	const struct nk_anchor *a = at;

	switch ((enum nk_anchor_kind)a->kind) {
	case NK_ANCHOR_NAME:
		return nk_json_text(a->text);
	case NK_ANCHOR_ID:
		return nk_table_encode(&table_id, a);
	case NK_ANCHOR_TAG:
		return nk_table_encode(&table_tag, a);
	case NK_ANCHOR_PIN:
		return nk_table_encode(&table_pin, a);
	}
	return NULL;
}

static json_t *anchor_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:[{s:s,s:s},o,o,o]}", "anyOf", "type", "string", "pattern", NK_NAME_PATTERN, nk_table_schema(&table_id, out),
			 nk_table_schema(&table_tag, out), nk_table_schema(&table_pin, out));
}

static void anchor_describe(const struct nk_field *f, FILE *out)
{
	fputs("(name of an attachment, ", out);
	nk_table_describe(&table_id, out);
	fputs(", ", out);
	nk_table_describe(&table_tag, out);
	fputs(" or ", out);
	nk_table_describe(&table_pin, out);
	fputs(")", out);
}

static void anchor_clear(const struct nk_field *f, void *at)
{
	struct nk_anchor *a = at;

	free(a->text);
	memset(a, 0, sizeof(*a));
}

static const struct nk_table *const anchor_tables[] = {&table_id, &table_tag, &table_pin, NULL};

const struct nk_type nk_type_anchor = {
	.decode = anchor_decode,
	.encode = anchor_encode,
	.schema = anchor_schema,
	.describe = anchor_describe,
	.clear = anchor_clear,
	.tables = anchor_tables,
};
