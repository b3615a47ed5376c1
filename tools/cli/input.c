// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading documents and single members, see input.h. Called by apply, plan and set. It checks only what it needs in order to
 * send something: what a document may say is the daemon's to judge.
 */
#include "tools/cli/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/json.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"

#define READ_MAX (64u << 20) /* bytes; the daemon takes 16 MiB, but a file may be indented */

void cli_input_clear(struct cli_input *in)
{
	free(in->name);
	free(in->text);
	json_decref(in->json);
	*in = (struct cli_input){0};
}

/* All of f, up to READ_MAX. 0 or -errno. */
static int read_all(FILE *f, char **ret, size_t *ret_len)
{
	size_t len = 0, room = 0;
	char *text = NULL;

	do {
		if (room - len < 4096) {
			room = room ? 2 * room : 65536;
			text = cli_must(realloc(text, room));
		}
		len += fread(text + len, 1, room - len, f);
	} while (!feof(f) && !ferror(f) && len <= READ_MAX);

	if (ferror(f) || len > READ_MAX) {
		int error = ferror(f) ? errno : EFBIG;

		free(text);
		return -error;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

enum cli_status cli_input_read(const struct cli *cli, const char *path, const char *prefix, struct cli_input *ret)
{
	bool from_stdin = strcmp(path, "-") == 0;
	struct cli_input in = {.prefix = prefix};
	struct nk_error err = {0};
	FILE *f;
	int r;

	in.name = cli_must(strdup(from_stdin ? "<stdin>" : path));
	f = from_stdin ? stdin : fopen(path, "re");
	r = f ? read_all(f, &in.text, &in.len) : -errno;
	if (f && !from_stdin)
		fclose(f);
	if (r < 0) {
		cli_say(cli, "cannot read %s: %s (%s)", in.name, strerror(-r), strerrorname_np(-r));
		cli_input_clear(&in);
		return CLI_ERROR;
	}

	r = nk_json_parse(in.text, in.len, &in.json, &err);
	if (r < 0) {
		if (r == -ENOMEM)
			cli_must(NULL);
		cli_report(cli, stderr, &err, &in);
		nk_error_clear(&err);
		cli_input_clear(&in);
		return CLI_ERROR;
	}
	*ret = in;
	return CLI_OK;
}

/* The schema itself, or the one it refers to ("#/$defs/NAME"). */
static const json_t *resolve(const json_t *root, const json_t *schema)
{
	static const char defs[] = "#/$defs/";
	const char *ref = json_string_value(json_object_get(schema, "$ref"));

	if (!ref || strncmp(ref, defs, sizeof(defs) - 1) != 0)
		return schema;
	return json_object_get(json_object_get(root, "$defs"), ref + sizeof(defs) - 1);
}

/* Does the schema take values of this type? */
static bool takes(const json_t *root, const json_t *schema, const char *type)
{
	const json_t *types, *one;
	size_t i;

	schema = resolve(root, schema);
	types = json_object_get(schema, "type");
	if (json_is_string(types))
		return strcmp(json_string_value(types), type) == 0;
	json_array_foreach(types, i, one)
		if (strcmp(json_string_value(one), type) == 0)
			return true;
	/* An enum without a type is one of strings. */
	if (!types && json_object_get(schema, "enum"))
		return strcmp(type, "string") == 0;
	types = json_object_get(schema, "oneOf");
	if (!types)
		types = json_object_get(schema, "anyOf");
	json_array_foreach(types, i, one)
		if (takes(root, one, type))
			return true;
	return false;
}

/* A value as the schema wants it; NULL if the text can't be one. */
static json_t *value_of(const json_t *root, const json_t *schema, const char *text)
{
	if (text[0] && strchr("[{\"", text[0])) {
		struct nk_error err = {0};
		json_t *json = NULL;

		if (nk_json_parse(text, strlen(text), &json, &err) < 0)
			nk_error_clear(&err);
		return json;
	}
	if (takes(root, schema, "array")) {
		const json_t *items = json_object_get(resolve(root, schema), "items");
		json_t *list = cli_must(json_array());
		char *copy = cli_must(strdup(text)), *rest = copy, *item;

		while ((item = strsep(&rest, ","))) {
			json_t *value = value_of(root, items, item);

			if (!value || json_array_append_new(list, value) < 0) {
				json_decref(list);
				list = NULL;
				break;
			}
		}
		free(copy);
		return list;
	}
	if (takes(root, schema, "integer")) {
		char *end;
		long long number;

		errno = 0;
		number = strtoll(text, &end, 10);
		if (!errno && end != text && !*end)
			return json_integer(number);
	}
	if (takes(root, schema, "boolean")) {
		if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0)
			return json_true();
		if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0)
			return json_false();
	}
	return takes(root, schema, "string") ? json_string(text) : NULL;
}

/* "mode, policy, …": the members that a schema knows. free() it. */
static char *members_of(const json_t *schema)
{
	char *text = NULL;
	size_t size;
	FILE *f = cli_must(open_memstream(&text, &size));
	const char *name;
	const json_t *value;
	bool first = true;

	json_object_foreach(json_object_get(schema, "properties"), name, value) {
		fprintf(f, "%s%s", first ? "" : ", ", name);
		first = false;
	}
	fclose(f);
	return cli_must(text);
}

/* What a schema takes, in words. free() it. */
static char *what_it_takes(const json_t *root, const json_t *schema)
{
	json_t *names = json_object_get(resolve(root, schema), "enum");
	const char *words = "an object, as JSON or member by member";

	if (names)
		return out_brief(names);
	if (takes(root, schema, "array"))
		words = "a list, with commas or as JSON";
	else if (takes(root, schema, "integer"))
		words = "a whole number";
	else if (takes(root, schema, "boolean"))
		words = "true or false";
	return cli_must(strdup(words));
}

enum cli_status cli_input_set(const struct cli *cli, json_t *device, const json_t *schema, const char *word)
{
	const char *value_text = strchr(word, '=');
	const json_t *node = schema;
	char *path, *rest, *name;
	json_t *object = device, *value;
	enum cli_status status = CLI_OK;

	if (!value_text || value_text == word)
		return cli_usage(cli, "'%s' is not a MEMBER=VALUE", word);
	rest = path = cli_must(strndup(word, (size_t)(value_text - word)));
	value_text++;

	while ((name = strsep(&rest, "."))) {
		const json_t *parent = resolve(schema, node);

		node = json_object_get(json_object_get(parent, "properties"), name);
		if (!node) {
			char *members = members_of(parent);

			if (members[0])
				status = cli_usage(cli, "%s: there is no member '%s'; there are: %s", word, name, members);
			else
				status = cli_usage(cli, "%s: there is nothing inside that could be named '%s'", word, name);
			free(members);
			goto out;
		}
		if (!rest)
			break;
		if (!json_is_object(json_object_get(object, name)))
			json_object_set_new(object, name, cli_must(json_object()));
		object = json_object_get(object, name);
	}

	if (!value_text[0]) {
		json_object_del(object, name);
		goto out;
	}
	value = value_of(schema, node, value_text);
	if (!value) {
		char *what = what_it_takes(schema, node);

		status = cli_usage(cli, "%s: '%s' takes %s", word, name, what);
		free(what);
		goto out;
	}
	json_object_set_new(object, name, value);
out:
	free(path);
	return status;
}
