/*
 * The constant tables of RFC 7541: static header table (appendix A) and Huffman code (appendix B).
 */
#ifndef WIRE_HPACK_TABLES_H
#define WIRE_HPACK_TABLES_H

#include <stdint.h>

#define HPACK_STATIC_COUNT 61

/* Index i of the RFC stands at i - 1. */
struct hpack_static {
	const char *name;
	const char *value;
	uint8_t name_n;
	uint8_t value_n;
};

extern const struct hpack_static hpack_static[HPACK_STATIC_COUNT];

#define HUFFMAN_SYMBOLS 257
#define HUFFMAN_EOS 256
#define HUFFMAN_BITS_MIN 5
#define HUFFMAN_BITS_MAX 30

struct huffman_code {
	uint32_t code;          /* in its lowest bits */
	uint8_t bits;
};

extern const struct huffman_code huffman_codes[HUFFMAN_SYMBOLS];

/* The codes of one length: the numbers from first to first + count - 1 stand for huffman_symbols[at...]. */
struct huffman_length {
	uint32_t first;
	uint16_t at;
	uint16_t count;
};

extern const uint16_t huffman_symbols[HUFFMAN_SYMBOLS];
extern const struct huffman_length huffman_lengths[HUFFMAN_BITS_MAX + 1];

#endif
