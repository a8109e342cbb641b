/*
 * Who goes to the source, and when another does: seeds, priorities, sources that are lost: decisions in the situations of doc/scheduler.md, on a virtual clock.
 * Unless said otherwise the task has 256 pieces of 4 MiB and the hosts carry 10 Gbit/s.
 */
#include "world.h"

#define TASK_A "ea8a614f03a4689b0d8050b44a28d44767407b5ca273c1447cfacb3edcc3c8a6"

static void
first_peer_without_seed_goes_to_the_source_at_once(void **state)
{
	struct world *w = *state;
	struct stream *a;

	host(w, "10.0.0.1-h1");
	a = reg(w, "10.0.0.1-h1", "p1");
	assert_source(a);
	assert_int_equal(a->answered_ms, START_MS);
	assert_int_equal(sched_sources(&w->core.res, a->peer->task, a->peer), 1);
}

static void
second_peer_waits_for_the_first_to_start(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.1-h1");
	host(w, "10.0.0.2-h2");
	a = reg(w, "10.0.0.1-h1", "p1");
	b = reg(w, "10.0.0.2-h2", "p2");
	assert_waits(b);
	source_started(w, a);
	assert_parents(b, "p1", NULL);
}

static void
three_seeds(struct world *w)
{
	host(w, "10.0.0.1-s1-seed");
	host(w, "10.0.0.2-s2-seed");
	host(w, "10.0.0.3-s3-seed");
	host(w, "10.0.1.1-h1");
}

static void
seed_of_the_ring_is_triggered(void **state)
{
	struct world *w = *state;
	struct stream *a, *s;

	three_seeds(w);
	w->download.output_path = slice_str("/tmp/out");
	w->download.metadata_only = false;
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	assert_waits(a);
	assert_int_equal(w->n_triggers, 1);
	assert_string_equal(w->triggered[0], "10.0.0.3:4000");
	world_download(w);
	w->download.need_back_to_source = true;
	s = reg_at(w, "10.0.0.3-s3-seed", TASK_A, "s", NULL);
	assert_source(s);
	assert_waits(a);
	source_started(w, s);
	assert_parents(a, "s", NULL);
}

static void
both_seeds_refuse_then_the_peer_goes_itself(void **state)
{
	struct world *w = *state;
	struct stream *a;

	three_seeds(w);
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	sched_trigger_done(&w->core, w->triggers[0], ERR_UNAVAILABLE);
	settle(w);
	assert_waits(a);
	assert_int_equal(w->n_triggers, 2);
	assert_string_not_equal(w->triggered[1], w->triggered[0]);
	sched_trigger_done(&w->core, w->triggers[1], ERR_UNAVAILABLE);
	settle(w);
	assert_source(a);
	assert_int_equal(a->answered_ms, START_MS);
	assert_int_equal(sched_host_find(&w->core.res, slice_str("10.0.0.3-s3-seed"))->seed_backoff_until_ms, START_MS + 30000);
}

static void
silent_seed_is_overtaken_after_15_s(void **state)
{
	struct world *w = *state;
	struct stream *a;

	three_seeds(w);
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	sched_trigger_live(&w->core, w->triggers[0]);
	pass(w, 14900);
	assert_waits(a);
	pass(w, 200);
	assert_source(a);
}

static void
one_trigger_for_many_registrants(void **state)
{
	struct world *w = *state;

	three_seeds(w);
	for (int i = 0; i < 20; i++) {
		char h[32], p[32];

		snprintf(h, sizeof h, "10.0.2.%d-h", i);
		snprintf(p, sizeof p, "p%d", i);
		host(w, h);
		assert_waits(reg_at(w, h, TASK_A, p, NULL));
	}
	assert_int_equal(w->n_triggers, 1);
}

static void
seed_with_the_whole_task_answers_without_the_source(void **state)
{
	struct world *w = *state;
	struct stream *a, *s;

	three_seeds(w);
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	assert_waits(a);
	s = holder_of(w, "10.0.0.3-s3-seed", TASK_A, "s");
	assert_int_equal(s->peer->state, SCHED_PEER_SUCCEEDED);
	assert_parents(a, "s", NULL);
	assert_int_equal(w->n_sources, 0);
}

