/*
 * Hundreds of thousands of random events: whatever peers, hosts and seeds do, and in whatever order, the sums stay right, nobody
 * is answered twice and nobody is forgotten.
 */
#include "world.h"

#define EVENTS 60000
#define HOSTS 24
#define PEERS 400

struct chaos {
	struct world *w;
	uint64_t random;
	struct stream *streams[PEERS];
	unsigned serial;
};

static uint32_t
draw(struct chaos *c, uint32_t n)
{
	c->random = c->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(c->random >> 33) % n;
}

static void
host_name(uint32_t n, char out[64])
{
	snprintf(out, 64, "10.0.0.%u-h%u%s", n, n, n < 3 ? "-seed" : "");
}

static void
do_host(struct chaos *c)
{
	static const char *const idcs[] = { "", "a", "b" };
	char id[64];
	struct sched_host *h;

	host_name(draw(c, HOSTS), id);
	h = sched_host_find(&c->w->core.res, slice_str(id));
	if (h && draw(c, 6) == 0)
		sched_delete_host(&c->w->core, h);
	else
		host_full(c->w, id, idcs[draw(c, 3)], draw(c, 2) ? "x|y" : "", draw(c, 2) ? UINT64_C(1000000000) : 0, draw(c, 1000));
}

static void
do_register(struct chaos *c)
{
	static struct common_range range;
	char id[64], peer[64], task[16];
	struct err e = { 0 };
	unsigned at = draw(c, PEERS);

	if (c->streams[at] && c->streams[at]->peer)
		return;
	host_name(draw(c, HOSTS), id);
	snprintf(task, sizeof task, "task%u", draw(c, 4));
	snprintf(peer, sizeof peer, "p%u", draw(c, 3) ? c->serial++ : draw(c, c->serial + 1));
	world_download(c->w);
	c->w->is_live = draw(c, 2);
	c->w->download.priority = draw(c, 8) ? 6 : (int32_t)draw(c, 7);
	c->w->download.need_back_to_source = draw(c, 10) == 0;
	c->w->download.disable_back_to_source = draw(c, 10) == 0;
	c->w->download.metadata_only = draw(c, 12) == 0;
	if (draw(c, 5) == 0) {
		range.start = draw(c, 200) * 4 * MIB;
		range.length = (1 + draw(c, 50)) * 4 * MIB;
		c->w->download.range = &range;
	}
	if (draw(c, 6) == 0)
		c->w->download.has_actual_piece_count = c->w->download.has_actual_content_length =
			c->w->download.has_actual_piece_length = false;
	c->streams[at] = reg_at(c->w, id, task, peer, &e);
	if (e.code != 0 && c->streams[at]->peer) {
		c->streams[at]->peer = NULL;
		c->streams[at]->is_closed = true;
	}
}

/* The stream ends the way the service ends it when the core refuses. */
static void
after(struct chaos *c, struct stream *s, int rc)
{
	if (rc < 0 && !s->is_closed) {
		s->is_closed = true;
		sched_stream_gone(&c->w->core, s->peer);
	}
}

static void
do_peer(struct chaos *c)
{
	struct stream *s = c->streams[draw(c, PEERS)];
	struct sched_core *core = &c->w->core;
	struct slice ids[SCHEDULER_PARENTS_MAX];
	struct common_piece piece = { 0 };
	struct google_duration cost = { 0, 1000000 };
	struct err e = { 0 };

	if (!s || !s->peer || s->is_closed)
		return;
	switch (draw(c, 16)) {
	case 0:
	case 1:
		after(c, s, sched_started(core, s->peer, &e));
		break;
	case 2:
		after(c, s, sched_source_started(core, s->peer, &e));
		break;
	case 3:
		for (unsigned i = 0; i < s->n_parents; i++)
			ids[i] = slice_str(s->parents[i]);
		after(c, s, sched_reschedule(core, s->peer, ids, s->n_parents, &e));
		break;
	case 4:
		after(c, s, sched_finished(core, s->peer, draw(c, 2), &e));
		break;
	case 5:
		after(c, s, sched_failed(core, s->peer, draw(c, 2), &e));
		break;
	case 6:
		s->is_closed = true;
		sched_stream_gone(core, s->peer);
		break;
	case 7:
		sched_piece_failed(core, s->peer, s->n_parents ? slice_str(s->parents[0]) : slice_str("nobody"));
		break;
	case 8:
		if (draw(c, 4) == 0)
			sched_delete_peer(core, s->peer);
		break;
	case 9:
		if (draw(c, 4) == 0)
			sched_delete_task(core, s->peer->host, slice_str(s->peer->task->id));
		break;
	default:
		piece.number = draw(c, 260);
		piece.length = 4 * MIB;
		piece.cost = &cost;
		piece.has_traffic_type = true;
		piece.traffic_type = 1;
		piece.parent_id = s->n_parents ? slice_str(s->parents[draw(c, s->n_parents)]) : slice_str("");
		sched_piece_finished(core, s->peer, &piece, draw(c, 4) == 0);
		break;
	}
}

static void
do_seed(struct chaos *c)
{
	struct sched_trigger *open[64];
	unsigned n = 0;

	for (struct list *it = c->w->core.triggers.next; it != &c->w->core.triggers && n < 64; it = it->next)
		open[n++] = CONTAINER_OF(it, struct sched_trigger, all);
	c->w->n_triggers = 0;
	if (n == 0)
		return;
	n = draw(c, n);
	if (draw(c, 2))
		sched_trigger_live(&c->w->core, open[n]);
	else
		sched_trigger_done(&c->w->core, open[n], draw(c, 2) ? 0 : ERR_UNAVAILABLE);
	c->w->n_triggers = 0;
}

