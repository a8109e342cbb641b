#include "source/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "source/fields.h"
#include "source/scheme.h"

struct fetch {
	struct source_op *op;           /* NULL once it is over */
	struct loop *loop;
	struct fetch_request r;
	struct fetch_events ev;
	void *ctx;
	struct url url;                 /* of the present hop */
	struct http_call *call;
	char *cache_key;
	char *seen[FETCH_HOPS_MAX + 1]; /* URLs of this attempt */
	unsigned hops;
	bool is_stripped;               /* credentials stay behind until the end of this attempt */
	bool is_cached;                 /* the present hop is a kept 307 target */
	bool cache_is_stale;            /* a kept target did not work: the original URL is asked */
	bool has_answered, is_paused;
	int64_t attempt_end_ms;
	struct loop_timer retry_timer;
	struct loop_later later;
};

static void start_attempt(struct fetch *f);
static void send_hop(struct fetch *f);

/* ---- the end ---- */

static void
free_later(struct loop_later *later)
{
	struct fetch *f = CONTAINER_OF(later, struct fetch, later);

	url_free(&f->url);
	for (size_t i = 0; i < COUNT_OF(f->seen); i++)
		free(f->seen[i]);
	free(f->cache_key);
	free(f);
}

static void
finish(struct fetch *f)
{
	f->op = NULL;
	loop_timer_clear(f->loop, &f->retry_timer);
	loop_defer_clear(&f->later);
	loop_defer(f->loop, &f->later, free_later);
}

void
fetch_cancel(struct fetch *f)
{
	if (f->call != NULL)
		http_call_cancel(f->call);
	f->call = NULL;
	finish(f);
}

void
fetch_discard(struct fetch *f)
{
	if (f->call != NULL)
		http_call_discard(f->call, FETCH_DRAIN_MAX);
	f->call = NULL;
	finish(f);
}

static void
fail(struct fetch *f, const struct source_error *e)
{
	finish(f);
	f->ev.on_error(f->ctx, e);
}

static const char *
redacted(const struct fetch *f, char out[URL_REDACTED_MAX])
{
	return url_redact_text(slice_str(f->url.text), out);
}

/* ---- another attempt ---- */

static void
on_retry_timer(void *ctx)
{
	start_attempt(ctx);
}

/* Waits and tries again; false when there is no attempt or no time left. retry_after_ms: what the server asked for, or 0. */
static bool
retry(struct fetch *f, int64_t retry_after_ms)
{
	struct source_op *op = f->op;
	int64_t cap = op->source->cfg.retry_base_ms, wait;

	if (op->retries_left == 0)
		return false;
	for (unsigned i = 0; i < op->retries_done && cap < FETCH_WAIT_MAX_MS; i++)
		cap *= 2;
	if (cap > FETCH_WAIT_MAX_MS)
		cap = FETCH_WAIT_MAX_MS;
	wait = (int64_t)rand_below((uint64_t)cap + 1);
	if (wait < retry_after_ms)
		wait = retry_after_ms;
	if (op->r.deadline_ms > 0 && clock_mono_ms() + wait >= op->r.deadline_ms)
		return false;
	op->retries_left--;
	op->retries_done++;
	loop_timer_set(f->loop, &f->retry_timer, wait, on_retry_timer, f);
	return true;
}

static int64_t
retry_after(const struct h1 *head)
{
	struct slice v = h1_get(head, "retry-after");
	uint64_t s;
	int64_t at, ms;

	if (slice_to_u64(v, &s) == 0)
		ms = s < FETCH_RETRY_AFTER_MAX_MS / 1000 ? (int64_t)s * 1000 : FETCH_RETRY_AFTER_MAX_MS;
	else if (h1_parse_date(v, &at) == 0)
		ms = at * 1000 - clock_wall_ms();
	else
		return 0;
	return ms < 0 ? 0 : ms > FETCH_RETRY_AFTER_MAX_MS ? FETCH_RETRY_AFTER_MAX_MS : ms;
}

static bool
is_temporary_status(int status)
{
	return status / 100 == 5 || status == 408 || status == 429;
}

/* ---- redirects ---- */

/* SHA-256 over the URL and whatever decides what the origin answers to whom. */
static char *
make_cache_key(const struct fetch *f)
{
	struct digest d;
	char hex[DIGEST_HEX_MAX];
	static const char *const names[] = {"authorization", "cookie"};

	digest_init(&d, DIGEST_SHA256);
	digest_update(&d, f->op->url.text, strlen(f->op->url.text) + 1);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		const char *v = fields_get(f->r.fields, names[i]);

		digest_update(&d, v != NULL ? v : "", v != NULL ? strlen(v) + 1 : 1);
	}
	digest_final_hex(&d, hex);
	return xstrdup(hex);
}

