#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/read_file.h"

#define SIZE 150000

static char path[] = "/tmp/read-file-XXXXXX";
static uint8_t *bytes;

static void
whole_file_is_read_up_to_its_limit(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	buf_append_str(&b, "before");
	assert_int_equal(read_file(path, SIZE, &b), 0);
	assert_int_equal(b.len, 6 + SIZE);
	assert_memory_equal(buf_data(&b), "before", 6);
	assert_memory_equal(buf_data(&b) + 6, bytes, SIZE);
	buf_free(&b);
}

static void
one_byte_more_than_the_limit_is_efbig(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	for (size_t max = SIZE - 1; max < SIZE; max--) {
		errno = 0;
		assert_int_equal(read_file(path, max, &b), -1);
		assert_int_equal(errno, EFBIG);
		assert_int_equal(b.len, max);
		buf_clear(&b);
		max = max > 70000 ? 65537 : max > 2 ? max / 2 : max;
	}
	buf_free(&b);
}

static void
what_is_no_file_is_refused(void **state)
{
	struct buf b = BUF_INIT;
	char pipe_path[64];

	(void)state;
	assert_int_equal(read_file("/", SIZE, &b), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(read_file("/nothing/there", SIZE, &b), -1);
	assert_int_equal(errno, ENOENT);
	snprintf(pipe_path, sizeof(pipe_path), "%s.pipe", path);
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	assert_int_equal(read_file(pipe_path, SIZE, &b), -1);
	assert_int_equal(errno, EINVAL);
	unlink(pipe_path);
	assert_int_equal(b.len, 0);
	buf_free(&b);
}

static int
setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	bytes = xmalloc(SIZE);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	return fd >= 0 && write(fd, bytes, SIZE) == SIZE && close(fd) == 0 ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	free(bytes);
	return unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_file_is_read_up_to_its_limit),
		cmocka_unit_test(one_byte_more_than_the_limit_is_efbig),
		cmocka_unit_test(what_is_no_file_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
