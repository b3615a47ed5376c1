// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening the database: what kind of file is this, may we touch it, which version is it. store.c has the reading and writing of
 * an open one. A file that is refused stays as it was found, byte for byte, and so does its log; therefore every look
 * comes before the first write:
 *
 *   - The header is read without SQLite: an empty, foreign or newer file never meets it.
 *   - SQLite then opens with locking_mode=EXCLUSIVE, which keeps a second daemon out and the log's index in memory (no -shm file),
 *     so that it replays the log that a crash left in memory only, and the check sees the state as it really is. A file that is
 *     then refused is closed without writing the log back.
 *   - Only then is an older schema migrated, in one transaction.
 *
 * A new file is built under another name and renamed, so that there is never half a one.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store_internal.h"

#define HEADER_SIZE 100
#define HEADER_USER_VERSION 60
#define HEADER_APPLICATION_ID 68
#define CACHE_KIB "256"
#define WAL_KEEP "1048576" /* bytes to which the log is cut after it was written back */

static const char *const steps[] = {
	"CREATE TABLE meta(key TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"INSERT INTO meta VALUES('revision', 0);"
	"CREATE TABLE program(name TEXT PRIMARY KEY NOT NULL, source TEXT NOT NULL, json TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE device(name TEXT PRIMARY KEY NOT NULL, source TEXT NOT NULL, json TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE tombstone(name TEXT PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID;",

	"CREATE TABLE interface(name TEXT PRIMARY KEY NOT NULL, source TEXT NOT NULL, json TEXT NOT NULL) STRICT, WITHOUT ROWID;",

	"CREATE TABLE event(seq INTEGER PRIMARY KEY NOT NULL, json TEXT NOT NULL) STRICT;"
	"INSERT INTO meta VALUES('event_seq', 0), ('event_from', 1);",
};

const struct nk_store_schema nk_store_schema = { .steps = steps, .n = sizeof(steps) / sizeof(steps[0]) };

/* Where a sentence for the operator goes. */
struct report {
	const char *path;
	char *why;
	size_t size;
};

