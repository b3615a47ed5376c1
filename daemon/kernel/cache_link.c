// SPDX-License-Identifier: GPL-2.0-only
/*
 * Links in the cache: which are followed, under whose name, and which peer belongs to which primary. cache.c feeds it.
 *
 * Who is whose: the primary's message names its peer, by ifindex and the number of the namespace as the host sees it. A peer's own
 * message names its primary too, but by a number that only the peer's namespace understands; so it is believed only where
 * the primary agrees, or where the peer was just seen to leave.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/cache_table.h"

static uint32_t hash_number(uint32_t number)
{
	return nk_hash_bytes(NK_HASH_SEED, &number, sizeof(number));
}

static uint32_t hash_link(int32_t nsid, uint32_t ifindex)
{
	return nk_hash_bytes(hash_number((uint32_t)nsid), &ifindex, sizeof(ifindex));
}

struct link *nk_cache_link(const struct nk_cache *c, int32_t nsid, uint32_t ifindex)
{
	for (struct nk_map_node *n = nk_map_first(&c->links, hash_link(nsid, ifindex)); n; n = nk_map_next(n)) {
		struct link *link = nk_map_entry(n, struct link, node);

		if (link->ifindex == ifindex && link->ns->nsid == nsid)
			return link;
	}
	return NULL;
}

static struct ns *find_ns(const struct nk_cache *c, int32_t nsid)
{
	for (struct nk_map_node *n = nk_map_first(&c->namespaces, hash_number((uint32_t)nsid)); n; n = nk_map_next(n))
		if (nk_map_entry(n, struct ns, node)->nsid == nsid)
			return nk_map_entry(n, struct ns, node);
	return NULL;
}

struct link *nk_cache_first_in(const struct nk_cache *c, int32_t nsid)
{
	const struct ns *ns = find_ns(c, nsid);

	return ns ? ns->first : NULL;
}

static struct other *find_other(const struct nk_cache *c, uint32_t ifindex)
{
	for (struct nk_map_node *n = nk_map_first(&c->others, hash_number(ifindex)); n; n = nk_map_next(n))
		if (nk_map_entry(n, struct other, node)->ifindex == ifindex)
			return nk_map_entry(n, struct other, node);
	return NULL;
}

/* A netkit end that isn't ours counts as foreign, too. */
const char *nk_cache_foreign_name(const struct nk_cache *c, uint32_t ifindex)
{
	const struct other *other = find_other(c, ifindex);
	const struct link *link = other ? NULL : nk_cache_link(c, NK_NSID_HOST, ifindex);

	if (other)
		return other->name;
	return link && !link->dev ? link->end->name : NULL;
}

static uint32_t hash_name(const char *name)
{
	return nk_hash_text(NK_HASH_SEED, name);
}

/* The number of the link of the host's namespace that has this name, 0: none. */
static uint32_t find_name(const struct nk_cache *c, const char *name, bool only_foreign)
{
	struct nk_map_node *n;

	for (n = nk_map_first(&c->other_names, hash_name(name)); n; n = nk_map_next(n))
		if (!strcmp(nk_map_entry(n, struct other, named)->name, name))
			return nk_map_entry(n, struct other, named)->ifindex;
	for (n = nk_map_first(&c->link_names, hash_name(name)); n; n = nk_map_next(n)) {
		const struct link *link = nk_map_entry(n, struct link, named);

		if (!(only_foreign && link->dev) && !strcmp(link->end->name, name))
			return link->ifindex;
	}
	return 0;
}

uint32_t nk_cache_foreign_ifindex(const struct nk_cache *c, const char *name)
{
	return find_name(c, name, true);
}

bool nk_cache_name_is_taken(const struct nk_cache *c, const char *name)
{
	return find_name(c, name, false) != 0;
}

static void tell_name_free(struct nk_cache *c, const char *name)
{
	if (name[0] && c->handlers.name_free)
		c->handlers.name_free(name, c->handlers.arg);
}

static void set_doomed(struct nk_cache *c, bool *doomed, bool now)
{
	c->n_doomed += (size_t)now - (size_t)*doomed;
	*doomed = now;
}

/* ---- the tables ---- */

static struct ns *get_ns(struct nk_cache *c, int32_t nsid)
{
	struct ns *ns = find_ns(c, nsid);

