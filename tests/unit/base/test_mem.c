#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void
a_size_of_nothing_gives_a_pointer(void **state)
{
	void *p;

	(void)state;
	p = xmalloc(0);
	assert_non_null(p);
	p = xrealloc(p, 0);
	assert_non_null(p);
	free(p);
	p = xcalloc(0, 8);
	assert_non_null(p);
	free(p);
}

static void
strings_are_copied_and_cut(void **state)
{
	char *s;

	(void)state;
	s = xstrdup("hello");
	assert_string_equal(s, "hello");
	free(s);
	s = xstrndup("hello", 2);
	assert_string_equal(s, "he");
	free(s);
	s = xstrndup("he\0lo", 5);
	assert_string_equal(s, "he");
	free(s);
	s = xstrdup("");
	assert_string_equal(s, "");
	free(s);
	s = xasprintf("%0500d", 7);
	assert_int_equal(strlen(s), 500);
	free(s);
}

static void
fresh_arrays_are_zero(void **state)
{
	unsigned char *p = xcalloc(1000, 3);

	(void)state;
	for (size_t i = 0; i < 3000; i++)
		assert_int_equal(p[i], 0);
	free(p);
}

static void
wiped_memory_is_zero(void **state)
{
	char secret[] = "secret";

	(void)state;
	mem_wipe(secret, 3);
	assert_memory_equal(secret, "\0\0\0ret", sizeof secret);
	mem_wipe(NULL, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_size_of_nothing_gives_a_pointer),
		cmocka_unit_test(strings_are_copied_and_cut),
		cmocka_unit_test(fresh_arrays_are_zero),
		cmocka_unit_test(wiped_memory_is_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
