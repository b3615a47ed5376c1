// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading and writing the open database: the manager reads all of it once and then writes one transaction a group of changes.
 * Opening is store_open.c's. A device, interface or program is one row with the JSON that the socket would show, so that the
 * contract's tables are the only codec.
 */
#include "daemon/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "api/json.h"
#include "daemon/store_internal.h"

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	SET_REVISION,
	PUT_DEVICE,
	DELETE_DEVICE,
	PUT_INTERFACE,
	DELETE_INTERFACE,
	PUT_PROGRAM,
	DELETE_PROGRAM,
	PUT_TOMBSTONE,
	DELETE_TOMBSTONE,
	SET_EVENT_SEQ,
	SET_EVENT_FROM,
	PUT_EVENT,
	OLD_EVENT,
	DELETE_EVENTS,
	EACH_EVENT,
	STATEMENTS,
};

static const char *const sql[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[SET_REVISION] = "UPDATE meta SET value=?1 WHERE key='revision'",
	[PUT_DEVICE] = "INSERT OR REPLACE INTO device(name, source, json) VALUES(?1, ?2, ?3)",
	[DELETE_DEVICE] = "DELETE FROM device WHERE name=?1",
	[PUT_INTERFACE] = "INSERT OR REPLACE INTO interface(name, source, json) VALUES(?1, ?2, ?3)",
	[DELETE_INTERFACE] = "DELETE FROM interface WHERE name=?1",
	[PUT_PROGRAM] = "INSERT OR REPLACE INTO program(name, source, json) VALUES(?1, ?2, ?3)",
	[DELETE_PROGRAM] = "DELETE FROM program WHERE name=?1",
	[PUT_TOMBSTONE] = "INSERT OR IGNORE INTO tombstone(name) VALUES(?1)",
	[DELETE_TOMBSTONE] = "DELETE FROM tombstone WHERE name=?1",
	[SET_EVENT_SEQ] = "UPDATE meta SET value=?1 WHERE key='event_seq'",
	[SET_EVENT_FROM] = "UPDATE meta SET value=max(value, ?1) WHERE key='event_from'",
	[PUT_EVENT] = "INSERT OR REPLACE INTO event(seq, json) VALUES(?1, ?2)",
	[OLD_EVENT] = "SELECT seq FROM event ORDER BY seq DESC LIMIT 1 OFFSET ?1",
	[DELETE_EVENTS] = "DELETE FROM event WHERE seq<=?1",
	[EACH_EVENT] = "SELECT seq, json FROM event WHERE seq>?1 ORDER BY seq",
};

struct nk_store {
	sqlite3 *db;                         /* owned */
	sqlite3_stmt *statement[STATEMENTS]; /* owned, kept for the store's life */
	char why[256];
	bool writing; /* between begin and commit */
};

/* ---- SQLite ---- */

int nk_store_errno(sqlite3 *db, int code)
{
	int system;

	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* a table or column is missing */
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		return -EBADMSG;
	case SQLITE_TOOBIG:
		return -E2BIG;
	case SQLITE_CANTOPEN:
		/* Only here: with other failures it may be a left-over. */
		system = db ? sqlite3_system_errno(db) : 0;
		return system > 0 ? -system : -EIO;
	default:
		return -EIO;
	}
}

static int note(struct nk_store *s, int code)
{
	int r = nk_store_errno(s->db, code);

	if (r < 0)
		snprintf(s->why, sizeof(s->why), "%s (%s)", sqlite3_errmsg(s->db), sqlite3_errstr(code));
	return r;
}

/* Run a prepared statement with up to three texts. */
static int run(struct nk_store *s, enum statement which, const char *a, const char *b, const char *c)
{
	const char *const texts[] = { a, b, c };
	sqlite3_stmt *stmt = s->statement[which];
	int code = SQLITE_OK, r;

	for (int i = 0; code == SQLITE_OK && i < 3 && texts[i]; i++)
		code = sqlite3_bind_text(stmt, i + 1, texts[i], -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	r = note(s, code);
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return r;
}

int nk_store_wrap(sqlite3 *db, struct nk_store **ret)
{
	struct nk_store *s = calloc(1, sizeof(*s));
	int code = SQLITE_OK;

	if (!s)
		return -ENOMEM;
	for (int i = 0; code == SQLITE_OK && i < STATEMENTS; i++)
		code = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statement[i], NULL);
	if (code != SQLITE_OK) {
		for (int i = 0; i < STATEMENTS; i++)
			sqlite3_finalize(s->statement[i]);
		free(s);
		return nk_store_errno(db, code);
	}
	s->db = db;
	*ret = s;
	return 0;
}

