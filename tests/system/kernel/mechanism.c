// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mechanism in daemon/kernel by itself, against a real kernel: test_mechanism.py runs it and compares with what ip says. It
 * speaks to no daemon. It prints one line for each thing that happens.
 *
 *   mechanism create NETNS    make a device of which everything is said, its peer in NETNS, in one group of ours
 *   mechanism refuse          send what the kernel refuses, among what it takes, and print each answer
 *   mechanism lose            have answers lost for want of room, and tell how that ended
 *   mechanism sizes NETNS     change the offload sizes of both ends, and nothing else
 *   mechanism follow [BYTES]  print what the cache knows at the start and at each change, until the input ends; with a
 *                             receive buffer of BYTES for events
 *   mechanism netns REF       open a reference (a name, a path, or pid:N) and print its number and what the index finds for it
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/kernel/cache.h"
#include "daemon/kernel/message.h"
#include "daemon/kernel/monitor.h"
#include "daemon/kernel/netns.h"
#include "daemon/kernel/rtnl.h"

#define GROUP 77000

static void die(const char *what, int r)
{
	fprintf(stderr, "mechanism: %s: %s\n", what, strerror(-r));
	exit(1);
}

static int must(const char *what, int r)
{
	if (r < 0)
		die(what, r);
	return r;
}

static struct nk_prefix prefix(const char *text)
{
	struct nk_prefix p;

	must(text, nk_prefix_parse(text, &p));
	return p;
}

static struct nk_ip ip(const char *text)
{
	struct nk_ip i;

	must(text, nk_ip_parse(text, &i));
	return i;
}

static void add(struct nk_batch *b, struct nl_msg *msg, size_t index)
{
	if (!msg || nk_batch_add(b, msg, index) < 0)
		die("no memory", -ENOMEM);
	nlmsg_free(msg);
}

static void print_ack(size_t index, int error, const char *extack, void *arg)
{
	printf("%zu %s%s%s\n", index, error ? strerrorname_np(-error) : "ok", extack ? ": " : "", extack ? extack : "");
}

static void take_created(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct nk_link_info *info = arg;

	nk_parse_link(h, info);
}

static struct nk_device *full_device(void)
{
	struct nk_device *d = nk_device_new();
	const uint8_t mac[6] = { 2, 0, 0, 0, 0, 0 };

	if (!d)
		die("no memory", -ENOMEM);
	strcpy(d->end[NK_PRIMARY].name, "mech-1");
	strcpy(d->end[NK_PEER].name, "eth0");
	d->mode = NK_MODE_L2;
	d->end[NK_PEER].policy = NK_POLICY_DROP;
	d->end[NK_PRIMARY].scrub = NK_SCRUB_NONE;
	for (size_t i = 0; i < NK_ENDS; i++) {
		struct nk_end *e = &d->end[i];
		uint32_t n = (uint32_t)i;

		e->set = NK_SET_MTU | NK_SET_MAC | NK_SET_TXQLEN | NK_SET_GSO_MAX | NK_SET_GRO_MAX | NK_SET_GSO_IPV4_MAX |
			 NK_SET_GRO_IPV4_MAX;
		memcpy(e->mac, mac, sizeof(mac));
		e->mac[5] = (uint8_t)(i + 1);
		e->mtu = 9000 + n;
		e->txqlen = 100 + n;
		e->gso_max = 50000 + n;
		e->gro_max = 51000 + n;
		e->gso_ipv4_max = 52000 + n;
		e->gro_ipv4_max = 53000 + n;
	}
	return d;
}

/* What goes into the peer's namespace. */
static void configure_peer(const struct nk_device *d, int netns, uint32_t ifindex)
{
	struct nk_batch *b = nk_batch_new();
	struct nk_prefix v4 = prefix("10.0.0.2/32"), v6 = prefix("fd00::2/128");
	struct nk_route direct = { .to = prefix("10.0.0.1/32") };
	struct nk_route all = { .to = prefix("0.0.0.0/0"), .via = ip("10.0.0.1"), .src = ip("10.0.0.2"), .metric = 5, .onlink = true };
	struct nk_route all6 = { .to = prefix("::/0") };
	struct nk_rtnl *s;

	must("enter", nk_netns_enter(netns));
	must("socket", nk_rtnl_open(&s));
	add(b, nk_msg_set(d, NK_PEER, ifindex, NK_SET_UP, GROUP, true), 10);
	add(b, nk_msg_addr(true, ifindex, &v4), 11);
	add(b, nk_msg_addr(true, ifindex, &v6), 12);
	add(b, nk_msg_route(true, ifindex, &direct), 13);
	add(b, nk_msg_route(true, ifindex, &all), 14);
	add(b, nk_msg_route(true, ifindex, &all6), 15);
	must("flush", nk_rtnl_flush(s, b, print_ack, NULL, NULL));
	nk_rtnl_close(s);
	must("leave", nk_netns_leave());
	nk_batch_free(b);
}