static void
seed_with_a_holder_at_hand_does_not_go_to_the_source(void **state)
{
	struct world *w = *state;
	struct stream *a, *s;

	three_seeds(w);
	host(w, "10.0.0.9-h9");
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	assert_waits(a);
	holder_of(w, "10.0.0.9-h9", TASK_A, "H");
	w->download.need_back_to_source = true;
	s = reg_at(w, "10.0.0.3-s3-seed", TASK_A, "s", NULL);
	assert_parents(s, "H", NULL);
	assert_int_equal(w->n_sources, 0);
}

static void
grant_that_is_not_used_lapses(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	a = reg(w, "10.0.0.1-a", "A");
	assert_source(a);
	pass(w, 29000);
	assert_int_equal(a->peer->task->n_sources, 1);
	pass(w, 2000);
	assert_int_equal(a->peer->task->n_sources, 0);
	b = reg(w, "10.0.0.2-b", "B");
	assert_source(b);
}

static void
peer_that_may_not_use_the_source_never_does(void **state)
{
	struct world *w = *state;
	struct stream *a;

	host(w, "10.0.0.1-a");
	w->download.disable_back_to_source = true;
	a = reg(w, "10.0.0.1-a", "P1");
	assert_waits(a);
	pass(w, 29000);
	assert_waits(a);
	pass(w, 2000);
	assert_int_equal(a->n_answers, 0);
	assert_true(a->is_closed);
	assert_int_equal(a->code, ERR_FAILED_PRECONDITION);
	assert_string_equal(a->text, "scheduling exceeded RetryLimit");
}

static void
empty_file_is_told_from_an_unknown_length(void **state)
{
	struct world *w = *state;
	struct stream *a;

	host(w, "10.0.0.1-a");
	w->download.actual_content_length = 0;
	w->download.actual_piece_count = 0;
	a = reg_at(w, "10.0.0.1-a", "t-empty", "P1", NULL);
	assert_int_equal(a->n_answers, 1);
	assert_int_equal(a->kind, SCHED_ANSWER_EMPTY);
	started(w, a);
	finished(w, a, false);
	w->download.has_actual_content_length = w->download.has_actual_piece_length = w->download.has_actual_piece_count = false;
	a = reg_at(w, "10.0.0.1-a", "t-unknown", "P2", NULL);
	assert_source(a);
}

static void
priorities_decide_who_may_go_first(void **state)
{
	struct world *w = *state;
	struct err e = { 0 };
	struct stream *a;

	three_seeds(w);
	host(w, "10.0.0.9-h9");
	w->download.priority = 1;
	reg_at(w, "10.0.1.1-h1", TASK, "p1", &e);
	assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
	assert_string_equal(e.text, "LEVEL1 peer is forbidden");
	w->download.priority = 2;
	a = reg(w, "10.0.1.1-h1", "p2");
	assert_true(a->is_closed);
	assert_int_equal(a->code, ERR_NOT_FOUND);
	assert_string_equal(a->text, "LEVEL2 peer not found candidate peers");
	w->download.priority = 3;
	a = reg_at(w, "10.0.1.1-h1", "t3", "p3", NULL);
	assert_source(a);
	assert_int_equal(w->n_triggers, 0);
	w->download.priority = 2;
	holder(w, "10.0.0.9-h9", "H");
	assert_parents(reg(w, "10.0.1.1-h1", "p4"), "H", NULL);
}

