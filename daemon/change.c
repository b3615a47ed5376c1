// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests that change the desired state: from decoded parameters to a change of the document, which then waits for its commit
 * (commit.c). Called through rpc's table of methods and by statedir.c. Does nothing to the kernel.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/netns.h"
#include "daemon/kernel/object_file.h"
#include "daemon/kernel/passed.h"
#include "daemon/manager.h"

/* What a change will do, counted for the reply. */
struct summary {
	size_t create, change, remove, unchanged;
};

/* One request under way: from its parameters to a pending change. */
struct attempt {
	struct nk_manager *m;
	struct nk_request *request; /* NULL: a file under state.d */
	const char *source;         /* "" for the socket */
	const char *pointer;        /* of the document in the request: "/document" */
	bool alone;                 /* or of the one device that it holds: "/device" */
	struct nk_change change;
	struct nk_about about;
	struct summary sum;
	struct nk_error err;
};

static void at(struct attempt *a, enum nk_error_code code, const char *list, size_t index, const char *member, const char *text)
{
	char pointer[128];

	if (index == SIZE_MAX)
		snprintf(pointer, sizeof(pointer), "%s%s", a->pointer, member);
	else
		snprintf(pointer, sizeof(pointer), "%s/%s/%zu%s", a->pointer, list, index, member);
	nk_error_at(&a->err, code, pointer, "%s", text);
}

/* The answer is about this object, whether it changes or not. A file gets none. */
static void answer_for(struct attempt *a, bool is_program, const char *name)
{
	struct nk_about *l = &a->about;

	if (!a->request)
		return;
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 4;
		void *more = reallocarray(l->list, room, sizeof(*l->list));

		if (!more) {
			nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
			return;
		}
		l->list = more;
		l->room = room;
	}
	l->list[l->n] = (struct nk_about_object){ .is_program = is_program };
	strncpy(l->list[l->n++].name, name, NK_NAME_MAX - 1);
}

/* ---- checks that need the running system ---- */

static bool present(const struct nk_manager *m, enum nk_feature f)
{
	return m->probe.feature[f].found != NK_MISSING;
}

/* The list of the document that it stands in. */
static const char *list_of(const struct nk_device *d)
{
	return d->interface ? "interfaces" : "devices";
}

static void refuse(struct attempt *a, const struct nk_device *d, size_t i, const char *member, enum nk_feature f)
{
	char text[200];

	snprintf(text, sizeof(text), "this kernel has no %s (%s); see daemon.capabilities", nk_features[f].text, nk_features[f].name);
	at(a, NK_E_UNSUPPORTED, list_of(d), i, member, text);
}

static void check_features(struct attempt *a, const struct nk_device *d, size_t i)
{
	struct nk_manager *m = a->m;
	static const char *const end_path[NK_ENDS] = { "", "/peer" };

	if (d->interface) {
		if (!present(m, NK_FEATURE_TCX))
			refuse(a, d, i, "", NK_FEATURE_TCX);
		return;
	}
	if (!present(m, NK_FEATURE_NETKIT))
		refuse(a, d, i, "", NK_FEATURE_NETKIT);
	if (d->single && !present(m, NK_FEATURE_NETKIT_SINGLE))
		refuse(a, d, i, "", NK_FEATURE_NETKIT_SINGLE);
	if (d->has_headroom && !present(m, NK_FEATURE_NETKIT_HEADROOM))
		refuse(a, d, i, "/headroom", NK_FEATURE_NETKIT_HEADROOM);
	if (d->has_tailroom && !present(m, NK_FEATURE_NETKIT_HEADROOM))
		refuse(a, d, i, "/tailroom", NK_FEATURE_NETKIT_HEADROOM);
	if (d->n_attachments && !present(m, NK_FEATURE_NETKIT_LINK))
		refuse(a, d, i, "/attachments", NK_FEATURE_NETKIT_LINK);
	for (int e = 0; e < NK_ENDS; e++) {
		char member[32];

		if (d->end[e].scrub != NK_SCRUB_DEFAULT && !present(m, NK_FEATURE_NETKIT_SCRUB)) {
			snprintf(member, sizeof(member), "%s/scrub", end_path[e]);
			refuse(a, d, i, member, NK_FEATURE_NETKIT_SCRUB);
		}
		if (d->end[e].set & (NK_SET_GSO_IPV4_MAX | NK_SET_GRO_IPV4_MAX) && !present(m, NK_FEATURE_BIG_TCP_IPV4)) {
			snprintf(member, sizeof(member), "%s/gso_ipv4_max_size", end_path[e]);
			refuse(a, d, i, member, NK_FEATURE_BIG_TCP_IPV4);
		}
	}
}

