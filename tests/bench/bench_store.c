/*
 * How long a store of many tasks takes to open, in how much memory, and for how long it keeps its control loop from other work:
 *
 *   bench_store DIR [tasks [pieces a task]]   fills DIR where it is empty, else opens it (with a cold cache: drop it before)
 *   bench_store DIR expire                    opens it, and then all tasks expire at once
 *   bench_store DIR evict                     opens it over its high-water mark: a tenth of the tasks is driven out
 *   bench_store DIR kill                      opens it and dies as by kill -9, with changes on the way
 *   bench_store DIR journal MIB ROUNDS        what journaling costs a download: MIB mebibytes in pieces of 4 MiB, with and without, in turns
 *
 * Jobs run on a thread, as in the daemon, and all is synced as the daemon does it (only the filling leaves that to one sync(2) at its end).
 * While records are read and tasks are removed, the loop serves: it finds a task and asks for a piece. Beside a collection stands what the
 * kernel needs to unlink as many files of the same sizes in directories like the store's, one bare call after the other.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/file.h"
#include "store/store.h"
#include "store/sys.h"
#include "support/store_jobs.h"

#define PIECE 1         /* one byte a piece: only the bookkeeping is measured */
#define ZERO_CRC 0xd202ef8d     /* crc32 of one zero byte */
#define SLICE_NS 5000000        /* as the daemon does it */
#define SLICE_TASKS 2000
#define WAIT_NS 20000000
#define BIG_PIECE ((size_t)4 << 20)
#define ROUNDS_MAX 99

static void
fail(const struct err *e)
{
	fprintf(stderr, "bench_store: %s\n", e->text);
	exit(1);
}

/* ---- tasks and their client ---- */

static void
make_id(char id[STORE_ID_MAX + 1], unsigned i)
{
	snprintf(id, STORE_ID_MAX + 1, "%03x%061x", i % 4096, i);
}

static double
loop_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct {
	int64_t last, worst;    /* between two serves */
	double last_cpu, worst_cpu;     /* the loop's own work between them, which other programs do not make longer */
	unsigned long serves;
} client;

/* What a child asks for, between all else. */
static void
serve(struct store *s, const char *id)
{
	struct store_piece p;
	struct store_task *t = store_task_find(s, STORE_STANDARD, id);
	int64_t now;
	double cpu;

	if (t && store_piece_get(t, 0, &p) < 0)
		t = NULL;
	now = clock_mono_ns();
	if (client.last != 0 && now - client.last > client.worst)
		client.worst = now - client.last;
	client.last = now;
	cpu = loop_seconds();
	if (client.last_cpu > 0 && cpu - client.last_cpu > client.worst_cpu)
		client.worst_cpu = cpu - client.last_cpu;
	client.last_cpu = cpu;
	client.serves += t != NULL;
}

