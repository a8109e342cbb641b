#include "serve/persistent.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "net/pb_time.h"
#include "net/os/sockopt.h"
#include "net/rpc_client.h"
#include "peer/engine.h"
#include "peer/ids.h"
#include "peer/import.h"
#include "peer/task.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "proto/google.h"
#include "proto/scheduler.h"
#include "serve/download.h"
#include "serve/listing.h"
#include "serve/local.h"
#include "serve/sync.h"
#include "text/url.h"

static const char *const kind_names[STORE_KINDS] = {"task", "persistent task", "persistent cache task"};

/* ---- helpers ---- */

static void
count(struct persistent_service *v, enum store_kind kind, enum local_rpc rpc)
{
	v->counts->calls[kind][rpc]++;
}

static void
refuse(struct persistent_service *v, enum store_kind kind, enum local_rpc rpc, struct rpc_stream *s, const struct err *e)
{
	v->counts->failures[kind][rpc]++;
	rpc_stream_fail(s, e);
}

static void
succeed(struct rpc_stream *s)
{
	rpc_stream_send_bytes(s, (struct slice){0}, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static int
take_id(struct slice from, char id[TASK_ID_SIZE], struct err *e)
{
	if (!task_id_is_valid(from))
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid task id: 64 lower-case hexadecimal digits are expected");
	memcpy(id, from.p, TASK_ID_LENGTH);
	id[TASK_ID_LENGTH] = '\0';
	return 0;
}

/* NULL with e, NOT_FOUND among others. */
static struct store_task *
find(struct persistent_service *v, enum store_kind kind, struct slice task_id, const char *what, struct err *e)
{
	char id[TASK_ID_SIZE];
	struct store_task *t;

	if (take_id(task_id, id, e) < 0)
		return NULL;
	t = store_task_find(v->store, kind, id);
	if (t == NULL)
		err_set(e, ERR_NOT_FOUND, "%s%s not found: %s", what, kind_names[kind], id);
	return t;
}

/* ---- downloads ---- */

static void
download(struct rpc_stream *s, struct persistent_service *v, struct task_request *ask, bool is_local)
{
	const struct common_download *d = ask->download;
	struct err e;

	ask->asker = is_local ? TASK_FOR_USER : TASK_FOR_SCHEDULER;
	if ((is_local ? v->local : v->remote)->obeys_block_list && v->cluster != NULL &&
	    cluster_check_persistent(v->cluster, ask->kind == STORE_PERSISTENT_CACHE, false, d->url, d->application, d->tag, &e) < 0) {
		v->engine->metrics.download_blocked[ask->kind]++;
		rpc_stream_fail(s, &e);
		return;
	}
	download_begin(s, is_local ? v->local : v->remote, ask);
}

static void
download_persistent(struct rpc_stream *s, void *ctx, const struct dfdaemon_download_persistent_task_request *r, bool is_local)
{
	struct common_download d = {
		.type = COMMON_TASK_TYPE_PERSISTENT, .url = r->url, .object_storage = r->object_storage, .output_path = r->output_path,
		.timeout = r->timeout, .need_piece_content = r->need_piece_content, .force_hard_link = r->force_hard_link, .digest = r->digest,
		.remote_ip = r->remote_ip, .overwrite = r->overwrite,
	};

	download(s, ctx, &(struct task_request){.download = &d, .kind = STORE_PERSISTENT, .is_persistent = r->persistent}, is_local);
}

static void
download_cache(struct rpc_stream *s, void *ctx, const struct dfdaemon_download_persistent_cache_task_request *r, bool is_local)
{
	struct common_download d = {
		.type = COMMON_TASK_TYPE_PERSISTENT_CACHE, .tag = r->tag, .application = r->application, .output_path = r->output_path,
		.timeout = r->timeout, .need_piece_content = r->need_piece_content, .force_hard_link = r->force_hard_link, .digest = r->digest,
		.remote_ip = r->remote_ip, .overwrite = r->overwrite,
	};

	download(s, ctx, &(struct task_request){.download = &d, .kind = STORE_PERSISTENT_CACHE, .task_id = r->task_id,
		.is_persistent = r->persistent}, is_local);
}

static void
download_persistent_local(struct rpc_stream *s, void *ctx, const void *request)
{
	download_persistent(s, ctx, request, true);
}

static void
download_persistent_remote(struct rpc_stream *s, void *ctx, const void *request)
{
	download_persistent(s, ctx, request, false);
}

static void
download_cache_local(struct rpc_stream *s, void *ctx, const void *request)
{
	download_cache(s, ctx, request, true);
}

static void
download_cache_remote(struct rpc_stream *s, void *ctx, const void *request)
{
	download_cache(s, ctx, request, false);
}

/* ---- uploads ---- */

struct upload {
	struct persistent_service *service;
	struct rpc_stream *stream;
	struct import *import;
};

static void
upload_on_done(void *ctx, const struct common_persistent_cache_task *task, const struct err *err)
{
	struct upload *u = ctx;
	struct err e;

	rpc_stream_set_user(u->stream, NULL);
	if (task == NULL)
		refuse(u->service, STORE_PERSISTENT_CACHE, LOCAL_UPLOAD_TASK, u->stream, err);
	else if (rpc_stream_send(u->stream, &common_persistent_cache_task_desc, task, &e) < 0)
		rpc_stream_fail(u->stream, &e);
	else
		rpc_stream_end(u->stream, ERR_OK, NULL, (struct slice){0});
	free(u);
}

static void
upload_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct upload *u = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (u == NULL)
		return;
	import_cancel(u->import);
	free(u);
}

static void
upload_cache(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_upload_persistent_cache_task_request *r = request;
	struct persistent_service *v = ctx;
	struct import_request ask = {
		.path = r->path, .content_for_id = r->content_for_calculating_task_id, .tag = r->tag, .application = r->application,
		.piece_length = r->has_piece_length ? r->piece_length : 0, .replicas = r->persistent_replica_count, .ttl_ns = pb_duration_ns(r->ttl),
		.timeout_ms = pb_duration_ns(r->timeout) / 1000000,
	};
	struct peercred cred;
	struct upload *u;
	struct err e;

	count(v, STORE_PERSISTENT_CACHE, LOCAL_UPLOAD_TASK);
	if (v->cluster != NULL &&
	    cluster_check_persistent(v->cluster, true, true, (struct slice){0}, r->application, r->tag, &e) < 0) {
		v->engine->metrics.upload_blocked[STORE_PERSISTENT_CACHE]++;
		refuse(v, STORE_PERSISTENT_CACHE, LOCAL_UPLOAD_TASK, s, &e);
		return;
	}
	if (rpc_stream_peercred(s, &cred)) {
		ask.has_owner = true;
		ask.uid = cred.uid;
		ask.gid = cred.gid;
	}
	u = xcalloc(1, sizeof *u);
	u->service = v;
	u->stream = s;
	u->import = import_start(v->engine, &ask, upload_on_done, u, &e);
	if (u->import == NULL) {
		free(u);
		refuse(v, STORE_PERSISTENT_CACHE, LOCAL_UPLOAD_TASK, s, &e);
		return;
	}
	log_info("import asked for path=\"%.*s\"", SLICE_ARG(r->path));
	rpc_stream_set_user(s, u);
}

/* Uploads go to an object store as well, and no source here takes any. */
static void
upload_persistent(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_upload_persistent_task_request *r = request;
	struct persistent_service *v = ctx;
	struct url u;
	struct err e;

	count(v, STORE_PERSISTENT, LOCAL_UPLOAD_TASK);
	if (v->cluster != NULL && cluster_check_persistent(v->cluster, false, true, r->url, (struct slice){0}, (struct slice){0}, &e) < 0) {
		v->engine->metrics.upload_blocked[STORE_PERSISTENT]++;
	} else if (r->object_storage == NULL) {
		err_set(&e, ERR_INVALID_ARGUMENT, "missing object storage");
	} else if (r->object_storage->region.p == NULL) {
		err_set(&e, ERR_INVALID_ARGUMENT, "missing object storage region");
	} else if (r->object_storage->endpoint.p == NULL) {
		err_set(&e, ERR_INVALID_ARGUMENT, "missing object storage endpoint");
	} else if (url_parse(&u, r->url, &e) == 0) {
		err_set(&e, ERR_FAILED_PRECONDITION, "nothing can be uploaded to %.*s://", SLICE_ARG(u.scheme));
		url_free(&u);
	} else {
		err_wrap(&e, "invalid parameter");
	}
	refuse(v, STORE_PERSISTENT, LOCAL_UPLOAD_TASK, s, &e);
}

/* ---- what the scheduler knows ---- */

struct ask {
	struct persistent_service *service;
	struct rpc_stream *stream;
	enum store_kind kind;
	struct rpc_call *call;
};

static void
stat_on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct ask *a = ctx;
	struct rpc_stream *s = a->stream;
	struct persistent_service *v = a->service;
	enum store_kind kind = a->kind;
	struct err e;

	free(a);
	rpc_stream_set_user(s, NULL);
	if (answer == NULL) {
		err_set(&e, st->code == ERR_NOT_FOUND || st->code == ERR_UNAVAILABLE || st->code == ERR_DEADLINE_EXCEEDED ||
		    st->code == ERR_FAILED_PRECONDITION ? st->code : ERR_INTERNAL, "%s", st->message);
		refuse(v, kind, LOCAL_STAT_TASK, s, &e);
	} else if (rpc_stream_send(s, kind == STORE_PERSISTENT ? &common_persistent_task_desc : &common_persistent_cache_task_desc, answer,
	    &e) < 0) {
		rpc_stream_fail(s, &e);
	} else {
		rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
	}
}

