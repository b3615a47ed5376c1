// SPDX-License-Identifier: GPL-2.0-only
/*
 * What makes a document wrong although each of its values is right by itself. The API calls nk_device_check when it has decoded a
 * device, the manager nk_document_check when a change is applied to the working document. Nothing here asks the kernel: what
 * only the kernel can tell becomes a condition, not a refusal.
 */
#include "daemon/model/chain_order.h"
#include "daemon/model/document.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Problems on their way to the caller: where is set by at(), what is told by say(). */
struct report {
	const char *prefix;
	nk_problem_fn fn;
	void *arg;
	size_t n;
	struct nk_problem problem;
};

__attribute__((format(printf, 2, 3))) static struct report *at(struct report *r, const char *format, ...)
{
	char *to = r->problem.pointer;
	size_t size = sizeof(r->problem.pointer), len;
	va_list args;

	snprintf(to, size, "%s", r->prefix);
	len = strlen(to);
	va_start(args, format);
	vsnprintf(to + len, size - len, format, args);
	va_end(args);
	return r;
}

__attribute__((format(printf, 2, 3))) static void say(struct report *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->problem.text, sizeof(r->problem.text), format, args);
	va_end(args);
	r->n++;
	r->fn(&r->problem, r->arg);
}

static bool ip_is_zero(const struct nk_ip *ip)
{
	static const uint8_t zero[sizeof(ip->b)];

	return !memcmp(ip->b, zero, sizeof(zero));
}

static bool ip_is_multicast(const struct nk_ip *ip)
{
	return ip->len == 4 ? (ip->b[0] & 0xf0) == 0xe0 : ip->b[0] == 0xff;
}

/* Every IPv6 interface has fe80::/10, whether or not anybody wrote it down. */
static bool ip_is_link_local(const struct nk_ip *ip)
{
	return ip->len == 16 && ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80;
}

static bool has_address(const struct nk_end *e, const struct nk_ip *ip)
{
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (!nk_ip_cmp(&e->addrs[i].ip, ip))
			return true;
	return false;
}

static bool on_link(const struct nk_end *e, const struct nk_ip *ip)
{
	if (ip_is_link_local(ip))
		return true;
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (nk_prefix_contains(&e->addrs[i], ip))
			return true;
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (e->routes[i].via.len == 0 && nk_prefix_contains(&e->routes[i].to, ip))
			return true;
	return false;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct nk_prefix *const *x = a, *const *y = b;
	int r = nk_ip_cmp(&(*x)->ip, &(*y)->ip);

	return r ? r : (*x > *y) - (*x < *y);
}

static int compare_routes(const void *a, const void *b)
{
	const struct nk_route *const *x = a, *const *y = b;

	return nk_route_same_key(*x, *y) ? (*x > *y) - (*x < *y) : nk_route_cmp(*x, *y);
}

static void check_addresses(struct report *r, const char *end, const struct nk_end *e)
{
	const struct nk_prefix *sorted[NK_ADDRS_MAX];
	char text[NK_PREFIX_STRLEN];

	if (e->n_addrs > NK_ADDRS_MAX) {
		say(at(r, "%s/addresses", end), "%u addresses: one end has at most %d", e->n_addrs, NK_ADDRS_MAX);
		return;
	}

	for (uint32_t i = 0; i < e->n_addrs; i++) {
		const struct nk_ip *ip = &e->addrs[i].ip;

		sorted[i] = &e->addrs[i];
		if (ip_is_zero(ip) || ip_is_multicast(ip))
			say(at(r, "%s/addresses/%u", end, i), "%s can't be the address of an interface: it is %s",
			    nk_ip_format(ip, text), ip_is_zero(ip) ? "the unspecified address" : "a multicast address");
		if (ip->len == 16 && (e->set & NK_SET_MTU) && e->mtu < 1280)
			say(at(r, "%s/addresses/%u", end, i), "IPv6 needs an MTU of at least 1280, and this end's is %u: "
			    "raise it or leave the address out", e->mtu);
	}
	qsort(sorted, e->n_addrs, sizeof(sorted[0]), compare_addresses);
	for (uint32_t i = 1; i < e->n_addrs; i++)
		if (!nk_ip_cmp(&sorted[i - 1]->ip, &sorted[i]->ip))
			say(at(r, "%s/addresses/%u", end, (uint32_t)(sorted[i] - e->addrs)),
			    "%s stands twice in this list: remove one", nk_ip_format(&sorted[i]->ip, text));
}

