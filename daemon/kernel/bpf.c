// SPDX-License-Identifier: GPL-2.0-only
/*
 * Our links and pins in the kernel, and the chains they are in; programs are bpf_load.c's. The executor calls it, from its own
 * thread, in the daemon's network namespace (the kernel looks an ifindex up in the caller's). It decides nothing: what to attach
 * where comes from a plan.
 *
 * Pins are reached through descriptors of their directories, kept open: nobody can unmount the bpffs under us without force, and
 * another one mounted over it does not hide our pins from us while we run. Who starts next would not find them, so they follow to where
 * the path leads.
 */
#include "daemon/kernel/bpf_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "daemon/kernel/bpffs.h"
#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/program.h"

enum bpf_attach_type nk_bpf_attach_type(enum nk_hook hook)
{
	switch (hook) {
	case NK_HOOK_NETKIT_PRIMARY:
		return BPF_NETKIT_PRIMARY;
	case NK_HOOK_NETKIT_PEER:
		return BPF_NETKIT_PEER;
	case NK_HOOK_TCX_INGRESS:
		return BPF_TCX_INGRESS;
	case NK_HOOK_TCX_EGRESS:
		return BPF_TCX_EGRESS;
	}
	return __MAX_BPF_ATTACH_TYPE;
}

int nk_bpf_pin_get(int dir, const char *name)
{
	LIBBPF_OPTS(bpf_obj_get_opts, options, .file_flags = BPF_F_PATH_FD, .path_fd = dir);

	return bpf_obj_get_opts(name, &options);
}

int nk_bpf_pin_put(int fd, int dir, const char *name)
{
	LIBBPF_OPTS(bpf_obj_pin_opts, options, .file_flags = BPF_F_PATH_FD, .path_fd = dir);

	return bpf_obj_pin_opts(fd, name, &options);
}

int nk_bpf_pin_over(int fd, int dir, const char *name)
{
	int r = nk_bpf_pin_put(fd, dir, NK_PIN_FRESH);

	/* One that could not be renamed. */
	if (r == -EEXIST && !unlinkat(dir, NK_PIN_FRESH, 0))
		r = nk_bpf_pin_put(fd, dir, NK_PIN_FRESH);
	if (r < 0)
		return r;
	return renameat(dir, NK_PIN_FRESH, dir, name) < 0 ? -errno : 0;
}

int nk_bpf_link_info(int fd, struct bpf_link_info *ret)
{
	uint32_t size = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return bpf_link_get_info_by_fd(fd, ret, &size);
}

bool nk_bpf_is_chain_link(const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_NETKIT || info->type == BPF_LINK_TYPE_TCX;
}

uint32_t nk_bpf_link_ifindex(const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_TCX ? info->tcx.ifindex : info->netkit.ifindex;
}

