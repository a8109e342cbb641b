/*
 * Memory that dies together: many small pieces, one free. With a limit, so that hostile input cannot grow it.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/slice.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks;     /* newest first */
	size_t used;                    /* bytes handed out in all */
	size_t limit;                   /* most bytes handed out; 0 means none */
};

void arena_init(struct arena *a, size_t limit);
void arena_free(struct arena *a);
/* Frees all and starts over, keeping at most one chunk for reuse. */
void arena_reset(struct arena *a);

/* Zeroed memory aligned for any type; NULL past the limit or when memory is out. */
void *arena_alloc(struct arena *a, size_t n);
/* Copies, NUL-terminated one byte past the end; NULL as above. */
void *arena_copy(struct arena *a, const void *p, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
