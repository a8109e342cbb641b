/*
 * One non-blocking stream socket on one loop: TCP or unix, plaintext or TLS alike. Connects (names, happy eyeballs, handshake)
 * or adopts an accepted descriptor; pushes what arrives; sends directly from the caller's memory where it can; watches the
 * waits.
 *
 * Life: either the owner ends it (conn_close, conn_abort, conn_detach: no callback follows) or it ends itself, and then
 * on_close is the last callback and the pointer is dead when that returns. All callbacks come from the loop, never from inside
 * a call of the owner. Every callback may end the connection or change its events.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/addr.h"

struct addr_rules;
struct buf;
struct conn;
struct dns;
struct err;
struct loop;
struct tls_config;
struct tls_sessions;

/* Bytes that conn_write keeps when the kernel takes no more; past it the write fails. A caller that respects on_drain stays
 * far below. */
#define CONN_QUEUE_MAX (4u * 1024 * 1024)
/* Bytes that on_data may leave untaken: a parser that needs more in one piece than a receive buffer is refused. */
#define CONN_UNTAKEN_MAX (256u * 1024)
/* Connecting: per address (wire.md 2.13: 3 s; backends.md 2.4: 10 s), TLS handshake, and the second family's delay (RFC
 * 8305, backends.md 2.4). */
#define CONN_CONNECT_MS 3000
#define CONN_HANDSHAKE_MS 10000
#define CONN_SECOND_FAMILY_MS 300
/* How long conn_close goes on sending what is queued. */
#define CONN_LINGER_MS 10000

struct conn_events {
	/* Connected and, with TLS, shaken hands. Optional; also called for adopted ones. */
	void (*on_open)(struct conn *c, void *ctx);
	/* n > 0 bytes arrived; returns how many were taken. The rest is kept (at most CONN_UNTAKEN_MAX) and offered again
	 * with more behind it when more arrives or after conn_resume_read. p is the loop's receive buffer or the
	 * connection's own, valid in this call. */
	size_t (*on_data)(struct conn *c, void *ctx, const uint8_t *p, size_t n);
	/* The peer sends no more (FIN; with TLS close_notify). Writing still works without TLS. NULL: the connection ends with
	 * on_close. Untaken bytes are lost to a parser that did not take them before. */
	void (*on_eof)(struct conn *c, void *ctx);
	/* All that conn_write queued is with the kernel. Optional. */
	void (*on_drain)(struct conn *c, void *ctx);
	/* After conn_want_write: the socket takes bytes again. Optional. */
	void (*on_writable)(struct conn *c, void *ctx);
	/* The end. `e` always says why and names the address: "10.0.0.1:80: closed by the peer" (UNAVAILABLE), "10.0.0.1:80:
	 * no answer to connect in 3 s" (DEADLINE_EXCEEDED)... */
	void (*on_close)(struct conn *c, void *ctx, const struct err *e);
};

/* Zeroed means the defaults. Strings and addresses are copied; the tls_config is referenced; dns must outlive the connection. */
struct conn_opts {
	/* Where to, for conn_connect: a fixed address (addr.len > 0), or host (name or IP literal) and port with a resolver. */
	struct addr addr;
	const char *host;
	uint16_t port;
	struct dns *dns;                /* needed when host is a name */
	struct addr bind;               /* local address to use; optional */
	const struct addr_rules *rules; /* addresses that are not admitted are passed over (PERMISSION_DENIED when none is left); NULL: all are.
	                                 * Must outlive the connecting */
	int connect_ms;                 /* per address; 0: CONN_CONNECT_MS */
	int total_ms;                   /* names, all addresses and handshake together; 0: no further limit */
	int handshake_ms;               /* 0: CONN_HANDSHAKE_MS */

	/* TLS when not NULL: as client for conn_connect, by the config's kind for conn_adopt. */
	struct tls_config *tls;
	const char *tls_name;           /* name or IP literal the certificate must be for; NULL: host, else the address's IP */

	struct tls_sessions *sessions;  /* earlier ones may be resumed. NULL: none. Referenced */
	const char *session_key;        /* as a client: equal for those who are the same server; copied */

	/* TCP keepalive; 0: off. Linux also: user_timeout_ms, how long sent bytes may stay unacknowledged. */
	int keepalive_idle_s;
	int keepalive_interval_s;
	int keepalive_probes;
	int user_timeout_ms;
	bool uses_fastopen;             /* conn_connect: TCP Fast Open where both systems have it */

	/* conn_adopt: bytes that were already read from the socket; copied. */
	struct slice early;
};

