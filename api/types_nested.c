// SPDX-License-Identifier: GPL-2.0-only
/*
 * The types that hold other values: object, reference, list, include. Each leads a walker one step further down.
 */
#include <errno.h>
#include <stdlib.h>

#include "api/table.h"

/* ---- object: a struct inside the struct; its rows may also be those of the struct itself (a group) ---- */

static int object_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	return nk_table_decode(f->table, json, at, d);
}

static json_t *object_encode(const struct nk_field *f, const void *at)
{
	return nk_table_encode(f->table, at);
}

static json_t *object_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return nk_table_schema(f->table, out);
}

static void object_describe(const struct nk_field *f, FILE *out)
{
	nk_table_describe(f->table, out);
}

static void object_clear(const struct nk_field *f, void *at)
{
	nk_table_clear(f->table, at);
}

const struct nk_type nk_type_object = {
	.decode = object_decode,
	.encode = object_encode,
	.schema = object_schema,
	.describe = object_describe,
	.clear = object_clear,
};

/* An include is walked by the table that holds it; only clearing is the same as for an object. */
const struct nk_type nk_type_include = {.clear = object_clear};

/* ---- ref: a struct behind a pointer ---- */

static int ref_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	void *obj = f->table->create();
	int r;

	if (!obj)
		return -ENOMEM;
	r = nk_table_decode(f->table, json, obj, d);
	if (r < 0) {
		f->table->drop(obj);
		return r;
	}
	*(void **)at = obj;
	return 0;
}

static json_t *ref_encode(const struct nk_field *f, const void *at)
{
	return nk_table_encode(f->table, *(void *const *)at);
}

static void ref_clear(const struct nk_field *f, void *at)
{
	void **p = at;

	if (*p && f->table->drop)
		f->table->drop(*p);
	*p = NULL;
}

const struct nk_type nk_type_ref = {
	.decode = ref_decode,
	.encode = ref_encode,
	.schema = object_schema,
	.describe = object_describe,
	.clear = ref_clear,
};

/* ---- list ---- */

static size_t list_count(const struct nk_field *f, const void *at)
{
	const char *p = (const char *)at + f->count_at;

	return f->count_size == 4 ? *(const uint32_t *)p : *(const size_t *)p;
}

static void list_set_count(const struct nk_field *f, void *at, size_t n)
{
	char *p = (char *)at + f->count_at;

	if (f->count_size == 4)
		*(uint32_t *)p = (uint32_t)n;
	else
		*(size_t *)p = n;
}

static void list_clear(const struct nk_field *f, void *at)
{
	char **items = at;
	size_t n = list_count(f, at);

	if (f->item->type->clear)
		for (size_t i = 0; i < n; i++)
			f->item->type->clear(f->item, *items + i * f->item->size);
	free(*items);
	*items = NULL;
	list_set_count(f, at, 0);
}

static int list_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	struct nk_place here = {.up = d->place};
	size_t n = json_array_size(json);
	int result = 0;
	char *items;

	if (!json_is_array(json))
		return nk_decode_problem(d, "must be a list, not %s", nk_json_kind(json));
	if (f->max && n > (uint64_t)f->max)
		return nk_decode_problem(d, "has %zu elements; at most %lld are allowed", n, (long long)f->max);
	if (n == 0)
		return 0;

	items = calloc(n, f->item->size);
	if (!items)
		return -ENOMEM;
	/* The list belongs to the object at once, so that whoever gives up the object frees it in each case. */
	*(char **)at = items;
	list_set_count(f, at, n);
	for (size_t i = 0; i < n; i++) {
		int r;

		here.index = i;
		d->place = &here;
		r = f->item->type->decode(f->item, json_array_get(json, i), items + i * f->item->size, d);
		d->place = here.up;
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			result = r;
	}
	return result;
}

static json_t *list_encode(const struct nk_field *f, const void *at)
{
	const char *items = *(char *const *)at;
	size_t n = list_count(f, at);
	json_t *json = json_array();

	for (size_t i = 0; json && i < n; i++)
		if (json_array_append_new(json, f->item->type->encode(f->item, items + i * f->item->size)) < 0) {
			json_decref(json);
			return NULL;
		}
	return json;
}

static json_t *list_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	json_t *json = json_object();

	if (!json)
		return NULL;
	if (json_object_set_new(json, "type", json_string("array")) < 0 ||
	    json_object_set_new(json, "items", f->item->type->schema(f->item, out)) < 0 ||
	    (f->max && json_object_set_new(json, "maxItems", json_integer(f->max)) < 0)) {
		json_decref(json);
		return NULL;
	}
	return json;
}

static void list_describe(const struct nk_field *f, FILE *out)
{
	fputs("list of ", out);
	f->item->type->describe(f->item, out);
	if (f->max)
		fprintf(out, ", at most %lld", (long long)f->max);
}

static bool list_empty(const struct nk_field *f, const void *at)
{
	return list_count(f, at) == 0;
}

const struct nk_type nk_type_list = {
	.decode = list_decode,
	.encode = list_encode,
	.schema = list_schema,
	.describe = list_describe,
	.clear = list_clear,
	.empty = list_empty,
};
