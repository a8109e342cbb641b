#include "serve/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/listener.h"
#include "peer/engine.h"
#include "peer/worker.h"
#include "proto/dfdaemon.h"
#include "scheduler/scheduler.h"
#include "serve/front.h"
#include "serve/piece.h"
#include "serve/privileges.h"
#include "serve/proxy.h"
#include "serve/proxy_tls.h"
#include "serve/status.h"
#include "source/source.h"
#include "store/store.h"

/* Store housekeeping: ticks, and tasks looked at in one slice of collection. */
#define TICK_MS 1000
#define GC_BUDGET 2000
#define GC_SLICE_NS 5000000     /* nobody waits longer for the loop because of a collection */
#define GC_WAIT_MS 20           /* files of those collected are being removed; more wait for it */
/* Connections to the scheduler inside: one of each host of a large cluster, and some. */
#define SCHEDULER_CONNECTIONS 20000

/* ---- store ---- */

struct store_work {
	struct work_job work;
	struct store_job *job;
};

static void
store_work_run(struct work_job *work)
{
	store_job_run(CONTAINER_OF(work, struct store_work, work)->job);
}

static void
store_work_done(struct work_job *work)
{
	struct store_work *w = CONTAINER_OF(work, struct store_work, work);

	store_job_done(w->job);
	free(w);
}

static void
run_store_job(void *arg, struct store_job *job)
{
	struct daemon *d = arg;
	struct store_work *w;

	/* After the threads ended, the work is done here. */
	if (d->parts.workers == NULL) {
		store_job_run(job);
		store_job_done(job);
		return;
	}
	w = xcalloc(1, sizeof *w);
	w->work.work = store_work_run;
	w->work.done = store_work_done;
	w->job = job;
	work_start_disk(d->parts.workers, &w->work);
}

static void
on_task_deleted(void *arg, struct store_task *task, enum store_reason reason)
{
	struct daemon *d = arg;

	if (d->parts.engine != NULL)
		engine_task_deleted(d->parts.engine, task, reason);
	if (d->parts.proxy != NULL)
		proxy_forget(d->parts.proxy, task->id);
	if (d->parts.is_ready)
		local_tell_collected(&d->about_tasks, task, reason);
}

static struct store *
open_store(struct daemon *d, struct err *e)
{
	const struct config *c = d->parts.config;
	static const enum store_sync syncs[] = {
		[CONFIG_SYNC_NONE] = STORE_SYNC_NONE, [CONFIG_SYNC_COMPLETE] = STORE_SYNC_COMPLETE, [CONFIG_SYNC_PIECE] = STORE_SYNC_PIECE,
	};
	uint64_t threshold = c->gc.policy.disk_threshold_bytes, capacity = c->x.storage.capacity_bytes;
	struct store_options o = {
		.dir = c->storage.dir, .keep = c->storage.keep, .sync = syncs[c->x.storage.sync],
		.capacity = capacity == 0 || (threshold != 0 && threshold < capacity) ? threshold : capacity,
		.run = run_store_job, .deleted = on_task_deleted, .arg = d,
	};

	return store_open(&o, e);
}

static void collect_garbage(void *ctx);

static void
tick(void *ctx)
{
	struct daemon *d = ctx;

	store_tick(d->parts.store, clock_wall_ns());
	/* A task found no space: room is made now, not at the next interval. */
	if (store_gc_is_wanted(d->parts.store))
		collect_garbage(d);
	loop_timer_set(d->parts.loop, &d->tick, TICK_MS, tick, d);
}

static void
collect_garbage(void *ctx)
{
	struct daemon *d = ctx;
	const struct config *c = d->parts.config;
	struct store_gc_limits limits = {
		.task_ttl = c->gc.policy.task_ttl_ms > INT64_MAX / 1000000 ? INT64_MAX : c->gc.policy.task_ttl_ms * 1000000,
		.page_cache_idle = c->gc.policy.page_cache_idle_timeout_ms > INT64_MAX / 1000000 ? 0 :
		    c->gc.policy.page_cache_idle_timeout_ms * 1000000,
		.high_percent = c->gc.policy.disk_high_threshold_percent, .low_percent = c->gc.policy.disk_low_threshold_percent,
		.max_ns = GC_SLICE_NS,
	};
	struct store_gc_result r = {0};

	store_gc_pass(d->parts.store, clock_wall_ns(), &limits, GC_BUDGET, &r);
	if (r.expired > 0 || r.evicted > 0)
		log_info("collected tasks expired=%zu evicted=%zu bytes=%llu", r.expired, r.evicted, (unsigned long long)r.freed);
	loop_timer_set(d->parts.loop, &d->gc, r.is_waiting ? GC_WAIT_MS : r.has_more ? 1 : c->gc.interval_ms, collect_garbage, d);
}

