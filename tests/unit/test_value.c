// SPDX-License-Identifier: GPL-2.0-only
/* Values by example: parsing and printing addresses, orders, names, and when two devices or namespaces are the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/model/value.h"

static struct nk_prefix prefix(const char *text)
{
	struct nk_prefix p = { 0 };

	assert_int_equal(nk_prefix_parse(text, &p), 0);
	return p;
}

static struct nk_ip ip(const char *text)
{
	struct nk_ip a = { 0 };

	assert_int_equal(nk_ip_parse(text, &a), 0);
	return a;
}

static void prefixes_are_printed_as_they_were_read(void **state)
{
	static const char *const same[] = { "10.0.0.1/32", "0.0.0.0/0", "10.0.0.1/9", "fd00::2/128", "::/0", "fd00::1/64" };
	char buf[NK_PREFIX_STRLEN];

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct nk_prefix p = prefix(same[i]);

		assert_string_equal(nk_prefix_format(&p, buf), same[i]);
	}
	assert_int_equal(prefix("10.0.0.1").plen, 32);
	assert_int_equal(prefix("fd00::1").plen, 128);
}

static void what_is_no_prefix_is_refused_and_leaves_the_output(void **state)
{
	static const char *const bad[] = {
		"", "/", "10.0.0.1/", "10.0.0.1/33", "10.0.0/8", "10.0.0.1/08", "10.0.0.1/-1", "10.0.0.1/+1", "10.0.0.1/8 ", "::/129",
		"::/1280", "fd00:::1", "10.0.0.1/8/8", "host", " 10.0.0.1",
		"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/1",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct nk_prefix p = { .plen = 77 };

		assert_int_equal(nk_prefix_parse(bad[i], &p), -EINVAL);
		assert_int_equal(p.plen, 77);
	}
}

static void a_network_contains_its_addresses_only(void **state)
{
	struct nk_prefix net = prefix("10.1.128.0/17"), all = prefix("0.0.0.0/0");
	struct nk_ip in = ip("10.1.200.9"), out = ip("10.1.127.9"), six = ip("fd00::1");

	assert_true(nk_prefix_contains(&net, &in));
	assert_false(nk_prefix_contains(&net, &out));
	assert_true(nk_prefix_contains(&all, &out));
	assert_false(nk_prefix_contains(&all, &six));
}

static void routes_are_ordered_by_key_first(void **state)
{
	struct nk_route a = { .to = prefix("fd00::/64"), .via = ip("fe80::1") };
	struct nk_route b = { .to = prefix("fd00::/64"), .metric = 1024 };
	struct nk_route c = { .to = prefix("10.0.0.0/8"), .metric = 1024 }, d = { .to = prefix("10.0.0.0/8") };

	assert_true(nk_route_same_key(&a, &b));
	assert_int_not_equal(nk_route_cmp(&a, &b), 0);
	assert_int_equal(nk_route_cmp(&a, &b) < 0, nk_route_cmp(&b, &a) > 0);
	assert_false(nk_route_same_key(&c, &d));
	b.via = a.via;
	assert_int_equal(nk_route_cmp(&a, &b), 0);
	b.onlink = true;
	assert_int_not_equal(nk_route_cmp(&a, &b), 0);
}

static void interface_names_are_what_the_kernel_takes(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "a:b", "a b", "a\tb", "abcdefghijklmnop", "x%d", "n\xc3\xa9" };
	static const char *const good[] = { "eth0", "a", "abcdefghijklmno", "...", "web-1", "x@y" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(nk_ifname_problem(bad[i]));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_null(nk_ifname_problem(good[i]));
}

static void names_are_short_and_plain(void **state)
{
	char longest[NK_NAME_MAX + 1];

	memset(longest, 'a', sizeof(longest));
	longest[NK_NAME_MAX] = '\0';
	assert_non_null(nk_name_problem(longest));
	longest[NK_NAME_MAX - 1] = '\0';
	assert_null(nk_name_problem(longest));
	assert_non_null(nk_name_problem(""));
	assert_non_null(nk_name_problem("-a"));
	assert_non_null(nk_name_problem(".."));
	assert_non_null(nk_name_problem("a/b"));
	assert_null(nk_name_problem("0a_b.c-d"));
}

static struct nk_device *device(bool turned)
{
	struct nk_device *d = nk_device_new();
	struct nk_end *e = &d->end[NK_PEER];

	strcpy(d->end[NK_PRIMARY].name, "web-1");
	strcpy(e->name, "eth0");
	e->mtu = turned ? 1 : 2; /* not set, so it doesn't count */
	e->n_addrs = e->n_routes = 2;
	e->addrs = calloc(2, sizeof(*e->addrs));
	e->routes = calloc(2, sizeof(*e->routes));
	e->addrs[turned] = prefix("10.0.0.2/32");
	e->addrs[!turned] = prefix("fd00::2/128");
	e->routes[turned].to = prefix("0.0.0.0/0");
	e->routes[!turned].to = prefix("::/0");
	d->netns.kind = NK_NETNS_NAME;
	d->netns.path = strdup("web-1");
	d->n_attachments = 1;
	d->attachments = calloc(1, sizeof(*d->attachments));
	strcpy(d->attachments[0].name, "acct");
	strcpy(d->attachments[0].program, "acct");
	nk_device_normalise(d);
	return d;
}

