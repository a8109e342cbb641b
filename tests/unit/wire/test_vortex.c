/* Vortex packets: worked and recorded bytes, every cut, every limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "support/hex.h"
#include "wire/vortex.h"

#define TASK_ID "a39c30fc5e843a73fe4c920d0a289250199e825f61fdfb353ce30a64744f0dd0"
#define TASK_ID_HEX "61333963333066633565383433613733666534633932306430613238393235303139396538323566363166646662333533636533306136343734346630646430"

static const char content_hex[] =
    "77 01 00000042 0000003e 00000003 0000000000c00000 0000000000000010 00000010 63726333323a34303833383734363736 00000001 70 "
    "01 0000000000000002 000000006955b900";

static void
worked_request(void **state)
{
	uint8_t bytes[VORTEX_REQUEST_BYTES];
	struct buf expected = BUF_INIT;

	(void)state;
	hex_append(&expected, "2a 00 00000044 " TASK_ID_HEX "00000003");
	assert_int_equal(expected.len, VORTEX_REQUEST_BYTES);
	vortex_write_request(bytes, 0x2a, VORTEX_DOWNLOAD_PIECE, slice_str(TASK_ID), 3);
	assert_memory_equal(bytes, buf_data(&expected), sizeof(bytes));
	vortex_write_request(bytes, 0x2a, VORTEX_DOWNLOAD_PERSISTENT_CACHE_PIECE, slice_str(TASK_ID), 3);
	assert_int_equal(bytes[1], 4);
	buf_free(&expected);
}

static void
worked_content(void **state)
{
	struct vortex_content c = {.tag = VORTEX_PIECE_CONTENT, .number = 3, .offset = 12582912, .length = 16,
		.digest = slice_str("crc32:4083874676"), .parent_id = slice_str("p"), .traffic_type = 1, .cost_s = 2, .created_at_s = 1767225600};
	struct buf expected = BUF_INIT, out = BUF_INIT;

	(void)state;
	hex_append(&expected, content_hex);
	vortex_write_content(&out, 0x77, &c);
	assert_int_equal(out.len, expected.len);
	assert_memory_equal(buf_data(&out), buf_data(&expected), out.len);
	buf_free(&expected);
	buf_free(&out);
}

static void
worked_error_and_close(void **state)
{
	struct buf expected = BUF_INIT, out = BUF_INIT;

	(void)state;
	hex_append(&expected, "91 ff 00000053 02 7069656365 20 " TASK_ID_HEX " 2d 33 20 6e6f7420666f756e64 05 fe 00000000");
	vortex_write_error(&out, 0x91, VORTEX_NOT_FOUND, slice_str("piece " TASK_ID "-3 not found"));
	vortex_write_close(&out, 5);
	assert_int_equal(out.len, expected.len);
	assert_memory_equal(buf_data(&out), buf_data(&expected), out.len);
	buf_free(&expected);
	buf_free(&out);
}

/* Feeds the bytes in two halves, cut at `cut`; what is left of the second half goes to *rest. */
static enum vortex_result
feed_reply(struct vortex_reply_reader *r, struct slice all, size_t cut, struct vortex_reply *out, struct slice *rest, struct err *e)
{
	struct slice first = slice_sub(all, 0, cut);
	enum vortex_result rc = vortex_read_reply(r, &first, out, e);

	*rest = slice_sub(all, cut - first.n, all.n);
	return rc == VORTEX_MORE ? vortex_read_reply(r, rest, out, e) : rc;
}

static void
content_is_read_at_every_cut_and_stops_before_the_bytes(void **state)
{
	struct vortex_reply_reader r;
	struct vortex_reply out;
	struct buf all = BUF_INIT;
	struct err e;

	(void)state;
	hex_append(&all, content_hex);
	buf_append_str(&all, "hello dragonfly\n");
	for (size_t cut = 0; cut <= all.len; cut++) {
		struct slice rest;

		vortex_reply_start(&r, VORTEX_DOWNLOAD_PIECE);
		assert_int_equal(feed_reply(&r, buf_slice(&all), cut, &out, &rest, &e), VORTEX_READY);
		assert_false(out.is_error);
		assert_int_equal(out.content.number, 3);
		assert_int_equal(out.content.offset, 12582912);
		assert_int_equal(out.content.length, 16);
		assert_true(slice_eq_str(out.content.digest, "crc32:4083874676"));
		assert_true(slice_eq_str(out.content.parent_id, "p"));
		assert_int_equal(out.content.traffic_type, 1);
		assert_int_equal(out.content.cost_s, 2);
		assert_int_equal(out.content.created_at_s, 1767225600);
		assert_true(slice_eq_str(rest, "hello dragonfly\n"));
	}
	buf_free(&all);
}

