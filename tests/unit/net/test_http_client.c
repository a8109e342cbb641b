#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/conn.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "support/origin.h"

#define WAIT_MS 10000
#define UPLOAD_BYTES (5u * 1024 * 1024)

struct call {
	struct http_call *call;
	bool done, failed;
	int status;
	bool is_tunnel;
	struct buf body;
	char error[ERR_TEXT_MAX], trailer[64];
	enum http_failure failure;
	/* doings */
	size_t upload_left, upload_sent;
	bool discard, take;
	struct conn *conn;
};

struct world {
	struct loop *loop;
	struct origin *origin;
	struct http_client *client;
	struct http_server *server;
	uint16_t port;
	/* the server's side of an upload */
	struct http_exchange *x;
	size_t uploaded;
	bool wrong, paused, refuse, then_close;
	struct conn *echo;
};

/* ---- server: counts an upload, refuses it, or echoes an upgraded connection ---- */

static void
on_body(void *ctx, const void *p, size_t n)
{
	struct world *w = ctx;
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		if (b[i] != (uint8_t)((w->uploaded + i) % 253))
			w->wrong = true;
	w->uploaded += n;
	if (w->uploaded > UPLOAD_BYTES / 2 && !w->paused) {
		w->paused = true;
		http_exchange_pause_body(w->x);
	}
}

static void
on_body_end(void *ctx)
{
	struct world *w = ctx;
	struct http_exchange *x = w->x;

	w->x = NULL;
	if (w->then_close) {
		/* Without having said so: the worst that a kept connection can meet. */
		struct h1_field length = {slice_str("Content-Length"), slice_str("0")};

		conn_close(http_exchange_take_conn(x, 200, &length, 1));
		return;
	}
	http_exchange_reply(x, 200, NULL, 0, NULL, slice_str("got it"));
}

static void
on_gone(void *ctx)
{
	((struct world *)ctx)->x = NULL;
}

static size_t
echo_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)ctx;
	conn_write(c, p, n, NULL);
	return n;
}

static void
echo_close(struct conn *c, void *ctx, const struct err *e)
{
	struct world *w = ctx;

	(void)e;
	if (w->echo == c)
		w->echo = NULL;
}

static void
handler(void *ctx, struct http_exchange *x)
{
	static const struct http_exchange_events ev = {.on_body = on_body, .on_body_end = on_body_end, .on_gone = on_gone};
	static const struct conn_events echo = {.on_data = echo_data, .on_close = echo_close};
	struct world *w = ctx;
	struct h1_field upgrade[2] = {{slice_str("Upgrade"), slice_str("echo")}, {slice_str("Connection"), slice_str("upgrade")}};

	if (slice_eq_str(http_exchange_path(x), "/echo") && http_exchange_request(x)->wants_upgrade) {
		w->echo = http_exchange_take_conn(x, 101, upgrade, 2);
		conn_set_events(w->echo, &echo, w);
		conn_resume_read(w->echo);
		return;
	}
	if (w->refuse) {
		http_exchange_reply(x, 413, NULL, 0, NULL, slice_str("too large"));
		return;
	}
	w->x = x;
	w->uploaded = 0;
	http_exchange_set_events(x, &ev, w);
	http_exchange_read_body(x);
}

/* ---- client side ---- */

static void
on_head(void *ctx, const struct h1 *head)
{
	struct call *c = ctx;

	c->status = head->status;
	c->is_tunnel = head->is_tunnel;
	if (c->take && head->is_tunnel) {
		c->conn = http_call_take_conn(c->call);
		c->done = true;
	} else if (c->discard) {
		http_call_discard(c->call, 64 * 1024);
		c->done = true;
	}
}

static void
on_data(void *ctx, const void *p, size_t n)
{
	buf_append(&((struct call *)ctx)->body, p, n);
}

static void
on_end(void *ctx, const struct h1 *head)
{
	struct call *c = ctx;

	if (head->trailer_count > 0)
		snprintf(c->trailer, sizeof(c->trailer), "%.*s: %.*s", SLICE_ARG(head->trailers[0].name), SLICE_ARG(head->trailers[0].value));
	c->done = true;
}

static void
on_error(void *ctx, enum http_failure f, const struct err *e)
{
	struct call *c = ctx;

	c->done = c->failed = true;
	c->failure = f;
	snprintf(c->error, sizeof(c->error), "%s", e->text);
}

static void
on_writable(void *ctx)
{
	static uint8_t block[50000];
	struct call *c = ctx;

	while (c->upload_left > 0) {
		size_t n = c->upload_left < sizeof(block) ? c->upload_left : sizeof(block), took;

		for (size_t i = 0; i < n; i++)
			block[i] = (uint8_t)((c->upload_sent + i) % 253);
		took = http_call_write(c->call, block, n);
		c->upload_left -= took;
		c->upload_sent += took;
		if (took < n)
			return;
	}
	http_call_write_end(c->call);
}

