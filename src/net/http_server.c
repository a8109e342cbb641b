#include "net/http_server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/conn.h"
#include "net/http_served.h"
#include "net/listener.h"
#include "net/tls.h"

struct served *
served_of(const struct http_exchange *x)
{
	return CONTAINER_OF((void *)(uintptr_t)x, struct served, x);
}

/* ---- the end of a connection ---- */

static void
free_later(struct loop_later *later)
{
	struct served *v = CONTAINER_OF(later, struct served, later);

	h1_free(&v->h1);
	if (v->conn_ctx != NULL && v->conn_over != NULL)
		v->conn_over(v->conn_ctx);
	free(v);
}

static void
say_done(struct loop_later *later)
{
	struct http_server *s = CONTAINER_OF(later, struct http_server, done_later);

	s->done(s->done_ctx);
}

void
served_forget(struct served *v)
{
	struct http_server *s = v->server;

	list_del(&v->link);
	s->conn_count--;
	v->server = NULL;
	v->conn = NULL;
	loop_timer_clear(v->loop, &v->timer);
	loop_defer_clear(&v->body_later);
	loop_defer(v->loop, &v->later, free_later);
	if (s->is_shutting_down && s->conn_count == 0 && s->done != NULL)
		loop_defer(s->loop, &s->done_later, say_done);
}

/* The client is gone: the exchange, if there is one, hears of it. */
static void
gone(struct served *v)
{
	struct http_exchange x = v->x;
	bool was_busy = v->state == SERVE_BUSY;

	served_forget(v);
	if (was_busy && x.ev.on_gone != NULL)
		x.ev.on_gone(x.ctx);
}

static void
linger_over(void *ctx)
{
	struct served *v = ctx;
	struct conn *c = v->conn;

	served_forget(v);
	conn_abort(c);
}

void
served_linger(struct served *v)
{
	v->state = SERVE_LINGER;
	conn_shutdown_write(v->conn);
	conn_resume_read(v->conn);
	loop_timer_clear(v->loop, &v->timer);
	if (conn_queued(v->conn) == 0)
		loop_timer_set(v->loop, &v->timer, HTTP_SERVER_LINGER_MS, linger_over, v);
}

const char *
served_date(struct http_server *s)
{
	int64_t now = clock_wall_ms() / 1000;

	if (now != s->date_s) {
		s->date_s = now;
		h1_format_date(now, s->date);
	}
	return s->date;
}

/* An answer to what is no request: the cause in one line, for who looks at it by eye. */
static void
refuse(struct served *v, int status, const char *cause)
{
	struct buf out = BUF_INIT;

	log_info("bad request client=%s cause=\"%s\" status=%d", conn_peer_text(v->conn), cause, status);

	h1_write_status_line(&out, v->h1.minor, status, NULL);
	h1_write_field_str(&out, "Date", served_date(v->server));
	h1_write_length(&out, strlen(cause) + 1);
	h1_write_field_str(&out, "Content-Type", "text/plain; charset=utf-8");
	h1_write_field_str(&out, "Connection", "close");
	h1_write_head_end(&out);
	buf_append_str(&out, cause);
	buf_append_u8(&out, '\n');
	conn_write(v->conn, out.mem, out.len, NULL);
	buf_free(&out);
	served_linger(v);
}

static void
on_head_timer(void *ctx)
{
	refuse(ctx, 408, "the request's head did not come in time");
}

static void
on_idle_timer(void *ctx)
{
	struct served *v = ctx;
	struct conn *c = v->conn;

	served_forget(v);
	conn_close(c);
}

/* ---- reading ---- */

void
served_wait_for_request(struct served *v)
{
	struct http_server *s = v->server;

	h1_next(&v->h1);
	v->state = SERVE_IDLE;
	conn_set_read_ms(v->conn, 0);
	loop_timer_set(v->loop, &v->timer, s->opts.idle_ms, on_idle_timer, v);
}

void
served_say_body_end(struct served *v)
{
	if (v->x.body_end_said)
		return;
	v->x.body_end_said = true;
	conn_set_read_ms(v->conn, 0);
	if (v->x.ev.on_body_end != NULL)
		v->x.ev.on_body_end(v->x.ctx);
}

static void
broken_request(struct served *v)
{
	int status = v->h1.error_status;
	struct conn *c = v->conn;

	if (v->state != SERVE_BUSY && status != 0) {
		refuse(v, status, v->h1.error);
		return;
	}
	/* An answer cannot be understood (HTTP/2), or one is under way. */
	log_info("bad request client=%s cause=\"%s\", closed", conn_peer_text(c), v->h1.error);
	gone(v);
	conn_abort(c);
}

