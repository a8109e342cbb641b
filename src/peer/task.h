/*
 * A task that somebody wants now: its callers (requests of users, of the scheduler, of prefetch), its sessions (downloads under way) and
 * its watchers (children that wait for pieces). One per task id, however many ask; it goes away when nobody wants it, while
 * its pieces stay in the store. Belongs to the control loop.
 */
#ifndef PEER_TASK_H
#define PEER_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "net/loop.h"
#include "peer/ids.h"
#include "peer/pieces.h"
#include "proto/common.h"
#include "store/store.h"

struct engine;
struct origin_error;
struct origin_job;
struct origin_stat;
struct origin_target;
struct output_job;
struct rpc_call;
struct session;
struct session_metadata;
struct stats_series;
struct store_file;

/* Numbers of common.v2.TrafficType. */
enum task_traffic { TASK_BACK_TO_SOURCE = 0, TASK_REMOTE_PEER = 1, TASK_LOCAL_PEER = 2 };

/* Who asks. */
enum task_asker {
	TASK_FOR_USER,          /* unix socket, proxy */
	TASK_FOR_SCHEDULER,     /* a seed is triggered, or preheat: goes on when the call is cut */
	TASK_FOR_PREFETCH,
};

/* Memory of one request's Download message. */
#define TASK_REQUEST_BYTES ((size_t)8 << 20)
/* Requests of one task that wait at once. */
#define TASK_CALLERS_MAX 4096

struct task_started {
	struct store_task *store;       /* headers, length, piece length */
	const char *peer_id;
	bool has_range;
	struct byte_range range;
	struct piece_span span;         /* the pieces that will come */
	bool is_finished;               /* the whole task was on file when the request came */
};

struct task_end {
	const struct err *err;          /* NULL: success */
	const struct origin_error *origin;      /* what the origin said, when that was the reason; else NULL */
};

struct task_caller_events {
	/*
	 * Optional: once the length of the content is known, which part of it is wanted, instead of the request's range and Range header.
	 * Both outputs are set to "all of it" before. -1 with e ends the caller.
	 */
	int (*on_length)(void *ctx, struct store_task *t, bool *has_range, struct byte_range *range, struct err *e);
	void (*on_started)(void *ctx, const struct task_started *s);
	/* Each piece of the span once, in any order. */
	void (*on_piece)(void *ctx, const struct store_piece *p, enum task_traffic traffic);
	/* The end; the caller is gone when this returns. */
	void (*on_end)(void *ctx, const struct task_end *end);
};

/*
 * A persistent task is named by url, region and endpoint; a persistent cache task by its id: it lives in peers alone, and the scheduler
 * tells its length.
 */
struct task_request {
	const struct common_download *download; /* copied; as received, unknown fields included */
	enum store_kind kind;
	struct slice task_id;           /* of a persistent cache task */
	bool is_persistent;             /* a replica is wanted here that only its ttl ends; not for standard tasks */
	enum task_asker asker;
	bool is_guarded;                /* on behalf of somebody in the network: origins are bounded (source_request) */
	bool in_order;                  /* reads along: the first pieces first, and none beyond task_caller_set_horizon */
	const char *output_root;        /* an output lies below it (store_output_options.beneath); NULL: anywhere. Outlives the request */
	bool has_owner;                 /* of an output file */
	uid_t uid;
	gid_t gid;
};

struct task_caller {
	struct list link;               /* in task->callers */
	struct task *task;
	struct session *session;        /* what brings its missing pieces; NULL while none is needed */
	enum task_asker asker;
	bool is_guarded;
	struct arena arena;
	struct common_download download;
	char peer_id[PEER_ID_SIZE];
	const struct task_caller_events *events;
	void *ctx;
	bool is_persistent;
	const char *output_root;
	bool has_owner;
	uid_t uid;
	gid_t gid;
	int64_t asked_at;               /* wall ns */
	struct stats_series *series;    /* where it is counted, once the task is prepared */
	bool has_started, is_over, was_finished;
	bool is_declined;               /* its on_length wanted nothing: no failure */
	bool in_order;
	uint32_t horizon;               /* pieces from here on are not started for it; 0: all are */
	bool has_range;
	struct byte_range range;
	struct piece_span span;
	uint64_t *emitted;              /* bitmap of pieces told, or not wanted */
	uint32_t missing;               /* pieces of the span not told yet */
	struct output_job *output;      /* while it is verified and put in place */
	struct output_job *following;   /* takes the digest of what has come so far */
	struct session_metadata *metadata;      /* while the scheduler is told that we have it all */
	struct loop_later later;
	struct loop_timer deadline;
	struct err failure;             /* for an end that comes later */
};

