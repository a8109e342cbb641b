/*
 * Decisions in the situations of doc/scheduler.md, on a virtual clock. Unless said otherwise the task has 256 pieces of 4 MiB and
 * the hosts carry 10 Gbit/s.
 */
#include "world.h"

#include "text/regex.h"

#define TASK_A "ea8a614f03a4689b0d8050b44a28d44767407b5ca273c1447cfacb3edcc3c8a6"

static void
first_peer_without_seed_goes_to_the_source_at_once(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
	host(w, "10.0.0.1-h1");
	a = reg(w, "10.0.0.1-h1", "p1");
	assert_source(a);
	assert_int_equal(a->answered_ms, START_MS);
	assert_int_equal(sched_sources(&w->core.res, a->peer->task, a->peer), 1);
	world_free(w);
}

static void
second_peer_waits_for_the_first_to_start(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
	host(w, "10.0.0.1-h1");
	host(w, "10.0.0.2-h2");
	a = reg(w, "10.0.0.1-h1", "p1");
	b = reg(w, "10.0.0.2-h2", "p2");
	assert_waits(b);
	source_started(w, a);
	assert_parents(b, "p1", NULL);
	world_free(w);
}

static void
failed_source_is_replaced_and_the_length_stays(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
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
	world_free(w);
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
	struct world *w = world_new(NULL);
	struct stream *a, *s;

	(void)state;
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
	world_free(w);
}

static void
both_seeds_refuse_then_the_peer_goes_itself(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
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
	world_free(w);
}

static void
silent_seed_is_overtaken_after_15_s(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
	three_seeds(w);
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	sched_trigger_live(&w->core, w->triggers[0]);
	pass(w, 14900);
	assert_waits(a);
	pass(w, 200);
	assert_source(a);
	world_free(w);
}

static void
one_trigger_for_many_registrants(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	three_seeds(w);
	for (int i = 0; i < 20; i++) {
		char h[32], p[32];

		snprintf(h, sizeof h, "10.0.2.%d-h", i);
		snprintf(p, sizeof p, "p%d", i);
		host(w, h);
		assert_waits(reg_at(w, h, TASK_A, p, NULL));
	}
	assert_int_equal(w->n_triggers, 1);
	world_free(w);
}

static void
herd_on_one_seed_gets_its_slots_first(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *seed, *p[100];
	unsigned answered = 0;

	(void)state;
	host(w, "10.0.0.1-s1-seed");
	seed = source(w, "10.0.0.1-s1-seed", "seed", 0);
	for (int i = 0; i < 100; i++) {
		char h[32], id[32];

		snprintf(h, sizeof h, "10.0.2.%d-h", i);
		snprintf(id, sizeof id, "p%d", i);
		host(w, h);
		p[i] = reg(w, h, id);
		answered += p[i]->n_answers;
	}
	assert_int_equal(answered, 40);
	assert_int_equal(seed->peer->host->children, 40);
	for (int i = 0; i < 40; i++)
		assert_parents(p[i], "seed", NULL);
	/* A child with a piece serves those who wait. */
	started(w, p[0]);
	piece(w, p[0], 0, "seed");
	assert_parents(p[40], "p0", NULL);
	/* After a second slots no longer count, and the seed is the one that has all. */
	pass(w, 1100);
	for (int i = 80; i < 100; i++) {
		bool has_seed = false;

		assert_true(p[i]->n_answers == 1);
		for (unsigned k = 0; k < p[i]->n_parents; k++)
			has_seed = has_seed || strcmp(p[i]->parents[k], "seed") == 0;
		assert_true(has_seed || p[i]->answered_ms < START_MS + 1000);
	}
	world_free(w);
}

static void
idc_world(struct world *w)
{
	struct stream *a, *d;

	host_in(w, "10.0.0.1-a", "sh");
	host_in(w, "10.0.0.2-b", "bj");
	host_in(w, "10.0.0.3-c-seed", "SH");
	host_in(w, "10.0.0.4-d", "sh");
	a = holder(w, "10.0.0.1-a", "A");
	holder(w, "10.0.0.2-b", "B");
	holder(w, "10.0.0.3-c-seed", "C");
	d = holder(w, "10.0.0.4-d", "D");
	add_children(w, a, 4);
	add_children(w, d, 20);
	host_in(w, "10.0.0.9-h9", "sh");
}

