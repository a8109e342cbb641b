#include "source/source.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "net/dns.h"
#include "net/tls.h"
#include "source/scheme.h"
#include "wire/h1.h"

/* A request's copy: URL, headers, certificates. */
#define OP_BYTES_MAX (1024 * 1024)
/* The system's certificates are looked at again after so long; only a changed file is read. */
#define SYSTEM_TLS_CHECK_MS (60 * 1000)

static const char *const alpn[] = {"http/1.1", NULL};
static const struct source_scheme *const schemes[] = {&source_http, &source_https};

void
source_config_init(struct source_config *c)
{
	memset(c, 0, sizeof(*c));
	c->user_agent = "dragonfly/" DRAGONFLY_VERSION;
	c->max_retries = 1;
	c->redirect_cache_on = true;
	c->redirect_cache_ttl_ms = 600 * 1000;
}

static struct source_headers
copy_headers(struct arena *mem, struct source_headers h)
{
	struct source_header *at = arena_alloc(mem, (h.count + 1) * sizeof(*at));

	if (at == NULL)
		return (struct source_headers){0};
	for (size_t i = 0; i < h.count; i++) {
		at[i].name = arena_strdup(mem, h.at[i].name);
		at[i].value = arena_strdup(mem, h.at[i].value);
		if (at[i].name == NULL || at[i].value == NULL)
			return (struct source_headers){0};
	}
	return (struct source_headers){at, h.count};
}

static struct tls_config *
trust_system(struct source *s, struct err *e)
{
	struct tls_client_opts t = {
		.system_roots = true, .ca_file = s->cfg.ca_files[0], .more_ca_file = s->cfg.ca_files[1], .alpn = alpn};
	int64_t now = clock_mono_ms();

	if (s->system_tls == NULL) {
		s->system_tls = tls_client_new(&t, e);
		s->system_tls_checked_ms = now;
	} else if (now - s->system_tls_checked_ms > SYSTEM_TLS_CHECK_MS) {
		s->system_tls_checked_ms = now;
		tls_config_refresh(&s->system_tls, NULL);
	}
	return s->system_tls;
}

struct source *
source_new(struct loop *l, const struct source_config *cfg, struct err *e)
{
	struct source *s = xcalloc(1, sizeof(*s));
	struct http_client_opts http = {0};

	arena_init(&s->mem, 0);
	s->loop = l;
	s->cfg = *cfg;
	s->cfg.user_agent = arena_strdup(&s->mem, cfg->user_agent);
	s->cfg.request_headers = copy_headers(&s->mem, cfg->request_headers);
	if (s->cfg.connect_timeout_ms <= 0)
		s->cfg.connect_timeout_ms = SOURCE_CONNECT_TIMEOUT_MS;
	if (s->cfg.idle_timeout_ms <= 0)
		s->cfg.idle_timeout_ms = SOURCE_IDLE_TIMEOUT_MS;
	if (s->cfg.retry_base_ms <= 0)
		s->cfg.retry_base_ms = SOURCE_RETRY_BASE_MS;
	redirect_cache_init(&s->redirects);
	for (size_t i = 0; i < COUNT_OF(cfg->ca_files); i++)
		s->cfg.ca_files[i] = cfg->ca_files[i] != NULL ? arena_strdup(&s->mem, cfg->ca_files[i]) : NULL;
	list_init(&s->ops);
	if (http_proxies_read(&s->proxies, getenv, e) != 0)
		goto fail;
	/* The system's roots are looked for when first needed; a file that somebody named must be there. */
	if ((cfg->ca_files[0] != NULL || cfg->ca_files[1] != NULL) && trust_system(s, e) == NULL)
		goto fail;
	if (s->proxies.http.host != NULL && s->proxies.http.is_tls) {
		struct tls_client_opts t = {.system_roots = true, .alpn = alpn};

		http.proxy_tls = tls_client_new(&t, e);
		if (http.proxy_tls == NULL) {
			err_wrap(e, "http_proxy");
			goto fail;
		}
	}
	s->dns = dns_new(l, &(struct dns_opts){0});
	http.dns = s->dns;
	http.proxies = &s->proxies;
	s->client = http_client_new(l, &http);
	if (http.proxy_tls != NULL)
		tls_config_unref(http.proxy_tls);
	return s;
fail:
	source_free(s);
	return NULL;
}

/* Takes the op off the source; its memory lives until the loop's present callback is over. */
static void
op_free(struct loop_later *later)
{
	struct source_op *op = CONTAINER_OF(later, struct source_op, later);

	if (op->tls != NULL)
		tls_config_unref(op->tls);
	url_free(&op->url);
	arena_free(&op->mem);
	free(op);
}

static void
op_finish(struct source_op *op)
{
	list_del(&op->in_source);
	if (op->scheme != NULL && op->impl != NULL)
		op->scheme->stop(op);
	op->source = NULL;
	loop_defer_clear(&op->later);
	loop_defer(op->loop, &op->later, op_free);
}

