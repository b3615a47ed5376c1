// SPDX-License-Identifier: GPL-2.0-only
/*
 * The promises of diff and plan, on random states by the million: applying the plan for a state makes that state the desired one; then
 * there is nothing left to do; after each operation, also when operations fail, no packet meets a half-built chain; what is
 * foreign is not touched; the order of lists doesn't matter.
 *
 * NETKITD_SEED sets the seed, NETKITD_STATES the number of states. A failure is told with the smallest state that shows it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/model/diff.h"
#include "generate.h"

#define STATES 1000000
#define SIZES 8
#define ROUNDS 6 /* inspect, run, programs loaded, run: more is not converging */

/* What is wrong, or empty. */
static char wrong[256];
/* Tell the operations as they are done: set for the state that is reported. */
static bool tell;

__attribute__((format(printf, 1, 2))) static bool fails(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(wrong, sizeof(wrong), format, args);
	va_end(args);
	return false;
}

static bool plan_for(const struct nk_device *d, const struct world *w, struct nk_plan *ret, enum nk_verdict *ret_verdict)
{
	const struct nk_diff_env env = { world_prog_id, world_pin_prog, (void *)w };

	if (nk_diff(d, w->exists ? &w->o : NULL, &env, ret, ret_verdict) < 0)
		abort();
	nk_plan_order(ret);
	return true;
}

/* ---- safety: what holds after each operation ---- */

static const struct nk_obs_link *link_named(const struct nk_obs_chain *c, const char *name, uint32_t *ret_at)
{
	for (uint32_t k = 0; k < c->n; k++)
		if (!strcmp(c->links[k].name, name)) {
			*ret_at = k;
			return &c->links[k];
		}
	return NULL;
}

static const struct nk_attachment *attachment_named(const struct nk_device *d, enum nk_hook hook, const char *name)
{
	for (uint32_t i = 0; i < d->n_attachments; i++)
		if (d->attachments[i].hook == hook && !strcmp(d->attachments[i].name, name))
			return &d->attachments[i];
	return NULL;
}

/* All that is desired, each with the new program; or with the old one, where the link was exchanged in place. */
static bool holds_new(const struct nk_device *d, const struct world *w, const struct nk_obs_chain *old, enum nk_hook hook)
{
	uint32_t unused;

	for (uint32_t i = 0; i < d->n_attachments; i++) {
		const struct nk_attachment *a = &d->attachments[i];
		const struct nk_obs_link *link, *before;

		if (a->hook != hook)
			continue;
		link = link_named(&w->o.chain[hook], a->name, &unused);
		before = old ? link_named(old, a->name, &unused) : NULL;
		if (!link)
			return false;
		if (link->prog_id != world_prog_id(a->program, (void *)w) && !(before && before->prog_id == link->prog_id))
			return false;
	}
	return true;
}

/* All of ours that was there, each with its old program or the one desired for it. */
static bool holds_old(const struct nk_device *d, const struct world *w, const struct nk_obs_chain *old, enum nk_hook hook)
{
	uint32_t unused;

	for (uint32_t k = 0; k < old->n; k++) {
		const struct nk_attachment *a = attachment_named(d, hook, old->links[k].name);
		const struct nk_obs_link *link;

		if (!old->links[k].name[0])
			continue;
		link = link_named(&w->o.chain[hook], old->links[k].name, &unused);
		if (!link)
			return false;
		if (link->prog_id != old->links[k].prog_id && !(a && link->prog_id == world_prog_id(a->program, (void *)w)))
			return false;
	}
	return true;
}

/* The same attachment, or the same foreign program. */
static bool same_link(const struct nk_obs_link *a, const struct nk_obs_link *b)
{
	return a->name[0] ? !strcmp(a->name, b->name) : !b->name[0] && a->prog_id == b->prog_id;
}