	if (ns)
		return ns;
	ns = calloc(1, sizeof(*ns));
	if (ns) {
		ns->nsid = nsid;
		nk_map_insert(&c->namespaces, &ns->node, hash_number((uint32_t)nsid));
	}
	return ns;
}

static struct link *new_link(struct nk_cache *c, int32_t nsid, uint32_t ifindex, bool primary)
{
	struct link *link = calloc(1, sizeof(*link));
	struct nk_obs_end *end = calloc(1, sizeof(*end));
	struct ns *ns = link && end ? get_ns(c, nsid) : NULL;

	if (!ns) {
		free(link);
		free(end);
		return NULL;
	}
	link->end = end;
	link->ifindex = ifindex;
	link->primary = primary;
	link->ns = ns;
	link->next = ns->first;
	link->prev = &ns->first;
	if (link->next)
		link->next->prev = &link->next;
	ns->first = link;
	nk_map_insert(&c->links, &link->node, hash_link(nsid, ifindex));
	return link;
}

/* What is left of a peer that isn't heard of itself: what its primary told, which its next message overwrites. */
static void keep_hearsay(struct nk_obs_end *e)
{
	struct nk_obs_end kept = { .ifindex = e->ifindex, .policy = e->policy, .scrub = e->scrub };

	memset(e, 0, sizeof(*e));
	e->ifindex = kept.ifindex;
	e->policy = kept.policy;
	e->scrub = kept.scrub;
}

/* Take the peer's end from the pair: the link holds its own afterwards. 0 or -ENOMEM. */
static int part(struct link *peer)
{
	struct nk_obs_end *own = calloc(1, sizeof(*own));

	if (!own)
		return -ENOMEM;
	memcpy(own, peer->end, sizeof(*own));
	keep_hearsay(peer->end);
	peer->dev->link[NK_PEER] = NULL;
	peer->dev = NULL;
	peer->end = own;
	return 0;
}

/* Give the link's end to the pair. */
static void join(struct dev *dev, struct link *link, enum nk_end_id id)
{
	struct nk_obs_end *own = link->end;

	nk_obs_end_clear(&dev->o.end[id]);
	memcpy(&dev->o.end[id], own, sizeof(*own));
	free(own);
	link->end = &dev->o.end[id];
	link->dev = dev;
	dev->link[id] = link;
}

static void free_dev(struct nk_cache *c, struct dev *dev)
{
	*dev->prev = dev->next;
	if (dev->next)
		dev->next->prev = dev->prev;
	nk_map_remove(&c->owners, &dev->node);
	c->n_displaced -= !dev->o.peer_in_place;
	nk_cache_set_place_ino(c, dev, 0);
	nk_obs_device_clear(&dev->o);
	free(dev);
}

/* Remove one link from the tables; its pair stays. */
static void drop_one(struct nk_cache *c, struct link *link)
{
	set_doomed(c, &link->doomed, false);
	if (link->ns->nsid == NK_NSID_HOST)
		nk_cache_interface_unnamed(c, link->ifindex, link->end->name);
	if (link->ns->nsid == NK_NSID_HOST && link->end->name[0])
		nk_map_remove(&c->link_names, &link->named);
	nk_map_remove(&c->links, &link->node);
	*link->prev = link->next;
	if (link->next)
		link->next->prev = link->prev;
	if (!link->ns->first) {
		nk_map_remove(&c->namespaces, &link->ns->node);
		free(link->ns);
	}
	nk_cache_forget_lists(link->end);
	if (link->dev) {
		keep_hearsay(link->end);
		link->dev->link[link->primary ? NK_PRIMARY : NK_PEER] = NULL;
	} else {
		free(link->end);
	}
	free(link);
}

void nk_cache_drop_link(struct nk_cache *c, struct link *link)
{
	struct dev *dev = link->primary ? link->dev : NULL;

	/* The ends of a pair live and die together: the peer's own farewell will say nothing new. */
	if (dev && dev->link[NK_PEER])
		drop_one(c, dev->link[NK_PEER]);
	drop_one(c, link);
	if (dev)
		free_dev(c, dev);
}

