/*
 * The unary calls about hosts, tasks and peers, and health.
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
#include "proto/health.h"
#include "proto/scheduler.h"
#include "scheduler/owner.h"
#include "scheduler/persist.h"
#include "scheduler/service.h"
#include "scheduler/validate.h"
#include "wire/pb.h"

/* StatTask lists pieces: 100,000 at most. */
#define STAT_ARENA_BYTES (32u * 1024 * 1024)
#define FACTS_ARENA_BYTES (256u * 1024)
/* Longer intervals are not heeded; also keeps the sum in range. */
#define INTERVAL_MAX_S (24 * 3600)

/* ---- AnnounceHost ---- */

/* Parts that this announcement leaves out stay as they were; what listings show is always there. */
static void
merge_facts(struct scheduler *s, const struct sched_host *old, struct common_host *h, struct common_network *network, struct arena *arena)
{
	struct common_host before = { 0 };

	if (old && old->facts && pb_decode(&common_host_desc, slice_make(old->facts, old->n_facts), arena, &before, NULL) == 0) {
		h->cpu = h->cpu ? h->cpu : before.cpu;
		h->memory = h->memory ? h->memory : before.memory;
		h->disk = h->disk ? h->disk : before.disk;
		h->build = h->build ? h->build : before.build;
		h->network = h->network ? h->network : before.network;
	}
	if (h->network)
		*network = *h->network;
	if (!network->idc.p)
		network->idc = slice_str("");
	if (!network->location.p)
		network->location = slice_str("");
	network->has_rx_bandwidth = network->has_tx_bandwidth = true;
	h->network = network;
	h->scheduler_cluster_id = s->core.res.opt.cluster_id;
}

int
service_host_announce(struct scheduler *s, const struct common_host *announced, int64_t interval_ms, struct err *e)
{
	const struct sched_host *old = sched_host_find(&s->core.res, announced->id);
	struct common_network network = { 0 };
	struct common_host h = *announced;
	struct sched_host_info info = { 0 };
	struct buf facts = BUF_INIT;
	struct arena arena;
	int rc = -1;

	arena_init(&arena, FACTS_ARENA_BYTES);
	merge_facts(s, old, &h, &network, &arena);
	pb_encode(&common_host_desc, &h, &facts);
	if (facts.len > SCHED_HOST_FACTS_MAX || h.id.n > SCHED_ID_MAX || h.hostname.n > SCHED_NAME_MAX) {
		err_set(e, ERR_INVALID_ARGUMENT, "host is described with more than %u bytes", SCHED_HOST_FACTS_MAX);
		goto done;
	}
	info.id = h.id;
	info.hostname = h.hostname;
	info.ip = h.ip;
	info.location = network.location;
	info.idc = network.idc;
	info.facts = buf_slice(&facts);
	info.type = h.type;
	info.port = h.port;
	info.download_port = h.download_port;
	info.disable_shared = h.disable_shared;
	info.max_tx = network.max_tx_bandwidth;
	info.tx = network.tx_bandwidth;
	info.interval_ms = interval_ms;
	if (!sched_announce_host(&s->core, &info))
		err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %u hosts", SCHED_HOSTS_MAX);
	else
		rc = 0;
done:
	buf_free(&facts);
	arena_free(&arena);
	return rc;
}

static void
announce_host(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_announce_host_request *m = request;
	int64_t interval_ms = -1;
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.announce_host++;
	if (m->interval) {
		interval_ms = m->interval->seconds < 0 ? 0 : m->interval->seconds > INTERVAL_MAX_S ? INTERVAL_MAX_S * 1000 :
			m->interval->seconds * 1000 + m->interval->nanos / 1000000;
		if (interval_ms < 0)
			interval_ms = 0;
	}
	if (validate_announce_host(m, &e) < 0 || owner_check(s, rpc, sched_host_find(&s->core.res, m->host->id), &e) < 0 ||
		service_host_announce(s, m->host, interval_ms, &e) < 0) {
		s->core.metrics.announce_host_failure++;
		rpc_stream_fail(rpc, &e);
	} else {
		struct sched_host *h = sched_host_find(&s->core.res, m->host->id);

		owner_set(h, rpc_stream_peer(rpc));
		service_reply_empty(rpc);
		persist_host_seen(s->persist, h);
	}
	service_after(s);
}

