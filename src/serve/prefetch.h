/*
 * The whole task after a range of it was asked for (spec: download.md 7.5): for gRPC callers and the proxy. Control loop.
 */
#ifndef SERVE_PREFETCH_H
#define SERVE_PREFETCH_H

#include <stdbool.h>

struct common_download;
struct engine;
struct store_task;

/* Starts it, unless the task is finished or a prefetch was started before. request is the one that asked for a range; copied. is_guarded:
 * as its caller (task_request). */
void prefetch_start(struct engine *g, const struct common_download *request, bool is_guarded, struct store_task *store);

#endif
