#include "serve/proxy_flow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "config/config.h"
#include "net/conn.h"
#include "serve/proxy_blob.h"
#include "serve/proxy_fetch.h"
#include "serve/proxy_internal.h"
#include "store/file.h"

#define OCTETS "application/octet-stream"
/* Read at least so much at a time, however little the socket takes. */
#define STEP_MIN ((size_t)32 * 1024)
#define BOUNDARY_BYTES 16
#define NUMBERS_MAX 80          /* "bytes a-b/c" */

static void pump_again(void *ctx);

/* ---- life ---- */

static void
on_writable(void *ctx)
{
	struct proxy_flow *fl = ctx;

	fl->waits = false;
	proxy_flow_pump(fl);
}

static void
on_gone(void *ctx)
{
	struct proxy_flow *fl = ctx;

	fl->x = NULL;
	log_debug("client of the proxy went away task=%s sent=%" PRIu64, fl->blob != NULL ? fl->blob->task_id : "-", fl->sent);
	proxy_flow_free(fl);
}

struct proxy_flow *
proxy_flow_new(struct proxy_side *side, struct http_exchange *x)
{
	static const struct http_exchange_events events = {.on_writable = on_writable, .on_gone = on_gone};
	struct proxy_flow *fl = xcalloc(1, sizeof *fl);

	fl->side = side;
	fl->x = x;
	fl->parts = &fl->one_part;
	fl->step = PROXY_READ_BYTES;
	list_add_tail(&side->fetches, &fl->link);
	http_exchange_set_events(x, &events, fl);
	return fl;
}

void
proxy_flow_free(struct proxy_flow *fl)
{
	struct proxy_fetch *f = fl->fetch;

	list_del(&fl->link);
	loop_timer_clear(fl->side->loop, &fl->turn);
	if (f != NULL) {
		f->flow = NULL;
		f->sent = fl->sent;
		loop_post(f->proxy->o.loop, &f->release);
	}
	proxy_blob_unref(fl->blob);
	if (fl->parts != &fl->one_part)
		free(fl->parts);
	buf_free(&fl->texts);
	free(fl);
}

void
proxy_flow_break(struct proxy_flow *fl, const char *why)
{
	struct http_exchange *x = fl->x;

	log_warn("answer of the proxy broken off client=%s task=%s sent=%" PRIu64 " of=%" PRIu64 " cause=\"%s\"",
	    conn_peer_text(http_exchange_conn(x)), fl->blob->task_id, fl->sent, fl->total, why);
	atomic_fetch_add_explicit(&fl->side->proxy->counts.failed, 1, memory_order_relaxed);
	proxy_flow_free(fl);
	http_exchange_abort(x);
}

/* ---- the head ---- */

static struct slice
type_of(const struct proxy_blob *b)
{
	for (size_t i = 0; i < b->field_count; i++)
		if (slice_ieq_str(b->fields[i].name, "content-type"))
			return b->fields[i].value;
	return slice_str(OCTETS);
}

static void
numbers(char out[NUMBERS_MAX], const struct flow_part *p, uint64_t length)
{
	snprintf(out, NUMBERS_MAX, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, p->start, p->end - 1, length);
}

/* What stands before each part, and behind the last (a part without content). */
static void
write_texts(struct proxy_flow *fl, const char *boundary)
{
	char range[NUMBERS_MAX];

	for (size_t i = 0; i < fl->part_count; i++) {
		struct flow_part *p = &fl->parts[i];

		p->text_from = fl->texts.len;
		if (i + 1 < fl->part_count) {
			numbers(range, p, fl->blob->content_length);
			buf_printf(&fl->texts, "\r\n--%s\r\nContent-Type: %.*s\r\nContent-Range: %s\r\n\r\n", boundary, SLICE_ARG(type_of(fl->blob)), range);
		} else {
			buf_printf(&fl->texts, "\r\n--%s--\r\n", boundary);
		}
		p->text_n = fl->texts.len - p->text_from;
	}
}

