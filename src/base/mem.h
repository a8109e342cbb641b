/*
 * Allocation that cannot fail: for small objects of our own sizing. Out of memory there ends the process with a message.
 * A size chosen by a peer, an origin, a client or a file is checked against a named limit first, and uses plain malloc,
 * an arena or buf_try_reserve, which report failure.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* All return memory that the caller owns and gives to free(); xcalloc's is zeroed. A size of 0 gives a valid pointer. */
void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);

/* printf into fresh memory. */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Writes zeros over a secret, also where a compiler sees that nobody reads them any more. */
void mem_wipe(void *p, size_t n);

/* Array length, and the object that holds `member` at `ptr`. */
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif
