/*
 * Pieces from parents: one job brings one piece over the piece protocol (vortex) into the content file. Started by the control loop, carried
 * out on a worker's loop over pooled connections, reported back by a letter.
 */
#ifndef PEER_FETCH_H
#define PEER_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include "peer/ids.h"
#include "peer/sink.h"

struct fetch_pool;
struct tls_config;
struct worker;

/* An idle connection is kept for this long; the parent gives up after 30 s or more (spec, wire.md 1.6). */
#define FETCH_IDLE_MS 25000
#define FETCH_IDLE_PER_PARENT 8
#define FETCH_IDLE_MAX 512
/* How soon a transfer that was cancelled before its worker had it notices. */
#define FETCH_CANCEL_MS 200
/* A parent that sends nothing for so long in the middle of a piece, or for header_ms if that is shorter, is given up. */
#define FETCH_SILENCE_MS 15000

enum fetch_failure {
	FETCH_OK,
	FETCH_CANCELLED,
	FETCH_UNREACHABLE,      /* no connection */
	FETCH_REFUSED,          /* the parent answered with an error packet */
	FETCH_BROKEN,           /* the connection ended or went silent in the middle */
	FETCH_LIED,             /* wrong number, offset, length or checksum: what it sends is not to be trusted */
	FETCH_DISK,             /* ours: writing failed */
};

struct fetch_job {
	/* Filled by the starter. */
	struct addr parent;             /* its piece port */
	struct tls_config *tls;         /* NULL: plaintext; outlives the workers */
	bool uses_fastopen;             /* storage.server.tcpFastopen */
	char task_id[TASK_ID_SIZE];
	uint8_t tag;                    /* vortex request tag of the task's kind */
	uint32_t number;
	struct sink sink;               /* file (a reference), offset, length, limits */
	int64_t header_ms;              /* connect, request and the answer's header */
	int64_t body_ms;                /* receiving and writing the body */
	void (*done)(struct fetch_job *job);    /* on the control loop; the job is the starter's again */
	void *owner;
	atomic_bool is_cancelled;
	atomic_bool has_begun;          /* the parent answers */

	/* The result: err is set unless failure is FETCH_OK; sink.crc is the checksum. */
	enum fetch_failure failure;
	struct err err;
	int64_t started_ns, cost_ns;    /* wall time of the start; time it took */

	/* The transfer's own. */
	struct loop_msg msg;
	struct worker *worker;
	struct loop *home;
	struct list link;
	struct link *carrier;           /* the connection it is on */
};

/* Control loop: sends the job to a worker (taken with workers_take; released before done is called). */
void fetch_job_start(struct worker *w, struct loop *home, struct fetch_job *job);
/* Control loop: the job ends with FETCH_CANCELLED soon, or as it would have. The parent hears of it at once. */
void fetch_job_cancel(struct fetch_job *job);

/* A worker's own. */
struct fetch_pool *fetch_pool_new(struct loop *loop);
/* On the pool's loop, or before it runs. Running jobs end as cancelled. */
void fetch_pool_free(struct fetch_pool *pool);

#endif
