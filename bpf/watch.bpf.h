/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What the watcher's two objects share, watch.bpf.c and watch_tcx.bpf.c: what they read of the kernel's structures, the maps (the
 * daemon gives the second object those of the first), the description of a culprit, and how a change is told once it is done.
 */
#include <linux/bpf.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "netkitd_bpf.h"

#define E2BIG 7 /* a full hash map */
#define PF_WQ_WORKER 0x20
#define CGROUP_DEPTH 8 /* parts of a path that are looked through for a unit */
#define UNMOUNT_NS 10000000000ull /* how long after an unmount of bpffs links are released because of it */

/* The daemon's thread group: what it does is not reported. */
const volatile __u32 own_tgid = 0;
/* The inode number of its network namespace: tcx programs elsewhere are none of its business. */
const volatile __u32 own_netns = 0;

/* Records that found no room: the daemon then reads all chains anew. */
__u64 lost = 0;

struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));

struct user_namespace {
	int level;
} __attribute__((preserve_access_index));

struct net {
	struct user_namespace *user_ns;
	struct ns_common ns;
} __attribute__((preserve_access_index));

typedef struct {
	struct net *net;
} possible_net_t;

struct kobject {
	const char *name;
} __attribute__((preserve_access_index));

struct class {
	const char *name;
} __attribute__((preserve_access_index));

struct device {
	struct kobject kobj;
	const struct class *class;
} __attribute__((preserve_access_index));

struct net_device {
	int ifindex;
	possible_net_t nd_net;
	struct device dev;
} __attribute__((preserve_access_index));

struct sock_common {
	possible_net_t skc_net;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

struct sk_buff {
	struct sock *sk;
	char cb[48];
} __attribute__((preserve_access_index));

struct netlink_skb_parms {
	__u32 portid;
} __attribute__((preserve_access_index));

typedef struct {
	__u64 val;
} kernel_cap_t;

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
} __attribute__((preserve_access_index));

struct kernfs_node {
	const char *name;
} __attribute__((preserve_access_index));

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
} __attribute__((preserve_access_index));

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
} __attribute__((preserve_access_index));

struct css_set {
	struct cgroup *dfl_cgrp;
} __attribute__((preserve_access_index));

struct nsproxy {
	struct net *net_ns;
} __attribute__((preserve_access_index));

struct task_struct {
	unsigned int flags;
	struct nsproxy *nsproxy;
	unsigned int ptrace;
	int tgid;
	char comm[16];
	struct task_struct *parent; /* of one that is traced: who traces it */
	const struct cred *cred;
	struct css_set *cgroups;
} __attribute__((preserve_access_index));

struct super_block {
	unsigned long s_magic;
} __attribute__((preserve_access_index));

struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
	void *i_private;
} __attribute__((preserve_access_index));

struct qstr {
	const unsigned char *name;
} __attribute__((preserve_access_index));

struct dentry {
	struct inode *d_inode;
	struct qstr d_name;
} __attribute__((preserve_access_index));

struct vfsmount {
	struct super_block *mnt_sb;
} __attribute__((preserve_access_index));

struct path {
	struct vfsmount *mnt;
} __attribute__((preserve_access_index));

struct bpf_link {
	__u32 id;
} __attribute__((preserve_access_index));

struct bpf_prog;

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

/* The newest ones: whoever asks looks within the second. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct nk_suspect_key);
	__type(value, struct nk_culprit);
} suspects SEC(".maps");

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

/* Is this, of len bytes with the closing NUL, a service or a scope? */
static __always_inline int is_unit(const char *name, long len)
{
	char tail[9] = "";

	if (len > 9 && !bpf_probe_read_kernel(tail, 8, name + len - 9) && !__builtin_memcmp(tail, ".service", 8))
		return 1;
	return len > 7 && !bpf_probe_read_kernel(tail, 6, name + len - 7) && !__builtin_memcmp(tail, ".scope", 6);
}

/* The control group of a process in the unified hierarchy, and the unit that it belongs to. */
static __always_inline void describe_cgroup(struct nk_culprit *c, struct task_struct *task)
{
	struct cgroup *group = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	bpf_probe_read_kernel_str(c->cgroup, sizeof(c->cgroup), BPF_CORE_READ(group, kn, name));
	for (int i = 0; i < CGROUP_DEPTH && group; i++) {
		const char *name = BPF_CORE_READ(group, kn, name);
		struct cgroup_subsys_state *up = BPF_CORE_READ(group, self.parent);

		if (is_unit(name, bpf_probe_read_kernel_str(c->unit, sizeof(c->unit), name)))
			return;
		group = up ? (void *)up - bpf_core_field_offset(struct cgroup, self) : NULL;
	}
	c->unit[0] = '\0';
}

static __always_inline void describe_task(struct nk_culprit *c, struct task_struct *task, __u32 what)
{
	__builtin_memset(c, 0, sizeof(*c));
	c->time_ns = bpf_ktime_get_ns();
	c->what = what;
	c->pid = BPF_CORE_READ(task, tgid);
	c->uid = BPF_CORE_READ(task, cred, uid.val);
	bpf_probe_read_kernel_str(c->comm, sizeof(c->comm), &task->comm);
	describe_cgroup(c, task);
}

static __always_inline void describe_current(struct nk_culprit *c, __u32 what)
{
	describe_task(c, (struct task_struct *)bpf_get_current_task(), what);
}

/* Who removed the pin of the link that a kernel thread releases now; NULL: nobody. */
static __always_inline struct nk_culprit *unpinned_by(const void *link)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct nk_suspect_key key = { .by = NK_SUSPECT_BY_LINK };
	struct nk_culprit *c;

	if (!(BPF_CORE_READ(task, flags) & PF_WQ_WORKER))
		return NULL;
	key.number = (__u64)link;
	c = bpf_map_lookup_elem(&suspects, &key);
	if (c)
		return c;
	key.number = 0;
	c = bpf_map_lookup_elem(&suspects, &key);
	return c && bpf_ktime_get_ns() - c->time_ns < UNMOUNT_NS ? c : NULL;
}

/* The next link at this address is another one. */
static __always_inline void forget_unpinned(const void *link)
{
	struct nk_suspect_key key = { .by = NK_SUSPECT_BY_LINK };

	key.number = (__u64)link;
	bpf_map_delete_elem(&suspects, &key);
}

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

static __always_inline void wait_for_end(struct bpf_link *link, __u32 what, __u32 ifindex)
{
	struct pending p = { .what = what, .ifindex = ifindex, .link_id = BPF_CORE_READ(link, id) };
	__u64 key = (__u64)link;

	/* -EEXIST is detach that calls release, or the other way round. */
	if (bpf_map_update_elem(&pending, &key, &p, BPF_NOEXIST) == -E2BIG)
		__sync_fetch_and_add(&lost, 1);
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