static void
echo_ended(struct conn *c, void *ctx, const struct err *e)
{
	(void)c;
	((struct call *)ctx)->failed = true;
	fail_msg("%s", e->text);
}

static const struct http_events events = {
	.on_head = on_head, .on_data = on_data, .on_end = on_end, .on_error = on_error, .on_writable = on_writable,
};

static int
setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct addr a;
	struct err e;

	w->loop = loop_new("test", &e);
	w->origin = origin_start(&(struct origin_opts){0});
	w->client = http_client_new(w->loop, &(struct http_client_opts){0});
	w->server = http_server_new(w->loop, &(struct http_server_opts){0}, handler, w);
	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), 0), 0);
	assert_int_equal(http_server_listen(w->server, &a, &e), 0);
	w->port = addr_port(http_server_addr(w->server, 0));
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	http_client_free(w->client);
	http_server_free(w->server);
	if (w->echo != NULL)
		conn_abort(w->echo);
	origin_stop(w->origin);
	loop_free(w->loop);
	free(w);
	return 0;
}

static struct http_request
get(struct world *w, const char *target)
{
	return (struct http_request){.method = "GET", .host = "127.0.0.1", .port = origin_port(w->origin), .target = slice_str(target),
		.total_ms = 5000};
}

static void
wait_for(struct world *w, const bool *what)
{
	int64_t end = clock_mono_ms() + WAIT_MS;

	while (!*what) {
		loop_turn(w->loop, 10);
		assert_true(clock_mono_ms() < end);
	}
}

static void
run(struct world *w, const struct http_request *q, struct call *c)
{
	c->call = http_call_start(w->client, q, &events, c);
	assert_false(c->done);
	wait_for(w, &c->done);
}

