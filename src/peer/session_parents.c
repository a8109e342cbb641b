/*
 * The round with parents: transfers that run, how many, and what is done while none can be started. Which piece from whom is parent.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/rpc_client.h"
#include "peer/announce.h"
#include "peer/collect.h"
#include "peer/engine.h"
#include "peer/fetch.h"
#include "peer/session.h"
#include "peer/worker.h"
#include "store/file.h"
#include "wire/vortex.h"

#define HEADER_MAX_MS 60000     /* a parent may let a request wait for its turn, but not for longer */

struct transfer {
	struct list link;               /* in session->transfers */
	int64_t began_ms;
	struct fetch_job job;
	struct session *session;
	struct parent *parent;
	bool is_moved;                  /* cancelled for another parent's sake */
};

static void
set_window(struct session *s, int64_t cost_ns)
{
	unsigned most = session_engine(s)->o.config->download.concurrent_piece_count;

	s->window = cost_ns < SESSION_FAST_NS ? SESSION_WINDOW_FAST : SESSION_WINDOW_MIN;
	if (s->window > most)
		s->window = most;
	/* The best so far, slowly forgotten. */
	s->usual_ns += s->usual_ns / 8;
	if (s->usual_ns == 0 || cost_ns < s->usual_ns)
		s->usual_ns = cost_ns;
}

static void
transfer_is_late(void *ctx)
{
	session_kick(ctx);
}

/* Transfers that keep us from asking for more. */
static unsigned
count_in_flight(struct session *s)
{
	int64_t late_ms = s->usual_ns == 0 ? SESSION_LATE_MS : s->usual_ns / 1000000 * 2 + 1, now = loop_now_ms(session_loop(s)), first = INT64_MAX;
	unsigned n = 0;

	if (!parents_take_turns(s->collect))
		return s->in_flight;
	LIST_EACH(it, next, &s->transfers) {
		int64_t left = CONTAINER_OF(it, struct transfer, link)->began_ms + late_ms - now;

		if (left <= 0)
			continue;
		n++;
		if (left < first)
			first = left;
	}
	if (n > 0)
		loop_timer_set(session_loop(s), &s->late, first, transfer_is_late, s);
	return n;
}

static void
take_failed(struct session *s, struct transfer *x)
{
	struct fetch_job *job = &x->job;
	struct engine_metrics *m = &session_engine(s)->metrics;

	if (job->failure == FETCH_DISK) {
		if (s->phase != SESSION_OVER)
			session_fail(s, &job->err, NULL);
		return;
	}
	if (job->failure == FETCH_CANCELLED)
		return;
	m->piece_failed++;
	m->parent_lied += job->failure == FETCH_LIED;
	s->failure = job->err;
	log_info("piece from a parent failed task=%s piece=%u parent=%s error=\"%s\"", s->task->id, (unsigned)job->number, x->parent->id,
	    job->err.text);
	if (s->announce != NULL)
		announce_piece_failed(s->announce, job->number, x->parent->id);
}

static void
transfer_is_done(struct fetch_job *job)
{
	struct transfer *x = CONTAINER_OF(job, struct transfer, job);
	struct session *s = x->session;
	struct task *t = s->task;
	struct err e;

	s->in_flight--;
	list_del(&x->link);
	parent_result(x->parent, job->number, job->failure);
	if (t->is_deleted) {
		bit_clear(t->in_flight, job->number);
	} else if (job->failure == FETCH_OK) {
		struct store_piece p = {
			.number = job->number, .offset = job->sink.offset, .length = job->sink.length, .has_crc = true, .crc = job->sink.crc,
			.traffic_type = STORE_FROM_PEER, .parent_id = x->parent->id, .created_at = job->started_ns,
			.finished_at = clock_wall_ns(), .cost_ns = (uint64_t)job->cost_ns,
		};

		set_window(s, job->cost_ns);
		log_debug("piece came task=%s piece=%u parent=%s cost_ms=%lld", t->id, (unsigned)p.number, p.parent_id,
		    (long long)(job->cost_ns / 1000000));
		if (x->parent->peer->host != NULL && x->parent->peer->host->type != 0)
			session_engine(s)->metrics.seed_bytes += p.length;
		if (task_piece_done(t, &p, &e) < 0 && s->phase != SESSION_OVER)
			session_fail(s, &e, NULL);
	} else {
		take_failed(s, x);
		task_unclaim(t, job->number);
	}
	store_file_unref(job->sink.file);
	free(x);
	if (s->phase == SESSION_OVER)
		session_kick_home(s);
	else
		session_kick(s);
}

static uint8_t
request_tag(enum store_kind kind)
{
	switch (kind) {
	case STORE_PERSISTENT:
		return VORTEX_DOWNLOAD_PERSISTENT_PIECE;
	case STORE_PERSISTENT_CACHE:
		return VORTEX_DOWNLOAD_PERSISTENT_CACHE_PIECE;
	default:
		return VORTEX_DOWNLOAD_PIECE;
	}
}

