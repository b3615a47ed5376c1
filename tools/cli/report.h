// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Errors as people read them, on standard error: which command, which file and line, which place, what, and the cause.
 */
#include <stdio.h>

#include "tools/cli/cli.h"
#include "tools/cli/input.h"

/* "netkitd-cli: apply: " and the sentence. */
void cli_say(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An error of the contract to f: a line for each problem. `input`, or NULL, is what the places point into. */
void cli_report(const struct cli *cli, FILE *f, const struct nk_error *err, const struct cli_input *input);
