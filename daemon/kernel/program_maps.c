// SPDX-License-Identifier: GPL-2.0-only
/*
 * Maps that exist before the program that uses them. A map is taken only when its definition is the one that the object
 * declares: the program was written for that, and the verifier would judge it by what is there.
 */
#include "daemon/kernel/program_maps.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/program.h"

/* Information of a descriptor that is a map's. 0 or -errno. */
static int map_info(int fd, struct bpf_map_info *ret)
{
	uint32_t size = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return nk_bpf_fd_is(fd, "bpf-map") ? bpf_map_get_info_by_fd(fd, ret, &size) : -EINVAL;
}

void nk_shared_maps_close(struct nk_shared_maps *m)
{
	for (uint32_t i = 0; i < m->n; i++)
		close(m->fds[i]);
	free(m->fds);
	free(m->ids);
	*m = (struct nk_shared_maps){};
}

int nk_shared_maps_open(const struct nk_program *p, struct nk_shared_maps *ret, struct nk_error *err)
{
	struct nk_shared_maps m = { .fds = calloc(p->n_maps + 1, sizeof(*m.fds)), .ids = calloc(p->n_maps + 1, sizeof(*m.ids)) };
	int r = m.fds && m.ids ? 0 : nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot open the maps of program '%s'", p->name);

	for (uint32_t i = 0; !r && i < p->n_maps; i++) {
		const struct nk_program_map *map = &p->maps[i];
		int fd = bpf_obj_get(map->path);
		struct bpf_map_info info;

		if (fd < 0) {
			r = nk_fail(err, fd == -ENOENT ? NK_E_NOT_FOUND : NK_E_KERNEL, fd,
				    "cannot open %s, which is to be map '%s' of %s", map->path, map->name, p->path);
			break;
		}
		m.fds[m.n++] = fd;
		if (map_info(fd, &info) < 0)
			r = nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL,
				      "what is pinned at %s is not a map, and it is to be map '%s' of %s", map->path, map->name,
				      p->path);
		m.ids[i] = info.id;
	}
	if (r < 0) {
		nk_shared_maps_close(&m);
		return r;
	}
	*ret = m;
	return 0;
}

int nk_key_add_map(char **key, const char *name, uint32_t id)
{
	char *more;

	if (asprintf(&more, "%s %s=%u", *key, name, id) < 0)
		return -ENOMEM;
	free(*key);
	*key = more;
	return 0;
}

bool nk_key_has_map(const char *key, uint32_t id)
{
	char word[16];
	size_t n = (size_t)snprintf(word, sizeof(word), "=%u", id);

	for (const char *at = key; at && (at = strstr(at, word)); at += n) {
		if (!at[n] || at[n] == ' ')
			return true;
	}
	return false;
}

/* ---- definitions ---- */

struct text {
	char buf[256];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	if (t->len)
		t->len += (size_t)snprintf(t->buf + t->len, sizeof(t->buf) - t->len, ", ");
	va_start(args, format);
	n = t->len < sizeof(t->buf) ? vsnprintf(t->buf + t->len, sizeof(t->buf) - t->len, format, args) : 0;
	va_end(args);
	if (n > 0)
		t->len += (size_t)n;
	if (t->len >= sizeof(t->buf))
		t->len = sizeof(t->buf) - 1;
}

static const char *type_name(enum bpf_map_type type)
{
	return libbpf_bpf_map_type_str(type) ?: "unknown";
}

/* How many elements the kernel's map will have: libbpf rounds ring buffers up, and has one a processor where none are said. */
static uint32_t elements(const struct bpf_map *map)
{
	uint32_t n = bpf_map__max_entries(map), page = (uint32_t)sysconf(_SC_PAGESIZE);

	if (bpf_map__type(map) == BPF_MAP_TYPE_PERF_EVENT_ARRAY && !n)
		return (uint32_t)libbpf_num_possible_cpus();
	if (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF || bpf_map__type(map) == BPF_MAP_TYPE_USER_RINGBUF) {
		uint32_t size = page;

		while (size < n && size < 1u << 31)
			size *= 2;
		return size;
	}
	return n;
}

/* In what an existing map differs from the one that an object declares: t stays empty where they are the same. */
static void compare(const struct bpf_map *want, const struct bpf_map_info *have, struct text *t)
{
	uint32_t flags = have->map_flags, n = elements(want);

	/* The kernel sets this one by itself. */
	if (have->type == BPF_MAP_TYPE_DEVMAP || have->type == BPF_MAP_TYPE_DEVMAP_HASH)
		flags &= ~(uint32_t)BPF_F_RDONLY_PROG | bpf_map__map_flags(want);
	if (bpf_map__type(want) != have->type)
		add(t, "type %s, not %s", type_name(bpf_map__type(want)), type_name(have->type));
	if (bpf_map__key_size(want) != have->key_size)
		add(t, "key_size %u, not %u", bpf_map__key_size(want), have->key_size);
	if (bpf_map__value_size(want) != have->value_size)
		add(t, "value_size %u, not %u", bpf_map__value_size(want), have->value_size);
	if (n != have->max_entries)
		add(t, "max_entries %u, not %u", n, have->max_entries);
	if (bpf_map__map_flags(want) != flags)
		add(t, "flags 0x%x, not 0x%x", bpf_map__map_flags(want), flags);
	if (bpf_map__map_extra(want) != have->map_extra)
		add(t, "map_extra %llu, not %llu", (unsigned long long)bpf_map__map_extra(want), (unsigned long long)have->map_extra);
}

/* ---- giving them to the object ---- */

