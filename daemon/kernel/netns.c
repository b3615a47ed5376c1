// SPDX-License-Identifier: GPL-2.0-only
/*
 * Network namespaces by reference, for the manager (accepting a request), the executor (working inside one) and the store's
 * references after a restart. No namespace is kept alive here, and none is changed.
 */
#include "daemon/kernel/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/net_namespace.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/netns_scan.h"
#include "daemon/kernel/rtnl.h"

/* Where this thread was before it first entered another namespace; kept open for the life of the thread. */
static _Thread_local int home = -1;

/* Is this the descriptor of a network namespace? 0 or -EINVAL. Takes O_PATH descriptors for the first half of the answer. */
static int check_nsfs(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	return fs.f_type == NSFS_MAGIC ? 0 : -EINVAL;
}

static int check_netns(int fd)
{
	if (check_nsfs(fd) < 0 || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return -EINVAL;
	return 0;
}

int nk_netns_open_at(int dir, const char *path, int *ret_fd)
{
	_close_ int place = openat(dir, path, O_PATH | O_CLOEXEC), fd = -1;
	char self[32];

	if (place < 0)
		return -errno;
	/* Anything may stand at a path: a device or a pipe is not opened before it is known to be a namespace. */
	if (check_nsfs(place) < 0)
		return -EINVAL;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", place);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (check_netns(fd) < 0)
		return -EINVAL;
	*ret_fd = nk_take_fd(&fd);
	return 0;
}

static int read_line(int dir, const char *path, char *buf, size_t size)
{
	_close_ int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}

int nk_boot_id(char ret[37])
{
	char buf[64];
	int r = read_line(AT_FDCWD, "/proc/sys/kernel/random/boot_id", buf, sizeof(buf));

	if (r < 0)
		return r;
	if (strlen(buf) != 36)
		return -EBADMSG;
	memcpy(ret, buf, 37);
	return 0;
}

/* Start time of a process, in clock ticks since boot: field 22 of its stat; the name before it may contain anything. */
static int read_start(int proc, uint64_t *ret)
{
	char buf[1024];
	const char *at;
	unsigned long long start;
	int r = read_line(proc, "stat", buf, sizeof(buf));

	if (r < 0)
		return r;
	at = strrchr(buf, ')');
	if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &start) != 1)
		return -EBADMSG;
	*ret = start;
	return 0;
}

int nk_netns_open_pid(uint64_t pid, int *ret_fd, uint64_t *ret_start)
{
	char path[32];
	_close_ int proc = -1, fd = -1;
	uint64_t start;
	int r;

	snprintf(path, sizeof(path), "/proc/%llu", (unsigned long long)pid);
	/* All is asked through one descriptor of the process's directory, which never becomes that of another process. */
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	r = nk_netns_open_at(proc, "ns/net", &fd);
	if (!r)
		r = read_start(proc, &start);
	if (r < 0) /* a process that died, or is about to, has no namespace */
		return r == -ENOENT ? -ESRCH : r;
	*ret_fd = nk_take_fd(&fd);
	*ret_start = start;
	return 0;
}

