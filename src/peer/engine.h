/*
 * The download engine of one process: what all tasks share. Belongs to the control loop.
 */
#ifndef PEER_ENGINE_H
#define PEER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "base/map.h"
#include "peer/limit.h"
#include "peer/stats.h"
#include "store/store.h"

struct cluster;
struct config;
struct engine;
struct err;
struct loop;
struct parent_channels;
struct tls_config;
struct workers;

/* Counters since start. Traffic is indexed by enum task_traffic. */
struct engine_metrics {
	uint64_t download_started, download_failed, download_finished;
	uint64_t backend_started, backend_failed, backend_finished;
	uint64_t prefetch_started, prefetch_failed;
	/* From the source and from peers: what was transferred, once however many wanted it. From the store: what callers got of it. */
	uint64_t pieces[3], bytes[3];
	uint64_t seed_bytes;                    /* of those from peers: from seed peers */
	uint64_t download_blocked[STORE_KINDS], upload_blocked[STORE_KINDS];    /* refused by the block list */
	struct stats_histogram piece_duration[3];
	struct stats_histogram download_duration[STORE_KINDS][STATS_SIZE_LEVELS];       /* successful downloads */
	uint64_t piece_failed;                  /* transfers from parents that failed */
	uint64_t parent_lied;                   /* of those: wrong bytes */
	uint64_t register_failed;               /* conversations with a scheduler that ended in an error */
	uint64_t tasks_small, tasks_total;      /* taken from the source without asking a scheduler, and all */
};

struct engine_options {
	struct loop *loop;              /* the control loop */
	const struct config *config;
	struct store *store;
	struct workers *workers;
	struct cluster *cluster;        /* NULL: no scheduler, no parents (dfget on its own) */
	struct tls_config *parent_tls;  /* for gRPC to parents; NULL: plaintext */
	struct tls_config *piece_tls;   /* for pieces of parents that announce it; not NULL exactly where parent_tls is not */
	bool requires_piece_tls;        /* parents that do not announce it are not asked */
	mode_t output_mode;             /* of outputs that are copies; 0: 0644 and the umask applies */
	bool insecure_skip_verify;      /* of sources, for requests of this process */
};

struct engine {
	struct engine_options o;
	struct map tasks;               /* kind and id -> struct task */
	size_t asked;                   /* tasks that have callers */
	struct list imports;            /* import.link */
	struct parent_channels *channels;
	struct limit download, source, prefetch;
	struct engine_metrics metrics;
	struct stats_labels labels[STORE_KINDS];        /* downloads by tag, application, priority */
	bool is_draining;
};

struct engine *engine_new(const struct engine_options *o);
/* No request is taken any more; running ones end with UNAVAILABLE. Call engine_free once engine_is_idle. */
void engine_drain(struct engine *g);
bool engine_is_idle(const struct engine *g);
void engine_free(struct engine *g);

/* For store_options.deleted: ends what works on the task. */
void engine_task_deleted(struct engine *g, struct store_task *t, enum store_reason reason);

#endif
