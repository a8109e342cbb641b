/*
 * Ring of seeds (the choice of the Go scheduler: CRC-32 of "<i><ip:port>" for 20 points of each, the first point above the
 * CRC-32 of the task id), and triggers.
 */
#include "scheduler/seed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/common.h"
#include "scheduler/decide.h"
#include "wire/pb.h"

/* Ports below this are not called: announcements with them are refused too. */
#define PORT_MIN 1024

static int
compare_points(const void *a, const void *b)
{
	const struct seed_point *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static bool
is_seed(const struct sched_resources *r, const struct sched_host *h)
{
	return h->type == 1 && !h->provisional && h->port >= PORT_MIN && h->ip[0] && sched_host_is_fresh(r, h);
}

bool
seed_is_usable(const struct sched_resources *r, const struct sched_host *h)
{
	return is_seed(r, h) && h->seed_backoff_until_ms <= r->now_ms;
}

static void
ring_build(struct seed_ring *ring, struct sched_resources *r)
{
	char text[128];
	int n;

	seed_ring_free(ring);
	for (struct list *it = r->host_list.next; it != &r->host_list && ring->n_seeds < SEED_RING_SEEDS_MAX; it = it->next) {
		struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (!is_seed(r, h))
			continue;
		ring->points = xrealloc(ring->points, (ring->n + SEED_RING_POINTS) * sizeof *ring->points);
		for (unsigned i = 0; i < SEED_RING_POINTS; i++) {
			n = snprintf(text, sizeof text, strchr(h->ip, ':') ? "%u[%s]:%d" : "%u%s:%d", i, h->ip, h->port);
			if (n < 0 || (size_t)n >= sizeof text)
				break;
			ring->points[ring->n].at = crc32_update(0, text, (size_t)n);
			ring->points[ring->n++].host = h;
		}
		ring->n_seeds++;
	}
	if (ring->n > 0)
		qsort(ring->points, ring->n, sizeof *ring->points, compare_points);
}

void
seed_ring_free(struct seed_ring *ring)
{
	free(ring->points);
	memset(ring, 0, sizeof *ring);
}

struct sched_host *
seed_ring_find(struct seed_ring *ring, struct sched_resources *r, const char *task_id, const struct sched_host *except)
{
	uint32_t key = crc32_update(0, task_id, strlen(task_id));
	size_t low = 0, high;

	if (ring->is_stale)
		ring_build(ring, r);
	high = ring->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ring->points[mid].at > key)
			high = mid;
		else
			low = mid + 1;
	}
	for (size_t i = 0; i < ring->n; i++) {
		struct sched_host *h = ring->points[(low + i) % ring->n].host;

		if (h != except && seed_is_usable(r, h))
			return h;
	}
	return NULL;
}

void
seed_failed(struct sched_resources *r, struct sched_host *h)
{
	h->seed_backoff_ms = h->seed_backoff_ms == 0 ? SEED_BACKOFF_MS : h->seed_backoff_ms * 2;
	if (h->seed_backoff_ms > SEED_BACKOFF_MAX_MS)
		h->seed_backoff_ms = SEED_BACKOFF_MAX_MS;
	h->seed_backoff_until_ms = r->now_ms + h->seed_backoff_ms;
}

void
seed_worked(struct sched_host *h)
{
	h->seed_backoff_ms = 0;
	h->seed_backoff_until_ms = 0;
}

void
seed_rewrite_download(struct common_download *d)
{
	d->need_back_to_source = true;
	/* The registrant does not ask the origin itself: that is why a seed has to. */
	d->disable_back_to_source = false;
	d->output_path = slice_make(NULL, 0);
	d->force_hard_link = false;
	d->overwrite = false;
	d->need_piece_content = false;
	d->prefetch = false;
	d->metadata_only = false;
}

/* ---- triggers ---- */

static bool
is_same_range(const struct sched_trigger *g, const struct sched_peer *c)
{
	return g->has_range == c->has_range &&
		(!g->has_range || (g->range_start == c->range_start && g->range_length == c->range_length));
}

struct sched_trigger *
sched_own_trigger(const struct sched_peer *c)
{
	for (struct list *it = c->task->triggers.next; it != &c->task->triggers; it = it->next) {
		struct sched_trigger *g = CONTAINER_OF(it, struct sched_trigger, in_task);

		if (g->seed == c->host && is_same_range(g, c))
			return g;
	}
	return NULL;
}

