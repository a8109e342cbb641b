#include "net/rpc_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/h2_link.h"
#include "net/socket.h"
#include "wire/pb.h"

/* Fields of a request beside the caller's metadata, and how many of those are taken. */
#define FIXED_FIELDS 8
#define METADATA_MAX 64
/* What a status with its fields may take in memory: the header list limit of HTTP/2 bounds it already. */
#define STATUS_MEMORY (1024u * 1024)

/* ---- the end ---- */

static void on_later(struct loop_later *later);

static void
leave_link(struct rpc_call *call)
{
	struct rpc_link *on = call->on;

	list_del(&call->dirty);
	call->on = NULL;
	if (on != NULL)
		rpc_link_call_ended(on);
}

/* Takes the call out of everything; its memory lives until the present callback is over. */
static void
detach(struct rpc_call *call)
{
	struct rpc_channel *ch = call->channel;

	call->is_dead = true;
	loop_timer_clear(ch->loop, &call->headers_timer);
	loop_timer_clear(ch->loop, &call->total_timer);
	loop_timer_clear(ch->loop, &call->message_timer);
	if (call->is_counted)
		ch->waiting_count--;
	call->is_counted = false;
	list_del(&call->link);
	ch->call_count--;
	leave_link(call);
	loop_defer_clear(&call->later);
	loop_defer(ch->loop, &call->later, on_later);
	if (ch->released && ch->call_count == 0)
		rpc_channel_connect_later(ch);
}

static void
free_call(struct rpc_call *call)
{
	if (call->ev.on_free != NULL)
		call->ev.on_free(call->ctx);
	free(call->path);
	free(call->early);
	arena_free(&call->memory);
	buf_free(&call->out);
	buf_free(&call->held);
	grpc_reader_free(&call->reader);
	free(call);
}

/* Stops the stream, if there is one: nothing comes from it any more. */
static void
reset_stream(struct rpc_call *call, enum h2_code code)
{
	if (call->on == NULL || call->id == 0)
		return;
	h2_stream_set(call->on->h2->h2, call->id, NULL);
	h2_reset(call->on->h2->h2, call->id, code);
	call->id = 0;
}

static void
end(struct rpc_call *call, const struct rpc_status *st)
{
	detach(call);
	if (call->ev.on_end != NULL)
		call->ev.on_end(call, call->ctx, st);
}

void
rpc_call_end_local(struct rpc_call *call, int code, const char *message, bool is_unprocessed)
{
	struct rpc_status st = {.code = code, .message = message, .is_local = true, .is_unprocessed = is_unprocessed};

	reset_stream(call, H2_CANCEL);
	end(call, &st);
}

static void
fail(struct rpc_call *call, const struct err *e)
{
	rpc_call_end_local(call, e->code, e->text, false);
}

/* "10.0.0.1:8002 /scheduler.v2.Scheduler/StatPeer" for texts. */
static int
fail_with(struct rpc_call *call, int code, const char *text)
{
	struct err e;

	err_set(&e, code, "%s %s: %s", call->channel->target, call->path, text);
	fail(call, &e);
	return -1;
}

/* The peer has said all: tells the status it gave, or what its absence means (wire.md 2.4). */
static void
end_by_peer(struct rpc_call *call)
{
	struct rpc_status st = {.code = call->code, .message = call->message, .details = call->details, .fields = call->fields,
		.n_fields = call->n_fields};
	struct err e;

	if (call->has_status && call->code == ERR_OK && grpc_reader_end(&call->reader, &e) != 0) {
		fail_with(call, e.code, e.text);
	} else if (call->has_status) {
		/* A client that has not ended its side stops it; when it has, the stream is over anyway. */
		if (call->half_sent && call->id != 0) {
			h2_stream_set(call->on->h2->h2, call->id, NULL);
			call->id = 0;
		}
		reset_stream(call, H2_NO_ERROR);
		end(call, &st);
	} else if (call->http_status != 200 && call->http_status != 0) {
		err_set(&e, grpc_code_of_http(call->http_status), "grpc-status header missing, mapped from HTTP status code %d",
		    call->http_status);
		fail(call, &e);
	} else {
		fail_with(call, ERR_UNKNOWN, "the answer ended without grpc-status (cut off on the way?)");
	}
}

