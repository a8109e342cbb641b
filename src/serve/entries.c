#include "serve/entries.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/addr.h"
#include "peer/engine.h"
#include "peer/origin.h"
#include "peer/worker.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "serve/callers.h"
#include "serve/local.h"
#include "text/url.h"
#include "wire/grpc.h"

struct entries {
	struct entries_service *service;
	struct rpc_stream *stream;      /* NULL once the caller is gone */
};

static void
refuse(struct entries_service *v, struct rpc_stream *s, const struct err *e)
{
	v->counts->failures[STORE_STANDARD][LOCAL_LIST_TASK_ENTRIES]++;
	rpc_stream_fail(s, e);
}

static void
answer(struct rpc_stream *s, const struct source_response *r)
{
	struct dfdaemon_list_task_entries_response m = {
		.content_length = r->has_length ? r->length : 0, .has_status_code = r->status > 0, .status_code = r->status,
		.n_response_header = r->headers.count,
	};
	struct err e;

	m.response_header = xcalloc(r->headers.count + 1, sizeof *m.response_header);
	for (size_t i = 0; i < r->headers.count; i++)
		m.response_header[i] = (struct pb_pair){
			.key = slice_str(r->headers.at[i].name), .value = slice_str(r->headers.at[i].value)};
	if (rpc_stream_send(s, &dfdaemon_list_task_entries_response_desc, &m, &e) < 0)
		rpc_stream_fail(s, &e);
	else
		rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
	free(m.response_header);
}

static void
on_done(struct origin_stat *stat)
{
	struct entries *x = stat->owner;

	x->service->running--;
	if (x->stream != NULL) {
		if (stat->has_failed)
			refuse(x->service, x->stream, &stat->error.e.err);
		else
			answer(x->stream, &stat->response);
	}
	origin_stat_free(stat);
	free(x);
}

static void
on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct origin_stat *stat = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (stat == NULL)
		return;
	((struct entries *)stat->owner)->stream = NULL;
	atomic_store(&stat->is_cancelled, true);
}

static int64_t
timeout_of(const struct dfdaemon_list_task_entries_request *r, const struct config *c)
{
	int64_t ms = c->download.piece_timeout_ms;

	if (r->timeout != NULL && r->timeout->seconds >= 0 && r->timeout->seconds < ENTRIES_TIMEOUT_MAX_MS / 1000 &&
	    r->timeout->nanos >= 0 && r->timeout->seconds + r->timeout->nanos > 0)
		ms = r->timeout->seconds * 1000 + r->timeout->nanos / 1000000 + 1;
	return ms < ENTRIES_TIMEOUT_MAX_MS ? ms : ENTRIES_TIMEOUT_MAX_MS;
}

static void
on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_list_task_entries_request *r = request;
	struct entries_service *v = ctx;
	const struct common_download d = {
		.url = r->url, .request_header = r->request_header, .n_request_header = r->n_request_header,
		.certificate_chain = r->certificate_chain, .n_certificate_chain = r->n_certificate_chain,
	};
	int64_t ms = timeout_of(r, v->engine->o.config);
	struct origin_stat *stat;
	struct entries *x;
	char url[URL_REDACTED_MAX];
	struct err e;

	v->counts->calls[STORE_STANDARD][LOCAL_LIST_TASK_ENTRIES]++;
	if (v->engine->is_draining) {
		err_set(&e, ERR_UNAVAILABLE, "the daemon is stopping");
		goto refuse;
	}
	if (r->url.n == 0) {
		err_set(&e, ERR_INVALID_ARGUMENT, "missing url");
		goto refuse;
	}
	if (addr_family(rpc_stream_peer(s)) != AF_UNIX && callers_check_credentials(r->object_storage, &e) < 0)
		goto refuse;
	if (v->running >= ENTRIES_RUNNING_MAX) {
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "more than %d questions to origins at once", ENTRIES_RUNNING_MAX);
		goto refuse;
	}
	stat = xcalloc(1, sizeof *stat);
	stat->target = origin_target_new(&d, ms, v->engine->o.insecure_skip_verify, callers_is_guarded(s));
	if (stat->target == NULL) {
		free(stat);
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "request for %s is too large", url_redact_text(r->url, url));
		goto refuse;
	}
	stat->target->request.deadline_ms = clock_mono_ms() + ms;
	x = xcalloc(1, sizeof *x);
	x->service = v;
	x->stream = s;
	stat->owner = x;
	stat->done = on_done;
	rpc_stream_set_user(s, stat);
	v->running++;
	origin_stat_start(workers_take(v->engine->o.workers), v->engine->o.loop, stat);
	return;
refuse:
	refuse(v, s, &e);
}

void
entries_serve(struct entries_service *v, struct rpc_server *download, struct rpc_server *upload)
{
	v->methods[0] = (struct rpc_method){
		.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_LIST_TASK_ENTRIES_AT],
		.on_message = on_request, .on_cancel = on_cancel};
	v->methods[1] = (struct rpc_method){
		.method = &dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_LIST_TASK_ENTRIES_AT],
		.on_message = on_request, .on_cancel = on_cancel};
	rpc_server_add(download, &v->methods[0], 1, v);
	rpc_server_add(upload, &v->methods[1], 1, v);
}
