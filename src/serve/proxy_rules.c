#include "serve/proxy_rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "text/encode.h"
#include "text/regex.h"
#include "text/url.h"

#define DOCKER_HUB "https://index.docker.io"

/* ---- credentials ---- */

static bool
is_visible(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return true;
}

/* Looks at every byte of `given`, whatever is wrong. */
static bool
equals_secret(struct slice given, const char *secret)
{
	size_t n = strlen(secret);
	unsigned differs = given.n != n;

	for (size_t i = 0; i < given.n; i++)
		differs |= (unsigned)given.p[i] ^ (unsigned char)secret[n > 0 ? i % n : 0];
	return differs == 0;
}

static bool
is_utf8(struct slice s)
{
	for (size_t i = 0; i < s.n;) {
		unsigned c = s.p[i], more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 9;

		if (more > s.n - i - 1)
			return false;
		for (unsigned k = 1; k <= more; k++)
			if ((s.p[i + k] & 0xc0) != 0x80)
				return false;
		i += 1 + more;
	}
	return true;
}

enum proxy_auth
proxy_auth_check(struct slice value, const char *username, const char *password)
{
	ptrdiff_t blank, colon;
	struct buf plain = BUF_INIT;
	struct slice text;
	enum proxy_auth a;

	if (value.p == NULL)
		return PROXY_AUTH_MISSING;
	if (!is_visible(value))
		return PROXY_AUTH_UNREADABLE;
	blank = slice_find(value, ' ');
	if (blank < 0 || !slice_ieq_str(slice_sub(value, 0, (size_t)blank), "basic"))
		return PROXY_AUTH_WRONG;
	if (base64_decode(slice_trim(slice_sub(value, (size_t)blank + 1, value.n)), BASE64_STD, &plain) < 0 || !is_utf8(buf_slice(&plain))) {
		buf_free(&plain);
		return PROXY_AUTH_UNREADABLE;
	}
	text = buf_slice(&plain);
	colon = slice_find(text, ':');
	a = PROXY_AUTH_WRONG;
	if (colon >= 0) {
		bool same_name = equals_secret(slice_sub(text, 0, (size_t)colon), username);
		bool same_word = equals_secret(slice_sub(text, (size_t)colon + 1, text.n), password);

		if (same_name && same_word)
			a = PROXY_AUTH_OK;
	}
	buf_free(&plain);
	return a;
}

/* ---- targets ---- */

int
proxy_parse_authority(struct slice text, struct slice *host, uint16_t *port)
{
	struct slice number = {0};
	uint64_t n = 443;

	if (text.n > 0 && text.p[0] == '[') {
		ptrdiff_t end = slice_find(text, ']');

		if (end < 0)
			return -1;
		*host = slice_sub(text, 1, (size_t)end - 1);
		number = slice_sub(text, (size_t)end + 1, text.n);
		if (number.n > 0 && number.p[0] != ':')
			return -1;
		number = slice_sub(number, 1, number.n);
	} else {
		ptrdiff_t colon = slice_find(text, ':');

		*host = colon < 0 ? text : slice_sub(text, 0, (size_t)colon);
		if (colon >= 0)
			number = slice_sub(text, (size_t)colon + 1, text.n);
	}
	if (number.n > 0 && (slice_to_u64(number, &n) < 0 || n == 0 || n > 65535))
		return -1;
	for (size_t i = 0; i < host->n; i++)
		if (strchr("/?#@\\ ", host->p[i]) != NULL)
			return -1;
	if (host->n == 0 || host->n > URL_HOST_MAX)
		return -1;
	*port = (uint16_t)n;
	return 0;
}

static bool
glob(const char *p, const char *p_end, const uint8_t *s, const uint8_t *end)
{
	const char *star = NULL;
	const uint8_t *from = NULL;

	while (s < end) {
		int c = *s >= 'A' && *s <= 'Z' ? *s + 32 : *s;
		int q = p < p_end ? (*p >= 'A' && *p <= 'Z' ? *p + 32 : (unsigned char)*p) : -1;

		if (q == '*') {
			star = ++p;
			from = s;
		} else if (q == '?' || q == c) {
			p++;
			s++;
		} else if (star != NULL) {
			p = star;
			s = ++from;
		} else {
			return false;
		}
	}
	while (p < p_end && *p == '*')
		p++;
	return p == p_end;
}

