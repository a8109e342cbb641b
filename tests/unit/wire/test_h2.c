/* Two engines back to back, and the worked bytes of real endpoints. */
#include "support/hex.h"
#include "unit/wire/h2_harness.h"

static const struct hpack_field request[] = {
	FIELD(":method", "POST"), FIELD(":scheme", "http"), FIELD(":authority", "localhost"), FIELD(":path", "/s.S/M"),
	FIELD("te", "trailers"),
};
#define REQUEST_TEXT ":method=POST :scheme=http :authority=localhost :path=/s.S/M te=trailers"
static const struct hpack_field head[] = {FIELD(":status", "200"), FIELD("content-type", "application/grpc")};
static const struct hpack_field trailers[] = {FIELD("grpc-status", "0")};

static void
answer_hello(struct end *e, uint32_t id)
{
	assert_int_equal(h2_send_headers(e->h, id, head, 2, false, NULL), 0);
	assert_int_equal(h2_send_data(e->h, id, "hel", 3, false), 3);
	assert_int_equal(h2_send_data(e->h, id, "lo", 2, false), 2);
	assert_int_equal(h2_send_headers(e->h, id, trailers, 1, true, NULL), 0);
}

static int
feed_hex(struct end *e, const char *hex)
{
	struct buf b = BUF_INIT;

	hex_append(&b, hex);
	return feed(e, &b);
}

static void
opening_bytes_are_preface_settings_and_window(void **state)
{
	const struct h2_config client = {.initial_window = 2u << 20, .connection_window = 5242880, .max_header_list = 16384};
	const struct h2_config server = {.is_server = true, .max_frame_size = 262144, .max_header_list = 16384,
		.max_concurrent_streams = 200, .connection_window = 1u << 20};
	struct buf want = BUF_INIT;
	struct end e;

	(void)state;
	end_open_with(&e, &client);
	buf_append(&want, H2_PREFACE, H2_PREFACE_SIZE);
	hex_append(&want, "000018040000000000 000200000000 000400200000 000500004000 000600004000 000004080000000000 004f0001");
	assert_int_equal(h2_output(e.h)->len, want.len);
	assert_memory_equal(buf_data(h2_output(e.h)), buf_data(&want), want.len);
	end_free(&e);
	buf_clear(&want);
	end_open_with(&e, &server);
	hex_append(&want, "000018040000000000 0003000000c8 000400100000 000500040000 000600004000 000004080000000000 000f0001");
	assert_int_equal(h2_output(e.h)->len, want.len);
	assert_memory_equal(buf_data(h2_output(e.h)), buf_data(&want), want.len);
	end_free(&e);
	buf_free(&want);
}

/* wire.md 2.1 and 2.17: what a Rust client sends, and the answer of a Go server. */
static void
worked_health_check_as_server(void **state)
{
	struct end e;

	(void)state;
	end_open(&e, true);
	assert_int_equal(feed_hex(&e, "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a"
		"000018040000000000 000200000000 000400200000 000500004000 000600004000 000004080000000000 004f0001"
		"000068 01 04 00000001 83 86 01 0e 3132372e302e302e313a38303032"
		"04 1c 2f677270632e6865616c74682e76312e4865616c74682f436865636b 00 02 7465 08 747261696c657273"
		"0f10 10 6170706c69636174696f6e2f67727063 00 0c 677270632d74696d656f7574 09 313030303030303075"
		"000005 00 01 00000001 00 00000000"), 0);
	end_line(&e);
	assert_non_null(strstr(buf_cstr(&e.log), "request 1 :method=POST :scheme=http :authority=127.0.0.1:8002 "
		":path=/grpc.health.v1.Health/Check te=trailers content-type=application/grpc grpc-timeout=10000000u\ndata 1 "));
	assert_int_equal(e.body, 5);
	end_free(&e);
}

