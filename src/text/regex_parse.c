/*
 * The pattern language: text to tree. What the reference's parser refuses is refused here, so that a file means the same to both.
 * Laziness is read and forgotten: it cannot change whether there is a match.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/regex.h"
#include "text/regex_tree.h"
#include "text/utf8.h"

/* No code point: the pattern is at its end. */
#define END UINT32_MAX

struct flags {
	bool fold;              /* i */
	bool lines;             /* m */
	bool dot_all;           /* s */
	bool spaced;            /* x */
};

struct group_name {
	struct group_name *next;
	const char *text;
	size_t len;
};

struct parser {
	const char *p;          /* valid UTF-8 */
	size_t n;
	size_t pos;
	unsigned depth;
	struct flags flags;
	struct group_name *names;
	struct arena *arena;
	struct err *err;
};

static struct regex_node *parse_group_body(struct parser *r);
static struct regex_set *parse_bracket(struct parser *r);

static int fail(struct parser *r, size_t at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int
fail(struct parser *r, size_t at, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(r->err, ERR_INVALID_ARGUMENT, "%s at offset %zu", text, at);
}

static int
fail_size(struct parser *r)
{
	return err_set(r->err, ERR_RESOURCE_EXHAUSTED, "pattern too large");
}

/* ---- reading ---- */

static uint32_t
peek_at(const struct parser *r, size_t at, size_t *len)
{
	uint32_t code;
	size_t bad;

	*len = 0;
	if (at >= r->n)
		return END;
	*len = utf8_decode(slice_make(r->p + at, r->n - at), &code, &bad);
	return code;
}

static uint32_t
peek(const struct parser *r)
{
	size_t len;

	return peek_at(r, r->pos, &len);
}

/* The byte k after pos, 0 past the end: enough where only ASCII is asked for. */
static char
byte(const struct parser *r, size_t k)
{
	return r->pos + k < r->n ? r->p[r->pos + k] : '\0';
}

static uint32_t
next(struct parser *r)
{
	size_t len;
	uint32_t c = peek_at(r, r->pos, &len);

	r->pos += len;
	return c;
}

static bool
at_text(const struct parser *r, const char *text)
{
	size_t len = strlen(text);

	return r->n - r->pos >= len && memcmp(r->p + r->pos, text, len) == 0;
}

static bool
take(struct parser *r, const char *text)
{
	if (!at_text(r, text))
		return false;
	r->pos += strlen(text);
	return true;
}

static bool
is_space(uint32_t c)
{
	return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0x200E || c == 0x200F || c == 0x2028 || c == 0x2029;
}

static bool
is_letter(uint32_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(uint32_t c)
{
	return c >= '0' && c <= '9';
}

/* With the x flag: past white space and comments. */
static void
skip_space(struct parser *r)
{
	while (r->flags.spaced && r->pos < r->n) {
		uint32_t c = peek(r);

		if (c == '#')
			while (r->pos < r->n && byte(r, 0) != '\n')
				r->pos++;
		else if (is_space(c))
			next(r);
		else
			return;
	}
}

/* ---- making ---- */

static struct regex_node *
new_node(struct parser *r, enum regex_kind kind)
{
	struct regex_node *node = arena_alloc(r->arena, sizeof(*node));

	if (node == NULL)
		fail_size(r);
	else
		node->kind = kind;
	return node;
}

/* Accounts for a child's height. */
static int
add_height(struct parser *r, struct regex_node *node, const struct regex_node *child)
{
	if (child->height >= REGEX_HEIGHT_MAX)
		return fail(r, r->pos, "nesting too deep");
	if (node->height < child->height + 1)
		node->height = child->height + 1;
	return 0;
}

static struct regex_set *
new_set(struct parser *r)
{
	struct regex_set *set = arena_alloc(r->arena, sizeof(*set));

	if (set == NULL)
		fail_size(r);
	return set;
}

static struct regex_node *
new_set_node(struct parser *r, struct regex_set *set)
{
	struct regex_node *node = set ? new_node(r, REGEX_SET) : NULL;

	if (node)
		node->set = set;
	return node;
}

static struct regex_node *
new_assert(struct parser *r, enum regex_assert assertion)
{
	struct regex_node *node = new_node(r, REGEX_ASSERT);

	if (node)
		node->assertion = assertion;
	return node;
}

/* A set of one range, with case folded when the flag says so. */
static struct regex_set *
new_range(struct parser *r, uint32_t lo, uint32_t hi)
{
	struct regex_set *set = new_set(r);

	if (set == NULL)
		return NULL;
	if (regex_set_add(set, r->arena, lo, hi) < 0 || (r->flags.fold && regex_set_fold(set, r->arena) < 0)) {
		fail_size(r);
		return NULL;
	}
	return set;
}

/* The characters listed as pairs "azAZ", folded and negated as asked. */
static struct regex_set *
new_class(struct parser *r, const char *pairs, bool is_negated)
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
	fail_size(r);
	return NULL;
}

/* ---- escapes ---- */

/* What one escape or one plain character stands for. */
struct atom {
	enum { ATOM_CHAR, ATOM_SET, ATOM_ASSERT } kind;
	uint32_t code;
	struct regex_set *set;
	enum regex_assert assertion;
};

static int
hex_value(uint32_t c)
{
	if (is_digit(c))
		return (int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (int)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (int)(c - 'A') + 10;
	return -1;
}

/* "\x2f", "\x{2f}", "\u002f", "\U0000002f" behind the letter; start is the place of the backslash. */
static int
parse_hex(struct parser *r, char kind, size_t start, uint32_t *out)
{
	size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
	uint32_t code = 0;
	size_t count = 0;

	if (byte(r, 0) == '{') {
		for (r->pos++, skip_space(r); byte(r, 0) != '}'; skip_space(r), count++) {
			int v = hex_value(next(r));

			if (v < 0 || count == 8)
				return fail(r, start, "bad hexadecimal escape");
			code = code << 4 | (uint32_t)v;
		}
		r->pos++;
	} else {
		for (; count < digits; count++) {
			int v;

			skip_space(r);
			v = hex_value(next(r));
			if (v < 0)
				return fail(r, start, "bad hexadecimal escape");
			code = code << 4 | (uint32_t)v;
		}
	}
	if (count == 0 || code > REGEX_CODE_MAX || (code >= 0xD800 && code <= 0xDFFF))
		return fail(r, start, "bad hexadecimal escape");
	*out = code;
	return 0;
}

/* Behind "\p" or "\P": one letter, or a name in braces. Only the ASCII part of a few classes is known. */
static struct regex_set *
parse_unicode_class(struct parser *r, bool is_negated, size_t start)
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
	bool has_braces = byte(r, 0) == '{';

	if (has_braces)
		r->pos++;
	for (; r->pos < r->n && !(has_braces && byte(r, 0) == '}'); r->pos++) {
		char c = byte(r, 0);

		if (c != '_' && c != '-' && c != ' ' && len < sizeof(name) - 1)
			name[len++] = c >= 'A' && c <= 'Z' ? (char)(c + 0x20) : c;
		if (!has_braces) {
			r->pos++;
			break;
		}
	}
	name[len] = '\0';
	if (has_braces && !take(r, "}")) {
		fail(r, start, "missing \"}\"");
		return NULL;
	}
	for (size_t i = 0; i < COUNT_OF(classes); i++)
		if (strcmp(classes[i].name, name) == 0)
			return new_class(r, classes[i].pairs, is_negated);
	fail(r, start, "unsupported Unicode class");
	return NULL;
}

/* Behind "\b": "{start}" and the like; a brace that does not begin a name is a repetition and left alone. */
static int
parse_word_boundary(struct parser *r, size_t start, enum regex_assert *out)
{
	static const struct {
		const char *text;
		enum regex_assert assertion;
	} kinds[] = {
		{"{start}", REGEX_WORD_START}, {"{end}", REGEX_WORD_END}, {"{start-half}", REGEX_WORD_START_HALF}, {"{end-half}", REGEX_WORD_END_HALF},
	};

	*out = REGEX_WORD;
	if (byte(r, 0) != '{' || !(is_letter((unsigned char)byte(r, 1)) || byte(r, 1) == '-'))
		return 0;
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (take(r, kinds[i].text)) {
			*out = kinds[i].assertion;
			return 0;
		}
	return fail(r, start, "unknown word boundary");
}

/* A backslash at pos. */
static int
parse_escape(struct parser *r, struct atom *out)
{
	static const char simple[] = "a\at\tn\nr\rf\fv\v";
	size_t start = r->pos;
	uint32_t c;

	r->pos++;
	c = next(r);
	*out = (struct atom){.kind = ATOM_CHAR, .code = c};
	if (c == END)
		return fail(r, start, "escape at the end of the pattern");
	if (is_digit(c))
		return fail(r, start, "back-references are not supported");
	if (c > 0x7F)
		return fail(r, start, "unknown escape");
	if (!is_letter(c) && c != '<' && c != '>')
		return 0;
	for (size_t i = 0; simple[i] != '\0'; i += 2)
		if ((uint32_t)simple[i] == c) {
			out->code = (unsigned char)simple[i + 1];
			return 0;
		}
	out->kind = ATOM_SET;
	switch (c) {
	case 'x':
	case 'u':
	case 'U':
		out->kind = ATOM_CHAR;
		return parse_hex(r, (char)c, start, &out->code);
	case 'd':
	case 'D':
		out->set = new_class(r, "09", c == 'D');
		return out->set ? 0 : -1;
	case 'w':
	case 'W':
		out->set = new_class(r, "azAZ09__", c == 'W');
		return out->set ? 0 : -1;
	case 's':
	case 'S':
		out->set = new_class(r, "\t\r  ", c == 'S');
		return out->set ? 0 : -1;
	case 'p':
	case 'P':
		out->set = parse_unicode_class(r, c == 'P', start);
		return out->set ? 0 : -1;
	default:
		break;
	}
	out->kind = ATOM_ASSERT;
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
		return fail(r, start, "unknown escape \"\\%c\"", (int)c);
	}
}

