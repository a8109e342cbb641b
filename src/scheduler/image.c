#include "scheduler/image.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "net/tls.h"
#include "scheduler/manifest.h"
#include "text/encode.h"
#include "text/json.h"
#include "text/registry_url.h"
#include "text/url.h"
#include "wire/h1.h"
#include "wire/pb.h"

#define PING_MS 15000
#define REQUEST_MS 60000
#define ANSWER_MAX (4u * 1024 * 1024)
#define ARENA_BYTES (64u * 1024 * 1024)
#define REDIRECTS_MAX 10
/* A list in a list. */
#define DEPTH_MAX 4
#define FIELDS_MAX 80u

struct image_client {
	struct loop *loop;
	bool allow_loopback;
	struct dns *dns;
	struct http_client *http;
	struct http_proxies proxies;
	struct tls_config *usual;       /* trusts the system's roots; NULL before it is needed */
};

struct image_lookup {
	struct image_client *c;
	const struct image_request *r;
	image_fn *fn;
	void *ctx;
	struct tls_config *tls;
	struct registry_url where;
	struct platform platform;
	struct arena arena;
	struct buf authorization;
	int depth;
	char *child;                    /* digest that the next manifest must have */

	/* The exchange under way. */
	struct url url;
	bool has_url;
	struct dns_lookup *name;
	struct http_call *call;
	struct loop_later later;
	int redirects;
	bool may_authorize;             /* no redirect has led to another host */
	bool is_manifest;
	bool is_ping;
	int status;
	char *location, *content_type;
	struct challenge challenge;
	struct buf body;
	struct buf basic;               /* Authorization of a token's request */
	void (*done)(struct image_lookup *l);
	struct err failed;
};

/* ---- life ---- */

struct image_client *
image_client_new(struct loop *loop, bool allow_loopback)
{
	struct image_client *c = xcalloc(1, sizeof *c);
	struct err ignored;             /* a proxy of a kind that is not spoken: logged by the sources, which read the same */

	c->loop = loop;
	c->allow_loopback = allow_loopback;
	c->dns = dns_new(loop, &(struct dns_opts){ 0 });
	(void)http_proxies_read(&c->proxies, getenv, &ignored);
	c->http = http_client_new(loop, &(struct http_client_opts){ .dns = c->dns, .proxies = &c->proxies });
	return c;
}

void
image_client_free(struct image_client *c)
{
	if (!c)
		return;
	http_client_free(c->http);
	dns_free(c->dns);
	http_proxies_free(&c->proxies);
	tls_config_unref(c->usual);
	free(c);
}

static void
forget_exchange(struct image_lookup *l)
{
	if (l->name)
		dns_cancel(l->name);
	if (l->call)
		http_call_cancel(l->call);
	l->name = NULL;
	l->call = NULL;
	if (l->has_url)
		url_free(&l->url);
	l->has_url = false;
	free(l->location);
	free(l->content_type);
	l->location = l->content_type = NULL;
	buf_clear(&l->body);
}

void
image_cancel(struct image_lookup *l)
{
	forget_exchange(l);
	loop_defer_clear(&l->later);
	tls_config_unref(l->tls);
	arena_free(&l->arena);
	buf_free(&l->authorization);
	buf_free(&l->basic);
	buf_free(&l->body);
	free(l->child);
	free(l);
}

static void
finish(struct image_lookup *l, const struct image *image, const struct err *e)
{
	image_fn *fn = l->fn;
	void *ctx = l->ctx;

	fn(ctx, image, e);
	image_cancel(l);
}

static void
fail_later(struct loop_later *later)
{
	struct image_lookup *l = CONTAINER_OF(later, struct image_lookup, later);

	finish(l, NULL, &l->failed);
}

/* Not from within: the lookup is gone when this returns to the loop. */
static void
fail(struct image_lookup *l, const struct err *e)
{
	l->failed = *e;
	l->failed.code = ERR_INVALID_ARGUMENT;
	loop_defer(l->c->loop, &l->later, fail_later);
}

/* ---- one exchange ---- */

static void send_request(struct image_lookup *l);
static void go_to(struct image_lookup *l);
static void on_ping(struct image_lookup *l);

