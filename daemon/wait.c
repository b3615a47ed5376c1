// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests that are answered when objects have settled: state.wait, and changes with wait_ms. An object is settled when it is
 * ready or released, or when it was tried often enough that its condition is the answer. Called by commit.c and, at the
 * end of each run, by reconcile through manager.c.
 */
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/manager.h"

json_t *nk_manager_change_result(uint64_t revision, json_t *summary, bool converged, json_t *pending)
{
	struct nk_result_apply result = { .revision = revision, .converged = converged, .plan = summary, .pending = pending };

	return nk_table_encode(nk_methods[NK_M_STATE_APPLY].result, &result);
}

static bool is_settled(const struct nk_manager *m, bool is_program, const char *name)
{
	return is_program ? nk_reconcile_program_settled(m->reconcile, name) : nk_reconcile_device_settled(m->reconcile, name);
}

/* Nothing is under way for it, and it is ready, released or not there; else ret says how it is. */
static bool is_right(const struct nk_manager *m, bool is_program, const char *name, struct nk_condition *ret)
{
	int r = is_program ? nk_reconcile_program_condition(m->reconcile, name, ret) : nk_reconcile_device_condition(m->reconcile, name, ret);

	if (r < 0)
		return true;
	return (ret->state == NK_STATE_READY || ret->state == NK_STATE_RELEASED) && is_settled(m, is_program, name);
}

bool nk_manager_is_converged(const struct nk_manager *m, const struct nk_about *about)
{
	struct nk_condition c;

	for (size_t i = 0; i < about->n; i++) {
		if (!is_right(m, about->list[i].is_program, about->list[i].name, &c))
			return false;
	}
	return true;
}

struct unready {
	struct nk_manager *m;
	json_t *list;
	bool unsettled;
};

static void note_unready(struct unready *u, bool is_program, const char *name)
{
	char object[NK_NAME_MAX + 16];
	struct nk_view_object view = { .object = object };

	if (is_right(u->m, is_program, name, &view.condition))
		return;
	u->unsettled |= !is_settled(u->m, is_program, name);
	if (!u->list)
		return;
	snprintf(object, sizeof(object), "%s/%s",
		 is_program ? "program" : nk_device_noun(nk_reconcile_is_interface(u->m->reconcile, name)), name);
	json_array_append_new(u->list, nk_table_encode(&nk_table_view_object, &view));
}

static void note_object(bool is_program, const char *name, void *arg)
{
	note_unready(arg, is_program, name);
}

static bool waiter_settled(struct nk_waiter *w)
{
	struct nk_manager *m = w->manager;
	struct nk_reconcile_counts c;
	struct unready u = { .m = m };

	if (!w->all) {
		while (w->next < w->about.n && is_settled(m, w->about.list[w->next].is_program, w->about.list[w->next].name))
			w->next++;
		return w->next == w->about.n;
	}
	nk_reconcile_count(m->reconcile, &c);
	if (c.converged >= w->revision)
		return true;
	if (c.unsettled || c.attempted < w->revision)
		return false;
	nk_reconcile_each(m->reconcile, note_object, &u);
	return !u.unsettled;
}

/* Takes result. */
static void finish(struct nk_waiter *w, json_t *result)
{
	TAILQ_REMOVE(&w->manager->waiters, w, link);
	nk_request_reply(w->request, result);
	if (w->timer)
		event_free(w->timer);
	json_decref(w->summary);
	free(w->about.list);
	free(w);
}

static void answer(struct nk_waiter *w)
{
	struct nk_manager *m = w->manager;
	struct unready u = { .m = m, .list = json_array() };
	json_t *result;
	bool converged;

	for (size_t i = 0; i < w->about.n; i++)
		note_unready(&u, w->about.list[i].is_program, w->about.list[i].name);
	if (w->all)
		nk_reconcile_each(m->reconcile, note_object, &u);
	converged = json_array_size(u.list) == 0;
	if (w->summary) {
		result = nk_manager_change_result(w->revision, w->summary, converged, u.list);
	} else {
		struct nk_result_wait waited = { .revision = w->revision, .converged = converged, .pending = u.list };

		result = nk_table_encode(nk_methods[NK_M_STATE_WAIT].result, &waited);
	}
	json_decref(u.list);
	finish(w, result);
}

static void on_deadline(int fd, short what, void *arg)
{
	answer(arg);
}

void nk_manager_start_waiting(struct nk_manager *m, struct nk_request *r, uint64_t revision, json_t *summary,
			      struct nk_about *about, uint32_t wait_ms)
{
	struct nk_waiter *w = calloc(1, sizeof(*w));
	struct timeval tv = { .tv_sec = wait_ms / 1000, .tv_usec = (suseconds_t)(wait_ms % 1000 * 1000) };
	struct nk_error err = { 0 };

	if (w) {
		*w = (struct nk_waiter){ .manager = m, .request = r, .revision = revision, .all = !about };
		w->timer = evtimer_new(m->base, on_deadline, w);
	}
	if (!w || !w->timer || evtimer_add(w->timer, &tv) < 0) {
		if (w && w->timer)
			event_free(w->timer);
		free(w);
		nk_error_set(&err, NK_E_INTERNAL, "the change is accepted as revision %" PRIu64 ", but no memory to wait for it", revision);
		nk_request_fail(r, &err);
		return;
	}
	if (about) {
		w->about = *about;
		*about = (struct nk_about){ 0 };
	}
	w->summary = json_incref(summary);
	TAILQ_INSERT_TAIL(&m->waiters, w, link);
	event_active(m->on_run, EV_TIMEOUT, 0);
}

void nk_manager_state_wait(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	struct nk_error err = { 0 };
	uint64_t revision;

	nk_manager_commit(m);
	revision = p->wait.revision ? p->wait.revision : m->revision;
	if (revision > m->revision) {
		nk_error_at(&err, NK_E_NOT_FOUND, "/revision", "there is no revision %" PRIu64 " yet; the newest is %" PRIu64, revision,
			    m->revision);
		nk_request_fail(r, &err);
		return;
	}
	nk_manager_start_waiting(m, r, revision, NULL, NULL, p->wait.timeout_ms);
}

void nk_manager_check_waiters(struct nk_manager *m)
{
	struct nk_waiter *w, *next;

	for (w = TAILQ_FIRST(&m->waiters); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (waiter_settled(w))
			answer(w);
	}
}

void nk_manager_forget_waiters(struct nk_manager *m, const struct nk_peer *p)
{
	struct nk_waiter *w, *next;

	for (w = TAILQ_FIRST(&m->waiters); w && nk_peer_held(p); w = next) {
		next = TAILQ_NEXT(w, link);
		if (nk_request_peer(w->request) == p)
			finish(w, NULL);
	}
}

void nk_manager_drop_waiters(struct nk_manager *m)
{
	struct nk_waiter *w;

	while ((w = TAILQ_FIRST(&m->waiters)))
		answer(w);
}
