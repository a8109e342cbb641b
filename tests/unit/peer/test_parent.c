/* Which piece is asked for next, and of whom. */
#include "unit/store/store_test.h"

#include "peer/collect.h"
#include "peer/session.h"
#include "peer/task.h"

#define PIECES 100
#define PARENTS 4

struct world {
	struct store *store;
	struct task task;
	struct session session;
	struct collect collect;
	struct parent parents[PARENTS];
	uint64_t in_flight[PIECES / 64 + 1], wanted[PIECES / 64 + 1];
	uint64_t have[PARENTS][PIECES / 64 + 1], fresh[PARENTS][PIECES / 64 + 1];
	uint16_t holders[PIECES];
};

static struct world *w;

static int
setup(void **state)
{
	if (test_setup(state) != 0)
		return -1;
	w = xcalloc(1, sizeof *w);
	w->store = test_open();
	w->task.store = test_start(w->store, 1, (uint64_t)PIECE * PIECES);
	snprintf(w->task.id, sizeof w->task.id, "%s", w->task.store->id);
	w->task.piece_count = PIECES;
	w->task.in_flight = w->in_flight;
	list_init(&w->task.sessions);
	w->session.task = &w->task;
	w->session.wanted = w->wanted;
	w->session.collect = &w->collect;
	w->collect.session = &w->session;
	w->collect.holders = w->holders;
	list_init(&w->collect.parents);
	for (int i = 0; i < PARENTS; i++) {
		struct parent *p = &w->parents[i];

		p->collect = &w->collect;
		p->have = w->have[i];
		p->pieces.len = 1;
		snprintf(p->id, sizeof p->id, "parent%d", i);
		list_add_tail(&w->collect.parents, &p->link);
	}
	for (uint32_t n = 0; n < PIECES; n++)
		bit_set(w->wanted, n);
	return 0;
}

static int
teardown(void **state)
{
	store_close(w->store);
	free(w);
	return test_teardown(state);
}

static void
offer(int parent, uint32_t piece)
{
	struct parent *p = &w->parents[parent];

	bit_set(p->have, piece);
	p->have_count++;
	w->holders[piece]++;
}

static void
give_turn(int parent)
{
	w->parents[parent].is_busy = w->parents[parent].has_turn = true;
}

static void
expect_pick(int parent, uint32_t piece)
{
	uint32_t n = UINT32_MAX;
	struct parent *p = parent_pick(&w->collect, true, &n);

	assert_ptr_equal(p, &w->parents[parent]);
	assert_int_equal(n, piece);
	assert_true(bit_get(w->in_flight, piece));
}

static void
expect_nothing(void)
{
	uint32_t n;

	assert_null(parent_pick(&w->collect, true, &n));
}

static void
rarest_piece_goes_first(void **state)
{
	(void)state;
	for (int i = 0; i < PARENTS; i++)
		offer(i, 3);
	offer(1, 70);
	offer(2, 70);
	offer(2, 99);
	expect_pick(2, 99);
}

static void
equally_rare_pieces_are_drawn(void **state)
{
	bool seen[PIECES] = {false};
	unsigned kinds = 0;

	(void)state;
	for (uint32_t n = 0; n < PIECES; n++)
		offer(0, n);
	for (int i = 0; i < 50; i++) {
		uint32_t n;

		assert_ptr_equal(parent_pick(&w->collect, true, &n), &w->parents[0]);
		kinds += !seen[n];
		seen[n] = true;
		parent_result(&w->parents[0], n, FETCH_CANCELLED);
		bit_clear(w->in_flight, n);
	}
	assert_true(kinds > 10);
}

static void
nobody_is_asked_twice_while_another_is_free(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < 30; n++)
		offer((int)n % 3, n);
	for (int i = 0; i < 3; i++) {
		uint32_t n;

		assert_non_null(parent_pick(&w->collect, true, &n));
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(w->parents[i].in_flight, 1);
}

static void
one_parent_gets_no_more_than_its_share(void **state)
{
	uint32_t n;

	(void)state;
	for (uint32_t i = 0; i < PIECES; i++)
		offer(0, i);
	for (int i = 0; i < PARENT_IN_FLIGHT_MAX; i++)
		assert_non_null(parent_pick(&w->collect, true, &n));
	expect_nothing();
}

