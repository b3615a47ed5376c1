// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The place of our pins, and what it is when mounts come and go: pins belong to a bpffs and not to a path. While the directories are open
 * that bpffs lives, whatever becomes of its mounts, and its pins with it. Called by bpf.c.
 */
#include <stdbool.h>

#include "api/error.h"

/* Descriptors of our directory and those in it. Owned. */
struct nk_bpffs {
	int root, programs, passed, links;
};

/*
 * Make dir and its directories programs, passed and links, and open them. dir must lie on a bpffs that the whole host sees: one
 * that only our mount namespace has would die with us and detach everything. Where /sys/fs/bpf is no bpffs, one is mounted for the host.
 * An empty one that was mounted over another is refused, since that may hide our pins; not so if the caller knows where these are.
 * -errno with err.
 */
int nk_bpffs_open(const char *dir, bool known, struct nk_bpffs *ret, struct nk_error *err);
/*
 * The same for whoever only reads: what isn't there isn't made, and its descriptor is -1. All are if dir lies on no bpffs, and so
 * holds no pins; passed always is. -errno with err.
 */
int nk_bpffs_look(const char *dir, struct nk_bpffs *ret, struct nk_error *err);
/* The same as nk_bpffs_open of a directory that is open, wherever its bpffs is mounted by now. root stays the caller's. 0 or -errno. */
int nk_bpffs_open_kept(int root, struct nk_bpffs *ret);
void nk_bpffs_close(struct nk_bpffs *fs);
/* Are these two directories one? */
bool nk_bpffs_same(int a, int b);
/*
 * Bring all pins from one place to the other, where they replace those of the same names. Each is held by one of them at every
 * instant. -errno with err: all stand where they were, some in both.
 */
int nk_bpffs_move(const struct nk_bpffs *from, const struct nk_bpffs *to, struct nk_error *err);
