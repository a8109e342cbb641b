#include "serve/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/addr.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "net/listener.h"
#include "net/tls.h"
#include "peer/worker.h"
#include "serve/proxy_blob.h"
#include "serve/proxy_fetch.h"
#include "serve/proxy_flow.h"
#include "serve/proxy_internal.h"

/* proxy_free waits so long for the data loops. */
#define CLOSE_MS 5000

const char *const proxy_method_names[PROXY_METHODS] = {
	"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other",
};

/* ---- on the data loops ---- */

static void
tunnel_over(void *conn_ctx)
{
	proxy_tunnel_free(conn_ctx);
}

static struct tls_config *
start_tls(void *ctx, struct conn *c)
{
	struct proxy_side *side = ctx;
	struct proxy_interceptor *i = side->proxy->o.interceptor;

	return i->on_port(i, side, c);
}

static void
side_start(struct loop_msg *msg)
{
	struct proxy_side *side = CONTAINER_OF(msg, struct proxy_side, start);
	struct proxy *p = side->proxy;
	const struct config *c = p->o.config;
	struct http_server_opts o = {
		.head_max = c->proxy.read_buffer_bytes, .conns_max = (c->x.proxy.max_connections + p->side_count - 1) / p->side_count,
		.name = "proxy (x.proxy.maxConnections)", .turned_away = &p->counts.turned_away, .conn_over = tunnel_over,
	};

	if (p->o.interceptor != NULL && p->o.interceptor->on_port != NULL) {
		o.start_tls = start_tls;
		o.start_tls_ctx = side;
	}
	side->buffer = xmalloc(PROXY_READ_BYTES);
	side->dns = dns_new(side->loop, &(struct dns_opts){0});
	side->client = http_client_new(side->loop, &(struct http_client_opts){.dns = side->dns, .proxies = &p->proxies});
	side->http = http_server_new(side->loop, &o, proxy_on_request, side);
}

static void
side_is_drained(void *ctx)
{
	struct proxy_side *side = ctx;

	loop_post(side->proxy->o.loop, &side->drain);
}

static void proxy_side_drained(struct loop_msg *msg);

static void
side_drain(struct loop_msg *msg)
{
	struct proxy_side *side = CONTAINER_OF(msg, struct proxy_side, drain);

	side->drain.run = proxy_side_drained;
	if (!side->is_closing)
		http_server_shutdown(side->http, side_is_drained, side);
}

static void
side_is_closed(struct loop_msg *msg)
{
	CONTAINER_OF(msg, struct proxy_side, close)->is_done = true;
}

static void
side_close(struct loop_msg *msg)
{
	struct proxy_side *side = CONTAINER_OF(msg, struct proxy_side, close);
	struct proxy_interceptor *i = side->proxy->o.interceptor;

	side->is_closing = true;
	if (i != NULL)
		i->close_side(i, side);
	proxy_splices_close(side);
	http_server_free(side->http);
	http_client_free(side->client);
	dns_free(side->dns);
	proxy_blobs_close(side);
	free(side->buffer);
	buf_free(&side->key);
	side->close.run = side_is_closed;
	loop_post(side->proxy->o.loop, &side->close);
}

/* An accepted socket on its way to a data loop. */
struct arrival {
	struct loop_msg msg;
	struct proxy_side *side;
	int fd;
};

static void
arrive(struct loop_msg *msg)
{
	struct arrival *a = CONTAINER_OF(msg, struct arrival, msg);

	if (a->side->is_closing)
		close(a->fd);
	else
		http_server_adopt_fd(a->side->http, a->fd);
	free(a);
}

/* ---- on the control loop ---- */

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	struct proxy *p = ctx;
	struct arrival *a = xcalloc(1, sizeof *a);

	(void)peer;
	a->msg.run = arrive;
	a->side = &p->sides[p->next_side++ % p->side_count];
	a->fd = fd;
	loop_post(a->side->loop, &a->msg);
}

static void
make_via(struct proxy *p)
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(DIGEST_SHA256, p->o.host_id, strlen(p->o.host_id), hex);
	snprintf(p->via, sizeof p->via, "1.1 dfdaemon-%.8s", hex);
}

static int
load_trust(struct proxy *p, struct err *e)
{
	const struct config *c = p->o.config;
	struct tls_client_opts o = {
		.ca_file = c->x.backend.ca_cert, .more_ca_file = c->proxy.registry_mirror.cert, .system_roots = true,
		.insecure = c->x.backend.insecure_skip_verify};

	if (o.insecure)
		o.system_roots = false;
	p->upstream_tls = tls_client_new(&o, e);
	if (p->upstream_tls != NULL)
		return 0;
	if (o.ca_file != NULL || o.more_ca_file != NULL)
		return err_wrap(e, "x.backend.caCert, proxy.registryMirror.cert");
	/* No roots on this system: said now, and to whoever asks for https. */
	log_warn("the proxy cannot reach https upstreams: %s", e->text);
	return 0;
}

