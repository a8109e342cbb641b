/*
 * A seed peer's entry in the manager: made with UpdateSeedPeer, kept active by a KeepAlive stream, made again after the stream broke (the
 * manager may have deleted it meanwhile), deleted at the end (spec: manager.md A7, A8). Schedulers know seed peers without it, by
 * AnnounceHost: that it cannot be made is told once and hinders nothing.
 */
#include "cluster/manager_internal.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/rpc_client.h"
#include "proto/manager.h"

static void try(void *ctx);

static int
interval(const struct manager *m)
{
	return m->o.keep_alive_ms > 0 ? m->o.keep_alive_ms : MANAGER_KEEP_ALIVE_MS;
}

static void
again(struct manager_seed *s, const char *what, const struct rpc_status *st)
{
	s->is_registered = false;
	if (s->manager->is_leaving)
		return;
	if (!s->said)
		log_warn("this seed peer has no entry at the manager call=%s manager=%s error=\"%s\"", what, rpc_channel_target(s->channel),
		    st->message);
	s->said = true;
	loop_timer_set(s->manager->o.loop, &s->timer, interval(s->manager), try, s);
}

static int
tell(struct manager_seed *s)
{
	struct manager_keep_alive_request r = {
		.source_type = MANAGER_SOURCE_TYPE_SEED_PEER_SOURCE, .hostname = slice_str(s->manager->hostname), .cluster_id = s->cluster_id,
		.ip = slice_str(s->manager->o.host->ip),
	};
	struct err e;

	return rpc_call_send(s->keep_alive, &manager_keep_alive_request_desc, &r, &e);
}

static void
tell_again(void *ctx)
{
	struct manager_seed *s = ctx;

	/* A queue that is full is a manager that does not read: the connection's PING finds out. */
	if (s->keep_alive != NULL && tell(s) == 0)
		loop_timer_set(s->manager->o.loop, &s->timer, interval(s->manager), tell_again, s);
}

static void
on_kept(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct manager_seed *s = ctx;

	(void)call;
	s->keep_alive = NULL;
	again(s, "KeepAlive", st);
}

static void
on_nothing(struct rpc_call *call, void *ctx, struct slice msg)
{
	(void)call;
	(void)ctx;
	(void)msg;
}

static void
on_updated(void *ctx, const void *answer, const struct rpc_status *st)
{
	static const struct rpc_call_events events = {.on_message = on_nothing, .on_end = on_kept};
	/* Nothing comes back before the stream ends. */
	struct rpc_call_opts opts = {.headers_ms = -1};
	struct manager_seed *s = ctx;

	(void)answer;
	s->update = NULL;
	if (s->manager->is_leaving)
		return;
	if (st->code != ERR_OK) {
		again(s, "UpdateSeedPeer", st);
		return;
	}
	log_info("this seed peer has an entry at the manager manager=%s cluster=%llu", rpc_channel_target(s->channel),
	    (unsigned long long)s->cluster_id);
	s->said = false;
	s->is_registered = true;
	s->keep_alive = rpc_call_start(s->channel, MANAGER_MANAGER_KEEP_ALIVE, &events, s, &opts);
	tell_again(s);
}

static void
try(void *ctx)
{
	struct manager_seed *s = ctx;
	struct manager *m = s->manager;
	const struct config_host *h = &m->o.config->host;
	struct manager_update_seed_peer_request r = {
		.source_type = MANAGER_SOURCE_TYPE_SEED_PEER_SOURCE, .hostname = slice_str(m->hostname), .type = slice_str("super"),
		.ip = slice_str(m->o.host->ip), .port = m->o.host->upload_port, .download_port = m->o.host->upload_port,
		.seed_peer_cluster_id = s->cluster_id,
	};
	struct rpc_call_opts opts = {.total_ms = MANAGER_CALL_MS};

	if (h->idc != NULL && *h->idc != '\0')
		r.idc = slice_str(h->idc);
	if (h->location != NULL && *h->location != '\0')
		r.location = slice_str(h->location);
	/* The manager that answers at the moment. */
	s->channel = m->channels[m->at];
	s->update = rpc_unary(s->channel, &manager_manager_service.methods[MANAGER_MANAGER_UPDATE_SEED_PEER_AT], &r, &opts, on_updated, s);
}

void
manager_seed_start(struct manager *m)
{
	const struct config *c = m->o.config;

	m->seed.cluster_id = m->o.host->is_seed && c->seed_peer.type == CONFIG_SEED_SUPER ? c->x.seed_peer.cluster_id : 0;
	if (m->seed.cluster_id != 0)
		try(&m->seed);
}

static void
left(void *ctx)
{
	struct manager_seed *s = ctx;
	void (*done)(void *) = s->done;

	loop_timer_clear(s->manager->o.loop, &s->leave_timer);
	s->done = NULL;
	if (done != NULL)
		done(s->done_ctx);
}

static void
on_deleted(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct manager_seed *s = ctx;

	(void)answer;
	s->leave = NULL;
	if (st->code != ERR_OK)
		log_info("the manager keeps this seed peer's entry error=\"%s\"", st->message);
	left(s);
}

void
manager_seed_leave(struct manager *m, int ms, void (*done)(void *ctx), void *ctx)
{
	struct manager_seed *s = &m->seed;
	struct manager_delete_seed_peer_request r = {
		.source_type = MANAGER_SOURCE_TYPE_SEED_PEER_SOURCE, .hostname = slice_str(m->hostname), .seed_peer_cluster_id = s->cluster_id,
		.ip = slice_str(m->o.host->ip),
	};
	struct rpc_call_opts opts = {.total_ms = ms};

	loop_timer_clear(m->o.loop, &s->timer);
	if (!s->is_registered) {
		done(ctx);
		return;
	}
	s->done = done;
	s->done_ctx = ctx;
	if (s->keep_alive != NULL)
		rpc_call_half_close(s->keep_alive);
	s->leave = rpc_unary(s->channel, &manager_manager_service.methods[MANAGER_MANAGER_DELETE_SEED_PEER_AT], &r, &opts, on_deleted, s);
	loop_timer_set(m->o.loop, &s->leave_timer, ms, left, s);
}

void
manager_seed_free(struct manager *m)
{
	struct manager_seed *s = &m->seed;
	struct rpc_call *calls[] = {s->update, s->keep_alive, s->leave};

	loop_timer_clear(m->o.loop, &s->timer);
	loop_timer_clear(m->o.loop, &s->leave_timer);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (calls[i] != NULL)
			rpc_call_cancel(calls[i]);
	s->update = s->keep_alive = s->leave = NULL;
}
