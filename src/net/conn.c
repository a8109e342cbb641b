#include "net/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/dial.h"
#include "net/loop.h"
#include "net/os/sockopt.h"
#include "net/socket.h"
#include "net/tls.h"
#include "net/tls_engine.h"

/* Received in one turn through TLS before other connections have theirs. */
#define TLS_TURN_BYTES (256u * 1024)

enum state {
	DIALLING,
	HANDSHAKE,
	OPEN,
	LINGERS,        /* the owner is gone; what is queued goes out */
	DEAD,           /* memory is freed when the present callback is over */
};

struct conn {
	struct loop *loop;
	struct conn_events ev;
	void *ctx;
	enum state state;
	int fd;
	struct loop_io io;
	struct loop_timer wait;         /* the nearest of the deadlines below, or earlier */
	struct loop_later later;        /* things to tell the owner outside its calls */
	struct loop_orphan orphan;      /* while it lingers */
	struct dial *dial;
	struct tls_engine *tls;
	struct tls_config *tls_config;  /* until the engine is made */
	char *tls_name;
	char *target;                   /* "name:80" until the address is known */
	struct addr peer;
	char peer_text[ADDR_TEXT_MAX];

	struct buf rx;                  /* plaintext that on_data left */
	struct buf early;               /* ciphertext read before TLS began */
	struct buf tx;                  /* plaintext that conn_write queued */
	uint8_t *read_buf;
	size_t read_max;
	bool paused;
	bool saw_eof;
	bool told_eof;
	bool tell_open;
	bool offer;                     /* rx to be offered again */
	bool want_write;
	bool tell_drain;                /* something was queued since the last on_drain */
	bool shut;                      /* no more writing after tx */
	bool shut_done;
	bool is_broken;                 /* `failure` is to be reported */
	bool is_pushing;                /* output is waiting since wait_from_ms */
	struct err failure;

	int handshake_ms;
	int idle_ms;
	int read_ms;
	int write_ms;
	int total_ms;
	int64_t total_end;              /* of connecting; 0: none */
	int64_t handshake_end;
	int64_t linger_end;
	int64_t last_in_ms;
	int64_t last_out_ms;
	uint64_t bytes_in;
	uint64_t bytes_out;
};

static void update_io(struct conn *c);
static void on_later(struct loop_later *later);

/* ---- the end ---- */

static void
release(struct conn *c)
{
	if (c->dial != NULL)
		dial_cancel(c->dial);
	c->dial = NULL;
	loop_io_clear(c->loop, &c->io);
	loop_timer_clear(c->loop, &c->wait);
	loop_orphan_del(&c->orphan);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->state = DEAD;
	loop_defer_clear(&c->later);
	loop_defer(c->loop, &c->later, on_later);
}

static void
free_conn(struct conn *c)
{
	tls_engine_free(c->tls);
	tls_config_unref(c->tls_config);
	buf_free(&c->rx);
	buf_free(&c->early);
	buf_free(&c->tx);
	free(c->tls_name);
	free(c->target);
	free(c);
}

/* Ends by itself: from a callback of the loop only. */
static void
finish(struct conn *c, const struct err *e)
{
	bool has_owner = c->state != LINGERS;

	release(c);
	if (has_owner && c->ev.on_close != NULL)
		c->ev.on_close(c, c->ctx, e);
}

/* Ends soon: from anywhere. The first failure counts. */
static int
break_later(struct conn *c, const struct err *e)
{
	if (c->state == DEAD || c->is_broken)
		return -1;
	c->is_broken = true;
	c->failure = *e;
	loop_defer(c->loop, &c->later, on_later);
	return -1;
}

static int
break_sys(struct conn *c, int errnum, const char *doing)
{
	struct err e;

	err_sys(&e, errnum, "%s: %s", conn_peer_text(c), doing);
	return break_later(c, &e);
}

/* ---- waits ---- */

static bool
has_output(const struct conn *c)
{
	size_t n = 0;

	if (c->tls != NULL)
		tls_engine_cipher_out(c->tls, &n);
	return n > 0 || c->tx.len > 0;
}

