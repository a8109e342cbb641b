/*
 * kill -9 at random moments of a mixed load - downloads, resumes, serves, drops, deletes, new versions, outputs, collection, syncs on
 * another thread - and a verifier that looks at every byte after each start. KILL_ROUNDS kills (30), from KILL_SEED.
 */
#include "unit/store/life.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "support/store_jobs.h"

#define TASKS 40
#define PIECES_MAX 9
#define BUDGET ((uint64_t)700 * 1024)
#define START_MAX_MS 1000
#define OUTPUTS 8

/* What the load knows to be on file; a killed process loses none of it. */
struct shared {
	unsigned version[TASKS];
	bool has[TASKS][PIECES_MAX];
	unsigned long pieces, serves, deletes, outputs, evictions;      /* counted, to show that the load was a mixed one */
};

static struct shared *shared;
static uint64_t random_state;

static unsigned
chance(unsigned below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % below;
}

static uint64_t
length_of(unsigned task)
{
	return (uint64_t)(task % PIECES_MAX) * PIECE + 1 + task * 61 % PIECE;
}

static unsigned
bytes_of(unsigned task, unsigned version)
{
	return task + 1000 * version;
}

/* ---- the load ---- */

static void
forget(unsigned task)
{
	memset(shared->has[task], 0, sizeof(shared->has[task]));
}

static void
on_deleted(void *arg, struct store_task *t, enum store_reason reason)
{
	(void)arg;
	for (unsigned i = 0; i < TASKS; i++)
		if (strcmp(t->id, test_id(i)) == 0)
			forget(i);
	if (reason == STORE_DELETED_FOR_SPACE)
		shared->evictions++;
}

static struct store_task *
begin(struct store *s, unsigned i)
{
	char etag[16];
	struct store_start start = { .content_length = length_of(i), .piece_length = PIECE, .etag = etag };
	struct store_task *t = store_task_begin(s, STORE_STANDARD, test_id(i), clock_wall_ns(), NULL);

	snprintf(etag, sizeof(etag), "v%u", shared->version[i]);
	return t && store_task_start(t, &start, clock_wall_ns(), NULL, NULL) == 0 ? t : NULL;
}

static void
download(struct store *s, unsigned i)
{
	struct store_task *t = begin(s, i);
	uint32_t count;

	if (!t)
		return;
	store_task_use(t);
	count = store_task_piece_count(t);
	for (unsigned tries = 0; tries < 2 * count; tries++) {
		uint32_t n = chance(count);

		if (store_piece_is_finished(t, n) || test_write_piece(t, bytes_of(i, shared->version[i]), n, NULL) < 0)
			continue;
		shared->has[i][n] = true;
		shared->pieces++;
	}
	if (t->pieces_finished == count)
		store_task_finish(t, clock_wall_ns(), NULL);
	else if (chance(4) == 0)
		store_task_fail(t, clock_wall_ns());
	store_task_release(t);
}

/* As to a child: 1 served, 0 not there. */
static int
serve(struct store_task *t, unsigned i, uint32_t n)
{
	static uint8_t buffer[STORE_IO_BYTES];
	const char *etag = store_task_etag(t);
	struct store_piece piece;
	struct store_file *f;
	struct err e = {0};

	if (store_piece_get(t, n, &piece) < 0 || !etag || !(f = store_task_file(t, NULL)))
		return 0;
	if (store_task_content_changed(t, f))
		store_piece_get(t, n, &piece);
	if (piece.needs_check) {
		bool is_good = store_file_check(f, piece.offset, piece.length, piece.crc, buffer, &e) == 0;

		store_piece_checked(t, n, is_good);
		if (!is_good) {
			store_file_unref(f);
			return 0;
		}
	}
	store_file_unref(f);
	if (!test_is_right(t, bytes_of(i, (unsigned)atoi(etag + 1)), n))
		LIFE_FAIL("task %u piece %u was served wrong", i, n);
	return 1;
}

