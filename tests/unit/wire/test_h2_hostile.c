/* Frames that break RFC 9113, and peers that wear us out: each ends its stream or its connection, and how. */
#include "unit/wire/h2_harness.h"

static const struct hpack_field head[] = {FIELD(":status", "200")};
static uint8_t zeros[70000];

static void
one_frame(enum h2_code code, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
	struct buf b = BUF_INIT;
	struct end e;

	server_open(&e);
	frame_request(&b, 1, false);
	assert_int_equal(feed(&e, &b), 0);
	frame(&b, type, flags, id, payload, n);
	expect_connection_error(&e, &b, code);
}

static void
one_frame_to_client(enum h2_code code, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
	struct buf b = BUF_INIT;
	struct end e;

	client_open(&e);
	frame(&b, type, flags, id, payload, n);
	expect_connection_error(&e, &b, code);
}

static void
frames_of_a_wrong_length(void **state)
{
	(void)state;
	one_frame(H2_FRAME_SIZE_ERROR, PRIORITY, 0, 1, zeros, 4);
	one_frame(H2_FRAME_SIZE_ERROR, RST_STREAM, 0, 1, zeros, 3);
	one_frame(H2_FRAME_SIZE_ERROR, RST_STREAM, 0, 1, zeros, 5);
	one_frame(H2_FRAME_SIZE_ERROR, SETTINGS, 0, 0, zeros, 5);
	one_frame(H2_FRAME_SIZE_ERROR, SETTINGS, ACK, 0, zeros, 6);
	one_frame(H2_FRAME_SIZE_ERROR, PING, 0, 0, zeros, 7);
	one_frame(H2_FRAME_SIZE_ERROR, PING, 0, 0, NULL, 0);
	one_frame(H2_FRAME_SIZE_ERROR, GOAWAY, 0, 0, zeros, 7);
	one_frame(H2_FRAME_SIZE_ERROR, WINDOW_UPDATE, 0, 0, zeros, 3);
	one_frame(H2_FRAME_SIZE_ERROR, WINDOW_UPDATE, 0, 1, zeros, 5);
	one_frame(H2_FRAME_SIZE_ERROR, DATA, PADDED, 1, NULL, 0);
	one_frame(H2_FRAME_SIZE_ERROR, HEADERS, PADDED | END_HEADERS, 3, NULL, 0);
	one_frame(H2_FRAME_SIZE_ERROR, HEADERS, WITH_PRIORITY | END_HEADERS, 3, zeros, 4);
	one_frame(H2_FRAME_SIZE_ERROR, DATA, 0, 1, zeros, 16385);
	one_frame(H2_FRAME_SIZE_ERROR, 0x55, 0, 1, zeros, 16385);
}

static void
largest_frames_are_taken(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	e.is_quiet = true;
	frame_request(&b, 1, false);
	frame(&b, DATA, 0, 1, zeros, 16384);
	frame(&b, 0x55, 0, 1, zeros, 16384);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(e.body, 16384);
	end_free(&e);
}

static void
frames_on_the_wrong_stream(void **state)
{
	(void)state;
	one_frame(H2_PROTOCOL_ERROR, DATA, 0, 0, "x", 1);
	one_frame(H2_PROTOCOL_ERROR, HEADERS, END_HEADERS, 0, post_block, 3);
	one_frame(H2_PROTOCOL_ERROR, PRIORITY, 0, 0, zeros, 5);
	one_frame(H2_PROTOCOL_ERROR, RST_STREAM, 0, 0, zeros, 4);
	one_frame(H2_PROTOCOL_ERROR, SETTINGS, 0, 1, NULL, 0);
	one_frame(H2_PROTOCOL_ERROR, PING, 0, 1, zeros, 8);
	one_frame(H2_PROTOCOL_ERROR, GOAWAY, 0, 1, zeros, 8);
	one_frame(H2_PROTOCOL_ERROR, CONTINUATION, END_HEADERS, 1, post_block, 3);
	one_frame(H2_PROTOCOL_ERROR, CONTINUATION, END_HEADERS, 0, post_block, 3);
}

