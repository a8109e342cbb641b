/*
 * HTTP/1.x server on one loop: one handler is called for each request, and answers at once or later, streamed both ways with
 * back-pressure. Requests of one connection are served one after the other, in order. Limits, time-outs and framing are handled
 * here; routes, ranges and meaning are the handler's. Used by health, metrics and stats, and by the proxy.
 */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "wire/h1.h"

struct addr;
struct conn;
struct err;
struct http_exchange;
struct http_server;
struct loop;
struct tls_config;

/* From the first byte of a request to the end of its head: 408 after it (proxy.md 2.3). */
#define HTTP_SERVER_HEAD_MS (30 * 1000)
/* A connection that waits for its next request. */
#define HTTP_SERVER_IDLE_MS (300 * 1000)
/* Bytes wait to be sent and none goes. */
#define HTTP_SERVER_SEND_MS (300 * 1000)
/* A request body is wanted and no byte of it comes. */
#define HTTP_SERVER_BODY_MS (300 * 1000)
/* More are accepted and closed at once. */
#define HTTP_SERVER_CONNS_MAX 10000
/* After the last answer of a connection: how long input is still read, so that unread bytes do not turn the close into a reset. */
#define HTTP_SERVER_LINGER_MS 1000
/* Bytes that wait for the socket before http_exchange_write takes no more. */
#define HTTP_SERVER_QUEUE (256 * 1024)

/* Zeroed means the defaults. */
struct http_server_opts {
	struct tls_config *tls;         /* of the server kind; NULL: plain text. Referenced */
	size_t head_max;                /* bytes of all header lines; past it 431 */
	int head_ms, idle_ms, send_ms, body_ms;
	size_t conns_max;               /* further ones are closed at once, told of once a minute as those of `name` */
	const char *name;               /* "proxy"; lives longer than the server. NULL: nothing is told */
	atomic_uint_fast64_t *turned_away;      /* counts them; NULL: nobody does. Any number of servers may share it */
	/* For connections without TLS whose first byte begins a TLS handshake: a referenced server configuration to go on with, or
	 * NULL to answer 400 as plain text. NULL: always that. */
	struct tls_config *(*start_tls)(void *ctx, struct conn *c);
	void *start_tls_ctx;
	/* A connection given by http_server_adopt_conn is over, or was taken out again: its conn_ctx is not used any more. NULL: not told. */
	void (*conn_over)(void *conn_ctx);
};

/*
 * A request has arrived; its body, if any, is not read before http_exchange_read_body. x is valid until http_exchange_end, _reply,
 * _abort, _take_conn, or on_gone. A handler that returns before one of them sets events with on_gone first.
 */
typedef void http_handler_fn(void *ctx, struct http_exchange *x);

struct http_server *http_server_new(struct loop *loop, const struct http_server_opts *opts, http_handler_fn *fn, void *ctx);
/* Closes the listeners and all connections; on_gone is called for exchanges that are under way. */
void http_server_free(struct http_server *s);
/* Listens there too (several are possible). 0, or -1 naming address and cause. */
int http_server_listen(struct http_server *s, const struct addr *a, struct err *e);
/* The address of listener i, with its real port. */
const struct addr *http_server_addr(const struct http_server *s, size_t i);
/* Serves a connection that was accepted elsewhere (owned from here on). */
void http_server_adopt_fd(struct http_server *s, int fd);
/* Serves a connection taken out of another exchange (a CONNECT that is intercepted). conn_ctx is for http_exchange_conn_ctx. */
void http_server_adopt_conn(struct http_server *s, struct conn *c, void *conn_ctx);
/*
 * No new connections; waiting ones are closed, running exchanges end with "Connection: close". done is called (once, not before it
 * returns) when none is left; may be NULL.
 */
void http_server_shutdown(struct http_server *s, void (*done)(void *ctx), void *ctx);
/* Connections now. */
size_t http_server_conn_count(const struct http_server *s);

/* ---- the request ---- */

const struct h1 *http_exchange_request(const struct http_exchange *x);
/* The client's address (of the outer connection for adopted ones), and conn_ctx. */
const struct addr *http_exchange_peer(const struct http_exchange *x);
void *http_exchange_conn_ctx(const struct http_exchange *x);
struct conn *http_exchange_conn(const struct http_exchange *x);
/* Path without query; the query, absent when there is none. Of an origin-form target. */
struct slice http_exchange_path(const struct http_exchange *x);
struct slice http_exchange_query(const struct http_exchange *x);

struct http_exchange_events {
	/* Request body. Straight from the receive buffer. */
	void (*on_body)(void *ctx, const void *p, size_t n);
	void (*on_body_end)(void *ctx);
	/* After http_exchange_write took less than it was given. */
	void (*on_writable)(void *ctx);
	/* The client went away, or broke the rules in its body. x is dead. */
	void (*on_gone)(void *ctx);
};

void http_exchange_set_events(struct http_exchange *x, const struct http_exchange_events *ev, void *ctx);
/* From here on the body comes (an awaited 100 Continue is sent). Without a body on_body_end follows, never within this call. */
void http_exchange_read_body(struct http_exchange *x);
void http_exchange_pause_body(struct http_exchange *x);
void http_exchange_resume_body(struct http_exchange *x);

/* ---- the answer ---- */

#define HTTP_NO_LENGTH UINT64_MAX

/*
 * Status line and header. Written here and not to be among fields: Date (unless given), Content-Length or Transfer-Encoding,
 * Connection. length: of the body, or HTTP_NO_LENGTH (chunked; to HTTP/1.0 until the end of the connection). -1 when a field is not
 * fit for HTTP; nothing was sent then.
 */
int http_exchange_head(struct http_exchange *x, int status, const struct h1_field *fields, size_t count, uint64_t length);
/* The same with the first n bytes of the body: *took of them were taken, as by http_exchange_write. */
int http_exchange_head_with(struct http_exchange *x, int status, const struct h1_field *fields, size_t count, uint64_t length, const void *p,
    size_t n, size_t *took);
/* Body bytes: how many were taken. Less than n: on_writable says when to go on. To HEAD they are taken and dropped. */
size_t http_exchange_write(struct http_exchange *x, const void *p, size_t n);
/* A 1xx that is not 100 or 101, before the head. HTTP/1.0 clients are told nothing. */
void http_exchange_interim(struct http_exchange *x, int status, const struct h1_field *fields, size_t count);
/* As http_exchange_end; behind a chunked body with these trailers. Those that are not fit for HTTP are left out. */
void http_exchange_end_with(struct http_exchange *x, const struct h1_field *trailers, size_t count);
/* The answer is complete. With fewer body bytes than promised the connection is cut. */
void http_exchange_end(struct http_exchange *x);
/* All of that at once. type: Content-Type, or NULL. */
void http_exchange_reply(struct http_exchange *x, int status, const struct h1_field *fields, size_t count, const char *type, struct slice body);
/* Cuts the connection. */
void http_exchange_abort(struct http_exchange *x);
/* No further request on this connection. Before http_exchange_head. */
void http_exchange_close_after(struct http_exchange *x);
/* CONNECT and Upgrade: sends "<status> <reason>" with fields and nothing about a body, and gives up the connection with all unread bytes. */
struct conn *http_exchange_take_conn(struct http_exchange *x, int status, const struct h1_field *fields, size_t count);

#endif
