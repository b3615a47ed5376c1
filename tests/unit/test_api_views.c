// SPDX-License-Identifier: GPL-2.0-only
/* What goes out: each view as text, so that a change of the wire is seen as a change of this file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "api/contract.h"

static void becomes(const struct nk_table *t, const void *view, const char *want)
{
	json_t *json = nk_table_encode(t, view);
	char *text = json_dumps(json, JSON_COMPACT);

	assert_string_equal(text, want);
	free(text);
	json_decref(json);
}

static void conditions(void **state)
{
	struct nk_condition c = {.state = NK_STATE_READY, .since = 1};

	becomes(&nk_table_condition, &c, "{\"state\":\"Ready\",\"since\":\"1970-01-01T00:00:00.000001Z\"}");
	c = (struct nk_condition){.state = NK_STATE_DEGRADED, .reason = "KernelRefused", .message = "no", .error = EPERM,
				  .extack = "bad \xff", .since = 1735689599999999, .retries = 3, .retry_in_ms = 800};
	becomes(&nk_table_condition, &c, "{\"state\":\"Degraded\",\"reason\":\"KernelRefused\",\"message\":\"no\",\"errno\":\"EPERM\","
					 "\"extack\":\"bad ?\",\"since\":\"2024-12-31T23:59:59.999999Z\",\"retries\":3,\"retry_in_ms\":800}");
	c = (struct nk_condition){.state = NK_STATE_PENDING};
	becomes(&nk_table_condition, &c, "{\"state\":\"Pending\"}");
	c = (struct nk_condition){.state = NK_STATE_RELEASED};
	becomes(&nk_table_condition, &c, "{\"state\":\"Released\"}");
}

static void observed_devices(void **state)
{
	struct nk_obs_addr addr = {.ours = true};
	struct nk_obs_route route = {.r = {.metric = 1024}};
	struct nk_obs_link links[] = {{.link_id = 7, .prog_id = 8, .name = "acct"}, {.prog_id = 9}};
	struct nk_obs_device o = {
		.owner = "web-1", .marked = true, .mode = NK_MODE_L2, .peer_in_place = true, .chains_known = true,
		.end = {
			{.ifindex = 5, .name = "web-1", .up = true, .details = true, .policy = NK_POLICY_DROP, .mac = {2, 0, 0, 0, 0, 1},
			 .mtu = 1500, .txqlen = 1000, .gso_max = 65536, .gro_max = 65536, .gso_ipv4_max = 65536, .gro_ipv4_max = 65536,
			 .n_addrs = 1, .addrs = &addr, .n_routes = 1, .routes = &route},
			{.ifindex = 2, .name = "eth0"},
		},
		.chain = {[NK_HOOK_NETKIT_PEER] = {.n = 2, .links = links}},
	};
	struct nk_view_device v = {.name = "web-1", .unclaimed = true, .observed = &o, .condition = {.state = NK_STATE_READY}};

	assert_int_equal(nk_prefix_parse("10.0.0.1/24", &addr.p), 0);
	assert_int_equal(nk_prefix_parse("fd00::/64", &route.r.to), 0);
	becomes(&nk_table_view_device, &v,
		"{\"name\":\"web-1\",\"unclaimed\":true,\"condition\":{\"state\":\"Ready\"},\"repairs\":0,\"observed\":{"
		"\"ifindex\":5,\"name\":\"web-1\",\"up\":true,\"policy\":\"drop\",\"scrub\":\"default\",\"mtu\":1500,"
		"\"mac\":\"02:00:00:00:00:01\",\"txqueuelen\":1000,\"gso_max_size\":65536,\"gro_max_size\":65536,"
		"\"gso_ipv4_max_size\":65536,\"gro_ipv4_max_size\":65536,\"addresses\":[{\"address\":\"10.0.0.1/24\",\"ours\":true}],"
		"\"routes\":[{\"to\":\"fd00::/64\",\"metric\":1024,\"ours\":false}],\"mode\":\"l2\",\"single\":false,\"marked\":true,"
		"\"peer_in_place\":true,\"peer\":{\"ifindex\":2,\"name\":\"eth0\",\"up\":false,\"policy\":\"pass\",\"scrub\":\"default\"},"
		"\"chains\":{\"netkit/primary\":[],\"netkit/peer\":[{\"name\":\"acct\",\"link_id\":7,\"prog_id\":8},{\"prog_id\":9}]}}}");
}

static void interfaces(void **state)
{
	struct nk_obs_link links[] = {{.link_id = 7, .prog_id = 8, .name = "lb"}};
	struct nk_obs_device o = {
		.interface = true, .single = true, .owner = "eth0", .end = {{.ifindex = 5, .name = "eth0"}},
		.chain = {[NK_HOOK_TCX_EGRESS] = {.n = 1, .links = links}},
	};
	struct nk_device *d = nk_device_new();
	struct nk_view_device v = {.name = "eth0", .is_interface = true, .desired = d, .observed = &o, .condition = {.state = NK_STATE_READY}};

	strcpy(d->end[NK_PRIMARY].name, "eth0");
	d->interface = d->single = true;
	becomes(&nk_table_view_device, &v,
		"{\"name\":\"eth0\",\"unclaimed\":false,\"condition\":{\"state\":\"Ready\"},\"repairs\":0,\"interface\":{"
		"\"desired\":{\"name\":\"eth0\"},\"observed\":{\"ifindex\":5}}}");
	o.chains_known = true;
	becomes(&nk_table_view_device, &v,
		"{\"name\":\"eth0\",\"unclaimed\":false,\"condition\":{\"state\":\"Ready\"},\"repairs\":0,\"interface\":{"
		"\"desired\":{\"name\":\"eth0\"},\"observed\":{\"ifindex\":5,\"chains\":{\"tcx/ingress\":[],"
		"\"tcx/egress\":[{\"name\":\"lb\",\"link_id\":7,\"prog_id\":8}]}}}}");
	v.observed = NULL;
	becomes(&nk_table_view_device, &v,
		"{\"name\":\"eth0\",\"unclaimed\":false,\"condition\":{\"state\":\"Ready\"},\"repairs\":0,\"interface\":{"
		"\"desired\":{\"name\":\"eth0\"}}}");
	nk_device_unref(d);
}

static void desired_devices(void **state)
{
	struct nk_device *d = nk_device_new();
	struct nk_view_device v = {.name = "a", .source = "/etc/netkitd/state.d/a.json", .desired = d, .repairs = 2};

	strcpy(d->end[NK_PRIMARY].name, "a");
	d->single = true;
	becomes(&nk_table_view_device, &v,
		"{\"name\":\"a\",\"unclaimed\":false,\"source\":\"/etc/netkitd/state.d/a.json\",\"condition\":{\"state\":\"Pending\"},"
		"\"repairs\":2,\"desired\":{\"name\":\"a\",\"mode\":\"l3\",\"policy\":\"pass\",\"scrub\":\"default\"}}");
	nk_device_unref(d);
}

static void programs_and_attachments(void **state)
{
	struct nk_program *p = nk_program_new();
	struct nk_view_program v = {.name = "p", .desired = p, .id = 3, .tag = "0123456789abcdef", .kernel_name = "f", .run_count = UINT64_MAX,
				    .users = 2, .condition = {.state = NK_STATE_READY}};
	struct nk_view_attachment a = {.device = "d", .name = "x", .hook = "netkit/peer", .program = "p", .position = -1};
	const char *pins[] = {"/a", "/b \xff"};
	struct nk_view_holder holder = {.pid = 12, .comm = "x\ny"};
	struct nk_view_owners o = {.holders_known = true, .holders = &holder, .n_holders = 1};

	strcpy(p->name, "p");
	p->source = NK_PROGRAM_PIN;
	p->path = strdup("/x");
	/* A number beyond what JSON's integers hold is never told as a negative one. */
	becomes(&nk_table_view_program, &v,
		"{\"name\":\"p\",\"desired\":{\"name\":\"p\",\"pin\":\"/x\"},\"condition\":{\"state\":\"Ready\"},\"id\":3,"
		"\"tag\":\"0123456789abcdef\",\"kernel_name\":\"f\",\"users\":2,\"run_count\":9223372036854775807,\"run_time_ns\":0}");
	nk_program_unref(p);
	v = (struct nk_view_program){.id = 9, .condition = {.state = NK_STATE_READY}};
	becomes(&nk_table_view_program, &v, "{\"condition\":{\"state\":\"Ready\"},\"id\":9,\"users\":0,\"run_count\":0,\"run_time_ns\":0}");

	becomes(&nk_table_view_attachment, &a,
		"{\"device\":\"d\",\"hook\":\"netkit/peer\",\"position\":-1,\"name\":\"x\",\"program\":\"p\",\"foreign\":false,"
		"\"attached\":false,\"run_count\":0,\"run_time_ns\":0}");
	a = (struct nk_view_attachment){.device = "d", .hook = "netkit/primary", .foreign = true, .attached = true, .link_id = 1, .prog_id = 2,
					.tag = "ff", .kernel_name = "f", .run_count = 4, .run_time_ns = 5};
	becomes(&nk_table_view_attachment, &a,
		"{\"device\":\"d\",\"hook\":\"netkit/primary\",\"position\":0,\"foreign\":true,\"attached\":true,\"link_id\":1,"
		"\"prog_id\":2,\"tag\":\"ff\",\"kernel_name\":\"f\",\"run_count\":4,\"run_time_ns\":5}");
	a = (struct nk_view_attachment){.device = "d", .hook = "tcx/egress", .foreign = true, .attached = true, .link_id = 1, .prog_id = 2,
					.owners = {.pins_known = true, .pins = pins, .n_pins = 2, .holders_known = true}};
	becomes(&nk_table_view_attachment, &a,
		"{\"device\":\"d\",\"hook\":\"tcx/egress\",\"position\":0,\"foreign\":true,\"attached\":true,\"link_id\":1,"
		"\"prog_id\":2,\"run_count\":0,\"run_time_ns\":0,\"pins\":[\"/a\",\"/b ?\"],\"holders\":[]}");
	becomes(&nk_table_view_owners, &o, "{\"holders\":[{\"pid\":12,\"comm\":\"x\\ny\"}]}");
}

