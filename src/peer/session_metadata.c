/*
 * A seed was triggered for a task that it has: the announcement without a download (spec: download.md 4.8).
 */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "peer/announce.h"
#include "peer/engine.h"
#include "peer/session.h"
#include "proto/common.h"

/* Memory of the Download message of one announcement. */
#define DOWNLOAD_BYTES ((size_t)8 << 20)

struct session_metadata {
	struct announce *announce;
	struct arena arena;
	struct common_download download;
	void (*done)(void *ctx, const struct err *e);
	void *ctx;
};

static void
metadata_end(struct session_metadata *m, const struct err *e)
{
	m->done(m->ctx, e);
	arena_free(&m->arena);
	free(m);
}

/* Whatever a scheduler answers that does not know the question: we do have the content (spec: download.md 4.8 BETTER). */
static void
metadata_said(struct session_metadata *m)
{
	announce_started(m->announce);
	announce_finished(m->announce);
	metadata_end(m, NULL);
}

static void
metadata_on_parents(void *ctx, const struct common_peer *parents, size_t n)
{
	(void)parents;
	(void)n;
	metadata_said(ctx);
}

static void
metadata_on_need_source(void *ctx, struct slice reason)
{
	(void)reason;
	metadata_said(ctx);
}

static void
metadata_on_word(void *ctx)
{
	metadata_said(ctx);
}

static void
metadata_on_end(void *ctx, const struct err *err)
{
	struct session_metadata *m = ctx;
	struct err e;

	err_set(&e, ERR_INTERNAL, "unknown stream is finished abnormally%s%s", err != NULL ? ": " : "", err != NULL ? err->text : "");
	metadata_end(m, &e);
}

struct session_metadata *
session_announce_metadata(struct engine *g, const struct task_caller *c, void (*done)(void *ctx, const struct err *e), void *ctx,
    struct err *e)
{
	static const struct announce_events events = {
		.on_parents = metadata_on_parents, .on_need_source = metadata_on_need_source, .on_empty = metadata_on_word,
		.on_metadata_only = metadata_on_word, .on_end = metadata_on_end,
	};
	struct announce_opts o = {
		.loop = g->o.loop, .host_id = cluster_host(g->o.cluster)->id, .task_id = c->task->id, .peer_id = c->peer_id,
		.answer_ms = ANNOUNCE_HEADERS_MS,
	};
	struct rpc_channel *ch = cluster_scheduler(g->o.cluster, slice_str(c->task->id), false, e);
	struct session_metadata *m;

	if (ch == NULL)
		return NULL;
	m = xcalloc(1, sizeof *m);
	m->done = done;
	m->ctx = ctx;
	arena_init(&m->arena, DOWNLOAD_BYTES);
	if (pb_copy(&common_download_desc, &c->download, &m->arena, &m->download, e) < 0) {
		arena_free(&m->arena);
		free(m);
		return NULL;
	}
	m->download.metadata_only = true;
	m->download.need_back_to_source = false;
	m->download.has_actual_content_length = m->download.has_actual_piece_length = m->download.has_actual_piece_count = true;
	m->download.actual_content_length = c->task->store->content_length;
	m->download.actual_piece_length = c->task->store->piece_length;
	m->download.actual_piece_count = c->task->piece_count;
	m->announce = announce_start(ch, &o, &m->download, &events, m);
	return m;
}

void
session_metadata_cancel(struct session_metadata *m)
{
	announce_cancel(m->announce);
	arena_free(&m->arena);
	free(m);
}
