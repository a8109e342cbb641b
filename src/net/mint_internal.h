/*
 * What the mint's files share: the authority, and the writing of one certificate.
 */
#ifndef NET_MINT_INTERNAL_H
#define NET_MINT_INTERNAL_H

#include <bearssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/mint.h"

struct buf;
struct err;

/* SubjectKeyIdentifier of our keys: the first 160 bits of SHA-256 of the public key (RFC 7093, 2). */
#define MINT_SKI_BYTES 20
/* Not to be guessed, and positive (RFC 5280, 4.1.2.2). */
#define MINT_SERIAL_BYTES 16
#define MINT_SECRET_BYTES 32
/* Longest common name (RFC 5280, appendix A.1: ub-common-name). */
#define MINT_NAME_MAX 64
/* Raw private key of a P-256 key (SEC1, DER). */
#define MINT_KEY_DER_MAX 160

/* An ECDSA P-256 key. A secret. */
struct mint_key {
	br_ec_private_key sk;
	br_ec_public_key pk;
	uint8_t sk_mem[BR_EC_KBUF_PRIV_MAX_SIZE];
	uint8_t pk_mem[BR_EC_KBUF_PUB_MAX_SIZE];
};

struct mint_ca {
	atomic_uint refs;
	struct tls_identity *id;        /* its certificates and key */
	struct slice subject;           /* these three point into id's first certificate */
	struct slice ski;               /* absent when it has none */
	int64_t not_after;
	bool sends_self;                /* its own certificate goes behind the leaf: an authority below another one */
	struct mint_key leaf_key;
	uint8_t serial_secret[MINT_SECRET_BYTES];       /* of this process */
	char what[128];                 /* for errors: where it came from */
};

/* One certificate to be written. */
struct mint_cert {
	struct slice issuer;            /* content of the name's SEQUENCE */
	struct slice subject;
	struct slice ip;                /* 4 or 16 bytes; else dns */
	struct slice dns;
	struct slice authority_ski;     /* absent: no AuthorityKeyIdentifier */
	const struct mint_key *key;     /* whose certificate it is */
	struct slice serial_secret;     /* the serial number is made of this, the names and the time; absent: it is random */
	int64_t not_before;
	int64_t not_after;
	bool is_ca;
};

/* A fresh key. */
int mint_key_make(struct mint_key *key, struct err *e);
void mint_key_ski(const struct mint_key *key, uint8_t out[MINT_SKI_BYTES]);
/* Content of a name with one common name. */
void mint_name_write(struct buf *out, struct slice common_name);
/* Appends the DER of the certificate, signed by `id`'s key. Errors do not name the certificate. */
int mint_cert_write(struct buf *out, const struct mint_cert *cert, const struct tls_identity *signer, struct err *e);

#endif
