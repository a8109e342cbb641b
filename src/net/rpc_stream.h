/*
 * The inside of the gRPC server: connections and streams. For rpc_server.c (connections, limits, draining) and rpc_stream.c
 * (one call) alone.
 */
#ifndef NET_RPC_STREAM_H
#define NET_RPC_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/os/sockopt.h"
#include "net/rpc_server.h"
#include "wire/grpc.h"
#include "wire/h2.h"

struct h2_link;

/* Tables of methods that one server takes. */
#define RPC_TABLES_MAX 16
/* Request metadata kept for handlers. */
#define RPC_METADATA_MAX 64

struct rpc_table {
	const struct rpc_method *methods;
	size_t n;
	void *ctx;
};

struct rpc_server {
	struct loop *loop;
	char *name;
	struct rpc_server_opts opts;
	struct rpc_table tables[RPC_TABLES_MAX];
	size_t n_tables;
	struct list conns;
	struct rpc_server_counts counts;
	int64_t refused_ms;             /* a refused certificate was last written of */
	atomic_int_fast64_t full_told;
	bool draining;
	struct loop_timer grace;
	struct loop_timer second_goaway;
	struct loop_later drained_later;
	void (*drained)(void *ctx);
	void *drained_ctx;
};

struct rpc_conn {
	struct list link;
	struct rpc_server *server;
	struct h2_link *h2;
	struct list streams;
	struct list dirty;
	struct addr peer;
	bool has_cred;
	struct peercred cred;
	struct loop_timer wait;         /* for the preface, then for idleness */
	size_t open_streams;
	bool had_settings;
};

struct rpc_stream {
	struct list link;
	struct list dirty;
	struct rpc_conn *conn;
	uint32_t id;                    /* 0 when the engine has forgotten it */
	const struct rpc_method *method;
	void *ctx;
	void *user;
	struct arena arena;
	struct hpack_field *metadata;
	size_t n_metadata;
	const char *authority;

	struct grpc_reader reader;
	struct buf held;                /* bytes that came while paused */
	bool paused;
	bool peer_ended;
	bool told_half_close;
	bool has_request;
	bool is_told;                   /* a handler knows of it */
	bool is_admitted;               /* `answered` is still to be called */
	int64_t admitted_at;            /* monotonic ms */
	struct loop_timer deadline;     /* until response headers; until the end where the server does not stream */

	struct buf out;
	uint32_t part_left;             /* bytes of a message begun by rpc_stream_send_begin */
	bool sent_headers;
	bool wants_drain;
	bool is_ended;                  /* the handler is done: code, message and details wait for the output */
	bool is_dead;
	bool sent_trailers;
	int code;
	struct buf trailer_message;     /* encoded */
	struct buf trailer_details;     /* encoded */
	struct loop_later later;
};

/* rpc_stream.c */
void rpc_stream_open(struct rpc_conn *c, uint32_t id, const struct hpack_field *fields, size_t n, bool is_end);
void rpc_stream_on_data(struct rpc_stream *s, struct slice bytes, bool is_end);
void rpc_stream_push(struct rpc_stream *s);
/* The stream is over in the engine. `why` goes to the handler if it has not ended it. */
void rpc_stream_gone(struct rpc_stream *s, const struct err *why);

/* rpc_server.c */
const struct rpc_method *rpc_server_find(const struct rpc_server *srv, struct slice path, void **ctx);
bool rpc_server_has_service(const struct rpc_server *srv, struct slice service);
void rpc_conn_stream_ended(struct rpc_conn *c);

#endif
