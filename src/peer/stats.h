/*
 * What the engine counts beyond plain counters: durations in buckets, and downloads by the labels that their requests carry. Belongs to
 * the control loop. The metrics page (spec: daemon.md 5.1, 5.2) gives these numbers out.
 */
#ifndef PEER_STATS_H
#define PEER_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "base/slice.h"

/* 1, 2, 4 ... 8388608 ms, and everything longer. */
#define STATS_BUCKETS 25
#define STATS_SIZE_LEVELS 21
#define STATS_PRIORITIES 7
/* Pairs of tag and application told apart, and the bytes of each; all beyond is counted under "__other__": labels are chosen by callers. */
#define STATS_PAIRS_MAX 200
#define STATS_LABEL_MAX 128
#define STATS_OTHER "__other__"

struct stats_histogram {
	uint64_t counts[STATS_BUCKETS];         /* of each bucket alone */
	uint64_t sum_ms;
};

void stats_observe(struct stats_histogram *h, int64_t ms);
/* task_size_level of a content of so many bytes. */
unsigned stats_size_level(uint64_t bytes);

/* Downloads with one set of labels. */
struct stats_series {
	uint64_t started, failed;
	uint64_t running;                       /* now */
	uint64_t prefetch_started, prefetch_failed;
};

struct stats_pair {
	char *key;
	char *tag, *application;
	struct stats_series of[STATS_PRIORITIES];
};

struct stats_labels {
	struct map pairs;
	struct stats_pair *other;               /* NULL while nothing went there */
};

void stats_labels_init(struct stats_labels *l);
void stats_labels_free(struct stats_labels *l);
/* The series of a request; valid as long as the labels. Unknown priorities count as 0. */
struct stats_series *stats_labels_get(struct stats_labels *l, struct slice tag, struct slice application, int32_t priority);
/* Walks the pairs, "__other__" last: start with *at == 0; NULL at the end. */
const struct stats_pair *stats_labels_next(const struct stats_labels *l, size_t *at);

#endif
