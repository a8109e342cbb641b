#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/hex.h"
#include "wire/hpack.h"
#include "wire/hpack_tables.h"
#include "wire/huffman.h"

#define LIST_MAX 65536
#define GIVE_UP (4 * LIST_MAX)

static enum hpack_result
decode_hex(struct hpack_decoder *d, const char *hex)
{
	struct buf b = BUF_INIT;
	enum hpack_result rc;

	hex_append(&b, hex);
	rc = hpack_decode(d, buf_slice(&b), LIST_MAX, GIVE_UP);
	buf_free(&b);
	return rc;
}

/* The fields as "name: value\n..." */
static char *
text_of(const struct hpack_field *fields, size_t n)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "%.*s: %.*s\n", SLICE_ARG(fields[i].name), SLICE_ARG(fields[i].value));
	return buf_take(&b);
}

static void
expect(struct hpack_decoder *d, const char *hex, const char *fields, uint32_t table_size)
{
	char *text;

	assert_int_equal(decode_hex(d, hex), HPACK_OK);
	text = text_of(d->fields, d->n);
	assert_string_equal(text, fields);
	free(text);
	assert_int_equal(d->table.size, table_size);
}

static void
expect_broken(const char *hex)
{
	struct hpack_decoder d;

	hpack_decoder_init(&d);
	assert_int_equal(decode_hex(&d, hex), HPACK_BROKEN);
	hpack_decoder_free(&d);
}

static struct hpack_field
field(const char *name, const char *value)
{
	return (struct hpack_field){slice_str(name), slice_str(value), false};
}

/* ---- RFC 7541, appendix C ---- */

static void
rfc_c1_integers_as_table_sizes(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	assert_int_equal(decode_hex(&d, "2a"), HPACK_OK);
	assert_int_equal(d.table.max_size, 10);
	assert_int_equal(decode_hex(&d, "3f9a0a"), HPACK_OK);
	assert_int_equal(d.table.max_size, 1337);
	/* As long as it may be. */
	assert_int_equal(decode_hex(&d, "3f8080808000"), HPACK_OK);
	assert_int_equal(d.table.max_size, 31);
	hpack_decoder_free(&d);
}

static void
rfc_c2_literal_forms(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, "040c 2f73616d706c652f70617468", ":path: /sample/path\n", 0);
	assert_false(d.fields[0].is_sensitive);
	expect(&d, "1008 70617373776f7264 06 736563726574", "password: secret\n", 0);
	assert_true(d.fields[0].is_sensitive);
	expect(&d, "82", ":method: GET\n", 0);
	expect(&d, "400a 637573746f6d2d6b6579 0d 637573746f6d2d686561646572", "custom-key: custom-header\n", 55);
	expect(&d, "be", "custom-key: custom-header\n", 55);
	hpack_decoder_free(&d);
}

#define REQUEST_1 ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
#define REQUEST_2 REQUEST_1 "cache-control: no-cache\n"
#define REQUEST_3 ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n"

static void
rfc_c3_requests_without_huffman(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, "828684410f 7777772e6578616d706c652e636f6d", REQUEST_1, 57);
	expect(&d, "828684be5808 6e6f2d6361636865", REQUEST_2, 110);
	expect(&d, "828785bf400a 637573746f6d2d6b65790c 637573746f6d2d76616c7565", REQUEST_3, 164);
	hpack_decoder_free(&d);
}

static const char *const c4[] = {
	"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
};

static void
rfc_c4_requests_with_huffman(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, c4[0], REQUEST_1, 57);
	expect(&d, c4[1], REQUEST_2, 110);
	expect(&d, c4[2], REQUEST_3, 164);
	hpack_decoder_free(&d);
}

#define DATE "Mon, 21 Oct 2013 20:13:2"
#define RESPONSE_1 ":status: 302\ncache-control: private\ndate: " DATE "1 GMT\nlocation: https://www.example.com\n"
#define RESPONSE_2 ":status: 307\ncache-control: private\ndate: " DATE "1 GMT\nlocation: https://www.example.com\n"
#define RESPONSE_3 ":status: 200\ncache-control: private\ndate: " DATE "2 GMT\nlocation: https://www.example.com\n" \
	"content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n"

