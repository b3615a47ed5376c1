// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Tells which of our pins are removed, and which programs are pinned again, by inotify: it needs no tracing, and tells also of a pin whose
 * link somebody else still holds, and of their directories. The loop owns it. What our own thread does is told as well.
 */
#include <stdbool.h>

enum nk_pin_what {
	NK_PIN_LINK,      /* of a device or interface: its name */
	NK_PIN_PROGRAM,   /* came or went: its name */
	NK_PIN_DIRECTORY, /* is not where it was: its name below dir, or empty: dir itself */
	NK_PIN_ANY,       /* words were lost, so each of them may have gone: no name */
};

typedef void (*nk_pin_watch_fn)(enum nk_pin_what what, const char *name, void *arg);

/* Watch the directories below dir (bpf.h), which exist. A descriptor that is readable when there is something to tell, or -errno. */
int nk_pin_watch_open(const char *dir);
/* Tell all that waits. */
void nk_pin_watch_read(int fd, nk_pin_watch_fn fn, void *arg);
