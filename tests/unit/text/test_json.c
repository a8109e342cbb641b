#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/json.h"

static void
write_tree(struct json_writer *w, const struct json *v)
{
	switch (v->kind) {
	case JSON_NULL:
		json_write_null(w);
		break;
	case JSON_BOOL:
		json_write_bool(w, v->truth);
		break;
	case JSON_NUMBER: {
		double d = 0;

		json_double(v, &d);
		json_write_double(w, d);
		break;
	}
	case JSON_STRING:
		json_write_slice(w, v->text);
		break;
	case JSON_ARRAY:
		json_begin_array(w);
		for (const struct json *i = v->first; i != NULL; i = i->next)
			write_tree(w, i);
		json_end_array(w);
		break;
	case JSON_OBJECT:
		json_begin_object(w);
		for (const struct json *i = v->first; i != NULL; i = i->next) {
			json_write_key_slice(w, i->name);
			write_tree(w, i);
		}
		json_end_object(w);
		break;
	}
}

static void
documents_are_read_and_written_again(void **state)
{
	static const struct {
		const char *in;
		const char *out;
	} rows[] = {
		{"null", "null"}, {" true ", "true"}, {"\r\n\tfalse", "false"}, {"0", "0"}, {"-0", "-0"}, {"-1.5e2", "-150"}, {"1E+2", "100"},
		{"0.1", "0.1"}, {"1e-7", "1e-07"}, {"123456789012", "123456789012"}, {"0.30000000000000004", "0.30000000000000004"},
		{"\"\"", "\"\""}, {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"a\\\"\\\\/\\u0008\\u000c\\n\\r\\t\""},
		{"\"\\u0041\\u00e9\\u4f60\\ud83d\\uDE00\\u0000\"", "\"A\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\\u0000\""},
		{"\"\xc3\xa9\x7f\"", "\"\xc3\xa9\x7f\""},
		{"[]", "[]"}, {"{}", "{}"}, {"[ ]", "[]"}, {"{ }", "{}"}, {"[1,[2,{}],\"x\"]", "[1,[2,{}],\"x\"]"},
		{"{\"a\" : 1 , \"b\":[true,null]}", "{\"a\":1,\"b\":[true,null]}"}, {"{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}"}, {"{\"\":{\"\":[]}}", "{\"\":{\"\":[]}}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out = BUF_INIT;
		struct json_writer w;
		struct err e = {0};
		struct arena a;
		struct json *v;

		arena_init(&a, 0);
		v = json_parse(&a, slice_str(rows[i].in), &e);
		if (v == NULL)
			fail_msg("%s: %s", rows[i].in, e.text);
		json_write_init(&w, &out);
		write_tree(&w, v);
		assert_string_equal(buf_cstr(&out), rows[i].out);
		buf_free(&out);
		arena_free(&a);
	}
}

static void
wrong_documents_are_refused(void **state)
{
	static const char *const rows[] = {
		"", " ", "nul", "nulls", "True", "tru", "01", "-", "-a", "+1", ".5", "1.", "1.e3", "1e", "1e+", "0x1", "1 2", "NaN", "Infinity", "[", "]", "[1", "[1,", "[1,]",
		"[,1]", "[1 2]", "{", "}", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "{1:1}", "{\"a\":1 \"b\":2}", "[}", "{]", "\"", "\"a",
		"\"\\\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\ud800x\"", "\"\\ud800\\n\"", "\"a\nb\"", "\"a\tb\"", "\"\x01\"",
		"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe4\xbd\"", "\xef\xbb\xbf{}", "'a'", "/**/1", "1//", "\"a\"b", "{}{}", "[1]]",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err e = {0};
		struct arena a;

		arena_init(&a, 0);
		if (json_parse(&a, slice_str(rows[i]), &e) != NULL)
			fail_msg("%s was taken", rows[i]);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
		assert_int_equal(strncmp(e.text, "json: line ", 11), 0);
		arena_free(&a);
	}
}

static void
errors_name_the_place(void **state)
{
	struct err e = {0};
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	assert_null(json_parse(&a, slice_str("{\n \"a\": 1,\n  x\n}"), &e));
	assert_string_equal(e.text, "json: line 3 column 3: a member name in quotes is wanted here");
	arena_free(&a);
}

static void
every_cut_of_a_document_is_refused(void **state)
{
	static const char text[] = "{\"a\":[1.5e3,true,false,null,\"\\u00e9\\n\xc3\xa9\",{\"b\":{}}],\"c\":-0}";
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	assert_non_null(json_parse(&a, slice_str(text), NULL));
	for (size_t n = 0; n + 1 < sizeof(text); n++) {
		/* A copy of exact size, so that reading past the end is seen. */
		char *cut = xmalloc(n);

		memcpy(cut, text, n);
		assert_null(json_parse(&a, slice_make(cut, n), NULL));
		free(cut);
	}
	arena_free(&a);
}

static void
members_are_found_by_name(void **state)
{
	const struct json *v;
	struct arena a;
	uint64_t n;

	(void)state;
	arena_init(&a, 0);
	v = json_parse(&a, slice_str("{\"a\":1,\"b\":null,\"a\":2,\"s\":\"x\\u0000y\",\"t\":\"plain\",\"l\":[1,2,3]}"), NULL);
	assert_int_equal(json_u64(json_get(v, "a"), &n), 0);
	assert_int_equal(n, 2);
	assert_null(json_get(v, "z"));
	assert_null(json_get(NULL, "z"));
	assert_null(json_get(json_get(v, "l"), "z"));
	assert_true(json_is_null(json_get(v, "b")));
	assert_true(json_is_null(json_get(v, "z")));
	assert_false(json_is_null(json_get(v, "a")));
	assert_null(json_cstr(json_get(v, "s")));
	assert_string_equal(json_cstr(json_get(v, "t")), "plain");
	assert_null(json_cstr(json_get(v, "a")));
	assert_int_equal(json_get(v, "l")->count, 3);
	assert_int_equal(v->count, 6);
	arena_free(&a);
}

static void
whole_numbers_are_exact(void **state)
{
	static const struct {
		const char *in;
		int is_u64;
		uint64_t u;
		int is_i64;
		int64_t i;
	} rows[] = {
		{"0", 0, 0, 0, 0}, {"-0", 0, 0, 0, 0}, {"1e3", 0, 1000, 0, 1000}, {"2.0", 0, 2, 0, 2}, {"20e-1", 0, 2, 0, 2}, {"1.5", -1, 0, -1, 0},
		{"1.50e1", 0, 15, 0, 15}, {"-7", -1, 0, 0, -7}, {"18446744073709551615", 0, UINT64_MAX, -1, 0}, {"18446744073709551616", -1, 0, -1, 0},
		{"9223372036854775807", 0, INT64_MAX, 0, INT64_MAX}, {"-9223372036854775808", -1, 0, 0, INT64_MIN}, {"-9223372036854775809", -1, 0, -1, 0},
		{"1e19", 0, 10000000000000000000u, -1, 0}, {"1e20", -1, 0, -1, 0}, {"0e999999999999", 0, 0, 0, 0}, {"1e-999999999999", -1, 0, -1, 0}, {"0.0", 0, 0, 0, 0},
		{"100.00", 0, 100, 0, 100}, {"1e999999999999", -1, 0, -1, 0}, {"0.001e3", 0, 1, 0, 1}, {"\"1\"", -1, 0, -1, 0}, {"true", -1, 0, -1, 0},
	};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(rows); k++) {
		const struct json *v;
		struct arena a;
		uint64_t u = 7;
		int64_t i = 7;

		arena_init(&a, 0);
		v = json_parse(&a, slice_str(rows[k].in), NULL);
		assert_non_null(v);
		if (json_u64(v, &u) != rows[k].is_u64 || u != (rows[k].is_u64 == 0 ? rows[k].u : 7))
			fail_msg("%s gave %llu", rows[k].in, (unsigned long long)u);
		if (json_i64(v, &i) != rows[k].is_i64 || i != (rows[k].is_i64 == 0 ? rows[k].i : 7))
			fail_msg("%s gave %lld", rows[k].in, (long long)i);
		arena_free(&a);
	}
	assert_int_equal(json_u64(NULL, &(uint64_t){0}), -1);
}

