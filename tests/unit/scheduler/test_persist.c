/* Persistent cache tasks of the embedded scheduler: uploads, parents, replicas, time, and what outlives it. */
#include "cluster.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scheduler/persist.h"
#include "scheduler/service.h"

#define TASK "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MIB ((uint64_t)1 << 20)

/* A host that is told to hold things. */
struct holder {
	struct rpc_server *server;
	struct listener *listener;
	struct rpc_method methods[4];
	char id[64];
	unsigned fetches, updates, deletes, questions;
	int refuse_code;                /* of fetches and updates */
	bool has_it;
	bool was_asked;                 /* anything */
	bool fetch_waits;               /* the fetch is not answered */
	struct rpc_stream *waiting;
};

static struct cluster *c;
static struct holder *holders[4];
static char dir[64], path[96];

/* ---- holders ---- */

static void
on_fetch(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct dfdaemon_download_persistent_cache_task_request *m = request;
	struct holder *h = ctx;

	h->fetches++;
	h->was_asked = true;
	assert_true(slice_eq_str(m->task_id, TASK) && m->persistent);
	if (h->fetch_waits)
		h->waiting = rpc;
	else
		rpc_stream_end(rpc, h->refuse_code, h->refuse_code ? "no" : NULL, slice_make(NULL, 0));
}

static void
on_fetch_cancel(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	(void)rpc;
	(void)why;
	((struct holder *)ctx)->waiting = NULL;
}

static void
on_update(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct dfdaemon_update_persistent_cache_task_request *m = request;
	struct holder *h = ctx;

	h->updates++;
	h->was_asked = true;
	assert_true(m->persistent);
	if (h->refuse_code == 0)
		rpc_stream_send_bytes(rpc, slice_make(NULL, 0), NULL);
	rpc_stream_end(rpc, h->refuse_code, h->refuse_code ? "no" : NULL, slice_make(NULL, 0));
}

static void
on_delete(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct holder *h = ctx;

	(void)request;
	h->deletes++;
	h->was_asked = true;
	rpc_stream_send_bytes(rpc, slice_make(NULL, 0), NULL);
	rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
}

static void
on_question(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct dfdaemon_sync_persistent_cache_pieces_request *m = request;
	struct dfdaemon_sync_persistent_cache_pieces_response r = { .number = 0, .length = 1 };
	struct holder *h = ctx;

	h->questions++;
	h->was_asked = true;
	assert_true(slice_eq_str(m->task_id, TASK) && m->n_interested_piece_numbers == 1);
	if (!h->has_it) {
		rpc_stream_end(rpc, ERR_INTERNAL, "persistent cache task not found", slice_make(NULL, 0));
		return;
	}
	rpc_stream_send(rpc, &dfdaemon_sync_persistent_cache_pieces_response_desc, &r, NULL);
	rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
}

/* Host number i announces itself, with so much room. */
static void
announce(int i, const char *idc, uint64_t room)
{
	struct holder *h = holders[i];
	struct common_network network = { .max_tx_bandwidth = 1000000000, .idc = slice_str(idc) };
	struct common_disk disk = { .total = room, .free = room };
	struct google_duration interval = { 300, 0 };
	char name[16];
	struct common_host host = { .id = slice_str(h->id), .ip = slice_str("127.0.0.1"), .network = &network, .disk = &disk };
	struct scheduler_announce_host_request m = { .host = &host, .interval = &interval };

	snprintf(name, sizeof name, "h%d", i);
	host.hostname = slice_str(name);
	host.port = host.download_port = addr_port(listener_addr(h->listener));
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT, &m, NULL), ERR_OK);
}

