/*
 * Random numbers from the system (/dev/urandom), buffered per thread. Good for keys, ids and tie-breaks alike.
 */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *out, size_t n);
uint64_t rand_u64(void);
/* Uniform in [0, n); n > 0. */
uint64_t rand_below(uint64_t n);
/* Version 4 UUID, lower case, 36 characters and a NUL. */
#define RAND_UUID_MAX 37
void rand_uuid(char out[RAND_UUID_MAX]);

#endif
