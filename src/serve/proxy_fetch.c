#include "serve/proxy_fetch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "peer/engine.h"
#include "peer/origin.h"
#include "peer/task.h"
#include "serve/prefetch.h"
#include "serve/proxy_internal.h"
#include "serve/proxy_rules.h"
#include "store/file.h"
#include "store/store.h"
#include "text/url.h"

/* Fields of a stored answer that are told; an answer has some of ours beside them. */
#define TOLD_FIELDS_MAX (H1_FIELDS_MAX - 12)
/* Memory of what is told. */
#define TOLD_BYTES ((size_t)256 * 1024)

static void news_came_home(struct loop_msg *msg);

/* ---- life ---- */

void
proxy_fetch_free_if_done(struct proxy_fetch *f)
{
	if (!f->is_released || f->token_is_away || f->question != NULL)
		return;
	list_del(&f->job_link);
	loop_defer_clear(&f->later);
	if (f->store != NULL)
		store_task_release(f->store);
	proxy_blob_unref(f->made);
	proxy_blob_unref(f->blob);
	free(f->here);
	arena_free(&f->answer_arena);
	arena_free(&f->arena);
	free(f);
}

/* Content from the span's first piece up to the first that is not there. */
static uint64_t
ready_bytes(const struct proxy_fetch *f)
{
	uint64_t end;

	if (f->store == NULL || f->span_is_empty)
		return 0;
	if (f->next > f->last && f->last + 1 == store_task_piece_count(f->store))
		end = f->store->content_length;
	else
		end = (uint64_t)f->next * f->store->piece_length;
	/* An output that is still being placed: the client is to see the end of its answer afterwards. */
	if (f->download.output_path.n > 0 && !f->is_over && f->next > f->last && end > 0)
		end--;
	return end;
}

static void
send_news(struct proxy_fetch *f)
{
	f->is_dirty = false;
	f->token_is_away = true;
	if (f->made != NULL) {
		f->blob = f->made;
		f->made = NULL;
	}
	f->ready = ready_bytes(f);
	f->has_ended = f->is_over;
	f->is_whole = f->store != NULL && !f->store->is_deleted && f->store->finished_at != 0 &&
	    !(f->store->is_private && f->proxy->o.config->proxy.revalidate_auth);
	f->news.run = proxy_fetch_news;
	loop_post(f->side->loop, &f->news);
}

static void
news_later(struct loop_later *later)
{
	struct proxy_fetch *f = CONTAINER_OF(later, struct proxy_fetch, later);

	if (f->is_dirty && !f->token_is_away && !f->is_released)
		send_news(f);
}

static void
there_is_news(struct proxy_fetch *f)
{
	f->is_dirty = true;
	if (!f->token_is_away && !f->is_released)
		loop_defer(f->proxy->o.loop, &f->later, news_later);
}

static void
news_came_home(struct loop_msg *msg)
{
	struct proxy_fetch *f = CONTAINER_OF(msg, struct proxy_fetch, news);

	f->token_is_away = false;
	if (f->is_released)
		proxy_fetch_free_if_done(f);
	else if (f->is_dirty)
		send_news(f);
}

void
proxy_fetch_return(struct proxy_fetch *f)
{
	f->news.run = news_came_home;
	loop_post(f->proxy->o.loop, &f->news);
}

/* ---- failures ---- */

static void
fail(struct proxy_fetch *f, int status, const char *type, const struct err *cause)
{
	f->failure.status = status;
	f->failure.type = type;
	f->failure.cause = *cause;
	f->is_over = true;
	there_is_news(f);
}

static void
tell_origin_fields(struct proxy_fetch *f, const struct source_error *o)
{
	struct h1_field *fields = arena_alloc(&f->answer_arena, (o->headers.count + 1) * sizeof *fields);

	for (size_t i = 0; fields != NULL && i < o->headers.count && f->failure.field_count < TOLD_FIELDS_MAX; i++) {
		const struct source_header *h = &o->headers.at[i];
		char *name, *value;

		if (!proxy_field_is_told_with_error(h->name, h->value))
			continue;
		name = arena_strdup(&f->answer_arena, h->name);
		value = arena_strdup(&f->answer_arena, h->value);
		if (name == NULL || value == NULL)
			break;
		fields[f->failure.field_count++] = (struct h1_field){slice_str(name), slice_str(value)};
	}
	f->failure.fields = fields;
}

/* A refusal of the origin, in words; otherwise what went wrong with its answer. */
static struct err
words_of(const struct task_end *end)
{
	const struct source_error *e = &end->origin->e;
	struct err out = *end->err;

	if (e->failure == SOURCE_HTTP_STATUS || e->failure == SOURCE_NOT_FOUND || e->failure == SOURCE_PERMISSION || e->failure == SOURCE_RATE_LIMITED)
		err_set(&out, end->err->code, "the origin answered %s", e->message);
	return out;
}

