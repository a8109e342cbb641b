/*
 * GETs that a rule chooses: what they ask of the download engine, and what the engine's news mean for the client. Data loop.
 */
#include "serve/proxy_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/addr.h"
#include "peer/pieces.h"
#include "serve/proxy_blob.h"
#include "serve/proxy_fetch.h"
#include "serve/proxy_flow.h"
#include "serve/proxy_rules.h"
#include "text/units.h"
#include "text/url.h"

#define PRIORITY_DEFAULT 6
/* The scheduler takes no larger ones. */
#define PROXY_PIECE_LENGTH_MAX (UINT64_C(64) << 20)
#define FILTERS_MAX 256

/* ---- the answer ---- */

static void
answer_failure(struct proxy_flow *fl, const struct proxy_failure *failure)
{
	struct http_exchange *x = fl->x;
	struct proxy_side *side = fl->side;

	if (failure->type == NULL)
		http_exchange_reply(x, failure->status, failure->fields, failure->field_count, NULL, (struct slice){0});
	else
		proxy_refuse(side, x, failure->status, failure->type, failure->fields, failure->field_count, failure->cause.text);
	/* Last: it holds what was told. */
	proxy_flow_free(fl);
}

/* The first news that let the answer begin: enough is there, or nothing is wanted. */
static bool
may_begin(const struct proxy_flow *fl, const struct proxy_fetch *f)
{
	uint64_t start = f->part_count > 0 ? f->parts[0].start : 0;

	return fl->ready > start || (f->part_count == 0 && fl->blob->content_length == 0);
}

void
proxy_fetch_news(struct loop_msg *msg)
{
	struct proxy_fetch *f = CONTAINER_OF(msg, struct proxy_fetch, news);
	struct proxy_flow *fl = f->flow;
	bool has_failed;

	if (fl == NULL) {
		proxy_fetch_return(f);
		return;
	}
	if (f->blob != NULL) {
		fl->blob = f->blob;
		f->blob = NULL;
		fl->was_finished = f->was_finished;
		if (f->want[0] != '\0' && !f->is_range && !fl->blob->is_good) {
			fl->want = f->want;
			digest_init(&fl->hash, DIGEST_SHA256);
		}
	}
	fl->ready = f->ready;
	/* The failure is the control loop's until the end was told. */
	has_failed = f->has_ended && f->failure.status != 0;
	fl->may_keep = f->has_ended && f->is_whole && !has_failed;
	/* What it says is with the flow or does not change any more; until the flow is released, f stays. */
	proxy_fetch_return(f);
	if (has_failed) {
		if (fl->head_sent)
			proxy_flow_break(fl, f->failure.cause.text);
		else
			answer_failure(fl, &f->failure);
		return;
	}
	proxy_flow_keep(fl);
	if (!fl->head_sent) {
		if (fl->blob == NULL || !may_begin(fl, f))
			return;
		if (!proxy_flow_begin(fl, f->parts, f->part_count, f->is_range))
			return;
	}
	proxy_flow_pump(fl);
}

/* ---- without the control loop ---- */

static uint64_t
pieces_of(const struct proxy_blob *b, const struct proxy_part *parts, size_t count)
{
	uint64_t n = 0;

	if (b->piece_length == 0)
		return 0;
	if (count == 0)
		return (b->content_length + b->piece_length - 1) / b->piece_length;
	for (size_t i = 0; i < count; i++)
		n += (parts[i].start + parts[i].length - 1) / b->piece_length - parts[i].start / b->piece_length + 1;
	return n;
}

static struct slice
field(const struct proxy_request *r, const char *name)
{
	struct slice v = h1_get(r->head, name);

	/* What is not visible ASCII counts as absent. */
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < 0x20 || v.p[i] > 0x7e)
			return (struct slice){0};
	return v;
}

static struct proxy_wish
wish_of(const struct proxy_request *r)
{
	return (struct proxy_wish){
		.range = field(r, "range"), .if_range = field(r, "if-range"), .if_none_match = field(r, "if-none-match"),
		.if_modified_since = field(r, "if-modified-since"),
	};
}

