// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commands about single objects: get, list, set, delete.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "tools/cli/cli.h"
#include "tools/cli/input.h"
#include "tools/cli/output.h"
#include "tools/cli/report.h"
#include "tools/cli/show.h"

#define SET_TRIES 5 /* how often set begins again when others change the state at the same time */

enum { LIST_NAMES };
const struct cli_option cli_list_options[] = {
	{0, "names", NULL, false, "only names, one a line"},
	{0},
};

enum { SET_DRY_RUN, SET_WAIT };
const struct cli_option cli_set_options[] = {
	{'n', "dry-run", NULL, false, "only check and show the device as it would be"},
	{'w', "wait", "SECONDS", true, "wait until it is there, 60 seconds if no number is given"},
	{0},
};

enum { DELETE_WAIT };
const struct cli_option cli_delete_options[] = {
	{'w', "wait", "SECONDS", true, "wait until they are gone, 60 seconds if no number is given"},
	{0},
};

/* ---- get ---- */

/* An element of a list as text. What the kernel shows of an address or route says whose it is: only a foreign one is worth a word. */
static char *element_text(const json_t *element)
{
	const json_t *ours = json_object_get(element, "ours"), *address = json_object_get(element, "address");
	json_t *rest;
	char *text, *marked = NULL;

	if (!ours)
		return out_brief(element);
	rest = cli_must(json_copy((json_t *)element));
	json_object_del(rest, "ours");
	text = out_brief(address ? address : rest);
	json_decref(rest);
	if (json_is_true(ours))
		return text;
	if (asprintf(&marked, "%s (foreign)", text) < 0)
		cli_must(NULL);
	free(text);
	return marked;
}

static void add_row(struct out_table *t, const char *label, const char *desired, const char *observed)
{
	bool differ = *desired && *observed && strcmp(desired, observed) != 0;

	out_cell(t, OUT_PLAIN, "  %s", label);
	out_cell(t, OUT_PLAIN, "%s", desired);
	out_cell(t, differ ? OUT_WARN : OUT_PLAIN, "%s", observed);
}

/* Two lists, a row for each element: first the desired ones beside their like, then what is observed besides. */
static void add_lists(struct out_table *t, const char *label, const json_t *desired, const json_t *observed)
{
	size_t n = json_array_size(observed), i, rows = 0;
	char **left = cli_must(calloc(n + 1, sizeof(*left)));
	const json_t *element;

	json_array_foreach(observed, i, element)
		left[i] = element_text(element);
	json_array_foreach(desired, i, element) {
		char *text = element_text(element);
		size_t like = 0;

		while (like < n && !(left[like] && strcmp(left[like], text) == 0))
			like++;
		add_row(t, rows++ ? "" : label, text, like < n ? left[like] : "");
		if (like < n) {
			free(left[like]);
			left[like] = NULL;
		}
		free(text);
	}
	for (i = 0; i < n; i++) {
		if (left[i])
			add_row(t, rows++ ? "" : label, "", left[i]);
		free(left[i]);
	}
	free(left);
}

/* A row for each member that desired or observed has, desired's order first: its path, both values. */
static void add_members(struct out_table *t, const char *path, const json_t *desired, const json_t *observed)
{
	const json_t *sides[] = {desired, observed};
	const char *name;
	const json_t *value;

	for (size_t side = 0; side < 2; side++) {
		json_object_foreach((json_t *)sides[side], name, value) {
			const json_t *d = json_object_get(desired, name), *o = json_object_get(observed, name);
			char *label = NULL;

			if (side == 1 && d)
				continue;
			if (asprintf(&label, "%s%s%s", path, *path ? "." : "", name) < 0)
				cli_must(NULL);
			if (json_is_object(o) || (json_is_object(d) && strcmp(name, "peer") == 0)) {
				add_members(t, label, d, o);
			} else if (json_is_array(d) || json_is_array(o)) {
				add_lists(t, label, d, o);
			} else {
				char *d_text = out_brief(d), *o_text = out_brief(o);

				add_row(t, label, d_text, o_text);
				free(d_text);
				free(o_text);
			}
			free(label);
		}
	}
}

enum cli_status cli_get_run(struct cli *cli, const struct cli_args *args)
{
	static const char *const headings[] = {"", "DESIRED", "OBSERVED", NULL};
	const json_t *condition, *sides;
	json_t *result = NULL;
	struct out_table *t;
	const char *state;
	char *name, *reason;
	enum cli_status status = cli_call(cli, "device.get", json_pack("{s:s}", "name", args->words[0]), CLI_CALL_MS, NULL, &result);

