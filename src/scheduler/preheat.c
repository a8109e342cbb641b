#include "scheduler/preheat.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/rpc_client.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "scheduler/image.h"
#include "scheduler/seed.h"
#include "scheduler/service.h"
#include "text/url.h"
#include "wire/pb.h"

#define HEADERS_MS 30000
#define IDLE_MS 600000
#define ANSWER_MAX (4u * 1024 * 1024)
#define DOWNLOAD_ARENA_BYTES (8u * 1024 * 1024)

/* One URL of a job on its way. */
struct task {
	struct list link;
	struct job *job;
	size_t url;
	char **hosts;                   /* ids, still to be asked from `next` on */
	size_t n_hosts, next, running;
};

struct job {
	struct list link;
	struct preheat *all;
	uint64_t number;
	struct arena arena;
	struct common_download download;
	char **urls;
	size_t n_urls, next;
	enum preheat_scope scope;
	char **hosts;                   /* ids of the scopes that do not depend on the URL */
	size_t n_hosts;
	uint32_t tasks_max, peers_max;
	struct list tasks;
	size_t n_tasks;
	size_t ok, failed;
	struct err first;               /* failure */
	struct loop_timer deadline;
	struct loop_later later;
};

struct call {
	struct list link;
	struct task *task;
	struct rpc_call *rpc;
	char *host_id;
};

static void go_on(struct job *j);

/* ---- task ids ---- */

int
preheat_task_id(const struct common_download *d, char out[TASK_ID_SIZE], struct err *e)
{
	return task_id_of_key(&(struct task_key){
		.url = d->url, .filtered_query_params = d->filtered_query_params, .n_filtered_query_params = d->n_filtered_query_params,
		.tag = d->tag, .application = d->application, .has_piece_length = d->has_piece_length, .piece_length = d->piece_length,
		.is_blob_digest = d->enable_task_id_based_blob_digest }, out, e);
}

/* ---- hosts ---- */

static bool
has_ip(const struct preheat_request *r, const struct sched_host *h)
{
	for (size_t i = 0; i < r->n_ips; i++)
		if (slice_eq_str(r->ips[i], h->ip))
			return true;
	return false;
}

