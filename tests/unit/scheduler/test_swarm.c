/*
 * Many peers at once, on a virtual clock: a herd of ten thousand, and a fluid simulation of peers behind equal links that draws
 * its parent lists from the scheduler itself.
 */
#include "world.h"

#include "base/heap.h"

#define SEED_HOST "10.0.0.1-s-seed"

/* ---- a herd ---- */

#define HERD 10000

struct member {
	struct heap_node next;
	struct stream *stream;
	int64_t asked_ms;
	int step;               /* 0 not registered, 1 waiting, 2 downloading, 3 has a piece, 4 done */
};

static void
member_step(struct world *w, struct heap *events, struct member *m, int number, unsigned *deepest)
{
	char h[32], id[32];

	switch (m->step) {
	case 0:
		snprintf(h, sizeof h, "10.%d.%d.%d-h", number / 250 / 250, number / 250 % 250, number % 250);
		snprintf(id, sizeof id, "p%d", number);
		host(w, h);
		m->stream = reg(w, h, id);
		m->asked_ms = w->core.res.now_ms;
		m->step = 1;
		heap_put(events, &m->next, w->core.res.now_ms + 1);
		break;
	case 1:
		if (m->stream->n_answers == 0) {
			heap_put(events, &m->next, w->core.res.now_ms + 20);
			break;
		}
		assert_true(m->stream->answered_ms - m->asked_ms <= w->opt.max_wait_ms);
		if (m->stream->kind == SCHED_ANSWER_SOURCE)
			source_started(w, m->stream);
		else
			started(w, m->stream);
		if (m->stream->peer->depth > *deepest)
			*deepest = m->stream->peer->depth;
		m->step = 2;
		heap_put(events, &m->next, w->core.res.now_ms + 500);
		break;
	case 2:
		piece(w, m->stream, (uint32_t)number % 256, m->stream->n_parents ? m->stream->parents[0] : NULL);
		m->step = 3;
		heap_put(events, &m->next, w->core.res.now_ms + 8000);
		break;
	case 3:
		finished(w, m->stream, m->stream->n_parents == 0);
		m->step = 4;
		break;
	default:
		break;
	}
}

static void
herd(uint32_t parents)
{
	struct member *members = xcalloc(HERD, sizeof *members);
	struct scheduler_options o;
	struct heap events;
	struct heap_node *n;
	struct world *w;
	unsigned deepest = 0, most = 0;

	world_options(&o);
	o.candidate_parent_limit = parents;
	w = world_new(&o);
	heap_init(&events);
	for (int i = 0; i < HERD; i++)
		heap_put(&events, &members[i].next, START_MS + i / 10);
	while ((n = heap_min(&events)) != NULL) {
		struct member *m = CONTAINER_OF(n, struct member, next);

		if (n->key > w->core.res.now_ms)
			pass(w, n->key - w->core.res.now_ms);
		heap_del(&events, n);
		member_step(w, &events, m, (int)(m - members), &deepest);
		if (m->stream->peer->host->children > most)
			most = m->stream->peer->host->children;
	}
	assert_int_equal(w->n_sources, 1);
	assert_in_range(deepest, 1, 6);
	assert_true(most <= w->opt.load_limit);
	for (int i = 0; i < HERD; i++)
		assert_int_equal(members[i].step, 4);
	heap_free(&events);
	free(members);
	world_free(w);
}

static void
herd_of_ten_thousand_reads_the_source_once(void **state)
{
	(void)state;
	herd(3);
}

static void
herd_with_long_lists_reads_the_source_once(void **state)
{
	(void)state;
	herd(16);
}

/* ---- fan-out ---- */

#define NODES_MAX 33
#define PIECES_LIMIT 64
#define SLOT_MS 320             /* 4 MiB at 100 Mbit/s */
#define STEPS 20                /* of a slot */
#define UPLOADS 2
#define ASKED 2
#define QUEUED 2

struct transfer {
	int parent, child;
	uint32_t number;
	double left;
	bool is_active;
};

struct fanout {
	struct world *w;
	unsigned n_peers, n_pieces;
	struct stream *streams[NODES_MAX];      /* 0 is the seed */
	bool have[NODES_MAX][PIECES_LIMIT];
	unsigned n_have[NODES_MAX];
	double done[NODES_MAX];
	struct transfer transfers[NODES_MAX * ASKED];   /* oldest first */
	unsigned n_transfers;
	uint64_t random;
};

static uint32_t
draw(struct fanout *f, uint32_t n)
{
	f->random = f->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(f->random >> 33) % n;
}

static int
node_of(const char *peer_id)
{
	return peer_id[0] == 's' ? 0 : atoi(peer_id + 1);
}

static unsigned
load_of(const struct fanout *f, int node)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->n_transfers; i++)
		n += f->transfers[i].parent == node;
	return n;
}

