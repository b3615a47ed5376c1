// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkit: creation, change, deletion and display through rtnetlink.
 *
 * rtnetlink calls these operations under RTNL. A request is checked as a whole
 * before anything is done, and each refusal names the attribute and says why.
 */
#include <linux/capability.h>
#include <linux/etherdevice.h>
#include <linux/stringify.h>
#include <net/rtnetlink.h>

#include "netkit.h"

static struct rtnl_link_ops netkit_rtnl_ops;

static const struct nla_policy netkit_policy[IFLA_NETKIT_MAX + 1] = {
	[IFLA_NETKIT_PEER_INFO]		= { .len = sizeof(struct ifinfomsg) },
	[IFLA_NETKIT_PRIMARY]		= {
		.type		= NLA_REJECT,
		.reject_message	= "IFLA_NETKIT_PRIMARY: can only be read",
	},
	[IFLA_NETKIT_POLICY]		= { .type = NLA_U32 },
	[IFLA_NETKIT_PEER_POLICY]	= { .type = NLA_U32 },
	[IFLA_NETKIT_MODE]		= { .type = NLA_U32 },
	[IFLA_NETKIT_SCRUB]		= { .type = NLA_U32 },
	[IFLA_NETKIT_PEER_SCRUB]	= { .type = NLA_U32 },
	[IFLA_NETKIT_HEADROOM]		= { .type = NLA_U16 },
	[IFLA_NETKIT_TAILROOM]		= { .type = NLA_U16 },
	[IFLA_NETKIT_PAIRING]		= { .type = NLA_U32 },
};

static const char * const netkit_attr_names[IFLA_NETKIT_MAX + 1] = {
	[IFLA_NETKIT_PEER_INFO]		= "IFLA_NETKIT_PEER_INFO",
	[IFLA_NETKIT_PRIMARY]		= "IFLA_NETKIT_PRIMARY",
	[IFLA_NETKIT_POLICY]		= "IFLA_NETKIT_POLICY",
	[IFLA_NETKIT_PEER_POLICY]	= "IFLA_NETKIT_PEER_POLICY",
	[IFLA_NETKIT_MODE]		= "IFLA_NETKIT_MODE",
	[IFLA_NETKIT_SCRUB]		= "IFLA_NETKIT_SCRUB",
	[IFLA_NETKIT_PEER_SCRUB]	= "IFLA_NETKIT_PEER_SCRUB",
	[IFLA_NETKIT_HEADROOM]		= "IFLA_NETKIT_HEADROOM",
	[IFLA_NETKIT_TAILROOM]		= "IFLA_NETKIT_TAILROOM",
	[IFLA_NETKIT_PAIRING]		= "IFLA_NETKIT_PAIRING",
};

/* Say what is wrong with which attribute. Text may have 79 characters. */
static int netkit_refuse(struct netlink_ext_ack *extack,
			 const struct nlattr *attr, const char *name,
			 const char *why, int err)
{
	NL_SET_ERR_MSG_FMT(extack, "%s: %s", name, why);
	NL_SET_BAD_ATTR(extack, attr);
	return err;
}

static int netkit_refuse_data(struct netlink_ext_ack *extack,
			      struct nlattr *data[], int type,
			      const char *why, int err)
{
	return netkit_refuse(extack, data[type], netkit_attr_names[type], why,
			     err);
}

/* What a request says about a device, or what holds if it says nothing. */
struct netkit_request {
	enum netkit_mode mode;
	enum netkit_action policy;
	enum netkit_action peer_policy;
	enum netkit_scrub scrub;
	enum netkit_scrub peer_scrub;
	u16 headroom;
	u16 tailroom;
	bool single;
};

static u32 netkit_u32(struct nlattr *data[], int type, u32 otherwise)
{
	return data && data[type] ? nla_get_u32(data[type]) : otherwise;
}

static u16 netkit_u16(struct nlattr *data[], int type, u16 otherwise)
{
	return data && data[type] ? nla_get_u16(data[type]) : otherwise;
}