static void
worked_health_check_as_client(void **state)
{
	static const char *const server_hello[] = {"000006040000000000 000500004000", "000000040000000000",
		"000012040000000000 000400100000 000500040000 000600004000 000004080000000000 000f0001"};
	struct end e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(server_hello); i++) {
		end_open(&e, false);
		assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, NULL, NULL), 1);
		assert_int_equal(feed_hex(&e, server_hello[i]), 0);
		assert_int_equal(feed_hex(&e, "000000040100000000"), 0);
		e.is_quiet = true;
		assert_int_equal(feed_hex(&e, "000014 01 04 00000001 88 0f10 10 6170706c69636174696f6e2f67727063"
			"000007 00 00 00000001 00 00000002 0801 00000f 01 05 00000001 00 0b 677270632d737461747573 01 30"), 0);
		expect_log(&e, "response 1 :status=200 content-type=application/grpc\n"
			"trailers 1 grpc-status=0 end\nclose 1 done NO_ERROR\n");
		assert_int_equal(e.body, 7);
		end_free(&e);
	}
}

static void
worked_trailers_only_error(void **state)
{
	struct end e;

	(void)state;
	client_open(&e);
	assert_int_equal(feed_hex(&e, "00004c 01 05 00000001 88 0f10 10 6170706c69636174696f6e2f67727063"
		"00 0b 677270632d737461747573 01 35 00 0c 677270632d6d657373616765 1a"
		"736572766963652532306e6f7425323072656769737465726564"), 0);
	expect_log(&e, "response 1 :status=200 content-type=application/grpc grpc-status=5 "
		"grpc-message=service%20not%20registered end\n");
	assert_int_equal(h2_send_data(e.h, 1, NULL, 0, true), 0);
	h2_pump(e.h);
	expect_log(&e, "close 1 done NO_ERROR\n");
	end_free(&e);
}

/* One unary call; what both sides see must not depend on how the bytes arrive. */
static void
call_in_steps_of(size_t step)
{
	struct end c, s;

	end_open(&c, false);
	end_open(&s, true);
	s.on_request = NULL;
	assert_int_equal(h2_open(c.h, request, COUNT_OF(request), false, NULL, NULL), 1);
	assert_int_equal(h2_send_data(c.h, 1, "ques", 4, false), 4);
	converse(&c, &s, step);
	assert_int_equal(h2_send_data(c.h, 1, "tion", 4, true), 4);
	converse(&c, &s, step);
	answer_hello(&s, 1);
	converse(&c, &s, step);
	expect_log(&s, "request 1 " REQUEST_TEXT "\ndata 1 question end\nclose 1 done NO_ERROR\n");
	expect_log(&c, "response 1 :status=200 content-type=application/grpc\ndata 1 hello\n"
		"trailers 1 grpc-status=0 end\nclose 1 done NO_ERROR\n");
	assert_int_equal(h2_stream_count(c.h) + h2_stream_count(s.h), 0);
	end_free(&c);
	end_free(&s);
}

static void
bytes_may_come_in_any_pieces(void **state)
{
	(void)state;
	for (size_t step = 1; step < 120; step++)
		call_in_steps_of(step);
	call_in_steps_of(1u << 20);
}

/* Everything a client says in one call and some more, split in two at every place. */
static void
split_at_every_byte_gives_the_same_events(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;
	char *want;

	(void)state;
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE);
	frame_setting(&b, 4, 100000);
	frame(&b, HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, "\x02" "\0\0\0\0\x10" "\x83\x86\x84" "\0\0", 11);
	frame(&b, PRIORITY, 0, 1, "\0\0\0\0\0", 5);
	frame(&b, DATA, PADDED, 1, "\x03" "abc" "\0\0\0", 7);
	frame(&b, 0x20, 0xff, 1, "unknown", 7);
	frame(&b, DATA, 0, 1, "def", 3);
	frame(&b, DATA, PADDED | END_STREAM, 1, "\x02" "g" "\0\0", 4);
	frame(&b, HEADERS, 0, 3, "\x83\x86", 2);
	frame(&b, CONTINUATION, 0, 3, "\x84", 1);
	frame(&b, CONTINUATION, END_HEADERS, 3, "\x40\x01x\x01y", 5);
	frame(&b, DATA, 0, 3, "hij", 3);
	frame(&b, PING, 0, 0, "12345678", 8);
	frame(&b, HEADERS, END_HEADERS | END_STREAM, 3, "\x40\x01t\x01v", 5);
	frame_u32(&b, WINDOW_UPDATE, 0, 77);
	frame(&b, HEADERS, END_HEADERS | END_STREAM, 5, "\x83\x86\x84\xbf\xbe", 5);
	frame_u32(&b, RST_STREAM, 5, H2_CANCEL);
	frame(&b, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0bye", 11);
	want = xstrdup("request 1 :method=POST :scheme=http :path=/\ndata 1 abcdefg end\n"
		"request 3 :method=POST :scheme=http :path=/ x=y\ndata 3 hij\ntrailers 3 t=v end\n"
		"request 5 :method=POST :scheme=http :path=/ x=y t=v end\nclose 5 peer CANCEL\ngoaway 0 NO_ERROR bye\n");
	for (size_t cut = 0; cut <= b.len; cut++) {
		end_open(&e, true);
		assert_int_equal(end_recv(&e, buf_data(&b), cut), 0);
		assert_int_equal(end_recv(&e, buf_data(&b) + cut, b.len - cut), 0);
		expect_log(&e, want);
		end_free(&e);
		/* Cut off for good: nothing but the start of the same, and every stream ends. */
		end_open(&e, true);
		assert_int_equal(end_recv(&e, buf_data(&b), cut), 0);
		h2_disconnected(e.h);
		assert_int_equal(h2_stream_count(e.h), 0);
		end_free(&e);
	}
	free(want);
	buf_free(&b);
}