static void check_route(struct report *r, const char *end, const struct nk_end *e, uint32_t i)
{
	const struct nk_route *route = &e->routes[i];
	char text[NK_PREFIX_STRLEN];

	if (route->via.len && route->via.len != route->to.ip.len)
		say(at(r, "%s/routes/%u/via", end, i), "the gateway is of another family than the destination");
	else if (route->via.len && has_address(e, &route->via))
		say(at(r, "%s/routes/%u/via", end, i), "gateway %s is this end's own address: name the other end's, or leave via out",
		    nk_ip_format(&route->via, text));
	else if (route->via.len && !route->onlink && !on_link(e, &route->via))
		say(at(r, "%s/routes/%u/via", end, i), "gateway %s can't be reached: no address and no route without via of this end "
		    "covers it. Add one, or set onlink", nk_ip_format(&route->via, text));
	if (route->onlink && !route->via.len)
		say(at(r, "%s/routes/%u/onlink", end, i), "onlink says how a gateway is reached, and this route has none: add via or "
		    "leave onlink out");
	if (route->src.len && route->src.len != route->to.ip.len)
		say(at(r, "%s/routes/%u/src", end, i), "the source is of another family than the destination");
	else if (route->src.len && !has_address(e, &route->src))
		say(at(r, "%s/routes/%u/src", end, i), "source %s is not among this end's addresses: add it there",
		    nk_ip_format(&route->src, text));
	if (route->to.ip.len == 16 && (e->set & NK_SET_MTU) && e->mtu < 1280)
		say(at(r, "%s/routes/%u", end, i), "IPv6 needs an MTU of at least 1280, and this end's is %u: raise it or leave the "
		    "route out", e->mtu);
}

static void check_routes(struct report *r, const char *end, const struct nk_end *e)
{
	const struct nk_route *sorted[NK_ROUTES_MAX];
	char text[NK_PREFIX_STRLEN];

	if (e->n_routes > NK_ROUTES_MAX) {
		say(at(r, "%s/routes", end), "%u routes: one end has at most %d", e->n_routes, NK_ROUTES_MAX);
		return;
	}

	for (uint32_t i = 0; i < e->n_routes; i++) {
		sorted[i] = &e->routes[i];
		check_route(r, end, e, i);
	}
	qsort(sorted, e->n_routes, sizeof(sorted[0]), compare_routes);
	for (uint32_t i = 1; i < e->n_routes; i++)
		if (nk_route_same_key(sorted[i - 1], sorted[i]))
			say(at(r, "%s/routes/%u", end, (uint32_t)(sorted[i] - e->routes)),
			    "another route of this end leads to %s with the same metric: give them different metrics",
			    nk_prefix_format(&sorted[i]->to, text));
}

static void check_end(struct report *r, const struct nk_device *d, enum nk_end_id id)
{
	const char *end = id == NK_PEER ? "/peer" : "";
	const struct nk_end *e = &d->end[id];
	static const uint8_t zero[sizeof(e->mac)];

	if (e->set & NK_SET_MAC) {
		if (d->mode != NK_MODE_L2)
			say(at(r, "%s/mac", end), "a device in mode l3 has no MAC address: leave it out, or set mode to l2");
		else if ((e->mac[0] & 1) || !memcmp(e->mac, zero, sizeof(zero)))
			say(at(r, "%s/mac", end), "this is not the address of one station: it may not be a multicast address or zero");
	}
	check_addresses(r, end, e);
	check_routes(r, end, e);
}

/* What a device without a peer can't have. The JSON form can't say it, but files of an older schema or tests could. */
static void check_single(struct report *r, const struct nk_device *d)
{
	const struct nk_end *e = &d->end[NK_PEER];

	if (e->name[0] || e->policy || e->scrub || e->set || e->n_addrs || e->n_routes || d->netns.kind != NK_NETNS_HOST)
		say(at(r, "/peer"), "a single device has no peer: leave the peer's settings out");
}

static int compare_text(const void *a, const void *b)
{
	const struct nk_attachment *const *x = a, *const *y = b;
	int r = strcmp((*x)->name, (*y)->name);

	return r ? r : (*x > *y) - (*x < *y);
}

static void check_attachment_names(struct report *r, const struct nk_device *d)
{
	const struct nk_attachment *sorted[NK_HOOKS * NK_CHAIN_MAX];

	for (uint32_t i = 0; i < d->n_attachments; i++)
		sorted[i] = &d->attachments[i];
	qsort(sorted, d->n_attachments, sizeof(sorted[0]), compare_text);
	for (uint32_t i = 1; i < d->n_attachments; i++)
		if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
			say(at(r, "/attachments/%u/name", (uint32_t)(sorted[i] - d->attachments)),
			    "another attachment of this %s is named %s: give them different names", nk_device_noun(d->interface),
			    sorted[i]->name);
}

