// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs plans, snapshots and the watcher against the real kernel without a daemon, and prints what came back as JSON, a line a result.
 * test_kernel.py calls it and reads the kernel's state with ip and bpftool. Its devices are t0, t1, …, with the peer eth0 in
 * the namespace t0, t1, …; they carry a group and pins of their own, so that a running netkitd leaves them alone.
 */
#include <errno.h>
#include <jansson.h>
#include <net/if.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/kernel/executor.h"
#include "daemon/kernel/probe.h"
#include "daemon/kernel/watch.h"

#define GROUP 7700
#define BPFFS "/sys/fs/bpf/kernel_check"

static const char *object_path = "/usr/lib/netkitd/bpf/acct.bpf.o";

static void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	exit(1);
}

static void check(const char *what, int r)
{
	if (r < 0)
		die(what, r);
}

static void print(json_t *json)
{
	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(json);
}

/* ---- documents by hand ---- */

static struct nk_program *program(const char *name)
{
	struct nk_program *p = nk_program_new();

	snprintf(p->name, sizeof(p->name), "%s", name);
	p->path = strdup(object_path);
	p->program = strdup(name);
	return p;
}

__attribute__((format(printf, 2, 3))) static void add_address(struct nk_end *e, const char *format, ...)
{
	char text[64];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	e->addrs = reallocarray(e->addrs, e->n_addrs + 1, sizeof(*e->addrs));
	check("address", nk_prefix_parse(text, &e->addrs[e->n_addrs++]));
}

__attribute__((format(printf, 2, 3))) static void add_route(struct nk_end *e, const char *format, ...)
{
	struct nk_route route = {};
	char text[64];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	check("route", nk_prefix_parse(text, &route.to));
	e->routes = reallocarray(e->routes, e->n_routes + 1, sizeof(*e->routes));
	e->routes[e->n_routes++] = route;
}

static void add_attachment(struct nk_device *d, const char *name, enum nk_hook hook)
{
	struct nk_attachment *a;

	d->attachments = reallocarray(d->attachments, d->n_attachments + 1, sizeof(*d->attachments));
	a = &d->attachments[d->n_attachments++];
	*a = (struct nk_attachment){ .hook = hook };
	snprintf(a->name, sizeof(a->name), "%s", name);
	snprintf(a->program, sizeof(a->program), "%s", name);
}

static struct nk_device *device(unsigned i)
{
	struct nk_device *d = nk_device_new();

	snprintf(d->end[NK_PRIMARY].name, NK_IFNAMSIZ, "t%u", i);
	snprintf(d->end[NK_PEER].name, NK_IFNAMSIZ, "eth0");
	d->end[NK_PEER].policy = NK_POLICY_DROP;
	d->netns.kind = NK_NETNS_NAME;
	d->netns.path = strdup(d->end[NK_PRIMARY].name);
	add_address(&d->end[NK_PRIMARY], "169.254.1.1/32");
	add_address(&d->end[NK_PEER], "10.77.%u.%u/32", i / 250, i % 250);
	add_address(&d->end[NK_PEER], "fd77::%x:%x/128", i / 250, i % 250);
	add_route(&d->end[NK_PRIMARY], "10.77.%u.%u/32", i / 250, i % 250);
	add_route(&d->end[NK_PRIMARY], "fd77::%x:%x/128", i / 250, i % 250);
	add_route(&d->end[NK_PEER], "0.0.0.0/0");
	add_route(&d->end[NK_PEER], "::/0");
	add_attachment(d, "pod_ingress", NK_HOOK_NETKIT_PRIMARY);
	add_attachment(d, "pod_egress", NK_HOOK_NETKIT_PEER);
	nk_device_normalise(d);
	return d;
}

/* ---- jobs and results ---- */

static json_t *chain_json(const struct nk_chain_report *c)
{
	json_t *links = json_array();

	for (uint32_t i = 0; i < c->chain.n; i++)
		json_array_append_new(links, json_pack("{s:s,s:i,s:i}", "name", c->chain.links[i].name, "link", c->chain.links[i].link_id,
						       "program", c->chain.links[i].prog_id));
	return json_pack("{s:i,s:s,s:o}", "ifindex", c->ifindex, "hook", nk_hook_name(c->hook), "links", links);
}

