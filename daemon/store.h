// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The desired state on disk: one SQLite file under systemd's StateDirectory, WAL, synchronous=FULL. The manager opens it, reads it
 * once at start, and afterwards only writes: one transaction a group of changes, before anybody is answered. The only
 * blocking work in the loop.
 *
 * Tables: meta(revision), program(name, source, json), device(name, source, json), interface(name, source, json),
 * tombstone(name): devices and interfaces whose deletion was accepted and has not yet been seen in the kernel, so that a crash in
 * between leaves no orphan; event(seq, json): what is kept of events. PRAGMA user_version is the schema's version, application_id
 * tells that the file is ours.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/model/document.h"

struct nk_store;

/*
 * Open or create. A file of an older schema is migrated in one transaction; one that is damaged, of a newer schema or not
 * ours is refused and left untouched: -EBADMSG (damaged), -EPROTONOSUPPORT (newer), -EMEDIUMTYPE (not ours); else -errno. `why`
 * (size bytes) gets a sentence for the operator in each case of failure, with the file's name and what to do.
 */
int nk_store_open(const char *path, struct nk_store **ret, char *why, size_t size);
/* Checkpoints and closes; takes NULL, returns NULL. */
struct nk_store *nk_store_close(struct nk_store *s);

/* Read all into an empty document. Rows that don't decode are damage: -EBADMSG with why. */
int nk_store_load(struct nk_store *s, struct nk_document *doc, uint64_t *ret_revision, char *why, size_t size);
/* Names with a tombstone. */
int nk_store_each_tombstone(struct nk_store *s, int (*fn)(const char *name, void *arg), void *arg);

/* Begin; then any number of changes; then commit, or roll back. -errno with the transaction rolled back (and why logged by the
 * caller from nk_store_why). A removed device gets its tombstone, a put one loses it. */
int nk_store_begin(struct nk_store *s);
int nk_store_write(struct nk_store *s, const struct nk_change *c);
int nk_store_commit(struct nk_store *s, uint64_t revision);
void nk_store_rollback(struct nk_store *s);
/* Outside of a transaction: the device is gone from the kernel. */
int nk_store_bury(struct nk_store *s, const char *const *names, size_t n);
/* ---- the history: events as they were sent, by their numbers (history.h) ---- */

struct nk_store_event {
	uint64_t seq;
	char *json; /* the params of the notification */
};

/* *ret_seq: no event has a greater number; *ret_from: none is missing from here on. 0 or -errno. */
int nk_store_history(struct nk_store *s, uint64_t *ret_seq, uint64_t *ret_from);
/* Outside of a transaction: numbers up to seq may be in use from now on, on disk before this returns. 0 or -errno. */
int nk_store_number_events(struct nk_store *s, uint64_t seq);
/*
 * Outside of a transaction: add n events, and drop the oldest beyond max. lost: the greatest number of an event that is missing before
 * them; 0: none is. A loss of power may take that back, with all that came later but no change of the document. 0 or -errno.
 */
int nk_store_keep_events(struct nk_store *s, const struct nk_store_event *events, size_t n, size_t max, uint64_t lost);
/* Events after `since`, the oldest first. fn ends it by not returning 0, which is then returned; or -errno. */
int nk_store_each_event(struct nk_store *s, uint64_t since, int (*fn)(uint64_t seq, const char *json, void *arg), void *arg);
/* Pages that SQLite keeps for the next change are read again if one comes: let go of them. */
void nk_store_give_memory_back(struct nk_store *s);
/* SQLite's words for the last failure. */
const char *nk_store_why(const struct nk_store *s);
