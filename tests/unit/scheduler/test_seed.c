/*
 * The ring of seeds: the choice that a Go scheduler would make, and what failures do to it.
 */
#include "world.h"

#include "base/crc32.h"

static struct sched_host *
chosen(struct world *w, const char *task)
{
	return seed_ring_find(&w->core.seeds, &w->core.res, task, NULL);
}

static void
assert_chosen(struct world *w, const char *task, const char *ip)
{
	struct sched_host *h = chosen(w, task);

	assert_non_null(h);
	assert_string_equal(h->ip, ip);
}

static void
three_seeds(struct world *w)
{
	host(w, "10.0.0.1-s1-seed");
	host(w, "10.0.0.2-s2-seed");
	host(w, "10.0.0.3-s3-seed");
	host(w, "10.0.0.4-normal");
}

static void
choice_is_that_of_the_go_scheduler(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	assert_int_equal(crc32_update(0, "010.0.0.1:4000", 14), 0xdec4a9af);
	three_seeds(w);
	assert_chosen(w, "ea8a614f03a4689b0d8050b44a28d44767407b5ca273c1447cfacb3edcc3c8a6", "10.0.0.3");
	assert_chosen(w, "dcdbddb17569963e79004fa5444641c4984dc4a052dbdf2490c84fe522314afa", "10.0.0.3");
	assert_chosen(w, "02628b261ea3100978c6c2ed7c5df2f888e63d420af066c75c9af49f33c286a6", "10.0.0.1");
	assert_int_equal(w->core.seeds.n, 60);
	world_free(w);
}

static void
seed_that_goes_leaves_the_ring(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	three_seeds(w);
	assert_chosen(w, TASK, "10.0.0.3");
	sched_delete_host(&w->core, sched_host_find(&w->core.res, slice_str("10.0.0.3-s3-seed")));
	assert_string_not_equal(chosen(w, TASK)->ip, "10.0.0.3");
	assert_int_equal(w->core.seeds.n_seeds, 2);
	sched_delete_host(&w->core, sched_host_find(&w->core.res, slice_str("10.0.0.1-s1-seed")));
	sched_delete_host(&w->core, sched_host_find(&w->core.res, slice_str("10.0.0.2-s2-seed")));
	assert_null(chosen(w, TASK));
	world_free(w);
}

static void
seed_that_becomes_a_normal_host_leaves_the_ring(void **state)
{
	struct world *w = world_new(NULL);
	struct sched_host_info info = { 0 };

	(void)state;
	three_seeds(w);
	assert_chosen(w, TASK, "10.0.0.3");
	info.id = slice_str("10.0.0.3-s3-seed");
	info.hostname = slice_str("s3-seed");
	info.ip = slice_str("10.0.0.3");
	info.port = info.download_port = 4000;
	sched_announce_host(&w->core, &info);
	assert_string_not_equal(chosen(w, TASK)->ip, "10.0.0.3");
	world_free(w);
}

static void
failed_seed_rests_twice_as_long_each_time(void **state)
{
	struct world *w = world_new(NULL);
	struct sched_host *h;
	int64_t rest = SEED_BACKOFF_MS;

	(void)state;
	three_seeds(w);
	h = chosen(w, TASK);
	for (int i = 0; i < 12; i++) {
		seed_failed(&w->core.res, h);
		assert_int_equal(h->seed_backoff_until_ms - w->core.res.now_ms, rest);
		assert_ptr_not_equal(chosen(w, TASK), h);
		rest = rest * 2 < SEED_BACKOFF_MAX_MS ? rest * 2 : SEED_BACKOFF_MAX_MS;
	}
	seed_worked(h);
	assert_ptr_equal(chosen(w, TASK), h);
	world_free(w);
}

static void
all_seeds_at_rest_means_none(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	three_seeds(w);
	for (int i = 0; i < 3; i++)
		seed_failed(&w->core.res, chosen(w, TASK));
	assert_null(chosen(w, TASK));
	assert_source(reg(w, "10.0.0.4-normal", "p"));
	world_free(w);
}

static void
ipv6_seeds_stand_in_brackets(void **state)
{
	struct world *w = world_new(NULL);
	struct sched_host *h;

	(void)state;
	h = host(w, "fd00::1-s-seed");
	assert_ptr_equal(chosen(w, TASK), h);
	for (size_t i = 0; i < w->core.seeds.n; i++) {
		bool found = false;
		char text[64];

		for (unsigned k = 0; k < SEED_RING_POINTS; k++) {
			int n = snprintf(text, sizeof text, "%u[fd00::1]:4000", k);

			found = found || crc32_update(0, text, (size_t)n) == w->core.seeds.points[i].at;
		}
		assert_true(found);
	}
	world_free(w);
}

static void
seed_that_leaves_ends_its_trigger_quietly(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
	three_seeds(w);
	a = reg(w, "10.0.0.4-normal", "p");
	assert_waits(a);
	sched_delete_host(&w->core, sched_host_find(&w->core.res, slice_str("10.0.0.3-s3-seed")));
	settle(w);
	sched_trigger_done(&w->core, w->triggers[0], ERR_UNAVAILABLE);
	settle(w);
	assert_int_equal(w->n_triggers, 2);
	sched_trigger_live(&w->core, w->triggers[1]);
	sched_trigger_done(&w->core, w->triggers[1], ERR_OK);
	settle(w);
	/* The trigger came to its end without a parent: another one is tried. */
	assert_true(w->n_triggers == 3 || a->n_answers == 1);
	world_free(w);
}

static void
seed_that_refuses_a_request_takes_the_next_one(void **state)
{
	static const int codes[] = {ERR_PERMISSION_DENIED, ERR_INVALID_ARGUMENT, ERR_FAILED_PRECONDITION, ERR_NOT_FOUND};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		struct world *w = world_new(NULL);
		struct stream *a;
		struct sched_host *h;

		three_seeds(w);
		h = chosen(w, TASK);
		a = reg(w, "10.0.0.4-normal", "p");
		assert_waits(a);
		sched_trigger_done(&w->core, w->triggers[0], codes[i]);
		settle(w);
		/* Others would say the same: nobody else is asked, the peer goes to the source, and the seed is not to blame. */
		assert_int_equal(w->n_triggers, 1);
		assert_source(a);
		assert_ptr_equal(chosen(w, TASK), h);
		world_free(w);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(choice_is_that_of_the_go_scheduler),
		cmocka_unit_test(seed_that_goes_leaves_the_ring),
		cmocka_unit_test(seed_that_becomes_a_normal_host_leaves_the_ring),
		cmocka_unit_test(failed_seed_rests_twice_as_long_each_time),
		cmocka_unit_test(all_seeds_at_rest_means_none),
		cmocka_unit_test(ipv6_seeds_stand_in_brackets),
		cmocka_unit_test(seed_that_leaves_ends_its_trigger_quietly),
		cmocka_unit_test(seed_that_refuses_a_request_takes_the_next_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
