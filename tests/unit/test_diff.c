// SPDX-License-Identifier: GPL-2.0-only
/* Diff by example: what a person would expect to happen, operation by operation, as nk_op_describe tells it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "build.h"
#include "world.h"

/* The device of these tests: an address and a route on each end, and two programs behind one another at the peer's hook. */
static struct nk_device *web(void)
{
	struct nk_device *d = build_device("web-1", "one");

	build_address(d, NK_PRIMARY, "10.0.0.1/32");
	build_route(d, NK_PRIMARY, "10.0.0.2/32", NULL, NULL);
	build_address(d, NK_PEER, "10.0.0.2/32");
	build_address(d, NK_PEER, "fd00::2/128");
	build_route(d, NK_PEER, "0.0.0.0/0", "10.0.0.1", NULL);
	build_route(d, NK_PEER, "10.0.0.1/32", NULL, NULL);
	build_attachment(d, "acct", "p0", NK_HOOK_NETKIT_PEER, false);
	build_attachment(d, "fw", "p1", NK_HOOK_NETKIT_PEER, false);
	nk_device_normalise(d);
	return d;
}

static struct world empty_world(void)
{
	struct world w = { .prog_id = { 100, 101, 102, 103, 104, 105 } };

	return w;
}

/* The plan as text, one operation a line, run on the way; checks the verdict. The text is good until the next call. */
static const char *happens(const struct nk_device *d, struct world *w, enum nk_verdict expected)
{
	const struct nk_diff_env env = { world_prog_id, world_pin_prog, w };
	static char text[4096];
	struct nk_plan plan = { 0 };
	enum nk_verdict verdict;
	char line[200];
	size_t len = 0;

	text[0] = '\0';
	assert_int_equal(nk_diff(d, w->exists ? &w->o : NULL, &env, &plan, &verdict), 0);
	assert_string_equal(nk_verdict_name(verdict), nk_verdict_name(expected));
	nk_plan_order(&plan);
	for (size_t i = 0; i < plan.n; i++) {
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", nk_op_describe(&plan.ops[i], line, sizeof(line)));
		world_apply(w, &plan.ops[i]);
	}
	nk_plan_clear(&plan);
	return text;
}

/* A world in which d is real. */
static struct world real(const struct nk_device *d)
{
	struct world w = empty_world();

	happens(d, &w, NK_VERDICT_CREATE);
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	return w;
}

static void finish(struct nk_device *d, struct world *w)
{
	nk_device_unref(d);
	world_clear(w);
}

