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

static void
on_gone(void *ctx)
{
	struct world *w = ctx;

	w->gone = true;
	w->held = NULL;
}

static void
on_upload(void *ctx, const void *p, size_t n)
{
	buf_append(&((struct world *)ctx)->upload, p, n);
}

static void
on_upload_end(void *ctx)
{
	struct world *w = ctx;
	struct http_exchange *x = w->held;

	w->upload_done = true;
	w->held = NULL;
	http_exchange_reply(x, 200, NULL, 0, "text/plain", buf_slice(&w->upload));
}

static void
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

/* The first `asked` bytes of /big from a file that has `n` of them, behind five others. */
static void
send_from_file(struct world *w, struct http_exchange *x, size_t n, size_t asked)
{
	uint8_t *bytes = xmalloc(n);
	FILE *f = tmpfile();
	size_t took;

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(i % 251);
	assert_int_equal(fwrite("other", 1, 5, f), 5);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fflush(f);
	assert_int_equal(http_exchange_head_file(x, 200, NULL, 0, BIG, fileno(f), 5, asked, &took), 0);
	assert_true(took <= n);
	w->big_left = BIG - took;
	fclose(f);
	free(bytes);
	send_big(w);
}

static const struct http_exchange_events events = {on_upload, on_upload_end, send_big, on_gone};

static size_t
tunnel_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)c;
	buf_append(&((struct world *)ctx)->tunnel_in, p, n);
	return n;
}

static void
tunnel_close(struct conn *c, void *ctx, const struct err *e)
{
	(void)c;
	(void)e;
	((struct world *)ctx)->tunnel = NULL;
}

static const struct conn_events tunnel_events = {.on_data = tunnel_data, .on_close = tunnel_close};

static void
hold(struct world *w, struct http_exchange *x)
{
	w->held = x;
	http_exchange_set_events(x, &events, w);
}

static void
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
	} else if (slice_eq_str(path, "/from-file")) {
		hold(w, x);
		send_from_file(w, x, BIG / 2, BIG / 2);
	} else if (slice_eq_str(path, "/from-short-file")) {
		hold(w, x);
		send_from_file(w, x, 100, 200);
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

static void
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

static int
setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct err e;

	w->loop = loop_new("test", &e);
	start(w);
	*state = w;
	return 0;
}

static int
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

static int
dial(struct world *w)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(w->port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void
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

static void
say_text(struct world *w, int fd, const char *text)
{
	say(w, fd, text, strlen(text));
}

/* Reads until `until` is in what came, or the end of the connection (until NULL). False when it was reset or nothing came in time. */
static bool
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

static char *
ask(struct world *w, const char *bytes)
{
	struct buf in = BUF_INIT;
	int fd = dial(w);

	say(w, fd, bytes, strlen(bytes));
	assert_true(hear(w, fd, &in, NULL));
	close(fd);
	return buf_take(&in);
}

static void
expect_part(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%.300s\" has no \"%s\"", text, part);
}

/* The answer to one request, the connection closed after it, begins with `status`. */
static void
expect_status(struct world *w, const char *bytes, const char *status)
{
	char *got = ask(w, bytes);

	if (strncmp(got, status, strlen(status)) != 0)
		fail_msg("to \"%.60s\": \"%.100s\", not \"%s\"", bytes, got, status);
	free(got);
}

/* ---- tests ---- */

static void
reply_with_header_and_body(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "GET /x?y=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "HTTP/1.1 200 OK\r\n");
	expect_part(got, "X-Path: /x\r\n");
	expect_part(got, "\r\nDate: ");
	expect_part(got, " GMT\r\n");
	expect_part(got, "Content-Type: text/plain\r\n");
	expect_part(got, "Content-Length: 2\r\n");
	expect_part(got, "Connection: close\r\n\r\n/x");
	free(got);
}

static void
hints_come_before_and_trailers_behind(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "GET /trailers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n");
	expect_part(got, "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
	free(got);
	got = ask(w, "GET /trailers HTTP/1.0\r\n\r\n");
	assert_int_equal(strncmp(got, "HTTP/1.0 200 OK\r\n", 17), 0);
	assert_string_equal(got + strlen(got) - 7, "\r\n\r\nabc");
	free(got);
}

