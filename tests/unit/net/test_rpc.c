#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/os/sockopt.h"
#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "net/tls.h"
#include "proto/health.h"
#include "wire/h2.h"
#include "wire/pb.h"

#define LIMIT_MS 20000
#define BIG_BYTES (24u * 1024 * 1024)

/* A service with one method of each kind, all over the health messages. */
enum { UNARY, DOWN, BIDI, HUGE_ANSWER, SILENT, COUNT };

static struct pb_method methods[COUNT];

struct world {
	struct loop *loop;
	struct rpc_server *server;
	struct listener *listener;
	struct rpc_channel *channel;
	char path[108];
	bool refuse;
	struct tls_config *server_tls;
	struct loop *far;
	/* server side */
	struct rpc_stream *silent;
	int cancels;
	char cancel_text[ERR_TEXT_MAX];
	bool saw_cred;
	char authority[64];
	char metadata[64];
	size_t huge_sent;
	uint8_t *huge;
	/* client side */
	bool done;
	int code;
	char message[256];
	struct buf details;
	int answers;
	int status;
	bool local;
	bool unprocessed;
	size_t bytes;
	struct rpc_call *call;
	bool pause_first;
};

/* ---- server ---- */

static void
answer(struct rpc_stream *s, int status)
{
	struct health_health_check_response r = {.status = status};

	assert_int_equal(rpc_stream_send(s, &health_health_check_response_desc, &r, NULL), 0);
}

static void
on_unary(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct health_health_check_request *q = request;
	struct world *w = ctx;
	struct peercred cred;

	w->saw_cred = rpc_stream_peercred(s, &cred) && cred.uid == getuid();
	snprintf(w->authority, sizeof(w->authority), "%s", rpc_stream_authority(s));
	snprintf(w->metadata, sizeof(w->metadata), "%.*s", SLICE_ARG(rpc_stream_metadata(s, "x-test")));
	if (slice_eq_str(q->service, "fail")) {
		rpc_stream_end(s, ERR_NOT_FOUND, "100% not \xc3\xa4 found", slice_make("det\0ails", 8));
		return;
	}
	answer(s, 1);
	rpc_stream_end(s, ERR_OK, NULL, slice_make(NULL, 0));
}

static void
on_down(struct rpc_stream *s, void *ctx, const void *request)
{
	(void)ctx;
	(void)request;
	for (int i = 1; i <= 100; i++)
		answer(s, i);
	rpc_stream_end(s, ERR_OK, NULL, slice_make(NULL, 0));
}

static void
on_bidi_open(struct rpc_stream *s, void *ctx)
{
	(void)ctx;
	rpc_stream_send_headers(s);
}

static void
on_bidi(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct health_health_check_request *q = request;

	(void)ctx;
	answer(s, (int)q->service.n);
}

static void
on_bidi_end(struct rpc_stream *s, void *ctx)
{
	(void)ctx;
	rpc_stream_end(s, ERR_OK, "", slice_make(NULL, 0));
}

static void
on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct world *w = ctx;

	if (w->silent == s)
		w->silent = NULL;
	w->cancels++;
	snprintf(w->cancel_text, sizeof(w->cancel_text), "%s", why->text);
}

static void
push_huge(struct rpc_stream *s, void *ctx)
{
	struct world *w = ctx;

	while (w->huge_sent < BIG_BYTES) {
		size_t n = BIG_BYTES - w->huge_sent < 65536 ? BIG_BYTES - w->huge_sent : 65536;

		n = rpc_stream_send_part(s, w->huge + w->huge_sent, n);
		if (n == 0)
			return;
		w->huge_sent += n;
	}
	rpc_stream_end(s, ERR_OK, NULL, slice_make(NULL, 0));
}

static void
on_huge(struct rpc_stream *s, void *ctx, const void *request)
{
	(void)request;
	assert_int_equal(rpc_stream_send_begin(s, BIG_BYTES, NULL), 0);
	assert_int_equal(rpc_stream_send_bytes(s, slice_str("no"), NULL), -1);
	push_huge(s, ctx);
}

