#include "base/crc32_hw.h"

#if defined(__PCLMUL__) && defined(__SSE2__)

#include <cpuid.h>
#include <emmintrin.h>
#include <wmmintrin.h>

#define BLOCK 16

/*
 * A block of 128 bits that stands d bits before another one has the same remainder as (its two halves times x^(d+32) and x^(d-32) modulo the
 * polynomial) laid over that other one. The constants are those powers, bit-reflected and shifted by one as the reflected product needs.
 */
#define FOLD_512 0x1c6e41596, 0x154442bd4
#define FOLD_128 0x0ccaa009e, 0x1751997d0

static __m128i
load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static __m128i
fold(__m128i block, __m128i powers, __m128i onto)
{
	__m128i low = _mm_clmulepi64_si128(block, powers, 0x00), high = _mm_clmulepi64_si128(block, powers, 0x11);

	return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

/* Four blocks at a time keep the multiplier busy; what is left is one block, and the tables take its remainder. */
static uint32_t
update(uint32_t state, const uint8_t *p, size_t n)
{
	const __m128i by_512 = _mm_set_epi64x(FOLD_512), by_128 = _mm_set_epi64x(FOLD_128);
	__m128i a = _mm_xor_si128(load(p), _mm_cvtsi32_si128((int)state)), b = load(p + BLOCK);
	__m128i c = load(p + 2 * BLOCK), d = load(p + 3 * BLOCK);
	uint8_t rest[BLOCK];

	for (p += 4 * BLOCK, n -= 4 * BLOCK; n >= 4 * BLOCK; p += 4 * BLOCK, n -= 4 * BLOCK) {
		a = fold(a, by_512, load(p));
		b = fold(b, by_512, load(p + BLOCK));
		c = fold(c, by_512, load(p + 2 * BLOCK));
		d = fold(d, by_512, load(p + 3 * BLOCK));
	}
	a = fold(a, by_128, b);
	a = fold(a, by_128, c);
	a = fold(a, by_128, d);
	for (; n >= BLOCK; p += BLOCK, n -= BLOCK)
		a = fold(a, by_128, load(p));
	_mm_storeu_si128((__m128i *)(void *)rest, a);
	return crc32_raw_portable(crc32_raw_portable(0, rest, BLOCK), p, n);
}

crc32_raw *
crc32_x86(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_PCLMUL) && (d & bit_SSE2) ? update : NULL;
}

#else

crc32_raw *
crc32_x86(void)
{
	return NULL;
}

#endif
