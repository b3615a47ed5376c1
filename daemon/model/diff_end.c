// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ends of a pair: which settings differ, and the addresses and routes to add and to remove. Called by diff.c. It counts with what the
 * kernel flushes by itself: a primary that goes down loses its routes and its IPv6 addresses, an end whose last IPv4
 * address goes loses its IPv4 routes, an IPv6 route loses a source that is removed.
 *
 * Observed lists come in any order and are looked up through sorted arrays of pointers; desired ones are sorted already.
 */
#include "daemon/model/diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FEW 16 /* lists up to this length are sorted without allocating */

/* What is at an end when the operations of its lists begin. */
struct have {
	const struct nk_end *want;
	size_t n_addrs, n_routes;
	const struct nk_obs_addr **addrs;   /* sorted by nk_prefix_cmp */
	const struct nk_obs_route **routes; /* sorted by nk_route_cmp */
	const struct nk_obs_addr *few_addrs[FEW];
	const struct nk_obs_route *few_routes[FEW];
	bool flushes_ipv4; /* removing addresses takes the last IPv4 one */
	bool contested;    /* a foreign object stands in the way of some address or route */
};

uint32_t nk_diff_settings(const struct nk_end *want, const struct nk_obs_end *have)
{
	uint32_t what = 0;

	if (strcmp(want->name, have->name))
		what |= NK_SET_NAME;
	if (want->mtu != have->mtu)
		what |= want->set & NK_SET_MTU;
	if (want->txqlen != have->txqlen)
		what |= want->set & NK_SET_TXQLEN;
	if (want->gso_max != have->gso_max)
		what |= want->set & NK_SET_GSO_MAX;
	if (want->gro_max != have->gro_max)
		what |= want->set & NK_SET_GRO_MAX;
	if (want->gso_ipv4_max != have->gso_ipv4_max)
		what |= want->set & NK_SET_GSO_IPV4_MAX;
	if (want->gro_ipv4_max != have->gro_ipv4_max)
		what |= want->set & NK_SET_GRO_IPV4_MAX;

	/* The kernel makes the IPv4 maximum follow the general one up to 64 KiB, so it has to be set again after it. */
	if (what & NK_SET_GSO_MAX)
		what |= want->set & NK_SET_GSO_IPV4_MAX;
	if (what & NK_SET_GRO_MAX)
		what |= want->set & NK_SET_GRO_IPV4_MAX;
	return what;
}

static int compare_addrs(const void *a, const void *b)
{
	const struct nk_obs_addr *const *x = a, *const *y = b;

	return nk_prefix_cmp(&(*x)->p, &(*y)->p);
}

static int compare_routes(const void *a, const void *b)
{
	const struct nk_obs_route *const *x = a, *const *y = b;

	return nk_route_cmp(&(*x)->r, &(*y)->r);
}

static int compare_wanted_addr(const void *key, const void *element)
{
	return nk_prefix_cmp(key, element);
}

static int compare_wanted_route(const void *key, const void *element)
{
	return nk_route_cmp(key, element);
}

static bool wants_addr(const struct nk_end *want, const struct nk_prefix *p)
{
	return want->n_addrs && bsearch(p, want->addrs, want->n_addrs, sizeof(*p), compare_wanted_addr);
}

static bool wants_route(const struct nk_end *want, const struct nk_route *r)
{
	return want->n_routes && bsearch(r, want->routes, want->n_routes, sizeof(*r), compare_wanted_route);
}

static bool wants_ip(const struct nk_end *want, const struct nk_ip *ip)
{
	for (uint32_t i = 0; i < want->n_addrs; i++)
		if (!nk_ip_cmp(&want->addrs[i].ip, ip))
			return true;
	return false;
}

