// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads everything that the kernel holds of our devices, for a start and after lost events: the host's links and what hangs on ours, each
 * peer's end from inside its namespace, and all chains. The result goes to the loop in parts while it is read, so that memory
 * stays bounded, as the kernel's own messages, which the cache takes in like events. Runs in the executor's thread.
 *
 * A dump that the kernel interrupted is made again. What it told before is told twice then, which does no harm: what vanished in
 * between has its own event waiting. Where links or addresses change all the time (a container can see to that) no dump ends well, and
 * what several of them told together is taken: what one of them skipped because its neighbour went, another one tells.
 */
#include <errno.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/message.h"
#include "daemon/kernel/netns.h"
#include "daemon/kernel/rtnl.h"
#include "daemon/kernel/worker.h"

#define PART_SIZE (1024 * 1024) /* bytes of messages after which a part is sent */
#define PART_CHAINS 4096        /* or so many chains */
#define ATTEMPTS 20             /* of a dump that is interrupted again and again, until all that they told is taken together */

/* A primary that is ours. */
struct followed {
	uint32_t ifindex, peer_ifindex;
	int32_t peer_nsid;
	char owner[NK_IFNAMSIZ];
};

struct snapshot {
	struct nk_worker *w;
	const struct nk_job *job;
	struct nk_result *part;     /* owned, being filled */
	struct followed *followed;  /* owned */
	size_t n_followed, followed_room;
	uint32_t *ifindexes;        /* owned, sorted: links of the host's namespace whose addresses and routes matter */
	size_t n_ifindexes;
	struct nk_netns_index *index; /* owned, made when first needed */
	int32_t nsid;               /* where the messages come from now */
	bool all;                   /* all messages matter, not those of `ifindexes` only */
	int answer;                 /* of the kernel to a single request */
	int error;                  /* what a callback ran into: negative errno */
};

static int new_part(struct snapshot *s)
{
	s->part = calloc(1, sizeof(*s->part));
	if (!s->part)
		return -ENOMEM;
	s->part->kind = NK_JOB_SNAPSHOT;
	s->part->as_of = s->job->as_of;
	return 0;
}

/* Send the part if it is full. Waits while too many are on their way. */
static int send_full(struct snapshot *s)
{
	eventfd_t credit;

	if (s->part->messages_len < PART_SIZE && s->part->n_chains < PART_CHAINS)
		return 0;
	if (eventfd_read(s->w->credit, &credit) < 0)
		return -errno;
	nk_worker_send(s->w, s->part);
	return new_part(s);
}