/* ---- waits ---- */

static void
on_headers_late(void *ctx)
{
	struct rpc_call *call = ctx;
	struct rpc_link *k = call->channel->current;
	char wait[SOCKET_WAIT_MAX], text[128];

	socket_wait_text(call->headers_ms, wait);
	if (call->on != NULL ? !call->on->is_connected : k == NULL || !k->is_connected)
		snprintf(text, sizeof(text), "not connected in %s", wait);
	else if (call->on == NULL)
		snprintf(text, sizeof(text), "the server took no further call in %s", wait);
	else
		snprintf(text, sizeof(text), "no response headers in %s", wait);
	fail_with(call, ERR_DEADLINE_EXCEEDED, text);
}

static void
on_total_late(void *ctx)
{
	struct rpc_call *call = ctx;
	char wait[SOCKET_WAIT_MAX], text[128];

	snprintf(text, sizeof(text), "not finished in %s", socket_wait_text(call->total_ms, wait));
	fail_with(call, ERR_DEADLINE_EXCEEDED, text);
}

static void
on_message_late(void *ctx)
{
	struct rpc_call *call = ctx;
	char wait[SOCKET_WAIT_MAX], text[128];

	snprintf(text, sizeof(text), "no message in %s", socket_wait_text(call->message_ms, wait));
	fail_with(call, ERR_DEADLINE_EXCEEDED, text);
}

static void
watch_messages(struct rpc_call *call)
{
	if (call->message_ms > 0 && call->has_headers && !call->paused)
		loop_timer_set(call->channel->loop, &call->message_timer, call->message_ms, on_message_late, call);
	else
		loop_timer_clear(call->channel->loop, &call->message_timer);
}

/* ---- sending ---- */

static struct hpack_field
field(const char *name, const char *value)
{
	return (struct hpack_field){.name = slice_str(name), .value = slice_str(value)};
}

int
rpc_call_open(struct rpc_call *call, struct rpc_link *k)
{
	struct rpc_channel *ch = call->channel;
	struct hpack_field f[FIXED_FIELDS + METADATA_MAX];
	struct err e;
	size_t n = 0;

	call->is_counted = false;
	f[n++] = field(":method", "POST");
	f[n++] = field(":scheme", ch->tls != NULL ? "https" : "http");
	f[n++] = field(":authority", ch->authority);
	f[n++] = field(":path", call->path);
	f[n++] = field("te", "trailers");
	f[n++] = field("content-type", GRPC_CONTENT_TYPE);
	f[n++] = field("user-agent", ch->user_agent);
	if (call->timeout[0] != '\0')
		f[n++] = field("grpc-timeout", call->timeout);
	for (size_t i = 0; i < call->n_metadata; i++)
		f[n++] = call->metadata[i];
	call->id = h2_open(k->h2->h2, f, n, false, call, &e);
	if (call->id == 0) {
		err_wrap(&e, "%s %s", ch->target, call->path);
		rpc_call_end_local(call, e.code, e.text, true);
		return -1;
	}
	call->on = k;
	return 0;
}

void
rpc_call_push(struct rpc_call *call)
{
	struct h2 *h;
	ssize_t sent;

	if (call->on == NULL || call->half_sent)
		return;
	h = call->on->h2->h2;
	sent = h2_send_data(h, call->id, buf_data(&call->out), call->out.len, call->half_closed);
	if (sent < 0)
		return;         /* over: on_close tells */
	buf_consume(&call->out, (size_t)sent);
	if (call->out.len > 0)
		return;
	if (call->half_closed)
		call->half_sent = true;
	if (call->tell_drain) {
		call->tell_drain = false;
		if (call->ev.on_drain != NULL)
			call->ev.on_drain(call, call->ctx);
	}
}

static void
push_later(struct rpc_call *call)
{
	if (call->on == NULL)
		return;
	list_del(&call->dirty);
	list_add_tail(&call->on->dirty, &call->dirty);
	h2_link_flush_later(call->on->h2);
}

