#include "unit/store/store_test.h"

#include "store/crc32c.h"
#include "store/format.h"

static struct store_header headers[] = { { "Content-Type", "text/plain" }, { "X-Empty", "" }, { "Set", "a=b; c" } };

static struct store_meta
sample(void)
{
	return (struct store_meta){
		.kind = STORE_PERSISTENT_CACHE, .is_persistent = true, .is_linked = true, .is_private = true, .id = test_id(5), .content_length = 123456789,
		.piece_length = 4194304, .created_at = 1, .updated_at = 2, .finished_at = 3, .failed_at = 4, .prefetched_at = 5, .ttl = 6,
		.complete_at = 7, .has_identity = true, .identity = { 11, 123456789, 13 }, .etag = "\"v1\"", .last_modified = "Mon", .url = "http://o/f",
		.headers = headers, .header_count = COUNT_OF(headers),
	};
}

static int
decode(struct slice in, struct store_meta *m, struct arena *a, struct err *e)
{
	arena_init(a, 2 * STORE_META_MAX);
	return store_meta_decode(in, a, m, e);
}

static void
crc32c_has_the_published_value(void **state)
{
	uint8_t zeros[32] = {0};

	(void)state;
	assert_int_equal(crc32c_update(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_update(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(crc32c_update(crc32c_update(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void
record_of_a_task_comes_back_whole(void **state)
{
	struct store_meta in = sample(), out;
	struct buf b = BUF_INIT;
	struct arena a;

	(void)state;
	store_meta_encode(&in, &b);
	assert_int_equal(decode(buf_slice(&b), &out, &a, NULL), 0);
	assert_string_equal(out.id, in.id);
	assert_int_equal(out.kind, in.kind);
	assert_true(out.is_persistent && out.is_linked && out.is_private && !out.is_imported);
	assert_int_equal(out.content_length, in.content_length);
	assert_int_equal(out.piece_length, in.piece_length);
	assert_int_equal(out.created_at, 1);
	assert_int_equal(out.updated_at, 2);
	assert_int_equal(out.finished_at, 3);
	assert_int_equal(out.failed_at, 4);
	assert_int_equal(out.prefetched_at, 5);
	assert_int_equal(out.ttl, 6);
	assert_int_equal(out.complete_at, 7);
	assert_int_equal(out.identity.ino, 11);
	assert_int_equal(out.identity.mtime_ns, 13);
	assert_string_equal(out.etag, "\"v1\"");
	assert_string_equal(out.last_modified, "Mon");
	assert_string_equal(out.url, "http://o/f");
	assert_int_equal(out.header_count, 3);
	assert_string_equal(out.headers[1].name, "X-Empty");
	assert_string_equal(out.headers[1].value, "");
	assert_string_equal(out.headers[2].value, "a=b; c");
	arena_free(&a);
	buf_free(&b);
}

static void
record_cut_or_flipped_anywhere_is_refused(void **state)
{
	struct store_meta in = sample(), out;
	struct buf b = BUF_INIT;
	struct arena a;
	struct err e;

	(void)state;
	store_meta_encode(&in, &b);
	for (size_t n = 0; n < b.len; n++) {
		assert_int_equal(decode(slice_make(buf_data(&b), n), &out, &a, &e), -1);
		assert_int_equal(e.code, ERR_DATA_LOSS);
		arena_free(&a);
	}
	for (size_t i = 0; i < b.len * 8; i++) {
		buf_data(&b)[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(decode(buf_slice(&b), &out, &a, &e), -1);
		assert_int_equal(e.code, ERR_DATA_LOSS);
		arena_free(&a);
		buf_data(&b)[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	buf_free(&b);
}

/* Puts a right checksum under changed bytes. */
static void
reseal(struct buf *b)
{
	uint32_t crc = crc32c_update(0, buf_data(b), b->len - 4);
	uint8_t *p = buf_data(b) + b->len - 4;

	for (int i = 3; i >= 0; i--) {
		p[i] = (uint8_t)crc;
		crc >>= 8;
	}
}

static void
newer_record_is_told_from_a_damaged_one(void **state)
{
	struct store_meta in = sample(), out;
	struct buf b = BUF_INIT;
	struct arena a;
	struct err e;

	(void)state;
	store_meta_encode(&in, &b);
	buf_data(&b)[5] = 2;
	reseal(&b);
	assert_int_equal(decode(buf_slice(&b), &out, &a, &e), -1);
	assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
	arena_free(&a);
	buf_free(&b);
}

static void
unknown_tags_are_skipped(void **state)
{
	static const uint8_t tag[] = { 0x7f, 0xff, 0, 0, 0, 2, 'x', 'y' };
	struct store_meta in = sample(), out;
	struct buf b = BUF_INIT;
	struct arena a;
	size_t n;

	(void)state;
	store_meta_encode(&in, &b);
	n = b.len - 4;
	b.len = n;
	buf_append(&b, tag, sizeof(tag));
	buf_append(&b, "\0\0\0\0", 4);
	n += sizeof(tag) - 12;
	buf_data(&b)[10] = (uint8_t)(n >> 8);
	buf_data(&b)[11] = (uint8_t)n;
	reseal(&b);
	assert_int_equal(decode(buf_slice(&b), &out, &a, NULL), 0);
	arena_free(&a);
	buf_free(&b);
}

static void
expect_impossible(struct store_meta m)
{
	struct store_meta out;
	struct buf b = BUF_INIT;
	struct arena a;
	struct err e;

	store_meta_encode(&m, &b);
	assert_int_equal(decode(buf_slice(&b), &out, &a, &e), -1);
	assert_int_equal(e.code, ERR_DATA_LOSS);
	arena_free(&a);
	buf_free(&b);
}

static void
values_past_a_limit_are_refused(void **state)
{
	struct store_header many[STORE_HEADERS_MAX + 1];
	struct store_meta m = sample();

	(void)state;
	m.piece_length = STORE_PIECE_LENGTH_MAX + 1;
	expect_impossible(m);
	m = sample();
	m.piece_length = 0;
	expect_impossible(m);
	m = sample();
	m.content_length = STORE_CONTENT_MAX + 1;
	m.piece_length = STORE_PIECE_LENGTH_MAX;
	expect_impossible(m);
	m = sample();
	m.content_length = (uint64_t)STORE_PIECES_MAX * 16 + 1;
	m.piece_length = 16;
	expect_impossible(m);
	m = sample();
	m.id = "ABC";
	expect_impossible(m);
	m = sample();
	m.content_length = STORE_LENGTH_UNKNOWN;
	expect_impossible(m);
	m = sample();
	for (size_t i = 0; i < COUNT_OF(many); i++)
		many[i] = (struct store_header){ "a", "b" };
	m.headers = many;
	m.header_count = COUNT_OF(many);
	expect_impossible(m);
}

static void
journal_record_comes_back_whole(void **state)
{
	struct store_record in = { .type = STORE_RECORD_FINISHED, .flags = STORE_RECORD_HAS_CRC, .traffic_type = 1, .number = 77, .crc = 0xdeadbeef,
		.offset = (uint64_t)77 << 22, .length = 4194304, .cost_ns = 123456789, .created_at = NOW, .finished_at = NOW + 1, .sequence = 9 };
	struct store_record out;
	uint8_t b[STORE_RECORD_BYTES];

	(void)state;
	store_record_encode(&in, b);
	assert_memory_equal(b, "DFP1\1\1\1\0\0\0\0\x4d\xde\xad\xbe\xef", 16);
	assert_int_equal(store_record_decode(b, 9, &out), 0);
	assert_int_equal(out.number, 77);
	assert_int_equal(out.crc, 0xdeadbeef);
	assert_int_equal(out.offset, in.offset);
	assert_int_equal(out.length, in.length);
	assert_int_equal(out.cost_ns, in.cost_ns);
	assert_int_equal(out.created_at, in.created_at);
	assert_int_equal(out.finished_at, in.finished_at);
	assert_int_equal(store_record_decode(b, 8, &out), -1);
	for (size_t i = 0; i < sizeof(b) * 8; i++) {
		b[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(store_record_decode(b, 9, &out), -1);
		b[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

static void
ids_are_64_or_128_lower_case_hex_digits(void **state)
{
	char id[STORE_ID_MAX + 2];

	(void)state;
	for (size_t n = 0; n < sizeof(id); n++) {
		memset(id, 'a', n);
		id[n] = '\0';
		assert_int_equal(store_id_is_valid(id), n == 64 || n == 128);
	}
	memset(id, 'a', 64);
	id[64] = '\0';
	for (const char *c = "AFgG/.-\n"; *c != '\0'; c++) {
		id[63] = *c;
		assert_false(store_id_is_valid(id));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_has_the_published_value),
		cmocka_unit_test(record_of_a_task_comes_back_whole),
		cmocka_unit_test(record_cut_or_flipped_anywhere_is_refused),
		cmocka_unit_test(newer_record_is_told_from_a_damaged_one),
		cmocka_unit_test(unknown_tags_are_skipped),
		cmocka_unit_test(values_past_a_limit_are_refused),
		cmocka_unit_test(journal_record_comes_back_whole),
		cmocka_unit_test(ids_are_64_or_128_lower_case_hex_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
