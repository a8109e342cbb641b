#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "text/units.h"

#define S 1000000000LL

static void
sizes_are_read(void **state)
{
	static const struct {
		const char *in;
		uint64_t out;
	} rows[] = {
		{"10", 10}, {"0", 0}, {"50GB", 50000000000}, {"10TiB", 10995116277760}, {"8MiB", 8388608}, {"8 mib", 8388608},
		{"8Mi", 8388608}, {"8 \t MI", 8388608}, {"0.5GB", 500000000}, {".5GB", 500000000}, {"1.5B", 1}, {"3.9999999MiB", 4194303},
		{"+5", 5}, {"10 ", 10}, {" 10", 10}, {" 8MiB ", 8388608}, {"1.MB", 1000000}, {"1k", 1000}, {"1kb", 1000}, {"1ki", 1024},
		{"1KiB", 1024}, {"1m", 1000000}, {"1g", 1000000000}, {"1gi", 1073741824}, {"1t", 1000000000000}, {"1tb", 1000000000000},
		{"1p", 1000000000000000}, {"1PB", 1000000000000000}, {"1pi", 1125899906842624}, {"1PiB", 1125899906842624}, {"7b", 7}, {"4mib", 4194304}, {"1GB", 1000000000},
		{"18446744073709551615", UINT64_MAX}, {"18446744073709551615b", UINT64_MAX}, {"16383.999999999999999PiB", 18446744073709551614u},
		{"0.1kB", 100}, {"0.0009kB", 0}, {"0000001kb", 1000}, {"9007199254740993.0b", 9007199254740993},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err e = {0};
		uint64_t v = 0;

		if (units_parse_size(slice_str(rows[i].in), &v, &e) < 0)
			fail_msg("%s: %s", rows[i].in, e.text);
		if (v != rows[i].out)
			fail_msg("%s gave %llu", rows[i].in, (unsigned long long)v);
	}
}

static void
wrong_sizes_are_refused(void **state)
{
	static const char *const rows[] = {
		"", " ", "+", ".", ".GB", "1.5", "1.", "1e3", "-5MB", "-5", "1EB", "1GB/s", "+5MB", "1,000", "1_000", "1.2.3MB", "4x", "abc", "MiB", "1 2",
		"1kbb", "1kib i", "1bi", "1bb", "1ib", "0x10", "18446744073709551616", "99999999999PB", "16384PiB", "18447PB", "1\xc2\xb5", "1 M B", "++1",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err e = {0};
		uint64_t v = 7;

		if (units_parse_size(slice_str(rows[i]), &v, &e) == 0)
			fail_msg("%s was taken as %llu", rows[i], (unsigned long long)v);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
		assert_int_equal(v, 7);
	}
	assert_int_equal(units_parse_size(slice_make("1\0", 2), &(uint64_t){0}, NULL), -1);
}

static void
durations_are_read(void **state)
{
	static const struct {
		const char *in;
		int64_t out;
	} rows[] = {
		{"0", 0}, {"360s", 360 * S}, {"6m", 360 * S}, {"6 min", 360 * S}, {"720h", 2592000 * S}, {"30d", 2592000 * S}, {"1.5h", 5400 * S},
		{"1h 30m 5s", 5405 * S}, {"1h30m", 5400 * S}, {"200ms", S / 5}, {"1M", 2630016 * S}, {"1 2s", 12 * S}, {"1 hour 2 hours", 10800 * S},
		{" 1s ", S}, {"1s\t2s", 3 * S}, {"0s", 0}, {"00s", 0}, {"1ns", 1}, {"1nanos", 1}, {"1nsec", 1}, {"1us", 1000}, {"1usec", 1000},
		{"1\xc2\xb5s", 1000}, {"1ms", 1000000}, {"1millis", 1000000}, {"1msec", 1000000}, {"1sec", S}, {"1secs", S}, {"1second", S},
		{"1seconds", S}, {"1minute", 60 * S}, {"1minutes", 60 * S}, {"1mins", 60 * S}, {"1hr", 3600 * S}, {"1hrs", 3600 * S}, {"1day", 86400 * S},
		{"2days", 172800 * S}, {"1w", 604800 * S}, {"1week", 604800 * S}, {"1weeks", 604800 * S}, {"1wk", 604800 * S}, {"1wks", 604800 * S},
		{"1month", 2630016 * S}, {"1months", 2630016 * S}, {"1y", 31557600 * S}, {"1yr", 31557600 * S}, {"1yrs", 31557600 * S}, {"1year", 31557600 * S},
		{"1years", 31557600 * S}, {"0.5s", S / 2}, {"0.000000001s", 1}, {"1.5us", 1500}, {"0.5m", 30 * S}, {"1.000s", S}, {"0.25d", 21600 * S},
		{"2.0ns", 2}, {"1.5 0s", 3 * S / 2}, {"9223372036854775807ns", INT64_MAX}, {"5s 1h", 3605 * S},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err e = {0};
		int64_t v = -1;

		if (units_parse_duration(slice_str(rows[i].in), &v, &e) < 0)
			fail_msg("%s: %s", rows[i].in, e.text);
		if (v != rows[i].out)
			fail_msg("%s gave %lld", rows[i].in, (long long)v);
	}
}