/* Does the chain c hold both, and a before b (1), b before a (-1), or not both (0)? */
static int order_in(const struct nk_obs_chain *c, const struct nk_obs_link *a, const struct nk_obs_link *b)
{
	int32_t at = -1, bt = -1;

	for (uint32_t k = 0; k < c->n; k++) {
		if (same_link(a, &c->links[k]))
			at = (int32_t)k;
		if (same_link(b, &c->links[k]))
			bt = (int32_t)k;
	}
	return at < 0 || bt < 0 ? 0 : at < bt ? 1 : -1;
}

/* The chain that is to come of `from`, or of a new device: ours by name, foreign ones as they are. */
static void make_goal(const struct nk_device *d, const struct world *from, bool is_new, enum nk_hook hook, struct nk_obs_chain *ret)
{
	static const struct nk_obs_device nothing;
	const struct nk_diff_env env = { world_prog_id, world_pin_prog, (void *)from };
	const struct nk_diff x = { .d = d, .o = is_new ? &nothing : &from->o, .env = &env };
	struct nk_diff_hook h;

	nk_diff_read_hook(&x, hook, &h);
	ret->links = calloc(h.goal.n + 1, sizeof(*ret->links));
	if (!ret->links)
		abort();
	ret->n = h.goal.n;
	for (uint32_t k = 0; k < h.goal.n; k++) {
		const struct nk_chain_entry *e = &h.goal.entry[k];

		if (e->want < 0)
			ret->links[k] = from->o.chain[hook].links[e->link];
		else
			memcpy(ret->links[k].name, h.want[e->want]->name, sizeof(ret->links[k].name));
	}
}

/* Any two stand as they did, or as they shall; old NULL: as they shall. */
static bool in_order(const struct nk_obs_chain *c, const struct nk_obs_chain *old, const struct nk_obs_chain *goal)
{
	for (uint32_t i = 0; i < c->n; i++)
		for (uint32_t k = i + 1; k < c->n; k++)
			if (order_in(goal, &c->links[i], &c->links[k]) < 0 && !(old && order_in(old, &c->links[i], &c->links[k]) > 0))
				return false;
	return true;
}

static bool hook_wanted(const struct nk_device *d, enum nk_hook hook)
{
	for (uint32_t i = 0; i < d->n_attachments; i++)
		if (d->attachments[i].hook == hook)
			return true;
	return false;
}

/* An empty chain lets the policy decide: it may pass only if it did so before, or shall do so without any program. */
static bool policy_safe(const struct nk_device *d, const struct world *w, const struct world *old, enum nk_hook hook)
{
	enum nk_end_id end = hook == NK_HOOK_NETKIT_PEER ? NK_PEER : NK_PRIMARY;
	bool passed = !w->was_down && old->o.chain[hook].n == 0 && old->o.end[end].policy == NK_POLICY_PASS;
	bool may_pass = !hook_wanted(d, hook) && d->end[end].policy == NK_POLICY_PASS;

	if (d->single && end == NK_PEER)
		return true;
	return w->o.chain[hook].n > 0 || w->o.end[end].policy == NK_POLICY_DROP || passed || may_pass;
}

static bool required_there(const struct nk_device *d, const struct world *w)
{
	uint32_t at;

	for (uint32_t i = 0; i < d->n_attachments; i++)
		if (d->attachments[i].required && !link_named(&w->o.chain[d->attachments[i].hook], d->attachments[i].name, &at))
			return false;
	return true;
}

/* An interface can't be closed: what can't be done one step at a time is done with a gap. */
static bool has_gap(const struct nk_plan *plan, enum nk_hook hook)
{
	for (size_t i = 0; i < plan->n; i++)
		if (plan->ops[i].kind == NK_OP_DETACH && plan->ops[i].phase == NK_PHASE_ATTACH && plan->ops[i].hook == hook)
			return true;
	return false;
}

