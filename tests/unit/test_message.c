// SPDX-License-Identifier: GPL-2.0-only
/*
 * Values to messages and back: what is built carries all that a document can say, the kernel's messages are read, and nothing
 * malformed is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/message.h"
#include "daemon/kernel/netkit_attr.h"
#include "daemon/kernel/netns.h"
#include "kernel_messages.h"

static const uint8_t mac_a[6] = { 2, 0, 0, 0, 0, 1 }, mac_b[6] = { 2, 0, 0, 0, 0, 2 };

/* A device of which everything is said. */
static struct nk_device *full_device(void)
{
	struct nk_device *d = nk_device_new();

	assert_non_null(d);
	strcpy(d->end[NK_PRIMARY].name, "web-1");
	strcpy(d->end[NK_PEER].name, "eth0");
	d->mode = NK_MODE_L2;
	d->has_headroom = d->has_tailroom = true;
	d->headroom = 64;
	d->tailroom = 32;
	d->end[NK_PEER].policy = NK_POLICY_DROP;
	d->end[NK_PRIMARY].scrub = NK_SCRUB_NONE;
	for (size_t i = 0; i < NK_ENDS; i++) {
		struct nk_end *e = &d->end[i];
		uint32_t n = (uint32_t)i;

		e->set = NK_SET_MTU | NK_SET_MAC | NK_SET_TXQLEN | NK_SET_GSO_MAX | NK_SET_GRO_MAX | NK_SET_GSO_IPV4_MAX |
			 NK_SET_GRO_IPV4_MAX;
		memcpy(e->mac, i ? mac_b : mac_a, 6);
		e->mtu = 9000 + n;
		e->txqlen = 100 + n;
		e->gso_max = 200000 + n;
		e->gro_max = 300000 + n;
		e->gso_ipv4_max = 400000 + n;
		e->gro_ipv4_max = 500000 + n;
	}
	return d;
}

static struct nlmsghdr *with_ifindex(struct nl_msg *msg, int ifindex)
{
	struct ifinfomsg *ifi = nlmsg_data(nlmsg_hdr(msg));

	ifi->ifi_index = ifindex;
	return nlmsg_hdr(msg);
}

static struct nlattr *netkit_attr(struct nl_msg *msg, int type)
{
	struct nlattr *info = nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_LINKINFO), *data;

	assert_non_null(info);
	data = nla_find(nla_data(info), nla_len(info), IFLA_INFO_DATA);
	assert_non_null(data);
	return nla_find(nla_data(data), nla_len(data), type);
}

static void create_carries_everything(void **state)
{
	struct nk_device *d = full_device();
	struct nl_msg *msg = nk_msg_create(d, 4711, 17);
	const struct nk_end *want = &d->end[NK_PRIMARY];
	struct nlattr *peer, *tb[IFLA_MAX + 1];
	struct nk_link_info info;
	struct ifinfomsg *ifi;

	assert_non_null(msg);
	assert_int_equal(nlmsg_hdr(msg)->nlmsg_type, RTM_NEWLINK);
	assert_int_equal(nlmsg_hdr(msg)->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO | NLM_F_REPLACE),
			 NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO);
	assert_int_equal(nk_parse_link(with_ifindex(msg, 5), &info), 0);
	assert_true(info.netkit && info.has_peer_policy && !info.single);
	assert_string_equal(info.end.name, "web-1");
	assert_false(info.end.up); /* fail closed: the primary is never created up */
	assert_int_equal(info.group, 4711);
	assert_int_equal(info.mode, NK_MODE_L2);
	assert_int_equal(info.end.policy, NK_POLICY_PASS);
	assert_int_equal(info.peer_policy, NK_POLICY_DROP);
	assert_int_equal(info.end.scrub, NK_SCRUB_NONE);
	assert_int_equal(info.peer_scrub, NK_SCRUB_DEFAULT);
	assert_int_equal(info.headroom, 64);
	assert_int_equal(info.tailroom, 32);
	assert_memory_equal(info.end.mac, mac_a, 6);
	assert_int_equal(info.end.mtu, want->mtu);
	assert_int_equal(info.end.txqlen, want->txqlen);
	assert_int_equal(info.end.gso_max, want->gso_max);
	assert_int_equal(info.end.gro_max, want->gro_max);
	assert_int_equal(info.end.gso_ipv4_max, want->gso_ipv4_max);
	assert_int_equal(info.end.gro_ipv4_max, want->gro_ipv4_max);
	assert_null(netkit_attr(msg, NK_NETKIT_PRIMARY)); /* the kernel refuses it */

	peer = netkit_attr(msg, NK_NETKIT_PEER_INFO);
	assert_non_null(peer);
	ifi = nla_data(peer);
	assert_true(ifi->ifi_flags & IFF_UP);
	assert_int_equal(nla_parse(tb, IFLA_MAX, (struct nlattr *)(ifi + 1), nla_len(peer) - (int)sizeof(*ifi), NULL), 0);
	assert_string_equal(nla_get_string(tb[IFLA_IFNAME]), "eth0");
	assert_int_equal(nla_get_u32(tb[IFLA_NET_NS_FD]), 17);
	assert_int_equal(nla_get_u32(tb[IFLA_MTU]), 9001);
	assert_int_equal(nla_get_u32(tb[IFLA_TXQLEN]), 101);
	assert_int_equal(nla_get_u32(tb[IFLA_GSO_MAX_SIZE]), 200001);
	assert_int_equal(nla_get_u32(tb[IFLA_GRO_MAX_SIZE]), 300001);
	assert_int_equal(nla_get_u32(tb[IFLA_GSO_IPV4_MAX_SIZE]), 400001);
	assert_int_equal(nla_get_u32(tb[IFLA_GRO_IPV4_MAX_SIZE]), 500001);
	assert_memory_equal(nla_data(tb[IFLA_ADDRESS]), mac_b, 6);
	assert_null(tb[IFLA_GROUP]);
	nlmsg_free(msg);
	nk_device_unref(d);
}

