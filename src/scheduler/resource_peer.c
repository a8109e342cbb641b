/*
 * Peers: which pieces they have, want and will have; their place in the indexes of task and host.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "scheduler/resource.h"

struct sched_peer *
sched_peer_find(const struct sched_resources *r, struct slice id)
{
	return map_get(&r->peers, id);
}

struct sched_peer *
sched_peer_new(struct sched_resources *r, struct slice id, struct sched_task *t, struct sched_host *h)
{
	struct sched_peer *p = xcalloc(1, sizeof *p + id.n + 1);

	memcpy(p->id, id.p, id.n);
	p->task = t;
	p->host = h;
	p->concurrent_pieces = 8;
	p->depth = 15;
	p->created_ms = p->updated_ms = r->now_ms;
	list_init(&p->wait);
	list_init(&p->hungry);
	list_init(&p->source);
	list_add_tail(&t->peers, &p->in_task);
	list_add_tail(&h->peers, &p->in_host);
	list_add_tail(&r->peer_list, &p->all);
	t->n_peers++;
	t->empty_since_ms = 0;
	map_put(&r->peers, slice_str(p->id), p);
	r->n_states[p->state]++;
	r->memory += sizeof *p + id.n + 64;
	return p;
}

static void
drop_bits(struct sched_resources *r, struct sched_peer *p)
{
	r->memory -= (uint64_t)p->n_words * 8;
	free(p->bits);
	p->bits = NULL;
	p->n_words = 0;
}

void
sched_peer_remove(struct sched_resources *r, struct sched_peer *p)
{
	if (r->on_peer_gone)
		r->on_peer_gone(r->ctx, p);
	sched_peer_set_state(r, p, SCHED_PEER_LEAVE);
	sched_edges_drop_children(r, p);
	if (p->is_waiting)
		p->task->n_waiters--;
	list_del(&p->wait);
	list_del(&p->hungry);
	list_del(&p->in_task);
	list_del(&p->in_host);
	list_del(&p->all);
	if (--p->task->n_peers == 0)
		p->task->empty_since_ms = r->now_ms;
	map_del(&r->peers, slice_str(p->id));
	r->n_states[p->state]--;
	r->memory -= sizeof *p + strlen(p->id) + 64 + p->n_download + p->n_blocks * sizeof *p->blocks;
	drop_bits(r, p);
	free(p->download);
	free(p->blocks);
	free(p);
}

/* ---- place among servers ---- */

static struct sched_idc_servers *
bucket_of(struct sched_task *t, uint16_t idc)
{
	for (uint32_t i = 0; i < t->n_buckets; i++)
		if (t->buckets[i].idc == idc)
			return &t->buckets[i];
	t->buckets = xrealloc(t->buckets, (t->n_buckets + 1) * sizeof *t->buckets);
	t->buckets[t->n_buckets] = (struct sched_idc_servers){ .idc = idc };
	return &t->buckets[t->n_buckets++];
}

static void
bucket_add(struct sched_peer *p)
{
	struct sched_idc_servers *b;

	if (p->host->idc == 0)
		return;
	b = bucket_of(p->task, p->host->idc);
	if (b->n == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 16;
		b->peers = xrealloc(b->peers, b->cap * sizeof(*b->peers));
	}
	b->peers[b->n++] = p;
	p->bucket_slot = b->n;
}

static void
bucket_del(struct sched_peer *p)
{
	struct sched_idc_servers *b;

	if (p->bucket_slot == 0)
		return;
	/* The host may have moved to another IDC meanwhile: the bucket is the one that holds the peer. */
	for (uint32_t i = 0; i < p->task->n_buckets; i++) {
		b = &p->task->buckets[i];
		if (p->bucket_slot > b->n || b->peers[p->bucket_slot - 1] != p)
			continue;
		b->peers[p->bucket_slot - 1] = b->peers[--b->n];
		b->peers[p->bucket_slot - 1]->bucket_slot = p->bucket_slot;
		break;
	}
	p->bucket_slot = 0;
}

static bool
can_serve(const struct sched_peer *p)
{
	if (p->host->provisional || p->host->disable_shared)
		return false;
	return p->state == SCHED_PEER_SUCCEEDED || p->state == SCHED_PEER_BACK_TO_SOURCE ||
		(p->state == SCHED_PEER_RUNNING && (p->n_finished > 0 || p->host->type == 1 || p->is_live));
}

