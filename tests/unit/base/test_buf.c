#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"

static void
fresh_one_is_empty(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	assert_null(buf_data(&b));
	assert_int_equal(buf_slice(&b).n, 0);
	buf_consume(&b, 5);
	buf_append(&b, NULL, 0);
	assert_null(b.mem);
	assert_string_equal(buf_cstr(&b), "");
	buf_free(&b);
}

/* Random appends and consumes against a plain array. */
static void
bytes_come_out_as_they_went_in(void **state)
{
	struct buf b = BUF_INIT;
	uint8_t *in = xmalloc(1 << 20);
	size_t put = 0, taken = 0;

	(void)state;
	rand_bytes(in, 1 << 20);
	while (put < 1 << 20) {
		size_t n = (size_t)rand_below(3000), m = (size_t)rand_below(3000);

		n = n < (1 << 20) - put ? n : (1 << 20) - put;
		buf_append(&b, in + put, n);
		put += n;
		m = m < b.len ? m : b.len;
		if (m > 0)
			assert_memory_equal(buf_data(&b), in + taken, m);
		buf_consume(&b, m);
		taken += m;
		assert_int_equal(b.len, put - taken);
	}
	assert_memory_equal(buf_data(&b), in + taken, put - taken);
	buf_free(&b);
	free(in);
}

static void
steady_flow_does_not_grow_it(void **state)
{
	struct buf b = BUF_INIT;
	char block[1000] = {0};

	(void)state;
	for (int i = 0; i < 100000; i++) {
		buf_append(&b, block, sizeof(block));
		if (i >= 3)
			buf_consume(&b, sizeof(block));
	}
	assert_in_range(b.cap, 4000, 32000);
	buf_free(&b);
}

static void
reserve_and_added_append_in_place(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	memcpy(buf_reserve(&b, 3), "abc", 3);
	buf_added(&b, 2);
	assert_string_equal(buf_cstr(&b), "ab");
	buf_consume(&b, 1);
	assert_string_equal(buf_cstr(&b), "b");
	buf_free(&b);
}

static void
a_hopeless_size_is_refused(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	assert_null(buf_try_reserve(&b, SIZE_MAX));
	assert_null(buf_try_reserve(&b, SIZE_MAX / 4 + 1));
	buf_append_str(&b, "x");
	assert_null(buf_try_reserve(&b, SIZE_MAX));
	assert_string_equal(buf_cstr(&b), "x");
	buf_free(&b);
}

static void
printf_appends_any_length(void **state)
{
	struct buf b = BUF_INIT;
	char *s;

	(void)state;
	for (int n = 0; n < 400; n++) {
		buf_clear(&b);
		buf_append_u8(&b, '<');
		buf_printf(&b, "%*s|%d", n, "", n);
		assert_int_equal(b.len, 1 + (size_t)n + 1 + (n < 10 ? 1u : n < 100 ? 2u : 3u));
	}
	assert_non_null(strstr(buf_cstr(&b), "|399"));
	buf_consume(&b, b.len - 3);
	s = buf_take(&b);
	assert_string_equal(s, "399");
	assert_null(b.mem);
	free(s);
	s = buf_take(&b);
	assert_string_equal(s, "");
	free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fresh_one_is_empty),
		cmocka_unit_test(bytes_come_out_as_they_went_in),
		cmocka_unit_test(steady_flow_does_not_grow_it),
		cmocka_unit_test(reserve_and_added_append_in_place),
		cmocka_unit_test(a_hopeless_size_is_refused),
		cmocka_unit_test(printf_appends_any_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
