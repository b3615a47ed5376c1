// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables of what only goes out: conditions, devices as observed, programs, attachments, capabilities, the daemon's status,
 * plans, events. The manager fills the structs; see contract.h.
 */
#include "api/contract.h"
#include "api/contract_shared.h"

static const char *const state_names[] = {"Pending", "Ready", "Degraded", "Released", NULL};

#define TABLE(id, wire, T, rows, words) \
	const struct nk_table id = {.name = wire, .text = words, .size = sizeof(T), NK_FIELDS(rows), .output = true}
#define PRIVATE(id, wire, T, rows, words) static TABLE(id, wire, T, rows, words)

/* A row of the struct in hand: its name on the wire is that of the member. */
#define COUNT(T, m, words) {.name = #m, .type = &nk_type_uint, NK_AT(T, m), .text = words}
#define FLAG(T, m, words) {.name = #m, .type = &nk_type_bool, NK_AT(T, m), .text = words}
#define WORDS(T, m, words) {.name = #m, .type = &nk_type_string, NK_AT(T, m), .text = words}
#define MAYBE_COUNT(T, m, words) {.name = #m, .type = &nk_type_uint, .flags = NK_OMIT_EMPTY, NK_AT(T, m), .text = words}
#define MAYBE_FLAG(T, m, words) {.name = #m, .type = &nk_type_bool, .flags = NK_OMIT_EMPTY, NK_AT(T, m), .text = words}
#define MAYBE_WORDS(T, m, words) {.name = #m, .type = &nk_type_string, .flags = NK_OMIT_EMPTY, NK_AT(T, m), .text = words}

/* ---- conditions ---- */

#define C struct nk_condition
static const struct nk_field condition_fields[] = {
	{.name = "state", .type = &nk_type_enum, NK_AT(C, state), .names = state_names,
	 .text = "`Ready`: the kernel is as the document says, or it is not in it (its reason says so). `Pending`: it is being made so. `Degraded`: it can't be made so now; "
		 "netkitd tries again. `Released`: its owner is gone; nothing is tried until that changes."},
	MAYBE_WORDS(C, reason, "Why, as one word for programs; netkitd(8) lists them."),
	MAYBE_WORDS(C, message, "Why, as a sentence for a person."),
	{.name = "errno", .type = &nk_type_errno, .flags = NK_OMIT_EMPTY, NK_AT(C, error), .text = "What the kernel answered."},
	MAYBE_WORDS(C, extack, "What the kernel said about it."),
	{.name = "since", .type = &nk_type_time, .flags = NK_OMIT_EMPTY, NK_AT(C, since), .text = "When this state began."},
	MAYBE_COUNT(C, retries, "How often it was tried again since."),
	MAYBE_COUNT(C, retry_in_ms, "When it is tried next, milliseconds from now."),
};
#undef C
TABLE(nk_table_condition, "condition", struct nk_condition, condition_fields, "How it is with one object.");

#define O struct nk_view_object
static const struct nk_field object_fields[] = {
	WORDS(O, object, "`device/NAME`, `interface/NAME` or `program/NAME`."),
	{.name = "condition", .type = &nk_type_object, NK_AT(O, condition), .table = &nk_table_condition, .text = "How it is."},
};
#undef O
TABLE(nk_table_view_object, "object", struct nk_view_object, object_fields, "An object that is not converged.");

/* ---- a device as the kernel shows it ---- */

static const struct nk_field observed_address_fields[] = {
	{.name = "address", .type = &nk_type_address, NK_AT(struct nk_obs_addr, p), .text = "With its prefix length."},
	FLAG(struct nk_obs_addr, ours, "netkitd put it there."),
};
PRIVATE(table_observed_address, "observed_address", struct nk_obs_addr, observed_address_fields, "An address of an end.");

static const struct nk_field observed_route_fields[] = {
	{.type = &nk_type_include, .table = &nk_table_route, NK_AT(struct nk_obs_route, r)},
	FLAG(struct nk_obs_route, ours, "netkitd put it there."),
};
PRIVATE(table_observed_route, "observed_route", struct nk_obs_route, observed_route_fields, "A route through an end.");

