// SPDX-License-Identifier: GPL-2.0-only
/*
 * /etc/netkitd/state.d: JSON files, devices for people without an orchestrator. Read at start and on reload; each file is a document of
 * its own, put in as the whole content of its source by the same path as a request (change.c). A file that is refused
 * leaves what it stated before as it was.
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

/* Sources of the document that are files. */
struct sources {
	char **paths;
	size_t n;
};

static void add_source(struct sources *s, const char *source)
{
	char **more;

	if (!source[0])
		return;
	for (size_t i = 0; i < s->n; i++) {
		if (strcmp(s->paths[i], source) == 0)
			return;
	}
	more = reallocarray(s->paths, s->n + 1, sizeof(*more));
	if (!more)
		return;
	s->paths = more;
	s->paths[s->n] = strdup(source);
	if (s->paths[s->n])
		s->n++;
}

static int device_source(const struct nk_device *d, const char *source, void *arg)
{
	add_source(arg, source);
	return 0;
}

static int program_source(const struct nk_program *p, const char *source, void *arg)
{
	add_source(arg, source);
	return 0;
}

/* Files that are gone: their objects go too. */
static void drop_missing(struct nk_manager *m)
{
	struct sources s = { 0 };
	struct nk_error err = { 0 };

	nk_document_each_device(m->doc, device_source, &s);
	nk_document_each_program(m->doc, program_source, &s);
	for (size_t i = 0; i < s.n; i++) {
		if (access(s.paths[i], F_OK) < 0 && errno == ENOENT && nk_manager_apply_source(m, s.paths[i], NULL, &err) < 0)
			refuse(m, s.paths[i], &err);
		free(s.paths[i]);
	}
	free(s.paths);
}

void nk_manager_read_state_d(struct nk_manager *m)
{
	struct dirent **entries = NULL;
	int n;

	for (size_t i = 0; i < m->n_refused; i++) {
		free(m->refused[i].path);
		free(m->refused[i].why);
	}
	m->n_refused = 0;
	drop_missing(m);
	n = scandir(NK_STATE_DIR_D, &entries, is_document, alphasort);
	for (int i = 0; i < n; i++) {
		struct nk_document_input in = { 0 };
		struct nk_error err = { 0 };
		char path[sizeof(NK_STATE_DIR_D) + 257];

		snprintf(path, sizeof(path), "%s/%s", NK_STATE_DIR_D, entries[i]->d_name);
		if (read_document(path, &in, &err) < 0 || nk_manager_apply_source(m, path, &in, &err) < 0)
			refuse(m, path, &err);
		nk_document_input_clear(&in);
		free(entries[i]);
	}
	free(entries);
}
