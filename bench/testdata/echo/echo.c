/* What a TCP echo costs at the least: one thread, epoll (epoll(7), level-triggered), one buffer for all, and for a peer that does not
   read a copy of what waits for it, while it is not read from.

	cc -O2 -o echo echo.c && ./echo        prints "listening tcp 127.0.0.1:PORT" */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct conn { int fd; char *waiting; size_t at, len; };

static char buffer[1 << 16];
static int loop;

static void finish(struct conn *c) { close(c->fd); free(c->waiting); free(c); }

static void watch(int op, int fd, uint32_t events, void *conn) {
	struct epoll_event e = {.events = events, .data.ptr = conn};
	if (epoll_ctl(loop, op, fd, &e)) { perror("epoll_ctl"); exit(1); }
}

static void answer(struct conn *c) {
	ssize_t n = read(c->fd, buffer, sizeof buffer), sent;
	if (n <= 0) { if (n == 0 || errno != EAGAIN) finish(c); return; }
	if ((sent = write(c->fd, buffer, n)) < 0) { if (errno != EAGAIN) { finish(c); return; } sent = 0; }
	if (sent == n) return;
	c->at = 0, c->len = n - sent, c->waiting = malloc(c->len);
	memcpy(c->waiting, buffer + sent, c->len);
	watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
}

static void go_on(struct conn *c) {
	ssize_t sent = write(c->fd, c->waiting + c->at, c->len - c->at);
	if (sent < 0) { if (errno != EAGAIN) finish(c); return; }
	if ((c->at += sent) < c->len) return;
	free(c->waiting), c->waiting = NULL;
	watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

int main(void) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof at;
	int fd, one = 1, n, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event events[256];
	signal(SIGPIPE, SIG_IGN);
	if (bind(listener, (void *)&at, size) || listen(listener, 4096) || getsockname(listener, (void *)&at, &size)) { perror("listen"); return 1; }
	printf("listening tcp 127.0.0.1:%d\n", ntohs(at.sin_port)), fflush(stdout);
	loop = epoll_create1(0);
	watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
	for (;;) {
		n = epoll_wait(loop, events, 256, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c) { if (c->waiting) go_on(c); else answer(c); continue; }
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
				c = calloc(1, sizeof *c), c->fd = fd;
				watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
			}
		}
	}
}
