// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the content of an object file, a pin or an id to a loaded program. Called by bpf_load.c in the executor's thread; it
 * keeps nothing.
 */
#include "daemon/kernel/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/libbpf_log.h"
#include "daemon/kernel/netns.h"

#define CONSTANTS_MAX (1024 * 1024) /* bytes of a constant map that are compared */

static void close_object(struct bpf_object **object)
{
	bpf_object__close(*object);
}

/* Say which functions a file has, for whoever asked for another one. */
static void list_functions(const struct bpf_object *object, char *buf, size_t size)
{
	struct bpf_program *p;
	size_t used = 0;

	buf[0] = '\0';
	bpf_object__for_each_program(p, object)
	{
		int n = snprintf(buf + used, size - used, "%s%s", used ? ", " : "", bpf_program__name(p));

		if (n < 0 || (size_t)n >= size - used)
			break;
		used += n;
	}
}

/* Fail with libbpf's words below the sentence. Ends the log. libbpf has error numbers of its own, which mean nothing elsewhere. */
static int fail_with_log(struct nk_error *err, int error, const char *path, const char *what)
{
	_free_ char *log = nk_libbpf_log_end();
	char cause[128];

	libbpf_strerror(error, cause, sizeof(cause));
	if (-error >= __LIBBPF_ERRNO__START)
		error = -ENOEXEC;
	return nk_refuse(err, NK_E_KERNEL, error, "%s: %s: %s%s%s", path, what, cause, log && *log ? "\n" : "", log ?: "");
}

int nk_program_load(const struct nk_program *p, const char *object_data, size_t size, const struct nk_shared_maps *shared,
		    const struct nk_program_before *before, int *ret_fd, struct nk_error *err)
{
	/* Named, because its maps of constants take the object's name, and an object without one is named by its address. */
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = p->name);
	__attribute__((cleanup(close_object))) struct bpf_object *object = NULL;
	struct bpf_program *wanted, *each;
	_free_ char *log = NULL;
	char functions[512];
	int fd, r;

	nk_libbpf_log_begin();
	object = bpf_object__open_mem(object_data, size, &options);
	if (!object)
		return fail_with_log(err, -errno, p->path, "not a BPF object file that can be read");
	wanted = bpf_object__find_program_by_name(object, p->program);
	if (!wanted) {
		free(nk_libbpf_log_end());
		list_functions(object, functions, sizeof(functions));
		return nk_refuse(err, NK_E_NOT_FOUND, -ENOENT, "%s has no program '%s'; it has: %s", p->path, p->program,
			       *functions ? functions : "none");
	}
	if (bpf_program__type(wanted) != BPF_PROG_TYPE_SCHED_CLS) {
		free(nk_libbpf_log_end());
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL,
			       "program '%s' of %s is of section '%s'; a chain takes netkit/primary, netkit/peer, tcx/… and tc",
			       p->program, p->path, bpf_program__section_name(wanted));
	}
	bpf_object__for_each_program(each, object) bpf_program__set_autoload(each, each == wanted);
	r = nk_program_use_maps(p, object, shared, before, err);
	if (r < 0) {
		free(nk_libbpf_log_end());
		return r;
	}
	r = bpf_object__load(object);
	if (r < 0)
		return fail_with_log(err, r, p->path, "the kernel does not load it");
	log = nk_libbpf_log_end();
	fd = fcntl(bpf_program__fd(wanted), F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "%s: cannot keep the loaded program", p->path);
	*ret_fd = fd;
	return 0;
}

bool nk_bpf_fd_is(int fd, const char *kind)
{
	char path[32], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && !strncmp(target, "anon_inode:", 11) && !strcmp(target + 11, kind);
}

int nk_program_check(int fd, const char *what, uint32_t *ret_id, char ret_tag[NK_TAG_STRLEN], struct nk_error *err)
{
	uint32_t id, type;
	char tag[NK_TAG_STRLEN];

	if (nk_program_identify(fd, &id, tag, &type) < 0)
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "%s is not a BPF program", what);
	if (type != BPF_PROG_TYPE_SCHED_CLS)
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "%s is a program of type %s; a chain of packets takes sched_cls",
				 what, libbpf_bpf_prog_type_str(type) ?: "unknown");
	*ret_id = id;
	memcpy(ret_tag, tag, sizeof(tag));
	return 0;
}

static int open_pin(const struct nk_program *p, int *ret_fd, struct nk_error *err)
{
	_close_ int fd = bpf_obj_get(p->path);
	_free_ char *what = NULL;
	char tag[NK_TAG_STRLEN];
	uint32_t id;
	int r;

	if (fd < 0)
		return nk_fail(err, fd == -ENOENT ? NK_E_NOT_FOUND : NK_E_KERNEL, fd, "cannot open the pin %s", p->path);
	if (asprintf(&what, "what is pinned at %s", p->path) < 0)
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot open the pin %s", p->path);
	r = nk_program_check(fd, what, &id, tag, err);
	if (!r)
		*ret_fd = nk_take_fd(&fd);
	return r;
}

