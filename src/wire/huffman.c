#include "wire/huffman.h"

#include "wire/hpack_tables.h"

size_t
huffman_size(struct slice s)
{
	size_t bits = 0;

	for (size_t i = 0; i < s.n; i++)
		bits += huffman_codes[s.p[i]].bits;
	return (bits + 7) / 8;
}

void
huffman_encode(struct slice s, struct buf *out)
{
	uint8_t *p = buf_reserve(out, huffman_size(s));
	size_t at = 0;
	uint64_t acc = 0;
	unsigned held = 0;

	for (size_t i = 0; i < s.n; i++) {
		struct huffman_code c = huffman_codes[s.p[i]];

		acc = acc << c.bits | c.code;
		held += c.bits;
		for (; held >= 8; held -= 8)
			p[at++] = (uint8_t)(acc >> (held - 8));
	}
	/* The rest of the last byte is the start of EOS: ones. */
	if (held > 0)
		p[at++] = (uint8_t)(acc << (8 - held) | 0xffu >> held);
	buf_added(out, at);
}

/* The symbol at the top of `bits` (30 bits) and its length; codes are tried shortest first, as they are most frequent. */
static unsigned
symbol_at(uint32_t bits, unsigned *len)
{
	for (unsigned l = HUFFMAN_BITS_MIN; l < HUFFMAN_BITS_MAX; l++) {
		const struct huffman_length *t = &huffman_lengths[l];
		uint32_t code = bits >> (HUFFMAN_BITS_MAX - l);

		if (code < t->first + t->count && t->count > 0) {
			*len = l;
			return huffman_symbols[t->at + (code - t->first)];
		}
	}
	*len = HUFFMAN_BITS_MAX;
	return huffman_symbols[huffman_lengths[HUFFMAN_BITS_MAX].at + (bits - huffman_lengths[HUFFMAN_BITS_MAX].first)];
}

ptrdiff_t
huffman_decode(struct slice s, uint8_t *out)
{
	uint64_t acc = 0;
	unsigned held = 0, len, sym;
	size_t in = 0;
	ptrdiff_t n = 0;
	uint32_t bits;

	for (;;) {
		for (; held <= 56 && in < s.n; held += 8)
			acc = acc << 8 | s.p[in++];
		if (held == 0)
			return n;
		/* Short of 30 bits at the end, ones follow, as if the padding went on: EOS never fits into what is there. */
		if (held >= HUFFMAN_BITS_MAX)
			bits = (uint32_t)(acc >> (held - HUFFMAN_BITS_MAX)) & 0x3fffffffu;
		else
			bits = (uint32_t)(acc << (HUFFMAN_BITS_MAX - held) | 0x3fffffffu >> held) & 0x3fffffffu;
		sym = symbol_at(bits, &len);
		if (len > held) {
			/* What is left must be padding: fewer than 8 bits, all ones. */
			return held < 8 && (acc & ((1u << held) - 1)) == (1u << held) - 1 ? n : -1;
		}
		if (sym == HUFFMAN_EOS)
			return -1;
		out[n++] = (uint8_t)sym;
		held -= len;
	}
}
