// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads object files. A file may change under us, be a pipe, or lead elsewhere by a symbolic link: what comes back was read through
 * one descriptor, which is of a regular file in a directory that is allowed.
 */
#include "daemon/kernel/object_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/model/sha256.h"

#define OBJECT_MAX (32 * 1024 * 1024) /* bytes of an object file */
#define FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

static bool climbs(const char *path)
{
	for (const char *at = path; (at = strstr(at, "..")); at += 2) {
		if ((at == path || at[-1] == '/') && (!at[2] || at[2] == '/'))
			return true;
	}
	return false;
}

bool nk_object_dir_of(const struct nk_object_dirs *d, const char *path, const char **ret_dir, const char **ret_rest)
{
	if (!d->n) {
		*ret_dir = NULL;
		*ret_rest = path;
		return true;
	}
	if (climbs(path))
		return false;
	for (size_t i = 0; i < d->n; i++) {
		size_t len = strlen(d->dirs[i]);

		while (len && d->dirs[i][len - 1] == '/')
			len--;
		if (strncmp(path, d->dirs[i], len) || path[len] != '/')
			continue;
		*ret_dir = d->dirs[i];
		*ret_rest = path + len + strspn(path + len, "/");
		return true;
	}
	return false;
}

/* Open a path below a directory; the kernel refuses each step out of it. -errno. */
static int open_beneath(const char *dir, const char *rest)
{
	struct open_how how = { .flags = FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	_close_ int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (at < 0)
		return -errno;
	/* EAGAIN: a rename on the way; the kernel can't tell whether the path led out, and asks to try again. */
	for (int tries = 0; tries < 100; tries++) {
		fd = (int)syscall(SYS_openat2, at, rest, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : fd;
}

static int open_object(const char *path, const struct nk_object_dirs *d, int *ret, struct nk_error *err)
{
	const char *dir, *rest;
	int fd;

	if (!nk_object_dir_of(d, path, &dir, &rest))
		return nk_refuse(err, NK_E_DENIED, -EACCES, "the object file %s is in none of the directories that the setting object_dirs allows",
				 path);
	if (dir) {
		fd = open_beneath(dir, rest);
	} else {
		fd = open(path, FLAGS);
		if (fd < 0)
			fd = -errno;
	}
	if (fd == -EXDEV)
		return nk_refuse(err, NK_E_DENIED, fd, "a symbolic link in %s leads out of %s, which the setting object_dirs allows (an absolute "
				 "one counts as leading out)", path, dir);
	if (fd < 0)
		return nk_fail(err, fd == -ENOENT ? NK_E_NOT_FOUND : NK_E_KERNEL, fd, "cannot open the object file %s", path);
	*ret = fd;
	return 0;
}

/* The whole of fd, which is path's. */
static int read_whole(int fd, const char *path, char **ret, size_t *ret_size, struct nk_error *err)
{
	_free_ char *data = NULL;
	size_t size, used = 0;
	struct stat st, after;

	if (fstat(fd, &st) < 0)
		return nk_fail(err, NK_E_KERNEL, -errno, "cannot look at the object file %s", path);
	if (!S_ISREG(st.st_mode))
		return nk_refuse(err, NK_E_INVALID_PARAMS, -EINVAL, "%s is not a regular file, so it is no object file", path);
	if (st.st_size > OBJECT_MAX)
		return nk_refuse(err, NK_E_LIMIT, -EFBIG, "the object file %s has %lld bytes, more than the %d that are allowed",
			       path, (long long)st.st_size, OBJECT_MAX);

	size = st.st_size;
	data = malloc(size + 1);
	if (!data)
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot read the object file %s", path);
	/* One byte more than it has: a file that grows meanwhile is noticed, as is one that shrinks. */
	while (used <= size) {
		ssize_t n = read(fd, data + used, size + 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return nk_fail(err, NK_E_KERNEL, -errno, "cannot read the object file %s", path);
		if (n == 0)
			break;
		used += n;
	}
	if (used != size || fstat(fd, &after) < 0 || memcmp(&after.st_mtim, &st.st_mtim, sizeof(st.st_mtim)))
		return nk_refuse(err, NK_E_CONFLICT, -EAGAIN, "the object file %s changed while it was read", path);
	*ret = data;
	data = NULL;
	*ret_size = size;
	return 0;
}

int nk_object_read(const struct nk_program *p, const struct nk_object_dirs *d, char **ret, size_t *ret_size, struct nk_error *err)
{
	_free_ char *data = NULL;
	char digest[NK_SHA256_STRLEN];
	_close_ int fd = -1;
	size_t size = 0;
	int r;

	r = open_object(p->path, d, &fd, err);
	if (!r)
		r = read_whole(fd, p->path, &data, &size, err);
	if (r < 0)
		return r;
	if (p->sha256[0] && strcmp(nk_sha256(data, size, digest), p->sha256))
		return nk_refuse(err, NK_E_CONFLICT, -EKEYREJECTED, "the object file %s is not the one that is meant: its SHA-256 is %s, and the "
				 "document says %s", p->path, digest, p->sha256);
	*ret = data;
	data = NULL;
	*ret_size = size;
	return 0;
}