void nk_cache_drop_other(struct nk_cache *c, struct other *other)
{
	set_doomed(c, &other->doomed, false);
	nk_cache_interface_unnamed(c, other->ifindex, other->name);
	nk_map_remove(&c->others, &other->node);
	nk_map_remove(&c->other_names, &other->named);
	free(other);
}

/* ---- who is ours, and under which name ---- */

static bool is_ours(const struct nk_cache *c, const struct nk_link_info *info)
{
	/* In the group for deletions sits what a deletion that was cut short left there. */
	return nk_group_is_ours(c->group, info->group) ||
	       !strncmp(info->alias, NK_ALIAS_PREFIX, strlen(NK_ALIAS_PREFIX));
}

/* The name that a primary's alias gives it, or its own. */
static const char *owner_of(const struct nk_link_info *info)
{
	const char *alias = info->alias + strlen(NK_ALIAS_PREFIX);

	if (strncmp(info->alias, NK_ALIAS_PREFIX, strlen(NK_ALIAS_PREFIX)) != 0 || nk_ifname_problem(alias))
		return info->end.name;
	return alias;
}

static void name_dev(struct nk_cache *c, struct dev *dev, const char *owner)
{
	memset(dev->o.owner, 0, sizeof(dev->o.owner));
	memcpy(dev->o.owner, owner, strnlen(owner, sizeof(dev->o.owner) - 1));
	nk_map_insert(&c->owners, &dev->node, hash_name(owner));
}

/*
 * Begin to follow a primary. Two that claim one name: the second goes by its own; in a snapshot only its end tells whether the first
 * is still there. 0 with link->dev still NULL when that name is taken too: the device stays as foreign. -ENOMEM.
 */
static int follow(struct nk_cache *c, struct link *link, const struct nk_link_info *info)
{
	const char *owner = owner_of(info);
	bool taken = nk_cache_find(c, owner);
	struct dev *dev;

	if (taken && !c->in_snapshot) {
		owner = info->end.name;
		if (nk_cache_find(c, owner))
			return 0;
	}
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->contested = taken && c->in_snapshot;
	dev->o.marked = true;
	dev->o.peer_in_place = true;
	dev->peer_nsid = NK_NSID_NONE;
	dev->next = c->devs;
	dev->prev = &c->devs;
	if (dev->next)
		dev->next->prev = &dev->next;
	c->devs = dev;
	name_dev(c, dev, owner);
	join(dev, link, NK_PRIMARY);
	return 0;
}

/* After a snapshot: two devices of one name are left. The later one goes by its own, or is nobody's. */
static void settle_name(struct nk_cache *c, struct dev *dev)
{
	const char *own = dev->o.end[NK_PRIMARY].name;
	bool alone = true;

	dev->contested = false;
	for (struct nk_map_node *n = nk_map_first(&c->owners, dev->node.hash); n; n = nk_map_next(n))
		if (n != &dev->node && !strcmp(nk_map_entry(n, struct dev, node)->o.owner, dev->o.owner))
			alone = false;
	if (alone)
		return;
	if (nk_cache_find(c, own)) {
		nk_cache_drop_link(c, dev->link[NK_PRIMARY]);
		return;
	}
	nk_map_remove(&c->owners, &dev->node);
	name_dev(c, dev, own);
}

/* ---- links come and change ---- */

/* Write what a message says of an end over what is known, but for the lists. */
static void fill_end(struct nk_obs_end *e, const struct nk_obs_end *from)
{
	if (e->up && !from->up)
		nk_cache_forget_routes(e);
	e->ifindex = from->ifindex;
	memcpy(e->name, from->name, sizeof(e->name));
	e->up = from->up;
	e->details = true;
	e->policy = from->policy;
	e->scrub = from->scrub;
	memcpy(e->mac, from->mac, sizeof(e->mac));
	e->mtu = from->mtu;
	e->txqlen = from->txqlen;
	e->gso_max = from->gso_max;
	e->gro_max = from->gro_max;
	e->gso_ipv4_max = from->gso_ipv4_max;
	e->gro_ipv4_max = from->gro_ipv4_max;
}

