// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs for the system tests: each gives one fixed verdict. Several of the same verdict differ in a constant, so that the kernel
 * takes them for different programs.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Verdicts of netkit programs (enum netkit_action). */
#define NEXT (-1)
#define PASS 0
#define DROP 2

#define VERDICT(NAME, WHAT, MARK)                \
	SEC("netkit/peer")                       \
	int NAME(struct __sk_buff *skb)          \
	{                                        \
		skb->mark = MARK;                \
		return WHAT;                     \
	}

VERDICT(pass, PASS, 1)
VERDICT(drop, DROP, 2)
VERDICT(next1, NEXT, 11)
VERDICT(next2, NEXT, 12)
VERDICT(next3, NEXT, 13)
VERDICT(next4, NEXT, 14)

char LICENSE[] SEC("license") = "GPL";
