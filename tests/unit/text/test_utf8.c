#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/utf8.h"

static void
every_code_point_round_trips_as_utf8(void **state)
{
	(void)state;
	for (uint32_t c = 0; c <= 0x10ffff; c++) {
		uint8_t bytes[UTF8_MAX];
		uint32_t back;
		size_t n, bad;

		if (c >= 0xd800 && c <= 0xdfff)
			continue;
		n = utf8_encode(c, bytes);
		assert_int_equal(utf8_decode(slice_make(bytes, n), &back, &bad), n);
		assert_int_equal(back, c);
		if (n > 1) {
			assert_int_equal(utf8_decode(slice_make(bytes, n - 1), &back, &bad), 0);
			assert_int_equal(bad, n - 1);
		}
	}
}

static void
wrong_utf8_becomes_replacement_characters(void **state)
{
#define R "\xef\xbf\xbd"
	/* How many replacements stand for what: Unicode 15 chapter 3.9, table 3-8 and around. */
	static const char *const rows[][2] = {
		{"a\xff" "b", "a" R "b"}, {"\xc0\x80", R R}, {"\xe0\x80\x80", R R R}, {"\xed\xa0\x80", R R R}, {"\xf4\x90\x80\x80", R R R R}, {"\xf5", R},
		{"\xe4\xbd", R}, {"\xe4\xbd" "a", R "a"}, {"\xf0\x9f\x98", R}, {"\xf0\x9f" "\xe4\xbd\xa0", R "\xe4\xbd\xa0"}, {"\x80", R},
		{"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A"}, {"\xc3\xa9", "\xc3\xa9"},
	};
#undef R
	struct buf out = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		buf_clear(&out);
		utf8_append_lossy(slice_str(rows[i][0]), &out);
		assert_string_equal(buf_cstr(&out), rows[i][1]);
		assert_int_equal(utf8_is_valid(slice_str(rows[i][0])), strcmp(rows[i][0], rows[i][1]) == 0);
	}
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point_round_trips_as_utf8),
		cmocka_unit_test(wrong_utf8_becomes_replacement_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
