// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkit: KUnit tests of what needs no registered device.
 *
 * The two ends that a test gets are allocated and tied together as rtnl.c
 * would, but the core has never heard of them.
 */
#include <kunit/test.h>
#include <linux/etherdevice.h>
#include <net/netlink.h>

#include "netkit.h"

/* One attribute with its value behind it. */
struct netkit_test_attr {
	struct nlattr head;
	u8 value[8];
};

static struct nlattr *netkit_test_u32(struct netkit_test_attr *attr, int type,
				      u32 value)
{
	attr->head.nla_type = type;
	attr->head.nla_len = nla_attr_size(sizeof(value));
	memcpy(attr->value, &value, sizeof(value));
	return &attr->head;
}

static struct nlattr *netkit_test_u16(struct netkit_test_attr *attr, int type,
				      u16 value)
{
	attr->head.nla_type = type;
	attr->head.nla_len = nla_attr_size(sizeof(value));
	memcpy(attr->value, &value, sizeof(value));
	return &attr->head;
}

struct netkit_test_value {
	int attr;
	u32 value;
	int ret;
};

static const struct netkit_test_value netkit_test_values[] = {
	{ IFLA_NETKIT_POLICY, NETKIT_PASS, 0 },
	{ IFLA_NETKIT_POLICY, NETKIT_DROP, 0 },
	{ IFLA_NETKIT_POLICY, NETKIT_REDIRECT, -EINVAL },
	{ IFLA_NETKIT_POLICY, (u32)NETKIT_NEXT, -EINVAL },
	{ IFLA_NETKIT_POLICY, 1, -EINVAL },
	{ IFLA_NETKIT_PEER_POLICY, NETKIT_PASS, 0 },
	{ IFLA_NETKIT_PEER_POLICY, NETKIT_DROP, 0 },
	{ IFLA_NETKIT_PEER_POLICY, NETKIT_REDIRECT, -EINVAL },
	{ IFLA_NETKIT_PEER_POLICY, U32_MAX, -EINVAL },
	{ IFLA_NETKIT_MODE, NETKIT_L2, 0 },
	{ IFLA_NETKIT_MODE, NETKIT_L3, 0 },
	{ IFLA_NETKIT_MODE, 2, -EINVAL },
	{ IFLA_NETKIT_MODE, U32_MAX, -EINVAL },
	{ IFLA_NETKIT_SCRUB, NETKIT_SCRUB_NONE, 0 },
	{ IFLA_NETKIT_SCRUB, NETKIT_SCRUB_DEFAULT, 0 },
	{ IFLA_NETKIT_SCRUB, 2, -ERANGE },
	{ IFLA_NETKIT_PEER_SCRUB, NETKIT_SCRUB_DEFAULT, 0 },
	{ IFLA_NETKIT_PEER_SCRUB, U32_MAX, -ERANGE },
	{ IFLA_NETKIT_PAIRING, NETKIT_DEVICE_PAIR, 0 },
	{ IFLA_NETKIT_PAIRING, NETKIT_DEVICE_SINGLE, 0 },
	{ IFLA_NETKIT_PAIRING, 2, -ERANGE },
	{ IFLA_NETKIT_HEADROOM, NETKIT_MAX_HEADROOM, 0 },
	{ IFLA_NETKIT_HEADROOM, NETKIT_MAX_HEADROOM + 1, -ERANGE },
	{ IFLA_NETKIT_HEADROOM, U16_MAX, -ERANGE },
	{ IFLA_NETKIT_TAILROOM, U16_MAX, 0 },
};

static void netkit_test_value_name(const struct netkit_test_value *value,
				   char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "attribute %d is %u",
		 value->attr, value->value);
}

KUNIT_ARRAY_PARAM(netkit_test_values, netkit_test_values,
		  netkit_test_value_name);

