/*
 * A cluster without sockets: the scheduler's core with a clock of its own, peers that are called by name, answers that are kept.
 */
#ifndef UNIT_SCHEDULER_WORLD_H
#define UNIT_SCHEDULER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/common.h"
#include "proto/google.h"
#include "scheduler/decide.h"
#include "scheduler/evaluate.h"

#define GIB ((uint64_t)1 << 30)
#define MIB ((uint64_t)1 << 20)
#define TASK "dcdbddb17569963e79004fa5444641c4984dc4a052dbdf2490c84fe522314afa"
#define START_MS 1000000

struct stream {
	struct sched_peer *peer;        /* NULL once the core let go of the stream */
	char id[128];
	unsigned n_answers;
	enum sched_answer_kind kind;
	char description[128];
	char parents[SCHEDULER_PARENTS_MAX][128];
	unsigned n_parents;
	int64_t answered_ms;
	bool is_closed;
	int code;
	char text[256];
};

struct asked {
	char host[128];
	char task[128];
};

struct world {
	struct sched_core core;
	struct scheduler_options opt;
	struct stream *streams[20000];
	size_t n_streams;
	struct sched_trigger *triggers[64];
	char triggered[64][128];        /* seeds in the order they were asked */
	size_t n_triggers;
	size_t n_cancelled;
	struct asked asked[64];
	size_t n_asked;
	struct common_download download;        /* what reg() sends; reset by world_download */
	bool is_live;
	unsigned n_sources;             /* NeedBackToSource answers in all */
};

static inline struct stream *
stream_of(struct world *w, const void *key)
{
	(void)w;
	return (struct stream *)(uintptr_t)key;
}

static inline void
on_answer(void *ctx, struct sched_peer *p, const struct sched_answer *a)
{
	struct world *w = ctx;
	struct stream *s = stream_of(w, p->stream);

	assert_non_null(s);
	assert_false(s->is_closed);
	s->n_answers++;
	s->kind = a->kind;
	s->answered_ms = w->core.res.now_ms;
	snprintf(s->description, sizeof s->description, "%s", a->description ? a->description : "");
	s->n_parents = a->kind == SCHED_ANSWER_NORMAL ? p->n_parents : 0;
	for (unsigned i = 0; i < s->n_parents; i++)
		snprintf(s->parents[i], sizeof s->parents[i], "%s", p->parents[i].parent->id);
	if (a->kind == SCHED_ANSWER_SOURCE)
		w->n_sources++;
}

static inline void
on_close(void *ctx, void *stream, int code, const char *text)
{
	struct stream *s = stream_of(ctx, stream);

	assert_false(s->is_closed);
	s->is_closed = true;
	s->code = code;
	snprintf(s->text, sizeof s->text, "%s", text ? text : "");
}

static inline void
on_trigger(void *ctx, struct sched_trigger *g)
{
	struct world *w = ctx;

	w->triggers[w->n_triggers] = g;
	snprintf(w->triggered[w->n_triggers++], sizeof w->triggered[0], "%s:%d", g->seed->ip, g->seed->port);
	assert_true(w->n_triggers < COUNT_OF(w->triggers));
}

static inline void
on_cancel_trigger(void *ctx, struct sched_trigger *g)
{
	(void)g;
	((struct world *)ctx)->n_cancelled++;
}

static inline void
on_ask_holder(void *ctx, const struct sched_host *h, const char *task_id)
{
	struct world *w = ctx;

	assert_true(w->n_asked < COUNT_OF(w->asked));
	snprintf(w->asked[w->n_asked].host, sizeof w->asked[0].host, "%s", h->id);
	snprintf(w->asked[w->n_asked++].task, sizeof w->asked[0].task, "%s", task_id);
}

static inline void
world_download(struct world *w)
{
	memset(&w->download, 0, sizeof w->download);
	w->download.url = slice_str("https://example.com/file.tar.gz");
	w->download.has_actual_content_length = true;
	w->download.actual_content_length = GIB;
	w->download.has_actual_piece_length = true;
	w->download.actual_piece_length = 4 * MIB;
	w->download.has_actual_piece_count = true;
	w->download.actual_piece_count = 256;
	w->download.priority = 6;
	w->is_live = false;
}

static inline void
world_options(struct scheduler_options *o)
{
	scheduler_options_default(o);
	o->random_seed = 42;
	o->candidate_parent_limit = 3;
}

static inline struct world *
world_new(const struct scheduler_options *opt)
{
	static const struct sched_output out = { on_answer, on_close, on_trigger, on_cancel_trigger, on_ask_holder };
	struct world *w = calloc(1, sizeof *w);
	struct err e = { 0 };

	if (opt)
		w->opt = *opt;
	else
		world_options(&w->opt);
	assert_int_equal(sched_core_init(&w->core, &w->opt, &out, w, START_MS, START_MS, &e), 0);
	world_download(w);
	return w;
}

