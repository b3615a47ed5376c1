// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the manager does for pins as a whole: it has systemd keep a descriptor of their directory, so that the next netkitd finds them
 * wherever that is mounted by then; it notices when another directory stands at their path; it looks whether a program has its pin; and it
 * collects programs that nobody names. Pins are written and brought elsewhere by the executor alone. Called by the loop.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/kernel/pins.h"
#include "daemon/manager.h"

#define KEPT "pins"     /* the descriptor's name with systemd */
#define PAUSE_MAX_S 60u /* between two tries to follow, which read all devices; the first are shorter */

int nk_manager_take_descriptors(struct nk_manager *m, struct nk_error *err)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names), sockets = 0;

	for (int i = 0; i < n; i++) {
		if (strcmp(names[i], KEPT) == 0) {
			m->kept_pins = SD_LISTEN_FDS_START + i;
		} else {
			m->listen_fd = SD_LISTEN_FDS_START + i;
			sockets++;
		}
		free(names[i]);
	}
	free(names);
	if (sockets > 1) {
		nk_error_set(err, NK_E_INVALID_PARAMS, "systemd passed %d sockets, but netkitd listens on one; see netkitd.socket", sockets);
		return -EINVAL;
	}
	return 0;
}

static bool same(struct nk_inode a, struct nk_inode b)
{
	return a.dev == b.dev && a.ino == b.ino;
}

/* What stands at the pins' path, or above it: a bpffs on which they have no directory yet. */
static struct nk_inode look(const struct nk_manager *m)
{
	const char *slash = strrchr(m->settings.bpffs, '/');
	char parent[PATH_MAX];
	struct stat st;

	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - m->settings.bpffs), m->settings.bpffs);
	if (stat(m->settings.bpffs, &st) < 0 && stat(parent, &st) < 0)
		return (struct nk_inode){ 0 };
	return (struct nk_inode){ st.st_dev, st.st_ino };
}

/* The number of the directory that programs' pins are in; 0: there is none. */
static ino_t find_programs(const struct nk_manager *m)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/programs", m->settings.bpffs);
	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