static void
idle_streams_take_nothing_but_headers(void **state)
{
	(void)state;
	one_frame(H2_PROTOCOL_ERROR, DATA, 0, 3, "x", 1);
	one_frame(H2_PROTOCOL_ERROR, RST_STREAM, 0, 3, zeros, 4);
	one_frame(H2_PROTOCOL_ERROR, WINDOW_UPDATE, 0, 3, "\0\0\0\1", 4);
	one_frame(H2_PROTOCOL_ERROR, WINDOW_UPDATE, 0, 2, "\0\0\0\1", 4);
	one_frame_to_client(H2_PROTOCOL_ERROR, DATA, 0, 3, "x", 1);
	one_frame_to_client(H2_PROTOCOL_ERROR, HEADERS, END_HEADERS, 3, ok_block, 1);
	one_frame_to_client(H2_PROTOCOL_ERROR, RST_STREAM, 0, 3, zeros, 4);
}

static void
stream_ids_are_odd_and_rising(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	one_frame(H2_PROTOCOL_ERROR, HEADERS, END_HEADERS, 2, post_block, 3);
	one_frame_to_client(H2_PROTOCOL_ERROR, HEADERS, END_HEADERS, 2, ok_block, 1);
	server_open(&e);
	frame_request(&b, 5, false);
	assert_int_equal(feed(&e, &b), 0);
	frame_request(&b, 3, false);
	expect_connection_error(&e, &b, H2_STREAM_CLOSED);
}

static void
frames_after_the_end_of_a_stream(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	/* Half closed: the stream dies. */
	server_open(&e);
	frame_request(&b, 1, true);
	frame(&b, DATA, 0, 1, "x", 1);
	expect_stream_error(&e, &b, 1, H2_STREAM_CLOSED);
	server_open(&e);
	frame_request(&b, 1, true);
	frame_request(&b, 1, true);
	expect_stream_error(&e, &b, 1, H2_STREAM_CLOSED);
	/* Closed: the connection dies. */
	for (int i = 0; i < 2; i++) {
		server_open(&e);
		frame_request(&b, 1, true);
		assert_int_equal(feed(&e, &b), 0);
		assert_int_equal(h2_send_headers(e.h, 1, head, 1, true, NULL), 0);
		if (i == 0)
			frame(&b, DATA, 0, 1, "x", 1);
		else
			frame_request(&b, 1, true);
		expect_connection_error(&e, &b, H2_STREAM_CLOSED);
	}
	/* Closed by the peer's own reset. */
	server_open(&e);
	frame_request(&b, 1, false);
	frame_u32(&b, RST_STREAM, 1, H2_CANCEL);
	frame(&b, DATA, 0, 1, "x", 1);
	expect_connection_error(&e, &b, H2_STREAM_CLOSED);
}

static void
closed_streams_may_still_get_window_updates_and_priority(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	frame_request(&b, 1, true);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_send_headers(e.h, 1, head, 1, true, NULL), 0);
	frame_u32(&b, WINDOW_UPDATE, 1, 10);
	frame_u32(&b, RST_STREAM, 1, H2_NO_ERROR);
	frame(&b, PRIORITY, 0, 1, zeros, 5);
	frame(&b, PRIORITY, 0, 7, zeros, 5);
	assert_int_equal(feed(&e, &b), 0);
	end_free(&e);
}

static void
padding_longer_than_its_frame(void **state)
{
	(void)state;
	one_frame(H2_PROTOCOL_ERROR, DATA, PADDED, 1, "\x01", 1);
	one_frame(H2_PROTOCOL_ERROR, DATA, PADDED, 1, "\x05" "abcd", 5);
	one_frame(H2_PROTOCOL_ERROR, HEADERS, PADDED | END_HEADERS, 3, "\x04\x83\x86\x84", 4);
	one_frame(H2_PROTOCOL_ERROR, HEADERS, PADDED | WITH_PRIORITY | END_HEADERS, 3, "\x01\0\0\0\0\0", 6);
}

