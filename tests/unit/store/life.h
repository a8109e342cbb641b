/*
 * A day in the life of a store, for the tables of faults, deaths and power cuts: an old store is opened, served from, a damaged piece is
 * replaced, tasks are downloaded, resumed, changed at their origin, delivered, deleted, collected. And what must be true after it ended
 * anywhere: no wrong byte is served, nothing that was on stable storage is lost, no space leaks.
 */
#ifndef UNIT_STORE_LIFE_H
#define UNIT_STORE_LIFE_H

#include "unit/store/store_test.h"

#include <dirent.h>
#include <stddef.h>

#define LIFE_LENGTH (4 * PIECE + 77)
#define LIFE_PIECES 5

/* Tasks: 1 has a damaged piece, 2 and 8 are new, 3 is deleted, 4 is resumed and its journal must be written anew, 5 is only served,
 * 6 changed at its origin, 7 expires. */
#define LIFE_TASKS 8
#define LIFE_CHANGED 6
#define LIFE_NEW_BYTES 106      /* what task 6 holds once it changed */

/* What was promised so far; in shared memory where the scenario dies in another process. */
struct life {
	bool is_durable[LIFE_TASKS + 1][LIFE_PIECES];
	bool is_new_kept;               /* the new version of task 6 */
	bool has_copy, has_link;        /* delivered and synced */
};

static struct life *life;
static char life_last_error[ERR_TEXT_MAX];      /* of a download */
static char life_context[96];           /* which row of a table this is */
static const char *life_cause;          /* what an error says besides its object; NULL: not told */

static bool life_is_child;      /* of the test: it tells by its exit code */

#define LIFE_FAIL(...) \
	do { \
		print_error("%s: ", life_context); \
		if (life_is_child) { \
			print_error(__VA_ARGS__); \
			_exit(1); \
		} \
		fail_msg(__VA_ARGS__); \
	} while (0)

static inline void
life_start(unsigned bytes, struct store *s, unsigned task, unsigned first, unsigned end, const char *etag, int64_t now)
{
	struct store_start start = { .content_length = LIFE_LENGTH, .piece_length = PIECE, .etag = etag };
	struct store_task *t = store_task_begin(s, STORE_STANDARD, test_id(task), now, NULL);
	struct err e = {0};

	assert_non_null(t);
	assert_int_equal(store_task_start(t, &start, now, NULL, &e), 0);
	for (uint32_t n = first; n < end; n++)
		assert_int_equal(test_write_piece(t, bytes, n, &e), 0);
	if (end == LIFE_PIECES)
		assert_int_equal(store_task_finish(t, now, &e), 0);
}

/* The store as it was before, all of it on stable storage; *life says so. */
static inline void
life_prepare(void)
{
	static const unsigned whole[] = { 1, 3, 5, LIFE_CHANGED };
	struct store *s;

	nftw(test_path("store"), test_remove, 16, FTW_DEPTH | FTW_PHYS);
	unlink(test_path("copy"));
	unlink(test_path("link"));
	memset(life, 0, sizeof(*life));
	s = test_open();
	for (size_t i = 0; i < COUNT_OF(whole); i++) {
		life_start(whole[i], s, whole[i], 0, LIFE_PIECES, "v", NOW);
		for (uint32_t n = 0; n < LIFE_PIECES; n++)
			life->is_durable[whole[i]][n] = whole[i] != 3;
	}
	life_start(4, s, 4, 0, 3, "v", NOW);
	life_start(7, s, 7, 0, LIFE_PIECES, "v", NOW - 10 * HOUR);
	store_tick(s, clock_wall_ns() + 60 * SECOND);
	store_close(s);
	/* Its third piece is lost, so that the next append writes the journal anew. */
	assert_int_equal(truncate(test_task_path("content", 4, ""), 2 * PIECE), 0);
	life->is_durable[4][0] = life->is_durable[4][1] = true;
}

static inline unsigned
life_bytes(unsigned task, struct store_task *t)
{
	const char *etag = store_task_etag(t);

	return task == LIFE_CHANGED && etag && strcmp(etag, "w") == 0 ? LIFE_NEW_BYTES : task;
}

/* As a piece goes to a child: opened, checked where needed, read. False: not served. A wrong byte that passes ends the test. */
static inline bool
life_serve(struct store_task *t, unsigned task, uint32_t n)
{
	static uint8_t buffer[STORE_IO_BYTES];
	struct store_piece piece;
	struct store_file *f;
	struct err e = {0};
	bool is_served = false;

	if (store_piece_get(t, n, &piece) < 0 || !(f = store_task_file(t, NULL)))
		return false;
	if (store_task_content_changed(t, f) && store_piece_get(t, n, &piece) < 0)
		goto done;
	if (piece.needs_check && store_file_check(f, piece.offset, piece.length, piece.crc, buffer, &e) < 0) {
		if (e.code == ERR_DATA_LOSS)
			store_piece_checked(t, n, false);
		goto done;
	}
	if (piece.needs_check)
		store_piece_checked(t, n, true);
	store_file_unref(f);
	f = NULL;
	is_served = true;
	if (!test_is_right(t, life_bytes(task, t), n)) {
		/* A second fault is possible only where none was met yet: reading again is allowed to fail, not to lie. */
		f = store_task_file(t, NULL);
		if (f && store_file_pread(f, buffer, (size_t)piece.length, piece.offset, NULL) == 0 &&
		    crc32_update(0, buffer, (size_t)piece.length) != piece.crc)
			LIFE_FAIL("task %u piece %u was served wrong", task, n);
	}
done:
	store_file_unref(f);
	return is_served;
}