static bool safe_interface(const struct nk_device *d, const struct world *w, const struct world *old, const struct nk_obs_chain *goal,
			   const struct nk_plan *plan)
{
	if (w->touched_foreign)
		return fails("touched what is foreign");
	for (size_t i = 0; i < NK_HOOKS; i++) {
		enum nk_hook hook = (enum nk_hook)i;

		if (!nk_hook_fits(hook, true) || has_gap(plan, hook))
			continue;
		if (!holds_new(d, w, &old->o.chain[hook], hook) && !holds_old(d, w, &old->o.chain[hook], hook))
			return fails("a half-built chain at %s", nk_hook_name(hook));
		if (!in_order(&w->o.chain[hook], &old->o.chain[hook], &goal[hook]))
			return fails("programs that change places without need at %s", nk_hook_name(hook));
	}
	return true;
}

/* untouched: no operation has succeeded yet, so what is wrong is still what was found. goal: the chains that are to come. */
static bool safe(const struct nk_device *d, const struct world *w, const struct world *old, const struct nk_obs_chain *goal,
		 bool untouched)
{
	if (w->touched_foreign)
		return fails("touched what is foreign");
	if (!w->exists || !w->o.end[NK_PRIMARY].up)
		return true;
	if (!untouched && !required_there(d, w))
		return fails("open without a required attachment");
	for (size_t hook = 0; hook < NK_HOOKS && nk_hook_fits((enum nk_hook)hook, false); hook++) {
		/* Once closed, there is no going back to the old chain: opening needs the new one. */
		const struct nk_obs_chain *before = w->was_down ? NULL : &old->o.chain[hook];

		if (!holds_new(d, w, before, hook) && !(before && holds_old(d, w, before, hook)))
			return fails("a half-built chain at %s", nk_hook_name(hook));
		if (!in_order(&w->o.chain[hook], before, &goal[hook]))
			return fails("programs that change places without need at %s", nk_hook_name(hook));
		if (!policy_safe(d, w, old, hook))
			return fails("nothing but a policy that passes at %s", nk_hook_name(hook));
	}
	return true;
}

/* ---- foreign objects that nothing of ours could have taken along ---- */

static bool still_there(const struct nk_obs_end *e, const struct nk_obs_route *r)
{
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (!e->routes[i].ours && !nk_route_cmp(&e->routes[i].r, &r->r))
			return true;
	return false;
}

static bool foreign_kept(const struct nk_device *d, const struct world *w, const struct world *old)
{
	for (size_t id = 0; id < NK_ENDS; id++) {
		const struct nk_obs_end *before = &old->o.end[id], *after = &w->o.end[id];
		bool wants_ipv4 = d->end[id].n_addrs && d->end[id].addrs[0].ip.len == 4;

		/* A primary that goes down loses its IPv6 addresses and all routes; a new pair begins with none. */
		if (!w->exists || after->ifindex != before->ifindex || (id == NK_PRIMARY && w->was_down))
			continue;
		for (uint32_t i = 0; i < before->n_addrs; i++) {
			bool there = before->addrs[i].ours;

			for (uint32_t j = 0; j < after->n_addrs; j++)
				there |= !after->addrs[j].ours && !nk_prefix_cmp(&after->addrs[j].p, &before->addrs[i].p);
			if (!there)
				return fails("a foreign address is gone");
		}
		for (uint32_t i = 0; i < before->n_routes; i++) {
			const struct nk_obs_route *r = &before->routes[i];

			/* Routes go with their source, and IPv4 ones with the last IPv4 address. */
			if (!r->ours && !r->r.src.len && (r->r.to.ip.len == 16 || wants_ipv4) && !still_there(after, r))
				return fails("a foreign route is gone");
		}
	}
	return true;
}

/* ---- the goal: the kernel holds what is desired ---- */

static bool foreign_stands_for_addr(const struct nk_obs_end *e, const struct nk_prefix *p)
{
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!e->addrs[i].ours && !nk_ip_cmp(&e->addrs[i].p.ip, &p->ip))
			return true;
	return false;
}

static bool foreign_has_key(const struct nk_obs_end *e, const struct nk_route *r)
{
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (!e->routes[i].ours && nk_route_same_key(&e->routes[i].r, r))
			return true;
	return false;
}

