// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of chains on random demands, against a reference that tries every permutation. The reference shares the rule of
 * chain_order.h with what it tests, and no code: what can stand where it learns from the permutations that are left.
 *
 * NETKITD_SEED sets the seed, NETKITD_STATES the number of states.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "build.h"
#include "chain_fixture.h"
#include "daemon/model/document.h"
#include "generate.h"

#define STATES 60000
#define OURS 5
#define NODES 7 /* ours and foreign ones together */
#define PERMUTATIONS 5040

/* ---- the reference ---- */

/* What is known of a state: nodes are ours by index, then foreign ones by their place among themselves. */
struct reference {
	struct chain *c;
	uint32_t n, m;
	uint32_t foreign[NODES]; /* program ids */
	uint32_t needs[NODES];   /* by node: the nodes that must stand before it, as bits */
	uint32_t base[OURS], rank[OURS];
	uint32_t n_perms;
	uint8_t perm[PERMUTATIONS][NODES]; /* those that are left */
	uint32_t n_unmet;
};

static void permute(struct reference *ref, uint8_t *sofar, uint32_t n, uint32_t used)
{
	if (n == ref->n + ref->m) {
		memcpy(ref->perm[ref->n_perms++], sofar, NODES);
		return;
	}
	for (uint32_t i = 0; i < ref->n + ref->m; i++) {
		if (used >> i & 1 || ref->needs[i] & ~used)
			continue;
		sofar[n] = (uint8_t)i;
		permute(ref, sofar, n + 1, used | 1u << i);
	}
}

static bool possible(struct reference *ref)
{
	uint8_t sofar[NODES] = { 0 };

	ref->n_perms = 0;
	permute(ref, sofar, 0, 0);
	return ref->n_perms > 0;
}

/* Add a demand if an order remains. */
static bool demand(struct reference *ref, uint32_t first, uint32_t second)
{
	uint32_t before = ref->needs[second];

	ref->needs[second] |= 1u << first;
	if (first != second && possible(ref))
		return true;
	ref->needs[second] = before;
	return false;
}

static int32_t named(const struct reference *ref, const struct nk_anchor *a)
{
	for (uint32_t i = 0; i < ref->n; i++)
		if (a->kind == NK_ANCHOR_NAME && !strcmp(a->text, ref->c->d->attachments[i].name))
			return (int32_t)i;
	return -1;
}

/* All that is said among ours; false: there is no order. */
static bool demand_ours(struct reference *ref)
{
	for (uint32_t i = 0; i < ref->n; i++) {
		const struct nk_attachment *a = &ref->c->d->attachments[i];

		for (uint32_t k = 0; k < a->n_before; k++)
			if (named(ref, &a->before[k]) >= 0)
				ref->needs[named(ref, &a->before[k])] |= 1u << i;
		for (uint32_t k = 0; k < a->n_after; k++)
			if (named(ref, &a->after[k]) >= 0)
				ref->needs[i] |= 1u << named(ref, &a->after[k]);
		for (uint32_t j = 0; j < ref->n; j++) {
			if (a->first && !ref->c->d->attachments[j].first)
				ref->needs[j] |= 1u << i;
			if (a->last && !ref->c->d->attachments[j].last)
				ref->needs[i] |= 1u << j;
		}
	}
	return possible(ref);
}

static int compare_base(const struct nk_attachment *a, const struct nk_attachment *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	return a < b ? -1 : a > b;
}

static void rank_ours(struct reference *ref)
{
	for (uint32_t i = 0; i < ref->n; i++) {
		ref->rank[i] = 0;
		for (uint32_t j = 0; j < ref->n; j++)
			ref->rank[i] += compare_base(&ref->c->d->attachments[j], &ref->c->d->attachments[i]) < 0;
		ref->base[ref->rank[i]] = i;
	}
}

