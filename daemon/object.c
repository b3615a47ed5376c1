// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects and their conditions (object.h). Called by reconcile only; looks at no kernel state.
 */
#include "daemon/object.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct nk_objects {
	bool programs;
	struct nk_map by_name;
	size_t count[4], count_interfaces[4]; /* by enum nk_state; the second is a part of the first */
};

uint64_t nk_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t nk_wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

struct nk_objects *nk_objects_new(bool programs)
{
	struct nk_objects *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->programs = programs;
	if (nk_map_init(&t->by_name) < 0) {
		free(t);
		return NULL;
	}
	return t;
}

static void object_free(struct nk_object *o)
{
	free(o->message);
	free(o->extack);
	free(o->culprit);
	free(o->set_by);
	free(o->drift);
	nk_contest_free(o->contest);
	nk_device_unref(o->ready_as);
	nk_program_unref(o->loaded_as);
	free(o);
}

static void free_one(struct nk_object *o, void *arg)
{
	object_free(o);
}

struct nk_objects *nk_objects_free(struct nk_objects *t)
{
	if (!t)
		return NULL;
	nk_objects_each(t, free_one, NULL);
	nk_map_clear(&t->by_name);
	free(t);
	return NULL;
}

struct nk_object *nk_objects_find(const struct nk_objects *t, const char *name)
{
	struct nk_map_node *n = nk_map_first(&t->by_name, nk_hash_text(NK_HASH_SEED, name));

	for (; n; n = nk_map_next(n)) {
		struct nk_object *o = nk_map_entry(n, struct nk_object, node);

		if (strcmp(o->name, name) == 0)
			return o;
	}
	return NULL;
}

struct nk_object *nk_objects_get(struct nk_objects *t, const char *name)
{
	struct nk_object *o = nk_objects_find(t, name);

	if (o)
		return o;
	o = calloc(1, sizeof(*o) + strlen(name) + 1);
	if (!o)
		return NULL;
	memcpy(o->name, name, strlen(name) + 1);
	o->is_program = t->programs;
	o->state = NK_STATE_PENDING;
	o->since_us = nk_wall_us();
	nk_map_insert(&t->by_name, &o->node, nk_hash_text(NK_HASH_SEED, name));
	t->count[o->state]++;
	return o;
}

void nk_objects_remove(struct nk_objects *t, struct nk_object *o)
{
	t->count[o->state]--;
	t->count_interfaces[o->state] -= o->is_interface;
	nk_map_remove(&t->by_name, &o->node);
	object_free(o);
}

size_t nk_objects_count(const struct nk_objects *t, enum nk_state state)
{
	return t->count[state];
}

size_t nk_objects_count_interfaces(const struct nk_objects *t, enum nk_state state)
{
	return t->count_interfaces[state];
}

void nk_object_be_interface(struct nk_objects *t, struct nk_object *o, bool interface)
{
	t->count_interfaces[o->state] += (size_t)interface - (size_t)o->is_interface;
	o->is_interface = interface;
}

const char *nk_object_noun(const struct nk_object *o)
{
	return o->is_program ? "program" : nk_device_noun(o->is_interface);
}

void nk_objects_each(const struct nk_objects *t, void (*fn)(struct nk_object *o, void *arg), void *arg)
{
	for (size_t i = 0; i < t->by_name.n_slots; i++) {
		struct nk_map_node *n = t->by_name.slots[i], *next;

		for (; n; n = next) {
			next = n->next;
			fn(nk_map_entry(n, struct nk_object, node), arg);
		}
	}
}

bool nk_object_set(struct nk_objects *t, struct nk_object *o, enum nk_state state, const char *reason, const char *message, int error,
		   const char *extack)
{
	bool changed = o->state != state || (reason ? !o->reason || strcmp(reason, o->reason) != 0 : o->reason != NULL);

	if (changed)
		o->since_us = nk_wall_us();
	t->count[o->state]--;
	t->count[state]++;
	t->count_interfaces[o->state] -= o->is_interface;
	t->count_interfaces[state] += o->is_interface;
	o->state = state;
	o->reason = reason;
	o->error = error;
	free(o->message);
	o->message = message ? strdup(message) : NULL;
	free(o->extack);
	o->extack = extack ? strdup(extack) : NULL;
	return changed;
}

void nk_object_condition(const struct nk_object *o, uint64_t now_ms, struct nk_condition *ret)
{
	*ret = (struct nk_condition){
		.state = o->state,
		.reason = o->reason,
		.message = o->message,
		.error = o->error,
		.extack = o->extack,
		.since = o->since_us,
		.retries = o->retries,
	};
	if (o->retrying)
		ret->retry_in_ms = o->retry_at_ms > now_ms ? (uint32_t)(o->retry_at_ms - now_ms) : 1;
}

uint32_t nk_backoff_ms(uint32_t tries, uint32_t min_ms, uint32_t max_ms, uint32_t random)
{
	uint64_t wait = min_ms;

	for (uint32_t i = 1; i < tries && wait < max_ms; i++)
		wait *= 2;
	if (wait > max_ms)
		wait = max_ms;
	return (uint32_t)(wait - wait / 4 + (wait >= 2 ? random % (wait / 2) : 0));
}
