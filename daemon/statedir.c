// SPDX-License-Identifier: GPL-2.0-only
/*
 * /etc/netkitd/state.d: JSON files, devices for people without an orchestrator. Read at start and on reload; each file is a document of
 * its own, put in as the whole content of its source by the same path as a request (change.c). A file that is refused
 * leaves what it stated before as it was.
 *
 * People move objects from file to file and rename files. So all files are decoded first, and what moved gets its new source before
 * any file is put in: nothing is removed that a file states, in whatever order they are read.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/json.h"
#include "daemon/manager.h"

static int read_document(const char *path, struct nk_document_input *ret, struct nk_error *err)
{
	json_t *json = NULL;
	int r = nk_json_read(path, NK_MESSAGE_MAX, &json, err);

	if (r < 0 && !err->message)
		nk_error_set(err, NK_E_INVALID_PARAMS, "%s", strerror(-r));
	if (r == 0)
		r = nk_decode_document(json, "", ret, err);
	json_decref(json);
	return r;
}

static void refuse(struct nk_manager *m, const char *path, struct nk_error *err)
{
	struct nk_refused_file *more = reallocarray(m->refused, m->n_refused + 1, sizeof(*more));
	struct nk_event_fields f = { .error = err->error };
	const json_t *first = json_array_get(err->problems, 0);
	const char *pointer = json_string_value(json_object_get(first, "pointer"));
	const char *text = err->message ? err->message : json_string_value(json_object_get(first, "message"));
	bool placed = pointer && pointer[0];
	char why[512];

	snprintf(why, sizeof(why), "%s%s%s", placed ? pointer : "", placed ? ": " : "", text ? text : "no memory");
	if (more) {
		m->refused = more;
		more[m->n_refused++] = (struct nk_refused_file){ strdup(path), strdup(why) };
	}
	nk_event(m->events, NK_EVENT_STATE_FILE_REFUSED, &f, "%s is refused, what it stated before stays: %s", path, why);
	nk_error_clear(err);
}

static int is_document(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return e->d_name[0] != '.' && len > 5 && strcmp(e->d_name + len - 5, ".json") == 0;
}

/* One that is there, or that stated something and is gone. */
struct file {
	char *path;                  /* owned */
	struct nk_document_input in; /* owned; empty if it is gone or unread */
	struct nk_error err;         /* why it was refused when it was tried last; owned */
	bool gone;
	bool unread; /* what it states can't be told: it keeps what it stated before */
	bool done;   /* it is put in */
};

struct files {
	struct file *list; /* owned */
	size_t n;
};

static struct file *find_file(const struct files *l, const char *path)
{
	for (size_t i = 0; i < l->n; i++) {
		if (strcmp(l->list[i].path, path) == 0)
			return &l->list[i];
	}
	return NULL;
}

