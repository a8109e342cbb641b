#include "peer/stats.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

void
stats_observe(struct stats_histogram *h, int64_t ms)
{
	uint64_t v = ms > 0 ? (uint64_t)ms : 0;
	unsigned i = 0;

	while (i < STATS_BUCKETS - 1 && v > UINT64_C(1) << i)
		i++;
	h->counts[i]++;
	h->sum_ms += v;
}

unsigned
stats_size_level(uint64_t bytes)
{
	/* Upper bounds in MiB of the levels from 1 on (spec: daemon.md 5.1). */
	static const uint32_t bounds[STATS_SIZE_LEVELS - 2] = {
		1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576,
	};
	unsigned i = 0;

	if (bytes == 0)
		return 0;
	while (i < COUNT_OF(bounds) && bytes >= (uint64_t)bounds[i] << 20)
		i++;
	return i + 1;
}

/* ---- labels ---- */

void
stats_labels_init(struct stats_labels *l)
{
	map_init(&l->pairs);
	l->other = NULL;
}

static struct stats_pair *
pair_new(struct slice tag, struct slice application)
{
	struct stats_pair *p = xcalloc(1, sizeof *p);

	p->tag = slice_dup(tag);
	p->application = slice_dup(application);
	return p;
}

static void
pair_free(struct stats_pair *p)
{
	if (p == NULL)
		return;
	free(p->key);
	free(p->tag);
	free(p->application);
	free(p);
}

void
stats_labels_free(struct stats_labels *l)
{
	struct stats_pair *p;
	size_t at = 0;

	while ((p = map_next(&l->pairs, &at)) != NULL)
		pair_free(p);
	map_free(&l->pairs);
	pair_free(l->other);
	l->other = NULL;
}

struct stats_series *
stats_labels_get(struct stats_labels *l, struct slice tag, struct slice application, int32_t priority)
{
	struct stats_pair *p = NULL;
	struct buf key = BUF_INIT;
	unsigned level = priority > 0 && priority < STATS_PRIORITIES ? (unsigned)priority : 0;

	if (tag.n <= STATS_LABEL_MAX && application.n <= STATS_LABEL_MAX) {
		buf_printf(&key, "%zu:", tag.n);
		buf_append_slice(&key, tag);
		buf_append_slice(&key, application);
		p = map_get(&l->pairs, buf_slice(&key));
		if (p == NULL && l->pairs.count < STATS_PAIRS_MAX) {
			size_t n = key.len;

			p = pair_new(tag, application);
			p->key = buf_take(&key);
			map_put(&l->pairs, slice_make(p->key, n), p);
		}
	}
	buf_free(&key);
	if (p == NULL) {
		if (l->other == NULL)
			l->other = pair_new(slice_str(STATS_OTHER), slice_str(STATS_OTHER));
		p = l->other;
	}
	return &p->of[level];
}

const struct stats_pair *
stats_labels_next(const struct stats_labels *l, size_t *at)
{
	const struct stats_pair *p;

	if (*at == SIZE_MAX)
		return NULL;
	p = map_next(&l->pairs, at);
	if (p != NULL)
		return p;
	*at = SIZE_MAX;
	return l->other;
}