/* One list of anchors of attachment i: "before" or "after". */
static void check_anchors(struct report *r, const struct nk_device *d, uint32_t i, const char *member)
{
	const struct nk_attachment *a = &d->attachments[i];
	bool before = !strcmp(member, "before");
	const struct nk_anchor *anchors = before ? a->before : a->after;
	uint32_t n = before ? a->n_before : a->n_after;
	char text[NK_ANCHOR_STRLEN];

	for (uint32_t k = 0; k < n; k++) {
		bool named = anchors[k].kind == NK_ANCHOR_NAME, known = !named;

		for (uint32_t j = 0; j < d->n_attachments; j++)
			known = known || (d->attachments[j].hook == a->hook && !strcmp(d->attachments[j].name, anchors[k].text));
		at(r, "/attachments/%u/%s/%u", i, member, k);
		if (named && !strcmp(anchors[k].text, a->name))
			say(r, "%s can't stand %s itself: name another attachment", a->name, member);
		else if (!known)
			say(r, "no attachment %s is at hook %s of this %s: name one that is, or a program of somebody else by "
			    "\"id\", \"tag\" or \"pin\"", anchors[k].text, nk_hook_name(a->hook), nk_device_noun(d->interface));
		else if (!named && (before ? a->last : a->first))
			say(r, "%s is \"%s\", and so stands %s all programs of others: leave one of the two out", a->name,
			    before ? "last" : "first", before ? "after" : "before");
		for (uint32_t j = 0; j < k; j++)
			if (!nk_anchor_cmp(&anchors[j], &anchors[k])) {
				say(r, "%s stands twice in this list: remove one", nk_anchor_format(&anchors[k], text, sizeof(text)));
				break;
			}
	}
}

/* Where a demand is written down. */
static void at_demand(struct report *r, const struct nk_device *d, const struct nk_attachment *who, const struct nk_chain_demand *demand)
{
	uint32_t i = (uint32_t)(who - d->attachments);

	switch (demand->kind) {
	case NK_DEMAND_BEFORE:
		at(r, "/attachments/%u/before/%u", i, demand->index);
		break;
	case NK_DEMAND_AFTER:
		at(r, "/attachments/%u/after/%u", i, demand->index);
		break;
	case NK_DEMAND_FIRST:
		at(r, "/attachments/%u/first", i);
		break;
	case NK_DEMAND_LAST:
		at(r, "/attachments/%u/last", i);
		break;
	}
}

/* Attachments that each have to stand before the next, round and round: told with all their names. */
static void check_order(struct report *r, const struct nk_device *d, enum nk_hook hook)
{
	const struct nk_attachment *want[NK_CHAIN_MAX];
	struct nk_chain_demand circle[NK_CHAIN_MAX];
	char names[sizeof(r->problem.text) / 2];
	uint32_t n = 0, length, used = 0, named = 0;

	for (uint32_t i = 0; i < d->n_attachments; i++)
		if (d->attachments[i].hook == hook)
			want[n++] = &d->attachments[i];
	length = nk_chain_circle(want, n, circle);
	if (!length)
		return;
	for (; named < length && used < sizeof(names) - NK_NAME_MAX - sizeof(" before "); named++)
		used += (uint32_t)snprintf(names + used, sizeof(names) - used, "%s before ", want[circle[named].from]->name);
	snprintf(names + used, sizeof(names) - used, "%s", named < length ? "…" : want[circle[0].from]->name);
	at_demand(r, d, want[circle[0].who], &circle[0]);
	say(r, "the attachments can't stand in any order: %s. Take one of these demands back", names);
}

/* What attachments say of their places. */
static void check_places(struct report *r, const struct nk_device *d)
{
	size_t before = r->n;

	for (uint32_t i = 0; i < d->n_attachments; i++) {
		if (d->attachments[i].first && d->attachments[i].last)
			say(at(r, "/attachments/%u/last", i), "%s is \"first\" already: leave one of the two out", d->attachments[i].name);
		check_anchors(r, d, i, "before");
		check_anchors(r, d, i, "after");
	}
	for (int hook = 0; hook < NK_HOOKS && r->n == before; hook++)
		check_order(r, d, (enum nk_hook)hook);
}

