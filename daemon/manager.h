// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The one object that owns everything: settings, document, store, cache, monitor, watcher, executor, reconcile, events, server,
 * rpc. It wires them together and turns requests into changes. Split over manager.c (life, wiring), observe.c (what the kernel
 * tells), watching.c (the watcher's life), pinned.c (pins as a whole), unclaimed.c (devices of no document), change.c (requests that
 * change), commit.c (their commit), wait.c (requests that wait), methods.c (requests that look), lookup.c (those that have to search) and
 * statedir.c (files under state.d); only these and main include this header.
 */
#include <sys/queue.h>

#include "daemon/kernel/cache.h"
#include "api/contract.h"
#include "daemon/events.h"
#include "daemon/kernel/executor.h"
#include "daemon/kernel/monitor.h"
#include "daemon/kernel/probe.h"
#include "daemon/reconcile.h"
#include "daemon/rpc.h"
#include "daemon/store.h"
#include "daemon/kernel/watch.h"

struct event;
struct event_base;

/* Objects that an answer is about. */
struct nk_about {
	struct nk_about_object {
		bool is_program;
		char name[NK_NAME_MAX];
	} *list; /* owned */
	size_t n, room;
};

/* A change that waits for its commit, with who asked for it (NULL: a file under state.d). */
struct nk_pending {
	TAILQ_ENTRY(nk_pending) link;
	struct nk_request *request;
	struct nk_change change;
	struct nk_about about; /* all that the request names, changed or not, and what it removes */
	uint64_t revision; /* after it */
	json_t *summary;   /* the reply's "plan", or NULL; reference */
	bool wait;
	uint32_t wait_ms;
};
TAILQ_HEAD(nk_pending_list, nk_pending);

/* A request that is answered when objects have settled. */
struct nk_waiter {
	TAILQ_ENTRY(nk_waiter) link;
	struct nk_manager *manager;
	struct nk_request *request;
	uint64_t revision;
	json_t *summary;
	bool all;               /* about all objects */
	struct nk_about about;  /* else about these */
	size_t next;            /* those before were seen settled */
	struct event *timer;
};
TAILQ_HEAD(nk_waiter_list, nk_waiter);

struct nk_lookup; /* lookup.c: a request that waits for the owners of links */
TAILQ_HEAD(nk_lookup_list, nk_lookup);

/* A state.d file that was refused: path and why. */
struct nk_refused_file {
	char *path, *why; /* owned */
};

/* Which file it is, as long as it is open. */
struct nk_inode {
	dev_t dev;
	ino_t ino;
};

struct nk_manager {
	struct event_base *base;
	const char *settings_path;
	struct nk_settings settings;
	struct nk_probe probe;
	struct nk_document *doc;
	struct nk_store *store;
	struct nk_cache *cache;
	struct nk_monitor *monitor;
	struct nk_watch *watch;      /* NULL: chains are read from time to time */
	char watch_why[200];         /* why there is no watcher */
	struct nk_culprit watch_gone; /* who took it away; `what` is 0: nobody did */
	uint64_t watch_tried_us;     /* monotonic: when it was replaced last; 0: never */
	uint32_t netns_ino;          /* of the daemon's network namespace, as the watcher names it */
	const struct nlmsghdr *event; /* the one that is being taken in, or NULL; borrowed */
	int32_t event_nsid;          /* where it comes from */
	uint64_t drained_us;         /* monotonic: when all events were read last because of the watcher's word */
	struct nk_executor *executor;
	struct nk_reconcile *reconcile;
	struct nk_events *events;
	struct nk_server *server;
	struct nk_rpc *rpc;

	struct event *on_monitor, *on_watch, *on_executor, *on_run, *on_mounts, *on_netns, *on_poll, *on_watchdog;
	struct event *on_pins, *on_pins_late, *on_pins_again;
	struct event *on_signal[3];
	int pins_fd;                 /* tells of pins that come and go; -1: nothing does */
	uint64_t pins_told_us;       /* monotonic: since when it waits to be read; 0: it doesn't */
	int mounts_fd;               /* an epoll descriptor on /proc/self/mountinfo: the table of mounts changed */
	int mountinfo_fd;
	int netns_fd;                /* tells of names under /run/netns; -1: only mounts do */
	int listen_fd, kept_pins;    /* what systemd passed: the socket, and the directory of pins of the netkitd before; -1, 0: nothing */
	struct nk_inode pins_seen;   /* that directory's path as it was looked at last */
	struct nk_inode pins_followed; /* the one where they are */
	ino_t programs_now, programs_before; /* the directory of programs' pins, and the one that it took the place of; 0: none */
	struct nk_inode pins_kept;   /* the one that systemd keeps for the next start */
	char *pins_why;              /* why they could not; NULL: they stand at their path. Owned */
	unsigned pins_pause_s;       /* after which they try again; 0: they needn't */
	bool collect;                /* programs may be pinned that nobody names: look when all is done */