/* The RFC's decoder has a table of 256 bytes: a size update in front says so. */
#define TABLE_256 "3fe101 "

static void
rfc_c5_responses_without_huffman_evict(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, TABLE_256 "4803 3330325807 70726976617465611d 4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
		"6e17 68747470733a2f2f7777772e6578616d706c652e636f6d", RESPONSE_1, 222);
	expect(&d, "4803 333037 c1c0bf", RESPONSE_2, 222);
	expect(&d, "88c1611d 4d6f6e2c203231204f637420323031332032303a31333a323220474d54 c05a04 677a6970 7738"
		"666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
		RESPONSE_3, 215);
	hpack_decoder_free(&d);
}

static void
rfc_c6_responses_with_huffman_evict(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, TABLE_256 "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
		"6e919d29ad171863c78f0b97c8e9ae82ae43d3", RESPONSE_1, 222);
	expect(&d, "4883640effc1c0bf", RESPONSE_2, 222);
	expect(&d, "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
		"d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007", RESPONSE_3, 215);
	hpack_decoder_free(&d);
}

static void
encoder_writes_rfc_c4_byte_for_byte(void **state)
{
	struct hpack_field f[] = {
		field(":method", "GET"), field(":scheme", "http"), field(":path", "/"), field(":authority", "www.example.com"),
		field("cache-control", "no-cache"),
	};
	struct hpack_encoder e;
	struct buf out = BUF_INIT, want = BUF_INIT;

	(void)state;
	hpack_encoder_init(&e);
	hpack_encode(&e, f, 4, &out);
	hex_append(&want, c4[0]);
	hpack_encode(&e, f, 5, &out);
	hex_append(&want, c4[1]);
	f[1] = field(":scheme", "https");
	f[2] = field(":path", "/index.html");
	f[4] = field("custom-key", "custom-value");
	hpack_encode(&e, f, 5, &out);
	hex_append(&want, c4[2]);
	assert_int_equal(out.len, want.len);
	assert_memory_equal(buf_data(&out), buf_data(&want), want.len);
	buf_free(&out);
	buf_free(&want);
	hpack_encoder_free(&e);
}

/* ---- Huffman ---- */

static void
huffman_every_byte_comes_back(void **state)
{
	uint8_t all[256 * 3], back[HUFFMAN_DECODED_MAX(256 * 3 * 30 / 8 + 1)];
	struct buf packed = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i * 7);
	for (size_t n = 0; n <= sizeof(all); n++) {
		buf_clear(&packed);
		huffman_encode(slice_make(all, n), &packed);
		assert_int_equal(packed.len, huffman_size(slice_make(all, n)));
		assert_int_equal(huffman_decode(buf_slice(&packed), back), n);
		assert_memory_equal(back, all, n);
	}
	buf_free(&packed);
}

static void
huffman_code_is_complete(void **state)
{
	uint64_t sum = 0;

	(void)state;
	for (size_t i = 0; i < HUFFMAN_SYMBOLS; i++)
		sum += 1ull << (HUFFMAN_BITS_MAX - huffman_codes[i].bits);
	assert_int_equal(sum, 1ull << HUFFMAN_BITS_MAX);
	assert_int_equal(huffman_codes[HUFFMAN_EOS].code, 0x3fffffff);
}

