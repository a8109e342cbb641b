/*
 * PreheatFile and PreheatImage (spec: scheduler.md A13, manager.md B5, B6).
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "proto/scheduler.h"
#include "scheduler/image.h"
#include "scheduler/preheat.h"
#include "scheduler/seed.h"
#include "scheduler/service.h"
#include "scheduler/validate.h"
#include "text/task_id.h"
#include "text/url.h"
#include "wire/pb.h"

#define LIST_MS 60000
#define FILE_NAME "PreheatFileRequest"
#define IMAGE_NAME "PreheatImageRequest"

/* The list that clients of the Go scheduler get when they name none. */
void
preheat_default_filters(struct common_download *d)
{
	static struct slice list[DEFAULT_FILTER_COUNT];

	if (d->n_filtered_query_params > 0)
		return;
	for (size_t i = 0; i < DEFAULT_FILTER_COUNT; i++)
		list[i] = slice_str(default_filtered_query_params[i]);
	d->filtered_query_params = list;
	d->n_filtered_query_params = DEFAULT_FILTER_COUNT;
}

/* ---- requests ---- */

static int
out_of_range(const char *message, const char *field, const char *range, struct err *e)
{
	return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.%s: value must be inside range %s", message, field, range);
}

static int
take_scope(struct slice text, enum preheat_scope *scope, const char *message, struct err *e)
{
	static const char *const names[] = { "single_seed_peer", "all_seed_peers", "all_peers" };

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (!slice_eq_str(text, names[i]))
			continue;
		*scope = (enum preheat_scope)i;
		return 0;
	}
	return err_set(e, ERR_INVALID_ARGUMENT,
		"invalid %s.Scope: value does not match regex pattern \"^(single_seed_peer|all_seed_peers|all_peers)$\"", message);
}