static void
answer_comes_with_header_body_and_trailers(void **state)
{
	struct world *w = *state;
	struct http_request q = get(w, "/s");
	struct call c = {0};

	origin_script(w->origin, "/s", &(struct origin_answer){
	    .bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"}, 1);
	run(w, &q, &c);
	assert_false(c.failed);
	assert_int_equal(c.status, 200);
	assert_string_equal(buf_cstr(&c.body), "ok");
	assert_string_equal(c.trailer, "X-Sum: 7");
	assert_int_equal(http_client_idle_count(w->client), 1);
	buf_free(&c.body);
}

static void
connections_are_kept_by_origin_and_bounded(void **state)
{
	struct world *w = *state;
	struct http_request q = get(w, "/gen/10/1");
	struct call c[5] = {{0}};

	http_client_free(w->client);
	w->client = http_client_new(w->loop, &(struct http_client_opts){.idle_max = 3, .idle_ms = 100});
	for (size_t i = 0; i < COUNT_OF(c); i++)
		c[i].call = http_call_start(w->client, &q, &events, &c[i]);
	assert_int_equal(http_client_call_count(w->client), 5);
	for (size_t i = 0; i < COUNT_OF(c); i++) {
		wait_for(w, &c[i].done);
		assert_false(c[i].failed);
		buf_free(&c[i].body);
	}
	assert_int_equal(http_client_opened(w->client), 5);
	assert_int_equal(http_client_idle_count(w->client), 3);
	/* Another origin on the same machine gets none of them. */
	q.port = w->port;
	q.target = slice_str("/upload");
	memset(&c[0], 0, sizeof(c[0]));
	run(w, &q, &c[0]);
	assert_int_equal(http_client_opened(w->client), 6);
	buf_free(&c[0].body);
	/* Unused ones go after their time. */
	for (int64_t end = clock_mono_ms() + WAIT_MS; http_client_idle_count(w->client) > 0 && clock_mono_ms() < end;)
		loop_turn(w->loop, 10);
	assert_int_equal(http_client_idle_count(w->client), 0);
}

static void
connection_close_is_honoured(void **state)
{
	struct world *w = *state;
	struct http_request q = get(w, "/s");
	struct call c = {0};

	origin_script(w->origin, "/s", &(struct origin_answer){.bytes = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"}, 1);
	run(w, &q, &c);
	assert_false(c.failed);
	assert_int_equal(http_client_idle_count(w->client), 0);
}

static void
bytes_behind_an_answer_spoil_the_connection(void **state)
{
	struct world *w = *state;
	struct http_request q = get(w, "/s");
	struct call c = {0};

	origin_script(w->origin, "/s", &(struct origin_answer){.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n"}, 1);
	run(w, &q, &c);
	assert_string_equal(buf_cstr(&c.body), "ok");
	assert_int_equal(http_client_idle_count(w->client), 0);
	buf_free(&c.body);
}

static void
small_rest_is_drained_large_one_closed(void **state)
{
	struct world *w = *state;
	static const char *const targets[] = {"/gen/60000/1", "/gen/10M/1", "/gen/60000/1?chunked", "/gen/10M/1?chunked"};

	for (size_t i = 0; i < 4; i++) {
		struct http_request q = get(w, targets[i]);
		struct call c = {.discard = true};

		run(w, &q, &c);
		for (int64_t end = clock_mono_ms() + WAIT_MS; http_client_call_count(w->client) > 0 && clock_mono_ms() < end;)
			loop_turn(w->loop, 10);
		assert_int_equal(http_client_call_count(w->client), 0);
		assert_int_equal(http_client_idle_count(w->client), i % 2 == 0);
		assert_int_equal(c.body.len, 0);
	}
}

static void
upload(struct world *w, bool has_length, bool expect)
{
	struct http_request q = get(w, "/upload");
	struct call c = {.upload_left = UPLOAD_BYTES};

	q.method = "PUT";
	q.port = w->port;
	q.has_body = true;
	q.has_length = has_length;
	q.length = UPLOAD_BYTES;
	q.expect_continue = expect;
	w->paused = w->wrong = false;
	c.call = http_call_start(w->client, &q, &events, &c);
	wait_for(w, &w->paused);
	/* The server does not read: the client's queue stays small. */
	for (int i = 0; i < 20; i++)
		loop_turn(w->loop, 5);
	http_exchange_resume_body(w->x);
	wait_for(w, &c.done);
	assert_false(c.failed);
	assert_string_equal(buf_cstr(&c.body), "got it");
	assert_int_equal(w->uploaded, UPLOAD_BYTES);
	assert_false(w->wrong);
	assert_int_equal(http_client_idle_count(w->client), 1);
	buf_free(&c.body);
}

static void
request_body_is_streamed(void **state)
{
	upload(*state, true, false);
	upload(*state, false, false);
	upload(*state, true, true);
	upload(*state, false, true);
}

static void
refused_body_is_not_sent(void **state)
{
	struct world *w = *state;
	struct http_request q = get(w, "/upload");
	struct call c = {.upload_left = UPLOAD_BYTES};

	q.method = "PUT";
	q.port = w->port;
	q.has_body = q.has_length = q.expect_continue = true;
	q.length = UPLOAD_BYTES;
	w->refuse = true;
	run(w, &q, &c);
	assert_false(c.failed);
	assert_int_equal(c.status, 413);
	assert_int_equal(c.upload_left, UPLOAD_BYTES);
	assert_int_equal(http_client_idle_count(w->client), 0);
	buf_free(&c.body);
}

static struct http_request
upload_of(struct world *w, const char *method, size_t length)
{
	struct http_request q = get(w, "/upload");

	q.port = w->port;
	q.method = method;
	q.has_body = q.has_length = length > 0;
	q.length = length;
	return q;
}

static void
kept_connections_that_end_lose_no_request(void **state)
{
	static const struct {
		const char *method;
		size_t length;
	} kinds[] = {{"POST", 100}, {"POST", 0}, {"PATCH", 100}, {"PUT", 100}, {"PUT", 64 * 1024}, {"PUT", 64 * 1024 + 1}, {"DELETE", 0}, {"GET", 0}};
	struct world *w = *state;

	w->then_close = true;
	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		struct http_request q = upload_of(w, kinds[k].method, kinds[k].length);

		for (int i = 0; i < 100; i++) {
			struct call c = {.upload_left = kinds[k].length};

			run(w, &q, &c);
			if (c.failed)
				fail_msg("%s with %zu bytes, number %d: %s", kinds[k].method, kinds[k].length, i, c.error);
			assert_int_equal(c.status, 200);
			assert_int_equal(w->uploaded, kinds[k].length);
			assert_false(w->wrong);
			buf_free(&c.body);
			assert_true(http_client_idle_count(w->client) <= 1);
		}
	}
}

/* How many connections three requests of a kind take, to a server that keeps them. */
static uint64_t
connections_of_three(struct world *w, const char *method, size_t length)
{
	struct http_request q = upload_of(w, method, length);
	uint64_t before = http_client_opened(w->client);

	for (int i = 0; i < 3; i++) {
		struct call c = {.upload_left = length};

		run(w, &q, &c);
		assert_false(c.failed);
		buf_free(&c.body);
	}
	assert_int_equal(http_client_idle_count(w->client), 1);
	return http_client_opened(w->client) - before;
}

static void
only_what_may_be_sent_twice_goes_out_on_a_kept_connection(void **state)
{
	struct world *w = *state;

	assert_int_equal(connections_of_three(w, "GET", 0), 1);
	assert_int_equal(connections_of_three(w, "PUT", 64 * 1024), 0);
	assert_int_equal(connections_of_three(w, "PUT", 64 * 1024 + 1), 3);
	assert_int_equal(connections_of_three(w, "POST", 10), 3);
	assert_int_equal(connections_of_three(w, "POST", 0), 3);
}

static size_t
echoed(struct conn *conn, void *ctx, const uint8_t *p, size_t n)
{
	struct call *c = ctx;

	(void)conn;
	buf_append(&c->body, p, n);
	c->done = c->body.len == 5;
	return n;
}

static void
upgraded_connection_is_the_callers(void **state)
{
	static const struct conn_events ev = {.on_data = echoed, .on_close = echo_ended};
	struct world *w = *state;
	struct http_request q = get(w, "/echo");
	struct h1_field f = {slice_str("Upgrade"), slice_str("echo")};
	struct call c = {.take = true};

	q.port = w->port;
	q.fields = &f;
	q.field_count = 1;
	q.is_upgrade = true;
	run(w, &q, &c);
	assert_int_equal(c.status, 101);
	assert_int_equal(http_client_call_count(w->client), 0);
	c.done = false;
	conn_set_events(c.conn, &ev, &c);
	conn_resume_read(c.conn);
	conn_write(c.conn, "hello", 5, NULL);
	wait_for(w, &c.done);
	assert_string_equal(buf_cstr(&c.body), "hello");
	conn_abort(c.conn);
	buf_free(&c.body);
}

static void
waits_end_with_a_name_and_a_reason(void **state)
{
	struct world *w = *state;
	struct http_request q = get(w, "/gen/10/1?hang");
	struct call c = {0};

	q.head_ms = 100;
	run(w, &q, &c);
	assert_int_equal(c.failure, HTTP_TIMED_OUT);
	assert_non_null(strstr(c.error, "127.0.0.1:"));
	assert_non_null(strstr(c.error, "100 ms"));
	assert_non_null(strstr(c.error, "header"));
	memset(&c, 0, sizeof(c));
	q = get(w, "/gen/1M/1?stall=10");
	q.total_ms = 100;
	run(w, &q, &c);
	assert_int_equal(c.failure, HTTP_TIMED_OUT);
	assert_non_null(strstr(c.error, "body"));
	buf_free(&c.body);
	memset(&c, 0, sizeof(c));
	q = get(w, "/gen/1M/1?stall=10");
	q.idle_ms = 100;
	run(w, &q, &c);
	assert_int_equal(c.failure, HTTP_TIMED_OUT);
	assert_non_null(strstr(c.error, "127.0.0.1:"));
	buf_free(&c.body);
}

static void
headers_that_are_none_fail_before_anything_is_sent(void **state)
{
	static const struct h1_field bad = {{(const uint8_t *)"X", 1}, {(const uint8_t *)"a\r\nb", 4}};
	struct world *w = *state;
	struct http_request q = get(w, "/gen/10/1");
	struct call c = {0};

	q.fields = &bad;
	q.field_count = 1;
	run(w, &q, &c);
	assert_int_equal(c.failure, HTTP_BAD_REQUEST);
	memset(&c, 0, sizeof(c));
	q = get(w, "/a b");
	run(w, &q, &c);
	assert_int_equal(c.failure, HTTP_BAD_REQUEST);
	assert_int_equal(http_client_opened(w->client), 0);
}

static void
end_of_the_client_ends_its_calls_in_silence(void **state)
{
	struct world *w = *state;
	struct http_request q = get(w, "/gen/10/1?hang");
	struct call c = {0};

	http_call_start(w->client, &q, &events, &c);
	while (origin_requests(w->origin) == 0)
		loop_turn(w->loop, 10);
	http_call_start(w->client, &q, &events, &c);
	http_client_free(w->client);
	w->client = NULL;
	for (int i = 0; i < 5; i++)
		loop_turn(w->loop, 1);
	assert_false(c.done);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(answer_comes_with_header_body_and_trailers),
		T(connections_are_kept_by_origin_and_bounded),
		T(connection_close_is_honoured),
		T(bytes_behind_an_answer_spoil_the_connection),
		T(small_rest_is_drained_large_one_closed),
		T(request_body_is_streamed),
		T(refused_body_is_not_sent),
		T(kept_connections_that_end_lose_no_request),
		T(only_what_may_be_sent_twice_goes_out_on_a_kept_connection),
		T(upgraded_connection_is_the_callers),
		T(waits_end_with_a_name_and_a_reason),
		T(headers_that_are_none_fail_before_anything_is_sent),
		T(end_of_the_client_ends_its_calls_in_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
