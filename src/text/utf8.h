/*
 * UTF-8, strictly: no overlong forms, no surrogates, nothing past U+10FFFF.
 */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf;

#define UTF8_MAX 4              /* bytes of one code point */
#define UTF8_REPLACEMENT 0xFFFDu

/*
 * Decodes the code point at the start of s (s.n > 0). Returns its bytes, 1 to 4. Where s does not start with a valid one: 0, and *bad is the number of
 * bytes that one U+FFFD stands for (the longest beginning of a valid sequence, at least 1).
 */
size_t utf8_decode(struct slice s, uint32_t *code, size_t *bad);
/* Writes 1 to 4 bytes; code is no surrogate and at most U+10FFFF. */
size_t utf8_encode(uint32_t code, uint8_t out[UTF8_MAX]);
bool utf8_is_valid(struct slice s);
/* Appends s with what is not valid replaced by U+FFFD. */
void utf8_append_lossy(struct slice s, struct buf *out);

#endif
