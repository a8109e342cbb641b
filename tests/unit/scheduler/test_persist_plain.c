/* Persistent tasks that are no cache tasks: the same calls with messages of their own. */
#include "persist_world.h"

#define METHOD(name) &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_##name##_AT]

static int
plain_started(const char *peer, char *text)
{
	struct google_duration ttl = { 3600, 0 };
	struct common_object_storage storage = { .region = slice_str("r"), .endpoint = slice_str("http://s3.example") };
	struct scheduler_upload_persistent_task_started_request m = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str(peer), .url = slice_str("s3://bucket/key"),
		.object_storage = &storage, .persistent_replica_count = 1, .content_length = 10 * MIB, .piece_count = 3, .ttl = &ttl };

	return cluster_do(c, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_STARTED_AT, &m, text);
}

static int
plain_finished(const char *peer, struct answered *a)
{
	struct scheduler_upload_persistent_task_finished_request m = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str(peer) };

	return cluster_ask(c, METHOD(UPLOAD_PERSISTENT_TASK_FINISHED), &m, a);
}

static void
plain_upload(void)
{
	struct answered a;

	assert_int_equal(plain_started("p0", NULL), ERR_OK);
	assert_int_equal(plain_finished("p0", &a), ERR_OK);
	arena_free(&a.arena);
}

static void
assert_is_the_task(const struct common_persistent_task *t, const char *state)
{
	assert_true(slice_eq_str(t->id, TASK) && slice_eq_str(t->state, state));
	assert_int_equal(t->persistent_replica_count, 1);
	assert_int_equal(t->content_length, 10 * MIB);
	assert_int_equal(t->piece_count, 3);
	assert_int_equal(t->ttl->seconds, 3600);
	assert_true(t->created_at->seconds > 0 && t->updated_at->seconds >= t->created_at->seconds);
}

static void
upload_is_answered_with_the_task(void **state)
{
	struct scheduler_stat_persistent_task_request stat = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	struct scheduler_stat_persistent_peer_request peer = { .host_id = slice_str("x"), .task_id = slice_str(TASK), .peer_id = slice_str("p0") };
	const struct common_persistent_peer *p;
	const struct common_persistent_task *t;
	struct answered a;
	char text[1200];

	(void)state;
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_PERSISTENT_TASK_AT, &stat, text), ERR_NOT_FOUND);
	assert_string_equal(text, "persistent task " TASK " not found");
	assert_int_equal(plain_started("p0", NULL), ERR_OK);
	assert_int_equal(cluster_ask(c, METHOD(STAT_PERSISTENT_TASK), &stat, &a), ERR_OK);
	assert_is_the_task(a.message, "Uploading");
	arena_free(&a.arena);
	assert_int_equal(plain_started("p1", text), ERR_ALREADY_EXISTS);
	assert_string_equal(text, "persistent task " TASK " is Uploading cannot upload");
	assert_int_equal(plain_finished("nobody", &a), ERR_NOT_FOUND);
	arena_free(&a.arena);
	assert_int_equal(plain_finished("p0", &a), ERR_OK);
	t = a.message;
	assert_is_the_task(t, "Succeeded");
	assert_true(t->current_persistent_replica_count == 1 && t->current_replica_count == 1);
	arena_free(&a.arena);
	assert_int_equal(cluster_ask(c, METHOD(STAT_PERSISTENT_PEER), &peer, &a), ERR_OK);
	p = a.message;
	assert_true(slice_eq_str(p->id, "p0") && slice_eq_str(p->state, "Succeeded") && p->persistent);
	assert_true(p->cost && p->created_at && p->updated_at && p->host->port > 0);
	assert_is_the_task(p->task, "Succeeded");
	arena_free(&a.arena);
}

static void
failed_upload_can_be_done_again(void **state)
{
	struct scheduler_upload_persistent_task_failed_request m = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str("p0"), .description = slice_str("disk") };

	(void)state;
	assert_int_equal(plain_started("p0", NULL), ERR_OK);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_FAILED_AT, &m, NULL), ERR_OK);
	plain_upload();
}

static void
kinds_are_apart(void **state)
{
	char what[32];

	(void)state;
	plain_upload();
	assert_int_equal(stat_state(what, sizeof what), ERR_NOT_FOUND);
	upload(1);
	assert_int_equal(persistent(), 1);
}

static void
what_is_deleted_is_not_found(void **state)
{
	struct scheduler_delete_persistent_peer_request peer = { .host_id = slice_str("x"), .task_id = slice_str(TASK), .peer_id = slice_str("p0") };
	struct scheduler_delete_persistent_task_request task = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	struct scheduler_stat_persistent_task_request stat = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	char text[1200];

	(void)state;
	plain_upload();
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_PEER_AT, &peer, NULL), ERR_OK);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_PEER_AT, &peer, text), ERR_NOT_FOUND);
	assert_string_equal(text, "persistent peer p0 not found");
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_TASK_AT, &task, NULL), ERR_OK);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_PERSISTENT_TASK_AT, &stat, NULL), ERR_NOT_FOUND);
	/* What is not there counts as deleted. */
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_TASK_AT, &task, NULL), ERR_OK);
}

