// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds the rtnetlink requests of message.h from values. The executor sends them, tests and the probe build the same ones. It
 * decides nothing, opens nothing and keeps nothing; what the kernel answers is read in message_parse.c.
 */
#include "daemon/kernel/message.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/kernel/netkit_attr.h"
#include "daemon/kernel/netns.h"

/* More than the largest request takes (a pair with all its settings: 450 bytes), less than libnl's page to clear. */
#define MSG_SIZE 1024

static void cleanup_msg(struct nl_msg **msg)
{
	nlmsg_free(*msg); /* takes NULL */
}
#define _msg_ __attribute__((cleanup(cleanup_msg)))

/* The return of a builder: the message if all attributes went in, else NULL (and cleanup frees it). */
static struct nl_msg *finish(struct nl_msg **msg, int failed)
{
	struct nl_msg *done = *msg;

	if (failed)
		return NULL;
	*msg = NULL;
	return done;
}

static struct nl_msg *new_msg(int type, int flags, const void *header, size_t size)
{
	_msg_ struct nl_msg *msg = nlmsg_alloc_size(MSG_SIZE);

	if (!msg || !nlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, type, 0, NLM_F_REQUEST | flags))
		return NULL;
	return finish(&msg, nlmsg_append(msg, (void *)header, size, NLMSG_ALIGNTO));
}

static struct nl_msg *new_link_msg(int type, int flags, uint32_t ifindex, unsigned int set, unsigned int change)
{
	struct ifinfomsg ifi = { .ifi_index = (int)ifindex, .ifi_flags = set, .ifi_change = change };

	return new_msg(type, flags, &ifi, sizeof(ifi));
}

static uint32_t policy_number(uint8_t policy)
{
	return policy == NK_POLICY_DROP ? NK_NETKIT_DROP : NK_NETKIT_PASS;
}

static uint32_t scrub_number(uint8_t scrub)
{
	return scrub == NK_SCRUB_NONE ? NK_NETKIT_SCRUB_NONE : NK_NETKIT_SCRUB_DEFAULT;
}

/* The settings of one end that `what` names, as attributes of a link. 0 or not. */
static int put_settings(struct nl_msg *msg, const struct nk_end *e, uint32_t what)
{
	int r = 0;

	if (what & NK_SET_NAME)
		r |= nla_put_string(msg, IFLA_IFNAME, e->name);
	if (what & NK_SET_MTU)
		r |= nla_put_u32(msg, IFLA_MTU, e->mtu);
	if (what & NK_SET_MAC)
		r |= nla_put(msg, IFLA_ADDRESS, sizeof(e->mac), e->mac);
	if (what & NK_SET_TXQLEN)
		r |= nla_put_u32(msg, IFLA_TXQLEN, e->txqlen);
	if (what & NK_SET_GSO_MAX)
		r |= nla_put_u32(msg, IFLA_GSO_MAX_SIZE, e->gso_max);
	if (what & NK_SET_GRO_MAX)
		r |= nla_put_u32(msg, IFLA_GRO_MAX_SIZE, e->gro_max);
	if (what & NK_SET_GSO_IPV4_MAX)
		r |= nla_put_u32(msg, IFLA_GSO_IPV4_MAX_SIZE, e->gso_ipv4_max);
	if (what & NK_SET_GRO_IPV4_MAX)
		r |= nla_put_u32(msg, IFLA_GRO_IPV4_MAX_SIZE, e->gro_ipv4_max);
	return r;
}

/* IFLA_NETKIT_PEER_INFO: the peer's own link message, without a netlink header. */
static int put_peer_info(struct nl_msg *msg, const struct nk_end *peer, int netns_fd)
{
	/* 6.12 doesn't look at the flags; a kernel that does spares the request that raises the peer. */
	struct ifinfomsg ifi = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct nlattr *info = nla_nest_start(msg, NK_NETKIT_PEER_INFO);
	int r;

	if (!info || nlmsg_append(msg, &ifi, sizeof(ifi), NLMSG_ALIGNTO))
		return -1;
	r = put_settings(msg, peer, peer->set | NK_SET_NAME);
	if (netns_fd >= 0)
		r |= nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	nla_nest_end(msg, info);
	return r;
}

