/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Part of the watcher (watch.bpf.c includes it, after watch.bpf.h): who asks for changes of network devices, addresses and routes, and
 * who removes pins. The kernel's own events tell what changed but not who did it, and come while the request still runs; so the request is noted
 * at its entry, where the daemon finds it when the event arrives. Nobody is woken for that. Requests of those who may not change
 * anything are left out, or anybody could put the blame on himself or hide another by asking often enough.
 *
 * Some settings change without an event (a device's group, alias and policy while it is down, its GSO and GRO sizes always):
 * for those a record goes through the ring buffer when the request has succeeded.
 */

#define NLMSG_HEADER 16
#define ATTRIBUTES_MAX 48
#define BPF_FS_MAGIC 0xcafe4a11
#define CAP_NET_ADMIN_BIT 12

/* Who removed a pin, or a directory of them, by its name. Apart from them, since the daemon looks later: inotify's word of it waits for the release of links. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct nk_unpinned_key);
	__type(value, struct nk_culprit);
} unpinned SEC(".maps");

static __always_inline void suspect_number(__u32 netns, __u32 by, __u64 number, const struct nk_culprit *c)
{
	struct nk_suspect_key key = { .netns = netns, .by = by };

	key.number = number;
	bpf_map_update_elem(&suspects, &key, c, BPF_ANY);
}

static __always_inline void suspect_name(__u32 netns, const char *name, const struct nk_culprit *c)
{
	struct nk_suspect_key key = { .netns = netns, .by = NK_SUSPECT_BY_NAME };

	bpf_probe_read_kernel_str(key.name, sizeof(key.name), name);
	bpf_map_update_elem(&suspects, &key, c, BPF_ANY);
}

/* CAP_NET_ADMIN in the host's user namespace, or in the one that the network namespace belongs to. */
static __always_inline int may_change(struct net *net)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct user_namespace *ns = BPF_CORE_READ(cred, user_ns);

	if (!(BPF_CORE_READ(cred, cap_effective.val) & (1ull << CAP_NET_ADMIN_BIT)))
		return 0;
	return ns == BPF_CORE_READ(net, user_ns) || BPF_CORE_READ(ns, level) == 0;
}

/* May a device in this namespace be ours? */
static __always_inline int is_inhabited(__u32 netns)
{
	return netns == own_netns || all_inhabited || bpf_map_lookup_elem(&inhabited, &netns);
}

/* ---- rtnetlink ---- */

/* What is read of a request. */
struct request {
	__u32 ifindex;
	__u32 named;  /* where in the message its name stands; 0: nowhere */
	__u32 silent; /* it has attributes of which a change may raise no event */
};

static __always_inline int what_of(__u16 type)
{
	switch (type) {
	case RTM_NEWLINK:
	case RTM_SETLINK:
		return NK_WATCH_DEVICE_SET;
	case RTM_DELLINK:
		return NK_WATCH_DEVICE_DELETED;
	case RTM_NEWADDR:
		return NK_WATCH_ADDR_ADDED;
	case RTM_DELADDR:
		return NK_WATCH_ADDR_DELETED;
	case RTM_NEWROUTE:
		return NK_WATCH_ROUTE_ADDED;
	case RTM_DELROUTE:
		return NK_WATCH_ROUTE_DELETED;
	}
	return -1;
}

static __always_inline int is_silent(__u16 type)
{
	switch (type) {
	case IFLA_IFALIAS:
	case IFLA_GROUP:
	case IFLA_LINKINFO:
	case IFLA_GSO_MAX_SEGS:
	case IFLA_GSO_MAX_SIZE:
	case IFLA_GRO_MAX_SIZE:
	case IFLA_GSO_IPV4_MAX_SIZE:
	case IFLA_GRO_IPV4_MAX_SIZE:
		return 1;
	}
	return 0;
}

/* What was found in the attributes so far, and where the reader stands. */
struct walk {
	struct request found;
	const char *message;
	__u32 at, len; /* bytes of the message */
	int of_link;   /* else of a route */
};

/* bpf_loop()'s: so the verifier looks at it once, and not at forty attributes one after the other, two thirds of all that it looked at. */
static long read_attribute(__u32 i, struct walk *w)
{
	struct rtattr a = {};
	__u16 type;

	if (w->at + sizeof(a) > w->len)
		return 1;
	bpf_probe_read_kernel(&a, sizeof(a), w->message + w->at);
	if (a.rta_len < sizeof(a))
		return 1;
	type = a.rta_type & 0x3fff;
	if (!w->of_link && type == RTA_OIF)
		bpf_probe_read_kernel(&w->found.ifindex, sizeof(w->found.ifindex), w->message + w->at + sizeof(a));
	if (w->of_link && type == IFLA_IFNAME && !w->found.ifindex)
		w->found.named = w->at + sizeof(a);
	if (w->of_link && is_silent(type))
		w->found.silent = 1;
	w->at += (a.rta_len + 3) & ~3;
	return 0;
}

