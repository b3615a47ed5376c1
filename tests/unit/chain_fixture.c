// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chains by hand (chain_fixture.h).
 */
#include "chain_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "build.h"

static uint32_t pin_prog(const char *path, void *arg)
{
	(void)arg;
	return (uint32_t)atoi(path + 2);
}

struct chain *new_chain(uint32_t n)
{
	struct chain *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->d = build_device("web-1", "one");
	c->obs.links = c->links;
	for (uint32_t i = 0; i < n; i++) {
		char name[2] = { (char)('a' + i), '\0' }, program[NK_NAME_MAX];

		snprintf(program, sizeof(program), "p%u", i);
		build_attachment(c->d, name, program, NK_HOOK_NETKIT_PEER, false);
	}
	return c;
}

void free_chain(struct chain *c)
{
	nk_device_unref(c->d);
	free(c);
}

struct nk_attachment *att(struct chain *c, char name)
{
	for (uint32_t i = 0; i < c->d->n_attachments; i++)
		if (c->d->attachments[i].name[0] == name)
			return &c->d->attachments[i];
	fail_msg("no attachment %c", name);
	return NULL;
}

/* "b": the attachment b. "1001": the foreign program of this id; "/p1001" its pin; "#7" its tag's first byte. */
void say(struct chain *c, char who, bool before, const char *what)
{
	struct nk_attachment *a = att(c, who);
	struct nk_anchor **list = before ? &a->before : &a->after, *anchor;
	uint32_t *n = before ? &a->n_before : &a->n_after;

	*list = reallocarray(*list, *n + 1, sizeof(**list));
	assert_non_null(*list);
	anchor = &(*list)[(*n)++];
	memset(anchor, 0, sizeof(*anchor));
	if (what[0] == '/') {
		anchor->kind = NK_ANCHOR_PIN;
		anchor->text = strdup(what);
	} else if (what[0] == '#') {
		anchor->kind = NK_ANCHOR_TAG;
		anchor->tag[0] = (uint8_t)atoi(what + 1);
	} else if (what[0] >= 'a') {
		anchor->kind = NK_ANCHOR_NAME;
		anchor->text = strdup(what);
	} else {
		anchor->kind = NK_ANCHOR_ID;
		anchor->id = (uint32_t)atoi(what);
	}
}

/* A letter is an attachment of ours, a digit the foreign program 1000 and so many, with the tag of that digit halved. */
void stands(struct chain *c, const char *text)
{
	c->obs.n = 0;
	for (; *text; text++) {
		struct nk_obs_link *l = &c->links[c->obs.n++];

		memset(l, 0, sizeof(*l));
		l->link_id = c->obs.n;
		l->prog_id = *text >= 'a' ? 100u + (uint32_t)(*text - 'a') : 1000u + (uint32_t)(*text - '0');
		if (*text >= 'a')
			l->name[0] = *text;
		else
			l->tag[0] = (uint8_t)(1 + (*text - '0') / 2);
	}
}

struct resolved resolve(struct chain *c)
{
	const struct nk_attachment *want[NK_CHAIN_MAX];
	int32_t at[NK_CHAIN_MAX];
	struct nk_chain_input in = { .want = want, .n = c->d->n_attachments, .chain = &c->obs, .at = at, .pin_prog = pin_prog };
	struct resolved r = { .text = "" };
	size_t n_ours = 0, n_stays = 0;

	for (uint32_t i = 0; i < in.n; i++) {
		want[i] = &c->d->attachments[i];
		at[i] = -1;
		for (uint32_t k = 0; k < c->obs.n; k++)
			if (!strcmp(c->links[k].name, want[i]->name))
				at[i] = (int32_t)k;
	}
	nk_chain_resolve(&in, &r.goal);
	for (uint32_t k = 0; k < r.goal.n; k++) {
		const struct nk_chain_entry *e = &r.goal.entry[k];

		r.text[k] = e->want >= 0 ? want[e->want]->name[0] : (char)('0' + c->links[e->link].prog_id - 1000);
		if (e->want >= 0)
			r.ours[n_ours++] = r.text[k];
		if (e->want >= 0 && e->stays)
			r.stays[n_stays++] = r.text[k];
	}
	return r;
}

void becomes(struct chain *c, const char *before, const char *after, const char *stays)
{
	struct resolved r;

	stands(c, before);
	r = resolve(c);
	assert_string_equal(r.text, after);
	assert_string_equal(r.stays, stays);
}

uint32_t circle(struct chain *c, struct nk_chain_demand *ret)
{
	const struct nk_attachment *want[NK_CHAIN_MAX];

	for (uint32_t i = 0; i < c->d->n_attachments; i++)
		want[i] = &c->d->attachments[i];
	return nk_chain_circle(want, c->d->n_attachments, ret);
}
