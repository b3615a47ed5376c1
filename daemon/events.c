// SPDX-License-Identifier: GPL-2.0-only
/*
 * Journal and subscribers (events.h). The journal gets what its priority deserves; where there is no journal (a foreground run), the
 * sentence goes to standard error. A notification is serialised once and handed to every subscriber.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "daemon/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "api/contract.h"
#include "api/json.h"
#include "daemon/history.h"
#include "daemon/object.h"
#include "daemon/rpc.h"

#define PRIORITY_MAX LOG_INFO /* what is less important goes to subscribers only */
#define N_FIELDS 17

struct nk_events {
	uint64_t seq;
	struct nk_history *history; /* owned */
	bool to_stderr;
	struct nk_peer **subscribers; /* references */
	size_t n, room;
};

int nk_events_new(struct event_base *base, struct nk_store *store, struct nk_events **ret)
{
	struct nk_events *e = calloc(1, sizeof(*e));
	int r = e ? nk_history_new(base, store, &e->seq, &e->history) : -ENOMEM;

	if (r < 0) {
		free(e);
		return r;
	}
	e->to_stderr = !getenv("JOURNAL_STREAM");
	*ret = e;
	return 0;
}

struct nk_events *nk_events_free(struct nk_events *e)
{
	if (!e)
		return NULL;
	for (size_t i = 0; i < e->n; i++)
		nk_peer_unref(e->subscribers[i]);
	free(e->subscribers);
	nk_history_free(e->history, e->seq);
	free(e);
	return NULL;
}

/* The fields of one journal entry: text in one buffer, pointers into it. */
struct entry {
	struct iovec iov[N_FIELDS];
	int n;
	char text[2048];
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) add(struct entry *en, const char *format, ...)
{
	size_t room = sizeof(en->text) - en->len;
	va_list ap;
	int n;

	if (en->n == N_FIELDS || room < 2)
		return;
	va_start(ap, format);
	n = vsnprintf(en->text + en->len, room, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n >= room)
		n = (int)room - 1;
	en->iov[en->n++] = (struct iovec){ en->text + en->len, (size_t)n };
	en->len += (size_t)n + 1;
}

/* "device/web-1"; of the daemon itself: "daemon". */
static const char *object_text(const struct nk_event_fields *f, char *text, size_t size)
{
	if (f->device)
		snprintf(text, size, "%s/%s", nk_device_noun(f->interface), f->device);
	else if (f->program)
		snprintf(text, size, "program/%s", f->program);
	else
		snprintf(text, size, "daemon");
	return text;
}

static void to_journal(const struct nk_event_info *info, const struct nk_event_fields *f, const char *object, const char *message)
{
	char *text = NULL;
	struct entry en = { .n = 1 };

	/* The message may be long (a verifier's log): it gets its own memory. */
	if (asprintf(&text, "MESSAGE=%s", message) < 0)
		return;
	en.iov[0] = (struct iovec){ text, strlen(text) };
	add(&en, "PRIORITY=%d", info->priority);
	add(&en, "SYSLOG_IDENTIFIER=netkitd");
	add(&en, "MESSAGE_ID=%s", info->message_id);
	add(&en, "NETKITD_EVENT=%s", info->kind);
	add(&en, "NETKITD_OBJECT=%s", object);
	if (f->device)
		add(&en, "NETKITD_DEVICE=%s", f->device);
	if (f->program)
		add(&en, "NETKITD_PROGRAM=%s", f->program);
	if (f->revision)
		add(&en, "NETKITD_REVISION=%" PRIu64, f->revision);
	if (f->error)
		add(&en, "ERRNO=%d", f->error);
	if (f->extack)
		add(&en, "NETKITD_EXTACK=%s", f->extack);
	if (f->took_us)
		add(&en, "NETKITD_TOOK_US=%" PRIu64, f->took_us);
	if (f->count)
		add(&en, "NETKITD_COUNT=%u", f->count);
	if (f->culprit) {
		add(&en, "NETKITD_CULPRIT_PID=%u", f->culprit->pid);
		add(&en, "NETKITD_CULPRIT_COMM=%s", f->culprit->comm);
		add(&en, "NETKITD_CULPRIT_UID=%u", f->culprit->uid);
		add(&en, "NETKITD_CULPRIT_CGROUP=%s", f->culprit->cgroup);
		if (f->culprit->unit[0])
			add(&en, "NETKITD_CULPRIT_UNIT=%s", f->culprit->unit);
	}
	sd_journal_sendv(en.iov, en.n);
	free(text);
}

