// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cache, fed with events: the messages that the kernel sends, in the orders in which it sends them.
 */
#include "cache_fixture.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void peer_may_come_first(void **state)
{
	struct link_spec s = peer_spec();

	/* As the kernel does it: the peer is told before it has a primary. */
	s.link = 0;
	s.other_netns = false;
	feed(7, link_message(RTM_NEWLINK, &s));
	assert_int_equal(told.n_changed, 0);
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	feed_primary(RTM_NEWLINK);
	assert_true(told_changed("web-1"));
	check_pair();
	assert_int_equal(web()->end[NK_PEER].n_addrs, 1);
	feed_primary(RTM_NEWLINK);
	assert_int_equal(told.n_changed, 0);
}

static void peer_may_come_last(void **state)
{
	feed_primary(RTM_NEWLINK);
	assert_false(web()->end[NK_PEER].details);
	assert_int_equal(web()->end[NK_PEER].ifindex, 2);
	feed_peer(RTM_NEWLINK);
	assert_true(told_changed("web-1"));
	check_pair();
}

/* In L2 mode the primary is told once before it knows its peer. */
static void primary_may_learn_of_its_peer_later(void **state)
{
	struct link_spec s = primary_spec();

	feed_peer(RTM_NEWLINK);
	s.link = 0;
	s.other_netns = false;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_int_equal(web()->end[NK_PEER].ifindex, 0);
	feed_primary(RTM_NEWLINK);
	check_pair();
}

static void peer_in_the_hosts_namespace(void **state)
{
	struct link_spec primary = primary_spec(), peer = peer_spec();

	primary.other_netns = peer.other_netns = false;
	primary.link = peer.ifindex = 11;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &peer));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &primary));
	assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), NK_NSID_HOST);
	assert_true(web()->end[NK_PEER].details);
	nk_cache_set_place(cache, "web-1", NK_NSID_HOST, 0);
	assert_true(web()->peer_in_place);
	nk_cache_set_place(cache, "web-1", 3, 0);
	assert_false(web()->peer_in_place);
}

static void another_ones_peer_of_the_same_number(void **state)
{
	struct link_spec s = peer_spec();

	/* In namespace 8 there is a peer of number 2 as well, whose primary, of number 10, is in yet another namespace. */
	feed(8, link_message(RTM_NEWLINK, &s));
	feed_primary(RTM_NEWLINK);
	assert_false(web()->end[NK_PEER].details);
	s.mtu = 1300;
	feed(8, link_message(RTM_NEWLINK, &s));
	assert_int_equal(told.n_changed, 0);
	assert_false(web()->end[NK_PEER].details);
	feed_peer(RTM_NEWLINK);
	check_pair();
}

static void foreign_links_are_not_followed(void **state)
{
	struct link_spec s = { .ifindex = 20, .name = "lxc1", .link = 2, .other_netns = true, .link_nsid = 9 };
	struct link_spec v = { .ifindex = 21, .name = "web-1", .kind = "veth", .group = GROUP };

	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	assert_int_equal(told.n_changed, 0);
	assert_null(nk_cache_get(cache, "lxc1"));
	assert_null(nk_cache_get(cache, "web-1"));
	/* A pair inside a container, with our group or not. */
	s.group = GROUP;
	feed(9, link_message(RTM_NEWLINK, &s));
	assert_null(nk_cache_get(cache, "lxc1"));
}

static void names_that_become_free(void **state)
{
	struct link_spec v = { .ifindex = 21, .name = "web-2", .kind = "veth" };
	struct link_spec s = { .ifindex = 20, .name = "lxc1" };

	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	assert_int_equal(told.n_names, 0);
	v.name = "other";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	assert_true(told_free("web-2"));
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &v));
	assert_true(told_free("other"));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &s));
	assert_true(told_free("lxc1"));
	/* One that was never heard of, and one of another namespace. */
	v.ifindex = 99;
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &v));
	assert_true(told_free("other"));
	feed(5, link_message(RTM_NEWLINK, &v));
	feed(5, link_message(RTM_DELLINK, &v));
	assert_int_equal(told.n_names, 0);
}