	uint64_t revision;           /* on disk */
	uint64_t revision_working;   /* with the changes that wait for their commit */
	struct nk_pending_list pending;
	struct nk_waiter_list waiters;
	struct nk_lookup_list lookups, looking; /* those that wait for the next search, and those for whom the executor searches */
	char store_why[256];         /* why the last commit failed; empty: it did not */
	struct nk_refused_file *refused;
	size_t n_refused;
	char (*unclaimed)[NK_IFNAMSIZ]; /* devices that were told of as unclaimed, sorted; owned */
	size_t n_unclaimed;
	uint64_t resyncs_told;       /* how many had been asked for when they were looked for last */
	uint64_t started_us;         /* monotonic */
	size_t busy;                 /* objects under way, summed over the runs since memory was given back */
	uint64_t asked_us;           /* monotonic: when systemd was asked for more time to start last; 0: never */
	uint64_t asked_results;      /* nk_executor_results then */
	bool told_ready, stopping;
};

/* ---- manager.c ---- */

int nk_manager_new(const char *settings_path, struct nk_manager **ret, struct nk_error *err);
struct nk_manager *nk_manager_free(struct nk_manager *m);
/* Run until a signal ends it. 0 or -errno. */
int nk_manager_run(struct nk_manager *m);

/* ---- observe.c ---- */

struct nk_cache_handlers nk_manager_cache_handlers(struct nk_manager *m);
/* The watcher's callback, and the loop's; arg is the manager. */
void nk_manager_watch_told(const struct nk_watch_event *e, void *arg);
void nk_manager_on_monitor(int fd, short what, void *arg);
void nk_manager_on_mounts(int fd, short what, void *arg);
void nk_manager_on_netns(int fd, short what, void *arg);
void nk_manager_on_executor(int fd, short what, void *arg);
/* Take in what the kernel has told until now. */
void nk_manager_take_events(struct nk_manager *m);
/* For reconcile: who changed a device? arg is the manager. */
int nk_manager_changed_by(const char *device, uint64_t since_us, struct nk_culprit *ret, void *arg);
/* Read of the device, if it is there, what no event tells, soon. */
void nk_manager_inspect(struct nk_manager *m, const char *device);
/* Read of each device what no event tells, soon. */
void nk_manager_inspect_all(struct nk_manager *m);
/* Put one part of a snapshot into the cache. */
void nk_manager_feed_snapshot(struct nk_cache *cache, const struct nk_result *res);

/* ---- pinned.c ---- */

/* Take what systemd passed, before anything else is opened. 0 or -errno with err. */
int nk_manager_take_descriptors(struct nk_manager *m, struct nk_error *err);
/* The executor holds the pins' directory: give it into systemd's keeping. */
void nk_manager_keep_pins(struct nk_manager *m);
/* Mounts changed: if another directory than that stands at the pins' path now, have the pins follow. */
void nk_manager_check_pins(struct nk_manager *m);
/* A snapshot is in, during which they did, or could not. */
void nk_manager_pins_followed(struct nk_manager *m, struct nk_result *last);
/* A directory of pins (its name below the settings' one; empty: that itself) isn't where it was: have it made anew. */
void nk_manager_pins_removed(struct nk_manager *m, const char *name);
/* For reconcile: has a program its pin, and who removed it? arg is the manager. */
bool nk_manager_has_pin(const char *program, uint32_t id, void *arg);
int nk_manager_unpinned_by(const char *program, struct nk_culprit *ret, void *arg);
/* Nothing is under way: remove pins of programs that neither the document names nor a pinned link holds. */
void nk_manager_collect(struct nk_manager *m);
/* A device of no document went: its pins go. */
void nk_manager_forget_unclaimed(struct nk_manager *m, const char *owner);

/* ---- unclaimed.c ---- */

/* All was read from the kernel: tell of the devices that no document names, unless that was done the last time. */
void nk_manager_tell_unclaimed(struct nk_manager *m);

/* ---- watching.c ---- */

