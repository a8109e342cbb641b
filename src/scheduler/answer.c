#include "scheduler/answer.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/pb_time.h"
#include "proto/common.h"
#include "proto/google.h"
#include "scheduler/decide.h"
#include "scheduler/resource.h"
#include "wire/pb.h"

/* Size scopes; the Go scheduler sends one more for "unknown". */
enum { SCOPE_NORMAL, SCOPE_SMALL, SCOPE_TINY, SCOPE_EMPTY, SCOPE_UNKNOWN };
#define TINY_BYTES 128
/* Pieces in StatTask's list: a 400 GiB task of 4 MiB pieces. More would not fit one message. */
#define STAT_PIECES_MAX 100000u
/* Memory of one decoded host. */
#define HOST_ARENA_BYTES (256u * 1024)

void
answer_scratch_free(struct answer_scratch *a)
{
	buf_free(&a->task);
	buf_free(&a->peer);
	buf_free(&a->list);
}

/* ---- protobuf by hand ---- */

static void
put_number(struct buf *b, uint32_t field, uint64_t v)
{
	if (v == 0)
		return;
	pb_append_varint(b, (uint64_t)field << 3);
	pb_append_varint(b, v);
}

static void
put_bytes(struct buf *b, uint32_t field, const void *p, size_t n)
{
	pb_append_varint(b, (uint64_t)field << 3 | 2);
	pb_append_varint(b, n);
	buf_append(b, p, n);
}

static void
put_text(struct buf *b, uint32_t field, const char *s)
{
	if (*s)
		put_bytes(b, field, s, strlen(s));
}

/* Timestamp and Duration have the same two fields. */
static void
put_time(struct buf *b, uint32_t field, int64_t ms)
{
	uint64_t seconds = (uint64_t)(ms > 0 ? ms / 1000 : 0), nanos = (uint64_t)(ms > 0 ? ms % 1000 * 1000000 : 0);
	uint8_t in[24];
	size_t n = 0;

	if (seconds > 0) {
		in[n++] = 0x08;
		for (; seconds >= 0x80; seconds >>= 7)
			in[n++] = (uint8_t)(seconds | 0x80);
		in[n++] = (uint8_t)seconds;
	}
	if (nanos > 0) {
		in[n++] = 0x10;
		for (; nanos >= 0x80; nanos >>= 7)
			in[n++] = (uint8_t)(nanos | 0x80);
		in[n++] = (uint8_t)nanos;
	}
	put_bytes(b, field, in, n);
}

/* ---- a task ---- */

static int32_t
size_scope(const struct sched_task *t)
{
	if (t->content_length < 0)
		return SCOPE_UNKNOWN;
	if (t->content_length == 0)
		return SCOPE_EMPTY;
	if (t->content_length <= TINY_BYTES)
		return SCOPE_TINY;
	return t->piece_count == 1 ? SCOPE_SMALL : SCOPE_NORMAL;
}

/* A URL may carry a signature: children have their own, so they get this one without its query when it does. */
static struct slice
public_url(const struct sched_task *t)
{
	static const char *const signs[] = {
		"X-Amz-Signature", "X-Amz-Credential", "X-Goog-Signature", "Signature", "OSSAccessKeyId", "AWSAccessKeyId", "sig", "token",
		"X-Obs-Signature", "x-cos-security-token", "Expires",
	};
	const char *query = strchr(t->url, '?');

	if (!query)
		return slice_str(t->url);
	for (const char *at = query + 1; *at; at += *at == '&') {
		size_t n = strcspn(at, "&");

		for (size_t i = 0; i < COUNT_OF(signs); i++) {
			size_t k = strlen(signs[i]);

			if (n > k && at[k] == '=' && slice_ieq_str(slice_make(at, k), signs[i]))
				return slice_make(t->url, (size_t)(query - t->url));
		}
		at += n;
	}
	return slice_str(t->url);
}

