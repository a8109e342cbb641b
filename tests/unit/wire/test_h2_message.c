/* What makes a request, a response or trailers well formed (RFC 9113, 8.1 to 8.3); anything else ends the stream alone. */
#include "unit/wire/h2_harness.h"

#include <stdio.h>

/* "name: value\n..." as one header block, literally: the encoder would not refuse anything, but names have to stay as they are. */
static void
append_block(struct buf *b, const char *text)
{
	while (*text) {
		const char *colon = strstr(text + 1, ": "), *end = strchr(text, '\n');

		buf_append_u8(b, 0);
		buf_append_u8(b, (uint8_t)(colon - text));
		buf_append(b, text, (size_t)(colon - text));
		buf_append_u8(b, (uint8_t)(end - colon - 2));
		buf_append(b, colon + 2, (size_t)(end - colon - 2));
		text = end + 1;
	}
}

static void
frame_headers(struct buf *b, uint32_t id, const char *text, bool is_end)
{
	struct buf block = BUF_INIT;

	append_block(&block, text);
	frame(b, HEADERS, (uint8_t)(END_HEADERS | (is_end ? END_STREAM : 0)), id, buf_data(&block), block.len);
	buf_free(&block);
}

static void
request_is(bool is_good, const char *text)
{
	struct buf b = BUF_INIT;
	struct end e;

	server_open(&e);
	frame_headers(&b, 1, text, true);
	if (is_good) {
		assert_int_equal(feed(&e, &b), 0);
		assert_int_equal(h2_stream_count(e.h), 1);
		end_free(&e);
	} else {
		expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
	}
}

static void
response_is(bool is_good, const char *text)
{
	struct buf b = BUF_INIT;
	struct end e;

	client_open(&e);
	frame_headers(&b, 1, text, false);
	if (is_good) {
		assert_int_equal(feed(&e, &b), 0);
		assert_int_equal(h2_stream_count(e.h), 1);
		end_free(&e);
	} else {
		expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
	}
}

#define GOOD ":method: POST\n:scheme: http\n:path: /\n"

static void
good_requests(void **state)
{
	(void)state;
	request_is(true, GOOD);
	request_is(true, ":authority: localhost\n" GOOD);
	request_is(true, GOOD ":authority: %2Fvar%2Frun%2Fdragonfly%2Fdfdaemon.sock\n");
	request_is(true, GOOD "te: trailers\nx-y_z.!#$%&'*+^`|~: \xff\xfe\n");
	request_is(true, ":method: OPTIONS\n:scheme: http\n:path: *\n");
	request_is(true, ":method: CONNECT\n:authority: host:443\n");
	request_is(true, GOOD "content-length: 0\n");
	request_is(true, GOOD "empty: \n");
	request_is(true, GOOD "spaced:  y\t\n");
}

static void
bad_pseudo_fields_of_requests(void **state)
{
	(void)state;
	request_is(false, ":scheme: http\n:path: /\n");
	request_is(false, ":method: POST\n:path: /\n");
	request_is(false, ":method: POST\n:scheme: http\n");
	request_is(false, ":method: POST\n:scheme: http\n:path: \n");
	request_is(false, ":method: \n:scheme: http\n:path: /\n");
	request_is(false, GOOD ":path: /\n");
	request_is(false, GOOD ":authority: a\n:authority: a\n");
	request_is(false, GOOD ":status: 200\n");
	request_is(false, GOOD ":protocol: websocket\n");
	request_is(false, GOOD "x: y\n:authority: a\n");
	request_is(false, "");
	request_is(false, ":method: CONNECT\n:authority: a\n:path: /\n");
	request_is(false, ":method: CONNECT\n:authority: a\n:scheme: http\n");
	request_is(false, ":method: CONNECT\n");
}

static void
bad_fields(void **state)
{
	static const char *const fields[] = {
		"connection: close\n", "keep-alive: 5\n", "proxy-connection: x\n", "transfer-encoding: chunked\n", "upgrade: h2c\n",
		"te: gzip\n", "te: trailers, deflate\n", "te: \n", "X: y\n", "conTent: y\n", "a b: y\n", "a\x7f: y\n", "a\x80: y\n",
		"a:b: y\n",
		"x: a\rb\n",
		"content-length: \n", "content-length: -1\n", "content-length: 1x\n", "content-length: 9223372036854775808\n",
		"content-length: 0\ncontent-length: 1\n",
	};
	char text[200];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		snprintf(text, sizeof(text), "%s%s", GOOD, fields[i]);
		request_is(false, text);
		snprintf(text, sizeof(text), ":status: 200\n%s", fields[i]);
		response_is(false, text);
	}
}

/* Bytes that the text form of these tests cannot hold. */
static void
bad_bytes_in_fields(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} fields[] = {
		{"\0\1x\3a\0b", 7}, {"\0\1x\3a\nb", 7}, {"\0\0\1y", 4}, {"\0\1\0\1y", 5},
	};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		struct buf block = BUF_INIT;

		buf_append(&block, post_block, sizeof(post_block));
		buf_append(&block, fields[i].bytes, fields[i].n);
		server_open(&e);
		frame(&b, HEADERS, END_HEADERS, 1, buf_data(&block), block.len);
		buf_free(&block);
		expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
	}
}

