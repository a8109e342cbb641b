/*
 * From tree to automaton (Thompson's construction), and the search: all states at once, one character after the other.
 * Patterns that are a plain text, once ".*" at both ends is gone, are searched as such.
 */
#include "text/regex.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/regex_tree.h"
#include "text/utf8.h"

/* Memory for parsing one pattern of at most REGEX_PATTERN_MAX bytes; a few hundred bytes a pattern byte. */
#define PARSE_MEMORY_MAX ((size_t)4 * 1024 * 1024)
/* Ranges past ASCII of all sets of one pattern together. */
#define RANGES_MAX ((size_t)64 * 1024)

enum op {
	OP_CHAR,        /* one character: code */
	OP_SET,         /* one character of set[x] */
	OP_SPLIT,       /* go on at x and at y */
	OP_JUMP,        /* go on at x */
	OP_ASSERT,      /* go on behind when assertion x holds */
	OP_MATCH,
};

struct inst {
	uint8_t op;
	uint16_t x;
	uint16_t y;
	uint32_t code;
};

struct set {
	uint64_t ascii[2];
	size_t from;                    /* ranges past ASCII: [from, to) of the common table */
	size_t to;
};

struct regex {
	struct inst *prog;
	size_t prog_len;
	struct set *sets;
	size_t set_count;
	struct regex_range *ranges;
	size_t range_count;
	bool is_literal;
	char *literal;
	size_t literal_len;
	bool is_anchored;               /* can only match from the start of the subject */
	bool has_first;                 /* a match has at least a character, and its first byte is one of first */
	bool first[256];
};

struct compiler {
	struct regex *re;
	size_t prog_cap;
	size_t set_cap;
	size_t range_cap;
	struct err *err;
};

/* ---- compiling ---- */

static int
emit(struct compiler *c, enum op op, size_t x, uint32_t code)
{
	struct regex *re = c->re;

	if (re->prog_len >= REGEX_STATES_MAX)
		return err_set(c->err, ERR_RESOURCE_EXHAUSTED, "pattern too large: more than %d states", REGEX_STATES_MAX);
	if (re->prog_len == c->prog_cap) {
		c->prog_cap = c->prog_cap ? 2 * c->prog_cap : 16;
		re->prog = xrealloc(re->prog, c->prog_cap * sizeof(*re->prog));
	}
	re->prog[re->prog_len++] = (struct inst){.op = (uint8_t)op, .x = (uint16_t)x, .code = code};
	return 0;
}

/* Puts a set into the tables, once however often it is repeated. */
static int
place_set(struct compiler *c, struct regex_set *from)
{
	struct regex *re = c->re;
	struct set *to;

	if (from->place > 0)
		return 0;
	if (re->set_count == c->set_cap) {
		c->set_cap = c->set_cap ? 2 * c->set_cap : 8;
		re->sets = xrealloc(re->sets, c->set_cap * sizeof(*re->sets));
	}
	to = &re->sets[re->set_count++];
	*to = (struct set){.from = re->range_count};
	for (size_t i = 0; i < from->count; i++) {
		struct regex_range r = from->ranges[i];

		for (; r.lo <= r.hi && r.lo < 128; r.lo++)
			to->ascii[r.lo / 64] |= UINT64_C(1) << r.lo % 64;
		if (r.lo > r.hi)
			continue;
		if (re->range_count == RANGES_MAX)
			return err_set(c->err, ERR_RESOURCE_EXHAUSTED, "pattern too large");
		if (re->range_count == c->range_cap) {
			c->range_cap = c->range_cap ? 2 * c->range_cap : 8;
			re->ranges = xrealloc(re->ranges, c->range_cap * sizeof(*re->ranges));
		}
		re->ranges[re->range_count++] = r;
	}
	to->to = re->range_count;
	from->place = re->set_count;
	return 0;
}

static int compile(struct compiler *c, const struct regex_node *node);

