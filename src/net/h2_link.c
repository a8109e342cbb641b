#include "net/h2_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/conn.h"
#include "net/socket.h"

static void on_flush(struct loop_later *later);
static void on_ping_timer(void *ctx);

static void
free_memory(struct loop_later *later)
{
	struct h2_link *l = CONTAINER_OF(later, struct h2_link, gone);

	h2_free(l->h2);
	free(l);
}

static void
dispose(struct h2_link *l)
{
	if (l->is_dead)
		return;
	l->is_dead = true;
	loop_timer_clear(l->loop, &l->ping);
	loop_defer_clear(&l->flush);
	loop_defer(l->loop, &l->gone, free_memory);
}

void
h2_link_free(struct h2_link *l, bool graceful)
{
	if (l->is_dead)
		return;
	if (l->conn != NULL && l->is_open && graceful) {
		struct buf *out = h2_output(l->h2);

		h2_goaway(l->h2, H2_NO_ERROR, "");
		conn_write(l->conn, buf_data(out), out->len, NULL);
		conn_close(l->conn);
	} else if (l->conn != NULL) {
		conn_abort(l->conn);
	}
	l->conn = NULL;
	dispose(l);
}

void
h2_link_fail(struct h2_link *l, const struct err *why)
{
	if (l->is_dead || l->told)
		return;
	l->told = true;
	l->why = *why;
	if (l->conn != NULL) {
		struct buf *out = h2_output(l->h2);

		/* The GOAWAY that says why, as far as it goes. */
		if (l->is_open && out->len > 0)
			conn_write(l->conn, buf_data(out), out->len, NULL);
		if (l->is_open)
			conn_close(l->conn);
		else
			conn_abort(l->conn);
		l->conn = NULL;
	}
	h2_disconnected(l->h2);
	l->owner->on_end(l->ctx, &l->why);
	dispose(l);
}

/* Ends when the engine says that nothing more will happen. True: it did. */
static bool
check_done(struct h2_link *l)
{
	struct err e;

	if (!h2_is_done(l->h2) || h2_output(l->h2)->len > 0)
		return false;
	err_set(&e, ERR_UNAVAILABLE, "%s: connection ended by GOAWAY", conn_peer_text(l->conn));
	h2_link_fail(l, &e);
	return true;
}

static void
flush(struct h2_link *l)
{
	struct buf *out = h2_output(l->h2);

	if (l->owner->before_flush != NULL)
		l->owner->before_flush(l->ctx);
	for (int i = 0; i < H2_LINK_ROUNDS && !l->is_dead; i++) {
		size_t n, had;

		h2_pump(l->h2);
		if (l->is_dead || !l->is_open)
			return;
		had = out->len;
		if (had == 0)
			break;
		n = conn_send_some(l->conn, buf_data(out), had);
		buf_consume(out, n);
		if (n < had) {
			conn_want_write(l->conn);
			return;
		}
	}
	if (!l->is_dead && !check_done(l) && out->len > 0)
		conn_want_write(l->conn);
}

static void
on_flush(struct loop_later *later)
{
	struct h2_link *l = CONTAINER_OF(later, struct h2_link, flush);

	if (!l->is_dead)
		flush(l);
}

void
h2_link_flush_later(struct h2_link *l)
{
	if (!l->is_dead)
		loop_defer(l->loop, &l->flush, on_flush);
}

/* ---- keepalive ---- */

static void
watch_silence(struct h2_link *l)
{
	if (l->ping_ms > 0)
		loop_timer_set(l->loop, &l->ping, l->ping_ms, on_ping_timer, l);
}

static void
on_ping_timer(void *ctx)
{
	static const uint8_t payload[8] = {0xd7, 0x79, 0x70, 0x69, 0x6e, 0x67, 0, 1};
	struct h2_link *l = ctx;
	int64_t silent = loop_now_ms(l->loop) - l->last_in_ms;
	char wait[SOCKET_WAIT_MAX];
	struct err e;

	if (l->ping_sent) {
		err_set(&e, ERR_UNAVAILABLE, "%s: no answer to PING in %s", conn_peer_text(l->conn),
		    socket_wait_text(l->ping_ack_ms, wait));
		h2_link_fail(l, &e);
		return;
	}
	if (silent < l->ping_ms || !l->owner->wants_ping(l->ctx)) {
		loop_timer_set(l->loop, &l->ping, silent < l->ping_ms ? l->ping_ms - silent : l->ping_ms, on_ping_timer, l);
		return;
	}
	l->ping_sent = true;
	h2_ping(l->h2, payload);
	h2_link_flush_later(l);
	loop_timer_set(l->loop, &l->ping, l->ping_ack_ms, on_ping_timer, l);
}

void
h2_link_pinged(struct h2_link *l)
{
	if (!l->ping_sent || l->is_dead)
		return;
	l->ping_sent = false;
	watch_silence(l);
}

/* ---- the connection ---- */

static void
on_open(struct conn *c, void *ctx)
{
	struct h2_link *l = ctx;

	(void)c;
	l->is_open = true;
	l->last_in_ms = loop_now_ms(l->loop);
	conn_set_write_ms(l->conn, H2_LINK_WRITE_MS);
	watch_silence(l);
	if (l->owner->on_open != NULL)
		l->owner->on_open(l->ctx);
	h2_link_flush_later(l);
}

static size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct h2_link *l = ctx;
	struct err e;

	l->last_in_ms = loop_now_ms(l->loop);
	if (h2_recv(l->h2, p, n, l->last_in_ms, &e) != 0 && !l->is_dead) {
		err_wrap(&e, "%s", conn_peer_text(c));
		h2_link_fail(l, &e);
		return n;
	}
	h2_link_flush_later(l);
	return n;
}

static void
on_writable(struct conn *c, void *ctx)
{
	struct h2_link *l = ctx;

	(void)c;
	if (!l->is_dead)
		flush(l);
}

static void
on_close(struct conn *c, void *ctx, const struct err *e)
{
	struct h2_link *l = ctx;

	(void)c;
	l->conn = NULL;
	if (!l->is_dead)
		h2_link_fail(l, e);
}

const struct conn_events h2_link_conn_events = {
	.on_open = on_open, .on_data = on_data, .on_writable = on_writable, .on_close = on_close,
};

struct h2_link *
h2_link_new(struct loop *loop, const struct h2_config *config, const struct h2_events *events, const struct h2_link_owner *owner,
    void *ctx, int ping_ms, int ping_ack_ms)
{
	struct h2_link *l = xcalloc(1, sizeof(*l));

	l->loop = loop;
	l->owner = owner;
	l->ctx = ctx;
	l->ping_ms = ping_ms;
	l->ping_ack_ms = ping_ack_ms;
	l->h2 = h2_new(config, events, ctx);
	l->last_in_ms = loop_now_ms(loop);
	return l;
}

void
h2_link_attach(struct h2_link *l, struct conn *c)
{
	l->conn = c;
	if (conn_is_open(c) && !l->is_open)
		on_open(c, l);
}
