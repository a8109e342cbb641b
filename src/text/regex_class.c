/*
 * Characters, escapes and classes of the pattern language.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "text/regex_parser.h"
#include "text/utf8.h"

int
regex_fail(struct regex_parser *r, size_t at, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(r->err, ERR_INVALID_ARGUMENT, "%s at offset %zu", text, at);
}

int
regex_fail_size(struct regex_parser *r)
{
	return err_set(r->err, ERR_RESOURCE_EXHAUSTED, "pattern too large");
}

/* ---- reading ---- */

static uint32_t
peek_at(const struct regex_parser *r, size_t at, size_t *len)
{
	uint32_t code;
	size_t bad;

	*len = 0;
	if (at >= r->n)
		return REGEX_END;
	*len = utf8_decode(slice_make(r->p + at, r->n - at), &code, &bad);
	return code;
}

uint32_t
regex_peek(const struct regex_parser *r)
{
	size_t len;

	return peek_at(r, r->pos, &len);
}

uint32_t
regex_next(struct regex_parser *r)
{
	size_t len;
	uint32_t c = peek_at(r, r->pos, &len);

	r->pos += len;
	return c;
}

bool
regex_at_text(const struct regex_parser *r, const char *text)
{
	size_t len = strlen(text);

	return r->n - r->pos >= len && memcmp(r->p + r->pos, text, len) == 0;
}

bool
regex_take(struct regex_parser *r, const char *text)
{
	if (!regex_at_text(r, text))
		return false;
	r->pos += strlen(text);
	return true;
}

/* With the x flag: past white space and comments. */
void
regex_skip_space(struct regex_parser *r)
{
	while (r->flags.spaced && r->pos < r->n) {
		uint32_t c = regex_peek(r);

		if (c == '#')
			while (r->pos < r->n && regex_byte(r, 0) != '\n')
				r->pos++;
		else if (regex_is_space(c))
			regex_next(r);
		else
			return;
	}
}

/* ---- making ---- */

static struct regex_set *
new_set(struct regex_parser *r)
{
	struct regex_set *set = arena_alloc(r->arena, sizeof(*set));

	if (set == NULL)
		regex_fail_size(r);
	return set;
}

/* A set of one range, with case folded when the flag says so. */
struct regex_set *
regex_new_range(struct regex_parser *r, uint32_t lo, uint32_t hi)
{
	struct regex_set *set = new_set(r);

	if (set == NULL)
		return NULL;
	if (regex_set_add(set, r->arena, lo, hi) < 0 || (r->flags.fold && regex_set_fold(set, r->arena) < 0)) {
		regex_fail_size(r);
		return NULL;
	}
	return set;
}

/* The characters listed as pairs "azAZ", folded and negated as asked. */
struct regex_set *
regex_new_class(struct regex_parser *r, const char *pairs, bool is_negated)
{
	struct regex_set *set = new_set(r);

	if (set == NULL)
		return NULL;
	for (size_t i = 0; pairs[i] != '\0'; i += 2)
		if (regex_set_add(set, r->arena, (unsigned char)pairs[i], (unsigned char)pairs[i + 1]) < 0)
			goto full;
	regex_set_tidy(set);
	if (r->flags.fold && regex_set_fold(set, r->arena) < 0)
		goto full;
	if (is_negated && regex_set_negate(set, r->arena) < 0)
		goto full;
	return set;
full:
	regex_fail_size(r);
	return NULL;
}

/* ---- escapes ---- */

/* "\x2f", "\x{2f}", "\u002f", "\U0000002f" behind the letter; start is the place of the backslash. */
static int
parse_hex(struct regex_parser *r, char kind, size_t start, uint32_t *out)
{
	size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
	uint32_t code = 0;
	size_t count = 0;

	if (regex_byte(r, 0) == '{') {
		for (r->pos++, regex_skip_space(r); regex_byte(r, 0) != '}'; regex_skip_space(r), count++) {
			int v = hex_value(regex_next(r));

			if (v < 0 || count == 8)
				return regex_fail(r, start, "bad hexadecimal escape");
			code = code << 4 | (uint32_t)v;
		}
		r->pos++;
	} else {
		for (; count < digits; count++) {
			int v;

			regex_skip_space(r);
			v = hex_value(regex_next(r));
			if (v < 0)
				return regex_fail(r, start, "bad hexadecimal escape");
			code = code << 4 | (uint32_t)v;
		}
	}
	if (count == 0 || code > REGEX_CODE_MAX || (code >= 0xD800 && code <= 0xDFFF))
		return regex_fail(r, start, "bad hexadecimal escape");
	*out = code;
	return 0;
}

