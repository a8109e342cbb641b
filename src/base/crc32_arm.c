#include "base/crc32_hw.h"

#if defined(__ARM_FEATURE_CRC32) && defined(__aarch64__)

#include <arm_acle.h>
#include <string.h>

#include "base/os/hwcap.h"

/* Bit of AT_HWCAP on Linux. */
#define HWCAP_BIT_CRC32 (1ul << 7)

/* Three independent streams would hide the latency of the instruction; one already outruns the network and keeps this short. */
static uint32_t
update(uint32_t state, const uint8_t *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v;

		memcpy(&v, p, sizeof(v));
		state = __crc32d(state, v);
	}
	for (; n > 0; p++, n--)
		state = __crc32b(state, *p);
	return state;
}

/* This file may be compiled for more than the CPU has; where the system does not tell, the compiler's macro is believed. */
crc32_raw *
crc32_arm(void)
{
	return (hwcap_bits() & HWCAP_BIT_CRC32) != 0 ? update : NULL;
}

#else

crc32_raw *
crc32_arm(void)
{
	return NULL;
}

#endif
