/*
 * Turns at busy parents (proto/turns.proto), the child's side. While we have nothing to do we wait at all busy parents that have something for
 * us; the first that gives a turn is asked, for what is the best piece then, and the others hear that we wait no more.
 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "net/rpc_client.h"
#include "peer/collect.h"
#include "peer/engine.h"
#include "peer/session.h"
#include "peer/task.h"
#include "proto/turns.h"
#include "wire/pb.h"

/* Memory of one decoded message. */
#define TURN_BYTES 4096

static void
say(struct parent *p, bool wants, uint32_t number)
{
	struct turns_turn_request m = {.wants = wants, .number = number};

	p->wants_turn = wants;
	p->has_turn = false;
	rpc_call_send(p->turns, &turns_turn_request_desc, &m, NULL);
}

static void
take_fresh(struct parent *p, const struct turns_turn_response *m)
{
	size_t words = (size_t)p->collect->session->task->piece_count / 64 + 1;

	if (p->fresh == NULL)
		p->fresh = xcalloc(words, sizeof *p->fresh);
	memset(p->fresh, 0, words * sizeof *p->fresh);
	for (size_t i = 0; i < m->n_fresh && i < PARENT_FRESH_MAX; i++)
		if (m->fresh[i] < p->collect->session->task->piece_count)
			bit_set(p->fresh, m->fresh[i]);
}

static void
on_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct parent *p = ctx;
	struct turns_turn_response m;
	struct arena arena;
	struct err e;

	(void)call;
	arena_init(&arena, TURN_BYTES);
	if (pb_decode(&turns_turn_response_desc, bytes, &arena, &m, &e) < 0) {
		parent_turns_stop(p);
	} else {
		p->is_busy = m.is_busy;
		p->has_turn = m.is_busy && m.is_yours;
		if (p->has_turn)
			take_fresh(p, &m);
		if (!m.is_busy || m.is_yours)
			p->wants_turn = false;
	}
	arena_free(&arena);
	session_on_offer(p->collect->session);
}

static void
on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct parent *p = ctx;

	(void)call;
	(void)st;
	p->turns = NULL;
	parent_turns_stop(p);
	session_on_offer(p->collect->session);
}

void
parent_turns_start(struct parent *p)
{
	static const struct rpc_call_events events = {.on_message = on_message, .on_end = on_end};
	struct task *t = p->collect->session->task;
	struct rpc_call_opts opts = {0};
	struct turns_turn_request m = {
		.host_id = slice_str(cluster_host(t->engine->o.cluster)->id), .task_id = slice_str(t->id),
	};

	p->turns = rpc_call_start(p->channel, TURNS_TURNS_WAIT, &events, p, &opts);
	rpc_call_send(p->turns, &turns_turn_request_desc, &m, NULL);
}

void
parent_turns_stop(struct parent *p)
{
	if (p->turns != NULL)
		rpc_call_cancel(p->turns);
	p->turns = NULL;
	p->is_busy = p->wants_turn = p->has_turn = false;
}

bool
parents_take_turns(const struct collect *c)
{
	LIST_EACH(it, next, &c->parents)
		if (CONTAINER_OF(it, struct parent, link)->is_busy)
			return true;
	return false;
}

bool
parents_wait_for_turn(struct collect *c)
{
	bool waits = false;

	LIST_EACH(it, next, &c->parents) {
		struct parent *p = CONTAINER_OF(it, struct parent, link);
		uint32_t best;

		if (!p->is_busy || p->turns == NULL || p->pieces.len == 0)
			continue;
		best = parent_best_piece(p);
		if (best == UINT32_MAX) {
			if (p->wants_turn || p->has_turn)
				say(p, false, 0);
			continue;
		}
		if (!p->wants_turn)
			say(p, true, best);
		waits = true;
	}
	return waits;
}

void
parents_leave_turns(struct collect *c)
{
	LIST_EACH(it, next, &c->parents) {
		struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (p->turns != NULL && (p->wants_turn || p->has_turn))
			say(p, false, 0);
	}
}

void
parents_ignore_turns(struct collect *c)
{
	LIST_EACH(it, next, &c->parents) {
		struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (p->is_busy)
			parent_turns_stop(p);
	}
}