static void a_new_device_is_opened_last(void **state)
{
	struct nk_device *d = web();
	struct world w = empty_world();

	assert_string_equal(happens(d, &w, NK_VERDICT_CREATE),
			    "create web-1\n"
			    "attach acct (program p0) at netkit/peer of web-1\n"
			    "attach fw (program p1) at netkit/peer of web-1\n"
			    "add address 10.0.0.1/32 to web-1\n"
			    "add address 10.0.0.2/32 to the peer of web-1\n"
			    "add address fd00::2/128 to the peer of web-1\n"
			    "add route 10.0.0.1/32 to the peer of web-1\n"
			    "add route 0.0.0.0/0 via 10.0.0.1 to the peer of web-1\n"
			    "open web-1\n"
			    "add route 10.0.0.2/32 to web-1\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	finish(d, &w);
}

static void a_new_device_waits_for_its_programs(void **state)
{
	struct nk_device *d = web();
	struct world w = empty_world();

	w.prog_id[1] = 0;
	assert_string_equal(happens(d, &w, NK_VERDICT_BLOCKED), "");
	finish(d, &w);
}

static void a_lost_link_comes_back_in_its_place(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	world_link_remove(&w, NK_HOOK_NETKIT_PEER, 0);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "attach acct (program p0) at netkit/peer of web-1, before program 101\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	finish(d, &w);
}

static void a_lost_required_link_closes_the_device(void **state)
{
	struct nk_device *d = web();
	struct world w;

	d->attachments[1].required = true;
	w = real(d);
	world_link_remove(&w, NK_HOOK_NETKIT_PEER, 1);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "close web-1\n"
							       "attach fw (program p1) at netkit/peer of web-1\n"
							       "open web-1\n"
							       "add route 10.0.0.2/32 to web-1\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	world_link_remove(&w, NK_HOOK_NETKIT_PEER, 1);
	w.prog_id[1] = 0;
	assert_string_equal(happens(d, &w, NK_VERDICT_BLOCKED), "close web-1\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_BLOCKED), "");
	finish(d, &w);
}

static void a_program_is_exchanged_in_place(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	w.prog_id[0] = 300;
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "update acct (to program p0) at netkit/peer of web-1\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	finish(d, &w);
}

static void another_order_is_made_while_packets_pass(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);
	struct nk_attachment first = d->attachments[0];

	d->attachments[0] = d->attachments[1];
	d->attachments[1] = first;
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "move acct at netkit/peer of web-1 to the end\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	finish(d, &w);
}

/* The sentence about what can't be met, or "". Good until the next call. */
static const char *unmet(const struct nk_device *d, struct world *w, bool *ret_pin)
{
	const struct nk_diff_env env = { world_prog_id, world_pin_prog, w };
	static char text[300];

	return nk_diff_unmet(d, &w->o, &env, text, sizeof(text), ret_pin) ? text : "";
}

static void a_program_of_somebody_else_takes_its_side(void **state)
{
	struct nk_device *d = web();
	struct nk_attachment *fw = &d->attachments[1];
	struct world w;
	bool pin;

	fw->after = calloc(2, sizeof(*fw->after));
	fw->n_after = 2;
	fw->after[0] = (struct nk_anchor){ .kind = NK_ANCHOR_ID, .id = 999 };
	fw->after[1] = (struct nk_anchor){ .kind = NK_ANCHOR_PIN, .text = strdup("/p1001") };
	w = real(d); /* in their order, as if nothing was said */
	assert_string_equal(unmet(d, &w, &pin), "attachment fw is in the chain, but not where it should be: program 999 is not there (and 1 "
						"more)");
	assert_true(pin);
	world_link_insert(&w, NK_HOOK_NETKIT_PEER, 2, "", 999);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "move fw at netkit/peer of web-1 to the end\n");
	world_link_insert(&w, NK_HOOK_NETKIT_PEER, 0, "", 1001);
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	assert_string_equal(unmet(d, &w, &pin), "");
	finish(d, &w);
}

static void an_order_that_needs_a_full_chain_is_made_while_closed(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	for (uint32_t i = 2; i < NK_CHAIN_MAX; i++)
		world_link_insert(&w, NK_HOOK_NETKIT_PEER, i, "", 1000 + i);
	d->attachments[1].first = true;
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "close web-1\n"
							       "detach acct at netkit/peer of web-1\n"
							       "attach acct (program p0) at netkit/peer of web-1\n"
							       "open web-1\n"
							       "add route 10.0.0.2/32 to web-1\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	finish(d, &w);
}

static void a_replacement_is_attached_before_the_old_goes(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	strcpy(d->attachments[1].name, "lb");
	strcpy(d->attachments[1].program, "p2");
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "attach lb (program p2) at netkit/peer of web-1\n"
							       "detach fw at netkit/peer of web-1\n");
	finish(d, &w);
}

static void two_names_for_one_program_do_not_close_the_device(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	/* Two pins of one program: the kernel refuses the second attachment, and that is all that may happen. */
	build_attachment(d, "again", "p2", NK_HOOK_NETKIT_PEER, false);
	w.prog_id[2] = w.prog_id[0];
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "attach again (program p2) at netkit/peer of web-1\n");
	finish(d, &w);
}

static void a_laxer_policy_comes_with_its_program(void **state)
{
	struct nk_device *d = web();
	struct world w;

	d->end[NK_PEER].policy = NK_POLICY_DROP;
	d->n_attachments = 0;
	w = real(d);
	d->end[NK_PEER].policy = NK_POLICY_PASS;
	d->n_attachments = 1;
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "attach acct (program p0) at netkit/peer of web-1\n"
							       "set the peer's policy of web-1\n");
	d->end[NK_PEER].policy = NK_POLICY_DROP;
	d->n_attachments = 0;
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "set the peer's policy of web-1\n"
							       "detach acct at netkit/peer of web-1\n");
	finish(d, &w);
}

