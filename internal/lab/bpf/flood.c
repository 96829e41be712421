// SPDX-License-Identifier: Dual MIT/GPL
//
// Forged answers: run with live frames (BPF_PROG_RUN, Linux 5.18) the program makes each frame a SYN-ACK with a random
// acknowledgement, and sends it.

#include "net.h"

char _license[] SEC("license") = "Dual MIT/GPL";

#define OPTIONS 20 // bytes, as Linux has them: MSS, SACK, timestamps, window scale
#define TCP (sizeof(struct tcphdr) + OPTIONS)
#define FRAME4 (sizeof(struct ethhdr) + sizeof(struct iphdr) + TCP)
#define FRAME6 (sizeof(struct ethhdr) + sizeof(struct ipv6hdr) + TCP)

// A flood is what user space says of it.
struct flood {
	__u8 frame[96]; // a frame whole but for what varies and the checksums
	__u64 count;
	__u32 ifindex;
	__u32 addr, addr_mask; // the last word of the source address, and which of its bits vary
	__u32 port, ports;     // source ports: the first, and how many
	__u32 to, tos;         // destination ports, likewise
	__u32 v6;
};

struct flood flood;
__u64 sent;

// random is SplitMix64 (Steele, Lea and Flood, 2014) of a counter.
static __always_inline __u64 random(__u64 i)
{
	__u64 z = i * 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

// copy lays the frame. The last user of the memory left his own there. Sizes are even.
static __always_inline void copy(void *to, void *from, int size)
{
	int i = 0;
#pragma unroll
	for (; i + 8 <= size; i += 8)
		*(__u64 *)(to + i) = *(__u64 *)(from + i);
#pragma unroll
	for (; i < size; i += 2)
		*(__u16 *)(to + i) = *(__u16 *)(from + i);
}

static __always_inline int in_range(__u32 random, __u32 first, __u32 n) { return bpf_htons(first + (random & 0xffff) * n / 0x10000); }

// forge fills in the TCP header.
static __always_inline void forge(struct tcphdr *tcp, __u64 r, __u64 addrs, void *end)
{
	__u64 more = random(~r), sum = addrs + sum_pseudo(TCP);
	tcp->source = in_range(r >> 32, flood.port, flood.ports);
	tcp->dest = in_range(r >> 48, flood.to, flood.tos);
	tcp->seq = more;
	tcp->ack_seq = more >> 32;
	*(__u32 *)((void *)(tcp + 1) + 12) = r ^ more; // the timestamp that it claims to echo
	sum_tcp(tcp, TCP / 4, end, &sum);
	tcp->check = ~fold(sum);
}

static __always_inline int forge4(void *data, void *end, __u64 r)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	if (data + FRAME4 > end)
		return XDP_ABORTED;
	copy(data, flood.frame, FRAME4);
	ip->saddr = bpf_htonl(flood.addr | (r & flood.addr_mask));
	ip->check = ~fold(sum_ipv4(ip));
	forge((void *)(ip + 1), r, sum_addrs4(ip), end);
	return bpf_redirect(flood.ifindex, 0);
}

static __always_inline int forge6(void *data, void *end, __u64 r)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	if (data + FRAME6 > end)
		return XDP_ABORTED;
	copy(data, flood.frame, FRAME6);
	ip->saddr.in6_u.u6_addr32[3] = bpf_htonl(flood.addr | (r & flood.addr_mask));
	forge((void *)(ip + 1), r, sum_addrs6(ip), end);
	return bpf_redirect(flood.ifindex, 0);
}

SEC("xdp")
int pour(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (sent >= flood.count) // a run that a signal interrupts begins anew
		return XDP_DROP;
	__u64 r = random(++sent);
	return flood.v6 ? forge6(data, end, r) : forge4(data, end, r);
}