static const struct nk_field observed_address_item = {
	.type = &nk_type_object, .table = &table_observed_address, NK_ITEM(struct nk_obs_addr)};
static const struct nk_field observed_route_item = {
	.type = &nk_type_object, .table = &table_observed_route, NK_ITEM(struct nk_obs_route)};

/* What is known of an end only when its own namespace has been read. */
#define E struct nk_obs_end
#define DETAIL(m, wire, words) \
	{.name = wire, .type = &nk_type_uint, NK_AT(E, m), NK_IF(E, details), .text = words}
static const struct nk_field observed_end_fields[] = {
	COUNT(E, ifindex, "Its number in its namespace."),
	{.name = "name", .type = &nk_type_chars, NK_AT(E, name), .text = "Its name now."},
	FLAG(E, up, "Whether it is up."),
	{.name = "policy", .type = &nk_type_enum, NK_AT(E, policy), .names = nk_policy_names, .text = "See `device`."},
	{.name = "scrub", .type = &nk_type_enum, NK_AT(E, scrub), .names = nk_scrub_names, .text = "See `device`."},
	DETAIL(mtu, "mtu", "Bytes."),
	{.name = "mac", .type = &nk_type_mac, .flags = NK_OMIT_EMPTY, NK_AT(E, mac), .text = "Hardware address, if it has one."},
	DETAIL(txqlen, "txqueuelen", "Packets."),
	DETAIL(gso_max, "gso_max_size", "Bytes."),
	DETAIL(gro_max, "gro_max_size", "Bytes."),
	DETAIL(gso_ipv4_max, "gso_ipv4_max_size", "Bytes."),
	DETAIL(gro_ipv4_max, "gro_ipv4_max_size", "Bytes."),
	{.name = "addresses", .type = &nk_type_list, NK_LIST_AT(E, addrs, n_addrs), NK_IF(E, details), .item = &observed_address_item,
	 .text = "All of them, of very many the first 2,048; absent while they are not known."},
	{.name = "routes", .type = &nk_type_list, NK_LIST_AT(E, routes, n_routes), NK_IF(E, details), .item = &observed_route_item,
	 .text = "Those of the main table through this end, likewise."},
};
#undef DETAIL
#undef E
PRIVATE(table_observed_end, "observed_peer", struct nk_obs_end, observed_end_fields, "An end as the kernel shows it.");

static const struct nk_field observed_link_fields[] = {
	{.name = "name", .type = &nk_type_chars, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_obs_link, name),
	 .text = "Name of the attachment; absent for a foreign one."},
	MAYBE_COUNT(struct nk_obs_link, link_id, "Kernel id of the link; absent when it was attached by descriptor."),
	COUNT(struct nk_obs_link, prog_id, "Kernel id of the program."),
};
PRIVATE(table_observed_link, "observed_link", struct nk_obs_link, observed_link_fields, "A program in a chain.");

static const struct nk_field observed_link_item = {
	.type = &nk_type_object, .table = &table_observed_link, NK_ITEM(struct nk_obs_link)};

#define D struct nk_obs_device
static const struct nk_field observed_chain_fields[] = {
	{.name = "netkit/primary", .type = &nk_type_list,
	 NK_LIST_AT(D, chain[NK_HOOK_NETKIT_PRIMARY].links, chain[NK_HOOK_NETKIT_PRIMARY].n), .item = &observed_link_item,
	 .text = "In the order in which packets meet them."},
	{.name = "netkit/peer", .type = &nk_type_list, NK_LIST_AT(D, chain[NK_HOOK_NETKIT_PEER].links, chain[NK_HOOK_NETKIT_PEER].n),
	 .item = &observed_link_item, .text = "Likewise."},
};
/* A group of nk_obs_device's members: it begins where the device begins. */
PRIVATE(table_observed_chains, "observed_chains", D, observed_chain_fields, "The programs at both hooks.");

