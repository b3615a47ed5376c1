// SPDX-License-Identifier: GPL-2.0-only
/*
 * The search for the owners of links (owners.h). Pins first, a directory after the other, each reached by its path anew; then processes.
 * Nothing is followed out of a bpffs, and no process is stopped or changed by being looked at. A thread that has descriptors of its
 * own, apart from those of its process, isn't looked at.
 */
#include "daemon/kernel/owners.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/kernel/bpf_internal.h"
#include "daemon/kernel/bpffs.h"
#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/mounts.h"

#define NAMES_A_TURN 1024      /* pins and descriptors that are looked at before other work has its turn */
#define NAMES_MAX (1u << 20)   /* likewise in all: whoever fills a bpffs or his table of descriptors must not keep us for ever */
#define OWNERS_MAX (1u << 16)  /* found ones */

/* A directory of a bpffs that is still to be read. */
struct place {
	dev_t dev;  /* of that bpffs */
	bool whole; /* all of it is below */
	char *path; /* owned */
};

struct nk_owners {
	uint32_t *links;        /* the ones asked for, sorted, owned */
	size_t n_links;
	struct nk_owner *found; /* owned; when done by link, pins first, then by pid */
	size_t n_found, found_room;
	bool missed_pins, missed_processes; /* there are some that could not be looked at */
	bool lost_link;
	bool begun, done;
	uint32_t names;         /* looked at so far */

	struct place *places;   /* a stack, owned */
	size_t n_places, places_room;
	DIR *pins;              /* being read, owned; path is where it is */
	char *path;             /* owned */
	dev_t dev;

	DIR *processes;         /* /proc, owned */
	DIR *descriptors;       /* of the process in hand, owned */
	uint32_t pid;
};

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int nk_owners_new(const uint32_t *links, size_t n, struct nk_owners **ret)
{
	struct nk_owners *o = calloc(1, sizeof(*o));

	if (o)
		o->links = calloc(n + 1, sizeof(*links));
	if (!o || !o->links) {
		free(o);
		return -ENOMEM;
	}
	memcpy(o->links, links, n * sizeof(*links));
	o->n_links = n;
	qsort(o->links, n, sizeof(*links), compare_ids);
	*ret = o;
	return 0;
}

/* What is only needed while it searches. */
static void stop_searching(struct nk_owners *o)
{
	while (o->n_places)
		free(o->places[--o->n_places].path);
	free(o->places);
	free(o->path);
	nk_cleanup_closedir(&o->pins);
	nk_cleanup_closedir(&o->processes);
	nk_cleanup_closedir(&o->descriptors);
	o->places = NULL;
	o->path = NULL;
	o->pins = o->processes = o->descriptors = NULL;
}

struct nk_owners *nk_owners_free(struct nk_owners *o)
{
	if (!o)
		return NULL;
	stop_searching(o);
	for (size_t i = 0; i < o->n_found; i++)
		free(o->found[i].pin);
	free(o->found);
	free(o->links);
	free(o);
	return NULL;
}

static bool is_asked(const struct nk_owners *o, uint32_t link_id)
{
	return bsearch(&link_id, o->links, o->n_links, sizeof(link_id), compare_ids);
}

/* Room for one more. */
static bool grow(void *array, size_t n, size_t *room, size_t size)
{
	void **p = array, *larger;
	size_t more = *room ? 2 * *room : 16;

	if (n < *room)
		return true;
	larger = reallocarray(*p, more, size);
	if (!larger)
		return false;
	*p = larger;
	*room = more;
	return true;
}

static bool add_owner(struct nk_owners *o, const struct nk_owner *one)
{
	if (o->n_found == OWNERS_MAX || !grow(&o->found, o->n_found, &o->found_room, sizeof(*o->found)))
		return false;
	o->found[o->n_found++] = *one;
	return true;
}

/* It was held by us for a moment, and no more: is it there still? To ask by its id would be to hold it again. */
static void check_that_it_stays(struct nk_owners *o, uint32_t link_id)
{
	uint32_t next;

	if (bpf_link_get_next_id(link_id - 1, &next) < 0 || next != link_id)
		o->lost_link = true;
}

/* ---- pins ---- */

