// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What a pinned program was made of, kept beside its pin, so that a restart can take the pin without loading the object again: libbpf
 * reads the whole kernel's types for that. It is a frozen map of one element: the program's kernel id, the function's name, and
 * the object file as it was. Called by bpf.c.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new frozen map, the caller's descriptor, or -errno. */
int nk_origin_make(uint32_t prog_id, const char *function, const void *object, size_t size);
/* Was the program with this id made of just this? */
bool nk_origin_is(int map, uint32_t prog_id, const char *function, const void *object, size_t size);
