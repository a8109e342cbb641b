/*
 * Getting a persistent or persistent cache task ready: length, time to live and age are the scheduler's (spec: download.md 9.2).
 */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/pb_time.h"
#include "net/rpc_client.h"
#include "peer/engine.h"
#include "peer/prepare.h"
#include "peer/task.h"
#include "proto/google.h"
#include "proto/scheduler.h"
#include "text/url.h"

static bool
wants_replica(const struct task *t)
{
	LIST_EACH(it, next, &t->callers)
		if (CONTAINER_OF(it, struct task_caller, link)->is_persistent)
			return true;
	return false;
}

/* The first caller's request is the one that prepares. */
static const struct task_caller *
first_caller(const struct task *t)
{
	return list_is_empty(&t->callers) ? NULL : CONTAINER_OF(t->callers.next, struct task_caller, link);
}

static int
start(struct task *t, uint64_t length, uint64_t piece_length, const struct google_duration *ttl, const struct google_timestamp *created,
    struct err *e)
{
	struct store_start s = {.content_length = length, .piece_length = piece_length, .is_persistent = wants_replica(t)};
	const struct task_caller *c = first_caller(t);
	char url[URL_REDACTED_MAX];

	s.ttl = pb_duration_ns(ttl);
	s.created_at = pb_timestamp_ns(created);
	if (t->store->kind == STORE_PERSISTENT && c != NULL)
		s.url = url_redact_text(c->download.url, url);
	if (piece_length_check(piece_length, e) < 0 || store_task_start(t->store, &s, clock_wall_ns(), NULL, e) < 0 ||
	    prepare_set_up(t, e) < 0)
		return -1;
	/* An empty content has no piece whose coming would finish it. */
	return length == 0 ? store_task_finish(t->store, clock_wall_ns(), e) : 0;
}

static int
start_persistent(struct task *t, const struct common_persistent_task *m, struct err *e)
{
	return start(t, m->content_length, piece_length_auto(m->content_length), m->ttl, m->created_at, e);
}

static int
start_cache(struct task *t, const struct common_persistent_cache_task *m, struct err *e)
{
	if (!slice_eq_str(m->state, "Succeeded"))
		log_debug("task is not whole yet task=%s state=%.*s", t->id, SLICE_ARG(m->state));
	return start(t, m->content_length, m->piece_length, m->ttl, m->created_at, e);
}

/* A persistent task that no scheduler knows may still be at its origin; its time to live begins now. */
static bool
may_ask_origin(const struct task *t)
{
	const struct task_caller *c = first_caller(t);

	return t->store->kind == STORE_PERSISTENT && c != NULL && !c->download.disable_back_to_source;
}

static void
on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct task *t = ctx;
	struct err e = {0};
	int rc;

	t->question = NULL;
	if (t->is_deleted) {
		task_settle(t);
		return;
	}
	if (answer != NULL) {
		rc = t->store->kind == STORE_PERSISTENT ? start_persistent(t, answer, &e) : start_cache(t, answer, &e);
		task_prepared(t, rc < 0 ? &e : NULL, NULL);
	} else if (st->code == ERR_NOT_FOUND && may_ask_origin(t)) {
		prepare_ask_origin(t, CONTAINER_OF(t->callers.next, struct task_caller, link));
	} else {
		err_set(&e, st->code == ERR_NOT_FOUND || st->code == ERR_UNAVAILABLE || st->code == ERR_DEADLINE_EXCEEDED ? st->code :
		    ERR_INTERNAL, "%s", st->message);
		task_prepared(t, &e, NULL);
	}
}

void
prepare_ask_scheduler(struct task *t)
{
	const struct pb_method *methods = scheduler_scheduler_service.methods;
	struct engine *g = t->engine;
	struct rpc_channel *ch = NULL;
	struct err e;

	t->phase = TASK_PREPARING;
	if (g->o.cluster == NULL)
		err_set(&e, ERR_UNAVAILABLE, "available schedulers not found");
	else
		ch = cluster_scheduler(g->o.cluster, slice_str(t->id), false, &e);
	if (ch == NULL) {
		task_prepared(t, &e, NULL);
	} else if (t->store->kind == STORE_PERSISTENT) {
		t->question = rpc_unary(ch, &methods[SCHEDULER_SCHEDULER_STAT_PERSISTENT_TASK_AT], &(struct scheduler_stat_persistent_task_request){
			.host_id = slice_str(cluster_host(g->o.cluster)->id), .task_id = slice_str(t->id)}, NULL, on_answer, t);
	} else {
		t->question = rpc_unary(ch, &methods[SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_TASK_AT],
		    &(struct scheduler_stat_persistent_cache_task_request){
			.host_id = slice_str(cluster_host(g->o.cluster)->id), .task_id = slice_str(t->id)}, NULL, on_answer, t);
	}
}
