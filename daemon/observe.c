// SPDX-License-Identifier: GPL-2.0-only
/*
 * How what the kernel tells reaches reconcile: events, the watcher's reports, the executor's results. Each goes into the cache, and
 * what the cache says of a change marks an object; where the watcher knows who asked for it, the object hears that too. Called by the
 * loop; part of the manager. Decides nothing.
 */
#include <errno.h>
#include <event2/event.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon/kernel/netns.h"
#include "daemon/kernel/netns_watch.h"
#include "daemon/manager.h"
#include "daemon/object.h"

#define EVENTS_A_TURN 1024 /* kernel messages before clients get their turn */

/* ---- events ---- */

/* The link that an event is about; 0: its port says more. */
static uint32_t event_ifindex(const struct nlmsghdr *h)
{
	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return (uint32_t)((const struct ifinfomsg *)NLMSG_DATA(h))->ifi_index;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return ((const struct ifaddrmsg *)NLMSG_DATA(h))->ifa_index;
	default:
		return 0;
	}
}

/* Who asked for the change of which the event in hand tells? */
static void blame(struct nk_manager *m, const char *owner)
{
	const struct nk_obs_device *o;
	struct nk_culprit who;
	uint64_t since_us;
	const char *name;
	uint32_t netns;
	bool host;

	if (!m->watch || !m->event)
		return;
	since_us = nk_reconcile_right_since_us(m->reconcile, owner);
	if (!since_us)
		return;
	host = m->event_nsid == NK_NSID_HOST;
	netns = host ? m->netns_ino : nk_cache_place_ino(m->cache, owner, m->event_nsid);
	o = nk_cache_get(m->cache, owner);
	name = o ? o->end[host ? NK_PRIMARY : NK_PEER].name : NULL;
	if (netns && nk_watch_suspect(m->watch, since_us, netns, event_ifindex(m->event), name, m->event->nlmsg_pid, &who) == 0)
		nk_reconcile_culprit(m->reconcile, owner, &who);
}

/* At either of its ends. */
int nk_manager_changed_by(const char *device, uint64_t since_us, struct nk_culprit *ret, void *arg)
{
	const struct nk_manager *m = arg;
	const struct nk_obs_device *o = nk_cache_get(m->cache, device);
	uint32_t peer = nk_cache_place_ino(m->cache, device, nk_cache_peer_nsid(m->cache, device));

	if (!m->watch || !o)
		return -ENOENT;
	if (nk_watch_suspect(m->watch, since_us, m->netns_ino, o->end[NK_PRIMARY].ifindex, o->end[NK_PRIMARY].name, 0, ret) == 0)
		return 0;
	if (!peer || !o->end[NK_PEER].ifindex)
		return -ENOENT;
	return nk_watch_suspect(m->watch, since_us, peer, o->end[NK_PEER].ifindex, o->end[NK_PEER].name, 0, ret);
}

static void cache_changed(const char *owner, void *arg)
{
	struct nk_manager *m = arg;

	blame(m, owner);
	nk_reconcile_observed(m->reconcile, owner);
	if (!nk_cache_get(m->cache, owner))
		nk_manager_forget_unclaimed(m, owner);
}

static void cache_name_free(const char *name, void *arg)
{
	struct nk_manager *m = arg;

	nk_reconcile_name_free(m->reconcile, name);
}

static void cache_netns_gone(int32_t nsid, void *arg)
{
	struct nk_manager *m = arg;

	nk_reconcile_netns_gone(m->reconcile, nsid);
}

static void cache_inhabited(uint32_t ino, int by, void *arg)
{
	struct nk_manager *m = arg;

	if (m->watch)
		nk_watch_inhabited(m->watch, ino, by);
}

struct nk_cache_handlers nk_manager_cache_handlers(struct nk_manager *m)
{
	return (struct nk_cache_handlers){ cache_changed, cache_name_free, cache_netns_gone, cache_inhabited, m };
}

static void feed(const struct nlmsghdr *h, int32_t nsid, void *arg)
{
	struct nk_manager *m = arg;

	m->event = h;
	m->event_nsid = nsid;
	if (nk_cache_feed(m->cache, h, nsid) == -ENOMEM)
		nk_reconcile_resync(m->reconcile, "out of memory while reading events", NULL);
	m->event = NULL;
}

/* Take in what the kernel has told, at most `max` messages (0: all until now). Returns whether more waits. */
static bool drain_monitor(struct nk_manager *m, unsigned max)
{
	int r;

	/* During a snapshot the events wait in the socket: they are newer than it. */
	if (nk_reconcile_resyncing(m->reconcile))
		return false;
	r = nk_monitor_read(m->monitor, max, feed, m);
	if (r == -ENOBUFS)
		nk_reconcile_resync(m->reconcile, "the kernel's events came faster than they could be read, and some are lost", NULL);
	else if (r < 0)
		nk_reconcile_resync(m->reconcile, strerror(-r), NULL);
	return r == 1;
}

void nk_manager_take_events(struct nk_manager *m)
{
	drain_monitor(m, 0);
}

void nk_manager_on_monitor(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)fd;
	(void)what;
	if (nk_reconcile_resyncing(m->reconcile)) {
		/* Level-triggered: without this the loop would spin until the snapshot is in. */
		event_del(m->on_monitor);
		return;
	}
	drain_monitor(m, EVENTS_A_TURN);
}

