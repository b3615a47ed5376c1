// SPDX-License-Identifier: GPL-2.0-only
/* Builders of build.h: lists grow by one, because tests' lists are short. */
#include "build.h"

#include <stdlib.h>
#include <string.h>

static void *checked(void *p)
{
	if (!p)
		abort();
	return p;
}

struct nk_device *build_device(const char *name, const char *netns)
{
	struct nk_device *d = checked(nk_device_new());

	strcpy(d->end[NK_PRIMARY].name, name);
	d->single = !netns;
	if (netns) {
		strcpy(d->end[NK_PEER].name, "eth0");
		d->netns.kind = NK_NETNS_NAME;
		d->netns.path = checked(strdup(netns));
	}
	return d;
}

void build_address(struct nk_device *d, enum nk_end_id end, const char *prefix)
{
	struct nk_end *e = &d->end[end];

	e->addrs = checked(reallocarray(e->addrs, e->n_addrs + 1, sizeof(*e->addrs)));
	if (nk_prefix_parse(prefix, &e->addrs[e->n_addrs++]) < 0)
		abort();
}

void build_route(struct nk_device *d, enum nk_end_id end, const char *to, const char *via, const char *src)
{
	struct nk_end *e = &d->end[end];
	struct nk_route *r;

	e->routes = checked(reallocarray(e->routes, e->n_routes + 1, sizeof(*e->routes)));
	r = &e->routes[e->n_routes++];
	memset(r, 0, sizeof(*r));
	if (nk_prefix_parse(to, &r->to) < 0 || (via && nk_ip_parse(via, &r->via) < 0) || (src && nk_ip_parse(src, &r->src) < 0))
		abort();
}

void build_attachment(struct nk_device *d, const char *name, const char *program, enum nk_hook hook, bool required)
{
	struct nk_attachment *a;

	d->attachments = checked(reallocarray(d->attachments, d->n_attachments + 1, sizeof(*d->attachments)));
	a = &d->attachments[d->n_attachments++];
	memset(a, 0, sizeof(*a));
	strcpy(a->name, name);
	strcpy(a->program, program);
	a->hook = (uint8_t)hook;
	a->required = required;
}

struct nk_program *build_program(const char *name, const char *path)
{
	struct nk_program *p = checked(nk_program_new());

	strcpy(p->name, name);
	p->path = checked(strdup(path));
	p->program = checked(strdup("pod_egress"));
	return p;
}
