// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds or makes the bpffs directory of our pins, checks that it is the one that outlives us, and brings pins from one to another. Pins
 * are all that holds the programs while netkitd is stopped, so a wrong mount here is a lost datapath later.
 */
#include "daemon/kernel/bpffs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/kernel/bpf_internal.h"
#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/mounts.h"

#define BPFFS "/sys/fs/bpf"

static bool is_bpffs(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* Mounts that are counted. */
struct count {
	dev_t dev;      /* those with this device number … */
	const char *at; /* … and bpffs that lie at this mount point; NULL: not asked */
	unsigned n_dev, n_at;
};

static int count_mount(const struct nk_mount *m, void *arg)
{
	struct count *c = arg;

	c->n_dev += m->dev == c->dev;
	c->n_at += c->at && !strcmp(m->point, c->at) && !strcmp(m->type, "bpf");
	return 0;
}

/* In a thread of its own, which ends there. Where somebody was faster there is nothing to do. */
static void *mount_there(void *arg)
{
	_close_ int ns = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
	struct statfs fs;
	int *ret = arg;

	if (ns < 0 || unshare(CLONE_FS) < 0 || setns(ns, CLONE_NEWNS) < 0)
		*ret = -errno;
	else if (!statfs(BPFFS, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC)
		*ret = 0;
	else
		*ret = mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=0700") < 0 ? -errno : 0;
	return NULL;
}

/*
 * Mount a bpffs where the host has none, as systemd does at boot. It has to be done in process 1's mount namespace: in a namespace of our
 * own, which systemd's sandbox is, it would end with us. From there it comes back to ours. Only who shares its root and working directory
 * with nobody can go there (setns(2)), and that a thread can be. A child would have all our memory copied on write. 0 or -errno.
 */
static int mount_for_the_host(void)
{
	pthread_t thread;
	int r, error = pthread_create(&thread, NULL, mount_there, &r);

	if (error)
		return -error;
	pthread_join(thread, NULL);
	return r;
}

/* Open the directory above ours; mount a bpffs at the usual place if that is where it is to be and there is none. */
static int open_parent(const char *parent, int *ret, struct nk_error *err)
{
	_close_ int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot open %s, where the pins are to be", parent);
	if (!is_bpffs(fd)) {
		if (strcmp(parent, BPFFS))
			return nk_refuse(err, NK_E_KERNEL, -EINVAL, "%s is not on a bpffs, so nothing can be pinned there", parent);
		r = mount_for_the_host();
		if (r < 0)
			return nk_fail(err, NK_E_KERNEL, r,
				       "no bpffs is mounted at " BPFFS ", and netkitd cannot mount it for the host (mount -t bpf bpf " BPFFS ")");
		close(nk_take_fd(&fd));
		fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || !is_bpffs(fd))
			return nk_refuse(err, NK_E_KERNEL, -EINVAL,
					 "a bpffs was mounted at " BPFFS " for the host, but netkitd doesn't see it: its mounts don't follow the host's");
	}
	*ret = nk_take_fd(&fd);
	return 0;
}

/* Is the mount that fd is on the one that the host has, and the only one at its place? */
static int check_mount(int fd, const char *parent, bool empty, struct nk_error *err)
{
	struct count c = {};
	struct stat st;

	if (fstat(fd, &st) < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot look at %s", parent);
	c.dev = st.st_dev;
	/* Without a look at process 1's mounts we can't tell, and it is nearly always right. */
	if (!nk_mounts_each("/proc/1/mountinfo", count_mount, &c) && !c.n_dev)
		return nk_refuse(err, NK_E_KERNEL, -EXDEV,
			       "the bpffs at %s is mounted for netkitd only and would go with it, and so would all pinned links: "
			       "mount it for the host", parent);
	c = (struct count){ .dev = st.st_dev, .at = parent };
	if (empty && !nk_mounts_each("/proc/self/mountinfo", count_mount, &c) && c.n_at > 1)
		return nk_refuse(err, NK_E_KERNEL, -EEXIST,
			       "%u bpffs are mounted over one another at %s, and the uppermost has no pins of netkitd: the lower ones "
			       "may hold them; unmount what was mounted later", c.n_at, parent);
	return 0;
}

void nk_bpffs_close(struct nk_bpffs *fs)
{
	nk_cleanup_close(&fs->root);
	nk_cleanup_close(&fs->programs);
	nk_cleanup_close(&fs->passed);
	nk_cleanup_close(&fs->links);
}

static int open_directory(int at, const char *name, int *ret)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

static int make_directory(int at, const char *name, int *ret)
{
	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	return open_directory(at, name, ret);
}

/* The directories below `name` in parent, made where they are missing. 0 or -errno. */
static int open_directories(int parent, const char *name, struct nk_bpffs *ret)
{
	struct nk_bpffs fs = { -1, -1, -1, -1 };
	int r = make_directory(parent, name, &fs.root);

	if (!r)
		r = make_directory(fs.root, "programs", &fs.programs);
	if (!r)
		r = make_directory(fs.root, "passed", &fs.passed);
	if (!r)
		r = make_directory(fs.root, "links", &fs.links);
	if (r < 0)
		nk_bpffs_close(&fs);
	else
		*ret = fs;
	return r;
}

/* The path of the directory above ours, the caller's, and our name in it, borrowed from dir. */
static int split(const char *dir, char **ret_parent, const char **ret_name, struct nk_error *err)
{
	const char *name = strrchr(dir, '/');

	if (dir[0] != '/' || name == dir || !name[1])
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "'%s' is not the absolute path of a directory below a bpffs", dir);
	*ret_parent = strndup(dir, name - dir);
	if (!*ret_parent)
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot open %s", dir);
	*ret_name = name + 1;
	return 0;
}

int nk_bpffs_open(const char *dir, bool known, struct nk_bpffs *ret, struct nk_error *err)
{
	_free_ char *parent_path = NULL;
	_close_ int parent = -1;
	const char *name;
	bool empty;
	int r;

	r = split(dir, &parent_path, &name, err);
	if (!r)
		r = open_parent(parent_path, &parent, err);
	if (r < 0)
		return r;
	empty = !known && faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	r = check_mount(parent, parent_path, empty, err);
	if (r < 0)
		return r;
	r = open_directories(parent, name, ret);
	return r < 0 ? nk_fail(err, NK_E_KERNEL, r, "cannot make the directories of pins in %s", dir) : 0;
}

/* One that may be missing: then *ret stays as it is. 0 or -errno. */
static int find_directory(int at, const char *name, int *ret)
{
	int r = open_directory(at, name, ret);

	return r == -ENOENT ? 0 : r;
}

int nk_bpffs_look(const char *dir, struct nk_bpffs *ret, struct nk_error *err)
{
	struct nk_bpffs fs = { -1, -1, -1, -1 };
	_free_ char *parent_path = NULL;
	_close_ int parent = -1;
	const char *name;
	int r;

	r = split(dir, &parent_path, &name, err);
	if (r < 0)
		return r;
	parent = open(parent_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0 || !is_bpffs(parent)) {
		*ret = fs;
		return 0;
	}
	r = check_mount(parent, parent_path, faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0, err);
	if (r < 0)
		return r;
	r = find_directory(parent, name, &fs.root);
	if (!r && fs.root >= 0)
		r = find_directory(fs.root, "programs", &fs.programs);
	if (!r && fs.root >= 0)
		r = find_directory(fs.root, "links", &fs.links);
	if (r < 0) {
		nk_bpffs_close(&fs);
		return nk_fail(err, NK_E_KERNEL, r, "cannot open the directories of pins in %s", dir);
	}
	*ret = fs;
	return 0;
}

int nk_bpffs_open_kept(int root, struct nk_bpffs *ret)
{
	return is_bpffs(root) ? open_directories(root, ".", ret) : -EINVAL;
}

bool nk_bpffs_same(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int pin_there(int from, const char *name, int to)
{
	_close_ int fd = nk_bpf_pin_get(from, name);

	return fd < 0 ? fd : nk_bpf_pin_over(fd, to, name);
}

/* Each pin of a directory: pin it in `to` too, or, without one, remove it. 0 or -errno of the first that failed. */
static int go_through(int from, int to)
{
	_close_ int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_closedir_ DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	nk_take_fd(&fd); /* it is dir's now */
	while (!r && (entry = readdir(dir))) {
		if (entry->d_type != DT_REG || !strcmp(entry->d_name, NK_PIN_FRESH))
			continue;
		if (to >= 0)
			r = pin_there(from, entry->d_name, to);
		else if (unlinkat(from, entry->d_name, 0) < 0)
			r = -errno;
	}
	return r;
}

int nk_bpffs_move(const struct nk_bpffs *from, const struct nk_bpffs *to, struct nk_error *err)
{
	int r = go_through(from->programs, to->programs);

	if (!r)
		r = go_through(from->passed, to->passed);
	if (!r)
		r = go_through(from->links, to->links);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot bring the pins from one bpffs to another");
	/* What stays here nobody sees, and it would hold what is removed there. */
	go_through(from->links, -1);
	go_through(from->passed, -1);
	go_through(from->programs, -1);
	return 0;
}
