/*
 * The pattern language: text to tree. What the reference's parser refuses is refused here, so that a file means the same to both.
 * Laziness is read and forgotten: it cannot change whether there is a match.
 */
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/regex_parser.h"
#include "text/utf8.h"

struct regex_group_name {
	struct regex_group_name *next;
	const char *text;
	size_t len;
};

static struct regex_node *parse_group_body(struct regex_parser *r);

static struct regex_node *
new_node(struct regex_parser *r, enum regex_kind kind)
{
	struct regex_node *node = arena_alloc(r->arena, sizeof(*node));

	if (node == NULL)
		regex_fail_size(r);
	else
		node->kind = kind;
	return node;
}

/* Accounts for a child's height. */
static int
add_height(struct regex_parser *r, struct regex_node *node, const struct regex_node *child)
{
	if (child->height >= REGEX_HEIGHT_MAX)
		return regex_fail(r, r->pos, "nesting too deep");
	if (node->height < child->height + 1)
		node->height = child->height + 1;
	return 0;
}

static struct regex_node *
new_set_node(struct regex_parser *r, struct regex_set *set)
{
	struct regex_node *node = set ? new_node(r, REGEX_SET) : NULL;

	if (node)
		node->set = set;
	return node;
}

static struct regex_node *
new_assert(struct regex_parser *r, enum regex_assert assertion)
{
	struct regex_node *node = new_node(r, REGEX_ASSERT);

	if (node)
		node->assertion = assertion;
	return node;
}

/* ---- groups and flags ---- */

static int
parse_group_name(struct regex_parser *r, size_t open)
{
	size_t start = r->pos;
	struct regex_group_name *name;

	for (; regex_byte(r, 0) != '>'; regex_next(r)) {
		uint32_t c = regex_peek(r);
		bool is_inner = regex_is_digit(c) || c == '.' || c == '[' || c == ']';

		if (c == REGEX_END)
			return regex_fail(r, open, "unfinished group name");
		if (!regex_is_letter(c) && c != '_' && c < 0x80 && !(is_inner && r->pos > start))
			return regex_fail(r, r->pos, "bad character in a group name");
	}
	if (r->pos == start)
		return regex_fail(r, start, "empty group name");
	for (const struct regex_group_name *it = r->names; it; it = it->next)
		if (it->len == r->pos - start && memcmp(it->text, r->p + start, it->len) == 0)
			return regex_fail(r, start, "group name used twice");
	name = arena_alloc(r->arena, sizeof(*name));
	if (name == NULL)
		return regex_fail_size(r);
	*name = (struct regex_group_name){r->names, r->p + start, r->pos - start};
	r->names = name;
	r->pos++;
	return 0;
}

