/* Flow control in both directions, turns of streams, and the shape of DATA frames. */
#include "unit/wire/h2_harness.h"

static const struct hpack_field head[] = {FIELD(":status", "200")};

/* A server with requests 1, 3, ... open, response heads sent, output empty. */
static void
server_with_streams(struct end *e, const struct h2_config *c, uint32_t n)
{
	struct buf b = BUF_INIT;

	end_open_with(e, c);
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE);
	frame(&b, SETTINGS, 0, 0, NULL, 0);
	for (uint32_t i = 0; i < n; i++)
		frame_request(&b, 2 * i + 1, false);
	assert_int_equal(feed(e, &b), 0);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(h2_send_headers(e->h, 2 * i + 1, head, 1, false, NULL), 0);
	buf_clear(h2_output(e->h));
	buf_clear(&e->log);
}

static const struct h2_config roomy = {.is_server = true, .output_max = 1u << 20};
static uint8_t zeros[200000];

static ssize_t
send_zeros(struct end *e, uint32_t id, size_t n)
{
	return h2_send_data(e->h, id, zeros, n, false);
}

static void
note_writable(struct end *e, uint32_t id)
{
	end_line(e);
	buf_printf(&e->log, "writable %u\n", id);
}

/* ---- sending ---- */

static void
sending_stops_at_the_stream_window(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &roomy, 2);
	e.on_writable = note_writable;
	frame_u32(&b, WINDOW_UPDATE, 0, 1000000);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_data_room(e.h, 1), 65535);
	assert_int_equal(send_zeros(&e, 1, 65534), 65534);
	assert_int_equal(send_zeros(&e, 1, 2), 1);
	assert_int_equal(send_zeros(&e, 1, 1), 0);
	assert_int_equal(h2_data_room(e.h, 1), 0);
	buf_clear(h2_output(e.h));
	h2_pump(e.h);
	expect_log(&e, "");
	/* The other stream is not held up. */
	assert_int_equal(send_zeros(&e, 3, 10), 10);
	frame_u32(&b, WINDOW_UPDATE, 1, 5);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "writable 1\n");
	assert_int_equal(send_zeros(&e, 1, 9), 5);
	end_free(&e);
}

static void
sending_stops_at_the_connection_window(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &roomy, 2);
	e.on_writable = note_writable;
	assert_int_equal(send_zeros(&e, 1, 60000), 60000);
	assert_int_equal(send_zeros(&e, 3, 60000), 5535);
	assert_int_equal(send_zeros(&e, 1, 10), 0);
	/* The end needs no window. */
	frame_u32(&b, WINDOW_UPDATE, 0, 1);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "writable 3\nwritable 1\n");
	assert_int_equal(send_zeros(&e, 1, 10), 1);
	assert_int_equal(h2_send_data(e.h, 3, NULL, 0, true), 0);
	end_free(&e);
}

static void
smaller_initial_window_makes_windows_negative(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &roomy, 1);
	e.on_writable = note_writable;
	assert_int_equal(send_zeros(&e, 1, 50000), 50000);
	frame_setting(&b, 4, 10000);
	assert_int_equal(feed(&e, &b), 0);
	/* 15535 - 55535 = -40000 */
	assert_int_equal(h2_data_room(e.h, 1), 0);
	assert_int_equal(send_zeros(&e, 1, 10), 0);
	frame_u32(&b, WINDOW_UPDATE, 1, 40000);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "");
	frame_u32(&b, WINDOW_UPDATE, 1, 3);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "writable 1\n");
	assert_int_equal(send_zeros(&e, 1, 10), 3);
	/* And a larger one opens them. */
	frame_setting(&b, 4, 10004);
	assert_int_equal(feed(&e, &b), 0);
	expect_log(&e, "writable 1\n");
	assert_int_equal(send_zeros(&e, 1, 10), 4);
	end_free(&e);
}

static void
window_may_reach_its_maximum_and_no_more(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &roomy, 1);
	frame_u32(&b, WINDOW_UPDATE, 1, H2_WINDOW_MAX - 65535);
	frame_u32(&b, WINDOW_UPDATE, 0, H2_WINDOW_MAX - 65535);
	assert_int_equal(feed(&e, &b), 0);
	frame_u32(&b, WINDOW_UPDATE, 1, 1);
	expect_stream_error(&e, &b, 1, H2_FLOW_CONTROL_ERROR);

	server_with_streams(&e, &roomy, 1);
	frame_u32(&b, WINDOW_UPDATE, 0, H2_WINDOW_MAX - 65535);
	frame_u32(&b, WINDOW_UPDATE, 0, 1);
	expect_connection_error(&e, &b, H2_FLOW_CONTROL_ERROR);

	server_with_streams(&e, &roomy, 1);
	frame_u32(&b, WINDOW_UPDATE, 1, 1);
	frame_setting(&b, 4, H2_WINDOW_MAX);
	expect_connection_error(&e, &b, H2_FLOW_CONTROL_ERROR);

	server_with_streams(&e, &roomy, 1);
	frame_setting(&b, 4, H2_WINDOW_MAX);
	assert_int_equal(feed(&e, &b), 0);
	end_free(&e);
}