static void
request_is_read_at_every_cut(void **state)
{
	uint8_t bytes[2 * VORTEX_REQUEST_BYTES];
	struct vortex_request_reader r = {.n = 0};
	struct vortex_request out;
	struct err e;

	(void)state;
	vortex_write_request(bytes, 1, VORTEX_DOWNLOAD_PIECE, slice_str(TASK_ID), 7);
	vortex_write_request(bytes + VORTEX_REQUEST_BYTES, 2, VORTEX_DOWNLOAD_PERSISTENT_PIECE, slice_str(TASK_ID), UINT32_MAX);
	for (size_t cut = 0; cut < VORTEX_REQUEST_BYTES; cut++) {
		struct slice part = slice_make(bytes, cut), rest = slice_make(bytes + cut, sizeof(bytes) - cut);

		assert_int_equal(vortex_read_request(&r, &part, &out, &e), VORTEX_MORE);
		assert_int_equal(part.n, 0);
		assert_int_equal(vortex_read_request(&r, &rest, &out, &e), VORTEX_READY);
		assert_int_equal(out.number, 7);
		assert_string_equal(out.task_id, TASK_ID);
		assert_int_equal(vortex_read_request(&r, &rest, &out, &e), VORTEX_READY);
		assert_int_equal(out.tag, VORTEX_DOWNLOAD_PERSISTENT_PIECE);
		assert_int_equal(out.number, UINT32_MAX);
		assert_int_equal(rest.n, 0);
		assert_int_equal(r.n, 0);
	}
}

static void
wrong_requests_are_refused_by_their_header(void **state)
{
	static const char *const heads[] = {
		"0001 00000044", "0003 00000044", "0007 00000044", "0008 00000044", "00ff 00000044", "00fd 00000044",
		"0000 00000043", "0000 00000045", "0000 ffffffff", "0000 44000000", "00fe 00000001",
	};
	struct vortex_request out;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		struct vortex_request_reader r = {.n = 0};
		struct buf bytes = BUF_INIT;
		struct slice in;

		hex_append(&bytes, heads[i]);
		in = buf_slice(&bytes);
		if (vortex_read_request(&r, &in, &out, &e) != VORTEX_BROKEN)
			fail_msg("accepted: %s", heads[i]);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
		buf_free(&bytes);
	}
}

static void
task_id_must_be_a_name(void **state)
{
	static const char bad[] = {'/', '.', '\0', ' ', '\x80', '\n'};
	struct vortex_request_reader r = {.n = 0};
	struct vortex_request out;
	uint8_t bytes[VORTEX_REQUEST_BYTES];
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad); i++) {
		struct slice in = slice_make(bytes, sizeof(bytes));

		vortex_write_request(bytes, 1, 0, slice_str(TASK_ID), 7);
		bytes[10 + i] = (uint8_t)bad[i];
		assert_int_equal(vortex_read_request(&r, &in, &out, &e), VORTEX_BROKEN);
	}
}

static void
close_ends_the_requests(void **state)
{
	struct vortex_request_reader r = {.n = 0};
	struct vortex_request out;
	struct slice in = slice_make("\5\xfe\0\0\0\0", 6);
	struct err e;

	(void)state;
	assert_int_equal(vortex_read_request(&r, &in, &out, &e), VORTEX_END);
	assert_int_equal(in.n, 0);
}

static void
first_bytes_tell_the_protocol(void **state)
{
	static const char request[] = "\x2a\x04\0\0\0\x44";

	(void)state;
	for (size_t n = 0; n < 6; n++)
		assert_int_equal(vortex_is_request(slice_make(request, n)), -1);
	assert_int_equal(vortex_is_request(slice_make(request, 6)), 1);
	assert_int_equal(vortex_is_request(slice_str("PRI * HTTP/2.0")), 0);
	assert_int_equal(vortex_is_request(slice_str("PR")), 0);
	assert_int_equal(vortex_is_request(slice_make("\x16\3\1\2\0\1", 6)), 0);
	assert_int_equal(vortex_is_request(slice_str("GET / ")), 0);
	assert_int_equal(vortex_is_request(slice_make("\x2a\0\0\0\0\x45", 6)), 0);
	assert_int_equal(vortex_is_request(slice_make("\x2a\0\1", 3)), 0);
}

