/*
 * http and https (backends.md 3): how a stat finds the length with a one-byte range, and how a get checks that the bytes are the
 * ones asked for, of the same version, and goes on where a broken body stopped.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "source/fetch.h"
#include "source/fields.h"
#include "source/range.h"
#include "source/scheme.h"

/* "bytes=" and two numbers. */
#define RANGE_TEXT_MAX 64

enum step {
	STAT_PROBE,     /* GET bytes=0-0 */
	STAT_HEAD,      /* HEAD, while the probe's answer waits when it may still be used */
	STAT_DRAIN,     /* the probe has answered; its one byte is read so that the connection can be used again */
	STAT_WHOLE,     /* GET without a range */
	STAT_KEPT,      /* the caller reads the body of the stat */
	GET_FIRST, GET_RESUMED,
};

struct http_op {
	struct source_op *op;
	struct fields fields;
	enum step step;
	struct fetch *fetch;
	struct fetch *waiting;          /* the paused answer with the whole body, while HEAD is asked for the length */
	bool waiting_was_lost;          /* it broke off meanwhile */
	bool waiting_is_chunked;
	struct source_response waiting_response;
	bool head_was_asked;
	char range[RANGE_TEXT_MAX];
	const char *etag;               /* strong one, for If-Range; NULL when there is none */
	/* Get, and the kept body of a stat. */
	uint64_t first;                 /* offset in the content of the first byte to deliver */
	bool has_want;
	uint64_t want, got;             /* bytes to deliver in all, delivered */
	uint64_t skip;                  /* of a resumed whole answer */
};

static const struct fetch_events fetch_events, waiting_events;

static void
start_fetch(struct http_op *h, enum step step, const char *method, const char *range, const char *if_range)
{
	struct fetch_request r = {.method = method, .fields = &h->fields, .range = range, .if_range = if_range, .use_redirect_cache = true};

	h->step = step;
	h->fetch = fetch_start(h->op, &r, &fetch_events, h);
	if (h->op->is_paused)
		fetch_pause(h->fetch);
}

/* ---- stat ---- */

static struct source_validators
validators_of(struct source_headers h)
{
	struct source_validators v = {0};

	for (size_t i = 0; i < h.count; i++) {
		if (strcmp(h.at[i].name, "etag") == 0)
			v.etag = h.at[i].value;
		else if (strcmp(h.at[i].name, "last-modified") == 0)
			v.last_modified = h.at[i].value;
		else if (strcmp(h.at[i].name, "content-encoding") == 0 && !slice_ieq_str(slice_str(h.at[i].value), "identity"))
			v.content_encoding = h.at[i].value;
	}
	return v;
}

static void
set_length(struct source_response *r, uint64_t n, struct arena *mem)
{
	char *text = arena_printf(mem, "%" PRIu64, n);

	r->has_length = true;
	r->length = n;
	r->validators.has_length = true;
	r->validators.length = n;
	r->headers = fields_replace(r->headers, "content-range", "content-length", text != NULL ? text : "", mem);
}

static void
response_of(struct source_op *op, const struct h1 *head, struct source_response *r)
{
	memset(r, 0, sizeof(*r));
	r->status = head->status;
	r->headers = fields_of_answer(head, true, &op->mem);
	r->validators = validators_of(r->headers);
}

static void
fail_status(struct http_op *h, const struct h1 *head)
{
	struct source_headers headers = fields_of_answer(head, false, &h->op->mem);
	struct source_error e;

	source_error_status(&e, head->status, headers);
	if (!h->op->is_get && head->status == 307 && h1_get(head, "location").n == 0) {
		source_error_set(&e, SOURCE_REDIRECT, true, "got 307 Temporary Redirect without Location header");
		e.status = 307;
		e.headers = headers;
	}
	source_op_fail(h->op, &e);
}

static void
fail_length(struct http_op *h)
{
	struct source_error e;

	source_error_set(&e, SOURCE_INVALID_LENGTH, false, "invalid content length");
	source_op_fail(h->op, &e);
}

static void
drop_fetch(struct fetch **f)
{
	if (*f != NULL)
		fetch_discard(*f);
	*f = NULL;
}

