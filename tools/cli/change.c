// SPDX-License-Identifier: GPL-2.0-only
/*
 * One change of the desired state, sent, told and if wanted waited for: what apply, set and delete have in common.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli/cli.h"
#include "tools/cli/input.h"
#include "tools/cli/output.h"
#include "tools/cli/show.h"

enum cli_status cli_changed(struct cli *cli, json_t *result, bool wait, uint32_t wait_ms)
{
	uint64_t revision = (uint64_t)show_number(result, "revision");
	char *devices = show_plan(json_object_get(result, "plan"));
	enum cli_status status = CLI_OK;
	json_t *waited = NULL;

	/* People get to see that the change is safe before they wait; programs get one value. */
	if (!cli->json) {
		printf("revision %llu accepted: %s\n", (unsigned long long)revision, devices);
		fflush(stdout);
	}
	if (wait)
		status = cli_wait(cli, revision, wait_ms, &waited);
	if (waited)
		json_object_update(result, waited);
	if (cli->json)
		out_json(result);
	json_decref(waited);
	json_decref(result);
	free(devices);
	return status;
}

enum cli_status cli_change(struct cli *cli, const char *method, json_t *params, bool wait, uint32_t wait_ms,
			   const struct cli_input *input)
{
	json_t *result = NULL;
	enum cli_status status = cli_call(cli, method, params, CLI_CALL_MS, input, &result);

	return status == CLI_OK ? cli_changed(cli, result, wait, wait_ms) : status;
}