static void
bad_settings(void **state)
{
	(void)state;
	one_frame(H2_PROTOCOL_ERROR, SETTINGS, 0, 0, "\0\2\0\0\0\2", 6);
	one_frame(H2_FLOW_CONTROL_ERROR, SETTINGS, 0, 0, "\0\4\x80\0\0\0", 6);
	one_frame(H2_PROTOCOL_ERROR, SETTINGS, 0, 0, "\0\5\0\0\x3f\xff", 6);
	one_frame(H2_PROTOCOL_ERROR, SETTINGS, 0, 0, "\0\5\1\0\0\0", 6);
	one_frame_to_client(H2_PROTOCOL_ERROR, SETTINGS, 0, 0, "\0\2\0\0\0\1", 6);
}

static void
unknown_settings_are_ignored(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	frame_setting(&b, 0x0a0a, 0xffffffff);
	frame_setting(&b, 8, 1);
	frame_setting(&b, 2, 1);
	frame(&b, SETTINGS, ACK, 0, NULL, 0);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_output(e.h)->len, 3 * 9);
	end_free(&e);
}

static void
push_is_refused(void **state)
{
	(void)state;
	one_frame(H2_PROTOCOL_ERROR, PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x83\x86\x84", 7);
	one_frame_to_client(H2_PROTOCOL_ERROR, PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x83\x86\x84", 7);
}

static void
window_update_of_nothing(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	one_frame(H2_PROTOCOL_ERROR, WINDOW_UPDATE, 0, 0, zeros, 4);
	server_open(&e);
	frame_request(&b, 1, false);
	frame_u32(&b, WINDOW_UPDATE, 1, 0);
	expect_stream_error(&e, &b, 1, H2_PROTOCOL_ERROR);
}

static void
interrupted_header_block(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	for (int i = 0; i < 4; i++) {
		server_open(&e);
		frame(&b, HEADERS, 0, 1, post_block, 2);
		if (i == 0)
			frame(&b, PING, 0, 0, zeros, 8);
		else if (i == 1)
			frame(&b, CONTINUATION, END_HEADERS, 3, post_block + 2, 1);
		else if (i == 2)
			frame(&b, HEADERS, END_HEADERS, 1, post_block + 2, 1);
		else
			frame(&b, 0x99, 0, 1, NULL, 0);
		expect_connection_error(&e, &b, H2_PROTOCOL_ERROR);
	}
}

static void
bad_start_of_a_connection(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	end_open(&e, true);
	buf_append_str(&b, "GET / HTTP/1.1\r\n\r\n");
	expect_connection_error(&e, &b, H2_PROTOCOL_ERROR);
	end_open(&e, true);
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE - 1);
	buf_append_str(&b, "\r");
	expect_connection_error(&e, &b, H2_PROTOCOL_ERROR);
	end_open(&e, true);
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE);
	frame(&b, PING, 0, 0, zeros, 8);
	expect_connection_error(&e, &b, H2_PROTOCOL_ERROR);
	end_open(&e, false);
	frame(&b, SETTINGS, ACK, 0, NULL, 0);
	expect_connection_error(&e, &b, H2_PROTOCOL_ERROR);
}

static void
broken_header_block_ends_the_connection(void **state)
{
	(void)state;
	one_frame(H2_COMPRESSION_ERROR, HEADERS, END_HEADERS, 3, "\xff\xff\xff\xff\xff\xff", 6);
	one_frame(H2_COMPRESSION_ERROR, HEADERS, END_HEADERS, 3, "\x83\x86\x84\x20", 4);
	one_frame(H2_COMPRESSION_ERROR, HEADERS, END_HEADERS | END_STREAM, 1, "\x80", 1);
}

/* ---- wearing us out ---- */

