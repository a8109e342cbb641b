#include "harness.h"

static void
range_is_delivered_exactly(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/64M/9", 4194304, 4194304);
	struct result r = {0};

	q.validators.has_length = true;
	q.validators.length = 64 << 20;
	q.validators.etag = "\"gen-67108864-9\"";
	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_int_equal(r.status, 206);
	assert_int_equal(r.length, 4194304);
	expect_content(&r, 9, 4194304, 4194304);
	assert_string_equal(seen(w, 0, "range"), "bytes=4194304-8388607");
	assert_string_equal(seen(w, 0, "if-range"), "\"gen-67108864-9\"");
	result_free(&r);
}

static void
whole_content_with_and_without_a_length(void **state)
{
	static const char *const paths[] = {"/gen/3M/9", "/gen/3M/9?chunked", "/gen/3M/9?nolength", "/gen/0/9", "/gen/0/9?chunked", "/gen/1/9"};
	static const size_t sizes[] = {3 << 20, 3 << 20, 3 << 20, 0, 0, 1};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		struct source_request q = request(w, paths[i]);
		struct result r = {0};

		run(w, &q, true, &r);
		assert_false(r.failed);
		assert_int_equal(r.responses, 1);
		expect_content(&r, 9, 0, sizes[i]);
		result_free(&r);
	}
}

static void
wrong_range_answers_are_refused(void **state)
{
	static const struct {
		const char *answer, *text;
	} cases[] = {
		{"HTTP/1.1 206 P\r\nContent-Range: bytes 0-19/100\r\nContent-Length: 20\r\n\r\n01234567890123456789",
		    "backend error: Content-Range bytes 0-19/100 mismatches requested range bytes=10-29"},
		{"HTTP/1.1 206 P\r\nContent-Length: 20\r\n\r\n01234567890123456789", "backend error: missing Content-Range for range bytes=10-29"},
		{"HTTP/1.1 206 P\r\nContent-Range: items 10-29/100\r\nContent-Length: 0\r\n\r\n", "backend error: invalid Content-Range items 10-29/100"},
		{"HTTP/1.1 206 P\r\nContent-Range: bytes 10/100\r\nContent-Length: 0\r\n\r\n", "backend error: invalid Content-Range bytes 10/100"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nxx",
		    "backend error: expected 206 Partial Content for range bytes=10-29, got 200 OK"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct origin_answer a = {.bytes = cases[i].answer};
		struct source_request q;
		struct result r = {0};
		char path[16];

		snprintf(path, sizeof(path), "/s%zu", i);
		q = range_request(w, path, 10, 20);
		origin_script(w->origin, path, &a, 1);
		run(w, &q, true, &r);
		assert_true(r.failed && r.is_backend);
		assert_int_equal(r.failure, SOURCE_RANGE_MISMATCH);
		assert_string_equal(r.error, cases[i].text);
		assert_int_equal(r.status, 502);
		assert_int_equal(r.body.len, 0);
		result_free(&r);
	}
}

static void
whole_answer_to_the_first_piece_is_cut(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/1M/9?norange&noetag", 0, 1000);
	struct result r = {0};

	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 9, 0, 1000);
	result_free(&r);
}

static void
another_total_is_a_changed_source(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/1M/9", 100, 1000);
	struct result r = {0};

	q.validators.has_length = true;
	q.validators.length = (1 << 20) + 1;
	run(w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_CHANGED);
	expect_text(r.error, "source changed");
	expect_text(r.error, "length");
	assert_false(r.is_temporary);
	result_free(&r);
}

static void
another_etag_is_a_changed_source(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/1M/9?etagafter=0", 100, 1000);
	struct result r = {0};

	/* If-Range is honoured: a whole answer with the new tag. */
	q.validators.etag = "\"gen-1048576-9\"";
	run(w, &q, true, &r);
	assert_int_equal(r.failure, SOURCE_CHANGED);
	result_free(&r);
	/* If-Range is not known to the origin: a part of the new version. */
	origin_script(w->origin, "/s", &(struct origin_answer){
	    .bytes = "HTTP/1.1 206 P\r\nContent-Range: bytes 1-2/3\r\nETag: \"b\"\r\nContent-Length: 2\r\n\r\nxx"}, 1);
	q = range_request(w, "/s", 1, 2);
	q.validators.etag = "\"a\"";
	run(w, &q, true, &r);
	assert_int_equal(r.failure, SOURCE_CHANGED);
	assert_int_equal(r.body.len, 0);
	result_free(&r);
}

