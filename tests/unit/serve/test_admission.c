#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "serve/admission.h"

static const struct slice nobody;

static uint64_t
take_all(struct admission *a, struct slice host, int64_t now)
{
	uint64_t n = 0;
	struct err e;

	while (n < 100000 && admission_take(a, host, now, &e) == 0)
		n++;
	return n;
}

static void
burst_is_rate_and_buffer_and_then_the_rate(void **state)
{
	struct admission a;

	(void)state;
	admission_init(&a, 400, 50, 1000);
	assert_int_equal(take_all(&a, nobody, 1000), 450);
	assert_int_equal(take_all(&a, nobody, 1001), 0);
	assert_int_equal(take_all(&a, nobody, 1010), 4);
	assert_int_equal(take_all(&a, nobody, 2010), 400);
	assert_int_equal(take_all(&a, nobody, 1000000), 450);
	assert_int_equal(a.refused, 5);
}

static void
refusal_says_why(void **state)
{
	struct admission a;
	struct err e;

	(void)state;
	admission_init(&a, 1, 0, 0);
	assert_int_equal(admission_take(&a, nobody, 0, &e), 0);
	assert_int_equal(admission_take(&a, nobody, 0, &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	assert_string_equal(e.text, "server is overloaded: too many requests, please retry later");
}

static void
slow_rates_earn_in_the_end(void **state)
{
	struct admission a;
	uint64_t n = 0;

	(void)state;
	admission_init(&a, 1, 0, 0);
	take_all(&a, nobody, 0);
	/* Looked at often, each look worth less than one request. */
	for (int64_t t = 1; t <= 10000; t++)
		n += admission_take(&a, nobody, t, NULL) == 0;
	assert_int_equal(n, 10);
}

static void
one_host_leaves_room_for_others(void **state)
{
	struct admission a;

	(void)state;
	admission_init(&a, 100, 50, 0);
	assert_int_equal(take_all(&a, slice_make("\x0a\0\0\1", 4), 0), 125);
	assert_int_equal(take_all(&a, slice_make("\x0a\0\0\2", 4), 0), 25);
}

static void
zero_is_no_limit_and_the_largest_numbers_are_no_trouble(void **state)
{
	struct admission a;

	(void)state;
	admission_init(&a, 0, 0, 0);
	assert_int_equal(take_all(&a, nobody, 0), 100000);
	admission_init(&a, UINT64_MAX, UINT64_MAX, 0);
	assert_int_equal(take_all(&a, nobody, INT64_MAX), 100000);
}

static void
clock_that_steps_back_gives_nothing(void **state)
{
	struct admission a;

	(void)state;
	admission_init(&a, 10, 0, 5000);
	take_all(&a, nobody, 5000);
	assert_int_equal(take_all(&a, nobody, 0), 0);
	assert_int_equal(take_all(&a, nobody, 6000), 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(burst_is_rate_and_buffer_and_then_the_rate),
		cmocka_unit_test(refusal_says_why),
		cmocka_unit_test(slow_rates_earn_in_the_end),
		cmocka_unit_test(one_host_leaves_room_for_others),
		cmocka_unit_test(zero_is_no_limit_and_the_largest_numbers_are_no_trouble),
		cmocka_unit_test(clock_that_steps_back_gives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
