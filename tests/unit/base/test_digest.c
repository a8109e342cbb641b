#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bearssl.h>
#include <cmocka.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"

static void
vectors_hold(void **state)
{
	static const struct {
		enum digest_kind kind;
		const char *text;
		const char *hex;
	} rows[] = {
		{DIGEST_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{DIGEST_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{DIGEST_SHA256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{DIGEST_SHA256, "https://example.comfoobarv1.01024STANDARD", "5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f"},
		{DIGEST_SHA512, "abc",
			"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
		{DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e"},
		{DIGEST_MD5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
		{DIGEST_CRC32, "hello world\n", "af083b2d"},
		{DIGEST_CRC32, "", "00000000"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char hex[DIGEST_HEX_MAX];

		digest_hex(rows[i].kind, rows[i].text, strlen(rows[i].text), hex);
		assert_string_equal(hex, rows[i].hex);
		assert_int_equal(strlen(hex), 2 * digest_size(rows[i].kind));
	}
}

static void
a_million_letters(void **state)
{
	char *text = xmalloc(1000000), hex[DIGEST_HEX_MAX];

	(void)state;
	memset(text, 'a', 1000000);
	digest_hex(DIGEST_SHA256, text, 1000000, hex);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(text);
}

static void
any_length_in_any_parts_agrees_with_bearssl(void **state)
{
	uint8_t bytes[400];

	(void)state;
	rand_bytes(bytes, sizeof(bytes));
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		br_sha256_context c;
		uint8_t expected[32], got[DIGEST_MAX];
		struct digest d;

		br_sha256_init(&c);
		br_sha256_update(&c, bytes, n);
		br_sha256_out(&c, expected);
		digest_init(&d, DIGEST_SHA256);
		for (size_t at = 0; at < n;) {
			size_t part = 1 + (size_t)rand_below(n - at < 150 ? n - at : 150);

			digest_update(&d, bytes + at, part);
			at += part;
		}
		digest_update(&d, NULL, 0);
		digest_final(&d, got);
		assert_memory_equal(got, expected, 32);
	}
}

static void
texts_are_parsed(void **state)
{
	static const char sha[] = "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447";
	char text[300], hex[DIGEST_HEX_MAX];
	enum digest_kind kind;

	(void)state;
	strncpy(text, "sha256:A948904F2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447", sizeof(text));
	assert_int_equal(digest_parse(text, &kind, hex, NULL), 0);
	assert_int_equal(kind, DIGEST_SHA256);
	assert_string_equal(hex, sha);
	memset(text, 'A', sizeof(text));
	memcpy(text, "sha512:", 7);
	text[7 + 128] = 0;
	assert_int_equal(digest_parse(text, &kind, hex, NULL), 0);
	assert_int_equal(kind, DIGEST_SHA512);
	assert_int_equal(strlen(hex), 128);
	assert_int_equal(digest_parse("crc32:2936552237", &kind, hex, NULL), 0);
	assert_int_equal(kind, DIGEST_CRC32);
	assert_string_equal(hex, "af083b2d");
	assert_int_equal(digest_parse("crc32:AF083b2d", &kind, hex, NULL), 0);
	assert_string_equal(hex, "af083b2d");
	assert_int_equal(digest_parse("crc32:0000000007", &kind, hex, NULL), 0);
	assert_string_equal(hex, "00000007");
	assert_string_equal(digest_kind_name(DIGEST_SHA512), "sha512");
}

static void
wrong_texts_say_why(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} rows[] = {
		{"", "invalid digest: "}, {"abc", "invalid digest: abc"}, {":", "invalid digest algorithm: "}, {"md5:00", "invalid digest algorithm: md5"},
		{"md5:d41d8cd98f00b204e9800998ecf8427e", "invalid digest algorithm: md5"}, {"SHA256:00", "invalid digest algorithm: SHA256"},
		{"sha256:00", "invalid sha256 digest length: 2, expected 64"}, {"sha512:", "invalid sha512 digest length: 0, expected 128"},
		{"sha256:g948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447", "invalid sha256 digest: not hex"},
		{"sha256:../../../../../../../../../../../../../../../../../../../etc/pas", "invalid sha256 digest: not hex"},
		{"crc32:", "invalid crc32 digest: want a decimal number below 2^32 or 8 hex digits"},
		{"crc32:4294967296", "invalid crc32 digest: want a decimal number below 2^32 or 8 hex digits"},
		{"crc32:00000000001", "invalid crc32 digest: want a decimal number below 2^32 or 8 hex digits"},
		{"crc32:af083b2", "invalid crc32 digest: want a decimal number below 2^32 or 8 hex digits"},
		{"crc32:-1", "invalid crc32 digest: want a decimal number below 2^32 or 8 hex digits"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char hex[DIGEST_HEX_MAX];
		enum digest_kind kind;
		struct err e = {0};

		assert_int_equal(digest_parse(rows[i].text, &kind, hex, &e), -1);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
		assert_string_equal(e.text, rows[i].why);
	}
}

static void
eight_decimal_digits_match_in_both_readings(void **state)
{
	(void)state;
	assert_true(digest_matches("crc32:12345678", DIGEST_CRC32, "00bc614e"));
	assert_true(digest_matches("crc32:12345678", DIGEST_CRC32, "12345678"));
	assert_false(digest_matches("crc32:12345678", DIGEST_CRC32, "12345679"));
	assert_true(digest_matches("crc32:AF083B2D", DIGEST_CRC32, "af083b2d"));
	assert_true(digest_matches("crc32:2936552237", DIGEST_CRC32, "af083b2d"));
	assert_false(digest_matches("crc32:x", DIGEST_CRC32, "af083b2d"));
	assert_false(digest_matches("crc32:2936552237", DIGEST_SHA256, "af083b2d"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_hold),
		cmocka_unit_test(a_million_letters),
		cmocka_unit_test(any_length_in_any_parts_agrees_with_bearssl),
		cmocka_unit_test(texts_are_parsed),
		cmocka_unit_test(wrong_texts_say_why),
		cmocka_unit_test(eight_decimal_digits_match_in_both_readings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
