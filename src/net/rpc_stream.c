#include "net/rpc_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/h2_link.h"
#include "wire/pb.h"

/* grpc-timeout beyond this is no limit in practice: 24 days. */
#define TIMEOUT_MAX_MS INT32_MAX
/* Room for output that a stream keeps while it has nothing to send. */
#define OUT_KEPT 256
/* How much of an unknown path goes back in the answer. */
#define PATH_SHOWN 300

static void on_later(struct loop_later *later);

static void
tell_answered(struct rpc_stream *s)
{
	struct rpc_server *srv = s->conn->server;

	if (!s->is_admitted)
		return;
	s->is_admitted = false;
	if (srv->opts.answered != NULL)
		srv->opts.answered(srv->opts.admit_ctx, s, loop_now_ms(srv->loop) - s->admitted_at);
}

/* ---- the end ---- */

/* Takes the stream out of everything; its memory lives until the present callback is over. */
static void
detach(struct rpc_stream *s)
{
	struct rpc_conn *c = s->conn;

	tell_answered(s);
	s->is_dead = true;
	list_del(&s->link);
	list_del(&s->dirty);
	loop_timer_clear(c->server->loop, &s->deadline);
	loop_defer_clear(&s->later);
	loop_defer(c->server->loop, &s->later, on_later);
	rpc_conn_stream_ended(c);
}

static void
free_stream(struct rpc_stream *s)
{
	arena_free(&s->arena);
	grpc_reader_free(&s->reader);
	buf_free(&s->held);
	buf_free(&s->out);
	buf_free(&s->trailer_message);
	buf_free(&s->trailer_details);
	free(s);
}

void
rpc_stream_gone(struct rpc_stream *s, const struct err *why)
{
	bool tell = s->is_told && !s->is_ended;

	s->id = 0;
	if (s->is_dead)
		return;
	detach(s);
	if (tell && s->method->on_cancel != NULL)
		s->method->on_cancel(s, s->ctx, why);
}

static struct hpack_field
field(const char *name, const char *value)
{
	return (struct hpack_field){.name = slice_str(name), .value = slice_str(value)};
}

static void
push_later(struct rpc_stream *s)
{
	list_del(&s->dirty);
	list_add_tail(&s->conn->dirty, &s->dirty);
	h2_link_flush_later(s->conn->h2);
}

/* ---- sending ---- */

static void
send_trailers(struct rpc_stream *s)
{
	char code[12] = {(char)('0' + s->code / 10), (char)('0' + s->code % 10), '\0'};
	struct hpack_field f[5];
	struct err e;
	size_t n = 0;

	if (!s->sent_headers) {
		f[n++] = field(":status", "200");
		f[n++] = field("content-type", GRPC_CONTENT_TYPE);
	}
	f[n++] = field("grpc-status", s->code < 10 ? code + 1 : code);
	if (s->trailer_message.len > 0)
		f[n++] = (struct hpack_field){.name = slice_str("grpc-message"), .value = buf_slice(&s->trailer_message)};
	if (s->trailer_details.len > 0)
		f[n++] = (struct hpack_field){.name = slice_str("grpc-status-details-bin"),
			.value = buf_slice(&s->trailer_details)};
	h2_stream_set(s->conn->h2->h2, s->id, NULL);
	if (h2_send_headers(s->conn->h2->h2, s->id, f, n, true, &e) != 0)
		h2_reset(s->conn->h2->h2, s->id, H2_INTERNAL_ERROR);
	s->sent_trailers = true;
	h2_link_flush_later(s->conn->h2);
	detach(s);
}

static void
put_headers(struct rpc_stream *s, const struct rpc_header *more, size_t n)
{
	struct hpack_field f[2 + RPC_OWN_HEADERS_MAX];
	struct err e;

	if (s->sent_headers || s->id == 0)
		return;
	f[0] = field(":status", "200");
	f[1] = field("content-type", GRPC_CONTENT_TYPE);
	for (size_t i = 0; i < n && i < RPC_OWN_HEADERS_MAX; i++)
		f[2 + i] = field(more[i].name, more[i].value);
	if (h2_send_headers(s->conn->h2->h2, s->id, f, 2 + (n < RPC_OWN_HEADERS_MAX ? n : RPC_OWN_HEADERS_MAX), false, &e) != 0)
		return;
	s->sent_headers = true;
	tell_answered(s);
	/* For streamed answers the client's deadline is for the headers alone (wire.md 2.8). */
	if (s->method->method->server_streams)
		loop_timer_clear(s->conn->server->loop, &s->deadline);
}

