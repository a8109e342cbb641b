#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/yaml.h"

/* A tree as JSON, so that a test can say in one line what it expects; strings carry their type when it is not a string. */
static void
show(const struct yaml_node *node, struct buf *out)
{
	static const char kinds[] = {[YAML_NULL] = 'n', [YAML_BOOL] = 'b', [YAML_INT] = 'i', [YAML_FLOAT] = 'f', [YAML_STR] = 's'};
	bool is_map = node->kind == YAML_MAPPING;

	if (node->kind == YAML_SCALAR) {
		if (node->type != YAML_STR)
			buf_printf(out, "%c:", kinds[node->type]);
		buf_append(out, node->text, node->len);
		return;
	}
	buf_append_u8(out, is_map ? '{' : '[');
	for (const struct yaml_node *it = node->first; it; it = it->next) {
		if (is_map)
			buf_printf(out, "%s=", it->key->text);
		show(it, out);
		if (it->next)
			buf_append_u8(out, ' ');
	}
	buf_append_u8(out, is_map ? '}' : ']');
}

static void
reads_n(const char *text, size_t len, const char *expected)
{
	struct buf out = BUF_INIT;
	struct arena a;
	struct err e = {0};
	struct yaml_node *root;

	arena_init(&a, 0);
	root = yaml_parse(text, len, &a, &e);
	if (root == NULL)
		fail_msg("\"%s\": %s", text, e.text);
	show(root, &out);
	assert_string_equal(buf_cstr(&out), expected);
	buf_free(&out);
	arena_free(&a);
}

static void
reads(const char *text, const char *expected)
{
	reads_n(text, strlen(text), expected);
}

static void
refuses(const char *text, const char *message)
{
	struct arena a;
	struct err e = {0};

	arena_init(&a, 0);
	if (yaml_parse(text, strlen(text), &a, &e) != NULL)
		fail_msg("\"%s\" should be refused", text);
	if (strstr(e.text, message) == NULL)
		fail_msg("\"%s\": \"%s\" does not say \"%s\"", text, e.text, message);
	arena_free(&a);
}

static void
block_collections_follow_indentation(void **state)
{
	(void)state;
	reads("a: b", "{a=b}");
	reads("a: b\nc: d\n", "{a=b c=d}");
	reads("a:\n  b: c\n  d: e\nf: g\n", "{a={b=c d=e} f=g}");
	reads("a:\n - x\n - y\nb: z\n", "{a=[x y] b=z}");
	reads("a:\n- x\n- y\nb: z\n", "{a=[x y] b=z}");
	reads("- a: b\n  c: d\n- e\n-\n  f: g\n- - h\n  - i\n", "[{a=b c=d} e {f=g} [h i]]");
	reads("a:\nb:\n", "{a=n: b=n:}");
	reads("rules:\n  - regex: x\n    useTLS: true\n  # c\n  - regex: y # d\n", "{rules=[{regex=x useTLS=b:true} {regex=y}]}");
	reads("a:   # comment\n  b\n", "{a=b}");
	reads("a:\n\n\n  b: c\n\n\nd: e", "{a={b=c} d=e}");
	reads("a:\tb\t# c\n", "{a=b}");
	reads("-\n- \n", "[n: n:]");
	reads("'a b': c\n\"d\": e\n", "{a b=c d=e}");
	reads("a: {}\nb: []\n", "{a={} b=[]}");
	reads("a:\n    b: c\n    d:\n      - e\nf:\n  - g", "{a={b=c d=[e]} f=[g]}");
}

static void
documents_and_line_ends(void **state)
{
	(void)state;
	reads("", "n:");
	reads("# only\n\n", "n:");
	reads("---", "n:");
	reads("---\n", "n:");
	reads("{}", "{}");
	reads("---\na: b\n...\n", "{a=b}");
	reads("--- {a: b}\n", "{a=b}");
	reads("%YAML 1.2\n---\na: b\n", "{a=b}");
	reads("%YAML 1.1 # c\n--- # d\na: b\n...\n# end\n", "{a=b}");
	reads("a: b\r\nc:\r\n  - d\r\n", "{a=b c=[d]}");
	reads("a: b\rc: d", "{a=b c=d}");
	reads("\xEF\xBB\xBF" "a: b\n", "{a=b}");
	reads("~", "n:~");
	reads("foo", "foo");
	reads("  a: b\n  c: d\n", "{a=b c=d}");
}

