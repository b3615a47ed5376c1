// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Tells when something gets a name under /run/netns, by inotify. A namespace that is mounted there shows in the table of mounts as well;
 * one that is linked there (ln -s /proc/PID/ns/net) shows nowhere else. The loop owns it.
 */

/* A descriptor that is readable when a name came, or -errno. The directory needn't be there. */
int nk_netns_watch_open(void);
/* Forget what waits, and see that the directory is watched that is there now. Then look at the names. */
void nk_netns_watch_read(int fd);