static bool
is_refused(const struct image_client *c, const struct addr *a)
{
	struct slice ip = addr_ip_bytes(a);

	if (ip.n == 0 || addr_is_any(a))
		return true;
	if (!c->allow_loopback && (addr_is_loopback(a) || addr_is_link_local(a)))
		return true;
	return ip.n == 4 ? ip.p[0] >= 224 : ip.p[0] == 0xff;
}

static void
on_addresses(void *ctx, const struct addr *addrs, size_t n, const struct err *e)
{
	struct image_lookup *l = ctx;
	char text[ADDR_TEXT_MAX];
	struct err refused;

	l->name = NULL;
	if (n == 0) {
		fail(l, e);
		return;
	}
	/* The client asks the same resolver again, which keeps what it just heard. */
	for (size_t i = 0; i < n; i++) {
		if (!is_refused(l->c, &addrs[i]))
			continue;
		err_set(&refused, ERR_INVALID_ARGUMENT, "ip %s is invalid", addr_format_ip(&addrs[i], text));
		fail(l, &refused);
		return;
	}
	send_request(l);
}

static void
on_head(void *ctx, const struct h1 *head)
{
	struct image_lookup *l = ctx;

	l->status = head->status;
	for (size_t i = 0; i < head->field_count; i++) {
		const struct h1_field *f = &head->fields[i];

		if (slice_ieq_str(f->name, "location") && !l->location)
			l->location = slice_dup(f->value);
		else if (slice_ieq_str(f->name, "content-type") && !l->content_type)
			l->content_type = slice_dup(f->value);
		else if (slice_ieq_str(f->name, "www-authenticate") && l->status == 401)
			challenge_read(f->value, &l->arena, &l->challenge);
	}
}

static void
on_data(void *ctx, const void *p, size_t n)
{
	struct image_lookup *l = ctx;
	struct err e;

	if (l->is_ping)
		return;
	if (l->body.len + n <= ANSWER_MAX) {
		buf_append(&l->body, p, n);
		return;
	}
	http_call_cancel(l->call);
	l->call = NULL;
	err_set(&e, ERR_INVALID_ARGUMENT, "the registry's answer is longer than %u bytes", ANSWER_MAX);
	fail(l, &e);
}

static void
on_error(void *ctx, enum http_failure f, const struct err *e)
{
	struct image_lookup *l = ctx;

	(void)f;
	l->call = NULL;
	fail(l, e);
}

static void
on_end(void *ctx, const struct h1 *head)
{
	struct image_lookup *l = ctx;
	bool is_redirect = l->status == 301 || l->status == 302 || l->status == 303 || l->status == 307 || l->status == 308;
	struct url to;
	struct err e;

	(void)head;
	l->call = NULL;
	if (!is_redirect || !l->location) {
		l->done(l);
		return;
	}
	if (++l->redirects > REDIRECTS_MAX) {
		err_set(&e, ERR_INVALID_ARGUMENT, "the registry redirects more than %d times", REDIRECTS_MAX);
		fail(l, &e);
		return;
	}
	if (url_join(&to, &l->url, slice_str(l->location), &e) < 0) {
		fail(l, &e);
		return;
	}
	l->may_authorize = l->may_authorize && url_same_origin(&to, &l->url);
	forget_exchange(l);
	l->url = to;
	l->has_url = true;
	go_to(l);
}

/* Fields that the client writes, and those that a redirect to somebody else must not carry. */
static bool
is_left_out(const struct image_lookup *l, struct slice name)
{
	static const char *const written[] = { "host", "content-length", "transfer-encoding", "connection", "proxy-authorization", "accept",
		"accept-encoding", "range", "upgrade", "te", "expect" };
	static const char *const secret[] = { "authorization", "cookie" };

	for (size_t i = 0; i < COUNT_OF(written); i++)
		if (slice_ieq_str(name, written[i]))
			return true;
	for (size_t i = 0; !l->may_authorize && i < COUNT_OF(secret); i++)
		if (slice_ieq_str(name, secret[i]))
			return true;
	/* Ours, when a challenge asked for it. */
	return l->authorization.len > 0 && slice_ieq_str(name, "authorization");
}