static void netkit_read_request(struct nlattr *data[],
				struct netkit_request *req)
{
	req->mode = netkit_u32(data, IFLA_NETKIT_MODE, NETKIT_L3);
	req->policy = netkit_u32(data, IFLA_NETKIT_POLICY, NETKIT_PASS);
	req->peer_policy = netkit_u32(data, IFLA_NETKIT_PEER_POLICY,
				      NETKIT_PASS);
	req->scrub = netkit_u32(data, IFLA_NETKIT_SCRUB, NETKIT_SCRUB_DEFAULT);
	req->peer_scrub = netkit_u32(data, IFLA_NETKIT_PEER_SCRUB,
				     NETKIT_SCRUB_DEFAULT);
	req->headroom = netkit_u16(data, IFLA_NETKIT_HEADROOM, 0);
	req->tailroom = netkit_u16(data, IFLA_NETKIT_TAILROOM, 0);
	req->single = netkit_u32(data, IFLA_NETKIT_PAIRING,
				 NETKIT_DEVICE_PAIR) == NETKIT_DEVICE_SINGLE;
}

static int netkit_validate_address(struct nlattr *attr,
				   struct netlink_ext_ack *extack)
{
	if (!attr)
		return 0;

	if (nla_len(attr) != ETH_ALEN)
		return netkit_refuse(extack, attr, "IFLA_ADDRESS",
				     "must have 6 bytes", -EINVAL);
	if (!is_valid_ether_addr(nla_data(attr)))
		return netkit_refuse(extack, attr, "IFLA_ADDRESS",
				     "must be a unicast address other than zero",
				     -EADDRNOTAVAIL);
	return 0;
}

/*
 * Called for creation and change alike, before either, so that what is checked
 * here is refused with the same errno also where it may not be given at all.
 */
int netkit_validate(struct nlattr *tb[], struct nlattr *data[],
		    struct netlink_ext_ack *extack)
{
	struct netkit_request req;
	int ret;

	ret = netkit_validate_address(tb[IFLA_ADDRESS], extack);
	if (ret || !data)
		return ret;

	netkit_read_request(data, &req);

	if (req.scrub > NETKIT_SCRUB_DEFAULT)
		return netkit_refuse_data(extack, data, IFLA_NETKIT_SCRUB,
					  "must be 0 (none) or 1 (default)",
					  -ERANGE);
	if (req.peer_scrub > NETKIT_SCRUB_DEFAULT)
		return netkit_refuse_data(extack, data, IFLA_NETKIT_PEER_SCRUB,
					  "must be 0 (none) or 1 (default)",
					  -ERANGE);
	if (netkit_u32(data, IFLA_NETKIT_PAIRING, 0) > NETKIT_DEVICE_SINGLE)
		return netkit_refuse_data(extack, data, IFLA_NETKIT_PAIRING,
					  "must be 0 (pair) or 1 (single)",
					  -ERANGE);
	if (req.headroom > NETKIT_MAX_HEADROOM)
		return netkit_refuse_data(extack, data, IFLA_NETKIT_HEADROOM,
					  "must be at most "
					  __stringify(NETKIT_MAX_HEADROOM),
					  -ERANGE);
	return 0;
}

static int netkit_check_policy(struct nlattr *data[], int type,
			       struct netlink_ext_ack *extack)
{
	u32 policy = netkit_u32(data, type, NETKIT_PASS);

	if (policy == NETKIT_PASS || policy == NETKIT_DROP)
		return 0;

	return netkit_refuse_data(extack, data, type,
				  "must be 0 (pass) or 2 (drop)", -EINVAL);
}

/* The values of a creation that netkit_validate() leaves alone. */
int netkit_check_new(struct nlattr *data[], struct netlink_ext_ack *extack)
{
	u32 mode = netkit_u32(data, IFLA_NETKIT_MODE, NETKIT_L3);

	if (mode != NETKIT_L2 && mode != NETKIT_L3)
		return netkit_refuse_data(extack, data, IFLA_NETKIT_MODE,
					  "must be 0 (L2) or 1 (L3)", -EINVAL);

	return netkit_check_policy(data, IFLA_NETKIT_POLICY, extack) ?:
	       netkit_check_policy(data, IFLA_NETKIT_PEER_POLICY, extack);
}

