// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rendering of errors, see report.h. Called by whatever fails; decides nothing.
 */
#include "tools/cli/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/locate.h"
#include "tools/cli/output.h"

void *cli_must(void *p)
{
	if (!p) {
		fputs("netkitd-cli: out of memory\n", stderr);
		exit(CLI_ERROR);
	}
	return p;
}

void cli_say(const struct cli *cli, const char *format, ...)
{
	char *text = NULL, *clean;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	clean = out_clean(cli_must(text));
	fprintf(stderr, "netkitd-cli: %s%s%s\n", cli->command ? cli->command : "", cli->command ? ": " : "", clean);
	free(clean);
	free(text);
}

/* The start of each line: the command, and the file with the line if they are known. */
static void print_where(const struct cli *cli, FILE *f, const struct cli_input *input, size_t line)
{
	char *name = input ? out_clean(input->name) : NULL;

	fprintf(f, "netkitd-cli: %s: ", cli->command);
	if (name && line)
		fprintf(f, "%s:%zu: ", name, line);
	else if (name)
		fprintf(f, "%s: ", name);
	free(name);
}

/* What the errno is called, unless the sentence says so already, or it is unclear which of several problems it belongs to. */
static void print_errno(FILE *f, const struct nk_error *err, const char *sentence)
{
	const char *name = err->error > 0 ? strerrorname_np(err->error) : NULL;

	if (name && err->n_problems <= 1 && !strstr(sentence, name))
		fprintf(f, " (%s)", name);
	fputc('\n', f);
}

static void print_problem(const struct cli *cli, FILE *f, const struct nk_error *err, const json_t *problem,
			  const struct cli_input *input)
{
	const char *pointer = json_string_value(json_object_get(problem, "pointer"));
	const char *text = json_string_value(json_object_get(problem, "message"));
	size_t prefix_len = input && input->prefix ? strlen(input->prefix) : 0;
	char *clean_pointer, *clean_text;
	bool inside = false;

	if (!pointer)
		pointer = "";
	/* The daemon's places are those of its parameters; a person wants those of the file. */
	if (input && strncmp(pointer, input->prefix, prefix_len) == 0 &&
	    (pointer[prefix_len] == '/' || pointer[prefix_len] == '\0')) {
		pointer += prefix_len;
		inside = true;
	}
	clean_pointer = out_clean(pointer);
	clean_text = out_clean(text ? text : nk_error_code_name(err->code));

	print_where(cli, f, inside ? input : NULL, inside && input->text ? cli_locate(input->text, input->len, pointer) : 0);
	fprintf(f, "%s%s%s", clean_pointer, *clean_pointer ? ": " : "", clean_text);
	print_errno(f, err, clean_text);
	free(clean_text);
	free(clean_pointer);
}

void cli_report(const struct cli *cli, FILE *f, const struct nk_error *err, const struct cli_input *input)
{
	const json_t *problem, *first = json_array_get(err->problems, 0);
	const char *first_text = json_string_value(json_object_get(first, "message"));
	const char *message = err->message ? err->message : nk_error_code_name(err->code);
	size_t i, kept = json_array_size(err->problems);

	/* A message that only repeats the first problem, which follows with its place, isn't worth a line. */
	if (!first_text || !strstr(message, first_text)) {
		char *clean = out_clean(message);

		print_where(cli, f, kept ? NULL : input, 0);
		fputs(clean, f);
		print_errno(f, err, clean);
		free(clean);
	}
	json_array_foreach(err->problems, i, problem)
		print_problem(cli, f, err, problem, input);
	if (err->n_problems > kept)
		fprintf(f, "netkitd-cli: %s: and %zu more problems\n", cli->command, err->n_problems - kept);
	if (err->extack && err->extack[0]) {
		char *clean = out_clean(err->extack);

		fprintf(f, "  the kernel says: %s\n", clean);
		free(clean);
	}
}
