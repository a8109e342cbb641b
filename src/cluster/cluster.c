#include "cluster/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cluster/facts.h"
#include "cluster/ring.h"
#include "config/config.h"
#include "config/dynconfig.h"
#include "net/addr.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "proto/common.h"
#include "proto/health.h"
#include "proto/scheduler.h"

/* While no scheduler answers, or one was just lost, they are asked again this soon. */
#define RETRY_MS 1000
/* One health check, one announcement. */
#define CALL_MS 10000
/* The file is looked at this often for a change (a stat; nothing is read when it is the same). */
#define FILE_LOOK_MS 1000
#define HOST_BYTES 65536

struct scheduler_peer {
	struct list link;
	struct cluster *cluster;
	struct addr addr;
	char text[ADDR_TEXT_MAX];
	struct rpc_channel *channel;
	bool is_up;                     /* new ones count as up until they prove otherwise */
	bool is_announced;
	bool is_listed;                 /* used while a new list replaces the old one */
	struct rpc_call *check, *announce, *leave;
};

struct lookup {
	struct cluster *cluster;
	struct dns_lookup *dns;
	uint16_t port;
};

struct cluster {
	struct cluster_options o;
	char *id, *ip, *hostname, *dynconfig_path, *own;
	struct facts *facts;
	struct dns *dns;
	struct dynconfig dyn;
	bool has_dyn;
	struct timespec file_time;
	bool file_was_there;
	struct list peers;
	size_t peer_count;
	struct ring ring;
	struct scheduler_peer *ring_nodes[RING_NODES_MAX];
	struct lookup *lookups;         /* names under way */
	size_t lookup_count, lookups_open;
	struct loop_timer refresh, announce, look, leave;
	bool said_alone, is_leaving;
	void (*left)(void *ctx);
	void *left_ctx;
};

static void check_all(struct cluster *c);

/* ---- the ring ---- */

static void
rebuild_ring(struct cluster *c)
{
	struct slice names[RING_NODES_MAX] = {0};
	size_t n = 0;

	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (!p->is_up || n == RING_NODES_MAX)
			continue;
		names[n] = slice_str(p->text);
		c->ring_nodes[n++] = p;
	}
	if (ring_build(&c->ring, names, n) < 0)
		log_error("the ring of schedulers cannot be built");
	if (n == 0 && !c->said_alone && !c->is_leaving)
		log_warn("no scheduler is available: serving what is here and what the source gives");
	if (n > 0 && c->said_alone)
		log_info("a scheduler is available again");
	c->said_alone = n == 0;
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

		if (p->is_up && i++ == *at) {
			++*at;
			return p->channel;
		}
	}
	return NULL;
}

/* ---- announcing ---- */

static void check(struct scheduler_peer *p);

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
	/* The health check tells whether it is gone, and when it is back. */
	check(p);
}

static void
announce_to(struct scheduler_peer *p)
{
	struct cluster *c = p->cluster;
	int64_t interval = c->o.config->scheduler.announce_interval_ms;
	struct google_duration duration = {.seconds = interval / 1000, .nanos = (int32_t)(interval % 1000) * 1000000};
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

		if (p->is_up)
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
		rebuild_ring(p->cluster);
	}
	if (is_up && !p->is_announced)
		announce_to(p);
}

static void refresh(void *ctx);

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

/* ---- the list of schedulers ---- */

static void
peer_free(struct scheduler_peer *p)
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
	free(p);
}

static void
add_peer(struct cluster *c, const struct addr *a)
{
	struct scheduler_peer *p;

	LIST_EACH(it, next, &c->peers) {
		p = CONTAINER_OF(it, struct scheduler_peer, link);
		if (addr_eq(&p->addr, a)) {
			p->is_listed = true;
			return;
		}
	}
	if (c->peer_count == RING_NODES_MAX)
		return;
	p = xcalloc(1, sizeof *p);
	p->cluster = c;
	p->addr = *a;
	addr_format(a, p->text);
	p->channel = rpc_channel_new(c->o.loop, &(struct rpc_channel_opts){.addr = *a, .tls = c->o.scheduler_tls});
	p->is_up = p->is_listed = true;
	list_add_tail(&c->peers, &p->link);
	c->peer_count++;
}

/* The new list is complete: those that are not in it go. */
static void
list_complete(struct cluster *c)
{
	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (!p->is_listed) {
			log_info("scheduler left the list scheduler=%s", p->text);
			peer_free(p);
		}
	}
	rebuild_ring(c);
	check_all(c);
}

