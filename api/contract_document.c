// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables of the document: programs, devices, their ends, routes and attachments, and what must hold between the members of
 * one object. Who adds a member of the document adds a row here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "api/contract_shared.h"

const char *const nk_mode_names[] = {"l3", "l2", NULL};
const char *const nk_policy_names[] = {"pass", "drop", NULL};
static const char *const on_drift_names[] = {"repair", "report", NULL};
const char *const nk_scrub_names[] = {"default", "none", NULL};
const char *const nk_hook_names[] = {"netkit/primary", "netkit/peer", "tcx/ingress", "tcx/egress", NULL};

const char *nk_path_problem(const char *text)
{
	return text[0] == '/' ? NULL : "it does not begin with a slash";
}

#define ON_DRIFT_ROW(type_, explanation)                                                                                       \
	{                                                                                                                      \
		.name = "on_drift", .type = &nk_type_enum, .flags = NK_DEFAULT | NK_OMIT_EMPTY, NK_AT(type_, on_drift),        \
		.names = on_drift_names, .text = "What becomes of what somebody else changes. " explanation                    \
	}

/* Nothing but n hexadecimal digits? */
static bool is_digest(const char *text, size_t n)
{
	return strspn(text, "0123456789abcdef") == n && !text[n];
}

static const char *sha256_problem(const char *text)
{
	return is_digest(text, 64) ? NULL : "64 hexadecimal digits in lower case are expected, as sha256sum prints them";
}

static const char *tag_problem(const char *text)
{
	return is_digest(text, 16) ? NULL : "16 hexadecimal digits in lower case are expected";
}

/* ---- programs ---- */

static const struct nk_field passed_fields[] = {
	{.name = "id", .type = &nk_type_uint, .flags = NK_REQUIRED, NK_AT(struct nk_program, number), .min = 1, .max = UINT32_MAX,
	 .text = "The kernel's number of the program."},
	{.name = "tag", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_program, tag), .problem = tag_problem,
	 .pattern = "^[0-9a-f]{16}$", .what = "a program's tag",
	 .text = "The kernel's digest of its instructions, so that another program of its number is not taken for it."},
	{.name = "boot_id", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_program, boot_id),
	 .problem = nk_boot_id_problem, .what = "a boot id", .pattern = NK_BOOT_ID_PATTERN,
	 .text = "The boot in which the number means something."},
};

/* A group of nk_program's members: it begins where the program begins. */
static const struct nk_table table_passed = {
	.name = "program_passed",
	.text = "A program that was passed as a descriptor before. Taken back as it was given out, so that what `state.get` returns "
		"can be applied again; it means something until the next boot only.",
	.size = sizeof(struct nk_program),
	NK_FIELDS(passed_fields),
};

static const struct nk_field program_fields[] = {
	{.name = "name", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_program, name), .problem = nk_name_problem,
	 .pattern = NK_NAME_PATTERN, .what = "a name", .text = "What attachments call the program."},
	{.name = "object", .type = &nk_type_string, NK_AT(struct nk_program, path),
	 NK_WHEN(struct nk_program, source, NK_PROGRAM_OBJECT), .max = NK_PATH_BYTES, .problem = nk_path_problem, .pattern = "^/",
	 .what = "an absolute path",
	 .text = "The BPF object file that holds it. Needs `program`. It is read when the document changes, at start and on reload: "
		 "when it changed, all attachments get the new version, or none does and the old one stays."},
	{.name = "program", .type = &nk_type_string, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_program, program), .max = 127,
	 .problem = nk_identifier_problem, .pattern = NK_IDENTIFIER_PATTERN, .what = "a function's name",
	 .text = "The function in the object file."},
	{.name = "sha256", .type = &nk_type_chars, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_program, sha256),
	 .problem = sha256_problem, .pattern = "^[0-9a-f]{64}$", .what = "a SHA-256 digest",
	 .text = "Digest of the object file, hexadecimal. A file with another one is not loaded."},
	{.name = "maps", .type = &nk_type_maps, .flags = NK_OMIT_EMPTY, NK_LIST_AT(struct nk_program, maps, n_maps),
	 .text = "Maps that the object shares with others: for the map's name in the object, where an existing one is pinned. Its "
		 "definition must be the same. The object's other maps are its own."},
	{.name = "replace_maps", .type = &nk_type_bool, .flags = NK_DEFAULT | NK_OMIT_EMPTY, NK_AT(struct nk_program, replace_maps),
	 .text = "An upgrade takes over the contents of the old version's maps and is refused when the definition of one changed. "
		 "With `true` such a map begins empty instead."},
	{.name = "pin", .type = &nk_type_string, NK_AT(struct nk_program, path), NK_WHEN(struct nk_program, source, NK_PROGRAM_PIN),
	 .max = NK_PATH_BYTES, .problem = nk_path_problem, .pattern = "^/", .what = "an absolute path",
	 .text = "Where somebody else pinned it in a BPF file system; instead of `object` and `program`."},
	{.name = "fd", .type = &nk_type_uint, NK_AT(struct nk_program, number), NK_WHEN(struct nk_program, source, NK_PROGRAM_FD),
	 .min = 0, .max = 252,
	 .text = "Over the socket, instead of these: which of the descriptors sent with the message (SCM_RIGHTS) is the program, "
		 "from 0. netkitd pins it; accepted, it becomes `passed`."},
	{.name = "passed", .type = &nk_type_object, .size = sizeof(struct nk_program),
	 NK_WHEN(struct nk_program, source, NK_PROGRAM_ID), .table = &table_passed, .text = "What a passed descriptor becomes."},
	ON_DRIFT_ROW(struct nk_program, "As of a device; it is about netkitd's own pin of the program, below its directory in bpffs."),
};

