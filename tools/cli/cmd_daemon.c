// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commands about the daemon and the contract: status, check, watch, schema, reference.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/contract.h"
#include "tools/cli/cli.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"
#include "tools/cli/show.h"

/* ---- status ---- */

/* "1000: 998 ready, 2 degraded": only what there is. */
static char *count_objects(const json_t *counts, const char *what)
{
	static const char *const states[] = {"ready", "pending", "degraded", "released", "unclaimed"};
	char *text = NULL;
	size_t size;
	FILE *f = cli_must(open_memstream(&text, &size));
	bool first = true;

	fprintf(f, "%lld", (long long)show_number(counts, what));
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		char member[32];

		snprintf(member, sizeof(member), "%s_%s", what, states[i]);
		if (!show_number(counts, member))
			continue;
		fprintf(f, "%s%lld %s", first ? ": " : ", ", (long long)show_number(counts, member), states[i]);
		first = false;
	}
	fclose(f);
	return cli_must(text);
}

enum cli_status cli_status_run(struct cli *cli, const struct cli_args *args)
{
	static const char *const headings[] = {">", "", NULL};
	const json_t *revisions, *counts, *reason;
	char duration[OUT_DURATION_LEN], *text;
	struct out_table *t;
	json_t *result = NULL;
	const char *health;
	size_t i;
	enum cli_status status = cli_call(cli, "daemon.status", NULL, CLI_CALL_MS, NULL, &result);

	(void)args;
	if (status != CLI_OK)
		return status;
	revisions = json_object_get(result, "revisions");
	counts = json_object_get(result, "counts");
	health = show_text(result, "health");
	if (strcmp(health, "ok") != 0 || show_number(revisions, "converged") < show_number(revisions, "desired"))
		status = CLI_NOT_READY;
	if (cli->json) {
		out_json(result);
		json_decref(result);
		return status;
	}

	printf("netkitd %s: %s%s%s\n", show_text(result, "version"), out_paint(cli->color, out_state_color(health)), health,
	       out_reset(cli->color, out_state_color(health)));
	t = out_table_new(headings);
	json_array_foreach(json_object_get(result, "health_reasons"), i, reason) {
		out_cell(t, OUT_BOLD, "%s", i ? " " : "why");
		out_cell(t, OUT_BAD, "%s", json_string_value(reason));
	}
	out_cell(t, OUT_BOLD, "up");
	out_cell(t, OUT_PLAIN, "%s", out_duration((uint64_t)show_number(result, "uptime_s"), duration, sizeof(duration)));
	out_cell(t, OUT_BOLD, "revision");
	out_cell(t, status == CLI_OK ? OUT_PLAIN : OUT_WARN, "%lld desired, %lld attempted, %lld converged",
		 (long long)show_number(revisions, "desired"), (long long)show_number(revisions, "attempted"),
		 (long long)show_number(revisions, "converged"));
	text = count_objects(counts, "devices");
	out_cell(t, OUT_BOLD, "devices");
	out_cell(t, OUT_PLAIN, "%s", text);
	free(text);
	if (show_number(counts, "interfaces")) {
		text = count_objects(counts, "interfaces");
		out_cell(t, OUT_BOLD, "interfaces");
		out_cell(t, OUT_PLAIN, "%s", text);
		free(text);
	}
	out_cell(t, OUT_BOLD, "programs");
	out_cell(t, OUT_PLAIN, "%lld, attached %lld times", (long long)show_number(counts, "programs"),
		 (long long)show_number(counts, "attachments"));
	out_cell(t, OUT_BOLD, "clients");
	out_cell(t, OUT_PLAIN, "%lld, of them %lld watching", (long long)show_number(counts, "clients"),
		 (long long)show_number(counts, "subscribers"));
	out_cell(t, OUT_BOLD, "since start");
	out_cell(t, OUT_PLAIN, "%lld repairs, %lld resyncs, %lld kernel errors", (long long)show_number(counts, "repairs"),
		 (long long)show_number(counts, "resyncs"), (long long)show_number(counts, "kernel_errors"));
	out_cell(t, OUT_BOLD, "drift seen by");
	show_cell(t, OUT_PLAIN, result, "watcher");
	out_cell(t, OUT_BOLD, "kernel");
	show_cell(t, OUT_PLAIN, result, "features");
	out_table_print(t, stdout, cli->color);
	out_table_free(t);
	json_decref(result);
	return status;
}

/* ---- check ---- */

enum cli_status cli_check_run(struct cli *cli, const struct cli_args *args)
{
	static const char *const headings[] = {"WHAT", "STATE", "NEEDED", "KERNEL OPTION", "FOUND OUT BY", NULL};
	struct nk_error err = {0};
	struct out_table *t;
	const json_t *one;
	json_t *result = NULL;
	enum cli_status status = CLI_OK;
	size_t i;
	int r = cli_try(cli, "daemon.capabilities", NULL, CLI_CALL_MS, &result, &err);