static void what_somebody_broke_is_put_back(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	strcpy(w.o.end[NK_PRIMARY].name, "oops");
	world_addr_remove(&w, NK_PEER, &d->end[NK_PEER].addrs[0]);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE),
			    "set name of web-1\n"
			    "add address 10.0.0.2/32 to the peer of web-1\n"
			    "add route 10.0.0.1/32 to the peer of web-1\n" /* went with the last IPv4 address */
			    "add route 0.0.0.0/0 via 10.0.0.1 to the peer of web-1\n");
	world_down(&w, NK_PRIMARY);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "open web-1\nadd route 10.0.0.2/32 to web-1\n");
	world_down(&w, NK_PEER);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE),
			    "set up of the peer of web-1\n"
			    "add address fd00::2/128 to the peer of web-1\n"
			    "add route 10.0.0.1/32 to the peer of web-1\n"
			    "add route 0.0.0.0/0 via 10.0.0.1 to the peer of web-1\n");
	finish(d, &w);
}

static void what_is_for_life_is_created_anew(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	d->mode = NK_MODE_L2;
	assert_non_null(strstr(happens(d, &w, NK_VERDICT_RECREATE), "delete web-1\ncreate web-1\n"));
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	w.o.peer_in_place = false;
	w.prog_id[0] = 0;
	assert_string_equal(happens(d, &w, NK_VERDICT_BLOCKED), "");
	w.prog_id[0] = 100;
	happens(d, &w, NK_VERDICT_RECREATE);
	finish(d, &w);
}

static void room_is_a_minimum(void **state)
{
	struct nk_device *d = web();
	struct world w;

	(void)state;
	d->has_headroom = d->has_tailroom = true;
	d->headroom = d->tailroom = 64;
	w = real(d);
	w.o.headroom = 200;
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	w.o.headroom = 63;
	assert_non_null(strstr(happens(d, &w, NK_VERDICT_RECREATE), "delete web-1\ncreate web-1\n"));
	w.o.tailroom = 0;
	assert_non_null(strstr(happens(d, &w, NK_VERDICT_RECREATE), "delete web-1\ncreate web-1\n"));
	finish(d, &w);
}

static void foreign_things_are_left_alone(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);
	struct nk_prefix p;
	struct nk_route r = { 0 };

	nk_prefix_parse("192.0.2.1/24", &p);
	world_addr_add(&w, NK_PEER, &p, false);
	nk_prefix_parse("198.51.100.0/24", &r.to);
	world_route_add(&w, NK_PRIMARY, &r, false);
	world_link_insert(&w, NK_HOOK_NETKIT_PEER, 1, "", 999);
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	world_addr_add(&w, NK_PRIMARY, &p, true);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "remove address 192.0.2.1/24 from web-1\n");

	w.o.grouped = false; /* the mark comes back */
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "set group of web-1\n");
	w.o.marked = false;
	assert_string_equal(happens(d, &w, NK_VERDICT_CONFLICT), "");
	assert_string_equal(happens(NULL, &w, NK_VERDICT_OK), "");
	w.o.marked = true;
	strcpy(w.o.owner, "web-2");
	assert_string_equal(happens(d, &w, NK_VERDICT_CONFLICT), "");
	assert_string_equal(happens(NULL, &w, NK_VERDICT_DELETE), "delete web-2\n");
	finish(d, &w);
}

static void what_stands_in_the_way_does_not_stop_the_rest(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);
	struct nk_route r = { 0 };

	world_down(&w, NK_PEER);
	world_up(&w, NK_PEER);
	nk_prefix_parse("0.0.0.0/0", &r.to);
	world_route_add(&w, NK_PEER, &r, false); /* the container's own default route */
	world_down(&w, NK_PRIMARY);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE),
			    "add address fd00::2/128 to the peer of web-1\n"
			    "add route 10.0.0.1/32 to the peer of web-1\n"
			    "open web-1\n"
			    "add route 10.0.0.2/32 to web-1\n"
			    "add route 0.0.0.0/0 via 10.0.0.1 to the peer of web-1\n");
	finish(d, &w);
}

