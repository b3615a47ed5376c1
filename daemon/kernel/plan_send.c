// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rtnetlink half of a running plan: operations to messages, acknowledgements to failures, and the visits to peers' namespaces.
 * Called by plan_run.c, in the executor's thread. Requests of the host's namespace are pipelined over the worker's socket; for a
 * peer elsewhere the thread goes there once a window, with a socket that lives for the visit only, because an open one would
 * keep a dead container's namespace alive.
 */
#include "daemon/kernel/run.h"

#include <errno.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/message.h"
#include "daemon/kernel/netns.h"
#include "daemon/kernel/rtnl.h"

/* Namespaces that stay open from one phase to the next. Small plans open each once; large ones must not run out of descriptors. */
#define NETNS_KEPT 128

/* Takes msg; NULL is -ENOMEM. */
static void add_message(struct nk_run *run, size_t i, struct nl_msg *msg)
{
	int r = msg ? nk_batch_add(run->w->batch, msg, i) : -ENOMEM;

	nlmsg_free(msg);
	if (r < 0)
		nk_run_fail_errno(run, i, r, NULL);
}

/* ---- what the kernel answers ---- */

/* Is what was to be done done all the same? */
static bool done_anyway(enum nk_op_kind kind, int error)
{
	switch (kind) {
	case NK_OP_DELETE:
		return error == -ENODEV;
	case NK_OP_ADDR_DEL:
		return error == -EADDRNOTAVAIL || error == -ENODEV;
	case NK_OP_ROUTE_DEL:
		return error == -ESRCH || error == -ENODEV;
	case NK_OP_INSPECT:
	case NK_OP_CLOSE:
	case NK_OP_UNPIN:
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
	case NK_OP_CREATE:
	case NK_OP_SET:
	case NK_OP_ADDR_ADD:
	case NK_OP_ROUTE_ADD:
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
	case NK_OP_OPEN:
		return false;
	}
	return false;
}

static void on_ack(size_t index, int error, const char *extack, void *arg)
{
	struct nk_run *run = arg;
	const struct nk_op *op = nk_run_op(run, index);
	struct nk_run_device *d = nk_run_device(run, index);

	if (!error) {
		/* Created, but the echo that tells its ifindex did not come: nothing can be done with it in this plan. */
		if (op->kind == NK_OP_CREATE && !d->ifindex)
			nk_run_fail_errno(run, index, -EPROTO, NULL);
		return;
	}
	if (done_anyway(op->kind, error))
		return;
	if (error == -EEXIST && (op->kind == NK_OP_CREATE || op->kind == NK_OP_ADDR_ADD || op->kind == NK_OP_ROUTE_ADD))
		run->exist[run->n_exist++] = (struct nk_run_existing){ index, extack ? strdup(extack) : NULL };
	else
		nk_run_fail_errno(run, index, error, extack);
}

/* The echo of CREATE: who the new device is. */
static void on_answer(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct nk_run *run = arg;
	const struct nk_op *op = nk_run_op(run, index);
	struct nk_run_device *d = nk_run_device(run, index);
	struct nk_link_info info;

	if (op->kind != NK_OP_CREATE || nk_parse_link(h, &info) < 0 || !info.netkit || !info.primary ||
	    strcmp(info.end.name, op->name))
		return;
	d->ifindex = info.end.ifindex;
	d->peer_ifindex = info.peer_ifindex;
	d->checked = true;
	d->raise = !op->dev->single;
}

/* ---- what is there already ---- */

struct search {
	const struct nk_op *op;
	uint32_t ifindex;
	bool found;
};

static void look(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct search *s = arg;
	struct nk_obs_route route;
	struct nk_obs_addr addr;
	uint32_t ifindex;

	(void)index;
	if (s->op->kind == NK_OP_ADDR_ADD)
		s->found |= !nk_parse_addr(h, &ifindex, &addr) && ifindex == s->ifindex && !nk_prefix_cmp(&addr.p, &s->op->addr);
	else
		s->found |= !nk_parse_route(h, &ifindex, &route) && ifindex == s->ifindex && !nk_route_cmp(&route.r, &s->op->route);
}

