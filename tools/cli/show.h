// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Members of the daemon's answers, as text. What an older or newer daemon doesn't tell is empty, never an error.
 */
#include <jansson.h>
#include <stdint.h>

#include "tools/cli/output.h"

/* A string member, "" if there is none. Borrowed. */
const char *show_text(const json_t *json, const char *member);
/* A number, 0 if there is none. */
int64_t show_number(const json_t *json, const char *member);
/* A member as a cell: out_brief of it, "" if there is none or it is null. */
void show_cell(struct out_table *t, enum out_color c, const json_t *json, const char *member);
/* The state of a condition: "Ready", "Pending", …; "" if there is none. Borrowed. */
const char *show_state(const json_t *condition);
/* Why a condition isn't ready: "KernelRefused: no such program (ENOENT): the kernel's own words". free() it. */
char *show_reason(const json_t *condition);
/* A line for each object that isn't ready: its name, state and reason. */
void show_pending(const json_t *pending, FILE *f, bool color);
/* What a plan does, counted in devices: "3 to create, 1 to change". "no device to change" if it does nothing. free() it. */
char *show_plan(const json_t *plan);