static void unknown_chains_are_read_first(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	w.o.chains_known = false;
	world_link_remove(&w, NK_HOOK_NETKIT_PEER, 0);
	assert_string_equal(happens(d, &w, NK_VERDICT_INSPECT), "inspect web-1\n");
	happens(d, &w, NK_VERDICT_CHANGE);
	finish(d, &w);
}

static void an_unseen_peer_is_left_alone(void **state)
{
	struct nk_device *d = web();
	struct world w = real(d);

	world_addr_remove(&w, NK_PEER, &d->end[NK_PEER].addrs[0]);
	w.o.end[NK_PEER].details = false;
	world_link_remove(&w, NK_HOOK_NETKIT_PEER, 1);
	assert_string_equal(happens(d, &w, NK_VERDICT_BLOCKED), "attach fw (program p1) at netkit/peer of web-1\n");
	finish(d, &w);
}

/* An interface with two programs at each of its hooks. */
static struct nk_device *uplink(void)
{
	struct nk_device *d = build_device("eth0", NULL);

	d->interface = true;
	build_attachment(d, "acct", "p0", NK_HOOK_TCX_INGRESS, false);
	build_attachment(d, "fw", "p1", NK_HOOK_TCX_INGRESS, false);
	build_attachment(d, "out", "p0", NK_HOOK_TCX_EGRESS, false);
	nk_device_normalise(d);
	return d;
}

static void an_interface_is_only_attached_to(void **state)
{
	struct nk_device *d = uplink();
	struct world w = empty_world();

	assert_string_equal(happens(d, &w, NK_VERDICT_ABSENT), "");
	world_make_interface(&w, "eth0");
	world_link_insert(&w, NK_HOOK_TCX_INGRESS, 0, "", 999);
	w.o.chains_known = false;
	assert_string_equal(happens(d, &w, NK_VERDICT_INSPECT), "unpin what is left of eth0\ninspect eth0\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "attach acct (program p0) at tcx/ingress of eth0\n"
							       "attach fw (program p1) at tcx/ingress of eth0\n"
							       "attach out (program p0) at tcx/egress of eth0\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	world_link_remove(&w, NK_HOOK_TCX_INGRESS, 1);
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "attach acct (program p0) at tcx/ingress of eth0, before program 101\n");
	w.prog_id[1] = 0;
	assert_string_equal(happens(d, &w, NK_VERDICT_BLOCKED), "");
	w.prog_id[1] = 105;
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "update fw (to program p1) at tcx/ingress of eth0\n");
	/* A chain that a device would be closed for. */
	memcpy(d->attachments[0].program, "p1", sizeof("p1"));
	memcpy(d->attachments[1].program, "p0", sizeof("p0"));
	assert_string_equal(happens(d, &w, NK_VERDICT_CHANGE), "detach acct at tcx/ingress of eth0\n"
							       "detach fw at tcx/ingress of eth0\n"
							       "attach acct (program p1) at tcx/ingress of eth0\n"
							       "attach fw (program p0) at tcx/ingress of eth0\n");
	assert_string_equal(happens(d, &w, NK_VERDICT_OK), "");
	assert_string_equal(happens(NULL, &w, NK_VERDICT_DELETE), "unpin what is left of eth0\n");
	assert_int_equal(w.o.chain[NK_HOOK_TCX_INGRESS].n, 1);
	assert_int_equal(w.o.chain[NK_HOOK_TCX_INGRESS].links[0].prog_id, 999);
	assert_int_equal(w.o.chain[NK_HOOK_TCX_EGRESS].n, 0);
	assert_false(w.touched_foreign);
	finish(d, &w);
}

static void a_device_is_no_interface(void **state)
{
	struct nk_device *d = build_device("eth0", "one"), *interface = uplink();
	struct world w = real(d);

	assert_string_equal(happens(interface, &w, NK_VERDICT_CONFLICT), "");
	world_clear(&w);
	w = empty_world();
	world_make_interface(&w, "eth0");
	assert_string_equal(happens(d, &w, NK_VERDICT_CONFLICT), "");
	nk_device_unref(interface);
	finish(d, &w);
}

