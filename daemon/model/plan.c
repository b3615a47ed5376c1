// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list of operations: its life, its order and its words. Filled by diff and reconcile, run by the executor, printed for dry_run and
 * events. What the operations should be is not decided here.
 */
#include "daemon/model/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void nk_plan_clear(struct nk_plan *p)
{
	nk_plan_truncate(p, 0);
	free(p->ops);
	memset(p, 0, sizeof(*p));
}

void nk_plan_truncate(struct nk_plan *p, size_t n)
{
	while (p->n > n) {
		struct nk_op *op = &p->ops[--p->n];

		nk_device_unref(op->dev);
		nk_program_unref(op->prog);
	}
}

int nk_plan_add(struct nk_plan *p, const struct nk_op *op)
{
	if (p->n == p->room) {
		size_t room = p->room ? p->room * 2 : 16;
		struct nk_op *ops = reallocarray(p->ops, room, sizeof(*ops));

		if (!ops)
			return -ENOMEM;
		p->ops = ops;
		p->room = room;
	}
	p->ops[p->n++] = *op;
	nk_device_ref(op->dev);
	nk_program_ref(op->prog);
	return 0;
}

/* A counting sort: each operation learns its place, then every exchange brings at least one there. */
void nk_plan_order(struct nk_plan *p)
{
	size_t start[NK_PHASES + 1] = { 0 };

	for (size_t i = 0; i < p->n; i++)
		start[p->ops[i].phase + 1]++;
	for (size_t i = 1; i <= NK_PHASES; i++)
		start[i] += start[i - 1];
	for (size_t i = 0; i < p->n; i++)
		p->ops[i].place = (uint32_t)start[p->ops[i].phase]++;

	for (size_t i = 0; i < p->n; i++)
		while (p->ops[i].place != i) {
			struct nk_op other = p->ops[p->ops[i].place];

			p->ops[p->ops[i].place] = p->ops[i];
			p->ops[i] = other;
		}
}

const char *nk_verdict_name(enum nk_verdict v)
{
	switch (v) {
	case NK_VERDICT_OK:
		return "ok";
	case NK_VERDICT_CREATE:
		return "create";
	case NK_VERDICT_CHANGE:
		return "change";
	case NK_VERDICT_RECREATE:
		return "recreate";
	case NK_VERDICT_DELETE:
		return "delete";
	case NK_VERDICT_INSPECT:
		return "inspect";
	case NK_VERDICT_BLOCKED:
		return "blocked";
	case NK_VERDICT_CONFLICT:
		return "conflict";
	case NK_VERDICT_ABSENT:
		return "absent";
	}
	return "?";
}

const char *nk_op_name(enum nk_op_kind k)
{
	switch (k) {
	case NK_OP_INSPECT:
		return "inspect";
	case NK_OP_CLOSE:
		return "close";
	case NK_OP_DELETE:
		return "delete";
	case NK_OP_UNPIN:
		return "unpin";
	case NK_OP_LOAD:
		return "load";
	case NK_OP_UNLOAD:
		return "unload";
	case NK_OP_CREATE:
		return "create";
	case NK_OP_SET:
		return "set";
	case NK_OP_ADDR_ADD:
		return "add address";
	case NK_OP_ADDR_DEL:
		return "remove address";
	case NK_OP_ROUTE_ADD:
		return "add route";
	case NK_OP_ROUTE_DEL:
		return "remove route";
	case NK_OP_ATTACH:
		return "attach";
	case NK_OP_UPDATE:
		return "update";
	case NK_OP_MOVE:
		return "move";
	case NK_OP_DETACH:
		return "detach";
	case NK_OP_OPEN:
		return "open";
	}
	return "?";
}

const char *nk_phase_name(enum nk_phase p)
{
	switch (p) {
	case NK_PHASE_INSPECT:
		return "inspect";
	case NK_PHASE_CLOSE:
		return "close";
	case NK_PHASE_DELETE:
		return "delete";
	case NK_PHASE_LOAD:
		return "load";
	case NK_PHASE_CREATE:
		return "create";
	case NK_PHASE_ATTACH:
		return "attach";
	case NK_PHASE_CONFIGURE:
		return "configure";
	case NK_PHASE_DETACH:
		return "detach";
	case NK_PHASE_OPEN:
		return "open";
	case NK_PHASE_ROUTE:
		return "route";
	}
	return "?";
}

/* Text under construction; what does not fit is cut. */
struct text {
	char *buf;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void append(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->buf + t->len, t->size - t->len, format, args);
	va_end(args);
	if (n > 0)
		t->len = (size_t)n < t->size - t->len ? t->len + (size_t)n : t->size - 1;
}

