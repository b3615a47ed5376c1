// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The table of mounts of a process, a mount at a time. For whoever looks for a bpffs: bpffs.c where ours is, owners.c where there are any.
 */
#include <stdbool.h>
#include <sys/types.h>

struct nk_mount {
	dev_t dev;
	const char *root;  /* what of its file system is mounted */
	const char *point; /* where */
	const char *type;
};

/* Read a line of /proc/PID/mountinfo, which is cut up for it: ret points into it. False: it is none. */
bool nk_mount_parse(char *line, struct nk_mount *ret);
/* Call fn for each mount in the file `mountinfo`, in its order. Stops and returns fn's value if it is not 0; else 0 or -errno. */
int nk_mounts_each(const char *mountinfo, int (*fn)(const struct nk_mount *m, void *arg), void *arg);
