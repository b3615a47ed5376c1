// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the observed cache, and the pins at interfaces, to a document (rebuild.h), and the offline way to it: one snapshot by an executor
 * that gets no plan.
 */
#include "daemon/rebuild.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/contract.h"
#include "daemon/kernel/executor.h"
#include "daemon/kernel/netns.h"
#include "daemon/kernel/pins.h"
#include "daemon/kernel/rtnl.h"
#include "daemon/manager.h"

/* Settings with which the kernel makes a netkit device (ether_setup, netdev defaults): not worth stating. */
#define DEFAULT_MTU 1500
#define DEFAULT_TXQLEN 1000
#define DEFAULT_GSO_MAX 65536

struct program_name {
	char name[NK_NAME_MAX];
	uint32_t id;
	bool held; /* by a pinned link */
};

struct rebuild {
	const char *bpffs;
	const struct nk_document *claimed; /* NULL: every device is told */
	struct nk_netns_index *index; /* NULL: peers' namespaces stay unnamed */
	struct program_name *programs; /* owned: what is pinned */
	size_t n_programs;
	struct nk_document *doc;
	bool no_memory;
};

static void note_program(const char *name, uint32_t id, void *arg)
{
	struct rebuild *b = arg;
	struct program_name *more = reallocarray(b->programs, b->n_programs + 1, sizeof(*more));

	if (!more) {
		b->no_memory = true;
		return;
	}
	b->programs = more;
	more[b->n_programs] = (struct program_name){ .id = id };
	strncpy(more[b->n_programs].name, name, NK_NAME_MAX - 1);
	more[b->n_programs++].name[NK_NAME_MAX - 1] = '\0';
}

static void note_held(uint32_t id, void *arg)
{
	struct rebuild *b = arg;

	for (size_t i = 0; i < b->n_programs; i++)
		b->programs[i].held |= b->programs[i].id == id;
}

static const char *program_of(const struct rebuild *b, uint32_t id)
{
	for (size_t i = 0; i < b->n_programs; i++) {
		if (b->programs[i].id == id)
			return b->programs[i].name;
	}
	return NULL;
}

static bool copy_lists(const struct nk_obs_end *o, struct nk_end *e)
{
	e->addrs = calloc(o->n_addrs + 1, sizeof(*e->addrs));
	e->routes = calloc(o->n_routes + 1, sizeof(*e->routes));
	if (!e->addrs || !e->routes)
		return false;
	for (uint32_t i = 0; i < o->n_addrs; i++) {
		if (o->addrs[i].ours)
			e->addrs[e->n_addrs++] = o->addrs[i].p;
	}
	for (uint32_t i = 0; i < o->n_routes; i++) {
		if (o->routes[i].ours)
			e->routes[e->n_routes++] = o->routes[i].r;
	}
	return true;
}

static void copy_setting(struct nk_end *e, uint32_t what, uint32_t *to, uint32_t value, uint32_t unsaid)
{
	if (value == unsaid)
		return;
	e->set |= what;
	*to = value;
}

/* The maximum for IPv4 where only the general one is stated: the kernel lets it follow up to 64 KiB. One of 0 it does not know. */
static uint32_t unsaid_ipv4(uint32_t ipv4, uint32_t general)
{
	if (!ipv4)
		return 0;
	return general < DEFAULT_GSO_MAX ? general : DEFAULT_GSO_MAX;
}

static bool copy_end(const struct nk_obs_device *o, enum nk_end_id id, struct nk_end *e)
{
	const struct nk_obs_end *from = &o->end[id], *other = &o->end[id == NK_PRIMARY ? NK_PEER : NK_PRIMARY];

	memcpy(e->name, id == NK_PRIMARY ? o->owner : from->name, NK_IFNAMSIZ);
	e->policy = from->policy;
	e->scrub = from->scrub;
	if (!from->details)
		return true;
	if (o->mode == NK_MODE_L2) {
		e->set |= NK_SET_MAC;
		memcpy(e->mac, from->mac, sizeof(e->mac));
	}
	/* A peer's that isn't said is the primary's. */
	copy_setting(e, NK_SET_MTU, &e->mtu, from->mtu, other->details && other->mtu != from->mtu ? 0 : DEFAULT_MTU);
	copy_setting(e, NK_SET_TXQLEN, &e->txqlen, from->txqlen, DEFAULT_TXQLEN);
	copy_setting(e, NK_SET_GSO_MAX, &e->gso_max, from->gso_max, DEFAULT_GSO_MAX);
	copy_setting(e, NK_SET_GRO_MAX, &e->gro_max, from->gro_max, DEFAULT_GSO_MAX);
	copy_setting(e, NK_SET_GSO_IPV4_MAX, &e->gso_ipv4_max, from->gso_ipv4_max, unsaid_ipv4(from->gso_ipv4_max, from->gso_max));
	copy_setting(e, NK_SET_GRO_IPV4_MAX, &e->gro_ipv4_max, from->gro_ipv4_max, unsaid_ipv4(from->gro_ipv4_max, from->gro_max));
	return copy_lists(from, e);
}