/* ---- bodies in both directions through small windows, in random pieces ---- */

#define BODY 300000

static size_t sent[64];

static uint8_t
body_byte(uint32_t id, size_t i)
{
	return (uint8_t)(i * 7 + i / 251 + id);
}

static void
send_rest(struct end *e, uint32_t id)
{
	uint8_t part[5000];

	while (sent[id] < BODY) {
		size_t n = BODY - sent[id] < sizeof(part) ? BODY - sent[id] : sizeof(part);
		ssize_t taken;

		for (size_t i = 0; i < n; i++)
			part[i] = body_byte(id, sent[id] + i);
		taken = h2_send_data(e->h, id, part, n, sent[id] + n == BODY);
		assert_true(taken >= 0);
		sent[id] += (size_t)taken;
		if ((size_t)taken < n)
			return;
	}
}

static size_t got[64];

static void
check_data(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end)
{
	struct end *e = ctx;

	(void)user;
	for (size_t i = 0; i < bytes.n; i++)
		assert_int_equal(bytes.p[i], body_byte(id, got[id] + i));
	got[id] += bytes.n;
	if (is_end)
		assert_int_equal(got[id], BODY);
	h2_consumed(e->h, id, bytes.n);
}

static void
bodies_of_many_streams_arrive_whole(void **state)
{
	struct h2_events ev = logging_events;
	struct end c, s;
	uint32_t seed = 7, id;

	(void)state;
	ev.on_data = check_data;
	for (int round = 0; round < 8; round++) {
		const struct h2_config cc = {.initial_window = 65535, .connection_window = 65535,
			.output_max = 1000 + 9000 * (uint32_t)round};
		const struct h2_config sc = {.is_server = true, .initial_window = 70000, .connection_window = 100000,
			.output_max = 30000};

		memset(sent, 0, sizeof(sent));
		memset(got, 0, sizeof(got));
		end_open(&c, false);
		end_open(&s, true);
		h2_free(s.h);
		s.h = h2_new(&sc, &ev, &s);
		h2_free(c.h);
		c.h = h2_new(&cc, &ev, &c);
		c.on_writable = send_rest;
		for (int i = 0; i < 20; i++) {
			id = h2_open(c.h, request, COUNT_OF(request), false, NULL, NULL);
			send_rest(&c, id);
		}
		for (;;) {
			bool moved = move(&c, &s, 1 + (seed = seed * 1664525u + 1013904223u) % 20000);

			if (!move(&s, &c, 1 + (seed >> 8) % 50) && !moved)
				break;
		}
		for (id = 1; id < 40; id += 2) {
			assert_int_equal(got[id], BODY);
			assert_int_equal(h2_send_headers(s.h, id, head, 2, true, NULL), 0);
		}
		converse(&s, &c, 1u << 20);
		assert_int_equal(h2_stream_count(c.h) + h2_stream_count(s.h), 0);
		end_free(&c);
		end_free(&s);
	}
}

