/*
 * The fault table: call N of the store to the system fails (or the process dies there), for every N, until a run meets no fault.
 * Whatever happens, a store opened afterwards shows no piece as whole whose bytes are not.
 */
#include "unit/store/store_test.h"

#include <sys/wait.h>

#define LENGTH (4 * PIECE + 77)

static struct {
	unsigned at;            /* the call that fails; 0: none */
	unsigned count;
	int errnum;
	bool kills;
	bool halves;            /* a write takes only half */
} fault;

static bool
is_due(void)
{
	fault.count++;
	if (fault.count != fault.at)
		return false;
	if (fault.kills)
		_exit(0);
	errno = fault.errnum;
	return true;
}

#define FAULTY(call, params, args) \
	static int fault_##call params \
	{ \
		return is_due() ? -1 : store_sys_posix.call args; \
	}

FAULTY(openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))
FAULTY(ftruncate, (int fd, off_t n), (fd, n))
FAULTY(preallocate, (int fd, off_t n), (fd, n))
FAULTY(mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))
FAULTY(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
FAULTY(linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
FAULTY(unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
FAULTY(fstat, (int fd, struct stat *st), (fd, st))
FAULTY(fstatat, (int dir, const char *path, struct stat *st, int flags), (dir, path, st, flags))
FAULTY(fchmod, (int fd, mode_t mode), (fd, mode))

/* Not the real ones: slow, and a killed process loses nothing without them. */
static int
fault_sync(int fd)
{
	(void)fd;
	return is_due() ? -1 : 0;
}

/* A close that fails has closed. */
static int
fault_close(int fd)
{
	bool fails = is_due();
	int errnum = errno;

	close(fd);
	errno = errnum;
	return fails ? -1 : 0;
}

static ssize_t
fault_pread(int fd, void *p, size_t n, off_t at)
{
	return is_due() ? -1 : pread(fd, p, n, at);
}

static ssize_t
fault_pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (!is_due())
		return pwrite(fd, p, n, at);
	if (fault.halves && n > 1)
		return pwrite(fd, p, n / 2, at);
	return -1;
}

static const struct store_sys *
faulty(void)
{
	static struct store_sys sys;

	sys = store_sys_posix;
	sys.openat = fault_openat;
	sys.close = fault_close;
	sys.pread = fault_pread;
	sys.pwrite = fault_pwrite;
	sys.ftruncate = fault_ftruncate;
	sys.preallocate = fault_preallocate;
	sys.fdatasync = fault_sync;
	sys.fsync = fault_sync;
	sys.mkdirat = fault_mkdirat;
	sys.renameat = fault_renameat;
	sys.linkat = fault_linkat;
	sys.unlinkat = fault_unlinkat;
	sys.fstat = fault_fstat;
	sys.fstatat = fault_fstatat;
	sys.fchmod = fault_fchmod;
	return &sys;
}

/* Says where and why. */
static void
expect_named(const struct err *e)
{
	if (e->code == ERR_OK || (!strchr(e->text, '/') && !strstr(e->text, "task ") && !strstr(e->text, "no space")))
		fail_msg("call %u (%s): the error does not name its object: \"%s\"", fault.at, strerror(fault.errnum), e->text);
}

static struct store_task *
try_download(struct store *s, unsigned task, struct err *e)
{
	struct store_start start = { .content_length = LENGTH, .piece_length = PIECE, .etag = "v" };
	struct store_task *t = store_task_begin(s, STORE_STANDARD, test_id(task), NOW, e);

	if (!t || store_task_start(t, &start, NOW, NULL, e) < 0)
		return NULL;
	for (uint32_t n = 0; n < store_task_piece_count(t); n++)
		if (test_write_piece(t, task, n, e) < 0) {
			store_task_fail(t, NOW);
			return NULL;
		}
	return store_task_finish(t, NOW, e) < 0 ? NULL : t;
}

static int
deliver(struct store_task *t, const char *name, struct err *e)
{
	struct store_output_options o = { .target = test_path(name) };
	struct store_file *f = store_task_file(t, e);
	int rc;

	if (!f)
		return -1;
	rc = store_output_copy(f, LENGTH, &o, e);
	store_file_unref(f);
	return rc;
}

/* A day in the life: old store opened, a damaged piece dropped, a task downloaded, delivered, another deleted, collection, stop. */
static void
scenario(void)
{
	struct store_options o = test_options();
	struct store_gc_limits limits = { .task_ttl = HOUR, .page_cache_idle = 1 };
	struct store_gc_result r;
	struct store_task *t;
	struct err e = {0};
	struct store *s;

	o.sys = faulty();
	s = store_open(&o, &e);
	if (!s) {
		expect_named(&e);
		return;
	}
	t = store_task_find(s, STORE_STANDARD, test_id(1));
	if (t)
		store_piece_drop(t, 2, "test");
	if (!try_download(s, 1, &e))
		expect_named(&e);
	err_clear(&e);
	t = try_download(s, 2, &e);
	if (!t || deliver(t, "out", &e) < 0)
		expect_named(&e);
	store_tick(s, clock_wall_ns() + 60 * SECOND);
	t = store_task_find(s, STORE_STANDARD, test_id(3));
	if (t) {
		err_clear(&e);
		if (store_task_delete(t, STORE_DELETED_BY_CALLER, &e) < 0)
			expect_named(&e);
	}
	store_gc_pass(s, NOW - HOUR, &limits, 10, &r);
	store_close(s);
}

static void
expect_truth(struct store *s, unsigned task)
{
	struct store_task *t = store_task_find(s, STORE_STANDARD, test_id(task));
	struct store_piece piece;

	if (!t)
		return;
	for (uint32_t n = 0; n < store_task_piece_count(t); n++)
		if (store_piece_get(t, n, &piece) == 0 && !piece.needs_check && !test_is_right(t, task, n))
			fail_msg("call %u (%s): task %u piece %u is not what it says", fault.at, strerror(fault.errnum), task, n);
	if (t->finished_at != 0)
		assert_int_equal(t->pieces_finished, store_task_piece_count(t));
}

static void
expect_output(void)
{
	size_t n;
	uint8_t *p, want[PIECE];

	if (!test_exists(test_path("out")))
		return;
	p = test_read(test_path("out"), &n);
	assert_int_equal(n, LENGTH);
	for (uint32_t i = 0; i < 5; i++) {
		test_bytes(want, PIECE, 2, i);
		assert_memory_equal(p + (size_t)i * PIECE, want, i < 4 ? PIECE : 77);
	}
	free(p);
}

static void
prepare(void)
{
	struct store *s;

	nftw(test_path("store"), test_remove, 16, FTW_DEPTH | FTW_PHYS);
	unlink(test_path("out"));
	s = test_open();
	test_download(s, 1, LENGTH);
	test_download(s, 3, LENGTH);
	store_close(s);
}

static void
check(void)
{
	struct store *s = test_open();

	expect_truth(s, 1);
	expect_truth(s, 2);
	expect_truth(s, 3);
	expect_output();
	/* And all goes on as if nothing had been. */
	test_download(s, 1, LENGTH);
	test_download(s, 2, LENGTH);
	test_download(s, 3, LENGTH);
	store_close(s);
	s = test_open();
	for (unsigned i = 1; i <= 3; i++)
		test_expect_whole(s, i, LENGTH);
	store_close(s);
}

/* Every N until the scenario makes fewer calls than that; returns how many it makes. */
static unsigned
table(int errnum, bool halves)
{
	fault.errnum = errnum;
	fault.halves = halves;
	for (fault.at = 1;; fault.at++) {
		prepare();
		fault.count = 0;
		scenario();
		if (fault.count < fault.at)
			return fault.count;
		check();
	}
}

static void
every_call_failing_leaves_a_true_store(void **state)
{
	static const int errnums[] = { EIO, ENOSPC, EDQUOT, EINTR };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(errnums); i++)
		print_message("%u calls, each failing with %s\n", table(errnums[i], false), strerror(errnums[i]));
}

static void
every_write_cut_short_is_completed(void **state)
{
	(void)state;
	print_message("%u calls, each write taking half\n", table(EIO, true));
}

static void
process_killed_at_every_call_leaves_a_true_store(void **state)
{
	unsigned calls = 0;
	int status;
	pid_t child;

	(void)state;
	fault.kills = true;
	for (fault.at = 1;; fault.at++) {
		prepare();
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			fault.count = 0;
			scenario();
			_exit(fault.count < fault.at ? 7 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 7)
			break;
		assert_int_equal(WEXITSTATUS(status), 0);
		check();
		calls++;
	}
	fault.kills = false;
	print_message("killed at each of %u calls\n", calls);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(every_call_failing_leaves_a_true_store),
		WITH_DIR(every_write_cut_short_is_completed),
		WITH_DIR(process_killed_at_every_call_leaves_a_true_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
