// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Who breaks one object again and again, and how long its repair therefore waits. Reconcile asks when it sees drift; nothing here knows
 * a clock, a queue or an event.
 *
 * Two things that look like one fight are told apart: another culprit (command, user, control group; not the process, which is a new one
 * at each turn of a shell's loop), and another part of the object (enum NK_DRIFT_…). So who spoils the inside of a container can't delay
 * the repair of its programs.
 */
#include <stdbool.h>
#include <stdint.h>

#include "bpf/netkitd_bpf.h"

#define NK_CONTEST_FREE 3           /* repairs at once before they begin to wait */
#define NK_CONTEST_CALM_MS 10000u   /* so long after its repair an object is left alone by who doesn't fight for it */

struct nk_contest; /* one object's; a kilobyte, for objects that drifted only */

/* What is known of one who does it. */
struct nk_contestant {
	struct nk_culprit who; /* as last seen; comm is empty: nobody knows who */
	uint32_t areas;
	uint32_t count;        /* how often, since he was left in peace */
	uint64_t since_us;     /* monotonic: the first of these */
	uint64_t last_us;      /* the newest */
	uint32_t pause_ms;     /* how long its repair waits; 0: not at all */
};

/* NULL without memory. */
struct nk_contest *nk_contest_new(void);
struct nk_contest *nk_contest_free(struct nk_contest *c);

/*
 * He (NULL: nobody knows who) broke the object in these areas, at now_us. The entry, valid until the next call; what it says to do is in
 * pause_ms, which doubles from min_ms to max_ms beginning with the fourth time. random: for the jitter.
 */
const struct nk_contestant *nk_contest_note(struct nk_contest *c, const struct nk_culprit *who, uint32_t areas, uint64_t now_us,
					    uint32_t min_ms, uint32_t max_ms, uint32_t random);
/* The one who fought last, over or not; NULL: nobody did. */
const struct nk_contestant *nk_contest_last(const struct nk_contest *c);
/* The one for whose sake repairs wait or waited lately, of several the newest; NULL: there is none at now_us. *ret_calm_us: when that ends. */
const struct nk_contestant *nk_contest_fighter(const struct nk_contest *c, uint64_t now_us, uint64_t *ret_calm_us);
