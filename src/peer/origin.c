#include "peer/origin.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "peer/pieces.h"
#include "peer/worker.h"
#include "proto/common.h"
#include "store/file.h"

/* Memory of one target's url, headers and certificates; a request of at most 4 MiB brought them. */
#define TARGET_BYTES ((size_t)8 << 20)

/* ---- targets ---- */

struct origin_target *
origin_target_new(const struct common_download *d, int64_t timeout_ms, bool insecure, bool guarded)
{
	struct origin_target *t = xcalloc(1, sizeof *t);
	struct source_header *headers;
	struct slice *certs;
	size_t n = 0;

	arena_init(&t->arena, TARGET_BYTES);
	t->refs = 1;
	headers = arena_alloc(&t->arena, (d->n_request_header + 1) * sizeof *headers);
	certs = arena_alloc(&t->arena, (d->n_certificate_chain + 1) * sizeof *certs);
	t->request.url = arena_copy(&t->arena, d->url.p, d->url.n);
	if (headers == NULL || certs == NULL || t->request.url == NULL)
		goto fail;
	for (size_t i = 0; i < d->n_request_header; i++) {
		const struct pb_pair *h = &d->request_header[i];

		if (slice_ieq_str(h->key, "range"))
			continue;
		headers[n].name = arena_copy(&t->arena, h->key.p, h->key.n);
		headers[n].value = arena_copy(&t->arena, h->value.p, h->value.n);
		if (headers[n].name == NULL || headers[n].value == NULL)
			goto fail;
		n++;
	}
	for (size_t i = 0; i < d->n_certificate_chain; i++) {
		certs[i].n = d->certificate_chain[i].n;
		certs[i].p = arena_copy(&t->arena, d->certificate_chain[i].p, certs[i].n);
		if (certs[i].p == NULL)
			goto fail;
	}
	t->request.headers = (struct source_headers){.at = headers, .count = n};
	t->request.ca_certs = certs;
	t->request.ca_cert_count = d->n_certificate_chain;
	t->request.timeout_ms = timeout_ms;
	t->request.insecure_skip_verify = insecure;
	t->request.is_guarded = guarded;
	return t;
fail:
	origin_target_unref(t);
	return NULL;
}

struct origin_target *
origin_target_ref(struct origin_target *t)
{
	t->refs++;
	return t;
}

void
origin_target_unref(struct origin_target *t)
{
	if (t == NULL || --t->refs > 0)
		return;
	arena_free(&t->arena);
	free(t);
}

/* ---- keeping what a callback shows ---- */

static void
copy_headers(struct arena *a, struct source_headers *out, const struct source_headers *in)
{
	struct source_header *h = arena_alloc(a, (in->count + 1) * sizeof *h);
	size_t n = 0;

	for (size_t i = 0; h != NULL && i < in->count; i++) {
		h[n].name = arena_strdup(a, in->at[i].name);
		h[n].value = arena_strdup(a, in->at[i].value);
		if (h[n].name == NULL || h[n].value == NULL)
			break;
		n++;
	}
	*out = (struct source_headers){.at = h, .count = n};
}

static const char *
copy_text(struct arena *a, const char *s)
{
	return s == NULL ? NULL : arena_strdup(a, s);
}

static void
copy_error(struct origin_error *out, const struct source_error *e)
{
	out->e = *e;
	out->e.message = copy_text(&out->arena, e->message);
	copy_headers(&out->arena, &out->e.headers, &e->headers);
}

static void
copy_response(struct arena *a, struct source_response *out, const struct source_response *r)
{
	*out = *r;
	copy_headers(a, &out->headers, &r->headers);
	out->validators.etag = copy_text(a, r->validators.etag);
	out->validators.last_modified = copy_text(a, r->validators.last_modified);
	out->validators.content_encoding = copy_text(a, r->validators.content_encoding);
}

static void
set_cancelled(struct origin_error *out)
{
	out->e = (struct source_error){.failure = SOURCE_CANCELLED};
	err_set(&out->e.err, ERR_CANCELLED, "cancelled");
}

/* ---- stat ---- */

static void
stat_is_home(struct loop_msg *msg)
{
	struct origin_stat *s = CONTAINER_OF(msg, struct origin_stat, msg);

	worker_release(s->worker);
	s->done(s);
}

static void
stat_finish(struct origin_stat *s)
{
	loop_timer_clear(s->worker->loop, &s->cancel_timer);
	s->op = NULL;
	s->msg.run = stat_is_home;
	loop_post(s->home, &s->msg);
}

