/*
 * Questions about tasks and orders to delete them, on both gRPC servers (spec: daemon.md 2.5, 2.6, 2.11): what this host has comes from
 * the store, what the cluster knows from the scheduler of the task. Persistent and persistent cache tasks are persistent.h's.
 */
#ifndef SERVE_LOCAL_H
#define SERVE_LOCAL_H

#include <stddef.h>
#include <stdint.h>

#include "net/rpc_server.h"
#include "store/store.h"

struct cluster;

/* Bytes of one answer of ListLocalTasks: about 100,000 tasks with ordinary headers. */
#define LOCAL_LIST_MAX ((size_t)64 << 20)
/* A scheduler that did not know our host is asked once more after so long: it was announced to meanwhile. */
#define LOCAL_RETRY_MS 300

enum local_rpc {
	LOCAL_STAT_TASK, LOCAL_STAT_LOCAL_TASK, LOCAL_LIST_LOCAL_TASKS, LOCAL_LIST_TASK_ENTRIES, LOCAL_DELETE_TASK,
	LOCAL_DELETE_LOCAL_TASK, LOCAL_DELETE_HOST, LOCAL_UPLOAD_TASK, LOCAL_UPDATE_TASK, LOCAL_RPCS,
};

struct local_counts {
	uint64_t calls[STORE_KINDS][LOCAL_RPCS], failures[STORE_KINDS][LOCAL_RPCS];
};

struct local_service {
	struct store *store;
	struct cluster *cluster;        /* NULL: no schedulers */
	const char *host_id;
	struct local_counts counts;     /* of both servers; entries.c and persistent.c add their own */
	struct rpc_method download_methods[6], upload_methods[3];
};

/* Adds the methods to the servers, which l outlives. */
void local_serve(struct local_service *l, struct rpc_server *download, struct rpc_server *upload);

/* A task was collected: its scheduler is told, without waiting for an answer (spec: daemon.md 3.2). Within store_options.deleted. */
void local_tell_collected(struct local_service *l, const struct store_task *t, enum store_reason reason);

#endif
