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

/* One call, of either kind. Which ids a message has, and where, its own table says. */
struct about {
	enum persist_kind kind;
	const char *message;            /* its name, without the package */
	const void *request;
	struct slice host_id, task_id, peer_id;
};

/* ---- helpers ---- */

static int
reply_task(struct rpc_stream *rpc, const struct persist_task *t, struct err *e)
{
	struct common_persistent_cache_task m;
	struct common_persistent_task plain;
	struct arena arena;
	int rc;

	arena_init(&arena, PERSIST_ANSWER_BYTES);
	rc = persist_answer_task(t, &arena, &m, e);
	if (rc == 0 && t->kind == PERSIST_PLAIN) {
		persist_answer_plain_task(&m, &plain);
		service_reply(rpc, &common_persistent_task_desc, &plain);
	} else if (rc == 0) {
		service_reply(rpc, &common_persistent_cache_task_desc, &m);
	}
	arena_free(&arena);
	return rc;
}

static int
reply_peer(struct rpc_stream *rpc, const struct persist_peer *p, struct err *e)
{
	struct common_persistent_cache_peer m;
	struct common_persistent_peer plain;
	struct arena arena;
	int rc;

	arena_init(&arena, PERSIST_ANSWER_BYTES);
	rc = persist_answer_peer(p, &arena, &m, e);
	if (rc == 0 && p->task->kind == PERSIST_PLAIN) {
		rc = persist_answer_plain_peer(&m, &arena, &plain, e);
		if (rc == 0)
			service_reply(rpc, &common_persistent_peer_desc, &plain);
	} else if (rc == 0) {
		service_reply(rpc, &common_persistent_cache_peer_desc, &m);
	}
	arena_free(&arena);
	return rc;
}

/* An id, if messages of this type have it. */
static int
take_id(struct about *a, const struct pb_desc *desc, const char *field, const char *go_field, struct slice *out, struct err *e)
{
	const struct slice *id = pb_string_field(desc, a->request, field);

	if (!id)
		return 0;
	*out = *id;
	if (validate_id(a->message, go_field, *id, e) < 0)
		return -1;
	if (id->n > SCHED_ID_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "an id has more than %u bytes", SCHED_ID_MAX);
	return 0;
}

static struct persist_task *
find_task(struct scheduler *s, const struct about *a, struct err *e)
{
	struct persist_task *t = persist_task_find(s->persist, a->kind, a->task_id);

	if (!t)
		err_set(e, ERR_NOT_FOUND, "%s %.*s not found", task_names[a->kind], SLICE_ARG(a->task_id));
	return t;
}

static struct persist_peer *
find_peer(struct scheduler *s, const struct about *a, struct err *e)
{
	struct persist_peer *c = persist_peer_find(s->persist, a->kind, a->peer_id);

	if (!c)
		err_set(e, ERR_NOT_FOUND, "%s %.*s not found", peer_names[a->kind], SLICE_ARG(a->peer_id));
	return c;
}

/* ---- uploads ---- */

/* An UploadPersistent[Cache]TaskStartedRequest. */
struct started {
	uint64_t replicas, piece_length, content_length;
	uint32_t piece_count;
	const struct google_duration *ttl;
	struct slice tag, application, url;
	const struct common_object_storage *storage;
};

static struct started
take_started(const struct about *a)
{
	const struct scheduler_upload_persistent_task_started_request *plain = a->request;
	const struct scheduler_upload_persistent_cache_task_started_request *cache = a->request;

	if (a->kind == PERSIST_PLAIN)
		return (struct started){ .replicas = plain->persistent_replica_count, .content_length = plain->content_length,
			.piece_count = plain->piece_count, .ttl = plain->ttl, .url = plain->url, .storage = plain->object_storage };
	return (struct started){ .replicas = cache->persistent_replica_count, .piece_length = cache->piece_length,
		.content_length = cache->content_length, .piece_count = cache->piece_count, .ttl = cache->ttl, .tag = cache->tag,
		.application = cache->application };
}