static int compare_ifindexes(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool matters(const struct snapshot *s, uint32_t ifindex)
{
	return s->all || (s->n_ifindexes && bsearch(&ifindex, s->ifindexes, s->n_ifindexes, sizeof(ifindex), compare_ifindexes));
}

/* Remember a primary that is ours. */
static int follow(struct snapshot *s, const struct nk_link_info *info)
{
	size_t n = strlen(NK_ALIAS_PREFIX);
	bool aliased = !strncmp(info->alias, NK_ALIAS_PREFIX, n) && info->alias[n] && !nk_ifname_problem(info->alias + n);
	struct followed *f;

	if (!info->netkit || !info->primary || (!aliased && !nk_group_is_ours(s->w->group, info->group)))
		return 0;
	if (s->n_followed == s->followed_room) {
		size_t room = s->followed_room ? 2 * s->followed_room : 64;

		f = reallocarray(s->followed, room, sizeof(*f));
		if (!f)
			return -ENOMEM;
		s->followed = f;
		s->followed_room = room;
	}
	f = &s->followed[s->n_followed++];
	*f = (struct followed){ .ifindex = info->end.ifindex, .peer_ifindex = info->peer_ifindex, .peer_nsid = info->peer_nsid };
	snprintf(f->owner, sizeof(f->owner), "%.*s", NK_IFNAMSIZ - 1, aliased ? info->alias + n : info->end.name);
	return 0;
}

static void on_host_link(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct snapshot *s = arg;
	struct nk_link_info info;

	(void)index;
	if (!s->error)
		s->error = nk_result_add_message(s->part, s->nsid, h);
	if (!s->error && !nk_parse_link(h, &info))
		s->error = follow(s, &info);
	if (!s->error)
		s->error = send_full(s);
}

static void on_message(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct snapshot *s = arg;
	struct nk_obs_route route;
	struct nk_obs_addr addr;
	uint32_t ifindex = 0;

	(void)index;
	if (h->nlmsg_type == RTM_NEWADDR && nk_parse_addr(h, &ifindex, &addr) < 0)
		return;
	if (h->nlmsg_type == RTM_NEWROUTE && nk_parse_route(h, &ifindex, &route) < 0)
		return;
	if (h->nlmsg_type != RTM_NEWLINK && !matters(s, ifindex))
		return;
	if (!s->error)
		s->error = nk_result_add_message(s->part, s->nsid, h);
	if (!s->error)
		s->error = send_full(s);
}

enum dump { LINKS, ADDRS, ROUTES_IPV4, ROUTES_IPV6 };

static struct nl_msg *dump_message(enum dump what, uint32_t ifindex)
{
	switch (what) {
	case LINKS:
		return nk_msg_dump_links(false);
	case ADDRS:
		return nk_msg_dump_addrs(ifindex);
	case ROUTES_IPV4:
		return nk_msg_dump_routes(AF_INET, ifindex);
	case ROUTES_IPV6:
		return nk_msg_dump_routes(AF_INET6, ifindex);
	}
	return NULL;
}

static int dump(struct snapshot *s, struct nk_rtnl *socket, enum dump what, uint32_t ifindex)
{
	struct nl_msg *msg;
	int r = -EINTR;

	for (int i = 0; i < ATTEMPTS && r == -EINTR; i++) {
		/* Links are collected from the dump, so a second attempt begins anew. */
		if (what == LINKS)
			s->n_followed = 0;
		msg = dump_message(what, ifindex);
		r = msg ? nk_rtnl_dump(socket, msg, what == LINKS ? on_host_link : on_message, s) : -ENOMEM;
		nlmsg_free(msg);
		if (s->error)
			return s->error;
		if (atomic_load(&s->w->stopping))
			return -ECANCELED;
	}
	return r == -EINTR ? 0 : r;
}

static void on_ack(size_t index, int error, const char *extack, void *arg)
{
	struct snapshot *s = arg;

	(void)index;
	(void)extack;
	s->answer = error;
}

static int get_link(struct snapshot *s, struct nk_rtnl *socket, uint32_t ifindex)
{
	struct nl_msg *msg = nk_msg_get_link(ifindex);
	int r = msg ? nk_batch_add(s->w->batch, msg, 0) : -ENOMEM;

	nlmsg_free(msg);
	s->answer = 0;
	if (!r)
		r = nk_rtnl_flush(socket, s->w->batch, on_ack, on_message, s);
	return r ?: s->error ?: s->answer;
}

/* The links in the host's namespace that are ours: primaries, and peers that stayed. */
static int list_ifindexes(struct snapshot *s)
{
	s->ifindexes = calloc(2 * s->n_followed + 1, sizeof(*s->ifindexes));
	if (!s->ifindexes)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_followed; i++) {
		const struct followed *f = &s->followed[i];

		s->ifindexes[s->n_ifindexes++] = f->ifindex;
		if (f->peer_nsid == NK_NSID_HOST && f->peer_ifindex)
			s->ifindexes[s->n_ifindexes++] = f->peer_ifindex;
	}
	qsort(s->ifindexes, s->n_ifindexes, sizeof(*s->ifindexes), compare_ifindexes);
	return 0;
}

static int read_host(struct snapshot *s)
{
	int r;

	s->nsid = NK_NSID_HOST;
	r = dump(s, s->w->host, LINKS, 0);
	if (!r)
		r = list_ifindexes(s);
	if (!r && s->n_ifindexes)
		r = dump(s, s->w->host, ADDRS, 0);
	if (!r && s->n_ifindexes)
		r = dump(s, s->w->host, ROUTES_IPV4, 0);
	if (!r && s->n_ifindexes)
		r = dump(s, s->w->host, ROUTES_IPV6, 0);
	return r;
}

static int compare_devices(const void *a, const void *b)
{
	return strcmp(nk_device_name(*(const struct nk_device *const *)a), nk_device_name(*(const struct nk_device *const *)b));
}

static int compare_name(const void *name, const void *device)
{
	return strcmp(name, nk_device_name(*(const struct nk_device *const *)device));
}

static const struct nk_device *desired(const struct snapshot *s, const char *owner)
{
	const struct nk_device **d = NULL;

	if (s->job->n_devices)
		d = bsearch(owner, s->job->devices, s->job->n_devices, sizeof(*s->job->devices), compare_name);
	return d ? *d : NULL;
}

/*
 * A descriptor of the namespace that a peer is in: the one that the document names, if it is that, else whichever can be found with
 * this id. Reports where the document's is. -ENOENT: it can't be reached.
 */