struct nl_msg *nk_msg_create(const struct nk_device *d, uint32_t group, int netns_fd)
{
	const struct nk_end *primary = &d->end[NK_PRIMARY], *peer = &d->end[NK_PEER];
	_msg_ struct nl_msg *msg = new_link_msg(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, 0, 0, 0);
	struct nlattr *linkinfo, *data;
	int r;

	if (!msg)
		return NULL;
	r = put_settings(msg, primary, primary->set | NK_SET_NAME);
	r |= nla_put_u32(msg, IFLA_GROUP, group);
	linkinfo = nla_nest_start(msg, IFLA_LINKINFO);
	r |= nla_put_string(msg, IFLA_INFO_KIND, "netkit");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	if (!linkinfo || !data)
		return NULL;
	r |= nla_put_u32(msg, NK_NETKIT_MODE, d->mode == NK_MODE_L2 ? NK_NETKIT_L2 : NK_NETKIT_L3);
	r |= nla_put_u32(msg, NK_NETKIT_POLICY, policy_number(primary->policy));
	r |= nla_put_u32(msg, NK_NETKIT_SCRUB, scrub_number(primary->scrub));
	if (d->has_headroom)
		r |= nla_put_u16(msg, NK_NETKIT_HEADROOM, d->headroom);
	if (d->has_tailroom)
		r |= nla_put_u16(msg, NK_NETKIT_TAILROOM, d->tailroom);
	if (d->single) {
		r |= nla_put_u32(msg, NK_NETKIT_PAIRING, NK_NETKIT_SINGLE);
	} else {
		r |= nla_put_u32(msg, NK_NETKIT_PEER_POLICY, policy_number(peer->policy));
		r |= nla_put_u32(msg, NK_NETKIT_PEER_SCRUB, scrub_number(peer->scrub));
		r |= put_peer_info(msg, peer, netns_fd);
	}
	nla_nest_end(msg, data);
	nla_nest_end(msg, linkinfo);
	return finish(&msg, r);
}

/*
 * The kernel changes the offload sizes of a live link without a notification, and what it doesn't tell counts as not done. An empty
 * IPv4 section changes nothing and makes it tell.
 */
static int put_notify(struct nl_msg *msg)
{
	struct nlattr *families = nla_nest_start(msg, IFLA_AF_SPEC), *ipv4;

	ipv4 = families ? nla_nest_start(msg, AF_INET) : NULL;
	if (!ipv4)
		return -1;
	nla_nest_end_keep_empty(msg, ipv4);
	nla_nest_end(msg, families);
	return 0;
}

/* Both policies go through the primary; a request to the peer may not carry any. */
static int put_policies(struct nl_msg *msg, const struct nk_device *d, uint32_t what)
{
	struct nlattr *linkinfo = nla_nest_start(msg, IFLA_LINKINFO), *data;
	int r;

	r = nla_put_string(msg, IFLA_INFO_KIND, "netkit");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	if (!linkinfo || !data)
		return -1;
	if (what & NK_SET_POLICY)
		r |= nla_put_u32(msg, NK_NETKIT_POLICY, policy_number(d->end[NK_PRIMARY].policy));
	if (what & NK_SET_PEER_POLICY)
		r |= nla_put_u32(msg, NK_NETKIT_PEER_POLICY, policy_number(d->end[NK_PEER].policy));
	nla_nest_end(msg, data);
	nla_nest_end(msg, linkinfo);
	return r;
}

struct nl_msg *nk_msg_set(const struct nk_device *d, enum nk_end_id end, uint32_t ifindex, uint32_t what, uint32_t group, bool up)
{
	unsigned int flags = up || (what & NK_SET_UP) ? IFF_UP : 0;
	_msg_ struct nl_msg *msg = new_link_msg(RTM_NEWLINK, 0, ifindex, flags, flags);
	int r;