/* Fill the table from the pins that are there. Names that are not ours and pins that are no links of a chain are left alone. */
static int read_pins(struct nk_bpf *b, struct nk_error *err)
{
	_close_ int fd = openat(b->links, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_closedir_ DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	int r;

	if (!dir && b->only_read && b->links < 0)
		return 0;
	if (!dir)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot read the directory of pinned links");
	nk_take_fd(&fd); /* it is dir's now */
	while (!b->only_read && (entry = readdir(dir))) {
		r = nk_bpf_settle_move(b, entry->d_name);
		if (r < 0)
			return nk_fail(err, NK_E_KERNEL, r, "cannot finish the move of %s", entry->d_name);
	}
	rewinddir(dir);
	while ((entry = readdir(dir))) {
		char device[NK_IFNAMSIZ], attachment[NK_NAME_MAX];
		struct bpf_link_info info;
		enum nk_hook hook;
		_close_ int link = -1;

		if (nk_pin_link_parse(entry->d_name, device, &hook, attachment) < 0)
			continue;
		link = nk_bpf_pin_get(b->links, entry->d_name);
		if (link < 0 || nk_bpf_link_info(link, &info) < 0 || !nk_bpf_is_chain_link(&info))
			continue;
		/* What a device that went while nobody looked left behind: the pin of a link that is nowhere. */
		if (!nk_bpf_link_ifindex(&info)) {
			if (!b->only_read)
				unlinkat(b->links, entry->d_name, 0);
			continue;
		}
		r = nk_pins_put(&b->pins, device, hook, attachment, info.id);
		if (r < 0)
			return nk_fail(err, NK_E_KERNEL, r, "cannot keep the table of pinned links");
	}
	return 0;
}

static void use(struct nk_bpf *b, const struct nk_bpffs *fs)
{
	nk_cleanup_close(&b->root);
	nk_cleanup_close(&b->programs);
	nk_cleanup_close(&b->links);
	b->root = fs->root;
	b->programs = fs->programs;
	b->links = fs->links;
}

/* Open the directories, and bring there what the one that was kept holds. */
static int open_directories(struct nk_bpf *b, int kept, struct nk_error *err)
{
	struct nk_bpffs old = { -1, -1, -1, -1 }, fs = { -1, -1, -1, -1 };
	int before = kept > 0 ? nk_bpffs_open_kept(kept, &old) : -EINVAL;
	/* -ENOENT: it was removed, and what it held with it. */
	int r = nk_bpffs_open(b->dir, !before || before == -ENOENT, &fs, err);

	if (!r && !before && !nk_bpffs_same(old.root, fs.root))
		r = nk_bpffs_move(&old, &fs, err);
	nk_bpffs_close(&old);
	if (r < 0) {
		nk_bpffs_close(&fs);
		return r;
	}
	for (size_t i = 0; i < 3; i++)
		unlinkat((int[]){ fs.programs, fs.passed, fs.links }[i], NK_PIN_FRESH, 0);
	nk_cleanup_close(&fs.passed);
	use(b, &fs);
	return 0;
}

/* With an empty table and no directory open. */
static int bpf_new(const char *dir, struct nk_bpf **ret, struct nk_error *err)
{
	struct nk_bpf *b = calloc(1, sizeof(*b));

	if (b)
		b->root = b->programs = b->links = -1;
	if (!b || nk_pins_init(&b->pins) < 0 || !(b->dir = strdup(dir))) {
		nk_bpf_close(b);
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot keep the table of pinned links");
	}
	*ret = b;
	return 0;
}

int nk_bpf_open_to_read(const char *dir, struct nk_bpf **ret, struct nk_error *err)
{
	struct nk_bpffs fs;
	struct nk_bpf *b;
	int r = bpf_new(dir, &b, err);

	if (r < 0)
		return r;
	b->only_read = true;
	r = nk_bpffs_look(dir, &fs, err);
	if (!r) {
		use(b, &fs);
		r = read_pins(b, err);
	}
	if (r < 0) {
		nk_bpf_close(b);
		return r;
	}
	*ret = b;
	return 0;
}

int nk_bpf_open(const char *dir, int kept, const struct nk_object_dirs *objects, struct nk_bpf **ret, struct nk_error *err)
{
	struct nk_bpf *b;
	int r = bpf_new(dir, &b, err);

	if (r < 0)
		return r;
	b->objects = objects;
	r = open_directories(b, kept, err);
	if (!r) {
		nk_bpf_sweep_programs(b);
		r = read_pins(b, err);
	}
	if (r < 0) {
		nk_bpf_close(b);
		return r;
	}
	*ret = b;
	return 0;
}

/* Does a directory that we hold stand at this path? */
static bool stands(int fd, int at, const char *path)
{
	_close_ int seen = openat(at, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return seen >= 0 && nk_bpffs_same(seen, fd);
}

int nk_bpf_follow(struct nk_bpf *b, struct nk_error *err)
{
	int r;

	if (b->only_read)
		return 0;
	if (stands(b->root, AT_FDCWD, b->dir) && stands(b->programs, b->root, "programs") && stands(b->links, b->root, "links") &&
	    faccessat(b->root, "passed", F_OK, 0) == 0)
		return 0;
	r = open_directories(b, b->root, err);
	return r < 0 ? r : 1;
}

int nk_bpf_root(const struct nk_bpf *b)
{
	return b->root;
}

struct nk_bpf *nk_bpf_close(struct nk_bpf *b)
{
	if (!b)
		return NULL;
	nk_bpf_close_loaded(b);
	nk_pins_clear(&b->pins);
	nk_cleanup_close(&b->root);
	nk_cleanup_close(&b->programs);
	nk_cleanup_close(&b->links);
	free(b->dir);
	free(b);
	return NULL;
}

/* The raw chain: ids in order. 0 or -errno. */
static int query(uint32_t ifindex, enum nk_hook hook, uint32_t **ret_progs, uint32_t **ret_links, uint32_t *ret_n,
		 uint64_t *ret_revision)
{
	for (uint32_t room = 64;; room *= 2) {
		_free_ uint32_t *progs = calloc(room, sizeof(*progs)), *links = calloc(room, sizeof(*links));
		LIBBPF_OPTS(bpf_prog_query_opts, options, .prog_ids = progs, .link_ids = links, .count = room);
		int r;

		if (!progs || !links)
			return -ENOMEM;
		r = bpf_prog_query_opts(ifindex, nk_bpf_attach_type(hook), &options);
		if (r == -ENOSPC && room < 1u << 16)
			continue;
		if (r < 0)
			return r;
		*ret_n = options.count;
		/* Of an empty chain the kernel tells 1, whatever it counts itself. */
		*ret_revision = options.count ? options.revision : 0;
		*ret_progs = progs;
		*ret_links = links;
		progs = links = NULL;
		return 0;
	}
}

/* Where in the chain a link is, by id, or a program: -1 when it isn't. */
static int place_in_chain(uint32_t ifindex, enum nk_hook hook, uint32_t link_id, uint32_t prog_id, uint32_t *ret_link_id)
{
	_free_ uint32_t *progs = NULL, *links = NULL;
	uint64_t revision;
	uint32_t n;

	if (query(ifindex, hook, &progs, &links, &n, &revision) < 0)
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		if (link_id ? links[i] == link_id : progs[i] == prog_id) {
			*ret_link_id = links[i];
			return i;
		}
	}
	return -1;
}

int nk_bpf_swap(int link, int new_prog, int old_prog)
{
	LIBBPF_OPTS(bpf_link_update_opts, options, .flags = BPF_F_REPLACE, .old_prog_fd = old_prog);

	return bpf_link_update(link, new_prog, &options);
}

int nk_bpf_exchange(int link, int new_prog, uint32_t old_prog)
{
	_close_ int old = bpf_prog_get_fd_by_id(old_prog);

	/* A program that nobody holds any more is not in the link either. */
	if (old < 0)
		return old == -ENOENT ? -ESTALE : old;
	return nk_bpf_swap(link, new_prog, old);
}

int nk_bpf_link_create(int prog, uint32_t ifindex, enum nk_hook hook, uint32_t before_prog, uint64_t revision)
{
	/* tcx's options are the same, at the same place. */
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = before_prog ? BPF_F_BEFORE : 0,
		    .netkit = { .relative_id = before_prog, .expected_revision = revision });
	int link = bpf_link_create(prog, ifindex, nk_bpf_attach_type(hook), &options);

	/* Before a program that is not there (any more): somebody else was faster. */
	return link == -ENOENT && before_prog ? -ESTALE : link;
}