/* The params of its notification: new reference, NULL without memory. */
static json_t *encode(const struct nk_events *e, const struct nk_event_info *info, const struct nk_event_fields *f, const char *object,
		      const char *message)
{
	struct nk_view_event_detail detail = { .message = message,
					       .revision = f->revision,
					       .error = f->error,
					       .extack = f->extack,
					       .took_us = f->took_us,
					       .count = f->count };
	struct nk_view_culprit culprit;
	struct nk_view_event view = { .seq = e->seq, .time = nk_wall_us(), .kind = info->kind, .object = object, .detail = &detail };

	if (f->culprit) {
		culprit = (struct nk_view_culprit){ .pid = f->culprit->pid, .uid = f->culprit->uid, .comm = f->culprit->comm,
						    .cgroup = f->culprit->cgroup, .unit = f->culprit->unit };
		detail.culprit = &culprit;
	}
	return nk_table_encode(&nk_table_view_event, &view);
}

static void to_subscribers(struct nk_events *e, json_t *params)
{
	char *line = nk_rpc_notification("event", params);

	if (!line)
		return;
	/* A peer that is dropped for its backlog unsubscribes itself meanwhile: go from the end. */
	for (size_t i = e->n; i > 0; i--) {
		if (i <= e->n)
			nk_peer_notify(e->subscribers[i - 1], line, strlen(line));
	}
	free(line);
}

void nk_event(struct nk_events *e, enum nk_event_kind kind, const struct nk_event_fields *f, const char *format, ...)
{
	const struct nk_event_info *info = &nk_event_kinds[kind];
	char object[NK_NAME_MAX + 16], *message = NULL, *text;
	json_t *params;
	va_list ap;
	int n;

	e->seq++;
	nk_history_number(e->history, e->seq);
	if (info->priority > PRIORITY_MAX && !e->n)
		return;
	va_start(ap, format);
	n = vasprintf(&message, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	nk_text_clean(message); /* names of foreign processes, links and pins may be any bytes */
	object_text(f, object, sizeof(object));
	if (info->priority <= PRIORITY_MAX) {
		to_journal(info, f, object, message);
		if (e->to_stderr)
			fprintf(stderr, "netkitd: %s\n", message);
	}
	params = e->n || nk_event_is_kept(kind) ? encode(e, info, f, object, message) : NULL;
	if (params && e->n)
		to_subscribers(e, params);
	text = params && nk_event_is_kept(kind) ? json_dumps(params, JSON_COMPACT) : NULL;
	if (text)
		nk_history_keep(e->history, e->seq, text);
	json_decref(params);
	free(message);
}

int nk_events_subscribe(struct nk_events *e, struct nk_peer *p)
{
	for (size_t i = 0; i < e->n; i++) {
		if (e->subscribers[i] == p)
			return -EALREADY;
	}
	if (e->n == e->room) {
		size_t room = e->room ? e->room * 2 : 8;
		struct nk_peer **more = reallocarray(e->subscribers, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		e->subscribers = more;
		e->room = room;
	}
	e->subscribers[e->n++] = nk_peer_ref(p);
	return 0;
}

void nk_events_unsubscribe(struct nk_events *e, struct nk_peer *p)
{
	for (size_t i = 0; i < e->n; i++) {
		if (e->subscribers[i] != p)
			continue;
		e->subscribers[i] = e->subscribers[--e->n];
		nk_peer_unref(p);
		return;
	}
}

size_t nk_events_n_subscribers(const struct nk_events *e)
{
	return e->n;
}

/* Kept events for one subscriber: their number, and the lines. */
struct replay {
	char **lines;
	size_t n, room;
};

static int collect(uint64_t seq, const char *json, void *arg)
{
	struct replay *to = arg;

	(void)seq;
	if (to->n == to->room) {
		size_t room = to->room ? to->room * 2 : 64;
		char **more = reallocarray(to->lines, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		to->lines = more;
		to->room = room;
	}
	/* As nk_rpc_notification would have it, of text that is JSON already. */
	if (asprintf(&to->lines[to->n], "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":%s}", json) < 0)
		return -ENOMEM;
	to->n++;
	return 0;
}

int nk_events_kept(struct nk_events *e, uint64_t since, char ***ret, size_t *ret_n, uint64_t *ret_from)
{
	struct replay to = { 0 };
	int r = nk_history_each(e->history, since, collect, &to, ret_from);

	if (r < 0) {
		nk_events_free_kept(to.lines, to.n);
		return r;
	}
	*ret = to.lines;
	*ret_n = to.n;
	return 0;
}

void nk_events_free_kept(char **lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(lines[i]);
	free(lines);
}

const char *nk_events_unwritten(const struct nk_events *e)
{
	return nk_history_why(e->history);
}

uint64_t nk_events_seq(const struct nk_events *e)
{
	return e->seq;
}
