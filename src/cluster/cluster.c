#include "cluster/cluster_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cluster/facts.h"
#include "cluster/manager.h"
#include "config/config.h"
#include "net/dns.h"
#include "net/pb_time.h"
#include "net/rpc_client.h"
#include "proto/common.h"
#include "proto/health.h"
#include "proto/scheduler.h"

/* While no scheduler answers, or one was just lost, they are asked again this soon. */
#define RETRY_MS 1000
/* After a scheduler that lives did not take our announcement. */
#define REFUSED_MS 5000
/* One health check, one announcement. */
#define CALL_MS 10000
#define HOST_BYTES 65536

static void check_all(struct cluster *c);

/* ---- the ring ---- */

/* Of several entries with one host name only the newest exists (spec: download.md 3.2). */
static bool
is_outdone(const struct cluster *c, const struct scheduler_peer *p)
{
	if (*p->entry.hostname == '\0')
		return false;
	LIST_EACH(it, next, &c->peers) {
		const struct scheduler_peer *o = CONTAINER_OF(it, struct scheduler_peer, link);

		if (o != p && o->is_up && o->entry.cluster_id == p->entry.cluster_id && o->entry.id > p->entry.id &&
		    strcmp(o->entry.hostname, p->entry.hostname) == 0)
			return true;
	}
	return false;
}

/* The cluster of the best scheduler that is up; when none is, of the best at all: its rules hold meanwhile. */
static void
choose_cluster(struct cluster *c)
{
	const struct scheduler_peer *best = NULL;

	LIST_EACH(it, next, &c->peers) {
		const struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (best == NULL || p->is_up > best->is_up || (p->is_up == best->is_up && p->entry.rank < best->entry.rank))
			best = p;
	}
	if (best == NULL || best->entry.cluster_id == c->chosen)
		return;
	c->chosen = best->entry.cluster_id;
	if (c->chosen != CLUSTER_NO_MANAGER)
		log_info("scheduler cluster chosen cluster=%llu", (unsigned long long)c->chosen);
	else if (c->manager != NULL)
		log_info("no scheduler of the manager is available: the scheduler inside is used");
}

static void announce_to(struct scheduler_peer *p);

void
cluster_choose(struct cluster *c)
{
	struct slice names[RING_NODES_MAX] = {0};
	size_t n = 0;

	choose_cluster(c);
	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		p->is_used = p->is_up && p->entry.cluster_id == c->chosen && !is_outdone(c, p);
		if (!p->is_used || n == RING_NODES_MAX)
			continue;
		names[n] = slice_str(c->ring.kind == RING_HOSTNAME && *p->entry.hostname != '\0' ? p->entry.hostname : p->text);
		c->ring_nodes[n++] = p;
		if (!p->is_announced)
			announce_to(p);
	}
	if (ring_build(&c->ring, names, n) < 0)
		log_error("the ring of schedulers cannot be built");
	cluster_rules_apply(c);
	if (c->is_leaving)
		return;
	if (n == 0 && !c->said_alone)
		log_warn("no scheduler is available: serving what is here and what the source gives");
	if (n > 0 && c->said_alone)
		log_info("a scheduler is available again");
	c->said_alone = n == 0;
	if (n == 0 && c->manager != NULL)
		manager_refresh_soon(c->manager);
}

struct rpc_channel *
cluster_scheduler(struct cluster *c, struct slice task_id, bool other, struct err *e)
{
	int node = ring_find(&c->ring, task_id, -1);

	if (node >= 0 && other)
		node = ring_find(&c->ring, task_id, node);
	if (node < 0) {
		err_set(e, ERR_UNAVAILABLE, "available schedulers not found");
		return NULL;
	}
	return c->ring_nodes[node]->channel;
}

struct rpc_channel *
cluster_scheduler_next(struct cluster *c, size_t *at)
{
	size_t i = 0;

	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (p->is_used && i++ == *at) {
			++*at;
			return p->channel;
		}
	}
	return NULL;
}

/* ---- announcing ---- */

static void check(struct scheduler_peer *p);
static void refresh(void *ctx);