static int create(const char *name)
{
	struct nk_netns ref = { .kind = NK_NETNS_NAME, .path = (char *)name };
	struct nk_device *d = full_device();
	struct nk_batch *b = nk_batch_new();
	struct nk_prefix v4 = prefix("10.0.0.1/32");
	struct nk_route route = { .to = prefix("10.0.0.2/32") };
	struct nk_link_info info = { 0 };
	struct nk_rtnl *s;
	int32_t nsid;
	int netns;

	must("socket", nk_rtnl_open(&s));
	must("namespace", nk_netns_open(&ref, &netns, NULL));
	must("nsid", nk_netns_nsid(s, netns, &nsid));
	printf("nsid %d\n", nsid);
	add(b, nk_msg_create(d, GROUP, netns), 1);
	must("flush", nk_rtnl_flush(s, b, print_ack, take_created, &info));
	printf("created %u peer %u nsid %d up %d\n", info.end.ifindex, info.peer_ifindex, info.peer_nsid, info.end.up);
	configure_peer(d, netns, info.peer_ifindex);
	add(b, nk_msg_set(d, NK_PRIMARY, info.end.ifindex, NK_SET_ALIAS, GROUP, true), 2);
	add(b, nk_msg_addr(true, info.end.ifindex, &v4), 3);
	add(b, nk_msg_route(true, info.end.ifindex, &route), 4);
	must("flush", nk_rtnl_flush(s, b, print_ack, NULL, NULL));
	nk_batch_free(b);
	nk_rtnl_close(s);
	nk_device_unref(d);
	close(netns);
	return 0;
}

static void set_size(const struct nk_device *d, enum nk_end_id end)
{
	struct nk_batch *b = nk_batch_new();
	struct nk_rtnl *s;

	must("socket", nk_rtnl_open(&s));
	add(b, nk_msg_set(d, end, if_nametoindex(d->end[end].name), NK_SET_GRO_MAX, GROUP, false), end);
	must("flush", nk_rtnl_flush(s, b, print_ack, NULL, NULL));
	nk_rtnl_close(s);
	nk_batch_free(b);
}

static int sizes(const char *name)
{
	struct nk_netns ref = { .kind = NK_NETNS_NAME, .path = (char *)name };
	struct nk_device *d = full_device();
	int netns;

	d->end[NK_PRIMARY].gro_max = d->end[NK_PEER].gro_max = 40000;
	set_size(d, NK_PRIMARY);
	must("namespace", nk_netns_open(&ref, &netns, NULL));
	must("enter", nk_netns_enter(netns));
	set_size(d, NK_PEER);
	must("leave", nk_netns_leave());
	close(netns);
	nk_device_unref(d);
	return 0;
}

static void count_ok(size_t index, int error, const char *extack, void *arg)
{
	size_t *next = arg;

	/* In order, each once. */
	if (error || index != *next)
		print_ack(index, error, extack, NULL);
	else
		(*next)++;
}

static int refuse(void)
{
	struct nk_device *d = full_device();
	struct nk_batch *b = nk_batch_new();
	struct nk_prefix p = prefix("10.0.0.1/32");
	struct nk_route unreachable = { .to = prefix("10.5.0.0/16"), .via = ip("10.99.0.1") };
	struct nk_rtnl *s;
	size_t next = 0;

	must("socket", nk_rtnl_open(&s));
	d->end[NK_PRIMARY].mtu = 10; /* below what the kernel allows */
	add(b, nk_msg_create(d, GROUP, -1), 1);
	d->end[NK_PRIMARY].mtu = 1500;
	d->mode = NK_MODE_L3; /* with MAC addresses */
	add(b, nk_msg_create(d, GROUP, -1), 2);
	add(b, nk_msg_addr(true, 1, &p), 3);
	add(b, nk_msg_addr(true, 1, &p), 4);
	add(b, nk_msg_route(true, 1, &unreachable), 5);
	add(b, nk_msg_addr(false, 1, &p), 6);
	add(b, nk_msg_delete(123456), 7);
	add(b, nk_msg_set(d, NK_PRIMARY, 1, NK_SET_POLICY, GROUP, false), 8);
	must("flush", nk_rtnl_flush(s, b, print_ack, NULL, NULL));
	/* Several windows. */
	for (size_t i = 0; i < 1000; i++)
		add(b, nk_msg_addr(!(i & 1), 1, &p), i);
	must("flush", nk_rtnl_flush(s, b, count_ok, NULL, &next));
	printf("%zu in order\n", next);
	nk_batch_free(b);
	nk_rtnl_close(s);
	nk_device_unref(d);
	return 0;
}

