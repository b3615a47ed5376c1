// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What the kernel says of one device or interface, as a plain value. kernel/cache fills it from events and dumps, the executor adds the
 * chains, diff compares it with a desired device, and tests build it by hand. Nothing in here is ever written from our own
 * intentions.
 */
#include "daemon/model/value.h"

/* The number that marks what is ours: route protocol and address protocol (RTA_PROTOCOL, IFA_PROTO). */
#define NK_PROTO 110

struct nk_obs_addr {
	struct nk_prefix p;
	bool ours; /* carries NK_PROTO */
};

struct nk_obs_route {
	struct nk_route r;
	bool ours;
};

/*
 * So many addresses, and so many routes, of one end are kept; twice as many of those that carry our number, so that others can't crowd
 * out what the document may name (NK_ADDRS_MAX, NK_ROUTES_MAX). Who is root in a container can make any number of either, and each event
 * about one is looked up among all. What is beyond is not known.
 */
#define NK_OBS_LIST_MAX 2048

/* One end as the kernel shows it. */
struct nk_obs_end {
	uint32_t ifindex; /* in its own namespace; 0 when there is no such end */
	char name[NK_IFNAMSIZ];
	bool up; /* IFF_UP */
	bool details; /* the members below are known: for a peer they come from its own namespace */
	uint8_t policy, scrub;
	uint8_t mac[6];
	uint32_t mtu, txqlen, gso_max, gro_max, gso_ipv4_max, gro_ipv4_max;
	uint32_t n_addrs, n_routes;
	struct nk_obs_addr *addrs;   /* owned, unordered */
	struct nk_obs_route *routes; /* owned, unordered */
};

/* A program in a chain, in the order in which packets meet it. */
struct nk_obs_link {
	uint32_t link_id; /* 0: attached by descriptor */
	uint32_t prog_id;
	uint8_t tag[8];         /* foreign: the program's, as anchors name it; else zero */
	char name[NK_NAME_MAX]; /* our attachment's name, from its pin; empty: foreign */
};

struct nk_obs_chain {
	uint32_t n;
	uint64_t revision; /* the kernel's count of changes when it was read; 0: not known (of an empty chain it tells a wrong one) */
	struct nk_obs_link *links; /* owned */
};

/* Of an interface only the members owner, single, chains_known, the primary end's ifindex and name, and its chains are set. */
struct nk_obs_device {
	bool interface;          /* a link that isn't ours, of which the document says what is attached */
	char owner[NK_IFNAMSIZ]; /* the device's name as we gave it, from ifalias or the name at creation; the interface's own */
	bool marked;             /* ours: known by our IFLA_GROUP or ifalias, and once known for as long as it lives */
	bool grouped;            /* carries our IFLA_GROUP now; if not, somebody took the mark away: NK_SET_GROUP */
	bool aliased;            /* carries our ifalias */
	bool single;
	uint8_t mode;
	uint16_t headroom, tailroom;
	bool peer_in_place;  /* the peer's namespace is the one that the document names; true while nobody said which that is */
	bool chains_known;   /* the chains, and what else has no event, were read since something last touched them */
	struct nk_obs_end end[NK_ENDS];
	struct nk_obs_chain chain[NK_HOOKS];
};

/* Free what the members own and zero it. Takes a zeroed value. */
void nk_obs_end_clear(struct nk_obs_end *e);
void nk_obs_device_clear(struct nk_obs_device *o);
/* Deep copy into a zeroed or cleared value; 0 or -ENOMEM with `to` cleared. */
int nk_obs_device_copy(struct nk_obs_device *to, const struct nk_obs_device *from);

/*
 * Keep the lists of an end as the kernel tells of them: add replaces an equal address (or route of equal key and gateway),
 * remove forgets one that may be absent. add: 0, also for one beyond NK_OBS_LIST_MAX, or -ENOMEM.
 */
int nk_obs_addr_add(struct nk_obs_end *e, const struct nk_obs_addr *a);
void nk_obs_addr_remove(struct nk_obs_end *e, const struct nk_prefix *p);
int nk_obs_route_add(struct nk_obs_end *e, const struct nk_obs_route *r);
void nk_obs_route_remove(struct nk_obs_end *e, const struct nk_route *r);
/*
 * IPv4 routes go without a notification when their link goes down, when the last IPv4 address of their interface goes, or when the
 * address that is their src goes (the kernel flushes its table silently, fib_sync_down_dev and fib_sync_down_addr). Forget
 * them, so that they are put back. src NULL: all IPv4 routes of the end.
 */
void nk_obs_routes_forget_ipv4(struct nk_obs_end *e, const struct nk_ip *src);
