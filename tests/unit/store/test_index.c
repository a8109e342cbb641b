/*
 * The index: many tasks are known from one file, and whatever it says, a task is used as its record says. Jobs wait for test_work, so that what
 * is asked for in between is asked before its record was read.
 */
#include "unit/store/store_test.h"

#include "store/check.h"
#include "store/format.h"
#include "store/private.h"

#define TASKS 6

static struct store *
open_held(void)
{
	struct store_options o = test_options();

	o.run = test_hold;
	return test_open_with(&o);
}

static void
close_all(struct store *s)
{
	test_work();
	store_close(s);
}

/* A store of TASKS whole tasks, all in the index. */
static void
prepare(void)
{
	struct store *s = test_open();

	for (unsigned i = 0; i < TASKS; i++)
		store_task_touch(test_download(s, i, (i + 1) * PIECE), NOW + i * SECOND);
	store_tick(s, clock_wall_ns() + HOUR);
	store_close(s);
}

static size_t
count(struct store *s)
{
	struct store_usage u;

	assert_int_equal(store_usage(s, &u, NULL), 0);
	return u.tasks[STORE_STANDARD];
}

static uint64_t
used(struct store *s)
{
	struct store_usage u;

	assert_int_equal(store_usage(s, &u, NULL), 0);
	return u.used;
}

static void
all_tasks_are_known_before_any_record_is_read(void **state)
{
	struct store *s;

	(void)state;
	prepare();
	s = open_held();
	assert_int_equal(test_job_count, 1);
	assert_int_equal(count(s), TASKS);
	assert_int_equal(used(s), (1 + 2 + 3 + 4 + 5 + 6) * PIECE);
	for (unsigned i = 0; i < TASKS; i++)
		test_expect_whole(s, i, (i + 1) * PIECE);
	test_work();
	assert_int_equal(count(s), TASKS);
	assert_int_equal(used(s), (1 + 2 + 3 + 4 + 5 + 6) * PIECE);
	close_all(s);
}

static void
few_tasks_have_no_index(void **state)
{
	(void)state;
	test_index_from = 0;
	prepare();
	assert_false(test_exists(test_path("store/meta/index")));
}

/* The index of an earlier day, which knows nothing of what came after it. */
struct saved {
	uint8_t *p;
	size_t n;
};

static struct saved
save_index(void)
{
	struct saved old;

	old.p = test_read(test_path("store/meta/index"), &old.n);
	return old;
}

static void
bring_back(struct saved *old)
{
	test_write(test_path("store/meta/index"), old->p, old->n);
	free(old->p);
}

/* The store of prepare(), and its index as it is before what follows. */
static struct store *
begin_with_old_index(struct saved *old)
{
	prepare();
	*old = save_index();
	return test_open();
}

static struct store *
go_on_with_old_index(struct store *s, struct saved *old)
{
	store_close(s);
	bring_back(old);
	return open_held();
}

static void
tasks_that_an_old_index_does_not_know_are_found(void **state)
{
	struct store *s;
	struct saved old;

	(void)state;
	s = begin_with_old_index(&old);
	test_download(s, 20, PIECE);
	test_download(s, 21, PIECE);
	s = go_on_with_old_index(s, &old);
	assert_int_equal(count(s), TASKS);
	test_expect_whole(s, 20, PIECE);
	assert_int_equal(count(s), TASKS + 1);
	test_work();
	assert_int_equal(count(s), TASKS + 2);
	assert_int_equal(used(s), (1 + 2 + 3 + 4 + 5 + 6 + 2) * PIECE);
	test_expect_whole(s, 21, PIECE);
	close_all(s);
}

