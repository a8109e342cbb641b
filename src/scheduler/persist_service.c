/*
 * The unary calls about persistent and persistent cache tasks (spec: scheduler.md A11).
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/rpc_server.h"
#include "proto/common.h"
#include "proto/google.h"
#include "proto/scheduler.h"
#include "scheduler/persist.h"
#include "scheduler/persist_answer.h"
#include "scheduler/service.h"
#include "scheduler/validate.h"
#include "wire/pb.h"

/* An upload that was not heard of for so long is over: its host may have died. The tools' default timeout. */
#define UPLOAD_STALE_MS (30 * 60 * 1000)

static const char *const task_names[] = { "persistent task", "persistent cache task" };
static const char *const peer_names[] = { "persistent peer", "persistent cache peer" };

/* ---- helpers ---- */

static void
reply_task(struct rpc_stream *rpc, const struct persist_task *t)
{
	struct common_persistent_task plain;
	struct common_persistent_cache_task cache;
	struct arena arena;
	struct err e = { 0 };

	arena_init(&arena, PERSIST_ANSWER_BYTES);
	if (t->kind == PERSIST_PLAIN && persist_answer_plain_task(t, &arena, &plain, &e) == 0)
		service_reply(rpc, &common_persistent_task_desc, &plain);
	else if (t->kind == PERSIST_CACHE && persist_answer_cache_task(t, &arena, &cache, &e) == 0)
		service_reply(rpc, &common_persistent_cache_task_desc, &cache);
	else
		rpc_stream_fail(rpc, &e);
	arena_free(&arena);
}

static void
reply_peer(struct rpc_stream *rpc, const struct persist_peer *p)
{
	struct common_persistent_peer plain;
	struct common_persistent_cache_peer cache;
	struct arena arena;
	struct err e = { 0 };

	arena_init(&arena, PERSIST_ANSWER_BYTES);
	if (p->task->kind == PERSIST_PLAIN && persist_answer_plain_peer(p, &arena, &plain, &e) == 0)
		service_reply(rpc, &common_persistent_peer_desc, &plain);
	else if (p->task->kind == PERSIST_CACHE && persist_answer_cache_peer(p, &arena, &cache, &e) == 0)
		service_reply(rpc, &common_persistent_cache_peer_desc, &cache);
	else
		rpc_stream_fail(rpc, &e);
	arena_free(&arena);
}

/* The three ids that most of these messages have, under the name that their checks use. */
struct about {
	enum persist_kind kind;
	const char *message;
	bool has_host, has_task, has_peer;
	struct slice host_id, task_id, peer_id;
};

static int
check(const struct about *a, struct err *e)
{
	if ((a->has_host && validate_id(a->message, "HostId", a->host_id, e) < 0) ||
		(a->has_task && validate_id(a->message, "TaskId", a->task_id, e) < 0) ||
		(a->has_peer && validate_id(a->message, "PeerId", a->peer_id, e) < 0))
		return -1;
	if (a->host_id.n > SCHED_ID_MAX || a->task_id.n > SCHED_ID_MAX || a->peer_id.n > SCHED_ID_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "an id has more than %u bytes", SCHED_ID_MAX);
	return 0;
}

static struct persist_task *
find_task(struct scheduler *s, const struct about *a, struct err *e)
{
	struct persist_task *t;

	service_now(s);
	if (check(a, e) < 0)
		return NULL;
	t = persist_task_find(s->persist, a->kind, a->task_id);
	if (!t)
		err_set(e, ERR_NOT_FOUND, "%s %.*s not found", task_names[a->kind], SLICE_ARG(a->task_id));
	return t;
}

static struct persist_peer *
find_peer(struct scheduler *s, const struct about *a, struct err *e)
{
	struct persist_peer *c;

	service_now(s);
	if (check(a, e) < 0)
		return NULL;
	c = persist_peer_find(s->persist, a->kind, a->peer_id);
	if (!c)
		err_set(e, ERR_NOT_FOUND, "%s %.*s not found", peer_names[a->kind], SLICE_ARG(a->peer_id));
	return c;
}

/* ---- uploads ---- */

struct started {
	struct about about;
	uint64_t replicas, piece_length, content_length;
	uint32_t piece_count;
	const struct google_duration *ttl;
	struct slice tag, application, url;
	const struct common_object_storage *storage;
};