/* Behind "\p" or "\P": one letter, or a name in braces. Only the ASCII part of a few classes is known. */
static struct regex_set *
parse_unicode_class(struct regex_parser *r, bool is_negated, size_t start)
{
	static const struct {
		const char *name;
		const char *pairs;
	} classes[] = {
		{"l", "azAZ"}, {"letter", "azAZ"}, {"alphabetic", "azAZ"}, {"lu", "AZ"}, {"uppercaseletter", "AZ"}, {"uppercase", "AZ"},
		{"ll", "az"}, {"lowercaseletter", "az"}, {"lowercase", "az"}, {"n", "09"}, {"number", "09"}, {"nd", "09"}, {"decimalnumber", "09"},
	};
	char name[32];
	size_t len = 0;
	bool has_braces = regex_byte(r, 0) == '{';

	if (has_braces)
		r->pos++;
	for (; r->pos < r->n && !(has_braces && regex_byte(r, 0) == '}'); r->pos++) {
		char c = regex_byte(r, 0);

		if (c != '_' && c != '-' && c != ' ' && len < sizeof(name) - 1)
			name[len++] = c >= 'A' && c <= 'Z' ? (char)(c + 0x20) : c;
		if (!has_braces) {
			r->pos++;
			break;
		}
	}
	name[len] = '\0';
	if (has_braces && !regex_take(r, "}")) {
		regex_fail(r, start, "missing \"}\"");
		return NULL;
	}
	for (size_t i = 0; i < COUNT_OF(classes); i++)
		if (strcmp(classes[i].name, name) == 0)
			return regex_new_class(r, classes[i].pairs, is_negated);
	regex_fail(r, start, "unsupported Unicode class");
	return NULL;
}

/* Behind "\b": "{start}" and the like; a brace that does not begin a name is a repetition and left alone. */
static int
parse_word_boundary(struct regex_parser *r, size_t start, enum regex_assert *out)
{
	static const struct {
		const char *text;
		enum regex_assert assertion;
	} kinds[] = {
		{"{start}", REGEX_WORD_START}, {"{end}", REGEX_WORD_END}, {"{start-half}", REGEX_WORD_START_HALF}, {"{end-half}", REGEX_WORD_END_HALF},
	};

	*out = REGEX_WORD;
	if (regex_byte(r, 0) != '{' || !(regex_is_letter((unsigned char)regex_byte(r, 1)) || regex_byte(r, 1) == '-'))
		return 0;
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (regex_take(r, kinds[i].text)) {
			*out = kinds[i].assertion;
			return 0;
		}
	return regex_fail(r, start, "unknown word boundary");
}

