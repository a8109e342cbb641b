/*
 * YAML scalars: quoting, escapes, folding, block scalars, and what an unquoted text means.
 */
#include <limits.h>
#include <string.h>

#include "base/arena.h"
#include "base/hex.h"
#include "base/mem.h"
#include "text/utf8.h"
#include "text/yaml_parser.h"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_one_of(const char *text, size_t len, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(words[i]) == len && memcmp(words[i], text, len) == 0)
			return true;
	return false;
}

/* Digits in one base behind "0x", "0o", "0b". */
static bool
is_based_int(const char *s, size_t n)
{
	int base;

	if (n < 3 || s[0] != '0')
		return false;
	base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : s[1] == 'b' ? 2 : 0;
	for (size_t i = 2; i < n; i++) {
		int v = hex_value((uint8_t)s[i]);

		if (v < 0 || v >= base)
			return false;
	}
	return base != 0;
}

static bool
is_int(const char *s, size_t n)
{
	if (n > 0 && (s[0] == '-' || s[0] == '+')) {
		s++;
		n--;
	}
	if (n == 0)
		return false;
	if (is_based_int(s, n))
		return true;
	if (s[0] == '0' && n > 1)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_digit(s[i]))
			return false;
	return true;
}

static bool
is_float(const char *s, size_t n)
{
	static const char *const infinite[] = {".inf", ".Inf", ".INF"};
	static const char *const nan[] = {".nan", ".NaN", ".NAN"};
	size_t i = 0;
	size_t digits = 0;
	bool is_marked = false;         /* a point or an exponent: without one it is no float */

	if (is_one_of(s, n, nan, COUNT_OF(nan)))
		return true;
	if (n > 0 && (s[0] == '-' || s[0] == '+')) {
		s++;
		n--;
	}
	if (is_one_of(s, n, infinite, COUNT_OF(infinite)))
		return true;
	for (; i < n && is_digit(s[i]); i++)
		digits++;
	if (i < n && s[i] == '.') {
		is_marked = true;
		for (i++; i < n && is_digit(s[i]); i++)
			digits++;
	}
	if (digits == 0)
		return false;
	if (i < n && (s[i] == 'e' || s[i] == 'E')) {
		is_marked = true;
		i++;
		if (i < n && (s[i] == '-' || s[i] == '+'))
			i++;
		if (i == n)
			return false;
		while (i < n && is_digit(s[i]))
			i++;
	}
	return is_marked && i == n;
}

enum yaml_type
yaml_resolve(const char *text, size_t len)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE"};

	if (is_one_of(text, len, nulls, COUNT_OF(nulls)))
		return YAML_NULL;
	if (is_one_of(text, len, bools, COUNT_OF(bools)))
		return YAML_BOOL;
	if (is_int(text, len))
		return YAML_INT;
	if (is_float(text, len))
		return YAML_FLOAT;
	return YAML_STR;
}

/* Gives node the bytes collected in scratch. */
static struct yaml_node *
finish(struct yaml_parser *y, struct yaml_node *node)
{
	char *copy = arena_copy(y->arena, buf_data(&y->scratch), y->scratch.len);

	if (copy == NULL)
		return yaml_fail(y, "document too large");
	node->text = copy;
	node->len = y->scratch.len;
	node->type = node->style == YAML_PLAIN ? yaml_resolve(copy, node->len) : YAML_STR;
	return node;
}

/* Skips line ends and blank lines up to something else; one line end is a blank in the text, each further one a newline. */
static void
fold_breaks(struct yaml_parser *y)
{
	size_t breaks = 0;

	while (yaml_is_break(yaml_peek(y, 0))) {
		yaml_skip_break(y);
		breaks++;
		yaml_skip_blanks(y);
	}
	if (breaks == 1)
		buf_append_u8(&y->scratch, ' ');
	for (size_t i = 1; i < breaks; i++)
		buf_append_u8(&y->scratch, '\n');
}

/* ---- quoted ---- */

/* Reads n hex digits at pos + k. */
static int
read_hex(struct yaml_parser *y, size_t k, size_t n, uint32_t *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		int v = hex_value((uint8_t)yaml_peek(y, k + i));

		if (v < 0)
			return -1;
		*out = *out << 4 | (uint32_t)v;
	}
	return 0;
}

