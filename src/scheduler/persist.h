/*
 * Persistent and persistent cache tasks of the embedded scheduler (spec: scheduler.md A11, B11): which there are, who holds them, how many
 * replicas are wanted. Tasks end with their time to live. What must outlive the process, tasks and their replicas, is in a journal. Belongs
 * to the scheduler's loop.
 */
#ifndef SCHEDULER_PERSIST_H
#define SCHEDULER_PERSIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "net/loop.h"

struct common_object_storage;
struct err;
struct rpc_call;
struct rpc_stream;
struct sched_host;
struct scheduler;

/* Tasks of one kind; each costs about a KiB. */
#define PERSIST_TASKS_MAX 100000u
/* Peers of one task: more hold it than are ever named as parents. */
#define PERSIST_PEERS_MAX 10000u
/* Parents that failed one child. */
#define PERSIST_BLOCKED_MAX 64u
/* Missing replicas are looked for this often, where nothing else tells of them. */
#define PERSIST_REPAIR_MS 60000
/* Tries of one task with one host. */
#define PERSIST_TRIES_MAX 3u
/* Hosts looked at for one replica. */
#define PERSIST_SAMPLE_MAX 256u
/* Calls to hosts under way: replicas, promotions, questions. */
#define PERSIST_CALLS_MAX 256u

enum persist_kind { PERSIST_PLAIN, PERSIST_CACHE, PERSIST_KINDS };

enum persist_task_state { PERSIST_TASK_PENDING, PERSIST_TASK_UPLOADING, PERSIST_TASK_SUCCEEDED, PERSIST_TASK_FAILED };

enum persist_peer_state {
	PERSIST_PEER_PENDING, PERSIST_PEER_UPLOADING, PERSIST_PEER_RECEIVED_EMPTY, PERSIST_PEER_RECEIVED_NORMAL, PERSIST_PEER_RUNNING,
	PERSIST_PEER_BACK_TO_SOURCE, PERSIST_PEER_SUCCEEDED, PERSIST_PEER_FAILED,
};

extern const char *const persist_task_state_names[];
extern const char *const persist_peer_state_names[];

struct persist;

struct persist_task {
	struct persist *all;
	enum persist_kind kind;
	enum persist_task_state state;
	char *id;
	char *tag, *application;        /* NULL: absent */
	char *url, *region, *endpoint;  /* of the plain kind */
	uint64_t replicas;              /* wanted */
	uint64_t piece_length;          /* 0 for the plain kind: by the length */
	uint64_t content_length;
	uint32_t piece_count;
	int64_t ttl_ms;
	int64_t created_ms, updated_ms; /* wall */
	struct list peers;              /* persist_peer.in_task, oldest first */
	uint32_t n_peers;
	uint32_t n_calls;               /* that may bring a replica */
	struct heap_node expiry;
	struct list tries;              /* struct persist_try */
};

/* Replicas that were asked of a host. */
struct persist_try {
	struct list link;
	unsigned n;
	char host_id[];
};

struct persist_peer {
	struct persist_task *task;
	enum persist_peer_state state;
	bool is_persistent;
	bool is_away;                   /* its host left, or was not heard of since the start: it counts again once it was asked */
	bool is_asked;                  /* the question is under way */
	char *host_id;
	uint32_t concurrent_pieces;
	int64_t created_ms, updated_ms; /* wall */
	int64_t cost_ms;
	struct persist_stream *stream;  /* NULL: its conversation is over */
	char **blocked;                 /* ids of peers that failed it */
	uint32_t n_blocked;
	struct list in_task;
	char id[];
};

struct persist {
	struct scheduler *s;
	struct map tasks[PERSIST_KINDS], peers[PERSIST_KINDS];
	struct heap expiry;             /* by the wall clock's ms */
	struct list calls;
	size_t n_calls;
	size_t n_away;
	struct list streams;            /* persist_stream.link */
	struct loop_timer timer;
	int64_t repair_at_ms;
	int journal;                    /* descriptor; -1: none */
	char *journal_path;
	bool journal_is_broken;         /* said once */
};

