#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "source/range.h"
#include "source/redirect_cache.h"

#define TTL 600000
#define NOW 1767323045  /* 2026-01-02T03:04:05Z */

static int64_t
ttl(const char *target, const char *cache_control)
{
	return redirect_cache_ttl_ms(slice_str(target), slice_str(cache_control), TTL, NOW);
}

static void
entries_live_until_their_time(void **state)
{
	struct redirect_cache c;

	(void)state;
	redirect_cache_init(&c);
	redirect_cache_put(&c, "k", slice_str("http://t/"), 1000, 500);
	assert_string_equal(redirect_cache_get(&c, "k", 1499), "http://t/");
	assert_null(redirect_cache_get(&c, "k", 1500));
	assert_int_equal(c.count, 0);
	redirect_cache_put(&c, "k", slice_str("http://t/"), 1000, 0);
	assert_null(redirect_cache_get(&c, "k", 1000));
	redirect_cache_put(&c, "k", slice_str("http://a/"), 1000, 10);
	redirect_cache_put(&c, "k", slice_str("http://b/"), 1000, 10);
	assert_string_equal(redirect_cache_get(&c, "k", 1000), "http://b/");
	redirect_cache_drop(&c, "k");
	redirect_cache_drop(&c, "k");
	assert_null(redirect_cache_get(&c, "k", 1000));
	redirect_cache_free(&c);
}

static void
the_least_recently_used_goes_first(void **state)
{
	struct redirect_cache c;
	char key[16];

	(void)state;
	redirect_cache_init(&c);
	for (int i = 0; i < REDIRECT_CACHE_MAX; i++) {
		snprintf(key, sizeof(key), "%d", i);
		redirect_cache_put(&c, key, slice_str("t"), 0, 10);
	}
	assert_non_null(redirect_cache_get(&c, "0", 0));
	redirect_cache_put(&c, "one more", slice_str("t"), 0, 10);
	assert_int_equal(c.count, REDIRECT_CACHE_MAX);
	assert_non_null(redirect_cache_get(&c, "0", 0));
	assert_null(redirect_cache_get(&c, "1", 0));
	redirect_cache_free(&c);
}

static void
visible_expiry_shortens_the_time(void **state)
{
	(void)state;
	assert_int_equal(ttl("https://s/x", NULL), TTL);
	assert_int_equal(ttl("https://s/x?X-Amz-Date=20260102T030405Z&X-Amz-Expires=100", NULL), 70000);
	assert_int_equal(ttl("https://s/x?X-Amz-Date=20260102T030405Z&X-Amz-Expires=3600", NULL), TTL);
	assert_int_equal(ttl("https://s/x?X-Goog-Date=20260102T030305Z&X-Goog-Expires=100", NULL), 10000);
	assert_int_equal(ttl("https://s/x?Expires=1767323085&Signature=x", NULL), 10000);
	assert_int_equal(ttl("https://s/x?se=2026-01-02T03%3A05%3A05Z&sig=x", NULL), 30000);
	assert_int_equal(ttl("https://s/x?se=2026-01-02T03:05Z#f", NULL), 25000);
	assert_true(ttl("https://s/x?Expires=1000", NULL) <= 0);
	assert_int_equal(ttl("https://s/x?Expires=soon&se=never", NULL), TTL);
	assert_int_equal(ttl("https://s/x?se=2028-03-01T00:00:00Z", NULL), TTL);
	assert_int_equal(ttl("https://s/x?Expires=99999999999999999999", NULL), TTL);
}

static void
cache_control_is_honoured(void **state)
{
	(void)state;
	assert_int_equal(ttl("https://s/x", "no-store"), 0);
	assert_int_equal(ttl("https://s/x", "private, max-age=5"), 5000);
	assert_int_equal(ttl("https://s/x", "max-age=0"), 0);
	assert_int_equal(ttl("https://s/x", "max-age=100000"), TTL);
	assert_int_equal(ttl("https://s/x", "public"), TTL);
}

static void
content_ranges(void **state)
{
	static const char *const bad[] = {
		"", "bytes", "bytes ", "bytes 0-0", "bytes 0/1", "bytes -1/2", "bytes 1-/2", "bytes 1-0/2", "bytes 0-2/2", "Bytes 0-0/1", "items 0-0/1",
		"bytes */*", "bytes a-b/c", "bytes 0-0/", "bytes 0-18446744073709551616/*", "bytes  0-0/1", "bytes 0 - 0/1",
	};
	struct content_range r;

	(void)state;
	assert_int_equal(content_range_parse(slice_str("bytes 5-9/100"), &r), 0);
	assert_int_equal(r.first, 5);
	assert_int_equal(r.last, 9);
	assert_true(r.has_total);
	assert_int_equal(r.total, 100);
	assert_int_equal(content_range_parse(slice_str("bytes 0-0/*"), &r), 0);
	assert_false(r.has_total);
	assert_int_equal(content_range_parse(slice_str("bytes */7"), &r), 0);
	assert_true(r.is_unsatisfied);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(content_range_parse(slice_str(bad[i]), &r), -1);
}

static void
strong_etags(void **state)
{
	(void)state;
	assert_true(etag_is_strong("\"a\""));
	assert_true(etag_is_strong("\"\""));
	assert_false(etag_is_strong("W/\"a\""));
	assert_false(etag_is_strong("\""));
	assert_false(etag_is_strong("a"));
	assert_false(etag_is_strong(NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_live_until_their_time),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(visible_expiry_shortens_the_time),
		cmocka_unit_test(cache_control_is_honoured),
		cmocka_unit_test(content_ranges),
		cmocka_unit_test(strong_etags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