static void
on_announced(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct scheduler_peer *p = ctx;

	(void)answer;
	p->announce = NULL;
	p->is_announced = st->code == ERR_OK;
	if (st->code == ERR_OK) {
		log_debug("announced to scheduler=%s host=%s", p->text, p->cluster->id);
		return;
	}
	log_warn("announcing this host failed scheduler=%s error=\"%s\"", p->text, st->message);
	/* Does it live? The health check tells whether it is gone, and when it is back. One that lives and refuses us is asked again later. */
	if (st->is_local)
		check(p);
	else if (!p->cluster->is_leaving)
		loop_timer_set(p->cluster->o.loop, &p->cluster->refresh, REFUSED_MS, refresh, p->cluster);
}

static void
announce_to(struct scheduler_peer *p)
{
	struct cluster *c = p->cluster;
	int64_t interval = c->o.config->scheduler.announce_interval_ms;
	struct google_duration duration = pb_duration_ms(interval);
	struct common_host host;
	struct scheduler_announce_host_request r = {.host = &host, .interval = &duration};
	struct rpc_call_opts opts = {.total_ms = CALL_MS};
	struct arena a;

	if (p->announce != NULL || c->is_leaving)
		return;
	arena_init(&a, HOST_BYTES);
	if (facts_fill(c->facts, &c->o.host, &a, &host) == 0)
		p->announce = rpc_unary(p->channel, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT], &r, &opts,
		    on_announced, p);
	arena_free(&a);
}

static void
announce_all(void *ctx)
{
	struct cluster *c = ctx;
	int64_t interval = c->o.config->scheduler.announce_interval_ms;

	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (p->is_used)
			announce_to(p);
	}
	/* A tenth more or less, so that hosts that started together do not announce together for ever. */
	if (interval < 10)
		interval = 10;
	loop_timer_set(c->o.loop, &c->announce, interval - interval / 10 + (int64_t)rand_below((uint64_t)interval / 5 + 1), announce_all, c);
}

/* ---- health ---- */

static void
set_up(struct scheduler_peer *p, bool is_up, const char *why)
{
	bool changed = p->is_up != is_up;

	p->is_up = is_up;
	if (!is_up)
		p->is_announced = false;
	if (changed) {
		if (is_up)
			log_info("scheduler is available scheduler=%s", p->text);
		else
			log_warn("scheduler is not available scheduler=%s reason=\"%s\"", p->text, why);
		cluster_choose(p->cluster);
	}
	if (p->is_used && !p->is_announced)
		announce_to(p);
}

static void
on_checked(void *ctx, const void *answer, const struct rpc_status *st)
{
	const struct health_health_check_response *r = answer;
	struct scheduler_peer *p = ctx;

	p->check = NULL;
	if (st->code == ERR_OK && r->status == HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING)
		set_up(p, true, NULL);
	else {
		set_up(p, false, st->code != ERR_OK ? st->message : "not serving");
		if (!p->cluster->is_leaving)
			loop_timer_set(p->cluster->o.loop, &p->cluster->refresh, RETRY_MS, refresh, p->cluster);
	}
}

static void
check(struct scheduler_peer *p)
{
	struct health_health_check_request r = {0};
	struct rpc_call_opts opts = {.total_ms = CALL_MS};

	if (p->check == NULL)
		p->check = rpc_unary(p->channel, &health_health_service.methods[HEALTH_HEALTH_CHECK_AT], &r, &opts, on_checked, p);
}

static void
refresh(void *ctx)
{
	check_all(ctx);
}

static void
check_all(struct cluster *c)
{
	bool all_up = c->peer_count > 0;

	if (c->is_leaving)
		return;
	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		all_up = all_up && p->is_up;
		check(p);
	}
	loop_timer_set(c->o.loop, &c->refresh, all_up ? c->o.config->dynconfig.refresh_interval_ms : RETRY_MS, refresh, c);
}

void
cluster_announce_soon(struct cluster *c)
{
	LIST_EACH(it, next, &c->peers)
		CONTAINER_OF(it, struct scheduler_peer, link)->is_announced = false;
	check_all(c);
}

/* ---- the list ---- */

void
cluster_drop_scheduler(struct scheduler_peer *p)
{
	if (p->check != NULL)
		rpc_call_cancel(p->check);
	if (p->announce != NULL)
		rpc_call_cancel(p->announce);
	if (p->leave != NULL)
		rpc_call_cancel(p->leave);
	rpc_channel_release(p->channel);
	list_del(&p->link);
	p->cluster->peer_count--;
	free(p->entry.hostname);
	free(p);
}

