#include "text/toml.h"

#include <ctype.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hex.h"
#include "text/utf8.h"

struct reader {
	struct slice text;
	size_t at;
	struct arena *arena;
	struct err *e;
	unsigned depth;
	size_t values;
	bool failed;
};

/* ---- errors ---- */

static unsigned
line_of(const struct reader *r, size_t at)
{
	unsigned line = 1;

	for (size_t i = 0; i < at && i < r->text.n; i++)
		line += r->text.p[i] == '\n';
	return line;
}

/* Returns false. The first complaint counts. */
static bool
fail_at(struct reader *r, size_t at, const char *what)
{
	if (!r->failed)
		err_set(r->e, ERR_INVALID_ARGUMENT, "line %u: %s", line_of(r, at), what);
	r->failed = true;
	return false;
}

static bool
fail(struct reader *r, const char *what)
{
	return fail_at(r, r->at, what);
}

static bool
fail_limit(struct reader *r, const char *what)
{
	if (!r->failed)
		err_set(r->e, ERR_RESOURCE_EXHAUSTED, "line %u: %s", line_of(r, r->at), what);
	r->failed = true;
	return false;
}

static void *
take_memory(struct reader *r, size_t n)
{
	void *p = arena_alloc(r->arena, n);

	if (p == NULL)
		fail_limit(r, "the document needs too much memory");
	return p;
}

static bool
count_value(struct reader *r)
{
	return ++r->values <= TOML_VALUES_MAX || fail_limit(r, "too many values");
}

/* ---- bytes ---- */

/* The byte `ahead` of here; 0 at the end. NULs do not get this far. */
static uint8_t
peek(const struct reader *r, size_t ahead)
{
	return r->at + ahead < r->text.n ? r->text.p[r->at + ahead] : 0;
}

static bool
is_at(const struct reader *r, const char *s)
{
	return slice_starts(slice_sub(r->text, r->at, r->text.n), s);
}

static void
skip_blanks(struct reader *r)
{
	while (peek(r, 0) == ' ' || peek(r, 0) == '\t')
		r->at++;
}

static bool
skip_line_end(struct reader *r)
{
	if (peek(r, 0) == '\r' && peek(r, 1) == '\n')
		r->at += 2;
	else if (peek(r, 0) == '\n')
		r->at++;
	else
		return false;
	return true;
}