static void
on_silent(struct rpc_stream *s, void *ctx, const void *request)
{
	struct world *w = ctx;

	(void)request;
	w->silent = s;
}

static const struct rpc_method table[COUNT] = {
	{.method = &methods[UNARY], .on_message = on_unary},
	{.method = &methods[DOWN], .on_message = on_down, .on_cancel = on_cancel},
	{.method = &methods[BIDI], .on_open = on_bidi_open, .on_message = on_bidi, .on_half_close = on_bidi_end, .on_cancel = on_cancel},
	{.method = &methods[HUGE_ANSWER], .on_message = on_huge, .on_drain = push_huge, .on_cancel = on_cancel},
	{.method = &methods[SILENT], .on_message = on_silent, .on_cancel = on_cancel},
};

static int
admit(void *ctx, const struct rpc_stream *s, struct err *e)
{
	const struct world *w = ctx;

	(void)s;
	return w->refuse ? err_set(e, ERR_RESOURCE_EXHAUSTED, "too many requests, please retry later") : 0;
}

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	struct world *w = ctx;

	(void)peer;
	rpc_server_serve(w->server, fd, w->server_tls, slice_make(NULL, 0));
}

static int
set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct rpc_server_opts so = {.name = "test", .admit = admit, .admit_ctx = w};
	struct rpc_channel_opts co = {0};
	struct err e;

	static const char *const names[COUNT] = {"/t.T/Unary", "/t.T/Down", "/t.T/Bidi", "/t.T/Huge", "/t.T/Silent"};

	for (int i = 0; i < COUNT; i++)
		methods[i] = (struct pb_method){.name = names[i] + 5, .path = names[i], .request = &health_health_check_request_desc,
			.response = &health_health_check_response_desc, .client_streams = i == BIDI,
			.server_streams = i == DOWN || i == BIDI || i == HUGE_ANSWER};
	w->loop = loop_new("rpc", &e);
	w->server = rpc_server_new(w->loop, &so);
	rpc_server_add(w->server, table, COUNT, w);
	snprintf(w->path, sizeof(w->path), "/tmp/test_rpc.%ld.sock", (long)getpid());
	w->listener = listener_unix(w->loop, w->path, 0600, (gid_t)-1, on_accept, w, &e);
	assert_non_null(w->listener);
	assert_int_equal(addr_from_unix(&co.addr, w->path, &e), 0);
	w->channel = rpc_channel_new(w->loop, &co);
	*state = w;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *w = *state;

	rpc_channel_free(w->channel);
	listener_free(w->listener);
	rpc_server_free(w->server);
	loop_turn(w->loop, 0);
	loop_free(w->loop);
	buf_free(&w->details);
	free(w->huge);
	free(w);
	return 0;
}

/* ---- client ---- */

static void
on_message(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct world *w = ctx;
	struct health_health_check_response r;
	struct arena a;

	arena_init(&a, 0);
	assert_int_equal(pb_decode(&health_health_check_response_desc, msg, &a, &r, NULL), 0);
	arena_free(&a);
	w->answers++;
	w->status = r.status;
	if (w->pause_first) {
		w->pause_first = false;
		rpc_call_pause(call);
		w->done = true;
	}
}

static void
on_part(struct rpc_call *call, void *ctx, uint32_t len, uint32_t at, struct slice part)
{
	struct world *w = ctx;

	(void)call;
	assert_int_equal(len, BIG_BYTES);
	assert_int_equal(at, w->bytes);
	assert_memory_equal(part.p, w->huge + at, part.n);
	w->bytes += part.n;
}

static void
on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct world *w = ctx;

	(void)call;
	w->code = st->code;
	w->local = st->is_local;
	w->unprocessed = st->is_unprocessed;
	snprintf(w->message, sizeof(w->message), "%s", st->message);
	buf_append_slice(&w->details, st->details);
	w->done = true;
	w->call = NULL;
}

static const struct rpc_call_events client_events = {.on_message = on_message, .on_end = on_end};
static const struct rpc_call_events part_events = {.on_part = on_part, .on_end = on_end};

