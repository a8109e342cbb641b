#include "net/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/conn.h"
#include "net/http_call.h"
#include "net/tls.h"
#include "net/tls_sessions.h"

struct http_client *
http_client_new(struct loop *loop, const struct http_client_opts *opts)
{
	struct http_client *c = xcalloc(1, sizeof(*c));

	c->loop = loop;
	c->opts = *opts;
	if (c->opts.proxy_tls != NULL)
		tls_config_ref(c->opts.proxy_tls);
	c->sessions = tls_sessions_new(TLS_SESSIONS_MAX);
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
	tls_sessions_unref(c->sessions);
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

/* RFC 9110 9.2.2. */
static bool
is_idempotent(const char *method)
{
	static const char *const names[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (strcmp(method, names[i]) == 0)
			return true;
	return false;
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
	call->rules = r->rules;
	call->connect_ms = r->connect_ms;
	call->head_ms = r->head_ms;
	call->idle_ms = r->idle_ms;
	call->total_ms = r->total_ms;
	call->has_body = r->has_body;
	call->is_chunked = r->has_body && !r->has_length;
	call->body_left = r->length;
	call->body_may_go = !r->expect_continue;
	call->body_done = r->has_body && r->has_length && r->length == 0;
	call->may_repeat = is_idempotent(r->method) && (!r->has_body || (r->has_length && r->length <= HTTP_CALL_KEPT_MAX));
	call->proxy = c->opts.proxies != NULL ? http_proxies_pick(c->opts.proxies, r->tls != NULL, r->host) : NULL;
	if (call->proxy == NULL)
		call->key = xasprintf("%s:%u %p %p", r->host, r->port, (void *)r->tls, (const void *)r->rules);
	else if (r->tls != NULL)
		call->key = xasprintf("%s:%u %p via %s:%u", r->host, r->port, (void *)r->tls, call->proxy->host, call->proxy->port);
	else
		call->key = xasprintf("http via %s:%u", call->proxy->host, call->proxy->port);
	write_head(call, r);
	list_add_tail(&c->calls, &call->in_client);
	c->call_count++;
	loop_defer(c->loop, &call->begin, http_call_begin);
	return call;
}

void
http_call_cancel(struct http_call *call)
{
	http_call_release(call);
	http_call_free_when_idle(call);
}

static void
pump_again(struct loop_later *later)
{
	struct http_call *call = CONTAINER_OF(later, struct http_call, again);
	struct slice none = {0};

	if (call->is_paused || call->phase != CALL_BODY)
		return;
	http_call_enter(call);
	http_call_pump(call, &none);
	if (http_call_leave(call) && !call->is_paused)
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
	loop_timer_set(call->loop, &call->head_timer, HTTP_CALL_DRAIN_MS, http_call_on_head_timer, call);
	http_call_resume(call);
}

struct conn *
http_call_take_conn(struct http_call *call)
{
	struct conn *c = call->link->conn;

	call->link->conn = NULL;
	conn_set_read_ms(c, 0);
	http_call_release(call);
	http_call_free_when_idle(call);
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
	if (call->link->was_used)
		buf_append(&call->kept, p, n);
	return n;
}

void
http_call_write_end(struct http_call *call)
{
	http_call_write_end_with(call, NULL, 0);
}

void
http_call_write_end_with(struct http_call *call, const struct h1_field *trailers, size_t count)
{
	struct buf out = BUF_INIT;

	if (call->body_done || call->link == NULL || call->link->conn == NULL)
		return;
	if (call->is_chunked) {
		h1_write_last_chunk(&out, trailers, count);
		conn_write(call->link->conn, out.mem, out.len, NULL);
		buf_free(&out);
	}
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
