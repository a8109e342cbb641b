#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "peer/limit.h"

#define MS INT64_C(1000000)

static void
no_limit_never_waits(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 0);
	assert_int_equal(limit_charge(&l, UINT64_MAX, 0), 0);
	assert_int_equal(limit_charge(NULL, UINT64_MAX, 0), 0);
}

static void
moves_the_rate_over_ten_seconds(void **state)
{
	struct limit l;
	uint64_t moved = 0;
	int64_t t = 0;

	(void)state;
	limit_init(&l, 1000000);
	while (t < 10000) {
		moved += 65536;
		t += limit_charge(&l, 65536, t * MS);
	}
	assert_in_range(moved, 9900000, 10200000);
}

static void
idle_time_earns_one_burst_only(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 1000);
	assert_int_equal(limit_charge(&l, 100, 3600000 * MS), 0);
	assert_int_equal(limit_charge(&l, 100, 3600000 * MS), 100);
}

static void
takers_wait_behind_each_other(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 1000);
	assert_int_equal(limit_charge(&l, 1100, 3600000 * MS), 1000);
	assert_int_equal(limit_charge(&l, 1000, 3600000 * MS), 2000);
	assert_int_equal(limit_charge(&l, 0, 3602000 * MS), 0);
}

static void
tiny_rates_and_huge_charges_stay_bounded(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 1);
	assert_in_range(limit_charge(&l, UINT64_MAX, 1000000 * MS), LIMIT_WAIT_MAX_MS - 100, LIMIT_WAIT_MAX_MS);
	assert_in_range(limit_charge(&l, UINT64_MAX, 1000000 * MS), LIMIT_WAIT_MAX_MS - 100, LIMIT_WAIT_MAX_MS);
	limit_init(&l, UINT64_MAX);
	assert_int_equal(limit_charge(&l, UINT64_MAX, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_limit_never_waits),
		cmocka_unit_test(moves_the_rate_over_ten_seconds),
		cmocka_unit_test(idle_time_earns_one_burst_only),
		cmocka_unit_test(takers_wait_behind_each_other),
		cmocka_unit_test(tiny_rates_and_huge_charges_stay_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
