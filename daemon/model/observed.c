// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life and the lists of observed devices. The cache and the tests call it; it compares nothing with what is desired, that is
 * diff's.
 */
#include "daemon/model/observed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void nk_obs_end_clear(struct nk_obs_end *e)
{
	free(e->addrs);
	free(e->routes);
	memset(e, 0, sizeof(*e));
}

void nk_obs_device_clear(struct nk_obs_device *o)
{
	for (size_t i = 0; i < NK_ENDS; i++)
		nk_obs_end_clear(&o->end[i]);
	for (size_t i = 0; i < NK_HOOKS; i++)
		free(o->chain[i].links);
	memset(o, 0, sizeof(*o));
}

/* A copy of n elements, NULL for none. False without memory. */
static bool copy_list(void *ret, const void *from, uint32_t n, size_t size)
{
	void *copy = NULL;

	if (n) {
		copy = malloc(n * size);
		if (!copy)
			return false;
		memcpy(copy, from, n * size);
	}
	memcpy(ret, &copy, sizeof(copy));
	return true;
}

int nk_obs_device_copy(struct nk_obs_device *to, const struct nk_obs_device *from)
{
	bool ok = true;

	*to = *from;
	for (size_t i = 0; i < NK_ENDS; i++) {
		to->end[i].addrs = NULL;
		to->end[i].routes = NULL;
	}
	for (size_t i = 0; i < NK_HOOKS; i++)
		to->chain[i].links = NULL;

	for (size_t i = 0; i < NK_ENDS; i++) {
		const struct nk_obs_end *e = &from->end[i];

		ok = ok && copy_list(&to->end[i].addrs, e->addrs, e->n_addrs, sizeof(*e->addrs));
		ok = ok && copy_list(&to->end[i].routes, e->routes, e->n_routes, sizeof(*e->routes));
	}
	for (size_t i = 0; i < NK_HOOKS; i++)
		ok = ok && copy_list(&to->chain[i].links, from->chain[i].links, from->chain[i].n, sizeof(*from->chain[i].links));
	if (ok)
		return 0;
	nk_obs_device_clear(to);
	return -ENOMEM;
}

static bool is_full(uint32_t n, bool ours)
{
	return n >= (ours ? 2u : 1u) * NK_OBS_LIST_MAX;
}

int nk_obs_addr_add(struct nk_obs_end *e, const struct nk_obs_addr *a)
{
	struct nk_obs_addr *addrs;

	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!nk_prefix_cmp(&e->addrs[i].p, &a->p)) {
			e->addrs[i] = *a;
			return 0;
		}
	if (is_full(e->n_addrs, a->ours))
		return 0;
	/* By one: lists are short, and ten thousand devices keep theirs for long. */
	addrs = reallocarray(e->addrs, e->n_addrs + 1, sizeof(*addrs));
	if (!addrs)
		return -ENOMEM;
	e->addrs = addrs;
	e->addrs[e->n_addrs++] = *a;
	return 0;
}

void nk_obs_addr_remove(struct nk_obs_end *e, const struct nk_prefix *p)
{
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!nk_prefix_cmp(&e->addrs[i].p, p)) {
			e->addrs[i] = e->addrs[--e->n_addrs];
			return;
		}
}

static bool same_route(const struct nk_route *a, const struct nk_route *b)
{
	return nk_route_same_key(a, b) && !nk_ip_cmp(&a->via, &b->via);
}

int nk_obs_route_add(struct nk_obs_end *e, const struct nk_obs_route *r)
{
	struct nk_obs_route *routes;

	for (uint32_t i = 0; i < e->n_routes; i++)
		if (same_route(&e->routes[i].r, &r->r)) {
			e->routes[i] = *r;
			return 0;
		}
	if (is_full(e->n_routes, r->ours))
		return 0;
	routes = reallocarray(e->routes, e->n_routes + 1, sizeof(*routes));
	if (!routes)
		return -ENOMEM;
	e->routes = routes;
	e->routes[e->n_routes++] = *r;
	return 0;
}

void nk_obs_route_remove(struct nk_obs_end *e, const struct nk_route *r)
{
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (same_route(&e->routes[i].r, r)) {
			e->routes[i] = e->routes[--e->n_routes];
			return;
		}
}

void nk_obs_routes_forget_ipv4(struct nk_obs_end *e, const struct nk_ip *src)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < e->n_routes; i++) {
		const struct nk_route *r = &e->routes[i].r;

		if (r->to.ip.len != 4 || (src && nk_ip_cmp(&r->src, src)))
			e->routes[kept++] = e->routes[i];
	}
	e->n_routes = kept;
}
