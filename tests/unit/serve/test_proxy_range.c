/* Ranges and conditions of the proxy (spec: proxy.md 9.2, 10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "serve/proxy_range.h"

#define L UINT64_C(10485760)

static void
single_ranges_follow_the_table(void **state)
{
	static const struct {
		const char *value;
		uint64_t length;
		enum proxy_range want;
		uint64_t start, n;
	} cases[] = {
		{"bytes=0-0", L, PROXY_RANGE_PARTS, 0, 1},
		{"Bytes=0-0", L, PROXY_RANGE_PARTS, 0, 1},
		{"bytes=100-199", L, PROXY_RANGE_PARTS, 100, 100},
		{"bytes=10485700-", L, PROXY_RANGE_PARTS, 10485700, 60},
		{"bytes=-100", L, PROXY_RANGE_PARTS, L - 100, 100},
		{"bytes=10485700-99999999", L, PROXY_RANGE_PARTS, 10485700, 60},
		{"bytes=-99999999", L, PROXY_RANGE_PARTS, 0, L},
		{"bytes=0-99999999999999999999999", L, PROXY_RANGE_PARTS, 0, L},
		{"bytes=10485760-", L, PROXY_RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=99999999999999999999999-", L, PROXY_RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=-0", L, PROXY_RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=200-100", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=abc", L, PROXY_RANGE_WHOLE, 0, 0},
		{"items=0-1", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=+0-1", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=00-5", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes= 0-15", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=0-1 ", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=-", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=1", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes", L, PROXY_RANGE_WHOLE, 0, 0},
		{"bytes=0-9", 0, PROXY_RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=0-", 0, PROXY_RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=-5", 0, PROXY_RANGE_UNSATISFIABLE, 0, 0},
	};
	struct proxy_part parts[PROXY_RANGES_MAX];
	size_t count;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (proxy_range_parse(slice_str(cases[i].value), cases[i].length, parts, &count) != cases[i].want)
			fail_msg("%s", cases[i].value);
		if (cases[i].want != PROXY_RANGE_PARTS)
			continue;
		assert_int_equal(count, 1);
		assert_int_equal(parts[0].start, cases[i].start);
		assert_int_equal(parts[0].length, cases[i].n);
	}
	assert_int_equal(proxy_range_parse((struct slice){0}, L, parts, &count), PROXY_RANGE_WHOLE);
}

static void
several_ranges_keep_their_order_and_lose_what_is_behind_the_end(void **state)
{
	struct proxy_part parts[PROXY_RANGES_MAX];
	size_t count;

	(void)state;
	assert_int_equal(proxy_range_parse(slice_str("bytes=20-29, 0-9,10485760-,5-14"), L, parts, &count), PROXY_RANGE_PARTS);
	assert_int_equal(count, 3);
	assert_int_equal(parts[0].start, 20);
	assert_int_equal(parts[1].start, 0);
	assert_int_equal(parts[2].start, 5);
	assert_int_equal(proxy_range_parse(slice_str("bytes=0-9,x"), L, parts, &count), PROXY_RANGE_WHOLE);
	assert_int_equal(proxy_range_parse(slice_str("bytes=0-9,"), L, parts, &count), PROXY_RANGE_WHOLE);
	assert_int_equal(proxy_range_parse(slice_str("bytes=10485760-,-0"), L, parts, &count), PROXY_RANGE_UNSATISFIABLE);
}

static void
one_range_too_many_is_the_whole(void **state)
{
	struct proxy_part parts[PROXY_RANGES_MAX];
	char value[16 + 4 * (PROXY_RANGES_MAX + 1)] = "bytes=0-0";
	size_t count;

	(void)state;
	for (int i = 1; i < PROXY_RANGES_MAX; i++)
		memcpy(value + strlen(value), ",0-0", 5);
	assert_int_equal(proxy_range_parse(slice_str(value), L, parts, &count), PROXY_RANGE_PARTS);
	assert_int_equal(count, PROXY_RANGES_MAX);
	memcpy(value + strlen(value), ",0-0", 5);
	assert_int_equal(proxy_range_parse(slice_str(value), L, parts, &count), PROXY_RANGE_WHOLE);
}

static int
meet(const char *inm, const char *ims, const char *if_range, const char *range, const char *etag, const char *modified)
{
	struct proxy_wish w = {.range = slice_str(range), .if_range = slice_str(if_range), .if_none_match = slice_str(inm), .if_modified_since = slice_str(ims)};
	struct proxy_part parts[PROXY_RANGES_MAX];
	size_t count;

	return proxy_wish_meet(&w, etag, modified, L, parts, &count);
}

static void
conditions_are_evaluated(void **state)
{
	static const char old[] = "Sun, 06 Nov 1994 08:49:37 GMT", later[] = "Mon, 07 Nov 1994 08:49:37 GMT";

	(void)state;
	assert_int_equal(meet(NULL, NULL, NULL, NULL, NULL, NULL), 200);
	assert_int_equal(meet("\"a\"", NULL, NULL, NULL, "\"a\"", NULL), 304);
	assert_int_equal(meet("W/\"a\", \"b\"", NULL, NULL, "bytes=0-0", "\"a\"", NULL), 304);
	assert_int_equal(meet("\"c\"", old, NULL, NULL, "\"a\"", old), 200);
	assert_int_equal(meet("*", NULL, NULL, NULL, NULL, NULL), 304);
	assert_int_equal(meet("\"c\"", NULL, NULL, NULL, NULL, NULL), 200);
	assert_int_equal(meet(NULL, old, NULL, NULL, NULL, old), 304);
	assert_int_equal(meet(NULL, later, NULL, NULL, NULL, old), 304);
	assert_int_equal(meet(NULL, old, NULL, NULL, NULL, later), 200);
	assert_int_equal(meet(NULL, "junk", NULL, NULL, NULL, old), 200);
	assert_int_equal(meet(NULL, NULL, "\"a\"", "bytes=0-0", "\"a\"", NULL), 206);
	assert_int_equal(meet(NULL, NULL, "W/\"a\"", "bytes=0-0", "W/\"a\"", NULL), 200);
	assert_int_equal(meet(NULL, NULL, "\"b\"", "bytes=0-0", "\"a\"", NULL), 200);
	assert_int_equal(meet(NULL, NULL, old, "bytes=0-0", NULL, old), 206);
	assert_int_equal(meet(NULL, NULL, later, "bytes=0-0", NULL, old), 200);
	assert_int_equal(meet(NULL, NULL, NULL, "bytes=10485760-", NULL, NULL), 416);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_ranges_follow_the_table),
		cmocka_unit_test(several_ranges_keep_their_order_and_lose_what_is_behind_the_end),
		cmocka_unit_test(one_range_too_many_is_the_whole),
		cmocka_unit_test(conditions_are_evaluated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
