// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of a chain; chain_order.h has the rule. Called by check.c and diff_chain.c; looks at nothing but its arguments.
 *
 * Programs are nodes of a graph that is kept closed: each node knows all that must stand after it, through others too. So a demand
 * that would make a circle is seen before it is added, and what is put into a list that keeps to the graph always finds a place
 * between what must stand before it and what must stand after it.
 */
#include "daemon/model/chain_order.h"

#include <string.h>

#define NODES (2 * NK_CHAIN_MAX) /* ours come first, then foreign ones */
#define WORDS ((NODES + 63) / 64)

struct set {
	uint64_t word[WORDS];
};

static bool has(const struct set *s, uint32_t i)
{
	return s->word[i / 64] >> i % 64 & 1;
}

static void put(struct set *s, uint32_t i)
{
	s->word[i / 64] |= UINT64_C(1) << i % 64;
}

struct graph {
	uint32_t n;
	struct set after[NODES];
};

/* Let first stand before second. False, and nothing changed: second has to stand before first. */
static bool demand(struct graph *g, uint32_t first, uint32_t second)
{
	if (first == second || has(&g->after[second], first))
		return false;
	if (has(&g->after[first], second))
		return true;
	for (uint32_t i = 0; i < g->n; i++) {
		if (i != first && !has(&g->after[i], first))
			continue;
		put(&g->after[i], second);
		for (size_t w = 0; w < WORDS; w++)
			g->after[i].word[w] |= g->after[second].word[w];
	}
	return true;
}

/* ---- what attachments say of each other ---- */

static int32_t find(const struct nk_attachment *const *want, uint32_t n, const struct nk_anchor *a)
{
	for (uint32_t i = 0; i < n && a->kind == NK_ANCHOR_NAME; i++)
		if (!strcmp(want[i]->name, a->text))
			return (int32_t)i;
	return -1;
}

/* All demands among n attachments, each given to fn until it returns false. */
static void each_demand(const struct nk_attachment *const *want, uint32_t n,
			bool (*fn)(const struct nk_chain_demand *d, void *arg), void *arg)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct nk_attachment *a = want[i];

		for (uint32_t k = 0; k < a->n_before + a->n_after; k++) {
			bool before = k < a->n_before;
			uint32_t index = before ? k : k - a->n_before;
			int32_t j = find(want, n, before ? &a->before[index] : &a->after[index]);
			struct nk_chain_demand d = { .who = i, .index = index, .kind = before ? NK_DEMAND_BEFORE : NK_DEMAND_AFTER };

			d.from = before ? i : (uint32_t)j;
			d.to = before ? (uint32_t)j : i;
			if (j >= 0 && !fn(&d, arg))
				return;
		}
		for (uint32_t j = 0; j < n && (a->first || a->last); j++) {
			struct nk_chain_demand first = { .from = i, .to = j, .who = i, .kind = NK_DEMAND_FIRST };
			struct nk_chain_demand last = { .from = j, .to = i, .who = i, .kind = NK_DEMAND_LAST };

			if ((a->first && !want[j]->first && !fn(&first, arg)) || (a->last && !want[j]->last && !fn(&last, arg)))
				return;
		}
	}
}

static bool add_demand(const struct nk_chain_demand *d, void *arg)
{
	return demand(arg, d->from, d->to);
}

/* A search for the shortest way back to `start`, one step further each round. */
struct search {
	uint32_t start;
	uint32_t distance[NK_CHAIN_MAX]; /* from start; UINT32_MAX: not reached */
	struct nk_chain_demand by[NK_CHAIN_MAX]; /* the demand through which it was */
	uint32_t round;
	struct nk_chain_demand back; /* the demand that leads back to start */
	bool further, found;
};

static bool step(const struct nk_chain_demand *d, void *arg)
{
	struct search *s = arg;

	if (s->distance[d->from] != s->round)
		return true;
	if (d->to == s->start) {
		s->back = *d;
		s->found = true;
		return false;
	}
	if (s->distance[d->to] == UINT32_MAX) {
		s->distance[d->to] = s->round + 1;
		s->by[d->to] = *d;
		s->further = true;
	}
	return true;
}

/* The length of the shortest circle through start, 0 if there is none; its demands, from start on. */
static uint32_t circle_through(const struct nk_attachment *const *want, uint32_t n, uint32_t start, struct nk_chain_demand *ret)
{
	struct search s = { .start = start, .further = true };
	uint32_t length;

	memset(s.distance, 0xff, sizeof(s.distance));
	s.distance[start] = 0;
	for (; s.further && !s.found; s.round++) {
		s.further = false;
		each_demand(want, n, step, &s);
	}
	if (!s.found)
		return 0;
	length = s.distance[s.back.from] + 1;
	ret[length - 1] = s.back;
	for (uint32_t i = length - 1; i > 0; i--)
		ret[i - 1] = s.by[ret[i].from];
	return length;
}

/* Stops at the first demand that closes a circle. */
struct closing {
	struct graph g;
	bool closed;
};

