// SPDX-License-Identifier: GPL-2.0-only
/* Who fights for an object, with a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/contest.h"
#include "daemon/model/plan.h"

#define MIN_MS 100
#define MAX_MS 1000
#define MS 1000ull

static const struct nk_culprit ip = { .pid = 1, .uid = 0, .comm = "ip", .cgroup = "a.scope" };

/* Of random 0 nk_backoff_ms is three quarters of the whole. */
static uint32_t pause(struct nk_contest *c, const struct nk_culprit *who, uint32_t areas, uint64_t at_ms)
{
	return nk_contest_note(c, who, areas, at_ms * MS, MIN_MS, MAX_MS, 0)->pause_ms;
}

static void the_first_ones_do_not_wait(void **state)
{
	struct nk_contest *c = nk_contest_new();
	struct nk_culprit who = ip;
	uint64_t calm;

	for (uint32_t i = 0; i < NK_CONTEST_FREE; i++) {
		who.pid++; /* a loop has a new one each time */
		assert_int_equal(pause(c, &who, NK_DRIFT_PRIMARY, 1000 + i), 0);
		assert_null(nk_contest_fighter(c, (1000 + i) * MS, &calm));
	}
	assert_int_equal(pause(c, &ip, NK_DRIFT_PRIMARY, 1100), 75);
	assert_int_equal(pause(c, &ip, NK_DRIFT_PRIMARY, 1200), 150);
	assert_int_equal(pause(c, &ip, NK_DRIFT_PRIMARY, 1400), 300);
	for (int i = 0; i < 10; i++)
		pause(c, &ip, NK_DRIFT_PRIMARY, 2000 + i);
	assert_int_equal(pause(c, &ip, NK_DRIFT_PRIMARY, 2100), 750);
	assert_int_equal(nk_contest_fighter(c, 2200 * MS, &calm)->count, NK_CONTEST_FREE + 14);
	assert_int_equal(nk_contest_fighter(c, 2200 * MS, &calm)->since_us, 1000 * MS);
	nk_contest_free(c);
}

static void it_is_forgotten_after_a_quiet_time(void **state)
{
	struct nk_contest *c = nk_contest_new();
	uint64_t calm = 0;

	for (int i = 0; i < 4; i++)
		pause(c, &ip, NK_DRIFT_PRIMARY, 1000);
	assert_non_null(nk_contest_fighter(c, 2000 * MS, &calm));
	assert_int_equal(calm, (1000 + NK_CONTEST_CALM_MS + 2 * 75) * MS);
	assert_non_null(nk_contest_fighter(c, calm - 1, &calm));
	assert_null(nk_contest_fighter(c, calm, &calm));
	assert_int_equal(nk_contest_last(c)->count, 4);
	/* Within the time it goes on, after it it begins anew. */
	assert_int_equal(pause(c, &ip, NK_DRIFT_PRIMARY, calm / MS), 150);
	assert_int_equal(pause(c, &ip, NK_DRIFT_PRIMARY, calm / MS + NK_CONTEST_CALM_MS + 301), 0);
	nk_contest_free(c);
}

static void others_do_not_pay_for_it(void **state)
{
	struct nk_culprit user = ip, group = ip, command = ip;
	struct nk_contest *c = nk_contest_new();

	user.uid = 1000;
	strcpy(group.cgroup, "b.scope");
	strcpy(command.comm, "tc");
	for (int i = 0; i < 6; i++)
		pause(c, &ip, NK_DRIFT_PEER, 1000);
	assert_int_equal(pause(c, &user, NK_DRIFT_PEER, 1001), 0);
	assert_int_equal(pause(c, &group, NK_DRIFT_PEER, 1002), 0);
	/* Nor does another part of the object. */
	assert_int_equal(pause(c, &ip, NK_DRIFT_CHAIN, 1003), 0);
	assert_true(pause(c, &ip, NK_DRIFT_PEER, 1004) > 0);
	/* Of more than there is room for, who was quiet longest is forgotten. */
	assert_int_equal(pause(c, &command, NK_DRIFT_PEER, 1005), 0);
	assert_true(pause(c, &ip, NK_DRIFT_PEER, 1006) > 0);
	nk_contest_free(c);
}

static void nobody_knows_who(void **state)
{
	struct nk_contest *c = nk_contest_new();
	uint64_t calm;

	for (int i = 0; i < 3; i++)
		assert_int_equal(pause(c, NULL, NK_DRIFT_CHAIN, 1000), 0);
	assert_true(pause(c, NULL, NK_DRIFT_CHAIN, 1000) > 0);
	assert_string_equal(nk_contest_fighter(c, 1001 * MS, &calm)->who.comm, "");
	assert_int_equal(pause(c, NULL, NK_DRIFT_PEER, 1000), 0);
	nk_contest_free(c);
	assert_null(nk_contest_fighter(NULL, 0, &calm));
	assert_null(nk_contest_last(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_ones_do_not_wait),
		cmocka_unit_test(it_is_forgotten_after_a_quiet_time),
		cmocka_unit_test(others_do_not_pay_for_it),
		cmocka_unit_test(nobody_knows_who),
	};

	return cmocka_run_group_tests_name("contest", tests, NULL, NULL);
}
