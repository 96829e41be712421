// SPDX-License-Identifier: Dual MIT/GPL
//
// Both directions of a SYN scan in one XDP program.
//
// Run by BPF_PROG_RUN with live frames (Linux 5.18) it writes one SYN into each frame and redirects it to the
// interface; attached to that interface it takes out the answers that bring the cookie back, and leaves all else alone.
// It is one program because the kernel patches code when a program that is attached nowhere is run, and waits some
// 25 ms for it (kernel/bpf/dispatcher.c): the same program attached makes a run cost microseconds.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// What a scan fixes. The ports in use are first_port up to first_port + port_mask, a power of two of them.
const volatile __u64 key0 = 0;
const volatile __u64 key1 = 0;
const volatile __u16 first_port = 0;
const volatile __u16 port_mask = 0;

// A target is what user space hands over of one probe. The byte order of address and port is the network's.
struct target {
	__u64 cookie;  // see cookie(); here it would take a quarter of the time of a frame
	__u32 addr[4]; // IPv4: the first word
	__be16 port;
	__u16 route;
	__u8 attempt;
	__u8 pad[3];
};

// A route is a frame with all that its probes have in common, and where it goes.
struct route {
	__u8 frame[96]; // Ethernet, IP and TCP headers; what varies is 0
	__u32 ip_sum;   // of the constant 16-bit words of the IPv4 header, not folded
	__u32 tcp_sum;  // of those of the TCP header and its pseudo header
	__u32 ifindex;
	__u32 pad;
};

// An answer is what user space is told.
struct answer {
	__u64 time;    // CLOCK_MONOTONIC, ns
	__u32 addr[4]; // of the target
	__be16 port;
	__u8 flags; // TCP's
	__u8 ttl;
	__u8 attempt; // of the probe that it answers, modulo 8
	__u8 has_rtt;
	__u8 v6;
	__u8 pad;
	__u32 rtt; // in units of 1,024 ns
	__u32 ifindex;
};

const struct answer *describe_answer __attribute__((unused)); // so that its layout is known to the loader

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct target);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct route);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} answers SEC(".maps");

// Shared with user space.
__u32 next_target = 0; // index of the next target to be sent; one run at a time, which begins at a multiple of CLOCK_EVERY
__u32 end_target = 0;  // behind the last: a run that a signal interrupts is begun again, and makes more frames than there are targets
__u64 overflowed = 0;  // answers for which the ring had no room: the kernel's stack has them
__u64 strangers = 0;   // segments to our ports that bring no cookie

static __u64 now; // when the probe at hand is sent, about

#define CLOCK_EVERY 16 // probes to one look at the clock: it takes a tenth of the time, and they take some microseconds
#define COOKIE_MASK 7 // the bits of the sequence number that hold the attempt

static __always_inline __u64 rotl(__u64 x, int by) { return x << by | x >> (64 - by); }

struct sip {
	__u64 v0, v1, v2, v3;
};

static __always_inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static __always_inline void sip_word(struct sip *s, __u64 m)
{
	s->v3 ^= m;
	sip_round(s);
	sip_round(s);
	s->v0 ^= m;
}

// cookie is SipHash-2-4 (Aumasson and Bernstein, 2012) of a target: the bytes of its address, then of its port.
static __always_inline __u64 cookie(const __u32 *addr, __be16 port, int v6)
{
	struct sip s = {
		key0 ^ 0x736f6d6570736575ULL,
		key1 ^ 0x646f72616e646f6dULL,
		key0 ^ 0x6c7967656e657261ULL,
		key1 ^ 0x7465646279746573ULL,
	};
	if (v6) {
		sip_word(&s, (__u64)addr[1] << 32 | addr[0]);
		sip_word(&s, (__u64)addr[3] << 32 | addr[2]);
		sip_word(&s, 18ULL << 56 | port);
	} else {
		sip_word(&s, 6ULL << 56 | (__u64)port << 32 | addr[0]);
	}
	s.v2 ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

// fold ends a checksum of at most 2^16 words (RFC 1071).
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

// words is a 32-bit field's part in a checksum.
static __always_inline __u32 words(__u32 x) { return (x & 0xffff) + (x >> 16); }

// clock is time as probes carry it, in units of 1,024 ns.
static __always_inline __u32 clock(__u64 ns) { return ns >> 10; }

struct syn {
	struct tcphdr tcp;
	__u8 before[8]; // MSS, SACK permitted, and the timestamps' kind and length
	__be32 tsval, tsecr;
	__u8 after[4];
} __attribute__((packed));

struct frame4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct syn syn;
} __attribute__((packed));

