/*
 * Requests that go to their upstream as they are, and its answers as they come (spec: proxy.md 5): both bodies are streamed, each at
 * the speed of its slower end; after a 101 the bytes go both ways.
 */
#include "serve/proxy_internal.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/conn.h"
#include "net/http_client.h"
#include "serve/proxy_rules.h"
#include "text/url.h"

/* Connecting to one address; TLS follows within conn.h's own limit. */
#define DIRECT_CONNECT_MS (30 * 1000)
/* No byte of the answer's body while we want some. The wait for its head: x.proxy.answerTimeout, from the last byte of the request on. */
#define DIRECT_IDLE_MS (300 * 1000)

struct proxy_direct {
	struct list link;
	struct proxy_side *side;
	struct http_exchange *x;
	struct http_call *call;         /* NULL once it ended */
	struct loop_timer silence;      /* until the answer's head */
	struct buf up, down;            /* what the slower end did not take yet */
	bool up_begun, up_ended;        /* the client's body is wanted, is complete */
	bool wants_upgrade, head_sent, is_mirror;
	struct arena arena;             /* of the answer's trailers, when they came before the client took the rest */
	struct h1_field trailers[H1_TRAILERS_MAX];
	size_t trailer_count;
};

static void
direct_free(struct proxy_direct *d)
{
	list_del(&d->link);
	loop_timer_clear(d->side->loop, &d->silence);
	buf_free(&d->up);
	buf_free(&d->down);
	arena_free(&d->arena);
	free(d);
}

/* ---- an upstream that does not answer ---- */

static void
on_silence(void *ctx)
{
	struct proxy_direct *d = ctx;
	struct proxy_side *side = d->side;
	struct http_exchange *x = d->x;
	struct err why;

	err_set(&why, ERR_DEADLINE_EXCEEDED, "%s: no answer within x.proxy.answerTimeout", http_call_peer_text(d->call));
	http_call_cancel(d->call);
	direct_free(d);
	proxy_refuse(side, x, 504, PROXY_BY_BACKEND, NULL, 0, why.text);
}

/* Called when something moved. While the client sends its body and the upstream takes all of it, nobody waits for the upstream. */
static void
wait_for_head(struct proxy_direct *d)
{
	if (d->call == NULL || d->head_sent || (d->up_begun && !d->up_ended && d->up.len == 0))
		loop_timer_clear(d->side->loop, &d->silence);
	else
		loop_timer_set(d->side->loop, &d->silence, d->side->proxy->o.config->x.proxy.answer_timeout_ms, on_silence, d);
}

/* ---- the request's body, upwards ---- */

static void
end_up(struct proxy_direct *d)
{
	const struct h1 *request = http_exchange_request(d->x);

	http_call_write_end_with(d->call, request->trailers, request->trailer_count);
}

static void
push_up(struct proxy_direct *d)
{
	if (d->call == NULL)
		return;
	if (d->up.len > 0)
		buf_consume(&d->up, http_call_write(d->call, buf_data(&d->up), d->up.len));
	wait_for_head(d);
	if (d->up.len > 0)
		return;
	if (d->up_ended)
		end_up(d);
	else
		http_exchange_resume_body(d->x);
}

static void
on_body(void *ctx, const void *p, size_t n)
{
	struct proxy_direct *d = ctx;
	size_t took = d->call != NULL && d->up.len == 0 ? http_call_write(d->call, p, n) : d->call != NULL ? 0 : n;

	if (took == n)
		return;
	buf_append(&d->up, (const uint8_t *)p + took, n - took);
	wait_for_head(d);
	http_exchange_pause_body(d->x);
}

static void
on_body_end(void *ctx)
{
	struct proxy_direct *d = ctx;

	d->up_ended = true;
	wait_for_head(d);
	if (d->up.len == 0 && d->call != NULL)
		end_up(d);
}

/* The upstream wants the body (after its 100 Continue, where the client asked for one). */
static void
on_upstream_writable(void *ctx)
{
	struct proxy_direct *d = ctx;

	d->up_begun = true;
	http_exchange_read_body(d->x);
	push_up(d);
}

/* ---- the answer, downwards ---- */

