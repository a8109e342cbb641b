/*
 * AnnouncePersistentPeer and AnnouncePersistentCachePeer: what a peer says of one download, and the parents it gets (spec: scheduler.md A11).
 * Both kinds come here as one struct said; only messages differ.
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

enum word {
	WORD_REGISTER, WORD_STARTED, WORD_SOURCE_STARTED, WORD_RESCHEDULE, WORD_FINISHED, WORD_FAILED, WORD_PIECE, WORD_PIECE_FAILED, WORD_OTHER,
};

struct said {
	struct slice host_id, task_id, peer_id;
	enum word word;
	bool is_persistent, needs_source;
	uint32_t concurrent_pieces;
	struct slice parent_id;         /* of a failed piece */
	struct slice parents[SCHEDULER_PARENTS_MAX * 4];        /* of a Reschedule */
	size_t n_parents;
};

/* ---- one struct for both kinds ---- */

static void
take_plain(const struct scheduler_announce_persistent_peer_request *m, struct said *out)
{
	static const enum word words[] = {
		[4] = WORD_REGISTER, [5] = WORD_STARTED, [6] = WORD_SOURCE_STARTED, [7] = WORD_RESCHEDULE, [8] = WORD_FINISHED, [9] = WORD_FINISHED,
		[10] = WORD_FAILED, [11] = WORD_FAILED, [12] = WORD_PIECE, [13] = WORD_PIECE, [14] = WORD_PIECE_FAILED, [15] = WORD_OTHER,
	};

	*out = (struct said){ .host_id = m->host_id, .task_id = m->task_id, .peer_id = m->peer_id, .word = words[m->request_case] };
	if (m->register_persistent_peer_request) {
		out->is_persistent = m->register_persistent_peer_request->persistent;
		out->needs_source = m->register_persistent_peer_request->need_back_to_source;
		out->concurrent_pieces = m->register_persistent_peer_request->concurrent_piece_count;
	} else if (m->reschedule_persistent_peer_request) {
		const struct scheduler_reschedule_persistent_peer_request *r = m->reschedule_persistent_peer_request;

		for (; out->n_parents < r->n_candidate_parents && out->n_parents < COUNT_OF(out->parents); out->n_parents++)
			out->parents[out->n_parents] = r->candidate_parents[out->n_parents].id;
	} else if (m->download_piece_failed_request) {
		out->parent_id = m->download_piece_failed_request->parent_id;
	}
}

static void
take_cache(const struct scheduler_announce_persistent_cache_peer_request *m, struct said *out)
{
	static const enum word words[] = {
		[4] = WORD_REGISTER, [5] = WORD_STARTED, [6] = WORD_RESCHEDULE, [7] = WORD_FINISHED, [8] = WORD_FAILED, [9] = WORD_PIECE,
		[10] = WORD_PIECE_FAILED,
	};

	*out = (struct said){ .host_id = m->host_id, .task_id = m->task_id, .peer_id = m->peer_id, .word = words[m->request_case] };
	if (m->register_persistent_cache_peer_request) {
		out->is_persistent = m->register_persistent_cache_peer_request->persistent;
		out->concurrent_pieces = m->register_persistent_cache_peer_request->concurrent_piece_count;
	} else if (m->reschedule_persistent_cache_peer_request) {
		const struct scheduler_reschedule_persistent_cache_peer_request *r = m->reschedule_persistent_cache_peer_request;

		for (; out->n_parents < r->n_candidate_parents && out->n_parents < COUNT_OF(out->parents); out->n_parents++)
			out->parents[out->n_parents] = r->candidate_parents[out->n_parents].id;
	} else if (m->download_piece_failed_request) {
		out->parent_id = m->download_piece_failed_request->parent_id;
	}
}