static int open_host(int *ret_fd)
{
	int fd;

	if (home < 0)
		return nk_netns_open_at(AT_FDCWD, "/proc/thread-self/ns/net", ret_fd);
	fd = fcntl(home, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* The sentence of a path that didn't open; `what` is how the document calls it. */
static int refuse_path(struct nk_error *err, int r, enum nk_netns_kind kind, const char *path)
{
	const char *under = kind == NK_NETNS_NAME ? " under " NK_NETNS_DIR : "";

	if (r == -ENOENT || r == -ENOTDIR)
		return nk_refuse(err, NK_E_NOT_FOUND, -ENOENT, "no network namespace \"%s\"%s", path, under);
	if (r == -EINVAL)
		return nk_refuse(err, NK_E_INVALID_PARAMS, r, "\"%s\"%s is not a network namespace", path, under);
	return nk_fail(err, NK_E_KERNEL, r, "network namespace \"%s\"%s can't be opened", path, under);
}

static int open_path(const struct nk_netns *ns, int *ret_fd, struct nk_error *err)
{
	_close_ int dir = AT_FDCWD;
	const char *path = ns->path ? ns->path : "";
	int r = 0;

	if (ns->kind == NK_NETNS_NAME) {
		if (!path[0] || strchr(path, '/') || !strcmp(path, ".") || !strcmp(path, ".."))
			return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "\"%s\" can't be the name of a network namespace", path);
		dir = open(NK_NETNS_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return refuse_path(err, -errno, ns->kind, path);
	}
	r = nk_netns_open_at(dir, path, ret_fd);
	return r < 0 ? refuse_path(err, r, ns->kind, path) : 0;
}

/* Did the machine start anew since the reference was accepted? Then its numbers mean nothing. */
static bool of_another_boot(const struct nk_netns *ns)
{
	char boot_id[37];

	return ns->boot_id[0] && (nk_boot_id(boot_id) < 0 || strcmp(boot_id, ns->boot_id) != 0);
}

bool nk_netns_is_overtaken(const struct nk_netns *ns)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%" PRIu64, ns->number);
	return ns->kind == NK_NETNS_PID && of_another_boot(ns) && access(path, F_OK) == 0;
}

static int open_pid(const struct nk_netns *ns, int *ret_fd, struct nk_error *err)
{
	unsigned long long pid = ns->number;
	_close_ int fd = -1;
	uint64_t start;
	int r;

	if (of_another_boot(ns))
		return nk_refuse(err, NK_E_NOT_FOUND, -ESRCH, "process %llu ran before the machine was restarted", pid);
	r = nk_netns_open_pid(pid, &fd, &start);
	if (r == -ESRCH)
		return nk_refuse(err, NK_E_NOT_FOUND, r, "no process %llu", pid);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "the network namespace of process %llu can't be opened", pid);
	if (ns->boot_id[0] && start != ns->start)
		return nk_refuse(err, NK_E_NOT_FOUND, -ESRCH, "process %llu has ended; another one has its number now", pid);
	*ret_fd = nk_take_fd(&fd);
	return 0;
}

/* The cookie of a namespace, which only a socket inside tells. Enters and leaves. */
static int read_cookie(int fd, uint64_t *ret)
{
	_close_ int s = -1;
	socklen_t size = sizeof(*ret);
	uint64_t cookie;
	int r;

	r = nk_netns_enter(fd);
	if (r < 0)
		return r;
	s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	r = s < 0 || getsockopt(s, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0 ? -errno : 0;
	/* A thread that can't come home would do everything else in the wrong place. */
	if (nk_netns_leave() < 0)
		abort();
	if (!r)
		*ret = cookie;
	return r;
}

struct id_search {
	const struct nk_netns *ns;
	int fd; /* owned, what was found */
};

static int match_id(const struct nk_netns_place *place, void *arg)
{
	struct id_search *search = arg;
	_close_ int fd = -1;
	uint64_t cookie;

	if (place->id.ino != search->ns->start || nk_netns_place_open(place, &fd) < 0)
		return 0;
	if (read_cookie(fd, &cookie) < 0 || cookie != search->ns->number)
		return 0;
	search->fd = nk_take_fd(&fd);
	return 1;
}

static int open_id(const struct nk_netns *ns, int *ret_fd, struct nk_error *err)
{
	struct id_search search = { .ns = ns, .fd = -1 };
	int r;

	if (of_another_boot(ns))
		return nk_refuse(err, NK_E_NOT_FOUND, -ENOENT, "the passed network namespace was one before the machine was restarted");
	r = nk_netns_scan(match_id, &search);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "the passed network namespace can't be searched for");
	if (!r)
		return nk_refuse(err, NK_E_NOT_FOUND, -ENOENT, "the passed network namespace is gone: no name under " NK_NETNS_DIR
				" and no process has it");
	*ret_fd = search.fd;
	return 0;
}

