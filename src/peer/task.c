/*
 * Callers and the life of a task. What brings pieces is session.c; where finished content goes is output.c; asking the origin for length and
 * headers is prepare.c.
 */
#include "peer/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "peer/engine.h"
#include "peer/origin.h"
#include "peer/output.h"
#include "peer/prepare.h"
#include "peer/session.h"
#include "peer/worker.h"
#include "store/file.h"

static struct engine *
engine_of(const struct task_caller *c)
{
	return c->task->engine;
}

/* ---- life ---- */

/* "<kind><id>"; kinds may share an id. */
static void
key_make(char out[TASK_ID_SIZE + 1], enum store_kind kind, const char *id)
{
	out[0] = (char)('0' + (int)kind);
	memcpy(out + 1, id, TASK_ID_SIZE);
}

static struct task *
task_find(struct engine *g, enum store_kind kind, const char *id)
{
	char key[TASK_ID_SIZE + 1];

	key_make(key, kind, id);
	return map_get(&g->tasks, slice_make(key, TASK_ID_SIZE));
}

bool
task_is_being_prepared(struct engine *g, enum store_kind kind, const char *id)
{
	const struct task *t = task_find(g, kind, id);

	return t != NULL && t->phase != TASK_READY;
}

static void
task_forget(struct task *t)
{
	map_del(&t->engine->tasks, slice_make(t->key, TASK_ID_SIZE));
}

static struct task *
task_new(struct engine *g, const char *id, struct store_task *store)
{
	struct task *t = xcalloc(1, sizeof *t);

	t->engine = g;
	memcpy(t->id, id, TASK_ID_SIZE);
	t->store = store;
	store_task_use(store);
	list_init(&t->callers);
	list_init(&t->sessions);
	list_init(&t->watchers);
	list_init(&t->over);
	list_init(&t->settle.link);
	key_make(t->key, store->kind, id);
	map_put(&g->tasks, slice_make(t->key, TASK_ID_SIZE), t);
	return t;
}

static void
task_free_if_idle(struct loop_later *later)
{
	struct task *t = CONTAINER_OF(later, struct task, settle);

	if (!list_is_empty(&t->callers) || !list_is_empty(&t->sessions) || !list_is_empty(&t->over) || !list_is_empty(&t->watchers) ||
	    t->stat != NULL || t->question != NULL || t->stream != NULL)
		return;
	if (!t->is_deleted)
		task_forget(t);
	store_task_release(t->store);
	origin_target_unref(t->target);
	free(t->in_flight);
	free(t);
}

void
task_settle(struct task *t)
{
	loop_defer(t->engine->o.loop, &t->settle, task_free_if_idle);
}

bool
task_is_active(const struct task *t)
{
	return t->phase == TASK_PREPARING || !list_is_empty(&t->sessions);
}

/* ---- callers ---- */

static void
caller_free(struct task_caller *c)
{
	struct task *t = c->task;

	list_del(&c->link);
	if (--t->caller_count == 0)
		t->engine->asked--;
	if (c->series != NULL)
		c->series->running--;
	loop_timer_clear(t->engine->o.loop, &c->deadline);
	loop_defer_clear(&c->later);
	free(c->emitted);
	arena_free(&c->arena);
	free(c);
	task_settle(t);
}

static void
caller_free_later(struct loop_later *later)
{
	caller_free(CONTAINER_OF(later, struct task_caller, later));
}

static void
drop_work(struct task_caller *c)
{
	if (c->output != NULL)
		output_cancel(c->output);
	if (c->following != NULL)
		output_cancel(c->following);
	if (c->metadata != NULL)
		session_metadata_cancel(c->metadata);
	c->output = c->following = NULL;
	c->metadata = NULL;
}

static void
count_end(struct task_caller *c, bool is_good)
{
	struct engine_metrics *m = &engine_of(c)->metrics;

	if (c->is_declined) {
		m->download_finished++;
		return;
	}
	if (!is_good) {
		m->download_failed++;
		if (c->series != NULL)
			c->series->failed++;
		return;
	}
	m->download_finished++;
	stats_observe(&m->download_duration[c->task->store->kind][stats_size_level(c->has_range ? c->range.length : c->task->store->content_length)],
	    (clock_wall_ns() - c->asked_at) / 1000000);
}

