/*
 * Hosts and peers that come, fail, fall silent and come back, and what their children are told: decisions in the situations of doc/scheduler.md, on a virtual clock.
 * Unless said otherwise the task has 256 pieces of 4 MiB and the hosts carry 10 Gbit/s.
 */
#include "world.h"

static void
failed_parent_is_blocked_for_that_child_for_a_minute(void **state)
{
	struct world *w = *state;
	struct stream *b, *c;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	host(w, "10.0.1.2-p2");
	host(w, "10.0.1.3-p3");
	holder(w, "10.0.0.1-a", "A");
	holder(w, "10.0.0.2-b", "B");
	b = reg(w, "10.0.1.2-p2", "P2");
	assert_int_equal(b->n_parents, 2);
	started(w, b);
	piece(w, b, 0, "B");
	piece_failed(w, b, "A");
	reschedule(w, b);
	assert_parents(b, "B", NULL);
	c = reg(w, "10.0.1.3-p3", "P3");
	assert_true(has_parent(c, "A"));
	pass(w, 60100);
	piece(w, b, 1, "B");
	reschedule(w, b);
	assert_int_equal(b->n_parents, 2);
}

static void
host_that_fails_five_children_is_bad_for_all(void **state)
{
	struct world *w = *state;
	struct stream *c[5], *d;
	char h[32], id[32];

	host(w, "10.0.0.1-a");
	holder(w, "10.0.0.1-a", "A");
	for (int i = 0; i < 5; i++) {
		snprintf(h, sizeof h, "10.0.1.%d-c", i);
		snprintf(id, sizeof id, "c%d", i);
		host(w, h);
		c[i] = reg(w, h, id);
		assert_parents(c[i], "A", NULL);
		started(w, c[i]);
	}
	for (int i = 0; i < 5; i++)
		piece_failed(w, c[i], "A");
	host(w, "10.0.2.1-d");
	d = reg(w, "10.0.2.1-d", "D");
	assert_source(d);
	assert_int_equal(sched_failed(&w->core, d->peer, true, NULL), 0);
	pass(w, 60100);
	d = reg(w, "10.0.2.1-d", "D2");
	assert_parents(d, "A", NULL);
}

static void
reschedule_gives_a_growing_source_again(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.1-a");
	a = source(w, "10.0.0.1-a", "A", 1);
	b = child_with(w, "10.0.0.2-b", "B", "A", 0, 1);
	for (uint32_t i = 1; i < 6; i++)
		piece(w, a, i, NULL);
	reschedule(w, b);
	assert_int_equal(b->n_answers, 2);
	assert_parents(b, "A", NULL);
}

static void
straggler_is_used_only_when_alone(void **state)
{
	struct world *w = *state;
	struct stream *c;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	holder(w, "10.0.0.1-a", "A");
	holder(w, "10.0.0.2-b", "B");
	host(w, "10.0.1.1-c");
	c = reg(w, "10.0.1.1-c", "C");
	started(w, c);
	for (uint32_t i = 0; i < 8; i++) {
		piece_full(w, c, i, "A", 2097);
		piece_full(w, c, 100 + i, "B", 42);
		piece_full(w, c, 200 + i, "B", 42);
	}
	sched_delete_peer(&w->core, c->peer);
	host(w, "10.0.1.2-d");
	assert_parents(reg(w, "10.0.1.2-d", "D"), "B", NULL);
	sched_delete_peer(&w->core, sched_peer_find(&w->core.res, slice_str("B")));
	host(w, "10.0.1.3-e");
	c = reg(w, "10.0.1.3-e", "E");
	assert_waits(c);
	pass(w, 1100);
	assert_parents(c, "A", NULL);
}

static void
orphan_without_the_task_is_forgotten_after_two_questions(void **state)
{
	struct world *w = *state;
	struct stream *a;

	host(w, "10.0.0.1-a");
	a = source(w, "10.0.0.1-a", "A", 100);
	stream_lost(w, a);
	pass(w, 31000);
	assert_int_equal(w->n_asked, 1);
	sched_holder_answer(&w->core, slice_str("10.0.0.1-a"), slice_str(TASK), false);
	assert_non_null(sched_peer_find(&w->core.res, slice_str("A")));
	pass(w, 301000);
	assert_int_equal(w->n_asked, 2);
	sched_holder_answer(&w->core, slice_str("10.0.0.1-a"), slice_str(TASK), false);
	assert_null(sched_peer_find(&w->core.res, slice_str("A")));
}

