// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting until the kernel holds what was asked for: the common end of apply, set, delete and wait. On a terminal a line tells
 * how far it is; elsewhere only the end is told, so that logs stay short.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli/cli.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"
#include "tools/cli/show.h"

#define PROGRESS_MS 250 /* how often the line on a terminal is renewed, in milliseconds */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* "340 of 1000 devices ready, 2 degraded", over the line that was there before. */
static void print_progress(struct cli *cli)
{
	struct nk_error err = {0};
	json_t *status = NULL;
	const json_t *counts;

	if (cli_try(cli, "daemon.status", NULL, CLI_CALL_MS, &status, &err) < 0) {
		nk_error_clear(&err);
		return;
	}
	counts = json_object_get(status, "counts");
	fprintf(stderr, "\r\033[K%lld of %lld devices ready", (long long)show_number(counts, "devices_ready"),
		(long long)show_number(counts, "devices"));
	if (show_number(counts, "devices_degraded"))
		fprintf(stderr, ", %lld degraded", (long long)show_number(counts, "devices_degraded"));
	fflush(stderr);
	json_decref(status);
}

enum cli_status cli_wait(struct cli *cli, uint64_t revision, uint32_t timeout_ms, json_t **ret_result)
{
	uint64_t begin = now_ms(), end = begin + timeout_ms;
	bool progress = isatty(STDERR_FILENO) && !cli->json, shown = false, early = false, converged;
	json_t *result = NULL;
	enum cli_status status;

	for (;;) {
		uint64_t now = now_ms(), left = end > now ? end - now : 0;
		uint64_t slice = progress && !early && left > PROGRESS_MS ? PROGRESS_MS : left;

		status = cli_call(cli, "state.wait",
				  json_pack("{s:I, s:I}", "revision", (json_int_t)revision, "timeout_ms", (json_int_t)slice),
				  (int)slice + CLI_CALL_MS, NULL, &result);
		if (status != CLI_OK)
			break;
		converged = json_is_true(json_object_get(result, "converged"));
		if (converged || slice == left)
			break;
		json_decref(result);
		result = NULL;
		/* Long before its time: nothing is under way any more. Whoever asks for the whole rest then is told so at once again, and
		 * waits if it was the daemon's clock. */
		early = now_ms() - now < slice / 2;
		if (early)
			continue;
		print_progress(cli);
		shown = true;
	}
	if (shown)
		fputs("\r\033[K", stderr);
	if (status != CLI_OK)
		return status;

	if (!cli->json && converged) {
		printf("revision %lld is there (%.1f s)\n", (long long)show_number(result, "revision"),
		       (double)(now_ms() - begin) / 1000);
	} else if (!cli->json) {
		const json_t *pending = json_object_get(result, "pending");

		cli_say(cli, "revision %lld is not there after %.1f s: %zu %s not ready", (long long)show_number(result, "revision"),
			(double)(now_ms() - begin) / 1000, json_array_size(pending),
			json_array_size(pending) == 1 ? "object is" : "objects are");
		show_pending(pending, stderr, cli->color && isatty(STDERR_FILENO));
	}
	if (ret_result)
		*ret_result = result;
	else
		json_decref(result);
	return converged ? CLI_OK : CLI_NOT_READY;
}