static void
deliver(struct store_task *t, unsigned i)
{
	char name[64];
	struct store_output_options o = { .overwrite = chance(2) };
	struct store_file *f;

	if (t->finished_at == 0)
		return;
	snprintf(name, sizeof(name), "out/%u-%s-%u", i, store_task_etag(t), chance(OUTPUTS));
	o.target = test_path(name);
	f = store_task_file(t, NULL);
	if (!f)
		return;
	if (chance(2) == 0)
		store_output_copy(f, t->content_length, &o, NULL);
	else if (store_output_link(f, &o, NULL) == 0)
		store_task_linked(t, f);
	store_file_unref(f);
	shared->outputs++;
}

static void
one_thing(struct store *s)
{
	struct store_gc_limits limits = { .high_percent = 90, .low_percent = 50, .page_cache_idle = 1 };
	struct store_gc_result r;
	unsigned i = chance(TASKS), what = chance(100);
	struct store_task *t = store_task_find(s, STORE_STANDARD, test_id(i));

	if (what < 50 || !t) {
		download(s, i);
	} else if (what < 70) {
		uint32_t count = store_task_piece_count(t);

		shared->serves += count > 0 && serve(t, i, chance(count)) > 0;
	} else if (what < 76) {
		deliver(t, i);
	} else if (what < 80) {
		forget(i);
		store_task_delete(t, STORE_DELETED_BY_CALLER, NULL);
		shared->deletes++;
	} else if (what < 84) {
		forget(i);
		shared->version[i]++;
		download(s, i);
	} else if (what < 88) {
		uint32_t n = chance(PIECES_MAX);

		/* A file with links is replaced whole. */
		forget(i);
		store_piece_drop(t, n, "test");
	} else if (what < 94) {
		store_tick(s, clock_wall_ns() + (int64_t)chance(100) * SECOND);
	} else {
		store_gc_pass(s, clock_wall_ns(), &limits, 1 + chance(20), &r);
	}
	while (store_jobs_collect())
		;
}

static struct store_options
load_options(void)
{
	struct store_options o = test_options();

	o.capacity = BUDGET;
	o.deleted = on_deleted;
	o.max_open = 16;
	return o;
}

static void
load(void)
{
	struct store_options o = load_options();
	struct store *s;

	life_is_child = true;
	o.run = store_jobs_run;
	if (store_jobs_begin() < 0)
		_exit(1);
	s = store_open(&o, NULL);
	if (!s)
		_exit(1);
	for (;;)
		one_thing(s);
}

/* ---- the verifier ---- */

static void
verify_outputs(void)
{
	DIR *dir = opendir(test_path("out"));
	struct dirent *d;

	assert_non_null(dir);
	while ((d = readdir(dir)) != NULL) {
		unsigned i, version, number;
		uint8_t *have, want[PIECE];
		char path[512];
		size_t n;

		/* The one thing that a kill leaves outside the store: the copy that was being made. */
		if (strncmp(d->d_name, ".dfget-", 7) == 0)
			unlinkat(dirfd(dir), d->d_name, 0);
		if (d->d_name[0] == '.')
			continue;
		assert_int_equal(sscanf(d->d_name, "%u-v%u-%u", &i, &version, &number), 3);
		snprintf(path, sizeof(path), "out/%.200s", d->d_name);
		have = test_read(test_path(path), &n);
		if (n != length_of(i))
			LIFE_FAIL("output %s has %zu bytes", d->d_name, n);
		for (size_t at = 0; at < n; at += PIECE) {
			test_bytes(want, PIECE, bytes_of(i, version), (uint32_t)(at / PIECE));
			if (memcmp(have + at, want, n - at < PIECE ? n - at : PIECE) != 0)
				LIFE_FAIL("output %s is wrong", d->d_name);
		}
		free(have);
		/* Some stay, as links of content that goes on. */
		if (chance(3) == 0)
			unlink(test_path(path));
	}
	closedir(dir);
}

static int
settle_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
	int fd = type == FTW_F ? open(path, O_RDONLY) : -1;

	(void)st;
	(void)at;
	if (fd < 0)
		return 0;
	fsync(fd);
	close(fd);
	return 0;
}

