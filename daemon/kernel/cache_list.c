// SPDX-License-Identifier: GPL-2.0-only
/*
 * Addresses and routes of the ends in the cache. Most messages are about links that are no netkit ends: those cost one look-up.
 *
 * The kernel doesn't tell of every route that goes. Here is what it does in silence, so that the cache forgets in time what has
 * to be put back:
 *  - a link goes down: all its routes, of IPv4 always, of IPv6 where the namespace is set so (cache_link.c)
 *  - an IPv4 address goes: the routes that have it as their source; with the last one all IPv4 routes of the link
 *  - an IPv6 address goes: its routes stay, without their source
 *  - a route is replaced, maybe by one through another link: the old one
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdlib.h>

#include "daemon/kernel/cache_table.h"

void nk_cache_forget_routes(struct nk_obs_end *e)
{
	free(e->routes);
	e->routes = NULL;
	e->n_routes = 0;
}

void nk_cache_forget_lists(struct nk_obs_end *e)
{
	nk_cache_forget_routes(e);
	free(e->addrs);
	e->addrs = NULL;
	e->n_addrs = 0;
}

static void tell_of(struct nk_cache *c, const struct link *link)
{
	if (link->dev)
		nk_cache_tell(c, link->dev->o.owner);
}

static struct nk_obs_addr *find_addr(const struct nk_obs_end *e, const struct nk_prefix *p)
{
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!nk_prefix_cmp(&e->addrs[i].p, p))
			return &e->addrs[i];
	return NULL;
}

/* Does the end have this address still, under another prefix? */
static bool has_ip(const struct nk_obs_end *e, const struct nk_ip *ip)
{
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!nk_ip_cmp(&e->addrs[i].p.ip, ip))
			return true;
	return false;
}

static bool has_ipv4(const struct nk_obs_end *e)
{
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (e->addrs[i].p.ip.len == 4)
			return true;
	return false;
}

/* What the kernel does to the routes when an address has gone. */
static void after_loss(struct nk_obs_end *e, const struct nk_ip *ip)
{
	if (ip->len == 4 && !has_ipv4(e)) {
		nk_obs_routes_forget_ipv4(e, NULL);
	} else if (has_ip(e, ip)) {
		return;
	} else if (ip->len == 4) {
		nk_obs_routes_forget_ipv4(e, ip);
	} else {
		for (uint32_t i = 0; i < e->n_routes; i++)
			if (!nk_ip_cmp(&e->routes[i].r.src, ip))
				e->routes[i].r.src = (struct nk_ip){ 0 };
	}
}

int nk_cache_feed_addr(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid)
{
	struct nk_obs_addr addr, *known;
	uint32_t ifindex;
	struct link *link;
	int r = nk_parse_addr(h, &ifindex, &addr);

	if (r < 0)
		return r;
	link = nk_cache_link(c, nsid, ifindex);
	if (!link)
		return 0;
	known = find_addr(link->end, &addr.p);
	if (h->nlmsg_type == RTM_NEWADDR) {
		/* Told again when its flags or lifetimes change. */
		if (known && known->ours == addr.ours)
			return 0;
		r = nk_obs_addr_add(link->end, &addr);
		if (r < 0)
			return r;
	} else {
		if (!known)
			return 0;
		nk_obs_addr_remove(link->end, &addr.p);
		after_loss(link->end, &addr.p.ip);
	}
	tell_of(c, link);
	return 0;
}

static struct nk_obs_route *find_route(const struct nk_obs_end *e, const struct nk_route *r)
{
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (nk_route_same_key(&e->routes[i].r, r) && !nk_ip_cmp(&e->routes[i].r.via, &r->via))
			return &e->routes[i];
	return NULL;
}

static uint32_t filter_bit(const struct nk_route *r)
{
	uint32_t hash = nk_hash_bytes(NK_HASH_SEED, &r->to, sizeof(r->to));

	return (hash ^ (hash >> 16)) % ROUTE_FILTER_BITS;
}

static void lose_route(struct nk_cache *c, struct link *link, const struct nk_route *r)
{
	struct nk_obs_end *e = link->end;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < e->n_routes; i++)
		if (!nk_route_same_key(&e->routes[i].r, r))
			e->routes[kept++] = e->routes[i];
	if (kept == e->n_routes)
		return;
	e->n_routes = kept;
	tell_of(c, link);
}

/*
 * A route took the place of another one of the same key, through whatever link. Only ends that may have lost something are looked
 * at: a routing daemon that replaces a hundred thousand routes must not cost that many walks.
 */
static void replace_route(struct nk_cache *c, int32_t nsid, uint32_t ifindex, const struct nk_route *r)
{
	uint32_t bit = filter_bit(r);
	struct link *link;

	if (!(c->route_filter[bit / 32] & 1u << bit % 32))
		return;
	for (link = nk_cache_first_in(c, nsid); link; link = link->next)
		if (link->ifindex != ifindex)
			lose_route(c, link, r);
}

/* The end's own part of a replacement: all of that key but an equal one go. */
static bool drop_replaced(struct nk_obs_end *e, const struct nk_route *r)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < e->n_routes; i++)
		if (!nk_route_same_key(&e->routes[i].r, r) || !nk_ip_cmp(&e->routes[i].r.via, &r->via))
			e->routes[kept++] = e->routes[i];
	if (kept == e->n_routes)
		return false;
	e->n_routes = kept;
	return true;
}

static int add_route(struct nk_cache *c, struct link *link, const struct nk_obs_route *route, bool replaces)
{
	const struct nk_obs_route *known;
	bool changed = replaces && drop_replaced(link->end, &route->r);
	uint32_t bit = filter_bit(&route->r);

	known = find_route(link->end, &route->r);
	if (!known || known->ours != route->ours || nk_route_cmp(&known->r, &route->r)) {
		int r = nk_obs_route_add(link->end, route);

		if (r < 0)
			return r;
		c->route_filter[bit / 32] |= 1u << bit % 32;
		changed = true;
	}
	if (changed)
		tell_of(c, link);
	return 0;
}

int nk_cache_feed_route(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid)
{
	bool replaces = h->nlmsg_type == RTM_NEWROUTE && (h->nlmsg_flags & NLM_F_REPLACE);
	struct nk_obs_route route;
	uint32_t ifindex;
	struct link *link;
	int r = nk_parse_route(h, &ifindex, &route);

	if (r < 0)
		return r;
	if (replaces)
		replace_route(c, nsid, ifindex, &route.r);
	link = nk_cache_link(c, nsid, ifindex);
	if (!link)
		return 0;
	if (h->nlmsg_type == RTM_NEWROUTE)
		return add_route(c, link, &route, replaces);
	if (find_route(link->end, &route.r)) {
		nk_obs_route_remove(link->end, &route.r);
		tell_of(c, link);
	}
	return 0;
}