static int program_finish(void *obj, const json_t *json, bool ok, struct nk_decode *d)
{
	static const char *const others[] = {"pin", "fd", "passed"};
	static const char *const with_object[] = {"program", "sha256", "maps", "replace_maps"};
	const char *from = json_object_get(json, "object") ? "object" : NULL;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (!json_object_get(json, others[i]))
			continue;
		if (from)
			return nk_decode_problem_in(d, others[i], "a program has either this or \"%s\"", from);
		from = others[i];
	}
	if (!from)
		return nk_decode_problem(d, "where is the program? \"object\" and \"program\", or \"pin\" or \"fd\", are missing");
	for (size_t i = 0; strcmp(from, "object") != 0 && i < sizeof(with_object) / sizeof(with_object[0]); i++)
		if (json_object_get(json, with_object[i]))
			return nk_decode_problem_in(d, with_object[i], "it is about an object file, and this program is of \"%s\"",
						    from);
	if (!strcmp(from, "object") && !json_object_get(json, "program"))
		return nk_decode_problem(d, "member \"program\" is missing: which function of the object file?");
	return 0;
}

static void *program_create(void)
{
	return nk_program_new();
}

static void program_drop(void *obj)
{
	nk_program_unref(obj);
}

const struct nk_table nk_table_program = {
	.name = "program",
	.text = "A BPF program that netkitd can load: a function of an object file, a pin, or a descriptor. It is loaded once and "
		"shared by its attachments.",
	.size = sizeof(struct nk_program),
	NK_FIELDS(program_fields),
	.create = program_create,
	.drop = program_drop,
	.finish = program_finish,
	.schema = "{\"oneOf\": [{\"required\": [\"object\", \"program\"]}, {\"required\": [\"pin\"]}, {\"required\": [\"fd\"]},"
		  " {\"required\": [\"passed\"]}], \"dependentRequired\": {\"program\": [\"object\"], \"sha256\": [\"object\"],"
		  " \"maps\": [\"object\"], \"replace_maps\": [\"object\"]}}",
};

/* ---- routes ---- */

static const struct nk_field route_fields[] = {
	{.name = "to", .type = &nk_type_destination, .flags = NK_REQUIRED, NK_AT(struct nk_route, to),
	 .text = "Where it leads. `\"default\"` is IPv6's when `via` or `src` is IPv6, else IPv4's; `\"0.0.0.0/0\"` and `\"::/0\"` "
		 "say it outright."},
	{.name = "via", .type = &nk_type_ip, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_route, via),
	 .text = "The gateway. It must be reached through an address or route of the same end, unless `onlink` is true."},
	{.name = "src", .type = &nk_type_ip, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_route, src),
	 .text = "The preferred source address: one of the same end's."},
	{.name = "metric", .type = &nk_type_uint, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_route, metric),
	 .text = "Routes of a smaller metric win. Without it, or with 0, the kernel's default holds: 0 for IPv4, 1024 for IPv6."},
	{.name = "onlink", .type = &nk_type_bool, .flags = NK_DEFAULT | NK_OMIT_EMPTY, NK_AT(struct nk_route, onlink),
	 .text = "Take the gateway as reachable through this end, whatever its addresses."},
};

