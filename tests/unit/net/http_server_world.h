/*
 * An HTTP server on a loop of its own whose handler does what the path says, and a client of plain sockets.
 */
#ifndef UNIT_NET_HTTP_SERVER_WORLD_H
#define UNIT_NET_HTTP_SERVER_WORLD_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/conn.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "net/tls.h"

#define WAIT_MS 10000
#define BIG (32u * 1024 * 1024)

struct world {
	struct loop *loop;
	struct http_server *server;
	struct http_server_opts opts;
	uint16_t port;
	/* the handler's doings */
	struct http_exchange *held;     /* an exchange that answers later */
	struct buf upload;
	bool upload_done, gone, drained;
	unsigned requests;
	size_t big_left;
	struct conn *tunnel;
	struct buf tunnel_in;
};

static inline void
on_gone(void *ctx)
{
	struct world *w = ctx;

	w->gone = true;
	w->held = NULL;
}

static inline void
on_upload(void *ctx, const void *p, size_t n)
{
	buf_append(&((struct world *)ctx)->upload, p, n);
}

static inline void
on_upload_end(void *ctx)
{
	struct world *w = ctx;
	struct http_exchange *x = w->held;

	w->upload_done = true;
	w->held = NULL;
	http_exchange_reply(x, 200, NULL, 0, "text/plain", buf_slice(&w->upload));
}

static inline void
send_big(void *ctx)
{
	static uint8_t block[100000];
	struct world *w = ctx;

	while (w->big_left > 0) {
		size_t n = w->big_left < sizeof(block) ? w->big_left : sizeof(block), took;

		for (size_t i = 0; i < n; i++)
			block[i] = (uint8_t)((BIG - w->big_left + i) % 251);
		took = http_exchange_write(w->held, block, n);
		w->big_left -= took;
		if (took < n)
			return;
	}
	http_exchange_end(w->held);
	w->held = NULL;
}

static const struct http_exchange_events events = {on_upload, on_upload_end, send_big, on_gone};

static inline size_t
tunnel_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)c;
	buf_append(&((struct world *)ctx)->tunnel_in, p, n);
	return n;
}

static inline void
tunnel_close(struct conn *c, void *ctx, const struct err *e)
{
	(void)c;
	(void)e;
	((struct world *)ctx)->tunnel = NULL;
}

static const struct conn_events tunnel_events = {.on_data = tunnel_data, .on_close = tunnel_close};

static inline void
hold(struct world *w, struct http_exchange *x)
{
	w->held = x;
	http_exchange_set_events(x, &events, w);
}

static inline void
handler(void *ctx, struct http_exchange *x)
{
	struct world *w = ctx;
	struct slice path = http_exchange_path(x);
	struct h1_field extra = {slice_str("X-Path"), path};

	w->requests++;
	if (slice_eq_str(path, "/hold")) {
		hold(w, x);
	} else if (slice_eq_str(path, "/upload")) {
		hold(w, x);
		buf_clear(&w->upload);
		http_exchange_read_body(x);
	} else if (slice_eq_str(path, "/big") || slice_eq_str(path, "/chunked")) {
		hold(w, x);
		w->big_left = BIG;
		http_exchange_head(x, 200, NULL, 0, slice_eq_str(path, "/big") ? BIG : HTTP_NO_LENGTH);
		send_big(w);
	} else if (slice_eq_str(path, "/trailers")) {
		struct h1_field trailers[] = {{slice_str("X-Sum"), slice_str("1")}, {slice_str("bad name"), slice_str("2")}};

		extra = (struct h1_field){slice_str("Link"), slice_str("</a>")};
		http_exchange_interim(x, 103, &extra, 1);
		http_exchange_head(x, 200, NULL, 0, HTTP_NO_LENGTH);
		http_exchange_write(x, "abc", 3);
		http_exchange_end_with(x, trailers, 2);
	} else if (slice_eq_str(path, "/at-once")) {
		static uint8_t block[200000];
		size_t took;

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (uint8_t)(i % 251);
		hold(w, x);
		assert_int_equal(http_exchange_head_with(x, 200, NULL, 0, BIG, block, sizeof(block), &took), 0);
		w->big_left = BIG - took;
		if (took == sizeof(block))
			send_big(w);
	} else if (slice_eq_str(path, "/short")) {
		http_exchange_head(x, 200, NULL, 0, 10);
		http_exchange_write(x, "abc", 3);
		http_exchange_end(x);
	} else if (slice_eq_str(path, "/bad")) {
		extra.value = slice_str("a\r\nb");
		http_exchange_reply(x, 200, &extra, 1, NULL, slice_str("x"));
	} else if (slice_eq_str(http_exchange_request(x)->method, "CONNECT")) {
		w->tunnel = http_exchange_take_conn(x, 200, NULL, 0);
		conn_set_events(w->tunnel, &tunnel_events, w);
		conn_resume_read(w->tunnel);
	} else {
		http_exchange_reply(x, 200, &extra, 1, "text/plain", path);
	}
}