/* Control characters have no place anywhere but tabs and line ends. */
static bool
is_control(uint8_t c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

static bool
skip_comment(struct reader *r)
{
	if (peek(r, 0) != '#')
		return true;
	while (r->at < r->text.n && peek(r, 0) != '\n' && !(peek(r, 0) == '\r' && peek(r, 1) == '\n')) {
		if (is_control(peek(r, 0)))
			return fail(r, "a control character in a comment");
		r->at++;
	}
	return true;
}

/* Blanks, comments and line ends, inside arrays. */
static bool
skip_lines(struct reader *r)
{
	do {
		skip_blanks(r);
		if (!skip_comment(r))
			return false;
	} while (skip_line_end(r));
	return true;
}

/* Nothing but a comment may follow a statement in its line. */
static bool
end_statement(struct reader *r)
{
	skip_blanks(r);
	if (!skip_comment(r))
		return false;
	if (r->at < r->text.n && !skip_line_end(r))
		return fail(r, "more than one thing on a line");
	return true;
}

/* ---- strings ---- */

static bool
read_code_point(struct reader *r, struct buf *out, size_t digits)
{
	uint8_t utf8[UTF8_MAX];
	uint32_t c = 0;

	for (size_t i = 0; i < digits; i++, r->at++) {
		int v = hex_value(peek(r, 0));

		if (v < 0)
			return fail(r, "a broken \\u in a string");
		c = c << 4 | (uint32_t)v;
	}
	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return fail(r, "a \\u that is no character");
	buf_append(out, utf8, utf8_encode(c, utf8));
	return true;
}

/* Behind the backslash. */
static bool
read_escape(struct reader *r, struct buf *out, bool is_multi)
{
	static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
	uint8_t c = peek(r, 0);
	const char *place;

	if (is_multi && (c == ' ' || c == '\t' || c == '\n' || c == '\r')) {
		/* The line goes on at the next character that is not blank. */
		skip_blanks(r);
		if (!skip_line_end(r))
			return fail(r, "a broken escape in a string");
		do
			skip_blanks(r);
		while (skip_line_end(r));
		return true;
	}
	place = c != 0 ? strchr(from, c) : NULL;
	r->at++;
	if (place != NULL) {
		buf_append_u8(out, (uint8_t)to[place - from]);
		return true;
	}
	if (c == 'u' || c == 'U')
		return read_code_point(r, out, c == 'u' ? 4 : 8);
	r->at--;
	return fail(r, "an unknown escape in a string");
}

static bool
keep_text(struct reader *r, struct buf *b, struct slice *out)
{
	void *p = arena_copy(r->arena, b->len > 0 ? (const void *)buf_data(b) : "", b->len);

	*out = slice_make(p, b->len);
	return p != NULL || fail_limit(r, "the document needs too much memory");
}

/* In quotes on one line. */
static bool
read_line_string(struct reader *r, struct slice *out)
{
	struct buf b = BUF_INIT;
	size_t start = r->at;
	uint8_t quote = peek(r, 0);
	bool ok = false;

	for (r->at++;;) {
		uint8_t c = peek(r, 0);

		if (r->at >= r->text.n || c == '\n' || c == '\r') {
			fail_at(r, start, "a string without its end");
			break;
		}
		if (is_control(c)) {
			fail(r, "a control character in a string");
			break;
		}
		r->at++;
		if (c == quote) {
			ok = keep_text(r, &b, out);
			break;
		}
		if (c == '\\' && quote == '"') {
			if (!read_escape(r, &b, false))
				break;
		} else {
			buf_append_u8(&b, c);
		}
	}
	buf_free(&b);
	return ok;
}

/* In three quotes; up to two quotes may stand right before the closing ones. */
static bool
read_multi_string(struct reader *r, struct slice *out)
{
	struct buf b = BUF_INIT;
	size_t start = r->at;
	uint8_t quote = peek(r, 0);
	bool ok = false;

	r->at += 3;
	skip_line_end(r);
	for (;;) {
		uint8_t c = peek(r, 0);

		if (r->at >= r->text.n) {
			fail_at(r, start, "a string without its end");
			break;
		}
		if (c == quote && peek(r, 1) == quote && peek(r, 2) == quote) {
			r->at += 3;
			for (int i = 0; i < 2 && peek(r, 0) == quote; i++, r->at++)
				buf_append_u8(&b, quote);
			ok = keep_text(r, &b, out);
			break;
		}
		if (is_control(c) && c != '\n' && !(c == '\r' && peek(r, 1) == '\n')) {
			fail(r, "a control character in a string");
			break;
		}
		r->at++;
		if (c == '\\' && quote == '"') {
			if (!read_escape(r, &b, true))
				break;
		} else {
			buf_append_u8(&b, c);
		}
	}
	buf_free(&b);
	return ok;
}

static bool
is_multi_string(const struct reader *r)
{
	return is_at(r, "\"\"\"") || is_at(r, "'''");
}

/* ---- keys ---- */

static bool
is_bare(uint8_t c)
{
	return isalnum(c) || c == '_' || c == '-';
}

static bool
read_key_part(struct reader *r, struct slice *out)
{
	size_t start = r->at;

	if (peek(r, 0) == '"' || peek(r, 0) == '\'') {
		if (is_multi_string(r))
			return fail(r, "a key in three quotes");
		return read_line_string(r, out);
	}
	while (is_bare(peek(r, 0)))
		r->at++;
	if (r->at == start)
		return fail(r, "a key is missing");
	*out = slice_sub(r->text, start, r->at - start);
	return true;
}

/* a . "b" . c */
static bool
read_key(struct reader *r, struct toml_key *out)
{
	struct slice parts[TOML_KEY_MAX], *kept;
	size_t n = 0;

	for (;;) {
		if (n == TOML_KEY_MAX)
			return fail_limit(r, "a key of too many parts");
		if (!read_key_part(r, &parts[n++]))
			return false;
		skip_blanks(r);
		if (peek(r, 0) != '.')
			break;
		r->at++;
		skip_blanks(r);
	}
	kept = take_memory(r, n * sizeof(*kept));
	if (kept == NULL)
		return false;
	memcpy(kept, parts, n * sizeof(*kept));
	*out = (struct toml_key){kept, n};
	return true;
}

/* ---- values ---- */

static bool read_value(struct reader *r, struct toml_value *v);

static struct toml_value *
new_value(struct reader *r)
{
	return count_value(r) ? take_memory(r, sizeof(struct toml_value)) : NULL;
}

static bool
read_array(struct reader *r, struct toml_value *v)
{
	struct toml_value **end = &v->first;
	size_t start = r->at++;

	v->kind = TOML_ARRAY;
	for (;;) {
		struct toml_value *element;

		if (!skip_lines(r))
			return false;
		if (peek(r, 0) == ']')
			break;
		if (r->at >= r->text.n)
			return fail_at(r, start, "an array without its end");
		element = new_value(r);
		if (element == NULL || !read_value(r, element) || !skip_lines(r))
			return false;
		*end = element;
		end = &element->next;
		v->count++;
		if (peek(r, 0) == ',')
			r->at++;
		else if (r->at < r->text.n && peek(r, 0) != ']')
			return fail(r, "a comma or ] is missing in an array");
	}
	r->at++;
	return true;
}

static bool
read_pair_value(struct reader *r, struct toml_value *v)
{
	skip_blanks(r);
	if (peek(r, 0) != '=')
		return fail(r, "= is missing behind a key");
	r->at++;
	skip_blanks(r);
	return read_value(r, v);
}

/* On one line, without a comma behind the last member. */
static bool
read_inline_table(struct reader *r, struct toml_value *v)
{
	struct toml_value **end = &v->first;

	v->kind = TOML_TABLE;
	r->at++;
	skip_blanks(r);
	while (peek(r, 0) != '}' || v->count > 0) {
		struct toml_value *member = new_value(r);

		if (member == NULL)
			return false;
		member->key_start = r->at;
		if (!read_key(r, &member->key) || !read_pair_value(r, member))
			return false;
		*end = member;
		end = &member->next;
		v->count++;
		skip_blanks(r);
		if (peek(r, 0) == '}')
			break;
		if (peek(r, 0) != ',')
			return fail(r, "a comma or } is missing in an inline table");
		r->at++;
		skip_blanks(r);
	}
	r->at++;
	return true;
}

/* Digits with single underscores between them. */
static bool
are_digits(struct slice s, bool (*is_digit)(uint8_t))
{
	bool was_digit = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '_' && (!was_digit || i + 1 == s.n))
			return false;
		if (s.p[i] != '_' && !is_digit(s.p[i]))
			return false;
		was_digit = s.p[i] != '_';
	}
	return s.n > 0;
}

