#include "serve/sync.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "net/loop.h"
#include "peer/collect.h"
#include "peer/engine.h"
#include "peer/task.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "serve/piece.h"
#include "store/store.h"

/* Queued bytes above which telling waits for the child. */
#define QUEUE_BYTES (256u * 1024)

/* ---- SyncPieces ---- */

/* How children's logs and rules call a task of this kind. */
static const char *
kind_name(enum store_kind kind)
{
	static const char *const names[STORE_KINDS] = {"task", "persistent task", "persistent cache task"};

	return names[kind];
}

struct sync_pieces {
	enum store_kind kind;
	struct sync_service *service;
	struct rpc_stream *stream;
	struct task_watch watch;
	uint64_t *wanted;               /* bitmap of numbers asked for and not told yet; grown to the task's pieces */
	uint32_t limit;                 /* bits in it */
	uint32_t left;                  /* set bits */
	bool is_behind;                 /* not all that could be told was: the child reads slowly */
	struct loop_timer idle;
};

static void
pieces_free(struct sync_pieces *p)
{
	loop_timer_clear(rpc_stream_loop(p->stream), &p->idle);
	if (p->watch.task != NULL)
		task_unwatch(&p->watch);
	p->service->streams--;
	free(p->wanted);
	free(p);
}

static void
pieces_end(struct sync_pieces *p, const struct err *e)
{
	struct rpc_stream *s = p->stream;

	pieces_free(p);
	if (e != NULL)
		rpc_stream_fail(s, e);
	else
		rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

/* 0 when told, -1 when the stream takes no more now. */
static int
tell(struct sync_pieces *p, uint32_t n)
{
	struct dfdaemon_sync_pieces_response m = {
		.number = n, .ip = slice_str(p->service->ip), .has_tcp_port = true, .tcp_port = p->service->piece_port,
	};
	struct err e;

	if (rpc_stream_queued(p->stream) > QUEUE_BYTES)
		return -1;
	store_task_piece_span(p->watch.task->store, n, &m.offset, &m.length);
	if (rpc_stream_send(p->stream, &dfdaemon_sync_pieces_response_desc, &m, &e) < 0)
		return -1;
	bit_clear(p->wanted, n);
	p->left--;
	return 0;
}

static void
idle_is_over(void *ctx)
{
	pieces_end(ctx, NULL);
}

/* Tells what is there, and ends when nothing more can come. */
static void
tell_all(struct sync_pieces *p)
{
	struct store_task *t = p->watch.task->store;
	uint32_t count = store_task_piece_count(t);

	p->is_behind = false;
	for (uint32_t n = 0; n < count && n < p->limit && p->left > 0; n++) {
		if (!bit_get(p->wanted, n) || !store_piece_is_finished(t, n))
			continue;
		if (tell(p, n) < 0) {
			p->is_behind = true;
			return;
		}
	}
	if (p->left == 0 || t->finished_at != 0)
		pieces_end(p, NULL);
	else if (task_is_active(p->watch.task))
		loop_timer_clear(rpc_stream_loop(p->stream), &p->idle);
	else if (!loop_timer_is_set(&p->idle))
		loop_timer_set(rpc_stream_loop(p->stream), &p->idle, SYNC_IDLE_MS, idle_is_over, p);
}

static void
on_piece(struct task_watch *w, uint32_t number)
{
	struct sync_pieces *p = CONTAINER_OF(w, struct sync_pieces, watch);

	if (number >= p->limit || !bit_get(p->wanted, number) || p->is_behind)
		return;
	if (tell(p, number) < 0)
		p->is_behind = true;
	else if (p->left == 0)
		pieces_end(p, NULL);
	else
		loop_timer_clear(rpc_stream_loop(p->stream), &p->idle);
}

static void
on_idle(struct task_watch *w, const struct err *why)
{
	struct sync_pieces *p = CONTAINER_OF(w, struct sync_pieces, watch);
	const struct store_task *t = p->watch.task->store;
	struct err e;

	if (why != NULL) {
		err_set(&e, ERR_INTERNAL, "%s", why->text);
		pieces_end(p, &e);
	} else if (t->failed_at != 0 && t->finished_at == 0) {
		err_set(&e, ERR_INTERNAL, "%s %s failed", kind_name(p->kind), t->id);
		pieces_end(p, &e);
	} else if (!p->is_behind) {
		tell_all(p);
	}
}

/* The numbers as a bitmap: without doubles, and those no task can have left out. */
static void
take_numbers(struct sync_pieces *p, const uint32_t *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (numbers[i] < SYNC_NUMBERS_MAX && numbers[i] >= p->limit)
			p->limit = numbers[i] + 1;
	p->wanted = xcalloc((size_t)p->limit / 64 + 1, sizeof *p->wanted);
	for (size_t i = 0; i < count; i++) {
		uint32_t n = numbers[i];

		if (n < p->limit && !bit_get(p->wanted, n)) {
			bit_set(p->wanted, n);
			p->left++;
		}
	}
}

static void
begin(struct sync_service *service, struct rpc_stream *s, enum store_kind kind, struct slice task_id, const uint32_t *numbers, size_t count)
{
	struct sync_pieces *p;
	const struct store_task *t;
	struct err e = {0}, found;

	if (!task_id_is_valid(task_id)) {
		err_set(&e, ERR_INVALID_ARGUMENT, "invalid task id");
	} else if (count > SYNC_NUMBERS_MAX || service->streams >= SYNC_STREAMS_MAX) {
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "server is overloaded: too many requests, please retry later");
	} else if (service->is_disabled) {
		err_set(&e, ERR_INTERNAL, "%s %.*s not found", kind_name(kind), SLICE_ARG(task_id));
	}
	if (e.code != 0) {
		rpc_stream_fail(s, &e);
		return;
	}
	p = xcalloc(1, sizeof *p);
	p->kind = kind;
	p->service = service;
	p->stream = s;
	p->watch.on_piece = on_piece;
	p->watch.on_idle = on_idle;
	service->streams++;
	take_numbers(p, numbers, count);
	if (task_watch(service->engine, kind, task_id, &p->watch, &found) < 0) {
		err_set(&e, ERR_INTERNAL, "%s %.*s not found", kind_name(kind), SLICE_ARG(task_id));
		pieces_end(p, &e);
		return;
	}
	t = p->watch.task->store;
	if (t->failed_at != 0 && t->finished_at == 0 && !task_is_active(p->watch.task)) {
		err_set(&e, ERR_INTERNAL, "%s %s failed", kind_name(kind), t->id);
		pieces_end(p, &e);
		return;
	}
	rpc_stream_set_user(s, p);
	tell_all(p);
}

