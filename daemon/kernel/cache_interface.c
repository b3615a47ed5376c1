// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interfaces in the cache: links of the host's namespace that aren't ours, which the document names for their tcx hooks. What is kept
 * of one is which link has its name now, and what stands in that link's chains. cache_link.c tells what link messages say of names.
 *
 * An interface is a struct dev of which only the observation, its node and what is about chains are used. It is in the table of
 * interfaces from the moment that it is wanted, with ifindex 0 while no link has its name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/kernel/cache_table.h"

struct dev *nk_cache_find_interface(const struct nk_cache *c, const char *name)
{
	struct nk_map_node *n;

	for (n = nk_map_first(&c->interfaces, nk_hash_text(NK_HASH_SEED, name)); n; n = nk_map_next(n))
		if (!strcmp(nk_map_entry(n, struct dev, node)->o.owner, name))
			return nk_map_entry(n, struct dev, node);
	return NULL;
}

struct dev *nk_cache_interface_at(const struct nk_cache *c, uint32_t ifindex)
{
	const char *name = nk_cache_foreign_name(c, ifindex);
	struct dev *dev = name ? nk_cache_find_interface(c, name) : NULL;

	return dev && dev->o.end[NK_PRIMARY].ifindex == ifindex ? dev : NULL;
}

/* The link that has its name is another one now, or (0) none. What stands in that one's chains nobody knows yet. */
static void set_ifindex(struct nk_cache *c, struct dev *dev, uint32_t ifindex)
{
	if (dev->o.end[NK_PRIMARY].ifindex == ifindex)
		return;
	dev->o.end[NK_PRIMARY].ifindex = ifindex;
	for (size_t hook = 0; hook < NK_HOOKS; hook++) {
		free(dev->o.chain[hook].links);
		dev->o.chain[hook] = (struct nk_obs_chain){ 0 };
	}
	dev->touched = ++c->touches;
	dev->hooks_known = 0;
	dev->o.chains_known = false;
	nk_cache_tell(c, dev->o.owner);
}

void nk_cache_interface_named(struct nk_cache *c, uint32_t ifindex, const char *name)
{
	struct dev *dev = c->interface_list ? nk_cache_find_interface(c, name) : NULL;

	if (dev)
		set_ifindex(c, dev, ifindex);
}

void nk_cache_interface_unnamed(struct nk_cache *c, uint32_t ifindex, const char *name)
{
	struct dev *dev = c->interface_list ? nk_cache_find_interface(c, name) : NULL;

	/* It may have passed to another link already. */
	if (dev && dev->o.end[NK_PRIMARY].ifindex == ifindex)
		set_ifindex(c, dev, 0);
}

int nk_cache_want_interface(struct nk_cache *c, const char *name)
{
	struct dev *dev = nk_cache_find_interface(c, name);

	if (dev)
		return 0;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->o.interface = dev->o.single = dev->o.peer_in_place = true;
	memcpy(dev->o.owner, name, strnlen(name, sizeof(dev->o.owner) - 1));
	memcpy(dev->o.end[NK_PRIMARY].name, dev->o.owner, sizeof(dev->o.owner));
	dev->o.end[NK_PRIMARY].ifindex = nk_cache_foreign_ifindex(c, dev->o.owner);
	dev->touched = ++c->touches;
	dev->next = c->interface_list;
	dev->prev = &c->interface_list;
	if (dev->next)
		dev->next->prev = &dev->next;
	c->interface_list = dev;
	nk_map_insert(&c->interfaces, &dev->node, nk_hash_text(NK_HASH_SEED, dev->o.owner));
	return 0;
}

void nk_cache_unwant_interface(struct nk_cache *c, const char *name)
{
	struct dev *dev = nk_cache_find_interface(c, name);

	if (!dev)
		return;
	nk_map_remove(&c->interfaces, &dev->node);
	*dev->prev = dev->next;
	if (dev->next)
		dev->next->prev = dev->prev;
	nk_obs_device_clear(&dev->o);
	free(dev);
}