/* The answer of `body` is the stat's result, and its body, when there is one, may be kept. */
static void
stat_with_body(struct http_op *h, struct source_response *r, struct fetch *body)
{
	struct source_op *op = h->op;

	r->has_body = true;
	fetch_set_events(body, &fetch_events, h);
	h->fetch = body;
	h->waiting = NULL;
	h->step = STAT_KEPT;
	h->first = h->got = 0;
	h->has_want = r->has_length;
	h->want = r->length;
	source_op_respond(op, r);
	if (!SOURCE_OP_LIVES(op))
		return;
	if (!op->keeps_body) {
		drop_fetch(&h->fetch);
		source_op_end(op);
	} else if (op->is_paused) {
		fetch_pause(body);
	} else {
		fetch_resume(body);
	}
}

static void
stat_without_body(struct http_op *h, struct source_response *r)
{
	struct source_op *op = h->op;

	source_op_respond(op, r);
	if (SOURCE_OP_LIVES(op))
		source_op_end(op);
}

/* A 2xx that is not 206 to a GET: the whole content is on its way, with or without a known length. */
static void
stat_whole_answer(struct http_op *h, const struct h1 *head)
{
	struct source_response r;

	if (head->status == 204 || head->status == 205) {
		fail_length(h);
		return;
	}
	response_of(h->op, head, &r);
	if (head->has_length) {
		set_length(&r, head->length, &h->op->mem);
		stat_with_body(h, &r, h->fetch);
		return;
	}
	if (h->head_was_asked) {
		if (head->is_chunked)
			stat_with_body(h, &r, h->fetch);
		else
			fail_length(h);
		return;
	}
	fetch_pause(h->fetch);
	fetch_set_events(h->fetch, &waiting_events, h);
	h->waiting = h->fetch;
	h->waiting_is_chunked = head->is_chunked;
	h->waiting_response = r;
	h->head_was_asked = true;
	start_fetch(h, STAT_HEAD, "HEAD", NULL, NULL);
}

static void
stat_whole(struct http_op *h)
{
	drop_fetch(&h->fetch);
	start_fetch(h, STAT_WHOLE, "GET", NULL, NULL);
}

static void
stat_partial_answer(struct http_op *h, const struct h1 *head)
{
	struct source_op *op = h->op;
	struct content_range cr;
	struct source_response r;
	bool is_read = content_range_parse(h1_get(head, "content-range"), &cr) == 0;

	if (is_read && (cr.is_unsatisfied || cr.first != 0 || cr.last != 0)) {
		stat_whole(h);
		return;
	}
	response_of(op, head, &r);
	if (is_read && cr.has_total) {
		set_length(&r, cr.total, &op->mem);
		r.supports_range = true;
		h->waiting_response = r;
		h->step = STAT_DRAIN;
		return;
	}
	drop_fetch(&h->fetch);
	/* Ranges work, by the look of it, but how long the whole is only a HEAD may tell. */
	h->head_was_asked = true;
	r.supports_range = is_read;
	h->waiting_response = r;
	start_fetch(h, STAT_HEAD, "HEAD", NULL, NULL);
}

static void
stat_unsatisfied(struct http_op *h, const struct h1 *head)
{
	struct source_response r;
	struct content_range cr;

	if (content_range_parse(h1_get(head, "content-range"), &cr) != 0 || !cr.is_unsatisfied || cr.total != 0) {
		stat_whole(h);
		return;
	}
	response_of(h->op, head, &r);
	r.status = 200;
	set_length(&r, 0, &h->op->mem);
	drop_fetch(&h->fetch);
	stat_without_body(h, &r);
}

/* The HEAD has failed or knows no length: what the probe answered counts. */
static void
stat_without_head(struct http_op *h)
{
	if (h->waiting == NULL && !h->waiting_was_lost)
		stat_whole(h);
	else if (h->waiting_was_lost)
		fail_length(h);
	else if (h->waiting_is_chunked)
		stat_with_body(h, &h->waiting_response, h->waiting);
	else
		fail_length(h);
}

static void
stat_head_answer(struct http_op *h, const struct h1 *head)
{
	bool is_good = head->status / 100 == 2 && head->has_length;
	uint64_t length = head->length;
	struct source_response *r = &h->waiting_response;

	drop_fetch(&h->fetch);
	if (!is_good) {
		stat_without_head(h);
		return;
	}
	set_length(r, length, &h->op->mem);
	if (h->waiting != NULL)
		stat_with_body(h, r, h->waiting);
	else
		stat_without_body(h, r);
}