static bool
is_decimal(uint8_t c)
{
	return isdigit(c);
}

static bool
is_hex(uint8_t c)
{
	return isxdigit(c);
}

static bool
is_octal(uint8_t c)
{
	return c >= '0' && c <= '7';
}

static bool
is_binary(uint8_t c)
{
	return c == '0' || c == '1';
}

static struct slice
without_sign(struct slice s)
{
	return s.n > 0 && (s.p[0] == '+' || s.p[0] == '-') ? slice_sub(s, 1, s.n) : s;
}

static bool
is_integer(struct slice s)
{
	struct slice digits = without_sign(s);

	if (slice_starts(s, "0x"))
		return are_digits(slice_sub(s, 2, s.n), is_hex);
	if (slice_starts(s, "0o"))
		return are_digits(slice_sub(s, 2, s.n), is_octal);
	if (slice_starts(s, "0b"))
		return are_digits(slice_sub(s, 2, s.n), is_binary);
	return are_digits(digits, is_decimal) && (digits.n == 1 || digits.p[0] != '0');
}

static bool
is_float(struct slice s)
{
	struct slice rest = without_sign(s), whole, part;
	size_t n = 0;

	if (slice_eq_str(rest, "inf") || slice_eq_str(rest, "nan"))
		return true;
	while (n < rest.n && (isdigit(rest.p[n]) || rest.p[n] == '_'))
		n++;
	whole = slice_sub(rest, 0, n);
	if (!is_integer(whole) || n == rest.n)
		return false;
	rest = slice_sub(rest, n, rest.n);
	if (rest.p[0] == '.') {
		n = 1;
		while (n < rest.n && (isdigit(rest.p[n]) || rest.p[n] == '_'))
			n++;
		part = slice_sub(rest, 1, n - 1);
		if (!are_digits(part, is_decimal))
			return false;
		rest = slice_sub(rest, n, rest.n);
	}
	if (rest.n == 0)
		return true;
	return (rest.p[0] == 'e' || rest.p[0] == 'E') && are_digits(without_sign(slice_sub(rest, 1, rest.n)), is_decimal);
}

