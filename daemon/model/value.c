// SPDX-License-Identifier: GPL-2.0-only
/*
 * The plain values of the desired state: their lives, orders and text forms. Called by everybody, from both threads; it
 * touches nothing but its arguments.
 */
#include "daemon/model/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nk_device *nk_device_new(void)
{
	struct nk_device *d = calloc(1, sizeof(*d));

	if (d)
		atomic_init(&d->refs, 1);
	return d;
}

struct nk_program *nk_program_new(void)
{
	struct nk_program *p = calloc(1, sizeof(*p));

	if (p)
		atomic_init(&p->refs, 1);
	return p;
}

/* The count is the one member of a finished object that still changes, hence the casts away from const. */
struct nk_device *nk_device_ref(const struct nk_device *d)
{
	struct nk_device *own = (struct nk_device *)d;

	if (own)
		atomic_fetch_add_explicit(&own->refs, 1, memory_order_relaxed);
	return own;
}

struct nk_device *nk_device_unref(const struct nk_device *d)
{
	struct nk_device *own = (struct nk_device *)d;

	if (!own || atomic_fetch_sub_explicit(&own->refs, 1, memory_order_acq_rel) != 1)
		return NULL;

	for (size_t i = 0; i < NK_ENDS; i++) {
		free(own->end[i].addrs);
		free(own->end[i].routes);
	}
	for (uint32_t i = 0; i < own->n_attachments; i++)
		nk_attachment_clear(&own->attachments[i]);
	free(own->attachments);
	nk_netns_clear(&own->netns);
	free(own);
	return NULL;
}

struct nk_program *nk_program_ref(const struct nk_program *p)
{
	struct nk_program *own = (struct nk_program *)p;

	if (own)
		atomic_fetch_add_explicit(&own->refs, 1, memory_order_relaxed);
	return own;
}

struct nk_program *nk_program_unref(const struct nk_program *p)
{
	struct nk_program *own = (struct nk_program *)p;

	if (!own || atomic_fetch_sub_explicit(&own->refs, 1, memory_order_acq_rel) != 1)
		return NULL;

	for (uint32_t i = 0; i < own->n_maps; i++)
		free(own->maps[i].path);
	free(own->maps);
	free(own->path);
	free(own->program);
	free(own);
	return NULL;
}

static void clear_anchors(struct nk_anchor *anchors, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		free(anchors[i].text);
	free(anchors);
}

void nk_attachment_clear(struct nk_attachment *a)
{
	clear_anchors(a->before, a->n_before);
	clear_anchors(a->after, a->n_after);
	memset(a, 0, sizeof(*a));
}

static int compare_prefixes(const void *a, const void *b)
{
	return nk_prefix_cmp(a, b);
}

static int compare_routes(const void *a, const void *b)
{
	return nk_route_cmp(a, b);
}

static int compare_anchors(const void *a, const void *b)
{
	return nk_anchor_cmp(a, b);
}

static void normalise_end(struct nk_end *e)
{
	if (!(e->set & NK_SET_MTU))
		e->mtu = 0;
	if (!(e->set & NK_SET_MAC))
		memset(e->mac, 0, sizeof(e->mac));
	if (!(e->set & NK_SET_TXQLEN))
		e->txqlen = 0;
	if (!(e->set & NK_SET_GSO_MAX))
		e->gso_max = 0;
	if (!(e->set & NK_SET_GRO_MAX))
		e->gro_max = 0;
	if (!(e->set & NK_SET_GSO_IPV4_MAX))
		e->gso_ipv4_max = 0;
	if (!(e->set & NK_SET_GRO_IPV4_MAX))
		e->gro_ipv4_max = 0;
	if (e->n_addrs > 1)
		qsort(e->addrs, e->n_addrs, sizeof(*e->addrs), compare_prefixes);
	if (e->n_routes > 1)
		qsort(e->routes, e->n_routes, sizeof(*e->routes), compare_routes);
}

