/*
 * What regex_parse.c hands to regex.c, and regex_set.c serves to both: a pattern as a tree over sets of characters. Nobody else includes this.
 */
#ifndef TEXT_REGEX_TREE_H
#define TEXT_REGEX_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;

#define REGEX_CODE_MAX 0x10FFFFu
#define REGEX_NO_LIMIT UINT32_MAX
#define REGEX_HEIGHT_MAX 600    /* of a tree: twice the nesting allowed, and then some; bounds the recursion of compiling */

struct regex_range {
	uint32_t lo;
	uint32_t hi;
};

/* Characters, as ranges. Sorted, not touching each other once regex_set_tidy was called. */
struct regex_set {
	struct regex_range *ranges;
	size_t count;
	size_t cap;
	size_t place;           /* 1 + place in the compiled table; 0 while not there */
};

/* All take memory from the arena and return -1 when it is full. The inputs are tidy, and so are the results. */
int regex_set_add(struct regex_set *s, struct arena *a, uint32_t lo, uint32_t hi);      /* not tidy afterwards */
int regex_set_add_set(struct regex_set *s, struct arena *a, const struct regex_set *other);
void regex_set_tidy(struct regex_set *s);
int regex_set_negate(struct regex_set *s, struct arena *a);
int regex_set_intersect(struct regex_set *s, struct arena *a, const struct regex_set *other);
int regex_set_subtract(struct regex_set *s, struct arena *a, const struct regex_set *other);
/* Adds the other case of each ASCII letter inside. */
int regex_set_fold(struct regex_set *s, struct arena *a);

enum regex_kind { REGEX_EMPTY, REGEX_SET, REGEX_CONCAT, REGEX_ALTERNATE, REGEX_REPEAT, REGEX_ASSERT };

enum regex_assert {
	REGEX_TEXT_START, REGEX_TEXT_END, REGEX_LINE_START, REGEX_LINE_END, REGEX_WORD, REGEX_NOT_WORD, REGEX_WORD_START, REGEX_WORD_END,
	REGEX_WORD_START_HALF, REGEX_WORD_END_HALF,
};

struct regex_node {
	enum regex_kind kind;
	enum regex_assert assertion;
	struct regex_set *set;
	uint32_t min;                   /* REGEX_REPEAT */
	uint32_t max;                   /* or REGEX_NO_LIMIT */
	unsigned height;                /* nodes below each other, at most REGEX_HEIGHT_MAX */
	struct regex_node *first;       /* children */
	struct regex_node *next;
};

/* NULL with e set. A tree has no REGEX_EMPTY inside REGEX_CONCAT and REGEX_REPEAT. */
struct regex_node *regex_parse(const char *pattern, size_t len, struct arena *a, struct err *e);

#endif