/* Appends a content packet by hand: lengths may lie. */
static void
append_content(struct buf *out, uint32_t header_length, uint32_t m, uint32_t d, uint32_t p, size_t present)
{
	static const uint8_t zeros[VORTEX_METADATA_MAX + 64];
	uint8_t head[14] = {9, 1};
	size_t start = out->len;

	for (unsigned i = 0; i < 4; i++) {
		head[2 + i] = (uint8_t)(header_length >> (24 - 8 * i));
		head[6 + i] = (uint8_t)(m >> (24 - 8 * i));
	}
	buf_append(out, head, 10);
	buf_append(out, zeros, present);
	for (unsigned i = 0; i < 4; i++) {
		buf_data(out)[start + 30 + i] = (uint8_t)(d >> (24 - 8 * i));
		if (34 + (size_t)d + 4 <= present)
			buf_data(out)[start + 34 + d + i] = (uint8_t)(p >> (24 - 8 * i));
	}
}

static enum vortex_result
read_hand_made(uint32_t header_length, uint32_t m, uint32_t d, uint32_t p, struct vortex_reply *out, size_t *left)
{
	/* Texts point into the reader. */
	static struct vortex_reply_reader r;
	struct buf bytes = BUF_INIT;
	struct slice in;
	struct err e;
	enum vortex_result rc;

	append_content(&bytes, header_length, m, d, p, VORTEX_METADATA_MAX + 64);
	in = buf_slice(&bytes);
	vortex_reply_start(&r, VORTEX_DOWNLOAD_PIECE);
	rc = vortex_read_reply(&r, &in, out, &e);
	*left = in.n;
	buf_free(&bytes);
	return rc;
}

static void
surplus_metadata_is_skipped(void **state)
{
	struct vortex_reply out;
	size_t left;

	(void)state;
	assert_int_equal(read_hand_made(4 + 45 + 20, 45 + 20, 3, 2, &out, &left), VORTEX_READY);
	assert_int_equal(out.content.digest.n, 3);
	assert_int_equal(out.content.parent_id.n, 2);
	assert_int_equal(left, VORTEX_METADATA_MAX + 64 - 65);
}

static void
metadata_lengths_are_checked(void **state)
{
	struct vortex_reply out;
	size_t left;

	(void)state;
	assert_int_equal(read_hand_made(4 + 45, 45, 0, 0, &out, &left), VORTEX_READY);
	assert_int_equal(read_hand_made(4 + 44, 44, 0, 0, &out, &left), VORTEX_BROKEN);
	assert_int_equal(read_hand_made(4 + 45, 46, 0, 0, &out, &left), VORTEX_BROKEN);
	assert_int_equal(read_hand_made(4 + 45, 45, 1, 0, &out, &left), VORTEX_BROKEN);
	assert_int_equal(read_hand_made(4 + 45, 45, 0, 1, &out, &left), VORTEX_BROKEN);
	assert_int_equal(read_hand_made(4 + 45, 45, UINT32_MAX, 0, &out, &left), VORTEX_BROKEN);
	assert_int_equal(read_hand_made(4 + 50, 50, 3, 3, &out, &left), VORTEX_BROKEN);
	assert_int_equal(read_hand_made(4 + 50, 50, 2, 3, &out, &left), VORTEX_READY);
	assert_int_equal(read_hand_made(0, 45, 0, 0, &out, &left), VORTEX_BROKEN);
	assert_int_equal(read_hand_made(UINT32_MAX, UINT32_MAX - 4, 0, 0, &out, &left), VORTEX_BROKEN);
}

static void
metadata_has_a_limit(void **state)
{
	struct vortex_reply out;
	size_t left;

	(void)state;
	assert_int_equal(read_hand_made(4 + VORTEX_METADATA_MAX, VORTEX_METADATA_MAX, 0, 0, &out, &left), VORTEX_READY);
	assert_int_equal(read_hand_made(5 + VORTEX_METADATA_MAX, VORTEX_METADATA_MAX + 1, 0, 0, &out, &left), VORTEX_BROKEN);
}

