// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs a plan: window by window in the order of its operations, each window of one phase and of whole devices. It decides nothing, but
 * it is the last who can keep guarantee 2 (fail closed): a device is opened only after both its chains were read and hold
 * every attachment that its definition has. Runs in the executor's thread; rtnetlink and namespaces are plan_send.c's.
 *
 * Ifindexes are numbers that the loop saw some time ago. The kernel gives them out in a circle, so that one that comes back as
 * another device is rare, but somebody may ask for it (`ip link add index`), and deleting or configuring a stranger's device is
 * the worst that we could do. So each is looked at once before it is used; what remains is the instant in between.
 */
#include "daemon/kernel/run.h"

#include <errno.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/message.h"
#include "daemon/kernel/rtnl.h"

/*
 * What is done between two looks at whether to stop, as a sum of weights: some tenths of a second of work. Where the kernel waits for
 * RCU an operation weighs more: at each change of a chain, and at the deletion of a device that has one, once for each end.
 * Devices without a chain go with one wait for all that are in a request. It holds RTNL, which everybody on the host needs, from
 * its beginning to its end: so it, too, is kept short.
 */
#define WEIGHT_DELETE 1
#define WEIGHT_REQUEST 4
#define WEIGHT_CHAIN 32
#define WEIGHT_WINDOW 512

void nk_run_fail(struct nk_run *run, size_t i, struct nk_failure *f)
{
	struct nk_run_device *d = nk_run_device(run, i);

	if (d && d->failed) {
		nk_error_clear(&f->error);
		return;
	}
	if (d)
		d->failed = true;
	f->op = i;
	/* A failure that can't be told must not look like success: then the plan is to be made again. */
	if (nk_result_add_failure(run->res, f) < 0)
		run->res->cancelled = true;
}

void nk_run_fail_errno(struct nk_run *run, size_t i, int error, const char *extack)
{
	struct nk_failure f = {};
	char what[160];

	nk_fail(&f.error, NK_E_KERNEL, error, "cannot %s", nk_op_describe(nk_run_op(run, i), what, sizeof(what)));
	if (extack)
		f.error.extack = strdup(extack);
	nk_run_fail(run, i, &f);
}

static struct nk_run_device *find_device(const struct nk_run *run, const char *name)
{
	struct nk_map_node *node = nk_map_first(&run->by_name, nk_hash_text(NK_HASH_SEED, name));

	for (; node; node = nk_map_next(node)) {
		struct nk_run_device *d = nk_map_entry(node, struct nk_run_device, node);

		if (!strcmp(d->name, name))
			return d;
	}
	return NULL;
}

/* Sort out which operation is about which device. 0 or -ENOMEM. */
static int prepare(struct nk_run *run)
{
	const struct nk_plan *plan = &run->res->plan;

	run->devices = calloc(plan->n + 1, sizeof(*run->devices));
	run->device_of = calloc(plan->n + 1, sizeof(*run->device_of));
	run->exist = calloc(plan->n + 1, sizeof(*run->exist));
	if (!run->devices || !run->device_of || !run->exist || nk_map_init(&run->by_name) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n; i++) {
		const struct nk_op *op = &plan->ops[i];
		struct nk_run_device *d;

		run->device_of[i] = NK_RUN_NO_DEVICE;
		if (!op->name[0])
			continue;
		d = find_device(run, op->name);
		if (!d) {
			d = &run->devices[run->n_devices++];
			*d = (struct nk_run_device){ .name = op->name, .netns = -1 };
			nk_map_insert(&run->by_name, &d->node, nk_hash_text(NK_HASH_SEED, op->name));
		}
		/* The later ones of a device that is created anew have no ifindex yet. */
		if (op->ifindex) {
			d->ifindex = op->ifindex;
			d->peer_ifindex = op->peer_ifindex;
		}
		run->device_of[i] = d - run->devices;
	}
	return 0;
}

static void finish(struct nk_run *run)
{
	nk_run_close_netns(run, true);
	nk_map_clear(&run->by_name);
	free(run->devices);
	free(run->device_of);
	free(run->exist);
}

static unsigned weight(const struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);

	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_ATTACH:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		return WEIGHT_CHAIN;
	case NK_OP_DELETE:
		return nk_bpf_has_links(run->w->bpf, op->name) ? WEIGHT_CHAIN : WEIGHT_DELETE;
	case NK_OP_LOAD:
		return WEIGHT_WINDOW;
	case NK_OP_INSPECT:
	case NK_OP_CLOSE:
	case NK_OP_UNPIN:
	case NK_OP_UNLOAD:
	case NK_OP_CREATE:
	case NK_OP_SET:
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
	case NK_OP_UPDATE:
	case NK_OP_OPEN:
		return WEIGHT_REQUEST;
	}
	return WEIGHT_REQUEST;
}

