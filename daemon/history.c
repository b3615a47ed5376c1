// SPDX-License-Identifier: GPL-2.0-only
/*
 * The history of events (history.h): a list that waits to be written, and the timer that writes it. No timer runs while nothing waits.
 */
#include "daemon/history.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/object.h"

#define BATCH 256          /* events that wait at most */
#define NUMBERS 65536u     /* reserved at a time: so many are left out after a crash at most */
#define AGAIN_US 1000000u  /* microseconds from a failure to reserve to the next try */

static const struct timeval lateness = { .tv_sec = 1 };

struct nk_history {
	struct nk_store *store; /* borrowed */
	struct event *timer;
	uint64_t reserved;      /* numbers up to here may be used: on disk */
	uint64_t again_us;      /* reserving failed: not tried again before this time */
	uint64_t lost;          /* the newest event that could not be written, as long as the database doesn't say so itself; 0: none */
	size_t n;
	struct nk_store_event waiting[BATCH]; /* texts are owned */
	bool failed;
	char why[256];
};

static void flush(struct nk_history *h)
{
	int r = h->n || h->lost ? nk_store_keep_events(h->store, h->waiting, h->n, NK_HISTORY_MAX, h->lost) : 0;

	/* What can't be written is lost, as are the oldest: the journal has it. Who asks is told that something is missing. */
	if (r == 0)
		h->lost = 0;
	else if (h->n)
		h->lost = h->waiting[h->n - 1].seq;
	for (size_t i = 0; i < h->n; i++)
		free(h->waiting[i].json);
	h->n = 0;
	h->failed = r < 0;
	if (r < 0)
		snprintf(h->why, sizeof(h->why), "%s", nk_store_why(h->store));
}

static void on_timer(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

int nk_history_new(struct event_base *base, struct nk_store *store, uint64_t *ret_seq, struct nk_history **ret)
{
	struct nk_history *h = calloc(1, sizeof(*h));
	uint64_t seq, from;
	int r;

	if (!h)
		return -ENOMEM;
	h->store = store;
	h->timer = evtimer_new(base, on_timer, h);
	r = h->timer ? nk_store_history(store, &seq, &from) : -ENOMEM;
	if (r < 0) {
		if (h->timer)
			event_free(h->timer);
		free(h);
		return r;
	}
	h->reserved = seq;
	*ret_seq = seq;
	*ret = h;
	return 0;
}

struct nk_history *nk_history_free(struct nk_history *h, uint64_t seq)
{
	if (!h)
		return NULL;
	flush(h);
	nk_store_number_events(h->store, seq);
	event_free(h->timer);
	free(h);
	return NULL;
}

void nk_history_number(struct nk_history *h, uint64_t seq)
{
	if (seq <= h->reserved || nk_now_us() < h->again_us)
		return;
	if (nk_store_number_events(h->store, seq + NUMBERS) == 0)
		h->reserved = seq + NUMBERS;
	else
		h->again_us = nk_now_us() + AGAIN_US; /* not at each event of many anew */
}

void nk_history_keep(struct nk_history *h, uint64_t seq, char *json)
{
	if (h->n == BATCH)
		flush(h);
	h->waiting[h->n++] = (struct nk_store_event){ seq, json };
	if (!evtimer_pending(h->timer, NULL))
		evtimer_add(h->timer, &lateness);
}

int nk_history_each(struct nk_history *h, uint64_t since, int (*fn)(uint64_t seq, const char *json, void *arg), void *arg,
		    uint64_t *ret_from)
{
	uint64_t seq;
	int r;

	flush(h);
	r = nk_store_history(h->store, &seq, ret_from);
	if (r < 0)
		return r;
	if (*ret_from <= h->lost)
		*ret_from = h->lost + 1;
	return nk_store_each_event(h->store, since, fn, arg);
}

const char *nk_history_why(const struct nk_history *h)
{
	return h->failed ? h->why : NULL;
}