void
rpc_stream_push(struct rpc_stream *s)
{
	ssize_t sent;

	if (s->is_dead || s->id == 0)
		return;
	if (s->out.len > 0) {
		put_headers(s, NULL, 0);
		sent = h2_send_data(s->conn->h2->h2, s->id, buf_data(&s->out), s->out.len, false);
		if (sent < 0)
			return;
		buf_consume(&s->out, (size_t)sent);
		if (s->out.len > 0)
			return;
		/* Many streams are idle for long after an answer: they keep no room for the next one. */
		if (s->out.cap > OUT_KEPT)
			buf_free(&s->out);
	}
	if (s->is_ended) {
		send_trailers(s);
		return;
	}
	if (s->wants_drain) {
		s->wants_drain = false;
		if (s->method->on_drain != NULL)
			s->method->on_drain(s, s->ctx);
	}
}

void
rpc_stream_send_headers(struct rpc_stream *s)
{
	if (s->is_dead || s->is_ended)
		return;
	put_headers(s, NULL, 0);
	h2_link_flush_later(s->conn->h2);
}

void
rpc_stream_send_headers_with(struct rpc_stream *s, const struct rpc_header *more, size_t n)
{
	if (s->is_dead || s->is_ended)
		return;
	put_headers(s, more, n);
	h2_link_flush_later(s->conn->h2);
}

static int
check_send(const struct rpc_stream *s, size_t n, struct err *e)
{
	if (s->is_dead || s->is_ended || s->part_left > 0)
		return err_set(e, ERR_FAILED_PRECONDITION, "%s: sending %s", s->method->method->path,
		    s->part_left > 0 ? "inside another message" : "after the end");
	if (n > RPC_STREAM_QUEUE_MAX || s->out.len > RPC_STREAM_QUEUE_MAX - n)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: more than %u bytes wait for the client", s->method->method->path,
		    RPC_STREAM_QUEUE_MAX);
	return 0;
}

int
rpc_stream_send(struct rpc_stream *s, const struct pb_desc *desc, const void *msg, struct err *e)
{
	if (check_send(s, pb_size(desc, msg) + GRPC_PREFIX_BYTES, e) != 0)
		return -1;
	grpc_append_message(&s->out, desc, msg);
	s->wants_drain = true;
	push_later(s);
	return 0;
}

int
rpc_stream_send_bytes(struct rpc_stream *s, struct slice msg, struct err *e)
{
	uint8_t prefix[GRPC_PREFIX_BYTES];

	if (check_send(s, msg.n + GRPC_PREFIX_BYTES, e) != 0)
		return -1;
	grpc_write_prefix(prefix, (uint32_t)msg.n);
	buf_append(&s->out, prefix, sizeof(prefix));
	buf_append_slice(&s->out, msg);
	s->wants_drain = true;
	push_later(s);
	return 0;
}

int
rpc_stream_send_begin(struct rpc_stream *s, uint32_t len, struct err *e)
{
	uint8_t prefix[GRPC_PREFIX_BYTES];

	if (check_send(s, sizeof(prefix), e) != 0)
		return -1;
	grpc_write_prefix(prefix, len);
	buf_append(&s->out, prefix, sizeof(prefix));
	s->part_left = len;
	s->wants_drain = true;
	push_later(s);
	return 0;
}

size_t
rpc_stream_send_room(const struct rpc_stream *s)
{
	size_t room;

	if (s->is_dead || s->is_ended || s->out.len > 0 || s->part_left == 0)
		return 0;
	room = h2_data_room(s->conn->h2->h2, s->id);
	return room < s->part_left ? room : s->part_left;
}

size_t
rpc_stream_send_part(struct rpc_stream *s, const void *p, size_t n)
{
	ssize_t sent;

	if (s->is_dead || s->is_ended || s->part_left == 0)
		return 0;
	if (n > s->part_left)
		n = s->part_left;
	s->wants_drain = true;
	/* What was queued before, the prefix at least, goes first. */
	if (s->out.len > 0) {
		put_headers(s, NULL, 0);
		sent = h2_send_data(s->conn->h2->h2, s->id, buf_data(&s->out), s->out.len, false);
		if (sent > 0)
			buf_consume(&s->out, (size_t)sent);
	}
	sent = s->out.len == 0 ? h2_send_data(s->conn->h2->h2, s->id, p, n, false) : 0;
	h2_link_flush_later(s->conn->h2);
	if (sent <= 0)
		return 0;
	s->part_left -= (uint32_t)sent;
	/* With all taken and nothing in the way no on_writable will come: the handler is told by the next flush. */
	if ((size_t)sent == n)
		push_later(s);
	return (size_t)sent;
}

