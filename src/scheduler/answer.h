/*
 * Answers as bytes. A list of parents is written directly, not by descriptors: each parent carries its host and task, whose bytes
 * are made once and copied. Pure.
 */
#ifndef SCHEDULER_ANSWER_H
#define SCHEDULER_ANSWER_H

#include "base/buf.h"
#include "base/slice.h"

struct arena;
struct common_peer;
struct common_task;
struct err;
struct sched_answer;
struct sched_host;
struct sched_peer;
struct sched_resources;
struct sched_task;

/* Reused between answers. */
struct answer_scratch {
	struct buf task;
	struct buf peer;
	struct buf list;
};

void answer_scratch_free(struct answer_scratch *a);

/* Appends one AnnouncePeerResponse for p; SCHED_ANSWER_NORMAL lists p->parents. */
void answer_encode(struct sched_resources *r, struct sched_peer *p, const struct sched_answer *a, struct answer_scratch *scratch,
	struct buf *out);

/* The Task and Peer of StatTask and StatPeer, made in the arena; they point into the state. -1 when the arena is full. */
int answer_task(const struct sched_resources *r, const struct sched_task *t, struct arena *a, struct common_task *out, struct err *e);
int answer_peer(struct sched_resources *r, struct sched_peer *p, struct arena *a, struct common_peer *out, struct err *e);

#endif
