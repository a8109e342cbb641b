/*
 * A scheduler with a journal, hosts that can be told to hold persistent cache tasks, and what importers and peers say.
 */
#ifndef UNIT_SCHEDULER_PERSIST_WORLD_H
#define UNIT_SCHEDULER_PERSIST_WORLD_H

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

static inline void
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

static inline void
on_fetch_cancel(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	(void)rpc;
	(void)why;
	((struct holder *)ctx)->waiting = NULL;
}

static inline void
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

static inline void
on_delete(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct holder *h = ctx;

	(void)request;
	h->deletes++;
	h->was_asked = true;
	rpc_stream_send_bytes(rpc, slice_make(NULL, 0), NULL);
	rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
}

static inline void
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
static inline void
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

static inline void
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

static inline int
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

static inline int
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

static inline void
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

static inline int
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

static inline int
finished(const char *peer, char *text)
{
	struct scheduler_upload_persistent_cache_task_finished_request m = {
		.host_id = slice_str("127.0.0.1-h0"), .task_id = slice_str(TASK), .peer_id = slice_str(peer) };

	return cluster_do(c, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FINISHED_AT, &m, text);
}

static inline void
upload(uint64_t replicas)
{
	assert_int_equal(started("127.0.0.1-h0", "p0", replicas, 10 * MIB, NULL), ERR_OK);
	assert_int_equal(finished("p0", NULL), ERR_OK);
	holders[0]->has_it = true;
}

/* 0 when there is none. */
static inline uint64_t
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

static inline uint64_t
persistent(void)
{
	uint64_t all;

	return replicas(&all);
}

static inline int
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

static inline void
talk_answer(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct talk *t = ctx;

	(void)call;
	assert_int_equal(pb_decode_copy(&scheduler_announce_persistent_cache_peer_response_desc, msg, &t->arena, &t->answer, NULL), 0);
	t->has_answer = true;
}

static inline void
talk_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct talk *t = ctx;

	(void)call;
	t->call = NULL;
	t->is_over = true;
	t->code = st->code;
	snprintf(t->text, sizeof t->text, "%s", st->message);
}

static inline void
say(struct talk *t, struct scheduler_announce_persistent_cache_peer_request *m)
{
	m->host_id = slice_str(t->host);
	m->task_id = slice_str(TASK);
	m->peer_id = slice_str(t->peer);
	assert_int_equal(rpc_call_send(t->call, &scheduler_announce_persistent_cache_peer_request_desc, m, NULL), 0);
}

static inline void
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

static inline struct talk *
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

static inline void
talk_free(struct talk *t)
{
	if (t->call)
		rpc_call_cancel(t->call);
	arena_free(&t->arena);
	free(t);
}

static inline size_t
n_parents(const struct talk *t)
{
	return t->answer.normal_persistent_cache_task_response ? t->answer.normal_persistent_cache_task_response->n_candidate_cache_parents : 0;
}

static inline bool
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
static inline void
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

static inline void
restart(void)
{
	cluster_stop(c);
	cluster_start(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
