/*
 * One TLS connection as a machine over bytes: no socket, no clock. For conn.c alone.
 *
 * The four windows are BearSSL's: ciphertext in, ciphertext out, plaintext in, plaintext out. Each *_buf gives a place and its
 * size (0: not now), each *_done says how much of it was used.
 */
#ifndef NET_TLS_ENGINE_H
#define NET_TLS_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct err;
struct tls_config;
struct tls_engine;
struct tls_sessions;

/* Whose sessions may be resumed. */
struct tls_resume {
	struct tls_sessions *sessions;  /* NULL: none. Referenced */
	const char *key;                /* client: names whom it speaks to; copied */
};

/* By the config's kind: a client that wants the peer to be `name` (a name or IP literal; NULL: nobody in particular), or a
 * server. The config is referenced. resume: NULL, or where sessions are kept; copied. */
struct tls_engine *tls_engine_new(struct tls_config *cfg, const char *name, const struct tls_resume *resume, struct err *e);
void tls_engine_free(struct tls_engine *t);

uint8_t *tls_engine_cipher_in(struct tls_engine *t, size_t *n);
void tls_engine_cipher_in_done(struct tls_engine *t, size_t n);
const uint8_t *tls_engine_cipher_out(struct tls_engine *t, size_t *n);
void tls_engine_cipher_out_done(struct tls_engine *t, size_t n);
const uint8_t *tls_engine_plain_in(struct tls_engine *t, size_t *n);
void tls_engine_plain_in_done(struct tls_engine *t, size_t n);
uint8_t *tls_engine_plain_out(struct tls_engine *t, size_t *n);
void tls_engine_plain_out_done(struct tls_engine *t, size_t n);
/* Makes a record of what was put into plain_out. */
void tls_engine_flush(struct tls_engine *t);
/* Starts the orderly end: close_notify. */
void tls_engine_close(struct tls_engine *t);

/* True once the handshake is over and the wishes of the config (ALPN) are met; -1 through tls_engine_error otherwise. */
bool tls_engine_is_open(struct tls_engine *t);
/* Over: in order after close_notify (returns 0), or failed: -1 and why ("certificate has expired"), without the peer's name.
 * 1: still alive. */
int tls_engine_state(struct tls_engine *t, struct err *e);
/* After a failure: the alert that tells the peer what is wrong with its certificate, for the socket as it is. 0: there is none to send. */
#define TLS_LAST_WORDS 7
size_t tls_engine_last_words(const struct tls_engine *t, uint8_t out[TLS_LAST_WORDS]);
const char *tls_engine_alpn(const struct tls_engine *t);
const char *tls_engine_sni(const struct tls_engine *t);
/* The certificate that the peer showed (DER); empty when it showed none. Lives as long as the engine. */
struct slice tls_engine_peer_cert(const struct tls_engine *t);

#endif