static void
stat_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct ask *a = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (a == NULL)
		return;
	rpc_call_cancel(a->call);
	free(a);
}

static void
stat_ask(struct rpc_stream *s, struct persistent_service *v, enum store_kind kind, struct slice task_id)
{
	const struct pb_method *methods = scheduler_scheduler_service.methods;
	struct scheduler_stat_persistent_task_request persistent = {.host_id = slice_str(v->host_id), .task_id = task_id};
	struct scheduler_stat_persistent_cache_task_request cache = {.host_id = slice_str(v->host_id), .task_id = task_id};
	struct rpc_channel *ch = NULL;
	char id[TASK_ID_SIZE];
	struct ask *a;
	struct err e;

	count(v, kind, LOCAL_STAT_TASK);
	if (take_id(task_id, id, &e) == 0) {
		if (v->cluster == NULL)
			err_set(&e, ERR_UNAVAILABLE, "available schedulers not found");
		else
			ch = cluster_scheduler(v->cluster, task_id, false, &e);
	}
	if (ch == NULL) {
		refuse(v, kind, LOCAL_STAT_TASK, s, &e);
		return;
	}
	a = xcalloc(1, sizeof *a);
	a->service = v;
	a->stream = s;
	a->kind = kind;
	rpc_stream_set_user(s, a);
	if (kind == STORE_PERSISTENT)
		a->call = rpc_unary(ch, &methods[SCHEDULER_SCHEDULER_STAT_PERSISTENT_TASK_AT], &persistent, NULL, stat_on_answer, a);
	else
		a->call = rpc_unary(ch, &methods[SCHEDULER_SCHEDULER_STAT_PERSISTENT_CACHE_TASK_AT], &cache, NULL, stat_on_answer, a);
}

