// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Fill an error from an errno: a sentence that says what was tried, then what the system calls the cause. Used all over kernel/.
 */
#include "api/error.h"

/* error is a negative errno and is returned; err may be NULL. The message becomes "<sentence>: <strerror>". */
int nk_fail(struct nk_error *err, enum nk_error_code code, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* The same where the sentence says all, and the errno is only a name for it. */
int nk_refuse(struct nk_error *err, enum nk_error_code code, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/*
 * Copy an error into err as the problem at a JSON pointer, and clear it; without a message of its own it says what the errno r (negative)
 * means. Returns r.
 */
int nk_fail_at(struct nk_error *err, const char *pointer, struct nk_error *why, int r);