static void
holder_start(int i)
{
	static const size_t at[] = {
		DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK_AT, DFDAEMON_DFDAEMON_UPLOAD_UPDATE_PERSISTENT_CACHE_TASK_AT,
		DFDAEMON_DFDAEMON_UPLOAD_DELETE_PERSISTENT_CACHE_TASK_AT, DFDAEMON_DFDAEMON_UPLOAD_SYNC_PERSISTENT_CACHE_PIECES_AT,
	};
	static void (*const fn[])(struct rpc_stream *, void *, const void *) = { on_fetch, on_update, on_delete, on_question };
	struct holder *h = holders[i] = xcalloc(1, sizeof *h);

	snprintf(h->id, sizeof h->id, "127.0.0.1-h%d", i);
	h->server = rpc_server_new(c->loop, &(struct rpc_server_opts){ .name = "holder" });
	for (size_t k = 0; k < COUNT_OF(at); k++) {
		h->methods[k].method = &dfdaemon_dfdaemon_upload_service.methods[at[k]];
		h->methods[k].on_message = fn[k];
		h->methods[k].on_cancel = on_fetch_cancel;
	}
	rpc_server_add(h->server, h->methods, COUNT_OF(at), h);
	cluster_listen(c->loop, h->server, &h->listener);
}

static int
setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/persist-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/journal", dir);
	c = cluster_new();
	c->opt.journal_path = path;
	cluster_start(c);
	for (int i = 0; i < 4; i++)
		holder_start(i);
	announce(0, "a", 100 * MIB);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		listener_free(holders[i]->listener);
		rpc_server_free(holders[i]->server);
		free(holders[i]);
	}
	cluster_free(c);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

static void
until(const bool *flag)
{
	assert_true(loop_run_until(c->loop, flag, LIMIT_MS));
}

#define UNTIL(condition) do { \
	for (int turns_ = 0; !(condition); turns_++) { \
		assert_true(turns_ < 2000); \
		loop_turn(c->loop, 10); \
	} \
} while (0)

/* ---- what importers and users say ---- */

static int
started(const char *host, const char *peer, uint64_t replicas, uint64_t length, char *text)
{
	struct google_duration ttl = { 3600, 0 };
	struct scheduler_upload_persistent_cache_task_started_request m = {
		.host_id = slice_str(host), .task_id = slice_str(TASK), .peer_id = slice_str(peer), .persistent_replica_count = replicas,
		.tag = slice_str("t"), .piece_length = 4 * MIB, .content_length = length, .piece_count = (uint32_t)((length + 4 * MIB - 1) / (4 * MIB)),
		.ttl = &ttl,
	};

	return cluster_do(c, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_STARTED_AT, &m, text);
}

static int
finished(const char *peer, char *text)
{
	struct scheduler_upload_persistent_cache_task_finished_request m = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str(peer) };

	return cluster_do(c, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FINISHED_AT, &m, text);
}

static void
upload(uint64_t replicas)
{
	assert_int_equal(started("127.0.0.1-h0", "p0", replicas, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(finished("p0", NULL), ERR_OK);
	holders[0]->has_it = true;
}

/* 0 when there is none. */
static uint64_t
replicas(uint64_t *all)
{
	struct scheduler_stat_persistent_cache_task_request m = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	struct answered a;
	uint64_t n = 0;

	*all = 0;
	if (cluster_ask(c, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_TASK_AT], &m, &a) == ERR_OK) {
		const struct common_persistent_cache_task *t = a.message;

		n = t->current_persistent_replica_count;
		*all = t->current_replica_count;
	}
	arena_free(&a.arena);
	return n;
}

static uint64_t
persistent(void)
{
	uint64_t all;

	return replicas(&all);
}

static int
stat_state(char *state, size_t size)
{
	struct scheduler_stat_persistent_cache_task_request m = { .host_id = slice_str("x"), .task_id = slice_str(TASK) };
	struct answered a;
	int code = cluster_ask(c, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_TASK_AT], &m, &a);

	if (code == ERR_OK)
		snprintf(state, size, "%.*s", SLICE_ARG(((const struct common_persistent_cache_task *)a.message)->state));
	arena_free(&a.arena);
	return code;
}

/* ---- conversations ---- */

struct talk {
	struct rpc_call *call;
	const char *host, *peer;
	struct arena arena;
	struct scheduler_announce_persistent_cache_peer_response answer;
	bool has_answer, is_over;
	int code;
	char text[300];
};