static void
on_resolved(void *ctx, const struct addr *addrs, size_t n, const struct err *e)
{
	struct lookup *l = ctx;
	struct cluster *c = l->cluster;
	bool has_v4 = false;

	l->dns = NULL;
	if (n == 0)
		log_warn("scheduler's name cannot be resolved error=\"%s\"", e->text);
	for (size_t i = 0; i < n; i++)
		has_v4 = has_v4 || addr_family(&addrs[i]) == AF_INET;
	for (size_t i = 0; i < n; i++) {
		struct addr a = addrs[i];

		if (has_v4 && addr_family(&a) != AF_INET)
			continue;
		addr_set_port(&a, l->port);
		add_peer(c, &a);
	}
	if (--c->lookups_open == 0)
		list_complete(c);
}

static void
cancel_lookups(struct cluster *c)
{
	for (size_t i = 0; i < c->lookup_count; i++)
		if (c->lookups[i].dns != NULL)
			dns_cancel(c->lookups[i].dns);
	free(c->lookups);
	c->lookups = NULL;
	c->lookup_count = c->lookups_open = 0;
}

/* "ip:port" at once, "name:port" after a look-up. */
static void
list_one(struct cluster *c, const char *text)
{
	struct addr a;
	const char *colon = strrchr(text, ':');
	uint64_t port;
	char *host;

	if (addr_parse(&a, text, NULL) == 0) {
		add_peer(c, &a);
		return;
	}
	if (colon == NULL || slice_to_u64(slice_str(colon + 1), &port) < 0 || port == 0 || port > 65535) {
		log_warn("scheduler's address is not \"host:port\" address=\"%s\"", text);
		return;
	}
	host = xstrndup(text, (size_t)(colon - text));
	c->lookups[c->lookup_count] = (struct lookup){.cluster = c, .port = (uint16_t)port};
	c->lookups[c->lookup_count].dns = dns_lookup(c->dns, host, on_resolved, &c->lookups[c->lookup_count]);
	c->lookup_count++;
	c->lookups_open++;
	free(host);
}

static void
make_list(struct cluster *c)
{
	const struct dynconfig *d = &c->dyn;

	cancel_lookups(c);
	LIST_EACH(it, next, &c->peers)
		CONTAINER_OF(it, struct scheduler_peer, link)->is_listed = false;
	c->lookups = xcalloc(d->scheduler_addrs.count + c->o.config->x.scheduler.peers.count + 2, sizeof *c->lookups);
	if (c->has_dyn && d->scheduler_addrs.count > 0) {
		for (size_t i = 0; i < d->scheduler_addrs.count; i++)
			list_one(c, d->scheduler_addrs.items[i]);
	} else if (c->has_dyn && !d->is_embedded) {
		list_one(c, d->scheduler_addr);
	} else {
		if (c->own != NULL)
			list_one(c, c->own);
		for (size_t i = 0; i < c->o.config->x.scheduler.peers.count; i++)
			list_one(c, c->o.config->x.scheduler.peers.items[i]);
	}
	if (c->lookups_open == 0)
		list_complete(c);
}

/* ---- dynconfig.yaml ---- */

static bool
file_changed(struct cluster *c)
{
	struct stat st;
	bool is_there = stat(c->dynconfig_path, &st) == 0;
	bool changed = is_there != c->file_was_there ||
	    (is_there && (st.st_mtim.tv_sec != c->file_time.tv_sec || st.st_mtim.tv_nsec != c->file_time.tv_nsec));

	c->file_was_there = is_there;
	if (is_there)
		c->file_time = st.st_mtim;
	return changed;
}

static int
load_file(struct cluster *c, struct err *e)
{
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct dynconfig fresh;
	int rc = dynconfig_load_file(c->dynconfig_path, c->own != NULL, &fresh, &notes, e);

	for (size_t i = 0; i < notes.warning_count; i++)
		log_warn("%s", notes.warnings[i]);
	config_notes_free(&notes);
	if (rc < 0)
		return -1;
	if (c->has_dyn)
		dynconfig_free(&c->dyn);
	c->dyn = fresh;
	c->has_dyn = true;
	return 0;
}

static void
look_at_file(void *ctx)
{
	struct cluster *c = ctx;
	struct err e;

	loop_timer_set(c->o.loop, &c->look, FILE_LOOK_MS, look_at_file, c);
	if (!file_changed(c))
		return;
	if (load_file(c, &e) < 0) {
		log_error("dynamic configuration stays as it was: %s", e.text);
		return;
	}
	log_info("dynamic configuration was read again file=\"%s\"", c->dynconfig_path);
	make_list(c);
}

