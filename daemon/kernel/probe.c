// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's features. What can be tried is tried: a child process goes into a network namespace of its own, where no name is taken
 * and from which nothing remains, and looks whether the kernel kept what it was given (it ignores attributes that it doesn't
 * know). Called once, by the daemon at start or by `netkitd --check`, before there is a second thread.
 */
#include "daemon/kernel/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netlink/msg.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/libbpf_log.h"
#include "daemon/kernel/message.h"
#include "daemon/kernel/rtnl.h"

const struct nk_feature_info nk_features[NK_FEATURES] = {
	[NK_FEATURE_NETKIT] = { "netkit", "netkit devices", "CONFIG_NETKIT", true },
	[NK_FEATURE_NETKIT_SCRUB] = { "netkit.scrub", "scrub setting of netkit devices", NULL, false },
	[NK_FEATURE_NETKIT_HEADROOM] = { "netkit.headroom", "headroom and tailroom of netkit devices", NULL, false },
	[NK_FEATURE_NETKIT_SINGLE] = { "netkit.single", "netkit devices without a peer", NULL, false },
	[NK_FEATURE_NETKIT_LINK] = { "netkit.link", "BPF links at both hooks of netkit devices", "CONFIG_BPF_SYSCALL", true },
	[NK_FEATURE_TCX] = { "tcx", "tcx hooks", "CONFIG_NET_XGRESS", false },
	[NK_FEATURE_BIG_TCP_IPV4] = { "big_tcp.ipv4", "GSO and GRO maximum for IPv4", NULL, false },
	[NK_FEATURE_ADDR_PROTO] = { "addr.proto", "protocol mark on addresses", NULL, true },
	[NK_FEATURE_BPF_JIT] = { "bpf.jit", "BPF JIT compiler", "CONFIG_BPF_JIT", false },
	[NK_FEATURE_BTF] = { "bpf.btf", "BTF of the kernel", "CONFIG_DEBUG_INFO_BTF", false },
	[NK_FEATURE_BPFFS] = { "bpf.fs", "BPF file system for pins", "CONFIG_BPF_SYSCALL", true },
	[NK_FEATURE_TRACING] = { "bpf.tracing", "tracing of netkit's functions", "CONFIG_BPF_EVENTS, CONFIG_FUNCTION_TRACER", false },
	[NK_FEATURE_CAP_NET_ADMIN] = { "cap.net_admin", "capability CAP_NET_ADMIN", NULL, true },
	[NK_FEATURE_CAP_BPF] = { "cap.bpf", "capability CAP_BPF", NULL, true },
	[NK_FEATURE_CAP_PERFMON] = { "cap.perfmon", "capability CAP_PERFMON", NULL, false },
	[NK_FEATURE_CAP_SYS_ADMIN] = { "cap.sys_admin", "capability CAP_SYS_ADMIN", NULL, true },
};

void nk_probe_tell(struct nk_probe *p, enum nk_feature f, enum nk_found state, const char *format, ...)
{
	va_list args;

	p->feature[f].found = state;
	va_start(args, format);
	vsnprintf(p->feature[f].how, sizeof(p->feature[f].how), format, args);
	va_end(args);
}

/* ---- tried in a namespace of its own ---- */

/* What the kernel said to one request, and the link that it told of. */
struct answer {
	int error;
	bool has_link;
	struct nk_link_info link;
};

static void on_ack(size_t index, int error, const char *extack, void *arg)
{
	struct answer *a = arg;

	(void)index;
	(void)extack;
	a->error = error;
}

static void on_link(size_t index, const struct nlmsghdr *h, void *arg)
{
	struct answer *a = arg;
	struct nk_link_info info;

	(void)index;
	if (!nk_parse_link(h, &info) && info.netkit && info.primary) {
		a->link = info;
		a->has_link = true;
	}
}

