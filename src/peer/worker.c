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

	fetch_pool_free(c->worker->parents);
	source_free(c->worker->source);
	loop_stop(c->worker->loop);
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
	for (unsigned i = 0; i < count; i++) {
		struct worker *worker = &w->at[i];

		worker->loop = loop_new("data", e);
		if (worker->loop == NULL)
			goto fail;
		worker->source = source_new(worker->loop, source, e);
		if (worker->source == NULL) {
			loop_free(worker->loop);
			goto fail;
		}
		worker->parents = fetch_pool_new(worker->loop);
		if (loop_thread_start(worker->loop, e) < 0) {
			fetch_pool_free(worker->parents);
			source_free(worker->source);
			loop_free(worker->loop);
			goto fail;
		}
		w->count++;
	}
	return w;
fail:
	workers_free(w);
	return NULL;
}

void
workers_free(struct workers *w)
{
	struct closing closing[WORKERS_MAX];

	if (w == NULL)
		return;
	for (size_t i = 0; i < w->count; i++) {
		closing[i] = (struct closing){.msg = {.run = close_in_thread}, .worker = &w->at[i]};
		loop_post(w->at[i].loop, &closing[i].msg);
	}
	for (size_t i = 0; i < w->count; i++) {
		loop_thread_join(w->at[i].loop);
		loop_free(w->at[i].loop);
	}
	free(w);
}

struct worker *
workers_take(struct workers *w)
{
	struct worker *least = &w->at[0];

	for (size_t i = 1; i < w->count; i++)
		if (w->at[i].jobs < least->jobs)
			least = &w->at[i];
	least->jobs++;
	return least;
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

void
work_start(struct workers *w, struct work_job *job)
{
	job->workers = w;
	job->worker = workers_take(w);
	job->msg.run = work_in_thread;
	loop_post(job->worker->loop, &job->msg);
}