size_t
rpc_stream_queued(const struct rpc_stream *s)
{
	return s->out.len;
}

void
rpc_stream_end(struct rpc_stream *s, int code, const char *message, struct slice details)
{
	if (s->is_dead || s->is_ended)
		return;
	if (s->part_left > 0) {
		/* The promised message cannot be completed: nothing but a reset tells the client. */
		h2_stream_set(s->conn->h2->h2, s->id, NULL);
		h2_reset(s->conn->h2->h2, s->id, H2_INTERNAL_ERROR);
		s->is_ended = true;
		h2_link_flush_later(s->conn->h2);
		detach(s);
		return;
	}
	s->is_ended = true;
	s->code = code >= 0 && code <= ERR_UNAUTHENTICATED ? code : ERR_UNKNOWN;
	if (message != NULL)
		grpc_encode_message(slice_str(message), &s->trailer_message);
	if (details.n > 0)
		grpc_encode_details(details, &s->trailer_details);
	push_later(s);
}

void
rpc_stream_fail(struct rpc_stream *s, const struct err *e)
{
	rpc_stream_end(s, e->code != ERR_OK ? e->code : ERR_UNKNOWN, e->text, slice_make(NULL, 0));
}

/* Ends a stream from this side, and tells the handler when there is one at work. */
static void
cancel(struct rpc_stream *s, const struct err *why)
{
	bool tell = s->is_told && !s->is_ended;

	if (s->is_ended || s->is_dead)
		return;
	buf_clear(&s->out);
	rpc_stream_fail(s, why);
	if (tell && s->method->on_cancel != NULL)
		s->method->on_cancel(s, s->ctx, why);
}

/* ---- receiving ---- */

static void
half_closed(struct rpc_stream *s)
{
	struct err e;

	if (s->told_half_close || s->is_ended || s->is_dead)
		return;
	s->told_half_close = true;
	if (grpc_reader_end(&s->reader, &e) != 0) {
		cancel(s, &e);
	} else if (!s->has_request && !s->method->method->client_streams) {
		err_set(&e, ERR_INTERNAL, "Missing request message.");
		cancel(s, &e);
	} else if (s->method->method->client_streams && s->method->on_half_close != NULL) {
		s->method->on_half_close(s, s->ctx);
	}
}

static void
take_message(struct rpc_stream *s, struct slice bytes)
{
	const struct pb_method *m = s->method->method;
	struct arena own, *memory = &s->arena;
	struct err e;
	void *msg;
	int rc = -1;

	if (s->has_request && !m->client_streams) {
		err_set(&e, ERR_INTERNAL, "More than one request message.");
		cancel(s, &e);
		return;
	}
	if (m->client_streams) {
		arena_init(&own, RPC_SERVER_DECODED_MAX);
		memory = &own;
	}
	s->has_request = true;
	msg = arena_alloc(memory, m->request->size);
	if (msg == NULL)
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "request too large");
	else if (m->client_streams)
		rc = pb_decode(m->request, bytes, memory, msg, &e);
	else
		rc = pb_decode_copy(m->request, bytes, memory, msg, &e);
	if (rc == 0) {
		s->is_told = true;
		s->method->on_message(s, s->ctx, msg);
	} else {
		cancel(s, &e);
	}
	if (m->client_streams)
		arena_free(&own);
}

static void
read_bytes(struct rpc_stream *s, struct slice *in)
{
	size_t had = in->n;
	struct slice msg;
	struct err e;
	int rc = 0;

	while (!s->is_dead && !s->is_ended && !s->paused) {
		rc = grpc_read_message(&s->reader, in, &msg, &e);
		if (rc <= 0)
			break;
		take_message(s, msg);
	}
	if (s->is_dead)
		return;
	if (s->is_ended)
		*in = slice_make(NULL, 0);
	if (s->id != 0 && had > in->n)
		h2_consumed(s->conn->h2->h2, s->id, had - in->n);
	if (rc < 0) {
		*in = slice_make(NULL, 0);
		cancel(s, &e);
	}
}

void
rpc_stream_on_data(struct rpc_stream *s, struct slice bytes, bool is_end)
{
	if (s->held.len == 0 && !s->paused)
		read_bytes(s, &bytes);
	if (s->is_dead)
		return;
	buf_append_slice(&s->held, bytes);
	if (!is_end)
		return;
	s->peer_ended = true;
	if (s->held.len == 0)
		half_closed(s);
}