/* Links, addresses and routes begin differently; the first two have their ifindex at the same place. */
static __always_inline void read_request(const struct nlmsghdr *h, int what, struct request *r)
{
	int of_link = what == NK_WATCH_DEVICE_SET || what == NK_WATCH_DEVICE_DELETED;
	int of_route = what == NK_WATCH_ROUTE_ADDED || what == NK_WATCH_ROUTE_DELETED;
	struct walk w = { .message = (const char *)h, .of_link = of_link };

	if (!of_route)
		bpf_probe_read_kernel(&w.found.ifindex, sizeof(w.found.ifindex), w.message + NLMSG_HEADER + 4);
	if (of_link || of_route) {
		w.at = NLMSG_HEADER + (of_link ? sizeof(struct ifinfomsg) : sizeof(struct rtmsg));
		w.len = BPF_CORE_READ(h, nlmsg_len);
		bpf_loop(ATTRIBUTES_MAX, read_attribute, &w, 0);
	}
	*r = w.found;
}

static __always_inline __u32 port_of(struct sk_buff *skb)
{
	__u32 port = 0;

	bpf_probe_read_kernel(&port, sizeof(port),
			      (char *)skb + bpf_core_field_offset(skb->cb) + bpf_core_field_offset(struct netlink_skb_parms, portid));
	return port;
}

SEC("fentry/rtnetlink_rcv_msg")
int BPF_PROG(rtnetlink_entry, struct sk_buff *skb, struct nlmsghdr *h)
{
	int what = what_of(BPF_CORE_READ(h, nlmsg_type));
	struct net *net = BPF_CORE_READ(skb, sk, __sk_common.skc_net.net);
	__u32 netns = BPF_CORE_READ(net, ns.inum), port = port_of(skb);
	struct nk_culprit c;
	struct request r;

	if (what < 0 || is_own() || !may_change(net))
		return 0;
	describe_current(&c, what);
	read_request(h, what, &r);
	if (r.ifindex)
		suspect_number(netns, NK_SUSPECT_BY_IFINDEX, r.ifindex, &c);
	else if (r.named)
		suspect_name(netns, (const char *)h + r.named, &c);
	if (port)
		suspect_number(netns, NK_SUSPECT_BY_PORT, port, &c);
	return 0;
}

/* A request that was refused is not why something changes later. */
static __always_inline void forget_request(struct sk_buff *skb, struct nlmsghdr *h, __u32 netns, const struct request *r)
{
	struct nk_suspect_key key = { .netns = netns, .by = NK_SUSPECT_BY_IFINDEX };

	key.number = r->ifindex;
	if (r->ifindex)
		bpf_map_delete_elem(&suspects, &key);
	key.by = NK_SUSPECT_BY_PORT;
	key.number = port_of(skb);
	if (key.number)
		bpf_map_delete_elem(&suspects, &key);
	if (!r->named)
		return;
	key.by = NK_SUSPECT_BY_NAME;
	__builtin_memset(key.name, 0, sizeof(key.name));
	bpf_probe_read_kernel_str(key.name, sizeof(key.name), (const char *)h + r->named);
	bpf_map_delete_elem(&suspects, &key);
}

/* One that was granted may be. */
static __always_inline void keep_request(__u32 netns, const struct request *r)
{
	struct nk_suspect_key key = { .netns = netns, .by = NK_SUSPECT_BY_IFINDEX };
	struct nk_culprit *c;

	key.number = r->ifindex;
	c = r->ifindex ? bpf_map_lookup_elem(&suspects, &key) : NULL;
	key.by = NK_SUSPECT_CHANGED;
	if (c)
		bpf_map_update_elem(&suspects, &key, c, BPF_ANY);
}

