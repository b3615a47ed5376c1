// SPDX-License-Identifier: GPL-2.0-only
/*
 * From an object file or a pin to a loaded program. Called by bpf.c in the executor's thread; it keeps nothing.
 */
#include "daemon/kernel/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/libbpf_log.h"

#define OBJECT_MAX (32 * 1024 * 1024) /* bytes of an object file */
#define MAPS_MAX 64                   /* the kernel's limit for one program */
#define CONSTANTS_MAX (1024 * 1024)   /* bytes of a constant map that are compared */

static void close_object(struct bpf_object **object)
{
	bpf_object__close(*object);
}

int nk_program_read(const char *path, char **ret, size_t *ret_size, struct nk_error *err)
{
	_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_free_ char *data = NULL;
	size_t size, used = 0;
	struct stat st;

	if (fd < 0)
		return nk_fail(err, errno == ENOENT ? NK_E_NOT_FOUND : NK_E_KERNEL, -errno, "cannot open the object file %s", path);
	if (fstat(fd, &st) < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot look at the object file %s", path);
	if (!S_ISREG(st.st_mode))
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "%s is not a regular file, so it is no object file", path);
	if (st.st_size > OBJECT_MAX)
		return nk_refuse(err, NK_E_LIMIT, -EFBIG, "the object file %s has %lld bytes, more than the %d that are allowed",
			       path, (long long)st.st_size, OBJECT_MAX);

	size = st.st_size;
	data = malloc(size + 1);
	if (!data)
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot read the object file %s", path);
	/* One byte more than it has: a file that grows meanwhile is noticed, as is one that shrinks. */
	while (used <= size) {
		ssize_t n = read(fd, data + used, size + 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return nk_fail(err, NK_E_KERNEL, -errno, "cannot read the object file %s", path);
		if (n == 0)
			break;
		used += n;
	}
	if (used != size)
		return nk_refuse(err, NK_E_CONFLICT, -EAGAIN, "the object file %s changed while it was read", path);
	*ret = data;
	data = NULL;
	*ret_size = size;
	return 0;
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

int nk_program_load(const struct nk_program *p, const char *object_data, size_t size, int *ret_fd, struct nk_error *err)
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

int nk_program_open(const struct nk_program *p, int *ret_fd, struct nk_error *err)
{
	_close_ int fd = bpf_obj_get(p->path);
	uint32_t id, type;
	char tag[17];
	int r;

	if (fd < 0)
		return nk_fail(err, errno == ENOENT ? NK_E_NOT_FOUND : NK_E_KERNEL, -errno, "cannot open the pin %s", p->path);
	/* A pinned map or link opens just as well. */
	r = nk_program_identify(fd, &id, tag, &type);
	if (r < 0 || type != BPF_PROG_TYPE_SCHED_CLS)
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "what is pinned at %s is not a program for a chain of packets",
			       p->path);
	*ret_fd = nk_take_fd(&fd);
	return 0;
}

/* bpf(2) gives information of any BPF descriptor and doesn't say of what; its name in /proc does. */
static bool is_program(int fd)
{
	char path[32], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && !strcmp(target, "anon_inode:bpf-prog");
}

int nk_program_identify(int fd, uint32_t *ret_id, char *ret_tag, uint32_t *ret_type)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	int r;

	if (!is_program(fd))
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

struct program_maps {
	uint8_t tag[BPF_TAG_SIZE];
	uint32_t n, ids[MAPS_MAX];
};

static int maps_of(int fd, struct program_maps *ret)
{
	struct bpf_prog_info info = { .nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)ret->ids };
	uint32_t size = sizeof(info);
	int r = bpf_prog_get_info_by_fd(fd, &info, &size);

	if (r < 0)
		return r;
	if (info.nr_map_ids > MAPS_MAX)
		return -E2BIG;
	memcpy(ret->tag, info.tag, sizeof(ret->tag));
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

static bool same_map(uint32_t a, uint32_t b)
{
	_close_ int x = bpf_map_get_fd_by_id(a);
	_close_ int y = bpf_map_get_fd_by_id(b);
	struct bpf_map_info i = {}, j = {};
	uint32_t i_size = sizeof(i), j_size = sizeof(j);

	if (x < 0 || y < 0 || bpf_map_get_info_by_fd(x, &i, &i_size) < 0 || bpf_map_get_info_by_fd(y, &j, &j_size) < 0)
		return false;
	if (i.type != j.type || i.key_size != j.key_size || i.value_size != j.value_size || i.max_entries != j.max_entries ||
	    i.map_flags != j.map_flags || memcmp(i.name, j.name, sizeof(i.name)))
		return false;
	if (a == b || !(i.map_flags & BPF_F_RDONLY_PROG) || i.type != BPF_MAP_TYPE_ARRAY || i.max_entries != 1)
		return true;
	return i.value_size <= CONSTANTS_MAX && same_constants(x, y, i.value_size);
}

bool nk_program_same(int a, int b)
{
	struct program_maps x = {}, y = {};

	if (maps_of(a, &x) < 0 || maps_of(b, &y) < 0 || x.n != y.n || memcmp(x.tag, y.tag, sizeof(x.tag)))
		return false;
	/* Both lists are in the order in which the instructions meet the maps, and the instructions are the same. */
	for (uint32_t i = 0; i < x.n; i++) {
		if (!same_map(x.ids[i], y.ids[i]))
			return false;
	}
	return true;
}