/* Say which maps a file declares, for whoever named another one. */
static void list_maps(const struct bpf_object *object, char *buf, size_t size)
{
	const struct bpf_map *map;
	size_t used = 0;

	buf[0] = '\0';
	bpf_object__for_each_map(map, object)
	{
		int n;

		if (bpf_map__is_internal(map))
			continue;
		n = snprintf(buf + used, size - used, "%s%s", used ? ", " : "", bpf_map__name(map));
		if (n < 0 || (size_t)n >= size - used)
			break;
		used += (size_t)n;
	}
}

static int reuse(const struct nk_program *p, struct bpf_map *map, int fd, struct nk_error *err)
{
	int r = bpf_map__reuse_fd(map, fd);

	return r < 0 ? nk_fail(err, NK_E_KERNEL, r, "%s: cannot use the existing map '%s'", p->path, bpf_map__name(map)) : 0;
}

static int use_shared(const struct nk_program *p, struct bpf_object *object, uint32_t i, int fd, struct nk_error *err)
{
	const struct nk_program_map *shared = &p->maps[i];
	struct bpf_map *map = bpf_object__find_map_by_name(object, shared->name);
	struct bpf_map_info info;
	struct text t = {};
	char maps[512];
	int r;

	if (!map) {
		list_maps(object, maps, sizeof(maps));
		return nk_refuse(err, NK_E_NOT_FOUND, -ENOENT, "%s has no map '%s'; it has: %s", p->path, shared->name,
				 *maps ? maps : "none");
	}
	r = map_info(fd, &info);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot look at the map %s", shared->path);
	compare(map, &info, &t);
	if (t.len)
		return nk_refuse(err, NK_E_CONFLICT, -EINVAL, "map '%s' of %s is not defined as the one that is pinned at %s: %s",
				 shared->name, p->path, shared->path, t.buf);
	return reuse(p, map, fd, err);
}

static bool is_shared(const struct nk_program *p, const char *name)
{
	for (uint32_t i = 0; i < p->n_maps; i++) {
		if (!strcmp(p->maps[i].name, name))
			return true;
	}
	return false;
}

/* The maps of the version before that are its own. */
struct own_maps {
	uint32_t n;
	struct bpf_map_info info[NK_PROGRAM_MAPS_MAX];
};

static int read_own(const struct nk_program_before *before, struct own_maps *ret)
{
	struct nk_program_map_ids ids;
	int r = nk_program_map_ids(before->fd, &ids);

	ret->n = 0;
	for (uint32_t i = 0; !r && i < ids.n; i++) {
		_close_ int fd = bpf_map_get_fd_by_id(ids.ids[i]);

		if (nk_key_has_map(before->key, ids.ids[i]))
			continue;
		if (fd < 0)
			return fd;
		r = map_info(fd, &ret->info[ret->n]);
		/* A map of global variables has a dot in its name, which no other has. */
		if (!r && !strchr(ret->info[ret->n].name, '.'))
			ret->n++;
	}
	return r;
}

/* The kernel keeps the first 15 bytes of a name. */
static bool same_name(const char *name, const char *kernel_name)
{
	return !strncmp(name, kernel_name, BPF_OBJ_NAME_LEN - 1);
}

static bool takes_over(const struct nk_program *p, const struct bpf_map *map)
{
	return !bpf_map__is_internal(map) && bpf_map__autocreate(map) && !bpf_map__pin_path(map) &&
	       !is_shared(p, bpf_map__name(map));
}

/* Has the object a second map whose name begins with the same 15 bytes? */
static bool is_ambiguous(const struct nk_program *p, const struct bpf_object *object, const struct bpf_map *map)
{
	const struct bpf_map *other;

	bpf_object__for_each_map(other, object)
	{
		if (other != map && takes_over(p, other) && same_name(bpf_map__name(other), bpf_map__name(map)))
			return true;
	}
	return false;
}

static int take_over(const struct nk_program *p, const struct bpf_object *object, struct bpf_map *map, const struct own_maps *own,
		     struct nk_error *err)
{
	const struct bpf_map_info *found = NULL;
	struct text t = {};
	unsigned n = 0;

	for (uint32_t i = 0; i < own->n; i++) {
		if (same_name(bpf_map__name(map), own->info[i].name)) {
			found = &own->info[i];
			n++;
		}
	}
	if (!n)
		return 0;
	if (n > 1 || is_ambiguous(p, object, map))
		add(&t, "several have a name that begins with '%.15s', which is all that the kernel keeps of it",
		    bpf_map__name(map));
	else
		compare(map, found, &t);
	if (!t.len) {
		_close_ int fd = bpf_map_get_fd_by_id(found->id);

		return fd < 0 ? nk_fail(err, NK_E_KERNEL, fd, "cannot open map '%s' of the version before", bpf_map__name(map)) :
				reuse(p, map, fd, err);
	}
	if (p->replace_maps)
		return 0;
	return nk_refuse(err, NK_E_CONFLICT, -EINVAL,
			 "map '%s' of %s cannot take over what that of the version before holds: %s (with replace_maps it begins empty)",
			 bpf_map__name(map), p->path, t.buf);
}

int nk_program_use_maps(const struct nk_program *p, struct bpf_object *object, const struct nk_shared_maps *shared,
			const struct nk_program_before *before, struct nk_error *err)
{
	struct own_maps own = {};
	struct bpf_map *map;
	int r = 0;

	for (uint32_t i = 0; !r && i < p->n_maps; i++)
		r = use_shared(p, object, i, shared->fds[i], err);
	if (r < 0 || before->fd < 0)
		return r;
	r = read_own(before, &own);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot look at the maps of the version before of program '%s'", p->name);
	bpf_object__for_each_map(map, object)
	{
		if (!r && takes_over(p, map))
			r = take_over(p, object, map, &own, err);
	}
	return r;
}