static void create_says_no_more_than_the_document(void **state)
{
	struct nk_device *d = nk_device_new();
	struct nlattr *peer, *tb[IFLA_MAX + 1];
	struct nl_msg *msg;

	strcpy(d->end[NK_PRIMARY].name, "a");
	strcpy(d->end[NK_PEER].name, "b");
	msg = nk_msg_create(d, 1, -1);
	assert_non_null(msg);
	for (int type = 1; type <= IFLA_MAX; type++)
		if (type != IFLA_IFNAME && type != IFLA_GROUP && type != IFLA_LINKINFO)
			assert_null(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), type));
	assert_null(netkit_attr(msg, NK_NETKIT_HEADROOM));
	assert_null(netkit_attr(msg, NK_NETKIT_TAILROOM));
	assert_null(netkit_attr(msg, NK_NETKIT_PAIRING));
	peer = netkit_attr(msg, NK_NETKIT_PEER_INFO);
	assert_int_equal(nla_parse(tb, IFLA_MAX, (struct nlattr *)((char *)nla_data(peer) + sizeof(struct ifinfomsg)),
				   nla_len(peer) - (int)sizeof(struct ifinfomsg), NULL), 0);
	for (int type = 1; type <= IFLA_MAX; type++)
		assert_true(!tb[type] == (type != IFLA_IFNAME));
	nlmsg_free(msg);
	nk_device_unref(d);
}

static void single_has_no_peer(void **state)
{
	struct nk_device *d = nk_device_new();
	struct nk_link_info info;
	struct nl_msg *msg;

	strcpy(d->end[NK_PRIMARY].name, "solo");
	d->single = true;
	msg = nk_msg_create(d, 1, -1);
	assert_int_equal(nk_parse_link(with_ifindex(msg, 5), &info), 0);
	assert_true(info.single);
	assert_false(info.has_peer_policy);
	assert_null(netkit_attr(msg, NK_NETKIT_PEER_INFO));
	assert_null(netkit_attr(msg, NK_NETKIT_PEER_SCRUB));
	nlmsg_free(msg);
	nk_device_unref(d);
}