/* The nearest deadline and what to say when it passes; INT64_MAX: none. */
static int64_t
next_deadline(const struct conn *c, struct err *e)
{
	int64_t best = INT64_MAX, at;
	char wait[SOCKET_WAIT_MAX];
	const char *who = conn_peer_text(c);

#define NEAREST(when, ...) \
	do { \
		at = (when); \
		if (at < best) { \
			best = at; \
			if (e != NULL) \
				err_set(e, ERR_DEADLINE_EXCEEDED, __VA_ARGS__); \
		} \
	} while (0)
	switch (c->state) {
	case DIALLING:
	case HANDSHAKE:
		if (c->total_end > 0)
			NEAREST(c->total_end, "%s: not connected in %s", who, socket_wait_text(c->total_ms, wait));
		if (c->state == HANDSHAKE)
			NEAREST(c->handshake_end, "%s: no TLS handshake in %s", who, socket_wait_text(c->handshake_ms, wait));
		break;
	case OPEN:
		if (c->idle_ms > 0)
			NEAREST((c->last_in_ms > c->last_out_ms ? c->last_in_ms : c->last_out_ms) + c->idle_ms,
			    "%s: idle for %s", who, socket_wait_text(c->idle_ms, wait));
		if (c->read_ms > 0 && !c->paused && !c->saw_eof)
			NEAREST(c->last_in_ms + c->read_ms, "%s: nothing received for %s", who, socket_wait_text(c->read_ms, wait));
		if (c->write_ms > 0 && c->is_pushing)
			NEAREST(c->last_out_ms + c->write_ms, "%s: nothing could be sent for %s", who,
			    socket_wait_text(c->write_ms, wait));
		break;
	case LINGERS:
		NEAREST(c->linger_end, "%s: closed with bytes unsent", who);
		break;
	case DEAD:
		break;
	}
#undef NEAREST
	return best;
}

static void on_wait(void *ctx);

/* The timer is only ever moved nearer here: bytes that come and go push the deadlines back, and on_wait looks again. */
static void
watch_waits(struct conn *c)
{
	int64_t at = next_deadline(c, NULL);
	int64_t ms;

	if (at == INT64_MAX)
		return;
	if (loop_timer_is_set(&c->wait) && c->wait.node.key <= at)
		return;
	ms = at - loop_now_ms(c->loop);
	loop_timer_set(c->loop, &c->wait, ms > 0 ? ms : 0, on_wait, c);
}

static void
on_wait(void *ctx)
{
	struct conn *c = ctx;
	struct err e;

	if (next_deadline(c, &e) <= loop_now_ms(c->loop))
		finish(c, &e);
	else
		watch_waits(c);
}

/* ---- sending ---- */

/* What the kernel takes, 0 when none now, -1 when broken (reported later). */
static ssize_t
send_raw(struct conn *c, const void *p, size_t n)
{
	ssize_t got;

	do
		got = send(c->fd, p, n, MSG_NOSIGNAL);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		return break_sys(c, errno, "send");
	}
	if (got > 0) {
		c->bytes_out += (uint64_t)got;
		c->last_out_ms = loop_now_ms(c->loop);
	}
	return got;
}

/* Moves ciphertext to the socket. 0 when all went, 1 when the socket is full, -1 broken. */
static int
push_cipher(struct conn *c)
{
	size_t n;
	const uint8_t *p;

	while ((p = tls_engine_cipher_out(c->tls, &n)) != NULL && n > 0) {
		ssize_t sent = send_raw(c, p, n);

		if (sent < 0)
			return -1;
		if (sent == 0)
			return 1;
		tls_engine_cipher_out_done(c->tls, (size_t)sent);
	}
	return 0;
}

/* Encrypts and sends from p: how many bytes the engine took. */
static size_t
push_plain(struct conn *c, const uint8_t *p, size_t n)
{
	size_t taken = 0;

	while (taken < n && push_cipher(c) == 0) {
		size_t room;
		uint8_t *to = tls_engine_plain_out(c->tls, &room);

		if (to == NULL || room == 0)
			break;
		if (room > n - taken)
			room = n - taken;
		memcpy(to, p + taken, room);
		tls_engine_plain_out_done(c->tls, room);
		tls_engine_flush(c->tls);
		taken += room;
	}
	push_cipher(c);
	return taken;
}

