/*
 * Growable bytes with a cheap front: append at the end, consume at the start. Owns its memory.
 * The plain calls abort when memory is out; use buf_try_reserve where a peer chose the size (after its limit was checked).
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf {
	uint8_t *mem;   /* NULL until the first byte */
	size_t cap;     /* bytes at mem */
	size_t head;    /* consumed bytes at the front of mem */
	size_t len;     /* live bytes from mem + head */
};

#define BUF_INIT ((struct buf){0})

void buf_free(struct buf *b);
/* The same for one that held a secret: its memory is wiped first. */
void buf_wipe(struct buf *b);
/* Forgets the bytes, keeps the memory. */
void buf_clear(struct buf *b);
/* First live byte; NULL while nothing was ever stored. Valid until the next change. */
uint8_t *buf_data(const struct buf *b);
struct slice buf_slice(const struct buf *b);

/* Room for n more bytes after the live ones; returns where they go. buf_added says how many were written there. */
uint8_t *buf_reserve(struct buf *b, size_t n);
uint8_t *buf_try_reserve(struct buf *b, size_t n);      /* NULL when memory is out */
void buf_added(struct buf *b, size_t n);

void buf_append(struct buf *b, const void *p, size_t n);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *s);
void buf_append_u8(struct buf *b, uint8_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Drops n live bytes from the front (all, when n is larger). */
void buf_consume(struct buf *b, size_t n);

/* Appends a NUL that is not counted and returns the bytes as a string, owned by the buf. */
char *buf_cstr(struct buf *b);
/* Gives the bytes, NUL-terminated, to the caller, who frees them; the buf is empty afterwards. */
char *buf_take(struct buf *b);

#endif
