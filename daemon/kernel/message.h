// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Values to rtnetlink messages and back: the only place that knows netkit's, the links', the addresses' and the routes' attributes.
 * Builders return a new nl_msg (NULL without memory) that the caller frees after nk_batch_add; they decide nothing.
 * The netkit attribute numbers are our own constants here (6.12's uapi lacks HEADROOM 8, TAILROOM 9, PAIRING 10).
 */
#include <linux/netlink.h>

#include "daemon/model/plan.h"

struct nl_msg;

/*
 * The interface groups base … base + NK_GROUPS - 1 are ours: base marks devices, each of the others may collect a deletion, drawn
 * anew for each. A fixed one would take along what a stranger had put there while it was down, of which the kernel tells nobody.
 */
#define NK_GROUPS 65536u
static inline bool nk_group_is_ours(uint32_t base, uint32_t group)
{
	return group - base < NK_GROUPS;
}

static inline bool nk_group_collects(uint32_t base, uint32_t group)
{
	return nk_group_is_ours(base, group) && group != base;
}

#define NK_ALIAS_PREFIX "netkitd:" /* ifalias of a primary: "netkitd:<device>" */

/* RTM_NEWLINK, create, exclusive, echoed: both ends, the primary down and in `group`, the peer up, into netns_fd (-1: the host's). */
struct nl_msg *nk_msg_create(const struct nk_device *d, uint32_t group, int netns_fd);
/* RTM_NEWLINK on an existing link: the settings named by `what` (NK_SET_…) of one end, taken from d. The alias needs the
 * primary. With up: IFF_UP is set in the same request. */
struct nl_msg *nk_msg_set(const struct nk_device *d, enum nk_end_id end, uint32_t ifindex, uint32_t what, uint32_t group, bool up);
struct nl_msg *nk_msg_down(uint32_t ifindex);
struct nl_msg *nk_msg_regroup(uint32_t ifindex, uint32_t group);
struct nl_msg *nk_msg_delete(uint32_t ifindex);
struct nl_msg *nk_msg_delete_group(uint32_t group);
/* IPv6 addresses are added nodad: both ends are ours. Both carry NK_PROTO (IFA_PROTO, RTA_PROTOCOL). */
struct nl_msg *nk_msg_addr(bool add, uint32_t ifindex, const struct nk_prefix *p);
struct nl_msg *nk_msg_route(bool add, uint32_t ifindex, const struct nk_route *r);
/* Dumps and gets for the snapshot: links, all (the host's: the cache also learns names and groups of links that aren't
 * ours) or of kind netkit only (the peers' namespaces); one link; addresses (ifindex 0: all); main-table routes of a
 * family (ifindex 0: all). */
struct nl_msg *nk_msg_dump_links(bool netkit_only);
struct nl_msg *nk_msg_get_link(uint32_t ifindex);
/* The link of another namespace, by its nsid (NK_NSID_HOST: of the socket's own). */
struct nl_msg *nk_msg_get_link_of(int32_t nsid, uint32_t ifindex);
struct nl_msg *nk_msg_find_link(const char *name);
struct nl_msg *nk_msg_dump_addrs(uint32_t ifindex);
struct nl_msg *nk_msg_dump_routes(uint8_t family, uint32_t ifindex);

/* A link as a message shows it. Strings are copied. */
struct nk_link_info {
	struct nk_obs_end end; /* no addresses, no routes */
	bool netkit, primary, single;
	uint8_t mode;
	bool has_peer_policy;
	uint8_t peer_policy, peer_scrub;
	uint16_t headroom, tailroom;
	uint32_t group;
	uint32_t peer_ifindex;   /* IFLA_LINK, 0 if none */
	int32_t peer_nsid;       /* IFLA_LINK_NETNSID; NK_NSID_HOST: the same namespace; NK_NSID_NONE: one without an id (it is dying) */
	char alias[64];          /* first bytes of ifalias */
	bool has_new_nsid;       /* RTM_DELLINK because it moved */
	int32_t new_nsid;
};

/*
 * 0; -ENOMSG for a message that is not of that kind or not of interest (other tables, the kernel's fe80::/64); -EBADMSG malformed. A
 * route that leads to no single link (a blackhole, multipath) has ifindex 0: it may have replaced one that did.
 */
int nk_parse_link(const struct nlmsghdr *h, struct nk_link_info *ret);
int nk_parse_addr(const struct nlmsghdr *h, uint32_t *ret_ifindex, struct nk_obs_addr *ret);
int nk_parse_route(const struct nlmsghdr *h, uint32_t *ret_ifindex, struct nk_obs_route *ret);

/*
 * Where in a request of ours an extended ACK points: the path of the attribute at that offset ("linkinfo/data/policy"), for a person.
 * Returns buf, or NULL when the offset meets no attribute.
 */
char *nk_msg_attr_path(const struct nlmsghdr *request, uint32_t offset, char *buf, size_t size);
