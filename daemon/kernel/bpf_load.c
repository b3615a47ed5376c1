// SPDX-License-Identifier: GPL-2.0-only
/*
 * Our programs in the kernel: loaded when they are not pinned yet, kept by their names, found again after a restart. Called by the
 * executor in its thread; nk_bpf_each_program and nk_bpf_facts by anybody.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "api/contract.h"
#include "daemon/kernel/bpf_internal.h"
#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/origin.h"
#include "daemon/kernel/program.h"

/* What follows a program's name where its origin is. */
#define ORIGIN "%origin"

static struct nk_bpf_loaded *find_loaded(const struct nk_bpf *b, const char *name)
{
	for (size_t i = 0; i < b->n_loaded; i++) {
		if (!strcmp(b->loaded[i].state.name, name))
			return &b->loaded[i];
	}
	return NULL;
}

const struct nk_bpf_loaded *nk_bpf_find_loaded(const struct nk_bpf *b, const char *name)
{
	return find_loaded(b, name);
}

static void close_loaded(struct nk_bpf_loaded *l)
{
	close(l->fd);
	nk_cleanup_close(&l->origin);
}

void nk_bpf_close_loaded(struct nk_bpf *b)
{
	for (size_t i = 0; i < b->n_loaded; i++)
		close_loaded(&b->loaded[i]);
	free(b->loaded);
	b->loaded = NULL;
	b->n_loaded = 0;
}

static char *origin_name(const char *program, char *buf)
{
	strcat(nk_pin_encode(program, buf), ORIGIN);
	return buf;
}