static void
tasks_that_only_an_old_index_knows_are_not_served(void **state)
{
	struct store *s;
	struct saved old;

	(void)state;
	s = begin_with_old_index(&old);
	assert_int_equal(store_task_delete(store_task_find(s, STORE_STANDARD, test_id(2)), STORE_DELETED_BY_CALLER, NULL), 0);
	assert_int_equal(store_task_delete(store_task_find(s, STORE_STANDARD, test_id(3)), STORE_DELETED_BY_CALLER, NULL), 0);
	s = go_on_with_old_index(s, &old);
	assert_int_equal(count(s), TASKS);
	assert_null(store_task_find(s, STORE_STANDARD, test_id(2)));
	test_work();
	store_tick(s, NOW);
	assert_int_equal(count(s), TASKS - 2);
	assert_int_equal(used(s), (1 + 2 + 5 + 6) * PIECE);
	/* And it can be had anew, before and after. */
	test_download(s, 2, PIECE);
	close_all(s);
	s = test_open();
	test_expect_whole(s, 2, PIECE);
	assert_int_equal(count(s), TASKS - 1);
	store_close(s);
}

static void
another_version_than_the_index_names_is_what_counts(void **state)
{
	struct store_start start = { .content_length = 2 * PIECE, .piece_length = PIECE, .etag = "new" };
	struct store_task *t;
	struct store *s;
	struct saved old;

	(void)state;
	s = begin_with_old_index(&old);
	t = store_task_find(s, STORE_STANDARD, test_id(4));
	assert_int_equal(store_task_start(t, &start, NOW, NULL, NULL), 0);
	test_piece(t, 77, 1);
	s = go_on_with_old_index(s, &old);
	t = store_task_find(s, STORE_STANDARD, test_id(4));
	assert_int_equal(t->finished_at, 0);
	assert_int_equal(t->content_length, 2 * PIECE);
	assert_false(store_piece_is_finished(t, 0));
	assert_true(test_is_right(t, 77, 1));
	close_all(s);
}

static void
content_that_is_gone_is_noticed(void **state)
{
	struct store_task *t;
	struct store *s;

	(void)state;
	prepare();
	assert_int_equal(unlink(test_task_path("content", 1, "")), 0);
	assert_int_equal(unlink(test_task_path("content", 5, "")), 0);
	s = open_held();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(t->pieces_finished, 0);
	test_work();
	assert_int_equal(used(s), (1 + 3 + 4 + 5) * PIECE);
	assert_int_equal(store_task_find(s, STORE_STANDARD, test_id(5))->pieces_finished, 0);
	close_all(s);
}

/* Each byte wrong, each length: the tasks are all there in the end. */
static void
damaged_index_costs_no_task(void **state)
{
	struct saved good;

	(void)state;
	prepare();
	good = save_index();
	for (size_t at = 0; at < good.n; at += 37) {
		struct store *s;

		if (at % 2 == 0)
			good.p[at] ^= 0x40;
		test_write(test_path("store/meta/index"), good.p, at % 2 == 0 ? good.n : at);
		if (at % 2 == 0)
			good.p[at] ^= 0x40;
		s = open_held();
		if (at % 3 == 0)
			test_expect_whole(s, TASKS - 1, TASKS * PIECE);
		test_work();
		assert_int_equal(count(s), TASKS);
		assert_int_equal(used(s), (1 + 2 + 3 + 4 + 5 + 6) * PIECE);
		close_all(s);
	}
	free(good.p);
}

static void
index_of_history_is_made_anew(void **state)
{
	struct store *s;
	struct stat st;

	(void)state;
	prepare();
	s = test_open();
	for (unsigned i = 0; i < 5000; i++) {
		store_task_set_prefetched(store_task_find(s, STORE_STANDARD, test_id(i % TASKS)), NOW + i);
		store_tick(s, clock_wall_ns());
	}
	assert_int_equal(stat(test_path("store/meta/index"), &st), 0);
	assert_in_range(st.st_size, TASKS * STORE_INDEX_BYTES, (2 * TASKS + 1024 + 5) * STORE_INDEX_BYTES);
	store_close(s);
	s = open_held();
	assert_int_equal(count(s), TASKS);
	close_all(s);
}

