/*
 * Certificates made on the spot, for a proxy that ends TLS in place of the host a client asked for (proxy.md 15.2): a
 * certificate authority from files, or made once and kept in a directory, and a leaf per host name or IP address.
 *
 * struct mint_ca is immutable and reference counted, so that every loop may use it; struct mint, the store of leaves, belongs
 * to one loop. All leaves of a process share one ECDSA P-256 key, which is never written to a file. What is made depends on the
 * authority, the host and the day alone, so that all mints of an authority show one host's clients the same leaf.
 */
#ifndef NET_MINT_H
#define NET_MINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct mint;
struct mint_ca;
struct tls_identity;

/* Leaves a mint keeps: as many as the reference. One has about 6 KiB. */
#define MINT_CACHE_MAX 1000
/* A leaf is valid from a day before the day it is made on (UTC), for clients whose clock is behind, to 30 days behind it, and
 * made anew when less than a day is left. Clients accept at most 397 days. */
#define MINT_LEAF_BEFORE_S (24 * 3600)
#define MINT_LEAF_DAYS 30
#define MINT_LEAF_RENEW_S (24 * 3600)
/* How long an authority that was made here is valid. */
#define MINT_CA_DAYS 3650
/* RSA keys of fewer bits are refused by TLS clients. */
#define MINT_RSA_BITS_MIN 2048
/* Longer ones BearSSL cannot use. */
#define MINT_RSA_BITS_MAX 4096

/* Files of a made authority in its directory. */
#define MINT_CA_CERT "ca.crt"
#define MINT_CA_KEY "ca.key"

/*
 * From PEM files. The first certificate must be one of an authority, in its time, and the key must be its own: RSA, or EC on
 * P-256, P-384 or P-521; in PKCS#8, PKCS#1 or SEC1 form. Further certificates are sent behind the leaves. NULL with an error
 * that names the file.
 */
struct mint_ca *mint_ca_load(const char *cert_file, const char *key_file, struct err *e);
/*
 * The authority in directory `dir`; made there when the directory does not exist (its parent must): an ECDSA P-256 key in a
 * file of mode 0600, and a certificate for `name` ("proxy CA of host1", cut to 40 bytes). Of several processes that come first
 * at the same time one makes it and all use it. *made, when not NULL, tells whether this call made it.
 */
struct mint_ca *mint_ca_open_dir(const char *dir, const char *name, bool *made, struct err *e);
/* One that lives in memory alone, for a host without a place to write. */
struct mint_ca *mint_ca_in_memory(const char *name, struct err *e);
struct mint_ca *mint_ca_ref(struct mint_ca *ca);
void mint_ca_unref(struct mint_ca *ca);
/* Unix seconds. */
int64_t mint_ca_not_after(const struct mint_ca *ca);

/* At most cache_max leaves are kept, the longest unused goes first. The authority is referenced. */
struct mint *mint_new(struct mint_ca *ca, size_t cache_max);
void mint_free(struct mint *m);
/*
 * What to show to a client that wants `host`: a DNS name (letters, digits, '-', '_', at most 253 bytes in labels of 63, not
 * ending in a number; a trailing dot is ignored) or an IP address, IPv6 with or without brackets. `now` is unix seconds. The
 * caller gives the reference back. NULL: INVALID_ARGUMENT when no certificate can be for it, FAILED_PRECONDITION when the
 * authority has expired.
 */
struct tls_identity *mint_identity(struct mint *m, const char *host, int64_t now, struct err *e);
/* Leaves kept now, and made so far. */
size_t mint_count(const struct mint *m);
uint64_t mint_made(const struct mint *m);

#endif