static void
head_and_first_bytes_go_together(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "HEAD /at-once HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "Content-Length: 33554432\r\n");
	assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
	free(got);
	got = ask(w, "HEAD /from-short-file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	expect_part(got, "Content-Length: 33554432\r\n");
	assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
	free(got);
}

static void
pipelined_requests_are_answered_in_order(void **state)
{
	static const char bytes[] = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);
	char *a, *b, *c;

	say(w, fd, bytes, strlen(bytes));
	assert_true(hear(w, fd, &in, "/a"));
	while (w->held == NULL)
		loop_turn(w->loop, 10);
	for (int i = 0; i < 5; i++)
		loop_turn(w->loop, 5);
	assert_int_equal(w->requests, 2);
	http_exchange_reply(w->held, 404, NULL, 0, NULL, slice_str("held!"));
	assert_true(hear(w, fd, &in, NULL));
	a = strstr(buf_cstr(&in), "X-Path: /a");
	b = strstr(buf_cstr(&in), "held!");
	c = strstr(buf_cstr(&in), "X-Path: /c");
	assert_true(a != NULL && b != NULL && c != NULL && a < b && b < c);
	close(fd);
	buf_free(&in);
}

static void
http_1_0_is_answered_in_kind(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "GET /x HTTP/1.0\r\n\r\n");
	struct buf in = BUF_INIT;
	int fd;

	expect_part(got, "HTTP/1.0 200 OK\r\n");
	expect_part(got, "Connection: close\r\n");
	free(got);
	fd = dial(w);
	say_text(w, fd, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	assert_true(hear(w, fd, &in, "\r\n\r\n/x"));
	expect_part(buf_cstr(&in), "Connection: keep-alive\r\n");
	close(fd);
	buf_free(&in);
	/* No chunks to 1.0. */
	got = ask(w, "GET /chunked HTTP/1.0\r\n\r\n");
	assert_null(strstr(got, "Transfer-Encoding"));
	free(got);
}

static void
head_has_the_length_and_no_body(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "Content-Length: 2\r\n");
	assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
	free(got);
}