/* Whosever they are, in the host's namespace only. */
static void names_that_are_taken(void **state)
{
	struct link_spec v = { .ifindex = 21, .name = "veth0", .kind = "veth" };
	struct link_spec s = { .ifindex = 20, .name = "lxc1" };
	struct link_spec p = primary_spec(), beside = { .ifindex = 22, .name = "beside", .peer = true };

	feed_pair();
	assert_true(nk_cache_name_is_taken(cache, "web-1"));
	assert_false(nk_cache_name_is_taken(cache, "eth0"));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &beside));
	assert_true(nk_cache_name_is_taken(cache, "veth0"));
	assert_true(nk_cache_name_is_taken(cache, "lxc1"));
	assert_true(nk_cache_name_is_taken(cache, "beside"));
	/* They change names, and the device does, whose owner it stays. */
	v.name = "lxc1";
	s.name = "veth0";
	p.name = "stolen";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &p));
	assert_true(nk_cache_name_is_taken(cache, "veth0"));
	assert_true(nk_cache_name_is_taken(cache, "lxc1"));
	assert_true(nk_cache_name_is_taken(cache, "stolen"));
	assert_false(nk_cache_name_is_taken(cache, "web-1"));
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &s));
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &p));
	assert_false(nk_cache_name_is_taken(cache, "veth0"));
	assert_false(nk_cache_name_is_taken(cache, "stolen"));
	/* A snapshot that shows none of them. */
	nk_cache_begin_snapshot(cache);
	nk_cache_end_snapshot(cache);
	assert_false(nk_cache_name_is_taken(cache, "lxc1"));
	assert_false(nk_cache_name_is_taken(cache, "beside"));
}

static void a_rename_keeps_the_owner(void **state)
{
	struct link_spec s = primary_spec();

	feed_pair();
	s.name = "stolen";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_true(told_changed("web-1"));
	assert_string_equal(web()->end[NK_PRIMARY].name, "stolen");
	assert_int_equal(told.n_names, 0);
	/* When it is back, somebody else may want the name. */
	feed_primary(RTM_NEWLINK);
	assert_true(told_free("stolen"));
}

static void marks_taken_away_are_seen(void **state)
{
	struct link_spec s = primary_spec();

	feed_pair();
	s.group = 0;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_true(told_changed("web-1"));
	assert_true(web()->marked && !web()->grouped && web()->aliased);
	s.alias = "mine now";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_true(web()->marked && !web()->grouped && !web()->aliased);
	s.alias = "netkitd:web-9";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_true(web()->marked && !web()->aliased);
	assert_null(nk_cache_get(cache, "web-9"));
}

static void alias_names_the_owner(void **state)
{
	struct link_spec s = primary_spec();

	/* Renamed and taken from its group while nobody watched. */
	s.name = "stolen";
	s.group = 0;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_true(web()->marked && !web()->grouped && web()->aliased);
	assert_null(nk_cache_get(cache, "stolen"));
}

static void two_of_one_name(void **state)
{
	struct link_spec s = primary_spec();

	feed_pair();
	s.ifindex = 11;
	s.name = "copy";
	s.link = 3;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_true(told_changed("copy"));
	assert_int_equal(web()->end[NK_PRIMARY].ifindex, 10);
	assert_int_equal(nk_cache_get(cache, "copy")->end[NK_PRIMARY].ifindex, 11);
	assert_false(nk_cache_get(cache, "copy")->aliased);
}