static int
check_started(const struct about *a, const struct started *m, struct err *e)
{
	if (a->kind == PERSIST_PLAIN) {
		if (validate_url(a->message, "Url", m->url, e) < 0)
			return -1;
		if (!m->storage)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.ObjectStorage: value is required", a->message);
		if (m->url.n > SCHED_URL_MAX || m->storage->region.n > SCHED_NAME_MAX || m->storage->endpoint.n > SCHED_URL_MAX)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.Url: value is too long", a->message);
	} else if (m->piece_length < 4194304) {
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.PieceLength: value must be greater than or equal to 4194304",
			a->message);
	}
	if (m->replicas < 1)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.PersistentReplicaCount: value must be greater than or equal to 1",
			a->message);
	if (m->tag.n > SCHED_NAME_MAX || m->application.n > SCHED_NAME_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "tag or application has more than %u bytes", SCHED_NAME_MAX);
	return validate_ttl(a->message, m->ttl != NULL, m->ttl ? m->ttl->seconds : 0, m->ttl ? m->ttl->nanos : 0, e);
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
started(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e)
{
	struct started m = take_started(a);
	struct persist_task *t;
	struct persist_peer *c;

	if (check_started(a, &m, e) < 0)
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
	fill_task(t, &m);
	c->state = PERSIST_PEER_UPLOADING;
	c->is_persistent = true;
	log_info("upload begins task=%s host=%s replicas=%llu", t->id, c->host_id, (unsigned long long)t->replicas);
	service_reply_empty(rpc);
	return 0;
}

static int
finished(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e)
{
	struct persist_peer *c = find_peer(s, a, e);
	struct persist_task *t;
	int rc;

	if (!c)
		return -1;
	t = c->task;
	if (c->state != PERSIST_PEER_UPLOADING)
		return err_set(e, ERR_INTERNAL, "event UploadSucceeded inappropriate in current state %s", persist_peer_state_names[c->state]);
	c->state = PERSIST_PEER_SUCCEEDED;
	t->state = PERSIST_TASK_SUCCEEDED;
	c->updated_ms = t->updated_ms = persist_wall_ms(s->persist);
	c->cost_ms = c->updated_ms - c->created_ms;
	persist_journal_task(t);
	persist_journal_peer(c);
	rc = reply_task(rpc, t, e);
	persist_replicate(t);
	return rc;
}

static bool
is_only_copy(const struct persist_peer *c)
{
	if (c->state != PERSIST_PEER_SUCCEEDED)
		return false;
	LIST_EACH(it, next, &c->task->peers) {
		const struct persist_peer *o = CONTAINER_OF(it, struct persist_peer, in_task);

		if (o != c && o->state == PERSIST_PEER_SUCCEEDED)
			return false;
	}
	return true;
}

/*
 * A failed upload leaves a task that can be uploaded again. A host that gave up while we took its last word has removed its copy all the
 * same: without another one the task is no more.
 */
static int
failed(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e)
{
	const struct slice *why = pb_string_field(rpc_stream_method(rpc)->request, a->request, "description");
	struct persist_peer *c = find_peer(s, a, e);
	struct persist_task *t;
	bool was_only_copy;

	if (!c)
		return -1;
	t = c->task;
	was_only_copy = is_only_copy(c);
	log_info("upload failed task=%s host=%s reason=\"%.*s\"", t->id, c->host_id, SLICE_ARG(*why));
	if (t->state == PERSIST_TASK_UPLOADING)
		t->state = PERSIST_TASK_FAILED;
	if (c->state != PERSIST_PEER_SUCCEEDED)
		c->state = PERSIST_PEER_FAILED;
	persist_peer_remove(c);
	if (was_only_copy) {
		/* Those that were to have replicas; not the host itself, which may be about to try again. */
		persist_tell_deleted(t);
		persist_task_remove(t);
	}
	service_reply_empty(rpc);
	return 0;
}

/* ---- stat ---- */

static int
stat_task(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e)
{
	const struct persist_task *t = find_task(s, a, e);

	return t ? reply_task(rpc, t, e) : -1;
}

