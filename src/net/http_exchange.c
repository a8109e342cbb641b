/*
 * What handlers of the HTTP server do with a request: read it, answer it.
 */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/http_served.h"

/* Ordinary heads of answers fit without growing. */
#define HEAD_ROOM 1024

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
		served_say_body_end(v);
		return;
	}
	conn_set_read_ms(v->conn, v->server->opts.body_ms);
	served_pump(v, &none);
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

	buf_reserve(out, HEAD_ROOM);
	h1_write_status_line(out, v->h1.minor, status, NULL);
	if (write_fields(out, fields, count) != 0)
		return -1;
	if (!has_field(fields, count, "date"))
		h1_write_field_str(out, "Date", served_date(v->server));
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

int
http_exchange_head_with(struct http_exchange *x, int status, const struct h1_field *fields, size_t count, uint64_t length, const void *p,
    size_t n, size_t *took)
{
	struct served *v = served_of(x);
	struct buf out = BUF_INIT;
	int r = build_head(x, &out, status, fields, count, length);

	*took = 0;
	if (r == 0 && !x->is_chunked && !x->is_head && x->left != HTTP_NO_LENGTH && n <= x->left) {
		*took = conn_write_then_some(v->conn, out.mem, out.len, p, n);
		x->head_sent = true;
		x->left -= *took;
		if (*took < n) {
			x->wants_write = true;
			conn_want_write(v->conn);
		}
	} else if (r == 0) {
		conn_write(v->conn, out.mem, out.len, NULL);
		x->head_sent = true;
		*took = http_exchange_write(x, p, n);
	}
	buf_free(&out);
	return r;
}

/* The exchange is over and the next one may come, or the connection ends. */
static void
complete(struct served *v)
{
	if (!v->x.keep_alive || v->server->is_shutting_down) {
		served_linger(v);
		return;
	}
	served_wait_for_request(v);
	if (!v->in_dispatch)
		conn_resume_read(v->conn);
}

void
http_exchange_interim(struct http_exchange *x, int status, const struct h1_field *fields, size_t count)
{
	struct served *v = served_of(x);
	struct buf out = BUF_INIT;

	if (v->h1.minor > 0 && !x->head_sent) {
		h1_write_status_line(&out, v->h1.minor, status, NULL);
		if (write_fields(&out, fields, count) == 0) {
			h1_write_head_end(&out);
			conn_write(v->conn, out.mem, out.len, NULL);
		}
	}
	buf_free(&out);
}

void
http_exchange_end(struct http_exchange *x)
{
	http_exchange_end_with(x, NULL, 0);
}

void
http_exchange_end_with(struct http_exchange *x, const struct h1_field *trailers, size_t count)
{
	struct served *v = served_of(x);
	struct buf out = BUF_INIT;

	if (!x->head_sent || (x->left != HTTP_NO_LENGTH && x->left > 0 && !x->is_head)) {
		http_exchange_abort(x);
		return;
	}
	if (x->is_chunked && !x->is_head) {
		h1_write_last_chunk(&out, trailers, count);
		conn_write(v->conn, out.mem, out.len, NULL);
		buf_free(&out);
	}
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

	served_forget(v);
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
			h1_write_field_str(&out, "Date", served_date(v->server));
		h1_write_head_end(&out);
		conn_write(c, out.mem, out.len, NULL);
	}
	buf_free(&out);
	conn_set_read_ms(c, 0);
	served_forget(v);
	return c;
}