/* The family of a route is that of its destination; "default" takes that of the other members. */
static int route_finish(void *obj, const json_t *json, bool ok, struct nk_decode *d)
{
	struct nk_route *r = obj;

	if (ok && r->to.ip.len == 0)
		r->to.ip.len = r->via.len == 16 || r->src.len == 16 ? 16 : 4;
	return 0;
}

/* "default" wherever it would be read back as the same family. */
static int route_trim(const void *obj, json_t *json)
{
	const struct nk_route *r = obj;
	bool v6 = r->via.len == 16 || r->src.len == 16;

	if (r->to.plen != 0 || (r->to.ip.len == 16) != v6)
		return 0;
	return json_object_set_new_nocheck(json, "to", json_string_nocheck("default")) < 0 ? -ENOMEM : 0;
}

const struct nk_table nk_table_route = {
	.name = "route",
	.text = "A route of the main table through one end.",
	.size = sizeof(struct nk_route),
	NK_FIELDS(route_fields),
	.finish = route_finish,
	.trim = route_trim,
};

/* ---- ends ---- */

static const struct nk_field address_item = {.type = &nk_type_address, NK_ITEM(struct nk_prefix)};
static const struct nk_field route_item = {.type = &nk_type_object, .table = &nk_table_route, NK_ITEM(struct nk_route)};

#define SIZE_ROW(member, json, bit, explanation)                                                                               \
	{                                                                                                                      \
		.name = (json), .type = &nk_type_uint, NK_AT(struct nk_end, member), NK_BIT(struct nk_end, set, (bit)),        \
		.min = 1, .max = 524280, .text = explanation                                                                   \
	}

static const struct nk_field end_fields[] = {
	{.name = "policy", .type = &nk_type_enum, .flags = NK_DEFAULT, NK_AT(struct nk_end, policy), .names = nk_policy_names,
	 .text = "What happens to the packets that this end sends while no program is attached to its hook."},
	{.name = "scrub", .type = &nk_type_enum, .flags = NK_DEFAULT, NK_AT(struct nk_end, scrub), .names = nk_scrub_names,
	 .text = "Whether mark and priority of packets are cleared (`default`) or kept (`none`) on the way through. Can't be changed "
		 "in place: the device is made anew."},
	{.name = "mtu", .type = &nk_type_uint, NK_AT(struct nk_end, mtu), NK_BIT(struct nk_end, set, NK_SET_MTU), .min = 68,
	 .max = 65535, .text = "Largest packet, bytes. IPv6 needs 1280. A peer without it has the device's."},
	{.name = "mac", .type = &nk_type_mac, NK_AT(struct nk_end, mac), NK_BIT(struct nk_end, set, NK_SET_MAC),
	 .text = "Hardware address; mode `l2` only."},
	{.name = "txqueuelen", .type = &nk_type_uint, NK_AT(struct nk_end, txqlen), NK_BIT(struct nk_end, set, NK_SET_TXQLEN),
	 .max = UINT32_MAX, .text = "Length of the transmit queue, packets."},
	SIZE_ROW(gso_max, "gso_max_size", NK_SET_GSO_MAX,
		 "Largest segmentation-offload packet, bytes (IPv6 and others; above 65536 it is BIG TCP)."),
	SIZE_ROW(gro_max, "gro_max_size", NK_SET_GRO_MAX, "Largest packet that receive offload puts together, bytes (likewise)."),
	SIZE_ROW(gso_ipv4_max, "gso_ipv4_max_size", NK_SET_GSO_IPV4_MAX, "The same as gso_max_size for IPv4."),
	SIZE_ROW(gro_ipv4_max, "gro_ipv4_max_size", NK_SET_GRO_IPV4_MAX, "The same as gro_max_size for IPv4."),
	{.name = "addresses", .type = &nk_type_list, .flags = NK_OMIT_EMPTY, NK_LIST_AT(struct nk_end, addrs, n_addrs),
	 .item = &address_item, .text = "Addresses of this end. Others that somebody adds are left alone."},
	{.name = "routes", .type = &nk_type_list, .flags = NK_OMIT_EMPTY, NK_LIST_AT(struct nk_end, routes, n_routes),
	 .item = &route_item, .text = "Routes through this end. Others that somebody adds are left alone."},
};