/* Tells the end and frees. */
static void
caller_end(struct task_caller *c, const struct err *err, const struct origin_error *origin)
{
	struct task_end end = {.err = err, .origin = origin};

	c->is_over = true;
	c->session = NULL;
	drop_work(c);
	count_end(c, err == NULL);
	c->events->on_end(c->ctx, &end);
	caller_free(c);
}

static void
caller_on_output(void *ctx, const struct err *err)
{
	struct task_caller *c = ctx;

	c->output = NULL;
	caller_end(c, err, NULL);
}

/* All pieces of the span are there: verify and place the output, then the end. */
static void
caller_complete(struct task_caller *c)
{
	struct output_job *following = c->following;
	struct task *t = c->task;
	struct err err = {0};

	c->session = NULL;
	c->following = NULL;
	c->output = output_start(t, c, following, caller_on_output, c, &err);
	if (c->output == NULL)
		caller_end(c, err.code != 0 ? &err : NULL, NULL);
}

static void
caller_emit(struct task_caller *c, const struct store_piece *p, enum task_traffic traffic)
{
	struct engine_metrics *m = &engine_of(c)->metrics;

	if (c->is_over || !c->has_started || c->span.is_empty || p->number < c->span.first || p->number > c->span.last ||
	    bit_get(c->emitted, p->number))
		return;
	bit_set(c->emitted, p->number);
	c->missing--;
	if (traffic == TASK_LOCAL_PEER) {
		m->pieces[traffic]++;
		m->bytes[traffic] += p->length;
		stats_observe(&m->piece_duration[traffic], 0);
	}
	c->events->on_piece(c->ctx, p, traffic);
}

void
task_caller_skip(struct task_caller *c, uint32_t n)
{
	if (!bit_get(c->emitted, n))
		c->missing--;
	bit_set(c->emitted, n);
}

static int
caller_find_range(struct task_caller *c, struct err *e)
{
	const struct common_download *d = &c->download;
	uint64_t length = c->task->store->content_length;

	if (c->events->on_length != NULL) {
		c->is_declined = c->events->on_length(c->ctx, c->task->store, &c->has_range, &c->range, e) < 0;
		return c->is_declined ? -1 : 0;
	}
	if (d->range != NULL) {
		c->has_range = true;
		c->range = (struct byte_range){.start = d->range->start, .length = d->range->length};
		if (c->range.start < length && c->range.length > length - c->range.start)
			c->range.length = length - c->range.start;
		return 0;
	}
	for (size_t i = 0; i < d->n_request_header; i++) {
		if (!slice_ieq_str(d->request_header[i].key, "range"))
			continue;
		c->has_range = true;
		return range_header_parse(d->request_header[i].value, length, &c->range, e);
	}
	return 0;
}

/* Where a piece that is on file came from, as this caller sees it: what came after it asked is not "local". */
static enum task_traffic
traffic_for(const struct task_caller *c, const struct store_piece *p)
{
	if (p->finished_at < c->asked_at)
		return TASK_LOCAL_PEER;
	return p->traffic_type == STORE_FROM_PEER ? TASK_REMOTE_PEER : TASK_BACK_TO_SOURCE;
}

static void
caller_join_session(struct task_caller *c)
{
	struct task *t = c->task;

	LIST_EACH(it, next, &t->sessions) {
		struct session *s = CONTAINER_OF(it, struct session, link);

		if (session_covers(s, c)) {
			c->session = s;
			session_kick(s);
			return;
		}
	}
	c->session = session_new(t, c);
}

/* A seed that has everything tells the scheduler so instead of the caller's pieces (spec: download.md 4.8). */
static void
caller_on_metadata(void *ctx, const struct err *err)
{
	struct task_caller *c = ctx;

	c->metadata = NULL;
	caller_end(c, err, NULL);
}

