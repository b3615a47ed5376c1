// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The place of our pins. Called by bpf.c at start, and by the feature probe.
 */
#include "api/error.h"

/*
 * Make dir and its directories programs, passed and links, and open the first and the last (O_PATH, the caller's). dir must lie
 * on a bpffs that the whole host sees: one that only our mount namespace has would die with us and detach everything. Where
 * /sys/fs/bpf is no bpffs yet, one is mounted. -errno with err.
 */
int nk_bpffs_open(const char *dir, int *ret_programs, int *ret_links, struct nk_error *err);