static bool add_or_stop(const struct nk_chain_demand *d, void *arg)
{
	struct closing *c = arg;

	c->closed = !demand(&c->g, d->from, d->to);
	return !c->closed;
}

uint32_t nk_chain_circle(const struct nk_attachment *const *want, uint32_t n, struct nk_chain_demand *ret)
{
	struct closing c = { .g.n = n };
	struct nk_chain_demand other[NK_CHAIN_MAX];
	uint32_t shortest = 0;

	each_demand(want, n, add_or_stop, &c);
	for (uint32_t i = 0; i < n && c.closed; i++) {
		uint32_t length = circle_through(want, n, i, other);

		if (length && (!shortest || length < shortest)) {
			shortest = length;
			memcpy(ret, other, length * sizeof(*ret));
		}
	}
	return shortest;
}

/* ---- one resolution ---- */

struct resolution {
	const struct nk_chain_input *in;
	struct nk_chain_goal *goal;
	struct graph g;
	uint32_t n_foreign;
	uint32_t foreign[NK_CHAIN_MAX]; /* places in the chain */
	uint32_t base[NK_CHAIN_MAX];    /* our indices as they would stand if nobody said before or after */
	uint32_t rank[NK_CHAIN_MAX];    /* the inverse */
	uint32_t order[NK_CHAIN_MAX];   /* our indices as they shall stand */
	bool stays[NK_CHAIN_MAX];
};

/* By priority; equal ones stay as they are listed. */
static void sort_base(struct resolution *r)
{
	for (uint32_t i = 0; i < r->in->n; i++) {
		uint32_t k = i;

		for (; k > 0 && r->in->want[i]->priority < r->in->want[r->base[k - 1]]->priority; k--)
			r->base[k] = r->base[k - 1];
		r->base[k] = i;
	}
	for (uint32_t k = 0; k < r->in->n; k++)
		r->rank[r->base[k]] = k;
}

static void find_foreign(struct resolution *r)
{
	const struct nk_obs_chain *c = r->in->chain;

	for (uint32_t k = 0; k < c->n && r->n_foreign < NK_CHAIN_MAX; k++)
		if (!c->links[k].name[0])
			r->foreign[r->n_foreign++] = k;
	r->g.n = r->in->n + r->n_foreign;
	for (uint32_t f = 1; f < r->n_foreign; f++)
		demand(&r->g, r->in->n + f - 1, r->in->n + f);
}

static bool means(const struct resolution *r, const struct nk_anchor *a, uint32_t pinned, const struct nk_obs_link *l)
{
	switch ((enum nk_anchor_kind)a->kind) {
	case NK_ANCHOR_NAME:
		return false;
	case NK_ANCHOR_ID:
		return l->prog_id == a->id;
	case NK_ANCHOR_TAG:
		return !memcmp(l->tag, a->tag, sizeof(a->tag));
	case NK_ANCHOR_PIN:
		return pinned && l->prog_id == pinned;
	}
	return false;
}

static void note_unmet(struct resolution *r, const struct nk_attachment *who, const struct nk_anchor *a, bool absent)
{
	if (!r->goal->n_unmet++) {
		r->goal->unmet_of = who;
		r->goal->unmet = a;
		r->goal->unmet_absent = absent;
	}
	r->goal->unmet_pin |= a->kind == NK_ANCHOR_PIN;
}

/* What attachment i says of foreign programs. */
static void demand_of_foreign(struct resolution *r, uint32_t i)
{
	const struct nk_attachment *who = r->in->want[i];

	for (uint32_t f = 0; f < r->n_foreign; f++) {
		if (who->first)
			demand(&r->g, i, r->in->n + f);
		if (who->last)
			demand(&r->g, r->in->n + f, i);
	}
	for (uint32_t k = 0; k < who->n_before + who->n_after; k++) {
		bool before = k < who->n_before, found = false, met = true;
		const struct nk_anchor *a = before ? &who->before[k] : &who->after[k - who->n_before];
		uint32_t pinned = a->kind == NK_ANCHOR_PIN ? r->in->pin_prog(a->text, r->in->arg) : 0;

		if (a->kind == NK_ANCHOR_NAME)
			continue;
		for (uint32_t f = 0; f < r->n_foreign; f++) {
			uint32_t node = r->in->n + f;

			if (!means(r, a, pinned, &r->in->chain->links[r->foreign[f]]))
				continue;
			found = true;
			met = (before ? demand(&r->g, i, node) : demand(&r->g, node, i)) && met;
		}
		if (!found || !met)
			note_unmet(r, who, a, !found);
	}
}

static bool says(const struct nk_attachment *a)
{
	return a->n_before || a->n_after;
}