static int
start_transfer(struct session *s, struct parent *p, uint32_t n)
{
	struct engine *g = session_engine(s);
	struct transfer *x = xcalloc(1, sizeof *x);
	struct fetch_job *job = &x->job;
	struct err e;
	int64_t header_ms = g->o.config->download.piece_timeout_ms;

	job->sink.file = store_task_file(s->task->store, &e);
	if (job->sink.file == NULL) {
		free(x);
		p->in_flight--;
		bit_clear(s->task->in_flight, n);
		session_fail(s, &e, NULL);
		return -1;
	}
	store_task_piece_span(s->task->store, n, &job->sink.offset, &job->sink.length);
	job->sink.limits[0] = &g->download;
	job->sink.limits[1] = s->download.is_prefetch ? &g->prefetch : NULL;
	job->parent = p->pieces;
	job->tls = p->tls;
	job->uses_fastopen = g->o.config->storage.server.tcp_fastopen;
	memcpy(job->task_id, s->task->id, TASK_ID_SIZE);
	job->tag = request_tag(s->task->store->kind);
	job->number = n;
	job->header_ms = header_ms < HEADER_MAX_MS ? header_ms : HEADER_MAX_MS;
	job->body_ms = g->o.config->storage.write_piece_timeout_ms;
	job->done = transfer_is_done;
	x->session = s;
	x->parent = p;
	s->in_flight++;
	x->began_ms = loop_now_ms(session_loop(s));
	list_add_tail(&s->transfers, &x->link);
	fetch_job_start(workers_take(g->o.workers), g->o.loop, job);
	return 0;
}

/* Whether somebody else's transfer brings a piece that we want. */
static bool
waits_for_others(const struct session *s)
{
	for (uint32_t n = 0; n < s->task->piece_count; n++)
		if (bit_get(s->wanted, n) && bit_get(s->task->in_flight, n) && !store_piece_is_finished(s->task->store, n))
			return true;
	return false;
}

/* A parent that is the source of others, or a seed, will have what we miss some time. */
static bool
is_steady(const struct parent *p)
{
	return p->peer != NULL && (slice_eq_str(p->peer->state, "BackToSource") || (p->peer->host != NULL && p->peer->host->type != 0));
}

static bool
has_steady_parent(const struct session *s)
{
	LIST_EACH(it, next, &s->collect->parents) {
		const struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (!p->is_dropped && p->sync != NULL && is_steady(p))
			return true;
	}
	return false;
}

/* With the scheduler or a steady parent the source of the parents that are left may be gone as well. */
static int64_t
stall_ms(const struct session *s)
{
	if (s->announce == NULL)
		return SESSION_LOST_STALL_MS;
	LIST_EACH(it, next, &s->collect->parents)
		if (is_steady(CONTAINER_OF(it, struct parent, link)))
			return SESSION_LOST_STALL_MS;
	return SESSION_STALL_MS;
}

static void
parents_are_stalled(void *ctx)
{
	session_reschedule(ctx, "parents have nothing new");
}

static void
no_turn_came(void *ctx)
{
	struct session *s = ctx;

	log_info("no turn came, asking without task=%s peer=%s", s->task->id, s->peer_id);
	parents_ignore_turns(s->collect);
	session_kick(s);
}

/* A request that waits in a parent's queue, behind those of others, is taken back when an idle parent has its piece: there it comes at once,
 * and the first may be asked for a piece that only it has. Only a parent of our own kind, known by its turns, takes that without an error
 * line for the connection that ends. */
static void
move_waiting(struct session *s)
{
	int64_t now = loop_now_ms(session_loop(s));

	LIST_EACH(it, next, &s->transfers) {
		struct transfer *x = CONTAINER_OF(it, struct transfer, link);

		if (x->is_moved || x->parent->turns == NULL || now - x->began_ms < SESSION_MOVE_MS || atomic_load(&x->job.has_begun) ||
		    !parent_is_free_elsewhere(x->parent, x->job.number))
			continue;
		x->is_moved = true;
		fetch_job_cancel(&x->job);
		log_debug("waits at one parent, asking another task=%s piece=%u parent=%s", s->task->id, (unsigned)x->job.number, x->parent->id);
	}
}

int
session_parents_ask(struct session *s)
{
	uint32_t n;

	for (;;) {
		unsigned count = count_in_flight(s);
		/* In turn one piece comes at a time, as fast as the link can. */
		struct parent *p = count < s->window ? parent_pick(s->collect, count == 0, &n) : NULL;

		if (p == NULL)
			break;
		if (start_transfer(s, p, n) < 0)
			return -1;
	}
	move_waiting(s);
	return 0;
}

void
session_parents_step(struct session *s)
{
	bool waits_for_turn = false;

	if (session_parents_ask(s) < 0)
		return;
	if (count_in_flight(s) == 0)
		waits_for_turn = parents_wait_for_turn(s->collect);
	else
		parents_leave_turns(s->collect);
	if (s->in_flight > 0 || !waits_for_turn)
		loop_timer_clear(session_loop(s), &s->turn);
	else if (!loop_timer_is_set(&s->turn))
		loop_timer_set(session_loop(s), &s->turn, PARENT_TURN_MS, no_turn_came, s);
	if (s->in_flight > 0 || waits_for_turn) {
		loop_timer_clear(session_loop(s), &s->stall);
		return;
	}
	if (waits_for_others(s) || s->is_awaiting)
		return;
	if (session_is_ahead(s)) {
		loop_timer_clear(session_loop(s), &s->stall);
		return;
	}
	if (!collect_is_open(s->collect))
		session_reschedule(s, "no parent is left");
	else if (!loop_timer_is_set(&s->stall) && !has_steady_parent(s))
		loop_timer_set(session_loop(s), &s->stall, stall_ms(s), parents_are_stalled, s);
}

void
session_on_offer(struct session *s)
{
	session_kick(s);
}
