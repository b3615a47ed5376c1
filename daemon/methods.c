// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests that look: status, lists, documents, subscriptions. They read the document, the cache and reconcile's objects, change
 * nothing, and never dump the kernel. Called through rpc's table of methods.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/netns.h"
#include "daemon/manager.h"
#include "daemon/object.h"
#include "daemon/rebuild.h"

static void fail(struct nk_request *r, enum nk_error_code code, const char *pointer, const char *text)
{
	struct nk_error err = { 0 };

	if (pointer)
		nk_error_at(&err, code, pointer, "%s", text);
	else
		nk_error_set(&err, code, "%s", text);
	nk_request_fail(r, &err);
}

void nk_manager_reply_with(struct nk_request *r, enum nk_method m, json_t *value)
{
	struct nk_result_one one = { value };
	json_t *result = value ? nk_table_encode(nk_methods[m].result, &one) : NULL;

	json_decref(value);
	if (result)
		nk_request_reply(r, result);
	else
		fail(r, NK_E_INTERNAL, NULL, "no memory");
}

/* ---- the daemon ---- */

static const char *found_name(enum nk_found p)
{
	switch (p) {
	case NK_UNKNOWN:
		return "unknown";
	case NK_MISSING:
		return "missing";
	case NK_PRESENT:
		return "present";
	}
	return "unknown";
}

struct unclaimed {
	const struct nk_manager *m;
	size_t n;
};

static void count_unclaimed(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	struct unclaimed *u = arg;

	if (!nk_reconcile_knows(u->m->reconcile, o->owner))
		u->n++;
}

static int count_attachments(const struct nk_device *d, const char *source, void *arg)
{
	*(size_t *)arg += d->n_attachments;
	return 0;
}

#define REASONS_MAX 16

/* Sentences about what is not well; free() each. */
static size_t health(const struct nk_manager *m, const struct nk_reconcile_counts *c, char **reasons)
{
	int blind = nk_reconcile_sight(m->reconcile);
	size_t n = 0;

	if (c->devices[NK_STATE_DEGRADED] &&
	    asprintf(&reasons[n], "%zu devices are degraded; see netkitd-cli list", c->devices[NK_STATE_DEGRADED]) > 0)
		n++;
	if (c->interfaces[NK_STATE_DEGRADED] &&
	    asprintf(&reasons[n], "%zu interfaces are degraded; see netkitd-cli list interfaces", c->interfaces[NK_STATE_DEGRADED]) > 0)
		n++;
	if (c->programs_degraded &&
	    asprintf(&reasons[n], "%zu programs are degraded; see netkitd-cli list programs", c->programs_degraded) > 0)
		n++;
	if (m->store_why[0] && asprintf(&reasons[n], "the database could not be written: %s", m->store_why) > 0)
		n++;
	if (nk_events_unwritten(m->events) &&
	    asprintf(&reasons[n], "the history of events could not be written: %s", nk_events_unwritten(m->events)) > 0)
		n++;
	if (blind != 0 && blind != -EAGAIN &&
	    asprintf(&reasons[n], "nothing is changed in the kernel while it can't be read: %s", strerror(-blind)) > 0)
		n++;
	for (size_t i = 0; i < m->n_refused && n < REASONS_MAX - 1; i++) {
		if (asprintf(&reasons[n], "%s was refused: %s", m->refused[i].path, m->refused[i].why) > 0)
			n++;
	}
	if (m->pins_why && n < REASONS_MAX && asprintf(&reasons[n], "programs would go with netkitd: %s", m->pins_why) > 0)
		n++;
	if (!m->watch && n < REASONS_MAX &&
	    asprintf(&reasons[n], "changes of programs by others are noticed only every %u s: %s", m->settings.poll_s, m->watch_why) > 0)
		n++;
	return n;
}