/* The rows that both ends share; never an object of its own. */
static const struct nk_table table_end = {
	.name = "end",
	.size = sizeof(struct nk_end),
	NK_FIELDS(end_fields),
};

static const struct nk_field peer_fields[] = {
	{.name = "name", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_device, end[NK_PEER].name),
	 .problem = nk_ifname_problem, .pattern = NK_IFNAME_PATTERN, .what = "an interface name",
	 .text = "Name of the peer in its namespace."},
	{.name = "netns", .type = &nk_type_netns, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_device, netns),
	 .text = "The network namespace that the peer lives in; the daemon's own without it."},
	{.type = &nk_type_include, .table = &table_end, NK_AT(struct nk_device, end[NK_PEER])},
};

/* A group of nk_device's members: it begins where the device begins. */
static const struct nk_table table_peer = {
	.name = "peer",
	.text = "The other end of the pair: the container's.",
	.size = sizeof(struct nk_device),
	NK_FIELDS(peer_fields),
};

/* ---- attachments ---- */

static const struct nk_field anchor_item = {.type = &nk_type_anchor, NK_ITEM(struct nk_anchor)};

static const struct nk_field attachment_fields[] = {
	{.name = "name", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_attachment, name), .problem = nk_name_problem,
	 .pattern = NK_NAME_PATTERN, .what = "a name", .text = "Its name, unique in the device or interface."},
	{.name = "hook", .type = &nk_type_enum, .flags = NK_REQUIRED, NK_AT(struct nk_attachment, hook), .names = nk_hook_names,
	 .text = "Where it is attached. Of a device: to what the primary sends, or to what the peer sends. Of an interface: to what it "
		 "receives (`tcx/ingress`), or to what it sends (`tcx/egress`)."},
	{.name = "program", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_attachment, program),
	 .problem = nk_name_problem, .pattern = NK_NAME_PATTERN, .what = "a name", .text = "The program, by its name in the document."},
	{.name = "required", .type = &nk_type_bool, .flags = NK_DEFAULT | NK_OMIT_EMPTY, NK_AT(struct nk_attachment, required),
	 .text = "Close the device whenever this attachment is lost, until it is back. Not of interfaces."},
	{.name = "priority", .type = &nk_type_int, .flags = NK_DEFAULT | NK_OMIT_EMPTY, NK_AT(struct nk_attachment, priority),
	 .min = INT32_MIN, .max = INT32_MAX,
	 .text = "The smaller stands earlier in the chain; equal ones stand as they are listed. Only among attachments that `before`, "
		 "`after`, `first` and `last` don't place otherwise."},
	{.name = "before", .type = &nk_type_list, .flags = NK_OMIT_EMPTY, NK_LIST_AT(struct nk_attachment, before, n_before),
	 .item = &anchor_item, .max = NK_CHAIN_MAX,
	 .text = "What it stands before: attachments of the same hook, by name, and programs of others."},
	{.name = "after", .type = &nk_type_list, .flags = NK_OMIT_EMPTY, NK_LIST_AT(struct nk_attachment, after, n_after),
	 .item = &anchor_item, .max = NK_CHAIN_MAX, .text = "What it stands after; likewise."},
	{.name = "first", .type = &nk_type_bool, .flags = NK_DEFAULT | NK_OMIT_EMPTY, NK_AT(struct nk_attachment, first),
	 .text = "Stand before all that aren't first, programs of others too."},
	{.name = "last", .type = &nk_type_bool, .flags = NK_DEFAULT | NK_OMIT_EMPTY, NK_AT(struct nk_attachment, last),
	 .text = "Stand after all that aren't last, programs of others too."},
};