/* Sends from p what goes now, past the queue. */
static size_t
send_now(struct conn *c, const void *p, size_t n)
{
	ssize_t sent;

	if (c->state != OPEN && c->state != LINGERS)
		return 0;
	if (c->is_broken || n == 0)
		return 0;
	if (c->tls != NULL)
		return push_plain(c, p, n);
	sent = send_raw(c, p, n);
	return sent > 0 ? (size_t)sent : 0;
}

static void
finish_writing(struct conn *c)
{
	if (!c->shut || c->shut_done || c->tx.len > 0 || (c->state != OPEN && c->state != LINGERS))
		return;
	if (c->tls != NULL) {
		tls_engine_close(c->tls);
		if (push_cipher(c) != 0)
			return;
	}
	c->shut_done = true;
	shutdown(c->fd, SHUT_WR);
}

/* Sends what is queued as far as it goes. */
static void
flush(struct conn *c)
{
	if (c->tls != NULL)
		push_cipher(c);
	while (c->tx.len > 0) {
		size_t n = send_now(c, buf_data(&c->tx), c->tx.len);

		buf_consume(&c->tx, n);
		if (n == 0)
			break;
	}
	finish_writing(c);
}

int
conn_write(struct conn *c, const void *p, size_t n, struct err *e)
{
	size_t sent = 0;

	if (c->state == DEAD || c->state == LINGERS || c->is_broken || c->shut)
		return err_set(e, ERR_UNAVAILABLE, "%s: the connection is closed", conn_peer_text(c));
	if (n > CONN_QUEUE_MAX || c->tx.len > CONN_QUEUE_MAX - n)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: more than %u bytes wait to be sent", conn_peer_text(c), CONN_QUEUE_MAX);
	if (c->tx.len == 0)
		sent = send_now(c, p, n);
	if (sent < n)
		buf_append(&c->tx, (const uint8_t *)p + sent, n - sent);
	if (has_output(c)) {
		c->tell_drain = true;
		update_io(c);
	}
	return 0;
}

size_t
conn_send_some(struct conn *c, const void *p, size_t n)
{
	size_t sent;

	if (c->state != OPEN || c->tx.len > 0 || c->shut)
		return 0;
	sent = send_now(c, p, n);
	if (c->tls != NULL && has_output(c))
		update_io(c);
	return sent;
}

void
conn_want_write(struct conn *c)
{
	if (c->state == DEAD || c->state == LINGERS)
		return;
	c->want_write = true;
	update_io(c);
}

size_t
conn_queued(const struct conn *c)
{
	size_t n = 0;

	if (c->tls != NULL)
		tls_engine_cipher_out(c->tls, &n);
	return n + c->tx.len;
}

/* ---- receiving ---- */

/* Gives n new bytes (or, with none, what was left) to the owner and keeps what it leaves. */
static void
deliver(struct conn *c, const uint8_t *p, size_t n)
{
	size_t taken;

	if (c->rx.len > 0) {
		if (n > 0)
			buf_append(&c->rx, p, n);
		taken = c->ev.on_data(c, c->ctx, buf_data(&c->rx), c->rx.len);
		if (c->state == DEAD)
			return;
		buf_consume(&c->rx, taken);
	} else {
		taken = c->ev.on_data(c, c->ctx, p, n);
		if (c->state == DEAD)
			return;
		if (taken < n)
			buf_append(&c->rx, p + taken, n - taken);
	}
	if (c->rx.len > CONN_UNTAKEN_MAX) {
		struct err e;

		err_set(&e, ERR_RESOURCE_EXHAUSTED, "%s: more than %u bytes that cannot be read as one piece", conn_peer_text(c),
		    CONN_UNTAKEN_MAX);
		break_later(c, &e);
	}
}

static void
tell_eof(struct conn *c)
{
	struct err e;

	if (!c->saw_eof || c->told_eof || c->paused)
		return;
	c->told_eof = true;
	if (c->ev.on_eof != NULL) {
		c->ev.on_eof(c, c->ctx);
		return;
	}
	err_set(&e, ERR_UNAVAILABLE, "%s: closed by the peer", conn_peer_text(c));
	finish(c, &e);
}

