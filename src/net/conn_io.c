#include "net/conn_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/dial.h"
#include "net/socket.h"
#include "net/tls.h"
#include "net/tls_engine.h"
#include "net/tls_sessions.h"

/* Received in one turn through TLS before other connections have theirs. */
#define TLS_TURN_BYTES (256u * 1024)

/* ---- the end ---- */

void
conn_release(struct conn *c)
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
	c->state = CONN_DEAD;
	loop_defer_clear(&c->later);
	loop_defer(c->loop, &c->later, conn_on_later);
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
	tls_sessions_unref(c->sessions);
	free(c->session_key);
	free(c->target);
	free(c);
}

/* Ends by itself: from a callback of the loop only. */
void
conn_finish(struct conn *c, const struct err *e)
{
	bool has_owner = c->state != CONN_LINGERS;

	conn_release(c);
	if (has_owner && c->ev.on_close != NULL)
		c->ev.on_close(c, c->ctx, e);
}

/* Ends soon: from anywhere. The first failure counts. */
int
conn_break(struct conn *c, const struct err *e)
{
	if (c->state == CONN_DEAD || c->is_broken)
		return -1;
	c->is_broken = true;
	c->failure = *e;
	loop_defer(c->loop, &c->later, conn_on_later);
	return -1;
}

int
conn_break_sys(struct conn *c, int errnum, const char *doing)
{
	struct err e;

	err_sys(&e, errnum, "%s: %s", conn_peer_text(c), doing);
	return conn_break(c, &e);
}

/* ---- waits ---- */

bool
conn_has_output(const struct conn *c)
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
	case CONN_DIALLING:
	case CONN_HANDSHAKE:
		if (c->total_end > 0)
			NEAREST(c->total_end, "%s: not connected in %s", who, socket_wait_text(c->total_ms, wait));
		if (c->state == CONN_HANDSHAKE)
			NEAREST(c->handshake_end, "%s: no TLS handshake in %s", who, socket_wait_text(c->handshake_ms, wait));
		break;
	case CONN_OPEN:
		if (c->idle_ms > 0)
			NEAREST((c->last_in_ms > c->last_out_ms ? c->last_in_ms : c->last_out_ms) + c->idle_ms,
			    "%s: idle for %s", who, socket_wait_text(c->idle_ms, wait));
		if (c->read_ms > 0 && !c->paused && !c->saw_eof)
			NEAREST(c->last_in_ms + c->read_ms, "%s: nothing received for %s", who,
			    socket_wait_text(c->read_ms, wait));
		if (c->write_ms > 0 && c->is_pushing)
			NEAREST(c->last_out_ms + c->write_ms, "%s: nothing could be sent for %s", who,
			    socket_wait_text(c->write_ms, wait));
		break;
	case CONN_LINGERS:
		NEAREST(c->linger_end, "%s: closed with bytes unsent", who);
		break;
	case CONN_DEAD:
		break;
	}
#undef NEAREST
	return best;
}

static void on_wait(void *ctx);

/* The timer is only ever moved nearer here: bytes that come and go push the deadlines back, and on_wait looks again. */
void
conn_watch_waits(struct conn *c)
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
		conn_finish(c, &e);
	else
		conn_watch_waits(c);
}

/* ---- sending ---- */

/* What the kernel takes of both, 0 when none now, -1 when broken (reported later). */
static ssize_t
send_both(struct conn *c, const void *first, size_t first_n, const void *p, size_t n)
{
	struct iovec parts[2] = {{(void *)(uintptr_t)first, first_n}, {(void *)(uintptr_t)p, n}};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t got;

	do
		got = first_n > 0 ? sendmsg(c->fd, &msg, MSG_NOSIGNAL) : send(c->fd, p, n, MSG_NOSIGNAL);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		return conn_break_sys(c, errno, "send");
	}
	if (got > 0) {
		c->bytes_out += (uint64_t)got;
		c->last_out_ms = loop_now_ms(c->loop);
	}
	return got;
}

