// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watcher: tells the daemon of every change of a netkit chain, and of a tcx chain in the daemon's network namespace, that the daemon
 * did not make itself, once the change is done, and notes who asks for other changes (suspect.bpf.h). Loaded by daemon/kernel/watch.c, which leaves out the hooks that the running
 * kernel doesn't have. It observes, and changes nothing.
 *
 * Releasing and detaching a link are seen at entry and at exit: at entry the link still knows its device (one that has none is a shell
 * left behind by a device that is gone, of no interest), at exit the chain has changed. In between the link waits in `pending`.
 * A kernel's netkit_link_detach may call netkit_link_release or contain it; either way the first to enter and the
 * first to leave count. tcx is built likewise.
 */
#include <linux/bpf.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "netkitd_bpf.h"

#define E2BIG 7 /* a full hash map */

/* The daemon's thread group: what it does is not reported. */
const volatile __u32 own_tgid = 0;
/* The inode number of its network namespace: tcx programs elsewhere are none of its business. */
const volatile __u32 own_netns = 0;

/* Records that found no room: the daemon then reads all chains anew. */
__u64 lost = 0;

/* The daemon takes the watcher down itself. */
__u32 closing = 0;

/* Namespaces with a peer of ours, by inode number, and how many. Requests elsewhere are none of the daemon's business, and anybody makes
 * namespaces to ask in. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} inhabited SEC(".maps");

/* There are more than that: all count. */
__u32 all_inhabited = 0;

/* Ids of the links of these programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u8);
} own_links SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} records SEC(".maps");

struct pending {
	__u32 what;
	__u32 ifindex;
	__u32 link_id;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* the link's address */
	__type(value, struct pending);
} pending SEC(".maps");

static __always_inline int is_own(void)
{
	return bpf_get_current_pid_tgid() >> 32 == own_tgid;
}

static __always_inline struct nk_watch_record *reserve(void)
{
	struct nk_watch_record *r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);

	if (!r)
		__sync_fetch_and_add(&lost, 1);
	return r;
}

#include "suspect.bpf.h"

struct bpf_link {
	__u32 id;
} __attribute__((preserve_access_index));

struct netkit_link {
	struct bpf_link link;
	struct net_device *dev;
	__u32 location;
} __attribute__((preserve_access_index));