static void netkit_test_validate_value(struct kunit *test)
{
	const struct netkit_test_value *v = test->param_value;
	struct nlattr *data[IFLA_NETKIT_MAX + 1] = {};
	struct netlink_ext_ack extack = {};
	struct netkit_test_attr attr = {};
	struct nlattr **tb;
	int ret;

	tb = kunit_kcalloc(test, IFLA_MAX + 1, sizeof(*tb), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tb);
	if (v->attr == IFLA_NETKIT_HEADROOM || v->attr == IFLA_NETKIT_TAILROOM)
		data[v->attr] = netkit_test_u16(&attr, v->attr, v->value);
	else
		data[v->attr] = netkit_test_u32(&attr, v->attr, v->value);

	ret = netkit_validate(tb, data, &extack);
	if (!ret)
		ret = netkit_check_new(data, &extack);
	KUNIT_EXPECT_EQ(test, ret, v->ret);
	if (v->ret) {
		KUNIT_ASSERT_NOT_NULL(test, extack._msg);
		KUNIT_EXPECT_PTR_EQ(test, extack.bad_attr, &attr.head);
		KUNIT_EXPECT_NOT_NULL(test,
				      strstr(extack._msg, "IFLA_NETKIT_"));
	} else {
		KUNIT_EXPECT_NULL(test, extack._msg);
	}
}

static void netkit_test_validate_address(struct kunit *test)
{
	static const u8 good[] = { 2, 0, 0, 0, 0, 1 };
	static const u8 group[] = { 3, 0, 0, 0, 0, 1 };
	static const u8 zero[ETH_ALEN];
	struct netlink_ext_ack extack = {};
	struct netkit_test_attr attr = {};
	struct nlattr **tb;

	tb = kunit_kcalloc(test, IFLA_MAX + 1, sizeof(*tb), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tb);
	KUNIT_EXPECT_EQ(test, netkit_validate(tb, NULL, &extack), 0);

	tb[IFLA_ADDRESS] = &attr.head;
	attr.head.nla_type = IFLA_ADDRESS;
	attr.head.nla_len = nla_attr_size(ETH_ALEN);
	memcpy(attr.value, good, ETH_ALEN);
	KUNIT_EXPECT_EQ(test, netkit_validate(tb, NULL, &extack), 0);
	memcpy(attr.value, group, ETH_ALEN);
	KUNIT_EXPECT_EQ(test, netkit_validate(tb, NULL, &extack),
			-EADDRNOTAVAIL);
	memcpy(attr.value, zero, ETH_ALEN);
	KUNIT_EXPECT_EQ(test, netkit_validate(tb, NULL, &extack),
			-EADDRNOTAVAIL);
	attr.head.nla_len = nla_attr_size(ETH_ALEN - 1);
	KUNIT_EXPECT_EQ(test, netkit_validate(tb, NULL, &extack), -EINVAL);
	KUNIT_EXPECT_PTR_EQ(test, extack.bad_attr, &attr.head);
}

/* The two ends of a pair, as far as they exist without the core. */
struct netkit_test_pair {
	struct net_device *primary;
	struct net_device *peer;
};

static void netkit_test_free_end(void *dev)
{
	free_percpu(netkit_end(dev)->counters);
	free_netdev(dev);
}

static struct net_device *netkit_test_end(struct kunit *test)
{
	struct net_device *dev;

	dev = alloc_netdev(sizeof(struct netkit_end), "nktest%d", NET_NAME_ENUM,
			   netkit_setup);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	netkit_end(dev)->counters =
		netdev_alloc_pcpu_stats(struct netkit_counters);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, netkit_test_free_end,
						  dev));
	KUNIT_ASSERT_TRUE(test, netkit_end(dev)->counters);
	return dev;
}

static int netkit_test_init(struct kunit *test)
{
	struct netkit_test_pair *pair;

	pair = kunit_kzalloc(test, sizeof(*pair), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pair);
	test->priv = pair;

	pair->primary = netkit_test_end(test);
	pair->peer = netkit_test_end(test);
	netkit_end(pair->primary)->primary = true;
	rcu_assign_pointer(netkit_end(pair->primary)->peer, pair->peer);
	rcu_assign_pointer(netkit_end(pair->peer)->peer, pair->primary);
	return 0;
}

