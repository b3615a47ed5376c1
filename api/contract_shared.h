// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/* What the contract's tables share among themselves: words of enums, patterns, tables that stand in more than one other. */
#include "api/table.h"

/* Spelled by contract_document.c; in the order of the model's enums. */
extern const char *const nk_mode_names[], *const nk_policy_names[], *const nk_scrub_names[], *const nk_hook_names[];
extern const struct nk_table nk_table_route;

/* Says the same as nk_ifname_problem. */
#define NK_IFNAME_PATTERN "^(?!\\.{1,2}$)[!-.0-9;-~]{1,15}$"

/* Says the same as nk_name_problem. */
#define NK_NAME_PATTERN "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"

/* An absolute path: NULL if it is good, else what is wrong. */
const char *nk_path_problem(const char *text);
#define NK_PATH_BYTES 4095
/* A function or map in an object file: likewise. */
const char *nk_identifier_problem(const char *text);
#define NK_IDENTIFIER_PATTERN "^[A-Za-z_][A-Za-z0-9_]*$"
/* A boot's id, as in /proc/sys/kernel/random/boot_id: likewise. */
const char *nk_boot_id_problem(const char *text);
#define NK_BOOT_ID_PATTERN "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