void
source_free(struct source *s)
{
	if (s == NULL)
		return;
	while (!list_is_empty(&s->ops))
		op_finish(CONTAINER_OF(s->ops.next, struct source_op, in_source));
	http_client_free(s->client);
	if (s->dns != NULL)
		dns_free(s->dns);
	http_proxies_free(&s->proxies);
	redirect_cache_free(&s->redirects);
	if (s->system_tls != NULL)
		tls_config_unref(s->system_tls);
	if (s->insecure_tls != NULL)
		tls_config_unref(s->insecure_tls);
	for (size_t i = 0; i < SOURCE_TRUST_MAX; i++)
		if (s->trust[i].tls != NULL)
			tls_config_unref(s->trust[i].tls);
	arena_free(&s->mem);
	free(s);
}

static const struct source_scheme *
find_scheme(struct slice name)
{
	for (size_t i = 0; i < COUNT_OF(schemes); i++)
		if (slice_ieq_str(name, schemes[i]->name))
			return schemes[i];
	return NULL;
}

bool
source_supports(const char *url)
{
	struct slice s = slice_trim(slice_str(url));
	ptrdiff_t colon = slice_find(s, ':');

	return colon > 0 && find_scheme(slice_sub(s, 0, (size_t)colon)) != NULL;
}

/* ---- ops ---- */

static void
op_begin(struct loop_later *later)
{
	struct source_op *op = CONTAINER_OF(later, struct source_op, later);
	struct source_observer *ob = &op->source->cfg.observer;
	struct source_error e;
	struct err why;

	if (op->r.url == NULL) {
		source_error_set(&e, SOURCE_BAD_ARGUMENT, false, "invalid parameter: the request is larger than %d bytes", OP_BYTES_MAX);
		source_op_fail(op, &e);
		return;
	}
	if (url_parse(&op->url, slice_str(op->r.url), &why) != 0) {
		source_error_set(&e, SOURCE_BAD_ARGUMENT, false, "ParseError cause: %s", why.text);
		source_op_fail(op, &e);
		return;
	}
	op->scheme = find_scheme(op->url.scheme);
	if (op->scheme == NULL) {
		source_error_set(&e, SOURCE_UNSUPPORTED_SCHEME, false, "invalid parameter: no source speaks %.*s",
		    SLICE_ARG(op->url.scheme));
		source_op_fail(op, &e);
		return;
	}
	if (op->r.has_range && (op->r.range_length == 0 || op->r.range_length > INT64_MAX || op->r.range_start > INT64_MAX)) {
		source_error_set(&e, SOURCE_BAD_ARGUMENT, false, "invalid parameter: empty or too large range");
		source_op_fail(op, &e);
		return;
	}
	if (ob->on_start != NULL)
		ob->on_start(ob->ctx, op->scheme->name, op->is_get ? "GET" : "HEAD");
	op->scheme->start(op);
}

static const char *
copy_text(struct arena *mem, const char *s)
{
	return s != NULL ? arena_strdup(mem, s) : NULL;
}

static int
copy_request(struct source_op *op, const struct source_request *r)
{
	struct slice *certs = arena_alloc(&op->mem, (r->ca_cert_count + 1) * sizeof(*certs));

	op->r = *r;
	op->r.url = arena_strdup(&op->mem, r->url);
	op->r.headers = copy_headers(&op->mem, r->headers);
	op->r.validators.etag = copy_text(&op->mem, r->validators.etag);
	op->r.validators.last_modified = copy_text(&op->mem, r->validators.last_modified);
	op->r.validators.content_encoding = copy_text(&op->mem, r->validators.content_encoding);
	op->r.ca_certs = certs;
	for (size_t i = 0; certs != NULL && i < r->ca_cert_count; i++) {
		certs[i].p = arena_copy(&op->mem, r->ca_certs[i].p, r->ca_certs[i].n);
		certs[i].n = r->ca_certs[i].n;
		if (certs[i].p == NULL)
			return -1;
	}
	return certs == NULL || (r->headers.count > 0 && op->r.headers.count == 0) ? -1 : 0;
}

static struct source_op *
op_new(struct source *s, const struct source_request *r, const struct source_events *ev, void *ctx, bool is_get)
{
	struct source_op *op = xcalloc(1, sizeof(*op));

	op->source = s;
	op->loop = s->loop;
	op->is_get = is_get;
	op->ev = *ev;
	op->ctx = ctx;
	op->started_ms = clock_mono_ms();
	op->retries_left = s->cfg.max_retries;
	arena_init(&op->mem, OP_BYTES_MAX);
	if (copy_request(op, r) != 0)
		op->r.url = NULL;
	if (op->r.timeout_ms <= 0)
		op->r.timeout_ms = SOURCE_TIMEOUT_MS;
	list_add_tail(&s->ops, &op->in_source);
	loop_defer(s->loop, &op->later, op_begin);
	return op;
}

struct source_op *
source_stat(struct source *s, const struct source_request *r, const struct source_events *ev, void *ctx)
{
	return op_new(s, r, ev, ctx, false);
}

struct source_op *
source_get(struct source *s, const struct source_request *r, const struct source_events *ev, void *ctx)
{
	return op_new(s, r, ev, ctx, true);
}