/* \x \u \U at pos; a \u pair of surrogates, as JSON writes characters past U+FFFF, counts as the character it means. */
static int
read_code_escape(struct yaml_parser *y)
{
	char kind = yaml_peek(y, 1);
	size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
	size_t used = 2 + digits;
	uint8_t bytes[UTF8_MAX];
	uint32_t code;
	uint32_t low;

	if (read_hex(y, 2, digits, &code) < 0)
		goto bad;
	if (kind == 'u' && code >= 0xD800 && code < 0xDC00 && yaml_peek(y, 6) == '\\' && yaml_peek(y, 7) == 'u'
	    && read_hex(y, 8, 4, &low) == 0 && low >= 0xDC00 && low < 0xE000) {
		code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
		used += 6;
	}
	if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
		goto bad;
	buf_append(&y->scratch, bytes, utf8_encode(code, bytes));
	y->pos += used;
	return 0;
bad:
	yaml_fail(y, "bad escape \"\\%c\": %zu hex digits of a character must follow", kind, digits);
	return -1;
}

/* A backslash at pos, not before a line end. */
static int
read_escape(struct yaml_parser *y)
{
	static const struct {
		char name;
		const char *text;
		size_t len;
	} simple[] = {
		{'0', "\0", 1}, {'a', "\a", 1}, {'b', "\b", 1}, {'t', "\t", 1}, {'\t', "\t", 1}, {'n', "\n", 1}, {'v', "\v", 1}, {'f', "\f", 1},
		{'r', "\r", 1}, {'e', "\x1b", 1}, {' ', " ", 1}, {'"', "\"", 1}, {'/', "/", 1}, {'\\', "\\", 1},
		{'N', "\xC2\x85", 2}, {'_', "\xC2\xA0", 2}, {'L', "\xE2\x80\xA8", 3}, {'P', "\xE2\x80\xA9", 3},
	};
	char c = yaml_peek(y, 1);

	if (c == 'x' || c == 'u' || c == 'U')
		return read_code_escape(y);
	for (size_t i = 0; i < COUNT_OF(simple); i++)
		if (simple[i].name == c) {
			buf_append(&y->scratch, simple[i].text, simple[i].len);
			y->pos += 2;
			return 0;
		}
	if (c > ' ' && c <= '~')
		yaml_fail(y, "unknown escape \"\\%c\"; use single quotes for regexes", c);
	else
		yaml_fail(y, "unknown escape; use single quotes for regexes");
	return -1;
}

struct yaml_node *
yaml_read_quoted(struct yaml_parser *y)
{
	char quote = yaml_peek(y, 0);
	struct yaml_node *node = yaml_new_node(y, YAML_SCALAR, quote == '"' ? YAML_DOUBLE : YAML_SINGLE);
	size_t keep = 0;                /* bytes in scratch that a line end must not strip */

	if (node == NULL)
		return NULL;
	buf_clear(&y->scratch);
	y->pos++;
	for (;;) {
		char c = yaml_peek(y, 0);

		if (c == '\0' || yaml_at_marker(y))
			return yaml_fail_at(y, node->line, node->column, "unterminated quoted string starting here");
		if (c == quote && quote == '\'' && yaml_peek(y, 1) == '\'') {
			buf_append_u8(&y->scratch, '\'');
			y->pos += 2;
		} else if (c == quote) {
			y->pos++;
			return finish(y, node);
		} else if (c == '\\' && quote == '"' && yaml_is_break(yaml_peek(y, 1))) {
			y->pos++;
			yaml_skip_break(y);
			yaml_skip_blanks(y);
			while (yaml_is_break(yaml_peek(y, 0))) {
				buf_append_u8(&y->scratch, '\n');
				yaml_skip_break(y);
				yaml_skip_blanks(y);
			}
		} else if (c == '\\' && quote == '"') {
			if (read_escape(y) < 0)
				return NULL;
		} else if (yaml_is_break(c)) {
			y->scratch.len = keep;
			fold_breaks(y);
		} else {
			buf_append_u8(&y->scratch, (uint8_t)c);
			y->pos++;
			if (yaml_is_blank(c))
				continue;
		}
		keep = y->scratch.len;
	}
}

