#include "net/rpc_server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/h2_link.h"
#include "net/rpc_stream.h"
#include "wire/pb.h"

#define STREAM_WINDOW (1024u * 1024)
#define CONNECTION_WINDOW (4u * 1024 * 1024)
#define MAX_FRAME_SIZE (256u * 1024)
/* Between the two GOAWAYs of a drain when the client does not answer the PING (wire.md 2.9). */
#define SECOND_GOAWAY_MS 5000
/* Refused certificates are written of so often at most. */
#define REFUSED_LOG_MS 1000
/* TCP keepalive (daemon.md 2.1). */
#define KEEPALIVE_IDLE_S 3600

/* ---- methods ---- */

void
rpc_server_add(struct rpc_server *srv, const struct rpc_method *methods, size_t n, void *ctx)
{
	if (srv->n_tables == RPC_TABLES_MAX)
		abort();        /* tables are fixed in the program */
	srv->tables[srv->n_tables++] = (struct rpc_table){methods, n, ctx};
}

const struct rpc_method *
rpc_server_find(const struct rpc_server *srv, struct slice path, void **ctx)
{
	for (size_t t = 0; t < srv->n_tables; t++)
		for (size_t i = 0; i < srv->tables[t].n; i++)
			if (slice_eq_str(path, srv->tables[t].methods[i].method->path)) {
				*ctx = srv->tables[t].ctx;
				return &srv->tables[t].methods[i];
			}
	return NULL;
}

bool
rpc_server_has_service(const struct rpc_server *srv, struct slice service)
{
	for (size_t t = 0; t < srv->n_tables; t++)
		for (size_t i = 0; i < srv->tables[t].n; i++) {
			struct slice path = slice_str(srv->tables[t].methods[i].method->path), svc, method;

			if (grpc_split_path(path, &svc, &method) == 0 && slice_eq(svc, service))
				return true;
		}
	return false;
}

/* ---- the end of a connection ---- */

static void
on_drained(struct loop_later *later)
{
	struct rpc_server *srv = CONTAINER_OF(later, struct rpc_server, drained_later);
	void (*done)(void *ctx) = srv->drained;

	srv->drained = NULL;
	if (done != NULL)
		done(srv->drained_ctx);
}

static void
check_drained(struct rpc_server *srv)
{
	if (srv->draining && srv->drained != NULL && list_is_empty(&srv->conns))
		loop_defer(srv->loop, &srv->drained_later, on_drained);
}

static void
drop_conn(struct rpc_conn *c)
{
	struct rpc_server *srv = c->server;

	list_del(&c->link);
	loop_timer_clear(srv->loop, &c->wait);
	srv->counts.connections--;
	free(c);
	check_drained(srv);
}

/* Ends a connection from this side. Not inside events of the engine. */
static void
end_conn(struct rpc_conn *c, bool graceful, const struct err *why)
{
	while (!list_is_empty(&c->streams))
		rpc_stream_gone(CONTAINER_OF(c->streams.next, struct rpc_stream, link), why);
	h2_link_free(c->h2, graceful);
	drop_conn(c);
}

static void
on_wait(void *ctx)
{
	struct rpc_conn *c = ctx;
	struct err e;

	err_set(&e, ERR_DEADLINE_EXCEEDED, "no request");
	if (c->open_streams == 0)
		end_conn(c, true, &e);
}

void
rpc_conn_stream_ended(struct rpc_conn *c)
{
	c->open_streams--;
	c->server->counts.streams--;
	if (c->open_streams == 0)
		loop_timer_set(c->server->loop, &c->wait, RPC_SERVER_IDLE_MS, on_wait, c);
}

/* ---- events ---- */

static void
before_flush(void *ctx)
{
	struct rpc_conn *c = ctx;

	while (!list_is_empty(&c->dirty)) {
		struct rpc_stream *s = CONTAINER_OF(c->dirty.next, struct rpc_stream, dirty);

		list_del(&s->dirty);
		rpc_stream_push(s);
	}
}

static void
on_end(void *ctx, const struct err *why)
{
	struct rpc_conn *c = ctx;

	/* Somebody without a good certificate; at most one line a second. */
	if (why->code == ERR_UNAUTHENTICATED && loop_now_ms(c->server->loop) - c->server->refused_ms >= REFUSED_LOG_MS) {
		log_warn("connection refused server=%s error=\"%s\"", c->server->name, why->text);
		c->server->refused_ms = loop_now_ms(c->server->loop);
	} else {
		log_debug("connection ended server=%s reason=\"%s\"", c->server->name, why->text);
	}
	while (!list_is_empty(&c->streams))
		rpc_stream_gone(CONTAINER_OF(c->streams.next, struct rpc_stream, link), why);
	drop_conn(c);
}

