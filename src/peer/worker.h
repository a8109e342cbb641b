/*
 * The data loops: each runs in its own thread and moves bytes, so that no disk or digest delays a decision. A worker holds what
 * transfers on its loop share: connections to parents and to origins. The control loop starts work and gets the result back as a letter.
 * What blocks for long (syncs, removals, digests, copies) has threads of its own, so that it stalls no transfer.
 */
#ifndef PEER_WORKER_H
#define PEER_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"

struct err;
struct fetch_pool;
struct source;
struct source_config;

/* Data loops beyond this bring nothing: they wait for the same disk and network. */
#define WORKERS_MAX 64
/* Threads for digests, checks and copies of whole files: two, so that a small file does not wait for a large one alone. */
#define WORKERS_FILES 2

struct worker {
	struct loop *loop;
	struct fetch_pool *parents;     /* the worker's loop only; NULL on threads for blocking work */
	struct source *source;          /* likewise */
	unsigned jobs;                  /* transfers under way, to children too; the control loop's count */
};

struct workers {
	struct loop *home;              /* the control loop */
	struct worker at[WORKERS_MAX];
	size_t count;
	struct worker files[WORKERS_FILES];
	size_t file_count;
	struct worker disk;             /* syncs and removals: one at a time, since they wait for the same disk */
};

/* Starts `count` threads (0: online CPUs, at least 2). NULL with nothing left running when one cannot be made. */
struct workers *workers_new(struct loop *home, unsigned count, const struct source_config *source, struct err *e);
/* Ends the threads and frees all. No job may be under way; letters that are already posted home are still delivered by the home loop. */
void workers_free(struct workers *w);

/* The worker with the least to do, its count raised; give it back with worker_release when the job's letter is home. */
struct worker *workers_take(struct workers *w);
/* The same, but `now` when no other has less. */
struct worker *workers_take_or_stay(struct workers *w, struct worker *now);
void worker_release(struct worker *w);
/* Raises the count of this one, whatever the others have. */
struct worker *worker_use(struct worker *w);

/*
 * Blocking work on a thread of its own: `work` runs there and `done` at home afterwards; the job is the caller's and must live until then.
 */
struct work_job {
	struct loop_msg msg;
	struct workers *workers;
	struct worker *worker;
	void (*work)(struct work_job *job);
	void (*done)(struct work_job *job);
};

/* Digests, copies, checks. */
void work_start(struct workers *w, struct work_job *job);
/* Syncs and removals, which may wait for the disk for seconds. */
void work_start_disk(struct workers *w, struct work_job *job);

#endif