static void
caller_run(struct task_caller *c)
{
	struct task *t = c->task;
	struct store_piece p;
	struct err err = {0};

	store_task_touch(t->store, clock_wall_ns());
	if (c->is_persistent)
		store_task_set_persistent(t->store, true);
	c->series = stats_labels_get(&t->engine->labels[t->store->kind], c->download.tag, c->download.application, c->download.priority);
	c->series->started++;
	c->series->running++;
	if (caller_find_range(c, &err) < 0 ||
	    piece_span_of(t->store->content_length, t->store->piece_length, c->has_range ? &c->range : NULL, &c->span, &err) < 0 ||
	    output_check(t, c, &err) < 0) {
		caller_end(c, &err, NULL);
		return;
	}
	c->was_finished = t->store->finished_at != 0;
	if (t->store->kind == STORE_STANDARD && c->asker == TASK_FOR_SCHEDULER && c->was_finished && t->engine->o.cluster != NULL &&
	    c->download.output_path.n == 0) {
		c->metadata = session_announce_metadata(t->engine, c, caller_on_metadata, c, &err);
		if (c->metadata == NULL)
			caller_end(c, &err, NULL);
		return;
	}
	c->emitted = xcalloc((size_t)t->piece_count / 64 + 1, sizeof *c->emitted);
	c->missing = c->span.is_empty ? 0 : c->span.last - c->span.first + 1;
	c->has_started = true;
	c->events->on_started(c->ctx, &(struct task_started){
		.store = t->store, .peer_id = c->peer_id, .has_range = c->has_range, .range = c->range, .span = c->span,
		.is_finished = c->was_finished,
	});
	for (uint32_t n = c->span.first; !c->is_over && c->missing > 0 && n <= c->span.last; n++)
		if (store_piece_get(t->store, n, &p) == 0)
			caller_emit(c, &p, traffic_for(c, &p));
	if (c->is_over)
		return;
	if (c->missing == 0) {
		caller_complete(c);
		return;
	}
	c->following = output_follow(t, c);
	caller_join_session(c);
}

/* Pieces that were not looked at since the start of the process, or whose file was touched, are checked before they count. */
static void
caller_on_checked(void *ctx, const struct err *err)
{
	struct task_caller *c = ctx;

	(void)err;
	c->output = NULL;
	caller_run(c);
}

void
caller_start(struct task_caller *c)
{
	c->output = output_check_pieces(c->task, caller_on_checked, c);
	if (c->output == NULL)
		caller_run(c);
}

static void
caller_start_later(struct loop_later *later)
{
	struct task_caller *c = CONTAINER_OF(later, struct task_caller, later);
	struct task *t = c->task;

	if (c->failure.code != 0) {
		caller_end(c, &c->failure, NULL);
		return;
	}
	if (t->phase == TASK_PREPARING)
		return;         /* task_prepared starts it */
	if (t->phase == TASK_READY || prepare_is_known(t))
		caller_start(c);
	else
		prepare_start(t, c);
}

static void
caller_is_late(void *ctx)
{
	struct task_caller *c = ctx;
	struct session *s = c->session;
	struct err err;

	err_set(&err, ERR_DEADLINE_EXCEEDED, "download of task %s did not finish within its timeout", c->task->id);
	c->session = NULL;
	caller_end(c, &err, NULL);
	if (s != NULL)
		session_kick(s);
}

static int
check_request(struct engine *g, const struct common_download *d, struct err *e)
{
	if (g->is_draining)
		return err_set(e, ERR_UNAVAILABLE, "the daemon is stopping");
	if (d == NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "missing download");
	if (d->has_piece_length && piece_length_check(d->piece_length, e) < 0)
		return -1;
	return output_check_digest(d, e);
}

static int
find_id(const struct task_request *r, char id[TASK_ID_SIZE], struct err *e)
{
	const struct common_object_storage *at = r->download->object_storage;

	switch (r->kind) {
	case STORE_PERSISTENT:
		if (at == NULL)
			return err_set(e, ERR_INVALID_ARGUMENT, "missing object storage");
		if (at->region.p == NULL)
			return err_set(e, ERR_INVALID_ARGUMENT, "missing object storage region");
		if (at->endpoint.p == NULL)
			return err_set(e, ERR_INVALID_ARGUMENT, "missing object storage endpoint");
		task_id_persistent(r->download->url, at->region, at->endpoint, id);
		return 0;
	case STORE_PERSISTENT_CACHE:
		if (!task_id_is_valid(r->task_id))
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid task id: 64 lower-case hexadecimal digits are expected");
		memcpy(id, r->task_id.p, TASK_ID_LENGTH);
		id[TASK_ID_LENGTH] = '\0';
		return 0;
	default:
		return task_id_standard(r->download, id, e);
	}
}