/* The case of the oneof is looked at first: nothing is set without it. */
static int
take(enum persist_kind kind, const void *request, struct said *out, struct err *e)
{
	static const char *const names[] = { "AnnouncePersistentPeerRequest", "AnnouncePersistentCachePeerRequest" };
	const struct scheduler_announce_persistent_peer_request *plain = request;
	const struct scheduler_announce_persistent_cache_peer_request *cache = request;

	if ((kind == PERSIST_PLAIN ? plain->request_case : cache->request_case) == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.Request: value is required", names[kind]);
	if (kind == PERSIST_PLAIN)
		take_plain(plain, out);
	else
		take_cache(cache, out);
	if (validate_id(names[kind], "HostId", out->host_id, e) < 0 || validate_id(names[kind], "TaskId", out->task_id, e) < 0 ||
		validate_id(names[kind], "PeerId", out->peer_id, e) < 0)
		return -1;
	if (out->host_id.n > SCHED_ID_MAX || out->task_id.n > SCHED_ID_MAX || out->peer_id.n > SCHED_ID_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "an id has more than %u bytes", SCHED_ID_MAX);
	return 0;
}

/* ---- parents ---- */

static bool
is_blocked(const struct persist_peer *c, const struct persist_peer *parent)
{
	for (uint32_t i = 0; i < c->n_blocked; i++)
		if (strcmp(c->blocked[i], parent->id) == 0)
			return true;
	return false;
}

/* Those that have all of it come first, in random order; then those that began to fetch it before this one, so that nobody waits in a circle. */
static size_t
pick(const struct persist_peer *c, const struct persist_peer *out[SCHEDULER_PARENTS_MAX])
{
	struct sched_resources *r = &c->task->all->s->core.res;
	size_t limit = r->opt.candidate_parent_limit, n = 0, seen = 0;

	if (limit == 0 || limit > SCHEDULER_PARENTS_MAX)
		limit = SCHEDULER_PARENTS_MAX;
	LIST_EACH(it, next, &c->task->peers) {
		const struct persist_peer *p = CONTAINER_OF(it, struct persist_peer, in_task);
		const struct sched_host *h = persist_peer_host(p);
		uint64_t place;

		if (p == c || !h || h->disable_shared || !persist_peer_is_holder(p) || strcmp(p->host_id, c->host_id) == 0 || is_blocked(c, p))
			continue;
		/* Each of those seen is equally likely to be among the chosen. */
		place = seen++ < limit ? n++ : sched_random(r) % seen;
		if (place < limit)
			out[place] = p;
	}
	LIST_EACH(it, next, &c->task->peers) {
		const struct persist_peer *p = CONTAINER_OF(it, struct persist_peer, in_task);
		const struct sched_host *h = persist_peer_host(p);

		if (p == c || n >= limit)
			break;
		if ((p->state == PERSIST_PEER_RUNNING || p->state == PERSIST_PEER_BACK_TO_SOURCE) && h && !h->disable_shared && !p->is_away &&
			strcmp(p->host_id, c->host_id) != 0 && !is_blocked(c, p))
			out[n++] = p;
	}
	return n;
}

/* ---- answers ---- */

static void
say(struct persist_stream *x, const struct pb_desc *desc, const void *m)
{
	struct err e;

	/* A peer that reads no answers gets none. */
	if (rpc_stream_send(x->rpc, desc, m, &e) < 0)
		log_warn("answer not sent peer=%s error=\"%s\"", x->peer->id, e.text);
}

static void
say_empty(struct persist_stream *x)
{
	struct scheduler_empty_persistent_task_response empty = { 0 };
	struct scheduler_empty_persistent_cache_task_response cache = { 0 };

	x->peer->state = PERSIST_PEER_RECEIVED_EMPTY;
	if (x->kind == PERSIST_PLAIN)
		say(x, &scheduler_announce_persistent_peer_response_desc, &(struct scheduler_announce_persistent_peer_response){
			.response_case = 1, .empty_persistent_task_response = &empty });
	else
		say(x, &scheduler_announce_persistent_cache_peer_response_desc, &(struct scheduler_announce_persistent_cache_peer_response){
			.response_case = 1, .empty_persistent_cache_task_response = &cache });
}

static void
say_source(struct persist_stream *x, const char *why)
{
	struct scheduler_need_back_to_source_response r = { .description = slice_str(why) };

	say(x, &scheduler_announce_persistent_peer_response_desc, &(struct scheduler_announce_persistent_peer_response){
		.response_case = 3, .need_back_to_source_response = &r });
}

static int
say_plain_parents(struct persist_stream *x, const struct common_persistent_cache_peer *list, size_t n, struct arena *arena, struct err *e)
{
	struct scheduler_normal_persistent_task_response r = { .n_candidate_parents = n };

	r.candidate_parents = arena_alloc(arena, n * sizeof *r.candidate_parents);
	if (!r.candidate_parents)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%zu parents are too many to describe", n);
	for (size_t i = 0; i < n; i++)
		if (persist_answer_plain_peer(&list[i], arena, &r.candidate_parents[i], e) < 0)
			return -1;
	say(x, &scheduler_announce_persistent_peer_response_desc, &(struct scheduler_announce_persistent_peer_response){
		.response_case = 2, .normal_persistent_task_response = &r });
	return 0;
}

static int
say_parents(struct persist_stream *x, struct err *e)
{
	const struct persist_peer *parents[SCHEDULER_PARENTS_MAX];
	size_t n = pick(x->peer, parents);
	struct common_persistent_cache_peer *list;
	struct arena arena;
	int rc = -1;

	if (n == 0)
		return err_set(e, ERR_FAILED_PRECONDITION, "no candidate parents found");
	arena_init(&arena, PERSIST_ANSWER_BYTES);
	list = arena_alloc(&arena, n * sizeof *list);
	if (!list)
		err_set(e, ERR_RESOURCE_EXHAUSTED, "%zu parents are too many to describe", n);
	for (size_t i = 0; list && i < n; i++)
		if (persist_answer_peer(parents[i], &arena, &list[i], e) < 0)
			list = NULL;
	if (list && x->kind == PERSIST_PLAIN) {
		rc = say_plain_parents(x, list, n, &arena, e);
	} else if (list) {
		struct scheduler_normal_persistent_cache_task_response r = { .candidate_cache_parents = list, .n_candidate_cache_parents = n };

		say(x, &scheduler_announce_persistent_cache_peer_response_desc, &(struct scheduler_announce_persistent_cache_peer_response){
			.response_case = 2, .normal_persistent_cache_task_response = &r });
		rc = 0;
	}
	if (rc == 0)
		log_debug("parents given task=%s peer=%s n=%zu", x->peer->task->id, x->peer->id, n);
	arena_free(&arena);
	return rc;
}

/* ---- what is said ---- */

static bool
must_use_source(const struct persist_stream *x, const struct said *m)
{
	const struct persist_task *t = x->peer->task;
	uint64_t persistent, all;

	if (x->kind != PERSIST_PLAIN)
		return false;
	persist_count(t, &persistent, &all);
	return m->needs_source || t->state == PERSIST_TASK_PENDING || t->state == PERSIST_TASK_FAILED ||
		(t->state == PERSIST_TASK_SUCCEEDED && all == 0);
}

static int
on_register(struct persist_stream *x, const struct said *m, struct err *e)
{
	struct persist *p = x->all;
	struct persist_task *t = persist_task_find(p, x->kind, m->task_id);
	struct persist_peer *c;

	if (p->s->is_draining)
		return err_set(e, ERR_UNAVAILABLE, "scheduler is going away");
	if (x->peer)
		return err_set(e, ERR_INTERNAL, "peer %s is registered already", x->peer->id);
	if (!sched_host_find(&p->s->core.res, m->host_id))
		return err_set(e, ERR_NOT_FOUND, "host %.*s not found", SLICE_ARG(m->host_id));
	if (!t)
		return err_set(e, ERR_NOT_FOUND, "task %.*s not found", SLICE_ARG(m->task_id));
	if (persist_peer_find(p, x->kind, m->peer_id))
		return err_set(e, ERR_ALREADY_EXISTS, "peer %.*s already exists", SLICE_ARG(m->peer_id));
	c = persist_peer_new(t, m->peer_id, m->host_id);
	if (!c)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "task %s has more than %u peers", t->id, PERSIST_PEERS_MAX);
	c->is_persistent = m->is_persistent;
	c->concurrent_pieces = m->concurrent_pieces;
	c->stream = x;
	x->peer = c;
	if (t->content_length == 0) {
		say_empty(x);
		return 0;
	}
	c->state = PERSIST_PEER_RECEIVED_NORMAL;
	if (must_use_source(x, m)) {
		say_source(x, m->needs_source ? "peer needs to download from source" : "no peer has the task");
		return 0;
	}
	return say_parents(x, e);
}

