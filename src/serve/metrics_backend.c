#include "serve/metrics_backend.h"

#include <string.h>

#include "source/source.h"

const char *const metrics_schemes[METRICS_SCHEMES] = {
	"http", "https", "s3", "gs", "abs", "oss", "obs", "cos", "hdfs", "hf", "modelscope", "other",
};
const char *const metrics_methods[METRICS_METHODS] = {"HEAD", "GET", "PUT"};

static size_t
place(const char *const *names, size_t n, const char *name)
{
	size_t i = 0;

	while (i + 1 < n && strcmp(names[i], name) != 0)
		i++;
	return i;
}

static struct metrics_backend_row *
row(struct metrics_backend *b, const char *scheme, const char *method)
{
	return &b->rows[place(metrics_schemes, METRICS_SCHEMES, scheme)][place(metrics_methods, METRICS_METHODS, method)];
}

static void
on_start(void *ctx, const char *scheme, const char *method)
{
	atomic_fetch_add_explicit(&row(ctx, scheme, method)->started, 1, memory_order_relaxed);
}

static void
on_failure(void *ctx, const char *scheme, const char *method)
{
	atomic_fetch_add_explicit(&row(ctx, scheme, method)->failed, 1, memory_order_relaxed);
}

static void
on_success(void *ctx, const char *scheme, const char *method, int64_t duration_ms)
{
	struct metrics_backend_row *r = row(ctx, scheme, method);
	struct stats_histogram one = {0};

	stats_observe(&one, duration_ms);
	for (size_t i = 0; i < STATS_BUCKETS; i++)
		if (one.counts[i] != 0)
			atomic_fetch_add_explicit(&r->buckets[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&r->sum_ms, one.sum_ms, memory_order_relaxed);
}

struct source_observer
metrics_backend_observer(struct metrics_backend *b)
{
	return (struct source_observer){.ctx = b, .on_start = on_start, .on_success = on_success, .on_failure = on_failure};
}