static const struct nk_field observed_fields[] = {
	{.type = &nk_type_include, .table = &table_observed_end, NK_AT(D, end[NK_PRIMARY])},
	{.name = "mode", .type = &nk_type_enum, NK_AT(D, mode), .names = nk_mode_names, .text = "See `device`."},
	FLAG(D, single, "It was made without a peer."),
	MAYBE_COUNT(D, headroom, "Bytes."),
	MAYBE_COUNT(D, tailroom, "Bytes."),
	FLAG(D, marked, "It carries netkitd's group: it is ours."),
	FLAG(D, peer_in_place, "The peer is in the namespace that the document names."),
	{.name = "peer", .type = &nk_type_object, .size = sizeof(struct nk_obs_end), .offset = offsetof(D, end[NK_PEER]),
	 NK_UNLESS(D, single), .table = &table_observed_end, .text = "The peer."},
	{.name = "chains", .type = &nk_type_object, .size = sizeof(D), NK_IF(D, chains_known), .table = &table_observed_chains,
	 .text = "The programs at both hooks; absent while they are not known."},
};
#undef D
PRIVATE(table_observed, "observed", struct nk_obs_device, observed_fields, "A device as the kernel shows it.");

#define D struct nk_obs_device
static const struct nk_field observed_tcx_fields[] = {
	{.name = "tcx/ingress", .type = &nk_type_list, NK_LIST_AT(D, chain[NK_HOOK_TCX_INGRESS].links, chain[NK_HOOK_TCX_INGRESS].n),
	 .item = &observed_link_item, .text = "In the order in which packets meet them."},
	{.name = "tcx/egress", .type = &nk_type_list, NK_LIST_AT(D, chain[NK_HOOK_TCX_EGRESS].links, chain[NK_HOOK_TCX_EGRESS].n),
	 .item = &observed_link_item, .text = "Likewise."},
};
PRIVATE(table_observed_tcx, "observed_tcx_chains", D, observed_tcx_fields, "The programs at both hooks.");

static const struct nk_field observed_interface_fields[] = {
	{.name = "ifindex", .type = &nk_type_uint, NK_AT(D, end[NK_PRIMARY].ifindex), .text = "Its number."},
	{.name = "chains", .type = &nk_type_object, .size = sizeof(D), NK_IF(D, chains_known), .table = &table_observed_tcx,
	 .text = "The programs at both hooks; absent while they are not known."},
};
#undef D
PRIVATE(table_observed_interface, "observed_interface", struct nk_obs_device, observed_interface_fields,
	"An interface as the kernel shows it.");

#define V struct nk_view_device
static const struct nk_field view_interface_fields[] = {
	{.name = "desired", .type = &nk_type_ref, .flags = NK_OMIT_EMPTY, NK_AT(V, desired), .table = &nk_table_interface,
	 .text = "As the document has it."},
	{.name = "observed", .type = &nk_type_ref, .flags = NK_OMIT_EMPTY, NK_AT(V, observed), .table = &table_observed_interface,
	 .text = "As the kernel shows it; absent when it is not there."},
};
/* A group of nk_view_device's members: it begins where the view begins. */
PRIVATE(table_view_interface, "interface_state", V, view_interface_fields, "An interface, desired and observed.");

static const struct nk_field view_device_fields[] = {
	WORDS(V, name, "Name of the device or interface."),
	FLAG(V, unclaimed, "It carries netkitd's mark, but no document names it."),
	MAYBE_WORDS(V, source, "The file that states it; absent when it came by the socket."),
	{.name = "condition", .type = &nk_type_object, NK_AT(V, condition), .table = &nk_table_condition, .text = "How it is."},
	COUNT(V, repairs, "How often something was put back since the daemon started."),
	{.name = "desired", .type = &nk_type_ref, .flags = NK_OMIT_EMPTY, NK_AT(V, desired), NK_UNLESS(V, is_interface),
	 .table = &nk_table_device, .text = "As the document has it."},
	{.name = "observed", .type = &nk_type_ref, .flags = NK_OMIT_EMPTY, NK_AT(V, observed), NK_UNLESS(V, is_interface),
	 .table = &table_observed, .text = "As the kernel shows it; absent when it is not there."},
	{.name = "interface", .type = &nk_type_object, .size = sizeof(V), NK_IF(V, is_interface), .table = &table_view_interface,
	 .text = "Of an interface, in place of `desired` and `observed`."},
};
#undef V
TABLE(nk_table_view_device, "device_state", struct nk_view_device, view_device_fields, "A device or interface, desired and observed.");

