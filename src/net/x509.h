/*
 * The few things about a certificate that BearSSL does not tell: its names with IP addresses among them, its dates, and what
 * it may be used for, for checks and for errors a person can act on. Reads DER in memory; nothing here decides about trust.
 */
#ifndef NET_X509_H
#define NET_X509_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf;

/* Bytes of one certificate; real ones have 1 to 4 KiB, with hundreds of names 30. */
#define X509_CERT_MAX (64u * 1024)
/* Names of one certificate that are looked at. */
#define X509_NAMES_MAX 1024

/* Bits of KeyUsage (RFC 5280, 4.2.1.3). */
#define X509_SIGNS 0x80u
#define X509_SIGNS_CERTS 0x04u
#define X509_SIGNS_CRLS 0x02u

struct x509 {
	struct slice issuer;            /* content of the SEQUENCE */
	struct slice subject;           /* content of the SEQUENCE */
	struct slice san;               /* content of SubjectAltName's SEQUENCE; absent without one */
	int64_t not_before;             /* unix seconds */
	int64_t not_after;
	struct slice ski;               /* SubjectKeyIdentifier; absent without one */
	bool is_ca;                     /* BasicConstraints say so */
	bool has_key_usage;
	uint8_t key_usage;              /* first byte of KeyUsage: X509_SIGNS_CERTS... */
	bool has_purposes;              /* ExtendedKeyUsage is there; without it every purpose is allowed */
	bool for_servers, for_clients;
};

/* Slices point into der. 0, or -1 when it is not a certificate. */
int x509_read(struct x509 *out, struct slice der);
/* Whether SubjectAltName lists this address (4 or 16 bytes). */
bool x509_has_ip(const struct x509 *c, struct slice ip);
/* Whether the certificate is for this name: a DNS name (case does not matter) or IP address of SubjectAltName, or the common name. */
bool x509_is_named(const struct x509 *c, const char *name);
/* "a.example, 10.0.0.1"; without SubjectAltName the common name; at most `max` bytes, "..." when cut. Unprintable bytes
 * become '?'. */
void x509_names(const struct x509 *c, struct buf *out, size_t max);
/* "2026-01-02T03:04:05Z"; out holds X509_TIME_MAX. */
#define X509_TIME_MAX 40
const char *x509_time_text(int64_t t, char out[X509_TIME_MAX]);

#endif
