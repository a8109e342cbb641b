/*
 * PreheatFile and StatFile (spec: scheduler.md A13, manager.md B5 to B7).
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
#include "proto/google.h"
#include "proto/scheduler.h"
#include "scheduler/preheat.h"
#include "scheduler/seed.h"
#include "scheduler/service.h"
#include "scheduler/validate.h"
#include "text/url.h"
#include "wire/pb.h"

#define LIST_MS 60000
#define STAT_MS 10000
#define STAT_PEERS_MAX 10000u
#define STAT_ANSWER_BYTES ((size_t)8 << 20)

static void
reply(struct rpc_stream *rpc, const struct pb_desc *desc, const void *msg)
{
	struct err e = { 0 };

	if (rpc_stream_send(rpc, desc, msg, &e) < 0)
		rpc_stream_fail(rpc, &e);
	else
		rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
}

/* The list that clients of the Go scheduler get when they name none. */
static void
default_filters(struct common_download *d)
{
	static const char *const names[] = {
		"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
		"X-Amz-Security-Token", "X-Amz-User-Agent", "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires",
		"X-Goog-SignedHeaders", "X-Goog-Signature", "OSSAccessKeyId", "Expires", "Signature", "SecurityToken", "AccessKeyId", "X-Obs-Date",
		"X-Obs-Security-Token", "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list", "q-url-param-list", "q-signature",
		"x-cos-security-token", "ns",
	};
	static struct slice list[COUNT_OF(names)];

	if (d->n_filtered_query_params > 0)
		return;
	for (size_t i = 0; i < COUNT_OF(names); i++)
		list[i] = slice_str(names[i]);
	d->filtered_query_params = list;
	d->n_filtered_query_params = COUNT_OF(names);
}

/* ---- PreheatFile ---- */

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