	if (!msg)
		return NULL;
	r = put_settings(msg, &d->end[end], what);
	if (what & NK_SET_GROUP)
		r |= nla_put_u32(msg, IFLA_GROUP, group);
	if (what & NK_SET_ALIAS) {
		char alias[sizeof(NK_ALIAS_PREFIX) + NK_IFNAMSIZ];

		snprintf(alias, sizeof(alias), NK_ALIAS_PREFIX "%s", nk_device_name(d));
		/* Without the NUL: the kernel would keep it as a part of the alias. */
		r |= nla_put(msg, IFLA_IFALIAS, (int)strlen(alias), alias);
	}
	if (what & (NK_SET_POLICY | NK_SET_PEER_POLICY))
		r |= put_policies(msg, d, what);
	if (what & (NK_SET_GSO_MAX | NK_SET_GRO_MAX | NK_SET_GSO_IPV4_MAX | NK_SET_GRO_IPV4_MAX))
		r |= put_notify(msg);
	return finish(&msg, r);
}

struct nl_msg *nk_msg_down(uint32_t ifindex)
{
	return new_link_msg(RTM_NEWLINK, 0, ifindex, 0, IFF_UP);
}

struct nl_msg *nk_msg_regroup(uint32_t ifindex, uint32_t group)
{
	_msg_ struct nl_msg *msg = new_link_msg(RTM_NEWLINK, 0, ifindex, 0, 0);

	return msg ? finish(&msg, nla_put_u32(msg, IFLA_GROUP, group)) : NULL;
}

struct nl_msg *nk_msg_delete(uint32_t ifindex)
{
	return new_link_msg(RTM_DELLINK, 0, ifindex, 0, 0);
}

struct nl_msg *nk_msg_delete_group(uint32_t group)
{
	_msg_ struct nl_msg *msg = new_link_msg(RTM_DELLINK, 0, 0, 0, 0);

	return msg ? finish(&msg, nla_put_u32(msg, IFLA_GROUP, group)) : NULL;
}

static uint8_t family_of(const struct nk_ip *ip)
{
	return ip->len == 4 ? AF_INET : AF_INET6;
}

struct nl_msg *nk_msg_addr(bool add, uint32_t ifindex, const struct nk_prefix *p)
{
	struct ifaddrmsg ifa = { .ifa_family = family_of(&p->ip), .ifa_prefixlen = p->plen, .ifa_index = ifindex };
	_msg_ struct nl_msg *msg = NULL;
	int r;

	/* As iproute2 does: what stays in the host has that scope. */
	if (p->ip.len == 4 && p->ip.b[0] == 127)
		ifa.ifa_scope = RT_SCOPE_HOST;
	msg = new_msg(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_EXCL : 0, &ifa, sizeof(ifa));
	if (!msg)
		return NULL;
	r = nla_put(msg, IFA_LOCAL, p->ip.len, p->ip.b);
	r |= nla_put(msg, IFA_ADDRESS, p->ip.len, p->ip.b);
	if (add) {
		r |= nla_put_u8(msg, IFA_PROTO, NK_PROTO);
		if (p->ip.len == 16)
			r |= nla_put_u32(msg, IFA_FLAGS, IFA_F_NODAD);
	}
	return finish(&msg, r);
}

/* A gateway; of the other family (IPv4 via an IPv6 neighbour) it needs an attribute that says so. */
static int put_via(struct nl_msg *msg, const struct nk_route *r)
{
	struct {
		__kernel_sa_family_t family;
		uint8_t addr[16];
	} via = { .family = family_of(&r->via) };

	if (r->via.len == r->to.ip.len)
		return nla_put(msg, RTA_GATEWAY, r->via.len, r->via.b);
	memcpy(via.addr, r->via.b, r->via.len);
	return nla_put(msg, RTA_VIA, (int)(offsetof(typeof(via), addr) + r->via.len), &via);
}