static void
send_request(struct image_lookup *l)
{
	static const struct http_events events = { .on_head = on_head, .on_data = on_data, .on_end = on_end, .on_error = on_error };
	struct h1_field fields[FIELDS_MAX + MANIFEST_ACCEPT_COUNT + 2];
	struct buf target = BUF_INIT;
	char *host = slice_dup(url_hostname(&l->url));
	size_t n = 0;
	struct err e;

	if (l->is_manifest) {
		for (size_t i = 0; i < l->r->n_header && n < FIELDS_MAX; i++)
			if (!is_left_out(l, l->r->header[i].key))
				fields[n++] = (struct h1_field){ l->r->header[i].key, l->r->header[i].value };
		for (size_t i = 0; i < MANIFEST_ACCEPT_COUNT; i++)
			fields[n++] = (struct h1_field){ slice_str("Accept"), slice_str(manifest_accept[i]) };
		if (l->authorization.len > 0 && l->may_authorize)
			fields[n++] = (struct h1_field){ slice_str("Authorization"), buf_slice(&l->authorization) };
	} else {
		fields[n++] = (struct h1_field){ slice_str("User-Agent"), slice_str("dragonfly") };
		if (l->basic.len > 0 && l->may_authorize)
			fields[n++] = (struct h1_field){ slice_str("Authorization"), buf_slice(&l->basic) };
	}
	if (url_request_target(&l->url, &target, &e) < 0)
		fail(l, &e);
	else
		l->call = http_call_start(l->c->http, &(struct http_request){
			.method = "GET", .host = host, .port = (uint16_t)url_port(&l->url), .target = buf_slice(&target), .fields = fields,
			.field_count = n, .tls = slice_eq_str(l->url.scheme, "https") ? l->tls : NULL,
			.total_ms = l->is_ping ? PING_MS : REQUEST_MS }, &events, l);
	buf_free(&target);
	free(host);
}

static void
go_to(struct image_lookup *l)
{
	bool is_tls = slice_eq_str(l->url.scheme, "https");
	char *host;
	struct err e;

	if ((is_tls ? !l->tls : !slice_eq_str(l->url.scheme, "http")) || url_port(&l->url) <= 0) {
		err_set(&e, ERR_INVALID_ARGUMENT, "the registry is not reached by http or https");
		fail(l, &e);
		return;
	}
	host = slice_dup(url_hostname(&l->url));
	/* A proxy resolves names itself, and is the administrator's choice. */
	if (http_proxies_pick(&l->c->proxies, is_tls, host))
		send_request(l);
	else
		l->name = dns_lookup(l->c->dns, host, on_addresses, l);
	free(host);
}

static void
get(struct image_lookup *l, struct slice url, void (*done)(struct image_lookup *l))
{
	struct err e;

	forget_exchange(l);
	l->redirects = 0;
	l->may_authorize = true;
	l->is_ping = done == on_ping;
	l->done = done;
	if (url_parse(&l->url, url, &e) < 0) {
		fail(l, &e);
		return;
	}
	l->has_url = true;
	go_to(l);
}

/* The status as an error: with what the registry says about it, when that is text. */
static void
fail_status(struct image_lookup *l, const char *what)
{
	char said[200];
	size_t n = 0;
	struct err e;

	for (size_t i = 0; i < l->body.len && n < sizeof said - 1; i++) {
		uint8_t c = buf_data(&l->body)[i];

		if (c >= 0x20 && c < 0x7f)
			said[n++] = (char)c;
	}
	said[n] = '\0';
	err_set(&e, ERR_INVALID_ARGUMENT, "%s: status %d: %s", what, l->status, said);
	fail(l, &e);
}

/* ---- manifests ---- */

static void get_manifest(struct image_lookup *l, struct slice url);

