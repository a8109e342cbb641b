/*
 * One download attempt of a task (a "peer" in the scheduler's words): the conversation with the scheduler, the parents it names, the
 * source when need be. Brings the pieces it was made for, one by one, to the task. Belongs to the control loop.
 */
#ifndef PEER_SESSION_H
#define PEER_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include "peer/origin.h"
#include "peer/task.h"

struct announce;
struct collect;
struct session_metadata;

/* Before registering again after a scheduler was lost or did not know our host. */
#define SESSION_RETRY_MS 300
/* Normal peers that are still downloading can wait for each other: with nobody else to ask, other parents are asked for after this. */
#define SESSION_STALL_MS 10000
/* The same when the scheduler or a seed is lost: it may have been the source of our parents as well. */
#define SESSION_LOST_STALL_MS 500
/* A scheduler that does not add parents on its own is asked for more after this in a round, then after twice the time each, so often at most,
 * while there are fewer parents than enough. */
#define SESSION_MORE_MS 700
#define SESSION_MORE_MAX 5
#define SESSION_PARENTS_ENOUGH 4
/* Re-registrations after a scheduler was lost or forgot us. */
#define SESSION_REGISTERS_MAX 3
/* Below and at this content or range length policy AUTO goes to the source without asking anybody (spec: download.md 4.3). */
#define SESSION_SMALL_BYTES (UINT64_C(4) << 20)
/* Pieces in flight from parents at the start, and while answers are limited by bandwidth (design: fan-out). */
#define SESSION_WINDOW_MIN 2
#define SESSION_WINDOW_FAST 4
/* An answer within this time was limited by latency, not by bandwidth. */
#define SESSION_FAST_NS (INT64_C(60) * 1000 * 1000)

/* Where parents give turns, one piece comes at a time; a transfer that takes twice as long as usual, or this long when nothing is known,
 * does not keep us from asking another parent. */
#define SESSION_LATE_MS 2000
/* A request that got no answer for so long waits in its parent's queue, and may go to another parent. */
#define SESSION_MOVE_MS 50

enum session_phase {
	SESSION_REGISTERING,    /* waiting for the scheduler's answer */
	SESSION_PARENTS,        /* a round with parents */
	SESSION_SOURCE,         /* the scheduler sent us to the source */
	SESSION_DIRECT,         /* the source without the scheduler */
	SESSION_OVER,
};

struct session {
	struct list link;               /* in task->sessions */
	struct task *task;
	enum session_phase phase;
	enum task_asker asker;
	bool is_guarded;                /* its callers are all in the network: not every origin is for them */
	bool goes_direct, has_begun;
	bool is_persistent;             /* as its first caller asked */
	char peer_id[PEER_ID_SIZE];
	struct arena arena;
	struct common_download download;        /* as it goes to the scheduler */
	struct origin_target *target;
	uint64_t *wanted;               /* bitmap of pieces this attempt is for */
	bool in_order;                  /* its caller reads along */
	uint32_t horizon;               /* pieces from here on are not started: nobody has read so far yet. 0: none */

	struct announce *announce;      /* NULL while there is no conversation */
	bool is_awaiting;               /* the scheduler owes us an answer */
	bool awaits_more;               /* and one, before that, to asking for more parents */
	unsigned more_asked;
	struct loop_timer more;
	unsigned answers;               /* messages of the scheduler acted upon */
	char scheduler[ADDR_TEXT_MAX];  /* that it registered with last */
	bool is_lost;                   /* the conversation with it ended as if it were gone */
	unsigned registers;
	struct collect *collect;        /* parents of the round; NULL before the first */
	unsigned window;                /* pieces in flight from parents, at most */
	unsigned in_flight;             /* transfers from parents */
	struct list transfers;          /* these */
	int64_t usual_ns;               /* time of a piece from a parent; 0: not known */
	struct loop_timer late;         /* one of them becomes late */
	struct loop_timer turn;         /* parents give turns, but none to us */

	struct list source_jobs;
	unsigned source_job_count;
	unsigned source_window;
	uint64_t source_rate, source_bytes;     /* of the last measured span; bytes in this one */
	int64_t source_since_ms;
	int source_step;                /* last change of the window */

	bool source_failed;             /* the running source phase has an error, below; the rest of its transfers come home */
	bool source_may_retry;
	struct err source_err;
	struct origin_error *origin_failure;    /* what the origin said; NULL when it was not the origin */

	struct loop_timer retry;        /* register again */
	struct loop_timer stall;        /* parents that have nothing for us */
	struct loop_later later;        /* the next step */
	struct err failure;             /* last reason why parents did not do */
};

/* For the pieces of c's span that are missing and wanted; becomes c's session. */
struct session *session_new(struct task *t, struct task_caller *c);
/* True when the session works on every missing piece of this caller and c may join it. */
bool session_covers(const struct session *s, const struct task_caller *c);
/* A piece of the task was finished (by this session or another one). */
void session_on_piece(struct session *s, const struct store_piece *p, enum task_traffic traffic);
/* A piece became free again. */
void session_kick(struct session *s);
/* Nobody wants it any more, or the task is gone. It ends without telling the task. */
void session_cancel(struct session *s);

/*
 * A seed was asked for a task that it has: tells the scheduler so (register with metadata_only). done once, err NULL for success; NULL and no
 * done when there is no scheduler to tell.
 */
struct session_metadata *session_announce_metadata(struct engine *g, const struct task_caller *c,
    void (*done)(void *ctx, const struct err *e), void *ctx, struct err *e);
/* No done follows. */
void session_metadata_cancel(struct session_metadata *m);

/* ---- within the session ---- */

struct engine *session_engine(const struct session *s);
struct loop *session_loop(const struct session *s);

/* The source phase (session_source.c): fetches what is missing; session_source_ended is called when it is over. */
void session_source_start(struct session *s);
void session_source_kick(struct session *s);
void session_source_stop(struct session *s);
/* err NULL: every wanted piece is there. */
void session_source_ended(struct session *s, const struct err *err, const struct origin_error *origin);

/* The round with parents (session_parents.c): starts what can be started, or sees to what is missing. */
void session_parents_step(struct session *s);
/* Only starts what can be started; -1 when that ended the session. */
int session_parents_ask(struct session *s);
/* Other parents are asked for, or the source where nobody can be asked. */
void session_reschedule(struct session *s, const char *why);
/* Ends the session and tells the scheduler and the task. */
void session_fail(struct session *s, const struct err *err, const struct origin_error *origin);

/* A transfer came home to a session that is over. */
void session_kick_home(struct session *s);

/* What the parents say (collect.c): a piece appeared, or a stream ended. */
void session_on_offer(struct session *s);

/* Bits of word w of `wanted` that lie before the horizon. */
uint64_t session_wanted_word(const struct session *s, size_t w);
/* All that is missing lies beyond the horizon. */
bool session_is_ahead(const struct session *s);
/* Pieces wanted and not finished. */
uint32_t session_missing(const struct session *s);
/* Whether somebody allows the source. */
bool session_may_use_source(const struct session *s);

#endif
