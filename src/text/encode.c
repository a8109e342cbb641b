#include "text/encode.h"

#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/hex.h"

static const char hex_digits[] = "0123456789abcdef";
static const char alphabets[2][65] = {
	[BASE64_STD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	[BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

void
hex_encode(struct slice in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		buf_append_u8(out, (uint8_t)hex_digits[in.p[i] >> 4]);
		buf_append_u8(out, (uint8_t)hex_digits[in.p[i] & 15]);
	}
}

int
hex_decode(struct slice in, struct buf *out)
{
	size_t before = out->len;

	if (in.n % 2 != 0)
		return -1;
	for (size_t i = 0; i < in.n; i += 2) {
		int high = hex_value(in.p[i]), low = hex_value(in.p[i + 1]);

		if (high < 0 || low < 0) {
			out->len = before;
			return -1;
		}
		buf_append_u8(out, (uint8_t)(high << 4 | low));
	}
	return 0;
}

void
base64_encode(struct slice in, enum base64_kind kind, bool pad, struct buf *out)
{
	const char *alphabet = alphabets[kind];

	for (size_t i = 0; i < in.n; i += 3) {
		size_t n = in.n - i < 3 ? in.n - i : 3;
		uint32_t v = (uint32_t)in.p[i] << 16;

		if (n > 1)
			v |= (uint32_t)in.p[i + 1] << 8;
		if (n > 2)
			v |= in.p[i + 2];
		for (size_t k = 0; k < 4; k++) {
			if (k <= n)
				buf_append_u8(out, (uint8_t)alphabet[v >> (18 - 6 * k) & 63]);
			else if (pad)
				buf_append_u8(out, '=');
		}
	}
}

static int
base64_value(uint8_t c, enum base64_kind kind)
{
	const char *at = c != 0 ? strchr(alphabets[kind], c) : NULL;

	return at != NULL ? (int)(at - alphabets[kind]) : -1;
}

int
base64_decode(struct slice in, enum base64_kind kind, struct buf *out)
{
	size_t before = out->len, bits = 0;
	uint32_t v = 0;

	if (in.n > 0 && in.n % 4 == 0 && in.p[in.n - 1] == '=')
		in.n -= in.p[in.n - 2] == '=' ? 2 : 1;
	if (in.n % 4 == 1)
		return -1;
	for (size_t i = 0; i < in.n; i++) {
		int six = base64_value(in.p[i], kind);

		if (six < 0)
			goto fail;
		v = (v << 6 | (uint32_t)six) & 0xfff;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_append_u8(out, (uint8_t)(v >> bits));
		}
	}
	if ((v & ((1u << bits) - 1)) == 0)
		return 0;
fail:
	out->len = before;
	return -1;
}