static int
check_file(const struct scheduler_preheat_file_request *m, struct preheat_request *out, struct err *e)
{
	static const char name[] = "PreheatFileRequest";

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

	default_filters(&d);
	return d;
}

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
	struct google_empty empty = { 0 };
	struct err e = { 0 };

	if (check_file(m, &r, &e) < 0 || preheat_start(s->preheat, &r, urls, n, &e) < 0) {
		s->core.metrics.preheat_file_failure++;
		rpc_stream_fail(rpc, &e);
	} else {
		reply(rpc, &google_empty_desc, &empty);
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
	if (e.code != 0 || check_file(m, &r, &e) < 0) {
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

/* ---- StatFile ---- */

struct stat_answer {
	char *ip, *hostname;
	bool is_finished;
};

struct stat {
	struct scheduler *s;
	struct rpc_stream *rpc;
	struct slice url;
	char task_id[PREHEAT_ID_SIZE];
	char **hosts;                   /* ids */
	size_t n_hosts, next, running, limit;
	struct list calls;
	struct stat_answer *answers;
	size_t n_answers;
};

struct stat_call {
	struct list link;
	struct stat *stat;
	struct rpc_call *rpc;
	char *host_id;
};

static void
stat_free(struct stat *t)
{
	LIST_EACH(it, next, &t->calls) {
		struct stat_call *c = CONTAINER_OF(it, struct stat_call, link);

		rpc_call_cancel(c->rpc);
		free(c->host_id);
		free(c);
	}
	for (size_t i = 0; i < t->n_hosts; i++)
		free(t->hosts[i]);
	for (size_t i = 0; i < t->n_answers; i++) {
		free(t->answers[i].ip);
		free(t->answers[i].hostname);
	}
	free(t->hosts);
	free(t->answers);
	free(t);
}

static int
by_host(const void *a, const void *b)
{
	const struct stat_answer *x = a, *y = b;
	int order = strcmp(x->ip, y->ip);

	return order != 0 ? order : strcmp(x->hostname, y->hostname);
}

static void
stat_end(struct stat *t)
{
	struct scheduler_stat_file_response m = { .n_peers = t->n_answers };
	struct scheduler_file *files = xcalloc(t->n_answers + 1, sizeof *files);
	struct rpc_stream *rpc = t->rpc;

	if (t->n_answers > 0)
		qsort(t->answers, t->n_answers, sizeof *t->answers, by_host);
	m.peers = xcalloc(t->n_answers + 1, sizeof *m.peers);
	for (size_t i = 0; i < t->n_answers; i++) {
		files[i] = (struct scheduler_file){ .url = t->url, .has_is_finished = true, .is_finished = t->answers[i].is_finished };
		m.peers[i] = (struct scheduler_peer_file){ .ip = slice_str(t->answers[i].ip), .hostname = slice_str(t->answers[i].hostname),
			.cached_files = &files[i], .n_cached_files = 1 };
	}
	rpc_stream_set_user(rpc, NULL);
	reply(rpc, &scheduler_stat_file_response_desc, &m);
	free(m.peers);
	free(files);
	stat_free(t);
}

static void stat_push(struct stat *t);

static void
stat_answered(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct stat_call *c = ctx;
	struct stat *t = c->stat;
	const struct dfdaemon_stat_local_task_response *m = answer;
	const struct sched_host *h = sched_host_find(&t->s->core.res, slice_str(c->host_id));

	(void)st;
	if (m && h) {
		t->answers = xrealloc(t->answers, (t->n_answers + 1) * sizeof *t->answers);
		t->answers[t->n_answers++] = (struct stat_answer){
			.ip = xstrdup(h->ip), .hostname = xstrdup(h->hostname), .is_finished = m->finished_at != NULL };
	}
	list_del(&c->link);
	free(c->host_id);
	free(c);
	t->running--;
	stat_push(t);
}

static void
stat_push(struct stat *t)
{
	struct rpc_call_opts o = { .grpc_timeout_ms = STAT_MS, .headers_ms = STAT_MS, .total_ms = STAT_MS };
	struct dfdaemon_stat_local_task_request m = { .task_id = slice_str(t->task_id) };

	while (t->next < t->n_hosts && t->running < t->limit) {
		const struct sched_host *h = sched_host_find(&t->s->core.res, slice_str(t->hosts[t->next++]));
		struct rpc_channel *ch = h ? service_call_channel(t->s, h->ip, h->port) : NULL;
		struct stat_call *c;

		if (!ch)
			continue;
		c = xcalloc(1, sizeof *c);
		c->stat = t;
		c->host_id = xstrdup(h->id);
		list_add_tail(&t->calls, &c->link);
		t->running++;
		c->rpc = rpc_unary(ch, &dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_STAT_LOCAL_TASK_AT], &m, &o,
			stat_answered, c);
	}
	if (t->next == t->n_hosts && t->running == 0)
		stat_end(t);
}

static void
stat_cancelled(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	struct stat *t = rpc_stream_user(rpc);

	(void)ctx;
	(void)why;
	if (t)
		stat_free(t);
}

static void
stat_file(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_stat_file_request *m = request;
	struct common_download d = {
		.url = m->url, .has_piece_length = m->has_piece_length && m->piece_length > 0, .piece_length = m->piece_length, .tag = m->tag,
		.application = m->application, .filtered_query_params = m->filtered_query_params,
		.n_filtered_query_params = m->n_filtered_query_params,
	};
	struct stat *t = xcalloc(1, sizeof *t);
	struct err e = { 0 };

	service_now(s);
	default_filters(&d);
	list_init(&t->calls);
	if (validate_url("StatFileRequest", "Url", m->url, &e) < 0 || preheat_task_id(&d, t->task_id, &e) < 0) {
		rpc_stream_fail(rpc, &e);
		stat_free(t);
		return;
	}
	t->s = s;
	t->rpc = rpc;
	t->url = m->url;
	t->limit = m->has_concurrent_peer_count && m->concurrent_peer_count > 0 && m->concurrent_peer_count <= 1000 ?
		(size_t)m->concurrent_peer_count : PREHEAT_PEERS_DEFAULT;
	t->hosts = xcalloc(s->core.res.hosts.count + 1, sizeof *t->hosts);
	for (struct list *it = s->core.res.host_list.next; it != &s->core.res.host_list && t->n_hosts < STAT_PEERS_MAX; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (!h->provisional && sched_host_is_fresh(&s->core.res, h))
			t->hosts[t->n_hosts++] = xstrdup(h->id);
	}
	rpc_stream_set_user(rpc, t);
	stat_push(t);
	service_after(s);
}

/* ---- the table ---- */

void
preheat_add_methods(struct scheduler *s)
{
	struct rpc_method *m = service_add_method(s, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_PREHEAT_FILE_AT]);

	m->on_message = preheat_file;
	m->on_cancel = preheat_cancelled;
	m = service_add_method(s, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_FILE_AT]);
	m->on_message = stat_file;
	m->on_cancel = stat_cancelled;
}
