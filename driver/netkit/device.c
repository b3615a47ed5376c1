// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkit: a network device as the core sees it.
 *
 * The core calls these operations under RTNL, but for the ones that say
 * otherwise. They know of the other end only what its pointer tells.
 */
#include <linux/etherdevice.h>
#include <linux/indirect_call_wrapper.h>
#include <linux/rtnetlink.h>
#include <net/netkit.h>

#include "netkit.h"

static int netkit_init(struct net_device *dev)
{
	struct netkit_end *end = netkit_end(dev);

	end->counters = netdev_alloc_pcpu_stats(struct netkit_counters);
	if (!end->counters)
		return -ENOMEM;

	netdev_lockdep_set_classes(dev);
	return 0;
}

static void netkit_uninit(struct net_device *dev)
{
	netkit_chain_release(dev);
	/* The core waits for RCU before it lets go of either end. */
	RCU_INIT_POINTER(netkit_end(dev)->sender, NULL);
}

static void netkit_destroy(struct net_device *dev)
{
	free_percpu(netkit_end(dev)->counters);
}

/* The carrier of a pair is up while both ends are. */
static int netkit_open(struct net_device *dev)
{
	struct net_device *peer = rtnl_dereference(netkit_end(dev)->peer);

	if (!peer)
		return -ENOTCONN;

	/* A single device is its own peer, and the core calls this before it
	 * sets IFF_UP.
	 */
	if (peer == dev || (peer->flags & IFF_UP)) {
		netif_carrier_on(dev);
		netif_carrier_on(peer);
	}
	return 0;
}

static int netkit_stop(struct net_device *dev)
{
	struct net_device *peer = rtnl_dereference(netkit_end(dev)->peer);

	netif_carrier_off(dev);
	if (peer)
		netif_carrier_off(peer);
	return 0;
}

static int netkit_set_mac_address(struct net_device *dev, void *addr)
{
	if (netkit_end(dev)->mode != NETKIT_L2)
		return -EOPNOTSUPP;

	return eth_mac_addr(dev, addr);
}

/*
 * Nothing is filtered: each end receives what the other one sends. The
 * operation is there so that the core lets users join multicast groups.
 */
static void netkit_set_rx_mode(struct net_device *dev)
{
}

/* Called under RTNL or RCU. */
static int netkit_get_iflink(const struct net_device *dev)
{
	struct net_device *peer;
	int ifindex = 0;

	rcu_read_lock();
	peer = rcu_dereference(netkit_end(dev)->peer);
	if (peer)
		ifindex = READ_ONCE(peer->ifindex);
	rcu_read_unlock();

	return ifindex;
}

/*
 * A packet is written once and read at the other end, so both ends reserve
 * what the one that wants most wants, and never less than was asked for at
 * creation.
 */
void netkit_apply_headroom(struct net_device *dev, struct net_device *peer)
{
	const struct netkit_end *a = netkit_end(dev), *b = netkit_end(peer);
	u16 room = max3(a->min_headroom, a->rx_headroom, b->rx_headroom);

	WRITE_ONCE(dev->needed_headroom, room);
	WRITE_ONCE(peer->needed_headroom, room);
}

/*
 * A bridge or a tunnel on top tells what it will need; a negative number takes
 * the wish back.
 */
static void netkit_set_rx_headroom(struct net_device *dev, int room)
{
	struct netkit_end *end = netkit_end(dev);
	struct net_device *peer;

	rcu_read_lock();
	peer = rcu_dereference(end->peer);
	if (peer) {
		end->rx_headroom = clamp(room, 0, NETKIT_MAX_HEADROOM);
		netkit_apply_headroom(dev, peer);
	}
	rcu_read_unlock();
}

/*
 * Called under RCU by bpf_redirect_peer(), by this very name. That helper
 * refuses a target in the caller's own netns, so a single device, which is
 * its own peer, is never one.
 */
INDIRECT_CALLABLE_SCOPE struct net_device *netkit_peer_dev(struct net_device *dev)
{
	return rcu_dereference(netkit_end(dev)->peer);
}

static const struct net_device_ops netkit_netdev_ops = {
	.ndo_init		= netkit_init,
	.ndo_uninit		= netkit_uninit,
	.ndo_open		= netkit_open,
	.ndo_stop		= netkit_stop,
	.ndo_start_xmit		= netkit_xmit,
	.ndo_get_stats64	= netkit_get_stats64,
	.ndo_set_mac_address	= netkit_set_mac_address,
	.ndo_set_rx_mode	= netkit_set_rx_mode,
	.ndo_set_rx_headroom	= netkit_set_rx_headroom,
	.ndo_get_iflink		= netkit_get_iflink,
	.ndo_get_peer_dev	= netkit_peer_dev,
	.ndo_features_check	= passthru_features_check,
};

bool netkit_is(const struct net_device *dev)
{
	return dev->netdev_ops == &netkit_netdev_ops;
}

#define NETKIT_VLAN_OFFLOADS	(NETIF_F_HW_VLAN_CTAG_TX |	\
				 NETIF_F_HW_VLAN_CTAG_RX |	\
				 NETIF_F_HW_VLAN_STAG_TX |	\
				 NETIF_F_HW_VLAN_STAG_RX)
#define NETKIT_OFFLOADS		(NETIF_F_SG | NETIF_F_FRAGLIST |	\
				 NETIF_F_HIGHDMA | NETIF_F_HW_CSUM |	\
				 NETIF_F_RXCSUM | NETIF_F_SCTP_CRC |	\
				 NETIF_F_GSO_SOFTWARE |			\
				 NETIF_F_GSO_ENCAP_ALL)

/*
 * Nothing is ever put on a wire, so every offload is free: the packet crosses
 * as it is, and whoever sends it out for real does the work.
 */
void netkit_setup(struct net_device *dev)
{
	ether_setup(dev);

	dev->netdev_ops = &netkit_netdev_ops;
	dev->ethtool_ops = &netkit_ethtool_ops;

	dev->max_mtu = ETH_MAX_MTU;
	dev->flags |= IFF_NOARP;
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_NO_QUEUE | IFF_PHONY_HEADROOM |
			   IFF_LIVE_ADDR_CHANGE | IFF_DISABLE_NETPOLL;
	dev->lltx = true;

	dev->features |= NETKIT_OFFLOADS | NETKIT_VLAN_OFFLOADS;
	dev->hw_features = NETKIT_OFFLOADS | NETKIT_VLAN_OFFLOADS;
	dev->hw_enc_features = NETKIT_OFFLOADS | NETKIT_VLAN_OFFLOADS;
	dev->vlan_features = dev->features & ~NETKIT_VLAN_OFFLOADS;
	dev->mpls_features = NETIF_F_HW_CSUM | NETIF_F_GSO_SOFTWARE;
	netif_set_tso_max_size(dev, GSO_MAX_SIZE);

	/* bpf_redirect_peer() adds to these counters. */
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->needs_free_netdev = true;
	dev->priv_destructor = netkit_destroy;

	bpf_mprog_bundle_init(&netkit_end(dev)->bundle);
}
