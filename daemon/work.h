// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What is to be looked at now, and what later: the queues of reconcile and the one timer behind them. No wake-up happens while
 * nothing waits. Knows objects by their queue members only; decides nothing.
 */
#include "daemon/object.h"

struct event_base;
struct nk_work;

/* wanted: there is something to do now; may be called many times a turn. */
int nk_work_new(struct event_base *base, uint32_t retry_min_ms, uint32_t retry_max_ms, void (*wanted)(void *arg), void *arg,
		struct nk_work **ret);
struct nk_work *nk_work_free(struct nk_work *w);

/* Look at it in the next run. An earlier appointment for later stays. */
void nk_work_now(struct nk_work *w, struct nk_object *o);
/* Look at it at the latest in ms milliseconds. */
void nk_work_later(struct nk_work *w, struct nk_object *o, uint32_t ms);
/* Look at it after a pause that grows with o->retries. */
void nk_work_back_off(struct nk_work *w, struct nk_object *o);
/* Somebody touched an object that backs off: the next try comes soon, but never at the pace of events. */
void nk_work_sooner(struct nk_work *w, struct nk_object *o);
void nk_work_not_now(struct nk_work *w, struct nk_object *o);
void nk_work_not_later(struct nk_work *w, struct nk_object *o);

/* Take the next one out, programs and devices each in their order; NULL when there is none. */
struct nk_object *nk_work_take(struct nk_work *w, bool programs);
bool nk_work_has(const struct nk_work *w, bool programs);
/* How many wait to be looked at now. */
size_t nk_work_count(const struct nk_work *w);