/* Begin to watch; without a watcher, to look from time to time, and tell why. 0 or -ENOMEM. */
int nk_manager_open_watch(struct nk_manager *m);
/* Have it watch tcx as well once the document names an interface; without a watcher, nothing. Before reconcile looks at one. */
void nk_manager_watch_interfaces(struct nk_manager *m);
/* Begin to watch the pins. Without that they are looked at when something else makes a device be looked at. 0 or -ENOMEM. */
int nk_manager_open_pins(struct nk_manager *m);
/* The same, anew: they are in another directory. */
void nk_manager_watch_pins(struct nk_manager *m);
/* Any pin may have gone: look at all. */
void nk_manager_inspect_pins(struct nk_manager *m);
/* Take in what there is to tell of pins, now. */
void nk_manager_drain_pins(struct nk_manager *m);
/* The same of the watcher, if there is one. */
void nk_manager_drain_watch(struct nk_manager *m);
/* The watcher says that it is being taken away by `who`: it is replaced when it has told all. */
void nk_manager_watch_removed(struct nk_manager *m, const struct nk_culprit *who);

/* ---- change.c ---- */

/* Method handlers; arg is the manager. */
void nk_manager_state_apply(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_device_set(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_device_delete(struct nk_request *r, union nk_params *p, void *arg);
/*
 * Put a document in as the whole content of `source` (a file under state.d; NULL input: the file is gone) and commit.
 * 0 or -EINVAL with err; nothing changed then.
 */
int nk_manager_apply_source(struct nk_manager *m, const char *source, struct nk_document_input *in, struct nk_error *err);
/* A change of no request stands in the document: queue it for the commit. Takes c. 0, or -ENOMEM; it is taken back then. */
int nk_manager_queue_change(struct nk_manager *m, struct nk_change *c);

/* ---- commit.c ---- */

/* Write what waits, answer, tell reconcile. Called when no more input waits, and before anything is read out. */
void nk_manager_commit(struct nk_manager *m);
/* Take a change that is not yet written out of the document again, and clear it. */
void nk_manager_undo(struct nk_manager *m, struct nk_change *c);

/* ---- wait.c ---- */

void nk_manager_state_wait(struct nk_request *r, union nk_params *p, void *arg);
/* The reply to a change. summary is borrowed, pending taken and may be NULL. */
json_t *nk_manager_change_result(uint64_t revision, json_t *summary, bool converged, json_t *pending);
/* Are they all as the document says, or released, and is nothing under way for them? */
bool nk_manager_is_converged(const struct nk_manager *m, const struct nk_about *about);
/* Answer r when these objects (NULL: all) have settled, at the latest after wait_ms. Takes the list and leaves none; summary
 * is borrowed, NULL for state.wait. */
void nk_manager_start_waiting(struct nk_manager *m, struct nk_request *r, uint64_t revision, json_t *summary,
			      struct nk_about *about, uint32_t wait_ms);
/* Conditions changed: answer who can be answered. */
void nk_manager_check_waiters(struct nk_manager *m);
/* This client has gone: nobody waits for its answers. */
void nk_manager_forget_waiters(struct nk_manager *m, const struct nk_peer *p);
/* Answer all waiters as they stand (shutdown). */
void nk_manager_drop_waiters(struct nk_manager *m);

/* ---- methods.c ---- */

void nk_manager_daemon_status(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_daemon_capabilities(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_state_get(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_state_rebuild(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_device_get(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_device_list(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_program_list(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_attachment_list(struct nk_request *r, union nk_params *p, void *arg);
void nk_manager_event_subscribe(struct nk_request *r, union nk_params *p, void *arg);
/* The result of a method that has one value in it; takes value. */
void nk_manager_reply_with(struct nk_request *r, enum nk_method m, json_t *value);
/* 0 if it is known what the kernel holds; else negative, with err. */
int nk_manager_sees(const struct nk_manager *m, struct nk_error *err);
/* The attachments of a device or interface (empty: of all) as attachment.list tells them: new reference. NULL without memory. */
json_t *nk_manager_attachments(const struct nk_manager *m, const char *device);

/* ---- lookup.c ---- */

/* Answer attachment.list of a device or interface (empty: of all) when it is found out who keeps the foreign links; at once if there are none. */
void nk_manager_find_owners(struct nk_manager *m, struct nk_request *r, const char *device);
/* The executor has searched for a turn. Takes o. */
void nk_manager_owners_searched(struct nk_manager *m, struct nk_owners *o);
/* This client has gone: nobody waits for its answers. */
void nk_manager_forget_lookups(struct nk_manager *m, const struct nk_peer *p);
/* Answer all as far as it is known (shutdown). */
void nk_manager_drop_lookups(struct nk_manager *m);

/* ---- statedir.c ---- */

#define NK_STATE_DIR_D "/etc/netkitd/state.d"
/* Read all files, in the order of their names; a refused one keeps what it stated before. What a file that is gone, or doesn't name it
 * any more, stated becomes the file's that states it now, else it goes. Each refusal is told as an event and kept for daemon.status. */
void nk_manager_read_state_d(struct nk_manager *m);
