/*
 * Bytes written as hex in tests, and vector files.
 */
#ifndef SUPPORT_HEX_H
#define SUPPORT_HEX_H

#include "base/slice.h"

struct buf;

/* Appends the bytes of pairs of hex digits; spaces and newlines between pairs are skipped. Anything else fails the test. */
void hex_append(struct buf *out, const char *text);
/* The bytes of tests/vectors/NAME, appended; the test fails when it cannot be read. TEST_VECTORS names another place. */
void vector_read(struct buf *out, const char *name);

#endif
