// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * SQLite's file layer, passed through but for one operation that fails, or at which the process ends: what a full disk, a bad
 * disk and a power cut look like to the store. Only tests use it.
 */

enum nk_fault_op {
	NK_FAULT_OPEN = 1 << 0,
	NK_FAULT_WRITE = 1 << 1,
	NK_FAULT_SYNC = 1 << 2,
	NK_FAULT_TRUNCATE = 1 << 3,
	NK_FAULT_LOCK = 1 << 4,
	NK_FAULT_DELETE = 1 << 5,
	NK_FAULT_ALL = (1 << 6) - 1,
};

/* Become SQLite's default file layer. */
void nk_fault_install(void);
/* The n-th (from 1) operation among `ops` from now on returns `code`; code 0: the process ends there, half of a write done. */
void nk_fault_arm(int ops, unsigned n, int code);
/* No more faults. Returns 1 if the armed one happened. */
int nk_fault_disarm(void);