/* Join the pair with the peer that its primary names, if that was heard of. 0 or -ENOMEM. */
static int find_peer(struct nk_cache *c, struct dev *dev, const struct nk_link_info *info)
{
	struct nk_obs_end *e = &dev->o.end[NK_PEER];
	struct link *peer = dev->link[NK_PEER];
	int r;

	if (peer && (peer->ns->nsid != info->peer_nsid || peer->ifindex != info->peer_ifindex)) {
		r = part(peer);
		if (r < 0)
			return r;
	}
	dev->peer_nsid = info->peer_ifindex ? info->peer_nsid : NK_NSID_NONE;
	dev->searching = false;
	if (!dev->link[NK_PEER] && info->peer_ifindex) {
		peer = nk_cache_link(c, info->peer_nsid, info->peer_ifindex);
		/* One that another pair holds is a mistake of the past: its primary hasn't spoken since. */
		r = peer && peer->dev && !peer->primary ? part(peer) : 0;
		if (r < 0)
			return r;
		if (peer && !peer->primary)
			join(dev, peer, NK_PEER);
		else
			nk_obs_end_clear(e);
	}
	e->ifindex = info->peer_ifindex;
	return 0;
}

static int update_dev(struct nk_cache *c, struct dev *dev, const struct nk_link_info *info)
{
	char alias[sizeof(NK_ALIAS_PREFIX) + NK_IFNAMSIZ];
	int r;

	fill_end(&dev->o.end[NK_PRIMARY], &info->end);
	dev->o.grouped = info->group == c->group;
	stpcpy(stpcpy(alias, NK_ALIAS_PREFIX), dev->o.owner);
	dev->o.aliased = !strcmp(info->alias, alias);
	dev->o.single = info->single;
	dev->o.mode = info->mode;
	dev->o.headroom = info->headroom;
	dev->o.tailroom = info->tailroom;
	r = find_peer(c, dev, info);
	if (info->has_peer_policy) {
		dev->o.end[NK_PEER].policy = info->peer_policy;
		dev->o.end[NK_PEER].scrub = info->peer_scrub;
	}
	nk_cache_judge_place(c, dev);
	return r;
}

/* The pair of which nothing but hearsay is known of the peer, whose primary has this number. NULL: none. */
static struct dev *find_lonely(const struct nk_cache *c, uint32_t primary_ifindex)
{
	struct link *primary = nk_cache_link(c, NK_NSID_HOST, primary_ifindex);
	struct dev *dev = primary && primary->primary ? primary->dev : NULL;

	return dev && !dev->link[NK_PEER] ? dev : NULL;
}

static bool expects(const struct dev *dev, int32_t nsid, uint32_t ifindex)
{
	return dev->peer_nsid == nsid && dev->o.end[NK_PEER].ifindex == ifindex;
}

/* A peer's message: whose is it? Joins it where the primary agrees, has lost sight of its peer, or is in the same namespace. */
static void find_primary(struct nk_cache *c, struct link *peer, int32_t nsid, const struct nk_link_info *info)
{
	struct dev *dev = find_lonely(c, info->peer_ifindex);
	bool beside = nsid == NK_NSID_HOST && info->peer_nsid == NK_NSID_HOST;

	if (!dev || (!beside && !dev->searching && !expects(dev, nsid, peer->ifindex)))
		return;
	dev->peer_nsid = nsid;
	dev->searching = false;
	join(dev, peer, NK_PEER);
	nk_cache_judge_place(c, dev);
}

/* The link that a message of a netkit end is about, new if need be. In a snapshot its lists begin anew. */
static struct link *get_link(struct nk_cache *c, const struct nk_link_info *info, int32_t nsid)
{
	struct link *link = nk_cache_link(c, nsid, info->end.ifindex);

	if (link && link->primary != info->primary) { /* a number that was used again */
		nk_cache_drop_link(c, link);
		link = NULL;
	}
	if (!link)
		link = new_link(c, nsid, info->end.ifindex, info->primary);
	else if (c->in_snapshot && link->seen != c->round)
		nk_cache_forget_lists(link->end);
	if (link)
		link->seen = c->round;
	return link;
}

/* A link may have another name than until now. Of the host's namespace the old one is told, if nobody is owed it. */
static void rename_link(struct nk_cache *c, struct link *link, const char *old, const char *new)
{
	if (link->ns->nsid != NK_NSID_HOST || !strcmp(old, new))
		return;
	if (old[0])
		nk_map_remove(&c->link_names, &link->named);
	nk_map_insert(&c->link_names, &link->named, hash_name(new));
	if (!(link->dev && !strcmp(old, link->dev->o.owner)))
		tell_name_free(c, old);
}

