/*
 * How long a store of many tasks takes to open, in how much memory, and for how long it keeps its control loop from other work:
 *
 *   bench_store DIR [tasks [pieces a task]]   fills DIR where it is empty, else opens it (with a cold cache: drop it before)
 *   bench_store DIR expire                    opens it, and then all tasks expire at once
 *   bench_store DIR kill                      opens it and dies as by kill -9, with changes on the way
 *   bench_store DIR journal MIB ROUNDS        what journaling costs a download: MIB mebibytes in pieces of 4 MiB, with and without, in turns
 *
 * Jobs run on a thread, as in the daemon. While records are read and tasks are removed, the loop serves: it finds a task and asks for a piece.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/file.h"
#include "store/store.h"

#define PIECE 1         /* one byte a piece: only the bookkeeping is measured */
#define ZERO_CRC 0xd202ef8d     /* crc32 of one zero byte */
#define SLICE_NS 5000000        /* as the daemon does it */
#define SLICE_TASKS 2000
#define BIG_PIECE ((size_t)4 << 20)
#define ROUNDS_MAX 99

static void
fail(const struct err *e)
{
	fprintf(stderr, "bench_store: %s\n", e->text);
	exit(1);
}

/* ---- the loop and its thread for jobs ---- */

#define JOBS_MAX 64

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct store_job *todo[JOBS_MAX], *done[JOBS_MAX];
	unsigned first, todo_count, done_count;
} work = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static void *
work_thread(void *arg)
{
	(void)arg;
	for (;;) {
		struct store_job *job;

		pthread_mutex_lock(&work.lock);
		while (work.todo_count == 0)
			pthread_cond_wait(&work.wake, &work.lock);
		job = work.todo[work.first];
		work.first = (work.first + 1) % JOBS_MAX;
		work.todo_count--;
		pthread_mutex_unlock(&work.lock);
		store_job_run(job);
		pthread_mutex_lock(&work.lock);
		work.done[work.done_count++] = job;
		pthread_mutex_unlock(&work.lock);
	}
	return NULL;
}

static void
work_start(void *arg, struct store_job *job)
{
	(void)arg;
	pthread_mutex_lock(&work.lock);
	work.todo[(work.first + work.todo_count++) % JOBS_MAX] = job;
	pthread_cond_signal(&work.wake);
	pthread_mutex_unlock(&work.lock);
}

static bool
work_collect(void)
{
	struct store_job *job;

	pthread_mutex_lock(&work.lock);
	job = work.done_count > 0 ? work.done[--work.done_count] : NULL;
	pthread_mutex_unlock(&work.lock);
	if (job)
		store_job_done(job);
	return job != NULL;
}

static void
make_id(char id[STORE_ID_MAX + 1], unsigned i)
{
	snprintf(id, STORE_ID_MAX + 1, "%03x%061x", i % 4096, i);
}

static struct {
	int64_t last, worst;    /* between two serves */
	unsigned long serves;
} client;

/* What a child asks for, between all else. */
static void
serve(struct store *s, const char *id)
{
	struct store_piece p;
	struct store_task *t = store_task_find(s, STORE_STANDARD, id);
	int64_t now;

	if (t && store_piece_get(t, 0, &p) < 0)
		t = NULL;
	now = clock_mono_ns();
	if (client.last != 0 && now - client.last > client.worst)
		client.worst = now - client.last;
	client.last = now;
	client.serves += t != NULL;
}

static void
client_begin(void)
{
	client.last = client.worst = 0;
	client.serves = 0;
}

/* ---- figures ---- */

static long
peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static double
seconds_of(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) + (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

static double
cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return seconds_of(&u);
}

static double
loop_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
since(int64_t start)
{
	return (double)(clock_mono_ns() - start) / 1e9;
}

/* ---- filling ---- */

static void
fill(struct store *s, unsigned tasks, unsigned pieces)
{
	struct store_start start = { .content_length = pieces, .piece_length = PIECE, .etag = "\"0123456789abcdef\"", .url = "http://origin/file" };
	struct err e = {0};
	char id[STORE_ID_MAX + 1];

	for (unsigned i = 0; i < tasks; i++) {
		struct store_task *t;

		make_id(id, i);
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
		while (work_collect())
			;
	}
}

/* ---- opened ---- */

