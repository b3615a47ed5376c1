// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * rtnetlink messages as the kernel sends them, for the tests of the message parsers and the cache. A message lives until the next
 * one is made.
 */
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/model/value.h"

/* What a link's message says. Zero: not said, but where a comment tells otherwise. */
struct link_spec {
	uint32_t ifindex;
	const char *name;
	const char *kind;      /* NULL: netkit */
	bool peer;             /* else the primary */
	bool up;
	uint32_t mtu;          /* 0: 1500 */
	uint32_t group;
	const char *alias;
	uint32_t link;         /* IFLA_LINK; always sent */
	bool other_netns;      /* IFLA_LINK_NETNSID is sent */
	int32_t link_nsid;
	bool peer_drops;       /* IFLA_NETKIT_PEER_POLICY */
	bool moved;            /* IFLA_NEW_NETNSID is sent */
	int32_t new_nsid;
};

const struct nlmsghdr *link_message(uint16_t type, const struct link_spec *s);
/* proto 0 is a foreign one's. */
const struct nlmsghdr *addr_message(uint16_t type, uint32_t ifindex, const char *prefix, uint8_t proto);
/* via and src may be NULL. ifindex 0: a blackhole. */
const struct nlmsghdr *route_message(uint16_t type, uint16_t flags, uint32_t ifindex, const char *to, const char *via,
				     const char *src, uint8_t proto);
const struct nlmsghdr *nsid_message(uint16_t type, int32_t nsid);

struct nk_prefix prefix(const char *text);
struct nk_ip ip(const char *text);
