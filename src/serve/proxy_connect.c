/*
 * CONNECT: a blind byte tunnel, or the interceptor's.
 */
#include "serve/proxy_internal.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn.h"

#define DIAL_MS (30 * 1000)

static const struct h1_field challenge[] = {
	{{(const uint8_t *)"Proxy-Authenticate", 18}, {(const uint8_t *)"Basic realm=\"dragonfly\"", 23}}};

/* A CONNECT whose upstream is being connected to. */
struct proxy_dial {
	struct list link;
	struct proxy_side *side;
	struct http_exchange *x;
	struct conn *conn;
};

/* ---- what a connection inside is known as ---- */

struct proxy_tunnel *
proxy_tunnel_new(struct slice host, uint16_t port, bool is_authenticated)
{
	struct proxy_tunnel *t = xcalloc(1, sizeof *t);

	t->host = slice_dup(host);
	t->port = port;
	t->is_authenticated = is_authenticated;
	return t;
}

void
proxy_tunnel_free(struct proxy_tunnel *t)
{
	if (t == NULL)
		return;
	free(t->host);
	free(t);
}

void
proxy_serve_conn(struct proxy_side *side, struct conn *c, struct proxy_tunnel *t)
{
	if (side->is_closing) {
		conn_abort(c);
		proxy_tunnel_free(t);
		return;
	}
	http_server_adopt_conn(side->http, c, t);
}

/* ---- blind ---- */

static void
dial_free(struct proxy_dial *d)
{
	list_del(&d->link);
	free(d);
}

static void
on_open(struct conn *c, void *ctx)
{
	struct proxy_dial *d = ctx;
	struct proxy_side *side = d->side;
	struct conn *client = http_exchange_take_conn(d->x, 200, NULL, 0);

	dial_free(d);
	proxy_splice(side, client, c);
}

static size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)c;
	(void)ctx;
	(void)p;
	(void)n;
	return 0;
}

static void
on_close(struct conn *c, void *ctx, const struct err *e)
{
	struct proxy_dial *d = ctx;
	struct proxy_side *side = d->side;
	struct http_exchange *x = d->x;

	(void)c;
	dial_free(d);
	proxy_refuse(side, x, e->code == ERR_DEADLINE_EXCEEDED ? 504 : 502, PROXY_BY_BACKEND, NULL, 0, e->text);
}

static void
on_gone(void *ctx)
{
	struct proxy_dial *d = ctx;

	conn_abort(d->conn);
	dial_free(d);
}

static void
dial(struct proxy_side *side, struct http_exchange *x, struct slice host, uint16_t port)
{
	static const struct conn_events events = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
	static const struct http_exchange_events client_events = {.on_gone = on_gone};
	struct proxy_dial *d = xcalloc(1, sizeof *d);
	char *name = slice_dup(host);

	d->side = side;
	d->x = x;
	list_add_tail(&side->tunnels, &d->link);
	http_exchange_set_events(x, &client_events, d);
	d->conn = conn_connect(side->loop, &(struct conn_opts){.host = name, .port = port, .dns = side->dns, .total_ms = DIAL_MS}, &events, d);
	free(name);
}

void
proxy_connect(struct proxy_side *side, struct http_exchange *x, struct slice host, uint16_t port, bool is_authenticated)
{
	struct proxy_interceptor *i = side->proxy->o.interceptor;

	if (i != NULL && i->takes(i, host, port))
		i->connect(i, side, x, proxy_tunnel_new(host, port, is_authenticated));
	else if (!is_authenticated)
		/* Inside nobody could ask for it any more. */
		proxy_refuse(side, x, 407, PROXY_BY_PROXY, challenge, 1, "a tunnel to this host needs the proxy credential in Proxy-Authorization");
	else
		dial(side, x, host, port);
}
