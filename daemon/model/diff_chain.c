// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chains: what is missing, exchanged, misplaced or too much at one hook, and the steps that put it right. Called by diff.c. What must
 * hold after every step while the primary is up: the chain contains all that it held before, or all that it shall hold, and any
 * two programs stand as they did before, or as they shall.
 */
#include "daemon/model/diff.h"

#include <stdio.h>
#include <string.h>

/* Place of our link of this name; -1 if there is none. */
static int32_t find_link(const struct nk_obs_chain *c, const char *name)
{
	for (uint32_t k = 0; k < c->n; k++)
		if (!strcmp(c->links[k].name, name))
			return (int32_t)k;
	return -1;
}

/* The attachment that link k of the chain stands for; -1 if it is foreign or not wanted. */
static int32_t wanted_as(const struct nk_diff_hook *h, uint32_t k)
{
	for (uint32_t i = 0; i < h->n; i++)
		if (h->at[i] == (int32_t)k)
			return (int32_t)i;
	return -1;
}

static bool right_program(const struct nk_diff_hook *h, const struct nk_obs_chain *c, uint32_t i)
{
	return h->at[i] >= 0 && c->links[h->at[i]].prog_id == h->id[i];
}

/* Does a link of ours that goes or changes hold the program that attachment i is to have? A chain holds a program once. */
static bool program_in_the_way(const struct nk_diff_hook *h, const struct nk_obs_chain *c, uint32_t i)
{
	for (uint32_t k = 0; k < c->n; k++) {
		int32_t as = wanted_as(h, k);

		if (c->links[k].name[0] && c->links[k].prog_id == h->id[i] && as != (int32_t)i &&
		    (as < 0 || !right_program(h, c, (uint32_t)as)))
			return true;
	}
	return false;
}

static void resolve(const struct nk_diff *x, enum nk_hook hook, struct nk_diff_hook *h, const int32_t *at)
{
	const struct nk_chain_input in = {
		.want = h->want, .n = h->n, .chain = &x->o->chain[hook], .at = at, .pin_prog = x->env->pin_prog, .arg = x->env->arg,
	};

	nk_chain_resolve(&in, &h->goal);
}

static bool needs_rebuild(const struct nk_diff_hook *h, const struct nk_obs_chain *c)
{
	uint32_t missing = 0, extra = 0, moves = 0;

	for (uint32_t k = 0; k < h->goal.n; k++) {
		const struct nk_chain_entry *e = &h->goal.entry[k];

		if (!e->stays && h->at[e->want] < 0)
			missing++;
		else if (!e->stays)
			moves++;
	}
	for (uint32_t i = 0; i < h->n; i++)
		if (!right_program(h, c, i) && program_in_the_way(h, c, i))
			return true;
	for (uint32_t k = 0; k < c->n; k++)
		extra += c->links[k].name[0] && wanted_as(h, k) < 0;
	return (extra > 0 && c->n + missing > NK_CHAIN_MAX) || (moves > 0 && c->n >= NK_CHAIN_MAX);
}

void nk_diff_read_hook(const struct nk_diff *x, enum nk_hook hook, struct nk_diff_hook *ret)
{
	const struct nk_obs_chain *c = &x->o->chain[hook];
	int32_t right[NK_CHAIN_MAX];

	ret->n = 0;
	ret->required_missing = false;
	for (uint32_t i = 0; i < x->d->n_attachments && ret->n < NK_CHAIN_MAX; i++) {
		const struct nk_attachment *a = &x->d->attachments[i];
		uint32_t n = ret->n;

		if (a->hook != hook)
			continue;
		ret->want[n] = a;
		ret->id[n] = x->env->prog_id(a->program, x->env->arg);
		ret->at[n] = find_link(c, a->name);
		ret->required_missing |= a->required && ret->at[n] < 0;
		ret->n++;
	}
	resolve(x, hook, ret, ret->at);
	ret->rebuild = needs_rebuild(ret, c);
	if (!ret->rebuild)
		return;
	/* What hasn't its program goes and comes anew. */
	for (uint32_t i = 0; i < ret->n; i++)
		right[i] = right_program(ret, c, i) ? ret->at[i] : -1;
	resolve(x, hook, ret, right);
}

/* The chains on their way: what has its final place already. */
struct steps {
	struct nk_diff *x;
	enum nk_hook hook;
	const struct nk_diff_hook *h;
	const struct nk_obs_chain *c;
	bool done[2 * NK_CHAIN_MAX]; /* by entry of the goal */
};

static struct steps begin(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h)
{
	struct steps s = { .x = x, .hook = hook, .h = h, .c = &x->o->chain[hook] };

	for (uint32_t k = 0; k < h->goal.n; k++)
		s.done[k] = h->goal.entry[k].stays;
	return s;
}

/* The program behind which nothing may come between: that of the next entry which has its place. 0: there is none. */
static uint32_t next_program(const struct steps *s, uint32_t k)
{
	const struct nk_chain_entry *e;

	do {
		if (++k == s->h->goal.n)
			return 0;
	} while (!s->done[k]);
	e = &s->h->goal.entry[k];
	if (e->want >= 0 && s->h->id[e->want])
		return s->h->id[e->want];
	return s->c->links[e->want >= 0 ? (uint32_t)s->h->at[e->want] : e->link].prog_id;
}

