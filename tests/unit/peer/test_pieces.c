#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "peer/pieces.h"

#define MIB (UINT64_C(1) << 20)

static void
automatic_lengths_are_those_of_the_reference(void **state)
{
	const struct {
		uint64_t content, length, count, last;
	} rows[] = {
		{0, 4 * MIB, 0, 0}, {1, 4 * MIB, 1, 1}, {4194304, 4 * MIB, 1, 4194304}, {4194305, 4 * MIB, 2, 1},
		{104857600, 4 * MIB, 25, 4194304}, {1073741824, 4 * MIB, 256, 4194304}, {2097152000, 4 * MIB, 500, 4194304},
		{2097152499, 4 * MIB, 501, 499}, {2097152500, 8 * MIB, 251, 500}, {2147483648, 8 * MIB, 256, 8388608},
		{4194304000, 8 * MIB, 500, 8388608}, {4194304500, 16 * MIB, 251, 500}, {8388608000, 16 * MIB, 500, 16777216},
		{8388608500, 32 * MIB, 251, 500}, {16777216000, 32 * MIB, 500, 33554432}, {16777216500, 64 * MIB, 251, 500},
		{42949672960, 64 * MIB, 640, 67108864}, {1099511627776, 64 * MIB, 16384, 67108864},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint32_t count;

		assert_int_equal(piece_length_auto(rows[i].content), rows[i].length);
		assert_int_equal(piece_count(rows[i].content, rows[i].length, &count, NULL), 0);
		assert_int_equal(count, rows[i].count);
		if (count > 0)
			assert_int_equal(piece_size(rows[i].content, rows[i].length, count - 1), rows[i].last);
	}
}