/* ---- life of streams ---- */

static void
user_pointer_stays_with_its_stream(void **state)
{
	int mine;
	struct end e;

	(void)state;
	end_open(&e, false);
	assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, &mine, NULL), 1);
	assert_ptr_equal(h2_stream_get(e.h, 1), &mine);
	h2_stream_set(e.h, 1, NULL);
	assert_null(h2_stream_get(e.h, 1));
	h2_reset(e.h, 1, H2_CANCEL);
	assert_null(h2_stream_get(e.h, 1));
	h2_pump(e.h);
	expect_log(&e, "");
	end_free(&e);
}

static void
calls_on_unknown_streams_do_nothing(void **state)
{
	struct err err;
	struct end e;

	(void)state;
	server_open(&e);
	assert_int_equal(h2_send_data(e.h, 1, "x", 1, true), -1);
	assert_int_equal(h2_send_headers(e.h, 1, head, 2, true, &err), -1);
	assert_int_equal(err.code, ERR_FAILED_PRECONDITION);
	h2_consumed(e.h, 1, 10);
	h2_reset(e.h, 1, H2_CANCEL);
	h2_stream_set(e.h, 1, &e);
	assert_int_equal(h2_data_room(e.h, 1), 0);
	assert_int_equal(h2_output(e.h)->len, 0);
	end_free(&e);
}

static void
server_that_ends_first_stops_the_client(void **state)
{
	struct buf b = BUF_INIT;
	struct end c, s;

	(void)state;
	end_open(&c, false);
	end_open(&s, true);
	h2_open(c.h, request, COUNT_OF(request), false, NULL, NULL);
	converse(&c, &s, 4096);
	answer_hello(&s, 1);
	/* The client is still sending when the answer is on its way. */
	assert_int_equal(h2_send_data(c.h, 1, "more", 4, false), 4);
	converse(&c, &s, 4096);
	expect_log(&c, "response 1 :status=200 content-type=application/grpc\ndata 1 hello\n"
		"trailers 1 grpc-status=0 end\nclose 1 done NO_ERROR\n");
	expect_log(&s, "request 1 " REQUEST_TEXT "\nclose 1 done NO_ERROR\n");
	assert_int_equal(h2_send_data(c.h, 1, "more", 4, false), -1);
	/* Late frames of the client are dropped without harm. */
	frame(&b, DATA, 0, 1, "late", 4);
	frame(&b, HEADERS, END_HEADERS | END_STREAM, 1, "\x40\x01t\x01v", 5);
	frame_u32(&b, WINDOW_UPDATE, 1, 5);
	frame_u32(&b, RST_STREAM, 1, H2_CANCEL);
	assert_int_equal(feed(&s, &b), 0);
	expect_log(&s, "");
	end_free(&c);
	end_free(&s);
}

static void
reset_reaches_the_other_side(void **state)
{
	struct end c, s;

	(void)state;
	end_open(&c, false);
	end_open(&s, true);
	h2_open(c.h, request, COUNT_OF(request), false, NULL, NULL);
	converse(&c, &s, 4096);
	h2_reset(c.h, 1, H2_CANCEL);
	converse(&c, &s, 4096);
	expect_log(&s, "request 1 " REQUEST_TEXT "\nclose 1 peer CANCEL\n");
	expect_log(&c, "");
	end_free(&c);
	end_free(&s);
}

static void
reset_of_a_stream_that_just_ended_silences_it(void **state)
{
	struct end e;
	struct buf b = BUF_INIT;

	(void)state;
	server_open(&e);
	frame_request(&b, 1, true);
	assert_int_equal(feed(&e, &b), 0);
	answer_hello(&e, 1);
	h2_reset(e.h, 1, H2_CANCEL);
	h2_pump(e.h);
	expect_log(&e, "request 1 :method=POST :scheme=http :path=/ end\n");
	end_free(&e);
}

static void
client_waits_for_a_free_stream(void **state)
{
	struct buf b = BUF_INIT;
	struct err err;
	struct end e;

	(void)state;
	end_open(&e, false);
	for (uint32_t i = 0; i < H2_STREAMS_BEFORE_SETTINGS; i++)
		assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, NULL, &err), 2 * i + 1);
	assert_false(h2_can_open(e.h));
	assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, NULL, &err), 0);
	assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
	frame_setting(&b, 3, 101);
	assert_int_equal(feed(&e, &b), 0);
	assert_true(h2_can_open(e.h));
	assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, NULL, &err), 201);
	assert_false(h2_can_open(e.h));
	end_free(&e);
}