static void set_carries_what_is_named(void **state)
{
	struct nk_device *d = full_device();
	struct nl_msg *msg = nk_msg_set(d, NK_PRIMARY, 7, NK_SET_MTU | NK_SET_ALIAS | NK_SET_GROUP | NK_SET_PEER_POLICY, 99, true);
	struct nk_link_info info;
	struct nlattr *alias;

	/* A change has no name; the parser wants one, so it is looked at by hand. */
	assert_null(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_IFNAME));
	assert_int_equal(nla_get_u32(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_MTU)), 9000);
	assert_int_equal(nla_get_u32(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_GROUP)), 99);
	assert_null(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_TXQLEN));
	alias = nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_IFALIAS);
	assert_int_equal(nla_len(alias), strlen("netkitd:web-1"));
	assert_memory_equal(nla_data(alias), "netkitd:web-1", strlen("netkitd:web-1"));
	assert_int_equal(nla_get_u32(netkit_attr(msg, NK_NETKIT_PEER_POLICY)), NK_NETKIT_DROP);
	assert_null(netkit_attr(msg, NK_NETKIT_POLICY));
	assert_int_equal(((struct ifinfomsg *)nlmsg_data(nlmsg_hdr(msg)))->ifi_flags, IFF_UP);
	assert_int_equal(nlmsg_hdr(msg)->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL), 0);
	assert_null(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_AF_SPEC));
	nlmsg_free(msg);

	/* Without a word from the kernel a size would never be known to have changed. */
	msg = nk_msg_set(d, NK_PEER, 7, NK_SET_GRO_MAX, 99, false);
	assert_non_null(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_AF_SPEC));
	nlmsg_free(msg);

	msg = nk_msg_set(d, NK_PEER, 7, NK_SET_NAME | NK_SET_UP, 99, false);
	assert_int_equal(nk_parse_link(nlmsg_hdr(msg), &info), 0);
	assert_string_equal(info.end.name, "eth0");
	assert_int_equal(info.end.ifindex, 7);
	assert_true(info.end.up);
	assert_null(nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifinfomsg), IFLA_LINKINFO));
	nlmsg_free(msg);
	nk_device_unref(d);
}

static void addresses_come_back(void **state)
{
	const char *const texts[] = { "10.0.0.1/32", "10.1.2.3/8", "127.0.0.2/8", "fd00::2/128", "fe80::1/64" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct nk_prefix p = prefix(texts[i]);
		struct nl_msg *add = nk_msg_addr(true, 9, &p), *del = nk_msg_addr(false, 9, &p);
		struct nlattr *flags = nlmsg_find_attr(nlmsg_hdr(add), sizeof(struct ifaddrmsg), IFA_FLAGS);
		struct nk_obs_addr a;
		uint32_t ifindex;

		assert_int_equal(nk_parse_addr(nlmsg_hdr(add), &ifindex, &a), 0);
		assert_int_equal(ifindex, 9);
		assert_int_equal(nk_prefix_cmp(&a.p, &p), 0);
		assert_true(a.ours);
		assert_int_equal(nlmsg_hdr(add)->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE),
				 NLM_F_CREATE | NLM_F_EXCL);
		assert_int_equal(flags ? nla_get_u32(flags) : 0, p.ip.len == 16 ? IFA_F_NODAD : 0);
		assert_int_equal(nk_parse_addr(nlmsg_hdr(del), &ifindex, &a), 0);
		assert_int_equal(nk_prefix_cmp(&a.p, &p), 0);
		nlmsg_free(add);
		nlmsg_free(del);
	}
}

static void point_to_point_addresses_are_the_local_one(void **state)
{
	struct nk_obs_addr a;
	struct nk_prefix p = prefix("10.0.0.1/32"), want = prefix("10.0.0.1/32");
	struct nl_msg *msg = nk_msg_addr(true, 9, &p);
	struct nlattr *other = nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifaddrmsg), IFA_ADDRESS);
	uint32_t ifindex;

	memcpy(nla_data(other), ip("10.9.9.9").b, 4);
	assert_int_equal(nk_parse_addr(nlmsg_hdr(msg), &ifindex, &a), 0);
	assert_int_equal(nk_prefix_cmp(&a.p, &want), 0);
	nlmsg_free(msg);
}

static void routes_come_back(void **state)
{
	const struct {
		const char *to, *via, *src;
		uint32_t metric;
		bool onlink;
	} routes[] = {
		{ "0.0.0.0/0" }, { "::/0" }, { "10.0.0.2/32" }, { "10.0.0.0/8", "192.168.0.1", "192.168.0.9", 50, true },
		{ "fd00::/64", "fe80::1", "fd00::9", 7, true }, { "0.0.0.0/0", "fe80::1" },
	};

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		struct nk_route want = { .to = prefix(routes[i].to), .metric = routes[i].metric, .onlink = routes[i].onlink };
		struct nk_obs_route got;
		struct nl_msg *msg;
		uint32_t ifindex;

		if (routes[i].via)
			want.via = ip(routes[i].via);
		if (routes[i].src)
			want.src = ip(routes[i].src);
		msg = nk_msg_route(true, 3, &want);
		assert_int_equal(nk_parse_route(nlmsg_hdr(msg), &ifindex, &got), 0);
		assert_int_equal(ifindex, 3);
		assert_int_equal(nk_route_cmp(&got.r, &want), 0);
		assert_true(got.ours);
		nlmsg_free(msg);
		msg = nk_msg_route(false, 3, &want);
		assert_int_equal(nk_parse_route(nlmsg_hdr(msg), &ifindex, &got), 0);
		assert_int_equal(nk_route_cmp(&got.r, &want), 0);
		nlmsg_free(msg);
	}
}