/* What became of requests whose answers had no room. */
struct losses {
	size_t next, ok, lost, other;
};

static void count_lost(size_t index, int error, const char *extack, void *arg)
{
	struct losses *l = arg;

	if (index != l->next++)
		l->other++;
	else if (!error)
		l->ok++;
	else if (error == -ENOBUFS && extack)
		l->lost++;
	else
		l->other++;
}

static int lose(void)
{
	struct nk_batch *b = nk_batch_new();
	struct nk_prefix p = prefix("10.0.0.1/32");
	struct losses l = { 0 };
	int fd = dup(0), smallest = 1;
	struct nk_rtnl *s;

	/* The socket gets the lowest free number, which this one was. */
	close(fd);
	must("socket", nk_rtnl_open(&s));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &smallest, sizeof(smallest)) < 0)
		die("buffer", -errno);
	for (size_t i = 0; i < 1000; i++)
		add(b, nk_msg_addr(!(i & 1), 1, &p), i);
	must("flush", nk_rtnl_flush(s, b, count_lost, NULL, &l));
	printf("%zu told, %zu other, %s ok, %s lost\n", l.next, l.other, l.ok ? "some" : "none", l.lost ? "some" : "none");
	nk_rtnl_close(s);
	nk_batch_free(b);
	return 0;
}

static void print_end(const char *what, const struct nk_obs_end *e)
{
	char buf[NK_PREFIX_STRLEN];

	printf(" %s=%s,%u,%s,%s,mtu:%u,policy:%u,gro:%u", what, e->name[0] ? e->name : "?", e->ifindex, e->up ? "up" : "down",
	       e->details ? "known" : "unknown", e->mtu, e->policy, e->gro_max);
	for (uint32_t i = 0; i < e->n_addrs; i++)
		if (e->addrs[i].ours)
			printf(",addr:%s", nk_prefix_format(&e->addrs[i].p, buf));
	for (uint32_t i = 0; i < e->n_routes; i++)
		if (e->routes[i].ours)
			printf(",route:%s", nk_prefix_format(&e->routes[i].r.to, buf));
}

static void print_device(const struct nk_obs_device *o, int32_t peer_nsid)
{
	printf("changed %s grouped:%d aliased:%d nsid:%d", o->owner, o->grouped, o->aliased, peer_nsid);
	print_end("primary", &o->end[NK_PRIMARY]);
	print_end("peer", &o->end[NK_PEER]);
	printf("\n");
}

static struct nk_cache *cache;

static void on_changed(const char *owner, void *arg)
{
	const struct nk_obs_device *o = nk_cache_get(cache, owner);

	if (o)
		print_device(o, nk_cache_peer_nsid(cache, owner));
	else
		printf("gone %s\n", owner);
}

static void on_name_free(const char *name, void *arg)
{
	printf("free %s\n", name);
}

static void on_netns_gone(int32_t nsid, void *arg)
{
	printf("netns-gone %d\n", nsid);
}

static void feed_dump(size_t index, const struct nlmsghdr *h, void *arg)
{
	must("feed", nk_cache_feed(cache, h, *(int32_t *)arg));
}

static void dump(struct nk_rtnl *s, struct nl_msg *msg, int32_t nsid)
{
	int r = nk_rtnl_dump(s, msg, feed_dump, &nsid);

	nlmsg_free(msg);
	if (r != -EINTR) /* what changed in between has its event */
		must("dump", r);
}

static void dump_namespace(int32_t nsid)
{
	struct nk_rtnl *s;

	must("socket", nk_rtnl_open(&s));
	dump(s, nk_msg_dump_links(nsid != NK_NSID_HOST), nsid);
	dump(s, nk_msg_dump_addrs(0), nsid);
	dump(s, nk_msg_dump_routes(AF_INET, 0), nsid);
	dump(s, nk_msg_dump_routes(AF_INET6, 0), nsid);
	nk_rtnl_close(s);
}

static void dump_peer(const struct nk_obs_device *o, int32_t peer_nsid, void *index)
{
	int fd;

	if (peer_nsid == NK_NSID_HOST || nk_netns_index_open(index, peer_nsid, &fd, NULL) < 0)
		return;
	must("enter", nk_netns_enter(fd));
	dump_namespace(peer_nsid);
	must("leave", nk_netns_leave());
	close(fd);
}