/* A seed may be asked on behalf of this peer now or while it waits; the request is kept no longer than that. */
void
sched_keep_download(struct sched_core *s, struct sched_peer *c)
{
	struct common_download d;
	struct buf b = BUF_INIT;

	if (c->download || !s->asking || (!s->seeds.is_stale && s->seeds.n == 0))
		return;
	d = *s->asking;
	seed_rewrite_download(&d);
	pb_encode(&common_download_desc, &d, &b);
	c->n_download = b.len;
	c->download = (uint8_t *)buf_take(&b);
	s->res.memory += c->n_download;
}

void
sched_forget_download(struct sched_core *s, struct sched_peer *c)
{
	s->res.memory -= c->n_download;
	free(c->download);
	c->download = NULL;
	c->n_download = 0;
}

bool
sched_start_trigger(struct sched_core *s, struct sched_peer *c)
{
	struct sched_task *t = c->task;
	struct sched_trigger *g;
	struct sched_host *seed;

	for (struct list *it = t->triggers.next; it != &t->triggers; it = it->next)
		if (is_same_range(CONTAINER_OF(it, struct sched_trigger, in_task), c))
			return true;
	sched_keep_download(s, c);
	if (!c->download || s->n_triggers >= SEED_TRIGGERS_MAX)
		return false;
	seed = seed_ring_find(&s->seeds, &s->res, t->id, NULL);
	if (!seed)
		return false;
	if (t->n_sources == 0 && list_is_empty(&t->triggers))
		t->progress_ms = s->res.now_ms;
	g = xcalloc(1, sizeof *g);
	g->task = t;
	g->seed = seed;
	g->has_range = c->has_range;
	g->range_start = c->range_start;
	g->range_length = c->range_length;
	g->started_ms = s->res.now_ms;
	g->download = xmalloc(c->n_download);
	memcpy(g->download, c->download, c->n_download);
	g->n_download = c->n_download;
	list_add_tail(&t->triggers, &g->in_task);
	list_add_tail(&s->triggers, &g->all);
	s->n_triggers++;
	log_debug("trigger seed task=%s seed=%s", t->id, seed->id);
	s->out.trigger(s->ctx, g);
	return true;
}

void
sched_trigger_live(struct sched_core *s, struct sched_trigger *g)
{
	(void)s;
	if (g->is_live)
		return;
	g->is_live = true;
	free(g->download);
	g->download = NULL;
	g->n_download = 0;
	if (g->seed)
		seed_worked(g->seed);
}

/* The seed could not be reached or refused: another one, once. */
static bool
try_second(struct sched_core *s, struct sched_trigger *g)
{
	struct sched_host *seed;

	if (g->is_second || !g->download)
		return false;
	seed = seed_ring_find(&s->seeds, &s->res, g->task->id, g->seed);
	if (!seed)
		return false;
	g->seed = seed;
	g->is_second = true;
	g->call = NULL;
	s->out.trigger(s->ctx, g);
	return true;
}

/* Any seed would answer so: what was asked for cannot be had, or is not for callers of the network. */
static bool
is_about_the_request(int code)
{
	return code == ERR_INVALID_ARGUMENT || code == ERR_PERMISSION_DENIED || code == ERR_FAILED_PRECONDITION || code == ERR_NOT_FOUND;
}

void
sched_trigger_done(struct sched_core *s, struct sched_trigger *g, int code)
{
	struct sched_task *t = g->task;

	if (code == 0) {
		s->metrics.seed_trigger_ok++;
		if (g->seed)
			seed_worked(g->seed);
	} else {
		s->metrics.seed_trigger_failed++;
		if (!g->is_live) {
			log_warn("seed did not take task=%s seed=%s code=%d", t->id, g->seed ? g->seed->id : "gone", code);
			if (g->seed && !is_about_the_request(code))
				seed_failed(&s->res, g->seed);
			t->trigger_fails_ms[1] = t->trigger_fails_ms[0];
			t->trigger_fails_ms[0] = s->res.now_ms;
			if (!is_about_the_request(code) && try_second(s, g))
				return;
			/* With one failure and nobody else to ask, two are as good as reached. */
			t->trigger_fails_ms[1] = s->res.now_ms;
		}
	}
	list_del(&g->in_task);
	list_del(&g->all);
	s->n_triggers--;
	free(g->download);
	free(g);
	sched_mark_dirty(s, t);
}