static void
send_text(struct world *w, const char *text)
{
	struct health_health_check_request q = {.service = slice_str(text)};

	assert_int_equal(rpc_call_send(w->call, &health_health_check_request_desc, &q, NULL), 0);
}

static void
start(struct world *w, int method, const struct rpc_call_events *ev, const struct rpc_call_opts *o)
{
	w->done = false;
	w->call = rpc_call_start(w->channel, methods[method].path, ev, w, o);
	send_text(w, "x");
	rpc_call_half_close(w->call);
}

static void
run(struct world *w)
{
	assert_true(loop_run_until(w->loop, &w->done, LIMIT_MS));
}

static void
on_unary_answer(void *ctx, const void *a, const struct rpc_status *st)
{
	struct world *w = ctx;

	on_end(NULL, w, st);
	if (a != NULL)
		w->status = ((const struct health_health_check_response *)a)->status;
}

static void
unary(struct world *w, const char *service, const struct rpc_call_opts *o)
{
	struct health_health_check_request q = {.service = slice_str(service)};

	w->done = false;
	w->status = 0;
	rpc_unary(w->channel, &methods[UNARY], &q, o, on_unary_answer, w);
	run(w);
}

/* ---- tests ---- */

static void
unary_call_is_answered(void **state)
{
	struct world *w = *state;
	struct hpack_field meta = {.name = slice_str("x-test"), .value = slice_str("hello")};
	struct rpc_call_opts o = {.metadata = &meta, .n_metadata = 1};

	unary(w, "", &o);
	assert_int_equal(w->code, ERR_OK);
	assert_int_equal(w->status, 1);
	assert_true(w->saw_cred);
	assert_string_equal(w->authority, "localhost");
	assert_string_equal(w->metadata, "hello");
	assert_true(rpc_channel_is_connected(w->channel));
}

static void
status_message_and_details_arrive(void **state)
{
	struct world *w = *state;

	unary(w, "fail", NULL);
	assert_int_equal(w->code, ERR_NOT_FOUND);
	assert_string_equal(w->message, "100% not \xc3\xa4 found");
	assert_int_equal(w->details.len, 8);
	assert_memory_equal(buf_data(&w->details), "det\0ails", 8);
	assert_false(w->local);
}

static void
unknown_method_and_service_are_unimplemented(void **state)
{
	struct world *w = *state;

	w->call = rpc_call_start(w->channel, "/t.T/Nothing", &client_events, w, NULL);
	rpc_call_half_close(w->call);
	run(w);
	assert_int_equal(w->code, ERR_UNIMPLEMENTED);
	assert_string_equal(w->message, "unknown method Nothing for service t.T");
	w->done = false;
	w->call = rpc_call_start(w->channel, "/a.B/C", &client_events, w, NULL);
	run(w);
	assert_string_equal(w->message, "unknown service a.B");
}

static void
server_streams_a_hundred_messages(void **state)
{
	struct world *w = *state;

	start(w, DOWN, &client_events, NULL);
	run(w);
	assert_int_equal(w->code, ERR_OK);
	assert_int_equal(w->answers, 100);
	assert_int_equal(w->status, 100);
}

static void
a_paused_call_gets_the_rest_after_resume(void **state)
{
	struct world *w = *state;

	w->pause_first = true;
	start(w, DOWN, &client_events, NULL);
	run(w);
	assert_int_equal(w->answers, 1);
	w->done = false;
	loop_turn(w->loop, 20);
	loop_turn(w->loop, 20);
	assert_int_equal(w->answers, 1);
	rpc_call_resume(w->call);
	run(w);
	assert_int_equal(w->answers, 100);
	assert_int_equal(w->code, ERR_OK);
}

static void
both_sides_stream(void **state)
{
	struct world *w = *state;

	w->call = rpc_call_start(w->channel, methods[BIDI].path, &client_events, w, NULL);
	for (int i = 0; i < 10; i++)
		send_text(w, "abc");
	while (w->answers < 10)
		loop_turn(w->loop, 1000);
	assert_int_equal(w->status, 3);
	send_text(w, "four");
	rpc_call_half_close(w->call);
	run(w);
	assert_int_equal(w->code, ERR_OK);
	assert_int_equal(w->answers, 11);
	assert_int_equal(w->status, 4);
}