static bool is_meant(const struct nk_anchor *a, uint32_t id)
{
	switch ((enum nk_anchor_kind)a->kind) {
	case NK_ANCHOR_NAME:
		return false;
	case NK_ANCHOR_ID:
		return a->id == id;
	case NK_ANCHOR_TAG:
		return a->tag[0] == 1 + (id - 1000) / 2;
	case NK_ANCHOR_PIN:
		return (uint32_t)atoi(a->text + 2) == id;
	}
	return false;
}

static void demand_foreign(struct reference *ref)
{
	for (uint32_t f = 0; f < ref->m; f++)
		for (uint32_t i = 0; i < ref->n; i++) {
			if (ref->c->d->attachments[i].first)
				ref->needs[ref->n + f] |= 1u << i;
			if (ref->c->d->attachments[i].last)
				ref->needs[i] |= 1u << (ref->n + f);
		}
	for (uint32_t k = 0; k < ref->n; k++) {
		uint32_t i = ref->base[k];
		const struct nk_attachment *a = &ref->c->d->attachments[i];

		for (uint32_t j = 0; j < a->n_before + a->n_after; j++) {
			bool before = j < a->n_before, found = false, met = true;
			const struct nk_anchor *anchor = before ? &a->before[j] : &a->after[j - a->n_before];

			if (anchor->kind == NK_ANCHOR_NAME)
				continue;
			for (uint32_t f = 0; f < ref->m; f++) {
				uint32_t node = ref->n + f;

				if (!is_meant(anchor, ref->foreign[f]))
					continue;
				found = true;
				met &= before ? demand(ref, i, node) : demand(ref, node, i);
			}
			ref->n_unmet += !found || !met;
		}
	}
}

/* Where node i stands in a permutation among the nodes of `among`; how many of these there are before it. */
static uint32_t place_among(const struct reference *ref, const uint8_t *perm, uint32_t i, uint32_t among)
{
	uint32_t place = 0;

	for (uint32_t k = 0; k < ref->n + ref->m && perm[k] != i; k++)
		place += among >> perm[k] & 1;
	return place;
}

/* The k-th of the nodes of `among`, -1 if there are fewer. */
static int32_t kth_among(const struct reference *ref, const uint8_t *perm, uint32_t kth, uint32_t among)
{
	for (uint32_t k = 0; k < ref->n + ref->m; k++)
		if (among >> perm[k] & 1 && kth-- == 0)
			return perm[k];
	return -1;
}

/* Keep the permutations in which the place of i among these is the one given. */
static void keep(struct reference *ref, uint32_t i, uint32_t among, uint32_t place)
{
	uint32_t kept = 0;

	for (uint32_t p = 0; p < ref->n_perms; p++)
		if (place_among(ref, ref->perm[p], i, among) == place)
			memmove(ref->perm[kept++], ref->perm[p], NODES);
	ref->n_perms = kept;
}

static bool says(const struct nk_attachment *a)
{
	return a->n_before || a->n_after;
}

/* Leave only the permutations in which ours stand in the one right order. */
static void order_ours(struct reference *ref)
{
	uint32_t silent = 0, placed = 0;

	for (uint32_t i = 0; i < ref->n; i++)
		if (!says(&ref->c->d->attachments[i]))
			silent |= 1u << i;
	/* At each place the silent one of the smallest rank that can stand there at all. */
	for (uint32_t k = 0; placed != silent; k++) {
		uint32_t best = UINT32_MAX;

		for (uint32_t p = 0; p < ref->n_perms; p++) {
			int32_t i = kth_among(ref, ref->perm[p], k, silent);

			if (best == UINT32_MAX || ref->rank[i] < ref->rank[best])
				best = (uint32_t)i;
		}
		keep(ref, best, silent, k);
		placed |= 1u << best;
	}
	/* Each other one in turn: at the first place that is open to it and followed by one of a larger rank, or at the last one. */
	for (uint32_t k = 0; k < ref->n; k++) {
		uint32_t i = ref->base[k], open = 0, chosen = 0;

		if (placed >> i & 1)
			continue;
		for (uint32_t p = 0; p < ref->n_perms; p++)
			open |= 1u << place_among(ref, ref->perm[p], i, placed);
		for (uint32_t place = 0; place <= OURS; place++) {
			int32_t next = kth_among(ref, ref->perm[0], place, placed);

			if (!(open >> place & 1))
				continue;
			chosen = place;
			if (next < 0 || ref->rank[next] > ref->rank[i])
				break;
		}
		keep(ref, i, placed, chosen);
		placed |= 1u << i;
	}
}

