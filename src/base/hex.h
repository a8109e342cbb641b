/* Hexadecimal digits. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* 0 to 15, either case; -1 for any other character. */
static inline int
hex_value(uint32_t c)
{
	if (c >= '0' && c <= '9')
		return (int)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (int)(c - 'a') + 10 : -1;
}

/* Digits as digests and task ids have them: a-f in lower case only. */
static inline bool
hex_is_lower_digit(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* How many of them s begins with. */
static inline size_t
hex_span_lower(struct slice s)
{
	size_t n = 0;

	while (n < s.n && hex_is_lower_digit(s.p[n]))
		n++;
	return n;
}

#endif
