/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A chain by hand, for the tests of its order: attachments a, b, c … of one device at netkit/peer, what they say of each other, and
 * the chain that is observed.
 */
#include "daemon/model/chain_order.h"

struct chain {
	struct nk_device *d; /* its attachments at netkit/peer, by the name of their place: a, b, c … */
	struct nk_obs_link links[NK_CHAIN_MAX];
	struct nk_obs_chain obs;
};

struct resolved {
	struct nk_chain_goal goal;
	char text[2 * NK_CHAIN_MAX + 1];  /* the goal, as stands() reads it */
	char stays[2 * NK_CHAIN_MAX + 1]; /* ours of it that stay */
	char ours[NK_CHAIN_MAX + 1];
};

struct chain *new_chain(uint32_t n);
void free_chain(struct chain *c);
struct nk_attachment *att(struct chain *c, char name);
/* "b": the attachment b. "1001": the foreign program of this id; "/p1001" its pin; "#7" its tag's first byte. */
void say(struct chain *c, char who, bool before, const char *what);
/* A letter is an attachment of ours, a digit the foreign program 1000 and so many, with the tag of that digit halved. */
void stands(struct chain *c, const char *text);
struct resolved resolve(struct chain *c);
/* The one chain resolves to the other, and these of ours stay where they are. */
void becomes(struct chain *c, const char *before, const char *after, const char *stays);
/* The demands that go round in a circle, NK_CHAIN_MAX at most; their number, 0: there is an order. */
uint32_t circle(struct chain *c, struct nk_chain_demand *ret);
