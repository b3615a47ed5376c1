// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What bpf.c (pins, links, chains), bpf_move.c (a link on its way), bpf_load.c (programs) and bpf_upgrade.c (new versions of programs)
 * share.
 */
#include <dirent.h>

#include <bpf/bpf.h>

#include "daemon/kernel/bpf.h"
#include "daemon/kernel/pins.h"

/* A program of the document, loaded. */
struct nk_bpf_loaded {
	struct nk_program_state state;
	int fd;     /* owned */
	int origin; /* the map that holds what it was made of: owned; -1: there is none */
};

struct nk_bpf {
	char *dir;                    /* path of the pins' directory, owned */
	int root, programs, links;    /* directories, owned; -1 where one is missing that nk_bpf_open_to_read doesn't make */
	bool only_read;               /* change nothing: this is somebody who looks */
	const struct nk_object_dirs *objects; /* borrowed */
	struct nk_pins pins;
	struct nk_bpf_loaded *loaded; /* owned; programs are few */
	size_t n_loaded;
};

/* A descriptor of what is pinned at dir/name, the caller's, or -errno. */
int nk_bpf_pin_get(int dir, const char *name);
/* 0 or -errno. */
int nk_bpf_pin_put(int fd, int dir, const char *name);
/* Where whatever is pinned is before it takes its name. Encoded names have no '%' but in %2E and %25. */
#define NK_PIN_FRESH "%fresh"
/* Pin under a name that may be taken: what is there is replaced at once, so that the name never stands empty. 0 or -errno. */
int nk_bpf_pin_over(int fd, int dir, const char *name);

/* Give a link new_prog, only if it still has old_prog: two descriptors of programs. -EPERM: it has another one. -ENOLINK: the
 * device is gone. */
int nk_bpf_swap(int link, int new_prog, int old_prog);

/*
 * Give each link of the users' attachments that name `program` the new version, where it holds the old one. All of them or,
 * with -errno and err, none. *ret_n: how many.
 */
int nk_bpf_upgrade(struct nk_bpf *b, const char *program, const struct nk_bpf_users *users, int old_prog, int new_prog,
		   uint32_t *ret_n, struct nk_error *err);

enum bpf_attach_type nk_bpf_attach_type(enum nk_hook hook);
bool nk_bpf_is_link(int fd);
/* Is this what /proc/PID/fd/FD of a link points to? */
bool nk_bpf_names_link(const char *target);
/* 0 or -errno. */
int nk_bpf_link_info(int fd, struct bpf_link_info *ret);
/* Is it one that stands in a chain of ours: netkit's or tcx's? And of which ifindex; 0: in none (any more). */
bool nk_bpf_is_chain_link(const struct bpf_link_info *info);
uint32_t nk_bpf_link_ifindex(const struct bpf_link_info *info);
/* Exchange the program of a link if it is still old_prog: 0 or -errno, -EPERM or -ESTALE when it isn't. */
int nk_bpf_exchange(int link, int new_prog, uint32_t old_prog);
/* Make a link before the program before_prog (0: at the end), if the chain still has this revision (0: whichever it has). */
int nk_bpf_link_create(int prog, uint32_t ifindex, enum nk_hook hook, uint32_t before_prog, uint64_t revision);
/* End a link at once, wherever it is, and remove its pin. Closing alone would leave that to a kernel worker, later. */
int nk_bpf_end_link(struct nk_bpf *b, int link, const char *pin);
/* A chain was changed here. */
static inline void nk_bpf_changed(uint64_t *revision)
{
	if (*revision)
		++*revision;
}

/* What a move that was cut short left behind: finish it, or take it back. Before the pins are read. 0 or -errno. */
int nk_bpf_settle_move(struct nk_bpf *b, const char *pin);

/* A directory of pins by path: dir is ours, name the one below it. 0 with *ret the caller's, or -errno. */
int nk_bpf_open_pins(const char *dir, const char *name, DIR **ret);

/* NULL when it isn't loaded. Valid until the next load or unload. */
const struct nk_bpf_loaded *nk_bpf_find_loaded(const struct nk_bpf *b, const char *name);
/* Remove what a killed process left in the directory of programs: the half of one. */
void nk_bpf_sweep_programs(const struct nk_bpf *b);
/* Close what is loaded; the pins stay. */
void nk_bpf_close_loaded(struct nk_bpf *b);
