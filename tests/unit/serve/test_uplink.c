/* How many transfers an uplink carries at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/uplink.h"

#define PIECE (UINT64_C(4) << 20)
#define SLOW_PIECE_US 350000
#define QUICK_PIECE_US 3000

static void
see_pieces(struct uplink *u, unsigned n, int64_t us, unsigned children)
{
	for (unsigned i = 0; i < n; i++)
		uplink_transferred(u, PIECE, us, 1);
	uplink_set_children(u, children);
}

/* Looks at a link that carries `most` bytes a look, of which each transfer takes `each` at most. */
static void
look_at_link(struct uplink *u, unsigned looks, uint64_t most, uint64_t each)
{
	for (unsigned i = 0; i < looks; i++) {
		uint64_t moved = each * u->slots;

		uplink_look(u, moved < most ? moved : most, true);
	}
}

static void
one_child_needs_no_turns(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	assert_false(uplink_set_children(&u, 1));
	assert_false(u.takes_turns);
	assert_int_equal(u.slots, UPLINK_SLOTS);
}

static void
several_children_take_turns_until_pieces_are_seen_to_be_quick(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	assert_true(uplink_set_children(&u, 2));
	assert_true(u.takes_turns);
	assert_int_equal(u.slots, 1);
	uplink_transferred(&u, PIECE, QUICK_PIECE_US, 1);
	assert_true(uplink_set_children(&u, 2));
	assert_false(u.takes_turns);
	assert_int_equal(u.slots, UPLINK_SLOTS);
}

static void
slow_pieces_bring_turns_back(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	see_pieces(&u, 4, QUICK_PIECE_US, 8);
	assert_false(u.takes_turns);
	see_pieces(&u, 4, SLOW_PIECE_US, 8);
	assert_true(u.takes_turns);
	assert_true(uplink_set_children(&u, 1));
	assert_false(u.takes_turns);
}

static void
small_pieces_tell_nothing(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	for (int i = 0; i < 100; i++)
		uplink_transferred(&u, UPLINK_TELLING_BYTES - 1, 10, 1);
	assert_true(uplink_set_children(&u, 2));
	assert_true(u.takes_turns);
}

static void
several_at_a_time_share_the_blame(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	for (int i = 0; i < 10; i++)
		uplink_transferred(&u, PIECE, UPLINK_QUICK_US * 7, 8);
	uplink_set_children(&u, 8);
	assert_false(u.takes_turns);
}

static void
full_link_stays_with_one_transfer(void **state)
{
	struct uplink u;
	unsigned in_trial = 0;

	(void)state;
	uplink_init(&u);
	see_pieces(&u, 1, SLOW_PIECE_US, 16);
	for (int i = 0; i < 2000; i++) {
		look_at_link(&u, 1, 1250000, 1250000);
		assert_true(u.slots <= 2);
		in_trial += u.slots > 1;
	}
	/* What trials cost: a second one is there for a few percent of the time. */
	assert_true(in_trial < 2000 / 20);
}

static void
slow_children_get_company_until_the_link_is_full(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	see_pieces(&u, 1, SLOW_PIECE_US, 16);
	look_at_link(&u, 3000, 1250000, 125000);
	assert_in_range(u.slots, 9, 11);
}

static void
slots_go_down_again_when_fewer_carry_as_much(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	see_pieces(&u, 1, SLOW_PIECE_US, 16);
	look_at_link(&u, 3000, 1250000, 125000);
	look_at_link(&u, 20000, 1250000, 1250000);
	assert_in_range(u.slots, 1, 2);
}

static void
looks_with_free_slots_tell_nothing(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	see_pieces(&u, 1, SLOW_PIECE_US, 16);
	for (int i = 0; i < 1000; i++)
		uplink_look(&u, 0, false);
	assert_int_equal(u.slots, 1);
}

static void
quick_link_far_below_its_best_takes_more(void **state)
{
	struct uplink u;

	(void)state;
	uplink_init(&u);
	see_pieces(&u, 1, QUICK_PIECE_US, 8);
	uplink_look(&u, 100000000, true);
	assert_int_equal(u.slots, UPLINK_SLOTS);
	for (int i = 0; i < 100; i++)
		uplink_look(&u, 10000000, true);
	assert_int_equal(u.slots, UPLINK_SLOTS_MAX);
	uplink_rest(&u);
	assert_int_equal(u.slots, UPLINK_SLOTS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_child_needs_no_turns),
		cmocka_unit_test(several_children_take_turns_until_pieces_are_seen_to_be_quick),
		cmocka_unit_test(slow_pieces_bring_turns_back),
		cmocka_unit_test(small_pieces_tell_nothing),
		cmocka_unit_test(several_at_a_time_share_the_blame),
		cmocka_unit_test(full_link_stays_with_one_transfer),
		cmocka_unit_test(slow_children_get_company_until_the_link_is_full),
		cmocka_unit_test(slots_go_down_again_when_fewer_carry_as_much),
		cmocka_unit_test(looks_with_free_slots_tell_nothing),
		cmocka_unit_test(quick_link_far_below_its_best_takes_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