static int
compile_alternate(struct compiler *c, const struct regex_node *node)
{
	struct regex *re = c->re;
	size_t last_jump = 0;           /* jumps to the end, linked through x until it is known; place + 1 */

	for (const struct regex_node *it = node->first; it; it = it->next) {
		size_t split = re->prog_len;

		if (it->next && emit(c, OP_SPLIT, re->prog_len + 1, 0) < 0)
			return -1;
		if (compile(c, it) < 0)
			return -1;
		if (it->next == NULL)
			break;
		if (emit(c, OP_JUMP, last_jump, 0) < 0)
			return -1;
		last_jump = re->prog_len;
		re->prog[split].y = (uint16_t)re->prog_len;
	}
	while (last_jump > 0) {
		struct inst *jump = &re->prog[last_jump - 1];

		last_jump = jump->x;
		jump->x = (uint16_t)re->prog_len;
	}
	return 0;
}

static int
compile_repeat(struct compiler *c, const struct regex_node *node)
{
	struct regex *re = c->re;
	size_t body = re->prog_len;
	size_t last_split = 0;          /* as last_jump above, through y */

	for (uint32_t i = 0; i < node->min; i++) {
		body = re->prog_len;
		if (compile(c, node->first) < 0)
			return -1;
	}
	if (node->max == REGEX_NO_LIMIT && node->min > 0) {
		if (emit(c, OP_SPLIT, body, 0) < 0)
			return -1;
		re->prog[re->prog_len - 1].y = (uint16_t)re->prog_len;
		return 0;
	}
	if (node->max == REGEX_NO_LIMIT) {
		if (emit(c, OP_SPLIT, body + 1, 0) < 0 || compile(c, node->first) < 0 || emit(c, OP_JUMP, body, 0) < 0)
			return -1;
		re->prog[body].y = (uint16_t)re->prog_len;
		return 0;
	}
	for (uint32_t i = node->min; i < node->max; i++) {
		size_t split = re->prog_len;

		if (emit(c, OP_SPLIT, split + 1, 0) < 0)
			return -1;
		re->prog[split].y = (uint16_t)last_split;
		last_split = split + 1;
		if (compile(c, node->first) < 0)
			return -1;
	}
	while (last_split > 0) {
		struct inst *split = &re->prog[last_split - 1];

		last_split = split->y;
		split->y = (uint16_t)re->prog_len;
	}
	return 0;
}

static bool
is_one_char(const struct regex_set *set)
{
	return set->count == 1 && set->ranges[0].lo == set->ranges[0].hi;
}

static int
compile(struct compiler *c, const struct regex_node *node)
{
	switch (node->kind) {
	case REGEX_EMPTY:
		return 0;
	case REGEX_SET:
		if (is_one_char(node->set))
			return emit(c, OP_CHAR, 0, node->set->ranges[0].lo);
		return place_set(c, node->set) < 0 ? -1 : emit(c, OP_SET, node->set->place - 1, 0);
	case REGEX_CONCAT:
		for (const struct regex_node *it = node->first; it; it = it->next)
			if (compile(c, it) < 0)
				return -1;
		return 0;
	case REGEX_ALTERNATE:
		return compile_alternate(c, node);
	case REGEX_REPEAT:
		return compile_repeat(c, node);
	case REGEX_ASSERT:
		return emit(c, OP_ASSERT, (size_t)node->assertion, 0);
	}
	return 0;
}

/* ---- shortcuts ---- */

/*
 * A repetition at either end of the pattern needs no more than its least count: whoever looks for any match anywhere does not
 * care how much further it reaches. Returns what is left of it, NULL for nothing.
 */
static struct regex_node *
least(struct regex_node *node)
{
	if (node->kind != REGEX_REPEAT)
		return node;
	if (node->min == 0)
		return NULL;
	node->max = node->min;
	return node;
}

/* Shortens the pattern at both ends; the result is the list of its items. */
static struct regex_node *
trim(struct regex_node *root)
{
	struct regex_node *items = root->kind == REGEX_CONCAT ? root->first : root;
	struct regex_node **last;

	if (root->kind == REGEX_EMPTY)
		return NULL;
	while (items && least(items) == NULL)
		items = items->next;
	while (items) {
		for (last = &items; (*last)->next; last = &(*last)->next)
			;
		if (least(*last))
			break;
		*last = NULL;
	}
	return items;
}

