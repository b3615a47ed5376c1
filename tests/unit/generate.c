// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random devices and worlds; see generate.h. Everything is drawn from the rng given, so that a seed tells a state.
 */
#include "generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/model/document.h"

uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

bool rng_one_in(struct rng *r, uint32_t n)
{
	return rng_below(r, n) == 0;
}

/* The universes. Parsed once; which texts they are shows in the failures. */
static const char *const address_texts[] = {
	"10.0.0.1/32", "10.0.0.1/24", "10.0.0.2/32", "192.168.1.1/24", "fd00::1/128", "fd00::1/64", "fd00::2/128",
};
static const char *const destination_texts[] = {
	"10.0.0.9/32", "0.0.0.0/0", "10.1.0.0/16", "fd00::9/128", "::/0", "fd00:1::/64",
};
static const char *const gateway_texts[] = { "10.0.0.9", "192.168.1.254", "fd00::9", "fe80::1" };

#define N_ADDRESSES (sizeof(address_texts) / sizeof(address_texts[0]))
#define N_DESTINATIONS (sizeof(destination_texts) / sizeof(destination_texts[0]))
#define N_GATEWAYS (sizeof(gateway_texts) / sizeof(gateway_texts[0]))

static struct nk_prefix addresses[N_ADDRESSES], destinations[N_DESTINATIONS];
static struct nk_ip gateways[N_GATEWAYS];

__attribute__((constructor)) static void parse_universes(void)
{
	int r = 0;

	for (size_t i = 0; i < N_ADDRESSES; i++)
		r |= nk_prefix_parse(address_texts[i], &addresses[i]);
	for (size_t i = 0; i < N_DESTINATIONS; i++)
		r |= nk_prefix_parse(destination_texts[i], &destinations[i]);
	for (size_t i = 0; i < N_GATEWAYS; i++)
		r |= nk_ip_parse(gateway_texts[i], &gateways[i]);
	if (r)
		abort();
}

static void *list(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		abort();
	return p;
}

static struct nk_route random_route(struct rng *r, const struct nk_ip *src)
{
	struct nk_route route = { .to = destinations[rng_below(r, N_DESTINATIONS)] };
	const struct nk_ip *via = &gateways[rng_below(r, N_GATEWAYS)];

	if (rng_one_in(r, 2) && via->len == route.to.ip.len) {
		route.via = *via;
		route.onlink = rng_one_in(r, 4);
	}
	if (rng_one_in(r, 2) && src && src->len == route.to.ip.len)
		route.src = *src;
	route.metric = rng_one_in(r, 4) ? 1024 : 0;
	return route;
}

static void random_settings(struct rng *r, struct nk_end *e)
{
	e->set = (uint32_t)rng_next(r) & (NK_SET_MTU | NK_SET_TXQLEN | NK_SET_GSO_MAX | NK_SET_GSO_IPV4_MAX);
	e->mtu = rng_one_in(r, 2) ? 1500 : 9000;
	e->txqlen = 500;
	e->gso_max = rng_one_in(r, 2) ? 65536 : 200000;
	e->gso_ipv4_max = rng_one_in(r, 2) ? 30000 : 200000;
}

static void random_lists(struct rng *r, struct nk_end *e, uint32_t size)
{
	uint32_t n = rng_below(r, size < 4 ? size + 1 : 5);

	free(e->addrs);
	free(e->routes);
	e->addrs = list(n + 1, sizeof(*e->addrs));
	e->routes = list(n + 1, sizeof(*e->routes));
	e->n_addrs = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct nk_prefix *p = &addresses[rng_below(r, N_ADDRESSES)];
		bool twice = false;

		for (uint32_t j = 0; j < e->n_addrs; j++)
			twice |= !nk_ip_cmp(&e->addrs[j].ip, &p->ip);
		if (!twice)
			e->addrs[e->n_addrs++] = *p;
	}
	e->n_routes = rng_below(r, n + 1);
	for (uint32_t i = 0; i < e->n_routes; i++)
		e->routes[i] = random_route(r, e->n_addrs ? &e->addrs[rng_below(r, e->n_addrs)].ip : NULL);
}

static struct nk_anchor random_anchor(struct rng *r, const struct nk_device *d)
{
	struct nk_anchor a = { .kind = (uint8_t)rng_below(r, 4) };
	uint32_t foreign = 1000 + rng_below(r, 8);
	char text[NK_NAME_MAX];

