// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walkers that read and write objects by their tables; see table.h. It knows no row of the contract and no type but include,
 * whose rows it walks as if they stood in the table that names it.
 */
#include "api/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/json.h"

#define KEY_SHOWN 128 /* bytes of a wrong member's name that are repeated to the sender */

/* ---- places ---- */

static void pointer_write(const struct nk_place *p, FILE *out)
{
	if (!p)
		return;
	pointer_write(p->up, out);
	if (!p->key) {
		fprintf(out, "/%zu", p->index);
		return;
	}
	fputc('/', out);
	for (const char *c = p->key; *c; c++) {
		if (*c == '~')
			fputs("~0", out);
		else if (*c == '/')
			fputs("~1", out);
		else
			fputc(*c, out);
	}
}

char *nk_decode_pointer(const struct nk_decode *d)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	fputs(d->pointer, out);
	pointer_write(d->place, out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int problem_va(struct nk_decode *d, const char *format, va_list args)
{
	char *pointer = NULL, *text = NULL;
	int r;

	/* What would not be kept need not be written: ten thousand wrong devices cost a count. */
	if (d->err->n_problems < NK_ERROR_PROBLEMS_MAX) {
		pointer = nk_decode_pointer(d);
		if (vasprintf(&text, format, args) < 0)
			text = NULL;
	}
	r = nk_error_at(d->err, NK_E_INVALID_PARAMS, pointer ? pointer : d->pointer, "%s", text ? text : "wrong");
	free(pointer);
	free(text);
	return r;
}

int nk_decode_problem(struct nk_decode *d, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = problem_va(d, format, args);
	va_end(args);
	return r;
}

int nk_decode_problem_in(struct nk_decode *d, const char *member, const char *format, ...)
{
	const struct nk_place here = {.up = d->place, .key = member};
	va_list args;
	int r;

	d->place = &here;
	va_start(args, format);
	r = problem_va(d, format, args);
	va_end(args);
	d->place = here.up;
	return r;
}

const char *nk_json_kind(const json_t *json)
{
	if (!json)
		return "nothing";
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		return "null";
	}
	return "something else";
}

/* ---- presence and defaults ---- */

static uint32_t presence_word(const struct nk_field *f, const void *obj)
{
	const char *at = (const char *)obj + f->has.offset;
	uint32_t word;

	if (f->has.size == 1)
		return *(const uint8_t *)at;
	memcpy(&word, at, sizeof(word));
	return word;
}

static void presence_put(const struct nk_field *f, void *obj, uint32_t value)
{
	uint32_t word = (presence_word(f, obj) & ~f->has.mask) | value;
	char *at = (char *)obj + f->has.offset;

	if (f->has.size == 1)
		*(uint8_t *)at = (uint8_t)word;
	else
		memcpy(at, &word, sizeof(word));
}

static bool is_present(const struct nk_field *f, const void *obj)
{
	return f->has.size == 0 || (presence_word(f, obj) & f->has.mask) == f->has.value;
}

/* Put the defaults of the rows into obj. 0 or -ENOMEM. */
static int put_defaults(const struct nk_table *t, void *obj)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];
		char *at = (char *)obj + f->offset;

		if (f->type == &nk_type_include || f->type == &nk_type_object) {
			int r = put_defaults(f->table, at);

			if (r < 0)
				return r;
		}
		/* Zeroed storage must not say that a member is there which was not sent. */
		if (f->has.size && f->has.value == 0)
			presence_put(f, obj, f->has.mask);
		if (!(f->flags & NK_DEFAULT))
			continue;
		if (f->def_text) {
			char *copy = strdup(f->def_text);

			if (!copy)
				return -ENOMEM;
			free(*(char **)at);
			*(char **)at = copy;
		} else if (f->def != 0) {
			nk_number_put(f, at, f->def);
		}
	}
	return 0;
}

/* ---- decode ---- */

/* The row of a member, also in included tables; *obj becomes the struct that it belongs to. */
static const struct nk_field *find(const struct nk_table *t, const char *key, char **obj)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];

		if (f->type == &nk_type_include) {
			char *inner = *obj + f->offset;
			const struct nk_field *found = find(f->table, key, &inner);

			if (found) {
				*obj = inner;
				return found;
			}
		} else if (f->name[0] == key[0] && strcmp(f->name, key) == 0) {
			return f;
		}
	}
	return NULL;
}

/* Number of single-letter changes between two words, given up above 3. Both are short: longer ones are not compared. */
static unsigned distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned row[33];

	if (la > 32 || lb > 32)
		return 99;
	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned corner = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

