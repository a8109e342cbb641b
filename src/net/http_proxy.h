/*
 * Forward proxies as the environment names them: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and their lower-case forms
 * (backends.md 2.5). Only the choice; speaking to them is http_client's.
 */
#ifndef NET_HTTP_PROXY_H
#define NET_HTTP_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Entries of NO_PROXY that are read. */
#define HTTP_NO_PROXY_MAX 1024

struct http_proxy {
	char *host;             /* name or IP literal without brackets; NULL: no proxy */
	uint16_t port;
	bool is_tls;            /* the proxy itself is spoken to over TLS */
	char *authorization;    /* value of Proxy-Authorization, or NULL */
};

struct http_no_proxy;

/* Immutable after http_proxies_read; may be shared between threads. */
struct http_proxies {
	struct http_proxy http;         /* for http targets */
	struct http_proxy https;        /* for https targets */
	struct http_no_proxy *except;
	size_t except_count;
};

/*
 * Reads the variables through `get` (getenv, or a test's own). A proxy kind that we do not speak (socks5...) is INVALID_ARGUMENT
 * naming the variable, never its value. *p is valid in any case.
 */
int http_proxies_read(struct http_proxies *p, char *(*get)(const char *name), struct err *e);
void http_proxies_free(struct http_proxies *p);
/* The proxy for a target, or NULL for a direct connection. host is a name or an IP literal without brackets. */
const struct http_proxy *http_proxies_pick(const struct http_proxies *p, bool is_tls, const char *host);

#endif
