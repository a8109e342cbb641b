/*
 * Hosts: what they announced, how much they carry, how well they serve.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "scheduler/resource.h"

/* A host with no known bandwidth counts as this, as the peers' own default does. */
#define DEFAULT_TX ((uint64_t)10000 * 1000 * 1000)
/* Slots of even the slowest host. */
#define SLOTS_MIN 8u
/* Serving a piece this rarely tells nothing about the host yet. */
#define STRAGGLER_SAMPLES 8u
#define STRAGGLER_FACTOR 5.0
/* Weight of a new sample in the moving average. */
#define RATE_WEIGHT 0.3
#define RATES_HALVE_MS 60000
/* Failures leak away one each 10 s; at 5 the host is nobody's parent for a minute. */
#define FAIL_LEAK_MS 10000
#define FAIL_LEVEL_BAD 5u
#define FAIL_BAD_MS 60000
/* An announced interval is heeded within these; a host is fresh for two intervals, one minute at least. */
#define INTERVAL_MAX_MS ((int64_t)24 * 3600 * 1000)
#define FRESH_MIN_MS 60000
#define PROVISIONAL_TTL_MS 600000

struct sched_name {
	uint16_t number;
	char text[];
};

/* The number of an IDC's or location's name, whatever its case; 0 for none. */
static uint16_t
name_number(struct sched_resources *r, char kind, struct slice text)
{
	char low[SCHED_NAME_MAX + 1];
	struct sched_name *name;
	size_t n = text.n < SCHED_NAME_MAX ? text.n : SCHED_NAME_MAX;

	if (n == 0)
		return 0;
	low[0] = kind;
	for (size_t i = 0; i < n; i++)
		low[i + 1] = (char)tolower(text.p[i]);
	name = map_get(&r->names, slice_make(low, n + 1));
	if (name)
		return name->number;
	if (r->n_names >= SCHED_IDCS_MAX)
		return 0;
	name = xmalloc(sizeof *name + n + 1);
	name->number = ++r->n_names;
	memcpy(name->text, low, n + 1);
	map_put(&r->names, slice_make(name->text, n + 1), name);
	return name->number;
}

static void
set_text(char **where, struct slice value)
{
	if (*where && slice_eq_str(value, *where))
		return;
	free(*where);
	*where = slice_dup(value);
}

static uint64_t
host_memory(const struct sched_host *h)
{
	return sizeof *h + h->n_facts + strlen(h->id) + strlen(h->hostname) + strlen(h->ip) + strlen(h->location) + 160;
}

static struct sched_host *
host_new(struct sched_resources *r, struct slice id)
{
	struct sched_host *h = xcalloc(1, sizeof *h);

	h->id = slice_dup(id);
	h->hostname = xstrdup("");
	h->ip = xstrdup("");
	h->location = xstrdup("");
	h->number = ++r->host_numbers;
	h->created_ms = h->updated_ms = r->now_ms;
	list_init(&h->peers);
	list_init(&h->all);
	map_put(&r->hosts, slice_str(h->id), h);
	list_add_tail(&r->host_list, &h->all);
	r->memory += host_memory(h);
	return h;
}

struct sched_host *
sched_host_find(const struct sched_resources *r, struct slice id)
{
	return map_get(&r->hosts, id);
}

static bool
is_moved(const struct sched_host *h, const struct sched_host_info *info)
{
	return h->type != info->type || h->port != info->port || h->download_port != info->download_port ||
		h->disable_shared != info->disable_shared || !slice_eq_str(info->ip, h->ip);
}

struct sched_host *
sched_host_announce(struct sched_resources *r, const struct sched_host_info *info)
{
	struct sched_host *h = sched_host_find(r, info->id);

	if (!h) {
		if (r->hosts.count >= SCHED_HOSTS_MAX)
			return NULL;
		h = host_new(r, info->id);
	}
	r->memory -= host_memory(h);
	if (h->provisional || !h->facts || is_moved(h, info))
		r->host_changes++;
	set_text(&h->hostname, info->hostname);
	set_text(&h->ip, info->ip);
	set_text(&h->location, info->location);
	h->idc = name_number(r, 'i', info->idc);
	h->place = name_number(r, 'l', info->location);
	h->type = info->type;
	h->port = info->port;
	h->download_port = info->download_port;
	h->disable_shared = info->disable_shared;
	h->max_tx = info->max_tx;
	h->tx = info->tx;
	if (info->interval_ms >= 0)
		h->interval_ms = info->interval_ms < INTERVAL_MAX_MS ? info->interval_ms : INTERVAL_MAX_MS;
	free(h->facts);
	h->facts = NULL;
	h->n_facts = info->facts.n;
	if (info->facts.n > 0) {
		h->facts = xmalloc(info->facts.n);
		memcpy(h->facts, info->facts.p, info->facts.n);
	}
	free(h->wire);
	h->wire = NULL;
	h->n_wire = 0;
	h->is_scored = false;
	h->provisional = false;
	h->updated_ms = r->now_ms;
	r->memory += host_memory(h);
	/* A Running peer without a piece is a parent on a seed only. */
	for (struct list *it = h->peers.next; it != &h->peers; it = it->next)
		sched_peer_place(r, CONTAINER_OF(it, struct sched_peer, in_host));
	return h;
}

/* "<ip>-<rest>": the text before the first '-' when it looks like an address; an IPv6 one holds no '-' either. */
struct slice
sched_host_ip_of_id(struct slice id)
{
	ptrdiff_t dash = slice_find(id, '-');

	if (dash <= 0)
		return slice_make(NULL, 0);
	for (ptrdiff_t i = 0; i < dash; i++)
		if (!isxdigit(id.p[i]) && id.p[i] != '.' && id.p[i] != ':')
			return slice_make(NULL, 0);
	return slice_sub(id, 0, (size_t)dash);
}

