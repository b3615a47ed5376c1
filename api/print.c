// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkitd-contract: prints what is made of the tables. The build runs it for the journal's catalogue; people run it to renew
 * api/schema.json and api/REFERENCE.md after a change of a table.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "api/events.h"

int main(int argc, char **argv)
{
	char *text = NULL;
	json_t *json;

	if (argc == 2 && strcmp(argv[1], "schema") == 0) {
		json = nk_schema();
		text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
		json_decref(json);
	} else if (argc == 2 && strcmp(argv[1], "reference") == 0) {
		text = nk_reference();
	} else if (argc == 2 && strcmp(argv[1], "catalog") == 0) {
		text = nk_event_catalog();
	} else {
		fprintf(stderr, "usage: netkitd-contract schema | reference | catalog\n");
		return 2;
	}
	if (!text) {
		fprintf(stderr, "netkitd-contract: out of memory\n");
		return 1;
	}
	/* The schema's writer ends without a newline, the others with theirs. */
	if (fputs(text, stdout) < 0 || (text[strlen(text) - 1] != '\n' && putchar('\n') == EOF) || fflush(stdout) != 0) {
		perror("netkitd-contract");
		return 1;
	}
	free(text);
	return 0;
}