static bool in_the_way(const struct nk_device *d, const struct world *w)
{
	for (size_t id = 0; id < NK_ENDS; id++) {
		const struct nk_end *e = &d->end[id];

		for (uint32_t i = 0; i < e->n_addrs; i++)
			if (foreign_stands_for_addr(&w->o.end[id], &e->addrs[i]))
				return true;
		for (uint32_t i = 0; i < e->n_routes; i++)
			if (foreign_has_key(&w->o.end[id], &e->routes[i]))
				return true;
	}
	return false;
}

static bool end_right(const struct nk_end *e, const struct nk_obs_end *o, bool lists_disputed)
{
	uint32_t n_addrs = 0, n_routes = 0;

	if (strcmp(e->name, o->name) || e->policy != o->policy || e->scrub != o->scrub || !o->up)
		return fails("name, policy, scrub or state of %s", e->name);
	if (((e->set & NK_SET_MTU) && e->mtu != o->mtu) || ((e->set & NK_SET_TXQLEN) && e->txqlen != o->txqlen) ||
	    ((e->set & NK_SET_GSO_MAX) && e->gso_max != o->gso_max) ||
	    ((e->set & NK_SET_GSO_IPV4_MAX) && e->gso_ipv4_max != o->gso_ipv4_max) ||
	    ((e->set & NK_SET_MAC) && memcmp(e->mac, o->mac, sizeof(e->mac))))
		return fails("settings of %s", e->name);

	for (uint32_t i = 0; i < o->n_addrs; i++) {
		bool wanted = false;

		for (uint32_t j = 0; j < e->n_addrs; j++)
			wanted |= !nk_prefix_cmp(&o->addrs[i].p, &e->addrs[j]);
		n_addrs += wanted;
		if (!wanted && o->addrs[i].ours)
			return fails("an address too many at %s", e->name);
	}
	for (uint32_t i = 0; i < o->n_routes; i++) {
		bool wanted = false;

		for (uint32_t j = 0; j < e->n_routes; j++)
			wanted |= !nk_route_cmp(&o->routes[i].r, &e->routes[j]);
		n_routes += wanted;
		if (!wanted && o->routes[i].ours)
			return fails("a route too many at %s", e->name);
	}
	if (!lists_disputed && (n_addrs != e->n_addrs || n_routes != e->n_routes))
		return fails("an address or route missing at %s", e->name);
	return true;
}

/* What is said of other attachments and of foreign programs as a whole; the rest is test_chain_order.c's. */
static bool places_right(const struct nk_device *d, const struct nk_obs_chain *c, enum nk_hook hook)
{
	for (uint32_t k = 0; k < c->n; k++) {
		const struct nk_attachment *a = attachment_named(d, hook, c->links[k].name);

		for (uint32_t j = 0; a && j < c->n; j++) {
			const struct nk_attachment *b = attachment_named(d, hook, c->links[j].name);

			if ((a->first && !(b && b->first) && j < k) || (a->last && !(b && b->last) && j > k))
				return false;
			for (uint32_t i = 0; b && i < a->n_before; i++)
				if (a->before[i].kind == NK_ANCHOR_NAME && !strcmp(a->before[i].text, b->name) && j < k)
					return false;
			for (uint32_t i = 0; b && i < a->n_after; i++)
				if (a->after[i].kind == NK_ANCHOR_NAME && !strcmp(a->after[i].text, b->name) && j > k)
					return false;
		}
	}
	return true;
}

static bool chain_right(const struct nk_device *d, const struct world *w, enum nk_hook hook)
{
	const struct nk_obs_chain *c = &w->o.chain[hook];

	if (!holds_new(d, w, NULL, hook) || !places_right(d, c, hook))
		return fails("the chain at %s", nk_hook_name(hook));
	for (uint32_t k = 0; k < c->n; k++)
		if (c->links[k].name[0] && !attachment_named(d, hook, c->links[k].name))
			return fails("a link too many at %s", nk_hook_name(hook));
	return true;
}