static void
weak_etags_and_dates_alone_decide_nothing(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/s", 1, 2);
	struct result r = {0};

	origin_script(w->origin, "/s", &(struct origin_answer){
	    .bytes = "HTTP/1.1 206 P\r\nContent-Range: bytes 1-2/3\r\nETag: W/\"b\"\r\nLast-Modified: x\r\nContent-Length: 2\r\n\r\nxx"}, 1);
	q.validators.etag = "W/\"a\"";
	q.validators.last_modified = "y";
	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(seen(w, 0, "if-range"), "");
	result_free(&r);
}

static void
another_encoding_is_a_changed_source(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/1M/9?gzip", 100, 1000);
	struct result r = {0};

	q.validators.has_length = true;
	q.validators.length = 1 << 20;
	run(w, &q, true, &r);
	assert_int_equal(r.failure, SOURCE_CHANGED);
	expect_text(r.error, "Content-Encoding");
	result_free(&r);
	/* Encoded at stat too: the bytes are stored as they come. */
	q.validators.content_encoding = "gzip";
	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(r.content_encoding, "gzip");
	expect_content(&r, 9, 100, 1000);
	result_free(&r);
}

static void
broken_body_goes_on_where_it_stopped(void **state)
{
	static const char *const how[] = {"cut", "reset"};
	struct world *w = *state;

	for (size_t i = 0; i < 2; i++) {
		char path[64], want[64];
		struct source_request q;
		struct result r = {0};
		unsigned long long at;

		origin_reset(w->origin);
		snprintf(path, sizeof(path), "/gen/8M/%zu?%s=1500000&once", i, how[i]);
		q = range_request(w, path, 1000, 4000000);
		run(w, &q, true, &r);
		assert_false(r.failed);
		assert_int_equal(r.responses, 1);
		expect_content(&r, i, 1000, 4000000);
		assert_int_equal(origin_requests(w->origin), 2);
		assert_int_equal(sscanf(seen(w, 1, "range"), "bytes=%llu-4000999", &at), 1);
		assert_in_range(at, 1000, 1501000);
		snprintf(want, sizeof(want), "\"gen-8388608-%zu\"", i);
		assert_string_equal(seen(w, 1, "if-range"), want);
		result_free(&r);
	}
}

static void
broken_whole_body_goes_on_too(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/4M/5?cut=1000000&once");
	struct result r = {0};

	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 5, 0, 4 << 20);
	result_free(&r);
	/* The origin knows no ranges: what we have is passed over, since the tag is the same. */
	q = request(w, "/gen/4M/5?cut=1000000&once&norange");
	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 5, 0, 4 << 20);
	result_free(&r);
}

static void
body_that_always_breaks_ends_in_an_error_with_both_lengths(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/8M/1?cut=1000", 0, 5000);
	struct result r = {0};

	run(w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_LENGTH_MISMATCH);
	expect_text(r.error, "expected length 5000 but got 2000");
	expect_text(r.error, "127.0.0.1:");
	assert_int_equal(r.status, 0);
	assert_int_equal(origin_requests(w->origin), 2);
	expect_content(&r, 1, 0, 2000);
	result_free(&r);
}

static void
broken_body_without_length_is_an_error(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/8M/1?chunked&cut=100000");
	struct result r = {0};

	run(w, &q, true, &r);
	assert_true(r.failed);
	expect_text(r.error, "broke off after 100000 bytes");
	assert_int_equal(origin_requests(w->origin), 1);
	result_free(&r);
}

static void
answers_with_a_lying_length(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/1000/1?lie=10&noetag");
	struct result r = {0};

	run(w, &q, true, &r);
	assert_true(r.failed);
	expect_text(r.error, "expected length 1010 but got 1000");
	result_free(&r);
	/* Too many bytes: the promised ones count. */
	q = request(w, "/gen/1000/1?lie=-10");
	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 1, 0, 990);
	result_free(&r);
}