static int
on_reschedule(struct persist_stream *x, const struct said *m, struct err *e)
{
	for (size_t i = 0; i < m->n_parents; i++)
		persist_peer_block(x->peer, m->parents[i]);
	if (must_use_source(x, m)) {
		say_source(x, "no peer has the task");
		return 0;
	}
	return say_parents(x, e);
}

static int
bad_state(const struct persist_peer *c, const char *event, struct err *e)
{
	return err_set(e, ERR_INTERNAL, "event %s inappropriate in current state %s", event, persist_peer_state_names[c->state]);
}

/* One record for each host that has it all. */
static void
merge_holders(struct persist_peer *c)
{
	LIST_EACH(it, next, &c->task->peers) {
		struct persist_peer *o = CONTAINER_OF(it, struct persist_peer, in_task);

		if (o == c || o->state != PERSIST_PEER_SUCCEEDED || strcmp(o->host_id, c->host_id) != 0)
			continue;
		c->is_persistent |= o->is_persistent;
		persist_peer_remove(o);
	}
}

static int
on_finished(struct persist_peer *c, struct err *e)
{
	int64_t now = persist_wall_ms(c->task->all);

	if (c->state != PERSIST_PEER_RECEIVED_EMPTY && c->state != PERSIST_PEER_RUNNING && c->state != PERSIST_PEER_BACK_TO_SOURCE)
		return bad_state(c, "DownloadSucceeded", e);
	c->state = PERSIST_PEER_SUCCEEDED;
	c->cost_ms = now - c->created_ms;
	c->updated_ms = now;
	merge_holders(c);
	if (c->is_persistent)
		persist_journal_peer(c);
	return 0;
}

