// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cache as a whole: snapshots against what was known before, inspections against newer events, both ends' messages in any order, and
 * messages that make no sense.
 */
#include "cache_fixture.h"

#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

static void snapshot_of_the_same_tells_nothing(void **state)
{
	struct nk_obs_chain a = one_link(100), b = one_link(101);

	feed_pair();
	feed_lists();
	nk_cache_set_chain(cache, nk_cache_touches(cache), 10, NK_HOOK_NETKIT_PRIMARY, &a);
	nk_cache_set_chain(cache, nk_cache_touches(cache), 10, NK_HOOK_NETKIT_PEER, &b);
	nk_cache_begin_snapshot(cache);
	feed_primary(RTM_NEWLINK);
	assert_int_equal(told.n_changed, 0);
	feed_peer(RTM_NEWLINK);
	/* In another order. */
	feed(7, addr_message(RTM_NEWADDR, 2, "fd00::2/128", 110));
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.3/32", 110));
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "::/0", NULL, "fd00::2", 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "10.1.0.0/16", NULL, "10.0.0.3", 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "0.0.0.0/0", NULL, NULL, 110));
	nk_cache_end_snapshot(cache);
	assert_int_equal(told.n_changed, 0);
	check_pair();
	assert_true(web()->chains_known);
	assert_int_equal(web()->end[NK_PEER].n_routes, 3);
}

static void snapshot_tells_what_differs(void **state)
{
	struct link_spec b = { .ifindex = 30, .name = "web-2", .group = GROUP };
	struct link_spec c = { .ifindex = 31, .name = "web-3", .group = GROUP };
	struct link_spec v = { .ifindex = 40, .name = "veth0", .kind = "veth", .group = DOOMED };

	feed_pair();
	feed_lists();
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &b));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	nk_cache_begin_snapshot(cache);
	feed_primary(RTM_NEWLINK);
	feed_peer(RTM_NEWLINK);
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &c));
	memset(&told, 0, sizeof(told));
	nk_cache_end_snapshot(cache);
	assert_int_equal(told.n_changed, 3);
	assert_true(told_changed("web-1")); /* lost addresses and routes */
	assert_true(told_changed("web-2")); /* gone */
	assert_true(told_changed("web-3")); /* new */
	assert_true(told_free("veth0"));
	assert_int_equal(nk_cache_foreign_doomed(cache), 0);
	assert_null(nk_cache_get(cache, "web-2"));
	assert_int_equal(web()->end[NK_PEER].n_addrs, 1);
	assert_int_equal(web()->end[NK_PEER].n_routes, 0);
}

static void a_snapshot_finds_interfaces(void **state)
{
	struct link_spec a = { .ifindex = 20, .name = "eth0", .kind = "veth" }, b = { .ifindex = 21, .name = "eth1", .kind = "veth" };
	struct link_spec c = { .ifindex = 22, .name = "eth2", .kind = "veth" };
	struct nk_obs_chain in = one_link(50), out = one_link(51);

	assert_int_equal(nk_cache_want_interface(cache, "eth0"), 0);
	assert_int_equal(nk_cache_want_interface(cache, "eth1"), 0);
	assert_int_equal(nk_cache_want_interface(cache, "eth2"), 0);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &a));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &b));
	nk_cache_set_chain(cache, nk_cache_touches(cache), 20, NK_HOOK_TCX_INGRESS, &in);
	nk_cache_set_chain(cache, nk_cache_touches(cache), 20, NK_HOOK_TCX_EGRESS, &out);
	nk_cache_begin_snapshot(cache);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &a));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &c));
	memset(&told, 0, sizeof(told));
	nk_cache_end_snapshot(cache);
	assert_true(told_changed("eth1")); /* gone */
	assert_true(told_changed("eth2")); /* new */
	assert_false(told_changed("eth0"));
	assert_int_equal(nk_cache_get(cache, "eth0")->end[NK_PRIMARY].ifindex, 20);
	assert_null(nk_cache_get(cache, "eth1"));
	assert_int_equal(nk_cache_get(cache, "eth2")->end[NK_PRIMARY].ifindex, 22);
	/* A snapshot doesn't look at them. */
	assert_false(nk_cache_get(cache, "eth0")->chains_known);
}