/* Of what the daemon itself could not do. */
static int
status_of(const struct err *e)
{
	return e->code == ERR_UNAVAILABLE || e->code == ERR_RESOURCE_EXHAUSTED ? 503 : e->code == ERR_INVALID_ARGUMENT ? 400 : 500;
}

/* The table of proxy.md 12. */
static void
fail_as_ended(struct proxy_fetch *f, const struct task_end *end)
{
	const struct origin_error *o = end->origin;
	struct err hint;

	if (f->failure.status != 0) {
		/* 304 or 416, decided when the length was known. */
		f->is_over = true;
		there_is_news(f);
	} else if (o != NULL && o->e.is_backend && o->e.status >= 400 && o->e.status <= 599) {
		hint = words_of(end);
		tell_origin_fields(f, &o->e);
		fail(f, o->e.status, PROXY_BY_BACKEND, &hint);
	} else if (o != NULL && (o->e.failure == SOURCE_BAD_ARGUMENT || o->e.failure == SOURCE_UNSUPPORTED_SCHEME)) {
		fail(f, 400, PROXY_BY_DFDAEMON, end->err);
	} else if (o != NULL && o->e.failure == SOURCE_INVALID_LENGTH) {
		fail(f, 422, PROXY_BY_DFDAEMON, end->err);
	} else if (o != NULL && o->e.failure == SOURCE_TLS && f->is_mirror) {
		err_set(&hint, end->err->code, "%s%s", end->err->text, PROXY_PLAIN_HINT);
		fail(f, 502, PROXY_BY_BACKEND, &hint);
	} else if (o != NULL && o->e.is_backend) {
		fail(f, o->e.failure == SOURCE_TIMEOUT ? 504 : 502, PROXY_BY_BACKEND, end->err);
	} else if (strstr(end->err->text, "no space left on device") != NULL) {
		fail(f, 507, PROXY_BY_DFDAEMON, end->err);
	} else {
		fail(f, status_of(end->err), PROXY_BY_DFDAEMON, end->err);
	}
}

/* ---- the task's events ---- */

static int
on_length(void *ctx, struct store_task *t, bool *has_range, struct byte_range *range, struct err *e)
{
	struct proxy_fetch *f = ctx;
	int status = proxy_wish_meet(&f->wish, store_task_etag(t), store_task_last_modified(t), t->content_length, f->parts, &f->part_count);
	uint64_t from = UINT64_MAX, to = 0;

	if (status == 304 || status == 416) {
		const char *names[2] = {"ETag", "Last-Modified"}, *values[2] = {store_task_etag(t), store_task_last_modified(t)};
		struct h1_field *fields = arena_alloc(&f->answer_arena, 3 * sizeof *fields);

		f->failure.status = status;
		f->failure.type = status == 416 ? PROXY_BY_PROXY : NULL;
		f->failure.fields = fields;
		for (size_t i = 0; status == 304 && i < 2; i++)
			if (values[i] != NULL && h1_is_value(slice_str(values[i])))
				fields[f->failure.field_count++] = (struct h1_field){slice_str(names[i]),
				    slice_str(arena_strdup(&f->answer_arena, values[i]))};
		if (status == 416)
			fields[f->failure.field_count++] = (struct h1_field){slice_str("Content-Range"),
			    slice_str(arena_printf(&f->answer_arena, "bytes */%" PRIu64, t->content_length))};
		err_set(&f->failure.cause, ERR_OUT_OF_RANGE, status == 304 ? "not modified" : "range not satisfiable");
		return err_set(e, ERR_OUT_OF_RANGE, "%s", f->failure.cause.text);
	}
	f->is_range = status == 206;
	if (!f->is_range)
		return 0;
	/* Several parts: on_started leaves out what lies between them. */
	for (size_t i = 0; i < f->part_count; i++) {
		from = f->parts[i].start < from ? f->parts[i].start : from;
		to = f->parts[i].start + f->parts[i].length > to ? f->parts[i].start + f->parts[i].length : to;
	}
	*has_range = true;
	*range = (struct byte_range){.start = from, .length = to - from};
	return 0;
}

static struct slice
keep(struct arena *a, struct slice s)
{
	void *p = s.p != NULL ? arena_copy(a, s.p, s.n) : NULL;

	return p != NULL ? slice_make(p, s.n) : (struct slice){0};
}

