#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/h1.h"

/* What a message came to: its body, and how it ended. */
struct outcome {
	enum h1_event last;
	struct buf body;
	unsigned interims, heads;
	size_t rest;
};

/* Feeds bytes in steps of `step`, and reads up to the end of one message. */
static void
feed(struct h1 *p, const char *bytes, size_t n, size_t step, bool then_eof, struct outcome *o)
{
	size_t at = 0;

	memset(o, 0, sizeof(*o));
	for (;;) {
		size_t k = n - at < step ? n - at : step;
		struct slice in = slice_make(bytes + at, k), data;

		at += k;
		do {
			o->last = h1_parse(p, &in, &data);
			if (o->last == H1_DATA)
				buf_append_slice(&o->body, data);
			o->interims += o->last == H1_INTERIM;
			o->heads += o->last == H1_HEAD;
		} while (o->last == H1_DATA || o->last == H1_HEAD || o->last == H1_INTERIM);
		if (o->last == H1_END || o->last == H1_ERROR) {
			o->rest = n - at + in.n;
			return;
		}
		assert_int_equal(in.n, 0);
		if (at == n)
			break;
	}
	if (then_eof)
		o->last = h1_eof(p);
}

/* The same at every step size: the parser may not notice how the bytes were cut. */
static void
expect_all_steps(enum h1_kind kind, const char *bytes, size_t n, const char *method, enum h1_event want, const char *body, int status)
{
	for (size_t step = 1; step <= n; step += step < 40 ? 1 : 37) {
		struct outcome o;
		struct h1 p;

		h1_init(&p, kind);
		if (method != NULL)
			h1_expect_answer_to(&p, method);
		feed(&p, bytes, n, step, true, &o);
		if (o.last != want)
			fail_msg("step %zu: event %d, not %d (%s): %.60s", step, (int)o.last, (int)want, p.error != NULL ? p.error : "", bytes);
		if (want == H1_ERROR && status >= 0)
			assert_int_equal(p.error_status, status);
		if (body != NULL) {
			assert_int_equal(o.body.len, strlen(body));
			assert_memory_equal(buf_cstr(&o.body), body, o.body.len);
		}
		buf_free(&o.body);
		h1_free(&p);
	}
}

static void
expect_request(const char *bytes, enum h1_event want, const char *body, int status)
{
	expect_all_steps(H1_REQUEST, bytes, strlen(bytes), NULL, want, body, status);
}

static void
expect_response(const char *bytes, const char *method, enum h1_event want, const char *body)
{
	expect_all_steps(H1_RESPONSE, bytes, strlen(bytes), method, want, body, -1);
}

#define GET "GET /x HTTP/1.1\r\nHost: h\r\n"
#define POST "POST /x HTTP/1.1\r\nHost: h\r\n"

static void
request_without_body(void **state)
{
	static const char bytes[] = "GET /a%20b?x=1 HTTP/1.1\r\nHost: example.com\r\nX-A:  1 \r\nx-b:\r\n\r\nGET";
	struct outcome o;
	struct h1 p;

	(void)state;
	h1_init(&p, H1_REQUEST);
	assert_true(h1_is_idle(&p));
	feed(&p, bytes, strlen(bytes), 1000, false, &o);
	assert_int_equal(o.last, H1_END);
	assert_int_equal(o.rest, 3);
	assert_true(slice_eq_str(p.method, "GET"));
	assert_true(slice_eq_str(p.target, "/a%20b?x=1"));
	assert_int_equal(p.minor, 1);
	assert_true(p.keep_alive);
	assert_false(p.has_body);
	assert_int_equal(p.field_count, 3);
	assert_true(slice_eq_str(h1_get(&p, "x-a"), "1"));
	assert_true(slice_eq_str(h1_get(&p, "X-B"), ""));
	assert_non_null(h1_get(&p, "X-B").p);
	assert_null(h1_get(&p, "x-c").p);
	h1_free(&p);
	expect_request("\r\n\r\n" GET "\r\n", H1_END, "", 0);
}

