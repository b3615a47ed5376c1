// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * netkit's numbers on the wire, for message*.c and the probe. Our own constants: the headers of 6.12 know neither the room nor the
 * pairing, and those of older systems know no netkit at all.
 */

enum {
	NK_NETKIT_PEER_INFO = 1,   /* struct ifinfomsg, then IFLA_… of the peer */
	NK_NETKIT_PRIMARY = 2,     /* u8, read only */
	NK_NETKIT_POLICY = 3,      /* u32, NK_NETKIT_PASS or _DROP */
	NK_NETKIT_PEER_POLICY = 4, /* u32 */
	NK_NETKIT_MODE = 5,        /* u32, NK_NETKIT_L2 or _L3 */
	NK_NETKIT_SCRUB = 6,       /* u32, NK_NETKIT_SCRUB_… */
	NK_NETKIT_PEER_SCRUB = 7,  /* u32 */
	NK_NETKIT_HEADROOM = 8,    /* u16, bytes; Linux 6.14 */
	NK_NETKIT_TAILROOM = 9,    /* u16, bytes; Linux 6.14 */
	NK_NETKIT_PAIRING = 10,    /* u32, NK_NETKIT_PAIR or _SINGLE; Linux 7.1 */
};

enum { NK_NETKIT_PASS = 0, NK_NETKIT_DROP = 2 };
enum { NK_NETKIT_L2 = 0, NK_NETKIT_L3 = 1 };
enum { NK_NETKIT_SCRUB_NONE = 0, NK_NETKIT_SCRUB_DEFAULT = 1 };
enum { NK_NETKIT_PAIR = 0, NK_NETKIT_SINGLE = 1 };