/* The shape of a date or a time (RFC 3339); whether there is such a day is not looked at. */
static bool
is_date(struct slice s)
{
	bool is_day = s.n >= 10 && isdigit(s.p[0]) && isdigit(s.p[3]) && s.p[4] == '-' && s.p[7] == '-';
	bool is_time = s.n >= 8 && isdigit(s.p[0]) && isdigit(s.p[1]) && s.p[2] == ':' && s.p[5] == ':';

	if (!is_day && !is_time)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!isdigit(s.p[i]) && strchr("-:.+TtZz ", s.p[i]) == NULL)
			return false;
	return true;
}

static bool
ends_scalar(uint8_t c)
{
	return c == 0 || c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',' || c == ']' || c == '}' || c == '#';
}

static bool
read_scalar(struct reader *r, struct toml_value *v)
{
	size_t start = r->at;

	while (!ends_scalar(peek(r, 0)))
		r->at++;
	/* Date and time with a blank between them. */
	if (r->at - start == 10 && peek(r, 0) == ' ' && isdigit(peek(r, 1)) && isdigit(peek(r, 2)) && peek(r, 3) == ':' &&
	    is_date(slice_sub(r->text, start, 10)))
		for (r->at++; !ends_scalar(peek(r, 0));)
			r->at++;
	v->text = slice_sub(r->text, start, r->at - start);
	v->truth = slice_eq_str(v->text, "true");
	if (v->truth || slice_eq_str(v->text, "false"))
		v->kind = TOML_BOOL;
	else if (is_integer(v->text))
		v->kind = TOML_INTEGER;
	else if (is_float(v->text))
		v->kind = TOML_FLOAT;
	else if (is_date(v->text))
		v->kind = TOML_DATE;
	else
		return fail_at(r, start, v->text.n == 0 ? "a value is missing" : "a value that is neither text in quotes, number, true, false nor date");
	return true;
}

static bool
read_any(struct reader *r, struct toml_value *v)
{
	switch (peek(r, 0)) {
	case '"':
	case '\'':
		v->kind = TOML_STRING;
		return is_multi_string(r) ? read_multi_string(r, &v->text) : read_line_string(r, &v->text);
	case '[':
		return read_array(r, v);
	case '{':
		return read_inline_table(r, v);
	}
	return read_scalar(r, v);
}

static bool
read_value(struct reader *r, struct toml_value *v)
{
	bool ok;

	if (r->depth == TOML_DEPTH_MAX)
		return fail_limit(r, "arrays and tables too deep inside each other");
	v->start = r->at;
	r->depth++;
	ok = read_any(r, v);
	r->depth--;
	v->end = r->at;
	if (ok && (v->kind == TOML_ARRAY || v->kind == TOML_TABLE))
		v->text = slice_sub(r->text, v->start, v->end - v->start);
	return ok;
}

/* ---- statements ---- */

static bool
read_header(struct reader *r, struct toml_item *item)
{
	item->kind = peek(r, 1) == '[' ? TOML_ARRAY_HEADER : TOML_HEADER;
	r->at += item->kind == TOML_ARRAY_HEADER ? 2 : 1;
	skip_blanks(r);
	if (!read_key(r, &item->key))
		return false;
	if (!is_at(r, item->kind == TOML_ARRAY_HEADER ? "]]" : "]"))
		return fail(r, "] is missing");
	r->at += item->kind == TOML_ARRAY_HEADER ? 2 : 1;
	return true;
}