static void
put_task(struct buf *b, const struct sched_resources *r, const struct sched_task *t)
{
	struct slice url = public_url(t);

	put_text(b, 1, t->id);
	put_number(b, 2, t->type);
	put_bytes(b, 3, url.p, url.n);
	put_number(b, 9, t->content_length < 0 ? UINT64_MAX : (uint64_t)t->content_length);
	put_number(b, 10, t->piece_count);
	put_number(b, 11, (uint64_t)size_scope(t));
	put_text(b, 13, sched_task_state_names[t->state]);
	put_number(b, 14, t->n_peers);
	put_number(b, 15, t->n_servers > 0);
	put_time(b, 16, t->created_ms + r->wall_ms);
	put_time(b, 17, t->updated_ms + r->wall_ms);
}

/* ---- a host ---- */

/* The few fields of its announcement that a child uses. */
static void
make_wire(struct sched_host *h)
{
	struct common_network network = { 0 };
	struct common_host full = { 0 }, host = { 0 };
	struct arena arena;
	struct buf b = BUF_INIT;

	arena_init(&arena, HOST_ARENA_BYTES);
	host.id = slice_str(h->id);
	host.type = h->type;
	host.hostname = slice_str(h->hostname);
	host.ip = slice_str(h->ip);
	host.port = h->port;
	host.download_port = h->download_port;
	if (h->facts && pb_decode(&common_host_desc, slice_make(h->facts, h->n_facts), &arena, &full, NULL) == 0) {
		host.proxy_port = full.proxy_port;
		if (full.network) {
			network = *full.network;
			network.unknown_fields = slice_make(NULL, 0);
			network.tcp_connection_count = network.upload_tcp_connection_count = 0;
			host.network = &network;
		}
	}
	pb_encode(&common_host_desc, &host, &b);
	arena_free(&arena);
	h->n_wire = b.len;
	h->wire = (uint8_t *)buf_take(&b);
}

/* ---- the answer ---- */

static void
put_parent(struct buf *b, const struct sched_resources *r, struct sched_peer *p, const struct buf *task)
{
	struct buf range = BUF_INIT;

	if (!p->host->wire)
		make_wire(p->host);
	put_text(b, 1, p->id);
	if (p->has_range && !p->is_full) {
		put_number(&range, 1, p->range_start);
		put_number(&range, 2, p->range_length);
		put_bytes(b, 2, buf_data(&range), range.len);
		buf_free(&range);
	}
	put_number(b, 3, p->priority);
	put_time(b, 5, p->cost_ms);
	put_text(b, 6, scheduler_peer_state_names[p->state]);
	put_bytes(b, 7, buf_data(task), task->len);
	put_bytes(b, 8, p->host->wire, p->host->n_wire);
	put_time(b, 10, p->created_ms + r->wall_ms);
	put_time(b, 11, p->updated_ms + r->wall_ms);
	put_number(b, 12, p->concurrent_pieces);
}

void
answer_encode(struct sched_resources *r, struct sched_peer *p, const struct sched_answer *a, struct answer_scratch *s,
	struct buf *out)
{
	switch (a->kind) {
	case SCHED_ANSWER_EMPTY:
		put_bytes(out, 1, "", 0);
		break;
	case SCHED_ANSWER_SOURCE:
		buf_clear(&s->list);
		put_text(&s->list, 1, a->description ? a->description : "");
		put_bytes(out, 3, buf_data(&s->list), s->list.len);
		break;
	case SCHED_ANSWER_METADATA:
		put_bytes(out, 4, "", 0);
		break;
	case SCHED_ANSWER_NORMAL:
		buf_clear(&s->task);
		buf_clear(&s->list);
		put_task(&s->task, r, p->task);
		for (uint32_t i = 0; i < p->n_parents; i++) {
			buf_clear(&s->peer);
			put_parent(&s->peer, r, p->parents[i].parent, &s->task);
			put_bytes(&s->list, 1, buf_data(&s->peer), s->peer.len);
		}
		put_bytes(out, 2, buf_data(&s->list), s->list.len);
		break;
	}
}

/* ---- StatTask, StatPeer ---- */

static struct google_timestamp *
timestamp(const struct sched_resources *r, struct arena *a, int64_t ms)
{
	struct google_timestamp *t = arena_alloc(a, sizeof *t);

	if (!t)
		return NULL;
	*t = pb_timestamp_ms(ms + r->wall_ms);
	return t;
}

