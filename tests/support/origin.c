#include "support/origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "support/origin_internal.h"

#define CONNS_MAX 4096
/* Bytes that one connection sends before the next one's turn. */
#define QUANTUM (1024 * 1024)
#define CHUNK (64 * 1024)
#define FILE_BUFFER (256 * 1024)
/* A total rate is dealt out in steps of this, and at most so much saved up. */
#define RATE_STEP_MS 5
#define RATE_SAVED_MS 50

enum stage { IDLE, WAITING, SEND_HEAD, SEND_RAW, SEND_BODY, SEND_TAIL, STALLED };

struct client {
	int fd;
	char *in;
	size_t in_len;
	enum stage stage;
	struct plan plan;
	struct path_count *path;
	const char *out;        /* what is being sent before the next body bytes */
	size_t out_len;
	char control[32];
	uint64_t chunk_left;
	uint64_t sent;          /* body bytes of this answer */
	int64_t due_ms;         /* WAITING: when the head may go */
	int64_t began_ms;
};

struct origin {
	struct origin_opts opts;
	char *dir;
	int listener;
	int stop_pipe[2];
	uint16_t port;
	pthread_t thread;
	pthread_mutex_t lock;   /* counts and scripts */
	struct counts counts;
	size_t open_count;
	struct client *clients[CONNS_MAX];
	size_t client_count;
	uint64_t tokens;
	int64_t refilled_ms;
	uint8_t file_buffer[FILE_BUFFER];
};

/* ---- content ---- */

static uint8_t pattern[2 * GEN_PERIOD];
static pthread_once_t pattern_once = PTHREAD_ONCE_INIT;

static void
make_pattern(void)
{
	uint64_t x = 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < GEN_PERIOD; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		pattern[i] = pattern[i + GEN_PERIOD] = (uint8_t)(x >> 32);
	}
}

static size_t
pattern_place(uint64_t seed, uint64_t i)
{
	return (size_t)((i % GEN_PERIOD + seed % GEN_PERIOD * 7919) % GEN_PERIOD);
}

uint8_t
origin_gen_byte(uint64_t seed, uint64_t i)
{
	pthread_once(&pattern_once, make_pattern);
	return pattern[pattern_place(seed, i)];
}

void
origin_gen_fill(uint64_t seed, uint64_t at, void *out, size_t n)
{
	uint8_t *to = out;

	pthread_once(&pattern_once, make_pattern);
	while (n > 0) {
		size_t k = n < GEN_PERIOD ? n : GEN_PERIOD;

		memcpy(to, pattern + pattern_place(seed, at), k);
		to += k;
		at += k;
		n -= k;
	}
}

/* ---- connections ---- */

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
plan_done(struct client *c)
{
	if (c->plan.fd >= 0)
		close(c->plan.fd);
	free(c->plan.text);
	memset(&c->plan, 0, sizeof(c->plan));
	c->plan.fd = -1;
	c->stage = IDLE;
}