static void
stat_answer(struct http_op *h, const struct h1 *head)
{
	if (h->step == STAT_HEAD)
		stat_head_answer(h, head);
	else if (h->step == STAT_PROBE && head->status == 206)
		stat_partial_answer(h, head);
	else if (h->step == STAT_PROBE && head->status == 416)
		stat_unsatisfied(h, head);
	else if (head->status / 100 == 2 && head->status != 206)
		stat_whole_answer(h, head);
	else if (head->status == 206)
		fail_length(h);
	else
		fail_status(h, head);
}

/* ---- get ---- */

static void
fail_mismatch(struct http_op *h, const char *text)
{
	struct source_error e;

	source_error_set(&e, SOURCE_RANGE_MISMATCH, true, "%s", text);
	/* Never a 2xx on a failure: the origin is a bad gateway. */
	e.status = 502;
	source_op_fail(h->op, &e);
}

static void
fail_changed(struct http_op *h, const char *what)
{
	struct source_error e;
	char url[URL_REDACTED_MAX];

	source_error_set(&e, SOURCE_CHANGED, true, "source changed while it was downloaded: %s of %s", what,
	    url_redact_text(slice_str(h->op->url.text), url));
	e.status = 502;
	source_op_fail(h->op, &e);
}

/* What differs from the version that the task began with; NULL when nothing does. */
static const char *
what_changed(struct http_op *h, const struct source_response *r, bool has_total, uint64_t total)
{
	const struct source_validators *v = &h->op->r.validators;
	const struct source_validators *now = &r->validators;
	const char *tag = v->etag != NULL ? v->etag : "", *new_tag = now->etag != NULL ? now->etag : "";
	const char *encoding = v->content_encoding != NULL ? v->content_encoding : "";
	bool tags_decide = etag_is_strong(tag) && etag_is_strong(new_tag);
	bool is_known = v->has_length || v->etag != NULL || v->last_modified != NULL;

	if (tags_decide && strcmp(tag, new_tag) != 0)
		return "the ETag";
	if (v->has_length && has_total && total != v->length)
		return "the length";
	if (is_known && strcmp(encoding, now->content_encoding != NULL ? now->content_encoding : "") != 0)
		return "the Content-Encoding";
	if (v->last_modified != NULL && now->last_modified != NULL && strcmp(v->last_modified, now->last_modified) != 0
	    && !tags_decide) {
		char url[URL_REDACTED_MAX];

		log_info("origin answers with another Last-Modified url=%s", url_redact_text(slice_str(h->op->url.text), url));
	}
	return NULL;
}

/* The bytes that this answer should bring: first + got up to the end. */
static int
check_partial(struct http_op *h, const struct h1 *head, struct content_range *cr)
{
	struct slice value = h1_get(head, "content-range");
	uint64_t first = h->first + h->got, last = h->has_want ? h->first + h->want - 1 : UINT64_MAX;
	char asked[RANGE_TEXT_MAX], text[512];

	snprintf(asked, sizeof(asked), "bytes=%" PRIu64 "-%" PRIu64, first, last);
	if (value.p == NULL)
		snprintf(text, sizeof(text), "missing Content-Range for range %s", asked);
	else if (content_range_parse(value, cr) != 0 || cr->is_unsatisfied)
		snprintf(text, sizeof(text), "invalid Content-Range %.*s", value.n > 200 ? 200 : (int)value.n, (const char *)value.p);
	else if (cr->first != first || (h->has_want && cr->last != last))
		snprintf(text, sizeof(text), "Content-Range %.*s mismatches requested range %s", value.n > 200 ? 200 : (int)value.n,
		    (const char *)value.p, asked);
	else
		return 0;
	fail_mismatch(h, text);
	return -1;
}