struct nk_store *nk_store_close(struct nk_store *s)
{
	if (!s)
		return NULL;
	nk_store_rollback(s);
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(s->statement[i]);
	sqlite3_close(s->db);
	free(s);
	return NULL;
}

const char *nk_store_why(const struct nk_store *s)
{
	return s->why;
}

/* ---- reading ---- */

/* One row into the document. The name stands in the row and in its JSON: both must agree. */
typedef int (*row_fn)(struct nk_document *doc, const char *name, const char *source, const json_t *json, struct nk_error *err);

static int load_program(struct nk_document *doc, const char *name, const char *source, const json_t *json, struct nk_error *err)
{
	struct nk_change change = { 0 };
	struct nk_program *p = NULL;
	int r = nk_decode_program(json, "", &p, err);

	if (r < 0)
		return r;
	if (strcmp(p->name, name) != 0)
		r = nk_error_set(err, NK_E_INVALID_PARAMS, "its JSON names %s", p->name);
	else
		r = nk_document_put_program(doc, p, source, SIZE_MAX, &change);
	nk_change_clear(&change);
	nk_program_unref(p);
	return r;
}

/* A device or an interface, of which the reference is taken. */
static int put_device(struct nk_document *doc, const char *name, const char *source, struct nk_device *d, struct nk_error *err)
{
	struct nk_change change = { 0 };
	int r;

	if (strcmp(nk_device_name(d), name) != 0)
		r = nk_error_set(err, NK_E_INVALID_PARAMS, "its JSON names %s", nk_device_name(d));
	else if (nk_document_device(doc, name))
		r = nk_error_set(err, NK_E_INVALID_PARAMS, "a device has its name");
	else
		r = nk_document_put_device(doc, d, source, SIZE_MAX, &change);
	nk_change_clear(&change);
	nk_device_unref(d);
	return r;
}

static int load_device(struct nk_document *doc, const char *name, const char *source, const json_t *json, struct nk_error *err)
{
	struct nk_device *d = NULL;
	int r = nk_decode_device(json, "", &d, err);

	return r < 0 ? r : put_device(doc, name, source, d, err);
}

static int load_interface(struct nk_document *doc, const char *name, const char *source, const json_t *json, struct nk_error *err)
{
	struct nk_device *d = NULL;
	int r = nk_decode_interface(json, "", &d, err);

	return r < 0 ? r : put_device(doc, name, source, d, err);
}

/* What is wrong with a row: the first place and its text. */
static void describe(const struct nk_error *err, char *buf, size_t size)
{
	const json_t *problem = json_array_get(err->problems, 0);
	const char *pointer = json_string_value(json_object_get(problem, "pointer"));
	const char *message = json_string_value(json_object_get(problem, "message"));

	if (message)
		snprintf(buf, size, "%s %s", pointer ? pointer : "", message);
	else
		snprintf(buf, size, "%s", err->message ? err->message : "it does not decode");
}

static int load_row(const char *table, sqlite3_stmt *stmt, row_fn fn, struct nk_document *doc, char *why, size_t size)
{
	const char *name = (const char *)sqlite3_column_text(stmt, 0);
	const char *source = (const char *)sqlite3_column_text(stmt, 1);
	const char *text = (const char *)sqlite3_column_text(stmt, 2);
	struct nk_error err = { 0 };
	json_t *json = NULL;
	char what[256];
	int r = -ENOMEM;

	if (name && source && text)
		r = nk_json_parse(text, (size_t)sqlite3_column_bytes(stmt, 2), &json, &err);
	if (r == 0)
		r = fn(doc, name, source, json, &err);
	if (r == -EINVAL) {
		describe(&err, what, sizeof(what));
		snprintf(why, size, "the database's row of %s %s is damaged: %s. Restore the database from a backup, or move it "
			 "away, start netkitd, and let `netkitd-cli rebuild` make a document of what the kernel holds",
			 table, name, what);
		r = -EBADMSG;
	} else if (r < 0) {
		snprintf(why, size, "reading the database's %s rows: %s", table, strerror(-r));
	}
	nk_error_clear(&err);
	json_decref(json);
	return r;
}

static int load_table(struct nk_store *s, const char *table, row_fn fn, struct nk_document *doc, char *why, size_t size)
{
	sqlite3_stmt *stmt = NULL;
	char query[64];
	int code, r = 0;

	snprintf(query, sizeof(query), "SELECT name, source, json FROM %s", table);
	code = sqlite3_prepare_v2(s->db, query, -1, &stmt, NULL);
	while (code == SQLITE_OK || code == SQLITE_ROW) {
		code = sqlite3_step(stmt);
		if (code != SQLITE_ROW)
			break;
		r = load_row(table, stmt, fn, doc, why, size);
		if (r < 0)
			break;
	}
	if (r == 0 && code != SQLITE_DONE) {
		r = note(s, code);
		snprintf(why, size, "reading the database: %s", s->why);
	}
	sqlite3_finalize(stmt);
	return r;
}

