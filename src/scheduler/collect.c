/*
 * What time does: waiters are looked at, grants lapse, parent lists grow, the forgotten goes; and questions to hosts about tasks
 * that nobody here can answer for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/decide.h"

#define CHECK_MS 1000
#define GC_MS 10000
#define GC_MAX 10000u
#define HOST_GC_MS 10000
#define FAILED_TTL_MS 60000
#define STALLED_TTL_MS (30 * 60000)
#define TASK_TTL_MS 60000
#define PROBE_SECOND_MS (5 * 60000)
#define PROBES 2u
#define REFRESH_BURST 256
#define PORT_MIN 1024
/* Holders that go at once when there are too many, as a part of the limit: looking at all of them is not done for each. */
#define HOLDERS_PART 16u

static void
check_task(struct sched_core *s, struct sched_task *t)
{
	int64_t next = INT64_MAX;

	LIST_EACH(it, nxt, &t->sources) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, source);

		if (!p->is_granted)
			continue;
		if (p->grant_until_ms < s->res.now_ms) {
			log_debug("grant lapsed task=%s peer=%s", t->id, p->id);
			p->is_granted = false;
			sched_peer_place_source(p);
			sched_mark_bereft(s, t);
		} else if (p->grant_until_ms + 1 < next) {
			next = p->grant_until_ms + 1;
		}
	}
	sched_mark_dirty(s, t);
	if (t->n_waiters > 0 && next > s->res.now_ms + CHECK_MS)
		next = s->res.now_ms + CHECK_MS;
	if (next < INT64_MAX)
		heap_put(&s->checks, &t->check, next);
}

static void
run_refreshes(struct sched_core *s)
{
	struct heap_node *n;
	int64_t tokens = (s->res.now_ms - s->refresh_at_ms) * SCHED_REFRESH_RATE / 1000;

	if (tokens > REFRESH_BURST)
		tokens = REFRESH_BURST;
	while ((n = heap_min(&s->refreshes)) != NULL && n->key <= s->res.now_ms && tokens > 0) {
		heap_del(&s->refreshes, n);
		sched_refresh_task(s, CONTAINER_OF(n, struct sched_task, refresh), &tokens);
	}
	s->refresh_at_ms = s->res.now_ms - tokens * 1000 / SCHED_REFRESH_RATE;
}

/* ---- questions to hosts ---- */

static bool
can_ask(const struct sched_core *s, const struct sched_host *h)
{
	return h->port >= PORT_MIN && h->ip[0] && sched_host_is_fresh(&s->res, h);
}

static void
run_probes(struct sched_core *s)
{
	int64_t tokens = (s->res.now_ms - s->probe_at_ms) * SCHED_PROBES_PER_SECOND / 1000;
	struct heap_node *n;

	if (tokens > SCHED_PROBES_PER_SECOND)
		tokens = SCHED_PROBES_PER_SECOND;
	while ((n = heap_min(&s->probes)) != NULL && n->key <= s->res.now_ms && tokens > 0) {
		struct sched_peer *p = CONTAINER_OF(n, struct sched_peer, probe);

		heap_del(&s->probes, n);
		tokens--;
		if (!can_ask(s, p->host)) {
			sched_peer_remove(&s->res, p);
			continue;
		}
		if (++p->probes < PROBES)
			heap_put(&s->probes, &p->probe, s->res.now_ms + PROBE_SECOND_MS);
		p->updated_ms = s->res.now_ms;
		s->out.ask_holder(s->ctx, p->host, p->task->id);
	}
	s->probe_at_ms = s->res.now_ms - tokens * 1000 / SCHED_PROBES_PER_SECOND;
}

static void
ask_hosts(struct sched_core *s, struct sched_peer *c, bool is_same_idc)
{
	struct sched_resources *r = &s->res;

	for (struct list *it = r->host_list.next; it != &r->host_list; it = it->next) {
		struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);
		bool is_same = h->idc && h->idc == c->host->idc;

		if (c->task->n_restoring >= SCHED_RESTORE_HOSTS_MAX)
			return;
		if (is_same != is_same_idc || h == c->host || !h->is_restored || h->disable_shared || !can_ask(s, h))
			continue;
		c->task->n_restoring++;
		s->out.ask_holder(s->ctx, h, c->task->id);
	}
}

