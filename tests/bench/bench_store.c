/*
 * How long a store of many tasks takes to open, and in how much memory: bench_store DIR [tasks [pieces a task]].
 * Also what journaling costs a piece.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "store/store.h"

#define PIECE 1         /* one byte a piece: only the bookkeeping is measured */

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
			struct store_piece p = { .number = n, .offset = n, .length = PIECE, .has_crc = true, .created_at = 1, .finished_at = 2 };

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

int
main(int argc, char **argv)
{
	unsigned tasks = argc > 2 ? (unsigned)atoi(argv[2]) : 100000, pieces = argc > 3 ? (unsigned)atoi(argv[3]) : 20;
	struct store_options o = { .keep = true, .sync = STORE_SYNC_NONE };
	struct store_gc_limits limits = { .task_ttl = INT64_MAX / 2, .high_percent = 99, .low_percent = 98 };
	struct store_gc_result r;
	struct store_usage u;
	struct err e = {0};
	struct store *s;
	int64_t start;
	uint64_t found = 0;
	size_t at = 0;
	struct store_task *t;

	if (argc < 2) {
		fprintf(stderr, "usage: bench_store DIR [tasks [pieces]]\n");
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
		start = clock_mono_ns();
		store_gc_pass(s, clock_wall_ns(), &limits, SIZE_MAX, &r);
		printf("collection pass over %zu tasks %.3f s\n", u.tasks[STORE_STANDARD], (double)(clock_mono_ns() - start) / 1e9);
		start = clock_mono_ns();
		while ((t = store_task_next(s, STORE_STANDARD, &at)) != NULL) {
			found += store_task_prefix(t);
			if (at % 64 == 0)
				store_tick(s, clock_wall_ns());
		}
		printf("journals of all tasks replayed (%" PRIu64 " pieces) %.3f s, peak %ld KiB\n", found, (double)(clock_mono_ns() - start) / 1e9,
			peak_kib());
	}
	store_close(s);
	return 0;
}
