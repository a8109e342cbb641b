/*
 * One connection of the HTTP server from the inside: the part that accepts, reads and ends (http_server.c) and the part that handlers
 * use (http_exchange.c). Not for others.
 */
#ifndef NET_HTTP_SERVED_H
#define NET_HTTP_SERVED_H

#include "base/list.h"
#include "net/http_server.h"
#include "net/loop.h"

struct listener;

#define LISTENERS_MAX 8

enum serve_state {
	SERVE_IDLE,     /* no byte of the next request yet */
	SERVE_HEAD,
	SERVE_BUSY,     /* an exchange is under way */
	SERVE_LINGER,   /* all is said; what still comes is dropped */
};

struct http_exchange {
	struct http_exchange_events ev;
	void *ctx;
	bool body_wanted, body_paused, body_done, body_end_said;
	bool head_sent, is_head, is_chunked, keep_alive, wants_write;
	uint64_t left;                  /* body bytes still to be written; HTTP_NO_LENGTH: not counted */
};

/* One connection, and its present exchange. */
struct served {
	struct list link;
	struct http_server *server;     /* NULL once it is over; the memory lives until the loop's present callback returns */
	struct loop *loop;
	struct conn *conn;
	void *conn_ctx;
	void (*conn_over)(void *conn_ctx);
	struct h1 h1;
	enum serve_state state;
	bool in_dispatch;
	bool is_known;                  /* a byte has come: whether it is TLS is settled */
	struct http_exchange x;
	struct loop_timer timer;
	struct loop_later later;        /* free */
	struct loop_later body_later;   /* on_body_end of a request without body, resumed bodies */
};

struct http_server {
	struct loop *loop;
	struct http_server_opts opts;
	http_handler_fn *handler;
	void *ctx;
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	struct list conns;
	size_t conn_count;
	atomic_int_fast64_t full_told;
	bool is_shutting_down;
	void (*done)(void *ctx);
	void *done_ctx;
	struct loop_later done_later;
	int64_t date_s;
	char date[H1_DATE_MAX];
};

struct served *served_of(const struct http_exchange *x);
/* Forgets the connection; its socket is the caller's business. */
void served_forget(struct served *v);
/* Sends what is queued, then waits a little for the client to close, so that it reads the answer instead of a reset. */
void served_linger(struct served *v);
/* Takes what may be taken now; the connection may be over afterwards. */
void served_pump(struct served *v, struct slice *in);
void served_wait_for_request(struct served *v);
/* Once per request. */
void served_say_body_end(struct served *v);
/* The present time as a Date header has it. */
const char *served_date(struct http_server *s);

#endif