static void
client_begin(void)
{
	client.last = client.worst = 0;
	client.last_cpu = client.worst_cpu = 0;
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

/* Processor time of all threads. */
struct cpu {
	double user, system;
};

static struct cpu
cpu_now(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (struct cpu){ (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6, (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6 };
}

static struct cpu
cpu_since(struct cpu then)
{
	struct cpu now = cpu_now();

	return (struct cpu){ now.user - then.user, now.system - then.system };
}

static double
since(int64_t start)
{
	return (double)(clock_mono_ns() - start) / 1e9;
}

/* ---- filling ---- */

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* Jobs come back, and start more. */
static void
end_jobs(struct store *s)
{
	while (store_jobs_running(s) > 0)
		if (!store_jobs_collect())
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

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
		while (store_jobs_collect())
			;
	}
	end_jobs(s);
	/* A second later: the tasks that were finished last. */
	store_tick(s, clock_wall_ns() + 2 * (int64_t)1000000000);
	end_jobs(s);
	store_tick(s, clock_wall_ns());
	end_jobs(s);
	sync();
}

/* ---- what the kernel needs to remove files ---- */

#define FILES 3         /* of a task: record, journal, content */

static _Noreturn void
stop(const char *what, const char *path)
{
	fprintf(stderr, "bench_store: %s %s: ", what, path);
	perror(NULL);
	exit(1);
}

static void
file_name(char out[STORE_ID_MAX + 32], unsigned file, const char *id)
{
	static const char *const suffixes[FILES] = { ".m", ".p", "" };

	snprintf(out, STORE_ID_MAX + 32, "%s/%.3s/%s%s", file < FILES - 1 ? "meta" : "content", id, id, suffixes[file]);
}

static void
make_bare(int dir, unsigned tasks, const size_t sizes[FILES])
{
	static const char *const roots[] = { "meta", "content" };
	char id[STORE_ID_MAX + 1], name[STORE_ID_MAX + 32];
	static const uint8_t zeros[8192];

	for (unsigned r = 0; r < 2; r++) {
		mkdirat(dir, roots[r], 0700);
		for (unsigned i = 0; i < 4096; i++) {
			snprintf(name, sizeof(name), "%s/%03x", roots[r], i);
			mkdirat(dir, name, 0700);
		}
	}
	for (unsigned i = 0; i < tasks; i++) {
		make_id(id, i);
		for (unsigned f = 0; f < FILES; f++) {
			int fd;

			file_name(name, f, id);
			fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
			if (fd < 0 || write(fd, zeros, sizes[f]) != (ssize_t)sizes[f])
				stop("write", name);
			close(fd);
		}
	}
	sync();
}

static void
remove_bare(int dir)
{
	char name[STORE_ID_MAX + 32];

	for (unsigned r = 0; r < 2; r++) {
		for (unsigned i = 0; i < 4096; i++) {
			snprintf(name, sizeof(name), "%s/%03x", r ? "content" : "meta", i);
			unlinkat(dir, name, AT_REMOVEDIR);
		}
		unlinkat(dir, r ? "content" : "meta", AT_REMOVEDIR);
	}
}

/* `tasks` times the three files, unlinked by one thread that does nothing else. */
static void
bare_unlinks(const char *store, unsigned tasks, const size_t sizes[FILES])
{
	size_t n = strlen(store) + sizeof(".bare");
	char *path = xmalloc(n), (*names)[STORE_ID_MAX + 32] = xcalloc((size_t)tasks * FILES + 1, sizeof(*names)), id[STORE_ID_MAX + 1];
	struct cpu cpu;
	int64_t begin;
	int dir;

	snprintf(path, n, "%s.bare", store);
	if (mkdir(path, 0700) < 0 || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
		stop("make", path);
	make_bare(dir, tasks, sizes);
	for (unsigned i = 0; i < tasks; i++) {
		make_id(id, i);
		for (unsigned f = 0; f < FILES; f++)
			file_name(names[i * FILES + f], f, id);
	}
	cpu = cpu_now();
	begin = clock_mono_ns();
	for (size_t i = 0; i < (size_t)tasks * FILES; i++)
		if (unlinkat(dir, names[i], 0) < 0)
			stop("unlink", names[i]);
	cpu = cpu_since(cpu);
	printf("as many files by unlink alone (%zu): %.3f s; processor %.3f s (user %.3f, system %.3f)\n", (size_t)tasks * FILES, since(begin),
		cpu.user + cpu.system, cpu.user, cpu.system);
	remove_bare(dir);
	close(dir);
	rmdir(path);
	free(path);
	free(names);
}

/* Of the files that a task of the store has. */
static void
sizes_in(const char *store, size_t sizes[FILES])
{
	static const char *const names[FILES] = { "meta/tasks/000/", "meta/tasks/000/", "content/tasks/000/" };
	static const char *const suffixes[FILES] = { ".m", ".p", "" };
	char id[STORE_ID_MAX + 1];

	make_id(id, 0);
	for (unsigned f = 0; f < FILES; f++) {
		size_t n = strlen(store) + strlen(names[f]) + sizeof(id) + 8;
		char *path = xmalloc(n);
		struct stat st;

		snprintf(path, n, "%s/%s%s%s", store, names[f], id, suffixes[f]);
		if (stat(path, &st) < 0)
			stop("look at", path);
		sizes[f] = (size_t)st.st_size < 8192 ? (size_t)st.st_size : 8192;
		free(path);
	}
}

/* ---- opened ---- */

/* Until all records were read in the background. */
static void
read_all(struct store *s)
{
	int64_t start = clock_mono_ns();
	struct cpu cpu = cpu_now();
	double loop = loop_seconds();
	char id[STORE_ID_MAX + 1];

	make_id(id, 4095);
	client_begin();
	while (store_jobs_running(s) > 0) {
		if (!store_jobs_collect())
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
		serve(s, id);
	}
	cpu = cpu_since(cpu);
	printf("all records read in the background: %.3f s, processor %.3f s, of it the loop %.3f s; a serve waited %.1f ms at most (for %.1f ms of the loop's work); peak %ld KiB\n",
		since(start), cpu.user + cpu.system, loop_seconds() - loop, (double)client.worst / 1e6, client.worst_cpu * 1e3, peak_kib());
}

/* All slices of one collection, as the daemon's loop runs them; it ends when the files are gone, too. Tasks removed. */
static unsigned
collect(struct store *s, const char *what, const struct store_gc_limits *limits)
{
	struct store_gc_result r = { .has_more = true };
	struct cpu all = cpu_now();
	double passes = 0;
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
			again = clock_mono_ns() + (r.is_waiting ? WAIT_NS : 1000000);
		}
		store_jobs_collect();
		passes += loop_seconds() - cpu;
		serve(s, id);
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	all = cpu_since(all);
	printf("collection, %s: %zu expired, %zu evicted in %.3f s; processor %.3f s (user %.3f, system %.3f), of it the loop %.3f s in %zu slices, "
		"the longest %.1f ms, the largest %zu tasks; a serve waited %.1f ms at most (for %.1f ms of the loop's work)\n", what, expired, evicted, since(begin),
		all.user + all.system, all.user, all.system, passes, slices, (double)worst / 1e6, most, (double)client.worst / 1e6, client.worst_cpu * 1e3);
	return (unsigned)(expired + evicted);
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
	unsigned tasks = atoi(what) > 0 ? (unsigned)atoi(what) : 100000, pieces = argc > 3 ? (unsigned)atoi(argv[3]) : 20, removed = 0;
	struct store_options o = { .keep = true, .sync = STORE_SYNC_COMPLETE, .run = store_jobs_run };
	struct store_gc_limits idle = { .task_ttl = INT64_MAX / 2, .high_percent = 99, .low_percent = 98, .max_ns = SLICE_NS };
	struct store_gc_limits caches = { .page_cache_idle = 1, .max_ns = SLICE_NS }, old = { .task_ttl = 1, .max_ns = SLICE_NS };
	struct store_gc_limits water = { .high_percent = 95, .low_percent = 90, .max_ns = SLICE_NS };
	struct store_sys quick = store_sys_posix;
	size_t sizes[FILES] = {0};
	struct store_usage u;
	struct err e = {0};
	struct stat st;
	struct store *s;
	struct cpu cpu;
	int64_t start;

	if (argc < 2) {
		fprintf(stderr, "usage: bench_store DIR [tasks [pieces] | expire | evict | kill | journal MIB ROUNDS]\n");
		return 2;
	}
	log_set_level(LOG_ERROR);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(what, "journal") == 0) {
		journal_cost(argv[1], (uint64_t)(argc > 3 ? atoi(argv[3]) : 1024) << 20, argc > 4 && atoi(argv[4]) <= ROUNDS_MAX ? (unsigned)atoi(argv[4]) : 9);
		return 0;
	}
	if (store_jobs_begin() < 0)
		return 1;
	o.dir = argv[1];
	quick.fdatasync = quick.fsync = no_sync;
	if (stat(o.dir, &st) < 0)
		o.sys = &quick;
	if (strcmp(what, "expire") == 0 || strcmp(what, "evict") == 0)
		sizes_in(o.dir, sizes);
	cpu = cpu_now();
	start = clock_mono_ns();
	s = store_open(&o, &e);
	if (!s || store_usage(s, &u, &e) < 0)
		fail(&e);
	cpu = cpu_since(cpu);
	printf("open %.3f s, processor %.3f s, %zu tasks, %" PRIu64 " bytes of content, peak %ld KiB\n", since(start), cpu.user + cpu.system,
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
		removed = collect(s, "all tasks expired", &old);
	} else if (strcmp(what, "evict") == 0) {
		store_gc_demand(s, u.used / 10);
		removed = collect(s, "a tenth driven out for space", &water);
	} else if (*what == '\0') {
		collect(s, "nothing to do", &idle);
		collect(s, "page cache of all tasks", &caches);
		replay_all(s);
	}
	for (unsigned i = 0; i < 300; i++)
		store_tick(s, clock_wall_ns());
	end_jobs(s);
	start = clock_mono_ns();
	store_close(s);
	printf("close %.3f s\n", since(start));
	if (removed > 0)
		bare_unlinks(argv[1], removed, sizes);
	return 0;
}