static void the_order_of_phases_is_stable(void **state)
{
	static const uint8_t phases[] = { 9, 3, 3, 0, 9, 8, 3, 0 };
	struct nk_plan plan = { 0 };

	for (uint32_t i = 0; i < sizeof(phases); i++) {
		struct nk_op op = { .phase = phases[i], .ifindex = i };

		assert_int_equal(nk_plan_add(&plan, &op), 0);
	}
	nk_plan_order(&plan);
	for (size_t i = 1; i < plan.n; i++)
		assert_true(plan.ops[i - 1].phase < plan.ops[i].phase ||
			    (plan.ops[i - 1].phase == plan.ops[i].phase && plan.ops[i - 1].ifindex < plan.ops[i].ifindex));
	nk_plan_clear(&plan);
}

static void a_description_is_cut_where_the_room_ends(void **state)
{
	struct nk_op op = { .kind = NK_OP_SET, .what = NK_SET_MTU | NK_SET_NAME | NK_SET_GSO_MAX, .end = NK_PEER, .name = "web-1" };
	char whole[100], part[10];

	assert_string_equal(nk_op_describe(&op, whole, sizeof(whole)), "set name, MTU, GSO maximum of the peer of web-1");
	assert_string_equal(nk_op_describe(&op, part, sizeof(part)), "set name,");
}

/* What was done to a device that was right, as the world is now. */
static const char *done(const struct nk_device *d, struct world *w, bool moved, uint32_t areas)
{
	const struct nk_diff_env env = { world_prog_id, world_pin_prog, w };
	static char text[300];
	struct nk_plan plan = { 0 };
	enum nk_verdict verdict;
	size_t more;

	assert_int_equal(nk_diff(d, w->exists ? &w->o : NULL, &env, &plan, &verdict), 0);
	assert_true(plan.n > 0);
	nk_drift_describe(plan.ops, plan.n, w->exists ? &w->o : NULL, moved, text, sizeof(text) - 20, &more);
	if (more)
		sprintf(text + strlen(text), " +%zu", more);
	assert_int_equal(nk_drift_areas(plan.ops, plan.n), areas);
	nk_plan_clear(&plan);
	return text;
}

static void what_was_done_is_told(void **state)
{
	struct world w = empty_world();
	struct nk_device *d = web();
	struct nk_obs_end *end = w.o.end;

	assert_string_equal(done(d, &w, false, NK_DRIFT_DEVICE), "device web-1 was deleted");
	happens(d, &w, NK_VERDICT_CREATE);

	end[NK_PRIMARY].up = false;
	assert_string_equal(done(d, &w, false, NK_DRIFT_PRIMARY), "device web-1 was taken down");
	/* Its routes went with it. */
	end[NK_PRIMARY].n_routes = 0;
	assert_string_equal(done(d, &w, false, NK_DRIFT_PRIMARY), "device web-1 was taken down");
	happens(d, &w, NK_VERDICT_CHANGE);

	end[NK_PEER].up = false;
	end[NK_PEER].n_routes = 0;
	assert_string_equal(done(d, &w, false, NK_DRIFT_PEER), "the peer of web-1 was taken down");
	happens(d, &w, NK_VERDICT_CHANGE);

	strcpy(end[NK_PRIMARY].name, "other");
	assert_string_equal(done(d, &w, false, NK_DRIFT_PRIMARY), "device web-1 was renamed");
	happens(d, &w, NK_VERDICT_CHANGE);
	end[NK_PRIMARY].policy = NK_POLICY_DROP;
	end[NK_PEER].policy = NK_POLICY_DROP;
	assert_string_equal(done(d, &w, false, NK_DRIFT_PRIMARY), "policy, the peer's policy of web-1 were changed");
	happens(d, &w, NK_VERDICT_CHANGE);

	end[NK_PEER].n_addrs = 0;
	assert_string_equal(done(d, &w, false, NK_DRIFT_PEER), "address 10.0.0.2/32 on the peer of web-1 was removed +1");
	happens(d, &w, NK_VERDICT_CHANGE);
	end[NK_PEER].n_routes--;
	assert_string_equal(done(d, &w, false, NK_DRIFT_PEER), "route 0.0.0.0/0 via 10.0.0.1 on the peer of web-1 was removed");
	happens(d, &w, NK_VERDICT_CHANGE);

	w.o.chain[NK_HOOK_NETKIT_PEER].n--;
	end[NK_PEER].n_routes--;
	assert_string_equal(done(d, &w, false, NK_DRIFT_CHAIN | NK_DRIFT_PEER), "attachment fw on web-1 was detached +1");
	happens(d, &w, NK_VERDICT_CHANGE);
	w.o.chain[NK_HOOK_NETKIT_PEER].links[0].prog_id = 77;
	assert_string_equal(done(d, &w, false, NK_DRIFT_CHAIN), "attachment acct on web-1 was given another program");
	happens(d, &w, NK_VERDICT_CHANGE);

	w.o.peer_in_place = false;
	assert_string_equal(done(d, &w, false, NK_DRIFT_DEVICE), "the peer of web-1 was moved to another namespace");
	/* One that is not to be seen went with its device, or to where nobody looks. */
	end[NK_PEER].ifindex = 0;
	assert_string_equal(done(d, &w, false, NK_DRIFT_DEVICE), "device web-1 was deleted");
	assert_string_equal(done(d, &w, true, NK_DRIFT_DEVICE), "the peer of web-1 was moved to another namespace");
	finish(d, &w);
}

