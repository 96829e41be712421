// SPDX-License-Identifier: Dual MIT/GPL
//
// The far end of a fast scan: answers every TCP SYN by a rule of its address and port (answer.go has the rule once
// more), and counts. What is not TCP passes to the kernel, so that the link works.

#include "net.h"

char _license[] SEC("license") = "Dual MIT/GPL";

const volatile bool silent = false; // a sink: counts, and answers nothing

// A tally is what has come so far. Each processor has its own.
struct tally {
	__u64 open, closed, mute, unused, resets, others, broken;
	__u64 first, last; // SYN whose time was read, CLOCK_MONOTONIC, ns
	__u64 timed;       // SYNs up to the last of those
	__u64 tick;        // when that was
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

#define OPEN 48 // of 1024
#define CLOSED (128 + OPEN)
#define UNUSED 49152 // the ports from here on are nobody's (RFC 6335, section 6): none is open

// rule is a number below 1024 for each address and port, the finalizer of MurmurHash3 (Appleby, 2011).
static __always_inline __u32 rule(__u32 addr, __be16 port)
{
	__u32 h = addr ^ bpf_ntohs(port) * 0x9e3779b1;
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	h ^= h >> 16;
	return h % 1024;
}

// word is the one that stands for an IPv6 address in the rule.
static __always_inline __u32 word(struct in6_addr *a)
{
	__u32 w = 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		w = w * 31 + bpf_ntohl(a->in6_u.u6_addr32[i]);
	return w;
}

// A segment is what both families have of a TCP segment.
struct segment {
	struct xdp_md *ctx;
	struct tcphdr *tcp;
	void *end;
	__u64 addrs; // their sum
	__u32 begin; // of the header in the frame
	__u32 words; // of the header
	__u32 size;
	__u32 addr; // the far end's, as the rule has it
	bool ip_broken;
};

// echo_timestamp answers the timestamp option (RFC 7323), wherever it stands among the options: size bytes, begin bytes
// into the frame. It is no inline function, so that the verifier looks at it once and not on each way that leads to it.
__attribute__((noinline)) int echo_timestamp(struct xdp_md *ctx, __u32 begin, __u32 size)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (begin > 128)
		return 0;
	__u8 *options = data + begin;
	__u32 at = 0;
	for (int i = 0; i < 40 && at <= 30 && at + 10 <= size; i++) {
		__u8 *o = options + at;
		if ((void *)(o + 10) > end || o[0] == 0)
			return 0;
		if (o[0] == 8 && o[1] == 10) {
			__u32 clock = bpf_htonl(bpf_ktime_get_ns() >> 20);
			__builtin_memcpy(o + 6, o + 2, 4);
			__builtin_memcpy(o + 2, &clock, 4);
			return 1;
		}
		at += o[0] == 1 ? 1 : o[1];
	}
	return 0;
}

// accept turns a SYN into its SYN-ACK, with the options that it has.
static __always_inline bool accept(struct segment *s, __u64 now)
{
	struct tcphdr *tcp = s->tcp;
	turn_ports(tcp);
	tcp->ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + 1);
	tcp->seq = tcp->seq * 0x9e3779b1 + (__u32)now;
	*flags(tcp) = TCP_SYN | TCP_ACK;
	tcp->window = bpf_htons(65160);
	tcp->urg_ptr = 0;
	echo_timestamp(s->ctx, s->begin + sizeof(*tcp), s->words * 4 - sizeof(*tcp));
	tcp->check = 0;
	__u64 sum = s->addrs + sum_pseudo(s->size);
	if (!sum_tcp(tcp, s->words, s->end, &sum))
		return false;
	tcp->check = ~fold(sum);
	return true;
}

// refuse turns a SYN into its RST (RFC 9293, section 3.10.7.1): 20 bytes, sequence number 0. The frame keeps its length; what is
// beyond the IP packet's is padding. Live frames come back to the pool of their sender, and the kernel does not see that
// one has become shorter (frame_was_changed of net/bpf/test_run.c, Linux 6.18): its next user would send it cut off.
static __always_inline void refuse(struct segment *s)
{
	struct tcphdr *tcp = s->tcp;
	turn_ports(tcp);
	tcp->ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + 1);
	tcp->seq = 0;
	*((__u8 *)tcp + 12) = sizeof(*tcp) / 4 << 4;
	*flags(tcp) = TCP_RST | TCP_ACK;
	tcp->window = 0;
	tcp->check = 0;
	tcp->urg_ptr = 0;
	__u64 sum = s->addrs + sum_pseudo(sizeof(*tcp));
	sum_tcp(tcp, sizeof(*tcp) / 4, s->end, &sum);
	tcp->check = ~fold(sum);
}

