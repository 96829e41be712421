// SPDX-License-Identifier: Dual MIT/GPL
//
// What the lab's programs share: checksums (RFC 1071), and where the headers are in a frame.

#pragma once

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

// flags is the byte of a TCP header with the control bits.
static __always_inline __u8 *flags(struct tcphdr *tcp) { return (__u8 *)tcp + 13; }

// fold is the 16-bit sum that a sum of 32-bit words comes to. A checksum is its complement.
static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

// sum_ipv4 adds up the words of an IPv4 header without options.
static __always_inline __u64 sum_ipv4(struct iphdr *ip)
{
	__u32 *w = (void *)ip;
	return (__u64)w[0] + w[1] + w[2] + w[3] + w[4];
}

// sum_addrs4 and sum_addrs6 add up the addresses of the pseudo header, sum_pseudo the rest of it.
static __always_inline __u64 sum_addrs4(struct iphdr *ip) { return (__u64)ip->saddr + ip->daddr; }

static __always_inline __u64 sum_addrs6(struct ipv6hdr *ip)
{
	__u32 *w = (void *)&ip->saddr;
	return (__u64)w[0] + w[1] + w[2] + w[3] + w[4] + w[5] + w[6] + w[7];
}

static __always_inline __u32 sum_pseudo(__u16 size) { return bpf_htons(IPPROTO_TCP) + bpf_htons(size); }

// sum_tcp adds up the words of a TCP header with its options. It returns false if the frame ends before.
static __always_inline bool sum_tcp(struct tcphdr *tcp, __u32 words, void *end, __u64 *sum)
{
	__u32 *w = (void *)tcp;
	for (int i = 0; i < 15 && i < words; i++) {
		__u32 *next = w + i + 1;
		barrier_var(next); // lest clang compare with end - 4 * i, which the verifier does not know
		if ((void *)next > end)
			return false;
		*sum += w[i];
	}
	return true;
}

// turn_ethernet and its like send a frame back to where it came from.
static __always_inline void turn_ethernet(struct ethhdr *eth)
{
	__u8 own[ETH_ALEN];
	__builtin_memcpy(own, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, own, ETH_ALEN);
}

static __always_inline void turn_ipv6(struct ipv6hdr *ip)
{
	struct in6_addr own = ip->daddr;
	ip->daddr = ip->saddr;
	ip->saddr = own;
}

static __always_inline void turn_ports(struct tcphdr *tcp)
{
	__be16 own = tcp->dest;
	tcp->dest = tcp->source;
	tcp->source = own;
}

// write_ipv4 writes a header without options, the way Linux begins a connection or answers one.
static __always_inline void write_ipv4(struct iphdr *ip, __u16 size, __be32 from, __be32 to)
{
	*(__u16 *)ip = bpf_htons(0x4500);
	ip->tot_len = bpf_htons(size);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000); // don't fragment
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->check = 0;
	ip->saddr = from;
	ip->daddr = to;
	ip->check = ~fold(sum_ipv4(ip));
}
