#include "serve/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "net/loop.h"
#include "net/pb_time.h"
#include "net/rpc_client.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "proto/scheduler.h"
#include "serve/listing.h"

static int
take_id(struct slice from, char id[STORE_ID_MAX + 1], struct err *e)
{
	if (from.n > 0 && from.n <= STORE_ID_MAX) {
		memcpy(id, from.p, from.n);
		id[from.n] = '\0';
		if (strlen(id) == from.n && store_id_is_valid(id))
			return 0;
	}
	return err_set(e, ERR_INVALID_ARGUMENT, "invalid task id: 64 or 128 lower-case hexadecimal digits are expected");
}

static void
refuse(struct local_service *l, enum local_rpc rpc, struct rpc_stream *s, const struct err *e)
{
	l->counts.failures[STORE_STANDARD][rpc]++;
	rpc_stream_fail(s, e);
}

static void
succeed(struct rpc_stream *s)
{
	rpc_stream_send_bytes(s, (struct slice){0}, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

/* ---- what the store has ---- */

/* The header pairs are the caller's to free. */
static struct dfdaemon_stat_local_task_response
describe(struct store_task *t, struct pb_times *room)
{
	struct dfdaemon_stat_local_task_response r = {
		.task_id = slice_str(t->id), .has_piece_length = t->piece_length > 0, .piece_length = t->piece_length,
		.has_content_length = t->content_length != STORE_LENGTH_UNKNOWN, .uploading_count = t->uploading_count,
		.uploaded_count = t->uploaded_count,
	};

	if (r.has_content_length)
		r.content_length = t->content_length;
	r.n_response_header = store_task_header_count(t);
	r.response_header = xcalloc(r.n_response_header + 1, sizeof *r.response_header);
	for (size_t i = 0; i < r.n_response_header; i++) {
		struct store_header h = store_task_header(t, i);

		r.response_header[i] = (struct pb_pair){.key = slice_str(h.name), .value = slice_str(h.value)};
	}
	room->used = 0;
	r.created_at = pb_times_add(room, t->created_at);
	r.updated_at = pb_times_add(room, t->updated_at);
	r.prefetched_at = pb_times_add(room, t->prefetched_at);
	r.failed_at = pb_times_add(room, t->failed_at);
	r.finished_at = pb_times_add(room, t->finished_at);
	return r;
}

static void
stat_local_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_stat_local_task_request *r = request;
	struct local_service *l = ctx;
	struct dfdaemon_stat_local_task_response answer;
	struct store_task *t;
	struct pb_times room;
	char id[STORE_ID_MAX + 1];
	struct err e;

	l->counts.calls[STORE_STANDARD][LOCAL_STAT_LOCAL_TASK]++;
	if (take_id(r->task_id, id, &e) < 0) {
		refuse(l, LOCAL_STAT_LOCAL_TASK, s, &e);
		return;
	}
	t = store_task_find(l->store, STORE_STANDARD, id);
	if (t == NULL) {
		err_set(&e, ERR_NOT_FOUND, "local task not found: %s", id);
		refuse(l, LOCAL_STAT_LOCAL_TASK, s, &e);
		return;
	}
	answer = describe(t, &room);
	rpc_stream_send(s, &dfdaemon_stat_local_task_response_desc, &answer, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
	free(answer.response_header);
}

/* The list as bytes: one repeated field, so that it can be put together task by task. */
static int
write_list(struct store *store, struct buf *out, struct err *e)
{
	size_t n;
	char **ids = listing_ids(store, STORE_STANDARD, &n);
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		struct store_task *t = rc == 0 ? store_task_find(store, STORE_STANDARD, ids[i]) : NULL;

		free(ids[i]);
		if (t != NULL) {
			struct pb_times room;
			struct dfdaemon_stat_local_task_response one = describe(t, &room);

			pb_encode(&dfdaemon_list_local_tasks_response_desc, &(struct dfdaemon_list_local_tasks_response){
				.tasks = &one, .n_tasks = 1}, out);
			free(one.response_header);
			if (out->len > LOCAL_LIST_MAX)
				rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "the list of %zu tasks is larger than %zu bytes", n, LOCAL_LIST_MAX);
		}
	}
	free(ids);
	return rc;
}