struct proxy *
proxy_new(const struct proxy_options *o, struct err *e)
{
	struct proxy *p = xcalloc(1, sizeof *p);

	p->o = *o;
	list_init(&p->jobs);
	map_init(&p->verified);
	map_init(&p->suspects);
	make_via(p);
	proxy_rate_init(&p->rate, o->config->proxy.server.request_rate_limit, clock_mono_ms());
	if (http_proxies_read(&p->proxies, getenv, e) < 0 || load_trust(p, e) < 0) {
		proxy_free(p);
		return NULL;
	}
	p->side_count = o->workers->count;
	p->sides = xcalloc(p->side_count, sizeof *p->sides);
	for (size_t i = 0; i < p->side_count; i++) {
		struct proxy_side *side = &p->sides[i];

		side->proxy = p;
		side->worker = &o->workers->at[i];
		side->loop = side->worker->loop;
		list_init(&side->fetches);
		list_init(&side->direct);
		list_init(&side->splices);
		list_init(&side->tunnels);
		proxy_blobs_init(side);
		side->start.run = side_start;
		side->drain.run = side_drain;
		side->close.run = side_close;
		loop_post(side->loop, &side->start);
	}
	return p;
}

void
proxy_set_cluster(struct proxy *p, struct cluster *cluster)
{
	p->o.cluster = cluster;
}

int
proxy_listen(struct proxy *p, const struct addr *a, struct addr *bound, struct err *e)
{
	const struct config *c = p->o.config;

	p->listener = listener_tcp(p->o.loop, a, on_accept, p, e);
	if (p->listener == NULL)
		return -1;
	*bound = *listener_addr(p->listener);
	p->port = addr_port(bound);
	if (!addr_is_loopback(bound) && !c->proxy.server.basic_auth.is_on)
		log_warn("the proxy is open to everybody who reaches %s:%u: proxy.server.basicAuth is not set", c->proxy.server.ip, (unsigned)p->port);
	return 0;
}

const struct proxy_counts *
proxy_counts(const struct proxy *p)
{
	return &p->counts;
}

void
proxy_forget(struct proxy *p, const char *task_id)
{
	free(map_del(&p->verified, slice_str(task_id)));
	atomic_fetch_add_explicit(&p->generation, 1, memory_order_release);
}

static void
say_drained(struct proxy *p)
{
	void (*fn)(void *) = p->drained;

	p->drained = NULL;
	loop_timer_clear(p->o.loop, &p->grace);
	if (fn != NULL)
		fn(p->drained_ctx);
}

static void
grace_is_over(void *ctx)
{
	say_drained(ctx);
}

static void
proxy_side_drained(struct loop_msg *msg)
{
	struct proxy *p = CONTAINER_OF(msg, struct proxy_side, drain)->proxy;

	if (--p->draining == 0)
		say_drained(p);
}

void
proxy_drain(struct proxy *p, int ms, void (*done)(void *ctx), void *ctx)
{
	listener_free(p->listener);
	p->listener = NULL;
	p->drained = done;
	p->drained_ctx = ctx;
	p->draining = p->side_count;
	loop_timer_set(p->o.loop, &p->grace, ms, grace_is_over, p);
	for (size_t i = 0; i < p->side_count; i++)
		loop_post(p->sides[i].loop, &p->sides[i].drain);
}

static bool
is_quiet(const struct proxy *p)
{
	for (size_t i = 0; i < p->side_count; i++)
		if (!p->sides[i].is_done)
			return false;
	return list_is_empty(&p->jobs) && p->verifying == 0;
}

void
proxy_free(struct proxy *p)
{
	int64_t until = clock_mono_ms() + CLOSE_MS;

	if (p == NULL)
		return;
	loop_timer_clear(p->o.loop, &p->grace);
	p->drained = NULL;
	listener_free(p->listener);
	for (size_t i = 0; i < p->side_count; i++)
		loop_post(p->sides[i].loop, &p->sides[i].close);
	while (!is_quiet(p) && clock_mono_ms() < until)
		loop_turn(p->o.loop, 5);
	if (!is_quiet(p)) {
		/* Their letters may still come: better lost memory than a letter to nobody. */
		log_error("some requests of the proxy did not end in %d s", CLOSE_MS / 1000);
		return;
	}
	if (p->o.interceptor != NULL)
		p->o.interceptor->free_all(p->o.interceptor);
	proxy_verified_free(p);
	http_proxies_free(&p->proxies);
	tls_config_unref(p->upstream_tls);
	free(p->sides);
	free(p);
}
