// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads /proc/PID/mountinfo (mounts.h). Called in either thread; keeps nothing.
 */
#include "daemon/kernel/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "daemon/kernel/cleanup.h"

static bool is_octal(const char *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

/* The kernel writes space, tab, newline and backslash as \NNN. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; to++) {
		if (*p == '\\' && is_octal(p + 1)) {
			*to = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 4;
		} else {
			*to = *p++;
		}
	}
	*to = '\0';
}

bool nk_mount_parse(char *line, struct nk_mount *ret)
{
	/* id, parent, device, root, point, options, any number of further fields, "-", type, … */
	enum { DEVICE = 2, ROOT, POINT, N };
	char *field[N], *rest = line, *type;
	unsigned maj, min;

	for (size_t i = 0; i < N; i++) {
		field[i] = strsep(&rest, " ");
		if (!rest)
			return false;
	}
	rest = strstr(rest, " - ");
	if (!rest || sscanf(field[DEVICE], "%u:%u", &maj, &min) != 2)
		return false;
	rest += strlen(" - ");
	type = strsep(&rest, " \n");
	unescape(field[ROOT]);
	unescape(field[POINT]);
	*ret = (struct nk_mount){ .dev = makedev(maj, min), .root = field[ROOT], .point = field[POINT], .type = type };
	return true;
}

static void close_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

int nk_mounts_each(const char *mountinfo, int (*fn)(const struct nk_mount *m, void *arg), void *arg)
{
	__attribute__((cleanup(close_file))) FILE *f = fopen(mountinfo, "re");
	_free_ char *line = NULL;
	struct nk_mount m;
	size_t size = 0;
	int r = 0;

	if (!f)
		return -errno;
	while (!r && getline(&line, &size, f) > 0) {
		if (nk_mount_parse(line, &m))
			r = fn(&m, arg);
	}
	return r;
}
