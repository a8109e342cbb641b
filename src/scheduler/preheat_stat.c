/*
 * StatFile and StatImage (spec: manager.md B5, B7): every host is asked for each of the tasks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "proto/scheduler.h"
#include "scheduler/image.h"
#include "scheduler/preheat.h"
#include "scheduler/service.h"
#include "scheduler/validate.h"

#define STAT_MS 10000
#define STAT_PEERS_MAX 10000u
/* Answers kept: of all hosts and layers together. */
#define STAT_ANSWERS_MAX 1000000u

struct stat_answer {
	char *ip, *hostname;
	size_t task;
	bool is_finished;
};

struct stat_task {
	char *url;
	char id[TASK_ID_SIZE];
};

struct stat {
	struct scheduler *s;
	struct rpc_stream *rpc;
	struct common_download download;        /* all but the URL; views into the request, which lives as long as its stream */
	bool is_image;
	struct image_request about;
	struct image_lookup *lookup;
	struct stat_task *tasks;
	size_t n_tasks;
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
	size_t task;
};

static void
stat_free(struct stat *t)
{
	if (t->lookup)
		image_cancel(t->lookup);
	LIST_EACH(it, next, &t->calls) {
		struct stat_call *c = CONTAINER_OF(it, struct stat_call, link);

		rpc_call_cancel(c->rpc);
		free(c->host_id);
		free(c);
	}
	for (size_t i = 0; i < t->n_tasks; i++)
		free(t->tasks[i].url);
	for (size_t i = 0; i < t->n_hosts; i++)
		free(t->hosts[i]);
	for (size_t i = 0; i < t->n_answers; i++) {
		free(t->answers[i].ip);
		free(t->answers[i].hostname);
	}
	free(t->tasks);
	free(t->hosts);
	free(t->answers);
	free(t);
}

/* ---- answers ---- */

static int
by_host(const void *a, const void *b)
{
	const struct stat_answer *x = a, *y = b;
	int order = strcmp(x->ip, y->ip);

	if (order == 0)
		order = strcmp(x->hostname, y->hostname);
	return order != 0 ? order : x->task < y->task ? -1 : x->task > y->task;
}

static bool
is_same_host(const struct stat_answer *x, const struct stat_answer *y)
{
	return strcmp(x->ip, y->ip) == 0 && strcmp(x->hostname, y->hostname) == 0;
}

/* How many answers from `from` on are one host's. */
static size_t
group(const struct stat *t, size_t from)
{
	size_t n = 1;

	while (from + n < t->n_answers && is_same_host(&t->answers[from], &t->answers[from + n]))
		n++;
	return n;
}

static void
answer_file(struct stat *t)
{
	struct scheduler_stat_file_response m = { 0 };
	struct scheduler_file *files = xcalloc(t->n_answers + 1, sizeof *files);

	m.peers = xcalloc(t->n_answers + 1, sizeof *m.peers);
	for (size_t i = 0; i < t->n_answers; i += group(t, i)) {
		struct scheduler_peer_file *p = &m.peers[m.n_peers++];

		*p = (struct scheduler_peer_file){ .ip = slice_str(t->answers[i].ip), .hostname = slice_str(t->answers[i].hostname),
			.cached_files = &files[i], .n_cached_files = 1 };
		files[i] = (struct scheduler_file){ .url = slice_str(t->tasks[0].url), .has_is_finished = true,
			.is_finished = t->answers[i].is_finished };
	}
	service_reply(t->rpc, &scheduler_stat_file_response_desc, &m);
	free(m.peers);
	free(files);
}