void
rpc_stream_pause(struct rpc_stream *s)
{
	s->paused = true;
}

static void
on_later(struct loop_later *later)
{
	struct rpc_stream *s = CONTAINER_OF(later, struct rpc_stream, later);
	struct slice rest;
	size_t had;

	if (s->is_dead) {
		free_stream(s);
		return;
	}
	rest = buf_slice(&s->held);
	had = rest.n;
	read_bytes(s, &rest);
	if (s->is_dead)
		return;
	buf_consume(&s->held, had - rest.n);
	if (s->peer_ended && s->held.len == 0)
		half_closed(s);
	h2_link_flush_later(s->conn->h2);
}

void
rpc_stream_resume(struct rpc_stream *s)
{
	if (!s->paused || s->is_dead)
		return;
	s->paused = false;
	if (s->held.len > 0)
		loop_defer(s->conn->server->loop, &s->later, on_later);
}

/* ---- beginning ---- */

static void
on_deadline(void *ctx)
{
	struct err e;

	/* What the reference answers, and its clients report as their own (wire.md 2.8). */
	err_set(&e, ERR_CANCELLED, "Timeout expired");
	cancel(ctx, &e);
}

/* An answer without a stream: HTTP status and gRPC status in one block. */
static void
refuse(struct rpc_conn *c, uint32_t id, const char *http, int code, const char *text)
{
	char number[4] = {(char)('0' + code / 10), (char)('0' + code % 10), '\0'};
	struct buf message = BUF_INIT;
	struct hpack_field f[4];
	struct err e;

	grpc_encode_message(slice_str(text), &message);
	f[0] = field(":status", http);
	f[1] = field("content-type", GRPC_CONTENT_TYPE);
	f[2] = field("grpc-status", code < 10 ? number + 1 : number);
	f[3] = (struct hpack_field){.name = slice_str("grpc-message"), .value = buf_slice(&message)};
	if (h2_send_headers(c->h2->h2, id, f, message.len > 0 ? 4 : 3, true, &e) != 0)
		h2_reset(c->h2->h2, id, H2_INTERNAL_ERROR);
	buf_free(&message);
	h2_link_flush_later(c->h2);
}

static void
refuse_path(struct rpc_conn *c, uint32_t id, struct slice path)
{
	struct slice service, method;
	struct err e;

	path = slice_sub(path, 0, PATH_SHOWN);
	if (grpc_split_path(path, &service, &method) != 0)
		err_set(&e, ERR_UNIMPLEMENTED, "malformed method name: \"%.*s\"", SLICE_ARG(path));
	else if (rpc_server_has_service(c->server, service))
		err_set(&e, ERR_UNIMPLEMENTED, "unknown method %.*s for service %.*s", SLICE_ARG(method), SLICE_ARG(service));
	else
		err_set(&e, ERR_UNIMPLEMENTED, "unknown service %.*s", SLICE_ARG(service));
	refuse(c, id, "200", ERR_UNIMPLEMENTED, e.text);
}

static void
keep_metadata(struct rpc_stream *s, const struct hpack_field *f, size_t n)
{
	struct slice authority = h2_find(f, n, ":authority");

	if (authority.p == NULL)
		authority = h2_find(f, n, "host");
	s->authority = arena_copy(&s->arena, authority.n > 0 ? authority.p : (const uint8_t *)"", authority.n);
	if (s->authority == NULL)
		s->authority = "";
	s->metadata = arena_alloc(&s->arena, (n < RPC_METADATA_MAX ? n : RPC_METADATA_MAX) * sizeof(*f));
	for (size_t i = 0; s->metadata != NULL && i < n && s->n_metadata < RPC_METADATA_MAX; i++) {
		struct hpack_field *to = &s->metadata[s->n_metadata];

		if (f[i].name.n == 0 || f[i].name.p[0] == ':')
			continue;
		to->name = slice_make(arena_copy(&s->arena, f[i].name.p, f[i].name.n), f[i].name.n);
		to->value = slice_make(arena_copy(&s->arena, f[i].value.n > 0 ? (const void *)f[i].value.p : "", f[i].value.n),
		    f[i].value.n);
		if (to->name.p == NULL || to->value.p == NULL)
			return;
		s->n_metadata++;
	}
}