static void
huffman_refuses_eos_and_bad_padding(void **state)
{
	static const struct {
		uint8_t bytes[8];
		size_t n;
		ptrdiff_t want;
	} cases[] = {
		{{0x1f}, 1, 1},                         /* 'a' and three ones */
		{{0x18}, 1, -1},                        /* 'a' and three zeros */
		{{0x1e}, 1, -1},                        /* 'a' and 110 */
		{{0x1f, 0xff}, 2, -1},                  /* 11 bits of padding */
		{{0xff}, 1, -1},                        /* 8 bits of padding and nothing else */
		{{0xff, 0xff, 0xff, 0xff}, 4, -1},      /* EOS and two ones */
		{{0xff, 0xff, 0xff, 0xfc}, 4, -1},      /* EOS and two zeros */
		{{0xff, 0xff, 0xff}, 3, -1},            /* the start of EOS */
		{{0xf8}, 1, 1},                         /* '&', 8 bits, no padding */
		{{0}, 0, 0},
	};
	uint8_t out[HUFFMAN_DECODED_MAX(8)];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(huffman_decode(slice_make(cases[i].bytes, cases[i].n), out), cases[i].want);
}

/* ---- hostile blocks ---- */

static void
bad_blocks_are_broken(void **state)
{
	(void)state;
	expect_broken("80");                            /* index 0 */
	expect_broken("be");                            /* index 62 of an empty table */
	expect_broken("c0");
	expect_broken("7e 00");                         /* literal named by index 62 */
	expect_broken("ff ffffff7f");                   /* index far too large */
	expect_broken("7f ffffffff0f");                 /* above the largest integer */
	expect_broken("7f 8080808080");                 /* an integer without end */
	expect_broken("ff 808080808000");               /* six bytes for an integer */
	expect_broken("3f 808080808000");
	expect_broken("82 20");                         /* a size update behind a field */
	expect_broken("3fe21f");                        /* table of 4097 */
	expect_broken("20 20 20");                      /* three size updates */
	expect_broken("00");                            /* no name */
	expect_broken("00 01 61");                      /* no value */
	expect_broken("00 02 61");                      /* name cut short */
	expect_broken("00 01 61 05 61");                /* value cut short */
	expect_broken("00 01 61 81 ff");                /* bad Huffman */
	expect_broken("40 81 18 00");
}

static void
largest_size_update_is_taken(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, "20 3fe11f 82", ":method: GET\n", 0);
	assert_int_equal(d.table.max_size, 4096);
	hpack_decoder_free(&d);
}

static void
size_update_evicts(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, "40 0161 0162 40 0163 0164", "a: b\nc: d\n", 68);
	expect(&d, "be bf", "c: d\na: b\n", 68);
	expect(&d, "3f0f", "", 34);
	expect(&d, "be", "c: d\n", 34);
	assert_int_equal(decode_hex(&d, "bf"), HPACK_BROKEN);
	expect(&d, "20", "", 0);
	hpack_decoder_free(&d);
}

static void
entry_larger_than_the_table_empties_it(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, "3f21 40 0161 0162", "a: b\n", 34);
	/* 32 + 1 + 33 > 64 */
	expect(&d, "40 0161 21 616161616161616161616161616161616161616161616161616161616161616161",
		"a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", 0);
	hpack_decoder_free(&d);
}

static void
new_name_may_come_from_the_entry_it_evicts(void **state)
{
	struct hpack_decoder d;

	(void)state;
	hpack_decoder_init(&d);
	expect(&d, "3f05 40 02 6161 02 6262", "aa: bb\n", 36);        /* table of 36 */
	expect(&d, "7e 02 6363", "aa: cc\n", 36);
	expect(&d, "be", "aa: cc\n", 36);
	hpack_decoder_free(&d);
}

/* One entry of nearly 4 KiB, then references to it of one byte each. */
static void
make_bomb(struct buf *b, size_t references)
{
	hex_append(b, "4001 61 7fc11e");        /* a value of 127 + 3905 bytes */
	for (int i = 0; i < 4032; i++)
		buf_append_u8(b, 'x');
	for (size_t i = 0; i < references; i++)
		buf_append_u8(b, 0xbe);
}