/* Send one message, which is freed, and fill a. */
static void ask(struct nk_rtnl *s, struct nl_msg *msg, struct answer *a)
{
	struct nk_batch *b = nk_batch_new();
	int r = msg && b ? nk_batch_add(b, msg, 0) : -ENOMEM;

	*a = (struct answer){ .error = r };
	if (!r)
		r = nk_rtnl_flush(s, b, on_ack, on_link, a);
	if (r < 0)
		a->error = r;
	nlmsg_free(msg);
	nk_batch_free(b);
}

/* A device to try with: a pair named by its number. */
static struct nk_device *trial(unsigned number)
{
	struct nk_device *d = nk_device_new();

	if (!d)
		return NULL;
	snprintf(d->end[NK_PRIMARY].name, NK_IFNAMSIZ, "try%u", number);
	snprintf(d->end[NK_PEER].name, NK_IFNAMSIZ, "try%up", number);
	return d;
}

/* Create it and look at what came out. Frees d. */
static void create(struct nk_rtnl *s, struct nk_device *d, struct answer *a)
{
	*a = (struct answer){ .error = -ENOMEM };
	if (d)
		ask(s, nk_msg_create(d, 0, -1), a);
	nk_device_unref(d);
	if (!a->error && !a->has_link)
		a->error = -EPROTO;
}

static void tell_kept(struct nk_probe *p, enum nk_feature f, const struct answer *a, bool kept)
{
	if (!a->error && kept)
		nk_probe_tell(p, f, NK_PRESENT, "tried: the kernel keeps it");
	else if (!a->error)
		nk_probe_tell(p, f, NK_MISSING, "tried: the kernel ignores it");
	else
		nk_probe_tell(p, f, NK_MISSING, "tried: %s", strerror(-a->error));
}

/* Returns the ifindex of a plain pair, 0 if there is no netkit. */
static uint32_t try_netkit(struct nk_probe *p, struct nk_rtnl *s)
{
	struct nk_device *d;
	struct answer plain, a;

	create(s, trial(0), &plain);
	if (plain.error == -EPERM) {
		nk_probe_tell(p, NK_FEATURE_NETKIT, NK_UNKNOWN, "not allowed to try (CAP_NET_ADMIN)");
		return 0;
	}
	if (plain.error) {
		nk_probe_tell(p, NK_FEATURE_NETKIT, NK_MISSING, "tried to create a pair: %s", strerror(-plain.error));
		for (int f = NK_FEATURE_NETKIT_SCRUB; f <= NK_FEATURE_NETKIT_LINK; f++)
			nk_probe_tell(p, f, NK_MISSING, "there are no netkit devices");
		return 0;
	}
	nk_probe_tell(p, NK_FEATURE_NETKIT, NK_PRESENT, "tried: created a pair");

	d = trial(1);
	if (d)
		d->end[NK_PRIMARY].scrub = d->end[NK_PEER].scrub = NK_SCRUB_NONE;
	create(s, d, &a);
	tell_kept(p, NK_FEATURE_NETKIT_SCRUB, &a, a.link.end.scrub == NK_SCRUB_NONE);

	d = trial(2);
	if (d) {
		d->has_headroom = d->has_tailroom = true;
		d->headroom = d->tailroom = 64;
	}
	create(s, d, &a);
	tell_kept(p, NK_FEATURE_NETKIT_HEADROOM, &a, a.link.headroom == 64 && a.link.tailroom == 64);

	d = trial(3);
	if (d)
		d->single = true;
	create(s, d, &a);
	tell_kept(p, NK_FEATURE_NETKIT_SINGLE, &a, a.link.single);
	return plain.link.end.ifindex;
}

