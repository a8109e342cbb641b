/*
 * The tables of faults and deaths: call N of the store to the system fails (once, or it and all after it; or takes half; or the process
 * dies there), for every N, until a run meets no fault. Whatever happens, the promises of life.h hold.
 */
#include "unit/store/life.h"

#include <sys/mman.h>
#include <sys/wait.h>

static struct {
	unsigned at;            /* the call that fails; 0: none */
	unsigned count;
	int errnum;
	bool kills;
	bool halves;            /* a write takes only half */
	bool stays;             /* every call that takes space fails from then on: a full or dead disk */
	const char *name;       /* of the call that failed */
} fault;

static bool
is_due(const char *name, bool takes_space)
{
	fault.count++;
	if (fault.count != fault.at && !(fault.stays && takes_space && fault.at > 0 && fault.count > fault.at))
		return false;
	if (fault.kills)
		_exit(0);
	if (fault.count == fault.at) {
		fault.name = name;
		snprintf(life_context, sizeof(life_context), "call %u, %s: %s%s", fault.at, name, fault.halves ? "half" : strerror(fault.errnum),
			fault.stays ? " from here on" : "");
	}
	errno = fault.errnum;
	return true;
}

#define FAULTY(type, failure, call, space, params, args) \
	static type fault_##call params \
	{ \
		return is_due(#call, space) ? failure : store_sys_posix.call args; \
	}

FAULTY(int, -1, openat, flags & O_CREAT, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))
FAULTY(int, -1, ftruncate, true, (int fd, off_t n), (fd, n))
FAULTY(int, -1, preallocate, true, (int fd, off_t n), (fd, n))
FAULTY(int, -1, mkdirat, true, (int dir, const char *path, mode_t mode), (dir, path, mode))
FAULTY(int, -1, renameat, true, (int a, const char *from, int b, const char *to), (a, from, b, to))
FAULTY(int, -1, linkat, true, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
FAULTY(int, -1, unlinkat, false, (int dir, const char *path, int flags), (dir, path, flags))
FAULTY(int, -1, fstat, false, (int fd, struct stat *st), (fd, st))
FAULTY(int, -1, fstatat, false, (int dir, const char *path, struct stat *st, int flags), (dir, path, st, flags))
FAULTY(int, -1, fstatvfs, false, (int fd, struct statvfs *st), (fd, st))
FAULTY(int, -1, fchmod, false, (int fd, mode_t mode), (fd, mode))
FAULTY(DIR *, NULL, fdopendir, false, (int fd), (fd))
FAULTY(ssize_t, -1, pread, false, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))

/* Not the real ones: slow, and a killed process loses nothing without them. */
static int
fault_sync(int fd)
{
	(void)fd;
	return is_due("fsync", true) ? -1 : 0;
}

/* A close that fails has closed. */
static int
fault_close(int fd)
{
	bool fails = is_due("close", false);
	int errnum = errno;

	close(fd);
	errno = errnum;
	return fails ? -1 : 0;
}

static ssize_t
fault_pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (!is_due("pwrite", true))
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
	sys.fstatvfs = fault_fstatvfs;
	sys.fchmod = fault_fchmod;
	sys.fdopendir = fault_fdopendir;
	return &sys;
}

/* A failed delivery leaves nothing beside its target, unless that could not be removed. */
static void
expect_no_scratch(void)
{
	DIR *dir = opendir(test_root);
	struct dirent *d;

	if (fault.name && strcmp(fault.name, "unlinkat") == 0) {
		closedir(dir);
		return;
	}
	while ((d = readdir(dir)) != NULL)
		if (strncmp(d->d_name, ".dfget-", 7) == 0)
			LIFE_FAIL("%s was left behind", d->d_name);
	closedir(dir);
}

static void
remove_scratch(void)
{
	DIR *dir = opendir(test_root);
	struct dirent *d;

	while ((d = readdir(dir)) != NULL)
		if (strncmp(d->d_name, ".dfget-", 7) == 0)
			unlinkat(dirfd(dir), d->d_name, 0);
	closedir(dir);
}

