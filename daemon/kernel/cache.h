// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What the kernel holds of our devices, kept up by its own messages: the event socket's and the snapshot's go through one and the
 * same nk_cache_feed. Owned by the loop. It decides nothing and writes nothing.
 *
 * Followed are netkit primaries of the daemon's namespace that carry our group or our ifalias, once known for as long as they
 * live; and netkit peers anywhere, joined to their primary by (nsid, ifindex) as IFLA_LINK and IFLA_LINK_NETNSID tell. A
 * peer's first message may come before its primary's, so unjoined peers wait. And interfaces: links of the daemon's namespace that
 * aren't ours, by the names that somebody wants to know of.
 */
#include <linux/netlink.h>

#include "daemon/model/observed.h"

struct nk_cache;

struct nk_cache_handlers {
	/* A followed device appeared, changed or is gone: by owner name; or an interface, by its own. Called once a message at most, for
	 * each: a name that passes on is two interfaces' business. */
	void (*changed)(const char *owner, void *arg);
	/* A link that isn't ours lost or left this name in the host's namespace: whoever waits for the name may try again. */
	void (*name_free)(const char *name, void *arg);
	/* A namespace is gone (RTM_DELNSID): told before its devices are forgotten, and before their RTM_DELLINK. */
	void (*netns_gone)(int32_t nsid, void *arg);
	/* So many more (or less) devices have their place in the namespace with this inode number. Or NULL. */
	void (*inhabited)(uint32_t ino, int by, void *arg);
	void *arg;
};

/* group: the IFLA_GROUP that is ours. NULL without memory. */
struct nk_cache *nk_cache_new(uint32_t group, const struct nk_cache_handlers *h);
struct nk_cache *nk_cache_free(struct nk_cache *c);

/* Take in one message of namespace nsid (NK_NSID_HOST: the daemon's). 0; -EBADMSG (counted, ignored); -ENOMEM: resync. */
int nk_cache_feed(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid);

/*
 * Take in what an inspection read of a link, for a job that was made at as_of touches. The kernel's events were read meanwhile: of a link
 * that one of them told of this is older news, and dropped; so it is of a link that isn't known any more. Returns as nk_cache_feed does.
 */
int nk_cache_feed_inspected(struct nk_cache *c, const struct nlmsghdr *h, int32_t nsid, uint64_t as_of);

/*
 * A snapshot replaces what is known: between begin and end all fed messages come from it; at the end what was not seen
 * is dropped, and `changed` is called for whatever differs from before. Events are not fed in between. The links of a
 * namespace come before its addresses and routes. What the executor told stays: chains of devices, and places.
 */
void nk_cache_begin_snapshot(struct nk_cache *c);
void nk_cache_end_snapshot(struct nk_cache *c);

/* From now on this name is that of an interface: what link has it, and its chains, are followed. 0 or -ENOMEM. And no more. */
int nk_cache_want_interface(struct nk_cache *c, const char *name);
void nk_cache_unwant_interface(struct nk_cache *c, const char *name);

/* A number that grows with each event of a link and each time that chains became not known. */
uint64_t nk_cache_touches(const struct nk_cache *c);
/*
 * Chains as the executor read them, for a job that was made at as_of touches: what was touched since stays not known, since nobody can
 * say whether it was read before or after. Takes the content of `chain`. Unknown ifindex: ignored. Does not call `changed`.
 */
void nk_cache_set_chain(struct nk_cache *c, uint64_t as_of, uint32_t ifindex, enum nk_hook hook, struct nk_obs_chain *chain);
/* Something touched the chains of ifindex, or settings that have no event: not known until read again. Calls changed. */
void nk_cache_chains_touched(struct nk_cache *c, uint32_t ifindex);
/* The same for all devices and interfaces. */
void nk_cache_all_touched(struct nk_cache *c);
/* The chain that holds this link, by kernel id: owner name and ifindex of the primary, or the interface's, or NULL. Constant time not
 * needed. */
const char *nk_cache_link_owner(const struct nk_cache *c, uint32_t link_id, uint32_t *ret_ifindex);
/* Which nsid and inode number (0: not known) the document's namespace of this device has, as the executor found: decides peer_in_place.
 * Unknown owner: ignored. */
void nk_cache_set_place(struct nk_cache *c, const char *owner, int32_t nsid, uint32_t ino);
/* Call `inhabited` for all that is known: who listens begins anew. */
void nk_cache_tell_inhabited(const struct nk_cache *c);
/* The inode number of the namespace with this nsid, if it is the device's; 0: not known. */
uint32_t nk_cache_place_ino(const struct nk_cache *c, const char *owner, int32_t nsid);
/* The device that has an end with this ifindex (0: with this name) in the namespace with this inode number (0: the host's). Or NULL. */
const struct nk_obs_device *nk_cache_find_end(const struct nk_cache *c, uint32_t ino, uint32_t ifindex, const char *name);

/* The device of this owner name, else the interface of this name if there is a link that has it, or NULL. Valid until the next
 * feed. */
const struct nk_obs_device *nk_cache_get(const struct nk_cache *c, const char *owner);
/* The nsid of its peer's namespace: NK_NSID_HOST, or as IFLA_LINK_NETNSID said. */
int32_t nk_cache_peer_nsid(const struct nk_cache *c, const char *owner);
/* Devices only. */
void nk_cache_each(const struct nk_cache *c, void (*fn)(const struct nk_obs_device *o, int32_t peer_nsid, void *arg), void *arg);
/* Has a link of the host's namespace this name, whosever it is? */
bool nk_cache_name_is_taken(const struct nk_cache *c, const char *name);
/* Links that are not ours yet sit in one of the groups in which deletions are collected: then nothing is deleted by group.
 * (A netkit primary in that group is ours: a deletion that was cut short left it there.) */
size_t nk_cache_foreign_doomed(const struct nk_cache *c);
/* Messages that could not be read, since the start. */
uint64_t nk_cache_n_bad(const struct nk_cache *c);
