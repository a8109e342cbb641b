/*
 * Pieces from the origin: asking what it has (stat), and bringing pieces into the content file (back-to-source). Started by the control loop,
 * carried out on a worker's loop by the source room, reported back by letters.
 */
#ifndef PEER_ORIGIN_H
#define PEER_ORIGIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "net/loop.h"
#include "peer/sink.h"
#include "source/source.h"

struct common_download;
struct worker;

/* How soon a cancelled transfer notices while nothing arrives. */
#define ORIGIN_CANCEL_MS 200
/* Memory of one origin's failure text and headers. */
#define ORIGIN_ERROR_BYTES (256 * 1024)

/* A source_error that outlives the callback it came in. */
struct origin_error {
	struct source_error e;
	struct arena arena;             /* its strings */
};

/* What an origin is asked for: url and headers of a request, without Range. Reference counted on the control loop; read by workers. */
struct origin_target {
	unsigned refs;
	struct arena arena;
	struct source_request request;  /* without range and validators */
};

/* From a Download message: its url, headers (Range left out) and certificate chain. timeout_ms: one attempt. guarded: see source_request. */
struct origin_target *origin_target_new(const struct common_download *d, int64_t timeout_ms, bool insecure, bool guarded);
struct origin_target *origin_target_ref(struct origin_target *t);
void origin_target_unref(struct origin_target *t);

struct origin_stat {
	/* The starter's. */
	struct origin_target *target;   /* a reference */
	void (*done)(struct origin_stat *s);    /* control loop */
	void *owner;
	atomic_bool is_cancelled;
	/* The result: failed, or the answer (strings in arena). */
	bool has_failed;
	struct origin_error error;
	struct source_response response;
	struct arena arena;
	/* Its own. */
	struct loop_msg msg;
	struct worker *worker;
	struct loop *home;
	struct source_op *op;
	struct loop_timer cancel_timer;
};

/* The caller frees it with origin_stat_free in or after done. */
void origin_stat_start(struct worker *w, struct loop *home, struct origin_stat *s);
void origin_stat_free(struct origin_stat *s);

/* One finished piece of a job. */
struct origin_piece {
	struct loop_msg msg;
	struct origin_job *job;
	uint32_t number;
	uint64_t offset, length;
	uint32_t crc;
	int64_t started_ns, cost_ns;
};

struct origin_job {
	/* The starter's. One request for pieces [first, last] in a row; last UINT32_MAX: to the end, whatever its length. */
	struct origin_target *target;   /* a reference */
	struct source_validators validators;    /* strings that live as long as the job */
	uint32_t first, last;
	uint64_t piece_length;
	uint64_t content_length;        /* UINT64_MAX: not known; pieces of piece_length until the end comes */
	bool use_range;                 /* false: ask for the whole content and drop what lies before `first` */
	struct store_file *file;        /* a reference */
	struct limit *limits[SINK_LIMITS];
	uint64_t *have;                 /* bitmap (bit n%64 of word n/64) of pieces that are on file already and only read past; NULL: none. Owned */
	size_t have_words;
	/* Called on the control loop: each piece once it is on file, then the end. */
	void (*piece_done)(struct origin_job *job, const struct origin_piece *p);
	void (*done)(struct origin_job *job);
	void *owner;
	struct list link;               /* the starter's */
	atomic_bool is_cancelled;

	/* The result. */
	bool has_failed;
	struct origin_error error;
	uint64_t received;              /* body bytes */

	/* Its own. */
	struct loop_msg msg;
	struct worker *worker;
	struct loop *home;
	struct source_op *op;
	struct sink sink;
	uint32_t number;                /* the piece that is being filled */
	uint64_t skip;                  /* bytes to drop before it */
	int64_t piece_started_ns, piece_started_mono;
	bool has_disk_error;
	bool is_complete;               /* all wanted pieces are on file; the end of the answer is awaited */
	struct loop_timer wait_timer, cancel_timer;
};

void origin_job_start(struct worker *w, struct loop *home, struct origin_job *job);
void origin_cancel(struct origin_job *job);
/* Frees what the job holds; the struct itself is the caller's. */
void origin_job_clear(struct origin_job *job);

#endif