static void
tell_fields(struct proxy_blob *b, struct store_task *t)
{
	size_t count = store_task_header_count(t);

	b->fields = arena_alloc(&b->arena, (count + 1) * sizeof *b->fields);
	for (size_t i = 0; b->fields != NULL && i < count && b->field_count < TOLD_FIELDS_MAX; i++) {
		struct store_header h = store_task_header(t, i);
		struct h1_field told;

		if (!proxy_field_is_told(h.name, h.value))
			continue;
		told = (struct h1_field){keep(&b->arena, slice_str(h.name)), keep(&b->arena, slice_str(h.value))};
		if (told.name.p == NULL || told.value.p == NULL)
			break;
		b->has_type |= slice_ieq_str(told.name, "content-type");
		b->fields[b->field_count++] = told;
	}
}

/* NULL: the content file cannot be had. */
static struct proxy_blob *
make_blob(struct proxy_fetch *f, struct store_task *t, struct err *e)
{
	struct proxy_blob *b = xcalloc(1, sizeof *b);

	b->refs = 1;
	list_init(&b->link);
	arena_init(&b->arena, TOLD_BYTES);
	memcpy(b->task_id, t->id, strlen(t->id) < TASK_ID_SIZE ? strlen(t->id) : TASK_ID_SIZE - 1);
	b->content_length = t->content_length;
	b->piece_length = t->piece_length;
	b->etag = keep(&b->arena, slice_str(store_task_etag(t)));
	b->last_modified = keep(&b->arena, slice_str(store_task_last_modified(t)));
	b->tag = keep(&b->arena, f->download.tag);
	b->application = keep(&b->arena, f->download.application);
	b->priority = f->download.priority;
	b->is_good = f->want[0] == '\0' || proxy_is_verified(f->proxy, t->id);
	tell_fields(b, t);
	b->file = store_task_file(t, e);
	if (b->file != NULL)
		return b;
	proxy_blob_unref(b);
	return NULL;
}

/* Parts that are not asked for in their order are fetched without looking where the client is. */
static bool
is_in_order(const struct proxy_fetch *f)
{
	for (size_t i = 1; i < f->part_count; i++)
		if (f->parts[i].start < f->parts[i - 1].start)
			return false;
	return true;
}

static void
set_horizon(struct proxy_fetch *f)
{
	uint64_t length = f->store->piece_length, ahead = length > 0 ? (PROXY_AHEAD_BYTES + length - 1) / length : 0, from;

	if (f->caller == NULL || length == 0 || !is_in_order(f))
		return;
	from = atomic_load(&f->position) / length;
	if (from < f->first)
		from = f->first;
	task_caller_set_horizon(f->caller, (uint32_t)(from + (ahead > PROXY_AHEAD_PIECES ? ahead : PROXY_AHEAD_PIECES)));
}

void
proxy_fetch_moved(struct loop_msg *msg)
{
	struct proxy_fetch *f = CONTAINER_OF(msg, struct proxy_fetch, moved);

	atomic_store(&f->moved_is_away, false);
	if (f->store != NULL)
		set_horizon(f);
}

/* Pieces between several parts are nobody's: they count as if they were here. */
static void
leave_out_gaps(struct proxy_fetch *f)
{
	uint64_t length = f->store->piece_length, *wanted;

	if (f->part_count < 2 || f->span_is_empty)
		return;
	wanted = xcalloc((size_t)f->last / 64 + 1, sizeof *wanted);
	for (size_t i = 0; i < f->part_count; i++)
		for (uint64_t n = f->parts[i].start / length; n <= (f->parts[i].start + f->parts[i].length - 1) / length; n++)
			bit_set(wanted, (uint32_t)n);
	for (uint32_t n = f->first; n <= f->last; n++)
		if (!bit_get(wanted, n)) {
			task_caller_skip(f->caller, n);
			bit_set(f->here, n);
		}
	free(wanted);
}

static void
on_started(void *ctx, const struct task_started *s)
{
	struct proxy_fetch *f = ctx;
	struct err e = {0};

	f->store = s->store;
	store_task_use(f->store);
	f->made = make_blob(f, s->store, &e);
	if (f->made == NULL) {
		task_caller_cancel(f->caller);
		f->caller = NULL;
		fail(f, 500, PROXY_BY_DFDAEMON, &e);
		return;
	}
	f->was_finished = s->is_finished;
	f->span_is_empty = s->span.is_empty;
	f->first = f->next = s->span.first;
	f->last = s->span.last;
	f->here = xcalloc((size_t)f->last / 64 + 1, sizeof *f->here);
	leave_out_gaps(f);
	set_horizon(f);
	if (f->download.prefetch && s->has_range)
		prefetch_start(f->proxy->o.engine, &f->download, false, s->store);
	if (s->is_finished && f->want[0] != '\0' && s->has_range && !f->made->is_good)
		proxy_verify_start(f->proxy, s->store, f->want);
	if (f->span_is_empty)
		there_is_news(f);
}

