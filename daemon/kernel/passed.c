// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pins of programs that came as descriptors. See passed.h.
 */
#include "daemon/kernel/passed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/netns.h"
#include "daemon/kernel/program.h"

static char *pin_path(const char *bpffs, uint32_t id)
{
	char *path;

	return asprintf(&path, "%s/passed/%u", bpffs, id) < 0 ? NULL : path;
}

static int pin(const char *bpffs, int fd, uint32_t id, struct nk_error *err)
{
	_free_ char *path = pin_path(bpffs, id);
	int r = path ? bpf_obj_pin(fd, path) : -ENOMEM;

	/* It was passed before: numbers are unique while the program lives, and the pin keeps it alive. */
	if (r == -EEXIST)
		r = 0;
	return r < 0 ? nk_fail(err, NK_E_KERNEL, r, "the passed program %u cannot be pinned", id) : 0;
}

static int accept_fd(const char *bpffs, struct nk_program *p, const int *fds, size_t n_fds, struct nk_error *err)
{
	char boot_id[37], tag[NK_TAG_STRLEN], what[64];
	uint32_t id;
	int r;

	if (p->number >= n_fds)
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "descriptor %u is meant, but %zu came with the request", p->number,
				 n_fds);
	snprintf(what, sizeof(what), "the passed descriptor %u", p->number);
	r = nk_program_check(fds[p->number], what, &id, tag, err);
	if (r < 0)
		return r;
	r = nk_boot_id(boot_id);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot tell this boot from another");
	r = pin(bpffs, fds[p->number], id, err);
	if (r < 0)
		return r;
	p->source = NK_PROGRAM_ID;
	p->number = id;
	memcpy(p->tag, tag, sizeof(p->tag));
	memcpy(p->boot_id, boot_id, sizeof(p->boot_id));
	return 0;
}

static int accept_id(const char *bpffs, const struct nk_program *p, struct nk_error *err)
{
	_close_ int fd = -1;
	int r = nk_program_open(p, &fd, err);

	return r < 0 ? r : pin(bpffs, fd, p->number, err);
}

int nk_passed_accept(const char *bpffs, struct nk_program *p, const int *fds, size_t n_fds, const char *pointer,
		     struct nk_error *err)
{
	struct nk_error why = {};
	int r = p->source == NK_PROGRAM_FD ? accept_fd(bpffs, p, fds, n_fds, &why) : accept_id(bpffs, p, &why);

	return r < 0 ? nk_fail_at(err, pointer, &why, r) : r;
}

struct named {
	uint32_t id;
	bool found;
};

static int one_named(const struct nk_program *p, const char *source, void *arg)
{
	struct named *n = arg;

	(void)source;
	n->found |= p->source == NK_PROGRAM_ID && p->number == n->id;
	return n->found;
}

static bool is_named(const struct nk_document *doc, uint32_t id)
{
	struct named n = { .id = id };

	nk_document_each_program(doc, one_named, &n);
	return n.found;
}

void nk_passed_collect(const char *bpffs, const struct nk_document *doc)
{
	_closedir_ DIR *dir = NULL;
	_free_ char *path = NULL;
	struct dirent *entry;

	if (asprintf(&path, "%s/passed", bpffs) < 0)
		return;
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		unsigned id;
		char end;

		if (sscanf(entry->d_name, "%u%c", &id, &end) == 1 && !is_named(doc, id))
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
}
