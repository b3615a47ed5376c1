// SPDX-License-Identifier: GPL-2.0-only
/*
 * The document's tables and the changes that can be taken back. The manager calls it, from the loop only; it may not read a clock or a
 * file, and what it is asked to take back it must be able to take back without memory.
 *
 * That is why entries that are let go wait in a list of spares: a step that removes an object leaves behind the entry which its undo
 * needs, and steps are undone last first, so the spares always suffice. They cost some 50 bytes for each object that was
 * once there.
 */
#include "daemon/model/document.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/model/map.h"

struct device_entry {
	struct nk_map_node by_name, by_peer; /* by_peer: only if the device has a peer */
	struct nk_device *dev;                 /* reference */
	const char *source;                    /* interned */
};

/* Stands for each name that a program has or that an attachment uses. */
struct program_entry {
	struct nk_map_node by_name;
	struct nk_program *prog; /* reference, NULL while only used */
	const char *source;      /* interned, NULL without prog */
	size_t users;            /* attachments */
	char name[NK_NAME_MAX];
};

struct source {
	struct source *next;
	char text[];
};

struct nk_document {
	struct nk_map devices, peers, programs;
	size_t n_programs; /* entries that have a program */
	size_t n_interfaces; /* of the devices */
	struct nk_map_node *spare_devices, *spare_programs; /* entries, owned; linked by by_name */
	size_t n_spare_devices, n_spare_programs;
	struct source *sources; /* owned; as many as there ever were files under state.d */
};

static struct device_entry *device_at(struct nk_map_node *node)
{
	return nk_map_entry(node, struct device_entry, by_name);
}

static struct program_entry *program_at(struct nk_map_node *node)
{
	return nk_map_entry(node, struct program_entry, by_name);
}

struct nk_document *nk_document_new(void)
{
	struct nk_document *doc = calloc(1, sizeof(*doc));

	if (!doc)
		return NULL;
	if (nk_map_init(&doc->devices) < 0 || nk_map_init(&doc->peers) < 0 || nk_map_init(&doc->programs) < 0)
		return nk_document_free(doc);
	return doc;
}

static void free_device_entries(struct nk_map_node *node)
{
	while (node) {
		struct nk_map_node *next = node->next;

		nk_device_unref(device_at(node)->dev);
		free(device_at(node));
		node = next;
	}
}

static void free_program_entries(struct nk_map_node *node)
{
	while (node) {
		struct nk_map_node *next = node->next;

		nk_program_unref(program_at(node)->prog);
		free(program_at(node));
		node = next;
	}
}

struct nk_document *nk_document_free(struct nk_document *doc)
{
	if (!doc)
		return NULL;

	for (size_t i = 0; i < doc->devices.n_slots; i++)
		free_device_entries(doc->devices.slots[i]);
	for (size_t i = 0; i < doc->programs.n_slots; i++)
		free_program_entries(doc->programs.slots[i]);
	free_device_entries(doc->spare_devices);
	free_program_entries(doc->spare_programs);
	nk_map_clear(&doc->devices);
	nk_map_clear(&doc->peers);
	nk_map_clear(&doc->programs);
	while (doc->sources) {
		struct source *next = doc->sources->next;

		free(doc->sources);
		doc->sources = next;
	}
	free(doc);
	return NULL;
}

static struct device_entry *find_device(const struct nk_document *doc, const char *name)
{
	struct nk_map_node *node = nk_map_first(&doc->devices, nk_hash_text(NK_HASH_SEED, name));

	while (node && strcmp(nk_device_name(device_at(node)->dev), name))
		node = nk_map_next(node);
	return node ? device_at(node) : NULL;
}

static struct program_entry *find_program(const struct nk_document *doc, const char *name)
{
	struct nk_map_node *node = nk_map_first(&doc->programs, nk_hash_text(NK_HASH_SEED, name));

	while (node && strcmp(program_at(node)->name, name))
		node = nk_map_next(node);
	return node ? program_at(node) : NULL;
}

const struct nk_device *nk_document_device(const struct nk_document *doc, const char *name)
{
	const struct device_entry *e = find_device(doc, name);

	return e ? e->dev : NULL;
}

const struct nk_program *nk_document_program(const struct nk_document *doc, const char *name)
{
	const struct program_entry *e = find_program(doc, name);

	return e ? e->prog : NULL;
}