/* A backslash at pos. */
int
regex_parse_escape(struct regex_parser *r, struct regex_atom *out)
{
	static const char simple[] = "a\at\tn\nr\rf\fv\v";
	size_t start = r->pos;
	uint32_t c;

	r->pos++;
	c = regex_next(r);
	*out = (struct regex_atom){.kind = REGEX_ATOM_CHAR, .code = c};
	if (c == REGEX_END)
		return regex_fail(r, start, "escape at the end of the pattern");
	if (regex_is_digit(c))
		return regex_fail(r, start, "back-references are not supported");
	if (c > 0x7F)
		return regex_fail(r, start, "unknown escape");
	if (!regex_is_letter(c) && c != '<' && c != '>')
		return 0;
	for (size_t i = 0; simple[i] != '\0'; i += 2)
		if ((uint32_t)simple[i] == c) {
			out->code = (unsigned char)simple[i + 1];
			return 0;
		}
	out->kind = REGEX_ATOM_SET;
	switch (c) {
	case 'x':
	case 'u':
	case 'U':
		out->kind = REGEX_ATOM_CHAR;
		return parse_hex(r, (char)c, start, &out->code);
	case 'd':
	case 'D':
		out->set = regex_new_class(r, "09", c == 'D');
		return out->set ? 0 : -1;
	case 'w':
	case 'W':
		out->set = regex_new_class(r, "azAZ09__", c == 'W');
		return out->set ? 0 : -1;
	case 's':
	case 'S':
		out->set = regex_new_class(r, "\t\r  ", c == 'S');
		return out->set ? 0 : -1;
	case 'p':
	case 'P':
		out->set = parse_unicode_class(r, c == 'P', start);
		return out->set ? 0 : -1;
	default:
		break;
	}
	out->kind = REGEX_ATOM_ASSERT;
	switch (c) {
	case 'A':
		out->assertion = REGEX_TEXT_START;
		return 0;
	case 'z':
		out->assertion = REGEX_TEXT_END;
		return 0;
	case 'b':
		return parse_word_boundary(r, start, &out->assertion);
	case 'B':
		out->assertion = REGEX_NOT_WORD;
		return 0;
	case '<':
		out->assertion = REGEX_WORD_START;
		return 0;
	case '>':
		out->assertion = REGEX_WORD_END;
		return 0;
	default:
		return regex_fail(r, start, "unknown escape \"\\%c\"", (int)c);
	}
}

/* ---- classes in brackets ---- */

/* "[:alpha:]" at pos, inside a class. NULL without an error when it is nothing of that kind. */
static struct regex_set *
parse_posix_class(struct regex_parser *r, bool *failed)
{
	static const struct {
		const char *name;
		const char *pairs;
	} classes[] = {
		{"alnum", "azAZ09"}, {"alpha", "azAZ"}, {"blank", "\t\t  "}, {"cntrl", "\x01\x1f\x7f\x7f"}, {"digit", "09"}, {"graph", "!~"},
		{"lower", "az"}, {"print", " ~"}, {"punct", "!/:@[`{~"}, {"space", "\t\r  "}, {"upper", "AZ"}, {"word", "azAZ09__"},
		{"xdigit", "09afAF"}, {"ascii", "\x01\x7f"},
	};
	size_t back = r->pos;

	*failed = false;
	if (regex_take(r, "[:")) {
		bool is_negated = regex_take(r, "^");

		for (size_t i = 0; i < COUNT_OF(classes); i++) {
			size_t len = strlen(classes[i].name);
			struct regex_set *set;

			if (!regex_at_text(r, classes[i].name) || regex_byte(r, len) != ':' || regex_byte(r, len + 1) != ']')
				continue;
			r->pos += len + 2;
			set = regex_new_class(r, classes[i].pairs, is_negated);
			*failed = set == NULL;
			return set;
		}
	}
	r->pos = back;
	return NULL;
}

/* One character or escape inside brackets. */
static int
parse_class_atom(struct regex_parser *r, struct regex_atom *out)
{
	size_t start = r->pos;

	if (regex_byte(r, 0) == '\\') {
		if (regex_parse_escape(r, out) < 0)
			return -1;
		return out->kind == REGEX_ATOM_ASSERT ? regex_fail(r, start, "this escape has no meaning in brackets") : 0;
	}
	*out = (struct regex_atom){.kind = REGEX_ATOM_CHAR, .code = regex_next(r)};
	return 0;
}