static void
end(struct image_lookup *l, const struct slice *digests, size_t n)
{
	struct image image = { .n_urls = n };
	struct err e;

	if (l->authorization.len > 0)
		image.authorization = buf_slice(&l->authorization);
	image.urls = arena_alloc(&l->arena, n * sizeof *image.urls);
	for (size_t i = 0; image.urls && i < n; i++)
		image.urls[i] = slice_str(arena_printf(&l->arena, "%.*s/v2/%.*s/blobs/%.*s", SLICE_ARG(l->where.origin),
			SLICE_ARG(l->where.repository), SLICE_ARG(digests[i])));
	if (image.urls) {
		finish(l, &image, NULL);
		return;
	}
	err_set(&e, ERR_INVALID_ARGUMENT, "the manifest is too large");
	fail(l, &e);
}

static int
check_child(const struct image_lookup *l, struct err *e)
{
	char hex[DIGEST_HEX_MAX];
	enum digest_kind kind = strncmp(l->child, "sha512:", 7) == 0 ? DIGEST_SHA512 : DIGEST_SHA256;

	digest_hex(kind, buf_data(&l->body), l->body.len, hex);
	if (strcmp(l->child + 7, hex) != 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "the manifest does not have the digest %s", l->child);
	return 0;
}

static void
choose_child(struct image_lookup *l, const struct json *doc)
{
	struct buf url = BUF_INIT;
	struct err e;
	struct slice digest = manifest_choose(doc, &l->platform, &e);

	if (digest.n == 0) {
		fail(l, &e);
		return;
	}
	if (++l->depth > DEPTH_MAX) {
		err_set(&e, ERR_INVALID_ARGUMENT, "lists of manifests in each other, more than %d deep", DEPTH_MAX);
		fail(l, &e);
		return;
	}
	free(l->child);
	l->child = slice_dup(digest);
	buf_printf(&url, "%.*s/v2/%.*s/manifests/%s", SLICE_ARG(l->where.origin), SLICE_ARG(l->where.repository), l->child);
	get_manifest(l, buf_slice(&url));
	buf_free(&url);
}

static void
on_manifest(struct image_lookup *l)
{
	enum manifest_kind kind;
	struct slice *digests = NULL;
	struct json *doc;
	size_t n = 0;
	struct err e;

	if (l->status < 200 || l->status > 299) {
		fail_status(l, "manifest");
		return;
	}
	if (l->child && check_child(l, &e) < 0) {
		fail(l, &e);
		return;
	}
	doc = json_parse(&l->arena, buf_slice(&l->body), &e);
	if (!doc || manifest_kind_of(doc, slice_str(l->content_type), &kind, &e) < 0)
		fail(l, &e);
	else if (kind == MANIFEST_LIST)
		choose_child(l, doc);
	else if (manifest_blobs(doc, kind, &l->arena, &digests, &n, &e) < 0)
		fail(l, &e);
	else
		end(l, digests, n);
}

static void
get_manifest(struct image_lookup *l, struct slice url)
{
	l->is_manifest = true;
	get(l, url, on_manifest);
}

/* ---- who we are ---- */

static void
on_token(struct image_lookup *l)
{
	const char *token;
	struct json *doc;
	struct err e;

	if (l->status < 200 || l->status > 299) {
		fail_status(l, "token");
		return;
	}
	doc = json_parse(&l->arena, buf_slice(&l->body), &e);
	if (!doc) {
		fail(l, &e);
		return;
	}
	token = json_cstr(json_get(doc, "token"));
	if (!token || !*token)
		token = json_cstr(json_get(doc, "access_token"));
	if (!token || !*token) {
		err_set(&e, ERR_INVALID_ARGUMENT, "the authorization server's answer has no token");
		fail(l, &e);
		return;
	}
	buf_clear(&l->basic);
	buf_printf(&l->authorization, "Bearer %s", token);
	get_manifest(l, l->r->url);
}

static void
basic_auth(const struct image_lookup *l, struct buf *out)
{
	struct buf both = BUF_INIT;

	buf_append_slice(&both, l->r->username);
	buf_append_u8(&both, ':');
	buf_append_slice(&both, l->r->password);
	buf_append_str(out, "Basic ");
	base64_encode(buf_slice(&both), BASE64_STD, true, out);
	buf_free(&both);
}

