#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/slice.h"

static void
parts_are_cut_to_what_is_there(void **state)
{
	struct slice s = slice_str("hello");

	(void)state;
	assert_true(slice_eq_str(slice_sub(s, 1, 3), "ell"));
	assert_true(slice_eq_str(slice_sub(s, 3, SIZE_MAX), "lo"));
	assert_int_equal(slice_sub(s, 9, 1).n, 0);
	assert_non_null(slice_sub(s, 9, 1).p);
	assert_null(slice_sub((struct slice){0}, 1, 1).p);
	assert_null(slice_str(NULL).p);
}

static void
comparison_knows_case_and_order(void **state)
{
	(void)state;
	assert_true(slice_eq(slice_str(""), (struct slice){0}));
	assert_false(slice_eq_str(slice_str("a"), "A"));
	assert_true(slice_ieq_str(slice_str("aZ@["), "Az@["));
	assert_false(slice_ieq_str(slice_str("@"), "`"));
	assert_false(slice_ieq_str(slice_str("ab"), "a"));
	assert_true(slice_cmp(slice_str("a"), slice_str("b")) < 0);
	assert_true(slice_cmp(slice_str("a"), slice_str("ab")) < 0);
	assert_true(slice_cmp(slice_str("\xff"), slice_str("a")) > 0);
	assert_int_equal(slice_cmp(slice_str("a"), slice_str("a")), 0);
	assert_int_equal(slice_cmp((struct slice){0}, slice_str("")), 0);
}

static void
starts_ends_find_and_trim(void **state)
{
	(void)state;
	assert_true(slice_starts(slice_str("abc"), "ab"));
	assert_true(slice_starts((struct slice){0}, ""));
	assert_false(slice_starts(slice_str("a"), "ab"));
	assert_true(slice_ends(slice_str("abc"), "bc"));
	assert_false(slice_ends(slice_str("c"), "bc"));
	assert_int_equal(slice_find(slice_str("abcb"), 'b'), 1);
	assert_int_equal(slice_find(slice_str("abc"), 'x'), -1);
	assert_int_equal(slice_find((struct slice){0}, 'x'), -1);
	assert_true(slice_eq_str(slice_trim(slice_str(" \ta b\t ")), "a b"));
	assert_int_equal(slice_trim(slice_str("  ")).n, 0);
}

static void
numbers_are_plain_digits_that_fit(void **state)
{
	static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1x", "18446744073709551616", "99999999999999999999", "184467440737095516150"};
	uint64_t v = 7;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(slice_to_u64(slice_str(bad[i]), &v), -1);
		assert_int_equal(v, 7);
	}
	assert_int_equal(slice_to_u64(slice_str("18446744073709551615"), &v), 0);
	assert_int_equal(v, UINT64_MAX);
	assert_int_equal(slice_to_u64(slice_str("0009"), &v), 0);
	assert_int_equal(v, 9);
}

static void
copies_end_in_nul(void **state)
{
	char *s = slice_dup(slice_sub(slice_str("hello"), 0, 2));

	(void)state;
	assert_string_equal(s, "he");
	free(s);
	s = slice_dup((struct slice){0});
	assert_string_equal(s, "");
	free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_are_cut_to_what_is_there),
		cmocka_unit_test(comparison_knows_case_and_order),
		cmocka_unit_test(starts_ends_find_and_trim),
		cmocka_unit_test(numbers_are_plain_digits_that_fit),
		cmocka_unit_test(copies_end_in_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
