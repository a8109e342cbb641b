/*
 * One decision, and when to take it again.
 */
#include "scheduler/decide.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/evaluate.h"

/* Time between looks at waiters when nothing happens. */
#define CHECK_MS 1000

const uint32_t scheduler_duration_bounds_ms[SCHEDULER_DURATION_BUCKETS - 1] = {
	1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10000, 30000,
};

void
sched_mark_dirty(struct sched_core *s, struct sched_task *t)
{
	if (t->n_waiters == 0 || t->is_dirty)
		return;
	t->is_dirty = true;
	t->round++;
	list_add_tail(&s->dirty, &t->dirty);
}

void
sched_mark_bereft(struct sched_core *s, struct sched_task *t)
{
	if (list_is_empty(&t->bereft))
		list_add_tail(&s->bereft, &t->bereft);
}

void
sched_mark_hungry(struct sched_core *s, struct sched_task *t)
{
	if (!list_is_empty(&t->hungry) && t->refresh.place == 0)
		heap_put(&s->refreshes, &t->refresh, s->res.now_ms + SCHED_REFRESH_MS);
}

void
sched_stop_waiting(struct sched_core *s, struct sched_peer *p)
{
	if (!p->is_waiting)
		return;
	p->is_waiting = false;
	list_del(&p->wait);
	p->task->n_waiters--;
	if (p->is_odd)
		p->task->n_odd_waiters--;
	sched_forget_download(s, p);
}

void
sched_close(struct sched_core *s, struct sched_peer *p, int code, const char *text)
{
	void *stream = p->stream;

	sched_stop_waiting(s, p);
	if (!stream)
		return;
	p->stream = NULL;
	p->host->streams--;
	s->out.close(s->ctx, stream, code, text);
}

/* The children of a peer that goes: those that take lists unasked want a parent in its place. */
static void
feed_children(struct sched_core *s, struct sched_peer *p)
{
	for (uint32_t i = 0; i < p->n_children; i++) {
		struct sched_peer *c = p->children[i].child;

		if (c->is_live && c->state == SCHED_PEER_RUNNING && list_is_empty(&c->hungry))
			list_add_head(&c->task->hungry, &c->hungry);
	}
	sched_mark_hungry(s, p->task);
}

void
sched_fail_peer(struct sched_core *s, struct sched_peer *p)
{
	sched_stop_waiting(s, p);
	feed_children(s, p);
	sched_peer_set_state(&s->res, p, SCHED_PEER_FAILED);
	p->is_granted = false;
	sched_peer_place_source(p);
	sched_mark_dirty(s, p->task);
	sched_mark_bereft(s, p->task);
}

static void
peer_gone(void *ctx, struct sched_peer *p)
{
	struct sched_core *s = ctx;
	char text[SCHED_ID_MAX + 32];

	feed_children(s, p);
	heap_del(&s->probes, &p->probe);
	snprintf(text, sizeof text, "peer %s not found", p->id);
	sched_close(s, p, ERR_NOT_FOUND, text);
	sched_mark_dirty(s, p->task);
	sched_mark_bereft(s, p->task);
}

static void
task_gone(void *ctx, struct sched_task *t)
{
	struct sched_core *s = ctx;

	while (!list_is_empty(&t->triggers)) {
		struct sched_trigger *g = CONTAINER_OF(t->triggers.next, struct sched_trigger, in_task);

		s->out.cancel_trigger(s->ctx, g);
		list_del(&g->in_task);
		list_del(&g->all);
		s->n_triggers--;
		free(g->download);
		free(g);
	}
	heap_del(&s->checks, &t->check);
	heap_del(&s->refreshes, &t->refresh);
}

static void
host_gone(void *ctx, struct sched_host *h)
{
	struct sched_core *s = ctx;

	s->seeds.is_stale = true;
	for (struct list *it = s->triggers.next; it != &s->triggers; it = it->next) {
		struct sched_trigger *g = CONTAINER_OF(it, struct sched_trigger, all);

		if (g->seed == h)
			g->seed = NULL;
	}
}

void
sched_core_hook(struct sched_core *s)
{
	s->res.on_peer_gone = peer_gone;
	s->res.on_task_gone = task_gone;
	s->res.on_host_gone = host_gone;
	s->res.ctx = s;
}

/* ---- answers ---- */

static void
count_duration(struct sched_core *s, const struct sched_peer *c)
{
	int64_t ms = s->res.now_ms - c->asked_ms;
	unsigned i = 0;

	while (i < SCHEDULER_DURATION_BUCKETS - 1 && ms > (int64_t)scheduler_duration_bounds_ms[i])
		i++;
	s->metrics.schedule_duration[i]++;
	s->metrics.schedule_duration_count++;
	s->metrics.schedule_duration_sum_ms += (uint64_t)(ms > 0 ? ms : 0);
}

