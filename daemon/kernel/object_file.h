// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Object files: where they may come from, and reading one. Called by bpf_load.c in the executor's thread, and nk_object_is_allowed
 * by the loop too, when it checks a document.
 */
#include "api/error.h"
#include "daemon/model/value.h"

/* Directories that object files may come from; n 0: anywhere. Borrowed. */
struct nk_object_dirs {
	char *const *dirs;
	size_t n;
};

/* May an absolute path be meant at all? By its words: where its symbolic links lead is seen when it is read. It may have no "..". */
bool nk_object_is_allowed(const struct nk_object_dirs *d, const char *path);
/*
 * Read p's object file, once and whole, and check its digest on what was read: what is loaded from *ret is then what was
 * checked. No symbolic link out of its directory is followed, not even one that somebody makes this very moment. 0 with *ret
 * the caller's to free; -errno with err.
 */
int nk_object_read(const struct nk_program *p, const struct nk_object_dirs *d, char **ret, size_t *ret_size, struct nk_error *err);
