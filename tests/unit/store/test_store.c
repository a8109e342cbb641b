#include "unit/store/store_test.h"

static const uint64_t sizes[] = { 0, 1, PIECE - 1, PIECE, PIECE + 1, 10 * PIECE + 5 };

/* The only one with real syncs: they are slow. */
static void
real_syncs_are_taken(void **state)
{
	struct store_options o = test_options();
	struct store *s;

	(void)state;
	o.sys = NULL;
	s = test_open_with(&o);
	test_download(s, 1, PIECE);
	assert_true(store_task_find(s, STORE_STANDARD, test_id(1))->is_synced);
	store_close(s);
	s = test_open();
	test_expect_whole(s, 1, PIECE);
	store_close(s);
}

static void
finished_tasks_survive_a_reopen(void **state)
{
	struct store *s = test_open();
	struct store_piece piece;

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(sizes); i++)
		test_download(s, i, sizes[i]);
	store_close(s);
	assert_true(test_exists(test_path("store/CLEAN")));
	s = test_open();
	assert_false(test_exists(test_path("store/CLEAN")));
	for (unsigned i = 0; i < COUNT_OF(sizes); i++)
		test_expect_whole(s, i, sizes[i]);
	assert_int_equal(store_piece_get(store_task_find(s, STORE_STANDARD, test_id(5)), 3, &piece), 0);
	assert_int_equal(piece.offset, 3 * PIECE);
	assert_int_equal(piece.length, PIECE);
	assert_int_equal(piece.cost_ns, 1000000);
	assert_int_equal(piece.created_at, NOW);
	assert_int_equal(piece.finished_at, NOW + SECOND);
	assert_int_equal(piece.traffic_type, STORE_FROM_PEER);
	assert_null(piece.parent_id);
	assert_true(piece.has_crc);
	assert_true(piece.is_durable);
	store_close(s);
}

static void
piece_is_checked_once_a_run(void **state)
{
	struct store_options o = test_options();
	struct store *s = test_open();
	struct store_piece piece;
	struct store_task *t = test_download(s, 1, 2 * PIECE);

	(void)state;
	assert_int_equal(store_piece_get(t, 0, &piece), 0);
	assert_false(piece.needs_check);
	store_close(s);
	s = test_open_with(&o);
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	for (uint32_t n = 0; n < 2; n++) {
		assert_int_equal(store_piece_get(t, n, &piece), 0);
		assert_true(piece.needs_check);
		store_piece_checked(t, n, true);
		assert_int_equal(store_piece_get(t, n, &piece), 0);
		assert_false(piece.needs_check);
	}
	/* That it was is known still when its pieces left memory and came back. */
	for (unsigned i = 2; i < 1100; i++)
		test_download(s, i, 1);
	store_tick(s, clock_wall_ns() + 60 * SECOND);
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(store_piece_get(t, 0, &piece), 0);
	assert_false(piece.needs_check);
	store_close(s);
}

