// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The kinds of events, in one place: daemon/events.c tells them to the journal and to subscribers, netkitd-contract prints the
 * journal's catalogue and the reference page from them.
 */
#include <stdbool.h>

enum nk_event_kind {
	NK_EVENT_DAEMON_STARTED,
	NK_EVENT_DAEMON_STOPPING,
	NK_EVENT_DOCUMENT_CHANGED,
	NK_EVENT_DEVICE_DELETED,
	NK_EVENT_DEVICE_READY,
	NK_EVENT_DEVICE_DEGRADED,
	NK_EVENT_DEVICE_RELEASED,
	NK_EVENT_DEVICE_UNCLAIMED,
	NK_EVENT_DRIFT,
	NK_EVENT_REPAIRED,
	NK_EVENT_CONTENDED,
	NK_EVENT_CONTENTION_ENDED,
	NK_EVENT_WATCHER_REMOVED,
	NK_EVENT_PROGRAM_LOADED,
	NK_EVENT_PROGRAM_DEGRADED,
	NK_EVENT_RESYNC,
	NK_EVENT_CLIENT_DROPPED,
	NK_EVENT_STATE_FILE_REFUSED,
	NK_EVENT_DATABASE_FAILED,
	NK_EVENT_CAPABILITY_MISSING,
};
#define NK_EVENT_KINDS 20

struct nk_event_info {
	const char *kind;       /* on the socket: "device-ready" */
	const char *message_id; /* MESSAGE_ID of the journal: 32 hexadecimal digits; never changes, people match on it */
	int priority;           /* syslog's: LOG_INFO, … LOG_DEBUG goes to subscribers only */
	const char *subject;    /* one line for the catalogue; may name journal fields as @FIELD@ */
	const char *meaning;    /* what it means */
	const char *action;     /* what to do */
};

/* Is it one of those that the history keeps? Those of notice and above: what a person looks for afterwards. */
bool nk_event_is_kept(enum nk_event_kind kind);

extern const struct nk_event_info nk_event_kinds[NK_EVENT_KINDS];

/* The journal's catalogue file; free() it. NULL without memory. */
char *nk_event_catalog(void);
