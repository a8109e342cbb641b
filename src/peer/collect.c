#include "peer/collect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "peer/engine.h"
#include "peer/session.h"
#include "peer/task.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"

/* A channel without calls is closed after this time, and made again when needed. */
#define CHANNEL_IDLE_MS 60000
/* Channels kept; parents beyond get one of their own for as long as it is used. */
#define CHANNELS_MAX 4096
/* Memory of one decoded SyncPieces message. */
#define SYNC_BYTES ((size_t)64 << 10)

/* ---- channels ---- */

struct parent_channels {
	struct engine *engine;
	struct map by_address;          /* text -> struct entry */
};

struct entry {
	char address[ADDR_TEXT_MAX];
	struct rpc_channel *channel;
	bool is_told_of;                /* it sends pieces in plaintext: said once */
};

struct parent_channels *
parent_channels_new(struct engine *g)
{
	struct parent_channels *c = xcalloc(1, sizeof *c);

	c->engine = g;
	map_init(&c->by_address);
	return c;
}

static void
entry_free(struct parent_channels *c, struct entry *en)
{
	map_del(&c->by_address, slice_str(en->address));
	rpc_channel_release(en->channel);
	free(en);
}

void
parent_channels_free(struct parent_channels *c)
{
	struct entry *en;
	size_t at = 0;

	while ((en = map_next(&c->by_address, &at)) != NULL)
		entry_free(c, en);
	map_free(&c->by_address);
	free(c);
}

/* Makes room by giving up channels that nobody uses. */
static void
drop_unused(struct parent_channels *c)
{
	struct entry *en;
	size_t at = 0;

	while ((en = map_next(&c->by_address, &at)) != NULL)
		if (rpc_channel_call_count(en->channel) == 0)
			entry_free(c, en);
}

static struct rpc_channel *
channel_to(struct parent_channels *c, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];
	struct entry *en;

	addr_format(a, text);
	en = map_get(&c->by_address, slice_str(text));
	if (en != NULL)
		return en->channel;
	if (c->by_address.count >= CHANNELS_MAX)
		drop_unused(c);
	en = xcalloc(1, sizeof *en);
	memcpy(en->address, text, sizeof text);
	en->channel = rpc_channel_new(c->engine->o.loop, &(struct rpc_channel_opts){
		.addr = *a, .tls = c->engine->o.parent_tls, .idle_close_ms = CHANNEL_IDLE_MS});
	map_put(&c->by_address, slice_str(en->address), en);
	return en->channel;
}

/* ---- SyncPieces ---- */

static struct session *
session_of(const struct parent *p)
{
	return p->collect->session;
}

static int
take_offer(struct parent *p, const struct dfdaemon_sync_pieces_response *m, struct err *e)
{
	struct task *t = session_of(p)->task;
	uint64_t offset, length;
	struct addr a;

	if (m->number >= t->piece_count || store_task_piece_span(t->store, m->number, &offset, &length) < 0)
		return err_set(e, ERR_OUT_OF_RANGE, "piece %u of %u", (unsigned)m->number, (unsigned)t->piece_count);
	if (m->length != length || m->offset != offset)
		return err_set(e, ERR_INTERNAL, "piece %u has %llu bytes at %llu, ours has %llu at %llu", (unsigned)m->number,
		    (unsigned long long)m->length, (unsigned long long)m->offset, (unsigned long long)length, (unsigned long long)offset);
	if (!m->has_tcp_port || m->tcp_port <= 0 || m->tcp_port > 65535 || addr_from_ip(&a, m->ip, (uint16_t)m->tcp_port) < 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "no address for pieces over tcp");
	p->pieces = a;
	if (!bit_get(p->have, m->number)) {
		bit_set(p->have, m->number);
		p->have_count++;
		p->collect->holders[m->number]++;
	}
	return 0;
}

