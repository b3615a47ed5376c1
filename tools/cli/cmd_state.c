// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commands about the whole desired state: apply, plan, wait, rebuild.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/cli.h"
#include "tools/cli/input.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"
#include "tools/cli/show.h"

#define REBUILD_MS 15000 /* how long to hope for an answer before the daemon is taken for dead, in milliseconds */

enum { APPLY_REPLACE, APPLY_DRY_RUN, APPLY_WAIT, APPLY_EXPECT };
const struct cli_option cli_apply_options[] = {
	{'r', "replace", NULL, false, "the document is all there is: delete what it does not name"},
	{'n', "dry-run", NULL, false, "only show what would be done, like 'plan'"},
	{'w', "wait", "SECONDS", true, "wait until it is there, 60 seconds if no number is given"},
	{0, "expected-revision", "N", false, "only if N still is the newest revision"},
	{0},
};

enum { PLAN_REPLACE };
const struct cli_option cli_plan_options[] = {
	{'r', "replace", NULL, false, "as if the document was all there is"},
	{0},
};

enum { WAIT_REVISION, WAIT_TIMEOUT };
const struct cli_option cli_wait_options[] = {
	{0, "revision", "N", false, "wait for this revision, not for the newest"},
	{'t', "timeout", "SECONDS", false, "give up after this time (60)"},
	{0},
};

enum { REBUILD_UNCLAIMED };
const struct cli_option cli_rebuild_options[] = {
	{'u', "unclaimed", NULL, false, "only devices and interfaces that no document names"},
	{0},
};

/* The operations, under a heading for each phase. */
static void print_plan(const struct cli *cli, const json_t *plan)
{
	const json_t *ops = json_object_get(plan, "ops"), *op;
	char *devices = show_plan(plan);
	const char *phase = "";
	size_t i;

	json_array_foreach(ops, i, op) {
		char *text = out_clean(show_text(op, "text"));

		if (strcmp(phase, show_text(op, "phase")) != 0) {
			phase = show_text(op, "phase");
			printf("%s%s%s\n", out_paint(cli->color, OUT_BOLD), phase, out_reset(cli->color, OUT_BOLD));
		}
		printf("  %s\n", text);
		free(text);
	}
	if (json_array_size(ops) == 0)
		printf("nothing to do: everything is as the document says\n");
	else
		printf("%zu operation%s (%s), none of them done\n", json_array_size(ops), json_array_size(ops) == 1 ? "" : "s", devices);
	free(devices);
}

/* Read a revision; CLI_USAGE (told) if text isn't one. */
static enum cli_status revision_of(const struct cli *cli, const char *option, const char *text, json_int_t *ret)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || end == text || *end || n < 0)
		return cli_usage(cli, "%s=%s: this is not a revision", option, text);
	*ret = n;
	return CLI_OK;
}

static enum cli_status read_document(struct cli *cli, const struct cli_args *args, struct cli_input *ret)
{
	if (args->n_words == 0 && isatty(STDIN_FILENO))
		return cli_usage(cli, "which file? '-' reads what you type");
	return cli_input_read(cli, args->n_words ? args->words[0] : "-", "/document", ret);
}

static enum cli_status plan_document(struct cli *cli, const struct cli_args *args, bool replace)
{
	struct cli_input in = {0};
	json_t *result = NULL;
	enum cli_status status = read_document(cli, args, &in);

	if (status != CLI_OK)
		return status;
	status = cli_call(cli, "state.apply",
			  json_pack("{s:O, s:s, s:b}", "document", in.json, "mode", replace ? "replace" : "merge", "dry_run", 1),
			  CLI_CALL_MS, &in, &result);
	if (status == CLI_OK && cli->json)
		out_json(result);
	else if (status == CLI_OK)
		print_plan(cli, json_object_get(result, "plan"));
	json_decref(result);
	cli_input_clear(&in);
	return status;
}

enum cli_status cli_plan_run(struct cli *cli, const struct cli_args *args)
{
	return plan_document(cli, args, args->opt[PLAN_REPLACE]);
}

enum cli_status cli_apply_run(struct cli *cli, const struct cli_args *args)
{
	uint32_t wait_ms = CLI_WAIT_S * 1000;
	json_int_t expected = 0;
	struct cli_input in = {0};
	json_t *params;
	enum cli_status status = CLI_OK;

	if (args->opt[APPLY_DRY_RUN])
		return plan_document(cli, args, args->opt[APPLY_REPLACE]);
	if (args->opt[APPLY_WAIT] && args->opt[APPLY_WAIT][0])
		status = cli_seconds(cli, "--wait", args->opt[APPLY_WAIT], &wait_ms);
	if (status == CLI_OK && args->opt[APPLY_EXPECT])
		status = revision_of(cli, "--expected-revision", args->opt[APPLY_EXPECT], &expected);
	if (status == CLI_OK)
		status = read_document(cli, args, &in);
	if (status != CLI_OK)
		return status;

	params = json_pack("{s:O, s:s}", "document", in.json, "mode", args->opt[APPLY_REPLACE] ? "replace" : "merge");
	if (args->opt[APPLY_EXPECT])
		json_object_set_new(params, "expected_revision", json_integer(expected));
	status = cli_change(cli, "state.apply", params, args->opt[APPLY_WAIT], wait_ms, &in);
	cli_input_clear(&in);
	return status;
}

enum cli_status cli_wait_run(struct cli *cli, const struct cli_args *args)
{
	uint32_t timeout_ms = CLI_WAIT_S * 1000;
	json_int_t revision = 0;
	json_t *result = NULL;
	enum cli_status status = CLI_OK;

	if (args->opt[WAIT_REVISION])
		status = revision_of(cli, "--revision", args->opt[WAIT_REVISION], &revision);
	if (status == CLI_OK && args->opt[WAIT_TIMEOUT])
		status = cli_seconds(cli, "--timeout", args->opt[WAIT_TIMEOUT], &timeout_ms);
	if (status != CLI_OK)
		return status;

	status = cli_wait(cli, (uint64_t)revision, timeout_ms, &result);
	if (cli->json && result)
		out_json(result);
	json_decref(result);
	return status;
}

enum cli_status cli_rebuild_run(struct cli *cli, const struct cli_args *args)
{
	struct nk_error err = {0};
	json_t *result = NULL;
	int r = cli_try(cli, "state.rebuild", json_pack("{s:b}", "unclaimed", args->opt[REBUILD_UNCLAIMED] != NULL), REBUILD_MS,
			&result, &err);

	/* With socket activation a daemon that can't start looks like one that accepts and then hangs up. */
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET || r == -ETIMEDOUT) {
		if (args->opt[REBUILD_UNCLAIMED])
			cli_say(cli, "no netkitd answers, so that nothing is claimed: this is all that is marked as netkitd's");
		execl(NK_NETKITD, NK_NETKITD, "--rebuild", (char *)NULL);
		cli_say(cli, "no netkitd answers at %s, and %s can't be run: %s (%s)", cli->socket, NK_NETKITD, strerror(errno),
			strerrorname_np(errno));
		return CLI_ERROR;
	}
	if (r < 0)
		return cli_failed(cli, r, &err, NULL);
	out_json(cli->json ? result : json_object_get(result, "document"));
	json_decref(result);
	return CLI_OK;
}