struct nl_msg *nk_msg_route(bool add, uint32_t ifindex, const struct nk_route *r)
{
	struct rtmsg rtm = {
		.rtm_family = family_of(&r->to.ip),
		.rtm_dst_len = r->to.plen,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = NK_PROTO,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
		.rtm_flags = r->onlink ? RTNH_F_ONLINK : 0,
	};
	_msg_ struct nl_msg *msg = NULL;
	int err = 0;

	/* IPv4 wants the scope of a route without gateway narrower; a deletion matches any. */
	if (r->to.ip.len == 4 && !add)
		rtm.rtm_scope = RT_SCOPE_NOWHERE;
	else if (r->to.ip.len == 4 && !r->via.len)
		rtm.rtm_scope = RT_SCOPE_LINK;
	msg = new_msg(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_EXCL : 0, &rtm, sizeof(rtm));
	if (!msg)
		return NULL;
	if (r->to.plen)
		err |= nla_put(msg, RTA_DST, r->to.ip.len, r->to.ip.b);
	err |= nla_put_u32(msg, RTA_OIF, ifindex);
	if (r->via.len)
		err |= put_via(msg, r);
	if (r->src.len)
		err |= nla_put(msg, RTA_PREFSRC, r->src.len, r->src.b);
	if (r->metric)
		err |= nla_put_u32(msg, RTA_PRIORITY, r->metric);
	return finish(&msg, err);
}

struct nl_msg *nk_msg_dump_links(bool netkit_only)
{
	_msg_ struct nl_msg *msg = new_link_msg(RTM_GETLINK, NLM_F_DUMP, 0, 0, 0);
	struct nlattr *linkinfo;
	int r;

	if (!msg)
		return NULL;
	/* With a mask the kernel makes room for its largest link; without one a link that is too large for its guess ends the dump. */
	r = nla_put_u32(msg, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	if (!netkit_only)
		return finish(&msg, r);
	linkinfo = nla_nest_start(msg, IFLA_LINKINFO);
	if (!linkinfo)
		return NULL;
	r |= nla_put_string(msg, IFLA_INFO_KIND, "netkit");
	nla_nest_end(msg, linkinfo);
	return finish(&msg, r);
}

struct nl_msg *nk_msg_get_link(uint32_t ifindex)
{
	return new_link_msg(RTM_GETLINK, 0, ifindex, 0, 0);
}

struct nl_msg *nk_msg_get_link_of(int32_t nsid, uint32_t ifindex)
{
	_msg_ struct nl_msg *msg = nk_msg_get_link(ifindex);

	if (nsid == NK_NSID_HOST)
		return msg ? finish(&msg, 0) : NULL;
	return msg ? finish(&msg, nla_put_s32(msg, IFLA_TARGET_NETNSID, nsid)) : NULL;
}

struct nl_msg *nk_msg_find_link(const char *name)
{
	_msg_ struct nl_msg *msg = new_link_msg(RTM_GETLINK, 0, 0, 0, 0);

	return msg ? finish(&msg, nla_put_string(msg, IFLA_IFNAME, name)) : NULL;
}

struct nl_msg *nk_msg_dump_addrs(uint32_t ifindex)
{
	struct ifaddrmsg ifa = { .ifa_family = AF_UNSPEC, .ifa_index = ifindex };

	return new_msg(RTM_GETADDR, NLM_F_DUMP, &ifa, sizeof(ifa));
}

struct nl_msg *nk_msg_dump_routes(uint8_t family, uint32_t ifindex)
{
	struct rtmsg rtm = { .rtm_family = family, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST };
	_msg_ struct nl_msg *msg = new_msg(RTM_GETROUTE, NLM_F_DUMP, &rtm, sizeof(rtm));

	if (!msg)
		return NULL;
	return finish(&msg, ifindex ? nla_put_u32(msg, RTA_OIF, ifindex) : 0);
}
