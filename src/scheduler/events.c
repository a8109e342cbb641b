/*
 * What peers say, and what it does to them: registration, the steps of a download, pieces, the end.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/common.h"
#include "proto/google.h"
#include "scheduler/decide.h"
#include "scheduler/evaluate.h"
#include "text/regex.h"

#define PRIORITY_MAX 6u
/* A holder that nobody used for so long and that two children could not reach is forgotten. */
#define HOLDER_UNUSED_MS ((int64_t)12 * 3600 * 1000)
#define HOLDER_FAILS 2u
/* An orphan's host is asked after this time whether the task got finished without us. */
#define PROBE_FIRST_MS 30000

struct sched_application {
	char *name;
	uint32_t value;
	struct {
		struct regex *regex;
		uint32_t value;
	} *urls;
	size_t n_urls;
};

/* ---- life of the core ---- */

static int
add_application(struct sched_core *s, const struct scheduler_application *from, struct err *e)
{
	struct sched_application *a = &s->applications[s->n_applications++];

	a->name = xstrdup(from->name ? from->name : "");
	a->value = from->value;
	a->urls = xcalloc(from->n_urls ? from->n_urls : 1, sizeof *a->urls);
	for (size_t i = 0; i < from->n_urls; i++) {
		a->urls[i].regex = regex_compile(from->urls[i].regex, strlen(from->urls[i].regex), e);
		if (!a->urls[i].regex)
			return err_wrap(e, "application %s: expression %s", a->name, from->urls[i].regex);
		a->urls[i].value = from->urls[i].value;
		a->n_urls++;
	}
	return 0;
}

int
sched_core_init(struct sched_core *s, const struct scheduler_options *opt, const struct sched_output *out, void *ctx,
	int64_t now_ms, int64_t wall_ms, struct err *e)
{
	memset(s, 0, sizeof *s);
	sched_resources_init(&s->res, opt);
	s->res.now_ms = now_ms;
	s->res.wall_ms = wall_ms - now_ms;
	s->out = *out;
	s->ctx = ctx;
	s->seeds.is_stale = true;
	list_init(&s->triggers);
	list_init(&s->dirty);
	list_init(&s->bereft);
	heap_init(&s->checks);
	heap_init(&s->refreshes);
	heap_init(&s->probes);
	s->started_ms = s->refresh_at_ms = s->probe_at_ms = s->gc_at_ms = s->host_gc_at_ms = now_ms;
	sched_core_hook(s);
	s->applications = xcalloc(opt->n_applications ? opt->n_applications : 1, sizeof *s->applications);
	for (size_t i = 0; i < opt->n_applications; i++)
		if (add_application(s, &opt->applications[i], e) < 0) {
			sched_core_free(s);
			return -1;
		}
	return 0;
}

void
sched_core_free(struct sched_core *s)
{
	while (!list_is_empty(&s->triggers)) {
		struct sched_trigger *g = CONTAINER_OF(s->triggers.next, struct sched_trigger, all);

		list_del(&g->all);
		list_del(&g->in_task);
		free(g->download);
		free(g);
	}
	sched_resources_free(&s->res);
	seed_ring_free(&s->seeds);
	heap_free(&s->checks);
	heap_free(&s->refreshes);
	heap_free(&s->probes);
	for (size_t i = 0; i < s->n_applications; i++) {
		for (size_t j = 0; j < s->applications[i].n_urls; j++)
			regex_free(s->applications[i].urls[j].regex);
		free(s->applications[i].urls);
		free(s->applications[i].name);
	}
	free(s->applications);
}

uint32_t
sched_priority(const struct sched_core *s, const struct sched_task *t, uint32_t asked)
{
	if (asked != 0 || !t->application)
		return asked;
	for (size_t i = 0; i < s->n_applications; i++) {
		const struct sched_application *a = &s->applications[i];

		if (strcmp(a->name, t->application) != 0)
			continue;
		for (size_t j = 0; j < a->n_urls; j++)
			if (regex_search(a->urls[j].regex, t->url, strlen(t->url)))
				return a->urls[j].value;
		return a->value;
	}
	return 0;
}

/* ---- register ---- */

