// SPDX-License-Identifier: GPL-2.0-only
/*
 * Life and wiring of the manager (manager.h): what is made in which order, and what the loop waits for. Decides nothing about devices.
 */
#include "daemon/manager.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "daemon/kernel/netns.h"
#include "daemon/kernel/netns_watch.h"
#include "daemon/kernel/passed.h"
#include "daemon/object.h"

#define MANY 64 /* objects worked on after which memory is given back */
/* For a start that takes longer than systemd allows: how often it is asked for more time at most, and until when the next result
 * has to be in, in microseconds. */
#define ASK_EVERY_US (1000 * 1000ULL)
#define RESULT_WITHIN_US (120 * 1000 * 1000ULL)

/* ---- reconcile's side ---- */

static void wanted(void *arg)
{
	struct nk_manager *m = arg;

	if (!m->stopping)
		event_active(m->on_run, EV_TIMEOUT, 0);
}

/* READY isn't told yet. systemd's limit is meant for a start that hangs, not for one that has much to do. */
static void ask_for_time(struct nk_manager *m)
{
	uint64_t results = nk_executor_results(m->executor), now = nk_now_us();

	if (results == m->asked_results || (m->asked_us && now - m->asked_us < ASK_EVERY_US))
		return;
	m->asked_results = results;
	m->asked_us = now;
	sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%llu", RESULT_WITHIN_US);
}

static void settled(void *arg)
{
	struct nk_manager *m = arg;
	struct nk_reconcile_counts c;

	nk_reconcile_count(m->reconcile, &c);
	if (c.unsettled || c.unread || c.resyncs == 0) {
		if (!m->told_ready)
			ask_for_time(m);
		return;
	}
	if (c.resyncs != m->resyncs_told)
		nk_manager_tell_unclaimed(m);
	m->resyncs_told = c.resyncs;
	nk_manager_collect(m);
	if (m->told_ready)
		return;
	m->told_ready = true;
	malloc_trim(0);
	sd_notifyf(0, "READY=1\nSTATUS=%zu devices: %zu ready, %zu pending, %zu degraded, %zu released",
		   c.devices[0] + c.devices[1] + c.devices[2] + c.devices[3], c.devices[NK_STATE_READY], c.devices[NK_STATE_PENDING],
		   c.devices[NK_STATE_DEGRADED], c.devices[NK_STATE_RELEASED]);
}

static void buried(const char *const *names, size_t n, void *arg)
{
	struct nk_manager *m = arg;
	struct nk_event_fields f = { 0 };

	if (nk_store_bury(m->store, names, n) < 0)
		nk_event(m->events, NK_EVENT_DATABASE_FAILED, &f, "forgetting a deleted device: %s", nk_store_why(m->store));
}

/* Plans, events and replies of a large change leave holes in the heap that nothing would fill: give them back when all is done. */
static void give_memory_back(struct nk_manager *m)
{
	struct nk_reconcile_counts c;

	nk_reconcile_count(m->reconcile, &c);
	m->busy += c.unsettled;
	if (c.unsettled || m->busy < MANY)
		return;
	m->busy = 0;
	nk_store_give_memory_back(m->store);
	malloc_trim(0);
}

static void on_run(int fd, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)fd;
	(void)what;
	nk_manager_watch_interfaces(m);
	nk_reconcile_run(m->reconcile);
	nk_manager_check_waiters(m);
	give_memory_back(m);
}

/* ---- clients ---- */

static void rpc_idle(void *arg)
{
	nk_manager_commit(arg);
}

/* The name of a process that may have ended. */
static void read_comm(pid_t pid, char *comm, size_t size)
{
	char path[32];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	snprintf(comm, size, "a client");
	f = pid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return;
	if (fgets(comm, (int)size, f))
		comm[strcspn(comm, "\n")] = '\0';
	fclose(f);
}

static void peer_closed(struct nk_peer *p, const char *why, void *arg)
{
	struct nk_culprit who = { .pid = (uint32_t)nk_peer_pid(p), .uid = nk_peer_uid(p) };
	struct nk_event_fields f = { 0 };
	struct nk_manager *m = arg;
	char text[200];

	nk_events_unsubscribe(m->events, p);
	/* What a connection may have pending is limited, and so must not outlive it: others would follow. */
	nk_manager_forget_waiters(m, p);
	nk_manager_forget_lookups(m, p);
	if (!why)
		return;
	read_comm(nk_peer_pid(p), who.comm, sizeof(who.comm));
	nk_event(m->events, NK_EVENT_CLIENT_DROPPED, &f, "%s was disconnected: %s", nk_culprit_text(&who, true, text, sizeof(text)), why);
}

/* ---- signals and systemd ---- */