void
sched_peer_place(struct sched_resources *r, struct sched_peer *p)
{
	struct sched_task *t = p->task;
	bool is_in = p->server_slot > 0, belongs = can_serve(p);

	if (is_in == belongs)
		return;
	if (belongs) {
		if (t->n_servers == t->cap_servers) {
			t->cap_servers = t->cap_servers ? t->cap_servers * 2 : 8;
			t->servers = xrealloc(t->servers, t->cap_servers * sizeof(*t->servers));
		}
		t->servers[t->n_servers++] = p;
		p->server_slot = t->n_servers;
		if (t->has_buckets) {
			bucket_add(p);
		} else if (t->n_servers > r->opt.sample_limit) {
			t->has_buckets = true;
			for (uint32_t i = 0; i < t->n_servers; i++)
				bucket_add(t->servers[i]);
		}
	} else {
		t->servers[p->server_slot - 1] = t->servers[--t->n_servers];
		t->servers[p->server_slot - 1]->server_slot = p->server_slot;
		p->server_slot = 0;
		bucket_del(p);
	}
}

void
sched_peer_place_source(struct sched_peer *p)
{
	bool is_in = !list_is_empty(&p->source), belongs = p->is_granted || p->state == SCHED_PEER_BACK_TO_SOURCE;

	if (is_in == belongs)
		return;
	if (belongs) {
		list_add_tail(&p->task->sources, &p->source);
		p->task->n_sources++;
	} else {
		list_del(&p->source);
		p->task->n_sources--;
	}
}

void
sched_peer_set_state(struct sched_resources *r, struct sched_peer *p, enum sched_peer_state state)
{
	enum sched_peer_state old = p->state;

	if (old == state)
		return;
	r->n_states[old]--;
	r->n_states[state]++;
	p->state = (uint8_t)state;
	p->updated_ms = r->now_ms;
	if (old == SCHED_PEER_SUCCEEDED)
		p->task->n_holders--;
	if (state == SCHED_PEER_SUCCEEDED)
		p->task->n_holders++;
	if (state == SCHED_PEER_RUNNING || state == SCHED_PEER_BACK_TO_SOURCE)
		p->active_ms = r->now_ms;
	if (state >= SCHED_PEER_BACK_TO_SOURCE) {
		p->is_granted = false;
		list_del(&p->hungry);
		sched_edges_drop_parents(r, p);
	}
	if (state == SCHED_PEER_SUCCEEDED && !p->has_range)
		p->is_full = true;
	if (state == SCHED_PEER_SUCCEEDED)
		drop_bits(r, p);
	if (state == SCHED_PEER_FAILED || state == SCHED_PEER_LEAVE)
		sched_edges_drop_children(r, p);
	sched_peer_place(r, p);
	sched_peer_place_source(p);
}

/* ---- pieces ---- */

void
sched_peer_set_range(struct sched_peer *p, uint64_t start, uint64_t length)
{
	uint64_t piece = p->task->piece_length, last;

	p->has_range = true;
	p->range_start = start;
	p->range_length = length;
	p->first = 0;
	p->last = 0;
	if (piece == 0)
		return;
	last = length == 0 || start > UINT64_MAX - length ? start : start + length - 1;
	p->first = start / piece < SCHED_PIECES_MAX ? (uint32_t)(start / piece) : SCHED_PIECES_MAX - 1;
	p->last = last / piece < SCHED_PIECES_MAX ? (uint32_t)(last / piece) : SCHED_PIECES_MAX - 1;
}

bool
sched_peer_interest(const struct sched_peer *p, uint32_t *first, uint32_t *last)
{
	*first = 0;
	*last = SCHED_PIECES_MAX - 1;
	if (p->has_range && !p->is_full) {
		if (p->task->piece_length == 0)
			return false;
		*first = p->first;
		*last = p->last;
		return true;
	}
	if (p->task->piece_count == 0)
		return false;
	*last = p->task->piece_count - 1;
	return true;
}

bool
sched_peer_has_piece(const struct sched_peer *p, uint32_t number)
{
	uint32_t first, last;

	if (p->state == SCHED_PEER_SUCCEEDED) {
		sched_peer_interest(p, &first, &last);
		return number >= first && number <= last;
	}
	return number / 64 < p->n_words && (p->bits[number / 64] >> (number % 64) & 1);
}

bool
sched_peer_set_piece(struct sched_resources *r, struct sched_peer *p, uint32_t number)
{
	uint32_t limit = p->task->piece_count ? p->task->piece_count : SCHED_PIECES_MAX, words;

	if (number >= limit || p->state == SCHED_PEER_SUCCEEDED || sched_peer_has_piece(p, number))
		return false;
	if (number / 64 >= p->n_words) {
		words = p->n_words ? p->n_words * 2 : 1;
		while (words <= number / 64)
			words *= 2;
		if (p->task->piece_count && words > (p->task->piece_count + 63) / 64)
			words = (p->task->piece_count + 63) / 64;
		p->bits = xrealloc(p->bits, words * sizeof *p->bits);
		memset(p->bits + p->n_words, 0, (words - p->n_words) * sizeof *p->bits);
		r->memory += (uint64_t)(words - p->n_words) * 8;
		p->n_words = words;
	}
	p->bits[number / 64] |= (uint64_t)1 << (number % 64);
	p->n_finished++;
	return true;
}