/* Keep a program's descriptor under its name, and that of its origin as it is pinned; takes fd on success. */
static int keep_loaded(struct nk_bpf *b, const struct nk_program_state *state, int fd)
{
	struct nk_bpf_loaded *l = find_loaded(b, state->name);
	char pin[NK_PIN_NAME_MAX];

	if (l) {
		close_loaded(l);
	} else {
		struct nk_bpf_loaded *larger = reallocarray(b->loaded, b->n_loaded + 1, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		b->loaded = larger;
		l = &larger[b->n_loaded++];
	}
	*l = (struct nk_bpf_loaded){ .state = *state, .fd = fd };
	l->origin = nk_bpf_pin_get(b->programs, origin_name(state->name, pin));
	return 0;
}

/* The version of a program that has its name until now. */
struct version {
	struct nk_program_state state; /* id 0: there is none */
	int fd;                        /* owned, -1 likewise */
	struct nk_origin origin;       /* owned; without a key: not known */
};

static void clear_version(struct version *v)
{
	nk_cleanup_close(&v->fd);
	nk_origin_clear(&v->origin);
}
#define _version_ __attribute__((cleanup(clear_version)))

/*
 * What is loaded, else what an earlier netkitd left pinned. A pin whose origin is not beside it somebody else put there.
 * Without memory there is none, and nothing is taken over.
 */
static void find_version(struct nk_bpf *b, const char *name, struct version *ret)
{
	const struct nk_bpf_loaded *l = find_loaded(b, name);
	char pin[NK_PIN_NAME_MAX];
	_version_ struct version v = { .fd = -1 };
	_close_ int origin = nk_bpf_pin_get(b->programs, origin_name(name, pin));

	v.fd = l ? fcntl(l->fd, F_DUPFD_CLOEXEC, 3) : nk_bpf_pin_get(b->programs, nk_pin_encode(name, pin));
	if (v.fd < 0 || nk_program_identify(v.fd, &v.state.id, v.state.tag, NULL) < 0)
		return;
	memcpy(v.state.name, name, strlen(name) + 1);
	if ((origin < 0 || nk_origin_read(origin, v.state.id, &v.origin) < 0) && !l)
		return;
	*ret = v;
	v = (struct version){ .fd = -1 };
}

/* Keep what the program was made of. Without it the next start loads the object again, so that a failure is nobody's concern. */
static void keep_origin(const struct nk_bpf *b, const char *name, uint32_t id, const struct nk_origin *from)
{
	_close_ int origin = nk_origin_make(id, from);
	char pin[NK_PIN_NAME_MAX];

	if (origin >= 0)
		nk_bpf_pin_over(origin, b->programs, origin_name(name, pin));
}

static bool is_made_of(const struct version *v, const struct nk_origin *from)
{
	return v->origin.key && !strcmp(v->origin.key, from->key) && v->origin.size == from->size &&
	       !memcmp(v->origin.object, from->object, from->size);
}

/* What of the file is loaded, and which maps it shares. */
static int make_key(const struct nk_program *p, const struct nk_shared_maps *shared, char **ret)
{
	char *key = strdup(p->program);
	int r = key ? 0 : -ENOMEM;

	for (uint32_t i = 0; !r && i < p->n_maps; i++)
		r = nk_key_add_map(&key, p->maps[i].name, shared->ids[i]);
	if (r < 0) {
		free(key);
		return r;
	}
	*ret = key;
	return 0;
}

/* The same program of the same place: nothing is to be kept anew. */
static bool is_stated_as(const struct version *v, const struct nk_origin *from)
{
	return is_made_of(v, from) && v->origin.definition && !strcmp(v->origin.definition, from->definition);
}

/* The program as the document states it, in one line; not what becomes of drift, which changes without a load. NULL without memory. */
static char *define(const struct nk_program *p)
{
	json_t *json = nk_table_encode(&nk_table_program, p);
	char *text;

	json_object_del(json, "on_drift");
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return text;
}

static int dup_fd(int fd, const char *name, int *ret, struct nk_error *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot keep program '%s'", name);
	*ret = copy;
	return 0;
}

/*
 * The program of an object file: the one that is there when it was made of the same, or when loading gives the same; else the fresh
 * one. *from: what it was made of, the caller's.
 */
static int load_object(struct nk_bpf *b, const struct nk_program *p, const struct version *old, int *ret_fd, struct nk_origin *from,
		       struct nk_error *err)
{
	/* Only what came from an object file has maps that are its own. */
	struct nk_program_before before = { .fd = old->origin.size ? old->fd : -1, .key = old->origin.key };
	__attribute__((cleanup(nk_shared_maps_close))) struct nk_shared_maps shared = {};
	_close_ int fd = -1;
	int r;

	r = nk_object_read(p, b->objects, &from->object, &from->size, err);
	if (!r)
		r = nk_shared_maps_open(p, &shared, err);
	if (r < 0)
		return r;
	if (make_key(p, &shared, &from->key) < 0)
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot load program '%s'", p->name);
	if (is_made_of(old, from))
		return dup_fd(old->fd, p->name, ret_fd, err);
	r = nk_program_load(p, from->object, from->size, &shared, &before, &fd, err);
	if (r < 0)
		return r;
	if (old->fd >= 0 && nk_program_same(old->fd, fd))
		return dup_fd(old->fd, p->name, ret_fd, err);
	*ret_fd = nk_take_fd(&fd);
	return 0;
}

/* The program of somebody's pin or descriptor. */
static int open_program(const struct nk_program *p, int *ret_fd, struct nk_origin *from, struct nk_error *err)
{
	int r = nk_program_open(p, ret_fd, err);

	if (!r)
		from->key = strdup(p->path ?: "passed");
	return r < 0 || from->key ? r : nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot keep program '%s'", p->name);
}

static bool is_pinned(const struct nk_bpf *b, const char *name, uint32_t id)
{
	char pin[NK_PIN_NAME_MAX], tag[NK_TAG_STRLEN];
	_close_ int fd = nk_bpf_pin_get(b->programs, nk_pin_encode(name, pin));
	uint32_t pinned;

	return fd >= 0 && !nk_program_identify(fd, &pinned, tag, NULL) && pinned == id;
}

/* Give the fresh version the name: in the links of the one before, then in the pin. */
static int install(struct nk_bpf *b, const struct nk_bpf_users *users, const struct version *old, int fd,
		   const struct nk_origin *from, struct nk_program_state *state, struct nk_error *err)
{
	bool upgrade = old->state.id && old->state.id != state->id;
	char pin[NK_PIN_NAME_MAX];
	uint32_t unused;
	int r = 0;

	if (upgrade)
		r = nk_bpf_upgrade(b, state->name, users, old->fd, fd, &state->n_links, err);
	if (r < 0)
		return r;
	if (!is_pinned(b, state->name, state->id))
		r = nk_bpf_pin_over(fd, b->programs, nk_pin_encode(state->name, pin));
	if (r < 0) {
		nk_fail(err, NK_E_KERNEL, r, "cannot pin program '%s'", state->name);
		if (upgrade)
			nk_bpf_upgrade(b, state->name, users, fd, old->fd, &unused, err);
		return r;
	}
	/* A pin or descriptor of the same program doesn't make forgotten from which object file that came. */
	if (old->state.id != state->id || !old->origin.key || ((from->size || !old->origin.size) && !is_stated_as(old, from)))
		keep_origin(b, state->name, state->id, from);
	return 0;
}

/* Keep a program under its name; takes the descriptor out of fd. */
static int keep(struct nk_bpf *b, const struct nk_program_state *state, int *fd, struct nk_error *err)
{
	int r = keep_loaded(b, state, *fd);

	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot keep program '%s'", state->name);
	nk_take_fd(fd);
	return 0;
}

int nk_bpf_load(struct nk_bpf *b, const struct nk_program *p, const struct nk_bpf_users *users, struct nk_program_state *ret,
		struct nk_error *err)
{
	__attribute__((cleanup(nk_origin_clear))) struct nk_origin from = {};
	_version_ struct version old = { .fd = -1 };
	struct nk_program_state state = {};
	_close_ int fd = -1;
	int r;

	*ret = state;
	find_version(b, p->name, &old);
	memcpy(state.name, p->name, sizeof(state.name));
	from.definition = define(p);
	if (!from.definition)
		r = nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot load program '%s'", p->name);
	else
		r = p->source == NK_PROGRAM_OBJECT ? load_object(b, p, &old, &fd, &from, err) : open_program(p, &fd, &from, err);
	if (!r) {
		r = nk_program_identify(fd, &state.id, state.tag, NULL);
		if (r < 0)
			nk_fail(err, NK_E_KERNEL, r, "cannot look at program '%s'", p->name);
	}
	if (!r)
		r = install(b, users, &old, fd, &from, &state, err);
	if (!r)
		r = keep(b, &state, &fd, err);
	if (!r) {
		*ret = state;
	} else if (old.state.id && keep(b, &old.state, &old.fd, err) == 0) {
		*ret = old.state;
		ret->before = true;
		nk_bpf_repin_program(b, p->name); /* if it was that which loading it again was to bring */
	}
	return r;
}

int nk_bpf_repin_program(struct nk_bpf *b, const char *program)
{
	const struct nk_bpf_loaded *l = find_loaded(b, program);
	char pin[NK_PIN_NAME_MAX];
	int r = 0;

	if (l && !is_pinned(b, program, l->state.id))
		r = nk_bpf_pin_over(l->fd, b->programs, nk_pin_encode(program, pin));
	/* Who removes the directory removes this as well. */
	if (l && !r && l->origin >= 0 && faccessat(b->programs, origin_name(program, pin), F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		nk_bpf_pin_over(l->origin, b->programs, pin);
	return r;
}

int nk_bpf_unload(struct nk_bpf *b, const char *program)
{
	struct nk_bpf_loaded *l = find_loaded(b, program);
	char pin[NK_PIN_NAME_MAX];

	if (l) {
		close_loaded(l);
		*l = b->loaded[--b->n_loaded];
	}
	if (unlinkat(b->programs, nk_pin_encode(program, pin), 0) < 0 && errno != ENOENT)
		return -errno;
	if (unlinkat(b->programs, origin_name(program, pin), 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

void nk_bpf_sweep_programs(const struct nk_bpf *b)
{
	_close_ int fd = openat(b->programs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_closedir_ DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (dir)
		nk_take_fd(&fd); /* it is dir's now */
	while (dir && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name), suffix = strlen(ORIGIN);
		char program[NAME_MAX + 1];

		if (len <= suffix || strcmp(entry->d_name + len - suffix, ORIGIN))
			continue;
		snprintf(program, sizeof(program), "%.*s", (int)(len - suffix), entry->d_name);
		if (faccessat(b->programs, program, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			unlinkat(b->programs, entry->d_name, 0);
	}
}

int nk_bpf_each_link(const char *dir, void (*fn)(uint32_t prog_id, void *arg), void *arg)
{
	_closedir_ DIR *links = NULL;
	struct dirent *entry;
	int r = nk_bpf_open_pins(dir, "links", &links);

	if (r < 0)
		return r;
	while ((entry = readdir(links))) {
		struct bpf_link_info info;
		_close_ int fd = entry->d_type == DT_REG ? nk_bpf_pin_get(dirfd(links), entry->d_name) : -1;

		if (fd >= 0 && nk_bpf_is_link(fd) && !nk_bpf_link_info(fd, &info))
			fn(info.prog_id, arg);
	}
	return 0;
}

int nk_bpf_each_program(const char *dir, void (*fn)(const char *name, uint32_t prog_id, void *arg), void *arg)
{
	_closedir_ DIR *programs = NULL;
	struct dirent *entry;
	int r = nk_bpf_open_pins(dir, "programs", &programs);

	if (r < 0)
		return r;
	while ((entry = readdir(programs))) {
		char name[NK_NAME_MAX], tag[NK_TAG_STRLEN];
		_close_ int fd = -1;
		uint32_t id;

		if (nk_pin_decode(entry->d_name, name, sizeof(name)) < 0)
			continue;
		fd = nk_bpf_pin_get(dirfd(programs), entry->d_name);
		if (fd >= 0 && !nk_program_identify(fd, &id, tag, NULL))
			fn(name, id, arg);
	}
	return 0;
}

char *nk_bpf_definition(const char *dir, const char *program, uint32_t prog_id)
{
	__attribute__((cleanup(nk_origin_clear))) struct nk_origin origin = {};
	_closedir_ DIR *programs = NULL;
	_close_ int fd = -1;
	char pin[NK_PIN_NAME_MAX];

	if (nk_bpf_open_pins(dir, "programs", &programs) < 0)
		return NULL;
	fd = nk_bpf_pin_get(dirfd(programs), origin_name(program, pin));
	if (fd < 0 || nk_origin_read(fd, prog_id, &origin) < 0 || !origin.definition)
		return NULL;
	return strdup(origin.definition);
}

int nk_bpf_facts(uint32_t prog_id, struct nk_program_facts *ret)
{
	_close_ int fd = bpf_prog_get_fd_by_id(prog_id);
	struct bpf_prog_info info = {};
	struct nk_program_facts facts = {};
	uint32_t size = sizeof(info), id;
	int r;

	if (fd < 0)
		return fd;
	r = nk_program_identify(fd, &id, facts.tag, NULL);
	if (!r)
		r = bpf_prog_get_info_by_fd(fd, &info, &size);
	if (r < 0)
		return r;
	memcpy(facts.kernel_name, info.name, sizeof(facts.kernel_name));
	facts.run_count = info.run_cnt;
	facts.run_time_ns = info.run_time_ns;
	*ret = facts;
	return 0;
}