static ssize_t
send_raw(struct conn *c, const void *p, size_t n)
{
	return send_both(c, NULL, 0, p, n);
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

	if (c->state != CONN_OPEN && c->state != CONN_LINGERS)
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
	if (!c->shut || c->shut_done || c->tx.len > 0 || (c->state != CONN_OPEN && c->state != CONN_LINGERS))
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
void
conn_flush(struct conn *c)
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

	if (c->state == CONN_DEAD || c->state == CONN_LINGERS || c->is_broken || c->shut)
		return err_set(e, ERR_UNAVAILABLE, "%s: the connection is closed", conn_peer_text(c));
	if (n > CONN_QUEUE_MAX || c->tx.len > CONN_QUEUE_MAX - n)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: more than %u bytes wait to be sent", conn_peer_text(c),
		    CONN_QUEUE_MAX);
	if (c->tx.len == 0)
		sent = send_now(c, p, n);
	if (sent < n)
		buf_append(&c->tx, (const uint8_t *)p + sent, n - sent);
	if (conn_has_output(c)) {
		c->tell_drain = true;
		conn_update_io(c);
	}
	return 0;
}

size_t
conn_send_some(struct conn *c, const void *p, size_t n)
{
	size_t sent;

	if (c->state != CONN_OPEN || c->tx.len > 0 || c->shut)
		return 0;
	sent = send_now(c, p, n);
	if (c->tls != NULL && conn_has_output(c))
		conn_update_io(c);
	return sent;
}

size_t
conn_write_then_some(struct conn *c, const void *first, size_t first_n, const void *p, size_t n)
{
	ssize_t sent;

	if (c->tls != NULL || c->state != CONN_OPEN || c->tx.len > 0 || c->shut || c->is_broken || first_n == 0 || n == 0) {
		conn_write(c, first, first_n, NULL);
		return conn_send_some(c, p, n);
	}
	sent = send_both(c, first, first_n, p, n);
	if (sent >= (ssize_t)first_n)
		return (size_t)sent - first_n;
	if (sent >= 0)
		conn_write(c, (const uint8_t *)first + sent, first_n - (size_t)sent, NULL);
	return 0;
}

void
conn_want_write(struct conn *c)
{
	if (c->state == CONN_DEAD || c->state == CONN_LINGERS)
		return;
	c->want_write = true;
	conn_update_io(c);
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
		if (c->state == CONN_DEAD)
			return;
		buf_consume(&c->rx, taken);
	} else {
		bool was_tls = c->tls != NULL;

		taken = c->ev.on_data(c, c->ctx, p, n);
		if (c->state == CONN_DEAD)
			return;
		/* When the owner has seen that TLS begins here, the rest is the handshake's. */
		if (taken < n)
			buf_append(!was_tls && c->tls != NULL ? &c->early : &c->rx, p + taken, n - taken);
	}
	if (c->rx.len > CONN_UNTAKEN_MAX) {
		struct err e;

		err_set(&e, ERR_RESOURCE_EXHAUSTED, "%s: more than %u bytes that cannot be read as one piece", conn_peer_text(c),
		    CONN_UNTAKEN_MAX);
		conn_break(c, &e);
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
	conn_finish(c, &e);
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
		return conn_break_sys(c, errno, "receive");
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
	c->state = CONN_OPEN;
	c->last_in_ms = c->last_out_ms = loop_now_ms(c->loop);
	conn_watch_waits(c);
	if (c->ev.on_open != NULL)
		c->ev.on_open(c, c->ctx);
	if (c->state != CONN_DEAD)
		conn_flush(c);
}