/* > 0 bytes, 0 nothing now, -1 the end of the stream (saw_eof) or broken. */
static ssize_t
recv_raw(struct conn *c, uint8_t *p, size_t n)
{
	ssize_t got;

	do
		got = recv(c->fd, p, n, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		return break_sys(c, errno, "receive");
	}
	if (got == 0) {
		c->saw_eof = true;
		return -1;
	}
	c->bytes_in += (uint64_t)got;
	c->last_in_ms = loop_now_ms(c->loop);
	return got;
}

static void
read_plain(struct conn *c)
{
	uint8_t *p = c->read_buf != NULL ? c->read_buf : loop_scratch(c->loop);
	size_t n = c->read_max > 0 && (c->read_buf != NULL || c->read_max < LOOP_SCRATCH_BYTES) ? c->read_max : LOOP_SCRATCH_BYTES;
	ssize_t got = recv_raw(c, p, n);

	if (got > 0)
		deliver(c, p, (size_t)got);
	else if (got < 0)
		tell_eof(c);
}

static void
tls_opened(struct conn *c)
{
	c->state = OPEN;
	c->last_in_ms = c->last_out_ms = loop_now_ms(c->loop);
	watch_waits(c);
	if (c->ev.on_open != NULL)
		c->ev.on_open(c, c->ctx);
	if (c->state != DEAD)
		flush(c);
}

/* What the engine can do without more from the socket. False: the connection is over or broken. */
static bool
tls_pump(struct conn *c)
{
	struct err e;
	size_t n;
	const uint8_t *p;
	bool is_ready;

	push_cipher(c);
	is_ready = c->state == HANDSHAKE && tls_engine_is_open(c->tls);
	if (tls_engine_state(c->tls, &e) < 0) {
		err_wrap(&e, "%s: TLS", conn_peer_text(c));
		finish(c, &e);
		return false;
	}
	if (is_ready)
		tls_opened(c);
	while (c->state == OPEN && !c->paused && !c->is_broken && (p = tls_engine_plain_in(c->tls, &n)) != NULL && n > 0) {
		/* The bytes lie in the engine, which must not move under the owner's hands: acknowledged after it looked. */
		if (c->read_max > 0 && n > c->read_max)
			n = c->read_max;
		deliver(c, p, n);
		if (c->state == DEAD)
			return false;
		tls_engine_plain_in_done(c->tls, n);
	}
	if (c->state == DEAD)
		return false;
	if (tls_engine_state(c->tls, &e) == 0 && !c->saw_eof) {
		c->saw_eof = true;
		if (c->state == HANDSHAKE) {
			err_set(&e, ERR_UNAVAILABLE, "%s: TLS: closed by the peer in the handshake", conn_peer_text(c));
			finish(c, &e);
			return false;
		}
		tell_eof(c);
		return false;
	}
	return true;
}

static void
read_tls(struct conn *c)
{
	uint64_t begun = c->bytes_in;

	while (tls_pump(c) && !c->paused && c->bytes_in - begun < TLS_TURN_BYTES) {
		struct err e;
		size_t room;
		uint8_t *p = tls_engine_cipher_in(c->tls, &room);
		ssize_t got;

		if (p == NULL || room == 0)
			return;
		if (c->early.len > 0) {
			got = (ssize_t)(room < c->early.len ? room : c->early.len);
			memcpy(p, buf_data(&c->early), (size_t)got);
			buf_consume(&c->early, (size_t)got);
		} else {
			got = recv_raw(c, p, room);
		}
		if (got == 0 || c->is_broken)
			return;
		if (got < 0) {
			c->told_eof = true;
			if (c->state == HANDSHAKE)
				err_set(&e, ERR_UNAVAILABLE, "%s: TLS: closed by the peer in the handshake", conn_peer_text(c));
			else
				err_set(&e, ERR_UNAVAILABLE, "%s: TLS: cut off without close_notify", conn_peer_text(c));
			finish(c, &e);
			return;
		}
		tls_engine_cipher_in_done(c->tls, (size_t)got);
	}
}

/* ---- the loop's side ---- */

