#include "net/http_pool.h"

#include <stdlib.h>

#include "base/mem.h"
#include "net/conn.h"
#include "net/tls.h"

struct pool_origin {
	char *key;
	struct list links;      /* youngest first */
};

struct http_link *
http_link_new(struct conn *conn, char *key, struct tls_config *tls)
{
	struct http_link *l = xcalloc(1, sizeof(*l));

	list_init(&l->in_origin);
	list_init(&l->in_age);
	l->key = key;
	l->conn = conn;
	l->tls = tls != NULL ? tls_config_ref(tls) : NULL;
	h1_init(&l->h1, H1_RESPONSE);
	return l;
}

static void
leave(struct http_link *l)
{
	struct http_pool *p = l->pool;
	struct pool_origin *o = l->origin;

	if (p == NULL)
		return;
	list_del(&l->in_origin);
	list_del(&l->in_age);
	p->count--;
	l->pool = NULL;
	l->origin = NULL;
	if (list_is_empty(&o->links)) {
		map_del(&p->origins, slice_str(o->key));
		free(o->key);
		free(o);
	}
}

void
http_link_free(struct http_link *l)
{
	leave(l);
	if (l->conn != NULL)
		conn_abort(l->conn);
	if (l->tls != NULL)
		tls_config_unref(l->tls);
	h1_free(&l->h1);
	free(l->key);
	free(l);
}

/* In order: a TLS server takes a session for broken whose connection ends without close_notify. */
static void
retire(struct http_link *l)
{
	conn_close(l->conn);
	l->conn = NULL;
	http_link_free(l);
}

/* An unused connection that says something or ends is of no use any more. */
static size_t
idle_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)c;
	(void)p;
	http_link_free(ctx);
	return n;
}

static void
idle_eof(struct conn *c, void *ctx)
{
	(void)c;
	http_link_free(ctx);
}

static void
idle_close(struct conn *c, void *ctx, const struct err *e)
{
	struct http_link *l = ctx;

	(void)c;
	(void)e;
	l->conn = NULL;
	http_link_free(l);
}

static const struct conn_events idle_events = {.on_data = idle_data, .on_eof = idle_eof, .on_close = idle_close};

void
http_pool_init(struct http_pool *p, size_t max, int idle_ms)
{
	map_init(&p->origins);
	list_init(&p->by_age);
	p->count = 0;
	p->max = max;
	p->idle_ms = idle_ms;
}

void
http_pool_free(struct http_pool *p)
{
	while (!list_is_empty(&p->by_age))
		http_link_free(CONTAINER_OF(p->by_age.next, struct http_link, in_age));
	map_free(&p->origins);
}

void
http_pool_put(struct http_pool *p, struct http_link *l)
{
	struct pool_origin *o = map_get(&p->origins, slice_str(l->key));

	if (o == NULL) {
		o = xcalloc(1, sizeof(*o));
		o->key = xstrdup(l->key);
		list_init(&o->links);
		map_put(&p->origins, slice_str(o->key), o);
	}
	l->pool = p;
	l->origin = o;
	l->call = NULL;
	l->was_used = true;
	list_add_head(&o->links, &l->in_origin);
	list_add_tail(&p->by_age, &l->in_age);
	p->count++;
	conn_set_events(l->conn, &idle_events, l);
	conn_set_read_ms(l->conn, 0);
	conn_set_write_ms(l->conn, 0);
	conn_set_idle_ms(l->conn, p->idle_ms);
	conn_resume_read(l->conn);
	while (p->count > p->max)
		retire(CONTAINER_OF(p->by_age.next, struct http_link, in_age));
}

struct http_link *
http_pool_take(struct http_pool *p, const char *key)
{
	struct pool_origin *o;

	while ((o = map_get(&p->origins, slice_str(key))) != NULL) {
		struct http_link *l = CONTAINER_OF(o->links.next, struct http_link, in_origin);

		leave(l);
		if (conn_is_quiet(l->conn)) {
			conn_set_idle_ms(l->conn, 0);
			return l;
		}
		http_link_free(l);
	}
	return NULL;
}

void
http_pool_make_room(struct http_pool *p, const char *key)
{
	struct pool_origin *o = map_get(&p->origins, slice_str(key));

	if (o != NULL)
		retire(CONTAINER_OF(o->links.prev, struct http_link, in_origin));
}