void nk_device_normalise(struct nk_device *d)
{
	if (!d->has_headroom)
		d->headroom = 0;
	if (!d->has_tailroom)
		d->tailroom = 0;
	for (size_t i = 0; i < NK_ENDS; i++)
		normalise_end(&d->end[i]);
	for (uint32_t i = 0; i < d->n_attachments; i++) {
		struct nk_attachment *a = &d->attachments[i];

		if (a->n_before > 1)
			qsort(a->before, a->n_before, sizeof(*a->before), compare_anchors);
		if (a->n_after > 1)
			qsort(a->after, a->n_after, sizeof(*a->after), compare_anchors);
	}
}

static bool end_equal(const struct nk_end *a, const struct nk_end *b)
{
	if (strcmp(a->name, b->name) || a->policy != b->policy || a->scrub != b->scrub || a->set != b->set ||
	    memcmp(a->mac, b->mac, sizeof(a->mac)) || a->mtu != b->mtu || a->txqlen != b->txqlen ||
	    a->gso_max != b->gso_max || a->gro_max != b->gro_max || a->gso_ipv4_max != b->gso_ipv4_max ||
	    a->gro_ipv4_max != b->gro_ipv4_max || a->n_addrs != b->n_addrs || a->n_routes != b->n_routes)
		return false;

	for (uint32_t i = 0; i < a->n_addrs; i++)
		if (nk_prefix_cmp(&a->addrs[i], &b->addrs[i]))
			return false;
	for (uint32_t i = 0; i < a->n_routes; i++)
		if (nk_route_cmp(&a->routes[i], &b->routes[i]))
			return false;
	return true;
}

static bool anchors_equal(const struct nk_anchor *a, uint32_t n_a, const struct nk_anchor *b, uint32_t n_b)
{
	if (n_a != n_b)
		return false;
	for (uint32_t i = 0; i < n_a; i++)
		if (nk_anchor_cmp(&a[i], &b[i]))
			return false;
	return true;
}

static bool attachment_equal(const struct nk_attachment *a, const struct nk_attachment *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->program, b->program) && a->hook == b->hook &&
	       a->required == b->required && a->first == b->first && a->last == b->last && a->priority == b->priority &&
	       anchors_equal(a->before, a->n_before, b->before, b->n_before) &&
	       anchors_equal(a->after, a->n_after, b->after, b->n_after);
}

bool nk_device_equal(const struct nk_device *a, const struct nk_device *b)
{
	if (a == b)
		return true;
	if (a->interface != b->interface || a->mode != b->mode || a->on_drift != b->on_drift || a->single != b->single ||
	    a->has_headroom != b->has_headroom || a->has_tailroom != b->has_tailroom || a->headroom != b->headroom || a->tailroom != b->tailroom ||
	    a->n_attachments != b->n_attachments)
		return false;
	for (size_t i = 0; i < NK_ENDS; i++)
		if (!end_equal(&a->end[i], &b->end[i]))
			return false;
	if (!nk_netns_equal(&a->netns, &b->netns))
		return false;
	for (uint32_t i = 0; i < a->n_attachments; i++)
		if (!attachment_equal(&a->attachments[i], &b->attachments[i]))
			return false;
	return true;
}