/* name is the message's own. */
static int
check(const struct scheduler_preheat_file_request *m, const char *name, struct preheat_request *out, struct err *e)
{
	if (validate_url(name, "Url", m->url, e) < 0 || take_scope(m->scope, &out->scope, name, e) < 0)
		return -1;
	if (m->url.n > SCHED_URL_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.Url: value is too long", name);
	if (m->has_piece_length && m->piece_length != 0 && (m->piece_length < 4194304 || m->piece_length > 67108864))
		return out_of_range(name, "PieceLength", "[4194304, 67108864]", e);
	if (m->has_percentage && (m->percentage < 1 || m->percentage > 100))
		return out_of_range(name, "Percentage", "[1, 100]", e);
	if (m->has_count && (m->count < 1 || m->count > 200))
		return out_of_range(name, "Count", "[1, 200]", e);
	if (m->has_concurrent_task_count && (m->concurrent_task_count < 1 || m->concurrent_task_count > 100))
		return out_of_range(name, "ConcurrentTaskCount", "[1, 100]", e);
	if (m->has_concurrent_peer_count && (m->concurrent_peer_count < 1 || m->concurrent_peer_count > 1000))
		return out_of_range(name, "ConcurrentPeerCount", "[1, 1000]", e);
	out->ips = m->ips;
	out->n_ips = m->n_ips;
	out->count = m->count;
	out->percentage = m->percentage;
	out->tasks = (uint32_t)m->concurrent_task_count;
	out->peers = (uint32_t)m->concurrent_peer_count;
	if (m->timeout && m->timeout->seconds > 0 && m->timeout->seconds < PREHEAT_TIMEOUT_MAX_MS / 1000)
		out->timeout_ms = m->timeout->seconds * 1000 + m->timeout->nanos / 1000000;
	return 0;
}

/* A URL without its path's end is fetched; its tag enters the task's id as a user's would. */
static struct common_download
download_of(const struct scheduler_preheat_file_request *m)
{
	struct common_download d = {
		.url = m->url, .has_piece_length = m->has_piece_length && m->piece_length > 0, .piece_length = m->piece_length, .tag = m->tag,
		.application = m->application, .filtered_query_params = m->filtered_query_params,
		.n_filtered_query_params = m->n_filtered_query_params, .request_header = m->header, .n_request_header = m->n_header,
		.timeout = m->timeout, .priority = m->priority, .certificate_chain = m->certificate_chain,
		.n_certificate_chain = m->n_certificate_chain, .object_storage = m->object_storage, .hdfs = m->hdfs, .output_path = m->output_path,
	};

	preheat_default_filters(&d);
	return d;
}

/* ---- PreheatFile ---- */

/* The question for a directory's entries. The request lives as long as its stream. */
struct listing {
	struct scheduler *s;
	struct rpc_stream *rpc;
	const struct scheduler_preheat_file_request *m;
	struct rpc_call *call;
};

static void
begin(struct scheduler *s, struct rpc_stream *rpc, const struct scheduler_preheat_file_request *m, const struct slice *urls, size_t n)
{
	struct common_download d = download_of(m);
	struct preheat_request r = { .download = &d };
	struct err e = { 0 };

	if (check(m, FILE_NAME, &r, &e) < 0 || preheat_start(s->preheat, &r, urls, n, &e) < 0) {
		s->core.metrics.preheat_file_failure++;
		rpc_stream_fail(rpc, &e);
	} else {
		service_reply_empty(rpc);
	}
}

static void
listed(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct listing *l = ctx;
	struct scheduler *s = l->s;
	struct rpc_stream *rpc = l->rpc;
	const struct dfdaemon_list_task_entries_response *m = answer;
	const struct scheduler_preheat_file_request *r = l->m;
	struct slice *urls;
	struct err e = { 0 };
	size_t n = 0;

	free(l);
	rpc_stream_set_user(rpc, NULL);
	service_now(s);
	if (!m) {
		err_set(&e, ERR_INVALID_ARGUMENT, "failed to list task entries: %s", st->message);
		s->core.metrics.preheat_file_failure++;
		rpc_stream_fail(rpc, &e);
		return;
	}
	urls = xcalloc(m->n_entries + 1, sizeof *urls);
	for (size_t i = 0; i < m->n_entries; i++)
		if (!m->entries[i].is_dir)
			urls[n++] = m->entries[i].url;
	if (n == 0) {
		char shown[URL_REDACTED_MAX];

		err_set(&e, ERR_INVALID_ARGUMENT, "preheat url is a directory, but with no entry: %s", url_redact_text(r->url, shown));
		s->core.metrics.preheat_file_failure++;
		rpc_stream_fail(rpc, &e);
	} else {
		begin(s, rpc, r, urls, n);
	}
	free(urls);
	service_after(s);
}

static void
preheat_cancelled(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	struct listing *l = rpc_stream_user(rpc);

	(void)ctx;
	(void)why;
	if (!l)
		return;
	rpc_call_cancel(l->call);
	free(l);
}

/* A normal host, or else a seed. */
static const struct sched_host *
some_host(struct scheduler *s)
{
	const struct sched_host *seed = NULL;

	for (struct list *it = s->core.res.host_list.next; it != &s->core.res.host_list; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (h->provisional || !sched_host_is_fresh(&s->core.res, h))
			continue;
		if (h->type == 0)
			return h;
		seed = h;
	}
	return seed;
}

static void
list_directory(struct scheduler *s, struct rpc_stream *rpc, const struct scheduler_preheat_file_request *m)
{
	const struct sched_host *h = some_host(s);
	struct rpc_channel *ch = h ? service_call_channel(s, h->ip, h->port) : NULL;
	struct rpc_call_opts o = { .grpc_timeout_ms = LIST_MS, .headers_ms = LIST_MS, .total_ms = LIST_MS };
	struct dfdaemon_list_task_entries_request r = {
		.task_id = slice_str("preheat"), .url = m->url, .request_header = m->header, .n_request_header = m->n_header,
		.certificate_chain = m->certificate_chain, .n_certificate_chain = m->n_certificate_chain, .object_storage = m->object_storage,
		.hdfs = m->hdfs,
	};
	struct listing *l;
	struct err e;

	if (!ch) {
		err_set(&e, ERR_FAILED_PRECONDITION, "no available peer");
		s->core.metrics.preheat_file_failure++;
		rpc_stream_fail(rpc, &e);
		return;
	}
	l = xcalloc(1, sizeof *l);
	l->s = s;
	l->rpc = rpc;
	l->m = m;
	rpc_stream_set_user(rpc, l);
	l->call = rpc_unary(ch, &dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_LIST_TASK_ENTRIES_AT], &r, &o, listed, l);
}

static void
preheat_file(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_preheat_file_request *m = request;
	struct preheat_request r = { 0 };
	struct url u;
	bool is_directory = false;
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.preheat_file++;
	if (s->is_draining)
		err_set(&e, ERR_UNAVAILABLE, "scheduler is going away");
	if (e.code != 0 || check(m, FILE_NAME, &r, &e) < 0) {
		s->core.metrics.preheat_file_failure++;
		rpc_stream_fail(rpc, &e);
		return;
	}
	if (url_parse(&u, m->url, NULL) == 0) {
		is_directory = slice_ends(u.path, "/");
		url_free(&u);
	}
	if (is_directory)
		list_directory(s, rpc, m);
	else
		begin(s, rpc, m, &m->url, 1);
	service_after(s);
}

/* ---- PreheatImage ---- */

/* The question for an image's layers. The request lives as long as its stream. */
struct resolving {
	struct scheduler *s;
	struct rpc_stream *rpc;
	const struct scheduler_preheat_image_request *m;
	struct image_request about;
	struct image_lookup *lookup;
};