static void reload(struct nk_manager *m)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u);
	nk_manager_read_state_d(m);
	nk_manager_commit(m);
	/* Who reloads wants everything looked at, whatever events said. */
	nk_reconcile_resync(m->reconcile, NULL, NULL);
	nk_reconcile_retry_all(m->reconcile);
	m->told_ready = false; /* READY=1 again when it is reconciled */
}

static void on_signal(int sig, short what, void *arg)
{
	struct nk_manager *m = arg;

	(void)what;
	if (sig == SIGHUP) {
		reload(m);
		return;
	}
	m->stopping = true;
	event_base_loopbreak(m->base);
}

static void on_watchdog(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	sd_notify(0, "WATCHDOG=1");
}

/* ---- life ---- */

static int open_mounts(struct nk_manager *m)
{
	struct epoll_event ev = { .events = EPOLLPRI | EPOLLET };

	/* The kernel tells of a changed mount table as an exceptional condition, for which libevent has no word: an epoll descriptor
	 * of its own is readable then. */
	m->mountinfo_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	m->mounts_fd = epoll_create1(EPOLL_CLOEXEC);
	if (m->mountinfo_fd < 0 || m->mounts_fd < 0)
		return -errno;
	return epoll_ctl(m->mounts_fd, EPOLL_CTL_ADD, m->mountinfo_fd, &ev) < 0 ? -errno : 0;
}

static int open_kernel_side(struct nk_manager *m, struct nk_error *err)
{
	struct nk_cache_handlers ch = nk_manager_cache_handlers(m);
	struct nk_executor_options xo = {
		.group = m->settings.group,
		.bpffs = m->settings.bpffs,
		.kept_pins = m->kept_pins,
		.objects = { m->settings.object_dirs, m->settings.n_object_dirs },
	};
	struct nk_reconcile_options ro = {
		.base = m->base,
		.doc = m->doc,
		.events = m->events,
		.retry_min_ms = m->settings.retry_min_ms,
		.retry_max_ms = m->settings.retry_max_ms,
		.settled = settled,
		.buried = buried,
		.changed_by = nk_manager_changed_by,
		.pinned = nk_manager_has_pin,
		.unpinned_by = nk_manager_unpinned_by,
		.wanted = wanted,
		.arg = m,
	};
	struct stat st;
	int r;

	m->cache = nk_cache_new(m->settings.group, &ch);
	if (!m->cache)
		return -ENOMEM;
	r = nk_monitor_open(&m->monitor);
	if (r < 0) {
		nk_error_set(err, NK_E_KERNEL, "opening the rtnetlink event socket: %s", strerror(-r));
		return r;
	}
	r = nk_monitor_set_buffer(m->monitor, (int)m->settings.event_buffer);
	if (r < 0) {
		nk_error_set(err, NK_E_KERNEL, "setting the size of the event socket's buffer: %s", strerror(-r));
		return r;
	}
	r = nk_executor_new(&xo, &m->executor, err);
	if (r < 0)
		return r;
	nk_manager_keep_pins(m);
	ro.cache = m->cache;
	ro.executor = m->executor;
	r = nk_reconcile_new(&ro, &m->reconcile);
	if (r < 0)
		return r;
	if (stat("/proc/thread-self/ns/net", &st) < 0)
		return -errno;
	m->netns_ino = (uint32_t)st.st_ino;
	m->netns_fd = nk_netns_watch_open();
	return open_mounts(m);
}

static bool unseeing(void *arg)
{
	const struct nk_manager *m = arg;

	return nk_reconcile_sight(m->reconcile) == -EAGAIN;
}

static int open_clients(struct nk_manager *m, struct nk_error *err)
{
	static const nk_method_fn handlers[NK_METHODS] = {
		[NK_M_DAEMON_STATUS] = nk_manager_daemon_status,
		[NK_M_DAEMON_CAPABILITIES] = nk_manager_daemon_capabilities,
		[NK_M_STATE_GET] = nk_manager_state_get,
		[NK_M_STATE_APPLY] = nk_manager_state_apply,
		[NK_M_STATE_WAIT] = nk_manager_state_wait,
		[NK_M_STATE_REBUILD] = nk_manager_state_rebuild,
		[NK_M_DEVICE_SET] = nk_manager_device_set,
		[NK_M_DEVICE_DELETE] = nk_manager_device_delete,
		[NK_M_DEVICE_GET] = nk_manager_device_get,
		[NK_M_DEVICE_LIST] = nk_manager_device_list,
		[NK_M_PROGRAM_LIST] = nk_manager_program_list,
		[NK_M_ATTACHMENT_LIST] = nk_manager_attachment_list,
		[NK_M_EVENT_SUBSCRIBE] = nk_manager_event_subscribe,
	};
	struct nk_server_handlers h;
	char why[512];
	struct nk_server_options so = {
		.path = m->settings.socket_path,
		.listen_fd = m->listen_fd,
		.group = m->settings.socket_group,
		.max_clients = m->settings.max_clients,
		.admin_groups = m->settings.admin_groups,
		.n_admin_groups = m->settings.n_admin_groups,
	};
	int r;

	m->rpc = nk_rpc_new(handlers, rpc_idle, peer_closed, unseeing, m);
	if (!m->rpc)
		return -ENOMEM;
	h = nk_rpc_server_handlers(m->rpc);
	r = nk_server_new(m->base, &so, &h, &m->server, why, sizeof(why));
	if (r < 0)
		nk_error_set(err, NK_E_KERNEL, "%s", why);
	return r;
}