static void
make_boundary(char out[2 * BOUNDARY_BYTES + 1])
{
	uint8_t bytes[BOUNDARY_BYTES];

	rand_bytes(bytes, sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void
set_parts(struct proxy_flow *fl, const struct proxy_part *parts, size_t count)
{
	if (count <= 1) {
		fl->part_count = 1;
		fl->parts[0] = (struct flow_part){0};
		fl->parts[0].start = count > 0 ? parts[0].start : 0;
		fl->parts[0].end = count > 0 ? parts[0].start + parts[0].length : fl->blob->content_length;
		return;
	}
	fl->part_count = count + 1;
	fl->parts = xcalloc(fl->part_count, sizeof *fl->parts);
	for (size_t i = 0; i < count; i++)
		fl->parts[i] = (struct flow_part){.start = parts[i].start, .end = parts[i].start + parts[i].length};
}

static void
add(struct h1_field *fields, size_t *n, const char *name, struct slice value)
{
	fields[(*n)++] = (struct h1_field){slice_str(name), value};
}

/* Whether the digest is the one in the name; it is not asked again. */
static bool
judge(struct proxy_flow *fl, const char *hex)
{
	bool is_good = strcmp(hex, fl->want) == 0;

	fl->want = NULL;
	if (fl->fetch != NULL)
		fl->fetch->verdict = is_good ? PROXY_DIGEST_MATCHES : PROXY_DIGEST_DIFFERS;
	fl->blob->is_good |= is_good;
	return is_good;
}

/* The whole content of a small task is compared with its digest before the head, so that a wrong one ends in an error that can be read. */
static bool
small_is_wrong(struct proxy_flow *fl)
{
	const struct proxy_blob *b = fl->blob;
	char hex[DIGEST_HEX_MAX];
	uint8_t *buf = fl->side->buffer;
	struct err e;

	if (fl->want == NULL || b->content_length > PROXY_READ_BYTES || fl->ready < b->content_length)
		return false;
	if (b->content_length > 0 && store_file_pread(b->file, buf, (size_t)b->content_length, 0, &e) < 0)
		return false;
	digest_hex(DIGEST_SHA256, buf, (size_t)b->content_length, hex);
	return !judge(fl, hex);
}

/* The head, and with it the first bytes where they are at hand: one call to the system, and one segment for small answers. */
static void
send_head(struct proxy_flow *fl, int status, const struct h1_field *fields, size_t n)
{
	uint64_t limit = fl->ready < fl->parts[0].end ? fl->ready : fl->parts[0].end;
	size_t first = 0, took = 0, stored = fl->blob->field_count;

	if (fl->part_count == 1 && fl->want == NULL && fl->at < limit)
		first = limit - fl->at < fl->step ? (size_t)(limit - fl->at) : fl->step;
	if (first > 0 && store_file_pread(fl->blob->file, fl->side->buffer, first, fl->at, NULL) < 0)
		first = 0;
	fl->head_sent = true;
	/* Fields as the origin gave them were looked at; should one not be fit all the same, the answer goes without them. */
	if (http_exchange_head_with(fl->x, status, fields, n, fl->total, fl->side->buffer, first, &took) < 0)
		http_exchange_head_with(fl->x, status, fields + stored, n - stored, fl->total, fl->side->buffer, first, &took);
	fl->at += took;
	fl->sent += took;
	fl->waits = took < first;
}

bool
proxy_flow_begin(struct proxy_flow *fl, const struct proxy_part *parts, size_t count, bool is_range)
{
	const struct proxy_blob *b = fl->blob;
	struct h1_field fields[H1_FIELDS_MAX];
	char range[NUMBERS_MAX], boundary[2 * BOUNDARY_BYTES + 1], type[sizeof boundary + 40];
	struct http_exchange *x = fl->x;
	size_t n = 0;

	set_parts(fl, parts, count);
	if (small_is_wrong(fl)) {
		struct proxy_side *side = fl->side;

		proxy_flow_free(fl);
		proxy_refuse(side, x, 502, PROXY_BY_BACKEND, NULL, 0, "the content that the origin sent does not have the digest of its name");
		return false;
	}
	for (size_t i = 0; i < b->field_count; i++)
		if (fl->part_count == 1 || !slice_ieq_str(b->fields[i].name, "content-type"))
			fields[n++] = b->fields[i];
	if (fl->part_count > 1) {
		make_boundary(boundary);
		write_texts(fl, boundary);
		snprintf(type, sizeof type, "multipart/byteranges; boundary=%s", boundary);
		add(fields, &n, "Content-Type", slice_str(type));
	} else {
		if (!b->has_type)
			add(fields, &n, "Content-Type", slice_str(OCTETS));
		if (is_range) {
			numbers(range, &fl->parts[0], b->content_length);
			add(fields, &n, "Content-Range", slice_str(range));
		}
	}
	add(fields, &n, "Accept-Ranges", slice_str("bytes"));
	add(fields, &n, "X-Dragonfly-Task-ID", slice_str(b->task_id));
	add(fields, &n, "X-Dragonfly-Server-IP", slice_str(fl->side->proxy->o.config->host.ip));
	if (fl->was_finished)
		add(fields, &n, "X-Dragonfly-Task-Download-Finished", slice_str("true"));
	fl->total = 0;
	for (size_t i = 0; i < fl->part_count; i++)
		fl->total += fl->parts[i].text_n + fl->parts[i].end - fl->parts[i].start;
	fl->at = fl->parts[0].start;
	fl->text_left = fl->parts[0].text_n;
	send_head(fl, is_range ? 206 : 200, fields, n);
	return true;
}

/* ---- the body ---- */

/* The last bytes complete the digest: false when it is not the one in the name. */
static bool
last_is_good(struct proxy_flow *fl, const uint8_t *p, size_t n)
{
	struct digest all = fl->hash;
	char hex[DIGEST_HEX_MAX];

	digest_update(&all, p, n);
	digest_final_hex(&all, hex);
	return judge(fl, hex);
}

/* Sends bytes of the present part; 1: all that are ready went, 0: the client takes no more now, -1: the flow is over. */
static int
send_content(struct proxy_flow *fl, uint64_t *budget)
{
	const struct flow_part *p = &fl->parts[fl->part];
	uint64_t limit = fl->ready < p->end ? fl->ready : p->end;
	uint8_t *buf = fl->side->buffer;
	struct err e;

	while (fl->at < limit) {
		size_t n = limit - fl->at < fl->step ? (size_t)(limit - fl->at) : fl->step, took;

		if (*budget == 0)
			return 0;
		if (store_file_pread(fl->blob->file, buf, n, fl->at, &e) < 0) {
			proxy_flow_break(fl, e.text);
			return -1;
		}
		if (fl->want != NULL && fl->at + n == fl->blob->content_length && !last_is_good(fl, buf, n)) {
			proxy_flow_break(fl, "the content does not have the digest of its name");
			return -1;
		}
		took = http_exchange_write(fl->x, buf, n);
		if (fl->want != NULL)
			digest_update(&fl->hash, buf, took);
		fl->at += took;
		fl->sent += took;
		*budget -= took < *budget ? took : *budget;
		if (took < n) {
			fl->step = took > STEP_MIN ? took : STEP_MIN;
			fl->waits = true;
			return 0;
		}
		if (fl->step < PROXY_READ_BYTES)
			fl->step = 2 * fl->step < PROXY_READ_BYTES ? 2 * fl->step : PROXY_READ_BYTES;
	}
	return 1;
}

/* The text before the present part: true when it is out. */
static bool
send_text(struct proxy_flow *fl)
{
	const struct flow_part *p = &fl->parts[fl->part];

	if (fl->text_left > 0) {
		size_t took = http_exchange_write(fl->x, buf_data(&fl->texts) + p->text_from + p->text_n - fl->text_left, fl->text_left);

		fl->text_left -= took;
		fl->sent += took;
		fl->waits = fl->text_left > 0;
	}
	return fl->text_left == 0;
}

void
proxy_flow_keep(struct proxy_flow *fl)
{
	const struct proxy_fetch *f = fl->fetch;

	if (f != NULL && fl->may_keep && fl->blob != NULL && fl->blob->is_good && f->key.p != NULL)
		proxy_blob_keep(fl->side, fl->blob, f->key, f->generation);
}

static void
finish(struct proxy_flow *fl)
{
	struct http_exchange *x = fl->x;

	proxy_flow_keep(fl);
	proxy_flow_free(fl);
	http_exchange_end(x);
}

/* The client has read on: more may be fetched. */
static void
tell_position(struct proxy_flow *fl)
{
	struct proxy_fetch *f = fl->fetch;

	if (f == NULL || fl->may_keep)
		return;
	/* In this order, and read in the other: a letter that is on its way sees it, or a new one goes. */
	atomic_store(&f->position, fl->at);
	if (fl->at < fl->told + PROXY_STEP_BYTES || atomic_load(&f->moved_is_away))
		return;
	fl->told = fl->at;
	atomic_store(&f->moved_is_away, true);
	f->moved.run = proxy_fetch_moved;
	loop_post(f->proxy->o.loop, &f->moved);
}

void
proxy_flow_pump(struct proxy_flow *fl)
{
	uint64_t budget = PROXY_TURN_BYTES;

	/* The socket is full: on_writable goes on. */
	if (fl->waits)
		return;

	while (fl->head_sent) {
		int r;

		if (fl->part == fl->part_count) {
			finish(fl);
			return;
		}
		if (!send_text(fl))
			return;
		r = send_content(fl, &budget);
		if (r >= 0)
			tell_position(fl);
		if (r < 0)
			return;
		if (r == 0 && budget == 0)
			loop_timer_set(fl->side->loop, &fl->turn, 0, pump_again, fl);
		if (r == 0 || fl->at < fl->parts[fl->part].end)
			return;
		if (++fl->part < fl->part_count) {
			fl->at = fl->parts[fl->part].start;
			fl->text_left = fl->parts[fl->part].text_n;
		}
	}
}

static void
pump_again(void *ctx)
{
	proxy_flow_pump(ctx);
}