static void
other_kinds_are_not_mistaken(void **state)
{
	const struct json *v;
	struct slice s;
	struct arena a;
	double d;
	bool b;

	(void)state;
	arena_init(&a, 0);
	v = json_parse(&a, slice_str("[1e999,\"x\",true]"), NULL);
	assert_int_equal(json_double(v->first, &d), -1);
	assert_int_equal(json_double(v->first->next, &d), -1);
	assert_int_equal(json_slice(v->first, &s), -1);
	assert_int_equal(json_slice(v->first->next, &s), 0);
	assert_true(slice_eq_str(s, "x"));
	assert_int_equal(json_bool(v->first, &b), -1);
	assert_int_equal(json_bool(v->first->next->next, &b), 0);
	assert_true(b);
	arena_free(&a);
}

static void
depth_is_limited(void **state)
{
	char text[2 * (JSON_DEPTH_MAX + 1)];
	struct err e = {0};
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	for (int is_object = 0; is_object < 2; is_object++) {
		size_t n = JSON_DEPTH_MAX;

		memset(text, '[', n);
		memset(text + n, ']', n);
		assert_non_null(json_parse(&a, slice_make(text, 2 * n), &e));
		n++;
		memset(text, '[', n);
		memset(text + n, ']', n);
		assert_null(json_parse(&a, slice_make(text, 2 * n), &e));
		assert_non_null(strstr(e.text, "nested too deeply"));
	}
	arena_free(&a);
}