static uint32_t
score(struct world *w, const char *parent, const char *child_host)
{
	return sched_score(&w->core.res, sched_peer_find(&w->core.res, slice_str(parent)),
		sched_host_find(&w->core.res, slice_str(child_host)));
}

static void
scores_order_parents(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	idc_world(w);
	assert_int_equal(score(w, "A", "10.0.0.9-h9"), 8074);
	assert_int_equal(score(w, "B", "10.0.0.9-h9"), 6500);
	assert_int_equal(score(w, "C", "10.0.0.9-h9"), 8000);
	assert_int_equal(score(w, "D", "10.0.0.9-h9"), 5732);
	assert_parents(reg(w, "10.0.0.9-h9", "child"), "A", "C", "B", NULL);
	world_free(w);
}

static void
soft_locality_stays_in_the_idc(void **state)
{
	struct scheduler_options o;
	struct world *w;

	(void)state;
	world_options(&o);
	o.locality = SCHEDULER_LOCALITY_SOFT;
	w = world_new(&o);
	idc_world(w);
	assert_parents(reg(w, "10.0.0.9-h9", "child"), "A", "C", "D", NULL);
	world_free(w);
}

static void
equal_children_spread_over_equal_parents(void **state)
{
	struct world *w = world_new(NULL);
	char h[32], p[32];

	(void)state;
	for (char c = 'a'; c <= 'e'; c++) {
		snprintf(h, sizeof h, "10.0.0.1-%c", c);
		snprintf(p, sizeof p, "peer-%c", c);
		host(w, h);
		holder(w, h, p);
	}
	host(w, "10.0.0.9-h9");
	host(w, "10.0.0.8-h8");
	assert_true(sched_rendezvous("10.0.0.9-h9", "peer-d") == UINT64_C(0xe3ede893fdc5cf60));
	assert_true(sched_rendezvous("10.0.0.8-h8", "peer-a") == UINT64_C(0xee13adcc52d8f288));
	assert_parents(reg(w, "10.0.0.9-h9", "c9"), "peer-d", "peer-e", "peer-b", NULL);
	world_free(w);
	w = world_new(NULL);
	for (char c = 'a'; c <= 'e'; c++) {
		snprintf(h, sizeof h, "10.0.0.1-%c", c);
		snprintf(p, sizeof p, "peer-%c", c);
		host(w, h);
		holder(w, h, p);
	}
	host(w, "10.0.0.8-h8");
	assert_parents(reg(w, "10.0.0.8-h8", "c8"), "peer-a", "peer-c", "peer-e", NULL);
	world_free(w);
}

static void
worked_scores(void **state)
{
	static const struct { unsigned children; uint32_t l, s; } table[] = {
		{ 0, 10000, 6500 }, { 1, 9823, 6393 }, { 2, 9646, 6287 }, { 4, 9291, 6074 }, { 8, 8583, 5649 },
		{ 16, 6330, 4298 }, { 40, 1747, 1548 },
	};
	struct world *w = world_new(NULL);
	struct stream *p;

	(void)state;
	host(w, "10.0.0.9-h9");
	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		char h[32], id[32];

		snprintf(h, sizeof h, "10.0.1.%u-x", i);
		snprintf(id, sizeof id, "x%u", i);
		host(w, h);
		p = holder(w, h, id);
		add_children(w, p, table[i].children);
		assert_int_equal(sched_load_score(&w->core.res, p->peer->host), table[i].l);
		assert_int_equal(score(w, id, "10.0.0.9-h9"), table[i].s);
	}
	/* Seeds count while they are at the source. */
	host(w, "10.0.0.1-s-seed");
	source(w, "10.0.0.1-s-seed", "s", 1);
	assert_int_equal(score(w, "s", "10.0.0.9-h9"), 7000);
	host_full(w, "10.0.0.2-slow", "", "", 100000000, 0);
	holder(w, "10.0.0.2-slow", "slow");
	assert_int_equal(score(w, "slow", "10.0.0.9-h9"), 5300);
	host_full(w, "10.0.0.3-z", "", "cn|bj|z1", UINT64_C(10000000000), 0);
	host_full(w, "10.0.0.4-z", "", "cn|bj|z2", UINT64_C(10000000000), 0);
	host_full(w, "10.0.0.5-z", "", "CN|bj|Z1", UINT64_C(10000000000), 0);
	holder(w, "10.0.0.3-z", "z");
	assert_int_equal(score(w, "z", "10.0.0.4-z"), 6900);
	assert_int_equal(score(w, "z", "10.0.0.5-z"), 7500);
	host_full(w, "10.0.0.6-y", "", "cn|bj", 0, 0);
	assert_int_equal(score(w, "z", "10.0.0.6-y"), 6900);
	/* No bandwidth told: 10 Gbit/s. */
	holder(w, "10.0.0.6-y", "y");
	assert_int_equal(score(w, "y", "10.0.0.9-h9"), 6500);
	/* What the host says it sends counts when it is more than what we know of. */
	host_full(w, "10.0.0.7-busy", "", "", UINT64_C(10000000000), UINT64_C(9000000000));
	holder(w, "10.0.0.7-busy", "busy");
	assert_int_equal(sched_load_score(&w->core.res, sched_host_find(&w->core.res, slice_str("10.0.0.7-busy"))), 5500);
	assert_int_equal(score(w, "busy", "10.0.0.9-h9"), 3800);
	world_free(w);
}

