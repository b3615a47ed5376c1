// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds the messages of kernel_messages.h attribute by attribute, not with the daemon's own builders: what both had wrong
 * would look right.
 */
#include "kernel_messages.h"

#include <assert.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

static union {
	unsigned char bytes[4096];
	struct nlmsghdr h;
} buffer;

static void *begin(uint16_t type, uint16_t flags, size_t header)
{
	memset(&buffer, 0, sizeof(buffer));
	buffer.h.nlmsg_type = type;
	buffer.h.nlmsg_flags = flags;
	buffer.h.nlmsg_len = (uint32_t)NLMSG_SPACE(header);
	return NLMSG_DATA(&buffer.h);
}

static struct rtattr *put(unsigned short type, const void *data, size_t size)
{
	struct rtattr *a = (struct rtattr *)(buffer.bytes + NLMSG_ALIGN(buffer.h.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(size);
	if (size)
		memcpy(RTA_DATA(a), data, size);
	buffer.h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(buffer.h.nlmsg_len) + RTA_SPACE(size));
	assert(buffer.h.nlmsg_len < sizeof(buffer));
	return a;
}

static void put_u32(unsigned short type, uint32_t value)
{
	put(type, &value, sizeof(value));
}

static void end(struct rtattr *nest)
{
	nest->rta_len = (unsigned short)(buffer.bytes + buffer.h.nlmsg_len - (unsigned char *)nest);
}

struct nk_prefix prefix(const char *text)
{
	struct nk_prefix p;

	assert(!nk_prefix_parse(text, &p));
	return p;
}

struct nk_ip ip(const char *text)
{
	struct nk_ip i;

	assert(!nk_ip_parse(text, &i));
	return i;
}

const struct nlmsghdr *link_message(uint16_t type, const struct link_spec *s)
{
	struct ifinfomsg *ifi = begin(type, 0, sizeof(*ifi));
	const char *kind = s->kind ? s->kind : "netkit";
	uint8_t primary = !s->peer;
	struct rtattr *info, *data;

	ifi->ifi_index = (int)s->ifindex;
	ifi->ifi_flags = s->up ? IFF_UP : 0;
	put(IFLA_IFNAME, s->name, strlen(s->name) + 1);
	put_u32(IFLA_TXQLEN, 1000);
	put_u32(IFLA_MTU, s->mtu ? s->mtu : 1500);
	put_u32(IFLA_GROUP, s->group);
	put_u32(IFLA_GSO_MAX_SIZE, 65536);
	if (s->alias)
		put(IFLA_IFALIAS, s->alias, strlen(s->alias) + 1);
	info = put(IFLA_LINKINFO, NULL, 0);
	put(IFLA_INFO_KIND, kind, strlen(kind) + 1);
	if (!s->kind) {
		data = put(IFLA_INFO_DATA, NULL, 0);
		put(2 /* PRIMARY */, &primary, sizeof(primary));
		put_u32(3 /* POLICY */, s->peer && s->peer_drops ? 2 : 0);
		put_u32(5 /* MODE */, 1);
		put_u32(6 /* SCRUB */, 1);
		if (!s->peer && s->link) {
			put_u32(4 /* PEER_POLICY */, s->peer_drops ? 2 : 0);
			put_u32(7 /* PEER_SCRUB */, 1);
		}
		end(data);
	}
	end(info);
	if (s->moved)
		put(IFLA_NEW_NETNSID, &s->new_nsid, sizeof(s->new_nsid));
	if (s->other_netns)
		put(IFLA_LINK_NETNSID, &s->link_nsid, sizeof(s->link_nsid));
	put_u32(IFLA_LINK, s->link);
	return &buffer.h;
}

const struct nlmsghdr *addr_message(uint16_t type, uint32_t ifindex, const char *text, uint8_t proto)
{
	struct ifaddrmsg *ifa = begin(type, 0, sizeof(*ifa));
	struct nk_prefix p = prefix(text);

	ifa->ifa_family = p.ip.len == 4 ? AF_INET : AF_INET6;
	ifa->ifa_prefixlen = p.plen;
	ifa->ifa_index = ifindex;
	put(IFA_ADDRESS, p.ip.b, p.ip.len);
	if (p.ip.len == 4)
		put(IFA_LOCAL, p.ip.b, p.ip.len);
	if (proto)
		put(IFA_PROTO, &proto, sizeof(proto));
	return &buffer.h;
}

const struct nlmsghdr *route_message(uint16_t type, uint16_t flags, uint32_t ifindex, const char *to, const char *via,
				     const char *src, uint8_t proto)
{
	struct rtmsg *rtm = begin(type, flags, sizeof(*rtm));
	struct nk_prefix p = prefix(to);

	rtm->rtm_family = p.ip.len == 4 ? AF_INET : AF_INET6;
	rtm->rtm_dst_len = p.plen;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = proto ? proto : RTPROT_BOOT;
	rtm->rtm_type = ifindex ? RTN_UNICAST : RTN_BLACKHOLE;
	put_u32(RTA_TABLE, RT_TABLE_MAIN);
	if (p.plen)
		put(RTA_DST, p.ip.b, p.ip.len);
	if (via)
		put(RTA_GATEWAY, ip(via).b, ip(via).len);
	if (src)
		put(RTA_PREFSRC, ip(src).b, ip(src).len);
	if (p.ip.len == 16)
		put_u32(RTA_PRIORITY, 1024);
	if (ifindex)
		put_u32(RTA_OIF, ifindex);
	return &buffer.h;
}

const struct nlmsghdr *nsid_message(uint16_t type, int32_t nsid)
{
	begin(type, 0, sizeof(struct rtgenmsg));
	put(NETNSA_NSID, &nsid, sizeof(nsid));
	return &buffer.h;
}