static void
numbers_are_limited(void **state)
{
	char text[JSON_NUMBER_MAX + 1];
	struct arena a;

	(void)state;
	arena_init(&a, 0);
	memset(text, '1', sizeof(text));
	assert_non_null(json_parse(&a, slice_make(text, JSON_NUMBER_MAX), NULL));
	assert_null(json_parse(&a, slice_make(text, JSON_NUMBER_MAX + 1), NULL));
	arena_free(&a);
}

static void
text_is_limited(void **state)
{
	char *text = xmalloc(JSON_TEXT_MAX + 1);
	struct err e = {0};
	struct arena a;

	(void)state;
	memset(text, ' ', JSON_TEXT_MAX + 1);
	text[0] = '1';
	arena_init(&a, 0);
	assert_non_null(json_parse(&a, slice_make(text, JSON_TEXT_MAX), &e));
	assert_null(json_parse(&a, slice_make(text, JSON_TEXT_MAX + 1), &e));
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	arena_free(&a);
	free(text);
}

static void
memory_is_limited_by_the_arena(void **state)
{
	static const char *const units[] = {"0,", "[],", "{},", "\"\",", "{\"\":0},", "\"0123456789abcdef\","};
	struct err e = {0};
	struct arena a;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		struct buf text = BUF_INIT;

		buf_append_str(&text, "[");
		for (int k = 0; k < 2000; k++)
			buf_append_str(&text, units[i]);
		buf_append_str(&text, "0]");
		/* What the header promises: 64 times the text is enough for anything. */
		arena_init(&a, 64 * text.len);
		assert_non_null(json_parse(&a, buf_slice(&text), &e));
		arena_free(&a);
		arena_init(&a, 1000);
		assert_null(json_parse(&a, buf_slice(&text), &e));
		assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
		arena_free(&a);
		buf_free(&text);
	}
}

static void
writer_places_commas_and_escapes(void **state)
{
	struct buf out = BUF_INIT;
	struct json_writer w;

	(void)state;
	json_write_init(&w, &out);
	json_begin_object(&w);
	json_write_key(&w, "message");
	json_write_str(&w, "404 Not Found");
	json_write_key(&w, "header");
	json_begin_object(&w);
	json_write_key(&w, "a\"b");
	json_write_slice(&w, slice_make("x\0\x1f\xff\xe4\xbd\\", 7));
	json_end_object(&w);
	json_write_key(&w, "n");
	json_begin_array(&w);
	json_write_u64(&w, UINT64_MAX);
	json_write_i64(&w, INT64_MIN);
	json_write_double(&w, 1.0 / 3);
	json_write_bool(&w, false);
	json_begin_array(&w);
	json_end_array(&w);
	json_write_null(&w);
	json_write_slice(&w, (struct slice){0});
	json_end_array(&w);
	json_write_key(&w, "status_code");
	json_write_u64(&w, 404);
	json_end_object(&w);
	assert_string_equal(buf_cstr(&out), "{\"message\":\"404 Not Found\",\"header\":{\"a\\\"b\":\"x\\u0000\\u001f\xef\xbf\xbd\xef\xbf\xbd\\\\\"},"
		"\"n\":[18446744073709551615,-9223372036854775808,0.3333333333333333,false,[],null,\"\"],\"status_code\":404}");
	buf_clear(&out);
	json_write_init(&w, &out);
	json_write_double(&w, 1e308 * 10);
	assert_string_equal(buf_cstr(&out), "null");
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_are_read_and_written_again),
		cmocka_unit_test(wrong_documents_are_refused),
		cmocka_unit_test(errors_name_the_place),
		cmocka_unit_test(every_cut_of_a_document_is_refused),
		cmocka_unit_test(members_are_found_by_name),
		cmocka_unit_test(whole_numbers_are_exact),
		cmocka_unit_test(other_kinds_are_not_mistaken),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(numbers_are_limited),
		cmocka_unit_test(text_is_limited),
		cmocka_unit_test(memory_is_limited_by_the_arena),
		cmocka_unit_test(writer_places_commas_and_escapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