static void the_daemon(void **state)
{
	const char *reasons[] = {"one", "two"}, *features[] = {"netkit"};
	struct nk_view_status s = {
		.version = "1.0", .uptime_s = 5, .revision_desired = 9, .revision_attempted = 8, .revision_converged = 7,
		.health = "degraded", .health_reasons = reasons, .n_health_reasons = 2, .devices = 1, .devices_ready = 2,
		.devices_pending = 3, .devices_degraded = 4, .devices_released = 5, .devices_unclaimed = 6, .interfaces = 14,
		.interfaces_ready = 15, .interfaces_pending = 16, .interfaces_degraded = 17, .programs = 7, .attachments = 8,
		.clients = 9, .subscribers = 10, .repairs = 11, .resyncs = 12, .kernel_errors = 13, .watcher = "bpf", .features = features,
		.n_features = 1,
	};
	struct nk_view_capability c = {"netkit", "present", "made one", "CONFIG_NETKIT", true};

	becomes(&nk_table_view_status, &s,
		"{\"version\":\"1.0\",\"uptime_s\":5,\"health\":\"degraded\",\"health_reasons\":[\"one\",\"two\"],"
		"\"revisions\":{\"desired\":9,\"attempted\":8,\"converged\":7},\"counts\":{\"devices\":1,\"devices_ready\":2,"
		"\"devices_pending\":3,\"devices_degraded\":4,\"devices_released\":5,\"devices_unclaimed\":6,\"interfaces\":14,"
		"\"interfaces_ready\":15,\"interfaces_pending\":16,\"interfaces_degraded\":17,\"programs\":7,"
		"\"attachments\":8,\"clients\":9,\"subscribers\":10,\"repairs\":11,\"resyncs\":12,\"kernel_errors\":13},"
		"\"watcher\":\"bpf\",\"features\":[\"netkit\"]}");
	becomes(&nk_table_view_capability, &c,
		"{\"name\":\"netkit\",\"state\":\"present\",\"how\":\"made one\",\"config\":\"CONFIG_NETKIT\",\"needed\":true}");
}