static void
flow_collections_and_json(void **state)
{
	(void)state;
	reads("{\"upload\":{\"server\":{\"port\":4100}}}", "{upload={server={port=i:4100}}}");
	reads("a: ['pull', \"resolve\", x]\n", "{a=[pull resolve x]}");
	reads("a: [b, c,]\nd: {e: f,}\n", "{a=[b c] d={e=f}}");
	reads("a: [\n  b,\n# c\n  d\n]\ne: {f:\n g, h: i\n}\n", "{a=[b d] e={f=g h=i}}");
	reads("[a: b, {c: d}, [e]]", "[{a=b} {c=d} [e]]");
	reads("{y}", "{y=n:}");
	reads("{a: , b:}", "{a=n: b=n:}");
	reads("{a:1}", "{a:1=n:}");
	reads("{\"a\":1,'b':2}", "{a=i:1 b=i:2}");
	reads("[http://x/y, a#b, -1]", "[http://x/y a#b i:-1]");
	reads("{\n\t\"a\": [true, null, 1.5e3, \"\\u00e9\\/\\ud83d\\ude00\"]\n}\n", "{a=[b:true n:null f:1.5e3 \xc3\xa9/\xf0\x9f\x98\x80]}");
	reads("a: {b: [c, {d: e}]} # f\n", "{a={b=[c {d=e}]}}");
	reads("[a b\n  c]", "[a b c]");
}

static void
plain_scalars_take_what_real_files_write(void **state)
{
	(void)state;
	reads("a: http://b:80/c", "{a=http://b:80/c}");
	reads("a: x#y", "{a=x#y}");
	reads("a: .*\\.(jpg|png)", "{a=.*\\.(jpg|png)}");
	reads("a: ^https?://x", "{a=^https?://x}");
	reads("a: (?i)x,y", "{a=(?i)x,y}");
	reads("a: index.pip.example(?::\\d+)?/.*\\.(whl|tar.gz|zip)\n", "{a=index.pip.example(?::\\d+)?/.*\\.(whl|tar.gz|zip)}");
	reads("a: -x\nb: ?y\nc: :z\n", "{a=-x b=?y c=:z}");
	reads("a: b  \n", "{a=b}");
	reads("a: b\n  c\n\n  d\n\n\n  - e\nf: g\n", "{a=b c\nd\n\n- e f=g}");
	reads("a:\n  b\n  c\n", "{a=b c}");
	reads("a: b # c\n  # d\ne: f", "{a=b e=f}");
	reads("- a\n b\n- c", "[a b c]");
}

static void
plain_scalars_have_types(void **state)
{
	(void)state;
	reads("[null, Null, NULL, ~]", "[n:null n:Null n:NULL n:~]");
	reads("[true, True, TRUE, false, False, FALSE]", "[b:true b:True b:TRUE b:false b:False b:FALSE]");
	reads("[0, 1, -1, +5, 0x1F, 0o17, 0b11, 12345678901234567890]", "[i:0 i:1 i:-1 i:+5 i:0x1F i:0o17 i:0b11 i:12345678901234567890]");
	reads("[1.5, .5, 1., 1e3, -1.5E-3, .inf, -.Inf, .nan]", "[f:1.5 f:.5 f:1. f:1e3 f:-1.5E-3 f:.inf f:-.Inf f:.nan]");
	reads("[yes, no, on, 2024-01-01, '1', \"true\"]", "[yes no on 2024-01-01 1 true]");
	reads("[1:20, 0777, 1_000, 50GB, 0x, 0xg, 0o8, 0b2, e3, 1e, ., +, 1.2.3]", "[1:20 0777 1_000 50GB 0x 0xg 0o8 0b2 e3 1e . + 1.2.3]");
}