/* Two references to one namespace, as far as the request says: the accepted identity is not yet known for the new one. */
static bool same_reference(const struct nk_netns *said, const struct nk_netns *known)
{
	if (said->kind != known->kind)
		return false;
	switch (said->kind) {
	case NK_NETNS_HOST:
		return true;
	case NK_NETNS_NAME:
	case NK_NETNS_PATH:
		return strcmp(said->path, known->path) == 0;
	case NK_NETNS_PID:
		return said->number == known->number && !nk_netns_is_overtaken(known);
	case NK_NETNS_ID:
		return said->number == known->number;
	case NK_NETNS_FD:
		return false;
	}
	return false;
}

/* The descriptors that came with the request. */
static size_t collect_fds(const struct attempt *a, int fds[NK_FDS_MAX])
{
	size_t n = 0;

	while (a->request && n < NK_FDS_MAX && nk_request_fd(a->request, n) >= 0) {
		fds[n] = nk_request_fd(a->request, n);
		n++;
	}
	return n;
}

/*
 * Make the namespace durable. A reference that the document already has is kept as it was accepted: re-sending a whole
 * document must not fail because one of its containers has gone since.
 */
static void accept_netns(struct attempt *a, struct nk_device *d, const struct nk_device *old, size_t i)
{
	int fds[NK_FDS_MAX];
	size_t n;
	char pointer[128];

	if (d->single || d->netns.kind == NK_NETNS_HOST)
		return;
	if (old && same_reference(&d->netns, &old->netns)) {
		struct nk_netns copy = { 0 };

		if (nk_netns_copy(&copy, &old->netns) < 0) {
			nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
			return;
		}
		nk_netns_clear(&d->netns);
		d->netns = copy;
		return;
	}
	/* Files are read when nothing may run yet: a namespace that comes later is waited for. */
	if (!a->request && d->netns.kind != NK_NETNS_PID)
		return;
	n = collect_fds(a, fds);
	if (i == SIZE_MAX)
		snprintf(pointer, sizeof(pointer), "%s/peer/netns", a->pointer);
	else
		snprintf(pointer, sizeof(pointer), "%s/devices/%zu/peer/netns", a->pointer, i);
	nk_netns_accept(&d->netns, fds, n, pointer, &a->err);
}

/* A name is a device's or an interface's, until it is buried. */
static bool is_of_other_kind(const struct attempt *a, const struct nk_device *d, const struct nk_obs_device *o)
{
	const char *name = nk_device_name(d);

	if (nk_reconcile_knows(a->m->reconcile, name))
		return nk_reconcile_is_interface(a->m->reconcile, name) != d->interface;
	return o && o->interface != d->interface;
}

/* A name that a foreign device has is refused; one that is ours, or was when we last looked, is not. For an interface that is what it
 * is for. */