static int load_revision(struct nk_store *s, uint64_t *ret, char *why, size_t size)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key='revision'", -1, &stmt, NULL), r = 0;

	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code == SQLITE_ROW) {
		*ret = (uint64_t)sqlite3_column_int64(stmt, 0);
	} else if (code == SQLITE_DONE) {
		r = -EBADMSG;
		snprintf(why, size, "the database holds no revision: it is damaged. Restore it from a backup, or move it away, start "
			 "netkitd, and let `netkitd-cli rebuild` make a document of what the kernel holds");
	} else {
		r = note(s, code);
		snprintf(why, size, "reading the database: %s", s->why);
	}
	sqlite3_finalize(stmt);
	return r;
}

int nk_store_load(struct nk_store *s, struct nk_document *doc, uint64_t *ret_revision, char *why, size_t size)
{
	uint64_t revision = 0;
	int r = load_revision(s, &revision, why, size);

	if (r == 0)
		r = load_table(s, "program", load_program, doc, why, size);
	if (r == 0)
		r = load_table(s, "device", load_device, doc, why, size);
	if (r == 0)
		r = load_table(s, "interface", load_interface, doc, why, size);
	if (r < 0)
		return r;
	*ret_revision = revision;
	return 0;
}

int nk_store_each_tombstone(struct nk_store *s, int (*fn)(const char *name, void *arg), void *arg)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(s->db, "SELECT name FROM tombstone", -1, &stmt, NULL), r = 0;

	if (code != SQLITE_OK)
		return note(s, code);
	while (r == 0 && (code = sqlite3_step(stmt)) == SQLITE_ROW)
		r = fn((const char *)sqlite3_column_text(stmt, 0), arg);
	if (r == 0)
		r = note(s, code);
	sqlite3_finalize(stmt);
	return r;
}

/* ---- writing ---- */

int nk_store_begin(struct nk_store *s)
{
	int r;

	if (s->writing)
		return -EALREADY;
	r = run(s, BEGIN, NULL, NULL, NULL);
	s->writing = r == 0;
	return r;
}

void nk_store_rollback(struct nk_store *s)
{
	char why[sizeof(s->why)];

	if (!s->writing)
		return;
	s->writing = false;
	/* Some failures have rolled back already; then there is nothing to do, and the first reason is the one to keep. */
	if (sqlite3_get_autocommit(s->db))
		return;
	memcpy(why, s->why, sizeof(why));
	run(s, ROLLBACK, NULL, NULL, NULL);
	memcpy(s->why, why, sizeof(why));
}

/* Ends a failed transaction. */
static int failed(struct nk_store *s, int r)
{
	nk_store_rollback(s);
	return r;
}

static int put(struct nk_store *s, enum statement which, const char *name, const char *source, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int r = text ? run(s, which, name, source, text) : -ENOMEM;

	if (!text)
		snprintf(s->why, sizeof(s->why), "memory is out");
	free(text);
	json_decref(json);
	return r;
}

static int write_item(struct nk_store *s, const struct nk_change_item *item)
{
	const char *source = item->src_next ? item->src_next : "";
	const struct nk_device *d = item->dev_next ? item->dev_next : item->dev_prev;
	bool interface = d && d->interface;
	int r;

	if (item->is_program)
		return item->prog_next ? put(s, PUT_PROGRAM, item->name, source, nk_encode_program(item->prog_next))
				       : run(s, DELETE_PROGRAM, item->name, NULL, NULL);
	if (item->dev_next) {
		r = put(s, interface ? PUT_INTERFACE : PUT_DEVICE, item->name, source, nk_encode_device(item->dev_next));
		return r < 0 ? r : run(s, DELETE_TOMBSTONE, item->name, NULL, NULL);
	}
	r = run(s, interface ? DELETE_INTERFACE : DELETE_DEVICE, item->name, NULL, NULL);
	return r < 0 ? r : run(s, PUT_TOMBSTONE, item->name, NULL, NULL);
}

int nk_store_write(struct nk_store *s, const struct nk_change *c)
{
	if (!s->writing)
		return -EINVAL;
	for (size_t i = 0; i < c->n; i++) {
		int r = write_item(s, &c->items[i]);

		if (r < 0)
			return failed(s, r);
	}
	return 0;
}

