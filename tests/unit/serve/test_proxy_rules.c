/* What the proxy decides from text alone (spec: proxy.md 2-5, 14, 17). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "serve/proxy_rate.h"
#include "serve/proxy_rules.h"
#include "text/url.h"

static struct config config;

static void
load(const char *proxy)
{
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct buf text = BUF_INIT;
	struct err e = {0};

	buf_printf(&text, "host: {ip: 127.0.0.1, hostname: node}\nproxy: %s\n", proxy);
	if (config_load_text((const char *)buf_data(&text), text.len, "test", &config, &notes, &e) < 0)
		fail_msg("%s", e.text);
	config_notes_free(&notes);
	buf_free(&text);
}

/* ---- credentials ---- */

static void
credentials_follow_the_table(void **state)
{
	static const struct {
		const char *value;
		enum proxy_auth want;
	} cases[] = {
		{NULL, PROXY_AUTH_MISSING},
		{"Basic YWRtaW46ZHJhZ29uZmx5", PROXY_AUTH_OK},
		{"bASIC YWRtaW46ZHJhZ29uZmx5", PROXY_AUTH_OK},
		{"Basic  YWRtaW46ZHJhZ29uZmx5", PROXY_AUTH_OK},
		{"Bearer YWRtaW46ZHJhZ29uZmx5", PROXY_AUTH_WRONG},
		{"x", PROXY_AUTH_WRONG},
		{"", PROXY_AUTH_WRONG},
		{"Basic !!!", PROXY_AUTH_UNREADABLE},
		{"Basic /w==", PROXY_AUTH_UNREADABLE},
		{"Basic YWRtaW4=", PROXY_AUTH_WRONG},
		{"Basic YWRtaW46", PROXY_AUTH_WRONG},
		{"Basic YWRtaW46ZHJhZ29uZmx5eA==", PROXY_AUTH_WRONG},
		{"Basic Og==", PROXY_AUTH_WRONG},
		{"B\xc3\xa4sic x", PROXY_AUTH_UNREADABLE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (proxy_auth_check(slice_str(cases[i].value), "admin", "dragonfly") != cases[i].want)
			fail_msg("%s", cases[i].value != NULL ? cases[i].value : "absent");
}

/* ---- targets ---- */

static void
authorities_of_connect(void **state)
{
	static const char *const bad[] = {"", ":443", "h:0", "h:65536", "h:x", "[::1", "[::1]x", "a/b:1", "a@b:1", "h:1:2"};
	struct slice host;
	uint16_t port;

	(void)state;
	assert_int_equal(proxy_parse_authority(slice_str("example.com:8443"), &host, &port), 0);
	assert_true(slice_eq_str(host, "example.com") && port == 8443);
	assert_int_equal(proxy_parse_authority(slice_str("example.com"), &host, &port), 0);
	assert_int_equal(port, 443);
	assert_int_equal(proxy_parse_authority(slice_str("[::1]:1"), &host, &port), 0);
	assert_true(slice_eq_str(host, "::1") && port == 1);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (proxy_parse_authority(slice_str(bad[i]), &host, &port) == 0)
			fail_msg("%s", bad[i]);
}

static void
expect_base(const char *registry, const char *target, const char *want)
{
	struct buf out = BUF_INIT;
	struct err e = {0};
	int rc = proxy_mirror_base(&config.proxy, slice_str(registry), slice_str(target), &out, &e);

	if (want == NULL) {
		assert_int_equal(rc, -1);
	} else {
		if (rc < 0)
			fail_msg("%s: %s", target, e.text);
		assert_string_equal(buf_cstr(&out), want);
	}
	buf_free(&out);
}

static void
mirror_bases(void **state)
{
	(void)state;
	load("{}");
	expect_base(NULL, "/v2/", "https://index.docker.io");
	expect_base(NULL, "/v2/x?ns=ghcr.io", "https://ghcr.io");
	expect_base(NULL, "/v2/x?a=1&ns=ghcr.io&ns=other", "https://ghcr.io");
	expect_base(NULL, "/v2/x?ns=docker.io", "https://index.docker.io");
	expect_base("docker.io", "/v2/", "https://index.docker.io");
	expect_base(NULL, "/v2/x?ns=http%3A%2F%2Freg:5000", "http://reg:5000");
	expect_base("http://reg:5000/", "/v2/x?ns=ghcr.io", "http://reg:5000");
	expect_base("reg:5000", "/v2/", "https://reg:5000");
	expect_base(NULL, "/v2/x?ns=", "https://index.docker.io");
	expect_base("http://[bad", "/v2/", NULL);
	expect_base("ftp://x", "/v2/", NULL);
	expect_base("http://x/?q", "/v2/", NULL);
	config_free(&config);
	load("{registryMirror: {addr: \"http://127.0.0.1:15000\", plainHTTP: [\"10.*:5000\", plain.example], allow: [\"127.0.0.1\", \"10.*\", plain.example]}}");
	expect_base(NULL, "/v2/", "http://127.0.0.1:15000");
	expect_base(NULL, "/v2/?ns=127.0.0.1:15000", "http://127.0.0.1:15000");
	expect_base(NULL, "/v2/?ns=127.0.0.1:15001", "https://127.0.0.1:15001");
	expect_base(NULL, "/v2/?ns=10.1.2.3:5000", "http://10.1.2.3:5000");
	expect_base(NULL, "/v2/?ns=10.1.2.3:5001", "https://10.1.2.3:5001");
	expect_base(NULL, "/v2/?ns=plain.example:99", "http://plain.example:99");
	expect_base(NULL, "/v2/?ns=ghcr.io", NULL);
	config_free(&config);
}

static void
hosts_match_patterns(void **state)
{
	static const struct {
		const char *pattern, *host;
		uint16_t port;
		bool want;
	} cases[] = {
		{"*.example.com", "a.b.example.com", 1, true}, {"*.example.com", "example.com", 1, false}, {"EXAMPLE.com", "example.COM", 1, true},
		{"a?c", "abc", 1, true}, {"a:80", "a", 80, true}, {"a:80", "a", 81, false}, {"a:*", "a", 81, true}, {"*", "x", 5, true},
		{"[::1]:80", "::1", 80, true}, {"[::1]:80", "::1", 81, false}, {"::1", "::1", 81, true}, {"*a*b", "xaxbxb", 1, true}, {"", "x", 1, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (proxy_host_matches(cases[i].pattern, slice_str(cases[i].host), cases[i].port) != cases[i].want)
			fail_msg("%s %s", cases[i].pattern, cases[i].host);
}

static void
raw_targets(void **state)
{
	static const char *const cases[][2] = {
		{"http://h/a/../b?x=%41", "/a/../b?x=%41"}, {"http://h", "/"}, {"http://h?x", "/?x"}, {"http://u:p@h:1/a#f", "/a"}, {"http://h#f", "/"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf out = BUF_INIT;

		proxy_raw_target(slice_str(cases[i][0]), &out);
		assert_string_equal(buf_cstr(&out), cases[i][1]);
		buf_free(&out);
	}
}

/* ---- rules ---- */

static ptrdiff_t
rule_of(const char *text)
{
	const struct config_proxy_rule *r;
	struct url u;

	assert_int_equal(url_parse(&u, slice_str(text), NULL), 0);
	r = proxy_rule_find(&config.proxy, &u);
	url_free(&u);
	return r != NULL ? r - config.proxy.rules : -1;
}

static void
the_first_matching_rule_holds(void **state)
{
	(void)state;
	load("{rules: [{regex: 'blobs/sha256.*'}, {regex: '^https?://h/x'}, {regex: '/x'}, {regex: 'whl$'}]}");
	assert_int_equal(rule_of("http://r/v2/a/blobs/sha256:1"), 0);
	assert_int_equal(rule_of("http://H:80/x"), 1);
	assert_int_equal(rule_of("http://h:81/x"), 2);
	assert_int_equal(rule_of("http://h:81/a/../x"), 2);
	assert_int_equal(rule_of("http://h/a.whl?x=/x"), 3);
	assert_int_equal(rule_of("http://h/a#/x"), -1);
	assert_int_equal(rule_of("http://h/a.whl.metadata"), -1);
	config_free(&config);
}

static void
expect_download(size_t rule, const char *url, const char *want)
{
	struct buf out = BUF_INIT;

	proxy_download_url(slice_str(url), &config.proxy.rules[rule], &out);
	assert_string_equal(buf_cstr(&out), want);
	buf_free(&out);
}

static void
download_urls(void **state)
{
	(void)state;
	load("{rules: [{regex: a}, {regex: b, useTLS: true}, {regex: c, redirect: 'm:1'}, {regex: d, redirect: 'https://m/'}, {regex: e, redirect: 'http://m'}]}");
	expect_download(0, "http://h:80/p?q#f", "http://h:80/p?q#f");
	expect_download(1, "http://h:80/p?q", "https://h/p?q");
	expect_download(1, "http://h:81/p", "https://h:81/p");
	expect_download(2, "http://h/p?q", "http://m:1/p?q");
	expect_download(3, "http://h/p", "https://m/p");
	expect_download(4, "https://h/p", "http://m/p");
	config_free(&config);
}

static void
signatures_over_range_are_seen(void **state)
{
	(void)state;
	assert_true(proxy_signs_range(slice_str("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;range;x-amz-date, Signature=1"), (struct slice){0}));
	assert_false(proxy_signs_range(slice_str("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;x-range, Signature=1"), (struct slice){0}));
	assert_false(proxy_signs_range(slice_str("Bearer SignedHeaders=range"), (struct slice){0}));
	assert_true(proxy_signs_range((struct slice){0}, slice_str("a=1&X-Amz-SignedHeaders=host%3Brange")));
	assert_false(proxy_signs_range((struct slice){0}, slice_str("X-Amz-SignedHeaders=host")));
}

/* ---- fields ---- */

static void
fields_travel_where_they_should(void **state)
{
	static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nUpgrade: x\r\nX-Dragonfly-Tag: t\r\nX-Kept: 1\r\n"
	    "Accept-Encoding: gzip\r\nIf-None-Match: x\r\nAuthorization: b\r\nRange: bytes=0-1\r\n\r\n";
	static const char *const up[] = {"X-Kept", "Accept-Encoding", "If-None-Match", "Authorization", "Range"};
	static const char *const task[] = {"X-Kept", "Authorization"};
	struct slice in = slice_str(head), data;
	size_t ups = 0, tasks = 0;
	struct h1 h;

	(void)state;
	h1_init(&h, H1_REQUEST);
	assert_int_equal(h1_parse(&h, &in, &data), H1_HEAD);
	for (size_t i = 0; i < h.field_count; i++) {
		if (proxy_field_goes_up(&h, h.fields[i].name))
			assert_true(ups < 5 && slice_eq_str(h.fields[i].name, up[ups++]));
		if (proxy_field_is_for_task(&h, &h.fields[i]))
			assert_true(tasks < 2 && slice_eq_str(h.fields[i].name, task[tasks++]));
	}
	assert_int_equal(ups, 5);
	assert_int_equal(tasks, 2);
	h1_free(&h);
	assert_true(proxy_field_is_told("etag", "\"a\""));
	assert_true(proxy_field_is_told("docker-content-digest", "sha256:1"));
	assert_false(proxy_field_is_told("set-cookie", "a=b"));
	assert_false(proxy_field_is_told("connection", "close"));
	assert_false(proxy_field_is_told("bad name", "x"));
	assert_false(proxy_field_is_told("x", "a\nb"));
	assert_true(proxy_field_is_told_with_error("www-authenticate", "Bearer"));
	assert_false(proxy_field_is_told_with_error("content-length", "3"));
}

/* ---- rate ---- */

static void
a_second_has_its_requests_and_no_more(void **state)
{
	struct proxy_rate r;

	(void)state;
	proxy_rate_init(&r, 3, 5000);
	for (int second = 0; second < 3; second++)
		for (int i = 0; i < 5; i++)
			assert_int_equal(proxy_rate_take(&r, 5000 + second * 2000 + i * 100), i < 3);
	/* A clock that is read a moment late. */
	assert_true(proxy_rate_take(&r, 5000 + 7 * 1000));
	assert_true(proxy_rate_take(&r, 5000 + 7 * 1000 - 1));
	proxy_rate_init(&r, 0, 0);
	assert_false(proxy_rate_take(&r, 1));
	proxy_rate_init(&r, UINT64_MAX, 0);
	assert_true(proxy_rate_take(&r, 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credentials_follow_the_table),
		cmocka_unit_test(authorities_of_connect),
		cmocka_unit_test(mirror_bases),
		cmocka_unit_test(hosts_match_patterns),
		cmocka_unit_test(raw_targets),
		cmocka_unit_test(the_first_matching_rule_holds),
		cmocka_unit_test(download_urls),
		cmocka_unit_test(signatures_over_range_are_seen),
		cmocka_unit_test(fields_travel_where_they_should),
		cmocka_unit_test(a_second_has_its_requests_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
