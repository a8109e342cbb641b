/*
 * The inside of the gRPC client: a channel, its connections and its calls. For rpc_client.c (channels) and rpc_call.c (calls)
 * alone.
 */
#ifndef NET_RPC_CALL_H
#define NET_RPC_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "wire/grpc.h"
#include "wire/h2.h"

struct err;
struct h2_link;

/* One connection: the current one, or one that finishes its calls after GOAWAY. */
struct rpc_link {
	struct list link;               /* in channel->links */
	struct rpc_channel *channel;
	struct h2_link *h2;
	struct list dirty;              /* calls with bytes to send */
	struct loop_timer idle;
	size_t open_calls;
	bool is_connected;
};

struct rpc_channel {
	struct loop *loop;
	struct addr addr;
	char *host;
	uint16_t port;
	struct dns *dns;
	struct tls_config *tls;
	char *tls_name;
	char *user_agent;
	char *authority;
	char *target;
	int connect_ms;
	uint32_t stream_window;
	uint32_t connection_window;
	uint32_t max_frame_size;
	bool ping_when_idle;
	int keepalive_ms;
	int idle_close_ms;

	struct rpc_link *current;       /* where new calls go; NULL: to be made */
	struct list links;
	struct list calls;              /* with a stream */
	struct list waiting;            /* for a stream */
	size_t waiting_count;
	size_t call_count;
	struct loop_later kick;
	bool released;
};

struct rpc_call {
	struct list link;               /* in channel->calls or channel->waiting */
	struct list dirty;
	struct rpc_channel *channel;
	struct rpc_link *on;            /* NULL while waiting */
	uint32_t id;
	struct rpc_call_events ev;
	void *ctx;
	char *path;
	char timeout[GRPC_TIMEOUT_MAX]; /* "" for none */
	struct arena memory;            /* metadata, the status, its fields */
	struct hpack_field *metadata;
	size_t n_metadata;

	struct buf out;
	bool half_closed;
	bool half_sent;
	bool tell_drain;
	struct grpc_reader reader;
	struct buf held;                /* bytes that came while paused */
	bool paused;
	bool peer_ended;
	bool has_headers;
	bool has_status;
	int http_status;
	int code;
	const char *message;
	struct slice details;
	struct hpack_field *fields;
	size_t n_fields;

	struct loop_timer headers_timer;
	struct loop_timer total_timer;
	struct loop_timer message_timer;
	int headers_ms;
	int total_ms;
	int message_ms;
	struct loop_later later;        /* resumed reading, a failure at the start, the free */
	bool is_dead;
	bool is_counted;                /* in channel->waiting_count */
	struct err *early;              /* failure to be told from the loop */
};

/* rpc_client.c */
void rpc_channel_connect_later(struct rpc_channel *ch);
void rpc_channel_fail_waiting(struct rpc_channel *ch, const struct err *why);
void rpc_link_call_ended(struct rpc_link *k);

/* rpc_call.c */
int rpc_call_open(struct rpc_call *call, struct rpc_link *k);
void rpc_call_push(struct rpc_call *call);
void rpc_call_on_headers(struct rpc_call *call, enum h2_kind kind, const struct hpack_field *fields, size_t n, bool is_end);
void rpc_call_on_data(struct rpc_call *call, struct slice bytes, bool is_end);
void rpc_call_on_close(struct rpc_call *call, enum h2_cause cause, uint32_t code);
/* Ends it from the loop, soon. */
void rpc_call_fail_soon(struct rpc_call *call, int code, const char *text);
void rpc_call_end_local(struct rpc_call *call, int code, const char *message, bool is_unprocessed);

#endif
