#include "harness.h"


static void
redirect(struct origin *o, const char *target, int code, const char *location)
{
	char text[4096];

	snprintf(text, sizeof(text), "HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 4\r\n\r\nbody", code, location);
	origin_script(o, target, &(struct origin_answer){.bytes = text}, 1);
}

static char *
on(struct origin *o, const char *path)
{
	return xasprintf("http://127.0.0.1:%u%s", origin_port(o), path);
}

static const char *
seen_by(struct origin *o, size_t i, const char *name)
{
	static char value[1024];
	char *head = origin_request(o, i);

	assert_non_null(head);
	if (!origin_header(head, name, value, sizeof(value)))
		value[0] = '\0';
	free(head);
	return value;
}

static void
chain_on_one_host_keeps_the_range(void **state)
{
	static const int codes[] = {301, 302, 303, 307, 308};
	struct world *w = *state;
	struct source_request q = range_request(w, "/r0", 10, 20);
	struct result r = {0};

	for (int i = 0; i < 5; i++) {
		char from[16], to[64];

		snprintf(from, sizeof(from), "/r%d", i);
		snprintf(to, sizeof(to), i < 4 ? "/r%d" : "/gen/100/1?n=%d", i + 1);
		redirect(w->origin, from, codes[i], to);
	}
	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 1, 10, 20);
	for (size_t i = 0; i < 6; i++) {
		assert_string_equal(seen(w, i, "range"), "bytes=10-29");
		assert_string_equal(seen(w, i, "referer"), "");
	}
	assert_int_equal(origin_connections(w->origin), 1);
	result_free(&r);
}

static void
loops_and_long_chains_end(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/self?key=secret");
	struct result r = {0};

	redirect(w->origin, "/self?key=secret", 302, "/self?key=secret");
	run(w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_REDIRECT);
	expect_text(r.error, "error following redirect");
	assert_null(strstr(r.error, "secret"));
	assert_int_equal(origin_requests(w->origin), 1);
	result_free(&r);

	for (int i = 0; i < 12; i++) {
		char from[16], to[16];

		snprintf(from, sizeof(from), "/c%d", i);
		snprintf(to, sizeof(to), "/c%d", i + 1);
		redirect(w->origin, from, 302, to);
	}
	origin_script(w->origin, "/c12", &(struct origin_answer){.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, 1);
	origin_reset(w->origin);
	q = request(w, "/c0");
	run(w, &q, true, &r);
	assert_int_equal(r.failure, SOURCE_REDIRECT);
	assert_int_equal(origin_requests(w->origin), 11);
	result_free(&r);
	/* Ten are fine. */
	q = request(w, "/c2");
	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
}

static void
credentials_stay_behind_for_good(void **state)
{
	static const struct source_header h[] = {{"Authorization", "Bearer t"}, {"Cookie", "c=1"}, {"X-Mine", "1"}};
	static const struct source_header configured[] = {{"X-Site-Token", "s"}, {"X-Api-Key", "k"}, {"X-Plain", "p"}};
	static const char *const secrets[] = {"authorization", "cookie", "x-site-token", "x-api-key"};
	struct world *w = *state;
	struct origin *b = origin_start(&(struct origin_opts){0});
	struct source_request q = request(w, "/start");
	struct result r = {0};
	char *to = on(b, "/hop");

	w->cfg.request_headers = (struct source_headers){configured, 3};
	world_source(w);
	q.headers = (struct source_headers){h, 3};
	redirect(w->origin, "/start", 302, to);
	redirect(b, "/hop", 302, "/gen/10/1");
	run(w, &q, true, &r);
	assert_false(r.failed);
	for (size_t i = 0; i < COUNT_OF(secrets); i++) {
		assert_true(strlen(seen(w, 0, secrets[i])) > 0);
		assert_string_equal(seen_by(b, 0, secrets[i]), "");
		assert_string_equal(seen_by(b, 1, secrets[i]), "");
	}
	assert_string_equal(seen_by(b, 1, "x-mine"), "1");
	assert_string_equal(seen_by(b, 1, "x-plain"), "p");
	result_free(&r);
	free(to);
	origin_stop(b);
}

static void
same_origin_keeps_credentials(void **state)
{
	static const struct source_header h[] = {{"Authorization", "Bearer t"}};
	struct world *w = *state;
	struct source_request q = request(w, "/start");
	struct result r = {0};

	q.headers = (struct source_headers){h, 1};
	redirect(w->origin, "/start", 302, "/gen/10/1?bearer=t");
	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
}

static void
redirect_without_location_is_the_answer(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/n");
	struct result r = {0};

	origin_script(w->origin, "/n", &(struct origin_answer){.bytes = "HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n"}, 1);
	run(w, &q, true, &r);
	assert_string_equal(r.error, "backend error: 302 Found");
	assert_int_equal(r.status, 302);
	result_free(&r);
	origin_script(w->origin, "/n7", &(struct origin_answer){.bytes = "HTTP/1.1 307 F\r\nContent-Length: 0\r\n\r\n"}, 1);
	q = request(w, "/n7");
	run(w, &q, false, &r);
	assert_string_equal(r.error, "backend error: got 307 Temporary Redirect without Location header");
	result_free(&r);
	run(w, &q, true, &r);
	assert_string_equal(r.error, "backend error: 307 Temporary Redirect");
	result_free(&r);
}

static void
other_schemes_are_refused(void **state)
{
	static const char *const targets[] = {"ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://h/"};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(targets); i++) {
		struct source_request q;
		struct result r = {0};
		char path[16];

		snprintf(path, sizeof(path), "/o%zu", i);
		q = request(w, path);
		redirect(w->origin, path, 302, targets[i]);
		run(w, &q, true, &r);
		assert_true(r.failed);
		assert_int_equal(r.failure, SOURCE_REDIRECT);
		expect_text(r.error, "neither http nor https");
		result_free(&r);
	}
}