/* ---- load ---- */

static void
sample_load(void *ctx)
{
	struct daemon *d = ctx;
	const struct config_adaptive_rate_limit *c = &d->parts.config->server.adaptive_rate_limit;

	d->download_adaptive.is_overloaded = d->upload_adaptive.is_overloaded = adaptive_load_look(&d->load, c);
	loop_timer_set(d->parts.loop, &d->sample, c->collect_interval_ms, sample_load, d);
}

static void
start_admission(struct daemon *d)
{
	const struct config *c = d->parts.config;
	int64_t now = clock_mono_ms();

	admission_init(&d->download_admission, c->download.server.request_rate_limit, c->download.server.request_buffer_size, now);
	admission_init(&d->upload_admission, c->upload.server.request_rate_limit, c->upload.server.request_buffer_size, now);
	if (!c->server.adaptive_rate_limit.is_on)
		return;
	adaptive_init(&d->download_adaptive, &c->server.adaptive_rate_limit);
	adaptive_init(&d->upload_adaptive, &c->server.adaptive_rate_limit);
	d->download_admission.adaptive = &d->download_adaptive;
	d->upload_admission.adaptive = &d->upload_adaptive;
	sample_load(d);
}

/* ---- servers ---- */

static void
on_unix_accept(void *ctx, int fd, const struct addr *peer)
{
	struct daemon *d = ctx;

	(void)peer;
	rpc_server_serve(d->parts.download_rpc, fd, NULL, (struct slice){0});
}

/* Calls of the upload port: who may ask for that, then how many at once. */
static int
admit_upload(void *ctx, const struct rpc_stream *s, struct err *e)
{
	struct daemon *d = ctx;

	return callers_check(&d->callers, s, e) < 0 ? -1 : admission_admit(&d->upload_admission, s, e);
}

static void
answered_upload(void *ctx, const struct rpc_stream *s, int64_t ms)
{
	struct daemon *d = ctx;

	admission_answered(&d->upload_admission, s, ms);
}

static int
parse_address(const char *ip, uint16_t port, struct addr *a, struct err *e)
{
	if (addr_from_ip(a, slice_str(ip), port) < 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "listen on %s: not an IP address", ip);
	return 0;
}

static void
add_methods(struct daemon *d)
{
	const struct pb_method *m = dfdaemon_dfdaemon_upload_service.methods;

	d->upload_methods[0] = (struct rpc_method){
		.method = &m[DFDAEMON_DFDAEMON_UPLOAD_SYNC_PIECES_AT], .on_message = sync_pieces_on_request,
		.on_drain = sync_pieces_on_drain, .on_cancel = sync_pieces_on_cancel};
	d->upload_methods[1] = (struct rpc_method){
		.method = &m[DFDAEMON_DFDAEMON_UPLOAD_SYNC_HOST_AT], .on_message = sync_host_on_request, .on_cancel = sync_host_on_cancel};
	d->upload_methods[2] = (struct rpc_method){
		.method = &m[DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_TASK_AT], .on_message = download_on_request, .on_drain = download_on_drain,
		.on_cancel = download_on_cancel};
	rpc_server_add(d->parts.upload_rpc, &d->upload_methods[0], 2, &d->sync);
	rpc_server_add(d->parts.upload_rpc, &d->upload_methods[2], 1, &d->remote);
	d->download_methods[0] = (struct rpc_method){
		.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_TASK_AT],
		.on_message = download_on_request, .on_drain = download_on_drain, .on_cancel = download_on_cancel};
	rpc_server_add(d->parts.download_rpc, d->download_methods, 1, &d->local);
	local_serve(&d->about_tasks, d->parts.download_rpc, d->parts.upload_rpc);
	entries_serve(&d->entries, d->parts.download_rpc, d->parts.upload_rpc);
	persistent_serve(&d->persistent, &d->sync, d->parts.download_rpc, d->parts.upload_rpc);
}

