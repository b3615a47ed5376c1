// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The document: all desired programs, devices and interfaces, found by name in constant time, and changes to it that can be taken
 * back. An interface is a struct nk_device too, and a name is a device's or an interface's: "device" stands for both where nothing
 * else is said.
 * The manager owns the one document of the daemon. A request becomes a change set, is checked against the document with the
 * change applied, and either stays (committed by the store) or is undone, in time proportional to the change and never to
 * the document.
 */
#include "daemon/model/value.h"

struct nk_document; /* opaque */

/* Where an object was stated: "" for the socket, else the path of the file under state.d. Interned in the document. */
struct nk_document *nk_document_new(void);
struct nk_document *nk_document_free(struct nk_document *doc);

const struct nk_device *nk_document_device(const struct nk_document *doc, const char *name);
const struct nk_program *nk_document_program(const struct nk_document *doc, const char *name);
/* Source of an object that is there; NULL if it is not there. */
const char *nk_document_device_source(const struct nk_document *doc, const char *name);
const char *nk_document_program_source(const struct nk_document *doc, const char *name);
/* Without interfaces. */
size_t nk_document_n_devices(const struct nk_document *doc);
size_t nk_document_n_interfaces(const struct nk_document *doc);
size_t nk_document_n_programs(const struct nk_document *doc);
/* How many attachments in the document use this program. Constant time. */
size_t nk_document_program_users(const struct nk_document *doc, const char *name);
/* Name of a device whose peer has this name in an equal netns reference, other than `except`; NULL if none. Constant time. */
const char *nk_document_peer_taken(const struct nk_document *doc, const struct nk_netns *ns, const char *peer,
				   const char *except);

/*
 * All objects in the order of their names. Stops and returns the callback's value if it is not 0; -ENOMEM before the first
 * call. The callback may not change the document.
 */
typedef int (*nk_device_fn)(const struct nk_device *d, const char *source, void *arg);
typedef int (*nk_program_fn)(const struct nk_program *p, const char *source, void *arg);
int nk_document_each_device(const struct nk_document *doc, nk_device_fn fn, void *arg);
int nk_document_each_program(const struct nk_document *doc, nk_program_fn fn, void *arg);

/* One step of a change: `next` NULL removes. Exactly one of device and program is meant, told by `is_program`. */
struct nk_change_item {
	bool is_program;
	char name[NK_NAME_MAX];
	struct nk_device *dev_prev, *dev_next;    /* references, may be NULL */
	struct nk_program *prog_prev, *prog_next; /* references, may be NULL */
	char *src_prev, *src_next;                /* owned, NULL where there is no object */
	size_t pointer_index;                     /* place in the request's list, for error pointers; SIZE_MAX for none */
};

/* A list of steps, applied in order, undone in reverse. */
struct nk_change {
	struct nk_change_item *items; /* owned */
	size_t n, room;
};

void nk_change_clear(struct nk_change *c);

/*
 * Put or remove an object in the document and note the step in `c`. Putting an equal object from the same source notes
 * nothing. 0, or -ENOMEM with document and change as they were. Removing what is not there: -ENOENT.
 */
int nk_document_put_device(struct nk_document *doc, const struct nk_device *d, const char *source, size_t pointer_index,
			   struct nk_change *c);
int nk_document_put_program(struct nk_document *doc, const struct nk_program *p, const char *source, size_t pointer_index,
			    struct nk_change *c);
int nk_document_remove_device(struct nk_document *doc, const char *name, struct nk_change *c);
int nk_document_remove_program(struct nk_document *doc, const char *name, struct nk_change *c);
/* Take all steps of c back, last first, and clear it. Never fails. */
void nk_document_undo(struct nk_document *doc, struct nk_change *c);

/* What is wrong with a document, said so that a person finds the place. */
struct nk_problem {
	char pointer[256]; /* JSON pointer below the document: /devices/3/peer/addresses/0 */
	char text[256];    /* what, why, what to do */
};

typedef void (*nk_problem_fn)(const struct nk_problem *p, void *arg);

/*
 * Check one device by itself: all that needs no other object (MAC only in L2, no peer's settings in single mode, a gateway that is
 * on link through one of the same end's addresses or routes unless onlink, src among the end's addresses, no two routes
 * with one key, no address twice, at most NK_CHAIN_MAX attachments a hook, attachment names unique in the device, one
 * program at most once a hook, what attachments say of each other leaves an order (chain_order.h) and names attachments of the same
 * hook, hook netkit/peer only with a peer, tcx hooks on an interface and no others there, nothing `required` there, both ends' names different when they share a namespace, IPv6
 * needs an MTU of 1280, at most NK_ADDRS_MAX addresses and NK_ROUTES_MAX routes an end). prefix is put before each pointer.
 * Pointers tell places in the device's lists as they are: call it before nk_device_normalise sorts them. Returns the number
 * of problems, each told to fn.
 */
size_t nk_device_check(const struct nk_device *d, const char *prefix, nk_problem_fn fn, void *arg);

/*
 * Check what a change did to the document: every program that an attachment names exists, no removed program is still
 * used, no two peers share a name in a namespace, no peer in the host's namespace has the name of a device or interface. Looks at
 * the changed objects and their neighbours only. Pointers are those of the request: "/devices/<pointer_index>/…" if
 * it is set, else "/devices/<name>/…"; likewise "/interfaces/…".
 */
size_t nk_document_check(const struct nk_document *doc, const struct nk_change *c, nk_problem_fn fn, void *arg);
