// SPDX-License-Identifier: GPL-2.0-only
/*
 * The daemon's own settings, /etc/netkitd/netkitd.json: their table, and reading the file. Called at start.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/contract.h"
#include "api/contract_shared.h"
#include "api/json.h"

#define FILE_MAX (1u << 20) /* bytes: more is not a file of settings */

static const char *group_problem(const char *text)
{
	if (!text[0])
		return "it is empty";
	return strpbrk(text, ":/ \t\n") ? "a colon, a slash or white space is in it" : NULL;
}

#define S struct nk_settings
#define PATH(m, value, words)                                                                                                  \
	{.name = #m, .type = &nk_type_string, .flags = NK_DEFAULT, NK_AT(S, m), .max = NK_PATH_BYTES, .def_text = value,       \
	 .problem = nk_path_problem, .pattern = "^/", .what = "an absolute path", .text = words}
#define NUMBER(m, low, high, value, words)                                                                                     \
	{.name = #m, .type = &nk_type_uint, .flags = NK_DEFAULT, NK_AT(S, m), .min = low, .max = high, .def = value, .text = words}

static const struct nk_field admin_group_item = {
	.type = &nk_type_string, NK_ITEM(char *), .max = 255, .problem = group_problem, .what = "a group's name"};

static const struct nk_field object_dir_item = {
	.type = &nk_type_string, NK_ITEM(char *), .max = NK_PATH_BYTES, .problem = nk_path_problem, .pattern = "^/",
	.what = "an absolute path"};

static const struct nk_field settings_fields[] = {
	PATH(socket_path, "/run/netkitd/netkitd.sock", "The socket, when systemd does not pass one."),
	{.name = "socket_group", .type = &nk_type_string, .flags = NK_DEFAULT, NK_AT(S, socket_group), .max = 255,
	 .def_text = "netkitd", .problem = group_problem, .what = "a group's name", .text = "Whose members may connect and read."},
	PATH(state_dir, "/var/lib/netkitd", "Where the database is."),
	PATH(bpffs, "/sys/fs/bpf/netkitd", "Where the pins are: a directory in a BPF file system."),
	{.name = "admin_groups", .type = &nk_type_list, NK_LIST_AT(S, admin_groups, n_admin_groups), .max = 64,
	 .item = &admin_group_item, .text = "Whose members may change, besides uid 0. They must be able to connect, too."},
	{.name = "object_dirs", .type = &nk_type_list, NK_LIST_AT(S, object_dirs, n_object_dirs), .max = 64, .item = &object_dir_item,
	 .text = "Directories that object files may come from, with those below them. A file that a symbolic link leads to "
		 "outside of its directory is not loaded. Without this, anywhere."},
	NUMBER(group, 1, 2147418111, 1852506112,
	       "The interface group that marks netkitd's devices; the 65535 numbers behind it collect what is to be deleted. Nothing "
	       "else may use them."),
	NUMBER(max_clients, 1, 4096, 256, "Clients at a time."),
	NUMBER(retry_min_ms, 10, 3600000, 200, "Pause before refused work is tried again, milliseconds; it doubles each time."),
	NUMBER(retry_max_ms, 10, 3600000, 60000, "The longest such pause."),
	NUMBER(event_buffer, 4096, 1073741824, 67108864,
	       "Bytes of kernel memory in which events may wait to be read. When it is not enough, events are lost and everything is read "
	       "anew."),
	NUMBER(poll_s, 1, 86400, 10, "How often chains are read where the kernel can't tell of changes, seconds."),
};

static int settings_finish(void *obj, const json_t *json, bool ok, struct nk_decode *d)
{
	const struct nk_settings *s = obj;

	if (ok && s->retry_min_ms > s->retry_max_ms)
		return nk_decode_problem_in(d, "retry_min_ms", "%u is more than retry_max_ms, %u", s->retry_min_ms, s->retry_max_ms);
	return 0;
}

const struct nk_table nk_table_settings = {
	.name = "settings",
	.text = "The daemon's own settings: /etc/netkitd/netkitd.json.",
	.size = sizeof(S),
	NK_FIELDS(settings_fields),
	.finish = settings_finish,
};

int nk_settings_load(const char *path, struct nk_settings *ret, struct nk_error *err)
{
	struct nk_decode d = {.err = err, .pointer = ""};
	struct nk_settings s = {};
	json_t *json = NULL;
	int missing = nk_json_read(path, FILE_MAX, &json, err), r = 0;

	if (missing < 0 && missing != -ENOENT)
		return missing;
	if (missing)
		r = (json = json_object()) ? 0 : -ENOMEM;
	if (r == 0)
		r = nk_table_decode(&nk_table_settings, json, &s, &d);
	json_decref(json);
	if (r < 0) {
		nk_settings_clear(&s);
		return r;
	}
	*ret = s;
	return missing;
}

void nk_settings_clear(struct nk_settings *s)
{
	nk_table_clear(&nk_table_settings, s);
}
