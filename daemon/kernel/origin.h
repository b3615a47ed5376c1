// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What a pinned program was made of, kept beside its pin, so that a restart can take the pin without loading the object again:
 * libbpf reads the whole kernel's types for that. It is a frozen map of one element: the program's kernel id, a key that says
 * what of the file was loaded and with which maps, the program as the document states it, for `rebuild`, and the object file as it was.
 * Called by bpf_load.c.
 */
#include <stddef.h>
#include <stdint.h>

struct nk_origin {
	char *key;        /* owned; one line */
	char *definition; /* owned; JSON in one line; NULL: not kept, since an older netkitd made it */
	char *object;     /* owned; size 0 for a program that is not from an object file */
	size_t size;
};

/* A new frozen map, the caller's descriptor, or -errno. */
int nk_origin_make(uint32_t prog_id, const struct nk_origin *origin);
/* Read one back. 0 with *ret the caller's to clear; -ENOENT: it is of another program than this; -errno. */
int nk_origin_read(int map, uint32_t prog_id, struct nk_origin *ret);
void nk_origin_clear(struct nk_origin *o);