static bool reached(const struct nk_device *d, const struct world *w)
{
	bool disputed = in_the_way(d, w);

	if (d->interface)
		return w->strays ? fails("a link of ours elsewhere")
				 : chain_right(d, w, NK_HOOK_TCX_INGRESS) && chain_right(d, w, NK_HOOK_TCX_EGRESS);
	if (!w->exists || !w->o.marked || !w->o.grouped || !w->o.aliased || w->o.mode != d->mode || w->o.single != d->single ||
	    (d->has_headroom && w->o.headroom < d->headroom) || (!d->single && !w->o.peer_in_place))
		return fails("the pair itself");
	if (!end_right(&d->end[NK_PRIMARY], &w->o.end[NK_PRIMARY], disputed))
		return false;
	if (!d->single && !end_right(&d->end[NK_PEER], &w->o.end[NK_PEER], disputed))
		return false;
	return chain_right(d, w, NK_HOOK_NETKIT_PRIMARY) && chain_right(d, w, NK_HOOK_NETKIT_PEER);
}

/* ---- running a plan ---- */

/* Refusals that a foreign object causes: it has our program, or our key or address, or fills the chain. */
static bool excusable(const struct nk_device *d, const struct world *w, const struct nk_op *op)
{
	if (op->kind == NK_OP_ATTACH || op->kind == NK_OP_UPDATE) {
		const struct nk_obs_chain *c = &w->o.chain[op->hook];
		uint32_t foreign = 0, ours = 0;

		for (uint32_t k = 0; k < c->n; k++)
			if (!c->links[k].name[0] && (++foreign, c->links[k].prog_id == world_prog_id(op->att.program, (void *)w)))
				return true;
		for (uint32_t i = 0; i < d->n_attachments; i++)
			ours += d->attachments[i].hook == op->hook;
		return foreign + ours > NK_CHAIN_MAX;
	}
	return (op->kind == NK_OP_ROUTE_ADD || op->kind == NK_OP_ADDR_ADD) && op->phase == NK_PHASE_ROUTE && in_the_way(d, w);
}

enum run { RUN_DONE, RUN_REFUSED, RUN_WRONG };

/* Do the plan, look after each step. faults: one operation in so many fails; 0: none does. */
static enum run run(const struct nk_device *d, struct world *w, const struct nk_plan *plan, struct rng *faults, uint32_t one_in)
{
	struct world old = { 0 };
	enum run result = RUN_DONE;
	struct nk_obs_chain goal[NK_HOOKS] = { 0 };
	bool untouched = true, is_new = false;
	char text[200];

	world_mark(w);
	world_copy(&old, w);
	for (size_t i = 0; i < plan->n; i++)
		is_new |= plan->ops[i].kind == NK_OP_CREATE;
	for (size_t hook = 0; hook < NK_HOOKS; hook++)
		if (nk_hook_fits((enum nk_hook)hook, d->interface))
			make_goal(d, &old, is_new, (enum nk_hook)hook, &goal[hook]);
	for (size_t i = 0; i < plan->n && result == RUN_DONE; i++) {
		const struct nk_op *op = &plan->ops[i];
		bool fault = one_in && rng_one_in(faults, one_in);
		int r = fault ? -EIO : world_apply(w, op);

		if (tell)
			printf("#   %s: %s\n", nk_op_describe(op, text, sizeof(text)), r ? strerror(-r) : "done");
		untouched = untouched && (r < 0 || op->kind == NK_OP_INSPECT);
		if (d->interface ? !safe_interface(d, w, &old, goal, plan) : !safe(d, w, &old, goal, untouched)) {
			result = RUN_WRONG;
		} else if (r < 0 && !fault && !excusable(d, w, op)) {
			fails("%s: %s", nk_op_describe(op, text, sizeof(text)), strerror(-r));
			result = RUN_WRONG;
		} else if (r < 0) {
			result = RUN_REFUSED;
		}
	}
	if (result != RUN_WRONG && !foreign_kept(d, w, &old))
		result = RUN_WRONG;
	world_clear(&old);
	for (size_t hook = 0; hook < NK_HOOKS; hook++)
		free(goal[hook].links);
	return result;
}

