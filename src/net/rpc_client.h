/*
 * gRPC client: a channel is one HTTP/2 connection to one target, made when the first call wants it and made again after it was
 * lost; calls run beside each other on it. A channel and its calls belong to one loop.
 *
 * Callbacks come from the loop, never from inside a function of this header. A call lives until on_end returned or
 * rpc_call_cancel was called; on_end comes exactly once unless the call was cancelled, whatever happens: no answer, lost
 * connection, deadline. Failure texts name the address and what was waited for.
 */
#ifndef NET_RPC_CLIENT_H
#define NET_RPC_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/addr.h"
#include "wire/hpack.h"

struct dns;
struct err;
struct loop;
struct pb_desc;
struct pb_method;
struct rpc_call;
struct rpc_channel;
struct tls_config;

/* wire.md 2.8, 2.13: time to connect, and to the response headers of every call that does not say otherwise. */
#define RPC_CONNECT_MS 3000
#define RPC_HEADERS_MS 10000
/* PING after this silence, with a call open; the answer is awaited for RPC_PING_ACK_MS (wire.md 2.9: a Go server takes PINGs
 * under 300 s as abuse). */
#define RPC_KEEPALIVE_MS 310000
#define RPC_PING_ACK_MS 20000
/* Largest message taken when the call names no other limit: a piece of 64 MiB and its metadata. */
#define RPC_MESSAGE_MAX (80u * 1024 * 1024)
/* Bytes of sent messages that wait for the peer's window; past it sending fails. */
#define RPC_SEND_QUEUE_MAX (4u * 1024 * 1024)
/* Calls of one channel that wait for the connection or for the peer's limit of streams. */
#define RPC_WAITING_MAX 4096

/* Zeroed means the defaults; strings are copied, tls referenced, dns must outlive the channel. */
struct rpc_channel_opts {
	struct addr addr;               /* IP and port, or unix; or (len 0) host and port: */
	const char *host;
	uint16_t port;
	struct dns *dns;
	const char *authority;          /* NULL: host:port of the target, "localhost" for unix */
	struct tls_config *tls;         /* its ALPN should be "h2" */
	const char *tls_name;           /* NULL: host, else the IP */
	const char *user_agent;         /* NULL: "dragonfly-c/VERSION" */
	int connect_ms;                 /* [RPC_CONNECT_MS] */
	uint32_t stream_window;         /* [2 MiB] */
	uint32_t connection_window;     /* [5 MiB] */
	uint32_t max_frame_size;        /* [16384] */
	bool ping_when_idle;            /* also without a call: for the unix socket */
	int keepalive_ms;               /* [RPC_KEEPALIVE_MS] */
	int idle_close_ms;              /* closes a connection without calls after this time; 0: kept */
};

/* Never fails and does not connect yet. */
struct rpc_channel *rpc_channel_new(struct loop *loop, const struct rpc_channel_opts *opts);
/* Ends all its calls with CANCELLED first (on_end is called from here, the one exception), then the connection. Not from
 * inside a callback of its own calls: see rpc_channel_release. */
void rpc_channel_free(struct rpc_channel *ch);
/* From anywhere: frees it as soon as its last call has ended; no call may be started any more. */
void rpc_channel_release(struct rpc_channel *ch);
/* The target as text: "10.0.0.1:8002", "unix:/var/run/...". */
const char *rpc_channel_target(const struct rpc_channel *ch);
bool rpc_channel_is_connected(const struct rpc_channel *ch);
/* Calls open or waiting. */
size_t rpc_channel_call_count(const struct rpc_channel *ch);
/* Our own IP on the connection; length 0 while there is none. */
void rpc_channel_local(const struct rpc_channel *ch, struct addr *out);

/* How a call ended. Slices live until on_end returns. */
struct rpc_status {
	int code;                       /* enum err_code */
	const char *message;            /* never NULL; UTF-8 */
	struct slice details;           /* grpc-status-details-bin, decoded; n 0 when absent */
	const struct hpack_field *fields;       /* trailers, or headers of a trailers-only answer */
	size_t n_fields;
	bool is_local;                  /* made on this side (connection, deadline, protocol) */
	bool is_unprocessed;            /* the server has certainly not begun with it: safe to call again */
};

