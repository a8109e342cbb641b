#include "peer/engine.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/config.h"
#include "peer/collect.h"
#include "peer/import.h"
#include "peer/task.h"

struct engine *
engine_new(const struct engine_options *o)
{
	struct engine *g = xcalloc(1, sizeof *g);

	g->o = *o;
	map_init(&g->tasks);
	list_init(&g->imports);
	for (unsigned i = 0; i < STORE_KINDS; i++)
		stats_labels_init(&g->labels[i]);
	limit_init(&g->download, o->config->download.bandwidth_limit);
	limit_init(&g->source, o->config->download.back_to_source_bandwidth_limit);
	limit_init(&g->prefetch, o->config->proxy.prefetch_bandwidth_limit);
	g->channels = parent_channels_new(g);
	return g;
}

void
engine_drain(struct engine *g)
{
	struct task *t;
	size_t at = 0;

	g->is_draining = true;
	while ((t = map_next(&g->tasks, &at)) != NULL)
		task_stop(t);
	LIST_EACH(it, next, &g->imports)
		import_stop(import_of(it));
}

bool
engine_is_idle(const struct engine *g)
{
	return g->tasks.count == 0 && list_is_empty(&g->imports);
}

void
engine_free(struct engine *g)
{
	if (g == NULL)
		return;
	parent_channels_free(g->channels);
	map_free(&g->tasks);
	for (unsigned i = 0; i < STORE_KINDS; i++)
		stats_labels_free(&g->labels[i]);
	free(g);
}
