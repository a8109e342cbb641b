/*
 * Who is slow, silent, gone or one too many, and what the server does then.
 */
#include "http_server_world.h"

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
silent_bodies_end_the_exchange(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd;

	w->opts.body_ms = 50;
	start(w);
	fd = dial(w);
	say_text(w, fd, "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345");
	hear(w, fd, &in, NULL);
	assert_true(w->gone);
	assert_false(w->upload_done);
	assert_int_equal(w->upload.len, 5);
	assert_int_equal(in.len, 0);
	assert_int_equal(http_server_conn_count(w->server), 0);
	close(fd);
	buf_free(&in);
}

static void
readers_that_take_nothing_are_cut_off(void **state)
{
	struct world *w = *state;
	int64_t end = clock_mono_ms() + WAIT_MS;
	int fd;

	w->opts.send_ms = 50;
	start(w);
	fd = dial(w);
	say_text(w, fd, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
	while (!w->gone && clock_mono_ms() < end)
		loop_turn(w->loop, 5);
	assert_true(w->gone);
	assert_true(w->big_left > 0);
	assert_int_equal(http_server_conn_count(w->server), 0);
	close(fd);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(slow_reader_slows_what_came_with_the_head),
		T(slow_heads_are_408_and_idle_ones_closed),
		T(slow_reader_slows_the_handler),
		T(slow_reader_slows_chunks_too),
		T(client_that_leaves_is_noticed),
		T(too_few_bytes_cut_the_connection),
		T(one_connection_too_many_is_closed),
		T(shutdown_waits_for_what_runs),
		T(silent_bodies_end_the_exchange),
		T(readers_that_take_nothing_are_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
