// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel in small of world.h. Its rules are the kernel's, as tried or read there: what flushes what, what is refused when.
 */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void world_clear(struct world *w)
{
	nk_obs_device_clear(&w->o);
	memset(w, 0, sizeof(*w));
}

void world_copy(struct world *to, const struct world *from)
{
	*to = *from;
	memset(&to->o, 0, sizeof(to->o));
	if (nk_obs_device_copy(&to->o, &from->o) < 0)
		abort();
}

void world_mark(struct world *w)
{
	w->was_down = !w->exists || !w->o.end[NK_PRIMARY].up;
	w->touched_foreign = false;
}

uint32_t world_prog_id(const char *program, void *arg)
{
	const struct world *w = arg;

	return w->prog_id[program[1] - '0'];
}

uint32_t world_pin_prog(const char *path, void *arg)
{
	(void)arg;
	return (uint32_t)atoi(path + 2);
}

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

int world_addr_add(struct world *w, enum nk_end_id end, const struct nk_prefix *p, bool ours)
{
	struct nk_obs_end *e = &w->o.end[end];
	struct nk_obs_addr a = { .p = *p, .ours = ours };

	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (p->ip.len == 16 ? !nk_ip_cmp(&e->addrs[i].p.ip, &p->ip) : !nk_prefix_cmp(&e->addrs[i].p, p))
			return -EEXIST;
	return nk_obs_addr_add(e, &a);
}

void world_addr_remove(struct world *w, enum nk_end_id end, const struct nk_prefix *p)
{
	struct nk_obs_end *e = &w->o.end[end];

	nk_obs_addr_remove(e, p);
	if (p->ip.len == 4) {
		if (!has_ip(e, &p->ip))
			nk_obs_routes_forget_ipv4(e, &p->ip);
		if (!has_ipv4(e))
			nk_obs_routes_forget_ipv4(e, NULL);
		return;
	}
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (!nk_ip_cmp(&e->routes[i].r.src, &p->ip))
			memset(&e->routes[i].r.src, 0, sizeof(e->routes[i].r.src));
}

static bool reachable(const struct nk_obs_end *e, const struct nk_ip *ip)
{
	if (ip->len == 16 && ip->b[0] == 0xfe && ip->b[1] == 0x80)
		return true;
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (nk_prefix_contains(&e->addrs[i].p, ip))
			return true;
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (!e->routes[i].r.via.len && nk_prefix_contains(&e->routes[i].r.to, ip))
			return true;
	return false;
}

int world_route_add(struct world *w, enum nk_end_id end, const struct nk_route *r, bool ours)
{
	struct nk_obs_end *e = &w->o.end[end];
	struct nk_obs_route route = { .r = *r, .ours = ours };

	if (!e->up)
		return -ENETDOWN;
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (nk_route_same_key(&e->routes[i].r, r))
			return -EEXIST;
	if (r->src.len && !has_ip(e, &r->src))
		return -EINVAL;
	if (r->via.len && (has_ip(e, &r->via) || (!r->onlink && !reachable(e, &r->via))))
		return -ENETUNREACH;
	return nk_obs_route_add(e, &route);
}

void world_route_remove(struct world *w, enum nk_end_id end, const struct nk_route *r)
{
	nk_obs_route_remove(&w->o.end[end], r);
}

int world_link_insert(struct world *w, enum nk_hook hook, uint32_t index, const char *name, uint32_t prog_id)
{
	struct nk_obs_chain *c = &w->o.chain[hook];
	struct nk_obs_link *links;

	if (prog_id == 0)
		return -ENOENT;
	for (uint32_t k = 0; k < c->n; k++)
		if (c->links[k].prog_id == prog_id || (name[0] && !strcmp(c->links[k].name, name)))
			return -EEXIST;
	if (c->n == 63)
		return -ERANGE;
	links = reallocarray(c->links, c->n + 1, sizeof(*links));
	if (!links)
		abort();
	c->links = links;
	memmove(&links[index + 1], &links[index], (c->n - index) * sizeof(*links));
	memset(&links[index], 0, sizeof(*links));
	links[index].link_id = ++w->next_id;
	links[index].prog_id = prog_id;
	memcpy(links[index].name, name, strlen(name) + 1);
	if (!name[0])
		links[index].tag[0] = (uint8_t)(prog_id / 4);
	c->n++;
	return 0;
}

