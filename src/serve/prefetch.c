#include "serve/prefetch.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "peer/engine.h"
#include "peer/task.h"
#include "proto/common.h"
#include "store/store.h"

struct prefetch {
	struct engine *engine;
	struct store_task *store;       /* in use */
	struct stats_series *series;
};

static void
prefetch_on_started(void *ctx, const struct task_started *s)
{
	(void)ctx;
	(void)s;
}

static void
prefetch_on_piece(void *ctx, const struct store_piece *p, enum task_traffic traffic)
{
	(void)ctx;
	(void)p;
	(void)traffic;
}

static void
prefetch_on_end(void *ctx, const struct task_end *end)
{
	struct prefetch *p = ctx;

	if (end->err != NULL) {
		log_warn("prefetch failed task=%s error=\"%s\"", p->store->id, end->err->text);
		p->engine->metrics.prefetch_failed++;
		p->series->prefetch_failed++;
		store_task_set_prefetched(p->store, 0);
	}
	store_task_release(p->store);
	free(p);
}

void
prefetch_start(struct engine *g, const struct common_download *request, bool is_guarded, struct store_task *store)
{
	static const struct task_caller_events events = {
		.on_started = prefetch_on_started, .on_piece = prefetch_on_piece, .on_end = prefetch_on_end,
	};
	struct common_download copy = *request;
	struct pb_pair *headers;
	struct prefetch *p;
	struct err e;

	if (store->prefetched_at != 0 || store->finished_at != 0)
		return;
	headers = xcalloc(request->n_request_header + 1, sizeof *headers);
	copy.request_header = headers;
	copy.n_request_header = 0;
	for (size_t i = 0; i < request->n_request_header; i++)
		if (!slice_ieq_str(request->request_header[i].key, "range"))
			headers[copy.n_request_header++] = request->request_header[i];
	copy.range = NULL;
	copy.output_path = copy.digest = (struct slice){0};
	copy.prefetch = copy.need_piece_content = copy.force_hard_link = copy.overwrite = false;
	copy.is_prefetch = true;
	p = xcalloc(1, sizeof *p);
	p->engine = g;
	p->store = store;
	store_task_use(store);
	store_task_set_prefetched(store, clock_wall_ns());
	p->series = stats_labels_get(&g->labels[STORE_STANDARD], request->tag, request->application, request->priority);
	g->metrics.prefetch_started++;
	p->series->prefetch_started++;
	if (task_request(g, &(struct task_request){.download = &copy, .asker = TASK_FOR_PREFETCH, .is_guarded = is_guarded}, &events, p, &e) == NULL)
		prefetch_on_end(p, &(struct task_end){.err = &e});
	free(headers);
}
