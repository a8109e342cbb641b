/* Hexadecimal digits. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hex.h"

static void
every_byte_has_the_value_that_the_c_library_gives(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		const char text[2] = {(char)c, '\0'};

		assert_int_equal(hex_value(c), c < 128 && isxdigit((int)c) ? strtol(text, NULL, 16) : -1);
		assert_int_equal(hex_is_lower_digit((uint8_t)c), c < 128 && isxdigit((int)c) && !isupper((int)c));
	}
}

static void
characters_beyond_a_byte_are_no_digits(void **state)
{
	(void)state;
	assert_int_equal(hex_value(0x100 + '0'), -1);
	assert_int_equal(hex_value(0x10000 + 'a'), -1);
	assert_int_equal(hex_value(0xFF10), -1);       /* full-width 0 */
	assert_int_equal(hex_value(UINT32_MAX), -1);
}

static void
span_ends_at_the_first_other_character(void **state)
{
	(void)state;
	assert_int_equal(hex_span_lower(slice_str("")), 0);
	assert_int_equal(hex_span_lower(slice_str("09af")), 4);
	assert_int_equal(hex_span_lower(slice_str("09aF")), 3);
	assert_int_equal(hex_span_lower(slice_str("g0")), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_has_the_value_that_the_c_library_gives),
		cmocka_unit_test(characters_beyond_a_byte_are_no_digits),
		cmocka_unit_test(span_ends_at_the_first_other_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