void nk_manager_daemon_status(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	struct nk_reconcile_counts c;
	struct unclaimed u = { .m = m };
	char *reasons[REASONS_MAX];
	const char *features[NK_FEATURES];
	struct nk_view_status v;
	json_t *result;

	nk_manager_commit(m);
	nk_reconcile_count(m->reconcile, &c);
	nk_cache_each(m->cache, count_unclaimed, &u);
	v = (struct nk_view_status){
		.version = NK_VERSION,
		.uptime_s = (nk_now_us() - m->started_us) / 1000000,
		.revision_desired = m->revision,
		.revision_attempted = c.attempted,
		.revision_converged = c.converged,
		.devices = nk_document_n_devices(m->doc),
		.devices_ready = c.devices[NK_STATE_READY],
		.devices_pending = c.devices[NK_STATE_PENDING],
		.devices_degraded = c.devices[NK_STATE_DEGRADED],
		.devices_released = c.devices[NK_STATE_RELEASED],
		.devices_unclaimed = u.n,
		.interfaces = nk_document_n_interfaces(m->doc),
		.interfaces_ready = c.interfaces[NK_STATE_READY],
		.interfaces_pending = c.interfaces[NK_STATE_PENDING],
		.interfaces_degraded = c.interfaces[NK_STATE_DEGRADED],
		.programs = nk_document_n_programs(m->doc),
		.clients = nk_server_n_clients(m->server),
		.subscribers = nk_events_n_subscribers(m->events),
		.repairs = c.repairs,
		.resyncs = c.resyncs,
		.kernel_errors = c.kernel_errors,
		.watcher = m->watch ? "bpf" : "poll",
		.features = features,
	};
	nk_document_each_device(m->doc, count_attachments, &v.attachments);
	for (int i = 0; i < NK_FEATURES; i++) {
		if (m->probe.feature[i].found == NK_PRESENT)
			features[v.n_features++] = nk_features[i].name;
	}
	v.n_health_reasons = health(m, &c, reasons);
	v.health_reasons = (const char **)reasons;
	v.health = v.n_health_reasons ? "degraded" : "ok";
	result = nk_table_encode(&nk_table_view_status, &v);
	for (size_t i = 0; i < v.n_health_reasons; i++)
		free(reasons[i]);
	if (result)
		nk_request_reply(r, result);
	else
		fail(r, NK_E_INTERNAL, NULL, "no memory");
}

void nk_manager_daemon_capabilities(struct nk_request *r, union nk_params *p, void *arg)
{
	const struct nk_manager *m = arg;
	json_t *list = json_array();

	for (int i = 0; list && i < NK_FEATURES; i++) {
		struct nk_view_capability v = {
			.name = nk_features[i].name,
			.state = found_name(m->probe.feature[i].found),
			.how = m->probe.feature[i].how,
			.config = nk_features[i].config,
			.needed = nk_features[i].needed,
		};

		json_array_append_new(list, nk_table_encode(&nk_table_view_capability, &v));
	}
	nk_manager_reply_with(r, NK_M_DAEMON_CAPABILITIES, list);
}

/* ---- documents ---- */

void nk_manager_state_get(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	struct nk_result_document whole;
	json_t *result;

	nk_manager_commit(m);
	whole = (struct nk_result_document){ m->revision, nk_encode_document(m->doc) };
	result = whole.document ? nk_table_encode(nk_methods[NK_M_STATE_GET].result, &whole) : NULL;
	json_decref(whole.document);
	if (result)
		nk_request_reply(r, result);
	else
		fail(r, NK_E_INTERNAL, NULL, "no memory");
}

int nk_manager_sees(const struct nk_manager *m, struct nk_error *err)
{
	int r = nk_reconcile_sight(m->reconcile);

	return r == 0 ? 0 : nk_error_set(err, NK_E_KERNEL, "what the kernel holds can't be read, which is tried again every second: %s; "
					 "try again when netkitd-cli status says that it is well", strerror(-r));
}