static void
answer_without_content(const struct proxy_request *r, const struct proxy_blob *b, int status)
{
	struct h1_field fields[2];
	char range[40];
	size_t n = 0;

	if (status == 416) {
		snprintf(range, sizeof range, "bytes */%" PRIu64, b->content_length);
		fields[n++] = (struct h1_field){slice_str("Content-Range"), slice_str(range)};
		proxy_refuse(r->side, r->x, 416, PROXY_BY_PROXY, fields, n, "range not satisfiable");
		return;
	}
	if (b->etag.p != NULL && h1_is_value(b->etag))
		fields[n++] = (struct h1_field){slice_str("ETag"), b->etag};
	if (b->last_modified.p != NULL && h1_is_value(b->last_modified))
		fields[n++] = (struct h1_field){slice_str("Last-Modified"), b->last_modified};
	http_exchange_reply(r->x, status, fields, n, NULL, (struct slice){0});
}

bool
proxy_warm(const struct proxy_request *r)
{
	struct proxy_side *side = r->side;
	struct proxy_wish wish;
	struct proxy_blob *b = NULL;
	struct proxy_part parts[PROXY_RANGES_MAX];
	struct proxy_flow *fl;
	size_t count;
	int status;

	if (side->blobs.count == 0)
		return false;
	buf_clear(&side->key);
	if (proxy_blob_key(r, &side->key))
		b = proxy_blob_find(side, buf_slice(&side->key));
	if (b == NULL)
		return false;
	wish = wish_of(r);
	status = proxy_wish_meet(&wish, (const char *)b->etag.p, (const char *)b->last_modified.p, b->content_length, parts, &count);
	if (status == 304 || status == 416) {
		proxy_blob_count(side, b, 0, 0);
		answer_without_content(r, b, status);
		proxy_blob_unref(b);
		return true;
	}
	fl = proxy_flow_new(side, r->x);
	fl->blob = b;
	fl->was_finished = true;
	fl->ready = b->content_length;
	if (proxy_flow_begin(fl, parts, count, status == 206)) {
		proxy_blob_count(side, b, fl->total, pieces_of(b, parts, count));
		proxy_flow_pump(fl);
	}
	return true;
}

/* ---- what is asked of the engine ---- */

static struct slice
copy(struct arena *a, struct slice s)
{
	void *p = s.p != NULL ? arena_copy(a, s.p, s.n) : NULL;

	return p != NULL ? slice_make(p, s.n) : (struct slice){0};
}

static void
set_filters(struct proxy_fetch *f, const struct proxy_request *r, const struct config_proxy_rule *rule)
{
	struct slice list = field(r, "x-dragonfly-filtered-query-params");
	struct config_strings names = rule != NULL ? rule->filtered_query_params : (struct config_strings){config_signing_params, CONFIG_SIGNING_PARAMS};
	struct common_download *d = &f->download;

	if (list.p == NULL) {
		d->filtered_query_params = arena_alloc(&f->arena, (names.count + 1) * sizeof *d->filtered_query_params);
		for (size_t i = 0; d->filtered_query_params != NULL && i < names.count; i++)
			d->filtered_query_params[d->n_filtered_query_params++] = slice_str(names.items[i]);
		return;
	}
	d->filtered_query_params = arena_alloc(&f->arena, FILTERS_MAX * sizeof *d->filtered_query_params);
	list = copy(&f->arena, list);
	while (d->filtered_query_params != NULL && d->n_filtered_query_params < FILTERS_MAX) {
		ptrdiff_t comma = slice_find(list, ',');
		struct slice item = slice_trim(comma < 0 ? list : slice_sub(list, 0, (size_t)comma));

		d->filtered_query_params[d->n_filtered_query_params++] = item.p != NULL ? item : slice_str("");
		if (comma < 0)
			break;
		list = slice_sub(list, (size_t)comma + 1, list.n);
	}
}