static void anchors_are_sets(void **state)
{
	struct nk_device *a = device(false), *b = device(false);
	struct nk_device *both[] = { a, b };

	for (int i = 0; i < 2; i++) {
		struct nk_attachment *att = &both[i]->attachments[0];

		att->before = calloc(2, sizeof(*att->before));
		att->n_before = 2;
		att->before[i] = (struct nk_anchor){ .kind = NK_ANCHOR_NAME, .text = strdup("fw") };
		att->before[!i] = (struct nk_anchor){ .kind = NK_ANCHOR_TAG, .tag = { 1, 2 } };
		nk_device_normalise(both[i]);
	}
	assert_true(nk_device_equal(a, b));
	b->attachments[0].before[1].tag[7] = 1;
	assert_false(nk_device_equal(a, b));
	nk_device_unref(a);
	nk_device_unref(b);
}

static void equal_documents_are_equal_values(void **state)
{
	struct nk_device *a = device(false), *b = device(true);

	assert_true(nk_device_equal(a, b));
	b->attachments[0].required = true;
	assert_false(nk_device_equal(a, b));
	b->attachments[0].required = false;
	b->attachments[0].priority = 1;
	assert_false(nk_device_equal(a, b));
	b->attachments[0].priority = 0;
	b->attachments[0].last = true;
	assert_false(nk_device_equal(a, b));
	b->attachments[0].last = false;
	b->end[NK_PEER].routes[0].metric = 5;
	assert_false(nk_device_equal(a, b));
	b->end[NK_PEER].routes[0].metric = 0;
	b->netns.path[0] = 'x';
	assert_false(nk_device_equal(a, b));
	nk_device_unref(a);
	nk_device_unref(b);
}

static void references_keep_an_object(void **state)
{
	struct nk_device *d = device(false);
	struct nk_program *p = nk_program_new();

	assert_ptr_equal(nk_device_ref(d), d);
	assert_null(nk_device_unref(d));
	assert_string_equal(nk_device_name(d), "web-1");
	assert_null(nk_device_unref(d));
	assert_null(nk_device_unref(NULL));
	p->path = strdup("/x.bpf.o");
	assert_null(nk_program_unref(nk_program_ref(p)));
	assert_string_equal(p->path, "/x.bpf.o");
	assert_null(nk_program_unref(p));
}

static struct nk_program *shared_program(void)
{
	struct nk_program *p = nk_program_new();

	strcpy(p->name, "p");
	p->path = strdup("/x.bpf.o");
	p->program = strdup("f");
	p->maps = calloc(1, sizeof(*p->maps));
	p->n_maps = 1;
	strcpy(p->maps[0].name, "m");
	p->maps[0].path = strdup("/sys/fs/bpf/m");
	return p;
}

/* Each member makes another program, because a change of it is an upgrade. */
static void programs_are_equal_in_all_members(void **state)
{
	for (int i = 0; i < 10; i++) {
		struct nk_program *a = shared_program(), *b = shared_program();

		assert_true(nk_program_equal(a, b));
		switch (i) {
		case 0: strcpy(b->name, "q"); break;
		case 1: b->source = NK_PROGRAM_PIN; break;
		case 2: b->path[1] = 'y'; break;
		case 3: b->program[0] = 'g'; break;
		case 4: strcpy(b->sha256, "0"); break;
		case 5: b->replace_maps = true; break;
		case 6: b->maps[0].name[0] = 'n'; break;
		case 7: b->maps[0].path[1] = 'x'; break;
		case 8: b->number = 1; break;
		case 9: strcpy(b->boot_id, "another boot"); break;
		}
		assert_false(nk_program_equal(a, b));
		nk_program_unref(a);
		nk_program_unref(b);
	}
}

/* That somebody's change of its pin is to be left is said of the same program. */
static void what_becomes_of_drift_is_not_loaded(void **state)
{
	struct nk_program *a = shared_program(), *b = shared_program();

	b->on_drift = NK_ON_DRIFT_REPORT;
	assert_false(nk_program_equal(a, b));
	assert_true(nk_program_loads_same(a, b));
	b->path[1] = 'y';
	assert_false(nk_program_loads_same(a, b));
	nk_program_unref(a);
	nk_program_unref(b);
}

static void namespaces_are_equal_by_what_identifies_them(void **state)
{
	struct nk_netns a = { .kind = NK_NETNS_PID, .number = 7, .start = 1 }, b = a, c = { .kind = NK_NETNS_NAME, .path = (char *)"x" };
	struct nk_netns copy = { 0 };

	assert_true(nk_netns_equal(&a, &b));
	b.start = 2; /* the pid was used again */
	assert_false(nk_netns_equal(&a, &b));
	a.kind = b.kind = NK_NETNS_ID;
	assert_true(nk_netns_equal(&a, &b));
	strcpy(b.boot_id, "another boot");
	assert_false(nk_netns_equal(&a, &b));
	assert_int_equal(nk_netns_copy(&copy, &c), 0);
	assert_true(nk_netns_equal(&copy, &c));
	assert_ptr_not_equal(copy.path, c.path);
	nk_netns_clear(&copy);
	assert_null(copy.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes_are_printed_as_they_were_read),
		cmocka_unit_test(what_is_no_prefix_is_refused_and_leaves_the_output),
		cmocka_unit_test(a_network_contains_its_addresses_only),
		cmocka_unit_test(routes_are_ordered_by_key_first),
		cmocka_unit_test(interface_names_are_what_the_kernel_takes),
		cmocka_unit_test(names_are_short_and_plain),
		cmocka_unit_test(equal_documents_are_equal_values),
		cmocka_unit_test(anchors_are_sets),
		cmocka_unit_test(references_keep_an_object),
		cmocka_unit_test(programs_are_equal_in_all_members),
		cmocka_unit_test(what_becomes_of_drift_is_not_loaded),
		cmocka_unit_test(namespaces_are_equal_by_what_identifies_them),
	};

	return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
