/*
 * The course of one attempt. The round with parents is session_parents.c; the source phase is session_source.c; what is said to the scheduler is announce.c.
 */
#include "peer/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/rpc_client.h"
#include "peer/announce.h"
#include "peer/collect.h"
#include "peer/engine.h"

/* Memory of the Download message of one attempt. */
#define DOWNLOAD_BYTES ((size_t)8 << 20)

static void go_direct(struct session *s);
static void register_now(struct session *s);
static void step(struct session *s);

struct engine *
session_engine(const struct session *s)
{
	return s->task->engine;
}

struct loop *
session_loop(const struct session *s)
{
	return s->task->engine->o.loop;
}

/* ---- what is wanted ---- */

uint32_t
session_missing(const struct session *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->task->piece_count; i++)
		n += bit_get(s->wanted, i) && !store_piece_is_finished(s->task->store, i);
	return n;
}

uint64_t
session_wanted_word(const struct session *s, size_t w)
{
	uint64_t bits = s->wanted[w];

	if (s->horizon == 0)
		return bits;
	if (s->horizon / 64 < w)
		return 0;
	return s->horizon / 64 == w ? bits & ((UINT64_C(1) << s->horizon % 64) - 1) : bits;
}

bool
session_is_ahead(const struct session *s)
{
	if (s->horizon == 0 || s->horizon >= s->task->piece_count)
		return false;
	for (uint32_t n = 0; n < s->horizon; n++)
		if (bit_get(s->wanted, n) && !store_piece_is_finished(s->task->store, n))
			return false;
	return true;
}

/* The farthest that one of its callers wants to be read ahead, 0 for everything; so do children that wait. */
static uint32_t
find_horizon(const struct session *s)
{
	uint32_t horizon = 0;

	if (!list_is_empty(&s->task->watchers))
		return 0;
	LIST_EACH(it, next, &s->task->callers) {
		const struct task_caller *c = CONTAINER_OF(it, struct task_caller, link);

		if (c->session != s)
			continue;
		if (c->horizon == 0)
			return 0;
		if (c->horizon > horizon)
			horizon = c->horizon;
	}
	return horizon;
}

bool
session_covers(const struct session *s, const struct task_caller *c)
{
	/* What is refused to somebody in the network must not fail a user. */
	if (s->phase == SESSION_OVER || (s->is_guarded && !c->is_guarded))
		return false;
	for (uint32_t n = c->span.first; n <= c->span.last; n++)
		if (!bit_get(s->wanted, n) && !bit_get(c->emitted, n) && !store_piece_is_finished(s->task->store, n))
			return false;
	return true;
}

bool
session_may_use_source(const struct session *s)
{
	bool has_caller = false;

	LIST_EACH(it, next, &s->task->callers) {
		const struct task_caller *c = CONTAINER_OF(it, struct task_caller, link);

		if (c->session != s)
			continue;
		if (!c->download.disable_back_to_source)
			return true;
		has_caller = true;
	}
	return !has_caller && !s->download.disable_back_to_source;
}

/* ---- the end ---- */

static void
free_when_home(struct loop_later *later)
{
	struct session *s = CONTAINER_OF(later, struct session, later);

	if (s->in_flight > 0 || s->source_job_count > 0)
		return;
	list_del(&s->link);
	collect_free(s->collect);
	origin_target_unref(s->target);
	if (s->origin_failure != NULL) {
		arena_free(&s->origin_failure->arena);
		free(s->origin_failure);
	}
	free(s->wanted);
	arena_free(&s->arena);
	task_settle(s->task);
	free(s);
}

void
session_kick_home(struct session *s)
{
	loop_defer(session_loop(s), &s->later, free_when_home);
}

/* No step follows; what is in flight comes home and the session goes. */
static void
end_quietly(struct session *s)
{
	s->phase = SESSION_OVER;
	loop_timer_clear(session_loop(s), &s->retry);
	loop_timer_clear(session_loop(s), &s->stall);
	loop_timer_clear(session_loop(s), &s->late);
	loop_timer_clear(session_loop(s), &s->turn);
	loop_timer_clear(session_loop(s), &s->more);
	if (s->collect != NULL)
		parents_leave_turns(s->collect);
	list_del(&s->link);
	list_add_tail(&s->task->over, &s->link);
	session_source_stop(s);
	session_kick_home(s);
}