static bool text_equal(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool nk_program_equal(const struct nk_program *a, const struct nk_program *b)
{
	return a->on_drift == b->on_drift && nk_program_loads_same(a, b);
}

bool nk_program_loads_same(const struct nk_program *a, const struct nk_program *b)
{
	if (a == b)
		return true;
	if (strcmp(a->name, b->name) || a->source != b->source || !text_equal(a->path, b->path) ||
	    !text_equal(a->program, b->program) || strcmp(a->sha256, b->sha256) || a->replace_maps != b->replace_maps ||
	    a->number != b->number || strcmp(a->tag, b->tag) || strcmp(a->boot_id, b->boot_id) || a->n_maps != b->n_maps)
		return false;
	for (uint32_t i = 0; i < a->n_maps; i++)
		if (strcmp(a->maps[i].name, b->maps[i].name) || strcmp(a->maps[i].path, b->maps[i].path))
			return false;
	return true;
}

bool nk_netns_equal(const struct nk_netns *a, const struct nk_netns *b)
{
	if (a->kind != b->kind)
		return false;

	switch (a->kind) {
	case NK_NETNS_HOST:
		return true;
	case NK_NETNS_NAME:
	case NK_NETNS_PATH:
		return text_equal(a->path, b->path);
	case NK_NETNS_FD:
		return a->number == b->number;
	case NK_NETNS_PID:
		return a->number == b->number && a->start == b->start && !strcmp(a->boot_id, b->boot_id);
	case NK_NETNS_ID:
		/* The inode is a hint only; the cookie alone is unique for the boot. */
		return a->number == b->number && !strcmp(a->boot_id, b->boot_id);
	}
	return false;
}

void nk_netns_clear(struct nk_netns *ns)
{
	free(ns->path);
	memset(ns, 0, sizeof(*ns));
}

int nk_netns_copy(struct nk_netns *to, const struct nk_netns *from)
{
	char *path = NULL;

	if (from->path) {
		path = strdup(from->path);
		if (!path)
			return -ENOMEM;
	}
	*to = *from;
	to->path = path;
	return 0;
}

static int compare_numbers(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

int nk_ip_cmp(const struct nk_ip *a, const struct nk_ip *b)
{
	if (a->len != b->len)
		return compare_numbers(a->len, b->len);
	return memcmp(a->b, b->b, sizeof(a->b));
}

int nk_prefix_cmp(const struct nk_prefix *a, const struct nk_prefix *b)
{
	int r = nk_ip_cmp(&a->ip, &b->ip);

	return r ? r : compare_numbers(a->plen, b->plen);
}

/* IP6_RT_PRIO_USER: what the kernel makes of an IPv6 route without a metric, and how it shows it afterwards. */
static uint32_t effective_metric(const struct nk_route *r)
{
	return r->to.ip.len == 16 && r->metric == 0 ? 1024 : r->metric;
}

/* Destination and metric first, so that routes of one key stand side by side. */
int nk_route_cmp(const struct nk_route *a, const struct nk_route *b)
{
	int r = nk_prefix_cmp(&a->to, &b->to);

	if (!r)
		r = compare_numbers(effective_metric(a), effective_metric(b));
	if (!r)
		r = nk_ip_cmp(&a->via, &b->via);
	if (!r)
		r = nk_ip_cmp(&a->src, &b->src);
	return r ? r : compare_numbers(a->onlink, b->onlink);
}

int nk_anchor_cmp(const struct nk_anchor *a, const struct nk_anchor *b)
{
	int r;

	if (a->kind != b->kind)
		return compare_numbers(a->kind, b->kind);
	r = compare_numbers(a->id, b->id);
	if (!r)
		r = memcmp(a->tag, b->tag, sizeof(a->tag));
	return r || !a->text || !b->text ? r : strcmp(a->text, b->text);
}

bool nk_route_same_key(const struct nk_route *a, const struct nk_route *b)
{
	return !nk_prefix_cmp(&a->to, &b->to) && effective_metric(a) == effective_metric(b);
}

bool nk_prefix_contains(const struct nk_prefix *net, const struct nk_ip *ip)
{
	size_t whole = net->plen / 8;
	unsigned int rest = net->plen % 8;

	if (net->ip.len == 0 || net->ip.len != ip->len || memcmp(net->ip.b, ip->b, whole))
		return false;
	return rest == 0 || ((net->ip.b[whole] ^ ip->b[whole]) >> (8 - rest)) == 0;
}

int nk_ip_parse(const char *text, struct nk_ip *ret)
{
	struct nk_ip ip = { 0 };

	if (inet_pton(AF_INET, text, ip.b) == 1)
		ip.len = 4;
	else if (inet_pton(AF_INET6, text, ip.b) == 1)
		ip.len = 16;
	else
		return -EINVAL;
	*ret = ip;
	return 0;
}

/* One to three digits without a leading zero, at most max. */
static int parse_plen(const char *text, unsigned int max, uint8_t *ret)
{
	unsigned int n = 0;

	if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n * 10 + (unsigned int)(*text - '0');
		if (n > max)
			return -EINVAL;
	}
	*ret = (uint8_t)n;
	return 0;
}

int nk_prefix_parse(const char *text, struct nk_prefix *ret)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	char address[INET6_ADDRSTRLEN];
	struct nk_prefix p;
	int r;

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';

	r = nk_ip_parse(address, &p.ip);
	if (r < 0)
		return r;
	p.plen = (uint8_t)(p.ip.len * 8);
	if (slash) {
		r = parse_plen(slash + 1, p.plen, &p.plen);
		if (r < 0)
			return r;
	}
	*ret = p;
	return 0;
}