void
cluster_list_changed(struct cluster *c)
{
	cluster_choose(c);
	check_all(c);
}

/* ---- life ---- */

struct cluster *
cluster_new(const struct cluster_options *o, struct err *e)
{
	struct cluster *c = xcalloc(1, sizeof *c);

	c->o = *o;
	c->id = xstrdup(o->host.id);
	c->ip = xstrdup(o->host.ip);
	c->hostname = xstrdup(o->host.hostname);
	c->dynconfig_path = o->dynconfig_path != NULL ? xstrdup(o->dynconfig_path) : NULL;
	c->own = o->own_scheduler != NULL ? xstrdup(o->own_scheduler) : NULL;
	c->o.host.id = c->id;
	c->o.host.ip = c->ip;
	c->o.host.hostname = c->hostname;
	list_init(&c->peers);
	ring_init(&c->ring, o->config->x.scheduler.ring == CONFIG_RING_ADDRESS ? RING_ADDRESS : RING_HOSTNAME);
	c->chosen = CLUSTER_NO_MANAGER;
	c->dns = dns_new(o->loop, &(struct dns_opts){0});
	if (cluster_list_load(c, e) < 0) {
		cluster_free(c);
		return NULL;
	}
	c->facts = facts_new(o->loop, o->config);
	return c;
}

void
cluster_start(struct cluster *c)
{
	cluster_list_start(c);
	announce_all(c);
}

static void
left_now(void *ctx)
{
	struct cluster *c = ctx;
	void (*done)(void *) = c->left;

	c->left = NULL;
	loop_timer_clear(c->o.loop, &c->leave);
	if (done != NULL)
		done(c->left_ctx);
}

/* One of the good-byes is over; done comes from the loop. */
static void
one_left(void *ctx)
{
	struct cluster *c = ctx;

	if (--c->leaving == 0 && c->left != NULL)
		loop_timer_set(c->o.loop, &c->leave, 0, left_now, c);
}

static void
on_left(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct scheduler_peer *p = ctx;

	(void)answer;
	p->leave = NULL;
	if (st->code != ERR_OK && st->code != ERR_NOT_FOUND)
		log_info("good-bye was not heard scheduler=%s error=\"%s\"", p->text, st->message);
	one_left(p->cluster);
}

void
cluster_leave(struct cluster *c, int ms, void (*done)(void *ctx), void *ctx)
{
	struct scheduler_delete_host_request r = {.host_id = slice_str(c->id)};
	struct rpc_call_opts opts = {.total_ms = ms};

	c->is_leaving = true;
	c->left = done;
	c->left_ctx = ctx;
	c->leaving = 1;
	loop_timer_clear(c->o.loop, &c->refresh);
	loop_timer_clear(c->o.loop, &c->announce);
	cluster_list_stop(c);
	loop_timer_set(c->o.loop, &c->leave, ms, left_now, c);
	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (!p->is_up || !p->is_announced)
			continue;
		p->leave = rpc_unary(p->channel, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_DELETE_HOST_AT], &r, &opts, on_left, p);
		c->leaving++;
	}
	if (c->manager != NULL) {
		c->leaving++;
		manager_leave(c->manager, ms, one_left, c);
	}
	one_left(c);
}

void
cluster_free(struct cluster *c)
{
	if (c == NULL)
		return;
	c->is_leaving = true;
	cluster_list_stop(c);
	manager_free(c->manager);
	LIST_EACH(it, next, &c->peers)
		cluster_drop_scheduler(CONTAINER_OF(it, struct scheduler_peer, link));
	loop_timer_clear(c->o.loop, &c->refresh);
	loop_timer_clear(c->o.loop, &c->announce);
	loop_timer_clear(c->o.loop, &c->leave);
	facts_free(c->facts);
	if (c->dns != NULL)
		dns_free(c->dns);
	if (c->has_dyn)
		dynconfig_free(&c->dyn);
	cluster_rules_free(c);
	ring_free(&c->ring);
	free(c->id);
	free(c->ip);
	free(c->hostname);
	free(c->dynconfig_path);
	free(c->own);
	free(c);
}

const struct cluster_host *
cluster_host(const struct cluster *c)
{
	return &c->o.host;
}

void
cluster_traffic(const struct cluster *c, struct cluster_traffic *out)
{
	facts_traffic(c->facts, out);
}