static void check_attachments(struct report *r, const struct nk_device *d)
{
	uint32_t n[NK_HOOKS] = { 0 };

	for (uint32_t i = 0; i < d->n_attachments; i++) {
		const struct nk_attachment *a = &d->attachments[i];

		if (++n[a->hook] > NK_CHAIN_MAX) {
			say(at(r, "/attachments/%u", i), "the kernel runs at most %d programs at one hook", NK_CHAIN_MAX);
			return;
		}
		if (a->required && !d->interface && d->on_drift == NK_ON_DRIFT_REPORT)
			say(at(r, "/attachments/%u/required", i), "the device is closed when an attachment is lost that is required, and "
			    "\"on_drift\" says that nothing is done then: leave one of the two out");
		if (!nk_hook_fits(a->hook, d->interface))
			say(at(r, "/attachments/%u/hook", i), "%s has no hook %s: choose %s", d->interface ? "an interface" : "a device",
			    nk_hook_name(a->hook), d->interface ? "tcx/ingress or tcx/egress" : "netkit/primary or netkit/peer");
		else if (d->single && a->hook == NK_HOOK_NETKIT_PEER)
			say(at(r, "/attachments/%u/hook", i), "hook %s needs a peer, and this device has none", nk_hook_name(a->hook));
		if (d->interface && a->required)
			say(at(r, "/attachments/%u/required", i), "an interface isn't netkitd's to close: leave \"required\" out");
		for (uint32_t j = 0; j < i; j++)
			if (d->attachments[j].hook == a->hook && !strcmp(d->attachments[j].program, a->program)) {
				say(at(r, "/attachments/%u/program", i), "program %s is already at this hook, as %s: the kernel "
				    "runs a program once in a chain", a->program, d->attachments[j].name);
				break;
			}
	}
	check_attachment_names(r, d);
	check_places(r, d);
}

size_t nk_device_check(const struct nk_device *d, const char *prefix, nk_problem_fn fn, void *arg)
{
	struct report r = { .prefix = prefix, .fn = fn, .arg = arg };

	check_end(&r, d, NK_PRIMARY);
	if (d->single)
		check_single(&r, d);
	else
		check_end(&r, d, NK_PEER);
	if (!d->single && d->netns.kind == NK_NETNS_HOST && !strcmp(nk_device_name(d), d->end[NK_PEER].name))
		say(at(&r, "/peer/name"), "both ends are named %s and share a namespace: name them differently, or give the peer a netns",
		    nk_device_name(d));
	check_attachments(&r, d);
	return r.n;
}

static void check_changed_device(struct report *r, const struct nk_document *doc, const struct nk_device *d)
{
	static const struct nk_netns host = { .kind = NK_NETNS_HOST };
	const char *name = nk_device_name(d), *other;

	for (uint32_t i = 0; i < d->n_attachments; i++)
		if (!nk_document_program(doc, d->attachments[i].program))
			say(at(r, "/attachments/%u/program", i), "there is no program %s: add it to programs", d->attachments[i].program);

	other = nk_document_peer_taken(doc, &host, name, NULL);
	if (other && strcmp(other, name))
		say(at(r, "/name"), "the peer of device %s has this name in the same namespace: choose another", other);
	if (d->single)
		return;

	other = nk_document_peer_taken(doc, &d->netns, d->end[NK_PEER].name, name);
	if (other)
		say(at(r, "/peer/name"), "the peer of device %s has this name in the same namespace: choose another", other);
	if (d->netns.kind == NK_NETNS_HOST && strcmp(d->end[NK_PEER].name, name) &&
	    nk_document_device(doc, d->end[NK_PEER].name))
		say(at(r, "/peer/name"), "device %s has this name in the same namespace: choose another, or give the peer a netns",
		    d->end[NK_PEER].name);
}

size_t nk_document_check(const struct nk_document *doc, const struct nk_change *c, nk_problem_fn fn, void *arg)
{
	struct report r = { .fn = fn, .arg = arg };

	for (size_t i = 0; i < c->n; i++) {
		const struct nk_change_item *item = &c->items[i];
		const struct nk_device *d = item->dev_next ? item->dev_next : item->dev_prev;
		const char *list = item->is_program ? "programs" : d && d->interface ? "interfaces" : "devices";
		char prefix[sizeof("/interfaces/") + NK_NAME_MAX];
		size_t users;

		if (item->pointer_index != SIZE_MAX)
			snprintf(prefix, sizeof(prefix), "/%s/%zu", list, item->pointer_index);
		else
			snprintf(prefix, sizeof(prefix), "/%s/%s", list, item->name);
		r.prefix = prefix;

		/* A later step may have changed the same object again: only what stands in the end is looked at. */
		if (!item->is_program && item->dev_next && nk_document_device(doc, item->name) == item->dev_next)
			check_changed_device(&r, doc, item->dev_next);
		users = nk_document_program_users(doc, item->name);
		if (item->is_program && !item->prog_next && !nk_document_program(doc, item->name) && users > 0)
			say(at(&r, "%s", ""), "program %s can't be removed while attachments use it (%zu do): remove them first",
			    item->name, users);
	}
	return r.n;
}
