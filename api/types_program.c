// SPDX-License-Identifier: GPL-2.0-only
/*
 * The type of a program's `maps`: names of maps in the object, and where the maps are pinned that stand for them. It is the one
 * object of the contract whose members' names are the sender's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract_shared.h"
#include "api/json.h"
#include "daemon/model/value.h"

#define MAPS_MAX 64 /* the kernel's limit for one program */

const char *nk_identifier_problem(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	static const char more[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	if (!text[0])
		return "it is empty";
	if (!strchr(letters, text[0]) || text[strspn(text, more)])
		return "letters, digits and underscores are expected, and no digit first";
	return NULL;
}

static int map_decode(const char *name, const json_t *json, struct nk_program_map *at, struct nk_decode *d)
{
	const char *path = json_string_value(json), *problem = nk_identifier_problem(name);

	if (!problem && strlen(name) >= sizeof(at->name))
		problem = "it has more than 63 bytes";
	if (problem)
		return nk_decode_problem(d, "this is not the name of a map in an object file: %s", problem);
	if (!path)
		return nk_decode_problem(d, "must be the absolute path of a pinned map, not %s", nk_json_kind(json));
	problem = nk_path_problem(path);
	if (!problem && strlen(path) > NK_PATH_BYTES)
		problem = "it is too long";
	if (problem)
		return nk_decode_problem(d, "this is not the absolute path of a pinned map: %s", problem);
	strcpy(at->name, name);
	at->path = strdup(path);
	return at->path ? 0 : -ENOMEM;
}

static int compare_maps(const void *a, const void *b)
{
	return strcmp(((const struct nk_program_map *)a)->name, ((const struct nk_program_map *)b)->name);
}

static int maps_decode(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d)
{
	struct nk_place here = {.up = d->place};
	uint32_t *count = (uint32_t *)((char *)at + f->count_at);
	size_t n = json_object_size(json);
	struct nk_program_map *maps;
	int result = 0;
	const char *name;
	json_t *value;

	if (!json_is_object(json))
		return nk_decode_problem(d, "must be an object that gives a path for each map's name, not %s", nk_json_kind(json));
	if (n > MAPS_MAX)
		return nk_decode_problem(d, "has %zu members; at most %d are allowed", n, MAPS_MAX);
	maps = calloc(n + 1, sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	/* They belong to the program at once, so that whoever gives it up frees them in each case. */
	*(struct nk_program_map **)at = maps;
	json_object_foreach((json_t *)json, name, value) {
		int r;

		here.key = name;
		d->place = &here;
		r = map_decode(name, value, &maps[(*count)++], d);
		d->place = here.up;
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			result = r;
	}
	qsort(maps, *count, sizeof(*maps), compare_maps);
	return result;
}

static uint32_t count_of(const struct nk_field *f, const void *at)
{
	return *(const uint32_t *)((const char *)at + f->count_at);
}

static json_t *maps_encode(const struct nk_field *f, const void *at)
{
	const struct nk_program_map *maps = *(struct nk_program_map *const *)at;
	json_t *json = json_object();

	for (uint32_t i = 0; json && i < count_of(f, at); i++)
		if (json_object_set_new(json, maps[i].name, nk_json_text(maps[i].path)) < 0) {
			json_decref(json);
			return NULL;
		}
	return json;
}

static json_t *maps_schema(const struct nk_field *f, struct nk_schema_out *out)
{
	return json_pack("{s:s,s:i,s:{s:s,s:i},s:{s:s,s:i,s:s}}", "type", "object", "maxProperties", MAPS_MAX, "propertyNames",
			 "pattern", NK_IDENTIFIER_PATTERN, "maxLength", NK_NAME_MAX - 1, "additionalProperties", "type", "string",
			 "maxLength", NK_PATH_BYTES, "pattern", "^/");
}

static void maps_describe(const struct nk_field *f, FILE *out)
{
	fputs("object: for each map's name an absolute path", out);
}

static void maps_clear(const struct nk_field *f, void *at)
{
	struct nk_program_map **maps = at;

	for (uint32_t i = 0; i < count_of(f, at); i++)
		free((*maps)[i].path);
	free(*maps);
	*maps = NULL;
	*(uint32_t *)((char *)at + f->count_at) = 0;
}

static bool maps_empty(const struct nk_field *f, const void *at)
{
	return count_of(f, at) == 0;
}

const struct nk_type nk_type_maps = {
	.decode = maps_decode,
	.encode = maps_encode,
	.schema = maps_schema,
	.describe = maps_describe,
	.clear = maps_clear,
	.empty = maps_empty,
};