static void
list_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	struct local_service *l = ctx;
	struct buf bytes = BUF_INIT;
	struct err e;

	(void)request;
	l->counts.calls[STORE_STANDARD][LOCAL_LIST_LOCAL_TASKS]++;
	if (write_list(l->store, &bytes, &e) < 0 || listing_send(s, &bytes, &e) < 0)
		refuse(l, LOCAL_LIST_LOCAL_TASKS, s, &e);
	buf_free(&bytes);
}

/* ---- asking the scheduler of a task ---- */

struct ask {
	struct local_service *service;
	struct rpc_stream *stream;
	enum local_rpc rpc;
	char id[STORE_ID_MAX + 1];
	struct rpc_call *call;          /* NULL while none is under way */
	struct loop_timer retry;
	bool is_retried;
};

static void
ask_free(struct ask *a)
{
	loop_timer_clear(rpc_stream_loop(a->stream), &a->retry);
	if (a->call != NULL)
		rpc_call_cancel(a->call);
	free(a);
}

static void
ask_end(struct ask *a, const struct err *e)
{
	struct rpc_stream *s = a->stream;
	struct local_service *l = a->service;
	enum local_rpc rpc = a->rpc;

	ask_free(a);
	if (e != NULL)
		refuse(l, rpc, s, e);
	else
		succeed(s);
}

static void
ask_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	(void)ctx;
	(void)why;
	if (rpc_stream_user(s) != NULL)
		ask_free(rpc_stream_user(s));
}

/* NULL when the request was refused. */
static struct ask *
ask_new(struct local_service *l, enum local_rpc rpc, struct rpc_stream *s, struct slice task_id)
{
	struct ask *a = xcalloc(1, sizeof *a);
	struct err e;

	l->counts.calls[STORE_STANDARD][rpc]++;
	a->service = l;
	a->stream = s;
	a->rpc = rpc;
	if (take_id(task_id, a->id, &e) < 0) {
		ask_end(a, &e);
		return NULL;
	}
	rpc_stream_set_user(s, a);
	return a;
}

/* What of a scheduler's failure our caller sees: what it can act upon stays, the rest is INTERNAL. */
static void
scheduler_error(const struct rpc_status *st, struct err *e)
{
	bool is_kept = st->code == ERR_NOT_FOUND || st->code == ERR_UNAVAILABLE || st->code == ERR_DEADLINE_EXCEEDED ||
	    st->code == ERR_RESOURCE_EXHAUSTED;

	err_set(e, is_kept ? st->code : ERR_INTERNAL, "%s", st->message);
}

static bool
lacks_our_host(const struct rpc_status *st)
{
	return st->code == ERR_NOT_FOUND && slice_starts(slice_str(st->message), "host ");
}

/* ---- StatTask ---- */

static void stat_on_answer(void *ctx, const void *answer, const struct rpc_status *st);

static void
stat_ask(void *ctx)
{
	struct ask *a = ctx;
	struct scheduler_stat_task_request r = {.host_id = slice_str(a->service->host_id), .task_id = slice_str(a->id)};
	struct rpc_channel *ch = NULL;
	struct err e;

	if (a->service->cluster == NULL)
		err_set(&e, ERR_UNAVAILABLE, "available schedulers not found");
	else
		ch = cluster_scheduler(a->service->cluster, slice_str(a->id), false, &e);
	if (ch == NULL) {
		ask_end(a, &e);
		return;
	}
	a->call = rpc_unary(ch, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_TASK_AT], &r, NULL, stat_on_answer, a);
}

