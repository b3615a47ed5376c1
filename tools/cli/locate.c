// SPDX-License-Identifier: GPL-2.0-only
/*
 * A JSON pointer's line in a text, see locate.h. It skips over values without building anything; report.c calls it for files
 * that have been parsed, so it checks no more than it needs for not running past the end.
 */
#include "tools/cli/locate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 512

struct cursor {
	const char *p, *end;
};

static void skip_space(struct cursor *c)
{
	while (c->p < c->end && strchr(" \t\r\n", *c->p) && *c->p)
		c->p++;
}

/* Step over c if it is next. */
static bool take(struct cursor *c, char what)
{
	skip_space(c);
	if (c->p == c->end || *c->p != what)
		return false;
	c->p++;
	return true;
}

/* Step over a string; *ret_begin and *ret_len are what stands between its quotes, escapes as written. */
static bool take_string(struct cursor *c, const char **ret_begin, size_t *ret_len)
{
	if (!take(c, '"'))
		return false;
	*ret_begin = c->p;
	for (; c->p < c->end && *c->p != '"'; c->p++)
		if (*c->p == '\\')
			c->p++;
	if (c->p >= c->end)
		return false;
	*ret_len = (size_t)(c->p - *ret_begin);
	c->p++;
	return true;
}

static bool skip_value(struct cursor *c)
{
	unsigned depth = 0;
	const char *s;
	size_t len;

	do {
		skip_space(c);
		if (c->p == c->end)
			return false;
		if (*c->p == '"') {
			if (!take_string(c, &s, &len))
				return false;
		} else if (*c->p == '{' || *c->p == '[') {
			depth++;
			c->p++;
			if (depth > DEPTH_MAX)
				return false;
		} else if (*c->p == '}' || *c->p == ']') {
			if (depth == 0)
				return false;
			depth--;
			c->p++;
		} else if (*c->p == ',' || *c->p == ':') {
			if (depth == 0)
				return false;
			c->p++;
		} else {
			const char *begin = c->p;

			while (c->p < c->end && !strchr(" \t\r\n,:]}", *c->p))
				c->p++;
			if (c->p == begin)
				return false;
		}
	} while (depth > 0);
	return true;
}

/* Is the pointer's token (up to '/' or the end, ~0 and ~1 for '~' and '/') the key as written? */
static bool token_is(const char *token, size_t token_len, const char *key, size_t key_len)
{
	size_t t = 0, k = 0;

	while (t < token_len && k < key_len) {
		char c = token[t++];

		if (c == '~' && t < token_len)
			c = token[t++] == '1' ? '/' : '~';
		if (key[k] == '\\' && k + 1 < key_len && (key[k + 1] == '/' || key[k + 1] == '"' || key[k + 1] == '\\'))
			k++;
		if (c != key[k++])
			return false;
	}
	return t == token_len && k == key_len;
}

/* From before an object's or array's value to before the value that the token names. */
static bool descend(struct cursor *c, const char *token, size_t token_len)
{
	const char *key;
	size_t key_len;

	if (take(c, '{')) {
		if (take(c, '}'))
			return false;
		do {
			if (!take_string(c, &key, &key_len) || !take(c, ':'))
				return false;
			if (token_is(token, token_len, key, key_len)) {
				skip_space(c);
				return true;
			}
			if (!skip_value(c))
				return false;
		} while (take(c, ','));
		return false;
	}
	if (take(c, '[')) {
		char *end;
		unsigned long index = strtoul(token, &end, 10);

		if (token_len == 0 || end != token + token_len)
			return false;
		for (; index > 0; index--)
			if (!skip_value(c) || !take(c, ','))
				return false;
		skip_space(c);
		return c->p < c->end && *c->p != ']';
	}
	return false;
}

size_t cli_locate(const char *text, size_t len, const char *pointer)
{
	struct cursor at = {text, text + len};
	size_t line = 1;

	skip_space(&at);
	if (at.p == at.end)
		return 0;
	while (*pointer == '/') {
		size_t token_len = strcspn(++pointer, "/");
		struct cursor next = at;

		if (!descend(&next, pointer, token_len))
			break;
		at = next;
		pointer += token_len;
	}
	for (const char *p = text; p < at.p; p++)
		line += *p == '\n';
	return line;
}