static void
succeed(struct session *s)
{
	struct task *t = s->task;

	if (s->announce != NULL) {
		if (s->phase == SESSION_SOURCE) {
			announce_source_finished(s->announce);
		} else {
			if (s->phase == SESSION_REGISTERING)
				announce_started(s->announce);
			announce_finished(s->announce);
		}
		s->announce = NULL;
	}
	end_quietly(s);
	task_session_ended(t, s, NULL, NULL);
}

void
session_fail(struct session *s, const struct err *err, const struct origin_error *origin)
{
	struct task *t = s->task;

	if (s->announce != NULL) {
		announce_failed(s->announce, err->text);
		s->announce = NULL;
	}
	log_error("download failed task=%s peer=%s error=\"%s\"", t->id, s->peer_id, err->text);
	end_quietly(s);
	task_session_ended(t, s, err, origin);
}

void
session_cancel(struct session *s)
{
	if (s->phase == SESSION_OVER)
		return;
	log_info("download cancelled task=%s peer=%s", s->task->id, s->peer_id);
	if (s->announce != NULL) {
		announce_failed(s->announce, "cancelled");
		s->announce = NULL;
	}
	end_quietly(s);
}
/* ---- the scheduler ---- */

void
session_reschedule(struct session *s, const char *why)
{
	struct common_peer *peers;
	size_t n;

	loop_timer_clear(session_loop(s), &s->stall);
	if (s->announce == NULL) {
		/* The scheduler was lost on the way; it, or the next one on the ring, may be back. */
		if (s->registers < SESSION_REGISTERS_MAX)
			register_now(s);
		else
			go_direct(s);
		return;
	}
	if (s->is_awaiting)
		return;
	log_info("asking for other parents task=%s peer=%s reason=\"%s\"", s->task->id, s->peer_id, why);
	peers = collect_peers(s->collect, &n);
	s->is_awaiting = true;
	announce_reschedule(s->announce, peers, n, "not all pieces are downloaded from parent");
	free(peers);
}

/* One more message that counts; false when it was one too many (spec: download.md 4.5). */
static bool
count_answer(struct session *s)
{
	s->is_awaiting = false;
	if (++s->answers <= session_engine(s)->o.config->scheduler.max_schedule_count)
		return true;
	announce_failed(s->announce, "max schedule count exceeded");
	s->announce = NULL;
	err_set(&s->failure, ERR_UNAVAILABLE, "max schedule count exceeded");
	go_direct(s);
	return false;
}

/*
 * A scheduler that names its few parents once leaves those that registered first with the seed alone, whose uplink they share to the end
 * while their neighbours have everything. So a round that takes its time asks again, without giving back the parents that it has.
 */
static void
ask_for_more(void *ctx)
{
	struct session *s = ctx;

	if (s->phase != SESSION_PARENTS || s->announce == NULL || s->is_awaiting || collect_live(s->collect) >= SESSION_PARENTS_ENOUGH)
		return;
	log_debug("asking for more parents task=%s peer=%s parents=%zu", s->task->id, s->peer_id, collect_live(s->collect));
	s->awaits_more = true;
	announce_reschedule(s->announce, NULL, 0, "more parents are wanted");
	if (++s->more_asked < SESSION_MORE_MAX)
		loop_timer_set(session_loop(s), &s->more, (int64_t)SESSION_MORE_MS << s->more_asked, ask_for_more, s);
}

static void
on_parents(void *ctx, const struct common_peer *parents, size_t n)
{
	struct session *s = ctx;
	bool is_more = s->awaits_more;

	/* Answers come in the order of what was asked. */
	s->awaits_more = false;
	if (!is_more && s->is_awaiting && !count_answer(s))
		return;
	if (s->phase == SESSION_REGISTERING) {
		s->phase = SESSION_PARENTS;
		announce_started(s->announce);
		if (s->task->store->kind == STORE_STANDARD && !announce_streams_parents(s->announce))
			loop_timer_set(session_loop(s), &s->more, SESSION_MORE_MS, ask_for_more, s);
	} else if (s->phase != SESSION_PARENTS) {
		return;
	}
	if (s->collect == NULL)
		s->collect = collect_new(s);
	collect_add(s->collect, parents, n);
	session_kick(s);
}