static uint32_t target(const struct nk_run *run, size_t i)
{
	const struct nk_run_device *d = nk_run_device(run, i);

	return nk_run_op(run, i)->end == NK_PRIMARY ? d->ifindex : d->peer_ifindex;
}

/*
 * The kernel says EEXIST of an address or route for the very same one, which is as good as having added it, and for one
 * that only has the same key and is in its way. Look which.
 */
static void settle_addition(struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	struct search s = { .op = op, .ifindex = target(run, i) };
	struct nl_msg *msg;
	int r;

	msg = op->kind == NK_OP_ADDR_ADD ? nk_msg_dump_addrs(s.ifindex)
					 : nk_msg_dump_routes(op->route.to.ip.len == 4 ? AF_INET : AF_INET6, s.ifindex);
	r = msg ? nk_rtnl_dump(run->socket, msg, look, &s) : -ENOMEM;
	nlmsg_free(msg);
	if (!s.found)
		nk_run_fail_errno(run, i, r < 0 && r != -EINTR ? r : -EEXIST, NULL);
}

/* Of a pair it is said of one end or the other. Takes extack. */
static void settle_creation(struct nk_run *run, size_t i, char *extack)
{
	const struct nk_op *op = nk_run_op(run, i);
	struct nk_failure f = {};

	if (nk_rtnl_link_exists(run->socket, op->name) == 1) {
		f.name_taken = true;
		nk_refuse(&f.error, NK_E_CONFLICT, -EEXIST, "cannot create %s: a link of this name is there already", op->name);
	} else {
		nk_refuse(&f.error, NK_E_CONFLICT, -EEXIST, "cannot create %s: its peer's namespace has a link %s already", op->name,
			op->dev->end[NK_PEER].name);
	}
	f.error.extack = extack;
	nk_run_fail(run, i, &f);
}

static void settle_existing(struct nk_run *run)
{
	for (size_t k = 0; k < run->n_exist; k++) {
		struct nk_run_existing *e = &run->exist[k];

		if (nk_run_op(run, e->op)->kind == NK_OP_CREATE) {
			settle_creation(run, e->op, e->extack);
		} else {
			free(e->extack);
			settle_addition(run, e->op);
		}
	}
	run->n_exist = 0;
}

void nk_run_flush(struct nk_run *run)
{
	int r;

	if (nk_batch_empty(run->w->batch))
		return;
	r = nk_rtnl_flush(run->w->host, run->w->batch, on_ack, on_answer, run);
	if (r < 0)
		nk_worker_renew_host(run->w);
	run->socket = run->w->host;
	settle_existing(run);
}

/* ---- is it still the device that is meant? ---- */

struct check {
	struct nk_run *run;
	size_t op;
};

static bool is_ours(const struct nk_link_info *info, const char *name, uint32_t group)
{
	size_t n = strlen(NK_ALIAS_PREFIX);

	if (!info->netkit || !info->primary)
		return false;
	if (!strncmp(info->alias, NK_ALIAS_PREFIX, n))
		return !strcmp(info->alias + n, name);
	/* Without the alias: created but never opened, or somebody removed it. */
	return nk_group_is_ours(group, info->group) || !strcmp(info->end.name, name);
}

static void on_check_answer(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct nk_run *run = arg;
	const struct nk_op *op = nk_run_op(run, index);
	struct nk_run_device *d = nk_run_device(run, index);
	struct nk_link_info info;
	struct nk_failure f = {};

	if (nk_parse_link(h, &info) < 0)
		return;
	d->checked = true;
	/* An interface is whatever link has its name. */
	if (op->dev && op->dev->interface ? !strcmp(info.end.name, d->name) : is_ours(&info, d->name, run->w->group)) {
		d->peer_ifindex = info.peer_ifindex;
		d->peer_nsid = info.peer_nsid;
		return;
	}
	nk_refuse(&f.error, NK_E_CONFLICT, -ESTALE, "link %u is '%s' now and not %s any more", info.end.ifindex, info.end.name,
		d->name);
	nk_run_fail(run, index, &f);
}

