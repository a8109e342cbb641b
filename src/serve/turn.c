#include "serve/turn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "peer/task.h"
#include "proto/turns.h"
#include "serve/piece.h"

struct child {
	struct turn_service *service;
	struct rpc_stream *stream;
	struct piece_turn turn;
	bool has_task;
	bool is_mute;                   /* what was said did not get through: it goes with its next word */
};

static void
child_free(struct child *c)
{
	if (c->has_task)
		piece_turn_remove(&c->turn);
	c->service->streams--;
	free(c);
}

static void
end(struct child *c, const struct err *e)
{
	struct rpc_stream *s = c->stream;

	child_free(c);
	if (e != NULL)
		rpc_stream_fail(s, e);
	else
		rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static void
say(struct child *c, bool is_busy, bool is_yours)
{
	uint32_t fresh[PIECE_FRESH_MAX];
	struct turns_turn_response m = {.is_busy = is_busy, .is_yours = is_yours, .fresh = fresh};

	if (is_yours)
		m.n_fresh = piece_turn_fresh(&c->turn, fresh);
	if (rpc_stream_queued(c->stream) > TURN_QUEUE_BYTES || rpc_stream_send(c->stream, &turns_turn_response_desc, &m, NULL) < 0)
		c->is_mute = true;
}

static void
on_busy(struct piece_turn *t, bool is_busy)
{
	say(CONTAINER_OF(t, struct child, turn), is_busy, false);
}

static void
on_turn(struct piece_turn *t)
{
	say(CONTAINER_OF(t, struct child, turn), true, true);
}

static void
on_drain(struct piece_turn *t)
{
	end(CONTAINER_OF(t, struct child, turn), NULL);
}

static void
on_open(struct rpc_stream *s, void *ctx)
{
	struct turn_service *service = ctx;
	struct child *c;
	struct err e;

	if (service->streams >= TURN_STREAMS_MAX) {
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "server is overloaded: too many requests, please retry later");
		rpc_stream_fail(s, &e);
		return;
	}
	c = xcalloc(1, sizeof *c);
	c->service = service;
	c->stream = s;
	c->turn.on_busy = on_busy;
	c->turn.on_turn = on_turn;
	c->turn.on_drain = on_drain;
	service->streams++;
	rpc_stream_set_user(s, c);
}

static void
on_message(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct turns_turn_request *m = request;
	struct child *c = rpc_stream_user(s);
	struct err e;

	(void)ctx;
	if (!c->has_task) {
		if (!task_id_is_valid(m->task_id)) {
			err_set(&e, ERR_INVALID_ARGUMENT, "invalid task id");
			end(c, &e);
			return;
		}
		snprintf(c->turn.task_id, sizeof c->turn.task_id, "%.*s", SLICE_ARG(m->task_id));
		c->has_task = true;
		say(c, piece_turn_add(c->service->pieces, &c->turn), false);
	}
	if (m->wants)
		piece_turn_want(&c->turn, m->number);
	else
		piece_turn_refuse(&c->turn);
	if (c->is_mute) {
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "child does not read");
		end(c, &e);
	}
}

static void
on_half_close(struct rpc_stream *s, void *ctx)
{
	(void)ctx;
	end(rpc_stream_user(s), NULL);
}

static void
on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct child *c = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (c != NULL)
		child_free(c);
}

void
turn_serve(struct turn_service *service, struct rpc_server *server, struct piece_server *pieces)
{
	service->pieces = pieces;
	service->method = (struct rpc_method){
		.method = &turns_turns_service.methods[TURNS_TURNS_WAIT_AT], .on_open = on_open, .on_message = on_message,
		.on_half_close = on_half_close, .on_cancel = on_cancel};
	rpc_server_add(server, &service->method, 1, service);
}