static void plans_and_events(void **state)
{
	struct nk_view_op op = {"load", "load", NULL, "load p"};
	json_t *ops = json_pack("[o]", nk_table_encode(&nk_table_view_op, &op)), *json;
	struct nk_view_plan plan = {.create = 1, .change = 2, .remove = 3, .unchanged = 4, .ops = ops};
	struct nk_result_apply a = {.revision = 4, .converged = true};
	struct nk_view_culprit culprit = {.pid = 2, .uid = 0, .comm = "ip", .cgroup = "session-3.scope"};
	struct nk_view_event_detail detail = {.message = "m", .revision = 7, .error = EBUSY, .extack = "x", .took_us = 1, .culprit = &culprit};
	struct nk_view_event e = {.seq = 1, .time = 1500000, .kind = "drift", .object = "device/a", .detail = &detail};
	struct nk_result_wait w = {.revision = 2};

	a.plan = json = nk_table_encode(&nk_table_view_plan, &plan);
	becomes(nk_methods[NK_M_STATE_APPLY].result, &a,
		"{\"revision\":4,\"converged\":true,\"plan\":{\"create\":1,\"change\":2,\"delete\":3,\"unchanged\":4,"
		"\"ops\":[{\"phase\":\"load\",\"op\":\"load\",\"text\":\"load p\"}]}}");
	becomes(nk_methods[NK_M_STATE_WAIT].result, &w, "{\"revision\":2,\"converged\":false,\"pending\":[]}");
	becomes(&nk_table_view_event, &e,
		"{\"seq\":1,\"time\":\"1970-01-01T00:00:01.500000Z\",\"kind\":\"drift\",\"object\":\"device/a\",\"detail\":{\"message\":\"m\","
		"\"revision\":7,\"errno\":\"EBUSY\",\"extack\":\"x\",\"took_us\":1,"
		"\"culprit\":{\"pid\":2,\"uid\":0,\"comm\":\"ip\",\"cgroup\":\"session-3.scope\"}}}");
	json_decref(ops);
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conditions),
		cmocka_unit_test(observed_devices),
		cmocka_unit_test(interfaces),
		cmocka_unit_test(desired_devices),
		cmocka_unit_test(programs_and_attachments),
		cmocka_unit_test(the_daemon),
		cmocka_unit_test(plans_and_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