struct sched_host *
sched_host_provisional(struct sched_resources *r, struct slice id)
{
	struct sched_host *h;
	struct slice ip = sched_host_ip_of_id(id);

	if (r->hosts.count >= SCHED_HOSTS_MAX)
		return NULL;
	h = host_new(r, id);
	h->provisional = true;
	h->type = slice_ends(id, "-seed") ? 1 : 0;
	r->memory -= host_memory(h);
	set_text(&h->ip, ip);
	r->memory += host_memory(h);
	return h;
}

void
sched_host_remove(struct sched_resources *r, struct sched_host *h)
{
	while (!list_is_empty(&h->peers))
		sched_peer_remove(r, CONTAINER_OF(h->peers.next, struct sched_peer, in_host));
	if (!h->provisional)
		r->host_changes++;
	if (r->on_host_gone)
		r->on_host_gone(r->ctx, h);
	map_del(&r->hosts, slice_str(h->id));
	list_del(&h->all);
	r->memory -= host_memory(h);
	free(h->facts);
	free(h->wire);
	free(h->hostname);
	free(h->ip);
	free(h->location);
	free(h->id);
	free(h);
}

/* How long an announcement holds. */
static int64_t
fresh_ms(const struct sched_resources *r, const struct sched_host *h)
{
	int64_t ms = 2 * h->interval_ms;

	if (h->provisional)
		return PROVISIONAL_TTL_MS;
	if (h->interval_ms == 0)
		return r->opt.host_ttl_ms;
	return ms > FRESH_MIN_MS ? ms : FRESH_MIN_MS;
}

bool
sched_host_is_fresh(const struct sched_resources *r, const struct sched_host *h)
{
	return !h->provisional && r->now_ms - h->updated_ms <= fresh_ms(r, h);
}

bool
sched_host_is_expired(const struct sched_resources *r, const struct sched_host *h)
{
	return r->now_ms - h->updated_ms > fresh_ms(r, h);
}

uint32_t
sched_host_load_limit(const struct sched_resources *r, const struct sched_host *h)
{
	return h->type == 1 ? r->opt.seed_load_limit : r->opt.load_limit;
}

uint32_t
sched_host_slots(const struct sched_resources *r, const struct sched_host *h)
{
	uint64_t max_tx = h->max_tx ? h->max_tx : DEFAULT_TX;
	uint64_t slots = r->opt.upload_slot_bandwidth ? max_tx / r->opt.upload_slot_bandwidth : UINT32_MAX;
	uint32_t limit = sched_host_load_limit(r, h);

	if (slots < SLOTS_MIN)
		slots = SLOTS_MIN;
	return slots < limit ? (uint32_t)slots : limit;
}

bool
sched_host_is_bad(const struct sched_resources *r, const struct sched_host *h)
{
	return h->bad_until_ms > r->now_ms;
}

bool
sched_host_is_straggler(const struct sched_resources *r, const struct sched_host *h)
{
	return h->up_samples >= STRAGGLER_SAMPLES && r->median_rate > 0 && h->up_rate < r->median_rate / STRAGGLER_FACTOR;
}

static void
update_median(struct sched_resources *r)
{
	double sum = 0;

	r->median_rate = 0;
	for (unsigned i = 0; i < SCHED_RATE_BUCKETS; i++) {
		sum += r->rates[i];
		if (r->rates[i] > 0 && sum >= r->rates_total / 2) {
			r->median_rate = (double)((uint64_t)1 << i);
			return;
		}
	}
}

void
sched_host_served(struct sched_resources *r, struct sched_host *h, uint64_t length, int64_t cost_ms)
{
	uint64_t rate = length < UINT64_MAX / 1000 ? length * 1000 / (uint64_t)(cost_ms > 0 ? cost_ms : 1) : 0;
	unsigned bucket = 0;

	h->served_pieces++;
	if (rate == 0)
		return;
	h->up_rate = h->up_samples ? RATE_WEIGHT * (double)rate + (1 - RATE_WEIGHT) * h->up_rate : (double)rate;
	if (h->up_samples < UINT32_MAX)
		h->up_samples++;
	if (r->now_ms - r->rates_halved_ms >= RATES_HALVE_MS) {
		for (unsigned i = 0; i < SCHED_RATE_BUCKETS; i++)
			r->rates[i] = r->rates[i] < 0.01 ? 0 : r->rates[i] / 2;
		r->rates_total = 0;
		for (unsigned i = 0; i < SCHED_RATE_BUCKETS; i++)
			r->rates_total += r->rates[i];
		r->rates_halved_ms = r->now_ms;
	}
	while (rate >>= 1)
		bucket++;
	r->rates[bucket] += 1;
	r->rates_total += 1;
	/* The bucket of the median moves slowly: looking each 16th time is enough once there are many. */
	if (r->rates_total < 64 || ((uint64_t)r->rates_total & 15) == 0)
		update_median(r);
}

void
sched_host_failed(struct sched_resources *r, struct sched_host *h)
{
	int64_t leaked = (r->now_ms - h->fail_level_ms) / FAIL_LEAK_MS;

	h->failed_pieces++;
	if (leaked > 0) {
		h->fail_level = leaked >= (int64_t)h->fail_level ? 0 : h->fail_level - (uint32_t)leaked;
		h->fail_level_ms += leaked * FAIL_LEAK_MS;
	}
	if (h->fail_level == 0)
		h->fail_level_ms = r->now_ms;
	h->fail_level++;
	if (h->fail_level >= FAIL_LEVEL_BAD) {
		h->bad_until_ms = r->now_ms + FAIL_BAD_MS;
		h->fail_level = 0;
	}
}