/* Starts connecting; never NULL (failures come as on_close). */
struct conn *conn_connect(struct loop *loop, const struct conn_opts *opts, const struct conn_events *ev, void *ctx);
/* Takes over a connected descriptor (made non-blocking and close-on-exec here). */
struct conn *conn_adopt(struct loop *loop, int fd, const struct conn_opts *opts, const struct conn_events *ev, void *ctx);
/* Gives the connection to another owner on the same loop; untaken bytes are offered to it in the next turn. */
void conn_set_events(struct conn *c, const struct conn_events *ev, void *ctx);
/* Plaintext so far, TLS from here: after CONNECT through a proxy, or after looking at the first byte. Untaken bytes go into
 * the handshake (called in on_data: then take none); on_open follows when it is done. name as opts.tls_name. */
void conn_start_tls(struct conn *c, struct tls_config *tls, const char *name);
/* As opts.sessions, for the server's side of conn_start_tls. */
void conn_set_sessions(struct conn *c, struct tls_sessions *s);
/* Takes the descriptor out of a plaintext connection, to adopt it elsewhere (another loop's thread: send both there by
 * loop_post). `unread` gets the untaken bytes. Bytes queued for sending must be gone before. -1 and the connection unchanged
 * when it is not open, encrypted, or has queued bytes. */
int conn_detach(struct conn *c, struct buf *unread, struct err *e);

/* Back-pressure: while paused nothing is read, so the peer's sends stall in the end. */
void conn_pause_read(struct conn *c);
void conn_resume_read(struct conn *c);
bool conn_is_read_paused(const struct conn *c);
/* Receive into the caller's memory from now on, at most n bytes a time; p NULL: the loop's shared buffer, cut to n (0: all
 * of it). */
void conn_set_read_buffer(struct conn *c, uint8_t *p, size_t n);

/* Sends at once what the kernel takes and queues the rest. 0, or -1 when the queue would pass CONN_QUEUE_MAX
 * (RESOURCE_EXHAUSTED; nothing of p was sent or kept) or the connection is over. Also allowed before on_open: it is sent
 * then. A socket error is reported by on_close later, not here. */
int conn_write(struct conn *c, const void *p, size_t n, struct err *e);
/* Sends what is taken now from the caller's memory, keeps nothing: how many bytes went (0: none now; call conn_want_write).
 * Order with conn_write is kept: while its queue is not empty this takes none. */
size_t conn_send_some(struct conn *c, const void *p, size_t n);
/* conn_write of the first and conn_send_some of the rest, in one call to the system where that can be: how many bytes of the rest went. */
size_t conn_write_then_some(struct conn *c, const void *first, size_t first_n, const void *p, size_t n);
/* Asks for one on_writable. */
void conn_want_write(struct conn *c);
/* Bytes of conn_write (and ciphertext) not yet with the kernel. */
size_t conn_queued(const struct conn *c);

/* FIN (and close_notify) after what is queued. Reading goes on; with TLS it does not (RFC 5246, 7.2.1). */
void conn_shutdown_write(struct conn *c);
/* Sends what is queued within CONN_LINGER_MS, then closes. No callback follows. */
void conn_close(struct conn *c);
/* Closes now; queued bytes are lost, the peer may see a reset. No callback follows. */
void conn_abort(struct conn *c);

/* Waits that end the connection (0: off). Idle: no byte either way. Read: no byte arrived while reading was not paused.
 * Write: bytes wait to be sent and none went. The error is DEADLINE_EXCEEDED and says which wait, how long and whose
 * address. */
void conn_set_idle_ms(struct conn *c, int ms);
void conn_set_read_ms(struct conn *c, int ms);
void conn_set_write_ms(struct conn *c, int ms);

struct loop *conn_loop(const struct conn *c);
void *conn_ctx(const struct conn *c);
/* Length 0 before it is connected. */
const struct addr *conn_peer(const struct conn *c);
void conn_local(const struct conn *c, struct addr *out);
/* "10.0.0.1:80" or, before that is known, "name:80": for logs. */
const char *conn_peer_text(const struct conn *c);
bool conn_is_open(const struct conn *c);
bool conn_is_tls(const struct conn *c);
/* Agreed ALPN protocol, "" when none; SNI that the client sent (server side), "" when none. */
const char *conn_tls_alpn(const struct conn *c);
const char *conn_tls_sni(const struct conn *c);
/* The certificate of the peer (DER), checked as the config asks; absent without TLS or when it showed none. Lives as long as the connection. */
struct slice conn_tls_peer_cert(const struct conn *c);
int conn_fd(const struct conn *c);
/* Asks the kernel: open, and nothing has come (no byte, no end, no error) that was not looked at yet. */
bool conn_is_quiet(const struct conn *c);
/* Bytes read from and written to the socket so far (ciphertext with TLS). */
uint64_t conn_bytes_in(const struct conn *c);
uint64_t conn_bytes_out(const struct conn *c);

#endif