/* What the store says is on stable storage now. */
static inline void
life_note(struct store *s)
{
	struct store_piece piece;

	for (unsigned task = 1; task <= LIFE_TASKS; task++) {
		struct store_task *t;

		if (task == 3 || task == 7 || !(t = store_task_find(s, STORE_STANDARD, test_id(task))))
			continue;
		if (task == LIFE_CHANGED && life_bytes(task, t) != LIFE_NEW_BYTES)
			continue;
		for (uint32_t n = 0; n < LIFE_PIECES; n++)
			if (store_piece_get(t, n, &piece) == 0 && piece.is_durable && !piece.needs_check)
				life->is_durable[task][n] = true;
	}
}

/* Says where and why. */
static inline void
life_named(const struct err *e)
{
	if (e->code == ERR_OK || (!strchr(e->text, '/') && !strstr(e->text, "task ") && !strstr(e->text, "no space")))
		LIFE_FAIL("the error does not name its object: \"%s\"", e->text);
	if (life_cause && !strstr(e->text, life_cause) && !strstr(e->text, "no space left on device"))
		LIFE_FAIL("the error does not name its cause: \"%s\"", e->text);
}

static inline struct store_task *
life_download(struct store *s, unsigned task, unsigned bytes, const char *etag)
{
	struct store_start start = { .content_length = LIFE_LENGTH, .piece_length = PIECE, .etag = etag };
	struct err e = {0};
	struct store_task *t = store_task_begin(s, STORE_STANDARD, test_id(task), NOW, &e);

	if (!t || store_task_start(t, &start, NOW, NULL, &e) < 0)
		goto fail;
	for (uint32_t n = 0; n < LIFE_PIECES; n++)
		if (!store_piece_is_finished(t, n) && test_write_piece(t, bytes, n, &e) < 0)
			goto fail;
	if (store_task_finish(t, NOW, &e) == 0)
		return t;
fail:
	snprintf(life_last_error, sizeof(life_last_error), "%s", e.text);
	life_named(&e);
	if (t)
		store_task_fail(t, NOW);
	return NULL;
}

static inline void
life_deliver(struct store_task *t)
{
	struct store_output_options copy = { .target = test_path("copy"), .sync = true, .overwrite = true };
	struct store_output_options linked = { .target = test_path("link"), .sync = true };
	struct err e = {0};
	struct store_file *f = store_task_file(t, &e);

	if (!f) {
		life_named(&e);
		return;
	}
	if (store_output_copy(f, LIFE_LENGTH, &copy, &e) == 0)
		life->has_copy = true;
	else
		life_named(&e);
	err_clear(&e);
	if (store_output_link(f, &linked, &e) == 0) {
		life->has_link = true;
		store_task_linked(t, f);
	} else {
		life_named(&e);
	}
	store_file_unref(f);
}

/* What the store threw away for space or age is no loss. */
static inline void
life_deleted(void *arg, struct store_task *t, enum store_reason reason)
{
	(void)arg;
	for (unsigned task = 1; reason != STORE_DELETED_DAMAGED && task <= LIFE_TASKS; task++)
		if (strcmp(t->id, test_id(task)) == 0)
			memset(life->is_durable[task], 0, sizeof(life->is_durable[task]));
}

static inline void
life_run(const struct store_sys *sys)
{
	struct store_options o = test_options();
	struct store_gc_limits limits = { .task_ttl = HOUR, .page_cache_idle = 1, .high_percent = 99, .low_percent = 98 };
	struct store_gc_result r;
	struct store_task *t;
	struct err e = {0};
	struct store *s;

	o.sys = sys;
	o.deleted = life_deleted;
	if (getenv("LIFE_LOG"))
		log_set_level(LOG_DEBUG);
	s = store_open(&o, &e);
	if (!s) {
		life_named(&e);
		return;
	}
	t = store_task_find(s, STORE_STANDARD, test_id(5));
	for (uint32_t n = 0; t && n < LIFE_PIECES; n++)
		life_serve(t, 5, n);
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	life->is_durable[1][2] = false;
	if (t)
		store_piece_drop(t, 2, "test");
	life_download(s, 1, 1, "v");
	t = life_download(s, 2, 2, "v");
	store_tick(s, clock_wall_ns() + 60 * SECOND);
	life_note(s);
	if (t)
		life_deliver(t);
	life_download(s, 4, 4, "v");
	memset(life->is_durable[LIFE_CHANGED], 0, sizeof(life->is_durable[LIFE_CHANGED]));
	life_download(s, LIFE_CHANGED, LIFE_NEW_BYTES, "w");
	store_tick(s, clock_wall_ns() + 120 * SECOND);
	life_note(s);
	t = store_task_find(s, STORE_STANDARD, test_id(3));
	if (t && store_task_delete(t, STORE_DELETED_BY_CALLER, &e) < 0)
		life_named(&e);
	store_gc_pass(s, NOW, &limits, 10, &r);
	life_download(s, 8, 8, "v");
	life_note(s);
	store_close(s);
}

