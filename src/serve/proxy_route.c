/*
 * What is done with a request: the checks of proxy.md 2.4 in their order, then where it goes.
 */
#include "serve/proxy_internal.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/addr.h"
#include "net/conn.h"
#include "serve/proxy_rules.h"
#include "text/url.h"

static const struct h1_field retry_after[] = {{{(const uint8_t *)"Retry-After", 11}, {(const uint8_t *)"1", 1}}};
static const struct h1_field challenge[] = {
	{{(const uint8_t *)"WWW-Authenticate", 16}, {(const uint8_t *)"Basic realm=\"dragonfly\"", 23}}};
static const struct h1_field proxy_challenge[] = {
	{{(const uint8_t *)"Proxy-Authenticate", 18}, {(const uint8_t *)"Basic realm=\"dragonfly\"", 23}}};

static void
count(struct proxy *p, const struct h1 *head, bool is_https)
{
	size_t m = 0;

	while (m < PROXY_OTHER && !slice_eq_str(head->method, proxy_method_names[m]))
		m++;
	atomic_fetch_add_explicit(&p->counts.requests[is_https][m], 1, memory_order_relaxed);
}

static void
refuse_bad(struct proxy_side *side, struct http_exchange *x, const char *text)
{
	proxy_refuse(side, x, 400, PROXY_BY_PROXY, NULL, 0, text);
}

/* ---- CONNECT ---- */

static void
route_connect(struct proxy_side *side, struct http_exchange *x, const struct h1 *head)
{
	const struct config_proxy *c = &side->proxy->o.config->proxy;
	struct slice host, target = head->target, credential = h1_get(head, "proxy-authorization");
	struct buf base = BUF_INIT;
	bool is_authenticated = !c->server.basic_auth.is_on;
	struct url mirror;
	uint16_t port;
	struct err e;

	if (http_exchange_conn_ctx(x) != NULL) {
		refuse_bad(side, x, "CONNECT inside a tunnel is not supported");
		return;
	}
	if (!is_authenticated && credential.p != NULL) {
		if (proxy_auth_check(credential, c->server.basic_auth.username, c->server.basic_auth.password) != PROXY_AUTH_OK) {
			proxy_refuse(side, x, 407, PROXY_BY_PROXY, proxy_challenge, 1, "wrong proxy credential");
			return;
		}
		is_authenticated = true;
	}
	if (head->target.p[0] == '/' && url_parse(&mirror, slice_str(c->registry_mirror.addr), &e) == 0) {
		buf_append_slice(&base, mirror.host);
		buf_printf(&base, ":%d", url_port(&mirror));
		url_free(&mirror);
		target = buf_slice(&base);
	}
	if (proxy_parse_authority(target, &host, &port) < 0)
		refuse_bad(side, x, "CONNECT needs host:port");
	else
		proxy_connect(side, x, host, port, is_authenticated);
	buf_free(&base);
}

/* ---- the credential of a request ---- */

/* False: it was refused. */
static bool
check_credential(struct proxy_request *r)
{
	const struct config_proxy *c = &r->side->proxy->o.config->proxy;
	struct slice authorization = h1_get(r->head, "authorization"), other = h1_get(r->head, "proxy-authorization");
	const char *name = c->server.basic_auth.username, *word = c->server.basic_auth.password;
	enum proxy_auth a;

	if (!c->server.basic_auth.is_on)
		return true;
	a = proxy_auth_check(authorization, name, word);
	r->drops_authorization = a == PROXY_AUTH_OK;
	if (a == PROXY_AUTH_OK || (r->tunnel != NULL && r->tunnel->is_authenticated) || proxy_auth_check(other, name, word) == PROXY_AUTH_OK)
		return true;
	if (a == PROXY_AUTH_UNREADABLE)
		refuse_bad(r->side, r->x, "unreadable credential");
	else
		proxy_refuse(r->side, r->x, 401, PROXY_BY_PROXY, challenge, 1,
		    a == PROXY_AUTH_MISSING && other.p == NULL ? "proxy credential required" : "wrong proxy credential");
	return false;
}

/* ---- loops ---- */

/* An address of this host: only those can be bound to. */
static bool
is_local(struct addr *a)
{
	int fd = socket(addr_family(a), SOCK_DGRAM, 0), rc;

	if (fd < 0)
		return false;
	addr_set_port(a, 0);
	rc = bind(fd, &a->u.sa, a->len);
	close(fd);
	return rc == 0;
}

