// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queues of reconcile (work.h).
 */
#include "daemon/work.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

struct nk_work {
	struct nk_object_queue now[2]; /* devices, programs */
	struct nk_object_queue later;
	size_t n_now;
	struct event *timer;
	uint32_t min_ms, max_ms;
	void (*wanted)(void *arg);
	void *arg;
};

static uint64_t now_ms(void)
{
	return nk_now_us() / 1000;
}

/* The timer stands at the earliest appointment, or doesn't run. */
static void arm(struct nk_work *w)
{
	uint64_t now = now_ms(), at = UINT64_MAX;
	struct nk_object *o;
	struct timeval tv;

	TAILQ_FOREACH(o, &w->later, retry_link) {
		if (o->retry_at_ms < at)
			at = o->retry_at_ms;
	}
	if (at == UINT64_MAX) {
		evtimer_del(w->timer);
		return;
	}
	at = at > now ? at - now : 0;
	tv = (struct timeval){ .tv_sec = (time_t)(at / 1000), .tv_usec = (suseconds_t)(at % 1000 * 1000) };
	evtimer_add(w->timer, &tv);
}

static void on_timer(int fd, short what, void *arg)
{
	struct nk_work *w = arg;
	uint64_t now = now_ms();
	struct nk_object *o, *next;

	for (o = TAILQ_FIRST(&w->later); o; o = next) {
		next = TAILQ_NEXT(o, retry_link);
		if (o->retry_at_ms > now)
			continue;
		o->retrying = false;
		TAILQ_REMOVE(&w->later, o, retry_link);
		nk_work_now(w, o);
	}
	arm(w);
}

int nk_work_new(struct event_base *base, uint32_t retry_min_ms, uint32_t retry_max_ms, void (*wanted)(void *arg), void *arg,
		struct nk_work **ret)
{
	struct nk_work *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	TAILQ_INIT(&w->now[0]);
	TAILQ_INIT(&w->now[1]);
	TAILQ_INIT(&w->later);
	w->min_ms = retry_min_ms;
	w->max_ms = retry_max_ms;
	w->wanted = wanted;
	w->arg = arg;
	w->timer = evtimer_new(base, on_timer, w);
	if (!w->timer) {
		free(w);
		return -ENOMEM;
	}
	*ret = w;
	return 0;
}

struct nk_work *nk_work_free(struct nk_work *w)
{
	if (!w)
		return NULL;
	event_free(w->timer);
	free(w);
	return NULL;
}

void nk_work_now(struct nk_work *w, struct nk_object *o)
{
	if (o->dirty)
		return;
	o->dirty = true;
	w->n_now++;
	TAILQ_INSERT_TAIL(&w->now[o->is_program], o, dirty_link);
	w->wanted(w->arg);
}

void nk_work_not_now(struct nk_work *w, struct nk_object *o)
{
	if (!o->dirty)
		return;
	o->dirty = false;
	w->n_now--;
	TAILQ_REMOVE(&w->now[o->is_program], o, dirty_link);
}

void nk_work_not_later(struct nk_work *w, struct nk_object *o)
{
	if (!o->retrying)
		return;
	o->retrying = false;
	TAILQ_REMOVE(&w->later, o, retry_link);
	arm(w);
}

void nk_work_later(struct nk_work *w, struct nk_object *o, uint32_t ms)
{
	uint64_t at = now_ms() + ms;

	if (o->retrying && o->retry_at_ms <= at)
		return;
	if (!o->retrying)
		TAILQ_INSERT_TAIL(&w->later, o, retry_link);
	o->retrying = true;
	o->retry_at_ms = at;
	arm(w);
}

void nk_work_back_off(struct nk_work *w, struct nk_object *o)
{
	o->retries++;
	nk_work_not_later(w, o);
	nk_work_later(w, o, nk_backoff_ms(o->retries, w->min_ms, w->max_ms, (uint32_t)random()));
}

void nk_work_sooner(struct nk_work *w, struct nk_object *o)
{
	nk_work_later(w, o, w->min_ms);
}

struct nk_object *nk_work_take(struct nk_work *w, bool programs)
{
	struct nk_object *o = TAILQ_FIRST(&w->now[programs]);

	if (o)
		nk_work_not_now(w, o);
	return o;
}

bool nk_work_has(const struct nk_work *w, bool programs)
{
	return !TAILQ_EMPTY(&w->now[programs]);
}

size_t nk_work_count(const struct nk_work *w)
{
	return w->n_now;
}
