// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables as JSON Schema, draft 2020-12. Each table becomes one definition; whatever uses it refers to it. Called by
 * netkitd-contract, which publishes api/schema.json, and by netkitd-cli.
 */
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "api/contract_shared.h"

#define DIALECT "https://json-schema.org/draft/2020-12/schema"

struct nk_schema_out {
	json_t *defs; /* owned: definitions by the table's name */
};

static json_t *default_of(const struct nk_field *f)
{
	if (f->def_text)
		return json_string(f->def_text);
	if (f->type == &nk_type_bool)
		return json_boolean(f->def);
	if (f->names)
		return json_string(f->names[f->def]);
	return json_integer(f->def);
}

static bool is_required(const struct nk_table *t, const struct nk_field *f)
{
	if (t->output)
		return f->has.size == 0 && !(f->flags & NK_OMIT_EMPTY);
	return f->flags & NK_REQUIRED;
}

static int add_members(const struct nk_table *t, json_t *properties, json_t *required, struct nk_schema_out *out)
{
	int r = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];
		json_t *value;

		if (f->type == &nk_type_include) {
			r |= add_members(f->table, properties, required, out);
			continue;
		}
		value = f->type->schema(f, out);
		if (!value)
			return -1;
		r |= json_object_set_new(value, "description", json_string(f->text));
		if (f->flags & NK_DEFAULT)
			r |= json_object_set_new(value, "default", default_of(f));
		r |= json_object_set_new(properties, f->name, value);
		if (is_required(t, f))
			r |= json_array_append_new(required, json_string(f->name));
	}
	return r;
}

static json_t *definition(const struct nk_table *t, struct nk_schema_out *out)
{
	json_t *properties = json_object(), *required = json_array(), *more = NULL;
	json_t *def = json_pack("{s:s,s:s,s:O,s:O,s:b}", "type", "object", "description", t->text, "properties", properties, "required",
				required, "additionalProperties", 0);

	if (def && add_members(t, properties, required, out) != 0) {
		json_decref(def);
		def = NULL;
	}
	if (def && t->schema) {
		more = json_loads(t->schema, 0, NULL);
		if (!more || json_object_update(def, more) < 0) {
			json_decref(def);
			def = NULL;
		}
	}
	if (def && json_array_size(required) == 0)
		json_object_del(def, "required");
	json_decref(more);
	json_decref(properties);
	json_decref(required);
	return def;
}

json_t *nk_table_schema(const struct nk_table *t, struct nk_schema_out *out)
{
	/* The name is taken before the members are walked, so that the definitions stand in the order of their first use. */
	if (!json_object_get(out->defs, t->name)) {
		json_t *def;

		if (json_object_set_new(out->defs, t->name, json_object()) < 0)
			return NULL;
		def = definition(t, out);
		if (!def || json_object_set_new(out->defs, t->name, def) < 0)
			return NULL;
	}
	return json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", t->name));
}

/* A schema with what `what` is put in, and the definitions that came together on the way. */
static json_t *with_definitions(json_t *ref, json_t *title, struct nk_schema_out *out)
{
	json_t *schema = json_pack("{s:s,s:o}", "$schema", DIALECT, "title", title);

	if (!schema || !ref || json_object_update(schema, ref) < 0 || json_object_set(schema, "$defs", out->defs) < 0) {
		json_decref(schema);
		schema = NULL;
	}
	json_decref(ref);
	json_decref(out->defs);
	return schema;
}

json_t *nk_schema(void)
{
	struct nk_schema_out out = {.defs = json_object()};
	json_t *ref = nk_table_schema(&nk_table_document, &out);

	json_decref(nk_table_schema(&nk_table_settings, &out));
	for (int m = 0; m < NK_METHODS; m++) {
		json_decref(nk_table_schema(nk_methods[m].params, &out));
		json_decref(nk_table_schema(nk_methods[m].result, &out));
	}
	json_decref(nk_table_schema(&nk_table_view_event, &out));
	return with_definitions(ref, json_sprintf("netkitd's document, contract version %s", NK_API_VERSION), &out);
}

static json_t *schema_of_table(const struct nk_table *t, const char *what)
{
	struct nk_schema_out out = {.defs = json_object()};
	json_t *ref = nk_table_schema(t, &out);

	return with_definitions(ref, json_sprintf("netkitd: %s, contract version %s", what, NK_API_VERSION), &out);
}

static json_t *schema_of_method(int m, const char *what)
{
	struct nk_schema_out out = {.defs = json_object()};
	json_t *params = nk_table_schema(nk_methods[m].params, &out), *result = nk_table_schema(nk_methods[m].result, &out);
	json_t *both = json_pack("{s:s,s:{s:o,s:o},s:s}", "type", "object", "properties", "params", params, "result", result,
				 "description", nk_methods[m].text);

	return with_definitions(both, json_sprintf("netkitd: %s, contract version %s", what, NK_API_VERSION), &out);
}

json_t *nk_schema_of(const char *what)
{
	static const struct nk_table *const tables[] = {
		&nk_table_document, &nk_table_device, &nk_table_interface, &nk_table_program, &nk_table_settings, &nk_table_view_event,
	};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		if (strcmp(tables[i]->name, what) == 0)
			return schema_of_table(tables[i], what);
	if (strncmp(what, "method:", 7) == 0) {
		int m = nk_method_find(what + 7);

		if (m >= 0)
			return schema_of_method(m, what);
	}
	return NULL;
}
