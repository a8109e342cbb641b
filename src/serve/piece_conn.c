#include "serve/piece_conn.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/conn.h"
#include "net/os/sockopt.h"
#include "serve/door.h"
#include "serve/piece.h"
#include "store/file.h"

/* Socket times of spec wire.md 1.8. */
#define KEEPALIVE_IDLE_S 5
#define KEEPALIVE_INTERVAL_S 3
#define KEEPALIVE_PROBES 3
/* Refused connections are written of so often at most, per data loop. */
#define REFUSED_LOG_MS 1000

struct piece_conn {
	struct list link;               /* in side->conns */
	struct piece_side *side;
	struct conn *conn;
	size_t place;                   /* at the door */
	struct vortex_request_reader reader;
	struct piece_request *request;  /* NULL between requests */
	bool is_known;                  /* TLS or not: the first bytes told */
	bool is_sending;
	bool is_slow;                   /* as the last request was */
	bool closes_after;              /* the child broke the protocol: an error packet, then the end */
	uint8_t *buffer;                /* STORE_IO_BYTES while a piece is sent */
	size_t filled, taken;           /* bytes in it, and of those sent */
	uint64_t read_at;               /* next byte of the piece to read */
	struct loop_timer timer;
	struct loop_timer pace;
};

static void send_more(struct piece_conn *c);
static void next_request(struct piece_conn *c);

/* ---- the end ---- */

static void
request_free_buffers(struct piece_conn *c)
{
	free(c->buffer);
	c->buffer = NULL;
	c->filled = c->taken = 0;
}

/* The outcome goes to the control loop, which frees the request. */
static void
request_finish(struct piece_conn *c, bool is_complete)
{
	struct piece_request *r = c->request;

	c->request = NULL;
	c->is_sending = false;
	request_free_buffers(c);
	r->conn = NULL;
	r->is_complete = is_complete;
	r->msg.run = piece_request_done;
	loop_post(r->side->server_loop, &r->msg);
}

static void
piece_conn_free(struct piece_conn *c)
{
	loop_timer_clear(c->side->loop, &c->timer);
	loop_timer_clear(c->side->loop, &c->pace);
	if (c->request != NULL) {
		if (c->is_sending)
			request_finish(c, false);
		else
			c->request->conn = NULL;        /* its decision comes to nobody and goes back */
	}
	list_del(&c->link);
	door_leave(c->side->door, c->place);
	free(c);
}

static void
conn_is_idle(void *ctx)
{
	struct piece_conn *c = ctx;

	conn_close(c->conn);
	piece_conn_free(c);
}

/* Who knocks for long fills no log. */
static void
tell_refused(struct piece_conn *c, const struct err *e)
{
	int64_t now = loop_now_ms(c->side->loop);

	if (now - c->side->refused_ms < REFUSED_LOG_MS)
		return;
	log_warn("connection refused port=pieces error=\"%s\"", e->text);
	c->side->refused_ms = now;
}

static void
on_close(struct conn *conn, void *ctx, const struct err *e)
{
	struct piece_conn *c = ctx;

	if (e->code == ERR_UNAUTHENTICATED)
		tell_refused(c, e);
	(void)conn;
	if (c->request != NULL)
		log_info("child went away in the middle of a piece task=%s piece=%u reason=\"%s\"", c->request->wanted.task_id,
		    (unsigned)c->request->wanted.number, e->text);
	piece_conn_free(c);
}

/* ---- asking ---- */

static void
ask(struct piece_conn *c, const struct vortex_request *wanted)
{
	struct piece_request *r = xcalloc(1, sizeof *r);

	r->side = c->side;
	r->conn = c;
	r->to = c->side;
	r->can_move = !conn_is_tls(c->conn);
	r->wanted = *wanted;
	r->is_plain = c->side->tls != NULL && !conn_is_tls(c->conn);
	if (r->is_plain)
		r->peer = *conn_peer(c->conn);
	list_init(&r->queue);
	c->request = r;
	loop_timer_clear(c->side->loop, &c->timer);
	r->msg.run = piece_request_asked;
	loop_post(c->side->server_loop, &r->msg);
}

/* A child that breaks the protocol is told so, then cut off. */
static void
refuse(struct piece_conn *c, const struct err *e)
{
	struct buf b = BUF_INIT;
	uint8_t id;

	rand_bytes(&id, 1);
	vortex_write_error(&b, id, VORTEX_INVALID_ARGUMENT, slice_str(e->text));
	conn_write(c->conn, buf_data(&b), b.len, NULL);
	buf_free(&b);
	conn_close(c->conn);
	piece_conn_free(c);
}

/* A TLS record: handshake, version 3.x. A request for a piece may begin with the first of these bytes, but never has the second. */
static bool
is_tls(const uint8_t *p, size_t n)
{
	return n >= 2 && p[0] == 0x16 && p[1] == 0x03;
}

