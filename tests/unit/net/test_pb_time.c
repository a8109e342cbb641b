/* Times in messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/pb_time.h"

static void
times_come_back_as_they_were(void **state)
{
	static const int64_t times[] = {0, 1, 999999999, 1000000000, 1700000000123456789, INT64_MAX / PB_NS_PER_S * PB_NS_PER_S - 1};

	(void)state;
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		struct google_duration d = pb_duration(times[i]);
		struct google_timestamp t = pb_timestamp(times[i]);

		assert_int_equal(pb_duration_ns(&d), times[i]);
		assert_int_equal(pb_timestamp_ns(&t), times[i]);
	}
	assert_int_equal(pb_timestamp_ms(1234).seconds, 1);
	assert_int_equal(pb_timestamp_ms(1234).nanos, 234000000);
	assert_int_equal(pb_duration_ms(1999).seconds, 1);
	assert_int_equal(pb_duration_ms(1999).nanos, 999000000);
}

static void
what_cannot_be_held_is_nothing(void **state)
{
	static const struct google_duration bad[] = {{.seconds = -1}, {.nanos = -1}, {.nanos = PB_NS_PER_S},
		{.seconds = INT64_MAX / PB_NS_PER_S}, {.seconds = INT64_MAX, .nanos = 999999999}, {.seconds = INT64_MIN}};

	(void)state;
	assert_int_equal(pb_duration_ns(NULL), 0);
	assert_int_equal(pb_timestamp_ns(NULL), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct google_timestamp t = {.seconds = bad[i].seconds, .nanos = bad[i].nanos};

		assert_int_equal(pb_duration_ns(&bad[i]), 0);
		assert_int_equal(pb_timestamp_ns(&t), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_come_back_as_they_were),
		cmocka_unit_test(what_cannot_be_held_is_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
