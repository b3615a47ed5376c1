// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names and table of our pins, for bpf.c. Touches no file: what it says is what it was told.
 */
#include "daemon/kernel/pins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/cleanup.h"

static const char *const hook_words[NK_HOOKS] = {
	[NK_HOOK_NETKIT_PRIMARY] = "primary",
	[NK_HOOK_NETKIT_PEER] = "peer",
	[NK_HOOK_TCX_INGRESS] = "ingress",
	[NK_HOOK_TCX_EGRESS] = "egress",
};

static char *encode(const char *name, char *out)
{
	for (; *name; name++) {
		if (*name == '.')
			out = stpcpy(out, "%2E");
		else if (*name == '%')
			out = stpcpy(out, "%25");
		else
			*out++ = *name;
	}
	*out = '\0';
	return out;
}

/* The inverse, for the n bytes at name. 0 or -EINVAL: not encoded by us, empty, or too long for out. */
static int decode(const char *name, size_t n, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		char c = name[i];

		if (c == '%') {
			if (n - i < 3)
				return -EINVAL;
			if (!memcmp(name + i, "%2E", 3))
				c = '.';
			else if (memcmp(name + i, "%25", 3))
				return -EINVAL;
			i += 2;
		}
		if (used + 1 >= size)
			return -EINVAL;
		out[used++] = c;
	}
	out[used] = '\0';
	return used ? 0 : -EINVAL;
}

char *nk_pin_encode(const char *name, char *buf)
{
	encode(name, buf);
	return buf;
}

int nk_pin_decode(const char *pin, char *ret, size_t size)
{
	_free_ char *name = malloc(size);
	int r = name ? decode(pin, strlen(pin), name, size) : -ENOMEM;

	if (!r)
		strcpy(ret, name);
	return r;
}

char *nk_pin_link_name(const char *device, enum nk_hook hook, const char *attachment, char *buf)
{
	char *end = encode(device, buf);

	*end++ = ':';
	end = stpcpy(end, hook_words[hook]);
	*end++ = ':';
	encode(attachment, end);
	return buf;
}

int nk_pin_link_parse(const char *pin, char *device, enum nk_hook *hook, char *attachment)
{
	const char *first = strchr(pin, ':');
	const char *second = first ? strchr(first + 1, ':') : NULL;
	char dev[NK_IFNAMSIZ], att[NK_NAME_MAX];

	if (!second || decode(pin, first - pin, dev, sizeof(dev)) < 0 ||
	    decode(second + 1, strlen(second + 1), att, sizeof(att)) < 0)
		return -EINVAL;
	for (int h = 0; h < NK_HOOKS; h++) {
		size_t n = strlen(hook_words[h]);

		if ((size_t)(second - first - 1) != n || memcmp(first + 1, hook_words[h], n))
			continue;
		strcpy(device, dev);
		strcpy(attachment, att);
		*hook = h;
		return 0;
	}
	return -EINVAL;
}

static uint32_t hash_link(uint32_t link_id)
{
	return nk_hash_bytes(NK_HASH_SEED, &link_id, sizeof(link_id));
}

int nk_pins_init(struct nk_pins *p)
{
	struct nk_pins pins = {};

	if (nk_map_init(&pins.by_link) < 0 || nk_map_init(&pins.by_device) < 0) {
		nk_map_clear(&pins.by_link);
		return -ENOMEM;
	}
	*p = pins;
	return 0;
}

static void drop(struct nk_pins *p, struct nk_pin *pin)
{
	nk_map_remove(&p->by_link, &pin->by_link);
	nk_map_remove(&p->by_device, &pin->by_device);
	free(pin);
}

static void free_pin(const struct nk_pin *pin, void *arg)
{
	drop(arg, (struct nk_pin *)pin);
}

void nk_pins_clear(struct nk_pins *p)
{
	nk_pins_each(p, free_pin, p);
	nk_map_clear(&p->by_link);
	nk_map_clear(&p->by_device);
}

static struct nk_pin *find(const struct nk_pins *p, const char *device, enum nk_hook hook, const char *attachment)
{
	struct nk_map_node *node = nk_map_first(&p->by_device, nk_hash_text(NK_HASH_SEED, device));

	for (; node; node = nk_map_next(node)) {
		struct nk_pin *pin = nk_map_entry(node, struct nk_pin, by_device);

		if (pin->hook == hook && !strcmp(pin->device, device) && !strcmp(pin->attachment, attachment))
			return pin;
	}
	return NULL;
}

int nk_pins_put(struct nk_pins *p, const char *device, enum nk_hook hook, const char *attachment, uint32_t link_id)
{
	size_t n = strlen(attachment) + 1;
	struct nk_pin *pin = calloc(1, sizeof(*pin) + n);

	if (!pin)
		return -ENOMEM;
	nk_pins_remove(p, device, hook, attachment);
	pin->link_id = link_id;
	pin->hook = hook;
	strncpy(pin->device, device, sizeof(pin->device) - 1);
	memcpy(pin->attachment, attachment, n);
	nk_map_insert(&p->by_link, &pin->by_link, hash_link(link_id));
	nk_map_insert(&p->by_device, &pin->by_device, nk_hash_text(NK_HASH_SEED, device));
	return 0;
}

void nk_pins_remove(struct nk_pins *p, const char *device, enum nk_hook hook, const char *attachment)
{
	struct nk_pin *pin = find(p, device, hook, attachment);

	if (pin)
		drop(p, pin);
}

const struct nk_pin *nk_pins_by_link(const struct nk_pins *p, uint32_t link_id)
{
	struct nk_map_node *node = nk_map_first(&p->by_link, hash_link(link_id));

	for (; node; node = nk_map_next(node)) {
		struct nk_pin *pin = nk_map_entry(node, struct nk_pin, by_link);

		if (pin->link_id == link_id)
			return pin;
	}
	return NULL;
}

static const struct nk_pin *first_of(struct nk_map_node *node, const char *device)
{
	for (; node; node = nk_map_next(node)) {
		struct nk_pin *pin = nk_map_entry(node, struct nk_pin, by_device);

		if (!strcmp(pin->device, device))
			return pin;
	}
	return NULL;
}

const struct nk_pin *nk_pins_of_device(const struct nk_pins *p, const char *device)
{
	return first_of(nk_map_first(&p->by_device, nk_hash_text(NK_HASH_SEED, device)), device);
}

const struct nk_pin *nk_pins_next(const struct nk_pin *pin)
{
	return first_of(nk_map_next(&pin->by_device), pin->device);
}

void nk_pins_each(struct nk_pins *p, void (*fn)(const struct nk_pin *pin, void *arg), void *arg)
{
	for (size_t i = 0; i < p->by_device.n_slots; i++) {
		struct nk_map_node *next;

		for (struct nk_map_node *node = p->by_device.slots[i]; node; node = next) {
			next = node->next;
			fn(nk_map_entry(node, struct nk_pin, by_device), arg);
		}
	}
}
