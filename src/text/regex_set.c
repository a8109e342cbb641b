/*
 * Sets of characters as sorted ranges.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/regex_tree.h"

int
regex_set_add(struct regex_set *s, struct arena *a, uint32_t lo, uint32_t hi)
{
	if (s->count == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 4;
		struct regex_range *ranges = arena_alloc(a, cap * sizeof(*ranges));

		if (ranges == NULL)
			return -1;
		if (s->count > 0)
			memcpy(ranges, s->ranges, s->count * sizeof(*ranges));
		s->ranges = ranges;
		s->cap = cap;
	}
	s->ranges[s->count++] = (struct regex_range){lo, hi};
	return 0;
}

static int
compare(const void *x, const void *y)
{
	const struct regex_range *a = x;
	const struct regex_range *b = y;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

void
regex_set_tidy(struct regex_set *s)
{
	size_t kept = 0;

	if (s->count == 0)
		return;
	qsort(s->ranges, s->count, sizeof(*s->ranges), compare);
	for (size_t i = 1; i < s->count; i++) {
		struct regex_range *last = &s->ranges[kept];

		if (s->ranges[i].lo > last->hi + 1)
			s->ranges[++kept] = s->ranges[i];
		else if (s->ranges[i].hi > last->hi)
			last->hi = s->ranges[i].hi;
	}
	s->count = kept + 1;
}

int
regex_set_add_set(struct regex_set *s, struct arena *a, const struct regex_set *other)
{
	for (size_t i = 0; i < other->count; i++)
		if (regex_set_add(s, a, other->ranges[i].lo, other->ranges[i].hi) < 0)
			return -1;
	regex_set_tidy(s);
	return 0;
}

int
regex_set_negate(struct regex_set *s, struct arena *a)
{
	struct regex_set out = {0};
	uint32_t from = 0;

	for (size_t i = 0; i < s->count; i++) {
		if (s->ranges[i].lo > from && regex_set_add(&out, a, from, s->ranges[i].lo - 1) < 0)
			return -1;
		from = s->ranges[i].hi + 1;
	}
	if (from <= REGEX_CODE_MAX && regex_set_add(&out, a, from, REGEX_CODE_MAX) < 0)
		return -1;
	*s = out;
	return 0;
}

int
regex_set_intersect(struct regex_set *s, struct arena *a, const struct regex_set *other)
{
	struct regex_set out = {0};
	size_t i = 0;
	size_t k = 0;

	while (i < s->count && k < other->count) {
		struct regex_range x = s->ranges[i];
		struct regex_range y = other->ranges[k];
		uint32_t lo = x.lo > y.lo ? x.lo : y.lo;
		uint32_t hi = x.hi < y.hi ? x.hi : y.hi;

		if (lo <= hi && regex_set_add(&out, a, lo, hi) < 0)
			return -1;
		if (x.hi < y.hi)
			i++;
		else
			k++;
	}
	*s = out;
	return 0;
}

int
regex_set_subtract(struct regex_set *s, struct arena *a, const struct regex_set *other)
{
	struct regex_set rest = *other;

	if (regex_set_negate(&rest, a) < 0)
		return -1;
	return regex_set_intersect(s, a, &rest);
}

int
regex_set_fold(struct regex_set *s, struct arena *a)
{
	size_t count = s->count;

	for (size_t i = 0; i < count; i++)
		for (uint32_t c = s->ranges[i].lo; c <= s->ranges[i].hi && c <= 'z'; c++) {
			bool is_upper = c >= 'A' && c <= 'Z';
			bool is_lower = c >= 'a' && c <= 'z';

			if ((is_upper || is_lower) && regex_set_add(s, a, c ^ 0x20, c ^ 0x20) < 0)
				return -1;
		}
	regex_set_tidy(s);
	return 0;
}