static void of_a_program_its_pin_is_told(void **state)
{
	struct nk_program *p = nk_program_new();
	struct nk_op op = { .kind = NK_OP_LOAD, .what = NK_LOAD_PIN, .prog = p };
	char text[100];
	size_t more;

	strcpy(p->name, "fw");
	assert_string_equal(nk_drift_describe(&op, 1, NULL, false, text, sizeof(text), &more), "the pin of program fw was removed");
	assert_int_equal(more, 0);
	assert_int_equal(nk_drift_areas(&op, 1), NK_DRIFT_PIN);
	nk_program_unref(p);
}

/* That it has to be closed before the lost program comes back is our doing, and no further drift. */
static void closing_is_not_told(void **state)
{
	struct world w = empty_world();
	struct nk_device *d = build_device("web-1", "one");

	build_address(d, NK_PRIMARY, "fd00::1/128");
	build_route(d, NK_PRIMARY, "fd00::2/128", NULL, NULL);
	build_attachment(d, "fw", "p1", NK_HOOK_NETKIT_PEER, true);
	nk_device_normalise(d);
	happens(d, &w, NK_VERDICT_CREATE);
	w.o.chain[NK_HOOK_NETKIT_PEER].n = 0;
	assert_string_equal(done(d, &w, false, NK_DRIFT_CHAIN | NK_DRIFT_PRIMARY), "attachment fw on web-1 was detached");
	finish(d, &w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_device_is_opened_last),
		cmocka_unit_test(a_new_device_waits_for_its_programs),
		cmocka_unit_test(a_lost_link_comes_back_in_its_place),
		cmocka_unit_test(a_lost_required_link_closes_the_device),
		cmocka_unit_test(a_program_is_exchanged_in_place),
		cmocka_unit_test(another_order_is_made_while_packets_pass),
		cmocka_unit_test(a_program_of_somebody_else_takes_its_side),
		cmocka_unit_test(an_order_that_needs_a_full_chain_is_made_while_closed),
		cmocka_unit_test(a_replacement_is_attached_before_the_old_goes),
		cmocka_unit_test(two_names_for_one_program_do_not_close_the_device),
		cmocka_unit_test(a_laxer_policy_comes_with_its_program),
		cmocka_unit_test(what_somebody_broke_is_put_back),
		cmocka_unit_test(what_is_for_life_is_created_anew),
		cmocka_unit_test(room_is_a_minimum),
		cmocka_unit_test(foreign_things_are_left_alone),
		cmocka_unit_test(what_stands_in_the_way_does_not_stop_the_rest),
		cmocka_unit_test(unknown_chains_are_read_first),
		cmocka_unit_test(an_unseen_peer_is_left_alone),
		cmocka_unit_test(an_interface_is_only_attached_to),
		cmocka_unit_test(a_device_is_no_interface),
		cmocka_unit_test(the_order_of_phases_is_stable),
		cmocka_unit_test(what_was_done_is_told),
		cmocka_unit_test(of_a_program_its_pin_is_told),
		cmocka_unit_test(closing_is_not_told),
		cmocka_unit_test(a_description_is_cut_where_the_room_ends),
	};

	return cmocka_run_group_tests_name("diff", tests, NULL, NULL);
}