static void addresses_are_kept(void **state)
{
	feed_pair();
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	assert_true(told_changed("web-1"));
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	assert_int_equal(told.n_changed, 0);
	feed(7, addr_message(RTM_NEWADDR, 2, "fd00::2/128", 0));
	assert_int_equal(web()->end[NK_PEER].n_addrs, 2);
	assert_true(web()->end[NK_PEER].addrs[0].ours);
	assert_false(web()->end[NK_PEER].addrs[1].ours);
	feed(7, addr_message(RTM_DELADDR, 2, "10.0.0.2/32", 110));
	assert_true(told_changed("web-1"));
	assert_int_equal(web()->end[NK_PEER].n_addrs, 1);
	feed(7, addr_message(RTM_DELADDR, 2, "10.0.0.2/32", 110));
	assert_int_equal(told.n_changed, 0);
	/* Of other links, and of the same number elsewhere. */
	feed(7, addr_message(RTM_NEWADDR, 3, "10.0.0.9/32", 110));
	feed(8, addr_message(RTM_NEWADDR, 2, "10.0.0.9/32", 110));
	feed(NK_NSID_HOST, addr_message(RTM_NEWADDR, 2, "10.0.0.9/32", 110));
	assert_int_equal(web()->end[NK_PEER].n_addrs, 1);
	feed(NK_NSID_HOST, addr_message(RTM_NEWADDR, 10, "10.0.0.1/32", 110));
	assert_int_equal(web()->end[NK_PRIMARY].n_addrs, 1);
}

/* A container's root makes as many as he likes. */
static void lists_have_an_end(void **state)
{
	const struct nk_obs_end *peer;
	char text[NK_PREFIX_STRLEN];

	feed_pair();
	peer = &web()->end[NK_PEER];
	for (unsigned i = 0; i < 3 * NK_OBS_LIST_MAX; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.0/24", 1 + i / 256, i % 256);
		feed(7, addr_message(RTM_NEWADDR, 2, text, 0));
		feed(7, route_message(RTM_NEWROUTE, 0, 2, text, NULL, NULL, 0));
	}
	assert_int_equal(peer->n_addrs, NK_OBS_LIST_MAX);
	assert_int_equal(peer->n_routes, NK_OBS_LIST_MAX);
	/* What the document may name has its place, and the place of what went is free. */
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110));
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "10.0.0.1/32", NULL, NULL, 110));
	assert_true(peer->addrs[NK_OBS_LIST_MAX].ours && peer->routes[NK_OBS_LIST_MAX].ours);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "10.1.%u.0/24", i);
		feed(7, addr_message(RTM_DELADDR, 2, text, 0));
	}
	feed(7, addr_message(RTM_NEWADDR, 2, "fd00::2/128", 0));
	assert_int_equal(peer->n_addrs, NK_OBS_LIST_MAX);
}

static void routes_are_kept(void **state)
{
	feed_pair();
	feed_lists();
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "::/0", NULL, "fd00::2", 110));
	assert_int_equal(told.n_changed, 0);
	feed(7, route_message(RTM_DELROUTE, 0, 2, "0.0.0.0/0", NULL, NULL, 110));
	assert_true(told_changed("web-1"));
	assert_int_equal(web()->end[NK_PEER].n_routes, 2);
	feed(7, route_message(RTM_DELROUTE, 0, 2, "0.0.0.0/0", NULL, NULL, 110));
	assert_int_equal(told.n_changed, 0);
}

static void routes_go_with_the_link_down(void **state)
{
	struct link_spec s = peer_spec();

	feed_pair();
	feed_lists();
	s.up = false;
	feed(7, link_message(RTM_NEWLINK, &s));
	assert_true(told_changed("web-1"));
	assert_int_equal(web()->end[NK_PEER].n_routes, 0);
	assert_int_equal(web()->end[NK_PEER].n_addrs, 3);
}

