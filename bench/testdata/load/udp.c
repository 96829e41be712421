/* Sockets that each have a window of datagrams on their way. A datagram: its number, its time, and a text made of both. A window opens
   by one with every answer, so that nobody's queue overflows at once. */
#include "load.h"

enum { most = 64, patience = 100000000 }; /* datagrams of a window; ns after which they are taken for lost */

struct header { uint64_t number, time; };

struct client {
	int fd;
	uint64_t sent, back, before; /* sent before the last sweep */
};

static struct { uint64_t *bits, words; } met; /* the numbers that came back */

static struct mmsghdr messages[most];
static struct iovec parts[most];
static char *buffers[most];

static void prepare(size_t size) {
	for (int i = 0; i < most; i++) {
		buffers[i] = malloc(size + 1); /* one more tells that there was more */
		parts[i] = (struct iovec){buffers[i], size};
		messages[i].msg_hdr.msg_iov = &parts[i], messages[i].msg_hdr.msg_iovlen = 1;
	}
}

static void fill(char *to, size_t size, struct header h) {
	memcpy(to, &h, sizeof h);
	text(to + sizeof h, size - sizeof h, h.number ^ h.time << 20);
}

/* send_some sends n datagrams of a time; what a full queue refuses counts as sent, and lost. */
static void send_some(const struct options *o, struct result *r, struct client *c, int n, uint64_t time) {
	if (o->count && r->sent + n > o->count) n = o->count - r->sent;
	if (n == 0) return;
	for (int i = 0; i < n; i++) fill(buffers[i], o->size, (struct header){r->sent++, time}), parts[i].iov_len = o->size;
	struct msghdr all = {.msg_iov = parts, .msg_iovlen = n};
	if ((o->gso ? sendmsg(c->fd, &all, 0) : sendmmsg(c->fd, messages, n, 0)) < 0 && errno != EAGAIN && errno != ENOBUFS) die("send");
	c->sent += n;
}

/* again says whether a number has come back before. */
static int again(uint64_t number) {
	if (number / 64 >= met.words) {
		uint64_t words = 2 * (number / 64 + 1024);
		met.bits = realloc(met.bits, words * 8);
		memset(met.bits + met.words, 0, (words - met.words) * 8);
		met.words = words;
	}
	uint64_t bit = (uint64_t)1 << number % 64, old = met.bits[number / 64];
	met.bits[number / 64] |= bit;
	return (old & bit) != 0;
}

/* judge counts one datagram that came back, and says whether it is one that was waited for. */
static int judge(const struct options *o, struct result *r, const char *data, size_t n, uint64_t t, uint64_t *back) {
	static char wanted[65536];
	struct header h;
	memcpy(&h, data, sizeof h);
	if (n != o->size || h.number >= r->sent) return r->changed++, 0;
	fill(wanted, n, h);
	if (memcmp(wanted, data, n)) return r->changed++, 0;
	if (again(h.number)) return r->doubled++, 0;
	++*back;
	if (t >= r->begin && t < r->end) record(r, t > h.time ? t - h.time : 0), r->bytes += n;
	return 1;
}

static int receive_some(const struct options *o, struct result *r, struct client *c, uint64_t *back) {
	for (int i = 0; i < o->window; i++) parts[i].iov_len = o->size + 1;
	int n = recvmmsg(c->fd, messages, o->window, MSG_DONTWAIT, NULL), good = 0;
	if (n < 0 && errno != EAGAIN) die("recvmmsg");
	uint64_t t = now();
	for (int i = 0; i < n; i++) good += judge(o, r, buffers[i], messages[i].msg_len, t, back);
	c->back += good;
	return good;
}

/* room is how many more a client may send: of so many at the most. */
static int room(const struct options *o, const struct client *c, int most) {
	int out = c->sent > c->back ? c->sent - c->back : 0, free = o->window - out;
	return free < most ? free : most;
}

/* sweep gives up what was sent before the last sweep, and lets those go on who have nothing on their way. */
static void sweep(const struct options *o, struct result *r, struct client *clients, uint64_t t) {
	for (int i = 0; i < o->conns; i++) {
		struct client *c = &clients[i];
		if (c->back < c->before) c->back = c->before;
		c->before = c->sent;
		if (c->back >= c->sent) send_some(o, r, c, 1, t);
	}
}

/* wait returns what is ready, at the latest at a time. epoll_wait(2) counts milliseconds, which is not enough. */
static int wait(int loop, struct epoll_event *events, uint64_t until) {
	uint64_t t = now(), ns = until > t ? until - t : 0;
	struct timespec limit = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	return syscall(SYS_epoll_pwait2, loop, events, 256, &limit, NULL, 0);
}

void datagrams(const struct options *o, struct result *r) {
	struct epoll_event events[256];
	struct client *clients = calloc(o->conns, sizeof *clients);
	int loop = epoll_create1(0);
	uint64_t back = 0, t, swept, start, last;
	if (o->size < sizeof(struct header)) die("size");
	prctl(PR_SET_TIMERSLACK, 1);
	prepare(o->size);
	for (int i = 0; i < o->conns; i++) {
		clients[i].fd = dial(o, SOCK_DGRAM, SOCK_NONBLOCK, i);
		int size = o->size;
		if (o->gso && setsockopt(clients[i].fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size)) die("UDP_SEGMENT");
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
		if (epoll_ctl(loop, EPOLL_CTL_ADD, clients[i].fd, &e)) die("epoll_ctl");
	}
	start = swept = last = now();
	r->begin = start + o->warm * 1e9, r->end = r->begin + o->seconds * 1e9;
	for (t = start;; t = now()) {
		int more = o->count ? r->sent < o->count : t < r->end;
		if (!more && (back == r->sent || t > last + 5 * patience)) break;
		while (more && o->rate > 0 && start + r->sent * 1e9 / o->rate <= t)
			send_some(o, r, &clients[r->sent % o->conns], 1, start + r->sent * 1e9 / o->rate);
		if (more && o->rate == 0 && (r->sent == 0 || t > swept + patience)) sweep(o, r, clients, t), swept = t;
		int n = wait(loop, events, o->rate > 0 && more ? start + r->sent * 1e9 / o->rate : t + patience / 2);
		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;
			int got = receive_some(o, r, c, &back), next = room(o, c, got + 1);
			if (got > 0) last = now();
			if (o->rate == 0 && more && got > 0 && next > 0) send_some(o, r, c, next, last);
		}
	}
	if (o->count) r->begin = start, r->end = last;
	r->lost = r->sent - back;
}
