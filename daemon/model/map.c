// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hash map under the document's look-ups: chained, doubled when there are as many nodes as slots, never shrunk. It may
 * allocate nothing but its slots.
 */
#include "daemon/model/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 16

/* FNV's low bits are weak for short names; fold the high ones in. */
static uint32_t mix(uint32_t hash)
{
	return hash ^ (hash >> 16);
}

static struct nk_map_node **slot_of(const struct nk_map *m, uint32_t hash)
{
	return &m->slots[mix(hash) & (m->n_slots - 1)];
}

int nk_map_init(struct nk_map *m)
{
	struct nk_map_node **slots = calloc(FIRST_SLOTS, sizeof(struct nk_map_node *));

	if (!slots)
		return -ENOMEM;
	*m = (struct nk_map){ .slots = slots, .n_slots = FIRST_SLOTS };
	return 0;
}

void nk_map_clear(struct nk_map *m)
{
	free(m->slots);
	memset(m, 0, sizeof(*m));
}

static void grow(struct nk_map *m)
{
	struct nk_map larger = { .n = m->n, .n_slots = m->n_slots * 2 };

	larger.slots = calloc(larger.n_slots, sizeof(struct nk_map_node *));
	if (!larger.slots)
		return;

	/* Each slot splits in two. Its nodes keep their order, so that "latest first" survives. */
	for (size_t i = 0; i < m->n_slots; i++) {
		struct nk_map_node **ends[2] = { &larger.slots[i], &larger.slots[i + m->n_slots] };
		struct nk_map_node *next;

		for (struct nk_map_node *node = m->slots[i]; node; node = next) {
			size_t half = (mix(node->hash) & m->n_slots) != 0;

			next = node->next;
			node->next = NULL;
			*ends[half] = node;
			ends[half] = &node->next;
		}
	}
	free(m->slots);
	*m = larger;
}

void nk_map_insert(struct nk_map *m, struct nk_map_node *node, uint32_t hash)
{
	struct nk_map_node **slot;

	if (m->n >= m->n_slots)
		grow(m);
	slot = slot_of(m, hash);
	node->hash = hash;
	node->next = *slot;
	*slot = node;
	m->n++;
}

void nk_map_remove(struct nk_map *m, struct nk_map_node *node)
{
	struct nk_map_node **at = slot_of(m, node->hash);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	node->next = NULL;
	m->n--;
}

static struct nk_map_node *with_hash(struct nk_map_node *node, uint32_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct nk_map_node *nk_map_first(const struct nk_map *m, uint32_t hash)
{
	return with_hash(*slot_of(m, hash), hash);
}

struct nk_map_node *nk_map_next(const struct nk_map_node *node)
{
	return with_hash(node->next, node->hash);
}

uint32_t nk_hash_bytes(uint32_t hash, const void *data, size_t size)
{
	const unsigned char *c = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ c[i]) * 16777619u;
	return hash;
}

uint32_t nk_hash_text(uint32_t hash, const char *text)
{
	/* With the closing NUL, so that ("ab", "c") and ("a", "bc") differ. */
	return nk_hash_bytes(hash, text, strlen(text) + 1);
}