struct tcx_link {
	struct bpf_link link;
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct bpf_prog;

/* by NULL: the current task. */
static __always_inline void report(__u32 what, __u32 ifindex, __u32 link_id, const struct nk_culprit *by)
{
	struct nk_watch_record *r = reserve();

	if (!r)
		return;
	r->ifindex = ifindex;
	r->link_id = link_id;
	r->netns = 0;
	r->name[0] = '\0';
	if (by)
		r->who = *by;
	else
		describe_current(&r->who, what);
	bpf_ringbuf_submit(r, 0);
}

/* The primary's ifindex where the link says it: a link at the peer's hook only knows the peer's. */
static __always_inline __u32 primary_ifindex(struct bpf_link *link)
{
	struct netkit_link *l = (struct netkit_link *)link;

	if (!bpf_core_field_exists(l->dev) || !bpf_core_field_exists(l->location))
		return 0;
	return BPF_CORE_READ(l, location) == BPF_NETKIT_PRIMARY ? BPF_CORE_READ(l, dev, ifindex) : 0;
}

static __always_inline void wait_for_end(struct bpf_link *link, __u32 what, __u32 ifindex)
{
	struct pending p = { .what = what, .ifindex = ifindex, .link_id = BPF_CORE_READ(link, id) };
	__u64 key = (__u64)link;

	/* -EEXIST is detach that calls release, or the other way round. */
	if (bpf_map_update_elem(&pending, &key, &p, BPF_NOEXIST) == -E2BIG)
		__sync_fetch_and_add(&lost, 1);
}

static __always_inline void begin(struct bpf_link *link, __u32 what)
{
	struct netkit_link *l = (struct netkit_link *)link;

	if (is_own() || (bpf_core_field_exists(l->dev) && !BPF_CORE_READ(l, dev)))
		return;
	wait_for_end(link, what, primary_ifindex(link));
}

static __always_inline void end(struct bpf_link *link)
{
	__u64 key = (__u64)link;
	struct pending *p = bpf_map_lookup_elem(&pending, &key);
	struct nk_culprit *by;

	if (!p)
		return;
	by = unpinned_by(link);
	if (!by || by->pid != own_tgid)
		report(p->what, p->ifindex, p->link_id, by);
	forget_unpinned(link);
	bpf_map_delete_elem(&pending, &key);
}

SEC("fentry/netkit_link_release")
int BPF_PROG(link_release_entry, struct bpf_link *link)
{
	begin(link, NK_WATCH_LINK_RELEASED);
	return 0;
}

SEC("fexit/netkit_link_release")
int BPF_PROG(link_release_exit, struct bpf_link *link)
{
	end(link);
	return 0;
}

SEC("fentry/netkit_link_detach")
int BPF_PROG(link_detach_entry, struct bpf_link *link)
{
	begin(link, NK_WATCH_LINK_DETACHED);
	return 0;
}

SEC("fexit/netkit_link_detach")
int BPF_PROG(link_detach_exit, struct bpf_link *link)
{
	end(link);
	return 0;
}

SEC("fexit/netkit_link_update")
int BPF_PROG(link_update, struct bpf_link *link, struct bpf_prog *new_prog, struct bpf_prog *old_prog, int ret)
{
	if (!ret && !is_own())
		report(NK_WATCH_LINK_UPDATED, primary_ifindex(link), BPF_CORE_READ(link, id), NULL);
	return 0;
}

SEC("fexit/netkit_link_attach")
int BPF_PROG(link_attach, const union bpf_attr *attr, struct bpf_prog *prog, int ret)
{
	if (ret >= 0 && !is_own())
		report(NK_WATCH_LINK_ATTACHED, BPF_PROBE_READ(attr, link_create.target_ifindex), 0, NULL);
	return 0;
}

SEC("fexit/netkit_prog_attach")
int BPF_PROG(prog_attach, const union bpf_attr *attr, struct bpf_prog *prog, int ret)
{
	if (!ret && !is_own())
		report(NK_WATCH_PROG_ATTACHED, BPF_PROBE_READ(attr, target_ifindex), 0, NULL);
	return 0;
}

SEC("fexit/netkit_prog_detach")
int BPF_PROG(prog_detach, const union bpf_attr *attr, struct bpf_prog *prog, int ret)
{
	if (!ret && !is_own())
		report(NK_WATCH_PROG_DETACHED, BPF_PROBE_READ(attr, target_ifindex), 0, NULL);
	return 0;
}

/* ---- tcx ---- */

/* The number of the link's device in the daemon's namespace; 0: it has none, or one elsewhere. */
static __always_inline __u32 tcx_ifindex(struct bpf_link *link)
{
	struct net_device *dev = BPF_CORE_READ((struct tcx_link *)link, dev);

	return dev && BPF_CORE_READ(dev, nd_net.net, ns.inum) == own_netns ? BPF_CORE_READ(dev, ifindex) : 0;
}

static __always_inline void tcx_begin(struct bpf_link *link, __u32 what)
{
	__u32 ifindex = is_own() ? 0 : tcx_ifindex(link);

	if (ifindex)
		wait_for_end(link, what, ifindex);
}

SEC("fentry/tcx_link_release")
int BPF_PROG(tcx_release_entry, struct bpf_link *link)
{
	tcx_begin(link, NK_WATCH_LINK_RELEASED);
	return 0;
}

SEC("fexit/tcx_link_release")
int BPF_PROG(tcx_release_exit, struct bpf_link *link)
{
	end(link);
	return 0;
}

SEC("fentry/tcx_link_detach")
int BPF_PROG(tcx_detach_entry, struct bpf_link *link)
{
	tcx_begin(link, NK_WATCH_LINK_DETACHED);
	return 0;
}

SEC("fexit/tcx_link_detach")
int BPF_PROG(tcx_detach_exit, struct bpf_link *link)
{
	end(link);
	return 0;
}

SEC("fexit/tcx_link_update")
int BPF_PROG(tcx_update, struct bpf_link *link, struct bpf_prog *new_prog, struct bpf_prog *old_prog, int ret)
{
	__u32 ifindex = ret || is_own() ? 0 : tcx_ifindex(link);

	if (ifindex)
		report(NK_WATCH_LINK_UPDATED, ifindex, BPF_CORE_READ(link, id), NULL);
	return 0;
}

/* Attaching by number, and by descriptor, is about a device of the caller's namespace. */
static __always_inline void tcx_report(__u32 what, __u32 ifindex)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (!is_own() && BPF_CORE_READ(task, nsproxy, net_ns, ns.inum) == own_netns)
		report(what, ifindex, 0, NULL);
}

SEC("fexit/tcx_link_attach")
int BPF_PROG(tcx_attach, const union bpf_attr *attr, struct bpf_prog *prog, int ret)
{
	if (ret >= 0)
		tcx_report(NK_WATCH_LINK_ATTACHED, BPF_PROBE_READ(attr, link_create.target_ifindex));
	return 0;
}

SEC("fexit/tcx_prog_attach")
int BPF_PROG(tcx_prog_attached, const union bpf_attr *attr, struct bpf_prog *prog, int ret)
{
	if (!ret)
		tcx_report(NK_WATCH_PROG_ATTACHED, BPF_PROBE_READ(attr, target_ifindex));
	return 0;
}

SEC("fexit/tcx_prog_detach")
int BPF_PROG(tcx_prog_detached, const union bpf_attr *attr, struct bpf_prog *prog, int ret)
{
	if (!ret)
		tcx_report(NK_WATCH_PROG_DETACHED, BPF_PROBE_READ(attr, target_ifindex));
	return 0;
}

/*
 * The watcher watches itself: its links are held by descriptors of the daemon, which a debugger can make it close. The one that is attached
 * here sees its own release as well.
 */
SEC("fentry/bpf_tracing_link_release")
int BPF_PROG(own_link_release, struct bpf_link *link)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 id = BPF_CORE_READ(link, id);
	struct nk_watch_record *r;

	if (closing || !bpf_map_lookup_elem(&own_links, &id))
		return 0;
	r = reserve();
	if (!r)
		return 0;
	/* It is always the daemon that closes them: what counts is who traces it. */
	if (BPF_CORE_READ(task, ptrace)) {
		describe_task(&r->who, BPF_CORE_READ(task, parent), NK_WATCH_WATCHER_REMOVED);
	} else {
		__builtin_memset(&r->who, 0, sizeof(r->who));
		r->who.what = NK_WATCH_WATCHER_REMOVED;
	}
	r->ifindex = 0;
	r->link_id = id;
	r->netns = 0;
	r->name[0] = '\0';
	bpf_ringbuf_submit(r, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