static bool
wants_ping(void *ctx)
{
	(void)ctx;
	return true;
}

static const struct h2_link_owner owner = {
	.before_flush = before_flush, .on_end = on_end, .wants_ping = wants_ping,
};

static void
on_headers(void *ctx, uint32_t id, void *user, enum h2_kind kind, const struct hpack_field *fields, size_t n, bool is_end)
{
	struct rpc_conn *c = ctx;

	if (kind == H2_REQUEST) {
		loop_timer_clear(c->server->loop, &c->wait);
		rpc_stream_open(c, id, fields, n, is_end);
		if (c->open_streams == 0)
			loop_timer_set(c->server->loop, &c->wait, RPC_SERVER_IDLE_MS, on_wait, c);
	} else if (user != NULL) {
		/* A client's trailers say nothing in gRPC. */
		rpc_stream_on_data(user, slice_make(NULL, 0), is_end);
	}
}

static void
on_data(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end)
{
	struct rpc_conn *c = ctx;

	if (user != NULL)
		rpc_stream_on_data(user, bytes, is_end);
	else
		h2_consumed(c->h2->h2, id, bytes.n);
}

static void
on_writable(void *ctx, uint32_t id, void *user)
{
	(void)ctx;
	(void)id;
	if (user != NULL)
		rpc_stream_push(user);
}

static void
on_close(void *ctx, uint32_t id, void *user, enum h2_cause cause, uint32_t code)
{
	struct rpc_conn *c = ctx;
	const char *name = h2_code_name(code);
	struct err e;

	(void)id;
	if (user == NULL)
		return;
	if (cause == H2_CLOSE_CONNECTION)
		e = c->h2->why;
	else if (cause == H2_CLOSE_PEER)
		err_set(&e, ERR_CANCELLED, "the client ended the call (%s)", name != NULL ? name : "unknown code");
	else
		err_set(&e, ERR_INTERNAL, "the client broke the protocol (%s)", name != NULL ? name : "unknown code");
	rpc_stream_gone(user, &e);
}

/* The client speaks HTTP/2: from here on it may be idle. */
static void
on_settings(void *ctx)
{
	struct rpc_conn *c = ctx;

	if (!c->had_settings && c->open_streams == 0)
		loop_timer_set(c->server->loop, &c->wait, RPC_SERVER_IDLE_MS, on_wait, c);
	c->had_settings = true;
}

static void
on_ping_ack(void *ctx, const uint8_t payload[8])
{
	struct rpc_conn *c = ctx;

	(void)payload;
	h2_link_pinged(c->h2);
}

static const struct h2_events events = {
	.on_headers = on_headers, .on_data = on_data, .on_writable = on_writable, .on_close = on_close,
	.on_settings = on_settings, .on_ping_ack = on_ping_ack,
};

/* ---- connections ---- */

static size_t
count_from(const struct rpc_server *srv, const struct addr *peer)
{
	size_t n = 0;

	LIST_EACH(it, next, &srv->conns)
		n += addr_ip_eq(&CONTAINER_OF(it, struct rpc_conn, link)->peer, peer);
	return n;
}

/* Whether one more connection from there is welcome. */
static bool
admit_conn(struct rpc_server *srv, const struct addr *peer)
{
	char text[ADDR_TEXT_MAX];
	const char *what = NULL;

	if (srv->draining)
		return false;
	if (srv->counts.connections >= srv->opts.connections_max)
		what = "connections";
	else if (!addr_is_loopback(peer) && count_from(srv, peer) >= srv->opts.per_ip_max)
		what = "connections of one address";
	if (what == NULL)
		return true;
	srv->counts.limited++;
	if (log_is_due(&srv->full_told))
		log_warn("connection closed: too many at once server=\"%s\" what=\"%s\" peer=%s", srv->name, what, addr_format(peer, text));
	return false;
}

static struct rpc_conn *
new_conn(struct rpc_server *srv, const struct addr *peer, int fd)
{
	struct rpc_conn *c = xcalloc(1, sizeof(*c));
	struct h2_config config = {
		.is_server = true,
		.initial_window = srv->opts.stream_window, .connection_window = srv->opts.connection_window,
		.max_frame_size = srv->opts.max_frame_size, .max_header_list = RPC_SERVER_HEADER_LIST_MAX,
		.max_concurrent_streams = RPC_SERVER_STREAMS_MAX,
	};

	c->server = srv;
	c->peer = *peer;
	c->has_cred = addr_family(peer) == AF_UNIX && sockopt_peercred(fd, &c->cred);
	list_init(&c->streams);
	list_init(&c->dirty);
	c->h2 = h2_link_new(srv->loop, &config, &events, &owner, c, RPC_SERVER_KEEPALIVE_MS, RPC_SERVER_PING_ACK_MS);
	list_add_tail(&srv->conns, &c->link);
	srv->counts.connections++;
	loop_timer_set(srv->loop, &c->wait, RPC_SERVER_PREFACE_MS, on_wait, c);
	return c;
}

