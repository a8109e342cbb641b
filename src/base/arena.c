#include "base/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First chunk, with its header; larger pieces get a chunk of their own. Many arenas live long and hold little. */
#define ARENA_CHUNK_BYTES 1024
#define ARENA_CHUNK_MAX (256 * 1024)

struct arena_chunk {
	struct arena_chunk *next;
	size_t cap;
	size_t used;
	alignas(max_align_t) unsigned char mem[];
};

void
arena_init(struct arena *a, size_t limit)
{
	*a = (struct arena){.limit = limit};
}

static void
free_chunks(struct arena_chunk *c)
{
	while (c != NULL) {
		struct arena_chunk *next = c->next;

		free(c);
		c = next;
	}
}

void
arena_free(struct arena *a)
{
	free_chunks(a->chunks);
	a->chunks = NULL;
	a->used = 0;
}

void
arena_reset(struct arena *a)
{
	a->used = 0;
	if (a->chunks == NULL)
		return;
	free_chunks(a->chunks->next);
	a->chunks->next = NULL;
	a->chunks->used = 0;
	/* A chunk made for one large piece would pin that memory for good. */
	if (a->chunks->cap > ARENA_CHUNK_MAX)
		arena_free(a);
}

/* Chunks double up to a bound, so that a large message needs few of them and a small one wastes little. */
static struct arena_chunk *
add_chunk(struct arena *a, size_t n)
{
	size_t cap = ARENA_CHUNK_BYTES - sizeof(struct arena_chunk);
	struct arena_chunk *c;

	if (a->chunks != NULL && a->chunks->cap >= cap)
		cap = a->chunks->cap < ARENA_CHUNK_MAX / 2 ? a->chunks->cap * 2 : ARENA_CHUNK_MAX;
	if (cap < n)
		cap = n;
	c = malloc(sizeof(*c) + cap);
	if (c == NULL)
		return NULL;
	c->cap = cap;
	c->used = 0;
	c->next = a->chunks;
	a->chunks = c;
	return c;
}

void *
arena_alloc(struct arena *a, size_t n)
{
	const size_t align = alignof(max_align_t);
	struct arena_chunk *c = a->chunks;
	void *p;

	if (n == 0)
		n = 1;
	if (n > SIZE_MAX / 2)
		return NULL;
	n = (n + align - 1) / align * align;
	if (a->limit != 0 && (a->used > a->limit || n > a->limit - a->used))
		return NULL;
	if (c == NULL || n > c->cap - c->used) {
		c = add_chunk(a, n);
		if (c == NULL)
			return NULL;
	}
	p = c->mem + c->used;
	c->used += n;
	a->used += n;
	return memset(p, 0, n);
}

void *
arena_copy(struct arena *a, const void *p, size_t n)
{
	char *copy = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;

	if (copy != NULL && n > 0)
		memcpy(copy, p, n);
	return copy;
}

char *
arena_strdup(struct arena *a, const char *s)
{
	return arena_copy(a, s, strlen(s));
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *out;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	out = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
	if (out == NULL)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(out, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return out;
}
