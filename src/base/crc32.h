/*
 * CRC-32 as zlib and IEEE 802.3 have it (reflected 0xEDB88320). Uses carry-less multiplication when the CPU has it,
 * tables otherwise; the result is the same.
 */
#ifndef BASE_CRC32_H
#define BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 at the start) over n bytes. */
uint32_t crc32_update(uint32_t crc, const void *p, size_t n);
/* The table version, for tests and comparisons. */
uint32_t crc32_update_portable(uint32_t crc, const void *p, size_t n);

#endif
