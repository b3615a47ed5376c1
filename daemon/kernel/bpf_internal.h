// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What bpf.c (pins, links, chains), bpf_load.c (programs) and bpf_upgrade.c (new versions of programs) share.
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
	const struct nk_object_dirs *objects; /* borrowed */
	struct nk_pins pins;
	struct nk_bpf_loaded *loaded; /* owned; programs are few */
	size_t n_loaded;
};

/* A descriptor of what is pinned at dir/name, the caller's, or -errno. */
int nk_bpf_pin_get(int dir, const char *name);
/* 0 or -errno. */
int nk_bpf_pin_put(int fd, int dir, const char *name);

/* Give a link new_prog, only if it still has old_prog: two descriptors of programs. -EPERM: it has another one. -ENOLINK: the
 * device is gone. */
int nk_bpf_swap(int link, int new_prog, int old_prog);

/*
 * Give each link of the users' attachments that name `program` the new version, where it holds the old one. All of them or,
 * with -errno and err, none. *ret_n: how many.
 */
int nk_bpf_upgrade(struct nk_bpf *b, const char *program, const struct nk_bpf_users *users, int old_prog, int new_prog,
		   uint32_t *ret_n, struct nk_error *err);

/* NULL when it isn't loaded. Valid until the next load or unload. */
const struct nk_bpf_loaded *nk_bpf_find_loaded(const struct nk_bpf *b, const char *name);
/* Close what is loaded; the pins stay. */
void nk_bpf_close_loaded(struct nk_bpf *b);