static void
header_list_above_the_peers_limit_is_not_sent(void **state)
{
	struct buf b = BUF_INIT;
	struct err err;
	struct end e;
	size_t size = hpack_list_size(request, COUNT_OF(request));

	(void)state;
	end_open(&e, false);
	frame_setting(&b, 6, (uint32_t)size - 1);
	assert_int_equal(feed(&e, &b), 0);
	buf_clear(h2_output(e.h));
	assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, NULL, &err), 0);
	assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
	assert_int_equal(h2_output(e.h)->len, 0);
	frame_setting(&b, 6, (uint32_t)size);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, NULL, &err), 1);
	end_free(&e);
}

static void
large_header_block_is_sent_in_continuations(void **state)
{
	struct hpack_field f[6];
	struct end c, s;
	char *big = xmalloc(40000);

	(void)state;
	/* '!' has a code of 10 bits, so that it stays as it is. */
	memset(big, '!', 40000);
	memcpy(f, request, sizeof(request));
	f[5] = (struct hpack_field){slice_str("big"), slice_make(big, 40000), false};
	end_open(&c, false);
	end_open(&s, true);
	s.is_quiet = true;
	assert_int_equal(h2_open(c.h, f, 6, true, NULL, NULL), 1);
	assert_int_equal(find_frame(&c, HEADERS, 1).n, 16384);
	assert_int_equal(find_frame(&c, CONTINUATION, 1).n, 16384);
	converse(&c, &s, 1000);
	end_line(&s);
	assert_true(s.log.len > 40000);
	free(big);
	end_free(&c);
	end_free(&s);
}

/* ---- PING, GOAWAY, shutdown ---- */

static void
ping_is_answered(void **state)
{
	struct end c, s;

	(void)state;
	end_open(&c, false);
	end_open(&s, true);
	h2_ping(c.h, (const uint8_t *)"payload1");
	converse(&c, &s, 4096);
	expect_log(&c, "ping payload1\n");
	end_free(&c);
	end_free(&s);
}

static void
server_shutdown_loses_no_request(void **state)
{
	struct err err;
	struct end c, s;

	(void)state;
	end_open(&c, false);
	end_open(&s, true);
	converse(&c, &s, 4096);
	h2_shutdown(s.h);
	/* Sent before the client knew. */
	h2_open(c.h, request, COUNT_OF(request), true, NULL, NULL);
	converse(&c, &s, 4096);
	expect_log(&c, "goaway 2147483647 NO_ERROR \ngoaway 1 NO_ERROR \n");
	assert_int_equal(h2_open(c.h, request, COUNT_OF(request), true, NULL, &err), 0);
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	assert_true(h2_is_ending(c.h));
	assert_false(h2_is_done(c.h));
	assert_false(h2_is_done(s.h));
	answer_hello(&s, 1);
	converse(&s, &c, 4096);
	expect_log(&c, "response 1 :status=200 content-type=application/grpc\ndata 1 hello\n"
		"trailers 1 grpc-status=0 end\nclose 1 done NO_ERROR\n");
	assert_true(h2_is_done(c.h));
	assert_true(h2_is_done(s.h));
	end_free(&c);
	end_free(&s);
}

static void
second_shutdown_does_not_wait_for_the_ping(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_open(&e);
	frame_request(&b, 1, true);
	assert_int_equal(feed(&e, &b), 0);
	h2_shutdown(e.h);
	assert_int_equal(u32_at(find_frame(&e, GOAWAY, 0), 0), H2_STREAM_ID_MAX);
	buf_clear(h2_output(e.h));
	h2_shutdown(e.h);
	assert_int_equal(u32_at(find_frame(&e, GOAWAY, 0), 0), 1);
	frame_request(&b, 3, true);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(u32_at(find_frame(&e, RST_STREAM, 3), 0), H2_REFUSED_STREAM);
	end_free(&e);
}

