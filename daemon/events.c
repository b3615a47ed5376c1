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
#include "daemon/object.h"
#include "daemon/rpc.h"

#define PRIORITY_MAX LOG_INFO /* what is less important goes to subscribers only */
#define N_FIELDS 14

struct nk_events {
	uint64_t seq;
	bool to_stderr;
	struct nk_peer **subscribers; /* references */
	size_t n, room;
};

struct nk_events *nk_events_new(void)
{
	struct nk_events *e = calloc(1, sizeof(*e));

	if (e)
		e->to_stderr = !getenv("JOURNAL_STREAM");
	return e;
}

struct nk_events *nk_events_free(struct nk_events *e)
{
	if (!e)
		return NULL;
	for (size_t i = 0; i < e->n; i++)
		nk_peer_unref(e->subscribers[i]);
	free(e->subscribers);
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

static void to_journal(const struct nk_event_info *info, const struct nk_event_fields *f, const char *message)
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
	if (f->culprit) {
		add(&en, "NETKITD_CULPRIT_PID=%u", f->culprit->pid);
		add(&en, "NETKITD_CULPRIT_COMM=%s", f->culprit->comm);
		add(&en, "NETKITD_CULPRIT_UID=%u", f->culprit->uid);
		add(&en, "NETKITD_CULPRIT_CGROUP=%s", f->culprit->cgroup);
	}
	sd_journal_sendv(en.iov, en.n);
	free(text);
}

static void to_subscribers(struct nk_events *e, const struct nk_event_info *info, const struct nk_event_fields *f, const char *message)
{
	char object[NK_NAME_MAX + 16];
	struct nk_view_event_detail detail = { .message = message,
					       .revision = f->revision,
					       .error = f->error,
					       .extack = f->extack,
					       .took_us = f->took_us };
	struct nk_view_culprit culprit;
	struct nk_view_event view = { .seq = e->seq, .time = nk_wall_us(), .kind = info->kind, .object = object, .detail = &detail };
	json_t *params;
	char *line;

	if (f->culprit) {
		culprit = (struct nk_view_culprit){ .pid = f->culprit->pid, .uid = f->culprit->uid, .comm = f->culprit->comm,
						    .cgroup = f->culprit->cgroup };
		detail.culprit = &culprit;
	}
	if (f->device)
		snprintf(object, sizeof(object), "%s/%s", nk_device_noun(f->interface), f->device);
	else if (f->program)
		snprintf(object, sizeof(object), "program/%s", f->program);
	else
		snprintf(object, sizeof(object), "daemon");
	params = nk_table_encode(&nk_table_view_event, &view);
	line = params ? nk_rpc_notification("event", params) : NULL;
	json_decref(params);
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
	char *message = NULL;
	va_list ap;
	int n;

	e->seq++;
	if (info->priority > PRIORITY_MAX && !e->n)
		return;
	va_start(ap, format);
	n = vasprintf(&message, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (info->priority <= PRIORITY_MAX) {
		to_journal(info, f, message);
		if (e->to_stderr)
			fprintf(stderr, "netkitd: %s\n", message);
	}
	if (e->n)
		to_subscribers(e, info, f, message);
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

uint64_t nk_events_seq(const struct nk_events *e)
{
	return e->seq;
}
