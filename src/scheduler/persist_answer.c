#include "scheduler/persist_answer.h"

#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "net/pb_time.h"
#include "proto/common.h"
#include "proto/google.h"
#include "scheduler/persist.h"
#include "scheduler/service.h"

static struct google_timestamp *
timestamp(struct arena *a, int64_t wall_ms)
{
	struct google_timestamp *t = arena_alloc(a, sizeof *t);

	if (t)
		*t = pb_timestamp_ms(wall_ms);
	return t;
}

static struct google_duration *
duration(struct arena *a, int64_t ms)
{
	struct google_duration *d = arena_alloc(a, sizeof *d);

	if (d)
		*d = pb_duration_ms(ms);
	return d;
}

static int
full(const char *what, struct slice id, struct err *e)
{
	return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s %.*s is too large to describe", what, SLICE_ARG(id));
}

int
persist_answer_task(const struct persist_task *t, struct arena *a, struct common_persistent_cache_task *out, struct err *e)
{
	memset(out, 0, sizeof *out);
	out->id = slice_str(t->id);
	out->persistent_replica_count = t->replicas;
	persist_count(t, &out->current_persistent_replica_count, &out->current_replica_count);
	out->tag = slice_str(t->tag);
	out->application = slice_str(t->application);
	out->piece_length = t->piece_length;
	out->content_length = t->content_length;
	out->piece_count = t->piece_count;
	out->state = slice_str(persist_task_state_names[t->state]);
	out->ttl = duration(a, t->ttl_ms);
	out->created_at = timestamp(a, t->created_ms);
	out->updated_at = timestamp(a, t->updated_ms);
	return out->ttl && out->created_at && out->updated_at ? 0 : full("task", out->id, e);
}

void
persist_answer_plain_task(const struct common_persistent_cache_task *m, struct common_persistent_task *out)
{
	*out = (struct common_persistent_task){
		.id = m->id, .persistent_replica_count = m->persistent_replica_count,
		.current_persistent_replica_count = m->current_persistent_replica_count, .current_replica_count = m->current_replica_count,
		.content_length = m->content_length, .piece_count = m->piece_count, .state = m->state, .ttl = m->ttl,
		.created_at = m->created_at, .updated_at = m->updated_at };
}

/* What a child needs of a parent's host, and what a Go scheduler asks of one that comes back to it. */
static struct common_host *
host_of(const struct persist_peer *p, struct arena *a)
{
	const struct sched_host *h = sched_host_find(&p->task->all->s->core.res, slice_str(p->host_id));
	struct common_host *out = arena_alloc(a, sizeof *out);

	if (!out)
		return NULL;
	memset(out, 0, sizeof *out);
	out->id = slice_str(p->host_id);
	if (h) {
		out->type = h->type;
		out->hostname = slice_str(h->hostname);
		out->ip = slice_str(h->ip);
		out->port = h->port;
		out->download_port = h->download_port;
	}
	return out;
}

int
persist_answer_peer(const struct persist_peer *p, struct arena *a, struct common_persistent_cache_peer *out, struct err *e)
{
	memset(out, 0, sizeof *out);
	out->id = slice_str(p->id);
	out->persistent = p->is_persistent;
	out->state = slice_str(persist_peer_state_names[p->state]);
	out->concurrent_piece_count = p->concurrent_pieces;
	out->cost = duration(a, p->cost_ms);
	out->task = arena_alloc(a, sizeof *out->task);
	out->host = host_of(p, a);
	out->created_at = timestamp(a, p->created_ms);
	out->updated_at = timestamp(a, p->updated_ms);
	if (!out->cost || !out->task || !out->host || !out->created_at || !out->updated_at)
		return full("peer", out->id, e);
	return persist_answer_task(p->task, a, out->task, e);
}

int
persist_answer_plain_peer(const struct common_persistent_cache_peer *m, struct arena *a, struct common_persistent_peer *out, struct err *e)
{
	*out = (struct common_persistent_peer){
		.id = m->id, .persistent = m->persistent, .cost = m->cost, .state = m->state, .task = arena_alloc(a, sizeof *out->task),
		.host = m->host, .created_at = m->created_at, .updated_at = m->updated_at,
		.concurrent_piece_count = m->concurrent_piece_count };
	if (!out->task)
		return full("peer", m->id, e);
	persist_answer_plain_task(m->task, out->task);
	return 0;
}