/* "i-s" behind "(?", up to ':' or ')', which stays. */
static int
parse_flags(struct regex_parser *r, size_t open)
{
	static const char known[] = "imsxUuR";
	bool seen[sizeof(known) - 1] = {false};
	bool is_negated = false;
	size_t start = r->pos;

	for (; regex_byte(r, 0) != ':' && regex_byte(r, 0) != ')'; regex_next(r)) {
		uint32_t c = regex_peek(r);
		const char *at;

		if (c == REGEX_END)
			return regex_fail(r, open, "missing \")\"");
		if (c == '-') {
			if (is_negated)
				return regex_fail(r, r->pos, "second \"-\" among flags");
			is_negated = true;
			continue;
		}
		at = c < 0x80 && c > 0 ? strchr(known, (int)c) : NULL;
		if (at == NULL)
			return regex_fail(r, r->pos, "unknown flag");
		if (seen[at - known])
			return regex_fail(r, r->pos, "flag given twice");
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
		return regex_fail(r, r->pos - 1, "no flag behind \"-\"");
	if (r->pos == start && regex_byte(r, 0) == ')')
		return regex_fail(r, open, "nothing to repeat");
	return 0;
}

/* A group at its "(". *out is NULL when it only sets flags. */
static int
parse_group(struct regex_parser *r, struct regex_node **out)
{
	static const char *const look_around[] = {"?=", "?!", "?<=", "?<!"};
	size_t open = r->pos;
	struct regex_flags outside = r->flags;

	r->pos++;
	regex_skip_space(r);
	for (size_t i = 0; i < COUNT_OF(look_around); i++)
		if (regex_at_text(r, look_around[i]))
			return regex_fail(r, open, "look-around is not supported");
	if (regex_take(r, "?P<") || regex_take(r, "?<")) {
		if (parse_group_name(r, open) < 0)
			return -1;
	} else if (regex_take(r, "?")) {
		if (r->pos >= r->n)
			return regex_fail(r, open, "missing \")\"");
		if (parse_flags(r, open) < 0)
			return -1;
		*out = NULL;
		if (regex_take(r, ")"))
			return 0;
		r->pos++;
	}
	if (++r->depth > REGEX_DEPTH_MAX)
		return regex_fail(r, open, "nesting too deep");
	*out = parse_group_body(r);
	if (*out == NULL)
		return -1;
	if (!regex_take(r, ")"))
		return regex_fail(r, open, "missing \")\"");
	r->depth--;
	r->flags = outside;
	return 0;
}

/* ---- repetition ---- */

/* Digits with blanks around; at most REGEX_REPEAT_MAX. */
static int
parse_count(struct regex_parser *r, uint32_t *out)
{
	size_t start;

	while (regex_is_space(regex_peek(r)))
		regex_next(r);
	start = r->pos;
	for (*out = 0; regex_is_digit((unsigned char)regex_byte(r, 0)); r->pos++) {
		*out = *out * 10 + (uint32_t)(regex_byte(r, 0) - '0');
		if (*out > REGEX_REPEAT_MAX)
			return regex_fail(r, start, "repetition count larger than %d", REGEX_REPEAT_MAX);
	}
	if (r->pos == start)
		return regex_fail(r, start, "repetition count missing");
	while (regex_is_space(regex_peek(r)))
		regex_next(r);
	return 0;
}

/* "{n}", "{n,}" or "{n,m}" at pos. */
static int
parse_counted(struct regex_parser *r, uint32_t *min, uint32_t *max)
{
	size_t start = r->pos;

	r->pos++;
	if (parse_count(r, min) < 0)
		return -1;
	*max = *min;
	if (regex_take(r, ",")) {
		*max = REGEX_NO_LIMIT;
		regex_skip_space(r);
		if (regex_byte(r, 0) != '}' && parse_count(r, max) < 0)
			return -1;
	}
	if (!regex_take(r, "}"))
		return regex_fail(r, start, "missing \"}\"");
	if (*min > *max)
		return regex_fail(r, start, "repetition range out of order");
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
parse_repeat(struct regex_parser *r, struct regex_node **item)
{
	uint32_t min = 0;
	uint32_t max = REGEX_NO_LIMIT;
	size_t start = r->pos;
	struct regex_node *node;
	char c = regex_byte(r, 0);

	if (*item == NULL)
		return regex_fail(r, start, "nothing to repeat");
	if (c == '{') {
		if (parse_counted(r, &min, &max) < 0)
			return -1;
	} else {
		r->pos++;
		min = c == '+' ? 1 : 0;
		max = c == '?' ? 1 : REGEX_NO_LIMIT;
	}
	regex_take(r, "?");
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
parse_item(struct regex_parser *r, struct regex_node **out)
{
	struct regex_atom atom = {.kind = REGEX_ATOM_SET};

	*out = NULL;
	switch (regex_byte(r, 0)) {
	case '(':
		return parse_group(r, out);
	case '[':
		atom.set = regex_parse_bracket(r);
		break;
	case '^':
		r->pos++;
		atom = (struct regex_atom){.kind = REGEX_ATOM_ASSERT, .assertion = r->flags.lines ? REGEX_LINE_START : REGEX_TEXT_START};
		break;
	case '$':
		r->pos++;
		atom = (struct regex_atom){.kind = REGEX_ATOM_ASSERT, .assertion = r->flags.lines ? REGEX_LINE_END : REGEX_TEXT_END};
		break;
	case '.':
		r->pos++;
		atom.set = regex_new_class(r, r->flags.dot_all ? "" : "\n\n", true);
		break;
	case '\\':
		if (regex_parse_escape(r, &atom) < 0)
			return -1;
		break;
	default:
		atom = (struct regex_atom){.kind = REGEX_ATOM_CHAR, .code = regex_next(r)};
		break;
	}
	if (atom.kind == REGEX_ATOM_CHAR)
		atom.set = regex_new_range(r, atom.code, atom.code);
	*out = atom.kind == REGEX_ATOM_ASSERT ? new_assert(r, atom.assertion) : new_set_node(r, atom.set);
	return *out ? 0 : -1;
}

/* Items up to '|', ')' or the end. */
static struct regex_node *
parse_branch(struct regex_parser *r)
{
	struct regex_node *concat = new_node(r, REGEX_CONCAT);
	struct regex_node *last = NULL; /* may still be repeated; not in the list yet */
	struct regex_node **tail;

	if (concat == NULL)
		return NULL;
	tail = &concat->first;
	for (;;) {
		char c;

		regex_skip_space(r);
		c = regex_byte(r, 0);
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
parse_group_body(struct regex_parser *r)
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
	} while (regex_take(r, "|"));
	return alternate->first->next ? alternate : alternate->first;
}

struct regex_node *
regex_parse(const char *pattern, size_t len, struct arena *a, struct err *e)
{
	struct regex_parser r = {.p = pattern, .n = len, .arena = a, .err = e};
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
		regex_fail(&r, r.pos, "unmatched \")\"");
		return NULL;
	}
	return root;
}
