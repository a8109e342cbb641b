/*
 * Which parents a child gets: the rules that a candidate must pass, the score, the order. Reads the state, changes none of it
 * (but the random generator and cached scores).
 */
#ifndef SCHEDULER_EVALUATE_H
#define SCHEDULER_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>

#include "scheduler/resource.h"

/* Scores are in basis points. */
#define SCHED_SCORE_MAX 10000u

/* Rules in the order they are tried; a candidate is counted at the first one it breaks. */
enum sched_rule {
	SCHED_RULE_SELF = 1,    /* another peer on another host */
	SCHED_RULE_HOST,        /* announced, sharing, not gone */
	SCHED_RULE_STATE,       /* has or gets pieces, and is not stalled */
	SCHED_RULE_PIECES,      /* will have a piece that the child needs */
	SCHED_RULE_BLOCKED,     /* not blocked for this child */
	SCHED_RULE_BAD,         /* its host does not fail for everybody */
	SCHED_RULE_CYCLE,       /* without mesh: not below the child */
	SCHED_RULE_SLOTS,       /* has a free upload slot and serves well */
};

struct sched_pick {
	struct sched_peer *parents[SCHEDULER_PARENTS_MAX];
	uint32_t scores[SCHEDULER_PARENTS_MAX];
	unsigned n;
	uint32_t rejected[SCHEDULER_RULES];     /* by enum sched_rule */
	uint32_t n_useful;                      /* candidates that passed the rules up to PIECES */
	uint32_t n_full;                        /* candidates that broke SLOTS alone */
	bool is_personal;                       /* another child could have got another answer */
	bool must_wait_for_leaders;             /* two peers of its IDC are bringing the task in: wait a little for them */
};

enum sched_slots {
	SCHED_SLOTS_HARD,       /* pass 1: free slots, no stragglers */
	SCHED_SLOTS_SOFT,       /* pass 2 as well: only the host's load limit counts */
};

/* Fills *out with at most `limit` parents for c, best first. Present parents of c are left out (drop them first for a new
 * list), and so are other peers on their hosts. */
void sched_pick(struct sched_resources *r, struct sched_peer *c, enum sched_slots slots, unsigned limit, struct sched_pick *out);

/* Succeeded or at the source, and going to have all that c needs: with one such parent c cannot starve. */
bool sched_is_anchor(const struct sched_peer *p, const struct sched_peer *c);

/* Whether every piece that c needs is with somebody who did not just fail it; true while the pieces are not counted. */
bool sched_swarm_has(const struct sched_resources *r, const struct sched_peer *c);

/* No piece for longer than its pace explains. */
bool sched_is_stalled(const struct sched_resources *r, const struct sched_peer *p);

/* S and its part L in basis points, and the tie-break of order 6; for pick and for tests. */
uint32_t sched_score(struct sched_resources *r, const struct sched_peer *parent, const struct sched_host *child);
uint32_t sched_load_score(struct sched_resources *r, struct sched_host *h);
uint64_t sched_rendezvous(const char *child_host_id, const char *parent_peer_id);

/* Peers at the source, granted or triggered, that will have something c needs; a live trigger and its seed's peer count once. */
uint32_t sched_sources(const struct sched_resources *r, const struct sched_task *t, const struct sched_peer *c);
/* How many sources the task may have now: one, and one more for each source_growth_ms of stall. */
uint32_t sched_source_budget(const struct sched_resources *r, const struct sched_task *t);

#endif
