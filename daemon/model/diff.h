// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What the parts of diff share: one comparison on its way. diff.c decides what becomes of the device, diff_chain.c compares the hooks,
 * diff_end.c the settings, addresses and routes of the ends. Nobody else includes this.
 */
#include "daemon/model/chain_order.h"
#include "daemon/model/plan.h"

struct nk_diff {
	const struct nk_device *d;
	const struct nk_obs_device *o; /* for a device yet to be created: what creation will leave */
	const struct nk_diff_env *env;
	struct nk_plan *plan;
	bool blocked; /* a program is not loaded */
	bool closes;  /* the primary is up and has to go down first */
	bool opens;   /* the primary is up in the end and was not all the time */
	int error;    /* 0 or -ENOMEM: further operations are not added */
};

/* Our place in one chain: the attachments d wants there and where they are. */
struct nk_diff_hook {
	uint32_t n;
	const struct nk_attachment *want[NK_CHAIN_MAX];
	uint32_t id[NK_CHAIN_MAX]; /* of the program, 0 while it is not loaded */
	int32_t at[NK_CHAIN_MAX];  /* place in the observed chain, -1 if missing */
	struct nk_chain_goal goal; /* what the chain is to be; its entries' `want` are places in these lists */
	bool required_missing;
	bool rebuild;              /* can't be put right while packets pass */
};

/* Add an operation: kind, phase and particulars from op, the rest from the device. */
void nk_diff_emit(struct nk_diff *x, struct nk_op op);

/* Compare a hook; takes no part in closing, which diff decides for all hooks together. */
void nk_diff_read_hook(const struct nk_diff *x, enum nk_hook hook, struct nk_diff_hook *ret);
void nk_diff_emit_hook(struct nk_diff *x, enum nk_hook hook, const struct nk_diff_hook *h);

/* Settings that differ, as NK_SET_…; a MAC address is not among them: it is for life. */
uint32_t nk_diff_settings(const struct nk_end *want, const struct nk_obs_end *have);
/* Addresses and routes of one end. With contested, those that a foreign object stands in the way of; else all others. */
void nk_diff_emit_lists(struct nk_diff *x, enum nk_end_id end, bool contested);