struct frame6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct syn syn;
} __attribute__((packed));

// fill writes the TCP part of a probe; sum is what is known of its checksum.
static __always_inline void fill(struct syn *syn, const struct target *t, __u32 sum)
{
	__u64 h = t->cookie;
	__be32 seq = bpf_htonl(((__u32)h & ~COOKIE_MASK) | (t->attempt & COOKIE_MASK));
	__be32 tsval = bpf_htonl(clock(now) + (__u32)(h >> 32));
	__be16 from = bpf_htons(first_port + ((h >> 32) & port_mask));

	syn->tcp.source = from;
	syn->tcp.dest = t->port;
	syn->tcp.seq = seq;
	syn->tsval = tsval;
	sum += words(seq) + words(tsval) + from + t->port;
	syn->tcp.check = fold(sum);
}

// send makes a frame a probe. Whatever its last user left in it is overwritten.
static __always_inline int send(void *data, void *data_end)
{
	__u32 i = next_target;
	if (i >= end_target)
		return XDP_DROP;
	next_target = i + 1;
	if (i % CLOCK_EVERY == 0)
		now = bpf_ktime_get_ns();
	struct target *t = bpf_map_lookup_elem(&targets, &i);
	if (!t)
		return XDP_DROP;
	__u32 way = t->route;
	struct route *r = bpf_map_lookup_elem(&routes, &way);
	if (!r)
		return XDP_DROP;
	struct frame6 *f6 = data;
	struct frame4 *f4 = data;
	if ((void *)(f6 + 1) <= data_end) {
		__builtin_memcpy(f6, r->frame, sizeof(*f6));
		__builtin_memcpy(&f6->ip.daddr, t->addr, 16);
		__u32 sum = r->tcp_sum;
		sum += words(t->addr[0]) + words(t->addr[1]) + words(t->addr[2]) + words(t->addr[3]);
		fill(&f6->syn, t, sum);
	} else if ((void *)(f4 + 1) <= data_end) {
		__u32 to = words(t->addr[0]);
		__u16 id = t->cookie >> 48;
		__builtin_memcpy(f4, r->frame, sizeof(*f4));
		f4->ip.id = id;
		f4->ip.daddr = t->addr[0];
		f4->ip.check = fold(r->ip_sum + to + id);
		fill(&f4->syn, t, r->tcp_sum + to);
	} else {
		return XDP_DROP;
	}
	return bpf_redirect(r->ifindex, 0);
}

// timestamps returns where the echoed timestamp of a segment is; 0: nowhere. Options in the order in which
// the known stacks send them need no loop: a SYN-ACK's are MSS, SACK permitted, timestamps, or NOP, NOP, timestamps.
static __always_inline __be32 *echoed(struct tcphdr *tcp, void *data_end)
{
	__u8 *o = (void *)(tcp + 1);
	int length = tcp->doff * 4 - 20;
	for (int k = 0; k < 12; k++) {
		if (length < 10 || (void *)(o + 10) > data_end)
			return 0;
		if (o[0] == 8 && o[1] == 10)
			return (void *)(o + 6);
		if (o[0] == 0)
			return 0;
		int n = o[0] == 1 ? 1 : o[1];
		if (n < 1 || n > 40)
			return 0;
		o += n;
		length -= n;
	}
	return 0;
}