/* event: it tells of a change, or of what is now. */
static int feed_end(struct nk_cache *c, const struct nk_link_info *info, int32_t nsid, bool event)
{
	struct link *link = get_link(c, info, nsid);
	struct nk_obs_device before = { 0 };
	char old[NK_IFNAMSIZ];
	struct dev *dev;
	int r = 0;

	if (!link)
		return -ENOMEM;
	if (event)
		link->told = ++c->touches;
	memcpy(old, link->end->name, sizeof(old));
	if (info->primary && !link->dev && is_ours(c, info))
		r = follow(c, link, info);
	else if (!info->primary && !link->dev && info->peer_ifindex)
		find_primary(c, link, nsid, info);
	else if (link->dev)
		memcpy(&before, &link->dev->o, sizeof(before));
	if (r < 0)
		return r;
	dev = link->dev;
	if (dev && link->primary)
		r = update_dev(c, dev, info);
	else
		fill_end(link->end, &info->end);
	if (!link->primary && nsid == NK_NSID_HOST)
		set_doomed(c, &link->doomed, nk_group_collects(c->group, info->group));
	rename_link(c, link, old, info->end.name);
	if (nsid == NK_NSID_HOST && (dev || strcmp(old, info->end.name) != 0))
		nk_cache_interface_unnamed(c, link->ifindex, old);
	if (nsid == NK_NSID_HOST && !dev)
		nk_cache_interface_named(c, link->ifindex, info->end.name);
	if (dev && memcmp(&before, &dev->o, sizeof(before)) != 0)
		nk_cache_tell(c, dev->o.owner);
	return r;
}

static int feed_other(struct nk_cache *c, const struct nk_link_info *info)
{
	struct other *other = find_other(c, info->end.ifindex);

	if (!other) {
		other = calloc(1, sizeof(*other));
		if (!other)
			return -ENOMEM;
		other->ifindex = info->end.ifindex;
		nk_map_insert(&c->others, &other->node, hash_number(other->ifindex));
	}
	if (strcmp(other->name, info->end.name) != 0) {
		tell_name_free(c, other->name);
		nk_cache_interface_unnamed(c, other->ifindex, other->name);
		if (other->name[0])
			nk_map_remove(&c->other_names, &other->named);
		memcpy(other->name, info->end.name, sizeof(other->name));
		nk_map_insert(&c->other_names, &other->named, hash_name(other->name));
	}
	nk_cache_interface_named(c, other->ifindex, other->name);
	set_doomed(c, &other->doomed, nk_group_collects(c->group, info->group));
	other->seen = c->round;
	return 0;
}

/* ---- links go ---- */

/* The peer left namespace nsid; the pair lives on, and its primary says nothing. */
static void peer_moved(struct nk_cache *c, struct dev *dev, int32_t nsid, const struct nk_link_info *info)
{
	/* The number of the new namespace is one of the old namespace's numbers: it means something where that is the host's. */
	dev->peer_nsid = nsid == NK_NSID_HOST && info->new_nsid >= 0 ? info->new_nsid : NK_NSID_NONE;
	dev->moved = true;
	dev->searching = true;
	nk_cache_judge_place(c, dev);
	nk_cache_tell(c, dev->o.owner);
}

static int feed_gone(struct nk_cache *c, const struct nk_link_info *info, int32_t nsid)
{
	struct link *link = nk_cache_link(c, nsid, info->end.ifindex);
	struct other *other = !link && nsid == NK_NSID_HOST ? find_other(c, info->end.ifindex) : NULL;
	struct dev *dev = link ? link->dev : info->netkit && !info->primary ? find_lonely(c, info->peer_ifindex) : NULL;
	char owner[NK_IFNAMSIZ] = "";
	int r = 0;

	if (other)
		nk_cache_drop_other(c, other);
	if (dev)
		dev->peer_left = ++c->touches;
	if (link && dev && link->primary) {
		memcpy(owner, dev->o.owner, sizeof(owner));
		/* Only a pair that is deleted takes its peer along. */
		if (info->has_new_nsid && dev->link[NK_PEER])
			r = part(dev->link[NK_PEER]);
		nk_cache_drop_link(c, link);
		nk_cache_tell(c, owner);
	} else {
		/* A peer of ours that is deleted: the primary's farewell follows, and that is told. */
		if (link)
			nk_cache_drop_link(c, link);
		if (dev && info->has_new_nsid && expects(dev, nsid, info->end.ifindex))
			peer_moved(c, dev, nsid, info);
	}
	if (nsid == NK_NSID_HOST && strcmp(info->end.name, owner) != 0)
		tell_name_free(c, info->end.name);
	return r;
}

