/*
 * A view of bytes that somebody else owns. Not NUL-terminated. An absent one has p == NULL and n == 0.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
	const uint8_t *p;
	size_t n;
};

/* For printf's "%.*s". */
#define SLICE_ARG(s) (int)(s).n, (const char *)((s).p ? (const void *)(s).p : "")

struct slice slice_make(const void *p, size_t n);
/* A NUL-terminated string; NULL gives the absent slice. */
struct slice slice_str(const char *s);
/* Part [from, from+n), cut to what is there. */
struct slice slice_sub(struct slice s, size_t from, size_t n);
/* Without ASCII spaces and tabs at both ends. */
struct slice slice_trim(struct slice s);

bool slice_eq(struct slice a, struct slice b);
bool slice_eq_str(struct slice a, const char *b);
/* ASCII case does not matter. */
bool slice_ieq(struct slice a, struct slice b);
bool slice_ieq_str(struct slice a, const char *b);
bool slice_starts(struct slice s, const char *prefix);
bool slice_ends(struct slice s, const char *suffix);
/* Byte order, shorter first among equals; <0, 0, >0. */
int slice_cmp(struct slice a, struct slice b);
/* First place of c, or -1. */
ptrdiff_t slice_find(struct slice s, uint8_t c);

/* Decimal digits only, no sign, no overflow: 0 and *out, or -1. */
int slice_to_u64(struct slice s, uint64_t *out);

/* A NUL-terminated copy that the caller frees. Bytes are copied as they are. */
char *slice_dup(struct slice s);

#endif