static void
pieces_on_their_way_or_not_wanted_are_left_out(void **state)
{
	(void)state;
	offer(0, 5);
	offer(0, 6);
	offer(0, 7);
	offer(0, 8);
	bit_set(w->in_flight, 5);
	bit_clear(w->wanted, 6);
	test_piece(w->task.store, 1, 7);
	expect_pick(0, 8);
	expect_nothing();
}

static void
reader_gets_its_pieces_in_order(void **state)
{
	(void)state;
	w->session.in_order = true;
	offer(0, 2);
	offer(1, 2);
	offer(1, 9);
	offer(0, 2);
	assert_true(w->holders[9] < w->holders[2]);
	w->parents[0].is_dropped = true;
	expect_pick(1, 2);
	expect_pick(1, 9);
}

static void
busy_parent_is_asked_in_its_turn_only(void **state)
{
	(void)state;
	offer(0, 1);
	offer(0, 2);
	w->parents[0].is_busy = true;
	expect_nothing();
	give_turn(0);
	assert_null(parent_pick(&w->collect, false, &(uint32_t){0}));
	assert_non_null(parent_pick(&w->collect, true, &(uint32_t){0}));
	assert_false(w->parents[0].has_turn);
	expect_nothing();
}

static void
turn_is_used_before_a_free_parent_is_asked(void **state)
{
	(void)state;
	offer(0, 1);
	offer(1, 2);
	offer(2, 2);
	give_turn(1);
	expect_pick(1, 2);
	expect_pick(0, 1);
}

static void
turn_takes_what_is_rare_then_what_is_fresh(void **state)
{
	(void)state;
	for (uint32_t n = 10; n < 20; n++)
		offer(0, n);
	for (uint32_t n = 10; n < 19; n++)
		offer(1, n);
	w->parents[0].fresh = w->fresh[0];
	bit_set(w->fresh[0], 14);
	give_turn(0);
	expect_pick(0, 19);
	give_turn(0);
	expect_pick(0, 14);
}

static void
turn_of_a_parent_without_anything_for_us_is_not_used(void **state)
{
	(void)state;
	offer(0, 1);
	bit_set(w->in_flight, 1);
	give_turn(0);
	expect_nothing();
	assert_true(w->parents[0].has_turn);
	assert_int_equal(parent_best_piece(&w->parents[0]), UINT32_MAX);
}

static void
refused_piece_is_not_asked_of_that_parent_again(void **state)
{
	uint32_t n = UINT32_MAX;
	struct parent *p;

	(void)state;
	offer(0, 1);
	offer(1, 1);
	p = parent_pick(&w->collect, true, &n);
	assert_non_null(p);
	parent_result(p, n, FETCH_REFUSED);
	bit_clear(w->in_flight, 1);
	assert_int_equal(w->holders[1], 1);
	expect_pick(p == &w->parents[0] ? 1 : 0, 1);
}

static void
liar_is_not_asked_again(void **state)
{
	(void)state;
	offer(0, 1);
	offer(0, 2);
	give_turn(0);
	assert_non_null(parent_pick(&w->collect, true, &(uint32_t){0}));
	parent_result(&w->parents[0], 1, FETCH_LIED);
	assert_true(w->parents[0].is_dropped);
	assert_false(w->parents[0].is_busy);
	assert_false(parents_take_turns(&w->collect));
	expect_nothing();
}

#define PARENT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		PARENT_TEST(rarest_piece_goes_first),
		PARENT_TEST(equally_rare_pieces_are_drawn),
		PARENT_TEST(nobody_is_asked_twice_while_another_is_free),
		PARENT_TEST(one_parent_gets_no_more_than_its_share),
		PARENT_TEST(pieces_on_their_way_or_not_wanted_are_left_out),
		PARENT_TEST(reader_gets_its_pieces_in_order),
		PARENT_TEST(busy_parent_is_asked_in_its_turn_only),
		PARENT_TEST(turn_is_used_before_a_free_parent_is_asked),
		PARENT_TEST(turn_takes_what_is_rare_then_what_is_fresh),
		PARENT_TEST(turn_of_a_parent_without_anything_for_us_is_not_used),
		PARENT_TEST(refused_piece_is_not_asked_of_that_parent_again),
		PARENT_TEST(liar_is_not_asked_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
