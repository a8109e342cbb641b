#include "net/rpc_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/h2_link.h"
#include "net/loop.h"
#include "net/rpc_call.h"
#include "net/socket.h"
#include "net/tls.h"
#include "wire/grpc.h"
#include "wire/h2.h"
#include "wire/pb.h"

#define STREAM_WINDOW (2u * 1024 * 1024)
#define CONNECTION_WINDOW (5u * 1024 * 1024)
/* TCP keepalive (wire.md 2.9) and how long sent bytes may stay unacknowledged. */
#define KEEPALIVE_IDLE_S 3600
#define USER_TIMEOUT_MS 60000

/* ---- the connections of a channel ---- */

static bool
is_usable(const struct rpc_link *k)
{
	return k != NULL && !h2_is_ending(k->h2->h2);
}

static void
drop_link(struct rpc_link *k)
{
	struct rpc_channel *ch = k->channel;

	list_del(&k->link);
	if (ch->current == k)
		ch->current = NULL;
	loop_timer_clear(ch->loop, &k->idle);
	free(k);
}

static void start_waiting(struct rpc_channel *ch);

static void
on_idle(void *ctx)
{
	struct rpc_link *k = ctx;

	if (k->open_calls > 0 || !list_is_empty(&k->channel->waiting))
		return;
	h2_link_free(k->h2, true);
	drop_link(k);
}

void
rpc_link_call_ended(struct rpc_link *k)
{
	struct rpc_channel *ch = k->channel;

	k->open_calls--;
	if (k->open_calls == 0 && ch->idle_close_ms > 0)
		loop_timer_set(ch->loop, &k->idle, ch->idle_close_ms, on_idle, k);
	h2_link_flush_later(k->h2);
}

/* Sends what the calls on this connection have queued, and starts those that wait for it. */
static void
before_flush(void *ctx)
{
	struct rpc_link *k = ctx;

	start_waiting(k->channel);
	while (!list_is_empty(&k->dirty)) {
		struct rpc_call *call = CONTAINER_OF(k->dirty.next, struct rpc_call, dirty);

		list_del(&call->dirty);
		rpc_call_push(call);
	}
}

static void
on_link_open(void *ctx)
{
	struct rpc_link *k = ctx;

	k->is_connected = true;
}

/* The streams were told before; calls that had none yet wait for this connection no longer. */
static void
on_link_end(void *ctx, const struct err *why)
{
	struct rpc_link *k = ctx;
	struct rpc_channel *ch = k->channel;
	bool was_current = ch->current == k, was_connected = k->is_connected;

	drop_link(k);
	if (was_current && !was_connected)
		rpc_channel_fail_waiting(ch, why);
	else if (!list_is_empty(&ch->waiting))
		rpc_channel_connect_later(ch);
}

static bool
wants_ping(void *ctx)
{
	struct rpc_link *k = ctx;

	return k->open_calls > 0 || k->channel->ping_when_idle;
}

static const struct h2_link_owner link_owner = {
	.before_flush = before_flush, .on_open = on_link_open, .on_end = on_link_end, .wants_ping = wants_ping,
};

static void
on_headers(void *ctx, uint32_t id, void *user, enum h2_kind kind, const struct hpack_field *fields, size_t n, bool is_end)
{
	(void)ctx;
	(void)id;
	if (user != NULL)
		rpc_call_on_headers(user, kind, fields, n, is_end);
}

static void
on_data(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end)
{
	struct rpc_link *k = ctx;

	if (user != NULL)
		rpc_call_on_data(user, bytes, is_end);
	else
		h2_consumed(k->h2->h2, id, bytes.n);
}

static void
on_writable(void *ctx, uint32_t id, void *user)
{
	(void)ctx;
	(void)id;
	if (user != NULL)
		rpc_call_push(user);
}

static void
on_close(void *ctx, uint32_t id, void *user, enum h2_cause cause, uint32_t code)
{
	(void)ctx;
	(void)id;
	if (user != NULL)
		rpc_call_on_close(user, cause, code);
}

