#include "serve/proxy_blob.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "peer/engine.h"
#include "peer/task.h"
#include "serve/proxy_internal.h"
#include "store/file.h"
#include "store/store.h"

/* ---- references ---- */

void
proxy_blob_unref(struct proxy_blob *b)
{
	if (b == NULL || --b->refs > 0)
		return;
	store_file_unref(b->file);
	arena_free(&b->arena);
	free(b);
}

/* ---- what was answered without the control loop, told to it ---- */

struct report {
	struct loop_msg msg;
	struct proxy *proxy;
	char task_id[TASK_ID_SIZE];
	uint64_t answers, bytes, pieces;
	int32_t priority;
	char *tag, *application;
};

static void
report_arrived(struct loop_msg *msg)
{
	struct report *r = CONTAINER_OF(msg, struct report, msg);
	struct engine *g = r->proxy->o.engine;
	struct stats_series *s = stats_labels_get(&g->labels[STORE_STANDARD], slice_str(r->tag), slice_str(r->application), r->priority);
	struct store_task *t = store_task_find(g->o.store, STORE_STANDARD, r->task_id);

	g->metrics.download_started += r->answers;
	g->metrics.download_finished += r->answers;
	g->metrics.pieces[TASK_LOCAL_PEER] += r->pieces;
	g->metrics.bytes[TASK_LOCAL_PEER] += r->bytes;
	s->started += r->answers;
	if (t != NULL)
		store_task_touch(t, clock_wall_ns());
	free(r->tag);
	free(r->application);
	free(r);
}

static void
report(struct proxy_side *side, struct proxy_blob *b)
{
	struct report *r;

	if (b->answers == 0)
		return;
	r = xcalloc(1, sizeof *r);
	r->msg.run = report_arrived;
	r->proxy = side->proxy;
	memcpy(r->task_id, b->task_id, sizeof r->task_id);
	r->answers = b->answers;
	r->bytes = b->bytes;
	r->pieces = b->pieces;
	r->priority = b->priority;
	r->tag = slice_dup(b->tag);
	r->application = slice_dup(b->application);
	b->answers = b->bytes = b->pieces = 0;
	loop_post(side->proxy->o.loop, &r->msg);
}

/* ---- the memory of a data loop ---- */

static void
forget(struct proxy_side *side, struct proxy_blob *b)
{
	report(side, b);
	map_del(&side->blobs, b->key);
	list_del(&b->link);
	proxy_blob_unref(b);
}

static bool
is_current(const struct proxy_side *side, const struct proxy_blob *b)
{
	return b->until_ms > loop_now_ms(side->loop) &&
	    b->generation == atomic_load_explicit(&((struct proxy_side *)(uintptr_t)side)->proxy->generation, memory_order_acquire);
}

static void
sweep(void *ctx)
{
	struct proxy_side *side = ctx;

	LIST_EACH(it, next, &side->blob_order) {
		struct proxy_blob *b = CONTAINER_OF(it, struct proxy_blob, link);

		if (is_current(side, b))
			report(side, b);
		else
			forget(side, b);
	}
	if (!list_is_empty(&side->blob_order))
		loop_timer_set(side->loop, &side->blob_timer, PROXY_BLOB_MS, sweep, side);
}

void
proxy_blobs_init(struct proxy_side *side)
{
	map_init(&side->blobs);
	list_init(&side->blob_order);
}

void
proxy_blobs_close(struct proxy_side *side)
{
	LIST_EACH(it, next, &side->blob_order)
		forget(side, CONTAINER_OF(it, struct proxy_blob, link));
	loop_timer_clear(side->loop, &side->blob_timer);
	map_free(&side->blobs);
}

static void
add_word(struct buf *key, char what, struct slice value)
{
	buf_append_u8(key, (uint8_t)what);
	buf_append_slice(key, value);
	buf_append_u8(key, '\n');
}

bool
proxy_blob_key(const struct proxy_request *r, struct buf *key)
{
	static const struct {
		const char *name;
		char what;
	} words[] = {
		{"registry", 'r'}, {"use-p2p", 'u'}, {"tag", 't'}, {"application", 'a'}, {"filtered-query-params", 'f'}, {"piece-length", 'l'},
		{"content-for-calculating-task-id", 'c'}, {"enable-task-id-based-blob-digest", 'd'}, {"priority", 'p'},
	};

	if (!slice_eq_str(r->head->method, "GET") || r->head->has_body || r->head->target.n > PROXY_BLOB_KEY_MAX / 2)
		return false;
	if (r->tunnel != NULL)
		buf_printf(key, "%s:%u%c", r->tunnel->host, (unsigned)r->tunnel->port, r->tunnel->is_tls ? 's' : 'p');
	add_word(key, ' ', r->head->target);
	for (size_t i = 0; i < r->head->field_count; i++) {
		const struct h1_field *f = &r->head->fields[i];

		if ((f->name.p[0] | 0x20) == 'a' && slice_ieq_str(f->name, "authorization")) {
			/* A signature may cover the range; such a request goes its own way. */
			if (slice_starts(f->value, "AWS4-"))
				return false;
			continue;
		}
		if ((f->name.p[0] | 0x20) != 'x' || f->name.n < 12 || !slice_ieq_str(slice_sub(f->name, 0, 12), "x-dragonfly-"))
			continue;
		if (slice_ieq_str(f->name, "x-dragonfly-output-path"))
			return false;
		for (size_t k = 0; k < COUNT_OF(words); k++)
			if (slice_ieq_str(slice_sub(f->name, 12, f->name.n), words[k].name))
				add_word(key, words[k].what, f->value);
	}
	return key->len <= PROXY_BLOB_KEY_MAX;
}

struct proxy_blob *
proxy_blob_find(struct proxy_side *side, struct slice key)
{
	struct proxy_blob *b = map_get(&side->blobs, key);

	if (b == NULL)
		return NULL;
	if (!is_current(side, b)) {
		forget(side, b);
		return NULL;
	}
	list_del(&b->link);
	list_add_tail(&side->blob_order, &b->link);
	b->refs++;
	return b;
}

void
proxy_blob_keep(struct proxy_side *side, struct proxy_blob *b, struct slice key, uint64_t generation)
{
	struct proxy_blob *old = map_get(&side->blobs, key);

	if (side->is_closing || b->key.p != NULL)
		return;
	if (old != NULL)
		forget(side, old);
	while (side->blobs.count >= PROXY_BLOBS_MAX)
		forget(side, CONTAINER_OF(side->blob_order.next, struct proxy_blob, link));
	b->key.p = arena_copy(&b->arena, key.p, key.n);
	b->key.n = key.n;
	if (b->key.p == NULL)
		return;
	b->refs++;
	b->generation = generation;
	b->until_ms = loop_now_ms(side->loop) + PROXY_BLOB_MS;
	map_put(&side->blobs, b->key, b);
	list_add_tail(&side->blob_order, &b->link);
	if (!loop_timer_is_set(&side->blob_timer))
		loop_timer_set(side->loop, &side->blob_timer, PROXY_BLOB_MS, sweep, side);
}

void
proxy_blob_count(struct proxy_side *side, struct proxy_blob *b, uint64_t bytes, uint64_t pieces)
{
	b->answers++;
	b->bytes += bytes;
	b->pieces += pieces;
	atomic_fetch_add_explicit(&side->proxy->counts.via_dfdaemon, 1, memory_order_relaxed);
}
