#include "net/http_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/http_pool.h"
#include "net/loop.h"
#include "net/socket.h"
#include "net/tls.h"

/* TCP watches over a silent peer (backends.md 2.4). */
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 3
#define USER_TIMEOUT_MS (30 * 1000)
/* A body that nobody wants is read for at most so long before the connection is given up. */
#define DRAIN_MS 2000

enum call_phase { CALL_CONNECT, CALL_TUNNEL, CALL_TUNNEL_TLS, CALL_HEAD, CALL_BODY };

struct http_client {
	struct loop *loop;
	struct http_client_opts opts;
	struct http_pool pool;
	struct list calls;
	size_t call_count;
	uint64_t opened;
};

struct http_call {
	struct list in_client;
	struct http_client *client;     /* NULL once it is over */
	struct loop *loop;
	struct http_events ev;
	void *ctx;
	struct http_link *link;
	const struct http_proxy *proxy;
	char *method, *host, *key, *where;
	uint16_t port;
	struct tls_config *tls;
	struct buf head;                /* the request's, as it goes on the wire */
	int connect_ms, head_ms, idle_ms;
	int64_t total_ms;
	enum call_phase phase;
	unsigned depth;                 /* callbacks that are running; the last one out frees an ended call */
	bool is_paused, is_discarded, got_bytes, was_retried;
	size_t drain_left;
	uint64_t received;
	/* Request body. */
	bool has_body, is_chunked, body_may_go, body_done;
	uint64_t body_left;
	struct loop_later begin, again;
	struct loop_timer total_timer, head_timer, continue_timer;
};

static const struct conn_events link_events;

/* ---- the end of a call ---- */

static void
call_release(struct http_call *call)
{
	if (call->client != NULL) {
		list_del(&call->in_client);
		call->client->call_count--;
		call->client = NULL;
	}
	loop_defer_clear(&call->begin);
	loop_defer_clear(&call->again);
	loop_timer_clear(call->loop, &call->total_timer);
	loop_timer_clear(call->loop, &call->head_timer);
	loop_timer_clear(call->loop, &call->continue_timer);
	if (call->link != NULL) {
		http_link_free(call->link);
		call->link = NULL;
	}
}

static void
call_free_when_idle(struct http_call *call)
{
	if (call->depth > 0 || call->client != NULL)
		return;
	if (call->tls != NULL)
		tls_config_unref(call->tls);
	buf_free(&call->head);
	free(call->method);
	free(call->host);
	free(call->key);
	free(call->where);
	free(call);
}

static void
call_enter(struct http_call *call)
{
	call->depth++;
}

/* False when the call ended meanwhile; it must not be touched then. */
static bool
call_leave(struct http_call *call)
{
	bool lives = call->client != NULL;

	call->depth--;
	call_free_when_idle(call);
	return lives;
}

static void
call_fail(struct http_call *call, enum http_failure f, const struct err *e)
{
	struct http_events ev = call->ev;
	void *ctx = call->ctx;
	struct err copy = *e;
	bool silent = call->is_discarded;

	call_release(call);
	call_free_when_idle(call);
	if (!silent)
		ev.on_error(ctx, f, &copy);
}

static void
call_fail_text(struct http_call *call, enum http_failure f, int code, const char *text)
{
	struct err e;

	err_set(&e, code, "%s: %s", http_call_peer_text(call), text);
	call_fail(call, f, &e);
}

static const char *
phase_text(const struct http_call *call)
{
	switch (call->phase) {
	case CALL_CONNECT:
		return "while connecting";
	case CALL_TUNNEL:
		return "while waiting for the proxy's answer to CONNECT";
	case CALL_TUNNEL_TLS:
		return "during the TLS handshake";
	case CALL_HEAD:
		return "while waiting for the answer's header";
	default:
		return "while receiving the body";
	}
}

static void
call_timed_out(struct http_call *call, int64_t ms)
{
	char wait[SOCKET_WAIT_MAX];
	struct err e;

	socket_wait_text(ms > INT32_MAX ? INT32_MAX : (int)ms, wait);
	err_set(&e, ERR_DEADLINE_EXCEEDED, "%s: time limit of %s for %s reached %s", http_call_peer_text(call), wait, call->method,
	    phase_text(call));
	call_fail(call, HTTP_TIMED_OUT, &e);
}

