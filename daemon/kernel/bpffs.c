// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds or makes the bpffs directory of our pins, and checks that it is the one that outlives us. Pins are all that holds the programs
 * while netkitd is stopped, so a wrong mount here is a lost datapath later.
 */
#include "daemon/kernel/bpffs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"

#define BPFFS "/sys/fs/bpf"

static bool is_bpffs(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static void close_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/*
 * Mounts of a file system, as the process whose mountinfo it is sees them: how many have the device number dev, and how many bpffs
 * lie at the mount point `at` (NULL: not asked). -errno.
 */
static int count_mounts(const char *mountinfo, dev_t dev, const char *at, unsigned *ret_dev, unsigned *ret_at)
{
	__attribute__((cleanup(close_file))) FILE *f = fopen(mountinfo, "re");
	_free_ char *line = NULL;
	size_t size = 0;

	if (!f)
		return -errno;
	*ret_dev = *ret_at = 0;
	while (getline(&line, &size, f) > 0) {
		unsigned maj, min;
		char point[256], type[32];
		const char *dash = strstr(line, " - ");

		if (sscanf(line, "%*u %*u %u:%u %*s %255s", &maj, &min, point) != 3 || !dash || sscanf(dash, " - %31s", type) != 1)
			continue;
		if (makedev(maj, min) == dev)
			++*ret_dev;
		if (at && !strcmp(point, at) && !strcmp(type, "bpf"))
			++*ret_at;
	}
	return 0;
}

static bool in_the_hosts_mount_namespace(void)
{
	struct stat own, first;

	return !stat("/proc/self/ns/mnt", &own) && !stat("/proc/1/ns/mnt", &first) && own.st_dev == first.st_dev &&
	       own.st_ino == first.st_ino;
}

/* Open the directory above ours; mount a bpffs at the usual place if that is where it is to be and there is none. */
static int open_parent(const char *parent, int *ret, struct nk_error *err)
{
	_close_ int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot open %s, where the pins are to be", parent);
	if (!is_bpffs(fd)) {
		if (strcmp(parent, BPFFS))
			return nk_refuse(err, NK_E_KERNEL, -EINVAL, "%s is not on a bpffs, so nothing can be pinned there", parent);
		if (!in_the_hosts_mount_namespace())
			return nk_refuse(err, NK_E_KERNEL, -EINVAL,
				       "no bpffs is mounted at " BPFFS ", and one that netkitd mounts would be its own only: "
				       "mount it for the host (mount -t bpf bpf " BPFFS ")");
		if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=0700") < 0)
			return nk_fail(err, NK_E_KERNEL, -errno, "cannot mount a bpffs at " BPFFS);
		close(nk_take_fd(&fd));
		fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || !is_bpffs(fd))
			return nk_refuse(err, NK_E_KERNEL, -EINVAL, "no bpffs at " BPFFS " although it was mounted");
	}
	*ret = nk_take_fd(&fd);
	return 0;
}

/* Is the mount that fd is on the one that the host has, and the only one at its place? */
static int check_mount(int fd, const char *parent, bool empty, struct nk_error *err)
{
	unsigned seen, stacked;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot look at %s", parent);
	/* Without a look at process 1's mounts we can't tell, and it is nearly always right. */
	if (!count_mounts("/proc/1/mountinfo", st.st_dev, NULL, &seen, &stacked) && !seen)
		return nk_refuse(err, NK_E_KERNEL, -EXDEV,
			       "the bpffs at %s is mounted for netkitd only and would go with it, and so would all pinned links: "
			       "mount it for the host", parent);
	if (empty && !count_mounts("/proc/self/mountinfo", st.st_dev, parent, &seen, &stacked) && stacked > 1)
		return nk_refuse(err, NK_E_KERNEL, -EEXIST,
			       "%u bpffs are mounted over one another at %s, and the uppermost has no pins of netkitd: the lower ones "
			       "may hold them; unmount what was mounted later", stacked, parent);
	return 0;
}

static int make_directory(int at, const char *name, int *ret)
{
	int fd;

	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

int nk_bpffs_open(const char *dir, int *ret_programs, int *ret_links, struct nk_error *err)
{
	_close_ int parent = -1, own = -1, programs = -1, passed = -1, links = -1;
	const char *name = strrchr(dir, '/');
	_free_ char *parent_path = NULL;
	bool empty;
	int r;

	if (dir[0] != '/' || name == dir || !name[1])
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "'%s' is not the absolute path of a directory below a bpffs", dir);
	parent_path = strndup(dir, name - dir);
	if (!parent_path)
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot open %s", dir);
	name++;
	r = open_parent(parent_path, &parent, err);
	if (r < 0)
		return r;
	empty = faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	r = check_mount(parent, parent_path, empty, err);
	if (r < 0)
		return r;
	r = make_directory(parent, name, &own);
	if (!r)
		r = make_directory(own, "programs", &programs);
	if (!r)
		r = make_directory(own, "passed", &passed);
	if (!r)
		r = make_directory(own, "links", &links);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot make the directories of pins in %s", dir);
	*ret_programs = nk_take_fd(&programs);
	*ret_links = nk_take_fd(&links);
	return 0;
}
