// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a device is inspected because somebody set it and no event may have told. Who does so all the time, be it in his own container,
 * must not keep netkitd from anything else about that device: an inspection that is asked for while another one runs waits until
 * that one was looked at, and for a pause. Called by the manager's watcher, through reconcile.h; decides nothing else.
 */
#include <event2/event.h>
#include <stdlib.h>

#include "daemon/reconcile_internal.h"

static void inspect(struct nk_reconcile *r, struct nk_object *o)
{
	const struct nk_obs_device *obs = nk_cache_get(r->o.cache, o->name);

	/* One who is known to have changed something is not forgotten for one who may have. */
	if (o->set_by && o->ready_as && !o->culprit)
		nk_object_blame(o, o->set_by);
	free(o->set_by);
	o->set_by = NULL;
	o->reread = false;
	if (obs)
		nk_cache_chains_touched(r->o.cache, obs->end[NK_PRIMARY].ifindex);
}

struct turn {
	struct nk_reconcile *r;
	bool any;
};

static void one_by_one(struct nk_object *o, void *arg)
{
	struct turn *t = arg;

	if (!o->reread)
		return;
	t->any = true;
	/* What runs may have read it before; what was read is looked at first. */
	if (!o->in_plan && !(o->fresh && o->dirty))
		inspect(t->r, o);
}

static void pause_then(struct nk_reconcile *r)
{
	struct timeval tv = { .tv_sec = (time_t)(r->o.retry_min_ms / 1000), .tv_usec = (suseconds_t)(r->o.retry_min_ms % 1000 * 1000) };

	evtimer_add(r->reread_timer, &tv);
}

void nk_reconcile_on_reread(int fd, short what, void *arg)
{
	struct turn t = { .r = arg };

	(void)fd;
	(void)what;
	nk_objects_each(t.r->devices, one_by_one, &t);
	if (t.any)
		pause_then(t.r);
}

static void mark(struct nk_object *o, void *arg)
{
	(void)arg;
	o->reread = true;
}

void nk_reconcile_reread(struct nk_reconcile *r, const char *owner, const struct nk_culprit *who)
{
	struct nk_object *o = nk_objects_find(r->devices, owner);

	if (!o)
		return;
	mark(o, NULL);
	if (!o->set_by)
		o->set_by = malloc(sizeof(*o->set_by));
	if (o->set_by)
		*o->set_by = *who;
	if (evtimer_pending(r->reread_timer, NULL))
		return;
	if (!o->in_plan)
		inspect(r, o);
	pause_then(r);
}

void nk_reconcile_reread_all(struct nk_reconcile *r)
{
	nk_objects_each(r->devices, mark, NULL);
	if (!evtimer_pending(r->reread_timer, NULL))
		nk_reconcile_on_reread(-1, 0, r);
}
