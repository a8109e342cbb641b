#include "unit/store/store_test.h"

static const struct store_gc_limits water = { .high_percent = 80, .low_percent = 60 };

static struct store *
open_budget(uint64_t capacity)
{
	struct store_options o = test_options();

	o.capacity = capacity;
	o.sync = STORE_SYNC_NONE;
	return test_open_with(&o);
}

static bool
is_there(struct store *s, unsigned task)
{
	return store_task_find(s, STORE_STANDARD, test_id(task)) != NULL;
}

static void
expired_standard_tasks_go_and_younger_stay(void **state)
{
	struct store_gc_limits limits = { .task_ttl = HOUR };
	struct store *s = open_budget(0);
	struct store_gc_result r;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		store_task_touch(test_download(s, i, PIECE), NOW + i * HOUR);
	store_gc_pass(s, NOW + 2 * HOUR, &limits, 100, &r);
	assert_int_equal(r.expired, 1);
	assert_int_equal(r.freed, PIECE);
	assert_false(r.has_more);
	assert_false(is_there(s, 0));
	assert_true(is_there(s, 1) && is_there(s, 2) && is_there(s, 3));
	store_close(s);
}

static void
task_in_use_is_never_collected(void **state)
{
	struct store_gc_limits limits = { .task_ttl = HOUR, .high_percent = 10, .low_percent = 1 };
	struct store *s = open_budget(10 * PIECE);
	struct store_task *held, *loaned;
	struct store_gc_result r;
	struct store_file *f;

	(void)state;
	held = test_download(s, 0, PIECE);
	loaned = test_download(s, 1, PIECE);
	test_download(s, 2, PIECE);
	store_task_use(held);
	f = store_task_file(loaned, NULL);
	store_gc_pass(s, NOW + 5 * HOUR, &limits, 100, &r);
	assert_int_equal(r.expired + r.evicted, 1);
	assert_true(is_there(s, 0) && is_there(s, 1));
	store_task_release(held);
	store_file_unref(f);
	store_gc_pass(s, NOW + 20 * HOUR, &limits, 100, &r);
	assert_int_equal(r.expired, 2);
	store_close(s);
}

static void
high_water_evicts_the_longest_unused_to_low_water(void **state)
{
	struct store *s = open_budget(10 * PIECE);
	struct store_gc_result r;
	struct store_usage u;

	(void)state;
	for (unsigned i = 0; i < 7; i++)
		store_task_touch(test_download(s, i, PIECE), NOW + i * SECOND);
	store_gc_pass(s, NOW + HOUR, &water, 100, &r);
	assert_int_equal(r.evicted, 0);
	store_task_touch(test_download(s, 7, PIECE), NOW + 7 * SECOND);
	store_task_touch(store_task_find(s, STORE_STANDARD, test_id(0)), NOW + 8 * SECOND);
	store_gc_pass(s, NOW + HOUR, &water, 100, &r);
	assert_int_equal(r.evicted, 2);
	assert_true(is_there(s, 0));
	assert_false(is_there(s, 1) || is_there(s, 2));
	assert_true(is_there(s, 3));
	assert_int_equal(store_usage(s, &u, NULL), 0);
	assert_int_equal(u.used, 6 * PIECE);
	assert_int_equal(u.percent, 60);
	store_close(s);
}

static void
failed_tasks_go_before_finished_ones(void **state)
{
	struct store *s = open_budget(10 * PIECE);
	struct store_gc_result r;
	struct store_task *young;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		test_download(s, i, PIECE);
	young = test_start(s, 5, PIECE);
	store_task_touch(young, NOW + SECOND);
	store_task_fail(test_start(s, 6, 2 * PIECE), NOW + 2 * SECOND);
	store_gc_pass(s, NOW + HOUR, &water, 100, &r);
	assert_int_equal(r.evicted, 1);
	assert_false(is_there(s, 6));
	assert_true(is_there(s, 5) && is_there(s, 0));
	store_close(s);
}