static void routes_go_with_their_source(void **state)
{
	feed_pair();
	feed_lists();
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.3/24", 0));
	feed(7, addr_message(RTM_DELADDR, 2, "10.0.0.3/32", 110));
	assert_int_equal(web()->end[NK_PEER].n_routes, 3); /* the address is still there, with another prefix */
	feed(7, addr_message(RTM_DELADDR, 2, "10.0.0.3/24", 0));
	assert_int_equal(web()->end[NK_PEER].n_routes, 2);
	feed(7, addr_message(RTM_DELADDR, 2, "fd00::2/128", 110));
	assert_int_equal(web()->end[NK_PEER].n_routes, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(web()->end[NK_PEER].routes[i].r.src.len, 0);
}

static void ipv4_routes_go_with_the_last_address(void **state)
{
	feed_pair();
	feed_lists();
	feed(7, addr_message(RTM_DELADDR, 2, "10.0.0.3/32", 110));
	feed(7, addr_message(RTM_DELADDR, 2, "10.0.0.2/32", 110));
	assert_int_equal(web()->end[NK_PEER].n_routes, 1);
	assert_int_equal(web()->end[NK_PEER].routes[0].r.to.ip.len, 16);
}

static void routes_are_replaced(void **state)
{
	feed_pair();
	feed_lists();
	/* By one with another gateway, through the same link. */
	feed(7, route_message(RTM_NEWROUTE, NLM_F_REPLACE, 2, "0.0.0.0/0", "10.0.0.9", NULL, 0));
	assert_true(told_changed("web-1"));
	assert_int_equal(web()->end[NK_PEER].n_routes, 3);
	feed(7, route_message(RTM_NEWROUTE, 0, 2, "0.0.0.0/0", NULL, NULL, 110));
	/* By one through another link; by a blackhole; in another namespace. */
	feed(8, route_message(RTM_NEWROUTE, NLM_F_REPLACE, 5, "0.0.0.0/0", NULL, NULL, 0));
	feed(7, route_message(RTM_NEWROUTE, NLM_F_REPLACE, 5, "10.9.0.0/16", NULL, NULL, 0));
	assert_int_equal(told.n_changed, 0);
	feed(7, route_message(RTM_NEWROUTE, NLM_F_REPLACE, 5, "0.0.0.0/0", NULL, NULL, 0));
	assert_true(told_changed("web-1"));
	assert_int_equal(web()->end[NK_PEER].n_routes, 2);
	feed(7, route_message(RTM_NEWROUTE, NLM_F_REPLACE, 0, "10.1.0.0/16", NULL, NULL, 0));
	assert_true(told_changed("web-1"));
	assert_int_equal(web()->end[NK_PEER].n_routes, 1);
	feed(7, route_message(RTM_NEWROUTE, NLM_F_REPLACE, 0, "::/0", NULL, NULL, 0));
	assert_int_equal(web()->end[NK_PEER].n_routes, 0);
}

static void deletion_in_either_order(void **state)
{
	feed_pair();
	feed_primary(RTM_DELLINK);
	assert_true(told_changed("web-1"));
	assert_null(nk_cache_get(cache, "web-1"));
	assert_int_equal(told.n_names, 0);
	feed_peer(RTM_DELLINK);
	assert_int_equal(told.n_changed, 0);

	feed_pair();
	feed_peer(RTM_DELLINK);
	feed_primary(RTM_DELLINK);
	assert_true(told_changed("web-1"));
	assert_null(nk_cache_get(cache, "web-1"));
	/* Nothing of it is left for the next one. */
	feed_primary(RTM_NEWLINK);
	assert_false(web()->end[NK_PEER].details);
}

static void peer_moves_from_the_host(void **state)
{
	struct link_spec primary = primary_spec(), peer = peer_spec();

	primary.other_netns = peer.other_netns = false;
	primary.link = peer.ifindex = 11;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &peer));
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &primary));
	nk_cache_set_place(cache, "web-1", 7, 0);
	assert_false(web()->peer_in_place);
	peer.moved = true;
	peer.new_nsid = 7;
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &peer));
	assert_true(told_changed("web-1"));
	assert_true(told_free("eth0"));
	assert_false(web()->end[NK_PEER].details);
	feed_peer(RTM_NEWLINK); /* it got number 2 there, and the primary says nothing */
	assert_true(told_changed("web-1"));
	check_pair();
}

