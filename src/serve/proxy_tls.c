#include "serve/proxy_tls.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "config/config.h"
#include "net/addr.h"
#include "net/conn.h"
#include "net/mint.h"
#include "net/tls.h"
#include "net/tls_sessions.h"
#include "serve/proxy_internal.h"
#include "serve/proxy_rules.h"

/* So many hosts are named in the warning about clients that do not trust us. More slots: a loop that passes the limit beside others finds one. */
#define WARNED_MAX 1000
#define WARNED_SLOTS 2048
/* The first byte of a handshake record (RFC 8446, 5.1). */
#define TLS_HANDSHAKE 0x16

static const char *const alpn[] = {"http/1.1", "http/1.0", NULL};

/* What one data loop has; touched by that loop alone. */
struct slot {
	struct mint *mint;              /* made when first needed */
	struct list pending;            /* struct pending */
	size_t pending_count;
};

struct interceptor {
	struct proxy_interceptor funcs;
	const struct config *config;
	struct mint_ca *ca;
	char *ca_file;                  /* certificate that clients must trust; for log lines */
	struct tls_sessions *sessions;  /* of clients, whichever loop they come to */
	struct siphash_key warned_key;
	atomic_uint_fast64_t warned[WARNED_SLOTS];      /* hashes of the hosts for which a client did not trust it; 0: free */
	atomic_uint warned_count;
	struct slot slots[];
};

/* A tunnel whose client has not said yet what it speaks, or is shaking hands. */
struct pending {
	struct list link;
	struct slot *slot;
	struct interceptor *owner;
	struct proxy_side *side;
	struct conn *conn;
	struct proxy_tunnel *tunnel;
	struct tls_config *tls;
};

static struct interceptor *
interceptor_of(struct proxy_interceptor *i)
{
	return CONTAINER_OF(i, struct interceptor, funcs);
}

static struct slot *
slot_of(struct interceptor *i, const struct proxy_side *side)
{
	struct slot *s = &i->slots[side - side->proxy->sides];

	if (s->mint == NULL)
		s->mint = mint_new(i->ca, MINT_CACHE_MAX);
	return s;
}

static bool
takes(struct proxy_interceptor *funcs, struct slice host, uint16_t port)
{
	const struct config_strings *hosts = &interceptor_of(funcs)->config->proxy.server.intercept_hosts;

	for (size_t i = 0; i < hosts->count; i++)
		if (proxy_host_matches(hosts->items[i], host, port))
			return true;
	return hosts->count == 0;
}

/* ---- a tunnel until its client is served ---- */

static void
pending_free(struct pending *p)
{
	list_del(&p->link);
	p->slot->pending_count--;
	proxy_tunnel_free(p->tunnel);
	tls_config_unref(p->tls);
	free(p);
}

static void
serve(struct pending *p)
{
	struct proxy_tunnel *tunnel = p->tunnel;
	struct proxy_side *side = p->side;
	struct conn *c = p->conn;

	conn_set_idle_ms(c, 0);
	p->tunnel = NULL;
	pending_free(p);
	proxy_serve_conn(side, c, tunnel);
}

static void
on_open(struct conn *c, void *ctx)
{
	struct pending *p = ctx;

	if (!conn_is_tls(c))
		return;
	p->tunnel->is_tls = true;
	serve(p);
}

/* TLS, or plain HTTP inside the tunnel. */
static size_t
on_data(struct conn *c, void *ctx, const uint8_t *bytes, size_t n)
{
	struct pending *p = ctx;

	if (n == 0)
		return 0;
	if (bytes[0] == TLS_HANDSHAKE) {
		conn_set_idle_ms(c, 0);
		conn_start_tls(c, p->tls, NULL);
	} else {
		serve(p);
	}
	return 0;
}

