// SPDX-License-Identifier: GPL-2.0-only
/* The document by example: what is found in it, changes and their undoing, and what the checks say of wrong ones. */
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
#include "daemon/model/document.h"

/* The pointers of all problems, one a line; and the text of the last. */
struct told {
	char pointers[2048];
	char text[256];
};

static void take_problem(const struct nk_problem *p, void *arg)
{
	struct told *t = arg;
	size_t len = strlen(t->pointers);

	snprintf(t->pointers + len, sizeof(t->pointers) - len, "%s\n", p->pointer);
	snprintf(t->text, sizeof(t->text), "%s", p->text);
}

static void put_device(struct nk_document *doc, struct nk_device *d, const char *source, size_t index, struct nk_change *c)
{
	assert_int_equal(nk_document_put_device(doc, d, source, index, c), 0);
	nk_device_unref(d);
}

static void put_program(struct nk_document *doc, const char *name, const char *path, struct nk_change *c)
{
	struct nk_program *p = build_program(name, path);

	assert_int_equal(nk_document_put_program(doc, p, "", SIZE_MAX, c), 0);
	nk_program_unref(p);
}

static struct nk_device *with_program(const char *name, const char *netns, const char *program)
{
	struct nk_device *d = build_device(name, netns);

	build_attachment(d, "a", program, NK_HOOK_NETKIT_PRIMARY, false);
	return d;
}

static int collect_name(const struct nk_device *d, const char *source, void *arg)
{
	char *names = arg;

	strcat(strcat(strcat(names, nk_device_name(d)), source), " ");
	return strcmp(nk_device_name(d), "stop") ? 0 : 42;
}

static void objects_are_found_by_name_and_told_in_order(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct nk_change c = { 0 };
	char names[200] = "";

	put_device(doc, build_device("web-2", "two"), "", 0, &c);
	put_device(doc, build_device("web-1", "one"), "/etc/a.json", 0, &c);
	assert_int_equal(nk_document_n_devices(doc), 2);
	assert_string_equal(nk_device_name(nk_document_device(doc, "web-1")), "web-1");
	assert_string_equal(nk_document_device_source(doc, "web-1"), "/etc/a.json");
	assert_string_equal(nk_document_device_source(doc, "web-2"), "");
	assert_null(nk_document_device(doc, "web-3"));
	assert_null(nk_document_device_source(doc, "web-3"));
	assert_int_equal(nk_document_each_device(doc, collect_name, names), 0);
	assert_string_equal(names, "web-1/etc/a.json web-2 ");
	put_device(doc, build_device("stop", "three"), "", 0, &c);
	names[0] = '\0';
	assert_int_equal(nk_document_each_device(doc, collect_name, names), 42);
	assert_string_equal(names, "stop ");
	nk_change_clear(&c);
	nk_document_free(doc);
}

static void an_equal_object_is_no_change(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct nk_change c = { 0 };

	put_device(doc, build_device("web-1", "one"), "", 0, &c);
	put_device(doc, build_device("web-1", "one"), "", 0, &c);
	put_program(doc, "p", "/p", &c);
	put_program(doc, "p", "/p", &c);
	assert_int_equal(c.n, 2);
	put_device(doc, build_device("web-1", "one"), "/etc/a.json", 0, &c);
	put_program(doc, "p", "/q", &c);
	assert_int_equal(c.n, 4);
	assert_string_equal(c.items[2].src_prev, "");
	assert_string_equal(c.items[2].src_next, "/etc/a.json");
	assert_int_equal(nk_document_remove_device(doc, "nobody", &c), -ENOENT);
	assert_int_equal(nk_document_remove_program(doc, "nobody", &c), -ENOENT);
	assert_int_equal(c.n, 4);
	nk_change_clear(&c);
	nk_document_free(doc);
}