/* Is there a permutation left in which these stand as they do in the chain? */
static bool can_stay(const struct reference *ref, uint32_t nodes, const uint8_t *observed, uint32_t n)
{
	for (uint32_t p = 0; p < ref->n_perms; p++) {
		uint32_t k = 0;

		for (uint32_t i = 0; i < ref->n + ref->m; i++) {
			if (!(nodes >> ref->perm[p][i] & 1))
				continue;
			while (k < n && observed[k] != ref->perm[p][i] && !(nodes >> observed[k] & 1))
				k++;
			if (k == n || observed[k] != ref->perm[p][i])
				break;
			k++;
		}
		while (k < n && !(nodes >> observed[k] & 1))
			k++;
		if (k == n)
			return true;
	}
	return false;
}

static uint32_t most_that_can_stay(const struct reference *ref)
{
	uint32_t in_chain = 0, n = 0, f = 0, best = 0;
	uint8_t observed[NODES];

	for (uint32_t k = 0; k < ref->c->obs.n; k++) {
		const char *name = ref->c->links[k].name;
		uint32_t i = ref->n + f;

		if (name[0])
			for (i = 0; i < ref->n && ref->c->d->attachments[i].name[0] != name[0];)
				i++;
		else
			f++;
		if (name[0] && i == ref->n)
			continue; /* nobody wants it */
		observed[n++] = (uint8_t)i;
		in_chain |= 1u << i;
	}
	for (uint32_t set = 0; set < 1u << ref->n; set++)
		if (!(set & ~in_chain) && (uint32_t)__builtin_popcount(set) > best &&
		    can_stay(ref, set | (in_chain >> ref->n << ref->n), observed, n))
			best = (uint32_t)__builtin_popcount(set);
	return best;
}

static uint32_t node_of(const struct reference *ref, char c)
{
	for (uint32_t i = 0; i < ref->n; i++)
		if (ref->c->d->attachments[i].name[0] == c)
			return i;
	for (uint32_t f = 0; f < ref->m; f++)
		if (ref->foreign[f] == 1000u + (uint32_t)(c - '0'))
			return ref->n + f;
	return NODES;
}

static bool is_left(const struct reference *ref, const char *text)
{
	uint8_t perm[NODES] = { 0 };

	if (strlen(text) != ref->n + ref->m)
		return false;
	for (uint32_t k = 0; k < ref->n + ref->m; k++)
		perm[k] = (uint8_t)node_of(ref, text[k]);
	for (uint32_t p = 0; p < ref->n_perms; p++)
		if (!memcmp(ref->perm[p], perm, ref->n + ref->m))
			return true;
	return false;
}

/* Does everything that doesn't stay stand as late as it can? */
static bool as_late_as_can_be(const struct reference *ref, const struct resolved *r)
{
	for (size_t k = 0; r->text[k] && r->text[k + 1]; k++) {
		struct resolved other = *r;

		if (r->text[k] < 'a' || strchr(r->stays, r->text[k]) || r->text[k + 1] >= 'a')
			continue;
		other.text[k] = r->text[k + 1];
		other.text[k + 1] = r->text[k];
		if (is_left(ref, other.text))
			return false;
	}
	return true;
}

/* ---- random states ---- */

