#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/addr.h"
#include "serve/door.h"

static struct addr
at(const char *ip)
{
	struct addr a;

	assert_int_equal(addr_from_ip(&a, slice_str(ip), 1), 0);
	return a;
}

static void
one_address_has_a_part_of_the_room(void **state)
{
	struct door *d = xcalloc(1, sizeof *d);
	struct addr one = at("10.0.0.1"), other = at("10.0.0.2"), here = at("127.0.0.1");
	size_t place, others;

	(void)state;
	door_init(d);
	for (int i = 0; i < DOOR_PER_IP_MAX; i++)
		assert_true(door_enter(d, &one, &place));
	assert_false(door_enter(d, &one, &place));
	assert_int_equal(atomic_load(&d->refused), 1);
	assert_true(door_enter(d, &here, &others));
	assert_int_equal(others, DOOR_NOWHERE);
	door_leave(d, others);
	/* One in 8192 has the same counter. */
	if (door_enter(d, &other, &others))
		door_leave(d, others);
	assert_int_equal(atomic_load(&d->count), DOOR_PER_IP_MAX);
	door_leave(d, place);
	assert_true(door_enter(d, &one, &place));
	for (int i = 0; i < DOOR_PER_IP_MAX; i++)
		door_leave(d, place);
	assert_int_equal(atomic_load(&d->count), 0);
	assert_int_equal(atomic_load(&d->places[place]), 0);
	free(d);
}

static void
the_room_ends(void **state)
{
	struct door *d = xcalloc(1, sizeof *d);
	struct addr here = at("::1");
	size_t place;

	(void)state;
	door_init(d);
	for (int i = 0; i < DOOR_MAX; i++)
		assert_true(door_enter(d, &here, &place));
	assert_false(door_enter(d, &here, &place));
	door_leave(d, place);
	assert_true(door_enter(d, &here, &place));
	free(d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_address_has_a_part_of_the_room),
		cmocka_unit_test(the_room_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
