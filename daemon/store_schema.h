// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The schema's history, apart from store.h so that a test can open a file with a longer or shorter one than today's. Daemon code
 * calls nk_store_open.
 */
#include "daemon/store.h"

#define NK_STORE_APPLICATION_ID 0x6e6b7464 /* "nktd" */

/* steps[i] is the SQL that takes a file from version i to version i + 1. A published step never changes. */
struct nk_store_schema {
	const char *const *steps;
	int n;
};

extern const struct nk_store_schema nk_store_schema;

int nk_store_open_as(const char *path, const struct nk_store_schema *schema, struct nk_store **ret, char *why, size_t size);