static int
check_limits(const struct sched_register *req, struct err *e)
{
	const struct common_download *d = req->download;
	size_t headers = 0;

	if (req->host_id.n > SCHED_ID_MAX || req->task_id.n > SCHED_ID_MAX || req->peer_id.n > SCHED_ID_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "host, task or peer id is longer than %u bytes", SCHED_ID_MAX);
	if (d->url.n > SCHED_URL_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "url is longer than %u bytes", SCHED_URL_MAX);
	if (d->tag.n > SCHED_NAME_MAX || d->application.n > SCHED_NAME_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "tag or application is longer than %u bytes", SCHED_NAME_MAX);
	if (d->n_filtered_query_params > SCHED_PARAMS_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "more than %u filtered query parameters", SCHED_PARAMS_MAX);
	for (size_t i = 0; i < d->n_request_header; i++)
		headers += d->request_header[i].key.n + d->request_header[i].value.n;
	if (headers > SCHED_HEADERS_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "request headers are longer than %u bytes", SCHED_HEADERS_MAX);
	if (d->has_actual_piece_count && d->actual_piece_count > SCHED_PIECES_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "more than %u pieces", SCHED_PIECES_MAX);
	return 0;
}

static void
describe_task(struct sched_core *s, struct sched_task *t, const struct common_download *d)
{
	struct sched_resources *r = &s->res;
	int64_t length = d->has_actual_content_length && d->actual_content_length <= INT64_MAX ? (int64_t)d->actual_content_length : -1;

	sched_task_set_text(r, t, &t->url, d->url.p ? d->url : slice_str(""));
	sched_task_set_text(r, t, &t->digest, d->digest);
	sched_task_set_text(r, t, &t->tag, d->tag);
	sched_task_set_text(r, t, &t->application, d->application);
	if (t->n_params != d->n_filtered_query_params || t->n_params > 0)
		sched_task_set_params(t, d->filtered_query_params, d->n_filtered_query_params);
	/* The content changed at the origin: what was known holds only while somebody has the old one. */
	if (length >= 0 && t->content_length >= 0 && length != t->content_length && t->n_servers == 0 && t->n_sources == 0) {
		t->content_length = -1;
		t->piece_length = 0;
		t->piece_count = 0;
	}
	sched_task_set_lengths(r, t, d->has_actual_piece_length ? d->actual_piece_length : 0, length,
		d->has_actual_piece_count ? d->actual_piece_count : 0);
}

static int
fsm_error(struct sched_core *s, struct sched_peer *p, const char *event, struct err *e)
{
	const char *state = scheduler_peer_state_names[p->state];

	err_set(e, ERR_INTERNAL, "event %s inappropriate in current state %s", event, state);
	if (p->state != SCHED_PEER_SUCCEEDED)
		sched_fail_peer(s, p);
	return -1;
}

int
sched_register_again(struct sched_core *s, struct sched_peer *p, struct err *e)
{
	return fsm_error(s, p, p->state == SCHED_PEER_RECEIVED_EMPTY ? "RegisterEmpty" : "RegisterNormal", e);
}

/* A peer whose stream broke comes back on a new one: it starts over with the pieces it had. */
static void
restart_peer(struct sched_core *s, struct sched_peer *p)
{
	if (p->state == SCHED_PEER_SUCCEEDED)
		p->n_finished = 0;
	sched_peer_set_state(&s->res, p, SCHED_PEER_PENDING);
	heap_del(&s->probes, &p->probe);
	p->is_full = false;
	p->is_whole = false;
	p->is_orphan = false;
	p->probes = 0;
	p->answers = 0;
	p->piece_ms = 0;
	p->is_granted = false;
	sched_peer_place_source(p);
	list_del(&p->hungry);
	sched_edges_drop_parents(&s->res, p);
}

static void
describe_peer(struct sched_core *s, struct sched_peer *p, const struct sched_register *req)
{
	const struct common_download *d = req->download;
	uint32_t pieces = d->has_concurrent_piece_count && d->concurrent_piece_count ? d->concurrent_piece_count : 8;
	uint32_t priority = sched_priority(s, p->task, (uint32_t)d->priority);

	p->priority = (uint8_t)(priority <= PRIORITY_MAX ? priority : 0);
	p->need_source = d->need_back_to_source;
	p->no_source = d->disable_back_to_source;
	p->is_live = req->is_live;
	p->is_whole = d->metadata_only && !d->need_back_to_source;
	p->concurrent_pieces = pieces < SCHED_CONCURRENT_PIECES_MAX ? pieces : SCHED_CONCURRENT_PIECES_MAX;
	p->has_range = false;
	if (d->range && !p->is_whole)
		sched_peer_set_range(p, d->range->start, d->range->length);
}