/* ---- plain ---- */

/* Appends the rest of this line as far as it belongs to the scalar, without blanks at its end. */
static void
read_plain_line(struct yaml_parser *y, bool is_flow)
{
	size_t end = y->pos;
	size_t at;

	for (at = y->pos; at < y->n; at++) {
		char c = y->p[at];
		char next = at + 1 < y->n ? y->p[at + 1] : '\0';

		if (yaml_is_break(c))
			break;
		if (yaml_is_blank(c)) {
			if (next == '#')
				break;
			continue;
		}
		if (c == ':' && (yaml_is_end(next) || (is_flow && yaml_is_flow_mark(next))))
			break;
		if (is_flow && yaml_is_flow_mark(c))
			break;
		end = at + 1;
	}
	buf_append(&y->scratch, y->p + y->pos, end - y->pos);
	y->pos = end;
}

/*
 * With pos behind the text of one line: goes on to the next line when that continues the scalar, else leaves pos where it is.
 * 1 when it does, 0 when not, -1 after an error.
 */
static int
next_plain_line(struct yaml_parser *y, int parent, bool is_flow)
{
	struct yaml_parser back = *y;
	size_t breaks = 0;
	char c;

	yaml_skip_blanks(y);
	while (yaml_is_break(yaml_peek(y, 0))) {
		yaml_skip_break(y);
		breaks++;
		while (yaml_peek(y, 0) == ' ')
			y->pos++;
		if (yaml_peek(y, 0) == '\t' && !is_flow) {
			struct yaml_parser tab = *y;

			yaml_skip_blanks(y);
			c = yaml_peek(y, 0);
			if (!yaml_is_end(c) && c != '#' && (int)(tab.pos - tab.line_start) <= parent) {
				yaml_fail_at(y, tab.line, yaml_column(&tab), "tab used for indentation");
				return -1;
			}
		}
		yaml_skip_blanks(y);
	}
	c = yaml_peek(y, 0);
	if (breaks == 0 || c == '\0' || c == '#' || yaml_at_marker(y))
		goto stop;
	if (is_flow ? yaml_is_flow_mark(c) || (c == ':' && yaml_is_end(yaml_peek(y, 1)))
	    : (int)(y->pos - y->line_start) <= parent || yaml_at_key(y))
		goto stop;
	if (breaks == 1)
		buf_append_u8(&y->scratch, ' ');
	for (size_t i = 1; i < breaks; i++)
		buf_append_u8(&y->scratch, '\n');
	return 1;
stop:
	y->pos = back.pos;
	y->line = back.line;
	y->line_start = back.line_start;
	return 0;
}

static struct yaml_node *
read_plain(struct yaml_parser *y, int parent, bool is_flow)
{
	struct yaml_node *node = yaml_new_node(y, YAML_SCALAR, YAML_PLAIN);
	int more;

	if (node == NULL)
		return NULL;
	buf_clear(&y->scratch);
	do {
		size_t before = y->scratch.len;

		read_plain_line(y, is_flow);
		if (!is_flow && yaml_peek(y, 0) == ':')
			return yaml_fail(y, "second \":\" in value; quote the value");
		if (y->scratch.len == before)
			break;
		more = next_plain_line(y, parent, is_flow);
		if (more < 0)
			return NULL;
	} while (more);
	return finish(y, node);
}

struct yaml_node *
yaml_read_plain(struct yaml_parser *y, int parent)
{
	return read_plain(y, parent, false);
}

struct yaml_node *
yaml_read_plain_flow(struct yaml_parser *y)
{
	return read_plain(y, -1, true);
}

struct yaml_node *
yaml_read_plain_key(struct yaml_parser *y)
{
	struct yaml_node *node = yaml_new_node(y, YAML_SCALAR, YAML_PLAIN);

	if (node == NULL)
		return NULL;
	buf_clear(&y->scratch);
	read_plain_line(y, false);
	return finish(y, node);
}

/* ---- block scalars ---- */