static int add_event(struct nk_manager *m, struct event **ret, int fd, short what, event_callback_fn fn)
{
	*ret = event_new(m->base, fd, what, fn, m);
	if (!*ret)
		return -ENOMEM;
	return fd >= 0 && event_add(*ret, NULL) < 0 ? -ENOMEM : 0;
}

static int open_events(struct nk_manager *m)
{
	static const int signals[] = { SIGHUP, SIGTERM, SIGINT };
	struct timeval dog;
	uint64_t dog_us = 0;
	int r;

	r = add_event(m, &m->on_monitor, nk_monitor_fd(m->monitor), EV_READ | EV_PERSIST, nk_manager_on_monitor);
	if (r == 0)
		r = add_event(m, &m->on_executor, nk_executor_fd(m->executor), EV_READ | EV_PERSIST, nk_manager_on_executor);
	if (r == 0)
		r = add_event(m, &m->on_mounts, m->mounts_fd, EV_READ | EV_PERSIST, nk_manager_on_mounts);
	if (r == 0 && m->netns_fd >= 0)
		r = add_event(m, &m->on_netns, m->netns_fd, EV_READ | EV_PERSIST, nk_manager_on_netns);
	if (r == 0)
		r = add_event(m, &m->on_run, -1, 0, on_run);
	if (r == 0)
		r = nk_manager_open_watch(m);
	if (r == 0)
		r = nk_manager_open_pins(m);
	for (size_t i = 0; r == 0 && i < 3; i++) {
		m->on_signal[i] = evsignal_new(m->base, signals[i], on_signal, m);
		r = m->on_signal[i] && event_add(m->on_signal[i], NULL) == 0 ? 0 : -ENOMEM;
	}
	if (r == 0 && sd_watchdog_enabled(0, &dog_us) > 0) {
		dog = (struct timeval){ .tv_sec = (time_t)(dog_us / 2000000), .tv_usec = (suseconds_t)(dog_us / 2 % 1000000) };
		r = add_event(m, &m->on_watchdog, -1, EV_PERSIST, on_watchdog);
		if (r == 0)
			event_add(m->on_watchdog, &dog);
	}
	return r;
}

static int load_document(struct nk_manager *m, struct nk_error *err)
{
	char path[4096], why[512];
	int r;

	snprintf(path, sizeof(path), "%s/netkitd.db", m->settings.state_dir);
	r = nk_store_open(path, &m->store, why, sizeof(why));
	if (r == 0)
		r = nk_store_load(m->store, m->doc, &m->revision, why, sizeof(why));
	if (r < 0)
		nk_error_set(err, NK_E_INTERNAL, "%s", why);
	m->revision_working = m->revision;
	return r;
}

static int tell_device(const struct nk_device *d, const char *source, void *arg)
{
	struct nk_manager *m = arg;

	(void)source;
	nk_reconcile_device_changed(m->reconcile, nk_device_name(d), m->revision);
	return 0;
}

static int tell_program(const struct nk_program *p, const char *source, void *arg)
{
	struct nk_manager *m = arg;

	(void)source;
	nk_reconcile_program_changed(m->reconcile, p->name, m->revision);
	return 0;
}

static int tell_tombstone(const char *name, void *arg)
{
	struct nk_manager *m = arg;

	nk_reconcile_device_changed(m->reconcile, name, m->revision);
	return 0;
}

static void tell_missing(struct nk_manager *m)
{
	struct nk_event_fields f = { 0 };

	for (int i = 0; i < NK_FEATURES; i++) {
		if (nk_features[i].needed && m->probe.feature[i].found == NK_MISSING)
			nk_event(m->events, NK_EVENT_CAPABILITY_MISSING, &f, "the kernel lacks %s (%s%s): %s", nk_features[i].name,
				 nk_features[i].config ? nk_features[i].config : "see netkitd --check",
				 nk_features[i].config ? ", see netkitd --check" : "", m->probe.feature[i].how);
	}
}