static void
on_piece(void *ctx, const struct store_piece *p, enum task_traffic traffic)
{
	struct proxy_fetch *f = ctx;

	(void)traffic;
	bit_set(f->here, p->number);
	if (p->number != f->next)
		return;
	while (f->next <= f->last && bit_get(f->here, f->next))
		f->next++;
	there_is_news(f);
}

static void
on_end(void *ctx, const struct task_end *end)
{
	struct proxy_fetch *f = ctx;

	if (end->err != NULL) {
		f->caller = NULL;
		fail_as_ended(f, end);
		return;
	}
	log_info("download task succeeded task_id=%s host_id=%s peer_id=%s length=%" PRIu64, f->caller->task->id, f->proxy->o.host_id,
	    f->caller->peer_id, f->store->content_length);
	f->caller = NULL;
	f->is_over = true;
	there_is_news(f);
}

/* ---- the data loop's letters ---- */

/* Patterns are written for either form: as it was asked for (":443" of a tunnel included), and canonical. */
static bool
is_blocked(const struct proxy_fetch *f, struct err *e)
{
	struct common_download canonical = f->download;
	bool blocked;
	struct url u;

	if (f->proxy->o.cluster == NULL)
		return false;
	if (cluster_check_download(f->proxy->o.cluster, &f->download, e) < 0)
		return true;
	if (url_parse(&u, f->download.url, NULL) < 0)
		return false;
	canonical.url = slice_str(u.text);
	blocked = !slice_eq(canonical.url, f->download.url) && cluster_check_download(f->proxy->o.cluster, &canonical, e) < 0;
	url_free(&u);
	return blocked;
}

void
proxy_fetch_start(struct proxy_fetch *f)
{
	static const struct task_caller_events events = {
		.on_length = on_length, .on_started = on_started, .on_piece = on_piece, .on_end = on_end,
	};
	struct engine *g = f->proxy->o.engine;
	struct task_request ask = {.download = &f->download, .asker = TASK_FOR_USER, .in_order = true};
	char url[URL_REDACTED_MAX], id[TASK_ID_SIZE];
	struct err e = {0};

	if (f->want[0] != '\0' && f->proxy->suspects.count > 0 && task_id_standard(&f->download, id, &e) == 0 && proxy_take_suspect(f->proxy, id))
		f->download.need_back_to_source = true;
	f->caller = task_request(g, &ask, &events, f, &e);
	if (f->caller == NULL) {
		fail(f, status_of(&e), PROXY_BY_DFDAEMON, &e);
		return;
	}
	log_debug("proxy asks for task=%s url=\"%s\"", f->caller->task->id, url_redact_text(f->download.url, url));
}

void
proxy_fetch_refused(struct proxy_fetch *f, const struct origin_error *o)
{
	struct err why = o->e.err;

	fail_as_ended(f, &(struct task_end){.err = &why, .origin = o});
}

void
proxy_fetch_asked(struct loop_msg *msg)
{
	struct proxy_fetch *f = CONTAINER_OF(msg, struct proxy_fetch, ask);
	struct err e = {0};

	list_add_tail(&f->proxy->jobs, &f->job_link);
	list_init(&f->later.link);
	arena_init(&f->answer_arena, TOLD_BYTES);
	if (is_blocked(f, &e)) {
		f->proxy->o.engine->metrics.download_blocked[STORE_STANDARD]++;
		fail(f, 403, PROXY_BY_PROXY, &e);
	} else if (proxy_is_asked_first(f)) {
		proxy_ask_first(f);
	} else {
		proxy_fetch_start(f);
	}
}

void
proxy_fetch_released(struct loop_msg *msg)
{
	struct proxy_fetch *f = CONTAINER_OF(msg, struct proxy_fetch, release);

	f->is_released = true;
	if (f->caller != NULL) {
		log_info("client of the proxy went away task=%s sent=%" PRIu64, f->caller->task->id, f->sent);
		task_caller_cancel(f->caller);
		f->caller = NULL;
	}
	proxy_ask_cancel(f);
	if (f->verdict == PROXY_DIGEST_MATCHES && f->store != NULL && !f->store->is_deleted)
		proxy_set_verified(f->proxy, f->store->id);
	else if (f->verdict == PROXY_DIGEST_DIFFERS && f->store != NULL)
		proxy_content_is_wrong(f->proxy, f->store);
	proxy_fetch_free_if_done(f);
}