int nk_cache_feed_link(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid)
{
	struct nk_link_info info;
	int r = nk_parse_link(h, &info);

	if (r < 0)
		return r;
	if (h->nlmsg_type == RTM_DELLINK)
		return feed_gone(c, &info, nsid);
	if (!info.netkit)
		return nsid == NK_NSID_HOST ? feed_other(c, &info) : 0;
	/* A pair that is a container's own is none of our business; its peer may be, and waits. */
	if (info.primary && nsid != NK_NSID_HOST)
		return 0;
	return feed_end(c, &info, nsid, true);
}

int nk_cache_feed_inspected_link(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid, uint64_t as_of)
{
	const struct link *link;
	const struct dev *dev;
	struct nk_link_info info;
	bool older;
	int r = nk_parse_link(h, &info);

	if (r < 0)
		return r;
	link = nk_cache_link(c, nsid, info.end.ifindex);
	/* A peer whose own events nobody heard is known by its primary only. */
	dev = !link && !info.primary ? find_lonely(c, info.peer_ifindex) : NULL;
	if (link)
		older = link->primary != info.primary || link->told > as_of;
	else
		older = !dev || !expects(dev, nsid, info.end.ifindex) || dev->peer_left > as_of;
	return older || !info.netkit ? 0 : feed_end(c, &info, nsid, false);
}

void nk_cache_drop_namespace(struct nk_cache *c, int32_t nsid)
{
	struct ns *ns = find_ns(c, nsid);

	/* The namespace goes with its last link. */
	for (struct link *link = ns ? ns->first : NULL, *next; link; link = next) {
		struct dev *dev = link->dev;

		next = link->next;
		nk_cache_drop_link(c, link);
		if (dev)
			dev->peer_nsid = NK_NSID_NONE;
	}
	if (!c->n_displaced)
		return;
	/* The number will be given to another namespace. */
	for (struct dev *dev = c->devs; dev; dev = dev->next)
		if (dev->placed && dev->place == nsid)
			dev->place = NK_NSID_NONE;
}

static void sweep_others(struct nk_cache *c)
{
	struct nk_map_node *n, *next;

	for (size_t i = 0; i < c->others.n_slots; i++)
		for (n = c->others.slots[i]; n; n = next) {
			struct other *other = nk_map_entry(n, struct other, node);

			next = n->next;
			if (other->seen == c->round)
				continue;
			tell_name_free(c, other->name);
			nk_cache_drop_other(c, other);
		}
}

/* Ends whose pair stays: peers, and what was never ours. */
static void sweep_links(struct nk_cache *c)
{
	struct nk_map_node *n, *next;

	for (size_t i = 0; i < c->links.n_slots; i++)
		for (n = c->links.slots[i]; n; n = next) {
			struct link *link = nk_map_entry(n, struct link, node);

			next = n->next;
			if (link->seen != c->round)
				drop_one(c, link);
		}
}

void nk_cache_sweep(struct nk_cache *c)
{
	struct dev *dev, *next;

	for (dev = c->devs; dev; dev = next) {
		char owner[NK_IFNAMSIZ];

		next = dev->next;
		if (dev->link[NK_PRIMARY]->seen == c->round)
			continue;
		memcpy(owner, dev->o.owner, sizeof(owner));
		nk_cache_drop_link(c, dev->link[NK_PRIMARY]);
		nk_cache_tell(c, owner);
	}
	sweep_links(c);
	sweep_others(c);
	for (dev = c->devs; dev; dev = next) {
		next = dev->next;
		if (dev->contested)
			settle_name(c, dev);
	}
}
