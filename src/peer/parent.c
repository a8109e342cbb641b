/*
 * Which piece next, and from whom (design: fan-out): few in flight, rarest first among the known parents, random among equals, never two
 * waiting at one parent while another that has a wanted piece is free. A parent that gives turns is asked in turn only.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/rpc_client.h"
#include "peer/collect.h"
#include "peer/session.h"
#include "peer/task.h"
#include "proto/common.h"

static bool
may_ask(const struct parent *p, unsigned load)
{
	return !p->is_dropped && !p->is_busy && p->pieces.len > 0 && p->in_flight == load && p->have_count > 0;
}

/* Pieces of word w that parents with this load have and that we want and nobody fetches. */
static uint64_t
open_word(const struct collect *c, size_t w, const uint64_t *finished, size_t words, unsigned load)
{
	const struct session *s = c->session;
	uint64_t offered = 0;
	uint64_t open = session_wanted_word(s, w) & ~s->task->in_flight[w] & ~(w < words ? finished[w] : 0);

	if (open == 0)
		return 0;
	LIST_EACH(it, next, &c->parents) {
		const struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (may_ask(p, load))
			offered |= p->have[w];
	}
	return open & offered;
}

/* The rarest piece that a parent with this load has; UINT32_MAX when there is none. Readers in order take the first instead. */
static uint32_t
choose_piece(const struct collect *c, unsigned load, bool in_order)
{
	const struct task *t = c->session->task;
	size_t words, n_words = (size_t)t->piece_count / 64 + 1;
	const uint64_t *finished = store_task_bitmap(t->store, &words);
	uint32_t best = UINT32_MAX, best_holders = UINT32_MAX;
	uint64_t equals = 0;

	for (size_t w = 0; w < n_words; w++) {
		uint64_t open = open_word(c, w, finished, words, load);

		for (unsigned b = 0; open != 0; b++, open >>= 1) {
			uint32_t n = (uint32_t)(w * 64 + b);

			if ((open & 1) == 0)
				continue;
			if (in_order)
				return n;
			if (c->holders[n] > best_holders)
				continue;
			if (c->holders[n] < best_holders) {
				best_holders = c->holders[n];
				equals = 0;
			}
			if (rand_below(++equals) == 0)
				best = n;
		}
	}
	return best;
}

static struct parent *
choose_parent(struct collect *c, unsigned load, uint32_t piece)
{
	struct parent *best = NULL;
	uint64_t equals = 0;

	LIST_EACH(it, next, &c->parents) {
		struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (may_ask(p, load) && bit_get(p->have, piece) && rand_below(++equals) == 0)
			best = p;
	}
	return best;
}

/* What makes a piece of a parent good, the less the better: few holders, then that this one gave it to nobody. */
static uint32_t
rank(const struct parent *p, uint32_t piece)
{
	return p->collect->holders[piece] * 2u + (p->fresh == NULL || !bit_get(p->fresh, piece));
}

uint32_t
parent_best_piece(const struct parent *p)
{
	const struct session *s = p->collect->session;
	size_t words, n_words = (size_t)s->task->piece_count / 64 + 1;
	const uint64_t *finished = store_task_bitmap(s->task->store, &words);
	uint32_t best = UINT32_MAX, best_rank = UINT32_MAX;
	uint64_t equals = 0;

	for (size_t w = 0; w < n_words; w++) {
		uint64_t open = p->have[w] & session_wanted_word(s, w) & ~s->task->in_flight[w] & ~(w < words ? finished[w] : 0);

		for (unsigned b = 0; open != 0; b++, open >>= 1) {
			uint32_t n = (uint32_t)(w * 64 + b), r;

			if ((open & 1) == 0)
				continue;
			if (s->in_order)
				return n;
			r = rank(p, n);
			if (r > best_rank)
				continue;
			if (r < best_rank)
				equals = 0;
			best_rank = r;
			if (rand_below(++equals) == 0)
				best = n;
		}
	}
	return best;
}

/* A turn is used before anything else. */
static struct parent *
use_turn(struct collect *c, uint32_t *piece)
{
	LIST_EACH(it, next, &c->parents) {
		struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (!p->has_turn || p->is_dropped || p->pieces.len == 0)
			continue;
		*piece = parent_best_piece(p);
		if (*piece == UINT32_MAX || !task_claim(c->session->task, *piece))
			continue;
		p->in_flight++;
		p->has_turn = false;
		return p;
	}
	return NULL;
}

struct parent *
parent_pick(struct collect *c, bool uses_turns, uint32_t *piece)
{
	struct parent *p = uses_turns ? use_turn(c, piece) : NULL;
	bool in_order = c->session->in_order;

	for (unsigned load = 0; p == NULL && load < PARENT_IN_FLIGHT_MAX; load++) {
		uint32_t n = choose_piece(c, load, in_order);

		if (n == UINT32_MAX)
			continue;
		p = choose_parent(c, load, n);
		if (p == NULL || !task_claim(c->session->task, n)) {
			p = NULL;
			continue;
		}
		p->in_flight++;
		*piece = n;
	}
	return p;
}

bool
parent_is_free_elsewhere(const struct parent *p, uint32_t piece)
{
	LIST_EACH(it, next, &p->collect->parents) {
		const struct parent *other = CONTAINER_OF(it, struct parent, link);

		if (other != p && may_ask(other, 0) && bit_get(other->have, piece))
			return true;
	}
	return false;
}

static void
forget_piece(struct parent *p, uint32_t piece)
{
	if (bit_get(p->have, piece)) {
		bit_clear(p->have, piece);
		p->have_count--;
		p->collect->holders[piece]--;
	}
}

void
parent_drop(struct parent *p, const char *why)
{
	if (p->is_dropped)
		return;
	p->is_dropped = true;
	log_warn("parent is not asked any more task=%s parent=%s reason=\"%s\"", p->collect->session->task->id, p->id, why);
	if (p->sync != NULL) {
		rpc_call_cancel(p->sync);
		p->sync = NULL;
	}
	parent_turns_stop(p);
	for (uint32_t n = 0; n < p->collect->session->task->piece_count; n++)
		forget_piece(p, n);
}

void
parent_result(struct parent *p, uint32_t piece, enum fetch_failure failure)
{
	p->in_flight--;
	switch (failure) {
	case FETCH_OK:
		p->failures = 0;
		break;
	case FETCH_CANCELLED:
	case FETCH_DISK:
		break;
	case FETCH_UNREACHABLE:
		parent_drop(p, "unreachable");
		break;
	case FETCH_LIED:
		parent_drop(p, "sent what was not asked for");
		break;
	case FETCH_REFUSED:
	case FETCH_BROKEN:
		forget_piece(p, piece);
		if (++p->failures >= PARENT_FAILURES_MAX)
			parent_drop(p, "failed several times in a row");
		break;
	}
}
