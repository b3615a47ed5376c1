// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text for people, see output.h. Called by the commands and by the unit tests; writes only where it is told to.
 */
#include "tools/cli/output.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "tools/cli/cli.h"

void out_init(void)
{
	/* Another charset would print our UTF-8 wrongly whatever we did; then at least widths are right. */
	if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
}

char *out_clean(const char *text)
{
	size_t len = strlen(text);
	char *clean = cli_must(malloc(4 * len + 1)); /* each byte becomes at most \xNN */
	char *to = clean;
	mbstate_t state = {0};

	for (const char *p = text; *p;) {
		wchar_t wide;
		size_t n = mbrtowc(&wide, p, len - (size_t)(p - text), &state);

		if (n == (size_t)-1 || n == (size_t)-2) {
			memset(&state, 0, sizeof(state));
			n = 1;
			wide = L'\0';
		}
		if (wide && wcwidth(wide) >= 0) {
			memcpy(to, p, n);
			to += n;
		} else {
			for (size_t i = 0; i < n; i++)
				to += sprintf(to, "\\x%02x", (unsigned char)p[i]);
		}
		p += n;
	}
	*to = '\0';
	return clean;
}

/* The same line by line, those behind the first indented. */
static char *clean_lines(const char *text)
{
	char *clean = NULL;
	size_t size;
	FILE *f = cli_must(open_memstream(&clean, &size));

	for (const char *end; text; text = *end ? end + 1 : NULL) {
		char *line, *part;

		end = strchrnul(text, '\n');
		line = cli_must(strndup(text, (size_t)(end - text)));
		part = out_clean(line);
		fprintf(f, "%s%s", part, *end ? "\n    " : "");
		free(part);
		free(line);
	}
	fclose(f);
	return cli_must(clean);
}

size_t out_width(const char *text)
{
	size_t width = 0, left = strlen(text);
	mbstate_t state = {0};

	while (left > 0) {
		wchar_t wide;
		size_t n = mbrtowc(&wide, text, left, &state);
		int cells;

		if (n == (size_t)-1 || n == (size_t)-2) {
			memset(&state, 0, sizeof(state));
			n = 1;
			cells = 1;
		} else {
			cells = wcwidth(wide);
		}
		width += cells > 0 ? (size_t)cells : 0;
		text += n;
		left -= n;
	}
	return width;
}

const char *out_paint(bool color, enum out_color c)
{
	if (!color)
		return "";
	switch (c) {
	case OUT_PLAIN:
		return "";
	case OUT_GOOD:
		return "\033[32m";
	case OUT_WARN:
		return "\033[33m";
	case OUT_BAD:
		return "\033[1;31m";
	case OUT_FAINT:
		return "\033[2m";
	case OUT_BOLD:
		return "\033[1m";
	}
	return "";
}

const char *out_reset(bool color, enum out_color c)
{
	return color && c != OUT_PLAIN ? "\033[0m" : "";
}

enum out_color out_state_color(const char *state)
{
	static const struct {
		const char *state;
		enum out_color color;
	} colors[] = {
		{"ready", OUT_GOOD},    {"ok", OUT_GOOD},       {"present", OUT_GOOD},
		{"pending", OUT_WARN},  {"unknown", OUT_WARN},  {"unclaimed", OUT_WARN},
		{"degraded", OUT_BAD},  {"missing", OUT_BAD},
		{"released", OUT_FAINT}, {"foreign", OUT_FAINT},
	};

	for (size_t i = 0; i < sizeof(colors) / sizeof(colors[0]); i++)
		if (strcasecmp(state, colors[i].state) == 0)
			return colors[i].color;
	return OUT_PLAIN;
}

struct cell {
	char *text; /* clean, owned */
	size_t width;
	enum out_color color;
};

struct out_table {
	const char *const *headings;
	size_t n_columns;
	struct cell *cells; /* owned */
	size_t n, room;
};

struct out_table *out_table_new(const char *const *headings)
{
	struct out_table *t = cli_must(calloc(1, sizeof(*t)));

	t->headings = headings;
	while (headings[t->n_columns])
		t->n_columns++;
	return t;
}

struct out_table *out_table_free(struct out_table *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t);
	return NULL;
}

