// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads the kernel's links, addresses and routes into the values of message.h. The cache calls it for each message, so it looks at
 * each attribute once and allocates nothing. Lengths are checked here; nobody behind it sees an attribute.
 */
#include "daemon/kernel/message.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/kernel/netkit_attr.h"
#include "daemon/kernel/netns.h"

/* A policy that is neither pass nor drop: equal to none that a document can name. */
#define OTHER_POLICY 0xff

/* Copy a number of exactly this size. 0 or -EBADMSG. */
static int get_bytes(const struct nlattr *a, void *ret, size_t size)
{
	if (nla_len(a) != (int)size)
		return -EBADMSG;
	memcpy(ret, nla_data(a), size);
	return 0;
}

/* A number in as many bytes as the kernel chose: newer attributes are not the same size in all its versions. */
static int get_number(const struct nlattr *a, uint32_t *ret)
{
	uint8_t u8;
	uint16_t u16;

	switch (nla_len(a)) {
	case sizeof(u8):
		memcpy(&u8, nla_data(a), sizeof(u8));
		*ret = u8;
		return 0;
	case sizeof(u16):
		memcpy(&u16, nla_data(a), sizeof(u16));
		*ret = u16;
		return 0;
	case sizeof(uint32_t):
		memcpy(ret, nla_data(a), sizeof(uint32_t));
		return 0;
	default:
		return -EBADMSG;
	}
}

/* At most size - 1 bytes of a text, always closed. */
static void get_text(const struct nlattr *a, char *ret, size_t size)
{
	size_t len = strnlen(nla_data(a), (size_t)nla_len(a));

	if (len >= size)
		len = size - 1;
	memcpy(ret, nla_data(a), len);
	ret[len] = '\0';
}

static int get_ip(const struct nlattr *a, uint8_t family, struct nk_ip *ret)
{
	struct nk_ip ip = { .len = family == AF_INET ? 4 : 16 };

	if (nla_len(a) != ip.len)
		return -EBADMSG;
	memcpy(ip.b, nla_data(a), ip.len);
	*ret = ip;
	return 0;
}

static uint8_t policy_of(uint32_t number)
{
	if (number == NK_NETKIT_PASS)
		return NK_POLICY_PASS;
	return number == NK_NETKIT_DROP ? NK_POLICY_DROP : OTHER_POLICY;
}

static uint8_t scrub_of(uint32_t number)
{
	return number == NK_NETKIT_SCRUB_NONE ? NK_SCRUB_NONE : NK_SCRUB_DEFAULT;
}

static int parse_netkit(const struct nlattr *data, struct nk_link_info *info)
{
	struct nlattr *a;
	int rem, r;

	/* What a kernel without scrub does is the default of those that have it. */
	info->end.scrub = info->peer_scrub = NK_SCRUB_DEFAULT;
	nla_for_each_nested(a, data, rem) {
		uint32_t n;

		if (nla_type(a) < NK_NETKIT_PRIMARY || nla_type(a) > NK_NETKIT_PAIRING)
			continue;
		r = get_number(a, &n);
		if (r < 0)
			return r;
		switch (nla_type(a)) {
		case NK_NETKIT_PRIMARY:
			info->primary = n;
			break;
		case NK_NETKIT_POLICY:
			info->end.policy = policy_of(n);
			break;
		case NK_NETKIT_PEER_POLICY:
			info->peer_policy = policy_of(n);
			info->has_peer_policy = true;
			break;
		case NK_NETKIT_MODE:
			info->mode = n == NK_NETKIT_L2 ? NK_MODE_L2 : NK_MODE_L3;
			break;
		case NK_NETKIT_SCRUB:
			info->end.scrub = scrub_of(n);
			break;
		case NK_NETKIT_PEER_SCRUB:
			info->peer_scrub = scrub_of(n);
			break;
		case NK_NETKIT_HEADROOM:
			info->headroom = (uint16_t)n;
			break;
		case NK_NETKIT_TAILROOM:
			info->tailroom = (uint16_t)n;
			break;
		case NK_NETKIT_PAIRING:
			info->single = n == NK_NETKIT_SINGLE;
			break;
		}
	}
	return 0;
}

static int parse_linkinfo(const struct nlattr *linkinfo, struct nk_link_info *info)
{
	const struct nlattr *data = NULL;
	struct nlattr *a;
	int rem;

	nla_for_each_nested(a, linkinfo, rem) {
		if (nla_type(a) == IFLA_INFO_KIND)
			info->netkit = !strncmp(nla_data(a), "netkit", (size_t)nla_len(a));
		else if (nla_type(a) == IFLA_INFO_DATA)
			data = a;
	}
	return info->netkit && data ? parse_netkit(data, info) : 0;
}