/* Takes path, which may be NULL. */
static void add_place(struct nk_owners *o, dev_t dev, bool whole, char *path)
{
	if (path && grow(&o->places, o->n_places, &o->places_room, sizeof(*o->places))) {
		o->places[o->n_places++] = (struct place){ dev, whole, path };
		return;
	}
	free(path);
	o->missed_pins = true;
}

/* A bpffs that is mounted at several places is read at one of them. */
static int add_mount(const struct nk_mount *m, void *arg)
{
	struct nk_owners *o = arg;
	struct stat st;

	if (strcmp(m->type, "bpf") != 0)
		return 0;
	/* What another mount hides keeps its links all the same. */
	if (stat(m->point, &st) < 0 || st.st_dev != m->dev) {
		o->missed_pins = true;
		return 0;
	}
	for (size_t i = 0; i < o->n_places; i++)
		if (o->places[i].dev == m->dev && o->places[i].whole)
			return 0;
	add_place(o, m->dev, !strcmp(m->root, "/"), strdup(m->point));
	return 0;
}

/* Open the next directory. False: there is none. */
static bool next_place(struct nk_owners *o, int own)
{
	while (o->n_places) {
		struct place p = o->places[--o->n_places];
		_close_ int fd = open(p.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		struct stat st;

		free(o->path);
		o->path = p.path;
		o->dev = p.dev;
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd >= 0 && nk_bpffs_same(fd, own))
			continue;
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != p.dev || !(o->pins = fdopendir(fd))) {
			o->missed_pins = true;
			continue;
		}
		nk_take_fd(&fd);
		return true;
	}
	return false;
}

/* The id of the link that is pinned there; 0: none is. */
static uint32_t read_pin(struct nk_owners *o, const char *name)
{
	_close_ int fd = nk_bpf_pin_get(dirfd(o->pins), name);
	struct bpf_link_info info;

	if (fd < 0 && fd != -ENOENT)
		o->missed_pins = true;
	if (fd < 0 || !nk_bpf_is_link(fd))
		return 0;
	if (nk_bpf_link_info(fd, &info) == 0)
		return info.id;
	o->missed_pins = o->lost_link = true;
	return 0;
}

static void look_at_pin(struct nk_owners *o, const char *name)
{
	struct nk_owner one = { .link_id = read_pin(o, name) };

	if (!one.link_id)
		return;
	check_that_it_stays(o, one.link_id);
	if (!is_asked(o, one.link_id))
		return;
	if (asprintf(&one.pin, "%s/%s", o->path, name) < 0) {
		o->missed_pins = true;
	} else if (!add_owner(o, &one)) {
		free(one.pin);
		o->missed_pins = true;
	}
}

/* Look at the next name in a bpffs. False: there is none. */
static bool search_pins(struct nk_owners *o, int own)
{
	const struct dirent *entry;
	char *path;

	if (!o->pins && !next_place(o, own))
		return false;
	entry = readdir(o->pins);
	if (!entry) {
		closedir(o->pins);
		o->pins = NULL;
	} else if (entry->d_type == DT_REG) {
		look_at_pin(o, entry->d_name);
	} else if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
		add_place(o, o->dev, false, asprintf(&path, "%s/%s", o->path, entry->d_name) < 0 ? NULL : path);
	}
	return true;
}

/* ---- processes ---- */

/* Something of a process that goes is not there any more, which is no failure. */
static void note_refusal(struct nk_owners *o)
{
	if (errno != ENOENT && errno != ESRCH)
		o->missed_processes = true;
}

/* A file of the process in hand, by its way from the directory of descriptors, without the newline at its end. Empty: it can't be read. */
static void read_file(const struct nk_owners *o, const char *name, char *buf, size_t size)
{
	_close_ int fd = openat(dirfd(o->descriptors), name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : -1;

	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n > 0 ? n : 0] = '\0';
}

uint32_t nk_owners_read_fdinfo(const char *text)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		unsigned id;

		line += *line == '\n';
		if (sscanf(line, "link_id:%u", &id) == 1)
			return id;
	}
	return 0;
}

static bool is_known(const struct nk_owners *o, uint32_t link_id)
{
	for (size_t i = o->n_found; i > 0 && o->found[i - 1].pid == o->pid; i--)
		if (o->found[i - 1].link_id == link_id)
			return true;
	return false;
}

