#include "base/sha256_hw.h"

#if defined(__aarch64__) && (defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO))

#include <arm_neon.h>

#include "base/os/hwcap.h"

/* Bit of AT_HWCAP on Linux. */
#define HWCAP_BIT_SHA2 (1ul << 6)

struct state {
	uint32x4_t abcd;
	uint32x4_t efgh;
};

static inline void
four_rounds(struct state *s, uint32x4_t w, unsigned at)
{
	uint32x4_t sum = vaddq_u32(w, vld1q_u32(sha256_k + at)), abcd = s->abcd;

	s->abcd = vsha256hq_u32(abcd, s->efgh, sum);
	s->efgh = vsha256h2q_u32(s->efgh, abcd, sum);
}

/* The next four words of the schedule from the sixteen before, oldest first. */
static inline uint32x4_t
schedule(uint32x4_t w0, uint32x4_t w1, uint32x4_t w2, uint32x4_t w3)
{
	return vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
}

static inline uint32x4_t
load_words(const uint8_t *p)
{
	return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)));
}

static void
blocks(uint32_t h[8], const uint8_t *p, size_t n)
{
	struct state s = {.abcd = vld1q_u32(h), .efgh = vld1q_u32(h + 4)};

	for (; n > 0; n--, p += SHA256_BLOCK) {
		uint32x4_t w0 = load_words(p), w1 = load_words(p + 16), w2 = load_words(p + 32), w3 = load_words(p + 48);
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
		s.abcd = vaddq_u32(s.abcd, before.abcd);
		s.efgh = vaddq_u32(s.efgh, before.efgh);
	}
	vst1q_u32(h, s.abcd);
	vst1q_u32(h + 4, s.efgh);
}

/* This file may be compiled for more than the CPU has; where the system does not tell, the compiler's macro is believed. */
sha256_blocks *
sha256_arm(void)
{
	return (hwcap_bits() & HWCAP_BIT_SHA2) != 0 ? blocks : NULL;
}

#else

sha256_blocks *
sha256_arm(void)
{
	return NULL;
}

#endif