static void
on_settings(void *ctx)
{
	struct rpc_link *k = ctx;

	h2_link_flush_later(k->h2);
}

/* Nothing more goes on this connection: the next call makes a new one, the open calls finish here. */
static void
on_goaway(void *ctx, uint32_t last_id, uint32_t code, struct slice debug)
{
	struct rpc_link *k = ctx;
	struct rpc_channel *ch = k->channel;

	(void)last_id;
	if (code == H2_ENHANCE_YOUR_CALM && slice_eq_str(debug, "too_many_pings") && ch->keepalive_ms < INT32_MAX / 2)
		ch->keepalive_ms *= 2;
	if (ch->current == k)
		ch->current = NULL;
	if (!list_is_empty(&ch->waiting))
		rpc_channel_connect_later(ch);
	h2_link_flush_later(k->h2);
}

static void
on_ping_ack(void *ctx, const uint8_t payload[8])
{
	struct rpc_link *k = ctx;

	(void)payload;
	h2_link_pinged(k->h2);
}

static const struct h2_events events = {
	.on_headers = on_headers, .on_data = on_data, .on_writable = on_writable, .on_close = on_close, .on_settings = on_settings,
	.on_goaway = on_goaway, .on_ping_ack = on_ping_ack,
};

static void
connect_link(struct rpc_channel *ch)
{
	struct rpc_link *k = xcalloc(1, sizeof(*k));
	struct h2_config config = {
		.initial_window = ch->stream_window, .connection_window = ch->connection_window,
		.max_frame_size = ch->max_frame_size,
	};
	struct conn_opts o = {
		.addr = ch->addr, .host = ch->host, .port = ch->port, .dns = ch->dns, .connect_ms = ch->connect_ms, .tls = ch->tls,
		.tls_name = ch->tls_name, .keepalive_idle_s = KEEPALIVE_IDLE_S, .user_timeout_ms = USER_TIMEOUT_MS,
	};

	k->channel = ch;
	list_init(&k->dirty);
	list_add_tail(&ch->links, &k->link);
	k->h2 = h2_link_new(ch->loop, &config, &events, &link_owner, k, ch->keepalive_ms, RPC_PING_ACK_MS);
	h2_link_attach(k->h2, conn_connect(ch->loop, &o, &h2_link_conn_events, k->h2));
	ch->current = k;
}

/* ---- waiting calls ---- */

/* Opens streams for calls that wait, in their order, as the peer's limit allows. */
static void
start_waiting(struct rpc_channel *ch)
{
	struct rpc_link *k = ch->current;

	if (!is_usable(k))
		return;
	while (!list_is_empty(&ch->waiting) && h2_can_open(k->h2->h2)) {
		struct rpc_call *call = CONTAINER_OF(ch->waiting.next, struct rpc_call, link);

		list_del(&call->link);
		list_add_tail(&ch->calls, &call->link);
		if (call->is_counted)
			ch->waiting_count--;
		call->is_counted = false;
		if (rpc_call_open(call, k) != 0)
			continue;
		k->open_calls++;
		loop_timer_clear(ch->loop, &k->idle);
		rpc_call_push(call);
	}
}

void
rpc_channel_fail_waiting(struct rpc_channel *ch, const struct err *why)
{
	struct list failed;

	/* Calls started by the callbacks below get a new connection; only those that waited for this one fail. */
	list_init(&failed);
	while (!list_is_empty(&ch->waiting)) {
		struct rpc_call *call = CONTAINER_OF(ch->waiting.next, struct rpc_call, link);

		list_del(&call->link);
		list_add_tail(&failed, &call->link);
	}
	while (!list_is_empty(&failed))
		rpc_call_end_local(CONTAINER_OF(failed.next, struct rpc_call, link), ERR_UNAVAILABLE, why->text, true);
}

static void
on_kick(struct loop_later *later)
{
	struct rpc_channel *ch = CONTAINER_OF(later, struct rpc_channel, kick);

	if (ch->released && ch->call_count == 0) {
		rpc_channel_free(ch);
		return;
	}
	if (list_is_empty(&ch->waiting))
		return;
	if (!is_usable(ch->current))
		connect_link(ch);
	h2_link_flush_later(ch->current->h2);
}

