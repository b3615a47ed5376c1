// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkit: counters, for the core's link statistics and for ethtool.
 *
 * Everything here is read only and slow; xmit.c does the counting.
 */
#include <linux/ethtool.h>

#include "netkit.h"

void netkit_sum_counters(const struct netkit_end *end,
			 struct netkit_totals *totals)
{
	int cpu, why;

	memset(totals, 0, sizeof(*totals));

	for_each_possible_cpu(cpu) {
		const struct netkit_counters *c;
		struct netkit_totals now;
		unsigned int start;

		c = per_cpu_ptr(end->counters, cpu);
		do {
			start = u64_stats_fetch_begin(&c->syncp);
			now.passed = u64_stats_read(&c->passed);
			now.passed_bytes = u64_stats_read(&c->passed_bytes);
			now.redirected = u64_stats_read(&c->redirected);
			now.redirected_bytes =
				u64_stats_read(&c->redirected_bytes);
			for (why = 0; why < NETKIT_DROPS; why++)
				now.dropped[why] =
					u64_stats_read(&c->dropped[why]);
		} while (u64_stats_fetch_retry(&c->syncp, start));

		totals->passed += now.passed;
		totals->passed_bytes += now.passed_bytes;
		totals->redirected += now.redirected;
		totals->redirected_bytes += now.redirected_bytes;
		for (why = 0; why < NETKIT_DROPS; why++)
			totals->dropped[why] += now.dropped[why];
	}
}

/*
 * The core's own counters hold what bpf_redirect_peer() delivered to this end
 * past its peer; the rest of what it received is what the sender passed.
 */
void netkit_get_stats64(struct net_device *dev,
			struct rtnl_link_stats64 *stats)
{
	const struct netkit_end *end = netkit_end(dev);
	struct netkit_totals totals;
	struct net_device *sender;
	int why;

	dev_get_tstats64(dev, stats);

	netkit_sum_counters(end, &totals);
	stats->tx_packets += totals.passed + totals.redirected;
	stats->tx_bytes += totals.passed_bytes + totals.redirected_bytes;
	for (why = 0; why < NETKIT_DROPS; why++)
		stats->tx_dropped += totals.dropped[why];

	rcu_read_lock();
	sender = rcu_dereference(end->sender);
	if (sender) {
		netkit_sum_counters(netkit_end(sender), &totals);
		stats->rx_packets += totals.passed;
		stats->rx_bytes += totals.passed_bytes;
	}
	rcu_read_unlock();
}

static const char * const netkit_drop_names[NETKIT_DROPS] = {
	[NETKIT_DROP_BY_PROG]	= "tx_drop_prog",
	[NETKIT_DROP_BY_POLICY]	= "tx_drop_policy",
	[NETKIT_DROP_NO_PEER]	= "tx_drop_no_peer",
	[NETKIT_DROP_BAD_SKB]	= "tx_drop_bad_skb",
	[NETKIT_DROP_BACKLOG]	= "tx_drop_backlog",
};

static int netkit_sset_count(struct net_device *dev, int set)
{
	/* pass and redirect come before the reasons to drop */
	return set == ETH_SS_STATS ? 2 + NETKIT_DROPS : -EOPNOTSUPP;
}

static void netkit_get_strings(struct net_device *dev, u32 set, u8 *text)
{
	int why;

	if (set != ETH_SS_STATS)
		return;

	ethtool_puts(&text, "tx_pass");
	ethtool_puts(&text, "tx_redirect");
	for (why = 0; why < NETKIT_DROPS; why++)
		ethtool_puts(&text, netkit_drop_names[why]);
}

static void netkit_get_ethtool_stats(struct net_device *dev,
				     struct ethtool_stats *request, u64 *values)
{
	struct netkit_totals totals;
	int why;

	netkit_sum_counters(netkit_end(dev), &totals);
	*values++ = totals.passed;
	*values++ = totals.redirected;
	for (why = 0; why < NETKIT_DROPS; why++)
		*values++ = totals.dropped[why];
}

/*
 * No get_drvinfo: the core names the driver after its rtnl_link_ops and gives
 * the kernel's version, and this driver has no other.
 */
const struct ethtool_ops netkit_ethtool_ops = {
	.get_link		= ethtool_op_get_link,
	.get_sset_count		= netkit_sset_count,
	.get_strings		= netkit_get_strings,
	.get_ethtool_stats	= netkit_get_ethtool_stats,
};
