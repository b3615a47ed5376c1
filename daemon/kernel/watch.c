// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads and attaches the watcher (bpf/watch.bpf.c, and bpf/watch_tcx.bpf.c with its maps) and reads its ring buffer. The loop calls it.
 * It needs of the kernel: BTF, fentry on netkit's and tcx's functions, the ring buffer. Nothing of it is pinned: who doesn't run doesn't
 * need to know.
 */
#include "daemon/kernel/watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/libbpf_log.h"
#include "daemon/kernel/probe.h"
#include "watch.skel.h"
#include "watch_tcx.skel.h"

#define LINKS_MAX 64
#define RECORDS_A_TURN 256

struct nk_watch {
	struct watch_bpf *skel;
	struct watch_tcx_bpf *tcx; /* NULL: no interface is watched */
	struct ring_buffer *ring;
	uint64_t lost; /* records, as far as told */
	unsigned n_told; /* in this turn */
	uint32_t link_id[LINKS_MAX]; /* by place in the skeletons, one after the other; 0: not attached */
	nk_watch_fn fn;
	void *arg;
};

#define SUSPECT_NS 3000000000ull /* older requests are not why something changes now */

char *nk_culprit_text(const struct nk_culprit *c, bool with_pid, char *buf, size_t size)
{
	const char *group = c->unit[0] ? c->unit : c->cgroup;
	char pid[24] = "";

	if (with_pid)
		snprintf(pid, sizeof(pid), "pid %u, ", c->pid);
	snprintf(buf, size, "%s (%suid %u%s%s)", c->comm[0] ? c->comm : "a process without a name", pid, c->uid, group[0] ? ", " : "", group);
	/* They call themselves what they like. */
	for (char *at = buf; *at; at++)
		if (*at == '\n')
			*at = '?';
	return buf;
}

/* Is it one that this kernel has a function for? */
static bool chosen(const struct bpf_program *p)
{
	return bpf_program__autoload(p);
}

/* Leave out the hooks that this kernel doesn't have. libbpf keeps what it finds here for the loading: to search all types of a kernel for a
 * name takes a millisecond. */
static void choose_hooks(struct bpf_object *object)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, object)
	{
		const char *function = strchr(bpf_program__section_name(p), '/');

		bpf_program__set_autoload(p, function && bpf_program__set_attach_target(p, 0, function + 1) == 0);
	}
}

/* What takes programs away must be seen; the rest is a gain. */
static int check_hooks(const struct watch_bpf *skel, char *why, size_t size)
{
	if (access(NK_BTF_PATH, R_OK) < 0)
		snprintf(why, size, "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF): %s: %s", NK_BTF_PATH, strerror(errno));
	else if (!chosen(skel->progs.link_release_entry) || !chosen(skel->progs.prog_detach))
		snprintf(why, size, "the kernel's BTF knows no netkit_link_release and netkit_prog_detach to trace");
	else
		return 0;
	return -EOPNOTSUPP;
}

/* Likewise; a kernel that has no tcx at all needs nothing. */
static int check_tcx_hooks(const struct watch_tcx_bpf *skel, char *why, size_t size)
{
	if (!chosen(skel->progs.tcx_attach) || (chosen(skel->progs.tcx_release_entry) && chosen(skel->progs.tcx_prog_detached)))
		return 0;
	snprintf(why, size, "the kernel's BTF knows no tcx_link_release and tcx_prog_detach to trace");
	return -EOPNOTSUPP;
}

static int tell(void *arg, void *data, size_t size)
{
	const struct nk_watch_record *r = data;
	struct nk_watch *w = arg;
	struct nk_watch_event e;

	if (size < sizeof(*r))
		return 0;
	e = (struct nk_watch_event){ .ifindex = r->ifindex, .link_id = r->link_id, .netns = r->netns, .who = r->who };
	memcpy(e.name, r->name, sizeof(e.name));
	w->fn(&e, w->arg);
	return ++w->n_told < RECORDS_A_TURN ? 0 : -EAGAIN;
}

/* The last line of libbpf's log says most in one line; a verifier's log has no place in a line of status. */
static int explain(int error, char *why, size_t size)
{
	_free_ char *log = nk_libbpf_log_end();
	const char *last = log ? strrchr(log, '\n') : NULL;

	last = last ? last + 1 : log;
	snprintf(why, size, "%s%s%s", strerror(-error), last && *last ? ": " : "", last ?: "");
	return error;
}