static int
check_started(const struct started *m, struct err *e)
{
	if (check(&m->about, e) < 0)
		return -1;
	if (m->about.kind == PERSIST_PLAIN) {
		if (validate_url(m->about.message, "Url", m->url, e) < 0)
			return -1;
		if (!m->storage)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.ObjectStorage: value is required", m->about.message);
		if (m->url.n > SCHED_URL_MAX || m->storage->region.n > SCHED_NAME_MAX || m->storage->endpoint.n > SCHED_URL_MAX)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.Url: value is too long", m->about.message);
	} else if (m->piece_length < 4194304) {
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.PieceLength: value must be greater than or equal to 4194304",
			m->about.message);
	}
	if (m->replicas < 1)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.PersistentReplicaCount: value must be greater than or equal to 1",
			m->about.message);
	if (m->tag.n > SCHED_NAME_MAX || m->application.n > SCHED_NAME_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "tag or application has more than %u bytes", SCHED_NAME_MAX);
	return validate_ttl(m->about.message, m->ttl != NULL, m->ttl ? m->ttl->seconds : 0, m->ttl ? m->ttl->nanos : 0, e);
}

/* An upload whose host is gone, or that is silent for too long, does not stand in the way of another. */
static void
forget_stale_upload(struct persist_task *t)
{
	int64_t now = persist_wall_ms(t->all);

	if (t->state != PERSIST_TASK_UPLOADING)
		return;
	LIST_EACH(it, next, &t->peers) {
		struct persist_peer *c = CONTAINER_OF(it, struct persist_peer, in_task);

		if (c->state != PERSIST_PEER_UPLOADING)
			continue;
		if (persist_peer_host(c) && now - c->updated_ms < UPLOAD_STALE_MS)
			return;
		persist_peer_remove(c);
	}
	t->state = PERSIST_TASK_FAILED;
}

static void
set_text(char **where, struct slice value)
{
	free(*where);
	*where = value.p ? slice_dup(value) : NULL;
}

static void
fill_task(struct persist_task *t, const struct started *m)
{
	int64_t now = persist_wall_ms(t->all);

	t->state = PERSIST_TASK_UPLOADING;
	t->replicas = m->replicas;
	t->piece_length = m->piece_length;
	t->content_length = m->content_length;
	t->piece_count = m->piece_count;
	t->updated_ms = now;
	set_text(&t->tag, m->tag);
	set_text(&t->application, m->application);
	set_text(&t->url, m->url);
	set_text(&t->region, m->storage ? m->storage->region : slice_make(NULL, 0));
	set_text(&t->endpoint, m->storage ? m->storage->endpoint : slice_make(NULL, 0));
	persist_task_set_ttl(t, now, m->ttl->seconds * 1000 + m->ttl->nanos / 1000000);
}

static int
start_upload(struct scheduler *s, const struct started *m, struct err *e)
{
	const struct about *a = &m->about;
	struct persist_task *t;
	struct persist_peer *c;

	service_now(s);
	if (check_started(m, e) < 0)
		return -1;
	if (s->is_draining)
		return err_set(e, ERR_UNAVAILABLE, "scheduler is going away");
	if (!sched_host_find(&s->core.res, a->host_id))
		return err_set(e, ERR_NOT_FOUND, "host %.*s not found", SLICE_ARG(a->host_id));
	t = persist_task_find(s->persist, a->kind, a->task_id);
	if (t)
		forget_stale_upload(t);
	if (t && t->state != PERSIST_TASK_PENDING && t->state != PERSIST_TASK_FAILED)
		return err_set(e, ERR_ALREADY_EXISTS, "%s %s is %s cannot upload", task_names[a->kind], t->id, persist_task_state_names[t->state]);
	if (persist_peer_find(s->persist, a->kind, a->peer_id))
		return err_set(e, ERR_ALREADY_EXISTS, "%s %.*s already exists", peer_names[a->kind], SLICE_ARG(a->peer_id));
	if (!t)
		t = persist_task_new(s->persist, a->kind, a->task_id);
	if (!t)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %u tasks", PERSIST_TASKS_MAX);
	c = persist_peer_new(t, a->peer_id, a->host_id);
	if (!c)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "task %s has more than %u peers", t->id, PERSIST_PEERS_MAX);
	fill_task(t, m);
	c->state = PERSIST_PEER_UPLOADING;
	c->is_persistent = true;
	log_info("upload begins task=%s host=%s replicas=%llu", t->id, c->host_id, (unsigned long long)t->replicas);
	return 0;
}

static void
started_reply(struct rpc_stream *rpc, struct scheduler *s, const struct started *m)
{
	struct err e = { 0 };

	if (start_upload(s, m, &e) < 0)
		rpc_stream_fail(rpc, &e);
	else
		service_reply_empty(rpc);
	service_after(s);
}

static void
plain_started(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_upload_persistent_task_started_request *m = request;

	started_reply(rpc, ctx, &(struct started){
		.about = { PERSIST_PLAIN, "UploadPersistentTaskStartedRequest", true, true, true, m->host_id, m->task_id, m->peer_id },
		.replicas = m->persistent_replica_count, .content_length = m->content_length, .piece_count = m->piece_count, .ttl = m->ttl,
		.url = m->url, .storage = m->object_storage });
}