static void
output_has_a_limit(void **state)
{
	const struct h2_config c = {.is_server = true, .output_max = 1000};
	struct end e;

	(void)state;
	server_with_streams(&e, &c, 2);
	e.on_writable = note_writable;
	assert_int_equal(send_zeros(&e, 1, 5000), 1000);
	assert_int_equal(send_zeros(&e, 3, 10), 0);
	h2_pump(e.h);
	expect_log(&e, "");
	buf_consume(h2_output(e.h), 500);
	h2_pump(e.h);
	expect_log(&e, "writable 1\nwritable 3\n");
	end_free(&e);
}

static size_t sent_of[8];

static void
send_bulk(struct end *e, uint32_t id)
{
	ssize_t n;

	do {
		n = h2_send_data(e->h, id, zeros, 100000, false);
		assert_true(n >= 0);
		sent_of[id] += (size_t)n;
	} while (n == 100000);
}

static void
waiting_streams_take_turns(void **state)
{
	const struct h2_config c = {.is_server = true, .output_max = 64 * 1024};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	memset(sent_of, 0, sizeof(sent_of));
	server_with_streams(&e, &c, 3);
	e.on_writable = send_bulk;
	frame_setting(&b, 4, 10000000);
	frame_u32(&b, WINDOW_UPDATE, 0, 100000000);
	assert_int_equal(feed(&e, &b), 0);
	send_bulk(&e, 1);
	send_bulk(&e, 3);
	send_bulk(&e, 5);
	for (int i = 0; i < 300; i++) {
		buf_clear(h2_output(e.h));
		h2_pump(e.h);
	}
	for (uint32_t id = 1; id <= 5; id += 2)
		assert_in_range(sent_of[id], 6000000, 7000000);
	end_free(&e);
}

static void
turn_is_short_while_others_wait(void **state)
{
	const struct h2_config c = {.is_server = true, .output_max = 60000};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &c, 2);
	frame_u32(&b, WINDOW_UPDATE, 0, 1000000);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(send_zeros(&e, 1, 65535), 60000);
	buf_clear(h2_output(e.h));
	/* There is room again. Stream 1 has it when it is called; stream 3 may take one turn's worth before. */
	assert_int_equal(h2_data_room(e.h, 1), 0);
	assert_int_equal(send_zeros(&e, 1, 1), 0);
	assert_int_equal(send_zeros(&e, 3, 10000), 10000);
	assert_int_equal(h2_data_room(e.h, 3), H2_TURN_BYTES - 10000);
	assert_int_equal(send_zeros(&e, 3, 10000), H2_TURN_BYTES - 10000);
	end_free(&e);
}

static void
streams_that_end_while_waiting_are_not_called(void **state)
{
	const struct h2_config c = {.is_server = true, .output_max = 1000};
	static const struct hpack_field f[] = {FIELD("x", "y")};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &c, 3);
	e.on_writable = note_writable;
	for (uint32_t id = 1; id <= 5; id += 2)
		send_zeros(&e, id, 2000);
	h2_reset(e.h, 1, H2_CANCEL);
	frame_u32(&b, RST_STREAM, 3, H2_CANCEL);
	assert_int_equal(feed(&e, &b), 0);
	buf_clear(h2_output(e.h));
	h2_pump(e.h);
	expect_log(&e, "close 3 peer CANCEL\nwritable 5\n");
	end_free(&e);
	/* A client that ends its side by trailers with bytes unsent. */
	client_open(&e);
	e.on_writable = note_writable;
	send_zeros(&e, 1, 200000);
	assert_int_equal(h2_send_headers(e.h, 1, f, 1, true, NULL), 0);
	frame_u32(&b, WINDOW_UPDATE, 1, 1000);
	frame_u32(&b, WINDOW_UPDATE, 0, 1000);
	assert_int_equal(feed(&e, &b), 0);
	buf_clear(h2_output(e.h));
	h2_pump(e.h);
	expect_log(&e, "");
	end_free(&e);
}