static int say(const struct report *to, int r, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int say(const struct report *to, int r, const char *format, ...)
{
	va_list ap;
	int n = snprintf(to->why, to->size, "%s: ", to->path);

	va_start(ap, format);
	if (n >= 0 && (size_t)n < to->size)
		vsnprintf(to->why + n, to->size - (size_t)n, format, ap);
	va_end(ap);
	return r;
}

static int say_newer(const struct report *to, int version, int ours)
{
	return say(to, -EPROTONOSUPPORT, "written by a newer netkitd (schema %d, this one knows %d): install that version again, or move "
		   "the file away and let `netkitd-cli rebuild` make a document of what the kernel holds", version, ours);
}

static int say_damaged(const struct report *to, const char *what)
{
	return say(to, -EBADMSG, "damaged (%s): restore it from a backup, or move it and its -wal file away, start netkitd, and let "
		   "`netkitd-cli rebuild` make a document of what the kernel holds", what);
}

static int say_sqlite(const struct report *to, sqlite3 *db, int code)
{
	int r = nk_store_errno(db, code);

	if (r == -EBADMSG)
		return say_damaged(to, sqlite3_errmsg(db));
	if (r == -EBUSY)
		return say(to, r, "another process has it open: is netkitd running already?");
	return say(to, r, "%s (%s)", sqlite3_errmsg(db), strerror(-r));
}

static char *with_suffix(const char *path, const char *suffix)
{
	char *name = NULL;

	return asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name;
}

static off_t size_of(const char *path, const char *suffix)
{
	char *name = with_suffix(path, suffix);
	struct stat st;
	int r = name ? stat(name, &st) : -1;

	free(name);
	return r < 0 ? -1 : st.st_size;
}

static int remove_file(const char *path, const char *suffix)
{
	char *name = with_suffix(path, suffix);
	int r;

	if (!name)
		return -ENOMEM;
	r = unlink(name) < 0 && errno != ENOENT ? -errno : 0;
	free(name);
	return r;
}

static int big_endian(const unsigned char *b)
{
	return (int)((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
}

/* 1: a file of ours, as far as its first bytes tell; 0: none, or an empty one; or -errno. Reads only. */
static int look_at_header(const struct report *to, const struct nk_store_schema *schema)
{
	unsigned char header[HEADER_SIZE];
	struct stat st;
	ssize_t n = 0;
	int fd, r = 0;

	fd = open(to->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : say(to, -errno, "cannot be opened: %s", strerror(errno));
	if (fstat(fd, &st) < 0 || (n = pread(fd, header, sizeof(header), 0)) < 0)
		r = errno == EISDIR ? -EMEDIUMTYPE : -errno;
	close(fd);
	if (r == -EMEDIUMTYPE || (r == 0 && !S_ISREG(st.st_mode)))
		return say(to, -EMEDIUMTYPE, "not a regular file: move it away, or set another state_dir");
	if (r < 0)
		return say(to, r, "cannot be read: %s", strerror(-r));
	if (st.st_size == 0)
		return size_of(to->path, "-wal") > 0 ? say_damaged(to, "it is empty, but its log is not") : 0;
	if (n < HEADER_SIZE || memcmp(header, "SQLite format 3", 16) != 0)
		return say_damaged(to, "it is not an SQLite database");
	if (big_endian(header + HEADER_APPLICATION_ID) != NK_STORE_APPLICATION_ID)
		return say(to, -EMEDIUMTYPE, "a database of another program: move it away, or set another state_dir");
	if (big_endian(header + HEADER_USER_VERSION) > schema->n)
		return say_newer(to, big_endian(header + HEADER_USER_VERSION), schema->n);
	return 1;
}

static int query_int(sqlite3 *db, const char *sql, int *ret)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code == SQLITE_ROW) {
		*ret = sqlite3_column_int(stmt, 0);
		code = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	return code;
}

/* All missing steps and the new version, in one transaction. */
static int migrate(sqlite3 *db, const struct nk_store_schema *schema, int version)
{
	char pragma[64];
	int code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	for (int i = version; code == SQLITE_OK && i < schema->n; i++)
		code = sqlite3_exec(db, schema->steps[i], NULL, NULL, NULL);
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%d", schema->n);
	if (code == SQLITE_OK)
		code = sqlite3_exec(db, pragma, NULL, NULL, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	return code; /* closing rolls back what was not committed */
}

static int sync_directory(const char *path)
{
	char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
	int fd, r = 0;

	if (!dir)
		return -ENOMEM;
	if (slash)
		slash[slash == dir] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	free(dir);
	return r;
}

/* A complete database under path.new, then renamed. What lies about of a former one is of no use without it. */
static int create(const struct report *to, const struct nk_store_schema *schema)
{
	static const char *const leftovers[] = { "-wal", "-shm", "-journal", ".new", ".new-wal", ".new-journal" };
	char *name = with_suffix(to->path, ".new");
	sqlite3 *db = NULL;
	char pragma[128];
	int code, r = 0;

	if (!name)
		return say(to, -ENOMEM, "memory is out");
	for (size_t i = 0; r == 0 && i < sizeof(leftovers) / sizeof(leftovers[0]); i++)
		r = remove_file(to->path, leftovers[i]);
	if (r < 0) {
		say(to, r, "cannot remove the leftovers of a former one: %s", strerror(-r));
		goto out;
	}
	snprintf(pragma, sizeof(pragma), "PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=FULL; PRAGMA application_id=%d", NK_STORE_APPLICATION_ID);
	code = sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_exec(db, pragma, NULL, NULL, NULL);
	if (code == SQLITE_OK)
		code = migrate(db, schema, 0);
	if (code == SQLITE_OK)
		code = sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
	if (code != SQLITE_OK)
		r = say_sqlite(to, db, code);
	sqlite3_close(db);
	if (r == 0 && rename(name, to->path) < 0)
		r = say(to, -errno, "cannot be put in place: %s", strerror(errno));
	if (r == 0) {
		r = sync_directory(to->path);
		if (r < 0)
			say(to, r, "its directory cannot be written: %s", strerror(-r));
	}
out:
	free(name);
	return r;
}

static int on_check_row(void *arg, int n, char **values, char **names)
{
	char *first = arg;

	(void)n;
	(void)names;
	if (first[0] == '\0')
		snprintf(first, 128, "%s", values[0] ? values[0] : "?");
	return 0;
}

/* Look at everything, write nothing. */
static int inspect(const struct report *to, sqlite3 *db, const struct nk_store_schema *schema, int *ret_version)
{
	char first[128] = "";
	int id, code;

	sqlite3_extended_result_codes(db, 1);
	code = sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY;"
			    "PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-" CACHE_KIB, NULL, NULL, NULL);
	if (code == SQLITE_OK)
		code = query_int(db, "PRAGMA application_id", &id);
	if (code == SQLITE_OK)
		code = query_int(db, "PRAGMA user_version", ret_version);
	if (code != SQLITE_OK)
		return say_sqlite(to, db, code);
	if (id != NK_STORE_APPLICATION_ID || *ret_version < 1)
		return say_damaged(to, "its header and its log contradict each other");
	if (*ret_version > schema->n)
		return say_newer(to, *ret_version, schema->n);
	code = sqlite3_exec(db, "PRAGMA quick_check(1)", on_check_row, first, NULL);
	if (code != SQLITE_OK)
		return say_sqlite(to, db, code);
	return strcmp(first, "ok") == 0 ? 0 : say_damaged(to, first);
}

/* The file is good and ours: from here on it may be written. */
static int enable(const struct report *to, sqlite3 *db, const struct nk_store_schema *schema, int version)
{
	int code;

	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	code = sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;"
			    "PRAGMA journal_size_limit=" WAL_KEEP, NULL, NULL, NULL);
	if (code == SQLITE_OK && version < schema->n)
		code = migrate(db, schema, version);
	return code == SQLITE_OK ? 0 : say_sqlite(to, db, code);
}

int nk_store_open_as(const char *path, const struct nk_store_schema *schema, struct nk_store **ret, char *why, size_t size)
{
	const struct report to = { .path = path, .why = why, .size = size };
	int r = look_at_header(&to, schema), version, code;
	struct nk_store *s = NULL;
	sqlite3 *db = NULL;
	bool had_wal;

	if (r == 0)
		r = create(&to, schema);
	if (r < 0)
		return r;
	had_wal = size_of(path, "-wal") >= 0;
	code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	r = code == SQLITE_OK ? inspect(&to, db, schema, &version) : say_sqlite(&to, db, code);
	if (r == 0)
		r = enable(&to, db, schema, version);
	if (r == 0) {
		r = nk_store_wrap(db, &s);
		if (r < 0)
			say_sqlite(&to, db, sqlite3_errcode(db));
	}
	if (r < 0) {
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		sqlite3_close(db);
		if (!had_wal && size_of(path, "-wal") == 0)
			remove_file(path, "-wal"); /* SQLite made it, and nothing is in it */
		return r;
	}
	*ret = s;
	return 0;
}

int nk_store_open(const char *path, struct nk_store **ret, char *why, size_t size)
{
	return nk_store_open_as(path, &nk_store_schema, ret, why, size);
}