static void
a_huge_message_streams_in_parts(void **state)
{
	struct world *w = *state;
	struct rpc_call_opts o = {0};

	w->huge = xmalloc(BIG_BYTES);
	for (size_t i = 0; i < BIG_BYTES; i++)
		w->huge[i] = (uint8_t)(i * 2654435761u >> 13);
	start(w, HUGE_ANSWER, &part_events, &o);
	run(w);
	assert_int_equal(w->code, ERR_OK);
	assert_int_equal(w->bytes, BIG_BYTES);
}

static void
a_message_above_the_callers_limit_is_refused(void **state)
{
	struct world *w = *state;
	struct rpc_call_opts o = {.message_max = 1000};

	w->huge = xcalloc(1, BIG_BYTES);
	start(w, HUGE_ANSWER, &client_events, &o);
	run(w);
	assert_int_equal(w->code, ERR_OUT_OF_RANGE);
}

static void
a_request_above_4_mib_is_out_of_range(void **state)
{
	struct world *w = *state;
	struct buf b = BUF_INIT;
	struct err e;

	memset(buf_reserve(&b, RPC_SERVER_MESSAGE_MAX + 1), 0, RPC_SERVER_MESSAGE_MAX + 1);
	buf_added(&b, RPC_SERVER_MESSAGE_MAX + 1);
	w->call = rpc_call_start(w->channel, methods[UNARY].path, &client_events, w, NULL);
	/* Past our own queue limit too. */
	assert_int_equal(rpc_call_send_bytes(w->call, buf_slice(&b), &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	rpc_call_cancel(w->call);
	buf_free(&b);
}

static void
cancel_reaches_the_handler(void **state)
{
	struct world *w = *state;

	start(w, SILENT, &client_events, NULL);
	while (w->silent == NULL)
		loop_turn(w->loop, 1000);
	rpc_call_cancel(w->call);
	while (w->cancels == 0)
		loop_turn(w->loop, 1000);
	assert_null(w->silent);
	assert_string_equal(w->cancel_text, "the client ended the call (CANCEL)");
}

static void
a_lost_connection_cancels_handlers_and_fails_calls(void **state)
{
	struct world *w = *state;

	start(w, SILENT, &client_events, NULL);
	while (w->silent == NULL)
		loop_turn(w->loop, 1000);
	rpc_server_free(w->server);
	assert_int_equal(w->cancels, 1);
	w->server = NULL;
	run(w);
	assert_int_equal(w->code, ERR_UNAVAILABLE);
	assert_true(w->local);
}

static void
the_clients_deadline_ends_the_call_on_both_sides(void **state)
{
	struct world *w = *state;
	struct rpc_call_opts o = {.grpc_timeout_ms = 30};

	start(w, SILENT, &client_events, &o);
	run(w);
	assert_int_equal(w->code, ERR_CANCELLED);
	assert_string_equal(w->message, "Timeout expired");
	assert_int_equal(w->cancels, 1);
}

static void
waits_for_headers_and_messages_name_what_was_waited_for(void **state)
{
	struct world *w = *state;
	struct rpc_call_opts o = {.headers_ms = 30};
	char want[256];

	start(w, SILENT, &client_events, &o);
	run(w);
	assert_int_equal(w->code, ERR_DEADLINE_EXCEEDED);
	snprintf(want, sizeof(want), "unix:%s /t.T/Silent: no response headers in 30 ms", w->path);
	assert_string_equal(w->message, want);

	w->done = false;
	o = (struct rpc_call_opts){.message_ms = 30};
	w->call = rpc_call_start(w->channel, methods[BIDI].path, &client_events, w, &o);
	run(w);
	assert_int_equal(w->code, ERR_DEADLINE_EXCEEDED);
	snprintf(want, sizeof(want), "unix:%s /t.T/Bidi: no message in 30 ms", w->path);
	assert_string_equal(w->message, want);

	w->done = false;
	o = (struct rpc_call_opts){.total_ms = 30};
	start(w, SILENT, &client_events, &o);
	run(w);
	snprintf(want, sizeof(want), "unix:%s /t.T/Silent: not finished in 30 ms", w->path);
	assert_string_equal(w->message, want);
}

static void
the_rate_limit_refuses(void **state)
{
	struct world *w = *state;
	struct rpc_server_counts counts;

	w->refuse = true;
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_RESOURCE_EXHAUSTED);
	assert_string_equal(w->message, "too many requests, please retry later");
	rpc_server_counts(w->server, &counts);
	assert_int_equal(counts.limited, 1);
}

static void
nobody_there_is_unavailable_and_later_calls_connect_again(void **state)
{
	struct world *w = *state;
	char want[256];
	struct err e;

	listener_free(w->listener);
	w->listener = NULL;
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_UNAVAILABLE);
	assert_true(w->local);
	assert_true(w->unprocessed);
	snprintf(want, sizeof(want), "connect to unix:%s: ", w->path);
	assert_memory_equal(w->message, want, strlen(want));
	w->listener = listener_unix(w->loop, w->path, 0600, (gid_t)-1, on_accept, w, &e);
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_OK);
}

