// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is published from the tables: the schema and the reference page in the tree are those that the tables print, the schema
 * is whole, the catalogue is, and each document that our pages show is one that the daemon takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <ctype.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <syslog.h>

#include "api/contract.h"
#include "api/events.h"
#include "api/json.h"

static char *read_text(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;

	if (!f)
		return NULL;
	if (getdelim(&text, &size, '\0', f) < 0) {
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

static void is_published(const char *file, const char *what, const char *want)
{
	char *have = read_text(file);

	if (!have || strcmp(have, want) != 0)
		fail_msg("%s is not what the tables print: renew it with `build/api/netkitd-contract %s > %s`", file, what, file);
	free(have);
}

static void schema_is_published(void **state)
{
	json_t *schema = nk_schema();
	char *dump = json_dumps(schema, JSON_INDENT(2)), *text;

	assert_true(asprintf(&text, "%s\n", dump) > 0);
	is_published(NK_SOURCE_ROOT "/api/schema.json", "schema", text);
	free(text);
	free(dump);
	json_decref(schema);
}

static void reference_is_published(void **state)
{
	char *text = nk_reference();

	is_published(NK_SOURCE_ROOT "/api/REFERENCE.md", "reference", text);
	free(text);
}

/* Every link of the page leads to a heading of the page. */
static void reference_links_lead_somewhere(void **state)
{
	char *text = nk_reference(), heading[128];
	unsigned n = 0;

	for (char *p = text; (p = strstr(p, "](#")); n++) {
		p += 3;
		snprintf(heading, sizeof(heading), "\n### %.*s\n", (int)strcspn(p, ")"), p);
		if (!strstr(text, heading))
			fail_msg("no heading for a link to #%.*s", (int)strcspn(p, ")"), p);
	}
	assert_true(n > 20);
	free(text);
}

/* All $ref below json lead to a definition; returns how many there are. */
static unsigned follow_refs(json_t *json, json_t *defs)
{
	const char *ref = json_string_value(json_object_get(json, "$ref")), *key;
	unsigned n = 0;
	json_t *value;
	size_t i;

	if (ref) {
		assert_memory_equal(ref, "#/$defs/", 8);
		if (!json_object_get(defs, ref + 8))
			fail_msg("%s leads nowhere", ref);
		n++;
	}
	json_object_foreach(json, key, value)
		n += follow_refs(value, defs);
	json_array_foreach(json, i, value)
		n += follow_refs(value, defs);
	return n;
}

static void schema_is_whole(void **state)
{
	json_t *schema = nk_schema(), *defs = json_object_get(schema, "$defs"), *def;
	const char *name;

	assert_string_equal(json_string_value(json_object_get(schema, "$schema")), "https://json-schema.org/draft/2020-12/schema");
	assert_true(follow_refs(schema, defs) > 30);
	json_object_foreach(defs, name, def) {
		json_t *member;
		const char *key;

		assert_true(json_is_false(json_object_get(def, "additionalProperties")));
		assert_true(json_string_length(json_object_get(def, "description")) > 0);
		json_object_foreach(json_object_get(def, "properties"), key, member)
			if (json_string_length(json_object_get(member, "description")) == 0)
				fail_msg("%s.%s has no description", name, key);
	}
	json_decref(schema);
}

static void parts_of_the_schema(void **state)
{
	static const char *const parts[] = {"document", "device", "program", "settings", "event", "method:state.apply", "method:daemon.status"};
	json_t *schema;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		schema = nk_schema_of(parts[i]);
		assert_non_null(schema);
		assert_true(follow_refs(schema, json_object_get(schema, "$defs")) > 0);
		json_decref(schema);
	}
	assert_null(nk_schema_of("nothing"));
	assert_null(nk_schema_of("method:nothing"));
	/* A part is a part. */
	schema = nk_schema_of("settings");
	assert_null(json_object_get(json_object_get(schema, "$defs"), "device"));
	json_decref(schema);
}

static void events_are_all_described(void **state)
{
	char *catalog = nk_event_catalog();

	for (int k = 0; k < NK_EVENT_KINDS; k++) {
		const struct nk_event_info *i = &nk_event_kinds[k];

		assert_non_null(i->kind);
		assert_int_equal(strlen(i->message_id), 32);
		assert_int_equal(strspn(i->message_id, "0123456789abcdef"), 32);
		assert_in_range(i->priority, LOG_ERR, LOG_DEBUG);
		assert_true(i->subject[0] && i->meaning[0] && i->action[0]);
		assert_non_null(strstr(catalog, i->message_id));
		for (int j = 0; j < k; j++) {
			assert_string_not_equal(i->kind, nk_event_kinds[j].kind);
			assert_string_not_equal(i->message_id, nk_event_kinds[j].message_id);
		}
	}
	free(catalog);
}

/* ---- documents in our pages ---- */

/* Each kind is one that the daemon tells: its sources name it. */
static void events_are_all_told(void **state)
{
	char *sources[64] = {};
	glob_t g;

	assert_int_equal(glob(NK_SOURCE_ROOT "/daemon/*.c", 0, NULL, &g), 0);
	assert_true(g.gl_pathc > 0 && g.gl_pathc <= sizeof(sources) / sizeof(sources[0]));
	for (size_t i = 0; i < g.gl_pathc; i++)
		sources[i] = read_text(g.gl_pathv[i]);
	for (int k = 0; k < NK_EVENT_KINDS; k++) {
		char name[64];
		bool told = false;

		snprintf(name, sizeof(name), "NK_EVENT_%s", nk_event_kinds[k].kind);
		for (char *p = name; *p; p++)
			*p = *p == '-' ? '_' : (char)toupper(*p);
		for (size_t i = 0; i < g.gl_pathc; i++)
			told |= strstr(sources[i], name) != NULL;
		if (!told)
			fail_msg("nothing tells %s", nk_event_kinds[k].kind);
	}
	for (size_t i = 0; i < g.gl_pathc; i++)
		free(sources[i]);
	globfree(&g);
}

static unsigned n_documents;

/* Take it as the daemon would if it is a document, that is, names devices or programs. */
static void try_document(const json_t *json, const char *path)
{
	struct nk_document_input in = {};
	struct nk_error err = {};

	if (!json_is_array(json_object_get(json, "devices")) && !json_is_array(json_object_get(json, "programs")))
		return;
	n_documents++;
	if (nk_decode_document(json, "", &in, &err) < 0) {
		json_t *e = nk_error_encode(&err);

		fail_msg("%s: an example is refused: %s", path, json_string_value(json_object_get(e, "message")));
	}
	nk_document_input_clear(&in);
}

static void try_file(const char *text, const char *path)
{
	struct nk_error err = {};
	json_t *json = NULL;

	if (nk_json_parse(text, strlen(text), &json, &err) < 0)
		fail_msg("%s: %s", path, err.message);
	try_document(json, path);
	json_decref(json);
}

/* Each object that begins a line of a page, in a fenced block, in a command, or in the running text. */
static void try_page(const char *text, const char *path)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		bool fenced = strncmp(line, "\n```json\n", 9) == 0;
		json_error_t e;
		json_t *json;

		line += fenced ? 9 : *line == '\n';
		line += strspn(line, " \t");
		if (*line != '{')
			continue;
		json = json_loadb(line, strlen(line), JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &e);
		if (!json && fenced)
			fail_msg("%s: an example is not JSON: %s", path, e.text);
		try_document(json, path);
		json_decref(json);
	}
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
	const char *name = path + at->base, *dot = strrchr(name, '.');
	char *text;

	if (type == FTW_D && at->level > 0 && (name[0] == '.' || strncmp(name, "build", 5) == 0))
		return FTW_SKIP_SUBTREE;
	if (type != FTW_F || !dot || (strcmp(dot, ".md") != 0 && strcmp(dot, ".scd") != 0 && strcmp(dot, ".json") != 0))
		return FTW_CONTINUE;
	text = read_text(path);
	if (!text)
		return FTW_CONTINUE;
	if (strcmp(dot, ".json") == 0)
		try_file(text, path);
	else
		try_page(text, path);
	free(text);
	return FTW_CONTINUE;
}

static void examples_are_taken(void **state)
{
	assert_int_equal(nftw(NK_SOURCE_ROOT, visit, 16, FTW_PHYS | FTW_ACTIONRETVAL), 0);
	assert_true(n_documents > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schema_is_published),
		cmocka_unit_test(reference_is_published),
		cmocka_unit_test(reference_links_lead_somewhere),
		cmocka_unit_test(schema_is_whole),
		cmocka_unit_test(parts_of_the_schema),
		cmocka_unit_test(events_are_all_described),
		cmocka_unit_test(events_are_all_told),
		cmocka_unit_test(examples_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
