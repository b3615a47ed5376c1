// SPDX-License-Identifier: GPL-2.0-only
/*
 * inotify on the directory of namespaces, or while there is none on the one above it (netns_watch.h).
 */
#include "daemon/kernel/netns_watch.h"

#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "daemon/kernel/netns_scan.h"

#define ABOVE "/run"

static int watch(int fd, const char *dir, uint32_t more)
{
	return inotify_add_watch(fd, dir, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR | more);
}

/* To watch again what is watched already changes nothing. */
static void follow(int fd)
{
	if (watch(fd, NK_NETNS_DIR, 0) >= 0)
		return;
	/* It may come before its coming is told. */
	watch(fd, ABOVE, IN_ONESHOT);
	watch(fd, NK_NETNS_DIR, 0);
}

int nk_netns_watch_open(void)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd < 0)
		return -errno;
	follow(fd);
	return fd;
}

void nk_netns_watch_read(int fd)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	while (read(fd, buf, sizeof(buf)) > 0)
		;
	follow(fd);
}