void world_link_remove(struct world *w, enum nk_hook hook, uint32_t index)
{
	struct nk_obs_chain *c = &w->o.chain[hook];

	c->n--;
	memmove(&c->links[index], &c->links[index + 1], (c->n - index) * sizeof(*c->links));
}

/* All routes through the link go, and its IPv6 addresses. */
void world_down(struct world *w, enum nk_end_id end)
{
	struct nk_obs_end *e = &w->o.end[end];
	uint32_t kept = 0;

	e->up = false;
	e->n_routes = 0;
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (e->addrs[i].p.ip.len == 4)
			e->addrs[kept++] = e->addrs[i];
	e->n_addrs = kept;
	if (end == NK_PRIMARY)
		w->was_down = true;
}

void world_up(struct world *w, enum nk_end_id end)
{
	w->o.end[end].up = true;
}

static void create_end(struct nk_obs_end *to, const struct nk_end *from, uint32_t ifindex)
{
	static const uint8_t random_mac[] = { 2, 0xff, 0xff, 0xff, 0xff, 0xff };

	to->ifindex = ifindex;
	memcpy(to->name, from->name, sizeof(to->name));
	memcpy(to->mac, from->set & NK_SET_MAC ? from->mac : random_mac, sizeof(to->mac));
	to->details = true;
	to->policy = from->policy;
	to->scrub = from->scrub;
	to->mtu = from->set & NK_SET_MTU ? from->mtu : 1500;
	to->txqlen = from->set & NK_SET_TXQLEN ? from->txqlen : 1000;
	to->gso_max = from->set & NK_SET_GSO_MAX ? from->gso_max : 65536;
	to->gro_max = from->set & NK_SET_GRO_MAX ? from->gro_max : 65536;
	to->gso_ipv4_max = from->set & NK_SET_GSO_IPV4_MAX ? from->gso_ipv4_max : 65536;
	to->gro_ipv4_max = from->set & NK_SET_GRO_IPV4_MAX ? from->gro_ipv4_max : 65536;
}

void world_make_interface(struct world *w, const char *name)
{
	struct nk_obs_end *e = &w->o.end[NK_PRIMARY];

	w->exists = true;
	w->o.interface = w->o.single = w->o.chains_known = true;
	memcpy(w->o.owner, name, strlen(name) + 1);
	memcpy(e->name, name, strlen(name) + 1);
	e->ifindex = ++w->next_id;
}

/* What is ours at an interface, elsewhere, and (ifindex 0) here. */
static int unpin(struct world *w, const struct nk_op *op)
{
	if (!w->o.interface || (op->ifindex && op->ifindex != w->o.end[NK_PRIMARY].ifindex))
		return -EINVAL;
	w->strays = 0;
	for (int hook = 0; hook < NK_HOOKS && !op->ifindex; hook++)
		for (uint32_t k = w->o.chain[hook].n; k > 0; k--)
			if (w->o.chain[hook].links[k - 1].name[0])
				world_link_remove(w, (enum nk_hook)hook, k - 1);
	return 0;
}

/* All that an interface takes from us. */
static bool may_be_done(const struct world *w, const struct nk_op *op)
{
	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		return nk_hook_fits(op->hook, w->o.interface);
	case NK_OP_INSPECT:
	case NK_OP_UNPIN:
		return true;
	case NK_OP_CLOSE:
	case NK_OP_DELETE:
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
	case NK_OP_CREATE:
	case NK_OP_SET:
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
	case NK_OP_OPEN:
		return !w->o.interface;
	}
	return false;
}

