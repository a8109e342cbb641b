#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/rpc_call.h"
#include "net/rpc_client.h"
#include "wire/pb.h"

/* What a decoded answer may take: hostile bytes can stand for many empty entries. */
#define DECODED_MAX (64u * 1024 * 1024)

struct unary {
	const struct pb_method *method;
	rpc_unary_fn *fn;
	void *ctx;
	struct buf answer;
	bool has_answer;
	bool had_two;
};

static void
on_message(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct unary *u = ctx;

	(void)call;
	u->had_two = u->has_answer;
	u->has_answer = true;
	buf_clear(&u->answer);
	buf_append_slice(&u->answer, msg);
}

static void
tell_failure(struct unary *u, int code, const char *text)
{
	struct rpc_status st = {.code = code, .message = text, .is_local = true};

	u->fn(u->ctx, NULL, &st);
}

static void
tell_answer(struct unary *u, const struct rpc_status *st)
{
	struct arena memory;
	struct err e;
	void *answer;

	arena_init(&memory, DECODED_MAX);
	answer = xcalloc(1, u->method->response->size);
	if (pb_decode(u->method->response, buf_slice(&u->answer), &memory, answer, &e) != 0)
		tell_failure(u, e.code, e.text);
	else
		u->fn(u->ctx, answer, st);
	free(answer);
	arena_free(&memory);
}

/* A cancelled call gives no on_end: rpc_call_cancel calls `on_free` for what hangs on it. */
static void
free_unary(void *ctx)
{
	struct unary *u = ctx;

	buf_free(&u->answer);
	free(u);
}

static void
on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct unary *u = ctx;

	(void)call;
	if (st->code != ERR_OK)
		u->fn(u->ctx, NULL, st);
	else if (!u->has_answer)
		tell_failure(u, ERR_INTERNAL, "Missing response message.");
	else if (u->had_two)
		tell_failure(u, ERR_INTERNAL, "More than one response message.");
	else
		tell_answer(u, st);
}

struct rpc_call *
rpc_unary(struct rpc_channel *ch, const struct pb_method *method, const void *request, const struct rpc_call_opts *opts,
    rpc_unary_fn *fn, void *ctx)
{
	static const struct rpc_call_events ev = {.on_message = on_message, .on_end = on_end, .on_free = free_unary};
	struct rpc_call_opts o = opts != NULL ? *opts : (struct rpc_call_opts){0};
	struct unary *u = xcalloc(1, sizeof(*u));
	struct rpc_call *call;
	struct err e;

	u->method = method;
	u->fn = fn;
	u->ctx = ctx;
	if (o.grpc_timeout_ms == 0)
		o.grpc_timeout_ms = o.total_ms > 0 ? o.total_ms : RPC_HEADERS_MS;
	if (o.total_ms == 0)
		o.total_ms = (int)(o.grpc_timeout_ms < INT32_MAX ? o.grpc_timeout_ms : INT32_MAX);
	if (o.headers_ms == 0)
		o.headers_ms = o.total_ms;
	call = rpc_call_start(ch, method->path, &ev, u, &o);
	if (rpc_call_send(call, method->request, request, &e) != 0)
		rpc_call_fail_soon(call, e.code, e.text);
	rpc_call_half_close(call);
	return call;
}