static int
start_scheduler(struct daemon *d, struct err *e)
{
	const struct config *c = d->parts.config;
	struct scheduler_options o;
	struct addr a, bound;
	char *snapshot, *journal;

	if (!c->x.scheduler.enable)
		return 0;
	scheduler_options_default(&o);
	o.mesh = c->x.scheduler.mesh;
	o.host_owners = c->x.scheduler.host_owners;
	o.allow_loopback = c->x.scheduler.preheat.allow_loopback;
	o.blob_digest_ids = c->x.scheduler.preheat.blob_digest_task_id;
	o.peer_tls = d->tls[TLS_PARENTS].config;
	/* Beside the store, which leaves files of other names alone: a restart knows the hosts at once. */
	snapshot = xasprintf("%s/scheduler-hosts", c->storage.dir);
	o.snapshot_path = snapshot;
	journal = xasprintf("%s/scheduler-persistent", c->storage.dir);
	o.journal_path = journal;
	d->parts.scheduler = scheduler_new(d->parts.loop, &o, e);
	free(snapshot);
	free(journal);
	if (d->parts.scheduler == NULL)
		return -1;
	d->scheduler_rpc = rpc_server_new(d->parts.loop, &(struct rpc_server_opts){
		.name = "scheduler", .connections_max = SCHEDULER_CONNECTIONS, .per_ip_max = SCHEDULER_CONNECTIONS});
	scheduler_serve(d->parts.scheduler, d->scheduler_rpc);
	health_serve(&d->scheduler_health, d->scheduler_rpc, "scheduler.v2.Scheduler");
	d->scheduler_front = front_new(&(struct front_options){.loop = d->parts.loop, .rpc = d->scheduler_rpc, .tls = &d->tls[TLS_SCHEDULER_PORT].config});
	if (parse_address(c->upload.server.ip, c->x.scheduler.port, &a, e) < 0 || front_listen(d->scheduler_front, &a, &bound, e) < 0)
		return err_wrap(e, "scheduler");
	if (addr_from_ip(&a, slice_str(c->host.ip), addr_port(&bound)) < 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "host.ip %s is not an IP address", c->host.ip);
	addr_format(&a, d->own_scheduler);
	d->parts.own_scheduler = d->own_scheduler;
	health_set(&d->scheduler_health, true);
	log_info("scheduler inside address=%s", d->own_scheduler);
	return 0;
}

static int
start_servers(struct daemon *d, struct addr *upload, struct addr *pieces, struct err *e)
{
	const struct config *c = d->parts.config;
	struct addr a;

	start_admission(d);
	d->parts.download_rpc = rpc_server_new(d->parts.loop, &(struct rpc_server_opts){
		.name = "download", .admit = admission_admit, .answered = admission_answered, .admit_ctx = &d->download_admission});
	d->parts.upload_rpc = rpc_server_new(d->parts.loop, &(struct rpc_server_opts){
		.name = "upload", .admit = admit_upload, .answered = answered_upload, .admit_ctx = d});
	add_methods(d);
	health_serve(&d->download_health, d->parts.download_rpc, "dfdaemon.v2.DfdaemonDownload");
	health_serve(&d->upload_health, d->parts.upload_rpc, "dfdaemon.v2.DfdaemonUpload");
	d->parts.pieces = piece_server_new(&(struct piece_server_options){
		.loop = d->parts.loop, .workers = d->parts.workers, .store = d->parts.store, .engine = d->parts.engine,
		.bandwidth_limit = c->upload.bandwidth_limit, .is_disabled = c->upload.disable_shared,
		.uses_fastopen = c->storage.server.tcp_fastopen, .tls = d->tls[TLS_PIECES_OUT].config, .prefers_tls = c->x.piece.tls == CONFIG_PIECE_TLS_PREFER});
	turn_serve(&d->turns, d->parts.upload_rpc, d->parts.pieces);
	if (parse_address(c->storage.server.ip, c->storage.server.tcp_port, &a, e) < 0 ||
	    piece_server_listen(d->parts.pieces, &a, pieces, e) < 0)
		return err_wrap(e, "storage.server");
	d->upload_front = front_new(&(struct front_options){
		.loop = d->parts.loop, .rpc = d->parts.upload_rpc, .pieces = d->parts.pieces, .tls = &d->tls[TLS_UPLOAD].config});
	if (parse_address(c->upload.server.ip, c->upload.server.port, &a, e) < 0 || front_listen(d->upload_front, &a, upload, e) < 0)
		return err_wrap(e, "upload.server");
	d->unix_listener = listener_unix(d->parts.loop, c->download.server.socket_path, (mode_t)c->x.download.socket_mode,
	    d->socket_group, on_unix_accept, d, e);
	if (d->unix_listener == NULL)
		return err_wrap(e, "download.server");
	d->parts.status = status_new(&d->parts, e);
	return d->parts.status != NULL ? 0 : -1;
}

