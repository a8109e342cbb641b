#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* First allocation: a line or a small frame fits without growing again. */
#define BUF_FIRST 128

void
buf_free(struct buf *b)
{
	free(b->mem);
	*b = BUF_INIT;
}

void
buf_wipe(struct buf *b)
{
	mem_wipe(b->mem, b->cap);
	buf_free(b);
}

void
buf_clear(struct buf *b)
{
	b->head = b->len = 0;
}

uint8_t *
buf_data(const struct buf *b)
{
	return b->mem != NULL ? b->mem + b->head : NULL;
}

struct slice
buf_slice(const struct buf *b)
{
	return slice_make(buf_data(b), b->len);
}

uint8_t *
buf_try_reserve(struct buf *b, size_t n)
{
	size_t cap;
	uint8_t *mem;

	if (b->mem != NULL && n <= b->cap - b->head - b->len)
		return b->mem + b->head + b->len;
	/* Move down rather than grow when that frees at least as much as it moves: each byte is then moved at most once on average. */
	if (b->mem != NULL && n <= b->cap - b->len && b->head >= b->len) {
		memmove(b->mem, b->mem + b->head, b->len);
		b->head = 0;
		return b->mem + b->len;
	}
	if (n > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
		return NULL;
	cap = b->cap > BUF_FIRST ? b->cap : BUF_FIRST;
	if (cap < b->len + n)
		cap = b->len + n > cap + cap / 2 ? b->len + n : cap + cap / 2;
	else if (cap == b->cap)
		cap += cap / 2;
	if (b->mem == NULL || b->head == 0) {
		/* The system moves the pages of a large buffer, not its bytes. */
		mem = realloc(b->mem, cap);
		if (mem == NULL)
			return NULL;
	} else {
		mem = malloc(cap);
		if (mem == NULL)
			return NULL;
		memcpy(mem, b->mem + b->head, b->len);
		free(b->mem);
	}
	b->mem = mem;
	b->cap = cap;
	b->head = 0;
	return mem + b->len;
}

uint8_t *
buf_reserve(struct buf *b, size_t n)
{
	uint8_t *p = buf_try_reserve(b, n);

	if (p == NULL) {
		fprintf(stderr, "out of memory: buffer of %zu + %zu bytes\n", b->len, n);
		abort();
	}
	return p;
}

void
buf_added(struct buf *b, size_t n)
{
	b->len += n;
}

void
buf_append(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	memcpy(buf_reserve(b, n), p, n);
	b->len += n;
}

void
buf_append_slice(struct buf *b, struct slice s)
{
	buf_append(b, s.p, s.n);
}

void
buf_append_str(struct buf *b, const char *s)
{
	buf_append(b, s, strlen(s));
}

void
buf_append_u8(struct buf *b, uint8_t v)
{
	*buf_reserve(b, 1) = v;
	b->len++;
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	size_t room;
	int n;

	buf_reserve(b, 1);
	room = b->cap - b->head - b->len;
	va_copy(again, ap);
	n = vsnprintf((char *)(b->mem + b->head + b->len), room, fmt, ap);
	if (n >= 0 && (size_t)n >= room)
		vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
	va_end(again);
	if (n > 0)
		b->len += (size_t)n;
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void
buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		buf_clear(b);
		return;
	}
	b->head += n;
	b->len -= n;
}

char *
buf_cstr(struct buf *b)
{
	*buf_reserve(b, 1) = 0;
	return (char *)(b->mem + b->head);
}

char *
buf_take(struct buf *b)
{
	char *s = buf_cstr(b);

	if (b->head > 0)
		memmove(b->mem, s, b->len + 1);
	s = (char *)b->mem;
	*b = BUF_INIT;
	return s;
}
