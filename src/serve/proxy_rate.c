#include "serve/proxy_rate.h"

#define REFILL_MS 1000

void
proxy_rate_init(struct proxy_rate *r, uint64_t limit, int64_t now_ms)
{
	r->limit = limit < UINT32_MAX ? limit : UINT32_MAX;
	r->started_ms = now_ms;
	atomic_init(&r->state, 0);
}

bool
proxy_rate_take(struct proxy_rate *r, int64_t now_ms)
{
	uint64_t second = (uint64_t)((now_ms - r->started_ms) / REFILL_MS) & UINT32_MAX;
	uint_fast64_t old = atomic_load_explicit(&r->state, memory_order_relaxed), next;

	do {
		uint64_t taken = old >> 32 == second ? old & UINT32_MAX : 0;

		/* A loop whose clock was read a moment earlier takes from the newer second. */
		if (old >> 32 > second)
			return (old & UINT32_MAX) < r->limit;
		if (taken >= r->limit)
			return false;
		next = second << 32 | (taken + 1);
	} while (!atomic_compare_exchange_weak_explicit(&r->state, &old, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}