/* Keeps the bytes when the items are nothing but characters. */
static void
find_literal(struct regex *re, const struct regex_node *items)
{
	uint8_t bytes[UTF8_MAX];
	size_t len = 0;

	for (const struct regex_node *it = items; it; it = it->next) {
		if (it->kind != REGEX_SET || !is_one_char(it->set))
			return;
		if (it->set->ranges[0].lo >= 0xD800 && it->set->ranges[0].lo <= 0xDFFF)
			return;
		len += UTF8_MAX;
	}
	re->literal = xmalloc(len);
	re->is_literal = true;
	for (const struct regex_node *it = items; it; it = it->next) {
		size_t n = utf8_encode(it->set->ranges[0].lo, bytes);

		memcpy(re->literal + re->literal_len, bytes, n);
		re->literal_len += n;
	}
}

/* Which bytes a match can start with: those of every state reachable from the first without reading. */
static void
find_first(struct regex *re)
{
	bool seen[REGEX_STATES_MAX] = {false};
	uint16_t stack[REGEX_STATES_MAX];
	size_t depth = 0;

	stack[depth++] = 0;
	seen[0] = true;
	while (depth > 0) {
		const struct inst *in = &re->prog[stack[--depth]];
		uint16_t at = (uint16_t)(in - re->prog);
		uint16_t to[2] = {(uint16_t)(at + 1), (uint16_t)(at + 1)};
		const struct set *set;

		switch ((enum op)in->op) {
		case OP_MATCH:
			return;
		case OP_CHAR:
			if (in->code < 128)
				re->first[in->code] = true;
			else
				memset(re->first + 128, true, 128);
			continue;
		case OP_SET:
			set = &re->sets[in->x];
			for (size_t b = 0; b < 128; b++)
				re->first[b] |= set->ascii[b / 64] >> b % 64 & 1;
			if (set->to > set->from)
				memset(re->first + 128, true, 128);
			continue;
		case OP_SPLIT:
			to[0] = in->x;
			to[1] = in->y;
			break;
		case OP_JUMP:
			to[0] = to[1] = in->x;
			break;
		case OP_ASSERT:
			break;
		}
		for (size_t i = 0; i < 2; i++)
			if (!seen[to[i]]) {
				seen[to[i]] = true;
				stack[depth++] = to[i];
			}
	}
	re->has_first = true;
}

struct regex *
regex_compile(const char *pattern, size_t len, struct err *e)
{
	struct arena arena;
	struct regex_node *root;
	struct regex_node *items;
	struct regex *re = NULL;
	struct compiler c;

	arena_init(&arena, PARSE_MEMORY_MAX);
	root = regex_parse(pattern, len, &arena, e);
	if (root == NULL)
		goto fail;
	re = xcalloc(1, sizeof(*re));
	c = (struct compiler){.re = re, .err = e};
	items = trim(root);
	find_literal(re, items);
	if (re->is_literal)
		goto done;
	re->is_anchored = items && items->kind == REGEX_ASSERT && items->assertion == REGEX_TEXT_START;
	for (const struct regex_node *it = items; it; it = it->next)
		if (compile(&c, it) < 0)
			goto fail;
	if (emit(&c, OP_MATCH, 0, 0) < 0)
		goto fail;
	find_first(re);
done:
	arena_free(&arena);
	return re;
fail:
	arena_free(&arena);
	regex_free(re);
	return NULL;
}

void
regex_free(struct regex *re)
{
	if (re == NULL)
		return;
	free(re->prog);
	free(re->sets);
	free(re->ranges);
	free(re->literal);
	free(re);
}

/* ---- searching ---- */

struct states {
	size_t count;
	uint16_t list[REGEX_STATES_MAX];        /* those that read a character */
	uint64_t seen[REGEX_STATES_MAX / 64];
};

struct search {
	const struct regex *re;
	const unsigned char *s;
	size_t n;
	uint16_t stack[REGEX_STATES_MAX];
};

