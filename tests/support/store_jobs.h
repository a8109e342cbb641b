/*
 * The thread that runs a store's jobs, as the daemon has one, for programs without its loop. One a process.
 */
#ifndef SUPPORT_STORE_JOBS_H
#define SUPPORT_STORE_JOBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "store/store.h"

/* A store starts few at a time; the rest waits inside it. */
#define STORE_JOBS_QUEUE 64u

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct store_job *todo[STORE_JOBS_QUEUE], *done[STORE_JOBS_QUEUE];
	unsigned first, todo_count, done_count;
} store_jobs = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static inline void *
store_jobs_thread(void *arg)
{
	(void)arg;
	for (;;) {
		struct store_job *job;

		pthread_mutex_lock(&store_jobs.lock);
		while (store_jobs.todo_count == 0)
			pthread_cond_wait(&store_jobs.wake, &store_jobs.lock);
		job = store_jobs.todo[store_jobs.first];
		store_jobs.first = (store_jobs.first + 1) % STORE_JOBS_QUEUE;
		store_jobs.todo_count--;
		pthread_mutex_unlock(&store_jobs.lock);
		store_job_run(job);
		pthread_mutex_lock(&store_jobs.lock);
		if (store_jobs.done_count == STORE_JOBS_QUEUE)
			abort();
		store_jobs.done[store_jobs.done_count++] = job;
		pthread_mutex_unlock(&store_jobs.lock);
	}
	return NULL;
}

/* Before the store is opened. 0 or -1. */
static inline int
store_jobs_begin(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, store_jobs_thread, NULL) == 0 && pthread_detach(thread) == 0 ? 0 : -1;
}

/* store_options.run */
static inline void
store_jobs_run(void *arg, struct store_job *job)
{
	(void)arg;
	pthread_mutex_lock(&store_jobs.lock);
	if (store_jobs.todo_count == STORE_JOBS_QUEUE)
		abort();
	store_jobs.todo[(store_jobs.first + store_jobs.todo_count++) % STORE_JOBS_QUEUE] = job;
	pthread_cond_signal(&store_jobs.wake);
	pthread_mutex_unlock(&store_jobs.lock);
}

/* One that is done goes back to its store; false: there is none. */
static inline bool
store_jobs_collect(void)
{
	struct store_job *job;

	pthread_mutex_lock(&store_jobs.lock);
	job = store_jobs.done_count > 0 ? store_jobs.done[--store_jobs.done_count] : NULL;
	pthread_mutex_unlock(&store_jobs.lock);
	if (job)
		store_job_done(job);
	return job != NULL;
}

#endif
