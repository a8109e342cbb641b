#include "text/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/hex.h"
#include "text/utf8.h"

struct reader {
	struct arena *arena;
	struct slice text;
	size_t at;
	unsigned depth;
	struct err *err;
};

static int read_value(struct reader *r, struct json *v);

/* Says where: line and column count from 1, the column in bytes. */
static int
fail(struct reader *r, const char *what)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < r->at && i < r->text.n; i++) {
		column++;
		if (r->text.p[i] == '\n') {
			line++;
			column = 1;
		}
	}
	return err_set(r->err, ERR_INVALID_ARGUMENT, "json: line %zu column %zu: %s", line, column, what);
}

static int
out_of_room(struct reader *r)
{
	return err_set(r->err, ERR_RESOURCE_EXHAUSTED, "json: document needs more memory than the limit");
}

/* The byte at hand; -1 at the end. */
static int
peek(const struct reader *r)
{
	return r->at < r->text.n ? r->text.p[r->at] : -1;
}

static void
skip_blanks(struct reader *r)
{
	while (r->at < r->text.n && strchr(" \t\n\r", r->text.p[r->at]) != NULL && r->text.p[r->at] != 0)
		r->at++;
}

static int
read_hex4(struct reader *r, uint32_t *out)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++, r->at++) {
		int digit = hex_value((uint32_t)peek(r));

		if (digit < 0)
			return fail(r, "four hex digits are wanted after \\u");
		v = v << 4 | (uint32_t)digit;
	}
	*out = v;
	return 0;
}

static size_t
bad_escape(struct reader *r, const char *what)
{
	fail(r, what);
	return 0;
}

/* Behind a backslash. Writes the bytes it stands for at out, returns how many; 0 after an error. */
static size_t
read_escape(struct reader *r, uint8_t *out)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	int c = peek(r);
	const char *at;
	uint32_t code = 0, low = 0;

	if (c == 'u') {
		r->at++;
		if (read_hex4(r, &code) < 0)
			return 0;
		if (code >= 0xd800 && code <= 0xdbff) {
			if (r->at + 1 >= r->text.n || r->text.p[r->at] != '\\' || r->text.p[r->at + 1] != 'u')
				return bad_escape(r, "half of a surrogate pair");
			r->at += 2;
			if (read_hex4(r, &low) < 0)
				return 0;
			if (low < 0xdc00 || low > 0xdfff)
				return bad_escape(r, "half of a surrogate pair");
			code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		} else if (code >= 0xdc00 && code <= 0xdfff) {
			return bad_escape(r, "half of a surrogate pair");
		}
		return utf8_encode(code, out);
	}
	at = c > 0 ? strchr(names, c) : NULL;
	if (at == NULL)
		return bad_escape(r, "unknown escape in a string");
	r->at++;
	*out = (uint8_t)values[at - names];
	return 1;
}

/* At the opening quote. */
static int
read_string(struct reader *r, struct slice *out)
{
	size_t start = ++r->at, end = start, n = 0;
	uint8_t *copy;

	while (end < r->text.n && r->text.p[end] != '"')
		end += r->text.p[end] == '\\' ? 2 : 1;
	if (end >= r->text.n) {
		r->at = r->text.n;
		return fail(r, "string without end");
	}
	/* No escape is shorter than what it stands for. */
	copy = arena_alloc(r->arena, end - start + 1);
	if (copy == NULL)
		return out_of_room(r);
	while (r->at < end) {
		uint8_t c = r->text.p[r->at];
		uint32_t code;
		size_t got, bad;

		if (c == '\\') {
			r->at++;
			got = read_escape(r, copy + n);
			if (got == 0)
				return -1;
			n += got;
			continue;
		}
		if (c < 0x20)
			return fail(r, "control character in a string");
		got = c < 0x80 ? 1 : utf8_decode(slice_sub(r->text, r->at, end - r->at), &code, &bad);
		if (got == 0)
			return fail(r, "string is not UTF-8");
		memcpy(copy + n, r->text.p + r->at, got);
		n += got;
		r->at += got;
	}
	r->at = end + 1;
	copy[n] = 0;
	*out = slice_make(copy, n);
	return 0;
}