/* ---- programs and attachments ---- */

#define V struct nk_view_program
static const struct nk_field view_program_fields[] = {
	MAYBE_WORDS(V, name, "Its name in the document; absent for a foreign one."),
	{.name = "source", .type = &nk_type_string, .flags = NK_OMIT_EMPTY, NK_AT(V, source_file),
	 .text = "The file that states it; absent when it came by the socket."},
	{.name = "desired", .type = &nk_type_ref, .flags = NK_OMIT_EMPTY, NK_AT(V, desired), .table = &nk_table_program,
	 .text = "As the document has it."},
	{.name = "condition", .type = &nk_type_object, NK_AT(V, condition), .table = &nk_table_condition, .text = "How it is."},
	MAYBE_COUNT(V, id, "Kernel id; absent while it is not loaded."),
	MAYBE_WORDS(V, tag, "The kernel's digest of its instructions, 16 hexadecimal digits."),
	MAYBE_WORDS(V, kernel_name, "Its name in the kernel."),
	COUNT(V, users, "How many attachments use it."),
	COUNT(V, run_count, "How often it ran; 0 unless the sysctl kernel.bpf_stats_enabled is on."),
	COUNT(V, run_time_ns, "How long, nanoseconds; likewise."),
};
#undef V
TABLE(nk_table_view_program, "program_state", struct nk_view_program, view_program_fields, "A program, desired and loaded.");

#define V struct nk_view_holder
static const struct nk_field view_holder_fields[] = {
	COUNT(V, pid, "Its number, as the host counts."),
	WORDS(V, comm, "Its name."),
};
#undef V
PRIVATE(table_holder, "holder", struct nk_view_holder, view_holder_fields, "A process that has a descriptor of a link.");

static const struct nk_field pin_item = {.type = &nk_type_string, NK_ITEM(const char *)};
static const struct nk_field holder_item = {.type = &nk_type_object, .table = &table_holder, NK_ITEM(struct nk_view_holder)};

#define V struct nk_view_owners
static const struct nk_field view_owners_fields[] = {
	{.name = "pins", .type = &nk_type_list, NK_LIST_AT(V, pins, n_pins), NK_IF(V, pins_known), .item = &pin_item,
	 .text = "With `owners`, of a foreign one with a link: where the link is pinned, paths in the bpffs mounts of the host. Absent if "
		 "none was found, and not all could be looked at."},
	{.name = "holders", .type = &nk_type_list, NK_LIST_AT(V, holders, n_holders), NK_IF(V, holders_known), .item = &holder_item,
	 .text = "Likewise: the processes that have a descriptor of the link."},
};
#undef V
TABLE(nk_table_view_owners, "owners", struct nk_view_owners, view_owners_fields, "Who keeps a foreign link.");

#define V struct nk_view_attachment
static const struct nk_field view_attachment_fields[] = {
	WORDS(V, device, "The device or interface."),
	WORDS(V, hook, "The hook."),
	{.name = "position", .type = &nk_type_int, NK_AT(V, position), .min = -1,
	 .text = "Its place in the chain as packets meet it, from 0; -1 while it is not attached."},
	MAYBE_WORDS(V, name, "Its name in the document; absent for a foreign one."),
	MAYBE_WORDS(V, program, "Name of its program; absent for a foreign one."),
	FLAG(V, foreign, "Somebody else attached it."),
	FLAG(V, attached, "It stands in the kernel's chain."),
	MAYBE_COUNT(V, link_id, "Kernel id of its link; absent for one attached by descriptor, which nobody keeps, and while it is not attached."),
	MAYBE_COUNT(V, prog_id, "Kernel id of its program."),
	MAYBE_WORDS(V, tag, "The kernel's digest of the program's instructions."),
	MAYBE_WORDS(V, kernel_name, "The program's name in the kernel, its function's cut to 15 bytes."),
	COUNT(V, run_count, "How often the program ran, at all of its hooks; 0 unless kernel.bpf_stats_enabled is on."),
	COUNT(V, run_time_ns, "How long, nanoseconds; likewise."),
	{.type = &nk_type_include, .table = &nk_table_view_owners, NK_AT(V, owners)},
};
#undef V
TABLE(nk_table_view_attachment, "attachment_state", struct nk_view_attachment, view_attachment_fields,
      "A program in the chain of a hook.");