static int n_links(const struct nk_watch *w)
{
	return w->skel->skeleton->prog_cnt + (w->tcx ? w->tcx->skeleton->prog_cnt : 0);
}

static struct bpf_link *link_at(const struct nk_watch *w, int i)
{
	const struct bpf_object_skeleton *s = w->skel->skeleton;

	if (i >= s->prog_cnt) {
		i -= s->prog_cnt;
		s = w->tcx->skeleton;
	}
	return *((const struct bpf_prog_skeleton *)((const char *)s->progs + (size_t)i * (size_t)s->prog_skel_sz))->link;
}

static uint32_t id_of_link(const struct bpf_link *link)
{
	struct bpf_link_info info = {};
	uint32_t len = sizeof(info);

	return link && !bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len) ? info.id : 0;
}

/* Let the watcher know its own links from this one on, so that it tells when one goes. */
static int guard(struct nk_watch *w, int from)
{
	int n = n_links(w), r = n <= LINKS_MAX ? 0 : -E2BIG;
	uint8_t one = 1;

	for (int i = from; r == 0 && i < n; i++) {
		w->link_id[i] = id_of_link(link_at(w, i));
		if (w->link_id[i])
			r = bpf_map__update_elem(w->skel->maps.own_links, &w->link_id[i], sizeof(w->link_id[i]), &one, sizeof(one), BPF_ANY);
	}
	return r;
}

int nk_watch_open(uint32_t netns, nk_watch_fn fn, void *arg, struct nk_watch **ret, char *why, size_t size)
{
	struct nk_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->fn = fn;
	w->arg = arg;
	nk_libbpf_log_begin();
	w->skel = watch_bpf__open();
	if (!w->skel) {
		r = explain(-errno, why, size);
		goto fail;
	}
	choose_hooks(w->skel->obj);
	r = check_hooks(w->skel, why, size);
	if (r < 0)
		goto fail;
	w->skel->rodata->own_tgid = getpid();
	w->skel->rodata->own_netns = netns;
	r = watch_bpf__load(w->skel);
	if (!r)
		r = watch_bpf__attach(w->skel);
	if (!r)
		r = guard(w, 0);
	if (!r) {
		w->ring = ring_buffer__new(bpf_map__fd(w->skel->maps.records), tell, w, NULL);
		r = w->ring ? 0 : -errno;
	}
	if (r < 0) {
		explain(r, why, size);
		goto fail;
	}
	free(nk_libbpf_log_end());
	*ret = w;
	return 0;

fail:
	free(nk_libbpf_log_end());
	nk_watch_close(w);
	return r;
}

/* Give the second object the first one's maps. */
static int share_maps(const struct nk_watch *w)
{
	struct bpf_map *map;
	int r = 0;

	bpf_object__for_each_map(map, w->tcx->obj)
	{
		const struct bpf_map *first = bpf_object__find_map_by_name(w->skel->obj, bpf_map__name(map));

		if (r == 0 && !bpf_map__is_internal(map))
			r = first ? bpf_map__reuse_fd(map, bpf_map__fd(first)) : -ENOENT;
	}
	return r;
}

int nk_watch_interfaces(struct nk_watch *w, char *why, size_t size)
{
	int r;

	if (w->tcx)
		return 0;
	nk_libbpf_log_begin();
	w->tcx = watch_tcx_bpf__open();
	if (!w->tcx)
		return explain(-errno, why, size);
	choose_hooks(w->tcx->obj);
	r = check_tcx_hooks(w->tcx, why, size);
	if (r == 0) {
		w->tcx->rodata->own_tgid = w->skel->rodata->own_tgid;
		w->tcx->rodata->own_netns = w->skel->rodata->own_netns;
		r = share_maps(w);
		if (!r)
			r = watch_tcx_bpf__load(w->tcx);
		if (!r)
			r = watch_tcx_bpf__attach(w->tcx);
		if (!r)
			r = guard(w, w->skel->skeleton->prog_cnt);
		if (r < 0)
			explain(r, why, size);
	}
	free(nk_libbpf_log_end());
	return r;
}

struct nk_watch *nk_watch_close(struct nk_watch *w)
{
	if (!w)
		return NULL;
	if (w->skel && w->skel->bss)
		w->skel->bss->closing = 1;
	ring_buffer__free(w->ring);
	watch_tcx_bpf__destroy(w->tcx);
	watch_bpf__destroy(w->skel);
	free(w);
	return NULL;
}

