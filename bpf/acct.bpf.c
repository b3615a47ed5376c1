// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accounting: counts packets and bytes of each netkit device in both directions and lets every packet go on to the next program.
 * Attach pod_egress at netkit/peer and pod_ingress at netkit/primary. Loaded by netkitd as an object program; read its map
 * (nk_acct) with bpftool or by its pin. It never decides about a packet.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "netkitd_bpf.h"

/* Only what is read, relocated to the running kernel's layout at load. */
struct net_device {
	int ifindex;
} __attribute__((preserve_access_index));

struct sk_buff {
	struct net_device *dev;
} __attribute__((preserve_access_index));

/* The private area of a netkit device: as upstream's driver calls it, and as ours does. */
struct netkit {
	struct net_device *peer;
} __attribute__((preserve_access_index));

struct netkit_end {
	struct net_device *peer;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_acct_key);
	__type(value, struct nk_acct_value);
} nk_acct SEC(".maps");

static __always_inline void count(const struct __sk_buff *skb, __u32 ifindex, __u32 direction)
{
	struct nk_acct_key key = { .ifindex = ifindex, .direction = direction };
	struct nk_acct_value *value = bpf_map_lookup_elem(&nk_acct, &key);

	if (value) {
		value->packets++;
		value->bytes += skb->len;
	} else {
		struct nk_acct_value first = { .packets = 1, .bytes = skb->len };

		bpf_map_update_elem(&nk_acct, &key, &first, BPF_NOEXIST);
	}
}

SEC("netkit/peer")
int pod_egress(struct __sk_buff *skb)
{
	/* The packet already belongs to the receiving end, which is the primary. */
	count(skb, skb->ifindex, NK_ACCT_FROM_POD);
	return TCX_NEXT; /* NETKIT_NEXT has the same value */
}

/*
 * Here the receiving end is the peer, whose ifindex means something in its own namespace only and is the same in many. So look
 * behind it for the primary. A driver that is laid out otherwise gets the peer's ifindex.
 */
SEC("netkit/primary")
int pod_ingress(struct __sk_buff *skb)
{
	struct sk_buff *kskb = bpf_cast_to_kern_ctx(skb);
	struct net_device *peer = kskb->dev, *primary = 0;
	void *priv = (void *)peer + bpf_core_type_size(struct net_device);
	__u32 ifindex = skb->ifindex;

	if (bpf_core_field_exists(((struct netkit *)0)->peer))
		BPF_CORE_READ_INTO(&primary, (struct netkit *)priv, peer);
	else if (bpf_core_field_exists(((struct netkit_end *)0)->peer))
		BPF_CORE_READ_INTO(&primary, (struct netkit_end *)priv, peer);
	if (primary)
		BPF_CORE_READ_INTO(&ifindex, primary, ifindex);
	count(skb, ifindex, NK_ACCT_TO_POD);
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