/* Have systemd keep the directory instead of the one it had. Without systemd nothing happens. */
static void give_away(struct nk_manager *m, int directory)
{
	struct stat st;

	if (fstat(directory, &st) < 0 || same(m->pins_kept, (struct nk_inode){ st.st_dev, st.st_ino }))
		return;
	sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" KEPT);
	if (sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=" KEPT "\nFDPOLL=0", &directory, 1) >= 0)
		m->pins_kept = (struct nk_inode){ st.st_dev, st.st_ino };
}

void nk_manager_keep_pins(struct nk_manager *m)
{
	struct stat st;

	if (m->kept_pins && fstat(m->kept_pins, &st) == 0)
		m->pins_kept = (struct nk_inode){ st.st_dev, st.st_ino };
	if (m->kept_pins)
		close(m->kept_pins);
	m->kept_pins = 0;
	give_away(m, nk_executor_pins(m->executor));
	m->programs_now = find_programs(m);
	m->pins_seen = look(m);
}

void nk_manager_check_pins(struct nk_manager *m)
{
	struct nk_inode now = look(m);
	struct nk_culprit who;
	char why[500], by[200] = "";
	bool known;

	if (nk_reconcile_resyncing(m->reconcile) || same(now, m->pins_seen))
		return;
	m->pins_seen = now;
	known = m->watch && nk_watch_unmounter(m->watch, &who) == 0;
	if (known)
		nk_culprit_text(&who, true, stpcpy(by, " by "), sizeof(by) - 4);
	snprintf(why, sizeof(why), "the pins of %s go where it leads now, since their bpffs was unmounted%s%s", m->settings.bpffs, by,
		 known ? "" : ", or hidden by another");
	nk_reconcile_resync(m->reconcile, why, known ? &who : NULL);
}

void nk_manager_pins_removed(struct nk_manager *m, const char *name)
{
	char why[500], by[200] = " or moved away";
	struct nk_culprit who;
	bool known = m->watch && nk_watch_unpinner(m->watch, m->pins_followed.ino, name, &who) == 0;

	if (known)
		nk_culprit_text(&who, true, stpcpy(by, " by "), sizeof(by) - 4);
	snprintf(why, sizeof(why), "%s%s%s was removed%s; it is made anew", m->settings.bpffs, *name ? "/" : "", name, by);
	nk_reconcile_resync(m->reconcile, why, known ? &who : NULL);
}

/* They stand in other directories than before. */
static void begin_anew(struct nk_manager *m)
{
	m->programs_before = m->programs_now;
	m->programs_now = find_programs(m);
	nk_manager_watch_pins(m);
	nk_manager_inspect_pins(m);
}

void nk_manager_pins_followed(struct nk_manager *m, struct nk_result *last)
{
	int directory;

	if (last->pins_why && (!m->pins_why || strcmp(m->pins_why, last->pins_why) != 0)) {
		struct nk_event_fields f = { 0 };

		nk_event(m->events, NK_EVENT_CAPABILITY_MISSING, &f, "programs would go with netkitd: %s", last->pins_why);
	}
	free(m->pins_why);
	m->pins_why = last->pins_why;
	last->pins_why = NULL;
	/* They could not: they try again when mounts change, and after a pause, for what stood in their way need not be a mount. */
	if (m->pins_why) {
		m->pins_seen = look(m);
		m->pins_pause_s = m->pins_pause_s ? 2 * m->pins_pause_s : 1;
		if (m->pins_pause_s > PAUSE_MAX_S)
			m->pins_pause_s = PAUSE_MAX_S;
		evtimer_add(m->on_pins_again, &(struct timeval){ .tv_sec = m->pins_pause_s });
		return;
	}
	m->pins_pause_s = 0;
	evtimer_del(m->on_pins_again);
	m->pins_seen = m->pins_followed = (struct nk_inode){ last->pins_dev, last->pins_ino };
	if (last->pins_moved)
		begin_anew(m);
	/* Mounts may have changed again meanwhile. */
	nk_manager_check_pins(m);
	directory = open(m->settings.bpffs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory >= 0) {
		give_away(m, directory);
		close(directory);
	}
}

/* ---- one program's ---- */

/* Where the pins are brought to another bpffs, they are looked for when they are there. */
bool nk_manager_has_pin(const char *program, uint32_t id, void *arg)
{
	const struct nk_manager *m = arg;
	char pin[NK_PIN_NAME_MAX], path[PATH_MAX];

	if (!same(look(m), m->pins_followed))
		return true;
	snprintf(path, sizeof(path), "%s/programs/%s", m->settings.bpffs, nk_pin_encode(program, pin));
	return nk_bpf_pinned_prog(path) == id;
}

int nk_manager_unpinned_by(const char *program, struct nk_culprit *ret, void *arg)
{
	const struct nk_manager *m = arg;
	char pin[NK_PIN_NAME_MAX];

	if (!m->watch)
		return -ENOENT;
	nk_pin_encode(program, pin);
	/* If the directory went with it. */
	if (nk_watch_unpinner(m->watch, m->programs_now, pin, ret) == 0)
		return 0;
	return nk_watch_unpinner(m->watch, m->programs_before, pin, ret);
}

/* ---- orphans ---- */

struct orphan {
	char name[NK_NAME_MAX];
	uint32_t id;
	bool held; /* by a pinned link */
};

struct orphans {
	const struct nk_document *doc;
	struct orphan *list; /* owned */
	size_t n;
};

static void one_program(const char *name, uint32_t id, void *arg)
{
	struct orphans *o = arg;
	struct orphan *more;

	if (nk_document_program(o->doc, name))
		return;
	more = reallocarray(o->list, o->n + 1, sizeof(*more));
	if (!more)
		return; /* the next time */
	o->list = more;
	more[o->n] = (struct orphan){ .id = id };
	strncpy(more[o->n++].name, name, NK_NAME_MAX - 1);
}

/* Links of devices that no document names any more hold programs that a document will name again that claims them, or `rebuild`. */
static void one_link(uint32_t prog_id, void *arg)
{
	struct orphans *o = arg;

	for (size_t i = 0; i < o->n; i++)
		o->list[i].held |= o->list[i].id == prog_id;
}

void nk_manager_collect(struct nk_manager *m)
{
	struct orphans o = { .doc = m->doc };

	if (!m->collect)
		return;
	m->collect = false;
	nk_bpf_each_program(m->settings.bpffs, one_program, &o);
	if (o.n && nk_bpf_each_link(m->settings.bpffs, one_link, &o) < 0)
		o.n = 0;
	/* Like one that a change took out of the document. */
	for (size_t i = 0; i < o.n; i++) {
		if (!o.list[i].held)
			nk_reconcile_program_changed(m->reconcile, o.list[i].name, m->revision);
	}
	free(o.list);
}

void nk_manager_forget_unclaimed(struct nk_manager *m, const char *owner)
{
	if (nk_reconcile_knows(m->reconcile, owner) || nk_document_device(m->doc, owner))
		return;
	nk_reconcile_device_changed(m->reconcile, owner, m->revision);
	m->collect = true;
}