static int
stat_peer(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e)
{
	const struct persist_peer *c = find_peer(s, a, e);

	return c ? reply_peer(rpc, c, e) : -1;
}

/* ---- delete ---- */

/* Absent ones count as deleted. */
static int
delete_task(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e)
{
	struct persist_task *t = find_task(s, a, e);

	if (t) {
		log_info("task deleted task=%s", t->id);
		persist_tell_deleted(t);
		persist_task_remove(t);
	}
	service_reply_empty(rpc);
	return 0;
}

/* The host whose copy goes is not asked for a replica of it again. */
static int
delete_peer(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e)
{
	struct persist_peer *c = find_peer(s, a, e);
	struct persist_task *t;

	if (!c)
		return -1;
	t = c->task;
	persist_tell_peer_deleted(c);
	persist_exclude(t, c->host_id);
	persist_peer_remove(c);
	service_reply_empty(rpc);
	persist_replicate(t);
	return 0;
}

/* ---- the table ---- */

static const struct call {
	size_t at[PERSIST_KINDS];       /* in the service's table of methods */
	/* Replies, or returns -1 and the call ends with the error. */
	int (*fn)(struct rpc_stream *rpc, struct scheduler *s, const struct about *a, struct err *e);
} calls[] = {
	{ { SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_STARTED_AT, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_STARTED_AT }, started },
	{ { SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_FINISHED_AT, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FINISHED_AT }, finished },
	{ { SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_TASK_FAILED_AT, SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FAILED_AT }, failed },
	{ { SCHEDULER_SCHEDULER_STAT_PERSISTENT_TASK_AT, SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_TASK_AT }, stat_task },
	{ { SCHEDULER_SCHEDULER_DELETE_PERSISTENT_TASK_AT, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_TASK_AT }, delete_task },
	{ { SCHEDULER_SCHEDULER_STAT_PERSISTENT_PEER_AT, SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_PEER_AT }, stat_peer },
	{ { SCHEDULER_SCHEDULER_DELETE_PERSISTENT_PEER_AT, SCHEDULER_SCHEDULER_DELETE_PERSISTENT_CACHE_PEER_AT }, delete_peer },
};

static const struct call *
find_call(const struct pb_method *method, enum persist_kind *kind)
{
	for (const struct call *c = calls; c < calls + COUNT_OF(calls); c++)
		for (*kind = PERSIST_PLAIN; *kind < PERSIST_KINDS; ++*kind)
			if (method == &scheduler_scheduler_service.methods[c->at[*kind]])
				return c;
	return NULL;
}

static void
on_call(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct pb_desc *desc = rpc_stream_method(rpc)->request;
	const char *dot = strrchr(desc->name, '.');
	struct about a = { .message = dot ? dot + 1 : desc->name, .request = request };
	const struct call *call = find_call(rpc_stream_method(rpc), &a.kind);
	struct scheduler *s = ctx;
	struct err e = { 0 };

	service_now(s);
	if (take_id(&a, desc, "host_id", "HostId", &a.host_id, &e) < 0 || take_id(&a, desc, "task_id", "TaskId", &a.task_id, &e) < 0 ||
		take_id(&a, desc, "peer_id", "PeerId", &a.peer_id, &e) < 0 || call->fn(rpc, s, &a, &e) < 0)
		rpc_stream_fail(rpc, &e);
	service_after(s);
}

void
persist_add_methods(struct scheduler *s)
{
	static const size_t streams[] = {
		SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_PEER_AT, SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_AT,
	};

	for (size_t i = 0; i < COUNT_OF(calls); i++)
		for (size_t kind = 0; kind < PERSIST_KINDS; kind++)
			service_add_method(s, &scheduler_scheduler_service.methods[calls[i].at[kind]])->on_message = on_call;
	for (size_t i = 0; i < COUNT_OF(streams); i++) {
		struct rpc_method *m = service_add_method(s, &scheduler_scheduler_service.methods[streams[i]]);

		m->on_open = persist_stream_opened;
		m->on_message = persist_stream_said;
		m->on_half_close = persist_stream_half_closed;
		m->on_cancel = persist_stream_cancelled;
	}
}
