/*
 * TLS sessions that may be resumed (RFC 5246, 7.3): the second handshake of the same two costs no certificate, no signature and one round trip
 * less. The same kind of memory serves a server (by session id) and a client (by whom it speaks to). Bounded in number and in age; the
 * secrets in it are wiped. Reference counted; any loop may use it (a client's second connection may come to another one than its first).
 */
#ifndef NET_TLS_SESSIONS_H
#define NET_TLS_SESSIONS_H

#include <stddef.h>

#include "base/slice.h"

struct tls_sessions;

/* Sessions kept when nothing else is said; about 250 bytes each. The least recently used goes. */
#define TLS_SESSIONS_MAX 1000
/* Afterwards certificates are looked at again. */
#define TLS_SESSION_MS (60 * 60 * 1000)

struct tls_sessions *tls_sessions_new(size_t max);
struct tls_sessions *tls_sessions_ref(struct tls_sessions *s);
void tls_sessions_unref(struct tls_sessions *s);
size_t tls_sessions_count(struct tls_sessions *s);

#endif