static void
stat_persistent(struct rpc_stream *s, void *ctx, const void *request)
{
	stat_ask(s, ctx, STORE_PERSISTENT, ((const struct dfdaemon_stat_persistent_task_request *)request)->task_id);
}

static void
stat_cache(struct rpc_stream *s, void *ctx, const void *request)
{
	stat_ask(s, ctx, STORE_PERSISTENT_CACHE, ((const struct dfdaemon_stat_persistent_cache_task_request *)request)->task_id);
}

/* ---- what the store has ---- */

struct stat_room {
	struct pb_times times;
	struct google_duration ttl;
};

/* The message of a persistent cache task; that of a persistent one has the same fields. */
static struct dfdaemon_stat_local_persistent_cache_task_response
describe(const struct store_task *t, struct stat_room *room)
{
	struct dfdaemon_stat_local_persistent_cache_task_response r = {
		.task_id = slice_str(t->id), .persistent = t->is_persistent, .ttl = &room->ttl, .has_piece_length = t->piece_length > 0,
		.piece_length = t->piece_length, .has_content_length = t->content_length != STORE_LENGTH_UNKNOWN,
		.uploading_count = t->uploading_count, .uploaded_count = t->uploaded_count,
	};

	if (r.has_content_length)
		r.content_length = t->content_length;
	room->times.used = 0;
	room->ttl = pb_duration(t->ttl);
	r.created_at = pb_times_add(&room->times, t->created_at);
	r.updated_at = pb_times_add(&room->times, t->updated_at);
	r.failed_at = pb_times_add(&room->times, t->failed_at);
	r.finished_at = pb_times_add(&room->times, t->finished_at);
	return r;
}

