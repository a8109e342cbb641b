#include "net/http_call.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/cidr.h"
#include "net/conn.h"
#include "net/socket.h"
#include "net/tls.h"

/* TCP watches over a silent peer (backends.md 2.4). */
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 3
#define USER_TIMEOUT_MS (30 * 1000)

static const struct conn_events link_events;

/* ---- the end of a call ---- */

void
http_call_release(struct http_call *call)
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

void
http_call_free_when_idle(struct http_call *call)
{
	if (call->depth > 0 || call->client != NULL)
		return;
	if (call->tls != NULL)
		tls_config_unref(call->tls);
	buf_free(&call->head);
	buf_free(&call->kept);
	free(call->method);
	free(call->host);
	free(call->key);
	free(call->where);
	free(call);
}

void
http_call_enter(struct http_call *call)
{
	call->depth++;
}

bool
http_call_leave(struct http_call *call)
{
	bool lives = call->client != NULL;

	call->depth--;
	http_call_free_when_idle(call);
	return lives;
}

static void
call_fail(struct http_call *call, enum http_failure f, const struct err *e)
{
	struct http_events ev = call->ev;
	void *ctx = call->ctx;
	struct err copy = *e;
	bool silent = call->is_discarded;

	http_call_release(call);
	http_call_free_when_idle(call);
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

void
http_call_on_head_timer(void *ctx)
{
	struct http_call *call = ctx;

	call_timed_out(call, call->is_discarded ? HTTP_CALL_DRAIN_MS : call->head_ms);
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
	http_call_release(call);
	http_call_free_when_idle(call);
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
	o.rules = proxy == NULL ? call->rules : NULL;
	o.tls = proxy == NULL ? call->tls : proxy->is_tls ? c->opts.proxy_tls : NULL;
	o.sessions = c->sessions;
	o.session_key = call->key;
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
	/* What an earlier connection took with it. */
	if (call->kept.len > 0 && conn_write(c, buf_data(&call->kept), call->kept.len, &e) != 0) {
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

void
http_call_begin(struct loop_later *later)
{
	struct http_call *call = CONTAINER_OF(later, struct http_call, begin);
	struct http_link *l;

	if (call->total_ms > 0 && !loop_timer_is_set(&call->total_timer))
		loop_timer_set(call->loop, &call->total_timer, call->total_ms, on_total_timer, call);
	if (call->head_ms > 0)
		loop_timer_set(call->loop, &call->head_timer, call->head_ms, http_call_on_head_timer, call);
	if (call->head.len == 0) {
		call_fail_text(call, HTTP_BAD_REQUEST, ERR_INVALID_ARGUMENT, "the request has a control character in a header or its target");
		return;
	}
	if (call->proxy != NULL && call->proxy->is_tls && (call->tls != NULL || call->client->opts.proxy_tls == NULL)) {
		call_fail_text(call, HTTP_NO_PROXY, ERR_FAILED_PRECONDITION, "https is not possible through a proxy that is itself https");
		return;
	}
	if (call->proxy != NULL && call->rules != NULL && !addr_rules_admit_name(call->rules, call->host)) {
		call_fail_text(call, HTTP_NOT_ALLOWED, ERR_PERMISSION_DENIED, "the address is not allowed");
		return;
	}
	l = call->may_repeat ? http_pool_take(&call->client->pool, call->key) : NULL;
	if (!call->may_repeat)
		http_pool_make_room(&call->client->pool, call->key);
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

/* False: the call is over. */
static bool
got_data(struct http_call *call, struct slice data)
{
	call->received += data.n;
	if (!call->is_discarded) {
		call->ev.on_data(call->ctx, data.p, data.n);
		return call->client != NULL;
	}
	if (data.n > call->drain_left) {
		http_call_release(call);
		return false;
	}
	call->drain_left -= data.n;
	return true;
}

void
http_call_pump(struct http_call *call, struct slice *in)
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
			} else if (h1->status != 100 && call->phase == CALL_HEAD && call->ev.on_interim != NULL) {
				call->ev.on_interim(call->ctx, h1);
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
			if (!got_data(call, data))
				return;
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
	http_call_enter(call);
	http_call_pump(call, &in);
	http_call_leave(call);
	return n - in.n;
}

/* A kept connection that the server closed before it saw our request says nothing about the server. */
static bool
retry_on_fresh_link(struct http_call *call)
{
	if (!call->link->was_used || call->got_bytes || !call->may_repeat)
		return false;
	loop_timer_clear(call->loop, &call->continue_timer);
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
	if (call->rules != NULL && e->code == ERR_PERMISSION_DENIED)
		return HTTP_NOT_ALLOWED;
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