static void
delete_host(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_delete_host_request *m = request;
	struct sched_host *h;
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.leave_host++;
	h = sched_host_find(&s->core.res, m->host_id);
	if (validate_id("DeleteHostRequest", "HostId", m->host_id, &e) < 0 ||
		(!h && err_set(&e, ERR_NOT_FOUND, "host %.*s not found", SLICE_ARG(m->host_id)) < 0) ||
		owner_check(s, rpc, h, &e) < 0) {
		s->core.metrics.leave_host_failure++;
		rpc_stream_fail(rpc, &e);
	} else {
		log_info("host leaves host=%s", h->id);
		sched_delete_host(&s->core, h);
		persist_host_left(s->persist, m->host_id);
		service_reply_empty(rpc);
	}
	service_after(s);
}

/* ---- ListHosts: may be larger than what a stream queues at once ---- */

struct listing {
	struct buf bytes;
	bool has_begun;
};

static void
put_record(struct buf *b, const uint8_t *p, size_t n)
{
	uint8_t head[11] = { 0x0a };
	size_t k = 1, v = n;

	for (; v >= 0x80; v >>= 7)
		head[k++] = (uint8_t)(v | 0x80);
	head[k++] = (uint8_t)v;
	buf_append(b, head, k);
	buf_append(b, p, n);
}

static void
listing_free(struct listing *l)
{
	buf_free(&l->bytes);
	free(l);
}

static void
list_on_drain(struct rpc_stream *rpc, void *ctx)
{
	struct listing *l = rpc_stream_user(rpc);
	size_t n;

	(void)ctx;
	if (!l)
		return;
	while (l->bytes.len > 0) {
		n = rpc_stream_send_part(rpc, buf_data(&l->bytes), l->bytes.len);
		if (n == 0)
			return;
		buf_consume(&l->bytes, n);
	}
	listing_free(l);
	rpc_stream_set_user(rpc, NULL);
	rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
}

static void
list_on_cancel(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	struct listing *l = rpc_stream_user(rpc);

	(void)ctx;
	(void)why;
	if (l)
		listing_free(l);
}

static void
list_hosts(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_list_hosts_request *m = request;
	struct listing *l = xcalloc(1, sizeof *l);
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.list_hosts++;
	for (struct list *it = s->core.res.host_list.next; it != &s->core.res.host_list; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (h->provisional || !h->facts || (m->has_type && (m->type > 1 || h->type != m->type)))
			continue;
		put_record(&l->bytes, h->facts, h->n_facts);
	}
	rpc_stream_set_user(rpc, l);
	if (rpc_stream_send_begin(rpc, (uint32_t)l->bytes.len, &e) < 0) {
		s->core.metrics.list_hosts_failure++;
		listing_free(l);
		rpc_stream_set_user(rpc, NULL);
		rpc_stream_fail(rpc, &e);
		return;
	}
	list_on_drain(rpc, ctx);
}

/* ---- tasks and peers ---- */

static void
stat_task(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_stat_task_request *m = request;
	const struct sched_task *t = sched_task_find(&s->core.res, m->task_id);
	struct common_task out;
	struct arena arena;
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.stat_task++;
	arena_init(&arena, STAT_ARENA_BYTES);
	if (validate_id("StatTaskRequest", "HostId", m->host_id, &e) < 0 || validate_id("StatTaskRequest", "TaskId", m->task_id, &e) < 0 ||
		(!t && err_set(&e, ERR_NOT_FOUND, "task %.*s not found", SLICE_ARG(m->task_id)) < 0) ||
		answer_task(&s->core.res, t, &arena, &out, &e) < 0) {
		s->core.metrics.stat_task_failure++;
		rpc_stream_fail(rpc, &e);
	} else {
		service_reply(rpc, &common_task_desc, &out);
	}
	arena_free(&arena);
}