static void
start_exchange(struct served *v)
{
	memset(&v->x, 0, sizeof(v->x));
	v->state = SERVE_BUSY;
	loop_timer_clear(v->loop, &v->timer);
	v->x.keep_alive = true;
	v->x.is_head = slice_eq_str(v->h1.method, "HEAD");
	v->x.body_done = !v->h1.has_body;
	v->server->handler(v->server->ctx, &v->x);
}

void
served_pump(struct served *v, struct slice *in)
{
	struct slice data;

	while (v->server != NULL && v->state != SERVE_LINGER) {
		if (v->state == SERVE_BUSY && (v->x.body_done || !v->x.body_wanted || v->x.body_paused))
			return;
		if (v->state == SERVE_IDLE && in->n > 0) {
			v->state = SERVE_HEAD;
			loop_timer_set(v->loop, &v->timer, v->server->opts.head_ms, on_head_timer, v);
		}
		switch (h1_parse(&v->h1, in, &data)) {
		case H1_MORE:
			return;
		case H1_HEAD:
			start_exchange(v);
			break;
		case H1_DATA:
			if (v->x.ev.on_body != NULL)
				v->x.ev.on_body(v->x.ctx, data.p, data.n);
			break;
		case H1_END:
			v->x.body_done = true;
			served_say_body_end(v);
			break;
		case H1_INTERIM:
		case H1_ERROR:
			broken_request(v);
			return;
		}
	}
}

/* The first byte of a TLS handshake (RFC 8446, 5.1). True: the connection goes on in TLS. */
static bool
turn_to_tls(struct served *v, uint8_t first)
{
	const struct http_server_opts *o = &v->server->opts;
	struct tls_config *tls;

	v->is_known = true;
	if (first != 0x16 || o->start_tls == NULL || conn_is_tls(v->conn))
		return false;
	tls = o->start_tls(o->start_tls_ctx, v->conn);
	if (tls == NULL)
		return false;
	conn_start_tls(v->conn, tls, NULL);
	tls_config_unref(tls);
	return true;
}

static size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct served *v = ctx;
	struct slice in = slice_make(p, n);

	if (v->state == SERVE_LINGER)
		return n;
	if (!v->is_known && n > 0 && turn_to_tls(v, *p))
		return 0;
	v->in_dispatch = true;
	served_pump(v, &in);
	v->in_dispatch = false;
	if (v->server == NULL)
		return n - in.n;
	if (v->state == SERVE_LINGER)
		return n;
	/* Requests behind the present one, or a body nobody wants yet: the client waits. */
	if (in.n > 0)
		conn_pause_read(c);
	return n - in.n;
}

static void
on_eof(struct conn *c, void *ctx)
{
	struct served *v = ctx;

	gone(v);
	conn_close(c);
}

static void
on_close(struct conn *c, void *ctx, const struct err *e)
{
	struct served *v = ctx;

	log_debug("client connection ended client=%s cause=\"%s\"", conn_peer_text(c), e->text);
	gone(v);
}

static void
on_writable(struct conn *c, void *ctx)
{
	struct served *v = ctx;

	if (v->state == SERVE_LINGER && conn_queued(c) == 0)
		loop_timer_set(v->loop, &v->timer, HTTP_SERVER_LINGER_MS, linger_over, v);
	if (v->state != SERVE_BUSY || !v->x.wants_write)
		return;
	v->x.wants_write = false;
	if (v->x.ev.on_writable != NULL)
		v->x.ev.on_writable(v->x.ctx);
}

static const struct conn_events server_events = {
	.on_data = on_data, .on_eof = on_eof, .on_drain = on_writable, .on_writable = on_writable, .on_close = on_close,
};

/* ---- the server ---- */

struct http_server *
http_server_new(struct loop *loop, const struct http_server_opts *opts, http_handler_fn *fn, void *ctx)
{
	struct http_server *s = xcalloc(1, sizeof(*s));

	s->loop = loop;
	s->opts = *opts;
	s->opts.head_ms = opts->head_ms > 0 ? opts->head_ms : HTTP_SERVER_HEAD_MS;
	s->opts.idle_ms = opts->idle_ms > 0 ? opts->idle_ms : HTTP_SERVER_IDLE_MS;
	s->opts.send_ms = opts->send_ms > 0 ? opts->send_ms : HTTP_SERVER_SEND_MS;
	s->opts.body_ms = opts->body_ms > 0 ? opts->body_ms : HTTP_SERVER_BODY_MS;
	s->opts.conns_max = opts->conns_max > 0 ? opts->conns_max : HTTP_SERVER_CONNS_MAX;
	if (s->opts.tls != NULL)
		tls_config_ref(s->opts.tls);
	s->handler = fn;
	s->ctx = ctx;
	s->date_s = -1;
	list_init(&s->conns);
	return s;
}