int nk_bpf_end_link(struct nk_bpf *b, int link, const char *pin)
{
	int r = bpf_link_detach(link);

	if (unlinkat(b->links, pin, 0) < 0 && errno != ENOENT)
		return -errno;
	return r;
}

/*
 * The name of an attachment is taken already. If by a link in this very chain, it is adopted, with the program that is meant. If not, by
 * what a device that is gone, a forced detachment or somebody else left there, and it is replaced. 1: adopted, 0: to be replaced, -errno.
 */
static int adopt(int link, uint32_t ifindex, enum nk_hook hook, const struct nk_bpf_loaded *l, uint64_t *revision, uint32_t *ret_link_id)
{
	struct bpf_link_info info;
	uint32_t found;
	int r;

	if (!nk_bpf_is_link(link))
		return 0;
	r = nk_bpf_link_info(link, &info);
	if (r < 0)
		return r;
	if (!nk_bpf_is_chain_link(&info))
		return 0;
	if (place_in_chain(ifindex, hook, info.id, 0, &found) < 0) {
		/* Wherever else it is, it ends at once: without its pin it would do so later, by a kernel worker. */
		bpf_link_detach(link);
		return 0;
	}
	if (info.prog_id != l->state.id) {
		r = nk_bpf_exchange(link, l->fd, info.prog_id);
		if (r < 0)
			return r;
		nk_bpf_changed(revision);
	}
	*ret_link_id = info.id;
	return 1;
}