/* Once for each host, on whatever loop. */
static void
warn_of_distrust(struct interceptor *i, const struct conn *c, const char *host)
{
	uint_fast64_t hash = siphash(&i->warned_key, host, strlen(host)) | 1, there;
	size_t at = (hash >> 1) % WARNED_SLOTS;

	if (atomic_load(&i->warned_count) >= WARNED_MAX)
		return;
	/* There are more slots than hosts: a free one is found. */
	while (there = 0, !atomic_compare_exchange_strong(&i->warned[at], &there, hash)) {
		if (there == hash)
			return;
		at = (at + 1) % WARNED_SLOTS;
	}
	log_warn("a client does not trust the proxy's certificates client=%s host=%s: clients must trust the authority file=%s%s", conn_peer_text(c),
	    host, i->ca_file, atomic_fetch_add(&i->warned_count, 1) + 1 >= WARNED_MAX ? " (further hosts are not named)" : "");
}

static void
on_close(struct conn *c, void *ctx, const struct err *e)
{
	struct pending *p = ctx;
	struct interceptor *i = p->owner;

	log_info("proxy tunnel ended before its first request client=%s host=%s:%u cause=\"%s\"", conn_peer_text(c), p->tunnel->host,
	    (unsigned)p->tunnel->port, e->text);
	if (e->code == ERR_UNAUTHENTICATED)
		warn_of_distrust(i, c, p->tunnel->host);
	atomic_fetch_add_explicit(&p->side->proxy->counts.failed, 1, memory_order_relaxed);
	pending_free(p);
}

static const struct conn_events pending_events = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

static struct tls_config *
config_for(struct slot *s, const char *host, struct err *e)
{
	struct tls_identity *id = mint_identity(s->mint, host, clock_wall_ms() / 1000, e);
	struct tls_config *tls;

	if (id == NULL)
		return NULL;
	tls = tls_server_new(&(struct tls_server_opts){.identity = id, .alpn = alpn, .refuse_other_alpn = true}, e);
	tls_identity_unref(id);
	return tls;
}

static void
begin_tunnel(struct proxy_interceptor *funcs, struct proxy_side *side, struct http_exchange *x, struct proxy_tunnel *tunnel)
{
	struct interceptor *i = interceptor_of(funcs);
	struct slot *s = slot_of(i, side);
	struct tls_config *tls;
	struct pending *p;
	struct err e;

	if (conn_is_tls(http_exchange_conn(x))) {
		proxy_refuse(side, x, 400, PROXY_BY_PROXY, NULL, 0, "TLS inside TLS is not supported: give the proxy's address as http://");
		goto fail;
	}
	if (s->pending_count >= PROXY_TLS_PENDING_MAX) {
		proxy_refuse(side, x, 503, PROXY_BY_PROXY, NULL, 0, "too many tunnels wait for their handshake");
		goto fail;
	}
	tls = config_for(s, tunnel->host, &e);
	if (tls == NULL) {
		proxy_refuse(side, x, e.code == ERR_INVALID_ARGUMENT ? 400 : 500, PROXY_BY_PROXY, NULL, 0, e.text);
		goto fail;
	}
	p = xcalloc(1, sizeof(*p));
	p->slot = s;
	p->owner = i;
	p->side = side;
	p->tunnel = tunnel;
	p->tls = tls;
	list_add_tail(&s->pending, &p->link);
	s->pending_count++;
	p->conn = http_exchange_take_conn(x, 200, NULL, 0);
	conn_set_idle_ms(p->conn, PROXY_TLS_FIRST_MS);
	conn_set_sessions(p->conn, i->sessions);
	conn_set_events(p->conn, &pending_events, p);
	conn_resume_read(p->conn);
	return;
fail:
	proxy_tunnel_free(tunnel);
}

/* ---- TLS on the plain port: by the name the client sends, else for the address it came to ---- */

static struct tls_identity *
pick(void *ctx, const char *sni)
{
	struct slot *s = ctx;
	struct err e;
	struct tls_identity *id = mint_identity(s->mint, sni, clock_wall_ms() / 1000, &e);

	if (id == NULL)
		log_info("no certificate for a client of the proxy's port cause=\"%s\"", e.text);
	return id;
}