int nk_netns_open(const struct nk_netns *ns, int *ret_fd, struct nk_error *err)
{
	int r;

	switch (ns->kind) {
	case NK_NETNS_HOST:
		r = open_host(ret_fd);
		return r < 0 ? nk_fail(err, NK_E_KERNEL, r, "the host's network namespace can't be opened") : 0;
	case NK_NETNS_NAME:
	case NK_NETNS_PATH:
		return open_path(ns, ret_fd, err);
	case NK_NETNS_PID:
		return open_pid(ns, ret_fd, err);
	case NK_NETNS_ID:
		return open_id(ns, ret_fd, err);
	case NK_NETNS_FD:
		break;
	}
	return nk_refuse(err, NK_E_INTERNAL, -EINVAL, "a passed descriptor was not accepted");
}

struct name_search {
	struct nk_netns_identity id;
	char *name; /* owned, what was found */
};

static int match_name(const struct nk_netns_place *place, void *arg)
{
	struct name_search *search = arg;

	if (!place->name) /* names come first, then processes */
		return -ENOENT;
	if (place->id.dev != search->id.dev || place->id.ino != search->id.ino)
		return 0;
	search->name = strdup(place->name);
	return search->name ? 1 : -ENOMEM;
}

/* What a passed descriptor becomes. It is the caller's to close. */
static int accept_fd(struct nk_netns *ns, int fd, struct nk_error *err)
{
	struct nk_netns accepted = { 0 };
	struct name_search search = { 0 };
	int r;

	if (check_netns(fd) < 0)
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "descriptor %llu of the request is not a network namespace",
				(unsigned long long)ns->number);
	r = nk_netns_identify(fd, &search.id);
	if (!r)
		r = nk_netns_scan(match_name, &search);
	if (r == 1) {
		accepted.kind = NK_NETNS_NAME;
		accepted.path = search.name;
		r = 0;
	} else if (!r || r == -ENOENT) {
		accepted.kind = NK_NETNS_ID;
		accepted.start = search.id.ino;
		r = read_cookie(fd, &accepted.number);
		if (!r)
			r = nk_boot_id(accepted.boot_id);
	}
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "the passed network namespace can't be identified");
	nk_netns_clear(ns);
	*ns = accepted;
	return 0;
}

static int accept_pid(struct nk_netns *ns, struct nk_error *err)
{
	struct nk_netns accepted = { .kind = NK_NETNS_PID, .number = ns->number };
	_close_ int fd = -1;
	int r;

	r = open_pid(&accepted, &fd, err);
	if (!r)
		r = close(nk_take_fd(&fd));
	if (!r)
		r = nk_netns_open_pid(ns->number, &fd, &accepted.start);
	if (!r)
		r = nk_boot_id(accepted.boot_id);
	if (!r)
		*ns = accepted;
	return r;
}

static int accept_one(struct nk_netns *ns, const int *fds, size_t n_fds, struct nk_error *err)
{
	_close_ int fd = -1;

	switch (ns->kind) {
	case NK_NETNS_HOST:
		return 0;
	case NK_NETNS_NAME:
	case NK_NETNS_PATH:
	case NK_NETNS_ID:
		return nk_netns_open(ns, &fd, err);
	case NK_NETNS_PID:
		return accept_pid(ns, err);
	case NK_NETNS_FD:
		break;
	}
	if (ns->number >= n_fds)
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "descriptor %llu is meant, but %zu came with the request",
				(unsigned long long)ns->number, n_fds);
	return accept_fd(ns, fds[ns->number], err);
}

int nk_netns_accept(struct nk_netns *ns, const int *fds, size_t n_fds, const char *pointer, struct nk_error *err)
{
	struct nk_error why = { 0 };
	int r = accept_one(ns, fds, n_fds, &why);

	return r < 0 ? nk_fail_at(err, pointer, &why, r) : r;
}

int nk_netns_identify(int fd, struct nk_netns_identity *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct nk_netns_identity){ .dev = st.st_dev, .ino = st.st_ino };
	return 0;
}