/* TLS or plaintext. False: nothing is to be read now. */
static bool
look_at_first(struct piece_conn *c, const uint8_t *p, size_t n)
{
	struct err e;

	if (n < 2)
		return false;
	c->is_known = true;
	if (is_tls(p, n) && c->side->tls != NULL) {
		conn_start_tls(c->conn, c->side->tls, NULL);
		return false;
	}
	if (is_tls(p, n) || (c->side->tls != NULL && !c->side->prefers_tls)) {
		err_set(&e, ERR_INVALID_ARGUMENT, "%s: %s", conn_peer_text(c->conn),
		    is_tls(p, n) ? "TLS where none is configured" : "pieces are only sent over TLS");
		tell_refused(c, &e);
		refuse(c, &e);
		return false;
	}
	return true;
}

static size_t
on_data(struct conn *conn, void *ctx, const uint8_t *p, size_t n)
{
	struct piece_conn *c = ctx;
	struct slice in = slice_make(p, n);
	struct vortex_request wanted;
	struct err e = {0};

	(void)conn;
	if (!c->is_known && !look_at_first(c, p, n))
		return 0;
	if (c->request != NULL) {
		conn_pause_read(c->conn);
		return 0;
	}
	switch (vortex_read_request(&c->reader, &in, &wanted, &e)) {
	case VORTEX_MORE:
		loop_timer_set(c->side->loop, &c->timer, PIECE_REQUEST_MS, conn_is_idle, c);
		break;
	case VORTEX_READY:
		ask(c, &wanted);
		/* Few ask before they have their answer; what comes too early waits, here or in the socket. */
		if (in.n > 0)
			conn_pause_read(c->conn);
		break;
	case VORTEX_END:
		conn_close(c->conn);
		piece_conn_free(c);
		break;
	case VORTEX_BROKEN:
		log_info("child broke the piece protocol peer=%s error=\"%s\"", conn_peer_text(c->conn), e.text);
		refuse(c, &e);
		break;
	}
	return n - in.n;
}

/* The child sends no more: what it asked for is still sent (old children half-close while they receive). */
static void
on_eof(struct conn *conn, void *ctx)
{
	struct piece_conn *c = ctx;

	(void)conn;
	c->closes_after = true;
	if (c->request == NULL) {
		conn_close(c->conn);
		piece_conn_free(c);
	}
}

static void
next_request(struct piece_conn *c)
{
	if (c->closes_after) {
		conn_close(c->conn);
		piece_conn_free(c);
		return;
	}
	conn_set_write_ms(c->conn, 0);
	loop_timer_set(c->side->loop, &c->timer, PIECE_IDLE_MS, conn_is_idle, c);
	conn_resume_read(c->conn);
}

/* ---- sending ---- */

static void
break_off(struct piece_conn *c)
{
	conn_abort(c->conn);
	piece_conn_free(c);
}

static void
pace_is_over(void *ctx)
{
	send_more(ctx);
}

/* Reads the next part of the piece when the last one is gone. */
static int
fill(struct piece_conn *c)
{
	struct piece_request *r = c->request;
	uint64_t left = r->length - c->read_at;
	size_t n = left < STORE_IO_BYTES ? (size_t)left : STORE_IO_BYTES;
	struct err e;

	if (c->taken < c->filled)
		return 0;
	if (store_file_pread(r->file, c->buffer, n, r->offset + c->read_at, &e) < 0) {
		log_error("piece cannot be read task=%s piece=%u error=\"%s\"", r->wanted.task_id, (unsigned)r->wanted.number, e.text);
		return -1;
	}
	c->read_at += n;
	c->filled = n;
	c->taken = 0;
	return 0;
}

static void
send_more(struct piece_conn *c)
{
	struct piece_request *r = c->request;
	int64_t wait;
	size_t n;

	while (r->sent < r->length) {
		if (fill(c) < 0) {
			break_off(c);
			return;
		}
		n = conn_send_some(c->conn, c->buffer + c->taken, c->filled - c->taken);
		c->taken += n;
		r->sent += n;
		atomic_fetch_add_explicit(r->progress, n, memory_order_relaxed);
		if (c->taken < c->filled) {
			conn_want_write(c->conn);
			return;
		}
		wait = c->side->limit->rate == 0 ? 0 : limit_charge(c->side->limit, c->filled, clock_mono_ns());
		if (wait > 0 && r->sent < r->length) {
			loop_timer_set(c->side->loop, &c->pace, wait, pace_is_over, c);
			return;
		}
	}
	request_finish(c, true);
	next_request(c);
}

static void
on_writable(struct conn *conn, void *ctx)
{
	struct piece_conn *c = ctx;

	(void)conn;
	if (c->is_sending && !loop_timer_is_set(&c->pace))
		send_more(c);
}