/* Where the window that begins at i ends: in the same phase, and between two devices. */
static size_t window_end(const struct nk_run *run, size_t i)
{
	const struct nk_plan *plan = &run->res->plan;
	uint8_t phase = plan->ops[i].phase;
	unsigned sum = weight(run, i);
	size_t end = i + 1;

	while (end < plan->n && plan->ops[end].phase == phase &&
	       (sum < WEIGHT_WINDOW || (nk_run_device(run, end) && run->device_of[end] == run->device_of[end - 1])))
		sum += weight(run, end++);
	return end;
}

/* Read one chain and report it; ret (may be NULL) borrows what was reported. 0 or -errno. */
static int read_chain(struct nk_run *run, uint32_t ifindex, enum nk_hook hook, struct nk_obs_chain *ret)
{
	struct nk_obs_chain chain = {};
	int r = nk_bpf_query(run->w->bpf, ifindex, hook, &chain);

	if (r < 0)
		return r;
	if (ret)
		*ret = chain;
	return nk_result_add_chain(run->res, ifindex, hook, &chain);
}

/* A peer's chain is read through the primary; where there is no peer (any more) it has none. */
static int read_peer_chain(struct nk_run *run, uint32_t ifindex, struct nk_obs_chain *ret)
{
	struct nk_obs_chain none = {};
	int r = read_chain(run, ifindex, NK_HOOK_NETKIT_PEER, ret);

	if (r != -ENODEV)
		return r;
	*ret = none;
	return nk_result_add_chain(run->res, ifindex, NK_HOOK_NETKIT_PEER, &none);
}

/* Both chains. 0 or -errno: with the primary gone, that of its own hook. */
static int read_chains(struct nk_run *run, uint32_t ifindex, struct nk_obs_chain ret[NK_HOOKS])
{
	int r = read_chain(run, ifindex, NK_HOOK_NETKIT_PRIMARY, &ret[NK_HOOK_NETKIT_PRIMARY]);

	return r < 0 ? r : read_peer_chain(run, ifindex, &ret[NK_HOOK_NETKIT_PEER]);
}

/* Both of an interface. */
static int read_tcx_chains(struct nk_run *run, uint32_t ifindex)
{
	int r = read_chain(run, ifindex, NK_HOOK_TCX_INGRESS, NULL);

	return r < 0 ? r : read_chain(run, ifindex, NK_HOOK_TCX_EGRESS, NULL);
}

/* What was changed but not read yet; whoever waits for the result is to know the chains as they are. */
static void read_back(struct nk_run *run)
{
	for (size_t i = 0; i < run->n_devices; i++) {
		struct nk_run_device *d = &run->devices[i];
		struct nk_obs_chain unused;

		/* A device that is gone meanwhile is told by its own event. */
		if (d->touched[NK_HOOK_NETKIT_PRIMARY])
			read_chain(run, d->ifindex, NK_HOOK_NETKIT_PRIMARY, NULL);
		if (d->touched[NK_HOOK_NETKIT_PEER])
			read_peer_chain(run, d->ifindex, &unused);
		if (d->touched[NK_HOOK_TCX_INGRESS])
			read_chain(run, d->ifindex, NK_HOOK_TCX_INGRESS, NULL);
		if (d->touched[NK_HOOK_TCX_EGRESS])
			read_chain(run, d->ifindex, NK_HOOK_TCX_EGRESS, NULL);
	}
}

static bool holds(const struct nk_obs_chain *chain, const char *attachment)
{
	for (uint32_t i = 0; i < chain->n; i++) {
		if (!strcmp(chain->links[i].name, attachment))
			return true;
	}
	return false;
}

/* OPEN: read both chains; when everything is there, the request to go up joins the batch. */
static void run_open(struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	struct nk_run_device *d = nk_run_device(run, i);
	struct nk_obs_chain chains[NK_HOOKS] = {};
	int r = read_chains(run, d->ifindex, chains);

	if (r < 0) {
		nk_run_fail_errno(run, i, r, NULL);
		return;
	}
	memset(d->touched, 0, sizeof(d->touched));
	for (uint32_t a = 0; a < op->dev->n_attachments; a++) {
		const struct nk_attachment *att = &op->dev->attachments[a];

		if (!holds(&chains[att->hook], att->name)) {
			struct nk_failure f = {};

			nk_refuse(&f.error, NK_E_KERNEL, -ENOENT, "%s stays closed: attachment '%s' is not in the chain of %s", op->name,
				att->name, nk_hook_name(att->hook));
			nk_run_fail(run, i, &f);
			return;
		}
	}
	nk_run_send(run, i);
}