static void
continuations_are_counted(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	for (unsigned n = H2_CONTINUATIONS_MAX; n <= H2_CONTINUATIONS_MAX + 1; n++) {
		server_open(&e);
		frame(&b, HEADERS, 0, 1, post_block, 3);
		for (unsigned i = 1; i < n; i++)
			frame(&b, CONTINUATION, 0, 1, "\x40\x01x\x01y", 5);
		frame(&b, CONTINUATION, END_HEADERS, 1, NULL, 0);
		if (n == H2_CONTINUATIONS_MAX) {
			assert_int_equal(feed(&e, &b), 0);
			end_free(&e);
		} else {
			expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
		}
	}
}

static void
header_block_has_a_size(void **state)
{
	const struct h2_config c = {.is_server = true, .max_header_list = 8192};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	end_open_with(&e, &c);
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE);
	frame(&b, SETTINGS, 0, 0, NULL, 0);
	frame(&b, HEADERS, 0, 1, zeros, 16384);
	assert_int_equal(feed(&e, &b), 0);
	frame(&b, CONTINUATION, 0, 1, zeros, 16384);
	assert_int_equal(feed(&e, &b), 0);
	frame(&b, CONTINUATION, 0, 1, zeros, 1);
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

/* A request with one more field of 1 + n + 32 bytes. */
static void
frame_large_request(struct buf *b, uint32_t id, size_t n, bool is_end)
{
	struct hpack_encoder enc;
	struct buf block = BUF_INIT;
	struct hpack_field f[] = {
		FIELD(":method", "POST"), FIELD(":scheme", "http"), FIELD(":path", "/"), {slice_str("x"), {NULL, n}, false},
	};
	char *big = xmalloc(n);
	size_t at = 0;

	memset(big, 'x', n);
	f[3].value.p = (const uint8_t *)big;
	hpack_encoder_init(&enc);
	hpack_encode(&enc, f, 4, &block);
	for (uint8_t type = HEADERS; at < block.len; type = CONTINUATION) {
		size_t part = block.len - at < 16384 ? block.len - at : 16384;
		uint8_t flags = at + part == block.len ? END_HEADERS : 0;

		if (is_end && at == 0)
			flags |= END_STREAM;
		frame(b, type, flags, id, buf_data(&block) + at, part);
		at += part;
	}
	hpack_encoder_free(&enc);
	buf_free(&block);
	free(big);
}

/* 3 pseudo fields: 43 + 43 + 38 bytes. */
#define LARGE_FOR(limit) ((limit) - (43 + 43 + 38) - 33)

static void
header_list_above_the_limit_is_answered_431(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	e.is_quiet = true;
	frame_large_request(&b, 1, LARGE_FOR(65536), true);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_stream_count(e.h), 1);
	buf_clear(&e.log);
	frame_large_request(&b, 3, LARGE_FOR(65536) + 1, true);
	frame_large_request(&b, 5, LARGE_FOR(65536) + 1, false);
	frame(&b, DATA, END_STREAM, 5, "x", 1);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "");
	assert_int_equal(h2_stream_count(e.h), 1);
	assert_non_null(find_frame(&e, HEADERS, 3).p);
	assert_null(find_frame(&e, RST_STREAM, 3).p);
	assert_int_equal(u32_at(find_frame(&e, RST_STREAM, 5), 0), H2_NO_ERROR);
	assert_null(find_frame(&e, GOAWAY, 0).p);
	frame_large_request(&b, 7, LARGE_FOR(4 * 65536) + 1, true);
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

static void
large_response_ends_its_stream(void **state)
{
	struct buf b = BUF_INIT, block = BUF_INIT;
	struct end e;

	(void)state;
	client_open(&e);
	/* One entry of 4 KiB and twenty references to it. */
	buf_append(&block, "\x88\x40\x01x\x7f\xc1\x1e", 7);
	for (int i = 0; i < 4032; i++)
		buf_append_u8(&block, 'x');
	for (int i = 0; i < 20; i++)
		buf_append_u8(&block, 0xbe);
	frame(&b, HEADERS, END_HEADERS, 1, buf_data(&block), block.len);
	buf_free(&block);
	expect_stream_error(&e, &b, 1, H2_ENHANCE_YOUR_CALM);
}