int nk_store_commit(struct nk_store *s, uint64_t revision)
{
	int r;

	if (!s->writing)
		return -EINVAL;
	r = note(s, sqlite3_bind_int64(s->statement[SET_REVISION], 1, (sqlite3_int64)revision));
	if (r == 0)
		r = run(s, SET_REVISION, NULL, NULL, NULL);
	if (r == 0)
		r = run(s, COMMIT, NULL, NULL, NULL);
	if (r < 0)
		return failed(s, r);
	s->writing = false;
	return 0;
}

int nk_store_bury(struct nk_store *s, const char *const *names, size_t n)
{
	int r = nk_store_begin(s);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = run(s, DELETE_TOMBSTONE, names[i], NULL, NULL);
	if (r == 0)
		r = run(s, COMMIT, NULL, NULL, NULL);
	if (r < 0)
		return failed(s, r);
	s->writing = false;
	return 0;
}

/* ---- the history ---- */

static int load_number(struct nk_store *s, const char *key, uint64_t *ret)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key=?1", -1, &stmt, NULL), r;

	if (code == SQLITE_OK)
		code = sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	r = code == SQLITE_DONE ? -EBADMSG : note(s, code);
	if (r == 0)
		*ret = (uint64_t)sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return r;
}

int nk_store_history(struct nk_store *s, uint64_t *ret_seq, uint64_t *ret_from)
{
	uint64_t seq = 0, from = 0;
	int r = load_number(s, "event_seq", &seq);

	if (r == 0)
		r = load_number(s, "event_from", &from);
	if (r < 0)
		return r;
	*ret_seq = seq;
	*ret_from = from;
	return 0;
}

/* Run a prepared statement whose first parameter is a number; *ret, if not NULL, is the number that comes out, unchanged if none does. */
static int run_number(struct nk_store *s, enum statement which, uint64_t n, const char *text, uint64_t *ret)
{
	sqlite3_stmt *stmt = s->statement[which];
	int code = sqlite3_bind_int64(stmt, 1, (sqlite3_int64)n), r;

	if (code == SQLITE_OK && text)
		code = sqlite3_bind_text(stmt, 2, text, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code == SQLITE_ROW && ret)
		*ret = (uint64_t)sqlite3_column_int64(stmt, 0);
	r = note(s, code);
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return r;
}

int nk_store_number_events(struct nk_store *s, uint64_t seq)
{
	return run_number(s, SET_EVENT_SEQ, seq, NULL, NULL);
}

/* Of a transaction that has begun. */
static int put_events(struct nk_store *s, const struct nk_store_event *events, size_t n, size_t max, uint64_t lost)
{
	uint64_t old = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = run_number(s, PUT_EVENT, events[i].seq, events[i].json, NULL);
	if (r == 0)
		r = run_number(s, OLD_EVENT, max, NULL, &old);
	if (r == 0 && old)
		r = run_number(s, DELETE_EVENTS, old, NULL, NULL);
	if (r == 0 && old)
		r = run_number(s, SET_EVENT_FROM, old + 1, NULL, NULL);
	if (r == 0 && lost)
		r = run_number(s, SET_EVENT_FROM, lost + 1, NULL, NULL);
	return r;
}

int nk_store_keep_events(struct nk_store *s, const struct nk_store_event *events, size_t n, size_t max, uint64_t lost)
{
	int code = sqlite3_exec(s->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL), r = note(s, code);

	if (r == 0)
		r = nk_store_begin(s);
	if (r == 0) {
		r = put_events(s, events, n, max, lost);
		if (r == 0)
			r = run(s, COMMIT, NULL, NULL, NULL);
		if (r < 0)
			nk_store_rollback(s);
		s->writing = false;
	}
	sqlite3_exec(s->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
	return r;
}

int nk_store_each_event(struct nk_store *s, uint64_t since, int (*fn)(uint64_t seq, const char *json, void *arg), void *arg)
{
	sqlite3_stmt *stmt = s->statement[EACH_EVENT];
	int code = sqlite3_bind_int64(stmt, 1, since > INT64_MAX ? INT64_MAX : (sqlite3_int64)since), r = note(s, code);

	while (r == 0 && (code = sqlite3_step(stmt)) == SQLITE_ROW)
		r = fn((uint64_t)sqlite3_column_int64(stmt, 0), (const char *)sqlite3_column_text(stmt, 1), arg);
	if (r == 0)
		r = note(s, code);
	sqlite3_reset(stmt);
	return r;
}

void nk_store_give_memory_back(struct nk_store *s)
{
	sqlite3_db_release_memory(s->db);
}
