/*
 * DER (X.690), as much as certificates need: taking elements off a slice, and writing them behind each other into a buf.
 * Pure bytes; nothing here knows what a certificate is.
 */
#ifndef NET_DER_H
#define NET_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf;

enum der_tag {
	DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_BITS = 0x03, DER_OCTETS = 0x04, DER_OID = 0x06, DER_UTF8 = 0x0c,
	DER_UTC_TIME = 0x17, DER_TIME = 0x18, DER_SEQUENCE = 0x30, DER_SET = 0x31,
};

/* Content of one element; a longer one is no certificate's. */
#define DER_CONTENT_MAX 0xffffffu

/* ---- reading ---- */

/* Takes one element off the front. False at the end, or when it is no DER or larger than DER_CONTENT_MAX. */
bool der_next(struct slice *in, uint8_t *tag, struct slice *content);
/* The same, and true only for that tag. */
bool der_take(struct slice *in, uint8_t tag, struct slice *content);
/* UTCTime or GeneralizedTime in the forms of RFC 5280, 4.1.2.5, as unix seconds. */
bool der_read_time(uint8_t tag, struct slice content, int64_t *out);

/* ---- writing: appends to out ---- */

void der_put(struct buf *out, uint8_t tag, const void *p, size_t n);
void der_put_slice(struct buf *out, uint8_t tag, struct slice s);
/* INTEGER from bytes of a number that is not negative, most significant first. */
void der_put_unsigned(struct buf *out, const uint8_t *p, size_t n);
/* BOOLEAN TRUE; FALSE is always a default and left out. */
void der_put_true(struct buf *out);
/* BIT STRING of whole bytes. */
void der_put_bits(struct buf *out, const void *p, size_t n);
/* UTCTime for the years 1950 to 2049, else GeneralizedTime (RFC 5280, 4.1.2.5). Years outside 0 to 9999 are cut to these. */
void der_put_time(struct buf *out, int64_t unix_seconds);
/* What is appended between the two becomes one element's content. Nests. */
size_t der_open(struct buf *out, uint8_t tag);
void der_close(struct buf *out, size_t opened);

#endif
