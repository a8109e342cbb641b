/*
 * The source phase of an attempt: the missing pieces from the origin, in order, a few requests at a time. It starts with few, so that pieces
 * become whole (and can be passed on) early, and takes more only while more bring more.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "peer/engine.h"
#include "peer/session.h"
#include "peer/worker.h"
#include "store/file.h"

/* Requests at the start: where other peers wait for the pieces one at a time, so that the first is whole as early as can be. */
#define WINDOW_START 2
#define WINDOW_START_SHARED 1
/* A window is judged after this time and twice its pieces and two; after the longer time in any case. The short time is that of four
 * pieces from an origin on a quick link: it ends what a single request cannot fill. */
#define MEASURE_MS 40
#define MEASURE_MAX_MS 5000
/* After a larger window brought nothing, it is tried again only so much later. */
#define HOLD_MS 10000
/* "More": by this many percent. */
#define GAIN_PERCENT 10
/* The window doubles while this much of what it promised came true. */
#define KEPT_PERCENT 60

static void
free_job(struct session *s, struct origin_job *job)
{
	list_del(&job->link);
	s->source_job_count--;
	origin_job_clear(job);
	free(job);
}

/* How many more requests to try after `rate` was seen; negative: the last ones brought nothing. */
static int
next_step(const struct session *s, uint64_t rate)
{
	uint64_t window = s->source_window, before = s->source_step > 0 ? window - (uint64_t)s->source_step : window;

	if (s->source_step <= 0)
		return (int)window;
	if (rate * 100 < s->source_rate * (100 + GAIN_PERCENT))
		return -s->source_step;
	if (rate * 100 * before >= s->source_rate * (100 * before + KEPT_PERCENT * (window - before)))
		return (int)window;
	return 1;
}

/* Adjusts how many requests run at once by what the last change did. */
static void
adjust_window(struct session *s)
{
	int most = (int)session_engine(s)->o.config->download.back_to_source_concurrent_piece_count, step;
	int64_t now = loop_now_ms(session_loop(s)), passed = now - s->source_since_ms;
	uint64_t enough = s->task->store->piece_length * (2 * (uint64_t)s->source_window + 2), rate;

	if (passed < (s->source_step < 0 ? HOLD_MS : MEASURE_MS) || s->source_bytes == 0)
		return;
	if (s->source_bytes < enough && passed < MEASURE_MAX_MS)
		return;
	rate = s->source_bytes * 1000 / (uint64_t)passed;
	step = next_step(s, rate);
	if ((int)s->source_window + step > most)
		step = most - (int)s->source_window;
	s->source_window = (unsigned)((int)s->source_window + step);
	s->source_step = step;
	s->source_rate = rate;
	s->source_bytes = 0;
	s->source_since_ms = now;
}

static void
take_error(struct session *s, struct origin_job *job)
{
	struct source_error *e = &job->error.e;

	if (s->source_failed || s->phase == SESSION_OVER)
		return;
	if (e->failure == SOURCE_RANGE_MISMATCH && job->use_range && !s->task->lacks_range) {
		log_info("origin does not do ranges, reading it in one go task=%s", s->task->id);
		s->task->lacks_range = true;
		return;
	}
	s->source_failed = true;
	s->source_err = e->err;
	s->source_may_retry = e->is_temporary;
	if (!job->has_disk_error) {
		s->origin_failure = xcalloc(1, sizeof *s->origin_failure);
		*s->origin_failure = job->error;        /* takes the strings over */
		arena_init(&job->error.arena, 0);
	}
	LIST_EACH(it, next, &s->source_jobs)
		origin_cancel(CONTAINER_OF(it, struct origin_job, link));
}

static void
on_piece(struct origin_job *job, const struct origin_piece *o)
{
	struct session *s = job->owner;
	struct store_piece p = {
		.number = o->number, .offset = o->offset, .length = o->length, .has_crc = true, .crc = o->crc, .traffic_type = STORE_FROM_SOURCE,
		.created_at = o->started_ns, .finished_at = clock_wall_ns(), .cost_ns = (uint64_t)o->cost_ns,
	};

	if (s->task->is_deleted || !bit_get(s->task->in_flight, o->number))
		return;
	if (task_piece_done(s->task, &p, &s->source_err) < 0 && !s->source_failed) {
		s->source_failed = true;
		origin_cancel(job);
	}
}

static void
on_done(struct origin_job *job)
{
	struct session *s = job->owner;
	struct task *t = s->task;
	struct engine_metrics *m = &t->engine->metrics;
	uint32_t first = job->first, last = job->last;
	uint64_t *have = job->have;

	m->backend_finished += !job->has_failed;
	m->backend_failed += job->has_failed;
	if (job->has_failed)
		take_error(s, job);
	/* Pieces of the job that did not come are free again. */
	job->have = NULL;
	free_job(s, job);
	for (uint32_t n = first; n <= last && n < t->piece_count; n++) {
		if (have != NULL && bit_get(have, n))
			continue;
		if (t->is_deleted || store_piece_is_finished(t->store, n) || !bit_get(t->in_flight, n))
			continue;
		task_unclaim(t, n);
	}
	free(have);
	session_source_kick(s);
}

