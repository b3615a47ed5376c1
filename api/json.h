// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Text to JSON and back, with the limits of the contract. Everything that reads JSON from outside (the socket, the settings,
 * state.d, the database, the command line) reads it here, so that the same bytes are refused everywhere with the same words.
 */
#include <stddef.h>

#include "api/error.h"

/*
 * Parse one JSON text of len bytes (no closing NUL is needed). Refused, with the line, column and byte told: what is not UTF-8,
 * cut short, nested deeper than NK_DEPTH_MAX, or names a member of an object twice. Whether the value is an object is the
 * caller's to judge. 0 with *ret a new reference; -EINVAL with err filled (NK_E_PARSE, or NK_E_LIMIT for the nesting); -ENOMEM.
 */
int nk_json_parse(const char *text, size_t len, json_t **ret, struct nk_error *err);

/*
 * Parse a file. Refused besides: what isn't a regular file, or has more than max bytes. -ENOENT and what else opening and reading say, with
 * err as it was.
 */
int nk_json_read(const char *path, size_t max, json_t **ret, struct nk_error *err);

/* A JSON string of bytes that may not be UTF-8 (names and texts from the kernel): what is not becomes "?". NULL without memory. */
json_t *nk_json_text(const char *text);

/* The same in place, and of control characters too, but for the ends of lines: what others chose goes into the journal like this. */
void nk_text_clean(char *text);

/* Where to cut text so that at most max bytes stay and no character is split. */
size_t nk_utf8_clip(const char *text, size_t max);
