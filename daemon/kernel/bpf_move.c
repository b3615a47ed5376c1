// SPDX-License-Identifier: GPL-2.0-only
/*
 * A link on its way to another place of its chain, while packets pass. The executor calls it, as it does bpf.c.
 *
 * The kernel can't move a link, and holds a program once only in a chain. So a stand-in comes first to the new place: a program of a few
 * instructions that jumps to what its map holds, and lets the packet go on while that is nothing. Then
 *
 *   1. the map gets the program: from here on packets meet it at both places;
 *   2. the old link is detached: from here on they meet it at the new place, through the stand-in;
 *   3. the new link's program, the stand-in, is exchanged for the program itself.
 *
 * From 1 to 2 it takes three system calls. Nothing is left out at any instant, nor when we are killed at any: map and new link are pinned
 * beforehand (such a map is emptied when the last descriptor or pin of it goes), and nk_bpf_settle_move finds them at the next start.
 */
#include "daemon/kernel/bpf_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"

#define STAND_IN "nk_stand_in" /* the kernel's name of map and program */
#define SLOTS 2                /* of the map: all hold the same program */
#define NAME_MAX_MOVING (NK_PIN_NAME_MAX + 8)

struct stand_in {
	int map, prog;
	uint32_t id; /* of prog */
};

static void close_stand_in(struct stand_in *s)
{
	nk_cleanup_close(&s->prog);
	nk_cleanup_close(&s->map);
}

/*
 * bpf_tail_call(ctx, map, ctx->len & 1); return NEXT. Which slot is taken doesn't matter, but it may not be a constant: for a constant one
 * the kernel writes the jump into the program's text, and a processor that executes it at that moment traps; under QEMU's emulation
 * such a trap was not always recognised, and the kernel panicked. A descriptor or -errno.
 */
static int load_program(int map, enum bpf_attach_type type)
{
	const struct bpf_insn instructions[] = {
		{ .code = BPF_LDX | BPF_W | BPF_MEM, .dst_reg = BPF_REG_3, .src_reg = BPF_REG_1, .off = offsetof(struct __sk_buff, len) },
		{ .code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = BPF_REG_3, .imm = SLOTS - 1 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_tail_call },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TCX_NEXT }, /* netkit's has the same value */
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = type);

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, STAND_IN, "GPL", instructions, sizeof(instructions) / sizeof(instructions[0]),
			     &options);
}

/* 0 or -errno. */
static int fill(int map, int prog)
{
	int r = 0;

	for (uint32_t slot = 0; slot < SLOTS && !r; slot++)
		r = bpf_map_update_elem(map, &slot, &prog, BPF_ANY);
	return r;
}

static int empty(int map)
{
	int r = 0;

	for (uint32_t slot = 0; slot < SLOTS && !r; slot++)
		r = bpf_map_delete_elem(map, &slot);
	return r;
}

/*
 * A stand-in that can jump to target, and doesn't yet. Newer kernels let a program jump only to one that was loaded for the same attach
 * type, and tell nobody which that is: so it is tried. 0 or -errno.
 */
static int make_stand_in(int target, enum nk_hook hook, struct stand_in *ret)
{
	const enum bpf_attach_type types[] = {
		nk_bpf_attach_type(hook), 0, BPF_NETKIT_PRIMARY, BPF_NETKIT_PEER, BPF_TCX_INGRESS, BPF_TCX_EGRESS,
	};
	int r = -EINVAL;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct stand_in s = { -1, -1, 0 };
		struct bpf_prog_info info = {};
		uint32_t size = sizeof(info);

		s.map = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, STAND_IN, sizeof(uint32_t), sizeof(uint32_t), SLOTS, NULL);
		s.prog = s.map < 0 ? s.map : load_program(s.map, types[i]);
		r = s.prog < 0 ? s.prog : fill(s.map, target);
		if (!r)
			r = empty(s.map);
		if (!r)
			r = bpf_prog_get_info_by_fd(s.prog, &info, &size);
		if (!r) {
			s.id = info.id;
			*ret = s;
			return 0;
		}
		close_stand_in(&s);
	}
	return r;
}

static int rename_pin(struct nk_bpf *b, const char *from, const char *to)
{
	return renameat(b->links, from, b->links, to) < 0 ? -errno : 0;
}

/* The names of the pins for the time of the move. */
struct names {
	char pin[NK_PIN_NAME_MAX];
	char link[NAME_MAX_MOVING], map[NAME_MAX_MOVING];
};

static void name_pins(struct names *n)
{
	snprintf(n->link, sizeof(n->link), "%s%s", n->pin, NK_PIN_MOVING);
	snprintf(n->map, sizeof(n->map), "%s%s", n->pin, NK_PIN_TARGET);
}

/* The new link has its place and waits: hand over to it. 0 or -errno; *ret_taken: the old one is gone. */
static int hand_over(int old, int new, int prog, const struct stand_in *s, uint64_t *revision, bool *ret_taken)
{
	int r = fill(s->map, prog);

	if (!r)
		r = bpf_link_detach(old);
	if (r < 0)
		return r;
	*ret_taken = true;
	nk_bpf_changed(revision);
	r = nk_bpf_exchange(new, prog, s->id);
	if (!r)
		nk_bpf_changed(revision);
	return r;
}

