/*
 * One bucket of requests for all clients of the proxy (spec: proxy.md 17): so many a second, refilled in whole at each full second since the
 * start, nothing saved up. Lock-free: every data loop takes from it.
 */
#ifndef SERVE_PROXY_RATE_H
#define SERVE_PROXY_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct proxy_rate {
	uint64_t limit;                 /* requests a second; 0: none at all */
	int64_t started_ms;             /* monotonic */
	atomic_uint_fast64_t state;     /* the second (upper half), and how many were taken in it */
};

void proxy_rate_init(struct proxy_rate *r, uint64_t limit, int64_t now_ms);
/* True: go on. */
bool proxy_rate_take(struct proxy_rate *r, int64_t now_ms);

#endif