/* Bytes are thrown away while lingering, so that the peer's last words do not turn our FIN into a reset. */
static void
read_away(struct conn *c)
{
	uint8_t *p = loop_scratch(c->loop);

	if (recv_raw(c, p, LOOP_SCRATCH_BYTES) < 0) {
		release(c);
		return;
	}
	if (c->is_broken)
		release(c);
}

static void
tell_drain(struct conn *c)
{
	if (!c->tell_drain || c->state != OPEN || c->is_broken || has_output(c))
		return;
	c->tell_drain = false;
	if (c->ev.on_drain != NULL)
		c->ev.on_drain(c, c->ctx);
}

static void
told_written(struct conn *c)
{
	tell_drain(c);
	if (c->state == OPEN && c->want_write && !has_output(c)) {
		c->want_write = false;
		if (c->ev.on_writable != NULL)
			c->ev.on_writable(c, c->ctx);
	}
}

static void
on_io(struct loop_io *io, unsigned ready)
{
	struct conn *c = CONTAINER_OF(io, struct conn, io);

	if (c->state == LINGERS) {
		if (ready & LOOP_READ)
			read_away(c);
		if (c->state == LINGERS) {
			flush(c);
			if (c->is_broken)
				release(c);
		}
		update_io(c);
		return;
	}
	if (ready & LOOP_WRITE) {
		flush(c);
		if (c->state == HANDSHAKE && !c->is_broken)
			tls_pump(c);
		if (c->state == OPEN && !c->is_broken)
			told_written(c);
	}
	if (c->state != DEAD && !c->is_broken && (ready & LOOP_READ) && !c->saw_eof) {
		if (c->tls != NULL)
			read_tls(c);
		else if (!c->paused)
			read_plain(c);
	}
	tell_drain(c);
	update_io(c);
}

/* Watches what is needed now; and remembers since when output waits. */
static void
update_io(struct conn *c)
{
	unsigned events = 0;
	bool pushes;

	if (c->state == DIALLING || c->state == DEAD || c->fd < 0)
		return;
	pushes = has_output(c) || (c->want_write && c->state == OPEN);
	if (c->state == LINGERS && !has_output(c) && c->shut_done && c->saw_eof) {
		release(c);
		return;
	}
	if (!c->saw_eof && (!c->paused || c->state == LINGERS || c->state == HANDSHAKE))
		events |= LOOP_READ;
	if (pushes)
		events |= LOOP_WRITE;
	if (pushes && !c->is_pushing)
		c->last_out_ms = loop_now_ms(c->loop);
	c->is_pushing = pushes;
	loop_io_set(c->loop, &c->io, c->fd, events, on_io);
	watch_waits(c);
}

/* Opens, and everything else that must not happen inside a call of the owner. */
static void
on_later(struct loop_later *later)
{
	struct conn *c = CONTAINER_OF(later, struct conn, later);

	if (c->state == DEAD) {
		free_conn(c);
		return;
	}
	if (c->is_broken) {
		struct err e = c->failure;

		finish(c, &e);
		return;
	}
	if (c->tell_open) {
		c->tell_open = false;
		if (c->ev.on_open != NULL)
			c->ev.on_open(c, c->ctx);
		if (c->state != DEAD)
			flush(c);
	}
	if (c->state == HANDSHAKE)
		read_tls(c);
	if (c->offer && c->state == OPEN && !c->paused) {
		c->offer = false;
		if (c->rx.len > 0)
			deliver(c, NULL, 0);
		if (c->state == OPEN && c->tls != NULL && !c->paused && !c->saw_eof)
			read_tls(c);
	}
	if (c->state == OPEN)
		tell_eof(c);
	tell_drain(c);
	update_io(c);
}

static void
start_tls(struct conn *c)
{
	struct err e;

	c->tls = tls_engine_new(c->tls_config, c->tls_name, &e);
	tls_config_unref(c->tls_config);
	c->tls_config = NULL;
	c->handshake_end = loop_now_ms(c->loop) + c->handshake_ms;
	if (c->tls == NULL) {
		err_wrap(&e, "%s: TLS", conn_peer_text(c));
		break_later(c, &e);
		return;
	}
	c->state = HANDSHAKE;
	loop_defer(c->loop, &c->later, on_later);
	watch_waits(c);
}

