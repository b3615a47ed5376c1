// SPDX-License-Identifier: GPL-2.0-only
/*
 * The floor of the benchmarks: issues the netlink and bpf calls that make and remove the benchmark's devices, and nothing else. No
 * reading back, no database, no events. What netkitd takes longer than this is what netkitd costs.
 *
 *   floor netns N            make the namespaces b0 … b<N-1>
 *   floor create N LINKS PIN make N devices with LINKS links each of the program pinned at PIN<i>, print nanoseconds
 *   floor delete             delete all of them by group, print nanoseconds
 *   floor reattach N PIN     of N devices made before, with one link: detach the link and attach the program again, at once; nanoseconds
 *                            of each
 *   floor recreate N PIN     the same: delete each and make it again
 *   floor requests N         N rtnetlink requests: add and remove an address of a dummy device; nanoseconds of processor time
 *   floor attachments N PIN  N links of the program to a netkit device, made and detached; nanoseconds of processor time
 *
 * Devices are as bench.py's document has them. Requests are pipelined as far as one follows another.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define GROUP 4242
#define WINDOW 64 /* messages in one sendmsg */

enum { NETKIT_PEER_INFO = 1, NETKIT_POLICY = 3, NETKIT_PEER_POLICY = 4, NETKIT_MODE = 5 };

static char buf[256 << 10];
static size_t used, queued;

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- messages ---- */

static struct nlmsghdr *message(uint16_t type, uint16_t flags, const void *body, size_t len)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(buf + used);

	memset(h, 0, sizeof(*h));
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	h->nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	memset((char *)h + NLMSG_HDRLEN, 0, NLMSG_ALIGN(len));
	memcpy((char *)h + NLMSG_HDRLEN, body, len);
	return h;
}

static struct rtattr *put(struct nlmsghdr *h, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)((char *)h + NLMSG_ALIGN(h->nlmsg_len));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	h->nlmsg_len = (uint32_t)(NLMSG_ALIGN(h->nlmsg_len) + RTA_ALIGN(a->rta_len));
	return a;
}

static void put_u32(struct nlmsghdr *h, uint16_t type, uint32_t v)
{
	put(h, type, &v, sizeof(v));
}

static void end(struct nlmsghdr *h, struct rtattr *nest)
{
	nest->rta_len = (uint16_t)((char *)h + NLMSG_ALIGN(h->nlmsg_len) - (char *)nest);
}

static void done(struct nlmsghdr *h)
{
	used += NLMSG_ALIGN(h->nlmsg_len);
	queued++;
}

static int open_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), size = 4 << 20, on = 1;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	return fd;
}

static void flush(int fd)
{
	static char in[64 << 10];
	size_t wanted = queued;

	if (!queued)
		return;
	if (send(fd, buf, used, 0) < 0)
		die("send");
	while (wanted) {
		ssize_t n = recv(fd, in, sizeof(in), 0);
		struct nlmsghdr *h = (struct nlmsghdr *)in;

		if (n < 0)
			die("recv");
		for (; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (errno)
				die("kernel refused");
			wanted--;
		}
	}
	used = queued = 0;
}

static void flush_full(int fd)
{
	if (queued >= WINDOW)
		flush(fd);
}

/* ---- one device ---- */

static void create(unsigned i, int netns)
{
	struct ifinfomsg ifi = { 0 }, peer = { 0 };
	struct nlmsghdr *h = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi));
	struct rtattr *info, *data, *p;
	char name[IFNAMSIZ];
	uint32_t fd = (uint32_t)netns;

	snprintf(name, sizeof(name), "d%u", i);
	put(h, IFLA_IFNAME, name, strlen(name) + 1);
	put_u32(h, IFLA_GROUP, GROUP);
	info = put(h, IFLA_LINKINFO, NULL, 0);
	put(h, IFLA_INFO_KIND, "netkit", 7);
	data = put(h, IFLA_INFO_DATA, NULL, 0);
	put_u32(h, NETKIT_MODE, 1);
	put_u32(h, NETKIT_POLICY, 0);
	put_u32(h, NETKIT_PEER_POLICY, 2);
	p = put(h, NETKIT_PEER_INFO, &peer, sizeof(peer));
	put(h, IFLA_IFNAME, "eth0", 5);
	put(h, IFLA_NET_NS_FD, &fd, sizeof(fd));
	end(h, p);
	end(h, data);
	end(h, info);
	done(h);
}

static void addr(int ifindex, uint32_t ip)
{
	struct ifaddrmsg m = { .ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = (uint32_t)ifindex };
	struct nlmsghdr *h = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));

	ip = __builtin_bswap32(ip);
	put(h, IFA_LOCAL, &ip, 4);
	put(h, IFA_ADDRESS, &ip, 4);
	done(h);
}

