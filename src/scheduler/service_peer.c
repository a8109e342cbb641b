/*
 * AnnouncePeer: one stream for each download of a peer. Response headers go out at once (a peer waits ten seconds for them at most),
 * answers when the core has them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/rpc_server.h"
#include "proto/common.h"
#include "proto/scheduler.h"
#include "scheduler/service.h"
#include "scheduler/validate.h"

/* A Reschedule names the parents it got; more names than a list ever held are not looked at. */
#define RESCHEDULE_MAX 64u

static void
stream_free(struct peer_stream *ps)
{
	list_del(&ps->link);
	free(ps);
}

/* ---- from the core ---- */

void
service_peer_answer(void *ctx, struct sched_peer *p, const struct sched_answer *a)
{
	struct scheduler *s = ctx;
	struct peer_stream *ps = p->stream;
	struct err e = { 0 };

	if (!ps || ps->is_broken)
		return;
	buf_clear(&s->out);
	answer_encode(&s->core.res, p, a, &s->scratch, &s->out);
	if (rpc_stream_send_bytes(ps->rpc, buf_slice(&s->out), &e) == 0)
		return;
	/* Its client takes nothing any more; the core must not be called from here. */
	log_warn("answer not sent peer=%s error=\"%s\"", p->id, e.text);
	ps->is_broken = true;
	list_del(&ps->link);
	list_add_tail(&s->broken, &ps->link);
}

void
service_peer_close(void *ctx, void *stream, int code, const char *text)
{
	struct peer_stream *ps = stream;

	(void)ctx;
	rpc_stream_end(ps->rpc, code, text, slice_make(NULL, 0));
	stream_free(ps);
}

void
service_peer_end_broken(struct scheduler *s)
{
	LIST_EACH(it, next, &s->broken) {
		struct peer_stream *ps = CONTAINER_OF(it, struct peer_stream, link);

		if (ps->peer)
			sched_stream_gone(&s->core, ps->peer);
		rpc_stream_end(ps->rpc, ERR_RESOURCE_EXHAUSTED, "peer does not read its answers", slice_make(NULL, 0));
		stream_free(ps);
	}
}

/* ---- from the stream ---- */

void
service_peer_opened(struct rpc_stream *rpc, void *ctx)
{
	struct scheduler *s = ctx;
	struct peer_stream *ps;

	s->core.metrics.announce_peer++;
	if (s->is_draining) {
		rpc_stream_end(rpc, ERR_UNAVAILABLE, "scheduler is going away", slice_make(NULL, 0));
		return;
	}
	ps = xcalloc(1, sizeof *ps);
	ps->s = s;
	ps->rpc = rpc;
	ps->is_live = slice_eq_str(rpc_stream_metadata(rpc, SCHEDULER_LIVE_HEADER), SCHEDULER_LIVE_VALUE);
	list_add_tail(&s->streams, &ps->link);
	rpc_stream_set_user(rpc, ps);
	if (ps->is_live)
		rpc_stream_send_headers_with(rpc, &(struct rpc_header){SCHEDULER_LIVE_HEADER, SCHEDULER_LIVE_VALUE}, 1);
	else
		rpc_stream_send_headers(rpc);
}

static int
on_register(struct peer_stream *ps, const struct scheduler_announce_peer_request *m, struct err *e)
{
	struct sched_core *core = &ps->s->core;
	const struct common_download *d = m->register_peer_request->download;
	unsigned priority = (unsigned)d->priority, type = (unsigned)d->type;
	const struct sched_host *h = sched_host_find(&core->res, m->host_id);
	unsigned host = h ? h->type == 1 : slice_ends(m->host_id, "-seed");
	struct sched_register req = { m->host_id, m->task_id, m->peer_id, d, ps->is_live };
	struct sched_peer *p = NULL;
	int rc;

	if (ps->s->is_draining)
		return err_set(e, ERR_UNAVAILABLE, "scheduler is going away");
	core->metrics.register_peer[priority][type][host]++;
	/* The stream may be closed and ps freed before this returns: the core knows it by then only as p->stream. */
	rc = ps->peer ? sched_register_again(core, ps->peer, e) : sched_register(core, &req, ps, &p, e);
	if (rc < 0)
		core->metrics.register_peer_failure[priority][type][host]++;
	if (p && (rc < 0 || p->stream == ps))
		ps->peer = p;
	return rc;
}

