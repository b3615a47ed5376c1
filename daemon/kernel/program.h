// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Loading BPF programs and telling whether two loaded ones are the same. Called by bpf.c, in the executor's thread.
 */
#include "api/error.h"
#include "daemon/model/value.h"

/*
 * Read an object file, once and whole: what is loaded is then what was read. 0 with *ret the caller's to free; -errno with err.
 */
int nk_program_read(const char *path, char **ret, size_t *ret_size, struct nk_error *err);
/*
 * Load the function that p names from the object read from its path, with maps of its own. 0 with *ret_fd the caller's; -errno with
 * err, the verifier's whole log in its message.
 */
int nk_program_load(const struct nk_program *p, const char *object_data, size_t size, int *ret_fd, struct nk_error *err);
/* Open the pin that p names. 0 with *ret_fd the caller's; -errno with err. */
int nk_program_open(const struct nk_program *p, int *ret_fd, struct nk_error *err);
/*
 * Do two loaded programs do the same? Their instructions' tags are equal, and so are their maps: kind, sizes, flags, and the contents of
 * those that are constant, because a tag covers neither. False also when that can't be found out.
 */
bool nk_program_same(int a, int b);
/* Kernel id and tag (17 bytes, hex) of a loaded program. ret_type (may be NULL) gets its BPF_PROG_TYPE_…. 0 or -errno. */
int nk_program_identify(int fd, uint32_t *ret_id, char *ret_tag, uint32_t *ret_type);
