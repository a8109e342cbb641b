#include "peer/limit.h"

#include <stddef.h>

static int_fast64_t
burst(const struct limit *l)
{
	uint64_t n = l->rate / 1000 * LIMIT_BURST_MS + l->rate % 1000 * LIMIT_BURST_MS / 1000;

	return n > 0 ? (int_fast64_t)n : 1;
}

void
limit_init(struct limit *l, uint64_t rate, int64_t now_ms)
{
	/* Beyond this no counter of bytes a second means anything, and the arithmetic below stays far from overflow. */
	const uint64_t most = UINT64_C(1) << 50;

	l->rate = rate < most ? rate : most;
	atomic_init(&l->tokens, burst(l));
	atomic_init(&l->refilled, now_ms);
}

static void
refill(struct limit *l, int64_t now_ms)
{
	int_fast64_t then = atomic_load_explicit(&l->refilled, memory_order_relaxed);
	int_fast64_t passed = now_ms - then;
	int_fast64_t add, have, full = burst(l);

	if (passed < LIMIT_STEP_MS)
		return;
	/* Whoever moves the time adds the tokens for it. */
	if (!atomic_compare_exchange_strong(&l->refilled, &then, now_ms))
		return;
	if (passed > 1000)
		passed = 1000;
	add = (int_fast64_t)(l->rate * (uint64_t)passed / 1000);
	if (add < 1)
		add = 1;
	have = atomic_load_explicit(&l->tokens, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&l->tokens, &have, have + add < full ? have + add : full))
		;
}

uint64_t
limit_take(struct limit *l, uint64_t want, int64_t now_ms)
{
	int_fast64_t have, got;

	if (l == NULL || l->rate == 0)
		return want;
	refill(l, now_ms);
	have = atomic_load_explicit(&l->tokens, memory_order_relaxed);
	do {
		if (have <= 0)
			return 0;
		got = (uint64_t)have < want ? have : (int_fast64_t)want;
	} while (!atomic_compare_exchange_weak(&l->tokens, &have, have - got));
	return (uint64_t)got;
}

void
limit_return(struct limit *l, uint64_t unused)
{
	if (l != NULL && l->rate != 0 && unused > 0)
		atomic_fetch_add(&l->tokens, (int_fast64_t)unused);
}