struct rpc_call_events {
	/* Response headers. Optional; not called for trailers-only answers. */
	void (*on_headers)(struct rpc_call *call, void *ctx, const struct hpack_field *fields, size_t n);
	/* One whole message, valid in this call. */
	void (*on_message)(struct rpc_call *call, void *ctx, struct slice msg);
	/* Instead of on_message, when not NULL: bytes of a message as they come, `len` its size, `at` where these bytes
	 * stand in it. A message of no bytes gives one call with n 0. */
	void (*on_part)(struct rpc_call *call, void *ctx, uint32_t len, uint32_t at, struct slice part);
	/* All sent messages are with the connection. Optional. */
	void (*on_drain)(struct rpc_call *call, void *ctx);
	/* The end: the call is dead when this returns. */
	void (*on_end)(struct rpc_call *call, void *ctx, const struct rpc_status *st);
	/* The call's memory goes, after on_end or rpc_call_cancel: free what belongs to ctx. Optional; the one callback that
	 * also comes after a cancel, and it must not touch the call. */
	void (*on_free)(void *ctx);
};

/* Zeroed means the defaults. */
struct rpc_call_opts {
	int64_t grpc_timeout_ms;        /* sent as grpc-timeout; 0: none. Never on AnnouncePeer (wire.md 2.8) */
	int headers_ms;                 /* to the response headers, connecting included [RPC_HEADERS_MS]; -1: no limit */
	int total_ms;                   /* to the end of the call; 0: no limit */
	int message_ms;                 /* between messages, once the headers are there; 0: no limit */
	uint32_t message_max;           /* [RPC_MESSAGE_MAX] */
	const struct hpack_field *metadata;     /* lower-case names; copied */
	size_t n_metadata;
};

/* Starts a call of `path` ("/package.Service/Method"); never NULL, failures come as on_end. */
struct rpc_call *rpc_call_start(struct rpc_channel *ch, const char *path, const struct rpc_call_events *ev, void *ctx,
    const struct rpc_call_opts *opts);
/* Queues one message. 0, or -1 with RESOURCE_EXHAUSTED past RPC_SEND_QUEUE_MAX, FAILED_PRECONDITION after half-close. */
int rpc_call_send(struct rpc_call *call, const struct pb_desc *desc, const void *msg, struct err *e);
int rpc_call_send_bytes(struct rpc_call *call, struct slice msg, struct err *e);
/* Nothing more will be sent. */
void rpc_call_half_close(struct rpc_call *call);
/* RST_STREAM(CANCEL); no callback follows. */
void rpc_call_cancel(struct rpc_call *call);
/* While paused at most one window of bytes is taken from the peer; messages wait. */
void rpc_call_pause(struct rpc_call *call);
void rpc_call_resume(struct rpc_call *call);
/* Ends the call with DEADLINE_EXCEEDED when no message comes for so long from now; 0: no limit. Starts anew with each message. */
void rpc_call_set_message_ms(struct rpc_call *call, int ms);
/* Bytes of sent messages still waiting here. */
size_t rpc_call_queued(const struct rpc_call *call);
struct rpc_channel *rpc_call_channel(const struct rpc_call *call);

/* ---- one question, one answer ---- */
/* `answer` is the decoded message (its bytes and arrays live until fn returns), NULL unless st->code is OK. */
typedef void rpc_unary_fn(void *ctx, const void *answer, const struct rpc_status *st);
/* Sends `request` and half-closes. grpc-timeout and total_ms default to RPC_HEADERS_MS here (wire.md 2.8). Cancel with
 * rpc_call_cancel. */
struct rpc_call *rpc_unary(struct rpc_channel *ch, const struct pb_method *method, const void *request,
    const struct rpc_call_opts *opts, rpc_unary_fn *fn, void *ctx);

#endif
