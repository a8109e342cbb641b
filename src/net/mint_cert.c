/*
 * Writing one X.509 certificate (RFC 5280) with a P-256 key (RFC 5480), signed by an RSA or EC key.
 */
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/der.h"
#include "net/mint_internal.h"
#include "net/tls_internal.h"
#include "net/x509.h"

enum {
	TAG_VERSION = 0xa0, TAG_EXTENSIONS = 0xa3,
	NAME_DNS = 0x82, NAME_IP = 0x87, AKI_KEY = 0x80,
};

static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03};
static const uint8_t oid_ski[] = {0x55, 0x1d, 0x0e};
static const uint8_t oid_key_usage[] = {0x55, 0x1d, 0x0f};
static const uint8_t oid_san[] = {0x55, 0x1d, 0x11};
static const uint8_t oid_basic_constraints[] = {0x55, 0x1d, 0x13};
static const uint8_t oid_aki[] = {0x55, 0x1d, 0x23};
static const uint8_t oid_ext_key_usage[] = {0x55, 0x1d, 0x25};
static const uint8_t oid_server_auth[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};
static const uint8_t oid_ec_public_key[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const uint8_t oid_p256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

/* Signature algorithms: RFC 4055, 5; RFC 5758, 3.2. */
static const uint8_t oid_rsa_sha256[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b};
static const uint8_t oid_ecdsa_sha256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t oid_ecdsa_sha384[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03};
static const uint8_t oid_ecdsa_sha512[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04};

#define PUT_OID(out, oid) der_put(out, DER_OID, oid, sizeof(oid))

/* ---- keys ---- */

int
mint_key_make(struct mint_key *key, struct err *e)
{
	br_hmac_drbg_context rng;
	uint8_t seed[32];
	size_t n;

	rand_bytes(seed, sizeof(seed));
	br_hmac_drbg_init(&rng, &br_sha256_vtable, seed, sizeof(seed));
	n = br_ec_keygen(&rng.vtable, br_ec_get_default(), &key->sk, key->sk_mem, BR_EC_secp256r1);
	if (n > 0)
		n = br_ec_compute_pub(br_ec_get_default(), &key->pk, key->pk_mem, &key->sk);
	memset(seed, 0, sizeof(seed));
	memset(&rng, 0, sizeof(rng));
	return n > 0 ? 0 : err_set(e, ERR_INTERNAL, "make a P-256 key: not supported here");
}

void
mint_key_ski(const struct mint_key *key, uint8_t out[MINT_SKI_BYTES])
{
	br_sha256_context ctx;
	uint8_t all[br_sha256_SIZE];

	br_sha256_init(&ctx);
	br_sha256_update(&ctx, key->pk.q, key->pk.qlen);
	br_sha256_out(&ctx, all);
	memcpy(out, all, MINT_SKI_BYTES);
}

/* ---- what is signed ---- */

void
mint_name_write(struct buf *out, struct slice common_name)
{
	size_t set = der_open(out, DER_SET), pair = der_open(out, DER_SEQUENCE);

	PUT_OID(out, oid_common_name);
	der_put_slice(out, DER_UTF8, common_name);
	der_close(out, pair);
	der_close(out, set);
}

static void
put_public_key(struct buf *out, const struct mint_key *key)
{
	size_t whole = der_open(out, DER_SEQUENCE), algorithm = der_open(out, DER_SEQUENCE);

	PUT_OID(out, oid_ec_public_key);
	PUT_OID(out, oid_p256);
	der_close(out, algorithm);
	der_put_bits(out, key->pk.q, key->pk.qlen);
	der_close(out, whole);
}

struct extension {
	size_t whole;
	size_t value;
};

static struct extension
open_extension(struct buf *out, struct slice oid, bool is_critical)
{
	struct extension x;

	x.whole = der_open(out, DER_SEQUENCE);
	der_put_slice(out, DER_OID, oid);
	if (is_critical)
		der_put_true(out);
	x.value = der_open(out, DER_OCTETS);
	return x;
}

static void
close_extension(struct buf *out, struct extension x)
{
	der_close(out, x.value);
	der_close(out, x.whole);
}

#define OPEN_EXTENSION(out, oid, is_critical) open_extension(out, slice_make(oid, sizeof(oid)), is_critical)

/* Bits are counted from the left; unused ones at the end are said first. */
static void
put_key_usage(struct buf *out, uint8_t bits)
{
	struct extension x = OPEN_EXTENSION(out, oid_key_usage, true);
	uint8_t content[2] = {0, bits};

	while (content[0] < 7 && (bits >> content[0] & 1) == 0)
		content[0]++;
	der_put(out, DER_BITS, content, sizeof(content));
	close_extension(out, x);
}

static void
put_constraints(struct buf *out, bool is_ca)
{
	struct extension x = OPEN_EXTENSION(out, oid_basic_constraints, true);
	size_t list = der_open(out, DER_SEQUENCE);

	if (is_ca) {
		der_put_true(out);
		/* No authority below this one. */
		der_put_unsigned(out, NULL, 0);
	}
	der_close(out, list);
	close_extension(out, x);
}

static void
put_server_auth(struct buf *out)
{
	struct extension x = OPEN_EXTENSION(out, oid_ext_key_usage, false);
	size_t list = der_open(out, DER_SEQUENCE);

	PUT_OID(out, oid_server_auth);
	der_close(out, list);
	close_extension(out, x);
}

static void
put_names(struct buf *out, const struct mint_cert *cert)
{
	struct extension x = OPEN_EXTENSION(out, oid_san, cert->subject.n == 0);
	size_t list = der_open(out, DER_SEQUENCE);

	if (cert->ip.n > 0)
		der_put_slice(out, NAME_IP, cert->ip);
	else
		der_put_slice(out, NAME_DNS, cert->dns);
	der_close(out, list);
	close_extension(out, x);
}

static void
put_key_ids(struct buf *out, const struct mint_cert *cert)
{
	uint8_t ski[MINT_SKI_BYTES];
	struct extension x;

	mint_key_ski(cert->key, ski);
	x = OPEN_EXTENSION(out, oid_ski, false);
	der_put(out, DER_OCTETS, ski, sizeof(ski));
	close_extension(out, x);
	if (cert->authority_ski.n > 0) {
		size_t list;

		x = OPEN_EXTENSION(out, oid_aki, false);
		list = der_open(out, DER_SEQUENCE);
		der_put_slice(out, AKI_KEY, cert->authority_ski);
		der_close(out, list);
		close_extension(out, x);
	}
}

static void
put_extensions(struct buf *out, const struct mint_cert *cert)
{
	size_t tagged = der_open(out, TAG_EXTENSIONS), list = der_open(out, DER_SEQUENCE);

	put_constraints(out, cert->is_ca);
	if (cert->is_ca) {
		put_key_usage(out, X509_SIGNS_CERTS | X509_SIGNS_CRLS);
	} else {
		put_key_usage(out, X509_SIGNS);
		put_server_auth(out);
		put_names(out, cert);
	}
	put_key_ids(out, cert);
	der_close(out, list);
	der_close(out, tagged);
}

/* ---- signing ---- */

struct signing {
	const br_hash_class *hash;
	size_t hash_len;
	struct slice oid;
	bool is_rsa;
};

#define ALGORITHM(hash, len, oid, is_rsa) ((struct signing){hash, len, {oid, sizeof(oid)}, is_rsa})

/* By the key, whatever the authority's own certificate was signed with. */
static int
choose_signing(struct signing *s, const struct tls_identity *signer, struct err *e)
{
	if (signer->key_type == BR_KEYTYPE_RSA) {
		*s = ALGORITHM(&br_sha256_vtable, br_sha256_SIZE, oid_rsa_sha256, true);
		return 0;
	}
	switch (br_skey_decoder_get_ec(&signer->key)->curve) {
	case BR_EC_secp256r1:
		*s = ALGORITHM(&br_sha256_vtable, br_sha256_SIZE, oid_ecdsa_sha256, false);
		return 0;
	case BR_EC_secp384r1:
		*s = ALGORITHM(&br_sha384_vtable, br_sha384_SIZE, oid_ecdsa_sha384, false);
		return 0;
	case BR_EC_secp521r1:
		*s = ALGORITHM(&br_sha512_vtable, br_sha512_SIZE, oid_ecdsa_sha512, false);
		return 0;
	}
	return err_set(e, ERR_INVALID_ARGUMENT, "the key is on a curve that cannot sign here (P-256, P-384 and P-521 can)");
}

static void
put_algorithm(struct buf *out, const struct signing *s)
{
	size_t at = der_open(out, DER_SEQUENCE);

	der_put_slice(out, DER_OID, s->oid);
	if (s->is_rsa)
		der_put(out, 0x05, NULL, 0);
	der_close(out, at);
}

static int
put_signature(struct buf *out, const struct signing *s, const struct tls_identity *signer, struct slice tbs, struct err *e)
{
	br_hash_compat_context ctx;
	uint8_t hash[64], sig[MINT_RSA_BITS_MAX / 8];
	size_t n = 0;

	s->hash->init(&ctx.vtable);
	s->hash->update(&ctx.vtable, tbs.p, tbs.n);
	s->hash->out(&ctx.vtable, hash);
	if (s->is_rsa) {
		const br_rsa_private_key *sk = br_skey_decoder_get_rsa(&signer->key);

		if ((sk->n_bitlen + 7) / 8 <= sizeof(sig) &&
		    br_rsa_pkcs1_sign_get_default()(BR_HASH_OID_SHA256, hash, s->hash_len, sk, sig))
			n = (sk->n_bitlen + 7) / 8;
	} else {
		n = br_ecdsa_sign_asn1_get_default()(br_ec_get_default(), s->hash, hash, br_skey_decoder_get_ec(&signer->key), sig);
	}
	if (n == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "the key cannot sign (RSA keys may have at most %d bits)", MINT_RSA_BITS_MAX);
	der_put_bits(out, sig, n);
	return 0;
}

static void
make_serial(const struct mint_cert *cert, uint8_t out[MINT_SERIAL_BYTES])
{
	br_hmac_key_context key;
	br_hmac_context mac;
	uint8_t times[16], all[br_sha256_SIZE];

	if (cert->serial_secret.n == 0) {
		rand_bytes(out, MINT_SERIAL_BYTES);
	} else {
		for (size_t i = 0; i < 8; i++) {
			times[i] = (uint8_t)((uint64_t)cert->not_before >> (8 * i));
			times[8 + i] = (uint8_t)((uint64_t)cert->not_after >> (8 * i));
		}
		br_hmac_key_init(&key, &br_sha256_vtable, cert->serial_secret.p, cert->serial_secret.n);
		br_hmac_init(&mac, &key, 0);
		br_hmac_update(&mac, times, sizeof(times));
		br_hmac_update(&mac, cert->ip.p, cert->ip.n);
		br_hmac_update(&mac, cert->dns.p, cert->dns.n);
		br_hmac_out(&mac, all);
		memcpy(out, all, MINT_SERIAL_BYTES);
		mem_wipe(&key, sizeof(key));
	}
	out[0] = (uint8_t)((out[0] & 0x7f) | 0x40);
}

static void
put_tbs(struct buf *out, const struct mint_cert *cert, const struct signing *s)
{
	size_t tbs = der_open(out, DER_SEQUENCE), at;
	uint8_t serial[MINT_SERIAL_BYTES];

	at = der_open(out, TAG_VERSION);
	der_put_unsigned(out, (const uint8_t[]){2}, 1);
	der_close(out, at);
	make_serial(cert, serial);
	der_put_unsigned(out, serial, sizeof(serial));
	put_algorithm(out, s);
	der_put_slice(out, DER_SEQUENCE, cert->issuer);
	at = der_open(out, DER_SEQUENCE);
	der_put_time(out, cert->not_before);
	der_put_time(out, cert->not_after);
	der_close(out, at);
	der_put_slice(out, DER_SEQUENCE, cert->subject);
	put_public_key(out, cert->key);
	put_extensions(out, cert);
	der_close(out, tbs);
}

int
mint_cert_write(struct buf *out, const struct mint_cert *cert, const struct tls_identity *signer, struct err *e)
{
	struct buf tbs = BUF_INIT;
	struct signing s;
	size_t whole;
	int rc;

	if (choose_signing(&s, signer, e) != 0)
		return -1;
	put_tbs(&tbs, cert, &s);
	whole = der_open(out, DER_SEQUENCE);
	buf_append_slice(out, buf_slice(&tbs));
	put_algorithm(out, &s);
	rc = put_signature(out, &s, signer, buf_slice(&tbs), e);
	der_close(out, whole);
	buf_free(&tbs);
	return rc;
}
