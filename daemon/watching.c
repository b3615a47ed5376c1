// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tells of changes that the kernel sends no event of. The watcher's life: loaded at start, replaced when somebody takes it
 * away, and what is done where there is none. And the pins, whose removal is told without a watcher too. Part of the manager.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/kernel/pin_watch.h"
#include "daemon/manager.h"
#include "daemon/object.h"

#define AGAIN_US 10000000u /* one that goes again so soon after it was replaced isn't replaced at once: to load it is work */

static void on_watch(int fd, short what, void *arg);
static void on_poll(int fd, short what, void *arg);

/* There is none, for the reason in m->watch_why: the capabilities say so. Returns error. */
static int missing(struct nk_manager *m, int error)
{
	nk_probe_tell(&m->probe, NK_FEATURE_TRACING, error == -EPERM ? NK_UNKNOWN : NK_MISSING, "%s", m->watch_why);
	return error;
}

/* Load it and listen to it. 0 or -errno, with m->watch_why. */
static int load(struct nk_manager *m)
{
	int r = nk_watch_open(m->netns_ino, nk_manager_watch_told, m, &m->watch, m->watch_why, sizeof(m->watch_why));

	if (r < 0) {
		m->watch = NULL;
		return missing(m, r);
	}
	nk_probe_tell(&m->probe, NK_FEATURE_TRACING, NK_PRESENT, "the watcher traces the kernel's functions");
	m->on_watch = event_new(m->base, nk_watch_fd(m->watch), EV_READ | EV_PERSIST, on_watch, m);
	if (m->on_watch && event_add(m->on_watch, NULL) == 0) {
		nk_cache_tell_inhabited(m->cache);
		return 0;
	}
	if (m->on_watch)
		event_free(m->on_watch);
	m->on_watch = NULL;
	m->watch = nk_watch_close(m->watch);
	snprintf(m->watch_why, sizeof(m->watch_why), "no memory");
	return -ENOMEM;
}

/* All is looked at from time to time. */
static int poll_instead(struct nk_manager *m)
{
	struct timeval poll = { .tv_sec = (time_t)m->settings.poll_s };

	if (!m->on_poll)
		m->on_poll = event_new(m->base, -1, EV_PERSIST, on_poll, m);
	return m->on_poll && event_add(m->on_poll, &poll) == 0 ? 0 : -ENOMEM;
}

/* Tell that there is none, and why (m->watch_why), and look from time to time. 0 or -ENOMEM. */
static int do_without(struct nk_manager *m, int error)
{
	struct nk_event_fields f = { .error = -error };

	nk_event(m->events, NK_EVENT_CAPABILITY_MISSING, &f, "changes of programs by others are noticed only every %u s: %s",
		 m->settings.poll_s, m->watch_why);
	return poll_instead(m);
}

int nk_manager_open_watch(struct nk_manager *m)
{
	int r = load(m);

	return r < 0 ? do_without(m, r) : 0;
}

void nk_manager_watch_interfaces(struct nk_manager *m)
{
	int r = m->watch && nk_document_n_interfaces(m->doc) ? nk_watch_interfaces(m->watch, m->watch_why, sizeof(m->watch_why)) : 0;

	if (r == 0)
		return;
	event_free(m->on_watch);
	m->on_watch = NULL;
	m->watch = nk_watch_close(m->watch);
	do_without(m, missing(m, r));
	nk_manager_inspect_all(m);
}

void nk_manager_watch_removed(struct nk_manager *m, const struct nk_culprit *who)
{
	m->watch_gone = *who;
}

static void replace(struct nk_manager *m)
{
	struct nk_culprit who = m->watch_gone;
	struct nk_event_fields f = { .culprit = who.pid ? &who : NULL };
	bool soon = m->watch_tried_us && nk_now_us() - m->watch_tried_us < AGAIN_US;
	char text[200] = "";

	m->watch_gone.what = 0;
	event_free(m->on_watch);
	m->on_watch = NULL;
	m->watch = nk_watch_abandon(m->watch);
	if (f.culprit)
		nk_culprit_text(&who, true, stpcpy(text, " by "), sizeof(text) - 4);
	if (soon)
		snprintf(m->watch_why, sizeof(m->watch_why), "the watcher is taken away again and again; the next one comes in %u s",
			 m->settings.poll_s);
	if (!soon && load(m) == 0) {
		nk_event(m->events, NK_EVENT_WATCHER_REMOVED, &f,
			 "the watcher was removed%s; another one is in its place, and all devices are looked at once", text);
	} else {
		nk_event(m->events, NK_EVENT_WATCHER_REMOVED, &f,
			 "the watcher was removed%s; changes of programs by others are noticed only every %u s: %s", text, m->settings.poll_s,
			 m->watch_why);
		poll_instead(m);
	}
	/* From now on: loading one takes its time. */
	m->watch_tried_us = nk_now_us();
	nk_manager_inspect_all(m);
}