/* Numbers are given out in a circle: the tag tells whether it is still the one that was passed. */
static int open_passed(const struct nk_program *p, int *ret_fd, struct nk_error *err)
{
	char boot_id[37], tag[NK_TAG_STRLEN];
	_close_ int fd = -1;
	uint32_t id;
	int r = nk_boot_id(boot_id);

	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot tell this boot from another");
	if (strcmp(boot_id, p->boot_id))
		return nk_refuse(err, NK_E_NOT_FOUND, -ENOENT,
				 "program '%s' was passed as a descriptor before the machine was restarted: pass it again", p->name);
	fd = bpf_prog_get_fd_by_id(p->number);
	if (fd < 0 && fd != -ENOENT)
		return nk_fail(err, NK_E_KERNEL, fd, "cannot open program %u, which was passed as '%s'", p->number, p->name);
	if (fd < 0 || nk_program_identify(fd, &id, tag, NULL) < 0 || strcmp(tag, p->tag))
		return nk_refuse(err, NK_E_NOT_FOUND, -ENOENT,
				 "program %u, which was passed as '%s', is gone, and so are its pins: pass it again", p->number, p->name);
	*ret_fd = nk_take_fd(&fd);
	return 0;
}

int nk_program_open(const struct nk_program *p, int *ret_fd, struct nk_error *err)
{
	return p->source == NK_PROGRAM_PIN ? open_pin(p, ret_fd, err) : open_passed(p, ret_fd, err);
}

int nk_program_identify(int fd, uint32_t *ret_id, char ret_tag[NK_TAG_STRLEN], uint32_t *ret_type)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	int r;

	if (!nk_bpf_fd_is(fd, "bpf-prog"))
		return -EINVAL;
	r = bpf_prog_get_info_by_fd(fd, &info, &size);
	if (r < 0)
		return r;
	*ret_id = info.id;
	for (int i = 0; i < BPF_TAG_SIZE; i++)
		sprintf(ret_tag + 2 * i, "%02x", info.tag[i]);
	if (ret_type)
		*ret_type = info.type;
	return 0;
}

int nk_program_map_ids(int fd, struct nk_program_map_ids *ret)
{
	struct bpf_prog_info info = { .nr_map_ids = NK_PROGRAM_MAPS_MAX, .map_ids = (uintptr_t)ret->ids };
	uint32_t size = sizeof(info);
	int r = bpf_prog_get_info_by_fd(fd, &info, &size);

	if (r < 0)
		return r;
	if (info.nr_map_ids > NK_PROGRAM_MAPS_MAX)
		return -E2BIG;
	ret->n = info.nr_map_ids;
	return 0;
}

/* Is the content of two maps that no one may write the same? They are arrays of one element. */
static bool same_constants(int a, int b, uint32_t size)
{
	_free_ char *x = malloc(size), *y = malloc(size);
	uint32_t key = 0;

	return x && y && !bpf_map_lookup_elem(a, &key, x) && !bpf_map_lookup_elem(b, &key, y) && !memcmp(x, y, size);
}

/* One map or, of global variables, one like the other: each load makes those anew. */
static bool same_map(uint32_t a, uint32_t b)
{
	_close_ int x = bpf_map_get_fd_by_id(a);
	_close_ int y = bpf_map_get_fd_by_id(b);
	struct bpf_map_info i = {}, j = {};
	uint32_t i_size = sizeof(i), j_size = sizeof(j);

	if (a == b)
		return true;
	if (x < 0 || y < 0 || bpf_map_get_info_by_fd(x, &i, &i_size) < 0 || bpf_map_get_info_by_fd(y, &j, &j_size) < 0)
		return false;
	if (!strchr(i.name, '.') || memcmp(i.name, j.name, sizeof(i.name)) || i.type != BPF_MAP_TYPE_ARRAY || i.type != j.type ||
	    i.max_entries != 1 || i.max_entries != j.max_entries || i.key_size != j.key_size || i.value_size != j.value_size ||
	    i.map_flags != j.map_flags)
		return false;
	if (!(i.map_flags & BPF_F_RDONLY_PROG))
		return true;
	return i.value_size <= CONSTANTS_MAX && same_constants(x, y, i.value_size);
}

bool nk_program_same(int a, int b)
{
	char a_tag[NK_TAG_STRLEN], b_tag[NK_TAG_STRLEN];
	struct nk_program_map_ids x, y;
	uint32_t id;

	if (nk_program_identify(a, &id, a_tag, NULL) < 0 || nk_program_identify(b, &id, b_tag, NULL) < 0 || strcmp(a_tag, b_tag) ||
	    nk_program_map_ids(a, &x) < 0 || nk_program_map_ids(b, &y) < 0 || x.n != y.n)
		return false;
	/* Both lists are in the order in which the instructions meet the maps, and the instructions are the same. */
	for (uint32_t i = 0; i < x.n; i++) {
		if (!same_map(x.ids[i], y.ids[i]))
			return false;
	}
	return true;
}