static void
counted_body(void **state)
{
	(void)state;
	expect_request(POST "Content-Length: 5\r\n\r\nhello", H1_END, "hello", 0);
	expect_request(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", H1_END, "hello", 0);
	expect_request(POST "Content-Length: 0\r\n\r\n", H1_END, "", 0);
	expect_request(POST "Content-Length: 6\r\n\r\nhello", H1_ERROR, "hello", 400);
}

static void
chunked_body_with_extensions_and_trailers(void **state)
{
	static const char bytes[] = POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;name=\"v\"\r\n0123456789\r\n0\r\nX-T: 1\r\nDigest: q\r\n\r\n";
	struct outcome o;
	struct h1 p;

	(void)state;
	expect_request(bytes, H1_END, "abc0123456789", 0);
	h1_init(&p, H1_REQUEST);
	feed(&p, bytes, strlen(bytes), 7, false, &o);
	assert_int_equal(o.last, H1_END);
	assert_int_equal(p.trailer_count, 2);
	assert_true(slice_eq_str(p.trailers[1].name, "Digest"));
	assert_true(slice_eq_str(p.trailers[1].value, "q"));
	buf_free(&o.body);
	h1_free(&p);
}

static void
keep_alive_follows_version_and_connection(void **state)
{
	static const struct {
		const char *bytes;
		bool keep;
	} cases[] = {
		{GET "\r\n", true}, {GET "Connection: close\r\n\r\n", false}, {GET "Connection: x, Close\r\n\r\n", false},
		{"GET / HTTP/1.0\r\n\r\n", false}, {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct outcome o;
		struct h1 p;

		h1_init(&p, H1_REQUEST);
		feed(&p, cases[i].bytes, strlen(cases[i].bytes), 9, false, &o);
		assert_int_equal(o.last, H1_END);
		assert_int_equal(p.keep_alive, cases[i].keep);
		h1_free(&p);
	}
}

static void
expect_and_upgrade_are_told(void **state)
{
	static const char bytes[] = POST "Expect: 100-Continue\r\nContent-Length: 1\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\nx";
	struct outcome o;
	struct h1 p;

	(void)state;
	h1_init(&p, H1_REQUEST);
	feed(&p, bytes, strlen(bytes), 100, false, &o);
	assert_true(p.expects_continue);
	assert_true(p.wants_upgrade);
	buf_free(&o.body);
	h1_free(&p);
}

static void
smuggling_forms_are_refused(void **state)
{
	static const char *const bad[] = {
		POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		POST "Content-Length: +5\r\n\r\nhello", POST "Content-Length: -1\r\n\r\n", POST "Content-Length: 5, 5\r\n\r\nhello",
		POST "Content-Length: 0x5\r\n\r\nhello", POST "Content-Length: \r\n\r\n", POST "Content-Length: 5 5\r\n\r\nhello",
		POST "Content-Length: 18446744073709551616\r\n\r\n", POST "Content-Length: 9223372036854775808\r\n\r\n",
		POST "Content-Length : 5\r\n\r\nhello", POST " Content-Length: 5\r\n\r\nhello", POST "X: a\r\n folded\r\n\r\n",
		POST "X: a\r\n\tfolded\r\n\r\n", "POST /x HTTP/1.1\r\n Host: h\r\n\r\n",
		POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", POST "Transfer-Encoding: identity\r\n\r\n",
		POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", POST "Transfer-Encoding: \r\n\r\n",
		"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		GET "X: a\rb\r\n\r\n", GET "X: a\n\r\n", "GET /x HTTP/1.1\nHost: h\r\n\r\n", GET "X: a\x01\r\n\r\n", GET "X: a\x7f\r\n\r\n",
		GET "\n", GET "\r\r\n\r\n", GET ": v\r\n\r\n", GET "no colon\r\n\r\n", GET "X\x80: v\r\n\r\n", GET "X(: v\r\n\r\n",
		GET "Host: other\r\n\r\n", "GET /x HTTP/1.1\r\n\r\n",
		"GET  /x HTTP/1.1\r\nHost: h\r\n\r\n", "GET /x  HTTP/1.1\r\nHost: h\r\n\r\n", "GET /x HTTP/1.1 \r\nHost: h\r\n\r\n",
		"GET /x\tHTTP/1.1\r\nHost: h\r\n\r\n", "GET /x\x01 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /x HTTP/1.2\r\nHost: h\r\n\r\n",
		"GET /x HTTP/2.0\r\nHost: h\r\n\r\n", "GET /x http/1.1\r\nHost: h\r\n\r\n", "GET /x\r\n\r\n", "G@T /x HTTP/1.1\r\nHost: h\r\n\r\n",
		" GET /x HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n" GET "\r\n", "\n" GET "\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		expect_request(bad[i], H1_ERROR, NULL, 400);
	expect_request(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", H1_ERROR, NULL, 501);
	expect_all_steps(H1_REQUEST, GET "X: a\0b\r\n\r\n", sizeof(GET "X: a\0b\r\n\r\n") - 1, NULL, H1_ERROR, NULL, 400);
}

static void
bad_chunks_are_refused(void **state)
{
	static const char *const bad[] = {
		"g\r\n", "\r\n", "-1\r\n", "+1\r\na\r\n", "0x1\r\na\r\n", " 1\r\na\r\n", "1 \r\na\r\n", "1\na\r\n", "1\r\nab\r\n", "1\r\na\n0\r\n\r\n",
		"1\r\na\r0\r\n\r\n", "1;a\x01\r\na\r\n", "1;a\nb\r\n", "11111111111111111\r\n", "8000000000000000\r\n", "00000000000000001\r\na\r\n",
		"0\r\nContent-Length: 5\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\nHost: x\r\n\r\n", "0\r\n folded\r\n\r\n",
		"0\r\nX : 1\r\n\r\n", "0\r\nX: 1\n\r\n", "0\r\n\n", "0\r\nX: a\rb\r\n\r\n", "1\rxa\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		char *bytes = xasprintf(POST "Transfer-Encoding: chunked\r\n\r\n%s", bad[i]);

		expect_request(bytes, H1_ERROR, NULL, 400);
		free(bytes);
	}
}

/* A request made of a repeated byte in the middle. */
static char *
stretch(const char *before, char c, size_t n, const char *after)
{
	size_t a = strlen(before), b = strlen(after);
	char *s = xmalloc(a + n + b + 1);

	memcpy(s, before, a);
	memset(s + a, c, n);
	memcpy(s + a + n, after, b + 1);
	return s;
}

static void
expect_stretched(enum h1_kind kind, const char *before, size_t n, const char *after, enum h1_event want, int status)
{
	char *s = stretch(before, 'a', n, after);
	size_t len = strlen(s);

	for (size_t step = 1000; step <= len + 1000; step += len) {
		struct outcome o;
		struct h1 p;

		h1_init(&p, kind);
		feed(&p, s, len, step, false, &o);
		assert_int_equal(o.last, want);
		if (want == H1_ERROR)
			assert_int_equal(p.error_status, status);
		buf_free(&o.body);
		h1_free(&p);
	}
	free(s);
}

static void
limits_hold_to_the_byte(void **state)
{
	size_t own = strlen("Host: h\r\nX: \r\n");

	(void)state;
	expect_stretched(H1_REQUEST, "GET /", H1_TARGET_MAX - 1, " HTTP/1.1\r\nHost: h\r\n\r\n", H1_END, 0);
	expect_stretched(H1_REQUEST, "GET /", H1_TARGET_MAX, " HTTP/1.1\r\nHost: h\r\n\r\n", H1_ERROR, 414);
	expect_stretched(H1_REQUEST, "GET /", 2 * H1_TARGET_MAX, "", H1_ERROR, 414);
	expect_stretched(H1_REQUEST, "", H1_METHOD_MAX, " / HTTP/1.1\r\nHost: h\r\n\r\n", H1_END, 0);
	expect_stretched(H1_REQUEST, "", H1_METHOD_MAX + 1, " / HTTP/1.1\r\nHost: h\r\n\r\n", H1_ERROR, 400);
	expect_stretched(H1_REQUEST, GET "X: ", H1_HEAD_MAX - own, "\r\n\r\n", H1_END, 0);
	expect_stretched(H1_REQUEST, GET "X: ", H1_HEAD_MAX - own + 1, "\r\n\r\n", H1_ERROR, 431);
	expect_stretched(H1_REQUEST, GET "X: ", 2 * H1_HEAD_MAX, "", H1_ERROR, 431);
	expect_stretched(H1_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ", H1_LINE_MAX - 5, "\r\n\r\n", H1_END, 0);
	expect_stretched(H1_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ", H1_LINE_MAX - 2, "\r\n\r\n", H1_ERROR, 431);
	expect_stretched(H1_RESPONSE, "HTTP/1.1 200 ", H1_STATUS_LINE_MAX, "\r\n\r\n", H1_ERROR, 400);
	expect_stretched(H1_REQUEST, POST "Transfer-Encoding: chunked\r\n\r\n1;", H1_CHUNK_EXT_MAX - 1, "\r\nx\r\n0\r\n\r\n", H1_END, 0);
	expect_stretched(H1_REQUEST, POST "Transfer-Encoding: chunked\r\n\r\n1;", H1_CHUNK_EXT_MAX, "\r\nx\r\n0\r\n\r\n", H1_ERROR, 400);
	expect_stretched(H1_REQUEST, POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", H1_TRAILER_BYTES_MAX - 5, "\r\n\r\n", H1_END, 0);
	expect_stretched(H1_REQUEST, POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", H1_TRAILER_BYTES_MAX - 4, "\r\n\r\n", H1_ERROR, 431);
}

/* `before`, n times `line`, `after`. */
static void
expect_repeated(enum h1_kind kind, const char *before, const char *line, size_t n, const char *after, enum h1_event want, int status)
{
	struct buf b = BUF_INIT;
	struct outcome o;
	struct h1 p;

	buf_append_str(&b, before);
	for (size_t i = 0; i < n; i++)
		buf_append_str(&b, line);
	buf_append_str(&b, after);
	h1_init(&p, kind);
	feed(&p, (const char *)buf_data(&b), b.len, 1000, false, &o);
	assert_int_equal(o.last, want);
	if (want == H1_ERROR)
		assert_int_equal(p.error_status, status);
	buf_free(&o.body);
	buf_free(&b);
	h1_free(&p);
}

static void
counts_hold_to_the_one(void **state)
{
	static const char chunked[] = POST "Transfer-Encoding: chunked\r\n\r\n";
	char ext[H1_CHUNK_EXT_MAX + 16];

	(void)state;
	expect_repeated(H1_REQUEST, GET, "X: 1\r\n", H1_FIELDS_MAX - 1, "\r\n", H1_END, 0);
	expect_repeated(H1_REQUEST, GET, "X: 1\r\n", H1_FIELDS_MAX, "\r\n", H1_ERROR, 431);
	expect_repeated(H1_RESPONSE, "HTTP/1.1 204 No\r\n", "X: 1\r\n", H1_FIELDS_MAX, "\r\n", H1_END, 0);
	expect_repeated(H1_RESPONSE, "HTTP/1.1 204 No\r\n", "X: 1\r\n", H1_FIELDS_MAX + 1, "\r\n", H1_ERROR, 431);
	expect_repeated(H1_REQUEST, POST "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: 1\r\n", H1_TRAILERS_MAX, "\r\n", H1_END, 0);
	expect_repeated(H1_REQUEST, POST "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: 1\r\n", H1_TRAILERS_MAX + 1, "\r\n", H1_ERROR, 431);
	expect_repeated(H1_RESPONSE, "", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", H1_INFORMATIONAL_MAX, "HTTP/1.1 204 No\r\n\r\n", H1_END, 0);
	expect_repeated(H1_RESPONSE, "", "HTTP/1.1 100 Go\r\n\r\n", H1_INFORMATIONAL_MAX + 1, "HTTP/1.1 204 No\r\n\r\n", H1_ERROR, 400);
	snprintf(ext, sizeof(ext), "1;%0*d\r\nx\r\n", H1_CHUNK_EXT_MAX - 1, 0);
	expect_repeated(H1_REQUEST, chunked, ext, H1_CHUNK_EXT_TOTAL_MAX / H1_CHUNK_EXT_MAX, "0\r\n\r\n", H1_END, 0);
	expect_repeated(H1_REQUEST, chunked, ext, H1_CHUNK_EXT_TOTAL_MAX / H1_CHUNK_EXT_MAX + 1, "0\r\n\r\n", H1_ERROR, 400);
}

static void
every_truncation_is_an_error_or_nothing(void **state)
{
	static const char bytes[] = POST "Transfer-Encoding: chunked\r\nX: y\r\n\r\n3;e=f\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\n";
	static const char answer[] = "HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd";

	(void)state;
	for (size_t n = 0; n < sizeof(bytes) - 1; n++)
		expect_all_steps(H1_REQUEST, bytes, n, NULL, H1_ERROR, NULL, 400);
	for (size_t n = 1; n < sizeof(answer) - 1; n++)
		expect_all_steps(H1_RESPONSE, answer, n, "GET", H1_ERROR, NULL, -1);
	expect_response(answer, "GET", H1_END, "abcd");
}

static void
nothing_then_eof_is_no_message(void **state)
{
	struct h1 p;

	(void)state;
	h1_init(&p, H1_RESPONSE);
	assert_int_equal(h1_eof(&p), H1_MORE);
	h1_free(&p);
}

static void
answers_without_body(void **state)
{
	(void)state;
	expect_response("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET", H1_END, "");
	expect_response("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", H1_END, "");
	expect_response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", H1_END, "");
	expect_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", H1_END, "");
	expect_response("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", H1_END, "");
	expect_response("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "GET", H1_END, "");
}

static void
close_delimited_body_ends_with_the_connection(void **state)
{
	(void)state;
	expect_response("HTTP/1.1 200 OK\r\n\r\nuntil the end", "GET", H1_END, "until the end");
	expect_response("HTTP/1.0 200 OK\r\n\r\n", "GET", H1_END, "");
}

static void
lenient_where_it_does_no_harm(void **state)
{
	(void)state;
	expect_response("HTTP/1.0 200 OK\nContent-Length: 2\nX: y\n\nab", "GET", H1_END, "ab");
	expect_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nab\r\n0\r\n\r\n", "GET", H1_END, "ab");
}

static void
chunked_wins_over_length_in_an_answer_and_closes(void **state)
{
	static const char bytes[] = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
	struct outcome o;
	struct h1 p;

	(void)state;
	h1_init(&p, H1_RESPONSE);
	feed(&p, bytes, strlen(bytes), 5, false, &o);
	assert_int_equal(o.last, H1_END);
	assert_int_equal(o.body.len, 2);
	assert_false(p.keep_alive);
	assert_false(p.has_length);
	buf_free(&o.body);
	h1_free(&p);
}

static void
malformed_answers_are_refused(void **state)
{
	static const char *const bad[] = {
		"SSH-2.0-OpenSSH\r\n", "HTTP/1.1 99 X\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
		"HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 200OK\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 200 O\rK\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		expect_response(bad[i], "GET", H1_ERROR, NULL);
}

static void
tunnels_end_with_the_head(void **state)
{
	static const char *const bytes[] = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x16\x03", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n\x16\x03"};
	static const char *const methods[] = {"CONNECT", "GET"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct outcome o;
		struct h1 p;

		h1_init(&p, H1_RESPONSE);
		h1_expect_answer_to(&p, methods[i]);
		feed(&p, bytes[i], strlen(bytes[i]), 1000, false, &o);
		assert_int_equal(o.last, H1_END);
		assert_true(p.is_tunnel);
		assert_int_equal(o.rest, 2);
		h1_free(&p);
	}
}

static void
other_protocols_are_known_by_their_first_bytes(void **state)
{
	(void)state;
	expect_request("\x16\x03\x01\x02", H1_ERROR, NULL, 400);
	expect_request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", H1_ERROR, NULL, 0);
}

static void
pipelined_messages_follow_each_other(void **state)
{
	static const char bytes[] = POST "Content-Length: 3\r\n\r\none" POST "Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n" GET "\r\n";
	static const char *const bodies[] = {"one", "two", ""};
	size_t at = 0;
	struct h1 p;

	(void)state;
	h1_init(&p, H1_REQUEST);
	for (size_t i = 0; i < 3; i++) {
		struct outcome o;

		feed(&p, bytes + at, sizeof(bytes) - 1 - at, 1000, false, &o);
		assert_int_equal(o.last, H1_END);
		assert_string_equal(buf_cstr(&o.body), bodies[i]);
		at = sizeof(bytes) - 1 - o.rest;
		buf_free(&o.body);
		h1_next(&p);
	}
	assert_int_equal(at, sizeof(bytes) - 1);
	h1_free(&p);
}

static void
lists_are_read_item_by_item(void **state)
{
	struct slice rest = slice_str(" a ,, b;q=1,\t c"), item;

	(void)state;
	assert_true(h1_list_next(&rest, &item) && slice_eq_str(item, "a"));
	assert_true(h1_list_next(&rest, &item) && slice_eq_str(item, "b;q=1"));
	assert_true(h1_list_next(&rest, &item) && slice_eq_str(item, "c"));
	assert_false(h1_list_next(&rest, &item));
}

static void
writers_refuse_what_would_break_the_message(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	assert_int_equal(h1_write_field_str(&b, "X y", "1"), -1);
	assert_int_equal(h1_write_field_str(&b, "", "1"), -1);
	assert_int_equal(h1_write_field_str(&b, "X", "a\r\nB: c"), -1);
	assert_int_equal(h1_write_field_str(&b, "X", " a"), -1);
	assert_int_equal(h1_write_request_line(&b, "GET", slice_str("/a b")), -1);
	assert_int_equal(h1_write_request_line(&b, "G T", slice_str("/")), -1);
	assert_int_equal(h1_write_request_line(&b, "GET", slice_str("/\r\n")), -1);
	assert_int_equal(b.len, 0);
	assert_int_equal(h1_write_request_line(&b, "GET", slice_str("/a")), 0);
	assert_int_equal(h1_write_field_str(&b, "X", "1"), 0);
	h1_write_length(&b, 12);
	h1_write_head_end(&b);
	h1_write_status_line(&b, 0, 404, NULL);
	assert_string_equal(buf_cstr(&b), "GET /a HTTP/1.1\r\nX: 1\r\nContent-Length: 12\r\n\r\nHTTP/1.0 404 Not Found\r\n");
	buf_free(&b);
}

static void
last_chunk_has_the_trailers_that_are_fit(void **state)
{
	struct h1_field t[] = {{slice_str("A"), slice_str("1")}, {slice_str("B"), slice_str("x\r\ny")}, {slice_str("C c"), slice_str("3")}};
	struct buf b = BUF_INIT;

	(void)state;
	h1_write_last_chunk(&b, NULL, 0);
	h1_write_last_chunk(&b, t, 3);
	assert_string_equal(buf_cstr(&b), "0\r\n\r\n0\r\nA: 1\r\n\r\n");
	buf_free(&b);
}

static void
chunk_heads_are_hex(void **state)
{
	char out[H1_CHUNK_HEAD_MAX + 1];

	(void)state;
	assert_int_equal(h1_chunk_head(out, 255), 4);
	assert_string_equal(out, "ff\r\n");
	h1_chunk_head(out, UINT64_MAX);
	assert_string_equal(out, "ffffffffffffffff\r\n");
}

static void
dates_in_three_forms(void **state)
{
	char out[H1_DATE_MAX];
	int64_t s;

	(void)state;
	h1_format_date(784111777, out);
	assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
	h1_format_date(0, out);
	assert_string_equal(out, "Thu, 01 Jan 1970 00:00:00 GMT");
	h1_format_date(1709210096, out);
	assert_string_equal(out, "Thu, 29 Feb 2024 12:34:56 GMT");
	assert_int_equal(h1_parse_date(slice_str("Sun, 06 Nov 1994 08:49:37 GMT"), &s), 0);
	assert_int_equal(s, 784111777);
	assert_int_equal(h1_parse_date(slice_str("Sunday, 06-Nov-94 08:49:37 GMT"), &s), 0);
	assert_int_equal(s, 784111777);
	assert_int_equal(h1_parse_date(slice_str("Sun Nov  6 08:49:37 1994"), &s), 0);
	assert_int_equal(s, 784111777);
	assert_int_equal(h1_parse_date(slice_str("Thu, 29 Feb 2024 12:34:56 GMT"), &s), 0);
	assert_int_equal(s, 1709210096);
	assert_int_equal(h1_parse_date(slice_str("soon"), &s), -1);
	assert_int_equal(h1_parse_date(slice_str(""), &s), -1);
	assert_int_equal(h1_parse_date(slice_str("Sun, 06 Foo 1994 08:49:37 GMT"), &s), -1);
	assert_int_equal(h1_parse_date(slice_str("Sun, 06 Nov 1994 28:49:37 GMT"), &s), -1);
	assert_int_equal(h1_parse_date(slice_str("Sun, 06 Nov 1994 08:49:37 GMT x"), &s), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_without_body),
		cmocka_unit_test(counted_body),
		cmocka_unit_test(chunked_body_with_extensions_and_trailers),
		cmocka_unit_test(keep_alive_follows_version_and_connection),
		cmocka_unit_test(expect_and_upgrade_are_told),
		cmocka_unit_test(smuggling_forms_are_refused),
		cmocka_unit_test(bad_chunks_are_refused),
		cmocka_unit_test(limits_hold_to_the_byte),
		cmocka_unit_test(counts_hold_to_the_one),
		cmocka_unit_test(every_truncation_is_an_error_or_nothing),
		cmocka_unit_test(nothing_then_eof_is_no_message),
		cmocka_unit_test(answers_without_body),
		cmocka_unit_test(close_delimited_body_ends_with_the_connection),
		cmocka_unit_test(lenient_where_it_does_no_harm),
		cmocka_unit_test(chunked_wins_over_length_in_an_answer_and_closes),
		cmocka_unit_test(malformed_answers_are_refused),
		cmocka_unit_test(tunnels_end_with_the_head),
		cmocka_unit_test(other_protocols_are_known_by_their_first_bytes),
		cmocka_unit_test(pipelined_messages_follow_each_other),
		cmocka_unit_test(lists_are_read_item_by_item),
		cmocka_unit_test(writers_refuse_what_would_break_the_message),
		cmocka_unit_test(last_chunk_has_the_trailers_that_are_fit),
		cmocka_unit_test(chunk_heads_are_hex),
		cmocka_unit_test(dates_in_three_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
