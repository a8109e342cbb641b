/*
 * What the tests of the store share: a scratch directory, tasks with bytes that tell which piece they belong to.
 */
#ifndef UNIT_STORE_TEST_H
#define UNIT_STORE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/file.h"
#include "store/output.h"
#include "store/store.h"
#include "store/sys.h"

#define PIECE 4096
#define NOW ((int64_t)1800000000 * 1000000000)
#define SECOND ((int64_t)1000000000)
#define HOUR (3600 * SECOND)

static char test_root[256];     /* of the running test */

static inline int
test_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static inline int
test_setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	log_set_level(LOG_OFF);
	/* In memory where there is such a place: thousands of small files are made and removed. */
	if (!tmp || tmp[0] == '\0')
		tmp = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(test_root, sizeof(test_root), "%s/store-test-XXXXXX", tmp);
	return mkdtemp(test_root) ? 0 : -1;
}

static inline int
test_teardown(void **state)
{
	(void)state;
	return nftw(test_root, test_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* "<root>/<name>", in one of a few buffers that take turns. */
static inline const char *
test_path(const char *name)
{
	static char paths[8][768];
	static unsigned turn;
	char *p = paths[turn++ % COUNT_OF(paths)];

	snprintf(p, sizeof(paths[0]), "%s/%s", test_root, name);
	return p;
}

static inline const char *
test_id(unsigned n)
{
	static char ids[8][STORE_ID_MAX + 1];
	static unsigned turn;
	char *id = ids[turn++ % COUNT_OF(ids)];

	snprintf(id, sizeof(ids[0]), "%03x%061x", n * 7 % 4096, n);
	return id;
}

static inline int
test_no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* The system's calls, but for the syncs: a killed process loses nothing, and no test here cuts the power. */
static inline const struct store_sys *
test_quick_sys(void)
{
	static struct store_sys sys;

	sys = store_sys_posix;
	sys.fdatasync = test_no_sync;
	sys.fsync = test_no_sync;
	return &sys;
}

static unsigned test_index_from;        /* 1: every store has an index; 0: none here is large enough for one */

static inline struct store_options
test_options(void)
{
	return (struct store_options){ .dir = test_path("store"), .keep = true, .sync = STORE_SYNC_COMPLETE, .index_from = test_index_from,
		.sys = test_quick_sys() };
}

/* Jobs that wait until test_work, as if the other thread had not come to them yet: for store_options.run. */
static struct store_job *test_jobs[64];
static unsigned test_job_count;

static inline void
test_hold(void *arg, struct store_job *job)
{
	(void)arg;
	assert_true(test_job_count < COUNT_OF(test_jobs));
	test_jobs[test_job_count++] = job;
}

static inline void
test_work(void)
{
	while (test_job_count > 0) {
		struct store_job *job = test_jobs[0];

		memmove(test_jobs, test_jobs + 1, --test_job_count * sizeof(struct store_job *));
		store_job_run(job);
		store_job_done(job);
	}
}

static inline struct store *
test_open_with(const struct store_options *o)
{
	struct err e = {0};
	struct store *s = store_open(o, &e);

	if (!s)
		print_error("open: %s\n", e.text);
	assert_non_null(s);
	return s;
}

static inline struct store *
test_open(void)
{
	struct store_options o = test_options();

	return test_open_with(&o);
}

static inline void
test_bytes(uint8_t *out, size_t n, unsigned task, uint32_t piece)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(i * 31 + task * 7 + piece * 13 + (i >> 8));
}

static inline struct store_task *
test_start(struct store *s, unsigned task, uint64_t length)
{
	struct store_start start = { .content_length = length, .piece_length = PIECE };
	struct err e = {0};
	struct store_task *t = store_task_begin(s, STORE_STANDARD, test_id(task), NOW, &e);

	assert_non_null(t);
	if (store_task_start(t, &start, NOW, NULL, &e) < 0)
		fail_msg("start: %s", e.text);
	return t;
}

/* Writes the bytes and journals the piece; 0 or -1. */
static inline int
test_write_piece(struct store_task *t, unsigned task, uint32_t n, struct err *e)
{
	struct store_piece piece = { .number = n, .has_crc = true, .traffic_type = STORE_FROM_PEER, .parent_id = "parent-1", .created_at = NOW,
		.finished_at = NOW + SECOND, .cost_ns = 1000000 };
	uint8_t bytes[PIECE];
	struct store_file *f;
	int rc;

	if (store_task_piece_span(t, n, &piece.offset, &piece.length) < 0)
		return err_set(e, ERR_OUT_OF_RANGE, "no piece %" PRIu32, n);
	test_bytes(bytes, sizeof(bytes), task, n);
	piece.crc = crc32_update(0, bytes, (size_t)piece.length);
	f = store_task_file(t, e);
	if (!f)
		return -1;
	rc = store_file_pwrite(f, bytes, (size_t)piece.length, piece.offset, e);
	store_file_unref(f);
	return rc < 0 ? -1 : store_piece_finish(t, &piece, e);
}

static inline void
test_piece(struct store_task *t, unsigned task, uint32_t n)
{
	struct err e = {0};

	if (test_write_piece(t, task, n, &e) < 0)
		fail_msg("piece %u: %s", n, e.text);
}

static inline struct store_task *
test_download(struct store *s, unsigned task, uint64_t length)
{
	struct store_task *t = test_start(s, task, length);
	struct err e = {0};

	for (uint32_t n = 0; n < store_task_piece_count(t); n++)
		test_piece(t, task, n);
	if (store_task_finish(t, NOW, &e) < 0)
		fail_msg("finish: %s", e.text);
	/* As time goes by it is synced, where the policy says so. */
	store_tick(s, clock_wall_ns() + 2 * SECOND);
	return t;
}

/* True when the bytes on disk are those of test_bytes. */
static inline bool
test_is_right(struct store_task *t, unsigned task, uint32_t n)
{
	uint8_t want[PIECE], have[PIECE];
	struct store_piece piece;
	struct store_file *f;
	int rc;

	if (store_piece_get(t, n, &piece) < 0 || !(f = store_task_file(t, NULL)))
		return false;
	test_bytes(want, sizeof(want), task, n);
	rc = store_file_pread(f, have, (size_t)piece.length, piece.offset, NULL);
	store_file_unref(f);
	return rc == 0 && memcmp(want, have, (size_t)piece.length) == 0 && piece.crc == crc32_update(0, want, (size_t)piece.length);
}

static inline void
test_expect_whole_bytes(struct store *s, unsigned task, unsigned bytes, uint64_t length)
{
	struct store_task *t = store_task_find(s, STORE_STANDARD, test_id(task));

	assert_non_null(t);
	assert_true(t->finished_at != 0);
	assert_int_equal(t->content_length, length);
	assert_int_equal(t->pieces_finished, store_task_piece_count(t));
	assert_int_equal(t->bytes_finished, length);
	for (uint32_t n = 0; n < t->pieces_finished; n++)
		assert_true(test_is_right(t, bytes, n));
}

static inline void
test_expect_whole(struct store *s, unsigned task, uint64_t length)
{
	test_expect_whole_bytes(s, task, task, length);
}

/* Whole file into memory that the caller frees. */
static inline uint8_t *
test_read(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p;
	long size;

	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	size = ftell(f);
	rewind(f);
	p = xmalloc((size_t)size + 1);
	*n = fread(p, 1, (size_t)size, f);
	fclose(f);
	return p;
}

static inline void
test_write(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static inline bool
test_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* "<store>/<part>/tasks/<shard>/<id><suffix>" */
static inline const char *
test_task_path(const char *part, unsigned task, const char *suffix)
{
	char name[256];
	const char *id = test_id(task);

	snprintf(name, sizeof(name), "store/%s/tasks/%.3s/%s%s", part, id, id, suffix);
	return test_path(name);
}

#endif