static void
relative_locations_are_resolved_and_encoded(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/a/b/c?x=1");
	struct result r = {0};

	redirect(w->origin, "/a/b/c?x=1", 302, "../d e?y=\xc3\xa9");
	redirect(w->origin, "/a/d%20e?y=%C3%A9", 302, "?z");
	origin_script(w->origin, "/a/d%20e?z", &(struct origin_answer){.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}, 1);
	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(buf_cstr(&r.body), "ok");
	result_free(&r);
}

static void
each_attempt_repeats_the_whole_chain(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/start");
	struct result r = {0};

	redirect(w->origin, "/start", 302, "/gen/10/1?status=503&fail=1");
	run(w, &q, true, &r);
	assert_false(r.failed);
	assert_int_equal(origin_requests(w->origin), 4);
	result_free(&r);
}

/* ---- the 307 cache ---- */

static void
absolute_307_is_asked_once(void **state)
{
	struct world *w = *state;
	struct origin *b = origin_start(&(struct origin_opts){0});
	struct source_request q = request(w, "/blob");
	struct result r = {0};
	char *to = on(b, "/gen/1M/1?sig=x");

	redirect(w->origin, "/blob", 307, to);
	run(w, &q, false, &r);
	assert_int_equal(r.length, 1 << 20);
	result_free(&r);
	for (uint64_t i = 0; i < 5; i++) {
		q = range_request(w, "/blob", i * 1000, 1000);
		run(w, &q, true, &r);
		expect_content(&r, 1, i * 1000, 1000);
		result_free(&r);
	}
	assert_int_equal(origin_requests(w->origin), 1);
	assert_int_equal(origin_requests(b), 6);
	/* Off: asked each time. */
	w->cfg.redirect_cache_on = false;
	world_source(w);
	for (int i = 0; i < 2; i++) {
		run(w, &q, true, &r);
		assert_false(r.failed);
		result_free(&r);
	}
	assert_int_equal(origin_requests(w->origin), 3);
	free(to);
	origin_stop(b);
}

static void
kept_target_gets_no_credentials(void **state)
{
	static const struct source_header h[] = {{"Authorization", "Bearer t"}};
	struct world *w = *state;
	struct origin *b = origin_start(&(struct origin_opts){0});
	struct source_request q = request(w, "/blob");
	struct result r = {0};
	char *to = on(b, "/gen/1M/1");

	q.headers = (struct source_headers){h, 1};
	redirect(w->origin, "/blob", 307, to);
	for (int i = 0; i < 2; i++) {
		run(w, &q, false, &r);
		assert_false(r.failed);
		result_free(&r);
	}
	assert_int_equal(origin_requests(w->origin), 1);
	assert_string_equal(seen_by(b, 0, "authorization"), "");
	assert_string_equal(seen_by(b, 1, "authorization"), "");
	free(to);
	origin_stop(b);
}

static void
relative_307_is_followed_but_not_kept(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/blob", 0, 10);
	struct result r = {0};

	redirect(w->origin, "/blob", 307, "/gen/100/1");
	for (int i = 0; i < 2; i++) {
		run(w, &q, true, &r);
		assert_false(r.failed);
		result_free(&r);
	}
	assert_int_equal(origin_requests(w->origin), 4);
}