/* As many of everything as before, but not the same. */
static void snapshot_of_as_many_others(void **state)
{
	feed_pair();
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "0.0.0.0/0", NULL, NULL, 110));
	for (int i = 0; i < 4; i++) {
		const char *addr = i >= 1 ? "10.0.0.3/32" : "10.0.0.2/32", *to = i >= 2 ? "10.0.0.0/8" : "0.0.0.0/0";

		nk_cache_begin_snapshot(cache);
		feed_primary(RTM_NEWLINK);
		feed_peer(RTM_NEWLINK);
		feed(7, addr_message(RTM_NEWADDR, 2, addr, 110));
		feed(7, route_message(RTM_NEWROUTE, 0, 2, to, NULL, NULL, i == 3 ? 0 : 110));
		nk_cache_end_snapshot(cache);
		assert_int_equal(told.n_changed, i > 0);
	}
}

static void snapshot_without_the_peer(void **state)
{
	feed_pair();
	feed_lists();
	nk_cache_begin_snapshot(cache);
	feed_primary(RTM_NEWLINK);
	memset(&told, 0, sizeof(told));
	nk_cache_end_snapshot(cache);
	assert_true(told_changed("web-1"));
	assert_false(web()->end[NK_PEER].details);
	/* What the primary said of it stays: it is there, only nothing more is known. */
	assert_int_equal(web()->end[NK_PEER].ifindex, 2);
	assert_true(web()->peer_in_place);
}

static void snapshot_after_a_device_was_made_anew(void **state)
{
	struct link_spec s = primary_spec();

	feed_pair();
	nk_cache_begin_snapshot(cache);
	s.ifindex = 50;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	memset(&told, 0, sizeof(told));
	nk_cache_end_snapshot(cache);
	assert_true(told_changed("web-1"));
	assert_int_equal(web()->end[NK_PRIMARY].ifindex, 50);
}

static void snapshot_with_two_of_one_name(void **state)
{
	struct link_spec s = primary_spec();

	feed_pair();
	nk_cache_begin_snapshot(cache);
	s.ifindex = 50;
	s.name = "copy";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	feed_primary(RTM_NEWLINK);
	nk_cache_end_snapshot(cache);
	assert_int_equal(web()->end[NK_PRIMARY].ifindex, 10);
	assert_int_equal(nk_cache_get(cache, "copy")->end[NK_PRIMARY].ifindex, 50);
}

/* ---- any order, anything ---- */

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* The messages of one end, in the order in which the kernel sends them. */
static void feed_step(size_t end, unsigned int step)
{
	struct link_spec primary = primary_spec(), peer = peer_spec();

	switch (2 * step + (end == NK_PEER)) {
	case 0:
		primary.up = false;
		primary.alias = NULL;
		feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &primary));
		break;
	case 1:
		peer.up = false;
		feed(7, link_message(RTM_NEWLINK, &peer));
		break;
	case 2:
		feed(NK_NSID_HOST, addr_message(RTM_NEWADDR, 10, "10.0.0.1/32", 110));
		break;
	case 3:
		feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
		break;
	case 4:
		feed_primary(RTM_NEWLINK);
		break;
	case 5:
		feed_peer(RTM_NEWLINK);
		break;
	case 6:
		feed(NK_NSID_HOST, route_message(RTM_NEWROUTE, 0, 10, "10.0.0.2/32", NULL, NULL, 110));
		break;
	case 7:
		feed(7, route_message(RTM_NEWROUTE, 0, 2, "0.0.0.0/0", NULL, NULL, 110));
		break;
	}
}

static void both_ends_in_any_interleaving(void **state)
{
	for (int i = 0; i < 2000; i++) {
		unsigned int step[NK_ENDS] = { 0, 0 };

		while (step[0] < 4 || step[1] < 4) {
			size_t end = step[0] == 4 ? NK_PEER : step[1] == 4 ? NK_PRIMARY : random_below(2);

			feed_step(end, step[end]++);
		}
		nk_cache_set_place(cache, "web-1", 7, 0);
		check_pair();
		for (size_t end = 0; end < NK_ENDS; end++) {
			assert_int_equal(web()->end[end].n_addrs, 1);
			assert_int_equal(web()->end[end].n_routes, 1);
		}
		feed_primary(RTM_DELLINK);
		if (random_below(2))
			feed_peer(RTM_DELLINK);
	}
}