/* Index of the first address not before p; n_addrs if there is none. */
static size_t first_addr(const struct have *h, const struct nk_prefix *p)
{
	size_t low = 0, high = h->n_addrs;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (nk_prefix_cmp(&h->addrs[middle]->p, p) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static size_t first_route(const struct have *h, const struct nk_route *r)
{
	size_t low = 0, high = h->n_routes;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (nk_route_cmp(&h->routes[middle]->r, r) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* An address of ours that has to go. */
static bool addr_goes(const struct have *h, const struct nk_obs_addr *a)
{
	return a->ours && !wants_addr(h->want, &a->p);
}

/* It has to go before the wanted one can come: IPv6 takes an address once, whatever its prefix length. */
static bool addr_goes_first(const struct have *h, const struct nk_obs_addr *a)
{
	return addr_goes(h, a) && a->p.ip.len == 16 && wants_ip(h->want, &a->p.ip);
}

static bool addr_missing(const struct have *h, const struct nk_prefix *p)
{
	size_t i = first_addr(h, p);

	return i == h->n_addrs || nk_prefix_cmp(&h->addrs[i]->p, p);
}

/* Has a foreign address the place of a missing one? */
static bool addr_contested(const struct have *h, const struct nk_prefix *p)
{
	const struct nk_prefix probe = { .ip = p->ip };

	if (p->ip.len != 16)
		return false;
	for (size_t i = first_addr(h, &probe); i < h->n_addrs && !nk_ip_cmp(&h->addrs[i]->p.ip, &p->ip); i++)
		if (!h->addrs[i]->ours)
			return true;
	return false;
}

/* Will the kernel take the source out of this route, because its address is exchanged for one of another prefix length? */
static bool route_loses_src(const struct have *h, const struct nk_route *r)
{
	const struct nk_prefix probe = { .ip = r->src };

	if (r->src.len != 16)
		return false;
	for (size_t i = first_addr(h, &probe); i < h->n_addrs && !nk_ip_cmp(&h->addrs[i]->p.ip, &r->src); i++)
		if (addr_goes_first(h, h->addrs[i]))
			return true;
	return false;
}

/* A route of ours that has to go, if only to come again. */
static bool route_goes(const struct have *h, const struct nk_obs_route *r)
{
	return r->ours && (!wants_route(h->want, &r->r) || route_loses_src(h, &r->r));
}

static bool route_missing(const struct have *h, const struct nk_route *r)
{
	size_t i = first_route(h, r);

	return i == h->n_routes || nk_route_cmp(&h->routes[i]->r, r) || (r->to.ip.len == 4 && h->flushes_ipv4) ||
	       route_loses_src(h, r);
}

/* Has a foreign route the key of a missing one, and will it still be there? */
static bool key_contested(const struct have *h, const struct nk_route *r)
{
	const struct nk_route probe = { .to = r->to, .metric = r->metric };

	if (r->to.ip.len == 4 && h->flushes_ipv4)
		return false;
	for (size_t i = first_route(h, &probe); i < h->n_routes && nk_route_same_key(&h->routes[i]->r, r); i++)
		if (!h->routes[i]->ours)
			return true;
	return false;
}

/* A gateway may be reachable only through something contested, so such a route waits until the rest is done. */
static bool route_contested(const struct have *h, const struct nk_route *r)
{
	return h->contested && (r->via.len || key_contested(h, r));
}

static bool any_contested(const struct have *h)
{
	for (uint32_t i = 0; i < h->want->n_addrs; i++)
		if (addr_missing(h, &h->want->addrs[i]) && addr_contested(h, &h->want->addrs[i]))
			return true;
	for (uint32_t i = 0; i < h->want->n_routes; i++)
		if (route_missing(h, &h->want->routes[i]) && key_contested(h, &h->want->routes[i]))
			return true;
	return false;
}

static bool flushes_ipv4(const struct have *h)
{
	bool goes = false;

	for (uint32_t i = 0; i < h->want->n_addrs; i++)
		if (h->want->addrs[i].ip.len == 4)
			return false;
	for (size_t i = 0; i < h->n_addrs; i++) {
		if (h->addrs[i]->p.ip.len != 4)
			continue;
		if (!h->addrs[i]->ours)
			return false;
		goes = true;
	}
	return goes;
}

/* 0 or -ENOMEM; drop_have in any case. */
static int take_have(const struct nk_diff *x, enum nk_end_id end, struct have *h)
{
	const struct nk_obs_end *e = &x->o->end[end];
	bool closes = end == NK_PRIMARY && x->closes;

	h->want = &x->d->end[end];
	h->n_addrs = h->n_routes = 0;
	h->addrs = e->n_addrs <= FEW ? h->few_addrs : malloc(e->n_addrs * sizeof(const struct nk_obs_addr *));
	h->routes = e->n_routes <= FEW ? h->few_routes : malloc(e->n_routes * sizeof(const struct nk_obs_route *));
	if (!h->addrs || !h->routes)
		return -ENOMEM;

	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!closes || e->addrs[i].p.ip.len == 4)
			h->addrs[h->n_addrs++] = &e->addrs[i];
	/* No route leads through a link that is down. */
	for (uint32_t i = 0; i < e->n_routes && e->up && !closes; i++)
		h->routes[h->n_routes++] = &e->routes[i];
	if (h->n_addrs > 1)
		qsort(h->addrs, h->n_addrs, sizeof(const struct nk_obs_addr *), compare_addrs);
	if (h->n_routes > 1)
		qsort(h->routes, h->n_routes, sizeof(const struct nk_obs_route *), compare_routes);
	h->flushes_ipv4 = flushes_ipv4(h);
	h->contested = any_contested(h);
	return 0;
}

static void drop_have(struct have *h)
{
	if (h->addrs != h->few_addrs)
		free(h->addrs);
	if (h->routes != h->few_routes)
		free(h->routes);
}

static void emit_addr(struct nk_diff *x, enum nk_op_kind kind, enum nk_phase phase, enum nk_end_id end,
		      const struct nk_prefix *p)
{
	nk_diff_emit(x, (struct nk_op){
		.kind = (uint8_t)kind, .phase = (uint8_t)phase, .end = (uint8_t)end, .addr = *p,
	});
}

static void emit_route(struct nk_diff *x, enum nk_op_kind kind, enum nk_phase phase, enum nk_end_id end,
		       const struct nk_route *r)
{
	nk_diff_emit(x, (struct nk_op){
		.kind = (uint8_t)kind, .phase = (uint8_t)phase, .end = (uint8_t)end, .route = *r,
	});
}

/*
 * New addresses come before old ones go, so that an end never loses its last IPv4 address on the way, and with it all its IPv4
 * routes, foreign ones too.
 */
static void emit_addrs(struct nk_diff *x, enum nk_end_id end, const struct have *h)
{
	for (size_t i = 0; i < h->n_addrs; i++)
		if (addr_goes_first(h, h->addrs[i]))
			emit_addr(x, NK_OP_ADDR_DEL, NK_PHASE_CONFIGURE, end, &h->addrs[i]->p);
	for (uint32_t i = 0; i < h->want->n_addrs; i++)
		if (addr_missing(h, &h->want->addrs[i]) && !addr_contested(h, &h->want->addrs[i]))
			emit_addr(x, NK_OP_ADDR_ADD, NK_PHASE_CONFIGURE, end, &h->want->addrs[i]);
	for (size_t i = 0; i < h->n_addrs; i++)
		if (addr_goes(h, h->addrs[i]) && !addr_goes_first(h, h->addrs[i]))
			emit_addr(x, NK_OP_ADDR_DEL, NK_PHASE_CONFIGURE, end, &h->addrs[i]->p);
}

/* Routes through a gateway come after those without: one of these may be what leads to the gateway. */
static void emit_new_routes(struct nk_diff *x, enum nk_end_id end, enum nk_phase phase, const struct have *h, bool contested)
{
	for (int with_gateway = 0; with_gateway < 2; with_gateway++)
		for (uint32_t i = 0; i < h->want->n_routes; i++) {
			const struct nk_route *r = &h->want->routes[i];

			if ((r->via.len != 0) == with_gateway && route_missing(h, r) && route_contested(h, r) == contested)
				emit_route(x, NK_OP_ROUTE_ADD, phase, end, r);
		}
}

static void emit_contested(struct nk_diff *x, enum nk_end_id end, const struct have *h)
{
	for (uint32_t i = 0; i < h->want->n_addrs; i++)
		if (addr_missing(h, &h->want->addrs[i]) && addr_contested(h, &h->want->addrs[i]))
			emit_addr(x, NK_OP_ADDR_ADD, NK_PHASE_ROUTE, end, &h->want->addrs[i]);
	emit_new_routes(x, end, NK_PHASE_ROUTE, h, true);
}

void nk_diff_emit_lists(struct nk_diff *x, enum nk_end_id end, bool contested)
{
	/* The primary takes routes only while it is up; the peer is up by now. */
	bool routable = end == NK_PEER || x->opens || (x->o->end[end].up && !x->closes);
	struct have h;

	if (take_have(x, end, &h) < 0) {
		x->error = -ENOMEM;
	} else if (contested) {
		if (routable && h.contested)
			emit_contested(x, end, &h);
	} else {
		for (size_t i = 0; i < h.n_routes; i++)
			if (route_goes(&h, h.routes[i]))
				emit_route(x, NK_OP_ROUTE_DEL, NK_PHASE_CONFIGURE, end, &h.routes[i]->r);
		emit_addrs(x, end, &h);
		if (routable)
			emit_new_routes(x, end, end == NK_PEER ? NK_PHASE_CONFIGURE : NK_PHASE_ROUTE, &h, false);
	}
	drop_have(&h);
}