static void
stat_local(struct rpc_stream *s, struct persistent_service *v, enum store_kind kind, struct slice task_id)
{
	struct dfdaemon_stat_local_persistent_cache_task_response answer;
	struct stat_room room;
	struct store_task *t;
	struct err e;

	count(v, kind, LOCAL_STAT_LOCAL_TASK);
	t = find(v, kind, task_id, "local ", &e);
	if (t == NULL) {
		refuse(v, kind, LOCAL_STAT_LOCAL_TASK, s, &e);
		return;
	}
	answer = describe(t, &room);
	if (rpc_stream_send(s, &dfdaemon_stat_local_persistent_cache_task_response_desc, &answer, &e) < 0)
		rpc_stream_fail(s, &e);
	else
		rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static void
stat_local_persistent(struct rpc_stream *s, void *ctx, const void *request)
{
	stat_local(s, ctx, STORE_PERSISTENT, ((const struct dfdaemon_stat_local_persistent_task_request *)request)->task_id);
}

static void
stat_local_cache(struct rpc_stream *s, void *ctx, const void *request)
{
	stat_local(s, ctx, STORE_PERSISTENT_CACHE, ((const struct dfdaemon_stat_local_persistent_cache_task_request *)request)->task_id);
}

/* One repeated field, put together task by task. */
static void
list(struct rpc_stream *s, struct persistent_service *v, enum store_kind kind)
{
	struct buf bytes = BUF_INIT;
	struct err e = {0};
	size_t n;
	char **ids = listing_ids(v->store, kind, &n);

	count(v, kind, LOCAL_LIST_LOCAL_TASKS);
	for (size_t i = 0; i < n; i++) {
		struct store_task *t = bytes.len <= LOCAL_LIST_MAX ? store_task_find(v->store, kind, ids[i]) : NULL;

		free(ids[i]);
		if (t != NULL) {
			struct stat_room room;
			struct dfdaemon_stat_local_persistent_cache_task_response one = describe(t, &room);

			pb_encode(&dfdaemon_list_local_persistent_cache_tasks_response_desc,
			    &(struct dfdaemon_list_local_persistent_cache_tasks_response){.tasks = &one, .n_tasks = 1}, &bytes);
		}
	}
	free(ids);
	if (bytes.len > LOCAL_LIST_MAX)
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "the list of %zu tasks is larger than %zu bytes", n, LOCAL_LIST_MAX);
	if (e.code != 0 || listing_send(s, &bytes, &e) < 0)
		refuse(v, kind, LOCAL_LIST_LOCAL_TASKS, s, &e);
	buf_free(&bytes);
}

static void
list_persistent(struct rpc_stream *s, void *ctx, const void *request)
{
	(void)request;
	list(s, ctx, STORE_PERSISTENT);
}

static void
list_cache(struct rpc_stream *s, void *ctx, const void *request)
{
	(void)request;
	list(s, ctx, STORE_PERSISTENT_CACHE);
}

/* ---- orders of the scheduler ---- */

static void
update(struct rpc_stream *s, struct persistent_service *v, enum store_kind kind, struct slice task_id, bool persistent)
{
	struct store_task *t;
	struct err e;

	count(v, kind, LOCAL_UPDATE_TASK);
	t = find(v, kind, task_id, "", &e);
	if (t == NULL) {
		refuse(v, kind, LOCAL_UPDATE_TASK, s, &e);
		return;
	}
	if (persistent)
		store_task_set_persistent(t, true);
	succeed(s);
}

static void
update_persistent(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_update_persistent_task_request *r = request;

	update(s, ctx, STORE_PERSISTENT, r->task_id, r->persistent);
}

static void
update_cache(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_update_persistent_cache_task_request *r = request;

	update(s, ctx, STORE_PERSISTENT_CACHE, r->task_id, r->persistent);
}

/* Absent ones count as deleted. */
static void
delete(struct rpc_stream *s, struct persistent_service *v, enum store_kind kind, struct slice task_id)
{
	struct store_task *t;
	struct err e;

	count(v, kind, LOCAL_DELETE_TASK);
	t = find(v, kind, task_id, "", &e);
	if (t == NULL && e.code == ERR_INVALID_ARGUMENT) {
		refuse(v, kind, LOCAL_DELETE_TASK, s, &e);
		return;
	}
	if (t != NULL && store_task_delete(t, STORE_DELETED_BY_CALLER, &e) < 0)
		log_error("content cannot be removed error=\"%s\"", e.text);
	if (t != NULL)
		log_info("%s deleted task=%.*s", kind_names[kind], SLICE_ARG(task_id));
	succeed(s);
}

