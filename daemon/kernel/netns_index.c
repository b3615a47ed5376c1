// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds the namespaces that can be reached now, and keeps a list of them by nsid. The executor makes one for a snapshot and throws
 * it away after it. It holds no descriptor: what is opened later is checked to be the namespace that was met.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/netns_scan.h"
#include "daemon/kernel/rtnl.h"
#include "daemon/model/map.h"

/* Identity of what a path is, if it lies in the filesystem of namespaces (whose device is nsfs). */
static bool identify_at(int dir, const char *path, dev_t nsfs, struct nk_netns_identity *ret)
{
	struct stat st;

	if (fstatat(dir, path, &st, 0) < 0 || st.st_dev != nsfs)
		return false;
	*ret = (struct nk_netns_identity){ .dev = st.st_dev, .ino = st.st_ino };
	return true;
}

int nk_netns_scan(int (*fn)(const struct nk_netns_place *place, void *arg), void *arg)
{
	_closedir_ DIR *names = opendir(NK_NETNS_DIR), *procs = opendir("/proc");
	const struct dirent *e;
	struct stat own;
	int r;

	if (!procs || stat("/proc/self/ns/net", &own) < 0)
		return -errno;
	while (names && (e = readdir(names))) {
		struct nk_netns_place place = { .name = e->d_name };

		if (e->d_name[0] == '.' || !identify_at(dirfd(names), e->d_name, own.st_dev, &place.id))
			continue;
		r = fn(&place, arg);
		if (r)
			return r;
	}
	while ((e = readdir(procs))) {
		struct nk_netns_place place = { 0 };
		char path[NAME_MAX + 8], *end;

		place.pid = strtoull(e->d_name, &end, 10);
		if (*end || !place.pid)
			continue;
		snprintf(path, sizeof(path), "%s/ns/net", e->d_name);
		if (!identify_at(dirfd(procs), path, own.st_dev, &place.id))
			continue;
		r = fn(&place, arg);
		if (r)
			return r;
	}
	return 0;
}