/* "MTU, queue length"; `separator` comes before the first. */
static void append_settings(struct text *t, uint32_t what, const char *separator)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{ NK_SET_NAME, "name" },
		{ NK_SET_UP, "up" },
		{ NK_SET_GROUP, "group" },
		{ NK_SET_ALIAS, "alias" },
		{ NK_SET_POLICY, "policy" },
		{ NK_SET_PEER_POLICY, "the peer's policy" },
		{ NK_SET_MTU, "MTU" },
		{ NK_SET_MAC, "MAC address" },
		{ NK_SET_TXQLEN, "queue length" },
		{ NK_SET_GSO_MAX, "GSO maximum" },
		{ NK_SET_GRO_MAX, "GRO maximum" },
		{ NK_SET_GSO_IPV4_MAX, "IPv4 GSO maximum" },
		{ NK_SET_GRO_IPV4_MAX, "IPv4 GRO maximum" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (what & names[i].bit) {
			append(t, "%s%s", separator, names[i].name);
			separator = ", ";
		}
}

static void append_route(struct text *t, const struct nk_route *r)
{
	char prefix[NK_PREFIX_STRLEN];

	append(t, " %s", nk_prefix_format(&r->to, prefix));
	if (r->via.len)
		append(t, " via %s", nk_ip_format(&r->via, prefix));
	if (r->src.len)
		append(t, " src %s", nk_ip_format(&r->src, prefix));
	if (r->metric)
		append(t, " metric %u", r->metric);
	if (r->onlink)
		append(t, " onlink");
}

/* "web-1", or "the peer of web-1". */
static void append_end(struct text *t, const struct nk_op *op)
{
	append(t, "%s%s", op->end == NK_PEER ? "the peer of " : "", op->name);
}

char *nk_op_describe(const struct nk_op *op, char *buf, size_t size)
{
	struct text t = { .buf = buf, .size = size };
	char prefix[NK_PREFIX_STRLEN];

	append(&t, "%s", nk_op_name(op->kind));
	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_INSPECT:
	case NK_OP_CLOSE:
	case NK_OP_DELETE:
	case NK_OP_CREATE:
	case NK_OP_OPEN:
		append(&t, " %s", op->name);
		break;
	case NK_OP_UNPIN:
		append(&t, " what is left of %s", op->name);
		break;
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
		append(&t, " program %s", op->prog ? op->prog->name : "?");
		break;
	case NK_OP_SET:
		append_settings(&t, op->what, " ");
		append(&t, " of ");
		append_end(&t, op);
		break;
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
		append(&t, " %s %s ", nk_prefix_format(&op->addr, prefix), op->kind == NK_OP_ADDR_ADD ? "to" : "from");
		append_end(&t, op);
		break;
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
		append_route(&t, &op->route);
		append(&t, " %s ", op->kind == NK_OP_ROUTE_ADD ? "to" : "from");
		append_end(&t, op);
		break;
	case NK_OP_ATTACH:
		append(&t, " %s (program %s) at %s of %s", op->att.name, op->att.program, nk_hook_name(op->hook), op->name);
		if (op->att.before_prog)
			append(&t, ", before program %u", op->att.before_prog);
		break;
	case NK_OP_MOVE:
		append(&t, " %s at %s of %s ", op->att.name, nk_hook_name(op->hook), op->name);
		if (op->att.before_prog)
			append(&t, "before program %u", op->att.before_prog);
		else
			append(&t, "to the end");
		break;
	case NK_OP_UPDATE:
		append(&t, " %s (to program %s) at %s of %s", op->att.name, op->att.program, nk_hook_name(op->hook), op->name);
		break;
	case NK_OP_DETACH:
		append(&t, " %s at %s of %s", op->att.name, nk_hook_name(op->hook), op->name);
		break;
	}
	return buf;
}

/* ---- what was done ---- */

static uint32_t area_of(const struct nk_op *op)
{
	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_DELETE:
	case NK_OP_CREATE:
		return NK_DRIFT_DEVICE;
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		return NK_DRIFT_CHAIN;
	case NK_OP_SET:
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
		return op->end == NK_PEER ? NK_DRIFT_PEER : NK_DRIFT_PRIMARY;
	case NK_OP_OPEN:
		return NK_DRIFT_PRIMARY;
	case NK_OP_LOAD:
		return NK_DRIFT_PIN;
	case NK_OP_CLOSE:
	case NK_OP_INSPECT:
	case NK_OP_UNPIN:
	case NK_OP_UNLOAD:
		return 0;
	}
	return 0;
}

static bool has_op(const struct nk_op *ops, size_t n, enum nk_op_kind kind)
{
	for (size_t i = 0; i < n; i++)
		if (ops[i].kind == kind)
			return true;
	return false;
}

uint32_t nk_drift_areas(const struct nk_op *ops, size_t n)
{
	bool closes = has_op(ops, n, NK_OP_CLOSE);
	uint32_t areas = 0;

	if (has_op(ops, n, NK_OP_CREATE))
		return NK_DRIFT_DEVICE;
	for (size_t i = 0; i < n; i++)
		if (ops[i].kind != NK_OP_OPEN || !closes)
			areas |= area_of(&ops[i]);
	return areas;
}

