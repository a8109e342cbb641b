/*
 * One HTTP call from the inside: the part that connects, sends and receives (http_call.c) and the part that callers use
 * (http_client.c). Not for others.
 */
#ifndef NET_HTTP_CALL_H
#define NET_HTTP_CALL_H

#include "base/buf.h"
#include "base/list.h"
#include "net/http_client.h"
#include "net/http_pool.h"
#include "net/loop.h"

/* A body that nobody wants is read for at most so long before the connection is given up. */
#define HTTP_CALL_DRAIN_MS 2000
/* A request body up to this length is kept while it is sent on a connection that was used before, so that it can be sent again. */
#define HTTP_CALL_KEPT_MAX (64u * 1024)

enum call_phase { CALL_CONNECT, CALL_TUNNEL, CALL_TUNNEL_TLS, CALL_HEAD, CALL_BODY };

struct http_client {
	struct loop *loop;
	struct http_client_opts opts;
	struct http_pool pool;
	struct tls_sessions *sessions;  /* with servers spoken to before */
	struct list calls;
	size_t call_count;
	uint64_t opened;
};

struct http_call {
	struct list in_client;
	struct http_client *client;     /* NULL once it is over */
	struct loop *loop;
	struct http_events ev;
	void *ctx;
	struct http_link *link;
	const struct http_proxy *proxy;
	char *method, *host, *key, *where;
	uint16_t port;
	struct tls_config *tls;
	const struct addr_rules *rules;
	struct buf head;                /* the request's, as it goes on the wire */
	int connect_ms, head_ms, idle_ms;
	int64_t total_ms;
	enum call_phase phase;
	unsigned depth;                 /* callbacks that are running; the last one out frees an ended call */
	bool is_paused, is_discarded, got_bytes;
	size_t drain_left;
	uint64_t received;
	/* Request body. */
	bool has_body, is_chunked, body_may_go, body_done;
	uint64_t body_left;
	bool may_repeat;                /* the method is idempotent and the body, if any, short: a kept connection may be tried first */
	struct buf kept;                /* what went out of the body on such a connection */
	struct loop_later begin, again;
	struct loop_timer total_timer, head_timer, continue_timer;
};

/* Connects or takes a kept connection, and sends the request. */
void http_call_begin(struct loop_later *later);
/* Takes from *in what may be taken now. The call may be over (and still allocated, see depth) afterwards. */
void http_call_pump(struct http_call *call, struct slice *in);
/* Around callbacks. False when the call ended meanwhile; it must not be touched then. */
void http_call_enter(struct http_call *call);
bool http_call_leave(struct http_call *call);
/* The end: first gives up timers, connection and place in the client; then the memory, as soon as no callback runs. */
void http_call_release(struct http_call *call);
void http_call_free_when_idle(struct http_call *call);
void http_call_on_head_timer(void *ctx);

#endif