static int explain_attach(struct nk_error *err, int error, uint32_t ifindex, enum nk_hook hook, const char *program,
			  uint32_t prog_id)
{
	uint32_t link_id = 0;

	if (error == -EEXIST && place_in_chain(ifindex, hook, 0, prog_id, &link_id) >= 0) {
		if (link_id)
			return nk_refuse(err, NK_E_CONFLICT, error, "program '%s' is in the chain already, held by link %u, which is foreign",
				       program, link_id);
		return nk_refuse(err, NK_E_CONFLICT, error, "program '%s' is in the chain already, attached by descriptor", program);
	}
	if (error == -ESTALE)
		return nk_refuse(err, NK_E_CONFLICT, error, "somebody else changed the chain before program '%s' was attached", program);
	if (error == -ERANGE)
		return nk_refuse(err, NK_E_LIMIT, error, "the chain is full: a hook holds %d programs", NK_CHAIN_MAX);
	return nk_fail(err, NK_E_KERNEL, error, "the kernel does not attach program '%s'", program);
}

int nk_bpf_attach(struct nk_bpf *b, const char *device, uint32_t ifindex, enum nk_hook hook, const char *attachment,
		  const char *program, uint32_t before_prog, uint64_t *revision, struct nk_error *err)
{
	const struct nk_bpf_loaded *l = nk_bpf_find_loaded(b, program);
	char pin[NK_PIN_NAME_MAX];
	struct bpf_link_info info;
	_close_ int link = -1;
	uint32_t id = 0;
	int r;

	if (!l)
		return nk_refuse(err, NK_E_KERNEL, -ENOENT, "program '%s' is not loaded", program);
	nk_pin_link_name(device, hook, attachment, pin);

	link = nk_bpf_pin_get(b->links, pin);
	if (link >= 0) {
		r = adopt(link, ifindex, hook, l, revision, &id);
		close(nk_take_fd(&link));
		if (r < 0)
			return nk_fail(err, NK_E_KERNEL, r, "cannot make use of the pin %s", pin);
		if (r > 0) {
			r = nk_pins_put(&b->pins, device, hook, attachment, id);
			if (r < 0)
				return nk_fail(err, NK_E_KERNEL, r, "cannot keep link %u", id);
			return 0;
		}
	} else if (link != -ENOENT) {
		return nk_fail(err, NK_E_KERNEL, link, "cannot open the pin %s", pin);
	}

	link = nk_bpf_link_create(l->fd, ifindex, hook, before_prog, *revision);
	if (link < 0)
		return explain_attach(err, link, ifindex, hook, program, l->state.id);
	nk_bpf_changed(revision);
	/* On failure from here on, closing the descriptor takes the link away again. */
	r = nk_bpf_link_info(link, &info);
	if (!r)
		r = nk_pins_put(&b->pins, device, hook, attachment, info.id);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot keep the link of program '%s'", program);
	r = nk_bpf_pin_over(link, b->links, pin);
	if (r < 0) {
		nk_pins_remove(&b->pins, device, hook, attachment);
		return nk_fail(err, NK_E_KERNEL, r, "cannot pin the link as %s", pin);
	}
	return 0;
}

