// SPDX-License-Identifier: Dual MIT/GPL
//
// How fast a SYN scan can be here: probes whole from a counter (no order of their own, nothing handed over), made in the
// kernel, and answers that are checked and counted in the kernel. One program does both: BPF_PROG_RUN with live
// frames runs it as if it had received on loopback, and attached to a device it receives (one that is not attached takes some 25 ms
// longer to run, kernel/bpf/dispatcher.c).

#include "../../../internal/lab/bpf/net.h"

char _license[] SEC("license") = "Dual MIT/GPL";

#define LOOPBACK 1
#define OPTIONS 20 // bytes, as Linux has them: MSS, SACK, timestamps, window scale
#define TCP (sizeof(struct tcphdr) + OPTIONS)
#define FRAME (sizeof(struct ethhdr) + sizeof(struct iphdr) + TCP)

const volatile bool constant = false; // send the frame as it is
const volatile __u64 key0 = 0, key1 = 0;
const volatile __u32 ifindex = 0;
const volatile __u32 first_addr = 0, addrs = 1; // a power of two
const volatile __u32 first_port = 0;

__u8 frame[80]; // a probe whole but for what varies and the checksums
const volatile __u32 ip_sum = 0, tcp_sum = 0; // of what does not vary, the pseudo header included
__u32 next;     // probe
__u64 opened, closed, strange; // answers

static __always_inline __u64 rotl(__u64 x, int by) { return x << by | x >> (64 - by); }

#define SIPROUND                                                                                                       \
	v0 += v1, v1 = rotl(v1, 13) ^ v0, v0 = rotl(v0, 32), v2 += v3, v3 = rotl(v3, 16) ^ v2, v0 += v3,               \
		v3 = rotl(v3, 21) ^ v0, v2 += v1, v1 = rotl(v1, 17) ^ v2, v2 = rotl(v2, 32)

// cookie is SipHash-2-4 (Aumasson and Bernstein, 2012) of eight bytes.
static __always_inline __u32 cookie(__be32 addr, __be16 port)
{
	__u64 v0 = key0 ^ 0x736f6d6570736575, v1 = key1 ^ 0x646f72616e646f6d;
	__u64 v2 = key0 ^ 0x6c7967656e657261, v3 = key1 ^ 0x7465646279746573;
	__u64 m = (__u64)port << 32 | addr;
	v3 ^= m;
	SIPROUND;
	SIPROUND;
	v0 ^= m;
	m = 8ULL << 56;
	v3 ^= m;
	SIPROUND;
	SIPROUND;
	v0 ^= m;
	v2 ^= 0xff;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

static __always_inline int send(void *data, void *end)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = (void *)(ip + 1);
	if (constant)
		return bpf_redirect(ifindex, 0);
	if (data + FRAME > end)
		return XDP_ABORTED;
	__u32 i = next++;
#pragma unroll
	for (int at = 0; at < FRAME / 8 * 8; at += 8)
		*(__u64 *)(data + at) = *(__u64 *)(frame + at);
	*(__u16 *)(data + FRAME - 2) = *(__u16 *)(frame + FRAME - 2);
	__be32 addr = bpf_htonl(first_addr + i % addrs);
	__be16 port = bpf_htons(first_port + i / addrs);
	__u32 seq = cookie(addr, port);
	ip->daddr = addr;
	ip->check = ~fold((__u64)ip_sum + addr);
	tcp->dest = port;
	tcp->seq = seq;
	tcp->check = ~fold((__u64)tcp_sum + addr + port + seq);
	return bpf_redirect(ifindex, 0);
}

static __always_inline int receive(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || *(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	__u8 f = *flags(tcp);
	if (bpf_ntohl(tcp->ack_seq) - 1 != bpf_ntohl(cookie(ip->saddr, tcp->source)))
		__sync_fetch_and_add(&strange, 1);
	else if (f == (TCP_SYN | TCP_ACK))
		__sync_fetch_and_add(&opened, 1);
	else
		__sync_fetch_and_add(&closed, 1);
	return XDP_DROP;
}

SEC("xdp.frags")
int probe(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	return ctx->ingress_ifindex == LOOPBACK ? send(data, end) : receive(data, end);
}