static void
do_holders(struct chaos *c)
{
	for (size_t i = 0; i < c->w->n_asked; i++)
		sched_holder_answer(&c->w->core, slice_str(c->w->asked[i].host), slice_str(c->w->asked[i].task), draw(c, 2));
	c->w->n_asked = 0;
}

/* A closed stream belongs to nobody any more; so does that of a peer which is gone. */
static void
forget_closed(struct chaos *c)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (c->streams[i] && c->streams[i]->is_closed)
			c->streams[i] = NULL;
}

static void
check_task(struct world *w, const struct sched_task *t)
{
	uint32_t peers = 0, holders = 0, sources = 0, servers = 0, waiters = 0;

	for (struct list *it = t->peers.next; it != &t->peers; it = it->next) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, in_task);

		peers++;
		holders += p->state == SCHED_PEER_SUCCEEDED;
		sources += p->state == SCHED_PEER_BACK_TO_SOURCE || p->is_granted;
		servers += p->server_slot > 0;
		waiters += p->is_waiting;
		assert_true(p->n_parents <= w->opt.candidate_parent_limit);
		if (p->server_slot > 0)
			assert_ptr_equal(t->servers[p->server_slot - 1], p);
		for (uint32_t i = 0; i < p->n_parents; i++) {
			struct sched_peer *a = p->parents[i].parent;

			assert_ptr_equal(a->task, t);
			assert_ptr_not_equal(a->host, p->host);
			assert_ptr_equal(a->children[p->parents[i].child_slot].child, p);
			assert_int_equal(a->children[p->parents[i].child_slot].parent_slot, i);
		}
		/* Whoever waits has a stream to be answered on. */
		if (p->is_waiting)
			assert_non_null(p->stream);
	}
	assert_int_equal(peers, t->n_peers);
	assert_int_equal(holders, t->n_holders);
	assert_int_equal(sources, t->n_sources);
	assert_int_equal(servers, t->n_servers);
	assert_int_equal(waiters, t->n_waiters);
	if (waiters > 0)
		assert_true(t->check.place > 0);
}

static void
check_all(struct chaos *c)
{
	const struct sched_resources *r = &c->w->core.res;
	uint64_t states = 0;

	for (struct list *it = r->task_list.next; it != &r->task_list; it = it->next)
		check_task(c->w, CONTAINER_OF(it, struct sched_task, all));
	for (struct list *it = r->host_list.next; it != &r->host_list; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);
		uint64_t children = 0, pieces = 0, bytes = 0, tx = 0, streams = 0;

		for (struct list *k = h->peers.next; k != &h->peers; k = k->next) {
			const struct sched_peer *p = CONTAINER_OF(k, struct sched_peer, in_host);

			streams += p->stream != NULL;
			children += p->n_children;
			for (uint32_t i = 0; i < p->n_children; i++) {
				const struct sched_peer *child = p->children[i].child;

				pieces += child->concurrent_pieces;
				bytes += p->task->content_length > 0 ? (uint64_t)p->task->content_length : 0;
				tx += p->task->piece_length * child->concurrent_pieces * 8;
			}
		}
		assert_int_equal(children, h->children);
		assert_int_equal(pieces, h->upload_pieces);
		assert_int_equal(bytes, h->upload_bytes);
		assert_int_equal(tx, h->tx_alloc);
		assert_int_equal(streams, h->streams);
	}
	for (unsigned i = 0; i < SCHEDULER_PEER_STATES; i++)
		states += r->n_states[i];
	assert_int_equal(states, r->peers.count);
}

static void
chaos(uint64_t random, bool mesh, enum scheduler_locality locality)
{
	struct chaos *c = xcalloc(1, sizeof *c);
	struct scheduler_options o;

	world_options(&o);
	o.mesh = mesh;
	o.locality = locality;
	o.candidate_parent_limit = mesh ? 16 : 3;
	o.sample_limit = 16;
	o.max_holders = 20;
	o.random_seed = random;
	c->w = world_new(&o);
	c->w->core.is_restored = true;
	c->random = random;
	for (unsigned i = 0; i < EVENTS; i++) {
		uint32_t what = draw(c, 100);

		if (what < 3)
			do_host(c);
		else if (what < 25)
			do_register(c);
		else if (what < 90)
			do_peer(c);
		else if (what < 93)
			do_seed(c);
		else if (what < 94)
			do_holders(c);
		else
			pass(c->w, draw(c, 20) ? draw(c, 200) : draw(c, 40000));
		settle(c->w);
		if (c->w->n_asked > 20)
			do_holders(c);
		if (c->w->n_triggers > 40)
			c->w->n_triggers = 0;
		forget_closed(c);
		if (i % 64 == 0)
			check_all(c);
		if (c->w->n_streams + 64 > COUNT_OF(c->w->streams))
			break;
	}
	/* With time everybody is answered or closed. */
	c->w->n_triggers = 0;
	pass(c->w, 40000);
	do_holders(c);
	for (unsigned i = 0; i < PEERS; i++)
		if (c->streams[i] && c->streams[i]->peer && !c->streams[i]->is_closed)
			assert_false(c->streams[i]->peer->is_waiting);
	check_all(c);
	world_free(c->w);
	free(c);
}

static void
sums_hold_with_a_mesh(void **state)
{
	(void)state;
	chaos(1, true, SCHEDULER_LOCALITY_OFF);
	chaos(2, true, SCHEDULER_LOCALITY_SOFT);
}

static void
sums_hold_without_a_mesh(void **state)
{
	(void)state;
	chaos(3, false, SCHEDULER_LOCALITY_OFF);
	chaos(4, false, SCHEDULER_LOCALITY_STRICT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_hold_with_a_mesh),
		cmocka_unit_test(sums_hold_without_a_mesh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
