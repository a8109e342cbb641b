#include "base/sha256_hw.h"

#if defined(__SHA__) && defined(__SSE4_1__)

#include <cpuid.h>
#include <immintrin.h>

/* The instructions want the eight words as two vectors: words A, B, E, F and words C, D, G, H. */
struct state {
	__m128i abef;
	__m128i cdgh;
};

static inline void
four_rounds(struct state *s, __m128i w, unsigned at)
{
	__m128i k = _mm_loadu_si128((const __m128i *)(const void *)(sha256_k + at)), sum = _mm_add_epi32(w, k);

	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, sum);
	s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

/* The next four words of the schedule from the sixteen before, oldest first. */
static inline __m128i
schedule(__m128i w0, __m128i w1, __m128i w2, __m128i w3)
{
	__m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));

	return _mm_sha256msg2_epu32(sum, w3);
}

static inline __m128i
load_words(const uint8_t *p)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

	return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), swap);
}

static void
blocks(uint32_t h[8], const uint8_t *p, size_t n)
{
	__m128i *io = (__m128i *)(void *)h;
	__m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(io), 0xb1), efgh = _mm_shuffle_epi32(_mm_loadu_si128(io + 1), 0x1b), feba, dchg;
	struct state s = {.abef = _mm_alignr_epi8(cdab, efgh, 8), .cdgh = _mm_blend_epi16(efgh, cdab, 0xf0)};

	for (; n > 0; n--, p += SHA256_BLOCK) {
		__m128i w0 = load_words(p), w1 = load_words(p + 16), w2 = load_words(p + 32), w3 = load_words(p + 48);
		struct state before = s;

		four_rounds(&s, w0, 0);
		four_rounds(&s, w1, 4);
		four_rounds(&s, w2, 8);
		four_rounds(&s, w3, 12);
		for (unsigned at = 16; at < 64; at += 16) {
			w0 = schedule(w0, w1, w2, w3);
			four_rounds(&s, w0, at);
			w1 = schedule(w1, w2, w3, w0);
			four_rounds(&s, w1, at + 4);
			w2 = schedule(w2, w3, w0, w1);
			four_rounds(&s, w2, at + 8);
			w3 = schedule(w3, w0, w1, w2);
			four_rounds(&s, w3, at + 12);
		}
		s.abef = _mm_add_epi32(s.abef, before.abef);
		s.cdgh = _mm_add_epi32(s.cdgh, before.cdgh);
	}
	feba = _mm_shuffle_epi32(s.abef, 0x1b);
	dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
	_mm_storeu_si128(io, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128(io + 1, _mm_alignr_epi8(dchg, feba, 8));
}

sha256_blocks *
sha256_x86(void)
{
	const unsigned sha_bit = 1u << 29;
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
		return NULL;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & sha_bit) ? blocks : NULL;
}

#else

sha256_blocks *
sha256_x86(void)
{
	return NULL;
}

#endif