static void how_many_have_their_place_in_a_namespace(void **state)
{
	feed_pair();
	nk_cache_set_place(cache, "web-1", 7, 3);
	nk_cache_set_place(cache, "web-1", 7, 3);
	assert_int_equal(inhabited[3], 1);
	nk_cache_set_place(cache, "web-1", 8, 4);
	assert_int_equal(inhabited[3], 0);
	assert_int_equal(inhabited[4], 1);
	nk_cache_tell_inhabited(cache);
	assert_int_equal(inhabited[4], 2);
	feed_primary(RTM_DELLINK);
	feed_peer(RTM_DELLINK);
	assert_int_equal(inhabited[4], 1);
}

static const char *random_name(void)
{
	static const char *const names[] = { "a", "b", "c", "d" };

	return names[random_below(4)];
}

static void feed_anything(void)
{
	static const char *const aliases[] = { NULL, "netkitd:a", "netkitd:b", "netkitd:", "else" };
	static const char *const nets[] = { "10.0.0.1/32", "10.0.0.2/32", "fd00::1/128" };
	static const char *const srcs[] = { "10.0.0.1", "10.0.0.2", "fd00::1" };
	struct link_spec s = { .ifindex = 1 + random_below(6), .name = random_name(), .peer = random_below(2), .up = random_below(2),
			       .group = GROUP - 1 + random_below(4), .alias = aliases[random_below(5)], .link = random_below(7),
			       .other_netns = random_below(2), .link_nsid = (int32_t)random_below(4) - 1,
			       .moved = !random_below(3), .new_nsid = (int32_t)random_below(3) };
	int32_t nsid = (int32_t)random_below(3) - 1;
	uint32_t net = random_below(3);
	bool new = random_below(3);

	if (!random_below(8))
		s.kind = "veth";
	switch (random_below(6)) {
	case 0:
	case 1:
		feed(nsid, link_message(new ? RTM_NEWLINK : RTM_DELLINK, &s));
		break;
	case 2:
		feed(nsid, addr_message(new ? RTM_NEWADDR : RTM_DELADDR, s.ifindex, nets[net], random_below(2) ? 110 : 0));
		break;
	case 3:
		memset(&told, 0, sizeof(told));
		assert_int_equal(nk_cache_feed(cache, route_message(new ? RTM_NEWROUTE : RTM_DELROUTE,
								    random_below(2) ? NLM_F_REPLACE : 0, random_below(7), nets[net],
								    NULL, random_below(2) ? srcs[net] : NULL, 110), nsid), 0);
		break;
	case 4:
		feed(nsid, nsid_message(RTM_DELNSID, (int32_t)random_below(3)));
		break;
	case 5:
		nk_cache_set_place(cache, random_name(), (int32_t)random_below(3) - 1, 0);
		break;
	}
}

static void check_device(const struct nk_obs_device *o, int32_t peer_nsid, void *arg)
{
	(*(size_t *)arg)++;
	assert_ptr_equal(nk_cache_get(cache, o->owner), o);
	assert_true(o->marked);
	assert_true(o->end[NK_PRIMARY].details && o->end[NK_PRIMARY].ifindex);
	assert_true(!o->end[NK_PEER].details || o->end[NK_PEER].ifindex);
	assert_true(o->end[NK_PEER].details || (!o->end[NK_PEER].n_addrs && !o->end[NK_PEER].n_routes));
}

/* Messages that make no sense together: whatever the state is, it is a state. The sanitizers watch. */
static void anything_in_any_order(void **state)
{
	size_t n, most = 0;

	for (int i = 0; i < 200000; i++) {
		if (!random_below(500)) {
			nk_cache_begin_snapshot(cache);
			for (uint32_t j = random_below(40); j; j--)
				feed_anything();
			nk_cache_end_snapshot(cache);
		}
		feed_anything();
		n = 0;
		nk_cache_each(cache, check_device, &n);
		most = n > most ? n : most;
		/* Nonsense may make one ifindex both a peer and something else. */
		assert_true(nk_cache_foreign_doomed(cache) <= 12);
	}
	assert_true(most >= 3);
}