static void load_programs(struct world *w)
{
	for (uint32_t i = 0; i < WORLD_PROGRAMS; i++)
		if (!w->prog_id[i])
			w->prog_id[i] = 400 + i;
}

/* Diff and run until there is nothing to do, or what is foreign forbids more. */
static bool converges(const struct nk_device *d, struct world *w)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct nk_plan plan = { 0 };
		enum nk_verdict verdict;
		bool chains_known = w->o.chains_known, done;
		enum run result;

		plan_for(d, w, &plan, &verdict);
		if (tell)
			printf("#  %s\n", nk_verdict_name(verdict));
		done = plan.n == 0;
		result = done ? RUN_DONE : run(d, w, &plan, NULL, 0);
		nk_plan_clear(&plan);
		if (result == RUN_WRONG)
			return false;
		if (verdict == NK_VERDICT_ABSENT)
			return d->interface && !w->exists && done ? true : fails("absent, but it isn't");
		if (verdict == NK_VERDICT_CONFLICT)
			return !w->o.marked && done ? true : fails("a conflict that is none");
		if (!chains_known && (verdict == NK_VERDICT_OK || verdict == NK_VERDICT_CHANGE))
			return fails("a verdict on chains that are not known");
		if ((verdict == NK_VERDICT_OK) != (done && verdict != NK_VERDICT_BLOCKED))
			return fails("verdict and plan disagree");
		if (verdict == NK_VERDICT_BLOCKED)
			load_programs(w);
		else if (result == RUN_REFUSED)
			return true;
		else if (verdict != NK_VERDICT_INSPECT)
			return reached(d, w) && (done || converges(d, w));
	}
	return fails("still not done after %d rounds", ROUNDS);
}

/* ---- the order of input ---- */

static bool same_op(const struct nk_op *a, const struct nk_op *b)
{
	if (a->kind != b->kind || a->phase != b->phase || a->end != b->end || a->hook != b->hook || a->what != b->what ||
	    a->ifindex != b->ifindex || a->peer_ifindex != b->peer_ifindex || strcmp(a->name, b->name))
		return false;
	switch ((enum nk_op_kind)a->kind) {
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
		return !nk_prefix_cmp(&a->addr, &b->addr);
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
		return !nk_route_cmp(&a->route, &b->route);
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		return !strcmp(a->att.name, b->att.name) && !strcmp(a->att.program, b->att.program) &&
		       a->att.before_prog == b->att.before_prog && a->att.link_id == b->att.link_id &&
		       a->att.old_prog == b->att.old_prog;
	case NK_OP_INSPECT:
	case NK_OP_CLOSE:
	case NK_OP_DELETE:
	case NK_OP_UNPIN:
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
	case NK_OP_CREATE:
	case NK_OP_SET:
	case NK_OP_OPEN:
		return true;
	}
	return false;
}

static bool order_is_all_one(const struct nk_device *d, const struct world *w, struct rng *r)
{
	struct nk_plan plan = { 0 }, other = { 0 };
	enum nk_verdict verdict, other_verdict;
	struct world shuffled = { 0 };
	bool same;

	world_copy(&shuffled, w);
	shuffle_observed(r, &shuffled.o);
	plan_for(d, w, &plan, &verdict);
	plan_for(d, &shuffled, &other, &other_verdict);
	same = plan.n == other.n && verdict == other_verdict;
	for (size_t i = 0; same && i < plan.n; i++)
		same = same_op(&plan.ops[i], &other.ops[i]);
	nk_plan_clear(&plan);
	nk_plan_clear(&other);
	world_clear(&shuffled);
	return same || fails("the order of the observed lists makes another plan");
}

/* ---- one state ---- */

/* Half of a plan, broken off by failures, then all of it. */
static bool survives_faults(const struct nk_device *d, struct world *w, struct rng *r)
{
	struct nk_plan plan = { 0 };
	enum nk_verdict verdict;
	enum run result;

	plan_for(d, w, &plan, &verdict);
	if (plan.n == 0)
		return true;
	result = run(d, w, &plan, r, 5);
	nk_plan_clear(&plan);
	return result != RUN_WRONG && converges(d, w);
}