void nk_manager_drain_watch(struct nk_manager *m)
{
	if (!m->watch)
		return;
	nk_watch_read(m->watch);
	if (m->watch_gone.what)
		replace(m);
}

static void on_watch(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	nk_manager_drain_watch(arg);
}

static void on_poll(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)fd;
	(void)what;
	/* One that somebody took away, and that could not be replaced then. */
	if (m->watch_tried_us && load(m) == 0)
		event_del(m->on_poll);
	nk_manager_inspect_all(m);
}

/* ---- pins ---- */

/* A kernel thread releases a link some time after its pin went, and the watcher tells when and whose doing it was. So long is waited for that:
 * a chain that is read too early has the link still, or lacks it and nobody knows why. */
static const struct timeval release_time = { .tv_usec = 200000 };

void nk_manager_inspect_pins(struct nk_manager *m)
{
	nk_reconcile_pin_changed(m->reconcile, NULL, m->pins_told_us ?: nk_now_us());
	nk_manager_inspect_all(m);
}

static void pin_changed(enum nk_pin_what what, const char *name, void *arg)
{
	struct nk_manager *m = arg;

	switch (what) {
	case NK_PIN_LINK:
		/* What our own plan removes is none of these: its objects are at work, or are no more. */
		if (nk_reconcile_right_since_us(m->reconcile, name))
			nk_manager_inspect(m, name);
		break;
	case NK_PIN_PROGRAM:
		nk_reconcile_pin_changed(m->reconcile, name, m->pins_told_us ?: nk_now_us());
		break;
	case NK_PIN_DIRECTORY:
		nk_manager_pins_removed(m, name);
		break;
	case NK_PIN_ANY:
		nk_manager_inspect_pins(m);
		nk_reconcile_resync(m->reconcile, "pins were removed faster than that could be told", NULL);
		break;
	}
}

void nk_manager_drain_pins(struct nk_manager *m)
{
	if (m->pins_fd >= 0)
		nk_pin_watch_read(m->pins_fd, pin_changed, m);
}

static void on_pins_late(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)fd;
	(void)what;
	event_add(m->on_pins, NULL);
	nk_manager_drain_pins(m);
	m->pins_told_us = 0;
}

static void on_pins(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)fd;
	(void)what;
	m->pins_told_us = nk_now_us();
	event_del(m->on_pins);
	event_add(m->on_pins_late, &release_time);
}

/* They could not follow to where their path leads. */
static void on_pins_again(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)fd;
	(void)what;
	nk_reconcile_resync(m->reconcile, NULL, NULL);
}

void nk_manager_watch_pins(struct nk_manager *m)
{
	struct event *old = m->on_pins;

	m->on_pins = NULL;
	if (old)
		event_free(old);
	evtimer_del(m->on_pins_late);
	if (m->pins_fd >= 0)
		close(m->pins_fd);
	m->pins_fd = nk_pin_watch_open(m->settings.bpffs);
	/* They went again before they could be watched. */
	if (m->pins_fd == -ENOENT)
		nk_manager_pins_removed(m, "");
	if (m->pins_fd >= 0)
		m->on_pins = event_new(m->base, m->pins_fd, EV_READ | EV_PERSIST, on_pins, m);
	if (m->on_pins)
		event_add(m->on_pins, NULL);
}

int nk_manager_open_pins(struct nk_manager *m)
{
	m->on_pins_late = evtimer_new(m->base, on_pins_late, m);
	m->on_pins_again = evtimer_new(m->base, on_pins_again, m);
	if (!m->on_pins_late || !m->on_pins_again)
		return -ENOMEM;
	nk_manager_watch_pins(m);
	return 0;
}