static size_t
skip_digits(struct reader *r)
{
	size_t from = r->at;

	while (peek(r) >= '0' && peek(r) <= '9')
		r->at++;
	return r->at - from;
}

static int
read_number(struct reader *r, struct json *v)
{
	size_t from = r->at, n;
	bool zero;

	if (peek(r) == '-')
		r->at++;
	zero = peek(r) == '0';
	n = skip_digits(r);
	if (n == 0)
		return fail(r, "a value is wanted here");
	if (zero && n > 1)
		return fail(r, "number with a leading zero");
	if (peek(r) == '.') {
		r->at++;
		if (skip_digits(r) == 0)
			return fail(r, "a digit is wanted after the point");
	}
	if (peek(r) == 'e' || peek(r) == 'E') {
		r->at++;
		if (peek(r) == '+' || peek(r) == '-')
			r->at++;
		if (skip_digits(r) == 0)
			return fail(r, "a digit is wanted in the exponent");
	}
	n = r->at - from;
	if (n > JSON_NUMBER_MAX)
		return fail(r, "number too long");
	v->kind = JSON_NUMBER;
	v->text.n = n;
	v->text.p = arena_copy(r->arena, r->text.p + from, n);
	return v->text.p != NULL ? 0 : out_of_room(r);
}

static int
read_word(struct reader *r, struct json *v)
{
	struct slice rest = slice_sub(r->text, r->at, r->text.n);

	if (slice_starts(rest, "true") || slice_starts(rest, "false")) {
		v->kind = JSON_BOOL;
		v->truth = rest.p[0] == 't';
		r->at += v->truth ? 4 : 5;
		return 0;
	}
	if (slice_starts(rest, "null")) {
		v->kind = JSON_NULL;
		r->at += 4;
		return 0;
	}
	return fail(r, "a value is wanted here");
}

static int
read_name(struct reader *r, struct json *member)
{
	if (peek(r) != '"')
		return fail(r, "a member name in quotes is wanted here");
	if (read_string(r, &member->name) < 0)
		return -1;
	skip_blanks(r);
	if (peek(r) != ':')
		return fail(r, "':' is wanted here");
	r->at++;
	return 0;
}

/* At the opening bracket of an array or object. */
static int
read_list(struct reader *r, struct json *v)
{
	bool is_object = peek(r) == '{';
	int close = is_object ? '}' : ']';
	struct json **tail = &v->first;

	v->kind = is_object ? JSON_OBJECT : JSON_ARRAY;
	if (r->depth == JSON_DEPTH_MAX)
		return fail(r, "nested too deeply");
	r->depth++;
	r->at++;
	skip_blanks(r);
	if (peek(r) == close)
		goto done;
	for (;;) {
		struct json *item = arena_alloc(r->arena, sizeof(*item));

		if (item == NULL)
			return out_of_room(r);
		if (is_object && read_name(r, item) < 0)
			return -1;
		if (read_value(r, item) < 0)
			return -1;
		*tail = item;
		tail = &item->next;
		v->count++;
		skip_blanks(r);
		if (peek(r) == close)
			break;
		if (peek(r) != ',')
			return fail(r, is_object ? "',' or '}' is wanted here" : "',' or ']' is wanted here");
		r->at++;
		skip_blanks(r);
	}
done:
	r->at++;
	r->depth--;
	return 0;
}

static int
read_value(struct reader *r, struct json *v)
{
	skip_blanks(r);
	switch (peek(r)) {
	case '{':
	case '[':
		return read_list(r, v);
	case '"':
		v->kind = JSON_STRING;
		return read_string(r, &v->text);
	case 't':
	case 'f':
	case 'n':
		return read_word(r, v);
	default:
		return read_number(r, v);
	}
}

struct json *
json_parse(struct arena *a, struct slice text, struct err *e)
{
	struct reader r = {.arena = a, .text = text, .err = e};
	struct json *v;

	if (text.n > JSON_TEXT_MAX) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "json: document larger than %zu bytes", JSON_TEXT_MAX);
		return NULL;
	}
	v = arena_alloc(a, sizeof(*v));
	if (v == NULL) {
		out_of_room(&r);
		return NULL;
	}
	if (read_value(&r, v) < 0)
		return NULL;
	skip_blanks(&r);
	if (r.at < text.n) {
		fail(&r, "something stands behind the value");
		return NULL;
	}
	return v;
}