void nk_manager_state_rebuild(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	struct nk_error err = { 0 };

	if (nk_manager_sees(m, &err) < 0) {
		nk_request_fail(r, &err);
		return;
	}

	nk_manager_reply_with(r, NK_M_STATE_REBUILD, nk_rebuild_document(m->cache, m->settings.bpffs, p->rebuild.unclaimed ? m->doc : NULL));
}

/* ---- devices and interfaces ---- */

/* Is there anything of this name? The text for who asks, if not. */
static bool is_known(const struct nk_manager *m, const char *name, char *text, size_t size)
{
	if (nk_document_device(m->doc, name) || nk_cache_get(m->cache, name))
		return true;
	snprintf(text, size, "no device and no interface %s is desired, and no device of ours has this name", name);
	return false;
}

static json_t *encode_device_view(const struct nk_manager *m, const char *name)
{
	struct nk_view_device v = {
		.name = name,
		.desired = nk_document_device(m->doc, name),
		.observed = nk_cache_get(m->cache, name),
		.repairs = nk_reconcile_device_repairs(m->reconcile, name),
	};
	const char *source = nk_document_device_source(m->doc, name);

	v.is_interface = v.desired ? v.desired->interface : v.observed && v.observed->interface;
	if (nk_reconcile_device_condition(m->reconcile, name, &v.condition) < 0) {
		v.unclaimed = true;
		v.condition = (struct nk_condition){ .state = NK_STATE_READY,
						     .reason = "Unclaimed",
						     .message = "left by an earlier document; claim it by naming it, or delete it" };
	}
	v.source = source && source[0] ? source : NULL;
	return nk_table_encode(&nk_table_view_device, &v);
}

void nk_manager_device_get(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	const char *name = p->device_name.name;
	char text[160];
	json_t *result;

	nk_manager_commit(m);
	if (!is_known(m, name, text, sizeof(text))) {
		fail(r, NK_E_NOT_FOUND, "/name", text);
		return;
	}
	result = encode_device_view(m, name);
	if (result)
		nk_request_reply(r, result);
	else
		fail(r, NK_E_INTERNAL, NULL, "no memory");
}

struct list {
	const struct nk_manager *m;
	json_t *json;
	bool interfaces;  /* list these */
};

static int list_device(const struct nk_device *d, const char *source, void *arg)
{
	struct list *l = arg;

	return d->interface == l->interfaces ? json_array_append_new(l->json, encode_device_view(l->m, nk_device_name(d))) : 0;
}

/* Devices that the document does not name: unclaimed, or on their way out. */
static void list_undesired(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	struct list *l = arg;

	if (!nk_document_device(l->m->doc, o->owner))
		json_array_append_new(l->json, encode_device_view(l->m, o->owner));
}

void nk_manager_device_list(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	struct list l = { .m = m, .json = json_array(), .interfaces = p->list.interfaces };

	nk_manager_commit(m);
	if (l.json && nk_document_each_device(m->doc, list_device, &l) == 0 && !l.interfaces)
		nk_cache_each(m->cache, list_undesired, &l);
	nk_manager_reply_with(r, NK_M_DEVICE_LIST, l.json);
}

/* ---- programs and attachments ---- */

static int append_program(struct list *l, struct nk_view_program *v)
{
	struct nk_program_facts facts = { 0 };

	if (v->id && nk_bpf_facts(v->id, &facts) == 0) {
		v->tag = facts.tag;
		v->kernel_name = facts.kernel_name;
		v->run_count = facts.run_count;
		v->run_time_ns = facts.run_time_ns;
	}
	return json_array_append_new(l->json, nk_table_encode(&nk_table_view_program, v));
}

static int list_program(const struct nk_program *p, const char *source, void *arg)
{
	struct list *l = arg;
	struct nk_view_program v = {
		.name = p->name,
		.desired = p,
		.source_file = source[0] ? source : NULL,
		.id = nk_reconcile_program_id(l->m->reconcile, p->name, NULL),
		.users = (uint32_t)nk_document_program_users(l->m->doc, p->name),
	};

	nk_reconcile_program_condition(l->m->reconcile, p->name, &v.condition);
	return append_program(l, &v);
}