static void
on_writable(void *ctx)
{
	struct proxy_direct *d = ctx;

	if (d->down.len > 0)
		buf_consume(&d->down, http_exchange_write(d->x, buf_data(&d->down), d->down.len));
	if (d->down.len > 0)
		return;
	if (d->call == NULL) {
		http_exchange_end_with(d->x, d->trailers, d->trailer_count);
		direct_free(d);
		return;
	}
	http_call_resume(d->call);
}

static void
on_gone(void *ctx)
{
	struct proxy_direct *d = ctx;

	if (d->call != NULL)
		http_call_cancel(d->call);
	direct_free(d);
}

static size_t
fields_down(const struct h1 *head, struct h1_field fields[H1_FIELDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < head->field_count; i++)
		if (proxy_field_goes_down(head, head->fields[i].name))
			fields[n++] = head->fields[i];
	return n;
}

static void
on_interim(void *ctx, const struct h1 *head)
{
	struct proxy_direct *d = ctx;
	struct h1_field fields[H1_FIELDS_MAX];

	wait_for_head(d);
	http_exchange_interim(d->x, head->status, fields, fields_down(head, fields));
}

static void
on_head(void *ctx, const struct h1 *head)
{
	struct proxy_direct *d = ctx;
	struct h1_field fields[H1_FIELDS_MAX];
	bool is_head = slice_eq_str(http_exchange_request(d->x)->method, "HEAD");
	uint64_t length = head->has_body && !head->has_length ? HTTP_NO_LENGTH : head->length;
	bool is_upgraded = head->status == 101 && d->wants_upgrade;
	size_t n;

	n = fields_down(head, fields);
	for (size_t i = 0; i < head->field_count; i++) {
		struct slice name = head->fields[i].name;

		/* A 304 tells the length of what it does not send. */
		if ((head->status == 304 && slice_ieq_str(name, "content-length")) ||
		    (is_upgraded && (slice_ieq_str(name, "upgrade") || slice_ieq_str(name, "connection"))))
			fields[n++] = head->fields[i];
	}
	if (is_upgraded) {
		struct proxy_side *side = d->side;
		struct conn *down = http_exchange_take_conn(d->x, 101, fields, n), *up;

		/* Its head, and so the fields, end with the call. */
		up = http_call_take_conn(d->call);
		direct_free(d);
		proxy_splice(side, down, up);
		return;
	}
	if (is_head)
		length = head->has_length ? head->length : HTTP_NO_LENGTH;
	d->head_sent = true;
	loop_timer_clear(d->side->loop, &d->silence);
	if (head->status == 101 || http_exchange_head(d->x, head->status, fields, n, length) < 0) {
		struct http_exchange *x = d->x;
		struct proxy_side *side = d->side;

		http_call_cancel(d->call);
		direct_free(d);
		proxy_refuse(side, x, 502, PROXY_BY_BACKEND, NULL, 0, "the upstream's answer cannot be passed on");
	}
}

static void
on_data(void *ctx, const void *p, size_t n)
{
	struct proxy_direct *d = ctx;
	size_t took = d->down.len == 0 ? http_exchange_write(d->x, p, n) : 0;

	if (took == n)
		return;
	buf_append(&d->down, (const uint8_t *)p + took, n - took);
	http_call_pause(d->call);
}

static void
keep_trailers(struct proxy_direct *d, const struct h1 *head)
{
	for (size_t i = 0; i < head->trailer_count; i++) {
		const struct h1_field *t = &head->trailers[i];
		void *name = arena_copy(&d->arena, t->name.p, t->name.n), *value = arena_copy(&d->arena, t->value.p, t->value.n);

		d->trailers[d->trailer_count++] = (struct h1_field){slice_make(name, t->name.n), slice_make(value, t->value.n)};
	}
}

static void
on_end(void *ctx, const struct h1 *head)
{
	struct proxy_direct *d = ctx;
	struct http_exchange *x = d->x;

	d->call = NULL;
	if (d->down.len > 0) {
		/* on_writable ends it. */
		keep_trailers(d, head);
		return;
	}
	direct_free(d);
	http_exchange_end_with(x, head->trailers, head->trailer_count);
}