	if (status != CLI_OK)
		return status;
	condition = json_object_get(result, "condition");
	sides = json_object_get(result, "interface");
	if (!sides)
		sides = result;
	state = json_is_true(json_object_get(result, "unclaimed")) ? "Unclaimed" : show_state(condition);
	if (strcasecmp(state, "ready") != 0)
		status = CLI_NOT_READY;
	if (cli->json) {
		out_json(result);
		json_decref(result);
		return status;
	}

	name = out_clean(show_text(result, "name"));
	reason = show_reason(condition);
	printf("%s%s%s: %s%s%s", out_paint(cli->color, OUT_BOLD), name, out_reset(cli->color, OUT_BOLD),
	       out_paint(cli->color, out_state_color(state)), state, out_reset(cli->color, out_state_color(state)));
	if (*show_text(condition, "since"))
		printf(" since %s", show_text(condition, "since"));
	putchar('\n');
	if (*reason) {
		char *clean = out_clean(reason);

		printf("  %s\n", clean);
		free(clean);
	}
	if (show_number(condition, "retries"))
		printf("  tried again %lld times, next time in %.1f s\n", (long long)show_number(condition, "retries"),
		       (double)show_number(condition, "retry_in_ms") / 1000);
	if (*show_text(result, "source"))
		printf("  stated in %s\n", show_text(result, "source"));
	if (show_number(result, "repairs"))
		printf("  put right %lld times since netkitd started\n", (long long)show_number(result, "repairs"));
	putchar('\n');

	t = out_table_new(headings);
	add_members(t, "", json_object_get(sides, "desired"), json_object_get(sides, "observed"));
	out_table_print(t, stdout, cli->color);
	out_table_free(t);
	free(reason);
	free(name);
	json_decref(result);
	return status;
}

/* ---- list ---- */

static void device_row(struct out_table *t, const json_t *device)
{
	const json_t *condition = json_object_get(device, "condition"), *desired = json_object_get(device, "desired");
	const json_t *peer;
	bool unclaimed = json_is_true(json_object_get(device, "unclaimed"));
	const char *state = unclaimed ? "Unclaimed" : show_state(condition);
	char *reason = show_reason(condition);

	if (!json_is_object(desired))
		desired = json_object_get(device, "observed");
	peer = json_object_get(desired, "peer");
	show_cell(t, OUT_PLAIN, device, "name");
	out_cell(t, out_state_color(state), "%s", state);
	show_cell(t, OUT_PLAIN, desired, "mode");
	show_cell(t, OUT_PLAIN, peer, "name");
	show_cell(t, OUT_PLAIN, peer, "netns");
	show_cell(t, OUT_PLAIN, peer, "addresses");
	out_cell(t, OUT_PLAIN, "%s", reason);
	free(reason);
}

static void interface_row(struct out_table *t, const json_t *one)
{
	const json_t *condition = json_object_get(one, "condition"), *interface = json_object_get(one, "interface");
	const char *state = show_state(condition);
	char *reason = show_reason(condition);

	show_cell(t, OUT_PLAIN, one, "name");
	out_cell(t, out_state_color(state), "%s", state);
	show_cell(t, OUT_PLAIN, json_object_get(interface, "observed"), "ifindex");
	out_cell(t, OUT_PLAIN, "%zu", json_array_size(json_object_get(json_object_get(interface, "desired"), "attachments")));
	out_cell(t, OUT_PLAIN, "%s", reason);
	free(reason);
}

static void program_row(struct out_table *t, const json_t *program)
{
	const json_t *condition = json_object_get(program, "condition"), *desired = json_object_get(program, "desired");
	bool foreign = !json_is_string(json_object_get(program, "name"));
	const char *state = foreign ? "Foreign" : show_state(condition);
	char *reason = show_reason(condition);

	show_cell(t, OUT_PLAIN, program, foreign ? "kernel_name" : "name");
	out_cell(t, out_state_color(state), "%s", state);
	show_cell(t, OUT_PLAIN, program, "id");
	show_cell(t, OUT_FAINT, program, "tag");
	show_cell(t, OUT_PLAIN, program, "users");
	show_cell(t, OUT_PLAIN, program, "run_count");
	if (json_object_get(desired, "passed"))
		out_cell(t, OUT_PLAIN, "%s", "passed as a descriptor");
	else
		show_cell(t, OUT_PLAIN, desired, json_object_get(desired, "object") ? "object" : "pin");
	out_cell(t, OUT_PLAIN, "%s", reason);
	free(reason);
}

