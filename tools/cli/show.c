// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access to the daemon's answers for the commands that print them, see show.h.
 */
#include "tools/cli/show.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/cli.h"

const char *show_text(const json_t *json, const char *member)
{
	const char *text = json_string_value(json_object_get(json, member));

	return text ? text : "";
}

int64_t show_number(const json_t *json, const char *member)
{
	return json_integer_value(json_object_get(json, member));
}

void show_cell(struct out_table *t, enum out_color c, const json_t *json, const char *member)
{
	const json_t *value = json_object_get(json, member);
	char *text = out_brief(json_is_null(value) ? NULL : value);

	out_cell(t, c, "%s", text);
	free(text);
}

const char *show_state(const json_t *condition)
{
	return show_text(condition, "state");
}

char *show_reason(const json_t *condition)
{
	const char *reason = show_text(condition, "reason"), *message = show_text(condition, "message");
	const char *error = show_text(condition, "errno"), *extack = show_text(condition, "extack");
	char *text = NULL;
	size_t size;
	FILE *f = cli_must(open_memstream(&text, &size));

	fprintf(f, "%s%s%s", reason, *reason && *message ? ": " : "", message);
	if (*error && !strstr(message, error))
		fprintf(f, "%s(%s)", *reason || *message ? " " : "", error);
	if (*extack && !strstr(message, extack))
		fprintf(f, "%s%s", *reason || *message || *error ? ": " : "", extack);
	fclose(f);
	return cli_must(text);
}

void show_pending(const json_t *pending, FILE *f, bool color)
{
	static const char *const headings[] = {"", "", "", NULL};
	struct out_table *t = out_table_new(headings);
	const json_t *one;
	size_t i;

	json_array_foreach(pending, i, one) {
		const json_t *condition = json_object_get(one, "condition");
		char *reason = show_reason(condition);

		out_cell(t, OUT_PLAIN, "  %s", show_text(one, "object"));
		out_cell(t, out_state_color(show_state(condition)), "%s", show_state(condition));
		out_cell(t, OUT_PLAIN, "%s", reason);
		free(reason);
	}
	out_table_print(t, f, color);
	out_table_free(t);
}

char *show_plan(const json_t *plan)
{
	static const struct {
		const char *member, *text;
	} parts[] = {
		{"create", "to create"},
		{"change", "to change"},
		{"recreate", "to make anew"},
		{"delete", "to delete"},
	};
	char *text = NULL;
	size_t size;
	FILE *f = cli_must(open_memstream(&text, &size));
	bool first = true;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!show_number(plan, parts[i].member))
			continue;
		fprintf(f, "%s%lld %s", first ? "" : ", ", (long long)show_number(plan, parts[i].member), parts[i].text);
		first = false;
	}
	if (first)
		fputs("no device to change", f);
	fclose(f);
	return cli_must(text);
}