static void
set_bool(void *ctx)
{
	*(bool *)ctx = true;
}

static void
a_drain_lets_open_calls_finish_and_refuses_new_ones(void **state)
{
	struct world *w = *state;
	bool drained = false;

	start(w, SILENT, &client_events, NULL);
	while (w->silent == NULL)
		loop_turn(w->loop, 1000);
	listener_pause(w->listener);
	rpc_server_drain(w->server, LIMIT_MS, set_bool, &drained);
	for (int i = 0; i < 5; i++)
		loop_turn(w->loop, 10);
	assert_false(drained);
	assert_false(rpc_channel_is_connected(w->channel));
	answer(w->silent, 1);
	rpc_stream_end(w->silent, ERR_OK, NULL, slice_make(NULL, 0));
	run(w);
	assert_int_equal(w->code, ERR_OK);
	assert_true(loop_run_until(w->loop, &drained, LIMIT_MS));
	assert_int_equal(w->cancels, 0);
}

static void
a_drain_whose_grace_is_over_cancels(void **state)
{
	struct world *w = *state;
	bool drained = false;

	start(w, SILENT, &client_events, NULL);
	while (w->silent == NULL)
		loop_turn(w->loop, 1000);
	rpc_server_drain(w->server, 20, set_bool, &drained);
	run(w);
	assert_int_equal(w->code, ERR_UNAVAILABLE);
	assert_true(loop_run_until(w->loop, &drained, LIMIT_MS));
	assert_int_equal(w->cancels, 1);
}

static void
more_calls_than_streams_wait_their_turn(void **state)
{
	struct world *w = *state;
	struct health_health_check_request q = {.service = slice_str("")};
	int64_t end = clock_mono_ms() + LIMIT_MS;
	int n = 1000;

	for (int i = 0; i < n; i++)
		rpc_unary(w->channel, &methods[UNARY], &q, NULL, on_unary_answer, w);
	while (rpc_channel_call_count(w->channel) > 0 && clock_mono_ms() < end)
		loop_turn(w->loop, 100);
	assert_int_equal(rpc_channel_call_count(w->channel), 0);
	assert_int_equal(w->code, ERR_OK);
}

static void
a_released_channel_goes_when_its_last_call_has_ended(void **state)
{
	struct world *w = *state;
	struct rpc_channel_opts co = {0};
	struct rpc_channel *own = w->channel;
	struct rpc_server_counts counts;

	assert_int_equal(addr_from_unix(&co.addr, w->path, NULL), 0);
	w->channel = rpc_channel_new(w->loop, &co);
	start(w, DOWN, &client_events, NULL);
	rpc_channel_release(w->channel);
	w->channel = own;
	run(w);
	assert_int_equal(w->answers, 100);
	do {
		loop_turn(w->loop, 100);
		rpc_server_counts(w->server, &counts);
	} while (counts.connections > 0);
}