static const struct nk_table table_attachment = {
	.name = "attachment",
	.text = "A program at a hook. Its place in the chain follows from `before`, `after`, `first`, `last` and `priority`, and where "
		"these don't say from its place in the list. What it says of a program of somebody else that isn't there is left "
		"out until it is; the device is Degraded so long, with the reason `AnchorMissing`.",
	.size = sizeof(struct nk_attachment),
	NK_FIELDS(attachment_fields),
};

static const struct nk_field attachment_item = {
	.type = &nk_type_object, .table = &table_attachment, NK_ITEM(struct nk_attachment)};

/* ---- devices ---- */

static const struct nk_field device_fields[] = {
	{.name = "name", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_device, end[NK_PRIMARY].name),
	 .problem = nk_ifname_problem, .pattern = NK_IFNAME_PATTERN, .what = "an interface name",
	 .text = "Name of the device: its primary's, on the host."},
	{.name = "mode", .type = &nk_type_enum, .flags = NK_DEFAULT, NK_AT(struct nk_device, mode), .names = nk_mode_names,
	 .text = "Packets without (`l3`) or with (`l2`) an Ethernet header. Can't be changed in place: the device is made anew."},
	{.type = &nk_type_include, .table = &table_end, NK_AT(struct nk_device, end[NK_PRIMARY])},
	{.name = "headroom", .type = &nk_type_uint, NK_AT(struct nk_device, headroom), NK_IF(struct nk_device, has_headroom),
	 .text = "Room before each packet, bytes at least. Needs a kernel that can (6.14); can't be changed in place."},
	{.name = "tailroom", .type = &nk_type_uint, NK_AT(struct nk_device, tailroom), NK_IF(struct nk_device, has_tailroom),
	 .text = "Room behind each packet, bytes at least. Likewise."},
	ON_DRIFT_ROW(struct nk_device,
		     "`repair`: it is put back at once, and told. `report`: it is told once and left; the device is Degraded (`Drifted`) until "
		     "somebody else puts it back, or the definition is applied again (also unchanged), or netkitd is reloaded or restarted. Not "
		     "together with an attachment that is `required`."),
	{.name = "peer", .type = &nk_type_object, .size = sizeof(struct nk_device), NK_UNLESS(struct nk_device, single),
	 .table = &table_peer,
	 .text = "The peer. Without it the device is a single one, where the kernel can make one (7.1)."},
	{.name = "attachments", .type = &nk_type_list, .flags = NK_OMIT_EMPTY,
	 NK_LIST_AT(struct nk_device, attachments, n_attachments), .item = &attachment_item,
	 .text = "The programs at both hooks, in the order in which packets meet them where they don't say otherwise. At most 63 a "
		 "hook."},
};

static void device_problem(const struct nk_problem *p, void *arg)
{
	struct nk_decode *d = arg;
	char *place = NULL, *pointer = NULL;

	if (d->err->n_problems < NK_ERROR_PROBLEMS_MAX)
		place = nk_decode_pointer(d);
	if (place && asprintf(&pointer, "%s%s", place, p->pointer) < 0)
		pointer = NULL;
	nk_error_at(d->err, NK_E_INVALID_PARAMS, pointer ? pointer : d->pointer, "%s", p->text);
	free(pointer);
	free(place);
}

static int device_finish(void *obj, const json_t *json, bool ok, struct nk_decode *d)
{
	struct nk_device *dev = obj;
	struct nk_end *primary = &dev->end[NK_PRIMARY], *peer = &dev->end[NK_PEER];

	if (!ok)
		return 0;
	/* Two ends of different MTU lose packets silently, so that is never what an unsaid member means. */
	if (!dev->single && (primary->set & NK_SET_MTU) && !(peer->set & NK_SET_MTU)) {
		peer->set |= NK_SET_MTU;
		peer->mtu = primary->mtu;
	}
	/* Before the lists are sorted, so that the places are the sender's. */
	if (nk_device_check(dev, "", device_problem, d) > 0)
		return -EINVAL;
	nk_device_normalise(dev);
	return 0;
}

/* What device_finish would add by itself is not said. */
static int device_trim(const void *obj, json_t *json)
{
	const struct nk_device *dev = obj;
	const struct nk_end *primary = &dev->end[NK_PRIMARY], *peer = &dev->end[NK_PEER];

	if (!dev->single && (primary->set & NK_SET_MTU) && (peer->set & NK_SET_MTU) && primary->mtu == peer->mtu)
		json_object_del(json_object_get(json, "peer"), "mtu");
	return 0;
}