static void
one_parent_that_will_have_all_is_among_them(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *s, *n;
	char h[32], id[32];

	(void)state;
	host(w, "10.0.0.1-b");
	s = source(w, "10.0.0.1-b", "bts", 12);
	for (int i = 0; i < 3; i++) {
		snprintf(h, sizeof h, "10.0.1.%d-n", i);
		snprintf(id, sizeof id, "n%d", i);
		host(w, h);
		n = reg(w, h, id);
		started(w, n);
		for (uint32_t k = 0; k < 10; k++)
			piece(w, n, k, "bts");
	}
	add_children(w, s, 20);
	host(w, "10.0.0.9-h9");
	n = reg(w, "10.0.0.9-h9", "child");
	assert_int_equal(n->n_parents, 3);
	assert_string_equal(n->parents[2], "bts");
	assert_true(strcmp(n->parents[0], "bts") != 0 && strcmp(n->parents[1], "bts") != 0);
	world_free(w);
}

static void
range_gets_parents_that_have_it(void **state)
{
	struct world *w = world_new(NULL);
	struct common_range low = { .start = 0, .length = 51 * 4 * MIB }, high = { .start = 200 * 4 * MIB, .length = 11 * 4 * MIB };
	struct stream *x;

	(void)state;
	host(w, "10.0.0.1-x");
	host(w, "10.0.0.2-y");
	host(w, "10.0.0.9-h9");
	w->download.range = &low;
	x = reg(w, "10.0.0.1-x", "X");
	source_started(w, x);
	finished(w, x, true);
	assert_int_equal(x->peer->task->state, SCHED_TASK_RUNNING);
	w->download.range = NULL;
	source(w, "10.0.0.2-y", "Y", 3);
	w->download.range = &high;
	assert_parents(reg(w, "10.0.0.9-h9", "c"), "Y", NULL);
	world_free(w);
}

static void
without_mesh_a_descendant_is_no_parent(void **state)
{
	struct scheduler_options o;
	struct world *w;
	struct stream *a, *b;

	(void)state;
	world_options(&o);
	o.mesh = false;
	w = world_new(&o);
	host(w, "10.0.0.1-h1");
	host(w, "10.0.0.2-h2");
	host(w, "10.0.0.3-s");
	source(w, "10.0.0.3-s", "S", 2);
	a = reg(w, "10.0.0.1-h1", "P1");
	started(w, a);
	piece(w, a, 0, "S");
	b = reg(w, "10.0.0.2-h2", "P2");
	started(w, b);
	piece(w, b, 0, "P1");
	assert_true(sched_edge_exists(a->peer, b->peer));
	reschedule(w, a);
	assert_parents(a, "S", NULL);
	world_free(w);
}

static void
with_mesh_two_peers_feed_each_other(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
	host(w, "10.0.0.1-h1");
	host(w, "10.0.0.2-h2");
	host(w, "10.0.0.3-s");
	source(w, "10.0.0.3-s", "S", 2);
	a = reg(w, "10.0.0.1-h1", "P1");
	started(w, a);
	piece(w, a, 0, "S");
	b = reg(w, "10.0.0.2-h2", "P2");
	started(w, b);
	piece(w, b, 1, "S");
	reschedule(w, a);
	assert_int_equal(a->n_parents, 2);
	assert_true(sched_edge_exists(a->peer, b->peer));
	assert_true(sched_edge_exists(b->peer, a->peer));
	world_free(w);
}