/* What the index holds for old or unpinned is asked before it goes. */
static void
collection_goes_by_records(void **state)
{
	struct store_gc_limits limits = { .task_ttl = HOUR };
	struct store_gc_result r;
	struct store *s;
	struct saved old;

	(void)state;
	s = begin_with_old_index(&old);
	store_task_touch(store_task_find(s, STORE_STANDARD, test_id(3)), NOW + 10 * HOUR);
	store_tick(s, NOW + 10 * HOUR);
	s = go_on_with_old_index(s, &old);
	store_gc_pass(s, NOW + 10 * HOUR, &limits, 100, &r);
	assert_int_equal(r.expired, TASKS - 1);
	test_expect_whole(s, 3, 4 * PIECE);
	close_all(s);
}

/* ---- collection of very many ---- */

static unsigned changes;

static int
counted_unlinkat(int dir, const char *path, int flags)
{
	changes++;
	return unlinkat(dir, path, flags);
}

static int
counted_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	changes++;
	return renameat(from_dir, from, to_dir, to);
}

static ssize_t
counted_pwrite(int fd, const void *p, size_t n, off_t at)
{
	changes++;
	return pwrite(fd, p, n, at);
}

static int
counted_sync(int fd)
{
	(void)fd;
	changes++;
	return 0;
}

static void
collection_of_thousands_changes_no_file_on_the_control_loop(void **state)
{
	struct store_gc_limits limits = { .task_ttl = HOUR };
	struct store_sys sys = store_sys_posix;
	struct store_options o = test_options();
	struct store_gc_result r = { .has_more = true };
	struct store_task *t;
	struct store *s;
	size_t expired = 0;

	(void)state;
	sys.unlinkat = counted_unlinkat;
	sys.renameat = counted_renameat;
	sys.pwrite = counted_pwrite;
	sys.fdatasync = sys.fsync = counted_sync;
	o.sys = &sys;
	o.run = test_hold;
	o.sync = STORE_SYNC_NONE;
	s = test_open_with(&o);
	for (unsigned i = 0; i < 3000; i++) {
		t = test_start(s, i, PIECE);
		test_piece(t, i, 0);
		assert_int_equal(store_task_finish(t, NOW, NULL), 0);
		if (i % 500 == 0) {
			store_tick(s, NOW);
			test_work();
		}
	}
	while (r.has_more) {
		changes = 0;
		store_gc_pass(s, NOW + 2 * HOUR, &limits, 100, &r);
		assert_int_equal(changes, 0);
		assert_in_range(r.expired, 0, 100);
		expired += r.expired;
		/* Collected and not yet gone is used still. */
		if (expired == 100)
			assert_int_equal(used(s), 3000 * PIECE);
		/* One of them is wanted again, before its files went. */
		if (expired == 1000)
			store_task_touch(test_download(s, 999, 2 * PIECE), NOW + 2 * HOUR);
		if (r.expired == 0)
			test_work();
	}
	assert_int_equal(expired, 3000);
	test_work();
	assert_int_equal(count(s), 1);
	test_expect_whole(s, 999, 2 * PIECE);
	assert_int_equal(used(s), 2 * PIECE);
	assert_false(test_exists(test_task_path("meta", 5, ".m")) || test_exists(test_task_path("content", 5, "")));
	close_all(s);
}

#define SHARDED 700     /* tasks, each in a shard of its own: so many that other threads read ahead */

static void
start_without_an_index_takes_every_task(void **state)
{
	struct store_options o = test_options();
	struct store *s;

	(void)state;
	o.sync = STORE_SYNC_NONE;
	s = test_open_with(&o);
	for (unsigned i = 0; i < SHARDED; i++)
		test_download(s, i, PIECE);
	store_close(s);
	assert_int_equal(unlink(test_path("store/meta/index")), 0);
	s = test_open_with(&o);
	assert_int_equal(count(s), SHARDED);
	assert_int_equal(used(s), SHARDED * PIECE);
	for (unsigned i = 0; i < SHARDED; i += 99)
		test_expect_whole(s, i, PIECE);
	store_close(s);
}

static unsigned syncs;

static int
noted_sync(int fd)
{
	(void)fd;
	syncs++;
	return 0;
}