static void try_big_tcp(struct nk_probe *p, struct nk_rtnl *s, uint32_t ifindex)
{
	struct nk_device *d = trial(0);
	struct answer a = { .error = -ENOMEM };

	if (d) {
		d->end[NK_PRIMARY].set = NK_SET_GSO_IPV4_MAX;
		d->end[NK_PRIMARY].gso_ipv4_max = 50000;
		ask(s, nk_msg_set(d, NK_PRIMARY, ifindex, NK_SET_GSO_IPV4_MAX, 0, false), &a);
	}
	nk_device_unref(d);
	if (!a.error)
		ask(s, nk_msg_get_link(ifindex), &a);
	tell_kept(p, NK_FEATURE_BIG_TCP_IPV4, &a, a.link.end.gso_ipv4_max == 50000);
}

static void on_addr(size_t index, const struct nlmsghdr *h, void *arg)
{
	bool *kept = arg;
	struct nk_obs_addr addr;
	uint32_t ifindex;

	(void)index;
	*kept |= !nk_parse_addr(h, &ifindex, &addr) && addr.ours;
}

static void try_addr_proto(struct nk_probe *p, struct nk_rtnl *s, uint32_t ifindex)
{
	struct nk_prefix prefix;
	struct nl_msg *dump;
	bool kept = false;
	struct answer a;

	nk_prefix_parse("192.0.2.1/32", &prefix);
	ask(s, nk_msg_addr(true, ifindex, &prefix), &a);
	if (!a.error) {
		dump = nk_msg_dump_addrs(ifindex);
		a.error = dump ? nk_rtnl_dump(s, dump, on_addr, &kept) : -ENOMEM;
		nlmsg_free(dump);
	}
	tell_kept(p, NK_FEATURE_ADDR_PROTO, &a, kept);
}

/* A program that returns `verdict`, for a hook or a function to trace. A descriptor or -errno. */
static int tiny_program(enum bpf_prog_type type, enum bpf_attach_type attach, int btf_id, int verdict)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = verdict },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = attach, .attach_btf_id = btf_id);

	return bpf_prog_load(type, "netkitd_try", "GPL", code, sizeof(code) / sizeof(code[0]), &options);
}

static void tell_tried(struct nk_probe *p, enum nk_feature f, int error, const char *what)
{
	if (!error)
		nk_probe_tell(p, f, NK_PRESENT, "tried: %s", what);
	else if (error == -EPERM)
		nk_probe_tell(p, f, NK_UNKNOWN, "not allowed to try (CAP_BPF, CAP_NET_ADMIN)");
	else
		nk_probe_tell(p, f, NK_MISSING, "tried: %s", strerror(-error));
}

static int try_link(int program, uint32_t ifindex, enum bpf_attach_type type)
{
	_close_ int link = bpf_link_create(program, ifindex, type, NULL);

	return link < 0 ? link : 0;
}

static void try_links(struct nk_probe *p, uint32_t ifindex)
{
	_close_ int program = tiny_program(BPF_PROG_TYPE_SCHED_CLS, 0, 0, -1);
	int r = program < 0 ? program : 0;

	tell_tried(p, NK_FEATURE_TCX, r ?: try_link(program, 1, BPF_TCX_INGRESS), "attached a program to lo");
	if (!ifindex)
		return;
	r = r ?: try_link(program, ifindex, BPF_NETKIT_PRIMARY);
	tell_tried(p, NK_FEATURE_NETKIT_LINK, r ?: try_link(program, ifindex, BPF_NETKIT_PEER), "attached a program to both");
}

/* The child. What it leaves undone is told as unknown. */
static void try_all(struct nk_probe *p)
{
	struct nk_rtnl *s = NULL;
	uint32_t ifindex;
	int r = unshare(CLONE_NEWNET) < 0 ? -errno : nk_rtnl_open(&s);

	if (r < 0) {
		for (int f = NK_FEATURE_NETKIT; f <= NK_FEATURE_ADDR_PROTO; f++)
			nk_probe_tell(p, f, NK_UNKNOWN, "no network namespace to try it in: %s", strerror(-r));
		return;
	}
	ifindex = try_netkit(p, s);
	if (ifindex) {
		try_big_tcp(p, s, ifindex);
		try_addr_proto(p, s, ifindex);
	}
	try_links(p, ifindex);
	nk_rtnl_close(s);
}

