#include "unit/store/store_test.h"

#include <signal.h>
#include <sys/wait.h>

#define PIECES 4

/* Makes a store as kill -9 leaves it: a child opens it, does `work`, and is killed. */
static void
killed_after(void (*work)(struct store *s), enum store_sync sync)
{
	struct store_options o = test_options();
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	o.sync = sync;
	if (child == 0) {
		struct store *s = store_open(&o, NULL);

		if (!s)
			_exit(1);
		work(s);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
download_one(struct store *s)
{
	test_download(s, 1, PIECES * PIECE);
}

static void
download_part(struct store *s)
{
	struct store_task *t = test_start(s, 1, PIECES * PIECE);

	for (uint32_t n = 0; n < PIECES - 1; n++)
		test_piece(t, 1, n);
}

static void
synced_task_is_trusted_after_a_kill(void **state)
{
	struct store_piece piece;
	struct store *s;

	(void)state;
	killed_after(download_one, STORE_SYNC_COMPLETE);
	s = test_open();
	test_expect_whole(s, 1, PIECES * PIECE);
	assert_int_equal(store_piece_get(store_task_find(s, STORE_STANDARD, test_id(1)), 0, &piece), 0);
	assert_true(piece.is_durable);
	store_close(s);
}

static void
unsynced_pieces_need_a_check_after_a_kill(void **state)
{
	struct store_piece piece;
	struct store_task *t;
	struct store *s;
	uint8_t *buf = xmalloc(STORE_IO_BYTES);
	struct store_file *f;

	(void)state;
	killed_after(download_part, STORE_SYNC_COMPLETE);
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(t->pieces_finished, PIECES - 1);
	f = store_task_file(t, NULL);
	for (uint32_t n = 0; n < PIECES - 1; n++) {
		assert_int_equal(store_piece_get(t, n, &piece), 0);
		assert_true(piece.needs_check);
		assert_int_equal(store_file_check(f, piece.offset, piece.length, piece.crc, buf, NULL), 0);
		store_piece_checked(t, n, n != 1);
	}
	store_file_unref(f);
	assert_int_equal(store_piece_get(t, 0, &piece), 0);
	assert_false(piece.needs_check);
	assert_false(store_piece_is_finished(t, 1));
	store_close(s);
	free(buf);
}

static void
background_check_drops_what_a_power_cut_spoiled(void **state)
{
	struct store_piece piece;
	struct store_task *t;
	struct store *s;
	int64_t now = clock_wall_ns();
	FILE *f;

	(void)state;
	killed_after(download_part, STORE_SYNC_COMPLETE);
	f = fopen(test_task_path("content", 1, ""), "r+b");
	assert_int_equal(fseek(f, PIECE + 10, SEEK_SET), 0);
	assert_int_equal(fwrite("spoiled", 1, 7, f), 7);
	fclose(f);
	s = test_open();
	store_tick(s, now + 60 * SECOND);
	store_tick(s, now + 120 * SECOND);
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(t->pieces_finished, PIECES - 2);
	assert_false(store_piece_is_finished(t, 1));
	assert_int_equal(store_piece_get(t, 0, &piece), 0);
	assert_false(piece.needs_check);
	store_close(s);
}

static void
finished_but_unsynced_task_is_checked_and_then_synced(void **state)
{
	struct store_task *t;
	struct store *s;
	int64_t now = clock_wall_ns();

	(void)state;
	killed_after(download_one, STORE_SYNC_NONE);
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_true(t->finished_at != 0);
	assert_false(t->is_synced);
	for (int i = 1; i < 5; i++)
		store_tick(s, now + i * 60 * SECOND);
	assert_true(t->is_synced);
	test_expect_whole(s, 1, PIECES * PIECE);
	store_close(s);
}

static void
download_all(struct store *s)
{
	struct store_task *t = test_start(s, 1, PIECES * PIECE);
	struct err e;

	for (uint32_t n = 0; n < PIECES; n++)
		test_piece(t, 1, n);
	if (store_task_finish(t, NOW, &e) < 0)
		_exit(1);
}

/* Killed before the record of a finished task was written. */
static void
task_with_all_pieces_is_finished_after_a_kill(void **state)
{
	struct store_task *t;
	struct store *s;
	int64_t now = clock_wall_ns();

	(void)state;
	killed_after(download_all, STORE_SYNC_COMPLETE);
	s = test_open();
	for (int i = 1; i < 5; i++)
		store_tick(s, now + i * 60 * SECOND);
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_true(t->is_synced);
	test_expect_whole(s, 1, PIECES * PIECE);
	store_close(s);
	s = test_open();
	assert_true(store_task_find(s, STORE_STANDARD, test_id(1))->finished_at != 0);
	store_close(s);
}

/* With the journal cut to n bytes, exactly the pieces of whole records are there, and the task can go on. */
static void
expect_cut(size_t n, size_t whole)
{
	struct store *s = test_open();
	struct store_task *t = store_task_find(s, STORE_STANDARD, test_id(1));
	size_t pieces = n / 64 < whole ? n / 64 : whole;

	assert_non_null(t);
	assert_int_equal(t->pieces_finished, pieces);
	for (uint32_t i = 0; i < pieces; i++)
		assert_true(test_is_right(t, 1, i));
	for (uint32_t i = 0; i < PIECES; i++)
		test_piece(t, 1, i);
	assert_int_equal(store_task_finish(t, NOW, NULL), 0);
	store_close(s);
	s = test_open();
	test_expect_whole(s, 1, PIECES * PIECE);
	store_close(s);
}

static void
journal_torn_at_every_byte_loses_the_torn_piece_only(void **state)
{
	size_t n, m;
	uint8_t *journal, *record;

	(void)state;
	killed_after(download_part, STORE_SYNC_COMPLETE);
	journal = test_read(test_task_path("meta", 1, ".p"), &n);
	record = test_read(test_task_path("meta", 1, ".m"), &m);
	assert_int_equal(n, 64 * (PIECES - 1));
	for (size_t cut = 0; cut <= n; cut++) {
		test_write(test_task_path("meta", 1, ".p"), journal, cut);
		test_write(test_task_path("meta", 1, ".m"), record, m);
		unlink(test_path("store/CLEAN"));
		expect_cut(cut, PIECES);
	}
	free(journal);
	free(record);
}

static void
journal_flipped_at_any_bit_ends_there(void **state)
{
	size_t n, m;
	uint8_t *journal, *record;

	(void)state;
	killed_after(download_part, STORE_SYNC_COMPLETE);
	journal = test_read(test_task_path("meta", 1, ".p"), &n);
	record = test_read(test_task_path("meta", 1, ".m"), &m);
	for (size_t bit = 0; bit < n * 8; bit += 5) {
		journal[bit / 8] ^= (uint8_t)(1 << bit % 8);
		test_write(test_task_path("meta", 1, ".p"), journal, n);
		test_write(test_task_path("meta", 1, ".m"), record, m);
		unlink(test_path("store/CLEAN"));
		expect_cut(n, bit / 8 / 64);
		journal[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(journal);
	free(record);
}

static void
damaged_record_removes_the_task_with_its_files(void **state)
{
	struct store *s = test_open();
	size_t n;
	uint8_t *record;

	(void)state;
	test_download(s, 1, PIECES * PIECE);
	test_download(s, 2, PIECES * PIECE);
	store_close(s);
	record = test_read(test_task_path("meta", 1, ".m"), &n);
	record[n / 2] ^= 1;
	test_write(test_task_path("meta", 1, ".m"), record, n);
	s = test_open();
	assert_null(store_task_find(s, STORE_STANDARD, test_id(1)));
	assert_false(test_exists(test_task_path("meta", 1, ".m")));
	assert_false(test_exists(test_task_path("meta", 1, ".p")));
	assert_false(test_exists(test_task_path("content", 1, "")));
	test_expect_whole(s, 2, PIECES * PIECE);
	store_close(s);
	free(record);
}

static void
record_of_another_task_is_not_taken(void **state)
{
	struct store *s = test_open();
	size_t n;
	uint8_t *record;

	(void)state;
	test_download(s, 1, PIECE);
	test_download(s, 2, PIECE);
	store_close(s);
	record = test_read(test_task_path("meta", 2, ".m"), &n);
	test_write(test_task_path("meta", 1, ".m"), record, n);
	s = test_open();
	assert_null(store_task_find(s, STORE_STANDARD, test_id(1)));
	test_expect_whole(s, 2, PIECE);
	store_close(s);
	free(record);
}

static void
missing_and_short_content_is_noticed(void **state)
{
	struct store *s = test_open();
	struct store_task *t;

	(void)state;
	test_download(s, 1, PIECES * PIECE);
	test_download(s, 2, PIECES * PIECE);
	store_close(s);
	assert_int_equal(unlink(test_task_path("content", 1, "")), 0);
	assert_int_equal(truncate(test_task_path("content", 2, ""), 2 * PIECE + 1), 0);
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(t->finished_at, 0);
	assert_int_equal(t->pieces_finished, 0);
	test_download(s, 1, PIECES * PIECE);
	t = store_task_find(s, STORE_STANDARD, test_id(2));
	assert_int_equal(t->finished_at, 0);
	assert_int_equal(t->pieces_finished, 2);
	test_download(s, 2, PIECES * PIECE);
	store_close(s);
	s = test_open();
	test_expect_whole(s, 1, PIECES * PIECE);
	test_expect_whole(s, 2, PIECES * PIECE);
	store_close(s);
}

static void
deleted_content_of_a_running_task_is_made_anew(void **state)
{
	struct store *s = test_open();

	(void)state;
	test_download(s, 1, PIECE);
	store_close(s);
	s = test_open();
	assert_int_equal(unlink(test_task_path("content", 1, "")), 0);
	test_download(s, 1, PIECE);
	test_expect_whole(s, 1, PIECE);
	store_close(s);
}

static void
edited_content_needs_a_check(void **state)
{
	struct store *s = test_open();
	struct store_task *t;
	struct store_piece piece;
	struct store_file *f;

	(void)state;
	test_download(s, 1, PIECES * PIECE);
	store_close(s);
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	f = store_task_file(t, NULL);
	assert_false(store_task_content_changed(t, f));
	test_write(test_task_path("content", 1, ""), "short", 5);
	assert_true(store_task_content_changed(t, f));
	assert_int_equal(store_piece_get(t, 0, &piece), 0);
	assert_true(piece.needs_check);
	store_file_unref(f);
	store_close(s);
	/* And is still in doubt in the next run. */
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(t->pieces_finished, 0);
	store_close(s);
}

static void
content_edited_while_stopped_needs_a_check(void **state)
{
	struct store *s = test_open();
	struct store_task *t;
	struct store_piece piece;
	uint8_t bytes[PIECES * PIECE] = {0};

	(void)state;
	test_download(s, 1, sizeof(bytes));
	store_close(s);
	test_write(test_task_path("content", 1, ""), bytes, sizeof(bytes));
	s = test_open();
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	assert_int_equal(store_piece_get(t, 0, &piece), 0);
	assert_true(piece.needs_check);
	store_piece_checked(t, 0, false);
	assert_int_equal(t->finished_at, 0);
	store_close(s);
}

static void
foreign_files_are_left_alone_and_orphans_removed(void **state)
{
	const char *orphan = test_id(1), *name;
	struct store *s = test_open();
	char path[512];

	(void)state;
	test_download(s, 1, PIECE);
	store_task_delete(store_task_find(s, STORE_STANDARD, orphan), STORE_DELETED_BY_CALLER, NULL);
	store_close(s);
	test_write(test_task_path("content", 1, ""), "orphan", 6);
	test_write(test_task_path("meta", 1, ".p"), "orphan", 6);
	test_write(test_task_path("content", 1, ".bak"), "keep", 4);
	snprintf(path, sizeof(path), "store/content/tasks/%.3s/notes", orphan);
	test_write(test_path(path), "keep", 4);
	test_write(test_path("store/content/tasks/README"), "keep", 4);
	test_write(test_path("store/tmp/m-77"), "left", 4);
	test_write(test_path("store/tmp/other"), "keep", 4);
	s = test_open();
	assert_false(test_exists(test_task_path("content", 1, "")));
	assert_false(test_exists(test_task_path("meta", 1, ".p")));
	assert_true(test_exists(test_task_path("content", 1, ".bak")));
	name = test_path(path);
	assert_true(test_exists(name));
	assert_true(test_exists(test_path("store/content/tasks/README")));
	assert_false(test_exists(test_path("store/tmp/m-77")));
	assert_true(test_exists(test_path("store/tmp/other")));
	store_close(s);
}

static void
expect_refused(const char *part)
{
	struct store_options o = test_options();
	struct err e;

	o.keep = false;
	assert_null(store_open(&o, &e));
	assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
	assert_non_null(strstr(e.text, part));
}

static void
foreign_directory_and_other_formats_are_refused(void **state)
{
	(void)state;
	mkdir(test_path("store"), 0700);
	test_write(test_path("store/precious"), "x", 1);
	expect_refused("precious");
	assert_true(test_exists(test_path("store/precious")));
	unlink(test_path("store/precious"));
	test_write(test_path("store/VERSION"), "dfc-storage 2\n", 14);
	expect_refused("dfc-storage 2");
	test_write(test_path("store/VERSION"), "", 0);
	expect_refused("format");
}

static void
newer_task_record_is_left_alone(void **state)
{
	struct store *s = test_open();
	size_t n;
	uint8_t *record;

	(void)state;
	test_download(s, 1, PIECE);
	store_close(s);
	/* Version 2 with its checksum, as a later program writes it. */
	record = test_read(test_task_path("meta", 1, ".m"), &n);
	record[5] = 2;
	{
		uint32_t crc = 0xffffffff;

		for (size_t i = 0; i < n - 4; i++) {
			crc ^= record[i];
			for (int k = 0; k < 8; k++)
				crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
		}
		crc = ~crc;
		for (int i = 0; i < 4; i++)
			record[n - 1 - (size_t)i] = (uint8_t)(crc >> 8 * i);
	}
	test_write(test_task_path("meta", 1, ".m"), record, n);
	s = test_open();
	assert_null(store_task_find(s, STORE_STANDARD, test_id(1)));
	assert_true(test_exists(test_task_path("meta", 1, ".m")));
	assert_true(test_exists(test_task_path("content", 1, "")));
	store_close(s);
	free(record);
}

static void
without_keep_the_old_store_goes(void **state)
{
	struct store_options o = test_options();
	struct store *s = test_open();

	(void)state;
	test_download(s, 1, PIECE);
	store_close(s);
	o.keep = false;
	s = test_open_with(&o);
	assert_null(store_task_find(s, STORE_STANDARD, test_id(1)));
	assert_false(test_exists(test_path("store/trash-0")));
	assert_false(test_exists(test_path("store/trash-1")));
	test_download(s, 1, PIECE);
	test_expect_whole(s, 1, PIECE);
	store_close(s);
}

static void
deletions_in_one_run_do_not_come_back(void **state)
{
	struct store *s = test_open();

	(void)state;
	for (unsigned i = 0; i < 50; i++)
		test_download(s, i, PIECE);
	for (unsigned i = 0; i < 50; i += 2)
		store_task_delete(store_task_find(s, STORE_STANDARD, test_id(i)), STORE_DELETED_BY_CALLER, NULL);
	store_close(s);
	s = test_open();
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(store_task_find(s, STORE_STANDARD, test_id(i)) != NULL, i % 2);
	store_close(s);
}

static int
failing_sync(int fd)
{
	(void)fd;
	errno = EIO;
	return -1;
}

/* A start that finds the mark syncs no directory again, so it must not be there when one is left unsynced. */
static void
mark_of_an_orderly_stop_needs_every_directory_synced(void **state)
{
	struct store_options o = test_options();
	struct store_sys sys = store_sys_posix;

	(void)state;
	killed_after(download_one, STORE_SYNC_COMPLETE);
	sys.fdatasync = sys.fsync = failing_sync;
	o.sys = &sys;
	store_close(test_open_with(&o));
	assert_false(test_exists(test_path("store/CLEAN")));
	store_close(test_open());
	assert_true(test_exists(test_path("store/CLEAN")));
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(synced_task_is_trusted_after_a_kill),
		WITH_DIR(unsynced_pieces_need_a_check_after_a_kill),
		WITH_DIR(background_check_drops_what_a_power_cut_spoiled),
		WITH_DIR(finished_but_unsynced_task_is_checked_and_then_synced),
		WITH_DIR(task_with_all_pieces_is_finished_after_a_kill),
		WITH_DIR(journal_torn_at_every_byte_loses_the_torn_piece_only),
		WITH_DIR(journal_flipped_at_any_bit_ends_there),
		WITH_DIR(damaged_record_removes_the_task_with_its_files),
		WITH_DIR(record_of_another_task_is_not_taken),
		WITH_DIR(missing_and_short_content_is_noticed),
		WITH_DIR(deleted_content_of_a_running_task_is_made_anew),
		WITH_DIR(edited_content_needs_a_check),
		WITH_DIR(content_edited_while_stopped_needs_a_check),
		WITH_DIR(foreign_files_are_left_alone_and_orphans_removed),
		WITH_DIR(foreign_directory_and_other_formats_are_refused),
		WITH_DIR(newer_task_record_is_left_alone),
		WITH_DIR(without_keep_the_old_store_goes),
		WITH_DIR(deletions_in_one_run_do_not_come_back),
		WITH_DIR(mark_of_an_orderly_stop_needs_every_directory_synced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