static void
answer_image(struct stat *t)
{
	struct scheduler_image image = { .n_layers = t->n_tasks };
	struct scheduler_stat_image_response m = { .image = &image };
	struct scheduler_layer *layers = xcalloc(t->n_answers + 1, sizeof *layers);

	image.layers = xcalloc(t->n_tasks + 1, sizeof *image.layers);
	for (size_t i = 0; i < t->n_tasks; i++)
		image.layers[i].url = slice_str(t->tasks[i].url);
	m.peers = xcalloc(t->n_answers + 1, sizeof *m.peers);
	for (size_t i = 0; i < t->n_answers; i += group(t, i)) {
		struct scheduler_peer_image *p = &m.peers[m.n_peers++];

		*p = (struct scheduler_peer_image){ .ip = slice_str(t->answers[i].ip), .hostname = slice_str(t->answers[i].hostname),
			.cached_layers = &layers[i], .n_cached_layers = group(t, i) };
	}
	for (size_t i = 0; i < t->n_answers; i++)
		layers[i] = (struct scheduler_layer){ .url = slice_str(t->tasks[t->answers[i].task].url), .has_is_finished = true,
			.is_finished = t->answers[i].is_finished };
	service_reply(t->rpc, &scheduler_stat_image_response_desc, &m);
	free(image.layers);
	free(m.peers);
	free(layers);
}

static void
stat_end(struct stat *t)
{
	if (t->n_answers > 0)
		qsort(t->answers, t->n_answers, sizeof *t->answers, by_host);
	rpc_stream_set_user(t->rpc, NULL);
	if (t->is_image)
		answer_image(t);
	else
		answer_file(t);
	stat_free(t);
}

/* ---- questions ---- */

static void stat_push(struct stat *t);

static void
stat_answered(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct stat_call *c = ctx;
	struct stat *t = c->stat;
	const struct dfdaemon_stat_local_task_response *m = answer;
	const struct sched_host *h = sched_host_find(&t->s->core.res, slice_str(c->host_id));

	(void)st;
	if (m && h && t->n_answers < STAT_ANSWERS_MAX) {
		t->answers = xrealloc(t->answers, (t->n_answers + 1) * sizeof *t->answers);
		t->answers[t->n_answers++] = (struct stat_answer){
			.ip = xstrdup(h->ip), .hostname = xstrdup(h->hostname), .task = c->task, .is_finished = m->finished_at != NULL };
	}
	list_del(&c->link);
	free(c->host_id);
	free(c);
	t->running--;
	stat_push(t);
}

/* All tasks of a host, then the next host. */
static void
stat_push(struct stat *t)
{
	struct rpc_call_opts o = { .grpc_timeout_ms = STAT_MS, .headers_ms = STAT_MS, .total_ms = STAT_MS };
	size_t all = t->n_hosts * t->n_tasks;

	while (t->next < all && t->running < t->limit) {
		size_t place = t->next++;
		const struct sched_host *h = sched_host_find(&t->s->core.res, slice_str(t->hosts[place / t->n_tasks]));
		struct rpc_channel *ch = h ? service_call_channel(t->s, h->ip, h->port) : NULL;
		struct dfdaemon_stat_local_task_request m = { .task_id = slice_str(t->tasks[place % t->n_tasks].id) };
		struct stat_call *c;

		if (!ch)
			continue;
		c = xcalloc(1, sizeof *c);
		c->stat = t;
		c->task = place % t->n_tasks;
		c->host_id = xstrdup(h->id);
		list_add_tail(&t->calls, &c->link);
		t->running++;
		c->rpc = rpc_unary(ch, &dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_STAT_LOCAL_TASK_AT], &m, &o,
			stat_answered, c);
	}
	if (t->next == all && t->running == 0)
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
stat_fail(struct stat *t, const struct err *e)
{
	rpc_stream_set_user(t->rpc, NULL);
	rpc_stream_fail(t->rpc, e);
	stat_free(t);
}