static void emit(const struct steps *s, enum nk_op_kind kind, enum nk_phase phase, const struct nk_attachment *a,
		 const struct nk_obs_link *link, uint32_t before_prog)
{
	struct nk_op op = { .kind = (uint8_t)kind, .phase = (uint8_t)phase, .hook = (uint8_t)s->hook };

	memcpy(op.att.name, a ? a->name : link->name, sizeof(op.att.name));
	if (a)
		memcpy(op.att.program, a->program, sizeof(op.att.program));
	if (link) {
		op.att.link_id = link->link_id;
		op.att.old_prog = link->prog_id;
	}
	op.att.before_prog = before_prog;
	op.att.revision = s->c->revision;
	nk_diff_emit(s->x, op);
}

static void emit_updates(const struct steps *s)
{
	for (uint32_t i = 0; i < s->h->n; i++)
		if (s->h->at[i] >= 0 && s->h->id[i] && !right_program(s->h, s->c, i))
			emit(s, NK_OP_UPDATE, NK_PHASE_ATTACH, s->h->want[i], &s->c->links[s->h->at[i]], 0);
}

/* Does entry k of the goal, which moves, go towards the end of the chain? Told by what it passes of that which stays. */
static bool goes_back(const struct steps *s, uint32_t k)
{
	int32_t at = s->h->at[s->h->goal.entry[k].want];
	int passed = 0;

	for (uint32_t i = 0; i < s->h->goal.n; i++)
		if (s->h->goal.entry[i].stays)
			passed += (i < k) - ((int32_t)s->h->goal.entry[i].link < at);
	return passed > 0;
}

static void emit_move(struct steps *s, uint32_t k)
{
	const struct nk_chain_entry *e = &s->h->goal.entry[k];

	emit(s, NK_OP_MOVE, NK_PHASE_ATTACH, s->h->want[e->want], &s->c->links[s->h->at[e->want]], next_program(s, k));
	s->done[k] = true;
}

static bool moves(const struct steps *s, uint32_t k)
{
	return !s->done[k] && s->h->at[s->h->goal.entry[k].want] >= 0;
}

/*
 * Those that go towards the end first, the last of them before the others, then those that go towards the front, the first of them
 * before the others. So no two of them change places that stand in the same order before and afterwards.
 */
static void emit_moves(struct steps *s)
{
	for (uint32_t k = s->h->goal.n; k > 0; k--)
		if (moves(s, k - 1) && goes_back(s, k - 1))
			emit_move(s, k - 1);
	for (uint32_t k = 0; k < s->h->goal.n; k++)
		if (moves(s, k))
			emit_move(s, k);
}

/* What has no place yet, each right before the next that has one; the last ones at the end. */
static void emit_attaches(const struct steps *s)
{
	for (uint32_t k = 0; k < s->h->goal.n; k++) {
		const struct nk_chain_entry *e = &s->h->goal.entry[k];

		if (!s->done[k] && s->h->id[e->want])
			emit(s, NK_OP_ATTACH, NK_PHASE_ATTACH, s->h->want[e->want], NULL, next_program(s, k));
	}
}

/* While packets pass: exchange and move in place, attach what is missing, and only then let go of what is too much. */
static void emit_in_place(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h)
{
	struct steps s = begin(x, hook, h);

	emit_updates(&s);
	emit_moves(&s);
	emit_attaches(&s);
	for (uint32_t k = 0; k < s.c->n && !x->blocked; k++)
		if (s.c->links[k].name[0] && wanted_as(h, k) < 0)
			emit(&s, NK_OP_DETACH, NK_PHASE_DETACH, NULL, &s.c->links[k], 0);
}

static bool link_stays(const struct nk_diff_hook *h, uint32_t link)
{
	for (uint32_t k = 0; k < h->goal.n; k++)
		if (h->goal.entry[k].stays && h->goal.entry[k].link == link)
			return true;
	return false;
}

/* While the primary is down: let go of all that is not right and in its order, then attach it anew. */
static void emit_rebuild(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h)
{
	const struct steps s = begin(x, hook, h);

	for (uint32_t k = 0; k < s.c->n; k++)
		if (s.c->links[k].name[0] && !link_stays(h, k))
			emit(&s, NK_OP_DETACH, NK_PHASE_ATTACH, NULL, &s.c->links[k], 0);
	emit_attaches(&s);
}

void nk_diff_emit_hook(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h)
{
	if (!h->rebuild)
		emit_in_place(x, hook, h);
	else if (!x->blocked) /* else the chain would stay half built: wait for the missing program */
		emit_rebuild(x, hook, h);
}

bool nk_diff_unmet(const struct nk_device *d, const struct nk_obs_device *o, const struct nk_diff_env *env, char *buf, size_t size,
		   bool *ret_pin)
{
	const struct nk_diff x = { .d = d, .o = o, .env = env };
	char anchor[NK_ANCHOR_STRLEN], more[32] = "";
	const struct nk_chain_goal *first = NULL;
	struct nk_diff_hook hooks[NK_HOOKS];
	uint32_t n = 0;

	*ret_pin = false;
	for (size_t i = 0; i < NK_HOOKS; i++) {
		if (!nk_hook_fits((enum nk_hook)i, d->interface))
			continue;
		nk_diff_read_hook(&x, (enum nk_hook)i, &hooks[i]);
		n += hooks[i].goal.n_unmet;
		*ret_pin |= hooks[i].goal.unmet_pin;
		if (!first && hooks[i].goal.n_unmet)
			first = &hooks[i].goal;
	}
	if (!first)
		return false;
	if (n > 1)
		snprintf(more, sizeof(more), " (and %u more)", n - 1);
	nk_anchor_format(first->unmet, anchor, sizeof(anchor));
	snprintf(buf, size, "attachment %s is in the chain, but not where it should be: %s %s%s", first->unmet_of->name, anchor,
		 first->unmet_absent ? "is not there" : "can't be on that side of it, as the other programs stand", more);
	return true;
}
