/* gRPC framing, status, timeouts, and the details about a failed source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "support/hex.h"
#include "wire/grpc.h"
#include "wire/pb.h"

static void
append_frame(struct buf *out, const char *text)
{
	uint8_t prefix[GRPC_PREFIX_BYTES];

	grpc_write_prefix(prefix, (uint32_t)strlen(text));
	buf_append(out, prefix, sizeof(prefix));
	buf_append_str(out, text);
}

static void
messages_are_found_at_every_cut(void **state)
{
	static const char *const texts[] = {"hello", "", "dragonfly", ""};
	struct buf all = BUF_INIT;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		append_frame(&all, texts[i]);
	for (size_t cut = 0; cut <= all.len; cut++) {
		struct slice halves[] = {slice_sub(buf_slice(&all), 0, cut), slice_sub(buf_slice(&all), cut, all.len)}, msg;
		struct grpc_reader r;
		size_t n = 0;

		grpc_reader_init(&r, 100);
		for (size_t h = 0; h < 2; h++) {
			int rc;

			while ((rc = grpc_read_message(&r, &halves[h], &msg, &e)) == 1)
				assert_true(slice_eq_str(msg, texts[n++]));
			assert_int_equal(rc, 0);
			assert_int_equal(halves[h].n, 0);
		}
		assert_int_equal(n, COUNT_OF(texts));
		assert_int_equal(grpc_reader_end(&r, &e), 0);
		grpc_reader_free(&r);
	}
	buf_free(&all);
}

static void
one_byte_at_a_time(void **state)
{
	struct buf all = BUF_INIT;
	struct grpc_reader r;
	struct slice msg;
	struct err e;
	size_t found = 0;

	(void)state;
	append_frame(&all, "hello");
	append_frame(&all, "dragonfly");
	grpc_reader_init(&r, 9);
	for (size_t i = 0; i < all.len; i++) {
		struct slice in = slice_make(buf_data(&all) + i, 1);
		int rc = grpc_read_message(&r, &in, &msg, &e);

		if (rc == 1)
			assert_true(slice_eq_str(msg, found++ == 0 ? "hello" : "dragonfly"));
		assert_int_equal(in.n, 0);
		assert_int_equal(grpc_reader_end(&r, &e), i == 9 || i == all.len - 1 ? 0 : -1);
	}
	assert_int_equal(found, 2);
	grpc_reader_free(&r);
	buf_free(&all);
}

static void
parts_carry_their_place(void **state)
{
	struct buf all = BUF_INIT;
	struct grpc_reader r;
	struct grpc_part part;
	struct slice in;
	struct err e;

	(void)state;
	append_frame(&all, "abcdef");
	append_frame(&all, "");
	grpc_reader_init(&r, 6);
	in = slice_make(buf_data(&all), 7);
	assert_int_equal(grpc_read_part(&r, &in, &part, &e), 1);
	assert_int_equal(part.len, 6);
	assert_int_equal(part.at, 0);
	assert_true(slice_eq_str(part.bytes, "ab"));
	assert_int_equal(grpc_read_part(&r, &in, &part, &e), 0);
	in = slice_make(buf_data(&all) + 7, all.len - 7);
	assert_int_equal(grpc_read_part(&r, &in, &part, &e), 1);
	assert_int_equal(part.at, 2);
	assert_true(slice_eq_str(part.bytes, "cdef"));
	assert_int_equal(grpc_read_part(&r, &in, &part, &e), 1);
	assert_int_equal(part.len, 0);
	assert_int_equal(part.bytes.n, 0);
	assert_int_equal(grpc_read_part(&r, &in, &part, &e), 0);
	grpc_reader_free(&r);
	buf_free(&all);
}

static void
message_size_has_a_limit(void **state)
{
	struct grpc_reader r;
	struct slice in, msg;
	struct err e;

	(void)state;
	grpc_reader_init(&r, 4194304);
	in = slice_make("\0\0\x40\0\0", 5);
	assert_int_equal(grpc_read_message(&r, &in, &msg, &e), 0);
	grpc_reader_free(&r);
	grpc_reader_init(&r, 4194304);
	in = slice_make("\0\0\x40\0\1", 5);
	assert_int_equal(grpc_read_message(&r, &in, &msg, &e), -1);
	assert_int_equal(e.code, ERR_OUT_OF_RANGE);
	assert_string_equal(e.text, "Error, decoded message length too large: found 4194305 bytes, the limit is: 4194304 bytes");
	grpc_reader_free(&r);
}

static void
memory_grows_with_what_came_not_with_what_was_promised(void **state)
{
	struct grpc_reader r;
	struct slice in, msg;
	struct err e;

	(void)state;
	grpc_reader_init(&r, UINT32_MAX);
	in = slice_make("\0\xff\xff\xff\xff" "abc", 8);
	assert_int_equal(grpc_read_message(&r, &in, &msg, &e), 0);
	assert_true(r.held.cap < 4096);
	grpc_reader_free(&r);
}

static void
large_buffers_are_given_back(void **state)
{
	struct grpc_reader r;
	struct buf big = BUF_INIT;
	struct slice in, msg;
	uint8_t prefix[GRPC_PREFIX_BYTES];
	struct err e;

	(void)state;
	grpc_write_prefix(prefix, 1 << 20);
	buf_append(&big, prefix, sizeof(prefix));
	memset(buf_reserve(&big, 1 << 20), 'x', 1 << 20);
	buf_added(&big, 1 << 20);
	grpc_reader_init(&r, 1 << 20);
	in = slice_sub(buf_slice(&big), 0, 1000);
	assert_int_equal(grpc_read_message(&r, &in, &msg, &e), 0);
	in = slice_sub(buf_slice(&big), 1000, big.len);
	assert_int_equal(grpc_read_message(&r, &in, &msg, &e), 1);
	assert_int_equal(msg.n, 1 << 20);
	assert_int_equal(grpc_read_message(&r, &in, &msg, &e), 0);
	assert_int_equal(r.held.cap, 0);
	grpc_reader_free(&r);
	buf_free(&big);
}

static void
flags_are_refused(void **state)
{
	struct err e;

	(void)state;
	for (unsigned flag = 1; flag < 256; flag += 127) {
		const uint8_t bytes[] = {(uint8_t)flag, 0, 0, 0, 0};
		struct slice in = slice_make(bytes, 5), msg;
		struct grpc_reader r;

		grpc_reader_init(&r, 10);
		assert_int_equal(grpc_read_message(&r, &in, &msg, &e), -1);
		assert_int_equal(e.code, ERR_INTERNAL);
		grpc_reader_free(&r);
	}
}

static void
message_is_framed(void **state)
{
	struct pb_pair pair = {slice_str("a"), slice_str("b")};
	struct buf out = BUF_INIT;

	(void)state;
	grpc_append_message(&out, &pb_pair_desc, &pair);
	assert_int_equal(out.len, 11);
	assert_memory_equal(buf_data(&out), "\0\0\0\0\6\x0a\1a\x12\1b", 11);
	buf_free(&out);
}

static void
content_types(void **state)
{
	(void)state;
	assert_true(grpc_is_content_type(slice_str("application/grpc")));
	assert_true(grpc_is_content_type(slice_str("application/grpc+proto")));
	assert_true(grpc_is_content_type(slice_str("Application/gRPC;charset=utf-8")));
	assert_false(grpc_is_content_type(slice_str("application/grpc-web")));
	assert_false(grpc_is_content_type(slice_str("application/grp")));
	assert_false(grpc_is_content_type(slice_str("application/json")));
	assert_false(grpc_is_content_type((struct slice){NULL, 0}));
}

static void
paths_are_split(void **state)
{
	static const char *const bad[] = {"", "/", "//", "a/b", "/a", "/a/", "//b"};
	struct slice service, method;

	(void)state;
	assert_int_equal(grpc_split_path(slice_str("/scheduler.v2.Scheduler/StatTask"), &service, &method), 0);
	assert_true(slice_eq_str(service, "scheduler.v2.Scheduler"));
	assert_true(slice_eq_str(method, "StatTask"));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (grpc_split_path(slice_str(bad[i]), &service, &method) != -1)
			fail_msg("accepted: %s", bad[i]);
}

static void
timeouts_are_parsed(void **state)
{
	static const struct { const char *text; int64_t ns; } good[] = {
		{"10000000u", 10000000000}, {"7200000m", 7200000000000}, {"0n", 0}, {"1H", 3600000000000}, {"2M", 120000000000},
		{"3S", 3000000000}, {"00000001n", 1}, {"99999999H", INT64_MAX},
	};
	static const char *const bad[] = {"", "n", "1", "123456789u", "1s", "-1S", "1 S", "+1S", "1Sn", "0x1S", "\x80n"};
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_int_equal(grpc_parse_timeout(slice_str(good[i].text), &ns), 0);
		assert_true(ns == good[i].ns);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (grpc_parse_timeout(slice_str(bad[i]), &ns) != -1)
			fail_msg("accepted: %s", bad[i]);
}

static void
timeouts_are_formatted_in_the_finest_unit(void **state)
{
	static const struct { int64_t ns; const char *text; } cases[] = {
		{10000000000, "10000000u"}, {7200000000000, "7200000m"}, {500000000, "500000u"}, {0, "0n"}, {-5, "0n"}, {99999999, "99999999n"},
		{100000000, "100000u"}, {100000001, "100001u"}, {INT64_MAX, "2562048H"},
	};
	char text[GRPC_TIMEOUT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		grpc_format_timeout(cases[i].ns, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void
status_numbers(void **state)
{
	(void)state;
	assert_int_equal(grpc_parse_status(slice_str("0")), 0);
	assert_int_equal(grpc_parse_status(slice_str("16")), 16);
	assert_int_equal(grpc_parse_status(slice_str("17")), ERR_UNKNOWN);
	assert_int_equal(grpc_parse_status(slice_str("-1")), ERR_UNKNOWN);
	assert_int_equal(grpc_parse_status(slice_str("")), ERR_UNKNOWN);
	assert_int_equal(grpc_parse_status(slice_str("x")), ERR_UNKNOWN);
	assert_int_equal(grpc_parse_status(slice_str("99999999999999999999")), ERR_UNKNOWN);
}

static void
assert_message_encodes(const char *text, const char *encoded)
{
	struct buf out = BUF_INIT;

	grpc_encode_message(slice_str(text), &out);
	assert_string_equal(buf_cstr(&out), encoded);
	buf_clear(&out);
	grpc_decode_message(slice_str(encoded), &out);
	assert_string_equal(buf_cstr(&out), text);
	buf_free(&out);
}

static void
messages_are_percent_encoded(void **state)
{
	(void)state;
	assert_message_encodes("", "");
	assert_message_encodes("peer not found", "peer not found");
	assert_message_encodes("100% \"sure\"\n", "100%25 \"sure\"%0A");
	assert_message_encodes("\xc3\xa9\x7f", "%C3%A9%7F");
}

static void
messages_are_decoded_leniently(void **state)
{
	static const struct { const char *in, *out; } cases[] = {
		{"backend%20error:%20404%20Not%20Found", "backend error: 404 Not Found"}, {"%", "%"}, {"%4", "%4"}, {"%zz", "%zz"}, {"%4a%4A", "JJ"},
		{"%FF", "\xef\xbf\xbd"}, {"%25%", "%%"}, {"\xff", "\xef\xbf\xbd"}, {"%%41", "%A"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT;

		grpc_decode_message(slice_str(cases[i].in), &out);
		assert_string_equal(buf_cstr(&out), cases[i].out);
		buf_free(&out);
	}
}

static void
message_text_has_a_limit(void **state)
{
	struct buf text = BUF_INIT, out = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < GRPC_MESSAGE_MAX + 1; i++)
		buf_append_u8(&text, 'x');
	grpc_encode_message(buf_slice(&text), &out);
	assert_int_equal(out.len, GRPC_MESSAGE_MAX);
	/* The last character would need six bytes and has five. */
	buf_data(&text)[GRPC_MESSAGE_MAX - 5] = 0xc3;
	buf_data(&text)[GRPC_MESSAGE_MAX - 4] = 0xa9;
	buf_clear(&out);
	grpc_encode_message(buf_slice(&text), &out);
	assert_int_equal(out.len, GRPC_MESSAGE_MAX - 5);
	buf_free(&text);
	buf_free(&out);
}