/* A whole answer where a range was asked. */
static int
check_whole(struct http_op *h, const struct h1 *head, const struct source_response *r)
{
	uint64_t first = h->first + h->got;
	char text[256];

	if (h->etag != NULL && (r->validators.etag == NULL || strcmp(r->validators.etag, h->etag) != 0)) {
		fail_changed(h, "the ETag");
		return -1;
	}
	/* Going on with a whole answer is safe when it is known to be the same content: the part that we have is passed over. */
	if (h->step == GET_RESUMED && !h->op->r.has_range && h->etag != NULL) {
		h->skip = h->got;
		return 0;
	}
	if (first == 0)
		return 0;
	snprintf(text, sizeof(text), "expected 206 Partial Content for range %s, got %d %s", h->range, head->status,
	    h1_reason(head->status));
	fail_mismatch(h, text);
	return -1;
}

static void
get_answer(struct http_op *h, const struct h1 *head)
{
	struct source_op *op = h->op;
	struct content_range cr = {0};
	struct source_response r;
	const char *changed;
	bool asked_range = op->r.has_range || h->step == GET_RESUMED;

	if (head->status / 100 != 2) {
		fail_status(h, head);
		return;
	}
	if (!asked_range && head->status == 206) {
		fail_mismatch(h, "206 Partial Content although no range was asked for");
		return;
	}
	response_of(op, head, &r);
	if (asked_range && head->status == 206) {
		if (check_partial(h, head, &cr) != 0)
			return;
		changed = what_changed(h, &r, cr.has_total, cr.total);
	} else {
		if (asked_range && check_whole(h, head, &r) != 0)
			return;
		changed = what_changed(h, &r, head->has_length, head->length);
	}
	if (changed != NULL) {
		fail_changed(h, changed);
		return;
	}
	if (h->step == GET_RESUMED)
		return;
	if (h->etag == NULL && etag_is_strong(r.validators.etag))
		h->etag = r.validators.etag;
	if (!op->r.has_range && head->has_length) {
		h->has_want = true;
		h->want = head->length;
	}
	r.has_length = h->has_want;
	r.length = h->want;
	source_op_respond(op, &r);
}

/* A body that stopped early goes on from there, within the budget of retries. */
static bool
resume(struct http_op *h)
{
	struct source_op *op = h->op;

	if (op->retries_left == 0 || !h->has_want || h->got == h->want || h->step == STAT_KEPT)
		return false;
	/* Without a validator only a range that the origin answered as one is safe to put together. */
	if (!op->r.has_range && h->etag == NULL)
		return false;
	op->retries_left--;
	op->retries_done++;
	snprintf(h->range, sizeof(h->range), "bytes=%" PRIu64 "-%" PRIu64, h->first + h->got, h->first + h->want - 1);
	start_fetch(h, GET_RESUMED, "GET", h->range, h->etag);
	return true;
}

static void
body_broke(struct http_op *h, const struct source_error *cause)
{
	struct source_error e;

	h->fetch = NULL;
	if (resume(h)) {
		log_debug("origin's body broke off, going on at=%" PRIu64 " cause=\"%s\"", h->first + h->got, cause != NULL ? cause->message : "");
		return;
	}
	if (h->has_want)
		source_error_set(&e, SOURCE_LENGTH_MISMATCH, true, "expected length %" PRIu64 " but got %" PRIu64 "%s%s", h->want, h->got,
		    cause != NULL ? ": " : "", cause != NULL ? cause->message : "");
	else
		source_error_set(&e, cause != NULL ? cause->failure : SOURCE_CONNECT, true, "body broke off after %" PRIu64 " bytes%s%s", h->got,
		    cause != NULL ? ": " : "", cause != NULL ? cause->message : "");
	if (cause != NULL && cause->failure == SOURCE_TIMEOUT)
		e.failure = SOURCE_TIMEOUT;
	e.is_temporary = true;
	source_op_fail(h->op, &e);
}

/* ---- events of the fetches ---- */

static void
on_answer(void *ctx, const struct h1 *head)
{
	struct http_op *h = ctx;

	if (h->op->is_get)
		get_answer(h, head);
	else
		stat_answer(h, head);
}

