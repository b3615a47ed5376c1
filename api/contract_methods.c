// SPDX-License-Identifier: GPL-2.0-only
/*
 * The methods of the socket: name, rights, params, result. rpc finds and decodes calls by this table, the manager encodes its
 * results by it.
 */
#include <errno.h>
#include <string.h>

#include "api/contract.h"
#include "api/contract_shared.h"

#define WAIT_MAX_MS 3600000

static const char *const apply_modes[] = {"merge", "replace", NULL};

/* The options that every change takes; T is its struct. */
#define CHANGE_ROWS(T)                                                                                                         \
	{.name = "dry_run", .type = &nk_type_bool, .flags = NK_DEFAULT, NK_AT(T, dry_run),                                     \
	 .text = "Check and plan only: nothing is changed, and `plan.ops` comes back."},                                           \
	{.name = "expected_revision", .type = &nk_type_uint, NK_AT(T, expected_revision), NK_IF(T, has_expected_revision),     \
	 .text = "Refuse with `conflict` unless the document is at this revision."},                                           \
	{.name = "wait_ms", .type = &nk_type_uint, NK_AT(T, wait_ms), NK_IF(T, has_wait), .max = WAIT_MAX_MS,                  \
	 .text = "Answer only when the change is converged, or nothing is under way any more that could make it so, or after so " \
		 "many milliseconds. Without it the answer comes as soon as the change is on disk."}

/* ---- params ---- */

static const struct nk_table params_none = {.name = "no_params", .text = "No params.", .size = 0};

static const struct nk_field apply_fields[] = {
	{.name = "document", .type = &nk_type_object, .flags = NK_REQUIRED, NK_AT(struct nk_params_apply, document),
	 .table = &nk_table_document, .text = "The document, or the part of it that is to be merged."},
	{.name = "mode", .type = &nk_type_enum, .flags = NK_DEFAULT, NK_AT(struct nk_params_apply, replace), .names = apply_modes,
	 .text = "`merge`: objects of the same name are replaced and new ones added, the others stay. `replace`: this is the whole "
		 "document; what it does not name goes, unclaimed devices too. What files under state.d state stays."},
	CHANGE_ROWS(struct nk_params_apply),
};

static const struct nk_table params_apply = {
	.name = "state.apply.params",
	.text = "A change of the document.",
	.size = sizeof(struct nk_params_apply),
	NK_FIELDS(apply_fields),
};

static const struct nk_field wait_fields[] = {
	{.name = "revision", .type = &nk_type_uint, .flags = NK_DEFAULT, NK_AT(struct nk_params_wait, revision),
	 .text = "The revision to wait for; 0 is the newest."},
	{.name = "timeout_ms", .type = &nk_type_uint, .flags = NK_DEFAULT, NK_AT(struct nk_params_wait, timeout_ms), .max = WAIT_MAX_MS,
	 .def = 10000, .text = "How long to wait, milliseconds."},
};

static const struct nk_table params_wait = {
	.name = "state.wait.params",
	.text = "What to wait for.",
	.size = sizeof(struct nk_params_wait),
	NK_FIELDS(wait_fields),
};

static const struct nk_field rebuild_fields[] = {
	{.name = "unclaimed", .type = &nk_type_bool, .flags = NK_DEFAULT, NK_AT(struct nk_params_rebuild, unclaimed),
	 .text = "Only the devices and interfaces that nobody's document names."},
};

static const struct nk_table params_rebuild = {
	.name = "state.rebuild.params",
	.text = "Which devices and interfaces to tell of.",
	.size = sizeof(struct nk_params_rebuild),
	NK_FIELDS(rebuild_fields),
};

static const struct nk_field device_set_fields[] = {
	{.name = "device", .type = &nk_type_ref, .flags = NK_REQUIRED, NK_AT(struct nk_params_device_set, device),
	 .table = &nk_table_device, .text = "The device as it shall be; what it does not name goes back to its default."},
	CHANGE_ROWS(struct nk_params_device_set),
};