static void *device_create(void)
{
	return nk_device_new();
}

static void device_drop(void *obj)
{
	nk_device_unref(obj);
}

const struct nk_table nk_table_device = {
	.name = "device",
	.text = "A netkit pair, named by its primary: the end on the host.",
	.size = sizeof(struct nk_device),
	NK_FIELDS(device_fields),
	.create = device_create,
	.drop = device_drop,
	.finish = device_finish,
	.trim = device_trim,
};

/* ---- interfaces ---- */

static const struct nk_field interface_fields[] = {
	{.name = "name", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_device, end[NK_PRIMARY].name),
	 .problem = nk_ifname_problem, .pattern = NK_IFNAME_PATTERN, .what = "an interface name",
	 .text = "Its name in the daemon's network namespace. Whatever link has that name is meant: it may come later, go, and come "
		 "again. No device, and no peer beside them, may have it."},
	ON_DRIFT_ROW(struct nk_device, "As of a device; it is about the attachments only."),
	{.name = "attachments", .type = &nk_type_list, .flags = NK_OMIT_EMPTY,
	 NK_LIST_AT(struct nk_device, attachments, n_attachments), .item = &attachment_item,
	 .text = "The programs at both hooks, as of a device. At most 63 a hook, those of others included."},
};

static void *interface_create(void)
{
	struct nk_device *d = nk_device_new();

	if (d)
		d->interface = d->single = true;
	return d;
}

const struct nk_table nk_table_interface = {
	.name = "interface",
	.text = "A network interface that netkitd doesn't own: it manages what is attached at its tcx hooks, and nothing else of it. "
		"Programs of others in the chain, and classic tc filters, stay as they are.",
	.size = sizeof(struct nk_device),
	NK_FIELDS(interface_fields),
	.create = interface_create,
	.drop = device_drop,
	.finish = device_finish,
};

/* ---- the document ---- */

static const struct nk_field program_item = {.type = &nk_type_ref, .table = &nk_table_program, NK_ITEM(struct nk_program *)};
static const struct nk_field device_item = {.type = &nk_type_ref, .table = &nk_table_device, NK_ITEM(struct nk_device *)};

static const struct nk_field interface_item = {.type = &nk_type_ref, .table = &nk_table_interface, NK_ITEM(struct nk_device *)};

static const struct nk_field document_fields[] = {
	{.name = "programs", .type = &nk_type_list, NK_LIST_AT(struct nk_document_input, programs, n_programs), .item = &program_item,
	 .text = "The programs that attachments name."},
	{.name = "devices", .type = &nk_type_list, NK_LIST_AT(struct nk_document_input, devices, n_devices), .item = &device_item,
	 .text = "The devices."},
	{.name = "interfaces", .type = &nk_type_list, .flags = NK_OMIT_EMPTY,
	 NK_LIST_AT(struct nk_document_input, interfaces, n_interfaces), .item = &interface_item,
	 .text = "Interfaces of others, for their tcx hooks."},
};

struct named {
	const char *name;
	size_t index;
	const char *member; /* the list that it stands in */
};

static int named_cmp(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	if (!c)
		c = strcmp(x->member, y->member);
	return c ? c : (x->index > y->index) - (x->index < y->index);
}

static size_t collect_names(const json_t *document, const char *member, struct named *all)
{
	const json_t *array = json_object_get(document, member), *object;
	size_t n = 0, i;

	json_array_foreach(array, i, object) {
		const char *name = json_string_value(json_object_get(object, "name"));

		if (name)
			all[n++] = (struct named){name, i, member};
	}
	return n;
}

/*
 * Each object may be named once; two lists (other may be NULL) may share their names. Looks at the JSON, so that it also holds for
 * objects in which something else is wrong.
 */