static void
texts_that_do_not_fit_are_left_out_when_writing(void **state)
{
	char text[VORTEX_METADATA_MAX + 1];
	struct vortex_content c = {.tag = VORTEX_PIECE_CONTENT, .digest = slice_str("crc32:0"), .parent_id = {(uint8_t *)text, sizeof(text)}};
	struct vortex_reply_reader r;
	struct vortex_reply reply;
	struct buf out = BUF_INIT;
	struct slice in;
	struct err e;

	(void)state;
	memset(text, 'x', sizeof(text));
	vortex_write_content(&out, 1, &c);
	in = buf_slice(&out);
	vortex_reply_start(&r, VORTEX_DOWNLOAD_PIECE);
	assert_int_equal(vortex_read_reply(&r, &in, &reply, &e), VORTEX_READY);
	assert_true(slice_eq_str(reply.content.digest, "crc32:0"));
	assert_int_equal(reply.content.parent_id.n, 0);
	buf_free(&out);
}

static void
texts_must_be_utf8(void **state)
{
	struct vortex_content c = {.tag = VORTEX_PIECE_CONTENT, .digest = slice_make("\xff", 1)};
	struct vortex_reply_reader r;
	struct vortex_reply reply;
	struct buf out = BUF_INIT;
	struct slice in;
	struct err e;

	(void)state;
	vortex_write_content(&out, 1, &c);
	in = buf_slice(&out);
	vortex_reply_start(&r, VORTEX_DOWNLOAD_PIECE);
	assert_int_equal(vortex_read_reply(&r, &in, &reply, &e), VORTEX_BROKEN);
	buf_free(&out);
}

static void
answer_must_be_of_the_kind_that_was_asked(void **state)
{
	static const uint8_t wrong[] = {0, 2, 3, 5, 7, 8, 0xfd, 0xfe};
	struct vortex_reply_reader r;
	struct vortex_reply out;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong); i++) {
		const uint8_t head[] = {1, wrong[i], 0, 0, 0, 0x44};
		struct slice in = slice_make(head, sizeof(head));

		vortex_reply_start(&r, VORTEX_DOWNLOAD_PIECE);
		assert_int_equal(vortex_read_reply(&r, &in, &out, &e), VORTEX_BROKEN);
		assert_int_equal(e.code, ERR_INTERNAL);
	}
}

static void
error_is_read_at_every_cut(void **state)
{
	struct vortex_reply_reader r;
	struct vortex_reply out;
	struct buf all = BUF_INIT;
	struct err e;

	(void)state;
	vortex_write_error(&all, 0x91, VORTEX_NOT_FOUND, slice_str("piece not found"));
	buf_append_str(&all, "next");
	for (size_t cut = 0; cut <= all.len; cut++) {
		struct slice rest;

		vortex_reply_start(&r, VORTEX_DOWNLOAD_PERSISTENT_PIECE);
		assert_int_equal(feed_reply(&r, buf_slice(&all), cut, &out, &rest, &e), VORTEX_READY);
		assert_true(out.is_error);
		assert_int_equal(out.code, VORTEX_NOT_FOUND);
		assert_true(slice_eq_str(out.message, "piece not found"));
		assert_true(slice_eq_str(rest, "next"));
	}
	buf_free(&all);
}