static const struct nk_table params_device_set = {
	.name = "device.set.params",
	.text = "One device.",
	.size = sizeof(struct nk_params_device_set),
	NK_FIELDS(device_set_fields),
};

#define DEVICE_NAME_ROW                                                                                                        \
	{.name = "name", .type = &nk_type_chars, .flags = NK_REQUIRED, NK_AT(struct nk_params_device_name, name),              \
	 .problem = nk_ifname_problem, .pattern = NK_IFNAME_PATTERN, .what = "an interface name", .text = "The device or interface."}

static const struct nk_field device_delete_fields[] = {
	DEVICE_NAME_ROW,
	CHANGE_ROWS(struct nk_params_device_name),
};

static const struct nk_table params_device_delete = {
	.name = "device.delete.params",
	.text = "A device or an interface of the document, or a device that is unclaimed.",
	.size = sizeof(struct nk_params_device_name),
	NK_FIELDS(device_delete_fields),
};

static const struct nk_field device_get_fields[] = {DEVICE_NAME_ROW};

static const struct nk_table params_device_get = {
	.name = "device.get.params",
	.text = "A device or an interface of the document, or a device that is unclaimed.",
	.size = sizeof(struct nk_params_device_name),
	NK_FIELDS(device_get_fields),
};

static const struct nk_field device_list_fields[] = {
	{.name = "interfaces", .type = &nk_type_bool, .flags = NK_DEFAULT, NK_AT(struct nk_params_list, interfaces),
	 .text = "The interfaces of the document instead."},
};

static const struct nk_table params_device_list = {
	.name = "device.list.params",
	.text = "Devices or interfaces.",
	.size = sizeof(struct nk_params_list),
	NK_FIELDS(device_list_fields),
};

static const struct nk_field attachment_list_fields[] = {
	{.name = "device", .type = &nk_type_chars, NK_AT(struct nk_params_list, device), .problem = nk_ifname_problem,
	 .pattern = NK_IFNAME_PATTERN, .what = "an interface name", .text = "Of one device or interface only; without it, all."},
	{.name = "owners", .type = &nk_type_bool, .flags = NK_DEFAULT, NK_AT(struct nk_params_list, owners),
	 .text = "Find out who keeps the links of foreign ones, among all pins and processes of the host. The answer waits for that."},
};

static const struct nk_table params_attachment_list = {
	.name = "attachment.list.params",
	.text = "Which attachments.",
	.size = sizeof(struct nk_params_list),
	NK_FIELDS(attachment_list_fields),
};

static const struct nk_field subscribe_fields[] = {
	{.name = "since", .type = &nk_type_uint, NK_AT(struct nk_params_subscribe, since), NK_IF(struct nk_params_subscribe, has_since),
	 .text = "Send first what is kept of the events after this number, as they were sent then: those of the kinds that the journal "
		 "has with priority notice or above, of which the last 1,000 are kept. 0: all of these. Without it, none."},
};

static const struct nk_table params_subscribe = {
	.name = "event.subscribe.params",
	.text = "Where to begin.",
	.size = sizeof(struct nk_params_subscribe),
	NK_FIELDS(subscribe_fields),
};

/* ---- results ---- */

static const struct nk_field capability_item = {.type = &nk_type_object, .table = &nk_table_view_capability};
static const struct nk_field object_item = {.type = &nk_type_object, .table = &nk_table_view_object};
static const struct nk_field device_item = {.type = &nk_type_object, .table = &nk_table_view_device};
static const struct nk_field program_item = {.type = &nk_type_object, .table = &nk_table_view_program};
static const struct nk_field attachment_item = {.type = &nk_type_object, .table = &nk_table_view_attachment};

