/*
 * Seeds: the ring that chooses one for a task, and the record of what a seed was asked to bring. The calls themselves are made
 * by the service.
 */
#ifndef SCHEDULER_SEED_H
#define SCHEDULER_SEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "scheduler/resource.h"

struct common_download;

/* Points of one seed on the ring, as the Go scheduler has it. */
#define SEED_RING_POINTS 20u
/* Seeds in the ring; real clusters have a few. */
#define SEED_RING_SEEDS_MAX 4096u
/* A failed seed rests this long, then twice as long, up to the longest. */
#define SEED_BACKOFF_MS 30000
#define SEED_BACKOFF_MAX_MS (30 * 60000)
/* After two failed triggers of a task within this time its peers go to the source themselves. */
#define SEED_TASK_FAIL_MS 30000
/* Pending triggers in all: each is an open call. */
#define SEED_TRIGGERS_MAX 4096u

struct seed_point {
	uint32_t at;
	struct sched_host *host;
};

struct seed_ring {
	struct seed_point *points;      /* ascending */
	size_t n;
	size_t n_seeds;
	bool is_stale;                  /* a seed came, went or moved: built anew at the next use */
};

void seed_ring_free(struct seed_ring *ring);
/* The seed for a task: the owner of the next point, or the first one clockwise that is usable now and is not `except`. NULL: none. */
struct sched_host *seed_ring_find(struct seed_ring *ring, struct sched_resources *r, const char *task_id,
	const struct sched_host *except);
/* Type, address, age, backoff. */
bool seed_is_usable(const struct sched_resources *r, const struct sched_host *h);
void seed_failed(struct sched_resources *r, struct sched_host *h);
void seed_worked(struct sched_host *h);

/* One DownloadTask asked of a seed. */
struct sched_trigger {
	struct list in_task;            /* sched_task.triggers */
	struct list all;
	struct sched_task *task;
	struct sched_host *seed;        /* NULL when the host is gone */
	bool has_range;
	uint64_t range_start, range_length;
	bool is_live;                   /* it answered or its peer registered */
	bool is_second;                 /* the first seed failed */
	int64_t started_ms;
	uint8_t *download;              /* what to ask for; forgotten when it is live */
	size_t n_download;
	void *call;                     /* the service's */
};

/* Makes a registrant's Download one for a seed: need_back_to_source set; output_path, force_hard_link, overwrite,
 * need_piece_content, prefetch and metadata_only cleared; the rest stays, fields we do not know included. */
void seed_rewrite_download(struct common_download *d);

#endif
