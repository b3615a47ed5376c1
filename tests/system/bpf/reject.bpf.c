// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program that the verifier refuses: it reads a packet without asking how long that is.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("netkit/peer")
int reads_too_far(struct __sk_buff *skb)
{
	const __u8 *data = (const __u8 *)(long)skb->data;

	return data[1000] ? TCX_DROP : TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