static void
expired_target_is_dropped_and_the_origin_asked_again(void **state)
{
	static const int statuses[] = {401, 403, 404, 410};
	struct world *w = *state;
	struct origin *b = origin_start(&(struct origin_opts){0});

	w->cfg.max_retries = 0;
	for (size_t i = 0; i < COUNT_OF(statuses); i++) {
		char text[2][512], gone[128];
		struct origin_answer answers[2] = {{.bytes = text[0]}, {.bytes = text[1]}};
		struct source_request q = range_request(w, "/blob", 0, 10);
		struct result r = {0};
		char path[32];

		world_source(w);
		snprintf(path, sizeof(path), "/blob%zu", i);
		q = range_request(w, path, 0, 10);
		snprintf(text[0], sizeof(text[0]), "HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:%u/old%zu\r\nContent-Length: 0\r\n\r\n",
		    origin_port(b), i);
		snprintf(text[1], sizeof(text[1]), "HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:%u/gen/100/1\r\nContent-Length: 0\r\n\r\n",
		    origin_port(b));
		origin_script(w->origin, path, answers, 2);
		snprintf(path, sizeof(path), "/old%zu", i);
		snprintf(gone, sizeof(gone), "HTTP/1.1 %d Gone\r\nContent-Length: 0\r\n\r\n", statuses[i]);
		origin_script(b, path, (struct origin_answer[]){
		    {.bytes = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 10\r\n\r\n0123456789"}, {.bytes = gone}}, 2);
		run(w, &q, true, &r);
		assert_false(r.failed);
		result_free(&r);
		run(w, &q, true, &r);
		assert_false(r.failed);
		expect_content(&r, 1, 0, 10);
		result_free(&r);
	}
	origin_stop(b);
}

static void
dead_target_is_dropped_too(void **state)
{
	struct world *w = *state;
	struct origin *b = origin_start(&(struct origin_opts){0});
	struct source_request q = range_request(w, "/blob", 0, 10);
	struct result r = {0};
	char text[2][512];
	struct origin_answer answers[2] = {{.bytes = text[0]}, {.bytes = text[1]}};

	w->cfg.max_retries = 0;
	world_source(w);
	snprintf(text[0], sizeof(text[0]), "HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:%u/gen/100/1\r\nContent-Length: 0\r\n\r\n", origin_port(b));
	snprintf(text[1], sizeof(text[1]), "HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:%u/gen/100/1\r\nContent-Length: 0\r\n\r\n",
	    origin_port(w->origin));
	origin_script(w->origin, "/blob", answers, 2);
	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
	origin_stop(b);
	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 1, 0, 10);
	result_free(&r);
}

static void
users_do_not_share_a_kept_target(void **state)
{
	static const struct source_header first[] = {{"Authorization", "Bearer one"}}, second[] = {{"Authorization", "Bearer two"}};
	struct world *w = *state;
	struct source_request q = request(w, "/blob");
	struct result r = {0};
	char *to = on(w->origin, "/gen/100/1"), text[512];
	struct origin_answer answers[2] = {{.bytes = text}, {.bytes = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"}};

	snprintf(text, sizeof(text), "HTTP/1.1 307 T\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", to);
	origin_script(w->origin, "/blob", answers, 2);
	q.headers = (struct source_headers){first, 1};
	run(w, &q, false, &r);
	assert_false(r.failed);
	result_free(&r);
	q.headers = (struct source_headers){second, 1};
	run(w, &q, false, &r);
	assert_int_equal(r.status, 401);
	result_free(&r);
	q.headers = (struct source_headers){first, 1};
	run(w, &q, false, &r);
	assert_false(r.failed);
	result_free(&r);
	free(to);
}

static void
two_307_in_a_row_are_followed(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/one", 0, 10);
	struct result r = {0};
	char *two = on(w->origin, "/two"), *three = on(w->origin, "/gen/100/1");

	redirect(w->origin, "/one", 307, two);
	redirect(w->origin, "/two", 307, three);
	for (int i = 0; i < 2; i++) {
		run(w, &q, true, &r);
		assert_false(r.failed);
		expect_content(&r, 1, 0, 10);
		result_free(&r);
	}
	assert_int_equal(origin_requests(w->origin), 5);
	free(two);
	free(three);
}

static void
time_to_live_ends(void **state)
{
	struct world *w = *state;
	struct source_request q = range_request(w, "/one", 0, 10);
	struct result r = {0};
	char *to = on(w->origin, "/gen/100/1");
	int64_t began;

	w->cfg.redirect_cache_ttl_ms = 50;
	world_source(w);
	redirect(w->origin, "/one", 307, to);
	run(w, &q, true, &r);
	result_free(&r);
	for (began = clock_mono_ms(); clock_mono_ms() - began < 60;)
		loop_turn(w->loop, 10);
	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
	assert_int_equal(origin_requests(w->origin), 4);
	free(to);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(chain_on_one_host_keeps_the_range),
		T(loops_and_long_chains_end),
		T(credentials_stay_behind_for_good),
		T(same_origin_keeps_credentials),
		T(redirect_without_location_is_the_answer),
		T(other_schemes_are_refused),
		T(relative_locations_are_resolved_and_encoded),
		T(each_attempt_repeats_the_whole_chain),
		T(absolute_307_is_asked_once),
		T(kept_target_gets_no_credentials),
		T(relative_307_is_followed_but_not_kept),
		T(expired_target_is_dropped_and_the_origin_asked_again),
		T(dead_target_is_dropped_too),
		T(users_do_not_share_a_kept_target),
		T(two_307_in_a_row_are_followed),
		T(time_to_live_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