/* The smaller says more. 0: it follows from others, or says nothing of what was done. */
static int weight(const struct nk_op *op, bool closes, const bool down[NK_ENDS])
{
	bool v6;

	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_OPEN:
		return closes ? 0 : 1;
	case NK_OP_LOAD:
		return 1;
	case NK_OP_ATTACH:
		return 2;
	case NK_OP_UPDATE:
		return 3;
	case NK_OP_MOVE:
		return 4;
	case NK_OP_DETACH:
		return 5;
	case NK_OP_SET:
		return op->what & NK_SET_UP ? 1 : 6;
	case NK_OP_ADDR_DEL:
		return 8;
	case NK_OP_ADDR_ADD:
		/* The kernel takes them away with the link's being up. */
		v6 = op->addr.ip.len == 16;
		return v6 && (down[op->end] || (closes && op->end == NK_PRIMARY)) ? 0 : 7;
	case NK_OP_ROUTE_ADD:
		return down[op->end] || (closes && op->end == NK_PRIMARY) ? 0 : 9;
	case NK_OP_ROUTE_DEL:
		return 10;
	case NK_OP_CLOSE:
	case NK_OP_DELETE:
	case NK_OP_CREATE:
	case NK_OP_INSPECT:
	case NK_OP_UNPIN:
	case NK_OP_UNLOAD:
		return 0;
	}
	return 0;
}

static void append_setting_done(struct text *t, const struct nk_op *op)
{
	const char *whole = op->end == NK_PEER ? "" : "device ";

	if (op->what & (NK_SET_UP | NK_SET_NAME)) {
		append(t, "%s", whole);
		append_end(t, op);
		append(t, " was %s", op->what & NK_SET_UP ? "taken down" : "renamed");
		return;
	}
	append_settings(t, op->what, "");
	append(t, " of ");
	append_end(t, op);
	append(t, " %s changed", op->what & (op->what - 1) ? "were" : "was");
}

static void append_done(struct text *t, const struct nk_op *op)
{
	char prefix[NK_PREFIX_STRLEN];

	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		append(t, "attachment %s on %s %s", op->att.name, op->name,
		       op->kind == NK_OP_ATTACH ? "was detached" : op->kind == NK_OP_UPDATE ? "was given another program" :
		       op->kind == NK_OP_MOVE ? "was put out of its place" : "was put back");
		break;
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
		append(t, "address %s on ", nk_prefix_format(&op->addr, prefix));
		append_end(t, op);
		append(t, " was %s", op->kind == NK_OP_ADDR_ADD ? "removed" : "added");
		break;
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
		append(t, "route");
		append_route(t, &op->route);
		append(t, " on ");
		append_end(t, op);
		append(t, " was %s", op->kind == NK_OP_ROUTE_ADD ? "removed" : "added");
		break;
	case NK_OP_SET:
		append_setting_done(t, op);
		break;
	case NK_OP_OPEN:
		append(t, "device %s was taken down", op->name);
		break;
	case NK_OP_LOAD:
		append(t, "the pin of program %s was removed", op->prog->name);
		break;
	case NK_OP_CLOSE:
	case NK_OP_DELETE:
	case NK_OP_CREATE:
	case NK_OP_INSPECT:
	case NK_OP_UNPIN:
	case NK_OP_UNLOAD:
		append(t, "device %s was changed", op->name);
		break;
	}
}

char *nk_drift_describe(const struct nk_op *ops, size_t n, const struct nk_obs_device *o, bool moved, char *buf, size_t size,
			size_t *ret_more)
{
	bool closes = has_op(ops, n, NK_OP_CLOSE), down[NK_ENDS] = { !closes && has_op(ops, n, NK_OP_OPEN) };
	struct text t = { .buf = buf, .size = size };
	const struct nk_op *main_op = &ops[0];
	int least = 0, things = 0;

	*ret_more = 0;
	if (has_op(ops, n, NK_OP_CREATE)) {
		if (!o || (!o->single && !o->end[NK_PEER].ifindex && !moved))
			append(&t, "device %s was deleted", ops[0].name);
		else if (!o->single && (!o->end[NK_PEER].ifindex || !o->peer_in_place))
			append(&t, "the peer of %s was moved to another namespace", ops[0].name);
		else
			append(&t, "device %s was made anew with other settings", ops[0].name);
		return buf;
	}
	for (size_t i = 0; i < n; i++)
		down[NK_PEER] |= ops[i].kind == NK_OP_SET && ops[i].end == NK_PEER && ops[i].what & NK_SET_UP;
	for (size_t i = 0; i < n; i++) {
		int w = weight(&ops[i], closes, down);

		things += w > 0;
		if (w && (!least || w < least)) {
			least = w;
			main_op = &ops[i];
		}
	}
	append_done(&t, main_op);
	*ret_more = things > 1 ? (size_t)things - 1 : 0;
	return buf;
}