/* ---- the daemon ---- */

#define V struct nk_view_capability
static const struct nk_field view_capability_fields[] = {
	WORDS(V, name, "Name of the feature."),
	WORDS(V, state, "`present`, `missing` or `unknown`."),
	WORDS(V, how, "How that was found out."),
	MAYBE_WORDS(V, config, "The kernel option that gives it."),
	FLAG(V, needed, "netkitd can't work without it."),
};
#undef V
TABLE(nk_table_view_capability, "capability", struct nk_view_capability, view_capability_fields, "A feature of the kernel.");

#define V struct nk_view_status
static const struct nk_field status_revision_fields[] = {
	{.name = "desired", .type = &nk_type_uint, NK_AT(V, revision_desired), .text = "Of the newest change on disk."},
	{.name = "attempted", .type = &nk_type_uint, NK_AT(V, revision_attempted), .text = "Up to here everything was tried once."},
	{.name = "converged", .type = &nk_type_uint, NK_AT(V, revision_converged), .text = "Up to here the kernel is as desired, but for devices that are Released."},
};
PRIVATE(table_status_revisions, "status_revisions", V, status_revision_fields, "How far the daemon is.");

static const struct nk_field status_count_fields[] = {
	COUNT(V, devices, "In the document."),
	COUNT(V, devices_ready, "Of these, in this state."),
	COUNT(V, devices_pending, "Likewise."),
	COUNT(V, devices_degraded, "Likewise."),
	COUNT(V, devices_released, "Likewise."),
	COUNT(V, devices_unclaimed, "Ours in the kernel, but in no document."),
	COUNT(V, interfaces, "In the document."),
	COUNT(V, interfaces_ready, "Of these, in this state."),
	COUNT(V, interfaces_pending, "Likewise; also those that aren't there."),
	COUNT(V, interfaces_degraded, "Likewise."),
	COUNT(V, programs, "In the document."),
	COUNT(V, attachments, "In the document."),
	COUNT(V, clients, "Connected now."),
	COUNT(V, subscribers, "Of these, hearing events."),
	COUNT(V, repairs, "Since the start."),
	COUNT(V, resyncs, "How often everything was read anew since the start."),
	COUNT(V, kernel_errors, "Refusals by the kernel since the start."),
};
PRIVATE(table_status_counts, "status_counts", V, status_count_fields, "Numbers.");

static const struct nk_field sentence_item = {.type = &nk_type_string, NK_ITEM(const char *)};

static const struct nk_field view_status_fields[] = {
	WORDS(V, version, "Of the daemon."),
	COUNT(V, uptime_s, "Seconds since the start."),
	WORDS(V, health, "`ok` or `degraded`."),
	{.name = "health_reasons", .type = &nk_type_list, NK_LIST_AT(V, health_reasons, n_health_reasons), .item = &sentence_item,
	 .text = "Why it is degraded: sentences."},
	{.name = "revisions", .type = &nk_type_object, .size = sizeof(V), .table = &table_status_revisions, .text = "How far it is."},
	{.name = "counts", .type = &nk_type_object, .size = sizeof(V), .table = &table_status_counts, .text = "Numbers."},
	WORDS(V, watcher, "How changes of chains are noticed: `bpf` (at once) or `poll`."),
	{.name = "features", .type = &nk_type_list, NK_LIST_AT(V, features, n_features), .item = &sentence_item,
	 .text = "Names of the kernel's features that are present; see `daemon.capabilities`."},
};
#undef V
TABLE(nk_table_view_status, "status", struct nk_view_status, view_status_fields, "How the daemon is.");

