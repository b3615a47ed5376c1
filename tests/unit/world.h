// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * A kernel in small: one netkit pair, or one interface of somebody else, and what the kernel would make of each operation of a plan, with the refusals and the silent
 * side effects that matter. For the tests of diff and plan. It shares no code with what it tests but the values' orders.
 */
#include "daemon/model/plan.h"

#define WORLD_PROGRAMS 6 /* named p0 … p5 */

struct world {
	bool exists;
	struct nk_obs_device o; /* the truth, chains included, even while chains_known is false */
	uint32_t next_id;       /* of interfaces and links */
	uint32_t prog_id[WORLD_PROGRAMS]; /* 0: not loaded */
	uint32_t strays;        /* links of ours that hold the interface's pins and are at another one */
	bool was_down;          /* the primary was down or absent at some time since world_mark */
	bool touched_foreign;   /* an operation aimed at something that isn't ours */
};

void world_clear(struct world *w);
/* Deep copy into a zeroed or cleared world; aborts without memory. */
void world_copy(struct world *to, const struct world *from);
/* Begin to watch: was_down as it is now, touched_foreign false. */
void world_mark(struct world *w);

/* Somebody makes the interface. */
void world_make_interface(struct world *w, const char *name);

/* Do it. 0 or -errno with nothing changed. */
int world_apply(struct world *w, const struct nk_op *op);

/* For drift and foreign objects. */
int world_addr_add(struct world *w, enum nk_end_id end, const struct nk_prefix *p, bool ours);
void world_addr_remove(struct world *w, enum nk_end_id end, const struct nk_prefix *p);
int world_route_add(struct world *w, enum nk_end_id end, const struct nk_route *r, bool ours);
void world_route_remove(struct world *w, enum nk_end_id end, const struct nk_route *r);
/* index: place in the chain. name empty: foreign; its tag follows from prog_id, and four of them share one. */
int world_link_insert(struct world *w, enum nk_hook hook, uint32_t index, const char *name, uint32_t prog_id);
void world_link_remove(struct world *w, enum nk_hook hook, uint32_t index);
void world_down(struct world *w, enum nk_end_id end);
void world_up(struct world *w, enum nk_end_id end);

/* env for nk_diff; arg is the world. "/p<n>" is a pin of program <n>. */
uint32_t world_prog_id(const char *program, void *arg);
uint32_t world_pin_prog(const char *path, void *arg);
