// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Programs, links and pins. Owned by the executor; called from no other thread. No descriptor of a link is kept: the pin is the
 * reference, and it is opened when needed. Programs' descriptors are kept while the document names them.
 *
 * Layout below `dir` (a bpffs), read back at every start:
 *   programs/<program>                      the loaded program
 *   programs/<program>%origin               a map that holds what it was made of
 *   passed/<kernel id>                      a program that came as a descriptor (passed.h)
 *   links/<device>:<hook>:<attachment>      a link; hook is "primary" or "peer", or of an interface "ingress" or "egress"
 *   links/<device>:<hook>:<attachment>%new  the same attachment at its new place, while it moves (bpf_move.c)
 *   links/<device>:<hook>:<attachment>%map  what its stand-in jumps to, likewise
 * bpffs takes no '.' in names, so '.' is written %2E and '%' %25.
 */
#include "api/error.h"
#include "daemon/kernel/object_file.h"
#include "daemon/model/observed.h"

struct nk_bpf;

/*
 * Open the directory of the pins (bpffs.h) and read them. What a killed process left half done is finished or removed, and so are
 * pins of links that are in no chain any more. kept: the directory as an earlier netkitd had it, or 0; if that is another one, because
 * of a mount that came or went meanwhile, its pins are brought here. Object files may come from `objects`, which is borrowed for
 * good. -errno with err.
 */
int nk_bpf_open(const char *dir, int kept, const struct nk_object_dirs *objects, struct nk_bpf **ret, struct nk_error *err);
/*
 * Read the pins as they are and change nothing, whatever is missing or half done: a netkitd may be at work there. What comes then may only
 * query chains. -errno with err.
 */
int nk_bpf_open_to_read(const char *dir, struct nk_bpf **ret, struct nk_error *err);
struct nk_bpf *nk_bpf_close(struct nk_bpf *b);

/*
 * Is what is seen at the directory's path still the one that holds the pins? If not (its bpffs was unmounted, or another one was mounted
 * over it), bring them there, so that the next netkitd finds them; directories that somebody removed are made anew, and empty.
 * 0: nothing was to be done. 1: directories are others than before. -errno with err: they stay where they are, and work.
 */
int nk_bpf_follow(struct nk_bpf *b, struct nk_error *err);
/* A descriptor of the directory that holds the pins: borrowed. */
int nk_bpf_root(const struct nk_bpf *b);

struct nk_program_state {
	char name[NK_NAME_MAX];
	uint32_t id;       /* kernel id, 0: not loaded */
	char tag[NK_TAG_STRLEN];
	bool before;       /* it is the version before the one that was asked for, which failed */
	uint32_t n_links;  /* links that were given this version in place of the one before */
};

/* Where a program may be attached: devices whose attachments name it, and others. Borrowed. */
struct nk_bpf_users {
	const struct nk_device *const *devices;
	size_t n;
};

/*
 * Make a program available: take the pin of the same name when it holds what the document means (for an object: made of the same
 * file and function, or the same in instructions and maps), else load it.
 *
 * Where another version has that name until now, this is an upgrade. The new one takes over the maps of the old one; then each
 * link of the users that holds the old version gets the new one, by compare-and-swap; then its pin. All or nothing: when one
 * link fails, those that were done are put back, and the old version keeps its name.
 *
 * -errno with err, which has the verifier's log in its message, whole; *ret then tells of the version before, id 0 if there is
 * none.
 */
int nk_bpf_load(struct nk_bpf *b, const struct nk_program *p, const struct nk_bpf_users *users, struct nk_program_state *ret,
		struct nk_error *err);
int nk_bpf_unload(struct nk_bpf *b, const char *program);

/*
 * Chains have a revision, which grows by one with each change. *revision is the one that the caller knows, 0 if it knows none; where a
 * place is asked for, the kernel refuses with -ESTALE when somebody else changed the chain since. Each change made here
 * is added to it.
 */