/* What no request can change: content of a cache task is in peers alone, and replicas are taken from peers. */
static void
set_rules(struct task_caller *c, enum store_kind kind)
{
	if (kind == STORE_PERSISTENT_CACHE || (kind == STORE_PERSISTENT && c->asker == TASK_FOR_SCHEDULER))
		c->download.disable_back_to_source = true;
	else if (c->asker == TASK_FOR_SCHEDULER && c->download.need_back_to_source)
		/* Schedulers send a seed the whole request of the host that asked them, with its wish to leave the origin to others. */
		c->download.disable_back_to_source = false;
}

/* One more task that somebody asks for. What is all on file costs no download, and children that only watch are not counted. */
static int
check_room(struct engine *g, enum store_kind kind, const char *id, const struct task *t, struct err *e)
{
	uint32_t most = g->o.config->x.download.max_concurrent_tasks;
	const struct store_task *store;

	if (g->asked < most || (t != NULL && t->caller_count > 0))
		return 0;
	store = store_task_find(g->o.store, kind, id);
	if (store != NULL && store->finished_at != 0)
		return 0;
	return err_set(e, ERR_RESOURCE_EXHAUSTED, "server is overloaded: more than %u tasks at once (x.download.maxConcurrentTasks), please retry later",
	    (unsigned)most);
}

struct task_caller *
task_request(struct engine *g, const struct task_request *r, const struct task_caller_events *ev, void *ctx, struct err *e)
{
	char id[TASK_ID_SIZE];
	struct store_task *store;
	struct task_caller *c;
	struct task *t;

	if (check_request(g, r->download, e) < 0 || find_id(r, id, e) < 0)
		return NULL;
	t = task_find(g, r->kind, id);
	if (check_room(g, r->kind, id, t, e) < 0)
		return NULL;
	if (t == NULL) {
		store = store_task_begin(g->o.store, r->kind, id, clock_wall_ns(), e);
		if (store == NULL)
			return NULL;
		t = task_new(g, id, store);
	}
	if (t->caller_count >= TASK_CALLERS_MAX) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %d requests of task %s at once", TASK_CALLERS_MAX, id);
		return NULL;
	}
	c = xcalloc(1, sizeof *c);
	arena_init(&c->arena, TASK_REQUEST_BYTES);
	if (pb_copy(&common_download_desc, r->download, &c->arena, &c->download, e) < 0) {
		arena_free(&c->arena);
		free(c);
		task_settle(t);
		return NULL;
	}
	c->task = t;
	c->asker = r->asker;
	c->is_guarded = r->is_guarded;
	c->in_order = r->in_order;
	c->is_persistent = r->is_persistent;
	set_rules(c, r->kind);
	c->output_root = r->output_root;
	c->has_owner = r->has_owner;
	c->uid = r->uid;
	c->gid = r->gid;
	c->events = ev;
	c->ctx = ctx;
	c->asked_at = clock_wall_ns();
	peer_id_make(c->peer_id, g->o.config->host.ip, g->o.config->host.hostname, g->o.config->seed_peer.enable);
	list_add_tail(&t->callers, &c->link);
	if (t->caller_count++ == 0)
		g->asked++;
	g->metrics.download_started++;
	if (c->download.timeout != NULL && c->download.timeout->seconds > 0 && c->download.timeout->seconds < 1000000000)
		loop_timer_set(g->o.loop, &c->deadline, c->download.timeout->seconds * 1000 + c->download.timeout->nanos / 1000000,
		    caller_is_late, c);
	list_init(&c->later.link);
	loop_defer(g->o.loop, &c->later, caller_start_later);
	return c;
}

