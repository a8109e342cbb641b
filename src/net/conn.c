#include "net/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/conn_internal.h"
#include "net/dial.h"
#include "net/os/sockopt.h"
#include "net/socket.h"
#include "net/tls.h"
#include "net/tls_engine.h"
#include "net/tls_sessions.h"

static void
start_tls(struct conn *c)
{
	struct tls_resume resume = {.sessions = c->sessions, .key = c->session_key};
	struct err e;

	c->tls = tls_engine_new(c->tls_config, c->tls_name, &resume, &e);
	tls_config_unref(c->tls_config);
	c->tls_config = NULL;
	c->handshake_end = loop_now_ms(c->loop) + c->handshake_ms;
	if (c->tls == NULL) {
		err_wrap(&e, "%s: TLS", conn_peer_text(c));
		conn_break(c, &e);
		return;
	}
	c->state = CONN_HANDSHAKE;
	loop_defer(c->loop, &c->later, conn_on_later);
	conn_watch_waits(c);
}

static void
connected(struct conn *c)
{
	c->last_in_ms = c->last_out_ms = loop_now_ms(c->loop);
	if (c->tls_config != NULL) {
		start_tls(c);
	} else {
		c->state = CONN_OPEN;
		c->tell_open = true;
		loop_defer(c->loop, &c->later, conn_on_later);
	}
	conn_update_io(c);
}

static void
on_dialled(void *ctx, int fd, const struct addr *peer, const struct err *e)
{
	struct conn *c = ctx;

	c->dial = NULL;
	if (fd < 0) {
		conn_finish(c, e);
		return;
	}
	c->fd = fd;
	c->peer = *peer;
	addr_format(peer, c->peer_text);
	if (c->tls_config != NULL && c->tls_name == NULL) {
		char ip[ADDR_TEXT_MAX];

		c->tls_name = xstrdup(addr_format_ip(peer, ip));
	}
	connected(c);
}

static struct conn *
new_conn(struct loop *loop, const struct conn_opts *o, const struct conn_events *ev, void *ctx)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->loop = loop;
	c->ev = *ev;
	c->ctx = ctx;
	c->fd = -1;
	c->handshake_ms = o->handshake_ms > 0 ? o->handshake_ms : CONN_HANDSHAKE_MS;
	c->total_ms = o->total_ms;
	c->total_end = o->total_ms > 0 ? loop_now_ms(loop) + o->total_ms : 0;
	if (o->tls != NULL)
		c->tls_config = tls_config_ref(o->tls);
	if (o->tls_name != NULL)
		c->tls_name = xstrdup(o->tls_name);
	if (o->sessions != NULL)
		c->sessions = tls_sessions_ref(o->sessions);
	if (o->session_key != NULL)
		c->session_key = xstrdup(o->session_key);
	return c;
}

struct conn *
conn_connect(struct loop *loop, const struct conn_opts *o, const struct conn_events *ev, void *ctx)
{
	struct conn *c = new_conn(loop, o, ev, ctx);

	c->state = CONN_DIALLING;
	if (o->addr.len > 0) {
		addr_format(&o->addr, c->peer_text);
	} else if (o->host != NULL) {
		c->target = xasprintf(strchr(o->host, ':') != NULL && o->host[0] != '[' ? "[%s]:%u" : "%s:%u", o->host,
		    (unsigned)o->port);
		if (c->tls_config != NULL && c->tls_name == NULL)
			c->tls_name = xstrdup(o->host);
	}
	c->dial = dial_start(loop, o, on_dialled, c);
	conn_watch_waits(c);
	return c;
}

struct conn *
conn_adopt(struct loop *loop, int fd, const struct conn_opts *o, const struct conn_events *ev, void *ctx)
{
	struct conn *c = new_conn(loop, o, ev, ctx);

	c->fd = fd;
	addr_of_peer(&c->peer, fd);
	addr_format(&c->peer, c->peer_text);
	if (socket_prepare(fd) != 0)
		conn_break_sys(c, errno, "adopt the socket");
	if (addr_family(&c->peer) == AF_INET || addr_family(&c->peer) == AF_INET6) {
		sockopt_keepalive(fd, o->keepalive_idle_s, o->keepalive_interval_s, o->keepalive_probes);
		sockopt_user_timeout(fd, o->user_timeout_ms);
	}
	if (o->early.n > 0) {
		buf_append_slice(o->tls != NULL ? &c->early : &c->rx, o->early);
		c->offer = true;
	}
	connected(c);
	return c;
}

void
conn_set_events(struct conn *c, const struct conn_events *ev, void *ctx)
{
	c->ev = *ev;
	c->ctx = ctx;
	c->told_eof = false;
	if (c->state != CONN_DEAD && c->state != CONN_LINGERS) {
		c->offer = true;
		loop_defer(c->loop, &c->later, conn_on_later);
	}
}

void
conn_set_sessions(struct conn *c, struct tls_sessions *s)
{
	if (c->sessions == NULL)
		c->sessions = tls_sessions_ref(s);
}

