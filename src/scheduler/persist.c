/*
 * Tasks and peers of the persistent kinds in memory, and their time.
 */
#include "scheduler/persist.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/rpc_server.h"
#include "scheduler/service.h"

/* Longest sleep: hosts that fall silent are noticed this late. */
#define TICK_MS 10000

const char *const persist_task_state_names[] = {"Pending", "Uploading", "Succeeded", "Failed"};
const char *const persist_peer_state_names[] = {
	"Pending", "Uploading", "ReceivedEmpty", "ReceivedNormal", "Running", "BackToSource", "Succeeded", "Failed",
};

int64_t
persist_wall_ms(const struct persist *p)
{
	return loop_now_ms(p->s->loop) + p->s->core.res.wall_ms;
}

/* ---- tasks ---- */

struct persist_task *
persist_task_find(const struct persist *p, enum persist_kind kind, struct slice id)
{
	return map_get(&p->tasks[kind], id);
}

struct persist_task *
persist_task_new(struct persist *p, enum persist_kind kind, struct slice id)
{
	struct persist_task *t;

	if (p->tasks[kind].count >= PERSIST_TASKS_MAX)
		return NULL;
	t = xcalloc(1, sizeof *t);
	t->all = p;
	t->kind = kind;
	t->id = slice_dup(id);
	list_init(&t->peers);
	list_init(&t->tries);
	map_put(&p->tasks[kind], slice_str(t->id), t);
	return t;
}

static void
task_free(struct persist_task *t)
{
	LIST_EACH(it, next, &t->tries)
		free(CONTAINER_OF(it, struct persist_try, link));
	free(t->id);
	free(t->tag);
	free(t->application);
	free(t->url);
	free(t->region);
	free(t->endpoint);
	free(t);
}

void
persist_task_remove(struct persist_task *t)
{
	struct persist *p = t->all;

	persist_journal_task_gone(t);
	while (!list_is_empty(&t->peers))
		persist_peer_remove(CONTAINER_OF(t->peers.next, struct persist_peer, in_task));
	persist_calls_forget_task(t);
	heap_del(&p->expiry, &t->expiry);
	map_del(&p->tasks[t->kind], slice_str(t->id));
	task_free(t);
}

void
persist_task_set_ttl(struct persist_task *t, int64_t created_ms, int64_t ttl_ms)
{
	t->created_ms = created_ms;
	t->ttl_ms = ttl_ms;
	heap_put(&t->all->expiry, &t->expiry, ttl_ms < INT64_MAX - created_ms ? created_ms + ttl_ms : INT64_MAX);
	persist_arm(t->all);
}

void
persist_count(const struct persist_task *t, uint64_t *persistent, uint64_t *all)
{
	*persistent = *all = 0;
	LIST_EACH(it, next, &t->peers) {
		const struct persist_peer *c = CONTAINER_OF(it, struct persist_peer, in_task);

		if (!persist_peer_is_holder(c))
			continue;
		*persistent += c->is_persistent;
		++*all;
	}
}

size_t
persist_task_count(const struct persist *p)
{
	return p->tasks[PERSIST_PLAIN].count + p->tasks[PERSIST_CACHE].count;
}

/* ---- peers ---- */

struct persist_peer *
persist_peer_find(const struct persist *p, enum persist_kind kind, struct slice id)
{
	return map_get(&p->peers[kind], id);
}

struct persist_peer *
persist_peer_of_host(const struct persist_task *t, struct slice host_id)
{
	LIST_EACH(it, next, &t->peers) {
		struct persist_peer *c = CONTAINER_OF(it, struct persist_peer, in_task);

		if (slice_eq_str(host_id, c->host_id))
			return c;
	}
	return NULL;
}

struct persist_peer *
persist_peer_new(struct persist_task *t, struct slice id, struct slice host_id)
{
	struct persist_peer *c;

	if (t->n_peers >= PERSIST_PEERS_MAX)
		return NULL;
	c = xcalloc(1, sizeof *c + id.n + 1);
	memcpy(c->id, id.p, id.n);
	c->task = t;
	c->host_id = slice_dup(host_id);
	c->created_ms = c->updated_ms = persist_wall_ms(t->all);
	list_add_tail(&t->peers, &c->in_task);
	t->n_peers++;
	map_put(&t->all->peers[t->kind], slice_str(c->id), c);
	return c;
}

void
persist_peer_set_away(struct persist_peer *c, bool is_away)
{
	struct persist *p = c->task->all;

	if (c->is_away == is_away)
		return;
	c->is_away = is_away;
	if (is_away)
		p->n_away++;
	else
		p->n_away--;
}

void
persist_peer_remove(struct persist_peer *c)
{
	struct persist_task *t = c->task;

	if (c->state == PERSIST_PEER_SUCCEEDED && c->is_persistent)
		persist_journal_peer_gone(c);
	persist_peer_set_away(c, false);
	persist_calls_forget_peer(c);
	if (c->stream)
		c->stream->peer = NULL;
	map_del(&t->all->peers[t->kind], slice_str(c->id));
	list_del(&c->in_task);
	t->n_peers--;
	for (uint32_t i = 0; i < c->n_blocked; i++)
		free(c->blocked[i]);
	free(c->blocked);
	free(c->host_id);
	free(c);
}

void
persist_peer_block(struct persist_peer *c, struct slice parent_id)
{
	for (uint32_t i = 0; i < c->n_blocked; i++)
		if (slice_eq_str(parent_id, c->blocked[i]))
			return;
	if (c->n_blocked >= PERSIST_BLOCKED_MAX)
		return;
	c->blocked = xrealloc(c->blocked, (c->n_blocked + 1) * sizeof *c->blocked);
	c->blocked[c->n_blocked++] = slice_dup(parent_id);
}