static void
piece_lengths_out_of_bounds_are_refused(void **state)
{
	struct err e = {0};
	uint32_t count;

	(void)state;
	assert_int_equal(piece_length_check(PIECE_LENGTH_MIN, &e), 0);
	assert_int_equal(piece_length_check(PIECE_LENGTH_MAX, &e), 0);
	assert_int_equal(piece_length_check(PIECE_LENGTH_MIN - 1, &e), -1);
	assert_string_equal(e.text, "piece length 4194303 bytes is less than the minimum piece length 4194304 bytes");
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	assert_int_equal(piece_length_check(PIECE_LENGTH_MAX + 1, &e), -1);
	assert_int_equal(piece_length_check(0, &e), -1);
	assert_int_equal(piece_count(1, 0, &count, &e), -1);
	assert_int_equal(piece_count((uint64_t)PIECE_COUNT_MAX * MIB, MIB, &count, &e), 0);
	assert_int_equal(piece_count((uint64_t)PIECE_COUNT_MAX * MIB + 1, MIB, &count, &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
}

static void
spans_hold_the_pieces_that_a_range_touches(void **state)
{
	const struct {
		uint64_t length, content;
		struct byte_range range;
		bool has_range;
		uint32_t first, last;
	} rows[] = {
		{1000, 1, {0, 0}, false, 0, 0}, {1000, 5000, {0, 0}, false, 0, 4}, {5000, 1000, {0, 0}, false, 0, 0},
		{10, 101, {0, 0}, false, 0, 10}, {1000, 5000, {1500, 2000}, true, 1, 3}, {1000, 5000, {0, 1}, true, 0, 0},
		{1000, 5000, {4500, 1000}, true, 4, 4}, {4 * MIB, 41943045, {0, 0}, false, 0, 10},
		{4 * MIB, 41943045, {4194303, 2}, true, 0, 1}, {4 * MIB, 41943045, {4194304, 4194304}, true, 1, 1},
		{4 * MIB, 41943045, {37748737, 4194308}, true, 9, 10}, {1000, 5000, {10, UINT64_MAX}, true, 0, 4},
	};
	struct piece_span span;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(piece_span_of(rows[i].content, rows[i].length, rows[i].has_range ? &rows[i].range : NULL, &span, &e), 0);
		assert_false(span.is_empty);
		assert_int_equal(span.first, rows[i].first);
		assert_int_equal(span.last, rows[i].last);
	}
	assert_int_equal(piece_span_of(0, 1000, NULL, &span, &e), 0);
	assert_true(span.is_empty);
	assert_int_equal(piece_span_of(5000, 1000, &(struct byte_range){5000, 1}, &span, &e), -1);
	assert_int_equal(piece_span_of(5000, 1000, &(struct byte_range){1, 0}, &span, &e), -1);
	assert_int_equal(piece_span_of(41943045, 4 * MIB, &(struct byte_range){46137344, 1}, &span, &e), -1);
}

static void
range_headers_are_read_as_the_reference_reads_them(void **state)
{
	const struct {
		const char *header;
		uint64_t content;
		struct byte_range want;
		const char *error;
	} rows[] = {
		{"bytes=0-100", 200, {0, 101}, NULL}, {"bytes=100-200", 150, {100, 50}, NULL}, {"bytes=-50", 200, {150, 50}, NULL},
		{"bytes=150-", 200, {150, 50}, NULL}, {"bytes=0-0,-1", 200, {0, 1}, NULL}, {"bytes=0-0, 5-6", 200, {0, 1}, NULL},
		{"bytes=200-", 200, {0, 0}, "Reversed range"}, {"bytes=5-4", 200, {0, 0}, "Reversed range"},
		{"bytes=0-5,3-9", 200, {0, 0}, "Ranges overlap"},
		{"bytes=-201", 200, {0, 0}, "File suffix out of bounds (larger than file bytes)"},
		{"bytes=0- 5", 200, {0, 0}, "Illegal whitespaces in range"}, {"bytes= 0-5", 200, {0, 0}, "Range starts with whitespace"},
		{"bits=0-5", 200, {0, 0}, "Range does not start with token 'bytes='"}, {"bytes=-0", 200, {0, 0}, "Range ends at 0"},
		{"bytes=x-5", 200, {0, 0}, "Unparseable start of range"}, {"bytes=01-5", 200, {0, 0}, "Unparseable start of range"},
		{"bytes=+1-5", 200, {0, 0}, "Unparseable start of range"}, {"bytes=1-x", 200, {0, 0}, "Unparseable end of range"},
		{"bytes=-x", 200, {0, 0}, "Unparseable end of range"}, {"bytes=1", 200, {0, 0}, "Unexpected number of dashes"},
		{"bytes=1-2-3", 200, {0, 0}, "Unexpected number of dashes"}, {"bytes=", 200, {0, 0}, "Unexpected number of dashes"},
		{"bytes=0-18446744073709551616", 200, {0, 0}, "Unparseable end of range"}, {"bytes=0-", 0, {0, 0}, "Reversed range"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct byte_range got = {0, 0};
		struct err e = {0};
		int rc = range_header_parse(slice_str(rows[i].header), rows[i].content, &got, &e);

		if (rows[i].error == NULL) {
			assert_int_equal(rc, 0);
			assert_int_equal(got.start, rows[i].want.start);
			assert_int_equal(got.length, rows[i].want.length);
		} else {
			assert_int_equal(rc, -1);
			assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
			assert_non_null(strstr(e.text, rows[i].error));
		}
	}
}

static void
one_range_part_too_many_is_refused(void **state)
{
	char text[16 + 12 * (RANGE_PARTS_MAX + 1)] = "bytes=";
	size_t n = strlen(text);
	struct byte_range got;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < RANGE_PARTS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%u-%u", i ? "," : "", i * 10, i * 10 + 1);
	assert_int_equal(range_header_parse(slice_make(text, n), 100000, &got, &e), 0);
	n += (size_t)snprintf(text + n, sizeof text - n, ",90000-90001");
	assert_int_equal(range_header_parse(slice_make(text, n), 100000, &got, &e), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(automatic_lengths_are_those_of_the_reference),
		cmocka_unit_test(piece_lengths_out_of_bounds_are_refused),
		cmocka_unit_test(spans_hold_the_pieces_that_a_range_touches),
		cmocka_unit_test(range_headers_are_read_as_the_reference_reads_them),
		cmocka_unit_test(one_range_part_too_many_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