static void
stat_peer(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_stat_peer_request *m = request;
	struct sched_peer *p = sched_peer_find(&s->core.res, m->peer_id);
	struct common_peer out;
	struct arena arena;
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.stat_peer++;
	arena_init(&arena, STAT_ARENA_BYTES);
	if (validate_id("StatPeerRequest", "HostId", m->host_id, &e) < 0 || validate_id("StatPeerRequest", "TaskId", m->task_id, &e) < 0 ||
		validate_id("StatPeerRequest", "PeerId", m->peer_id, &e) < 0 ||
		(!p && err_set(&e, ERR_NOT_FOUND, "peer %.*s not found", SLICE_ARG(m->peer_id)) < 0) ||
		answer_peer(&s->core.res, p, &arena, &out, &e) < 0) {
		s->core.metrics.stat_peer_failure++;
		rpc_stream_fail(rpc, &e);
	} else {
		service_reply(rpc, &common_peer_desc, &out);
	}
	arena_free(&arena);
}

static void
delete_peer(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_delete_peer_request *m = request;
	struct sched_peer *p = sched_peer_find(&s->core.res, m->peer_id);
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.leave_peer++;
	if (validate_id("DeletePeerRequest", "HostId", m->host_id, &e) < 0 ||
		validate_id("DeletePeerRequest", "TaskId", m->task_id, &e) < 0 ||
		validate_id("DeletePeerRequest", "PeerId", m->peer_id, &e) < 0 || owner_check(s, rpc, p ? p->host : NULL, &e) < 0) {
		s->core.metrics.leave_peer_failure++;
		rpc_stream_fail(rpc, &e);
		return;
	}
	if (p)
		sched_delete_peer(&s->core, p);
	service_reply_empty(rpc);
	service_after(s);
}

static void
delete_task(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct scheduler_delete_task_request *m = request;
	struct sched_host *h = sched_host_find(&s->core.res, m->host_id);
	struct err e = { 0 };

	service_now(s);
	s->core.metrics.leave_task++;
	if (validate_id("DeleteTaskRequest", "HostId", m->host_id, &e) < 0 ||
		validate_id("DeleteTaskRequest", "TaskId", m->task_id, &e) < 0 ||
		(!h && err_set(&e, ERR_NOT_FOUND, "host %.*s not found", SLICE_ARG(m->host_id)) < 0) ||
		owner_check(s, rpc, h, &e) < 0) {
		s->core.metrics.leave_task_failure++;
		rpc_stream_fail(rpc, &e);
		return;
	}
	sched_delete_task(&s->core, h, m->task_id);
	service_reply_empty(rpc);
	service_after(s);
}

/* ---- health ---- */

static void
health_check(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	const struct health_health_check_request *m = request;
	struct health_health_check_response out = { 0 };
	struct err e = { 0 };

	if (m->service.n > 0 && !slice_eq_str(m->service, scheduler_scheduler_service.name)) {
		err_set(&e, ERR_NOT_FOUND, "unknown service");
		rpc_stream_fail(rpc, &e);
		return;
	}
	out.status = s->is_draining ? HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING :
		HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING;
	service_reply(rpc, &health_health_check_response_desc, &out);
}

/* ---- the table ---- */

void
service_add_methods(struct scheduler *s)
{
	static const struct {
		size_t at;
		void (*fn)(struct rpc_stream *rpc, void *ctx, const void *request);
	} unary[] = {
		{ SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT, announce_host },
		{ SCHEDULER_SCHEDULER_DELETE_HOST_AT, delete_host },
		{ SCHEDULER_SCHEDULER_LIST_HOSTS_AT, list_hosts },
		{ SCHEDULER_SCHEDULER_STAT_PEER_AT, stat_peer },
		{ SCHEDULER_SCHEDULER_DELETE_PEER_AT, delete_peer },
		{ SCHEDULER_SCHEDULER_STAT_TASK_AT, stat_task },
		{ SCHEDULER_SCHEDULER_DELETE_TASK_AT, delete_task },
	};
	struct rpc_method *m;

	for (size_t i = 0; i < COUNT_OF(unary); i++) {
		m = service_add_method(s, &scheduler_scheduler_service.methods[unary[i].at]);
		m->on_message = unary[i].fn;
		if (unary[i].at == SCHEDULER_SCHEDULER_LIST_HOSTS_AT) {
			m->on_drain = list_on_drain;
			m->on_cancel = list_on_cancel;
		}
	}
	m = service_add_method(s, &health_health_service.methods[HEALTH_HEALTH_CHECK_AT]);
	m->on_message = health_check;
	m->is_exempt = true;
}