/* What somebody removes under a running store is made anew. */
static void
removed_directories_are_made_anew(void **state)
{
	static const char *const parts[] = { "store/tmp", "store/meta", "store/content", "store/meta/tasks", "store/content/tasks", "store" };
	struct store *s = test_open();
	struct store_task *t;
	unsigned task = 1;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		test_download(s, task, 3 * PIECE);
		t = test_start(s, task + 1, 3 * PIECE);
		test_piece(t, task + 1, 0);
		assert_int_equal(nftw(test_path(parts[i]), test_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
		/* A download goes on, another one begins. */
		test_piece(t, task + 1, 1);
		test_piece(t, task + 1, 2);
		assert_int_equal(store_task_finish(t, NOW, &e), 0);
		test_download(s, task + 2, 3 * PIECE);
		test_expect_whole(s, task + 2, 3 * PIECE);
		store_tick(s, clock_wall_ns() + 60 * SECOND);
		store_tick(s, clock_wall_ns() + 60 * SECOND);
		task += 3;
	}
	store_close(s);
	s = test_open();
	test_expect_whole(s, task - 1, 3 * PIECE);
	store_close(s);
}

static void
record_damaged_while_running_is_made_anew(void **state)
{
	struct store *s = test_open();
	uint8_t *p;
	size_t n;

	(void)state;
	for (unsigned i = 1; i < 1100; i++)
		test_download(s, i, 1);
	store_tick(s, clock_wall_ns() + 60 * SECOND);
	/* Tasks 1 and 2 left memory: their records are read again. */
	p = test_read(test_task_path("meta", 1, ".m"), &n);
	p[n / 2] ^= 1;
	test_write(test_task_path("meta", 1, ".m"), p, n);
	free(p);
	assert_int_equal(unlink(test_task_path("meta", 2, ".m")), 0);
	for (unsigned i = 1; i <= 2; i++) {
		test_download(s, i, 3 * PIECE);
		test_expect_whole(s, i, 3 * PIECE);
	}
	store_close(s);
	s = test_open();
	test_expect_whole(s, 1, 3 * PIECE);
	test_expect_whole(s, 2, 3 * PIECE);
	store_close(s);
}

static void
missing_content_is_noticed_while_running(void **state)
{
	struct store_options o = test_options();
	struct store *s;
	struct store_task *t;
	struct err e = {0};

	(void)state;
	o.max_open = 1;
	s = test_open_with(&o);
	test_download(s, 1, 3 * PIECE);
	test_download(s, 2, 3 * PIECE);
	store_tick(s, clock_wall_ns());
	assert_int_equal(unlink(test_task_path("content", 1, "")), 0);
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_null(store_task_file(t, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	store_task_content_missing(t);
	assert_int_equal(t->finished_at, 0);
	assert_int_equal(t->pieces_finished, 0);
	test_download(s, 1, 3 * PIECE);
	test_expect_whole(s, 1, 3 * PIECE);
	store_close(s);
}

static void
partial_task_resumes_with_what_it_had(void **state)
{
	struct store *s = test_open();
	struct store_task *t = test_start(s, 1, 8 * PIECE);
	struct store_start same = { .content_length = 8 * PIECE, .piece_length = PIECE };
	bool was_reset = true;
	size_t words;

	(void)state;
	test_piece(t, 1, 0);
	test_piece(t, 1, 1);
	test_piece(t, 1, 6);
	store_close(s);
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_non_null(t);
	assert_int_equal(t->finished_at, 0);
	assert_int_equal(store_task_start(t, &same, NOW, &was_reset, NULL), 0);
	assert_false(was_reset);
	assert_int_equal(t->pieces_finished, 3);
	assert_int_equal(store_task_prefix(t), 2);
	assert_int_equal(store_task_bitmap(t, &words)[0], 0x43);
	assert_true(test_is_right(t, 1, 6));
	assert_int_equal(store_task_finish(t, NOW, NULL), -1);
	for (uint32_t n = 0; n < 8; n++)
		test_piece(t, 1, n);
	assert_int_equal(store_task_finish(t, NOW, NULL), 0);
	store_close(s);
	s = test_open();
	test_expect_whole(s, 1, 8 * PIECE);
	store_close(s);
}

static void
details_survive_a_reopen(void **state)
{
	struct store_header h[] = { { "Content-Type", "a/b" }, { "ETag", "\"1\"" } };
	struct store_start start = { .content_length = PIECE, .piece_length = PIECE, .headers = h, .header_count = 2, .etag = "\"1\"",
		.last_modified = "Tue", .url = "http://o/x", .is_persistent = true, .created_at = 5, .ttl = HOUR };
	struct store *s = test_open();
	struct store_task *t = store_task_begin(s, STORE_PERSISTENT, test_id(1), NOW, NULL);

	(void)state;
	assert_int_equal(store_task_start(t, &start, NOW, NULL, NULL), 0);
	store_task_set_prefetched(t, 77);
	store_close(s);
	s = test_open();
	assert_null(store_task_find(s, STORE_STANDARD, test_id(1)));
	t = store_task_find(s, STORE_PERSISTENT, test_id(1));
	assert_non_null(t);
	assert_int_equal(store_task_header_count(t), 2);
	assert_string_equal(store_task_header(t, 1).value, "\"1\"");
	assert_string_equal(store_task_etag(t), "\"1\"");
	assert_string_equal(store_task_last_modified(t), "Tue");
	assert_string_equal(store_task_url(t), "http://o/x");
	assert_true(t->is_persistent);
	assert_int_equal(t->created_at, 5);
	assert_int_equal(t->ttl, HOUR);
	assert_int_equal(t->prefetched_at, 77);
	store_close(s);
}

static void
changed_origin_drops_the_pieces(void **state)
{
	struct store_start first = { .content_length = 2 * PIECE, .piece_length = PIECE, .etag = "a" }, second = first;
	struct store *s = test_open();
	struct store_task *t = store_task_begin(s, STORE_STANDARD, test_id(1), NOW, NULL);
	struct store_file *old;
	struct store_piece piece;
	uint8_t b[PIECE], want[PIECE];
	bool was_reset;

	(void)state;
	assert_int_equal(store_task_start(t, &first, NOW, &was_reset, NULL), 0);
	assert_false(was_reset);
	test_piece(t, 1, 0);
	old = store_task_file(t, NULL);
	second.etag = "b";
	assert_int_equal(store_task_start(t, &second, NOW, &was_reset, NULL), 0);
	assert_true(was_reset);
	assert_int_equal(t->pieces_finished, 0);
	assert_int_equal(store_piece_get(t, 0, &piece), -1);
	assert_string_equal(store_task_etag(t), "b");
	/* Who still reads the old content reads the old content. */
	test_bytes(want, PIECE, 1, 0);
	assert_int_equal(store_file_pread(old, b, PIECE, 0, NULL), 0);
	assert_memory_equal(b, want, PIECE);
	store_file_unref(old);
	second.etag = NULL;
	assert_int_equal(store_task_start(t, &second, NOW, &was_reset, NULL), 0);
	assert_false(was_reset);
	assert_string_equal(store_task_etag(t), "b");
	second.content_length = PIECE;
	test_piece(t, 1, 1);
	assert_int_equal(store_task_start(t, &second, NOW, &was_reset, NULL), 0);
	assert_true(was_reset);
	store_close(s);
}

static void
unknown_length_is_settled_at_the_end(void **state)
{
	struct store *s = test_open();
	struct store_task *t = test_start(s, 1, STORE_LENGTH_UNKNOWN);
	struct err e;

	(void)state;
	assert_int_equal(store_task_piece_count(t), 0);
	test_piece(t, 1, 0);
	test_piece(t, 1, 1);
	assert_int_equal(store_task_finish(t, NOW, &e), -1);
	assert_int_equal(store_task_set_length(t, PIECE + 7, &e), -1);
	assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
	assert_int_equal(store_task_set_length(t, 2 * PIECE + 7, NULL), 0);
	assert_int_equal(store_task_set_length(t, 3 * PIECE, &e), -1);
	test_piece(t, 1, 2);
	assert_int_equal(store_task_finish(t, NOW, NULL), 0);
	store_close(s);
	s = test_open();
	test_expect_whole(s, 1, 2 * PIECE + 7);
	store_close(s);
}

static void
piece_that_does_not_fit_is_refused(void **state)
{
	struct store *s = test_open();
	struct store_task *t = test_start(s, 1, 2 * PIECE + 1);
	struct store_piece piece = { .number = 2, .offset = 2 * PIECE, .length = 1 };
	struct store_piece bad[] = { piece, piece, piece, piece };

	(void)state;
	bad[0].length = 2;
	bad[1].offset--;
	bad[2].number = 3;
	bad[2].offset = 3 * PIECE;
	bad[3].number = UINT32_MAX;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(store_piece_finish(t, &bad[i], NULL), -1);
	assert_int_equal(store_piece_finish(t, &piece, NULL), 0);
	assert_int_equal(store_piece_finish(t, &piece, NULL), 0);
	assert_int_equal(t->pieces_finished, 1);
	store_close(s);
}

static void
limits_are_kept_one_past(void **state)
{
	struct store_header many[STORE_HEADERS_MAX + 1];
	struct store_start start = { .content_length = 1, .piece_length = STORE_PIECE_LENGTH_MAX + 1 };
	struct store *s = test_open();
	struct store_task *t = store_task_begin(s, STORE_STANDARD, test_id(1), NOW, NULL);
	struct err e;
	char *large;

	(void)state;
	assert_null(store_task_begin(s, STORE_STANDARD, "../../etc/passwd", NOW, &e));
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	start.piece_length = 0;
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	start.piece_length = STORE_PIECE_LENGTH_MAX;
	start.content_length = STORE_CONTENT_MAX + 1;
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	start.content_length = (uint64_t)STORE_PIECES_MAX + 1;
	start.piece_length = 1;
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	start.content_length = 1;
	start.piece_length = 1;
	for (size_t i = 0; i < COUNT_OF(many); i++)
		many[i] = (struct store_header){ "a", "b" };
	start.headers = many;
	start.header_count = COUNT_OF(many);
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	start.header_count--;
	large = xmalloc(STORE_DETAILS_MAX + 1);
	memset(large, 'x', STORE_DETAILS_MAX);
	large[STORE_DETAILS_MAX] = '\0';
	start.url = large;
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	start.header_count = 0;
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), 0);
	store_close(s);
	s = test_open();
	assert_int_equal(strlen(store_task_url(store_task_find(s, STORE_STANDARD, test_id(1)))), STORE_DETAILS_MAX);
	store_close(s);
	free(large);
}

static void
budget_refuses_with_both_numbers(void **state)
{
	struct store_options o = test_options();
	struct store_start start = { .content_length = 11 * PIECE, .piece_length = PIECE };
	struct store_task *a, *b;
	struct store_usage u;
	struct store *s;
	struct err e;

	(void)state;
	o.capacity = 10 * PIECE;
	s = test_open_with(&o);
	a = store_task_begin(s, STORE_STANDARD, test_id(1), NOW, NULL);
	assert_int_equal(store_task_start(a, &start, NOW, NULL, &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	assert_string_equal(e.text, "no space left on device: not enough space to store the task: content_length=45056, available=40960");
	/* A running download keeps its promise against later ones. */
	start.content_length = 6 * PIECE;
	assert_int_equal(store_task_start(a, &start, NOW, NULL, &e), 0);
	b = store_task_begin(s, STORE_STANDARD, test_id(2), NOW, NULL);
	assert_int_equal(store_task_start(b, &start, NOW, NULL, &e), -1);
	assert_int_equal(store_task_delete(a, STORE_DELETED_BY_CALLER, NULL), 0);
	assert_int_equal(store_task_start(b, &start, NOW, NULL, &e), 0);
	assert_int_equal(store_task_delete(b, STORE_DELETED_BY_CALLER, NULL), 0);
	assert_int_equal(store_usage(s, &u, NULL), 0);
	assert_int_equal(u.used + u.reserved, 0);
	assert_int_equal(u.tasks[STORE_STANDARD], 0);
	store_close(s);
}

struct deletion {
	struct store_task *task;
	enum store_reason reason;
	int count;
};

static void
note_deletion(void *arg, struct store_task *t, enum store_reason reason)
{
	struct deletion *d = arg;

	d->task = t;
	d->reason = reason;
	d->count++;
}

static void
deleted_task_in_use_stays_readable_and_refuses_more(void **state)
{
	struct store_options o = test_options();
	struct deletion d = {0};
	struct store *s;
	struct store_task *t, *again;
	struct store_file *f;
	struct err e;
	uint8_t have[PIECE], want[PIECE];

	(void)state;
	o.deleted = note_deletion;
	o.arg = &d;
	s = test_open_with(&o);
	t = test_start(s, 1, 4 * PIECE);
	test_piece(t, 1, 0);
	store_task_upload_begin(t);
	f = store_task_file(t, NULL);
	assert_int_equal(store_task_delete(t, STORE_DELETED_BY_CALLER, NULL), 0);
	assert_int_equal(d.count, 1);
	assert_ptr_equal(d.task, t);
	assert_null(store_task_find(s, STORE_STANDARD, test_id(1)));
	assert_false(test_exists(test_task_path("content", 1, "")));
	assert_false(test_exists(test_task_path("meta", 1, ".m")));
	assert_false(test_exists(test_task_path("meta", 1, ".p")));
	assert_true(t->is_deleted);
	assert_int_equal(test_write_piece(t, 1, 1, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	/* The same id starts over beside it. */
	again = test_download(s, 1, PIECE);
	assert_ptr_not_equal(again, t);
	test_bytes(want, PIECE, 1, 0);
	assert_int_equal(store_file_pread(f, have, PIECE, 0, NULL), 0);
	assert_memory_equal(have, want, PIECE);
	store_file_unref(f);
	store_task_upload_end(t, true, NOW);
	test_expect_whole(s, 1, PIECE);
	store_close(s);
}

static void
failing_does_not_move_a_finished_task(void **state)
{
	struct store *s = test_open();
	struct store_task *t = test_download(s, 1, PIECE), *u;

	(void)state;
	store_task_fail(t, NOW + 1);
	assert_int_equal(t->failed_at, 0);
	u = test_start(s, 2, PIECE);
	store_task_fail(u, NOW + 1);
	store_close(s);
	s = test_open();
	assert_int_equal(store_task_find(s, STORE_STANDARD, test_id(2))->failed_at, NOW + 1);
	u = test_start(s, 2, PIECE);
	assert_int_equal(u->failed_at, 0);
	store_close(s);
}

static void
dropped_piece_makes_a_finished_task_unfinished_for_good(void **state)
{
	struct store *s = test_open();
	struct store_task *t = test_download(s, 1, 4 * PIECE);

	(void)state;
	assert_true(t->is_synced);
	store_piece_drop(t, 2, "test");
	assert_int_equal(t->finished_at, 0);
	assert_int_equal(t->pieces_finished, 3);
	assert_int_equal(store_task_prefix(t), 2);
	store_close(s);
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(t->finished_at, 0);
	assert_int_equal(t->pieces_finished, 3);
	assert_false(store_piece_is_finished(t, 2));
	test_piece(t, 1, 2);
	assert_int_equal(store_task_finish(t, NOW, NULL), 0);
	store_close(s);
	s = test_open();
	test_expect_whole(s, 1, 4 * PIECE);
	store_close(s);
}

static void
journal_of_many_drops_stays_short(void **state)
{
	struct store *s = test_open();
	struct store_task *t = test_start(s, 1, 4 * PIECE);
	struct stat st;

	(void)state;
	test_piece(t, 1, 0);
	for (int i = 0; i < 5000; i++) {
		test_piece(t, 1, 1);
		store_piece_drop(t, 1, "test");
	}
	assert_int_equal(stat(test_task_path("meta", 1, ".p"), &st), 0);
	assert_in_range(st.st_size, 64, 64 * 1024);
	store_close(s);
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(t->pieces_finished, 1);
	assert_true(test_is_right(t, 1, 0));
	store_close(s);
}

static void
thousands_of_tasks_keep_descriptors_few(void **state)
{
	struct store_options o = test_options();
	struct store *s;
	int fd;

	(void)state;
	o.max_open = 8;
	o.sync = STORE_SYNC_NONE;
	s = test_open_with(&o);
	for (unsigned i = 0; i < 3000; i++) {
		test_download(s, i, 100);
		if (i % 100 == 0)
			store_tick(s, NOW);
	}
	fd = open("/dev/null", O_RDONLY);
	assert_in_range(fd, 3, 64);
	close(fd);
	for (unsigned i = 0; i < 3000; i++)
		test_expect_whole(s, i, 100);
	store_close(s);
}

static void
two_stores_on_one_directory_are_refused(void **state)
{
	struct store_options o = test_options();
	struct store *s = test_open();
	struct err e;

	(void)state;
	assert_null(store_open(&o, &e));
	assert_int_equal(e.code, ERR_ALREADY_EXISTS);
	assert_non_null(strstr(e.text, "store/LOCK"));
	store_close(s);
	s = test_open();
	store_close(s);
}

static void
upload_counts_and_touches(void **state)
{
	struct store *s = test_open();
	struct store_task *t = test_download(s, 1, PIECE);

	(void)state;
	store_task_upload_begin(t);
	store_task_upload_begin(t);
	assert_int_equal(t->uploading_count, 2);
	store_task_upload_end(t, true, NOW + HOUR);
	store_task_upload_end(t, false, NOW + 2 * HOUR);
	assert_int_equal(t->uploading_count, 0);
	assert_int_equal(t->uploaded_count, 1);
	assert_int_equal(t->updated_at, NOW + HOUR);
	store_tick(s, NOW + HOUR);
	store_close(s);
	s = test_open();
	assert_int_equal(store_task_find(s, STORE_STANDARD, test_id(1))->updated_at, NOW + HOUR);
	test_expect_whole(s, 1, PIECE);
	store_close(s);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(real_syncs_are_taken),
		WITH_DIR(finished_tasks_survive_a_reopen),
		WITH_DIR(piece_is_checked_once_a_run),
		WITH_DIR(removed_directories_are_made_anew),
		WITH_DIR(missing_content_is_noticed_while_running),
		WITH_DIR(record_damaged_while_running_is_made_anew),
		WITH_DIR(partial_task_resumes_with_what_it_had),
		WITH_DIR(details_survive_a_reopen),
		WITH_DIR(changed_origin_drops_the_pieces),
		WITH_DIR(unknown_length_is_settled_at_the_end),
		WITH_DIR(piece_that_does_not_fit_is_refused),
		WITH_DIR(limits_are_kept_one_past),
		WITH_DIR(budget_refuses_with_both_numbers),
		WITH_DIR(deleted_task_in_use_stays_readable_and_refuses_more),
		WITH_DIR(failing_does_not_move_a_finished_task),
		WITH_DIR(dropped_piece_makes_a_finished_task_unfinished_for_good),
		WITH_DIR(journal_of_many_drops_stays_short),
		WITH_DIR(thousands_of_tasks_keep_descriptors_few),
		WITH_DIR(two_stores_on_one_directory_are_refused),
		WITH_DIR(upload_counts_and_touches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