static void
on_error(void *ctx, enum http_failure f, const struct err *e)
{
	struct proxy_direct *d = ctx;
	struct proxy_side *side = d->side;
	struct http_exchange *x = d->x;
	const struct h1 *head = http_exchange_request(x);
	bool head_sent = d->head_sent;
	char url[URL_REDACTED_MAX];
	struct err why = *e;

	if (d->is_mirror && f == HTTP_NO_TLS)
		err_set(&why, e->code, "%s%s", e->text, PROXY_PLAIN_HINT);
	d->call = NULL;
	direct_free(d);
	if (!head_sent) {
		proxy_refuse(side, x, f == HTTP_TIMED_OUT ? 504 : f == HTTP_BAD_REQUEST ? 400 : 502, f == HTTP_BAD_REQUEST ? PROXY_BY_PROXY :
		    PROXY_BY_BACKEND, NULL, 0, why.text);
		return;
	}
	log_warn("upstream broke off within its answer client=%s method=%.*s target=\"%s\" error=\"%s\"", conn_peer_text(http_exchange_conn(x)),
	    SLICE_ARG(head->method), url_redact_text(head->target, url), e->text);
	atomic_fetch_add_explicit(&side->proxy->counts.failed, 1, memory_order_relaxed);
	http_exchange_abort(x);
}

/* ---- start ---- */

static size_t
request_fields(const struct proxy_request *r, bool is_upgrade, struct slice via, struct h1_field fields[H1_FIELDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < r->head->field_count && n < H1_FIELDS_MAX - 1; i++) {
		struct slice name = r->head->fields[i].name;

		if (!proxy_field_goes_up(r->head, name) && !(is_upgrade && slice_ieq_str(name, "upgrade")))
			continue;
		if (r->drops_authorization && slice_ieq_str(name, "authorization"))
			continue;
		fields[n++] = r->head->fields[i];
	}
	fields[n++] = (struct h1_field){slice_str("Via"), via};
	return n;
}

void
proxy_direct(const struct proxy_request *r)
{
	static const struct http_events call_events = {
		.on_head = on_head, .on_interim = on_interim, .on_data = on_data, .on_end = on_end, .on_error = on_error, .on_writable = on_upstream_writable,
	};
	static const struct http_exchange_events client_events = {
		.on_body = on_body, .on_body_end = on_body_end, .on_writable = on_writable, .on_gone = on_gone,
	};
	struct proxy_side *side = r->side;
	struct proxy *p = side->proxy;
	struct proxy_direct *d = xcalloc(1, sizeof *d);
	struct buf target = BUF_INIT;
	struct h1_field fields[H1_FIELDS_MAX];
	char *host = slice_dup(url_hostname(r->parsed)), *method = slice_dup(r->head->method);
	/* Not to HTTP/2: its settings would be lost, and nobody here speaks it. */
	bool is_upgrade = r->head->wants_upgrade && !r->head->has_body && !h1_has_token(r->head, "upgrade", "h2c");
	bool is_tls = slice_eq_str(r->parsed->scheme, "https");
	struct http_request q = {
		.method = method, .host = host, .port = (uint16_t)url_port(r->parsed), .fields = fields, .tls = is_tls ? p->upstream_tls : NULL,
		.has_body = r->head->has_body, .has_length = r->head->has_length, .length = r->head->length,
		.expect_continue = r->head->expects_continue, .is_upgrade = is_upgrade, .connect_ms = DIRECT_CONNECT_MS, .idle_ms = DIRECT_IDLE_MS,
	};

	/* A method that is known to have a body says so even when it is empty. */
	if (!q.has_body && r->head->has_length)
		q.has_body = true;
	arena_init(&d->arena, 0);
	d->side = side;
	d->x = r->x;
	d->wants_upgrade = is_upgrade;
	d->is_mirror = r->is_mirror;
	list_add_tail(&side->direct, &d->link);
	proxy_raw_target(r->url, &target);
	q.target = buf_slice(&target);
	q.field_count = request_fields(r, is_upgrade, slice_str(p->via), fields);
	http_exchange_set_events(r->x, &client_events, d);
	d->call = http_call_start(side->client, &q, &call_events, d);
	wait_for_head(d);
	buf_free(&target);
	free(host);
	free(method);
}
