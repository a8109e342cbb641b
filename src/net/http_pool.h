/*
 * Connections of the HTTP client that wait for their next request, by origin. Private to http_client.
 */
#ifndef NET_HTTP_POOL_H
#define NET_HTTP_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "base/map.h"
#include "wire/h1.h"

struct conn;
struct http_call;
struct http_pool;
struct pool_origin;
struct tls_config;

/* One connection with its parser. It belongs to a call or lies in the pool. */
struct http_link {
	struct list in_origin;
	struct list in_age;
	struct http_pool *pool;         /* while it lies there */
	struct pool_origin *origin;
	char *key;                      /* scheme, host, port, TLS config, proxy: equal keys may share */
	struct conn *conn;
	struct tls_config *tls;         /* referenced, so that the key stays true */
	struct http_call *call;
	struct h1 h1;
	bool was_used;                  /* has carried an exchange before */
};

struct http_pool {
	struct map origins;
	struct list by_age;             /* oldest first */
	size_t count;
	size_t max;
	int idle_ms;
};

/* Takes over conn and key, and a reference of tls (may be NULL). */
struct http_link *http_link_new(struct conn *conn, char *key, struct tls_config *tls);
/* Closes the connection unless it was taken out (conn NULL). */
void http_link_free(struct http_link *l);

void http_pool_init(struct http_pool *p, size_t max, int idle_ms);
void http_pool_free(struct http_pool *p);
/* The link waits here now; the oldest one goes when there are too many. */
void http_pool_put(struct http_pool *p, struct http_link *l);
/* The youngest link for key whose server has neither ended it nor said anything, out of the pool; or NULL. */
struct http_link *http_pool_take(struct http_pool *p, const char *key);
/* Closes the oldest link for key: a new one will come in its place. */
void http_pool_make_room(struct http_pool *p, const char *key);

#endif