// whole reports whether a SYN is one that a host would look at: right checksums and, as scanners send them, no data.
static __always_inline bool whole(struct segment *s)
{
	__u64 sum = s->addrs + sum_pseudo(s->size);
	if (s->ip_broken || s->words < 5 || s->size != s->words * 4)
		return false;
	return sum_tcp(s->tcp, s->words, s->end, &sum) && fold(sum) == 0xffff;
}

// stamp reads the time, but not of each SYN: the clock costs as much as all the rest. It reads that of the first in each tick,
// and of each 32nd.
static __always_inline void stamp(struct tally *t)
{
	__u64 before = t->open + t->closed + t->mute, tick = bpf_jiffies64();
	if (tick == t->tick && before % 32 != 0)
		return;
	t->tick = tick;
	t->last = bpf_ktime_get_ns();
	t->timed = before + 1;
	if (!t->first)
		t->first = t->last;
}

enum verdict { NOTHING, ACCEPT, REFUSE };

// judge counts a segment, and writes the TCP header of its answer.
static __always_inline enum verdict judge(struct segment *s)
{
	__u32 zero = 0;
	struct tally *t = bpf_map_lookup_elem(&tallies, &zero);
	if (!t)
		return NOTHING;
	__u8 f = *flags(s->tcp);
	if ((f & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN) {
		if (f & TCP_RST)
			t->resets++;
		else
			t->others++;
		return NOTHING;
	}
	s->words = *((__u8 *)s->tcp + 12) >> 4;
	if (!whole(s)) {
		t->broken++;
		return NOTHING;
	}
	__u32 r = silent ? CLOSED : rule(s->addr, s->tcp->dest);
	if (bpf_ntohs(s->tcp->dest) >= UNUSED) {
		t->unused++;
		if (r >= CLOSED)
			return NOTHING;
		refuse(s);
		return REFUSE;
	}
	stamp(t);
	if (r >= CLOSED) {
		t->mute++;
		return NOTHING;
	}
	if (r >= OPEN) {
		t->closed++;
		refuse(s);
		return REFUSE;
	}
	t->open++;
	return accept(s, t->last) ? ACCEPT : NOTHING;
}

// back sends a frame to where it came from. XDP_TX would do, but for veth: what that leaves in the peer's queue the peer
// does not see unless it has an XDP program, though it has GRO (veth_xdp_flush of drivers/net/veth.c, Linux 6.18).
static __always_inline int back(struct xdp_md *ctx) { return bpf_redirect(ctx->ingress_ifindex, 0); }

static __always_inline int answer4(struct xdp_md *ctx, struct ethhdr *eth, void *end)
{
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end || *(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(0x3fff))
		return XDP_PASS;
	struct segment s = {
		.ctx = ctx, .tcp = tcp, .begin = sizeof(*eth) + sizeof(*ip), .end = end, .addrs = sum_addrs4(ip), .addr = bpf_ntohl(ip->daddr),
		.size = bpf_ntohs(ip->tot_len) - sizeof(*ip), .ip_broken = fold(sum_ipv4(ip)) != 0xffff,
	};
	switch (judge(&s)) {
	case ACCEPT:
		turn_ethernet(eth);
		write_ipv4(ip, sizeof(*ip) + s.size, ip->daddr, ip->saddr);
		return back(ctx);
	case REFUSE:
		turn_ethernet(eth);
		write_ipv4(ip, sizeof(*ip) + sizeof(*tcp), ip->daddr, ip->saddr);
		return back(ctx);
	default:
		return XDP_DROP;
	}
}

static __always_inline int answer6(struct xdp_md *ctx, struct ethhdr *eth, void *end)
{
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end || ip->nexthdr != IPPROTO_TCP)
		return XDP_PASS;
	struct segment s = {
		.ctx = ctx, .tcp = tcp, .begin = sizeof(*eth) + sizeof(*ip), .end = end, .addrs = sum_addrs6(ip), .addr = word(&ip->daddr), .size = bpf_ntohs(ip->payload_len),
	};
	switch (judge(&s)) {
	case ACCEPT:
		turn_ethernet(eth);
		turn_ipv6(ip);
		ip->hop_limit = 64;
		return back(ctx);
	case REFUSE:
		turn_ethernet(eth);
		turn_ipv6(ip);
		ip->hop_limit = 64;
		ip->payload_len = bpf_htons(sizeof(*tcp));
		return back(ctx);
	default:
		return XDP_DROP;
	}
}

SEC("xdp.frags")
int answer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return answer4(ctx, eth, end);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return answer6(ctx, eth, end);
	return XDP_PASS;
}