static int find_duplicates(const json_t *document, const char *member, const char *other, struct nk_decode *d)
{
	size_t size = json_array_size(json_object_get(document, member)), n, first = 0;
	const struct nk_place *top = d->place;
	struct named *all;
	int result = 0;

	if (other)
		size += json_array_size(json_object_get(document, other));
	if (size < 2)
		return 0;
	all = calloc(size, sizeof(*all));
	if (!all)
		return -ENOMEM;
	n = collect_names(document, member, all);
	if (other)
		n += collect_names(document, other, all + n);
	qsort(all, n, sizeof(*all), named_cmp);
	for (size_t i = 1; i < n; i++) {
		struct nk_place list = {.up = top, .key = all[i].member}, here = {.up = &list, .index = all[i].index};

		if (strcmp(all[i].name, all[first].name) != 0) {
			first = i;
			continue;
		}
		d->place = &here;
		result = nk_decode_problem_in(d, "name", "\"%.*s\" is named twice, first as element %zu of \"%s\"", NK_NAME_MAX,
					      all[i].name, all[first].index, all[first].member);
		d->place = top;
	}
	free(all);
	return result;
}

static int document_finish(void *obj, const json_t *json, bool ok, struct nk_decode *d)
{
	int r = find_duplicates(json, "programs", NULL, d);
	int q;

	if (r == -ENOMEM)
		return r;
	q = find_duplicates(json, "devices", "interfaces", d);
	return q < 0 ? q : r;
}

const struct nk_table nk_table_document = {
	.name = "document",
	.text = "The desired state: programs, devices, and interfaces of others.",
	.size = sizeof(struct nk_document_input),
	NK_FIELDS(document_fields),
	.finish = document_finish,
};

/* ---- what others call ---- */

void nk_document_input_clear(struct nk_document_input *in)
{
	nk_table_clear(&nk_table_document, in);
}

int nk_decode_document(const json_t *json, const char *pointer, struct nk_document_input *ret, struct nk_error *err)
{
	struct nk_decode d = {.err = err, .pointer = pointer};
	struct nk_document_input in = {};
	int r = nk_table_decode(&nk_table_document, json, &in, &d);

	if (r < 0) {
		nk_document_input_clear(&in);
		return r;
	}
	*ret = in;
	return 0;
}

int nk_decode_device(const json_t *json, const char *pointer, struct nk_device **ret, struct nk_error *err)
{
	struct nk_decode d = {.err = err, .pointer = pointer};

	return device_item.type->decode(&device_item, json, ret, &d);
}

int nk_decode_interface(const json_t *json, const char *pointer, struct nk_device **ret, struct nk_error *err)
{
	struct nk_decode d = {.err = err, .pointer = pointer};

	return interface_item.type->decode(&interface_item, json, ret, &d);
}

int nk_decode_program(const json_t *json, const char *pointer, struct nk_program **ret, struct nk_error *err)
{
	struct nk_decode d = {.err = err, .pointer = pointer};

	return program_item.type->decode(&program_item, json, ret, &d);
}

json_t *nk_encode_device(const struct nk_device *d)
{
	return nk_table_encode(d->interface ? &nk_table_interface : &nk_table_device, d);
}

json_t *nk_encode_program(const struct nk_program *p)
{
	return nk_table_encode(&nk_table_program, p);
}

static int collect_device(const struct nk_device *d, const char *source, void *arg)
{
	struct nk_document_input *in = arg;

	if (d->interface)
		in->interfaces[in->n_interfaces++] = (struct nk_device *)d;
	else
		in->devices[in->n_devices++] = (struct nk_device *)d;
	return 0;
}

static int collect_program(const struct nk_program *p, const char *source, void *arg)
{
	struct nk_document_input *in = arg;

	in->programs[in->n_programs++] = (struct nk_program *)p;
	return 0;
}

json_t *nk_encode_document(const struct nk_document *doc)
{
	/* Borrowed objects: the arrays only are freed. */
	struct nk_document_input in = {
		.programs = calloc(nk_document_n_programs(doc) + 1, sizeof(struct nk_program *)),
		.devices = calloc(nk_document_n_devices(doc) + 1, sizeof(struct nk_device *)),
		.interfaces = calloc(nk_document_n_interfaces(doc) + 1, sizeof(struct nk_device *)),
	};
	json_t *json = NULL;

	if (in.programs && in.devices && in.interfaces) {
		nk_document_each_program(doc, collect_program, &in);
		nk_document_each_device(doc, collect_device, &in);
		json = nk_table_encode(&nk_table_document, &in);
	}
	free(in.programs);
	free(in.devices);
	free(in.interfaces);
	return json;
}