static void
answer(struct sched_core *s, struct sched_peer *c, enum sched_answer_kind kind, const char *description)
{
	struct sched_answer a = { kind, description };

	sched_stop_waiting(s, c);
	count_duration(s, c);
	if (c->answers < UINT8_MAX)
		c->answers++;
	c->n_at_answer = c->n_finished;
	s->out.answer(s->ctx, c, &a);
}

static void
answer_source(struct sched_core *s, struct sched_peer *c, const char *description)
{
	struct sched_task *t = c->task;

	if (t->n_sources == 0 && list_is_empty(&t->triggers))
		t->progress_ms = s->res.now_ms;
	c->is_granted = true;
	c->grant_until_ms = s->res.now_ms + s->res.opt.grant_timeout_ms;
	sched_peer_place_source(c);
	if (t->check.place == 0)
		heap_put(&s->checks, &t->check, c->grant_until_ms + 1);
	s->metrics.source_grants++;
	log_debug("schedule to source task=%s peer=%s waited_ms=%lld sources=%u", t->id, c->id,
		(long long)(s->res.now_ms - c->asked_ms), t->n_sources);
	answer(s, c, SCHED_ANSWER_SOURCE, description);
}

static void
log_parents(const struct sched_core *s, const struct sched_peer *c, const struct sched_pick *pick, const char *what)
{
	char text[SCHEDULER_PARENTS_MAX * 80];
	size_t n = 0;

	text[0] = 0;
	for (unsigned i = 0; i < pick->n && n < sizeof text - 1; i++) {
		int k = snprintf(text + n, sizeof text - n, "%s%.64s:%u", i ? "," : "", pick->parents[i]->id, pick->scores[i]);

		n += k > 0 ? (size_t)k : 0;
	}
	log_debug("%s task=%s peer=%s parents=%s waited_ms=%lld", what, c->task->id, c->id, text,
		(long long)(s->res.now_ms - c->asked_ms));
}

static void
answer_parents(struct sched_core *s, struct sched_peer *c, const struct sched_pick *pick)
{
	for (unsigned i = 0; i < pick->n; i++)
		sched_edge_add(&s->res, pick->parents[i], c);
	if (log_get_level() <= LOG_DEBUG)
		log_parents(s, c, pick, "schedule to parents");
	answer(s, c, SCHED_ANSWER_NORMAL, NULL);
	if (c->is_live && c->n_parents < s->res.opt.candidate_parent_limit && list_is_empty(&c->hungry))
		list_add_tail(&c->task->hungry, &c->hungry);
}

static void
refuse(struct sched_core *s, struct sched_peer *c, int code, const char *text)
{
	count_duration(s, c);
	log_info("schedule refused task=%s peer=%s waited_ms=%lld reason=\"%s\"", c->task->id, c->id,
		(long long)(s->res.now_ms - c->asked_ms), text);
	sched_fail_peer(s, c);
	sched_close(s, c, code, text);
}

static void
wait_for_change(struct sched_core *s, struct sched_peer *c)
{
	struct sched_task *t = c->task;

	sched_keep_download(s, c);
	if (!c->is_waiting) {
		c->is_waiting = true;
		c->is_odd = c->has_range || c->n_finished || c->n_blocks || c->no_source || c->need_source || c->answers ||
			c->priority == 2 || c->priority == 3 || c->host->type != 0;
		list_add_tail(&t->waiters, &c->wait);
		t->n_waiters++;
		if (c->is_odd)
			t->n_odd_waiters++;
	}
	c->round = t->round;
	if (t->check.place == 0 || t->check.key > s->res.now_ms + CHECK_MS)
		heap_put(&s->checks, &t->check, s->res.now_ms + CHECK_MS);
}

/* ---- the decision ---- */

static void
count_rejected(struct sched_core *s, const struct sched_pick *pick)
{
	for (unsigned i = 1; i < SCHEDULER_RULES; i++)
		s->metrics.pick_rejected[i] += pick->rejected[i];
}

static void
keep_anchors(struct sched_pick *pick, const struct sched_peer *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < pick->n; i++) {
		if (!sched_is_anchor(pick->parents[i], c))
			continue;
		pick->parents[n] = pick->parents[i];
		pick->scores[n++] = pick->scores[i];
	}
	pick->n = n;
}

