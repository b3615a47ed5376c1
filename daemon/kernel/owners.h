// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Who keeps BPF links that aren't ours: the pins of a link in any bpffs of the host, and the processes that have a descriptor of it. The
 * kernel keeps no such list, so all pins and all descriptors of the host are gone through, as bpftool does with a BPF iterator; here /proc
 * tells, which needs neither BTF nor kallsyms, and nothing has to be loaded. That is work, and reading of a link waits for RTNL, so
 * the executor does it, a turn at a time: what else it has to do comes in between.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One of those that keep a link. */
struct nk_owner {
	uint32_t link_id;
	uint32_t pid;  /* of a process; 0: it is a pin */
	char comm[16]; /* the process's name */
	char *pin;     /* path, owned; NULL: it is a process */
};

struct nk_owners; /* a search and what it found; passed between the threads as a whole */

/* Search for the owners of these links, by kernel id in any order. 0 or -ENOMEM. */
int nk_owners_new(const uint32_t *links, size_t n, struct nk_owners **ret);
struct nk_owners *nk_owners_free(struct nk_owners *o);
/* Search for one turn; pins below `own`, a directory, are ours and left out. In the executor's thread. */
void nk_owners_look(struct nk_owners *o, int own);
/* Was that the last turn? */
bool nk_owners_done(const struct nk_owners *o);

/* When it is done. */

/* Those of a link: pins, then processes; *ret_n may be 0. */
const struct nk_owner *nk_owners_of(const struct nk_owners *o, uint32_t link_id, size_t *ret_n);
/* Was this link asked for, and every pin looked at, every process? Else what was not found may be there all the same. */
bool nk_owners_saw_pins(const struct nk_owners *o, uint32_t link_id);
bool nk_owners_saw_processes(const struct nk_owners *o, uint32_t link_id);
/*
 * Who looks at a link holds it for that moment. One that was let go by everybody else just then went by our hand, and the watcher doesn't
 * tell what we do: did that happen, or may it have?
 */
bool nk_owners_lost_link(const struct nk_owners *o);

/* The id of the link that /proc/PID/fdinfo/FD is about; 0: it is about none. */
uint32_t nk_owners_read_fdinfo(const char *text);
