// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What happened, told once and heard in two places: the journal, with structured fields and the MESSAGE_ID of its kind, and
 * the clients that subscribed. Reconcile, the manager and the state.d reader tell; the kinds and their texts stand in
 * api/events.h.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/events.h"
#include "bpf/netkitd_bpf.h"
#include "daemon/server.h"

struct event_base;
struct nk_events;
struct nk_store;

/* base and store, borrowed, are for the history. 0 or -errno. */
int nk_events_new(struct event_base *base, struct nk_store *store, struct nk_events **ret);
struct nk_events *nk_events_free(struct nk_events *e);

/* What an event says beside its kind. All members may be 0 or NULL; all pointers are borrowed for the call. */
struct nk_event_fields {
	const char *device;   /* NETKITD_DEVICE= */
	bool interface;       /* it is one */
	const char *program;  /* NETKITD_PROGRAM= */
	uint64_t revision;    /* NETKITD_REVISION= */
	int error;            /* positive errno: ERRNO= */
	const char *extack;   /* the kernel's words */
	uint64_t took_us;     /* NETKITD_TOOK_US=: how long a repair took */
	uint32_t count;       /* NETKITD_COUNT=: how often */
	const struct nk_culprit *culprit; /* NETKITD_CULPRIT_PID=, _COMM=, _UID=, _CGROUP=, _UNIT= */
};

/* Tell an event. The sentence is for a person, without a final newline. */
void nk_event(struct nk_events *e, enum nk_event_kind kind, const struct nk_event_fields *f, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* From now on this client hears all events; until nk_events_unsubscribe. 0, -EALREADY, -ENOMEM. */
int nk_events_subscribe(struct nk_events *e, struct nk_peer *p);
void nk_events_unsubscribe(struct nk_events *e, struct nk_peer *p);
size_t nk_events_n_subscribers(const struct nk_events *e);
/* What is kept after `since`, as lines for a subscriber, the oldest first; *ret_from: none is missing from this number on. 0 or -errno. */
int nk_events_kept(struct nk_events *e, uint64_t since, char ***ret, size_t *ret_n, uint64_t *ret_from);
void nk_events_free_kept(char **lines, size_t n);
/* Why the history could not be written; NULL: it could. */
const char *nk_events_unwritten(const struct nk_events *e);
/* The number of the newest event, of this run of the daemon or of one before. */
uint64_t nk_events_seq(const struct nk_events *e);