static void random_demands(struct rng *r, struct chain *c)
{
	uint32_t n = c->d->n_attachments;

	for (uint32_t i = 0; i < n; i++) {
		struct nk_attachment *a = &c->d->attachments[i];

		if (rng_one_in(r, 3))
			a->priority = (int32_t)rng_below(r, 3) - 1;
		if (rng_one_in(r, 10))
			*(rng_one_in(r, 2) ? &a->first : &a->last) = true;
	}
	for (uint32_t k = n ? rng_below(r, 2 * n) : 0; k > 0; k--) {
		char what[16] = "", who = (char)('a' + rng_below(r, n));
		uint32_t foreign = rng_below(r, 6);

		switch (rng_below(r, 6)) {
		case 0:
			snprintf(what, sizeof(what), "100%u", foreign);
			break;
		case 1:
			snprintf(what, sizeof(what), "#%u", 1 + foreign / 2);
			break;
		case 2:
			snprintf(what, sizeof(what), "/p100%u", foreign);
			break;
		default:
			what[0] = (char)('a' + rng_below(r, n));
		}
		say(c, who, rng_one_in(r, 2), what);
	}
}

/* Some of ours, some foreign ones, and now and then one that nobody wants, in any order. */
static void random_chain(struct rng *r, struct chain *c, uint32_t m)
{
	char text[NODES + 2] = "";
	size_t n = 0;

	for (uint32_t i = 0; i < c->d->n_attachments; i++)
		if (!rng_one_in(r, 3))
			text[n++] = (char)('a' + i);
	for (uint32_t f = 0; f < m; f++) {
		char id;

		do {
			id = (char)('0' + rng_below(r, 6));
		} while (strchr(text, id));
		text[n++] = id;
	}
	if (rng_one_in(r, 8))
		text[n++] = 'z';
	for (size_t i = n; i > 1; i--) {
		size_t k = rng_below(r, (uint32_t)i);
		char other = text[k];

		text[k] = text[i - 1];
		text[i - 1] = other;
	}
	stands(c, text);
}

static void describe(const struct chain *c, const struct resolved *r)
{
	for (uint32_t i = 0; i < c->d->n_attachments; i++) {
		const struct nk_attachment *a = &c->d->attachments[i];
		char text[NK_ANCHOR_STRLEN];

		printf("# %s: priority %d%s%s\n", a->name, a->priority, a->first ? ", first" : "", a->last ? ", last" : "");
		for (uint32_t k = 0; k < a->n_before + a->n_after; k++)
			printf("#   %s %s\n", k < a->n_before ? "before" : "after",
			       nk_anchor_format(k < a->n_before ? &a->before[k] : &a->after[k - a->n_before], text, sizeof(text)));
	}
	printf("# chain ");
	for (uint32_t k = 0; k < c->obs.n; k++)
		printf("%c", c->links[k].name[0] ? c->links[k].name[0] : (char)('0' + c->links[k].prog_id - 1000));
	printf(" became %s, of which stay %s\n", r->text, r->stays);
}

/* The circle that is told is one. */
static bool circle_is_right(const struct chain *c, const struct nk_chain_demand *ring, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++) {
		const struct nk_chain_demand *d = &ring[k];
		const struct nk_attachment *who = &c->d->attachments[d->who], *other;
		const struct nk_anchor *a = NULL;

		if (d->to != ring[(k + 1) % n].from || (d->who != d->from && d->who != d->to))
			return false;
		other = &c->d->attachments[d->who == d->from ? d->to : d->from];
		switch (d->kind) {
		case NK_DEMAND_BEFORE:
			a = d->index < who->n_before && d->who == d->from ? &who->before[d->index] : NULL;
			break;
		case NK_DEMAND_AFTER:
			a = d->index < who->n_after && d->who == d->to ? &who->after[d->index] : NULL;
			break;
		case NK_DEMAND_FIRST:
			if (!who->first || other->first || d->who != d->from)
				return false;
			continue;
		case NK_DEMAND_LAST:
			if (!who->last || other->last || d->who != d->to)
				return false;
			continue;
		}
		if (!a || a->kind != NK_ANCHOR_NAME || strcmp(a->text, other->name))
			return false;
	}
	return n > 0;
}