int
cluster_check_download(struct cluster *c, const struct common_download *d, struct err *e)
{
	const struct client_config *rules = c->o.host.is_seed ? &c->dyn.seed : &c->dyn.client;
	struct block_query q = {
		.url = d->url, .application = d->application, .tag = d->tag, .has_priority = true, .priority = d->priority,
	};
	const char *why;

	if (!c->has_dyn)
		return 0;
	why = block_list_match(&rules->task_download, &q);
	if (why == NULL)
		return 0;
	log_info("download rejected by blocklist policy because of its %s", why);
	return err_set(e, ERR_PERMISSION_DENIED, "download rejected by blocklist policy");
}

int
cluster_check_persistent(struct cluster *c, bool is_cache, bool is_upload, struct slice url, struct slice application, struct slice tag,
    struct err *e)
{
	const struct client_config *rules = c->o.host.is_seed ? &c->dyn.seed : &c->dyn.client;
	const struct block_list *lists[2][2] = {
		{&rules->persistent_task_download, &rules->persistent_task_upload},
		{&rules->persistent_cache_task_download, &rules->persistent_cache_task_upload},
	};
	struct block_query q = {.url = url, .application = application, .tag = tag};
	const char *why;

	if (!c->has_dyn)
		return 0;
	why = block_list_match(lists[is_cache][is_upload], &q);
	if (why == NULL)
		return 0;
	log_info("%s rejected by blocklist policy because of its %s", is_upload ? "upload" : "download", why);
	return err_set(e, ERR_PERMISSION_DENIED, is_upload ? "upload rejected by blocklist policy" :
	    is_cache ? "download blocked by block list" : "download rejected by blocklist policy");
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
	if (c->dynconfig_path != NULL) {
		file_changed(c);
		if (load_file(c, e) < 0) {
			cluster_free(c);
			return NULL;
		}
	}
	c->dns = dns_new(o->loop, &(struct dns_opts){0});
	c->facts = facts_new(o->loop, o->config);
	return c;
}

void
cluster_start(struct cluster *c)
{
	make_list(c);
	announce_all(c);
	if (c->dynconfig_path != NULL)
		loop_timer_set(c->o.loop, &c->look, FILE_LOOK_MS, look_at_file, c);
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

static void
on_left(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct scheduler_peer *p = ctx;
	struct cluster *c = p->cluster;

	(void)answer;
	p->leave = NULL;
	if (st->code != ERR_OK && st->code != ERR_NOT_FOUND)
		log_info("good-bye was not heard scheduler=%s error=\"%s\"", p->text, st->message);
	LIST_EACH(it, next, &c->peers)
		if (CONTAINER_OF(it, struct scheduler_peer, link)->leave != NULL)
			return;
	left_now(c);
}

void
cluster_leave(struct cluster *c, int ms, void (*done)(void *ctx), void *ctx)
{
	struct scheduler_delete_host_request r = {.host_id = slice_str(c->id)};
	struct rpc_call_opts opts = {.total_ms = ms};
	bool any = false;

	c->is_leaving = true;
	c->left = done;
	c->left_ctx = ctx;
	loop_timer_clear(c->o.loop, &c->refresh);
	loop_timer_clear(c->o.loop, &c->announce);
	loop_timer_clear(c->o.loop, &c->look);
	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (!p->is_up || !p->is_announced)
			continue;
		p->leave = rpc_unary(p->channel, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_DELETE_HOST_AT], &r, &opts, on_left, p);
		any = true;
	}
	loop_timer_set(c->o.loop, &c->leave, any ? ms : 0, left_now, c);
}

void
cluster_free(struct cluster *c)
{
	if (c == NULL)
		return;
	c->is_leaving = true;
	cancel_lookups(c);
	LIST_EACH(it, next, &c->peers)
		peer_free(CONTAINER_OF(it, struct scheduler_peer, link));
	loop_timer_clear(c->o.loop, &c->refresh);
	loop_timer_clear(c->o.loop, &c->announce);
	loop_timer_clear(c->o.loop, &c->look);
	loop_timer_clear(c->o.loop, &c->leave);
	facts_free(c->facts);
	if (c->dns != NULL)
		dns_free(c->dns);
	if (c->has_dyn)
		dynconfig_free(&c->dyn);
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
