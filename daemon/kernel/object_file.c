// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads object files. A file may change under us, be a pipe, or lead elsewhere by a symbolic link: what comes back was read through
 * one descriptor, which is of a regular file in a directory that is allowed.
 */
#include "daemon/kernel/object_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nettle/base16.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"

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

bool nk_object_is_allowed(const struct nk_object_dirs *d, const char *path)
{
	if (!d->n)
		return true;
	if (climbs(path))
		return false;
	for (size_t i = 0; i < d->n; i++) {
		size_t len = strlen(d->dirs[i]);

		while (len && d->dirs[i][len - 1] == '/')
			len--;
		if (!strncmp(path, d->dirs[i], len) && path[len] == '/')
			return true;
	}
	return false;
}

/* Where what a descriptor holds lies now, symbolic links resolved. 0 or -errno. */
static int real_path(int fd, char ret[PATH_MAX])
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	ret[n] = '\0';
	return 0;
}

static bool is_beneath(const char *path, const char *dir)
{
	_close_ int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char real[PATH_MAX];
	size_t len;

	if (fd < 0 || real_path(fd, real) < 0)
		return false;
	len = strlen(real);
	/* The root is the one directory whose path ends in a slash. */
	return !strncmp(path, real, len) && (path[len] == '/' || (len && real[len - 1] == '/'));
}

/*
 * Where there are rules, see where the path led before anything is opened for reading: what was looked at is what is then read,
 * whatever becomes of the path meanwhile. openat2 would stop at the first step out, but systemd lets nobody have it who
 * restricts SUID bits (RestrictSUIDSGID=).
 */
static int open_allowed(const char *path, const struct nk_object_dirs *d, int *ret, struct nk_error *err)
{
	_close_ int place = open(path, O_PATH | O_CLOEXEC);
	char real[PATH_MAX], link[32];
	bool allowed = false;
	int fd, r;

	if (place < 0)
		return -errno;
	r = real_path(place, real);
	if (r < 0)
		return r;
	for (size_t i = 0; i < d->n; i++)
		allowed |= is_beneath(real, d->dirs[i]);
	if (!allowed)
		return nk_refuse(err, NK_E_DENIED, -EACCES,
				 "the object file %s leads out of the directories that the setting object_dirs allows: it is %s", path, real);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
	fd = open(link, FLAGS);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

static int open_anywhere(const char *path, int *ret)
{
	int fd = open(path, FLAGS);

	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

static int open_object(const char *path, const struct nk_object_dirs *d, int *ret, struct nk_error *err)
{
	int r;

	if (!nk_object_is_allowed(d, path))
		return nk_refuse(err, NK_E_DENIED, -EACCES,
				 "the object file %s is in none of the directories that the setting object_dirs allows", path);
	r = d->n ? open_allowed(path, d, ret, err) : open_anywhere(path, ret);
	/* It keeps the first words: those that tell where the path led. */
	return r < 0 ? nk_fail(err, r == -ENOENT ? NK_E_NOT_FOUND : NK_E_KERNEL, r, "cannot open the object file %s", path) : 0;
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

static void hex_digest(const char *data, size_t size, char ret[NK_SHA256_STRLEN])
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx c;

	sha256_init(&c);
	sha256_update(&c, size, (const uint8_t *)data);
	sha256_digest(&c, sizeof(digest), digest);
	base16_encode_update(ret, sizeof(digest), digest);
	ret[NK_SHA256_STRLEN - 1] = '\0';
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
	hex_digest(data, size, digest);
	if (p->sha256[0] && strcmp(digest, p->sha256))
		return nk_refuse(err, NK_E_CONFLICT, -EKEYREJECTED,
				 "the object file %s is not the one that is meant: its SHA-256 is %s, and the document says %s", p->path,
				 digest, p->sha256);
	*ret = data;
	data = NULL;
	*ret_size = size;
	return 0;
}
