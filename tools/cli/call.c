// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calling the daemon, and explaining to a person why it can't be called. The commands use it; it knows no method.
 */
#include <errno.h>
#include <grp.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/cli/cli.h"
#include "tools/cli/report.h"

extern char **environ;

int cli_connect(struct cli *cli)
{
	return cli->client ? 0 : nk_client_connect(cli->socket, &cli->client);
}

/* Ask systemd what a unit is doing: "active", "inactive", "failed", …; "" where there is no systemd to ask. */
static void unit_state(const char *unit, char *buf, size_t size)
{
	const char *const argv[] = {"systemctl", "is-active", unit, NULL};
	posix_spawn_file_actions_t actions;
	int out[2], status;
	ssize_t n = 0;
	pid_t pid;

	buf[0] = '\0';
	if (access("/run/systemd/system", F_OK) < 0 || pipe(out) < 0)
		return;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, out[0]);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 0, 0);
	if (posix_spawnp(&pid, "systemctl", &actions, NULL, (char *const *)argv, environ) == 0) {
		close(out[1]);
		out[1] = -1;
		n = read(out[0], buf, size - 1);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	posix_spawn_file_actions_destroy(&actions);
	close(out[0]);
	if (out[1] >= 0)
		close(out[1]);
	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
}

/* Who may connect: the group of the socket, as its file says. */
static void explain_denied(const struct cli *cli)
{
	struct stat st;
	struct group *group = stat(cli->socket, &st) == 0 ? getgrgid(st.st_gid) : NULL;

	if (group)
		cli_say(cli, "only root and members of group '%s' may ask netkitd: 'usermod -aG %s USER', then log in again",
			group->gr_name, group->gr_name);
	else
		cli_say(cli, "only root and members of the socket's group may ask netkitd");
}

/* What the service is doing, and what to do about it. */
static void explain_service(const struct cli *cli)
{
	char state[32];

	unit_state("netkitd.service", state, sizeof(state));
	if (strcmp(state, "active") == 0 || strcmp(state, "reloading") == 0)
		cli_say(cli, "the service is running: if it listens elsewhere ('socket_path' in /etc/netkitd/netkitd.json), say where with "
			     "--socket, otherwise see 'journalctl -u netkitd'");
	else if (strcmp(state, "activating") == 0)
		cli_say(cli, "the service is still starting, or starts again and again: see 'journalctl -u netkitd'");
	else if (strcmp(state, "failed") == 0)
		cli_say(cli, "the service has failed: see 'journalctl -u netkitd', then 'systemctl restart netkitd'");
	else if (state[0])
		cli_say(cli, "the service is not running: 'systemctl start netkitd' starts it");
	else
		cli_say(cli, "netkitd is not running, or not by systemd");
}

enum cli_status cli_unreachable(const struct cli *cli, int error)
{
	if (error < 0)
		error = -error;
	cli_say(cli, "cannot reach netkitd at %s: %s (%s)", cli->socket, strerror(error), strerrorname_np(error));
	if (error == EACCES || error == EPERM) {
		explain_denied(cli);
		return CLI_ERROR;
	}
	if (cli->socket_given) {
		cli_say(cli, "is netkitd listening there? Without --socket the path is %s", NK_SOCKET_DEFAULT);
		return CLI_ERROR;
	}

	explain_service(cli);
	return CLI_ERROR;
}

int cli_try(struct cli *cli, const char *method, json_t *params, int timeout_ms, json_t **ret_result, struct nk_error *err)
{
	int r = cli_connect(cli);

	if (r >= 0)
		r = nk_client_call(cli->client, method, params, NULL, 0, timeout_ms, ret_result, err);
	json_decref(params);
	return r;
}

enum cli_status cli_failed(struct cli *cli, int r, struct nk_error *err, const struct cli_input *input)
{
	switch (r) {
	case -EREMOTEIO:
		cli_report(cli, stderr, err, input);
		nk_error_clear(err);
		break;
	case -ETIMEDOUT:
		cli_say(cli, "netkitd did not answer in time (ETIMEDOUT)");
		explain_service(cli);
		break;
	case -ECONNRESET:
		cli_say(cli, "netkitd closed the connection before it answered (ECONNRESET)");
		explain_service(cli);
		break;
	case -EPROTO:
		cli_say(cli, "what answers at %s does not speak netkitd's protocol (EPROTO)", cli->socket);
		break;
	case -ENOMEM:
		cli_must(NULL);
		break;
	default:
		if (!cli->client)
			return cli_unreachable(cli, r);
		cli_say(cli, "cannot ask netkitd: %s (%s)", strerror(-r), strerrorname_np(-r));
	}
	return CLI_ERROR;
}

enum cli_status cli_call(struct cli *cli, const char *method, json_t *params, int timeout_ms, const struct cli_input *input,
			 json_t **ret_result)
{
	struct nk_error err = {0};
	int r = cli_try(cli, method, params, timeout_ms, ret_result, &err);

	return r < 0 ? cli_failed(cli, r, &err, input) : CLI_OK;
}
