#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/encode.h"

/* RFC 4648 section 10. */
static const char *const base64_vectors[][2] = {
	{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
};

static void
base64_follows_the_vectors(void **state)
{
	struct buf out = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(base64_vectors); i++) {
		const char *plain = base64_vectors[i][0], *coded = base64_vectors[i][1];

		for (int kind = BASE64_STD; kind <= BASE64_URL; kind++) {
			buf_clear(&out);
			base64_encode(slice_str(plain), (enum base64_kind)kind, true, &out);
			assert_string_equal(buf_cstr(&out), coded);
			buf_clear(&out);
			assert_int_equal(base64_decode(slice_str(coded), (enum base64_kind)kind, &out), 0);
			assert_string_equal(buf_cstr(&out), plain);
			buf_clear(&out);
			base64_encode(slice_str(plain), (enum base64_kind)kind, false, &out);
			assert_int_equal(out.len, strcspn(coded, "="));
			assert_memory_equal(buf_cstr(&out), coded, out.len);
		}
	}
	buf_free(&out);
}

static void
all_bytes_round_trip_at_every_length(void **state)
{
	struct buf text = BUF_INIT, back = BUF_INIT;
	uint8_t all[256];

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(255 - i);
	for (size_t n = 0; n <= sizeof(all); n++) {
		for (int how = 0; how < 4; how++) {
			enum base64_kind kind = how & 1 ? BASE64_URL : BASE64_STD;

			buf_clear(&text);
			buf_clear(&back);
			base64_encode(slice_make(all, n), kind, how & 2, &text);
			assert_int_equal(base64_decode(buf_slice(&text), kind, &back), 0);
			assert_int_equal(back.len, n);
			assert_memory_equal(n > 0 ? buf_data(&back) : all, all, n);
		}
		buf_clear(&text);
		buf_clear(&back);
		hex_encode(slice_make(all, n), &text);
		assert_int_equal(hex_decode(buf_slice(&text), &back), 0);
		assert_int_equal(back.len, n);
		assert_memory_equal(n > 0 ? buf_data(&back) : all, all, n);
	}
	buf_free(&text);
	buf_free(&back);
}

static void
the_two_alphabets_differ(void **state)
{
	struct buf out = BUF_INIT;

	(void)state;
	base64_encode(slice_make("\xfb\xff", 2), BASE64_STD, false, &out);
	assert_string_equal(buf_cstr(&out), "+/8");
	buf_clear(&out);
	base64_encode(slice_make("\xfb\xff", 2), BASE64_URL, false, &out);
	assert_string_equal(buf_cstr(&out), "-_8");
	buf_clear(&out);
	assert_int_equal(base64_decode(slice_str("+/8"), BASE64_URL, &out), -1);
	assert_int_equal(base64_decode(slice_str("-_8"), BASE64_STD, &out), -1);
	buf_free(&out);
}

static void
wrong_base64_leaves_the_output_alone(void **state)
{
	static const char *const rows[] = {"A", "AAAAA", "=", "==", "====", "A===", "AA=", "AAA==", "AA=A", "AA==AA==", "AB==", "AAB=", "AAAB AAA", "AAA\n", "A*AA", "AAAA=", "AAAA\xff\xff\xff\xff"};
	struct buf out = BUF_INIT;

	(void)state;
	buf_append_str(&out, "kept");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (base64_decode(slice_str(rows[i]), BASE64_STD, &out) == 0)
			fail_msg("%s was taken", rows[i]);
		assert_string_equal(buf_cstr(&out), "kept");
	}
	assert_int_equal(base64_decode(slice_make("AA\0A", 4), BASE64_STD, &out), -1);
	buf_free(&out);
}

static void
hex_takes_any_case_and_nothing_else(void **state)
{
	static const char *const bad[] = {"a", "abc", "0g", "g0", " a", "0x", "-1", "a\n"};
	struct buf out = BUF_INIT;

	(void)state;
	assert_int_equal(hex_decode(slice_str("00fFAb9"), &out), -1);
	assert_int_equal(hex_decode(slice_str("00fFAb"), &out), 0);
	assert_int_equal(out.len, 3);
	assert_memory_equal(buf_data(&out), "\0\xff\xab", 3);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(hex_decode(slice_str(bad[i]), &out), -1);
		assert_int_equal(out.len, 3);
	}
	buf_clear(&out);
	hex_encode(slice_make("\x00\xff\xab", 3), &out);
	assert_string_equal(buf_cstr(&out), "00ffab");
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_follows_the_vectors),
		cmocka_unit_test(all_bytes_round_trip_at_every_length),
		cmocka_unit_test(the_two_alphabets_differ),
		cmocka_unit_test(wrong_base64_leaves_the_output_alone),
		cmocka_unit_test(hex_takes_any_case_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