static int netkit_test_change(const struct net_device *dev, int type, u32 value)
{
	struct nlattr *data[IFLA_NETKIT_MAX + 1] = {};
	struct netlink_ext_ack extack = {};
	struct netkit_test_attr attr = {};
	int ret;

	data[type] = netkit_test_u32(&attr, type, value);
	ret = netkit_check_change(netkit_end(dev), data, &extack);

	/* A refusal without a reason is a failure of its own. */
	return ret && !extack._msg ? -ENOMSG : ret;
}

static void netkit_test_check_change(struct kunit *test)
{
	struct netkit_test_pair *pair = test->priv;
	struct net_device *dev = pair->primary;

	KUNIT_EXPECT_EQ(test, 0,
			netkit_test_change(dev, IFLA_NETKIT_POLICY, 0));
	KUNIT_EXPECT_EQ(test, 0,
			netkit_test_change(dev, IFLA_NETKIT_PEER_POLICY, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			netkit_test_change(dev, IFLA_NETKIT_POLICY, 5));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			netkit_test_change(dev, IFLA_NETKIT_PEER_POLICY, 5));
	KUNIT_EXPECT_EQ(test, -EACCES,
			netkit_test_change(pair->peer, IFLA_NETKIT_POLICY, 5));
	KUNIT_EXPECT_EQ(test, -EACCES,
			netkit_test_change(dev, IFLA_NETKIT_MODE, 9));
	KUNIT_EXPECT_EQ(test, -EACCES,
			netkit_test_change(dev, IFLA_NETKIT_SCRUB, 0));
	KUNIT_EXPECT_EQ(test, -EACCES,
			netkit_test_change(dev, IFLA_NETKIT_PEER_SCRUB, 0));
	KUNIT_EXPECT_EQ(test, -EACCES,
			netkit_test_change(dev, IFLA_NETKIT_HEADROOM, 0));
	KUNIT_EXPECT_EQ(test, -EACCES,
			netkit_test_change(dev, IFLA_NETKIT_TAILROOM, 0));
	KUNIT_EXPECT_EQ(test, -EACCES,
			netkit_test_change(dev, IFLA_NETKIT_PAIRING, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			netkit_test_change(dev, IFLA_NETKIT_PEER_INFO, 0));

	RCU_INIT_POINTER(netkit_end(dev)->peer, NULL);
	KUNIT_EXPECT_EQ(test, 0,
			netkit_test_change(dev, IFLA_NETKIT_POLICY, 0));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			netkit_test_change(dev, IFLA_NETKIT_PEER_POLICY, 0));

	netkit_end(dev)->single = true;
	rcu_assign_pointer(netkit_end(dev)->peer, dev);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			netkit_test_change(dev, IFLA_NETKIT_PEER_POLICY, 0));
}

static void netkit_test_headroom(struct kunit *test)
{
	struct netkit_test_pair *pair = test->priv;
	const struct net_device_ops *ops = pair->primary->netdev_ops;

	netkit_end(pair->primary)->min_headroom = 32;
	netkit_end(pair->peer)->min_headroom = 32;

	/* What one end wants, both reserve. */
	ops->ndo_set_rx_headroom(pair->primary, 48);
	KUNIT_EXPECT_EQ(test, pair->primary->needed_headroom, 48);
	KUNIT_EXPECT_EQ(test, pair->peer->needed_headroom, 48);
	ops->ndo_set_rx_headroom(pair->peer, 64);
	KUNIT_EXPECT_EQ(test, pair->primary->needed_headroom, 64);

	/* Never less than at creation, never more than an skb can tell. */
	ops->ndo_set_rx_headroom(pair->peer, -1);
	KUNIT_EXPECT_EQ(test, pair->primary->needed_headroom, 48);
	ops->ndo_set_rx_headroom(pair->primary, 8);
	KUNIT_EXPECT_EQ(test, pair->primary->needed_headroom, 32);
	KUNIT_EXPECT_EQ(test, pair->peer->needed_headroom, 32);
	ops->ndo_set_rx_headroom(pair->primary, U16_MAX + 1);
	KUNIT_EXPECT_EQ(test, pair->peer->needed_headroom, NETKIT_MAX_HEADROOM);
}

