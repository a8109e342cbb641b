/*
 * grpc.health.v1.Health on a gRPC server (spec: wire.md 3, daemon.md 2.2).
 */
#ifndef SERVE_HEALTH_H
#define SERVE_HEALTH_H

#include <stdbool.h>

#include "base/list.h"

struct rpc_server;

struct health {
	const char *service;            /* the name that is served beside "": "dfdaemon.v2.DfdaemonUpload" */
	bool is_serving;
	struct list watchers;
};

/* Adds the service; h must outlive the server. Not serving until health_set. */
void health_serve(struct health *h, struct rpc_server *srv, const char *service);
/* Tells those who watch, too. */
void health_set(struct health *h, bool is_serving);

#endif