static void
failures_that_left_nothing_are_forgotten_within_hours(void **state)
{
	struct store *s = open_budget(0);
	struct store_gc_limits limits = { .task_ttl = 720 * HOUR };
	struct store_gc_result r;
	struct store_task *held;

	(void)state;
	/* An origin that says 404: there is a task, and nothing of it on disk. */
	for (unsigned i = 0; i < 3; i++)
		store_task_fail(store_task_begin(s, STORE_STANDARD, test_id(i), NOW, NULL), NOW);
	held = store_task_find(s, STORE_STANDARD, test_id(1));
	store_task_use(held);
	store_task_fail(store_task_begin(s, STORE_STANDARD, test_id(3), NOW + HOUR, NULL), NOW + HOUR);
	store_task_fail(test_start(s, 4, PIECE), NOW);
	store_gc_pass(s, NOW + HOUR + SECOND, &limits, 100, &r);
	assert_int_equal(r.expired, 2);
	assert_true(is_there(s, 1) && is_there(s, 3) && is_there(s, 4));
	store_task_release(held);
	store_gc_pass(s, NOW + 3 * HOUR, &limits, 100, &r);
	assert_true(is_there(s, 4) && !is_there(s, 1) && !is_there(s, 3));
	store_close(s);
}

static void
one_task_too_many_takes_the_place_of_the_longest_unused(void **state)
{
	struct store_options o = test_options();
	struct store *s;
	struct store_task *held;
	struct err e = {0};

	(void)state;
	o.tasks_max = 4;
	s = test_open_with(&o);
	for (unsigned i = 0; i < 3; i++)
		store_task_touch(test_download(s, i, PIECE), NOW + i * SECOND);
	store_task_fail(store_task_begin(s, STORE_STANDARD, test_id(3), NOW + HOUR, NULL), NOW + HOUR);
	/* A failed one goes first, then the oldest that nobody uses. */
	held = store_task_find(s, STORE_STANDARD, test_id(0));
	store_task_use(held);
	store_task_use(store_task_begin(s, STORE_STANDARD, test_id(4), NOW + HOUR, &e));
	assert_false(is_there(s, 3));
	assert_true(is_there(s, 0) && is_there(s, 1) && is_there(s, 2));
	store_task_use(store_task_begin(s, STORE_STANDARD, test_id(5), NOW + HOUR, &e));
	assert_true(is_there(s, 0) && !is_there(s, 1) && is_there(s, 2));
	store_task_use(store_task_begin(s, STORE_STANDARD, test_id(6), NOW + HOUR, &e));
	assert_false(is_there(s, 2));
	/* All are in use. */
	assert_null(store_task_begin(s, STORE_STANDARD, test_id(7), NOW + HOUR, &e));
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(e.text, "holds 4 tasks"));
	/* One that is there needs no room. */
	assert_ptr_equal(store_task_begin(s, STORE_STANDARD, test_id(0), NOW + HOUR, &e), held);
	store_task_release(held);
	for (unsigned i = 4; i < 7; i++)
		store_task_release(store_task_find(s, STORE_STANDARD, test_id(i)));
	store_close(s);
}

static struct store_task *
persistent(struct store *s, enum store_kind kind, unsigned task, bool pinned, int64_t ttl)
{
	struct store_start start = { .content_length = PIECE, .piece_length = PIECE, .is_persistent = pinned, .ttl = ttl, .created_at = NOW };
	struct store_task *t = store_task_begin(s, kind, test_id(task), NOW, NULL);

	assert_int_equal(store_task_start(t, &start, NOW, NULL, NULL), 0);
	test_piece(t, task, 0);
	assert_int_equal(store_task_finish(t, NOW, NULL), 0);
	return t;
}

