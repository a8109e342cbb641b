/*
 * The proxy from the inside. Three kinds of objects:
 *
 *   struct proxy         the control loop's: listener, engine, options. Data loops read its immutable parts and its counters.
 *   struct proxy_side    one per data loop: HTTP server, upstream client. All connections and exchanges of that loop hang on it;
 *                        everything that takes a side runs on the side's loop.
 *   struct proxy_tunnel  what a connection inside a CONNECT is known as. Belongs to its connection.
 *
 * The way of a request: http_server -> proxy_on_request (proxy_route.c: counters, rate, credentials, target) -> proxy_connect
 * (proxy_connect.c), proxy_direct (proxy_direct.c) or proxy_p2p (proxy_p2p.c). The TLS interception of CONNECT plugs in as a
 * struct proxy_interceptor, made by whoever puts the daemon together.
 */
#ifndef SERVE_PROXY_INTERNAL_H
#define SERVE_PROXY_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "net/http_proxy.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "serve/proxy.h"
#include "serve/proxy_rate.h"

struct config_proxy_rule;
struct conn;
struct dns;
struct http_client;
struct listener;
struct tls_config;
struct url;
struct worker;

#define PROXY_AGENT_MAX 32      /* "dfdaemon-" and 8 hex digits */

struct proxy_side {
	struct proxy *proxy;
	struct worker *worker;
	struct loop *loop;
	struct http_server *http;
	struct http_client *client;     /* for direct requests */
	struct dns *dns;
	struct list fetches;            /* struct proxy_flow: answers from tasks under way */
	uint8_t *buffer;                /* PROXY_READ_BYTES on their way from a file to a socket */
	struct list direct;             /* struct proxy_direct: answers from upstreams under way */
	struct list splices;            /* struct proxy_splice: byte tunnels */
	struct list tunnels;            /* struct proxy_dial: CONNECTs that wait for their upstream */
	struct map blobs;               /* struct proxy_blob by key: finished tasks asked for lately (proxy_blob.c) */
	struct list blob_order;         /* the same, least recently used first */
	struct loop_timer blob_timer;
	struct buf key;                 /* of the request that is looked at */
	bool is_closing;
	struct loop_msg start, drain, close;    /* drain and close come home when they are carried out */
	bool is_done;                   /* the control loop's: closed */
};

struct proxy {
	struct proxy_options o;
	struct listener *listener;
	uint16_t port;                  /* of the listener; for the loop guard */
	struct tls_config *upstream_tls;        /* of direct https requests; NULL: there is nothing to trust */
	struct http_proxies proxies;    /* of the environment */
	char via[PROXY_AGENT_MAX];      /* our token in Via */
	struct proxy_rate rate;
	struct proxy_counts counts;
	atomic_uint_fast64_t generation;        /* raised by proxy_forget */
	struct proxy_side *sides;       /* one per data loop */
	size_t side_count, next_side;

	/* The control loop's. */
	struct list jobs;               /* struct proxy_fetch, all of them */
	struct map verified;            /* task ids whose content was compared with the digest in its name */
	struct map suspects;            /* task ids whose content was wrong the last time */
	size_t verifying;               /* comparisons under way */
	void (*drained)(void *ctx);
	void *drained_ctx;
	struct loop_timer grace;
	size_t draining;                /* sides that are not drained yet */
};

/* ---- connections inside CONNECT ---- */

struct proxy_tunnel {
	bool is_tls;                    /* base scheme of origin-form requests: https */
	bool is_authenticated;          /* the CONNECT carried a right credential: requests inside need none */
	uint16_t port;
	char *host;                     /* without brackets */
};

/* Free with proxy_tunnel_free, or give it to proxy_serve_conn. */
struct proxy_tunnel *proxy_tunnel_new(struct slice host, uint16_t port, bool is_authenticated);
void proxy_tunnel_free(struct proxy_tunnel *t);

/*
 * Serves HTTP/1.x requests on a connection of this side's loop that was taken out of a CONNECT (http_exchange_take_conn), TLS or not.
 * Origin-form targets get the base <scheme>://<host>:<port> of t. Both are owned from here on. Untaken bytes are kept.
 */
void proxy_serve_conn(struct proxy_side *side, struct conn *c, struct proxy_tunnel *t);

/*
 * TLS interception. One object for all sides; its functions are called on any data loop (free_all: on the control loop, when no side calls any
 * more), so what it shares between loops is immutable, atomic, or fetched by letters.
 */
struct proxy_interceptor {
	/* False: this host is tunnelled blindly. host without brackets. */
	bool (*takes)(struct proxy_interceptor *i, struct slice host, uint16_t port);
	/* Answers the CONNECT (http_exchange_take_conn with 200), does the handshake, ends with proxy_serve_conn. t is owned from here on. */
	void (*connect)(struct proxy_interceptor *i, struct proxy_side *side, struct http_exchange *x, struct proxy_tunnel *t);
	/* A client begins TLS on the plain port: a referenced configuration, or NULL to answer 400. NULL: always that. */
	struct tls_config *(*on_port)(struct proxy_interceptor *i, struct proxy_side *side, struct conn *c);
	/* Connections of this side that are still in the handshake are cut. */
	void (*close_side)(struct proxy_interceptor *i, struct proxy_side *side);
	void (*free_all)(struct proxy_interceptor *i);
};

/* ---- a request ---- */

/* One request, put together in proxy_route.c; lives until the handler that takes it returns. */
struct proxy_request {
	struct proxy_side *side;
	struct http_exchange *x;
	const struct h1 *head;
	struct proxy_tunnel *tunnel;    /* NULL on the plain port */
	struct slice url;               /* absolute, as it was asked for */
	struct url *parsed;             /* the same in canonical form */
	bool drops_authorization;       /* it was our credential */
	bool is_mirror;                 /* origin form on the plain port: the registry was chosen here */
};

/* The handler of every side's http_server; ctx is the side. */
void proxy_on_request(void *ctx, struct http_exchange *x);

void proxy_connect(struct proxy_side *side, struct http_exchange *x, struct slice host, uint16_t port, bool is_authenticated);
void proxy_direct(const struct proxy_request *r);
/* rule NULL: the default rule. */
void proxy_p2p(const struct proxy_request *r, const struct config_proxy_rule *rule);
/* True: answered from what the data loop remembers. url and parsed are not needed. */
bool proxy_warm(const struct proxy_request *r);

/* ---- answers (proxy_answer.c) ---- */

#define PROXY_BY_PROXY "proxy"
#define PROXY_BY_DFDAEMON "dfdaemon"
#define PROXY_BY_BACKEND "backend"

/* What may be wrong when a registry that was asked over https does no TLS. */
#define PROXY_PLAIN_HINT "; a registry that speaks plain HTTP must be named in proxy.registryMirror.plainHTTP"

/* An error answer that is ours: status, X-Dragonfly-Error-Type, more fields, and a line of text that names the cause. Logged
 * and counted. */
void proxy_refuse(struct proxy_side *side, struct http_exchange *x, int status, const char *type, const struct h1_field *more, size_t count,
    const char *text);

/* ---- byte tunnels (proxy_splice.c) ---- */

/* Joins two open connections of this side's loop until both directions have ended; both are owned from here on. */
void proxy_splice(struct proxy_side *side, struct conn *a, struct conn *b);
void proxy_splices_close(struct proxy_side *side);

#endif