struct block_header {
	bool is_folded;
	char chomp;             /* '-', '+' or 0 */
	int indent;             /* from the header, or 0 */
};

static int
read_block_header(struct yaml_parser *y, struct block_header *h)
{
	*h = (struct block_header){.is_folded = yaml_peek(y, 0) == '>'};
	y->pos++;
	for (;; y->pos++) {
		char c = yaml_peek(y, 0);

		if ((c == '-' || c == '+') && h->chomp == 0)
			h->chomp = c;
		else if (c >= '1' && c <= '9' && h->indent == 0)
			h->indent = c - '0';
		else
			break;
	}
	if (yaml_is_end(yaml_peek(y, 0))) {
		yaml_skip_blanks(y);
		if (yaml_peek(y, 0) == '#' && yaml_is_blank(y->p[y->pos - 1]))
			while (y->pos < y->n && !yaml_is_break(yaml_peek(y, 0)))
				y->pos++;
		if (yaml_peek(y, 0) == '\0')
			return 0;
		if (yaml_is_break(yaml_peek(y, 0))) {
			yaml_skip_break(y);
			return 0;
		}
	}
	yaml_fail(y, "unexpected text after \"%c\"; the text starts on the next line", h->is_folded ? '>' : '|');
	return -1;
}

/* Column of the first line that is not blank, looked up without moving; with nothing but blank lines up to the end, past them all. */
static int
find_indent(const struct yaml_parser *y, int parent)
{
	size_t start = y->pos;
	size_t at = y->pos;

	for (; at < y->n && (y->p[at] == ' ' || yaml_is_break(y->p[at])); at++)
		if (yaml_is_break(y->p[at]))
			start = at + 1;
	if (at == y->n)
		return INT_MAX;
	return (int)(at - start) > parent ? (int)(at - start) : parent + 1;
}

struct yaml_node *
yaml_read_block_scalar(struct yaml_parser *y, int parent)
{
	struct yaml_node *node = yaml_new_node(y, YAML_SCALAR, yaml_peek(y, 0) == '>' ? YAML_FOLDED : YAML_LITERAL);
	struct block_header h;
	size_t breaks = 0;              /* line ends not yet written */
	bool is_first = true;
	bool was_deeper = false;        /* the line before starts with a blank: not folded */
	int indent;

	if (node == NULL || read_block_header(y, &h) < 0)
		return NULL;
	indent = h.indent > 0 ? (parent < 0 ? 0 : parent) + h.indent : find_indent(y, parent);
	buf_clear(&y->scratch);
	while (y->pos < y->n && !yaml_at_marker(y)) {
		struct yaml_parser line = *y;
		bool is_deeper;
		size_t end;

		while ((int)(y->pos - y->line_start) < indent && yaml_peek(y, 0) == ' ')
			y->pos++;
		if (yaml_is_break(yaml_peek(y, 0))) {
			yaml_skip_break(y);
			breaks++;
			continue;
		}
		if ((int)(y->pos - y->line_start) < indent || yaml_peek(y, 0) == '\0') {
			y->pos = line.pos;      /* not ours: the reader of structure decides what it is */
			break;
		}
		is_deeper = yaml_is_blank(yaml_peek(y, 0));
		if (h.is_folded && !is_first && breaks > 0 && !is_deeper && !was_deeper) {
			if (--breaks == 0)
				buf_append_u8(&y->scratch, ' ');
		}
		for (; breaks > 0; breaks--)
			buf_append_u8(&y->scratch, '\n');
		for (end = y->pos; end < y->n && !yaml_is_break(y->p[end]); end++)
			;
		buf_append(&y->scratch, y->p + y->pos, end - y->pos);
		y->pos = end;
		if (y->pos < y->n) {
			yaml_skip_break(y);
			breaks = 1;
		}
		is_first = false;
		was_deeper = is_deeper;
	}
	if (h.chomp == 0 && breaks > 0 && !is_first)
		buf_append_u8(&y->scratch, '\n');
	for (; h.chomp == '+' && breaks > 0; breaks--)
		buf_append_u8(&y->scratch, '\n');
	return finish(y, node);
}
