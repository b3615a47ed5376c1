// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command history: what the daemon keeps of events, asked for by a subscription that ends when it has them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/cli.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"
#include "tools/cli/show.h"

#define LAST_DEFAULT 50

enum { OPT_LAST };
const struct cli_option cli_history_options[] = {
	{'n', "last", "N", false, "so many of the newest, 50 if it isn't said; 0: all that are kept"},
	{0},
};

enum cli_status cli_number(const struct cli *cli, const char *option, const char *text, uint64_t *ret)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || end == text || text[0] == '-' || n > INT64_MAX)
		return cli_usage(cli, "%s=%s: this is not a number from 0", option, text);
	*ret = n;
	return CLI_OK;
}

/* "2026-11-21 12:01:03": to the second, and the day, since it may be long ago. */
static void time_cell(struct out_table *t, const json_t *event)
{
	const char *time = show_text(event, "time");
	size_t day = strcspn(time, "T"), clock = time[day] ? strcspn(time + day + 1, ".Z") : 0;

	out_cell(t, OUT_FAINT, "%.*s %.*s", (int)day, time, (int)clock, time[day] ? time + day + 1 : "");
}

static enum out_color kind_color(const char *kind)
{
	if (strcmp(kind, "repaired") == 0 || strcmp(kind, "contention-ended") == 0)
		return OUT_GOOD;
	if (strcmp(kind, "drift") == 0 || strcmp(kind, "contended") == 0 || strcmp(kind, "watcher-removed") == 0)
		return OUT_WARN;
	return strstr(kind, "degraded") || strstr(kind, "failed") || strstr(kind, "refused") ? OUT_BAD : OUT_PLAIN;
}

static void print_table(const struct cli *cli, const json_t *events)
{
	static const char *const headings[] = {"TIME (UTC)", "OBJECT", "KIND", "WHAT", NULL};
	struct out_table *t = out_table_new(headings);
	const json_t *event;
	size_t i;

	json_array_foreach(events, i, event) {
		time_cell(t, event);
		show_cell(t, OUT_PLAIN, event, "object");
		out_cell(t, kind_color(show_text(event, "kind")), "%s", show_text(event, "kind"));
		show_cell(t, OUT_PLAIN, json_object_get(event, "detail"), "message");
	}
	out_table_print(t, stdout, cli->color);
	out_table_free(t);
}

enum cli_status cli_history_run(struct cli *cli, const struct cli_args *args)
{
	json_t *result = NULL, *events = cli_must(json_array()), *event;
	struct nk_error err = {0};
	uint64_t last = LAST_DEFAULT;
	enum cli_status status = CLI_OK;
	int64_t kept;
	int r = 0;

	if (args->opt[OPT_LAST])
		status = cli_number(cli, "--last", args->opt[OPT_LAST], &last);
	if (status == CLI_OK)
		status = cli_call(cli, "event.subscribe", cli_must(json_pack("{s:i}", "since", 0)), CLI_CALL_MS, NULL, &result);
	kept = status == CLI_OK ? show_number(result, "kept") : 0;
	for (int64_t i = 0; i < kept && (r = nk_client_next_event(cli->client, CLI_CALL_MS, &event)) >= 0; i++) {
		json_array_append_new(events, event);
		if (last && json_array_size(events) > last)
			json_array_remove(events, 0);
	}
	if (r < 0)
		status = cli_failed(cli, r, &err, NULL);
	if (status == CLI_OK && cli->json) {
		json_t *all = cli_must(json_pack("{s:O, s:O, s:O}", "seq", json_object_get(result, "seq"), "from", json_object_get(result, "from"),
						 "events", events));

		out_json(all);
		json_decref(all);
	} else if (status == CLI_OK) {
		print_table(cli, events);
	}
	json_decref(events);
	json_decref(result);
	return status;
}