static int
check_send(const struct rpc_call *call, size_t n, struct err *e)
{
	if (call->is_dead || call->half_closed)
		return err_set(e, ERR_FAILED_PRECONDITION, "%s: sending after the end", call->path);
	if (n > RPC_SEND_QUEUE_MAX || call->out.len > RPC_SEND_QUEUE_MAX - n)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s %s: more than %u bytes wait to be sent",
		    call->channel->target, call->path, RPC_SEND_QUEUE_MAX);
	return 0;
}

int
rpc_call_send(struct rpc_call *call, const struct pb_desc *desc, const void *msg, struct err *e)
{
	if (check_send(call, pb_size(desc, msg) + GRPC_PREFIX_BYTES, e) != 0)
		return -1;
	grpc_append_message(&call->out, desc, msg);
	call->tell_drain = true;
	push_later(call);
	return 0;
}

int
rpc_call_send_bytes(struct rpc_call *call, struct slice msg, struct err *e)
{
	uint8_t prefix[GRPC_PREFIX_BYTES];

	if (check_send(call, msg.n + GRPC_PREFIX_BYTES, e) != 0)
		return -1;
	grpc_write_prefix(prefix, (uint32_t)msg.n);
	buf_append(&call->out, prefix, sizeof(prefix));
	buf_append_slice(&call->out, msg);
	call->tell_drain = true;
	push_later(call);
	return 0;
}

void
rpc_call_half_close(struct rpc_call *call)
{
	if (call->is_dead || call->half_closed)
		return;
	call->half_closed = true;
	push_later(call);
}

size_t
rpc_call_queued(const struct rpc_call *call)
{
	return call->out.len;
}

/* ---- receiving ---- */

/* Keeps the status and its fields beyond the event that brought them. */
static void
keep_status(struct rpc_call *call, const struct hpack_field *fields, size_t n)
{
	struct slice status = h2_find(fields, n, "grpc-status");
	struct buf text = BUF_INIT, details = BUF_INIT;

	if (status.p == NULL)
		return;
	call->has_status = true;
	call->code = grpc_parse_status(status);
	grpc_decode_message(h2_find(fields, n, "grpc-message"), &text);
	call->message = arena_strdup(&call->memory, buf_cstr(&text));
	if (call->message == NULL)
		call->message = "";
	if (grpc_decode_details(h2_find(fields, n, "grpc-status-details-bin"), &details) == 0 && details.len > 0) {
		call->details.p = arena_copy(&call->memory, buf_data(&details), details.len);
		call->details.n = call->details.p != NULL ? details.len : 0;
	}
	buf_free(&text);
	buf_free(&details);
	call->fields = arena_alloc(&call->memory, n * sizeof(*fields));
	for (size_t i = 0; call->fields != NULL && i < n; i++) {
		struct hpack_field *f = &call->fields[call->n_fields];

		f->name = slice_make(arena_copy(&call->memory, fields[i].name.p, fields[i].name.n), fields[i].name.n);
		f->value = slice_make(arena_copy(&call->memory, fields[i].value.p, fields[i].value.n), fields[i].value.n);
		if (f->name.p == NULL || f->value.p == NULL)
			break;
		call->n_fields++;
	}
}

void
rpc_call_on_headers(struct rpc_call *call, enum h2_kind kind, const struct hpack_field *fields, size_t n, bool is_end)
{
	if (kind == H2_RESPONSE) {
		uint64_t status = 0;

		slice_to_u64(h2_find(fields, n, ":status"), &status);
		call->http_status = (int)status;
		loop_timer_clear(call->channel->loop, &call->headers_timer);
		call->has_headers = true;
		watch_messages(call);
		if (status != 200 && h2_find(fields, n, "grpc-status").p == NULL) {
			end_by_peer(call);
			return;
		}
	}
	if (is_end) {
		keep_status(call, fields, n);
		call->peer_ended = true;
		if (call->held.len == 0)
			end_by_peer(call);
		return;
	}
	if (kind == H2_RESPONSE && call->ev.on_headers != NULL)
		call->ev.on_headers(call, call->ctx, fields, n);
}

