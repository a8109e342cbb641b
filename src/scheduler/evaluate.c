/*
 * Filter, score and order of parents (sums and formulas: doc/scheduler.md).
 */
#include "scheduler/evaluate.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "scheduler/seed.h"

/* A host with no known bandwidth counts as this. */
#define DEFAULT_TX ((uint64_t)10000 * 1000 * 1000)
/* One piece in flight is taken for 16 MiB/s. */
#define PIECE_TX ((uint64_t)16 * 1024 * 1024 * 8)
/* A host whose children want more than this many seconds of its bandwidth is at its end. */
#define QUEUE_SECONDS 60u
#define LOCATION_DEPTH 5u
#define SCORE_BUCKET 50u
/* Parents of the child's own IDC above this L are enough by themselves (localityMode soft). */
#define LOCAL_LOAD_MIN 3000u
#define IDC_LEADERS 2u
#define IDC_LEADERS_WAIT_MS 1000
/* Slots of a live peer that has all or reads the source, and the fewest of any other live one. */
#define LIVE_SLOTS 64u
#define LIVE_SLOTS_MIN 8u
/* A peer is stalled after four times its usual time for a piece, but not before the timeout. */
#define STALL_FACTOR 4

/* a * b / c without overflow of a * b. */
static uint64_t
scale(uint64_t a, uint64_t b, uint64_t c)
{
	if (a <= UINT64_MAX / b)
		return a * b / c;
	return (uint64_t)((long double)a * (long double)b / (long double)c);
}

uint32_t
sched_load_score(struct sched_resources *r, struct sched_host *h)
{
	uint64_t max = h->max_tx ? h->max_tx : DEFAULT_TX, tx = h->tx_alloc, queue = max / 8 * QUEUE_SECONDS + max % 8 * QUEUE_SECONDS / 8;
	uint64_t peak, duration, concurrency, used = 0;

	if (h->is_scored)
		return h->load_score;
	if (h->tx > tx && sched_host_is_fresh(r, h))
		tx = h->tx;
	peak = tx >= max ? 0 : SCHED_SCORE_MAX - scale(tx, SCHED_SCORE_MAX, max);
	duration = h->upload_bytes == 0 ? SCHED_SCORE_MAX : h->upload_bytes >= queue ? 0 :
		SCHED_SCORE_MAX - scale(h->upload_bytes, SCHED_SCORE_MAX, queue);
	if (h->upload_pieces > 0)
		used = h->upload_pieces <= UINT64_MAX / PIECE_TX ? h->upload_pieces * PIECE_TX : UINT64_MAX;
	concurrency = max <= PIECE_TX ? 0 : used <= max ? SCHED_SCORE_MAX : scale(max, SCHED_SCORE_MAX, used);
	h->load_score = (uint16_t)((50 * peak + 30 * duration + 20 * concurrency) / 100);
	h->is_scored = true;
	return h->load_score;
}

/* 2000 for each equal leading element, 10000 when all are. */
static uint32_t
location_score(const char *a, const char *b)
{
	uint32_t equal = 0;
	size_t at = 0;

	if (!*a || !*b)
		return 0;
	for (;; at++) {
		bool end_a = !a[at] || a[at] == '|', end_b = !b[at] || b[at] == '|';

		if (end_a && end_b) {
			equal++;
			if (!a[at] && !b[at])
				return SCHED_SCORE_MAX;
			if (!a[at] || !b[at] || equal == LOCATION_DEPTH)
				break;
			continue;
		}
		if (end_a != end_b || tolower((unsigned char)a[at]) != tolower((unsigned char)b[at]))
			break;
	}
	/* Five equal elements are as far as it is looked, but only fully equal names get here past it. */
	return equal * (SCHED_SCORE_MAX / LOCATION_DEPTH);
}

uint32_t
sched_score(struct sched_resources *r, const struct sched_peer *parent, const struct sched_host *child)
{
	struct sched_host *h = parent->host;
	uint32_t l = sched_load_score(r, h);
	uint32_t i = h->idc && h->idc == child->idc ? SCHED_SCORE_MAX : 0;
	uint32_t g = h->place && h->place == child->place ? SCHED_SCORE_MAX :
		h->location[0] && child->location[0] ? location_score(h->location, child->location) : 0;
	uint32_t type = h->type == 0 ? SCHED_SCORE_MAX / 2 :
		parent->state == SCHED_PEER_RUNNING || parent->state == SCHED_PEER_BACK_TO_SOURCE ? SCHED_SCORE_MAX : 0;

	return (60 * l + 20 * i + 10 * g + 10 * type) / 100;
}