static void routes_of_no_interest(void **state)
{
	struct nk_obs_route got;
	struct rtmsg *rtm;
	uint32_t ifindex;
	struct nlmsghdr *h;

	h = (struct nlmsghdr *)route_message(RTM_NEWROUTE, 0, 3, "10.0.0.1/32", NULL, NULL, 0);
	assert_int_equal(nk_parse_route(h, &ifindex, &got), 0);
	assert_false(got.ours);
	rtm = nlmsg_data(h);
	*(uint32_t *)nla_data(nlmsg_find_attr(h, sizeof(*rtm), RTA_TABLE)) = 1000;
	assert_int_equal(nk_parse_route(h, &ifindex, &got), -ENOMSG);

	h = (struct nlmsghdr *)route_message(RTM_NEWROUTE, 0, 3, "fe80::/64", NULL, NULL, RTPROT_KERNEL);
	assert_int_equal(nk_parse_route(h, &ifindex, &got), -ENOMSG);

	h = (struct nlmsghdr *)route_message(RTM_NEWROUTE, 0, 3, "fd00::1/128", NULL, NULL, 0);
	rtm = nlmsg_data(h);
	rtm->rtm_flags |= RTM_F_CLONED;
	assert_int_equal(nk_parse_route(h, &ifindex, &got), -ENOMSG);

	/* A blackhole leads nowhere, but may stand in the place of a route of ours. */
	assert_int_equal(nk_parse_route(route_message(RTM_NEWROUTE, 0, 0, "10.0.0.1/32", NULL, NULL, 0), &ifindex, &got), 0);
	assert_int_equal(ifindex, 0);
}

static void links_of_the_kernel(void **state)
{
	struct link_spec s = { .ifindex = 4, .name = "web-1", .up = true, .group = 12, .alias = "netkitd:web-1", .link = 2,
			       .other_netns = true, .link_nsid = 3, .peer_drops = true };
	struct nk_link_info info;
	struct nlmsghdr *h = (struct nlmsghdr *)link_message(RTM_NEWLINK, &s);

	assert_int_equal(nk_parse_link(h, &info), 0);
	assert_true(info.netkit && info.primary && info.end.up && info.end.details);
	assert_int_equal(info.peer_ifindex, 2);
	assert_int_equal(info.peer_nsid, 3);
	assert_string_equal(info.alias, "netkitd:web-1");
	assert_int_equal(info.peer_policy, NK_POLICY_DROP);
	assert_int_equal(info.mode, NK_MODE_L3);

	/* A namespace that is going has no number; that isn't the host's. */
	s.link_nsid = -1;
	assert_int_equal(nk_parse_link(link_message(RTM_NEWLINK, &s), &info), 0);
	assert_int_equal(info.peer_nsid, NK_NSID_NONE);
	s.other_netns = false;
	assert_int_equal(nk_parse_link(link_message(RTM_NEWLINK, &s), &info), 0);
	assert_int_equal(info.peer_nsid, NK_NSID_HOST);

	s.kind = "veth";
	assert_int_equal(nk_parse_link(link_message(RTM_NEWLINK, &s), &info), 0);
	assert_false(info.netkit);

	h = (struct nlmsghdr *)link_message(RTM_NEWLINK, &s);
	((struct ifinfomsg *)nlmsg_data(h))->ifi_family = 7; /* AF_BRIDGE */
	assert_int_equal(nk_parse_link(h, &info), -ENOMSG);
}

