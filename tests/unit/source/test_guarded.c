/* Requests on behalf of somebody in the network: where they may not go, by name, by redirect and by what others left behind. */
#include "harness.h"

#include "net/cidr.h"

static struct cidr ranges[1];

static void
redirect(struct origin *o, const char *target, int code, const char *location)
{
	char text[1024];

	snprintf(text, sizeof(text), "HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 4\r\n\r\nbody", code, location);
	origin_script(o, target, &(struct origin_answer){.bytes = text}, 1);
}

static void
expect_refusal(struct world *w, const char *url, bool is_get)
{
	struct source_request q = {.url = url, .is_guarded = true};
	struct result r = {0};

	run(w, &q, is_get, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_NOT_ALLOWED);
	assert_false(r.is_temporary);
	assert_false(r.is_backend);
	expect_text(r.error, "x.upload.origins");
	result_free(&r);
}

/* As setup, but one address of this host may be gone to. */
static int
setup_allowing(void **state)
{
	struct world *w;
	int rc = setup(state);

	w = *state;
	cidr_parse(&ranges[0], slice_str("127.0.0.1"), NULL);
	w->cfg.guarded_rules = (struct addr_rules){.allow = ranges, .allow_count = 1};
	world_source(w);
	return rc;
}

static void
this_host_is_not_asked(void **state)
{
	struct world *w = *state;
	char url[128];
	static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]", "127.1.2.3", "[::ffff:127.0.0.1]", "169.254.169.254",
		"[fe80::1]"};

	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		snprintf(url, sizeof(url), "http://%s:%u/gen/100/1", hosts[i], origin_port(w->origin));
		expect_refusal(w, url, false);
		expect_refusal(w, url, true);
	}
	assert_int_equal(origin_connections(w->origin), 0);
}

static void
what_is_allowed_is_asked(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/100/1");
	struct result r = {0};

	q.is_guarded = true;
	run(w, &q, true, &r);
	assert_false(r.failed);
	expect_content(&r, 1, 0, 100);
	result_free(&r);
	expect_refusal(w, "http://8.8.8.8/", true);
	expect_refusal(w, "http://127.0.0.2/", true);
}

static void
connections_of_others_are_no_way_around(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/100/1");
	struct result r = {0};

	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
	assert_int_equal(origin_requests(w->origin), 1);
	expect_refusal(w, q.url, true);
	assert_int_equal(origin_requests(w->origin), 1);
}

static void
each_redirect_is_looked_at(void **state)
{
	struct world *w = *state;
	static const int codes[] = {301, 302, 303, 307, 308};
	char from[16], to[64];

	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		snprintf(from, sizeof(from), "/r%zu", i);
		snprintf(to, sizeof(to), "http://127.0.0.2:%u/gen/100/1", origin_port(w->origin));
		redirect(w->origin, from, codes[i], to);
		expect_refusal(w, url_of(w, from), true);
		assert_int_equal(origin_requests(w->origin), i + 1);
	}
}

static void
a_kept_307_target_is_looked_at(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/r");
	struct result r = {0};
	char to[64], *from = xstrdup(q.url);

	q.url = from;
	snprintf(to, sizeof(to), "http://127.0.0.2:%u/gen/100/1", origin_port(w->origin));
	redirect(w->origin, "/r", 307, to);
	/* Nobody listens there; what counts is that the target is kept. */
	run(w, &q, true, &r);
	result_free(&r);
	redirect(w->origin, "/r", 307, to);
	expect_refusal(w, from, true);
	free(from);
}

static void
without_the_wish_all_is_as_ever(void **state)
{
	struct world *w = *state;
	struct source_request q = request(w, "/gen/100/1");
	struct result r = {0};

	cidr_parse(&ranges[0], slice_str("10.0.0.0/8"), NULL);
	run(w, &q, true, &r);
	assert_false(r.failed);
	result_free(&r);
}

static void
names_go_to_a_proxy_and_this_host_does_not(void **state)
{
	struct world *w = *state;
	struct source_request q = {.url = "http://origin.example/gen/100/1", .is_guarded = true};
	struct result r = {0};
	char proxy[64];

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", origin_port(w->origin));
	setenv("http_proxy", proxy, 1);
	world_source(w);
	run(w, &q, true, &r);
	/* The proxy itself is the administrator's choice. */
	assert_int_equal(origin_requests(w->origin), 1);
	result_free(&r);
	expect_refusal(w, "http://169.254.169.254/latest/meta-data", true);
	expect_refusal(w, "http://[fe80::1]/", true);
	assert_int_equal(origin_requests(w->origin), 1);
	unsetenv("http_proxy");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define ALLOWING(f) cmocka_unit_test_setup_teardown(f, setup_allowing, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(this_host_is_not_asked),
		ALLOWING(what_is_allowed_is_asked),
		T(connections_of_others_are_no_way_around),
		ALLOWING(each_redirect_is_looked_at),
		ALLOWING(a_kept_307_target_is_looked_at),
		ALLOWING(without_the_wish_all_is_as_ever),
		T(names_go_to_a_proxy_and_this_host_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