/* Pieces follow from the lengths once somebody has all. */
static int
add_pieces(const struct sched_resources *r, const struct sched_task *t, struct arena *a, struct common_task *out)
{
	struct google_duration *cost;
	struct google_timestamp *at;

	if (t->n_holders == 0 || t->piece_count == 0 || t->piece_count > STAT_PIECES_MAX || t->piece_length == 0 || t->content_length <= 0)
		return 0;
	cost = arena_alloc(a, sizeof *cost);
	at = timestamp(r, a, t->created_ms);
	out->pieces = arena_alloc(a, t->piece_count * sizeof *out->pieces);
	if (!cost || !at || !out->pieces)
		return -1;
	for (uint32_t i = 0; i < t->piece_count; i++) {
		struct common_piece *p = &out->pieces[i];
		uint64_t offset = i * t->piece_length, end = (uint64_t)t->content_length;

		p->number = i;
		p->offset = offset < end ? offset : end;
		p->length = end - p->offset < t->piece_length ? end - p->offset : t->piece_length;
		p->cost = cost;
		p->created_at = at;
	}
	out->n_pieces = t->piece_count;
	return 0;
}

int
answer_task(const struct sched_resources *r, const struct sched_task *t, struct arena *a, struct common_task *out, struct err *e)
{
	memset(out, 0, sizeof *out);
	out->id = slice_str(t->id);
	out->type = (int32_t)t->type;
	out->url = public_url(t);
	out->digest = slice_str(t->digest);
	out->tag = slice_str(t->tag);
	out->application = slice_str(t->application);
	if (t->n_params > 0) {
		out->filtered_query_params = arena_alloc(a, t->n_params * sizeof *out->filtered_query_params);
		if (!out->filtered_query_params)
			goto full;
		for (size_t i = 0; i < t->n_params; i++)
			out->filtered_query_params[i] = slice_str(t->params[i]);
		out->n_filtered_query_params = t->n_params;
	}
	out->content_length = t->content_length < 0 ? UINT64_MAX : (uint64_t)t->content_length;
	out->piece_count = t->piece_count;
	out->size_scope = size_scope(t);
	out->state = slice_str(sched_task_state_names[t->state]);
	out->peer_count = t->n_peers;
	out->has_available_peer = t->n_servers > 0;
	out->created_at = timestamp(r, a, t->created_ms);
	out->updated_at = timestamp(r, a, t->updated_ms);
	if (out->created_at && out->updated_at && add_pieces(r, t, a, out) == 0)
		return 0;
full:
	return err_set(e, ERR_RESOURCE_EXHAUSTED, "task %s is too large to describe", t->id);
}

int
answer_peer(struct sched_resources *r, struct sched_peer *p, struct arena *a, struct common_peer *out, struct err *e)
{
	memset(out, 0, sizeof *out);
	out->id = slice_str(p->id);
	if (p->has_range) {
		out->range = arena_alloc(a, sizeof *out->range);
		if (!out->range)
			goto full;
		out->range->start = p->range_start;
		out->range->length = p->range_length;
	}
	out->priority = p->priority;
	out->cost = arena_alloc(a, sizeof *out->cost);
	out->state = slice_str(scheduler_peer_state_names[p->state]);
	out->task = arena_alloc(a, sizeof *out->task);
	out->host = arena_alloc(a, sizeof *out->host);
	out->need_back_to_source = p->need_source;
	out->created_at = timestamp(r, a, p->created_ms);
	out->updated_at = timestamp(r, a, p->updated_ms);
	out->has_concurrent_piece_count = true;
	out->concurrent_piece_count = p->concurrent_pieces;
	if (!out->cost || !out->task || !out->host || !out->created_at || !out->updated_at)
		goto full;
	*out->cost = pb_duration_ms(p->cost_ms);
	if (!p->host->wire)
		make_wire(p->host);
	if (pb_decode(&common_host_desc, slice_make(p->host->wire, p->host->n_wire), a, out->host, e) < 0)
		return -1;
	return answer_task(r, p->task, a, out->task, e);
full:
	return err_set(e, ERR_RESOURCE_EXHAUSTED, "peer %s is too large to describe", p->id);
}