static void check_name(struct attempt *a, const struct nk_device *d, const struct nk_device *old, size_t i)
{
	const char *name = nk_device_name(d);
	const struct nk_obs_device *o = nk_cache_get(a->m->cache, name);

	if (old ? old->interface != d->interface : is_of_other_kind(a, d, o)) {
		char text[160];

		snprintf(text, sizeof(text), "%s is the name of %s of netkitd; delete that first and wait until it is gone", name,
			 d->interface ? "a device" : "an interface");
		at(a, NK_E_CONFLICT, list_of(d), i, "/name", text);
		return;
	}
	if (old || o || d->interface)
		return;
	/* What a snapshot finds out just now, the executor tells. */
	if (!nk_reconcile_knows(a->m->reconcile, name) && !nk_reconcile_resyncing(a->m->reconcile) &&
	    nk_cache_name_is_taken(a->m->cache, name)) {
		char text[160];

		snprintf(text, sizeof(text), "a device %s is there that netkitd did not make; remove it or choose another name", name);
		at(a, NK_E_CONFLICT, "devices", i, "/name", text);
	}
}

static void check_source(struct attempt *a, const char *what, const char *list, const char *name, const char *now, size_t i)
{
	char text[512];

	if (!now || strcmp(now, a->source) == 0)
		return;
	if (now[0])
		snprintf(text, sizeof(text), "%s %s is stated in %s; change it there and reload", what, name, now);
	else
		snprintf(text, sizeof(text), "%s %s was set through the socket; delete it there first", what, name);
	at(a, NK_E_CONFLICT, list, i, "", text);
}

/* ---- building the change ---- */

/* Where the program may come from, and a descriptor made durable: it is pinned before anything says that it is accepted. */
static void accept_program(struct attempt *a, struct nk_program *p, size_t i)
{
	const struct nk_settings *s = &a->m->settings;
	struct nk_object_dirs dirs = { s->object_dirs, s->n_object_dirs };
	int fds[NK_FDS_MAX];
	char pointer[128];

	if (p->source == NK_PROGRAM_OBJECT && !nk_object_is_allowed(&dirs, p->path))
		at(a, NK_E_DENIED, "programs", i, "/object", "it is in none of the directories that the setting object_dirs allows");
	if (a->err.code || (p->source != NK_PROGRAM_FD && p->source != NK_PROGRAM_ID))
		return;
	snprintf(pointer, sizeof(pointer), "%s/programs/%zu/%s", a->pointer, i, p->source == NK_PROGRAM_FD ? "fd" : "passed");
	nk_passed_accept(s->bpffs, p, fds, collect_fds(a, fds), pointer, &a->err);
}

/* A step that leaves the document as it is: d or p, or nothing, before and after. */
static int add_step(struct attempt *a, const char *name, const struct nk_device *d, const struct nk_program *p, size_t i)
{
	struct nk_change_item *items = reallocarray(a->change.items, a->change.n + 1, sizeof(*items));
	const char *source = d || p ? a->source : NULL;

	if (!items)
		return -ENOMEM;
	a->change.items = items;
	a->change.room = a->change.n + 1;
	items[a->change.n] = (struct nk_change_item){
		.is_program = p,
		.pointer_index = i,
		.dev_prev = nk_device_ref(d),
		.dev_next = nk_device_ref(d),
		.prog_prev = nk_program_ref(p),
		.prog_next = nk_program_ref(p),
		.src_prev = source ? strdup(source) : NULL,
		.src_next = source ? strdup(source) : NULL,
	};
	strncpy(items[a->change.n].name, name, NK_NAME_MAX - 1);
	a->change.n++;
	return source && (!items[a->change.n - 1].src_prev || !items[a->change.n - 1].src_next) ? -ENOMEM : 0;
}

/* The definition of what somebody changed, and what was left so, comes again from its source: it is to be put back. */
static bool is_wanted_again(const struct attempt *a, bool is_program, const char *name, const char *source)
{
	return strcmp(source, a->source) == 0 && nk_reconcile_left(a->m->reconcile, is_program, name);
}

