// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The cache's tables, shared by cache.c (what others call), cache_link.c (links: following, joining, leaving), cache_list.c
 * (addresses and routes) and cache_interface.c (links that aren't ours). Nobody else's.
 *
 * Known are two sorts of links. A netkit end, in whatever namespace, is a struct link with its addresses and routes. Any other link
 * of the host's namespace is a struct other, for its name and its group only; whether it is an interface of the document its name
 * tells (cache_interface.c). A followed pair is a struct dev, which holds what is
 * known of both ends; ends of other pairs, and peers whose primary hasn't been heard of yet, hold theirs themselves.
 */
#include "daemon/kernel/cache.h"
#include "daemon/kernel/message.h"
#include "daemon/kernel/netns.h"
#include "daemon/model/map.h"

/* The ends in one namespace, so that they can be dropped when it goes. */
struct ns {
	struct nk_map_node node; /* in nk_cache.namespaces */
	int32_t nsid;
	struct link *first;
};

/* A netkit end. */
struct link {
	struct nk_map_node node; /* in nk_cache.links, by nsid and ifindex */
	struct nk_map_node named; /* in nk_cache.link_names, in the host's namespace and once it has a name */
	struct link *next, **prev; /* in ns */
	struct ns *ns;
	struct dev *dev;        /* the followed pair that it is an end of, or NULL */
	struct nk_obs_end *end; /* within dev, or owned when there is none */
	uint64_t told; /* nk_cache.touches at the last event about it */
	uint32_t ifindex;
	bool primary;
	bool doomed; /* a foreign link in the host's namespace, in the group for deletions */
	uint8_t seen; /* nk_cache.round of the last message about it */
};

/* A followed pair, or an interface. */
struct dev {
	struct nk_obs_device o;
	struct nk_map_node node; /* in nk_cache.owners or interfaces */
	struct dev *next, **prev; /* in nk_cache.devs or interface_list */
	struct link *link[NK_ENDS]; /* the peer's NULL until it is heard of */
	int32_t peer_nsid; /* as the primary said, or as the peer was seen to go */
	int32_t place;     /* where the document wants the peer, if `placed`; NK_NSID_NONE: that namespace is gone */
	uint32_t place_ino; /* the inode number of that namespace; 0: not known, or the host's */
	bool placed;
	uint64_t peer_left; /* nk_cache.touches when an event said last that its peer is not where it was */
	bool moved;     /* the peer left its namespace while it was watched */
	bool searching; /* and the primary hasn't said yet where to */
	bool contested; /* found in a snapshot while another device had its name */
	uint64_t touched;    /* nk_cache.touches when its chains were touched last */
	uint8_t hooks_known; /* a bit for each hook whose chain was read */
	uint64_t digest; /* of o, when the snapshot began; 0: it wasn't there */
};

/* A link of the host's namespace that is no netkit end. */
struct other {
	struct nk_map_node node; /* in nk_cache.others, by ifindex */
	struct nk_map_node named; /* in nk_cache.other_names */
	uint32_t ifindex;
	char name[NK_IFNAMSIZ];
	bool doomed;
	uint8_t seen;
};

/* Routes are replaced without naming the device that loses them; this says "certainly none of ours" for most. Bits. */
#define ROUTE_FILTER_BITS (1u << 18)

struct nk_cache {
	uint32_t group;
	struct nk_cache_handlers handlers;
	struct nk_map links, namespaces, owners, others, interfaces, link_names, other_names;
	struct dev *devs;           /* owned list */
	struct dev *interface_list; /* likewise */
	size_t n_doomed;    /* links and others that are doomed */
	size_t n_displaced; /* devices whose peer is not in place */
	uint64_t n_bad;
	uint64_t touches; /* of chains, and events of links: what is a number later is newer */
	bool in_snapshot;
	uint8_t round; /* of snapshots */
	uint32_t route_filter[ROUTE_FILTER_BITS / 32];
};

/* ---- cache.c ---- */

struct dev *nk_cache_find(const struct nk_cache *c, const char *owner);
/* Tell that a device changed or is gone, unless a snapshot will do so at its end. */
void nk_cache_tell(struct nk_cache *c, const char *owner);
/* Where the document wants its peer; 0: not known, or the host's. */
void nk_cache_set_place_ino(const struct nk_cache *c, struct dev *dev, uint32_t ino);
/* Find out again whether the peer is in place. */
void nk_cache_judge_place(struct nk_cache *c, struct dev *dev);

/* ---- cache_link.c ---- */

struct link *nk_cache_link(const struct nk_cache *c, int32_t nsid, uint32_t ifindex);
/* The first end in a namespace; NULL: none. */
struct link *nk_cache_first_in(const struct nk_cache *c, int32_t nsid);
int nk_cache_feed_link(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid);
/* What an inspection read of a link, whose job was made at as_of touches. */
int nk_cache_feed_inspected_link(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid, uint64_t as_of);
/* A namespace is gone, with all its ends. */
void nk_cache_drop_namespace(struct nk_cache *c, int32_t nsid);
/* Drop what the snapshot didn't show, and settle names that two devices had. */
void nk_cache_sweep(struct nk_cache *c);
void nk_cache_drop_link(struct nk_cache *c, struct link *link);
void nk_cache_drop_other(struct nk_cache *c, struct other *other);

/* The name of a link of the host's namespace that is no end of ours, NULL: there is none of this number. And the number of the one
 * that has this name, 0: none. */
const char *nk_cache_foreign_name(const struct nk_cache *c, uint32_t ifindex);
uint32_t nk_cache_foreign_ifindex(const struct nk_cache *c, const char *name);

/* ---- cache_interface.c ---- */

struct dev *nk_cache_find_interface(const struct nk_cache *c, const char *name);
/* The interface that the link with this number is now, or NULL. */
struct dev *nk_cache_interface_at(const struct nk_cache *c, uint32_t ifindex);
/* A link of the host's namespace that is no end of ours has this name; has it no more, or is no more. */
void nk_cache_interface_named(struct nk_cache *c, uint32_t ifindex, const char *name);
void nk_cache_interface_unnamed(struct nk_cache *c, uint32_t ifindex, const char *name);

/* ---- cache_list.c ---- */

int nk_cache_feed_addr(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid);
int nk_cache_feed_route(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid);
/* Forget an end's addresses and routes, or its routes. */
void nk_cache_forget_lists(struct nk_obs_end *e);
void nk_cache_forget_routes(struct nk_obs_end *e);
