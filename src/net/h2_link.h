/*
 * An HTTP/2 engine tied to a connection: moves the bytes both ways, pings a silent peer, and ends both together. What the
 * streams mean is its owner's affair: rpc_client.c and rpc_server.c. The owner's h2 events get the owner's context.
 */
#ifndef NET_H2_LINK_H
#define NET_H2_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/loop.h"
#include "wire/h2.h"

struct conn;
struct h2_link;

/* Output is written without looking at the events of the engine at most this often in one go; then other connections have
 * their turn. */
#define H2_LINK_ROUNDS 16
/* How long the peer may take no byte while there is output: a peer that stopped reading without stopping to answer PINGs. */
#define H2_LINK_WRITE_MS 120000

struct h2_link_owner {
	/* Before output is collected: send what is queued in the streams. Optional. */
	void (*before_flush)(void *ctx);
	/* Connected. Optional. */
	void (*on_open)(void *ctx);
	/* All streams got their on_close before. The link is dead when this returns. */
	void (*on_end)(void *ctx, const struct err *why);
	/* Whether a silent peer is to be pinged now. */
	bool (*wants_ping)(void *ctx);
};

struct h2_link {
	struct loop *loop;
	struct conn *conn;
	struct h2 *h2;
	const struct h2_link_owner *owner;
	void *ctx;
	struct loop_later flush;
	struct loop_later gone;
	struct loop_timer ping;
	int ping_ms;
	int ping_ack_ms;
	int64_t last_in_ms;
	bool ping_sent;
	bool is_open;
	bool is_dead;
	bool told;              /* on_end was called */
	struct err why;         /* set before the streams hear that the connection is over */
};

/* Takes the connection (connecting or open) over. The h2 events must call h2_link_pinged from on_ping_ack. */
struct h2_link *h2_link_new(struct loop *loop, const struct h2_config *config, const struct h2_events *events,
    const struct h2_link_owner *owner, void *ctx, int ping_ms, int ping_ack_ms);
/* The connection that it is to use; its events are h2_link_conn_events with the link as context. */
extern const struct conn_events h2_link_conn_events;
void h2_link_attach(struct h2_link *l, struct conn *c);
/* Collects and sends output as soon as the present callback is over. */
void h2_link_flush_later(struct h2_link *l);
void h2_link_pinged(struct h2_link *l);
/* Ends it with this error: streams get on_close, then on_end. From the loop's callbacks only. */
void h2_link_fail(struct h2_link *l, const struct err *why);
/* Ends it without callbacks, after GOAWAY when graceful. */
void h2_link_free(struct h2_link *l, bool graceful);

#endif