static void attachment_row(struct out_table *t, const json_t *att)
{
	bool foreign = json_is_true(json_object_get(att, "foreign")), attached = json_is_true(json_object_get(att, "attached"));
	const char *state = foreign ? "Foreign" : attached ? "Attached" : "Missing";

	show_cell(t, OUT_PLAIN, att, "device");
	show_cell(t, OUT_PLAIN, att, "hook");
	if (show_number(att, "position") < 0)
		out_cell(t, OUT_PLAIN, "%s", "");
	else
		show_cell(t, OUT_PLAIN, att, "position");
	show_cell(t, OUT_PLAIN, att, "name");
	show_cell(t, OUT_PLAIN, att, "program");
	out_cell(t, attached && !foreign ? OUT_GOOD : out_state_color(state), "%s", state);
	show_cell(t, OUT_PLAIN, att, "link_id");
	show_cell(t, OUT_PLAIN, att, "prog_id");
	show_cell(t, OUT_FAINT, att, "tag");
	show_cell(t, OUT_PLAIN, att, "run_count");
}

static const struct list {
	const char *what, *method, *member; /* of the result */
	const char *const headings[12];
	void (*row)(struct out_table *t, const json_t *object);
} lists[] = {
	{"devices", "device.list", "devices", {"NAME", "STATE", "MODE", "PEER", "NETNS", "ADDRESSES", "WHY"}, device_row},
	{"interfaces", "device.list", "devices", {"NAME", "STATE", ">IFINDEX", ">ATTACHMENTS", "WHY"}, interface_row},
	{"programs", "program.list", "programs", {"NAME", "STATE", ">ID", "TAG", ">USERS", ">RUNS", "FROM", "WHY"}, program_row},
	{"attachments", "attachment.list", "attachments",
	 {"DEVICE", "HOOK", ">PLACE", "NAME", "PROGRAM", "STATE", ">LINK", ">ID", "TAG", ">RUNS"}, attachment_row},
};

enum cli_status cli_list_run(struct cli *cli, const struct cli_args *args)
{
	const char *what = args->n_words ? args->words[0] : "devices";
	const struct list *list = NULL;
	const json_t *rows, *row;
	json_t *result = NULL, *params = NULL;
	enum cli_status status;
	size_t i;

	for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (strcmp(what, lists[i].what) == 0)
			list = &lists[i];
	if (!list)
		return cli_usage(cli, "there are no '%s' to list, but devices, interfaces, programs and attachments", what);
	if (args->n_words > 1 && strcmp(what, "attachments") != 0)
		return cli_usage(cli, "'%s' is too much: only attachments are listed for one device", args->words[1]);
	if (args->n_words > 1)
		params = cli_must(json_pack("{s:s}", "device", args->words[1]));
	else if (list->row == interface_row)
		params = cli_must(json_pack("{s:b}", "interfaces", 1));
	status = cli_call(cli, list->method, params, CLI_CALL_MS, NULL, &result);
	if (status != CLI_OK)
		return status;

	rows = json_object_get(result, list->member);
	if (cli->json) {
		out_json(result);
	} else if (args->opt[LIST_NAMES]) {
		json_array_foreach(rows, i, row) {
			char *name = out_clean(show_text(row, "name"));

			if (*name)
				puts(name);
			free(name);
		}
	} else {
		struct out_table *t = out_table_new(list->headings);

		json_array_foreach(rows, i, row)
			list->row(t, row);
		out_table_print(t, stdout, cli->color);
		out_table_free(t);
	}
	json_decref(result);
	return CLI_OK;
}

/* ---- set ---- */

/* The device as desired now, or a new one, and the revision at which that was true. */
static enum cli_status current_device(struct cli *cli, const char *name, json_t **ret_device, json_int_t *ret_revision)
{
	json_t *daemon = NULL, *view = NULL;
	struct nk_error err = {0};
	enum cli_status status = cli_call(cli, "daemon.status", NULL, CLI_CALL_MS, NULL, &daemon);
	int r;

	if (status != CLI_OK)
		return status;
	*ret_revision = show_number(json_object_get(daemon, "revisions"), "desired");
	json_decref(daemon);

	r = cli_try(cli, "device.get", json_pack("{s:s}", "name", name), CLI_CALL_MS, &view, &err);
	if (r < 0 && !(r == -EREMOTEIO && err.code == NK_E_NOT_FOUND))
		return cli_failed(cli, r, &err, NULL);
	nk_error_clear(&err);
	if (json_object_get(view, "interface")) {
		json_decref(view);
		return cli_usage(cli, "'%s' is an interface, not a device: give it to 'netkitd-cli apply', with its attachments", name);
	}
	*ret_device = json_incref(json_object_get(view, "desired"));
	json_decref(view);
	if (!json_is_object(*ret_device)) {
		json_decref(*ret_device);
		*ret_device = cli_must(json_pack("{s:s}", "name", name));
	}
	return CLI_OK;
}

