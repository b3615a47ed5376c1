// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends the same frame many times through one interface and says what one of
 * them costs, in nanoseconds of the machine's clock: under --icount that is
 * instructions, of the sender, the device and the receiving softirq together.
 * It is the median of many rounds, since the kernel has other things to do now
 * and then, and they cost more than a round.
 *
 * Usage: flood INTERFACE small|gso DESTINATION
 * small is a frame of 64 bytes, of a protocol that nobody receives; gso is a
 * TCP segment of 64 KiB that leaves the cutting to the device. Called by
 * bench.py, which sets the interfaces up.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SMALL 64
#define LARGE 65000
#define SEGMENT 1448
#define ROUNDS 41
#define PACKETS 50

static unsigned char buffer[sizeof(struct virtio_net_hdr) + LARGE];

/* The frame, behind its virtio header; returns the length of both. */
static size_t build(const char *kind, const unsigned char *destination)
{
	struct virtio_net_hdr *offload = (void *)buffer;
	struct ether_header *eth = (void *)(offload + 1);
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	memcpy(eth->ether_dhost, destination, ETH_ALEN);
	if (!strcmp(kind, "small")) {
		eth->ether_type = htons(0x88b5);
		return sizeof(*offload) + SMALL;
	}

	eth->ether_type = htons(ETHERTYPE_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->tot_len = htons(LARGE - sizeof(*eth));
	ip->saddr = inet_addr("10.0.0.1");
	ip->daddr = inet_addr("10.0.0.2");
	tcp->doff = 5;
	offload->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	offload->csum_start = sizeof(*eth) + sizeof(*ip);
	offload->csum_offset = 16;
	offload->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	offload->gso_size = SEGMENT;
	offload->hdr_len = sizeof(*eth) + sizeof(*ip) + sizeof(*tcp);
	return sizeof(*offload) + LARGE;
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return difference < 0 ? -1 : difference > 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	unsigned char destination[ETH_ALEN];
	double rounds[ROUNDS];
	int sock, one = 1;
	size_t length;

	if (argc != 4 || sscanf(argv[3], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx",
				&destination[0], &destination[1],
				&destination[2], &destination[3],
				&destination[4], &destination[5]) != ETH_ALEN) {
		fprintf(stderr, "usage: flood INTERFACE small|gso DESTINATION\n");
		return 2;
	}
	length = build(argv[2], destination);

	address.sll_ifindex = if_nametoindex(argv[1]);
	address.sll_protocol = htons(ETH_P_IP);
	sock = socket(AF_PACKET, SOCK_RAW, 0);
	if (sock < 0 ||
	    setsockopt(sock, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
	    bind(sock, (void *)&address, sizeof(address))) {
		perror(argv[1]);
		return 1;
	}

	/* A drop is no failure here. */
	for (int round = 0; round < ROUNDS; round++) {
		long long began = now();

		for (int i = 0; i < PACKETS; i++)
			send(sock, buffer, length, 0);
		rounds[round] = (double)(now() - began) / PACKETS;
	}
	qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
	printf("%.1f\n", rounds[ROUNDS / 2]);
	return 0;
}