static bool
is_loop(const struct proxy_request *r)
{
	const struct proxy *p = r->side->proxy;
	struct slice host = url_hostname(r->parsed), token = slice_str(p->via + 4);
	struct addr a;

	for (size_t i = 0; i < r->head->field_count; i++) {
		struct slice rest = r->head->fields[i].value, item;

		if (!slice_ieq_str(r->head->fields[i].name, "via"))
			continue;
		while (h1_list_next(&rest, &item))
			if (item.n >= token.n && slice_eq(slice_sub(item, item.n - token.n, token.n), token))
				return true;
	}
	if (url_port(r->parsed) != p->port)
		return false;
	if (slice_eq_str(host, "localhost"))
		return true;
	return addr_from_ip(&a, host, 0) == 0 && is_local(&a);
}

/* ---- where it goes ---- */

/* False: it was refused. */
static bool
make_url(struct proxy_request *r, struct buf *url)
{
	const struct config_proxy *c = &r->side->proxy->o.config->proxy;
	struct slice target = r->head->target;
	struct err e;

	if (target.n == 0 || target.p[0] != '/') {
		buf_append_slice(url, target);
		return true;
	}
	if (r->tunnel != NULL) {
		bool is_v6 = strchr(r->tunnel->host, ':') != NULL;

		buf_printf(url, "%s://%s%s%s:%u", r->tunnel->is_tls ? "https" : "http", is_v6 ? "[" : "", r->tunnel->host, is_v6 ? "]" : "",
		    (unsigned)r->tunnel->port);
	} else if (proxy_mirror_base(c, h1_get(r->head, "x-dragonfly-registry"), target, url, &e) < 0) {
		proxy_refuse(r->side, r->x, e.code == ERR_PERMISSION_DENIED ? 403 : 400, PROXY_BY_PROXY, NULL, 0, e.text);
		return false;
	} else {
		r->is_mirror = true;
	}
	buf_append_slice(url, target);
	return true;
}

static void
go(struct proxy_request *r)
{
	const struct proxy *p = r->side->proxy;
	bool is_get = slice_eq_str(r->head->method, "GET") && !r->head->has_body;
	const struct config_proxy_rule *rule = is_get ? proxy_rule_find(&p->o.config->proxy, r->parsed) : NULL;
	bool wants_p2p = rule != NULL || (is_get && proxy_is_true(h1_get(r->head, "x-dragonfly-use-p2p")));

	if (wants_p2p && !proxy_signs_range(h1_get(r->head, "authorization"), r->parsed->query)) {
		proxy_p2p(r, rule);
		return;
	}
	if (slice_eq_str(r->parsed->scheme, "https") && p->upstream_tls == NULL)
		proxy_refuse(r->side, r->x, 502, PROXY_BY_BACKEND, NULL, 0, "no trusted certificate authorities on this system");
	else
		proxy_direct(r);
}

static void
route(const struct proxy_request *asked)
{
	struct proxy_request whole = *asked, *r = &whole;
	struct buf text = BUF_INIT;
	struct url u;
	struct err e;

	if (!make_url(r, &text))
		goto out;
	r->url = buf_slice(&text);
	if (url_parse(&u, r->url, &e) < 0) {
		refuse_bad(r->side, r->x, e.text);
		goto out;
	}
	r->parsed = &u;
	if (!slice_eq_str(u.scheme, "http") && !slice_eq_str(u.scheme, "https"))
		refuse_bad(r->side, r->x, "the URL's scheme must be http or https");
	else if (is_loop(r))
		proxy_refuse(r->side, r->x, 508, PROXY_BY_PROXY, NULL, 0, "this proxy is its own upstream");
	else
		go(r);
	url_free(&u);
out:
	buf_free(&text);
}

void
proxy_on_request(void *ctx, struct http_exchange *x)
{
	struct proxy_side *side = ctx;
	struct proxy *p = side->proxy;
	struct proxy_request r = {.side = side, .x = x, .head = http_exchange_request(x), .tunnel = http_exchange_conn_ctx(x)};

	count(p, r.head, r.tunnel != NULL ? r.tunnel->is_tls : slice_ieq_str(slice_sub(r.head->target, 0, 8), "https://"));
	if (!proxy_rate_take(&p->rate, clock_mono_ms())) {
		atomic_fetch_add_explicit(&p->counts.limited, 1, memory_order_relaxed);
		proxy_refuse(side, x, 429, PROXY_BY_PROXY, retry_after, 1, "more requests than proxy.server.requestRateLimit");
	} else if (slice_eq_str(r.head->method, "CONNECT")) {
		route_connect(side, x, r.head);
	} else if (check_credential(&r) && !proxy_warm(&r)) {
		route(&r);
	}
}
