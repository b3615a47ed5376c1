// SPDX-License-Identifier: GPL-2.0-only
/*
 * Our programs in the kernel: loaded when they are not pinned yet, kept by their names, found again after a restart. Called by the
 * executor in its thread; nk_bpf_each_program and nk_bpf_facts by anybody.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "daemon/kernel/bpf_internal.h"
#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/origin.h"
#include "daemon/kernel/program.h"

/*
 * Names beside those of programs; encoded names have no '%' but in %2E and %25. Where something is pinned before it takes its name,
 * and what follows a program's name where its origin is.
 */
#define FRESH "%fresh"
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

void nk_bpf_close_loaded(struct nk_bpf *b)
{
	for (size_t i = 0; i < b->n_loaded; i++)
		close(b->loaded[i].fd);
	free(b->loaded);
	b->loaded = NULL;
	b->n_loaded = 0;
}

/* Keep a program's descriptor under its name; takes fd on success. */
static int keep_loaded(struct nk_bpf *b, const struct nk_program_state *state, int fd)
{
	struct nk_bpf_loaded *l = find_loaded(b, state->name);

	if (l) {
		close(l->fd);
	} else {
		struct nk_bpf_loaded *larger = reallocarray(b->loaded, b->n_loaded + 1, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		b->loaded = larger;
		l = &larger[b->n_loaded++];
	}
	*l = (struct nk_bpf_loaded){ .state = *state, .fd = fd };
	return 0;
}

/* Pin under a name that may be taken: what is there is replaced at once, so that the name never stands empty. */
static int pin_over(int fd, int dir, const char *pin)
{
	int r;

	if (unlinkat(dir, FRESH, 0) < 0 && errno != ENOENT)
		return -errno;
	r = nk_bpf_pin_put(fd, dir, FRESH);
	if (r < 0)
		return r;
	return renameat(dir, FRESH, dir, pin) < 0 ? -errno : 0;
}

static char *origin_name(const char *program, char *buf)
{
	strcat(nk_pin_encode(program, buf), ORIGIN);
	return buf;
}

/* Does the pin hold what this object gives? */
static bool is_from(const struct nk_bpf *b, const struct nk_program *p, int pinned, const char *data, size_t size)
{
	char pin[NK_PIN_NAME_MAX], tag[17];
	_close_ int origin = nk_bpf_pin_get(b->programs, origin_name(p->name, pin));
	uint32_t id;

	return origin >= 0 && !nk_program_identify(pinned, &id, tag, NULL) && nk_origin_is(origin, id, p->program, data, size);
}

/* Keep what the program was made of. Without it the next start loads the object again, so that a failure is nobody's concern. */
static void keep_origin(const struct nk_bpf *b, const struct nk_program *p, uint32_t id, const char *data, size_t size)
{
	_close_ int origin = nk_origin_make(id, p->program, data, size);
	char pin[NK_PIN_NAME_MAX];

	if (origin >= 0)
		pin_over(origin, b->programs, origin_name(p->name, pin));
}

/*
 * The program of an object file: the pinned one when it was made of the same, or when loading gives the same (then its maps keep what
 * they hold); else the fresh one, in the pin's place. Links keep the one they have until they are updated.
 */
static int load_object(struct nk_bpf *b, const struct nk_program *p, const char *pin, int *ret_fd, struct nk_error *err)
{
	_close_ int pinned = nk_bpf_pin_get(b->programs, pin), fd = -1;
	_free_ char *data = NULL;
	size_t size = 0;
	char tag[17];
	uint32_t id;
	int r;

	r = nk_program_read(p->path, &data, &size, err);
	if (r < 0)
		return r;
	if (pinned >= 0 && is_from(b, p, pinned, data, size)) {
		*ret_fd = nk_take_fd(&pinned);
		return 0;
	}
	r = nk_program_load(p, data, size, &fd, err);
	if (r < 0)
		return r;
	if (pinned >= 0 && nk_program_same(pinned, fd)) {
		close(fd);
		fd = nk_take_fd(&pinned);
	} else {
		r = pin_over(fd, b->programs, pin);
		if (r < 0)
			return nk_fail(err, NK_E_KERNEL, r, "cannot pin program '%s'", p->name);
	}
	if (!nk_program_identify(fd, &id, tag, NULL))
		keep_origin(b, p, id, data, size);
	*ret_fd = nk_take_fd(&fd);
	return 0;
}

/* The program of somebody's pin, which gets a pin of ours too. */
static int load_pin(struct nk_bpf *b, const struct nk_program *p, const char *pin, int *ret_fd, struct nk_error *err)
{
	_close_ int fd = -1;
	int r = nk_program_open(p, &fd, err);

	if (!r) {
		r = pin_over(fd, b->programs, pin);
		if (r < 0)
			return nk_fail(err, NK_E_KERNEL, r, "cannot pin program '%s'", p->name);
		*ret_fd = nk_take_fd(&fd);
	}
	return r;
}

int nk_bpf_load(struct nk_bpf *b, const struct nk_program *p, struct nk_program_state *ret, struct nk_error *err)
{
	struct nk_program_state state = {};
	char pin[NK_PIN_NAME_MAX];
	_close_ int fd = -1;
	int r;

	nk_pin_encode(p->name, pin);
	r = p->source == NK_PROGRAM_OBJECT ? load_object(b, p, pin, &fd, err) : load_pin(b, p, pin, &fd, err);
	if (r < 0)
		return r;
	memcpy(state.name, p->name, sizeof(state.name));
	r = nk_program_identify(fd, &state.id, state.tag, NULL);
	if (!r)
		r = keep_loaded(b, &state, fd);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot keep program '%s'", p->name);
	nk_take_fd(&fd);
	*ret = state;
	return 0;
}

int nk_bpf_unload(struct nk_bpf *b, const char *program)
{
	struct nk_bpf_loaded *l = find_loaded(b, program);
	char pin[NK_PIN_NAME_MAX];

	if (l) {
		close(l->fd);
		*l = b->loaded[--b->n_loaded];
	}
	if (unlinkat(b->programs, nk_pin_encode(program, pin), 0) < 0 && errno != ENOENT)
		return -errno;
	if (unlinkat(b->programs, origin_name(program, pin), 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static void close_directory(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

int nk_bpf_each_program(const char *dir, void (*fn)(const char *name, uint32_t prog_id, void *arg), void *arg)
{
	__attribute__((cleanup(close_directory))) DIR *programs = NULL;
	_free_ char *path = NULL;
	struct dirent *entry;

	if (asprintf(&path, "%s/programs", dir) < 0)
		return -ENOMEM;
	programs = opendir(path);
	if (!programs)
		return -errno;
	while ((entry = readdir(programs))) {
		char name[NK_NAME_MAX], tag[17];
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