static void peer_moves_away(void **state)
{
	struct link_spec peer = peer_spec();

	feed_pair();
	feed_lists();
	peer.moved = true;
	peer.new_nsid = 1; /* in the numbers of namespace 7 */
	feed(7, link_message(RTM_DELLINK, &peer));
	assert_true(told_changed("web-1"));
	assert_false(web()->peer_in_place);
	assert_false(web()->end[NK_PEER].details);
	assert_int_equal(web()->end[NK_PEER].n_addrs, 0);
	assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), NK_NSID_NONE);
	/* And is met again, in a place that isn't the wanted one, and then comes home. */
	peer.moved = false;
	feed(12, link_message(RTM_NEWLINK, &peer));
	assert_true(web()->end[NK_PEER].details);
	assert_false(web()->peer_in_place);
	assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), 12);
	peer.moved = true;
	feed(12, link_message(RTM_DELLINK, &peer));
	feed_peer(RTM_NEWLINK);
	check_pair();
}

/* It moves to where nobody listens, the primary tells where that is, and then it comes back to the host, or to elsewhere. */
static void peer_moves_back_unseen(void **state)
{
	struct link_spec primary = primary_spec(), peer = peer_spec();

	for (int i = 0; i < 2; i++) {
		feed_pair();
		peer = peer_spec();
		peer.moved = true;
		feed(7, link_message(RTM_DELLINK, &peer));
		primary.link_nsid = 9;
		feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &primary));
		assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), 9);
		assert_false(web()->end[NK_PEER].details);
		if (i) {
			feed(9, link_message(RTM_DELLINK, &peer));
			assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), NK_NSID_NONE);
			peer.moved = false;
			feed(11, link_message(RTM_NEWLINK, &peer));
			assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), 11);
		} else {
			peer.moved = peer.other_netns = false;
			peer.ifindex = 33;
			feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &peer));
			assert_int_equal(nk_cache_peer_nsid(cache, "web-1"), NK_NSID_HOST);
		}
		assert_true(told_changed("web-1"));
		assert_true(web()->end[NK_PEER].details);
		feed_primary(RTM_DELLINK);
	}
}

static void peer_moves_without_being_placed(void **state)
{
	struct link_spec peer = peer_spec();

	feed_peer(RTM_NEWLINK);
	feed_primary(RTM_NEWLINK);
	assert_true(web()->peer_in_place);
	peer.moved = true;
	feed(7, link_message(RTM_DELLINK, &peer));
	assert_false(web()->peer_in_place);
}

static void primary_moves_away_and_back(void **state)
{
	struct link_spec s = primary_spec();

	feed_pair();
	s.moved = true;
	s.new_nsid = 3;
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &s));
	assert_true(told_changed("web-1"));
	assert_null(nk_cache_get(cache, "web-1"));
	feed_primary(RTM_NEWLINK);
	nk_cache_set_place(cache, "web-1", 7, 0);
	check_pair();
}

static void a_namespace_dies(void **state)
{
	struct link_spec other = { .ifindex = 30, .name = "web-2", .up = true, .group = GROUP, .link = 2, .other_netns = true,
				   .link_nsid = 7 };

	feed_pair();
	feed_lists();
	/* Other namespaces have numbers of their own. */
	feed(3, nsid_message(RTM_DELNSID, 7));
	assert_int_equal(told.n_gone, 0);
	assert_true(web()->end[NK_PEER].details);
	feed(NK_NSID_HOST, nsid_message(RTM_DELNSID, 7));
	assert_int_equal(told.n_gone, 1);
	assert_int_equal(told.gone, 7);
	assert_false(web()->end[NK_PEER].details);
	/* The number is given away before the primary's end is told. */
	feed_peer(RTM_NEWLINK);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &other));
	feed(7, addr_message(RTM_NEWADDR, 2, "10.0.0.77/32", 110));
	assert_true(told_changed("web-2"));
	feed_primary(RTM_DELLINK);
	assert_null(nk_cache_get(cache, "web-1"));
	assert_int_equal(nk_cache_get(cache, "web-2")->end[NK_PEER].n_addrs, 1);
}

