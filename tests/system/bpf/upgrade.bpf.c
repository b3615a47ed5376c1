// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program in versions, for the tests of upgrades. Each version counts the packets that it sees in `seen`, at its own number,
 * and all of them in `total`. Built with VERSION, and with VALUE as the type of total's values.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, VALUE);
} total SEC(".maps");

static int count(void)
{
	__u32 version = VERSION, zero = 0;
	__u64 *own = bpf_map_lookup_elem(&seen, &version);
	VALUE *all = bpf_map_lookup_elem(&total, &zero);

	if (own)
		__sync_fetch_and_add(own, 1);
	if (all)
		__sync_fetch_and_add(all, 1);
	return -1; /* TCX_NEXT */
}

SEC("netkit/peer")
int counts(struct __sk_buff *skb)
{
	return count();
}

/* It uses total alone. */
SEC("netkit/primary")
int totals(struct __sk_buff *skb)
{
	__u32 zero = 0;
	VALUE *all = bpf_map_lookup_elem(&total, &zero);

	if (all)
		__sync_fetch_and_add(all, VERSION);
	return -1;
}

/* Of a type that no chain of packets takes. */
SEC("xdp")
int of_xdp(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