static bool
same_host_and_port(const struct url *a, const struct url *b)
{
	return slice_eq(a->host, b->host) && url_port(a) == url_port(b);
}

/* Steps from the present URL to the next one, and says whether credentials may go along. */
static void
move_to(struct fetch *f, struct url *next)
{
	bool is_downgrade = slice_eq_str(f->url.scheme, "https") && !slice_eq_str(next->scheme, "https");

	if (!same_host_and_port(&f->url, next) || is_downgrade)
		f->is_stripped = true;
	url_free(&f->url);
	f->url = *next;
}

static bool
was_seen(const struct fetch *f, const char *text)
{
	for (size_t i = 0; i < COUNT_OF(f->seen) && f->seen[i] != NULL; i++)
		if (strcmp(f->seen[i], text) == 0)
			return true;
	return false;
}

static bool
is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void
refuse_redirect(struct fetch *f, const char *why)
{
	struct source_error e;
	char url[URL_REDACTED_MAX];

	source_error_set(&e, SOURCE_REDIRECT, true, "error following redirect for url (%s): %s", redacted(f, url), why);
	if (f->call != NULL)
		http_call_cancel(f->call);
	f->call = NULL;
	fail(f, &e);
}

/* A 307 with an absolute target is kept, unless a redirect before it or the configuration says otherwise. */
static void
keep_redirect(struct fetch *f, const struct h1 *head, struct slice location)
{
	struct source *s = f->op->source;
	struct slice cache_control = h1_get(head, "cache-control");
	struct url u;
	bool is_absolute;
	int64_t ttl;

	if (f->cache_key == NULL || f->is_cached || head->status != 307)
		return;
	is_absolute = url_parse(&u, location, NULL) == 0 && u.host.n > 0;
	if (is_absolute) {
		ttl = redirect_cache_ttl_ms(location, cache_control, s->cfg.redirect_cache_ttl_ms, clock_wall_ms() / 1000);
		redirect_cache_put(&s->redirects, f->cache_key, location, clock_mono_ms(), ttl);
		url_free(&u);
	}
	free(f->cache_key);
	f->cache_key = NULL;
}

/* True when the answer sent us elsewhere (or the fetch has failed over it); false: it is the final one. */
static bool
follow(struct fetch *f, const struct h1 *head)
{
	struct slice location = h1_get(head, "location");
	struct url next;

	if (!is_redirect(head->status) || location.n == 0 || url_join(&next, &f->url, location, NULL) != 0)
		return false;
	if (!slice_eq_str(next.scheme, "http") && !slice_eq_str(next.scheme, "https")) {
		url_free(&next);
		refuse_redirect(f, "the target is neither http nor https");
		return true;
	}
	if (f->hops == FETCH_HOPS_MAX || was_seen(f, next.text)) {
		bool is_loop = f->hops < FETCH_HOPS_MAX;

		url_free(&next);
		refuse_redirect(f, is_loop ? "it leads back to itself" : "too many redirects");
		return true;
	}
	keep_redirect(f, head, location);
	http_call_discard(f->call, FETCH_DRAIN_MAX);
	f->call = NULL;
	move_to(f, &next);
	f->hops++;
	send_hop(f);
	return true;
}

/* A kept target that has expired: once more from the start, by the original URL. */
static bool
leave_stale_target(struct fetch *f)
{
	if (!f->is_cached)
		return false;
	redirect_cache_drop(&f->op->source->redirects, f->cache_key);
	f->cache_is_stale = true;
	if (f->call != NULL)
		http_call_discard(f->call, FETCH_DRAIN_MAX);
	f->call = NULL;
	start_attempt(f);
	return true;
}

/* ---- one exchange ---- */

static void
on_head(void *ctx, const struct h1 *head)
{
	struct fetch *f = ctx;
	int st = head->status;

	if (f->hops == 0 && (st == 401 || st == 403 || st == 404 || st == 410) && leave_stale_target(f))
		return;
	if (follow(f, head))
		return;
	if (is_temporary_status(st) && retry(f, retry_after(head))) {
		char url[URL_REDACTED_MAX];

		log_debug("origin answered, trying again url=%s status=%d", redacted(f, url), st);
		http_call_discard(f->call, FETCH_DRAIN_MAX);
		f->call = NULL;
		return;
	}
	f->has_answered = true;
	if (f->is_paused)
		http_call_pause(f->call);
	f->ev.on_answer(f->ctx, head);
}