static void inspect(int32_t nsid, const struct link_spec *s, uint64_t as_of)
{
	assert_int_equal(nk_cache_feed_inspected(cache, link_message(RTM_NEWLINK, s), nsid, as_of), 0);
}

/* It was read before what the events told that were read meanwhile. */
static void an_inspection_that_events_overtook(void **state)
{
	struct link_spec primary = primary_spec(), peer = peer_spec();
	uint64_t as_of;

	feed_pair();
	as_of = nk_cache_touches(cache);
	primary.mtu = 1300;
	inspect(NK_NSID_HOST, &primary, as_of);
	assert_int_equal(web()->end[NK_PRIMARY].mtu, 1300);
	peer.mtu = 1301;
	inspect(7, &peer, as_of);
	assert_int_equal(web()->end[NK_PEER].mtu, 1301);

	primary.mtu = 1200;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &primary));
	primary.mtu = 1300;
	inspect(NK_NSID_HOST, &primary, as_of);
	assert_int_equal(web()->end[NK_PRIMARY].mtu, 1200);
	peer.mtu = 1299;
	inspect(7, &peer, as_of);
	assert_int_equal(web()->end[NK_PEER].mtu, 1299);
	feed(7, link_message(RTM_NEWLINK, &peer));
	peer.mtu = 1298;
	inspect(7, &peer, as_of);
	assert_int_equal(web()->end[NK_PEER].mtu, 1299);
	inspect(7, &peer, nk_cache_touches(cache));
	assert_int_equal(web()->end[NK_PEER].mtu, 1298);

	as_of = nk_cache_touches(cache);
	feed_peer(RTM_DELLINK);
	inspect(7, &peer, as_of);
	assert_int_equal(web()->end[NK_PEER].mtu, 0);
	feed_primary(RTM_DELLINK);
	inspect(7, &peer, as_of);
	inspect(NK_NSID_HOST, &primary, as_of);
	assert_null(nk_cache_get(cache, "web-1"));
	inspect(NK_NSID_HOST, &primary, nk_cache_touches(cache));
	assert_null(nk_cache_get(cache, "web-1"));
}

/* A peer of whose namespace no event comes. */
static void an_inspection_finds_the_peer(void **state)
{
	struct link_spec peer = peer_spec();

	feed_primary(RTM_NEWLINK);
	assert_false(web()->end[NK_PEER].details);
	inspect(7, &peer, nk_cache_touches(cache));
	assert_true(web()->end[NK_PEER].details);
	assert_int_equal(web()->end[NK_PEER].mtu, 1400);
}

/* What it read is at another place than its primary says, or is another sort of link than the number had until now. */
static void an_inspection_of_something_else(void **state)
{
	struct link_spec primary = primary_spec(), peer = peer_spec();

	feed_primary(RTM_NEWLINK);
	inspect(9, &peer, nk_cache_touches(cache));
	primary.link_nsid = 9;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &primary));
	assert_false(web()->end[NK_PEER].details);

	peer.ifindex = primary.ifindex;
	inspect(NK_NSID_HOST, &peer, nk_cache_touches(cache));
	assert_int_equal(web()->end[NK_PRIMARY].mtu, 1500);
	assert_string_equal(web()->end[NK_PRIMARY].name, "web-1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_inspection_that_events_overtook),
		TEST(an_inspection_finds_the_peer),
		TEST(an_inspection_of_something_else),
		TEST(snapshot_of_the_same_tells_nothing),
		TEST(snapshot_tells_what_differs),
		TEST(a_snapshot_finds_interfaces),
		TEST(snapshot_of_as_many_others),
		TEST(snapshot_without_the_peer),
		TEST(snapshot_after_a_device_was_made_anew),
		TEST(snapshot_with_two_of_one_name),
		TEST(both_ends_in_any_interleaving),
		TEST(how_many_have_their_place_in_a_namespace),
		TEST(anything_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