static void undo_brings_everything_back(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct nk_change first = { 0 }, second = { 0 };
	const struct nk_netns one = { .kind = NK_NETNS_NAME, .path = (char *)"one" };
	const struct nk_netns two = { .kind = NK_NETNS_NAME, .path = (char *)"two" };
	const struct nk_device *kept;

	put_program(doc, "p", "/p", &first);
	put_device(doc, with_program("web-1", "one", "p"), "/etc/a.json", 0, &first);
	nk_change_clear(&first);
	kept = nk_document_device(doc, "web-1");

	put_device(doc, with_program("web-1", "two", "q"), "", 0, &second);
	assert_int_equal(nk_document_remove_program(doc, "p", &second), 0);
	assert_int_equal(nk_document_remove_device(doc, "web-1", &second), 0);
	put_device(doc, with_program("web-9", "one", "p"), "", 1, &second);
	put_program(doc, "q", "/q", &second);
	assert_int_equal(nk_document_program_users(doc, "p"), 1);
	assert_int_equal(nk_document_n_programs(doc), 1);
	assert_null(nk_document_peer_taken(doc, &two, "eth0", NULL));

	nk_document_undo(doc, &second);
	assert_int_equal(second.n, 0);
	assert_ptr_equal(nk_document_device(doc, "web-1"), kept);
	assert_string_equal(nk_document_device_source(doc, "web-1"), "/etc/a.json");
	assert_null(nk_document_device(doc, "web-9"));
	assert_non_null(nk_document_program(doc, "p"));
	assert_null(nk_document_program(doc, "q"));
	assert_int_equal(nk_document_program_users(doc, "p"), 1);
	assert_int_equal(nk_document_program_users(doc, "q"), 0);
	assert_int_equal(nk_document_n_devices(doc), 1);
	assert_int_equal(nk_document_n_programs(doc), 1);
	assert_string_equal(nk_document_peer_taken(doc, &one, "eth0", NULL), "web-1");
	assert_null(nk_document_peer_taken(doc, &one, "eth0", "web-1"));
	nk_document_free(doc);
}

static void a_thousand_devices_come_and_go(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct nk_change c = { 0 };
	char name[NK_IFNAMSIZ], netns[NK_IFNAMSIZ];

	put_program(doc, "p", "/p", &c);
	nk_change_clear(&c);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "web-%d", i);
		snprintf(netns, sizeof(netns), "ns-%d", i % 500);
		put_device(doc, with_program(name, netns, "p"), "", (size_t)i, &c);
	}
	assert_int_equal(nk_document_program_users(doc, "p"), 1000);
	for (int i = 0; i < 1000; i++) {
		const struct nk_netns ns = { .kind = NK_NETNS_NAME, .path = netns };

		snprintf(name, sizeof(name), "web-%d", i);
		snprintf(netns, sizeof(netns), "ns-%d", i % 500);
		assert_non_null(nk_document_device(doc, name));
		assert_non_null(nk_document_peer_taken(doc, &ns, "eth0", name));
	}
	nk_document_undo(doc, &c);
	assert_int_equal(nk_document_n_devices(doc), 0);
	assert_int_equal(nk_document_program_users(doc, "p"), 0);
	nk_document_free(doc);
}

