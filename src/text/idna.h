/*
 * Host names with letters beyond ASCII, as DNS carries them. What is covered stands at the top of url.h.
 */
#ifndef TEXT_IDNA_H
#define TEXT_IDNA_H

#include "base/slice.h"

struct buf;

/* Appends the lower-case ASCII form of a domain name. 0, or -1 when it is not UTF-8, holds a code point that is not covered, or a broken xn-- label. */
int idna_to_ascii(struct slice domain, struct buf *out);

#endif