static void
responses(void **state)
{
	(void)state;
	response_is(true, ":status: 200\n");
	response_is(true, ":status: 999\nx: y\n");
	response_is(true, ":status: 103\nlink: x\n");
	response_is(false, "x: y\n");
	response_is(false, ":status: 99\n");
	response_is(false, ":status: 099\n");
	response_is(false, ":status: 2000\n");
	response_is(false, ":status: 2x0\n");
	response_is(false, ":status: 101\n");
	response_is(false, ":status: 200\n:status: 200\n");
	response_is(false, ":status: 200\n:path: /\n");
	response_is(false, ":path: /\n");
	response_is(false, "x: y\n:status: 200\n");
}

static void
informational_response_comes_before_the_real_one(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	client_open(&e);
	frame_headers(&b, 1, ":status: 100\n", false);
	frame_headers(&b, 1, ":status: 200\n", false);
	frame(&b, DATA, END_STREAM, 1, "x", 1);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "response 1 :status=200\ndata 1 x end\n");
	end_free(&e);
	client_open(&e);
	frame_headers(&b, 1, ":status: 100\n", true);
	expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
	/* It is no head: DATA cannot follow. */
	client_open(&e);
	frame_headers(&b, 1, ":status: 100\n", false);
	frame(&b, DATA, END_STREAM, 1, "x", 1);
	expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
}

static void
trailers_end_the_stream_and_hold_no_pseudo_fields(void **state)
{
	static const char *const bad[] = {":status: 200\n", ":path: /\n", "connection: x\n", "Upper: x\n"};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		client_open(&e);
		frame_headers(&b, 1, ":status: 200\n", false);
		frame_headers(&b, 1, bad[i], true);
		expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
		server_open(&e);
		frame_request(&b, 1, false);
		frame_headers(&b, 1, bad[i], true);
		expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
	}
	client_open(&e);
	frame_headers(&b, 1, ":status: 200\n", false);
	frame_headers(&b, 1, "grpc-status: 0\n", false);
	expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
	client_open(&e);
	frame_headers(&b, 1, ":status: 200\n", false);
	frame(&b, HEADERS, END_HEADERS | END_STREAM, 1, NULL, 0);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "response 1 :status=200\ntrailers 1 end\n");
	end_free(&e);
}

/* The body in frames of these sizes, with or without trailers, against content-length: 10. */
static void
body_of_ten_is(bool is_good, const size_t *parts, bool has_trailers)
{
	struct buf b = BUF_INIT;
	struct end e;

	server_open(&e);
	frame_headers(&b, 1, GOOD "content-length: 10\n", *parts == 0 && !has_trailers);
	for (; *parts > 0; parts++)
		frame(&b, DATA, parts[1] == 0 && !has_trailers ? END_STREAM : 0, 1, "0123456789abcdef", *parts);
	if (has_trailers)
		frame_headers(&b, 1, "x: y\n", true);
	if (is_good) {
		assert_int_equal(feed(&e, &b), 0);
		assert_int_equal(h2_stream_count(e.h), 1);
		end_free(&e);
	} else {
		expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
	}
}

static void
body_must_be_as_long_as_content_length(void **state)
{
	(void)state;
	for (int t = 0; t < 2; t++) {
		body_of_ten_is(true, (const size_t[]){10, 0}, t);
		body_of_ten_is(true, (const size_t[]){4, 6, 0}, t);
		body_of_ten_is(false, (const size_t[]){9, 0}, t);
		body_of_ten_is(false, (const size_t[]){11, 0}, t);
		body_of_ten_is(false, (const size_t[]){4, 7, 0}, t);
		body_of_ten_is(false, (const size_t[]){0}, t);
	}
}

static void
request_that_promises_a_body_and_has_none_is_never_told(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	frame_headers(&b, 1, GOOD "content-length: 10\n", true);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "");
	end_free(&e);
}

static void
responses_without_body_may_have_a_content_length(void **state)
{
	static const struct hpack_field f[] = {FIELD(":method", "HEAD"), FIELD(":scheme", "http"), FIELD(":path", "/")};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	end_open(&e, false);
	greet(&e);
	assert_int_equal(h2_open(e.h, f, 3, true, NULL, NULL), 1);
	frame_headers(&b, 1, ":status: 200\ncontent-length: 10\n", true);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "response 1 :status=200 content-length=10 end\nclose 1 done NO_ERROR\n");
	end_free(&e);
	client_open(&e);
	frame_headers(&b, 1, ":status: 304\ncontent-length: 10\n", true);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "response 1 :status=304 content-length=10 end\n");
	end_free(&e);
	client_open(&e);
	frame_headers(&b, 1, ":status: 200\ncontent-length: 10\n", true);
	expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
}

/* The application hears of the stream it knew. */
static void
malformed_end_closes_the_stream_for_the_application(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	frame_headers(&b, 1, GOOD "content-length: 10\n", false);
	frame(&b, DATA, END_STREAM, 1, "short", 5);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "request 1 :method=POST :scheme=http :path=/ content-length=10\nclose 1 local PROTOCOL_ERROR\n");
	end_free(&e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_requests),
		cmocka_unit_test(bad_pseudo_fields_of_requests),
		cmocka_unit_test(bad_fields),
		cmocka_unit_test(bad_bytes_in_fields),
		cmocka_unit_test(responses),
		cmocka_unit_test(informational_response_comes_before_the_real_one),
		cmocka_unit_test(trailers_end_the_stream_and_hold_no_pseudo_fields),
		cmocka_unit_test(body_must_be_as_long_as_content_length),
		cmocka_unit_test(request_that_promises_a_body_and_has_none_is_never_told),
		cmocka_unit_test(responses_without_body_may_have_a_content_length),
		cmocka_unit_test(malformed_end_closes_the_stream_for_the_application),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