/* Attach by a link, pin it. before_prog 0: at the end, else right before that program, by id. -errno with err. */
int nk_bpf_attach(struct nk_bpf *b, const char *device, uint32_t ifindex, enum nk_hook hook, const char *attachment,
		  const char *program, uint32_t before_prog, uint64_t *revision, struct nk_error *err);
/* Exchange the program of our link, only if it still is old_prog (compare-and-swap). -ENOLINK: the device is gone. */
int nk_bpf_update(struct nk_bpf *b, const char *device, enum nk_hook hook, const char *attachment, const char *program,
		  uint32_t old_prog, uint64_t *revision, struct nk_error *err);
/*
 * Bring our link to another place of its chain, as above, while packets pass: no packet misses its program. One that is in the
 * chain at the instant of the exchange may meet it twice.
 */
int nk_bpf_move(struct nk_bpf *b, const char *device, uint32_t ifindex, enum nk_hook hook, const char *attachment,
		uint32_t before_prog, uint64_t *revision, struct nk_error *err);
/* Detach at once and remove the pin. 0 also when it was gone. */
int nk_bpf_detach(struct nk_bpf *b, const char *device, enum nk_hook hook, const char *attachment, uint64_t *revision,
		  struct nk_error *err);
/* Has the device a pinned link? */
bool nk_bpf_has_links(const struct nk_bpf *b, const char *device);
/*
 * Pin again what somebody unpinned: links of the device that are still attached since another process holds them, and a program that is
 * loaded, with what it was made of. 0 or the first -errno.
 */
int nk_bpf_repin_links(struct nk_bpf *b, const char *device);
int nk_bpf_repin_program(struct nk_bpf *b, const char *program);
/* Remove all pins of a device that is gone; end the links of an interface, but those that are at ifindex (0: all). */
int nk_bpf_forget_device(struct nk_bpf *b, const char *device, uint32_t ifindex);

/* A link that is pinned at a hook of an interface. */
struct nk_interface_link {
	char interface[NK_IFNAMSIZ];
	char attachment[NK_NAME_MAX];
	enum nk_hook hook;
	uint32_t prog_id;
	int place; /* in the chain; -1: it is in none */
};

/* All of them, in no order. For whoever has no struct nk_bpf, like nk_bpf_each_program. 0 or -errno. */
int nk_bpf_each_interface_link(const char *dir, void (*fn)(const struct nk_interface_link *l, void *arg), void *arg);

/* The pinned programs below dir: name and kernel id each. For whoever has no struct nk_bpf: the loop, `rebuild`. 0 or -errno. */
int nk_bpf_each_program(const char *dir, void (*fn)(const char *name, uint32_t prog_id, void *arg), void *arg);

/* How the document stated a pinned program when it was loaded, as JSON, the caller's; NULL: not kept, by an older netkitd. Likewise. */
char *nk_bpf_definition(const char *dir, const char *program, uint32_t prog_id);

/* The same as nk_bpf_each_program for the programs that the pinned links hold. */
int nk_bpf_each_link(const char *dir, void (*fn)(uint32_t prog_id, void *arg), void *arg);

/* Read a chain: our links by name, the rest as foreign. Takes any number (ENOSPC: again, larger). -errno. */
int nk_bpf_query(struct nk_bpf *b, uint32_t ifindex, enum nk_hook hook, struct nk_obs_chain *ret);

/* Id of the program that is pinned at path, itself or its link; 0: none is. Safe from the loop as well. */
uint32_t nk_bpf_pinned_prog(const char *path);

/* Facts of a program for the lists; safe from the loop as well (it opens its own descriptor by id). */
struct nk_program_facts {
	char tag[NK_TAG_STRLEN], kernel_name[16];
	uint64_t run_count, run_time_ns;
};
int nk_bpf_facts(uint32_t prog_id, struct nk_program_facts *ret);