static int create(struct world *w, const struct nk_op *op)
{
	const struct nk_device *d = op->dev;

	if (w->exists)
		return -EEXIST;
	nk_obs_device_clear(&w->o);
	w->exists = true;
	w->o.marked = true;
	w->o.grouped = true;
	w->o.mode = d->mode;
	w->o.single = d->single;
	w->o.headroom = d->headroom;
	w->o.tailroom = d->tailroom;
	w->o.chains_known = true;
	memcpy(w->o.owner, nk_device_name(d), sizeof(w->o.owner));
	create_end(&w->o.end[NK_PRIMARY], &d->end[NK_PRIMARY], ++w->next_id);
	if (!d->single) {
		create_end(&w->o.end[NK_PEER], &d->end[NK_PEER], ++w->next_id);
		w->o.end[NK_PEER].up = true;
		w->o.peer_in_place = true;
	}
	return 0;
}

static int delete(struct world *w)
{
	if (!w->o.marked)
		w->touched_foreign = true;
	nk_obs_device_clear(&w->o);
	w->exists = false;
	w->was_down = true;
	return 0;
}

static int set(struct world *w, const struct nk_op *op)
{
	const struct nk_end *from = &op->dev->end[op->end];
	struct nk_obs_end *e = &w->o.end[op->end];

	/* Policies of both ends go through the primary, and so do our marks. */
	if (op->end == NK_PEER && op->what & (NK_SET_POLICY | NK_SET_PEER_POLICY | NK_SET_ALIAS | NK_SET_GROUP))
		return -EACCES;
	/* Only NK_OP_OPEN takes the primary up; a MAC address can't be changed in mode l3. */
	if ((op->end == NK_PRIMARY && op->what & NK_SET_UP) || op->what & NK_SET_MAC)
		return -EOPNOTSUPP;
	if (op->what & NK_SET_NAME)
		memcpy(e->name, from->name, sizeof(e->name));
	if (op->what & NK_SET_POLICY)
		e->policy = from->policy;
	if (op->what & NK_SET_PEER_POLICY)
		w->o.end[NK_PEER].policy = op->dev->end[NK_PEER].policy;
	if (op->what & NK_SET_ALIAS)
		w->o.aliased = true;
	if (op->what & NK_SET_GROUP)
		w->o.grouped = true;
	if (op->what & NK_SET_UP)
		e->up = true;
	if (op->what & NK_SET_MTU)
		e->mtu = from->mtu;
	if (op->what & NK_SET_TXQLEN)
		e->txqlen = from->txqlen;
	if (op->what & NK_SET_GSO_MAX) {
		e->gso_max = from->gso_max;
		if (e->gso_max <= 65536)
			e->gso_ipv4_max = e->gso_max;
	}
	if (op->what & NK_SET_GRO_MAX) {
		e->gro_max = from->gro_max;
		if (e->gro_max <= 65536)
			e->gro_ipv4_max = e->gro_max;
	}
	if (op->what & NK_SET_GSO_IPV4_MAX)
		e->gso_ipv4_max = from->gso_ipv4_max;
	if (op->what & NK_SET_GRO_IPV4_MAX)
		e->gro_ipv4_max = from->gro_ipv4_max;
	return 0;
}

static int32_t find_link(const struct nk_obs_chain *c, uint32_t link_id)
{
	for (uint32_t k = 0; k < c->n; k++)
		if (c->links[k].link_id == link_id)
			return (int32_t)k;
	return -1;
}

static int32_t find_program(const struct nk_obs_chain *c, uint32_t prog_id)
{
	for (uint32_t k = 0; k < c->n; k++)
		if (c->links[k].prog_id == prog_id)
			return (int32_t)k;
	return -1;
}

static int attach(struct world *w, const struct nk_op *op)
{
	struct nk_obs_chain *c = &w->o.chain[op->hook];
	int32_t before = (int32_t)c->n;

	if (op->hook == NK_HOOK_NETKIT_PEER && w->o.single)
		return -ENODEV;
	if (op->att.before_prog)
		before = find_program(c, op->att.before_prog);
	if (before < 0)
		return -ESTALE;
	return world_link_insert(w, op->hook, (uint32_t)before, op->att.name, world_prog_id(op->att.program, w));
}

