/*
 * The scheduler's mind: takes what peers say, changes the state by the rules of peers' lives, and answers each Register and
 * Reschedule exactly once, now or when something happens that allows it. No socket and no clock: the owner sets res.now_ms
 * before each call, calls sched_core_run after each batch of events and sched_core_tick when its time has come; answers and
 * outgoing calls leave through struct sched_output.
 */
#ifndef SCHEDULER_DECIDE_H
#define SCHEDULER_DECIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/slice.h"
#include "scheduler/resource.h"
#include "scheduler/scheduler.h"
#include "scheduler/seed.h"

struct common_download;
struct common_piece;
struct err;
struct regex;

/* Waiters looked at again in one run; the rest waits for the next, so that no herd holds the loop. */
#define SCHED_RUN_MAX 256u
/* Refreshed parent lists a second, all tasks together. */
#define SCHED_REFRESH_RATE 2000
/* Time for several changes to go into one refreshed list. */
#define SCHED_REFRESH_MS 30
/* A peer up to client 1.5.10 gives up at the sixth answer: the fifth must not need another. */
#define SCHED_ANSWERS_CAREFUL 4u
/* While more peers than this wait for slots, one answer holds few parents, so that many get some. */
#define SCHED_CROWD 8u
#define SCHED_CROWD_PARENTS 4u
/* A parent listed in a Reschedule that gained nothing. */
#define SCHED_RESCHEDULE_BLOCK_MS 10000
/* Questions about tasks to hosts: a second, and for one task after a restart. */
#define SCHED_PROBES_PER_SECOND 50
#define SCHED_RESTORE_HOSTS_MAX 32u
#define SCHED_RESTORE_WAIT_MS 3000
#define SCHED_RESTORE_TIME_MS (10 * 60000)

enum sched_answer_kind { SCHED_ANSWER_EMPTY, SCHED_ANSWER_NORMAL, SCHED_ANSWER_SOURCE, SCHED_ANSWER_METADATA };

struct sched_answer {
	enum sched_answer_kind kind;
	const char *description;                /* SOURCE */
};

/* SCHED_ANSWER_NORMAL: the parents are p->parents. None of these may call back into the core. */
struct sched_output {
	void (*answer)(void *ctx, struct sched_peer *p, const struct sched_answer *a);
	/* The end of a peer's stream: p->stream is not used afterwards. */
	void (*close)(void *ctx, void *stream, int code, const char *text);
	/* Ask a seed to download; reports come by sched_trigger_live and sched_trigger_done, not before this returned. */
	void (*trigger)(void *ctx, struct sched_trigger *g);
	void (*cancel_trigger)(void *ctx, struct sched_trigger *g);
	/* Ask a host whether it has all of a task; the report comes by sched_holder_answer with the same ids. */
	void (*ask_holder)(void *ctx, const struct sched_host *h, const char *task_id);
};

struct sched_application;

struct sched_core {
	struct sched_resources res;
	struct sched_output out;
	void *ctx;
	struct seed_ring seeds;
	struct list triggers;           /* sched_trigger.all */
	size_t n_triggers;
	struct list dirty;              /* sched_task.dirty */
	struct list bereft;             /* sched_task.bereft: may have lost the last source */
	struct heap checks;             /* sched_task.check */
	struct heap refreshes;          /* sched_task.refresh */
	struct heap probes;             /* sched_peer.probe */
	struct sched_application *applications;
	size_t n_applications;
	int64_t started_ms;
	int64_t refresh_at_ms;          /* tokens of SCHED_REFRESH_RATE are counted from here */
	int64_t probe_at_ms;
	int64_t gc_at_ms;
	int64_t host_gc_at_ms;
	const struct common_download *asking;   /* of the registration being decided */
	bool is_restored;               /* a host table came from a snapshot */
	struct scheduler_metrics metrics;
};

/* -1 when an application's expression is not valid. now_ms is monotonic, wall_ms the wall clock at the same time. */
int sched_core_init(struct sched_core *s, const struct scheduler_options *opt, const struct sched_output *out, void *ctx,
	int64_t now_ms, int64_t wall_ms, struct err *e);
void sched_core_free(struct sched_core *s);