static void
stat_on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct ask *a = ctx;
	struct rpc_stream *s = a->stream;
	struct err e;

	a->call = NULL;
	if (answer != NULL) {
		ask_free(a);
		if (rpc_stream_send(s, &common_task_desc, answer, &e) < 0)
			rpc_stream_fail(s, &e);
		else
			rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
	} else if (lacks_our_host(st) && !a->is_retried) {
		a->is_retried = true;
		cluster_announce_soon(a->service->cluster);
		loop_timer_set(rpc_stream_loop(s), &a->retry, LOCAL_RETRY_MS, stat_ask, a);
	} else {
		scheduler_error(st, &e);
		ask_end(a, &e);
	}
}

static void
stat_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_stat_task_request *r = request;
	struct ask *a = ask_new(ctx, LOCAL_STAT_TASK, s, r->task_id);

	if (a != NULL)
		stat_ask(a);
}

/* ---- DeleteTask: the scheduler forgets our peers of it first, then the data goes ---- */

static void
delete_here(struct ask *a)
{
	struct store_task *t = store_task_find(a->service->store, STORE_STANDARD, a->id);
	struct err e;

	if (t == NULL)
		err_set(&e, ERR_NOT_FOUND, "task %s not found", a->id);
	else if (store_task_delete(t, STORE_DELETED_BY_CALLER, &e) == 0) {
		log_info("task deleted task=%s", a->id);
		ask_end(a, NULL);
		return;
	}
	ask_end(a, &e);
}

static void
delete_on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct ask *a = ctx;
	struct err e;

	a->call = NULL;
	if (answer != NULL || st->code == ERR_NOT_FOUND) {
		delete_here(a);
		return;
	}
	scheduler_error(st, &e);
	ask_end(a, &e);
}

static struct rpc_call *
tell_deleted(struct local_service *l, const char *id, rpc_unary_fn *fn, void *ctx)
{
	struct scheduler_delete_task_request r = {.host_id = slice_str(l->host_id), .task_id = slice_str(id)};
	struct rpc_channel *ch = l->cluster != NULL ? cluster_scheduler(l->cluster, slice_str(id), false, NULL) : NULL;

	if (ch == NULL)
		return NULL;
	return rpc_unary(ch, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_DELETE_TASK_AT], &r, NULL, fn, ctx);
}

static void
delete_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_delete_task_request *r = request;
	struct ask *a = ask_new(ctx, LOCAL_DELETE_TASK, s, r->task_id);

	if (a == NULL)
		return;
	a->call = tell_deleted(a->service, a->id, delete_on_answer, a);
	if (a->call == NULL)
		delete_here(a);
}

static void
delete_local_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_delete_local_task_request *r = request;
	struct ask *a = ask_new(ctx, LOCAL_DELETE_LOCAL_TASK, s, r->task_id);

	if (a != NULL)
		delete_here(a);
}

static void
collected_on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	(void)ctx;
	if (answer == NULL && st->code != ERR_NOT_FOUND && st->code != ERR_CANCELLED)
		log_warn("scheduler was not told of a collected task error=\"%s\"", st->message);
}

void
local_tell_collected(struct local_service *l, const struct store_task *t, enum store_reason reason)
{
	if (t->kind == STORE_STANDARD && reason != STORE_DELETED_BY_CALLER)
		tell_deleted(l, t->id, collected_on_answer, NULL);
}

/* ---- DeleteHost ---- */

struct goodbye {
	struct local_service *service;
	struct rpc_stream *stream;
	struct list legs;
};

struct leg {
	struct list link;
	struct goodbye *all;
	struct rpc_call *call;
};

static void
goodbye_free(struct goodbye *g)
{
	LIST_EACH(it, next, &g->legs) {
		struct leg *leg = CONTAINER_OF(it, struct leg, link);

		if (leg->call != NULL)
			rpc_call_cancel(leg->call);
		free(leg);
	}
	free(g);
}

static void
goodbye_end_if_done(struct goodbye *g)
{
	struct rpc_stream *s = g->stream;

	if (!list_is_empty(&g->legs))
		return;
	goodbye_free(g);
	succeed(s);
}

