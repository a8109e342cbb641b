#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void
pieces_are_zeroed_aligned_and_apart(void **state)
{
	unsigned char *pieces[300];
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 300; i++) {
			pieces[i] = arena_alloc(&a, i * 7);
			assert_non_null(pieces[i]);
			assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
			for (size_t k = 0; k < i * 7; k++)
				assert_int_equal(pieces[i][k], 0);
			memset(pieces[i], (int)(i & 0xff), i * 7);
		}
		for (size_t i = 0; i < 300; i++) {
			for (size_t k = 0; k < i * 7; k++)
				assert_int_equal(pieces[i][k], i & 0xff);
		}
		arena_reset(&a);
		assert_int_equal(a.used, 0);
	}
	arena_free(&a);
}

static void
the_limit_holds(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 160);
	assert_non_null(arena_alloc(&a, 100));
	assert_null(arena_alloc(&a, 100));
	assert_non_null(arena_alloc(&a, 48));
	assert_null(arena_alloc(&a, 1));
	arena_reset(&a);
	assert_non_null(arena_alloc(&a, 160));
	assert_null(arena_alloc(&a, 1));
	arena_free(&a);
	assert_null(arena_alloc(&a, 161));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_copy(&a, "", SIZE_MAX));
	arena_free(&a);
}

static void
one_large_piece_is_not_kept(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	assert_non_null(arena_alloc(&a, 64 * 1024 * 1024));
	arena_reset(&a);
	assert_null(a.chunks);
	arena_free(&a);
}

static void
copies_end_in_nul(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	assert_string_equal(arena_copy(&a, "hello", 2), "he");
	assert_string_equal(arena_copy(&a, NULL, 0), "");
	assert_string_equal(arena_strdup(&a, "hello"), "hello");
	assert_string_equal(arena_printf(&a, "%s-%d", "a", 7), "a-7");
	arena_free(&a);
	arena_init(&a, 16);
	assert_null(arena_printf(&a, "%s", "more than sixteen bytes"));
	arena_free(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
		cmocka_unit_test(the_limit_holds),
		cmocka_unit_test(one_large_piece_is_not_kept),
		cmocka_unit_test(copies_end_in_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