static void
on_data(void *ctx, const void *p, size_t n)
{
	struct fetch *f = ctx;

	f->ev.on_data(f->ctx, p, n);
}

static void
on_end(void *ctx, const struct h1 *head)
{
	struct fetch *f = ctx;

	(void)head;
	f->call = NULL;
	finish(f);
	f->ev.on_end(f->ctx);
}

static enum source_failure
failure_of(enum http_failure f)
{
	static const enum source_failure map[] = {
		[HTTP_BAD_REQUEST] = SOURCE_BAD_ARGUMENT, [HTTP_NO_NAME] = SOURCE_DNS, [HTTP_NO_CONNECT] = SOURCE_CONNECT,
		[HTTP_NO_TLS] = SOURCE_TLS, [HTTP_NO_PROXY] = SOURCE_PROXY, [HTTP_TIMED_OUT] = SOURCE_TIMEOUT,
		[HTTP_BROKEN] = SOURCE_CONNECT, [HTTP_PROTOCOL] = SOURCE_PROTOCOL, [HTTP_NOT_ALLOWED] = SOURCE_NOT_ALLOWED,
	};

	return map[f];
}

/* Certificates, names that do not exist and refusals stay what they are; the rest may go better next time. */
static bool
is_temporary(enum http_failure f, const struct err *e)
{
	switch (f) {
	case HTTP_NO_CONNECT:
	case HTTP_TIMED_OUT:
	case HTTP_BROKEN:
		return true;
	case HTTP_NO_TLS:
	case HTTP_NO_NAME:
	case HTTP_NO_PROXY:
		return e->code == ERR_UNAVAILABLE || e->code == ERR_DEADLINE_EXCEEDED;
	default:
		return false;
	}
}

static void
on_error(void *ctx, enum http_failure hf, const struct err *why)
{
	struct fetch *f = ctx;
	struct source_op *op = f->op;
	char url[URL_REDACTED_MAX];
	struct source_error e;
	bool temporary = is_temporary(hf, why);

	f->call = NULL;
	if (!f->has_answered && f->hops == 0 && (hf == HTTP_NO_CONNECT || hf == HTTP_NO_TLS || hf == HTTP_NO_NAME) && leave_stale_target(f))
		return;
	if (!f->has_answered && temporary && retry(f, 0)) {
		log_debug("origin not reached, trying again url=%s cause=\"%s\"", redacted(f, url), why->text);
		return;
	}
	if (hf == HTTP_NOT_ALLOWED) {
		/* Not the origin's doing: told as it is. */
		source_error_set(&e, failure_of(hf), false, "origin %s is not for callers from the network (x.upload.origins): %s",
		    redacted(f, url), why->text);
		e.err.code = ERR_PERMISSION_DENIED;
	} else if (f->has_answered) {
		source_error_set(&e, failure_of(hf), true, "%s", why->text);
	} else if (op->retries_done > 0) {
		source_error_set(&e, failure_of(hf), true, "Request failed after %u %s: error sending request for url (%s): %s",
		    op->retries_done, op->retries_done == 1 ? "retry" : "retries", redacted(f, url), why->text);
	} else {
		source_error_set(&e, failure_of(hf), true, "error sending request for url (%s): %s%s", redacted(f, url), why->text,
		    hf == HTTP_NO_TLS && !temporary
		    ? " (a CA can be given with the request; backend.insecureSkipVerify, or dfget --insecure for one request, turns the check off)" : "");
	}
	e.is_temporary = temporary;
	fail(f, &e);
}

static const struct http_events call_events = {.on_head = on_head, .on_data = on_data, .on_end = on_end, .on_error = on_error};

/* The header of this hop: without credentials once they were left behind. */
static size_t
hop_fields(const struct fetch *f, struct h1_field out[FIELDS_MAX + 3], struct buf *basic)
{
	bool has_auth = false;
	size_t n = 0;

	for (size_t i = 0; i < f->r.fields->count; i++) {
		const struct field *x = &f->r.fields->at[i];

		if (x->is_credential && f->is_stripped)
			continue;
		if (slice_ieq_str(slice_str(x->name), "authorization"))
			has_auth = true;
		out[n++] = (struct h1_field){slice_str(x->name), slice_str(x->value)};
	}
	/* A redirect may bring a user and password of its own. */
	if (!has_auth && url_basic_auth(&f->url, basic, NULL) > 0)
		out[n++] = (struct h1_field){slice_str("Authorization"), buf_slice(basic)};
	if (f->r.range != NULL)
		out[n++] = (struct h1_field){slice_str("Range"), slice_str(f->r.range)};
	if (f->r.if_range != NULL)
		out[n++] = (struct h1_field){slice_str("If-Range"), slice_str(f->r.if_range)};
	return n;
}

