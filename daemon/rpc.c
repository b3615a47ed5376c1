// SPDX-License-Identifier: GPL-2.0-only
/*
 * JSON-RPC 2.0 between the server's lines and the manager's handlers. A line becomes a message with one call, or a batch with
 * several; each call becomes a request, which puts its answer into the message; the last answer sends it. It may not know
 * what a method does, and it changes nothing.
 */
#include "daemon/rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/json.h"

struct nk_rpc {
	nk_method_fn handlers[NK_METHODS];
	void (*idle)(void *arg);
	void (*peer_closed)(struct nk_peer *p, const char *why, void *arg);
	bool (*unseeing)(void *arg);
	void *arg; /* borrowed, for all of the above */
};

/* One line, until all its calls are answered. */
struct message {
	struct nk_peer *peer; /* reference */
	bool batch;
	size_t n;             /* calls */
	size_t waiting;       /* calls without answer, and one more while the line is being taken apart */
	size_t reply_bytes;
	size_t n_fds;
	int fds[NK_FDS_MAX];  /* owned */
	char *replies[];      /* n: owned texts; NULL: none yet, or none at all (notification) */
};

struct nk_request {
	struct message *m; /* counted in m->waiting */
	size_t index;      /* of the reply in m */
	json_t *id;        /* reference; NULL: a notification, which gets no answer */
};

/* What is said when there is no memory to say anything else. */
static const char out_of_memory[] =
	"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"the daemon is out of memory\"}}";

/* ---- messages ---- */

static struct message *message_new(struct nk_peer *p, bool batch, size_t n, int *fds, size_t n_fds)
{
	struct message *m = calloc(1, sizeof(*m) + n * sizeof(*m->replies));

	if (!m)
		return NULL;
	m->peer = nk_peer_ref(p);
	m->batch = batch;
	m->n = n;
	m->waiting = 1;
	for (size_t i = 0; i < n_fds; i++) {
		m->fds[m->n_fds++] = fds[i];
		fds[i] = -1;
	}
	return m;
}

/* All calls had their look: who waits for an answer doesn't keep a namespace alive. */
static void close_fds(struct message *m)
{
	for (size_t i = 0; i < m->n_fds; i++)
		close(m->fds[i]);
	m->n_fds = 0;
}

/* The replies of a batch as one array; "" when there are none. NULL without memory. */
static char *join(const struct message *m)
{
	char *text = malloc(m->reply_bytes + m->n + sizeof("[]")), *at = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < m->n; i++) {
		if (!m->replies[i])
			continue;
		*at = at == text ? '[' : ',';
		at = stpcpy(at + 1, m->replies[i]);
	}
	if (at > text)
		*at++ = ']';
	*at = '\0';
	return text;
}

/* One reason less to wait; the last sends. */
static void message_put(struct message *m)
{
	char *text;

	if (--m->waiting > 0)
		return;
	if (!m->batch) {
		if (m->replies[0])
			nk_peer_send(m->peer, m->replies[0], strlen(m->replies[0]));
	} else if (!(text = join(m))) {
		nk_peer_send(m->peer, out_of_memory, strlen(out_of_memory));
	} else {
		if (*text)
			nk_peer_send(m->peer, text, strlen(text));
		free(text);
	}
	for (size_t i = 0; i < m->n; i++)
		free(m->replies[i]);
	nk_peer_unref(m->peer);
	free(m);
}

/* ---- answers ---- */

/* {"jsonrpc": "2.0", "id": …, key: value} as text; takes the reference to value. Never NULL but without any memory. */
static char *reply_text(json_t *id, const char *key, json_t *value)
{
	json_t *reply = value ? json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", id, key, value) : NULL;
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;

	json_decref(reply);
	return text ? text : strdup(out_of_memory);
}

static char *error_text(json_t *id, struct nk_error *err)
{
	char *text;

	if (err->code == NK_E_NONE)
		nk_error_set(err, NK_E_INTERNAL, "the daemon failed without saying why");
	text = reply_text(id, "error", nk_error_encode(err));
	nk_error_clear(err);
	return text;
}