struct nk_watch *nk_watch_abandon(struct nk_watch *w)
{
	/* A number whose descriptor was closed may be that of another file by now. */
	for (int i = 0; i < n_links(w); i++) {
		struct bpf_link *link = link_at(w, i);

		if (link && id_of_link(link) != w->link_id[i])
			bpf_link__disconnect(link);
	}
	return nk_watch_close(w);
}

int nk_watch_fd(const struct nk_watch *w)
{
	return ring_buffer__epoll_fd(w->ring);
}

void nk_watch_read(struct nk_watch *w)
{
	uint64_t lost;

	w->n_told = 0;
	ring_buffer__consume(w->ring);
	/* What is lost after this is lost while others wait to be told, so that there is a next time. */
	lost = __atomic_load_n(&w->skel->bss->lost, __ATOMIC_RELAXED);
	if (w->tcx)
		lost += __atomic_load_n(&w->tcx->bss->lost, __ATOMIC_RELAXED);
	if (lost != w->lost) {
		struct nk_watch_event e = { 0 };

		w->lost = lost;
		w->fn(&e, w->arg);
	}
}

void nk_watch_inhabited(struct nk_watch *w, uint32_t netns, int by)
{
	const struct bpf_map *map = w->skel->maps.inhabited;
	uint32_t n = 0;

	if (bpf_map__lookup_elem(map, &netns, sizeof(netns), &n, sizeof(n), 0) < 0 && by < 0)
		return;
	n += (uint32_t)by;
	if (!n)
		bpf_map__delete_elem(map, &netns, sizeof(netns), 0);
	else if (bpf_map__update_elem(map, &netns, sizeof(netns), &n, sizeof(n), BPF_ANY) < 0)
		w->skel->bss->all_inhabited = 1;
}

static bool is_recent(const struct nk_culprit *c)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - c->time_ns <= SUSPECT_NS;
}

static int look_up(const struct nk_watch *w, const struct nk_suspect_key *key, uint64_t since_us, struct nk_culprit *ret)
{
	struct nk_culprit c;

	if (bpf_map__lookup_elem(w->skel->maps.suspects, key, sizeof(*key), &c, sizeof(c), 0) < 0)
		return -ENOENT;
	if (c.time_ns < since_us * 1000 || !is_recent(&c))
		return -ENOENT;
	*ret = c;
	return 0;
}

int nk_watch_suspect(const struct nk_watch *w, uint64_t since_us, uint32_t netns, uint32_t ifindex, const char *name, uint32_t port,
		     struct nk_culprit *ret)
{
	struct nk_suspect_key by_ifindex = { .netns = netns, .by = NK_SUSPECT_BY_IFINDEX, .number = ifindex };
	struct nk_suspect_key changed = { .netns = netns, .by = NK_SUSPECT_CHANGED, .number = ifindex };
	struct nk_suspect_key by_port = { .netns = netns, .by = NK_SUSPECT_BY_PORT, .number = port };
	struct nk_suspect_key by_name = { .netns = netns, .by = NK_SUSPECT_BY_NAME };
	struct nk_culprit named;
	int r;

	/* The port is of the one request that the event is about; of the link there may be others, and the newest counts. */
	if (port && look_up(w, &by_port, since_us, ret) == 0)
		return 0;
	r = ifindex ? look_up(w, &by_ifindex, since_us, ret) : -ENOENT;
	if (r < 0 && ifindex)
		r = look_up(w, &changed, since_us, ret);
	if (!name)
		return r;
	strncpy(by_name.name, name, sizeof(by_name.name) - 1);
	if (look_up(w, &by_name, since_us, &named) == 0 && (r < 0 || named.time_ns > ret->time_ns)) {
		*ret = named;
		r = 0;
	}
	return r;
}

int nk_watch_unpinner(const struct nk_watch *w, uint64_t directory, const char *pin, struct nk_culprit *ret)
{
	struct nk_unpinned_key key = { .directory = directory };
	struct nk_culprit c;

	strncpy(key.name, pin, sizeof(key.name) - 1);
	if (bpf_map__lookup_and_delete_elem(w->skel->maps.unpinned, &key, sizeof(key), &c, sizeof(c), 0) < 0 || !is_recent(&c))
		return -ENOENT;
	*ret = c;
	return 0;
}

int nk_watch_unmounter(const struct nk_watch *w, struct nk_culprit *ret)
{
	struct nk_suspect_key key = { .by = NK_SUSPECT_BY_LINK };

	return look_up(w, &key, 0, ret);
}
