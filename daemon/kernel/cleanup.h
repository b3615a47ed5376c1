// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Cleanup attributes of this directory: what a variable holds is given back when it goes out of scope. A descriptor is -1
 * while it holds none.
 */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static inline void nk_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void nk_cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void nk_cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define _free_ __attribute__((cleanup(nk_cleanup_free)))
#define _close_ __attribute__((cleanup(nk_cleanup_close)))
#define _closedir_ __attribute__((cleanup(nk_cleanup_closedir)))

/* Hand a descriptor on: the variable holds none afterwards. */
static inline int nk_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}
