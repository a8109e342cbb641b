/* Scripted managers and schedulers on loopback, and a cluster that asks them. All on one loop, which the test turns. */
#ifndef TESTS_UNIT_CLUSTER_CLUSTER_TEST_H
#define TESTS_UNIT_CLUSTER_CLUSTER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/addr.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "proto/common.h"
#include "proto/google.h"
#include "proto/health.h"
#include "proto/manager.h"
#include "proto/scheduler.h"

#define LIMIT_MS 20000
#define ROWS_MAX 8
#define NODES_MAX 4
#define TASK "5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f"

/* A manager or a scheduler: one server does both. */
struct node {
	struct rpc_server *server;
	struct listener *listener;
	struct rpc_method methods[7];
	uint16_t port;
	/* as a scheduler */
	bool is_sick;
	int announced, left;
	char announced_id[64];
	/* as a manager */
	struct manager_scheduler rows[ROWS_MAX];
	struct manager_scheduler_cluster clusters[ROWS_MAX];
	size_t n_rows;
	int code;                       /* instead of an answer */
	const char *garbage;
	int asked;
	char asked_by[300], asked_ip[64], asked_idc[64], asked_location[64], asked_version[64];
	int32_t asked_type;
	uint64_t asked_cluster;
	int updates, keeps, kept_streams, deletes;
	uint64_t seed_cluster;
	int32_t seed_port;
	struct rpc_stream *kept;
};

struct world {
	struct loop *loop;
	struct config config;
	struct cluster *cluster;
	struct node nodes[NODES_MAX];
	bool left;
};

/* ---- what they answer ---- */