/* Takes text, which may be NULL for a notification. */
static void request_finish(struct nk_request *r, char *text)
{
	struct message *m = r->m;

	m->replies[r->index] = text;
	if (text)
		m->reply_bytes += strlen(text);
	json_decref(r->id);
	free(r);
	nk_peer_release(m->peer);
	message_put(m);
}

void nk_request_reply(struct nk_request *r, json_t *result)
{
	if (!r->id || nk_peer_gone(r->m->peer)) {
		json_decref(result);
		request_finish(r, NULL);
		return;
	}
	request_finish(r, reply_text(r->id, "result", result));
}

void nk_request_fail(struct nk_request *r, struct nk_error *err)
{
	if (!r->id || nk_peer_gone(r->m->peer)) {
		nk_error_clear(err);
		request_finish(r, NULL);
		return;
	}
	request_finish(r, error_text(r->id, err));
}

struct nk_peer *nk_request_peer(struct nk_request *r)
{
	return r->m->peer;
}

int nk_request_fd(const struct nk_request *r, size_t i)
{
	return i < r->m->n_fds ? r->m->fds[i] : -1;
}

char *nk_rpc_notification(const char *method, json_t *params)
{
	json_t *note = json_pack("{s:s, s:s, s:O}", "jsonrpc", "2.0", "method", method, "params", params);
	char *text = note ? json_dumps(note, JSON_COMPACT) : NULL;

	json_decref(note);
	return text;
}

/* ---- calls ---- */

struct envelope {
	json_t *id; /* borrowed; NULL: a notification */
	const char *method;
	json_t *params;
};

static bool id_type_ok(const json_t *id)
{
	return json_is_string(id) || json_is_number(id) || json_is_null(id);
}

/* Check one call's envelope. *ret->id is set as soon as it is known, for the error's reply. */
static int decode_envelope(json_t *call, struct envelope *ret, struct nk_error *err)
{
	const char *version = json_string_value(json_object_get(call, "jsonrpc"));
	json_t *method = json_object_get(call, "method");
	const char *key;
	json_t *value;

	if (!json_is_object(call))
		return nk_error_set(err, NK_E_INVALID_REQUEST, "a call must be an object like {\"jsonrpc\": \"2.0\", \"id\": 1, "
				    "\"method\": \"daemon.status\"}, and this is none");
	ret->id = json_object_get(call, "id");
	if (ret->id && !id_type_ok(ret->id)) {
		ret->id = NULL;
		return nk_error_at(err, NK_E_INVALID_REQUEST, "/id", "must be a string, a number or null");
	}
	if (!version || strcmp(version, "2.0") != 0)
		return nk_error_at(err, NK_E_INVALID_REQUEST, "/jsonrpc", "must be there and be \"2.0\"");
	if (!json_is_string(method))
		return nk_error_at(err, NK_E_INVALID_REQUEST, "/method", "must be there and be the name of a method");
	ret->method = json_string_value(method);
	ret->params = json_object_get(call, "params");
	if (ret->params && !json_is_object(ret->params))
		return nk_error_at(err, NK_E_INVALID_REQUEST, "/params", "must be an object: parameters go by name");
	json_object_foreach(call, key, value) {
		if (strcmp(key, "jsonrpc") && strcmp(key, "id") && strcmp(key, "method") && strcmp(key, "params"))
			return nk_error_set(err, NK_E_INVALID_REQUEST, "unknown member \"%.64s\" beside the method: a call has "
					    "jsonrpc, id, method and params", key);
	}
	return 0;
}

static int check_rights(const struct nk_method_info *info, const struct nk_peer *p, struct nk_error *err)
{
	if (!info->changes || nk_peer_may_change(p))
		return 0;
	return nk_error_set(err, NK_E_DENIED, "%s changes the state, which uid %u may not do: only %s may. Join such a group and "
			    "connect anew, or name one of yours in admin_groups of the daemon's settings", info->name,
			    (unsigned)nk_peer_uid(p), nk_peer_who_may_change(p));
}

/* Everything that must hold before a handler is called. Returns the method, with *params to be cleared, or -errno. */
static int prepare(struct nk_rpc *rpc, const struct message *m, const struct envelope *e, union nk_params *params,
		   struct nk_error *err)
{
	int method = nk_method_find(e->method), r;