static void
talk_answer(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct talk *t = ctx;

	(void)call;
	assert_int_equal(pb_decode_copy(&scheduler_announce_persistent_cache_peer_response_desc, msg, &t->arena, &t->answer, NULL), 0);
	t->has_answer = true;
}

static void
talk_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct talk *t = ctx;

	(void)call;
	t->call = NULL;
	t->is_over = true;
	t->code = st->code;
	snprintf(t->text, sizeof t->text, "%s", st->message);
}

static void
say(struct talk *t, struct scheduler_announce_persistent_cache_peer_request *m)
{
	m->host_id = slice_str(t->host);
	m->task_id = slice_str(TASK);
	m->peer_id = slice_str(t->peer);
	assert_int_equal(rpc_call_send(t->call, &scheduler_announce_persistent_cache_peer_request_desc, m, NULL), 0);
}

static void
say_kind(struct talk *t, int kind)
{
	struct scheduler_download_persistent_cache_peer_started_request s = { 0 };
	struct scheduler_download_persistent_cache_peer_finished_request f = { 0 };
	struct scheduler_download_persistent_cache_peer_failed_request x = { 0 };
	struct scheduler_announce_persistent_cache_peer_request m = { .request_case = kind };

	m.download_persistent_cache_peer_started_request = kind == 5 ? &s : NULL;
	m.download_persistent_cache_peer_finished_request = kind == 7 ? &f : NULL;
	m.download_persistent_cache_peer_failed_request = kind == 8 ? &x : NULL;
	say(t, &m);
}

static struct talk *
talk(const char *host, const char *peer, bool is_persistent)
{
	static const struct rpc_call_events events = { .on_message = talk_answer, .on_end = talk_end };
	struct scheduler_register_persistent_cache_peer_request r = { .persistent = is_persistent, .piece_length = 4 * MIB };
	struct talk *t = xcalloc(1, sizeof *t);

	arena_init(&t->arena, ARENA_BYTES);
	t->host = host;
	t->peer = peer;
	t->call = rpc_call_start(c->channel, SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER, &events, t, NULL);
	say(t, &(struct scheduler_announce_persistent_cache_peer_request){ .request_case = 4, .register_persistent_cache_peer_request = &r });
	return t;
}

static void
talk_free(struct talk *t)
{
	if (t->call)
		rpc_call_cancel(t->call);
	arena_free(&t->arena);
	free(t);
}

static size_t
n_parents(const struct talk *t)
{
	return t->answer.normal_persistent_cache_task_response ? t->answer.normal_persistent_cache_task_response->n_candidate_cache_parents : 0;
}

static bool
peer_is(const char *peer, const char *state)
{
	struct scheduler_stat_persistent_cache_peer_request m = {
		.host_id = slice_str("x"), .task_id = slice_str(TASK), .peer_id = slice_str(peer) };
	struct answered a;
	bool is_it = cluster_ask(c, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_PEER_AT], &m, &a) == ERR_OK &&
		slice_eq_str(((const struct common_persistent_cache_peer *)a.message)->state, state);

	arena_free(&a.arena);
	return is_it;
}

/* The whole course of one who gets it. */
static void
get(const char *host, const char *peer, bool is_persistent)
{
	struct talk *t = talk(host, peer, is_persistent);

	until(&t->has_answer);
	say_kind(t, 5);
	say_kind(t, 7);
	rpc_call_half_close(t->call);
	until(&t->is_over);
	assert_int_equal(t->code, ERR_OK);
	talk_free(t);
}

/* ---- tests ---- */

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
restart(void)
{
	cluster_stop(c);
	cluster_start(c);
}

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
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(upload_goes_from_uploading_to_succeeded),
		TEST(failed_upload_can_be_done_again),
		TEST(upload_of_a_host_that_left_stands_in_nobodys_way),
		TEST(bad_uploads_are_refused_with_the_field),
		TEST(peer_gets_those_that_have_it_and_becomes_one),
		TEST(nobody_has_it_is_said),
		TEST(parents_that_failed_are_not_given_again),
		TEST(who_is_still_fetching_is_a_parent_of_later_ones_alone),
		TEST(words_out_of_order_end_the_stream),
		TEST(empty_task_is_answered_as_such),
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