/* What is wrong with a request before any handler sees it (wire.md 2.3). True: answered. */
static bool
refuse_request(struct rpc_conn *c, uint32_t id, const struct hpack_field *f, size_t n, int64_t *timeout_ns)
{
	struct slice type = h2_find(f, n, "content-type"), timeout = h2_find(f, n, "grpc-timeout");
	struct slice encoding = h2_find(f, n, "grpc-encoding");

	*timeout_ns = -1;
	if (!slice_eq_str(h2_find(f, n, ":method"), "POST")) {
		refuse(c, id, "405", ERR_INTERNAL, "http2: only POST is allowed");
	} else if (!grpc_is_content_type(type)) {
		refuse(c, id, "415", ERR_INVALID_ARGUMENT, "invalid gRPC request content-type");
	} else if (timeout.p != NULL && grpc_parse_timeout(timeout, timeout_ns) != 0) {
		refuse(c, id, "400", ERR_INTERNAL, "malformed grpc-timeout");
	} else if (encoding.p != NULL && !slice_eq_str(encoding, "identity")) {
		refuse(c, id, "200", ERR_UNIMPLEMENTED, "grpc-encoding is not supported");
	} else {
		return false;
	}
	return true;
}

void
rpc_stream_open(struct rpc_conn *c, uint32_t id, const struct hpack_field *f, size_t n, bool is_end)
{
	struct slice path = h2_find(f, n, ":path");
	struct rpc_server *srv = c->server;
	const struct rpc_method *method;
	struct rpc_stream *s;
	int64_t timeout_ns;
	struct err e;
	void *ctx;

	srv->counts.calls++;
	if (refuse_request(c, id, f, n, &timeout_ns))
		return;
	method = rpc_server_find(srv, path, &ctx);
	if (method == NULL) {
		refuse_path(c, id, path);
		return;
	}
	s = xcalloc(1, sizeof(*s));
	s->conn = c;
	s->id = id;
	s->method = method;
	s->ctx = ctx;
	arena_init(&s->arena, RPC_SERVER_DECODED_MAX);
	list_init(&s->dirty);
	grpc_reader_init(&s->reader, RPC_SERVER_MESSAGE_MAX);
	keep_metadata(s, f, n);
	list_add_tail(&c->streams, &s->link);
	c->open_streams++;
	srv->counts.streams++;
	h2_stream_set(c->h2->h2, id, s);
	if (!method->is_exempt && srv->opts.admit != NULL && srv->opts.admit(srv->opts.admit_ctx, s, &e) != 0) {
		srv->counts.limited++;
		rpc_stream_fail(s, &e);
		return;
	}
	s->is_admitted = !method->is_exempt;
	s->admitted_at = loop_now_ms(srv->loop);
	if (timeout_ns >= 0) {
		int64_t ms = timeout_ns / 1000000;

		loop_timer_set(srv->loop, &s->deadline, ms < TIMEOUT_MAX_MS ? ms : TIMEOUT_MAX_MS, on_deadline, s);
	}
	if (method->on_open != NULL) {
		s->is_told = true;
		method->on_open(s, ctx);
	}
	if (is_end && !s->is_dead) {
		s->peer_ended = true;
		half_closed(s);
	}
}

/* ---- facts ---- */

void
rpc_stream_set_user(struct rpc_stream *s, void *user)
{
	s->user = user;
}

void *
rpc_stream_user(const struct rpc_stream *s)
{
	return s->user;
}

const struct pb_method *
rpc_stream_method(const struct rpc_stream *s)
{
	return s->method->method;
}

struct loop *
rpc_stream_loop(const struct rpc_stream *s)
{
	return s->conn->server->loop;
}

struct arena *
rpc_stream_arena(struct rpc_stream *s)
{
	return &s->arena;
}

const struct addr *
rpc_stream_peer(const struct rpc_stream *s)
{
	return &s->conn->peer;
}

struct slice
rpc_stream_peer_cert(const struct rpc_stream *s)
{
	return s->conn->h2->conn != NULL ? conn_tls_peer_cert(s->conn->h2->conn) : (struct slice){0};
}

bool
rpc_stream_peercred(const struct rpc_stream *s, struct peercred *out)
{
	if (s->conn->has_cred)
		*out = s->conn->cred;
	return s->conn->has_cred;
}

const char *
rpc_stream_authority(const struct rpc_stream *s)
{
	return s->authority;
}

struct slice
rpc_stream_metadata(const struct rpc_stream *s, const char *name)
{
	return h2_find(s->metadata, s->n_metadata, name);
}
