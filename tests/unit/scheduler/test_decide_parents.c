/*
 * Which parents a peer is given: scores, slots, who is none: decisions in the situations of doc/scheduler.md, on a virtual clock.
 * Unless said otherwise the task has 256 pieces of 4 MiB and the hosts carry 10 Gbit/s.
 */
#include "world.h"

static void
herd_on_one_seed_gets_its_slots_first(void **state)
{
	struct world *w = *state;
	struct stream *seed, *p[100];
	unsigned answered = 0;

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
	struct world *w = *state;

	idc_world(w);
	assert_int_equal(score(w, "A", "10.0.0.9-h9"), 8074);
	assert_int_equal(score(w, "B", "10.0.0.9-h9"), 6500);
	assert_int_equal(score(w, "C", "10.0.0.9-h9"), 8000);
	assert_int_equal(score(w, "D", "10.0.0.9-h9"), 5732);
	assert_parents(reg(w, "10.0.0.9-h9", "child"), "A", "C", "B", NULL);
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
	struct world *w = *state;
	struct stream *p;

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
}

static void
one_parent_that_will_have_all_is_among_them(void **state)
{
	struct world *w = *state;
	struct stream *s, *n;
	char h[32], id[32];

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
}

static void
range_gets_parents_that_have_it(void **state)
{
	struct world *w = *state;
	struct common_range low = { .start = 0, .length = 51 * 4 * MIB }, high = { .start = 200 * 4 * MIB, .length = 11 * 4 * MIB };
	struct stream *x;

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
	host(w, "10.0.0.3-s");
	source(w, "10.0.0.3-s", "S", 2);
	a = child_with(w, "10.0.0.1-h1", "P1", "S", 0, 1);
	b = child_with(w, "10.0.0.2-h2", "P2", "P1", 0, 1);
	assert_true(sched_edge_exists(a->peer, b->peer));
	reschedule(w, a);
	assert_parents(a, "S", NULL);
	world_free(w);
}

static void
with_mesh_two_peers_feed_each_other(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.3-s");
	source(w, "10.0.0.3-s", "S", 2);
	a = child_with(w, "10.0.0.1-h1", "P1", "S", 0, 1);
	b = child_with(w, "10.0.0.2-h2", "P2", "S", 1, 1);
	reschedule(w, a);
	assert_int_equal(a->n_parents, 2);
	assert_true(sched_edge_exists(a->peer, b->peer));
	assert_true(sched_edge_exists(b->peer, a->peer));
}

static void
peer_of_the_same_host_is_no_parent(void **state)
{
	struct world *w = *state;
	struct stream *a, *b;

	host(w, "10.0.0.1-h1");
	a = reg(w, "10.0.0.1-h1", "p1");
	source_started(w, a);
	b = reg(w, "10.0.0.1-h1", "p2");
	assert_waits(b);
	finished(w, a, true);
	assert_source(b);
}

static void
host_that_does_not_share_is_no_parent(void **state)
{
	struct world *w = *state;
	struct sched_host_info info = { 0 };

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
}

static void
peers_that_have_parts_only_do_not_feed_each_other_for_ever(void **state)
{
	struct world *w = *state;
	struct stream *s, *a, *b;

	host(w, "10.0.0.3-s");
	s = source(w, "10.0.0.3-s", "S", 100);
	a = child_with(w, "10.0.0.1-a", "A", "S", 0, 40);
	b = child_with(w, "10.0.0.2-b", "B", "S", 0, 50);
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
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(herd_on_one_seed_gets_its_slots_first),
		TEST(scores_order_parents),
		cmocka_unit_test(soft_locality_stays_in_the_idc),
		cmocka_unit_test(equal_children_spread_over_equal_parents),
		TEST(worked_scores),
		TEST(one_parent_that_will_have_all_is_among_them),
		TEST(range_gets_parents_that_have_it),
		cmocka_unit_test(without_mesh_a_descendant_is_no_parent),
		TEST(with_mesh_two_peers_feed_each_other),
		TEST(peer_of_the_same_host_is_no_parent),
		TEST(host_that_does_not_share_is_no_parent),
		TEST(peers_that_have_parts_only_do_not_feed_each_other_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
