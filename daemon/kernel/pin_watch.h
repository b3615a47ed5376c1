// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Tells which of our pins are removed, and which programs are pinned again, by inotify: it needs no tracing, and tells also of a pin whose
 * link somebody else still holds. The loop owns it. What our own thread does is told as well.
 */
#include <stdbool.h>

/* name: of the program, or of the device whose link it was; NULL: words were lost, any pin may be gone. */
typedef void (*nk_pin_watch_fn)(bool is_program, const char *name, void *arg);

/* Watch the directories below dir (bpf.h), which exist. A descriptor that is readable when there is something to tell, or -errno. */
int nk_pin_watch_open(const char *dir);
/* Tell all that waits. */
void nk_pin_watch_read(int fd, nk_pin_watch_fn fn, void *arg);