static int parse_link_attr(const struct nlattr *a, struct nk_link_info *info)
{
	switch (nla_type(a)) {
	case IFLA_IFNAME:
		get_text(a, info->end.name, sizeof(info->end.name));
		return 0;
	case IFLA_ADDRESS:
		/* Other kinds of links have addresses of other lengths; nobody asks for theirs. */
		if (nla_len(a) == sizeof(info->end.mac))
			memcpy(info->end.mac, nla_data(a), sizeof(info->end.mac));
		return 0;
	case IFLA_IFALIAS:
		get_text(a, info->alias, sizeof(info->alias));
		return 0;
	case IFLA_MTU:
		return get_bytes(a, &info->end.mtu, sizeof(info->end.mtu));
	case IFLA_TXQLEN:
		return get_bytes(a, &info->end.txqlen, sizeof(info->end.txqlen));
	case IFLA_GSO_MAX_SIZE:
		return get_bytes(a, &info->end.gso_max, sizeof(info->end.gso_max));
	case IFLA_GRO_MAX_SIZE:
		return get_bytes(a, &info->end.gro_max, sizeof(info->end.gro_max));
	case IFLA_GSO_IPV4_MAX_SIZE:
		return get_bytes(a, &info->end.gso_ipv4_max, sizeof(info->end.gso_ipv4_max));
	case IFLA_GRO_IPV4_MAX_SIZE:
		return get_bytes(a, &info->end.gro_ipv4_max, sizeof(info->end.gro_ipv4_max));
	case IFLA_GROUP:
		return get_bytes(a, &info->group, sizeof(info->group));
	case IFLA_LINK:
		return get_bytes(a, &info->peer_ifindex, sizeof(info->peer_ifindex));
	case IFLA_LINK_NETNSID:
		if (get_bytes(a, &info->peer_nsid, sizeof(info->peer_nsid)) < 0)
			return -EBADMSG;
		if (info->peer_nsid < 0) /* NETNSA_NSID_NOT_ASSIGNED */
			info->peer_nsid = NK_NSID_NONE;
		return 0;
	case IFLA_NEW_NETNSID:
		info->has_new_nsid = true;
		return get_bytes(a, &info->new_nsid, sizeof(info->new_nsid));
	case IFLA_LINKINFO:
		return parse_linkinfo(a, info);
	default:
		return 0;
	}
}

int nk_parse_link(const struct nlmsghdr *h, struct nk_link_info *ret)
{
	struct nk_link_info info = { .peer_nsid = NK_NSID_HOST };
	const struct ifinfomsg *ifi = nlmsg_data(h);
	struct nlattr *a;
	int rem, r;

	if (h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK)
		return -ENOMSG;
	if (!nlmsg_valid_hdr(h, sizeof(*ifi)))
		return -EBADMSG;
	if (ifi->ifi_family != AF_UNSPEC) /* a bridge's view of its port */
		return -ENOMSG;
	info.end.ifindex = (uint32_t)ifi->ifi_index;
	info.end.up = ifi->ifi_flags & IFF_UP;
	nlmsg_for_each_attr(a, h, sizeof(*ifi), rem) {
		r = parse_link_attr(a, &info);
		if (r < 0)
			return r;
	}
	if (rem)
		return -EBADMSG;
	if (ifi->ifi_index <= 0)
		return -EBADMSG;
	if (!info.end.name[0]) /* a report about a link, not the link */
		return -ENOMSG;
	info.end.details = true;
	*ret = info;
	return 0;
}