/* What the origin said of the whole content, for comparison with what it says of each part; "identity" is the same as nothing. */
static const char *
content_encoding(struct store_task *t)
{
	size_t n = store_task_header_count(t);

	for (size_t i = 0; i < n; i++) {
		struct store_header h = store_task_header(t, i);

		if (slice_ieq_str(slice_str(h.name), "content-encoding"))
			return slice_ieq_str(slice_str(h.value), "identity") ? NULL : h.value;
	}
	return NULL;
}

static int
start_job(struct session *s, uint32_t first, uint32_t last, bool use_range, uint64_t *have)
{
	struct task *t = s->task;
	struct engine *g = t->engine;
	struct origin_job *job = xcalloc(1, sizeof *job);
	struct err e;

	job->file = store_task_file(t->store, &e);
	if (job->file == NULL || s->target == NULL) {
		if (job->file != NULL)
			err_set(&e, ERR_RESOURCE_EXHAUSTED, "request of task %s is too large", t->id);
		store_file_unref(job->file);
		free(job);
		free(have);
		s->source_failed = true;
		s->source_err = e;
		return -1;
	}
	job->target = origin_target_ref(s->target);
	job->validators = (struct source_validators){
		.has_length = true, .length = t->store->content_length, .etag = store_task_etag(t->store),
		.last_modified = store_task_last_modified(t->store), .content_encoding = content_encoding(t->store),
	};
	job->first = first;
	job->last = last;
	job->piece_length = t->store->piece_length;
	job->content_length = t->store->content_length;
	job->use_range = use_range;
	job->have = have;
	job->have_words = (size_t)t->piece_count / 64 + 1;
	job->limits[0] = &g->source;
	job->limits[1] = &g->download;
	job->limits[2] = s->download.is_prefetch ? &g->prefetch : NULL;
	job->piece_done = on_piece;
	job->done = on_done;
	job->owner = s;
	list_add_tail(&s->source_jobs, &job->link);
	s->source_job_count++;
	g->metrics.backend_started++;
	origin_job_start(workers_take(g->o.workers), g->o.loop, job);
	return 0;
}

/* Origins without ranges: one request reads everything; pieces that are there already, or somebody else's, are only read past. */
static void
start_whole(struct session *s)
{
	struct task *t = s->task;
	uint64_t *have = xcalloc((size_t)t->piece_count / 64 + 1, sizeof *have);
	uint32_t last = 0;
	bool claimed = false;

	for (uint32_t n = 0; n < t->piece_count; n++) {
		if (bit_get(s->wanted, n) && task_claim(t, n)) {
			last = n;
			claimed = true;
		} else {
			bit_set(have, n);
		}
	}
	if (!claimed) {
		free(have);
		return;
	}
	if (start_job(s, 0, last, false, have) < 0)
		for (uint32_t n = 0; n <= last; n++)
			if (!store_piece_is_finished(t->store, n))
				bit_clear(t->in_flight, n);
}

static void
start_ranges(struct session *s)
{
	struct task *t = s->task;

	for (uint32_t n = 0; n < t->piece_count && (s->horizon == 0 || n < s->horizon) && s->source_job_count < s->source_window; n++) {
		if (!bit_get(s->wanted, n) || !task_claim(t, n))
			continue;
		if (start_job(s, n, n, true, NULL) < 0) {
			bit_clear(t->in_flight, n);
			return;
		}
	}
}

void
session_source_kick(struct session *s)
{
	struct origin_error *origin;

	if (s->phase == SESSION_OVER) {
		session_kick_home(s);
		return;
	}
	if (s->source_failed) {
		if (s->source_job_count > 0)
			return;
		origin = s->origin_failure;
		session_source_ended(s, &s->source_err, origin);
		return;
	}
	if (session_missing(s) == 0) {
		session_source_ended(s, NULL, NULL);
		return;
	}
	adjust_window(s);
	if (!s->task->lacks_range)
		start_ranges(s);
	else if (s->source_job_count == 0)
		start_whole(s);
	if (s->source_failed && s->source_job_count == 0)
		session_source_ended(s, &s->source_err, NULL);
}

void
session_source_start(struct session *s)
{
	unsigned most = session_engine(s)->o.config->download.back_to_source_concurrent_piece_count;

	s->source_window = s->phase == SESSION_SOURCE ? WINDOW_START_SHARED : WINDOW_START;
	if (s->source_window > most)
		s->source_window = most;
	s->source_step = 0;
	s->source_bytes = 0;
	s->source_failed = false;
	if (s->origin_failure != NULL) {
		arena_free(&s->origin_failure->arena);
		free(s->origin_failure);
		s->origin_failure = NULL;
	}
	s->source_since_ms = loop_now_ms(session_loop(s));
	session_kick(s);
}

void
session_source_stop(struct session *s)
{
	LIST_EACH(it, next, &s->source_jobs)
		origin_cancel(CONTAINER_OF(it, struct origin_job, link));
}