/* Kernel ids of the programs of foreign links: one a link. */
struct foreign {
	const struct nk_manager *m;
	uint32_t *ids; /* owned */
	size_t n;
	bool no_memory;
};

static void collect_foreign(struct foreign *f, const struct nk_obs_device *o)
{
	for (int h = 0; o && h < NK_HOOKS; h++) {
		for (uint32_t i = 0; i < o->chain[h].n; i++) {
			const struct nk_obs_link *link = &o->chain[h].links[i];
			uint32_t *more;

			if (link->name[0])
				continue;
			more = reallocarray(f->ids, f->n + 1, sizeof(*more));
			if (!more) {
				f->no_memory = true;
				return;
			}
			f->ids = more;
			more[f->n++] = link->prog_id;
		}
	}
}

static int foreign_of_device(const struct nk_device *d, const char *source, void *arg)
{
	struct foreign *f = arg;

	collect_foreign(f, nk_cache_get(f->m->cache, nk_device_name(d)));
	return 0;
}

static void foreign_of_undesired(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	struct foreign *f = arg;

	if (!nk_document_device(f->m->doc, o->owner))
		collect_foreign(f, o);
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Somebody else may have attached a program of the document. */
static bool is_listed(const struct list *l, uint32_t id)
{
	json_t *program;
	size_t i;

	json_array_foreach(l->json, i, program) {
		if (json_integer_value(json_object_get(program, "id")) == id)
			return true;
	}
	return false;
}

/* 0 or -ENOMEM. */
static int list_foreign_programs(struct list *l)
{
	struct foreign f = { .m = l->m };

	nk_document_each_device(l->m->doc, foreign_of_device, &f);
	nk_cache_each(l->m->cache, foreign_of_undesired, &f);
	if (f.n)
		qsort(f.ids, f.n, sizeof(*f.ids), compare_ids);
	for (size_t i = 0, end; i < f.n; i = end) {
		struct nk_view_program v = {
			.id = f.ids[i],
			.condition = { .state = NK_STATE_READY,
				       .reason = "Foreign",
				       .message = "somebody else attached it; netkitd-cli chain says who keeps it" },
		};

		for (end = i; end < f.n && f.ids[end] == v.id; end++)
			v.users++;
		if (!is_listed(l, v.id))
			append_program(l, &v);
	}
	free(f.ids);
	return f.no_memory ? -ENOMEM : 0;
}

void nk_manager_program_list(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	struct list l = { .m = m, .json = json_array() };

	nk_manager_commit(m);
	if (l.json) {
		nk_document_each_program(m->doc, list_program, &l);
		if (list_foreign_programs(&l) < 0) {
			json_decref(l.json);
			l.json = NULL;
		}
	}
	nk_manager_reply_with(r, NK_M_PROGRAM_LIST, l.json);
}

static const struct nk_attachment *find_attachment(const struct nk_device *d, enum nk_hook hook, const char *name)
{
	for (uint32_t i = 0; d && i < d->n_attachments; i++) {
		if (d->attachments[i].hook == hook && strcmp(d->attachments[i].name, name) == 0)
			return &d->attachments[i];
	}
	return NULL;
}

static void append_attachment(struct list *l, struct nk_view_attachment *v)
{
	struct nk_program_facts facts = { 0 };

	if (v->prog_id && nk_bpf_facts(v->prog_id, &facts) == 0) {
		v->tag = facts.tag;
		v->kernel_name = facts.kernel_name;
		v->run_count = facts.run_count;
		v->run_time_ns = facts.run_time_ns;
	}
	json_array_append_new(l->json, nk_table_encode(&nk_table_view_attachment, v));
}

static bool in_chain(const struct nk_obs_device *o, const struct nk_attachment *a)
{
	for (uint32_t i = 0; o && i < o->chain[a->hook].n; i++) {
		if (strcmp(o->chain[a->hook].links[i].name, a->name) == 0)
			return true;
	}
	return false;
}

/* The chains as packets meet them, then what should be in them and isn't. */
static void list_attachments(struct list *l, const char *name)
{
	const struct nk_device *d = nk_document_device(l->m->doc, name);
	const struct nk_obs_device *o = nk_cache_get(l->m->cache, name);

	for (int h = 0; o && h < NK_HOOKS; h++) {
		for (uint32_t i = 0; i < o->chain[h].n; i++) {
			const struct nk_obs_link *link = &o->chain[h].links[i];
			const struct nk_attachment *a = find_attachment(d, (enum nk_hook)h, link->name);
			struct nk_view_attachment v = {
				.device = name,
				.name = link->name[0] ? link->name : NULL,
				.hook = nk_hook_name((enum nk_hook)h),
				.program = a ? a->program : NULL,
				.foreign = !link->name[0],
				.position = (int32_t)i,
				.link_id = link->link_id,
				.prog_id = link->prog_id,
				.attached = true,
			};

			append_attachment(l, &v);
		}
	}
	for (uint32_t i = 0; d && i < d->n_attachments; i++) {
		const struct nk_attachment *a = &d->attachments[i];
		struct nk_view_attachment v = {
			.device = name,
			.name = a->name,
			.hook = nk_hook_name((enum nk_hook)a->hook),
			.program = a->program,
			.position = -1,
		};

		if (!in_chain(o, a))
			append_attachment(l, &v);
	}
}

static int attachments_of_device(const struct nk_device *d, const char *source, void *arg)
{
	list_attachments(arg, nk_device_name(d));
	return 0;
}

static void attachments_of_undesired(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	struct list *l = arg;

	if (!nk_document_device(l->m->doc, o->owner))
		list_attachments(l, o->owner);
}

json_t *nk_manager_attachments(const struct nk_manager *m, const char *device)
{
	struct list l = { .m = m, .json = json_array() };

	if (l.json && device[0]) {
		list_attachments(&l, device);
	} else if (l.json) {
		nk_document_each_device(m->doc, attachments_of_device, &l);
		nk_cache_each(m->cache, attachments_of_undesired, &l);
	}
	return l.json;
}

void nk_manager_attachment_list(struct nk_request *r, union nk_params *p, void *arg)
{
	const char *device = p->list.device;
	struct nk_manager *m = arg;
	char text[160];

	nk_manager_commit(m);
	if (device[0] && !is_known(m, device, text, sizeof(text)))
		fail(r, NK_E_NOT_FOUND, "/device", text);
	else if (p->list.owners)
		nk_manager_find_owners(m, r, device);
	else
		nk_manager_reply_with(r, NK_M_ATTACHMENT_LIST, nk_manager_attachments(m, device));
}

/* ---- events ---- */

void nk_manager_event_subscribe(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_manager *m = arg;
	struct nk_peer *peer = nk_peer_ref(nk_request_peer(r));
	struct nk_result_subscribe result = { 0 };
	char **lines = NULL;
	size_t n = 0;
	int e = 0;

	if (p->subscribe.has_since)
		e = nk_events_kept(m->events, p->subscribe.since, &lines, &n, &result.from);
	if (e < 0)
		fail(r, NK_E_INTERNAL, NULL, "the history of events can't be read from the database");
	else if ((e = nk_events_subscribe(m->events, peer)) == -EALREADY)
		fail(r, NK_E_CONFLICT, NULL, "this connection is subscribed already");
	else if (e < 0)
		fail(r, NK_E_INTERNAL, NULL, "no memory");
	else {
		result.seq = nk_events_seq(m->events);
		result.kept = n;
		nk_request_reply(r, nk_table_encode(nk_methods[NK_M_EVENT_SUBSCRIBE].result, &result));
		/* Not as notifications, of which a peer may have so many unread: it has asked for these. */
		for (size_t i = 0; i < n; i++)
			nk_peer_send(peer, lines[i], strlen(lines[i]));
	}
	nk_events_free_kept(lines, n);
	nk_peer_unref(peer);
}