static void on_check_ack(size_t index, int error, const char *extack, void *arg)
{
	struct nk_run *run = arg;
	struct nk_run_device *d = nk_run_device(run, index);

	if (error == -ENODEV) {
		d->checked = true;
		d->ifindex = d->peer_ifindex = 0;
	} else if (error || !d->checked) {
		nk_run_fail_errno(run, index, error ?: -EPROTO, extack);
	}
}

void nk_run_check(struct nk_run *run, size_t begin, size_t end)
{
	int r;

	for (size_t i = begin; i < end; i++) {
		const struct nk_op *op = nk_run_op(run, i);
		struct nk_run_device *d = nk_run_device(run, i);

		/* Looking harms nobody. Several operations of one device: the first asks. */
		if (!d || d->failed || d->checked || !d->ifindex || op->kind == NK_OP_INSPECT ||
		    (i > begin && nk_run_device(run, i - 1) == d))
			continue;
		add_message(run, i, nk_msg_get_link(d->ifindex));
	}
	if (nk_batch_empty(run->w->batch))
		return;
	r = nk_rtnl_flush(run->w->host, run->w->batch, on_check_ack, on_check_answer, run);
	if (r < 0)
		nk_worker_renew_host(run->w);
}

/* ---- what the kernel keeps to itself ---- */

static void on_inspect_answer(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct nk_run *run = arg;
	struct nk_run_device *d = nk_run_device(run, index);
	struct nk_link_info info;
	int32_t nsid = NK_NSID_HOST;

	if (nk_parse_link(h, &info) < 0 || !info.netkit)
		return;
	if (info.primary) {
		d->peer_ifindex = info.peer_ifindex;
		d->peer_nsid = info.peer_nsid;
	} else {
		nsid = d->peer_nsid;
	}
	if (nk_result_add_message(run->res, nsid, h) < 0)
		nk_run_fail_errno(run, index, -ENOMEM, NULL);
}

/* An end that is gone has its own event; a namespace that is gone, too. */
static void on_inspect_ack(size_t index, int error, const char *extack, void *arg)
{
	(void)index;
	(void)error;
	(void)extack;
	(void)arg;
}

static void flush_inspection(struct nk_run *run)
{
	if (!nk_batch_empty(run->w->batch) &&
	    nk_rtnl_flush(run->w->host, run->w->batch, on_inspect_ack, on_inspect_answer, run) < 0)
		nk_worker_renew_host(run->w);
}

static bool is_inspection(const struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);

	/* Of an interface nothing but the chains is of interest. */
	return op->kind == NK_OP_INSPECT && !op->dev->interface && nk_run_wanted(run, i) && nk_run_device(run, i)->ifindex;
}

void nk_run_inspect_links(struct nk_run *run, size_t begin, size_t end)
{
	for (size_t i = begin; i < end; i++) {
		if (is_inspection(run, i)) {
			nk_run_device(run, i)->peer_ifindex = 0;
			add_message(run, i, nk_msg_get_link(nk_run_device(run, i)->ifindex));
		}
	}
	flush_inspection(run);
	for (size_t i = begin; i < end; i++) {
		const struct nk_run_device *d = nk_run_device(run, i);

		if (is_inspection(run, i) && d->peer_ifindex && d->peer_nsid != NK_NSID_NONE)
			add_message(run, i, nk_msg_get_link_of(d->peer_nsid, d->peer_ifindex));
	}
	flush_inspection(run);
}

/* ---- namespaces ---- */

static void close_netns(struct nk_run *run, struct nk_run_device *d)
{
	if (d->netns < 0)
		return;
	close(nk_take_fd(&d->netns));
	run->n_netns--;
}