static void
wrong_durations_are_refused(void **state)
{
	static const char *const rows[] = {
		"", " ", "-1s", "+1s", ".5s", "s", "1h-30m", "1h,30m", "1.s", "1. s", "30", "00", "0 ", " 0", "1.5", "1H", "1S", "1 x", "0.5ns", "0.0000000001s",
		"1.0001h", "0.00001d", "1s 2", "1..5s", "1.5.5s", "1s/2", "9223372036854775808ns", "293y", "292y 1y", "99999999999999999999s", "1e3s",
		"1\xc2s", "1mss", "1Min", "1s\xff", "infinity",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err e = {0};
		int64_t v = 7;

		if (units_parse_duration(slice_str(rows[i]), &v, &e) == 0)
			fail_msg("\"%s\" was taken as %lld", rows[i], (long long)v);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
		assert_int_equal(v, 7);
	}
	assert_int_equal(units_parse_duration(slice_make("1s\0", 3), &(int64_t){0}, NULL), -1);
}

static void
missing_unit_says_so(void **state)
{
	struct err e = {0};
	int64_t v;

	(void)state;
	assert_int_equal(units_parse_duration(slice_str("30"), &v, &e), -1);
	assert_non_null(strstr(e.text, "time unit needed, for example 30sec or 30ms"));
}

static void
texts_are_limited(void **state)
{
	char text[UNITS_TEXT_MAX + 2];
	uint64_t size;
	int64_t ns;

	(void)state;
	memset(text, '0', sizeof(text));
	text[UNITS_TEXT_MAX - 1] = 'b';
	assert_int_equal(units_parse_size(slice_make(text, UNITS_TEXT_MAX), &size, NULL), 0);
	text[UNITS_TEXT_MAX - 1] = 's';
	assert_int_equal(units_parse_duration(slice_make(text, UNITS_TEXT_MAX), &ns, NULL), 0);
	memset(text, '0', sizeof(text));
	text[UNITS_TEXT_MAX] = 'b';
	assert_int_equal(units_parse_size(slice_make(text, UNITS_TEXT_MAX + 1), &size, NULL), -1);
	text[UNITS_TEXT_MAX] = 's';
	assert_int_equal(units_parse_duration(slice_make(text, UNITS_TEXT_MAX + 1), &ns, NULL), -1);
}

static void
sizes_are_written(void **state)
{
	static const struct {
		uint64_t in;
		const char *size;
		const char *rate;
	} rows[] = {
		{0, "0 B", "0 B/s"}, {512, "512 B", "512 B/s"}, {1023, "1023 B", "1023 B/s"}, {1024, "1.0 kiB", "1.00 KiB/s"},
		{1536, "1.5 kiB", "1.50 KiB/s"}, {4194304, "4.0 MiB", "4.00 MiB/s"}, {11010048, "10.5 MiB", "10.50 MiB/s"},
		{1000341504, "954.0 MiB", "954.00 MiB/s"}, {1048575, "1.0 MiB", "1.00 MiB/s"}, {UINT64_MAX, "16.0 EiB", "16.00 EiB/s"},
		{1099511627776, "1.0 TiB", "1.00 TiB/s"}, {1125899906842624, "1.0 PiB", "1.00 PiB/s"},
	};
	char out[UNITS_OUT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_string_equal(units_format_size(rows[i].in, out), rows[i].size);
		assert_string_equal(units_format_rate(rows[i].in, out), rows[i].rate);
	}
}

static void
durations_are_written_and_read_back(void **state)
{
	static const struct {
		int64_t in;
		const char *out;
	} rows[] = {
		{0, "0s"}, {-5, "0s"}, {604800 * S, "7days"}, {S / 5, "200ms"}, {86400 * S, "1day"}, {95405 * S, "1day 2h 30m 5s"},
		{31557600 * S, "1year"}, {2 * 31557600 * S + 2630016 * S, "2years 1month"}, {1001001001, "1s 1ms 1us 1ns"},
		{INT64_MAX, "292years 3months 7days 16h 6m 28s 854ms 775us 807ns"},
	};
	char out[UNITS_OUT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t back = -1;

		assert_string_equal(units_format_duration(rows[i].in, out), rows[i].out);
		assert_int_equal(units_parse_duration(slice_str(out), &back, NULL), 0);
		assert_int_equal(back, rows[i].in > 0 ? rows[i].in : 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_read),
		cmocka_unit_test(wrong_sizes_are_refused),
		cmocka_unit_test(durations_are_read),
		cmocka_unit_test(wrong_durations_are_refused),
		cmocka_unit_test(missing_unit_says_so),
		cmocka_unit_test(texts_are_limited),
		cmocka_unit_test(sizes_are_written),
		cmocka_unit_test(durations_are_written_and_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
