// SPDX-License-Identifier: GPL-2.0-only
/*
 * The exchange of a program's version in all the links that hold it. The kernel exchanges the program of one link at once, so
 * that each packet meets the one or the other; the links follow one another. Called by bpf_load.c in the executor's thread.
 *
 * No descriptors are kept on the way, since there may be ten thousand links: what has to be put back is found again by its pin.
 */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "daemon/kernel/bpf_internal.h"
#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/program.h"

/* One exchange on its way through the links. */
struct walk {
	struct nk_bpf *b;
	const char *program;
	const struct nk_bpf_users *users;
	int from, to;     /* descriptors of programs */
	uint32_t from_id;
	uint32_t n;       /* links done */
	int error;        /* of the first that failed, or 0 */
	const struct nk_device *device;
	const struct nk_attachment *attachment;
};

/* 1: done, 0: nothing to do, -errno. */
static int exchange(const struct walk *w, const struct nk_device *d, const struct nk_attachment *a)
{
	struct bpf_link_info info = {};
	uint32_t size = sizeof(info);
	char pin[NK_PIN_NAME_MAX];
	_close_ int link = nk_bpf_pin_get(w->b->links, nk_pin_link_name(nk_device_name(d), a->hook, a->name, pin));
	int r;

	/* What is not attached, or holds another program, the comparison of its device will put right. */
	if (link == -ENOENT)
		return 0;
	r = link < 0 ? link : bpf_link_get_info_by_fd(link, &info, &size);
	if (r < 0)
		return r;
	if (info.prog_id != w->from_id)
		return 0;
	r = nk_bpf_swap(link, w->to, w->from);
	/* A link whose device has gone needs no program. */
	return r == -ENOLINK ? 0 : r < 0 ? r : 1;
}

static void note_failure(struct walk *w, const struct nk_device *d, const struct nk_attachment *a, int error)
{
	if (w->error)
		return;
	w->error = error;
	w->device = d;
	w->attachment = a;
}

/* Go through the links until max are done; `on`: also past one that fails. */
static void go(struct walk *w, uint32_t max, bool on)
{
	for (size_t i = 0; i < w->users->n; i++) {
		const struct nk_device *d = w->users->devices[i];

		for (uint32_t k = 0; k < d->n_attachments; k++) {
			int r = strcmp(d->attachments[k].program, w->program) ? 0 : exchange(w, d, &d->attachments[k]);

			if (r < 0)
				note_failure(w, d, &d->attachments[k], r);
			else
				w->n += (uint32_t)r;
			if (w->n >= max || (w->error && !on))
				return;
		}
	}
}

static const char *cause(int error)
{
	switch (-error) {
	case EEXIST:
		return "the new version is in that chain already";
	case EPERM:
		return "somebody else exchanged its program at the same time";
	default:
		return strerror(-error);
	}
}

int nk_bpf_upgrade(struct nk_bpf *b, const char *program, const struct nk_bpf_users *users, int old_prog, int new_prog,
		   uint32_t *ret_n, struct nk_error *err)
{
	struct walk there = { .b = b, .program = program, .users = users, .from = old_prog, .to = new_prog };
	struct walk back = { .b = b, .program = program, .users = users, .from = new_prog, .to = old_prog };
	char tag[NK_TAG_STRLEN];
	int r = nk_program_identify(old_prog, &there.from_id, tag, NULL);

	if (!r)
		r = nk_program_identify(new_prog, &back.from_id, tag, NULL);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot look at the two versions of program '%s'", program);
	go(&there, UINT32_MAX, false);
	r = there.error;
	if (!r) {
		*ret_n = there.n;
		return 0;
	}
	if (there.n)
		go(&back, there.n, true);
	if (back.error)
		return nk_refuse(err, NK_E_KERNEL, r,
				 "attachment '%s' of %s does not take the new version of program '%s': %s; and attachment '%s' of %s could "
				 "not be given the old one back: %s",
				 there.attachment->name, nk_device_name(there.device), program, cause(r), back.attachment->name,
				 nk_device_name(back.device), cause(back.error));
	return nk_refuse(err, r == -EEXIST || r == -EPERM ? NK_E_CONFLICT : NK_E_KERNEL, r,
			 "attachment '%s' of %s does not take the new version of program '%s': %s; all of its attachments have the "
			 "old one",
			 there.attachment->name, nk_device_name(there.device), program, cause(r));
}
