/*
 * How long a store of many tasks takes to open, and in how much memory: bench_store DIR [tasks [pieces a task]] fills it, bench_store DIR
 * opens it, bench_store DIR expire empties it in the end.
 * Also what journaling costs a piece.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "store/store.h"

#define PIECE 1         /* one byte a piece: only the bookkeeping is measured */
#define ZERO_CRC 0xd202ef8d     /* crc32 of one zero byte */
#define SLICE_NS 5000000        /* as the daemon does it */
#define SLICE_TASKS 2000

static void
fail(const struct err *e)
{
	fprintf(stderr, "bench_store: %s\n", e->text);
	exit(1);
}

static void
fill(struct store *s, unsigned tasks, unsigned pieces)
{
	struct store_start start = { .content_length = pieces, .piece_length = PIECE, .etag = "\"0123456789abcdef\"", .url = "http://origin/file" };
	struct err e = {0};
	char id[STORE_ID_MAX + 1];

	for (unsigned i = 0; i < tasks; i++) {
		struct store_task *t;

		snprintf(id, sizeof(id), "%03x%061x", i % 4096, i);
		t = store_task_begin(s, STORE_STANDARD, id, clock_wall_ns(), &e);
		if (!t || store_task_start(t, &start, clock_wall_ns(), NULL, &e) < 0)
			fail(&e);
		for (uint32_t n = 0; n < pieces; n++) {
			struct store_piece p = { .number = n, .offset = n, .length = PIECE, .has_crc = true, .crc = ZERO_CRC, .created_at = 1, .finished_at = 2 };

			if (store_piece_finish(t, &p, &e) < 0)
				fail(&e);
		}
		if (store_task_finish(t, clock_wall_ns(), &e) < 0)
			fail(&e);
		if (i % 256 == 0)
			store_tick(s, clock_wall_ns());
	}
}

static long
peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static double
cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* All slices of one collection, as the daemon's loop runs them. */
static void
collect(struct store *s, const char *what, const struct store_gc_limits *limits)
{
	struct store_gc_result r;
	double cpu = cpu_seconds();
	int64_t worst = 0, now = clock_wall_ns();
	size_t slices = 0, expired = 0, evicted = 0;

	do {
		int64_t start = clock_mono_ns(), took;

		store_gc_pass(s, now, limits, SLICE_TASKS, &r);
		took = clock_mono_ns() - start;
		worst = took > worst ? took : worst;
		expired += r.expired;
		evicted += r.evicted;
		slices++;
	} while (r.has_more);
	printf("collection, %s: %.3f s of processor time in %zu slices, the longest %.1f ms; %zu expired, %zu evicted\n", what, cpu_seconds() - cpu,
		slices, (double)worst / 1e6, expired, evicted);
}

int
main(int argc, char **argv)
{
	unsigned tasks = argc > 2 && strcmp(argv[2], "expire") != 0 ? (unsigned)atoi(argv[2]) : 100000, pieces = argc > 3 ? (unsigned)atoi(argv[3]) : 20;
	struct store_options o = { .keep = true, .sync = STORE_SYNC_NONE };
	struct store_gc_limits idle = { .task_ttl = INT64_MAX / 2, .high_percent = 99, .low_percent = 98, .max_ns = SLICE_NS };
	struct store_gc_limits caches = { .page_cache_idle = 1, .max_ns = SLICE_NS }, old = { .task_ttl = 1, .max_ns = SLICE_NS };
	struct store_usage u;
	struct err e = {0};
	struct store *s;
	int64_t start;
	uint64_t found = 0;
	size_t at = 0;
	struct store_task *t;

	if (argc < 2) {
		fprintf(stderr, "usage: bench_store DIR [tasks [pieces] | expire]\n");
		return 2;
	}
	log_set_level(LOG_ERROR);
	o.dir = argv[1];
	start = clock_mono_ns();
	s = store_open(&o, &e);
	if (!s)
		fail(&e);
	printf("open %.3f s, peak %ld KiB\n", (double)(clock_mono_ns() - start) / 1e9, peak_kib());
	if (store_usage(s, &u, &e) < 0)
		fail(&e);
	if (u.tasks[STORE_STANDARD] == 0) {
		start = clock_mono_ns();
		fill(s, tasks, pieces);
		printf("filled with %u tasks of %u pieces: %.1f us a task with its pieces\n", tasks, pieces,
			(double)(clock_mono_ns() - start) / 1e3 / tasks);
	} else {
		collect(s, "nothing to do", &idle);
		collect(s, "page cache of all tasks", &caches);
		start = clock_mono_ns();
		while ((t = store_task_next(s, STORE_STANDARD, &at)) != NULL) {
			found += store_task_prefix(t);
			if (at % 64 == 0)
				store_tick(s, clock_wall_ns());
		}
		printf("journals of all tasks replayed (%" PRIu64 " pieces) %.3f s, peak %ld KiB\n", found, (double)(clock_mono_ns() - start) / 1e9,
			peak_kib());
	}
	if (argc > 2 && strcmp(argv[2], "expire") == 0)
		collect(s, "all tasks expired", &old);
	store_close(s);
	return 0;
}