static void
leg_on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct leg *leg = ctx;
	struct goodbye *g = leg->all;

	if (answer == NULL)
		log_warn("scheduler did not delete this host error=\"%s\"", st->message);
	list_del(&leg->link);
	free(leg);
	goodbye_end_if_done(g);
}

static void
goodbye_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	(void)ctx;
	(void)why;
	if (rpc_stream_user(s) != NULL)
		goodbye_free(rpc_stream_user(s));
}

static void
delete_host_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	struct local_service *l = ctx;
	struct goodbye *g = xcalloc(1, sizeof *g);
	struct scheduler_delete_host_request r = {.host_id = slice_str(l->host_id)};
	struct rpc_channel *ch;
	size_t at = 0;

	(void)request;
	l->counts.calls[STORE_STANDARD][LOCAL_DELETE_HOST]++;
	g->service = l;
	g->stream = s;
	list_init(&g->legs);
	rpc_stream_set_user(s, g);
	while (l->cluster != NULL && (ch = cluster_scheduler_next(l->cluster, &at)) != NULL) {
		struct leg *leg = xcalloc(1, sizeof *leg);

		leg->all = g;
		list_add_tail(&g->legs, &leg->link);
		leg->call = rpc_unary(ch, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_DELETE_HOST_AT], &r, NULL, leg_on_answer, leg);
	}
	goodbye_end_if_done(g);
}

/* ---- tables ---- */

void
local_serve(struct local_service *l, struct rpc_server *download, struct rpc_server *upload)
{
	const struct pb_method *d = dfdaemon_dfdaemon_download_service.methods, *u = dfdaemon_dfdaemon_upload_service.methods;

	l->download_methods[0] = (struct rpc_method){
		.method = &d[DFDAEMON_DFDAEMON_DOWNLOAD_STAT_TASK_AT], .on_message = stat_on_request, .on_cancel = ask_on_cancel};
	l->download_methods[1] = (struct rpc_method){
		.method = &d[DFDAEMON_DFDAEMON_DOWNLOAD_STAT_LOCAL_TASK_AT], .on_message = stat_local_on_request};
	l->download_methods[2] = (struct rpc_method){
		.method = &d[DFDAEMON_DFDAEMON_DOWNLOAD_LIST_LOCAL_TASKS_AT], .on_message = list_on_request, .on_drain = listing_on_drain,
		.on_cancel = listing_on_cancel};
	l->download_methods[3] = (struct rpc_method){
		.method = &d[DFDAEMON_DFDAEMON_DOWNLOAD_DELETE_TASK_AT], .on_message = delete_on_request, .on_cancel = ask_on_cancel};
	l->download_methods[4] = (struct rpc_method){
		.method = &d[DFDAEMON_DFDAEMON_DOWNLOAD_DELETE_LOCAL_TASK_AT], .on_message = delete_local_on_request, .on_cancel = ask_on_cancel};
	l->download_methods[5] = (struct rpc_method){
		.method = &d[DFDAEMON_DFDAEMON_DOWNLOAD_DELETE_HOST_AT], .on_message = delete_host_on_request, .on_cancel = goodbye_on_cancel};
	rpc_server_add(download, l->download_methods, COUNT_OF(l->download_methods), l);
	l->upload_methods[0] = (struct rpc_method){
		.method = &u[DFDAEMON_DFDAEMON_UPLOAD_STAT_TASK_AT], .on_message = stat_on_request, .on_cancel = ask_on_cancel};
	l->upload_methods[1] = (struct rpc_method){
		.method = &u[DFDAEMON_DFDAEMON_UPLOAD_STAT_LOCAL_TASK_AT], .on_message = stat_local_on_request};
	l->upload_methods[2] = (struct rpc_method){
		.method = &u[DFDAEMON_DFDAEMON_UPLOAD_DELETE_TASK_AT], .on_message = delete_on_request, .on_cancel = ask_on_cancel};
	rpc_server_add(upload, l->upload_methods, COUNT_OF(l->upload_methods), l);
}
