#include "peer/worker.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "peer/fetch.h"
#include "source/source.h"

#define WORKERS_MIN 2

static unsigned
default_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < WORKERS_MIN ? WORKERS_MIN : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

/* Ends what runs on the worker's loop, in the worker's thread: objects die where they live. */
struct closing {
	struct loop_msg msg;
	struct worker *worker;
};

static void
close_in_thread(struct loop_msg *msg)
{
	struct closing *c = CONTAINER_OF(msg, struct closing, msg);

	if (c->worker->parents != NULL)
		fetch_pool_free(c->worker->parents);
	if (c->worker->source != NULL)
		source_free(c->worker->source);
	loop_stop(c->worker->loop);
}

static int
start_data(struct worker *w, const struct source_config *source, struct err *e)
{
	w->loop = loop_new("data", e);
	if (w->loop == NULL)
		return -1;
	w->source = source_new(w->loop, source, e);
	if (w->source == NULL)
		goto fail;
	w->parents = fetch_pool_new(w->loop);
	if (loop_thread_start(w->loop, e) == 0)
		return 0;
	fetch_pool_free(w->parents);
	source_free(w->source);
fail:
	loop_free(w->loop);
	w->loop = NULL;
	return -1;
}

static int
start_blocking(struct worker *w, const char *name, struct err *e)
{
	w->loop = loop_new(name, e);
	if (w->loop == NULL)
		return -1;
	if (loop_thread_start(w->loop, e) == 0)
		return 0;
	loop_free(w->loop);
	w->loop = NULL;
	return -1;
}

struct workers *
workers_new(struct loop *home, unsigned count, const struct source_config *source, struct err *e)
{
	struct workers *w = xcalloc(1, sizeof *w);

	w->home = home;
	if (count == 0)
		count = default_count();
	if (count > WORKERS_MAX)
		count = WORKERS_MAX;
	for (; w->count < count; w->count++)
		if (start_data(&w->at[w->count], source, e) < 0)
			goto fail;
	for (; w->file_count < WORKERS_FILES; w->file_count++)
		if (start_blocking(&w->files[w->file_count], "files", e) < 0)
			goto fail;
	if (start_blocking(&w->disk, "disk", e) < 0)
		goto fail;
	return w;
fail:
	workers_free(w);
	return NULL;
}

void
workers_free(struct workers *w)
{
	struct worker *all[WORKERS_MAX + WORKERS_FILES + 1];
	struct closing closing[COUNT_OF(all)];
	size_t n = 0;

	if (w == NULL)
		return;
	for (size_t i = 0; i < w->count; i++)
		all[n++] = &w->at[i];
	for (size_t i = 0; i < w->file_count; i++)
		all[n++] = &w->files[i];
	if (w->disk.loop != NULL)
		all[n++] = &w->disk;
	for (size_t i = 0; i < n; i++) {
		closing[i] = (struct closing){.msg = {.run = close_in_thread}, .worker = all[i]};
		loop_post(all[i]->loop, &closing[i].msg);
	}
	for (size_t i = 0; i < n; i++) {
		loop_thread_join(all[i]->loop);
		loop_free(all[i]->loop);
	}
	free(w);
}

/* Of equal ones `first`. */
static struct worker *
take_least(struct worker *at, size_t count, struct worker *first)
{
	struct worker *least = first;

	for (size_t i = 0; i < count; i++)
		if (at[i].jobs < least->jobs)
			least = &at[i];
	least->jobs++;
	return least;
}

struct worker *
workers_take(struct workers *w)
{
	return take_least(w->at, w->count, &w->at[0]);
}

struct worker *
workers_take_or_stay(struct workers *w, struct worker *now)
{
	return take_least(w->at, w->count, now);
}

struct worker *
worker_use(struct worker *w)
{
	w->jobs++;
	return w;
}

void
worker_release(struct worker *w)
{
	w->jobs--;
}

static void
work_is_home(struct loop_msg *msg)
{
	struct work_job *job = CONTAINER_OF(msg, struct work_job, msg);

	worker_release(job->worker);
	job->done(job);
}

static void
work_in_thread(struct loop_msg *msg)
{
	struct work_job *job = CONTAINER_OF(msg, struct work_job, msg);

	job->work(job);
	job->msg.run = work_is_home;
	loop_post(job->workers->home, &job->msg);
}

static void
start_on(struct workers *w, struct worker *worker, struct work_job *job)
{
	job->workers = w;
	job->worker = worker;
	job->msg.run = work_in_thread;
	loop_post(worker->loop, &job->msg);
}

void
work_start(struct workers *w, struct work_job *job)
{
	start_on(w, take_least(w->files, w->file_count, &w->files[0]), job);
}

void
work_start_disk(struct workers *w, struct work_job *job)
{
	start_on(w, take_least(&w->disk, 1, &w->disk), job);
}
