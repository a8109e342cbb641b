/*
 * Between the files of the service only: struct scheduler and what its parts offer each other.
 */
#ifndef SCHEDULER_SERVICE_H
#define SCHEDULER_SERVICE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "net/loop.h"
#include "net/rpc_server.h"
#include "scheduler/answer.h"
#include "scheduler/decide.h"
#include "scheduler/scheduler.h"

struct common_host;
struct persist;
struct preheat;
struct pb_method;
struct rpc_call;
struct rpc_channel;
struct rpc_stream;

#define SERVICE_METHODS_MAX 40

/* A peer's AnnouncePeer stream. */
struct peer_stream {
	struct scheduler *s;
	struct rpc_stream *rpc;
	struct sched_peer *peer;        /* NULL before Register and after the core let go */
	struct list link;
	bool is_live;
	bool is_broken;                 /* an answer could not be queued: ended as soon as the core is done */
};

struct scheduler {
	struct loop *loop;
	struct sched_core core;
	char *snapshot_path;
	struct loop_timer timer;
	struct loop_later later;
	int64_t timer_at_ms;            /* when the timer fires */
	int64_t snapshot_at_ms;
	uint64_t snapshot_changes;      /* changes of hosts that it has */
	int64_t swept_ms;
	struct list streams;            /* peer_stream.link */
	struct list broken;             /* those to end */
	struct map channels;            /* "ip:port" -> struct callee */
	struct list triggers;           /* open calls to seeds */
	struct list asks;               /* open questions to hosts */
	struct rpc_method methods[SERVICE_METHODS_MAX];
	size_t n_methods;
	struct answer_scratch scratch;
	struct buf out;
	struct tls_config *peer_tls;
	bool is_draining;
	int64_t refused_ms;             /* an order about another's host was last written of */
	struct persist *persist;        /* tasks of the persistent kinds */
	struct preheat *preheat;        /* jobs */
};

/* The time, for the core; before every call into it. */
void service_now(struct scheduler *s);
/* After every call into it: what became possible is done after this callback, timers are set. */
void service_after(struct scheduler *s);
/* The answer of a unary call; one that cannot be sent ends the call with the reason. */
void service_reply(struct rpc_stream *rpc, const struct pb_desc *desc, const void *msg);
void service_reply_empty(struct rpc_stream *rpc);

/* service_peer.c */
void service_peer_answer(void *ctx, struct sched_peer *p, const struct sched_answer *a);
void service_peer_close(void *ctx, void *stream, int code, const char *text);
void service_peer_end_broken(struct scheduler *s);
void service_peer_opened(struct rpc_stream *rpc, void *ctx);
void service_peer_said(struct rpc_stream *rpc, void *ctx, const void *request);
void service_peer_half_closed(struct rpc_stream *rpc, void *ctx);
void service_peer_cancelled(struct rpc_stream *rpc, void *ctx, const struct err *why);

/* A new row of the table, its handlers still to be set. */
struct rpc_method *service_add_method(struct scheduler *s, const struct pb_method *method);
/* service_host.c: adds the unary calls. */
void service_add_methods(struct scheduler *s);

/* service_call.c: calls to seeds and hosts. */
void service_call_trigger(void *ctx, struct sched_trigger *g);
void service_call_cancel_trigger(void *ctx, struct sched_trigger *g);
void service_call_ask_holder(void *ctx, const struct sched_host *h, const char *task_id);
/* The channel to "ip:port"; NULL when that is no address. */
struct rpc_channel *service_call_channel(struct scheduler *s, const char *ip, int32_t port);
void service_call_sweep(struct scheduler *s);
void service_call_free(struct scheduler *s);

/* snapshot.c */
/* Written this often; a host counts as fresh for a minute at least, so a restart finds all that are. */
#define SNAPSHOT_MS 30000
/* After a change of hosts it is written sooner, but not more often than this and 1 ms for each host: a large table takes a while. */
#define SNAPSHOT_SOON_MS 1000
void snapshot_load(struct scheduler *s, const char *path);
/* is_last: also waits until the disk has it. */
void snapshot_save(struct scheduler *s, const char *path, bool is_last);

/* Keeps what a Host says: merges with the earlier announcement, fills in what listings show. 0, or -1 with *e. */
int service_host_announce(struct scheduler *s, const struct common_host *h, int64_t interval_ms, struct err *e);

#endif