static void
get_token(struct image_lookup *l)
{
	struct buf url = BUF_INIT, scope = BUF_INIT;

	buf_append_slice(&url, l->challenge.realm);
	buf_append_u8(&url, slice_find(l->challenge.realm, '?') < 0 ? '?' : '&');
	if (l->challenge.service.n > 0) {
		buf_append_str(&url, "service=");
		url_encode(l->challenge.service, URL_UNRESERVED, &url);
		buf_append_u8(&url, '&');
	}
	buf_printf(&scope, "repository:%.*s:pull", SLICE_ARG(l->where.repository));
	buf_append_str(&url, "scope=");
	url_encode(buf_slice(&scope), URL_UNRESERVED, &url);
	if (l->r->username.n > 0) {
		buf_append_str(&url, "&account=");
		url_encode(l->r->username, URL_UNRESERVED, &url);
		basic_auth(l, &l->basic);
	}
	get(l, buf_slice(&url), on_token);
	buf_free(&url);
	buf_free(&scope);
}

static void
on_ping(struct image_lookup *l)
{
	struct err e;

	if (l->status != 401) {
		get_manifest(l, l->r->url);
	} else if (l->challenge.is_bearer && l->challenge.realm.n > 0) {
		get_token(l);
	} else if (l->challenge.is_basic && l->r->username.n > 0) {
		basic_auth(l, &l->authorization);
		get_manifest(l, l->r->url);
	} else {
		err_set(&e, ERR_INVALID_ARGUMENT, "the registry wants %s",
			l->challenge.is_basic ? "a user's name and password" : "an authorization of an unknown kind");
		fail(l, &e);
	}
}

static bool
has_authorization(const struct image_request *r)
{
	for (size_t i = 0; i < r->n_header; i++)
		if (slice_ieq_str(r->header[i].key, "authorization"))
			return true;
	return false;
}

/* NULL when nothing can be trusted. */
static struct tls_config *
tls_of(struct image_client *c, const struct image_request *r, struct err *e)
{
	struct err ignored;

	if (r->is_insecure)
		return tls_client_new(&(struct tls_client_opts){ .insecure = true }, e);
	if (r->n_certificate_chain > 0)
		return tls_client_new(&(struct tls_client_opts){ .system_roots = true, .ca_ders = r->certificate_chain,
			.ca_der_count = r->n_certificate_chain }, e);
	if (c->usual)
		(void)tls_config_refresh(&c->usual, &ignored);
	else
		c->usual = tls_client_new(&(struct tls_client_opts){ .system_roots = true }, e);
	return c->usual ? tls_config_ref(c->usual) : NULL;
}

struct image_lookup *
image_resolve(struct image_client *c, const struct image_request *r, image_fn *fn, void *ctx, struct err *e)
{
	struct image_lookup *l = xcalloc(1, sizeof *l);
	struct buf ping = BUF_INIT;
	struct err inner;

	l->c = c;
	l->r = r;
	l->fn = fn;
	l->ctx = ctx;
	list_init(&l->later.link);
	arena_init(&l->arena, ARENA_BYTES);
	if (manifest_url_parse(r->url, &l->where, &inner) < 0 || platform_parse(r->platform, &l->platform, &inner) < 0) {
		err_set(e, ERR_INVALID_ARGUMENT, "failed to resolve manifests: %s", inner.text);
		goto fail;
	}
	l->tls = tls_of(c, r, &inner);
	if (!l->tls && r->n_certificate_chain > 0) {
		err_set(e, ERR_INVALID_ARGUMENT, "failed to parse certificate chain: %s", inner.text);
		goto fail;
	}
	if (!l->tls && slice_starts(r->url, "https")) {
		err_set(e, ERR_INVALID_ARGUMENT, "failed to resolve manifests: %s", inner.text);
		goto fail;
	}
	if (has_authorization(r)) {
		get_manifest(l, r->url);
		return l;
	}
	buf_printf(&ping, "%.*s/v2/", SLICE_ARG(l->where.origin));
	get(l, buf_slice(&ping), on_ping);
	buf_free(&ping);
	return l;
fail:
	image_cancel(l);
	return NULL;
}