char *nk_ip_format(const struct nk_ip *ip, char *buf)
{
	buf[0] = '\0';
	if (ip->len)
		inet_ntop(ip->len == 4 ? AF_INET : AF_INET6, ip->b, buf, INET6_ADDRSTRLEN);
	return buf;
}

char *nk_prefix_format(const struct nk_prefix *p, char *buf)
{
	nk_ip_format(&p->ip, buf);
	if (p->ip.len)
		snprintf(buf + strlen(buf), sizeof("/128"), "/%u", p->plen);
	return buf;
}

const char *nk_ifname_problem(const char *name)
{
	size_t len = strlen(name);

	if (len == 0)
		return "an interface name may not be empty";
	if (len >= NK_IFNAMSIZ)
		return "an interface name has at most 15 bytes";
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return "the names . and .. are taken by the file system";
	for (const char *c = name; *c; c++) {
		if (*c == '/' || *c == ':')
			return "an interface name may not contain / or :";
		/* The kernel takes "x%d" for a pattern and makes up a number. */
		if (*c == '%')
			return "an interface name may not contain %";
		if (*c <= ' ' || *c > '~')
			return "an interface name consists of printable ASCII characters without white space";
	}
	return NULL;
}

static bool letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

const char *nk_name_problem(const char *name)
{
	size_t len = strlen(name);

	if (len == 0)
		return "a name may not be empty";
	if (len >= NK_NAME_MAX)
		return "a name has at most 63 bytes";
	if (!letter_or_digit(name[0]))
		return "a name begins with a letter or a digit";
	for (const char *c = name; *c; c++)
		if (!letter_or_digit(*c) && *c != '_' && *c != '.' && *c != '-')
			return "a name consists of letters, digits, '_', '.' and '-'";
	return NULL;
}

const char *nk_hook_name(enum nk_hook hook)
{
	switch (hook) {
	case NK_HOOK_NETKIT_PRIMARY:
		return "netkit/primary";
	case NK_HOOK_NETKIT_PEER:
		return "netkit/peer";
	case NK_HOOK_TCX_INGRESS:
		return "tcx/ingress";
	case NK_HOOK_TCX_EGRESS:
		return "tcx/egress";
	}
	return "?";
}

const char *nk_device_noun(bool interface)
{
	return interface ? "interface" : "device";
}

char *nk_anchor_format(const struct nk_anchor *a, char *buf, size_t size)
{
	char tag[2 * sizeof(a->tag) + 1];

	switch ((enum nk_anchor_kind)a->kind) {
	case NK_ANCHOR_NAME:
		snprintf(buf, size, "%s", a->text);
		break;
	case NK_ANCHOR_ID:
		snprintf(buf, size, "program %u", a->id);
		break;
	case NK_ANCHOR_TAG:
		for (size_t i = 0; i < sizeof(a->tag); i++)
			snprintf(tag + 2 * i, 3, "%02x", a->tag[i]);
		snprintf(buf, size, "tag %s", tag);
		break;
	case NK_ANCHOR_PIN:
		snprintf(buf, size, "pin %s", a->text);
		break;
	}
	return buf;
}