static void
client_close(struct origin *o, size_t i, bool reset)
{
	struct client *c = o->clients[i];
	struct linger hard = {1, 0};

	if (reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(c->fd);
	plan_done(c);
	free(c->in);
	free(c);
	o->clients[i] = o->clients[--o->client_count];
	pthread_mutex_lock(&o->lock);
	o->open_count = o->client_count;
	pthread_mutex_unlock(&o->lock);
}

static void
accept_all(struct origin *o)
{
	int fd, one = 1;

	while (o->client_count < CONNS_MAX && (fd = accept(o->listener, NULL, NULL)) >= 0) {
		struct client *c = calloc(1, sizeof(*c));

		fcntl(fd, F_SETFL, O_NONBLOCK);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c->fd = fd;
		c->plan.fd = -1;
		c->in = malloc(HEAD_MAX);
		o->clients[o->client_count++] = c;
		pthread_mutex_lock(&o->lock);
		o->counts.connections++;
		o->open_count = o->client_count;
		pthread_mutex_unlock(&o->lock);
	}
}

/* A whole request head in the buffer becomes the next plan. */
static void
next_request(struct origin *o, struct client *c)
{
	for (size_t i = 3; c->stage == IDLE && i < c->in_len; i++) {
		char *head;

		if (memcmp(c->in + i - 3, "\r\n\r\n", 4) != 0)
			continue;
		head = calloc(1, i + 2);
		memcpy(head, c->in, i + 1);
		pthread_mutex_lock(&o->lock);
		plan_request(&o->counts, o->dir, head, &c->plan, &c->path);
		pthread_mutex_unlock(&o->lock);
		free(head);
		memmove(c->in, c->in + i + 1, c->in_len - i - 1);
		c->in_len -= i + 1;
		c->began_ms = now_ms();
		c->due_ms = c->began_ms + c->plan.delay_ms;
		c->sent = c->chunk_left = 0;
		c->stage = c->plan.hang ? STALLED : WAITING;
	}
}

/* 0, or -1 when the connection is over. */
static int
client_read(struct origin *o, struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, HEAD_MAX - c->in_len, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	c->in_len += (size_t)n;
	next_request(o, c);
	return c->stage == IDLE && c->in_len == HEAD_MAX ? -1 : 0;
}

/* How many body bytes may go now. */
static uint64_t
allowance(struct origin *o, const struct client *c, uint64_t want)
{
	if (want > c->plan.stop_after - c->sent)
		want = c->plan.stop_after - c->sent;
	if (o->opts.rate > 0 && want > o->tokens)
		want = o->tokens;
	if (o->opts.rate > 0 && want > 32 * 1024)
		want = 32 * 1024;
	if (c->plan.drip > 0) {
		uint64_t due = (uint64_t)(now_ms() - c->began_ms - c->plan.delay_ms) * c->plan.drip / 1000;

		want = due > c->sent ? (want < due - c->sent ? want : due - c->sent) : 0;
	}
	return want;
}

/* Body bytes from the content; how many went, -1 on an error (EAGAIN included). */
static ssize_t
send_content(struct origin *o, struct client *c, uint64_t n)
{
	const uint8_t *from = pattern + pattern_place(c->plan.seed, c->plan.at);

	if (c->plan.body == BODY_FILE) {
		ssize_t got = pread(c->plan.fd, o->file_buffer, n < FILE_BUFFER ? (size_t)n : FILE_BUFFER, (off_t)c->plan.at);

		if (got <= 0) {
			errno = EIO;
			return -1;
		}
		from = o->file_buffer;
		n = (uint64_t)got;
	}
	return send(c->fd, from, n < GEN_PERIOD ? (size_t)n : GEN_PERIOD, MSG_NOSIGNAL);
}

/* 1: some body bytes went; 0: not now; -1: the connection is over. */
static int
send_body(struct origin *o, struct client *c)
{
	uint64_t want = c->plan.chunked ? c->chunk_left : c->plan.left;
	uint64_t n = allowance(o, c, want < QUANTUM ? want : QUANTUM);
	ssize_t sent;

	if (n == 0)
		return 0;
	sent = send_content(o, c, n);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	c->plan.at += (uint64_t)sent;
	c->plan.left -= (uint64_t)sent;
	c->chunk_left -= c->plan.chunked ? (uint64_t)sent : 0;
	c->sent += (uint64_t)sent;
	if (o->opts.rate > 0)
		o->tokens -= (uint64_t)sent;
	pthread_mutex_lock(&o->lock);
	o->counts.bytes += (uint64_t)sent;
	if (c->path != NULL)
		c->path->bytes += (uint64_t)sent;
	pthread_mutex_unlock(&o->lock);
	return 1;
}

static void
control(struct client *c, const char *text)
{
	snprintf(c->control, sizeof(c->control), "%s", text);
	c->out = c->control;
	c->out_len = strlen(c->control);
}

/* What stands between the parts of an answer. */
static void
next_stage(struct client *c)
{
	struct plan *p = &c->plan;

	switch (c->stage) {
	case WAITING:
		c->out = p->head;
		c->out_len = p->head_len;
		c->stage = SEND_HEAD;
		break;
	case SEND_HEAD:
		c->out = p->raw;
		c->out_len = p->raw_len;
		c->stage = SEND_RAW;
		break;
	case SEND_RAW:
		c->stage = p->body == BODY_NONE ? SEND_TAIL : SEND_BODY;
		break;
	default:
		break;
	}
}

/* The body's next chunk head, or its end. */
static void
between_chunks(struct client *c)
{
	char text[32];
	uint64_t n = c->plan.left < CHUNK ? c->plan.left : CHUNK;

	snprintf(text, sizeof(text), "%s%llx\r\n%s", c->sent > 0 ? "\r\n" : "", (unsigned long long)n, n == 0 ? "\r\n" : "");
	control(c, text);
	c->chunk_left = n;
	if (n == 0)
		c->stage = SEND_TAIL;
}

/* 0: go on later; -1: close; -2: reset. */
static int
client_write(struct origin *o, struct client *c)
{
	uint64_t budget = c->sent + QUANTUM;

	while (c->stage != IDLE && c->stage != STALLED) {
		if (c->stage == WAITING && now_ms() < c->due_ms)
			return 0;
		if (c->out_len > 0) {
			ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

			if (n < 0)
				return errno == EAGAIN || errno == EINTR ? 0 : -1;
			c->out += n;
			c->out_len -= (size_t)n;
		} else if (c->stage == SEND_BODY && c->sent == c->plan.stop_after) {
			if (c->plan.stop != ORIGIN_STALL)
				return c->plan.stop == ORIGIN_RESET ? -2 : -1;
			c->stage = STALLED;
		} else if (c->stage == SEND_BODY && c->plan.chunked && c->chunk_left == 0) {
			between_chunks(c);
		} else if (c->stage == SEND_BODY && c->plan.left == 0) {
			c->stage = SEND_TAIL;
		} else if (c->stage == SEND_BODY) {
			int r = c->sent < budget ? send_body(o, c) : 0;

			if (r <= 0)
				return r;
		} else if (c->stage == SEND_TAIL) {
			enum origin_then then = c->plan.then;

			plan_done(c);
			if (then == ORIGIN_CLOSE || then == ORIGIN_RESET)
				return then == ORIGIN_RESET ? -2 : -1;
			if (then == ORIGIN_STALL)
				c->stage = STALLED;
			next_request(o, c);
		} else {
			next_stage(c);
		}
	}
	return 0;
}

/* ---- the loop ---- */

static void
refill(struct origin *o)
{
	int64_t now = now_ms(), ms = now - o->refilled_ms;
	uint64_t most = o->opts.rate * RATE_SAVED_MS / 1000 + 1;

	if (ms < RATE_STEP_MS)
		return;
	o->tokens += o->opts.rate * (uint64_t)ms / 1000;
	if (o->tokens > most)
		o->tokens = most;
	o->refilled_ms = now;
}

/* Milliseconds until this client can do something without its socket saying so; -1: never. */
static int
client_wait(const struct origin *o, const struct client *c, short *events)
{
	*events = c->in_len < HEAD_MAX ? POLLIN : 0;
	if (c->stage == IDLE || c->stage == STALLED)
		return -1;
	if (c->stage == WAITING) {
		int64_t ms = c->due_ms - now_ms();

		if (ms > 0)
			return (int)ms;
	}
	if (c->stage == SEND_BODY && c->out_len == 0 && ((o->opts.rate > 0 && o->tokens == 0) || c->plan.drip > 0))
		return RATE_STEP_MS;
	*events = (short)(*events | POLLOUT);
	return -1;
}

static void
serve(struct origin *o, const struct pollfd *p, size_t i)
{
	struct client *c = o->clients[i];
	int r = 0;

	if ((p->revents & (POLLIN | POLLHUP | POLLERR)) != 0)
		r = client_read(o, c);
	if (r == 0)
		r = client_write(o, c);
	if (r < 0)
		client_close(o, i, r == -2);
}

static void *
run(void *arg)
{
	struct origin *o = arg;
	struct pollfd *p = calloc(CONNS_MAX + 2, sizeof(*p));

	for (;;) {
		size_t n = o->client_count;
		int wait = -1;

		refill(o);
		p[0] = (struct pollfd){o->stop_pipe[0], POLLIN, 0};
		p[1] = (struct pollfd){o->listener, (short)(n < CONNS_MAX ? POLLIN : 0), 0};
		for (size_t i = 0; i < n; i++) {
			int ms = client_wait(o, o->clients[i], &p[2 + i].events);

			p[2 + i].fd = o->clients[i]->fd;
			p[2 + i].revents = 0;
			if (ms >= 0 && (wait < 0 || ms < wait))
				wait = ms;
		}
		poll(p, n + 2, wait);
		if (p[0].revents != 0)
			break;
		refill(o);
		/* From the back, so that a closed one's place is taken by one that was served. */
		for (size_t i = n; i-- > 0;)
			serve(o, &p[2 + i], i);
		if (p[1].revents != 0)
			accept_all(o);
	}
	while (o->client_count > 0)
		client_close(o, o->client_count - 1, false);
	free(p);
	return NULL;
}

static int
listen_on(const char *ip, uint16_t port, uint16_t *bound)
{
	struct sockaddr_storage any = {0};
	struct sockaddr_in *in4 = (struct sockaddr_in *)&any;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&any;
	bool is_v6 = strchr(ip, ':') != NULL;
	socklen_t len = is_v6 ? sizeof(*in6) : sizeof(*in4);
	int one = 1, fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

	any.ss_family = is_v6 ? AF_INET6 : AF_INET;
	if (is_v6)
		in6->sin6_port = htons(port);
	else
		in4->sin_port = htons(port);
	if (fd < 0 || inet_pton(any.ss_family, ip, is_v6 ? (void *)&in6->sin6_addr : (void *)&in4->sin_addr) != 1)
		goto fail;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (bind(fd, (struct sockaddr *)&any, len) != 0 || listen(fd, 1024) != 0 || getsockname(fd, (struct sockaddr *)&any, &len) != 0)
		goto fail;
	*bound = ntohs(is_v6 ? in6->sin6_port : in4->sin_port);
	return fd;
fail:
	fprintf(stderr, "origin: listen on %s port %u: %s\n", ip, port, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

struct origin *
origin_start(const struct origin_opts *opts)
{
	struct origin *o = calloc(1, sizeof(*o));
	sigset_t all, old;

	pthread_once(&pattern_once, make_pattern);
	o->opts = *opts;
	o->dir = opts->dir != NULL ? strdup(opts->dir) : NULL;
	o->refilled_ms = now_ms();
	pthread_mutex_init(&o->lock, NULL);
	o->listener = listen_on(opts->bind != NULL ? opts->bind : "127.0.0.1", opts->port, &o->port);
	if (o->listener < 0 || pipe(o->stop_pipe) != 0) {
		free(o->dir);
		free(o);
		return NULL;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&o->thread, NULL, run, o) != 0)
		abort();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return o;
}

void
origin_stop(struct origin *o)
{
	if (o == NULL)
		return;
	if (write(o->stop_pipe[1], "x", 1) != 1)
		abort();
	pthread_join(o->thread, NULL);
	close(o->listener);
	close(o->stop_pipe[0]);
	close(o->stop_pipe[1]);
	counts_clear(&o->counts, true);
	pthread_mutex_destroy(&o->lock);
	free(o->dir);
	free(o);
}

uint16_t
origin_port(const struct origin *o)
{
	return o->port;
}

void
origin_script(struct origin *o, const char *target, const struct origin_answer *answers, size_t count)
{
	struct script *s = calloc(1, sizeof(*s));

	s->target = strdup(target);
	s->answers = calloc(count, sizeof(*s->answers));
	s->count = count;
	for (size_t i = 0; i < count; i++) {
		size_t n = answers[i].n > 0 ? answers[i].n : strlen(answers[i].bytes);
		char *copy = malloc(n + 1);

		memcpy(copy, answers[i].bytes, n);
		copy[n] = '\0';
		s->answers[i] = answers[i];
		s->answers[i].bytes = copy;
		s->answers[i].n = n;
	}
	pthread_mutex_lock(&o->lock);
	s->next = o->counts.scripts;
	o->counts.scripts = s;
	pthread_mutex_unlock(&o->lock);
}

static uint64_t
read_locked(struct origin *o, const uint64_t *what)
{
	uint64_t v;

	pthread_mutex_lock(&o->lock);
	v = *what;
	pthread_mutex_unlock(&o->lock);
	return v;
}

uint64_t
origin_requests(struct origin *o)
{
	return read_locked(o, &o->counts.requests);
}

uint64_t
origin_bytes(struct origin *o)
{
	return read_locked(o, &o->counts.bytes);
}

uint64_t
origin_connections(struct origin *o)
{
	return read_locked(o, &o->counts.connections);
}

size_t
origin_open_connections(struct origin *o)
{
	size_t n;

	pthread_mutex_lock(&o->lock);
	n = o->open_count;
	pthread_mutex_unlock(&o->lock);
	return n;
}

char *
origin_request(struct origin *o, size_t i)
{
	char *copy = NULL;

	pthread_mutex_lock(&o->lock);
	if (i < o->counts.record_count)
		copy = strdup(o->counts.records[i]);
	pthread_mutex_unlock(&o->lock);
	return copy;
}

void
origin_reset(struct origin *o)
{
	pthread_mutex_lock(&o->lock);
	counts_clear(&o->counts, false);
	pthread_mutex_unlock(&o->lock);
}
