/*
 * The scheduler on its loop: time, the table of methods, beginning and end.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/google.h"
#include "proto/scheduler.h"
#include "scheduler/persist.h"
#include "scheduler/preheat.h"
#include "scheduler/service.h"
#include "wire/pb.h"

#define SWEEP_MS 60000

void
service_now(struct scheduler *s)
{
	s->core.res.now_ms = loop_now_ms(s->loop);
}

static void on_timer(void *ctx);

static void
arm(struct scheduler *s, int64_t wait_ms)
{
	s->timer_at_ms = s->core.res.now_ms + wait_ms;
	loop_timer_set(s->loop, &s->timer, wait_ms, on_timer, s);
}

static int64_t
first_of(const struct heap *h, int64_t at)
{
	const struct heap_node *n = heap_min(h);

	return n && n->key < at ? n->key : at;
}

/* The timer is not later than the next thing that is due. */
static void
arm_due(struct scheduler *s)
{
	int64_t at = first_of(&s->core.checks, first_of(&s->core.refreshes, s->timer_at_ms));

	if (at < s->timer_at_ms)
		arm(s, at > s->core.res.now_ms ? at - s->core.res.now_ms : 0);
}

static bool
has_work(const struct scheduler *s)
{
	return !list_is_empty(&s->core.dirty) || !list_is_empty(&s->core.bereft) || !list_is_empty(&s->broken);
}

/* What is left after one run waits for the next turn, so that connections are heard in between. */
static void
on_later(struct loop_later *later)
{
	struct scheduler *s = CONTAINER_OF(later, struct scheduler, later);

	service_now(s);
	sched_core_run(&s->core);
	service_peer_end_broken(s);
	if (has_work(s))
		arm(s, 0);
	else
		arm_due(s);
}

static bool
is_snapshot_due(const struct scheduler *s)
{
	int64_t age = s->core.res.now_ms - s->snapshot_at_ms;

	return age >= SNAPSHOT_MS ||
		(s->snapshot_changes != s->core.res.host_changes && age >= SNAPSHOT_SOON_MS + (int64_t)s->core.res.hosts.count);
}

static void
on_timer(void *ctx)
{
	struct scheduler *s = ctx;
	int64_t next;

	service_now(s);
	s->core.res.wall_ms = clock_wall_ms() - clock_mono_ms();
	next = sched_core_tick(&s->core);
	if (s->core.res.now_ms - s->swept_ms >= SWEEP_MS) {
		s->swept_ms = s->core.res.now_ms;
		service_call_sweep(s);
	}
	if (s->snapshot_path && is_snapshot_due(s)) {
		s->snapshot_at_ms = s->core.res.now_ms;
		s->snapshot_changes = s->core.res.host_changes;
		snapshot_save(s, s->snapshot_path, false);
	}
	arm(s, next);
	service_after(s);
}

void
service_reply(struct rpc_stream *rpc, const struct pb_desc *desc, const void *msg)
{
	struct err e = { 0 };

	if (rpc_stream_send(rpc, desc, msg, &e) < 0)
		rpc_stream_fail(rpc, &e);
	else
		rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
}

void
service_reply_empty(struct rpc_stream *rpc)
{
	struct google_empty empty = { 0 };

	service_reply(rpc, &google_empty_desc, &empty);
}

void
service_after(struct scheduler *s)
{
	if (has_work(s))
		loop_defer(s->loop, &s->later, on_later);
	arm_due(s);
}

struct scheduler *
scheduler_new(struct loop *loop, const struct scheduler_options *o, struct err *e)
{
	static const struct sched_output out = {
		service_peer_answer, service_peer_close, service_call_trigger, service_call_cancel_trigger, service_call_ask_holder,
	};
	struct scheduler *s = xcalloc(1, sizeof *s);

	if (sched_core_init(&s->core, o, &out, s, clock_mono_ms(), clock_wall_ms(), e) < 0) {
		free(s);
		return NULL;
	}
	s->loop = loop;
	s->peer_tls = o->peer_tls;
	list_init(&s->streams);
	list_init(&s->broken);
	list_init(&s->triggers);
	list_init(&s->asks);
	map_init(&s->channels);
	s->snapshot_at_ms = s->swept_ms = s->core.res.now_ms;
	if (o->snapshot_path) {
		s->snapshot_path = xstrdup(o->snapshot_path);
		snapshot_load(s, s->snapshot_path);
	}
	s->persist = persist_new(s, o->journal_path);
	s->preheat = preheat_new(s);
	arm(s, 1000);
	return s;
}

struct rpc_method *
service_add_method(struct scheduler *s, const struct pb_method *method)
{
	struct rpc_method *m = &s->methods[s->n_methods++];

	m->method = method;
	return m;
}

void
scheduler_serve(struct scheduler *s, struct rpc_server *server)
{
	struct rpc_method *m;

	s->n_methods = 0;
	m = service_add_method(s, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_ANNOUNCE_PEER_AT]);
	m->on_open = service_peer_opened;
	m->on_message = service_peer_said;
	m->on_half_close = service_peer_half_closed;
	m->on_cancel = service_peer_cancelled;
	service_add_methods(s);
	persist_add_methods(s);
	preheat_add_methods(s);
	rpc_server_add(server, s->methods, s->n_methods, s);
}

void
scheduler_drain(struct scheduler *s)
{
	s->is_draining = true;
}

void
scheduler_free(struct scheduler *s)
{
	if (!s)
		return;
	if (s->snapshot_path) {
		service_now(s);
		snapshot_save(s, s->snapshot_path, true);
	}
	loop_timer_clear(s->loop, &s->timer);
	if (s->later.link.next)
		loop_defer_clear(&s->later);
	preheat_free(s->preheat);
	persist_free(s->persist);
	service_call_free(s);
	sched_core_free(&s->core);
	LIST_EACH(it, next, &s->streams)
		free(CONTAINER_OF(it, struct peer_stream, link));
	answer_scratch_free(&s->scratch);
	buf_free(&s->out);
	map_free(&s->channels);
	free(s->snapshot_path);
	free(s);
}

void
scheduler_metrics(const struct scheduler *s, struct scheduler_metrics *out)
{
	*out = s->core.metrics;
	sched_core_gauges(&s->core, out);
	out->persistent_tasks = persist_task_count(s->persist);
}
