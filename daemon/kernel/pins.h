// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The names of our pins, and the table of those that there are: which link is which attachment, which links a device has. Pure
 * memory; bpf.c keeps it in step with bpffs, and the pin itself stays the truth wherever it matters.
 */
#include <stddef.h>

#include "daemon/model/map.h"
#include "daemon/model/value.h"

/* Bytes of the longest encoded name, with the closing NUL: each byte may need three, and the hook and two colons. */
#define NK_PIN_NAME_MAX (3 * (NK_IFNAMSIZ + NK_NAME_MAX) + 16)

/* bpffs takes no '.': it becomes %2E, and '%' %25. buf holds NK_PIN_NAME_MAX bytes and is returned. */
char *nk_pin_encode(const char *name, char *buf);
/* The inverse, into size bytes. 0, or -EINVAL: not a name that we would write, empty, or too long. */
int nk_pin_decode(const char *pin, char *ret, size_t size);
/* Put behind the name of a link's pin while the attachment moves: its new link, and the stand-in's map. No encoded name ends so. */
#define NK_PIN_MOVING "%new"
#define NK_PIN_TARGET "%map"

char *nk_pin_link_name(const char *device, enum nk_hook hook, const char *attachment, char *buf);
/* Read a link's pin back. device holds NK_IFNAMSIZ bytes, attachment NK_NAME_MAX. 0, or -EINVAL: not a name of ours. */
int nk_pin_link_parse(const char *pin, char *device, enum nk_hook *hook, char *attachment);

/* One pinned link. */
struct nk_pin {
	struct nk_map_node by_link, by_device;
	uint32_t link_id;
	uint8_t hook;
	char device[NK_IFNAMSIZ];
	char attachment[]; /* with its NUL */
};

struct nk_pins {
	struct nk_map by_link, by_device;
};

/* 0 or -ENOMEM. */
int nk_pins_init(struct nk_pins *p);
void nk_pins_clear(struct nk_pins *p);

/* Note a pin; one of the same place is replaced. 0 or -ENOMEM. */
int nk_pins_put(struct nk_pins *p, const char *device, enum nk_hook hook, const char *attachment, uint32_t link_id);
void nk_pins_remove(struct nk_pins *p, const char *device, enum nk_hook hook, const char *attachment);
/* NULL where there is none. */
const struct nk_pin *nk_pins_by_link(const struct nk_pins *p, uint32_t link_id);
/* Any one pin of the device, NULL when it has none; and one after the other until NULL, of which the last one told may be removed
 * once the next is known. */
const struct nk_pin *nk_pins_of_device(const struct nk_pins *p, const char *device);
const struct nk_pin *nk_pins_next(const struct nk_pin *pin);
/* All pins, in no order. fn may remove the pin that it is given, and no other. */
void nk_pins_each(struct nk_pins *p, void (*fn)(const struct nk_pin *pin, void *arg), void *arg);
