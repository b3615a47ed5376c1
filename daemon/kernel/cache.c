// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cache as cache.h promises it: what is fed goes to cache_link.c and cache_list.c, what the executor found is kept beside it, and
 * a snapshot is told apart from what was known before. It makes no system call.
 */
#include "daemon/kernel/cache.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/cache_table.h"
#include "daemon/kernel/netns_scan.h"

struct nk_cache *nk_cache_new(uint32_t group, const struct nk_cache_handlers *h)
{
	struct nk_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->group = group;
	c->handlers = *h;
	if (nk_map_init(&c->links) < 0 || nk_map_init(&c->namespaces) < 0 || nk_map_init(&c->owners) < 0 ||
	    nk_map_init(&c->others) < 0 || nk_map_init(&c->interfaces) < 0 || nk_map_init(&c->link_names) < 0 ||
	    nk_map_init(&c->other_names) < 0)
		return nk_cache_free(c);
	return c;
}

struct nk_cache *nk_cache_free(struct nk_cache *c)
{
	if (!c)
		return NULL;
	/* Nobody wants to hear of the end. */
	c->handlers = (struct nk_cache_handlers){ 0 };
	c->round++;
	while (c->interface_list)
		nk_cache_unwant_interface(c, c->interface_list->o.owner);
	if (c->other_names.slots)
		nk_cache_sweep(c);
	nk_map_clear(&c->links);
	nk_map_clear(&c->namespaces);
	nk_map_clear(&c->owners);
	nk_map_clear(&c->others);
	nk_map_clear(&c->interfaces);
	nk_map_clear(&c->link_names);
	nk_map_clear(&c->other_names);
	free(c);
	return NULL;
}

struct dev *nk_cache_find(const struct nk_cache *c, const char *owner)
{
	struct nk_map_node *n;

	for (n = nk_map_first(&c->owners, nk_hash_text(NK_HASH_SEED, owner)); n; n = nk_map_next(n))
		if (!strcmp(nk_map_entry(n, struct dev, node)->o.owner, owner))
			return nk_map_entry(n, struct dev, node);
	return NULL;
}

void nk_cache_tell(struct nk_cache *c, const char *owner)
{
	char name[NK_IFNAMSIZ];

	if (c->in_snapshot || !c->handlers.changed)
		return;
	/* The device may go while the name is in use. */
	memcpy(name, owner, sizeof(name));
	c->handlers.changed(name, c->handlers.arg);
}

void nk_cache_judge_place(struct nk_cache *c, struct dev *dev)
{
	bool in_place = !dev->moved;

	if (dev->o.single)
		in_place = true;
	else if (dev->placed)
		in_place = dev->place != NK_NSID_NONE && dev->peer_nsid == dev->place;
	c->n_displaced += (size_t)dev->o.peer_in_place - (size_t)in_place;
	dev->o.peer_in_place = in_place;
}

static int feed_nsid(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid)
{
	int32_t gone;
	int r;

	/* Other namespaces number each other too; only the host's numbers are used here. */
	if (h->nlmsg_type != RTM_DELNSID || nsid != NK_NSID_HOST)
		return 0;
	r = nk_netns_read_nsid(h, &gone);
	if (r < 0)
		return r;
	/* While it is still known whose peers are there. */
	if (c->handlers.netns_gone)
		c->handlers.netns_gone(gone, c->handlers.arg);
	nk_cache_drop_namespace(c, gone);
	return 0;
}

static int feed(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid)
{
	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return nk_cache_feed_link(c, h, nsid);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return nk_cache_feed_addr(c, h, nsid);
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return nk_cache_feed_route(c, h, nsid);
	case RTM_NEWNSID:
	case RTM_DELNSID:
		return feed_nsid(c, h, nsid);
	default:
		return 0;
	}
}

int nk_cache_feed(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid)
{
	int r = feed(c, h, nsid);

	if (r == -ENOMSG)
		return 0;
	if (r == -EBADMSG)
		c->n_bad++;
	return r;
}

int nk_cache_feed_inspected(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid, uint64_t as_of)
{
	int r = nk_cache_feed_inspected_link(c, h, nsid, as_of);

	if (r == -EBADMSG)
		c->n_bad++;
	return r;
}

/* ---- snapshots ---- */

static uint64_t mix(uint32_t low, uint32_t high)
{
	return (uint64_t)high << 32 | low;
}

/* Two different hashes of one thing: enough that two states of a device don't look alike. */
static uint64_t digest_bytes(const void *data, size_t size)
{
	return mix(nk_hash_bytes(NK_HASH_SEED, data, size), nk_hash_bytes(~NK_HASH_SEED, data, size));
}