static int netkit_refuse_l3_address(enum netkit_mode mode,
				    struct nlattr *address,
				    struct netlink_ext_ack *extack)
{
	if (mode == NETKIT_L2 || !address)
		return 0;

	return netkit_refuse(extack, address, "IFLA_ADDRESS",
			     "a device in L3 mode has no address", -EOPNOTSUPP);
}

static void netkit_fill_end(struct net_device *dev,
			    const struct netkit_request *req, bool primary,
			    bool random_address)
{
	struct netkit_end *end = netkit_end(dev);

	end->primary = primary;
	end->single = req->single;
	end->mode = req->mode;
	end->policy = primary ? req->policy : req->peer_policy;
	end->scrub = primary ? req->scrub : req->peer_scrub;
	end->min_headroom = req->headroom;
	dev->needed_headroom = req->headroom;
	dev->needed_tailroom = req->tailroom;

	if (req->mode == NETKIT_L2 && random_address)
		eth_hw_addr_random(dev);
}

/*
 * Register an end. The core gives an errno alone: it is about the name, which
 * the request gave in @attr, if at all, or about the index.
 *
 * Neighbours are looked for in mode L2 only. The flag that says so goes after
 * the registration, as in 6.12: IPv6 doesn't ask for duplicates of an address
 * on what is registered with it (ipv6_add_dev), and nobody can have one here.
 */
static int netkit_register_end(struct net_device *dev,
			       const struct nlattr *attr, const char *name,
			       const char *taken,
			       struct netlink_ext_ack *extack)
{
	int ret = register_netdevice(dev);

	switch (ret) {
	case 0:
		if (netkit_end(dev)->mode == NETKIT_L2)
			dev->flags &= ~IFF_NOARP;
		netif_carrier_off(dev);
		return 0;
	case -EEXIST:
		return netkit_refuse(extack, attr, name, taken, ret);
	case -EINVAL:
		return netkit_refuse(extack, attr, name,
				     "not a name for a device", ret);
	case -EBUSY:
		if (netkit_end(dev)->primary)
			name = "ifi_index";
		return netkit_refuse(extack, NULL, name, "the index is taken",
				     ret);
	}
	return ret;
}

/*
 * The name was the core's choice if the request has none. Peers are named
 * first, so a pair without names is nk0 for the peer and nk1 for the primary.
 */
static int netkit_register_primary(struct net_device *dev, struct nlattr *tb[],
				   struct netlink_ext_ack *extack)
{
	if (!tb[IFLA_IFNAME])
		strscpy(dev->name, "nk%d");

	return netkit_register_end(dev, tb[IFLA_IFNAME], "IFLA_IFNAME",
				   "taken, perhaps by a peer without a name",
				   extack);
}

static void netkit_tie(struct net_device *dev, struct net_device *peer)
{
	rcu_assign_pointer(netkit_end(dev)->peer, peer);
	rcu_assign_pointer(netkit_end(dev)->sender, peer);
}

static int netkit_new_single(struct net_device *dev, struct nlattr *tb[],
			     struct nlattr *data[],
			     const struct netkit_request *req,
			     struct netlink_ext_ack *extack)
{
	static const int peer_attrs[] = {
		IFLA_NETKIT_PEER_INFO,
		IFLA_NETKIT_PEER_POLICY,
		IFLA_NETKIT_PEER_SCRUB,
	};
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(peer_attrs); i++)
		if (data[peer_attrs[i]])
			return netkit_refuse_data(extack, data, peer_attrs[i],
						  "a single device has no peer",
						  -EOPNOTSUPP);

	netkit_fill_end(dev, req, true, !tb[IFLA_ADDRESS]);
	ret = netkit_register_primary(dev, tb, extack);
	if (!ret)
		netkit_tie(dev, dev);
	return ret;
}

/*
 * The netns that the peer is to be created in. rtnetlink has asked whether the
 * caller may change the netns it knows of, but it does not look into
 * IFLA_NETKIT_PEER_INFO: without this, whoever can make a user namespace could
 * put a device into any netns he has a descriptor or a process of.
 */
