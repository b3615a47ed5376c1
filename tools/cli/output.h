// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Text for people: clean strings, widths in display cells, tables, colours. The commands print through it. It knows no JSON
 * beyond printing a value as it is, and never talks to the daemon.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum out_color { OUT_PLAIN, OUT_GOOD, OUT_WARN, OUT_BAD, OUT_FAINT, OUT_BOLD };

/* Make the C library read text as UTF-8, which is what JSON is. Call once, before anything else here. */
void out_init(void);

/*
 * A copy in which everything that isn't printable is written as \xNN: names and messages may come from foreign objects, and
 * must not steer the terminal. free() it.
 */
char *out_clean(const char *text);
/* How many cells of a terminal clean text takes. */
size_t out_width(const char *text);

/* The bytes that switch a colour on, "" when colours are off; out_reset switches back. */
const char *out_paint(bool color, enum out_color c);
const char *out_reset(bool color, enum out_color c);
/* The colour of a state's name: "ready", "pending", "degraded", "released", "foreign", "present", "missing", … */
enum out_color out_state_color(const char *state);

struct out_table; /* opaque */

/* Columns as a NULL-ended list of headings that outlive the table; ">" before a heading sets the column to the right. */
struct out_table *out_table_new(const char *const *headings);
struct out_table *out_table_free(struct out_table *t);
/* The next cell; after the last column the next row begins. An empty text is shown as "-". Only the last column has several lines. */
void out_cell(struct out_table *t, enum out_color c, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t out_table_rows(const struct out_table *t);
/* Print with two spaces between columns, nothing behind the last. Headings only if there are any. */
void out_table_print(const struct out_table *t, FILE *f, bool color);

/* Seconds as "3 d 4 h", "5 min 2 s", "12 s". Returns buf. */
#define OUT_DURATION_LEN 48
char *out_duration(uint64_t seconds, char *buf, size_t size);

/* A JSON value, indented, and a newline. */
void out_json(const json_t *json);
/* A JSON value in one line for a person: a string without quotes, a list with ", ", an object as "key value key value". free() it. */
char *out_brief(const json_t *json);
