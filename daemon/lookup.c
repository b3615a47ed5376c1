// SPDX-License-Identifier: GPL-2.0-only
/*
 * attachment.list with `owners`: the request waits until the executor has found out who keeps the foreign links that it is about, a turn at a
 * time (kernel/owners.h). What is asked during a search waits for the next one, so that there is one at a time, however many ask. Called
 * by methods.c and with the executor's results; part of the manager.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager.h"

struct nk_lookup {
	TAILQ_ENTRY(nk_lookup) link;
	struct nk_request *request; /* NULL: who asked has gone */
	char device[NK_IFNAMSIZ]; /* or interface; empty: all */
};

/* The link of a foreign attachment; 0: it is ours, or has none. */
static uint32_t foreign_link(const json_t *attachment)
{
	if (!json_is_true(json_object_get(attachment, "foreign")))
		return 0;
	return (uint32_t)json_integer_value(json_object_get(attachment, "link_id"));
}

/* ---- answers ---- */

static json_t *encode_owners(const struct nk_owners *o, uint32_t link_id)
{
	size_t n;
	const struct nk_owner *owner = nk_owners_of(o, link_id, &n);
	const char **pins = calloc(n + 1, sizeof(*pins));
	struct nk_view_holder *holders = calloc(n + 1, sizeof(*holders));
	struct nk_view_owners v = { .pins = pins, .holders = holders };
	json_t *json = NULL;

	for (size_t i = 0; pins && holders && i < n; i++) {
		if (owner[i].pin)
			pins[v.n_pins++] = owner[i].pin;
		else
			holders[v.n_holders++] = (struct nk_view_holder){ .pid = owner[i].pid, .comm = owner[i].comm };
	}
	v.pins_known = v.n_pins || nk_owners_saw_pins(o, link_id);
	v.holders_known = v.n_holders || nk_owners_saw_processes(o, link_id);
	if (pins && holders)
		json = nk_table_encode(&nk_table_view_owners, &v);
	free(pins);
	free(holders);
	return json;
}

static void put_owners(json_t *attachments, const struct nk_owners *o)
{
	json_t *one;
	size_t i;

	json_array_foreach(attachments, i, one) {
		uint32_t link_id = foreign_link(one);
		json_t *owners = link_id ? encode_owners(o, link_id) : NULL;

		if (owners)
			json_object_update(one, owners);
		json_decref(owners);
	}
}

/* All for whom it searched. o NULL: it could not, or need not, and nothing is told of owners. */
static void answer_all(struct nk_manager *m, const struct nk_owners *o)
{
	struct nk_lookup *l;

	while ((l = TAILQ_FIRST(&m->looking))) {
		json_t *attachments = l->request ? nk_manager_attachments(m, l->device) : NULL;

		if (o)
			put_owners(attachments, o);
		TAILQ_REMOVE(&m->looking, l, link);
		if (l->request)
			nk_manager_reply_with(l->request, NK_M_ATTACHMENT_LIST, attachments);
		free(l);
	}
}

/* ---- the search ---- */

/* Put the foreign links of a device behind the *n that are in *ret. 0 or -ENOMEM. */
static int collect_links(const struct nk_manager *m, const char *device, uint32_t **ret, size_t *n)
{
	json_t *attachments = nk_manager_attachments(m, device), *one;
	uint32_t *links = reallocarray(*ret, *n + json_array_size(attachments) + 1, sizeof(*links));
	size_t i;

	if (links) {
		*ret = links;
		json_array_foreach(attachments, i, one) {
			links[*n] = foreign_link(one);
			*n += links[*n] != 0;
		}
	}
	json_decref(attachments);
	return links ? 0 : -ENOMEM;
}

static int submit(struct nk_manager *m, struct nk_owners *o)
{
	struct nk_job job = { .kind = NK_JOB_OWNERS, .owners = o };

	return nk_executor_submit(m->executor, &job);
}

/* For all that wait. */
static void search(struct nk_manager *m)
{
	struct nk_owners *o = NULL;
	uint32_t *links = NULL;
	struct nk_lookup *l;
	size_t n = 0;
	int r = 0;

	TAILQ_CONCAT(&m->looking, &m->lookups, link);
	TAILQ_FOREACH(l, &m->looking, link) {
		if (!r)
			r = collect_links(m, l->device, &links, &n);
	}
	if (!r && n)
		r = nk_owners_new(links, n, &o);
	if (!r && o)
		r = submit(m, o);
	if (r < 0 || !n)
		answer_all(m, NULL);
	free(links);
}

void nk_manager_owners_searched(struct nk_manager *m, struct nk_owners *o)
{
	if (!nk_owners_done(o)) {
		if (submit(m, o) < 0)
			answer_all(m, NULL);
	} else {
		answer_all(m, o);
		if (nk_owners_lost_link(o))
			nk_manager_inspect_all(m);
		nk_owners_free(o);
	}
	if (TAILQ_EMPTY(&m->looking) && !TAILQ_EMPTY(&m->lookups))
		search(m);
}

void nk_manager_find_owners(struct nk_manager *m, struct nk_request *r, const char *device)
{
	struct nk_lookup *l = calloc(1, sizeof(*l));

	if (!l) {
		nk_manager_reply_with(r, NK_M_ATTACHMENT_LIST, NULL);
		return;
	}
	l->request = r;
	memcpy(l->device, device, strnlen(device, sizeof(l->device) - 1));
	TAILQ_INSERT_TAIL(&m->lookups, l, link);
	if (TAILQ_EMPTY(&m->looking))
		search(m);
}

void nk_manager_forget_lookups(struct nk_manager *m, const struct nk_peer *p)
{
	struct nk_lookup *l, *next;

	for (l = TAILQ_FIRST(&m->lookups); l && nk_peer_held(p); l = next) {
		next = TAILQ_NEXT(l, link);
		if (nk_request_peer(l->request) != p)
			continue;
		TAILQ_REMOVE(&m->lookups, l, link);
		nk_request_reply(l->request, NULL);
		free(l);
	}
	/* These stay in their list, since it also says that a search is under way. */
	for (l = TAILQ_FIRST(&m->looking); l && nk_peer_held(p); l = TAILQ_NEXT(l, link)) {
		if (!l->request || nk_request_peer(l->request) != p)
			continue;
		nk_request_reply(l->request, NULL);
		l->request = NULL;
	}
}

void nk_manager_drop_lookups(struct nk_manager *m)
{
	TAILQ_CONCAT(&m->looking, &m->lookups, link);
	answer_all(m, NULL);
}
