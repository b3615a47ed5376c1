// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command chain: what packets meet at the hooks of one device. Which hooks there are is the daemon's to say: a chain is shown
 * for each that it names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/cli.h"
#include "tools/cli/output.h"
#include "tools/cli/show.h"

/* Who keeps an attachment: of a foreign link its pins, then the processes that have it. Empty: not known. free() it. */
static char *owner_text(const json_t *att)
{
	const json_t *one;
	const char *before = "";
	char *text = NULL, *clean;
	size_t i, size;
	FILE *f = cli_must(open_memstream(&text, &size));

	if (!json_is_true(json_object_get(att, "foreign"))) {
		fputs(json_is_true(json_object_get(att, "attached")) ? "netkitd" : "", f);
	} else if (!show_number(att, "link_id")) {
		fputs("no link", f);
	} else {
		json_array_foreach(json_object_get(att, "pins"), i, one) {
			fprintf(f, "%s%s", before, json_string_value(one));
			before = ", ";
		}
		json_array_foreach(json_object_get(att, "holders"), i, one) {
			fprintf(f, "%s%s(%lld)", before, show_text(one, "comm"), (long long)show_number(one, "pid"));
			before = ", ";
		}
	}
	fclose(f);
	/* A name with a newline in it must not look like a row. */
	clean = out_clean(cli_must(text));
	free(text);
	return clean;
}

static void chain_row(struct out_table *t, const json_t *att)
{
	bool foreign = json_is_true(json_object_get(att, "foreign")), attached = json_is_true(json_object_get(att, "attached"));
	const char *state = foreign ? "Foreign" : attached ? "Attached" : "Missing";
	int64_t runs = show_number(att, "run_count");
	char *owner = owner_text(att);

	if (attached)
		show_cell(t, OUT_PLAIN, att, "position");
	else
		out_cell(t, OUT_PLAIN, "%s", "");
	out_cell(t, attached && !foreign ? OUT_GOOD : out_state_color(state), "%s", state);
	show_cell(t, OUT_PLAIN, att, "name");
	show_cell(t, OUT_PLAIN, att, "program");
	show_cell(t, OUT_PLAIN, att, "kernel_name");
	show_cell(t, OUT_PLAIN, att, "link_id");
	show_cell(t, OUT_PLAIN, att, "prog_id");
	show_cell(t, OUT_FAINT, att, "tag");
	if (runs) {
		out_cell(t, OUT_PLAIN, "%lld", (long long)runs);
		out_cell(t, OUT_PLAIN, "%lld ns", (long long)(show_number(att, "run_time_ns") / runs));
	} else {
		out_cell(t, OUT_PLAIN, "%s", "");
		out_cell(t, OUT_PLAIN, "%s", "");
	}
	out_cell(t, OUT_PLAIN, "%s", owner);
	free(owner);
}

/* The chain of the hook of which the i-th row is the first one. */
static void print_hook(const struct cli *cli, const json_t *rows, size_t i)
{
	static const char *const headings[] = {">PLACE", "STATE", "NAME", "PROGRAM", "FUNCTION", ">LINK", ">ID", "TAG", ">RUNS",
					       ">A RUN", "OWNER", NULL};
	const char *hook = show_text(json_array_get(rows, i), "hook");
	struct out_table *t = out_table_new(headings);
	char *clean = out_clean(hook);

	printf("%s%s%s\n", out_paint(cli->color, OUT_BOLD), clean, out_reset(cli->color, OUT_BOLD));
	free(clean);
	for (; i < json_array_size(rows); i++)
		if (strcmp(show_text(json_array_get(rows, i), "hook"), hook) == 0)
			chain_row(t, json_array_get(rows, i));
	out_table_print(t, stdout, cli->color);
	out_table_free(t);
}

static bool hook_seen(const json_t *rows, size_t i)
{
	const char *hook = show_text(json_array_get(rows, i), "hook");

	for (size_t k = 0; k < i; k++)
		if (strcmp(show_text(json_array_get(rows, k), "hook"), hook) == 0)
			return true;
	return false;
}

enum cli_status cli_chain_run(struct cli *cli, const struct cli_args *args)
{
	json_t *result = NULL;
	const json_t *rows, *row;
	bool counted = false;
	size_t i;
	enum cli_status status = cli_call(cli, "attachment.list", json_pack("{s:s, s:b}", "device", args->words[0], "owners", 1),
					  CLI_CALL_MS, NULL, &result);

	if (status != CLI_OK)
		return status;
	rows = json_object_get(result, "attachments");
	json_array_foreach(rows, i, row) {
		counted |= show_number(row, "run_count") > 0;
		if (!json_is_true(json_object_get(row, "attached")))
			status = CLI_NOT_READY;
	}
	if (cli->json) {
		out_json(result);
		json_decref(result);
		return status;
	}
	json_array_foreach(rows, i, row) {
		if (hook_seen(rows, i))
			continue;
		if (i)
			putchar('\n');
		print_hook(cli, rows, i);
	}
	if (!json_array_size(rows))
		printf("no program at any hook of %s\n", args->words[0]);
	else if (!counted)
		printf("\nThe kernel counts runs while the sysctl kernel.bpf_stats_enabled is 1.\n");
	json_decref(result);
	return status;
}
