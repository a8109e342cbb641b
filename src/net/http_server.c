#include "net/http_server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/tls.h"

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
	struct h1 h1;
	enum serve_state state;
	bool in_dispatch;
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
	bool is_shutting_down;
	void (*done)(void *ctx);
	void *done_ctx;
	struct loop_later done_later;
	int64_t date_s;
	char date[H1_DATE_MAX];
};

static struct served *
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
	free(v);
}

static void
say_done(struct loop_later *later)
{
	struct http_server *s = CONTAINER_OF(later, struct http_server, done_later);

	s->done(s->done_ctx);
}

/* Forgets the connection; its socket is the caller's business. */
static void
forget(struct served *v)
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

	forget(v);
	if (was_busy && x.ev.on_gone != NULL)
		x.ev.on_gone(x.ctx);
}

static void
linger_over(void *ctx)
{
	struct served *v = ctx;
	struct conn *c = v->conn;

	forget(v);
	conn_abort(c);
}

/* Sends what is queued, then waits a little for the client to close, so that it reads the answer instead of a reset. */
static void
linger(struct served *v)
{
	v->state = SERVE_LINGER;
	conn_shutdown_write(v->conn);
	conn_resume_read(v->conn);
	loop_timer_clear(v->loop, &v->timer);
	if (conn_queued(v->conn) == 0)
		loop_timer_set(v->loop, &v->timer, HTTP_SERVER_LINGER_MS, linger_over, v);
}

/* ---- writing heads ---- */

static const char *
date_text(struct http_server *s)
{
	int64_t now = clock_wall_ms() / 1000;

	if (now != s->date_s) {
		s->date_s = now;
		h1_format_date(now, s->date);
	}
	return s->date;
}

static void
refuse(struct served *v, int status)
{
	struct buf out = BUF_INIT;

	h1_write_status_line(&out, v->h1.minor, status, NULL);
	h1_write_field_str(&out, "Date", date_text(v->server));
	h1_write_length(&out, 0);
	h1_write_field_str(&out, "Connection", "close");
	h1_write_head_end(&out);
	conn_write(v->conn, out.mem, out.len, NULL);
	buf_free(&out);
	linger(v);
}

static void
on_head_timer(void *ctx)
{
	refuse(ctx, 408);
}

static void
on_idle_timer(void *ctx)
{
	struct served *v = ctx;
	struct conn *c = v->conn;

	forget(v);
	conn_close(c);
}

static bool
has_field(const struct h1_field *fields, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (slice_ieq_str(fields[i].name, name))
			return true;
	return false;
}

static int
write_fields(struct buf *out, const struct h1_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!h1_is_token(fields[i].name) || !h1_is_value(fields[i].value))
			return -1;
		buf_append_slice(out, fields[i].name);
		buf_append(out, ": ", 2);
		buf_append_slice(out, fields[i].value);
		buf_append(out, "\r\n", 2);
	}
	return 0;
}

/* 1xx, 204 and 304 have no body and say nothing about one, except that a 304 may tell the length. */
static bool
may_have_body(int status)
{
	return status / 100 != 1 && status != 204 && status != 304;
}

static int
build_head(struct http_exchange *x, struct buf *out, int status, const struct h1_field *fields, size_t count, uint64_t length)
{
	struct served *v = served_of(x);
	bool is_1_0 = v->h1.minor == 0;

	h1_write_status_line(out, v->h1.minor, status, NULL);
	if (write_fields(out, fields, count) != 0)
		return -1;
	if (!has_field(fields, count, "date"))
		h1_write_field_str(out, "Date", date_text(v->server));
	/* A body that was not read stands in the way of the next request. */
	x->keep_alive = x->keep_alive && v->h1.keep_alive && x->body_done && !v->server->is_shutting_down;
	x->is_chunked = length == HTTP_NO_LENGTH && !is_1_0 && may_have_body(status);
	if (length == HTTP_NO_LENGTH && is_1_0 && may_have_body(status))
		x->keep_alive = false;
	x->left = may_have_body(status) ? length : 0;
	if (x->is_chunked)
		h1_write_field_str(out, "Transfer-Encoding", "chunked");
	else if (may_have_body(status) && length != HTTP_NO_LENGTH)
		h1_write_length(out, length);
	if (!x->keep_alive)
		h1_write_field_str(out, "Connection", "close");
	else if (is_1_0)
		h1_write_field_str(out, "Connection", "keep-alive");
	h1_write_head_end(out);
	return 0;
}