static __always_inline void swap_eth(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

// reset makes a SYN-ACK the RST that closes the connection (RFC 9293 section 3.5.2): nobody else can, since the
// kernel never saw the SYN. sum is that of the pseudo header. The frame keeps its length, with padding behind the packet: it may be
// one of ours that comes back, and the kernel does not notice that a live frame has become shorter (frame_was_changed in
// net/bpf/test_run.c), so that its next user would send it cut off.
static __always_inline void reset(struct tcphdr *tcp, __u32 sum)
{
	__be32 seq = tcp->ack_seq;
	__be16 from = tcp->dest, to = tcp->source;

	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = from;
	tcp->dest = to;
	tcp->seq = seq;
	tcp->doff = 5;
	tcp->rst = 1;
	__u16 *w = (void *)tcp;
	for (int k = 0; k < 10; k++)
		sum += w[k];
	tcp->check = fold(sum);
}

// back sends a frame to where it came from. XDP_TX would do, but for veth: what that leaves in the queue of the peer the peer
// does not look at unless it has an XDP program, though it has GRO (veth_xdp_flush in drivers/net/veth.c).
static __always_inline int back(struct xdp_md *ctx) { return bpf_redirect(ctx->ingress_ifindex, 0); }

static __always_inline int reset4(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	__be32 to = ip->saddr, from = ip->daddr;
	swap_eth(eth);
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(40);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->saddr = from;
	ip->daddr = to;
	__u32 sum = 0;
	__u16 *w = (void *)ip;
	for (int k = 0; k < 10; k++)
		sum += w[k];
	ip->check = fold(sum);
	reset(tcp, words(from) + words(to) + bpf_htons(IPPROTO_TCP) + bpf_htons(20));
	return back(ctx);
}

static __always_inline int reset6(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	struct in6_addr to = ip->saddr;
	swap_eth(eth);
	ip->saddr = ip->daddr;
	ip->daddr = to;
	ip->payload_len = bpf_htons(20);
	ip->hop_limit = 64;
	__u32 sum = bpf_htons(IPPROTO_TCP) + bpf_htons(20);
	__u32 *w = (void *)&ip->saddr;
	for (int k = 0; k < 8; k++)
		sum += words(w[k]);
	reset(tcp, sum);
	return back(ctx);
}

// hear reports a segment if it brings the cookie back. addr is who sent it.
static __always_inline int hear(struct xdp_md *ctx, struct tcphdr *tcp, const __u32 *addr, __u8 ttl, int v6, void *data_end)
{
	__u16 ours = bpf_ntohs(tcp->dest) - first_port;
	if (ours > port_mask)
		return XDP_PASS;
	if (!tcp->rst && !(tcp->syn && tcp->ack))
		return XDP_PASS; // a bare SYN for one: user space knows what to make of it
	__u64 h = cookie(addr, tcp->source, v6);
	__u32 ack = bpf_ntohl(tcp->ack_seq);
	__u32 seq = ack - 1;
	if (tcp->rst && ((seq ^ (__u32)h) & ~COOKIE_MASK))
		seq = ack; // some acknowledge no byte
	if (ours != ((h >> 32) & port_mask) || !tcp->ack || ((seq ^ (__u32)h) & ~COOKIE_MASK)) {
		__sync_fetch_and_add(&strangers, 1);
		return XDP_PASS;
	}
	struct answer *a = bpf_ringbuf_reserve(&answers, sizeof(*a), 0);
	if (!a) {
		__sync_fetch_and_add(&overflowed, 1);
		return XDP_PASS;
	}
	a->time = bpf_ktime_get_ns();
	__builtin_memset(a->addr, 0, sizeof(a->addr));
	__builtin_memcpy(a->addr, addr, v6 ? 16 : 4);
	a->port = tcp->source;
	a->flags = ((__u8 *)tcp)[13];
	a->ttl = ttl;
	a->attempt = seq & COOKIE_MASK;
	a->v6 = v6;
	a->pad = 0;
	a->ifindex = ctx->ingress_ifindex;
	__be32 *ts = echoed(tcp, data_end);
	a->has_rtt = ts != 0;
	a->rtt = ts ? clock(a->time) - (bpf_ntohl(*ts) - (__u32)(h >> 32)) : 0;
	int opened = !tcp->rst;
	bpf_ringbuf_submit(a, BPF_RB_NO_WAKEUP); // user space looks by itself: waking it for each costs more than all the rest
	if (!opened)
		return XDP_DROP;
	return v6 ? reset6(ctx) : reset4(ctx);
}

static __always_inline int receive(struct xdp_md *ctx, void *data, void *data_end)
{
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		struct tcphdr *tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > data_end || ip->ihl != 5 || ip->protocol != IPPROTO_TCP ||
		    ip->frag_off & bpf_htons(0x3fff))
			return XDP_PASS;
		return hear(ctx, tcp, &ip->saddr, ip->ttl, 0, data_end);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		struct tcphdr *tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > data_end || ip->nexthdr != IPPROTO_TCP)
			return XDP_PASS;
		return hear(ctx, tcp, ip->saddr.in6_u.u6_addr32, ip->hop_limit, 1, data_end);
	}
	return XDP_PASS;
}

#define LOOPBACK 1 // where live frames come from, and where the program is never attached (net/bpf/test_run.c)

SEC("xdp.frags")
int probe(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	if (ctx->ingress_ifindex == LOOPBACK)
		return send(data, data_end);
	return receive(ctx, data, data_end);
}