static void
quoted_scalars(void **state)
{
	(void)state;
	reads("a: 'it''s \\d'", "{a=it's \\d}");
	reads("a: \"\\a\\b\\e\\f\\n\\r\\t\\v\\\\\\\"\\/\\ \\x41\\u00e9\\U0001F600\"", "{a=\a\b\x1b\f\n\r\t\v\\\"/ A\xc3\xa9\xf0\x9f\x98\x80}");
	reads("a: \"\\N\\_\\L\\P\"", "{a=\xc2\x85\xc2\xa0\xe2\x80\xa8\xe2\x80\xa9}");
	reads_n("a: \"x\\0y\"", 9, "{a=x\0y}");
	reads("a: \"b\n  c\n\n  d\"", "{a=b c\nd}");
	reads("a: \"b \\\n  c\"", "{a=b c}");
	reads("a: \"b \\t\n  c\"", "{a=b \t c}");
	reads("a: 'b  \n  c'", "{a=b c}");
	reads("a: ''\nb: \"\"", "{a= b=}");
	reads("a: 'x: y # z'", "{a=x: y # z}");
	reads("a: 'x'#c\nb: [d]#e\n", "{a=x b=[d]}");
}

static void
block_scalars(void **state)
{
	(void)state;
	reads("a: |\n  x\n   y\n\n  z\nb: c", "{a=x\n y\n\nz\n b=c}");
	reads("a: |-\n  x\n  y\n", "{a=x\ny}");
	reads("a: |+\n  x\n\nb: c", "{a=x\n\n b=c}");
	reads("a: >\n  x\n  y\n\n  z\n", "{a=x y\nz\n}");
	reads("a: >-\n  x\n    y\n  z\n", "{a=x\n  y\nz}");
	reads("a: |2\n   x\n  y\n", "{a= x\ny\n}");
	reads("a: |-2 # c\n   x\n", "{a= x}");
	reads("- |\n x\n- y", "[x\n y]");
	reads("a: |\nb: c", "{a= b=c}");
	reads("a: |\n  x", "{a=x}");
	reads("a: | \n   \n", "{a=}");
	reads(">-\n    ", "");
}

static void
anchors_aliases_and_tags(void **state)
{
	(void)state;
	reads("a: &x {port: 1}\nb: *x\n", "{a={port=i:1} b={port=i:1}}");
	reads("a: &x\n  b: c\nd: *x # e\n", "{a={b=c} d={b=c}}");
	reads("a: &x\n- b\nd: [*x, *x]\n", "{a=[b] d=[[b] [b]]}");
	reads("&k a: &v 1\nb: *v\nc: *k\n", "{a=i:1 b=i:1 c=a}");
	reads("- &x a\n- *x\n- &x b\n- *x\n", "[a a b b]");
	reads("<<: {a: b}", "{<<={a=b}}");
	reads("a: !!str 12\nb: !!int \"12\"\nc: !!null ~\nd: !!bool true\ne: !!float 1", "{a=12 b=i:12 c=n:~ d=b:true e=f:1}");
	reads("--- &x\na: b\n", "{a=b}");
	refuses("a: *foo", "1:4: unknown anchor \"foo\"");
	refuses("a: &x [*x]", "unknown anchor");
	refuses("a: *.jpg", "\"*\" starts an alias; quote the value");
	refuses("a: !x b", "unsupported tag");
	refuses("a: !!int x", "does not fit its tag");
	refuses("a: !!str [b]", "does not fit its tag");
	refuses("a: & b", "starts an anchor");
}

static void
positions_name_the_place(void **state)
{
	static const char text[] = "a: 1\nbc:\n  - d: 'x'\n    e: [f, g]\n";
	struct arena a;
	struct err e = {0};
	struct yaml_node *root;
	struct yaml_node *item;

	(void)state;
	arena_init(&a, 0);
	root = yaml_parse(text, strlen(text), &a, &e);
	assert_non_null(root);
	assert_int_equal(root->first->column, 4);
	assert_int_equal(root->first->key->column, 1);
	item = yaml_get(root, "bc");
	assert_int_equal(item->line, 3);
	assert_int_equal(item->column, 3);
	assert_int_equal(item->first->line, 3);
	assert_int_equal(item->first->column, 5);
	assert_int_equal(item->first->first->column, 8);
	assert_int_equal(item->first->first->next->first->next->line, 4);
	assert_int_equal(item->first->first->next->first->next->column, 12);
	assert_null(yaml_get(root, "x"));
	assert_null(yaml_get(item, "x"));
	arena_free(&a);
}