/* What is ours goes, the interface and what is foreign stay. */
static bool lets_go(struct world *w)
{
	uint32_t foreign = 0, ours = 0, n = 0;
	struct nk_plan plan = { 0 };
	enum nk_verdict verdict;
	bool ok = true;

	for (size_t hook = 0; hook < NK_HOOKS; hook++)
		for (uint32_t k = 0; k < w->o.chain[hook].n; k++)
			foreign += !w->o.chain[hook].links[k].name[0];
	plan_for(NULL, w, &plan, &verdict);
	for (size_t i = 0; i < plan.n; i++)
		ok = ok && world_apply(w, &plan.ops[i]) == 0;
	nk_plan_clear(&plan);
	for (size_t hook = 0; hook < NK_HOOKS; hook++) {
		n += w->o.chain[hook].n;
		for (uint32_t k = 0; k < w->o.chain[hook].n; k++)
			ours += w->o.chain[hook].links[k].name[0] != '\0';
	}
	if (!ok || !w->exists || w->strays || ours || n != foreign || verdict != NK_VERDICT_DELETE)
		return fails("letting go: what is ours goes, what is foreign stays");
	return true;
}

static bool deletes(struct world *w)
{
	bool ours = w->exists && w->o.marked, existed = w->exists, ok = true;
	struct nk_plan plan = { 0 };
	enum nk_verdict verdict;

	if (w->exists && w->o.interface)
		return lets_go(w);
	plan_for(NULL, w, &plan, &verdict);
	for (size_t i = 0; i < plan.n; i++)
		ok = ok && world_apply(w, &plan.ops[i]) == 0;
	nk_plan_clear(&plan);
	if (!ok || w->exists != (existed && !ours) || (verdict == NK_VERDICT_DELETE) != ours)
		return fails("deleting: what is ours goes, what is foreign stays");
	return true;
}

static void describe_device(const struct nk_device *d)
{
	char text[NK_PREFIX_STRLEN];

	printf("#  interface %u, mode %u, single %u, headroom %d\n", d->interface, d->mode, d->single, d->has_headroom ? d->headroom : -1);
	for (size_t i = 0; i < NK_ENDS; i++) {
		const struct nk_end *e = &d->end[i];

		printf("#  end %s: policy %u, scrub %u, set %#x, mtu %u, gso %u/%u\n", e->name, e->policy, e->scrub, e->set, e->mtu,
		       e->gso_max, e->gso_ipv4_max);
		for (uint32_t j = 0; j < e->n_addrs; j++)
			printf("#    address %s\n", nk_prefix_format(&e->addrs[j], text));
		for (uint32_t j = 0; j < e->n_routes; j++) {
			printf("#    route %s", nk_prefix_format(&e->routes[j].to, text));
			printf(" via %s", nk_ip_format(&e->routes[j].via, text));
			printf(" src %s metric %u\n", nk_ip_format(&e->routes[j].src, text), e->routes[j].metric);
		}
	}
	for (uint32_t i = 0; i < d->n_attachments; i++) {
		const struct nk_attachment *a = &d->attachments[i];
		char anchor[NK_ANCHOR_STRLEN];

		printf("#  attachment %s (%s) at %s%s%s%s, priority %d\n", a->name, a->program, nk_hook_name(a->hook),
		       a->required ? ", required" : "", a->first ? ", first" : "", a->last ? ", last" : "", a->priority);
		for (uint32_t k = 0; k < a->n_before + a->n_after; k++)
			printf("#    %s %s\n", k < a->n_before ? "before" : "after",
			       nk_anchor_format(k < a->n_before ? &a->before[k] : &a->after[k - a->n_before], anchor, sizeof(anchor)));
	}
}

