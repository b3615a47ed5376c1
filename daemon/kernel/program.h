// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Loading BPF programs and telling whether two loaded ones are the same. Called by bpf_load.c in the executor's thread;
 * nk_program_identify and nk_bpf_fd_is by anybody.
 */
#include "api/error.h"
#include "daemon/kernel/program_maps.h"
#include "daemon/model/value.h"

/*
 * Load the function that p names from an object file's content. It gets the shared maps, and of those it has itself the ones of the
 * version before. 0 with *ret_fd the caller's; -errno with err, the verifier's whole log in its message.
 */
int nk_program_load(const struct nk_program *p, const char *object_data, size_t size, const struct nk_shared_maps *shared,
		    const struct nk_program_before *before, int *ret_fd, struct nk_error *err);
/* Open the pin, or the passed program, that p names. 0 with *ret_fd the caller's; -errno with err. */
int nk_program_open(const struct nk_program *p, int *ret_fd, struct nk_error *err);
/*
 * Do two loaded programs do the same? Their instructions' tags are equal, their maps are the same ones, and of those that hold
 * their global variables the constant ones have the same content: a tag covers neither. False also when that can't be found
 * out.
 */
bool nk_program_same(int a, int b);
/* Kernel id and tag of a loaded program. ret_type (may be NULL) gets its BPF_PROG_TYPE_…. 0 or -errno. */
int nk_program_identify(int fd, uint32_t *ret_id, char ret_tag[NK_TAG_STRLEN], uint32_t *ret_type);
/*
 * Is it a program for a chain of packets? 0 with id and tag, or -EINVAL with err, which calls it `what`: "what is pinned at /x".
 */
int nk_program_check(int fd, const char *what, uint32_t *ret_id, char ret_tag[NK_TAG_STRLEN], struct nk_error *err);
/* What a BPF descriptor is of: "bpf-prog", "bpf-map". bpf(2) gives information of any without saying so. */
bool nk_bpf_fd_is(int fd, const char *kind);

#define NK_PROGRAM_MAPS_MAX 64 /* the kernel's limit */
struct nk_program_map_ids {
	uint32_t n, ids[NK_PROGRAM_MAPS_MAX]; /* in the order in which the instructions meet them */
};
int nk_program_map_ids(int fd, struct nk_program_map_ids *ret);