static uint64_t digest_route(const struct nk_obs_route *route)
{
	const struct nk_route *r = &route->r;
	const bool flags[] = { r->onlink, route->ours };

	/* One by one: what lies between the members is anything. */
	return digest_bytes(&r->to, sizeof(r->to)) + 3 * digest_bytes(&r->via, sizeof(r->via)) +
	       5 * digest_bytes(&r->src, sizeof(r->src)) + 7 * digest_bytes(&r->metric, sizeof(r->metric)) +
	       9 * digest_bytes(flags, sizeof(flags));
}

/*
 * A number that stands for all that is known of a device but its chains, whatever the order of its lists. It spares keeping the
 * former state through a snapshot.
 */
static uint64_t digest(const struct nk_obs_device *o)
{
	struct nk_obs_device plain;
	uint64_t sum;

	memcpy(&plain, o, sizeof(plain));
	plain.chains_known = false;
	memset(plain.chain, 0, sizeof(plain.chain));
	for (size_t i = 0; i < NK_ENDS; i++) {
		plain.end[i].addrs = NULL;
		plain.end[i].routes = NULL;
	}
	sum = digest_bytes(&plain, sizeof(plain));
	for (size_t i = 0; i < NK_ENDS; i++) {
		const struct nk_obs_end *e = &o->end[i];

		/* A sum takes any order; that an address must not count as a route, or at the other end, the factors see to. */
		for (uint32_t j = 0; j < e->n_addrs; j++)
			sum += (2 * i + 3) * digest_bytes(&e->addrs[j], sizeof(e->addrs[j]));
		for (uint32_t j = 0; j < e->n_routes; j++)
			sum += (2 * i + 7) * digest_route(&e->routes[j]);
	}
	return sum ? sum : 1;
}

/* Its chains are not known any more. */
static void touch(struct nk_cache *c, struct dev *dev)
{
	dev->touched = ++c->touches;
	dev->hooks_known = 0;
	dev->o.chains_known = false;
	nk_cache_tell(c, dev->o.owner);
}

void nk_cache_begin_snapshot(struct nk_cache *c)
{
	c->in_snapshot = true;
	c->round++;
	memset(c->route_filter, 0, sizeof(c->route_filter));
	for (struct dev *dev = c->devs; dev; dev = dev->next)
		dev->digest = digest(&dev->o);
	/* The snapshot reads chains of devices; those of interfaces are inspected, one by one. */
	for (struct dev *dev = c->interface_list; dev; dev = dev->next) {
		dev->digest = digest(&dev->o);
		touch(c, dev);
	}
}

static void tell_changed(struct nk_cache *c, struct dev *list)
{
	for (struct dev *dev = list; dev; dev = dev->next) {
		if (digest(&dev->o) != dev->digest)
			nk_cache_tell(c, dev->o.owner);
		dev->digest = 0;
	}
}

void nk_cache_end_snapshot(struct nk_cache *c)
{
	c->in_snapshot = false;
	nk_cache_sweep(c);
	tell_changed(c, c->devs);
	tell_changed(c, c->interface_list);
}

/* ---- what the executor found ---- */

/* The device whose primary has this number, or the interface. */
static struct dev *find_chained(const struct nk_cache *c, uint32_t ifindex)
{
	const struct link *link = nk_cache_link(c, NK_NSID_HOST, ifindex);

	return link && link->primary && link->dev ? link->dev : nk_cache_interface_at(c, ifindex);
}

/* Bits for the hooks that it has. A single device has no hook of a peer. */
static uint8_t hooks_of(const struct nk_obs_device *o)
{
	uint8_t hooks = 0;

	for (int hook = 0; hook < NK_HOOKS; hook++)
		if (nk_hook_fits((enum nk_hook)hook, o->interface) && !(o->single && hook == NK_HOOK_NETKIT_PEER))
			hooks |= (uint8_t)(1u << hook);
	return hooks;
}

uint64_t nk_cache_touches(const struct nk_cache *c)
{
	return c->touches;
}

void nk_cache_set_chain(struct nk_cache *c, uint64_t as_of, uint32_t ifindex, enum nk_hook hook, struct nk_obs_chain *chain)
{
	struct dev *dev = find_chained(c, ifindex);

	if (dev && nk_hook_fits(hook, dev->o.interface)) {
		struct nk_obs_chain *known = &dev->o.chain[hook];

		free(known->links);
		*known = *chain;
		if (dev->touched <= as_of)
			dev->hooks_known |= (uint8_t)(1u << hook);
		dev->o.chains_known = (dev->hooks_known & hooks_of(&dev->o)) == hooks_of(&dev->o);
	} else {
		free(chain->links);
	}
	*chain = (struct nk_obs_chain){ 0 };
}