static bool
read_pair(struct reader *r, struct toml_item *item)
{
	item->kind = TOML_PAIR;
	item->value = new_value(r);
	return item->value != NULL && read_key(r, &item->key) && read_pair_value(r, item->value);
}

static bool
read_document(struct reader *r, struct toml *doc)
{
	struct toml_item **end = &doc->first;
	const struct toml_item *header = NULL;
	/* A byte order mark is no content. */
	size_t line_start = r->at = is_at(r, "\xef\xbb\xbf") ? 3 : 0;
	unsigned line = 1;
	size_t counted = 0;

	while (r->at < r->text.n) {
		struct toml_item *item;

		skip_blanks(r);
		if (!skip_comment(r))
			return false;
		if (r->at >= r->text.n)
			break;
		if (skip_line_end(r)) {
			line_start = r->at;
			continue;
		}
		if (!count_value(r) || (item = take_memory(r, sizeof(*item))) == NULL)
			return false;
		for (; counted < r->at; counted++)
			line += r->text.p[counted] == '\n';
		item->line = line;
		item->start = line_start;
		item->at = r->at;
		item->header = header;
		if (!(peek(r, 0) == '[' ? read_header(r, item) : read_pair(r, item)) || !end_statement(r))
			return false;
		if (item->kind != TOML_PAIR) {
			item->header = NULL;
			header = item;
		}
		item->end = line_start = r->at;
		*end = item;
		end = &item->next;
		doc->count++;
	}
	return true;
}

struct toml *
toml_parse(struct slice text, struct arena *a, struct err *e)
{
	struct reader r = {.text = text, .arena = a, .e = e};
	struct toml *doc;

	if (text.n > TOML_TEXT_MAX) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "larger than %zu bytes", TOML_TEXT_MAX);
		return NULL;
	}
	if (memchr(text.n > 0 ? (const void *)text.p : "", 0, text.n) != NULL || !utf8_is_valid(text)) {
		err_set(e, ERR_INVALID_ARGUMENT, "not UTF-8 text");
		return NULL;
	}
	doc = take_memory(&r, sizeof(*doc));
	if (doc == NULL)
		return NULL;
	doc->text = text;
	return read_document(&r, doc) ? doc : NULL;
}

int
toml_i64(const struct toml_value *v, int64_t *out)
{
	struct slice s;
	bool negative;
	uint64_t n = 0, base = 10;

	if (v == NULL || v->kind != TOML_INTEGER)
		return -1;
	negative = v->text.p[0] == '-';
	s = without_sign(v->text);
	if (s.n > 2 && s.p[0] == '0' && isalpha(s.p[1])) {
		base = s.p[1] == 'x' ? 16 : s.p[1] == 'o' ? 8 : 2;
		s = slice_sub(s, 2, s.n);
	}
	for (size_t i = 0; i < s.n; i++) {
		uint64_t digit = (uint64_t)hex_value(s.p[i]);

		if (s.p[i] == '_')
			continue;
		if (n > ((uint64_t)INT64_MAX - digit) / base)
			return -1;
		n = n * base + digit;
	}
	*out = negative ? -(int64_t)n : (int64_t)n;
	return 0;
}

/* ---- writing ---- */

void
toml_put_string(struct buf *out, struct slice s)
{
	struct buf valid = BUF_INIT;

	utf8_append_lossy(s, &valid);
	s = buf_slice(&valid);
	buf_append_u8(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c == '\n')
			buf_append_str(out, "\\n");
		else if (c == '\t')
			buf_append_str(out, "\\t");
		else if (is_control(c))
			buf_printf(out, "\\u%04X", (unsigned)c);
		else
			buf_append_u8(out, c);
	}
	buf_append_u8(out, '"');
	buf_free(&valid);
}

void
toml_put_key(struct buf *out, struct slice part)
{
	bool bare = part.n > 0;

	for (size_t i = 0; i < part.n; i++)
		bare = bare && is_bare(part.p[i]);
	if (bare)
		buf_append_slice(out, part);
	else
		toml_put_string(out, part);
}