static struct net *netkit_peer_net(struct net *src_net, struct nlattr *peer_tb[],
				   struct netlink_ext_ack *extack)
{
	struct nlattr *attr = peer_tb[IFLA_NET_NS_PID] ?: peer_tb[IFLA_NET_NS_FD];
	struct net *net = rtnl_link_get_net(src_net, peer_tb);

	if (IS_ERR(net)) {
		netkit_refuse(extack, attr, "IFLA_NETKIT_PEER_INFO",
			      "names no network namespace", 0);
		return net;
	}
	if (!ns_capable(net->user_ns, CAP_NET_ADMIN)) {
		put_net(net);
		return ERR_PTR(netkit_refuse(extack, attr,
					     "IFLA_NETKIT_PEER_INFO",
					     "needs CAP_NET_ADMIN in the peer's netns",
					     -EPERM));
	}
	return net;
}

/* Create and register the peer, which knows nothing of the primary yet. */
static struct net_device *netkit_new_peer(struct net *src_net,
					  struct net_device *dev,
					  struct nlattr *peer_tb[],
					  const struct ifinfomsg *info,
					  const struct netkit_request *req,
					  struct netlink_ext_ack *extack)
{
	unsigned char assigned = NET_NAME_ENUM;
	char name[IFNAMSIZ] = "nk%d";
	struct net_device *peer;
	struct net *net;
	int ret;

	if (info && peer_tb[IFLA_IFNAME]) {
		nla_strscpy(name, peer_tb[IFLA_IFNAME], IFNAMSIZ);
		assigned = NET_NAME_USER;
	}

	net = netkit_peer_net(src_net, peer_tb, extack);
	if (IS_ERR(net))
		return ERR_CAST(net);
	peer = rtnl_create_link(net, name, assigned, &netkit_rtnl_ops, peer_tb,
				extack);
	if (IS_ERR(peer)) {
		put_net(net);
		return peer;
	}

	if (info && dev->ifindex)
		peer->ifindex = info->ifi_index;
	netif_inherit_tso_max(peer, dev);
	netkit_fill_end(peer, req, false, !info || !peer_tb[IFLA_ADDRESS]);

	ret = netkit_register_end(peer, peer_tb[IFLA_IFNAME],
				  "IFLA_NETKIT_PEER_INFO",
				  "the peer's name is taken", extack);
	/* A netns that goes takes its devices along: from now on this one too. */
	put_net(net);
	if (ret) {
		free_netdev(peer);
		return ERR_PTR(ret);
	}

	/* No flags: a peer is created down, whatever the request says. */
	ret = rtnl_configure_link(peer, NULL, 0, NULL);
	if (ret < 0) {
		unregister_netdevice(peer);
		return ERR_PTR(ret);
	}
	return peer;
}

static int netkit_new_pair(struct net *src_net, struct net_device *dev,
			   struct nlattr *tb[], struct nlattr *data[],
			   const struct netkit_request *req,
			   struct netlink_ext_ack *extack)
{
	struct nlattr *info_tb[IFLA_MAX + 1], **peer_tb = tb;
	const struct ifinfomsg *info = NULL;
	struct net_device *peer;
	int ret;

	/* Without attributes of its own the peer is made like the primary. */
	if (data && data[IFLA_NETKIT_PEER_INFO]) {
		info = nla_data(data[IFLA_NETKIT_PEER_INFO]);
		peer_tb = info_tb;
		ret = rtnl_nla_parse_ifinfomsg(peer_tb,
					       data[IFLA_NETKIT_PEER_INFO],
					       extack);
		if (ret < 0)
			return ret;
		ret = netkit_validate_address(peer_tb[IFLA_ADDRESS], extack);
		if (ret)
			return ret;
		ret = netkit_refuse_l3_address(req->mode,
					       peer_tb[IFLA_ADDRESS], extack);
		if (ret)
			return ret;
	}

	peer = netkit_new_peer(src_net, dev, peer_tb, info, req, extack);
	if (IS_ERR(peer))
		return PTR_ERR(peer);