/* Answers waiters whose chances changed, at most SCHED_RUN_MAX. true: call again soon. */
bool sched_core_run(struct sched_core *s);
/* Time-driven work; returns ms until it is to be called again (at most 1000). */
int64_t sched_core_tick(struct sched_core *s);

/* ---- what peers say ----
 * All return 0, or -1 with *e for the end of the stream; the peer is then Failed. */

struct sched_register {
	struct slice host_id, task_id, peer_id;
	const struct common_download *download;
	bool is_live;                   /* takes new parent lists unasked */
};

/* On success *out is the peer, its stream attached; it may have been answered, and even closed (p->stream NULL), already. */
int sched_register(struct sched_core *s, const struct sched_register *req, void *stream, struct sched_peer **out, struct err *e);
/* A second Register on a stream that has a peer. Always -1. */
int sched_register_again(struct sched_core *s, struct sched_peer *p, struct err *e);
int sched_started(struct sched_core *s, struct sched_peer *p, struct err *e);
int sched_source_started(struct sched_core *s, struct sched_peer *p, struct err *e);
int sched_reschedule(struct sched_core *s, struct sched_peer *p, const struct slice *parent_ids, size_t n, struct err *e);
/* The last four close the stream with OK. */
int sched_finished(struct sched_core *s, struct sched_peer *p, bool from_source, struct err *e);
int sched_failed(struct sched_core *s, struct sched_peer *p, bool from_source, struct err *e);
void sched_piece_finished(struct sched_core *s, struct sched_peer *p, const struct common_piece *piece, bool from_source);
void sched_piece_failed(struct sched_core *s, struct sched_peer *p, struct slice parent_id);
void sched_source_piece_failed(struct sched_core *s, struct sched_peer *p);
/* The stream is gone, with or without a final message. */
void sched_stream_gone(struct sched_core *s, struct sched_peer *p);

/* ---- hosts ---- */
/* NULL past the limit of hosts. */
struct sched_host *sched_announce_host(struct sched_core *s, const struct sched_host_info *info);
void sched_delete_host(struct sched_core *s, struct sched_host *h);
/* Peers of the host in the task. */
void sched_delete_task(struct sched_core *s, struct sched_host *h, struct slice task_id);
void sched_delete_peer(struct sched_core *s, struct sched_peer *p);

/* ---- what seeds and hosts say ---- */
void sched_trigger_live(struct sched_core *s, struct sched_trigger *g);
/* The call ended: code 0 for OK, else why not. g is freed. */
void sched_trigger_done(struct sched_core *s, struct sched_trigger *g, int code);
void sched_holder_answer(struct sched_core *s, struct slice host_id, struct slice task_id, bool is_finished);

/* Gauges into m; the counters are s->metrics. */
void sched_core_gauges(const struct sched_core *s, struct scheduler_metrics *m);

/* ---- between the files of the core ---- */
void sched_core_hook(struct sched_core *s);
void sched_mark_dirty(struct sched_core *s, struct sched_task *t);
void sched_mark_bereft(struct sched_core *s, struct sched_task *t);
void sched_mark_hungry(struct sched_core *s, struct sched_task *t);
/* Answers c, closes its stream, or lets it wait. */
void sched_decide(struct sched_core *s, struct sched_peer *c);
void sched_stop_waiting(struct sched_core *s, struct sched_peer *p);
/* Failed, with all that follows. */
void sched_fail_peer(struct sched_core *s, struct sched_peer *p);
void sched_close(struct sched_core *s, struct sched_peer *p, int code, const char *text);
void sched_keep_download(struct sched_core *s, struct sched_peer *c);
void sched_forget_download(struct sched_core *s, struct sched_peer *c);
bool sched_start_trigger(struct sched_core *s, struct sched_peer *c);
/* The pending trigger for c's task and range whose seed is c's host. */
struct sched_trigger *sched_own_trigger(const struct sched_peer *c);
void sched_refresh_task(struct sched_core *s, struct sched_task *t, int64_t *tokens);
/* Starts asking earlier hosts about a task that nobody here has; false when there is nobody to ask. */
bool sched_restore_task(struct sched_core *s, struct sched_peer *c);
void sched_collect(struct sched_core *s);
void sched_limit_holders(struct sched_core *s, struct sched_task *t);
uint32_t sched_priority(const struct sched_core *s, const struct sched_task *t, uint32_t asked);

#endif
