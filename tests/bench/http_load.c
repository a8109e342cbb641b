/*
 * A client for measuring HTTP servers: N keep-alive connections, each asks again as soon as it has its answer.
 *
 * usage: http_load -p PORT [-c CONNECTIONS] [-t SECONDS] [-r RANGE_BYTES -s SIZE] [-m slow] TARGET...
 * TARGET goes on the request line as it is ("/a", "http://host/a"); several are asked for in turn. With -r random ranges of a content of SIZE
 * bytes. -m slow: opens all connections, asks, reads one buffer and waits for the seconds to pass. Prints one line of numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096
#define HEAD_MAX 8192
#define READ_BYTES (256 * 1024)

struct client {
	int fd;
	char head[HEAD_MAX];
	size_t head_len;
	bool in_body;
	uint64_t left;
};

static unsigned short port;
static char **targets;
static size_t target_count, target_at;
static unsigned long long range_bytes, size_bytes;
static uint64_t answers, bytes;
static uint64_t seed = 88172645463325252u;

static void
die(const char *what)
{
	fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
random_u64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
ask(struct client *c)
{
	char request[4096];
	const char *target = targets[target_at++ % target_count];
	int n;

	if (range_bytes > 0) {
		unsigned long long at = random_u64() % (size_bytes - range_bytes + 1);

		n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=%llu-%llu\r\n\r\n", target, at, at + range_bytes - 1);
	} else {
		n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target);
	}
	if (n < 0 || (size_t)n >= sizeof request || write(c->fd, request, (size_t)n) != n)
		die("request");
	c->head_len = 0;
	c->in_body = false;
}

static void
open_client(struct client *c)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	ask(c);
}

/* Takes the head off the front of p; what is left is body. */
static size_t
take_head(struct client *c, const char *p, size_t n)
{
	size_t room = HEAD_MAX - 1 - c->head_len, take = n < room ? n : room, was = c->head_len;
	char *end, *length;

	memcpy(c->head + c->head_len, p, take);
	c->head_len += take;
	c->head[c->head_len] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (end == NULL) {
		if (c->head_len == HEAD_MAX - 1) {
			fprintf(stderr, "http_load: no end of head\n");
			exit(1);
		}
		return n;
	}
	if (strncmp(c->head, "HTTP/1.1 20", 11) != 0) {
		fprintf(stderr, "http_load: %.*s\n", (int)(strchr(c->head, '\r') - c->head), c->head);
		exit(1);
	}
	*end = '\0';
	for (length = c->head; *length != '\0' && strncasecmp(length, "\r\ncontent-length:", 17) != 0; length++)
		;
	if (*length == '\0') {
		fprintf(stderr, "http_load: no length\n");
		exit(1);
	}
	c->left = strtoull(length + 17, NULL, 10);
	c->in_body = true;
	return (size_t)(end + 4 - c->head) - was;
}

static void
receive(struct client *c, char *buf)
{
	ssize_t got = read(c->fd, buf, READ_BYTES);
	size_t at = 0, n;

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0)
		die("read");
	n = (size_t)got;
	while (at < n || (c->in_body && c->left == 0)) {
		if (!c->in_body) {
			at += take_head(c, buf + at, n - at);
			continue;
		}
		if (c->left > 0) {
			uint64_t take = n - at < c->left ? n - at : c->left;

			at += take;
			bytes += take;
			c->left -= take;
		}
		if (c->left > 0)
			return;
		answers++;
		ask(c);
	}
}

int
main(int argc, char **argv)
{
	static struct client clients[CONNECTIONS_MAX];
	static struct pollfd polls[CONNECTIONS_MAX];
	static char buf[READ_BYTES];
	double seconds = 5, begin, end;
	struct rusage used;
	bool is_slow = false;
	size_t count = 64;
	int opt;

	while ((opt = getopt(argc, argv, "p:c:t:r:s:m:")) != -1) {
		switch (opt) {
		case 'p': port = (unsigned short)atoi(optarg); break;
		case 'c': count = (size_t)atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 'r': range_bytes = strtoull(optarg, NULL, 10); break;
		case 's': size_bytes = strtoull(optarg, NULL, 10); break;
		case 'm': is_slow = strcmp(optarg, "slow") == 0; break;
		default: return 2;
		}
	}
	targets = argv + optind;
	target_count = (size_t)(argc - optind);
	if (target_count == 0 || count == 0 || count > CONNECTIONS_MAX)
		return 2;
	begin = now();
	for (size_t i = 0; i < count; i++) {
		open_client(&clients[i]);
		polls[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
	}
	if (is_slow) {
		for (size_t i = 0; i < count; i++) {
			if (poll(&polls[i], 1, 30000) != 1 || read(clients[i].fd, buf, 4096) <= 0)
				die("slow client");
		}
		printf("open %zu\n", count);
		fflush(stdout);
		poll(NULL, 0, (int)(seconds * 1000));
		return 0;
	}
	while (now() - begin < seconds) {
		if (poll(polls, (nfds_t)count, 1000) < 0)
			die("poll");
		for (size_t i = 0; i < count; i++)
			if (polls[i].revents != 0)
				receive(&clients[i], buf);
	}
	end = now();
	getrusage(RUSAGE_SELF, &used);
	printf("answers %llu bytes %llu seconds %.3f cpu %.3f\n", (unsigned long long)answers, (unsigned long long)bytes, end - begin,
	    (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return 0;
}
