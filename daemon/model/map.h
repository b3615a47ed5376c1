// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * A hash map of nodes that live inside the caller's objects, keyed by whatever the caller hashes. For the tables that must answer in
 * constant time at ten thousand devices. It owns its array of slots only: never an object. Several nodes may have one hash; the
 * caller compares. Putting in never fails: without memory to grow, the chains become longer.
 */
#include <stddef.h>
#include <stdint.h>

struct nk_map_node {
	struct nk_map_node *next; /* in the slot */
	uint32_t hash;
};

struct nk_map {
	struct nk_map_node **slots; /* owned */
	size_t n, n_slots;            /* nodes; slots, a power of two */
};

/* The object that contains the node. */
#define nk_map_entry(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

/* 0 or -ENOMEM. A cleared map may be initialised again. */
int nk_map_init(struct nk_map *m);
/* Forget all nodes; frees none of them. Takes a zeroed map. */
void nk_map_clear(struct nk_map *m);

void nk_map_insert(struct nk_map *m, struct nk_map_node *node, uint32_t hash);
/* The node must be in the map. */
void nk_map_remove(struct nk_map *m, struct nk_map_node *node);

/* Nodes of this hash, latest first: for (n = nk_map_first(t, h); n; n = nk_map_next(n)). */
struct nk_map_node *nk_map_first(const struct nk_map *m, uint32_t hash);
struct nk_map_node *nk_map_next(const struct nk_map_node *node);

/* FNV-1a; begin with NK_HASH_SEED and go on with what was returned, to hash several parts. */
#define NK_HASH_SEED 2166136261u
uint32_t nk_hash_bytes(uint32_t hash, const void *data, size_t size);
uint32_t nk_hash_text(uint32_t hash, const char *text);