SEC("fexit/rtnetlink_rcv_msg")
int BPF_PROG(rtnetlink_exit, struct sk_buff *skb, struct nlmsghdr *h, void *extack, int ret)
{
	int what = what_of(BPF_CORE_READ(h, nlmsg_type));
	struct nk_watch_record *record;
	struct request r;
	struct net *net;
	__u32 netns;

	if (what < 0 || is_own())
		return 0;
	net = BPF_CORE_READ(skb, sk, __sk_common.skc_net.net);
	netns = BPF_CORE_READ(net, ns.inum);
	if (ret && !may_change(net))
		return 0;
	read_request(h, what, &r);
	if (ret) {
		forget_request(skb, h, netns, &r);
		return 0;
	}
	keep_request(netns, &r);
	/* One that was made just now is nobody's yet. */
	if (what != NK_WATCH_DEVICE_SET || BPF_CORE_READ(h, nlmsg_flags) & NLM_F_EXCL || !r.silent || !(r.ifindex || r.named) ||
	    !is_inhabited(netns))
		return 0;
	record = reserve();
	if (!record)
		return 0;
	record->ifindex = r.ifindex;
	record->link_id = 0;
	record->netns = netns;
	record->name[0] = '\0';
	if (r.named)
		bpf_probe_read_kernel_str(record->name, sizeof(record->name), (const char *)h + r.named);
	describe_current(&record->who, NK_WATCH_DEVICE_SET);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* ---- ioctl, sysfs ---- */

struct ifreq;

static __always_inline void note_ioctl(struct net *net, unsigned int cmd, const void *ifr)
{
	struct nk_culprit c;

	switch (cmd) {
	case SIOCSIFFLAGS:
	case SIOCSIFMTU:
	case SIOCSIFHWADDR:
	case SIOCSIFTXQLEN:
	case SIOCSIFNAME:
	case SIOCSIFADDR:
	case SIOCSIFNETMASK:
	case SIOCDIFADDR:
		break;
	default:
		return;
	}
	if (is_own() || !may_change(net))
		return;
	describe_current(&c, NK_WATCH_DEVICE_SET);
	suspect_name(BPF_CORE_READ(net, ns.inum), ifr, &c);
}

SEC("fentry/devinet_ioctl")
int BPF_PROG(inet_ioctl_entry, struct net *net, unsigned int cmd, struct ifreq *ifr)
{
	note_ioctl(net, cmd, ifr);
	return 0;
}

SEC("fentry/dev_ioctl")
int BPF_PROG(dev_ioctl_entry, struct net *net, unsigned int cmd, struct ifreq *ifr)
{
	note_ioctl(net, cmd, ifr);
	return 0;
}

/* What is written to an attribute below /sys/class/net. */
SEC("fentry/dev_attr_store")
int BPF_PROG(sysfs_entry, struct kobject *kobj)
{
	struct device *device = (void *)kobj - bpf_core_field_offset(struct device, kobj);
	struct net_device *dev = (void *)device - bpf_core_field_offset(struct net_device, dev);
	struct nk_culprit c;
	struct net *net;
	char class[8] = "";

	bpf_probe_read_kernel_str(class, sizeof(class), BPF_CORE_READ(device, class, name));
	if (class[0] != 'n' || class[1] != 'e' || class[2] != 't' || class[3] || is_own())
		return 0;
	net = BPF_CORE_READ(dev, nd_net.net);
	if (!may_change(net))
		return 0;
	describe_current(&c, NK_WATCH_DEVICE_SET);
	suspect_number(BPF_CORE_READ(net, ns.inum), NK_SUSPECT_BY_IFINDEX, BPF_CORE_READ(dev, ifindex), &c);
	return 0;
}

/* ---- pins ---- */

static __always_inline void note_unpinned(struct inode *dir, struct dentry *dentry, const struct nk_culprit *c)
{
	struct nk_unpinned_key key = {};

	key.directory = BPF_CORE_READ(dir, i_ino);
	bpf_probe_read_kernel_str(key.name, sizeof(key.name), BPF_CORE_READ(dentry, d_name.name));
	bpf_map_update_elem(&unpinned, &key, c, BPF_ANY);
}

SEC("fentry/vfs_unlink")
int BPF_PROG(unlink_entry, void *idmap, struct inode *dir, struct dentry *dentry)
{
	struct nk_culprit c;

	if (BPF_CORE_READ(dir, i_sb, s_magic) != BPF_FS_MAGIC)
		return 0;
	/* Our own are noted as well: the release that follows comes in a kernel thread, and is to be told from others'. */
	describe_current(&c, NK_WATCH_PIN_REMOVED);
	suspect_number(0, NK_SUSPECT_BY_LINK, (__u64)BPF_CORE_READ(dentry, d_inode, i_private), &c);
	if (!is_own())
		note_unpinned(dir, dentry, &c);
	return 0;
}

SEC("fentry/vfs_rmdir")
int BPF_PROG(rmdir_entry, void *idmap, struct inode *dir, struct dentry *dentry)
{
	struct nk_culprit c;

	if (BPF_CORE_READ(dir, i_sb, s_magic) != BPF_FS_MAGIC || is_own())
		return 0;
	describe_current(&c, NK_WATCH_PIN_REMOVED);
	note_unpinned(dir, dentry, &c);
	return 0;
}

SEC("fentry/path_umount")
int BPF_PROG(umount_entry, struct path *path)
{
	struct nk_culprit c;

	if (BPF_CORE_READ(path, mnt, mnt_sb, s_magic) != BPF_FS_MAGIC)
		return 0;
	describe_current(&c, NK_WATCH_BPFFS_UNMOUNTED);
	suspect_number(0, NK_SUSPECT_BY_LINK, 0, &c);
	return 0;
}