static void
syntax_errors_say_what_and_where(void **state)
{
	(void)state;
	refuses("a:\n\tb: c", "2:1: tab used for indentation");
	refuses("a: b\n\tc: d", "2:1: tab used for indentation");
	refuses("a: 1\n b: 2", "2:2: unexpected indentation; \"a\" already has a value");
	refuses("a:\n    b: c\n  d: e", "3:3: indentation does not match any open block");
	refuses("  a: b\nc: d", "2:1: indentation does not match any open block");
	refuses("a: b: c", "1:5: second \":\" in value; quote the value");
	refuses("a: 'b': c", "second \":\" in value");
	refuses("a: - b", "1:4: start the list on the next line");
	refuses("a: 'b\nc: d", "1:4: unterminated quoted string starting here");
	refuses("a: \"b\n---\n\"", "unterminated quoted string");
	refuses("a: [b,\nc: d\n", "missing \"]\" for \"[\" at line 1");
	refuses("a: [b", "missing \"]\" for \"[\" at line 1");
	refuses("a: {b: c", "missing \"}\" for \"{\" at line 1");
	refuses("a: [a-z]+x", "1:9: unexpected text after \"]\"; quote the value");
	refuses("a: 'b'c", "unexpected text after the closing quote");
	refuses("a: @x", "cannot start with \"@\"");
	refuses("a: %x", "cannot start with \"%\"");
	refuses("a: `x", "cannot start with");
	refuses("a: \"\\d\"", "1:5: unknown escape \"\\d\"; use single quotes for regexes");
	refuses("a: \"\\xZZ\"", "bad escape");
	refuses("a: \"\\ud800\"", "bad escape");
	refuses("a: \"\\U00110000\"", "bad escape");
	refuses("a: b\nc:d", "2:1: missing blank after \":\"");
	refuses("a: b\nc", "expected a key");
	refuses("a: b\n- c", "list item");
	refuses("? a\n: b", "not supported");
	refuses("[a]: b", "second \":\"");
	refuses("{[a]: b}", "cannot be a key");
	refuses("{a b\n c: d}", "one line");
	refuses("{a: b c: d}", "expected \",\" or \"}\"");
	refuses("[a b: c: d]", "");
	refuses("{,}", "unexpected \",\"");
	refuses("[- a]", "unexpected \"-\"");
	refuses("a: b\n---\nc: d", "only one document allowed");
	refuses("---\n---\n", "only one document allowed");
	refuses("a: b\n...\nc: d", "only one document allowed");
	refuses("a: b\n... c", "unexpected text");
	refuses("%TAG ! x\n---\n", "unsupported directive");
	refuses("%YAML 1.2\na: b", "expected \"---\"");
	refuses("a: |x\n b", "unexpected text after \"|\"");
	refuses("a: \xff", "1:4: invalid UTF-8 at byte 4");
	refuses("a: \xc0\x80", "invalid UTF-8");
	refuses("a: \x01", "control character U+0001");
	refuses("a: \x7f", "control character");
	refuses("a: \xc2\x80", "control character U+0080");
	refuses(": a", "key missing");
	refuses("a: b\n: c", "2:1: key missing");
}