static void
sync_on_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct parent *p = ctx;
	struct session *s = session_of(p);
	struct dfdaemon_sync_pieces_response m;
	struct arena arena;
	struct err e = {0};
	int rc;

	(void)call;
	arena_init(&arena, SYNC_BYTES);
	rc = pb_decode(&dfdaemon_sync_pieces_response_desc, bytes, &arena, &m, &e);
	if (rc == 0)
		rc = take_offer(p, &m, &e);
	arena_free(&arena);
	if (rc < 0)
		parent_drop(p, e.text);
	session_on_offer(s);
}

static void
sync_on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct parent *p = ctx;

	p->sync = NULL;
	if (st->code != ERR_OK)
		log_info("parent tells of no more pieces task=%s parent=%s address=%s reason=\"%s\"", session_of(p)->task->id, p->id,
		    rpc_channel_target(rpc_call_channel(call)), st->message);
	session_on_offer(session_of(p));
}

/* With certificates: pieces come over TLS where the parent can, and never otherwise once it said so. */
static void
choose_tls(struct parent *p, bool is_announced)
{
	struct engine *g = session_of(p)->task->engine;
	struct entry *en;
	char text[ADDR_TEXT_MAX + 80];

	if (g->o.parent_tls == NULL)
		return;
	if (is_announced) {
		p->tls = g->o.piece_tls;
		return;
	}
	if (g->o.requires_piece_tls) {
		snprintf(text, sizeof text, "%s sends pieces in plaintext (x.piece.tls is require)", rpc_channel_target(p->channel));
		parent_drop(p, text);
		session_on_offer(session_of(p));
		return;
	}
	en = map_get(&g->channels->by_address, slice_str(rpc_channel_target(p->channel)));
	if (en != NULL && !en->is_told_of) {
		log_warn("parent sends pieces in plaintext peer=%s", rpc_channel_target(p->channel));
		en->is_told_of = true;
	}
}

static void
sync_on_headers(struct rpc_call *call, void *ctx, const struct hpack_field *fields, size_t n)
{
	struct parent *p = ctx;
	bool has_tls = p->tls != NULL;

	(void)call;
	for (size_t i = 0; i < n; i++)
		has_tls |= slice_eq_str(fields[i].name, PARENT_TLS_HEADER);
	choose_tls(p, has_tls);
	if (p->is_dropped)
		return;
	for (size_t i = 0; i < n; i++)
		if (slice_eq_str(fields[i].name, PARENT_TURNS_HEADER) && p->turns == NULL && session_of(p)->task->piece_count > 1)
			parent_turns_start(p);
}

static const char *
sync_path(enum store_kind kind)
{
	switch (kind) {
	case STORE_PERSISTENT:
		return DFDAEMON_DFDAEMON_UPLOAD_SYNC_PERSISTENT_PIECES;
	case STORE_PERSISTENT_CACHE:
		return DFDAEMON_DFDAEMON_UPLOAD_SYNC_PERSISTENT_CACHE_PIECES;
	default:
		return DFDAEMON_DFDAEMON_UPLOAD_SYNC_PIECES;
	}
}

/* Asks for all pieces that are still missing. Questions and answers of all kinds have the same fields. */
static void
sync_start(struct parent *p)
{
	static const struct rpc_call_events events = {.on_headers = sync_on_headers, .on_message = sync_on_message, .on_end = sync_on_end};
	struct session *s = session_of(p);
	struct task *t = s->task;
	const struct config_download *c = &t->engine->o.config->download;
	int64_t silence = t->store->kind == STORE_STANDARD ? c->collected_piece_timeout_ms : c->piece_timeout_ms;
	struct rpc_call_opts opts = {.message_ms = silence > INT32_MAX ? INT32_MAX : (int)silence};
	uint32_t *numbers = xcalloc((size_t)t->piece_count + 1, sizeof *numbers);
	struct dfdaemon_sync_pieces_request r = {
		.host_id = slice_str(cluster_host(t->engine->o.cluster)->id), .task_id = slice_str(t->id), .interested_piece_numbers = numbers,
	};
	struct err e;

	for (uint32_t n = 0; n < t->piece_count; n++)
		if (bit_get(s->wanted, n) && !store_piece_is_finished(t->store, n))
			numbers[r.n_interested_piece_numbers++] = n;
	p->sync = rpc_call_start(p->channel, sync_path(t->store->kind), &events, p, &opts);
	if (rpc_call_send(p->sync, &dfdaemon_sync_pieces_request_desc, &r, &e) == 0)
		rpc_call_half_close(p->sync);
	else
		parent_drop(p, e.text);
	free(numbers);
}

