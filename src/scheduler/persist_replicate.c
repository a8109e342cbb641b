/*
 * Replicas: who is asked to hold a task, and the calls to hosts that this takes. One call is about one task and one host. A host that has the
 * content anyway is told to keep it; others are told to fetch it from those that have it, on different IDCs and where most room is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/rpc_client.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "scheduler/persist.h"
#include "scheduler/service.h"
#include "wire/pb.h"

#define UNARY_MS 30000
/* Of a host that fetches a replica: to its headers, and between pieces. */
#define HEADERS_MS 30000
#define IDLE_MS 120000
#define ASK_MS 5000
#define ANSWER_MAX (4u * 1024 * 1024)
#define FACTS_ARENA_BYTES (256u * 1024)

enum call_kind { CALL_FETCH, CALL_PROMOTE, CALL_ASK, CALL_DELETE };

struct persist_call {
	struct persist *all;
	enum call_kind kind;
	struct persist_task *task;      /* NULL when it went */
	struct persist_peer *peer;      /* of CALL_PROMOTE and CALL_ASK; NULL when it went */
	struct rpc_call *rpc;
	struct list link;
	bool has_piece;                 /* CALL_ASK: it told of one */
	char host_id[];
};

/* ---- calls ---- */

static struct rpc_channel *
channel_of(struct persist *p, const struct sched_host *h)
{
	return service_call_channel(p->s, h->ip, h->download_port ? h->download_port : h->port);
}

static struct persist_call *
call_new(struct persist *p, enum call_kind kind, struct persist_task *t, struct persist_peer *c, const char *host_id)
{
	size_t n = strlen(host_id) + 1;
	struct persist_call *k = xcalloc(1, sizeof *k + n);

	memcpy(k->host_id, host_id, n);
	k->all = p;
	k->kind = kind;
	k->task = t;
	k->peer = c;
	list_add_tail(&p->calls, &k->link);
	p->n_calls++;
	if (t && (kind == CALL_FETCH || kind == CALL_PROMOTE))
		t->n_calls++;
	return k;
}

/* The task counts it no more. */
static void
call_free(struct persist_call *k)
{
	if (k->task && (k->kind == CALL_FETCH || k->kind == CALL_PROMOTE))
		k->task->n_calls--;
	if (k->peer && k->kind == CALL_ASK)
		k->peer->is_asked = false;
	list_del(&k->link);
	k->all->n_calls--;
	free(k);
}

void
persist_calls_free(struct persist *p)
{
	LIST_EACH(it, next, &p->calls) {
		struct persist_call *k = CONTAINER_OF(it, struct persist_call, link);

		rpc_call_cancel(k->rpc);
		call_free(k);
	}
}

void
persist_calls_forget_peer(struct persist_peer *c)
{
	LIST_EACH(it, next, &c->task->all->calls) {
		struct persist_call *k = CONTAINER_OF(it, struct persist_call, link);

		if (k->peer == c)
			k->peer = NULL;
	}
}

void
persist_calls_forget_task(struct persist_task *t)
{
	LIST_EACH(it, next, &t->all->calls) {
		struct persist_call *k = CONTAINER_OF(it, struct persist_call, link);

		if (k->task == t)
			k->task = NULL;
	}
}

static bool
is_called(const struct persist_task *t, const char *host_id)
{
	LIST_EACH(it, next, &t->all->calls) {
		const struct persist_call *k = CONTAINER_OF(it, struct persist_call, link);

		if (k->task == t && (k->kind == CALL_FETCH || k->kind == CALL_PROMOTE) && strcmp(k->host_id, host_id) == 0)
			return true;
	}
	return false;
}

/* ---- tries ---- */

static struct persist_try *
try_find(const struct persist_task *t, const char *host_id)
{
	LIST_EACH(it, next, &t->tries) {
		struct persist_try *y = CONTAINER_OF(it, struct persist_try, link);

		if (strcmp(y->host_id, host_id) == 0)
			return y;
	}
	return NULL;
}

static void
try_count(struct persist_task *t, const char *host_id)
{
	struct persist_try *y = try_find(t, host_id);
	size_t n = strlen(host_id) + 1;

	if (!y) {
		y = xcalloc(1, sizeof *y + n);
		memcpy(y->host_id, host_id, n);
		list_add_tail(&t->tries, &y->link);
	}
	y->n++;
}

static bool
is_tried_enough(const struct persist_task *t, const char *host_id)
{
	const struct persist_try *y = try_find(t, host_id);

	return y && y->n >= PERSIST_TRIES_MAX;
}

