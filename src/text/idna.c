#include "text/idna.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/utf8.h"

#define REFUSED UINT32_MAX
#define IGNORED (UINT32_MAX - 1)

/* Parameters of punycode (RFC 3492 section 5). */
#define PUNY_BASE 36u
#define PUNY_TMIN 1u
#define PUNY_TMAX 26u
#define PUNY_SKEW 38u
#define PUNY_DAMP 700u
#define PUNY_FIRST_BIAS 72u
#define PUNY_FIRST_CODE 128u

static bool
within(uint32_t c, uint32_t from, uint32_t to)
{
	return c >= from && c <= to;
}

/* Upper case even, lower case the odd one after it. */
static uint32_t
odd(uint32_t c)
{
	return c | 1;
}

/* Upper case odd, lower case the even one after it. */
static uint32_t
even(uint32_t c)
{
	return c + (c & 1);
}

static uint32_t
map_latin(uint32_t c)
{
	if (c == 0xad)
		return IGNORED;
	if (c == 0xb5)
		return 0x3bc;
	if (within(c, 0xc0, 0xde) && c != 0xd7)
		return c + 0x20;
	if (within(c, 0xdf, 0xff) && c != 0xf7)
		return c;
	if (within(c, 0x100, 0x12f) || within(c, 0x134, 0x137) || within(c, 0x14a, 0x177))
		return odd(c);
	if (c == 0x131 || c == 0x138)
		return c;
	if (within(c, 0x139, 0x13e) || within(c, 0x141, 0x148) || within(c, 0x179, 0x17e))
		return even(c);
	if (c == 0x178)
		return 0xff;
	if (c == 0x17f)
		return 's';
	if (c == 0x1a0 || c == 0x1a1)
		return 0x1a1;
	if (c == 0x1af || c == 0x1b0)
		return 0x1b0;
	if (within(c, 0x1cd, 0x1dc))
		return even(c);
	if (within(c, 0x218, 0x21b) || within(c, 0x1e00, 0x1e95) || within(c, 0x1ea0, 0x1eff))
		return odd(c);
	return REFUSED;
}

static uint32_t
map_greek(uint32_t c)
{
	if (within(c, 0x391, 0x3ab) && c != 0x3a2)
		return c + 0x20;
	if (c == 0x386)
		return 0x3ac;
	if (within(c, 0x388, 0x38a))
		return c + 37;
	if (c == 0x38c)
		return 0x3cc;
	if (c == 0x38e || c == 0x38f)
		return c + 63;
	return c == 0x390 || within(c, 0x3ac, 0x3ce) ? c : REFUSED;
}

static uint32_t
map_cyrillic(uint32_t c)
{
	if (within(c, 0x400, 0x40f))
		return c + 0x50;
	if (within(c, 0x410, 0x42f))
		return c + 0x20;
	if (within(c, 0x430, 0x45f) || c == 0x4cf)
		return c;
	if (c == 0x4c0)
		return 0x4cf;
	if (within(c, 0x460, 0x481) || within(c, 0x48a, 0x4bf) || within(c, 0x4d0, 0x52f))
		return odd(c);
	return within(c, 0x4c1, 0x4ce) ? even(c) : REFUSED;
}

/* What lower-casing alone does to one code point. The accepted ones never combine with each other, so that no normalisation is needed. */
static uint32_t
map_code(uint32_t c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
	if (c == 0x3002 || c == 0xff0e || c == 0xff61)
		return '.';
	if (within(c, 0xff01, 0xff5e))
		return map_code(c - 0xfee0);
	if (c == 0x200b || c == 0x2060 || c == 0xfeff)
		return IGNORED;
	if (within(c, 0x80, 0x24f) || within(c, 0x1e00, 0x1eff))
		return map_latin(c);
	if (within(c, 0x370, 0x3ff))
		return map_greek(c);
	if (within(c, 0x400, 0x52f))
		return map_cyrillic(c);
	if (within(c, 0x3005, 0x3007) || within(c, 0x3041, 0x3096) || within(c, 0x309d, 0x309e) || within(c, 0x30a1, 0x30fe))
		return c;
	if (within(c, 0x3400, 0x4dbf) || within(c, 0x4e00, 0x9fff) || within(c, 0x20000, 0x2a6df) || within(c, 0xac00, 0xd7a3))
		return c;
	return REFUSED;
}

static uint32_t
adapt(uint32_t delta, uint32_t points, bool is_first)
{
	uint32_t k = 0;

	delta = is_first ? delta / PUNY_DAMP : delta / 2;
	delta += delta / points;
	for (; delta > (PUNY_BASE - PUNY_TMIN) * PUNY_TMAX / 2; k += PUNY_BASE)
		delta /= PUNY_BASE - PUNY_TMIN;
	return k + (PUNY_BASE - PUNY_TMIN + 1) * delta / (delta + PUNY_SKEW);
}

static uint32_t
threshold(uint32_t k, uint32_t bias)
{
	if (k <= bias)
		return PUNY_TMIN;
	return k - bias > PUNY_TMAX ? PUNY_TMAX : k - bias;
}