int nk_bpf_move(struct nk_bpf *b, const char *device, uint32_t ifindex, enum nk_hook hook, const char *attachment,
		uint32_t before_prog, uint64_t *revision, struct nk_error *err)
{
	__attribute__((cleanup(close_stand_in))) struct stand_in s = { -1, -1, 0 };
	_close_ int old = -1, new = -1, prog = -1;
	struct bpf_link_info info;
	bool taken = false;
	struct names n;
	int r;

	nk_pin_link_name(device, hook, attachment, n.pin);
	name_pins(&n);
	old = nk_bpf_pin_get(b->links, n.pin);
	if (old < 0 || nk_bpf_link_info(old, &info) < 0 || !nk_bpf_link_ifindex(&info))
		return nk_refuse(err, NK_E_CONFLICT, -ESTALE, "attachment '%s' went before it was moved", attachment);
	prog = bpf_prog_get_fd_by_id(info.prog_id);
	r = prog < 0 ? prog : make_stand_in(prog, hook, &s);
	if (r < 0)
		return nk_fail(err, NK_E_KERNEL, r, "cannot make a stand-in for the program of attachment '%s'", attachment);

	new = nk_bpf_link_create(s.prog, ifindex, hook, before_prog, *revision);
	if (new == -ESTALE)
		return nk_refuse(err, NK_E_CONFLICT, new, "somebody else changed the chain before attachment '%s' was moved", attachment);
	if (new < 0)
		return nk_fail(err, NK_E_KERNEL, new, "the kernel gives attachment '%s' no second place", attachment);
	nk_bpf_changed(revision);
	r = nk_bpf_pin_put(s.map, b->links, n.map);
	if (!r)
		r = nk_bpf_pin_put(new, b->links, n.link);
	if (!r)
		r = hand_over(old, new, prog, &s, revision, &taken);
	if (!taken) {
		nk_bpf_end_link(b, new, n.link);
		unlinkat(b->links, n.map, 0);
		return nk_fail(err, NK_E_KERNEL, r, "cannot move attachment '%s'", attachment);
	}
	/* Whatever comes now, the attachment is the new link; with the stand-in in it, it is put right as any other program. */
	r = rename_pin(b, n.link, n.pin) ?: r;
	if (!r)
		unlinkat(b->links, n.map, 0);
	if (!nk_bpf_link_info(new, &info))
		r = nk_pins_put(&b->pins, device, hook, attachment, info.id) ?: r;
	return r < 0 ? nk_fail(err, NK_E_KERNEL, r, "attachment '%s' is moved, but not as it should be", attachment) : 0;
}

static bool is_stand_in(uint32_t prog_id)
{
	_close_ int fd = bpf_prog_get_fd_by_id(prog_id);
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	return fd >= 0 && !bpf_prog_get_info_by_fd(fd, &info, &size) && !strcmp(info.name, STAND_IN);
}

/* Exchange the stand-in in a link for what it stands for. 0 also when there is nothing to do. */
static int take_seat(struct nk_bpf *b, const struct names *n)
{
	_close_ int link = nk_bpf_pin_get(b->links, n->pin);
	_close_ int map = nk_bpf_pin_get(b->links, n->map);
	_close_ int prog = -1;
	struct bpf_link_info info;
	uint32_t slot = 0, id = 0;

	if (link < 0 || nk_bpf_link_info(link, &info) < 0 || !is_stand_in(info.prog_id))
		return 0;
	if (map < 0 || bpf_map_lookup_elem(map, &slot, &id) < 0)
		return 0; /* it stands for nothing: the next comparison puts the program there */
	prog = bpf_prog_get_fd_by_id(id);
	return prog < 0 ? prog : nk_bpf_exchange(link, prog, info.prog_id);
}

int nk_bpf_settle_move(struct nk_bpf *b, const char *pin)
{
	size_t len = strlen(pin), suffix = strlen(NK_PIN_TARGET);
	_close_ int old = -1, new = -1;
	struct bpf_link_info info;
	struct names n;
	int r = 0;

	if (len <= suffix || strcmp(pin + len - suffix, NK_PIN_TARGET) || len - suffix >= sizeof(n.pin))
		return 0;
	snprintf(n.pin, sizeof(n.pin), "%.*s", (int)(len - suffix), pin);
	name_pins(&n);
	new = nk_bpf_pin_get(b->links, n.link);
	old = nk_bpf_pin_get(b->links, n.pin);
	if (new >= 0 && old >= 0 && !nk_bpf_link_info(old, &info) && nk_bpf_link_ifindex(&info))
		nk_bpf_end_link(b, new, n.link);
	else if (new >= 0)
		r = rename_pin(b, n.link, n.pin);
	if (!r && !take_seat(b, &n))
		unlinkat(b->links, n.map, 0);
	return r;
}