static int try_in_child(struct nk_probe *p)
{
	struct nk_probe *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r = 0;
	pid_t pid;

	if (shared == MAP_FAILED)
		return -errno;
	*shared = *p;
	pid = fork();
	if (pid == 0) {
		try_all(shared);
		_exit(0);
	}
	if (pid < 0 || TEMP_FAILURE_RETRY(waitpid(pid, NULL, 0)) < 0)
		r = -errno;
	*p = *shared;
	munmap(shared, sizeof(*shared));
	return r;
}

/* ---- read ---- */

static void look_at_jit(struct nk_probe *p)
{
	_close_ int fd = open("/proc/sys/net/core/bpf_jit_enable", O_RDONLY | O_CLOEXEC);
	char value = '0';

	if (fd < 0 && errno == ENOENT)
		nk_probe_tell(p, NK_FEATURE_BPF_JIT, NK_MISSING, "the kernel has no setting net.core.bpf_jit_enable");
	else if (fd < 0 || read(fd, &value, 1) != 1)
		nk_probe_tell(p, NK_FEATURE_BPF_JIT, NK_UNKNOWN, "net.core.bpf_jit_enable: %s", strerror(errno));
	else if (value == '0')
		nk_probe_tell(p, NK_FEATURE_BPF_JIT, NK_MISSING, "switched off: net.core.bpf_jit_enable is 0");
	else
		nk_probe_tell(p, NK_FEATURE_BPF_JIT, NK_PRESENT, "net.core.bpf_jit_enable is %c", value);
}

static void look_at_btf(struct nk_probe *p)
{
	if (!access(NK_BTF_PATH, R_OK))
		nk_probe_tell(p, NK_FEATURE_BTF, NK_PRESENT, NK_BTF_PATH " can be read");
	else
		nk_probe_tell(p, NK_FEATURE_BTF, errno == ENOENT ? NK_MISSING : NK_UNKNOWN, NK_BTF_PATH ": %s", strerror(errno));
}

