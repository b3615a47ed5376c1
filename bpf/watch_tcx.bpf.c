// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watcher's part for interfaces (watch.bpf.c): tells of changes of tcx chains in the daemon's network namespace. Loaded when the
 * document first names an interface, so that on a host without any nobody's use of tcx is looked at.
 */
#include "watch.bpf.h"

struct tcx_link {
	struct bpf_link link;
	struct net_device *dev;
} __attribute__((preserve_access_index));

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

char LICENSE[] SEC("license") = "GPL";