static void route(int ifindex, uint32_t to, unsigned len, uint32_t via)
{
	struct rtmsg m = { .rtm_family = AF_INET, .rtm_dst_len = (uint8_t)len, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = 110,
			   .rtm_type = RTN_UNICAST, .rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK };
	struct nlmsghdr *h = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));

	to = __builtin_bswap32(to);
	via = __builtin_bswap32(via);
	if (len)
		put(h, RTA_DST, &to, 4);
	if (via)
		put(h, RTA_GATEWAY, &via, 4);
	put_u32(h, RTA_OIF, (uint32_t)ifindex);
	done(h);
}

static void peer_up(int ifindex)
{
	struct ifinfomsg ifi = { .ifi_index = ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

	done(message(RTM_NEWLINK, 0, &ifi, sizeof(ifi)));
}

static void up(int ifindex, unsigned i)
{
	struct ifinfomsg ifi = { .ifi_index = ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct nlmsghdr *h = message(RTM_NEWLINK, 0, &ifi, sizeof(ifi));
	char alias[32];

	put(h, IFLA_IFALIAS, alias, (size_t)snprintf(alias, sizeof(alias), "netkitd:d%u", i));
	done(h);
}

/* Host's and container's address: 10.16.0.0/12, two a device. */
static uint32_t host_ip(unsigned i)
{
	return 0x0a100000u + i * 4 + 1;
}

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static void attach(unsigned i, int ifindex, int prog, unsigned k)
{
	union bpf_attr a = { 0 };
	char path[128];
	int link;

	a.link_create.prog_fd = (uint32_t)prog;
	a.link_create.target_ifindex = (uint32_t)ifindex;
	a.link_create.attach_type = 55; /* BPF_NETKIT_PEER */
	link = bpf(BPF_LINK_CREATE, &a);
	if (link < 0)
		die("link create");
	snprintf(path, sizeof(path), "/sys/fs/bpf/floor/d%u:%u", i, k);
	memset(&a, 0, sizeof(a));
	a.pathname = (uint64_t)(uintptr_t)path;
	a.bpf_fd = (uint32_t)link;
	if (bpf(BPF_OBJ_PIN, &a) < 0)
		die("pin");
	close(link);
}

/* ---- commands ---- */

static int make_netns(unsigned n)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	mkdir("/run/netns", 0755);
	for (unsigned i = 0; i < n; i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/run/netns/b%u", i);
		fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
		if (fd < 0 || unshare(CLONE_NEWNET) < 0 || mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
			die(path);
		close(fd);
	}
	return setns(home, CLONE_NEWNET);
}

static int open_pin(const char *path)
{
	union bpf_attr a = { .pathname = (uint64_t)(uintptr_t)path };
	int fd = bpf(BPF_OBJ_GET, &a);

	if (fd < 0)
		die(path);
	return fd;
}

static int open_device(unsigned i)
{
	char name[IFNAMSIZ];

	snprintf(name, sizeof(name), "d%u", i);
	return (int)if_nametoindex(name);
}

/* Devices from `first` up to `end`. */
static void create_some(int host, unsigned first, unsigned end, unsigned links, const int *progs)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int *index = calloc(end, sizeof(*index)), *ns = calloc(end, sizeof(*ns));
	char name[64];

	for (unsigned i = first; i < end; i++) {
		snprintf(name, sizeof(name), "/run/netns/b%u", i);
		ns[i] = open(name, O_RDONLY | O_CLOEXEC);
		create(i, ns[i]);
		flush_full(host);
	}
	flush(host);
	for (unsigned i = first; i < end; i++)
		index[i] = open_device(i);
	for (unsigned i = first; i < end; i++) {
		int s, inner;

		if (setns(ns[i], CLONE_NEWNET) < 0)
			die("setns");
		s = open_socket();
		inner = (int)if_nametoindex("eth0");
		peer_up(inner);
		addr(inner, host_ip(i) + 1);
		route(inner, host_ip(i), 32, 0);
		route(inner, 0, 0, host_ip(i));
		flush(s);
		close(s);
		close(ns[i]);
	}
	setns(home, CLONE_NEWNET);
	for (unsigned i = first; i < end; i++) {
		for (unsigned k = 0; k < links; k++)
			attach(i, index[i], progs[k], k);
	}
	for (unsigned i = first; i < end; i++) {
		addr(index[i], host_ip(i));
		flush_full(host);
	}
	flush(host);
	for (unsigned i = first; i < end; i++) {
		up(index[i], i);
		flush_full(host);
	}
	flush(host);
	for (unsigned i = first; i < end; i++) {
		route(index[i], host_ip(i) + 1, 32, 0);
		flush_full(host);
	}
	flush(host);
	free(index);
	free(ns);
	close(home);
}

static int create_all(unsigned n, unsigned links, char **pins)
{
	const struct rlimit many = { 65536, 65536 };
	int host = open_socket(), progs[8];
	uint64_t start;

	setrlimit(RLIMIT_NOFILE, &many);
	mkdir("/sys/fs/bpf/floor", 0700);
	for (unsigned k = 0; k < links; k++)
		progs[k] = open_pin(pins[k]);
	start = now_ns();
	create_some(host, 0, n, links, progs);
	printf("%llu\n", (unsigned long long)(now_ns() - start));
	return 0;
}

static int delete_all(void)
{
	struct ifinfomsg ifi = { 0 };
	int host = open_socket();
	uint64_t start = now_ns();
	struct nlmsghdr *h = message(RTM_DELLINK, 0, &ifi, sizeof(ifi));

	put_u32(h, IFLA_GROUP, GROUP);
	done(h);
	flush(host);
	printf("%llu\n", (unsigned long long)(now_ns() - start));
	return 0;
}

static void detach(int link)
{
	union bpf_attr a = { .link_detach.link_fd = (uint32_t)link };

	if (bpf(BPF_LINK_DETACH, &a) < 0)
		die("link detach");
}

static int reattach(unsigned n, const char *pin)
{
	int prog = open_pin(pin);
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		uint64_t start;
		int link;

		snprintf(path, sizeof(path), "/sys/fs/bpf/floor/d%u:0", i);
		link = open_pin(path);
		start = now_ns();
		detach(link);
		unlink(path);
		attach(i, open_device(i), prog, 0);
		printf("%llu\n", (unsigned long long)(now_ns() - start));
		close(link);
	}
	return 0;
}