static void
on_need_source(void *ctx, struct slice reason)
{
	struct session *s = ctx;
	struct err err;

	if (s->phase != SESSION_REGISTERING && s->phase != SESSION_PARENTS)
		return;
	if (s->awaits_more) {
		/* It has none besides those that we have. */
		s->awaits_more = false;
		return;
	}
	if (!count_answer(s))
		return;
	if (!session_may_use_source(s)) {
		err_set(&err, ERR_INTERNAL, "unknown download failed: back-to-source is disabled and the scheduler has no parent (%.*s)", SLICE_ARG(reason));
		session_fail(s, &err, NULL);
		return;
	}
	log_info("scheduler sends us to the source task=%s peer=%s reason=\"%.*s\"", s->task->id, s->peer_id, SLICE_ARG(reason));
	announce_source_started(s->announce);
	s->phase = SESSION_SOURCE;
	session_source_start(s);
}

static void
on_empty(void *ctx)
{
	struct session *s = ctx;

	announce_started(s->announce);
	announce_finished(s->announce);
	s->announce = NULL;
	err_set(&s->failure, ERR_INTERNAL, "scheduler takes the task for empty");
	go_direct(s);
}

static void
on_metadata_only(void *ctx)
{
	struct session *s = ctx;

	announce_failed(s->announce, "unexpected response");
	s->announce = NULL;
	err_set(&s->failure, ERR_INTERNAL, "unexpected response");
	go_direct(s);
}

static void
register_again(void *ctx)
{
	register_now(ctx);
}

static void
on_announce_end(void *ctx, const struct err *err)
{
	struct session *s = ctx;
	struct err forbidden;
	bool has_other;
	size_t n;

	s->announce = NULL;
	s->is_awaiting = s->awaits_more = false;
	s->is_lost = err != NULL && err->code == ERR_UNAVAILABLE;
	if (err != NULL) {
		session_engine(s)->metrics.register_failed++;
		s->failure = *err;
		log_warn("conversation with the scheduler broke off task=%s peer=%s error=\"%s\"", s->task->id, s->peer_id, err->text);
	}
	if (err != NULL && (err->code == ERR_NOT_FOUND || err->code == ERR_UNAVAILABLE))
		cluster_announce_soon(session_engine(s)->o.cluster);
	if (s->phase == SESSION_SOURCE)
		return;
	if (s->phase == SESSION_PARENTS && (s->in_flight > 0 || collect_is_open(s->collect))) {
		loop_timer_clear(session_loop(s), &s->stall);
		session_kick(s);
		return;
	}
	n = err == NULL ? 0 : strlen(err->text);
	if (err != NULL && err->code == ERR_FAILED_PRECONDITION && n >= 12 && strcmp(err->text + n - 12, "is forbidden") == 0) {
		err_set(&forbidden, ERR_PERMISSION_DENIED, "%s", err->text);
		session_fail(s, &forbidden, NULL);
		return;
	}
	has_other = s->is_lost && cluster_scheduler(session_engine(s)->o.cluster, slice_str(s->task->id), true, NULL) != NULL;
	if (err != NULL && s->registers < SESSION_REGISTERS_MAX && (err->code == ERR_NOT_FOUND || (s->is_lost &&
	    (has_other || !session_may_use_source(s) || s->phase == SESSION_PARENTS)))) {
		loop_timer_set(session_loop(s), &s->retry, has_other ? 0 : SESSION_RETRY_MS, register_again, s);
		return;
	}
	go_direct(s);
}