void nk_run_close_netns(struct nk_run *run, bool all)
{
	if (!all && run->n_netns <= NETNS_KEPT)
		return;
	for (size_t i = 0; i < run->n_devices; i++)
		close_netns(run, &run->devices[i]);
}

/* Open the namespace that the device's definition names, unless it is open. *ret_nsid: its id here. false: failed and told. */
static bool open_netns(struct nk_run *run, size_t i, int32_t *ret_nsid)
{
	const struct nk_op *op = nk_run_op(run, i);
	struct nk_run_device *d = nk_run_device(run, i);
	struct nk_failure f = {};
	_close_ int fd = -1;
	int r;

	if (op->dev->single || op->dev->netns.kind == NK_NETNS_HOST) {
		*ret_nsid = NK_NSID_HOST;
		return true;
	}
	if (d->netns >= 0) {
		*ret_nsid = d->peer_nsid;
		return true;
	}
	r = nk_netns_open(&op->dev->netns, &fd, &f.error);
	if (r < 0) {
		f.netns_missing = true;
		nk_run_fail(run, i, &f);
		return false;
	}
	r = nk_netns_nsid(run->w->host, fd, ret_nsid);
	if (r < 0) {
		nk_fail(&f.error, NK_E_KERNEL, r, "cannot give the namespace of %s's peer an id", op->name);
		nk_run_fail(run, i, &f);
		return false;
	}
	d->netns = nk_take_fd(&fd);
	run->n_netns++;
	return true;
}

void nk_run_place(struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	int32_t nsid = NK_NSID_HOST;
	_close_ int fd = -1;

	if (!op->dev || op->dev->single)
		return;
	if (op->dev->netns.kind != NK_NETNS_HOST &&
	    (nk_netns_open(&op->dev->netns, &fd, NULL) < 0 || nk_netns_nsid(run->w->host, fd, &nsid) < 0))
		return;
	if (nk_result_add_place(run->res, op->name, nsid, fd) < 0)
		nk_run_fail_errno(run, i, -ENOMEM, NULL);
}

void nk_run_seek_netns(struct nk_run *run, size_t i)
{
	struct nk_failure f = { .netns_missing = true };
	_close_ int fd = -1;
	int r = nk_netns_open(&nk_run_op(run, i)->dev->netns, &fd, &f.error);

	/* One that can't be opened for another reason is there. */
	if (r == -ENOENT || r == -ESRCH || r == -EINVAL)
		nk_run_fail(run, i, &f);
	else
		nk_error_clear(&f.error);
}

void nk_run_create(struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	struct nk_run_device *d = nk_run_device(run, i);
	int32_t nsid;

	close_netns(run, d);
	if (!open_netns(run, i, &nsid))
		return;
	d->ifindex = d->peer_ifindex = 0;
	d->peer_nsid = nsid;
	add_message(run, i, nk_msg_create(op->dev, run->w->group, nsid == NK_NSID_HOST ? -1 : d->netns));
	if (nk_result_add_place(run->res, op->name, nsid, d->netns) < 0)
		nk_run_fail_errno(run, i, -ENOMEM, NULL);
}

/* ---- operations to messages ---- */

static bool is_elsewhere(const struct nk_run *run, size_t i)
{
	return nk_run_op(run, i)->end == NK_PEER && nk_run_device(run, i)->peer_nsid != NK_NSID_HOST;
}

static struct nl_msg *message_of(const struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	uint32_t ifindex = target(run, i);

	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_CLOSE:
		return nk_msg_down(ifindex);
	case NK_OP_OPEN:
		return nk_msg_set(op->dev, NK_PRIMARY, ifindex, NK_SET_ALIAS, run->w->group, true);
	case NK_OP_SET:
		return nk_msg_set(op->dev, op->end, ifindex, op->what & ~NK_SET_UP, run->w->group, op->what & NK_SET_UP);
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
		return nk_msg_addr(op->kind == NK_OP_ADDR_ADD, ifindex, &op->addr);
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
		return nk_msg_route(op->kind == NK_OP_ROUTE_ADD, ifindex, &op->route);
	case NK_OP_INSPECT:
	case NK_OP_DELETE:
	case NK_OP_UNPIN:
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
	case NK_OP_CREATE:
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		break;
	}
	return NULL;
}