static int recreate(unsigned n, const char *pin)
{
	int host = open_socket(), prog = open_pin(pin);
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		struct ifinfomsg ifi = { .ifi_index = open_device(i) };
		uint64_t start = now_ns();

		done(message(RTM_DELLINK, 0, &ifi, sizeof(ifi)));
		flush(host);
		snprintf(path, sizeof(path), "/sys/fs/bpf/floor/d%u:0", i);
		unlink(path);
		create_some(host, i, i + 1, 1, &prog);
		printf("%llu\n", (unsigned long long)(now_ns() - start));
	}
	return 0;
}

static uint64_t processor_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void dummy_address(int host, int ifindex, uint16_t type)
{
	struct ifaddrmsg m = { .ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = (uint32_t)ifindex };
	struct nlmsghdr *h = message(type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0, &m, sizeof(m));
	uint32_t address = __builtin_bswap32(0x0afe0001u);

	put(h, IFA_LOCAL, &address, sizeof(address));
	done(h);
	flush(host);
}

static int requests(unsigned n)
{
	int host = open_socket(), ifindex = (int)if_nametoindex("dummy-load");
	uint64_t start = processor_ns();

	for (unsigned i = 0; i < n / 2; i++) {
		dummy_address(host, ifindex, RTM_NEWADDR);
		dummy_address(host, ifindex, RTM_DELADDR);
	}
	printf("%llu\n", (unsigned long long)(processor_ns() - start));
	return 0;
}

static int attachments(unsigned n, const char *pin)
{
	int prog = open_pin(pin), ifindex = (int)if_nametoindex("netkit-load");
	uint64_t start = processor_ns();

	for (unsigned i = 0; i < n; i++) {
		union bpf_attr a = { 0 };
		int link;

		a.link_create.prog_fd = (uint32_t)prog;
		a.link_create.target_ifindex = (uint32_t)ifindex;
		a.link_create.attach_type = 54; /* BPF_NETKIT_PRIMARY */
		link = bpf(BPF_LINK_CREATE, &a);
		if (link < 0)
			die("link create");
		detach(link);
		close(link);
	}
	printf("%llu\n", (unsigned long long)(processor_ns() - start));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "netns") == 0)
		return make_netns((unsigned)atoi(argv[2]));
	if (argc >= 4 && strcmp(argv[1], "create") == 0 && argc == 4 + atoi(argv[3]))
		return create_all((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]), argv + 4);
	if (argc == 2 && strcmp(argv[1], "delete") == 0)
		return delete_all();
	if (argc == 4 && strcmp(argv[1], "reattach") == 0)
		return reattach((unsigned)atoi(argv[2]), argv[3]);
	if (argc == 4 && strcmp(argv[1], "recreate") == 0)
		return recreate((unsigned)atoi(argv[2]), argv[3]);
	if (argc == 3 && strcmp(argv[1], "requests") == 0)
		return requests((unsigned)atoi(argv[2]));
	if (argc == 4 && strcmp(argv[1], "attachments") == 0)
		return attachments((unsigned)atoi(argv[2]), argv[3]);
	fprintf(stderr, "usage: floor netns N | create N LINKS PIN… | delete | reattach N PIN | recreate N PIN | requests N | "
			"attachments N PIN\n");
	return 2;
}