static void
hpack_bomb_ends_the_connection(void **state)
{
	struct buf b = BUF_INIT, block = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	buf_append(&block, "\x83\x86\x84\x40\x01x\x7f\xc1\x1e", 9);
	for (int i = 0; i < 4032; i++)
		buf_append_u8(&block, 'x');
	for (int i = 0; i < 10000; i++)
		buf_append_u8(&block, 0xbe);
	frame(&b, HEADERS, END_HEADERS | END_STREAM, 1, buf_data(&block), block.len);
	buf_free(&block);
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

static void
rapid_reset_ends_the_connection(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;
	uint32_t id = 1;

	(void)state;
	server_open(&e);
	for (unsigned i = 0; i < H2_RESETS_BURST; i++, id += 2) {
		frame_request(&b, id, true);
		frame_u32(&b, RST_STREAM, id, H2_CANCEL);
	}
	assert_int_equal(feed(&e, &b), 0);
	/* A second earns some back. */
	e.now_ms = 1000;
	for (unsigned i = 0; i < H2_RESETS_PER_SECOND; i++, id += 2) {
		frame_request(&b, id, true);
		frame_u32(&b, RST_STREAM, id, H2_CANCEL);
	}
	assert_int_equal(feed(&e, &b), 0);
	frame_request(&b, id, true);
	frame_u32(&b, RST_STREAM, id, H2_CANCEL);
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

/* The same with resets that the peer's mistakes draw from us. */
static void
provoked_resets_end_the_connection(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	for (uint32_t i = 0; i <= H2_RESETS_BURST; i++) {
		if (i == H2_RESETS_BURST) {
			assert_int_equal(feed(&e, &b), 0);
			buf_clear(h2_output(e.h));
		}
		frame_request(&b, 2 * i + 1, false);
		frame_u32(&b, WINDOW_UPDATE, 2 * i + 1, 0);
	}
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

static void
resets_of_a_server_are_not_charged(void **state)
{
	static const struct hpack_field f[] = {FIELD(":method", "POST"), FIELD(":scheme", "http"), FIELD(":path", "/")};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	end_open(&e, false);
	greet(&e);
	for (uint32_t i = 0; i < 3 * H2_RESETS_BURST; i++) {
		assert_int_equal(h2_open(e.h, f, 3, true, NULL, NULL), 2 * i + 1);
		frame_u32(&b, RST_STREAM, 2 * i + 1, H2_REFUSED_STREAM);
		assert_int_equal(feed(&e, &b), 0);
	}
	end_free(&e);
}

static void
stream_count_has_a_limit(void **state)
{
	const struct h2_config c = {.is_server = true, .max_concurrent_streams = 10};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	end_open_with(&e, &c);
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE);
	frame(&b, SETTINGS, 0, 0, NULL, 0);
	for (uint32_t i = 0; i < 11; i++)
		frame_request(&b, 2 * i + 1, false);
	frame(&b, DATA, END_STREAM, 21, "late", 4);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_stream_count(e.h), 10);
	assert_int_equal(u32_at(find_frame(&e, RST_STREAM, 21), 0), H2_REFUSED_STREAM);
	frame_u32(&b, RST_STREAM, 1, H2_CANCEL);
	frame_request(&b, 23, false);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_stream_count(e.h), 10);
	assert_null(find_frame(&e, RST_STREAM, 23).p);
	end_free(&e);
}

static void
flood(enum h2_code code, unsigned allowed, void (*add)(struct buf *))
{
	struct buf b = BUF_INIT;
	struct end e;

	server_open(&e);
	frame_request(&b, 1, false);
	assert_int_equal(feed(&e, &b), 0);
	for (unsigned i = 0; i < allowed; i++) {
		add(&b);
		assert_int_equal(feed(&e, &b), 0);
		buf_clear(h2_output(e.h));
	}
	add(&b);
	expect_connection_error(&e, &b, code);
}

static void
add_settings(struct buf *b)
{
	frame(b, SETTINGS, 0, 0, NULL, 0);
}

static void
add_empty_data(struct buf *b)
{
	frame(b, DATA, 0, 1, NULL, 0);
}

