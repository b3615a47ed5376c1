// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * From desired and observed to operations. diff looks at one device and gives a named verdict and the operations that would
 * make it right; plan puts the operations of many devices into the order in which they may run. Both are pure. reconcile calls
 * them, the executor runs the result, dry_run prints it.
 *
 * The order is what keeps guarantee 2 (fail closed):
 *   inspect    what no event tells is read, of objects of which it is not known
 *   close      primaries whose chain must not be seen half built go down
 *   delete     pairs that go, in one request by group; then their pins
 *   load       programs
 *   create     pairs, primary down
 *   attach     programs exchanged in place, links moved, new links in their place
 *   configure  both ends: names, sizes, policies, addresses, the peer's link and routes
 *   detach     links that go: after attach, so that a live device never has neither
 *   open       the primary goes up, after the executor has read both chains back
 *   route      routes of the primary, which the kernel takes only while it is up; and what a foreign object stands in the way of
 * An operation that fails ends all further ones of the same device in this plan, so a device with a missing program is
 * never opened. Attach comes before configure for two reasons: a container may spoil its own addresses and routes, and that must not
 * keep a lost program from coming back; and a policy, which only holds while no program is attached, changes while new programs
 * already and old ones still are.
 */
#include "daemon/model/observed.h"

enum nk_phase {
	NK_PHASE_INSPECT,
	NK_PHASE_CLOSE,
	NK_PHASE_DELETE,
	NK_PHASE_LOAD,
	NK_PHASE_CREATE,
	NK_PHASE_ATTACH,
	NK_PHASE_CONFIGURE,
	NK_PHASE_DETACH,
	NK_PHASE_OPEN,
	NK_PHASE_ROUTE,
};
#define NK_PHASES 10

enum nk_op_kind {
	NK_OP_INSPECT,  /* read what no event tells: the chains of ifindex, silent settings, which namespace the definition names; with
			 * ifindex 0, of a device that vanished, whether that is there */
	NK_OP_CLOSE,    /* primary down */
	NK_OP_DELETE,   /* the pair, then what is left of its pins */
	NK_OP_UNPIN,    /* the links of a device that is gone; of an interface those that aren't at ifindex, 0: all of them */
	NK_OP_LOAD,     /* program */
	NK_OP_UNLOAD,   /* program: forget and unpin */
	NK_OP_CREATE,   /* the pair, with all that the kernel takes at creation */
	NK_OP_SET,      /* link settings of one end: `what` */
	NK_OP_ADDR_ADD,
	NK_OP_ADDR_DEL,
	NK_OP_ROUTE_ADD,
	NK_OP_ROUTE_DEL,
	NK_OP_ATTACH,
	NK_OP_UPDATE,   /* exchange the program of a link in place */
	NK_OP_MOVE,     /* a link to another place of its chain, its program never away */
	NK_OP_DETACH,
	NK_OP_OPEN,     /* primary up, with its ifalias, once both chains are confirmed */
};

/* For NK_OP_SET: which settings differ. The NK_SET_… bits of value.h, and: */
enum {
	NK_SET_NAME = 1u << 16,
	NK_SET_POLICY = 1u << 17,
	NK_SET_PEER_POLICY = 1u << 18, /* through the primary */
	NK_SET_ALIAS = 1u << 19,
	NK_SET_UP = 1u << 20,          /* the peer only: the primary is opened by NK_OP_OPEN */
	NK_SET_GROUP = 1u << 21,       /* the mark */
};

/* For NK_OP_LOAD: it is loaded, and only its pin is gone. */
enum { NK_LOAD_PIN = 1 };