static void a_dead_namespace_is_nobodys_place(void **state)
{
	struct link_spec s = primary_spec();

	feed_pair();
	nk_cache_set_place(cache, "web-1", 5, 0);
	assert_false(web()->peer_in_place);
	feed(NK_NSID_HOST, nsid_message(RTM_DELNSID, 5));
	/* Whatever gets that number next. */
	s.link_nsid = 5;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_false(web()->peer_in_place);
}

static void chains_are_kept_until_touched(void **state)
{
	struct nk_obs_chain a = one_link(100), b = one_link(101), c = one_link(102);
	uint32_t ifindex;

	feed_pair();
	nk_cache_set_chain(cache, nk_cache_touches(cache), 10, NK_HOOK_NETKIT_PRIMARY, &a);
	assert_null(a.links);
	assert_false(web()->chains_known);
	nk_cache_set_chain(cache, nk_cache_touches(cache), 10, NK_HOOK_NETKIT_PEER, &b);
	assert_true(web()->chains_known);
	nk_cache_set_chain(cache, nk_cache_touches(cache), 555, NK_HOOK_NETKIT_PEER, &c); /* unknown: freed */
	assert_null(c.links);
	assert_string_equal(nk_cache_link_owner(cache, 101, &ifindex), "web-1");
	assert_int_equal(ifindex, 10);
	assert_null(nk_cache_link_owner(cache, 102, &ifindex));
	assert_null(nk_cache_link_owner(cache, 0, &ifindex));
	memset(&told, 0, sizeof(told));
	nk_cache_chains_touched(cache, 10);
	assert_true(told_changed("web-1"));
	assert_false(web()->chains_known);
}

static void a_chain_that_was_touched_while_it_was_read_is_not_known(void **state)
{
	struct nk_obs_chain a = one_link(100), b = one_link(101), c = one_link(100), d = one_link(101);
	uint64_t as_of;

	feed_pair();
	as_of = nk_cache_touches(cache);
	nk_cache_chains_touched(cache, 10);
	nk_cache_set_chain(cache, as_of, 10, NK_HOOK_NETKIT_PRIMARY, &a);
	nk_cache_set_chain(cache, as_of, 10, NK_HOOK_NETKIT_PEER, &b);
	assert_false(web()->chains_known);
	as_of = nk_cache_touches(cache);
	nk_cache_set_chain(cache, as_of, 10, NK_HOOK_NETKIT_PRIMARY, &c);
	nk_cache_set_chain(cache, as_of, 10, NK_HOOK_NETKIT_PEER, &d);
	assert_true(web()->chains_known);
}

/* Both chains of the link with this number, each of one link: id and id + 1. */
static void set_tcx_chains(uint32_t ifindex, uint32_t id)
{
	struct nk_obs_chain in = one_link(id), out = one_link(id + 1);

	nk_cache_set_chain(cache, nk_cache_touches(cache), ifindex, NK_HOOK_TCX_INGRESS, &in);
	nk_cache_set_chain(cache, nk_cache_touches(cache), ifindex, NK_HOOK_TCX_EGRESS, &out);
}

static uint32_t ifindex_of(const char *name)
{
	const struct nk_obs_device *o = nk_cache_get(cache, name);

	return o ? o->end[NK_PRIMARY].ifindex : 0;
}