/* ---- the watcher ---- */

void nk_manager_inspect_all(struct nk_manager *m)
{
	nk_cache_all_touched(m->cache);
}

void nk_manager_inspect(struct nk_manager *m, const char *device)
{
	const struct nk_obs_device *o = nk_cache_get(m->cache, device);

	if (o)
		nk_cache_chains_touched(m->cache, o->end[NK_PRIMARY].ifindex);
}

/* Somebody set a link, and the kernel may have kept that to itself. */
static void link_was_set(struct nk_manager *m, const struct nk_watch_event *e)
{
	uint32_t place = e->netns == m->netns_ino ? 0 : e->netns;
	const struct nk_obs_device *o;

	/* What it did tell is older than what is going to be read. Of many that waited the first has seen to that. */
	if (e->who.time_ns / 1000 >= m->drained_us) {
		m->drained_us = nk_now_us();
		drain_monitor(m, 0);
	}
	o = nk_cache_find_end(m->cache, place, e->ifindex, e->name);
	if (o)
		nk_reconcile_reread(m->reconcile, o->owner, &e->who);
}

void nk_manager_watch_told(const struct nk_watch_event *e, void *arg)
{
	struct nk_manager *m = arg;
	uint32_t ifindex = e->ifindex;
	const char *owner;
	char name[NK_IFNAMSIZ] = "";

	if (e->who.what == NK_WATCH_WATCHER_REMOVED) {
		nk_manager_watch_removed(m, &e->who);
		return;
	}
	if (e->netns) {
		link_was_set(m, e);
		return;
	}
	/* Reports were lost: anything may have changed. */
	if (!e->ifindex && !e->link_id)
		nk_reconcile_reread_all(m->reconcile);
	owner = e->link_id ? nk_cache_link_owner(m->cache, e->link_id, &ifindex) : NULL;
	if (owner)
		strncpy(name, owner, sizeof(name) - 1);
	if (name[0])
		nk_reconcile_culprit(m->reconcile, name, &e->who);
	if (ifindex)
		nk_cache_chains_touched(m->cache, ifindex);
}

void nk_manager_on_mounts(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;
	struct epoll_event ev;

	(void)what;
	while (epoll_wait(fd, &ev, 1, 0) > 0)
		;
	/* Another directory may stand at the path now. */
	nk_manager_on_netns(m->netns_fd, 0, m);
	nk_manager_check_pins(m);
}

void nk_manager_on_netns(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)what;
	if (fd >= 0)
		nk_netns_watch_read(fd);
	nk_reconcile_netns_appeared(m->reconcile);
}

/* ---- the executor's results ---- */

/* What a plan's inspections read, or a part of a snapshot. */
static void feed_messages(struct nk_cache *cache, const struct nk_result *res)
{
	size_t at = 0;

	while (at + 8 + sizeof(struct nlmsghdr) <= res->messages_len) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(res->messages + at + 8);
		int32_t nsid;

		memcpy(&nsid, res->messages + at, sizeof(nsid));
		if (res->kind == NK_JOB_PLAN)
			nk_cache_feed_inspected(cache, h, nsid, res->as_of);
		else
			nk_cache_feed(cache, h, nsid);
		at += 8 + ((h->nlmsg_len + 7u) & ~(size_t)7);
	}
}

void nk_manager_feed_snapshot(struct nk_cache *cache, const struct nk_result *res)
{
	feed_messages(cache, res);
	for (size_t i = 0; i < res->n_chains; i++)
		nk_cache_set_chain(cache, res->as_of, res->chains[i].ifindex, res->chains[i].hook, &res->chains[i].chain);
	for (size_t i = 0; i < res->n_places; i++)
		nk_cache_set_place(cache, res->places[i].device, res->places[i].nsid, res->places[i].ino);
}

void nk_manager_on_executor(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;
	struct nk_result *res;

	(void)fd;
	(void)what;
	while ((res = nk_executor_next(m->executor))) {
		switch (res->kind) {
		case NK_JOB_PLAN:
			/* What an inspection read is older than the events that wait. (Than some that were read, too: the cache knows.) */
			feed_messages(m->cache, res);
			/* The kernel told of everything the plan did before it acknowledged it: look with that in hand. */
			drain_monitor(m, 0);
			nk_manager_drain_pins(m);
			/* An inspection that a removed pin asked for may see its link gone before the watcher's word is read of who did it. */
			nk_manager_drain_watch(m);
			nk_reconcile_result(m->reconcile, res);
			break;
		case NK_JOB_SNAPSHOT:
			nk_manager_feed_snapshot(m->cache, res);
			if (!res->last)
				break;
			if (!res->error)
				nk_cache_end_snapshot(m->cache);
			nk_reconcile_resynced(m->reconcile, res->error);
			nk_manager_pins_followed(m, res);
			if (!res->error) {
				event_add(m->on_monitor, NULL);
				drain_monitor(m, 0);
			}
			nk_server_go_on(m->server);
			break;
		case NK_JOB_OWNERS:
			nk_manager_owners_searched(m, res->owners);
			res->owners = NULL;
			break;
		}
		nk_result_free(res);
	}
}
