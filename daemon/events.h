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

struct nk_events;

struct nk_events *nk_events_new(void);
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
	const struct nk_culprit *culprit; /* NETKITD_CULPRIT_PID=, _COMM=, _UID=, _CGROUP= */
};

/* Tell an event. The sentence is for a person, without a final newline. */
void nk_event(struct nk_events *e, enum nk_event_kind kind, const struct nk_event_fields *f, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* From now on this client hears all events; until nk_events_unsubscribe. 0, -EALREADY, -ENOMEM. */
int nk_events_subscribe(struct nk_events *e, struct nk_peer *p);
void nk_events_unsubscribe(struct nk_events *e, struct nk_peer *p);
size_t nk_events_n_subscribers(const struct nk_events *e);
/* The number of the newest event; the first has 1. */
uint64_t nk_events_seq(const struct nk_events *e);