static void put_program(struct attempt *a, struct nk_program *p, size_t i)
{
	const struct nk_program *old = nk_document_program(a->m->doc, p->name);
	const char *source = nk_document_program_source(a->m->doc, p->name);
	int r = 0;

	answer_for(a, true, p->name);
	if (old && nk_program_equal(old, p)) { /* also when another source says the same */
		if (is_wanted_again(a, true, p->name, source))
			r = add_step(a, p->name, NULL, old, i);
	} else {
		check_source(a, "program", "programs", p->name, source, i);
		accept_program(a, p, i);
		if (!a->err.code)
			r = nk_document_put_program(a->m->doc, p, a->source, i, &a->change);
	}
	if (r < 0)
		nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
}

static void put_again(struct attempt *a, const char *name, const struct nk_device *d, size_t i)
{
	if (!is_wanted_again(a, false, name, nk_document_device_source(a->m->doc, name))) {
		a->sum.unchanged++;
		return;
	}
	a->sum.change++;
	if (add_step(a, name, d, NULL, i) < 0)
		nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
}

static void put_device(struct attempt *a, struct nk_device *d, size_t i)
{
	const char *name = nk_device_name(d);
	const struct nk_device *old = nk_document_device(a->m->doc, name);

	answer_for(a, false, name);
	accept_netns(a, d, old, i);
	if (old && nk_device_equal(old, d)) {
		put_again(a, name, old, i);
		return;
	}
	check_source(a, nk_device_noun(d->interface), list_of(d), name, nk_document_device_source(a->m->doc, name), i);
	check_features(a, d, i);
	check_name(a, d, old, i);
	if (a->err.code)
		return;
	if (old)
		a->sum.change++;
	else
		a->sum.create++;
	if (nk_document_put_device(a->m->doc, d, a->source, i, &a->change) < 0)
		nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
}

/* A marked device that nobody's document names: a step without objects, which leaves a tombstone. */
static int remove_unclaimed(struct attempt *a, const char *name)
{
	answer_for(a, false, name);
	a->sum.remove++;
	a->m->collect = true;
	return add_step(a, name, NULL, NULL, SIZE_MAX);
}

static void remove_device(struct attempt *a, const char *name)
{
	answer_for(a, false, name);
	if (nk_document_remove_device(a->m->doc, name, &a->change) < 0)
		nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
	a->sum.remove++;
}

/* Names to remove, collected first since removing while iterating is not allowed. */
struct names {
	const struct nk_document_input *in;
	const char *source;
	const struct nk_manager *m;
	char (*list)[NK_NAME_MAX];
	size_t n, room;
	bool no_memory;
};

static void add_name(struct names *l, const char *name)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		void *more = reallocarray(l->list, room, sizeof(*l->list));

		if (!more) {
			l->no_memory = true;
			return;
		}
		l->list = more;
		l->room = room;
	}
	strncpy(l->list[l->n], name, NK_NAME_MAX - 1);
	l->list[l->n++][NK_NAME_MAX - 1] = '\0';
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the input, sorted, for looking up. */
static const char **sorted_names(const struct nk_document_input *in, bool programs)
{
	size_t n = programs ? in->n_programs : in->n_devices + in->n_interfaces;
	const char **names = calloc(n + 1, sizeof(*names));

	for (size_t i = 0; names && i < n; i++)
		names[i] = programs	      ? in->programs[i]->name
			   : i < in->n_devices ? nk_device_name(in->devices[i])
					       : nk_device_name(in->interfaces[i - in->n_devices]);
	if (names)
		qsort(names, n, sizeof(*names), compare_names);
	return names;
}

struct absent {
	struct names names;
	const char **wanted;
	size_t n_wanted;
};

static void note_absent(struct absent *ab, const char *name, const char *source)
{
	if (source && strcmp(source, ab->names.source) != 0)
		return;
	if (!bsearch(&name, ab->wanted, ab->n_wanted, sizeof(*ab->wanted), compare_names))
		add_name(&ab->names, name);
}

static int absent_device(const struct nk_device *d, const char *source, void *arg)
{
	note_absent(arg, nk_device_name(d), source);
	return 0;
}

