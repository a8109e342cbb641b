#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

static void
times_are_written_as_rfc_3339(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} rows[] = {
		{0, "1970-01-01T00:00:00.000000Z"},
		{1767323045678901000, "2026-01-02T03:04:05.678901Z"},
		{1767323045678901999, "2026-01-02T03:04:05.678901Z"},
		{-1, "1969-12-31T23:59:59.999999Z"},
		{951782400000000000, "2000-02-29T00:00:00.000000Z"},
		{INT64_MAX, "2262-04-11T23:47:16.854775Z"},
		{INT64_MIN, "1677-09-21T00:12:43.145224Z"},
	};
	char out[CLOCK_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		clock_format(rows[i].ns, out);
		assert_string_equal(out, rows[i].text);
	}
}

static void
clocks_run_forward_and_agree_on_units(void **state)
{
	int64_t ns = clock_mono_ns(), ms = clock_mono_ms(), wall_ns = clock_wall_ns(), wall_ms = clock_wall_ms();

	(void)state;
	assert_true(clock_mono_ns() >= ns);
	assert_true(ms >= ns / 1000000 && ms - ns / 1000000 < 10000);
	assert_true(wall_ms >= wall_ns / 1000000 && wall_ms - wall_ns / 1000000 < 10000);
	assert_true(wall_ms > 1700000000000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_written_as_rfc_3339),
		cmocka_unit_test(clocks_run_forward_and_agree_on_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