/* Splits bytes into messages for the caller, until it pauses or the call is over. What was taken may be sent again by the peer. */
static void
read_bytes(struct rpc_call *call, struct slice *in)
{
	size_t had = in->n;
	struct err e;
	int rc = 0;

	while (!call->is_dead && !call->paused) {
		struct grpc_part part;
		struct slice msg;

		if (call->ev.on_part != NULL) {
			rc = grpc_read_part(&call->reader, in, &part, &e);
			if (rc <= 0)
				break;
			watch_messages(call);
			call->ev.on_part(call, call->ctx, part.len, part.at, part.bytes);
		} else {
			rc = grpc_read_message(&call->reader, in, &msg, &e);
			if (rc <= 0)
				break;
			watch_messages(call);
			call->ev.on_message(call, call->ctx, msg);
		}
	}
	if (call->is_dead)
		return;
	if (rc < 0) {
		err_wrap(&e, "%s %s", call->channel->target, call->path);
		fail(call, &e);
		return;
	}
	if (call->on != NULL && call->id != 0 && had > in->n)
		h2_consumed(call->on->h2->h2, call->id, had - in->n);
}

void
rpc_call_on_data(struct rpc_call *call, struct slice bytes, bool is_end)
{
	struct err e;

	if (call->held.len > 0 || call->paused) {
		buf_append_slice(&call->held, bytes);
	} else {
		read_bytes(call, &bytes);
		if (call->is_dead)
			return;
		buf_append_slice(&call->held, bytes);
	}
	if (!is_end)
		return;
	call->peer_ended = true;
	if (call->held.len > 0)
		return;
	if (grpc_reader_end(&call->reader, &e) != 0)
		fail_with(call, e.code, e.text);
	else
		end_by_peer(call);
}

void
rpc_call_on_close(struct rpc_call *call, enum h2_cause cause, uint32_t code)
{
	const char *name = h2_code_name(code);
	char text[160];
	bool fresh = !call->has_headers;

	/* The engine has forgotten the stream. What was kept while paused is still to be told, if the answer was whole. */
	call->id = 0;
	if (call->peer_ended && (cause == H2_CLOSE_DONE || call->has_status)) {
		leave_link(call);
		return;
	}
	if (name != NULL)
		snprintf(text, sizeof(text), "stream ended by the peer with %s", name);
	else
		snprintf(text, sizeof(text), "stream ended by the peer with code %u", (unsigned)code);
	switch (cause) {
	case H2_CLOSE_DONE:
		end_by_peer(call);
		return;
	case H2_CLOSE_PEER:
		if (call->has_status) {
			end_by_peer(call);
		} else {
			struct err e;

			err_set(&e, grpc_code_of_h2(code), "%s %s: %s", call->channel->target, call->path, text);
			rpc_call_end_local(call, e.code, e.text, fresh && code == H2_REFUSED_STREAM);
		}
		return;
	case H2_CLOSE_UNPROCESSED:
		snprintf(text, sizeof(text), "%.100s: the server is going away and has not begun", call->channel->target);
		rpc_call_end_local(call, ERR_UNAVAILABLE, text, true);
		return;
	case H2_CLOSE_LOCAL:
		snprintf(text, sizeof(text), "the peer broke the protocol (%s)", name != NULL ? name : "unknown");
		fail_with(call, ERR_INTERNAL, text);
		return;
	case H2_CLOSE_CONNECTION:
		rpc_call_end_local(call, ERR_UNAVAILABLE, call->on->h2->why.text, !call->on->is_connected);
		return;
	}
}

void
rpc_call_pause(struct rpc_call *call)
{
	call->paused = true;
	watch_messages(call);
}

static void
read_held(struct rpc_call *call)
{
	struct slice rest = buf_slice(&call->held);
	size_t had = rest.n;
	struct err e;

	read_bytes(call, &rest);
	if (call->is_dead)
		return;
	buf_consume(&call->held, had - rest.n);
	if (!call->peer_ended || call->held.len > 0)
		return;
	if (!call->has_status && grpc_reader_end(&call->reader, &e) != 0)
		fail_with(call, e.code, e.text);
	else
		end_by_peer(call);
}

static void
on_later(struct loop_later *later)
{
	struct rpc_call *call = CONTAINER_OF(later, struct rpc_call, later);

	if (call->is_dead) {
		free_call(call);
		return;
	}
	if (call->early != NULL) {
		fail(call, call->early);
		return;
	}
	if (!call->paused)
		read_held(call);
	if (!call->is_dead && call->on != NULL)
		h2_link_flush_later(call->on->h2);
}