/* ---- the set of parents ---- */

static struct parent *
find_parent(struct collect *c, struct slice id)
{
	LIST_EACH(it, next, &c->parents) {
		struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (slice_eq_str(id, p->id))
			return p;
	}
	return NULL;
}

static void
parent_free(struct parent *p)
{
	if (p->sync != NULL)
		rpc_call_cancel(p->sync);
	parent_turns_stop(p);
	list_del(&p->link);
	free(p->have);
	free(p->fresh);
	free(p);
}

static void
add_one(struct collect *c, const struct common_peer *peer)
{
	struct task *t = c->session->task;
	const struct common_host *host = peer->host;
	struct addr a;
	struct parent *p = find_parent(c, peer->id);

	if (p != NULL) {
		if (!p->is_dropped && p->sync == NULL)
			sync_start(p);
		return;
	}
	if (c->count >= COLLECT_PARENTS_MAX || host == NULL || peer->id.n == 0 || peer->id.n >= PEER_ID_SIZE || host->id.n >= HOST_ID_SIZE ||
	    host->port <= 0 || host->port > 65535 || addr_from_ip(&a, host->ip, (uint16_t)host->port) < 0 ||
	    slice_eq_str(host->id, cluster_host(t->engine->o.cluster)->id)) {
		log_debug("candidate parent is not usable task=%s parent=%.*s", t->id, SLICE_ARG(peer->id));
		return;
	}
	p = xcalloc(1, sizeof *p);
	p->peer = arena_alloc(&c->arena, sizeof *p->peer);
	if (p->peer == NULL || pb_copy(&common_peer_desc, peer, &c->arena, p->peer, NULL) < 0)
		p->peer = NULL;         /* it is only missing from a reschedule */
	p->collect = c;
	snprintf(p->id, sizeof p->id, "%.*s", SLICE_ARG(peer->id));
	snprintf(p->host_id, sizeof p->host_id, "%.*s", SLICE_ARG(host->id));
	p->have = xcalloc((size_t)t->piece_count / 64 + 1, sizeof *p->have);
	p->channel = channel_to(t->engine->channels, &a);
	list_add_tail(&c->parents, &p->link);
	c->count++;
	sync_start(p);
}

struct collect *
collect_new(struct session *s)
{
	struct collect *c = xcalloc(1, sizeof *c);

	c->session = s;
	list_init(&c->parents);
	arena_init(&c->arena, COLLECT_BYTES);
	c->holders = xcalloc((size_t)s->task->piece_count + 1, sizeof *c->holders);
	return c;
}

void
collect_free(struct collect *c)
{
	if (c == NULL)
		return;
	LIST_EACH(it, next, &c->parents)
		parent_free(CONTAINER_OF(it, struct parent, link));
	arena_free(&c->arena);
	free(c->holders);
	free(c);
}

void
collect_add(struct collect *c, const struct common_peer *peers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add_one(c, &peers[i]);
}

size_t
collect_live(const struct collect *c)
{
	size_t n = 0;

	LIST_EACH(it, next, &c->parents)
		n += !CONTAINER_OF(it, struct parent, link)->is_dropped;
	return n;
}

bool
collect_is_open(const struct collect *c)
{
	LIST_EACH(it, next, &c->parents)
		if (CONTAINER_OF(it, struct parent, link)->sync != NULL)
			return true;
	return false;
}

struct common_peer *
collect_peers(const struct collect *c, size_t *n)
{
	struct common_peer *out = xcalloc(c->count + 1, sizeof *out);

	*n = 0;
	LIST_EACH(it, next, &c->parents) {
		const struct parent *p = CONTAINER_OF(it, struct parent, link);

		if (p->peer != NULL)
			out[(*n)++] = *p->peer;
	}
	return out;
}