static uint64_t
fnv(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	return h;
}

/* The part that is the same for all parents of a child: its host id and the zero byte behind it. */
static uint64_t
rendezvous_prefix(const char *child_host_id)
{
	return fnv(UINT64_C(0xcbf29ce484222325), child_host_id) * UINT64_C(0x100000001b3);
}

/* The 64-bit finalizer of MurmurHash3. */
static uint64_t
fmix64(uint64_t k)
{
	k = (k ^ k >> 33) * UINT64_C(0xff51afd7ed558ccd);
	k = (k ^ k >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return k ^ k >> 33;
}

uint64_t
sched_rendezvous(const char *child_host_id, const char *parent_peer_id)
{
	return fmix64(fnv(rendezvous_prefix(child_host_id), parent_peer_id));
}

bool
sched_is_anchor(const struct sched_peer *p, const struct sched_peer *c)
{
	bool is_known;

	if (p->state != SCHED_PEER_SUCCEEDED && p->state != SCHED_PEER_BACK_TO_SOURCE)
		return false;
	return !p->has_range || p->is_full || (sched_peer_will_for(p, c, &is_known) == sched_peer_needed(c, &is_known) && is_known);
}

bool
sched_swarm_has(const struct sched_resources *r, const struct sched_peer *c)
{
	const struct sched_task *t = c->task;
	uint32_t first, last;

	if (!sched_peer_interest(c, &first, &last))
		return true;
	for (uint32_t x = first; x <= last; x++) {
		bool is_there = sched_peer_has_piece(c, x);

		for (uint32_t i = 0; i < t->n_servers && !is_there; i++) {
			const struct sched_host *h = t->servers[i]->host;

			is_there = sched_peer_has_piece(t->servers[i], x) && !sched_host_is_bad(r, h) && sched_host_is_fresh(r, h) &&
				!sched_peer_is_blocked(r, c, h);
		}
		if (!is_there)
			return false;
	}
	return true;
}

bool
sched_is_stalled(const struct sched_resources *r, const struct sched_peer *p)
{
	int64_t since = p->piece_ms > p->active_ms ? p->piece_ms : p->active_ms;
	int64_t timeout = p->state == SCHED_PEER_BACK_TO_SOURCE && p->n_finished == 0 ? r->opt.first_piece_timeout_ms :
		r->opt.stall_timeout_ms;

	if (p->state == SCHED_PEER_SUCCEEDED || r->now_ms - since <= timeout)
		return false;
	return r->now_ms - since > STALL_FACTOR * sched_peer_mean_cost(p);
}

/* ---- candidates ---- */

struct candidate {
	struct sched_peer *peer;
	uint32_t bucket;
	uint32_t score;
	uint32_t have;
	uint32_t depth;
	uint32_t fail_rate;
	uint64_t rendezvous;            /* 0 until asked for */
};

struct picking {
	struct sched_resources *r;
	struct sched_peer *c;
	enum sched_slots slots;
	uint64_t prefix;
	uint32_t n_needed;
	bool is_known;
	bool has_marks;
	bool is_refresh;                /* c is at work and adds to its list: who has nothing yet is good enough */
	struct sched_pick *out;
	struct candidate found[SCHEDULER_SAMPLE_MAX];
	unsigned n_found;
};

static uint64_t
rendezvous_of(const struct picking *k, struct candidate *a)
{
	if (a->rendezvous == 0)
		a->rendezvous = fmix64(fnv(k->prefix, a->peer->id));
	return a->rendezvous;
}

/* Whether a goes before b. */
static bool
is_before(const struct picking *k, struct candidate *a, struct candidate *b)
{
	if (a->bucket != b->bucket)
		return a->bucket > b->bucket;
	if (a->have != b->have)
		return a->have > b->have;
	if (a->depth != b->depth)
		return a->depth < b->depth;
	if (a->peer->host->children != b->peer->host->children)
		return a->peer->host->children < b->peer->host->children;
	if (a->fail_rate != b->fail_rate)
		return a->fail_rate < b->fail_rate;
	if (rendezvous_of(k, a) != rendezvous_of(k, b))
		return a->rendezvous > b->rendezvous;
	return strcmp(a->peer->id, b->peer->id) < 0;
}

/* A peer that takes lists unasked serves its children in turn, a few at a time, and each of them has many parents: a slot is a
 * place in a queue there, not a share of the link. Whoever has all or reads the source takes many. Others take about as many
 * children as they have parents, or the first ones to have a piece would feed all and the uplinks of the rest lie idle. */
static uint32_t
slots_of(const struct sched_resources *r, const struct sched_peer *p)
{
	uint32_t slots = sched_host_slots(r, p->host), limit = sched_host_load_limit(r, p->host);
	uint32_t fair = r->opt.candidate_parent_limit + r->opt.candidate_parent_limit / 4;

	if (!p->is_live)
		return slots;
	if (p->state != SCHED_PEER_RUNNING || p->host->type == 1)
		slots = slots > LIVE_SLOTS ? slots : LIVE_SLOTS;
	else
		slots = fair > LIVE_SLOTS_MIN ? fair : LIVE_SLOTS_MIN;
	return slots < limit ? slots : limit;
}

/* The first rule that p breaks, or 0. */
static enum sched_rule
check(struct picking *k, struct sched_peer *p)
{
	struct sched_resources *r = k->r;
	struct sched_peer *c = k->c;
	struct sched_host *h = p->host;
	bool is_known;

	if (p == c || h == c->host)
		return SCHED_RULE_SELF;
	if (h->disable_shared || !sched_host_is_fresh(r, h))
		return SCHED_RULE_HOST;
	if (p->state == SCHED_PEER_RUNNING ? p->n_finished == 0 && h->type != 1 && !k->is_refresh :
		p->state != SCHED_PEER_SUCCEEDED && p->state != SCHED_PEER_BACK_TO_SOURCE)
		return SCHED_RULE_STATE;
	if (sched_is_stalled(r, p))
		return SCHED_RULE_STATE;
	if (k->is_known && (p->has_range && !p->is_full ? sched_peer_will_for(p, c, &is_known) : k->n_needed) == 0)
		return SCHED_RULE_PIECES;
	k->out->n_useful++;
	if (sched_peer_is_blocked(r, c, h))
		return SCHED_RULE_BLOCKED;
	if (sched_host_is_bad(r, h))
		return SCHED_RULE_BAD;
	if (k->has_marks && p->mark == r->epoch)
		return SCHED_RULE_CYCLE;
	if (h->children >= sched_host_load_limit(r, h))
		return SCHED_RULE_SLOTS;
	if (k->slots == SCHED_SLOTS_HARD && (h->children >= slots_of(r, p) || sched_host_is_straggler(r, h)))
		return SCHED_RULE_SLOTS;
	return 0;
}

static void
consider(struct picking *k, struct sched_peer *p)
{
	enum sched_rule rule = check(k, p);
	struct candidate *f;
	bool is_known;

	if (rule) {
		k->out->rejected[rule]++;
		if (rule == SCHED_RULE_SLOTS)
			k->out->n_full++;
		else if (rule == SCHED_RULE_SELF || rule == SCHED_RULE_PIECES || rule == SCHED_RULE_BLOCKED || rule == SCHED_RULE_CYCLE)
			k->out->is_personal = true;
		return;
	}
	f = &k->found[k->n_found++];
	f->peer = p;
	f->score = sched_score(k->r, p, k->c->host);
	f->bucket = f->score / SCORE_BUCKET;
	f->have = k->is_known && p->is_full ? k->n_needed : sched_peer_have_for(p, k->c, &is_known);
	f->depth = p->state != SCHED_PEER_RUNNING || p->host->type == 1 ? 0 : p->depth;
	f->fail_rate = p->host->failed_pieces == 0 ? 0 : (uint32_t)(p->host->failed_pieces * 1000 / (p->host->served_pieces + 1));
	f->rendezvous = 0;
}

static uint32_t
step_for(struct sched_resources *r, uint32_t n)
{
	uint32_t step = (uint32_t)(sched_random(r) % n);

	for (;; step++) {
		uint32_t a = n, b = step;

		while (b) {
			uint32_t rest = a % b;

			a = b;
			b = rest;
		}
		if (a == 1)
			return step;
	}
}

/* All servers, or a random part of them: up to half from the child's own IDC. */
static void
sample(struct picking *k)
{
	struct sched_resources *r = k->r;
	struct sched_task *t = k->c->task;
	const struct sched_idc_servers *b = NULL;
	uint32_t limit = r->opt.sample_limit < SCHEDULER_SAMPLE_MAX ? r->opt.sample_limit : SCHEDULER_SAMPLE_MAX, n = 0, from, step;

	if (t->n_servers <= limit) {
		for (uint32_t i = 0; i < t->n_servers; i++)
			consider(k, t->servers[i]);
		return;
	}
	for (uint32_t i = 0; i < t->n_buckets && k->c->host->idc; i++)
		if (t->buckets[i].idc == k->c->host->idc)
			b = &t->buckets[i];
	if (b) {
		from = b->n ? (uint32_t)(sched_random(r) % b->n) : 0;
		for (uint32_t i = 0; i < b->n && n < limit / 2; i++, n++)
			consider(k, b->peers[(from + i) % b->n]);
	}
	/* A step without a common divisor meets each server once, from a random place on. */
	from = (uint32_t)(sched_random(r) % t->n_servers);
	step = step_for(r, t->n_servers);
	for (uint32_t i = 0; n < limit && i < t->n_servers; i++) {
		struct sched_peer *p = t->servers[(from + (uint64_t)i * step) % t->n_servers];

		if (b && p->host->idc == b->idc)
			continue;
		consider(k, p);
		n++;
	}
}

/* One peer for each host: the one that has more. Hosts that already serve c are out too. */
static void
one_per_host(struct picking *k)
{
	uint32_t epoch = ++k->r->pick_epoch;
	unsigned n = 0;

	for (uint32_t e = 0; e < k->c->n_parents; e++) {
		k->c->parents[e].parent->host->pick_epoch = epoch;
		k->c->parents[e].parent->host->pick_slot = UINT32_MAX;
	}
	for (unsigned i = 0; i < k->n_found; i++) {
		struct candidate *f = &k->found[i], *other;
		struct sched_host *h = f->peer->host;

		if (h->pick_epoch != epoch) {
			h->pick_epoch = epoch;
			h->pick_slot = n;
			k->found[n++] = *f;
			continue;
		}
		if (h->pick_slot == UINT32_MAX)
			continue;
		other = &k->found[h->pick_slot];
		if (f->have > other->have || (f->have == other->have && is_before(k, f, other)))
			*other = *f;
	}
	k->n_found = n;
}

/* Keeps to the child's own IDC while that is enough (soft), or always (strict). */
static void
keep_local(struct picking *k)
{
	struct sched_host *mine = k->c->host;
	enum scheduler_locality mode = k->r->opt.locality;
	uint32_t leaders = 0;
	unsigned n = 0, local = 0;
	bool is_enough = false;

	if (mode == SCHEDULER_LOCALITY_OFF || mine->idc == 0)
		return;
	for (unsigned i = 0; i < k->n_found; i++) {
		if (k->found[i].peer->host->idc != mine->idc)
			continue;
		local++;
		is_enough = is_enough || mode == SCHEDULER_LOCALITY_STRICT ||
			sched_load_score(k->r, k->found[i].peer->host) >= LOCAL_LOAD_MIN;
	}
	if (local == 0 && k->n_found > 0) {
		for (uint32_t i = 0; i < k->c->task->n_servers && i < SCHEDULER_SAMPLE_MAX && leaders < IDC_LEADERS; i++) {
			struct sched_peer *p = k->c->task->servers[i];

			if (p != k->c && p->host->idc == mine->idc && p->state == SCHED_PEER_RUNNING && p->n_finished > 0)
				leaders++;
		}
		if (leaders >= IDC_LEADERS &&
			(mode == SCHEDULER_LOCALITY_STRICT || k->r->now_ms - k->c->asked_ms < IDC_LEADERS_WAIT_MS)) {
			k->out->must_wait_for_leaders = true;
			k->out->is_personal = true;
			k->n_found = 0;
		}
		return;
	}
	if (!is_enough)
		return;
	for (unsigned i = 0; i < k->n_found; i++)
		if (k->found[i].peer->host->idc == mine->idc)
			k->found[n++] = k->found[i];
	k->n_found = n;
}

/* Most candidates tie but for the last rule: their hashes are made four at a time, so that the processor works on all four. */
static void
hash_found(struct picking *k)
{
	unsigned i = 0;

	for (; i + 4 <= k->n_found; i += 4) {
		const char *s[4];
		uint64_t h[4] = { k->prefix, k->prefix, k->prefix, k->prefix };

		for (unsigned j = 0; j < 4; j++)
			s[j] = k->found[i + j].peer->id;
		while (*s[0] && *s[1] && *s[2] && *s[3])
			for (unsigned j = 0; j < 4; j++)
				h[j] = (h[j] ^ (unsigned char)*s[j]++) * UINT64_C(0x100000001b3);
		for (unsigned j = 0; j < 4; j++)
			k->found[i + j].rendezvous = fmix64(fnv(h[j], s[j]));
	}
}

static void
take_best(struct picking *k, unsigned limit)
{
	struct candidate *best[SCHEDULER_PARENTS_MAX], *anchor = NULL;
	unsigned n = 0;
	bool has_anchor = false;

	if (k->n_found > limit)
		hash_found(k);
	for (uint32_t e = 0; e < k->c->n_parents && !has_anchor; e++)
		has_anchor = sched_is_anchor(k->c->parents[e].parent, k->c);
	for (unsigned i = 0; i < k->n_found; i++) {
		struct candidate *f = &k->found[i];
		unsigned at;

		if (!has_anchor && sched_is_anchor(f->peer, k->c) && (!anchor || is_before(k, f, anchor)))
			anchor = f;
		if (n == limit && !is_before(k, f, best[n - 1]))
			continue;
		for (at = n < limit ? n++ : n - 1; at > 0 && is_before(k, f, best[at - 1]); at--)
			best[at] = best[at - 1];
		best[at] = f;
	}
	for (unsigned i = 0; i < n && !has_anchor; i++)
		has_anchor = sched_is_anchor(best[i]->peer, k->c);
	if (!has_anchor && anchor)
		best[n - 1] = anchor;
	for (unsigned i = 0; i < n; i++) {
		k->out->parents[i] = best[i]->peer;
		k->out->scores[i] = best[i]->score;
	}
	k->out->n = n;
}

void
sched_pick(struct sched_resources *r, struct sched_peer *c, enum sched_slots slots, unsigned limit, struct sched_pick *out)
{
	struct picking k;

	memset(out, 0, sizeof *out);
	if (limit > SCHEDULER_PARENTS_MAX)
		limit = SCHEDULER_PARENTS_MAX;
	if (limit == 0)
		return;
	k.r = r;
	k.c = c;
	k.slots = slots;
	k.prefix = rendezvous_prefix(c->host->id);
	k.n_needed = sched_peer_needed(c, &k.is_known);
	k.has_marks = !r->opt.mesh && c->n_children > 0;
	k.out = out;
	k.is_refresh = c->is_live && c->state == SCHED_PEER_RUNNING && !c->is_waiting && c->n_parents > 0;
	k.n_found = 0;
	if (k.has_marks)
		sched_edges_mark_below(r, c);
	sample(&k);
	one_per_host(&k);
	keep_local(&k);
	take_best(&k, limit);
}

/* ---- sources ---- */

/* Whether pieces of [start, start + length) (has_range) or of the whole task can be of use to c. */
static bool
range_is_useful(const struct sched_task *t, bool has_range, uint64_t start, uint64_t length, const struct sched_peer *c)
{
	uint32_t first, last;
	bool is_known;

	if (!has_range)
		return true;
	if (t->piece_length == 0)
		return true;
	sched_peer_needed(c, &is_known);
	if (!is_known)
		return true;
	sched_peer_interest(c, &first, &last);
	return start / t->piece_length <= last && (length == 0 || (start + length - 1) / t->piece_length >= first);
}

uint32_t
sched_sources(const struct sched_resources *r, const struct sched_task *t, const struct sched_peer *c)
{
	uint32_t n = 0;
	bool is_known;

	(void)r;
	for (struct list *it = t->sources.next; it != &t->sources; it = it->next) {
		struct sched_peer *p = CONTAINER_OF(it, struct sched_peer, source);

		if (!p->has_range || (sched_peer_will_for(p, c, &is_known) > 0 || !is_known))
			n++;
	}
	for (struct list *it = t->triggers.next; it != &t->triggers; it = it->next) {
		struct sched_trigger *g = CONTAINER_OF(it, struct sched_trigger, in_task);
		bool is_counted = !range_is_useful(t, g->has_range, g->range_start, g->range_length, c);

		for (struct list *s = t->sources.next; s != &t->sources && !is_counted; s = s->next)
			is_counted = CONTAINER_OF(s, struct sched_peer, source)->host == g->seed;
		if (!is_counted)
			n++;
	}
	return n;
}

uint32_t
sched_source_budget(const struct sched_resources *r, const struct sched_task *t)
{
	int64_t stalled = r->now_ms - t->progress_ms - r->opt.stall_timeout_ms;
	int64_t budget = 1 + (stalled > 0 && r->opt.source_growth_ms > 0 ? stalled / r->opt.source_growth_ms : 0);

	return budget < (int64_t)r->opt.back_to_source_count ? (uint32_t)budget : r->opt.back_to_source_count;
}