static void
set_header(struct proxy_fetch *f, const struct proxy_request *r)
{
	struct common_download *d = &f->download;

	d->request_header = arena_alloc(&f->arena, (r->head->field_count + 1) * sizeof *d->request_header);
	for (size_t i = 0; d->request_header != NULL && i < r->head->field_count; i++) {
		const struct h1_field *in = &r->head->fields[i];
		struct pb_pair pair;
		uint8_t *name;
		size_t at = 0;

		if (!proxy_field_is_for_task(r->head, in) || (r->drops_authorization && slice_ieq_str(in->name, "authorization")))
			continue;
		name = arena_copy(&f->arena, in->name.p, in->name.n);
		pair = (struct pb_pair){.key = {name, in->name.n}, .value = copy(&f->arena, in->value)};
		if (name == NULL || pair.value.p == NULL)
			return;
		for (size_t k = 0; k < in->name.n; k++)
			if (name[k] >= 'A' && name[k] <= 'Z')
				name[k] = (uint8_t)(name[k] + 32);
		/* The last of one name counts. */
		while (at < d->n_request_header && !slice_eq(d->request_header[at].key, pair.key))
			at++;
		d->request_header[at] = pair;
		d->n_request_header += at == d->n_request_header;
	}
}

static int32_t
priority_of(struct slice s)
{
	return s.n == 1 && s.p[0] >= '0' && s.p[0] <= '6' ? s.p[0] - '0' : PRIORITY_DEFAULT;
}

/* The digest in the name of a blob or manifest: "/v2/...(blobs|manifests)/sha256:<64 hex>". */
static void
set_want(struct proxy_fetch *f)
{
	static const char *const marks[] = {"/blobs/sha256:", "/manifests/sha256:"};
	struct slice url = f->download.url, path = url;
	ptrdiff_t query = slice_find(url, '?');
	size_t hex_at;

	if (query >= 0)
		path.n = (size_t)query;
	if (path.n < 64)
		return;
	hex_at = path.n - 64;
	for (size_t i = hex_at; i < path.n; i++)
		if (!((path.p[i] >= '0' && path.p[i] <= '9') || (path.p[i] >= 'a' && path.p[i] <= 'f')))
			return;
	for (size_t m = 0; m < COUNT_OF(marks); m++) {
		struct slice front = slice_sub(path, 0, hex_at);

		if (slice_ends(front, marks[m])) {
			memcpy(f->want, path.p + hex_at, 64);
			f->want[64] = '\0';
			return;
		}
	}
}

/* False: the request was refused. */
static bool
set_piece_length(struct proxy_fetch *f, const struct proxy_request *r)
{
	struct slice text = field(r, "x-dragonfly-piece-length");
	uint64_t n;

	if (text.p == NULL || units_parse_size(text, &n, NULL) < 0)
		return true;
	if (n < PIECE_LENGTH_MIN || n > PROXY_PIECE_LENGTH_MAX) {
		proxy_refuse(r->side, r->x, 400, PROXY_BY_PROXY, NULL, 0, "X-Dragonfly-Piece-Length must be from 4 MiB to 64 MiB");
		return false;
	}
	f->download.has_piece_length = true;
	f->download.piece_length = n;
	return true;
}

static bool
goes_up(struct slice path)
{
	for (size_t i = 0; i + 2 <= path.n; i++)
		if (path.p[i] == '.' && path.p[i + 1] == '.' && (i == 0 || path.p[i - 1] == '/') && (i + 2 == path.n || path.p[i + 2] == '/'))
			return true;
	return false;
}

static bool
set_output(struct proxy_fetch *f, const struct proxy_request *r)
{
	struct slice path = field(r, "x-dragonfly-output-path");

	if (path.n == 0)
		return true;
	if (!addr_is_loopback(http_exchange_peer(r->x)) && !r->side->proxy->o.config->proxy.server.allow_remote_output_path) {
		proxy_refuse(r->side, r->x, 403, PROXY_BY_PROXY, NULL, 0, "X-Dragonfly-Output-Path is for clients on this host");
		return false;
	}
	if (path.p[0] != '/' || goes_up(path)) {
		proxy_refuse(r->side, r->x, 400, PROXY_BY_PROXY, NULL, 0, "X-Dragonfly-Output-Path must be absolute and without \"..\"");
		return false;
	}
	f->download.output_path = copy(&f->arena, path);
	f->download.force_hard_link = proxy_is_true(field(r, "x-dragonfly-force-hard-link"));
	return true;
}

