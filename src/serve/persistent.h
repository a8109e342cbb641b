/*
 * Persistent and persistent cache tasks on both gRPC servers (spec: daemon.md 2.5, 2.6, 2.12): users import, export, ask and list over the
 * unix socket; the scheduler makes, pins and drops replicas over TCP. The streams of pieces are download.c's, telling children is sync.c's.
 */
#ifndef SERVE_PERSISTENT_H
#define SERVE_PERSISTENT_H

#include "net/rpc_server.h"

struct cluster;
struct download_service;
struct engine;
struct local_counts;
struct store;
struct sync_service;

struct persistent_service {
	struct engine *engine;
	struct store *store;
	struct cluster *cluster;        /* NULL: no schedulers */
	const char *host_id;
	const struct download_service *local, *remote;  /* the downloads of each server */
	struct local_counts *counts;
	struct rpc_method local_methods[10], remote_methods[8], sync_methods[2];
};

/* Adds the methods to the servers, which v outlives. */
void persistent_serve(struct persistent_service *v, struct sync_service *sync, struct rpc_server *download, struct rpc_server *upload);

#endif