static void
peer_of_the_same_host_is_no_parent(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
	host(w, "10.0.0.1-h1");
	a = reg(w, "10.0.0.1-h1", "p1");
	source_started(w, a);
	b = reg(w, "10.0.0.1-h1", "p2");
	assert_waits(b);
	finished(w, a, true);
	assert_source(b);
	world_free(w);
}

static void
host_that_does_not_share_is_no_parent(void **state)
{
	struct world *w = world_new(NULL);
	struct sched_host_info info = { 0 };

	(void)state;
	host(w, "10.0.0.1-h1");
	holder(w, "10.0.0.1-h1", "A");
	info.id = slice_str("10.0.0.1-h1");
	info.hostname = slice_str("h1");
	info.ip = slice_str("10.0.0.1");
	info.port = info.download_port = 4000;
	info.disable_shared = true;
	sched_announce_host(&w->core, &info);
	host(w, "10.0.0.2-h2");
	assert_source(reg(w, "10.0.0.2-h2", "p2"));
	world_free(w);
}

static void
failed_parent_is_blocked_for_that_child_for_a_minute(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *b, *c;

	(void)state;
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
	world_free(w);
}

static void
host_that_fails_five_children_is_bad_for_all(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *c[5], *d;
	char h[32], id[32];

	(void)state;
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
	world_free(w);
}

static void
reschedule_gives_a_growing_source_again(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	a = source(w, "10.0.0.1-a", "A", 1);
	b = reg(w, "10.0.0.2-b", "B");
	started(w, b);
	piece(w, b, 0, "A");
	for (uint32_t i = 1; i < 6; i++)
		piece(w, a, i, NULL);
	reschedule(w, b);
	assert_int_equal(b->n_answers, 2);
	assert_parents(b, "A", NULL);
	world_free(w);
}

static void
straggler_is_used_only_when_alone(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *c;

	(void)state;
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
	world_free(w);
}

static void
lost_source_is_replaced_and_found_again(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b, *c;

	(void)state;
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
	world_free(w);
}

static void
orphan_without_the_task_is_forgotten_after_two_questions(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
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
	world_free(w);
}

static void
stalled_source_lets_one_more_go_every_five_seconds(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *c[10];
	char h[32], id[32];

	(void)state;
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
	world_free(w);
}

static void
deleted_task_is_not_offered(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *b;

	(void)state;
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
	world_free(w);
}

static void
silent_host_is_gone_after_two_intervals(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	host(w, "10.0.0.1-a");
	holder(w, "10.0.0.1-a", "A");
	pass(w, 599000);
	assert_non_null(sched_host_find(&w->core.res, slice_str("10.0.0.1-a")));
	pass(w, 12000);
	assert_null(sched_host_find(&w->core.res, slice_str("10.0.0.1-a")));
	assert_null(sched_peer_find(&w->core.res, slice_str("A")));
	world_free(w);
}