/* As a whole: it is never away. For the instant it needs a place more. */
static int move(struct world *w, const struct nk_op *op)
{
	struct nk_obs_chain *c = &w->o.chain[op->hook];
	int32_t from = find_link(c, op->att.link_id), before = (int32_t)c->n;
	struct nk_obs_link link;

	if (op->att.before_prog)
		before = find_program(c, op->att.before_prog);
	if (from < 0 || before < 0)
		return -ESTALE;
	if (c->n == 63)
		return -ERANGE;
	link = c->links[from];
	if (!link.name[0])
		w->touched_foreign = true;
	world_link_remove(w, op->hook, (uint32_t)from);
	return world_link_insert(w, op->hook, (uint32_t)(before > from ? before - 1 : before), link.name, link.prog_id);
}

static int update(struct world *w, const struct nk_op *op)
{
	struct nk_obs_chain *c = &w->o.chain[op->hook];
	int32_t at = find_link(c, op->att.link_id);
	uint32_t prog_id = world_prog_id(op->att.program, w);

	if (at < 0 || prog_id == 0)
		return -ENOENT;
	if (!c->links[at].name[0])
		w->touched_foreign = true;
	if (c->links[at].prog_id != op->att.old_prog)
		return -EPERM;
	for (uint32_t k = 0; k < c->n; k++)
		if (c->links[k].prog_id == prog_id)
			return -EEXIST;
	c->links[at].prog_id = prog_id;
	return 0;
}

static int detach(struct world *w, const struct nk_op *op)
{
	struct nk_obs_chain *c = &w->o.chain[op->hook];
	int32_t at = find_link(c, op->att.link_id);

	if (at < 0)
		return 0;
	if (!c->links[at].name[0])
		w->touched_foreign = true;
	world_link_remove(w, op->hook, (uint32_t)at);
	return 0;
}

static int addr_del(struct world *w, const struct nk_op *op)
{
	const struct nk_obs_end *e = &w->o.end[op->end];

	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!nk_prefix_cmp(&e->addrs[i].p, &op->addr) && !e->addrs[i].ours)
			w->touched_foreign = true;
	world_addr_remove(w, op->end, &op->addr);
	return 0;
}

static int route_del(struct world *w, const struct nk_op *op)
{
	const struct nk_obs_end *e = &w->o.end[op->end];

	for (uint32_t i = 0; i < e->n_routes; i++)
		if (!nk_route_cmp(&e->routes[i].r, &op->route)) {
			w->touched_foreign |= !e->routes[i].ours;
			world_route_remove(w, op->end, &op->route);
			break;
		}
	return 0;
}

int world_apply(struct world *w, const struct nk_op *op)
{
	if (op->kind == NK_OP_CREATE)
		return create(w, op);
	if (!w->exists)
		return -ENODEV;
	if (!may_be_done(w, op)) {
		w->touched_foreign = true;
		return -EPERM;
	}

	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_INSPECT:
		w->o.chains_known = true;
		return 0;
	case NK_OP_CLOSE:
		world_down(w, NK_PRIMARY);
		return 0;
	case NK_OP_OPEN:
		world_up(w, NK_PRIMARY);
		w->o.aliased = true;
		return 0;
	case NK_OP_DELETE:
		return delete(w);
	case NK_OP_SET:
		return set(w, op);
	case NK_OP_ADDR_ADD:
		return world_addr_add(w, op->end, &op->addr, true);
	case NK_OP_ADDR_DEL:
		return addr_del(w, op);
	case NK_OP_ROUTE_ADD:
		return world_route_add(w, op->end, &op->route, true);
	case NK_OP_ROUTE_DEL:
		return route_del(w, op);
	case NK_OP_ATTACH:
		return attach(w, op);
	case NK_OP_UPDATE:
		return update(w, op);
	case NK_OP_MOVE:
		return move(w, op);
	case NK_OP_DETACH:
		return detach(w, op);
	case NK_OP_UNPIN:
		return unpin(w, op);
	case NK_OP_CREATE:
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
		break;
	}
	return -EINVAL;
}
