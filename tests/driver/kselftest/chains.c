// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device that the chain tests attach to, made anew before each of them: a
 * netkit pair whose peer is in a netns of its own and answers to 10.9.8.2, so
 * that a ping passes both hooks.
 */
#include "test_progs.h"

#define PRIMARY "chain0"
#define NETNS "chain_peer"

int nk_before_test(void);
int nk_chain_device(void);

int nk_before_test(void)
{
	nk_system("ip link del " PRIMARY " 2>/dev/null");
	nk_system("ip netns del " NETNS " 2>/dev/null");

	return nk_system("ip netns add " NETNS) ||
	       nk_system("ip link add " PRIMARY
			 " type netkit mode l3 peer name chain1") ||
	       nk_system("ip link set chain1 netns " NETNS) ||
	       nk_system("ip addr add 10.9.8.1/24 dev " PRIMARY) ||
	       nk_system("ip link set " PRIMARY " up") ||
	       nk_system("ip -n " NETNS " addr add 10.9.8.2/24 dev chain1") ||
	       nk_system("ip -n " NETNS " link set chain1 up");
}

/* What the tests use where they named the loopback device. */
int nk_chain_device(void)
{
	return if_nametoindex(PRIMARY);
}