/* One operation, by value: nothing in it points into the tables of the loop. */
struct nk_op {
	uint8_t kind;             /* enum nk_op_kind */
	uint8_t phase;            /* enum nk_phase */
	uint8_t end;              /* enum nk_end_id */
	uint8_t hook;             /* enum nk_hook */
	uint32_t what;            /* NK_OP_SET: the settings; NK_OP_LOAD: NK_LOAD_PIN or 0 */
	char name[NK_IFNAMSIZ];   /* the device; empty for LOAD and UNLOAD */
	uint32_t ifindex;         /* of the primary, 0 if it is yet to be created */
	uint32_t peer_ifindex;    /* in the peer's namespace, 0 likewise */
	uint32_t place;           /* nk_plan_order's own */
	const struct nk_device *dev;   /* reference, NULL for DELETE, UNPIN, LOAD, UNLOAD */
	const struct nk_program *prog; /* reference, LOAD and UNLOAD only */
	union {
		struct nk_prefix addr;
		struct nk_route route;
		struct {
			char name[NK_NAME_MAX];
			char program[NK_NAME_MAX];
			uint32_t before_prog; /* ATTACH, MOVE: id of the program that must come right after this one; 0: at the end */
			uint32_t link_id;     /* UPDATE, MOVE, DETACH */
			uint32_t old_prog;    /* UPDATE: id, for compare-and-swap */
			uint64_t revision;    /* of the chain that was compared, see struct nk_obs_chain */
		} att;
	};
};

/* Operations in the order in which they run. */
struct nk_plan {
	struct nk_op *ops; /* owned, and so are the references in them */
	size_t n, room;
};

void nk_plan_clear(struct nk_plan *p);
/* Drop all operations from the n-th on. */
void nk_plan_truncate(struct nk_plan *p, size_t n);
/* Append a copy of op; takes new references to op->dev and op->prog. 0 or -ENOMEM. */
int nk_plan_add(struct nk_plan *p, const struct nk_op *op);
/* Stable sort by phase; within a phase the order of adding stays. In place, in linear time. */
void nk_plan_order(struct nk_plan *p);

enum nk_verdict {
	NK_VERDICT_OK,        /* nothing to do */
	NK_VERDICT_CREATE,
	NK_VERDICT_CHANGE,    /* repaired or configured in place */
	NK_VERDICT_RECREATE,  /* mode, scrub, room, MAC or place differ, which can't be changed: delete and create */
	NK_VERDICT_DELETE,
	NK_VERDICT_INSPECT,   /* what no event tells is not known: read it first */
	NK_VERDICT_BLOCKED,   /* a program it needs is not loaded, or its peer can't be seen */
	NK_VERDICT_CONFLICT,  /* a foreign device has the name; or a device of ours that of an interface */
	NK_VERDICT_ABSENT,    /* no link has the interface's name: nothing to do until one has */
};

/* What diff needs to know beside the two devices. The functions are pure look-ups in the caller's tables. */
struct nk_diff_env {
	/* Kernel id of a loaded program of the document; 0 while it is not loaded. */
	uint32_t (*prog_id)(const char *program, void *arg);
	/* Kernel id of a program that is pinned, itself or its link, at a path that an attachment names; 0: there is none. */
	uint32_t (*pin_prog)(const char *path, void *arg);
	void *arg;
};

