#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/write_file.h"

#define MUCH ((size_t)1 << 20)

static void *
read_all(void *arg)
{
	static uint8_t block[4096];
	size_t *got = arg;
	ssize_t n;

	while ((n = read((int)got[0], block, sizeof(block))) > 0)
		got[1] += (size_t)n;
	return NULL;
}

static void
all_is_written_where_it_does_not_fit_at_once(void **state)
{
	uint8_t *bytes = xcalloc(1, MUCH);
	size_t got[2] = { 0 };
	pthread_t reader;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	got[0] = (size_t)fds[0];
	assert_int_equal(pthread_create(&reader, NULL, read_all, got), 0);
	assert_int_equal(write_fd(fds[1], slice_make(bytes, MUCH)), 0);
	assert_int_equal(write_fd(fds[1], slice_make(bytes, 0)), 0);
	close(fds[1]);
	pthread_join(reader, NULL);
	assert_int_equal(got[1], MUCH);
	close(fds[0]);
	free(bytes);
}

static void
failures_are_told(void **state)
{
	int fds[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(write_fd(fds[1], slice_str("x")), -1);
	assert_int_equal(errno, EPIPE);
	close(fds[1]);
}

static void
parents_of_paths(void **state)
{
	static const char *const rows[][2] = { { "/a/b", "/a" }, { "/a", "/" }, { "a/b", "a" }, { "a", "." }, { "/a/b/c", "/a/b" } };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char *parent = parent_of(rows[i][0]);

		assert_string_equal(parent, rows[i][1]);
		free(parent);
	}
	/* Nothing to be told of, wherever it is. */
	sync_parent("/nowhere/at/all");
	sync_parent("/tmp");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_written_where_it_does_not_fit_at_once), cmocka_unit_test(failures_are_told), cmocka_unit_test(parents_of_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