int nk_netns_place_open(const struct nk_netns_place *place, int *ret_fd)
{
	_close_ int dir = -1, fd = -1;
	struct nk_netns_identity id;
	uint64_t start;
	int r;

	if (place->name) {
		dir = open(NK_NETNS_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return -errno;
		r = nk_netns_open_at(dir, place->name, &fd);
	} else {
		r = nk_netns_open_pid(place->pid, &fd, &start);
	}
	if (!r)
		r = nk_netns_identify(fd, &id);
	if (r < 0)
		return r;
	if (id.dev != place->id.dev || id.ino != place->id.ino)
		return -ESTALE;
	*ret_fd = nk_take_fd(&fd);
	return 0;
}

struct entry {
	struct nk_map_node node;   /* in by_ino */
	struct nk_map_node number; /* in by_nsid, if it has one */
	struct entry *next;        /* in the index's list */
	struct nk_netns_place place;
	int32_t nsid;              /* NK_NSID_NONE: none */
	char name[];               /* place.name points here */
};

struct nk_netns_index {
	struct nk_map by_ino, by_nsid;
	struct entry *first; /* owned list */
};

static uint32_t hash_ino(ino_t ino)
{
	return nk_hash_bytes(NK_HASH_SEED, &ino, sizeof(ino));
}

static uint32_t hash_nsid(int32_t nsid)
{
	return nk_hash_bytes(NK_HASH_SEED, &nsid, sizeof(nsid));
}

static int remember(const struct nk_netns_place *place, void *arg)
{
	struct nk_netns_index *x = arg;
	uint32_t hash = hash_ino(place->id.ino);
	size_t size = place->name ? strlen(place->name) + 1 : 1;
	struct entry *e;

	for (struct nk_map_node *n = nk_map_first(&x->by_ino, hash); n; n = nk_map_next(n))
		if (nk_map_entry(n, struct entry, node)->place.id.ino == place->id.ino)
			return 0;
	e = calloc(1, sizeof(*e) + size);
	if (!e)
		return -ENOMEM;
	e->place = *place;
	e->nsid = NK_NSID_NONE;
	if (place->name)
		e->place.name = memcpy(e->name, place->name, size);
	e->next = x->first;
	x->first = e;
	nk_map_insert(&x->by_ino, &e->node, hash);
	return 0;
}

/* Namespaces whose nsid is asked for in one request; their descriptors are open meanwhile. */
#define GROUP 64

struct group {
	struct entry *entries[GROUP];
	int fds[GROUP];
	size_t n;
};

static void close_group(struct group *g)
{
	while (g->n)
		close(g->fds[--g->n]);
}

static void ignore_ack(size_t index, int error, const char *extack, void *arg)
{
	/* A namespace that went meanwhile keeps no nsid. */
}

static void take_nsid(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct group *g = arg;

	nk_netns_read_nsid(h, &g->entries[index]->nsid);
}

/* Ask for all nsids, a group at a time. The socket's own namespace is the host's and needs no asking. */
static int number(struct nk_netns_index *x, struct nk_rtnl *s, struct nk_batch *b)
{
	__attribute__((cleanup(close_group))) struct group g = { .n = 0 };
	struct nk_netns_identity own;
	int r = 0;

	nk_rtnl_netns(s, &own.dev, &own.ino);
	for (struct entry *e = x->first; e && !r; e = e->next) {
		if (e->place.id.ino == own.ino)
			e->nsid = NK_NSID_HOST;
		else if (!nk_netns_place_open(&e->place, &g.fds[g.n])) {
			g.entries[g.n++] = e;
			r = nk_netns_add_get_nsid(b, g.fds[g.n - 1], g.n - 1);
		}
		if (!r && (g.n == GROUP || !e->next)) {
			r = nk_rtnl_flush(s, b, ignore_ack, take_nsid, &g);
			close_group(&g);
		}
	}
	for (struct entry *e = x->first; e && !r; e = e->next)
		if (e->nsid != NK_NSID_NONE)
			nk_map_insert(&x->by_nsid, &e->number, hash_nsid(e->nsid));
	return r;
}

int nk_netns_index_new(struct nk_rtnl *s, struct nk_netns_index **ret)
{
	struct nk_netns_index *x = calloc(1, sizeof(*x));
	struct nk_batch *b = nk_batch_new();
	int r = x && b ? nk_map_init(&x->by_ino) : -ENOMEM;

	if (!r)
		r = nk_map_init(&x->by_nsid);
	if (!r)
		r = nk_netns_scan(remember, x);
	if (!r)
		r = number(x, s, b);
	nk_batch_free(b);
	if (r < 0) {
		nk_netns_index_free(x);
		return r;
	}
	*ret = x;
	return 0;
}

struct nk_netns_index *nk_netns_index_free(struct nk_netns_index *x)
{
	if (x) {
		nk_map_clear(&x->by_ino);
		nk_map_clear(&x->by_nsid);
		while (x->first) {
			struct entry *e = x->first;

			x->first = e->next;
			free(e);
		}
		free(x);
	}
	return NULL;
}

/* What a document would say of this place. The caller's to clear. */
static int make_reference(const struct nk_netns_place *place, struct nk_netns *ret)
{
	struct nk_netns ref = { 0 };
	struct nk_error err = { 0 };
	int r;

	if (place->name) {
		ref.kind = NK_NETNS_NAME;
		ref.path = strdup(place->name);
		if (!ref.path)
			return -ENOMEM;
	} else {
		ref.kind = NK_NETNS_PID;
		ref.number = place->pid;
		r = nk_netns_accept(&ref, NULL, 0, "", &err);
		nk_error_clear(&err);
		if (r < 0)
			return r;
	}
	*ret = ref;
	return 0;
}

int nk_netns_index_open(const struct nk_netns_index *x, int32_t nsid, int *ret_fd, struct nk_netns *ret_ref)
{
	for (struct nk_map_node *n = nk_map_first(&x->by_nsid, hash_nsid(nsid)); n; n = nk_map_next(n)) {
		const struct entry *e = nk_map_entry(n, struct entry, number);
		_close_ int fd = -1;
		int r;

		if (e->nsid != nsid)
			continue;
		if (nk_netns_place_open(&e->place, &fd) < 0)
			return -ENOENT;
		r = ret_ref ? make_reference(&e->place, ret_ref) : 0;
		if (r < 0)
			return r;
		*ret_fd = nk_take_fd(&fd);
		return 0;
	}
	return -ENOENT;
}