static void
kinds_go_in_their_order_and_pinned_ones_only_by_ttl(void **state)
{
	struct store *s = open_budget(4 * PIECE);
	struct store_gc_limits all = { .high_percent = 2, .low_percent = 1 };
	struct store_gc_result r;

	(void)state;
	persistent(s, STORE_PERSISTENT, 0, true, HOUR);
	persistent(s, STORE_PERSISTENT, 1, false, 0);
	persistent(s, STORE_PERSISTENT_CACHE, 2, false, 0);
	test_download(s, 3, PIECE);
	store_gc_demand(s, PIECE);
	store_gc_pass(s, NOW + SECOND, &(struct store_gc_limits){0}, 100, &r);
	assert_int_equal(r.evicted, 1);
	assert_false(is_there(s, 3));
	store_gc_demand(s, PIECE);
	store_gc_pass(s, NOW + SECOND, &(struct store_gc_limits){0}, 100, &r);
	assert_null(store_task_find(s, STORE_PERSISTENT_CACHE, test_id(2)));
	assert_non_null(store_task_find(s, STORE_PERSISTENT, test_id(1)));
	store_gc_pass(s, NOW + SECOND, &all, 100, &r);
	assert_null(store_task_find(s, STORE_PERSISTENT, test_id(1)));
	assert_non_null(store_task_find(s, STORE_PERSISTENT, test_id(0)));
	store_gc_pass(s, NOW + HOUR + 1, &all, 100, &r);
	assert_int_equal(r.expired, 1);
	assert_null(store_task_find(s, STORE_PERSISTENT, test_id(0)));
	store_close(s);
}

static void
budget_of_a_pass_is_kept_and_the_next_goes_on(void **state)
{
	struct store_gc_limits limits = { .task_ttl = SECOND, .page_cache_idle = 1 };
	struct store *s = open_budget(0);
	struct store_gc_result r;
	size_t expired = 0;
	int passes = 0;

	(void)state;
	for (unsigned i = 0; i < 25; i++)
		test_download(s, i, PIECE);
	do {
		store_gc_pass(s, NOW + HOUR, &limits, 10, &r);
		assert_in_range(r.expired, 0, 10);
		expired += r.expired;
		passes++;
	} while (r.has_more);
	assert_int_equal(expired, 25);
	assert_int_equal(passes, 3);
	store_close(s);
}

static void
linked_output_is_not_counted_as_freed(void **state)
{
	struct store_gc_limits limits = { .task_ttl = SECOND };
	struct store_output_options o = { .target = test_path("out") };
	struct store *s = open_budget(0);
	struct store_gc_result r;
	struct store_task *t;
	struct store_file *f;

	(void)state;
	t = test_download(s, 1, PIECE);
	f = store_task_file(t, NULL);
	assert_int_equal(store_output_link(f, &o, NULL), 0);
	store_task_linked(t, f);
	store_file_unref(f);
	store_gc_pass(s, NOW + HOUR, &limits, 10, &r);
	assert_int_equal(r.expired, 1);
	assert_int_equal(r.freed, 0);
	store_close(s);
}

static void
idle_content_leaves_the_page_cache_once(void **state)
{
	struct store_gc_limits limits = { .page_cache_idle = SECOND };
	struct store *s = open_budget(0);
	struct store_gc_result r;
	struct store_task *t = test_download(s, 1, PIECE);

	(void)state;
	store_gc_pass(s, NOW + HOUR, &limits, 10, &r);
	assert_int_equal(t->cache_dropped_at, NOW + HOUR);
	store_gc_pass(s, NOW + 2 * HOUR, &limits, 10, &r);
	assert_int_equal(t->cache_dropped_at, NOW + HOUR);
	store_task_touch(t, NOW + 3 * HOUR);
	store_gc_pass(s, NOW + 4 * HOUR, &limits, 10, &r);
	assert_int_equal(t->cache_dropped_at, NOW + 4 * HOUR);
	store_close(s);
}