/* Reads an error packet with a value of `length` bytes, the message filled with `c`, in parts of 1000 bytes. */
static enum vortex_result
read_long_error(size_t length, char c, struct vortex_reply *out)
{
	static struct vortex_reply_reader r;
	const uint8_t head[] = {1, 0xff, (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length, 77};
	struct buf all = BUF_INIT;
	enum vortex_result rc = VORTEX_MORE;
	struct err e;

	buf_append(&all, head, length > 0 ? 7 : 6);
	for (size_t i = 1; i < length; i++)
		buf_append_u8(&all, (uint8_t)c);
	vortex_reply_start(&r, VORTEX_DOWNLOAD_PIECE);
	for (size_t at = 0; at < all.len && rc == VORTEX_MORE; at += 1000) {
		struct slice in = slice_sub(buf_slice(&all), at, 1000);

		rc = vortex_read_reply(&r, &in, out, &e);
	}
	buf_free(&all);
	return rc;
}

static void
error_length_has_a_limit_and_long_messages_are_cut(void **state)
{
	struct vortex_reply out;

	(void)state;
	assert_int_equal(read_long_error(0, 'x', &out), VORTEX_BROKEN);
	assert_int_equal(read_long_error(1, 'x', &out), VORTEX_READY);
	assert_int_equal(out.message.n, 0);
	assert_int_equal(out.code, 77);
	assert_int_equal(read_long_error(VORTEX_MESSAGE_KEPT + 1, 'x', &out), VORTEX_READY);
	assert_int_equal(out.message.n, VORTEX_MESSAGE_KEPT);
	assert_int_equal(read_long_error(VORTEX_ERROR_MAX, 'x', &out), VORTEX_READY);
	assert_int_equal(out.message.n, VORTEX_MESSAGE_KEPT);
	assert_int_equal(read_long_error(VORTEX_ERROR_MAX + 1, 'x', &out), VORTEX_BROKEN);
	/* Every byte becomes U+FFFD, three bytes. */
	assert_int_equal(read_long_error(VORTEX_ERROR_MAX, '\xff', &out), VORTEX_READY);
	assert_true(out.message.n >= 3 * (VORTEX_MESSAGE_KEPT - 1));
	assert_int_equal(out.message.p[0], 0xef);
}

static void
long_error_texts_are_cut_at_a_character(void **state)
{
	struct buf out = BUF_INIT, text = BUF_INIT;
	struct vortex_reply_reader r;
	struct vortex_reply reply;
	struct slice in;
	struct err e;

	(void)state;
	buf_append_u8(&text, 'a');
	while (text.len < VORTEX_MESSAGE_KEPT + 10)
		buf_append_str(&text, "\xc3\xa9");
	vortex_write_error(&out, 1, 3, buf_slice(&text));
	in = buf_slice(&out);
	vortex_reply_start(&r, 0);
	assert_int_equal(vortex_read_reply(&r, &in, &reply, &e), VORTEX_READY);
	assert_int_equal(reply.message.n, VORTEX_MESSAGE_KEPT - 1);
	buf_free(&out);
	buf_free(&text);
}

static void
content_must_be_the_piece_asked_for(void **state)
{
	struct vortex_content c = {.number = 3, .offset = 100, .length = 50};
	struct err e;

	(void)state;
	assert_int_equal(vortex_check_content(&c, 3, 100, 50, &e), 0);
	assert_int_equal(vortex_check_content(&c, 2, 100, 50, &e), -1);
	assert_int_equal(vortex_check_content(&c, 3, 101, 50, &e), -1);
	assert_int_equal(vortex_check_content(&c, 3, 100, 51, &e), -1);
	assert_string_equal(e.text, "parent sent piece 3 with length 50 instead of 51");
}

static void
error_codes_become_status_codes(void **state)
{
	(void)state;
	assert_int_equal(vortex_code_to_err(0), ERR_UNKNOWN);
	assert_int_equal(vortex_code_to_err(1), ERR_INVALID_ARGUMENT);
	assert_int_equal(vortex_code_to_err(2), ERR_NOT_FOUND);
	assert_int_equal(vortex_code_to_err(3), ERR_INTERNAL);
	assert_int_equal(vortex_code_to_err(200), ERR_UNKNOWN);
}

/* ---- recorded ---- */

/* What a recording holds, as its .txt has it. */
struct recorded_piece {
	uint8_t tag;
	const char *task_id;
	uint32_t number;
	uint64_t offset;
	uint64_t length;
	const char *digest;
	const char *parent_id;
};

/* Reads every request and reply of a recording (the contents are left out of it), compares them, and writes them again. */
static void
check_recorded(const char *name, const struct recorded_piece *pieces, size_t n)
{
	struct vortex_request_reader requests = {.n = 0};
	struct vortex_reply_reader replies;
	struct buf c2s = BUF_INIT, s2c = BUF_INIT;
	struct slice asked, answered;
	struct err e;
	char path[128];

	snprintf(path, sizeof(path), "recorded/%s.c2s", name);
	vector_read(&c2s, path);
	snprintf(path, sizeof(path), "recorded/%s.s2c", name);
	vector_read(&s2c, path);
	asked = buf_slice(&c2s);
	answered = buf_slice(&s2c);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *request_bytes = asked.p, *reply_bytes = answered.p;
		uint8_t again[VORTEX_REQUEST_BYTES];
		struct buf out = BUF_INIT;
		struct vortex_request request;
		struct vortex_reply reply;

		assert_int_equal(vortex_read_request(&requests, &asked, &request, &e), VORTEX_READY);
		assert_int_equal(request.tag, pieces[i].tag);
		assert_string_equal(request.task_id, pieces[i].task_id);
		assert_int_equal(request.number, pieces[i].number);
		vortex_write_request(again, request_bytes[0], request.tag, slice_str(request.task_id), request.number);
		assert_memory_equal(again, request_bytes, sizeof(again));

		vortex_reply_start(&replies, request.tag);
		assert_int_equal(vortex_read_reply(&replies, &answered, &reply, &e), VORTEX_READY);
		assert_false(reply.is_error);
		assert_int_equal(vortex_check_content(&reply.content, pieces[i].number, pieces[i].offset, pieces[i].length, &e), 0);
		assert_true(slice_eq_str(reply.content.digest, pieces[i].digest));
		assert_true(slice_eq_str(reply.content.parent_id, pieces[i].parent_id));
		assert_int_equal(reply.content.traffic_type, 1);
		assert_int_equal(reply.content.cost_s, 0);
		/* 2026-11-25, the day of the recording. */
		assert_in_range(reply.content.created_at_s, 1795564800, 1795564800 + 86400);
		vortex_write_content(&out, reply_bytes[0], &reply.content);
		assert_int_equal(out.len, answered.p - reply_bytes);
		assert_memory_equal(buf_data(&out), reply_bytes, out.len);
		buf_free(&out);
	}
	assert_int_equal(asked.n, 0);
	assert_int_equal(answered.n, 0);
	buf_free(&c2s);
	buf_free(&s2c);
}