/* RFC 3492 section 6.3. delta cannot overflow: n is at most URL_HOST_MAX and a code point below 2^21. */
static void
puny_encode(const uint32_t *codes, size_t n, struct buf *out)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	uint32_t code = PUNY_FIRST_CODE, bias = PUNY_FIRST_BIAS, delta = 0, done, basic = 0;

	for (size_t i = 0; i < n; i++) {
		if (codes[i] < 0x80) {
			buf_append_u8(out, (uint8_t)codes[i]);
			basic++;
		}
	}
	if (basic > 0)
		buf_append_u8(out, '-');
	for (done = basic; done < n; code++, delta++) {
		uint32_t next = UINT32_MAX;

		for (size_t i = 0; i < n; i++) {
			if (codes[i] >= code && codes[i] < next)
				next = codes[i];
		}
		delta += (next - code) * (done + 1);
		code = next;
		for (size_t i = 0; i < n; i++) {
			uint32_t q = delta;

			if (codes[i] < code)
				delta++;
			if (codes[i] != code)
				continue;
			for (uint32_t k = PUNY_BASE;; k += PUNY_BASE) {
				uint32_t t = threshold(k, bias);

				if (q < t)
					break;
				buf_append_u8(out, (uint8_t)digits[t + (q - t) % (PUNY_BASE - t)]);
				q = (q - t) / (PUNY_BASE - t);
			}
			buf_append_u8(out, (uint8_t)digits[q]);
			bias = adapt(delta, done + 1, done == basic);
			delta = 0;
			done++;
		}
	}
}

/* Whether a code point can be in a finished label: what mapping would change cannot, nor can compatibility forms and private ones. */
static bool
is_final(uint32_t c)
{
	uint32_t mapped = map_code(c);

	if (within(c, 0xd800, 0xf8ff) || within(c, 0xf900, 0xfb4f) || within(c, 0x3200, 0x33ff) || c >= 0xe0000)
		return false;
	return c >= 0x80 && (mapped == c || mapped == REFUSED);
}

static uint32_t
puny_digit(uint32_t c)
{
	if (within(c, 'a', 'z'))
		return c - 'a';
	return within(c, '0', '9') ? c - '0' + 26 : PUNY_BASE;
}

/* Does the part of a label behind "xn--" decode (RFC 3492 section 6.2) to something that belongs there? */
static bool
puny_is_valid(const uint32_t *codes, size_t n)
{
	uint32_t code = PUNY_FIRST_CODE, bias = PUNY_FIRST_BIAS, i = 0, points = 0;
	size_t at = 0;

	for (size_t k = n; k-- > 0;) {
		if (codes[k] == '-') {
			points = (uint32_t)k;
			at = k > 0 ? k + 1 : 0;
			break;
		}
	}
	if (at == n)
		return false;
	while (at < n) {
		uint32_t before = i, weight = 1;

		for (uint32_t k = PUNY_BASE;; k += PUNY_BASE) {
			uint32_t digit = at < n ? puny_digit(codes[at++]) : PUNY_BASE, t = threshold(k, bias);

			if (digit >= PUNY_BASE || digit > (UINT32_MAX - i) / weight)
				return false;
			i += digit * weight;
			if (digit < t)
				break;
			if (weight > UINT32_MAX / (PUNY_BASE - t))
				return false;
			weight *= PUNY_BASE - t;
		}
		points++;
		bias = adapt(i - before, points, before == 0);
		if (i / points > 0x10ffff - code)
			return false;
		code += i / points;
		if (!is_final(code))
			return false;
		i = i % points + 1;
	}
	return true;
}

static int
put_label(const uint32_t *codes, size_t n, struct buf *out)
{
	bool is_ascii = true, is_puny = n >= 4 && codes[0] == 'x' && codes[1] == 'n' && codes[2] == '-' && codes[3] == '-';

	for (size_t i = 0; i < n; i++)
		is_ascii = is_ascii && codes[i] < 0x80;
	if (is_puny && (!is_ascii || !puny_is_valid(codes + 4, n - 4)))
		return -1;
	if (!is_ascii) {
		buf_append_str(out, "xn--");
		puny_encode(codes, n, out);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		buf_append_u8(out, (uint8_t)codes[i]);
	return 0;
}

int
idna_to_ascii(struct slice domain, struct buf *out)
{
	uint32_t *codes = xmalloc((domain.n + 1) * sizeof(*codes));
	size_t n = 0;
	int r = -1;

	while (domain.n > 0) {
		uint32_t code;
		size_t bad, got = utf8_decode(domain, &code, &bad);

		if (got == 0)
			goto done;
		domain = slice_sub(domain, got, domain.n);
		code = map_code(code);
		if (code == REFUSED)
			goto done;
		if (code == '.') {
			if (put_label(codes, n, out) < 0)
				goto done;
			buf_append_u8(out, '.');
			n = 0;
		} else if (code != IGNORED) {
			codes[n++] = code;
		}
	}
	r = put_label(codes, n, out);
done:
	free(codes);
	return r;
}