static void
stat_on_response(void *ctx, const struct source_response *r)
{
	struct origin_stat *s = ctx;

	copy_response(&s->arena, &s->response, r);
}

static void
stat_on_data(void *ctx, const void *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

static void
stat_on_end(void *ctx)
{
	stat_finish(ctx);
}

static void
stat_on_error(void *ctx, const struct source_error *e)
{
	struct origin_stat *s = ctx;

	s->has_failed = true;
	copy_error(&s->error, e);
	stat_finish(s);
}

static void
stat_watch_cancel(void *ctx)
{
	struct origin_stat *s = ctx;

	if (!atomic_load(&s->is_cancelled)) {
		loop_timer_set(s->worker->loop, &s->cancel_timer, ORIGIN_CANCEL_MS, stat_watch_cancel, s);
		return;
	}
	source_cancel(s->op);
	s->has_failed = true;
	set_cancelled(&s->error);
	stat_finish(s);
}

static void
stat_in_thread(struct loop_msg *msg)
{
	static const struct source_events events = {
		.on_response = stat_on_response, .on_data = stat_on_data, .on_end = stat_on_end, .on_error = stat_on_error,
	};
	struct origin_stat *s = CONTAINER_OF(msg, struct origin_stat, msg);

	s->op = source_stat(s->worker->source, &s->target->request, &events, s);
	loop_timer_set(s->worker->loop, &s->cancel_timer, ORIGIN_CANCEL_MS, stat_watch_cancel, s);
}

void
origin_stat_start(struct worker *w, struct loop *home, struct origin_stat *s)
{
	arena_init(&s->arena, ORIGIN_ERROR_BYTES);
	arena_init(&s->error.arena, ORIGIN_ERROR_BYTES);
	s->worker = w;
	s->home = home;
	s->msg.run = stat_in_thread;
	loop_post(w->loop, &s->msg);
}

void
origin_stat_free(struct origin_stat *s)
{
	arena_free(&s->arena);
	arena_free(&s->error.arena);
	origin_target_unref(s->target);
	free(s);
}

/* ---- get ---- */

static void
job_is_home(struct loop_msg *msg)
{
	struct origin_job *job = CONTAINER_OF(msg, struct origin_job, msg);

	worker_release(job->worker);
	job->done(job);
}

static void
job_finish(struct origin_job *job)
{
	loop_timer_clear(job->worker->loop, &job->wait_timer);
	loop_timer_clear(job->worker->loop, &job->cancel_timer);
	job->op = NULL;
	job->msg.run = job_is_home;
	loop_post(job->home, &job->msg);
}

/* Ends the transfer with an error of ours. */
static void
job_stop(struct origin_job *job)
{
	job->has_failed = true;
	source_cancel(job->op);
	job_finish(job);
}

static bool
job_has_piece(const struct origin_job *job, uint32_t n)
{
	return job->have != NULL && n / 64 < job->have_words && (job->have[n / 64] >> (n % 64) & 1) != 0;
}

static void
job_begin_piece(struct origin_job *job)
{
	uint64_t length = job->content_length == UINT64_MAX ? job->piece_length :
	    piece_size(job->content_length, job->piece_length, job->number);

	job->sink = (struct sink){.file = job->file, .offset = (uint64_t)job->number * job->piece_length, .length = length};
	memcpy(job->sink.limits, job->limits, sizeof job->limits);
	job->piece_started_ns = clock_wall_ns();
	job->piece_started_mono = clock_mono_ns();
	if (job_has_piece(job, job->number)) {
		job->skip = length;
		job->sink.length = 0;
	}
}

static void
piece_is_home(struct loop_msg *msg)
{
	struct origin_piece *p = CONTAINER_OF(msg, struct origin_piece, msg);

	p->job->piece_done(p->job, p);
	free(p);
}

static void
job_end_piece(struct origin_job *job)
{
	struct origin_piece *p;

	if (job->sink.done > 0) {
		p = xcalloc(1, sizeof *p);
		*p = (struct origin_piece){
			.msg = {.run = piece_is_home}, .job = job, .number = job->number, .offset = job->sink.offset, .length = job->sink.done,
			.crc = job->sink.crc, .started_ns = job->piece_started_ns, .cost_ns = clock_mono_ns() - job->piece_started_mono,
		};
		loop_post(job->home, &p->msg);
	}
	job->number++;
}

static void
job_resume(void *ctx)
{
	struct origin_job *job = ctx;

	source_resume(job->op);
}

/* True when the last piece that is wanted is complete. */
static bool
job_is_complete(const struct origin_job *job)
{
	return job->number > job->last ||
	    (job->content_length != UINT64_MAX && (uint64_t)job->number * job->piece_length >= job->content_length);
}

/* The last wanted piece is there. At the end of the answer its connection is worth keeping: on_end follows at once. */
static void
job_complete(struct origin_job *job, size_t rest)
{
	bool is_at_end = job->use_range || (uint64_t)job->number * job->piece_length >= job->content_length;

	job->is_complete = true;
	if (is_at_end && rest == 0)
		return;
	source_cancel(job->op);
	job_finish(job);
}

static void
job_on_response(void *ctx, const struct source_response *r)
{
	(void)ctx;
	(void)r;
}

static void
job_on_data(void *ctx, const void *data, size_t n)
{
	struct origin_job *job = ctx;
	const uint8_t *p = data;
	int64_t wait, longest = 0;

	job->received += n;
	while (n > 0) {
		size_t part;

		if (job->skip > 0) {
			part = job->skip < n ? (size_t)job->skip : n;
			job->skip -= part;
		} else {
			uint64_t missing = job->sink.length - job->sink.done;

			part = missing < n ? (size_t)missing : n;
			if (sink_write(&job->sink, p, part, &wait, &job->error.e.err) < 0) {
				job->error.e.failure = SOURCE_CANCELLED;
				job->has_disk_error = true;
				job_stop(job);
				return;
			}
			if (wait > longest)
				longest = wait;
		}
		p += part;
		n -= part;
		if (job->skip == 0 && job->sink.done == job->sink.length) {
			job_end_piece(job);
			if (job_is_complete(job)) {
				job_complete(job, n);
				return;
			}
			job_begin_piece(job);
		}
	}
	if (longest > 0) {
		source_pause(job->op);
		loop_timer_set(job->worker->loop, &job->wait_timer, longest, job_resume, job);
	}
}

static void
job_on_end(void *ctx)
{
	struct origin_job *job = ctx;

	if (job->is_complete) {
		job_finish(job);
		return;
	}
	if (job->content_length == UINT64_MAX) {
		job_end_piece(job);
	} else {
		job->has_failed = true;
		job->error.e = (struct source_error){.failure = SOURCE_LENGTH_MISMATCH, .is_temporary = true};
		err_set(&job->error.e.err, ERR_INTERNAL, "backend error: the origin's answer ended after %llu bytes",
		    (unsigned long long)job->received);
	}
	job_finish(job);
}

static void
job_on_error(void *ctx, const struct source_error *e)
{
	struct origin_job *job = ctx;

	if (!job->is_complete) {
		job->has_failed = true;
		copy_error(&job->error, e);
	}
	job_finish(job);
}

static void
job_watch_cancel(void *ctx)
{
	struct origin_job *job = ctx;

	if (!atomic_load(&job->is_cancelled)) {
		loop_timer_set(job->worker->loop, &job->cancel_timer, ORIGIN_CANCEL_MS, job_watch_cancel, job);
		return;
	}
	set_cancelled(&job->error);
	job_stop(job);
}

static void
job_in_thread(struct loop_msg *msg)
{
	static const struct source_events events = {
		.on_response = job_on_response, .on_data = job_on_data, .on_end = job_on_end, .on_error = job_on_error,
	};
	struct origin_job *job = CONTAINER_OF(msg, struct origin_job, msg);
	struct source_request r = job->target->request;
	uint64_t start = (uint64_t)job->first * job->piece_length;

	r.validators = job->validators;
	job->number = job->first;
	job_begin_piece(job);
	if (job->use_range) {
		uint64_t end = job->last == UINT32_MAX ? job->content_length : ((uint64_t)job->last + 1) * job->piece_length;

		r.has_range = true;
		r.range_start = start;
		r.range_length = (end < job->content_length ? end : job->content_length) - start;
	} else {
		job->skip += start;
	}
	job->op = source_get(job->worker->source, &r, &events, job);
	loop_timer_set(job->worker->loop, &job->cancel_timer, ORIGIN_CANCEL_MS, job_watch_cancel, job);
}

void
origin_job_start(struct worker *w, struct loop *home, struct origin_job *job)
{
	arena_init(&job->error.arena, ORIGIN_ERROR_BYTES);
	job->worker = w;
	job->home = home;
	job->msg.run = job_in_thread;
	loop_post(w->loop, &job->msg);
}

void
origin_cancel(struct origin_job *job)
{
	atomic_store(&job->is_cancelled, true);
}

void
origin_job_clear(struct origin_job *job)
{
	arena_free(&job->error.arena);
	origin_target_unref(job->target);
	store_file_unref(job->file);
	free(job->have);
}