static void
malformed_requests_are_refused_and_closed(void **state)
{
	struct world *w = *state;
	struct buf b = BUF_INIT;

	expect_status(w, "GET /x HTTP/1.1\r\nHost : h\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n");
	expect_status(w, "GET /x\r\n", "HTTP/1.1 400 ");
	expect_status(w, "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 ");
	expect_status(w, "GET /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "HTTP/1.1 501 ");
	expect_status(w, "\x16\x03\x01\x02\x01\x01\xfc", "HTTP/1.1 400 ");
	buf_append_str(&b, "GET /");
	for (size_t i = 0; i < H1_TARGET_MAX + 100; i++)
		buf_append_u8(&b, 'a');
	expect_status(w, buf_cstr(&b), "HTTP/1.1 414 ");
	buf_clear(&b);
	buf_append_str(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
	for (size_t i = 0; i < H1_FIELDS_MAX; i++)
		buf_append_str(&b, "X: y\r\n");
	expect_status(w, buf_cstr(&b), "HTTP/1.1 431 ");
	buf_free(&b);
	assert_int_equal(w->requests, 0);
	/* An HTTP/2 preface is no request at all. */
	{
		char *got = ask(w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

		assert_string_equal(got, "");
		free(got);
	}
}

static void
slow_heads_are_408_and_idle_ones_closed(void **state)
{
	struct world *w = *state;
	char *got;

	w->opts.head_ms = 50;
	w->opts.idle_ms = 50;
	start(w);
	expect_status(w, "GET /x HT", "HTTP/1.1 408 ");
	got = ask(w, "");
	assert_string_equal(got, "");
	free(got);
	got = ask(w, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
	expect_part(got, "200 OK");
	free(got);
}

static void
body_is_read_when_wanted(void **state)
{
	static const char bytes[] = "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
	static const char *const others[] = {"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "GET /upload HTTP/1.1\r\nHost: h\r\n\r\n"};
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);

	for (size_t i = 0; i < strlen(bytes); i++) {
		say(w, fd, bytes + i, 1);
		loop_turn(w->loop, 0);
	}
	assert_true(hear(w, fd, &in, "abcdefg"));
	for (size_t i = 0; i < 2; i++) {
		buf_clear(&in);
		w->upload_done = false;
		say(w, fd, others[i], strlen(others[i]));
		assert_true(hear(w, fd, &in, "Content-Length: 0"));
		assert_true(w->upload_done);
	}
	close(fd);
	buf_free(&in);
}

static void
continue_is_said_when_the_body_is_wanted(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);
	static const char head[] = "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

	say(w, fd, head, strlen(head));
	assert_true(hear(w, fd, &in, "HTTP/1.1 100 Continue\r\n\r\n"));
	say_text(w, fd, "hello");
	assert_true(hear(w, fd, &in, "hello"));
	close(fd);
	buf_free(&in);
}

static void
unread_body_closes_the_connection(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /evil HTTP/1.1\r\nHost: h\r\n\r\n");

	expect_part(got, "Connection: close\r\n");
	assert_null(strstr(got, "evil"));
	assert_int_equal(w->requests, 1);
	free(got);
}

static void
broken_body_ends_the_exchange(void **state)
{
	struct world *w = *state;
	static const char bytes[] = "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
	int fd = dial(w);

	say(w, fd, bytes, strlen(bytes));
	while (!w->gone)
		loop_turn(w->loop, 10);
	close(fd);
	assert_int_equal(http_server_conn_count(w->server), 0);
}

/* Reads BIG bytes of body, pausing at first, and checks each. */
static void
expect_big(struct world *w, const char *target, bool chunked)
{
	struct buf in = BUF_INIT;
	char request[128];
	int fd = dial(w);
	const uint8_t *body;
	size_t left;

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", target);
	say(w, fd, request, strlen(request));
	/* Nobody reads: the server stops at what socket and queue hold. */
	do {
		left = w->big_left;
		for (int i = 0; i < 10; i++)
			loop_turn(w->loop, 10);
	} while (w->big_left != left || w->requests == 0);
	assert_true(w->big_left > BIG / 4);
	assert_true(hear(w, fd, &in, NULL));
	assert_int_equal(w->big_left, 0);
	if (!chunked) {
		body = buf_data(&in) + in.len - BIG;
		for (size_t i = 0; i < BIG; i++)
			if (body[i] != (uint8_t)(i % 251))
				fail_msg("byte %zu differs", i);
	} else {
		struct slice rest = buf_slice(&in), data;
		enum h1_event ev;
		struct h1 p;
		size_t at = 0;

		h1_init(&p, H1_RESPONSE);
		while ((ev = h1_parse(&p, &rest, &data)) != H1_END) {
			assert_true(ev == H1_HEAD || ev == H1_DATA);
			for (size_t i = 0; i < data.n; i++, at++)
				assert_true(data.p[i] == (uint8_t)(at % 251));
		}
		assert_int_equal(at, BIG);
		h1_free(&p);
	}
	close(fd);
	buf_free(&in);
}

static void
slow_reader_slows_the_handler(void **state)
{
	expect_big(*state, "/big", false);
}

static void
slow_reader_slows_what_came_with_the_head(void **state)
{
	expect_big(*state, "/at-once", false);
}

static void
slow_reader_slows_what_came_from_a_file(void **state)
{
	expect_big(*state, "/from-file", false);
}

static void
file_that_is_too_short_gives_what_it_has(void **state)
{
	expect_big(*state, "/from-short-file", false);
}

static void
slow_reader_slows_chunks_too(void **state)
{
	expect_big(*state, "/chunked", true);
}

static void
client_that_leaves_is_noticed(void **state)
{
	struct world *w = *state;
	int fd = dial(w);

	say_text(w, fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
	while (w->held == NULL)
		loop_turn(w->loop, 10);
	close(fd);
	while (!w->gone)
		loop_turn(w->loop, 10);
	assert_int_equal(http_server_conn_count(w->server), 0);
}

static void
too_few_bytes_cut_the_connection(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);

	say_text(w, fd, "GET /short HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(w, fd, &in, NULL);
	assert_null(strstr(buf_cstr(&in), "abcd"));
	assert_int_equal(http_server_conn_count(w->server), 0);
	close(fd);
	buf_free(&in);
}

static void
fields_that_are_none_become_500(void **state)
{
	expect_status(*state, "GET /bad HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 500 ");
}

static void
connect_gives_the_connection_away_with_its_bytes(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);
	static const char bytes[] = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n\x16more";

	say(w, fd, bytes, sizeof(bytes) - 1);
	assert_true(hear(w, fd, &in, "\r\n\r\n"));
	expect_part(buf_cstr(&in), "HTTP/1.1 200 OK\r\n");
	assert_null(strstr(buf_cstr(&in), "Content-Length"));
	say_text(w, fd, "!");
	while (w->tunnel_in.len < 6)
		loop_turn(w->loop, 10);
	assert_string_equal(buf_cstr(&w->tunnel_in), "\x16more!");
	/* The tunnel can be served as HTTP again. */
	http_server_adopt_conn(w->server, w->tunnel, w);
	w->tunnel = NULL;
	buf_clear(&in);
	say_text(w, fd, "GET /in HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(hear(w, fd, &in, "/in"));
	close(fd);
	buf_free(&in);
}

static void
one_connection_too_many_is_closed(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int a, b;

	w->opts.conns_max = 1;
	start(w);
	a = dial(w);
	say_text(w, a, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(hear(w, a, &in, "/a"));
	b = dial(w);
	buf_clear(&in);
	hear(w, b, &in, NULL);
	assert_int_equal(in.len, 0);
	close(a);
	close(b);
	buf_free(&in);
}

static void
on_drained(void *ctx)
{
	((struct world *)ctx)->drained = true;
}

static void
shutdown_waits_for_what_runs(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT, none = BUF_INIT;
	int idle = dial(w), busy = dial(w);

	say_text(w, busy, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
	while (w->held == NULL || http_server_conn_count(w->server) < 2)
		loop_turn(w->loop, 10);
	http_server_shutdown(w->server, on_drained, w);
	assert_true(hear(w, idle, &none, NULL));
	assert_false(w->drained);
	http_exchange_reply(w->held, 200, NULL, 0, NULL, slice_str("late"));
	assert_true(hear(w, busy, &in, NULL));
	expect_part(buf_cstr(&in), "Connection: close\r\n");
	expect_part(buf_cstr(&in), "late");
	close(busy);
	close(idle);
	while (!w->drained)
		loop_turn(w->loop, 10);
	buf_free(&in);
	buf_free(&none);
}

/* ---- TLS where plain text is served ---- */

static struct tls_config *
start_tls(void *ctx, struct conn *c)
{
	(void)c;
	return ctx != NULL ? tls_config_ref(ctx) : NULL;
}

static size_t
take_answer(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)c;
	buf_append(&((struct world *)ctx)->tunnel_in, p, n);
	return n;
}

static void
tls_is_taken_on_the_plain_port_where_it_is_wanted(void **state)
{
	static const struct conn_events client_events = {.on_data = take_answer};
	static const char request[] = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
	struct world *w = *state;
	struct tls_config *server = tls_server_new(&(struct tls_server_opts){
		.cert_file = "tests/vectors/tls/server.crt", .key_file = "tests/vectors/tls/server.key"}, NULL);
	struct tls_config *client = tls_client_new(&(struct tls_client_opts){.ca_file = "tests/vectors/tls/ca.crt"}, NULL);
	int64_t end = clock_mono_ms() + WAIT_MS;
	char *answer;

	w->opts.start_tls = start_tls;
	w->opts.start_tls_ctx = server;
	start(w);
	w->tunnel = conn_adopt(w->loop, dial(w), &(struct conn_opts){.tls = client, .tls_name = "localhost"}, &client_events, w);
	conn_write(w->tunnel, request, strlen(request), NULL);
	while (!slice_ends(buf_slice(&w->tunnel_in), "/hello") && clock_mono_ms() < end)
		loop_turn(w->loop, 50);
	assert_true(slice_starts(buf_slice(&w->tunnel_in), "HTTP/1.1 200"));
	answer = ask(w, "GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_non_null(strstr(answer, "HTTP/1.1 200"));
	free(answer);
	tls_config_unref(server);
	tls_config_unref(client);
}

static void
tls_on_the_plain_port_is_answered_in_plain_text(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 2; i++) {
		char *answer = ask(w, "\x16\x03\x01\x02");

		assert_true(slice_starts(slice_str(answer), "HTTP/1.1 400"));
		free(answer);
		/* The same where nobody has a configuration at hand. */
		w->opts.start_tls = start_tls;
		start(w);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(hints_come_before_and_trailers_behind),
		T(head_and_first_bytes_go_together),
		T(slow_reader_slows_what_came_with_the_head),
		T(slow_reader_slows_what_came_from_a_file),
		T(file_that_is_too_short_gives_what_it_has),
		T(reply_with_header_and_body),
		T(pipelined_requests_are_answered_in_order),
		T(http_1_0_is_answered_in_kind),
		T(head_has_the_length_and_no_body),
		T(malformed_requests_are_refused_and_closed),
		T(slow_heads_are_408_and_idle_ones_closed),
		T(body_is_read_when_wanted),
		T(continue_is_said_when_the_body_is_wanted),
		T(unread_body_closes_the_connection),
		T(broken_body_ends_the_exchange),
		T(slow_reader_slows_the_handler),
		T(slow_reader_slows_chunks_too),
		T(client_that_leaves_is_noticed),
		T(too_few_bytes_cut_the_connection),
		T(fields_that_are_none_become_500),
		T(connect_gives_the_connection_away_with_its_bytes),
		T(one_connection_too_many_is_closed),
		T(shutdown_waits_for_what_runs),
		T(tls_is_taken_on_the_plain_port_where_it_is_wanted),
		T(tls_on_the_plain_port_is_answered_in_plain_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