	switch ((enum nk_anchor_kind)a.kind) {
	case NK_ANCHOR_NAME:
		a.text = strdup(d->attachments[rng_below(r, d->n_attachments)].name);
		break;
	case NK_ANCHOR_ID:
		a.id = foreign;
		break;
	case NK_ANCHOR_TAG:
		a.tag[0] = (uint8_t)(foreign / 4);
		break;
	case NK_ANCHOR_PIN:
		snprintf(text, sizeof(text), "/p%u", foreign);
		a.text = strdup(text);
		break;
	}
	return a;
}

static void clear_places(struct nk_device *d)
{
	for (uint32_t i = 0; i < d->n_attachments; i++) {
		struct nk_attachment *a = &d->attachments[i], plain = *a;

		plain.before = plain.after = NULL;
		plain.n_before = plain.n_after = 0;
		plain.first = plain.last = false;
		plain.priority = 0;
		nk_attachment_clear(a);
		*a = plain;
	}
}

static void count_problem(const struct nk_problem *p, void *arg)
{
	(void)p;
	++*(uint32_t *)arg;
}

static uint32_t problems(const struct nk_device *d)
{
	uint32_t n = 0;

	nk_device_check(d, "", count_problem, &n);
	return n;
}

/* Wrong routes are left out, the last first, until the rest is right. */
static void drop_wrong_routes(struct nk_device *d)
{
	/* An attachment that others name may be gone. */
	if (problems(d) > 0)
		clear_places(d);
	while (problems(d) > 0) {
		if (d->end[NK_PEER].n_routes)
			d->end[NK_PEER].n_routes--;
		else if (d->end[NK_PRIMARY].n_routes)
			d->end[NK_PRIMARY].n_routes--;
		else
			abort();
	}
}

/* What attachments say of their places, kept one by one as long as an order remains. The routes are right already. */
static void random_places(struct rng *r, struct nk_device *d)
{
	clear_places(d);
	for (uint32_t n = rng_below(r, 2 * d->n_attachments + 1); n > 0; n--) {
		struct nk_attachment *a = &d->attachments[rng_below(r, d->n_attachments)];
		bool before = rng_one_in(r, 2), *end;
		struct nk_anchor **list = before ? &a->before : &a->after;
		uint32_t *count = before ? &a->n_before : &a->n_after, was = problems(d);

		switch (rng_below(r, 6)) {
		case 0:
			a->priority = (int32_t)rng_below(r, 3) - 1;
			break;
		case 1:
			end = before ? &a->first : &a->last;
			*end = true;
			if (problems(d) > was)
				*end = false;
			break;
		default:
			*list = reallocarray(*list, *count + 1, sizeof(**list));
			if (!*list)
				abort();
			(*list)[(*count)++] = random_anchor(r, d);
			if (problems(d) > was)
				free((*list)[--*count].text);
		}
	}
}

static enum nk_hook random_hook(struct rng *r, bool interface, bool single)
{
	bool second = (interface || !single) && rng_one_in(r, 2);

	if (interface)
		return second ? NK_HOOK_TCX_EGRESS : NK_HOOK_TCX_INGRESS;
	return second ? NK_HOOK_NETKIT_PEER : NK_HOOK_NETKIT_PRIMARY;
}

static void random_attachments(struct rng *r, struct nk_device *d, uint32_t size)
{
	uint32_t n = rng_below(r, size < 4 ? size + 1 : 5);
	uint32_t first_name = rng_below(r, 4), first_program = rng_below(r, 4);
	/* Neighbours in these sequences are different, so no program is twice at a hook and no name twice in the device. */
	uint32_t step = rng_one_in(r, 2) ? 1 : 3;

	clear_places(d);
	free(d->attachments);
	d->attachments = list(n + 1, sizeof(*d->attachments));
	d->n_attachments = n;
	for (uint32_t i = 0; i < n; i++) {
		struct nk_attachment *a = &d->attachments[i];

		snprintf(a->name, sizeof(a->name), "%c", 'a' + (first_name + i * step) % 4);
		snprintf(a->program, sizeof(a->program), "p%u", (first_program + i) % 4);
		a->hook = (uint8_t)random_hook(r, d->interface, d->single);
		a->required = rng_one_in(r, 4) && !d->interface;
	}
}