static int add_file(struct files *l, const char *path, bool gone)
{
	struct file *more = reallocarray(l->list, l->n + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	l->list = more;
	more[l->n] = (struct file){ .path = strdup(path), .gone = gone };
	if (!more[l->n].path)
		return -ENOMEM;
	l->n++;
	return 0;
}

static int device_source(const struct nk_device *d, const char *source, void *arg)
{
	return source[0] && !find_file(arg, source) ? add_file(arg, source, true) : 0;
}

static int program_source(const struct nk_program *p, const char *source, void *arg)
{
	return device_source(NULL, source, arg);
}

static int list_files(const struct nk_document *doc, struct files *l)
{
	struct dirent **entries = NULL;
	int n = scandir(NK_STATE_DIR_D, &entries, is_document, alphasort), r = 0;

	if (n < 0 && errno != ENOENT)
		return -errno;
	for (int i = 0; i < n; i++) {
		char path[sizeof(NK_STATE_DIR_D) + 257];

		snprintf(path, sizeof(path), "%s/%s", NK_STATE_DIR_D, entries[i]->d_name);
		if (r == 0)
			r = add_file(l, path, false);
		free(entries[i]);
	}
	free(entries);
	if (r == 0)
		r = nk_document_each_device(doc, device_source, l);
	return r < 0 ? r : nk_document_each_program(doc, program_source, l);
}

/* A file states an object. */
struct claim {
	enum { PROGRAM, DEVICE, INTERFACE } kind;
	const char *name;
	const struct file *file;
};

static int compare_claims(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	if (r == 0)
		r = (x->kind > y->kind) - (x->kind < y->kind);
	return r ? r : (x->file > y->file) - (x->file < y->file);
}

static size_t claims_of(const struct file *f, struct claim *c)
{
	size_t n = 0;

	for (size_t i = 0; i < f->in.n_programs; i++)
		c[n++] = (struct claim){ PROGRAM, f->in.programs[i]->name, f };
	for (size_t i = 0; i < f->in.n_devices; i++)
		c[n++] = (struct claim){ DEVICE, nk_device_name(f->in.devices[i]), f };
	for (size_t i = 0; i < f->in.n_interfaces; i++)
		c[n++] = (struct claim){ INTERFACE, nk_device_name(f->in.interfaces[i]), f };
	return n;
}

/* Of n claims to one object the first gets it, as it stands, if the file whose it was is gone or doesn't name it any more. */
static int settle(struct nk_document *doc, const struct files *l, const struct claim *c, size_t n, struct nk_change *change)
{
	const struct nk_program *p = c->kind == PROGRAM ? nk_document_program(doc, c->name) : NULL;
	const struct nk_device *d = c->kind == PROGRAM ? NULL : nk_document_device(doc, c->name);
	const char *source = p ? nk_document_program_source(doc, c->name) : nk_document_device_source(doc, c->name);
	const struct file *owner = source ? find_file(l, source) : NULL;

	/* A device doesn't become an interface, nor the other way round. */
	if ((!p && !d) || (d && d->interface != (c->kind == INTERFACE)) || !source[0] || (owner && owner->unread))
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(c[i].file->path, source) == 0)
			return 0;
	}
	return p ? nk_document_put_program(doc, p, c->file->path, SIZE_MAX, change)
		 : nk_document_put_device(doc, d, c->file->path, SIZE_MAX, change);
}

/* What moved belongs to the file that states it now; if that file is refused, as it was. */
static int settle_all(struct nk_manager *m, const struct files *l)
{
	struct nk_change change = { 0 };
	struct claim *claims;
	size_t n = 0, same;
	int r = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->list[i].in.n_programs + l->list[i].in.n_devices + l->list[i].in.n_interfaces;
	claims = calloc(n + 1, sizeof(*claims));
	if (!claims)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < l->n; i++)
		n += claims_of(&l->list[i], claims + n);
	qsort(claims, n, sizeof(*claims), compare_claims);
	for (size_t i = 0; i < n && r == 0; i += same) {
		for (same = 1; i + same < n && claims[i].kind == claims[i + same].kind && !strcmp(claims[i].name, claims[i + same].name);)
			same++;
		r = settle(m->doc, l, claims + i, same, &change);
	}
	free(claims);
	if (r < 0)
		nk_manager_undo(m, &change);
	return r < 0 ? r : nk_manager_queue_change(m, &change);
}

/* What one file lets go another may be waiting for: who is refused is tried again when others were not. */
static void put_in(struct nk_manager *m, struct files *l)
{
	bool more;

	do {
		more = false;
		for (size_t i = 0; i < l->n; i++) {
			struct file *f = &l->list[i];

			if (f->done || f->unread)
				continue;
			nk_error_clear(&f->err);
			f->done = nk_manager_apply_source(m, f->path, f->gone ? NULL : &f->in, &f->err) == 0;
			more |= f->done;
		}
	} while (more);
}

void nk_manager_read_state_d(struct nk_manager *m)
{
	struct files l = { 0 };
	struct nk_error err = { 0 };
	int r;

	for (size_t i = 0; i < m->n_refused; i++) {
		free(m->refused[i].path);
		free(m->refused[i].why);
	}
	m->n_refused = 0;
	r = list_files(m->doc, &l);
	for (size_t i = 0; i < l.n && r == 0; i++) {
		struct file *f = &l.list[i];

		f->unread = !f->gone && read_document(f->path, &f->in, &f->err) < 0;
	}
	if (r == 0)
		r = settle_all(m, &l);
	if (r == 0)
		put_in(m, &l);
	if (r < 0) {
		nk_error_set(&err, NK_E_INTERNAL, "%s", strerror(-r));
		refuse(m, NK_STATE_DIR_D, &err);
	}
	for (size_t i = 0; i < l.n; i++) {
		if (r == 0 && !l.list[i].done)
			refuse(m, l.list[i].path, &l.list[i].err);
		nk_error_clear(&l.list[i].err);
		nk_document_input_clear(&l.list[i].in);
		free(l.list[i].path);
	}
	free(l.list);
}