int nk_bpf_update(struct nk_bpf *b, const char *device, enum nk_hook hook, const char *attachment, const char *program,
		  uint32_t old_prog, uint64_t *revision, struct nk_error *err)
{
	const struct nk_bpf_loaded *l = nk_bpf_find_loaded(b, program);
	char pin[NK_PIN_NAME_MAX], map[NK_PIN_NAME_MAX + sizeof(NK_PIN_TARGET)];
	_close_ int link = -1;
	int r;

	if (!l)
		return nk_refuse(err, NK_E_KERNEL, -ENOENT, "program '%s' is not loaded", program);
	link = nk_bpf_pin_get(b->links, nk_pin_link_name(device, hook, attachment, pin));
	if (link < 0)
		return nk_fail(err, NK_E_KERNEL, link, "cannot open the pin %s", pin);
	r = nk_bpf_exchange(link, l->fd, old_prog);
	if (r == -EPERM || r == -ESTALE)
		return nk_refuse(err, NK_E_CONFLICT, -ESTALE, "somebody else exchanged the program of attachment '%s'", attachment);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "the kernel does not exchange the program of attachment '%s' for '%s'",
			       attachment, program);
	nk_bpf_changed(revision);
	/* If it was a stand-in that a move could not exchange. */
	snprintf(map, sizeof(map), "%s%s", pin, NK_PIN_TARGET);
	unlinkat(b->links, map, 0);
	return 0;
}

int nk_bpf_detach(struct nk_bpf *b, const char *device, enum nk_hook hook, const char *attachment, uint64_t *revision,
		  struct nk_error *err)
{
	char pin[NK_PIN_NAME_MAX];
	struct bpf_link_info info;
	_close_ int link = nk_bpf_pin_get(b->links, nk_pin_link_name(device, hook, attachment, pin));
	int r;

	if (link < 0 && link != -ENOENT)
		return nk_fail(err, NK_E_KERNEL, link, "cannot open the pin %s", pin);
	if (link >= 0) {
		bool attached = nk_bpf_link_info(link, &info) == 0 && nk_bpf_link_ifindex(&info);

		r = nk_bpf_end_link(b, link, pin);
		if (r < 0)
			return nk_fail(err, NK_E_KERNEL, r, "cannot detach attachment '%s'", attachment);
		/* A tcx chain that became empty counts from the start. */
		if (attached && nk_hook_fits(hook, true))
			*revision = 0;
		else if (attached)
			nk_bpf_changed(revision);
	}
	nk_pins_remove(&b->pins, device, hook, attachment);
	return 0;
}

bool nk_bpf_has_links(const struct nk_bpf *b, const char *device)
{
	return nk_pins_of_device(&b->pins, device);
}

/* End the link of an interface, unless it is at ifindex. 1: it stays, 0: ended or gone, -errno. */
static int end_unless_at(struct nk_bpf *b, const char *pin, uint32_t ifindex)
{
	_close_ int link = nk_bpf_pin_get(b->links, pin);
	struct bpf_link_info info;

	if (link < 0)
		return link == -ENOENT ? 0 : link;
	if (ifindex && nk_bpf_link_info(link, &info) == 0 && nk_bpf_link_ifindex(&info) == ifindex)
		return 1;
	return nk_bpf_end_link(b, link, pin);
}

int nk_bpf_forget_device(struct nk_bpf *b, const char *device, uint32_t ifindex)
{
	const struct nk_pin *p, *next;
	int result = 0;

	for (p = nk_pins_of_device(&b->pins, device); p; p = next) {
		char pin[NK_PIN_NAME_MAX];
		int r = 0;

		next = nk_pins_next(p);
		nk_pin_link_name(device, p->hook, p->attachment, pin);
		/* A device takes its links along, and where a thousand go, each system call counts. */
		if (nk_hook_fits(p->hook, true))
			r = end_unless_at(b, pin, ifindex);
		else if (unlinkat(b->links, pin, 0) < 0 && errno != ENOENT)
			r = -errno;
		if (r < 0)
			result = r;
		if (r <= 0)
			nk_pins_remove(&b->pins, device, p->hook, p->attachment);
	}
	return result;
}

/* Does the pin hold a link of an interface? */
static bool read_interface_link(int dir, const char *pin, struct nk_interface_link *ret)
{
	struct bpf_link_info info;
	_close_ int link = -1;
	uint32_t id;

	if (nk_pin_link_parse(pin, ret->interface, &ret->hook, ret->attachment) < 0 || !nk_hook_fits(ret->hook, true))
		return false;
	link = nk_bpf_pin_get(dir, pin);
	if (link < 0 || nk_bpf_link_info(link, &info) < 0 || info.type != BPF_LINK_TYPE_TCX)
		return false;
	ret->prog_id = info.prog_id;
	ret->place = info.tcx.ifindex ? place_in_chain(info.tcx.ifindex, ret->hook, info.id, 0, &id) : -1;
	return true;
}