/* The same attachments listed in another order, where priority and classes alone leave no tie. */
static bool order_of_the_list_is_all_one(struct rng *r, struct chain *c, const char *ours)
{
	uint32_t n = c->d->n_attachments;

	for (uint32_t i = 0; i < n; i++)
		c->d->attachments[i].priority = (int32_t)(c->d->attachments[i].priority * 16 + (int32_t)i);
	for (uint32_t i = n; i > 1; i--) {
		struct nk_attachment other = c->d->attachments[i - 1];
		uint32_t k = rng_below(r, i);

		c->d->attachments[i - 1] = c->d->attachments[k];
		c->d->attachments[k] = other;
	}
	return !strcmp(resolve(c).ours, ours);
}

/* What is wrong, or NULL. */
static const char *try_state(struct rng *r, struct chain *c, struct reference *ref, struct resolved *ret)
{
	struct nk_chain_demand ring[NK_CHAIN_MAX];
	uint32_t length;

	ref->c = c;
	ref->n = c->d->n_attachments;
	ref->m = 0;
	ref->n_unmet = 0;
	memset(ref->needs, 0, sizeof(ref->needs));
	length = circle(c, ring);
	if (!demand_ours(ref))
		return circle_is_right(c, ring, length) ? NULL : "a circle is not found, or not told right";
	if (length)
		return "a circle that is none";

	for (uint32_t k = 0; k < c->obs.n; k++)
		if (!c->links[k].name[0]) {
			ref->foreign[ref->m] = c->links[k].prog_id;
			if (ref->m)
				ref->needs[ref->n + ref->m] = 1u << (ref->n + ref->m - 1);
			ref->m++;
		}
	rank_ours(ref);
	demand_foreign(ref);
	possible(ref);
	order_ours(ref);

	*ret = resolve(c);
	if (!is_left(ref, ret->text))
		return "not the order of the reference";
	if (ret->goal.n_unmet != ref->n_unmet)
		return "not the number of unmet demands";
	if (strlen(ret->stays) != most_that_can_stay(ref))
		return "not as many stay as could";
	if (!as_late_as_can_be(ref, ret))
		return "not right before what must stand after it";
	if (!order_of_the_list_is_all_one(r, c, ret->ours))
		return "the order of the list makes another chain";
	return NULL;
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void every_order_is_that_of_the_reference(void **state)
{
	uint64_t seed = number_from("NETKITD_SEED", 20250101), states = number_from("NETKITD_STATES", STATES);
	struct reference *ref = calloc(1, sizeof(*ref));
	uint32_t circles = 0, unmet = 0;

	assert_non_null(ref);
	printf("# %llu states, NETKITD_SEED=%llu\n", (unsigned long long)states, (unsigned long long)seed);
	for (uint64_t i = 0; i < states; i++) {
		struct rng r = { seed + i };
		uint32_t n = rng_below(&r, OURS + 1), m = rng_below(&r, NODES - OURS + 1);
		struct chain *c = new_chain(n);
		struct resolved resolved = { .text = "" };
		const char *wrong;

		random_demands(&r, c);
		random_chain(&r, c, m);
		wrong = try_state(&r, c, ref, &resolved);
		if (wrong) {
			describe(c, &resolved);
			fail_msg("%s (NETKITD_SEED=%llu)", wrong, (unsigned long long)(seed + i));
		}
		circles += ref->n_perms == 0;
		unmet += ref->n_unmet > 0;
		free_chain(c);
	}
	free(ref);
	/* The states are of all kinds. */
	assert_true(states < 1000 || (circles > states / 100 && unmet > states / 100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_order_is_that_of_the_reference),
	};

	return cmocka_run_group_tests_name("chain_random", tests, NULL, NULL);
}