/* Until all records were read in the background. */
static void
read_all(struct store *s)
{
	int64_t start = clock_mono_ns();
	double cpu = cpu_seconds(), loop = loop_seconds();
	char id[STORE_ID_MAX + 1];

	make_id(id, 4095);
	client_begin();
	while (store_jobs_running(s) > 0) {
		if (!work_collect())
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
		serve(s, id);
	}
	printf("all records read in the background: %.3f s, processor %.3f s, of it the loop %.3f s; a serve waited %.1f ms at most; peak %ld KiB\n",
		since(start), cpu_seconds() - cpu, loop_seconds() - loop, (double)client.worst / 1e6, peak_kib());
}

/* All slices of one collection, as the daemon's loop runs them; it ends when the files are gone, too. */
static void
collect(struct store *s, const char *what, const struct store_gc_limits *limits)
{
	struct store_gc_result r = { .has_more = true };
	double all = cpu_seconds(), passes = 0;
	int64_t worst = 0, now = clock_wall_ns(), begin = clock_mono_ns(), again = 0;
	size_t slices = 0, expired = 0, evicted = 0, most = 0;
	char id[STORE_ID_MAX + 1];

	make_id(id, 0);
	client_begin();
	while (r.has_more || store_jobs_running(s) > 0) {
		int64_t start = clock_mono_ns(), took;
		double cpu = loop_seconds();

		if (r.has_more && start >= again) {
			store_gc_pass(s, now, limits, SLICE_TASKS, &r);
			took = clock_mono_ns() - start;
			worst = took > worst ? took : worst;
			most = r.expired + r.evicted > most ? r.expired + r.evicted : most;
			expired += r.expired;
			evicted += r.evicted;
			slices++;
			again = clock_mono_ns() + 1000000;
		}
		work_collect();
		passes += loop_seconds() - cpu;
		serve(s, id);
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	printf("collection, %s: %.3f s; the loop's processor time %.3f s in %zu slices, the longest %.1f ms, the largest %zu tasks; "
		"all threads' %.3f s; a serve waited %.1f ms at most; %zu expired, %zu evicted\n", what, since(begin), passes, slices,
		(double)worst / 1e6, most, cpu_seconds() - all, (double)client.worst / 1e6, expired, evicted);
}

static void
replay_all(struct store *s)
{
	int64_t start = clock_mono_ns();
	uint64_t found = 0;
	struct store_task *t;
	size_t at = 0;

	while ((t = store_task_next(s, STORE_STANDARD, &at)) != NULL) {
		found += store_task_prefix(t);
		if (at % 64 == 0)
			store_tick(s, clock_wall_ns());
	}
	printf("journals of all tasks replayed (%" PRIu64 " pieces) %.3f s, peak %ld KiB\n", found, since(start), peak_kib());
}

/* ---- what the journal costs ---- */

static double
download(const char *dir, uint64_t bytes, bool journals, unsigned round)
{
	struct store_options o = { .dir = dir, .keep = true, .sync = STORE_SYNC_NONE, .capacity = 4 * bytes };
	struct store_start start = { .content_length = bytes, .piece_length = BIG_PIECE };
	uint8_t *buffer = xmalloc(BIG_PIECE);
	struct err e = {0};
	struct store *s = store_open(&o, &e);
	char id[STORE_ID_MAX + 1];
	struct store_task *t;
	struct store_file *f;
	int64_t begin;
	double took;

	if (!s)
		fail(&e);
	make_id(id, round);
	t = store_task_begin(s, STORE_STANDARD, id, clock_wall_ns(), &e);
	if (!t || store_task_start(t, &start, clock_wall_ns(), NULL, &e) < 0 || !(f = store_task_file(t, &e)))
		fail(&e);
	memset(buffer, (int)round, BIG_PIECE);
	begin = clock_mono_ns();
	for (uint32_t n = 0; n < store_task_piece_count(t); n++) {
		struct store_piece p = { .number = n, .has_crc = true, .created_at = 1, .finished_at = 2 };

		store_task_piece_span(t, n, &p.offset, &p.length);
		/* The checksum belongs to the transfer: both ways take it. */
		p.crc = crc32_update(0, buffer, (size_t)p.length);
		if (store_file_pwrite(f, buffer, (size_t)p.length, p.offset, &e) < 0 || (journals && store_piece_finish(t, &p, &e) < 0))
			fail(&e);
	}
	if (journals && store_task_finish(t, clock_wall_ns(), &e) < 0)
		fail(&e);
	took = since(begin);
	store_file_unref(f);
	store_task_delete(t, STORE_DELETED_BY_CALLER, NULL);
	store_close(s);
	free(buffer);
	return took;
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
journal_cost(const char *dir, uint64_t bytes, unsigned rounds)
{
	double with[ROUNDS_MAX], without[ROUNDS_MAX], ratio[ROUNDS_MAX];

	download(dir, bytes, true, 0);
	for (unsigned i = 0; i < rounds; i++) {
		bool first = i % 2 == 0;
		double a = download(dir, bytes, first, 2 * i + 1), b = download(dir, bytes, !first, 2 * i + 2);

		with[i] = first ? a : b;
		without[i] = first ? b : a;
		ratio[i] = with[i] / without[i];
	}
	qsort(with, rounds, sizeof(*with), by_size);
	qsort(without, rounds, sizeof(*without), by_size);
	qsort(ratio, rounds, sizeof(*ratio), by_size);
	printf("%" PRIu64 " MiB in pieces of 4 MiB, %u pairs: with the journal %.4f s, without %.4f s (medians); ratio of a pair %.4f (%.4f to %.4f)\n",
		bytes >> 20, rounds, with[rounds / 2], without[rounds / 2], ratio[rounds / 2], ratio[0], ratio[rounds - 1]);
}

int
main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	unsigned tasks = atoi(what) > 0 ? (unsigned)atoi(what) : 100000, pieces = argc > 3 ? (unsigned)atoi(argv[3]) : 20;
	struct store_options o = { .keep = true, .sync = STORE_SYNC_NONE, .run = work_start };
	struct store_gc_limits idle = { .task_ttl = INT64_MAX / 2, .high_percent = 99, .low_percent = 98, .max_ns = SLICE_NS };
	struct store_gc_limits caches = { .page_cache_idle = 1, .max_ns = SLICE_NS }, old = { .task_ttl = 1, .max_ns = SLICE_NS };
	struct store_usage u;
	struct err e = {0};
	pthread_t thread;
	struct store *s;
	int64_t start;

	if (argc < 2) {
		fprintf(stderr, "usage: bench_store DIR [tasks [pieces] | expire | kill | journal MIB ROUNDS]\n");
		return 2;
	}
	log_set_level(LOG_ERROR);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(what, "journal") == 0) {
		journal_cost(argv[1], (uint64_t)(argc > 3 ? atoi(argv[3]) : 1024) << 20, argc > 4 && atoi(argv[4]) <= ROUNDS_MAX ? (unsigned)atoi(argv[4]) : 9);
		return 0;
	}
	if (pthread_create(&thread, NULL, work_thread, NULL) != 0)
		return 1;
	o.dir = argv[1];
	start = clock_mono_ns();
	s = store_open(&o, &e);
	if (!s || store_usage(s, &u, &e) < 0)
		fail(&e);
	printf("open %.3f s, processor %.3f s, %zu tasks, %" PRIu64 " bytes of content, peak %ld KiB\n", since(start), cpu_seconds(),
		u.tasks[STORE_STANDARD], u.used, peak_kib());
	if (u.tasks[STORE_STANDARD] == 0) {
		start = clock_mono_ns();
		fill(s, tasks, pieces);
		printf("filled with %u tasks of %u pieces: %.1f us a task with its pieces\n", tasks, pieces, since(start) * 1e6 / tasks);
	} else {
		read_all(s);
		store_usage(s, &u, &e);
		printf("%zu tasks, %" PRIu64 " bytes of content\n", u.tasks[STORE_STANDARD], u.used);
	}
	if (strcmp(what, "kill") == 0) {
		struct store_task *t;
		size_t at = 0;

		for (unsigned n = 0; n < 1000 && (t = store_task_next(s, STORE_STANDARD, &at)) != NULL; n++)
			store_task_set_prefetched(t, clock_wall_ns());
		raise(SIGKILL);
	}
	if (strcmp(what, "expire") == 0) {
		collect(s, "all tasks expired", &old);
	} else if (*what == '\0') {
		collect(s, "nothing to do", &idle);
		collect(s, "page cache of all tasks", &caches);
		replay_all(s);
	}
	for (unsigned i = 0; i < 300; i++)
		store_tick(s, clock_wall_ns());
	while (store_jobs_running(s) > 0)
		work_collect();
	start = clock_mono_ns();
	store_close(s);
	printf("close %.3f s\n", since(start));
	return 0;
}
