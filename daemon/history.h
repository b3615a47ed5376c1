// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What is kept of events: the last ones of the kinds that a person looks for afterwards, in the database, with the numbers under which
 * they were told. events.c fills it. Written a second late and many at a time, since a thousand repairs must not cost a thousand commits:
 * what happened in that second is lost if the daemon is killed. A clean end loses nothing.
 */
#include <stdint.h>

#include "daemon/store.h"

#define NK_HISTORY_MAX 1000 /* events that are kept */

struct event_base;
struct nk_history;

/* base and store outlive it. *ret_seq: the number of the newest event ever told; no later one has it. 0 or -errno, no trace left. */
int nk_history_new(struct event_base *base, struct nk_store *store, uint64_t *ret_seq, struct nk_history **ret);
/* Write what waits, and that seq is the newest number. Takes NULL, returns NULL. */
struct nk_history *nk_history_free(struct nk_history *h, uint64_t seq);

/* This number is used from now on: after a crash no other event gets it, provided that the database can be written. */
void nk_history_number(struct nk_history *h, uint64_t seq);
/* Keep an event: json, taken over, are the params of its notification. */
void nk_history_keep(struct nk_history *h, uint64_t seq, char *json);
/*
 * All kept events after `since`, the oldest first; *ret_from: none is missing from this number on. fn ends it by not returning 0. 0, what
 * fn returned, or -errno.
 */
int nk_history_each(struct nk_history *h, uint64_t since, int (*fn)(uint64_t seq, const char *json, void *arg), void *arg,
		    uint64_t *ret_from);
/* SQLite's words for the last failure to write it; NULL: the last writing was good. */
const char *nk_history_why(const struct nk_history *h);