/* "a", "\d" or "a-z"; open is the place of the bracket. */
static struct regex_set *
parse_class_range(struct regex_parser *r, size_t open)
{
	size_t start = r->pos;
	struct regex_parser ahead;
	struct regex_atom from;
	struct regex_atom to;

	if (parse_class_atom(r, &from) < 0)
		return NULL;
	regex_skip_space(r);
	if (r->pos >= r->n)
		goto unclosed;
	ahead = *r;
	ahead.pos++;
	regex_skip_space(&ahead);
	if (regex_byte(r, 0) != '-' || regex_byte(&ahead, 0) == ']' || regex_byte(&ahead, 0) == '-')
		return from.kind == REGEX_ATOM_SET ? from.set : regex_new_range(r, from.code, from.code);
	r->pos = ahead.pos;
	if (r->pos >= r->n)
		goto unclosed;
	if (parse_class_atom(r, &to) < 0)
		return NULL;
	if (from.kind == REGEX_ATOM_SET || to.kind == REGEX_ATOM_SET) {
		regex_fail(r, start, "a range needs a character at both ends");
		return NULL;
	}
	if (from.code > to.code) {
		regex_fail(r, start, "range out of order");
		return NULL;
	}
	return regex_new_range(r, from.code, to.code);
unclosed:
	regex_fail(r, open, "missing \"]\"");
	return NULL;
}

/* One item of a class at pos: a range, a named class or a class inside. */
static struct regex_set *
parse_class_item(struct regex_parser *r, size_t open)
{
	struct regex_set *set;
	bool failed;

	if (regex_byte(r, 0) != '[')
		return parse_class_range(r, open);
	set = parse_posix_class(r, &failed);
	return set || failed ? set : regex_parse_bracket(r);
}

/* Applies "&&", "--" or "~~" (0: nothing yet, take the right side as it is) to left. */
static int
apply_class_op(struct regex_parser *r, struct regex_set *left, char op, const struct regex_set *right)
{
	struct regex_set both;

	switch (op) {
	case '&':
		return regex_set_intersect(left, r->arena, right);
	case '-':
		return regex_set_subtract(left, r->arena, right);
	case '~':
		both = *left;
		if (regex_set_intersect(&both, r->arena, right) < 0 || regex_set_add_set(left, r->arena, right) < 0)
			return -1;
		return regex_set_subtract(left, r->arena, &both);
	default:
		*left = *right;
		return 0;
	}
}

/* A class at its "[". */
struct regex_set *
regex_parse_bracket(struct regex_parser *r)
{
	size_t open = r->pos;
	struct regex_set *result = new_set(r);  /* of the operators so far */
	struct regex_set *run = new_set(r);     /* union since the last operator */
	bool is_negated;
	bool is_first = true;                   /* no item yet: "]" is one */
	char op = '\0';

	if (result == NULL || run == NULL)
		return NULL;
	if (++r->depth > REGEX_DEPTH_MAX) {
		regex_fail(r, open, "nesting too deep");
		return NULL;
	}
	r->pos++;
	regex_skip_space(r);
	is_negated = regex_take(r, "^");
	regex_skip_space(r);
	while (regex_byte(r, 0) == '-') {
		if (regex_set_add(run, r->arena, '-', '-') < 0)
			goto full;
		r->pos++;
		is_first = false;
		regex_skip_space(r);
	}
	for (;; regex_skip_space(r)) {
		char c = regex_byte(r, 0);
		struct regex_set *item;

		if (r->pos >= r->n) {
			regex_fail(r, open, "missing \"]\"");
			return NULL;
		}
		if (c == ']' && !is_first)
			break;
		if ((c == '&' || c == '-' || c == '~') && regex_byte(r, 1) == c) {
			regex_set_tidy(run);
			if (apply_class_op(r, result, op, run) < 0 || (run = new_set(r)) == NULL)
				goto full;
			op = c;
			r->pos += 2;
			is_first = false;
			continue;
		}
		if (c == ']') {
			item = regex_new_range(r, ']', ']');
			r->pos++;
		} else {
			item = parse_class_item(r, open);
		}
		if (item == NULL)
			return NULL;
		is_first = false;
		for (size_t i = 0; i < item->count; i++)
			if (regex_set_add(run, r->arena, item->ranges[i].lo, item->ranges[i].hi) < 0)
				goto full;
	}
	r->pos++;
	r->depth--;
	regex_set_tidy(run);
	if (apply_class_op(r, result, op, run) < 0 || (is_negated && regex_set_negate(result, r->arena) < 0))
		goto full;
	return result;
full:
	regex_fail_size(r);
	return NULL;
}
