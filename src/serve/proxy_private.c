/*
 * Contents that were fetched with credentials (spec: proxy.md 8, revalidateAuth): before a client gets one of them from here, the origin is
 * asked for its first byte with that client's own header. What the origin refuses, we refuse in its words; when it cannot be asked,
 * nobody gets anything. Control loop.
 */
#include "serve/proxy_fetch.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/config.h"
#include "peer/engine.h"
#include "peer/ids.h"
#include "peer/origin.h"
#include "peer/task.h"
#include "peer/worker.h"
#include "serve/proxy_internal.h"

bool
proxy_is_asked_first(const struct proxy_fetch *f)
{
	struct engine *g = f->proxy->o.engine;
	const struct store_task *t;
	char id[TASK_ID_SIZE];
	struct err e;

	if (!f->proxy->o.config->proxy.revalidate_auth || task_id_standard(&f->download, id, &e) < 0)
		return false;
	/* Another client's request is on its way to the origin, and would be ours, too. */
	if (task_is_being_prepared(g, STORE_STANDARD, id))
		return true;
	t = store_task_find(g->o.store, STORE_STANDARD, id);
	return t != NULL && t->is_private;
}

static void
on_answer(struct origin_stat *s)
{
	struct proxy_fetch *f = s->owner;

	f->question = NULL;
	if (f->is_released)
		proxy_fetch_free_if_done(f);
	else if (s->has_failed)
		proxy_fetch_refused(f, &s->error);
	else
		proxy_fetch_start(f);
	origin_stat_free(s);
}

void
proxy_ask_first(struct proxy_fetch *f)
{
	struct engine *g = f->proxy->o.engine;
	struct origin_target *target = origin_target_new(&f->download, g->o.config->download.piece_timeout_ms, g->o.insecure_skip_verify,
	    false);
	struct origin_stat *s;

	if (target == NULL) {
		struct origin_error o = {.e = {.failure = SOURCE_BAD_ARGUMENT}};

		err_set(&o.e.err, ERR_RESOURCE_EXHAUSTED, "the request is too large");
		proxy_fetch_refused(f, &o);
		return;
	}
	s = xcalloc(1, sizeof *s);
	s->target = target;
	s->done = on_answer;
	s->owner = f;
	f->question = s;
	origin_stat_start(workers_take(g->o.workers), g->o.loop, s);
}

void
proxy_ask_cancel(struct proxy_fetch *f)
{
	if (f->question != NULL)
		atomic_store(&f->question->is_cancelled, true);
}