const struct json *
json_get(const struct json *obj, const char *name)
{
	const struct json *found = NULL;

	if (obj == NULL || obj->kind != JSON_OBJECT)
		return NULL;
	for (const struct json *m = obj->first; m != NULL; m = m->next) {
		if (slice_eq_str(m->name, name))
			found = m;
	}
	return found;
}

bool
json_is_null(const struct json *v)
{
	return v == NULL || v->kind == JSON_NULL;
}

/* The absolute value of a whole number; -1 when it is not whole or does not fit. */
static int
whole_value(const struct json *v, bool *negative, uint64_t *out)
{
	/* More than any exponent that can matter: JSON_NUMBER_MAX digits times 10^it is 0 or too large. */
	const int64_t exponent_max = 1000;
	int64_t exponent = 0, sign = 1;
	struct slice s;
	uint64_t n = 0;
	size_t i = 0;
	bool in_fraction = false;

	if (v == NULL || v->kind != JSON_NUMBER)
		return -1;
	s = v->text;
	*negative = s.p[0] == '-';
	for (i = 0; i < s.n && (s.p[i] | 0x20) != 'e'; i++)
		;
	for (size_t k = i + 1; k < s.n; k++) {
		if (s.p[k] == '-')
			sign = -1;
		else if (s.p[k] != '+' && exponent < exponent_max)
			exponent = exponent * 10 + (s.p[k] - '0');
	}
	exponent *= sign;
	s = slice_sub(s, *negative ? 1 : 0, i - (*negative ? 1 : 0));
	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '.')
			in_fraction = true;
		else if (in_fraction)
			exponent--;
	}
	/* Zeros at the end of the digits go into the exponent, so that 2.0 and 20e-1 are whole. */
	while (s.n > 0 && (s.p[s.n - 1] == '0' || s.p[s.n - 1] == '.')) {
		if (s.p[s.n - 1] == '0')
			exponent++;
		s.n--;
	}
	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '.')
			continue;
		if (n > (UINT64_MAX - (uint64_t)(s.p[i] - '0')) / 10)
			return -1;
		n = n * 10 + (uint64_t)(s.p[i] - '0');
	}
	if (n == 0)
		exponent = 0;
	if (exponent < 0)
		return -1;
	for (; exponent > 0; exponent--) {
		if (n > UINT64_MAX / 10)
			return -1;
		n *= 10;
	}
	*out = n;
	return 0;
}

int
json_u64(const struct json *v, uint64_t *out)
{
	uint64_t n;
	bool negative;

	if (whole_value(v, &negative, &n) < 0 || (negative && n != 0))
		return -1;
	*out = n;
	return 0;
}

int
json_i64(const struct json *v, int64_t *out)
{
	uint64_t n;
	bool negative;

	if (whole_value(v, &negative, &n) < 0 || n > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return -1;
	*out = !negative ? (int64_t)n : n == 0 ? 0 : -(int64_t)(n - 1) - 1;
	return 0;
}

int
json_double(const struct json *v, double *out)
{
	double d;

	if (v == NULL || v->kind != JSON_NUMBER)
		return -1;
	d = strtod((const char *)v->text.p, NULL);
	if (!isfinite(d))
		return -1;
	*out = d;
	return 0;
}

int
json_bool(const struct json *v, bool *out)
{
	if (v == NULL || v->kind != JSON_BOOL)
		return -1;
	*out = v->truth;
	return 0;
}

int
json_slice(const struct json *v, struct slice *out)
{
	if (v == NULL || v->kind != JSON_STRING)
		return -1;
	*out = v->text;
	return 0;
}

const char *
json_cstr(const struct json *v)
{
	if (v == NULL || v->kind != JSON_STRING || strlen((const char *)v->text.p) != v->text.n)
		return NULL;
	return (const char *)v->text.p;
}
