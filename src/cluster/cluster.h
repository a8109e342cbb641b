/*
 * This host's place in the cluster: who we are, which schedulers there are, which of them a task belongs to, and telling them that we
 * live. Belongs to the control loop. Schedulers come from the manager, asked again and again, or without one from dynconfig.yaml, read again
 * when the file changes. Of a manager's clusters, in its order, the first with a scheduler that answers its health check is ours, and the
 * schedulers of it that answer are the ring. Without any the daemon runs all the same and says so once.
 */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct addr;
struct cluster;
struct common_download;
struct config;
struct err;
struct loop;
struct rpc_channel;
struct tls_config;

/* Fixed at start. Text lives as long as the cluster. */
struct cluster_host {
	const char *id;                 /* "<ip>-<hostname>[-seed]" */
	const char *ip;
	const char *hostname;
	bool is_seed;
	uint16_t upload_port;           /* gRPC for peers and schedulers */
	uint16_t piece_port;            /* vortex */
	uint16_t proxy_port;            /* 0: none */
};

struct cluster_options {
	struct loop *loop;
	const struct config *config;    /* lives longer than the cluster; host.ip and host.hostname are filled in */
	const char *dynconfig_path;     /* not read with manager.addr; may be absent on disk: then x.scheduler and the built-in scheduler are what there is */
	struct cluster_host host;       /* copied; ports as they were really bound */
	const char *own_scheduler;      /* "ip:port" of the scheduler inside this process, or NULL */
	struct tls_config *scheduler_tls;       /* NULL: plaintext */
	struct tls_config *manager_tls;         /* for https addresses; NULL: there are none */
};

struct cluster *cluster_new(const struct cluster_options *o, struct err *e);
/* Starts health checks and announcing; returns at once. */
void cluster_start(struct cluster *c);
/* Says good-bye (DeleteHost) to all schedulers, at most ms long, then calls done once. */
void cluster_leave(struct cluster *c, int ms, void (*done)(void *ctx), void *ctx);
void cluster_free(struct cluster *c);

const struct cluster_host *cluster_host(const struct cluster *c);

/*
 * The channel to the scheduler that the ring gives for a task; valid until the next turn of the loop (calls started on it keep it).
 * `other`: the next distinct one clockwise. NULL with UNAVAILABLE "available schedulers not found" when there is none.
 */
struct rpc_channel *cluster_scheduler(struct cluster *c, struct slice task_id, bool other, struct err *e);
/* All available ones, in turn: start with *at == 0; NULL at the end. */
struct rpc_channel *cluster_scheduler_next(struct cluster *c, size_t *at);
/* Whether one of the listed schedulers is at this IP, available now or not. */
bool cluster_has_scheduler_at(const struct cluster *c, const struct addr *a);
/* A scheduler did not know our host, or a connection to it broke: announce to it again at once. */
void cluster_announce_soon(struct cluster *c);

/* PERMISSION_DENIED "download rejected by blocklist policy" when the dynamic configuration forbids this download. */
int cluster_check_download(struct cluster *c, const struct common_download *d, struct err *e);

/* The same for the persistent kinds, "upload rejected by blocklist policy" for an upload. Absent parts are not compared. */
int cluster_check_persistent(struct cluster *c, bool is_cache, bool is_upload, struct slice url, struct slice application, struct slice tag,
    struct err *e);

/* Latest sample of this host's traffic in bit/s, refreshed each second. */
struct cluster_traffic {
	uint64_t max_rx, rx, max_tx, tx;
};
void cluster_traffic(const struct cluster *c, struct cluster_traffic *out);

#endif
