/* Persistent cache tasks of the embedded scheduler: replicas, time, and what outlives the process. */
#include "persist_world.h"

static void
replicas_go_where_room_is_and_to_other_idcs_first(void **state)
{
	(void)state;
	announce(1, "a", 1000 * MIB);
	announce(2, "b", 20 * MIB);
	announce(3, "c", 9 * MIB);      /* too little */
	upload(2);
	until(&holders[2]->was_asked);
	assert_int_equal(holders[2]->fetches, 1);
	UNTIL(persistent() == 2);
	assert_int_equal(holders[1]->fetches + holders[3]->fetches, 0);
}

static void
host_that_has_it_is_told_to_keep_it(void **state)
{
	struct scheduler_delete_persistent_cache_peer_request drop = {
		.host_id = slice_str("127.0.0.1-h2"), .task_id = slice_str(TASK), .peer_id = slice_str("p2") };

	(void)state;
	announce(1, "a", 100 * MIB);
	upload(2);
	UNTIL(persistent() == 2);
	assert_int_equal(holders[1]->fetches, 1);
	announce(2, "b", 100 * MIB);
	get("127.0.0.1-h2", "p2", false);
	/* Nothing is missing: it need not stay. */
	assert_int_equal(holders[2]->updates, 0);
	/* One replica goes: it is told to keep what it has. */
	drop.host_id = slice_str("127.0.0.1-h0");
	drop.peer_id = slice_str("p0");
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_PEER_AT, &drop, NULL), ERR_OK);
	until(&holders[2]->was_asked);
	assert_int_equal(holders[2]->updates, 1);
	UNTIL(persistent() == 2);
	assert_int_equal(holders[0]->deletes, 1);
}

static void
refusing_hosts_are_tried_three_times(void **state)
{
	(void)state;
	announce(1, "a", 100 * MIB);
	holders[1]->refuse_code = ERR_RESOURCE_EXHAUSTED;
	upload(2);
	UNTIL(holders[1]->fetches == PERSIST_TRIES_MAX);
	for (int i = 0; i < 20; i++)
		loop_turn(c->loop, 5);
	assert_int_equal(holders[1]->fetches, PERSIST_TRIES_MAX);
	assert_int_equal(persistent(), 1);
}

static void
deleted_task_is_deleted_everywhere(void **state)
{
	struct scheduler_delete_persistent_cache_task_request m = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	char what[32];

	(void)state;
	announce(1, "a", 100 * MIB);
	upload(2);
	UNTIL(persistent() == 2);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_TASK_AT, &m, NULL), ERR_OK);
	UNTIL(holders[0]->deletes == 1 && holders[1]->deletes == 1);
	assert_int_equal(stat_state(what, sizeof what), ERR_NOT_FOUND);
	/* Twice is the same. */
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_TASK_AT, &m, NULL), ERR_OK);
}

static void
holder_that_left_counts_again_when_it_still_has_it(void **state)
{
	struct scheduler_delete_host_request leave = { .host_id = slice_str("127.0.0.1-h1") };

	(void)state;
	announce(1, "a", 100 * MIB);
	upload(2);
	UNTIL(persistent() == 2);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_HOST_AT, &leave, NULL), ERR_OK);
	assert_int_equal(persistent(), 1);
	holders[1]->has_it = true;
	announce(1, "a", 100 * MIB);
	UNTIL(persistent() == 2);
	assert_int_equal(holders[1]->questions, 1);
	/* And not when it lost it; then it is asked to fetch it. */
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_HOST_AT, &leave, NULL), ERR_OK);
	holders[1]->has_it = false;
	holders[1]->fetch_waits = true;
	announce(1, "a", 100 * MIB);
	UNTIL(holders[1]->fetches == 2);
	assert_int_equal(holders[1]->questions, 2);
	assert_int_equal(persistent(), 1);
}

static void
task_ends_with_its_time(void **state)
{
	struct persist *p = c->scheduler->persist;
	struct persist_task *t;
	char what[32];

	(void)state;
	upload(1);
	t = persist_task_find(p, PERSIST_CACHE, slice_str(TASK));
	assert_non_null(t);
	persist_task_set_ttl(t, persist_wall_ms(p) - 10000, 10050);
	UNTIL(stat_state(what, sizeof what) == ERR_NOT_FOUND);
	assert_int_equal(persist_task_count(p), 0);
}

/* ---- what outlives the process ---- */

static void
restart_keeps_tasks_and_asks_their_holders(void **state)
{
	char what[32];

	(void)state;
	announce(1, "a", 100 * MIB);
	holders[1]->has_it = true;
	upload(2);
	UNTIL(persistent() == 2);
	restart();
	assert_int_equal(stat_state(what, sizeof what), ERR_OK);
	assert_string_equal(what, "Succeeded");
	assert_int_equal(persistent(), 0);
	announce(0, "a", 100 * MIB);
	announce(1, "a", 100 * MIB);
	UNTIL(persistent() == 2);
	assert_true(holders[0]->questions == 1 && holders[1]->questions == 1);
	assert_int_equal(holders[1]->fetches, 1);
}

static void
restart_forgets_what_was_deleted_and_what_failed(void **state)
{
	struct scheduler_delete_persistent_cache_task_request m = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	char what[32];

	(void)state;
	upload(1);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_TASK_AT, &m, NULL), ERR_OK);
	restart();
	announce(0, "a", 100 * MIB);
	assert_int_equal(stat_state(what, sizeof what), ERR_NOT_FOUND);
	/* An upload that was not finished is none. */
	assert_int_equal(started("127.0.0.1-h0", "p0", 1, 10 * MIB, NULL), ERR_OK);
	restart();
	announce(0, "a", 100 * MIB);
	assert_int_equal(stat_state(what, sizeof what), ERR_NOT_FOUND);
}

static void
journal_cut_anywhere_gives_what_is_whole(void **state)
{
	uint8_t all[4096];
	char what[32];
	ssize_t n;
	int fd;

	(void)state;
	upload(1);
	fd = open(path, O_RDONLY);
	n = read(fd, all, sizeof all);
	close(fd);
	assert_true(n > 100 && (size_t)n < sizeof all);
	log_set_level(LOG_OFF);
	for (ssize_t cut = 0; cut < n; cut++) {
		cluster_stop(c);
		fd = open(path, O_WRONLY | O_TRUNC);
		assert_int_equal(write(fd, all, (size_t)cut), cut);
		close(fd);
		cluster_start(c);
		/* The task's record comes first; without its last byte there is none. */
		(void)stat_state(what, sizeof what);
	}
	cluster_stop(c);
	all[n / 2] ^= 1;
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, all, (size_t)n), n);
	close(fd);
	cluster_start(c);
	assert_int_equal(stat_state(what, sizeof what), ERR_NOT_FOUND);
	/* It goes on from there. */
	announce(0, "a", 100 * MIB);
	upload(1);
	restart();
	assert_int_equal(stat_state(what, sizeof what), ERR_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(replicas_go_where_room_is_and_to_other_idcs_first),
		TEST(host_that_has_it_is_told_to_keep_it),
		TEST(refusing_hosts_are_tried_three_times),
		TEST(deleted_task_is_deleted_everywhere),
		TEST(holder_that_left_counts_again_when_it_still_has_it),
		TEST(task_ends_with_its_time),
		TEST(restart_keeps_tasks_and_asks_their_holders),
		TEST(restart_forgets_what_was_deleted_and_what_failed),
		TEST(journal_cut_anywhere_gives_what_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