/* Rows from `first` on, every `step`th, until the scenario makes fewer calls; counts them in *rows. Returns how many calls it makes. */
static unsigned
table(unsigned first, unsigned step, int errnum, bool halves, bool stays, unsigned *rows)
{
	const char *from = getenv("LIFE_AT");           /* to look at one row */

	fault.errnum = errnum;
	fault.halves = halves;
	fault.stays = stays;
	for (fault.at = from ? (unsigned)atoi(from) : first;; fault.at += step) {
		life_prepare();
		fault.count = 0;
		fault.name = NULL;
		life_cause = strerror(errnum);
		life_run(faulty());
		life_cause = NULL;
		if (fault.name == NULL)
			return fault.count;
		life_check(true);
		expect_no_scratch();
		remove_scratch();
		++*rows;
	}
}

/* Every row with STORE_TABLES=full; else all of the tables for EIO and of deaths, and a fifth of the others, another one each time. */
static unsigned
step_of_others(void)
{
	const char *size = getenv("STORE_TABLES");

	if (getenv("UNIT_QUICK"))
		return 40;
	return size && strcmp(size, "full") == 0 ? 1 : 5;
}

static unsigned
step_of_all(void)
{
	return getenv("UNIT_QUICK") ? 40 : 1;
}

static unsigned
first_of(unsigned step)
{
	return 1 + (unsigned)(clock_mono_ns() % step);
}

static void
every_call_failing_leaves_a_true_store(void **state)
{
	static const int errnums[] = { EIO, ENOSPC, EDQUOT, EINTR };
	unsigned rows = 0, calls = 0, step = step_of_others();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(errnums); i++)
		calls = table(i == 0 ? 1 : first_of(step), i == 0 ? step_of_all() : step, errnums[i], false, false, &rows);
	print_message("%u calls x EIO, ENOSPC, EDQUOT, EINTR: %u rows\n", calls, rows);
}

static void
disk_full_or_dead_from_any_call_on_leaves_a_true_store(void **state)
{
	unsigned rows = 0, step = step_of_others();

	(void)state;
	table(first_of(step), step, ENOSPC, false, true, &rows);
	table(first_of(step), step, EIO, false, true, &rows);
	print_message("ENOSPC and EIO from each call on: %u rows\n", rows);
}

static void
every_write_cut_short_is_completed(void **state)
{
	unsigned rows = 0, step = step_of_others();

	(void)state;
	table(first_of(step), step, EIO, true, false, &rows);
	print_message("writes taking half: %u rows\n", rows);
}

static void
process_killed_at_every_call_leaves_a_true_store(void **state)
{
	unsigned calls = 0;
	int status;
	pid_t child;

	(void)state;
	fault.kills = true;
	for (fault.at = 1;; fault.at += step_of_all()) {
		life_prepare();
		snprintf(life_context, sizeof(life_context), "killed at call %u", fault.at);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			life_is_child = true;
			fault.count = 0;
			life_run(faulty());
			_exit(fault.count < fault.at ? 7 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 7)
			break;
		assert_int_equal(WEXITSTATUS(status), 0);
		life_check(true);
		remove_scratch();
		calls++;
	}
	fault.kills = false;
	print_message("killed at each of %u calls\n", calls);
}

static int
setup(void **state)
{
	FILE *shared = tmpfile();

	test_index_from = 1;
	memset(&fault, 0, sizeof(fault));
	if (!shared || ftruncate(fileno(shared), sizeof(*life)) < 0)
		return -1;
	life = mmap(NULL, sizeof(*life), PROT_READ | PROT_WRITE, MAP_SHARED, fileno(shared), 0);
	fclose(shared);
	return life == MAP_FAILED ? -1 : test_setup(state);
}

static int
teardown(void **state)
{
	munmap(life, sizeof(*life));
	return test_teardown(state);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(every_call_failing_leaves_a_true_store),
		WITH_DIR(disk_full_or_dead_from_any_call_on_leaves_a_true_store),
		WITH_DIR(every_write_cut_short_is_completed),
		WITH_DIR(process_killed_at_every_call_leaves_a_true_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
