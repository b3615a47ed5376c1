// SPDX-License-Identifier: GPL-2.0-only
/*
 * inotify on the directories of pins (pin_watch.h).
 */
#include "daemon/kernel/pin_watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/pins.h"

int nk_pin_watch_open(const char *dir)
{
	/*
	 * A removed link shows in its chain when it is put back; of a program the pin is all there is to see. The executor holds the
	 * directories, and of one that is held no word comes that it is gone itself: that comes from above.
	 */
	static const struct {
		const char *name;
		uint32_t events;
	} below[] = {
		{ ".", IN_DELETE | IN_MOVED_FROM | IN_MOVE_SELF },
		{ "links", IN_DELETE | IN_MOVED_FROM },
		{ "programs", IN_DELETE | IN_MOVED_FROM | IN_CREATE | IN_MOVED_TO },
	};
	_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
		_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s", dir, below[i].name) < 0)
			return -ENOMEM;
		if (inotify_add_watch(fd, path, below[i].events | IN_ONLYDIR) < 0)
			return -errno;
	}
	return nk_take_fd(&fd);
}

static bool is_directory(const char *name)
{
	return !strcmp(name, "links") || !strcmp(name, "programs") || !strcmp(name, "passed");
}

static void tell(const struct inotify_event *e, nk_pin_watch_fn fn, void *arg)
{
	char device[NK_IFNAMSIZ], attachment[NK_NAME_MAX], program[NK_NAME_MAX];
	enum nk_hook hook;

	if (e->mask & IN_Q_OVERFLOW)
		fn(NK_PIN_ANY, NULL, arg);
	else if (e->mask & IN_MOVE_SELF)
		fn(NK_PIN_DIRECTORY, "", arg);
	else if (!e->len)
		return;
	else if (e->mask & IN_ISDIR && is_directory(e->name))
		fn(NK_PIN_DIRECTORY, e->name, arg);
	/* What is there while a pin is exchanged has a name that neither takes. */
	else if (nk_pin_link_parse(e->name, device, &hook, attachment) == 0)
		fn(NK_PIN_LINK, device, arg);
	else if (nk_pin_decode(e->name, program, sizeof(program)) == 0)
		fn(NK_PIN_PROGRAM, program, arg);
}

void nk_pin_watch_read(int fd, nk_pin_watch_fn fn, void *arg)
{
	char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		const struct inotify_event *e;

		for (char *at = buf; at < buf + n; at += sizeof(*e) + e->len) {
			e = (const struct inotify_event *)at;
			tell(e, fn, arg);
		}
	}
}