void nk_cache_chains_touched(struct nk_cache *c, uint32_t ifindex)
{
	struct dev *dev = find_chained(c, ifindex);

	if (dev)
		touch(c, dev);
}

void nk_cache_all_touched(struct nk_cache *c)
{
	for (struct dev *dev = c->devs; dev; dev = dev->next)
		touch(c, dev);
	for (struct dev *dev = c->interface_list; dev; dev = dev->next)
		if (dev->o.end[NK_PRIMARY].ifindex)
			touch(c, dev);
}

static const char *owner_among(const struct dev *list, uint32_t link_id, uint32_t *ret_ifindex)
{
	for (const struct dev *dev = list; dev; dev = dev->next)
		for (size_t hook = 0; hook < NK_HOOKS; hook++) {
			const struct nk_obs_chain *chain = &dev->o.chain[hook];

			for (uint32_t i = 0; i < chain->n; i++)
				if (chain->links[i].link_id == link_id) {
					*ret_ifindex = dev->o.end[NK_PRIMARY].ifindex;
					return dev->o.owner;
				}
		}
	return NULL;
}

const char *nk_cache_link_owner(const struct nk_cache *c, uint32_t link_id, uint32_t *ret_ifindex)
{
	const char *owner;

	if (!link_id) /* a program without a link: many have that */
		return NULL;
	owner = owner_among(c->devs, link_id, ret_ifindex);
	return owner ? owner : owner_among(c->interface_list, link_id, ret_ifindex);
}

void nk_cache_set_place_ino(const struct nk_cache *c, struct dev *dev, uint32_t ino)
{
	uint32_t before = dev->place_ino;

	dev->place_ino = ino;
	if (before == ino || !c->handlers.inhabited)
		return;
	if (ino)
		c->handlers.inhabited(ino, 1, c->handlers.arg);
	if (before)
		c->handlers.inhabited(before, -1, c->handlers.arg);
}

void nk_cache_tell_inhabited(const struct nk_cache *c)
{
	for (const struct dev *dev = c->devs; dev; dev = dev->next)
		if (dev->place_ino)
			c->handlers.inhabited(dev->place_ino, 1, c->handlers.arg);
}

void nk_cache_set_place(struct nk_cache *c, const char *owner, int32_t nsid, uint32_t ino)
{
	struct dev *dev = nk_cache_find(c, owner);

	if (!dev)
		return;
	dev->placed = true;
	dev->place = nsid;
	nk_cache_set_place_ino(c, dev, ino);
	nk_cache_judge_place(c, dev);
}

/* ---- to look at ---- */

const struct nk_obs_device *nk_cache_get(const struct nk_cache *c, const char *owner)
{
	const struct dev *dev = nk_cache_find(c, owner);

	if (dev)
		return &dev->o;
	dev = nk_cache_find_interface(c, owner);
	return dev && dev->o.end[NK_PRIMARY].ifindex ? &dev->o : NULL;
}

int32_t nk_cache_peer_nsid(const struct nk_cache *c, const char *owner)
{
	const struct dev *dev = nk_cache_find(c, owner);

	return dev ? dev->peer_nsid : NK_NSID_NONE;
}

uint32_t nk_cache_place_ino(const struct nk_cache *c, const char *owner, int32_t nsid)
{
	const struct dev *dev = nk_cache_find(c, owner);

	return dev && dev->placed && dev->place == nsid ? dev->place_ino : 0;
}

static bool is_end(const struct nk_obs_end *e, uint32_t ifindex, const char *name)
{
	return ifindex ? e->ifindex == ifindex : !strcmp(e->name, name);
}

const struct nk_obs_device *nk_cache_find_end(const struct nk_cache *c, uint32_t ino, uint32_t ifindex, const char *name)
{
	const struct link *link = !ino && ifindex ? nk_cache_link(c, NK_NSID_HOST, ifindex) : NULL;

	if (!ino && ifindex)
		return link && link->dev ? &link->dev->o : NULL;
	for (const struct dev *dev = c->devs; dev; dev = dev->next) {
		if (ino ? dev->place_ino == ino && dev->peer_nsid == dev->place && is_end(&dev->o.end[NK_PEER], ifindex, name)
			: is_end(&dev->o.end[NK_PRIMARY], ifindex, name))
			return &dev->o;
	}
	return NULL;
}

void nk_cache_each(const struct nk_cache *c, void (*fn)(const struct nk_obs_device *o, int32_t peer_nsid, void *arg), void *arg)
{
	for (const struct dev *dev = c->devs; dev; dev = dev->next)
		fn(&dev->o, dev->peer_nsid, arg);
}

size_t nk_cache_foreign_doomed(const struct nk_cache *c)
{
	return c->n_doomed;
}

uint64_t nk_cache_n_bad(const struct nk_cache *c)
{
	return c->n_bad;
}