static void
on_data(void *ctx, const void *p, size_t n)
{
	struct http_op *h = ctx;
	struct source_op *op = h->op;
	const uint8_t *from = p;

	if (h->step == STAT_DRAIN) {
		h->got += n;
		if (h->got > FETCH_DRAIN_MAX) {
			drop_fetch(&h->fetch);
			stat_without_body(h, &h->waiting_response);
		}
		return;
	}
	if (h->skip > 0) {
		size_t drop = h->skip < n ? (size_t)h->skip : n;

		h->skip -= drop;
		from += drop;
		n -= drop;
	}
	if (h->has_want && n > h->want - h->got)
		n = (size_t)(h->want - h->got);
	h->got += n;
	source_op_data(op, from, n);
	if (!SOURCE_OP_LIVES(op) || !h->has_want || h->got < h->want || op->is_paused)
		return;
	/* All that was asked for; what the origin sends beyond it is not read. */
	drop_fetch(&h->fetch);
	source_op_end(op);
}

static void
on_end(void *ctx)
{
	struct http_op *h = ctx;

	h->fetch = NULL;
	if (h->step == STAT_DRAIN)
		stat_without_body(h, &h->waiting_response);
	else if (h->has_want && h->got < h->want)
		body_broke(h, NULL);
	else
		source_op_end(h->op);
}

static void
on_error(void *ctx, const struct source_error *e)
{
	struct http_op *h = ctx;

	h->fetch = NULL;
	if (h->step == STAT_HEAD) {
		stat_without_head(h);
	} else if (h->step == STAT_DRAIN) {
		/* The answer was there; only the connection is lost. */
		stat_without_body(h, &h->waiting_response);
	} else if (h->op->has_responded && (e->is_temporary || e->failure == SOURCE_PROTOCOL)) {
		body_broke(h, e);
	} else {
		source_op_fail(h->op, e);
	}
}

/* Paused: no data and no end can come of it. */
static void
on_waiting_error(void *ctx, const struct source_error *e)
{
	struct http_op *h = ctx;

	(void)e;
	h->waiting = NULL;
	h->waiting_was_lost = true;
}

static const struct fetch_events waiting_events = {.on_answer = on_answer, .on_data = on_data, .on_end = on_end, .on_error = on_waiting_error};
static const struct fetch_events fetch_events = {.on_answer = on_answer, .on_data = on_data, .on_end = on_end, .on_error = on_error};

/* ---- the table ---- */

static void
http_start(struct source_op *op)
{
	struct http_op *h = arena_alloc(&op->mem, sizeof(*h));
	struct source_error e;
	struct err why;

	if (h == NULL) {
		source_error_set(&e, SOURCE_BAD_ARGUMENT, false, "invalid parameter: the request is too large");
		source_op_fail(op, &e);
		return;
	}
	h->op = op;
	op->impl = h;
	if (fields_build(&h->fields, &op->r.headers, &op->url, &op->source->cfg, !op->is_get, &op->mem, &why) != 0) {
		source_error_set(&e, SOURCE_BAD_ARGUMENT, false, "invalid parameter: %s", why.text);
		source_op_fail(op, &e);
		return;
	}
	if (!op->is_get) {
		start_fetch(h, STAT_PROBE, "GET", "bytes=0-0", NULL);
		return;
	}
	h->etag = etag_is_strong(op->r.validators.etag) ? op->r.validators.etag : NULL;
	if (!op->r.has_range) {
		start_fetch(h, GET_FIRST, "GET", NULL, NULL);
		return;
	}
	h->first = op->r.range_start;
	h->has_want = true;
	h->want = op->r.range_length;
	snprintf(h->range, sizeof(h->range), "bytes=%" PRIu64 "-%" PRIu64, h->first, h->first + h->want - 1);
	start_fetch(h, GET_FIRST, "GET", h->range, h->etag);
}

static void
http_pause_changed(struct source_op *op)
{
	struct http_op *h = op->impl;

	if (h->fetch == NULL || h->step == STAT_PROBE || h->step == STAT_HEAD || h->step == STAT_DRAIN || h->step == STAT_WHOLE)
		return;
	if (op->is_paused)
		fetch_pause(h->fetch);
	else
		fetch_resume(h->fetch);
}

static void
http_stop(struct source_op *op)
{
	struct http_op *h = op->impl;

	if (h->fetch != NULL)
		fetch_cancel(h->fetch);
	if (h->waiting != NULL)
		fetch_cancel(h->waiting);
	h->fetch = h->waiting = NULL;
	op->impl = NULL;
}

const struct source_scheme source_http = {"http", http_start, http_pause_changed, http_stop};
const struct source_scheme source_https = {"https", http_start, http_pause_changed, http_stop};
