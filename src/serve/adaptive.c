#include "serve/adaptive.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "cluster/os/host.h"
#include "config/config.h"

void
adaptive_init(struct adaptive *a, const struct config_adaptive_rate_limit *c)
{
	*a = (struct adaptive){.count = c->bucket_count, .interval_ms = c->bucket_interval_ms, .cooldown_ms = c->shed_cooldown_ms};
	a->ring = xcalloc(a->count, sizeof *a->ring);
}

void
adaptive_free(struct adaptive *a)
{
	free(a->ring);
	a->ring = NULL;
}

uint64_t
adaptive_limit(const struct adaptive *a, int64_t now_ms)
{
	int64_t now = now_ms / a->interval_ms;
	uint64_t most = 0, least_ms = UINT64_MAX, limit;

	/* The running stretch is not whole yet; those before the ring's length are too old. */
	for (size_t i = 0; i < a->count; i++) {
		const struct adaptive_bucket *b = &a->ring[i];
		uint64_t mean;

		if (b->passes == 0 || b->index >= now || b->index < now - (int64_t)a->count)
			continue;
		mean = b->total_ms / b->passes;
		if (b->passes > most)
			most = b->passes;
		if (mean < least_ms)
			least_ms = mean;
	}
	if (most == 0)
		return UINT64_MAX;
	limit = most * least_ms / (uint64_t)a->interval_ms;
	return limit > ADAPTIVE_LIMIT_MIN ? limit : ADAPTIVE_LIMIT_MIN;
}

int
adaptive_enter(struct adaptive *a, int64_t now_ms, bool may_be_shed, struct err *e)
{
	if (may_be_shed && (a->is_overloaded || now_ms < a->cool_until_ms) && a->in_flight > 0 && a->in_flight >= adaptive_limit(a, now_ms)) {
		a->shed++;
		if (a->is_overloaded)
			a->cool_until_ms = now_ms + a->cooldown_ms;
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "server is overloaded: CPU/memory thresholds are exceeded, please retry later");
	}
	a->in_flight++;
	return 0;
}

void
adaptive_leave(struct adaptive *a)
{
	if (a->in_flight > 0)
		a->in_flight--;
}

void
adaptive_answered(struct adaptive *a, int64_t now_ms, int64_t ms)
{
	int64_t index = now_ms / a->interval_ms;
	struct adaptive_bucket *b = &a->ring[(uint64_t)index % a->count];

	adaptive_leave(a);
	if (b->index != index)
		*b = (struct adaptive_bucket){.index = index};
	b->passes++;
	b->total_ms += ms > 1 ? (uint64_t)ms : 1;
}

/* ---- load ---- */

static unsigned
percent(uint64_t part, uint64_t whole)
{
	return whole > 0 ? (unsigned)((double)part * 100 / (double)whole + 0.5) : 0;
}

bool
adaptive_load_look(struct adaptive_load *l, const struct config_adaptive_rate_limit *c)
{
	struct host_cpu_time cpu;
	struct host_memory memory;
	bool is_over = false;

	if (c->cpu_threshold_percent < 100 && host_cpu_time(&cpu)) {
		uint64_t all = cpu.busy + cpu.idle;

		is_over = l->has_last && all > l->all && percent(cpu.process - l->busy, all - l->all) >= c->cpu_threshold_percent;
		l->busy = cpu.process;
		l->all = all;
		l->has_last = true;
	}
	if (c->memory_threshold_percent < 100 && host_memory(&memory))
		is_over = is_over || percent(memory.process, memory.total) >= c->memory_threshold_percent;
	return is_over;
}