static struct nl_msg *nsid_msg(int type, int fd, bool assign)
{
	struct rtgenmsg gen = { .rtgen_family = AF_UNSPEC };
	struct nl_msg *msg = nlmsg_alloc_size(256);

	if (msg && nlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, type, 0, NLM_F_REQUEST) &&
	    !nlmsg_append(msg, &gen, sizeof(gen), NLMSG_ALIGNTO) && !nla_put_u32(msg, NETNSA_FD, (uint32_t)fd) &&
	    (!assign || !nla_put_s32(msg, NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED)))
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static int add_nsid_msg(struct nk_batch *b, int type, int fd, bool assign, size_t index)
{
	struct nl_msg *msg = nsid_msg(type, fd, assign);
	int r = msg ? nk_batch_add(b, msg, index) : -ENOMEM;

	nlmsg_free(msg);
	return r;
}

int nk_netns_add_get_nsid(struct nk_batch *b, int fd, size_t index)
{
	return add_nsid_msg(b, RTM_GETNSID, fd, false, index);
}

int nk_netns_read_nsid(const struct nlmsghdr *h, int32_t *ret)
{
	const struct nlattr *a;

	if ((h->nlmsg_type != RTM_NEWNSID && h->nlmsg_type != RTM_DELNSID) || !nlmsg_valid_hdr(h, sizeof(struct rtgenmsg)))
		return -ENOMSG;
	a = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct rtgenmsg), NETNSA_NSID);
	if (!a || nla_len(a) < (int)sizeof(int32_t))
		return -EBADMSG;
	*ret = nla_get_s32(a);
	if (*ret < 0) /* NETNSA_NSID_NOT_ASSIGNED, which happens to be our number of the host's */
		*ret = NK_NSID_NONE;
	return 0;
}

/* Answers of nk_netns_nsid's two requests: index 0 assigns, index 1 asks. */
struct nsid_answer {
	int32_t nsid;
	int error[2];
};

static void take_nsid_ack(size_t index, int error, const char *extack, void *arg)
{
	((struct nsid_answer *)arg)->error[index] = error;
}

static void take_nsid_answer(size_t index, const struct nlmsghdr *h, void *arg)
{
	if (index == 1)
		nk_netns_read_nsid(h, &((struct nsid_answer *)arg)->nsid);
}

static void cleanup_batch(struct nk_batch **b)
{
	nk_batch_free(*b);
}

int nk_netns_nsid(struct nk_rtnl *s, int fd, int32_t *ret)
{
	__attribute__((cleanup(cleanup_batch))) struct nk_batch *b = NULL;
	struct nsid_answer answer = { .nsid = NK_NSID_NONE };
	struct nk_netns_identity id, own;
	int r;

	r = nk_netns_identify(fd, &id);
	if (r < 0)
		return r;
	nk_rtnl_netns(s, &own.dev, &own.ino);
	if (id.dev == own.dev && id.ino == own.ino) {
		*ret = NK_NSID_HOST;
		return 0;
	}
	b = nk_batch_new();
	if (!b)
		return -ENOMEM;
	r = add_nsid_msg(b, RTM_NEWNSID, fd, true, 0);
	if (!r)
		r = nk_netns_add_get_nsid(b, fd, 1);
	if (!r)
		r = nk_rtnl_flush(s, b, take_nsid_ack, take_nsid_answer, &answer);
	if (r < 0)
		return r;
	if (answer.error[0] && answer.error[0] != -EEXIST)
		return answer.error[0];
	if (answer.error[1])
		return answer.error[1];
	if (answer.nsid < 0)
		return -ENODATA;
	*ret = answer.nsid;
	return 0;
}

int nk_netns_enter(int fd)
{
	if (home < 0) {
		int r = nk_netns_open_at(AT_FDCWD, "/proc/thread-self/ns/net", &home);

		if (r < 0)
			return r;
	}
	return setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

int nk_netns_leave(void)
{
	if (home < 0)
		return 0;
	return setns(home, CLONE_NEWNET) < 0 ? -errno : 0;
}
