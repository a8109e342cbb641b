/*
 * Digests of content and names: sha256 (hardware when the CPU has it), sha512, md5, blake3 is not among them. One running
 * state for all of them, and the "algorithm:hex" text that users and peers write.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct err;

enum digest_kind { DIGEST_SHA256, DIGEST_SHA512, DIGEST_MD5, DIGEST_CRC32 };

#define DIGEST_MAX 64                   /* bytes of the longest digest */
#define DIGEST_HEX_MAX (2 * DIGEST_MAX + 1)
#define DIGEST_TEXT_MAX (8 + DIGEST_HEX_MAX)

struct digest {
	enum digest_kind kind;
	union {
		uint64_t align;
		uint8_t bytes[256];
	} state;
};

void digest_init(struct digest *d, enum digest_kind kind);
void digest_update(struct digest *d, const void *p, size_t n);
/* Writes digest_size(kind) bytes; the state is spent afterwards. */
void digest_final(struct digest *d, uint8_t *out);
size_t digest_size(enum digest_kind kind);
/* Lower-case hex, NUL-terminated; out holds DIGEST_HEX_MAX. CRC32 gives 8 digits. */
void digest_final_hex(struct digest *d, char *out);
/* One-shot. */
void digest_hex(enum digest_kind kind, const void *p, size_t n, char *out);

/*
 * What a user may ask for: "sha256:<64 hex>", "sha512:<128 hex>", "crc32:<1-10 decimal digits, or 8 hex>"; hex in any case.
 * Gives kind and lower-case hex (DIGEST_HEX_MAX). Any other form, md5 among them, is INVALID_ARGUMENT naming what is wrong.
 * 8 decimal digits of a crc32 are read as decimal here; digest_matches knows both readings.
 */
int digest_parse(const char *text, enum digest_kind *kind, char *hex, struct err *e);
/* Is `hex`, as digest_final_hex gave it for that kind, what the text asks for? False for a text that digest_parse refuses. */
bool digest_matches(const char *text, enum digest_kind kind, const char *hex);
const char *digest_kind_name(enum digest_kind kind);

#endif
