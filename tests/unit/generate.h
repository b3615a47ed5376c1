// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Random desired devices and random states of the kernel in small, all from one number. Small universes on purpose: few names, addresses
 * and programs meet often, and what fails is short enough to read. For test_plan_random.c.
 */
#include "world.h"

/* splitmix64: any number is a good seed. */
struct rng {
	uint64_t state;
};

uint64_t rng_next(struct rng *r);
/* 0 … n-1 */
uint32_t rng_below(struct rng *r, uint32_t n);
/* True once in n. */
bool rng_one_in(struct rng *r, uint32_t n);

/* A device, or one time in four an interface, that passes nk_device_check, normalised. size 1 … 8: how much is in it. */
struct nk_device *generate_device(struct rng *r, uint32_t size);
/* The same device with some things changed, as an operator's next document would have it. */
struct nk_device *generate_variant(struct rng *r, const struct nk_device *d, uint32_t size);
/* Some state in which the kernel may be found, most of the time one that an earlier document of `d` could have led to. */
void generate_world(struct rng *r, const struct nk_device *d, uint32_t size, struct world *ret);
/* The lists of o in another order. */
void shuffle_observed(struct rng *r, struct nk_obs_device *o);