static void
delete_persistent(struct rpc_stream *s, void *ctx, const void *request)
{
	delete(s, ctx, STORE_PERSISTENT, ((const struct dfdaemon_delete_persistent_task_request *)request)->task_id);
}

static void
delete_cache(struct rpc_stream *s, void *ctx, const void *request)
{
	delete(s, ctx, STORE_PERSISTENT_CACHE, ((const struct dfdaemon_delete_persistent_cache_task_request *)request)->task_id);
}

/* ---- tables ---- */

#define DOWNLOAD(at) (&dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_ ## at ## _AT])
#define UPLOAD(at) (&dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_ ## at ## _AT])

static void
add(struct rpc_method *m, const struct pb_method *method, void (*on_message)(struct rpc_stream *, void *, const void *),
    void (*on_drain)(struct rpc_stream *, void *), void (*on_cancel)(struct rpc_stream *, void *, const struct err *))
{
	*m = (struct rpc_method){.method = method, .on_message = on_message, .on_drain = on_drain, .on_cancel = on_cancel};
}

void
persistent_serve(struct persistent_service *v, struct sync_service *sync, struct rpc_server *download_rpc, struct rpc_server *upload_rpc)
{
	struct rpc_method *m = v->local_methods;

	add(m++, DOWNLOAD(DOWNLOAD_PERSISTENT_TASK), download_persistent_local, download_on_drain, download_on_cancel);
	add(m++, DOWNLOAD(DOWNLOAD_PERSISTENT_CACHE_TASK), download_cache_local, download_on_drain, download_on_cancel);
	add(m++, DOWNLOAD(UPLOAD_PERSISTENT_TASK), upload_persistent, NULL, NULL);
	add(m++, DOWNLOAD(UPLOAD_PERSISTENT_CACHE_TASK), upload_cache, NULL, upload_on_cancel);
	add(m++, DOWNLOAD(STAT_PERSISTENT_TASK), stat_persistent, NULL, stat_on_cancel);
	add(m++, DOWNLOAD(STAT_PERSISTENT_CACHE_TASK), stat_cache, NULL, stat_on_cancel);
	add(m++, DOWNLOAD(STAT_LOCAL_PERSISTENT_TASK), stat_local_persistent, NULL, NULL);
	add(m++, DOWNLOAD(STAT_LOCAL_PERSISTENT_CACHE_TASK), stat_local_cache, NULL, NULL);
	add(m++, DOWNLOAD(LIST_LOCAL_PERSISTENT_TASKS), list_persistent, listing_on_drain, listing_on_cancel);
	add(m++, DOWNLOAD(LIST_LOCAL_PERSISTENT_CACHE_TASKS), list_cache, listing_on_drain, listing_on_cancel);
	rpc_server_add(download_rpc, v->local_methods, COUNT_OF(v->local_methods), v);
	m = v->remote_methods;
	add(m++, UPLOAD(DOWNLOAD_PERSISTENT_TASK), download_persistent_remote, download_on_drain, download_on_cancel);
	add(m++, UPLOAD(DOWNLOAD_PERSISTENT_CACHE_TASK), download_cache_remote, download_on_drain, download_on_cancel);
	add(m++, UPLOAD(STAT_PERSISTENT_TASK), stat_persistent, NULL, stat_on_cancel);
	add(m++, UPLOAD(STAT_PERSISTENT_CACHE_TASK), stat_cache, NULL, stat_on_cancel);
	add(m++, UPLOAD(UPDATE_PERSISTENT_TASK), update_persistent, NULL, NULL);
	add(m++, UPLOAD(UPDATE_PERSISTENT_CACHE_TASK), update_cache, NULL, NULL);
	add(m++, UPLOAD(DELETE_PERSISTENT_TASK), delete_persistent, NULL, NULL);
	add(m++, UPLOAD(DELETE_PERSISTENT_CACHE_TASK), delete_cache, NULL, NULL);
	rpc_server_add(upload_rpc, v->remote_methods, COUNT_OF(v->remote_methods), v);
	m = v->sync_methods;
	add(m++, UPLOAD(SYNC_PERSISTENT_PIECES), sync_persistent_pieces_on_request, sync_pieces_on_drain, sync_pieces_on_cancel);
	add(m++, UPLOAD(SYNC_PERSISTENT_CACHE_PIECES), sync_persistent_cache_pieces_on_request, sync_pieces_on_drain, sync_pieces_on_cancel);
	rpc_server_add(upload_rpc, v->sync_methods, COUNT_OF(v->sync_methods), sync);
}