static void nearest(const struct nk_table *t, const char *key, const char **best, unsigned *best_distance)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];
		unsigned n;

		if (f->type == &nk_type_include) {
			nearest(f->table, key, best, best_distance);
			continue;
		}
		n = distance(f->name, key);
		if (n < *best_distance) {
			*best_distance = n;
			*best = f->name;
		}
	}
}

static void list_names(const struct nk_table *t, FILE *out, bool *first)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];

		if (f->type == &nk_type_include) {
			list_names(f->table, out, first);
			continue;
		}
		fprintf(out, "%s%s", *first ? "" : ", ", f->name);
		*first = false;
	}
}

static int unknown_member(const struct nk_table *t, const char *key, struct nk_decode *d)
{
	size_t shown = nk_utf8_clip(key, KEY_SHOWN);
	const char *best = NULL;
	unsigned best_distance = 3;
	char *names = NULL;
	size_t size;
	bool first = true;
	FILE *out;
	int r;

	/* A name too long to be repeated is no place either: the problem is told at the object. */
	if (key[shown])
		return nk_decode_problem(d, "unknown member, %zu bytes long, beginning \"%.*s\"", strlen(key), (int)shown, key);

	nearest(t, key, &best, &best_distance);
	if (best && best_distance < strlen(best))
		return nk_decode_problem_in(d, key, "unknown member \"%s\"; did you mean \"%s\"?", key, best);

	out = open_memstream(&names, &size);
	if (!out)
		return -ENOMEM;
	list_names(t, out, &first);
	fclose(out);
	r = nk_decode_problem_in(d, key, "unknown member \"%s\"; %s%s", key, first ? "none is allowed here" : "allowed are: ",
				 names ? names : "");
	free(names);
	return r;
}

/* Required members that were not sent. */
static int missing(const struct nk_table *t, const json_t *json, struct nk_decode *d)
{
	int result = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];

		if (f->type == &nk_type_include) {
			int r = missing(f->table, json, d);

			if (r < 0)
				result = r;
		} else if ((f->flags & NK_REQUIRED) && !json_object_get(json, f->name)) {
			result = nk_decode_problem(d, "member \"%s\" is missing", f->name);
		}
	}
	return result;
}

int nk_table_decode(const struct nk_table *t, const json_t *json, void *obj, struct nk_decode *d)
{
	struct nk_place here = {.up = d->place};
	int result = 0, r;

	if (!json_is_object(json))
		return nk_decode_problem(d, "must be an object (%s), not %s", t->name, nk_json_kind(json));
	r = put_defaults(t, obj);
	if (r < 0)
		return r;

	for (void *i = json_object_iter((json_t *)json); i; i = json_object_iter_next((json_t *)json, i)) {
		const char *key = json_object_iter_key(i);
		char *owner = obj;
		const struct nk_field *f = find(t, key, &owner);

		if (!f) {
			r = unknown_member(t, key, d);
		} else {
			assert(f->type->decode);
			here.key = f->name;
			d->place = &here;
			r = f->type->decode(f, json_object_iter_value(i), owner + f->offset, d);
			d->place = here.up;
			if (r == 0 && f->has.size)
				presence_put(f, owner, f->has.value);
		}
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			result = r;
	}

	r = missing(t, json, d);
	if (r < 0)
		result = r;
	if (t->finish) {
		r = t->finish(obj, json, result == 0, d);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			result = r;
	}
	return result;
}

/* ---- encode and clear ---- */

static bool is_empty(const struct nk_field *f, const void *at)
{
	static const char zero[64];

	if (f->type->empty)
		return f->type->empty(f, at);
	assert(f->size <= sizeof(zero));
	return memcmp(at, zero, f->size) == 0;
}

static int encode_into(const struct nk_table *t, const void *obj, json_t *json)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];
		const char *at = (const char *)obj + f->offset;

		if (!is_present(f, obj))
			continue;
		if (f->type == &nk_type_include) {
			int r = encode_into(f->table, at, json);

			if (r < 0)
				return r;
			continue;
		}
		if ((f->flags & NK_OMIT_EMPTY) && is_empty(f, at))
			continue;
		if (json_object_set_new_nocheck(json, f->name, f->type->encode(f, at)) < 0)
			return -ENOMEM;
	}
	return t->trim ? t->trim(obj, json) : 0;
}

json_t *nk_table_encode(const struct nk_table *t, const void *obj)
{
	json_t *json = json_object();

	if (json && encode_into(t, obj, json) < 0) {
		json_decref(json);
		return NULL;
	}
	return json;
}

void nk_table_clear(const struct nk_table *t, void *obj)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];

		if (f->type->clear)
			f->type->clear(f, (char *)obj + f->offset);
	}
}