	(void)args;
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET || r == -ETIMEDOUT) {
		execl(NK_NETKITD, NK_NETKITD, "--check", (char *)NULL);
		cli_say(cli, "no netkitd answers at %s, and %s can't be run: %s (%s)", cli->socket, NK_NETKITD, strerror(errno),
			strerrorname_np(errno));
		return CLI_ERROR;
	}
	if (r < 0)
		return cli_failed(cli, r, &err, NULL);

	t = out_table_new(headings);
	json_array_foreach(json_object_get(result, "capabilities"), i, one) {
		const char *state = show_text(one, "state");
		bool needed = json_is_true(json_object_get(one, "needed"));

		/* As netkitd --check has it: also one of which nobody knows. */
		if (needed && strcmp(state, "present") != 0)
			status = CLI_ERROR;
		show_cell(t, OUT_PLAIN, one, "name");
		out_cell(t, !needed && strcmp(state, "missing") == 0 ? OUT_FAINT : out_state_color(state), "%s", state);
		out_cell(t, OUT_PLAIN, "%s", needed ? "yes" : "no");
		show_cell(t, OUT_PLAIN, one, "config");
		show_cell(t, OUT_PLAIN, one, "how");
	}
	if (cli->json)
		out_json(result);
	else
		out_table_print(t, stdout, cli->color);
	out_table_free(t);
	json_decref(result);
	return status;
}

/* ---- watch ---- */

static void print_event(const struct cli *cli, const json_t *event)
{
	const char *time = show_text(event, "time"), *kind = show_text(event, "kind"), *clock = strchr(time, 'T');
	const json_t *detail = json_object_get(event, "detail");
	char *object = out_clean(show_text(event, "object"));
	/* The sentence says all that a person wants; the other members are for programs. */
	char *brief = *show_text(detail, "message") ? cli_must(strdup(show_text(detail, "message"))) : out_brief(detail);
	char *text = out_clean(brief);
	enum out_color c = OUT_PLAIN;

	if (strstr(kind, "degraded") || strstr(kind, "failed") || strstr(kind, "refused"))
		c = OUT_BAD;
	else if (strcmp(kind, "drift") == 0)
		c = OUT_WARN;
	else if (strcmp(kind, "repaired") == 0 || strstr(kind, "ready"))
		c = OUT_GOOD;
	printf("%s%s%s  %s%-18s%s  %-20s  %s\n", out_paint(cli->color, OUT_FAINT), clock ? clock + 1 : time,
	       out_reset(cli->color, OUT_FAINT), out_paint(cli->color, c), kind, out_reset(cli->color, c), object, text);
	free(text);
	free(brief);
	free(object);
}

enum { OPT_SINCE };
const struct cli_option cli_watch_options[] = {
	{0, "since", "SEQ", false, "show first what is kept of the events after this number"},
	{0},
};

enum cli_status cli_watch_run(struct cli *cli, const struct cli_args *args)
{
	struct nk_error err = {0};
	json_t *params = NULL, *result = NULL, *event;
	enum cli_status status = CLI_OK;
	uint64_t since;
	int r;

	if (args->opt[OPT_SINCE]) {
		status = cli_number(cli, "--since", args->opt[OPT_SINCE], &since);
		if (status != CLI_OK)
			return status;
		params = cli_must(json_pack("{s:I}", "since", (json_int_t)since));
	}
	status = cli_call(cli, "event.subscribe", params, CLI_CALL_MS, NULL, &result);
	json_decref(result);
	if (status != CLI_OK)
		return status;
	while ((r = nk_client_next_event(cli->client, -1, &event)) >= 0) {
		if (cli->json) {
			json_dumpf(event, stdout, JSON_COMPACT);
			putchar('\n');
		} else {
			print_event(cli, event);
		}
		json_decref(event);
		if (fflush(stdout) != 0) /* whoever read this has gone */
			return CLI_ERROR;
	}
	if (r != -ECONNRESET)
		return cli_failed(cli, r, &err, NULL);
	cli_say(cli, "netkitd has stopped, or has dropped this client because it read too slowly (ECONNRESET)");
	return CLI_ERROR;
}

/* ---- schema, reference ---- */

enum cli_status cli_schema_run(struct cli *cli, const struct cli_args *args)
{
	json_t *schema = args->n_words ? nk_schema_of(args->words[0]) : nk_schema();

	if (!schema && args->n_words)
		return cli_usage(cli, "there is no schema of '%s', but of document, device, interface, program, settings, event and method:NAME",
				 args->words[0]);
	out_json(cli_must(schema));
	json_decref(schema);
	return CLI_OK;
}

enum cli_status cli_reference_run(struct cli *cli, const struct cli_args *args)
{
	char *text = cli_must(nk_reference());

	(void)cli;
	(void)args;
	fputs(text, stdout);
	free(text);
	return CLI_OK;
}
