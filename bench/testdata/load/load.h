/* What the modes of load have in common. See load.c. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct options {
	struct sockaddr_in to;
	int conns;             /* connections, or sockets */
	size_t size;           /* bytes of a message */
	double warm, seconds;  /* not counted, and counted */
	double rate;           /* messages or connections a second, 0: as fast as answers come */
	uint64_t count;        /* messages or bytes after which it ends, 0: by time */
	int window;            /* datagrams that each socket has on their way */
	int gso;               /* udp: a window's datagrams go out as one, which the kernel splits (udp(7), UDP_SEGMENT) */
	int verify;            /* bulk: every byte, not eight of each read */
};

/* What came of it. Latency is counted in a histogram of 128 steps an octave, which are less than 1 % wide. */
struct result {
	uint64_t requests, bytes;             /* in the time that counts */
	uint64_t sent, lost, changed, doubled; /* in all */
	uint64_t begin, end;                   /* what counts: ns */
	uint64_t longest, histogram[58 * 128];
};

uint64_t now(void); /* CLOCK_MONOTONIC, ns */
void die(const char *what) __attribute__((noreturn));
void record(struct result *r, uint64_t ns);

/* word is the i-th 64 bits of an endless incompressible text (splitmix64's output function). */
static inline uint64_t word(uint64_t i) {
	uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* text writes the text from the word first on. */
void text(char *to, size_t bytes, uint64_t first);

/* dial connects, from an address of its own for every 16384 connections (127.0.0.1, .2, ...), since ports are short. */
int dial(const struct options *o, int type, int flags, int number);

void closed_loop(const struct options *o, struct result *r);
void bulk(const struct options *o, struct result *r);
void datagrams(const struct options *o, struct result *r);
void hold(const struct options *o, struct result *r);
void churn(const struct options *o, struct result *r);