/* Compares the piece with its checksum before it is given to anybody (first use since the start, or a changed file). */
static bool
is_good(struct piece_request *r, uint8_t *buffer)
{
	struct err e;

	r->was_checked = true;
	r->is_good = store_file_check(r->file, r->offset, r->length, r->crc, buffer, &e) == 0;
	if (!r->is_good)
		log_error("stored piece is damaged task=%s piece=%u error=\"%s\"", r->wanted.task_id, (unsigned)r->wanted.number, e.text);
	return r->is_good;
}

/* On the connection's data loop. */
static void
answer(struct piece_conn *c)
{
	struct piece_request *r = c->request;
	uint8_t id;

	c->is_sending = true;
	c->buffer = xmalloc(STORE_IO_BYTES);
	c->read_at = 0;
	if (!r->is_error && r->needs_check && !is_good(r, c->buffer)) {
		buf_clear(&r->head);
		rand_bytes(&id, 1);
		vortex_write_error(&r->head, id, VORTEX_NOT_FOUND, slice_str("piece is damaged"));
		r->is_error = true;
	}
	conn_set_write_ms(c->conn, PIECE_WRITE_MS);
	if (c->is_slow != r->is_slow)
		sockopt_notsent_max(conn_fd(c->conn), r->is_slow ? PIECE_NOTSENT_BYTES : INT_MAX);
	c->is_slow = r->is_slow;
	if (conn_write(c->conn, buf_data(&r->head), r->head.len, NULL) < 0) {
		break_off(c);
		return;
	}
	if (r->is_error) {
		request_finish(c, false);
		next_request(c);
		return;
	}
	send_more(c);
}

/* ---- beginning, moving and closing ---- */

/* A socket on its way to a data loop, with what was read from it already. */
struct handover {
	struct loop_msg msg;
	struct piece_conn *conn;
	int fd;
	struct buf early;
};

static void
settle(struct handover *h)
{
	static const struct conn_events events = {.on_data = on_data, .on_eof = on_eof, .on_close = on_close, .on_writable = on_writable};
	struct conn_opts opts = {
		.keepalive_idle_s = KEEPALIVE_IDLE_S, .keepalive_interval_s = KEEPALIVE_INTERVAL_S, .keepalive_probes = KEEPALIVE_PROBES,
		.early = buf_slice(&h->early),
	};
	struct piece_conn *c = h->conn;

	list_add_tail(&c->side->conns, &c->link);
	c->conn = conn_adopt(c->side->loop, h->fd, &opts, &events, c);
	buf_free(&h->early);
	free(h);
}

static void
begin(struct loop_msg *msg)
{
	struct handover *h = CONTAINER_OF(msg, struct handover, msg);
	struct piece_conn *c = h->conn;

	settle(h);
	loop_timer_set(c->side->loop, &c->timer, PIECE_IDLE_MS, conn_is_idle, c);
	if (c->side->is_closing)
		break_off(c);
}

void
piece_conn_start(struct piece_side *side, int fd, size_t place, struct slice early)
{
	struct handover *h = xcalloc(1, sizeof *h);

	h->conn = xcalloc(1, sizeof *h->conn);
	h->conn->side = side;
	h->conn->place = place;
	h->fd = fd;
	buf_append_slice(&h->early, early);
	h->msg.run = begin;
	loop_post(side->loop, &h->msg);
}

static void
arrive(struct loop_msg *msg)
{
	struct handover *h = CONTAINER_OF(msg, struct handover, msg);
	struct piece_conn *c = h->conn;

	settle(h);
	c->request->side = c->side;
	if (c->side->is_closing)
		break_off(c);
	else
		answer(c);
}

/* To the data loop that has time for the request. False: it stays (bytes of an earlier answer are still to be sent). */
static bool
move(struct piece_conn *c)
{
	struct handover *h = xcalloc(1, sizeof *h);

	h->fd = conn_detach(c->conn, &h->early, NULL);
	if (h->fd < 0) {
		free(h);
		return false;
	}
	list_del(&c->link);
	c->side = c->request->to;
	h->conn = c;
	h->msg.run = arrive;
	loop_post(c->side->loop, &h->msg);
	return true;
}

void
piece_conn_decided(struct loop_msg *msg)
{
	struct piece_request *r = CONTAINER_OF(msg, struct piece_request, msg);

	if (r->conn == NULL) {
		r->msg.run = piece_request_done;
		loop_post(r->side->server_loop, &r->msg);
	} else if (r->to == r->side || !move(r->conn)) {
		answer(r->conn);
	}
}

void
piece_side_close(struct piece_side *side)
{
	side->is_closing = true;
	LIST_EACH(it, next, &side->conns)
		break_off(CONTAINER_OF(it, struct piece_conn, link));
}