static void
on_total_timer(void *ctx)
{
	struct http_call *call = ctx;

	call_timed_out(call, call->total_ms);
}

static void
on_head_timer(void *ctx)
{
	struct http_call *call = ctx;

	call_timed_out(call, call->is_discarded ? DRAIN_MS : call->head_ms);
}

/* The exchange is over in order: the connection waits for the next one, if it can. */
static void
call_complete(struct http_call *call, bool link_is_clean)
{
	struct http_events ev = call->ev;
	void *ctx = call->ctx;
	struct http_link *l = call->link;
	const struct h1 *head = &l->h1;
	bool silent = call->is_discarded;
	bool keep = link_is_clean && head->keep_alive && (!call->has_body || call->body_done) && conn_queued(l->conn) == 0;

	call->link = NULL;
	l->call = NULL;
	if (keep)
		http_pool_put(&call->client->pool, l);
	call_release(call);
	call_free_when_idle(call);
	if (!silent)
		ev.on_end(ctx, head);
	if (!keep)
		http_link_free(l);
}

/* ---- connecting and sending ---- */

static void
link_to(struct http_call *call, struct http_link *l)
{
	call->link = l;
	l->call = call;
}

static void
open_link(struct http_call *call)
{
	struct http_client *c = call->client;
	const struct http_proxy *proxy = call->proxy;
	struct conn_opts o = {0};
	struct http_link *l = http_link_new(NULL, xstrdup(call->key), call->tls);

	o.host = proxy != NULL ? proxy->host : call->host;
	o.port = proxy != NULL ? proxy->port : call->port;
	o.dns = c->opts.dns;
	o.connect_ms = call->connect_ms;
	o.tls = proxy == NULL ? call->tls : proxy->is_tls ? c->opts.proxy_tls : NULL;
	o.keepalive_idle_s = KEEPALIVE_IDLE_S;
	o.keepalive_interval_s = KEEPALIVE_INTERVAL_S;
	o.keepalive_probes = KEEPALIVE_PROBES;
	o.user_timeout_ms = USER_TIMEOUT_MS;
	call->phase = CALL_CONNECT;
	call->got_bytes = false;
	c->opened++;
	link_to(call, l);
	l->conn = conn_connect(c->loop, &o, &link_events, l);
}

static void
on_continue_timer(void *ctx)
{
	struct http_call *call = ctx;

	call->body_may_go = true;
	call->ev.on_writable(call->ctx);
}

static void
send_request(struct http_call *call)
{
	struct conn *c = call->link->conn;
	struct err e;

	call->phase = CALL_HEAD;
	h1_next(&call->link->h1);
	h1_expect_answer_to(&call->link->h1, call->method);
	if (conn_write(c, buf_data(&call->head), call->head.len, &e) != 0) {
		call_fail(call, HTTP_BROKEN, &e);
		return;
	}
	if (!call->has_body || call->body_done)
		return;
	if (call->body_may_go)
		call->ev.on_writable(call->ctx);
	else
		loop_timer_set(call->loop, &call->continue_timer, HTTP_CLIENT_CONTINUE_MS, on_continue_timer, call);
}

static void
send_connect(struct http_call *call)
{
	struct buf out = BUF_INIT;
	bool is_v6 = strchr(call->host, ':') != NULL;
	struct err e;

	call->phase = CALL_TUNNEL;
	h1_next(&call->link->h1);
	h1_expect_answer_to(&call->link->h1, "CONNECT");
	buf_printf(&out, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n", is_v6 ? "[" : "", call->host, is_v6 ? "]" : "",
	    call->port, is_v6 ? "[" : "", call->host, is_v6 ? "]" : "", call->port);
	if (call->proxy->authorization != NULL)
		h1_write_field_str(&out, "Proxy-Authorization", call->proxy->authorization);
	h1_write_head_end(&out);
	if (conn_write(call->link->conn, out.mem, out.len, &e) != 0)
		call_fail(call, HTTP_BROKEN, &e);
	buf_free(&out);
}