static void netkit_test_counters(struct kunit *test)
{
	struct netkit_test_pair *pair = test->priv;
	struct netkit_totals totals;
	int cpu, cpus = 0;

	for_each_possible_cpu(cpu) {
		struct netkit_counters *c;

		c = per_cpu_ptr(netkit_end(pair->primary)->counters, cpu);
		u64_stats_set(&c->passed, 3);
		u64_stats_set(&c->passed_bytes, U32_MAX);
		u64_stats_set(&c->redirected, 1);
		u64_stats_set(&c->dropped[NETKIT_DROP_BACKLOG], 2);
		cpus++;
	}

	netkit_sum_counters(netkit_end(pair->primary), &totals);
	KUNIT_EXPECT_EQ(test, totals.passed, 3 * cpus);
	KUNIT_EXPECT_EQ(test, totals.passed_bytes, (u64)U32_MAX * cpus);
	KUNIT_EXPECT_EQ(test, totals.redirected, cpus);
	KUNIT_EXPECT_EQ(test, totals.dropped[NETKIT_DROP_BACKLOG], 2 * cpus);
	KUNIT_EXPECT_EQ(test, totals.dropped[NETKIT_DROP_BY_PROG], 0);

	netkit_sum_counters(netkit_end(pair->peer), &totals);
	KUNIT_EXPECT_EQ(test, totals.passed, 0);
}

/* Send a frame of @len bytes and return what was counted for @why. */
static u64 netkit_test_drop(struct kunit *test, struct net_device *dev, int len,
			    enum netkit_drop why)
{
	struct netkit_totals totals;
	struct sk_buff *skb;
	netdev_tx_t ret;

	skb = alloc_skb(len, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	skb_put_zero(skb, len);
	skb->dev = dev;

	local_bh_disable();
	ret = dev->netdev_ops->ndo_start_xmit(skb, dev);
	local_bh_enable();
	KUNIT_EXPECT_EQ(test, ret, NET_XMIT_DROP);

	netkit_sum_counters(netkit_end(dev), &totals);
	return totals.dropped[why];
}

static void netkit_test_drops(struct kunit *test)
{
	struct netkit_test_pair *pair = test->priv;
	struct net_device *dev = pair->primary;

	/* The peer is down, so not even a policy is asked. */
	netkit_end(dev)->policy = NETKIT_DROP;
	KUNIT_EXPECT_EQ(test, 1,
			netkit_test_drop(test, dev, 64, NETKIT_DROP_NO_PEER));

	pair->peer->flags |= IFF_UP;
	KUNIT_EXPECT_EQ(test, 1,
			netkit_test_drop(test, dev, 64, NETKIT_DROP_BY_POLICY));
	KUNIT_EXPECT_EQ(test, 1,
			netkit_test_drop(test, dev, ETH_HLEN - 1,
					 NETKIT_DROP_BAD_SKB));

	RCU_INIT_POINTER(netkit_end(dev)->peer, NULL);
	KUNIT_EXPECT_EQ(test, 2,
			netkit_test_drop(test, dev, 64, NETKIT_DROP_NO_PEER));
}

static struct kunit_case netkit_test_cases[] = {
	KUNIT_CASE_PARAM(netkit_test_validate_value,
			 netkit_test_values_gen_params),
	KUNIT_CASE(netkit_test_validate_address),
	KUNIT_CASE(netkit_test_check_change),
	KUNIT_CASE(netkit_test_headroom),
	KUNIT_CASE(netkit_test_counters),
	KUNIT_CASE(netkit_test_drops),
	{}
};

static struct kunit_suite netkit_test_suite = {
	.name = "netkit",
	.init = netkit_test_init,
	.test_cases = netkit_test_cases,
};

kunit_test_suite(netkit_test_suite);

MODULE_DESCRIPTION("KUnit tests of netkit");
MODULE_LICENSE("GPL");