static json_t *result_json(const struct nk_result *res)
{
	json_t *failures = json_array(), *chains = json_array(), *places = json_array();

	for (size_t i = 0; i < res->n_failures; i++) {
		const struct nk_failure *f = &res->failures[i];
		const struct nk_op *op = &res->plan.ops[f->op];

		json_array_append_new(failures, json_pack("{s:s,s:s,s:s?,s:i,s:s?,s:b,s:b}", "op", nk_op_name(op->kind), "device", op->name,
							  "message", f->error.message, "errno", f->error.error, "extack",
							  f->error.extack, "name_taken", f->name_taken, "netns_missing",
							  f->netns_missing));
	}
	for (size_t i = 0; i < res->n_chains; i++)
		json_array_append_new(chains, chain_json(&res->chains[i]));
	for (size_t i = 0; i < res->n_places; i++)
		json_array_append_new(places, json_pack("{s:s,s:i}", "device", res->places[i].device, "nsid", res->places[i].nsid));
	return json_pack("{s:I,s:I,s:b,s:i,s:I,s:o,s:o,s:o}", "ops", (json_int_t)res->plan.n, "done", (json_int_t)res->n_done,
			 "cancelled", res->cancelled, "error", res->error, "messages", (json_int_t)res->messages_len, "failures",
			 failures, "chains", chains, "places", places);
}

static struct nk_executor *start(void)
{
	struct nk_executor_options options = { .group = GROUP, .bpffs = BPFFS };
	struct nk_error err = {};
	struct nk_executor *x;

	if (nk_executor_new(&options, &x, &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		exit(1);
	}
	return x;
}

/* Wait for results up to the job's last; the caller frees it. */
static struct nk_result *wait_for(struct nk_executor *x, int cancel_after_ms)
{
	struct pollfd p = { .fd = nk_executor_fd(x), .events = POLLIN };

	for (;;) {
		struct nk_result *res;

		if (!poll(&p, 1, cancel_after_ms)) {
			nk_executor_cancel(x);
			cancel_after_ms = -1;
			continue;
		}
		res = nk_executor_next(x);
		if (res && res->last)
			return res;
		if (res)
			print(result_json(res));
		nk_result_free(res);
	}
}

static struct nk_result *run_plan(struct nk_executor *x, struct nk_plan *plan, bool by_group, int cancel_after_ms)
{
	struct nk_job job = { .kind = NK_JOB_PLAN, .delete_by_group = by_group };

