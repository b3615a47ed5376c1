// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wrapper around the JSON parser; see json.h. It may not know any member's name: what the JSON means is the tables'
 * business.
 */
#include "api/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/contract.h"

/* Length of the well-formed character at s (RFC 3629: no overlong forms, no surrogates), 0 if there is none. */
static size_t utf8_char(const unsigned char *s, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;

	if (left < n)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

/*
 * One pass over the bytes before the parser sees them: it recurses once a level, and its own words for bad bytes don't say where
 * they are. Returns NULL if the text is fit to be parsed, else what is wrong, with *ret_at the byte.
 */
static const char *scan(const char *text, size_t len, size_t *ret_at, bool *ret_deep)
{
	bool in_string = false;
	size_t depth = 0;

	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x80) {
			size_t n = utf8_char((const unsigned char *)text + i, len - i);

			if (n == 0) {
				*ret_at = i;
				return "not UTF-8";
			}
			i += n;
			continue;
		}
		if (in_string) {
			if (c == '"')
				in_string = false;
			else if (c == '\\' && i + 1 < len && (unsigned char)text[i + 1] < 0x80)
				i++;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			if (++depth > NK_DEPTH_MAX) {
				*ret_at = i;
				*ret_deep = true;
				return "nested too deep";
			}
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		}
		i++;
	}
	return NULL;
}

/* Line and column of a byte, both from 1, as editors count them. */
static void locate(const char *text, size_t at, size_t *ret_line, size_t *ret_column)
{
	size_t line = 1, start = 0;

	for (size_t i = 0; i < at; i++)
		if (text[i] == '\n') {
			line++;
			start = i + 1;
		}
	*ret_line = line;
	*ret_column = at - start + 1;
}

int nk_json_parse(const char *text, size_t len, json_t **ret, struct nk_error *err)
{
	json_error_t e;
	const char *what;
	size_t at = 0, line, column;
	enum json_error_code code;
	bool deep = false;
	json_t *json;

	what = scan(text, len, &at, &deep);
	if (what) {
		locate(text, at, &line, &column);
		if (deep)
			return nk_error_set(err, NK_E_LIMIT,
					    "line %zu, column %zu (byte %zu): nested deeper than %d levels, the most that is taken",
					    line, column, at, NK_DEPTH_MAX);
		return nk_error_set(err, NK_E_PARSE,
				    "line %zu, column %zu (byte %zu): byte 0x%02x is not UTF-8, and JSON must be", line, column, at,
				    (unsigned char)text[at]);
	}

	json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
	if (json) {
		*ret = json;
		return 0;
	}

	code = json_error_code(&e);
	if (code == json_error_out_of_memory)
		return -ENOMEM;
	if (len == 0)
		return nk_error_set(err, NK_E_PARSE, "empty: JSON is expected");
	if (code == json_error_premature_end_of_input)
		what = "the JSON is cut short here";
	else if (code == json_error_duplicate_key)
		what = "a member is named twice";
	else if (code == json_error_numeric_overflow)
		what = "the number is too big";
	else if (code == json_error_end_of_input_expected)
		what = "something follows the end of the JSON";
	else
		what = "not JSON";
	return nk_error_set(err, NK_E_PARSE, "line %d, column %d (byte %d): %s (%s)", e.line, e.column, e.position, what, e.text);
}

/* size bytes of fd, or what there is of them; free() it. */
static int read_all(int fd, size_t size, char **ret, size_t *ret_len)
{
	char *text = malloc(size + 1);
	size_t len = 0;

	if (!text)
		return -ENOMEM;
	while (len < size) {
		ssize_t n = read(fd, text + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;

			free(text);
			return r;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

int nk_json_read(const char *path, size_t max, json_t **ret, struct nk_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r = 0;
	struct stat st;
	char *text = NULL;
	size_t len = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = nk_error_set(err, NK_E_INVALID_PARAMS, "%s is not a regular file", path);
	else if ((uintmax_t)st.st_size > max)
		r = nk_error_set(err, NK_E_LIMIT, "%s has %lld bytes; at most %zu are read", path, (long long)st.st_size, max);
	else
		r = read_all(fd, (size_t)st.st_size, &text, &len);
	close(fd);
	if (r == 0)
		r = nk_json_parse(text, len, ret, err);
	free(text);
	return r;
}

/* Does a character of n bytes move a terminal's cursor, or worse? A line's end and a tab are part of a text. */
static bool is_control(const unsigned char *s, size_t n)
{
	if (n == 1)
		return (s[0] < ' ' && s[0] != '\n' && s[0] != '\t') || s[0] == 0x7f;
	return n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

/* Put "?" for each byte that is no UTF-8, and for each control character if that is asked for. to has room, and may be text. */
static void replace(char *to, const char *text, bool control)
{
	size_t len = strlen(text), out = 0;

	for (size_t i = 0; i < len;) {
		const unsigned char *s = (const unsigned char *)text + i;
		size_t n = utf8_char(s, len - i);

		if (n == 0 || (control && is_control(s, n))) {
			to[out++] = '?';
			i += n ? n : 1;
			continue;
		}
		memmove(to + out, s, n);
		out += n;
		i += n;
	}
	to[out] = '\0';
}

json_t *nk_json_text(const char *text)
{
	json_t *json = json_string(text);
	char *copy;

	if (json)
		return json;
	copy = malloc(strlen(text) + 1);
	if (!copy)
		return NULL;
	replace(copy, text, false);
	json = json_string(copy);
	free(copy);
	return json;
}

void nk_text_clean(char *text)
{
	replace(text, text, true);
}

size_t nk_utf8_clip(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len <= max)
		return len;
	len = max;
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}