static void run_bpf(struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	struct nk_run_device *d = nk_run_device(run, i);
	struct nk_bpf *bpf = run->w->bpf;
	struct nk_error err = {};
	uint64_t *revision = &d->revision[op->hook];
	int r;

	/* The chain as it was compared; what was done to it in this plan is counted on. */
	if (!d->touched[op->hook])
		*revision = op->att.revision;
	if (op->kind == NK_OP_ATTACH)
		r = nk_bpf_attach(bpf, op->name, d->ifindex, op->hook, op->att.name, op->att.program, op->att.before_prog, revision, &err);
	else if (op->kind == NK_OP_UPDATE)
		r = nk_bpf_update(bpf, op->name, op->hook, op->att.name, op->att.program, op->att.old_prog, revision, &err);
	else if (op->kind == NK_OP_MOVE)
		r = nk_bpf_move(bpf, op->name, d->ifindex, op->hook, op->att.name, op->att.before_prog, revision, &err);
	else
		r = nk_bpf_detach(bpf, op->name, op->hook, op->att.name, revision, &err);
	d->touched[op->hook] = true;
	if (r < 0) {
		struct nk_failure f = { .error = err };

		nk_run_fail(run, i, &f);
	}
}

static void run_program(struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	struct nk_bpf_users users = { .devices = run->job->devices, .n = run->job->n_devices };
	struct nk_program_state state;
	struct nk_failure f = {};
	int r;

	if (op->kind == NK_OP_UNLOAD || op->what == NK_LOAD_PIN) {
		r = op->kind == NK_OP_UNLOAD ? nk_bpf_unload(run->w->bpf, op->prog->name)
					     : nk_bpf_repin_program(run->w->bpf, op->prog->name);
		if (r < 0)
			nk_run_fail_errno(run, i, r, NULL);
		return;
	}
	r = nk_bpf_load(run->w->bpf, op->prog, &users, &state, &f.error);
	if (state.id && nk_result_add_program(run->res, &state) < 0)
		r = -ENOMEM;
	if (r < 0)
		nk_run_fail(run, i, &f);
}

static void run_op(struct nk_run *run, size_t i)
{
	const struct nk_op *op = nk_run_op(run, i);
	const struct nk_run_device *d = nk_run_device(run, i);
	struct nk_obs_chain chains[NK_HOOKS];
	int r;

	if (op->kind == NK_OP_INSPECT && !op->ifindex) {
		nk_run_seek_netns(run, i);
		return;
	}
	if (op->kind != NK_OP_CREATE && d && !d->ifindex) {
		nk_run_fail_errno(run, i, -ENODEV, NULL);
		return;
	}
	switch ((enum nk_op_kind)op->kind) {
	case NK_OP_INSPECT:
		r = nk_bpf_repin_links(run->w->bpf, op->name);
		if (!r)
			r = op->dev->interface ? read_tcx_chains(run, d->ifindex) : read_chains(run, d->ifindex, chains);
		if (r < 0)
			nk_run_fail_errno(run, i, r, NULL);
		else
			nk_run_place(run, i);
		break;
	case NK_OP_LOAD:
	case NK_OP_UNLOAD:
		run_program(run, i);
		break;
	case NK_OP_CREATE:
		nk_run_create(run, i);
		break;
	case NK_OP_CLOSE:
	case NK_OP_SET:
	case NK_OP_ADDR_ADD:
	case NK_OP_ADDR_DEL:
	case NK_OP_ROUTE_ADD:
	case NK_OP_ROUTE_DEL:
		nk_run_send(run, i);
		break;
	case NK_OP_ATTACH:
	case NK_OP_UPDATE:
	case NK_OP_MOVE:
	case NK_OP_DETACH:
		run_bpf(run, i);
		break;
	case NK_OP_OPEN:
		run_open(run, i);
		break;
	case NK_OP_UNPIN: /* of what an interface has elsewhere; else run_delete */
		r = nk_bpf_forget_device(run->w->bpf, op->name, d->ifindex);
		if (r < 0)
			nk_run_fail_errno(run, i, r, NULL);
		break;
	case NK_OP_DELETE:
		break; /* run_delete */
	}
}