static void
small_call_passes_bulk(void **state)
{
	const struct h2_config c = {.is_server = true, .output_max = 64 * 1024};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	memset(sent_of, 0, sizeof(sent_of));
	server_with_streams(&e, &c, 2);
	e.on_writable = send_bulk;
	frame_setting(&b, 4, 10000000);
	frame_u32(&b, WINDOW_UPDATE, 0, 100000000);
	assert_int_equal(feed(&e, &b), 0);
	send_bulk(&e, 1);
	buf_consume(h2_output(e.h), 100);
	/* Room of a hundred bytes is enough: the bulk stream waits for its own turn. */
	assert_int_equal(h2_send_data(e.h, 3, "small", 5, true), 5);
	end_free(&e);
}

static void
frames_follow_the_peers_size(void **state)
{
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &roomy, 1);
	assert_int_equal(send_zeros(&e, 1, 20000), 20000);
	assert_int_equal(find_frame(&e, DATA, 1).n, 16384);
	buf_clear(h2_output(e.h));
	frame_setting(&b, 5, 20001);
	assert_int_equal(feed(&e, &b), 0);
	buf_clear(h2_output(e.h));
	assert_int_equal(send_zeros(&e, 1, 30000), 30000);
	assert_int_equal(find_frame(&e, DATA, 1).n, 20001);
	end_free(&e);
}

static void
small_parts_share_a_frame_with_the_end(void **state)
{
	struct end e;

	(void)state;
	server_with_streams(&e, &roomy, 2);
	assert_int_equal(h2_send_data(e.h, 1, "one", 3, false), 3);
	assert_int_equal(h2_send_data(e.h, 1, "two", 3, false), 3);
	assert_int_equal(h2_send_data(e.h, 1, NULL, 0, true), 0);
	/* DATA with END_STREAM, then the RST_STREAM that stops the client. */
	assert_int_equal(h2_output(e.h)->len, 9 + 6 + 9 + 4);
	assert_memory_equal(buf_data(h2_output(e.h)), "\0\0\6\0\1\0\0\0\1onetwo", 15);
	buf_clear(h2_output(e.h));
	/* A frame whose start is on its way is left alone. */
	assert_int_equal(h2_send_data(e.h, 3, "one", 3, false), 3);
	buf_consume(h2_output(e.h), 1);
	assert_int_equal(h2_send_data(e.h, 3, "two", 3, true), 3);
	assert_memory_equal(buf_data(h2_output(e.h)), "\0\3\0\0\0\0\0\3one\0\0\3\0\1\0\0\0\3two", 23);
	end_free(&e);
}

/* ---- receiving ---- */

static void
window_opens_only_by_consuming(void **state)
{
	const struct h2_config c = {.is_server = true, .initial_window = 100000, .connection_window = 1000000};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &c, 1);
	e.keeps_data = e.is_quiet = true;
	for (int i = 0; i < 10; i++)
		frame(&b, DATA, 0, 1, zeros, 10000);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_output(e.h)->len, 0);
	h2_consumed(e.h, 1, 49999);
	assert_int_equal(h2_output(e.h)->len, 0);
	h2_consumed(e.h, 1, 1);
	assert_int_equal(u32_at(find_frame(&e, WINDOW_UPDATE, 1), 0), 50000);
	/* Consuming more than was received gives nothing. */
	buf_clear(h2_output(e.h));
	h2_consumed(e.h, 1, 1000000);
	assert_int_equal(u32_at(find_frame(&e, WINDOW_UPDATE, 1), 0), 50000);
	for (int i = 0; i < 10; i++)
		frame(&b, DATA, 0, 1, zeros, 10000);
	assert_int_equal(feed(&e, &b), 0);
	frame(&b, DATA, 0, 1, zeros, 1);
	expect_stream_error(&e, &b, 1, H2_FLOW_CONTROL_ERROR);
}

static void
connection_window_stays_open_beside_a_slow_stream(void **state)
{
	const struct h2_config c = {.is_server = true, .initial_window = 1000000, .connection_window = 65535, .unconsumed_max = 200000};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &c, 2);
	e.keeps_data = e.is_quiet = true;
	for (int i = 0; i < 20; i++)
		frame(&b, DATA, 0, 1, zeros, 10000);
	assert_int_equal(feed(&e, &b), 0);
	assert_non_null(find_frame(&e, WINDOW_UPDATE, 0).p);
	buf_clear(h2_output(e.h));
	/* Too much is held by now: the connection shuts, until it is consumed or the stream ends. */
	for (int i = 0; i < 4; i++)
		frame(&b, DATA, 0, 3, zeros, 10000);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(h2_output(e.h)->len, 0);
	h2_reset(e.h, 1, H2_CANCEL);
	assert_true(u32_at(find_frame(&e, WINDOW_UPDATE, 0), 0) >= 32767);
	end_free(&e);
}