void
source_keep_body(struct source_op *op)
{
	op->keeps_body = true;
	op->is_paused = true;
}

static void
set_paused(struct source_op *op, bool is_paused)
{
	if (op->is_paused == is_paused)
		return;
	op->is_paused = is_paused;
	if (op->impl != NULL)
		op->scheme->pause_changed(op);
}

void
source_pause(struct source_op *op)
{
	set_paused(op, true);
}

void
source_resume(struct source_op *op)
{
	set_paused(op, false);
}

void
source_cancel(struct source_op *op)
{
	op_finish(op);
}

/* ---- reports of the schemes ---- */

void
source_op_respond(struct source_op *op, const struct source_response *r)
{
	struct source_observer *ob = &op->source->cfg.observer;

	op->has_responded = true;
	if (ob->on_success != NULL)
		ob->on_success(ob->ctx, op->scheme->name, op->is_get ? "GET" : "HEAD", clock_mono_ms() - op->started_ms);
	op->ev.on_response(op->ctx, r);
}

void
source_op_data(struct source_op *op, const void *p, size_t n)
{
	if (n > 0)
		op->ev.on_data(op->ctx, p, n);
}

void
source_op_end(struct source_op *op)
{
	op_finish(op);
	op->ev.on_end(op->ctx);
}

void
source_op_fail(struct source_op *op, const struct source_error *e)
{
	struct source_observer *ob = &op->source->cfg.observer;

	if (op->scheme != NULL && !op->has_responded && ob->on_failure != NULL)
		ob->on_failure(ob->ctx, op->scheme->name, op->is_get ? "GET" : "HEAD");
	op_finish(op);
	op->ev.on_error(op->ctx, e);
}

/* ---- errors ---- */

void
source_error_set(struct source_error *e, enum source_failure f, bool is_backend, const char *fmt, ...)
{
	static const char prefix[] = "backend error: ";
	size_t n = is_backend ? sizeof(prefix) - 1 : 0;
	va_list ap;

	memset(e, 0, sizeof(*e));
	e->failure = f;
	e->is_backend = is_backend;
	e->err.code = ERR_INTERNAL;
	memcpy(e->err.text, prefix, n);
	va_start(ap, fmt);
	vsnprintf(e->err.text + n, sizeof(e->err.text) - n, fmt, ap);
	va_end(ap);
	e->message = e->err.text + n;
}

void
source_error_status(struct source_error *e, int status, struct source_headers headers)
{
	enum source_failure f = SOURCE_HTTP_STATUS;

	if (status == 404 || status == 410)
		f = SOURCE_NOT_FOUND;
	else if (status == 401 || status == 403)
		f = SOURCE_PERMISSION;
	else if (status == 429)
		f = SOURCE_RATE_LIMITED;
	source_error_set(e, f, true, "%d %s", status, h1_reason(status));
	e->status = status;
	e->headers = headers;
	e->is_temporary = status / 100 == 5 || status == 408 || status == 429;
}

/* ---- whom to trust (backends.md 2.6) ---- */

static struct tls_config *
trust_of_request(struct source *s, const struct source_request *r, struct err *e)
{
	struct tls_client_opts t = {.ca_ders = r->ca_certs, .ca_der_count = r->ca_cert_count, .alpn = alpn};
	char key[DIGEST_HEX_MAX];
	struct source_trust *place;
	struct tls_config *tls;
	struct digest d;

	digest_init(&d, DIGEST_SHA256);
	for (size_t i = 0; i < r->ca_cert_count; i++) {
		digest_update(&d, &r->ca_certs[i].n, sizeof(r->ca_certs[i].n));
		digest_update(&d, r->ca_certs[i].p, r->ca_certs[i].n);
	}
	digest_final_hex(&d, key);
	for (size_t i = 0; i < SOURCE_TRUST_MAX; i++)
		if (s->trust[i].tls != NULL && strcmp(s->trust[i].key, key) == 0)
			return s->trust[i].tls;
	tls = tls_client_new(&t, e);
	if (tls == NULL)
		return NULL;
	place = &s->trust[s->trust_next++ % SOURCE_TRUST_MAX];
	if (place->tls != NULL)
		tls_config_unref(place->tls);
	place->tls = tls;
	snprintf(place->key, sizeof(place->key), "%s", key);
	return tls;
}

static struct tls_config *
trust_anybody(struct source *s, struct err *e)
{
	struct tls_client_opts t = {.insecure = true, .alpn = alpn};

	if (s->insecure_tls == NULL)
		s->insecure_tls = tls_client_new(&t, e);
	return s->insecure_tls;
}

struct tls_config *
source_op_tls(struct source_op *op, struct err *e)
{
	struct source *s = op->source;
	struct tls_config *tls;

	if (op->tls != NULL)
		return op->tls;
	if (op->r.insecure_skip_verify || s->cfg.insecure_skip_verify)
		tls = trust_anybody(s, e);
	else if (op->r.ca_cert_count > 0)
		tls = trust_of_request(s, &op->r, e);
	else
		tls = trust_system(s, e);
	if (tls != NULL)
		op->tls = tls_config_ref(tls);
	return tls;
}
