/* One connection, as fast as it goes. */
#include "load.h"

enum { block = 1 << 16, kept = 128 }; /* bytes, and blocks of the text that are made but once */

/* A cursor walks through the text. Checking all, every block has its own; else it begins again after 8 MB. */
struct cursor {
	uint64_t at;
	uint64_t made; /* the block in own, and 1 */
	char own[block];
};

static char *again;

static const char *here(struct cursor *c, int verify) {
	uint64_t number = c->at / block;
	if (!verify) return again + number % kept * block + c->at % block;
	if (c->made != number + 1) text(c->own, block, number * (block / 8)), c->made = number + 1;
	return c->own + c->at % block;
}

/* rest is how much there is up to the block's end. */
static size_t rest(const struct cursor *c) { return block - c->at % block; }

static void write_some(int fd, const struct options *o, struct cursor *out) {
	size_t n = rest(out);
	if (o->count && out->at + n > o->count) n = o->count - out->at;
	if (n == 0) return;
	ssize_t sent = send(fd, here(out, o->verify), n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) die("send");
	if (sent > 0) out->at += sent;
}

/* check compares, and without verify no more than the first bytes. */
static void check(const struct options *o, struct result *r, struct cursor *in, const char *data, size_t n) {
	for (int first = 1; n > 0; first = 0) {
		size_t part = n < rest(in) ? n : rest(in), look = o->verify || part < 8 ? part : 8;
		if ((o->verify || first) && memcmp(data, here(in, o->verify), look)) r->changed++;
		data += part, n -= part, in->at += part;
	}
}

void bulk(const struct options *o, struct result *r) {
	static struct cursor out, in;
	static char buffer[4 * block];
	int fd = dial(o, SOCK_STREAM, SOCK_NONBLOCK, 0), ending = 0;
	uint64_t heard, t;
	again = malloc(block * kept);
	text(again, block * kept, 0);
	r->begin = now() + o->warm * 1e9, r->end = r->begin + o->seconds * 1e9;
	for (t = heard = now();; t = now()) {
		if (!ending && (o->count ? out.at == o->count : t >= r->end)) shutdown(fd, SHUT_WR), ending = 1;
		struct pollfd p = {.fd = fd, .events = ending ? POLLIN : POLLIN | POLLOUT};
		if (poll(&p, 1, 1000) < 0) die("poll");
		if (p.revents & POLLOUT && !ending) write_some(fd, o, &out);
		if (p.revents & POLLIN) {
			ssize_t n = recv(fd, buffer, sizeof buffer, 0);
			if (n < 0 && errno != EAGAIN) die("recv");
			if (n == 0) break;
			if (n < 0) continue;
			heard = t;
			check(o, r, &in, buffer, n);
			if (o->count || (t >= r->begin && t < r->end)) r->bytes += n;
		}
		if (t > heard + 10000000000ull) break;
	}
	if (o->count) r->begin += -o->warm * 1e9, r->end = now();
	r->sent = out.at;
	if (in.at < out.at) r->lost = out.at - in.at;
	else r->doubled = in.at - out.at;
	close(fd);
}