static bool
is_coming(const struct fanout *f, int child, uint32_t number)
{
	for (unsigned i = 0; i < f->n_transfers; i++)
		if (f->transfers[i].child == child && f->transfers[i].number == number)
			return true;
	return false;
}

/* Known holders, and copies on their way through the same parents. */
static uint32_t
rarity(const struct fanout *f, const int *parents, unsigned n, uint32_t number)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!f->have[parents[i]][number])
			continue;
		count++;
		for (unsigned k = 0; k < f->n_transfers; k++)
			count += f->transfers[k].parent == parents[i] && f->transfers[k].number == number;
	}
	return count;
}

/* One more request of a child: the rarest piece at a parent whose queue is not full. */
static bool
ask_one(struct fanout *f, int child)
{
	int parents[SCHEDULER_PARENTS_MAX], from = -1;
	uint32_t best = UINT32_MAX, number = 0, ties = 0;
	unsigned n = f->streams[child]->n_parents, load = UINT32_MAX;

	for (unsigned i = 0; i < n; i++)
		parents[i] = node_of(f->streams[child]->parents[i]);
	for (uint32_t x = 0; x < f->n_pieces; x++) {
		uint32_t r;
		bool is_free = false;

		if (f->have[child][x] || is_coming(f, child, x))
			continue;
		for (unsigned i = 0; i < n && !is_free; i++)
			is_free = f->have[parents[i]][x] && load_of(f, parents[i]) < QUEUED;
		if (!is_free)
			continue;
		r = rarity(f, parents, n, x);
		if (r > best)
			continue;
		ties = r < best ? 1 : ties + 1;
		best = r;
		if (draw(f, ties) == 0)
			number = x;
	}
	if (best == UINT32_MAX)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (!f->have[parents[i]][number] || load_of(f, parents[i]) >= QUEUED || load_of(f, parents[i]) > load)
			continue;
		if (load_of(f, parents[i]) == load && draw(f, 2))
			continue;
		load = load_of(f, parents[i]);
		from = parents[i];
	}
	f->transfers[f->n_transfers++] = (struct transfer){ from, child, number, 1.0, false };
	return true;
}

static void
ask_all(struct fanout *f)
{
	unsigned first = draw(f, f->n_peers);

	for (unsigned i = 0; i < f->n_peers; i++) {
		int child = (int)((first + i) % f->n_peers) + 1;
		unsigned asked = 0;

		if (f->n_have[child] == f->n_pieces)
			continue;
		for (unsigned k = 0; k < f->n_transfers; k++)
			asked += f->transfers[k].child == child;
		while (asked++ < ASKED && ask_one(f, child))
			;
	}
}

/* Max-min fair shares of the links, then a step of time. */
static void
move_bytes(struct fanout *f, double dt)
{
	double up[NODES_MAX], down[NODES_MAX], rate[NODES_MAX * ASKED] = { 0 };
	bool is_set[NODES_MAX * ASKED] = { false };
	unsigned nu[NODES_MAX] = { 0 }, nd[NODES_MAX] = { 0 }, left = 0, active[NODES_MAX] = { 0 };

	for (unsigned i = 0; i < NODES_MAX; i++)
		up[i] = down[i] = 1;
	for (unsigned i = 0; i < f->n_transfers; i++) {
		struct transfer *t = &f->transfers[i];

		t->is_active = active[t->parent]++ < UPLOADS;
		if (t->is_active) {
			nu[t->parent]++;
			nd[t->child]++;
			left++;
		}
	}
	while (left > 0) {
		double share = 2;

		for (unsigned i = 0; i < NODES_MAX; i++) {
			if (nu[i] && up[i] / nu[i] < share)
				share = up[i] / nu[i];
			if (nd[i] && down[i] / nd[i] < share)
				share = down[i] / nd[i];
		}
		for (unsigned i = 0; i < f->n_transfers; i++) {
			struct transfer *t = &f->transfers[i];

			if (!t->is_active || is_set[i])
				continue;
			if (up[t->parent] / nu[t->parent] > share + 1e-9 && down[t->child] / nd[t->child] > share + 1e-9)
				continue;
			rate[i] = share;
			is_set[i] = true;
			up[t->parent] -= share;
			down[t->child] -= share;
			nu[t->parent]--;
			nd[t->child]--;
			left--;
		}
	}
	for (unsigned i = 0; i < f->n_transfers; i++)
		f->transfers[i].left -= rate[i] * dt;
}