bool
sched_restore_task(struct sched_core *s, struct sched_peer *c)
{
	struct sched_task *t = c->task;

	if (!s->is_restored || t->is_restore_tried || s->res.now_ms - s->started_ms > SCHED_RESTORE_TIME_MS)
		return false;
	t->is_restore_tried = true;
	ask_hosts(s, c, true);
	ask_hosts(s, c, false);
	if (t->n_restoring == 0)
		return false;
	t->restore_until_ms = s->res.now_ms + SCHED_RESTORE_WAIT_MS;
	return true;
}

static void
add_restored(struct sched_core *s, struct sched_host *h, struct sched_task *t)
{
	char id[SCHED_ID_MAX + 16];
	struct sched_peer *p;
	int n = snprintf(id, sizeof id, "restored-%s", h->id);

	/* Task and host names are their own; a second task of this host gets the task's id in front of the same label. */
	if (n > 0 && sched_peer_find(&s->res, slice_str(id)))
		n = snprintf(id, sizeof id, "restored-%.16s-%s", t->id, h->id);
	if (n <= 0 || (size_t)n >= sizeof id || sched_peer_find(&s->res, slice_str(id)))
		return;
	p = sched_peer_new(&s->res, slice_str(id), t, h);
	sched_peer_set_state(&s->res, p, SCHED_PEER_SUCCEEDED);
	sched_mark_hungry(s, t);
}

void
sched_holder_answer(struct sched_core *s, struct slice host_id, struct slice task_id, bool is_finished)
{
	struct sched_host *h = sched_host_find(&s->res, host_id);
	struct sched_task *t = sched_task_find(&s->res, task_id);
	bool had_orphan = false;

	if (!t)
		return;
	for (struct list *it = h ? h->peers.next : NULL, *next; h && it != &h->peers; it = next) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, in_host);

		next = it->next;
		if (p->task != t || !p->is_orphan || p->state != SCHED_PEER_FAILED)
			continue;
		had_orphan = true;
		if (is_finished) {
			p->is_orphan = false;
			heap_del(&s->probes, &p->probe);
			sched_peer_set_state(&s->res, p, SCHED_PEER_SUCCEEDED);
			sched_mark_dirty(s, t);
			sched_mark_hungry(s, t);
			sched_limit_holders(s, t);
			return;
		}
		if (p->probes >= PROBES)
			sched_peer_remove(&s->res, p);
	}
	if (had_orphan || t->n_restoring == 0)
		return;
	if (is_finished && h)
		add_restored(s, h, t);
	if (--t->n_restoring == 0) {
		t->restore_until_ms = 0;
		sched_mark_dirty(s, t);
	}
}

/* ---- what goes ---- */

static int
compare_used(const void *a, const void *b)
{
	const struct sched_peer *x = *(struct sched_peer *const *)a, *y = *(struct sched_peer *const *)b;

	return x->updated_ms < y->updated_ms ? -1 : x->updated_ms > y->updated_ms;
}

void
sched_limit_holders(struct sched_core *s, struct sched_task *t)
{
	uint32_t max = s->res.opt.max_holders, best = 0, n = 0, go, *counts;
	struct sched_peer **found;

	if (t->n_holders <= max)
		return;
	counts = xcalloc(SCHED_IDCS_MAX + 1, sizeof *counts);
	found = xcalloc(t->n_holders, sizeof(*found));
	for (struct list *it = t->peers.next; it != &t->peers; it = it->next) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, in_task);

		if (p->state == SCHED_PEER_SUCCEEDED && ++counts[p->host->idc] > counts[best])
			best = p->host->idc;
	}
	for (struct list *it = t->peers.next; it != &t->peers; it = it->next) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, in_task);

		if (p->state == SCHED_PEER_SUCCEEDED && p->host->idc == best)
			found[n++] = p;
	}
	qsort(found, n, sizeof(*found), compare_used);
	go = max / HOLDERS_PART > 1 ? max / HOLDERS_PART : 1;
	for (uint32_t i = 0; i < go && i < n; i++)
		sched_peer_remove(&s->res, found[i]);
	free(found);
	free(counts);
}

