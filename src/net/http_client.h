/*
 * HTTP/1.1 client on one loop: one call is one request and its answer, streamed both ways with back-pressure. Connections are
 * kept and used again per origin; forward proxies are spoken to (absolute form, CONNECT). Redirects, retries and the meaning of
 * a status are left to the caller (source/http.c, the proxy), with one exception: a kept connection may end just when it is used again,
 * which says nothing about the server. So a request goes out on one only if it may be sent twice (an idempotent method, RFC 9110
 * 9.2.2, and no body longer than HTTP_CALL_KEPT_MAX), and is sent again on a new one when nothing of an answer came; all others go out
 * on a connection of their own.
 */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/http_proxy.h"
#include "wire/h1.h"

struct addr_rules;
struct conn;
struct dns;
struct err;
struct http_call;
struct http_client;
struct loop;
struct tls_config;

/* An unused connection is closed after so long (backends.md 2.4), and at most so many are kept, in all. */
#define HTTP_CLIENT_IDLE_MS (90 * 1000)
#define HTTP_CLIENT_IDLE_MAX 1024
/* Request body bytes that wait for the socket before http_call_write takes no more. */
#define HTTP_CLIENT_BODY_QUEUE (256 * 1024)
/* How long an "Expect: 100-continue" is waited on before the body goes anyway (RFC 9110 10.1.1). */
#define HTTP_CLIENT_CONTINUE_MS 1000

/* Zeroed means the defaults. What is pointed to must outlive the client. */
struct http_client_opts {
	struct dns *dns;                        /* NULL: only IP literals can be reached */
	const struct http_proxies *proxies;     /* NULL: none */
	struct tls_config *proxy_tls;           /* for proxies spoken to over TLS; referenced */
	size_t idle_max;                        /* 0: HTTP_CLIENT_IDLE_MAX */
	int idle_ms;                            /* 0: HTTP_CLIENT_IDLE_MS */
};

struct http_client *http_client_new(struct loop *loop, const struct http_client_opts *opts);
/* Ends all calls without a callback and closes all connections. */
void http_client_free(struct http_client *c);

struct http_request {
	const char *method;
	const char *host;               /* name or IP literal, IPv6 without brackets */
	uint16_t port;
	struct tls_config *tls;         /* not NULL: https. Referenced; connections are shared only between calls with the same one */
	struct slice target;            /* origin form: path and query, as they go on the wire */
	/* Host, Content-Length, Transfer-Encoding, Connection and Proxy-Authorization are written by the client: none of
	 * them here. */
	const struct h1_field *fields;
	size_t field_count;
	/* Request body, streamed by http_call_write. Without a length it goes chunked. */
	bool has_body;
	bool has_length;
	uint64_t length;
	bool expect_continue;           /* send the body only when the server wants it */
	bool is_upgrade;                /* fields hold an Upgrade: "Connection: upgrade" goes with it */

	const struct addr_rules *rules; /* which addresses may be connected to; NULL: all. Outlives the client; connections are shared only
	                                 * between calls with the same one. Of targets that a proxy resolves only literals are looked at */
	int connect_ms;                 /* per address; 0: the default of conn.h */
	int head_ms;                    /* from the request's start until the answer's head; 0: no limit of its own */
	int idle_ms;                    /* no byte while we want some; 0: none */
	int64_t total_ms;               /* from http_call_start to the last byte; 0: none */
};

enum http_failure {
	HTTP_BAD_REQUEST,       /* cannot be written as HTTP */
	HTTP_NO_NAME,           /* the name does not exist or could not be resolved */
	HTTP_NO_CONNECT,        /* refused, unreachable */
	HTTP_NO_TLS,            /* handshake or certificate */
	HTTP_NO_PROXY,          /* the proxy refused */
	HTTP_TIMED_OUT,
	HTTP_BROKEN,            /* the connection ended within the exchange */
	HTTP_PROTOCOL,          /* the answer is not HTTP */
	HTTP_NOT_ALLOWED,       /* the rules admit none of its addresses */
};

/*
 * on_head once, on_data any number of times, on_end; or on_error instead of what is left. The call is gone after on_end and
 * on_error. Any function of this header may be called from them.
 */
struct http_events {
	/* head is valid until the next callback. head->is_tunnel: see http_call_take_conn. */
	void (*on_head)(void *ctx, const struct h1 *head);
	/* Straight from the receive buffer. */
	void (*on_data)(void *ctx, const void *p, size_t n);
	/* Trailers are in head. */
	void (*on_end)(void *ctx, const struct h1 *head);
	/* The text names the address and what was waited for. */
	void (*on_error)(void *ctx, enum http_failure f, const struct err *e);
	/* The request body is wanted (more of it). Only with has_body. */
	void (*on_writable)(void *ctx);
	/* A 1xx but 100 and 101, before the head. Optional. */
	void (*on_interim)(void *ctx, const struct h1 *head);
};

/* Never NULL, no callback before it returns. r and all it points to are copied or referenced. */
struct http_call *http_call_start(struct http_client *c, const struct http_request *r, const struct http_events *ev, void *ctx);
/* Ends the call and its connection; no callback follows. */
void http_call_cancel(struct http_call *call);
/*
 * From on_head or later: the rest of the body is not wanted. Up to drain_max bytes are still read so that the connection can be
 * kept; else it is closed. No callback follows; the call is gone for the caller.
 */
void http_call_discard(struct http_call *call, size_t drain_max);
/* No on_data until resumed; the server is slowed down by TCP. */
void http_call_pause(struct http_call *call);
void http_call_resume(struct http_call *call);

/* Request body: how many bytes were taken (they are sent or queued). 0: wait for on_writable. */
size_t http_call_write(struct http_call *call, const void *p, size_t n);
/* The body is complete; with trailers where it goes chunked. */
void http_call_write_end(struct http_call *call);
void http_call_write_end_with(struct http_call *call, const struct h1_field *trailers, size_t count);

/* In on_head of a tunnel (101, or 2xx to CONNECT): the connection is the caller's, unread bytes included; the call is gone. */
struct conn *http_call_take_conn(struct http_call *call);

/* The address that the call speaks to ("10.0.0.1:80"; "name:80" before it is known). Valid while the call lives. */
const char *http_call_peer_text(const struct http_call *call);

/* Connections opened so far, connections kept unused now, calls under way: for tests and metrics. */
uint64_t http_client_opened(const struct http_client *c);
size_t http_client_idle_count(const struct http_client *c);
size_t http_client_call_count(const struct http_client *c);

#endif