/* Accepts; connections are first looked at when the loop runs. */
static int
start_proxy(struct daemon *d, struct addr *bound, struct err *e)
{
	const struct config *c = d->parts.config;
	struct proxy_interceptor *tls;
	struct addr a;

	*bound = (struct addr){0};
	if (!c->proxy.server.enable)
		return 0;
	tls = proxy_tls_new(c, d->parts.workers->count, e);
	if (tls == NULL)
		return -1;
	d->parts.proxy = proxy_new(&(struct proxy_options){
		.loop = d->parts.loop, .config = c, .workers = d->parts.workers, .engine = d->parts.engine, .host_id = d->host_id,
		.interceptor = tls}, e);
	if (d->parts.proxy == NULL || parse_address(c->proxy.server.ip, c->proxy.server.port, &a, e) < 0 ||
	    proxy_listen(d->parts.proxy, &a, bound, e) < 0)
		return err_wrap(e, "proxy.server");
	return 0;
}

static struct workers *
start_workers(struct daemon *d, struct err *e)
{
	const struct config *c = d->parts.config;
	const struct config_headers *h = &c->backend.request_header;
	struct source_header *headers = xcalloc(h->count + 1, sizeof *headers);
	struct source_config source;
	struct workers *w;

	for (size_t i = 0; i < h->count; i++)
		headers[i] = (struct source_header){.name = h->items[i].name, .value = h->items[i].value};
	source_config_init(&source);
	source.user_agent = "dragonfly/" DRAGONFLY_VERSION;
	source.request_headers = (struct source_headers){.at = headers, .count = h->count};
	source.max_retries = c->backend.max_retries;
	source.redirect_cache_on = c->backend.enable_cache_temporary_redirect;
	source.redirect_cache_ttl_ms = c->backend.cache_temporary_redirect_ttl_ms;
	source.observer = metrics_backend_observer(&d->backend);
	source.guarded_rules = d->callers.origins;
	source.insecure_skip_verify = c->x.backend.insecure_skip_verify;
	source.ca_files[0] = c->x.backend.ca_cert;
	source.ca_files[1] = c->proxy.registry_mirror.cert;
	if (source.insecure_skip_verify)
		log_warn("the certificates of origins are not verified: x.backend.insecureSkipVerify");
	w = workers_new(d->parts.loop, c->x.server.io_threads, &source, e);
	if (w == NULL)
		err_wrap(e, "origins (x.backend.caCert, proxy.registryMirror.cert, http_proxy)");
	free(headers);
	return w;
}

/* ---- life ---- */


static void
set_services(struct daemon *d, const struct addr *pieces)
{
	const struct config *c = d->parts.config;

	d->local = (struct download_service){
		.engine = d->parts.engine, .cluster = d->parts.cluster, .host_id = d->host_id,
		.obeys_block_list = true, .is_local = true};
	d->remote = (struct download_service){
		.engine = d->parts.engine, .cluster = d->parts.cluster, .host_id = d->host_id,
		.obeys_block_list = c->x.upload.enforce_block_list, .output_dirs = &c->x.upload.output_dirs};
	d->callers.cluster = d->parts.cluster;
	d->sync = (struct sync_service){
		.engine = d->parts.engine, .cluster = d->parts.cluster, .ip = c->host.ip, .piece_port = addr_port(pieces),
		.is_disabled = c->upload.disable_shared, .pieces = d->tls[TLS_PIECES_OUT].config != NULL ? d->parts.pieces : NULL};
	d->about_tasks.store = d->parts.store;
	d->about_tasks.cluster = d->parts.cluster;
	d->about_tasks.host_id = d->host_id;
	d->persistent.engine = d->parts.engine;
	d->persistent.store = d->parts.store;
	d->persistent.cluster = d->parts.cluster;
	d->persistent.host_id = d->host_id;
	d->persistent.local = &d->local;
	d->persistent.remote = &d->remote;
	d->persistent.counts = &d->about_tasks.counts;
	d->entries.engine = d->parts.engine;
	d->entries.counts = &d->about_tasks.counts;
}