static void
on_open(struct conn *c, void *ctx)
{
	struct http_call *call = ((struct http_link *)ctx)->call;

	(void)c;
	if (call->phase == CALL_CONNECT && call->proxy != NULL && call->tls != NULL)
		send_connect(call);
	else if (call->phase == CALL_CONNECT || call->phase == CALL_TUNNEL_TLS)
		send_request(call);
}

static void
begin(struct loop_later *later)
{
	struct http_call *call = CONTAINER_OF(later, struct http_call, begin);
	struct http_link *l;

	if (call->total_ms > 0 && !loop_timer_is_set(&call->total_timer))
		loop_timer_set(call->loop, &call->total_timer, call->total_ms, on_total_timer, call);
	if (call->head_ms > 0)
		loop_timer_set(call->loop, &call->head_timer, call->head_ms, on_head_timer, call);
	if (call->head.len == 0) {
		call_fail_text(call, HTTP_BAD_REQUEST, ERR_INVALID_ARGUMENT, "the request has a control character in a header or its target");
		return;
	}
	if (call->proxy != NULL && call->proxy->is_tls && (call->tls != NULL || call->client->opts.proxy_tls == NULL)) {
		call_fail_text(call, HTTP_NO_PROXY, ERR_FAILED_PRECONDITION, "https is not possible through a proxy that is itself https");
		return;
	}
	l = http_pool_take(&call->client->pool, call->key);
	if (l == NULL) {
		open_link(call);
		return;
	}
	link_to(call, l);
	conn_set_events(l->conn, &link_events, l);
	send_request(call);
}

/* ---- receiving ---- */

/* 1: go on reading; 0: the call ended. */
static int
got_head(struct http_call *call, struct h1 *h1)
{
	if (call->phase == CALL_TUNNEL)
		return 1;
	loop_timer_clear(call->loop, &call->head_timer);
	call->phase = CALL_BODY;
	if (call->idle_ms > 0)
		conn_set_read_ms(call->link->conn, call->idle_ms);
	if (call->is_paused)
		conn_pause_read(call->link->conn);
	call->ev.on_head(call->ctx, h1);
	return call->client != NULL;
}

static void
tunnel_refused(struct http_call *call, const struct h1 *h1)
{
	struct err e;

	err_set(&e, h1->status == 407 ? ERR_UNAUTHENTICATED : ERR_UNAVAILABLE, "proxy %s: CONNECT %s:%u: %d %s", conn_peer_text(call->link->conn),
	    call->host, call->port, h1->status, h1_reason(h1->status));
	call_fail(call, HTTP_NO_PROXY, &e);
}

static void
got_end(struct http_call *call, struct slice rest)
{
	struct http_link *l = call->link;

	if (call->phase != CALL_TUNNEL) {
		call_complete(call, rest.n == 0);
		return;
	}
	call->phase = CALL_TUNNEL_TLS;
	conn_start_tls(l->conn, call->tls, call->host);
}

/* A message that breaks the rules; a reason that names the peer. */
static void
got_error(struct http_call *call, const struct h1 *h1)
{
	struct err e;

	err_set(&e, ERR_UNAVAILABLE, "%s: not an HTTP answer: %s", http_call_peer_text(call), h1->error);
	call_fail(call, HTTP_PROTOCOL, &e);
}

static void
got_data(struct http_call *call, struct slice data)
{
	call->received += data.n;
	if (!call->is_discarded) {
		call->ev.on_data(call->ctx, data.p, data.n);
	} else if (data.n > call->drain_left) {
		call_release(call);
	} else {
		call->drain_left -= data.n;
	}
}

/* Takes from *in what may be taken now. The call may be over (and still allocated, see depth) afterwards. */
static void
pump(struct http_call *call, struct slice *in)
{
	struct h1 *h1 = &call->link->h1;
	struct slice data;

	while (call->client != NULL && !(call->is_paused && call->phase == CALL_BODY) && call->phase != CALL_TUNNEL_TLS) {
		switch (h1_parse(h1, in, &data)) {
		case H1_MORE:
			return;
		case H1_INTERIM:
			if (h1->status == 100 && call->has_body && !call->body_may_go && call->phase == CALL_HEAD) {
				loop_timer_clear(call->loop, &call->continue_timer);
				on_continue_timer(call);
			}
			break;
		case H1_HEAD:
			if (call->phase == CALL_TUNNEL && !h1->is_tunnel) {
				tunnel_refused(call, h1);
				return;
			}
			if (!got_head(call, h1))
				return;
			break;
		case H1_DATA:
			got_data(call, data);
			break;
		case H1_END:
			got_end(call, *in);
			return;
		case H1_ERROR:
			got_error(call, h1);
			return;
		}
	}
}