static void
pick_for(struct sched_core *s, struct sched_peer *c, struct sched_pick *pick)
{
	unsigned limit = s->res.opt.candidate_parent_limit;
	unsigned crowd = c->task->n_waiters - (c->is_waiting ? 1 : 0);

	if (crowd > SCHED_CROWD && limit > SCHED_CROWD_PARENTS)
		limit = SCHED_CROWD_PARENTS;
	sched_pick(&s->res, c, SCHED_SLOTS_HARD, limit, pick);
	if (pick->n == 0 && pick->n_full > 0 && s->res.now_ms - c->asked_ms >= s->res.opt.slot_wait_ms)
		sched_pick(&s->res, c, SCHED_SLOTS_SOFT, limit, pick);
	count_rejected(s, pick);
}

/* A peer with the whole of what c needs, so that no second download from the source is wanted. */
static bool
has_complete(const struct sched_pick *pick, const struct sched_peer *c)
{
	for (unsigned i = 0; i < pick->n; i++)
		if (pick->parents[i]->state == SCHED_PEER_SUCCEEDED && sched_is_anchor(pick->parents[i], c))
			return true;
	return false;
}

static bool
has_anchor(const struct sched_pick *pick, const struct sched_peer *c)
{
	for (unsigned i = 0; i < pick->n; i++)
		if (sched_is_anchor(pick->parents[i], c))
			return true;
	return false;
}

static bool
seeds_failed_lately(const struct sched_core *s, const struct sched_task *t)
{
	return t->trigger_fails_ms[1] > 0 && s->res.now_ms - t->trigger_fails_ms[1] < SEED_TASK_FAIL_MS;
}

/* The steps D1 to D8 of doc/scheduler.md. Returns whether another waiter could fare differently. */
static bool
decide(struct sched_core *s, struct sched_peer *c)
{
	struct sched_task *t = c->task;
	const struct scheduler_options *o = &s->res.opt;
	int64_t waited = s->res.now_ms - c->asked_ms;
	bool no_source = c->no_source || c->priority == 2, is_first;
	struct sched_trigger *own = sched_own_trigger(c);
	struct sched_pick pick;
	uint32_t sources;

	if (c->need_source && !no_source && !own) {
		answer_source(s, c, "peer's NeedBackToSource is true");
		return true;
	}
	pick_for(s, c, &pick);
	if (c->need_source && !no_source && !has_complete(&pick, c)) {
		answer_source(s, c, "peer's NeedBackToSource is true");
		return true;
	}
	if (!c->is_live && c->answers >= SCHED_ANSWERS_CAREFUL) {
		keep_anchors(&pick, c);
		if (pick.n == 0 && !no_source && t->n_sources < o->back_to_source_count) {
			answer_source(s, c, "scheduling exceeded RetryBackToSourceLimit");
			return true;
		}
	}
	if (pick.n > 0 && !has_anchor(&pick, c) && sched_sources(&s->res, t, c) == 0 && !sched_swarm_has(&s->res, c)) {
		/* They have some pieces and nobody gets the others. */
		if (c->host->type != 1 && c->priority != 3 && !seeds_failed_lately(s, t) && sched_start_trigger(s, c)) {
			wait_for_change(s, c);
			return true;
		}
		if (!no_source) {
			answer_source(s, c, "scheduling exceeded RetryBackToSourceLimit");
			return true;
		}
	}
	if (pick.n > 0) {
		answer_parents(s, c, &pick);
		return true;
	}
	if (t->restore_until_ms > s->res.now_ms) {
		wait_for_change(s, c);
		return pick.is_personal;
	}
	sources = sched_sources(&s->res, t, c);
	is_first = pick.n_useful == 0 && sources == 0;
	if (is_first && c->host->type != 1) {
		if (c->priority == 2) {
			refuse(s, c, ERR_NOT_FOUND, "LEVEL2 peer not found candidate peers");
			return true;
		}
		if (c->priority != 3 && !seeds_failed_lately(s, t) && sched_start_trigger(s, c)) {
			wait_for_change(s, c);
			return true;
		}
		if (t->n_servers == 0 && sched_restore_task(s, c)) {
			wait_for_change(s, c);
			return true;
		}
	}
	if ((pick.n_full > 0 || pick.must_wait_for_leaders) && waited < o->max_wait_ms) {
		wait_for_change(s, c);
		return pick.is_personal;
	}
	if (!no_source && sources < sched_source_budget(&s->res, t)) {
		answer_source(s, c, "scheduling exceeded RetryBackToSourceLimit");
		return true;
	}
	if (waited < o->max_wait_ms) {
		wait_for_change(s, c);
		return pick.is_personal;
	}
	if (!no_source && sources < o->back_to_source_count)
		answer_source(s, c, "scheduling exceeded RetryBackToSourceLimit");
	else
		refuse(s, c, ERR_FAILED_PRECONDITION, "scheduling exceeded RetryLimit");
	return true;
}

