// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who breaks an object again and again (contest.h). Called by condition.c and reconcile.c.
 */
#include "daemon/contest.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/object.h"

#define ENTRIES 4 /* who fights in turns with more names than that is as good as unknown */

struct nk_contest {
	struct nk_contestant e[ENTRIES];
};

struct nk_contest *nk_contest_new(void)
{
	return calloc(1, sizeof(struct nk_contest));
}

struct nk_contest *nk_contest_free(struct nk_contest *c)
{
	free(c);
	return NULL;
}

static const struct nk_culprit nobody;

static bool same(const struct nk_contestant *e, const struct nk_culprit *who, uint32_t areas)
{
	return e->count && e->areas == areas && e->who.uid == who->uid && !strncmp(e->who.comm, who->comm, sizeof(who->comm)) &&
	       !strncmp(e->who.cgroup, who->cgroup, sizeof(who->cgroup));
}

/* The longer the pause, the longer it takes until he sees that there is something to break again. */
static uint64_t calm_at_us(const struct nk_contestant *e)
{
	return e->last_us + 1000ull * (NK_CONTEST_CALM_MS + 2 * (uint64_t)e->pause_ms);
}

const struct nk_contestant *nk_contest_note(struct nk_contest *c, const struct nk_culprit *who, uint32_t areas, uint64_t now_us,
					    uint32_t min_ms, uint32_t max_ms, uint32_t random)
{
	struct nk_contestant *e = NULL;

	if (!who)
		who = &nobody;
	for (size_t i = 0; i < ENTRIES && !e; i++) {
		if (same(&c->e[i], who, areas))
			e = &c->e[i];
	}
	if (!e) {
		e = &c->e[0];
		for (size_t i = 1; i < ENTRIES; i++) {
			if (c->e[i].last_us < e->last_us)
				e = &c->e[i];
		}
		*e = (struct nk_contestant){ .areas = areas };
	}
	if (!e->count || now_us > calm_at_us(e)) {
		e->count = 0;
		e->since_us = now_us;
	}
	e->who = *who;
	e->count++;
	e->last_us = now_us;
	e->pause_ms = e->count > NK_CONTEST_FREE ? nk_backoff_ms(e->count - NK_CONTEST_FREE, min_ms, max_ms, random) : 0;
	return e;
}

const struct nk_contestant *nk_contest_last(const struct nk_contest *c)
{
	const struct nk_contestant *found = NULL;

	for (size_t i = 0; c && i < ENTRIES; i++) {
		if (c->e[i].pause_ms && (!found || c->e[i].last_us > found->last_us))
			found = &c->e[i];
	}
	return found;
}

const struct nk_contestant *nk_contest_fighter(const struct nk_contest *c, uint64_t now_us, uint64_t *ret_calm_us)
{
	const struct nk_contestant *e = nk_contest_last(c);

	if (!e || now_us >= calm_at_us(e))
		return NULL;
	*ret_calm_us = calm_at_us(e);
	return e;
}