/* ---- plans and events ---- */

#define V struct nk_view_op
static const struct nk_field view_op_fields[] = {
	WORDS(V, phase, "The phase it belongs to; phases run one after the other."),
	WORDS(V, op, "What it does, as one word."),
	MAYBE_WORDS(V, device, "The device or interface; absent for programs."),
	WORDS(V, text, "The same as a line for a person."),
};
#undef V
TABLE(nk_table_view_op, "operation", struct nk_view_op, view_op_fields, "One operation on the kernel.");

static const struct nk_field op_item = {.type = &nk_type_object, .table = &nk_table_view_op};

#define V struct nk_view_plan
static const struct nk_field view_plan_fields[] = {
	COUNT(V, create, "Devices that are made, and interfaces that the document named not yet."),
	COUNT(V, change, "Devices and interfaces that are changed, in place or, where the kernel can't, by making devices anew."),
	{.name = "delete", .type = &nk_type_uint, NK_AT(V, remove),
	 .text = "Devices that are deleted, and interfaces that lose what is ours."},
	COUNT(V, unchanged, "Devices and interfaces of the request that the document has so already."),
	{.name = "ops", .type = &nk_type_json, .flags = NK_OMIT_EMPTY, NK_AT(V, ops), .item = &op_item,
	 .text = "With `dry_run`: the operations, in the order in which they would run."},
};
#undef V
TABLE(nk_table_view_plan, "plan", struct nk_view_plan, view_plan_fields, "What a change does.");

#define V struct nk_view_culprit
static const struct nk_field view_culprit_fields[] = {
	COUNT(V, pid, "Its process."),
	COUNT(V, uid, "The user as whom it ran."),
	WORDS(V, comm, "The name of that process."),
	MAYBE_WORDS(V, cgroup, "Its control group, the last part of the path. Absent: the root."),
	MAYBE_WORDS(V, unit, "The innermost service or scope of systemd's in that path."),
};
#undef V
PRIVATE(table_culprit, "culprit", struct nk_view_culprit, view_culprit_fields, "Who changed something.");

#define V struct nk_view_event_detail
static const struct nk_field view_event_detail_fields[] = {
	MAYBE_WORDS(V, message, "A sentence for a person."),
	MAYBE_COUNT(V, revision, "The revision that it is about."),
	{.name = "errno", .type = &nk_type_errno, .flags = NK_OMIT_EMPTY, NK_AT(V, error), .text = "What the kernel answered."},
	MAYBE_WORDS(V, extack, "What the kernel said about it."),
	MAYBE_COUNT(V, took_us, "How long a repair took, microseconds."),
	MAYBE_COUNT(V, count, "How often it happened."),
	{.name = "culprit", .type = &nk_type_ref, .flags = NK_OMIT_EMPTY, NK_AT(V, culprit), .table = &table_culprit,
	 .text = "Who changed it, where the kernel can tell."},
};
#undef V
TABLE(nk_table_view_event_detail, "event_detail", struct nk_view_event_detail, view_event_detail_fields,
      "What an event says beside its kind.");

#define V struct nk_view_event
static const struct nk_field view_event_fields[] = {
	COUNT(V, seq, "Grows with each event, also from one run of the daemon to the next."),
	{.name = "time", .type = &nk_type_time, NK_AT(V, time), .text = "When it happened."},
	WORDS(V, kind, "What happened; see the list of kinds."),
	WORDS(V, object, "To what: `device/NAME`, `interface/NAME`, `program/NAME` or `daemon`."),
	{.name = "detail", .type = &nk_type_ref, .flags = NK_OMIT_EMPTY, NK_AT(V, detail), .table = &nk_table_view_event_detail,
	 .text = "What else there is to say."},
};
#undef V
TABLE(nk_table_view_event, "event", struct nk_view_event, view_event_fields, "The params of the notification `event`.");