static void
temporary_status_is_tried_again(void **state)
{
	static const int statuses[] = {500, 503, 408, 429};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(statuses); i++) {
		struct source_request q;
		struct result r = {0};
		char path[64];

		origin_reset(w->origin);
		snprintf(path, sizeof(path), "/gen/1000/1?status=%d&fail=1", statuses[i]);
		q = range_request(w, path, 0, 1000);
		run(w, &q, true, &r);
		assert_false(r.failed);
		expect_content(&r, 1, 0, 1000);
		assert_int_equal(origin_requests(w->origin), 2);
		result_free(&r);
	}
}

static void
last_answer_counts_when_no_attempt_is_left(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/1000/1?status=503", 0, 1000);
	struct result r = {0};

	run(w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.status, 503);
	assert_string_equal(r.error, "backend error: 503 Service Unavailable");
	assert_true(r.is_temporary);
	assert_int_equal(origin_requests(w->origin), 2);
	result_free(&r);
}

static void
permanent_status_is_asked_once(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/missing");
	struct result r = {0};

	run(w, &q, true, &r);
	assert_string_equal(r.error, "backend error: 404 Not Found");
	assert_int_equal(origin_requests(w->origin), 1);
	result_free(&r);
	q = request(w, "/gen/1/1?bearer=t");
	run(w, &q, true, &r);
	assert_int_equal(r.status, 401);
	assert_int_equal(r.failure, SOURCE_PERMISSION);
	expect_text(r.headers, "www-authenticate: ");
	result_free(&r);
}

static void
retry_after_is_waited_for(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/10/1?status=429&fail=1&retryafter=1");
	struct result r = {0};
	int64_t began = clock_mono_ms();

	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_true(clock_mono_ms() - began >= 1000);
	result_free(&r);
}

static void
no_wait_goes_past_the_deadline(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/10/1?status=429&retryafter=50");
	struct result r = {0};
	int64_t began = clock_mono_ms();

	q.deadline_ms = began + 500;
	run(w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.status, 429);
	assert_int_equal(r.failure, SOURCE_RATE_LIMITED);
	assert_true(clock_mono_ms() - began < 500);
	result_free(&r);
}

static void
refused_connection_is_tried_again_and_named(void **state)
{
	struct world *w = *state;
	struct origin *dead = origin_start(&(struct origin_opts){0});
	char url[128], address[32];
	struct source_request q = {.url = url, .timeout_ms = 5000};
	struct result r = {0};

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x?token=secret", origin_port(dead));
	snprintf(address, sizeof(address), "127.0.0.1:%u", origin_port(dead));
	origin_stop(dead);
	run(w, &q, true, &r);
	assert_true(r.failed && r.is_backend && r.is_temporary);
	assert_int_equal(r.failure, SOURCE_CONNECT);
	assert_int_equal(r.status, 0);
	expect_text(r.error, "backend error: Request failed after 1 retry: error sending request for url (http://127.0.0.1:");
	expect_text(r.error, address);
	expect_text(r.error, "refused");
	assert_null(strstr(r.error, "secret"));
	result_free(&r);
}

static void
names_that_do_not_exist_are_not_tried_again(void **state)
{
	struct world *w = *state;
	struct source_request q = {.url = "http://no-such-host.invalid/x", .timeout_ms = 3000};
	struct result r = {0};

	run(w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.status, 0);
	expect_text(r.error, "no-such-host.invalid");
	result_free(&r);
}

static void
silent_origin_fails_at_the_deadline_alone(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/10/1?hang"), other;
	struct result r = {0}, o = {0};
	int64_t began = clock_mono_ms();

	w->cfg.max_retries = 0;
	world_source(w);
	q.timeout_ms = 300;
	r.op = source_get(w->source, &q, &events, &r);
	other = request(w, "/gen/1M/2");
	run(w, &other, true, &o);
	assert_false(o.failed);
	assert_true(until(w, &r.done));
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_TIMEOUT);
	expect_text(r.error, "127.0.0.1:");
	expect_text(r.error, "header");
	assert_in_range(clock_mono_ms() - began, 290, 3000);
	result_free(&r);
	result_free(&o);
}

