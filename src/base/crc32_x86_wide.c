#include "base/crc32_hw.h"

#if defined(__AVX512F__) && defined(__VPCLMULQDQ__) && defined(__XSAVE__)

#include <cpuid.h>
#include <immintrin.h>

#define WIDE 64
#define BLOCK 16
/* Below this the narrow loop is as quick. */
#define WORTH_IT 512

/* As in crc32_x86.c, for blocks 2048, 512 and 128 bits apart. */
#define FOLD_2048 0x1322d1430, 0x11542778a
#define FOLD_512 0x1c6e41596, 0x154442bd4
#define FOLD_128 0x0ccaa009e, 0x1751997d0

/* What the system must save of a thread for these registers: SSE, AVX and the three parts of AVX-512. */
#define SAVED 0xe6u

static __m512i
load(const uint8_t *p)
{
	return _mm512_loadu_si512((const void *)p);
}

static __m512i
fold(__m512i blocks, __m512i powers, __m512i onto)
{
	__m512i low = _mm512_clmulepi64_epi128(blocks, powers, 0x00), high = _mm512_clmulepi64_epi128(blocks, powers, 0x11);

	return _mm512_xor_si512(_mm512_xor_si512(low, high), onto);
}

static __m128i
fold_one(__m128i block, __m128i powers, __m128i onto)
{
	__m128i low = _mm_clmulepi64_si128(block, powers, 0x00), high = _mm_clmulepi64_si128(block, powers, 0x11);

	return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

/* Four times four blocks at a time; then the four registers onto the last, its four blocks onto the last, and the tables take the rest. */
static uint32_t
update(uint32_t state, const uint8_t *p, size_t n)
{
	const __m512i by_2048 = _mm512_broadcast_i32x4(_mm_set_epi64x(FOLD_2048));
	const __m512i by_512 = _mm512_broadcast_i32x4(_mm_set_epi64x(FOLD_512));
	const __m128i by_128 = _mm_set_epi64x(FOLD_128);
	__m512i a, b, c, d;
	__m128i last;
	uint8_t rest[BLOCK];

	if (n < WORTH_IT)
		return crc32_x86()(state, p, n);
	a = _mm512_xor_si512(load(p), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state)));
	b = load(p + WIDE);
	c = load(p + 2 * WIDE);
	d = load(p + 3 * WIDE);
	for (p += 4 * WIDE, n -= 4 * WIDE; n >= 4 * WIDE; p += 4 * WIDE, n -= 4 * WIDE) {
		a = fold(a, by_2048, load(p));
		b = fold(b, by_2048, load(p + WIDE));
		c = fold(c, by_2048, load(p + 2 * WIDE));
		d = fold(d, by_2048, load(p + 3 * WIDE));
	}
	a = fold(a, by_512, b);
	a = fold(a, by_512, c);
	a = fold(a, by_512, d);
	last = fold_one(_mm512_castsi512_si128(a), by_128, _mm512_extracti32x4_epi32(a, 1));
	last = fold_one(last, by_128, _mm512_extracti32x4_epi32(a, 2));
	last = fold_one(last, by_128, _mm512_extracti32x4_epi32(a, 3));
	for (; n >= BLOCK; p += BLOCK, n -= BLOCK)
		last = fold_one(last, by_128, _mm_loadu_si128((const __m128i *)(const void *)p));
	_mm_storeu_si128((__m128i *)(void *)rest, last);
	return crc32_raw_portable(crc32_raw_portable(0, rest, BLOCK), p, n);
}

crc32_raw *
crc32_x86_wide(void)
{
	unsigned a, b, c, d;

	if (crc32_x86() == NULL || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || (_xgetbv(0) & SAVED) != SAVED)
		return NULL;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX512F) && (c & bit_VPCLMULQDQ) ? update : NULL;
}

#else

crc32_raw *
crc32_x86_wide(void)
{
	return NULL;
}

#endif