static void
unknown_host_registers_but_is_no_parent_before_it_announces(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
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
	world_free(w);
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
seed_with_the_whole_task_answers_without_the_source(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *s;

	(void)state;
	three_seeds(w);
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	assert_waits(a);
	s = holder_of(w, "10.0.0.3-s3-seed", TASK_A, "s");
	assert_int_equal(s->peer->state, SCHED_PEER_SUCCEEDED);
	assert_parents(a, "s", NULL);
	assert_int_equal(w->n_sources, 0);
	world_free(w);
}

static void
earlier_holders_are_asked_after_a_restart(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;
	char h[32];

	(void)state;
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
	world_free(w);
}

static void
silent_earlier_holders_cost_three_seconds(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
	w->core.is_restored = true;
	host(w, "10.0.0.1-h1")->is_restored = true;
	host(w, "10.0.0.2-h2")->is_restored = true;
	a = reg(w, "10.0.0.1-h1", "p1");
	pass(w, 2900);
	assert_waits(a);
	pass(w, 1100);
	assert_source(a);
	world_free(w);
}

static void
empty_file_is_told_from_an_unknown_length(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
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
	world_free(w);
}

static void
priorities_decide_who_may_go_first(void **state)
{
	struct world *w = world_new(NULL);
	struct err e = { 0 };
	struct stream *a;

	(void)state;
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
	world_free(w);
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
peer_that_may_not_use_the_source_never_does(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
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
	world_free(w);
}

static void
second_register_on_a_stream_is_refused(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;
	struct err e = { 0 };

	(void)state;
	host(w, "10.0.0.1-a");
	a = reg(w, "10.0.0.1-a", "P1");
	assert_int_equal(sched_register_again(&w->core, a->peer, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_string_equal(e.text, "event RegisterNormal inappropriate in current state ReceivedNormal");
	assert_int_equal(a->peer->state, SCHED_PEER_FAILED);
	world_free(w);
}

static void
peer_id_of_a_live_stream_is_not_taken_twice(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;
	struct err e = { 0 };

	(void)state;
	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	a = reg(w, "10.0.0.1-a", "P1");
	b = reg_at(w, "10.0.0.2-b", TASK, "P1", &e);
	assert_null(b->peer);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_int_equal(a->peer->state, SCHED_PEER_RECEIVED_NORMAL);
	world_free(w);
}

static void
peer_of_a_broken_stream_starts_over_with_its_pieces(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	holder(w, "10.0.0.2-b", "H");
	a = reg(w, "10.0.0.1-a", "P1");
	started(w, a);
	piece(w, a, 7, "H");
	stream_lost(w, a);
	b = reg(w, "10.0.0.1-a", "P1");
	assert_ptr_equal(b->peer, a->peer);
	assert_parents(b, "H", NULL);
	assert_true(sched_peer_has_piece(b->peer, 7));
	assert_int_equal(b->peer->n_finished, 1);
	assert_int_equal(b->peer->host->streams, 1);
	world_free(w);
}

static void
going_to_the_source_frees_the_parents(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *h, *a;

	(void)state;
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
	world_free(w);
}

static void
seed_with_a_holder_at_hand_does_not_go_to_the_source(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *s;

	(void)state;
	three_seeds(w);
	host(w, "10.0.0.9-h9");
	a = reg_at(w, "10.0.1.1-h1", TASK_A, "p1", NULL);
	assert_waits(a);
	holder_of(w, "10.0.0.9-h9", TASK_A, "H");
	w->download.need_back_to_source = true;
	s = reg_at(w, "10.0.0.3-s3-seed", TASK_A, "s", NULL);
	assert_parents(s, "H", NULL);
	assert_int_equal(w->n_sources, 0);
	world_free(w);
}

static void
grant_that_is_not_used_lapses(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
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
	world_free(w);
}

static void
fifth_answer_of_an_old_peer_needs_no_sixth(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *r;

	(void)state;
	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-r");
	host(w, "10.0.0.3-s");
	source(w, "10.0.0.3-s", "S", 3);
	r = reg(w, "10.0.0.2-r", "R");
	started(w, r);
	piece(w, r, 0, "S");
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
	world_free(w);
}

static struct stream *
child_with(struct world *w, const char *host_id, const char *peer, uint32_t from, uint32_t n)
{
	struct stream *s;

	host(w, host_id);
	s = reg(w, host_id, peer);
	started(w, s);
	for (uint32_t i = 0; i < n; i++)
		piece(w, s, from + i, "S");
	return s;
}

static void
lost_source_of_peers_at_work_is_replaced_by_the_best_of_them(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *s, *a, *b;

	(void)state;
	w->is_live = true;
	host(w, "10.0.0.3-s");
	s = source(w, "10.0.0.3-s", "S", 100);
	a = child_with(w, "10.0.0.1-a", "A", 0, 40);
	b = child_with(w, "10.0.0.2-b", "B", 0, 50);
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
	world_free(w);
}

static void
lost_source_is_not_replaced_while_the_others_have_all(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *s;

	(void)state;
	w->is_live = true;
	host(w, "10.0.0.3-s");
	s = source(w, "10.0.0.3-s", "S", 10);
	child_with(w, "10.0.0.1-a", "A", 0, 128);
	child_with(w, "10.0.0.2-b", "B", 128, 128);
	w->n_sources = 0;
	stream_lost(w, s);
	pass(w, 1000);
	assert_int_equal(w->n_sources, 0);
	world_free(w);
}

static void
peers_that_have_parts_only_do_not_feed_each_other_for_ever(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *s, *a, *b;

	(void)state;
	host(w, "10.0.0.3-s");
	s = source(w, "10.0.0.3-s", "S", 100);
	a = child_with(w, "10.0.0.1-a", "A", 0, 40);
	b = child_with(w, "10.0.0.2-b", "B", 0, 50);
	stream_lost(w, s);
	w->n_sources = 0;
	assert_int_equal(a->n_answers, 1);
	reschedule(w, a);
	assert_source(a);
	reschedule(w, b);
	assert_int_equal(w->n_sources, 1);
	assert_int_equal(b->n_answers, 1);
	source_started(w, a);
	assert_int_equal(b->n_answers, 2);
	assert_parents(b, "A", NULL);
	world_free(w);
}

static void
live_peer_is_told_of_new_parents(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b, *c;

	(void)state;
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
	world_free(w);
}

static void
live_peer_that_is_slow_to_start_is_told_all_the_same(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
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
	world_free(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_peer_without_seed_goes_to_the_source_at_once),
		cmocka_unit_test(second_peer_waits_for_the_first_to_start),
		cmocka_unit_test(failed_source_is_replaced_and_the_length_stays),
		cmocka_unit_test(seed_of_the_ring_is_triggered),
		cmocka_unit_test(both_seeds_refuse_then_the_peer_goes_itself),
		cmocka_unit_test(silent_seed_is_overtaken_after_15_s),
		cmocka_unit_test(one_trigger_for_many_registrants),
		cmocka_unit_test(herd_on_one_seed_gets_its_slots_first),
		cmocka_unit_test(scores_order_parents),
		cmocka_unit_test(soft_locality_stays_in_the_idc),
		cmocka_unit_test(equal_children_spread_over_equal_parents),
		cmocka_unit_test(worked_scores),
		cmocka_unit_test(one_parent_that_will_have_all_is_among_them),
		cmocka_unit_test(range_gets_parents_that_have_it),
		cmocka_unit_test(without_mesh_a_descendant_is_no_parent),
		cmocka_unit_test(with_mesh_two_peers_feed_each_other),
		cmocka_unit_test(peer_of_the_same_host_is_no_parent),
		cmocka_unit_test(host_that_does_not_share_is_no_parent),
		cmocka_unit_test(failed_parent_is_blocked_for_that_child_for_a_minute),
		cmocka_unit_test(host_that_fails_five_children_is_bad_for_all),
		cmocka_unit_test(reschedule_gives_a_growing_source_again),
		cmocka_unit_test(straggler_is_used_only_when_alone),
		cmocka_unit_test(lost_source_is_replaced_and_found_again),
		cmocka_unit_test(orphan_without_the_task_is_forgotten_after_two_questions),
		cmocka_unit_test(stalled_source_lets_one_more_go_every_five_seconds),
		cmocka_unit_test(deleted_task_is_not_offered),
		cmocka_unit_test(silent_host_is_gone_after_two_intervals),
		cmocka_unit_test(unknown_host_registers_but_is_no_parent_before_it_announces),
		cmocka_unit_test(strict_hosts_refuse_an_unknown_one),
		cmocka_unit_test(seed_with_the_whole_task_answers_without_the_source),
		cmocka_unit_test(earlier_holders_are_asked_after_a_restart),
		cmocka_unit_test(silent_earlier_holders_cost_three_seconds),
		cmocka_unit_test(empty_file_is_told_from_an_unknown_length),
		cmocka_unit_test(priorities_decide_who_may_go_first),
		cmocka_unit_test(application_gives_the_priority_of_level0),
		cmocka_unit_test(bad_application_expression_is_refused),
		cmocka_unit_test(peer_that_may_not_use_the_source_never_does),
		cmocka_unit_test(second_register_on_a_stream_is_refused),
		cmocka_unit_test(peer_id_of_a_live_stream_is_not_taken_twice),
		cmocka_unit_test(peer_of_a_broken_stream_starts_over_with_its_pieces),
		cmocka_unit_test(going_to_the_source_frees_the_parents),
		cmocka_unit_test(seed_with_a_holder_at_hand_does_not_go_to_the_source),
		cmocka_unit_test(grant_that_is_not_used_lapses),
		cmocka_unit_test(fifth_answer_of_an_old_peer_needs_no_sixth),
		cmocka_unit_test(lost_source_of_peers_at_work_is_replaced_by_the_best_of_them),
		cmocka_unit_test(lost_source_is_not_replaced_while_the_others_have_all),
		cmocka_unit_test(peers_that_have_parts_only_do_not_feed_each_other_for_ever),
		cmocka_unit_test(live_peer_is_told_of_new_parents),
		cmocka_unit_test(live_peer_that_is_slow_to_start_is_told_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
