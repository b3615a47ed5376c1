// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watcher: tells the daemon of every change of a netkit chain that the daemon did not make itself, once the change is done, and
 * notes who asks for other changes (suspect.bpf.h). The chains of interfaces are watch_tcx.bpf.c's. Loaded by daemon/kernel/watch.c,
 * which leaves out the hooks that the running kernel doesn't have. It observes, and changes nothing.
 *
 * Releasing and detaching a link are seen at entry and at exit: at entry the link still knows its device (one that has none is a shell
 * left behind by a device that is gone, of no interest), at exit the chain has changed. In between the link waits in `pending`.
 * A kernel's netkit_link_detach may call netkit_link_release or contain it; either way the first to enter and the
 * first to leave count. tcx is built likewise.
 */
#include "watch.bpf.h"

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

/* Ids of the links of the watcher's programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u8);
} own_links SEC(".maps");

#include "suspect.bpf.h"

struct netkit_link {
	struct bpf_link link;
	struct net_device *dev;
	__u32 location;
} __attribute__((preserve_access_index));

/* The primary's ifindex where the link says it: a link at the peer's hook only knows the peer's. */
static __always_inline __u32 primary_ifindex(struct bpf_link *link)
{
	struct netkit_link *l = (struct netkit_link *)link;

	if (!bpf_core_field_exists(l->dev) || !bpf_core_field_exists(l->location))
		return 0;
	return BPF_CORE_READ(l, location) == BPF_NETKIT_PRIMARY ? BPF_CORE_READ(l, dev, ifindex) : 0;
}

static __always_inline void begin(struct bpf_link *link, __u32 what)
{
	struct netkit_link *l = (struct netkit_link *)link;

	if (is_own() || (bpf_core_field_exists(l->dev) && !BPF_CORE_READ(l, dev)))
		return;
	wait_for_end(link, what, primary_ifindex(link));
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
