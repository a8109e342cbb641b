/*
 * Bandwidth limit shared by all data loops: bytes are charged as they move, and whoever is ahead of the rate is told how long to
 * wait before moving more. One atomic holds the time up to which the rate is used up; nothing else is shared.
 */
#ifndef PEER_LIMIT_H
#define PEER_LIMIT_H

#include <stdatomic.h>
#include <stdint.h>

/* Idle time earns at most this much at full speed. Shorter than a person notices, long enough that a busy loop is not woken for crumbs. */
#define LIMIT_BURST_NS (INT64_C(100) * 1000 * 1000)
/* Longest wait that one charge gives; a chunk of 256 KiB at 1 KB/s is within it. */
#define LIMIT_WAIT_MAX_MS (600 * 1000)

struct limit {
	uint64_t rate;                  /* bytes a second; 0 means no limit. Fixed after limit_init */
	atomic_int_fast64_t used_until; /* monotonic ns */
};

void limit_init(struct limit *l, uint64_t rate);
/* Charges n bytes that move now (monotonic ns). Returns the ms to wait before moving more, 0 to go on. NULL: no limit. Any thread. */
int64_t limit_charge(struct limit *l, uint64_t n, int64_t now_ns);

#endif