/* ---- reading ---- */

static void
wait_for_request(struct served *v)
{
	struct http_server *s = v->server;

	h1_next(&v->h1);
	v->state = SERVE_IDLE;
	conn_set_read_ms(v->conn, 0);
	loop_timer_set(v->loop, &v->timer, s->opts.idle_ms, on_idle_timer, v);
}

static void
say_body_end(struct served *v)
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
		log_debug("bad request client=%s cause=\"%s\" status=%d", conn_peer_text(c), v->h1.error, status);
		refuse(v, status);
		return;
	}
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

/* Takes what may be taken now; the connection may be over afterwards. */
static void
pump(struct served *v, struct slice *in)
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
			say_body_end(v);
			break;
		case H1_INTERIM:
		case H1_ERROR:
			broken_request(v);
			return;
		}
	}
}

static size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct served *v = ctx;
	struct slice in = slice_make(p, n);

	if (v->state == SERVE_LINGER)
		return n;
	v->in_dispatch = true;
	pump(v, &in);
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
	wait_for_request(v);
}

void
http_server_adopt_fd(struct http_server *s, int fd)
{
	struct conn_opts o = {.tls = s->opts.tls};
	struct served *v;

	if (s->conn_count >= s->opts.conns_max || s->is_shutting_down) {
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

			forget(v);
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

/* ---- the request ---- */

const struct h1 *
http_exchange_request(const struct http_exchange *x)
{
	return &served_of(x)->h1;
}

struct conn *
http_exchange_conn(const struct http_exchange *x)
{
	return served_of(x)->conn;
}

const struct addr *
http_exchange_peer(const struct http_exchange *x)
{
	return conn_peer(served_of(x)->conn);
}

void *
http_exchange_conn_ctx(const struct http_exchange *x)
{
	return served_of(x)->conn_ctx;
}

struct slice
http_exchange_path(const struct http_exchange *x)
{
	struct slice t = served_of(x)->h1.target;
	ptrdiff_t mark = slice_find(t, '?');

	return mark < 0 ? t : slice_sub(t, 0, (size_t)mark);
}

struct slice
http_exchange_query(const struct http_exchange *x)
{
	struct slice t = served_of(x)->h1.target;
	ptrdiff_t mark = slice_find(t, '?');

	return mark < 0 ? slice_make(NULL, 0) : slice_make(t.p + mark + 1, t.n - (size_t)mark - 1);
}

void
http_exchange_set_events(struct http_exchange *x, const struct http_exchange_events *ev, void *ctx)
{
	x->ev = *ev;
	x->ctx = ctx;
}

static void
body_again(struct loop_later *later)
{
	struct served *v = CONTAINER_OF(later, struct served, body_later);
	struct slice none = {0};

	if (v->state != SERVE_BUSY || v->x.body_paused)
		return;
	if (v->x.body_done) {
		say_body_end(v);
		return;
	}
	conn_set_read_ms(v->conn, v->server->opts.body_ms);
	pump(v, &none);
	if (v->server != NULL)
		conn_resume_read(v->conn);
}

void
http_exchange_read_body(struct http_exchange *x)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct served *v = served_of(x);

	if (x->body_wanted)
		return;
	x->body_wanted = true;
	if (v->h1.expects_continue && !x->head_sent)
		conn_write(v->conn, go_on, sizeof(go_on) - 1, NULL);
	loop_defer(v->loop, &v->body_later, body_again);
}

void
http_exchange_pause_body(struct http_exchange *x)
{
	x->body_paused = true;
	if (!x->body_done)
		conn_pause_read(served_of(x)->conn);
}

void
http_exchange_resume_body(struct http_exchange *x)
{
	struct served *v = served_of(x);

	if (!x->body_paused)
		return;
	x->body_paused = false;
	if (x->body_wanted)
		loop_defer(v->loop, &v->body_later, body_again);
}

/* ---- the answer ---- */

void
http_exchange_close_after(struct http_exchange *x)
{
	x->keep_alive = false;
}

int
http_exchange_head(struct http_exchange *x, int status, const struct h1_field *fields, size_t count, uint64_t length)
{
	struct buf out = BUF_INIT;
	int r = build_head(x, &out, status, fields, count, length);

	if (r == 0) {
		conn_write(served_of(x)->conn, out.mem, out.len, NULL);
		x->head_sent = true;
	}
	buf_free(&out);
	return r;
}

static size_t
write_chunk(struct served *v, const void *p, size_t n)
{
	size_t queued = conn_queued(v->conn);
	char size[H1_CHUNK_HEAD_MAX + 1];

	if (queued >= HTTP_SERVER_QUEUE)
		return 0;
	if (n > HTTP_SERVER_QUEUE - queued)
		n = HTTP_SERVER_QUEUE - queued;
	conn_write(v->conn, size, h1_chunk_head(size, n), NULL);
	conn_write(v->conn, p, n, NULL);
	conn_write(v->conn, "\r\n", 2, NULL);
	return n;
}

size_t
http_exchange_write(struct http_exchange *x, const void *p, size_t n)
{
	struct served *v = served_of(x);
	size_t took;

	if (x->left != HTTP_NO_LENGTH && n > x->left)
		n = (size_t)x->left;
	if (n == 0 || x->is_head) {
		x->left -= x->left != HTTP_NO_LENGTH ? n : 0;
		return n;
	}
	took = x->is_chunked ? write_chunk(v, p, n) : conn_send_some(v->conn, p, n);
	x->left -= x->left != HTTP_NO_LENGTH ? took : 0;
	if (took < n) {
		x->wants_write = true;
		conn_want_write(v->conn);
	}
	return took;
}

/* The exchange is over and the next one may come, or the connection ends. */
static void
complete(struct served *v)
{
	if (!v->x.keep_alive) {
		linger(v);
		return;
	}
	wait_for_request(v);
	if (!v->in_dispatch)
		conn_resume_read(v->conn);
}

void
http_exchange_end(struct http_exchange *x)
{
	struct served *v = served_of(x);

	if (!x->head_sent || (x->left != HTTP_NO_LENGTH && x->left > 0 && !x->is_head)) {
		http_exchange_abort(x);
		return;
	}
	if (x->is_chunked && !x->is_head)
		conn_write(v->conn, H1_LAST_CHUNK, sizeof(H1_LAST_CHUNK) - 1, NULL);
	complete(v);
}

void
http_exchange_reply(struct http_exchange *x, int status, const struct h1_field *fields, size_t count, const char *type, struct slice body)
{
	struct served *v = served_of(x);
	struct h1_field all[H1_FIELDS_MAX];
	struct buf out = BUF_INIT;
	size_t n = 0;

	while (n < count && n < H1_FIELDS_MAX - 1) {
		all[n] = fields[n];
		n++;
	}
	if (type != NULL)
		all[n++] = (struct h1_field){slice_str("Content-Type"), slice_str(type)};
	if (build_head(x, &out, status, all, n, body.n) != 0) {
		buf_clear(&out);
		build_head(x, &out, 500, NULL, 0, 0);
		body.n = 0;
	}
	if (!x->is_head && may_have_body(status))
		buf_append_slice(&out, body);
	if (conn_write(v->conn, out.mem, out.len, NULL) != 0) {
		buf_free(&out);
		http_exchange_abort(x);
		return;
	}
	buf_free(&out);
	complete(v);
}

void
http_exchange_abort(struct http_exchange *x)
{
	struct served *v = served_of(x);
	struct conn *c = v->conn;

	forget(v);
	conn_abort(c);
}

struct conn *
http_exchange_take_conn(struct http_exchange *x, int status, const struct h1_field *fields, size_t count)
{
	struct served *v = served_of(x);
	struct conn *c = v->conn;
	struct buf out = BUF_INIT;

	h1_write_status_line(&out, v->h1.minor, status, NULL);
	if (write_fields(&out, fields, count) == 0) {
		if (!has_field(fields, count, "date"))
			h1_write_field_str(&out, "Date", date_text(v->server));
		h1_write_head_end(&out);
		conn_write(c, out.mem, out.len, NULL);
	}
	buf_free(&out);
	conn_set_read_ms(c, 0);
	forget(v);
	return c;
}
