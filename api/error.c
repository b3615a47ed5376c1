// SPDX-License-Identifier: GPL-2.0-only
/*
 * Errors of the contract: filling them in, and their form on the socket. Decoders, checks, the manager and the client library
 * call it. It never fails for want of memory: a sentence may be lost, the code never is.
 */
#include "api/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json.h"

void nk_error_clear(struct nk_error *e)
{
	free(e->message);
	free(e->extack);
	json_decref(e->problems);
	*e = (struct nk_error){};
}

int nk_error_set(struct nk_error *e, enum nk_error_code code, const char *format, ...)
{
	va_list args;

	if (e->code == NK_E_NONE)
		e->code = code;
	if (!e->message) {
		va_start(args, format);
		if (vasprintf(&e->message, format, args) < 0)
			e->message = NULL;
		va_end(args);
	}
	return -EINVAL;
}

int nk_error_at(struct nk_error *e, enum nk_error_code code, const char *pointer, const char *format, ...)
{
	char *text = NULL;
	json_t *problem;
	va_list args;

	if (e->code == NK_E_NONE)
		e->code = code;
	if (e->n_problems++ >= NK_ERROR_PROBLEMS_MAX)
		return -EINVAL;

	if (!e->problems)
		e->problems = json_array();
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	problem = json_object();
	if (e->problems && problem && text) {
		json_object_set_new(problem, "pointer", nk_json_text(pointer));
		json_object_set_new(problem, "message", nk_json_text(text));
		json_array_append(e->problems, problem);
	}
	json_decref(problem);
	free(text);
	return -EINVAL;
}

/* The sentence to send when nobody set one: the first problem, with its place. */
static json_t *message_of_problems(const struct nk_error *e)
{
	const json_t *first = json_array_get(e->problems, 0);
	const char *pointer = json_string_value(json_object_get(first, "pointer"));
	const char *text = json_string_value(json_object_get(first, "message"));

	if (!text)
		return json_string(nk_error_code_name(e->code));
	if (!pointer || !pointer[0])
		pointer = "the value";
	if (e->n_problems > 1)
		return json_sprintf("%s: %s (and %zu more)", pointer, text, e->n_problems - 1);
	return json_sprintf("%s: %s", pointer, text);
}

json_t *nk_error_encode(const struct nk_error *e)
{
	size_t kept = json_array_size(e->problems);
	json_t *json = json_object(), *data = json_object();
	int r = 0;

	if (!json || !data)
		goto fail;
	r |= json_object_set_new(json, "code", json_integer(e->code));
	r |= json_object_set_new(json, "message", e->message ? nk_json_text(e->message) : message_of_problems(e));
	if (kept > 0)
		r |= json_object_set(data, "problems", e->problems);
	if (e->n_problems > kept)
		r |= json_object_set_new(data, "more", json_integer((json_int_t)(e->n_problems - kept)));
	if (e->error > 0) {
		const char *name = strerrorname_np(e->error);

		r |= json_object_set_new(data, "errno", name ? json_string(name) : json_sprintf("%d", e->error));
	}
	if (e->extack)
		r |= json_object_set_new(data, "extack", nk_json_text(e->extack));
	if (json_object_size(data) > 0)
		r |= json_object_set(json, "data", data);
	if (r)
		goto fail;
	json_decref(data);
	return json;
fail:
	json_decref(data);
	json_decref(json);
	return NULL;
}

/* The errno of a name, by asking for the name of each; 0 for an unknown one. */
static int errno_of_name(const char *name)
{
	for (int i = 1; i < 4096; i++) {
		const char *n = strerrorname_np(i);

		if (n && strcmp(n, name) == 0)
			return i;
	}
	return 0;
}

int nk_error_decode(const json_t *json, struct nk_error *ret)
{
	const json_t *code = json_object_get(json, "code");
	const json_t *message = json_object_get(json, "message");
	const json_t *data = json_object_get(json, "data");
	json_t *problems = json_object_get(data, "problems");
	const char *error = json_string_value(json_object_get(data, "errno"));
	const char *extack = json_string_value(json_object_get(data, "extack"));
	struct nk_error e = {};

	if (!json_is_integer(code) || !json_is_string(message))
		return -EINVAL;
	e.code = (enum nk_error_code)json_integer_value(code);
	e.message = strdup(json_string_value(message));
	if (json_is_array(problems)) {
		e.problems = json_incref(problems);
		e.n_problems = json_array_size(problems) + (size_t)json_integer_value(json_object_get(data, "more"));
	}
	if (error)
		e.error = errno_of_name(error);
	if (extack)
		e.extack = strdup(extack);
	*ret = e;
	return 0;
}

const char *nk_error_code_name(enum nk_error_code code)
{
	switch (code) {
	case NK_E_NONE:
		return "no error";
	case NK_E_PARSE:
		return "parse error";
	case NK_E_INVALID_REQUEST:
		return "invalid request";
	case NK_E_METHOD_NOT_FOUND:
		return "method not found";
	case NK_E_INVALID_PARAMS:
		return "invalid params";
	case NK_E_INTERNAL:
		return "internal error";
	case NK_E_CONFLICT:
		return "conflict";
	case NK_E_NOT_FOUND:
		return "not found";
	case NK_E_DENIED:
		return "denied";
	case NK_E_LIMIT:
		return "limit";
	case NK_E_KERNEL:
		return "kernel";
	case NK_E_TIMEOUT:
		return "timeout";
	case NK_E_UNSUPPORTED:
		return "unsupported";
	}
	return "unknown error";
}