static void
limits_hold(void **state)
{
	struct buf text = BUF_INIT;
	struct arena a;
	struct err e = {0};

	(void)state;
	for (int i = 0; i < YAML_DEPTH_MAX; i++)
		buf_append_str(&text, "[");
	for (int i = 0; i < YAML_DEPTH_MAX; i++)
		buf_append_str(&text, "]");
	arena_init(&a, 0);
	assert_non_null(yaml_parse(buf_cstr(&text), text.len, &a, &e));
	arena_free(&a);
	buf_clear(&text);
	for (int i = 0; i < 200; i++)
		buf_append_str(&text, "[");
	refuses(buf_cstr(&text), "document too deep");
	buf_clear(&text);
	for (int i = 0; i < 200; i++)
		buf_append_str(&text, "- ");
	refuses(buf_cstr(&text), "document too deep");

	buf_clear(&text);
	buf_append_str(&text, "[");
	for (int i = 0; i < YAML_NODES_MAX - 1; i++)
		buf_append_str(&text, "1,");
	buf_append_str(&text, "]");
	arena_init(&a, 0);
	assert_non_null(yaml_parse(buf_cstr(&text), text.len, &a, &e));
	arena_free(&a);
	text.len--;
	buf_append_str(&text, "1]");
	refuses(buf_cstr(&text), "document too large");

	/* Each line ten times the one before. */
	buf_clear(&text);
	buf_append_str(&text, "a: &a x\n");
	for (char c = 'b'; c < 'h'; c++)
		buf_printf(&text, "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
	refuses(buf_cstr(&text), "document too large");

	/* Aliases cannot go around the depth. */
	buf_clear(&text);
	buf_append_str(&text, "- &a0 [x]\n");
	for (int i = 1; i < 70; i++)
		buf_printf(&text, "- &a%d [*a%d]\n", i, i - 1);
	refuses(buf_cstr(&text), "document too deep");

	buf_clear(&text);
	for (int i = 0; i < YAML_KEY_MAX; i++)
		buf_append_str(&text, "k");
	buf_append_str(&text, ": v");
	arena_init(&a, 0);
	assert_non_null(yaml_parse(buf_cstr(&text), text.len, &a, &e));
	arena_free(&a);
	text.len -= 3;
	buf_append_str(&text, "k: v");
	refuses(buf_cstr(&text), "key longer than 1024 bytes");

	buf_clear(&text);
	memset(buf_reserve(&text, YAML_TEXT_MAX + 1), ' ', YAML_TEXT_MAX + 1);
	buf_added(&text, YAML_TEXT_MAX);
	reads_n((const char *)buf_data(&text), text.len, "n:");
	buf_added(&text, 1);
	refuses(buf_cstr(&text), "document too large");

	buf_clear(&text);
	for (int i = 0; i < 1001; i++)
		buf_printf(&text, "- &a%d x\n", i);
	refuses(buf_cstr(&text), "document too large");
	buf_free(&text);

	arena_init(&a, 1000);
	assert_null(yaml_parse("[1,2,3,4,5,6,7,8,9,10,11,12]", 28, &a, &e));
	assert_non_null(strstr(e.text, "too large"));
	arena_free(&a);
}

/* Whatever is cut off, there is an answer: a tree or an error with a place. */
static void
every_truncation_ends_cleanly(void **state)
{
	static const char text[] = "%YAML 1.2\n---\na: &x [b, 'c d', \"e\\u00e9\\\n f\", {g: h}]\ni:\n- j: |+2\n    k\n\n  l: >-\n    m\n     n\n- *x\n-\n  !!str 1\nq: w\n  e\n...\n";

	(void)state;
	for (size_t n = 0; n <= strlen(text); n++) {
		struct arena a;
		struct err e = {0};
		char *copy = malloc(n + 1);

		memcpy(copy, text, n);
		arena_init(&a, 0);
		if (yaml_parse(copy, n, &a, &e) == NULL)
			assert_true(e.text[0] >= '1' && e.text[0] <= '9');
		arena_free(&a);
		free(copy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(block_collections_follow_indentation),
		cmocka_unit_test(documents_and_line_ends),
		cmocka_unit_test(flow_collections_and_json),
		cmocka_unit_test(plain_scalars_take_what_real_files_write),
		cmocka_unit_test(plain_scalars_have_types),
		cmocka_unit_test(quoted_scalars),
		cmocka_unit_test(block_scalars),
		cmocka_unit_test(anchors_aliases_and_tags),
		cmocka_unit_test(positions_name_the_place),
		cmocka_unit_test(syntax_errors_say_what_and_where),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(every_truncation_ends_cleanly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