static bool
is_word_at(const struct search *m, size_t at)
{
	unsigned char c;

	if (at >= m->n)
		return false;
	c = m->s[at];
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Whether the assertion holds between the bytes at - 1 and at. */
static bool
holds(const struct search *m, enum regex_assert assertion, size_t at)
{
	bool before = at > 0 && is_word_at(m, at - 1);
	bool after = is_word_at(m, at);

	switch (assertion) {
	case REGEX_TEXT_START:
		return at == 0;
	case REGEX_TEXT_END:
		return at == m->n;
	case REGEX_LINE_START:
		return at == 0 || m->s[at - 1] == '\n';
	case REGEX_LINE_END:
		return at == m->n || m->s[at] == '\n';
	case REGEX_WORD:
		return before != after;
	case REGEX_NOT_WORD:
		return before == after;
	case REGEX_WORD_START:
		return !before && after;
	case REGEX_WORD_END:
		return before && !after;
	case REGEX_WORD_START_HALF:
		return !before;
	case REGEX_WORD_END_HALF:
		return !after;
	}
	return false;
}

/* Marks a state; false when it was marked before. */
static bool
mark(struct states *to, uint16_t state)
{
	uint64_t bit = UINT64_C(1) << state % 64;

	if (to->seen[state / 64] & bit)
		return false;
	to->seen[state / 64] |= bit;
	return true;
}

/* Adds a state and all that follow from it without reading, at place `at` of the subject. True when the match is among them. */
static bool
add_state(struct search *m, struct states *to, uint16_t state, size_t at)
{
	size_t depth = 0;

	if (!mark(to, state))
		return false;
	m->stack[depth++] = state;
	while (depth > 0) {
		uint16_t here = m->stack[--depth];
		const struct inst *in = &m->re->prog[here];

		switch ((enum op)in->op) {
		case OP_MATCH:
			return true;
		case OP_CHAR:
		case OP_SET:
			to->list[to->count++] = here;
			break;
		case OP_SPLIT:
			if (mark(to, in->y))
				m->stack[depth++] = in->y;
			if (mark(to, in->x))
				m->stack[depth++] = in->x;
			break;
		case OP_JUMP:
			if (mark(to, in->x))
				m->stack[depth++] = in->x;
			break;
		case OP_ASSERT:
			if (holds(m, (enum regex_assert)in->x, at) && mark(to, (uint16_t)(here + 1)))
				m->stack[depth++] = (uint16_t)(here + 1);
			break;
		}
	}
	return false;
}

static bool
takes(const struct regex *re, const struct inst *in, uint32_t code)
{
	const struct set *set;

	if (in->op == OP_CHAR)
		return in->code == code;
	set = &re->sets[in->x];
	if (code < 128)
		return set->ascii[code / 64] >> code % 64 & 1;
	for (size_t i = set->from; i < set->to; i++)
		if (code >= re->ranges[i].lo && code <= re->ranges[i].hi)
			return true;
	return false;
}

static void
clear(const struct regex *re, struct states *s)
{
	s->count = 0;
	memset(s->seen, 0, (re->prog_len + 63) / 64 * sizeof(s->seen[0]));
}

static bool
search_literal(const struct regex *re, const char *s, size_t n)
{
	const char *end;

	if (re->literal_len == 0)
		return true;
	if (n < re->literal_len)
		return false;
	end = s + (n - re->literal_len) + 1;
	while (s < end && (s = memchr(s, re->literal[0], (size_t)(end - s))) != NULL) {
		if (memcmp(s, re->literal, re->literal_len) == 0)
			return true;
		s++;
	}
	return false;
}

bool
regex_search(const struct regex *re, const char *s, size_t n)
{
	struct states lists[2];
	struct states *now = &lists[0];
	struct states *then = &lists[1];
	struct search m;
	size_t at = 0;

	if (re->is_literal)
		return search_literal(re, s, n);
	m.re = re;
	m.s = (const unsigned char *)s;
	m.n = n;
	now->count = 0;
	for (;;) {
		struct states *swap = now;
		uint32_t code;
		size_t len = 1;

		if (now->count == 0) {
			if (re->is_anchored && at > 0)
				return false;
			while (re->has_first && at < n && !re->first[m.s[at]])
				if (re->is_anchored)
					return false;
				else
					at++;
			clear(re, now);
		}
		if ((!re->is_anchored || at == 0) && add_state(&m, now, 0, at))
			return true;
		if (at == n)
			return false;
		code = m.s[at];
		if (code >= 128) {
			size_t bad;

			len = utf8_decode(slice_make(s + at, n - at), &code, &bad);
			if (len == 0) {
				len = 1;
				code = UTF8_REPLACEMENT;
			}
		}
		clear(re, then);
		for (size_t i = 0; i < now->count; i++) {
			const struct inst *in = &re->prog[now->list[i]];

			if (takes(re, in, code) && add_state(&m, then, (uint16_t)(now->list[i] + 1), at + len))
				return true;
		}
		at += len;
		now = then;
		then = swap;
	}
}
