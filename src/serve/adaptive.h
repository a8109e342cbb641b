/*
 * Load shedding (spec: daemon.md 8.3): while the process uses more of CPU or memory than its thresholds, no more calls are under way at once
 * than the best recent stretch of time could answer. Pure: times come from the caller.
 */
#ifndef SERVE_ADAPTIVE_H
#define SERVE_ADAPTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_adaptive_rate_limit;
struct err;

/* However slow the recent past was, so many are always let in. */
#define ADAPTIVE_LIMIT_MIN 4

struct adaptive_bucket {
	int64_t index;                  /* time / interval that it stands for */
	uint64_t passes, total_ms;
};

struct adaptive {
	struct adaptive_bucket *ring;
	size_t count;
	int64_t interval_ms, cooldown_ms;
	int64_t cool_until_ms;          /* after a call was shed */
	uint64_t in_flight;
	uint64_t shed;                  /* ever */
	bool is_overloaded;             /* the owner's latest measurement */
};

void adaptive_init(struct adaptive *a, const struct config_adaptive_rate_limit *c);
void adaptive_free(struct adaptive *a);
/* A call begins: 0, or -1 with RESOURCE_EXHAUSTED when it may be shed and is. */
int adaptive_enter(struct adaptive *a, int64_t now_ms, bool may_be_shed, struct err *e);
/* It was refused by somebody else after all. */
void adaptive_leave(struct adaptive *a);
/* It was answered after so many ms. */
void adaptive_answered(struct adaptive *a, int64_t now_ms, int64_t ms);
/* Calls that may be under way at once while overloaded; UINT64_MAX while nothing is known. */
uint64_t adaptive_limit(const struct adaptive *a, int64_t now_ms);

/* Shares of the whole machine that this process takes, between two looks. */
struct adaptive_load {
	uint64_t busy, all;
	bool has_last;
};
/* Looks: whether a threshold is passed. False where the system does not tell. */
bool adaptive_load_look(struct adaptive_load *l, const struct config_adaptive_rate_limit *c);

#endif