static void an_interface_is_whatever_has_the_name(void **state)
{
	struct link_spec a = { .ifindex = 20, .name = "eth0", .kind = "veth" }, b = { .ifindex = 21, .name = "eth1", .kind = "dummy" };
	struct nk_obs_chain netkit = one_link(9);
	uint32_t ifindex;

	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &a));
	assert_int_equal(ifindex_of("eth0"), 0); /* nobody asked */
	assert_int_equal(nk_cache_want_interface(cache, "eth0"), 0);
	assert_int_equal(nk_cache_want_interface(cache, "eth0"), 0);
	assert_int_equal(nk_cache_want_interface(cache, "eth1"), 0);
	assert_int_equal(ifindex_of("eth0"), 20);
	assert_true(nk_cache_get(cache, "eth0")->interface);
	assert_int_equal(ifindex_of("eth1"), 0);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &b));
	assert_true(told_changed("eth1"));
	assert_int_equal(ifindex_of("eth1"), 21);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &b));
	assert_int_equal(told.n_changed, 0); /* nothing of it that matters */
	feed(7, link_message(RTM_NEWLINK, &a)); /* of that name elsewhere */
	assert_int_equal(told.n_changed, 0);

	assert_false(nk_cache_get(cache, "eth0")->chains_known);
	nk_cache_set_chain(cache, nk_cache_touches(cache), 20, NK_HOOK_NETKIT_PRIMARY, &netkit); /* it has no such hook */
	assert_null(netkit.links);
	set_tcx_chains(20, 50);
	assert_true(nk_cache_get(cache, "eth0")->chains_known);
	assert_string_equal(nk_cache_link_owner(cache, 51, &ifindex), "eth0");
	assert_int_equal(ifindex, 20);
	nk_cache_chains_touched(cache, 20);
	assert_true(told_changed("eth0"));
	assert_false(nk_cache_get(cache, "eth0")->chains_known);
	set_tcx_chains(20, 50);

	/* The name passes on, in either order of the messages. */
	a.name = "eth9";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &a));
	assert_true(told_changed("eth0"));
	assert_int_equal(ifindex_of("eth0"), 0);
	assert_null(nk_cache_link_owner(cache, 51, &ifindex));
	b.name = "eth0";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &b));
	assert_true(told_changed("eth0") && told_changed("eth1"));
	assert_int_equal(ifindex_of("eth0"), 21);
	assert_int_equal(ifindex_of("eth1"), 0);
	assert_false(nk_cache_get(cache, "eth0")->chains_known);
	a.name = "eth0";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &a));
	assert_int_equal(ifindex_of("eth0"), 20);
	b.name = "eth1";
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &b));
	assert_int_equal(ifindex_of("eth0"), 20);
	assert_int_equal(ifindex_of("eth1"), 21);

	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &a));
	assert_true(told_changed("eth0"));
	assert_int_equal(ifindex_of("eth0"), 0);
	nk_cache_unwant_interface(cache, "eth1");
	assert_int_equal(ifindex_of("eth1"), 0);
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &b));
	assert_int_equal(told.n_changed, 0);
}

static void a_netkit_device_of_somebody_else_is_an_interface(void **state)
{
	struct link_spec s = primary_spec(), peer = { .ifindex = 11, .name = "lxc9", .peer = true, .link = 10 };
	const char *alias = s.alias;

	s.group = 0;
	s.alias = NULL;
	s.name = "lxc1";
	assert_int_equal(nk_cache_want_interface(cache, "lxc1"), 0);
	assert_int_equal(nk_cache_want_interface(cache, "lxc9"), 0);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_int_equal(ifindex_of("lxc1"), 10);
	/* Its peer is as well, until the pair is ours. */
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &peer));
	assert_int_equal(ifindex_of("lxc9"), 11);
	s.alias = alias;
	s.other_netns = false;
	s.link = 11;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_int_equal(ifindex_of("lxc1"), 0);
	assert_false(web()->interface);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &peer));
	assert_int_equal(ifindex_of("lxc9"), 0);
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &s));
	assert_int_equal(ifindex_of("lxc1"), 0);
}

