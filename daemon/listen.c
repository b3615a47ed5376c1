// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes or takes over the listening socket for server.c. The file appears under its name by rename, when it already has its
 * owner and mode and listens: nobody ever sees one with other rights, or one that refuses. It may not accept or read.
 */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_MODE 0660
#define BACKLOG 128

static int say(int r, char *why, size_t size, const char *what, const char *path)
{
	snprintf(why, size, "%s %s: %s", what, path, strerror(-r));
	return r;
}

int nk_group_find(const char *setting, const char *name, gid_t *ret, char *why, size_t size)
{
	const struct group *g;

	errno = 0;
	g = getgrnam(name);
	if (g) {
		*ret = g->gr_gid;
		return 0;
	}
	if (errno == 0 || errno == ENOENT || errno == ESRCH) {
		snprintf(why, size, "%s: there is no group %s; create it (systemd-sysusers, groupadd) or change the settings",
			 setting, name);
		return -EINVAL;
	}
	/* Not the errno itself: some would be taken for what no other start could mend, as EINVAL is, which glibc makes of ERANGE. */
	snprintf(why, size, "%s: cannot look up the group %s: %s", setting, name, strerror(errno));
	return -EAGAIN;
}

/* Nothing there, or a socket that nobody serves: 0. */
static int check_stale(const struct sockaddr_un *addr, char *why, size_t size)
{
	const char *path = addr->sun_path;
	struct stat st;
	int fd, r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : say(-errno, why, size, "cannot look at", path);
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(why, size, "%s exists and is not a socket: move it away or set another socket_path", path);
		return -ENOTSOCK;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return say(-errno, why, size, "no socket to probe", path);
	r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? errno : 0;
	close(fd);
	if (r == ECONNREFUSED || r == ENOENT)
		return 0;
	/* Also EAGAIN: somebody listens, but does not accept. */
	snprintf(why, size, "another process serves %s: is netkitd running already?", path);
	return -EADDRINUSE;
}

static int make(const struct sockaddr_un *temporary, const char *path, gid_t gid, struct nk_listener *l, char *why, size_t size)
{
	const char *name = temporary->sun_path;
	struct stat st;

	if (unlink(name) < 0 && errno != ENOENT)
		return say(-errno, why, size, "cannot remove", name);
	if (bind(l->fd, (const struct sockaddr *)temporary, sizeof(*temporary)) < 0)
		return say(-errno, why, size, "cannot make the socket", name);
	/* Nobody can connect before listen(), so the mode that bind() left was never of use to anybody. */
	if (lchown(name, (uid_t)-1, gid) < 0 || chmod(name, SOCKET_MODE) < 0)
		return say(-errno, why, size, "cannot set owner and mode of", name);
	if (listen(l->fd, BACKLOG) < 0 || lstat(name, &st) < 0)
		return say(-errno, why, size, "cannot listen on", name);
	if (rename(name, path) < 0)
		return say(-errno, why, size, "cannot put in place", path);
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

int nk_listener_open(const char *path, const char *group, struct nk_listener *ret, char *why, size_t size)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX }, temporary = { .sun_family = AF_UNIX };
	struct nk_listener l = { .fd = -1 };
	gid_t gid = (gid_t)-1;
	int r;

	r = snprintf(temporary.sun_path, sizeof(temporary.sun_path), "%s.%d", path, (int)getpid());
	if (path[0] != '/' || r >= (int)sizeof(temporary.sun_path)) {
		snprintf(why, size, "socket_path %s: must be absolute and at most %zu bytes long", path,
			 sizeof(addr.sun_path) - sizeof(".4194304"));
		return -EINVAL;
	}
	strcpy(addr.sun_path, path);
	r = group ? nk_group_find("socket_group", group, &gid, why, size) : 0;
	if (r == 0)
		r = check_stale(&addr, why, size);
	if (r < 0)
		return r;
	l.path = strdup(path);
	l.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (!l.path || l.fd < 0)
		r = say(l.path ? -errno : -ENOMEM, why, size, "no socket for", path);
	else
		r = make(&temporary, path, gid, &l, why, size);
	if (r < 0) {
		unlink(temporary.sun_path);
		free(l.path);
		if (l.fd >= 0)
			close(l.fd);
		return r;
	}
	*ret = l;
	return 0;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

int nk_listener_adopt(int fd, struct nk_listener *ret, char *why, size_t size)
{
	if (option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1) {
		snprintf(why, size, "descriptor %d from socket activation is not a listening Unix stream socket: "
			 "check ListenStream= in netkitd.socket", fd);
		return -ENOTSOCK;
	}
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		int r = -errno;

		snprintf(why, size, "descriptor %d from socket activation: %s", fd, strerror(-r));
		return r;
	}
	*ret = (struct nk_listener){ .fd = fd };
	return 0;
}

void nk_listener_close(struct nk_listener *l)
{
	struct stat st;

	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	free(l->path);
	if (l->fd >= 0)
		close(l->fd);
	*l = (struct nk_listener){ .fd = -1 };
}
