// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of chains, by example. test_chain_random.c tries random ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "build.h"
#include "chain_fixture.h"
#include "daemon/model/document.h"
#include "generate.h"

static void unless_told_otherwise_as_listed(void **state)
{
	struct chain *c = new_chain(3);

	becomes(c, "", "abc", "");
	becomes(c, "cba", "abc", "a");
	becomes(c, "bca", "abc", "bc");
	free_chain(c);
}

static void the_smaller_priority_stands_first(void **state)
{
	struct chain *c = new_chain(4);

	att(c, 'a')->priority = 10;
	att(c, 'c')->priority = -1;
	becomes(c, "", "cbda", "");
	free_chain(c);
}

static void who_says_before_or_after_moves(void **state)
{
	struct chain *c = new_chain(4);

	say(c, 'd', true, "a");
	becomes(c, "", "dabc", "");
	say(c, 'b', false, "c");
	becomes(c, "", "dacb", "");
	free_chain(c);

	c = new_chain(5);
	say(c, 'e', true, "b");
	say(c, 'd', true, "e");
	becomes(c, "", "adebc", "");
	free_chain(c);
}

static void others_give_way_where_nothing_else_will_do(void **state)
{
	struct chain *c = new_chain(3);

	say(c, 'b', false, "c");
	say(c, 'b', true, "a");
	becomes(c, "", "cba", "");
	free_chain(c);
}

static void first_and_last_hold_for_foreign_programs_too(void **state)
{
	struct chain *c = new_chain(3);

	att(c, 'c')->first = true;
	att(c, 'a')->last = true;
	becomes(c, "12", "c12ba", "");
	becomes(c, "c1ba2", "c1b2a", "cb");
	free_chain(c);
}

static void foreign_programs_keep_their_places(void **state)
{
	struct chain *c = new_chain(2);

	becomes(c, "1a2b3", "1a2b3", "ab");
	becomes(c, "1b2a3", "12a3b", "a");
	free_chain(c);
}

static void foreign_programs_can_be_named(void **state)
{
	struct chain *c = new_chain(3);

	say(c, 'a', false, "1003");
	say(c, 'b', false, "#1"); /* 0 and 1 */
	say(c, 'c', true, "/p1002");
	becomes(c, "0123", "01c23ab", "");
	assert_int_equal(resolve(c).goal.n_unmet, 0);
	becomes(c, "ab0", "a0bc", "a");
	assert_int_equal(resolve(c).goal.n_unmet, 2);
	assert_true(resolve(c).goal.unmet_absent);
	assert_true(resolve(c).goal.unmet_pin);
	free_chain(c);
}

static void what_contradicts_the_foreign_order_is_left_out(void **state)
{
	struct chain *c = new_chain(2);

	say(c, 'b', true, "1000");
	say(c, 'b', true, "a");
	say(c, 'a', true, "1001");
	say(c, 'a', false, "1002");
	becomes(c, "012", "b0a12", "");
	assert_int_equal(resolve(c).goal.n_unmet, 1);
	assert_false(resolve(c).goal.unmet_absent);
	assert_false(resolve(c).goal.unmet_pin);
	assert_string_equal(resolve(c).goal.unmet_of->name, "a");
	assert_int_equal(resolve(c).goal.unmet->id, 1002);
	becomes(c, "021", "b02a1", "");
	assert_int_equal(resolve(c).goal.n_unmet, 0);
	free_chain(c);
}

static void a_circle_is_told_by_its_shortest_way(void **state)
{
	struct nk_chain_demand ring[NK_CHAIN_MAX];
	struct chain *c = new_chain(5);

	say(c, 'a', true, "b");
	say(c, 'b', true, "c");
	say(c, 'd', false, "c");
	assert_int_equal(circle(c, ring), 0);
	say(c, 'a', false, "d");
	assert_int_equal(circle(c, ring), 4);
	say(c, 'c', true, "b");
	assert_int_equal(circle(c, ring), 2);
	assert_int_equal(ring[0].from, 1);
	assert_int_equal(ring[0].to, 2);
	assert_int_equal(ring[1].to, 1);
	free_chain(c);

	c = new_chain(2);
	att(c, 'a')->last = true;
	say(c, 'a', true, "b");
	assert_int_equal(circle(c, ring), 2);
	free_chain(c);
}

static void the_longest_chain_is_put_in_order(void **state)
{
	struct chain *c = new_chain(0);

	for (uint32_t i = 0; i < NK_CHAIN_MAX; i++) {
		char name[NK_NAME_MAX];
		struct nk_attachment *a;

		snprintf(name, sizeof(name), "x%u", i);
		build_attachment(c->d, name, name, NK_HOOK_NETKIT_PEER, false);
		a = &c->d->attachments[i];
		if (!i)
			continue;
		a->before = calloc(1, sizeof(*a->before));
		assert_non_null(a->before);
		snprintf(name, sizeof(name), "x%u", i - 1);
		a->before[0].text = strdup(name);
		a->n_before = 1;
	}
	for (uint32_t k = 0; k < NK_CHAIN_MAX; k++)
		c->links[k].prog_id = 1000 + k;
	c->obs.n = NK_CHAIN_MAX;
	c->d->attachments[NK_CHAIN_MAX - 1].after = calloc(1, sizeof(struct nk_anchor));
	assert_non_null(c->d->attachments[NK_CHAIN_MAX - 1].after);
	c->d->attachments[NK_CHAIN_MAX - 1].after[0] = (struct nk_anchor){ .kind = NK_ANCHOR_ID, .id = 1000 + NK_CHAIN_MAX - 1 };
	c->d->attachments[NK_CHAIN_MAX - 1].n_after = 1;

	struct nk_chain_goal goal = resolve(c).goal;

	assert_int_equal(goal.n, 2 * NK_CHAIN_MAX);
	for (uint32_t k = 0; k < NK_CHAIN_MAX; k++) {
		assert_int_equal(goal.entry[k].want, -1);
		assert_int_equal(goal.entry[NK_CHAIN_MAX + k].want, NK_CHAIN_MAX - 1 - k);
	}
	free_chain(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unless_told_otherwise_as_listed),
		cmocka_unit_test(the_smaller_priority_stands_first),
		cmocka_unit_test(who_says_before_or_after_moves),
		cmocka_unit_test(others_give_way_where_nothing_else_will_do),
		cmocka_unit_test(first_and_last_hold_for_foreign_programs_too),
		cmocka_unit_test(foreign_programs_keep_their_places),
		cmocka_unit_test(foreign_programs_can_be_named),
		cmocka_unit_test(what_contradicts_the_foreign_order_is_left_out),
		cmocka_unit_test(a_circle_is_told_by_its_shortest_way),
		cmocka_unit_test(the_longest_chain_is_put_in_order),
	};

	return cmocka_run_group_tests_name("chain_order", tests, NULL, NULL);
}