static void
collect_peer(struct sched_core *s, struct sched_peer *p)
{
	int64_t now = s->res.now_ms, active = p->piece_ms > p->active_ms ? p->piece_ms : p->active_ms;

	if (p->is_waiting)
		return;
	if (p->updated_ms > active)
		active = p->updated_ms;
	switch (p->state) {
	case SCHED_PEER_FAILED:
		if (now - p->updated_ms > FAILED_TTL_MS && p->probe.place == 0)
			sched_peer_remove(&s->res, p);
		break;
	case SCHED_PEER_SUCCEEDED:
		if (now - p->updated_ms > s->res.opt.peer_ttl_ms)
			sched_peer_remove(&s->res, p);
		break;
	default:
		if (now - active > STALLED_TTL_MS)
			sched_fail_peer(s, p);
		break;
	}
}

static void
collect_hosts(struct sched_core *s)
{
	LIST_EACH(it, next, &s->res.host_list) {
		struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (!sched_host_is_expired(&s->res, h) || (h->provisional && h->streams > 0))
			continue;
		log_info("host expired host=%s announced_ms_ago=%lld", h->id, (long long)(s->res.now_ms - h->updated_ms));
		sched_host_remove(&s->res, h);
	}
}

/* A part of all peers and tasks, the ones looked at longest ago. */
void
sched_collect(struct sched_core *s)
{
	size_t n = s->res.peers.count < GC_MAX ? s->res.peers.count : GC_MAX;

	for (; n > 0 && !list_is_empty(&s->res.peer_list); n--) {
		struct list *it = s->res.peer_list.next;

		list_del(it);
		list_add_tail(&s->res.peer_list, it);
		collect_peer(s, CONTAINER_OF(it, struct sched_peer, all));
	}
	n = s->res.tasks.count < GC_MAX ? s->res.tasks.count : GC_MAX;
	for (; n > 0 && !list_is_empty(&s->res.task_list); n--) {
		struct list *it = s->res.task_list.next;
		struct sched_task *t = CONTAINER_OF(it, struct sched_task, all);

		list_del(it);
		list_add_tail(&s->res.task_list, it);
		if (t->n_peers == 0 && s->res.now_ms - t->empty_since_ms >= TASK_TTL_MS && list_is_empty(&t->triggers))
			sched_task_remove(&s->res, t);
	}
}

int64_t
sched_core_tick(struct sched_core *s)
{
	struct heap_node *n;
	size_t most = s->res.peers.count > s->res.tasks.count ? s->res.peers.count : s->res.tasks.count;
	int64_t next = CHECK_MS, interval = most > GC_MAX ? GC_MS * (int64_t)GC_MAX / (int64_t)most : GC_MS;

	while ((n = heap_min(&s->checks)) != NULL && n->key <= s->res.now_ms) {
		heap_del(&s->checks, n);
		check_task(s, CONTAINER_OF(n, struct sched_task, check));
	}
	run_refreshes(s);
	run_probes(s);
	if (s->res.now_ms - s->gc_at_ms >= interval) {
		s->gc_at_ms = s->res.now_ms;
		sched_collect(s);
	}
	if (s->res.now_ms - s->host_gc_at_ms >= HOST_GC_MS) {
		s->host_gc_at_ms = s->res.now_ms;
		collect_hosts(s);
	}
	if ((n = heap_min(&s->checks)) != NULL && n->key - s->res.now_ms < next)
		next = n->key - s->res.now_ms;
	if ((n = heap_min(&s->refreshes)) != NULL && n->key - s->res.now_ms < next)
		next = n->key - s->res.now_ms;
	if ((n = heap_min(&s->probes)) != NULL && n->key - s->res.now_ms < next)
		next = n->key - s->res.now_ms;
	return next > 1 ? next : 1;
}

void
sched_core_gauges(const struct sched_core *s, struct scheduler_metrics *m)
{
	m->hosts = s->res.hosts.count;
	m->tasks = s->res.tasks.count;
	m->edges = s->res.n_edges;
	m->memory_estimate = s->res.memory;
	m->waiters = m->seeds = m->concurrent_schedule = 0;
	for (unsigned i = 0; i < SCHEDULER_PEER_STATES; i++)
		m->peers[i] = s->res.n_states[i];
	for (struct list *it = s->res.task_list.next; it != &s->res.task_list; it = it->next)
		m->waiters += CONTAINER_OF(it, struct sched_task, all)->n_waiters;
	for (struct list *it = s->res.host_list.next; it != &s->res.host_list; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		m->seeds += h->type == 1 && !h->provisional;
		m->concurrent_schedule += h->streams;
	}
}
