/*
 * gRPC server: speaks HTTP/2 on connections that are handed to it and calls the handlers of a table of methods. Everything
 * belongs to one loop.
 *
 * A stream (one call of a client) lives from its first callback until the handler ends it (rpc_stream_end: no callback follows)
 * or on_cancel returned. Exactly one of the two happens. All callbacks come from the loop, never from inside a function of this
 * header.
 */
#ifndef NET_RPC_SERVER_H
#define NET_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/addr.h"
#include "wire/hpack.h"

struct arena;
struct conn;
struct err;
struct loop;
struct pb_desc;
struct pb_method;
struct peercred;
struct rpc_server;
struct rpc_stream;
struct tls_config;

/* daemon.md 10 and 2.1. */
#define RPC_SERVER_CONNECTIONS_MAX 1024
#define RPC_SERVER_PER_IP_MAX 64
#define RPC_SERVER_STREAMS_MAX 256
#define RPC_SERVER_MESSAGE_MAX (4u * 1024 * 1024)
#define RPC_SERVER_HEADER_LIST_MAX 16384
#define RPC_SERVER_PREFACE_MS 10000
#define RPC_SERVER_IDLE_MS (30 * 60 * 1000)
#define RPC_SERVER_KEEPALIVE_MS 300000
#define RPC_SERVER_PING_ACK_MS 20000
/* What one decoded request may take in memory: hostile bytes can stand for many empty entries. */
#define RPC_SERVER_DECODED_MAX (16u * 1024 * 1024)
/* Bytes of sent messages that wait for the peer's window, per stream; past it sending fails. A handler that heeds on_drain
 * stays far below. */
#define RPC_STREAM_QUEUE_MAX (4u * 1024 * 1024)

struct rpc_method {
	const struct pb_method *method; /* path, descriptors, who streams */
	/* A call begins; no message yet. Optional: for methods whose client streams. */
	void (*on_open)(struct rpc_stream *s, void *ctx);
	/* A request. Where the client does not stream it comes exactly once and lives as long as the stream; else it lives
	 * until this returns. */
	void (*on_message)(struct rpc_stream *s, void *ctx, const void *request);
	/* The client sends nothing more. Optional; only where the client streams. */
	void (*on_half_close)(struct rpc_stream *s, void *ctx);
	/* All queued bytes are with the connection: send more. Optional. */
	void (*on_drain)(struct rpc_stream *s, void *ctx);
	/* The client cancelled, the connection was lost, the client's deadline passed, it broke the protocol, or the server
	 * stops: `why` says. Drop all work for it; the stream is dead when this returns. Optional only when on_message
	 * always ends the stream itself. */
	void (*on_cancel)(struct rpc_stream *s, void *ctx, const struct err *why);
	bool is_exempt;                 /* from `admit`: health */
};

/* Zeroed means the defaults. */
struct rpc_server_opts {
	const char *name;               /* for logs: "download", "upload" */
	/* Called for each new call that is not exempt: -1 with e refuses it (RESOURCE_EXHAUSTED from a rate limit). Optional. */
	int (*admit)(void *ctx, const struct rpc_stream *s, struct err *e);
	/* An admitted call got its response headers, or ended without, so many ms after it began: once for each. Optional. */
	void (*answered)(void *admit_ctx, const struct rpc_stream *s, int64_t ms);
	void *admit_ctx;
	uint32_t stream_window;         /* [1 MiB] */
	uint32_t connection_window;     /* [4 MiB] */
	uint32_t max_frame_size;        /* [256 KiB] */
	size_t connections_max;         /* [RPC_SERVER_CONNECTIONS_MAX] */
	size_t per_ip_max;              /* of other hosts; loopback and unix are free [RPC_SERVER_PER_IP_MAX] */
};

struct rpc_server *rpc_server_new(struct loop *loop, const struct rpc_server_opts *opts);
/* Serves these methods with ctx; the table must outlive the server. Any number of tables. */
void rpc_server_add(struct rpc_server *srv, const struct rpc_method *methods, size_t n, void *ctx);
/* Serves a connected descriptor (owned from here on), with TLS when tls is not NULL; `early` are bytes already read from it.
 * Closes it when a limit is reached. */