	if (method < 0)
		return nk_error_set(err, NK_E_METHOD_NOT_FOUND, "there is no method \"%.64s\"", e->method);
	r = check_rights(&nk_methods[method], m->peer, err);
	if (r < 0)
		return r;
	if (!rpc->handlers[method])
		return nk_error_set(err, NK_E_UNSUPPORTED, "%s is not supported by this daemon", nk_methods[method].name);
	if (m->batch && m->reply_bytes > NK_BATCH_REPLY_MAX)
		return nk_error_set(err, NK_E_LIMIT, "the answers of this batch are longer than %u bytes already: send the rest "
				    "in a further one", (unsigned)NK_BATCH_REPLY_MAX);
	if (nk_peer_held(m->peer) > NK_PENDING_MAX)
		return nk_error_set(err, NK_E_LIMIT, "more than %u calls of this connection wait for their answers: wait for some "
				    "of them", NK_PENDING_MAX);
	r = nk_decode_params(method, e->params, params, err);
	if (r == -ENOMEM)
		nk_error_set(err, NK_E_INTERNAL, "the daemon is out of memory");
	return r < 0 ? r : method;
}

static void call_method(struct nk_rpc *rpc, struct message *m, size_t index, json_t *call)
{
	union nk_params params = { 0 };
	struct nk_error err = { 0 };
	struct envelope e = { 0 };
	struct nk_request *r;
	int method;

	if (decode_envelope(call, &e, &err) < 0) {
		/* Not a valid call, so that it cannot count as a notification: it is answered, with null if need be. */
		m->replies[index] = error_text(e.id ? e.id : json_null(), &err);
		m->reply_bytes += m->replies[index] ? strlen(m->replies[index]) : 0;
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		m->replies[index] = e.id ? strdup(out_of_memory) : NULL;
		m->reply_bytes += m->replies[index] ? strlen(m->replies[index]) : 0;
		return;
	}
	r->m = m;
	r->index = index;
	r->id = json_incref(e.id);
	m->waiting++;
	nk_peer_hold(m->peer);
	method = prepare(rpc, m, &e, &params, &err);
	if (method < 0) {
		nk_request_fail(r, &err);
		return;
	}
	nk_error_clear(&err);
	rpc->handlers[method](r, &params, rpc->arg);
	nk_params_clear(method, &params);
}

/* ---- lines ---- */

static void send_error(struct nk_peer *p, struct nk_error *err)
{
	char *text = error_text(json_null(), err);

	if (text)
		nk_peer_send(p, text, strlen(text));
	free(text);
}

/*
 * Before the parser spends memory: a line of 16 MiB may hold 5 million empty objects, each of which costs it some hundred bytes.
 */
static int check_values(const char *line, size_t len, struct nk_error *err)
{
	bool string = false;
	size_t values = 1;

	for (size_t i = 0; i < len; i++) {
		if (line[i] == '"')
			string = !string;
		else if (string && line[i] == '\\')
			i++;
		else if (!string && (line[i] == ',' || line[i] == '[' || line[i] == '{'))
			values++;
	}
	if (values > NK_VALUES_MAX)
		return nk_error_set(err, NK_E_LIMIT, "the message has more than %u values: send it in parts", NK_VALUES_MAX);
	return 0;
}

static int check_batch(const json_t *json, struct nk_error *err)
{
	if (json_array_size(json) == 0)
		return nk_error_set(err, NK_E_INVALID_REQUEST, "an empty batch: nothing to do");
	if (json_array_size(json) > NK_BATCH_MAX)
		return nk_error_set(err, NK_E_LIMIT, "a batch of %zu calls: at most %d go into one", json_array_size(json),
				    NK_BATCH_MAX);
	return 0;
}

static int parse(const char *line, size_t len, json_t **ret, struct nk_error *err)
{
	int r = check_values(line, len, err);

	if (r == 0)
		r = nk_json_parse(line, len, ret, err);
	if (r == -ENOMEM)
		nk_error_set(err, NK_E_INTERNAL, "the daemon is out of memory");
	if (r == 0 && json_is_array(*ret))
		r = check_batch(*ret, err);
	return r;
}