void
task_caller_set_horizon(struct task_caller *c, uint32_t horizon)
{
	if (c->horizon == horizon)
		return;
	c->horizon = horizon;
	if (c->session != NULL)
		session_kick(c->session);
}

/* Whether anybody still waits for what the session brings. */
static bool
session_is_wanted(const struct session *s)
{
	if (s->asker != TASK_FOR_USER || !list_is_empty(&s->task->watchers))
		return true;
	LIST_EACH(it, next, &s->task->callers)
		if (CONTAINER_OF(it, struct task_caller, link)->session == s)
			return true;
	return false;
}

void
task_caller_cancel(struct task_caller *c)
{
	struct session *s = c->session;

	c->is_over = true;
	c->session = NULL;
	drop_work(c);
	/* Later, since this may be called from one of its own events. */
	loop_defer(engine_of(c)->o.loop, &c->later, caller_free_later);
	if (s != NULL && !session_is_wanted(s))
		session_cancel(s);
}

/* ---- what sessions call ---- */

bool
task_claim(struct task *t, uint32_t n)
{
	if (store_piece_is_finished(t->store, n) || bit_get(t->in_flight, n))
		return false;
	bit_set(t->in_flight, n);
	return true;
}

void
task_unclaim(struct task *t, uint32_t n)
{
	bit_clear(t->in_flight, n);
	LIST_EACH(it, next, &t->sessions)
		session_kick(CONTAINER_OF(it, struct session, link));
}

/* The last piece of the whole task came: the record says so from now on. */
static void
finish_if_whole(struct task *t)
{
	struct err e;

	if (t->store->finished_at != 0 || t->store->pieces_finished < t->piece_count)
		return;
	if (store_task_finish(t->store, clock_wall_ns(), &e) < 0)
		log_error("task cannot be marked finished task=%s error=\"%s\"", t->id, e.text);
	else
		log_info("task finished task=%s length=%llu", t->id, (unsigned long long)t->store->content_length);
}

void
task_count_piece(struct task *t, const struct store_piece *p)
{
	struct engine_metrics *m = &t->engine->metrics;
	enum task_traffic traffic = p->traffic_type == STORE_FROM_PEER ? TASK_REMOTE_PEER : TASK_BACK_TO_SOURCE;

	m->pieces[traffic]++;
	m->bytes[traffic] += p->length;
	stats_observe(&m->piece_duration[traffic], (int64_t)(p->cost_ns / 1000000));
}

int
task_piece_done(struct task *t, const struct store_piece *p, struct err *e)
{
	enum task_traffic traffic = p->traffic_type == STORE_FROM_PEER ? TASK_REMOTE_PEER : TASK_BACK_TO_SOURCE;

	bit_clear(t->in_flight, p->number);
	if (store_piece_finish(t->store, p, e) < 0)
		return -1;
	task_count_piece(t, p);
	finish_if_whole(t);
	LIST_EACH(it, next, &t->watchers) {
		struct task_watch *w = CONTAINER_OF(it, struct task_watch, link);

		w->on_piece(w, p->number);
	}
	LIST_EACH(it, next, &t->callers)
		caller_emit(CONTAINER_OF(it, struct task_caller, link), p, traffic);
	LIST_EACH(it, next, &t->sessions)
		session_on_piece(CONTAINER_OF(it, struct session, link), p, traffic);
	LIST_EACH(it, next, &t->callers) {
		struct task_caller *c = CONTAINER_OF(it, struct task_caller, link);

		if (c->has_started && !c->is_over && c->missing == 0 && c->output == NULL)
			caller_complete(c);
	}
	return 0;
}

static void
tell_watchers_idle(struct task *t, const struct err *why)
{
	if (task_is_active(t) && why == NULL)
		return;
	LIST_EACH(it, next, &t->watchers) {
		struct task_watch *w = CONTAINER_OF(it, struct task_watch, link);

		if (w->on_idle != NULL)
			w->on_idle(w, why);
	}
}