/* Is the directory, or the first one above it that there is, on a bpffs? Otherwise: could one be mounted? */
static void look_at_bpffs(struct nk_probe *p, const char *dir)
{
	_free_ char *path = strdup(dir);
	struct statfs fs;
	char *slash;
	FILE *f;
	char line[128];
	bool known = false;

	while (path && statfs(path, &fs) < 0 && errno == ENOENT && (slash = strrchr(path, '/')) && slash != path)
		*slash = '\0';
	if (path && !statfs(path, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC) {
		nk_probe_tell(p, NK_FEATURE_BPFFS, NK_PRESENT, "mounted at or above %s", path);
		return;
	}
	f = fopen("/proc/filesystems", "re");
	while (f && fgets(line, sizeof(line), f))
		known |= !strcmp(line, "nodev\tbpf\n");
	if (!f)
		nk_probe_tell(p, NK_FEATURE_BPFFS, NK_UNKNOWN, "/proc/filesystems: %s", strerror(errno));
	else if (known)
		nk_probe_tell(p, NK_FEATURE_BPFFS, NK_PRESENT, "not mounted at %s, but the kernel has it", dir);
	else
		nk_probe_tell(p, NK_FEATURE_BPFFS, NK_MISSING, "the kernel doesn't know it");
	if (f)
		fclose(f);
}

/* Attaching to one function for an instant tells all: BTF, trampolines, and that the function is there under its name. */
void nk_probe_tracing(struct nk_probe *p)
{
	_close_ int program = -1, link = -1;
	int id;

	nk_libbpf_log_begin();
	id = libbpf_find_vmlinux_btf_id("netkit_link_release", BPF_TRACE_FENTRY);
	free(nk_libbpf_log_end());
	if (id < 0) {
		nk_probe_tell(p, NK_FEATURE_TRACING, p->feature[NK_FEATURE_BTF].found == NK_PRESENT ? NK_MISSING : NK_UNKNOWN,
		      "netkit_link_release is not in the kernel's BTF");
		return;
	}
	program = tiny_program(BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, id, 0);
	if (program >= 0)
		link = bpf_raw_tracepoint_open(NULL, program);
	if (link >= 0)
		nk_probe_tell(p, NK_FEATURE_TRACING, NK_PRESENT, "tried: traced netkit_link_release");
	else if ((program < 0 ? program : link) == -EPERM)
		nk_probe_tell(p, NK_FEATURE_TRACING, NK_UNKNOWN, "not allowed to try (CAP_BPF, CAP_PERFMON)");
	else
		nk_probe_tell(p, NK_FEATURE_TRACING, NK_MISSING, "tried to trace netkit_link_release: %s",
		      strerror(-(program < 0 ? program : link)));
}

static void look_at_capabilities(struct nk_probe *p)
{
	static const struct {
		enum nk_feature feature;
		unsigned cap;
	} caps[] = {
		{ NK_FEATURE_CAP_NET_ADMIN, CAP_NET_ADMIN },
		{ NK_FEATURE_CAP_BPF, CAP_BPF },
		{ NK_FEATURE_CAP_PERFMON, CAP_PERFMON },
		{ NK_FEATURE_CAP_SYS_ADMIN, CAP_SYS_ADMIN },
	};
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long effective = 0;
	char line[256];
	bool known = false;

	while (f && fgets(line, sizeof(line), f))
		known |= sscanf(line, "CapEff: %llx", &effective) == 1;
	if (f)
		fclose(f);
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		bool has = effective >> caps[i].cap & 1;

		nk_probe_tell(p, caps[i].feature, !known ? NK_UNKNOWN : has ? NK_PRESENT : NK_MISSING,
		      known ? "effective set of this process" : "/proc/self/status can't be read");
	}
	/* The other two that netkitd uses; without them less is seen, but nothing is refused. */
	if (known && (!(effective >> CAP_NET_BROADCAST & 1) || !(effective >> CAP_SYS_PTRACE & 1)))
		nk_probe_tell(p, NK_FEATURE_CAP_NET_ADMIN, p->feature[NK_FEATURE_CAP_NET_ADMIN].found,
		     "effective set of this process; it lacks%s%s",
		     effective >> CAP_NET_BROADCAST & 1 ? "" : " CAP_NET_BROADCAST (others' events)",
		     effective >> CAP_SYS_PTRACE & 1 ? "" : " CAP_SYS_PTRACE (netns by pid)");
}

int nk_probe_run(const char *bpffs, struct nk_probe *ret)
{
	struct nk_probe p = {};
	int r;

	for (int f = 0; f < NK_FEATURES; f++)
		nk_probe_tell(&p, f, NK_UNKNOWN, "not tried");
	look_at_capabilities(&p);
	look_at_jit(&p);
	look_at_btf(&p);
	look_at_bpffs(&p, bpffs);
	r = try_in_child(&p);
	if (r < 0)
		return r;
	*ret = p;
	return 0;
}

int nk_probe_print(const struct nk_probe *p, FILE *f)
{
	static const char *const words[] = { [NK_UNKNOWN] = "unknown", [NK_MISSING] = "missing", [NK_PRESENT] = "found" };
	int status = 0;

	for (int i = 0; i < NK_FEATURES; i++) {
		const struct nk_feature_info *info = &nk_features[i];
		enum nk_found state = p->feature[i].found;

		fprintf(f, "%-8s %-16s %s (%s)", words[state], info->name, info->text, p->feature[i].how);
		if (info->config)
			fprintf(f, " [%s]", info->config);
		if (state != NK_PRESENT && info->needed) {
			fprintf(f, "; netkitd can't work without it");
			status = 1;
		}
		fputc('\n', f);
	}
	return status;
}
