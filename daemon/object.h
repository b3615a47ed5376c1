// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * One object a desired (or doomed) device, interface and program: its condition, whether it waits for work, when it is tried again, and since when
 * it drifts. The tables and queues of reconcile; no one else includes this. Nothing here looks at the kernel or decides
 * what to do.
 */
#include <sys/queue.h>

#include "api/contract.h"
#include "daemon/contest.h"
#include "daemon/kernel/watch.h"
#include "daemon/model/map.h"

struct nk_object {
	struct nk_map_node node;
	TAILQ_ENTRY(nk_object) dirty_link;
	TAILQ_ENTRY(nk_object) retry_link;
	bool is_program;
	bool is_interface; /* among the devices */
	bool dirty;     /* in the queue of what is to be looked at */
	bool in_plan;   /* an operation of the running plan is about it */
	bool retrying;  /* in the list of what is tried again at retry_at_ms */
	bool fresh;     /* back from a plan, and not looked at since */
	bool tried;     /* looked at since its last change */
	bool told;      /* that it is degraded was told since then */
	bool doomed;    /* not desired any more: goes when the kernel has nothing of it left */
	bool unpinned;  /* its pins were removed after the device went */
	bool netns_gone; /* the namespace of its peer died */
	bool netns_sought; /* it vanished while it was right, and it was looked whether that namespace is there */
	bool wait_netns; /* tried again when a mount appears */
	bool wait_delete; /* its peer is gone: the end of the primary is awaited */
	bool wait_link;  /* an interface that no link has the name of */
	bool wait_name;  /* tried again when a foreign link leaves its name */
	bool wait_anchor; /* all that can be done is done, until a program of somebody else comes or goes */

	enum nk_state state;
	const char *reason; /* static, or NULL */
	char *message;      /* owned, or NULL */
	char *extack;       /* owned, or NULL */
	int error;          /* positive errno */
	uint64_t since_us;  /* wall clock, microseconds since the epoch */
	uint32_t retries;
	uint32_t futile;    /* plans in a row that worked and yet left a difference */
	uint32_t races;     /* plans in a row in which somebody else changed the chain first */
	uint64_t retry_at_ms; /* monotonic */
	uint64_t revision;  /* the change that touched it last */

	/* drift */
	uint64_t noticed_us;  /* monotonic: the first kernel event since it was right; 0 for none */
	bool drifting;        /* differs by somebody else's doing, and is not yet put back */
	bool untold;          /* this drift is one of a fight's, and so is its repair: they are counted, not told */
	bool contended;       /* somebody fights for it: told, and in its condition */
	bool left;            /* drifted and left so, as the definition wants it */
	uint32_t broken;      /* NK_DRIFT_…: what is known to differ while drifting */
	size_t n_left;        /* differences when it was told that it is left so */
	uint64_t hold_until_us; /* monotonic: nothing is put back before; 0: nothing is held */
	char *drift;          /* what was done and by whom, for the report of its repair; owned, or NULL */
	struct nk_culprit *culprit; /* owned, or NULL */
	bool reread;                /* a device that may have been set without an event: to be inspected */
	struct nk_culprit *set_by;  /* by him; owned, or NULL */
	struct nk_contest *contest; /* owned, or NULL: it never drifted */
	uint32_t repairs;

	/* devices and interfaces */
	uint32_t ifindex;     /* interfaces: of the link that ready_as was about; another link that has the name begins anew */
	const struct nk_device *ready_as; /* the definition under which it was Ready: a difference from it is drift. Reference */
	uint64_t right_since_us; /* monotonic: when it became right last; after drift, when that was noticed: who asks later, asks anew */
	bool program_changed; /* a program of it was exchanged since it was right: what differs is not drift */

	/* programs */
	const struct nk_program *loaded_as; /* the definition that is loaded: that its pin is not there is drift. Reference */
	uint32_t loaded_id;                 /* the kernel's; 0: not loaded */
	char loaded_tag[NK_TAG_STRLEN];
	bool look_again;                    /* what it is made of may have changed: a reload asked for it */
	bool asked_late;                    /* and so did one while it was being loaded */

	char name[]; /* last, so that it takes as much as it needs */
};

TAILQ_HEAD(nk_object_queue, nk_object);

struct nk_objects; /* a table by name; devices (with interfaces) and programs have one each */

struct nk_objects *nk_objects_new(bool programs);
struct nk_objects *nk_objects_free(struct nk_objects *t);
struct nk_object *nk_objects_find(const struct nk_objects *t, const char *name);
/* Find or add. NULL without memory. */
struct nk_object *nk_objects_get(struct nk_objects *t, const char *name);
/* Take out and free; must be in no queue. */
void nk_objects_remove(struct nk_objects *t, struct nk_object *o);
size_t nk_objects_count(const struct nk_objects *t, enum nk_state state);
/* Of the devices those that are interfaces. */
size_t nk_objects_count_interfaces(const struct nk_objects *t, enum nk_state state);
/* Say that it is one, or not. */
void nk_object_be_interface(struct nk_objects *t, struct nk_object *o, bool interface);
/* What it is, in sentences: "device", "interface" or "program". */
const char *nk_object_noun(const struct nk_object *o);
/* In no order. fn must not add or remove. */
void nk_objects_each(const struct nk_objects *t, void (*fn)(struct nk_object *o, void *arg), void *arg);

/* Set the condition. Returns whether state or reason changed. message and extack are copied and may be NULL. */
bool nk_object_set(struct nk_objects *t, struct nk_object *o, enum nk_state state, const char *reason, const char *message, int error,
		   const char *extack);
/* Copy out, borrowing pointers. now_ms: monotonic, for retry_in_ms. */
void nk_object_condition(const struct nk_object *o, uint64_t now_ms, struct nk_condition *ret);

/* Milliseconds to wait before the next try: doubles from min to max with the number of tries, a quarter of it jitter. */
uint32_t nk_backoff_ms(uint32_t tries, uint32_t min_ms, uint32_t max_ms, uint32_t random);

uint64_t nk_now_us(void);  /* monotonic */
uint64_t nk_wall_us(void); /* since the epoch */
