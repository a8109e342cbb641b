/*
 * DownloadTask, the stream of a task's pieces, as both gRPC servers offer it (spec: daemon.md 2.7, download.md 4 and 7): to users over the
 * unix socket, to schedulers that trigger a seed over TCP.
 */
#ifndef SERVE_DOWNLOAD_H
#define SERVE_DOWNLOAD_H

#include "net/rpc_server.h"

struct cluster;
struct config_strings;
struct engine;
struct task_request;

/* The ctx of the handlers. */
struct download_service {
	struct engine *engine;
	struct cluster *cluster;        /* NULL: no block list, no host id */
	const char *host_id;
	bool obeys_block_list;          /* refuses what the dynamic configuration forbids */
	const struct config_strings *output_dirs;       /* outputs of callers over TCP may lie below these; NULL: nowhere */
	bool is_local;                  /* the unix socket: the caller's rights decide on outputs; else there are none */
};

/* For a table entry of DownloadTask, with a struct download_service as ctx. */
void download_on_request(struct rpc_stream *s, void *ctx, const void *request);
/* Answers the stream of a download of any kind; fills in who asks. For entries of the persistent kinds, with the two below. */
void download_begin(struct rpc_stream *s, const struct download_service *service, struct task_request *ask);
void download_on_drain(struct rpc_stream *s, void *ctx);
void download_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why);

#endif