static int64_t
time_left(const struct fetch *f)
{
	int64_t end = f->attempt_end_ms, now = clock_mono_ms();

	if (f->op->r.deadline_ms > 0 && f->op->r.deadline_ms < end)
		end = f->op->r.deadline_ms;
	return end > now ? end - now : 1;
}

static void
fail_before_sending(struct fetch *f, enum source_failure failure, const struct err *why)
{
	struct source_error e;
	char url[URL_REDACTED_MAX];

	source_error_set(&e, failure, true, "error sending request for url (%s): %s", redacted(f, url), why->text);
	fail(f, &e);
}

static void
send_hop(struct fetch *f)
{
	struct source *s = f->op->source;
	struct h1_field fields[FIELDS_MAX + 3];
	struct buf target = BUF_INIT, basic = BUF_INIT;
	struct http_request r = {0};
	struct err e;
	char *host = slice_dup(url_hostname(&f->url));

	f->seen[f->hops] = xstrdup(f->url.text);
	r.method = f->r.method;
	r.host = host;
	r.port = (uint16_t)url_port(&f->url);
	r.rules = f->op->r.is_guarded ? &s->cfg.guarded_rules : NULL;
	r.connect_ms = (int)s->cfg.connect_timeout_ms;
	r.idle_ms = (int)s->cfg.idle_timeout_ms;
	r.total_ms = time_left(f);
	r.fields = fields;
	r.field_count = hop_fields(f, fields, &basic);
	if (slice_eq_str(f->url.scheme, "https") && (r.tls = source_op_tls(f->op, &e)) == NULL) {
		fail_before_sending(f, SOURCE_TLS, &e);
		goto out;
	}
	if (url_request_target(&f->url, &target, &e) != 0) {
		fail_before_sending(f, SOURCE_BAD_ARGUMENT, &e);
		goto out;
	}
	r.target = buf_slice(&target);
	f->call = http_call_start(s->client, &r, &call_events, f);
out:
	buf_free(&target);
	buf_free(&basic);
	free(host);
}

static int
set_url(struct fetch *f, const char *text)
{
	struct url next;

	if (url_parse(&next, slice_str(text), NULL) != 0)
		return -1;
	url_free(&f->url);
	f->url = next;
	return 0;
}

static void
start_attempt(struct fetch *f)
{
	struct source_op *op = f->op;
	struct source *s = op->source;
	const char *kept = NULL;
	struct url target;

	for (size_t i = 0; i < COUNT_OF(f->seen); i++) {
		free(f->seen[i]);
		f->seen[i] = NULL;
	}
	free(f->cache_key);
	f->cache_key = NULL;
	f->hops = 0;
	f->is_stripped = f->is_cached = false;
	f->attempt_end_ms = clock_mono_ms() + op->r.timeout_ms;
	set_url(f, op->url.text);
	if (f->r.use_redirect_cache && s->cfg.redirect_cache_on) {
		f->cache_key = make_cache_key(f);
		if (!f->cache_is_stale)
			kept = redirect_cache_get(&s->redirects, f->cache_key, clock_mono_ms());
	}
	if (kept != NULL && url_parse(&target, slice_str(kept), NULL) == 0) {
		f->is_cached = true;
		move_to(f, &target);
	}
	send_hop(f);
}

static void
start_later(struct loop_later *later)
{
	start_attempt(CONTAINER_OF(later, struct fetch, later));
}

struct fetch *
fetch_start(struct source_op *op, const struct fetch_request *r, const struct fetch_events *ev, void *ctx)
{
	struct fetch *f = xcalloc(1, sizeof(*f));

	f->op = op;
	f->loop = op->loop;
	f->r = *r;
	f->ev = *ev;
	f->ctx = ctx;
	loop_defer(f->loop, &f->later, start_later);
	return f;
}

void
fetch_set_events(struct fetch *f, const struct fetch_events *ev, void *ctx)
{
	f->ev = *ev;
	f->ctx = ctx;
}

void
fetch_pause(struct fetch *f)
{
	f->is_paused = true;
	if (f->call != NULL && f->has_answered)
		http_call_pause(f->call);
}

void
fetch_resume(struct fetch *f)
{
	f->is_paused = false;
	if (f->call != NULL && f->has_answered)
		http_call_resume(f->call);
}

const char *
fetch_peer_text(const struct fetch *f)
{
	return f->call != NULL ? http_call_peer_text(f->call) : "origin";
}