#define BIG_TASK "da4e11dd0d7553a5731fad29cd86e03f73f71d207571b31b8a05db5f03127502"

static void
recorded_pieces(void **state)
{
	const struct recorded_piece one[] = {{0, BIG_TASK, 0, 0, 4194304, "crc32:967039963", ""}};
	const struct recorded_piece small[] = {{0, BIG_TASK, 1, 4194304, 1000, "crc32:2490080417", ""}};
	const struct recorded_piece cache[] = {{4, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", 0, 0, 5001, "", ""}};
	const struct recorded_piece reused[] = {{0, BIG_TASK, 0, 0, 4194304, "crc32:967039963", ""},
		{0, "eee6cacc591d0f01193c9996d11a536ffc21f52c1b927b67b889095b9b6f7b3a", 2, 8388608, 1048576, "crc32:1747006184", ""}};

	(void)state;
	check_recorded("vortex-one-piece", one, COUNT_OF(one));
	check_recorded("vortex-one-small-piece", small, COUNT_OF(small));
	check_recorded("vortex-persistent-cache-piece", cache, COUNT_OF(cache));
	check_recorded("vortex-reused-connection", reused, COUNT_OF(reused));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(worked_request), cmocka_unit_test(worked_content), cmocka_unit_test(worked_error_and_close),
		cmocka_unit_test(content_is_read_at_every_cut_and_stops_before_the_bytes), cmocka_unit_test(request_is_read_at_every_cut),
		cmocka_unit_test(wrong_requests_are_refused_by_their_header), cmocka_unit_test(task_id_must_be_a_name),
		cmocka_unit_test(close_ends_the_requests), cmocka_unit_test(first_bytes_tell_the_protocol),
		cmocka_unit_test(surplus_metadata_is_skipped), cmocka_unit_test(metadata_lengths_are_checked),
		cmocka_unit_test(metadata_has_a_limit), cmocka_unit_test(texts_that_do_not_fit_are_left_out_when_writing),
		cmocka_unit_test(texts_must_be_utf8), cmocka_unit_test(answer_must_be_of_the_kind_that_was_asked),
		cmocka_unit_test(error_is_read_at_every_cut), cmocka_unit_test(error_length_has_a_limit_and_long_messages_are_cut),
		cmocka_unit_test(long_error_texts_are_cut_at_a_character), cmocka_unit_test(content_must_be_the_piece_asked_for),
		cmocka_unit_test(error_codes_become_status_codes), cmocka_unit_test(recorded_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