static void
bomb_is_counted_not_stored(void **state)
{
	struct hpack_decoder d;
	struct buf b = BUF_INIT;

	(void)state;
	hpack_decoder_init(&d);
	make_bomb(&b, 15);
	assert_int_equal(hpack_decode(&d, buf_slice(&b), 16 * 4065, GIVE_UP), HPACK_OK);
	assert_int_equal(d.n, 16);
	assert_int_equal(d.list_size, 16 * 4065);
	assert_int_equal(hpack_decode(&d, buf_slice(&b), 16 * 4065 - 1, GIVE_UP), HPACK_TOO_LARGE);
	assert_int_equal(d.n, 0);
	buf_clear(&b);
	make_bomb(&b, 63);
	assert_int_equal(hpack_decode(&d, buf_slice(&b), 65536, 64 * 4065), HPACK_TOO_LARGE);
	assert_true(d.bytes.len <= 65536);
	/* The table is right afterwards: the connection goes on. */
	expect(&d, "82", ":method: GET\n", 4065);
	buf_clear(&b);
	make_bomb(&b, 100000);
	assert_int_equal(hpack_decode(&d, buf_slice(&b), 65536, 64 * 4065), HPACK_FAR_TOO_LARGE);
	buf_free(&b);
	hpack_decoder_free(&d);
}

static void
literals_above_the_limit_are_not_stored(void **state)
{
	struct hpack_decoder d;
	struct buf b = BUF_INIT;

	(void)state;
	for (int i = 0; i < 3000; i++)
		hex_append(&b, "00 01 61 0a 30313233343536373839");
	hpack_decoder_init(&d);
	assert_int_equal(hpack_decode(&d, buf_slice(&b), 43 * 100, GIVE_UP), HPACK_TOO_LARGE);
	assert_int_equal(d.list_size, 43 * 3000);
	assert_int_equal(d.bytes.len, 11 * 100);
	buf_free(&b);
	hpack_decoder_free(&d);
}

static void
block_cut_anywhere_is_no_crash(void **state)
{
	struct buf b = BUF_INIT;
	struct hpack_decoder d;

	(void)state;
	hex_append(&b, TABLE_256 "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
		"6e919d29ad171863c78f0b97c8e9ae82ae43d3");
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *part = xmalloc(n);

		memcpy(part, buf_data(&b), n);
		hpack_decoder_init(&d);
		hpack_decode(&d, slice_make(part, n), LIST_MAX, GIVE_UP);
		assert_true(d.n <= 3);
		hpack_decoder_free(&d);
		free(part);
	}
	buf_free(&b);
}

/* ---- encoder against decoder ---- */

static void
table_resize_is_told_lowest_first(void **state)
{
	struct hpack_field f = field("x-one", "1");
	struct hpack_encoder e;
	struct hpack_decoder d;
	struct buf out = BUF_INIT;

	(void)state;
	hpack_encoder_init(&e);
	hpack_decoder_init(&d);
	hpack_encode(&e, &f, 1, &out);
	assert_int_equal(hpack_decode(&d, buf_slice(&out), LIST_MAX, GIVE_UP), HPACK_OK);
	assert_int_equal(d.table.count, 1);
	hpack_encoder_resize(&e, 0);
	hpack_encoder_resize(&e, 100000);
	buf_clear(&out);
	hpack_encode(&e, &f, 1, &out);
	assert_memory_equal(buf_data(&out), "\x20\x3f\xe1\x1f\x40", 5);
	assert_int_equal(hpack_decode(&d, buf_slice(&out), LIST_MAX, GIVE_UP), HPACK_OK);
	assert_int_equal(d.table.count, 1);
	hpack_encoder_resize(&e, 0);
	buf_clear(&out);
	hpack_encode(&e, &f, 1, &out);
	assert_memory_equal(buf_data(&out), "\x20\x00", 2);
	assert_int_equal(hpack_decode(&d, buf_slice(&out), LIST_MAX, GIVE_UP), HPACK_OK);
	assert_int_equal(d.table.count, 0);
	buf_free(&out);
	hpack_encoder_free(&e);
	hpack_decoder_free(&d);
}