static void random_ends(struct rng *r, struct nk_device *d, uint32_t size)
{
	d->single = rng_one_in(r, 12);
	d->mode = rng_one_in(r, 6) ? NK_MODE_L2 : NK_MODE_L3;
	for (size_t i = 0; i < (d->single ? 1 : NK_ENDS); i++) {
		struct nk_end *e = &d->end[i];

		e->policy = rng_one_in(r, 2) ? NK_POLICY_DROP : NK_POLICY_PASS;
		e->scrub = rng_one_in(r, 8) ? NK_SCRUB_NONE : NK_SCRUB_DEFAULT;
		if (rng_one_in(r, 2))
			random_settings(r, e);
		if (d->mode == NK_MODE_L2 && rng_one_in(r, 2)) {
			e->set |= NK_SET_MAC;
			memset(e->mac, 2, sizeof(e->mac));
		}
		random_lists(r, e, size);
	}
	if (!d->single) {
		strcpy(d->end[NK_PEER].name, "eth0");
		d->netns.kind = NK_NETNS_PID;
		d->netns.number = 1;
	}
	d->has_headroom = rng_one_in(r, 12);
	d->headroom = 32;
}

static struct nk_device *generate(struct rng *r, uint32_t size, bool interface)
{
	struct nk_device *d = nk_device_new();

	if (!d)
		abort();
	strcpy(d->end[NK_PRIMARY].name, "web-1");
	d->interface = d->single = interface;
	if (!interface)
		random_ends(r, d, size);
	random_attachments(r, d, size);
	drop_wrong_routes(d);
	if (rng_one_in(r, 2))
		random_places(r, d);
	nk_device_normalise(d);
	return d;
}

struct nk_device *generate_device(struct rng *r, uint32_t size)
{
	return generate(r, size, rng_one_in(r, 4));
}

static void copy_anchors(struct nk_anchor **list, uint32_t n)
{
	const struct nk_anchor *from = *list;

	*list = calloc(n + 1, sizeof(**list));
	if (!*list)
		abort();
	for (uint32_t i = 0; i < n; i++) {
		(*list)[i] = from[i];
		if (from[i].text && !((*list)[i].text = strdup(from[i].text)))
			abort();
	}
}

static struct nk_device *clone(const struct nk_device *d)
{
	struct nk_device *c = nk_device_new();

	if (!c)
		abort();
	memcpy((char *)c + sizeof(c->refs), (const char *)d + sizeof(d->refs), sizeof(*d) - sizeof(d->refs));
	for (size_t i = 0; i < NK_ENDS; i++) {
		struct nk_end *e = &c->end[i];

		e->addrs = list(e->n_addrs + 1, sizeof(*e->addrs));
		e->routes = list(e->n_routes + 1, sizeof(*e->routes));
		if (e->n_addrs)
			memcpy(e->addrs, d->end[i].addrs, e->n_addrs * sizeof(*e->addrs));
		if (e->n_routes)
			memcpy(e->routes, d->end[i].routes, e->n_routes * sizeof(*e->routes));
	}
	c->attachments = list(c->n_attachments + 1, sizeof(*c->attachments));
	memcpy(c->attachments, d->attachments, c->n_attachments * sizeof(*c->attachments));
	for (uint32_t i = 0; i < c->n_attachments; i++) {
		copy_anchors(&c->attachments[i].before, c->attachments[i].n_before);
		copy_anchors(&c->attachments[i].after, c->attachments[i].n_after);
	}
	return c;
}

static void vary_attachments(struct rng *r, struct nk_device *d)
{
	uint32_t n = d->n_attachments;

	if (n == 0)
		return;
	switch (rng_below(r, 4)) {
	case 0: { /* another order */
		uint32_t i = rng_below(r, n), j = rng_below(r, n);
		struct nk_attachment a = d->attachments[i];

		d->attachments[i] = d->attachments[j];
		d->attachments[j] = a;
		break;
	}
	case 1: { /* programs exchanged, within a hook or across */
		struct nk_attachment *a = &d->attachments[rng_below(r, n)], *b = &d->attachments[rng_below(r, n)];
		char program[NK_NAME_MAX];

		memcpy(program, a->program, sizeof(program));
		memcpy(a->program, b->program, sizeof(program));
		memcpy(b->program, program, sizeof(program));
		break;
	}
	case 2: /* a further program */
		strcpy(d->attachments[rng_below(r, n)].program, "p4");
		break;
	case 3: /* one less */
		nk_attachment_clear(&d->attachments[--d->n_attachments]);
		break;
	}
}