void
persist_exclude(struct persist_task *t, const char *host_id)
{
	while (!is_tried_enough(t, host_id))
		try_count(t, host_id);
}

/* ---- promotion: a host that has it keeps it ---- */

static void
promote_answered(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct persist_call *k = ctx;
	struct persist *p = k->all;
	struct persist_task *t = k->task;
	struct persist_peer *c = k->peer;

	service_now(p->s);
	call_free(k);
	if (!t)
		return;
	if (answer && c) {
		c->is_persistent = true;
		persist_journal_peer(c);
	} else if (c) {
		log_info("host does not keep a task task=%s host=%s error=\"%s\"", t->id, c->host_id, st->message);
		if (st->code == ERR_NOT_FOUND || st->code == ERR_INTERNAL)
			persist_peer_remove(c);
		persist_replicate(t);
	}
}

static void
promote(struct persist_peer *c, struct rpc_channel *ch)
{
	const struct pb_method *m = dfdaemon_dfdaemon_upload_service.methods;
	struct persist_task *t = c->task;
	struct rpc_call_opts o = { .grpc_timeout_ms = UNARY_MS, .headers_ms = UNARY_MS, .total_ms = UNARY_MS };
	struct persist_call *k = call_new(t->all, CALL_PROMOTE, t, c, c->host_id);
	struct dfdaemon_update_persistent_task_request plain = { .task_id = slice_str(t->id), .persistent = true };
	struct dfdaemon_update_persistent_cache_task_request cache = { .task_id = slice_str(t->id), .persistent = true };

	if (t->kind == PERSIST_PLAIN)
		k->rpc = rpc_unary(ch, &m[DFDAEMON_DFDAEMON_UPLOAD_UPDATE_PERSISTENT_TASK_AT], &plain, &o, promote_answered, k);
	else
		k->rpc = rpc_unary(ch, &m[DFDAEMON_DFDAEMON_UPLOAD_UPDATE_PERSISTENT_CACHE_TASK_AT], &cache, &o, promote_answered, k);
}

/* ---- a host fetches it ---- */

/* One that had all of it already may not have said so. */
static void
note_holder(struct persist_task *t, const char *host_id)
{
	struct persist_peer *c = persist_peer_of_host(t, slice_str(host_id));
	char id[SCHED_ID_MAX + 16];

	if (c)
		return;
	snprintf(id, sizeof id, "replica-%.*s", (int)SCHED_ID_MAX, host_id);
	if (persist_peer_find(t->all, t->kind, slice_str(id)))
		return;
	c = persist_peer_new(t, slice_str(id), slice_str(host_id));
	if (!c)
		return;
	c->state = PERSIST_PEER_SUCCEEDED;
	c->is_persistent = true;
	persist_journal_peer(c);
}

static void
fetch_ended(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct persist_call *k = ctx;
	struct persist *p = k->all;
	struct persist_task *t = k->task;

	(void)call;
	service_now(p->s);
	if (t && st->code == ERR_OK) {
		log_info("replica made task=%s host=%s", t->id, k->host_id);
		note_holder(t, k->host_id);
	} else if (t) {
		log_warn("replica not made task=%s host=%s code=%s error=\"%s\"", t->id, k->host_id, err_code_name(st->code), st->message);
	}
	call_free(k);
	if (t && st->code != ERR_OK)
		persist_replicate(t);
	service_after(p->s);
}

static void
fetch_said(struct rpc_call *call, void *ctx, struct slice msg)
{
	(void)call;
	(void)ctx;
	(void)msg;
}

static void
fetch(struct persist_task *t, const struct sched_host *h, struct rpc_channel *ch)
{
	static const struct rpc_call_events events = { .on_message = fetch_said, .on_end = fetch_ended };
	struct rpc_call_opts o = { .headers_ms = HEADERS_MS, .message_ms = IDLE_MS, .message_max = ANSWER_MAX };
	struct persist_call *k = call_new(t->all, CALL_FETCH, t, NULL, h->id);
	struct common_object_storage store = { .region = slice_str(t->region), .endpoint = slice_str(t->endpoint) };
	struct dfdaemon_download_persistent_task_request plain = {
		.url = slice_str(t->url), .object_storage = &store, .persistent = true,
	};
	struct dfdaemon_download_persistent_cache_task_request cache = {
		.task_id = slice_str(t->id), .persistent = true, .tag = slice_str(t->tag), .application = slice_str(t->application),
	};

	try_count(t, h->id);
	log_info("replica asked for task=%s host=%s", t->id, h->id);
	k->rpc = rpc_call_start(ch, t->kind == PERSIST_PLAIN ? DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_PERSISTENT_TASK :
		DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK, &events, k, &o);
	if (t->kind == PERSIST_PLAIN)
		rpc_call_send(k->rpc, &dfdaemon_download_persistent_task_request_desc, &plain, NULL);
	else
		rpc_call_send(k->rpc, &dfdaemon_download_persistent_cache_task_request_desc, &cache, NULL);
	rpc_call_half_close(k->rpc);
}