static inline void
world_free(struct world *w)
{
	sched_core_free(&w->core);
	for (size_t i = 0; i < w->n_streams; i++)
		free(w->streams[i]);
	free(w);
}

static inline int
world_setup(void **state)
{
	*state = world_new(NULL);
	return 0;
}

static inline int
world_teardown(void **state)
{
	world_free(*state);
	return 0;
}

/* A test whose state is a world with the usual options. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

static inline void
settle(struct world *w)
{
	while (sched_core_run(&w->core))
		;
}

/* Lets time pass, tick by tick. */
static inline void
pass(struct world *w, int64_t ms)
{
	int64_t end = w->core.res.now_ms + ms, step;

	settle(w);
	for (;;) {
		step = sched_core_tick(&w->core);
		settle(w);
		if (w->core.res.now_ms >= end)
			return;
		w->core.res.now_ms = w->core.res.now_ms + step < end ? w->core.res.now_ms + step : end;
	}
}

/* Announces "<ip>-<name>" with port 4000; a host whose name ends in -seed is a seed. */
static inline struct sched_host *
host_full(struct world *w, const char *id, const char *idc, const char *location, uint64_t max_tx, uint64_t tx)
{
	struct sched_host_info info = { 0 };
	const char *dash = strchr(id, '-');

	info.id = slice_str(id);
	info.hostname = slice_str(dash + 1);
	info.ip = slice_make(id, (size_t)(dash - id));
	info.idc = slice_str(idc);
	info.location = slice_str(location);
	info.type = slice_ends(info.id, "-seed") ? 1 : 0;
	info.port = info.download_port = 4000;
	info.max_tx = max_tx;
	info.tx = tx;
	info.interval_ms = 300000;
	return sched_announce_host(&w->core, &info);
}

static inline struct sched_host *
host(struct world *w, const char *id)
{
	return host_full(w, id, "", "", UINT64_C(10000000000), 0);
}

static inline struct sched_host *
host_in(struct world *w, const char *id, const char *idc)
{
	return host_full(w, id, idc, "", UINT64_C(10000000000), 0);
}

/* Registers; e (may be NULL) gets the failure. */
static inline struct stream *
reg_at(struct world *w, const char *host_id, const char *task_id, const char *peer_id, struct err *e)
{
	struct sched_register r = { 0 };
	struct stream *s = calloc(1, sizeof *s);
	struct err mine = { 0 };

	r.host_id = slice_str(host_id);
	r.task_id = slice_str(task_id);
	r.peer_id = slice_str(peer_id);
	r.download = &w->download;
	r.is_live = w->is_live;
	snprintf(s->id, sizeof s->id, "%.100s", peer_id);
	w->streams[w->n_streams++] = s;
	assert_true(w->n_streams < COUNT_OF(w->streams));
	if (sched_register(&w->core, &r, s, &s->peer, e ? e : &mine) < 0) {
		if (s->peer)
			sched_stream_gone(&w->core, s->peer);
		if (!e)
			fail_msg("register %s: %s", peer_id, mine.text);
	}
	settle(w);
	return s;
}

static inline struct stream *
reg(struct world *w, const char *host_id, const char *peer_id)
{
	return reg_at(w, host_id, TASK, peer_id, NULL);
}

static inline void
started(struct world *w, struct stream *s)
{
	assert_int_equal(sched_started(&w->core, s->peer, NULL), 0);
	settle(w);
}

static inline void
source_started(struct world *w, struct stream *s)
{
	assert_int_equal(sched_source_started(&w->core, s->peer, NULL), 0);
	settle(w);
}

static inline void
piece_full(struct world *w, struct stream *s, uint32_t number, const char *parent, int64_t cost_ms)
{
	struct google_duration cost = { cost_ms / 1000, (int32_t)(cost_ms % 1000) * 1000000 };
	struct common_piece p = { 0 };

	p.number = number;
	p.length = 4 * MIB;
	p.cost = &cost;
	p.parent_id = slice_str(parent);
	p.has_traffic_type = true;
	p.traffic_type = parent ? 1 : 0;
	sched_piece_finished(&w->core, s->peer, &p, !parent);
	settle(w);
}

static inline void
piece(struct world *w, struct stream *s, uint32_t number, const char *parent)
{
	piece_full(w, s, number, parent, 100);
}

static inline void
piece_failed(struct world *w, struct stream *s, const char *parent)
{
	sched_piece_failed(&w->core, s->peer, slice_str(parent));
	settle(w);
}

