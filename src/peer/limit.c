#include "peer/limit.h"

#include <stddef.h>

/* From here on a limit cannot be told from none, and the arithmetic below stays far from overflow. */
#define RATE_MAX (UINT64_C(1) << 44)

void
limit_init(struct limit *l, uint64_t rate)
{
	l->rate = rate < RATE_MAX ? rate : 0;
	atomic_init(&l->used_until, 0);
}

/* Time that n bytes take at `rate`, bounded so that sums of it stay in range. */
static int_fast64_t
time_of(uint64_t n, uint64_t rate)
{
	const uint64_t second = 1000000000, most = (uint64_t)LIMIT_WAIT_MAX_MS * 1000000;
	uint64_t whole = n / rate, rest = n % rate;

	if (whole >= most / second)
		return (int_fast64_t)most;
	/* rest < rate < 2^44: split so that the product does not overflow. */
	return (int_fast64_t)(whole * second + (rest * (second >> 9) / rate << 9));
}

int64_t
limit_charge(struct limit *l, uint64_t n, int64_t now_ns)
{
	int_fast64_t until, start, end;

	if (l == NULL || l->rate == 0)
		return 0;
	until = atomic_load_explicit(&l->used_until, memory_order_relaxed);
	do {
		start = until > now_ns - LIMIT_BURST_NS ? until : now_ns - LIMIT_BURST_NS;
		end = start + time_of(n, l->rate);
		if (end > now_ns + (int64_t)LIMIT_WAIT_MAX_MS * 1000000)
			end = now_ns + (int64_t)LIMIT_WAIT_MAX_MS * 1000000;
	} while (!atomic_compare_exchange_weak(&l->used_until, &until, end));
	return end <= now_ns ? 0 : (end - now_ns + 999999) / 1000000;
}
