/*
 * What the TLS files share: loaded keys, anchors and configs.
 */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include <bearssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/slice.h"
#include "net/tls.h"

struct err;

struct tls_identity {
	atomic_uint refs;
	br_x509_certificate chain[TLS_CHAIN_MAX];       /* each data is malloc'ed */
	size_t chain_len;
	br_skey_decoder_context key;    /* holds the key's numbers */
	int key_type;                   /* BR_KEYTYPE_RSA or BR_KEYTYPE_EC */
	int issuer_key_type;
};

/* RSA keys of mutual TLS: shorter ones are refused by the other programs of a cluster as well. */
#define TLS_RSA_BITS_MIN 2048u

/* Bits of an RSA key; 0 for others. */
unsigned tls_identity_rsa_bits(const struct tls_identity *id);

struct tls_anchors {
	br_x509_trust_anchor *list;
	size_t count;
	size_t cap;
};

/* A file as it was when it was read: to see that it changed. */
struct tls_file {
	char *path;
	off_t size;
	ino_t inode;
	time_t modified;
	long modified_ns;
};

struct tls_config {
	atomic_uint refs;
	uint64_t serial;                /* no other config of this process has or had it */
	bool is_server;
	bool insecure;
	bool no_name_check;
	bool strict;
	bool old_suites;
	bool require_alpn;
	bool refuse_other_alpn;
	bool require_client;            /* server: client certificate */
	bool system_roots;
	struct tls_anchors anchors;
	struct tls_identity *identity;  /* NULL: none */
	char *alpn[TLS_ALPN_MAX];
	size_t alpn_count;
	struct tls_identity *(*pick)(void *ctx, const char *sni);
	void *pick_ctx;

	/* What a reload put in its place; NULL: nothing. It has none of its own. */
	pthread_mutex_t lock;
	struct tls_config *newer;

	/* What it was made of, for tls_config_refresh. */
	struct tls_file ca_file;
	struct tls_file more_ca_file;
	struct tls_file cert_file;
	struct tls_file key_file;
	struct slice ca_pem;            /* owned */
	struct slice *ca_ders;          /* owned */
	size_t ca_der_count;
};

struct tls_sessions;

/* For br_ssl_server_set_cache. */
const br_ssl_session_cache_class **tls_sessions_of_server(struct tls_sessions *s);
/* The session that was agreed on under this key with this very config: what another one took for good is to be looked at anew. */
bool tls_sessions_get(struct tls_sessions *s, struct slice key, const struct tls_config *config, br_ssl_session_parameters *out);
/* Keeps one that the server let us have an id for. */
void tls_sessions_put(struct tls_sessions *s, struct slice key, const struct tls_config *config, const br_ssl_session_parameters *params);
void tls_sessions_drop(struct tls_sessions *s, struct slice key);
/* What a connection that begins now is to use: a reference. */
struct tls_config *tls_config_latest(struct tls_config *cfg);
/* Whole file, at most TLS_PEM_MAX bytes, remembered in `file` (path set here). The caller frees out->p. */
int tls_file_read(struct tls_file *file, const char *path, struct slice *out, struct err *e);
bool tls_file_changed(const struct tls_file *file);
void tls_file_free(struct tls_file *file);

/* Adds the certificates of a PEM text; ones that do not parse are skipped and counted in *bad. 0, or -1 when memory is out. */
int tls_anchors_add_pem(struct tls_anchors *a, struct slice pem, size_t *bad);
int tls_anchors_add_der(struct tls_anchors *a, struct slice der);
/* The system's roots: SSL_CERT_FILE and SSL_CERT_DIR when set, else the usual places (backends.md 2.6). -1 naming what was
 * tried when none is found. */
int tls_anchors_add_system(struct tls_anchors *a, struct err *e);
void tls_anchors_free(struct tls_anchors *a);

/* "certificate has expired" for a BearSSL code; NULL for 0. */
const char *tls_error_text(int code);
/* The name of an alert (RFC 5246, 7.2; RFC 8446, 6), or NULL. */
const char *tls_alert_name(int alert);

#endif