/* Asks for other parents, naming the present ones. */
static inline void
reschedule(struct world *w, struct stream *s)
{
	struct slice ids[SCHEDULER_PARENTS_MAX];

	for (unsigned i = 0; i < s->n_parents; i++)
		ids[i] = slice_str(s->parents[i]);
	assert_int_equal(sched_reschedule(&w->core, s->peer, ids, s->n_parents, NULL), 0);
	settle(w);
}

static inline void
finished(struct world *w, struct stream *s, bool from_source)
{
	assert_int_equal(sched_finished(&w->core, s->peer, from_source, NULL), 0);
	settle(w);
	assert_true(s->is_closed);
	assert_int_equal(s->code, ERR_OK);
}

static inline void
stream_lost(struct world *w, struct stream *s)
{
	s->is_closed = true;
	sched_stream_gone(&w->core, s->peer);
	settle(w);
}

/* A peer of a host of its own that registered, began, and has the pieces [from, from+n) of `parent`. */
static inline struct stream *
child_with(struct world *w, const char *host_id, const char *peer_id, const char *parent, uint32_t from, uint32_t n)
{
	struct stream *s;

	host(w, host_id);
	s = reg(w, host_id, peer_id);
	started(w, s);
	for (uint32_t i = 0; i < n; i++)
		piece(w, s, from + i, parent);
	return s;
}

/* A peer that has everything, known since before the test. */
static inline struct stream *
holder_of(struct world *w, const char *host_id, const char *task_id, const char *peer_id)
{
	struct common_download old = w->download;
	struct stream *s;
	bool live = w->is_live;

	world_download(w);
	w->download.actual_content_length = old.actual_content_length;
	w->download.actual_piece_length = old.actual_piece_length;
	w->download.actual_piece_count = old.actual_piece_count;
	w->download.metadata_only = true;
	s = reg_at(w, host_id, task_id, peer_id, NULL);
	assert_int_equal(s->kind, SCHED_ANSWER_METADATA);
	started(w, s);
	finished(w, s, false);
	w->download = old;
	w->is_live = live;
	return s;
}

static inline struct stream *
holder(struct world *w, const char *host_id, const char *peer_id)
{
	return holder_of(w, host_id, TASK, peer_id);
}

/* A first peer at the source with n pieces. */
static inline struct stream *
source(struct world *w, const char *host_id, const char *peer_id, uint32_t n)
{
	bool need = w->download.need_back_to_source;
	struct stream *s;

	w->download.need_back_to_source = true;
	s = reg(w, host_id, peer_id);
	w->download.need_back_to_source = need;
	assert_int_equal(s->kind, SCHED_ANSWER_SOURCE);
	source_started(w, s);
	for (uint32_t i = 0; i < n; i++)
		piece(w, s, i, NULL);
	return s;
}

static inline void
assert_waits(const struct stream *s)
{
	assert_int_equal(s->n_answers, 0);
	assert_false(s->is_closed);
}

static inline void
assert_source(const struct stream *s)
{
	assert_true(s->n_answers > 0);
	assert_int_equal(s->kind, SCHED_ANSWER_SOURCE);
}

static inline bool
has_parent(const struct stream *s, const char *id)
{
	for (unsigned i = 0; i < s->n_parents; i++)
		if (strcmp(s->parents[i], id) == 0)
			return true;
	return false;
}

/* The last answer is exactly these parents, in this order; ended by NULL. */
static inline void
assert_parents(const struct stream *s, ...)
{
	const char *id;
	unsigned n = 0;
	va_list ap;

	assert_true(s->n_answers > 0);
	assert_int_equal(s->kind, SCHED_ANSWER_NORMAL);
	va_start(ap, s);
	while ((id = va_arg(ap, const char *)) != NULL) {
		assert_true(n < s->n_parents);
		assert_string_equal(s->parents[n++], id);
	}
	va_end(ap);
	assert_int_equal(s->n_parents, n);
}

/* Gives `parent`'s host n children from hosts of their own. */
static inline void
add_children(struct world *w, struct stream *parent, unsigned n)
{
	static unsigned serial;
	char name[64], peer[64];

	for (unsigned i = 0; i < n; i++) {
		struct sched_peer *c;
		struct sched_task *t = parent->peer->task;

		snprintf(name, sizeof name, "10.9.%u.%u-c%u", serial / 200, serial % 200, serial);
		snprintf(peer, sizeof peer, "child-%u", serial++);
		c = sched_peer_new(&w->core.res, slice_str(peer), t, host(w, name));
		sched_edge_add(&w->core.res, parent->peer, c);
	}
}

#endif
