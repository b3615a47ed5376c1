/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * netkit: what the driver's files share with one another and with nobody else.
 *
 * A device is a pair: the primary, which its owner keeps, and the peer, which
 * is usually given to a container. Each end has its own chain of BPF programs,
 * its own policy and its own counters; all of them are managed through the
 * primary. A single device is a primary whose peer is the device itself, so
 * that no code on the packet path has to know the difference.
 *
 * Configuration happens under RTNL. The packet path takes no lock: it reads
 * the members marked __rcu, and those written with WRITE_ONCE().
 */
#ifndef NETKIT_PRIVATE_H
#define NETKIT_PRIVATE_H

#include <linux/bpf_mprog.h>
#include <linux/if_link.h>
#include <linux/netdevice.h>
#include <linux/u64_stats_sync.h>
#include <net/netlink.h>

#define NETKIT_KIND "netkit"

/*
 * The most headroom that an end reserves, in bytes. An skb keeps the places of
 * its headers in 16 bits, counted from the start of its buffer, so all that
 * stands before and in them has to fit; this leaves plenty on either side.
 */
#define NETKIT_MAX_HEADROOM 4096

/* Why a packet was dropped, in the order of the strings in stats.c. */
enum netkit_drop {
	NETKIT_DROP_BY_PROG,	/* the chain's verdict */
	NETKIT_DROP_BY_POLICY,	/* no chain, and the policy is to drop */
	NETKIT_DROP_NO_PEER,	/* the other end is gone or down */
	NETKIT_DROP_BAD_SKB,	/* no Ethernet header, or out of memory */
	NETKIT_DROP_BACKLOG,	/* the receiver's backlog was full */
	NETKIT_DROPS,
};

/**
 * struct netkit_counters - what one end did with its packets on one CPU
 * @passed: packets that the other end received
 * @passed_bytes: their bytes
 * @redirected: packets that a program sent elsewhere
 * @redirected_bytes: their bytes
 * @dropped: packets that were dropped, one counter a reason
 * @syncp: makes a 64-bit counter readable on a 32-bit machine
 *
 * A packet changes one set of counters, once: what an end received is what
 * the other end passed, and is only put together when somebody asks.
 */
struct netkit_counters {
	u64_stats_t		passed;
	u64_stats_t		passed_bytes;
	u64_stats_t		redirected;
	u64_stats_t		redirected_bytes;
	u64_stats_t		dropped[NETKIT_DROPS];
	struct u64_stats_sync	syncp;
};

/**
 * struct netkit_totals - one end's counters, summed over all CPUs
 * @passed: as in struct netkit_counters
 * @passed_bytes: likewise
 * @redirected: likewise
 * @redirected_bytes: likewise
 * @dropped: likewise
 */
struct netkit_totals {
	u64 passed;
	u64 passed_bytes;
	u64 redirected;
	u64 redirected_bytes;
	u64 dropped[NETKIT_DROPS];
};

/**
 * struct netkit_end - one end of a device; the private area of its net_device
 * @peer: the other end, NULL once it is being deleted; for good the end itself
 *	if @single. No reference is held: both ends go together, and both
 *	pointers are cleared before either does.
 * @chain: the programs that run, or NULL; points into @bundle
 * @counters: per CPU, owned from ndo_init until the destructor
 * @policy: NETKIT_PASS or NETKIT_DROP, what holds while @chain is NULL
 * @scrub: whether mark and priority are cleared on the way to another netns
 * @mode: NETKIT_L2 or NETKIT_L3, the same at both ends, fixed at creation
 * @primary: the end through which both are managed
 * @single: there is no other end
 * @min_headroom: bytes asked for at creation, the least that is reserved
 * @rx_headroom: bytes that the user of this end asked for since
 * @sender: the end whose packets this one receives, for the counters: @peer,
 *	and still that while it is being deleted, up to ndo_uninit, so that
 *	the last messages about a device have its totals
 * @bundle: storage of the chain, changed under RTNL
 */
struct netkit_end {
	struct net_device __rcu		*peer;
	struct bpf_mprog_entry __rcu	*chain;
	struct netkit_counters __percpu	*counters;
	enum netkit_action		policy;
	enum netkit_scrub		scrub;
	enum netkit_mode		mode;
	bool				primary;
	bool				single;
	u16				min_headroom;
	u16				rx_headroom;
	struct net_device __rcu		*sender;
	struct bpf_mprog_bundle		bundle;
};

static inline struct netkit_end *netkit_end(const struct net_device *dev)
{
	return netdev_priv(dev);
}

/* device.c: a network device's life, from the core's point of view */
void netkit_setup(struct net_device *dev);
bool netkit_is(const struct net_device *dev);
void netkit_apply_headroom(struct net_device *dev, struct net_device *peer);

/* xmit.c: the packet path */
netdev_tx_t netkit_xmit(struct sk_buff *skb, struct net_device *dev);

/* rtnl.c: creation, change, deletion and display through rtnetlink */
int netkit_validate(struct nlattr *tb[], struct nlattr *data[],
		    struct netlink_ext_ack *extack);
int netkit_check_new(struct nlattr *data[], struct netlink_ext_ack *extack);
int netkit_check_change(const struct netkit_end *end, struct nlattr *data[],
			struct netlink_ext_ack *extack);

/* chain.c: BPF programs attached by descriptor */
struct net_device *netkit_hook_dev(struct net *net, u32 ifindex, u32 hook);
int netkit_chain_attach(struct net_device *dev, struct bpf_prog *prog,
			struct bpf_link *link, struct bpf_prog *replace,
			u32 flags, u32 relative, u64 revision);
int netkit_chain_detach(struct net_device *dev, struct bpf_prog *prog,
			struct bpf_link *link, u32 flags, u32 relative,
			u64 revision);
void netkit_chain_release(struct net_device *dev);

/* link.c: BPF programs attached by link */
void netkit_link_orphan(struct bpf_link *link);

/* stats.c: counters and ethtool */
extern const struct ethtool_ops netkit_ethtool_ops;
void netkit_sum_counters(const struct netkit_end *end,
			 struct netkit_totals *totals);
void netkit_get_stats64(struct net_device *dev,
			struct rtnl_link_stats64 *stats);

#endif /* NETKIT_PRIVATE_H */
