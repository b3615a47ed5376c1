// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names the attribute of one of our requests at which the kernel's extended ACK points, so that "Invalid value" becomes "Invalid
 * value (linkinfo/data/policy)". rtnl.c calls it for a failed request. It knows the attributes that message.c sends, others keep
 * their number.
 */
#include "daemon/kernel/message.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/kernel/netkit_attr.h"

/* A level of nesting: names of its attributes, and which of them contain further ones. */
struct level {
	const char *const *names;
	size_t n_names;
	struct nested {
		int type;
		size_t header; /* bytes before the first attribute within */
		const struct level *level;
	} nested;
};

#define NAMES(list) .names = (list), .n_names = sizeof(list) / sizeof((list)[0])

static const char *const link_names[] = {
	[IFLA_ADDRESS] = "mac", [IFLA_IFNAME] = "name", [IFLA_MTU] = "mtu", [IFLA_LINK] = "link",
	[IFLA_TXQLEN] = "txqueuelen", [IFLA_LINKINFO] = "linkinfo", [IFLA_IFALIAS] = "alias", [IFLA_GROUP] = "group",
	[IFLA_NET_NS_FD] = "netns", [IFLA_GSO_MAX_SIZE] = "gso_max_size", [IFLA_GRO_MAX_SIZE] = "gro_max_size",
	[IFLA_GSO_IPV4_MAX_SIZE] = "gso_ipv4_max_size", [IFLA_GRO_IPV4_MAX_SIZE] = "gro_ipv4_max_size",
};
static const char *const info_names[] = { [IFLA_INFO_KIND] = "kind", [IFLA_INFO_DATA] = "data" };
static const char *const netkit_names[] = {
	[NK_NETKIT_PEER_INFO] = "peer", [NK_NETKIT_PRIMARY] = "primary", [NK_NETKIT_POLICY] = "policy",
	[NK_NETKIT_PEER_POLICY] = "peer_policy", [NK_NETKIT_MODE] = "mode", [NK_NETKIT_SCRUB] = "scrub",
	[NK_NETKIT_PEER_SCRUB] = "peer_scrub", [NK_NETKIT_HEADROOM] = "headroom", [NK_NETKIT_TAILROOM] = "tailroom",
	[NK_NETKIT_PAIRING] = "pairing",
};
static const char *const addr_names[] = {
	[IFA_ADDRESS] = "address", [IFA_LOCAL] = "local", [IFA_FLAGS] = "flags", [IFA_PROTO] = "protocol",
};
static const char *const route_names[] = {
	[RTA_DST] = "to", [RTA_OIF] = "dev", [RTA_GATEWAY] = "via", [RTA_PRIORITY] = "metric", [RTA_PREFSRC] = "src",
	[RTA_VIA] = "via",
};
static const char *const netns_names[] = { [NETNSA_NSID] = "nsid", [NETNSA_FD] = "netns" };

static const struct level peer_level = { NAMES(link_names) };
static const struct level netkit_level = {
	NAMES(netkit_names), .nested = { NK_NETKIT_PEER_INFO, sizeof(struct ifinfomsg), &peer_level },
};
static const struct level info_level = { NAMES(info_names), .nested = { IFLA_INFO_DATA, 0, &netkit_level } };
static const struct level link_level = { NAMES(link_names), .nested = { IFLA_LINKINFO, 0, &info_level } };
static const struct level addr_level = { NAMES(addr_names) };
static const struct level route_level = { NAMES(route_names) };
static const struct level netns_level = { NAMES(netns_names) };

/* The outermost level of a request of this type, and where its attributes begin behind the netlink header. */
static const struct level *level_of(uint16_t type, size_t *ret_header)
{
	switch (type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
	case RTM_GETLINK:
	case RTM_SETLINK:
		*ret_header = sizeof(struct ifinfomsg);
		return &link_level;
	case RTM_NEWADDR:
	case RTM_DELADDR:
	case RTM_GETADDR:
		*ret_header = sizeof(struct ifaddrmsg);
		return &addr_level;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
	case RTM_GETROUTE:
		*ret_header = sizeof(struct rtmsg);
		return &route_level;
	case RTM_NEWNSID:
	case RTM_GETNSID:
		*ret_header = sizeof(struct rtgenmsg);
		return &netns_level;
	default:
		return NULL;
	}
}

char *nk_msg_attr_path(const struct nlmsghdr *request, uint32_t offset, char *buf, size_t size)
{
	size_t header, at, end = request->nlmsg_len, used = 0;
	const struct level *level = level_of(request->nlmsg_type, &header);

	if (!level)
		return NULL;
	at = NLMSG_HDRLEN + NLMSG_ALIGN(header);
	/* Walk the attributes of a level to the one that contains the offset, then into it. */
	while (at + NLA_HDRLEN <= end && at <= offset) {
		const struct nlattr *a = (const struct nlattr *)((const char *)request + at);
		size_t next = at + NLA_ALIGN(a->nla_len);
		int type = nla_type(a), n;

		if (a->nla_len < NLA_HDRLEN || a->nla_len > end - at)
			return NULL;
		if (next <= offset) {
			at = next;
			continue;
		}
		if ((size_t)type < level->n_names && level->names[type])
			n = snprintf(buf + used, size - used, "%s%s", used ? "/" : "", level->names[type]);
		else
			n = snprintf(buf + used, size - used, "%sattribute %d", used ? "/" : "", type);
		if (n < 0 || (size_t)n >= size - used)
			return NULL;
		used += (size_t)n;
		if (offset == at || !level->nested.level || level->nested.type != type)
			return buf;
		end = at + a->nla_len;
		at += NLA_HDRLEN + NLA_ALIGN(level->nested.header);
		level = level->nested.level;
	}
	return used ? buf : NULL;
}
