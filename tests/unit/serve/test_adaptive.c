#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "config/config.h"
#include "serve/adaptive.h"

/* Defaults of the configuration. */
static const struct config_adaptive_rate_limit defaults = {
	.is_on = true, .bucket_count = 50, .bucket_interval_ms = 200, .cpu_threshold_percent = 100, .memory_threshold_percent = 90,
	.shed_cooldown_ms = 5000, .collect_interval_ms = 3000,
};

/* n calls that begin at now and take ms. */
static void
serve(struct adaptive *a, unsigned n, int64_t now, int64_t ms)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(adaptive_enter(a, now, true, NULL), 0);
	for (unsigned i = 0; i < n; i++)
		adaptive_answered(a, now, ms);
}

static unsigned
enter_all(struct adaptive *a, int64_t now)
{
	unsigned n = 0;

	while (n < 1000 && adaptive_enter(a, now, true, NULL) == 0)
		n++;
	return n;
}

static void
limit_is_passes_times_time_over_interval(void **state)
{
	struct adaptive a;

	(void)state;
	adaptive_init(&a, &defaults);
	assert_true(adaptive_limit(&a, 100000) == UINT64_MAX);
	serve(&a, 40, 100000, 100);
	/* The stretch that runs does not count yet. */
	assert_true(adaptive_limit(&a, 100100) == UINT64_MAX);
	assert_int_equal(adaptive_limit(&a, 100200), 20);
	serve(&a, 10, 100200, 300);
	assert_int_equal(adaptive_limit(&a, 100400), 20);
	serve(&a, 10, 100400, 50);
	assert_int_equal(adaptive_limit(&a, 100600), 10);
	adaptive_free(&a);
}

static void
some_are_let_in_however_quick_the_past_was(void **state)
{
	struct adaptive a;

	(void)state;
	adaptive_init(&a, &defaults);
	serve(&a, 1, 100000, 0);
	assert_int_equal(adaptive_limit(&a, 100200), ADAPTIVE_LIMIT_MIN);
	adaptive_free(&a);
}

static void
the_past_expires(void **state)
{
	struct adaptive a;

	(void)state;
	adaptive_init(&a, &defaults);
	serve(&a, 40, 100000, 100);
	assert_int_equal(adaptive_limit(&a, 100000 + 50 * 200), 20);
	assert_true(adaptive_limit(&a, 100000 + 51 * 200) == UINT64_MAX);
	adaptive_free(&a);
}

static void
nothing_is_shed_without_load(void **state)
{
	struct adaptive a;

	(void)state;
	adaptive_init(&a, &defaults);
	serve(&a, 40, 100000, 100);
	assert_int_equal(enter_all(&a, 100200), 1000);
	adaptive_free(&a);
}

static void
under_load_the_limit_holds_and_in_the_cool_down_too(void **state)
{
	struct adaptive a;
	struct err e;

	(void)state;
	adaptive_init(&a, &defaults);
	serve(&a, 40, 100000, 100);
	a.is_overloaded = true;
	assert_int_equal(enter_all(&a, 100200), 20);
	assert_int_equal(adaptive_enter(&a, 100201, true, &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	assert_string_equal(e.text, "server is overloaded: CPU/memory thresholds are exceeded, please retry later");
	/* What must never be shed is not. */
	assert_int_equal(adaptive_enter(&a, 100201, false, &e), 0);
	adaptive_leave(&a);
	/* The load is gone, the cool-down is not: what is within the limit comes in. */
	a.is_overloaded = false;
	assert_int_equal(adaptive_enter(&a, 103000, true, &e), -1);
	adaptive_leave(&a);
	assert_int_equal(adaptive_enter(&a, 103000, true, &e), 0);
	assert_int_equal(adaptive_enter(&a, 103000, true, &e), -1);
	assert_int_equal(adaptive_enter(&a, 105202, true, &e), 0);
	assert_int_equal(a.shed, 4);
	adaptive_free(&a);
}

static void
the_first_call_is_always_let_in(void **state)
{
	struct adaptive a;

	(void)state;
	adaptive_init(&a, &defaults);
	a.is_overloaded = true;
	assert_int_equal(adaptive_enter(&a, 5, true, NULL), 0);
	adaptive_free(&a);
}

static void
memory_at_its_threshold_is_load(void **state)
{
	struct config_adaptive_rate_limit c = defaults;
	struct adaptive_load l = {0};

	(void)state;
	assert_false(adaptive_load_look(&l, &c));
	c.memory_threshold_percent = 0;
	assert_true(adaptive_load_look(&l, &c));
	c.memory_threshold_percent = 100;
	c.cpu_threshold_percent = 0;
	/* One look alone tells no share. */
	assert_false(adaptive_load_look(&l, &c));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit_is_passes_times_time_over_interval),
		cmocka_unit_test(some_are_let_in_however_quick_the_past_was),
		cmocka_unit_test(the_past_expires),
		cmocka_unit_test(nothing_is_shed_without_load),
		cmocka_unit_test(under_load_the_limit_holds_and_in_the_cool_down_too),
		cmocka_unit_test(the_first_call_is_always_let_in),
		cmocka_unit_test(memory_at_its_threshold_is_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
