/* Load is the client of the echo benchmarks. It checks what comes back: all of it, but for bulk without verify=1.

	cc -O2 -o load *.c
	./load MODE ADDRESS PORT [conns=64] [size=64] [warm=0.2] [seconds=1] [rate=0] [count=0] [window=3] [gso=0] [verify=0]

	tcp    connections that each send a message when the one before is back; count: of messages
	bulk   one connection, both ways at once as fast as it goes; count: of bytes
	udp    sockets that each have a window of datagrams on their way; with a rate they are sent at their
	       time, whatever comes back, and latency counts from that time; count: of datagrams
	hold   connections that have sent one message each, and are idle until standard input ends: says "ready"
	churn  connections made, used for one message and ended (every second one by a RST), one after the other

It prints JSON: requests (in the time that counts), seconds, bytes, p50_us, p99_us, max_us; sent, lost, changed, doubled (in all). */
#include "load.h"

uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

void die(const char *what) {
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

void text(char *to, size_t bytes, uint64_t first) {
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t w = word(first + i / 8);
		memcpy(to + i, &w, bytes - i < 8 ? bytes - i : 8);
	}
}

int dial(const struct options *o, int type, int flags, int number) {
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + number / 16384)};
	int fd = socket(AF_INET, type, 0), one = 1;
	if (fd < 0) die("socket");
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (bind(fd, (void *)&from, sizeof from)) die("bind");
	if (connect(fd, (void *)&o->to, sizeof o->to)) die("connect");
	if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (flags & SOCK_NONBLOCK) {
		int on = 1;
		if (ioctl(fd, FIONBIO, &on)) die("ioctl");
	}
	return fd;
}

/* place is where a value is counted: values below 128 each for themselves, then 128 steps an octave. */
static size_t place(uint64_t v) {
	if (v < 128) return v;
	int shift = 56 - __builtin_clzll(v);
	return 128 * shift + (v >> shift);
}

static double value(size_t place) {
	if (place < 256) return place;
	int shift = place / 128 - 1;
	return (place % 128 + 128.5) * ((uint64_t)1 << shift);
}

void record(struct result *r, uint64_t ns) {
	r->requests++;
	r->histogram[place(ns)]++;
	if (ns > r->longest) r->longest = ns;
}

static double quantile(const struct result *r, double q) {
	uint64_t rank = r->requests * q, met = 0;
	for (size_t i = 0; i < sizeof r->histogram / sizeof *r->histogram; i++)
		if ((met += r->histogram[i]) > rank) return value(i) / 1e3;
	return 0;
}

static void print(const struct result *r) {
	printf("{\"requests\":%lu,\"seconds\":%.6f,\"bytes\":%lu,\"p50_us\":%.3f,\"p99_us\":%.3f,\"max_us\":%.3f,"
	       "\"sent\":%lu,\"lost\":%lu,\"changed\":%lu,\"doubled\":%lu}\n",
	       r->requests, (r->end - r->begin) / 1e9, r->bytes, quantile(r, 0.5), quantile(r, 0.99), r->longest / 1e3,
	       r->sent, r->lost, r->changed, r->doubled);
}

static void option(struct options *o, const char *arg) {
	double v;
	char name[16];
	if (sscanf(arg, "%15[a-z]=%lf", name, &v) != 2) die(arg);
	if (!strcmp(name, "conns")) o->conns = v;
	else if (!strcmp(name, "size")) o->size = v;
	else if (!strcmp(name, "warm")) o->warm = v;
	else if (!strcmp(name, "seconds")) o->seconds = v;
	else if (!strcmp(name, "rate")) o->rate = v;
	else if (!strcmp(name, "count")) o->count = v;
	else if (!strcmp(name, "window")) o->window = v;
	else if (!strcmp(name, "gso")) o->gso = v;
	else if (!strcmp(name, "verify")) o->verify = v;
	else die(arg);
}

int main(int argc, char **argv) {
	static struct result r;
	struct options o = {.conns = 64, .size = 64, .warm = 0.2, .seconds = 1, .window = 3};
	static const struct { const char *name; void (*run)(const struct options *, struct result *); } modes[] = {
		{"tcp", closed_loop}, {"bulk", bulk}, {"udp", datagrams}, {"hold", hold}, {"churn", churn},
	};
	errno = EINVAL;
	if (argc < 4) die("usage: load MODE ADDRESS PORT [NAME=VALUE...]");
	o.to.sin_family = AF_INET, o.to.sin_port = htons(atoi(argv[3]));
	if (inet_pton(AF_INET, argv[2], &o.to.sin_addr) != 1) die(argv[2]);
	for (int i = 4; i < argc; i++) option(&o, argv[i]);
	if (o.size < 8 || o.size > 65000 || o.conns < 1 || o.window < 1 || o.window > 64) die("an option is out of range");
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		if (strcmp(argv[1], modes[i].name)) continue;
		r.begin = now() + o.warm * 1e9, r.end = r.begin + o.seconds * 1e9;
		modes[i].run(&o, &r);
		print(&r);
		return 0;
	}
	die(argv[1]);
}
