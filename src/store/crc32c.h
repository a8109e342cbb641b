/*
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), which seals the records of the store. Short inputs only: tables suffice.
 */
#ifndef STORE_CRC32C_H
#define STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 at the start) over n bytes. */
uint32_t crc32c_update(uint32_t crc, const void *p, size_t n);

#endif