static void
garbage_ends_that_connection_alone(void **state)
{
	struct world *w = *state;
	struct rpc_server_counts counts;
	int fd[2];

	unary(w, "", NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	rpc_server_serve(w->server, fd[0], NULL, slice_str("GET / HTTP/1.1\r\n\r\n"));
	do {
		loop_turn(w->loop, 100);
		rpc_server_counts(w->server, &counts);
	} while (counts.connections > 1);
	close(fd[1]);
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_OK);
}

static void
silence_is_broken_by_pings_that_are_answered(void **state)
{
	struct world *w = *state;
	struct rpc_channel_opts co = {.keepalive_ms = 10, .ping_when_idle = true};
	int64_t end;

	rpc_channel_free(w->channel);
	assert_int_equal(addr_from_unix(&co.addr, w->path, NULL), 0);
	w->channel = rpc_channel_new(w->loop, &co);
	unary(w, "", NULL);
	end = clock_mono_ms() + 100;
	while (clock_mono_ms() < end)
		loop_turn(w->loop, 10);
	assert_true(rpc_channel_is_connected(w->channel));
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_OK);
}

static void
an_idle_connection_is_closed_when_asked_and_made_again(void **state)
{
	struct world *w = *state;
	struct rpc_channel_opts co = {.idle_close_ms = 20};
	struct rpc_server_counts counts;

	rpc_channel_free(w->channel);
	assert_int_equal(addr_from_unix(&co.addr, w->path, NULL), 0);
	w->channel = rpc_channel_new(w->loop, &co);
	unary(w, "", NULL);
	do {
		loop_turn(w->loop, 100);
		rpc_server_counts(w->server, &counts);
	} while (counts.connections > 0);
	assert_false(rpc_channel_is_connected(w->channel));
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_OK);
}

static void
calls_go_through_tls_with_certificates_on_both_sides(void **state)
{
	static const char *const alpn[] = {"h2", NULL};
	struct world *w = *state;
	struct tls_client_opts to = {.ca_file = "tests/vectors/tls/ca.crt", .cert_file = "tests/vectors/tls/client.crt",
		.key_file = "tests/vectors/tls/client.key", .alpn = alpn, .require_alpn = true};
	struct tls_server_opts so = {.cert_file = "tests/vectors/tls/server.crt", .key_file = "tests/vectors/tls/server.key",
		.client_ca_file = "tests/vectors/tls/ca.crt", .alpn = alpn, .require_alpn = true};
	struct rpc_channel_opts co = {0};
	struct listener *listener;
	struct addr any;
	struct err e;

	w->server_tls = tls_server_new(&so, &e);
	assert_non_null(w->server_tls);
	addr_parse(&any, "127.0.0.1:0", &e);
	listener = listener_tcp(w->loop, &any, on_accept, w, &e);
	rpc_channel_free(w->channel);
	co.addr = *listener_addr(listener);
	co.tls = tls_client_new(&to, &e);
	assert_non_null(co.tls);
	w->channel = rpc_channel_new(w->loop, &co);
	unary(w, "", NULL);
	if (w->code != ERR_OK)
		fail_msg("%s", w->message);
	assert_string_equal(w->authority, rpc_channel_target(w->channel));
	w->huge = xcalloc(1, BIG_BYTES);
	start(w, HUGE_ANSWER, &part_events, NULL);
	run(w);
	assert_int_equal(w->bytes, BIG_BYTES);
	tls_config_unref(co.tls);
	tls_config_unref(w->server_tls);
	listener_free(listener);
}

static void
on_looked_close(struct conn *c, void *ctx, const struct err *e)
{
	(void)c;
	(void)ctx;
	(void)e;
}

/* What a port for several protocols does: looks, then hands on. */
static size_t
on_look(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct world *w = ctx;

	if (n >= 3 && memcmp(p, "PRI", 3) == 0)
		rpc_server_serve_conn(w->server, c);
	return 0;
}

static void
on_accept_looking(void *ctx, int fd, const struct addr *peer)
{
	static const struct conn_events looking = {.on_data = on_look, .on_close = on_looked_close};
	static const struct conn_opts none;
	struct world *w = ctx;

	(void)peer;
	conn_adopt(w->loop, fd, &none, &looking, w);
}