int nk_bpf_open_pins(const char *dir, const char *name, DIR **ret)
{
	_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return -ENOMEM;
	*ret = opendir(path);
	return *ret ? 0 : -errno;
}

int nk_bpf_each_interface_link(const char *dir, void (*fn)(const struct nk_interface_link *l, void *arg), void *arg)
{
	_closedir_ DIR *links = NULL;
	struct dirent *entry;
	int r = nk_bpf_open_pins(dir, "links", &links);

	if (r < 0)
		return r;
	while ((entry = readdir(links))) {
		struct nk_interface_link l;

		if (read_interface_link(dirfd(links), entry->d_name, &l))
			fn(&l, arg);
	}
	return 0;
}

static int repin_one(struct nk_bpf *b, const struct nk_pin *p)
{
	char pin[NK_PIN_NAME_MAX];
	struct bpf_link_info info;
	_close_ int link = -1;

	nk_pin_link_name(p->device, p->hook, p->attachment, pin);
	if (faccessat(b->links, pin, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	/* One that nobody holds is going, and the chain will tell. */
	link = bpf_link_get_fd_by_id(p->link_id);
	if (link < 0 || nk_bpf_link_info(link, &info) < 0 || !nk_bpf_is_chain_link(&info) || !nk_bpf_link_ifindex(&info))
		return 0;
	return nk_bpf_pin_over(link, b->links, pin);
}

int nk_bpf_repin_links(struct nk_bpf *b, const char *device)
{
	int result = 0;

	for (const struct nk_pin *p = nk_pins_of_device(&b->pins, device); p; p = nk_pins_next(p)) {
		int r = repin_one(b, p);

		if (r < 0 && !result)
			result = r;
	}
	return result;
}

/* Zero for a program that went meanwhile. */
static void read_tag(uint32_t prog_id, uint8_t *ret)
{
	_close_ int fd = bpf_prog_get_fd_by_id(prog_id);
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	if (fd >= 0 && bpf_prog_get_info_by_fd(fd, &info, &size) == 0)
		memcpy(ret, info.tag, sizeof(info.tag));
}

bool nk_bpf_names_link(const char *target)
{
	return !strcmp(target, "anon_inode:bpf_link") || !strcmp(target, "anon_inode:bpf-link");
}

/* bpf(2) gives information of any BPF descriptor and doesn't say of what; its name in /proc does. */
bool nk_bpf_is_link(int fd)
{
	char path[32], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && nk_bpf_names_link(target);
}

uint32_t nk_bpf_pinned_prog(const char *path)
{
	_close_ int fd = bpf_obj_get(path);
	struct bpf_link_info info;
	char tag[17];
	uint32_t id;

	if (fd < 0)
		return 0;
	if (nk_bpf_is_link(fd))
		return nk_bpf_link_info(fd, &info) < 0 ? 0 : info.prog_id;
	return nk_program_identify(fd, &id, tag, NULL) < 0 ? 0 : id;
}

int nk_bpf_query(struct nk_bpf *b, uint32_t ifindex, enum nk_hook hook, struct nk_obs_chain *ret)
{
	_free_ uint32_t *progs = NULL, *links = NULL;
	struct nk_obs_link *chain = NULL;
	uint64_t revision;
	uint32_t n;
	int r = query(ifindex, hook, &progs, &links, &n, &revision);

	if (r < 0)
		return r;
	if (n) {
		chain = calloc(n, sizeof(*chain));
		if (!chain)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct nk_pin *p = links[i] ? nk_pins_by_link(&b->pins, links[i]) : NULL;

		chain[i] = (struct nk_obs_link){ .link_id = links[i], .prog_id = progs[i] };
		if (p && p->hook == hook)
			strncpy(chain[i].name, p->attachment, sizeof(chain[i].name) - 1);
		else
			read_tag(progs[i], chain[i].tag);
	}
	*ret = (struct nk_obs_chain){ .n = n, .revision = revision, .links = chain };
	return 0;
}
