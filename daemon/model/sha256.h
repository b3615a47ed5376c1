// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * SHA-256 (FIPS 180-4) of a piece of memory, for the digest that a document may name for an object file. Pure; no library of the
 * project's has one.
 */
#include <stddef.h>

/* The digest in lower-case hexadecimal, 64 digits and a NUL. Returns ret. */
char *nk_sha256(const void *data, size_t size, char *ret);