void
rpc_server_serve(struct rpc_server *srv, int fd, struct tls_config *tls, struct slice early)
{
	struct conn_opts o = {.tls = tls, .early = early, .keepalive_idle_s = KEEPALIVE_IDLE_S};
	struct rpc_conn *c;
	struct addr peer;

	addr_of_peer(&peer, fd);
	if (!admit_conn(srv, &peer)) {
		close(fd);
		return;
	}
	c = new_conn(srv, &peer, fd);
	h2_link_attach(c->h2, conn_adopt(srv->loop, fd, &o, &h2_link_conn_events, c->h2));
	h2_link_flush_later(c->h2);
}

void
rpc_server_serve_conn(struct rpc_server *srv, struct conn *conn)
{
	struct rpc_conn *c;

	if (!admit_conn(srv, conn_peer(conn))) {
		conn_abort(conn);
		return;
	}
	c = new_conn(srv, conn_peer(conn), conn_fd(conn));
	conn_set_events(conn, &h2_link_conn_events, c->h2);
	conn_resume_read(conn);
	h2_link_attach(c->h2, conn);
	h2_link_flush_later(c->h2);
}

/* ---- life ---- */

struct rpc_server *
rpc_server_new(struct loop *loop, const struct rpc_server_opts *o)
{
	struct rpc_server *srv = xcalloc(1, sizeof(*srv));

	srv->loop = loop;
	srv->opts = *o;
	srv->name = xstrdup(o->name != NULL ? o->name : "grpc");
	srv->opts.name = srv->name;
	if (srv->opts.stream_window == 0)
		srv->opts.stream_window = STREAM_WINDOW;
	if (srv->opts.connection_window == 0)
		srv->opts.connection_window = CONNECTION_WINDOW;
	if (srv->opts.max_frame_size == 0)
		srv->opts.max_frame_size = MAX_FRAME_SIZE;
	if (srv->opts.connections_max == 0)
		srv->opts.connections_max = RPC_SERVER_CONNECTIONS_MAX;
	if (srv->opts.per_ip_max == 0)
		srv->opts.per_ip_max = RPC_SERVER_PER_IP_MAX;
	list_init(&srv->conns);
	return srv;
}

static void
end_all(struct rpc_server *srv, const char *text)
{
	struct err e;

	err_set(&e, ERR_UNAVAILABLE, "%s", text);
	while (!list_is_empty(&srv->conns))
		end_conn(CONTAINER_OF(srv->conns.next, struct rpc_conn, link), true, &e);
}

static void
on_grace_over(void *ctx)
{
	end_all(ctx, "the server stops");
}

/* Tells every connection. Said twice, it changes nothing for those whose client answered the first in the meantime. */
static void
shut_all(struct rpc_server *srv)
{
	LIST_EACH(it, next, &srv->conns) {
		struct rpc_conn *c = CONTAINER_OF(it, struct rpc_conn, link);

		h2_shutdown(c->h2->h2);
		h2_link_flush_later(c->h2);
	}
}

static void
on_second_goaway(void *ctx)
{
	shut_all(ctx);
}

void
rpc_server_drain(struct rpc_server *srv, int grace_ms, void (*done)(void *ctx), void *ctx)
{
	srv->draining = true;
	srv->drained = done;
	srv->drained_ctx = ctx;
	shut_all(srv);
	loop_timer_set(srv->loop, &srv->second_goaway, SECOND_GOAWAY_MS, on_second_goaway, srv);
	loop_timer_set(srv->loop, &srv->grace, grace_ms, on_grace_over, srv);
	check_drained(srv);
}

void
rpc_server_free(struct rpc_server *srv)
{
	if (srv == NULL)
		return;
	srv->draining = true;
	srv->drained = NULL;
	end_all(srv, "the server stops");
	loop_timer_clear(srv->loop, &srv->grace);
	loop_timer_clear(srv->loop, &srv->second_goaway);
	loop_defer_clear(&srv->drained_later);
	free(srv->name);
	free(srv);
}

void
rpc_server_counts(const struct rpc_server *srv, struct rpc_server_counts *out)
{
	*out = srv->counts;
}