static void
details_are_base64_with_or_without_padding(void **state)
{
	static const char *const bad[] = {"a", "a===", "ab!c", "YQ=", "YQ==x", "_-8"};
	struct buf out = BUF_INIT, big = BUF_INIT;

	(void)state;
	assert_int_equal(grpc_encode_details(slice_str("a"), &out), 0);
	assert_string_equal(buf_cstr(&out), "YQ");
	buf_clear(&out);
	assert_int_equal(grpc_decode_details(slice_str("YQ"), &out), 0);
	assert_int_equal(grpc_decode_details(slice_str("YQ=="), &out), 0);
	assert_int_equal(grpc_decode_details(slice_str(""), &out), 0);
	assert_string_equal(buf_cstr(&out), "aa");
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (grpc_decode_details(slice_str(bad[i]), &out) != -1)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(out.len, 2);
	}
	buf_clear(&out);
	memset(buf_reserve(&big, GRPC_DETAILS_MAX), 'x', GRPC_DETAILS_MAX);
	assert_int_equal(grpc_encode_details(slice_make(buf_data(&big), GRPC_DETAILS_MAX / 4 * 3), &out), 0);
	assert_int_equal(out.len, GRPC_DETAILS_MAX);
	assert_int_equal(grpc_encode_details(slice_make(buf_data(&big), GRPC_DETAILS_MAX / 4 * 3 + 1), &out), -1);
	buf_free(&out);
	buf_free(&big);
}