/* ---- the choice ---- */

/* Room that the host announced; unlimited where it said nothing. */
static uint64_t
room_of(const struct sched_host *h)
{
	struct common_host full = { 0 };
	struct arena arena;
	uint64_t room = UINT64_MAX;

	arena_init(&arena, FACTS_ARENA_BYTES);
	if (h->facts && pb_decode(&common_host_desc, slice_make(h->facts, h->n_facts), &arena, &full, NULL) == 0 && full.disk)
		room = full.disk->free;
	arena_free(&arena);
	return room;
}

static bool
holds_idc(const struct persist_task *t, uint16_t idc)
{
	LIST_EACH(it, next, &t->peers) {
		const struct sched_host *h = persist_peer_host(CONTAINER_OF(it, struct persist_peer, in_task));

		if (h && h->idc == idc)
			return true;
	}
	return false;
}

static bool
may_hold(const struct persist_task *t, const struct sched_host *h)
{
	const struct sched_resources *r = &t->all->s->core.res;

	return sched_host_is_fresh(r, h) && !h->provisional && !h->disable_shared && !persist_peer_of_host(t, slice_str(h->id)) &&
		!is_called(t, h->id) && !is_tried_enough(t, h->id);
}

/* Another IDC first, then the most room; among equals whoever the dice say, since hosts are looked at from a random one on. */
static struct sched_host *
choose(const struct persist_task *t)
{
	struct sched_resources *r = &t->all->s->core.res;
	struct sched_host *best = NULL;
	bool best_is_apart = false;
	uint64_t best_room = 0;
	struct list *it = &r->host_list;

	if (r->hosts.count == 0)
		return NULL;
	for (uint64_t skip = sched_random(r) % (r->hosts.count + 1); skip > 0; skip--)
		it = it->next;
	for (size_t looked = 0, step = 0; looked < PERSIST_SAMPLE_MAX && step <= r->hosts.count; step++, it = it->next) {
		struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);
		bool is_apart;
		uint64_t room;

		if (it == &r->host_list || !may_hold(t, h))
			continue;
		looked++;
		room = room_of(h);
		if (room < t->content_length)
			continue;
		is_apart = h->idc != 0 && !holds_idc(t, h->idc);
		if (!best || (is_apart && !best_is_apart) || (is_apart == best_is_apart && room > best_room)) {
			best = h;
			best_is_apart = is_apart;
			best_room = room;
		}
	}
	return best;
}

static struct persist_peer *
find_promotable(const struct persist_task *t)
{
	LIST_EACH(it, next, &t->peers) {
		struct persist_peer *c = CONTAINER_OF(it, struct persist_peer, in_task);
		const struct sched_host *h = persist_peer_host(c);

		if (h && !c->is_persistent && persist_peer_is_holder(c) && !h->disable_shared && !is_called(t, c->host_id))
			return c;
	}
	return NULL;
}

void
persist_replicate(struct persist_task *t)
{
	struct persist *p = t->all;
	uint64_t have, all;

	if (t->state != PERSIST_TASK_SUCCEEDED || p->s->is_draining)
		return;
	persist_count(t, &have, &all);
	while (all > 0 && have + t->n_calls < t->replicas && p->n_calls < PERSIST_CALLS_MAX) {
		struct persist_peer *c = find_promotable(t);
		struct sched_host *h = c ? persist_peer_host(c) : choose(t);
		struct rpc_channel *ch = h ? channel_of(p, h) : NULL;

		if (!h)
			return;
		if (c && ch) {
			promote(c, ch);
		} else if (ch) {
			fetch(t, h, ch);
		} else {
			/* No address to call. */
			persist_exclude(t, h->id);
			if (c)
				return;
		}
	}
}

