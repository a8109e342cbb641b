#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "peer/stats.h"

static void
durations_go_into_powers_of_two(void **state)
{
	struct stats_histogram h = {0};

	(void)state;
	stats_observe(&h, -5);
	stats_observe(&h, 1);
	stats_observe(&h, 2);
	stats_observe(&h, 3);
	stats_observe(&h, 8388608);
	stats_observe(&h, 8388609);
	assert_int_equal(h.counts[0], 2);
	assert_int_equal(h.counts[1], 1);
	assert_int_equal(h.counts[2], 1);
	assert_int_equal(h.counts[23], 1);
	assert_int_equal(h.counts[24], 1);
	assert_int_equal(h.sum_ms, 1 + 2 + 3 + 8388608 + 8388609);
}

static void
size_levels_are_those_of_the_table(void **state)
{
	const uint64_t mib = 1 << 20;

	(void)state;
	assert_int_equal(stats_size_level(0), 0);
	assert_int_equal(stats_size_level(1), 1);
	assert_int_equal(stats_size_level(mib), 2);
	assert_int_equal(stats_size_level(512 * mib - 1), 9);
	assert_int_equal(stats_size_level(512 * mib), 10);
	assert_int_equal(stats_size_level(1024 * mib), 11);
	assert_int_equal(stats_size_level((1024 * 1024 - 1) * mib), 19);
	assert_int_equal(stats_size_level(1024 * 1024 * mib), 20);
	assert_int_equal(stats_size_level(UINT64_MAX), 20);
}

static void
labels_beyond_the_limit_share_one_series(void **state)
{
	struct stats_labels l;
	struct stats_series *first, *other;
	char tag[STATS_LABEL_MAX + 2];
	size_t at = 0, pairs = 0;

	(void)state;
	stats_labels_init(&l);
	first = stats_labels_get(&l, slice_str("tag0"), slice_str("app"), 3);
	for (int i = 1; i < STATS_PAIRS_MAX; i++) {
		snprintf(tag, sizeof tag, "tag%d", i);
		stats_labels_get(&l, slice_str(tag), slice_str("app"), 0);
	}
	assert_null(l.other);
	other = stats_labels_get(&l, slice_str("one"), slice_str("more"), 0);
	assert_non_null(l.other);
	assert_ptr_equal(other, stats_labels_get(&l, slice_str("another"), slice_str("one"), 0));
	assert_ptr_equal(first, stats_labels_get(&l, slice_str("tag0"), slice_str("app"), 3));
	while (stats_labels_next(&l, &at) != NULL)
		pairs++;
	assert_int_equal(pairs, STATS_PAIRS_MAX + 1);
	stats_labels_free(&l);
}

static void
label_past_its_length_is_not_kept(void **state)
{
	struct stats_labels l;
	char tag[STATS_LABEL_MAX + 1];

	(void)state;
	stats_labels_init(&l);
	memset(tag, 'x', sizeof tag);
	stats_labels_get(&l, slice_make(tag, STATS_LABEL_MAX), slice_str(""), 0);
	assert_null(l.other);
	stats_labels_get(&l, slice_make(tag, STATS_LABEL_MAX + 1), slice_str(""), 0);
	assert_non_null(l.other);
	stats_labels_free(&l);
}

static void
pairs_that_read_alike_are_told_apart_and_priorities_too(void **state)
{
	struct stats_labels l;

	(void)state;
	stats_labels_init(&l);
	assert_ptr_not_equal(stats_labels_get(&l, slice_str("ab"), slice_str("c"), 0), stats_labels_get(&l, slice_str("a"), slice_str("bc"), 0));
	assert_ptr_not_equal(stats_labels_get(&l, slice_str("a"), slice_str("b"), 6), stats_labels_get(&l, slice_str("a"), slice_str("b"), 0));
	assert_ptr_equal(stats_labels_get(&l, slice_str("a"), slice_str("b"), 7), stats_labels_get(&l, slice_str("a"), slice_str("b"), -1));
	stats_labels_free(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_go_into_powers_of_two),
		cmocka_unit_test(size_levels_are_those_of_the_table),
		cmocka_unit_test(labels_beyond_the_limit_share_one_series),
		cmocka_unit_test(label_past_its_length_is_not_kept),
		cmocka_unit_test(pairs_that_read_alike_are_told_apart_and_priorities_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