static void
bad_requests_are_refused_with_the_field(void **state)
{
	struct google_duration ttl = { 3600, 0 };
	struct common_object_storage storage = { .region = slice_str("r") };
	const struct scheduler_upload_persistent_task_started_request good = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str("p"), .url = slice_str("s3://bucket/key"),
		.object_storage = &storage, .persistent_replica_count = 1, .ttl = &ttl };
	struct scheduler_upload_persistent_task_started_request m = good;
	struct scheduler_stat_persistent_peer_request peer = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	size_t at = SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_STARTED_AT;
	char text[1200], id[SCHED_ID_MAX + 2];

	(void)state;
	m.url = slice_str("key");
	assert_int_equal(cluster_do(c, at, &m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid UploadPersistentTaskStartedRequest.Url: value must be absolute");
	m = good;
	m.object_storage = NULL;
	assert_int_equal(cluster_do(c, at, &m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid UploadPersistentTaskStartedRequest.ObjectStorage: value is required");
	m = good;
	m.task_id = slice_str("");
	assert_int_equal(cluster_do(c, at, &m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid UploadPersistentTaskStartedRequest.TaskId: value length must be at least 1 runes");
	/* Of all ids that a message has; a StatPersistentTaskRequest has no peer's. */
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_PERSISTENT_PEER_AT, &peer, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid StatPersistentPeerRequest.PeerId: value length must be at least 1 runes");
	memset(id, 'a', sizeof id);
	peer.peer_id = slice_make(id, SCHED_ID_MAX + 1);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_PERSISTENT_PEER_AT, &peer, text), ERR_INVALID_ARGUMENT);
	peer.peer_id.n--;
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_PERSISTENT_PEER_AT, &peer, text), ERR_NOT_FOUND);
}

/* ---- a conversation ---- */

struct heard {
	struct arena arena;
	struct scheduler_announce_persistent_peer_response answer;
	bool has_answer, is_over;
	int code;
};

static void
on_heard(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct heard *h = ctx;

	(void)call;
	assert_int_equal(pb_decode_copy(&scheduler_announce_persistent_peer_response_desc, msg, &h->arena, &h->answer, NULL), 0);
	h->has_answer = true;
}

static void
on_heard_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct heard *h = ctx;

	(void)call;
	h->is_over = true;
	h->code = st->code;
}

static struct rpc_call *
register_peer(struct heard *h, const char *peer, bool needs_source)
{
	static const struct rpc_call_events heard_events = { .on_message = on_heard, .on_end = on_heard_end };
	struct scheduler_register_persistent_peer_request r = { .url = slice_str("s3://bucket/key"), .need_back_to_source = needs_source };
	struct scheduler_announce_persistent_peer_request m = {
		.host_id = slice_str("127.0.0.1-h1"), .task_id = slice_str(TASK), .peer_id = slice_str(peer), .request_case = 4,
		.register_persistent_peer_request = &r };
	struct rpc_call *call;

	*h = (struct heard){ 0 };
	arena_init(&h->arena, ARENA_BYTES);
	call = rpc_call_start(c->channel, SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_PEER, &heard_events, h, NULL);
	assert_int_equal(rpc_call_send(call, &scheduler_announce_persistent_peer_request_desc, &m, NULL), 0);
	until(&h->has_answer);
	return call;
}

static void
peer_is_given_parents_or_sent_to_the_source(void **state)
{
	struct scheduler_download_persistent_peer_started_request begun = { 0 };
	struct scheduler_download_persistent_peer_finished_request done = { 0 };
	struct scheduler_announce_persistent_peer_request m = {
		.host_id = slice_str("127.0.0.1-h1"), .task_id = slice_str(TASK), .peer_id = slice_str("p1") };
	const struct scheduler_normal_persistent_task_response *r;
	struct rpc_call *call;
	struct heard h;

	(void)state;
	announce(1, "a", 100 * MIB);
	plain_upload();
	call = register_peer(&h, "p1", false);
	r = h.answer.normal_persistent_task_response;
	assert_true(r != NULL && r->n_candidate_parents == 1);
	assert_true(slice_eq_str(r->candidate_parents[0].id, "p0") && slice_eq_str(r->candidate_parents[0].host->ip, "127.0.0.1"));
	assert_is_the_task(r->candidate_parents[0].task, "Succeeded");
	m.request_case = 5;
	m.download_persistent_peer_started_request = &begun;
	assert_int_equal(rpc_call_send(call, &scheduler_announce_persistent_peer_request_desc, &m, NULL), 0);
	m.request_case = 8;
	m.download_persistent_peer_started_request = NULL;
	m.download_persistent_peer_finished_request = &done;
	assert_int_equal(rpc_call_send(call, &scheduler_announce_persistent_peer_request_desc, &m, NULL), 0);
	until(&h.is_over);
	assert_int_equal(h.code, ERR_OK);
	arena_free(&h.arena);
	call = register_peer(&h, "p2", true);
	assert_non_null(h.answer.need_back_to_source_response);
	rpc_call_cancel(call);
	arena_free(&h.arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(upload_is_answered_with_the_task),
		TEST(failed_upload_can_be_done_again),
		TEST(kinds_are_apart),
		TEST(what_is_deleted_is_not_found),
		TEST(bad_requests_are_refused_with_the_field),
		TEST(peer_is_given_parents_or_sent_to_the_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
