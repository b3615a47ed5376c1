// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The maps that a program has in common with others: those that the document names by their pins, and those of the version
 * before it. Called by program.c and bpf_load.c, in the executor's thread.
 */
#include "api/error.h"
#include "daemon/model/value.h"

struct bpf_object;

/* The pinned maps that a program's definition names, in the order of its `maps`. */
struct nk_shared_maps {
	uint32_t n;
	int *fds;      /* owned */
	uint32_t *ids; /* owned */
};

/* Open them. -errno with err: it names the map that is missing, or what else is pinned in its place. */
int nk_shared_maps_open(const struct nk_program *p, struct nk_shared_maps *ret, struct nk_error *err);
void nk_shared_maps_close(struct nk_shared_maps *m);

/* The version of a program that has its place until now. */
struct nk_program_before {
	int fd;          /* -1: there is none, or its maps are not to be taken over */
	const char *key; /* what it was made of (bpf_load.c): tells which of its maps are shared ones, and so not its own */
};

/*
 * Give an opened object the maps that exist already: the shared ones, and for each other one that it declares itself that of
 * the version before, by its name. Global variables belong to the program and begin anew. -errno with err: it names the map,
 * and in what its definition differs.
 */
int nk_program_use_maps(const struct nk_program *p, struct bpf_object *object, const struct nk_shared_maps *shared,
			const struct nk_program_before *before, struct nk_error *err);

/* The word in a key that says that a map is shared: " name=id". 0 or -ENOMEM: append it to the text at *key, which is freed. */
int nk_key_add_map(char **key, const char *name, uint32_t id);
bool nk_key_has_map(const char *key, uint32_t id);