static size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct http_call *call = ((struct http_link *)ctx)->call;
	struct slice in = slice_make(p, n);

	(void)c;
	if (call->phase == CALL_CONNECT || call->phase == CALL_TUNNEL_TLS)
		return 0;
	call->got_bytes = true;
	call_enter(call);
	pump(call, &in);
	call_leave(call);
	return n - in.n;
}

static bool
is_idempotent(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

/* A kept connection that the server closed before it saw our request says nothing about the server. */
static bool
retry_on_fresh_link(struct http_call *call)
{
	if (!call->link->was_used || call->got_bytes || call->was_retried || call->has_body || !is_idempotent(call->method))
		return false;
	call->was_retried = true;
	http_link_free(call->link);
	call->link = NULL;
	open_link(call);
	return true;
}

static void
on_eof(struct conn *c, void *ctx)
{
	struct http_call *call = ((struct http_link *)ctx)->call;
	struct err e;

	if (retry_on_fresh_link(call))
		return;
	switch (h1_eof(&call->link->h1)) {
	case H1_END:
		call_complete(call, false);
		return;
	case H1_MORE:
		err_set(&e, ERR_UNAVAILABLE, "%s: connection closed before the answer", conn_peer_text(c));
		break;
	default:
		if (call->phase == CALL_BODY && call->link->h1.has_length)
			err_set(&e, ERR_UNAVAILABLE, "%s: connection closed after %" PRIu64 " of %" PRIu64 " bytes", conn_peer_text(c),
			    call->received, call->link->h1.length);
		else
			err_set(&e, ERR_UNAVAILABLE, "%s: %s", conn_peer_text(c), call->link->h1.error);
		break;
	}
	call_fail(call, call->phase == CALL_TUNNEL ? HTTP_NO_PROXY : HTTP_BROKEN, &e);
}

static enum http_failure
classify(const struct http_call *call, const struct conn *c, const struct err *e)
{
	if (e->code == ERR_DEADLINE_EXCEEDED)
		return HTTP_TIMED_OUT;
	if (call->phase == CALL_TUNNEL_TLS)
		return HTTP_NO_TLS;
	if (call->phase == CALL_TUNNEL)
		return HTTP_NO_PROXY;
	if (call->phase != CALL_CONNECT)
		return HTTP_BROKEN;
	if (conn_peer(c)->len > 0 && conn_is_tls(c))
		return HTTP_NO_TLS;
	return e->code == ERR_NOT_FOUND || e->code == ERR_INVALID_ARGUMENT ? HTTP_NO_NAME : HTTP_NO_CONNECT;
}

static void
on_close(struct conn *c, void *ctx, const struct err *e)
{
	struct http_link *l = ctx;
	struct http_call *call = l->call;
	enum http_failure f = classify(call, c, e);
	struct err why = *e;

	l->conn = NULL;
	if (f != HTTP_TIMED_OUT && retry_on_fresh_link(call))
		return;
	if (call->proxy != NULL && (call->phase == CALL_CONNECT || call->phase == CALL_TUNNEL))
		err_wrap(&why, "proxy");
	call_fail(call, f, &why);
}

static void
on_drain(struct conn *c, void *ctx)
{
	struct http_call *call = ((struct http_link *)ctx)->call;

	(void)c;
	if (call->has_body && call->body_may_go && !call->body_done && call->phase >= CALL_HEAD)
		call->ev.on_writable(call->ctx);
}

static const struct conn_events link_events = {
	.on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_drain = on_drain, .on_close = on_close,
};

/* ---- the interface ---- */

struct http_client *
http_client_new(struct loop *loop, const struct http_client_opts *opts)
{
	struct http_client *c = xcalloc(1, sizeof(*c));

	c->loop = loop;
	c->opts = *opts;
	if (c->opts.proxy_tls != NULL)
		tls_config_ref(c->opts.proxy_tls);
	http_pool_init(&c->pool, opts->idle_max > 0 ? opts->idle_max : HTTP_CLIENT_IDLE_MAX,
	    opts->idle_ms > 0 ? opts->idle_ms : HTTP_CLIENT_IDLE_MS);
	list_init(&c->calls);
	return c;
}

void
http_client_free(struct http_client *c)
{
	if (c == NULL)
		return;
	while (!list_is_empty(&c->calls))
		http_call_cancel(CONTAINER_OF(c->calls.next, struct http_call, in_client));
	http_pool_free(&c->pool);
	if (c->opts.proxy_tls != NULL)
		tls_config_unref(c->opts.proxy_tls);
	free(c);
}

/* Empty when the request cannot be written. */
static void
write_head(struct http_call *call, const struct http_request *r)
{
	struct buf *out = &call->head, target = BUF_INIT;
	bool is_v6 = strchr(r->host, ':') != NULL, fits;
	char authority[1100];

	fits = snprintf(authority, sizeof(authority), "%s%s%s", is_v6 ? "[" : "", r->host, is_v6 ? "]" : "") < (int)sizeof(authority) - 8;
	if (r->port != (r->tls != NULL ? 443 : 80)) {
		size_t n = strlen(authority);

		snprintf(authority + n, sizeof(authority) - n, ":%u", r->port);
	}
	if (call->proxy != NULL && r->tls == NULL && r->target.n > 0 && r->target.p[0] == '/')
		buf_printf(&target, "http://%s", authority);
	buf_append_slice(&target, r->target);
	if (!fits || h1_write_request_line(out, r->method, buf_slice(&target)) != 0
	    || h1_write_field_str(out, "Host", authority) != 0)
		goto refuse;
	for (size_t i = 0; i < r->field_count; i++) {
		struct slice name = r->fields[i].name;

		/* Checked as the writer would, without a copy of the name. */
		if (!h1_is_token(name) || !h1_is_value(r->fields[i].value))
			goto refuse;
		buf_append_slice(out, name);
		buf_append(out, ": ", 2);
		buf_append_slice(out, r->fields[i].value);
		buf_append(out, "\r\n", 2);
	}
	if (call->proxy != NULL && r->tls == NULL && call->proxy->authorization != NULL)
		h1_write_field_str(out, "Proxy-Authorization", call->proxy->authorization);
	if (r->has_body && r->has_length)
		h1_write_length(out, r->length);
	else if (r->has_body)
		h1_write_field_str(out, "Transfer-Encoding", "chunked");
	if (r->is_upgrade)
		h1_write_field_str(out, "Connection", "upgrade");
	if (r->has_body && r->expect_continue)
		h1_write_field_str(out, "Expect", "100-continue");
	h1_write_head_end(out);
	buf_free(&target);
	return;
refuse:
	buf_clear(out);
	buf_free(&target);
}

struct http_call *
http_call_start(struct http_client *c, const struct http_request *r, const struct http_events *ev, void *ctx)
{
	struct http_call *call = xcalloc(1, sizeof(*call));

	call->client = c;
	call->loop = c->loop;
	call->ev = *ev;
	call->ctx = ctx;
	call->method = xstrdup(r->method);
	call->host = xstrdup(r->host);
	call->port = r->port;
	call->where = xasprintf(strchr(r->host, ':') != NULL ? "[%s]:%u" : "%s:%u", r->host, r->port);
	call->tls = r->tls != NULL ? tls_config_ref(r->tls) : NULL;
	call->connect_ms = r->connect_ms;
	call->head_ms = r->head_ms;
	call->idle_ms = r->idle_ms;
	call->total_ms = r->total_ms;
	call->has_body = r->has_body;
	call->is_chunked = r->has_body && !r->has_length;
	call->body_left = r->length;
	call->body_may_go = !r->expect_continue;
	call->body_done = r->has_body && r->has_length && r->length == 0;
	call->proxy = c->opts.proxies != NULL ? http_proxies_pick(c->opts.proxies, r->tls != NULL, r->host) : NULL;
	if (call->proxy == NULL)
		call->key = xasprintf("%s:%u %p", r->host, r->port, (void *)r->tls);
	else if (r->tls != NULL)
		call->key = xasprintf("%s:%u %p via %s:%u", r->host, r->port, (void *)r->tls, call->proxy->host, call->proxy->port);
	else
		call->key = xasprintf("http via %s:%u", call->proxy->host, call->proxy->port);
	write_head(call, r);
	list_add_tail(&c->calls, &call->in_client);
	c->call_count++;
	loop_defer(c->loop, &call->begin, begin);
	return call;
}

void
http_call_cancel(struct http_call *call)
{
	call_release(call);
	call_free_when_idle(call);
}

static void
pump_again(struct loop_later *later)
{
	struct http_call *call = CONTAINER_OF(later, struct http_call, again);
	struct slice none = {0};

	if (call->is_paused || call->phase != CALL_BODY)
		return;
	call_enter(call);
	pump(call, &none);
	if (call_leave(call) && !call->is_paused)
		conn_resume_read(call->link->conn);
}

void
http_call_pause(struct http_call *call)
{
	if (call->is_paused)
		return;
	call->is_paused = true;
	if (call->link != NULL && call->phase == CALL_BODY)
		conn_pause_read(call->link->conn);
}

void
http_call_resume(struct http_call *call)
{
	if (!call->is_paused)
		return;
	call->is_paused = false;
	/* The end of a body may be known without a further byte. */
	if (call->phase == CALL_BODY)
		loop_defer(call->loop, &call->again, pump_again);
}

void
http_call_discard(struct http_call *call, size_t drain_max)
{
	const struct h1 *h1 = &call->link->h1;

	if (call->phase != CALL_BODY || h1->is_close_delimited || h1->is_tunnel || !h1->keep_alive
	    || (h1->has_body && h1->has_length && h1->length - call->received > drain_max)) {
		http_call_cancel(call);
		return;
	}
	call->is_discarded = true;
	call->drain_left = drain_max;
	loop_timer_set(call->loop, &call->head_timer, DRAIN_MS, on_head_timer, call);
	http_call_resume(call);
}

struct conn *
http_call_take_conn(struct http_call *call)
{
	struct conn *c = call->link->conn;

	call->link->conn = NULL;
	conn_set_read_ms(c, 0);
	call_release(call);
	call_free_when_idle(call);
	return c;
}

size_t
http_call_write(struct http_call *call, const void *p, size_t n)
{
	struct conn *c = call->link != NULL ? call->link->conn : NULL;
	char size[H1_CHUNK_HEAD_MAX + 1];
	size_t queued, room;

	if (c == NULL || call->phase < CALL_HEAD || !call->body_may_go || call->body_done || n == 0)
		return 0;
	queued = conn_queued(c);
	room = queued < HTTP_CLIENT_BODY_QUEUE ? HTTP_CLIENT_BODY_QUEUE - queued : 0;
	if (n > room)
		n = room;
	if (!call->is_chunked && n > call->body_left)
		n = (size_t)call->body_left;
	if (n == 0)
		return 0;
	if (call->is_chunked && conn_write(c, size, h1_chunk_head(size, n), NULL) != 0)
		return 0;
	if (conn_write(c, p, n, NULL) != 0)
		return 0;
	if (call->is_chunked && conn_write(c, "\r\n", 2, NULL) != 0)
		return 0;
	if (!call->is_chunked)
		call->body_left -= n;
	return n;
}

void
http_call_write_end(struct http_call *call)
{
	if (call->body_done || call->link == NULL || call->link->conn == NULL)
		return;
	if (call->is_chunked)
		conn_write(call->link->conn, H1_LAST_CHUNK, sizeof(H1_LAST_CHUNK) - 1, NULL);
	call->body_done = call->is_chunked || call->body_left == 0;
}

const char *
http_call_peer_text(const struct http_call *call)
{
	if (call->link == NULL || call->link->conn == NULL)
		return call->where;
	return conn_peer_text(call->link->conn);
}

uint64_t
http_client_opened(const struct http_client *c)
{
	return c->opened;
}

size_t
http_client_idle_count(const struct http_client *c)
{
	return c->pool.count;
}

size_t
http_client_call_count(const struct http_client *c)
{
	return c->call_count;
}