static void look_at_descriptor(struct nk_owners *o, const char *name)
{
	struct nk_owner one = { .pid = o->pid };
	char target[64], path[NAME_MAX + 16], text[1024];
	ssize_t n = readlinkat(dirfd(o->descriptors), name, target, sizeof(target) - 1);

	if (n < 0) {
		note_refusal(o);
		return;
	}
	target[n] = '\0';
	if (!nk_bpf_names_link(target))
		return;
	snprintf(path, sizeof(path), "../fdinfo/%s", name);
	read_file(o, path, text, sizeof(text));
	one.link_id = nk_owners_read_fdinfo(text);
	if (!one.link_id) {
		o->lost_link = true;
		return;
	}
	check_that_it_stays(o, one.link_id);
	if (!is_asked(o, one.link_id) || is_known(o, one.link_id))
		return;
	read_file(o, "../comm", one.comm, sizeof(one.comm));
	if (!add_owner(o, &one))
		o->missed_processes = true;
}

/* Open the descriptors of the next process. False: there is none. */
static bool next_process(struct nk_owners *o)
{
	const struct dirent *entry;

	while ((entry = readdir(o->processes))) {
		char path[NAME_MAX + 8], *end;
		unsigned long pid = strtoul(entry->d_name, &end, 10);
		_close_ int fd = -1;

		/* We have descriptors of links ourselves while we look. */
		if (*end || pid == (unsigned long)getpid())
			continue;
		snprintf(path, sizeof(path), "%s/fd", entry->d_name);
		fd = openat(dirfd(o->processes), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || !(o->descriptors = fdopendir(fd))) {
			note_refusal(o);
			continue;
		}
		nk_take_fd(&fd);
		o->pid = (uint32_t)pid;
		return true;
	}
	return false;
}

/* Look at the next descriptor. False: there is none. */
static bool search_processes(struct nk_owners *o)
{
	const struct dirent *entry;

	if (!o->processes) {
		o->missed_processes = true;
		return false;
	}
	if (!o->descriptors && !next_process(o))
		return false;
	entry = readdir(o->descriptors);
	if (!entry) {
		closedir(o->descriptors);
		o->descriptors = NULL;
	} else if (entry->d_name[0] != '.') {
		look_at_descriptor(o, entry->d_name);
	}
	return true;
}

/* ---- the search ---- */

static void begin(struct nk_owners *o)
{
	o->begun = true;
	if (nk_mounts_each("/proc/self/mountinfo", add_mount, o) < 0)
		o->missed_pins = true;
	o->processes = opendir("/proc");
}

static int compare_owners(const void *a, const void *b)
{
	const struct nk_owner *x = a, *y = b;

	if (x->link_id != y->link_id)
		return x->link_id < y->link_id ? -1 : 1;
	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->pin && y->pin ? strcmp(x->pin, y->pin) : 0;
}

static void end(struct nk_owners *o)
{
	stop_searching(o);
	if (o->n_found)
		qsort(o->found, o->n_found, sizeof(*o->found), compare_owners);
	o->done = true;
}

void nk_owners_look(struct nk_owners *o, int own)
{
	if (!o->begun)
		begin(o);
	for (uint32_t n = 0; n < NAMES_A_TURN; n++) {
		if (o->names++ == NAMES_MAX) {
			o->missed_pins |= o->pins || o->n_places;
			o->missed_processes = true;
			end(o);
			return;
		}
		if (!search_pins(o, own) && !search_processes(o)) {
			end(o);
			return;
		}
	}
}

bool nk_owners_done(const struct nk_owners *o)
{
	return o->done;
}

const struct nk_owner *nk_owners_of(const struct nk_owners *o, uint32_t link_id, size_t *ret_n)
{
	size_t first = 0, last = o->n_found, end;

	while (first < last) {
		size_t middle = first + (last - first) / 2;

		if (o->found[middle].link_id < link_id)
			first = middle + 1;
		else
			last = middle;
	}
	for (end = first; end < o->n_found && o->found[end].link_id == link_id;)
		end++;
	*ret_n = end - first;
	return o->found + first;
}

bool nk_owners_saw_pins(const struct nk_owners *o, uint32_t link_id)
{
	return !o->missed_pins && is_asked(o, link_id);
}

bool nk_owners_saw_processes(const struct nk_owners *o, uint32_t link_id)
{
	return !o->missed_processes && is_asked(o, link_id);
}

bool nk_owners_lost_link(const struct nk_owners *o)
{
	return o->lost_link;
}
