// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commit: all changes that wait are written together, then their clients are answered and reconcile is told; or all are taken back.
 * Called by the loop's turns (manager.c) and by whoever is going to read out (methods.c, wait.c). Does nothing to the kernel.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/kernel/passed.h"
#include "daemon/manager.h"

static bool is_passed(const struct nk_program *p)
{
	return p && p->source == NK_PROGRAM_ID;
}

/* Is it about programs that came as descriptors? Then some may need their pins no more once it is in force, or taken back. */
static bool has_passed(const struct nk_change *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (is_passed(c->items[i].prog_prev) || is_passed(c->items[i].prog_next))
			return true;
	}
	return false;
}

void nk_manager_undo(struct nk_manager *m, struct nk_change *c)
{
	bool passed = has_passed(c);

	nk_document_undo(m->doc, c);
	nk_change_clear(c);
	if (passed)
		nk_passed_collect(m->settings.bpffs, m->doc);
}

static int write_pending(struct nk_manager *m)
{
	struct nk_pending *p;
	int r;

	if (m->revision_working == m->revision)
		return 0; /* nobody changes anything */
	r = nk_store_begin(m->store);
	TAILQ_FOREACH(p, &m->pending, link) {
		if (r == 0 && p->change.n)
			r = nk_store_write(m->store, &p->change);
	}
	if (r == 0)
		r = nk_store_commit(m->store, m->revision_working);
	if (r < 0)
		nk_store_rollback(m->store);
	return r;
}

static void refuse_pending(struct nk_manager *m)
{
	struct nk_event_fields f = { .revision = m->revision };
	struct nk_pending *p;

	snprintf(m->store_why, sizeof(m->store_why), "%s", nk_store_why(m->store));
	nk_event(m->events, NK_EVENT_DATABASE_FAILED, &f, "changes were refused because they could not be written to disk: %s",
		 m->store_why);
	/* The last change comes off first. */
	while ((p = TAILQ_LAST(&m->pending, nk_pending_list))) {
		struct nk_error err = { 0 };

		TAILQ_REMOVE(&m->pending, p, link);
		nk_manager_undo(m, &p->change);
		free(p->about.list);
		json_decref(p->summary);
		if (p->request) {
			nk_error_set(&err, NK_E_INTERNAL, "nothing was changed: the database could not be written: %s", m->store_why);
			nk_request_fail(p->request, &err);
		}
		free(p);
	}
	m->revision_working = m->revision;
}

/* The change is on disk: reconcile takes over, and the client may know. */
static void accept_pending(struct nk_manager *m, struct nk_pending *p)
{
	for (size_t i = 0; i < p->change.n; i++) {
		const struct nk_change_item *it = &p->change.items[i];

		if (it->is_program)
			nk_reconcile_program_changed(m->reconcile, it->name, p->revision);
		else
			nk_reconcile_device_changed(m->reconcile, it->name, p->revision);
	}
	if (p->request && p->wait)
		nk_manager_start_waiting(m, p->request, p->revision, p->summary, &p->about, p->wait_ms);
	else if (p->request)
		nk_request_reply(p->request, nk_manager_change_result(p->revision, p->summary, nk_manager_is_converged(m, &p->about), NULL));
	if (has_passed(&p->change))
		nk_passed_collect(m->settings.bpffs, m->doc);
	nk_change_clear(&p->change);
	free(p->about.list);
	json_decref(p->summary);
	free(p);
}

void nk_manager_commit(struct nk_manager *m)
{
	struct nk_event_fields f = { 0 };
	struct nk_pending *p;
	uint64_t before = m->revision;
	size_t n = 0;

	if (TAILQ_EMPTY(&m->pending))
		return;
	if (write_pending(m) < 0) {
		refuse_pending(m);
		return;
	}
	m->store_why[0] = '\0';
	m->revision = m->revision_working;
	while ((p = TAILQ_FIRST(&m->pending))) {
		TAILQ_REMOVE(&m->pending, p, link);
		n += p->change.n;
		accept_pending(m, p);
	}
	if (m->revision != before) {
		f.revision = m->revision;
		nk_event(m->events, NK_EVENT_DOCUMENT_CHANGED, &f, "revision %" PRIu64 ": %zu objects changed, %zu devices desired",
			 m->revision, n, nk_document_n_devices(m->doc));
	}
}