static int
on_reschedule(struct peer_stream *ps, const struct scheduler_reschedule_peer_request *m, struct err *e)
{
	struct slice ids[RESCHEDULE_MAX];
	size_t n = 0;

	for (; n < m->n_candidate_parents && n < RESCHEDULE_MAX; n++)
		ids[n] = m->candidate_parents[n].id;
	return sched_reschedule(&ps->s->core, ps->peer, ids, n, e);
}

static int
on_request(struct peer_stream *ps, const struct scheduler_announce_peer_request *m, struct err *e)
{
	struct sched_core *core = &ps->s->core;
	struct sched_peer *p = ps->peer;

	if (m->request_case == SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST)
		return on_register(ps, m, e);
	if (!p || !slice_eq_str(m->peer_id, p->id))
		return err_set(e, ERR_NOT_FOUND, "peer %.*s not found", SLICE_ARG(m->peer_id));
	switch (m->request_case) {
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_STARTED_REQUEST:
		return sched_started(core, p, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_STARTED_REQUEST:
		return sched_source_started(core, p, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_RESCHEDULE_PEER_REQUEST:
		return on_reschedule(ps, m->reschedule_peer_request, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_FINISHED_REQUEST:
		return sched_finished(core, p, false, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_FINISHED_REQUEST:
		return sched_finished(core, p, true, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_FAILED_REQUEST:
		return sched_failed(core, p, false, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_FAILED_REQUEST:
		return sched_failed(core, p, true, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FINISHED_REQUEST:
		sched_piece_finished(core, p, m->download_piece_finished_request->piece, false);
		return 0;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_BACK_TO_SOURCE_FINISHED_REQUEST:
		sched_piece_finished(core, p, m->download_piece_back_to_source_finished_request->piece, true);
		return 0;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FAILED_REQUEST:
		sched_piece_failed(core, p, m->download_piece_failed_request->parent_id);
		return 0;
	default:
		sched_source_piece_failed(core, p);
		return 0;
	}
}

void
service_peer_said(struct rpc_stream *rpc, void *ctx, const void *request)
{
	struct scheduler *s = ctx;
	struct peer_stream *ps = rpc_stream_user(rpc);
	const struct scheduler_announce_peer_request *m = request;
	struct err e = { 0 };

	if (ps->is_broken)
		return;
	service_now(s);
	if (validate_announce_peer(m, &e) < 0 || on_request(ps, m, &e) < 0) {
		/* The core closes nothing when it refuses, so ps is still ours. */
		s->core.metrics.announce_peer_failure++;
		if (ps->peer)
			sched_stream_gone(&s->core, ps->peer);
		log_debug("announcement refused task=%.*s peer=%.*s error=\"%s\"", SLICE_ARG(m->task_id), SLICE_ARG(m->peer_id), e.text);
		rpc_stream_fail(rpc, &e);
		stream_free(ps);
	}
	service_after(s);
}

void
service_peer_half_closed(struct rpc_stream *rpc, void *ctx)
{
	struct scheduler *s = ctx;
	struct peer_stream *ps = rpc_stream_user(rpc);

	if (ps->is_broken)
		return;
	service_now(s);
	if (ps->peer)
		sched_stream_gone(&s->core, ps->peer);
	rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
	stream_free(ps);
	service_after(s);
}

void
service_peer_cancelled(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	struct scheduler *s = ctx;
	struct peer_stream *ps = rpc_stream_user(rpc);

	(void)why;
	service_now(s);
	if (ps->peer)
		sched_stream_gone(&s->core, ps->peer);
	stream_free(ps);
	service_after(s);
}