static void
answer_now(struct sched_core *s, struct sched_peer *p, enum sched_peer_state state, enum sched_answer_kind kind)
{
	struct sched_answer a = { kind, NULL };

	sched_peer_set_state(&s->res, p, state);
	p->answers++;
	s->metrics.schedule_duration[0]++;
	s->metrics.schedule_duration_count++;
	s->out.answer(s->ctx, p, &a);
}

/* Finds or makes host, task and peer. */
static struct sched_peer *
admit(struct sched_core *s, const struct sched_register *req, void *stream, struct err *e)
{
	struct sched_resources *r = &s->res;
	struct sched_host *h = sched_host_find(r, req->host_id);
	struct sched_task *t = sched_task_find(r, req->task_id);
	struct sched_peer *p = sched_peer_find(r, req->peer_id);

	if (!h && r->opt.strict_hosts) {
		err_set(e, ERR_NOT_FOUND, "host %.*s not found", SLICE_ARG(req->host_id));
		return NULL;
	}
	if (p && (p->stream || !h || p->host != h || p->task != t)) {
		if (p->host == h)
			fsm_error(s, p, "RegisterNormal", e);
		else
			err_set(e, ERR_INTERNAL, "event RegisterNormal inappropriate in current state %s",
				scheduler_peer_state_names[p->state]);
		return NULL;
	}
	if (!p && r->memory > r->opt.memory_limit) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "scheduler holds %llu bytes of peers, no more are taken",
			(unsigned long long)r->memory);
		return NULL;
	}
	if (!h && !(h = sched_host_provisional(r, req->host_id))) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %u hosts", SCHED_HOSTS_MAX);
		return NULL;
	}
	if (h->streams >= SCHED_STREAMS_PER_HOST_MAX) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "host %s has %u peers at work, no more are taken", h->id, h->streams);
		return NULL;
	}
	if (!t && !(t = sched_task_new(r, req->task_id, (uint32_t)req->download->type))) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %u tasks", SCHED_TASKS_MAX);
		return NULL;
	}
	describe_task(s, t, req->download);
	if (p)
		restart_peer(s, p);
	else
		p = sched_peer_new(r, req->peer_id, t, h);
	p->stream = stream;
	h->streams++;
	return p;
}

int
sched_register(struct sched_core *s, const struct sched_register *req, void *stream, struct sched_peer **out, struct err *e)
{
	const struct common_download *d = req->download;
	struct sched_trigger *own;
	struct sched_peer *p;
	bool is_empty;

	if (check_limits(req, e) < 0 || !(p = admit(s, req, stream, e)))
		return -1;
	*out = p;
	describe_peer(s, p, req);
	p->asked_ms = p->updated_ms = s->res.now_ms;
	if (p->priority == 1) {
		sched_fail_peer(s, p);
		return err_set(e, ERR_FAILED_PRECONDITION, "LEVEL1 peer is forbidden");
	}
	own = sched_own_trigger(p);
	if (own)
		sched_trigger_live(s, own);
	p->task->state = SCHED_TASK_RUNNING;
	if (p->is_whole) {
		answer_now(s, p, SCHED_PEER_RECEIVED_NORMAL, SCHED_ANSWER_METADATA);
		return 0;
	}
	is_empty = d->has_actual_content_length ? d->actual_content_length == 0 : p->task->content_length == 0;
	if (is_empty) {
		answer_now(s, p, SCHED_PEER_RECEIVED_EMPTY, SCHED_ANSWER_EMPTY);
		return 0;
	}
	sched_peer_set_state(&s->res, p, SCHED_PEER_RECEIVED_NORMAL);
	s->asking = d;
	sched_decide(s, p);
	s->asking = NULL;
	if (!p->is_waiting)
		sched_forget_download(s, p);
	return 0;
}

/* ---- steps of a download ---- */

static void
new_server(struct sched_core *s, struct sched_peer *p)
{
	sched_mark_dirty(s, p->task);
	if (p->server_slot > 0)
		sched_mark_hungry(s, p->task);
}

int
sched_started(struct sched_core *s, struct sched_peer *p, struct err *e)
{
	s->metrics.download_peer_started++;
	if (p->state == SCHED_PEER_RUNNING)
		return 0;
	if (p->state != SCHED_PEER_RECEIVED_EMPTY && p->state != SCHED_PEER_RECEIVED_NORMAL)
		return fsm_error(s, p, "Download", e);
	sched_stop_waiting(s, p);
	p->is_granted = false;
	sched_peer_set_state(&s->res, p, SCHED_PEER_RUNNING);
	new_server(s, p);
	return 0;
}

