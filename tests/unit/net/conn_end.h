/*
 * One end of a connection, and what happened to it: the callbacks and the waiting that tests of connections have in common.
 */
#ifndef UNIT_NET_CONN_END_H
#define UNIT_NET_CONN_END_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "net/conn.h"
#include "net/loop.h"

#define LIMIT_MS 20000

struct end {
	struct conn *conn;      /* NULL once it is closed */
	struct buf in;
	size_t take_max;        /* of one on_data; 0: all */
	size_t offered;         /* to the last one */
	bool open;
	bool eof;
	bool closed;
	int drains;
	int writables;
	struct err why;         /* it was closed */
	const uint8_t *bulk;    /* what is still to be sent */
	size_t bulk_left;
	char alpn[32];
	char sni[64];
};

static inline void
on_open(struct conn *c, void *ctx)
{
	struct end *e = ctx;

	assert_ptr_equal(c, e->conn);
	assert_false(e->open);
	e->open = true;
	snprintf(e->alpn, sizeof(e->alpn), "%s", conn_tls_alpn(c));
	snprintf(e->sni, sizeof(e->sni), "%s", conn_tls_sni(c));
}

static inline size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct end *e = ctx;

	(void)c;
	assert_true(n > 0);
	e->offered = n;
	if (e->take_max > 0 && n > e->take_max)
		n = e->take_max;
	buf_append(&e->in, p, n);
	return n;
}

static inline void
on_eof(struct conn *c, void *ctx)
{
	struct end *e = ctx;

	(void)c;
	assert_false(e->eof);
	e->eof = true;
}

static inline void
on_drain(struct conn *c, void *ctx)
{
	(void)c;
	((struct end *)ctx)->drains++;
}

static inline void
push_bulk(struct end *e)
{
	while (e->bulk_left > 0) {
		size_t n = conn_send_some(e->conn, e->bulk, e->bulk_left);

		e->bulk += n;
		e->bulk_left -= n;
		if (n == 0) {
			conn_want_write(e->conn);
			return;
		}
	}
}

static inline void
send_bulk(struct end *e, const uint8_t *p, size_t n)
{
	e->bulk = p;
	e->bulk_left = n;
	push_bulk(e);
}

static inline void
on_writable(struct conn *c, void *ctx)
{
	struct end *e = ctx;

	(void)c;
	e->writables++;
	push_bulk(e);
}

static inline void
on_close(struct conn *c, void *ctx, const struct err *why)
{
	struct end *e = ctx;

	assert_false(e->closed);
	e->closed = true;
	e->why = *why;
	e->conn = NULL;
	/* Harmless on a connection that ends itself. */
	conn_abort(c);
}

static const struct conn_events events = {
	.on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_drain = on_drain, .on_writable = on_writable, .on_close = on_close,
};

static inline void
end_free(struct end *e)
{
	if (e->conn != NULL)
		conn_abort(e->conn);
	e->conn = NULL;
	buf_free(&e->in);
}

/* w: anything with a `loop`. */
#define RUN_UNTIL(w, condition) \
	do { \
		int64_t end_ = clock_mono_ms() + LIMIT_MS; \
		while (!(condition) && clock_mono_ms() < end_) \
			loop_turn((w)->loop, 50); \
		assert_true(condition); \
	} while (0)

#endif