struct group_ack {
	int error;
};

static void ack_group(size_t index, int error, const char *extack, void *arg)
{
	struct group_ack *a = arg;

	(void)index;
	(void)extack;
	a->error = error;
}

/* Delete everything in a group that collects deletions. 0 or -errno. */
static int delete_group(struct nk_run *run, uint32_t group)
{
	struct nl_msg *msg = nk_msg_delete_group(group);
	struct group_ack a = {};
	int r = msg ? nk_batch_add(run->w->batch, msg, 0) : -ENOMEM;

	nlmsg_free(msg);
	if (!r)
		r = nk_rtnl_flush(run->w->host, run->w->batch, ack_group, NULL, &a);
	return r < 0 ? r : a.error;
}

/* The message of DELETE alone: the pair, or (group not 0) its way into the group that goes. */
static void send_delete(struct nk_run *run, size_t i, uint32_t group)
{
	const struct nk_run_device *d = nk_run_device(run, i);
	struct nl_msg *msg = group ? nk_msg_regroup(d->ifindex, group) : nk_msg_delete(d->ifindex);
	int r = msg ? nk_batch_add(run->w->batch, msg, i) : -ENOMEM;

	nlmsg_free(msg);
	if (r < 0)
		nk_run_fail_errno(run, i, r, NULL);
}

static size_t send_deletes(struct nk_run *run, size_t begin, size_t end, uint32_t group)
{
	size_t n = 0;

	for (size_t i = begin; i < end; i++) {
		if (nk_run_op(run, i)->kind == NK_OP_DELETE && nk_run_wanted(run, i) && nk_run_device(run, i)->ifindex) {
			send_delete(run, i, group);
			n++;
		}
	}
	return n;
}

/* The pairs that go, then what is left of their pins. */
static void run_delete(struct nk_run *run, size_t begin, size_t end)
{
	uint32_t group = run->w->group + 1 + arc4random_uniform(NK_GROUPS - 1);
	size_t n = 0;

	for (size_t i = begin; i < end; i++)
		n += nk_run_op(run, i)->kind == NK_OP_DELETE && nk_run_wanted(run, i) && nk_run_device(run, i)->ifindex;
	if (run->job->delete_by_group && n > 1) {
		send_deletes(run, begin, end, group);
		nk_run_flush(run);
		/* If something that can't be deleted got into the group, the kernel deletes none of it. */
		if (delete_group(run, group) < 0) {
			send_deletes(run, begin, end, 0);
			nk_run_flush(run);
		}
	} else if (n) {
		send_deletes(run, begin, end, 0);
		nk_run_flush(run);
	}
	for (size_t i = begin; i < end; i++) {
		struct nk_run_device *d = nk_run_device(run, i);
		int r;

		if (!nk_run_wanted(run, i))
			continue;
		r = nk_bpf_forget_device(run->w->bpf, d->name, 0);
		if (r < 0) {
			nk_run_fail_errno(run, i, r, NULL);
			continue;
		}
		d->ifindex = d->peer_ifindex = 0;
		memset(d->touched, 0, sizeof(d->touched));
	}
}

static void run_window(struct nk_run *run, size_t begin, size_t end)
{
	nk_run_check(run, begin, end);
	if (nk_run_op(run, begin)->phase == NK_PHASE_DELETE) {
		run_delete(run, begin, end);
		return;
	}
	if (nk_run_op(run, begin)->phase == NK_PHASE_INSPECT)
		nk_run_inspect_links(run, begin, end);
	for (size_t i = begin; i < end; i++) {
		if (nk_run_wanted(run, i))
			run_op(run, i);
	}
	nk_run_flush(run);
	nk_run_visits(run, begin, end);
	nk_run_close_netns(run, false);
}

void nk_plan_run(struct nk_worker *w, const struct nk_job *job, struct nk_result *res)
{
	struct nk_run run = { .w = w, .res = res, .job = job, .socket = w->host };

	if (prepare(&run) < 0)
		res->cancelled = true;
	while (!res->cancelled && res->n_done < res->plan.n) {
		size_t end;

		if (nk_worker_stopped(w)) {
			res->cancelled = true;
			break;
		}
		end = window_end(&run, res->n_done);
		run_window(&run, res->n_done, end);
		res->n_done = end;
	}
	read_back(&run);
	finish(&run);
}
