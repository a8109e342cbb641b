/*
 * ListTaskEntries: what the origin says of a URL (spec: daemon.md 2.5, 2.11). A file has a length and headers and no entries.
 */
#ifndef SERVE_ENTRIES_H
#define SERVE_ENTRIES_H

#include <stddef.h>

#include "net/rpc_server.h"

struct engine;
struct local_counts;

/* Questions to origins at once, for all callers together: each takes a connection and a place on a data loop. */
#define ENTRIES_RUNNING_MAX 64
/* Whatever a caller's timeout says. */
#define ENTRIES_TIMEOUT_MAX_MS (3600 * 1000)

struct entries_service {
	struct engine *engine;
	struct local_counts *counts;
	size_t running;                 /* on data loops; these must come home before the workers end */
	struct rpc_method methods[2];
};

/* Adds the method to both servers, which s outlives. */
void entries_serve(struct entries_service *s, struct rpc_server *download, struct rpc_server *upload);

#endif
