#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/toml.h"

static struct arena arena;

static int
set_up(void **state)
{
	(void)state;
	arena_init(&arena, TOML_ARENA_MAX);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	arena_free(&arena);
	return 0;
}

static struct toml *
parse(const char *text)
{
	struct err e;
	struct toml *t = toml_parse(slice_str(text), &arena, &e);

	if (t == NULL)
		fail_msg("%s: %s", text, e.text);
	return t;
}

/* Of "k = <text>". */
static struct toml_value *
value_of(const char *text)
{
	char *all = arena_printf(&arena, "k = %s", text);

	return parse(all)->first->value;
}

static void
refused(const char *text, const char *why)
{
	struct err e = {0};

	if (toml_parse(slice_str(text), &arena, &e) != NULL)
		fail_msg("taken: %s", text);
	if (strstr(e.text, why) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", text, e.text, why);
}

static void
key_is(const struct toml_key *key, const char *first, const char *second, size_t count)
{
	assert_int_equal(key->count, count);
	assert_true(slice_eq_str(key->parts[0], first));
	if (count > 1)
		assert_true(slice_eq_str(key->parts[1], second));
}

static void
statements_know_their_lines_and_headers(void **state)
{
	const char *text = "# begin\nversion = 2 # two\n\n  [plugins.\"io.x\"]  # here\r\n\ta.b = [1,\n 2]\n[[many]]\nz='1'";
	struct toml *t = parse(text);
	struct toml_item *i = t->first;

	(void)state;
	assert_int_equal(t->count, 5);
	assert_int_equal(i->kind, TOML_PAIR);
	assert_null(i->header);
	assert_int_equal(i->line, 2);
	assert_int_equal(i->start, 8);
	assert_int_equal(i->end, 26);
	i = i->next;
	assert_int_equal(i->kind, TOML_HEADER);
	key_is(&i->key, "plugins", "io.x", 2);
	assert_int_equal(i->line, 4);
	assert_int_equal(i->start, 27);
	assert_int_equal(i->at, 29);
	i = i->next;
	assert_ptr_equal(i->header, t->first->next);
	key_is(&i->key, "a", "b", 2);
	assert_int_equal(i->value->count, 2);
	assert_memory_equal(text + i->value->start, "[1,\n 2]", 7);
	i = i->next;
	assert_int_equal(i->kind, TOML_ARRAY_HEADER);
	assert_int_equal(i->line, 7);
	i = i->next;
	assert_int_equal(i->end, strlen(text));
	assert_null(i->next);
}

static void
strings_of_all_kinds_are_decoded(void **state)
{
	static const struct {
		const char *text;
		const char *want;
	} rows[] = {
		{"\"\"", ""}, {"''", ""}, {"\"a b\"", "a b"}, {"'a\\b'", "a\\b"}, {"\"\\t\\\"\\\\\\u00e9\\U0001F600\"", "\t\"\\\xc3\xa9\xf0\x9f\x98\x80"},
		{"\"\"\"\na\nb\"\"\"", "a\nb"}, {"\"\"\"a\"\"b\"\"\"", "a\"\"b"}, {"\"\"\"a\"\"\"\"\"", "a\"\""}, {"''''a''''", "'a'"},
		{"\"\"\"a \\\n   \n  b\"\"\"", "a b"}, {"'''\r\na\\'''", "a\\"}, {"\"\"\"\"\"\"", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct toml_value *v = value_of(rows[i].text);

		assert_int_equal(v->kind, TOML_STRING);
		if (!slice_eq_str(v->text, rows[i].want))
			fail_msg("%s gives %.*s", rows[i].text, SLICE_ARG(v->text));
		assert_int_equal(v->end - v->start, strlen(rows[i].text));
	}
}

static void
scalars_are_told_apart(void **state)
{
	static const struct {
		const char *text;
		enum toml_kind kind;
	} rows[] = {
		{"0", TOML_INTEGER}, {"-17", TOML_INTEGER}, {"1_000", TOML_INTEGER}, {"0xdead_beef", TOML_INTEGER}, {"0o17", TOML_INTEGER},
		{"0b1", TOML_INTEGER}, {"+1", TOML_INTEGER}, {"1.5", TOML_FLOAT}, {"1e6", TOML_FLOAT}, {"-0.1E-2", TOML_FLOAT}, {"inf", TOML_FLOAT},
		{"-nan", TOML_FLOAT}, {"true", TOML_BOOL}, {"false", TOML_BOOL}, {"1979-05-27", TOML_DATE}, {"1979-05-27T07:32:00Z", TOML_DATE},
		{"1979-05-27 07:32:00.5-07:00", TOML_DATE}, {"07:32:00", TOML_DATE}, {"[]", TOML_ARRAY}, {"[ [1], 'a', ]", TOML_ARRAY},
		{"{}", TOML_TABLE}, {"{ a = 1, 'b'.c = {d = []} }", TOML_TABLE}, {"[ # c\n1, # d\n\n2 ]", TOML_ARRAY},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct toml_value *v = value_of(rows[i].text);

		if (v->kind != rows[i].kind)
			fail_msg("%s is of kind %d", rows[i].text, (int)v->kind);
		assert_int_equal(v->end - v->start, strlen(rows[i].text));
	}
	assert_true(value_of("true")->truth);
	assert_false(value_of("false")->truth);
}

static void
members_of_inline_tables_have_their_places(void **state)
{
	const char *text = "k = { a.b = \"x\" , c=[1] }";
	struct toml_value *v = parse(text)->first->value, *a = v->first, *c = a->next;

	(void)state;
	assert_int_equal(v->count, 2);
	key_is(&a->key, "a", "b", 2);
	assert_int_equal(a->key_start, 6);
	assert_memory_equal(text + a->start, "\"x\"", 3);
	assert_int_equal(a->end, a->start + 3);
	assert_int_equal(c->key_start, 18);
	assert_int_equal(c->end, 23);
	assert_null(c->next);
}

static void
syntax_errors_name_the_line(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} rows[] = {
		{"a = 1\nb", "line 2: = is missing"}, {"a =", "line 1: a value is missing"}, {"a = 1 b = 2", "more than one thing"},
		{"a = \"x", "line 1: a string without its end"}, {"\n\na = '''x", "line 3: a string without its end"}, {"[a", "] is missing"},
		{"[[a]", "] is missing"}, {"[a] b = 1", "more than one thing"}, {"[]", "a key is missing"}, {"[a.]", "a key is missing"},
		{"a = [1 2]", "a comma or ]"}, {"a = [1", "an array without its end"}, {"a = {b=1,}", "a key is missing"},
		{"a = {b=1\n}", "a comma or }"}, {"a = {b 1}", "= is missing"}, {"a = yes", "a value that is neither"}, {"a = 01", "neither"},
		{"a = 1__0", "neither"}, {"a = _1", "neither"}, {"a = 1.", "neither"}, {"a = .5", "neither"}, {"a = 0x", "neither"}, {"a = \"\\q\"", "unknown escape"},
		{"a = \"\\ud800\"", "no character"}, {"a = \"\\u12\"", "a broken \\u"}, {"a = \"\x01\"", "control character"}, {"# \x01", "control character"},
		{"\"\"\"a\"\"\" = 1", "three quotes"}, {"a = \"\xff\"", "not UTF-8"}, {"= 1", "a key is missing"}, {"a b = 1", "= is missing"},
		{"a = 'x'y", "more than one thing"}, {"a = 1\rb = 2", "more than one thing"},
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		refused(rows[i].text, rows[i].why);
	assert_null(toml_parse(slice_make("a\0b", 3), &arena, &e));
}

static void
odd_but_right_documents_are_taken(void **state)
{
	static const char *const rows[] = {
		"", "\n", "# only", ("\xef\xbb\xbf" "a = 1"), "[ a . 'b' ]", "a . b = 1", "1 = 1", "\"\" = 1", "-_ = 1", "a = 1 # c", "[a]#c\n", "a = [\n]\n", "\r\n[a]\r\nb=1\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		parse(rows[i]);
}

static void
truncation_anywhere_is_survived(void **state)
{
	const char *text = "a = \"\"\"x\\u00e9\"\"\"\n[b.\"c\"]\nd = [ {e = 1.5}, '''y''' ] # z\n[[f]]\ng.h = 1979-05-27 07:32:00\n";
	char copy[200];

	(void)state;
	for (size_t n = 0; n <= strlen(text); n++) {
		memcpy(copy, text, n);
		toml_parse(slice_make(copy, n), &arena, NULL);
	}
}

static char *
repeated(const char *a, const char *part, size_t n, const char *b)
{
	struct buf out = BUF_INIT;

	buf_append_str(&out, a);
	for (size_t i = 0; i < n; i++)
		buf_append_str(&out, part);
	buf_append_str(&out, b);
	return buf_take(&out);
}

static void
limits_hold(void **state)
{
	static const struct {
		const char *a, *part, *b;
		size_t most;
		const char *why;
	} rows[] = {
		{"a = ", "[", "", TOML_DEPTH_MAX - 1, "too deep"},
		{"a", ".a", " = 1", TOML_KEY_MAX - 1, "too many parts"},
		/* The statement, its value, the array's elements. */
		{"a = [", "1,", "]", TOML_VALUES_MAX - 2, "too many values"},
		{"#", "x", "", TOML_TEXT_MAX - 1, "larger than"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char *closing = i == 0 ? repeated("", "]", rows[i].most, "") : xstrdup(rows[i].b);
		char *fits = repeated(rows[i].a, rows[i].part, rows[i].most, closing);
		char *past = repeated(rows[i].a, rows[i].part, rows[i].most + (i == 0 ? 2 : 1), closing);

		parse(fits);
		refused(past, rows[i].why);
		free(closing);
		free(fits);
		free(past);
	}
}

static void
integers_are_read_in_all_bases(void **state)
{
	static const struct {
		const char *text;
		int64_t n;
	} rows[] = {{"2", 2}, {"-1_0", -10}, {"0x1F", 31}, {"0o17", 15}, {"0b101", 5}, {"9223372036854775807", INT64_MAX}};
	int64_t n;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(toml_i64(value_of(rows[i].text), &n), 0);
		assert_true(n == rows[i].n);
	}
	assert_int_equal(toml_i64(value_of("9223372036854775808"), &n), -1);
	assert_int_equal(toml_i64(value_of("1.5"), &n), -1);
	assert_int_equal(toml_i64(NULL, &n), -1);
}

static void
what_is_written_is_read_back(void **state)
{
	static const char *const rows[] = {"", "a", "a b", "\"q\" \\ \t\n\x01", "\xc3\xa9", "io.containerd.grpc.v1.cri"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf b = BUF_INIT;
		struct toml_item *item;

		toml_put_key(&b, slice_str(rows[i]));
		buf_append_str(&b, " = ");
		toml_put_string(&b, slice_str(rows[i]));
		item = parse(buf_cstr(&b))->first;
		assert_true(slice_eq_str(item->key.parts[0], rows[i]));
		assert_true(slice_eq_str(item->value->text, rows[i]));
		buf_free(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(statements_know_their_lines_and_headers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(strings_of_all_kinds_are_decoded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scalars_are_told_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(members_of_inline_tables_have_their_places, set_up, tear_down),
		cmocka_unit_test_setup_teardown(syntax_errors_name_the_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(odd_but_right_documents_are_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(truncation_anywhere_is_survived, set_up, tear_down),
		cmocka_unit_test_setup_teardown(limits_hold, set_up, tear_down),
		cmocka_unit_test_setup_teardown(integers_are_read_in_all_bases, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_written_is_read_back, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