struct nk_device *generate_variant(struct rng *r, const struct nk_device *d, uint32_t size)
{
	struct nk_device *c = clone(d);
	struct nk_end *e = &c->end[c->single ? NK_PRIMARY : (enum nk_end_id)rng_below(r, 2)];

	switch (c->interface ? 3 + rng_below(r, 3) : rng_below(r, 6)) {
	case 0:
		e->policy = !e->policy;
		break;
	case 1:
		random_settings(r, e);
		break;
	case 2:
		random_lists(r, e, size);
		break;
	case 3:
		random_attachments(r, c, size);
		break;
	case 4:
	case 5:
		vary_attachments(r, c);
		break;
	}
	if (rng_one_in(r, 4)) {
		if (!c->interface)
			e->policy = !e->policy;
		random_attachments(r, c, size);
	}
	if (rng_one_in(r, 2))
		clear_places(c);
	drop_wrong_routes(c);
	if (rng_one_in(r, 2))
		random_places(r, c);
	nk_device_normalise(c);
	return c;
}

static void drift_list(struct rng *r, struct world *w, enum nk_end_id end)
{
	struct nk_obs_end *e = &w->o.end[end];
	const struct nk_ip *src = e->n_addrs ? &e->addrs[rng_below(r, e->n_addrs)].p.ip : NULL;
	struct nk_route route = random_route(r, src);

	switch (rng_below(r, 5)) {
	case 0:
		world_addr_add(w, end, &addresses[rng_below(r, N_ADDRESSES)], rng_one_in(r, 3));
		break;
	case 1:
		if (e->n_addrs) {
			struct nk_prefix p = e->addrs[rng_below(r, e->n_addrs)].p;

			world_addr_remove(w, end, &p);
		}
		break;
	case 2:
	case 3:
		world_route_add(w, end, &route, rng_one_in(r, 3));
		break;
	case 4:
		if (e->n_routes) {
			route = e->routes[rng_below(r, e->n_routes)].r;
			world_route_remove(w, end, &route);
		}
		break;
	}
}

static void drift_chain(struct rng *r, struct world *w)
{
	enum nk_hook hook = random_hook(r, w->o.interface, w->o.single);
	struct nk_obs_chain *c = &w->o.chain[hook];
	uint32_t at = c->n ? rng_below(r, c->n) : 0;
	char name[2] = { (char)('a' + rng_below(r, 6)), '\0' };

	switch (rng_below(r, 6)) {
	case 0: /* somebody detaches */
		if (c->n)
			world_link_remove(w, hook, at);
		break;
	case 1: /* somebody else attaches; now and then one of our programs */
		world_link_insert(w, hook, at, "", rng_one_in(r, 8) ? 100 + rng_below(r, 4) : 1000 + rng_below(r, 8));
		break;
	case 2: /* a link of ours that nobody wants any more */
		world_link_insert(w, hook, at, name, 100 + rng_below(r, WORLD_PROGRAMS));
		break;
	case 3: /* another program in a link */
		if (c->n && c->links[at].name[0])
			c->links[at].prog_id = 200 + rng_below(r, 100);
		break;
	case 4: /* another order */
		if (c->n) {
			struct nk_obs_link link = c->links[at];

			world_link_remove(w, hook, at);
			world_link_insert(w, hook, rng_below(r, c->n + 1), link.name, link.prog_id);
		}
		break;
	case 5: /* full, or nearly */
		if (rng_one_in(r, 32))
			for (uint32_t n = 60 + rng_below(r, 4); c->n < n;)
				world_link_insert(w, hook, rng_below(r, c->n + 1), "", 2000 + w->next_id);
		break;
	}
}

