// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tells of devices that carry our mark and that no document names: when everything was read from the kernel, and of each once, not each
 * time. Called by the loop; part of the manager. Changes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager.h"

struct found {
	const struct nk_manager *m;
	char (*names)[NK_IFNAMSIZ]; /* owned */
	size_t n, room;
	bool no_memory;
};

static void note_unclaimed(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	struct found *f = arg;

	if (nk_reconcile_knows(f->m->reconcile, o->owner))
		return;
	if (f->n == f->room) {
		size_t room = f->room ? f->room * 2 : 16;
		void *more = reallocarray(f->names, room, sizeof(*f->names));

		if (!more) {
			f->no_memory = true;
			return;
		}
		f->names = more;
		f->room = room;
	}
	memcpy(f->names[f->n++], o->owner, sizeof(o->owner));
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

void nk_manager_tell_unclaimed(struct nk_manager *m)
{
	struct found f = { .m = m };

	nk_cache_each(m->cache, note_unclaimed, &f);
	if (f.no_memory) {
		free(f.names);
		return; /* after the next reading */
	}
	if (f.n)
		qsort(f.names, f.n, sizeof(*f.names), compare);
	for (size_t i = 0; i < f.n; i++) {
		struct nk_event_fields fields = { .device = f.names[i] };

		if (m->n_unclaimed && bsearch(f.names[i], m->unclaimed, m->n_unclaimed, sizeof(*m->unclaimed), compare))
			continue;
		nk_event(m->events, NK_EVENT_DEVICE_UNCLAIMED, &fields, "device %s: netkitd made it, but no document names it", f.names[i]);
	}
	free(m->unclaimed);
	m->unclaimed = f.names;
	m->n_unclaimed = f.n;
}