/* Who gave nothing new a moment ago will have all now: the short blocks of a Reschedule end. */
static void
lift_short_blocks(struct sched_core *s, struct sched_peer *p)
{
	for (struct list *it = p->task->peers.next; it != &p->task->peers; it = it->next) {
		struct sched_peer *c = CONTAINER_OF(it, struct sched_peer, in_task);

		for (uint32_t i = 0; i < c->n_blocks; i++)
			if (c->blocks[i].host == p->host->number &&
				c->blocks[i].until_ms <= s->res.now_ms + SCHED_RESCHEDULE_BLOCK_MS)
				c->blocks[i].until_ms = s->res.now_ms;
	}
}

int
sched_source_started(struct sched_core *s, struct sched_peer *p, struct err *e)
{
	struct sched_task *t = p->task;

	s->metrics.download_peer_back_to_source_started++;
	if (p->state != SCHED_PEER_RECEIVED_EMPTY && p->state != SCHED_PEER_RECEIVED_NORMAL && p->state != SCHED_PEER_RUNNING)
		return fsm_error(s, p, "DownloadBackToSource", e);
	sched_stop_waiting(s, p);
	if (t->n_sources == 0 && list_is_empty(&t->triggers))
		t->progress_ms = s->res.now_ms;
	sched_peer_set_state(&s->res, p, SCHED_PEER_BACK_TO_SOURCE);
	p->depth = 0;
	lift_short_blocks(s, p);
	new_server(s, p);
	return 0;
}

int
sched_reschedule(struct sched_core *s, struct sched_peer *p, const struct slice *parent_ids, size_t n, struct err *e)
{
	if (p->state != SCHED_PEER_RECEIVED_NORMAL && p->state != SCHED_PEER_RUNNING)
		return fsm_error(s, p, "Reschedule", e);
	sched_stop_waiting(s, p);
	for (size_t i = 0; i < n; i++) {
		struct sched_peer *a = sched_peer_find(&s->res, parent_ids[i]);
		bool has_gained = false;

		if (!a || a == p || a->task != p->task)
			continue;
		for (uint32_t j = 0; j < p->n_parents; j++)
			if (p->parents[j].parent == a)
				has_gained = a->n_finished > p->parents[j].have;
		/* Somebody who has all and gave nothing at all since the last answer does not serve this child. */
		if (sched_is_anchor(a, p) && (a->state == SCHED_PEER_BACK_TO_SOURCE || p->n_finished > p->n_at_answer))
			continue;
		if (a->state != SCHED_PEER_SUCCEEDED && has_gained)
			continue;
		sched_peer_block(&s->res, p, a->host, SCHED_RESCHEDULE_BLOCK_MS);
	}
	p->is_granted = false;
	sched_peer_place_source(p);
	list_del(&p->hungry);
	sched_edges_drop_parents(&s->res, p);
	sched_mark_dirty(s, p->task);
	p->asked_ms = p->updated_ms = s->res.now_ms;
	sched_decide(s, p);
	return 0;
}

int
sched_finished(struct sched_core *s, struct sched_peer *p, bool from_source, struct err *e)
{
	struct sched_task *t = p->task;

	(void)from_source;
	s->metrics.download_peer_finished++;
	if (p->state < SCHED_PEER_RECEIVED_EMPTY || p->state > SCHED_PEER_BACK_TO_SOURCE)
		return fsm_error(s, p, "DownloadSucceeded", e);
	sched_stop_waiting(s, p);
	p->cost_ms = s->res.now_ms - p->created_ms;
	sched_peer_set_state(&s->res, p, SCHED_PEER_SUCCEEDED);
	if (p->is_whole)
		p->is_full = true;
	if (!p->has_range)
		t->state = SCHED_TASK_SUCCEEDED;
	t->updated_ms = s->res.now_ms;
	new_server(s, p);
	sched_close(s, p, ERR_OK, NULL);
	sched_limit_holders(s, t);
	return 0;
}

int
sched_failed(struct sched_core *s, struct sched_peer *p, bool from_source, struct err *e)
{
	struct sched_task *t = p->task;

	s->metrics.download_peer_finished_failure++;
	if (p->state >= SCHED_PEER_FAILED)
		return fsm_error(s, p, "DownloadFailed", e);
	sched_fail_peer(s, p);
	if (from_source && t->n_servers == 0 && t->state == SCHED_TASK_RUNNING)
		t->state = SCHED_TASK_FAILED;
	sched_close(s, p, ERR_OK, NULL);
	return 0;
}

