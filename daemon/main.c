// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkitd's command line: run the daemon, or answer one question (--check, --rebuild) and end.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/manager.h"
#include "daemon/rebuild.h"

#define SETTINGS_DEFAULT "/etc/netkitd/netkitd.json"

static void usage(FILE *f)
{
	fprintf(f, "Usage: netkitd [OPTION]\n"
		   "Own the netkit devices and BPF links of this host and keep them as desired.\n"
		   "\n"
		   "  -c, --config FILE  settings (default " SETTINGS_DEFAULT ")\n"
		   "      --check        say what the kernel and this process offer, line by line, and exit: 0 if all that\n"
		   "                     netkitd needs is there, else 1\n"
		   "      --rebuild      print the document of what the kernel holds, without the database, and exit\n"
		   "  -h, --help         this text\n"
		   "      --version\n"
		   "\n"
		   "Usually started by systemd: systemctl start netkitd. See netkitd(8), netkitd-cli(1), netkitd.json(5).\n");
}

/* Tell an error on standard error and, if systemd asks, as the unit's status. */
static int refuse(struct nk_error *err, int r)
{
	json_t *problem;
	size_t i;

	fprintf(stderr, "<3>netkitd: %s\n", err->message ? err->message : strerror(-r));
	json_array_foreach(err->problems, i, problem) {
		fprintf(stderr, "<3>netkitd: %s: %s\n", json_string_value(json_object_get(problem, "pointer")),
			json_string_value(json_object_get(problem, "message")));
	}
	sd_notifyf(0, "STATUS=%s\nERRNO=%d", err->message ? err->message : strerror(-r), -r);
	nk_error_clear(err);
	/* What another start would only meet again: systemd is told not to try (RestartPreventExitStatus=). */
	return r == -EINVAL || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -EMEDIUMTYPE ? EX_CONFIG : EXIT_FAILURE;
}

static int check(const char *settings_path)
{
	struct nk_settings settings = { 0 };
	struct nk_error err = { 0 };
	struct nk_probe probe;
	int r = nk_settings_load(settings_path, &settings, &err);

	if (r == 0 || r == -ENOENT)
		r = nk_probe_run(settings.bpffs, &probe);
	nk_settings_clear(&settings);
	if (r < 0)
		return refuse(&err, r);
	nk_probe_tracing(&probe);
	return nk_probe_print(&probe, stdout);
}

static int serve(const char *settings_path)
{
	struct nk_error err = { 0 };
	struct nk_manager *m;
	int r;

	signal(SIGPIPE, SIG_IGN);
	/* Two threads, and large things are few: one arena gives memory back and doesn't spread. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, 256 << 10);
	/* Of buffers for the largest messages the first page of each is written. Huge pages would make all of it resident. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	r = nk_manager_new(settings_path, &m, &err);
	if (r < 0)
		return refuse(&err, r);
	r = nk_manager_run(m);
	nk_manager_free(m);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	enum { CHECK = 256, REBUILD, VERSION };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, CHECK },
		{ "rebuild", no_argument, NULL, REBUILD },  { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, VERSION },  { NULL, 0, NULL, 0 },
	};
	const char *settings = SETTINGS_DEFAULT;
	struct nk_error err = { 0 };
	int c, mode = 0, r;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			settings = optarg;
			break;
		case CHECK:
		case REBUILD:
			mode = c;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		case VERSION:
			puts("netkitd " NK_VERSION);
			return EXIT_SUCCESS;
		default:
			fprintf(stderr, "Try 'netkitd --help'.\n");
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "netkitd: unexpected argument '%s'\nTry 'netkitd --help'.\n", argv[optind]);
		return 2;
	}
	if (geteuid() != 0 && mode != CHECK) {
		fprintf(stderr, "netkitd: must run as root; try 'systemctl start netkitd'\n");
		return EXIT_FAILURE;
	}
	if (mode == CHECK)
		return check(settings);
	if (mode == REBUILD) {
		r = nk_rebuild_print(settings, &err);
		return r < 0 ? refuse(&err, r) : EXIT_SUCCESS;
	}
	return serve(settings);
}
