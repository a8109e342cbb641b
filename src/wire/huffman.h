/*
 * The Huffman code of HPACK strings (RFC 7541, 5.2).
 */
#ifndef WIRE_HUFFMAN_H
#define WIRE_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* The shortest code has 5 bits: no more than this can come out of n bytes. */
#define HUFFMAN_DECODED_MAX(n) ((n) * 8 / 5)

/* Bytes of s when encoded. */
size_t huffman_size(struct slice s);
/* Appends s encoded. */
void huffman_encode(struct slice s, struct buf *out);
/* Decodes into out, which has room for HUFFMAN_DECODED_MAX(s.n); returns the count, or -1: EOS in it, or padding that is not
 * up to 7 ones. */
ptrdiff_t huffman_decode(struct slice s, uint8_t *out);

#endif
