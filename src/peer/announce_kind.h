/*
 * The three kinds of the conversation with a scheduler (spec: download.md 9): what is said in the words of a standard task goes out in
 * those of the task's kind, and what is heard comes back in the words of a standard task. Bytes in memory, nothing else.
 */
#ifndef PEER_ANNOUNCE_KIND_H
#define PEER_ANNOUNCE_KIND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/slice.h"
#include "store/store.h"

struct buf;
struct err;
struct scheduler_announce_peer_request;
struct scheduler_announce_peer_response;

/* Candidate parents of one conversation that are remembered as they came: a scheduler wants them back whole. */
#define ANNOUNCE_CANDIDATES_MAX 64
#define ANNOUNCE_CANDIDATES_BYTES ((size_t)1 << 20)

struct announce_kind {
	enum store_kind kind;
	bool is_persistent;             /* a replica is wanted here */
	struct arena arena;
	size_t count;
	struct {
		struct slice id;
		const void *peer;       /* common_persistent_peer or common_persistent_cache_peer, by kind */
	} candidates[ANNOUNCE_CANDIDATES_MAX];
};

void announce_kind_init(struct announce_kind *k, enum store_kind kind, bool is_persistent);
void announce_kind_free(struct announce_kind *k);

/* "/scheduler.v2.Scheduler/AnnouncePeer" and its twins. */
const char *announce_kind_path(enum store_kind kind);
/* Appends the message. -1 when the kind has no word for it. A Reschedule names those parents that came in this conversation. */
int announce_kind_encode(const struct announce_kind *k, const struct scheduler_announce_peer_request *m, struct buf *out);
/* Decodes an answer; parents have id, state and host alone. */
int announce_kind_decode(struct announce_kind *k, struct slice bytes, struct arena *a, struct scheduler_announce_peer_response *out,
    struct err *e);

#endif
