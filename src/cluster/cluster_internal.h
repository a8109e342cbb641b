/*
 * The inside of cluster.h. cluster.c: health, announcing, the ring, life. cluster_list.c: which schedulers there are, from dynconfig.yaml
 * or the manager. cluster_rules.c: block lists.
 */
#ifndef CLUSTER_CLUSTER_INTERNAL_H
#define CLUSTER_CLUSTER_INTERNAL_H

#include "cluster/cluster.h"

#include <time.h>

#include "base/list.h"
#include "cluster/ring.h"
#include "config/dynconfig.h"
#include "net/addr.h"
#include "net/loop.h"

struct dns;
struct dns_lookup;
struct facts;
struct manager;
struct rpc_call;
struct rpc_channel;

/* Of schedulers that no manager told us of: the scheduler inside and x.scheduler.peers beside a manager's, or all of dynconfig.yaml. */
#define CLUSTER_NO_MANAGER UINT64_MAX

/* What a source of schedulers says of one. */
struct scheduler_entry {
	char *hostname;                 /* "": none; then its address is its name on the ring */
	uint64_t id, cluster_id;
	size_t rank;                    /* 0 is the best; schedulers of a cluster stand together */
};

struct scheduler_peer {
	struct list link;               /* in cluster->peers, by rank once a list is complete */
	struct cluster *cluster;
	struct addr addr;
	char text[ADDR_TEXT_MAX];
	struct scheduler_entry entry;
	struct rpc_channel *channel;
	bool is_up;                     /* new ones count as up until they prove otherwise */
	bool is_used;                   /* up, and of the chosen cluster: these are the ring */
	bool is_announced;
	bool is_listed;                 /* used while a new list replaces the old one */
	struct rpc_call *check, *announce, *leave;
};

struct lookup {
	struct cluster *cluster;
	struct dns_lookup *dns;
	uint16_t port;
	struct scheduler_entry entry;
};

/* The rules that a manager gives for a cluster, as they came. */
struct cluster_json {
	uint64_t id;
	char *text;
	size_t len;
};

struct cluster {
	struct cluster_options o;
	char *id, *ip, *hostname, *dynconfig_path, *own;
	struct facts *facts;
	struct dns *dns;
	struct manager *manager;        /* NULL: dynconfig.yaml holds */
	struct dynconfig dyn;
	bool has_dyn;
	struct timespec file_time;
	bool file_was_there;
	struct list peers;
	size_t peer_count;
	uint64_t chosen;                /* cluster */
	struct ring ring;
	struct scheduler_peer *ring_nodes[RING_NODES_MAX];
	struct lookup *lookups;         /* names under way */
	size_t lookup_count, lookups_open;
	struct cluster_json *jsons;     /* one per cluster that the manager listed */
	size_t json_count;
	struct cluster_json applied;    /* what `rules` came from, or the last that could not be used */
	struct client_config rules;     /* from the manager */
	bool has_rules;
	struct loop_timer refresh, announce, look, leave;
	bool said_alone, is_leaving;
	size_t leaving;                 /* good-byes that are awaited */
	void (*left)(void *ctx);
	void *left_ctx;
};

/* cluster.c: a new list is complete; asks all for their health, announces, builds the ring. */
void cluster_list_changed(struct cluster *c);
void cluster_drop_scheduler(struct scheduler_peer *p);
/* Chooses the cluster and builds the ring of its schedulers that are up. */
void cluster_choose(struct cluster *c);

/* cluster_list.c */
int cluster_list_load(struct cluster *c, struct err *e);
void cluster_list_start(struct cluster *c);
void cluster_list_stop(struct cluster *c);

/* cluster_rules.c */
struct manager_list_schedulers_response;
void cluster_rules_keep(struct cluster *c, const struct manager_list_schedulers_response *list);
void cluster_rules_apply(struct cluster *c);
void cluster_rules_free(struct cluster *c);

#endif