#define RESULT(T, id, wire, words)                                                                                             \
	static const struct nk_table result_##id = {                                                                           \
		.name = wire ".result", .text = words, .size = sizeof(struct T), NK_FIELDS(result_##id##_fields), .output = true}

static const struct nk_field result_capabilities_fields[] = {
	{.name = "capabilities", .type = &nk_type_json, NK_AT(struct nk_result_one, value), .item = &capability_item,
	 .text = "One for each."},
};
RESULT(nk_result_one, capabilities, "daemon.capabilities", "What the kernel offers.");

static const struct nk_field result_document_fields[] = {
	{.name = "revision", .type = &nk_type_uint, NK_AT(struct nk_result_document, revision),
	 .text = "The revision at which this is read."},
	{.name = "document", .type = &nk_type_json, NK_AT(struct nk_result_document, document), .table = &nk_table_document,
	 .text = "The document, fit for `state.apply`."},
};
RESULT(nk_result_document, document, "state.get", "The document and its revision.");

static const struct nk_field result_rebuild_fields[] = {
	{.name = "document", .type = &nk_type_json, NK_AT(struct nk_result_one, value), .table = &nk_table_document,
	 .text = "The document, fit for `state.apply`."},
};
RESULT(nk_result_one, rebuild, "state.rebuild", "A document made of what is there.");

static const struct nk_field result_apply_fields[] = {
	{.name = "revision", .type = &nk_type_uint, NK_AT(struct nk_result_apply, revision),
	 .text = "The revision that the change made; with `dry_run`, or when nothing changed, the one that holds."},
	{.name = "converged", .type = &nk_type_bool, NK_AT(struct nk_result_apply, converged),
	 .text = "Whether the kernel is as the document says of all that the request names, changed or not, and of what it removes; a "
		 "device that is Released doesn't count against it. Without `wait_ms` it is seldom so yet after a change."},
	{.name = "plan", .type = &nk_type_json, NK_AT(struct nk_result_apply, plan), .table = &nk_table_view_plan,
	 .text = "What is done."},
	{.name = "pending", .type = &nk_type_json, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_result_apply, pending), .item = &object_item,
	 .text = "With `wait_ms`, when it is not converged: which objects are not, and why."},
};
RESULT(nk_result_apply, apply, "state.apply", "What became of a change.");

static const struct nk_field result_wait_fields[] = {
	{.name = "revision", .type = &nk_type_uint, NK_AT(struct nk_result_wait, revision), .text = "The revision waited for."},
	{.name = "converged", .type = &nk_type_bool, NK_AT(struct nk_result_wait, converged),
	 .text = "Whether it is converged; false when the time was over, or nothing is under way any more that could make it so."},
	{.name = "pending", .type = &nk_type_json, NK_AT(struct nk_result_wait, pending), .item = &object_item,
	 .text = "Which objects are not, and why."},
};
RESULT(nk_result_wait, wait, "state.wait", "How far it is.");

static const struct nk_field result_devices_fields[] = {
	{.name = "devices", .type = &nk_type_json, NK_AT(struct nk_result_one, value), .item = &device_item, .text = "By name."},
};
RESULT(nk_result_one, devices, "device.list", "All devices.");

static const struct nk_field result_programs_fields[] = {
	{.name = "programs", .type = &nk_type_json, NK_AT(struct nk_result_one, value), .item = &program_item,
	 .text = "Those of the document, then the foreign ones that stand in chains of ours."},
};
RESULT(nk_result_one, programs, "program.list", "All programs.");

static const struct nk_field result_attachments_fields[] = {
	{.name = "attachments", .type = &nk_type_json, NK_AT(struct nk_result_one, value), .item = &attachment_item,
	 .text = "By device, hook and place; foreign ones are shown as foreign."},
};
RESULT(nk_result_one, attachments, "attachment.list", "All attachments.");