static void
set_rest(struct proxy_fetch *f, const struct proxy_request *r, const struct config_proxy_rule *rule)
{
	const struct config_proxy *c = &f->proxy->o.config->proxy;
	struct slice digest_mode = field(r, "x-dragonfly-enable-task-id-based-blob-digest"), prefetch = field(r, "x-dragonfly-prefetch");
	struct slice policy = field(r, "x-dragonfly-scheduling-policy");
	struct common_download *d = &f->download;
	char ip[ADDR_TEXT_MAX];
	struct proxy_wish w = wish_of(r);

	d->tag = copy(&f->arena, field(r, "x-dragonfly-tag"));
	d->application = copy(&f->arena, field(r, "x-dragonfly-application"));
	d->priority = priority_of(field(r, "x-dragonfly-priority"));
	d->disable_back_to_source = c->disable_back_to_source;
	d->content_for_calculating_task_id = copy(&f->arena, field(r, "x-dragonfly-content-for-calculating-task-id"));
	d->enable_task_id_based_blob_digest = digest_mode.p != NULL ? proxy_is_true(digest_mode) : c->registry_mirror.enable_task_id_based_blob_digest;
	d->prefetch = w.range.p != NULL && (prefetch.p != NULL ? proxy_is_true(prefetch) : c->prefetch);
	d->remote_ip = copy(&f->arena, slice_str(addr_format_ip(http_exchange_peer(r->x), ip)));
	if (slice_ieq_str(policy, "always"))
		d->scheduling_policy = COMMON_SCHEDULING_POLICY_ALWAYS;
	else if (!slice_ieq_str(policy, "auto") && rule != NULL && rule->scheduling_policy == CONFIG_SCHEDULING_ALWAYS)
		d->scheduling_policy = COMMON_SCHEDULING_POLICY_ALWAYS;
	f->wish = (struct proxy_wish){
		.range = copy(&f->arena, w.range), .if_range = copy(&f->arena, w.if_range), .if_none_match = copy(&f->arena, w.if_none_match),
		.if_modified_since = copy(&f->arena, w.if_modified_since),
	};
}

void
proxy_p2p(const struct proxy_request *r, const struct config_proxy_rule *rule)
{
	struct proxy_side *side = r->side;
	struct proxy_fetch *f = xcalloc(1, sizeof *f);
	struct buf url = BUF_INIT;

	atomic_fetch_add_explicit(&side->proxy->counts.via_dfdaemon, 1, memory_order_relaxed);
	f->proxy = side->proxy;
	f->side = side;
	f->generation = atomic_load_explicit(&side->proxy->generation, memory_order_acquire);
	arena_init(&f->arena, PROXY_FETCH_BYTES);
	proxy_download_url(r->url, rule, &url);
	f->download.url = copy(&f->arena, buf_slice(&url));
	buf_free(&url);
	if (!set_piece_length(f, r) || !set_output(f, r)) {
		arena_free(&f->arena);
		free(f);
		return;
	}
	set_filters(f, r, rule);
	set_header(f, r);
	set_rest(f, r, rule);
	set_want(f);
	f->is_mirror = r->is_mirror;
	buf_clear(&side->key);
	if (f->download.output_path.n == 0 && proxy_blob_key(r, &side->key))
		f->key = copy(&f->arena, buf_slice(&side->key));
	f->flow = proxy_flow_new(side, r->x);
	f->flow->fetch = f;
	f->ask.run = proxy_fetch_asked;
	f->release.run = proxy_fetch_released;
	loop_post(side->proxy->o.loop, &f->ask);
}