static void
application_gives_the_priority_of_level0(void **state)
{
	static const struct scheduler_application_url urls[] = { { "blobs/", 1 } };
	static const struct scheduler_application apps[] = { { "ci", 3, urls, 1 } };
	struct scheduler_options o;
	struct err e = { 0 };
	struct world *w;

	(void)state;
	world_options(&o);
	o.applications = apps;
	o.n_applications = 1;
	w = world_new(&o);
	three_seeds(w);
	w->download.priority = 0;
	w->download.application = slice_str("ci");
	w->download.url = slice_str("https://r.example/v2/x/blobs/sha256:1");
	reg_at(w, "10.0.1.1-h1", TASK, "p1", &e);
	assert_string_equal(e.text, "LEVEL1 peer is forbidden");
	w->download.url = slice_str("https://r.example/v2/x/manifests/1");
	assert_source(reg_at(w, "10.0.1.1-h1", "t2", "p2", NULL));
	assert_int_equal(w->n_triggers, 0);
	world_free(w);
}

static void
bad_application_expression_is_refused(void **state)
{
	static const struct scheduler_application_url urls[] = { { "(", 1 } };
	static const struct scheduler_application apps[] = { { "ci", 3, urls, 1 } };
	static const struct sched_output out = { on_answer, on_close, on_trigger, on_cancel_trigger, on_ask_holder };
	struct scheduler_options o;
	struct sched_core core;
	struct err e = { 0 };

	(void)state;
	world_options(&o);
	o.applications = apps;
	o.n_applications = 1;
	assert_int_equal(sched_core_init(&core, &o, &out, NULL, 0, 0, &e), -1);
	assert_non_null(strstr(e.text, "application ci"));
}

static void
going_to_the_source_frees_the_parents(void **state)
{
	struct world *w = *state;
	struct stream *h, *a;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	h = holder(w, "10.0.0.2-b", "H");
	a = reg(w, "10.0.0.1-a", "P1");
	started(w, a);
	assert_int_equal(h->peer->host->children, 1);
	assert_int_equal(h->peer->host->tx_alloc, 268435456);
	source_started(w, a);
	assert_int_equal(a->peer->state, SCHED_PEER_BACK_TO_SOURCE);
	assert_int_equal(h->peer->host->children, 0);
	assert_int_equal(h->peer->host->tx_alloc, 0);
	assert_int_equal(h->peer->host->upload_bytes, 0);
	assert_int_equal(h->peer->host->upload_pieces, 0);
}

static void
failed_source_is_replaced_and_the_length_stays(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.1-h1");
	host(w, "10.0.0.2-h2");
	a = reg(w, "10.0.0.1-h1", "p1");
	b = reg(w, "10.0.0.2-h2", "p2");
	assert_int_equal(sched_failed(&w->core, a->peer, true, NULL), 0);
	settle(w);
	assert_true(a->is_closed);
	assert_int_equal(a->code, ERR_OK);
	assert_int_equal(a->peer->state, SCHED_PEER_FAILED);
	assert_source(b);
	assert_int_equal(b->peer->task->content_length, GIB);
}

static void
lost_source_is_replaced_and_found_again(void **state)
{
	struct world *w = *state;
	struct stream *a, *b, *c;

	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	host(w, "10.0.0.3-c");
	a = source(w, "10.0.0.1-a", "A", 100);
	a->peer->host->disable_shared = false;
	b = reg(w, "10.0.0.2-b", "B");
	assert_parents(b, "A", NULL);
	started(w, b);
	sched_peer_block(&w->core.res, b->peer, a->peer->host, 1000);
	reschedule(w, b);
	assert_int_equal(b->n_answers, 1);
	stream_lost(w, a);
	assert_int_equal(a->peer->state, SCHED_PEER_FAILED);
	assert_source(b);
	pass(w, 29000);
	assert_int_equal(w->n_asked, 0);
	pass(w, 2000);
	assert_int_equal(w->n_asked, 1);
	assert_string_equal(w->asked[0].host, "10.0.0.1-a");
	assert_string_equal(w->asked[0].task, TASK);
	sched_holder_answer(&w->core, slice_str("10.0.0.1-a"), slice_str(TASK), true);
	settle(w);
	assert_int_equal(a->peer->state, SCHED_PEER_SUCCEEDED);
	c = reg(w, "10.0.0.3-c", "C");
	assert_parents(c, "A", NULL);
}