static int open_peer_netns(struct snapshot *s, const struct followed *f, int *ret)
{
	const struct nk_device *d = desired(s, f->owner);
	_close_ int fd = -1;
	int32_t nsid;
	int r;

	if (d && !d->single && d->netns.kind == NK_NETNS_HOST) {
		r = nk_result_add_place(s->part, f->owner, NK_NSID_HOST, -1);
		if (r < 0)
			return r;
	} else if (d && !d->single && !nk_netns_open(&d->netns, &fd, NULL) && !nk_netns_nsid(s->w->host, fd, &nsid)) {
		r = nk_result_add_place(s->part, f->owner, nsid, fd);
		if (r < 0)
			return r;
		if (nsid == f->peer_nsid) {
			*ret = nk_take_fd(&fd);
			return 0;
		}
	}
	if (!f->peer_ifindex || f->peer_nsid == NK_NSID_HOST || f->peer_nsid == NK_NSID_NONE)
		return -ENOENT;
	if (!s->index) {
		r = nk_netns_index_new(s->w->host, &s->index);
		if (r < 0)
			return r;
	}
	return nk_netns_index_open(s->index, f->peer_nsid, ret, NULL);
}

static int read_peer(struct snapshot *s, const struct followed *f)
{
	static const enum dump what[] = { ADDRS, ROUTES_IPV4, ROUTES_IPV6 };
	struct nk_rtnl *socket = NULL;
	_close_ int fd = -1;
	int r = open_peer_netns(s, f, &fd);

	/* One that nobody can reach stays unknown, and the document's device says so. */
	if (r == -ENOENT || r == -ESRCH || r == -EINVAL)
		return 0;
	if (r < 0)
		return r;
	if (f->peer_nsid == NK_NSID_HOST || !f->peer_ifindex)
		return 0;
	r = nk_netns_enter(fd);
	if (!r)
		r = nk_rtnl_open(&socket);
	s->nsid = f->peer_nsid;
	s->all = true;
	if (!r)
		r = get_link(s, socket, f->peer_ifindex);
	for (size_t i = 0; !r && i < sizeof(what) / sizeof(what[0]); i++)
		r = dump(s, socket, what[i], f->peer_ifindex);
	s->all = false;
	nk_rtnl_close(socket);
	/* Gone meanwhile: its event waits. */
	return r == -ENODEV ? 0 : r;
}

static int read_chains(struct snapshot *s, const struct followed *f)
{
	for (enum nk_hook hook = 0; nk_hook_fits(hook, false); hook++) {
		struct nk_obs_chain chain = {};
		int r = nk_bpf_query(s->w->bpf, f->ifindex, hook, &chain);

		/* No peer, no chain; no primary: its event waits. */
		if (r == -ENODEV && hook == NK_HOOK_NETKIT_PRIMARY)
			return 0;
		if (r < 0 && r != -ENODEV)
			return r;
		r = nk_result_add_chain(s->part, f->ifindex, hook, &chain);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_devices(struct snapshot *s)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->n_followed; i++)
		r = atomic_load(&s->w->stopping) ? -ECANCELED : read_peer(s, &s->followed[i]);
	/* Chains are read from the host's namespace only. A thread that can't come home would read those of strangers. */
	if (nk_netns_leave() < 0)
		abort();
	for (size_t i = 0; !r && i < s->n_followed; i++) {
		r = read_chains(s, &s->followed[i]);
		if (!r)
			r = send_full(s);
	}
	return r;
}

/* Pins come first: chains are read by them. Where they can't follow they work on, so that is no failure of the snapshot. */
static void follow_pins(struct nk_worker *w, struct nk_result *last)
{
	struct nk_error why = {};
	struct stat st;
	int r = nk_bpf_follow(w->bpf, &why);

	last->pins_moved = r > 0;
	if (r < 0)
		last->pins_why = strdup(why.message ? why.message : "no memory");
	nk_error_clear(&why);
	if (!fstat(nk_bpf_root(w->bpf), &st)) {
		last->pins_dev = st.st_dev;
		last->pins_ino = st.st_ino;
	}
}

void nk_snapshot_run(struct nk_worker *w, const struct nk_job *job, struct nk_result *last)
{
	struct snapshot s = { .w = w, .job = job };
	int r = new_part(&s);

	follow_pins(w, last);
	if (job->n_devices)
		qsort(job->devices, job->n_devices, sizeof(*job->devices), compare_devices);
	if (!r)
		r = read_host(&s);
	if (!r)
		r = read_devices(&s);
	if (!r) {
		/* The closing result carries what the last part holds. */
		last->messages = s.part->messages;
		last->messages_len = s.part->messages_len;
		last->chains = s.part->chains;
		last->n_chains = s.part->n_chains;
		last->places = s.part->places;
		last->n_places = s.part->n_places;
		free(s.part);
	} else {
		last->error = r;
		nk_result_free(s.part);
		if (nk_worker_renew_host(w) < 0)
			last->error = r;
	}
	nk_netns_index_free(s.index);
	free(s.followed);
	free(s.ifindexes);
}
