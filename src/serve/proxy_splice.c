/*
 * Two connections joined: what comes on one goes to the other, until both directions have ended.
 */
#include "serve/proxy_internal.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/conn.h"

/* Bytes that wait for the slower side before the faster one is no longer read. */
#define SPLICE_QUEUE ((size_t)256 * 1024)
/* A tunnel in which nothing moves: longer than any keep-alive people use. */
#define SPLICE_IDLE_MS (2 * 3600 * 1000)

struct proxy_splice;

struct splice_end {
	struct proxy_splice *splice;
	struct splice_end *other;
	struct conn *conn;
	bool has_ended;                 /* sends no more */
};

struct proxy_splice {
	struct list link;
	struct splice_end ends[2];
};

static void
splice_free(struct proxy_splice *s)
{
	list_del(&s->link);
	free(s);
}

static size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct splice_end *from = ctx;
	struct conn *to = from->other->conn;
	struct err e;

	if (conn_write(to, p, n, &e) < 0) {
		/* Over: its on_close follows. */
		conn_pause_read(c);
		return n;
	}
	if (conn_queued(to) > SPLICE_QUEUE)
		conn_pause_read(c);
	return n;
}

static void
on_drain(struct conn *c, void *ctx)
{
	struct splice_end *to = ctx;

	(void)c;
	if (!to->other->has_ended)
		conn_resume_read(to->other->conn);
}

static void
on_eof(struct conn *c, void *ctx)
{
	struct splice_end *end = ctx;
	struct conn *to = end->other->conn;

	end->has_ended = true;
	/* TLS cannot go on in one direction alone. */
	if (end->other->has_ended || conn_is_tls(c) || conn_is_tls(to)) {
		splice_free(end->splice);
		conn_close(to);
		conn_close(c);
		return;
	}
	conn_shutdown_write(to);
}

static void
on_close(struct conn *c, void *ctx, const struct err *e)
{
	struct splice_end *end = ctx;
	struct conn *other = end->other->conn;

	(void)c;
	(void)e;
	splice_free(end->splice);
	conn_close(other);
}

void
proxy_splice(struct proxy_side *side, struct conn *a, struct conn *b)
{
	static const struct conn_events events = {.on_data = on_data, .on_drain = on_drain, .on_eof = on_eof, .on_close = on_close};
	struct proxy_splice *s = xcalloc(1, sizeof *s);
	struct conn *both[2] = {a, b};

	list_add_tail(&side->splices, &s->link);
	for (int i = 0; i < 2; i++) {
		s->ends[i] = (struct splice_end){.splice = s, .other = &s->ends[1 - i], .conn = both[i]};
		conn_set_events(both[i], &events, &s->ends[i]);
		conn_set_read_ms(both[i], 0);
		conn_set_write_ms(both[i], HTTP_SERVER_SEND_MS);
		conn_set_idle_ms(both[i], SPLICE_IDLE_MS);
		conn_resume_read(both[i]);
	}
}

void
proxy_splices_close(struct proxy_side *side)
{
	while (!list_is_empty(&side->splices)) {
		struct proxy_splice *s = CONTAINER_OF(side->splices.next, struct proxy_splice, link);

		conn_abort(s->ends[0].conn);
		conn_abort(s->ends[1].conn);
		splice_free(s);
	}
}