static void
register_now(struct session *s)
{
	static const struct announce_events events = {
		.on_parents = on_parents, .on_need_source = on_need_source, .on_empty = on_empty, .on_metadata_only = on_metadata_only,
		.on_end = on_announce_end,
	};
	struct engine *g = session_engine(s);
	struct rpc_channel *ch = cluster_scheduler(g->o.cluster, slice_str(s->task->id), false, &s->failure), *other;
	struct announce_opts o = {
		.loop = g->o.loop, .host_id = cluster_host(g->o.cluster)->id, .task_id = s->task->id, .peer_id = s->peer_id,
		.answer_ms = g->o.config->scheduler.schedule_timeout_ms, .kind = s->task->store->kind, .is_persistent = s->is_persistent,
	};

	if (ch == NULL) {
		go_direct(s);
		return;
	}
	/* One that answers with an error is asked again. One that was lost, and has not left the ring yet, gives way to the next, where all go
	 * once it has. */
	if (s->is_lost && strcmp(rpc_channel_target(ch), s->scheduler) == 0) {
		other = cluster_scheduler(g->o.cluster, slice_str(s->task->id), true, NULL);
		ch = other != NULL ? other : ch;
	}
	snprintf(s->scheduler, sizeof s->scheduler, "%s", rpc_channel_target(ch));
	if (s->registers++ > 0)
		peer_id_make(s->peer_id, g->o.config->host.ip, g->o.config->host.hostname, g->o.config->seed_peer.enable);
	s->phase = SESSION_REGISTERING;
	s->is_awaiting = true;
	s->awaits_more = false;
	s->announce = announce_start(ch, &o, &s->download, &events, s);
}

/* ---- the source ---- */

static const char *
no_source_text(enum store_kind kind)
{
	switch (kind) {
	case STORE_PERSISTENT:
		return "unknown not all persistent pieces are downloaded with scheduler";
	case STORE_PERSISTENT_CACHE:
		return "unknown not all persistent cache pieces are downloaded with scheduler";
	default:
		return "unknown download failed: back-to-source is disabled";
	}
}

static void
go_direct(struct session *s)
{
	struct err err;

	loop_timer_clear(session_loop(s), &s->stall);
	if (!session_may_use_source(s)) {
		err_set(&err, ERR_INTERNAL, "%s: %s", no_source_text(s->task->store->kind),
		    s->failure.code != 0 ? s->failure.text : "no parent has all pieces");
		session_fail(s, &err, NULL);
		return;
	}
	if (s->failure.code != 0)
		log_info("going to the source task=%s peer=%s reason=\"%s\"", s->task->id, s->peer_id, s->failure.text);
	if (s->announce != NULL) {
		announce_failed(s->announce, "going to the source");
		s->announce = NULL;
	}
	s->phase = SESSION_DIRECT;
	session_source_start(s);
}

void
session_source_ended(struct session *s, const struct err *err, const struct origin_error *origin)
{
	if (err == NULL) {
		succeed(s);
		return;
	}
	if (s->phase == SESSION_SOURCE) {
		if (s->announce != NULL) {
			announce_source_piece_failed(s->announce, err, origin);
			announce_source_failed(s->announce, err->text);
			s->announce = NULL;
		}
		/* Once more without the scheduler, when the same request may do better (spec: download.md 4.7). */
		if (s->source_may_retry) {
			s->failure = *err;
			go_direct(s);
			return;
		}
	}
	session_fail(s, err, origin);
}

/* ---- steps ---- */

void
session_on_piece(struct session *s, const struct store_piece *p, enum task_traffic traffic)
{
	(void)traffic;
	if (s->phase == SESSION_OVER || !bit_get(s->wanted, p->number))
		return;
	if (s->announce != NULL && s->phase == SESSION_PARENTS)
		announce_piece(s->announce, p, false);
	else if (s->announce != NULL && s->phase == SESSION_SOURCE)
		announce_piece(s->announce, p, true);
	/* Rounds that bring something are not counted against the scheduler's patience. */
	if (s->answers > 1)
		s->answers = 1;
	if (s->phase == SESSION_DIRECT || s->phase == SESSION_SOURCE)
		s->source_bytes += p->length;
	if (session_missing(s) == 0)
		succeed(s);
	else
		session_kick(s);
}

