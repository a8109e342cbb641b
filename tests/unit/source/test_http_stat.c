#include "harness.h"

static void
one_byte_range_tells_the_length(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/1048576/7");
	struct source_request piece;
	struct result r = {0};

	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_int_equal(r.status, 206);
	assert_true(r.has_length && r.supports_range);
	assert_false(r.has_body);
	assert_int_equal(r.length, 1048576);
	assert_string_equal(r.etag, "\"gen-1048576-7\"");
	expect_text(r.headers, "content-length: 1048576\n");
	assert_null(strstr(r.headers, "content-range"));
	expect_request_line(w, 0, "GET /gen/1048576/7 HTTP/1.1\r\n");
	assert_string_equal(seen(w, 0, "range"), "bytes=0-0");
	assert_string_equal(seen(w, 0, "accept"), "*/*");
	expect_text(seen(w, 0, "user-agent"), "dragonfly/");
	result_free(&r);
	/* The connection carries the piece too. */
	piece = range_request(w, "/gen/1048576/7", 1000, 5000);
	run(w, &piece, true, &r);
	expect_content(&r, 7, 1000, 5000);
	assert_int_equal(origin_connections(w->origin), 1);
	result_free(&r);
}

static void
origin_without_ranges_gives_its_body_along(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/10M/3?norange");
	struct result r = {.keep_body = true};

	r.op = source_stat(w->source, &q, &events, &r);
	while (!r.has_response)
		loop_turn(w->loop, 100);
	assert_true(r.has_length && r.has_body);
	assert_false(r.supports_range);
	assert_int_equal(r.length, 10 << 20);
	assert_int_equal(r.body.len, 0);
	source_resume(r.op);
	assert_true(until(w, &r.done));
	assert_false(r.failed);
	expect_content(&r, 3, 0, 10 << 20);
	assert_int_equal(origin_requests(w->origin), 1);
	result_free(&r);
}

static void
body_that_nobody_keeps_is_dropped(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/100M/3?norange");
	struct result r = {0};

	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_true(r.has_body);
	assert_int_equal(r.length, 100 << 20);
	assert_int_equal(r.body.len, 0);
	result_free(&r);
}