/*
 * Starts or joins. NULL with INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED... for a request that cannot be; otherwise all
 * goes on by events, none of which is called before this returns.
 */
struct task_caller *task_request(struct engine *g, const struct task_request *r, const struct task_caller_events *ev, void *ctx,
    struct err *e);
/* The caller does not want it any more; no event follows. What others still want goes on. Also from inside its own events. */
void task_caller_cancel(struct task_caller *c);

/* In on_started: piece n of the span is not wanted. It is not fetched for this caller, and not told. */
void task_caller_skip(struct task_caller *c, uint32_t n);

/* Pieces from `horizon` on need not be started yet for this caller. Without a call: all may be. */
void task_caller_set_horizon(struct task_caller *c, uint32_t horizon);

/* A child (or anybody) that waits for pieces of a task. Embedded in its owner; gone after on_end or task_unwatch. */
struct task_watch {
	struct list link;
	struct task *task;
	void (*on_piece)(struct task_watch *w, uint32_t number);
	/* The last session ended (err NULL: see what the store has), or the task was deleted. The watch stays until task_unwatch. */
	void (*on_idle)(struct task_watch *w, const struct err *why);
};

/* -1 when there is no such task here (NOT_FOUND "task <id> not found"). is_active says whether a download is under way. */
int task_watch(struct engine *g, enum store_kind kind, struct slice task_id, struct task_watch *w, struct err *e);
void task_unwatch(struct task_watch *w);
bool task_is_active(const struct task *t);

/* Somebody's request for it is asking the origin what it is. */
bool task_is_being_prepared(struct engine *g, enum store_kind kind, const char *id);

/* ---- within the room ---- */

enum task_phase { TASK_NEW, TASK_PREPARING, TASK_READY };

struct task {
	struct engine *engine;
	char id[TASK_ID_SIZE];
	char key[TASK_ID_SIZE + 1];     /* in engine->tasks: kind and id */
	struct store_task *store;
	enum task_phase phase;
	bool is_deleted;
	bool lacks_range;               /* the origin does not do ranges */
	uint32_t piece_count;
	uint64_t *in_flight;            /* bitmap: some session is fetching it */
	struct list callers, sessions, watchers;
	struct list over;               /* sessions that only wait for their transfers */
	size_t caller_count;
	struct origin_target *target;   /* of the request that prepares it */
	struct origin_stat *stat;
	struct rpc_call *question;      /* to the scheduler, what it knows of the task */
	struct origin_job *stream;      /* the whole content of unknown length on its way */
	struct loop_later settle;
};

static inline bool
bit_get(const uint64_t *map, uint32_t n)
{
	return (map[n / 64] >> (n % 64) & 1) != 0;
}

static inline void
bit_set(uint64_t *map, uint32_t n)
{
	map[n / 64] |= UINT64_C(1) << (n % 64);
}

static inline void
bit_clear(uint64_t *map, uint32_t n)
{
	map[n / 64] &= ~(UINT64_C(1) << (n % 64));
}

/* Takes piece n for a transfer: false when it is finished or somebody else's. */
bool task_claim(struct task *t, uint32_t n);
/* Gives a claimed piece back unfinished; other sessions may take it. */
void task_unclaim(struct task *t, uint32_t n);
/* The bytes of a claimed piece are on file: journals it and tells callers, sessions and watchers. -1: the store refused. */
int task_piece_done(struct task *t, const struct store_piece *p, struct err *e);
/* Counts a piece that was transferred, by store_piece.traffic_type. */
void task_count_piece(struct task *t, const struct store_piece *p);
/* A session is over: err NULL, or why its callers cannot have their pieces. */
void task_session_ended(struct task *t, struct session *s, const struct err *err, const struct origin_error *origin);
/* The process stops: ends all that works on it, its callers with UNAVAILABLE. */
void task_stop(struct task *t);
/* Frees the task once nobody uses it. */
void task_settle(struct task *t);

#endif
