// SPDX-License-Identifier: GPL-2.0-only
/* What the tests of the cache share. */
#include "cache_fixture.h"

#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

struct told told;
int inhabited[INODES];
struct nk_cache *cache;

static void on_changed(const char *owner, void *arg)
{
	if (told.n_changed < 64)
		strcpy(told.changed[told.n_changed++], owner);
}

static void on_name_free(const char *name, void *arg)
{
	if (told.n_names < 64)
		strcpy(told.names[told.n_names++], name);
}

static void on_netns_gone(int32_t nsid, void *arg)
{
	told.gone = nsid;
	told.n_gone++;
}

static void on_inhabited(uint32_t ino, int by, void *arg)
{
	inhabited[ino % INODES] += by;
}

bool told_changed(const char *owner)
{
	for (size_t i = 0; i < told.n_changed; i++)
		if (!strcmp(told.changed[i], owner))
			return true;
	return false;
}

bool told_free(const char *name)
{
	for (size_t i = 0; i < told.n_names; i++)
		if (!strcmp(told.names[i], name))
			return true;
	return false;
}

int setup(void **state)
{
	const struct nk_cache_handlers h = { on_changed, on_name_free, on_netns_gone, on_inhabited, NULL };

	memset(&told, 0, sizeof(told));
	memset(inhabited, 0, sizeof(inhabited));
	cache = nk_cache_new(GROUP, &h);
	return cache ? 0 : -1;
}

int teardown(void **state)
{
	cache = nk_cache_free(cache);
	return 0;
}

void feed(int32_t nsid, const struct nlmsghdr *h)
{
	memset(&told, 0, sizeof(told));
	assert_int_equal(nk_cache_feed(cache, h, nsid), 0);
	/* Once a message at most, each. */
	for (size_t i = 0; i < told.n_changed; i++)
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(told.changed[i], told.changed[j]);
}

struct link_spec primary_spec(void)
{
	return (struct link_spec){ .ifindex = 10, .name = "web-1", .up = true, .group = GROUP, .alias = "netkitd:web-1", .link = 2,
				   .other_netns = true, .link_nsid = 7 };
}

struct link_spec peer_spec(void)
{
	return (struct link_spec){ .ifindex = 2, .name = "eth0", .peer = true, .up = true, .mtu = 1400, .link = 10,
				   .other_netns = true, .link_nsid = 0 };
}

void feed_primary(uint16_t type)
{
	struct link_spec s = primary_spec();

	feed(NK_NSID_HOST, link_message(type, &s));
}

void feed_peer(uint16_t type)
{
	struct link_spec s = peer_spec();

	feed(7, link_message(type, &s));
}

void feed_pair(void)
{
	feed_peer(RTM_NEWLINK);
	feed_primary(RTM_NEWLINK);
	nk_cache_set_place(cache, "web-1", 7, 0);
}

const struct nk_obs_device *web(void)
{
	const struct nk_obs_device *o = nk_cache_get(cache, "web-1");

	assert_non_null(o);
	return o;
}

void check_pair(void)
{
	const struct nk_obs_device *o = web();

	assert_true(o->marked && o->grouped && o->aliased && !o->single && o->peer_in_place);
	assert_int_equal(o->mode, NK_MODE_L3);
	assert_int_equal(o->end[NK_PRIMARY].ifindex, 10);
	assert_string_equal(o->end[NK_PRIMARY].name, "web-1");
	assert_true(o->end[NK_PRIMARY].up && o->end[NK_PRIMARY].details);
	assert_int_equal(o->end[NK_PEER].ifindex, 2);
	assert_string_equal(o->end[NK_PEER].name, "eth0");
	assert_true(o->end[NK_PEER].details);
	assert_int_equal(o->end[NK_PEER].mtu, 1400);
	assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), 7);
}

void feed_lists(void)
{
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.3/32", 110));
	feed(7, addr_message(RTM_NEWADDR, 2, "fd00::2/128", 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "0.0.0.0/0", NULL, NULL, 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "10.1.0.0/16", NULL, "10.0.0.3", 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "::/0", NULL, "fd00::2", 110));
	assert_int_equal(web()->end[NK_PEER].n_routes, 3);
}

struct nk_obs_chain one_link(uint32_t id)
{
	struct nk_obs_chain chain = { .n = 1, .links = calloc(1, sizeof(struct nk_obs_link)) };

	chain.links[0].link_id = id;
	return chain;
}