static void
step(struct session *s)
{
	if (session_missing(s) == 0) {
		succeed(s);
		return;
	}
	s->horizon = find_horizon(s);
	switch (s->phase) {
	case SESSION_PARENTS:
		session_parents_step(s);
		break;
	case SESSION_SOURCE:
	case SESSION_DIRECT:
		/* Parents of an earlier round still give what they have. */
		if (s->collect == NULL || session_parents_ask(s) == 0)
			session_source_kick(s);
		break;
	case SESSION_REGISTERING:
	case SESSION_OVER:
		break;
	}
}

static void
step_later(struct loop_later *later)
{
	struct session *s = CONTAINER_OF(later, struct session, later);

	if (s->has_begun || session_missing(s) == 0) {
		step(s);
		return;
	}
	s->has_begun = true;
	if (s->goes_direct)
		go_direct(s);
	else
		register_now(s);
}

void
session_kick(struct session *s)
{
	if (s->phase != SESSION_OVER)
		loop_defer(session_loop(s), &s->later, step_later);
}

/* Policy AUTO: what is small comes from the source sooner than a scheduler answers. */
static bool
is_small(const struct session *s, const struct task_caller *c)
{
	return s->task->store->kind == STORE_STANDARD && s->download.scheduling_policy != COMMON_SCHEDULING_POLICY_ALWAYS && !s->download.disable_back_to_source &&
	    (s->task->store->content_length <= SESSION_SMALL_BYTES || (c->has_range && c->range.length <= SESSION_SMALL_BYTES));
}

/* The Download as it goes to the scheduler, with what is known by now. */
static int
amend_download(struct session *s, const struct task_caller *c, struct err *e)
{
	const struct store_task *t = s->task->store;
	struct common_download *d = &s->download;

	if (pb_copy(&common_download_desc, &c->download, &s->arena, d, e) < 0)
		return -1;
	if (c->has_range && d->range == NULL) {
		d->range = arena_alloc(&s->arena, sizeof *d->range);
		if (d->range == NULL)
			return err_set(e, ERR_RESOURCE_EXHAUSTED, "request of task %s is too large", s->task->id);
		d->range->start = c->range.start;
		d->range->length = c->range.length;
	}
	d->has_concurrent_piece_count = true;
	d->concurrent_piece_count = session_engine(s)->o.config->download.concurrent_piece_count;
	d->has_actual_content_length = d->has_actual_piece_length = d->has_actual_piece_count = true;
	d->actual_content_length = t->content_length;
	d->actual_piece_length = t->piece_length;
	d->actual_piece_count = s->task->piece_count;
	return 0;
}

struct session *
session_new(struct task *t, struct task_caller *c)
{
	struct session *s = xcalloc(1, sizeof *s);
	struct engine_metrics *m = &t->engine->metrics;

	s->task = t;
	s->phase = SESSION_REGISTERING;
	s->asker = c->asker;
	s->is_guarded = c->is_guarded;
	s->is_persistent = c->is_persistent;
	memcpy(s->peer_id, c->peer_id, PEER_ID_SIZE);
	arena_init(&s->arena, DOWNLOAD_BYTES);
	list_init(&s->source_jobs);
	list_init(&s->transfers);
	list_init(&s->later.link);
	s->window = SESSION_WINDOW_MIN;
	s->in_order = c->in_order || c->download.need_piece_content;
	s->wanted = xcalloc((size_t)t->piece_count / 64 + 1, sizeof *s->wanted);
	for (uint32_t n = c->span.first; n <= c->span.last; n++)
		if (!bit_get(c->emitted, n) && !store_piece_is_finished(t->store, n))
			bit_set(s->wanted, n);
	list_add_tail(&t->sessions, &s->link);
	/* The caller's request was copied within the same bounds before. */
	if (amend_download(s, c, &s->failure) < 0)
		log_error("%s", s->failure.text);
	s->target = origin_target_new(&c->download, t->engine->o.config->download.piece_timeout_ms, t->engine->o.insecure_skip_verify,
	    c->is_guarded);
	s->goes_direct = t->engine->o.cluster == NULL || is_small(s, c);
	m->tasks_total++;
	m->tasks_small += s->goes_direct && t->engine->o.cluster != NULL;
	session_kick(s);
	return s;
}