static struct tls_config *
on_port(struct proxy_interceptor *funcs, struct proxy_side *side, struct conn *c)
{
	struct slot *s = slot_of(interceptor_of(funcs), side);
	struct tls_identity *id;
	struct tls_config *tls = NULL;
	char ip[ADDR_TEXT_MAX];
	struct addr local;
	struct err e;

	conn_local(c, &local);
	id = mint_identity(s->mint, addr_format_ip(&local, ip), clock_wall_ms() / 1000, &e);
	if (id != NULL)
		tls = tls_server_new(&(struct tls_server_opts){
			.identity = id, .alpn = alpn, .refuse_other_alpn = true, .pick = pick, .pick_ctx = s}, &e);
	conn_set_sessions(c, interceptor_of(funcs)->sessions);
	if (tls == NULL)
		log_warn("TLS to the proxy's port cannot be answered client=%s cause=\"%s\"", conn_peer_text(c), e.text);
	tls_identity_unref(id);
	return tls;
}

/* ---- life ---- */

static void
close_side(struct proxy_interceptor *funcs, struct proxy_side *side)
{
	struct interceptor *i = interceptor_of(funcs);
	struct slot *s = &i->slots[side - side->proxy->sides];

	while (!list_is_empty(&s->pending)) {
		struct pending *p = CONTAINER_OF(s->pending.next, struct pending, link);
		struct conn *c = p->conn;

		pending_free(p);
		conn_abort(c);
	}
	mint_free(s->mint);
	s->mint = NULL;
}

static void
free_all(struct proxy_interceptor *funcs)
{
	struct interceptor *i = interceptor_of(funcs);

	mint_ca_unref(i->ca);
	tls_sessions_unref(i->sessions);
	free(i->ca_file);
	free(i);
}

/* An authority that users gave, or our own one. */
static int
get_ca(struct interceptor *i, struct err *e)
{
	const struct config *c = i->config;
	char *dir, *name;
	bool made;

	if (c->proxy.server.ca_cert != NULL) {
		i->ca = mint_ca_load(c->proxy.server.ca_cert, c->proxy.server.ca_key, e);
		if (i->ca == NULL)
			return err_wrap(e, "proxy.server.caCert, caKey");
		i->ca_file = xstrdup(c->proxy.server.ca_cert);
		/* Clients that try https on this port expect plain text in answer when nobody set up an authority. */
		i->funcs.on_port = on_port;
		return 0;
	}
	dir = xasprintf("%s/%s", c->storage.dir, PROXY_TLS_CA_DIR);
	name = xasprintf("proxy CA of %s", c->host.hostname);
	i->ca = mint_ca_open_dir(dir, name, &made, e);
	i->ca_file = xasprintf("%s/%s", dir, MINT_CA_CERT);
	if (i->ca == NULL)
		err_wrap(e, "the proxy's own certificate authority (give one with proxy.server.caCert and caKey)");
	else if (made)
		log_info("made a certificate authority for the proxy: clients that send https through it must trust it cert=%s key=%s/%s",
		    i->ca_file, dir, MINT_CA_KEY);
	free(dir);
	free(name);
	return i->ca != NULL ? 0 : -1;
}

struct proxy_interceptor *
proxy_tls_new(const struct config *c, size_t side_count, struct err *e)
{
	struct interceptor *i = xcalloc(1, sizeof(*i) + side_count * sizeof(i->slots[0]));

	i->funcs = (struct proxy_interceptor){.takes = takes, .connect = begin_tunnel, .close_side = close_side, .free_all = free_all};
	i->config = c;
	i->sessions = tls_sessions_new(TLS_SESSIONS_MAX);
	rand_bytes(&i->warned_key, sizeof i->warned_key);
	for (size_t k = 0; k < side_count; k++)
		list_init(&i->slots[k].pending);
	if (get_ca(i, e) == 0)
		return &i->funcs;
	free_all(&i->funcs);
	return NULL;
}
