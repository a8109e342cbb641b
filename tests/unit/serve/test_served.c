/* How often pieces were given away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "serve/served.h"

static void
pieces_are_counted_by_task(void **state)
{
	struct served s;

	(void)state;
	served_init(&s);
	assert_int_equal(served_times(&s, "a", 0), 0);
	served_note(&s, "a", 2, 1, 1);
	served_note(&s, "a", 2, 1, 2);
	served_note(&s, "b", 2, 0, 3);
	assert_int_equal(served_times(&s, "a", 0), 0);
	assert_int_equal(served_times(&s, "a", 1), 2);
	assert_int_equal(served_times(&s, "b", 0), 1);
	assert_int_equal(served_times(&s, "b", 1), 0);
	served_free(&s);
}

static void
piece_past_the_last_is_not_counted(void **state)
{
	struct served s;

	(void)state;
	served_init(&s);
	served_note(&s, "a", 2, 2, 1);
	served_note(&s, "a", 2, UINT32_MAX, 1);
	served_note(&s, "empty", 0, 0, 1);
	assert_int_equal(served_times(&s, "a", 2), 0);
	assert_int_equal(served_times(&s, "a", UINT32_MAX), 0);
	assert_int_equal(served_times(&s, "empty", 0), 0);
	served_free(&s);
}

static void
count_ends_at_its_limit(void **state)
{
	struct served s;

	(void)state;
	served_init(&s);
	for (int i = 0; i < UINT8_MAX + 2; i++)
		served_note(&s, "a", 1, 0, i);
	assert_int_equal(served_times(&s, "a", 0), UINT8_MAX);
	served_free(&s);
}

static void
task_used_longest_ago_is_forgotten(void **state)
{
	struct served s;
	char id[16];

	(void)state;
	served_init(&s);
	for (int i = 0; i < SERVED_TASKS_MAX; i++) {
		snprintf(id, sizeof id, "%d", i);
		served_note(&s, id, 1, 0, i);
	}
	served_note(&s, "0", 1, 0, SERVED_TASKS_MAX);
	served_note(&s, "new", 1, 0, SERVED_TASKS_MAX + 1);
	assert_int_equal(s.tasks.count, SERVED_TASKS_MAX);
	assert_int_equal(served_times(&s, "1", 0), 0);
	assert_int_equal(served_times(&s, "0", 0), 2);
	assert_int_equal(served_times(&s, "new", 0), 1);
	served_free(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_counted_by_task),
		cmocka_unit_test(piece_past_the_last_is_not_counted),
		cmocka_unit_test(count_ends_at_its_limit),
		cmocka_unit_test(task_used_longest_ago_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