static void
add_padded_empty_data(struct buf *b)
{
	frame(b, DATA, PADDED, 1, "\3\0\0\0", 4);
}

static void
add_ping(struct buf *b)
{
	frame(b, PING, 0, 0, zeros, 8);
}

static void
add_priority(struct buf *b)
{
	frame(b, PRIORITY, 0, 1, zeros, 5);
}

static void
add_unknown(struct buf *b)
{
	frame(b, 0xfa, 0, 0, NULL, 0);
}

static void
add_window_update(struct buf *b)
{
	frame_u32(b, WINDOW_UPDATE, 1, 1);
}

static void
add_settings_ack(struct buf *b)
{
	frame(b, SETTINGS, ACK, 0, NULL, 0);
}

static void
floods_end_the_connection(void **state)
{
	(void)state;
	/* One SETTINGS was the greeting. */
	flood(H2_ENHANCE_YOUR_CALM, H2_SETTINGS_BURST - 1, add_settings);
	flood(H2_ENHANCE_YOUR_CALM, H2_EMPTY_FRAMES_BURST, add_empty_data);
	flood(H2_ENHANCE_YOUR_CALM, H2_EMPTY_FRAMES_BURST, add_padded_empty_data);
	flood(H2_ENHANCE_YOUR_CALM, H2_CONTROL_BURST, add_ping);
	flood(H2_ENHANCE_YOUR_CALM, H2_CONTROL_BURST, add_priority);
	flood(H2_ENHANCE_YOUR_CALM, H2_CONTROL_BURST, add_unknown);
	flood(H2_ENHANCE_YOUR_CALM, H2_CONTROL_BURST, add_window_update);
	flood(H2_ENHANCE_YOUR_CALM, H2_CONTROL_BURST, add_settings_ack);
}

