// SPDX-License-Identifier: GPL-2.0-only
/*
 * One device, desired against observed: what is to become of it, and the operations that bring it there. Called by reconcile for each
 * object that may have changed. It may look at nothing but its arguments. A device that is not there yet is compared with
 * what its creation will leave, so that there is one path for the new and the damaged.
 */
#include "daemon/model/diff.h"

#include <errno.h>
#include <string.h>

void nk_diff_emit(struct nk_diff *x, struct nk_op op)
{
	const struct nk_obs_end *end = x->o->end;

	if (x->error)
		return;
	if (x->d)
		memcpy(op.name, nk_device_name(x->d), sizeof(op.name));
	else
		memcpy(op.name, x->o->owner[0] ? x->o->owner : end[NK_PRIMARY].name, sizeof(op.name));
	op.dev = op.kind == NK_OP_DELETE ? NULL : x->d;
	op.ifindex = end[NK_PRIMARY].ifindex;
	op.peer_ifindex = end[NK_PEER].ifindex;
	x->error = nk_plan_add(x->plan, &op);
}

/* Known as ours, and under no other name. */
static bool is_ours(const struct nk_device *d, const struct nk_obs_device *o)
{
	return o->marked && (!d || !o->owner[0] || !strcmp(o->owner, nk_device_name(d)));
}

static bool mac_differs(const struct nk_end *want, const struct nk_obs_end *have)
{
	return (want->set & NK_SET_MAC) && memcmp(want->mac, have->mac, sizeof(want->mac));
}

/*
 * What the kernel takes at creation only differs. Room is a minimum: while an end is the port of a bridge that needs more, the kernel
 * reserves more and shows that.
 */
static bool needs_recreate(const struct nk_device *d, const struct nk_obs_device *o)
{
	const struct nk_obs_end *peer = &o->end[NK_PEER];

	if (d->mode != o->mode || d->single != o->single || d->end[NK_PRIMARY].scrub != o->end[NK_PRIMARY].scrub ||
	    (d->has_headroom && d->headroom > o->headroom) || (d->has_tailroom && d->tailroom > o->tailroom) ||
	    mac_differs(&d->end[NK_PRIMARY], &o->end[NK_PRIMARY]))
		return true;
	if (d->single)
		return false;
	return !o->peer_in_place || peer->ifindex == 0 || d->end[NK_PEER].scrub != peer->scrub ||
	       (peer->details && mac_differs(&d->end[NK_PEER], peer));
}

static void created_end(struct nk_obs_end *to, const struct nk_end *from)
{
	memcpy(to->name, from->name, sizeof(to->name));
	memcpy(to->mac, from->mac, sizeof(to->mac));
	to->details = true;
	to->policy = from->policy;
	to->scrub = from->scrub;
	to->mtu = from->mtu;
	to->txqlen = from->txqlen;
	to->gso_max = from->gso_max;
	to->gro_max = from->gro_max;
	to->gso_ipv4_max = from->gso_ipv4_max;
	to->gro_ipv4_max = from->gro_ipv4_max;
}

/* What NK_OP_CREATE will leave. Its lists and chains are empty, so it owns nothing. The alias comes with the opening. */
static struct nk_obs_device created(const struct nk_device *d)
{
	struct nk_obs_device o = {
		.marked = true, .grouped = true, .single = d->single, .mode = d->mode, .peer_in_place = true, .chains_known = true,
	};

	created_end(&o.end[NK_PRIMARY], &d->end[NK_PRIMARY]);
	if (!d->single) {
		created_end(&o.end[NK_PEER], &d->end[NK_PEER]);
		o.end[NK_PEER].up = true;
	}
	return o;
}

/* While a program is missing, a chain may be emptier than anybody meant: a policy may become stricter, but not laxer. */
static bool policy_changes(const struct nk_diff *x, enum nk_end_id end)
{
	uint8_t want = x->d->end[end].policy, have = x->o->end[end].policy;

	return want != have && !(x->blocked && want == NK_POLICY_PASS);
}

static void emit_set(struct nk_diff *x, enum nk_end_id end, uint32_t what)
{
	if (what)
		nk_diff_emit(x, (struct nk_op){
			.kind = NK_OP_SET, .phase = NK_PHASE_CONFIGURE, .end = (uint8_t)end, .what = what,
		});
}

static void emit_settings(struct nk_diff *x)
{
	const struct nk_obs_end *have = x->o->end;
	uint32_t what = nk_diff_settings(&x->d->end[NK_PRIMARY], &have[NK_PRIMARY]);

	if (policy_changes(x, NK_PRIMARY))
		what |= NK_SET_POLICY;
	if (!x->d->single && policy_changes(x, NK_PEER))
		what |= NK_SET_PEER_POLICY;
	if (!x->o->grouped)
		what |= NK_SET_GROUP;
	if (!x->o->aliased && !x->opens)
		what |= NK_SET_ALIAS;
	emit_set(x, NK_PRIMARY, what);

	if (have[NK_PEER].details) {
		what = nk_diff_settings(&x->d->end[NK_PEER], &have[NK_PEER]);
		if (!have[NK_PEER].up)
			what |= NK_SET_UP;
		emit_set(x, NK_PEER, what);
	}
}

static void emit_simple(struct nk_diff *x, enum nk_op_kind kind, enum nk_phase phase)
{
	nk_diff_emit(x, (struct nk_op){ .kind = (uint8_t)kind, .phase = (uint8_t)phase });
}