/* The last words get lost when what the peer sent meanwhile is not read. */
static void
end_softly(struct conn *c)
{
	shutdown(c->fd, SHUT_WR);
	for (int i = 0; i < 4 && recv(c->fd, loop_scratch(c->loop), LOOP_SCRATCH_BYTES, 0) > 0; i++)
		continue;
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
	is_ready = c->state == CONN_HANDSHAKE && tls_engine_is_open(c->tls);
	if (tls_engine_state(c->tls, &e) < 0) {
		uint8_t words[TLS_LAST_WORDS];

		n = tls_engine_last_words(c->tls, words);
		if (n > 0 && c->state == CONN_HANDSHAKE && send_raw(c, words, n) > 0)
			end_softly(c);
		err_wrap(&e, "%s: TLS", conn_peer_text(c));
		conn_finish(c, &e);
		return false;
	}
	if (is_ready)
		tls_opened(c);
	while (c->state == CONN_OPEN && !c->paused && !c->is_broken && (p = tls_engine_plain_in(c->tls, &n)) != NULL && n > 0) {
		/* The bytes lie in the engine, which must not move under the owner's hands: acknowledged after it looked. */
		if (c->read_max > 0 && n > c->read_max)
			n = c->read_max;
		deliver(c, p, n);
		if (c->state == CONN_DEAD)
			return false;
		tls_engine_plain_in_done(c->tls, n);
	}
	if (c->state == CONN_DEAD)
		return false;
	if (tls_engine_state(c->tls, &e) == 0 && !c->saw_eof) {
		c->saw_eof = true;
		if (c->state == CONN_HANDSHAKE) {
			err_set(&e, ERR_UNAVAILABLE, "%s: TLS: closed by the peer in the handshake", conn_peer_text(c));
			conn_finish(c, &e);
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
			if (c->state == CONN_HANDSHAKE)
				err_set(&e, ERR_UNAVAILABLE, "%s: TLS: closed by the peer in the handshake", conn_peer_text(c));
			else
				err_set(&e, ERR_UNAVAILABLE, "%s: TLS: cut off without close_notify", conn_peer_text(c));
			conn_finish(c, &e);
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
		conn_release(c);
		return;
	}
	if (c->is_broken)
		conn_release(c);
}

static void
tell_drain(struct conn *c)
{
	if (!c->tell_drain || c->state != CONN_OPEN || c->is_broken || conn_has_output(c))
		return;
	c->tell_drain = false;
	if (c->ev.on_drain != NULL)
		c->ev.on_drain(c, c->ctx);
}

static void
told_written(struct conn *c)
{
	tell_drain(c);
	if (c->state == CONN_OPEN && c->want_write && !conn_has_output(c)) {
		c->want_write = false;
		if (c->ev.on_writable != NULL)
			c->ev.on_writable(c, c->ctx);
	}
}

static void
on_io(struct loop_io *io, unsigned ready)
{
	struct conn *c = CONTAINER_OF(io, struct conn, io);

	if (c->state == CONN_LINGERS) {
		if (ready & LOOP_READ)
			read_away(c);
		if (c->state == CONN_LINGERS) {
			conn_flush(c);
			if (c->is_broken)
				conn_release(c);
		}
		conn_update_io(c);
		return;
	}
	if (ready & LOOP_WRITE) {
		conn_flush(c);
		if (c->state == CONN_HANDSHAKE && !c->is_broken)
			tls_pump(c);
		if (c->state == CONN_OPEN && !c->is_broken)
			told_written(c);
	}
	if (c->state != CONN_DEAD && !c->is_broken && (ready & LOOP_READ) && !c->saw_eof) {
		if (c->tls != NULL)
			read_tls(c);
		else if (!c->paused)
			read_plain(c);
	}
	tell_drain(c);
	conn_update_io(c);
}

/* Watches what is needed now; and remembers since when output waits. */
void
conn_update_io(struct conn *c)
{
	unsigned events = 0;
	bool pushes;

	if (c->state == CONN_DIALLING || c->state == CONN_DEAD || c->fd < 0)
		return;
	pushes = conn_has_output(c) || (c->want_write && c->state == CONN_OPEN);
	if (c->state == CONN_LINGERS && !conn_has_output(c) && c->shut_done && c->saw_eof) {
		conn_release(c);
		return;
	}
	if (!c->saw_eof && (!c->paused || c->state == CONN_LINGERS || c->state == CONN_HANDSHAKE))
		events |= LOOP_READ;
	if (pushes)
		events |= LOOP_WRITE;
	if (pushes && !c->is_pushing)
		c->last_out_ms = loop_now_ms(c->loop);
	c->is_pushing = pushes;
	loop_io_set(c->loop, &c->io, c->fd, events, on_io);
	conn_watch_waits(c);
}

/* Opens, and everything else that must not happen inside a call of the owner. */
void
conn_on_later(struct loop_later *later)
{
	struct conn *c = CONTAINER_OF(later, struct conn, later);

	if (c->state == CONN_DEAD) {
		free_conn(c);
		return;
	}
	if (c->is_broken) {
		struct err e = c->failure;

		conn_finish(c, &e);
		return;
	}
	if (c->tell_open) {
		c->tell_open = false;
		if (c->ev.on_open != NULL)
			c->ev.on_open(c, c->ctx);
		if (c->state != CONN_DEAD)
			conn_flush(c);
	}
	if (c->state == CONN_HANDSHAKE)
		read_tls(c);
	if (c->offer && c->state == CONN_OPEN && !c->paused) {
		c->offer = false;
		if (c->rx.len > 0)
			deliver(c, NULL, 0);
		if (c->state == CONN_OPEN && c->tls != NULL && !c->paused && !c->saw_eof)
			read_tls(c);
	}
	if (c->state == CONN_OPEN)
		tell_eof(c);
	tell_drain(c);
	conn_update_io(c);
}