void out_cell(struct out_table *t, enum out_color c, const char *format, ...)
{
	char *raw = NULL;
	struct cell *cell;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&raw, format, ap) < 0)
		raw = NULL;
	va_end(ap);
	cli_must(raw);

	if (t->n == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->cells = cli_must(reallocarray(t->cells, t->room, sizeof(*t->cells)));
	}
	cell = &t->cells[t->n++];
	/* Behind the last column nothing has to stand in line: a verifier's log stays what it is. */
	cell->text = t->n % t->n_columns ? out_clean(raw[0] ? raw : "-") : clean_lines(raw[0] ? raw : "-");
	cell->width = strchr(cell->text, '\n') ? 0 : out_width(cell->text);
	cell->color = c;
	free(raw);
}

size_t out_table_rows(const struct out_table *t)
{
	return (t->n + t->n_columns - 1) / t->n_columns;
}

static const char *heading(const struct out_table *t, size_t column, bool *ret_right)
{
	const char *h = t->headings[column];

	*ret_right = h[0] == '>';
	return *ret_right ? h + 1 : h;
}

static void print_cell(const struct out_table *t, FILE *f, size_t column, size_t column_width, const char *text, size_t width,
		       enum out_color c, bool color)
{
	bool right, last = column == t->n_columns - 1;
	int pad = (int)(column_width - width);

	heading(t, column, &right);
	fprintf(f, "%*s%s%s%s", right ? pad : 0, "", out_paint(color, c), text, out_reset(color, c));
	if (last)
		fputc('\n', f);
	else
		fprintf(f, "%*s", (right ? 0 : pad) + 2, "");
}

void out_table_print(const struct out_table *t, FILE *f, bool color)
{
	size_t *widths = cli_must(calloc(t->n_columns, sizeof(*widths)));
	bool right, named = false;

	for (size_t c = 0; c < t->n_columns; c++) {
		widths[c] = out_width(heading(t, c, &right));
		named |= widths[c] > 0;
	}
	for (size_t i = 0; i < t->n; i++)
		if (t->cells[i].width > widths[i % t->n_columns])
			widths[i % t->n_columns] = t->cells[i].width;

	for (size_t c = 0; named && c < t->n_columns; c++) {
		const char *h = heading(t, c, &right);

		print_cell(t, f, c, widths[c], h, out_width(h), OUT_BOLD, color);
	}
	for (size_t i = 0; i < t->n; i++) {
		const struct cell *cell = &t->cells[i];

		print_cell(t, f, i % t->n_columns, widths[i % t->n_columns], cell->text, cell->width, cell->color, color);
	}
	free(widths);
}

char *out_duration(uint64_t seconds, char *buf, size_t size)
{
	static const struct {
		uint64_t seconds;
		const char *unit;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	const size_t n = sizeof(units) / sizeof(units[0]);

	for (size_t i = 0; i < n; i++) {
		uint64_t whole = seconds / units[i].seconds;
		uint64_t rest = i + 1 < n ? seconds % units[i].seconds / units[i + 1].seconds : 0;

		if (whole == 0 && i + 1 < n)
			continue;
		if (rest)
			snprintf(buf, size, "%llu %s %llu %s", (unsigned long long)whole, units[i].unit,
				 (unsigned long long)rest, units[i + 1].unit);
		else
			snprintf(buf, size, "%llu %s", (unsigned long long)whole, units[i].unit);
		break;
	}
	return buf;
}

void out_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

static void brief(FILE *f, const json_t *json)
{
	const char *key;
	const json_t *value;
	size_t i;
	bool first = true;

	switch (json_typeof(json)) {
	case JSON_OBJECT:
		/* jansson keeps the order of insertion, which is the daemon's. */
		json_object_foreach((json_t *)json, key, value) {
			fprintf(f, "%s%s ", first ? "" : " ", key);
			brief(f, value);
			first = false;
		}
		break;
	case JSON_ARRAY:
		json_array_foreach(json, i, value) {
			fputs(i ? ", " : "", f);
			brief(f, value);
		}
		break;
	case JSON_STRING:
		fputs(json_string_value(json), f);
		break;
	case JSON_INTEGER:
		fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
		break;
	case JSON_REAL:
		fprintf(f, "%g", json_real_value(json));
		break;
	case JSON_TRUE:
		fputs("yes", f);
		break;
	case JSON_FALSE:
		fputs("no", f);
		break;
	case JSON_NULL:
		fputs("-", f);
		break;
	}
}

char *out_brief(const json_t *json)
{
	char *text = NULL;
	size_t size;
	FILE *f = cli_must(open_memstream(&text, &size));

	if (json)
		brief(f, json);
	fclose(f);
	return cli_must(text);
}
