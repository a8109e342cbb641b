/*
 * The conversation with a scheduler about one download attempt: the AnnouncePeer stream (spec: download.md 4.4). What is said is plain
 * functions, what is heard comes as events. After the last word the object looks after itself until the scheduler ended the stream.
 */
#ifndef PEER_ANNOUNCE_H
#define PEER_ANNOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "store/store.h"

struct announce;
struct common_download;
struct common_peer;
struct err;
struct loop;
struct origin_error;
struct rpc_channel;

/* Time to the response headers; Go schedulers send them with their first decision (spec: download.md 4.4). */
#define ANNOUNCE_HEADERS_MS 10000
/* Between the last word and the end of the stream. */
#define ANNOUNCE_GOODBYE_MS 10000
/*
 * With this request header we say that candidate parents may come at any time, not only as an answer: the embedded scheduler then sends
 * the whole list anew when it changes. Others ignore it. The answer carries the same header when they will come.
 */
#define ANNOUNCE_STREAM_HEADER "d7y-parents"
#define ANNOUNCE_STREAM_VALUE "stream"

/* The message lives during the call only. on_end is the last event; it is not called after a last word of ours. */
struct announce_events {
	void (*on_parents)(void *ctx, const struct common_peer *parents, size_t n);
	void (*on_need_source)(void *ctx, struct slice reason);
	void (*on_empty)(void *ctx);
	void (*on_metadata_only)(void *ctx);
	/* err NULL: the scheduler ended the stream without an error. */
	void (*on_end)(void *ctx, const struct err *err);
};

struct announce_opts {
	struct loop *loop;
	const char *host_id;
	const char *task_id;
	const char *peer_id;
	enum store_kind kind;           /* of the task: each has a conversation of its own */
	bool is_persistent;             /* a replica is wanted here; not for standard tasks */
	int64_t answer_ms;              /* longest time between two messages of the scheduler */
};

/* Opens the stream and registers with this Download. */
struct announce *announce_start(struct rpc_channel *ch, const struct announce_opts *o, const struct common_download *d,
    const struct announce_events *ev, void *ctx);

void announce_started(struct announce *a);
void announce_source_started(struct announce *a);
void announce_piece(struct announce *a, const struct store_piece *p, bool from_source);
/* All parents of a piece, or one of them, failed to give it. */
void announce_piece_failed(struct announce *a, uint32_t number, const char *parent_id);
/* What the origin answered, or err alone. */
void announce_source_piece_failed(struct announce *a, const struct err *err, const struct origin_error *origin);
/* Asks for other parents than these. */
void announce_reschedule(struct announce *a, struct common_peer *peers, size_t n, const char *why);

/* The last word; the object is not the caller's any more. */
void announce_finished(struct announce *a);
void announce_source_finished(struct announce *a);
void announce_failed(struct announce *a, const char *why);
void announce_source_failed(struct announce *a, const char *why);
/* Leaves without a word. */
void announce_cancel(struct announce *a);

/* The scheduler said that lists of parents may come at any time. */
bool announce_streams_parents(const struct announce *a);

#endif