const char *nk_document_device_source(const struct nk_document *doc, const char *name)
{
	const struct device_entry *e = find_device(doc, name);

	return e ? e->source : NULL;
}

const char *nk_document_program_source(const struct nk_document *doc, const char *name)
{
	const struct program_entry *e = find_program(doc, name);

	return e ? e->source : NULL;
}

size_t nk_document_n_devices(const struct nk_document *doc)
{
	return doc->devices.n - doc->n_interfaces;
}

size_t nk_document_n_interfaces(const struct nk_document *doc)
{
	return doc->n_interfaces;
}

size_t nk_document_n_programs(const struct nk_document *doc)
{
	return doc->n_programs;
}

size_t nk_document_program_users(const struct nk_document *doc, const char *name)
{
	const struct program_entry *e = find_program(doc, name);

	return e ? e->users : 0;
}

static uint32_t hash_peer(const struct nk_netns *ns, const char *peer)
{
	uint32_t hash = nk_hash_text(NK_HASH_SEED, peer);

	hash = nk_hash_bytes(hash, &ns->kind, sizeof(ns->kind));
	hash = nk_hash_bytes(hash, &ns->number, sizeof(ns->number));
	return nk_hash_text(hash, ns->path ? ns->path : "");
}

const char *nk_document_peer_taken(const struct nk_document *doc, const struct nk_netns *ns, const char *peer,
				   const char *except)
{
	struct nk_map_node *node = nk_map_first(&doc->peers, hash_peer(ns, peer));

	for (; node; node = nk_map_next(node)) {
		const struct nk_device *d = nk_map_entry(node, struct device_entry, by_peer)->dev;

		if (!strcmp(d->end[NK_PEER].name, peer) && nk_netns_equal(&d->netns, ns) &&
		    (!except || strcmp(nk_device_name(d), except)))
			return nk_device_name(d);
	}
	return NULL;
}

static int compare_devices(const void *a, const void *b)
{
	const struct device_entry *const *x = a, *const *y = b;

	return strcmp(nk_device_name((*x)->dev), nk_device_name((*y)->dev));
}

static int compare_programs(const void *a, const void *b)
{
	const struct program_entry *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

int nk_document_each_device(const struct nk_document *doc, nk_device_fn fn, void *arg)
{
	const struct device_entry **sorted = malloc((doc->devices.n + 1) * sizeof(const struct device_entry *));
	size_t n = 0;
	int r = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < doc->devices.n_slots; i++)
		for (struct nk_map_node *node = doc->devices.slots[i]; node; node = node->next)
			sorted[n++] = device_at(node);
	qsort(sorted, n, sizeof(const struct device_entry *), compare_devices);
	for (size_t i = 0; i < n && r == 0; i++)
		r = fn(sorted[i]->dev, sorted[i]->source, arg);
	free(sorted);
	return r;
}

int nk_document_each_program(const struct nk_document *doc, nk_program_fn fn, void *arg)
{
	const struct program_entry **sorted = malloc((doc->n_programs + 1) * sizeof(const struct program_entry *));
	size_t n = 0;
	int r = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < doc->programs.n_slots; i++)
		for (struct nk_map_node *node = doc->programs.slots[i]; node; node = node->next)
			if (program_at(node)->prog)
				sorted[n++] = program_at(node);
	qsort(sorted, n, sizeof(const struct program_entry *), compare_programs);
	for (size_t i = 0; i < n && r == 0; i++)
		r = fn(sorted[i]->prog, sorted[i]->source, arg);
	free(sorted);
	return r;
}

/* The document's own copy of a source's name: it stays as long as the document, so that undo finds it. */
static const char *intern(struct nk_document *doc, const char *text)
{
	size_t size = strlen(text) + 1;
	struct source *s;

	for (s = doc->sources; s; s = s->next)
		if (!strcmp(s->text, text))
			return s->text;

	s = malloc(sizeof(*s) + size);
	if (!s)
		return NULL;
	memcpy(s->text, text, size);
	s->next = doc->sources;
	doc->sources = s;
	return s->text;
}

