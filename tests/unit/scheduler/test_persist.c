/* Persistent cache tasks of the embedded scheduler: uploads, and the parents of those who fetch them. */
#include "persist_world.h"

static void
upload_goes_from_uploading_to_succeeded(void **state)
{
	char text[1200], what[32];

	(void)state;
	assert_int_equal(stat_state(what, sizeof what), ERR_NOT_FOUND);
	assert_int_equal(started("127.0.0.1-h0", "p0", 1, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(stat_state(what, sizeof what), ERR_OK);
	assert_string_equal(what, "Uploading");
	assert_int_equal(started("127.0.0.1-h0", "p1", 1, 10 * MIB, text), ERR_ALREADY_EXISTS);
	assert_string_equal(text, "persistent cache task " TASK " is Uploading cannot upload");
	assert_int_equal(finished("nobody", text), ERR_NOT_FOUND);
	assert_string_equal(text, "persistent cache peer nobody not found");
	assert_int_equal(finished("p0", NULL), ERR_OK);
	assert_int_equal(stat_state(what, sizeof what), ERR_OK);
	assert_string_equal(what, "Succeeded");
	assert_int_equal(persistent(), 1);
	assert_int_equal(started("127.0.0.1-h0", "p1", 1, 10 * MIB, text), ERR_ALREADY_EXISTS);
	assert_string_equal(text, "persistent cache task " TASK " is Succeeded cannot upload");
}

static void
failed_upload_can_be_done_again(void **state)
{
	struct scheduler_upload_persistent_cache_task_failed_request m = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str("p0"), .description = slice_str("disk") };
	char what[32];

	(void)state;
	assert_int_equal(started("127.0.0.1-h0", "p0", 1, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FAILED_AT, &m, NULL), ERR_OK);
	assert_int_equal(stat_state(what, sizeof what), ERR_OK);
	assert_string_equal(what, "Failed");
	assert_int_equal(started("127.0.0.1-h0", "p1", 1, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(finished("p1", NULL), ERR_OK);
}

/* The word of its end and that of its failure cross: the host gave up before it had our answer, and has nothing. */
static void
upload_that_failed_after_all_can_be_done_again(void **state)
{
	struct scheduler_upload_persistent_cache_task_failed_request m = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str("p0"), .description = slice_str("stopped") };
	char what[32];

	(void)state;
	assert_int_equal(started("127.0.0.1-h0", "p0", 1, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(finished("p0", NULL), ERR_OK);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FAILED_AT, &m, NULL), ERR_OK);
	assert_int_equal(stat_state(what, sizeof what), ERR_NOT_FOUND);
	assert_int_equal(holders[0]->deletes, 0);
	assert_int_equal(started("127.0.0.1-h0", "p1", 1, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(finished("p1", NULL), ERR_OK);
	assert_int_equal(persistent(), 1);
}

static void
upload_of_a_host_that_left_stands_in_nobodys_way(void **state)
{
	struct scheduler_delete_host_request leave = { .host_id = slice_str("127.0.0.1-h1") };

	(void)state;
	announce(1, "a", 100 * MIB);
	assert_int_equal(started("127.0.0.1-h1", "p1", 1, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_HOST_AT, &leave, NULL), ERR_OK);
	assert_int_equal(started("127.0.0.1-h0", "p0", 1, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(finished("p0", NULL), ERR_OK);
}

static void
bad_uploads_are_refused_with_the_field(void **state)
{
	struct google_duration ttl = { 3600, 0 };
	const struct scheduler_upload_persistent_cache_task_started_request good = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str("p"), .persistent_replica_count = 1,
		.piece_length = 4 * MIB, .content_length = 1, .piece_count = 1, .ttl = &ttl };
	struct scheduler_upload_persistent_cache_task_started_request m;
	char text[1200];
	size_t at = SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_STARTED_AT;

	(void)state;
	m = good;
	m.host_id = slice_str("unknown");
	assert_int_equal(cluster_do(c, at, &m, text), ERR_NOT_FOUND);
	assert_string_equal(text, "host unknown not found");
	m = good;
	m.peer_id = slice_str("");
	assert_int_equal(cluster_do(c, at, &m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid UploadPersistentCacheTaskStartedRequest.PeerId: value length must be at least 1 runes");
	m = good;
	m.persistent_replica_count = 0;
	assert_int_equal(cluster_do(c, at, &m, text), ERR_INVALID_ARGUMENT);
	m = good;
	m.piece_length = 4 * MIB - 1;
	assert_int_equal(cluster_do(c, at, &m, text), ERR_INVALID_ARGUMENT);
	m = good;
	m.ttl = NULL;
	assert_int_equal(cluster_do(c, at, &m, text), ERR_INVALID_ARGUMENT);
	ttl.seconds = 299;
	assert_int_equal(cluster_do(c, at, &good, text), ERR_INVALID_ARGUMENT);
	ttl.seconds = 604801;
	assert_int_equal(cluster_do(c, at, &good, text), ERR_INVALID_ARGUMENT);
	ttl.seconds = 300;
	assert_int_equal(cluster_do(c, at, &good, text), ERR_OK);
}

static void
peer_gets_those_that_have_it_and_becomes_one(void **state)
{
	struct talk *t, *none;
	const struct common_persistent_cache_peer *p;
	uint64_t all;

	(void)state;
	announce(1, "a", 100 * MIB);
	upload(1);
	t = talk("127.0.0.1-h1", "p1", false);
	until(&t->has_answer);
	assert_int_equal(n_parents(t), 1);
	p = t->answer.normal_persistent_cache_task_response->candidate_cache_parents;
	assert_true(slice_eq_str(p->id, "p0") && slice_eq_str(p->state, "Succeeded") && p->persistent);
	assert_true(slice_eq_str(p->host->ip, "127.0.0.1") && p->host->port > 0 && p->host->hostname.n > 0);
	/* What a Go scheduler asks of a parent that is named in a Reschedule. */
	assert_true(p->cost && p->created_at && p->updated_at && p->task && slice_eq_str(p->task->id, TASK));
	say_kind(t, 5);
	/* The scheduler ends the stream after the last word. */
	say_kind(t, 7);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_OK);
	assert_int_equal(replicas(&all), 1);
	assert_int_equal(all, 2);
	talk_free(t);
	/* A host is no parent of itself. */
	none = talk("127.0.0.1-h1", "p2", false);
	until(&none->has_answer);
	assert_int_equal(n_parents(none), 1);
	talk_free(none);
}

static void
nobody_has_it_is_said(void **state)
{
	struct talk *t;

	(void)state;
	announce(1, "a", 100 * MIB);
	t = talk("127.0.0.1-h1", "p1", false);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_NOT_FOUND);
	assert_string_equal(t->text, "task " TASK " not found");
	talk_free(t);
	assert_int_equal(started("127.0.0.1-h0", "p0", 1, 10 * MIB, NULL), ERR_OK);
	t = talk("127.0.0.1-h1", "p1", false);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_FAILED_PRECONDITION);
	assert_string_equal(t->text, "no candidate parents found");
	talk_free(t);
	t = talk("127.0.0.1-nobody", "p1", false);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_NOT_FOUND);
	assert_string_equal(t->text, "host 127.0.0.1-nobody not found");
	talk_free(t);
}

static void
parents_that_failed_are_not_given_again(void **state)
{
	struct common_persistent_cache_peer named = { .id = slice_str("p0") };
	struct scheduler_reschedule_persistent_cache_peer_request r = { .candidate_parents = &named, .n_candidate_parents = 1 };
	struct scheduler_download_piece_failed_request lost = { .parent_id = slice_str("p1") };
	struct talk *t;

	(void)state;
	announce(1, "a", 100 * MIB);
	announce(2, "a", 100 * MIB);
	upload(1);
	get("127.0.0.1-h1", "p1", false);
	t = talk("127.0.0.1-h2", "p2", false);
	until(&t->has_answer);
	assert_int_equal(n_parents(t), 2);
	t->has_answer = false;
	say_kind(t, 5);
	say(t, &(struct scheduler_announce_persistent_cache_peer_request){ .request_case = 6, .reschedule_persistent_cache_peer_request = &r });
	until(&t->has_answer);
	assert_int_equal(n_parents(t), 1);
	assert_true(slice_eq_str(t->answer.normal_persistent_cache_task_response->candidate_cache_parents[0].id, "p1"));
	say(t, &(struct scheduler_announce_persistent_cache_peer_request){ .request_case = 10, .download_piece_failed_request = &lost });
	say(t, &(struct scheduler_announce_persistent_cache_peer_request){ .request_case = 6, .reschedule_persistent_cache_peer_request = &r });
	until(&t->is_over);
	assert_int_equal(t->code, ERR_FAILED_PRECONDITION);
	talk_free(t);
}

static void
who_is_still_fetching_is_a_parent_of_later_ones_alone(void **state)
{
	struct talk *first, *second;

	(void)state;
	announce(1, "a", 100 * MIB);
	announce(2, "a", 100 * MIB);
	upload(1);
	first = talk("127.0.0.1-h1", "p1", false);
	until(&first->has_answer);
	say_kind(first, 5);
	UNTIL(peer_is("p1", "Running"));
	second = talk("127.0.0.1-h2", "p2", false);
	until(&second->has_answer);
	assert_int_equal(n_parents(first), 1);
	assert_int_equal(n_parents(second), 2);
	assert_true(slice_eq_str(second->answer.normal_persistent_cache_task_response->candidate_cache_parents[1].id, "p1"));
	talk_free(first);
	talk_free(second);
}

static void
words_out_of_order_end_the_stream(void **state)
{
	struct scheduler_announce_persistent_cache_peer_request nothing = { 0 };
	struct talk *t;

	(void)state;
	announce(1, "a", 100 * MIB);
	upload(1);
	t = talk("127.0.0.1-h1", "p1", false);
	until(&t->has_answer);
	say_kind(t, 7);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_INTERNAL);
	assert_string_equal(t->text, "event DownloadSucceeded inappropriate in current state ReceivedNormal");
	talk_free(t);
	t = talk("127.0.0.1-h1", "p1", false);
	until(&t->has_answer);
	say(t, &nothing);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_INVALID_ARGUMENT);
	assert_string_equal(t->text, "invalid AnnouncePersistentCachePeerRequest.Request: value is required");
	talk_free(t);
}

static void
empty_task_is_answered_as_such(void **state)
{
	struct talk *t;

	(void)state;
	announce(1, "a", 100 * MIB);
	assert_int_equal(started("127.0.0.1-h0", "p0", 1, 0, NULL), ERR_OK);
	assert_int_equal(finished("p0", NULL), ERR_OK);
	t = talk("127.0.0.1-h1", "p1", true);
	until(&t->has_answer);
	assert_non_null(t->answer.empty_persistent_cache_task_response);
	/* Finished without Started, as some peers say it. */
	say_kind(t, 7);
	rpc_call_half_close(t->call);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_OK);
	assert_int_equal(persistent(), 2);
	talk_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(upload_goes_from_uploading_to_succeeded),
		TEST(failed_upload_can_be_done_again),
		TEST(upload_that_failed_after_all_can_be_done_again),
		TEST(upload_of_a_host_that_left_stands_in_nobodys_way),
		TEST(bad_uploads_are_refused_with_the_field),
		TEST(peer_gets_those_that_have_it_and_becomes_one),
		TEST(nobody_has_it_is_said),
		TEST(parents_that_failed_are_not_given_again),
		TEST(who_is_still_fetching_is_a_parent_of_later_ones_alone),
		TEST(words_out_of_order_end_the_stream),
		TEST(empty_task_is_answered_as_such),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