void
task_session_ended(struct task *t, struct session *s, const struct err *err, const struct origin_error *origin)
{
	if (err != NULL)
		store_task_fail(t->store, clock_wall_ns());
	LIST_EACH(it, next, &t->callers) {
		struct task_caller *c = CONTAINER_OF(it, struct task_caller, link);

		if (c->session != s)
			continue;
		c->session = NULL;
		if (err != NULL)
			caller_end(c, err, origin);
	}
	tell_watchers_idle(t, NULL);
	task_settle(t);
}

/* Length and headers are known (err NULL), or why not: everybody who waited goes on. */
void
task_prepared(struct task *t, const struct err *err, const struct origin_error *origin)
{
	/* An origin that was refused to somebody in the network is asked again for those it is not refused to. */
	bool was_guarded = err != NULL && t->target != NULL && t->target->request.is_guarded;

	t->phase = err == NULL ? TASK_READY : TASK_NEW;
	/* What goes wrong later is told by the session. */
	if (err != NULL)
		log_info("download not begun task=%s error=\"%s\"", t->id, err->text);
	LIST_EACH(it, next, &t->callers) {
		struct task_caller *c = CONTAINER_OF(it, struct task_caller, link);

		if (c->has_started || c->is_over || !list_is_empty(&c->later.link))
			continue;
		if (err == NULL)
			caller_start(c);
		else if (was_guarded && !c->is_guarded)
			loop_defer(t->engine->o.loop, &c->later, caller_start_later);
		else
			caller_end(c, err, origin);
	}
	tell_watchers_idle(t, NULL);
	task_settle(t);
}

/* ---- watchers ---- */

int
task_watch(struct engine *g, enum store_kind kind, struct slice task_id, struct task_watch *w, struct err *e)
{
	struct task *t;
	struct store_task *store;
	char id[TASK_ID_SIZE];

	if (!task_id_is_valid(task_id))
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid task id");
	memcpy(id, task_id.p, TASK_ID_LENGTH);
	id[TASK_ID_LENGTH] = '\0';
	t = task_find(g, kind, id);
	if (t == NULL) {
		store = store_task_find(g->o.store, kind, id);
		if (store == NULL)
			return err_set(e, ERR_NOT_FOUND, "task %s not found", id);
		t = task_new(g, id, store);
		if (prepare_is_known(t))
			t->phase = TASK_READY;
	}
	w->task = t;
	list_add_tail(&t->watchers, &w->link);
	/* It may want what nobody read up to yet. */
	LIST_EACH(it, next, &t->sessions)
		session_kick(CONTAINER_OF(it, struct session, link));
	return 0;
}

void
task_unwatch(struct task_watch *w)
{
	struct task *t = w->task;

	list_del(&w->link);
	w->task = NULL;
	if (t == NULL)
		return;
	LIST_EACH(it, next, &t->sessions) {
		struct session *s = CONTAINER_OF(it, struct session, link);

		if (!session_is_wanted(s))
			session_cancel(s);
	}
	task_settle(t);
}

/* ---- stopping ---- */

/* Ends everybody with this error: sessions at once, callers in the next step, since the one who calls may be in the middle of a change. */
static void
stop_all(struct task *t, const struct err *why)
{
	LIST_EACH(it, next, &t->sessions)
		session_cancel(CONTAINER_OF(it, struct session, link));
	LIST_EACH(it, next, &t->callers) {
		struct task_caller *c = CONTAINER_OF(it, struct task_caller, link);

		if (c->is_over)
			continue;
		c->session = NULL;
		c->failure = *why;
		loop_defer(t->engine->o.loop, &c->later, caller_start_later);
	}
	prepare_cancel(t);
	tell_watchers_idle(t, why);
	task_settle(t);
}

void
task_stop(struct task *t)
{
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "the daemon is stopping");
	stop_all(t, &err);
}

void
engine_task_deleted(struct engine *g, struct store_task *store, enum store_reason reason)
{
	struct task *t = strlen(store->id) == TASK_ID_LENGTH ? task_find(g, store->kind, store->id) : NULL;
	struct err err;

	(void)reason;
	if (t == NULL || t->store != store)
		return;
	err_set(&err, ERR_NOT_FOUND, "task %s not found", t->id);
	t->is_deleted = true;
	task_forget(t);
	stop_all(t, &err);
}
