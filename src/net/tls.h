/*
 * TLS 1.2 over BearSSL: what to trust, who we are, which protocols; conn.h does the talking. A config is reference
 * counted and immutable but for tls_config_reload, so that every loop may use it. Renegotiation and versions below 1.2 are refused. Errors name the file or
 * the peer.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct err;
struct tls_config;
struct tls_identity;

/* Bytes of a PEM file: system bundles have about 250 KB. */
#define TLS_PEM_MAX (4u * 1024 * 1024)
/* Certificates in a chain that we send. */
#define TLS_CHAIN_MAX 16
/* ALPN names in a config. */
#define TLS_ALPN_MAX 4

/* ---- who we are: a certificate chain and its private key (RSA or EC). Immutable, reference counted. ---- */
struct tls_identity *tls_identity_load(const char *cert_file, const char *key_file, struct err *e);
/* From PEM in memory; `what` names it in errors. */
struct tls_identity *tls_identity_parse(struct slice cert_pem, struct slice key_pem, const char *what, struct err *e);
struct tls_identity *tls_identity_ref(struct tls_identity *id);
void tls_identity_unref(struct tls_identity *id);

struct tls_client_opts {
	/* Trust, added up: a PEM bundle file, PEM in memory, DER certificates, the system's roots (SSL_CERT_FILE,
	 * SSL_CERT_DIR, then the usual places: backends.md 2.6). */
	const char *ca_file;
	const char *more_ca_file;       /* a second one */
	struct slice ca_pem;
	const struct slice *ca_ders;    /* unparsable ones are skipped; none parsable is an error */
	size_t ca_der_count;
	bool system_roots;              /* a system without any is an error only when there is nothing else to trust */
	bool insecure;                  /* any certificate, any name: only the handshake signature is checked */
	bool no_name_check;             /* chain yes, name no */
	/* Client certificate; both or neither. */
	const char *cert_file;
	const char *key_file;
	/* Mutual TLS: our certificate is refused at once when it has expired, is not valid yet, is not for this side of a connection or has
	 * a short key, and so is a peer's short key. */
	bool strict;
	bool old_suites;                /* also CBC and static RSA, for old appliances (backends.md 10) */
	const char *const *alpn;        /* NULL-terminated; NULL: none offered */
	bool require_alpn;              /* refuse a server that agrees to none of them (wire.md 2.15) */
};

struct tls_server_opts {
	const char *cert_file;
	const char *key_file;
	struct tls_identity *identity;  /* instead of the files; referenced */
	bool strict;                    /* as in tls_client_opts */
	const char *client_ca_file;     /* with it a client certificate signed by it is required */
	const char *const *alpn;
	bool require_alpn;
	bool refuse_other_alpn;         /* a client that offers names, and none of ours, is refused (RFC 7301, 3.2) */
	/* Chooses by the name the client sent (may be ""): a referenced identity, or NULL to refuse. Called in the
	 * connection's loop. With `identity` only for clients that sent a name: that one is for the others. */
	struct tls_identity *(*pick)(void *ctx, const char *sni);
	void *pick_ctx;
};

/* NULL with an error naming the file and why. All strings are copied. */
struct tls_config *tls_client_new(const struct tls_client_opts *opts, struct err *e);
struct tls_config *tls_server_new(const struct tls_server_opts *opts, struct err *e);
struct tls_config *tls_config_ref(struct tls_config *cfg);
void tls_config_unref(struct tls_config *cfg);

/* When a file behind *cfg changed (size, time or inode), loads all again and replaces *cfg (the old reference is given up).
 * 1 replaced, 0 unchanged, -1 could not be loaded: *cfg stays and goes on working. Connections that exist keep what they
 * have. */
int tls_config_refresh(struct tls_config **cfg, struct err *e);
/* The same for everybody who has this config: it stays where it is, and connections that begin from now on take what is on file now. Other
 * threads may use it meanwhile; only one may reload it. */
int tls_config_reload(struct tls_config *cfg, struct err *e);
/* Trust anchors in it. */
size_t tls_config_anchor_count(const struct tls_config *cfg);

#endif
