// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chains: what is missing, exchanged, misplaced or too much at one hook, and the steps that put it right. Called by diff.c. What must
 * hold after every step while the primary is up: the chain contains all that it held before, or all that it shall hold.
 */
#include "daemon/model/diff.h"

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

static bool needs_rebuild(const struct nk_diff_hook *h, const struct nk_obs_chain *c)
{
	uint32_t missing = 0, extra = 0;
	int32_t last = -1;

	for (uint32_t i = 0; i < h->n; i++) {
		if (h->at[i] >= 0 && h->at[i] < last)
			return true;
		if (h->at[i] >= 0)
			last = h->at[i];
		else
			missing++;
		if (!right_program(h, c, i) && program_in_the_way(h, c, i))
			return true;
	}
	for (uint32_t k = 0; k < c->n; k++)
		extra += c->links[k].name[0] && wanted_as(h, k) < 0;
	return extra > 0 && c->n + missing > NK_CHAIN_MAX;
}

void nk_diff_read_hook(const struct nk_diff *x, enum nk_hook hook, struct nk_diff_hook *ret)
{
	const struct nk_obs_chain *c = &x->o->chain[hook];

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
	ret->rebuild = needs_rebuild(ret, c);
}

static void emit_attach(struct nk_diff *x, enum nk_hook hook, const struct nk_attachment *a, uint32_t before_link)
{
	struct nk_op op = { .kind = NK_OP_ATTACH, .phase = NK_PHASE_ATTACH, .hook = (uint8_t)hook };

	memcpy(op.att.name, a->name, sizeof(op.att.name));
	memcpy(op.att.program, a->program, sizeof(op.att.program));
	op.att.before_link = before_link;
	nk_diff_emit(x, op);
}

static void emit_update(struct nk_diff *x, enum nk_hook hook, const struct nk_attachment *a, const struct nk_obs_link *link)
{
	struct nk_op op = { .kind = NK_OP_UPDATE, .phase = NK_PHASE_ATTACH, .hook = (uint8_t)hook };

	memcpy(op.att.name, a->name, sizeof(op.att.name));
	memcpy(op.att.program, a->program, sizeof(op.att.program));
	op.att.link_id = link->link_id;
	op.att.old_prog = link->prog_id;
	nk_diff_emit(x, op);
}

static void emit_detach(struct nk_diff *x, enum nk_hook hook, enum nk_phase phase, const struct nk_obs_link *link)
{
	struct nk_op op = { .kind = NK_OP_DETACH, .phase = (uint8_t)phase, .hook = (uint8_t)hook };

	memcpy(op.att.name, link->name, sizeof(op.att.name));
	op.att.link_id = link->link_id;
	nk_diff_emit(x, op);
}

/* Attach what `keeps` lacks, each before the next link that stays; the last ones at the end. */
static void emit_attaches(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h, const bool *keeps)
{
	const struct nk_obs_chain *c = &x->o->chain[hook];

	for (uint32_t i = 0; i < h->n; i++) {
		uint32_t next = i + 1;

		if (keeps[i] || !h->id[i])
			continue;
		while (next < h->n && !keeps[next])
			next++;
		emit_attach(x, hook, h->want[i], next < h->n ? c->links[h->at[next]].link_id : 0);
	}
}

/* While packets pass: exchange in place, attach what is missing, and only then let go of what is too much. */
static void emit_in_place(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h)
{
	const struct nk_obs_chain *c = &x->o->chain[hook];
	bool keeps[NK_CHAIN_MAX];

	for (uint32_t i = 0; i < h->n; i++) {
		keeps[i] = h->at[i] >= 0;
		if (keeps[i] && h->id[i] && !right_program(h, c, i))
			emit_update(x, hook, h->want[i], &c->links[h->at[i]]);
	}
	emit_attaches(x, hook, h, keeps);
	for (uint32_t k = 0; k < c->n && !x->blocked; k++)
		if (c->links[k].name[0] && wanted_as(h, k) < 0)
			emit_detach(x, hook, NK_PHASE_DETACH, &c->links[k]);
}

/* While the primary is down: let go of all that is not right and in its order, then attach it anew. */
static void emit_rebuild(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h)
{
	const struct nk_obs_chain *c = &x->o->chain[hook];
	bool keeps[NK_CHAIN_MAX];
	int32_t last = -1;

	for (uint32_t i = 0; i < h->n; i++) {
		keeps[i] = right_program(h, c, i) && h->at[i] > last;
		if (keeps[i])
			last = h->at[i];
	}
	for (uint32_t k = 0; k < c->n; k++) {
		int32_t as = wanted_as(h, k);

		if (c->links[k].name[0] && (as < 0 || !keeps[as]))
			emit_detach(x, hook, NK_PHASE_ATTACH, &c->links[k]);
	}
	emit_attaches(x, hook, h, keeps);
}

void nk_diff_emit_hook(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h)
{
	if (!h->rebuild)
		emit_in_place(x, hook, h);
	else if (!x->blocked) /* else the chain would stay half built: wait for the missing program */
		emit_rebuild(x, hook, h);
}
