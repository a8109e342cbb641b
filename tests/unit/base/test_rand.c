#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rand.h"

static void
numbers_stay_below_and_reach_everything(void **state)
{
	unsigned seen[7] = {0};

	(void)state;
	for (int i = 0; i < 7000; i++) {
		uint64_t v = rand_below(7);

		assert_true(v < 7);
		seen[v]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 700, 1300);
	assert_int_equal(rand_below(1), 0);
	assert_true(rand_below(UINT64_MAX) < UINT64_MAX);
}

static void
bytes_of_any_length_differ(void **state)
{
	static const size_t lengths[] = {16, 500, 512, 513, 5000};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t a[5000] = {0}, b[5000] = {0};

		rand_bytes(a, lengths[i]);
		rand_bytes(b, lengths[i]);
		assert_memory_not_equal(a, b, lengths[i]);
		assert_memory_not_equal(a + lengths[i] - 12, (uint8_t[12]){0}, 12);
	}
	rand_bytes(NULL, 0);
}

static void
uuids_have_the_form_of_version_4(void **state)
{
	char a[RAND_UUID_MAX], b[RAND_UUID_MAX];

	(void)state;
	for (int i = 0; i < 100; i++) {
		rand_uuid(a);
		rand_uuid(b);
		assert_int_equal(strlen(a), 36);
		assert_int_equal(strspn(a, "0123456789abcdef-"), 36);
		assert_true(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
		assert_int_equal(a[14], '4');
		assert_non_null(strchr("89ab", a[19]));
		assert_string_not_equal(a, b);
	}
}

static void
a_forked_child_draws_its_own(void **state)
{
	uint64_t mine, theirs;
	int ends[2], status;
	pid_t pid;

	(void)state;
	rand_u64();
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		theirs = rand_u64();
		_exit(write(ends[1], &theirs, sizeof(theirs)) == sizeof(theirs) ? 0 : 1);
	}
	mine = rand_u64();
	assert_int_equal(read(ends[0], &theirs, sizeof(theirs)), sizeof(theirs));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_not_equal(mine, theirs);
	close(ends[0]);
	close(ends[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_stay_below_and_reach_everything),
		cmocka_unit_test(bytes_of_any_length_differ),
		cmocka_unit_test(uuids_have_the_form_of_version_4),
		cmocka_unit_test(a_forked_child_draws_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
