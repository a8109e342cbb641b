/*
 * Changes to a text that touch some of its bytes and leave all others as they are: collected in any order, carried out at once.
 */
#ifndef TEXT_SPLICE_H
#define TEXT_SPLICE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/slice.h"

/* One file needs few; each costs a walk over the others. */
#define SPLICE_MAX 10000

struct splice_change {
	size_t start;
	size_t end;
	size_t from, len;       /* its new bytes, in `added` */
};

struct splice {
	struct splice_change *changes;
	size_t count, cap;
	struct buf added;
};

#define SPLICE_INIT ((struct splice){0})

void splice_free(struct splice *s);
/* Bytes [start, end) become `with`. Changes must not overlap; of several at one place the first added comes first. -1 past SPLICE_MAX. */
int splice_replace(struct splice *s, size_t start, size_t end, struct slice with);
int splice_insert(struct splice *s, size_t at, struct slice with);
int splice_remove(struct splice *s, size_t start, size_t end);
/* Appends the changed text to out. */
void splice_apply(struct splice *s, struct slice text, struct buf *out);

#endif
