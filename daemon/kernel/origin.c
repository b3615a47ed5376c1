// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making and comparing a program's origin. The object is kept whole instead of a digest of it: it is small, equal bytes need no
 * trust in a hash, and no library.
 */
#include "daemon/kernel/origin.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "daemon/kernel/cleanup.h"

/* The element: id, name with its NUL, object. NULL without memory; the caller frees it. */
static char *element(uint32_t prog_id, const char *function, const void *object, size_t size, size_t *ret_size)
{
	size_t name = strlen(function) + 1;
	char *value = malloc(sizeof(prog_id) + name + size);

	if (!value)
		return NULL;
	memcpy(value, &prog_id, sizeof(prog_id));
	memcpy(value + sizeof(prog_id), function, name);
	memcpy(value + sizeof(prog_id) + name, object, size);
	*ret_size = sizeof(prog_id) + name + size;
	return value;
}

int nk_origin_make(uint32_t prog_id, const char *function, const void *object, size_t size)
{
	size_t value_size = 0;
	_free_ char *value = element(prog_id, function, object, size, &value_size);
	_close_ int map = -1;
	uint32_t key = 0;
	int r;

	if (!value)
		return -ENOMEM;
	map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "nk_origin", sizeof(key), value_size, 1, NULL);
	if (map < 0)
		return map;
	r = bpf_map_update_elem(map, &key, value, BPF_ANY);
	if (!r)
		r = bpf_map_freeze(map);
	return r < 0 ? r : nk_take_fd(&map);
}

bool nk_origin_is(int map, uint32_t prog_id, const char *function, const void *object, size_t size)
{
	size_t value_size = 0;
	_free_ char *value = element(prog_id, function, object, size, &value_size);
	struct bpf_map_info info = {};
	uint32_t info_size = sizeof(info), key = 0;
	_free_ char *kept = NULL;

	if (!value || bpf_map_get_info_by_fd(map, &info, &info_size) < 0 || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.value_size != value_size)
		return false;
	kept = malloc(value_size);
	return kept && !bpf_map_lookup_elem(map, &key, kept) && !memcmp(kept, value, value_size);
}