void
rpc_call_resume(struct rpc_call *call)
{
	if (!call->paused)
		return;
	call->paused = false;
	watch_messages(call);
	if (call->held.len > 0 && !call->is_dead)
		loop_defer(call->channel->loop, &call->later, on_later);
}

void
rpc_call_set_message_ms(struct rpc_call *call, int ms)
{
	call->message_ms = ms;
	watch_messages(call);
}

void
rpc_call_cancel(struct rpc_call *call)
{
	if (call->is_dead)
		return;
	reset_stream(call, H2_CANCEL);
	detach(call);
}

struct rpc_channel *
rpc_call_channel(const struct rpc_call *call)
{
	return call->channel;
}

/* ---- starting ---- */

static void
copy_metadata(struct rpc_call *call, const struct hpack_field *f, size_t n)
{
	if (n == 0 || n > METADATA_MAX)
		return;
	call->metadata = arena_alloc(&call->memory, n * sizeof(*f));
	for (size_t i = 0; call->metadata != NULL && i < n; i++) {
		struct hpack_field *to = &call->metadata[call->n_metadata];

		*to = f[i];
		to->name.p = arena_copy(&call->memory, f[i].name.p, f[i].name.n);
		to->value.p = arena_copy(&call->memory, f[i].value.p, f[i].value.n);
		if (to->name.p == NULL || to->value.p == NULL)
			return;
		call->n_metadata++;
	}
}

void
rpc_call_fail_soon(struct rpc_call *call, int code, const char *text)
{
	if (call->early != NULL)
		return;
	call->early = xcalloc(1, sizeof(*call->early));
	err_set(call->early, code, "%s %s: %s", call->channel->target, call->path, text);
	loop_defer(call->channel->loop, &call->later, on_later);
}

struct rpc_call *
rpc_call_start(struct rpc_channel *ch, const char *path, const struct rpc_call_events *ev, void *ctx,
    const struct rpc_call_opts *opts)
{
	static const struct rpc_call_opts none;
	const struct rpc_call_opts *o = opts != NULL ? opts : &none;
	struct rpc_call *call = xcalloc(1, sizeof(*call));

	call->channel = ch;
	call->ev = *ev;
	call->ctx = ctx;
	call->path = xstrdup(path);
	call->message = "";
	arena_init(&call->memory, STATUS_MEMORY);
	list_init(&call->link);
	list_init(&call->dirty);
	grpc_reader_init(&call->reader, o->message_max > 0 ? o->message_max : RPC_MESSAGE_MAX);
	if (o->grpc_timeout_ms > 0)
		grpc_format_timeout(o->grpc_timeout_ms * 1000000, call->timeout);
	copy_metadata(call, o->metadata, o->n_metadata);
	call->headers_ms = o->headers_ms == 0 ? RPC_HEADERS_MS : o->headers_ms;
	call->total_ms = o->total_ms;
	call->message_ms = o->message_ms;
	ch->call_count++;
	if (o->n_metadata > METADATA_MAX || call->n_metadata != o->n_metadata) {
		rpc_call_fail_soon(call, ERR_INVALID_ARGUMENT, "too much metadata");
		list_add_tail(&ch->calls, &call->link);
		return call;
	}
	if (ch->released || ch->waiting_count >= RPC_WAITING_MAX) {
		rpc_call_fail_soon(call, ERR_RESOURCE_EXHAUSTED,
		    ch->released ? "the channel is closing" : "too many calls wait for the connection");
		list_add_tail(&ch->calls, &call->link);
		return call;
	}
	if (call->headers_ms > 0)
		loop_timer_set(ch->loop, &call->headers_timer, call->headers_ms, on_headers_late, call);
	if (call->total_ms > 0)
		loop_timer_set(ch->loop, &call->total_timer, call->total_ms, on_total_late, call);
	list_add_tail(&ch->waiting, &call->link);
	ch->waiting_count++;
	call->is_counted = true;
	rpc_channel_connect_later(ch);
	return call;
}