static const struct nk_field result_subscribe_fields[] = {
	{.name = "seq", .type = &nk_type_uint, NK_AT(struct nk_result_subscribe, seq),
	 .text = "Number of the newest event so far: those that happen from now on have greater ones."},
	{.name = "from", .type = &nk_type_uint, .flags = NK_OMIT_EMPTY, NK_AT(struct nk_result_subscribe, from),
	 .text = "With `since`: of what is kept nothing is missing from this number on. Greater than `since` + 1: older ones were dropped, "
		 "or some could not be written. What happened in the last second before the daemon was killed, or the host lost power, "
		 "may be missing as well."},
	{.name = "kept", .type = &nk_type_uint, NK_AT(struct nk_result_subscribe, kept),
	 .text = "How many kept events follow, before the new ones."},
};
RESULT(nk_result_subscribe, subscribe, "event.subscribe", "Where the subscription begins.");

/* ---- the methods ---- */

const struct nk_method_info nk_methods[NK_METHODS] = {
	[NK_M_DAEMON_STATUS] = {"daemon.status", false, false, &params_none, &nk_table_view_status,
				"How the daemon is: version, uptime, revisions, counts, health."},
	[NK_M_DAEMON_CAPABILITIES] = {"daemon.capabilities", false, false, &params_none, &result_capabilities,
				      "Each kernel feature that netkitd can use, present or not, and how that was found out."},
	[NK_M_STATE_GET] = {"state.get", false, false, &params_none, &result_document, "The desired state."},
	[NK_M_STATE_APPLY] = {"state.apply", true, true, &params_apply, &result_apply,
			      "Change the desired state. The answer means that the change is on disk; a refused change changes nothing."},
	[NK_M_STATE_WAIT] = {"state.wait", false, false, &params_wait, &result_wait,
			     "Wait until a revision is converged, or tell which objects are not and why."},
	[NK_M_STATE_REBUILD] = {"state.rebuild", false, true, &params_rebuild, &result_rebuild,
				"A document made of what the kernel holds of ours; nothing is changed."},
	[NK_M_DEVICE_SET] = {"device.set", true, true, &params_device_set, &result_apply, "Add or replace one device."},
	[NK_M_DEVICE_DELETE] = {"device.delete", true, true, &params_device_delete, &result_apply,
				"Delete one device, also one that is unclaimed; or let go of an interface: what is ours there is "
				"detached."},
	[NK_M_DEVICE_GET] = {"device.get", false, true, &params_device_get, &nk_table_view_device,
			     "One device or interface: desired, observed, condition."},
	[NK_M_DEVICE_LIST] = {"device.list", false, true, &params_device_list, &result_devices,
			      "All devices, likewise, also unclaimed ones; or all interfaces."},
	[NK_M_PROGRAM_LIST] = {"program.list", false, true, &params_none, &result_programs,
			       "The programs, with kernel ids, tags and run counts."},
	[NK_M_ATTACHMENT_LIST] = {"attachment.list", false, true, &params_attachment_list, &result_attachments,
				  "The attachments, with their places in the chains."},
	[NK_M_EVENT_SUBSCRIBE] = {"event.subscribe", false, false, &params_subscribe, &result_subscribe,
				  "From now on send a notification `event` for each event; with `since`, also for kept ones that were before. A "
				  "client that does not read them is dropped."},
};

int nk_method_find(const char *name)
{
	for (int m = 0; m < NK_METHODS; m++)
		if (strcmp(nk_methods[m].name, name) == 0)
			return m;
	return -ENOENT;
}

int nk_decode_params(enum nk_method m, const json_t *json, union nk_params *ret, struct nk_error *err)
{
	struct nk_decode d = {.err = err, .pointer = ""};
	union nk_params params = {};
	json_t *none = NULL;
	int r;

	if (json_is_array(json))
		return nk_error_at(err, NK_E_INVALID_PARAMS, "", "params are taken by name only: an object, not a list");
	if (!json) {
		json = none = json_object();
		if (!none)
			return -ENOMEM;
	}
	r = nk_table_decode(nk_methods[m].params, json, &params, &d);
	json_decref(none);
	if (r < 0) {
		nk_params_clear(m, &params);
		return r;
	}
	*ret = params;
	return 0;
}

void nk_params_clear(enum nk_method m, union nk_params *p)
{
	nk_table_clear(nk_methods[m].params, p);
}