static enum cli_status set_device(struct cli *cli, const struct cli_args *args, json_t *params, uint32_t wait_ms,
				  const struct cli_input *input)
{
	json_t *result = NULL;
	enum cli_status status;

	if (!args->opt[SET_DRY_RUN])
		return cli_change(cli, "device.set", params, args->opt[SET_WAIT], wait_ms, input);

	json_object_set_new(params, "dry_run", json_true());
	json_incref(params);
	status = cli_call(cli, "device.set", params, CLI_CALL_MS, input, &result);
	if (status == CLI_OK)
		out_json(cli->json ? result : json_object_get(params, "device"));
	json_decref(result);
	json_decref(params);
	return status;
}

/* Change members of a device: read it, change it, and write it only if nobody else wrote in between. */
static enum cli_status set_members(struct cli *cli, const struct cli_args *args, uint32_t wait_ms)
{
	const struct cli_input input = {.name = args->words[0], .prefix = "/device"};
	json_t *schema = cli_must(nk_schema_of("device"));
	enum cli_status status = CLI_OK;
	bool done = false;

	for (unsigned tries = 1; !done; tries++) {
		json_t *device = NULL, *params, *result = NULL;
		struct nk_error err = {0};
		json_int_t revision = 0;
		int r;

		status = current_device(cli, args->words[0], &device, &revision);
		for (size_t i = 1; status == CLI_OK && i < args->n_words; i++)
			status = cli_input_set(cli, device, schema, args->words[i]);
		if (status != CLI_OK) {
			json_decref(device);
			break;
		}
		params = cli_must(json_pack("{s:o, s:I}", "device", device, "expected_revision", revision));
		if (args->opt[SET_DRY_RUN]) {
			status = set_device(cli, args, params, wait_ms, &input);
			break;
		}
		r = cli_try(cli, "device.set", params, CLI_CALL_MS, &result, &err);
		if (r >= 0) {
			status = cli_changed(cli, result, args->opt[SET_WAIT], wait_ms);
			done = true;
		} else if (r == -EREMOTEIO && err.code == NK_E_CONFLICT && tries < SET_TRIES) {
			nk_error_clear(&err);
		} else {
			status = cli_failed(cli, r, &err, &input);
			done = true;
		}
	}
	json_decref(schema);
	return status;
}

enum cli_status cli_set_run(struct cli *cli, const struct cli_args *args)
{
	uint32_t wait_ms = CLI_WAIT_S * 1000;
	enum cli_status status = CLI_OK;
	struct cli_input in = {0};

	if (args->opt[SET_WAIT] && args->opt[SET_WAIT][0])
		status = cli_seconds(cli, "--wait", args->opt[SET_WAIT], &wait_ms);
	if (status != CLI_OK)
		return status;
	if (args->n_words > 1)
		return set_members(cli, args, wait_ms);

	status = cli_input_read(cli, args->words[0], "/device", &in);
	if (status != CLI_OK)
		return status;
	status = set_device(cli, args, json_pack("{s:O}", "device", in.json), wait_ms, &in);
	cli_input_clear(&in);
	return status;
}

/* ---- delete ---- */

enum cli_status cli_delete_run(struct cli *cli, const struct cli_args *args)
{
	uint32_t wait_ms = CLI_WAIT_S * 1000;
	json_int_t revision = 0;
	enum cli_status status = CLI_OK, one;

	if (args->opt[DELETE_WAIT] && args->opt[DELETE_WAIT][0])
		status = cli_seconds(cli, "--wait", args->opt[DELETE_WAIT], &wait_ms);
	if (status != CLI_OK)
		return status;

	for (size_t i = 0; i < args->n_words; i++) {
		json_t *result = NULL;

		one = cli_call(cli, "device.delete", json_pack("{s:s}", "name", args->words[i]), CLI_CALL_MS, NULL, &result);
		if (one != CLI_OK) {
			status = one;
			if (!cli->client) /* nobody answers, and won't for the others */
				return status;
			continue;
		}
		revision = show_number(result, "revision");
		if (cli->json)
			out_json(result);
		json_decref(result);
	}
	if (!revision)
		return status;
	if (!cli->json)
		printf("revision %lld accepted\n", (long long)revision);
	fflush(stdout);
	if (args->opt[DELETE_WAIT]) {
		json_t *waited = NULL;

		one = cli_wait(cli, (uint64_t)revision, wait_ms, &waited);
		if (cli->json && waited)
			out_json(waited);
		json_decref(waited);
		status = status == CLI_OK ? one : status;
	}
	return status;
}