static inline void
life_expect_output(const char *name, bool is_promised)
{
	uint8_t *p, want[PIECE];
	size_t n;

	if (!test_exists(test_path(name))) {
		if (is_promised)
			LIFE_FAIL("output %s was synced and is lost", name);
		return;
	}
	p = test_read(test_path(name), &n);
	if (n != LIFE_LENGTH)
		LIFE_FAIL("output %s has %zu bytes", name, n);
	for (uint32_t i = 0; i < LIFE_PIECES; i++) {
		test_bytes(want, PIECE, 2, i);
		if (memcmp(p + (size_t)i * PIECE, want, i < 4 ? PIECE : 77) != 0)
			LIFE_FAIL("output %s is wrong", name);
	}
	free(p);
}

static uint64_t life_blocks;
static unsigned life_files;

static inline int
life_count(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path;
	(void)at;
	if (type == FTW_F) {
		life_blocks += (uint64_t)st->st_blocks * 512;
		life_files++;
	}
	return 0;
}

static inline unsigned
life_files_in(const char *name)
{
	life_blocks = life_files = 0;
	assert_int_equal(nftw(test_path(name), life_count, 16, FTW_PHYS), 0);
	return life_files;
}

/* Space is accounted for, and nothing lies about that no task owns. */
static inline void
life_expect_no_leak(struct store *s)
{
	struct store_usage u;
	unsigned content, records;

	assert_int_equal(store_usage(s, &u, NULL), 0);
	content = life_files_in("store/content");
	if (u.used != life_blocks)
		LIFE_FAIL("accounted are %llu bytes, on disk %llu", (unsigned long long)u.used, (unsigned long long)life_blocks);
	records = life_files_in("store/meta/tasks");
	if (content > u.tasks[STORE_STANDARD] || records > 2 * u.tasks[STORE_STANDARD])
		LIFE_FAIL("%u content files and %u records of %zu tasks", content, records, u.tasks[STORE_STANDARD]);
	if (life_files_in("store/tmp") > 0)
		LIFE_FAIL("%u files in tmp", life_files);
}

/* A store opened now, without faults, keeps all promises. `deep`: and goes on to work. */
static inline void
life_check(bool deep)
{
	static unsigned turn;
	struct store_options o = test_options();
	struct err e = {0};
	/* Every second time tasks are served while only the index was read, and their shards later. */
	bool is_lazy = turn++ % 2 == 0;
	struct store *s;

	o.run = is_lazy ? test_hold : NULL;
	s = store_open(&o, &e);
	if (!s)
		LIFE_FAIL("the store does not open: %s", e.text);
	if (!is_lazy)
		life_expect_no_leak(s);
	for (unsigned task = 1; task <= LIFE_TASKS; task++) {
		struct store_task *t = store_task_find(s, STORE_STANDARD, test_id(task));
		bool was_finished = t && t->finished_at != 0;

		if (was_finished && t->pieces_finished != LIFE_PIECES)
			LIFE_FAIL("finished task %u has %u pieces", task, t->pieces_finished);
		for (uint32_t n = 0; n < LIFE_PIECES; n++) {
			bool is_served = t && life_serve(t, task, n);

			if (life->is_durable[task][n] && !is_served)
				LIFE_FAIL("task %u piece %u was on stable storage and is lost", task, n);
		}
	}
	life_expect_output("copy", life->has_copy);
	life_expect_output("link", life->has_link);
	if (is_lazy) {
		test_work();
		store_tick(s, clock_wall_ns());
		test_work();
		life_expect_no_leak(s);
	}
	if (deep)
		for (unsigned task = 1; task <= LIFE_TASKS; task++)
			if (!life_download(s, task, task == LIFE_CHANGED ? LIFE_NEW_BYTES : task, task == LIFE_CHANGED ? "w" : "v"))
				LIFE_FAIL("task %u cannot be downloaded any more: %s", task, life_last_error);
	test_work();
	store_close(s);
	if (!deep)
		return;
	s = test_open();
	for (unsigned task = 1; task <= LIFE_TASKS; task++)
		test_expect_whole_bytes(s, task, task == LIFE_CHANGED ? LIFE_NEW_BYTES : task, LIFE_LENGTH);
	life_expect_no_leak(s);
	store_close(s);
}

#endif
