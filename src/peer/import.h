/*
 * A user's file becomes a persistent cache task (spec: download.md 9.1): its id and length, the scheduler's leave, a copy in the store
 * with a checksum for each piece, and the scheduler's word that replicas will be made. The file itself is never shared: what its owner does
 * with it later changes nothing. Belongs to the control loop; bytes are read and written on threads for blocking work.
 */
#ifndef PEER_IMPORT_H
#define PEER_IMPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"

struct common_persistent_cache_task;
struct engine;
struct err;
struct import;
struct list;

/* Imports at once; each holds two descriptors and, while it reads, a thread. */
#define IMPORTS_MAX 256
/* What schedulers take (spec: scheduler.md A4). */
#define IMPORT_TTL_MIN_S 300
#define IMPORT_TTL_MAX_S 604800

struct import_request {
	struct slice path;              /* absolute */
	struct slice content_for_id;    /* p NULL: the file's bytes make the id */
	struct slice tag, application;  /* p NULL: absent */
	uint64_t piece_length;          /* 0: by the length */
	uint64_t replicas;
	int64_t ttl_ns;                 /* 0: gc.policy.persistentCacheTaskTTL */
	int64_t timeout_ms;             /* 0: none */
	bool has_owner;                 /* the file is read with this user's rights */
	uid_t uid;
	gid_t gid;
};

/* task is valid during the call; NULL with err set on failure. */
typedef void import_done_fn(void *ctx, const struct common_persistent_cache_task *task, const struct err *err);

/* NULL when it cannot begin; else done comes once, never from within. */
struct import *import_start(struct engine *g, const struct import_request *r, import_done_fn *done, void *ctx, struct err *e);
/* Nobody waits any more: it is taken back, the scheduler is told. done is not called. */
void import_cancel(struct import *i);
/* The process stops: ends with UNAVAILABLE. */
void import_stop(struct import *i);
/* The import of a place in engine->imports. */
struct import *import_of(struct list *link);

#endif