static void
deliver(struct fanout *f, double now)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->n_transfers; i++) {
		struct transfer t = f->transfers[i];

		if (t.left > 1e-9) {
			f->transfers[n++] = t;
			continue;
		}
		f->have[t.child][t.number] = true;
		f->n_have[t.child]++;
		piece_full(f->w, f->streams[t.child], t.number, f->streams[t.parent]->id, SLOT_MS);
		if (f->n_have[t.child] == f->n_pieces) {
			f->done[t.child] = now;
			finished(f->w, f->streams[t.child], false);
		}
	}
	f->n_transfers = n;
}

/* Time until the last of n peers has all, in units of size / rate. */
static double
fanout(unsigned n_peers, unsigned n_pieces, uint32_t parents, bool live, uint64_t random)
{
	struct fanout *f = xcalloc(1, sizeof *f);
	struct scheduler_options o;
	unsigned done = 0;
	double last = 0, origin = 0;
	char h[32], id[32];

	world_options(&o);
	o.candidate_parent_limit = parents;
	o.random_seed = random;
	f->w = world_new(&o);
	f->n_peers = n_peers;
	f->n_pieces = n_pieces;
	f->random = random;
	f->w->download.actual_piece_count = n_pieces;
	f->w->download.actual_content_length = n_pieces * 4 * MIB;
	f->w->is_live = live;
	host_full(f->w, SEED_HOST, "", "", 100000000, 0);
	f->w->is_live = live;
	f->streams[0] = source(f->w, SEED_HOST, "s", 0);
	for (unsigned i = 1; i <= n_peers; i++) {
		snprintf(h, sizeof h, "10.0.1.%u-h%u", i, i);
		snprintf(id, sizeof id, "p%u", i);
		host_full(f->w, h, "", "", 100000000, 0);
		f->streams[i] = reg(f->w, h, id);
	}
	for (unsigned step = 1; done < n_peers && step < 40 * n_pieces * STEPS; step++) {
		double now = (double)step / STEPS;

		pass(f->w, SLOT_MS / STEPS);
		for (unsigned i = 1; i <= n_peers; i++)
			if (f->streams[i]->n_answers && f->streams[i]->peer && f->streams[i]->peer->state == SCHED_PEER_RECEIVED_NORMAL)
				started(f->w, f->streams[i]);
		for (origin += 1.0 / STEPS; f->n_have[0] < n_pieces && origin >= f->n_have[0] + 1; ) {
			f->have[0][f->n_have[0]] = true;
			piece_full(f->w, f->streams[0], f->n_have[0]++, NULL, SLOT_MS);
			if (f->n_have[0] == n_pieces)
				finished(f->w, f->streams[0], true);
		}
		ask_all(f);
		move_bytes(f, 1.0 / STEPS);
		deliver(f, now);
		done = 0;
		for (unsigned i = 1; i <= n_peers; i++) {
			done += f->n_have[i] == n_pieces;
			/* Nobody at work is left without a parent. */
			if (f->streams[i]->peer->state == SCHED_PEER_RUNNING)
				assert_true(f->streams[i]->peer->n_parents > 0);
		}
		last = now;
	}
	assert_int_equal(done, n_peers);
	assert_int_equal(f->w->n_sources, 1);
	world_free(f->w);
	free(f);
	return last / n_pieces;
}

static double
median_of_three(unsigned n_peers, unsigned n_pieces, uint32_t parents, bool live)
{
	double t[3], low, high;

	for (unsigned i = 0; i < 3; i++)
		t[i] = fanout(n_peers, n_pieces, parents, live, 7 + i);
	low = t[0] < t[1] ? t[0] : t[1];
	high = t[0] < t[1] ? t[1] : t[0];
	low = t[2] < low ? low : t[2] > high ? high : t[2];
	print_message("%u peers, %u pieces, %u parents%s: %.2f x size/rate\n", n_peers, n_pieces, parents, live ? ", live" : "", low);
	return low;
}

static void
mesh_of_sixteen_is_near_the_bound(void **state)
{
	(void)state;
	assert_true(median_of_three(16, 16, 16, true) <= 1.9);
}

static void
mesh_of_eight_is_near_the_bound(void **state)
{
	(void)state;
	assert_true(median_of_three(8, 64, 16, true) <= 1.35);
}

static void
mesh_of_thirty_two_is_near_the_bound(void **state)
{
	(void)state;
	assert_true(median_of_three(32, 64, 16, true) <= 1.6);
}

static void
peers_that_are_answered_once_all_finish(void **state)
{
	(void)state;
	assert_true(median_of_three(16, 16, 16, false) < 20);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(herd_of_ten_thousand_reads_the_source_once),
		cmocka_unit_test(herd_with_long_lists_reads_the_source_once),
		cmocka_unit_test(mesh_of_sixteen_is_near_the_bound),
		cmocka_unit_test(mesh_of_eight_is_near_the_bound),
		cmocka_unit_test(mesh_of_thirty_two_is_near_the_bound),
		cmocka_unit_test(peers_that_are_answered_once_all_finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