/* Lay by as many entries as a step can need. 0 or -ENOMEM. */
static int reserve(struct nk_document *doc, size_t n_devices, size_t n_programs)
{
	while (doc->n_spare_devices < n_devices) {
		struct device_entry *e = calloc(1, sizeof(*e));

		if (!e)
			return -ENOMEM;
		e->by_name.next = doc->spare_devices;
		doc->spare_devices = &e->by_name;
		doc->n_spare_devices++;
	}
	while (doc->n_spare_programs < n_programs) {
		struct program_entry *e = calloc(1, sizeof(*e));

		if (!e)
			return -ENOMEM;
		e->by_name.next = doc->spare_programs;
		doc->spare_programs = &e->by_name;
		doc->n_spare_programs++;
	}
	return 0;
}

/* The entry of a program's name, made of a spare if there is none. */
static struct program_entry *claim_program(struct nk_document *doc, const char *name)
{
	struct program_entry *e = find_program(doc, name);

	if (e)
		return e;
	e = program_at(doc->spare_programs);
	doc->spare_programs = e->by_name.next;
	doc->n_spare_programs--;
	memcpy(e->name, name, strlen(name) + 1);
	nk_map_insert(&doc->programs, &e->by_name, nk_hash_text(NK_HASH_SEED, name));
	return e;
}

static void release_program(struct nk_document *doc, struct program_entry *e)
{
	if (e->prog || e->users)
		return;
	nk_map_remove(&doc->programs, &e->by_name);
	memset(e, 0, sizeof(*e));
	e->by_name.next = doc->spare_programs;
	doc->spare_programs = &e->by_name;
	doc->n_spare_programs++;
}

static void set_program(struct nk_document *doc, const char *name, const struct nk_program *next, const char *source)
{
	struct program_entry *e = claim_program(doc, name);
	struct nk_program *prev = e->prog;

	doc->n_programs += (next ? 1 : 0) - (prev ? 1 : 0);
	e->prog = nk_program_ref(next);
	e->source = next ? source : NULL;
	release_program(doc, e);
	nk_program_unref(prev);
}

/* Next's uses are counted before prev's are dropped, here and in undo: so both ways need equally many entries. */
static void count_users(struct nk_document *doc, const struct nk_device *prev, const struct nk_device *next)
{
	for (uint32_t i = 0; next && i < next->n_attachments; i++)
		claim_program(doc, next->attachments[i].program)->users++;
	for (uint32_t i = 0; prev && i < prev->n_attachments; i++) {
		struct program_entry *e = find_program(doc, prev->attachments[i].program);

		e->users--;
		release_program(doc, e);
	}
}

static void set_device(struct nk_document *doc, const char *name, const struct nk_device *next, const char *source)
{
	struct device_entry *e = find_device(doc, name);
	struct nk_device *prev = e ? e->dev : NULL;

	count_users(doc, prev, next);
	doc->n_interfaces += (next && next->interface ? 1 : 0) - (prev && prev->interface ? 1 : 0);
	if (prev && !prev->single)
		nk_map_remove(&doc->peers, &e->by_peer);
	if (next && !e) {
		e = device_at(doc->spare_devices);
		doc->spare_devices = e->by_name.next;
		doc->n_spare_devices--;
		nk_map_insert(&doc->devices, &e->by_name, nk_hash_text(NK_HASH_SEED, name));
	}
	if (next) {
		e->dev = nk_device_ref(next);
		e->source = source;
		if (!next->single)
			nk_map_insert(&doc->peers, &e->by_peer, hash_peer(&next->netns, next->end[NK_PEER].name));
	} else if (e) {
		nk_map_remove(&doc->devices, &e->by_name);
		memset(e, 0, sizeof(*e));
		e->by_name.next = doc->spare_devices;
		doc->spare_devices = &e->by_name;
		doc->n_spare_devices++;
	}
	nk_device_unref(prev);
}

static void clear_item(struct nk_change_item *item)
{
	nk_device_unref(item->dev_prev);
	nk_device_unref(item->dev_next);
	nk_program_unref(item->prog_prev);
	nk_program_unref(item->prog_next);
	free(item->src_prev);
	free(item->src_next);
	memset(item, 0, sizeof(*item));
}

void nk_change_clear(struct nk_change *c)
{
	for (size_t i = 0; i < c->n; i++)
		clear_item(&c->items[i]);
	free(c->items);
	memset(c, 0, sizeof(*c));
}

