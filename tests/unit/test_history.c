// SPDX-License-Identifier: GPL-2.0-only
/*
 * The history of events when the database can't be written for a while: what was lost then is told to be missing, and numbers stay
 * unique as soon as it can be written again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/history.h"
#include "fault_vfs.h"
#include "store_help.h"

static struct event_base *base;
static struct nk_store *store;
static struct nk_history *history;

/* The number of the newest event of all runs. */
static uint64_t open_history(void)
{
	uint64_t seq;

	base = event_base_new();
	store = open_store();
	assert_int_equal(nk_history_new(base, store, &seq, &history), 0);
	return seq;
}

static void close_history(uint64_t seq)
{
	history = nk_history_free(history, seq);
	store = nk_store_close(store);
	event_base_free(base);
}

static void keep(uint64_t first, uint64_t last)
{
	char text[32];

	for (uint64_t seq = first; seq <= last; seq++) {
		snprintf(text, sizeof(text), "\"e%d\"", (int)seq);
		nk_history_keep(history, seq, strdup(text));
	}
}

struct range {
	uint64_t first, last;
	size_t n;
};

static int note(uint64_t seq, const char *json, void *arg)
{
	struct range *r = arg;

	r->first = r->n ? r->first : seq;
	r->last = seq;
	r->n++;
	return 0;
}

/* All n that are kept, and from which number on it is said to be whole. */
static void assert_kept(uint64_t first, uint64_t last, size_t n, uint64_t whole_from)
{
	struct range r = { 0 };
	uint64_t from = 0;

	assert_int_equal(nk_history_each(history, 0, note, &r, &from), 0);
	assert_int_equal(r.n, n);
	assert_int_equal(r.first, first);
	assert_int_equal(r.last, last);
	assert_int_equal(from, whole_from);
}

/* As a full disk has it; the first write fails, and with it all that waits. */
static void lose(uint64_t first, uint64_t last)
{
	keep(first, last);
	nk_fault_arm(NK_FAULT_WRITE, 1, SQLITE_FULL);
}

static void test_what_was_lost_is_told(void **state)
{
	assert_int_equal(open_history(), 0);
	keep(1, 10);
	assert_kept(1, 10, 10, 1);
	assert_null(nk_history_why(history));
	lose(11, 13);
	assert_kept(1, 10, 10, 14);
	assert_non_null(nk_history_why(history));
	assert_int_equal(nk_fault_disarm(), 1);

	/* It is written again: with the next ones comes what is missing before them. */
	keep(20, 21);
	assert_kept(1, 21, 12, 14);
	assert_null(nk_history_why(history));
	close_history(21);
	assert_int_equal(open_history(), 21);
	assert_kept(1, 21, 12, 14);

	/* Also when none comes. */
	lose(22, 22);
	assert_kept(1, 21, 12, 23);
	assert_int_equal(nk_fault_disarm(), 1);
	close_history(22);
	assert_int_equal(open_history(), 22);
	assert_kept(1, 21, 12, 23);

	/* Older ones that go for lack of room don't take it back. */
	keep(31, 30 + NK_HISTORY_MAX - 2);
	assert_kept(20, 30 + NK_HISTORY_MAX - 2, NK_HISTORY_MAX, 23);
	keep(30 + NK_HISTORY_MAX - 1, 30 + NK_HISTORY_MAX + 5);
	assert_kept(36, 30 + NK_HISTORY_MAX + 5, NK_HISTORY_MAX, 36);
	close_history(30 + NK_HISTORY_MAX + 5);
}

static uint64_t number_on_disk(void)
{
	uint64_t seq = 0, from;

	assert_int_equal(nk_store_history(store, &seq, &from), 0);
	return seq;
}

static void test_numbers_that_could_not_be_reserved(void **state)
{
	open_history();
	nk_fault_arm(NK_FAULT_WRITE, 1, SQLITE_FULL);
	nk_history_number(history, 1);
	assert_int_equal(nk_fault_disarm(), 1);
	assert_int_equal(number_on_disk(), 0);
	/* Not at once, as many events come together; but then. */
	nk_history_number(history, 2);
	assert_int_equal(number_on_disk(), 0);
	usleep(1100000);
	nk_history_number(history, 3);
	assert_true(number_on_disk() > 1000);
	close_history(3);
	assert_int_equal(open_history(), 3);
	close_history(3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_what_was_lost_is_told),
		STORE_TEST(test_numbers_that_could_not_be_reserved),
	};

	nk_fault_install();
	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