	netkit_fill_end(dev, req, true, !tb[IFLA_ADDRESS]);
	ret = netkit_register_primary(dev, tb, extack);
	if (ret) {
		unregister_netdevice(peer);
		return ret;
	}

	netkit_tie(dev, peer);
	netkit_tie(peer, dev);
	return 0;
}

static int netkit_newlink(struct net *src_net, struct net_device *dev,
			  struct nlattr *tb[], struct nlattr *data[],
			  struct netlink_ext_ack *extack)
{
	struct netkit_request req;
	int ret;

	ret = netkit_check_new(data, extack);
	if (ret)
		return ret;

	netkit_read_request(data, &req);

	ret = netkit_refuse_l3_address(req.mode, tb[IFLA_ADDRESS], extack);
	if (ret)
		return ret;
	if (req.single)
		return netkit_new_single(dev, tb, data, &req, extack);

	return netkit_new_pair(src_net, dev, tb, data, &req, extack);
}

/* The text is about the first attribute, if the request has any. */
static int netkit_refuse_peer_change(struct nlattr *data[],
				     struct netlink_ext_ack *extack)
{
	static const char why[] =
		"a peer can only be changed through its primary";
	int i;

	for (i = 1; i <= IFLA_NETKIT_MAX; i++)
		if (data[i])
			return netkit_refuse_data(extack, data, i, why,
						  -EACCES);

	return netkit_refuse(extack, NULL, "IFLA_INFO_DATA", why, -EACCES);
}

/* Whether a request may change a device, which changes nothing yet. */
int netkit_check_change(const struct netkit_end *end, struct nlattr *data[],
			struct netlink_ext_ack *extack)
{
	static const int fixed[] = {
		IFLA_NETKIT_MODE,
		IFLA_NETKIT_SCRUB,
		IFLA_NETKIT_PEER_SCRUB,
		IFLA_NETKIT_HEADROOM,
		IFLA_NETKIT_TAILROOM,
		IFLA_NETKIT_PAIRING,
	};
	int i;

	if (!end->primary)
		return netkit_refuse_peer_change(data, extack);

	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		if (data[fixed[i]])
			return netkit_refuse_data(extack, data, fixed[i],
						  "fixed at creation", -EACCES);

	if (data[IFLA_NETKIT_PEER_INFO])
		return netkit_refuse_data(extack, data, IFLA_NETKIT_PEER_INFO,
					  "can only be given at creation",
					  -EINVAL);

	if (data[IFLA_NETKIT_PEER_POLICY] &&
	    (end->single || !rcu_access_pointer(end->peer)))
		return netkit_refuse_data(extack, data,
					  IFLA_NETKIT_PEER_POLICY,
					  "the device has no peer",
					  -EOPNOTSUPP);

	return netkit_check_policy(data, IFLA_NETKIT_POLICY, extack) ?:
	       netkit_check_policy(data, IFLA_NETKIT_PEER_POLICY, extack);
}

static int netkit_changelink(struct net_device *dev, struct nlattr *tb[],
			     struct nlattr *data[],
			     struct netlink_ext_ack *extack)
{
	struct netkit_end *end = netkit_end(dev);
	struct net_device *peer = rtnl_dereference(end->peer);
	int ret;

	ret = netkit_check_change(end, data, extack);
	if (ret)
		return ret;

	if (data[IFLA_NETKIT_POLICY])
		WRITE_ONCE(end->policy, nla_get_u32(data[IFLA_NETKIT_POLICY]));
	if (data[IFLA_NETKIT_PEER_POLICY])
		WRITE_ONCE(netkit_end(peer)->policy,
			   nla_get_u32(data[IFLA_NETKIT_PEER_POLICY]));
	return 0;
}

/*
 * Both ends forget each other before either is taken from its netns. A single
 * device keeps itself: it can't be gone before itself.
 */