static void describe_world(const struct world *w)
{
	const struct nk_obs_device *o = &w->o;
	char text[NK_PREFIX_STRLEN];

	if (!w->exists) {
		printf("#  nothing\n");
		return;
	}
	printf("#  strays %u, marked %u, grouped %u, aliased %u, mode %u, single %u, in place %u, chains known %u\n", w->strays, o->marked, o->grouped, o->aliased, o->mode, o->single,
	       o->peer_in_place, o->chains_known);
	for (size_t i = 0; i < NK_ENDS; i++) {
		const struct nk_obs_end *e = &o->end[i];

		printf("#  end %s: %s, policy %u, scrub %u, mtu %u, gso %u/%u\n", e->name, e->up ? "up" : "down", e->policy, e->scrub,
		       e->mtu, e->gso_max, e->gso_ipv4_max);
		for (uint32_t j = 0; j < e->n_addrs; j++)
			printf("#    %s address %s\n", e->addrs[j].ours ? "our" : "foreign", nk_prefix_format(&e->addrs[j].p, text));
		for (uint32_t j = 0; j < e->n_routes; j++) {
			printf("#    %s route %s", e->routes[j].ours ? "our" : "foreign", nk_prefix_format(&e->routes[j].r.to, text));
			printf(" via %s", nk_ip_format(&e->routes[j].r.via, text));
			printf(" src %s metric %u\n", nk_ip_format(&e->routes[j].r.src, text), e->routes[j].r.metric);
		}
	}
	for (size_t i = 0; i < NK_HOOKS; i++)
		for (uint32_t k = 0; k < o->chain[i].n; k++)
			printf("#  link %u at %s: '%s' program %u\n", o->chain[i].links[k].link_id, nk_hook_name(i), o->chain[i].links[k].name,
			       o->chain[i].links[k].prog_id);
	for (uint32_t i = 0; i < WORLD_PROGRAMS; i++)
		printf("#  program p%u is %u\n", i, w->prog_id[i]);
}

static bool try_state(uint64_t seed, uint32_t size)
{
	struct rng r = { seed };
	struct nk_device *d = generate_device(&r, size);
	struct world w = { 0 }, copy = { 0 };
	bool ok;

	generate_world(&r, d, size, &w);
	if (tell) {
		describe_device(d);
		describe_world(&w);
	}
	ok = !rng_one_in(&r, 4) || order_is_all_one(d, &w, &r);
	world_copy(&copy, &w);
	ok = ok && converges(d, &copy);
	world_clear(&copy);
	if (ok && tell)
		printf("#  again, with operations that fail\n");
	world_copy(&copy, &w);
	ok = ok && survives_faults(d, &copy, &r);
	world_clear(&copy);
	ok = ok && deletes(&w);
	world_clear(&w);
	nk_device_unref(d);
	return ok;
}

/* The smallest size at which a failure turns up again soon makes the most readable report. */
static void report(uint64_t seed, uint32_t size)
{
	for (uint32_t smaller = 1; smaller < size; smaller++)
		for (uint64_t i = 0; i < 20000; i++)
			if (!try_state(seed + i, smaller)) {
				seed += i;
				size = smaller;
			}
	tell = true;
	printf("# state of seed %llu, size %u:\n", (unsigned long long)seed, size);
	try_state(seed, size);
	fail_msg("%s (seed %llu, size %u)", wrong, (unsigned long long)seed, size);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void plans_keep_their_promises(void **state)
{
	uint64_t seed = number_from("NETKITD_SEED", 20250101), states = number_from("NETKITD_STATES", STATES);
	struct rng r = { seed };

	(void)state;
	printf("# %llu states, NETKITD_SEED=%llu\n", (unsigned long long)states, (unsigned long long)seed);
	for (uint64_t i = 0; i < states; i++) {
		uint64_t one = rng_next(&r);
		uint32_t size = 1 + (uint32_t)(i % SIZES);

		if (!try_state(one, size))
			report(one, size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(plans_keep_their_promises) };

	return cmocka_run_group_tests_name("plan_random", tests, NULL, NULL);
}
