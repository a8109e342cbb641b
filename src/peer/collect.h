/*
 * Who has which piece: the parents of one download attempt and what they tell through SyncPieces, and the choice of the next piece and
 * whom to ask for it (parent.c). Belongs to the control loop.
 */
#ifndef PEER_COLLECT_H
#define PEER_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "net/addr.h"
#include "peer/fetch.h"
#include "peer/ids.h"

struct collect;
struct common_peer;
struct engine;
struct rpc_call;
struct rpc_channel;
struct session;

/* Parents of one attempt: 16 from the embedded scheduler, refreshed over time; dropped ones are remembered so as not to ask again. */
#define COLLECT_PARENTS_MAX 64
/* Memory of their Peer messages, which go back to the scheduler with a reschedule. */
#define COLLECT_BYTES ((size_t)1 << 20)
/* Failures in a row after which a parent is not asked any more. */
#define PARENT_FAILURES_MAX 3
/* Pieces asked of one parent at a time while others that have wanted pieces are busy too. */
#define PARENT_IN_FLIGHT_MAX 4

struct parent {
	struct list link;
	struct collect *collect;
	char id[PEER_ID_SIZE];
	char host_id[HOST_ID_SIZE];
	struct common_peer *peer;       /* as the scheduler gave it */
	struct addr pieces;             /* where its pieces are; length 0 until it told */
	struct rpc_channel *channel;
	struct rpc_call *sync;          /* NULL when the stream is over */
	uint64_t *have;                 /* bitmap of pieces */
	uint32_t have_count;
	unsigned in_flight;
	unsigned failures;              /* in a row */
	bool is_dropped;
};

struct collect {
	struct session *session;
	struct list parents;
	size_t count;
	struct arena arena;
	uint16_t *holders;              /* per piece: parents that have it */
};

struct collect *collect_new(struct session *s);
void collect_free(struct collect *c);
/* Candidate parents from the scheduler: new ones are asked, known ones asked again where their stream is over. */
void collect_add(struct collect *c, const struct common_peer *peers, size_t n);
/* True while a parent may still tell of more pieces. */
bool collect_is_open(const struct collect *c);
/* The parents as messages for a reschedule; *n of them. Freed by the caller with free(). */
struct common_peer *collect_peers(const struct collect *c, size_t *n);

/* The next piece and whom to ask; the piece is claimed, the parent's count raised. NULL when there is nothing to do now. */
struct parent *parent_pick(struct collect *c, uint32_t *piece);
/* A transfer from this parent ended. */
void parent_result(struct parent *p, uint32_t piece, enum fetch_failure failure);
void parent_drop(struct parent *p, const char *why);

/* gRPC channels to parents, shared by all tasks, by address. */
struct parent_channels *parent_channels_new(struct engine *g);
void parent_channels_free(struct parent_channels *c);

#endif