static void
data_above_the_connection_window_ends_it(void **state)
{
	const struct h2_config c = {.is_server = true, .initial_window = 1000000, .connection_window = 65535, .unconsumed_max = 1};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &c, 1);
	e.keeps_data = e.is_quiet = true;
	for (int i = 0; i < 4; i++)
		frame(&b, DATA, 0, 1, zeros, 16383);
	frame(&b, DATA, 0, 1, zeros, 3);
	assert_int_equal(feed(&e, &b), 0);
	frame(&b, DATA, 0, 1, zeros, 1);
	expect_connection_error(&e, &b, H2_FLOW_CONTROL_ERROR);
}

static void
padding_is_given_back(void **state)
{
	const struct h2_config c = {.is_server = true, .initial_window = 65535, .connection_window = 65535};
	struct buf b = BUF_INIT;
	struct end e;
	uint8_t padded[257] = {255, 'x'};

	(void)state;
	server_with_streams(&e, &c, 1);
	e.is_quiet = true;
	/* Far more than the windows, in frames that are nearly all padding. */
	for (int i = 0; i < 2000; i++) {
		frame(&b, DATA, PADDED, 1, padded, sizeof(padded));
		assert_int_equal(feed(&e, &b), 0);
	}
	assert_int_equal(e.body, 2000);
	/* And the byte that says how much there is, were there none. */
	for (int i = 0; i < 140000; i++) {
		frame(&b, DATA, PADDED, 1, "\0x", 2);
		assert_int_equal(feed(&e, &b), 0);
		buf_clear(h2_output(e.h));
	}
	end_free(&e);
}

static void
late_data_of_a_reset_stream_still_counts_for_the_connection(void **state)
{
	const struct h2_config c = {.is_server = true, .initial_window = 65535, .connection_window = 65535};
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	server_with_streams(&e, &c, 1);
	h2_reset(e.h, 1, H2_CANCEL);
	buf_clear(h2_output(e.h));
	for (int i = 0; i < 4; i++)
		frame(&b, DATA, 0, 1, zeros, 10000);
	assert_int_equal(feed(&e, &b), 0);
	assert_int_equal(u32_at(find_frame(&e, WINDOW_UPDATE, 0), 0), 40000);
	assert_int_equal(e.body, 0);
	end_free(&e);
}

static void
reset_in_data(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end)
{
	struct end *e = ctx;

	(void)user;
	(void)is_end;
	e->body += bytes.n;
	h2_reset(e->h, id, H2_CANCEL);
}

static void
reset_from_inside_an_event_is_safe(void **state)
{
	struct h2_events ev = logging_events;
	struct buf b = BUF_INIT;
	struct end e;

	(void)state;
	ev.on_data = reset_in_data;
	end_open(&e, true);
	h2_free(e.h);
	e.h = h2_new(&roomy, &ev, &e);
	buf_append(&b, H2_PREFACE, H2_PREFACE_SIZE);
	frame(&b, SETTINGS, 0, 0, NULL, 0);
	frame_request(&b, 1, false);
	frame(&b, DATA, PADDED | END_STREAM, 1, "\x01" "abc" "\0", 5);
	assert_int_equal(end_recv(&e, buf_data(&b), b.len - 2), 0);
	assert_int_equal(end_recv(&e, buf_data(&b) + b.len - 2, 2), 0);
	assert_int_equal(e.body, 2);
	assert_int_equal(h2_stream_count(e.h), 0);
	buf_free(&b);
	end_free(&e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sending_stops_at_the_stream_window),
		cmocka_unit_test(sending_stops_at_the_connection_window),
		cmocka_unit_test(smaller_initial_window_makes_windows_negative),
		cmocka_unit_test(window_may_reach_its_maximum_and_no_more),
		cmocka_unit_test(output_has_a_limit),
		cmocka_unit_test(waiting_streams_take_turns),
		cmocka_unit_test(turn_is_short_while_others_wait),
		cmocka_unit_test(streams_that_end_while_waiting_are_not_called),
		cmocka_unit_test(small_call_passes_bulk),
		cmocka_unit_test(frames_follow_the_peers_size),
		cmocka_unit_test(small_parts_share_a_frame_with_the_end),
		cmocka_unit_test(window_opens_only_by_consuming),
		cmocka_unit_test(connection_window_stays_open_beside_a_slow_stream),
		cmocka_unit_test(data_above_the_connection_window_ends_it),
		cmocka_unit_test(padding_is_given_back),
		cmocka_unit_test(late_data_of_a_reset_stream_still_counts_for_the_connection),
		cmocka_unit_test(reset_from_inside_an_event_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
