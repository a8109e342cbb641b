/*
 * Preheating and looking at what peers have of a file (spec: manager.md B4 to B7): a job is a list of URLs and a choice of hosts, each of
 * which is asked for a download as if a peer had asked. Belongs to the scheduler's loop.
 */
#ifndef SCHEDULER_PREHEAT_H
#define SCHEDULER_PREHEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "net/loop.h"
#include "text/task_id.h"

struct common_download;
struct err;
struct image_client;
struct rpc_stream;
struct scheduler;

/* Jobs at once; one more is RESOURCE_EXHAUSTED. */
#define PREHEAT_JOBS_MAX 64u
/* URLs of one job: a directory of files, the layers of an image. */
#define PREHEAT_URLS_MAX 10000u
/* Calls to hosts of all jobs together. */
#define PREHEAT_CALLS_MAX 2048u
#define PREHEAT_TASKS_DEFAULT 8u
#define PREHEAT_PEERS_DEFAULT 500u
#define PREHEAT_TIMEOUT_MS (60 * 60 * 1000)
#define PREHEAT_TIMEOUT_MAX_MS (24 * 60 * 60 * 1000)

enum preheat_scope { PREHEAT_SINGLE_SEED, PREHEAT_ALL_SEEDS, PREHEAT_ALL_PEERS };

struct preheat_request {
	const struct common_download *download; /* of each URL, but for the URL; copied */
	enum preheat_scope scope;
	const struct slice *ips;        /* beat count, which beats percentage */
	size_t n_ips;
	uint32_t count, percentage;     /* 0: not given */
	uint32_t tasks, peers;          /* at once; 0: the defaults */
	int64_t timeout_ms;             /* 0: PREHEAT_TIMEOUT_MS */
};

struct preheat {
	struct scheduler *s;
	struct list jobs, calls;
	size_t n_jobs, n_calls;
	uint64_t numbers;
	struct image_client *images;
};

struct preheat *preheat_new(struct scheduler *s);
/* Cancels what runs. */
void preheat_free(struct preheat *p);
/* Begins a job: it goes on by itself. -1 when it cannot be: FAILED_PRECONDITION when the scope has no host. */
int preheat_start(struct preheat *p, const struct preheat_request *r, const struct slice *urls, size_t n_urls, struct err *e);
/* Adds the calls to the scheduler's table. */
void preheat_add_methods(struct scheduler *s);

/* Between the files of preheating: the list of query parameters that no task's id has when none is named. */
void preheat_default_filters(struct common_download *d);
/* preheat_stat.c */
void preheat_stat_add_methods(struct scheduler *s);

/* The id of the task that this Download is, by its URL or the digest in it (spec: download.md 1.4). */
int preheat_task_id(const struct common_download *d, char out[TASK_ID_SIZE], struct err *e);

#endif