static void a_change_is_checked_against_its_neighbours(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct nk_change c = { 0 };
	struct told t = { 0 };
	struct nk_device *d;

	put_program(doc, "p", "/p", &c);
	put_program(doc, "used", "/u", &c);
	put_device(doc, with_program("web-1", "one", "used"), "", 0, &c);
	assert_int_equal(nk_document_check(doc, &c, take_problem, &t), 0);
	nk_change_clear(&c);

	d = with_program("web-2", "one", "p");
	build_attachment(d, "b", "missing", NK_HOOK_NETKIT_PEER, false);
	put_device(doc, d, "", 3, &c);
	d = build_device("eth7", "two");
	put_device(doc, d, "", SIZE_MAX, &c);
	d = build_device("web-4", "none");
	nk_netns_clear(&d->netns); /* the host's */
	strcpy(d->end[NK_PEER].name, "eth7");
	put_device(doc, d, "", 5, &c);
	assert_int_equal(nk_document_remove_program(doc, "used", &c), 0);

	assert_int_equal(nk_document_check(doc, &c, take_problem, &t), 5);
	assert_string_equal(t.pointers, "/devices/3/attachments/1/program\n" /* no such program */
					"/devices/3/peer/name\n"             /* web-1 has an eth0 there */
					"/devices/eth7/name\n"               /* the peer of web-4 is called so */
					"/devices/5/peer/name\n"             /* and the other way round */
					"/programs/used\n");                 /* web-1 uses it */
	assert_non_null(strstr(t.text, "(1 do)"));
	nk_document_undo(doc, &c);
	nk_document_free(doc);
}

static void only_what_stands_in_the_end_is_checked(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct nk_change c = { 0 };
	struct told t = { 0 };

	put_device(doc, with_program("web-1", "one", "missing"), "", 0, &c);
	put_device(doc, build_device("web-1", "one"), "", 1, &c);
	put_program(doc, "p", "/p", &c);
	assert_int_equal(nk_document_remove_program(doc, "p", &c), 0);
	assert_int_equal(nk_document_check(doc, &c, take_problem, &t), 0);
	nk_change_clear(&c);
	nk_document_free(doc);
}

/* Check and drop d; the pointers of its problems. */
static const char *problems(struct nk_device *d)
{
	static struct told t;

	memset(&t, 0, sizeof(t));
	nk_device_check(d, "/d", take_problem, &t);
	nk_device_unref(d);
	return t.pointers;
}

static void a_right_device_has_no_problems(void **state)
{
	struct nk_device *d = build_device("web-1", "one");

	d->mode = NK_MODE_L2;
	d->end[NK_PEER].set = NK_SET_MAC | NK_SET_MTU;
	memcpy(d->end[NK_PEER].mac, "\x02\0\0\0\0\x01", 6);
	d->end[NK_PEER].mtu = 1280;
	build_address(d, NK_PRIMARY, "10.0.0.1/32");
	build_route(d, NK_PRIMARY, "10.0.0.2/32", NULL, "10.0.0.1");
	build_address(d, NK_PEER, "10.0.0.2/32");
	build_address(d, NK_PEER, "10.1.0.2/24");
	build_address(d, NK_PEER, "fd00::2/128");
	build_route(d, NK_PEER, "0.0.0.0/0", "10.0.0.1", NULL); /* through the next one */
	build_route(d, NK_PEER, "10.0.0.1/32", NULL, NULL);
	build_route(d, NK_PEER, "10.2.0.0/16", "10.1.0.9", NULL);
	build_route(d, NK_PEER, "::/0", "fe80::1", "fd00::2");
	build_attachment(d, "a", "p", NK_HOOK_NETKIT_PEER, false);
	build_attachment(d, "b", "p", NK_HOOK_NETKIT_PRIMARY, true);
	assert_string_equal(problems(d), "");
}

