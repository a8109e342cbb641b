/*
 * Consistent-hash rings that choose the scheduler of a task and the seed peer of a trigger: every peer of a cluster must come
 * to the same answer. Points and keys are SipHash-2-4 with key 0,0 (spec: download.md 3.2).
 */
#ifndef CLUSTER_RING_H
#define CLUSTER_RING_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* Which bytes are hashed: as peers from 1.5.10 on do, or as those up to 1.5.1. */
enum ring_kind { RING_HOSTNAME, RING_ADDRESS };

#define RING_POINTS_PER_NODE 512        /* RING_HOSTNAME; RING_ADDRESS has one */
#define RING_NODES_MAX 1024             /* schedulers of one cluster; far above any real one */

struct ring_point {
	uint64_t at;
	uint32_t node;
};

struct ring {
	enum ring_kind kind;
	struct ring_point *points;      /* sorted by place */
	size_t count;
};

void ring_init(struct ring *r, enum ring_kind kind);
void ring_free(struct ring *r);
/* Builds the ring of `count` nodes. For RING_HOSTNAME names[i] is the scheduler's host name, or "ip:port" ("[ip]:port") where it
 * has none; for RING_ADDRESS it is "ip:port". -1 when there are too many or, for RING_ADDRESS, one is no address. */
int ring_build(struct ring *r, const struct slice *names, size_t count);
/* Index of the node that owns the task id, or -1 on an empty ring. `skip` >= 0: the first other node clockwise. */
int ring_find(const struct ring *r, struct slice task_id, int skip);

/* Place of point i of a name and of a task id, as RING_HOSTNAME hashes them; for tests and for the seed ring. */
uint64_t ring_point_of(struct slice name, uint64_t i);
uint64_t ring_key_of(struct slice task_id);

#endif