static void netkit_dellink(struct net_device *dev, struct list_head *head)
{
	struct net_device *peer = rtnl_dereference(netkit_end(dev)->peer);

	unregister_netdevice_queue(dev, head);
	if (!peer || peer == dev)
		return;

	RCU_INIT_POINTER(netkit_end(dev)->peer, NULL);
	RCU_INIT_POINTER(netkit_end(peer)->peer, NULL);
	unregister_netdevice_queue(peer, head);
}

static struct net *netkit_get_link_net(const struct net_device *dev)
{
	struct net_device *peer = rtnl_dereference(netkit_end(dev)->peer);

	return dev_net(peer ?: dev);
}

static size_t netkit_get_size(const struct net_device *dev)
{
	return nla_total_size(sizeof(u32)) +	/* IFLA_NETKIT_POLICY */
	       nla_total_size(sizeof(u32)) +	/* IFLA_NETKIT_PEER_POLICY */
	       nla_total_size(sizeof(u32)) +	/* IFLA_NETKIT_SCRUB */
	       nla_total_size(sizeof(u32)) +	/* IFLA_NETKIT_PEER_SCRUB */
	       nla_total_size(sizeof(u32)) +	/* IFLA_NETKIT_MODE */
	       nla_total_size(sizeof(u8)) +	/* IFLA_NETKIT_PRIMARY */
	       nla_total_size(sizeof(u16)) +	/* IFLA_NETKIT_HEADROOM */
	       nla_total_size(sizeof(u16)) +	/* IFLA_NETKIT_TAILROOM */
	       nla_total_size(sizeof(u32));	/* IFLA_NETKIT_PAIRING */
}

static int netkit_fill_info(struct sk_buff *skb, const struct net_device *dev)
{
	const struct netkit_end *end = netkit_end(dev);
	struct net_device *peer = rtnl_dereference(end->peer);
	u32 pairing = end->single ? NETKIT_DEVICE_SINGLE : NETKIT_DEVICE_PAIR;

	if (nla_put_u8(skb, IFLA_NETKIT_PRIMARY, end->primary) ||
	    nla_put_u32(skb, IFLA_NETKIT_POLICY, end->policy) ||
	    nla_put_u32(skb, IFLA_NETKIT_MODE, end->mode) ||
	    nla_put_u32(skb, IFLA_NETKIT_SCRUB, end->scrub) ||
	    nla_put_u16(skb, IFLA_NETKIT_HEADROOM, dev->needed_headroom) ||
	    nla_put_u16(skb, IFLA_NETKIT_TAILROOM, dev->needed_tailroom) ||
	    nla_put_u32(skb, IFLA_NETKIT_PAIRING, pairing))
		return -EMSGSIZE;

	if (!peer || end->single)
		return 0;

	end = netkit_end(peer);
	if (nla_put_u32(skb, IFLA_NETKIT_PEER_POLICY, end->policy) ||
	    nla_put_u32(skb, IFLA_NETKIT_PEER_SCRUB, end->scrub))
		return -EMSGSIZE;

	return 0;
}

static struct rtnl_link_ops netkit_rtnl_ops = {
	.kind		= NETKIT_KIND,
	.priv_size	= sizeof(struct netkit_end),
	.setup		= netkit_setup,
	.maxtype	= IFLA_NETKIT_MAX,
	.policy		= netkit_policy,
	.validate	= netkit_validate,
	.newlink	= netkit_newlink,
	.changelink	= netkit_changelink,
	.dellink	= netkit_dellink,
	.get_size	= netkit_get_size,
	.fill_info	= netkit_fill_info,
	.get_link_net	= netkit_get_link_net,
};

static int __init netkit_register(void)
{
	/* bpf(2) hands out these numbers on behalf of a chain. */
	BUILD_BUG_ON((int)NETKIT_NEXT != (int)TCX_NEXT);
	BUILD_BUG_ON((int)NETKIT_PASS != (int)TCX_PASS);
	BUILD_BUG_ON((int)NETKIT_DROP != (int)TCX_DROP);
	BUILD_BUG_ON((int)NETKIT_REDIRECT != (int)TCX_REDIRECT);

	return rtnl_link_register(&netkit_rtnl_ops);
}
device_initcall(netkit_register);