static bool copy_attachments(const struct rebuild *b, const struct nk_obs_device *o, struct nk_device *d)
{
	d->attachments = calloc(o->chain[0].n + o->chain[1].n + 1, sizeof(*d->attachments));
	if (!d->attachments)
		return false;
	for (int h = 0; h < NK_HOOKS; h++) {
		for (uint32_t i = 0; i < o->chain[h].n; i++) {
			const struct nk_obs_link *l = &o->chain[h].links[i];
			const char *program = program_of(b, l->prog_id);
			struct nk_attachment *a = &d->attachments[d->n_attachments];

			if (!l->name[0] || !program)
				continue;
			a->hook = (uint8_t)h;
			memcpy(a->name, l->name, sizeof(a->name));
			memcpy(a->program, program, strlen(program) + 1);
			d->n_attachments++;
		}
	}
	return true;
}

static void add_device(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	struct rebuild *b = arg;
	struct nk_change change = { 0 };
	struct nk_device *d;
	int fd;

	if (b->claimed && nk_document_device(b->claimed, o->owner))
		return;
	d = nk_device_new();
	if (!d) {
		b->no_memory = true;
		return;
	}
	d->mode = o->mode;
	d->single = o->single;
	d->headroom = o->headroom;
	d->has_headroom = o->headroom > 0;
	d->tailroom = o->tailroom;
	d->has_tailroom = o->tailroom > 0;
	if (!copy_end(o, NK_PRIMARY, &d->end[NK_PRIMARY]) || (!d->single && !copy_end(o, NK_PEER, &d->end[NK_PEER])) ||
	    !copy_attachments(b, o, d))
		b->no_memory = true;
	if (!d->single && peer_nsid != NK_NSID_HOST && b->index &&
	    nk_netns_index_open(b->index, peer_nsid, &fd, &d->netns) == 0)
		close(fd);
	nk_device_normalise(d);
	if (nk_document_put_device(b->doc, d, "", SIZE_MAX, &change) < 0)
		b->no_memory = true;
	nk_change_clear(&change);
	nk_device_unref(d);
}

/* All links that are pinned at interfaces. */
struct pinned {
	struct nk_interface_link *links; /* owned */
	size_t n;
	bool no_memory;
};

static void note_link(const struct nk_interface_link *l, void *arg)
{
	struct pinned *p = arg;
	struct nk_interface_link *more = reallocarray(p->links, p->n + 1, sizeof(*more));

	if (!more) {
		p->no_memory = true;
		return;
	}
	p->links = more;
	p->links[p->n++] = *l;
}

/* By interface, hook, place. */
static int compare_links(const void *a, const void *b)
{
	const struct nk_interface_link *x = a, *y = b;
	int c = strcmp(x->interface, y->interface);

	if (!c)
		c = (x->hook > y->hook) - (x->hook < y->hook);
	return c ? c : (x->place > y->place) - (x->place < y->place);
}

/* The interface that the n links, at least one, are of. */
static void add_interface(struct rebuild *b, const struct nk_interface_link *links, size_t n)
{
	struct nk_device *d = nk_device_new();
	struct nk_change change = { 0 };

	if (d)
		d->attachments = calloc(n, sizeof(*d->attachments));
	if (!d || !d->attachments) {
		b->no_memory = true;
		nk_device_unref(d);
		return;
	}
	d->interface = d->single = true;
	memcpy(d->end[NK_PRIMARY].name, links->interface, sizeof(links->interface));
	for (size_t i = 0; i < n; i++) {
		const char *program = program_of(b, links[i].prog_id);
		struct nk_attachment *a = &d->attachments[d->n_attachments];

		if (links[i].place < 0 || !program)
			continue;
		a->hook = (uint8_t)links[i].hook;
		memcpy(a->name, links[i].attachment, sizeof(a->name));
		memcpy(a->program, program, strlen(program) + 1);
		d->n_attachments++;
	}
	if (d->n_attachments && nk_document_put_device(b->doc, d, "", SIZE_MAX, &change) < 0)
		b->no_memory = true;
	nk_change_clear(&change);
	nk_device_unref(d);
}

static void add_interfaces(struct rebuild *b)
{
	struct pinned p = { 0 };
	size_t end;

	nk_bpf_each_interface_link(b->bpffs, note_link, &p);
	b->no_memory |= p.no_memory;
	if (p.n)
		qsort(p.links, p.n, sizeof(*p.links), compare_links);
	for (size_t i = 0; i < p.n; i = end) {
		for (end = i + 1; end < p.n && strcmp(p.links[end].interface, p.links[i].interface) == 0;)
			end++;
		if (!(b->claimed && nk_document_device(b->claimed, p.links[i].interface)))
			add_interface(b, &p.links[i], end - i);
	}
	free(p.links);
}