static bool
is_in_scope(const struct preheat *p, const struct preheat_request *r, const struct sched_host *h)
{
	return !h->provisional && sched_host_is_fresh(&p->s->core.res, h) && (h->type == 1) == (r->scope == PREHEAT_ALL_SEEDS) &&
		(r->n_ips == 0 || has_ip(r, h));
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Ids of the hosts of a scope, in order: all, or those that count or percentage leave, from another one on for each first URL. */
static int
choose_hosts(struct job *j, const struct preheat_request *r, struct slice first_url, struct err *e)
{
	struct preheat *p = j->all;
	size_t n = 0, want, from;
	char **all;

	all = xcalloc(p->s->core.res.hosts.count + 1, sizeof *all);
	for (struct list *it = p->s->core.res.host_list.next; it != &p->s->core.res.host_list; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (is_in_scope(p, r, h))
			all[n++] = xstrdup(h->id);
	}
	if (n == 0) {
		free(all);
		if (r->n_ips > 0)
			return err_set(e, ERR_FAILED_PRECONDITION, "no %s found for the given ips",
				r->scope == PREHEAT_ALL_SEEDS ? "seed peer" : "peer");
		return err_set(e, ERR_FAILED_PRECONDITION, "no available %s", r->scope == PREHEAT_ALL_SEEDS ? "seed peer" : "peer");
	}
	qsort(all, n, sizeof *all, by_text);
	want = r->n_ips > 0 ? n : r->count > 0 ? r->count : r->percentage > 0 ? n * r->percentage / 100 : n;
	want = want < 1 ? 1 : want > n ? n : want;
	from = want < n ? crc32_update(0, first_url.p, first_url.n) % n : 0;
	j->hosts = xcalloc(want, sizeof *j->hosts);
	j->n_hosts = want;
	for (size_t i = 0; i < n; i++) {
		size_t place = (i + n - from) % n;

		if (place < want)
			j->hosts[place] = all[i];
		else
			free(all[i]);
	}
	free(all);
	return 0;
}

/* ---- the end ---- */

static void
task_free(struct task *t)
{
	list_del(&t->link);
	t->job->n_tasks--;
	for (size_t i = 0; i < t->n_hosts; i++)
		free(t->hosts[i]);
	free(t->hosts);
	free(t);
}

static void
call_free(struct call *c)
{
	c->task->running--;
	c->task->job->all->n_calls--;
	list_del(&c->link);
	free(c->host_id);
	free(c);
}

static void
job_free(struct job *j)
{
	struct preheat *p = j->all;

	LIST_EACH(it, next, &p->calls) {
		struct call *c = CONTAINER_OF(it, struct call, link);

		if (c->task->job != j)
			continue;
		rpc_call_cancel(c->rpc);
		call_free(c);
	}
	LIST_EACH(it, next, &j->tasks)
		task_free(CONTAINER_OF(it, struct task, link));
	loop_timer_clear(p->s->loop, &j->deadline);
	loop_defer_clear(&j->later);
	list_del(&j->link);
	p->n_jobs--;
	for (size_t i = 0; i < j->n_urls; i++)
		free(j->urls[i]);
	free(j->urls);
	for (size_t i = 0; i < j->n_hosts; i++)
		free(j->hosts[i]);
	free(j->hosts);
	arena_free(&j->arena);
	free(j);
}

static void
job_end(struct job *j, const char *how)
{
	struct scheduler_metrics *m = &j->all->s->core.metrics;

	if (j->failed > 0 || j->next < j->n_urls)
		log_warn("preheat %s job=%llu urls=%zu ok=%zu failed=%zu error=\"%s\"", how, (unsigned long long)j->number, j->n_urls, j->ok,
			j->failed, j->first.text);
	else
		log_info("preheat %s job=%llu urls=%zu ok=%zu", how, (unsigned long long)j->number, j->n_urls, j->ok);
	if (j->ok == 0)
		m->preheat_job_failure++;
	job_free(j);
}

static void
on_deadline(void *ctx)
{
	job_end(ctx, "timed out");
}

static void
note_failure(struct job *j, int code, const char *text)
{
	j->failed++;
	if (j->first.code == 0)
		err_set(&j->first, code, "%s", text);
}

/* ---- calls ---- */

static void
said(struct rpc_call *rpc, void *ctx, struct slice msg)
{
	(void)rpc;
	(void)ctx;
	(void)msg;
}

static void
ended(struct rpc_call *rpc, void *ctx, const struct rpc_status *st)
{
	struct call *c = ctx;
	struct job *j = c->task->job;
	char shown[URL_REDACTED_MAX];

	(void)rpc;
	service_now(j->all->s);
	if (st->code == ERR_OK) {
		j->ok++;
	} else {
		log_warn("preheat failed at a host job=%llu url=\"%s\" host=%s code=%s error=\"%s\"", (unsigned long long)j->number,
			url_redact_text(slice_str(j->urls[c->task->url]), shown), c->host_id, err_code_name(st->code), st->message);
		note_failure(j, st->code, st->message);
	}
	call_free(c);
	go_on(j);
}

/* False when it cannot be called. */
static bool
call_host(struct task *t, const char *host_id)
{
	static const struct rpc_call_events events = { .on_message = said, .on_end = ended };
	struct rpc_call_opts o = { .headers_ms = HEADERS_MS, .message_ms = IDLE_MS, .message_max = ANSWER_MAX };
	struct job *j = t->job;
	struct preheat *p = j->all;
	const struct sched_host *h = sched_host_find(&p->s->core.res, slice_str(host_id));
	struct rpc_channel *ch = h ? service_call_channel(p->s, h->ip, h->port) : NULL;
	struct common_download d = j->download;
	struct dfdaemon_download_task_request m = { .download = &d };
	struct call *c;

	if (!ch)
		return false;
	d.url = slice_str(j->urls[t->url]);
	c = xcalloc(1, sizeof *c);
	c->task = t;
	c->host_id = xstrdup(host_id);
	list_add_tail(&p->calls, &c->link);
	p->n_calls++;
	t->running++;
	c->rpc = rpc_call_start(ch, DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_TASK, &events, c, &o);
	rpc_call_send(c->rpc, &dfdaemon_download_task_request_desc, &m, NULL);
	rpc_call_half_close(c->rpc);
	return true;
}

/* ---- the job's course ---- */

static void
choose_seed(struct task *t)
{
	struct job *j = t->job;
	struct sched_core *core = &j->all->s->core;
	struct common_download d = j->download;
	char id[TASK_ID_SIZE];
	struct sched_host *h;
	struct err e;

	d.url = slice_str(j->urls[t->url]);
	if (preheat_task_id(&d, id, &e) < 0) {
		note_failure(j, e.code, e.text);
		return;
	}
	h = seed_ring_find(&core->seeds, &core->res, id, NULL);
	if (!h) {
		note_failure(j, ERR_FAILED_PRECONDITION, "no available seed peer");
		return;
	}
	t->hosts = xcalloc(1, sizeof *t->hosts);
	t->hosts[t->n_hosts++] = xstrdup(h->id);
}

static void
begin_url(struct job *j)
{
	struct task *t = xcalloc(1, sizeof *t);

	t->job = j;
	t->url = j->next++;
	list_add_tail(&j->tasks, &t->link);
	j->n_tasks++;
	if (j->scope == PREHEAT_SINGLE_SEED) {
		choose_seed(t);
		return;
	}
	t->n_hosts = j->n_hosts;
	t->hosts = xcalloc(t->n_hosts, sizeof *t->hosts);
	for (size_t i = 0; i < t->n_hosts; i++)
		t->hosts[i] = xstrdup(j->hosts[i]);
}

/* True when nothing of it is left. */
static bool
push(struct task *t)
{
	struct job *j = t->job;

	while (t->next < t->n_hosts && t->running < j->peers_max && j->all->n_calls < PREHEAT_CALLS_MAX) {
		const char *host_id = t->hosts[t->next++];

		if (!call_host(t, host_id))
			note_failure(j, ERR_UNAVAILABLE, "host is gone");
	}
	return t->next == t->n_hosts && t->running == 0;
}

static void
go_on_later(struct loop_later *later)
{
	struct job *j = CONTAINER_OF(later, struct job, later);

	service_now(j->all->s);
	LIST_EACH(it, next, &j->tasks) {
		struct task *t = CONTAINER_OF(it, struct task, link);

		if (push(t))
			task_free(t);
	}
	while (j->next < j->n_urls && j->n_tasks < j->tasks_max) {
		struct task *t;

		begin_url(j);
		t = CONTAINER_OF(j->tasks.prev, struct task, link);
		if (push(t))
			task_free(t);
	}
	if (j->n_tasks == 0)
		job_end(j, "ended");
}

static void
go_on(struct job *j)
{
	/* Calls that ended make room for those of all jobs. */
	LIST_EACH(it, next, &j->all->jobs)
		loop_defer(j->all->s->loop, &CONTAINER_OF(it, struct job, link)->later, go_on_later);
}

int
preheat_start(struct preheat *p, const struct preheat_request *r, const struct slice *urls, size_t n_urls, struct err *e)
{
	char shown[URL_REDACTED_MAX];
	struct job *j;

	if (p->n_jobs >= PREHEAT_JOBS_MAX)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %u preheat jobs at once", PREHEAT_JOBS_MAX);
	if (n_urls > PREHEAT_URLS_MAX)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %u urls to preheat at once", PREHEAT_URLS_MAX);
	j = xcalloc(1, sizeof *j);
	j->all = p;
	j->number = ++p->numbers;
	j->scope = r->scope;
	j->tasks_max = r->tasks > 0 ? r->tasks : PREHEAT_TASKS_DEFAULT;
	j->peers_max = r->peers > 0 ? r->peers : PREHEAT_PEERS_DEFAULT;
	list_init(&j->tasks);
	list_init(&j->later.link);
	list_add_tail(&p->jobs, &j->link);
	p->n_jobs++;
	arena_init(&j->arena, DOWNLOAD_ARENA_BYTES);
	if (pb_copy(&common_download_desc, r->download, &j->arena, &j->download, e) < 0)
		goto fail;
	if (r->scope != PREHEAT_SINGLE_SEED && choose_hosts(j, r, urls[0], e) < 0)
		goto fail;
	if (r->scope == PREHEAT_SINGLE_SEED && !seed_ring_find(&p->s->core.seeds, &p->s->core.res, "", NULL)) {
		err_set(e, ERR_FAILED_PRECONDITION, "no available seed peer");
		goto fail;
	}
	j->urls = xcalloc(n_urls, sizeof *j->urls);
	for (; j->n_urls < n_urls; j->n_urls++)
		j->urls[j->n_urls] = slice_dup(urls[j->n_urls]);
	loop_timer_set(p->s->loop, &j->deadline, r->timeout_ms > 0 && r->timeout_ms < PREHEAT_TIMEOUT_MAX_MS ? r->timeout_ms :
		PREHEAT_TIMEOUT_MS, on_deadline, j);
	log_info("preheat begins job=%llu urls=%zu first=\"%s\" hosts=%zu", (unsigned long long)j->number, j->n_urls,
		url_redact_text(slice_str(j->urls[0]), shown), j->n_hosts);
	go_on(j);
	return 0;
fail:
	job_free(j);
	return -1;
}

/* ---- life ---- */

struct preheat *
preheat_new(struct scheduler *s)
{
	struct preheat *p = xcalloc(1, sizeof *p);

	p->s = s;
	list_init(&p->jobs);
	list_init(&p->calls);
	p->images = image_client_new(s->loop, s->core.res.opt.allow_loopback);
	return p;
}

void
preheat_free(struct preheat *p)
{
	if (!p)
		return;
	LIST_EACH(it, next, &p->jobs)
		job_free(CONTAINER_OF(it, struct job, link));
	image_client_free(p->images);
	free(p);
}