static void wrong_addresses_and_routes_are_told_by_place(void **state)
{
	struct nk_device *d = build_device("web-1", "one");

	build_address(d, NK_PEER, "10.0.0.2/32");
	build_address(d, NK_PEER, "10.0.0.2/24");
	build_address(d, NK_PEER, "224.0.0.1/32");
	assert_string_equal(problems(d), "/d/peer/addresses/2\n/d/peer/addresses/1\n");

	d = build_device("web-1", "one");
	build_address(d, NK_PRIMARY, "10.0.0.1/32");
	build_route(d, NK_PRIMARY, "0.0.0.0/0", "10.0.0.9", NULL);    /* a gateway out of reach */
	build_route(d, NK_PRIMARY, "10.1.0.0/16", "10.0.0.1", NULL);  /* oneself */
	build_route(d, NK_PRIMARY, "10.2.0.0/16", "fe80::1", NULL);   /* another family */
	build_route(d, NK_PRIMARY, "10.3.0.0/16", NULL, "10.0.0.7");  /* nobody's address */
	build_route(d, NK_PRIMARY, "10.3.0.0/16", NULL, "10.0.0.1");  /* the same key */
	assert_string_equal(problems(d), "/d/routes/0/via\n/d/routes/1/via\n/d/routes/2/via\n/d/routes/3/src\n/d/routes/4\n");

	d = build_device("web-1", "one");
	build_route(d, NK_PRIMARY, "0.0.0.0/0", "10.0.0.9", NULL);
	d->end[NK_PRIMARY].routes[0].onlink = true;
	assert_string_equal(problems(d), "");
}

static void wrong_settings_are_told_by_place(void **state)
{
	struct nk_device *d = build_device("web-1", "one");

	d->end[NK_PRIMARY].set = NK_SET_MAC;
	d->end[NK_PEER].set = NK_SET_MTU;
	d->end[NK_PEER].mtu = 1279;
	build_address(d, NK_PEER, "fd00::2/128");
	build_route(d, NK_PEER, "::/0", NULL, NULL);
	assert_string_equal(problems(d), "/d/mac\n/d/peer/addresses/0\n/d/peer/routes/0\n");

	d = build_device("web-1", "one");
	d->mode = NK_MODE_L2;
	d->end[NK_PEER].set = NK_SET_MAC;
	d->end[NK_PEER].mac[0] = 1; /* multicast */
	assert_string_equal(problems(d), "/d/peer/mac\n");

	d = build_device("eth0", "one");
	nk_netns_clear(&d->netns);
	assert_string_equal(problems(d), "/d/peer/name\n");

	d = build_device("web-1", NULL);
	d->end[NK_PEER].policy = NK_POLICY_DROP;
	build_attachment(d, "a", "p", NK_HOOK_NETKIT_PEER, false);
	assert_string_equal(problems(d), "/d/peer\n/d/attachments/0/hook\n");
}

static void wrong_attachments_are_told_by_place(void **state)
{
	struct nk_device *d = build_device("web-1", "one");
	char name[NK_NAME_MAX];

	build_attachment(d, "a", "p", NK_HOOK_NETKIT_PEER, false);
	build_attachment(d, "a", "q", NK_HOOK_NETKIT_PRIMARY, false);
	build_attachment(d, "b", "p", NK_HOOK_NETKIT_PEER, false);
	assert_string_equal(problems(d), "/d/attachments/2/program\n/d/attachments/1/name\n");

	d = build_device("web-1", "one");
	for (int i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		build_attachment(d, name, name, NK_HOOK_NETKIT_PEER, false);
	}
	assert_string_equal(problems(d), "/d/attachments/63\n");
}