void
rpc_channel_connect_later(struct rpc_channel *ch)
{
	loop_defer(ch->loop, &ch->kick, on_kick);
}

/* ---- channels ---- */

static char *
dup_or_null(const char *s)
{
	return s != NULL ? xstrdup(s) : NULL;
}

struct rpc_channel *
rpc_channel_new(struct loop *loop, const struct rpc_channel_opts *o)
{
	struct rpc_channel *ch = xcalloc(1, sizeof(*ch));
	char text[ADDR_TEXT_MAX];

	ch->loop = loop;
	ch->addr = o->addr;
	ch->host = dup_or_null(o->host);
	ch->port = o->port;
	ch->dns = o->dns;
	ch->tls = o->tls != NULL ? tls_config_ref(o->tls) : NULL;
	ch->tls_name = dup_or_null(o->tls_name);
	ch->user_agent = xstrdup(o->user_agent != NULL ? o->user_agent : "dragonfly-c/" DRAGONFLY_VERSION);
	ch->connect_ms = o->connect_ms > 0 ? o->connect_ms : RPC_CONNECT_MS;
	ch->stream_window = o->stream_window > 0 ? o->stream_window : STREAM_WINDOW;
	ch->connection_window = o->connection_window > 0 ? o->connection_window : CONNECTION_WINDOW;
	ch->max_frame_size = o->max_frame_size > 0 ? o->max_frame_size : H2_FRAME_SIZE_MIN;
	ch->ping_when_idle = o->ping_when_idle;
	ch->keepalive_ms = o->keepalive_ms > 0 ? o->keepalive_ms : RPC_KEEPALIVE_MS;
	ch->idle_close_ms = o->idle_close_ms;
	if (o->addr.len > 0)
		ch->target = xstrdup(addr_format(&o->addr, text));
	else
		ch->target = xasprintf(o->host != NULL && strchr(o->host, ':') != NULL && o->host[0] != '[' ? "[%s]:%u" : "%s:%u",
		    o->host != NULL ? o->host : "", (unsigned)o->port);
	if (o->authority != NULL)
		ch->authority = xstrdup(o->authority);
	else
		ch->authority = xstrdup(addr_family(&o->addr) == AF_UNIX ? "localhost" : ch->target);
	list_init(&ch->links);
	list_init(&ch->calls);
	list_init(&ch->waiting);
	return ch;
}

static void
end_calls(struct list *calls)
{
	while (!list_is_empty(calls))
		rpc_call_end_local(CONTAINER_OF(calls->next, struct rpc_call, link), ERR_CANCELLED, "the channel was closed",
		    false);
}

void
rpc_channel_free(struct rpc_channel *ch)
{
	if (ch == NULL)
		return;
	ch->released = true;
	end_calls(&ch->calls);
	end_calls(&ch->waiting);
	while (!list_is_empty(&ch->links)) {
		struct rpc_link *k = CONTAINER_OF(ch->links.next, struct rpc_link, link);

		h2_link_free(k->h2, true);
		drop_link(k);
	}
	loop_defer_clear(&ch->kick);
	tls_config_unref(ch->tls);
	free(ch->host);
	free(ch->tls_name);
	free(ch->user_agent);
	free(ch->authority);
	free(ch->target);
	free(ch);
}

void
rpc_channel_release(struct rpc_channel *ch)
{
	ch->released = true;
	rpc_channel_connect_later(ch);
}

const char *
rpc_channel_target(const struct rpc_channel *ch)
{
	return ch->target;
}

bool
rpc_channel_is_connected(const struct rpc_channel *ch)
{
	return is_usable(ch->current) && ch->current->is_connected;
}

size_t
rpc_channel_call_count(const struct rpc_channel *ch)
{
	return ch->call_count;
}

void
rpc_channel_local(const struct rpc_channel *ch, struct addr *out)
{
	*out = (struct addr){0};
	if (ch->current != NULL && ch->current->h2->conn != NULL)
		conn_local(ch->current->h2->conn, out);
}