static uint32_t
count_bits(uint64_t v)
{
	v -= v >> 1 & UINT64_C(0x5555555555555555);
	v = (v & UINT64_C(0x3333333333333333)) + (v >> 2 & UINT64_C(0x3333333333333333));
	v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (uint32_t)(v * UINT64_C(0x0101010101010101) >> 56);
}

static uint64_t
word_mask(uint32_t word, uint32_t first, uint32_t last)
{
	uint64_t m = ~(uint64_t)0;

	if (word == first / 64)
		m &= ~(uint64_t)0 << (first % 64);
	if (word == last / 64)
		m &= ~(uint64_t)0 >> (63 - last % 64);
	return m;
}

/* Pieces of [first, last] that c has not. */
static uint32_t
count_missing(const struct sched_peer *c, uint32_t first, uint32_t last)
{
	uint32_t missing;

	if (first > last)
		return 0;
	missing = last - first + 1;
	if (c->state == SCHED_PEER_SUCCEEDED)
		return 0;
	for (uint32_t w = first / 64; w <= last / 64 && w < c->n_words; w++)
		missing -= count_bits(c->bits[w] & word_mask(w, first, last));
	return missing;
}

uint32_t
sched_peer_needed(const struct sched_peer *c, bool *is_known)
{
	uint32_t first, last;

	*is_known = sched_peer_interest(c, &first, &last);
	return *is_known ? count_missing(c, first, last) : 0;
}

uint32_t
sched_peer_will_for(const struct sched_peer *p, const struct sched_peer *c, bool *is_known)
{
	uint32_t first, last, p_first, p_last;

	*is_known = sched_peer_interest(c, &first, &last);
	if (!*is_known)
		return 0;
	sched_peer_interest(p, &p_first, &p_last);
	return count_missing(c, first > p_first ? first : p_first, last < p_last ? last : p_last);
}

uint32_t
sched_peer_have_for(const struct sched_peer *p, const struct sched_peer *c, bool *is_known)
{
	uint32_t first, last, n = 0;

	if (p->state == SCHED_PEER_SUCCEEDED)
		return sched_peer_will_for(p, c, is_known);
	*is_known = sched_peer_interest(c, &first, &last);
	if (!*is_known)
		return p->n_finished;
	for (uint32_t w = first / 64; w <= last / 64 && w < p->n_words; w++)
		n += count_bits(p->bits[w] & word_mask(w, first, last) & (w < c->n_words ? ~c->bits[w] : ~(uint64_t)0));
	return n;
}

void
sched_peer_add_cost(struct sched_peer *p, int64_t cost_ms)
{
	p->costs_ms[p->at_cost] = cost_ms < 0 ? 0 : cost_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)cost_ms;
	p->at_cost = (uint16_t)((p->at_cost + 1u) % SCHED_COSTS);
	if (p->n_costs < SCHED_COSTS)
		p->n_costs++;
}

int64_t
sched_peer_mean_cost(const struct sched_peer *p)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < p->n_costs; i++)
		sum += p->costs_ms[i];
	return p->n_costs ? sum / p->n_costs : 0;
}

/* ---- blocks ---- */

void
sched_peer_block(struct sched_resources *r, struct sched_peer *p, const struct sched_host *h, int64_t ttl_ms)
{
	struct sched_block *oldest = NULL;

	for (uint32_t i = 0; i < p->n_blocks; i++) {
		struct sched_block *b = &p->blocks[i];

		if (b->host == h->number) {
			if (b->until_ms < r->now_ms + ttl_ms)
				b->until_ms = r->now_ms + ttl_ms;
			return;
		}
		if (!oldest || b->until_ms < oldest->until_ms)
			oldest = b;
	}
	if (!oldest || (oldest->until_ms > r->now_ms && p->n_blocks < SCHED_BLOCKS_MAX)) {
		p->blocks = xrealloc(p->blocks, (p->n_blocks + 1) * sizeof *p->blocks);
		r->memory += sizeof *p->blocks;
		oldest = &p->blocks[p->n_blocks++];
	}
	*oldest = (struct sched_block){ h->number, r->now_ms + ttl_ms };
}

bool
sched_peer_is_blocked(const struct sched_resources *r, const struct sched_peer *p, const struct sched_host *h)
{
	for (uint32_t i = 0; i < p->n_blocks; i++)
		if (p->blocks[i].host == h->number && p->blocks[i].until_ms > r->now_ms)
			return true;
	return false;
}