/* As the document stated it when it was loaded; NULL: that isn't known. */
static struct nk_program *stated_program(const struct rebuild *b, const struct program_name *from)
{
	char *text = nk_bpf_definition(b->bpffs, from->name, from->id);
	json_t *json = text ? json_loads(text, 0, NULL) : NULL;
	struct nk_error err = { 0 };
	struct nk_program *p = NULL;

	if (json && nk_decode_program(json, "", &p, &err) == 0 && strcmp(p->name, from->name) != 0)
		p = nk_program_unref(p);
	nk_error_clear(&err);
	json_decref(json);
	free(text);
	return p;
}

/* By the pin, at `path`, that netkitd itself made of it. NULL without memory. */
static struct nk_program *pinned_program(const struct program_name *from, const char *path)
{
	struct nk_program *p = nk_program_new();

	if (!p || !(p->path = strdup(path)))
		return nk_program_unref(p);
	p->source = NK_PROGRAM_PIN;
	memcpy(p->name, from->name, sizeof(p->name));
	return p;
}

/* Is it known by netkitd's own pin, or by its number, alone? If no link holds such a program, the next start removes it. */
static bool is_only_pinned(const struct nk_program *p, const char *own)
{
	return p->source == NK_PROGRAM_ID || (p->source == NK_PROGRAM_PIN && strcmp(p->path, own) == 0);
}

static void add_program(struct rebuild *b, const struct program_name *from)
{
	struct nk_program *p = stated_program(b, from);
	struct nk_change change = { 0 };
	char pin[NK_PIN_NAME_MAX], *own;

	if (asprintf(&own, "%s/programs/%s", b->bpffs, nk_pin_encode(from->name, pin)) < 0)
		own = NULL;
	if (!p && own)
		p = pinned_program(from, own);
	if (!p || !own)
		b->no_memory = true;
	else if (from->held || !is_only_pinned(p, own))
		b->no_memory |= nk_document_put_program(b->doc, p, "", SIZE_MAX, &change) < 0;
	nk_change_clear(&change);
	nk_program_unref(p);
	free(own);
}

json_t *nk_rebuild_document(const struct nk_cache *cache, const char *bpffs, const struct nk_document *claimed)
{
	struct rebuild b = { .bpffs = bpffs, .claimed = claimed, .doc = nk_document_new() };
	struct nk_rtnl *s = NULL;
	json_t *json = NULL;

	if (!b.doc)
		return NULL;
	if (nk_rtnl_open(&s) == 0)
		nk_netns_index_new(s, &b.index);
	nk_bpf_each_program(bpffs, note_program, &b);
	nk_bpf_each_link(bpffs, note_held, &b);
	for (size_t i = 0; i < b.n_programs; i++) {
		if (!claimed || !nk_document_program(claimed, b.programs[i].name))
			add_program(&b, &b.programs[i]);
	}
	nk_cache_each(cache, add_device, &b);
	add_interfaces(&b);
	if (!b.no_memory)
		json = nk_encode_document(b.doc);
	nk_netns_index_free(b.index);
	nk_rtnl_close(s);
	nk_document_free(b.doc);
	free(b.programs);
	return json;
}

static void nothing_named(const char *name, void *arg)
{
}

static void nothing_gone(int32_t nsid, void *arg)
{
}

static int take_snapshot(struct nk_executor *x, struct nk_cache *cache)
{
	struct nk_job job = { .kind = NK_JOB_SNAPSHOT };
	struct pollfd p = { .fd = nk_executor_fd(x), .events = POLLIN };
	bool last = false;
	int r = nk_executor_submit(x, &job);

	nk_cache_begin_snapshot(cache);
	while (r == 0 && !last) {
		struct nk_result *res;

		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
		while ((res = nk_executor_next(x))) {
			nk_manager_feed_snapshot(cache, res);
			last |= res->last;
			r = res->error;
			nk_result_free(res);
		}
	}
	nk_cache_end_snapshot(cache);
	return r;
}

int nk_rebuild_print(const char *settings_path, struct nk_error *err)
{
	struct nk_cache_handlers h = { nothing_named, nothing_named, nothing_gone, NULL };
	struct nk_settings settings = { 0 };
	struct nk_executor *x = NULL;
	struct nk_cache *cache = NULL;
	json_t *json = NULL;
	int r = nk_settings_load(settings_path, &settings, err);

	if (r == 0 || r == -ENOENT) {
		struct nk_executor_options o = { .group = settings.group, .bpffs = settings.bpffs, .only_read = true };

		r = nk_executor_new(&o, &x, err);
	}
	if (r == 0) {
		cache = nk_cache_new(settings.group, &h);
		r = cache ? take_snapshot(x, cache) : -ENOMEM;
	}
	if (r == 0) {
		json = nk_rebuild_document(cache, settings.bpffs, NULL);
		r = json && json_dumpf(json, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF && fflush(stdout) == 0 ? 0 : -EIO;
	}
	if (r < 0)
		nk_error_set(err, NK_E_KERNEL, "reading the devices from the kernel: %s", strerror(-r));
	json_decref(json);
	nk_executor_free(x);
	nk_cache_free(cache);
	nk_settings_clear(&settings);
	return r;
}