static void
other_failures_become_status_codes(void **state)
{
	(void)state;
	assert_int_equal(grpc_code_of_http(400), ERR_INTERNAL);
	assert_int_equal(grpc_code_of_http(401), ERR_UNAUTHENTICATED);
	assert_int_equal(grpc_code_of_http(403), ERR_PERMISSION_DENIED);
	assert_int_equal(grpc_code_of_http(404), ERR_UNIMPLEMENTED);
	assert_int_equal(grpc_code_of_http(429), ERR_UNAVAILABLE);
	assert_int_equal(grpc_code_of_http(503), ERR_UNAVAILABLE);
	assert_int_equal(grpc_code_of_http(500), ERR_UNKNOWN);
	assert_int_equal(grpc_code_of_h2(0), ERR_INTERNAL);
	assert_int_equal(grpc_code_of_h2(7), ERR_UNAVAILABLE);
	assert_int_equal(grpc_code_of_h2(8), ERR_CANCELLED);
	assert_int_equal(grpc_code_of_h2(11), ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(grpc_code_of_h2(12), ERR_PERMISSION_DENIED);
	assert_int_equal(grpc_code_of_h2(13), ERR_UNKNOWN);
	assert_int_equal(grpc_code_of_h2(UINT32_MAX), ERR_UNKNOWN);
}

static void
worked_backend_details(void **state)
{
	static const char encoded[] =
	    "eyJtZXNzYWdlIjoibm90IGZvdW5kIiwiaGVhZGVyIjp7ImNvbnRlbnQtdHlwZSI6InRleHQvcGxhaW4ifSwic3RhdHVzX2NvZGUiOjQwNH0";
	struct pb_pair header = {slice_str("content-type"), slice_str("text/plain")};
	struct grpc_backend b = {.message = slice_str("not found"), .header = &header, .n_header = 1, .has_status_code = true,
		.status_code = 404}, back;
	struct buf json = BUF_INIT, text = BUF_INIT;
	struct arena a;
	struct err e;

	(void)state;
	grpc_write_backend(&b, &json);
	assert_int_equal(grpc_encode_details(buf_slice(&json), &text), 0);
	assert_string_equal(buf_cstr(&text), encoded);
	buf_clear(&json);
	buf_clear(&text);
	header.value = slice_str("text/html");
	grpc_write_backend(&b, &json);
	assert_int_equal(grpc_encode_details(buf_slice(&json), &text), 0);
	assert_string_equal(buf_cstr(&text),
	    "eyJtZXNzYWdlIjoibm90IGZvdW5kIiwiaGVhZGVyIjp7ImNvbnRlbnQtdHlwZSI6InRleHQvaHRtbCJ9LCJzdGF0dXNfY29kZSI6NDA0fQ");
	buf_clear(&json);
	assert_int_equal(grpc_decode_details(slice_str(encoded), &json), 0);
	arena_init(&a, 1 << 20);
	assert_int_equal(grpc_read_backend(buf_slice(&json), &a, &back, &e), 0);
	assert_true(slice_eq_str(back.message, "not found"));
	assert_int_equal(back.status_code, 404);
	assert_int_equal(back.n_header, 1);
	assert_true(slice_eq_str(pb_pair_get(back.header, back.n_header, "content-type"), "text/plain"));
	arena_free(&a);
	buf_free(&json);
	buf_free(&text);
}

static void
backend_without_status_code(void **state)
{
	struct grpc_backend b = {.message = slice_str("refused")}, back;
	struct buf json = BUF_INIT;
	struct arena a;
	struct err e;

	(void)state;
	grpc_write_backend(&b, &json);
	assert_string_equal(buf_cstr(&json), "{\"message\":\"refused\",\"header\":{},\"status_code\":null}");
	arena_init(&a, 1 << 20);
	assert_int_equal(grpc_read_backend(buf_slice(&json), &a, &back, &e), 0);
	assert_false(back.has_status_code);
	assert_int_equal(grpc_read_backend(slice_str("{\"header\":{},\"message\":\"x\",\"more\":[1]}"), &a, &back, &e), 0);
	assert_true(slice_eq_str(back.message, "x"));
	arena_free(&a);
	buf_free(&json);
}

static void
other_details_are_refused(void **state)
{
	static const char *const bad[] = {"", "{", "[]", "{}", "{\"message\":1,\"header\":{}}", "{\"message\":\"x\"}",
		"{\"message\":\"x\",\"header\":[]}", "{\"message\":\"x\",\"header\":{\"a\":1}}", "{\"message\":\"x\",\"header\":{},\"status_code\":\"1\"}",
		"{\"message\":\"x\",\"header\":{},\"status_code\":2147483648}", "\x08\x05\x12\x01x"};
	struct grpc_backend b;
	struct arena a;
	struct err e;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (grpc_read_backend(slice_str(bad[i]), &a, &b, &e) != -1)
			fail_msg("accepted: %s", bad[i]);
	arena_free(&a);
}

static void
backend_leaves_out_secrets_and_what_is_no_text(void **state)
{
	struct pb_pair header[] = {
		{slice_str("Set-Cookie"), slice_str("a=b")}, {slice_str("authorization"), slice_str("Basic x")},
		{slice_str("www-authenticate"), slice_str("Bearer")}, {slice_str("x-name"), slice_str("\xc3\xa9")}, {slice_str("server"), slice_str("nginx")},
	};
	struct grpc_backend b = {.message = slice_str("m"), .header = header, .n_header = COUNT_OF(header)};
	struct buf json = BUF_INIT;

	(void)state;
	grpc_write_backend(&b, &json);
	assert_string_equal(buf_cstr(&json), "{\"message\":\"m\",\"header\":{\"server\":\"nginx\"},\"status_code\":null}");
	buf_free(&json);
}

static void
backend_is_cut_to_fit_a_header(void **state)
{
	char large[3000], huge[20000];
	struct pb_pair header[] = {
		{slice_str("a"), slice_make(large, 2000)}, {slice_str("b"), slice_make(large, 3000)}, {slice_str("c"), slice_str("kept")},
	};
	struct grpc_backend b = {.message = slice_str("m"), .header = header, .n_header = COUNT_OF(header)}, back;
	struct buf json = BUF_INIT;
	struct arena a;
	struct err e;

	(void)state;
	memset(large, 'x', sizeof(large));
	memset(huge, '"', sizeof(huge));
	arena_init(&a, 1 << 20);
	grpc_write_backend(&b, &json);
	assert_true(json.len <= GRPC_BACKEND_MAX);
	assert_int_equal(grpc_read_backend(buf_slice(&json), &a, &back, &e), 0);
	assert_int_equal(back.n_header, 2);
	assert_non_null(pb_pair_get(back.header, 2, "a").p);
	assert_non_null(pb_pair_get(back.header, 2, "c").p);

	buf_clear(&json);
	b.message = slice_make(huge, sizeof(huge));
	grpc_write_backend(&b, &json);
	assert_true(json.len <= GRPC_BACKEND_MAX);
	assert_int_equal(grpc_read_backend(buf_slice(&json), &a, &back, &e), 0);
	assert_int_equal(back.n_header, 0);
	assert_int_equal(back.message.n, sizeof(huge) / 16);
	arena_free(&a);
	buf_free(&json);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_found_at_every_cut), cmocka_unit_test(one_byte_at_a_time), cmocka_unit_test(parts_carry_their_place),
		cmocka_unit_test(message_size_has_a_limit), cmocka_unit_test(memory_grows_with_what_came_not_with_what_was_promised),
		cmocka_unit_test(large_buffers_are_given_back), cmocka_unit_test(flags_are_refused), cmocka_unit_test(message_is_framed),
		cmocka_unit_test(content_types), cmocka_unit_test(paths_are_split), cmocka_unit_test(timeouts_are_parsed),
		cmocka_unit_test(timeouts_are_formatted_in_the_finest_unit), cmocka_unit_test(status_numbers),
		cmocka_unit_test(messages_are_percent_encoded), cmocka_unit_test(messages_are_decoded_leniently),
		cmocka_unit_test(message_text_has_a_limit), cmocka_unit_test(details_are_base64_with_or_without_padding),
		cmocka_unit_test(other_failures_become_status_codes), cmocka_unit_test(worked_backend_details),
		cmocka_unit_test(backend_without_status_code), cmocka_unit_test(other_details_are_refused),
		cmocka_unit_test(backend_leaves_out_secrets_and_what_is_no_text), cmocka_unit_test(backend_is_cut_to_fit_a_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