static void
stalled_source_lets_one_more_go_every_five_seconds(void **state)
{
	struct world *w = *state;
	struct stream *a, *c[10];
	char h[32], id[32];

	host(w, "10.0.0.1-a");
	a = source(w, "10.0.0.1-a", "A", 0);
	for (uint32_t i = 0; i < 8; i++)
		piece_full(w, a, i, NULL, 500);
	pass(w, 11000);
	for (int i = 0; i < 10; i++) {
		snprintf(h, sizeof h, "10.0.1.%d-c", i);
		snprintf(id, sizeof id, "c%d", i);
		host(w, h);
		c[i] = reg(w, h, id);
		assert_waits(c[i]);
	}
	w->n_sources = 0;
	pass(w, 3900);
	assert_int_equal(w->n_sources, 0);
	pass(w, 1200);
	assert_int_equal(w->n_sources, 1);
	assert_source(c[0]);
	pass(w, 5000);
	assert_int_equal(w->n_sources, 2);
	source_started(w, c[0]);
	for (int i = 2; i < 10; i++)
		assert_int_equal(c[i]->kind, SCHED_ANSWER_NORMAL);
}

static void
lost_source_of_peers_at_work_is_replaced_by_the_best_of_them(void **state)
{
	struct world *w = *state;
	struct stream *s, *a, *b;

	w->is_live = true;
	host(w, "10.0.0.3-s");
	s = source(w, "10.0.0.3-s", "S", 100);
	a = child_with(w, "10.0.0.1-a", "A", "S", 0, 40);
	b = child_with(w, "10.0.0.2-b", "B", "S", 0, 50);
	pass(w, 100);
	assert_true(has_parent(a, "B") && has_parent(b, "A"));
	stream_lost(w, s);
	assert_source(b);
	assert_int_equal(a->kind, SCHED_ANSWER_NORMAL);
	source_started(w, b);
	assert_int_equal(b->peer->state, SCHED_PEER_BACK_TO_SOURCE);
	pass(w, 100);
	assert_true(has_parent(a, "B"));
	assert_int_equal(w->n_sources, 2);
}

static void
lost_source_is_not_replaced_while_the_others_have_all(void **state)
{
	struct world *w = *state;
	struct stream *s;

	w->is_live = true;
	host(w, "10.0.0.3-s");
	s = source(w, "10.0.0.3-s", "S", 10);
	child_with(w, "10.0.0.1-a", "A", "S", 0, 128);
	child_with(w, "10.0.0.2-b", "B", "S", 128, 128);
	w->n_sources = 0;
	stream_lost(w, s);
	pass(w, 1000);
	assert_int_equal(w->n_sources, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_peer_without_seed_goes_to_the_source_at_once),
		TEST(second_peer_waits_for_the_first_to_start),
		TEST(seed_of_the_ring_is_triggered),
		TEST(both_seeds_refuse_then_the_peer_goes_itself),
		TEST(silent_seed_is_overtaken_after_15_s),
		TEST(one_trigger_for_many_registrants),
		TEST(seed_with_the_whole_task_answers_without_the_source),
		TEST(seed_with_a_holder_at_hand_does_not_go_to_the_source),
		TEST(grant_that_is_not_used_lapses),
		TEST(peer_that_may_not_use_the_source_never_does),
		TEST(empty_file_is_told_from_an_unknown_length),
		TEST(priorities_decide_who_may_go_first),
		cmocka_unit_test(application_gives_the_priority_of_level0),
		cmocka_unit_test(bad_application_expression_is_refused),
		TEST(going_to_the_source_frees_the_parents),
		TEST(failed_source_is_replaced_and_the_length_stays),
		TEST(lost_source_is_replaced_and_found_again),
		TEST(stalled_source_lets_one_more_go_every_five_seconds),
		TEST(lost_source_of_peers_at_work_is_replaced_by_the_best_of_them),
		TEST(lost_source_is_not_replaced_while_the_others_have_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