static inline void
start(struct world *w)
{
	struct addr a;
	struct err e;

	http_server_free(w->server);
	w->server = http_server_new(w->loop, &w->opts, handler, w);
	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), 0), 0);
	assert_int_equal(http_server_listen(w->server, &a, &e), 0);
	w->port = addr_port(http_server_addr(w->server, 0));
}

static inline int
setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct err e;

	w->loop = loop_new("test", &e);
	start(w);
	*state = w;
	return 0;
}

static inline int
teardown(void **state)
{
	struct world *w = *state;

	http_server_free(w->server);
	if (w->tunnel != NULL)
		conn_abort(w->tunnel);
	buf_free(&w->upload);
	buf_free(&w->tunnel_in);
	loop_free(w->loop);
	free(w);
	return 0;
}

/* ---- a plain client ---- */

static inline int
dial(struct world *w)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(w->port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline void
say(struct world *w, int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t k = send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (k < 0 && errno != EAGAIN)
			return;
		if (k > 0) {
			bytes += k;
			n -= (size_t)k;
		}
		loop_turn(w->loop, 1);
	}
}

static inline void
say_text(struct world *w, int fd, const char *text)
{
	say(w, fd, text, strlen(text));
}

/* Reads until `until` is in what came, or the end of the connection (until NULL). False when it was reset or nothing came in time. */
static inline bool
hear(struct world *w, int fd, struct buf *in, const char *until)
{
	int64_t end = clock_mono_ms() + WAIT_MS;

	while (clock_mono_ms() < end) {
		uint8_t *to = buf_reserve(in, 65536);
		ssize_t n = recv(fd, to, 65536, MSG_DONTWAIT);

		if (n > 0)
			buf_added(in, (size_t)n);
		else if (n == 0)
			return until == NULL;
		else if (errno != EAGAIN)
			return false;
		if (until != NULL && n > 0 && in->len < 100000 && strstr(buf_cstr(in), until) != NULL)
			return true;
		loop_turn(w->loop, n > 0 ? 0 : 5);
	}
	return false;
}

static inline char *
ask(struct world *w, const char *bytes)
{
	struct buf in = BUF_INIT;
	int fd = dial(w);

	say(w, fd, bytes, strlen(bytes));
	assert_true(hear(w, fd, &in, NULL));
	close(fd);
	return buf_take(&in);
}

static inline void
expect_part(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%.300s\" has no \"%s\"", text, part);
}

/* The answer to one request, the connection closed after it, begins with `status`. */
static inline void
expect_status(struct world *w, const char *bytes, const char *status)
{
	char *got = ask(w, bytes);

	if (strncmp(got, status, strlen(status)) != 0)
		fail_msg("to \"%.60s\": \"%.100s\", not \"%s\"", bytes, got, status);
	free(got);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