static void
connected(struct conn *c)
{
	c->last_in_ms = c->last_out_ms = loop_now_ms(c->loop);
	if (c->tls_config != NULL) {
		start_tls(c);
	} else {
		c->state = OPEN;
		c->tell_open = true;
		loop_defer(c->loop, &c->later, on_later);
	}
	update_io(c);
}

static void
on_dialled(void *ctx, int fd, const struct addr *peer, const struct err *e)
{
	struct conn *c = ctx;

	c->dial = NULL;
	if (fd < 0) {
		finish(c, e);
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
	return c;
}

struct conn *
conn_connect(struct loop *loop, const struct conn_opts *o, const struct conn_events *ev, void *ctx)
{
	struct conn *c = new_conn(loop, o, ev, ctx);

	c->state = DIALLING;
	if (o->addr.len > 0) {
		addr_format(&o->addr, c->peer_text);
	} else if (o->host != NULL) {
		c->target = xasprintf(strchr(o->host, ':') != NULL && o->host[0] != '[' ? "[%s]:%u" : "%s:%u", o->host, (unsigned)o->port);
		if (c->tls_config != NULL && c->tls_name == NULL)
			c->tls_name = xstrdup(o->host);
	}
	c->dial = dial_start(loop, o, on_dialled, c);
	watch_waits(c);
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
		break_sys(c, errno, "adopt the socket");
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
	if (c->state != DEAD && c->state != LINGERS) {
		c->offer = true;
		loop_defer(c->loop, &c->later, on_later);
	}
}

void
conn_start_tls(struct conn *c, struct tls_config *tls, const char *name)
{
	if (c->state != OPEN || c->tls != NULL || c->is_broken)
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

	if (c->state != OPEN || c->is_broken || c->saw_eof)
		return err_set(e, ERR_FAILED_PRECONDITION, "%s: cannot hand over: the connection is not open", conn_peer_text(c));
	if (c->tls != NULL || has_output(c))
		return err_set(e, ERR_FAILED_PRECONDITION, "%s: cannot hand over: %s", conn_peer_text(c),
		    c->tls != NULL ? "encrypted" : "bytes wait to be sent");
	buf_append_slice(unread, buf_slice(&c->rx));
	c->fd = -1;
	loop_io_clear(c->loop, &c->io);
	release(c);
	return fd;
}

void
conn_pause_read(struct conn *c)
{
	if (c->paused)
		return;
	c->paused = true;
	update_io(c);
}

void
conn_resume_read(struct conn *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	c->last_in_ms = loop_now_ms(c->loop);
	c->offer = true;
	if (c->state != DEAD && c->state != LINGERS)
		loop_defer(c->loop, &c->later, on_later);
	update_io(c);
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
	if (c->state == DEAD || c->state == LINGERS || c->shut)
		return;
	c->shut = true;
	flush(c);
	update_io(c);
}

static void
drop_orphan(struct loop_orphan *orphan)
{
	release(CONTAINER_OF(orphan, struct conn, orphan));
}

void
conn_close(struct conn *c)
{
	if (c->state == DEAD || c->state == LINGERS)
		return;
	if (c->state == DIALLING || c->state == HANDSHAKE || c->is_broken || (!has_output(c) && c->saw_eof)) {
		release(c);
		return;
	}
	c->state = LINGERS;
	c->shut = true;
	c->linger_end = loop_now_ms(c->loop) + CONN_LINGER_MS;
	loop_defer_clear(&c->later);
	loop_orphan_add(c->loop, &c->orphan, drop_orphan);
	flush(c);
	if (c->is_broken)
		release(c);
	else
		update_io(c);
}

void
conn_abort(struct conn *c)
{
	if (c->state != DEAD)
		release(c);
}

static void
set_wait(struct conn *c, int *slot, int ms, int64_t *from)
{
	*slot = ms > 0 ? ms : 0;
	if (from != NULL)
		*from = loop_now_ms(c->loop);
	watch_waits(c);
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
	return c->state == OPEN && !c->is_broken;
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
