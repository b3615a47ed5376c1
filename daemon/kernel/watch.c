// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads and attaches the watcher (bpf/watch.bpf.c) and reads its ring buffer. The loop calls it. It needs of the kernel: BTF, fentry
 * on netkit's functions, the ring buffer. Nothing of it is pinned: who doesn't run doesn't need to know.
 */
#include "daemon/kernel/watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "bpf/netkitd_bpf.h"
#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/libbpf_log.h"
#include "watch.skel.h"

struct nk_watch {
	struct watch_bpf *skel;
	struct ring_buffer *ring;
	uint64_t lost; /* records, as far as told */
	nk_watch_fn fn;
	void *arg;
};

static const char *const whats[NK_WATCH_WHATS] = {
	[NK_WATCH_LINK_RELEASED] = "link released",
	[NK_WATCH_LINK_DETACHED] = "link detached",
	[NK_WATCH_LINK_UPDATED] = "program of a link exchanged",
	[NK_WATCH_LINK_ATTACHED] = "link attached",
	[NK_WATCH_PROG_ATTACHED] = "program attached",
	[NK_WATCH_PROG_DETACHED] = "program detached",
};

/* The kernel's own types, and those of netkit where it is a module (NULL where it isn't). */
struct kernel_types {
	struct btf *vmlinux, *netkit;
};

static void free_types(struct kernel_types *t)
{
	btf__free(t->netkit);
	btf__free(t->vmlinux);
}

static bool has_function(const struct kernel_types *t, const char *name)
{
	return btf__find_by_name_kind(t->vmlinux, name, BTF_KIND_FUNC) > 0 ||
	       (t->netkit && btf__find_by_name_kind(t->netkit, name, BTF_KIND_FUNC) > 0);
}

/* Leave out the hooks that this kernel doesn't have. What takes programs away must be seen; the rest is a gain. */
static int choose_hooks(struct watch_bpf *skel, char *why, size_t size)
{
	__attribute__((cleanup(free_types))) struct kernel_types types = {};
	struct bpf_program *p;

	types.vmlinux = btf__load_vmlinux_btf();
	if (!types.vmlinux) {
		snprintf(why, size, "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)");
		return -EOPNOTSUPP;
	}
	types.netkit = btf__load_module_btf("netkit", types.vmlinux);
	if (!has_function(&types, "netkit_link_release") || !has_function(&types, "netkit_prog_detach")) {
		snprintf(why, size, "the kernel's BTF knows no netkit_link_release and netkit_prog_detach to trace");
		return -EOPNOTSUPP;
	}
	bpf_object__for_each_program(p, skel->obj)
	{
		const char *function = strchr(bpf_program__section_name(p), '/');

		bpf_program__set_autoload(p, function && has_function(&types, function + 1));
	}
	return 0;
}

static int tell(void *arg, void *data, size_t size)
{
	const struct nk_watch_record *r = data;
	struct nk_watch *w = arg;
	struct nk_watch_event e;

	if (size < sizeof(*r) || r->what >= NK_WATCH_WHATS)
		return 0;
	e = (struct nk_watch_event){
		.ifindex = r->ifindex, .link_id = r->link_id, .pid = r->pid, .uid = r->uid, .what = whats[r->what],
	};
	memcpy(e.comm, r->comm, sizeof(e.comm) - 1);
	w->fn(&e, w->arg);
	return 0;
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

int nk_watch_open(nk_watch_fn fn, void *arg, struct nk_watch **ret, char *why, size_t size)
{
	struct nk_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->fn = fn;
	w->arg = arg;
	nk_libbpf_log_begin();
	w->skel = watch_bpf__open();
	r = w->skel ? choose_hooks(w->skel, why, size) : explain(-errno, why, size);
	if (r < 0)
		goto fail;
	w->skel->rodata->own_tgid = getpid();
	r = watch_bpf__load(w->skel);
	if (!r)
		r = watch_bpf__attach(w->skel);
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

struct nk_watch *nk_watch_close(struct nk_watch *w)
{
	if (!w)
		return NULL;
	ring_buffer__free(w->ring);
	watch_bpf__destroy(w->skel);
	free(w);
	return NULL;
}

int nk_watch_fd(const struct nk_watch *w)
{
	return ring_buffer__epoll_fd(w->ring);
}

void nk_watch_read(struct nk_watch *w)
{
	uint64_t lost = __atomic_load_n(&w->skel->bss->lost, __ATOMIC_RELAXED);

	ring_buffer__consume(w->ring);
	if (lost != w->lost) {
		struct nk_watch_event e = { .what = "changes not told: too many at once" };

		w->lost = lost;
		w->fn(&e, w->arg);
	}
}
