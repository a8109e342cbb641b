/*
 * The end of a daemon: not ready, good-bye to the schedulers, no new work, what runs is given its time, what is left is cancelled, all is
 * freed (spec: daemon.md 1.5).
 */
#include "serve/daemon_internal.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "net/listener.h"
#include "peer/engine.h"
#include "peer/worker.h"
#include "scheduler/scheduler.h"
#include "serve/front.h"
#include "serve/piece.h"
#include "serve/proxy.h"
#include "serve/status.h"
#include "store/store.h"

/* Running downloads and uploads may go on for so long after a stop (spec: daemon.md 1.5); saying good-bye to schedulers takes this at most. */
#define GRACE_MS 20000
#define LEAVE_MS 3000
/* What is cancelled then has this long to come home. */
#define HOME_MS 5000

static void
end_when_idle(void *ctx)
{
	struct daemon *d = ctx;

	if ((engine_is_idle(d->parts.engine) && d->entries.running == 0) || !loop_timer_is_set(&d->home))
		loop_stop(d->parts.loop);
	else
		loop_timer_set(d->parts.loop, &d->grace, 5, end_when_idle, d);
}

static void
home_is_late(void *ctx)
{
	(void)ctx;      /* end_when_idle sees that the timer is gone */
}

static void
server_drained(void *ctx)
{
	struct daemon *d = ctx;

	if (d->is_ending || --d->draining > 0)
		return;
	engine_drain(d->parts.engine);
	loop_timer_set(d->parts.loop, &d->home, HOME_MS, home_is_late, d);
	end_when_idle(d);
}

static void
left_cluster(void *ctx)
{
	struct daemon *d = ctx;

	if (d->is_ending)
		return;
	front_stop(d->upload_front);
	if (d->scheduler_front != NULL)
		front_stop(d->scheduler_front);
	if (d->parts.scheduler != NULL)
		scheduler_drain(d->parts.scheduler);
	d->draining = d->parts.proxy != NULL ? 3 : 2;
	if (d->parts.proxy != NULL)
		proxy_drain(d->parts.proxy, PROXY_GRACE_MS, server_drained, d);
	rpc_server_drain(d->parts.download_rpc, GRACE_MS, server_drained, d);
	piece_server_drain(d->parts.pieces, GRACE_MS, server_drained, d);
}

void
daemon_on_stop(struct loop_msg *msg)
{
	struct daemon *d = CONTAINER_OF(msg, struct daemon, stop_msg);

	if (d->is_ending)
		return;
	log_info("stopping");
	d->parts.is_ready = false;
	health_set(&d->download_health, false);
	health_set(&d->upload_health, false);
	loop_timer_clear(d->parts.loop, &d->tick);
	loop_timer_clear(d->parts.loop, &d->gc);
	loop_timer_clear(d->parts.loop, &d->certificates);
	cluster_leave(d->parts.cluster, LEAVE_MS, left_cluster, d);
}

void
daemon_stop(struct daemon *d)
{
	switch (atomic_fetch_add(&d->stops, 1)) {
	case 0:
		loop_post(d->parts.loop, &d->stop_msg);
		break;
	default:
		loop_stop(d->parts.loop);
		break;
	}
}

void
daemon_on_reload(struct loop_msg *msg)
{
	struct daemon *d = CONTAINER_OF(msg, struct daemon, reload_msg);
	struct err e;

	atomic_store(&d->is_reloading, false);
	if (log_reopen(&e) < 0)
		log_error("%s", e.text);
	else
		log_info("log reopened");
	daemon_tls_refresh(d);
}

void
daemon_reload(struct daemon *d)
{
	if (!atomic_exchange(&d->is_reloading, true))
		loop_post(d->parts.loop, &d->reload_msg);
}

/* Whatever still runs is ended and waited for: the data loops must be quiet before the store closes. */
static void
bring_home(struct daemon *d)
{
	int64_t until = clock_mono_ms() + HOME_MS;

	if (d->parts.engine == NULL)
		return;
	engine_drain(d->parts.engine);
	store_end_background(d->parts.store);
	while ((!engine_is_idle(d->parts.engine) || d->entries.running > 0 || store_jobs_running(d->parts.store) > 0) && clock_mono_ms() < until)
		loop_turn(d->parts.loop, 5);
	if (!engine_is_idle(d->parts.engine))
		log_error("some transfers did not end in %d s", HOME_MS / 1000);
}

void
daemon_free(struct daemon *d)
{
	if (d == NULL)
		return;
	if (d->parts.loop == NULL)
		goto out;
	d->is_ending = true;
	d->parts.is_ready = false;
	loop_timer_clear(d->parts.loop, &d->tick);
	loop_timer_clear(d->parts.loop, &d->gc);
	loop_timer_clear(d->parts.loop, &d->certificates);
	loop_timer_clear(d->parts.loop, &d->sample);
	loop_timer_clear(d->parts.loop, &d->grace);
	loop_timer_clear(d->parts.loop, &d->home);
	status_free(d->parts.status);
	listener_free(d->unix_listener);
	front_free(d->upload_front);
	front_free(d->scheduler_front);
	rpc_server_free(d->parts.download_rpc);
	rpc_server_free(d->parts.upload_rpc);
	proxy_free(d->parts.proxy);
	d->parts.proxy = NULL;
	bring_home(d);
	if (d->parts.pieces != NULL)
		piece_server_free(d->parts.pieces);
	engine_free(d->parts.engine);
	d->parts.engine = NULL;
	cluster_free(d->parts.cluster);
	rpc_server_free(d->scheduler_rpc);
	scheduler_free(d->parts.scheduler);
	workers_free(d->parts.workers);
	d->parts.workers = NULL;
	loop_turn(d->parts.loop, 0);
	if (d->parts.store != NULL)
		store_close(d->parts.store);
	loop_free(d->parts.loop);
out:
	adaptive_free(&d->download_adaptive);
	adaptive_free(&d->upload_adaptive);
	daemon_tls_free(d);
	callers_free(&d->callers);
	free(d);
}
