// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/* What store_open.c and store.c share. Nobody else includes this: SQLite is known in these two files only. */
#include <sqlite3.h>

#include "daemon/store_schema.h"

/* An SQLite result as a negative errno. db may be NULL. */
int nk_store_errno(sqlite3 *db, int code);
/* Prepare all statements over an open database and take it over. On failure db stays the caller's. */
int nk_store_wrap(sqlite3 *db, struct nk_store **ret);