static void add(struct nk_run *run, size_t i)
{
	if (target(run, i))
		add_message(run, i, message_of(run, i));
	else
		nk_run_fail_errno(run, i, -ENODEV, NULL);
}

/* A pair is created with its peer down, whatever the request says. Operation i is any of the device's. */
static void add_raise(struct nk_run *run, size_t i)
{
	struct nk_run_device *d = nk_run_device(run, i);

	if (!d->raise)
		return;
	d->raise = false;
	add_message(run, i, nk_msg_set(nk_run_op(run, i)->dev, NK_PEER, d->peer_ifindex, 0, run->w->group, true));
}

void nk_run_send(struct nk_run *run, size_t i)
{
	if (is_elsewhere(run, i))
		return;
	if (nk_run_device(run, i)->peer_nsid == NK_NSID_HOST)
		add_raise(run, i);
	add(run, i);
}

/* Is operation i one that a visit makes? */
static bool is_visit(const struct nk_run *run, size_t i)
{
	const struct nk_run_device *d = nk_run_device(run, i);

	if (!d || d->failed || d->peer_nsid == NK_NSID_HOST)
		return false;
	switch ((enum nk_op_kind)nk_run_op(run, i)->kind) {
	case NK_OP_OPEN:
		return d->raise; /* where no earlier visit did that */
	case NK_OP_SET:
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
		return is_elsewhere(run, i);
	case NK_OP_INSPECT:
	case NK_OP_CLOSE:
	case NK_OP_DELETE:
	case NK_OP_UNPIN:
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
	case NK_OP_CREATE:
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		return false;
	}
	return false;
}

/* All operations of one peer in this window, from begin to end, in one conversation in its namespace. */
static void visit(struct nk_run *run, size_t begin, size_t end)
{
	struct nk_run_device *d = nk_run_device(run, begin);
	struct nk_rtnl *socket = NULL;
	struct nk_failure f = {};
	int32_t nsid;
	int r;

	if (!open_netns(run, begin, &nsid))
		return;
	if (nsid != d->peer_nsid) {
		nk_result_add_place(run->res, d->name, nsid, d->netns);
		nk_refuse(&f.error, NK_E_CONFLICT, -ESTALE, "the peer of %s is not in the namespace that its definition names", d->name);
		nk_run_fail(run, begin, &f);
		return;
	}
	r = nk_netns_enter(d->netns);
	if (!r)
		r = nk_rtnl_open(&socket);
	if (r < 0) {
		nk_fail(&f.error, NK_E_KERNEL, r, "cannot enter the namespace of %s's peer", d->name);
		nk_run_fail(run, begin, &f);
		return;
	}
	add_raise(run, begin);
	for (size_t i = begin; i < end; i++) {
		if (is_visit(run, i))
			add(run, i);
	}
	run->socket = socket;
	if (!nk_batch_empty(run->w->batch))
		nk_rtnl_flush(socket, run->w->batch, on_ack, NULL, run);
	settle_existing(run);
	run->socket = run->w->host;
	nk_rtnl_close(socket);
}

void nk_run_visits(struct nk_run *run, size_t begin, size_t end)
{
	bool away = false;

	for (size_t i = begin; i < end;) {
		struct nk_run_device *d = nk_run_device(run, i);
		size_t next = i + 1;

		if (is_visit(run, i)) {
			while (next < end && nk_run_device(run, next) == d)
				next++;
			visit(run, i, next);
			away = true;
		}
		i = next;
	}
	/* Everything else the thread does belongs into the host's namespace. Failing to come home can't be repaired from here. */
	if (away && nk_netns_leave() < 0)
		abort();
}
