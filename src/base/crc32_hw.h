/*
 * CRC-32 with what the CPU offers. Each kind of CPU has one file, which gives NULL elsewhere. Used by crc32.c and its tests alone.
 */
#ifndef BASE_CRC32_HW_H
#define BASE_CRC32_HW_H

#include <stddef.h>
#include <stdint.h>

/* Shortest input worth leaving the tables for; a crc32_raw function gets no less. */
#define CRC32_HW_MIN 64

/* Continues the inverted state, as the loop of a CRC keeps it: nothing is inverted before or after. */
typedef uint32_t crc32_raw(uint32_t state, const uint8_t *p, size_t n);

/* The function for this CPU; NULL when it lacks the instructions or the compiler was not allowed to use them. */
crc32_raw *crc32_x86_wide(void);
crc32_raw *crc32_x86(void);
crc32_raw *crc32_arm(void);
/* Tables; any n. */
uint32_t crc32_raw_portable(uint32_t state, const uint8_t *p, size_t n);

#endif