struct daemon *
daemon_start(const struct daemon_options *o, struct err *e)
{
	struct daemon *d = xcalloc(1, sizeof *d);
	const struct config *c = o->config;
	struct addr upload, pieces, proxy;

	d->parts.config = c;
	callers_init(&d->callers, c);
	d->socket_group = o->privileges != NULL && o->privileges->is_change ? o->privileges->gid : (gid_t)-1;
	d->parts.started_ms = clock_mono_ms();
	d->parts.backend = &d->backend;
	d->parts.callers = &d->callers;
	d->parts.counts = &d->about_tasks.counts;
	d->parts.download_admission = &d->download_admission;
	d->parts.upload_admission = &d->upload_admission;
	atomic_init(&d->stops, 0);
	d->stop_msg.run = daemon_on_stop;
	atomic_init(&d->is_reloading, false);
	d->reload_msg.run = daemon_on_reload;
	host_id_make(d->host_id, c->host.ip, c->host.hostname, c->seed_peer.enable);
	d->parts.loop = loop_new("control", e);
	if (d->parts.loop == NULL || daemon_tls_load(d, e) < 0)
		goto fail;
	/* Before the store: what an earlier run left is removed in a worker's thread. */
	d->parts.workers = start_workers(d, e);
	if (d->parts.workers == NULL)
		goto fail;
	d->parts.store = open_store(d, e);
	if (d->parts.store == NULL)
		goto fail;
	/* The cluster wants the bound ports, which want the engine: it learns of the cluster last. */
	d->parts.engine = engine_new(&(struct engine_options){
		.loop = d->parts.loop, .config = c, .store = d->parts.store, .workers = d->parts.workers, .parent_tls = d->tls[TLS_PARENTS].config,
		.piece_tls = d->tls[TLS_PIECES_IN].config, .requires_piece_tls = c->x.piece.tls == CONFIG_PIECE_TLS_REQUIRE,
		.output_mode = (mode_t)o->output_mode, .insecure_skip_verify = c->x.backend.insecure_skip_verify});
	if (start_scheduler(d, e) < 0 || start_servers(d, &upload, &pieces, e) < 0 || start_proxy(d, &proxy, e) < 0)
		goto fail;
	/* Nothing was served yet: connections are first looked at when the loop runs. */
	if (o->privileges != NULL && (privileges_give(o->privileges, c->storage.dir, e) < 0 || privileges_drop(o->privileges, c, e) < 0))
		goto fail;
	d->parts.cluster = cluster_new(&(struct cluster_options){
		.loop = d->parts.loop, .config = c, .dynconfig_path = o->dynconfig_path, .scheduler_tls = d->tls[TLS_SCHEDULERS].config,
		.manager_tls = d->tls[TLS_MANAGER].config,
		.own_scheduler = d->own_scheduler[0] != '\0' ? d->own_scheduler : NULL,
		.host = {.id = d->host_id, .ip = c->host.ip, .hostname = c->host.hostname, .is_seed = c->seed_peer.enable,
		    .upload_port = addr_port(&upload), .piece_port = addr_port(&pieces), .proxy_port = addr_port(&proxy)}}, e);
	if (d->parts.cluster == NULL)
		goto fail;
	d->parts.engine->o.cluster = d->parts.cluster;
	if (d->parts.proxy != NULL)
		proxy_set_cluster(d->parts.proxy, d->parts.cluster);
	set_services(d, &pieces);
	cluster_start(d->parts.cluster);
	tick(d);
	daemon_tls_refresh(d);
	loop_timer_set(d->parts.loop, &d->gc, c->gc.interval_ms, collect_garbage, d);
	health_set(&d->download_health, true);
	health_set(&d->upload_health, true);
	d->parts.is_ready = true;
	log_info("started host=%s socket=%s upload=%u pieces=%u proxy=%u start_ms=%lld", d->host_id, c->download.server.socket_path,
	    (unsigned)addr_port(&upload), (unsigned)addr_port(&pieces), (unsigned)addr_port(&proxy), (long long)(clock_mono_ms() - d->parts.started_ms));
	return d;
fail:
	daemon_free(d);
	return NULL;
}

void
daemon_run(struct daemon *d)
{
	loop_run(d->parts.loop);
}

const struct daemon_parts *
daemon_parts(const struct daemon *d)
{
	return &d->parts;
}