/* ---- classes in brackets ---- */

/* "[:alpha:]" at pos, inside a class. NULL without an error when it is nothing of that kind. */
static struct regex_set *
parse_posix_class(struct parser *r, bool *failed)
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
	if (take(r, "[:")) {
		bool is_negated = take(r, "^");

		for (size_t i = 0; i < COUNT_OF(classes); i++) {
			size_t len = strlen(classes[i].name);
			struct regex_set *set;

			if (!at_text(r, classes[i].name) || byte(r, len) != ':' || byte(r, len + 1) != ']')
				continue;
			r->pos += len + 2;
			set = new_class(r, classes[i].pairs, is_negated);
			*failed = set == NULL;
			return set;
		}
	}
	r->pos = back;
	return NULL;
}

/* One character or escape inside brackets. */
static int
parse_class_atom(struct parser *r, struct atom *out)
{
	size_t start = r->pos;

	if (byte(r, 0) == '\\') {
		if (parse_escape(r, out) < 0)
			return -1;
		return out->kind == ATOM_ASSERT ? fail(r, start, "this escape has no meaning in brackets") : 0;
	}
	*out = (struct atom){.kind = ATOM_CHAR, .code = next(r)};
	return 0;
}

/* "a", "\d" or "a-z"; open is the place of the bracket. */
static struct regex_set *
parse_class_range(struct parser *r, size_t open)
{
	size_t start = r->pos;
	struct parser ahead;
	struct atom from;
	struct atom to;

	if (parse_class_atom(r, &from) < 0)
		return NULL;
	skip_space(r);
	if (r->pos >= r->n)
		goto unclosed;
	ahead = *r;
	ahead.pos++;
	skip_space(&ahead);
	if (byte(r, 0) != '-' || byte(&ahead, 0) == ']' || byte(&ahead, 0) == '-')
		return from.kind == ATOM_SET ? from.set : new_range(r, from.code, from.code);
	r->pos = ahead.pos;
	if (r->pos >= r->n)
		goto unclosed;
	if (parse_class_atom(r, &to) < 0)
		return NULL;
	if (from.kind == ATOM_SET || to.kind == ATOM_SET) {
		fail(r, start, "a range needs a character at both ends");
		return NULL;
	}
	if (from.code > to.code) {
		fail(r, start, "range out of order");
		return NULL;
	}
	return new_range(r, from.code, to.code);
unclosed:
	fail(r, open, "missing \"]\"");
	return NULL;
}