static int
on_said(struct persist_stream *x, const struct said *m, struct err *e)
{
	struct persist_peer *c = x->peer;

	if (m->word == WORD_REGISTER)
		return on_register(x, m, e);
	if (!c || !slice_eq_str(m->peer_id, c->id))
		return err_set(e, ERR_NOT_FOUND, "peer %.*s not found", SLICE_ARG(m->peer_id));
	c->updated_ms = persist_wall_ms(x->all);
	switch (m->word) {
	case WORD_STARTED:
	case WORD_SOURCE_STARTED:
		if (c->state == PERSIST_PEER_RECEIVED_EMPTY)
			return 0;
		if (c->state != PERSIST_PEER_RECEIVED_NORMAL && c->state != PERSIST_PEER_RUNNING)
			return bad_state(c, "Download", e);
		c->state = m->word == WORD_STARTED ? PERSIST_PEER_RUNNING : PERSIST_PEER_BACK_TO_SOURCE;
		return 0;
	case WORD_RESCHEDULE:
		return on_reschedule(x, m, e);
	case WORD_FINISHED:
		return on_finished(c, e);
	case WORD_FAILED:
		c->state = PERSIST_PEER_FAILED;
		return 0;
	case WORD_PIECE_FAILED:
		persist_peer_block(c, m->parent_id);
		return 0;
	default:
		return 0;
	}
}

/* ---- the stream ---- */

/* What did not end well leaves nothing behind. */
static void
let_go(struct persist_stream *x)
{
	struct persist_peer *c = x->peer;

	if (c) {
		c->stream = NULL;
		x->peer = NULL;
		if (c->state != PERSIST_PEER_SUCCEEDED)
			persist_peer_remove(c);
	}
	list_del(&x->link);
	free(x);
}

void
persist_stream_opened(struct rpc_stream *rpc, void *ctx)
{
	struct scheduler *s = ctx;
	struct persist_stream *x;

	if (s->is_draining) {
		rpc_stream_end(rpc, ERR_UNAVAILABLE, "scheduler is going away", slice_make(NULL, 0));
		return;
	}
	x = xcalloc(1, sizeof *x);
	x->all = s->persist;
	x->kind = rpc_stream_method(rpc) == &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_PEER_AT] ?
		PERSIST_PLAIN : PERSIST_CACHE;
	x->rpc = rpc;
	list_add_tail(&x->all->streams, &x->link);
	rpc_stream_set_user(rpc, x);
	rpc_stream_send_headers(rpc);
}

void
persist_stream_said(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	struct persist_stream *x = rpc_stream_user(rpc);
	struct err e = { 0 };
	struct said m;

	service_now(s);
	if (take(x->kind, request, &m, &e) == 0 && on_said(x, &m, &e) == 0) {
		/* After its last word a peer waits for the end of the stream. */
		if (m.word == WORD_FINISHED || m.word == WORD_FAILED) {
			rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
			let_go(x);
		}
		return;
	}
	log_debug("announcement refused error=\"%s\"", e.text);
	rpc_stream_fail(rpc, &e);
	let_go(x);
}

void
persist_stream_half_closed(struct rpc_stream *rpc, void *ctx)
{
	service_now(ctx);
	rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
	let_go(rpc_stream_user(rpc));
}

void
persist_stream_cancelled(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	(void)why;
	service_now(ctx);
	let_go(rpc_stream_user(rpc));
}
