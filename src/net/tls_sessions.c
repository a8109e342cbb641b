#include "net/tls_sessions.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "net/tls_internal.h"

struct tls_session {
	struct list link;               /* in by_use */
	struct slice key;               /* allocated */
	uint64_t config;                /* of a client: serial of the one by which the server's certificate was judged; else 0 */
	int64_t until_ms;
	br_ssl_session_parameters params;
};

struct tls_sessions {
	const br_ssl_session_cache_class *vtable;       /* first: BearSSL hands us its address */
	atomic_uint refs;
	pthread_mutex_t lock;           /* of what follows; held for a look-up */
	size_t max;
	struct map by_key;
	struct list by_use;             /* least recently used first */
};

static void
drop(struct tls_sessions *s, struct tls_session *x)
{
	map_del(&s->by_key, x->key);
	list_del(&x->link);
	free((void *)(uintptr_t)x->key.p);
	mem_wipe(x, sizeof *x);
	free(x);
}

static struct tls_session *
find(struct tls_sessions *s, struct slice key)
{
	struct tls_session *x = map_get(&s->by_key, key);

	if (x != NULL && x->until_ms <= clock_mono_ms()) {
		drop(s, x);
		return NULL;
	}
	if (x != NULL) {
		list_del(&x->link);
		list_add_tail(&s->by_use, &x->link);
	}
	return x;
}

static void
put(struct tls_sessions *s, struct slice key, uint64_t config, const br_ssl_session_parameters *params)
{
	struct tls_session *x = map_get(&s->by_key, key);

	/* A session that was resumed keeps its age. */
	if (x != NULL && x->config == config && x->params.session_id_len == params->session_id_len &&
	    memcmp(x->params.session_id, params->session_id, params->session_id_len) == 0)
		return;
	if (x != NULL)
		drop(s, x);
	while (s->by_key.count >= s->max)
		drop(s, CONTAINER_OF(s->by_use.next, struct tls_session, link));
	x = xcalloc(1, sizeof *x);
	x->key = slice_make(slice_dup(key), key.n);
	x->config = config;
	x->until_ms = clock_mono_ms() + TLS_SESSION_MS;
	x->params = *params;
	map_put(&s->by_key, x->key, x);
	list_add_tail(&s->by_use, &x->link);
}

/* ---- as a server ---- */

static struct slice
id_of(const br_ssl_session_parameters *p)
{
	return slice_make(p->session_id, p->session_id_len);
}

static void
save(const br_ssl_session_cache_class **ctx, br_ssl_server_context *server, const br_ssl_session_parameters *params)
{
	struct tls_sessions *s = (struct tls_sessions *)(void *)ctx;

	(void)server;
	pthread_mutex_lock(&s->lock);
	put(s, id_of(params), 0, params);
	pthread_mutex_unlock(&s->lock);
}

static int
load(const br_ssl_session_cache_class **ctx, br_ssl_server_context *server, br_ssl_session_parameters *params)
{
	struct tls_sessions *s = (struct tls_sessions *)(void *)ctx;
	const struct tls_session *x;

	(void)server;
	pthread_mutex_lock(&s->lock);
	x = find(s, id_of(params));
	if (x != NULL)
		*params = x->params;
	pthread_mutex_unlock(&s->lock);
	return x != NULL;
}

static const br_ssl_session_cache_class cache_class = {sizeof(struct tls_sessions), save, load};

const br_ssl_session_cache_class **
tls_sessions_of_server(struct tls_sessions *s)
{
	return &s->vtable;
}

/* ---- as a client ---- */

bool
tls_sessions_get(struct tls_sessions *s, struct slice key, const struct tls_config *config, br_ssl_session_parameters *out)
{
	struct tls_session *x;
	bool is_there;

	pthread_mutex_lock(&s->lock);
	x = find(s, key);
	is_there = x != NULL && x->config == config->serial;
	if (is_there)
		*out = x->params;
	pthread_mutex_unlock(&s->lock);
	return is_there;
}

void
tls_sessions_put(struct tls_sessions *s, struct slice key, const struct tls_config *config, const br_ssl_session_parameters *params)
{
	if (params->session_id_len == 0)
		return;
	pthread_mutex_lock(&s->lock);
	put(s, key, config->serial, params);
	pthread_mutex_unlock(&s->lock);
}

void
tls_sessions_drop(struct tls_sessions *s, struct slice key)
{
	struct tls_session *x;

	pthread_mutex_lock(&s->lock);
	x = map_get(&s->by_key, key);
	if (x != NULL)
		drop(s, x);
	pthread_mutex_unlock(&s->lock);
}

/* ---- life ---- */

struct tls_sessions *
tls_sessions_new(size_t max)
{
	struct tls_sessions *s = xcalloc(1, sizeof *s);

	s->vtable = &cache_class;
	atomic_init(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	s->max = max;
	map_init(&s->by_key);
	list_init(&s->by_use);
	return s;
}

struct tls_sessions *
tls_sessions_ref(struct tls_sessions *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void
tls_sessions_unref(struct tls_sessions *s)
{
	if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	while (!list_is_empty(&s->by_use))
		drop(s, CONTAINER_OF(s->by_use.next, struct tls_session, link));
	map_free(&s->by_key);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

size_t
tls_sessions_count(struct tls_sessions *s)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->by_key.count;
	pthread_mutex_unlock(&s->lock);
	return n;
}
