// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkit: the packet path.
 *
 * The core calls netkit_xmit() for every packet that either end of a device
 * sends, with bottom halves off. Nothing here may sleep or take a lock.
 */
#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/netfilter_netdev.h>

#include "netkit.h"

/*
 * The packet becomes one that arrives: what the sender's stack knew about it
 * is forgotten, and the packet type is the receiver's. Only what crosses into
 * another netns loses its timestamp and, unless scrubbing is off, its mark and
 * priority: inside one netns they are the way in which programs talk.
 */
static void netkit_turn_round(struct sk_buff *skb, struct net_device *from,
			      struct net_device *to, enum netkit_scrub scrub)
{
	skb_scrub_packet(skb, false);
	nf_skip_egress(skb, true);
	skb_reset_mac_header(skb);

	if (!net_eq(dev_net(from), dev_net(to))) {
		ipvs_reset(skb);
		skb_clear_tstamp(skb);
		if (scrub == NETKIT_SCRUB_DEFAULT) {
			skb->mark = 0;
			skb->priority = 0;
		}
	}

	eth_skb_pkt_type(skb, to);
	skb->dev = to;
}

/*
 * The first verdict other than NEXT ends the chain. The data pointers are set
 * up once: a helper that moves the data sets them again for the program that
 * called it, and so for those that follow.
 *
 * A redirect is carried out here, where its target is still at hand; the
 * packet is gone when NETKIT_REDIRECT is returned.
 *
 * Left to itself the compiler makes this a call, which a chain of one program
 * is short enough to notice.
 */
static __always_inline int netkit_run_chain(const struct bpf_mprog_entry *chain,
					    struct sk_buff *skb)
{
	struct bpf_net_context storage, *context;
	const struct bpf_mprog_fp *slot;
	const struct bpf_prog *prog;
	int verdict = NETKIT_NEXT;

	context = bpf_net_ctx_set(&storage);
	bpf_compute_data_pointers(skb);

	bpf_mprog_foreach_prog(chain, slot, prog) {
		verdict = bpf_prog_run(prog, skb);
		if (verdict != NETKIT_NEXT)
			break;
	}

	if (verdict == NETKIT_REDIRECT)
		skb_do_redirect(skb);
	bpf_net_ctx_clear(context);

	return verdict;
}

static int netkit_deliver(struct sk_buff *skb)
{
	const struct ethhdr *eth = eth_skb_pull_mac(skb);

	skb_postpull_rcsum(skb, eth, ETH_HLEN);
	return __netif_rx(skb);
}

static void netkit_count_passed(struct netkit_counters __percpu *counters,
				unsigned int bytes)
{
	struct netkit_counters *here = this_cpu_ptr(counters);

	u64_stats_update_begin(&here->syncp);
	u64_stats_inc(&here->passed);
	u64_stats_add(&here->passed_bytes, bytes);
	u64_stats_update_end(&here->syncp);
}

static void netkit_count_redirected(struct netkit_counters __percpu *counters,
				    unsigned int bytes)
{
	struct netkit_counters *here = this_cpu_ptr(counters);

	u64_stats_update_begin(&here->syncp);
	u64_stats_inc(&here->redirected);
	u64_stats_add(&here->redirected_bytes, bytes);
	u64_stats_update_end(&here->syncp);
}

static netdev_tx_t netkit_count_dropped(struct netkit_counters __percpu *counters,
					enum netkit_drop why)
{
	struct netkit_counters *here = this_cpu_ptr(counters);

	u64_stats_update_begin(&here->syncp);
	u64_stats_inc(&here->dropped[why]);
	u64_stats_update_end(&here->syncp);

	return NET_XMIT_DROP;
}

/* Inline for the same reason. */
static __always_inline netdev_tx_t netkit_send(struct sk_buff *skb,
					       struct net_device *dev)
{
	const struct netkit_end *end = netkit_end(dev);
	const struct bpf_mprog_entry *chain;
	unsigned int bytes = skb->len;
	struct net_device *peer;
	int verdict;

	peer = rcu_dereference(end->peer);
	if (unlikely(!peer || !(peer->flags & IFF_UP))) {
		kfree_skb_reason(skb, SKB_DROP_REASON_NETKIT_NO_PEER);
		return netkit_count_dropped(end->counters, NETKIT_DROP_NO_PEER);
	}

	if (unlikely(!pskb_may_pull(skb, ETH_HLEN) ||
		     skb_orphan_frags(skb, GFP_ATOMIC))) {
		kfree_skb(skb);
		return netkit_count_dropped(end->counters, NETKIT_DROP_BAD_SKB);
	}

	netkit_turn_round(skb, dev, peer, end->scrub);

	chain = rcu_dereference(end->chain);
	if (chain)
		verdict = netkit_run_chain(chain, skb);
	else
		verdict = READ_ONCE(end->policy);

	switch (verdict) {
	case NETKIT_NEXT:
	case NETKIT_PASS:
		if (unlikely(netkit_deliver(skb) != NET_RX_SUCCESS))
			return netkit_count_dropped(end->counters,
						    NETKIT_DROP_BACKLOG);
		netkit_count_passed(end->counters, bytes);
		return NETDEV_TX_OK;
	case NETKIT_REDIRECT:
		netkit_count_redirected(end->counters, bytes);
		return NETDEV_TX_OK;
	}

	/* NETKIT_DROP, and whatever no version of the interface defines. */
	if (!chain) {
		kfree_skb_reason(skb, SKB_DROP_REASON_NETKIT_POLICY);
		return netkit_count_dropped(end->counters,
					    NETKIT_DROP_BY_POLICY);
	}
	kfree_skb_reason(skb, SKB_DROP_REASON_NETKIT_PROG);
	return netkit_count_dropped(end->counters, NETKIT_DROP_BY_PROG);
}

netdev_tx_t netkit_xmit(struct sk_buff *skb, struct net_device *dev)
{
	netdev_tx_t ret;

	rcu_read_lock();
	ret = netkit_send(skb, dev);
	rcu_read_unlock();

	return ret;
}