bool
proxy_host_matches(const char *pattern, struct slice host, uint16_t port)
{
	const char *end = pattern + strlen(pattern), *colon = strrchr(pattern, ':');
	char *rest;

	/* "[v6]:port", "[v6]", a bare IPv6 address, "host:port" or "host". */
	if (pattern[0] == '[') {
		const char *close = strchr(pattern, ']');

		if (close == NULL)
			return false;
		colon = close[1] == ':' ? close + 1 : NULL;
		pattern++;
		end = close;
	} else if (colon != NULL && strchr(pattern, ':') != colon) {
		colon = NULL;
	} else if (colon != NULL) {
		end = colon;
	}
	if (colon != NULL && strcmp(colon, ":*") != 0 && (strtoul(colon + 1, &rest, 10) != port || *rest != '\0'))
		return false;
	return glob(pattern, end, host.p, host.p + host.n);
}

/* The first ns= of a query, decoded; false when there is none. */
static bool
find_ns(struct slice target, struct buf *value)
{
	ptrdiff_t mark = slice_find(target, '?');
	struct buf name = BUF_INIT;
	struct slice query;
	bool found = false;

	if (mark < 0)
		return false;
	query = slice_sub(target, (size_t)mark + 1, target.n);
	while (!found && url_query_next(&query, &name, value))
		found = slice_eq_str(buf_slice(&name), "ns");
	buf_free(&name);
	return found && value->len > 0;
}

static bool
has_scheme(struct slice s)
{
	for (size_t i = 0; i + 2 < s.n; i++)
		if (memcmp(s.p + i, "://", 3) == 0)
			return true;
	return false;
}

/* A registry that is to be asked without TLS: the configured mirror's own host, or one that plainHTTP names. */
static bool
is_plain(const struct config_proxy *c, struct slice authority)
{
	struct url mirror, named;
	struct buf text = BUF_INIT;
	bool plain = false;
	struct err e;

	/* The port that counts is that of http. */
	buf_append_str(&text, "http://");
	buf_append_slice(&text, authority);
	if (url_parse(&named, buf_slice(&text), &e) == 0) {
		uint16_t port = (uint16_t)url_port(&named);

		if (url_parse(&mirror, slice_str(c->registry_mirror.addr), &e) == 0) {
			plain = slice_eq_str(mirror.scheme, "http") && slice_eq(mirror.host, named.host) && url_port(&mirror) == port;
			url_free(&mirror);
		}
		for (size_t i = 0; i < c->registry_mirror.plain_http.count && !plain; i++)
			plain = proxy_host_matches(c->registry_mirror.plain_http.items[i], url_hostname(&named), port);
		url_free(&named);
	}
	buf_free(&text);
	return plain;
}

static int
check_base(const struct config_proxy *c, struct slice base, bool is_named, struct err *e)
{
	struct url u;
	int rc = 0;

	if (url_parse(&u, base, e) < 0)
		return err_wrap(e, "invalid registry");
	if (!slice_eq_str(u.scheme, "http") && !slice_eq_str(u.scheme, "https"))
		rc = err_set(e, ERR_INVALID_ARGUMENT, "invalid registry: the scheme must be http or https");
	else if (u.query.p != NULL || u.fragment.p != NULL)
		rc = err_set(e, ERR_INVALID_ARGUMENT, "invalid registry: query or fragment in it");
	if (rc == 0 && is_named && c->registry_mirror.allow.count > 0) {
		bool allowed = false;

		for (size_t i = 0; i < c->registry_mirror.allow.count && !allowed; i++)
			allowed = proxy_host_matches(c->registry_mirror.allow.items[i], url_hostname(&u), (uint16_t)url_port(&u));
		if (!allowed)
			rc = err_set(e, ERR_PERMISSION_DENIED, "registry %.*s is not in proxy.registryMirror.allow", SLICE_ARG(url_hostname(&u)));
	}
	url_free(&u);
	return rc;
}

int
proxy_mirror_base(const struct config_proxy *c, struct slice registry, struct slice target, struct buf *out, struct err *e)
{
	struct buf ns = BUF_INIT;
	struct slice name = slice_trim(registry);
	bool is_named = name.n > 0;
	size_t start = out->len;

	if (!is_named && find_ns(target, &ns)) {
		name = slice_trim(buf_slice(&ns));
		is_named = name.n > 0;
	}
	if (!is_named)
		name = slice_str(c->registry_mirror.addr);
	while (name.n > 0 && name.p[name.n - 1] == '/')
		name.n--;
	/* containerd's name for Docker Hub; https://docker.io is no registry. */
	if (slice_ieq_str(name, "docker.io") || slice_ieq_str(name, "https://docker.io") || slice_ieq_str(name, "http://docker.io")) {
		buf_append_str(out, DOCKER_HUB);
	} else {
		if (!has_scheme(name))
			buf_append_str(out, is_plain(c, name) ? "http://" : "https://");
		buf_append_slice(out, name);
	}
	buf_free(&ns);
	return check_base(c, slice_sub(buf_slice(out), start, out->len), is_named, e);
}