/* journal_path NULL: nothing outlives the process. Reads what is there. */
struct persist *persist_new(struct scheduler *s, const char *journal_path);
void persist_free(struct persist *p);
/* Adds the methods to the scheduler's table. */
void persist_add_methods(struct scheduler *s);
/* An announcement came of a host that may hold something. */
void persist_host_seen(struct persist *p, const struct sched_host *h);
/* The host said good-bye: what it holds does not count until it comes back and is asked. */
void persist_host_left(struct persist *p, struct slice host_id);
size_t persist_task_count(const struct persist *p);

/* ---- between the files ---- */

int64_t persist_wall_ms(const struct persist *p);
struct persist_task *persist_task_find(const struct persist *p, enum persist_kind kind, struct slice id);
/* NULL past PERSIST_TASKS_MAX. */
struct persist_task *persist_task_new(struct persist *p, enum persist_kind kind, struct slice id);
/* With its peers; the journal is told. */
void persist_task_remove(struct persist_task *t);
void persist_task_set_ttl(struct persist_task *t, int64_t created_ms, int64_t ttl_ms);
struct persist_peer *persist_peer_find(const struct persist *p, enum persist_kind kind, struct slice id);
struct persist_peer *persist_peer_of_host(const struct persist_task *t, struct slice host_id);
/* NULL past PERSIST_PEERS_MAX. */
struct persist_peer *persist_peer_new(struct persist_task *t, struct slice id, struct slice host_id);
void persist_peer_remove(struct persist_peer *c);
void persist_peer_set_away(struct persist_peer *c, bool is_away);
void persist_peer_block(struct persist_peer *c, struct slice parent_id);
/* Its host is known and heard of: the host, or NULL. */
struct sched_host *persist_peer_host(const struct persist_peer *c);
/* It has everything, and its host is there. */
bool persist_peer_is_holder(const struct persist_peer *c);
void persist_count(const struct persist_task *t, uint64_t *persistent, uint64_t *all);
/* The timer is not later than what is due. */
void persist_arm(struct persist *p);

/* replicas (persist_replicate.c) */
void persist_replicate(struct persist_task *t);
void persist_repair(struct persist *p);
/* This host is asked for no replica of it any more. */
void persist_exclude(struct persist_task *t, const char *host_id);
/* Asks the peer's host whether it still has it. */
void persist_ask(struct persist_peer *c);
/* Tells all who hold it to delete it; answers are not waited for. */
void persist_tell_deleted(struct persist_task *t);
void persist_tell_peer_deleted(const struct persist_peer *c);
void persist_calls_free(struct persist *p);
/* The peer or task goes: calls about it let go of it. */
void persist_calls_forget_peer(struct persist_peer *c);
void persist_calls_forget_task(struct persist_task *t);

/* the journal (persist_journal.c) */
void persist_journal_open(struct persist *p, const char *path);
void persist_journal_close(struct persist *p);
void persist_journal_task(const struct persist_task *t);
void persist_journal_task_gone(const struct persist_task *t);
void persist_journal_peer(const struct persist_peer *c);
void persist_journal_peer_gone(const struct persist_peer *c);

/* conversations (persist_stream.c) */
struct persist_stream {
	struct persist *all;
	enum persist_kind kind;
	struct rpc_stream *rpc;
	struct persist_peer *peer;      /* NULL before Register and after the peer went */
	struct list link;
};

void persist_stream_opened(struct rpc_stream *rpc, void *ctx);
void persist_stream_said(struct rpc_stream *rpc, void *ctx, const void *request);
void persist_stream_half_closed(struct rpc_stream *rpc, void *ctx);
void persist_stream_cancelled(struct rpc_stream *rpc, void *ctx, const struct err *why);

#endif