static void drift_settings(struct rng *r, struct world *w)
{
	enum nk_end_id end = w->o.single ? NK_PRIMARY : (enum nk_end_id)rng_below(r, 2);
	struct nk_obs_end *e = &w->o.end[end];

	switch (rng_below(r, 8)) {
	case 0:
		strcpy(e->name, "renamed");
		break;
	case 1:
		e->mtu = 1400;
		break;
	case 2:
		e->policy = !e->policy;
		break;
	case 3:
		e->gso_max = 1000;
		break;
	case 4:
		w->o.aliased = rng_one_in(r, 2);
		break;
	case 5:
		w->o.grouped = rng_one_in(r, 2);
		break;
	case 6:
		memset(e->mac, 4, sizeof(e->mac));
		break;
	case 7: /* a bridge needs more */
		w->o.headroom = 200;
		break;
	}
}

static void drift_interface(struct rng *r, struct world *w)
{
	if (!rng_one_in(r, 4)) {
		drift_chain(r, w);
		return;
	}
	w->o.chains_known = false;
	if (rng_one_in(r, 2))
		w->strays++;
}

static void drift(struct rng *r, struct world *w)
{
	enum nk_end_id end = w->o.single ? NK_PRIMARY : (enum nk_end_id)rng_below(r, 2);

	if (w->o.interface) {
		drift_interface(r, w);
		return;
	}
	switch (rng_below(r, 10)) {
	case 0:
	case 1:
	case 2:
		drift_chain(r, w);
		break;
	case 3:
	case 4:
		drift_list(r, w, end);
		break;
	case 5:
		drift_settings(r, w);
		break;
	case 6:
		world_down(w, end);
		break;
	case 7:
		world_up(w, end);
		break;
	case 8:
		w->o.chains_known = false;
		break;
	case 9:
		if (rng_one_in(r, 4))
			w->o.peer_in_place = false;
		break;
	}
}

/* The state after a run of all operations for d, as far as they go. */
static void build(struct world *w, const struct nk_device *d)
{
	const struct nk_diff_env env = { world_prog_id, world_pin_prog, w };
	struct nk_plan plan = { 0 };
	enum nk_verdict verdict;

	if (d->interface)
		world_make_interface(w, nk_device_name(d));
	if (nk_diff(d, w->exists ? &w->o : NULL, &env, &plan, &verdict) < 0)
		abort();
	nk_plan_order(&plan);
	for (size_t i = 0; i < plan.n; i++)
		if (world_apply(w, &plan.ops[i]) < 0)
			break;
	nk_plan_clear(&plan);
}

void generate_world(struct rng *r, const struct nk_device *d, uint32_t size, struct world *ret)
{
	struct nk_device *before = NULL;

	for (uint32_t i = 0; i < WORLD_PROGRAMS; i++)
		ret->prog_id[i] = 100 + i;
	switch (rng_below(r, 8)) {
	case 0:
		break; /* it is not there */
	case 1:
		before = generate(r, size, d->interface);
		break;
	case 2:
	case 3:
	case 4:
		before = generate_variant(r, d, size);
		break;
	default:
		before = nk_device_ref(d);
	}
	if (before)
		build(ret, before);
	nk_device_unref(before);

	for (uint32_t n = rng_below(r, size + 1); n > 0 && ret->exists; n--)
		drift(r, ret);
	if (ret->exists && rng_one_in(r, 64))
		ret->o.marked = ret->o.grouped = ret->o.aliased = false;
	if (rng_one_in(r, 6))
		ret->prog_id[rng_below(r, WORLD_PROGRAMS)] = 0;
	if (rng_one_in(r, 6)) /* loaded anew since */
		ret->prog_id[rng_below(r, WORLD_PROGRAMS)] = 300;
}

/* Fisher and Yates. */
static void shuffle(struct rng *r, void *base, uint32_t n, size_t size)
{
	char *elements = base, other[sizeof(struct nk_obs_route)];

	for (uint32_t i = n; i > 1; i--) {
		char *a = elements + (i - 1) * size, *b = elements + rng_below(r, i) * size;

		memcpy(other, a, size);
		memmove(a, b, size);
		memcpy(b, other, size);
	}
}

void shuffle_observed(struct rng *r, struct nk_obs_device *o)
{
	for (size_t i = 0; i < NK_ENDS; i++) {
		shuffle(r, o->end[i].addrs, o->end[i].n_addrs, sizeof(*o->end[i].addrs));
		shuffle(r, o->end[i].routes, o->end[i].n_routes, sizeof(*o->end[i].routes));
	}
}