/* What both messages have. */
static struct scheduler_preheat_file_request
common_of(const struct scheduler_preheat_image_request *m)
{
	return (struct scheduler_preheat_file_request){
		.url = m->url, .has_piece_length = m->has_piece_length, .piece_length = m->piece_length, .tag = m->tag,
		.application = m->application, .filtered_query_params = m->filtered_query_params,
		.n_filtered_query_params = m->n_filtered_query_params, .header = m->header, .n_header = m->n_header, .scope = m->scope,
		.ips = m->ips, .n_ips = m->n_ips, .has_percentage = m->has_percentage, .percentage = m->percentage, .has_count = m->has_count,
		.count = m->count, .has_concurrent_task_count = m->has_concurrent_task_count,
		.concurrent_task_count = m->concurrent_task_count, .has_concurrent_peer_count = m->has_concurrent_peer_count,
		.concurrent_peer_count = m->concurrent_peer_count, .timeout = m->timeout, .priority = m->priority,
		.certificate_chain = m->certificate_chain, .n_certificate_chain = m->n_certificate_chain,
	};
}

static void
image_fail(struct scheduler *s, struct rpc_stream *rpc, const struct err *e)
{
	s->core.metrics.preheat_image_failure++;
	rpc_stream_fail(rpc, e);
}

static void
resolved(void *ctx, const struct image *image, const struct err *why)
{
	struct resolving *g = ctx;
	struct scheduler *s = g->s;
	struct rpc_stream *rpc = g->rpc;
	const struct scheduler_preheat_file_request f = common_of(g->m);
	struct common_download d = download_of(&f);
	struct preheat_request r = { .download = &d };
	struct pb_pair *header = xcalloc(f.n_header + 1, sizeof *header);
	struct err e = { 0 };

	d.enable_task_id_based_blob_digest = g->m->enable_task_id_based_blob_digest || s->core.res.opt.blob_digest_ids;
	d.request_header = header;
	d.n_request_header = 0;
	for (size_t i = 0; i < f.n_header; i++)
		if (!image || !image->authorization.p || !slice_ieq_str(f.header[i].key, "authorization"))
			header[d.n_request_header++] = f.header[i];
	if (image && image->authorization.p)
		header[d.n_request_header++] = (struct pb_pair){ .key = slice_str("Authorization"), .value = image->authorization };
	free(g);
	rpc_stream_set_user(rpc, NULL);
	service_now(s);
	if (!image) {
		err_set(&e, ERR_INVALID_ARGUMENT, "failed to resolve manifests: %s", why->text);
		image_fail(s, rpc, &e);
	} else if (check(&f, IMAGE_NAME, &r, &e) < 0 || preheat_start(s->preheat, &r, image->urls, image->n_urls, &e) < 0) {
		image_fail(s, rpc, &e);
	} else {
		service_reply_empty(rpc);
	}
	free(header);
	service_after(s);
}

static void
image_cancelled(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	struct resolving *g = rpc_stream_user(rpc);

	(void)ctx;
	(void)why;
	if (!g)
		return;
	image_cancel(g->lookup);
	free(g);
}

static void
preheat_image(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_preheat_image_request *m = request;
	const struct scheduler_preheat_file_request f = common_of(m);
	struct preheat_request r = { 0 };
	struct resolving *g;
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.preheat_image++;
	if (s->is_draining)
		err_set(&e, ERR_UNAVAILABLE, "scheduler is going away");
	if (e.code != 0 || check(&f, IMAGE_NAME, &r, &e) < 0) {
		image_fail(s, rpc, &e);
		return;
	}
	g = xcalloc(1, sizeof *g);
	g->s = s;
	g->rpc = rpc;
	g->m = m;
	g->about = (struct image_request){
		.url = m->url, .header = m->header, .n_header = m->n_header, .username = m->username, .password = m->password,
		.platform = m->platform, .certificate_chain = m->certificate_chain, .n_certificate_chain = m->n_certificate_chain,
		.is_insecure = m->insecure_skip_verify };
	g->lookup = image_resolve(s->preheat->images, &g->about, resolved, g, &e);
	if (!g->lookup) {
		free(g);
		image_fail(s, rpc, &e);
		return;
	}
	rpc_stream_set_user(rpc, g);
}

/* ---- the table ---- */

void
preheat_add_methods(struct scheduler *s)
{
	struct rpc_method *m = service_add_method(s, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_PREHEAT_FILE_AT]);

	m->on_message = preheat_file;
	m->on_cancel = preheat_cancelled;
	m = service_add_method(s, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_PREHEAT_IMAGE_AT]);
	m->on_message = preheat_image;
	m->on_cancel = image_cancelled;
	preheat_stat_add_methods(s);
}