static void
deleted_task_is_not_offered(void **state)
{
	struct world *w = *state;
	struct stream *b;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	host(w, "10.0.0.3-c");
	holder(w, "10.0.0.1-a", "A");
	b = reg(w, "10.0.0.2-b", "B");
	started(w, b);
	sched_delete_task(&w->core, sched_host_find(&w->core.res, slice_str("10.0.0.1-a")), slice_str(TASK));
	settle(w);
	assert_int_equal(b->peer->state, SCHED_PEER_RUNNING);
	assert_false(b->is_closed);
	assert_int_equal(b->n_answers, 1);
	assert_source(reg(w, "10.0.0.3-c", "C"));
}

static void
silent_host_is_gone_after_two_intervals(void **state)
{
	struct world *w = *state;

	host(w, "10.0.0.1-a");
	holder(w, "10.0.0.1-a", "A");
	pass(w, 599000);
	assert_non_null(sched_host_find(&w->core.res, slice_str("10.0.0.1-a")));
	pass(w, 12000);
	assert_null(sched_host_find(&w->core.res, slice_str("10.0.0.1-a")));
	assert_null(sched_peer_find(&w->core.res, slice_str("A")));
}

static void
unknown_host_registers_but_is_no_parent_before_it_announces(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	holder(w, "10.0.0.1-a", "A");
	a = reg(w, "10.0.0.7-h7", "P7");
	assert_parents(a, "A", NULL);
	assert_true(a->peer->host->provisional);
	assert_string_equal(a->peer->host->ip, "10.0.0.7");
	started(w, a);
	for (uint32_t i = 0; i < 256; i++)
		piece(w, a, i, "A");
	finished(w, a, false);
	sched_delete_peer(&w->core, sched_peer_find(&w->core.res, slice_str("A")));
	b = reg(w, "10.0.0.2-b", "P2");
	assert_source(b);
	host(w, "10.0.0.7-h7");
	host(w, "10.0.0.3-c");
	b = reg(w, "10.0.0.3-c", "P3");
	assert_parents(b, "P7", NULL);
}

static void
strict_hosts_refuse_an_unknown_one(void **state)
{
	struct scheduler_options o;
	struct err e = { 0 };
	struct world *w;

	(void)state;
	world_options(&o);
	o.strict_hosts = true;
	w = world_new(&o);
	reg_at(w, "10.0.0.7-h7", TASK, "P7", &e);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_string_equal(e.text, "host 10.0.0.7-h7 not found");
	assert_int_equal(w->core.res.hosts.count, 0);
	world_free(w);
}