static void
sensitive_and_changing_fields_stay_out_of_the_table(void **state)
{
	struct hpack_field f[] = {
		{slice_str("x-token"), slice_str("secret"), true}, field("authorization", "Bearer x"), field("grpc-message", "no"),
	};
	struct hpack_encoder e;
	struct hpack_decoder d;
	struct buf out = BUF_INIT;

	(void)state;
	hpack_encoder_init(&e);
	hpack_decoder_init(&d);
	hpack_encode(&e, f, COUNT_OF(f), &out);
	assert_int_equal(e.table.count, 0);
	assert_int_equal(hpack_decode(&d, buf_slice(&out), LIST_MAX, GIVE_UP), HPACK_OK);
	assert_true(d.fields[0].is_sensitive);
	assert_false(d.fields[1].is_sensitive);
	buf_free(&out);
	hpack_encoder_free(&e);
	hpack_decoder_free(&d);
}

/* A small generator of its own, so that a failure can be repeated. */
static uint32_t
next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void
random_lists_come_back_through_many_evictions(void **state)
{
	struct hpack_encoder e;
	struct hpack_decoder d;
	struct buf out = BUF_INIT;
	uint32_t seed = 42;
	char pool[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(pool); i++)
		pool[i] = (char)(next(&seed) % 3 ? 'a' + next(&seed) % 26 : next(&seed));
	hpack_encoder_init(&e);
	hpack_decoder_init(&d);
	for (int round = 0; round < 5000; round++) {
		struct hpack_field f[8];
		size_t n = next(&seed) % COUNT_OF(f);

		for (size_t i = 0; i < n; i++) {
			f[i].name = slice_make(pool + next(&seed) % 24, next(&seed) % 12);
			f[i].value = slice_make(pool + next(&seed) % 1000, next(&seed) % 9 ? next(&seed) % 20 : next(&seed) % 3000);
			f[i].is_sensitive = next(&seed) % 16 == 0;
		}
		if (next(&seed) % 50 == 0)
			hpack_encoder_resize(&e, next(&seed) % 5000);
		buf_clear(&out);
		hpack_encode(&e, f, n, &out);
		assert_int_equal(hpack_decode(&d, buf_slice(&out), LIST_MAX, GIVE_UP), HPACK_OK);
		assert_int_equal(d.n, n);
		assert_int_equal(d.table.size, e.table.size);
		assert_int_equal(d.table.count, e.table.count);
		for (size_t i = 0; i < n; i++) {
			assert_true(slice_eq(d.fields[i].name, f[i].name));
			assert_true(slice_eq(d.fields[i].value, f[i].value));
			assert_int_equal(d.fields[i].is_sensitive, f[i].is_sensitive);
		}
	}
	buf_free(&out);
	hpack_encoder_free(&e);
	hpack_decoder_free(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_c1_integers_as_table_sizes),
		cmocka_unit_test(rfc_c2_literal_forms),
		cmocka_unit_test(rfc_c3_requests_without_huffman),
		cmocka_unit_test(rfc_c4_requests_with_huffman),
		cmocka_unit_test(rfc_c5_responses_without_huffman_evict),
		cmocka_unit_test(rfc_c6_responses_with_huffman_evict),
		cmocka_unit_test(encoder_writes_rfc_c4_byte_for_byte),
		cmocka_unit_test(huffman_every_byte_comes_back),
		cmocka_unit_test(huffman_code_is_complete),
		cmocka_unit_test(huffman_refuses_eos_and_bad_padding),
		cmocka_unit_test(bad_blocks_are_broken),
		cmocka_unit_test(largest_size_update_is_taken),
		cmocka_unit_test(size_update_evicts),
		cmocka_unit_test(entry_larger_than_the_table_empties_it),
		cmocka_unit_test(new_name_may_come_from_the_entry_it_evicts),
		cmocka_unit_test(bomb_is_counted_not_stored),
		cmocka_unit_test(literals_above_the_limit_are_not_stored),
		cmocka_unit_test(block_cut_anywhere_is_no_crash),
		cmocka_unit_test(table_resize_is_told_lowest_first),
		cmocka_unit_test(sensitive_and_changing_fields_stay_out_of_the_table),
		cmocka_unit_test(random_lists_come_back_through_many_evictions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
