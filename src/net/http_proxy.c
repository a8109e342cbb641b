#include "net/http_proxy.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/slice.h"
#include "net/addr.h"
#include "text/url.h"

/* One entry: a network, or a domain without its leading dot, or everything. */
struct http_no_proxy {
	enum { NO_PROXY_ALL, NO_PROXY_NET, NO_PROXY_DOMAIN } kind;
	uint8_t ip[16];
	size_t ip_len;
	unsigned bits;
	char *domain;
};

/* Instance metadata of clouds: never to be told to a proxy. */
static const char *const metadata_hosts[] = {"169.254.169.254", "metadata.google.internal", "fd00:ec2::254"};

static int
set_proxy(struct http_proxy *p, const char *variable, const char *value, struct err *e)
{
	struct slice text = slice_trim(slice_str(value));
	struct buf full = BUF_INIT, auth = BUF_INIT;
	struct url u;
	int port;

	if (text.n == 0)
		return 0;
	if (strstr(value, "://") == NULL)
		buf_append_str(&full, "http://");
	buf_append_slice(&full, text);
	/* A value that is no URL counts as none, as everywhere. */
	if (url_parse(&u, buf_slice(&full), NULL) != 0) {
		buf_free(&full);
		return 0;
	}
	buf_free(&full);
	if (!slice_eq_str(u.scheme, "http") && !slice_eq_str(u.scheme, "https")) {
		err_set(e, ERR_INVALID_ARGUMENT, "%s: proxies of kind %.*s are not supported, only http and https", variable,
		    SLICE_ARG(u.scheme));
		url_free(&u);
		return -1;
	}
	if (url_basic_auth(&u, &auth, e) < 0) {
		err_wrap(e, "%s", variable);
		buf_free(&auth);
		url_free(&u);
		return -1;
	}
	port = url_port(&u);
	p->host = slice_dup(url_hostname(&u));
	p->port = (uint16_t)port;
	p->is_tls = slice_eq_str(u.scheme, "https");
	p->authorization = auth.len > 0 ? buf_take(&auth) : NULL;
	buf_free(&auth);
	url_free(&u);
	return 0;
}

/* A set but unusable value hides the lower-case name and counts as none; ALL_PROXY is asked then. */
static int
choose(struct http_proxy *p, char *(*get)(const char *), const char *const names[2][2], struct err *e)
{
	for (int i = 0; i < 2 && p->host == NULL; i++) {
		const char *name = names[i][0];
		const char *value = get(name);

		if (value == NULL) {
			name = names[i][1];
			value = get(name);
		}
		if (value != NULL && set_proxy(p, name, value, e) != 0)
			return -1;
	}
	return 0;
}

static void
add_exception(struct http_proxies *p, struct slice item)
{
	struct http_no_proxy *x = &p->except[p->except_count];
	ptrdiff_t slash = slice_find(item, '/');
	struct slice ip = slash < 0 ? item : slice_sub(item, 0, (size_t)slash);
	struct addr a;

	memset(x, 0, sizeof(*x));
	if (slice_eq_str(item, "*")) {
		x->kind = NO_PROXY_ALL;
	} else if (addr_from_ip(&a, ip, 0) == 0) {
		struct slice bytes = addr_ip_bytes(&a);
		uint64_t bits = bytes.n * 8;

		if (slash >= 0 && (slice_to_u64(slice_sub(item, (size_t)slash + 1, item.n), &bits) != 0 || bits > bytes.n * 8))
			return;
		x->kind = NO_PROXY_NET;
		memcpy(x->ip, bytes.p, bytes.n);
		x->ip_len = bytes.n;
		x->bits = (unsigned)bits;
	} else {
		if (item.p[0] == '.')
			item = slice_sub(item, 1, item.n);
		if (item.n == 0)
			return;
		x->kind = NO_PROXY_DOMAIN;
		x->domain = slice_dup(item);
	}
	p->except_count++;
}

static void
read_exceptions(struct http_proxies *p, const char *value)
{
	struct slice rest = slice_str(value);

	p->except = xcalloc(HTTP_NO_PROXY_MAX, sizeof(*p->except));
	while (rest.n > 0 && p->except_count < HTTP_NO_PROXY_MAX) {
		ptrdiff_t comma = slice_find(rest, ',');
		size_t n = comma < 0 ? rest.n : (size_t)comma;
		struct slice item = slice_trim(slice_sub(rest, 0, n));

		rest = slice_sub(rest, n + 1, rest.n);
		if (item.n > 0)
			add_exception(p, item);
	}
}

int
http_proxies_read(struct http_proxies *p, char *(*get)(const char *name), struct err *e)
{
	static const char *const for_http[2][2] = {{"HTTP_PROXY", "http_proxy"}, {"ALL_PROXY", "all_proxy"}};
	static const char *const for_https[2][2] = {{"HTTPS_PROXY", "https_proxy"}, {"ALL_PROXY", "all_proxy"}};
	const char *except;

	memset(p, 0, sizeof(*p));
	/* Set by CGI servers, where a client's "Proxy:" header becomes HTTP_PROXY. */
	if (get("REQUEST_METHOD") != NULL)
		return 0;
	if (choose(&p->http, get, for_http, e) != 0 || choose(&p->https, get, for_https, e) != 0) {
		http_proxies_free(p);
		return -1;
	}
	except = get("NO_PROXY");
	if (except == NULL)
		except = get("no_proxy");
	if (except != NULL)
		read_exceptions(p, except);
	return 0;
}

static void
free_proxy(struct http_proxy *p)
{
	free(p->host);
	free(p->authorization);
}

void
http_proxies_free(struct http_proxies *p)
{
	free_proxy(&p->http);
	free_proxy(&p->https);
	for (size_t i = 0; i < p->except_count; i++)
		free(p->except[i].domain);
	free(p->except);
	memset(p, 0, sizeof(*p));
}

static bool
same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/* `d` is for itself and everything below it. */
static bool
in_domain(struct slice host, struct slice domain)
{
	if (host.n < domain.n || !slice_ieq(slice_sub(host, host.n - domain.n, domain.n), domain))
		return false;
	return host.n == domain.n || host.p[host.n - domain.n - 1] == '.';
}

static bool
is_excepted(const struct http_proxies *p, struct slice host)
{
	struct addr a;
	bool is_ip = addr_from_ip(&a, host, 0) == 0;
	struct slice ip = is_ip ? addr_ip_bytes(&a) : (struct slice){0};

	for (size_t i = 0; i < COUNT_OF(metadata_hosts); i++)
		if (slice_ieq_str(host, metadata_hosts[i]))
			return true;
	for (size_t i = 0; i < p->except_count; i++) {
		const struct http_no_proxy *x = &p->except[i];

		if (x->kind == NO_PROXY_ALL)
			return true;
		if (x->kind == NO_PROXY_NET && is_ip && ip.n == x->ip_len && same_prefix(ip.p, x->ip, x->bits))
			return true;
		if (x->kind == NO_PROXY_DOMAIN && !is_ip && in_domain(host, slice_str(x->domain)))
			return true;
	}
	return false;
}

const struct http_proxy *
http_proxies_pick(const struct http_proxies *p, bool is_tls, const char *host)
{
	const struct http_proxy *proxy = is_tls ? &p->https : &p->http;

	if (proxy->host == NULL || is_excepted(p, slice_str(host)))
		return NULL;
	return proxy;
}