static size_t
authority_end(struct slice url)
{
	size_t i = 0;

	while (i + 2 < url.n && memcmp(url.p + i, "://", 3) != 0)
		i++;
	for (i += 3; i < url.n && strchr("/?#", url.p[i]) == NULL; i++)
		;
	return i < url.n ? i : url.n;
}

void
proxy_raw_target(struct slice url, struct buf *out)
{
	struct slice rest = slice_sub(url, authority_end(url), url.n);
	ptrdiff_t hash = slice_find(rest, '#');

	if (hash >= 0)
		rest.n = (size_t)hash;
	if (rest.n == 0 || rest.p[0] != '/')
		buf_append_u8(out, '/');
	buf_append_slice(out, rest);
}

/* ---- P2P or not ---- */

const struct config_proxy_rule *
proxy_rule_find(const struct config_proxy *c, const struct url *u)
{
	const char *end = (const char *)(u->path.p != NULL ? u->path.p + u->path.n : u->host.p + u->host.n);
	size_t n = (size_t)(end - u->text);

	for (size_t i = 0; i < c->rule_count; i++)
		if (c->rules[i].regex == NULL || regex_search(c->rules[i].regex, u->text, n))
			return &c->rules[i];
	return NULL;
}

bool
proxy_is_true(struct slice value)
{
	return slice_ieq_str(value, "true");
}

/* "range" in a list of names joined by ';' (or its escape). */
static bool
names_range(struct slice list)
{
	while (list.n > 0) {
		ptrdiff_t semi = slice_find(list, ';');
		struct slice one = semi < 0 ? list : slice_sub(list, 0, (size_t)semi);

		if (slice_ieq_str(slice_trim(one), "range"))
			return true;
		list = semi < 0 ? slice_sub(list, list.n, 0) : slice_sub(list, (size_t)semi + 1, list.n);
	}
	return false;
}

bool
proxy_signs_range(struct slice authorization, struct slice query)
{
	struct buf name = BUF_INIT, value = BUF_INIT;
	bool found = false;

	if (slice_starts(authorization, "AWS4-HMAC-SHA256")) {
		static const char key[] = "SignedHeaders=";

		for (size_t i = 0; i + sizeof key - 1 <= authorization.n && !found; i++) {
			struct slice list = slice_sub(authorization, i + sizeof key - 1, authorization.n);
			ptrdiff_t comma = slice_find(list, ',');

			if (memcmp(authorization.p + i, key, sizeof key - 1) == 0)
				found = names_range(comma < 0 ? list : slice_sub(list, 0, (size_t)comma));
		}
	}
	while (!found && url_query_next(&query, &name, &value))
		found = slice_eq_str(buf_slice(&name), "X-Amz-SignedHeaders") && names_range(buf_slice(&value));
	buf_free(&name);
	buf_free(&value);
	return found;
}

void
proxy_download_url(struct slice url, const struct config_proxy_rule *rule, struct buf *out)
{
	size_t end = authority_end(url), begin = 0;
	struct slice authority;

	while (begin + 2 < url.n && memcmp(url.p + begin, "://", 3) != 0)
		begin++;
	authority = slice_sub(url, begin + 3, end - begin - 3);
	if (rule == NULL || (!rule->use_tls && rule->redirect == NULL)) {
		buf_append_slice(out, url);
		return;
	}
	if (rule->redirect_is_plain)
		buf_append_str(out, "http");
	else if (rule->use_tls)
		buf_append_str(out, "https");
	else
		buf_append(out, url.p, begin);
	buf_append_str(out, "://");
	if (rule->redirect != NULL)
		buf_append_str(out, rule->redirect);
	else if (rule->use_tls && slice_ends(authority, ":80"))
		buf_append(out, authority.p, authority.n - 3);
	else
		buf_append_slice(out, authority);
	buf_append(out, url.p + end, url.n - end);
}
