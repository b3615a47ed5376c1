// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What bpf.c (pins, links, chains) and bpf_load.c (programs) share.
 */
#include "daemon/kernel/bpf.h"
#include "daemon/kernel/pins.h"

/* A program of the document, loaded. */
struct nk_bpf_loaded {
	struct nk_program_state state;
	int fd; /* owned */
};

struct nk_bpf {
	int programs, links;          /* directories, owned */
	struct nk_pins pins;
	struct nk_bpf_loaded *loaded; /* owned; programs are few */
	size_t n_loaded;
};

/* A descriptor of what is pinned at dir/name, the caller's, or -errno. */
int nk_bpf_pin_get(int dir, const char *name);
/* 0 or -errno. */
int nk_bpf_pin_put(int fd, int dir, const char *name);

/* NULL when it isn't loaded. Valid until the next load or unload. */
const struct nk_bpf_loaded *nk_bpf_find_loaded(const struct nk_bpf *b, const char *name);
/* Close what is loaded; the pins stay. */
void nk_bpf_close_loaded(struct nk_bpf *b);
