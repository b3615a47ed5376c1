// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making and reading a program's origin. The object is kept whole instead of a digest of it: it is small, and equal bytes need no
 * trust in a hash.
 */
#include "daemon/kernel/origin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "daemon/kernel/cleanup.h"

void nk_origin_clear(struct nk_origin *o)
{
	free(o->key);
	free(o->definition);
	free(o->object);
	*o = (struct nk_origin){};
}

/* The element: id, text with its NUL, object. The text is the key and, behind a newline, the definition; that was not there at first. */
int nk_origin_make(uint32_t prog_id, const struct nk_origin *origin)
{
	_free_ char *text = NULL, *value = NULL;
	_close_ int map = -1;
	uint32_t key = 0;
	size_t text_size, size;
	int r;

	if (asprintf(&text, "%s%s%s", origin->key, origin->definition ? "\n" : "", origin->definition ?: "") < 0)
		return -ENOMEM;
	text_size = strlen(text) + 1;
	size = sizeof(prog_id) + text_size + origin->size;
	value = malloc(size);
	if (!value)
		return -ENOMEM;
	memcpy(value, &prog_id, sizeof(prog_id));
	memcpy(value + sizeof(prog_id), text, text_size);
	if (origin->size)
		memcpy(value + sizeof(prog_id) + text_size, origin->object, origin->size);
	map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "nk_origin", sizeof(key), size, 1, NULL);
	if (map < 0)
		return map;
	r = bpf_map_update_elem(map, &key, value, BPF_ANY);
	if (!r)
		r = bpf_map_freeze(map);
	return r < 0 ? r : nk_take_fd(&map);
}

int nk_origin_read(int map, uint32_t prog_id, struct nk_origin *ret)
{
	struct nk_origin o = {};
	struct bpf_map_info info = {};
	uint32_t info_size = sizeof(info), key = 0;
	_free_ char *value = NULL;
	size_t text_size;
	char *line;
	int r = bpf_map_get_info_by_fd(map, &info, &info_size);

	if (r < 0)
		return r;
	if (info.type != BPF_MAP_TYPE_ARRAY || info.max_entries != 1 || info.value_size <= sizeof(prog_id))
		return -ENOENT;
	value = malloc(info.value_size);
	if (!value)
		return -ENOMEM;
	r = bpf_map_lookup_elem(map, &key, value);
	if (r < 0)
		return r;
	text_size = strnlen(value + sizeof(prog_id), info.value_size - sizeof(prog_id)) + 1;
	if (memcmp(value, &prog_id, sizeof(prog_id)) || sizeof(prog_id) + text_size > info.value_size)
		return -ENOENT;
	o.size = info.value_size - sizeof(prog_id) - text_size;
	line = strchr(value + sizeof(prog_id), '\n');
	if (line)
		*line++ = '\0';
	o.key = strdup(value + sizeof(prog_id));
	o.definition = line ? strdup(line) : NULL;
	o.object = malloc(o.size + 1);
	if (!o.key || (line && !o.definition) || !o.object) {
		nk_origin_clear(&o);
		return -ENOMEM;
	}
	memcpy(o.object, value + sizeof(prog_id) + text_size, o.size);
	*ret = o;
	return 0;
}
