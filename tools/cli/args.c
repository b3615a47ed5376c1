// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line: options of the program before or behind the command, options of the command, help for both. All of it
 * comes from the tables in main.c and the command files, so that what the help shows is what is taken.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/cli.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"

/* Values that getopt_long returns: the place in the program's list, or GLOBALS + the place in the command's. */
#define GLOBALS 1000
#define WAIT_MAX_S 3600 /* the daemon's own limit */

/* Places in cli_global_options. */
enum { OPT_SOCKET, OPT_OUTPUT, OPT_NO_COLOR, OPT_HELP, OPT_VERSION };

static size_t count(const struct cli_option *options)
{
	size_t n = 0;

	while (options && options[n].name)
		n++;
	return n;
}

/* Two columns, the left one as wide as it needs to be. */
static const char *const columns[] = {"", "", NULL};

static void print_options(const struct cli_option *options)
{
	struct out_table *t = out_table_new(columns);

	for (size_t i = 0; i < count(options); i++) {
		const struct cli_option *o = &options[i];
		char letter[] = {'-', o->letter, ',', '\0'};

		out_cell(t, OUT_PLAIN, "  %s --%s%s%s%s", o->letter ? letter : "   ", o->name,
			 !o->arg ? "" : o->arg_optional ? "[=" : "=", o->arg ? o->arg : "", o->arg_optional ? "]" : "");
		out_cell(t, OUT_PLAIN, "%s", o->text);
	}
	out_table_print(t, stdout, false);
	out_table_free(t);
}

static void print_help(const struct cli_command *command)
{
	struct out_table *t;

	if (command) {
		printf("Usage: netkitd-cli %s [OPTIONS]%s%s\n\n%s.%s%s\n", command->name, command->words[0] ? " " : "",
		       command->words, command->text, command->more ? "\n" : "", command->more ? command->more : "");
		if (count(command->options)) {
			printf("\nOptions:\n");
			print_options(command->options);
		}
		printf("\nOptions of every command:\n");
		print_options(cli_global_options);
		return;
	}
	printf("Usage: netkitd-cli [OPTIONS] COMMAND …\n\n"
	       "Asks netkitd, which owns this host's netkit devices and their BPF programs.\n\nCommands:\n");
	t = out_table_new(columns);
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		out_cell(t, OUT_PLAIN, "  %s %s", c->name, c->words);
		out_cell(t, OUT_PLAIN, "%s", c->text);
	}
	out_table_print(t, stdout, false);
	out_table_free(t);
	printf("\nOptions:\n");
	print_options(cli_global_options);
	printf("\nExit status: 0 good, 1 error, 2 wrong usage, 3 not converged or degraded.\n"
	       "'netkitd-cli COMMAND --help' tells more of a command; see also netkitd-cli(1), netkitd.json(5).\n");
}

enum cli_status cli_usage(const struct cli *cli, const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	cli_say(cli, "%s", (char *)cli_must(text));
	free(text);
	fprintf(stderr, "'netkitd-cli %s%s--help' shows what there is.\n", cli->command ? cli->command : "", cli->command ? " " : "");
	return CLI_USAGE;
}

enum cli_status cli_seconds(const struct cli *cli, const char *option, const char *text, uint32_t *ret_ms)
{
	unsigned long seconds;
	char *end;

	errno = 0;
	seconds = strtoul(text, &end, 10);
	if (errno || *end || end == text || text[0] == '-' || seconds > WAIT_MAX_S)
		return cli_usage(cli, "%s=%s: this is not a number of seconds (0 to %d)", option, text, WAIT_MAX_S);
	*ret_ms = (uint32_t)(seconds * 1000);
	return CLI_OK;
}

static void take_global(struct cli *cli, size_t option, const char *value, const struct cli_command *command)
{
	switch (option) {
	case OPT_SOCKET:
		cli->socket = value;
		cli->socket_given = true;
		break;
	case OPT_OUTPUT:
		if (strcmp(value, "json") != 0 && strcmp(value, "table") != 0)
			exit(cli_usage(cli, "--output=%s: there is 'table' and 'json'", value));
		cli->json = strcmp(value, "json") == 0;
		break;
	case OPT_NO_COLOR:
		cli->color = false;
		break;
	case OPT_HELP:
		print_help(command);
		exit(CLI_OK);
	case OPT_VERSION:
		printf("netkitd-cli %s\n", NK_VERSION);
		exit(CLI_OK);
	}
}

/* Room for the program's and a command's options, and the closing entry. */
struct getopt_tables {
	struct option longs[2 * CLI_OPTIONS_MAX + 1];
	char letters[6 * CLI_OPTIONS_MAX + 3];
	int of_letter[256];
	size_t n;
};

static void add_options(struct getopt_tables *t, const struct cli_option *options, int base)
{
	for (size_t i = 0; i < count(options); i++) {
		const struct cli_option *o = &options[i];
		int has_arg = !o->arg ? no_argument : o->arg_optional ? optional_argument : required_argument;
		char letter[5];

		t->longs[t->n++] = (struct option){o->name, has_arg, NULL, base + (int)i};
		if (!o->letter)
			continue;
		t->of_letter[(unsigned char)o->letter] = base + (int)i;
		snprintf(letter, sizeof(letter), "%c%s", o->letter, has_arg == no_argument ? "" : o->arg_optional ? "::" : ":");
		strcat(t->letters, letter);
	}
}

/* Read options of argv up to its end (or, before the command is known, up to the first word). */
static void parse(int argc, char **argv, struct cli *cli, const struct cli_command *command, struct cli_args *args)
{
	struct getopt_tables t = {.letters = "+:"};
	int c;

	if (command)
		strcpy(t.letters, ":");
	add_options(&t, cli_global_options, GLOBALS);
	if (command)
		add_options(&t, command->options, GLOBALS + GLOBALS);

	optind = 0; /* glibc: begin anew, also with the order of words */
	while ((c = getopt_long(argc, argv, t.letters, t.longs, NULL)) != -1) {
		if (c == '?')
			exit(cli_usage(cli, "%s: there is no such option, or it takes no argument", argv[optind - 1]));
		if (c == ':')
			exit(cli_usage(cli, "%s: this option needs an argument", argv[optind - 1]));
		if (c < GLOBALS)
			c = t.of_letter[c];
		if (c >= 2 * GLOBALS)
			args->opt[c - 2 * GLOBALS] = optarg ? optarg : "";
		else
			take_global(cli, (size_t)(c - GLOBALS), optarg, command);
	}
}

const struct cli_command *cli_parse(int argc, char **argv, struct cli *cli, struct cli_args *ret)
{
	const struct cli_command *command = cli_commands;
	struct cli_args args = {0};

	parse(argc, argv, cli, NULL, &args);
	if (optind >= argc)
		exit(cli_usage(cli, "a command is missing"));
	argc -= optind;
	argv += optind;
	while (command->name && strcmp(command->name, argv[0]) != 0)
		command++;
	if (!command->name)
		exit(cli_usage(cli, "there is no command '%s'", argv[0]));

	cli->command = command->name;
	parse(argc, argv, cli, command, &args);
	args.words = argv + optind;
	args.n_words = (size_t)(argc - optind);
	if (args.n_words < command->min_words)
		exit(cli_usage(cli, "something is missing: netkitd-cli %s %s", command->name, command->words));
	if (args.n_words > command->max_words)
		exit(cli_usage(cli, "'%s' is too much: netkitd-cli %s %s", args.words[command->max_words], command->name,
			       command->words));
	*ret = args;
	return command;
}
