// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * In which order the programs at one hook stand: ours by what their attachments say, foreign ones as they stand already. Pure.
 * check.c asks whether there is an order, diff_chain.c which one.
 *
 * The rule, as the document's users know it:
 *  - `first` stands before all that isn't, `last` after all that isn't; foreign programs included.
 *  - Attachments that say neither before nor after stand by priority, the smaller first, and equal ones as they are listed.
 *  - Those that do are then put in one by one, in the same order, each as near to the place it would have had as all that is said
 *    allows. The others keep their order among themselves, unless demands leave no other way.
 *  - What is said of a foreign program that isn't there, or that the order of the foreign programs contradicts, is left out until
 *    that changes.
 * So our order follows from the document and from the order of the foreign programs that it names; how ours stand at the moment does
 * not matter. That only decides where they stand among foreign programs that nothing is said of: as many as can stay where they are.
 */
#include "daemon/model/observed.h"

/* Why one attachment stands before another: what `who` says. */
enum nk_demand_kind { NK_DEMAND_BEFORE, NK_DEMAND_AFTER, NK_DEMAND_FIRST, NK_DEMAND_LAST };

struct nk_chain_demand {
	uint32_t from, to; /* attachments, by index: from stands before to */
	uint32_t who;      /* one of the two */
	uint32_t index;    /* BEFORE, AFTER: in who's list */
	enum nk_demand_kind kind;
};

/*
 * Can n attachments of one hook (at most NK_CHAIN_MAX) stand in an order, as far as they name each other? 0 if so; else a
 * shortest circle of demands, each one's `to` the next one's `from`: their number, the demands in ret (NK_CHAIN_MAX of them fit).
 * Names that none of them has are left out.
 */
uint32_t nk_chain_circle(const struct nk_attachment *const *want, uint32_t n, struct nk_chain_demand *ret);

struct nk_chain_input {
	const struct nk_attachment *const *want; /* of one hook, without a circle */
	uint32_t n;                              /* at most NK_CHAIN_MAX */
	const struct nk_obs_chain *chain;
	const int32_t *at;                       /* places in chain; -1: it isn't there, or may not stay */
	uint32_t (*pin_prog)(const char *path, void *arg); /* the program that is pinned there, 0: none */
	void *arg;
};

struct nk_chain_entry {
	int32_t want;  /* index; -1: foreign */
	uint32_t link; /* place in the observed chain, of a foreign one and of one that stays */
	bool stays;    /* where it is; else it comes, or moves. Foreign ones stay */
};

/* The chain as it shall be. Links of ours that nobody wants are not in it. */
struct nk_chain_goal {
	uint32_t n;
	struct nk_chain_entry entry[2 * NK_CHAIN_MAX];
	/* What can't be met now: how many demands, and the first of them. */
	uint32_t n_unmet;
	const struct nk_attachment *unmet_of;
	const struct nk_anchor *unmet;
	bool unmet_absent; /* there is no such program; else it contradicts */
	bool unmet_pin;    /* among them is one of a pin: no event tells when it appears */
};

void nk_chain_resolve(const struct nk_chain_input *in, struct nk_chain_goal *ret);