static void
cache_started(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_upload_persistent_cache_task_started_request *m = request;

	started_reply(rpc, ctx, &(struct started){
		.about = { PERSIST_CACHE, "UploadPersistentCacheTaskStartedRequest", true, true, true, m->host_id, m->task_id, m->peer_id },
		.replicas = m->persistent_replica_count, .piece_length = m->piece_length, .content_length = m->content_length,
		.piece_count = m->piece_count, .ttl = m->ttl, .tag = m->tag, .application = m->application });
}

static void
finished(struct rpc_stream *rpc, struct scheduler *s, const struct about *a)
{
	struct err e = { 0 };
	struct persist_peer *c = find_peer(s, a, &e);
	struct persist_task *t;

	if (!c) {
		rpc_stream_fail(rpc, &e);
		return;
	}
	t = c->task;
	if (c->state != PERSIST_PEER_UPLOADING) {
		err_set(&e, ERR_INTERNAL, "event UploadSucceeded inappropriate in current state %s", persist_peer_state_names[c->state]);
		rpc_stream_fail(rpc, &e);
		return;
	}
	c->state = PERSIST_PEER_SUCCEEDED;
	t->state = PERSIST_TASK_SUCCEEDED;
	c->updated_ms = t->updated_ms = persist_wall_ms(s->persist);
	c->cost_ms = c->updated_ms - c->created_ms;
	persist_journal_task(t);
	persist_journal_peer(c);
	reply_task(rpc, t);
	persist_replicate(t);
	service_after(s);
}

static void
plain_finished(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_upload_persistent_task_finished_request *m = request;

	finished(rpc, ctx, &(struct about){
		PERSIST_PLAIN, "UploadPersistentTaskFinishedRequest", true, true, true, m->host_id, m->task_id, m->peer_id });
}

static void
cache_finished(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_upload_persistent_cache_task_finished_request *m = request;

	finished(rpc, ctx, &(struct about){
		PERSIST_CACHE, "UploadPersistentCacheTaskFinishedRequest", true, true, true, m->host_id, m->task_id, m->peer_id });
}

/* A failed upload leaves a task that can be uploaded again. */
static void
failed(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct slice why)
{
	struct err e = { 0 };
	struct persist_peer *c = find_peer(s, a, &e);

	if (!c) {
		rpc_stream_fail(rpc, &e);
		return;
	}
	log_info("upload failed task=%s host=%s reason=\"%.*s\"", c->task->id, c->host_id, SLICE_ARG(why));
	if (c->task->state == PERSIST_TASK_UPLOADING)
		c->task->state = PERSIST_TASK_FAILED;
	if (c->state != PERSIST_PEER_SUCCEEDED)
		c->state = PERSIST_PEER_FAILED;
	persist_peer_remove(c);
	service_reply_empty(rpc);
}

static void
plain_failed(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_upload_persistent_task_failed_request *m = request;

	failed(rpc, ctx, &(struct about){
		PERSIST_PLAIN, "UploadPersistentTaskFailedRequest", true, true, true, m->host_id, m->task_id, m->peer_id }, m->description);
}

static void
cache_failed(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_upload_persistent_cache_task_failed_request *m = request;

	failed(rpc, ctx, &(struct about){
		PERSIST_CACHE, "UploadPersistentCacheTaskFailedRequest", true, true, true, m->host_id, m->task_id, m->peer_id }, m->description);
}

/* ---- stat ---- */

static void
stat_task(struct rpc_stream *rpc, struct scheduler *s, const struct about *a)
{
	struct err e = { 0 };
	const struct persist_task *t = find_task(s, a, &e);

	if (t)
		reply_task(rpc, t);
	else
		rpc_stream_fail(rpc, &e);
}

static void
plain_stat_task(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_stat_persistent_task_request *m = request;

	stat_task(rpc, ctx, &(struct about){ .kind = PERSIST_PLAIN, .message = "StatPersistentTaskRequest", .has_host = true, .has_task = true,
		.host_id = m->host_id, .task_id = m->task_id });
}

static void
cache_stat_task(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_stat_persistent_cache_task_request *m = request;

	stat_task(rpc, ctx, &(struct about){ .kind = PERSIST_CACHE, .message = "StatPersistentCacheTaskRequest", .has_host = true,
		.has_task = true, .host_id = m->host_id, .task_id = m->task_id });
}

static void
stat_peer(struct rpc_stream *rpc, struct scheduler *s, const struct about *a)
{
	struct err e = { 0 };
	const struct persist_peer *c = find_peer(s, a, &e);

	if (c)
		reply_peer(rpc, c);
	else
		rpc_stream_fail(rpc, &e);
}