/* Asks all hosts for the tasks of these URLs. */
static void
stat_begin(struct stat *t, const struct slice *urls, size_t n)
{
	struct scheduler *s = t->s;
	struct err e;

	t->tasks = xcalloc(n, sizeof *t->tasks);
	for (; t->n_tasks < n; t->n_tasks++) {
		struct common_download d = t->download;

		d.url = urls[t->n_tasks];
		if (preheat_task_id(&d, t->tasks[t->n_tasks].id, &e) < 0) {
			stat_fail(t, &e);
			return;
		}
		t->tasks[t->n_tasks].url = slice_dup(urls[t->n_tasks]);
	}
	t->hosts = xcalloc(s->core.res.hosts.count + 1, sizeof *t->hosts);
	for (struct list *it = s->core.res.host_list.next; it != &s->core.res.host_list && t->n_hosts < STAT_PEERS_MAX; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (!h->provisional && sched_host_is_fresh(&s->core.res, h))
			t->hosts[t->n_hosts++] = xstrdup(h->id);
	}
	stat_push(t);
}

static struct stat *
stat_new(struct scheduler *s, struct rpc_stream *rpc, const struct common_download *d, int64_t peers)
{
	struct stat *t = xcalloc(1, sizeof *t);

	list_init(&t->calls);
	t->s = s;
	t->rpc = rpc;
	t->download = *d;
	preheat_default_filters(&t->download);
	t->limit = peers > 0 && peers <= 1000 ? (size_t)peers : PREHEAT_PEERS_DEFAULT;
	rpc_stream_set_user(rpc, t);
	return t;
}

static void
stat_file(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_stat_file_request *m = request;
	const struct common_download d = {
		.has_piece_length = m->has_piece_length && m->piece_length > 0, .piece_length = m->piece_length, .tag = m->tag,
		.application = m->application, .filtered_query_params = m->filtered_query_params,
		.n_filtered_query_params = m->n_filtered_query_params,
	};
	struct stat *t = stat_new(s, rpc, &d, m->concurrent_peer_count);
	struct err e = { 0 };

	service_now(s);
	if (validate_url("StatFileRequest", "Url", m->url, &e) < 0)
		stat_fail(t, &e);
	else
		stat_begin(t, &m->url, 1);
	service_after(s);
}

static void
resolved(void *ctx, const struct image *image, const struct err *why)
{
	struct stat *t = ctx;
	struct scheduler *s = t->s;
	struct err e;

	t->lookup = NULL;
	service_now(s);
	if (image) {
		stat_begin(t, image->urls, image->n_urls);
	} else {
		err_set(&e, ERR_INVALID_ARGUMENT, "failed to resolve manifests: %s", why->text);
		stat_fail(t, &e);
	}
	service_after(s);
}

static void
stat_image(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_stat_image_request *m = request;
	const struct common_download d = {
		.has_piece_length = m->has_piece_length && m->piece_length > 0, .piece_length = m->piece_length, .tag = m->tag,
		.application = m->application, .filtered_query_params = m->filtered_query_params,
		.n_filtered_query_params = m->n_filtered_query_params,
		.enable_task_id_based_blob_digest = m->enable_task_id_based_blob_digest || s->core.res.opt.blob_digest_ids,
	};
	struct stat *t = stat_new(s, rpc, &d, m->concurrent_peer_count);
	struct err e = { 0 };

	t->is_image = true;
	t->about = (struct image_request){
		.url = m->url, .header = m->header, .n_header = m->n_header, .username = m->username, .password = m->password,
		.platform = m->platform, .certificate_chain = m->certificate_chain, .n_certificate_chain = m->n_certificate_chain,
		.is_insecure = m->insecure_skip_verify };
	if (validate_url("StatImageRequest", "Url", m->url, &e) == 0)
		t->lookup = image_resolve(s->preheat->images, &t->about, resolved, t, &e);
	if (!t->lookup)
		stat_fail(t, &e);
}

void
preheat_stat_add_methods(struct scheduler *s)
{
	struct rpc_method *m = service_add_method(s, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_FILE_AT]);

	m->on_message = stat_file;
	m->on_cancel = stat_cancelled;
	m = service_add_method(s, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_IMAGE_AT]);
	m->on_message = stat_image;
	m->on_cancel = stat_cancelled;
}