	nk_plan_order(plan);
	job.plan = *plan;
	*plan = (struct nk_plan){};
	check("submit", nk_executor_submit(x, &job));
	return wait_for(x, cancel_after_ms);
}

static void load(struct nk_executor *x)
{
	struct nk_plan plan = {};
	struct nk_result *res;

	for (int i = 0; i < 2; i++) {
		struct nk_program *p = program(i ? "pod_egress" : "pod_ingress");
		struct nk_op op = { .kind = NK_OP_LOAD, .phase = NK_PHASE_LOAD, .prog = p };

		check("plan", nk_plan_add(&plan, &op));
		nk_program_unref(p);
	}
	res = run_plan(x, &plan, false, -1);
	for (size_t i = 0; i < res->n_programs; i++)
		print(json_pack("{s:s,s:i,s:s}", "loaded", res->programs[i].name, "id", res->programs[i].id, "tag", res->programs[i].tag));
	if (res->n_failures)
		print(result_json(res));
	nk_result_free(res);
}

static uint32_t loaded_id(const char *name, void *arg)
{
	(void)name;
	(void)arg;
	return 1; /* diff only asks whether it is loaded */
}

/* create N [CANCEL_AFTER_MS [missing]]: with `missing`, the last device has an attachment whose program nobody loads. */
static int create(int argc, char **argv)
{
	struct nk_diff_env env = { .prog_id = loaded_id };
	struct nk_executor *x = start();
	struct nk_plan plan = {};
	struct nk_result *res;
	unsigned n = argc > 0 ? atoi(argv[0]) : 1;

	load(x);
	for (unsigned i = 0; i < n; i++) {
		struct nk_device *d = device(i);
		enum nk_verdict verdict;

		if (argc > 2 && i == n - 1)
			add_attachment(d, "nobody", NK_HOOK_NETKIT_PEER);
		check("diff", nk_diff(d, NULL, &env, &plan, &verdict));
		nk_device_unref(d);
	}
	res = run_plan(x, &plan, false, argc > 1 ? atoi(argv[1]) : -1);
	print(result_json(res));
	nk_result_free(res);
	nk_executor_free(x);
	return 0;
}

/* delete NAME=IFINDEX…, by group when the first argument is "group". */
static int delete(int argc, char **argv)
{
	bool by_group = argc > 0 && !strcmp(argv[0], "group");
	struct nk_executor *x = start();
	struct nk_plan plan = {};
	struct nk_result *res;

	for (int i = by_group; i < argc; i++) {
		struct nk_op op = { .kind = NK_OP_DELETE, .phase = NK_PHASE_DELETE };

		if (sscanf(argv[i], "%15[^=]=%u", op.name, &op.ifindex) != 2)
			die(argv[i], -EINVAL);
		check("plan", nk_plan_add(&plan, &op));
	}
	res = run_plan(x, &plan, by_group, -1);
	print(result_json(res));
	nk_result_free(res);
	nk_executor_free(x);
	return 0;
}

/* attach NAME IFINDEX HOOK(0,1) PROGRAM: the attachment of the program's name, as a plan for a live device. */
static int attach(int argc, char **argv)
{
	struct nk_executor *x = start();
	struct nk_plan plan = {};
	struct nk_op op = { .kind = NK_OP_ATTACH, .phase = NK_PHASE_ATTACH };
	struct nk_result *res;

	if (argc != 4)
		die("attach", -EINVAL);
	load(x);
	snprintf(op.name, sizeof(op.name), "%s", argv[0]);
	op.ifindex = atoi(argv[1]);
	op.hook = atoi(argv[2]);
	snprintf(op.att.name, sizeof(op.att.name), "%s", argv[3]);
	snprintf(op.att.program, sizeof(op.att.program), "%s", argv[3]);
	check("plan", nk_plan_add(&plan, &op));
	res = run_plan(x, &plan, false, -1);
	print(result_json(res));
	nk_result_free(res);
	nk_executor_free(x);
	return 0;
}

/* open N: device tN alone, as it is. */
static int open_one(int argc, char **argv)
{
	struct nk_executor *x = start();
	struct nk_plan plan = {};
	struct nk_op op = { .kind = NK_OP_OPEN, .phase = NK_PHASE_OPEN };
	struct nk_device *d;
	struct nk_result *res;

	if (argc != 1)
		die("open", -EINVAL);
	d = device(atoi(argv[0]));
	op.dev = d;
	snprintf(op.name, sizeof(op.name), "%s", nk_device_name(d));
	op.ifindex = if_nametoindex(op.name);
	check("plan", nk_plan_add(&plan, &op));
	nk_device_unref(d);
	res = run_plan(x, &plan, false, -1);
	print(result_json(res));
	nk_result_free(res);
	nk_executor_free(x);
	return 0;
}

/* load OBJECT PROGRAM */
static int load_one(int argc, char **argv)
{
	struct nk_executor *x = start();
	struct nk_plan plan = {};
	struct nk_op op = { .kind = NK_OP_LOAD, .phase = NK_PHASE_LOAD };
	struct nk_program *p;
	struct nk_result *res;

	if (argc != 2)
		die("load", -EINVAL);
	object_path = argv[0];
	p = program(argv[1]);
	op.prog = p;
	check("plan", nk_plan_add(&plan, &op));
	nk_program_unref(p);
	res = run_plan(x, &plan, false, -1);
	for (size_t i = 0; i < res->n_programs; i++)
		print(json_pack("{s:s,s:i,s:s}", "loaded", res->programs[i].name, "id", res->programs[i].id, "tag", res->programs[i].tag));
	print(result_json(res));
	nk_result_free(res);
	nk_executor_free(x);
	return 0;
}

/* snapshot N: with the definitions of N devices. */
static int snapshot(int argc, char **argv)
{
	struct nk_executor *x = start();
	struct nk_job job = { .kind = NK_JOB_SNAPSHOT, .n_devices = argc > 0 ? atoi(argv[0]) : 0 };
	struct nk_result *res;

	job.devices = calloc(job.n_devices + 1, sizeof(*job.devices));
	for (size_t i = 0; i < job.n_devices; i++)
		job.devices[i] = device(i);
	check("submit", nk_executor_submit(x, &job));
	res = wait_for(x, -1);
	print(result_json(res));
	nk_result_free(res);
	nk_executor_free(x);
	return 0;
}

/* What somebody did, as the tests name it. */
static const char *const did[NK_WATCH_WHATS] = {
	[NK_WATCH_LINK_RELEASED] = "closed a link",
	[NK_WATCH_LINK_DETACHED] = "detached a link",
	[NK_WATCH_LINK_UPDATED] = "exchanged a link's program",
	[NK_WATCH_LINK_ATTACHED] = "attached a link",
	[NK_WATCH_PROG_ATTACHED] = "attached a program",
	[NK_WATCH_PROG_DETACHED] = "detached a program",
	[NK_WATCH_PIN_REMOVED] = "removed a pin",
	[NK_WATCH_BPFFS_UNMOUNTED] = "unmounted bpffs",
	[NK_WATCH_WATCHER_REMOVED] = "removed the watcher",
	[NK_WATCH_DEVICE_SET] = "changed a link",
	[NK_WATCH_DEVICE_DELETED] = "deleted a link",
	[NK_WATCH_ADDR_ADDED] = "added an address",
	[NK_WATCH_ADDR_DELETED] = "deleted an address",
	[NK_WATCH_ROUTE_ADDED] = "added a route",
	[NK_WATCH_ROUTE_DELETED] = "deleted a route",
};

static void print_event(const struct nk_watch_event *e, void *arg)
{
	(void)arg;
	print(json_pack("{s:s,s:i,s:i,s:i,s:i,s:s}", "what", did[e->who.what], "ifindex", e->ifindex, "link", e->link_id, "pid",
			e->who.pid, "uid", e->who.uid, "comm", e->who.comm));
}

/* watch: prints "ready", then events until it is killed. */
static int watch(void)
{
	struct pollfd p = { .events = POLLIN };
	struct nk_watch *w;
	char why[256] = "";
	int r = nk_watch_open(0, print_event, NULL, &w, why, sizeof(why));

	if (r < 0) {
		fprintf(stderr, "watch: %s\n", why);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	p.fd = nk_watch_fd(w);
	while (poll(&p, 1, -1) >= 0)
		nk_watch_read(w);
	nk_watch_close(w);
	return 0;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	struct nk_probe probe;

	argc -= 2;
	argv += 2;
	if (!strcmp(command, "create"))
		return create(argc, argv);
	if (!strcmp(command, "delete"))
		return delete(argc, argv);
	if (!strcmp(command, "attach"))
		return attach(argc, argv);
	if (!strcmp(command, "open"))
		return open_one(argc, argv);
	if (!strcmp(command, "load"))
		return load_one(argc, argv);
	if (!strcmp(command, "snapshot"))
		return snapshot(argc, argv);
	if (!strcmp(command, "watch"))
		return watch();
	if (!strcmp(command, "probe")) {
		check("probe", nk_probe_run(BPFFS, &probe));
		nk_probe_tracing(&probe);
		return nk_probe_print(&probe, stdout);
	}
	fprintf(stderr, "usage: kernel_check create|delete|attach|open|load|snapshot|watch|probe …\n");
	return 2;
}
