// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What the commands of netkitd-cli share: the state of one run, the table of commands, calling the daemon, waiting for a
 * revision. The client knows the contract's names and nothing of the daemon's inside: JSON goes in, text comes out.
 *
 * A run is one command and then the process ends, so memory that is out ends it at once (cli_must), and what lives as long
 * as the run isn't freed piece by piece.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/client.h"

/* Exit statuses, also what every command returns. */
enum cli_status {
	CLI_OK = 0,
	CLI_ERROR = 1,
	CLI_USAGE = 2,
	CLI_NOT_READY = 3, /* not converged, or degraded */
};

#define CLI_OPTIONS_MAX 8
#define CLI_CALL_MS 30000 /* how long a call may take that does not wait for the kernel, in milliseconds */
#define CLI_WAIT_S 60     /* --wait without a number, in seconds */

struct cli_option {
	char letter;      /* 0: long form only */
	const char *name; /* NULL ends the list */
	const char *arg;  /* what the argument is, for the help; NULL: takes none */
	bool arg_optional;
	const char *text;
};

/* The words and options of one command. */
struct cli_args {
	const char *opt[CLI_OPTIONS_MAX]; /* by place in the command's list: NULL not given, "" given without argument */
	char **words;                     /* borrowed from argv */
	size_t n_words;
};

struct cli {
	const char *socket;
	bool socket_given;
	bool json;
	bool color;           /* on standard output */
	const char *command;  /* for messages */
	struct nk_client *client; /* NULL until the first call */
};

struct cli_command {
	const char *name;
	const char *words; /* "[FILE|-]", for the help */
	size_t min_words, max_words;
	const struct cli_option *options;
	const char *text; /* one line, for the list of commands */
	const char *more; /* for --help of the command, or NULL */
	enum cli_status (*run)(struct cli *cli, const struct cli_args *args);
};

extern const struct cli_command cli_commands[]; /* the last one has no name */
extern const struct cli_option cli_global_options[];

/* args.c: read a command line. Ends the process for --help, --version and bad usage. */
const struct cli_command *cli_parse(int argc, char **argv, struct cli *cli, struct cli_args *ret);
/* Say what is wrong with the use of the command, and where help is. Returns CLI_USAGE. */
enum cli_status cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A whole number of seconds as milliseconds; CLI_USAGE (told) if text isn't one or is over an hour. */
enum cli_status cli_seconds(const struct cli *cli, const char *option, const char *text, uint32_t *ret_ms);

/* cmd_history.c: a whole number from 0; CLI_USAGE (told) if text isn't one. */
enum cli_status cli_number(const struct cli *cli, const char *option, const char *text, uint64_t *ret);

/* report.c: returns p; ends the process if it is NULL. */
void *cli_must(void *p);

struct cli_input;

/* call.c: connect once. 0 or -errno, nothing said. */
int cli_connect(struct cli *cli);
/* Say why the daemon can't be reached, and what to do. Returns CLI_ERROR. */
enum cli_status cli_unreachable(const struct cli *cli, int error);
/*
 * Connect if need be, call, and say what went wrong; `input` (or NULL) is the file the params came from, for places in errors.
 * Takes the reference to params. CLI_OK with *ret_result a new reference.
 */
enum cli_status cli_call(struct cli *cli, const char *method, json_t *params, int timeout_ms, const struct cli_input *input,
			 json_t **ret_result);
/* The same, but quiet: -errno of nk_client_call, err filled for -EREMOTEIO. */
int cli_try(struct cli *cli, const char *method, json_t *params, int timeout_ms, json_t **ret_result, struct nk_error *err);
/* Say what kept cli_try from answering. Returns CLI_ERROR. */
enum cli_status cli_failed(struct cli *cli, int r, struct nk_error *err, const struct cli_input *input);

/*
 * wait.c: wait until `revision` (0: the newest) is converged, showing progress on a terminal, and tell how it ended.
 * *ret_result, unless NULL, gets the last answer. CLI_OK, CLI_NOT_READY or CLI_ERROR.
 */
enum cli_status cli_wait(struct cli *cli, uint64_t revision, uint32_t timeout_ms, json_t **ret_result);

/*
 * change.c: send a change (takes the reference to params), tell its revision, and wait for it if `wait`. CLI_OK, CLI_ERROR, or
 * CLI_NOT_READY if it was waited for in vain.
 */
enum cli_status cli_change(struct cli *cli, const char *method, json_t *params, bool wait, uint32_t wait_ms,
			   const struct cli_input *input);
/* The second half of that: tell an accepted change and wait for it. Takes the reference to result. */
enum cli_status cli_changed(struct cli *cli, json_t *result, bool wait, uint32_t wait_ms);

/* The commands. */
enum cli_status cli_status_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_check_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_watch_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_history_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_schema_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_reference_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_apply_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_plan_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_wait_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_rebuild_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_get_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_chain_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_list_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_set_run(struct cli *cli, const struct cli_args *args);
enum cli_status cli_delete_run(struct cli *cli, const struct cli_args *args);
extern const struct cli_option cli_apply_options[], cli_plan_options[], cli_wait_options[], cli_rebuild_options[],
	cli_list_options[], cli_set_options[], cli_delete_options[], cli_watch_options[], cli_history_options[];