static int64_t
verify(bool closes)
{
	struct store_options o;
	int64_t start, took;
	bool is_lazy = chance(2) == 0;          /* serves while only the index was read */
	struct err e = {0};
	struct store *s;

	/* A file system may give a file with gaps one block more, or take it back, when it writes it out: not while blocks are compared. */
	nftw(test_path("store/content"), settle_file, 16, FTW_PHYS);
	start = clock_mono_ms();
	o = load_options();
	o.run = is_lazy ? test_hold : NULL;
	s = store_open(&o, &e);
	took = clock_mono_ms() - start;
	if (!s)
		LIFE_FAIL("the store does not open: %s", e.text);
	if (took > START_MAX_MS)
		LIFE_FAIL("the start took %lld ms", (long long)took);
	if (!is_lazy)
		life_expect_no_leak(s);
	for (unsigned i = 0; i < TASKS; i++) {
		struct store_task *t = store_task_find(s, STORE_STANDARD, test_id(i));
		uint32_t count = t ? store_task_piece_count(t) : 0;

		if (t && t->finished_at != 0 && t->pieces_finished != count)
			LIFE_FAIL("finished task %u has %u pieces", i, t->pieces_finished);
		for (uint32_t n = 0; n < PIECES_MAX; n++) {
			bool is_served = n < count && serve(t, i, n);

			if (shared->has[i][n] && !is_served)
				LIFE_FAIL("task %u piece %u is lost", i, n);
			shared->has[i][n] = is_served;
		}
	}
	verify_outputs();
	test_work();
	store_tick(s, clock_wall_ns());
	test_work();
	life_expect_no_leak(s);
	if (closes)
		store_close(s);
	return took;
}

static void
killed_at_random_moments_it_loses_and_leaks_nothing(void **state)
{
	const char *rounds = getenv("KILL_ROUNDS"), *seed = getenv("KILL_SEED");
	unsigned count = rounds ? (unsigned)atoi(rounds) : getenv("UNIT_QUICK") ? 4 : 30;
	int64_t slowest = 0;

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)clock_mono_ns();
	print_message("KILL_SEED=%llu\n", (unsigned long long)random_state);
	assert_int_equal(mkdir(test_path("out"), 0755), 0);
	for (unsigned round = 0; round < count; round++) {
		struct timespec pause = { .tv_nsec = (long)(1 + chance(60000)) * 1000 };
		int64_t took;
		int status;
		pid_t child;

		snprintf(life_context, sizeof(life_context), "kill %u", round);
		random_state++;
		child = fork();
		assert_true(child >= 0);
		if (child == 0)
			load();
		nanosleep(&pause, NULL);
		/* A checker may make it so slow that nothing was done yet. */
		for (int i = 0; shared->pieces == 0 && i < 20000; i++)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			LIFE_FAIL("the load ended by itself");
		if (chance(2) == 0) {
			took = verify(true);
		} else {
			/* Killed again, after the check. */
			child = fork();
			assert_true(child >= 0);
			if (child == 0) {
				life_is_child = true;
				verify(false);
				raise(SIGKILL);
			}
			assert_int_equal(waitpid(child, &status, 0), child);
			if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
				LIFE_FAIL("the verifier found something");
			took = 0;
		}
		slowest = took > slowest ? took : slowest;
		chance(1);
	}
	print_message("%u kills: %lu pieces, %lu serves, %lu deletes, %lu outputs, %lu evictions; slowest start %lld ms\n", count,
		shared->pieces, shared->serves, shared->deletes, shared->outputs, shared->evictions, (long long)slowest);
	assert_true(shared->pieces > 0);
}

static int
setup(void **state)
{
	static struct life here;
	FILE *file = tmpfile();

	test_index_from = 1;
	life = &here;
	if (!file || ftruncate(fileno(file), sizeof(*shared)) < 0)
		return -1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
	fclose(file);
	return shared == MAP_FAILED ? -1 : test_setup(state);
}

static int
teardown(void **state)
{
	munmap(shared, sizeof(*shared));
	return test_teardown(state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(killed_at_random_moments_it_loses_and_leaks_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