int nk_parse_addr(const struct nlmsghdr *h, uint32_t *ret_ifindex, struct nk_obs_addr *ret)
{
	const struct ifaddrmsg *ifa = nlmsg_data(h);
	struct nk_obs_addr addr = { 0 };
	bool local = false;
	struct nlattr *a;
	int rem, r = 0;

	if (h->nlmsg_type != RTM_NEWADDR && h->nlmsg_type != RTM_DELADDR)
		return -ENOMSG;
	if (!nlmsg_valid_hdr(h, sizeof(*ifa)))
		return -EBADMSG;
	if (ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6)
		return -ENOMSG;
	nlmsg_for_each_attr(a, h, sizeof(*ifa), rem) {
		uint8_t proto;

		switch (nla_type(a)) {
		case IFA_LOCAL:
			r = get_ip(a, ifa->ifa_family, &addr.p.ip);
			local = true;
			break;
		case IFA_ADDRESS:
			/* On a point-to-point address this is the other side's. */
			r = local ? 0 : get_ip(a, ifa->ifa_family, &addr.p.ip);
			break;
		case IFA_PROTO:
			r = get_bytes(a, &proto, sizeof(proto));
			addr.ours = !r && proto == NK_PROTO;
			break;
		default:
			break;
		}
		if (r < 0)
			return r;
	}
	if (rem || !addr.p.ip.len || !ifa->ifa_index || ifa->ifa_prefixlen > addr.p.ip.len * 8)
		return -EBADMSG;
	addr.p.plen = ifa->ifa_prefixlen;
	*ret_ifindex = ifa->ifa_index;
	*ret = addr;
	return 0;
}

/* RTA_VIA: the family, then an address of it. */
static int get_via(const struct nlattr *a, struct nk_ip *ret)
{
	const struct rtvia *via = nla_data(a);
	struct nk_ip ip = { 0 };

	if (nla_len(a) < (int)sizeof(*via))
		return -EBADMSG;
	ip.len = via->rtvia_family == AF_INET ? 4 : 16;
	if (nla_len(a) < (int)(sizeof(*via) + ip.len))
		return -EBADMSG;
	memcpy(ip.b, via->rtvia_addr, ip.len);
	*ret = ip;
	return 0;
}

/* The kernel's own fe80::/64 on every link: many, and never wanted. */
static bool is_link_local_net(const struct rtmsg *rtm, const struct nk_ip *to)
{
	return rtm->rtm_family == AF_INET6 && rtm->rtm_protocol == RTPROT_KERNEL && to->b[0] == 0xfe && (to->b[1] & 0xc0) == 0x80;
}

int nk_parse_route(const struct nlmsghdr *h, uint32_t *ret_ifindex, struct nk_obs_route *ret)
{
	const struct rtmsg *rtm = nlmsg_data(h);
	struct nk_obs_route route = { 0 };
	uint32_t table, ifindex = 0;
	struct nlattr *a;
	int rem, r = 0;

	if (h->nlmsg_type != RTM_NEWROUTE && h->nlmsg_type != RTM_DELROUTE)
		return -ENOMSG;
	if (!nlmsg_valid_hdr(h, sizeof(*rtm)))
		return -EBADMSG;
	if ((rtm->rtm_family != AF_INET && rtm->rtm_family != AF_INET6) || (rtm->rtm_flags & RTM_F_CLONED) || rtm->rtm_src_len ||
	    rtm->rtm_tos)
		return -ENOMSG;
	table = rtm->rtm_table;
	route.r.to.ip.len = rtm->rtm_family == AF_INET ? 4 : 16;
	nlmsg_for_each_attr(a, h, sizeof(*rtm), rem) {
		switch (nla_type(a)) {
		case RTA_TABLE:
			r = get_bytes(a, &table, sizeof(table));
			break;
		case RTA_DST:
			r = get_ip(a, rtm->rtm_family, &route.r.to.ip);
			break;
		case RTA_OIF:
			r = get_bytes(a, &ifindex, sizeof(ifindex));
			break;
		case RTA_GATEWAY:
			r = get_ip(a, rtm->rtm_family, &route.r.via);
			break;
		case RTA_VIA:
			r = get_via(a, &route.r.via);
			break;
		case RTA_PREFSRC:
			r = get_ip(a, rtm->rtm_family, &route.r.src);
			break;
		case RTA_PRIORITY:
			r = get_bytes(a, &route.r.metric, sizeof(route.r.metric));
			break;
		default: /* RTA_MULTIPATH too: such a route has no RTA_OIF */
			break;
		}
		if (r < 0)
			return r;
	}
	if (rem || rtm->rtm_dst_len > route.r.to.ip.len * 8)
		return -EBADMSG;
	if (table != RT_TABLE_MAIN || is_link_local_net(rtm, &route.r.to.ip))
		return -ENOMSG;
	if (rtm->rtm_type != RTN_UNICAST) /* the kernel gives a blackhole a link, but it doesn't lead there */
		ifindex = 0;
	route.r.to.plen = rtm->rtm_dst_len;
	route.r.onlink = rtm->rtm_flags & RTNH_F_ONLINK;
	route.ours = rtm->rtm_protocol == NK_PROTO;
	*ret_ifindex = ifindex;
	*ret = route;
	return 0;
}
