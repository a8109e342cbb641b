/*
 * SHA-256 with what the CPU offers. Each architecture has one file, which gives NULL elsewhere. Used by digest.c and its tests alone.
 */
#ifndef BASE_SHA256_HW_H
#define BASE_SHA256_HW_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BLOCK 64

/* Takes whole blocks into the state (FIPS 180-4: H0 to H7). */
typedef void sha256_blocks(uint32_t state[8], const uint8_t *p, size_t blocks);

/* The function for this CPU; NULL when it lacks the instructions or the compiler was not allowed to use them. */
sha256_blocks *sha256_x86(void);
sha256_blocks *sha256_arm(void);
/* Round constants (FIPS 180-4 section 4.2.2). */
extern const uint32_t sha256_k[64];

#endif