struct sched_host *
persist_peer_host(const struct persist_peer *c)
{
	struct sched_resources *r = &c->task->all->s->core.res;
	struct sched_host *h = sched_host_find(r, slice_str(c->host_id));

	return h && sched_host_is_fresh(r, h) ? h : NULL;
}

bool
persist_peer_is_holder(const struct persist_peer *c)
{
	return c->state == PERSIST_PEER_SUCCEEDED && !c->is_away && persist_peer_host(c);
}

/* ---- hosts ---- */

void
persist_host_seen(struct persist *p, const struct sched_host *h)
{
	struct persist_task *t;

	for (unsigned kind = 0; kind < PERSIST_KINDS && p->n_away > 0; kind++)
		for (size_t at = 0; (t = map_next(&p->tasks[kind], &at)) != NULL;)
			LIST_EACH(it, next, &t->peers) {
				struct persist_peer *c = CONTAINER_OF(it, struct persist_peer, in_task);

				if (c->is_away && strcmp(c->host_id, h->id) == 0)
					persist_ask(c);
			}
}

/* What it only kept for a while may be gone when it comes back; replicas are asked for then. */
static void
leave(struct persist_task *t, struct slice host_id)
{
	bool was_replica = false;

	LIST_EACH(it, next, &t->peers) {
		struct persist_peer *c = CONTAINER_OF(it, struct persist_peer, in_task);

		if (!slice_eq_str(host_id, c->host_id))
			continue;
		if (c->is_persistent && c->state == PERSIST_PEER_SUCCEEDED) {
			persist_peer_set_away(c, true);
			was_replica = true;
		} else {
			persist_peer_remove(c);
		}
	}
	if (was_replica)
		persist_replicate(t);
}

void
persist_host_left(struct persist *p, struct slice host_id)
{
	struct persist_task *t;

	for (unsigned kind = 0; kind < PERSIST_KINDS; kind++)
		for (size_t at = 0; (t = map_next(&p->tasks[kind], &at)) != NULL;)
			leave(t, host_id);
}

/* ---- time ---- */

static void
expire(struct persist *p)
{
	struct heap_node *n;

	while ((n = heap_min(&p->expiry)) != NULL && n->key <= persist_wall_ms(p)) {
		struct persist_task *t = CONTAINER_OF(n, struct persist_task, expiry);

		log_info("task is over its time task=%s", t->id);
		persist_task_remove(t);
	}
}

/* Restored peers whose hosts are known by now. */
static void
ask_away(struct persist *p)
{
	struct persist_task *t;

	for (unsigned kind = 0; kind < PERSIST_KINDS && p->n_away > 0; kind++)
		for (size_t at = 0; (t = map_next(&p->tasks[kind], &at)) != NULL;)
			LIST_EACH(it, next, &t->peers) {
				struct persist_peer *c = CONTAINER_OF(it, struct persist_peer, in_task);

				if (c->is_away && persist_peer_host(c))
					persist_ask(c);
			}
}

static void
on_timer(void *ctx)
{
	struct persist *p = ctx;

	service_now(p->s);
	expire(p);
	ask_away(p);
	if (loop_now_ms(p->s->loop) >= p->repair_at_ms) {
		p->repair_at_ms = loop_now_ms(p->s->loop) + PERSIST_REPAIR_MS;
		persist_repair(p);
	}
	persist_arm(p);
	service_after(p->s);
}

void
persist_arm(struct persist *p)
{
	const struct heap_node *n = heap_min(&p->expiry);
	int64_t wait_ms = TICK_MS, left;

	if (persist_task_count(p) == 0) {
		loop_timer_clear(p->s->loop, &p->timer);
		return;
	}
	left = n ? n->key - persist_wall_ms(p) : TICK_MS;
	if (left < wait_ms)
		wait_ms = left > 0 ? left : 0;
	loop_timer_set(p->s->loop, &p->timer, wait_ms, on_timer, p);
}

/* ---- life ---- */

struct persist *
persist_new(struct scheduler *s, const char *journal_path)
{
	struct persist *p = xcalloc(1, sizeof *p);

	p->s = s;
	p->journal = -1;
	for (unsigned kind = 0; kind < PERSIST_KINDS; kind++) {
		map_init(&p->tasks[kind]);
		map_init(&p->peers[kind]);
	}
	heap_init(&p->expiry);
	list_init(&p->calls);
	list_init(&p->streams);
	if (journal_path)
		persist_journal_open(p, journal_path);
	/* Hosts have some time to announce themselves before replicas are made anew. */
	p->repair_at_ms = loop_now_ms(s->loop) + PERSIST_REPAIR_MS;
	persist_arm(p);
	return p;
}

void
persist_free(struct persist *p)
{
	struct persist_task *t;

	if (!p)
		return;
	persist_journal_close(p);
	loop_timer_clear(p->s->loop, &p->timer);
	persist_calls_free(p);
	/* Streams are the server's, which is gone; what they hold is ours. */
	LIST_EACH(it, next, &p->streams)
		free(CONTAINER_OF(it, struct persist_stream, link));
	for (unsigned kind = 0; kind < PERSIST_KINDS; kind++) {
		for (size_t at = 0; (t = map_next(&p->tasks[kind], &at)) != NULL;) {
			LIST_EACH(it, next, &t->peers)
				CONTAINER_OF(it, struct persist_peer, in_task)->stream = NULL;
			persist_task_remove(t);
		}
		map_free(&p->tasks[kind]);
		map_free(&p->peers[kind]);
	}
	heap_free(&p->expiry);
	free(p);
}