static void all_chains_may_have_changed(void **state)
{
	struct link_spec a = { .ifindex = 20, .name = "eth0", .kind = "veth" };

	feed_pair();
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &a));
	assert_int_equal(nk_cache_want_interface(cache, "eth0"), 0);
	assert_int_equal(nk_cache_want_interface(cache, "eth1"), 0);
	set_tcx_chains(20, 50);
	memset(&told, 0, sizeof(told));
	nk_cache_all_touched(cache);
	assert_true(told_changed("web-1") && told_changed("eth0"));
	assert_int_equal(told.n_changed, 2);
	assert_false(nk_cache_get(cache, "eth0")->chains_known);
}

static void links_in_the_group_for_deletions(void **state)
{
	struct link_spec v = { .ifindex = 21, .name = "v", .kind = "dummy", .group = DOOMED };
	struct link_spec s = primary_spec(), peer = peer_spec();

	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	assert_int_equal(nk_cache_foreign_doomed(cache), 1);
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	assert_int_equal(nk_cache_foreign_doomed(cache), 1);
	feed(7, link_message(RTM_NEWLINK, &v)); /* groups are each namespace's own */
	assert_int_equal(nk_cache_foreign_doomed(cache), 1);
	peer.group = DOOMED;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &peer));
	assert_int_equal(nk_cache_foreign_doomed(cache), 2);
	feed(NK_NSID_HOST, link_message(RTM_DELLINK, &peer));
	v.group = 0;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &v));
	assert_int_equal(nk_cache_foreign_doomed(cache), 0);
	/* Ours, of a deletion that was cut short. */
	s.group = DOOMED;
	s.alias = NULL;
	feed(NK_NSID_HOST, link_message(RTM_NEWLINK, &s));
	assert_int_equal(nk_cache_foreign_doomed(cache), 0);
	assert_true(web()->marked && !web()->grouped);
}

static void bad_messages_are_counted(void **state)
{
	struct nlmsghdr *h = (struct nlmsghdr *)addr_message(RTM_NEWADDR, 2, "10.0.0.2/32", 110);

	h->nlmsg_len = NLMSG_LENGTH(2);
	assert_int_equal(nk_cache_feed(cache, h, 7), -EBADMSG);
	assert_int_equal(nk_cache_n_bad(cache), 1);
	h->nlmsg_type = RTM_NEWNEIGH;
	assert_int_equal(nk_cache_feed(cache, h, 7), 0);
	assert_int_equal(nk_cache_n_bad(cache), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(peer_may_come_first),
		TEST(peer_may_come_last),
		TEST(primary_may_learn_of_its_peer_later),
		TEST(peer_in_the_hosts_namespace),
		TEST(another_ones_peer_of_the_same_number),
		TEST(foreign_links_are_not_followed),
		TEST(names_that_become_free),
		TEST(names_that_are_taken),
		TEST(a_rename_keeps_the_owner),
		TEST(marks_taken_away_are_seen),
		TEST(alias_names_the_owner),
		TEST(two_of_one_name),
		TEST(addresses_are_kept),
		TEST(lists_have_an_end),
		TEST(routes_are_kept),
		TEST(routes_go_with_the_link_down),
		TEST(routes_go_with_their_source),
		TEST(ipv4_routes_go_with_the_last_address),
		TEST(routes_are_replaced),
		TEST(deletion_in_either_order),
		TEST(peer_moves_from_the_host),
		TEST(peer_moves_away),
		TEST(peer_moves_back_unseen),
		TEST(peer_moves_without_being_placed),
		TEST(primary_moves_away_and_back),
		TEST(a_namespace_dies),
		TEST(a_dead_namespace_is_nobodys_place),
		TEST(chains_are_kept_until_touched),
		TEST(a_chain_that_was_touched_while_it_was_read_is_not_known),
		TEST(an_interface_is_whatever_has_the_name),
		TEST(a_netkit_device_of_somebody_else_is_an_interface),
		TEST(all_chains_may_have_changed),
		TEST(links_in_the_group_for_deletions),
		TEST(bad_messages_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
