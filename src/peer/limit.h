/*
 * Bandwidth limit shared by all data loops: a token bucket of bytes that any thread may take from, chunk by chunk as the bytes
 * move. Its two counters are atomics; nothing else here is shared. A rate of 0 means no limit.
 */
#ifndef PEER_LIMIT_H
#define PEER_LIMIT_H

#include <stdatomic.h>
#include <stdint.h>

/* One refill step. Shorter than a person notices, long enough that a busy loop is not woken for crumbs. */
#define LIMIT_STEP_MS 10
/* Longest burst that idle time earns. */
#define LIMIT_BURST_MS 100

struct limit {
	uint64_t rate;                  /* bytes a second; fixed after limit_init */
	atomic_int_fast64_t tokens;     /* may go below zero by one chunk: the next taker waits it out */
	atomic_int_fast64_t refilled;   /* monotonic ms */
};

void limit_init(struct limit *l, uint64_t rate, int64_t now_ms);
/* Takes up to `want` bytes: the number granted, 0 when the caller has to come back in LIMIT_STEP_MS. NULL grants all. */
uint64_t limit_take(struct limit *l, uint64_t want, int64_t now_ms);
/* Gives back what was granted and not used. */
void limit_return(struct limit *l, uint64_t unused);

#endif