static void
empty_object_by_416_and_second_get(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/e");
	struct result r = {.keep_body = true};
	static const struct origin_answer answers[] = {
		{.bytes = "HTTP/1.1 416 X\r\nContent-Length: 3\r\n\r\nbad"}, {.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	};

	origin_script(w->origin, "/e", answers, 2);
	r.op = source_stat(w->source, &q, &events, &r);
	while (!r.has_response)
		loop_turn(w->loop, 100);
	assert_true(r.has_length);
	assert_int_equal(r.length, 0);
	source_resume(r.op);
	assert_true(until(w, &r.done));
	assert_false(r.failed);
	assert_int_equal(r.body.len, 0);
	assert_int_equal(origin_requests(w->origin), 2);
	assert_string_equal(seen(w, 1, "range"), "");
	result_free(&r);
}

static void
empty_object_by_416_with_length_needs_one_request(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/0/1");
	struct result r = {0};

	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_true(r.has_length);
	assert_int_equal(r.length, 0);
	assert_int_equal(origin_requests(w->origin), 1);
	result_free(&r);
}

static void
status_of_the_second_get_counts(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/e");
	struct result r = {0};
	static const struct origin_answer answers[] = {
		{.bytes = "HTTP/1.1 416 X\r\nContent-Length: 0\r\n\r\n"}, {.bytes = "HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n"},
	};

	origin_script(w->origin, "/e", answers, 2);
	run(w, &q, false, &r);
	assert_true(r.failed);
	assert_int_equal(r.status, 403);
	result_free(&r);
}

static void
chunked_answer_takes_the_length_of_head(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/5/1?chunked&headlength");
	struct result r = {.keep_body = true};

	r.op = source_stat(w->source, &q, &events, &r);
	while (!r.has_response && !r.done)
		loop_turn(w->loop, 100);
	assert_true(r.has_length && r.has_body);
	assert_int_equal(r.length, 5);
	expect_request_line(w, 1, "HEAD ");
	assert_string_equal(seen(w, 1, "range"), "");
	source_resume(r.op);
	assert_true(until(w, &r.done));
	expect_content(&r, 1, 0, 5);
	assert_int_equal(origin_requests(w->origin), 2);
	result_free(&r);
}

static void
chunked_answer_without_head_has_no_length_but_a_body(void **state)
{
	static const char *const paths[] = {"/gen/300000/1?chunked", "/gen/300000/1?chunked&nohead"};
	struct world *w = *state;

	for (size_t i = 0; i < 2; i++) {
		struct source_request q = request(w, paths[i]);
		struct result r = {.keep_body = true};

		r.op = source_stat(w->source, &q, &events, &r);
		while (!r.has_response && !r.done)
			loop_turn(w->loop, 100);
		assert_false(r.failed);
		assert_false(r.has_length);
		assert_true(r.has_body);
		source_resume(r.op);
		assert_true(until(w, &r.done));
		assert_false(r.failed);
		expect_content(&r, 1, 0, 300000);
		result_free(&r);
	}
}

static void
chunked_404_is_404(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/n");
	struct result r = {0};
	static const struct origin_answer answer = {
		.bytes = "HTTP/1.1 404 Nope\r\nTransfer-Encoding: chunked\r\nX-Why: gone\r\nWWW-Authenticate: a\r\nWWW-Authenticate: b\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	};

	origin_script(w->origin, "/n", &answer, 1);
	run(w, &q, false, &r);
	assert_true(r.failed && r.is_backend);
	assert_int_equal(r.failure, SOURCE_NOT_FOUND);
	assert_int_equal(r.status, 404);
	assert_string_equal(r.error, "backend error: 404 Not Found");
	expect_text(r.headers, "x-why: gone\n");
	expect_text(r.headers, "www-authenticate: a\nwww-authenticate: b\n");
	assert_false(r.is_temporary);
	assert_int_equal(origin_requests(w->origin), 1);
	result_free(&r);
}

static void
close_delimited_without_length_is_refused(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/5/1?nolength");
	struct result r = {0};

	run(w, &q, false, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_INVALID_LENGTH);
	assert_string_equal(r.error, "invalid content length");
	assert_false(r.is_backend);
	result_free(&r);
}

static void
no_content_has_no_length(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/n");
	struct result r = {0};
	static const struct origin_answer answer = {.bytes = "HTTP/1.1 204 No\r\n\r\n"};

	origin_script(w->origin, "/n", &answer, 1);
	run(w, &q, false, &r);
	assert_string_equal(r.error, "invalid content length");
	result_free(&r);
}

static void
partial_without_total_asks_head_then_the_whole(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/777/1?nototal");
	struct result r = {0};
	static const struct origin_answer answers[] = {
		{.bytes = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-0/*\r\nContent-Length: 1\r\n\r\nx"},
		{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz"},
	};
	static const struct origin_answer no_head = {.bytes = "HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"};

	/* The HEAD of the same URL tells. */
	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_int_equal(r.length, 777);
	assert_true(r.supports_range);
	expect_request_line(w, 1, "HEAD ");
	result_free(&r);
	/* No HEAD: the whole body tells. */
	origin_reset(w->origin);
	origin_script(w->origin, "/s", answers, 2);
	origin_script(w->origin, "HEAD /s", &no_head, 1);
	q = request(w, "/s");
	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_int_equal(r.length, 3);
	assert_false(r.supports_range);
	assert_string_equal(seen(w, 2, "range"), "");
	result_free(&r);
}

static void
another_range_than_asked_means_no_ranges(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/s");
	struct result r = {0};
	static const struct origin_answer answers[] = {
		{.bytes = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\nxyz"},
		{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz"},
	};

	origin_script(w->origin, "/s", answers, 2);
	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_int_equal(r.length, 3);
	assert_false(r.supports_range);
	result_free(&r);
}

static void
not_modified_goes_back_with_its_status(void **state)
{
	static const struct source_header h[] = {{"If-None-Match", "\"v1\""}, {"If-Range", "\"v1\""}};
	static const struct origin_answer answer = {.bytes = "HTTP/1.1 304 Same\r\nETag: \"v1\"\r\n\r\n"};
	struct world *w = *state;
	struct source_request q = request(w, "/s");
	struct result r = {0};

	q.headers = (struct source_headers){h, 2};
	origin_script(w->origin, "/s", &answer, 1);
	run(w, &q, false, &r);
	assert_true(r.failed);
	assert_int_equal(r.status, 304);
	assert_string_equal(seen(w, 0, "if-none-match"), "\"v1\"");
	assert_string_equal(seen(w, 0, "if-range"), "");
	result_free(&r);
	q = range_request(w, "/gen/100/1", 0, 10);
	q.headers = (struct source_headers){h, 2};
	run(w, &q, true, &r);
	assert_string_equal(seen(w, 1, "if-none-match"), "");
	result_free(&r);
}

static void
headers_that_must_not_travel_do_not(void **state)
{
	static const struct source_header h[] = {
		{"Connection", "close, X-Foo"}, {"X-Foo", "1"}, {"Proxy-Authorization", "Basic eA=="}, {"Accept-Encoding", "gzip"},
		{"TE", "trailers"}, {"Transfer-Encoding", "chunked"}, {"Content-Length", "5"}, {"Host", "evil"}, {"range", "bytes=5-9"},
		{"Upgrade", "h2c"}, {"Expect", "100-continue"}, {"Keep-Alive", "1"}, {"X-Bar", " kept "}, {"User-Agent", "mine/1"},
		{"Authorization", "Bearer own"},
	};
	static const struct source_header configured[] = {{"Authorization", "Bearer cfg"}, {"X-A", "added"}};
	static const char *const gone[] = {
		"x-foo", "proxy-authorization", "accept-encoding", "te", "transfer-encoding", "content-length", "upgrade", "expect", "keep-alive",
		"connection",
	};
	struct world *w = *state;
	struct source_request q = request(w, "/gen/100/1");
	struct result r = {0};
	char host[64];

	w->cfg.request_headers = (struct source_headers){configured, 2};
	world_source(w);
	q.headers = (struct source_headers){h, COUNT_OF(h)};
	run(w, &q, false, &r);
	assert_false(r.failed);
	for (size_t i = 0; i < COUNT_OF(gone); i++)
		assert_string_equal(seen(w, 0, gone[i]), "");
	snprintf(host, sizeof(host), "127.0.0.1:%u", origin_port(w->origin));
	assert_string_equal(seen(w, 0, "host"), host);
	assert_string_equal(seen(w, 0, "range"), "bytes=0-0");
	assert_string_equal(seen(w, 0, "x-bar"), "kept");
	assert_string_equal(seen(w, 0, "user-agent"), "mine/1");
	assert_string_equal(seen(w, 0, "authorization"), "Bearer own");
	assert_string_equal(seen(w, 0, "x-a"), "added");
	result_free(&r);
}

static void
accept_encoding_under_a_signature_stays(void **state)
{
	static const struct source_header h[] = {
		{"Authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=Accept-Encoding;host, Signature=b"}, {"Accept-Encoding", "identity"},
	};
	struct world *w = *state;
	struct source_request q = request(w, "/gen/100/1");
	struct result r = {0};

	q.headers = (struct source_headers){h, 2};
	run(w, &q, false, &r);
	assert_string_equal(seen(w, 0, "accept-encoding"), "identity");
	result_free(&r);
}

static void
a_header_that_is_none_fails_the_request(void **state)
{
	static const struct source_header bad[] = {{"X Y", "1"}, {"X", "a\r\nB: secret"}};
	struct world *w = *state;

	for (size_t i = 0; i < 2; i++) {
		struct source_request q = request(w, "/gen/100/1");
		struct result r = {0};

		q.headers = (struct source_headers){&bad[i], 1};
		run(w, &q, false, &r);
		assert_true(r.failed);
		assert_int_equal(r.failure, SOURCE_BAD_ARGUMENT);
		assert_null(strstr(r.error, "secret"));
		result_free(&r);
	}
	assert_int_equal(origin_requests(w->origin), 0);
}

static void
target_travels_byte_for_byte(void **state)
{
	static const char target[] = "/a%2Fb%2fc/+/%7Ex?b=2&a=1&a=&c=%20+x&&d";
	static const struct origin_answer answer = {.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
	struct world *w = *state;
	struct source_request q = request(w, target);
	struct result r = {0};
	char line[256];

	origin_script(w->origin, target, &answer, 1);
	run(w, &q, false, &r);
	assert_false(r.failed);
	snprintf(line, sizeof(line), "GET %s HTTP/1.1\r\n", target);
	expect_request_line(w, 0, line);
	result_free(&r);
}

static void
user_and_password_of_the_url_become_basic(void **state)
{
	struct world *w = *state;
	struct result r = {0};
	char url[256];
	struct source_request q = {.url = url, .timeout_ms = 5000};

	snprintf(url, sizeof(url), "http://u:p%%40s@127.0.0.1:%u/gen/5/1?basic=u:p@s", origin_port(w->origin));
	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_string_equal(seen(w, 0, "authorization"), "Basic dTpwQHM=");
	assert_null(strstr(seen(w, 0, "host"), "@"));
	result_free(&r);
}

static void
ipv6_literal(void **state)
{
	struct origin *six = origin_start(&(struct origin_opts){.bind = "::1"});
	struct world *w = *state;
	struct result r = {0};
	char url[256], want[64], *head, host[64];
	struct source_request q = {.url = url, .timeout_ms = 5000};

	if (six == NULL)
		skip();
	snprintf(url, sizeof(url), "http://[0:0::1]:%u/gen/5/1", origin_port(six));
	run(w, &q, false, &r);
	assert_false(r.failed);
	head = origin_request(six, 0);
	assert_true(origin_header(head, "host", host, sizeof(host)));
	snprintf(want, sizeof(want), "[::1]:%u", origin_port(six));
	assert_string_equal(host, want);
	free(head);
	result_free(&r);
	origin_stop(six);
}

static void
encoding_that_the_origin_insists_on_is_told(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/100/1?gzip");
	struct result r = {0};

	run(w, &q, false, &r);
	assert_false(r.failed);
	assert_string_equal(r.content_encoding, "gzip");
	expect_text(r.headers, "content-encoding: gzip\n");
	result_free(&r);
}

static void
bad_urls_and_schemes_are_told(void **state)
{
	static const struct {
		const char *url, *text;
		enum source_failure f;
	} cases[] = {
		{"nothing", "ParseError cause: relative URL without a base", SOURCE_BAD_ARGUMENT},
		{"http://", "ParseError cause: empty host", SOURCE_BAD_ARGUMENT},
		{"gopher://h/x", "invalid parameter", SOURCE_UNSUPPORTED_SCHEME},
		{"file:///etc/passwd", "invalid parameter", SOURCE_UNSUPPORTED_SCHEME},
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct source_request q = {.url = cases[i].url};
		struct result r = {0};

		run(w, &q, false, &r);
		assert_true(r.failed);
		assert_int_equal(r.failure, cases[i].f);
		expect_text(r.error, cases[i].text);
		result_free(&r);
	}
	assert_true(source_supports("HTTPS://h"));
	assert_false(source_supports("file:///x"));
	assert_false(source_supports(""));
}


struct seen_counts {
	unsigned starts, good, bad;
};

static void
count_start(void *ctx, const char *scheme, const char *method)
{
	assert_string_equal(scheme, "http");
	assert_string_equal(method, "HEAD");
	((struct seen_counts *)ctx)->starts++;
}

static void
count_good(void *ctx, const char *scheme, const char *method, int64_t ms)
{
	(void)scheme;
	(void)method;
	assert_true(ms >= 0);
	((struct seen_counts *)ctx)->good++;
}

static void
count_bad(void *ctx, const char *scheme, const char *method)
{
	(void)scheme;
	(void)method;
	((struct seen_counts *)ctx)->bad++;
}

static void
counts_go_to_the_observer_once_per_operation(void **state)
{
	struct world *w = *state;
	struct seen_counts c = {0};
	struct source_request q = request(w, "/gen/5/1?status=503&fail=1");
	struct result r = {0};

	w->cfg.observer = (struct source_observer){&c, count_start, count_good, count_bad};
	world_source(w);
	run(w, &q, false, &r);
	assert_false(r.failed);
	result_free(&r);
	q = request(w, "/missing");
	run(w, &q, false, &r);
	assert_true(r.failed);
	result_free(&r);
	assert_int_equal(c.starts, 2);
	assert_int_equal(c.good, 1);
	assert_int_equal(c.bad, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_byte_range_tells_the_length),
		T(origin_without_ranges_gives_its_body_along),
		T(body_that_nobody_keeps_is_dropped),
		T(empty_object_by_416_and_second_get),
		T(empty_object_by_416_with_length_needs_one_request),
		T(status_of_the_second_get_counts),
		T(chunked_answer_takes_the_length_of_head),
		T(chunked_answer_without_head_has_no_length_but_a_body),
		T(chunked_404_is_404),
		T(close_delimited_without_length_is_refused),
		T(no_content_has_no_length),
		T(partial_without_total_asks_head_then_the_whole),
		T(another_range_than_asked_means_no_ranges),
		T(not_modified_goes_back_with_its_status),
		T(headers_that_must_not_travel_do_not),
		T(accept_encoding_under_a_signature_stays),
		T(a_header_that_is_none_fails_the_request),
		T(target_travels_byte_for_byte),
		T(user_and_password_of_the_url_become_basic),
		T(ipv6_literal),
		T(encoding_that_the_origin_insists_on_is_told),
		T(bad_urls_and_schemes_are_told),
		T(counts_go_to_the_observer_once_per_operation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
