// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkitd-cli: the table of commands and the start. A command is one row here and one function; whoever adds one adds a row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/cli.h"
#include "tools/cli/output.h"

#define MANY 10000

const struct cli_option cli_global_options[] = {
	{'s', "socket", "PATH", false, "where netkitd listens (" NK_SOCKET_DEFAULT ")"},
	{'o', "output", "FORMAT", false, "'table' for people, or 'json': what netkitd answered"},
	{0, "no-color", NULL, false, "no colours, which are for terminals only anyway"},
	{'h', "help", NULL, false, "this help"},
	{0, "version", NULL, false, "the version of this program"},
	{0},
};

const struct cli_command cli_commands[] = {
	{"status", "", 0, 0, NULL, "How netkitd is: revisions, devices, health", NULL, cli_status_run},
	{"apply", "[FILE|-]", 0, 1, cli_apply_options, "Make a document the desired state",
	 "The document is merged into the desired state: what it names is set, everything else stays. One call is one change:\n"
	 "either all of the file is accepted, or nothing. Without FILE it comes from standard input.",
	 cli_apply_run},
	{"plan", "[FILE|-]", 0, 1, cli_plan_options, "Show what apply would do, in order, and do nothing", NULL, cli_plan_run},
	{"get", "DEVICE", 1, 1, NULL, "Show one device or interface: desired, observed, condition",
	 "The exit status is 3 if it is not ready.", cli_get_run},
	{"chain", "DEVICE", 1, 1, NULL, "Show what packets meet at each hook of a device or interface",
	 "The programs of each chain as packets meet them, netkitd's and those of others, then what should be there and isn't.\n"
	 "The owners of a foreign link are its pins and the processes that hold it.\n"
	 "Runs of a program are counted at all of its hooks together, while the sysctl kernel.bpf_stats_enabled is 1. The exit\n"
	 "status is 3 if an attachment is missing.",
	 cli_chain_run},
	{"list", "[WHAT [DEVICE]]", 0, 2, cli_list_options, "List devices, interfaces, programs or attachments",
	 "WHAT is devices (if it isn't said), interfaces, programs or attachments; attachments may be those of one DEVICE or\n"
	 "interface only. What netkitd didn't make is shown as foreign.",
	 cli_list_run},
	{"set", "FILE|-|DEVICE [MEMBER=VALUE]…", 1, MANY, cli_set_options, "Set one device, or some of its members",
	 "With one word, that is a file with a device as JSON ('-': standard input), which becomes the whole of that device.\n"
	 "With MEMBER=VALUE words the named members of DEVICE change and the others stay; a device that isn't there is made.\n"
	 "A member inside another is written with a dot (peer.netns=web-1), a list with commas (addresses=10.0.0.1/32,fd00::1),\n"
	 "anything else as JSON; an empty value takes the member out.",
	 cli_set_run},
	{"delete", "DEVICE…", 1, MANY, cli_delete_options, "Delete devices, or let go of interfaces",
	 "Of an interface only what netkitd attached goes. Each is a change of its own: one that can't be deleted doesn't\n"
	 "keep the others.",
	 cli_delete_run},
	{"wait", "", 0, 0, cli_wait_options, "Wait until the desired state is there",
	 "The exit status is 3 if it is not in time; then each object that is missing is told with its reason.", cli_wait_run},
	{"watch", "", 0, 0, cli_watch_options, "Show events as they happen, until interrupted", NULL, cli_watch_run},
	{"history", "", 0, 0, cli_history_options, "Show what happened: drift, repairs, failures",
	 "netkitd keeps the last 1,000 events that a person may look for afterwards, also when it is restarted.", cli_history_run},
	{"check", "", 0, 0, NULL, "What this kernel offers of what netkitd can use",
	 "Asks netkitd, and runs 'netkitd --check' where none answers. The exit status is 1 if something is missing, or can't be\n"
	 "found out, that netkitd can't work without.",
	 cli_check_run},
	{"schema", "[WHAT]", 0, 1, NULL, "Print the JSON Schema of the contract, or of one thing",
	 "WHAT is document, device, interface, program, settings, event, or a method as method:state.apply.", cli_schema_run},
	{"reference", "", 0, 0, NULL, "Print the reference of the socket's methods", NULL, cli_reference_run},
	{"rebuild", "", 0, 0, cli_rebuild_options, "Print a document of what the kernel holds",
	 "Asks netkitd, and runs 'netkitd --rebuild' where none answers: this is for a database that is lost or damaged.\n"
	 "Look through what it prints, then give it to 'netkitd-cli apply'.",
	 cli_rebuild_run},
	{0},
};

int main(int argc, char **argv)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct cli cli = {.socket = NK_SOCKET_DEFAULT};
	const struct cli_command *command;
	struct cli_args args;
	enum cli_status status;

	out_init();
	cli.color = isatty(STDOUT_FILENO) && !(no_color && no_color[0]) && term && strcmp(term, "dumb") != 0;
	command = cli_parse(argc, argv, &cli, &args);
	status = command->run(&cli, &args);
	nk_client_free(cli.client);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("netkitd-cli: cannot write to standard output");
		return CLI_ERROR;
	}
	return (int)status;
}