static int absent_program(const struct nk_program *p, const char *source, void *arg)
{
	note_absent(arg, p->name, source);
	return 0;
}

static void absent_unclaimed(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	struct absent *ab = arg;

	if (!nk_reconcile_knows(ab->names.m->reconcile, o->owner))
		note_absent(ab, o->owner, NULL);
}

/* An interface that is known by our pins only. Several of them may tell of it. */
static void absent_link(const struct nk_interface_link *l, void *arg)
{
	struct absent *ab = arg;

	if (nk_reconcile_knows(ab->names.m->reconcile, l->interface))
		return;
	for (size_t i = ab->names.n; i > 0; i--)
		if (strcmp(ab->names.list[i - 1], l->interface) == 0)
			return;
	note_absent(ab, l->interface, NULL);
}

static void answer_for_doomed(bool is_program, const char *name, void *arg)
{
	struct attempt *a = arg;

	if (is_program ? !nk_document_program(a->m->doc, name) : !nk_document_device(a->m->doc, name))
		answer_for(a, is_program, name);
}

/* Remove what `source` stated and the input does not: devices and interfaces, then programs. From the socket also what is unclaimed. */
static void remove_absent(struct attempt *a, const struct nk_document_input *in)
{
	struct absent ab = { .names = { .in = in, .source = a->source, .m = a->m }, .n_wanted = in->n_devices + in->n_interfaces };
	size_t n_devices, n_claimed;

	/* What was removed before and is still there is not as this document says either. */
	nk_reconcile_each(a->m->reconcile, answer_for_doomed, a);
	ab.wanted = sorted_names(in, false);
	if (!ab.wanted)
		goto no_memory;
	nk_document_each_device(a->m->doc, absent_device, &ab);
	n_claimed = ab.names.n;
	if (!a->source[0]) {
		nk_cache_each(a->m->cache, absent_unclaimed, &ab);
		nk_bpf_each_interface_link(a->m->settings.bpffs, absent_link, &ab);
	}
	n_devices = ab.names.n;
	free(ab.wanted);
	ab.n_wanted = in->n_programs;
	ab.wanted = sorted_names(in, true);
	if (!ab.wanted)
		goto no_memory;
	nk_document_each_program(a->m->doc, absent_program, &ab);
	if (ab.names.no_memory)
		goto no_memory;
	for (size_t i = 0; i < ab.names.n; i++) {
		if (i < n_claimed)
			remove_device(a, ab.names.list[i]);
		else if (i < n_devices)
			remove_unclaimed(a, ab.names.list[i]);
		else if (nk_document_remove_program(a->m->doc, ab.names.list[i], &a->change) < 0)
			goto no_memory;
		else
			answer_for(a, true, ab.names.list[i]);
	}
	goto out;
no_memory:
	nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
out:
	free(ab.wanted);
	free(ab.names.list);
}

static void problem(const struct nk_problem *p, void *arg)
{
	struct attempt *a = arg;
	const char *at = p->pointer;
	char pointer[300];

	/* A device that was sent alone is in no list: "/devices/NAME" is where it stands itself. */
	for (int i = 0; a->alone && i < 2; i++)
		at += 1 + strcspn(at + 1, "/");
	snprintf(pointer, sizeof(pointer), "%s%s", a->pointer, at);
	nk_error_at(&a->err, NK_E_INVALID_PARAMS, pointer, "%s", p->text);
}

static void put_input(struct attempt *a, const struct nk_document_input *in, bool replace)
{
	nk_manager_take_events(a->m); /* of names */
	for (size_t i = 0; i < in->n_programs; i++)
		put_program(a, in->programs[i], i);
	for (size_t i = 0; i < in->n_devices; i++)
		put_device(a, in->devices[i], i);
	for (size_t i = 0; i < in->n_interfaces; i++)
		put_device(a, in->interfaces[i], i);
	if (replace && !a->err.code)
		remove_absent(a, in);
	if (!a->err.code)
		nk_document_check(a->m->doc, &a->change, problem, a);
}