void
conn_start_tls(struct conn *c, struct tls_config *tls, const char *name)
{
	if (c->state != CONN_OPEN || c->tls != NULL || c->is_broken)
		return;
	c->tls_config = tls_config_ref(tls);
	free(c->tls_name);
	c->tls_name = name != NULL ? xstrdup(name) : NULL;
	if (name == NULL && c->target == NULL) {
		char ip[ADDR_TEXT_MAX];

		c->tls_name = xstrdup(addr_format_ip(&c->peer, ip));
	}
	buf_append_slice(&c->early, buf_slice(&c->rx));
	buf_clear(&c->rx);
	c->paused = false;
	start_tls(c);
}

int
conn_detach(struct conn *c, struct buf *unread, struct err *e)
{
	int fd = c->fd;

	if (c->state != CONN_OPEN || c->is_broken || c->saw_eof)
		return err_set(e, ERR_FAILED_PRECONDITION, "%s: cannot hand over: the connection is not open", conn_peer_text(c));
	if (c->tls != NULL || conn_has_output(c))
		return err_set(e, ERR_FAILED_PRECONDITION, "%s: cannot hand over: %s", conn_peer_text(c),
		    c->tls != NULL ? "encrypted" : "bytes wait to be sent");
	buf_append_slice(unread, buf_slice(&c->rx));
	c->fd = -1;
	loop_io_clear(c->loop, &c->io);
	conn_release(c);
	return fd;
}

void
conn_pause_read(struct conn *c)
{
	if (c->paused)
		return;
	c->paused = true;
	conn_update_io(c);
}

void
conn_resume_read(struct conn *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	c->last_in_ms = loop_now_ms(c->loop);
	c->offer = true;
	if (c->state != CONN_DEAD && c->state != CONN_LINGERS)
		loop_defer(c->loop, &c->later, conn_on_later);
	conn_update_io(c);
}

bool
conn_is_read_paused(const struct conn *c)
{
	return c->paused;
}

void
conn_set_read_buffer(struct conn *c, uint8_t *p, size_t n)
{
	c->read_buf = p;
	c->read_max = n;
}

void
conn_shutdown_write(struct conn *c)
{
	if (c->state == CONN_DEAD || c->state == CONN_LINGERS || c->shut)
		return;
	c->shut = true;
	conn_flush(c);
	conn_update_io(c);
}

static void
drop_orphan(struct loop_orphan *orphan)
{
	conn_release(CONTAINER_OF(orphan, struct conn, orphan));
}

void
conn_close(struct conn *c)
{
	if (c->state == CONN_DEAD || c->state == CONN_LINGERS)
		return;
	if (c->state == CONN_DIALLING || c->state == CONN_HANDSHAKE || c->is_broken || (!conn_has_output(c) && c->saw_eof)) {
		conn_release(c);
		return;
	}
	c->state = CONN_LINGERS;
	c->shut = true;
	c->linger_end = loop_now_ms(c->loop) + CONN_LINGER_MS;
	loop_defer_clear(&c->later);
	loop_orphan_add(c->loop, &c->orphan, drop_orphan);
	conn_flush(c);
	if (c->is_broken)
		conn_release(c);
	else
		conn_update_io(c);
}

void
conn_abort(struct conn *c)
{
	if (c->state != CONN_DEAD)
		conn_release(c);
}

static void
set_wait(struct conn *c, int *slot, int ms, int64_t *from)
{
	*slot = ms > 0 ? ms : 0;
	if (from != NULL)
		*from = loop_now_ms(c->loop);
	conn_watch_waits(c);
}

void
conn_set_idle_ms(struct conn *c, int ms)
{
	set_wait(c, &c->idle_ms, ms, &c->last_in_ms);
}

void
conn_set_read_ms(struct conn *c, int ms)
{
	set_wait(c, &c->read_ms, ms, &c->last_in_ms);
}

void
conn_set_write_ms(struct conn *c, int ms)
{
	set_wait(c, &c->write_ms, ms, &c->last_out_ms);
}

struct loop *
conn_loop(const struct conn *c)
{
	return c->loop;
}

void *
conn_ctx(const struct conn *c)
{
	return c->ctx;
}

const struct addr *
conn_peer(const struct conn *c)
{
	return &c->peer;
}

void
conn_local(const struct conn *c, struct addr *out)
{
	*out = (struct addr){0};
	if (c->fd >= 0)
		addr_of_local(out, c->fd);
}

const char *
conn_peer_text(const struct conn *c)
{
	if (c->peer.len == 0 && c->target != NULL)
		return c->target;
	return c->peer_text;
}

bool
conn_is_open(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->is_broken;
}

bool
conn_is_tls(const struct conn *c)
{
	return c->tls != NULL;
}

const char *
conn_tls_alpn(const struct conn *c)
{
	return c->tls != NULL ? tls_engine_alpn(c->tls) : "";
}

const char *
conn_tls_sni(const struct conn *c)
{
	return c->tls != NULL ? tls_engine_sni(c->tls) : "";
}

int
conn_fd(const struct conn *c)
{
	return c->fd;
}

bool
conn_is_quiet(const struct conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return conn_is_open(c) && !c->saw_eof && c->rx.len == 0 && poll(&p, 1, 0) == 0;
}

uint64_t
conn_bytes_in(const struct conn *c)
{
	return c->bytes_in;
}

uint64_t
conn_bytes_out(const struct conn *c)
{
	return c->bytes_out;
}

struct slice
conn_tls_peer_cert(const struct conn *c)
{
	return c->tls != NULL ? tls_engine_peer_cert(c->tls) : (struct slice){0};
}
