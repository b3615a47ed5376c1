// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs for the tests of chains under traffic: stamp marks each packet, witness counts packets by how often they were stamped, and
 * others only take a place.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define NEXT (-1)

/* 0: never stamped, 1: once, 2: more often. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("netkit/peer")
int stamp(struct __sk_buff *skb)
{
	skb->mark += 1;
	return NEXT;
}

SEC("netkit/peer")
int witness(struct __sk_buff *skb)
{
	__u32 key = skb->mark > 2 ? 2 : skb->mark;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	return NEXT;
}

#define OTHER(NAME, NUMBER)                \
	SEC("netkit/peer")                 \
	int NAME(struct __sk_buff *skb)    \
	{                                  \
		skb->priority = NUMBER;    \
		return NEXT;               \
	}

OTHER(other1, 1)
OTHER(other2, 2)

char LICENSE[] SEC("license") = "GPL";