/* ---- the plan, for the reply ---- */

static json_t *encode_summary(const struct summary *s, json_t *ops)
{
	struct nk_view_plan plan = { .create = s->create, .change = s->change, .remove = s->remove, .unchanged = s->unchanged, .ops = ops };

	return nk_table_encode(&nk_table_view_plan, &plan);
}

static int add_program_op(struct attempt *a, const struct nk_change_item *it, struct nk_plan *plan)
{
	struct nk_op op = { .phase = NK_PHASE_LOAD };

	if (it->prog_prev && it->prog_next && nk_program_loads_same(it->prog_prev, it->prog_next) &&
	    !nk_reconcile_left(a->m->reconcile, true, it->name))
		return 0;
	op.kind = it->prog_next ? NK_OP_LOAD : NK_OP_UNLOAD;
	op.prog = it->prog_next ? it->prog_next : it->prog_prev;
	return nk_plan_add(plan, &op);
}

/* What would run, in its order, as the document stands now (the change is applied). */
static json_t *dry_plan(struct attempt *a)
{
	struct nk_diff_env env = { nk_reconcile_assumed_program_id, nk_reconcile_pinned_program, a->m->reconcile };
	struct nk_plan plan = { 0 };
	json_t *ops = json_array(), *summary;
	int r = ops ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < a->change.n; i++) {
		const struct nk_change_item *it = &a->change.items[i];
		enum nk_verdict v;

		if (it->is_program)
			r = add_program_op(a, it, &plan);
		else
			r = nk_diff(it->dev_next, nk_cache_get(a->m->cache, it->name), &env, &plan, &v);
	}
	nk_plan_order(&plan);
	for (size_t i = 0; r == 0 && i < plan.n; i++) {
		const struct nk_op *op = &plan.ops[i];
		char text[160];
		struct nk_view_op view = { nk_phase_name((enum nk_phase)op->phase), nk_op_name((enum nk_op_kind)op->kind),
					   op->name[0] ? op->name : NULL, nk_op_describe(op, text, sizeof(text)) };

		r = json_array_append_new(ops, nk_table_encode(&nk_table_view_op, &view));
	}
	nk_plan_clear(&plan);
	summary = encode_summary(&a->sum, ops);
	json_decref(ops);
	return summary;
}

/* ---- from attempt to answer ---- */

struct change_options {
	bool dry_run, has_expected, has_wait;
	uint64_t expected;
	uint32_t wait_ms;
};

/* Did somebody change the document since the client read it? */
static bool is_stale(struct attempt *a, const struct change_options *o)
{
	if (!o->has_expected || o->expected == a->m->revision_working)
		return false;
	nk_error_at(&a->err, NK_E_CONFLICT, "/expected_revision", "the document is at revision %" PRIu64 ", not %" PRIu64
		    "; read it again (state.get) and repeat the change", a->m->revision_working, o->expected);
	return true;
}

/* The change stands in the document: queue it for the commit, or take it back. */
static void finish(struct attempt *a, const struct change_options *o)
{
	struct nk_manager *m = a->m;
	struct nk_pending *p;
	json_t *summary;

	if (a->err.code) {
		nk_manager_undo(m, &a->change);
		free(a->about.list);
		nk_request_fail(a->request, &a->err);
		return;
	}
	if (o->dry_run) {
		summary = dry_plan(a);
		nk_manager_undo(m, &a->change);
		free(a->about.list);
		nk_request_reply(a->request, nk_manager_change_result(m->revision_working, summary, false, NULL));
		json_decref(summary);
		return;
	}
	p = calloc(1, sizeof(*p));
	summary = encode_summary(&a->sum, NULL);
	if (!p || !summary) {
		free(p);
		json_decref(summary);
		nk_manager_undo(m, &a->change);
		free(a->about.list);
		nk_error_set(&a->err, NK_E_INTERNAL, "no memory");
		nk_request_fail(a->request, &a->err);
		return;
	}
	if (a->change.n)
		m->revision_working++;
	*p = (struct nk_pending){
		.request = a->request,
		.change = a->change,
		.about = a->about,
		.revision = m->revision_working,
		.summary = summary,
		.wait = o->has_wait,
		.wait_ms = o->wait_ms,
	};
	TAILQ_INSERT_TAIL(&m->pending, p, link);
}

