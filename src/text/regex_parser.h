/*
 * What regex_parse.c (groups, repetitions, branches) and regex_class.c (characters, escapes, classes) share; nobody else includes this.
 */
#ifndef TEXT_REGEX_PARSER_H
#define TEXT_REGEX_PARSER_H

#include "base/slice.h"
#include "text/regex.h"
#include "text/regex_tree.h"

/* No code point: the pattern is at its end. */
#define REGEX_END UINT32_MAX

struct regex_flags {
	bool fold;              /* i */
	bool lines;             /* m */
	bool dot_all;           /* s */
	bool spaced;            /* x */
};

struct regex_group_name;

struct regex_parser {
	const char *p;          /* valid UTF-8 */
	size_t n;
	size_t pos;
	unsigned depth;
	struct regex_flags flags;
	struct regex_group_name *names;      /* used so far */
	struct arena *arena;
	struct err *err;
};

/* What one escape or one plain character stands for. */
struct regex_atom {
	enum { REGEX_ATOM_CHAR, REGEX_ATOM_SET, REGEX_ATOM_ASSERT } kind;
	uint32_t code;
	struct regex_set *set;
	enum regex_assert assertion;
};

/* Sets "<text> at offset <at>"; always -1. */
int regex_fail(struct regex_parser *r, size_t at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int regex_fail_size(struct regex_parser *r);

/* The code point at pos, REGEX_END at the end; next also moves past it. */
uint32_t regex_peek(const struct regex_parser *r);
uint32_t regex_next(struct regex_parser *r);
/* Whether this text is at pos; take also moves past it. */
bool regex_at_text(const struct regex_parser *r, const char *text);
bool regex_take(struct regex_parser *r, const char *text);
/* With the x flag: past white space and comments. */
void regex_skip_space(struct regex_parser *r);

/* Sets in the arena; NULL when it is full. One range with case folded when the flag says so; characters listed as pairs "azAZ". */
struct regex_set *regex_new_range(struct regex_parser *r, uint32_t lo, uint32_t hi);
struct regex_set *regex_new_class(struct regex_parser *r, const char *pairs, bool is_negated);

/* A backslash at pos. */
int regex_parse_escape(struct regex_parser *r, struct regex_atom *out);
/* A class at its "[". */
struct regex_set *regex_parse_bracket(struct regex_parser *r);

/* The byte k after pos, 0 past the end: enough where only ASCII is asked for. */
static inline char
regex_byte(const struct regex_parser *r, size_t k)
{
	return r->pos + k < r->n ? r->p[r->pos + k] : '\0';
}

static inline bool
regex_is_space(uint32_t c)
{
	return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0x200E || c == 0x200F || c == 0x2028 || c == 0x2029;
}

static inline bool
regex_is_letter(uint32_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool
regex_is_digit(uint32_t c)
{
	return c >= '0' && c <= '9';
}

#endif