static void
collection_syncs_a_directory_once_however_many_tasks_leave_it(void **state)
{
	struct store_gc_limits limits = { .task_ttl = HOUR };
	struct store_sys sys = store_sys_posix;
	struct store_options o = test_options();
	struct store_gc_result r;
	struct store *s;

	(void)state;
	sys.fdatasync = sys.fsync = noted_sync;
	o.sys = &sys;
	o.run = test_hold;
	s = test_open_with(&o);
	/* Of two shards. */
	for (unsigned i = 0; i < 40; i++) {
		test_download(s, i % 2 + 4096 * (i / 2), PIECE);
		test_work();
	}
	store_gc_pass(s, NOW + 2 * HOUR, &limits, 100, &r);
	assert_int_equal(r.expired, 40);
	syncs = 0;
	test_work();
	assert_int_equal(syncs, 2);
	assert_int_equal(used(s), 0);
	/* And a new task waits for none. */
	test_start(s, 0, PIECE);
	assert_int_equal(syncs, 2);
	close_all(s);
}

static void
task_waits_a_bounded_time_for_the_old_files_of_its_name(void **state)
{
	struct store_start start = { .content_length = PIECE, .piece_length = PIECE };
	struct store_gc_limits limits = { .task_ttl = HOUR };
	struct store_options o = test_options();
	struct store_gc_result r = { 0 };
	struct store_task *t;
	struct trash *item;
	struct store *s;
	struct err e = { 0 };

	(void)state;
	o.run = test_hold;
	s = test_open_with(&o);
	test_download(s, 1, PIECE);
	test_work();
	store_gc_pass(s, NOW + 2 * HOUR, &limits, 100, &r);
	assert_int_equal(r.expired, 1);
	item = map_get(&s->leaving[STORE_STANDARD], slice_str(test_id(1)));
	assert_non_null(item);
	/* As if a thread were in the middle of removing them, on a disk that hangs. */
	atomic_store(&item->state, TRASH_AT_WORK);
	t = store_task_begin(s, STORE_STANDARD, test_id(1), NOW, &e);
	assert_non_null(t);
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	assert_int_equal(e.code, ERR_UNAVAILABLE);
	atomic_store(&item->state, TRASH_WAITING);
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), 0);
	test_piece(t, 1, 0);
	assert_int_equal(store_task_finish(t, NOW, &e), 0);
	test_work();
	test_expect_whole(s, 1, PIECE);
	close_all(s);
}

static void
no_finding(void *arg, enum store_finding what, const char *text)
{
	(void)what;
	(void)text;
	++*(unsigned *)arg;
}

static void
check_knows_the_index(void **state)
{
	unsigned findings = 0;
	struct store_check_options o = { .dir = test_path("store"), .found = no_finding, .arg = &findings };
	struct store_check_result r;
	struct saved index;

	(void)state;
	prepare();
	assert_int_equal(store_check(&o, &r, NULL), 0);
	assert_int_equal(findings, 0);
	index = save_index();
	index.n--;
	bring_back(&index);
	assert_int_equal(store_check(&o, &r, NULL), 0);
	assert_int_equal(findings, 1);
	assert_int_equal(r.findings[STORE_FOUND_RUBBISH], 1);
}

static int
setup(void **state)
{
	test_index_from = 1;
	test_job_count = 0;
	return test_setup(state);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, setup, test_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(all_tasks_are_known_before_any_record_is_read),
		WITH_DIR(few_tasks_have_no_index),
		WITH_DIR(tasks_that_an_old_index_does_not_know_are_found),
		WITH_DIR(tasks_that_only_an_old_index_knows_are_not_served),
		WITH_DIR(another_version_than_the_index_names_is_what_counts),
		WITH_DIR(content_that_is_gone_is_noticed),
		WITH_DIR(damaged_index_costs_no_task),
		WITH_DIR(index_of_history_is_made_anew),
		WITH_DIR(collection_goes_by_records),
		WITH_DIR(start_without_an_index_takes_every_task),
		WITH_DIR(collection_syncs_a_directory_once_however_many_tasks_leave_it),
		WITH_DIR(task_waits_a_bounded_time_for_the_old_files_of_its_name),
		WITH_DIR(collection_of_thousands_changes_no_file_on_the_control_loop),
		WITH_DIR(check_knows_the_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
