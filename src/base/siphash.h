/*
 * SipHash-2-4 with a 64-bit result: a hash that outsiders cannot steer while they do not know the key. Also the hash of the
 * scheduler ring, with key 0,0.
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k0;    /* first 8 bytes of the key, read as little endian */
	uint64_t k1;
};

uint64_t siphash(const struct siphash_key *key, const void *p, size_t n);

#endif