static void
used_bytes_equal_the_blocks_on_disk_after_a_reopen(void **state)
{
	struct store *s = open_budget(0);
	struct store_usage before, after;

	(void)state;
	test_download(s, 1, 3 * PIECE + 1);
	test_download(s, 2, 1);
	test_start(s, 3, 100 * PIECE);
	assert_int_equal(store_usage(s, &before, NULL), 0);
	store_close(s);
	s = open_budget(0);
	assert_int_equal(store_usage(s, &after, NULL), 0);
	assert_int_equal(after.used, before.used);
	assert_int_equal(after.reserved, 0);
	store_close(s);
}

static void
abandoned_partial_tasks_go_first_and_young_ones_when_all_is_lost(void **state)
{
	struct store *s = open_budget(10 * PIECE);
	struct store_gc_result r;

	(void)state;
	test_start(s, 1, 4 * PIECE);
	store_task_touch(test_start(s, 2, 4 * PIECE), NOW + 20 * HOUR);
	store_gc_pass(s, NOW + 23 * HOUR, &water, 100, &r);
	assert_int_equal(r.evicted, 0);
	store_gc_pass(s, NOW + 25 * HOUR, &water, 100, &r);
	assert_int_equal(r.evicted, 1);
	assert_false(is_there(s, 1));
	/* The budget is all but used up. */
	store_task_touch(test_start(s, 3, 6 * PIECE), NOW + 25 * HOUR);
	store_gc_pass(s, NOW + 26 * HOUR, &water, 100, &r);
	assert_int_equal(r.evicted, 1);
	assert_false(is_there(s, 2));
	assert_true(is_there(s, 3));
	store_close(s);
}

static fsblkcnt_t free_pieces;

static int
small_disk(int fd, struct statvfs *st)
{
	(void)fd;
	memset(st, 0, sizeof(*st));
	st->f_frsize = PIECE;
	st->f_blocks = 1000;
	st->f_bavail = free_pieces;
	return 0;
}

static void
budget_or_disk_whichever_has_less_decides(void **state)
{
	static const struct { uint64_t capacity, free, available; } rows[] = { { 100, 3, 3 }, { 2, 500, 2 }, { 0, 3, 3 }, { 4, 4, 4 } };
	struct store_sys sys = store_sys_posix;
	char want[64];

	(void)state;
	sys.fstatvfs = small_disk;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct store_start start = { .content_length = 5 * PIECE, .piece_length = PIECE };
		struct store_options o = test_options();
		struct store_usage u;
		struct store *s;
		struct err e = {0};

		o.sys = &sys;
		o.capacity = rows[i].capacity * PIECE;
		free_pieces = (fsblkcnt_t)rows[i].free;
		s = test_open_with(&o);
		assert_int_equal(store_usage(s, &u, NULL), 0);
		assert_int_equal(u.available, rows[i].available * PIECE);
		assert_int_equal(store_task_start(store_task_begin(s, STORE_STANDARD, test_id(1), NOW, NULL), &start, NOW, NULL, &e), -1);
		snprintf(want, sizeof(want), "content_length=%d, available=%llu", 5 * PIECE, (unsigned long long)rows[i].available * PIECE);
		assert_non_null(strstr(e.text, want));
		store_close(s);
	}
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(expired_standard_tasks_go_and_younger_stay),
		WITH_DIR(task_in_use_is_never_collected),
		WITH_DIR(high_water_evicts_the_longest_unused_to_low_water),
		WITH_DIR(failed_tasks_go_before_finished_ones),
		WITH_DIR(failures_that_left_nothing_are_forgotten_within_hours),
		WITH_DIR(one_task_too_many_takes_the_place_of_the_longest_unused),
		WITH_DIR(kinds_go_in_their_order_and_pinned_ones_only_by_ttl),
		WITH_DIR(budget_of_a_pass_is_kept_and_the_next_goes_on),
		WITH_DIR(linked_output_is_not_counted_as_freed),
		WITH_DIR(idle_content_leaves_the_page_cache_once),
		WITH_DIR(used_bytes_equal_the_blocks_on_disk_after_a_reopen),
		WITH_DIR(abandoned_partial_tasks_go_first_and_young_ones_when_all_is_lost),
		WITH_DIR(budget_or_disk_whichever_has_less_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