static void
stalled_body_is_noticed_by_the_idle_limit(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/1M/1?stall=1000&once", 0, 100000);
	struct result r = {0};

	w->cfg.idle_timeout_ms = 200;
	world_source(w);
	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 1, 0, 100000);
	result_free(&r);
	w->cfg.max_retries = 0;
	world_source(w);
	q = range_request(w, "/gen/1M/1?stall=1000", 0, 100000);
	run(w, &q, true, &r);
	assert_int_equal(r.failure, SOURCE_TIMEOUT);
	expect_text(r.error, "expected length 100000 but got 1000");
	result_free(&r);
}

static void
slow_bytes_are_not_idle_but_the_total_ends_them(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/1000/1?drip=500");
	struct result r = {0};

	w->cfg.idle_timeout_ms = 300;
	w->cfg.max_retries = 0;
	world_source(w);
	q.timeout_ms = 1000;
	run(w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_TIMEOUT);
	assert_true(r.body.len > 300);
	result_free(&r);
}

static void
idle_connection_that_was_closed_is_replaced_in_silence(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/s");
	struct result r = {0};
	static const struct origin_answer answers[] = {
		{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"},
		{.bytes = "", .then = ORIGIN_CLOSE},
		{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ncd"},
	};

	/* The second request runs into a connection that is closed without a byte; no attempt is spent on it. */
	w->cfg.max_retries = 0;
	world_source(w);
	origin_script(w->origin, "/s", answers, 3);
	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(buf_cstr(&r.body), "cd");
	assert_int_equal(origin_connections(w->origin), 2);
	result_free(&r);
}

static void
connections_are_used_again(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 50; i++) {
		struct source_request q = range_request(w, "/gen/1M/1", (uint64_t)i * 1000, 1000);
		struct result r = {0};

		run(w, &q, true, &r);
		assert_false(r.failed);
		result_free(&r);
	}
	assert_int_equal(origin_connections(w->origin), 1);
}

static void
pause_stops_the_bytes_and_resume_brings_all(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/64M/4");
	struct result r = {.pause_after = 1};
	uint64_t sent;

	r.op = source_get(w->source, &q, &events, &r);
	while (!r.is_paused && !r.done)
		loop_turn(w->loop, 100);
	/* The kernel's buffers fill up, then the origin stands still. */
	do {
		sent = origin_bytes(w->origin);
		for (int64_t until = clock_mono_ms() + 200; clock_mono_ms() < until;)
			loop_turn(w->loop, 20);
	} while (origin_bytes(w->origin) != sent);
	assert_true(sent < 32 << 20);
	assert_false(r.done);
	r.is_paused = false;
	source_resume(r.op);
	assert_true(until(w, &r.done));
	assert_false(r.failed);
	expect_content(&r, 4, 0, 64 << 20);
	result_free(&r);
}

static void
pause_at_the_last_byte_still_ends(void **state)
{
	static const char *const paths[] = {"/gen/1000/4", "/gen/1000/4?chunked", "/gen/1000/4?nolength"};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		struct source_request q = request(w, paths[i]);
		struct result r = {.pause_after = 1000};

		r.op = source_get(w->source, &q, &events, &r);
		while (!r.is_paused && !r.done)
			loop_turn(w->loop, 100);
		assert_false(r.done);
		r.is_paused = false;
		source_resume(r.op);
		assert_true(until(w, &r.done));
		assert_false(r.failed);
		result_free(&r);
	}
}

static void
cancel_ends_without_a_callback(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/64M/4");
	struct result r = {.cancel_after = 1}, never = {0};

	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
	/* Before anything happened, while it waits for an answer, and by the end of the source. */
	source_cancel(source_get(w->source, &q, &events, &never));
	q = request(w, "/gen/64M/4?hang");
	r.op = source_get(w->source, &q, &events, &never);
	while (origin_requests(w->origin) < 2)
		loop_turn(w->loop, 10);
	source_cancel(r.op);
	source_get(w->source, &q, &events, &never);
	loop_turn(w->loop, 10);
	world_source(w);
	for (int i = 0; i < 5; i++)
		loop_turn(w->loop, 1);
	assert_false(never.done);
	while (origin_open_connections(w->origin) > 0)
		loop_turn(w->loop, 10);
}