/*
 * Compare desired `d` (NULL: it should not be) with observed `o` (NULL: it is not there) and append the operations to plan in
 * any order (nk_plan_order sorts). The result depends only on the values, not on the order of lists.
 *  - not marked, or of another owner: CONFLICT, no operations. (A device of our name that is not ours.) With d NULL such a
 *    device is nobody's business: OK. Group and alias of one that is marked are put back.
 *  - d NULL: DELETE (the executor unpins too).
 *  - o NULL: the whole sequence CREATE … ROUTE; ifindex 0. CREATE is taken to leave the peer up and the primary down.
 *  - INSPECT when o is there and its chains are not known: one INSPECT operation only. It also finds out where the namespace of
 *    d is, so it comes before the question whether the peer is in place.
 *  - RECREATE: DELETE, and the whole sequence. Also when the peer is not where the document says, or is gone.
 *  - BLOCKED when a program is not loaded: an absent device is not created, one to be created anew is left as it is; for a
 *    present one everything else is still put right, but nothing is detached, no policy becomes laxer, a device that is down
 *    is not opened, and one whose missing attachment is `required` is closed. Also BLOCKED while the peer's details are not
 *    known: the peer is left alone until they are.
 *  - foreign addresses, routes and links are never in an operation. Ours (by proto, by name) that d does not want are removed. A
 *    foreign one that equals a wanted one serves. One that is in the way (a route of the same key, an IPv6 address of another
 *    prefix length) makes an operation fail, so that the condition has the kernel's own words; it is the last of the device.
 *  - settings that d does not name are never in an operation.
 *  - a lost attachment: ATTACH in its place; with required, CLOSE before and OPEN after.
 *  - our links in another order than chain_order.h has it: MOVE, as few as will do, in an order in which no two programs change
 *    places that keep their order in the end.
 *  - where a chain can't be put right one step at a time (a program that would stand in it twice meanwhile, no room for the new
 *    before the old is gone, or for a link on its move): CLOSE, DETACH what is misplaced, ATTACH, OPEN. These DETACH are of the attach
 *    phase.
 *  - what attachments say of foreign programs that aren't there is left out, and no difference: nk_diff_unmet tells.
 *  - a primary that is down: OPEN last, and all its routes after it. CLOSE flushes its routes and IPv6 addresses: they are put
 *    back.
 *  - nk_plan with d and an o that equals d is empty, verdict OK.
 *  - of an interface only its chains are compared, and put right by the same operations, those of the attach phase included that a
 *    device would be closed for: an interface is never closed. o NULL: ABSENT, no operations. d NULL: UNPIN of all, DELETE. Before
 *    INSPECT comes UNPIN, of links that were attached when another link had the name.
 * d has passed nk_device_check.
 * *ret_verdict is set on success. 0 or -ENOMEM (plan as it was).
 */
int nk_diff(const struct nk_device *d, const struct nk_obs_device *o, const struct nk_diff_env *env, struct nk_plan *plan,
	    enum nk_verdict *ret_verdict);

/*
 * What attachments of d say of foreign programs and can't be met in o now, as a sentence: true if there is any. The chains of o are
 * known. *ret_pin: one of a pin is among them, and no event will tell when it appears.
 */
bool nk_diff_unmet(const struct nk_device *d, const struct nk_obs_device *o, const struct nk_diff_env *env, char *buf, size_t size,
		   bool *ret_pin);

const char *nk_verdict_name(enum nk_verdict v);
const char *nk_op_name(enum nk_op_kind k);
const char *nk_phase_name(enum nk_phase p);

/*
 * The same operations read backwards: what somebody did to a device or program that was right, so that these became necessary. o is the
 * device as it is now, NULL: gone, or a program.
 */

/* Where: each is broken and put back for itself. */
enum {
	NK_DRIFT_PEER = 1u << 0,    /* settings, addresses and routes of the peer: the container's own business as well */
	NK_DRIFT_PRIMARY = 1u << 1, /* those of the primary */
	NK_DRIFT_CHAIN = 1u << 2,   /* programs */
	NK_DRIFT_DEVICE = 1u << 3,  /* the whole device, or its peer, is away */
	NK_DRIFT_PIN = 1u << 4,     /* of a program */
};
uint32_t nk_drift_areas(const struct nk_op *ops, size_t n);

/* Who did it comes behind this: "attachment fw on web-1 was detached". *ret_more: how many further differences don't follow from it.
 * n is at least 1. A peer that isn't to be seen went with its device, unless it is known that it was `moved`. Returns buf. */
char *nk_drift_describe(const struct nk_op *ops, size_t n, const struct nk_obs_device *o, bool moved, char *buf, size_t size,
			size_t *ret_more);

/* One line for a person: "attach acct (program acct) at netkit/peer of web-1". Returns buf. */
char *nk_op_describe(const struct nk_op *op, char *buf, size_t size);