static void
plain_stat_peer(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_stat_persistent_peer_request *m = request;

	stat_peer(rpc, ctx, &(struct about){
		PERSIST_PLAIN, "StatPersistentPeerRequest", true, true, true, m->host_id, m->task_id, m->peer_id });
}

static void
cache_stat_peer(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_stat_persistent_cache_peer_request *m = request;

	stat_peer(rpc, ctx, &(struct about){
		PERSIST_CACHE, "StatPersistentCachePeerRequest", true, true, true, m->host_id, m->task_id, m->peer_id });
}

/* ---- delete ---- */

/* Absent ones count as deleted. */
static void
delete_task(struct rpc_stream *rpc, struct scheduler *s, const struct about *a)
{
	struct err e = { 0 };
	struct persist_task *t = find_task(s, a, &e);

	if (!t && e.code != ERR_NOT_FOUND) {
		rpc_stream_fail(rpc, &e);
		return;
	}
	if (t) {
		log_info("task deleted task=%s", t->id);
		persist_tell_deleted(t);
		persist_task_remove(t);
	}
	service_reply_empty(rpc);
	service_after(s);
}

static void
plain_delete_task(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_delete_persistent_task_request *m = request;

	delete_task(rpc, ctx, &(struct about){ .kind = PERSIST_PLAIN, .message = "DeletePersistentTaskRequest", .has_host = true,
		.has_task = true, .host_id = m->host_id, .task_id = m->task_id });
}

static void
cache_delete_task(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_delete_persistent_cache_task_request *m = request;

	delete_task(rpc, ctx, &(struct about){ .kind = PERSIST_CACHE, .message = "DeletePersistentCacheTaskRequest", .has_host = true,
		.has_task = true, .host_id = m->host_id, .task_id = m->task_id });
}

/* The host whose copy goes is not asked for a replica of it again. */
static void
delete_peer(struct rpc_stream *rpc, struct scheduler *s, const struct about *a)
{
	struct err e = { 0 };
	struct persist_peer *c = find_peer(s, a, &e);
	struct persist_task *t;

	if (!c) {
		rpc_stream_fail(rpc, &e);
		return;
	}
	t = c->task;
	persist_tell_peer_deleted(c);
	persist_exclude(t, c->host_id);
	persist_peer_remove(c);
	service_reply_empty(rpc);
	persist_replicate(t);
	service_after(s);
}

static void
plain_delete_peer(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_delete_persistent_peer_request *m = request;

	delete_peer(rpc, ctx, &(struct about){
		PERSIST_PLAIN, "DeletePersistentPeerRequest", true, true, true, m->host_id, m->task_id, m->peer_id });
}

static void
cache_delete_peer(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct scheduler_delete_persistent_cache_peer_request *m = request;

	delete_peer(rpc, ctx, &(struct about){
		PERSIST_CACHE, "DeletePersistentCachePeerRequest", true, true, true, m->host_id, m->task_id, m->peer_id });
}

/* ---- the table ---- */

void
persist_add_methods(struct scheduler *s)
{
	static const struct {
		size_t at;
		void (*fn)(struct rpc_stream *rpc, void *ctx, const void *request);
	} unary[] = {
		{ SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_STARTED_AT, plain_started },
		{ SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_FINISHED_AT, plain_finished },
		{ SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_FAILED_AT, plain_failed },
		{ SCHEDULER_SCHEDULER_STAT_PERSISTENT_TASK_AT, plain_stat_task },
		{ SCHEDULER_SCHEDULER_DELETE_PERSISTENT_TASK_AT, plain_delete_task },
		{ SCHEDULER_SCHEDULER_STAT_PERSISTENT_PEER_AT, plain_stat_peer },
		{ SCHEDULER_SCHEDULER_DELETE_PERSISTENT_PEER_AT, plain_delete_peer },
		{ SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_STARTED_AT, cache_started },
		{ SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FINISHED_AT, cache_finished },
		{ SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FAILED_AT, cache_failed },
		{ SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_TASK_AT, cache_stat_task },
		{ SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_TASK_AT, cache_delete_task },
		{ SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_PEER_AT, cache_stat_peer },
		{ SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_PEER_AT, cache_delete_peer },
	};
	static const size_t streams[] = {
		SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_PEER_AT, SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_AT,
	};

	for (size_t i = 0; i < COUNT_OF(unary); i++)
		service_add_method(s, &scheduler_scheduler_service.methods[unary[i].at])->on_message = unary[i].fn;
	for (size_t i = 0; i < COUNT_OF(streams); i++) {
		struct rpc_method *m = service_add_method(s, &scheduler_scheduler_service.methods[streams[i]]);

		m->on_open = persist_stream_opened;
		m->on_message = persist_stream_said;
		m->on_half_close = persist_stream_half_closed;
		m->on_cancel = persist_stream_cancelled;
	}
}