static void
a_connection_looked_at_first_is_served(void **state)
{
	struct world *w = *state;
	struct err e;

	listener_free(w->listener);
	w->listener = listener_unix(w->loop, w->path, 0600, (gid_t)-1, on_accept_looking, w, &e);
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_OK);
	assert_true(w->saw_cred);
}

/* The server in a loop of its own, as the daemon has it. */
struct far_accept {
	struct loop_msg msg;
	struct world *w;
	int fd;
};

static void
on_far(struct loop_msg *msg)
{
	struct far_accept *f = CONTAINER_OF(msg, struct far_accept, msg);

	rpc_server_serve(f->w->server, f->fd, NULL, slice_make(NULL, 0));
	free(f);
}

static void
on_accept_for_another_loop(void *ctx, int fd, const struct addr *peer)
{
	struct far_accept *f = xcalloc(1, sizeof(*f));

	(void)peer;
	f->w = ctx;
	f->fd = fd;
	f->msg.run = on_far;
	loop_post(f->w->far, &f->msg);
}

static void
a_connection_is_accepted_in_one_loop_and_served_in_another(void **state)
{
	struct world *w = *state;
	struct rpc_server_opts so = {.name = "far"};
	struct rpc_server *near = w->server;
	int64_t begun;
	int n = 1000;
	struct err e;

	listener_free(w->listener);
	w->far = loop_new("far", &e);
	w->server = rpc_server_new(w->far, &so);
	rpc_server_add(w->server, table, COUNT, w);
	w->listener = listener_unix(w->loop, w->path, 0600, (gid_t)-1, on_accept_for_another_loop, w, &e);
	assert_int_equal(loop_thread_start(w->far, &e), 0);
	unary(w, "", NULL);
	assert_int_equal(w->code, ERR_OK);
	begun = clock_mono_ns();
	for (int i = 0; i < n; i++)
		unary(w, "", NULL);
	print_message("unary call over a unix socket, one thread each: %.1f us\n", (double)(clock_mono_ns() - begun) / 1000 / n);
	loop_stop(w->far);
	loop_thread_join(w->far);
	rpc_server_free(w->server);
	loop_free(w->far);
	w->server = near;
}

static void
unary_round_trip_time(void **state)
{
	struct world *w = *state;
	int64_t begun;
	int n = 2000;

	unary(w, "", NULL);
	begun = clock_mono_ns();
	for (int i = 0; i < n; i++)
		unary(w, "", NULL);
	print_message("unary call over a unix socket, both ends in one thread: %.1f us\n", (double)(clock_mono_ns() - begun) / 1000 / n);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(unary_call_is_answered),
		T(status_message_and_details_arrive),
		T(unknown_method_and_service_are_unimplemented),
		T(server_streams_a_hundred_messages),
		T(a_paused_call_gets_the_rest_after_resume),
		T(both_sides_stream),
		T(a_huge_message_streams_in_parts),
		T(a_message_above_the_callers_limit_is_refused),
		T(a_request_above_4_mib_is_out_of_range),
		T(cancel_reaches_the_handler),
		T(a_lost_connection_cancels_handlers_and_fails_calls),
		T(the_clients_deadline_ends_the_call_on_both_sides),
		T(waits_for_headers_and_messages_name_what_was_waited_for),
		T(the_rate_limit_refuses),
		T(nobody_there_is_unavailable_and_later_calls_connect_again),
		T(a_drain_lets_open_calls_finish_and_refuses_new_ones),
		T(a_drain_whose_grace_is_over_cancels),
		T(more_calls_than_streams_wait_their_turn),
		T(a_released_channel_goes_when_its_last_call_has_ended),
		T(garbage_ends_that_connection_alone),
		T(silence_is_broken_by_pings_that_are_answered),
		T(an_idle_connection_is_closed_when_asked_and_made_again),
		T(calls_go_through_tls_with_certificates_on_both_sides),
		T(a_connection_looked_at_first_is_served),
		T(a_connection_is_accepted_in_one_loop_and_served_in_another),
		T(unary_round_trip_time),
	};

	return cmocka_run_group_tests_name("rpc", tests, NULL, NULL);
}
