// SPDX-License-Identifier: GPL-2.0-only
/*
 * The names of pins, and the table of those that there are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/kernel/pins.h"

static void names_go_there_and_back(void **state)
{
	static const struct {
		const char *device, *attachment, *pin;
		enum nk_hook hook;
	} cases[] = {
		{ "web-1", "acct", "web-1:peer:acct", NK_HOOK_NETKIT_PEER },
		{ "a.b", "fw.v2", "a%2Eb:primary:fw%2Ev2", NK_HOOK_NETKIT_PRIMARY },
		{ "eth0.5", "lb", "eth0%2E5:ingress:lb", NK_HOOK_TCX_INGRESS },
		{ "eth0", "lb", "eth0:egress:lb", NK_HOOK_TCX_EGRESS },
		{ "50%", "%2E", "50%25:peer:%252E", NK_HOOK_NETKIT_PEER },
		{ "...............", "x", "%2E%2E%2E%2E%2E%2E%2E%2E%2E%2E%2E%2E%2E%2E%2E:peer:x", NK_HOOK_NETKIT_PEER },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char pin[NK_PIN_NAME_MAX], device[NK_IFNAMSIZ], attachment[NK_NAME_MAX];
		enum nk_hook hook;

		assert_string_equal(nk_pin_link_name(cases[i].device, cases[i].hook, cases[i].attachment, pin), cases[i].pin);
		assert_int_equal(nk_pin_link_parse(pin, device, &hook, attachment), 0);
		assert_string_equal(device, cases[i].device);
		assert_string_equal(attachment, cases[i].attachment);
		assert_int_equal(hook, cases[i].hook);
	}
}

static void the_longest_name_fits(void **state)
{
	char device[NK_IFNAMSIZ], attachment[NK_NAME_MAX], pin[NK_PIN_NAME_MAX];
	char device_back[NK_IFNAMSIZ], attachment_back[NK_NAME_MAX];
	enum nk_hook hook;

	memset(device, '.', sizeof(device) - 1);
	device[sizeof(device) - 1] = '\0';
	memset(attachment, '%', sizeof(attachment) - 1);
	attachment[sizeof(attachment) - 1] = '\0';
	nk_pin_link_name(device, NK_HOOK_NETKIT_PRIMARY, attachment, pin);
	assert_true(strlen(pin) < 255); /* what a file system takes */
	assert_int_equal(nk_pin_link_parse(pin, device_back, &hook, attachment_back), 0);
	assert_string_equal(device_back, device);
	assert_string_equal(attachment_back, attachment);
}

static void strange_names_are_not_ours(void **state)
{
	static const char *const names[] = {
		"", ":", "::", "web-1", "web-1:peer", "web-1:peer:", ":peer:acct", "web-1:both:acct", "web-1:pee:acct", "web-1:peers:acct",
		"%:peer:acct", "%2:peer:acct", "%41:peer:acct", "web-1:peer:%2", "sixteen-bytes-xx:peer:acct", "web-1::acct",
	};
	char device[NK_IFNAMSIZ] = "kept", attachment[NK_NAME_MAX] = "kept", program[NK_NAME_MAX];
	enum nk_hook hook;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(nk_pin_link_parse(names[i], device, &hook, attachment), -EINVAL);
	assert_string_equal(device, "kept");
	assert_string_equal(attachment, "kept");
	/* What stands beside a program's pin is no program. */
	assert_int_equal(nk_pin_decode("acct%origin", program, sizeof(program)), -EINVAL);
	assert_int_equal(nk_pin_decode("%fresh", program, sizeof(program)), -EINVAL);
	assert_int_equal(nk_pin_decode("acct%2Ev2", program, sizeof(program)), 0);
	assert_string_equal(program, "acct.v2");
}

static void count(const struct nk_pin *pin, void *arg)
{
	++*(size_t *)arg;
}

static void the_table_finds_links_and_devices(void **state)
{
	struct nk_pins pins;
	size_t n = 0;

	assert_int_equal(nk_pins_init(&pins), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		char device[NK_IFNAMSIZ];

		snprintf(device, sizeof(device), "d%u", i / 2);
		assert_int_equal(nk_pins_put(&pins, device, i % 2, "acct", i + 1), 0);
	}
	for (uint32_t i = 0; i < 1000; i++) {
		const struct nk_pin *pin = nk_pins_by_link(&pins, i + 1);

		assert_non_null(pin);
		assert_int_equal(pin->hook, i % 2);
		assert_string_equal(pin->attachment, "acct");
	}
	assert_null(nk_pins_by_link(&pins, 1001));

	/* The same place again replaces; the old link is not known any more. */
	assert_int_equal(nk_pins_put(&pins, "d0", NK_HOOK_NETKIT_PRIMARY, "acct", 5000), 0);
	assert_null(nk_pins_by_link(&pins, 1));
	assert_string_equal(nk_pins_by_link(&pins, 5000)->device, "d0");

	nk_pins_remove(&pins, "d0", NK_HOOK_NETKIT_PRIMARY, "other");
	nk_pins_remove(&pins, "d0", NK_HOOK_NETKIT_PRIMARY, "acct");
	assert_int_equal(nk_pins_of_device(&pins, "d0")->link_id, 2);
	assert_null(nk_pins_next(nk_pins_of_device(&pins, "d0")));
	assert_non_null(nk_pins_next(nk_pins_of_device(&pins, "d1")));
	assert_null(nk_pins_next(nk_pins_next(nk_pins_of_device(&pins, "d1"))));
	nk_pins_remove(&pins, "d0", NK_HOOK_NETKIT_PEER, "acct");
	assert_null(nk_pins_of_device(&pins, "d0"));
	nk_pins_each(&pins, count, &n);
	assert_int_equal(n, 998);
	nk_pins_clear(&pins);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_go_there_and_back),
		cmocka_unit_test(the_longest_name_fits),
		cmocka_unit_test(strange_names_are_not_ours),
		cmocka_unit_test(the_table_finds_links_and_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