/* All that makes o, which may be what creation leaves, equal to d. */
static void emit_repairs(struct nk_diff *x)
{
	struct nk_diff_hook hooks[NK_HOOKS];
	bool up = x->o->end[NK_PRIMARY].up, has_peer = x->o->end[NK_PEER].details;

	for (size_t i = 0; i < NK_HOOKS; i++) {
		if (!nk_hook_fits((enum nk_hook)i, false))
			continue;
		nk_diff_read_hook(x, (enum nk_hook)i, &hooks[i]);
		x->closes |= up && (hooks[i].required_missing || (hooks[i].rebuild && !x->blocked));
	}
	x->opens = (!up || x->closes) && !x->blocked;

	if (x->closes)
		emit_simple(x, NK_OP_CLOSE, NK_PHASE_CLOSE);
	for (size_t i = 0; i < NK_HOOKS; i++)
		if (nk_hook_fits((enum nk_hook)i, false))
			nk_diff_emit_hook(x, (enum nk_hook)i, &hooks[i]);
	emit_settings(x);
	nk_diff_emit_lists(x, NK_PRIMARY, false);
	if (has_peer)
		nk_diff_emit_lists(x, NK_PEER, false);
	if (x->opens)
		emit_simple(x, NK_OP_OPEN, NK_PHASE_OPEN);
	nk_diff_emit_lists(x, NK_PRIMARY, true);
	if (has_peer)
		nk_diff_emit_lists(x, NK_PEER, true);
}

static bool programs_missing(const struct nk_device *d, const struct nk_diff_env *env)
{
	for (uint32_t i = 0; i < d->n_attachments; i++)
		if (env->prog_id(d->attachments[i].program, env->arg) == 0)
			return true;
	return false;
}

/* Delete what is there, if anything, and begin anew. */
static enum nk_verdict recreate(struct nk_diff *x, bool is_there)
{
	struct nk_obs_device fresh;

	if (x->blocked)
		return NK_VERDICT_BLOCKED;
	if (is_there)
		emit_simple(x, NK_OP_DELETE, NK_PHASE_DELETE);
	fresh = created(x->d);
	x->o = &fresh;
	emit_simple(x, NK_OP_CREATE, NK_PHASE_CREATE);
	emit_repairs(x);
	x->o = NULL;
	return is_there ? NK_VERDICT_RECREATE : NK_VERDICT_CREATE;
}

/* Nothing of an interface is ours but what is attached, wherever the link that was called so when it was attached may be now. */
static enum nk_verdict compare_interface(struct nk_diff *x)
{
	struct nk_obs_device anywhere = { .interface = true };
	size_t before = x->plan->n;

	if (!x->d) {
		memcpy(anywhere.owner, x->o->owner, sizeof(anywhere.owner));
		x->o = &anywhere;
		emit_simple(x, NK_OP_UNPIN, NK_PHASE_DELETE);
		x->o = NULL;
		return NK_VERDICT_DELETE;
	}
	if (!x->o)
		return NK_VERDICT_ABSENT;
	if (x->d->interface != x->o->interface)
		return NK_VERDICT_CONFLICT;
	if (!x->o->chains_known) {
		/* First, so that who knows the chains also knows that nothing is elsewhere. */
		emit_simple(x, NK_OP_UNPIN, NK_PHASE_INSPECT);
		emit_simple(x, NK_OP_INSPECT, NK_PHASE_INSPECT);
		return NK_VERDICT_INSPECT;
	}
	for (size_t i = 0; i < NK_HOOKS; i++) {
		struct nk_diff_hook hook;

		if (!nk_hook_fits((enum nk_hook)i, true))
			continue;
		nk_diff_read_hook(x, (enum nk_hook)i, &hook);
		nk_diff_emit_hook(x, (enum nk_hook)i, &hook);
	}
	if (x->blocked)
		return NK_VERDICT_BLOCKED;
	return x->plan->n > before ? NK_VERDICT_CHANGE : NK_VERDICT_OK;
}

static enum nk_verdict compare(struct nk_diff *x)
{
	const struct nk_device *d = x->d;
	const struct nk_obs_device *o = x->o;
	size_t before = x->plan->n;

	if (d)
		x->blocked = programs_missing(d, x->env);
	if ((d && d->interface) || (o && o->interface))
		return compare_interface(x);
	if (!d) {
		if (!o || !is_ours(d, o))
			return NK_VERDICT_OK;
		emit_simple(x, NK_OP_DELETE, NK_PHASE_DELETE);
		return NK_VERDICT_DELETE;
	}
	if (o && !is_ours(d, o))
		return NK_VERDICT_CONFLICT;

	if (o && !o->chains_known) {
		emit_simple(x, NK_OP_INSPECT, NK_PHASE_INSPECT);
		return NK_VERDICT_INSPECT;
	}
	if (!o || needs_recreate(d, o))
		return recreate(x, o != NULL);

	emit_repairs(x);
	if (x->blocked || (!d->single && !o->end[NK_PEER].details))
		return NK_VERDICT_BLOCKED;
	return x->plan->n > before ? NK_VERDICT_CHANGE : NK_VERDICT_OK;
}

int nk_diff(const struct nk_device *d, const struct nk_obs_device *o, const struct nk_diff_env *env, struct nk_plan *plan,
	    enum nk_verdict *ret_verdict)
{
	struct nk_diff x = { .d = d, .o = o, .env = env, .plan = plan };
	size_t before = plan->n;
	enum nk_verdict verdict = compare(&x);

	if (x.error) {
		nk_plan_truncate(plan, before);
		return x.error;
	}
	*ret_verdict = verdict;
	return 0;
}