int nk_manager_new(const char *settings_path, struct nk_manager **ret, struct nk_error *err)
{
	struct nk_manager *m = calloc(1, sizeof(*m));
	struct nk_event_fields f = { 0 };
	int r;

	if (!m)
		return -ENOMEM;
	m->settings_path = settings_path;
	m->mounts_fd = m->mountinfo_fd = m->netns_fd = m->listen_fd = m->pins_fd = -1;
	m->collect = true;
	m->started_us = nk_now_us();
	TAILQ_INIT(&m->pending);
	TAILQ_INIT(&m->waiters);
	TAILQ_INIT(&m->lookups);
	TAILQ_INIT(&m->looking);
	r = nk_settings_load(settings_path, &m->settings, err);
	if (r < 0 && r != -ENOENT)
		goto fail;
	r = nk_manager_take_descriptors(m, err);
	if (r < 0)
		goto fail;
	r = nk_probe_run(m->settings.bpffs, &m->probe);
	if (r < 0) {
		nk_error_set(err, NK_E_KERNEL, "finding out what the kernel offers: %s", strerror(-r));
		goto fail;
	}
	r = -ENOMEM;
	m->base = event_base_new();
	m->doc = nk_document_new();
	if (!m->base || !m->doc)
		goto fail;
	event_base_priority_init(m->base, 3);
	r = load_document(m, err);
	if (r == 0) {
		r = nk_events_new(m->base, m->store, &m->events);
		if (r < 0)
			nk_error_set(err, NK_E_INTERNAL, "reading the history of events: %s", nk_store_why(m->store));
	}
	if (r < 0)
		goto fail;
	tell_missing(m);
	r = open_kernel_side(m, err);
	if (r == 0)
		r = open_events(m);
	if (r == 0)
		r = open_clients(m, err);
	if (r < 0)
		goto fail;

	/* Before the first write comes the first look. */
	nk_reconcile_resync(m->reconcile, NULL, NULL);
	nk_reconcile_revised(m->reconcile, m->revision);
	nk_passed_collect(m->settings.bpffs, m->doc);
	nk_document_each_program(m->doc, tell_program, m);
	nk_document_each_device(m->doc, tell_device, m);
	nk_store_each_tombstone(m->store, tell_tombstone, m);
	nk_manager_read_state_d(m);
	nk_manager_commit(m);
	f.revision = m->revision;
	nk_event(m->events, NK_EVENT_DAEMON_STARTED, &f, "netkitd %s started: %zu devices desired, revision %" PRIu64, NK_VERSION,
		 nk_document_n_devices(m->doc), m->revision);
	*ret = m;
	return 0;
fail:
	if (r == -ENOMEM)
		nk_error_set(err, NK_E_INTERNAL, "no memory");
	nk_manager_free(m);
	return r;
}

static void free_event(struct event *e)
{
	if (e)
		event_free(e);
}

struct nk_manager *nk_manager_free(struct nk_manager *m)
{
	struct event *events[] = { m->on_monitor, m->on_watch, m->on_executor, m->on_run, m->on_mounts, m->on_netns,
				   m->on_poll, m->on_pins, m->on_pins_late, m->on_pins_again, m->on_watchdog,
				   m->on_signal[0], m->on_signal[1], m->on_signal[2] };

	if (m->executor)
		nk_executor_cancel(m->executor);
	nk_server_free(m->server);
	nk_rpc_free(m->rpc);
	nk_executor_free(m->executor);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		free_event(events[i]);
	nk_reconcile_free(m->reconcile);
	nk_watch_close(m->watch);
	nk_monitor_close(m->monitor);
	nk_cache_free(m->cache);
	nk_events_free(m->events);
	nk_store_close(m->store);
	nk_document_free(m->doc);
	if (m->mounts_fd >= 0)
		close(m->mounts_fd);
	if (m->mountinfo_fd >= 0)
		close(m->mountinfo_fd);
	if (m->netns_fd >= 0)
		close(m->netns_fd);
	if (m->pins_fd >= 0)
		close(m->pins_fd);
	if (m->base)
		event_base_free(m->base);
	for (size_t i = 0; i < m->n_refused; i++) {
		free(m->refused[i].path);
		free(m->refused[i].why);
	}
	free(m->refused);
	free(m->unclaimed);
	nk_settings_clear(&m->settings);
	free(m->pins_why);
	free(m);
	return NULL;
}

int nk_manager_run(struct nk_manager *m)
{
	struct nk_event_fields f = { 0 };

	wanted(m);
	if (event_base_dispatch(m->base) < 0)
		return -EIO;
	sd_notify(0, "STOPPING=1");
	nk_manager_commit(m);
	nk_manager_drop_waiters(m);
	nk_manager_drop_lookups(m);
	f.revision = m->revision;
	nk_event(m->events, NK_EVENT_DAEMON_STOPPING, &f, "netkitd stops; devices and programs stay as they are");
	return 0;
}
