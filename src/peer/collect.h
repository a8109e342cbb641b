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

/* A parent that knows of turns (proto/turns.proto) says so in its answer to SyncPieces. */
#define PARENT_TURNS_HEADER "d7y-turns"
#define PARENT_TURNS_VALUE "1"
/* A parent whose piece port speaks TLS. Heeded only where the answer came over mutual TLS. */
#define PARENT_TLS_HEADER "d7y-piece-tls"
#define PARENT_TLS_VALUE "1"
/* A parent that gives turns but none to us is asked without one after this. */
#define PARENT_TURN_MS 20000
/* Pieces it may name that nobody got yet. */
#define PARENT_FRESH_MAX 256u

struct parent {
	struct list link;
	struct collect *collect;
	char id[PEER_ID_SIZE];
	char host_id[HOST_ID_SIZE];
	struct common_peer *peer;       /* as the scheduler gave it */
	struct addr pieces;             /* where its pieces are; length 0 until it told */
	struct rpc_channel *channel;
	struct tls_config *tls;         /* for its pieces; NULL: plaintext. The engine's */
	struct rpc_call *sync;          /* NULL when the stream is over */
	uint64_t *have;                 /* bitmap of pieces */
	uint32_t have_count;
	unsigned in_flight;
	unsigned failures;              /* in a row */
	bool is_dropped;

	struct rpc_call *turns;         /* NULL: it gives none */
	bool is_busy;                   /* to be asked only when it is our turn */
	bool wants_turn;                /* it knows that we wait */
	bool has_turn;                  /* it is our turn */
	uint64_t *fresh;                /* bitmap of pieces that it gave to nobody yet, as told with the turn; NULL: not told */
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
/* Parents that are asked. */
size_t collect_live(const struct collect *c);
/* True while a parent may still tell of more pieces. */
bool collect_is_open(const struct collect *c);
/* The parents as messages for a reschedule; *n of them. Freed by the caller with free(). */
struct common_peer *collect_peers(const struct collect *c, size_t *n);

/* The next piece and whom to ask; the piece is claimed, the parent's count raised. NULL when there is nothing to do now. A turn at a busy
 * parent is used first, where uses_turns allows that. */
struct parent *parent_pick(struct collect *c, bool uses_turns, uint32_t *piece);
/* Another parent than p has this piece and nothing else to do for us. */
bool parent_is_free_elsewhere(const struct parent *p, uint32_t piece);
/* A transfer from this parent ended. */
void parent_result(struct parent *p, uint32_t piece, enum fetch_failure failure);
void parent_drop(struct parent *p, const char *why);

/* ---- turns (turn.c) ---- */

/* Begins to listen to when it is our turn at this parent. */
void parent_turns_start(struct parent *p);
void parent_turns_stop(struct parent *p);
/* Some parent is asked in turn only. */
bool parents_take_turns(const struct collect *c);
/* Waits for a turn at all busy parents that have something for us; false when there is none. */
bool parents_wait_for_turn(struct collect *c);
/* Nothing more is to be asked now: waits no more, turns go back. */
void parents_leave_turns(struct collect *c);
/* No turn came for long: busy parents are asked like others from now on. */
void parents_ignore_turns(struct collect *c);
/* The piece that we would ask of this parent; UINT32_MAX when it has none for us. */
uint32_t parent_best_piece(const struct parent *p);

/* gRPC channels to parents, shared by all tasks, by address. */
struct parent_channels *parent_channels_new(struct engine *g);
void parent_channels_free(struct parent_channels *c);

#endif