static void
empty_header_fragments_are_a_flood_too(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;
	uint32_t id = 1;

	(void)state;
	server_open(&e);
	for (unsigned i = 0; i < H2_EMPTY_FRAMES_BURST; id += 2) {
		frame(&b, HEADERS, 0, id, NULL, 0);
		i++;
		for (unsigned k = 0; k + 1 < H2_CONTINUATIONS_MAX && i < H2_EMPTY_FRAMES_BURST; k++, i++)
			frame(&b, CONTINUATION, 0, id, NULL, 0);
		frame(&b, CONTINUATION, END_HEADERS, id, post_block, 3);
	}
	assert_int_equal(feed(&e, &b), 0);
	frame(&b, HEADERS, 0, id, NULL, 0);
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

static void
too_many_parameters_in_one_settings(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	frame(&b, SETTINGS, 0, 0, zeros, 6 * H2_SETTINGS_PARAMS_MAX);
	assert_int_equal(feed(&e, &b), 0);
	frame(&b, SETTINGS, 0, 0, zeros, 6 * (H2_SETTINGS_PARAMS_MAX + 1));
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

/* PINGs whose answers nobody reads: what waits is bounded. */
static void
answers_that_are_not_read_end_the_connection(void **state)
{
	const struct h2_config c = {.is_server = true, .output_max = 1000};
	struct buf b = BUF_INIT;
	struct end e;
	unsigned fitting = (1000 + H2_BACKLOG_MAX) / 17;

	(void)state;
	end_open_with(&e, &c);
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE);
	frame(&b, SETTINGS, 0, 0, NULL, 0);
	assert_int_equal(feed(&e, &b), 0);
	buf_clear(h2_output(e.h));
	for (unsigned i = 0; i <= fitting; i++)
		add_ping(&b);
	assert_int_equal(feed(&e, &b), 0);
	add_ping(&b);
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

static void
answer_at_once(struct end *e, uint32_t id)
{
	assert_int_equal(h2_send_headers(e->h, id, head, 1, true, NULL), 0);
}

/* The same with requests: each is finished for us, so that the stream limit alone would not end it. */
static void
responses_that_are_not_read_end_the_connection(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;
	int rc = 0;

	(void)state;
	server_open(&e);
	e.on_request = answer_at_once;
	for (uint32_t id = 1; rc == 0 && id < 200001; id += 2) {
		frame_request(&b, id, true);
		rc = feed(&e, &b);
		buf_clear(&e.log);
	}
	assert_int_equal(rc, -1);
	assert_in_range(h2_output(e.h)->len, 128 * 1024 + H2_BACKLOG_MAX, 128 * 1024 + H2_BACKLOG_MAX + 100);
	end_free(&e);
}

static void
informational_responses_are_left_out_and_counted(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	client_open(&e);
	for (unsigned i = 0; i < H2_CONTROL_BURST; i++)
		frame(&b, HEADERS, END_HEADERS, 1, "\x08\x03" "103", 5);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "");
	frame(&b, HEADERS, END_HEADERS, 1, "\x08\x03" "103", 5);
	expect_connection_error(&e, &b, H2_ENHANCE_YOUR_CALM);
}

/* Random frames with plausible heads: whatever happens, no stream is left behind and memory stays clean. */
static void
random_frames_do_no_harm(void **state)
{
	struct buf b = BUF_INIT;
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct end e;

		if (round % 2)
			client_open(&e);
		else
			server_open(&e);
		e.on_request = round % 4 ? NULL : answer_at_once;
		for (int i = 0; i < 20; i++) {
			uint8_t p[40];
			size_t n = (seed = seed * 1664525u + 1013904223u) >> 8 & 0xff;

			for (size_t k = 0; k < sizeof(p); k++)
				p[k] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
			n = n < 100 ? 4 : n % sizeof(p);
			if (p[1] % 2) {
				memcpy(p + 4, post_block, 3);
				frame_request(&b, (p[0] % 8) * 2u + 1, p[2] % 2);
			}
			frame(&b, p[0] % 11, p[2] & 0x2d, p[3] % 8, p + 4, n < 36 ? n : 36);
			if (feed(&e, &b) < 0)
				break;
		}
		if (!h2_is_done(e.h))
			h2_disconnected(e.h);
		assert_int_equal(h2_stream_count(e.h), 0);
		end_free(&e);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_of_a_wrong_length),
		cmocka_unit_test(largest_frames_are_taken),
		cmocka_unit_test(frames_on_the_wrong_stream),
		cmocka_unit_test(idle_streams_take_nothing_but_headers),
		cmocka_unit_test(stream_ids_are_odd_and_rising),
		cmocka_unit_test(frames_after_the_end_of_a_stream),
		cmocka_unit_test(closed_streams_may_still_get_window_updates_and_priority),
		cmocka_unit_test(padding_longer_than_its_frame),
		cmocka_unit_test(bad_settings),
		cmocka_unit_test(unknown_settings_are_ignored),
		cmocka_unit_test(push_is_refused),
		cmocka_unit_test(window_update_of_nothing),
		cmocka_unit_test(interrupted_header_block),
		cmocka_unit_test(bad_start_of_a_connection),
		cmocka_unit_test(broken_header_block_ends_the_connection),
		cmocka_unit_test(continuations_are_counted),
		cmocka_unit_test(header_block_has_a_size),
		cmocka_unit_test(header_list_above_the_limit_is_answered_431),
		cmocka_unit_test(large_response_ends_its_stream),
		cmocka_unit_test(hpack_bomb_ends_the_connection),
		cmocka_unit_test(rapid_reset_ends_the_connection),
		cmocka_unit_test(provoked_resets_end_the_connection),
		cmocka_unit_test(resets_of_a_server_are_not_charged),
		cmocka_unit_test(stream_count_has_a_limit),
		cmocka_unit_test(floods_end_the_connection),
		cmocka_unit_test(empty_header_fragments_are_a_flood_too),
		cmocka_unit_test(too_many_parameters_in_one_settings),
		cmocka_unit_test(answers_that_are_not_read_end_the_connection),
		cmocka_unit_test(responses_that_are_not_read_end_the_connection),
		cmocka_unit_test(informational_responses_are_left_out_and_counted),
		cmocka_unit_test(random_frames_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