/* ---- pieces ---- */

static int64_t
duration_ms(const struct google_duration *d)
{
	if (!d || d->seconds < 0 || d->nanos < 0 || d->seconds > INT32_MAX)
		return 0;
	return d->seconds * 1000 + d->nanos / 1000000;
}

void
sched_piece_finished(struct sched_core *s, struct sched_peer *p, const struct common_piece *piece, bool from_source)
{
	struct sched_resources *r = &s->res;
	unsigned traffic = from_source ? 0 : piece->has_traffic_type && piece->traffic_type == 2 ? 2 : 1;
	unsigned type = p->task->type < SCHEDULER_TASK_TYPES ? p->task->type : 0, host = p->host->type == 1;
	bool was_stalled, was_server = p->server_slot > 0;

	s->metrics.download_piece_finished[traffic][type][host]++;
	s->metrics.traffic[traffic][type][host] += piece->length;
	if (piece->number >= (p->task->piece_count ? p->task->piece_count : SCHED_PIECES_MAX))
		return;
	was_stalled = was_server && sched_is_stalled(r, p);
	p->updated_ms = p->piece_ms = p->task->updated_ms = r->now_ms;
	sched_peer_add_cost(p, duration_ms(piece->cost));
	sched_peer_set_piece(r, p, piece->number);
	if (!list_is_empty(&p->source))
		p->task->progress_ms = r->now_ms;
	if (!from_source && traffic == 1 && piece->parent_id.n > 0) {
		struct sched_peer *parent = sched_peer_find(r, piece->parent_id);

		if (parent && parent->task == p->task && parent != p) {
			parent->updated_ms = r->now_ms;
			parent->sync_fails = 0;
			sched_host_served(r, parent->host, piece->length, duration_ms(piece->cost));
		}
	}
	if (p->state != SCHED_PEER_RUNNING && p->state != SCHED_PEER_BACK_TO_SOURCE)
		return;
	sched_peer_place(r, p);
	if ((!was_server && p->server_slot > 0) || was_stalled || p->n_finished == 1)
		new_server(s, p);
}

void
sched_piece_failed(struct sched_core *s, struct sched_peer *p, struct slice parent_id)
{
	struct sched_resources *r = &s->res;
	struct sched_peer *a = sched_peer_find(r, parent_id);

	s->metrics.download_piece_finished_failure++;
	p->updated_ms = r->now_ms;
	if (!a || a == p || a->task != p->task)
		return;
	sched_host_failed(r, a->host);
	sched_peer_block(r, p, a->host, r->opt.block_ttl_ms);
	if (a->state == SCHED_PEER_SUCCEEDED && r->now_ms - a->updated_ms > HOLDER_UNUSED_MS && ++a->sync_fails >= HOLDER_FAILS)
		sched_peer_remove(r, a);
}

void
sched_source_piece_failed(struct sched_core *s, struct sched_peer *p)
{
	s->metrics.download_piece_finished_failure++;
	p->updated_ms = p->task->updated_ms = s->res.now_ms;
}

void
sched_stream_gone(struct sched_core *s, struct sched_peer *p)
{
	if (p->stream) {
		p->stream = NULL;
		p->host->streams--;
	}
	if (p->state >= SCHED_PEER_SUCCEEDED)
		return;
	sched_fail_peer(s, p);
	p->is_orphan = true;
	if (p->n_finished > 0)
		heap_put(&s->probes, &p->probe, s->res.now_ms + PROBE_FIRST_MS);
}

/* ---- hosts ---- */

struct sched_host *
sched_announce_host(struct sched_core *s, const struct sched_host_info *info)
{
	struct sched_host *h = sched_host_announce(&s->res, info);

	if (h && (h->type == 1 || h->is_usable_seed))
		s->seeds.is_stale = true;
	if (h)
		h->is_usable_seed = h->type == 1;
	return h;
}

void
sched_delete_host(struct sched_core *s, struct sched_host *h)
{
	sched_host_remove(&s->res, h);
}

void
sched_delete_task(struct sched_core *s, struct sched_host *h, struct slice task_id)
{
	LIST_EACH(it, next, &h->peers) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, in_host);

		if (slice_eq_str(task_id, p->task->id))
			sched_peer_remove(&s->res, p);
	}
}

void
sched_delete_peer(struct sched_core *s, struct sched_peer *p)
{
	sched_peer_remove(&s->res, p);
}