static void snapshot(void)
{
	struct nk_netns_index *index;
	struct nk_rtnl *s;

	must("socket", nk_rtnl_open(&s));
	must("index", nk_netns_index_new(s, &index));
	nk_cache_begin_snapshot(cache);
	dump_namespace(NK_NSID_HOST);
	nk_cache_each(cache, dump_peer, index);
	nk_cache_end_snapshot(cache);
	nk_netns_index_free(index);
	nk_rtnl_close(s);
	printf("snapshot\n");
}

static void feed_event(const struct nlmsghdr *h, int32_t nsid, void *arg)
{
	must("feed", nk_cache_feed(cache, h, nsid));
}

static int follow(const char *buffer)
{
	const struct nk_cache_handlers handlers = { on_changed, on_name_free, on_netns_gone, NULL };
	struct pollfd fds[2] = { { .fd = 0, .events = POLLIN }, { .events = POLLIN } };
	struct nk_monitor *m;
	int r;

	cache = nk_cache_new(GROUP, &handlers);
	must("monitor", nk_monitor_open(&m));
	if (buffer)
		must("buffer", nk_monitor_set_buffer(m, atoi(buffer)));
	fds[1].fd = nk_monitor_fd(m);
	snapshot();
	/* A line of input is answered after all events that came before it; its end ends the program. */
	while (poll(fds, 2, -1) > 0) {
		char line[64];
		ssize_t n = fds[0].revents ? read(0, line, sizeof(line)) : 1;

		if (n <= 0)
			break;
		r = nk_monitor_read(m, 0, feed_event, NULL);
		if (r == -ENOBUFS) {
			printf("overrun\n");
			snapshot();
		} else {
			must("read", r);
		}
		if (fds[0].revents)
			printf("synced %zu %llu\n", nk_cache_foreign_doomed(cache), (unsigned long long)nk_cache_n_bad(cache));
	}
	nk_monitor_close(m);
	cache = nk_cache_free(cache);
	return 0;
}

static void parse_reference(const char *text, struct nk_netns *ret)
{
	*ret = (struct nk_netns){ .kind = text[0] == '/' ? NK_NETNS_PATH : NK_NETNS_NAME };
	if (!strncmp(text, "pid:", 4)) {
		ret->kind = NK_NETNS_PID;
		ret->number = strtoull(text + 4, NULL, 10);
	} else if (!strncmp(text, "fd:", 3)) {
		ret->kind = NK_NETNS_FD;
	} else {
		ret->path = strdup(text);
	}
}

/* A reference, as if a request had brought it; for fd:PATH the descriptor comes along. */
static int netns(const char *text)
{
	const char *const kinds[] = { "host", "name", "path", "pid", "fd", "id" };
	struct nk_error err = { 0 };
	struct nk_netns_index *index;
	struct nk_netns ref, found = { 0 };
	struct nk_rtnl *s;
	int fd = -1, other = -1, passed = -1, r;
	int32_t nsid;

	parse_reference(text, &ref);
	if (ref.kind == NK_NETNS_FD) {
		struct nk_netns at = { .kind = NK_NETNS_PATH, .path = (char *)text + 3 };

		must("open", nk_netns_open(&at, &passed, NULL));
	}
	r = nk_netns_accept(&ref, &passed, passed >= 0, "/netns", &err);
	if (r < 0) {
		char *json = json_dumps(nk_error_encode(&err), JSON_SORT_KEYS);

		printf("refused %s %s\n", strerrorname_np(-r), json);
		return 0;
	}
	printf("accepted %s %s\n", kinds[ref.kind], ref.path ? ref.path : "");
	must("open", nk_netns_open(&ref, &fd, NULL));
	must("socket", nk_rtnl_open(&s));
	must("nsid", nk_netns_nsid(s, fd, &nsid));
	must("index", nk_netns_index_new(s, &index));
	r = nk_netns_index_open(index, nsid, &other, &found);
	printf("nsid %d found %s %s\n", nsid, r < 0 ? "nothing" : kinds[found.kind], found.path ? found.path : "");
	nk_netns_index_free(index);
	nk_rtnl_close(s);
	nk_netns_clear(&found);
	nk_netns_clear(&ref);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "create"))
		return create(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "sizes"))
		return sizes(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "lose"))
		return lose();
	if (argc == 2 && !strcmp(argv[1], "refuse"))
		return refuse();
	if ((argc == 2 || argc == 3) && !strcmp(argv[1], "follow"))
		return follow(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "netns"))
		return netns(argv[2]);
	fprintf(stderr, "usage: mechanism create NETNS | sizes NETNS | refuse | lose | follow [BYTES] | netns REF\n");
	return 2;
}
