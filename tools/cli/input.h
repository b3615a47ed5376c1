// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What a command reads: a JSON file or standard input, kept as text too, so that errors can name lines; and the
 * "member=value" words of set.
 */
#include "tools/cli/cli.h"

struct cli_input {
	char *name;         /* for messages: the path, or "<stdin>"; owned */
	char *text;         /* owned */
	size_t len;         /* bytes of text */
	json_t *json;       /* a reference */
	const char *prefix; /* the pointer at which the daemon sees this value: "/document" */
};

/* Read and parse path ("-" is standard input), which the daemon will see at `prefix`. CLI_OK, or CLI_ERROR with the reason told. */
enum cli_status cli_input_read(const struct cli *cli, const char *path, const char *prefix, struct cli_input *ret);
void cli_input_clear(struct cli_input *in);

/*
 * Put one "member=value" into a device: the member may be a path ("peer.netns"), lists are separated by commas, an empty value
 * takes the member out, and a value that begins with '[', '{' or '"' is JSON. `schema` is the contract's, which tells numbers and lists from
 * strings and knows which members there are. CLI_OK, or CLI_USAGE with the reason told.
 */
enum cli_status cli_input_set(const struct cli *cli, json_t *device, const json_t *schema, const char *word);
