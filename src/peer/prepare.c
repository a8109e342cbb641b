#include "peer/prepare.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/rpc_client.h"
#include "peer/engine.h"
#include "peer/origin.h"
#include "peer/task.h"
#include "peer/worker.h"
#include "store/file.h"
#include "text/url.h"

/* Headers of an origin's answer that are about the asker, not about the content: not kept for others. */
static bool
is_private_header(const char *name)
{
	static const char *const names[] = {"set-cookie", "www-authenticate", "proxy-authenticate", "authentication-info", "authorization"};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

int
prepare_set_up(struct task *t, struct err *e)
{
	uint32_t count;

	if (piece_count(t->store->content_length, t->store->piece_length, &count, e) < 0)
		return -1;
	if (t->in_flight == NULL || count != t->piece_count) {
		free(t->in_flight);
		t->in_flight = xcalloc((size_t)count / 64 + 1, sizeof *t->in_flight);
		t->piece_count = count;
	}
	return 0;
}

bool
prepare_is_known(struct task *t)
{
	const struct store_task *s = t->store;

	return s->content_length != STORE_LENGTH_UNKNOWN && s->piece_length != 0 && ((s->failed_at == 0 && !s->is_recovered) || s->finished_at != 0) &&
	    prepare_set_up(t, NULL) == 0;
}

static bool
carries_credentials(const struct origin_target *t)
{
	for (size_t i = 0; i < t->request.headers.count; i++)
		if (slice_ieq_str(slice_str(t->request.headers.at[i].name), "authorization"))
			return true;
	return false;
}

/* Makes the record and the file from what the origin said. */
static int
start_in_store(struct task *t, const struct source_response *r, uint64_t piece_length, struct err *e)
{
	struct store_header *headers = xcalloc(r->headers.count + 1, sizeof *headers);
	struct store_start start = {
		.content_length = r->has_length ? r->length : STORE_LENGTH_UNKNOWN, .piece_length = piece_length, .headers = headers,
		.etag = r->validators.etag, .last_modified = r->validators.last_modified,
	};
	char url[URL_REDACTED_MAX];
	bool was_reset = false;
	int rc;

	for (size_t i = 0; i < r->headers.count && start.header_count < STORE_HEADERS_MAX; i++)
		if (!is_private_header(r->headers.at[i].name))
			headers[start.header_count++] = (struct store_header){.name = r->headers.at[i].name, .value = r->headers.at[i].value};
	start.is_private = carries_credentials(t->target);
	start.url = url_redact_text(slice_str(t->target->request.url), url);
	if (t->store->kind == STORE_PERSISTENT)
		start.ttl = t->engine->o.config->gc.policy.persistent_task_ttl_ms * 1000000;
	rc = store_task_start(t->store, &start, clock_wall_ns(), &was_reset, e);
	if (rc == 0 && was_reset)
		log_info("the origin's content changed, pieces dropped task=%s", t->id);
	free(headers);
	return rc;
}

/* ---- content of unknown length ---- */

static void
stream_on_piece(struct origin_job *job, const struct origin_piece *p)
{
	struct task *t = job->owner;
	struct store_piece piece = {
		.number = p->number, .offset = p->offset, .length = p->length, .has_crc = true, .crc = p->crc, .traffic_type = STORE_FROM_SOURCE,
		.created_at = p->started_ns, .finished_at = clock_wall_ns(), .cost_ns = (uint64_t)p->cost_ns,
	};
	struct err e;

	if (t->is_deleted)
		return;
	/* The last, shorter piece fits only once the length is known. */
	if (p->length < job->piece_length && store_task_set_length(t->store, p->offset + p->length, &e) < 0)
		goto fail;
	if (store_piece_finish(t->store, &piece, &e) == 0) {
		task_count_piece(t, &piece);
		return;
	}
fail:
	log_error("piece cannot be kept task=%s piece=%u error=\"%s\"", t->id, (unsigned)p->number, e.text);
	origin_cancel(job);
}

static void
stream_on_done(struct origin_job *job)
{
	struct task *t = job->owner;
	struct err e = {0};

	t->stream = NULL;
	t->engine->metrics.backend_finished += !job->has_failed;
	t->engine->metrics.backend_failed += job->has_failed;
	if (t->is_deleted) {
		task_settle(t);
	} else if (job->has_failed) {
		store_task_fail(t->store, clock_wall_ns());
		task_prepared(t, &job->error.e.err, &job->error);
	} else if ((t->store->content_length == STORE_LENGTH_UNKNOWN && store_task_set_length(t->store, job->received, &e) < 0) ||
	    prepare_set_up(t, &e) < 0 || store_task_finish(t->store, clock_wall_ns(), &e) < 0) {
		task_prepared(t, &e, NULL);
	} else {
		task_prepared(t, NULL, NULL);
	}
	origin_job_clear(job);
	free(job);
}

static int
stream_start(struct task *t, uint64_t piece_length, struct err *e)
{
	struct origin_job *job = xcalloc(1, sizeof *job);

	job->file = store_task_file(t->store, e);
	if (job->file == NULL) {
		free(job);
		return -1;
	}
	job->target = origin_target_ref(t->target);
	job->last = UINT32_MAX;
	job->piece_length = piece_length;
	job->content_length = UINT64_MAX;
	job->limits[0] = &t->engine->source;
	job->limits[1] = &t->engine->download;
	job->piece_done = stream_on_piece;
	job->done = stream_on_done;
	job->owner = t;
	t->stream = job;
	t->engine->metrics.backend_started++;
	log_info("origin does not tell the length, reading it in sequence task=%s", t->id);
	origin_job_start(workers_take(t->engine->o.workers), t->engine->o.loop, job);
	return 0;
}

/* ---- stat ---- */

static uint64_t
wanted_piece_length(const struct task *t)
{
	LIST_EACH(it, next, &t->callers) {
		const struct common_download *d = &CONTAINER_OF(it, struct task_caller, link)->download;

		if (d->has_piece_length)
			return d->piece_length;
	}
	return 0;
}

static void
stat_on_done(struct origin_stat *s)
{
	struct task *t = s->owner;
	const struct source_response *r = &s->response;
	uint64_t piece_length;
	struct err e = {0};

	t->stat = NULL;
	if (t->is_deleted) {
		task_settle(t);
		goto out;
	}
	if (s->has_failed) {
		store_task_fail(t->store, clock_wall_ns());
		task_prepared(t, &s->error.e.err, &s->error);
		goto out;
	}
	piece_length = wanted_piece_length(t);
	if (piece_length == 0)
		piece_length = r->has_length ? piece_length_auto(r->length) : PIECE_LENGTH_MIN;
	t->lacks_range = !r->supports_range;
	if (start_in_store(t, r, piece_length, &e) < 0)
		task_prepared(t, &e, NULL);
	else if (!r->has_length) {
		if (stream_start(t, piece_length, &e) < 0)
			task_prepared(t, &e, NULL);
	} else if (prepare_set_up(t, &e) < 0)
		task_prepared(t, &e, NULL);
	else {
		/* An empty content has no piece whose coming would finish it. */
		if (r->length == 0 && store_task_finish(t->store, clock_wall_ns(), &e) < 0)
			task_prepared(t, &e, NULL);
		else
			task_prepared(t, NULL, NULL);
	}
out:
	origin_stat_free(s);
}

void
prepare_ask_origin(struct task *t, struct task_caller *c)
{
	struct engine *g = t->engine;
	struct origin_stat *s;
	struct err e;

	origin_target_unref(t->target);
	t->target = origin_target_new(&c->download, g->o.config->download.piece_timeout_ms, g->o.insecure_skip_verify,
	    c->is_guarded);
	t->phase = TASK_PREPARING;
	if (t->target == NULL) {
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "request of task %s is too large", t->id);
		task_prepared(t, &e, NULL);
		return;
	}
	s = xcalloc(1, sizeof *s);
	s->target = origin_target_ref(t->target);
	s->done = stat_on_done;
	s->owner = t;
	t->stat = s;
	origin_stat_start(workers_take(g->o.workers), g->o.loop, s);
}

void
prepare_start(struct task *t, struct task_caller *c)
{
	if (t->store->kind == STORE_STANDARD)
		prepare_ask_origin(t, c);
	else
		prepare_ask_scheduler(t);
}

void
prepare_cancel(struct task *t)
{
	if (t->question != NULL)
		rpc_call_cancel(t->question);
	t->question = NULL;
	if (t->stat != NULL)
		atomic_store(&t->stat->is_cancelled, true);
	if (t->stream != NULL)
		origin_cancel(t->stream);
}