void
sched_decide(struct sched_core *s, struct sched_peer *c)
{
	decide(s, c);
}

/* Looks at the waiters of a task, longest waiting first. When a plain one has to go on waiting for reasons that hold for all,
 * the other plain ones need no look. Returns the decisions taken. */
static unsigned
run_task(struct sched_core *s, struct sched_task *t, unsigned max)
{
	bool plain_waits = false;
	unsigned n = 0;

	LIST_EACH(it, next, &t->waiters) {
		struct sched_peer *c = CONTAINER_OF(it, struct sched_peer, wait);

		if (plain_waits && t->n_odd_waiters == 0)
			break;
		if (c->round == t->round || (plain_waits && !c->is_odd))
			continue;
		if (n++ >= max)
			return n;
		c->round = t->round;
		if (!decide(s, c) && !c->is_odd)
			plain_waits = true;
	}
	return n;
}

/* The last source of a task went while others are at work: they would feed each other what they have and then stand still until
 * they ask again. Of those that listen at any time the one that has most goes to the source now. */
static void
replace_source(struct sched_core *s, struct sched_task *t)
{
	struct sched_peer *best = NULL;

	if (t->n_sources > 0 || !list_is_empty(&t->triggers))
		return;
	for (struct list *it = t->peers.next; it != &t->peers; it = it->next) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, in_task);

		if (p->is_live && p->stream && p->state == SCHED_PEER_RUNNING && !p->is_waiting && !p->no_source && p->priority != 2 &&
			!p->has_range && (!best || p->n_finished > best->n_finished))
			best = p;
	}
	if (!best || sched_swarm_has(&s->res, best))
		return;
	best->asked_ms = s->res.now_ms;
	answer_source(s, best, "the source of the others is gone");
}

bool
sched_core_run(struct sched_core *s)
{
	unsigned left = SCHED_RUN_MAX;

	while (!list_is_empty(&s->bereft)) {
		struct sched_task *t = CONTAINER_OF(s->bereft.next, struct sched_task, bereft);

		list_del(&t->bereft);
		if (t->n_waiters == 0)
			replace_source(s, t);
	}
	while (!list_is_empty(&s->dirty)) {
		struct sched_task *t = CONTAINER_OF(s->dirty.next, struct sched_task, dirty);
		unsigned n = run_task(s, t, left);

		if (n > left)
			return true;
		left -= n;
		list_del(&t->dirty);
		t->is_dirty = false;
		/* An answer may have changed what others can get: those before it have seen the old state. */
	}
	return false;
}

/* ---- parent lists that grow ---- */

/* A longer list for c when there are more parents for it. */
static bool
refresh_peer(struct sched_core *s, struct sched_peer *c)
{
	struct sched_answer a = { SCHED_ANSWER_NORMAL, NULL };
	struct sched_pick pick;
	bool is_known;

	if (sched_peer_needed(c, &is_known) == 0 && is_known)
		return false;
	sched_pick(&s->res, c, SCHED_SLOTS_HARD, s->res.opt.candidate_parent_limit - c->n_parents, &pick);
	count_rejected(s, &pick);
	if (pick.n > 0) {
		for (unsigned i = 0; i < pick.n; i++)
			sched_edge_add(&s->res, pick.parents[i], c);
		if (log_get_level() <= LOG_DEBUG)
			log_parents(s, c, &pick, "schedule more parents");
		s->out.answer(s->ctx, c, &a);
	}
	return c->n_parents < s->res.opt.candidate_parent_limit;
}

/* Gives c more parents where there are some; true when it is to be looked at again. */
static bool
stays_hungry(struct sched_core *s, struct sched_peer *c)
{
	if (!c->stream || c->is_waiting || c->n_parents >= s->res.opt.candidate_parent_limit)
		return false;
	/* It has its first parents and did not say yet that it started. */
	if (c->state == SCHED_PEER_RECEIVED_NORMAL)
		return true;
	return c->state == SCHED_PEER_RUNNING && refresh_peer(s, c);
}

void
sched_refresh_task(struct sched_core *s, struct sched_task *t, int64_t *tokens)
{
	struct list *last = t->hungry.prev;

	while (!list_is_empty(&t->hungry)) {
		struct list *it = t->hungry.next;
		struct sched_peer *c = CONTAINER_OF(it, struct sched_peer, hungry);
		bool is_last = it == last;

		if (*tokens <= 0) {
			heap_put(&s->refreshes, &t->refresh, s->res.now_ms + SCHED_REFRESH_MS);
			return;
		}
		--*tokens;
		list_del(it);
		if (stays_hungry(s, c))
			list_add_tail(&t->hungry, it);
		if (is_last)
			return;
	}
}