void rpc_server_serve(struct rpc_server *srv, int fd, struct tls_config *tls, struct slice early);
/* Serves an open connection of the same loop (owned from here on), after the caller looked at its first bytes: its untaken
 * bytes are read here. */
void rpc_server_serve_conn(struct rpc_server *srv, struct conn *c);
/* For SIGTERM: GOAWAY in two steps, new calls refused, open ones may finish within grace_ms, then they are cancelled. `done`
 * is called once (from the loop) when no connection is left. */
void rpc_server_drain(struct rpc_server *srv, int grace_ms, void (*done)(void *ctx), void *ctx);
/* Cancels all streams (on_cancel is called from here, the one exception), closes all connections at once. */
void rpc_server_free(struct rpc_server *srv);

struct rpc_server_counts {
	size_t connections;
	size_t streams;
	uint64_t calls;                 /* ever */
	uint64_t limited;               /* connections and calls refused by a limit, ever */
};
void rpc_server_counts(const struct rpc_server *srv, struct rpc_server_counts *out);

/* ---- a stream, for handlers ---- */
void rpc_stream_set_user(struct rpc_stream *s, void *user);
void *rpc_stream_user(const struct rpc_stream *s);
const struct pb_method *rpc_stream_method(const struct rpc_stream *s);
struct loop *rpc_stream_loop(const struct rpc_stream *s);
/* Memory that lives as long as the stream. */
struct arena *rpc_stream_arena(struct rpc_stream *s);
const struct addr *rpc_stream_peer(const struct rpc_stream *s);
/* Who is at the other end of the unix socket; false on TCP or when the system cannot tell. */
bool rpc_stream_peercred(const struct rpc_stream *s, struct peercred *out);
/* The certificate that the caller showed (DER), checked as the server asks; empty when it showed none. Lives as long as the stream. */
struct slice rpc_stream_peer_cert(const struct rpc_stream *s);
const char *rpc_stream_authority(const struct rpc_stream *s);
/* Request metadata by lower-case name; the absent slice when it is not there. Lives as long as the stream. */
struct slice rpc_stream_metadata(const struct rpc_stream *s, const char *name);

/* Response headers now, not with the first message (wire.md 2.8 rule 3). Twice is harmless. */
void rpc_stream_send_headers(struct rpc_stream *s);
/* The same with headers of the application's own (lower-case names), at most RPC_OWN_HEADERS_MAX. */
#define RPC_OWN_HEADERS_MAX 4
struct rpc_header {
	const char *name, *value;
};
void rpc_stream_send_headers_with(struct rpc_stream *s, const struct rpc_header *more, size_t n);
/* Queues one message: 0, or -1 (RESOURCE_EXHAUSTED) past RPC_STREAM_QUEUE_MAX. */
int rpc_stream_send(struct rpc_stream *s, const struct pb_desc *desc, const void *msg, struct err *e);
int rpc_stream_send_bytes(struct rpc_stream *s, struct slice msg, struct err *e);
/* One message too large to hold: says its length, then takes its bytes as there is room. _part returns how many were taken
 * (maybe 0: wait for on_drain); nothing else may be sent until all `len` bytes were. */
int rpc_stream_send_begin(struct rpc_stream *s, uint32_t len, struct err *e);
size_t rpc_stream_send_part(struct rpc_stream *s, const void *p, size_t n);
/* Bytes that rpc_stream_send_part would take now. */
size_t rpc_stream_send_room(const struct rpc_stream *s);
/* Bytes queued and not with the connection yet. */
size_t rpc_stream_queued(const struct rpc_stream *s);
/* Back-pressure towards a streaming client. */
void rpc_stream_pause(struct rpc_stream *s);
void rpc_stream_resume(struct rpc_stream *s);
/* The end: status code, message (UTF-8, may be NULL) and details (bytes, n 0: none), after what is queued. The stream is
 * dead for the caller. */
void rpc_stream_end(struct rpc_stream *s, int code, const char *message, struct slice details);
/* The same from an error. */
void rpc_stream_fail(struct rpc_stream *s, const struct err *e);

#endif