static void
earlier_holders_are_asked_after_a_restart(void **state)
{
	struct world *w = *state;
	struct stream *a;
	char h[32];

	w->core.is_restored = true;
	for (int i = 1; i <= 4; i++) {
		snprintf(h, sizeof h, "10.0.0.%d-h%d", i, i);
		host(w, h)->is_restored = true;
	}
	a = reg(w, "10.0.0.1-h1", "p1");
	assert_waits(a);
	assert_int_equal(w->n_asked, 3);
	for (size_t i = 0; i < 3; i++)
		sched_holder_answer(&w->core, slice_str(w->asked[i].host), slice_str(TASK), true);
	settle(w);
	assert_int_equal(a->n_parents, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(strncmp(a->parents[i], "restored-10.0.0.", 16) == 0);
	assert_int_equal(w->n_sources, 0);
}

static void
silent_earlier_holders_cost_three_seconds(void **state)
{
	struct world *w = *state;
	struct stream *a;

	w->core.is_restored = true;
	host(w, "10.0.0.1-h1")->is_restored = true;
	host(w, "10.0.0.2-h2")->is_restored = true;
	a = reg(w, "10.0.0.1-h1", "p1");
	pass(w, 2900);
	assert_waits(a);
	pass(w, 1100);
	assert_source(a);
}

static void
second_register_on_a_stream_is_refused(void **state)
{
	struct world *w = *state;
	struct stream *a;
	struct err e = { 0 };

	host(w, "10.0.0.1-a");
	a = reg(w, "10.0.0.1-a", "P1");
	assert_int_equal(sched_register_again(&w->core, a->peer, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_string_equal(e.text, "event RegisterNormal inappropriate in current state ReceivedNormal");
	assert_int_equal(a->peer->state, SCHED_PEER_FAILED);
}

static void
peer_id_of_a_live_stream_is_not_taken_twice(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;
	struct err e = { 0 };

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	a = reg(w, "10.0.0.1-a", "P1");
	b = reg_at(w, "10.0.0.2-b", TASK, "P1", &e);
	assert_null(b->peer);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_int_equal(a->peer->state, SCHED_PEER_RECEIVED_NORMAL);
}

static void
peer_of_a_broken_stream_starts_over_with_its_pieces(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.2-b");
	holder(w, "10.0.0.2-b", "H");
	a = child_with(w, "10.0.0.1-a", "P1", "H", 7, 1);
	stream_lost(w, a);
	b = reg(w, "10.0.0.1-a", "P1");
	assert_ptr_equal(b->peer, a->peer);
	assert_parents(b, "H", NULL);
	assert_true(sched_peer_has_piece(b->peer, 7));
	assert_int_equal(b->peer->n_finished, 1);
	assert_int_equal(b->peer->host->streams, 1);
}

static void
fifth_answer_of_an_old_peer_needs_no_sixth(void **state)
{
	struct world *w = *state;
	struct stream *a, *r;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.3-s");
	source(w, "10.0.0.3-s", "S", 3);
	r = child_with(w, "10.0.0.2-r", "R", "S", 0, 1);
	a = reg(w, "10.0.0.1-a", "A");
	started(w, a);
	sched_peer_block(&w->core.res, a->peer, sched_host_find(&w->core.res, slice_str("10.0.0.3-s")), 600000);
	for (uint32_t i = 1; i < 4; i++) {
		piece(w, r, i, "S");
		reschedule(w, a);
		assert_parents(a, "R", NULL);
	}
	assert_int_equal(a->n_answers, 4);
	assert_parents(a, "R", NULL);
	piece(w, r, 4, "S");
	reschedule(w, a);
	assert_source(a);
	assert_int_equal(a->n_answers, 5);
}

static void
live_peer_is_told_of_new_parents(void **state)
{
	struct world *w = *state;
	struct stream *a, *b, *c;

	w->is_live = true;
	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	host(w, "10.0.0.3-s");
	host(w, "10.0.0.4-c");
	source(w, "10.0.0.3-s", "S", 3);
	a = reg(w, "10.0.0.1-a", "A");
	started(w, a);
	assert_parents(a, "S", NULL);
	/* A peer that is alive and takes lists itself is told before it has a piece: the others are connected by then. */
	b = reg(w, "10.0.0.2-b", "B");
	assert_parents(b, "S", NULL);
	started(w, b);
	pass(w, 100);
	assert_parents(a, "S", "B", NULL);
	assert_parents(b, "S", "A", NULL);
	/* Another one only once it has something; and a full list is left alone. */
	w->is_live = false;
	c = reg(w, "10.0.0.4-c", "C");
	started(w, c);
	pass(w, 100);
	assert_int_equal(a->n_answers, 2);
	piece(w, c, 1, "S");
	pass(w, 100);
	assert_parents(a, "S", "B", "C", NULL);
	assert_int_equal(a->n_answers, 3);
	piece(w, b, 1, "S");
	pass(w, 5000);
	assert_int_equal(a->n_answers, 3);
	assert_int_equal(c->n_answers, 1);
}

static void
live_peer_that_is_slow_to_start_is_told_all_the_same(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	w->is_live = true;
	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	host(w, "10.0.0.3-s");
	source(w, "10.0.0.3-s", "S", 3);
	a = reg(w, "10.0.0.1-a", "A");
	b = reg(w, "10.0.0.2-b", "B");
	started(w, b);
	pass(w, 1000);
	assert_parents(a, "S", NULL);
	started(w, a);
	pass(w, 100);
	assert_parents(a, "S", "B", NULL);
	assert_parents(b, "S", "A", NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(failed_parent_is_blocked_for_that_child_for_a_minute),
		TEST(host_that_fails_five_children_is_bad_for_all),
		TEST(reschedule_gives_a_growing_source_again),
		TEST(straggler_is_used_only_when_alone),
		TEST(orphan_without_the_task_is_forgotten_after_two_questions),
		TEST(deleted_task_is_not_offered),
		TEST(silent_host_is_gone_after_two_intervals),
		TEST(unknown_host_registers_but_is_no_parent_before_it_announces),
		cmocka_unit_test(strict_hosts_refuse_an_unknown_one),
		TEST(earlier_holders_are_asked_after_a_restart),
		TEST(silent_earlier_holders_cost_three_seconds),
		TEST(second_register_on_a_stream_is_refused),
		TEST(peer_id_of_a_live_stream_is_not_taken_twice),
		TEST(peer_of_a_broken_stream_starts_over_with_its_pieces),
		TEST(fifth_answer_of_an_old_peer_needs_no_sixth),
		TEST(live_peer_is_told_of_new_parents),
		TEST(live_peer_that_is_slow_to_start_is_told_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