static void
goaway_gives_back_what_was_not_processed(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	client_open(&e);
	for (int i = 0; i < 2; i++)
		h2_open(e.h, request, COUNT_OF(request), true, NULL, NULL);
	frame(&b, GOAWAY, 0, 0, "\0\0\0\x03\0\0\0\x0b" "too_many_pings", 22);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "goaway 3 ENHANCE_YOUR_CALM too_many_pings\nclose 5 unprocessed ENHANCE_YOUR_CALM\n");
	assert_int_equal(h2_stream_count(e.h), 2);
	/* A peer that looked at it all the same does no harm. */
	frame(&b, HEADERS, END_HEADERS, 5, ok_block, 1);
	frame(&b, DATA, END_STREAM, 5, "x", 1);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "");
	end_free(&e);
}

static void
late_frames_of_long_reset_streams_do_no_harm(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	client_open(&e);
	h2_reset(e.h, 1, H2_CANCEL);
	for (uint32_t i = 0; i < 3 * H2_RESET_MEMORY; i++)
		h2_reset(e.h, h2_open(e.h, request, COUNT_OF(request), false, NULL, NULL), H2_CANCEL);
	for (uint32_t i = 0; i <= 3 * H2_RESET_MEMORY; i++) {
		frame(&b, HEADERS, END_HEADERS, 2 * i + 1, ok_block, 1);
		frame(&b, DATA, END_STREAM, 2 * i + 1, "x", 1);
	}
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "");
	end_free(&e);
}

static void
long_goaway_text_is_cut(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;
	char payload[8 + 5000] = {0};

	(void)state;
	client_open(&e);
	memset(payload + 8, 'z', 5000);
	frame(&b, GOAWAY, 0, 0, payload, sizeof(payload));
	frame(&b, PING, 0, 0, "after it", 8);
	assert_int_equal(feed(&e, &b), 0);
	assert_memory_equal(find_frame(&e, PING, 0).p, "after it", 8);
	end_line(&e);
	assert_int_equal(strchr(buf_cstr(&e.log), '\n') - strchr(buf_cstr(&e.log), 'z'), H2_GOAWAY_DEBUG_MAX);
	end_free(&e);
}

static void
disconnect_ends_every_stream(void **state)
{
	struct err err;
	struct end e;

	(void)state;
	client_open(&e);
	h2_disconnected(e.h);
	expect_log(&e, "close 1 connection NO_ERROR\n");
	assert_true(h2_is_done(e.h));
	assert_int_equal(h2_recv(e.h, (const uint8_t *)"x", 1, 0, &err), -1);
	assert_int_equal(h2_open(e.h, request, COUNT_OF(request), true, NULL, &err), 0);
	end_free(&e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening_bytes_are_preface_settings_and_window),
		cmocka_unit_test(worked_health_check_as_server),
		cmocka_unit_test(worked_health_check_as_client),
		cmocka_unit_test(worked_trailers_only_error),
		cmocka_unit_test(bytes_may_come_in_any_pieces),
		cmocka_unit_test(split_at_every_byte_gives_the_same_events),
		cmocka_unit_test(bodies_of_many_streams_arrive_whole),
		cmocka_unit_test(user_pointer_stays_with_its_stream),
		cmocka_unit_test(calls_on_unknown_streams_do_nothing),
		cmocka_unit_test(server_that_ends_first_stops_the_client),
		cmocka_unit_test(reset_reaches_the_other_side),
		cmocka_unit_test(reset_of_a_stream_that_just_ended_silences_it),
		cmocka_unit_test(client_waits_for_a_free_stream),
		cmocka_unit_test(header_list_above_the_peers_limit_is_not_sent),
		cmocka_unit_test(large_header_block_is_sent_in_continuations),
		cmocka_unit_test(ping_is_answered),
		cmocka_unit_test(server_shutdown_loses_no_request),
		cmocka_unit_test(second_shutdown_does_not_wait_for_the_ping),
		cmocka_unit_test(goaway_gives_back_what_was_not_processed),
		cmocka_unit_test(late_frames_of_long_reset_streams_do_no_harm),
		cmocka_unit_test(long_goaway_text_is_cut),
		cmocka_unit_test(disconnect_ends_every_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