/* The answer's head: what a child of our make is to know. */
static void
answer(struct sync_service *service, struct rpc_stream *s, bool has_turns)
{
	struct rpc_header more[2];
	size_t n = 0;

	if (has_turns)
		more[n++] = (struct rpc_header){PARENT_TURNS_HEADER, PARENT_TURNS_VALUE};
	if (service->pieces != NULL) {
		more[n++] = (struct rpc_header){PARENT_TLS_HEADER, PARENT_TLS_VALUE};
		piece_server_know(service->pieces, rpc_stream_peer(s));
	}
	rpc_stream_send_headers_with(s, more, n);
}

void
sync_pieces_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_sync_pieces_request *r = request;

	answer(ctx, s, true);
	begin(ctx, s, STORE_STANDARD, r->task_id, r->interested_piece_numbers, r->n_interested_piece_numbers);
}

void
sync_persistent_pieces_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_sync_persistent_pieces_request *r = request;

	answer(ctx, s, false);
	begin(ctx, s, STORE_PERSISTENT, r->task_id, r->interested_piece_numbers, r->n_interested_piece_numbers);
}

void
sync_persistent_cache_pieces_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_sync_persistent_cache_pieces_request *r = request;

	answer(ctx, s, false);
	begin(ctx, s, STORE_PERSISTENT_CACHE, r->task_id, r->interested_piece_numbers, r->n_interested_piece_numbers);
}

void
sync_pieces_on_drain(struct rpc_stream *s, void *ctx)
{
	struct sync_pieces *p = rpc_stream_user(s);

	(void)ctx;
	if (p != NULL && p->is_behind)
		tell_all(p);
}

void
sync_pieces_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct sync_pieces *p = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (p != NULL)
		pieces_free(p);
}

/* ---- SyncHost ---- */

struct sync_host {
	struct sync_service *service;
	struct rpc_stream *stream;
	struct loop_timer timer;
};

static void
tell_host(void *ctx)
{
	struct sync_host *h = ctx;
	struct cluster_traffic t;
	struct common_network network = {0};
	struct common_host host = {.network = &network};

	cluster_traffic(h->service->cluster, &t);
	network.max_rx_bandwidth = t.max_rx;
	network.max_tx_bandwidth = t.max_tx;
	network.has_rx_bandwidth = network.has_tx_bandwidth = true;
	network.rx_bandwidth = t.rx;
	network.tx_bandwidth = t.tx;
	/* A child that does not read misses samples, nothing else. */
	if (rpc_stream_queued(h->stream) == 0)
		rpc_stream_send(h->stream, &common_host_desc, &host, NULL);
	loop_timer_set(rpc_stream_loop(h->stream), &h->timer, SYNC_HOST_MS, tell_host, h);
}

void
sync_host_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	struct sync_service *service = ctx;
	struct sync_host *h;
	struct err e;

	(void)request;
	if (service->cluster == NULL || service->streams >= SYNC_STREAMS_MAX) {
		err_set(&e, ERR_RESOURCE_EXHAUSTED, "server is overloaded: too many requests, please retry later");
		rpc_stream_fail(s, &e);
		return;
	}
	h = xcalloc(1, sizeof *h);
	h->service = service;
	h->stream = s;
	service->streams++;
	rpc_stream_set_user(s, h);
	tell_host(h);
}

void
sync_host_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct sync_host *h = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (h == NULL)
		return;
	loop_timer_clear(rpc_stream_loop(s), &h->timer);
	h->service->streams--;
	free(h);
}