/* The next item, with its names and sources; counted in by the caller once the step is done. NULL without memory. */
static struct nk_change_item *new_item(struct nk_change *c, const char *name, const char *src_prev, const char *src_next)
{
	struct nk_change_item *item;

	if (c->n == c->room) {
		size_t room = c->room ? c->room * 2 : 4;
		struct nk_change_item *items = reallocarray(c->items, room, sizeof(*items));

		if (!items)
			return NULL;
		c->items = items;
		c->room = room;
	}

	item = &c->items[c->n];
	memset(item, 0, sizeof(*item));
	item->pointer_index = SIZE_MAX;
	memcpy(item->name, name, strlen(name) + 1);
	item->src_prev = src_prev ? strdup(src_prev) : NULL;
	item->src_next = src_next ? strdup(src_next) : NULL;
	if ((src_prev && !item->src_prev) || (src_next && !item->src_next)) {
		clear_item(item);
		return NULL;
	}
	return item;
}

int nk_document_put_device(struct nk_document *doc, const struct nk_device *d, const char *source, size_t pointer_index,
			   struct nk_change *c)
{
	const struct device_entry *e = find_device(doc, nk_device_name(d));
	struct nk_change_item *item;
	const char *interned;

	if (e && !strcmp(e->source, source) && nk_device_equal(e->dev, d))
		return 0;
	interned = intern(doc, source);
	if (!interned || reserve(doc, 1, d->n_attachments) < 0)
		return -ENOMEM;
	item = new_item(c, nk_device_name(d), e ? e->source : NULL, source);
	if (!item)
		return -ENOMEM;

	item->dev_prev = nk_device_ref(e ? e->dev : NULL);
	item->dev_next = nk_device_ref(d);
	item->pointer_index = pointer_index;
	set_device(doc, item->name, d, interned);
	c->n++;
	return 0;
}

int nk_document_put_program(struct nk_document *doc, const struct nk_program *p, const char *source, size_t pointer_index,
			    struct nk_change *c)
{
	const struct program_entry *e = find_program(doc, p->name);
	struct nk_change_item *item;
	const char *interned;

	if (e && e->prog && !strcmp(e->source, source) && nk_program_equal(e->prog, p))
		return 0;
	interned = intern(doc, source);
	if (!interned || reserve(doc, 0, 1) < 0)
		return -ENOMEM;
	item = new_item(c, p->name, e ? e->source : NULL, source);
	if (!item)
		return -ENOMEM;

	item->is_program = true;
	item->prog_prev = nk_program_ref(e ? e->prog : NULL);
	item->prog_next = nk_program_ref(p);
	item->pointer_index = pointer_index;
	set_program(doc, item->name, p, interned);
	c->n++;
	return 0;
}

int nk_document_remove_device(struct nk_document *doc, const char *name, struct nk_change *c)
{
	const struct device_entry *e = find_device(doc, name);
	struct nk_change_item *item;

	if (!e)
		return -ENOENT;
	item = new_item(c, name, e->source, NULL);
	if (!item)
		return -ENOMEM;

	item->dev_prev = nk_device_ref(e->dev);
	set_device(doc, item->name, NULL, NULL);
	c->n++;
	return 0;
}

int nk_document_remove_program(struct nk_document *doc, const char *name, struct nk_change *c)
{
	const struct program_entry *e = find_program(doc, name);
	struct nk_change_item *item;

	if (!e || !e->prog)
		return -ENOENT;
	item = new_item(c, name, e->source, NULL);
	if (!item)
		return -ENOMEM;

	item->is_program = true;
	item->prog_prev = nk_program_ref(e->prog);
	set_program(doc, item->name, NULL, NULL);
	c->n++;
	return 0;
}

void nk_document_undo(struct nk_document *doc, struct nk_change *c)
{
	while (c->n > 0) {
		struct nk_change_item *item = &c->items[--c->n];
		/* Interned before, so this finds it and needs no memory. */
		const char *source = item->src_prev ? intern(doc, item->src_prev) : NULL;

		if (item->is_program)
			set_program(doc, item->name, item->prog_prev, source);
		else
			set_device(doc, item->name, item->dev_prev, source);
		clear_item(item);
	}
	nk_change_clear(c);
}
