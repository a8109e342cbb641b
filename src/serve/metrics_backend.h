/*
 * Requests to origins, counted where they are made: on the data loops. The counters are atomic and shared; everything else about
 * them is on the metrics page (spec: backends.md 2.8, daemon.md 5.2).
 */
#ifndef SERVE_METRICS_BACKEND_H
#define SERVE_METRICS_BACKEND_H

#include <stdatomic.h>
#include <stddef.h>

#include "peer/stats.h"

/* The last of each is for whatever else comes. */
#define METRICS_SCHEMES 12
#define METRICS_METHODS 3

extern const char *const metrics_schemes[METRICS_SCHEMES];
extern const char *const metrics_methods[METRICS_METHODS];

struct metrics_backend_row {
	atomic_uint_fast64_t started, failed;
	atomic_uint_fast64_t buckets[STATS_BUCKETS], sum_ms;
};

struct metrics_backend {
	struct metrics_backend_row rows[METRICS_SCHEMES][METRICS_METHODS];
};

struct source_observer;

/* b starts zeroed and outlives all sources that it observes. */
struct source_observer metrics_backend_observer(struct metrics_backend *b);

#endif
