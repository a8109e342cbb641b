#include "text/splice.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void
splice_free(struct splice *s)
{
	free(s->changes);
	buf_free(&s->added);
	*s = SPLICE_INIT;
}

int
splice_replace(struct splice *s, size_t start, size_t end, struct slice with)
{
	size_t place = s->count;

	if (s->count == SPLICE_MAX)
		return -1;
	if (s->count == s->cap) {
		s->cap = s->cap > 0 ? 2 * s->cap : 16;
		s->changes = xrealloc(s->changes, s->cap * sizeof(*s->changes));
	}
	/* In order of their places; what is put in at a place stands before what is taken away there. */
	while (place > 0 && (s->changes[place - 1].start > start ||
	    (s->changes[place - 1].start == start && start == end && s->changes[place - 1].end > start)))
		place--;
	memmove(&s->changes[place + 1], &s->changes[place], (s->count - place) * sizeof(*s->changes));
	s->changes[place] = (struct splice_change){start, end, s->added.len, with.n};
	s->count++;
	if (with.n > 0)
		buf_append_slice(&s->added, with);
	return 0;
}

int
splice_insert(struct splice *s, size_t at, struct slice with)
{
	return splice_replace(s, at, at, with);
}

int
splice_remove(struct splice *s, size_t start, size_t end)
{
	return splice_replace(s, start, end, (struct slice){0});
}

void
splice_apply(struct splice *s, struct slice text, struct buf *out)
{
	size_t at = 0;

	for (size_t i = 0; i < s->count; i++) {
		const struct splice_change *c = &s->changes[i];

		if (c->start > at)
			buf_append_slice(out, slice_sub(text, at, c->start - at));
		if (c->len > 0)
			buf_append(out, buf_data(&s->added) + c->from, c->len);
		at = c->end > at ? c->end : at;
	}
	if (at < text.n)
		buf_append_slice(out, slice_sub(text, at, text.n - at));
}
