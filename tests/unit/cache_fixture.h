// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * A cache with handlers that note what they are told, and the pair that most tests are about: web-1, number 10 of the host's
 * namespace, with its peer eth0, number 2 of namespace 7.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/kernel/cache.h"
#include "daemon/kernel/netns.h"
#include "kernel_messages.h"

#define GROUP 4000
#define DOOMED (GROUP + 1)

/* What the handlers were told since the last feed. */
extern struct told {
	char changed[64][NK_IFNAMSIZ];
	size_t n_changed;
	char names[64][NK_IFNAMSIZ];
	size_t n_names;
	int32_t gone;
	size_t n_gone;
} told;
/* And of namespaces in all, by inode number. */
#define INODES 16
extern int inhabited[INODES];
bool told_changed(const char *owner);
bool told_free(const char *name);

extern struct nk_cache *cache;
int setup(void **state);
int teardown(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Forget what was told, and feed. */
void feed(int32_t nsid, const struct nlmsghdr *h);
struct link_spec primary_spec(void);
struct link_spec peer_spec(void);
void feed_primary(uint16_t type);
void feed_peer(uint16_t type);
/* Both, and the executor's word that the peer is where it should be. */
void feed_pair(void);
/* The peer's addresses and routes: three of each. */
void feed_lists(void);
/* The device, which must be there. */
const struct nk_obs_device *web(void);
/* It is as the two specs say. */
void check_pair(void);
/* A chain of one link; the caller's. */
struct nk_obs_chain one_link(uint32_t id);