static void
close_listeners(struct http_server *s)
{
	for (size_t i = 0; i < s->listener_count; i++)
		listener_free(s->listeners[i]);
	s->listener_count = 0;
}

void
http_server_free(struct http_server *s)
{
	if (s == NULL)
		return;
	s->done = NULL;
	loop_defer_clear(&s->done_later);
	close_listeners(s);
	while (!list_is_empty(&s->conns)) {
		struct served *v = CONTAINER_OF(s->conns.next, struct served, link);
		struct conn *c = v->conn;

		gone(v);
		conn_abort(c);
	}
	if (s->opts.tls != NULL)
		tls_config_unref(s->opts.tls);
	free(s);
}

static struct served *
served_new(struct http_server *s, void *conn_ctx)
{
	struct served *v = xcalloc(1, sizeof(*v));

	v->server = s;
	v->loop = s->loop;
	v->conn_ctx = conn_ctx;
	v->conn_over = s->opts.conn_over;
	h1_init(&v->h1, H1_REQUEST);
	if (s->opts.head_max > 0)
		v->h1.limits.head_max = v->h1.limits.line_max = s->opts.head_max;
	list_add_tail(&s->conns, &v->link);
	s->conn_count++;
	return v;
}

static void
begin_serving(struct served *v, struct conn *c)
{
	v->conn = c;
	conn_set_write_ms(c, v->server->opts.send_ms);
	served_wait_for_request(v);
}

static void
tell_full(struct http_server *s, int fd)
{
	char text[ADDR_TEXT_MAX];
	struct addr peer;

	if (s->opts.turned_away != NULL)
		atomic_fetch_add_explicit(s->opts.turned_away, 1, memory_order_relaxed);
	if (s->opts.name == NULL || !log_is_due(&s->full_told))
		return;
	addr_of_peer(&peer, fd);
	log_warn("connection closed: too many at once server=\"%s\" limit=%zu peer=%s", s->opts.name, s->opts.conns_max, addr_format(&peer, text));
}

void
http_server_adopt_fd(struct http_server *s, int fd)
{
	struct conn_opts o = {.tls = s->opts.tls};
	struct served *v;

	if (s->conn_count >= s->opts.conns_max || s->is_shutting_down) {
		if (!s->is_shutting_down)
			tell_full(s, fd);
		close(fd);
		return;
	}
	v = served_new(s, NULL);
	begin_serving(v, conn_adopt(s->loop, fd, &o, &server_events, v));
}

void
http_server_adopt_conn(struct http_server *s, struct conn *c, void *conn_ctx)
{
	struct served *v = served_new(s, conn_ctx);

	conn_set_events(c, &server_events, v);
	begin_serving(v, c);
	conn_resume_read(c);
}

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	(void)peer;
	http_server_adopt_fd(ctx, fd);
}

int
http_server_listen(struct http_server *s, const struct addr *a, struct err *e)
{
	struct listener *l;

	if (s->listener_count == LISTENERS_MAX)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %d listeners", LISTENERS_MAX);
	l = listener_tcp(s->loop, a, on_accept, s, e);
	if (l == NULL)
		return -1;
	s->listeners[s->listener_count++] = l;
	return 0;
}

const struct addr *
http_server_addr(const struct http_server *s, size_t i)
{
	return listener_addr(s->listeners[i]);
}

void
http_server_shutdown(struct http_server *s, void (*done)(void *ctx), void *ctx)
{
	s->is_shutting_down = true;
	s->done = done;
	s->done_ctx = ctx;
	close_listeners(s);
	LIST_EACH(it, next, &s->conns) {
		struct served *v = CONTAINER_OF(it, struct served, link);

		if (v->state == SERVE_IDLE) {
			struct conn *c = v->conn;

			served_forget(v);
			conn_close(c);
		}
	}
	if (s->conn_count == 0 && done != NULL)
		loop_defer(s->loop, &s->done_later, say_done);
}

size_t
http_server_conn_count(const struct http_server *s)
{
	return s->conn_count;
}