/* One item of a class at pos: a range, a named class or a class inside. */
static struct regex_set *
parse_class_item(struct parser *r, size_t open)
{
	struct regex_set *set;
	bool failed;

	if (byte(r, 0) != '[')
		return parse_class_range(r, open);
	set = parse_posix_class(r, &failed);
	return set || failed ? set : parse_bracket(r);
}

/* Applies "&&", "--" or "~~" (0: nothing yet, take the right side as it is) to left. */
static int
apply_class_op(struct parser *r, struct regex_set *left, char op, const struct regex_set *right)
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
static struct regex_set *
parse_bracket(struct parser *r)
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
		fail(r, open, "nesting too deep");
		return NULL;
	}
	r->pos++;
	skip_space(r);
	is_negated = take(r, "^");
	skip_space(r);
	while (byte(r, 0) == '-') {
		if (regex_set_add(run, r->arena, '-', '-') < 0)
			goto full;
		r->pos++;
		is_first = false;
		skip_space(r);
	}
	for (;; skip_space(r)) {
		char c = byte(r, 0);
		struct regex_set *item;

		if (r->pos >= r->n) {
			fail(r, open, "missing \"]\"");
			return NULL;
		}
		if (c == ']' && !is_first)
			break;
		if ((c == '&' || c == '-' || c == '~') && byte(r, 1) == c) {
			regex_set_tidy(run);
			if (apply_class_op(r, result, op, run) < 0 || (run = new_set(r)) == NULL)
				goto full;
			op = c;
			r->pos += 2;
			is_first = false;
			continue;
		}
		if (c == ']') {
			item = new_range(r, ']', ']');
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
	fail_size(r);
	return NULL;
}

/* ---- groups and flags ---- */

static int
parse_group_name(struct parser *r, size_t open)
{
	size_t start = r->pos;
	struct group_name *name;

	for (; byte(r, 0) != '>'; next(r)) {
		uint32_t c = peek(r);
		bool is_inner = is_digit(c) || c == '.' || c == '[' || c == ']';

		if (c == END)
			return fail(r, open, "unfinished group name");
		if (!is_letter(c) && c != '_' && c < 0x80 && !(is_inner && r->pos > start))
			return fail(r, r->pos, "bad character in a group name");
	}
	if (r->pos == start)
		return fail(r, start, "empty group name");
	for (const struct group_name *it = r->names; it; it = it->next)
		if (it->len == r->pos - start && memcmp(it->text, r->p + start, it->len) == 0)
			return fail(r, start, "group name used twice");
	name = arena_alloc(r->arena, sizeof(*name));
	if (name == NULL)
		return fail_size(r);
	*name = (struct group_name){r->names, r->p + start, r->pos - start};
	r->names = name;
	r->pos++;
	return 0;
}

/* "i-s" behind "(?", up to ':' or ')', which stays. */
static int
parse_flags(struct parser *r, size_t open)
{
	static const char known[] = "imsxUuR";
	bool seen[sizeof(known) - 1] = {false};
	bool is_negated = false;
	size_t start = r->pos;

	for (; byte(r, 0) != ':' && byte(r, 0) != ')'; next(r)) {
		uint32_t c = peek(r);
		const char *at;

		if (c == END)
			return fail(r, open, "missing \")\"");
		if (c == '-') {
			if (is_negated)
				return fail(r, r->pos, "second \"-\" among flags");
			is_negated = true;
			continue;
		}
		at = c < 0x80 && c > 0 ? strchr(known, (int)c) : NULL;
		if (at == NULL)
			return fail(r, r->pos, "unknown flag");
		if (seen[at - known])
			return fail(r, r->pos, "flag given twice");
		seen[at - known] = true;
		switch (c) {
		case 'i':
			r->flags.fold = !is_negated;
			break;
		case 'm':
			r->flags.lines = !is_negated;
			break;
		case 's':
			r->flags.dot_all = !is_negated;
			break;
		case 'x':
			r->flags.spaced = !is_negated;
			break;
		default:
			break;
		}
	}
	if (is_negated && r->p[r->pos - 1] == '-')
		return fail(r, r->pos - 1, "no flag behind \"-\"");
	if (r->pos == start && byte(r, 0) == ')')
		return fail(r, open, "nothing to repeat");
	return 0;
}

/* A group at its "(". *out is NULL when it only sets flags. */
static int
parse_group(struct parser *r, struct regex_node **out)
{
	static const char *const look_around[] = {"?=", "?!", "?<=", "?<!"};
	size_t open = r->pos;
	struct flags outside = r->flags;

	r->pos++;
	skip_space(r);
	for (size_t i = 0; i < COUNT_OF(look_around); i++)
		if (at_text(r, look_around[i]))
			return fail(r, open, "look-around is not supported");
	if (take(r, "?P<") || take(r, "?<")) {
		if (parse_group_name(r, open) < 0)
			return -1;
	} else if (take(r, "?")) {
		if (r->pos >= r->n)
			return fail(r, open, "missing \")\"");
		if (parse_flags(r, open) < 0)
			return -1;
		*out = NULL;
		if (take(r, ")"))
			return 0;
		r->pos++;
	}
	if (++r->depth > REGEX_DEPTH_MAX)
		return fail(r, open, "nesting too deep");
	*out = parse_group_body(r);
	if (*out == NULL)
		return -1;
	if (!take(r, ")"))
		return fail(r, open, "missing \")\"");
	r->depth--;
	r->flags = outside;
	return 0;
}

/* ---- repetition ---- */

/* Digits with blanks around; at most REGEX_REPEAT_MAX. */
static int
parse_count(struct parser *r, uint32_t *out)
{
	size_t start;

	while (is_space(peek(r)))
		next(r);
	start = r->pos;
	for (*out = 0; is_digit((unsigned char)byte(r, 0)); r->pos++) {
		*out = *out * 10 + (uint32_t)(byte(r, 0) - '0');
		if (*out > REGEX_REPEAT_MAX)
			return fail(r, start, "repetition count larger than %d", REGEX_REPEAT_MAX);
	}
	if (r->pos == start)
		return fail(r, start, "repetition count missing");
	while (is_space(peek(r)))
		next(r);
	return 0;
}

/* "{n}", "{n,}" or "{n,m}" at pos. */
static int
parse_counted(struct parser *r, uint32_t *min, uint32_t *max)
{
	size_t start = r->pos;

	r->pos++;
	if (parse_count(r, min) < 0)
		return -1;
	*max = *min;
	if (take(r, ",")) {
		*max = REGEX_NO_LIMIT;
		skip_space(r);
		if (byte(r, 0) != '}' && parse_count(r, max) < 0)
			return -1;
	}
	if (!take(r, "}"))
		return fail(r, start, "missing \"}\"");
	if (*min > *max)
		return fail(r, start, "repetition range out of order");
	return 0;
}

/* What "?", "*" and "+" are. */
static bool
is_simple(uint32_t min, uint32_t max)
{
	return min <= 1 && (max == 1 || max == REGEX_NO_LIMIT);
}

/* Wraps the item before the operator at pos into it. */
static int
parse_repeat(struct parser *r, struct regex_node **item)
{
	uint32_t min = 0;
	uint32_t max = REGEX_NO_LIMIT;
	size_t start = r->pos;
	struct regex_node *node;
	char c = byte(r, 0);

	if (*item == NULL)
		return fail(r, start, "nothing to repeat");
	if (c == '{') {
		if (parse_counted(r, &min, &max) < 0)
			return -1;
	} else {
		r->pos++;
		min = c == '+' ? 1 : 0;
		max = c == '?' ? 1 : REGEX_NO_LIMIT;
	}
	take(r, "?");
	if ((*item)->kind == REGEX_EMPTY)
		return 0;
	if (max == 0) {
		(*item)->kind = REGEX_EMPTY;
		return 0;
	}
	/* (a+)?, (a?)* and the like are one of the three simple operators again: stacked ones would only grow the automaton. */
	if ((*item)->kind == REGEX_REPEAT && is_simple((*item)->min, (*item)->max) && is_simple(min, max)) {
		(*item)->min = (*item)->min < min ? (*item)->min : min;
		(*item)->max = (*item)->max > max ? (*item)->max : max;
		return 0;
	}
	node = new_node(r, REGEX_REPEAT);
	if (node == NULL)
		return -1;
	node->min = min;
	node->max = max;
	node->first = *item;
	*item = node;
	return add_height(r, node, node->first);
}

/* ---- sequences and branches ---- */

/* One item that is no operator, at pos. *out stays NULL when only flags were set. */
static int
parse_item(struct parser *r, struct regex_node **out)
{
	struct atom atom = {.kind = ATOM_SET};

	*out = NULL;
	switch (byte(r, 0)) {
	case '(':
		return parse_group(r, out);
	case '[':
		atom.set = parse_bracket(r);
		break;
	case '^':
		r->pos++;
		atom = (struct atom){.kind = ATOM_ASSERT, .assertion = r->flags.lines ? REGEX_LINE_START : REGEX_TEXT_START};
		break;
	case '$':
		r->pos++;
		atom = (struct atom){.kind = ATOM_ASSERT, .assertion = r->flags.lines ? REGEX_LINE_END : REGEX_TEXT_END};
		break;
	case '.':
		r->pos++;
		atom.set = new_class(r, r->flags.dot_all ? "" : "\n\n", true);
		break;
	case '\\':
		if (parse_escape(r, &atom) < 0)
			return -1;
		break;
	default:
		atom = (struct atom){.kind = ATOM_CHAR, .code = next(r)};
		break;
	}
	if (atom.kind == ATOM_CHAR)
		atom.set = new_range(r, atom.code, atom.code);
	*out = atom.kind == ATOM_ASSERT ? new_assert(r, atom.assertion) : new_set_node(r, atom.set);
	return *out ? 0 : -1;
}

/* Items up to '|', ')' or the end. */
static struct regex_node *
parse_branch(struct parser *r)
{
	struct regex_node *concat = new_node(r, REGEX_CONCAT);
	struct regex_node *last = NULL; /* may still be repeated; not in the list yet */
	struct regex_node **tail;

	if (concat == NULL)
		return NULL;
	tail = &concat->first;
	for (;;) {
		char c;

		skip_space(r);
		c = byte(r, 0);
		if (c == '*' || c == '+' || c == '?' || c == '{') {
			if (parse_repeat(r, &last) < 0)
				return NULL;
			continue;
		}
		if (last && last->kind != REGEX_EMPTY) {
			*tail = last;
			tail = &last->next;
			if (add_height(r, concat, last) < 0)
				return NULL;
		}
		if (r->pos >= r->n || c == '|' || c == ')')
			break;
		if (parse_item(r, &last) < 0)
			return NULL;
	}
	if (concat->first == NULL)
		concat->kind = REGEX_EMPTY;
	else if (concat->first->next == NULL)
		return concat->first;
	return concat;
}

/* Branches up to ')' or the end. */
static struct regex_node *
parse_group_body(struct parser *r)
{
	struct regex_node *alternate = new_node(r, REGEX_ALTERNATE);
	struct regex_node **tail;

	if (alternate == NULL)
		return NULL;
	tail = &alternate->first;
	do {
		*tail = parse_branch(r);
		if (*tail == NULL || add_height(r, alternate, *tail) < 0)
			return NULL;
		tail = &(*tail)->next;
	} while (take(r, "|"));
	return alternate->first->next ? alternate : alternate->first;
}

struct regex_node *
regex_parse(const char *pattern, size_t len, struct arena *a, struct err *e)
{
	struct parser r = {.p = pattern, .n = len, .arena = a, .err = e};
	struct regex_node *root;

	if (len > REGEX_PATTERN_MAX) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "pattern longer than %d bytes", REGEX_PATTERN_MAX);
		return NULL;
	}
	if (!utf8_is_valid(slice_make(pattern, len))) {
		err_set(e, ERR_INVALID_ARGUMENT, "pattern is not UTF-8");
		return NULL;
	}
	root = parse_group_body(&r);
	if (root == NULL)
		return NULL;
	if (r.pos < r.n) {
		fail(&r, r.pos, "unmatched \")\"");
		return NULL;
	}
	return root;
}
