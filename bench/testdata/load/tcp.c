/* Connections: closed_loop, hold, churn. */
#include "load.h"

enum { patience = 5 }; /* seconds for the last answers, after which they count as lost */

struct conn {
	int fd;
	uint64_t sequence, sent_at;
	size_t got;
	char *message;
};

/* send_next sends a connection's next message, which begins with its number. */
static void send_next(const struct options *o, struct result *r, struct conn *c) {
	memcpy(c->message, &c->sequence, 8);
	c->sequence++, c->got = 0, c->sent_at = now();
	if (send(c->fd, c->message, o->size, MSG_NOSIGNAL) != (ssize_t)o->size) die("send");
	r->sent++;
}

/* receive takes what is there of an answer, and says whether it is whole. */
static int receive(const struct options *o, struct result *r, struct conn *c) {
	static char buffer[65536];
	ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
	if (n < 0 && errno == EAGAIN) return 0;
	if (n == 0) errno = ECONNRESET;
	if (n <= 0) die("the server ended a connection");
	if (c->got + n > o->size) r->doubled++, n = o->size - c->got;
	if (memcmp(buffer, c->message + c->got, n)) r->changed++;
	return (c->got += n) == o->size;
}

/* begin connects all, each of which has a text of its own to send. */
static struct conn *begin(const struct options *o, int loop) {
	struct conn *conns = calloc(o->conns, sizeof *conns);
	for (int i = 0; i < o->conns; i++) {
		conns[i].fd = dial(o, SOCK_STREAM, SOCK_NONBLOCK, i);
		conns[i].message = malloc(o->size);
		text(conns[i].message, o->size, (uint64_t)i << 32);
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &conns[i]};
		if (epoll_ctl(loop, EPOLL_CTL_ADD, conns[i].fd, &e)) die("epoll_ctl");
	}
	return conns;
}

void closed_loop(const struct options *o, struct result *r) {
	struct epoll_event events[256];
	int loop = epoll_create1(0), waiting = o->conns;
	struct conn *conns = begin(o, loop);
	r->begin = now() + o->warm * 1e9, r->end = r->begin + o->seconds * 1e9;
	for (int i = 0; i < o->conns; i++) send_next(o, r, &conns[i]);
	uint64_t last = 0;
	while (waiting > 0) {
		int n = epoll_wait(loop, events, 256, 100);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (!receive(o, r, c)) continue;
			last = now();
			if (last >= r->begin && last < r->end) record(r, last - c->sent_at), r->bytes += o->size;
			if (o->count ? r->sent < o->count : last < r->end) send_next(o, r, c);
			else waiting--;
		}
		if (n <= 0 && now() > (o->count ? last : r->end) + patience * 1000000000ull) break;
	}
	r->lost = waiting;
	if (o->count) r->end = last;
	for (int i = 0; i < o->conns; i++) close(conns[i].fd);
}

static void reset(int fd) {
	struct linger now = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

void hold(const struct options *o, struct result *r) {
	struct options once = *o;
	once.count = 1;
	struct epoll_event events[256];
	int loop = epoll_create1(0), back = 0;
	struct conn *conns = begin(o, loop);
	for (int i = 0; i < o->conns; i++) {
		send_next(o, r, &conns[i]);
		while (back <= i) { /* one at a time: what 10,000 at once take is another question */
			int n = epoll_wait(loop, events, 256, patience * 1000);
			if (n <= 0) die("no answer");
			for (int k = 0; k < n; k++) back += receive(&once, r, events[k].data.ptr);
		}
	}
	puts("ready"), fflush(stdout);
	while (getchar() != EOF) {}
	for (int i = 0; i < o->conns; i++) reset(conns[i].fd);
}

/* one makes one connection and uses it. */
static int one(const struct options *o, struct result *r, int number) {
	char message[65536];
	struct timeval limit = {.tv_sec = patience};
	struct conn c = {.fd = dial(o, SOCK_STREAM, 0, 0), .message = message, .sequence = number};
	setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	text(message, o->size, number);
	send_next(o, r, &c);
	for (uint64_t start = now(); !receive(o, r, &c);)
		if (now() > start + patience * 1000000000ull) return reset(c.fd), 0;
	if (number % 2) reset(c.fd);
	else close(c.fd);
	return 1;
}

void churn(const struct options *o, struct result *r) {
	for (int i = 0; o->count ? (uint64_t)i < o->count : now() < r->end; i++) {
		uint64_t start = now(), due = r->begin + (o->rate > 0 ? i * 1e9 / o->rate : 0);
		if (o->rate > 0 && start < due) {
			struct timespec rest = {.tv_sec = (due - start) / 1000000000, .tv_nsec = (due - start) % 1000000000};
			nanosleep(&rest, NULL);
			start = now();
		}
		if (one(o, r, i)) record(r, now() - start);
		else r->lost++;
	}
	r->end = now();
}
