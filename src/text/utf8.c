#include "text/utf8.h"

#include <string.h>

#include "base/buf.h"

size_t
utf8_decode(struct slice s, uint32_t *code, size_t *bad)
{
	uint8_t first = s.p[0], low = 0x80, high = 0xbf;
	size_t need;
	uint32_t c;

	*bad = 1;
	if (first < 0x80) {
		*code = first;
		return 1;
	}
	if (first >= 0xc2 && first <= 0xdf) {
		need = 2;
		c = first & 0x1fu;
	} else if (first >= 0xe0 && first <= 0xef) {
		need = 3;
		c = first & 0x0fu;
		low = first == 0xe0 ? 0xa0 : low;
		high = first == 0xed ? 0x9f : high;
	} else if (first >= 0xf0 && first <= 0xf4) {
		need = 4;
		c = first & 0x07u;
		low = first == 0xf0 ? 0x90 : low;
		high = first == 0xf4 ? 0x8f : high;
	} else {
		return 0;
	}
	for (size_t i = 1; i < need; i++) {
		if (i >= s.n || s.p[i] < low || s.p[i] > high)
			return 0;
		*bad = i + 1;
		c = c << 6 | (s.p[i] & 0x3fu);
		low = 0x80;
		high = 0xbf;
	}
	*code = c;
	return need;
}

size_t
utf8_encode(uint32_t code, uint8_t out[UTF8_MAX])
{
	if (code < 0x80) {
		out[0] = (uint8_t)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (uint8_t)(0xc0 | code >> 6);
		out[1] = (uint8_t)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (uint8_t)(0xe0 | code >> 12);
		out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | code >> 18);
	out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (code & 0x3f));
	return 4;
}

/* ASCII bytes at the front, whole words of them at a time: nearly all text that is checked is nothing else. */
static size_t
ascii_run(struct slice s)
{
	size_t n = 0;
	uint64_t word;

	for (; s.n - n >= sizeof word; n += sizeof word) {
		memcpy(&word, s.p + n, sizeof word);
		if (word & UINT64_C(0x8080808080808080))
			break;
	}
	while (n < s.n && s.p[n] < 0x80)
		n++;
	return n;
}

bool
utf8_is_valid(struct slice s)
{
	uint32_t code;
	size_t bad, n;

	for (;;) {
		s = slice_sub(s, ascii_run(s), s.n);
		if (s.n == 0)
			return true;
		n = utf8_decode(s, &code, &bad);
		if (n == 0)
			return false;
		s = slice_sub(s, n, s.n);
	}
}

void
utf8_append_lossy(struct slice s, struct buf *out)
{
	while (s.n > 0) {
		uint32_t code;
		size_t bad, n = utf8_decode(s, &code, &bad);

		if (n > 0)
			buf_append(out, s.p, n);
		else
			buf_append_str(out, "\xef\xbf\xbd");
		s = slice_sub(s, n > 0 ? n : bad, s.n);
	}
}