/* Does this call look at what the kernel holds? */
static bool observes(const json_t *call)
{
	const char *name = json_string_value(json_object_get(call, "method"));
	int method = name ? nk_method_find(name) : -ENOENT;

	return method >= 0 && nk_methods[method].observes;
}

/* Must the line wait until it is known what the kernel holds? */
static bool must_wait(const struct nk_rpc *rpc, const json_t *json)
{
	const json_t *call;
	size_t i;

	if (!rpc->unseeing || !rpc->unseeing(rpc->arg))
		return false;
	json_array_foreach(json, i, call)
		if (observes(call))
			return true;
	return observes(json);
}

static bool on_line(struct nk_peer *p, const char *line, size_t len, int *fds, size_t n_fds, void *arg)
{
	struct nk_error err = { 0 };
	struct nk_rpc *rpc = arg;
	json_t *json = NULL;
	struct message *m;
	size_t n;

	if (parse(line, len, &json, &err) < 0) {
		send_error(p, &err);
		json_decref(json);
		return true;
	}
	if (must_wait(rpc, json)) {
		json_decref(json);
		return false;
	}
	n = json_is_array(json) ? json_array_size(json) : 1;
	m = message_new(p, json_is_array(json), n, fds, n_fds);
	if (!m) {
		nk_peer_send(p, out_of_memory, strlen(out_of_memory));
		json_decref(json);
		return true;
	}
	for (size_t i = 0; i < n; i++)
		call_method(rpc, m, i, m->batch ? json_array_get(json, i) : json);
	json_decref(json);
	close_fds(m);
	message_put(m);
	return true;
}

static void on_refused(struct nk_peer *p, enum nk_refusal why, void *arg)
{
	struct nk_error err = { 0 };

	(void)arg;
	switch (why) {
	case NK_REFUSED_TOO_LONG:
		nk_error_set(&err, NK_E_LIMIT, "a message of more than %u bytes: send it in parts; the connection is closed",
			     NK_MESSAGE_MAX);
		break;
	case NK_REFUSED_MEMORY:
		nk_error_set(&err, NK_E_LIMIT, "all clients' unfinished messages together are above %u bytes: try again later, or in "
			     "parts; the connection is closed", NK_BUFFERED_MAX);
		break;
	case NK_REFUSED_DESCRIPTORS:
		nk_error_set(&err, NK_E_LIMIT, "the descriptors of a message could not be taken: at most %d go with one; the connection "
			     "is closed", NK_FDS_MAX);
		break;
	case NK_REFUSED_TRUNCATED:
		nk_error_set(&err, NK_E_PARSE, "the stream ended within a message: each ends with a newline");
		break;
	case NK_REFUSED_CLIENTS:
		nk_error_set(&err, NK_E_LIMIT, "too many clients are connected: close one, or raise max_clients in the daemon's "
			     "settings");
		break;
	}
	send_error(p, &err);
}

static void on_closed(struct nk_peer *p, const char *why, void *arg)
{
	struct nk_rpc *rpc = arg;

	if (rpc->peer_closed)
		rpc->peer_closed(p, why, rpc->arg);
}

static void on_idle(void *arg)
{
	struct nk_rpc *rpc = arg;

	if (rpc->idle)
		rpc->idle(rpc->arg);
}

struct nk_rpc *nk_rpc_new(const nk_method_fn handlers[NK_METHODS], void (*idle)(void *arg),
			  void (*peer_closed)(struct nk_peer *p, const char *why, void *arg), bool (*unseeing)(void *arg), void *arg)
{
	struct nk_rpc *rpc = calloc(1, sizeof(*rpc));

	if (!rpc)
		return NULL;
	memcpy(rpc->handlers, handlers, sizeof(rpc->handlers));
	rpc->idle = idle;
	rpc->peer_closed = peer_closed;
	rpc->unseeing = unseeing;
	rpc->arg = arg;
	return rpc;
}

struct nk_rpc *nk_rpc_free(struct nk_rpc *rpc)
{
	free(rpc);
	return NULL;
}

struct nk_server_handlers nk_rpc_server_handlers(struct nk_rpc *rpc)
{
	return (struct nk_server_handlers){
		.line = on_line, .refused = on_refused, .closed = on_closed, .idle = on_idle, .arg = rpc,
	};
}