/* Those that say nothing, each as early as its base allows. */
static uint32_t order_silent(struct resolution *r)
{
	struct set placed = { 0 };
	uint32_t n = 0;

	for (bool more = true; more;) {
		more = false;
		for (uint32_t k = 0; k < r->in->n && !more; k++) {
			uint32_t i = r->base[k];
			bool waits = has(&placed, i) || says(r->in->want[i]);

			for (uint32_t j = 0; j < r->in->n && !waits; j++)
				waits = !says(r->in->want[j]) && !has(&placed, j) && has(&r->g.after[j], i);
			if (!waits) {
				put(&placed, i);
				r->order[n++] = i;
				more = true;
			}
		}
	}
	return n;
}

static void insert(uint32_t *list, uint32_t n, uint32_t at, uint32_t value)
{
	memmove(&list[at + 1], &list[at], (n - at) * sizeof(*list));
	list[at] = value;
}

/* Our order. */
static void order_ours(struct resolution *r)
{
	uint32_t n = order_silent(r);

	for (uint32_t k = 0; k < r->in->n; k++) {
		uint32_t i = r->base[k], at = 0, end = n;

		if (!says(r->in->want[i]))
			continue;
		for (uint32_t p = n; p > 0; p--) {
			if (has(&r->g.after[i], r->order[p - 1]))
				end = p - 1;
			if (!at && has(&r->g.after[r->order[p - 1]], i))
				at = p;
		}
		while (at < end && r->rank[r->order[at]] < r->rank[i])
			at++;
		insert(r->order, n++, at, i);
	}
	for (uint32_t k = 1; k < n; k++)
		demand(&r->g, r->order[k - 1], r->order[k]);
}

/* Does attachment i stand where foreign programs allow it? */
static bool stands_well(const struct resolution *r, uint32_t i)
{
	for (uint32_t f = 0; f < r->n_foreign; f++) {
		uint32_t node = r->in->n + f, place = r->foreign[f];

		if ((has(&r->g.after[i], node) && (uint32_t)r->in->at[i] > place) ||
		    (has(&r->g.after[node], i) && (uint32_t)r->in->at[i] < place))
			return false;
	}
	return true;
}

/* As many as can: the longest part of our order that stands in the chain in that order. */
static void choose_who_stays(struct resolution *r)
{
	uint32_t length[NK_CHAIN_MAX], best = 0;
	int32_t previous[NK_CHAIN_MAX], end = -1;

	for (uint32_t k = 0; k < r->in->n; k++) {
		uint32_t i = r->order[k];

		length[k] = 0;
		previous[k] = -1;
		if (r->in->at[i] < 0 || !stands_well(r, i))
			continue;
		length[k] = 1;
		for (uint32_t j = 0; j < k; j++)
			if (length[j] >= length[k] && r->in->at[r->order[j]] < r->in->at[i]) {
				length[k] = length[j] + 1;
				previous[k] = (int32_t)j;
			}
		if (length[k] > best) {
			best = length[k];
			end = (int32_t)k;
		}
	}
	for (; end >= 0; end = previous[end])
		r->stays[r->order[end]] = true;
}

static uint32_t node_of(const struct resolution *r, uint32_t link)
{
	for (uint32_t i = 0; i < r->in->n; i++)
		if (r->in->at[i] == (int32_t)link)
			return i;
	for (uint32_t f = 0; f < r->n_foreign; f++)
		if (r->foreign[f] == link)
			return r->in->n + f;
	return NODES;
}

/* What stays keeps its place; each other one comes right before the first that has to stand after it. */
static void build_goal(struct resolution *r)
{
	uint32_t node[NODES], n = 0;

	for (uint32_t link = 0; link < r->in->chain->n; link++) {
		uint32_t one = node_of(r, link);

		if (one < NODES && (one >= r->in->n || r->stays[one]))
			node[n++] = one;
	}
	for (uint32_t k = r->in->n; k > 0; k--) {
		uint32_t i = r->order[k - 1], at = 0;

		if (r->stays[i])
			continue;
		while (at < n && !has(&r->g.after[i], node[at]))
			at++;
		insert(node, n++, at, i);
	}
	r->goal->n = n;
	for (uint32_t k = 0; k < n; k++) {
		bool foreign = node[k] >= r->in->n;

		r->goal->entry[k] = (struct nk_chain_entry){
			.want = foreign ? -1 : (int32_t)node[k],
			.stays = foreign || r->stays[node[k]],
		};
		if (foreign)
			r->goal->entry[k].link = r->foreign[node[k] - r->in->n];
		else if (r->stays[node[k]])
			r->goal->entry[k].link = (uint32_t)r->in->at[node[k]];
	}
}

void nk_chain_resolve(const struct nk_chain_input *in, struct nk_chain_goal *ret)
{
	struct resolution r = { .in = in, .goal = ret };

	memset(ret, 0, sizeof(*ret));
	find_foreign(&r);
	sort_base(&r);
	each_demand(in->want, in->n, add_demand, &r.g);
	for (uint32_t k = 0; k < in->n; k++)
		demand_of_foreign(&r, r.base[k]);
	order_ours(&r);
	choose_who_stays(&r);
	build_goal(&r);
}