/* Each message, cut at each length and with each byte changed, in a buffer of exactly its size: nothing beyond is read. */
static void mutilate(const struct nlmsghdr *h)
{
	struct nk_link_info info;
	struct nk_obs_addr addr;
	struct nk_obs_route route;
	uint32_t ifindex;
	char path[16];

	for (uint32_t len = sizeof(*h); len <= h->nlmsg_len; len++)
		for (uint32_t at = 0; at < len; at += len == h->nlmsg_len ? 1 : len) {
			unsigned char *copy = malloc(len);
			struct nlmsghdr *c = (struct nlmsghdr *)copy;

			memcpy(copy, h, len);
			c->nlmsg_len = len;
			if (len == h->nlmsg_len && at >= sizeof(*h))
				copy[at] ^= (unsigned char)(0x11 * (1 + at % 15));
			nk_parse_link(c, &info);
			nk_parse_addr(c, &ifindex, &addr);
			nk_parse_route(c, &ifindex, &route);
			for (uint32_t offset = 0; offset < len + 8; offset += 3)
				nk_msg_attr_path(c, offset, path, sizeof(path));
			free(copy);
		}
}

static void malformed_messages_are_survived(void **state)
{
	struct link_spec s = { .ifindex = 4, .name = "web-1", .group = 12, .alias = "netkitd:web-1", .link = 2 };
	struct nk_device *d = full_device();
	struct nl_msg *msg = nk_msg_create(d, 1, 3);
	struct nk_link_info info;
	struct nlmsghdr *h;

	mutilate(link_message(RTM_NEWLINK, &s));
	mutilate(addr_message(RTM_NEWADDR, 3, "fd00::1/64", 110));
	mutilate(route_message(RTM_NEWROUTE, 0, 3, "10.0.0.0/8", "10.1.1.1", "10.2.2.2", 110));
	mutilate(nlmsg_hdr(msg));
	h = (struct nlmsghdr *)link_message(RTM_NEWLINK, &s);
	nlmsg_find_attr(h, sizeof(struct ifinfomsg), IFLA_MTU)->nla_len--;
	assert_int_equal(nk_parse_link(h, &info), -EBADMSG);
	nlmsg_free(msg);
	nk_device_unref(d);
}

/* The offset of an attribute's header within its message. */
static uint32_t offset_of(struct nl_msg *msg, const void *attr)
{
	return (uint32_t)((const char *)attr - (const char *)nlmsg_hdr(msg));
}

static void attributes_have_names(void **state)
{
	struct nk_device *d = full_device();
	struct nk_route r = { .to = prefix("10.0.0.0/8"), .via = ip("10.1.1.1") };
	struct nl_msg *msg = nk_msg_create(d, 1, 3);
	struct nlattr *peer = netkit_attr(msg, NK_NETKIT_PEER_INFO);
	struct nlattr *mtu = nla_find((struct nlattr *)((char *)nla_data(peer) + sizeof(struct ifinfomsg)),
				      nla_len(peer) - (int)sizeof(struct ifinfomsg), IFLA_MTU);
	char buf[64];

	assert_string_equal(nk_msg_attr_path(nlmsg_hdr(msg), offset_of(msg, netkit_attr(msg, NK_NETKIT_POLICY)), buf, sizeof(buf)),
			    "linkinfo/data/policy");
	assert_string_equal(nk_msg_attr_path(nlmsg_hdr(msg), offset_of(msg, mtu), buf, sizeof(buf)), "linkinfo/data/peer/mtu");
	assert_string_equal(nk_msg_attr_path(nlmsg_hdr(msg), offset_of(msg, peer), buf, sizeof(buf)), "linkinfo/data/peer");
	assert_null(nk_msg_attr_path(nlmsg_hdr(msg), 4, buf, sizeof(buf)));
	assert_null(nk_msg_attr_path(nlmsg_hdr(msg), 100000, buf, sizeof(buf)));
	assert_null(nk_msg_attr_path(nlmsg_hdr(msg), offset_of(msg, mtu), buf, 8));
	nlmsg_free(msg);
	msg = nk_msg_route(true, 3, &r);
	assert_string_equal(nk_msg_attr_path(nlmsg_hdr(msg),
					     offset_of(msg, nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct rtmsg), RTA_GATEWAY)),
					     buf, sizeof(buf)), "via");
	nlmsg_free(msg);
	nk_device_unref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_carries_everything),
		cmocka_unit_test(create_says_no_more_than_the_document),
		cmocka_unit_test(single_has_no_peer),
		cmocka_unit_test(set_carries_what_is_named),
		cmocka_unit_test(addresses_come_back),
		cmocka_unit_test(point_to_point_addresses_are_the_local_one),
		cmocka_unit_test(routes_come_back),
		cmocka_unit_test(routes_of_no_interest),
		cmocka_unit_test(links_of_the_kernel),
		cmocka_unit_test(malformed_messages_are_survived),
		cmocka_unit_test(attributes_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