void nk_manager_state_apply(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_params_apply *in = &p->apply;
	struct attempt a = { .m = arg, .request = r, .source = "", .pointer = "/document" };
	struct change_options o = { in->dry_run, in->has_expected_revision, in->has_wait, in->expected_revision, in->wait_ms };

	/* Both say something of all that is there. */
	if (!is_stale(&a, &o) && ((!in->replace && !in->dry_run) || nk_manager_sees(a.m, &a.err) == 0))
		put_input(&a, &in->document, in->replace);
	finish(&a, &o);
}

void nk_manager_device_set(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_params_device_set *in = &p->device_set;
	struct attempt a = { .m = arg, .request = r, .source = "", .pointer = "/device", .alone = true };
	struct change_options o = { in->dry_run, in->has_expected_revision, in->has_wait, in->expected_revision, in->wait_ms };

	if (!is_stale(&a, &o)) {
		nk_manager_take_events(a.m);
		put_device(&a, in->device, SIZE_MAX);
		if (!a.err.code)
			nk_document_check(a.m->doc, &a.change, problem, &a);
	}
	finish(&a, &o);
}

void nk_manager_device_delete(struct nk_request *r, union nk_params *p, void *arg)
{
	struct nk_params_device_name *in = &p->device_name;
	struct attempt a = { .m = arg, .request = r, .source = "", .pointer = "" };
	struct change_options o = { in->dry_run, in->has_expected_revision, in->has_wait, in->expected_revision, in->wait_ms };
	const char *source = nk_document_device_source(a.m->doc, in->name);

	if (!is_stale(&a, &o)) {
		check_source(&a, nk_device_noun(nk_reconcile_is_interface(a.m->reconcile, in->name)), "", in->name, source, SIZE_MAX);
		if (a.err.code)
			;
		else if (source)
			remove_device(&a, in->name);
		else if (nk_cache_get(a.m->cache, in->name) && !nk_reconcile_knows(a.m->reconcile, in->name))
			remove_unclaimed(&a, in->name);
		else
			nk_error_at(&a.err, NK_E_NOT_FOUND, "/name",
				    "no device and no interface %s is desired, and no device of ours has this name", in->name);
		if (!a.err.code)
			nk_document_check(a.m->doc, &a.change, problem, &a);
	}
	finish(&a, &o);
}

int nk_manager_queue_change(struct nk_manager *m, struct nk_change *c)
{
	struct nk_pending *p = calloc(1, sizeof(*p));

	if (!p) {
		nk_manager_undo(m, c);
		return -ENOMEM;
	}
	if (c->n)
		m->revision_working++;
	*p = (struct nk_pending){ .change = *c, .revision = m->revision_working };
	TAILQ_INSERT_TAIL(&m->pending, p, link);
	return 0;
}

int nk_manager_apply_source(struct nk_manager *m, const char *source, struct nk_document_input *in, struct nk_error *err)
{
	struct attempt a = { .m = m, .source = source, .pointer = "" };
	struct nk_document_input none = { 0 };

	put_input(&a, in ? in : &none, true);
	if (a.err.code)
		nk_manager_undo(m, &a.change);
	else if (nk_manager_queue_change(m, &a.change) < 0)
		nk_error_set(&a.err, NK_E_INTERNAL, "no memory");
	if (!a.err.code)
		return 0;
	*err = a.err;
	return -EINVAL;
}