static void
empty(struct rpc_stream *s)
{
	struct google_empty nothing = {0};

	rpc_stream_send(s, &google_empty_desc, &nothing, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static void
keep_text(char *to, size_t size, struct slice s)
{
	snprintf(to, size, "%.*s", (int)s.n, (const char *)s.p);
}

static void
on_check(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct node *n = ctx;
	struct health_health_check_response r = {.status = n->is_sick ? HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING :
	    HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING};

	(void)request;
	rpc_stream_send(s, &health_health_check_response_desc, &r, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static void
on_announce(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct scheduler_announce_host_request *r = request;
	struct node *n = ctx;

	n->announced++;
	keep_text(n->announced_id, sizeof n->announced_id, r->host->id);
	empty(s);
}

static void
on_delete_host(struct rpc_stream *s, void *ctx, const void *request)
{
	(void)request;
	((struct node *)ctx)->left++;
	empty(s);
}

static void
on_ask(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct manager_list_schedulers_request *q = request;
	struct node *n = ctx;
	struct manager_list_schedulers_response r = {.schedulers = n->rows, .n_schedulers = n->n_rows};

	n->asked++;
	n->asked_type = q->source_type;
	n->asked_cluster = q->scheduler_cluster_id;
	keep_text(n->asked_by, sizeof n->asked_by, q->hostname);
	keep_text(n->asked_ip, sizeof n->asked_ip, q->ip);
	keep_text(n->asked_idc, sizeof n->asked_idc, q->idc);
	keep_text(n->asked_location, sizeof n->asked_location, q->location);
	keep_text(n->asked_version, sizeof n->asked_version, q->version);
	if (n->code != ERR_OK) {
		rpc_stream_end(s, n->code, "record not found", (struct slice){0});
		return;
	}
	if (n->garbage != NULL)
		rpc_stream_send_bytes(s, slice_str(n->garbage), NULL);
	else
		rpc_stream_send(s, &manager_list_schedulers_response_desc, &r, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static void
on_update(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct manager_update_seed_peer_request *q = request;
	struct manager_seed_peer r = {.id = 1, .hostname = q->hostname, .ip = q->ip};
	struct node *n = ctx;

	n->updates++;
	n->seed_cluster = q->seed_peer_cluster_id;
	n->seed_port = q->port;
	rpc_stream_send(s, &manager_seed_peer_desc, &r, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static void
on_delete_seed(struct rpc_stream *s, void *ctx, const void *request)
{
	(void)request;
	((struct node *)ctx)->deletes++;
	empty(s);
}

static void
on_keep_open(struct rpc_stream *s, void *ctx)
{
	struct node *n = ctx;

	n->kept = s;
	n->kept_streams++;
}

static void
on_keep(struct rpc_stream *s, void *ctx, const void *request)
{
	(void)s;
	(void)request;
	((struct node *)ctx)->keeps++;
}

static void
on_keep_over(struct rpc_stream *s, void *ctx)
{
	((struct node *)ctx)->kept = NULL;
	empty(s);
}

static void
on_keep_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	(void)s;
	(void)why;
	((struct node *)ctx)->kept = NULL;
}

/* ---- nodes ---- */

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	struct node *n = ctx;

	(void)peer;
	rpc_server_serve(n->server, fd, NULL, (struct slice){0});
}

/* On the port it had before, if it had one. */
static void
node_start(struct world *w, struct node *n)
{
	const struct pb_method *of_manager = manager_manager_service.methods, *of_scheduler = scheduler_scheduler_service.methods;
	struct addr a;
	struct err e;

	n->methods[0] = (struct rpc_method){.method = &health_health_service.methods[HEALTH_HEALTH_CHECK_AT], .on_message = on_check};
	n->methods[1] = (struct rpc_method){.method = &of_scheduler[SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT], .on_message = on_announce};
	n->methods[2] = (struct rpc_method){.method = &of_scheduler[SCHEDULER_SCHEDULER_DELETE_HOST_AT], .on_message = on_delete_host};
	n->methods[3] = (struct rpc_method){.method = &of_manager[MANAGER_MANAGER_LIST_SCHEDULERS_AT], .on_message = on_ask};
	n->methods[4] = (struct rpc_method){.method = &of_manager[MANAGER_MANAGER_UPDATE_SEED_PEER_AT], .on_message = on_update};
	n->methods[5] = (struct rpc_method){.method = &of_manager[MANAGER_MANAGER_DELETE_SEED_PEER_AT], .on_message = on_delete_seed};
	n->methods[6] = (struct rpc_method){.method = &of_manager[MANAGER_MANAGER_KEEP_ALIVE_AT], .on_open = on_keep_open,
		.on_message = on_keep, .on_half_close = on_keep_over, .on_cancel = on_keep_cancel};
	n->server = rpc_server_new(w->loop, &(struct rpc_server_opts){.name = "node"});
	rpc_server_add(n->server, n->methods, COUNT_OF(n->methods), n);
	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), n->port), 0);
	n->listener = listener_tcp(w->loop, &a, on_accept, n, &e);
	assert_non_null(n->listener);
	n->port = addr_port(listener_addr(n->listener));
}

static void
node_stop(struct node *n)
{
	if (n->server == NULL)
		return;
	listener_free(n->listener);
	rpc_server_free(n->server);
	n->server = NULL;
}

/* Adds a scheduler to what a manager tells. */
static void
row(struct node *manager, const char *hostname, uint64_t id, uint64_t cluster, const struct node *scheduler, const char *json)
{
	size_t i = manager->n_rows++;

	manager->clusters[i] = (struct manager_scheduler_cluster){
		.id = cluster, .client_config = slice_str(json), .seed_client_config = slice_str("{}")};
	manager->rows[i] = (struct manager_scheduler){
		.id = id, .hostname = slice_str(hostname), .ip = slice_str("127.0.0.1"), .port = scheduler->port, .state = slice_str("active"),
		.scheduler_cluster_id = cluster, .scheduler_cluster = &manager->clusters[i]};
}

/* ---- the cluster ---- */

static struct world *
world_new(void)
{
	struct world *w = xcalloc(1, sizeof *w);
	struct err e;

	log_set_level(LOG_ERROR);
	w->loop = loop_new("test", &e);
	assert_non_null(w->loop);
	for (size_t i = 0; i < NODES_MAX; i++)
		node_start(w, &w->nodes[i]);
	return w;
}

/* The cluster with this configuration; %u in it are the ports of nodes 0 and 1. */
static void
join(struct world *w, const char *format, bool is_seed)
{
	char text[1000];
	struct err e;
	const char *at = strstr(format, "%u");

	assert_non_null(at);
	snprintf(text, sizeof text, "%.*s%u%s", (int)(at - format), format, w->nodes[0].port, at + 2);
	at = strstr(text, "%u");
	if (at != NULL) {
		char rest[1000];

		snprintf(rest, sizeof rest, "%.*s%u%s", (int)(at - text), text, w->nodes[1].port, at + 2);
		memcpy(text, rest, sizeof text);
	}
	if (config_load_text(text, strlen(text), "test", &w->config, NULL, &e) < 0)
		fail_msg("%s", e.text);
	w->cluster = cluster_new(&(struct cluster_options){
		.loop = w->loop, .config = &w->config,
		.host = {.id = "127.0.0.1-me", .ip = "127.0.0.1", .hostname = w->config.host.hostname, .is_seed = is_seed, .upload_port = 4000,
		    .piece_port = 4005}}, &e);
	if (w->cluster == NULL)
		fail_msg("%s", e.text);
	cluster_start(w->cluster);
}

static void
on_left(void *ctx)
{
	((struct world *)ctx)->left = true;
}

static void
world_end(struct world *w)
{
	if (w->cluster != NULL && !w->left) {
		cluster_leave(w->cluster, 3000, on_left, w);
		assert_true(loop_run_until(w->loop, &w->left, LIMIT_MS));
	}
	cluster_free(w->cluster);
	for (size_t i = 0; i < NODES_MAX; i++)
		node_stop(&w->nodes[i]);
	loop_free(w->loop);
	config_free(&w->config);
	free(w);
}

/* Turns the loop until cond holds. */
#define WAIT(w, cond) \
	do { \
		int64_t until_ = clock_mono_ms() + LIMIT_MS; \
		while (!(cond) && clock_mono_ms() < until_) \
			loop_turn((w)->loop, 20); \
		if (!(cond)) \
			fail_msg("not in time: %s", #cond); \
	} while (0)

/* The port of the scheduler that is asked for TASK; 0: there is none. */
static unsigned
chosen(struct world *w)
{
	struct err e;
	struct rpc_channel *ch = cluster_scheduler(w->cluster, slice_str(TASK), false, &e);

	return ch == NULL ? 0 : (unsigned)strtoul(strrchr(rpc_channel_target(ch), ':') + 1, NULL, 10);
}

static size_t
available(struct world *w)
{
	size_t at = 0, n = 0;

	while (cluster_scheduler_next(w->cluster, &at) != NULL)
		n++;
	return n;
}

/* 0, or the code of the refusal. */
static int
download(struct world *w, const char *url, const char *tag)
{
	struct common_download d = {.url = slice_str(url), .tag = tag != NULL ? slice_str(tag) : (struct slice){0}};
	struct err e = {0};

	return cluster_check_download(w->cluster, &d, &e) < 0 ? e.code : 0;
}

#endif