static void
many_at_once(void **state)
{
	struct world *w = *state;
	static struct result r[64];

	for (size_t i = 0; i < COUNT_OF(r); i++) {
		struct source_request q = range_request(w, "/gen/64M/6", i << 20, 1 << 20);

		memset(&r[i], 0, sizeof(r[i]));
		r[i].op = source_get(w->source, &q, &events, &r[i]);
	}
	for (size_t i = 0; i < COUNT_OF(r); i++) {
		assert_true(until(w, &r[i].done));
		assert_false(r[i].failed);
		expect_content(&r[i], 6, i << 20, 1 << 20);
		result_free(&r[i]);
	}
}

static void
hostile_heads_end_in_a_protocol_error(void **state)
{
	struct world *w = *state;
	struct buf many = BUF_INIT, tall = BUF_INIT;
	const char *cases[4];

	buf_append_str(&many, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < 200; i++)
		buf_append_str(&many, "X: 1\r\n");
	buf_append_str(&tall, "HTTP/1.1 200 OK\r\nX: ");
	for (int i = 0; i < 1 << 20; i++)
		buf_append_u8(&tall, 'a');
	cases[0] = buf_cstr(&many);
	cases[1] = buf_cstr(&tall);
	cases[2] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello";
	cases[3] = "SSH-2.0-OpenSSH_9\r\n";
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct origin_answer a = {.bytes = cases[i], .then = ORIGIN_STALL};
		struct source_request q;
		struct result r = {0};
		char path[16];

		snprintf(path, sizeof(path), "/s%zu", i);
		q = request(w, path);
		origin_script(w->origin, path, &a, 1);
		run(w, &q, true, &r);
		assert_true(r.failed);
		assert_int_equal(r.failure, SOURCE_PROTOCOL);
		expect_text(r.error, "not an HTTP answer");
		result_free(&r);
	}
	buf_free(&many);
	buf_free(&tall);
}

static void
interim_answers_are_passed_over(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/s");
	struct result r = {0};

	origin_script(w->origin, "/s", &(struct origin_answer){
	    .bytes = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}, 1);
	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(buf_cstr(&r.body), "ok");
	result_free(&r);
}

static void
empty_range_is_a_bad_argument(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/gen/10/1", 0, 0);
	struct result r = {0};

	run(w, &q, true, &r);
	assert_int_equal(r.failure, SOURCE_BAD_ARGUMENT);
	assert_int_equal(origin_requests(w->origin), 0);
	result_free(&r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(range_is_delivered_exactly),
		T(whole_content_with_and_without_a_length),
		T(wrong_range_answers_are_refused),
		T(whole_answer_to_the_first_piece_is_cut),
		T(another_total_is_a_changed_source),
		T(another_etag_is_a_changed_source),
		T(weak_etags_and_dates_alone_decide_nothing),
		T(another_encoding_is_a_changed_source),
		T(broken_body_goes_on_where_it_stopped),
		T(broken_whole_body_goes_on_too),
		T(body_that_always_breaks_ends_in_an_error_with_both_lengths),
		T(broken_body_without_length_is_an_error),
		T(answers_with_a_lying_length),
		T(temporary_status_is_tried_again),
		T(last_answer_counts_when_no_attempt_is_left),
		T(permanent_status_is_asked_once),
		T(retry_after_is_waited_for),
		T(no_wait_goes_past_the_deadline),
		T(refused_connection_is_tried_again_and_named),
		T(names_that_do_not_exist_are_not_tried_again),
		T(silent_origin_fails_at_the_deadline_alone),
		T(stalled_body_is_noticed_by_the_idle_limit),
		T(slow_bytes_are_not_idle_but_the_total_ends_them),
		T(idle_connection_that_was_closed_is_replaced_in_silence),
		T(connections_are_used_again),
		T(pause_stops_the_bytes_and_resume_brings_all),
		T(pause_at_the_last_byte_still_ends),
		T(cancel_ends_without_a_callback),
		T(many_at_once),
		T(hostile_heads_end_in_a_protocol_error),
		T(interim_answers_are_passed_over),
		T(empty_range_is_a_bad_argument),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