void
persist_repair(struct persist *p)
{
	struct persist_task *t;

	for (unsigned kind = 0; kind < PERSIST_KINDS; kind++)
		for (size_t at = 0; (t = map_next(&p->tasks[kind], &at)) != NULL;)
			persist_replicate(t);
}

/* ---- questions: does a host that was away still have it? ---- */

static void
ask_said(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct persist_call *k = ctx;

	(void)call;
	(void)msg;
	k->has_piece = true;
}

static void
ask_ended(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct persist_call *k = ctx;
	struct persist *p = k->all;
	struct persist_task *t = k->task;
	struct persist_peer *c = k->peer;
	bool has_piece = k->has_piece;

	(void)call;
	service_now(p->s);
	call_free(k);
	if (!c || !t)
		return;
	if (has_piece || (t->content_length == 0 && st->code == ERR_OK)) {
		log_info("holder is back task=%s host=%s", t->id, c->host_id);
		persist_peer_set_away(c, false);
	} else if (st->code == ERR_OK || st->code == ERR_INTERNAL || st->code == ERR_NOT_FOUND) {
		log_info("holder has it no more task=%s host=%s", t->id, c->host_id);
		persist_peer_remove(c);
		persist_replicate(t);
	}
	service_after(p->s);
}

void
persist_ask(struct persist_peer *c)
{
	static const struct rpc_call_events events = { .on_message = ask_said, .on_end = ask_ended };
	struct rpc_call_opts o = { .headers_ms = ASK_MS, .total_ms = ASK_MS };
	struct persist_task *t = c->task;
	struct persist *p = t->all;
	const struct sched_host *h = persist_peer_host(c);
	struct rpc_channel *ch = h ? service_call_channel(p->s, h->ip, h->port) : NULL;
	uint32_t first = 0;
	struct dfdaemon_sync_persistent_pieces_request m = {
		.host_id = slice_str("scheduler"), .task_id = slice_str(t->id), .interested_piece_numbers = &first, .n_interested_piece_numbers = 1,
	};
	struct persist_call *k;

	if (!ch || c->is_asked || p->n_calls >= PERSIST_CALLS_MAX)
		return;
	c->is_asked = true;
	k = call_new(p, CALL_ASK, t, c, c->host_id);
	/* The question about a cache task has the same fields. */
	k->rpc = rpc_call_start(ch, t->kind == PERSIST_PLAIN ? DFDAEMON_DFDAEMON_UPLOAD_SYNC_PERSISTENT_PIECES :
		DFDAEMON_DFDAEMON_UPLOAD_SYNC_PERSISTENT_CACHE_PIECES, &events, k, &o);
	rpc_call_send(k->rpc, &dfdaemon_sync_persistent_pieces_request_desc, &m, NULL);
	rpc_call_half_close(k->rpc);
}

/* ---- deletion ---- */

static void
delete_answered(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct persist_call *k = ctx;

	if (!answer)
		log_info("host did not delete a task host=%s error=\"%s\"", k->host_id, st->message);
	call_free(k);
}

void
persist_tell_peer_deleted(const struct persist_peer *c)
{
	const struct pb_method *m = dfdaemon_dfdaemon_upload_service.methods;
	const struct persist_task *t = c->task;
	struct persist *p = t->all;
	const struct sched_host *h = persist_peer_host(c);
	struct rpc_channel *ch = h ? channel_of(p, h) : NULL;
	struct rpc_call_opts o = { .grpc_timeout_ms = UNARY_MS, .headers_ms = UNARY_MS, .total_ms = UNARY_MS };
	struct dfdaemon_delete_persistent_task_request plain = { .task_id = slice_str(t->id) };
	struct dfdaemon_delete_persistent_cache_task_request cache = { .task_id = slice_str(t->id) };
	struct persist_call *k;

	if (!ch)
		return;
	k = call_new(p, CALL_DELETE, NULL, NULL, c->host_id);
	if (t->kind == PERSIST_PLAIN)
		k->rpc = rpc_unary(ch, &m[DFDAEMON_DFDAEMON_UPLOAD_DELETE_PERSISTENT_TASK_AT], &plain, &o, delete_answered, k);
	else
		k->rpc = rpc_unary(ch, &m[DFDAEMON_DFDAEMON_UPLOAD_DELETE_PERSISTENT_CACHE_TASK_AT], &cache, &o, delete_answered, k);
}

void
persist_tell_deleted(struct persist_task *t)
{
	LIST_EACH(it, next, &t->peers)
		persist_tell_peer_deleted(CONTAINER_OF(it, struct persist_peer, in_task));
}