static void interfaces_are_devices_of_another_kind(void **state)
{
	struct nk_document *doc = nk_document_new();
	struct told t = { 0 };
	struct nk_change c = { 0 };
	struct nk_device *d = build_device("eth0", NULL), *e = build_device("eth0", NULL);

	d->interface = true;
	assert_false(nk_device_equal(d, e));
	nk_device_unref(e);
	put_program(doc, "p", "/p", &c);
	put_device(doc, with_program("web-1", "one", "p"), "", 0, &c);
	build_attachment(d, "a", "p", NK_HOOK_TCX_INGRESS, false);
	put_device(doc, d, "", 1, &c);
	assert_int_equal(nk_document_n_devices(doc), 1);
	assert_int_equal(nk_document_n_interfaces(doc), 1);
	assert_int_equal(nk_document_program_users(doc, "p"), 2);
	assert_int_equal(nk_document_check(doc, &c, take_problem, &t), 0);
	nk_change_clear(&c);

	/* A peer beside its primary, of the same name, and a program that isn't there. */
	d = build_device("web-2", "two");
	nk_netns_clear(&d->netns);
	put_device(doc, d, "", 2, &c);
	d = build_device("eth1", NULL);
	d->interface = true;
	build_attachment(d, "a", "nobody", NK_HOOK_TCX_EGRESS, false);
	put_device(doc, d, "", 3, &c);
	assert_int_equal(nk_document_check(doc, &c, take_problem, &t), 2);
	assert_string_equal(t.pointers, "/devices/2/peer/name\n/interfaces/3/attachments/0/program\n");
	assert_int_equal(nk_document_n_interfaces(doc), 2);
	nk_document_undo(doc, &c);
	assert_int_equal(nk_document_n_devices(doc), 1);
	assert_int_equal(nk_document_n_interfaces(doc), 1);
	assert_int_equal(nk_document_remove_device(doc, "eth0", &c), 0);
	assert_int_equal(nk_document_n_interfaces(doc), 0);
	nk_document_undo(doc, &c);
	assert_int_equal(nk_document_n_interfaces(doc), 1);
	nk_document_free(doc);
}

static void each_kind_has_its_hooks(void **state)
{
	struct nk_device *d = build_device("web-1", "one");

	build_attachment(d, "a", "p", NK_HOOK_TCX_INGRESS, false);
	build_attachment(d, "b", "p", NK_HOOK_TCX_EGRESS, false);
	build_attachment(d, "c", "p", NK_HOOK_NETKIT_PEER, true);
	assert_string_equal(problems(d), "/d/attachments/0/hook\n/d/attachments/1/hook\n");

	d = build_device("eth0", NULL);
	d->interface = true;
	build_attachment(d, "a", "p", NK_HOOK_NETKIT_PRIMARY, false);
	build_attachment(d, "b", "p", NK_HOOK_NETKIT_PEER, false);
	build_attachment(d, "c", "p", NK_HOOK_TCX_INGRESS, false);
	build_attachment(d, "d", "p", NK_HOOK_TCX_EGRESS, true);
	assert_string_equal(problems(d), "/d/attachments/0/hook\n/d/attachments/1/hook\n/d/attachments/3/required\n");
}

static void lists_have_bounds(void **state)
{
	struct nk_device *d = build_device("web-1", "one");
	char text[40];

	for (int i = 0; i <= NK_ADDRS_MAX; i++) {
		snprintf(text, sizeof(text), "10.0.%d.%d/32", i / 256, i % 256 + 1 > 255 ? 0 : i % 256 + 1);
		build_address(d, NK_PEER, text);
	}
	for (int i = 0; i <= NK_ROUTES_MAX; i++) {
		snprintf(text, sizeof(text), "10.1.%d.%d/32", i / 256, i % 256);
		build_route(d, NK_PRIMARY, text, NULL, NULL);
	}
	assert_string_equal(problems(d), "/d/routes\n/d/peer/addresses\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_found_by_name_and_told_in_order),
		cmocka_unit_test(an_equal_object_is_no_change),
		cmocka_unit_test(undo_brings_everything_back),
		cmocka_unit_test(a_thousand_devices_come_and_go),
		cmocka_unit_test(a_change_is_checked_against_its_neighbours),
		cmocka_unit_test(only_what_stands_in_the_end_is_checked),
		cmocka_unit_test(a_right_device_has_no_problems),
		cmocka_unit_test(wrong_addresses_and_routes_are_told_by_place),
		cmocka_unit_test(wrong_settings_are_told_by_place),
		cmocka_unit_test(wrong_attachments_are_told_by_place),
		cmocka_unit_test(interfaces_are_devices_of_another_kind),
		cmocka_unit_test(each_kind_has_its_hooks),
		cmocka_unit_test(lists_have_bounds),
	};

	return cmocka_run_group_tests_name("document", tests, NULL, NULL);
}
